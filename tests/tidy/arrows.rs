//! Which crate may know which: read from the manifests, the arrows of tests included.

use std::collections::BTreeMap;
use std::path::Path;

use crate::manifest::{For, Manifest};
use crate::{Complaints, Tree, assert_clean, assert_complaints, texts, this_tree};

/// Directory, crate, and the crates of this house that it may depend on, in tests too.
const HOUSE: [(&str, &str, &[&str]); 7] = [
    ("governance", "ephor-governance", &[]),
    ("events", "ephor-events", &["ephor-governance"]),
    ("snapshots", "ephor-snapshots", &["ephor-events", "ephor-governance"]),
    ("replay", "ephor-replay", &["ephor-snapshots", "ephor-events", "ephor-governance"]),
    ("execution", "ephor-execution", &["ephor-governance"]),
    ("actors", "ephor-actors", &["ephor-execution", "ephor-snapshots", "ephor-events", "ephor-governance"]),
    (
        "",
        "ephor",
        &["ephor-actors", "ephor-execution", "ephor-replay", "ephor-snapshots", "ephor-events", "ephor-governance"],
    ),
];
/// Crates of others that a crate of ours must not know, in tests neither.
const STRANGERS: [(&str, &[&str]); 7] = [
    ("governance", &["actix", "actix-rt", "bincode", "sled", "tokio", "tracing", "rand", "getrandom", "fastrand"]),
    ("events", &["actix", "actix-rt", "rand", "fastrand"]),
    ("snapshots", &["actix", "actix-rt", "bincode", "sled", "tokio"]),
    ("replay", &["actix", "actix-rt", "bincode", "sled", "tokio"]),
    ("execution", &["actix", "actix-rt", "actix-web", "bincode", "sled", "tokio", "reqwest", "rand", "fastrand"]),
    ("actors", &["bincode", "sled", "toml", "clap"]),
    ("", &["bincode", "sled"]),
];

fn forbidden_arrows(root: &Path) -> Complaints {
    let mut complaints = Vec::new();
    let manifests: BTreeMap<String, Manifest> = texts(root, "Cargo.toml", &mut complaints)
        .into_iter()
        .map(|(name, text)| {
            (name.trim_end_matches("Cargo.toml").trim_end_matches('/').to_owned(), Manifest::parse(&text))
        })
        .collect();
    let workspace = manifests.get("").map(Manifest::workspace_names).unwrap_or_default();
    for (dir, _, _) in HOUSE.iter().filter(|(dir, _, _)| !manifests.contains_key(*dir)) {
        complaints.push(format!("{dir}/Cargo.toml is missing"));
    }
    for (dir, manifest) in &manifests {
        let Some((_, name, allowed)) = HOUSE.iter().find(|(known, _, _)| known == dir) else {
            complaints.push(format!("{dir}: the crate {} is not in the list of the house", manifest.name));
            continue;
        };
        if manifest.name != *name {
            complaints.push(format!("{dir}: is called {}, not {name}", manifest.name));
        }
        let strangers = STRANGERS.iter().find(|(known, _)| known == dir).map_or(&[][..], |(_, strangers)| strangers);
        for (purpose, package) in manifest.packages(&workspace) {
            let section = match purpose {
                For::Use | For::Workspace => "dependencies",
                For::Tests => "dev-dependencies",
                For::Building => "build-dependencies",
            };
            let ours = package == "ephor" || package.starts_with("ephor-");
            if ours && !allowed.contains(&package.as_str()) {
                complaints.push(format!("{dir}: [{section}] must not point at {package}"));
            }
            if strangers.contains(&package.as_str()) {
                complaints.push(format!("{dir}: [{section}] must not know {package}"));
            }
        }
    }
    complaints
}

#[test]
fn arrows_point_down_in_tests_too() {
    assert_clean(&forbidden_arrows(&this_tree()));
}

#[test]
fn an_arrow_upwards_a_stranger_and_an_unknown_crate_are_found() {
    let house = |name: &str, rest: &str| format!("[package]\nname = \"{name}\"\n{rest}");
    let tree = Tree::new("arrows");
    for (dir, name, allowed) in HOUSE {
        let dependencies: Vec<String> = allowed.iter().map(|other| format!("{other}.workspace = true\n")).collect();
        tree.put(&format!("{dir}/Cargo.toml"), &house(name, &format!("[dependencies]\n{}", dependencies.concat())));
    }
    assert_clean(&forbidden_arrows(&tree.0));
    tree.put("governance/Cargo.toml", &house("ephor-governance", "[dependencies]\ntracing = \"0.1\"\n"));
    tree.put("events/Cargo.toml", &house("ephor-events", "[dev-dependencies]\nephor-snapshots = { path = \"..\" }\n"));
    tree.put("replay/Cargo.toml", &house("ephor-replay", "[dependencies]\nx = { package = \"ephor-actors\" }\n"));
    tree.put("bus/Cargo.toml", &house("ephor-bus", ""));
    assert_complaints(
        &forbidden_arrows(&tree.0),
        &[
            "bus: the crate ephor-bus is not in the list",
            "events: [dev-dependencies] must not point at ephor-snapshots",
            "governance: [dependencies] must not know tracing",
            "replay: [dependencies] must not point at ephor-actors",
        ],
    );
}
