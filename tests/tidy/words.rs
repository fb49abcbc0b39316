//! Words that must not be in the tree.

use std::fs;
use std::path::Path;

use crate::{Complaints, Tree, assert_clean, assert_complaints, files, this_tree};

/// Paths of one person's machine; put together here so that this file does not hold them.
const MACHINE_PATHS: [&str; 3] = [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/home/", "runner/")];

fn machine_paths(root: &Path) -> Complaints {
    let mut complaints = Vec::new();
    let all = files(root);
    if all.is_empty() {
        complaints.push("there is no file to look at".to_owned());
    }
    for (name, path) in all {
        let Ok(text) = fs::read_to_string(&path) else { continue };
        for (number, line) in (1..).zip(text.lines()) {
            if let Some(found) = MACHINE_PATHS.iter().find(|needle| line.contains(**needle)) {
                complaints.push(format!("{name}:{number}: {found} is a place on one machine"));
            }
        }
    }
    complaints
}

#[test]
fn nothing_names_a_place_on_one_persons_machine() {
    assert_clean(&machine_paths(&this_tree()));
}

#[test]
fn a_path_of_one_machine_is_found() {
    let tree = Tree::new("words");
    tree.put("README.md", "Put it under /var/lib/ephor, see the workflow.\n");
    assert_clean(&machine_paths(&tree.0));
    tree.put("src/main.rs", &format!("//! Main.\nconst AT: &str = \"{}main\";\n", MACHINE_PATHS[0]));
    assert_complaints(&machine_paths(&tree.0), &["src/main.rs:2: "]);
}
