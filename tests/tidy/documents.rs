//! Links lead somewhere; decisions are whole, listed, and kept by tests that exist.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path, PathBuf};

use crate::{Complaints, Tree, assert_clean, assert_complaints, texts, this_tree};

const ADR_SECTIONS: [&str; 6] = ["Question", "What pulled", "Decision", "Turned down", "What follows", "Kept by"];

/// Prose without code: what stands in fences and between backticks links to nothing.
fn prose(text: &str) -> String {
    let mut fenced = false;
    let lines = text.lines().map(|line| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        if fence || fenced { String::new() } else { line.split('`').step_by(2).collect::<Vec<_>>().join("_") }
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn link_targets(text: &str) -> Vec<String> {
    let prose = prose(text);
    let inline = prose.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let named = prose.lines().filter(|line| line.starts_with('[') && !line.starts_with("[^"));
    let named = named.filter_map(|line| line.split_once("]: ").map(|(_, target)| target));
    inline.chain(named).map(|target| target.split(" \"").next().unwrap_or(target)).map(unwrapped).collect()
}

fn unwrapped(target: &str) -> String {
    target.trim().trim_start_matches('<').trim_end_matches('>').replace("%20", " ")
}

fn dead_links(root: &Path) -> Complaints {
    let mut complaints = Vec::new();
    for (name, text) in texts(root, ".md", &mut complaints) {
        for target in link_targets(&text) {
            let file = target.split('#').next().unwrap_or_default();
            let elsewhere = ["http://", "https://", "mailto:"].iter().any(|scheme| target.starts_with(scheme));
            if elsewhere || file.is_empty() {
                continue;
            }
            let beside = Path::new(&name).parent().unwrap();
            let from_root = file.strip_prefix('/').map_or_else(|| beside.join(file), PathBuf::from);
            match inside(&from_root) {
                Some(path) if root.join(&path).exists() => {}
                Some(_) => complaints.push(format!("{name}: {target} leads nowhere")),
                None => complaints.push(format!("{name}: {target} leads out of the tree")),
            }
        }
    }
    complaints
}

/// The path with its `..` carried out, or `None` where it leaves the tree.
fn inside(path: &Path) -> Option<PathBuf> {
    let mut resolved = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => resolved.pop().then_some(())?,
            Component::Normal(name) => resolved.push(name),
            Component::CurDir => {}
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(resolved)
}

fn adr_faults(root: &Path) -> Complaints {
    let mut complaints = Vec::new();
    let all = texts(root, ".md", &mut complaints);
    let adrs = all.iter().filter_map(|(name, text)| Some((name.strip_prefix("docs/adr/")?, text)));
    let (index, adrs): (Vec<_>, Vec<_>) = adrs.partition(|(name, _)| *name == "README.md");
    let listed: BTreeSet<String> = index.iter().flat_map(|(_, text)| link_targets(text)).collect();
    if adrs.is_empty() {
        complaints.push("docs/adr has no decision".to_owned());
    }
    for (number, (name, text)) in (1..).zip(&adrs) {
        let numbered = format!("{number:03}");
        if !name.starts_with(&format!("{numbered}-")) {
            complaints.push(format!("{name}: number {numbered} should stand here"));
        }
        if !text.starts_with(&format!("# {}. ", name.get(..3).unwrap_or_default())) {
            complaints.push(format!("{name}: the title does not begin with its number"));
        }
        let sections: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("## ")).collect();
        if sections != ADR_SECTIONS {
            complaints.push(format!("{name}: has the sections {sections:?}, not {ADR_SECTIONS:?}"));
        }
        if !listed.contains(*name) {
            complaints.push(format!("{name}: is not in docs/adr/README.md"));
        }
        let kept_by = text.split("## Kept by").nth(1).unwrap_or_default();
        complaints.extend(missing_keepers(root, kept_by).into_iter().map(|missing| format!("{name}: {missing}")));
    }
    complaints
}

/// Files that a decision says keep it, and their tests: `file.rs` first, then the names in it.
fn missing_keepers(root: &Path, kept_by: &str) -> Complaints {
    let mut complaints = Vec::new();
    let mut file: Option<(&str, String)> = None;
    for item in kept_by.split("\n- ").skip(1) {
        file = file.filter(|_| false);
        for word in item.split('`').skip(1).step_by(2) {
            if word.contains('/') {
                match fs::read_to_string(root.join(word)) {
                    Ok(text) => file = Some((word, text)),
                    Err(_) => complaints.push(format!("{word} does not exist")),
                }
            } else if let Some((name, text)) = file.as_ref().filter(|_| !word.contains([':', '.', ' '])) {
                let there = text.contains(&format!("fn {word}(")) || text.contains(&format!("    {word},"));
                if !there {
                    complaints.push(format!("{name} has no test {word}"));
                }
            }
        }
    }
    complaints
}

#[test]
fn every_link_in_the_documents_leads_somewhere() {
    assert_clean(&dead_links(&this_tree()));
}

#[test]
fn every_decision_is_whole_listed_and_kept_by_tests_that_exist() {
    assert_clean(&adr_faults(&this_tree()));
}

#[test]
fn a_link_that_leads_nowhere_is_found() {
    let tree = Tree::new("links");
    tree.put(
        "docs/a.md",
        "[b](b.md#there) [up](../README.md \"t\") [web](https://x.y/z) `[c](c.md)`\n```\n[d](d.md)\n```\n",
    );
    tree.put("docs/b.md", "[here](#there) [root](/docs/a.md) [dir](../docs)\n");
    tree.put("README.md", "[a]: docs/a.md\n[^1]: a note\n");
    assert_clean(&dead_links(&tree.0));
    tree.put("README.md", "[a]: docs/e.md\n![p](p.svg) [out](../../x)\n");
    assert_complaints(
        &dead_links(&tree.0),
        &["README.md: p.svg leads nowhere", "README.md: ../../x leads out", "README.md: docs/e.md leads nowhere"],
    );
}

#[test]
fn a_decision_without_its_sections_its_place_in_the_list_or_its_tests_is_found() {
    let tree = Tree::new("adr");
    let whole = |title: &str, kept_by: &str| {
        let sections: Vec<String> = ADR_SECTIONS.iter().map(|section| format!("## {section}\n\n")).collect();
        format!("# {title}\n\n{}{kept_by}", sections.concat())
    };
    tree.put("tests/gate.rs", "//! Gate.\n#[test]\nfn exits_pass() {}\n");
    tree.put(
        "docs/adr/001-gate.md",
        &whole("001. Gate", "- `tests/gate.rs`: `exits_pass`.\n- `gate::Merged`, a type.\n"),
    );
    tree.put("docs/adr/README.md", "[Gate](001-gate.md)\n");
    assert_clean(&adr_faults(&tree.0));
    tree.put("docs/adr/001-gate.md", &whole("001. Gate", "- `tests/gate.rs`: `entries_fail`.\n- `tests/kill.rs`.\n"));
    tree.put("docs/adr/003-kill.md", "# Kill\n\n## Question\n");
    assert_complaints(
        &adr_faults(&tree.0),
        &[
            "001-gate.md: tests/gate.rs has no test entries_fail",
            "001-gate.md: tests/kill.rs does not exist",
            "003-kill.md: number 002 should stand here",
            "003-kill.md: the title does not begin",
            "003-kill.md: has the sections [\"Question\"]",
            "003-kill.md: is not in docs/adr/README.md",
        ],
    );
}
