//! `Cargo.toml` as far as the checks need it: who depends on whom, section by section.
//!
//! Reads the forms that Cargo takes: a line, a table of its own, a section for one platform, a crate
//! under another name.

use std::collections::BTreeMap;

/// What a dependency is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum For {
    Use,
    Tests,
    Building,
    Workspace,
}

/// One line of a manifest's dependencies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Dependency {
    pub(crate) purpose: For,
    /// As the manifest calls it.
    pub(crate) name: String,
    /// The package, where the manifest calls it something else.
    pub(crate) package: Option<String>,
}

/// A package's name and what it depends on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Manifest {
    pub(crate) name: String,
    pub(crate) dependencies: Vec<Dependency>,
}

impl Manifest {
    pub(crate) fn parse(text: &str) -> Self {
        let mut manifest = Self::default();
        let mut section = String::new();
        for line in text.lines().map(|line| line.split(" #").next().unwrap_or_default().trim()) {
            if let Some(header) = line.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
                header.trim_matches('[').trim().clone_into(&mut section);
                if let (Some(purpose), Some(name)) = purpose_of(&section) {
                    manifest.dependencies.push(Dependency { purpose, name, package: None });
                }
                continue;
            }
            let Some((key, value)) = line.split_once('=') else { continue };
            let (key, value) = (key.trim(), value.trim());
            let quoted = key.len() > 1 && key.starts_with('"') && key.ends_with('"');
            let bare = quoted || key.chars().all(|c| c.is_alphanumeric() || "_-.".contains(c));
            match purpose_of(&section) {
                (None, _) if section == "package" && key == "name" => manifest.name = unquoted(value),
                (Some(purpose), None) if bare => {
                    let name = unquoted(key.split('.').next().unwrap_or(key));
                    let package = package_in(value);
                    manifest.dependencies.push(Dependency { purpose, name, package });
                }
                (Some(_), Some(_)) if key == "package" => {
                    if let Some(last) = manifest.dependencies.last_mut() {
                        last.package = Some(unquoted(value));
                    }
                }
                _other => {}
            }
        }
        manifest
    }

    /// The packages behind the names, through the workspace's own names for them.
    pub(crate) fn packages(&self, workspace: &BTreeMap<String, String>) -> Vec<(For, String)> {
        let used = self.dependencies.iter().filter(|dependency| dependency.purpose != For::Workspace);
        used.map(|Dependency { purpose, name, package }| {
            let package = package.clone().or_else(|| workspace.get(name).cloned());
            (*purpose, package.unwrap_or_else(|| name.clone()))
        })
        .collect()
    }

    /// The workspace's names for packages.
    pub(crate) fn workspace_names(&self) -> BTreeMap<String, String> {
        let shared = self.dependencies.iter().filter(|dependency| dependency.purpose == For::Workspace);
        shared.map(|d| (d.name.clone(), d.package.clone().unwrap_or_else(|| d.name.clone()))).collect()
    }
}

/// What a section lists, and the one crate it is about where it is about one.
fn purpose_of(section: &str) -> (Option<For>, Option<String>) {
    let kinds = [
        ("workspace.dependencies", For::Workspace),
        ("dependencies", For::Use),
        ("dev-dependencies", For::Tests),
        ("build-dependencies", For::Building),
    ];
    for (kind, purpose) in kinds {
        let platform = section.starts_with("target.").then(|| section.rfind(&format!(".{kind}"))).flatten();
        let section = platform.map_or(section, |at| &section[at + 1..]);
        if section == kind {
            return (Some(purpose), None);
        }
        if let Some(one) = section.strip_prefix(kind).and_then(|rest| rest.strip_prefix('.')) {
            return (Some(purpose), Some(unquoted(one)));
        }
    }
    (None, None)
}

fn package_in(value: &str) -> Option<String> {
    let (_, behind) = value.split_once("package")?;
    behind.trim_start().strip_prefix('=')?.split('"').nth(1).map(str::to_owned)
}

fn unquoted(text: &str) -> String {
    text.trim().trim_matches('"').to_owned()
}

#[test]
fn every_form_of_a_dependency_is_read() {
    let text = "[package]\nname = \"a\"\n[dependencies]\nb.workspace = true\nc = \"1\" # why\n\
        d = { package = \"e\", features = [\n  \"f = g\",\n] }\n[dependencies.h]\nversion = \"1\"\n\
        [dev-dependencies]\ni = { path = \"..\" }\n[target.'cfg(unix)'.dependencies]\nj = \"1\"\n\
        [target.'cfg(unix)'.dev-dependencies.k]\npackage = \"l\"\n[build-dependencies]\nm = \"1\"\n[features]\nn = []\n";
    let manifest = Manifest::parse(text);
    assert_eq!(manifest.name, "a");
    let found: Vec<(For, String)> = manifest.packages(&BTreeMap::from([("b".into(), "z".into())]));
    let expected = [
        (For::Use, "z"),
        (For::Use, "c"),
        (For::Use, "e"),
        (For::Use, "h"),
        (For::Tests, "i"),
        (For::Use, "j"),
        (For::Tests, "l"),
        (For::Building, "m"),
    ];
    assert_eq!(found, expected.map(|(purpose, name)| (purpose, name.to_owned())));
}
