//! A test of the tree itself: which way arrows point, what stays pure, that links lead somewhere.
//!
//! Every check is a function from the root of a tree to complaints, and has two tests: this tree has
//! none, and a miniature tree that is broken has the one it should. So a check that looks at nothing
//! cannot pass for one that finds nothing.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should stop where it stands"
)]

use std::fs;
use std::path::{Path, PathBuf};

#[path = "tidy/arrows.rs"]
mod arrows;
#[path = "tidy/documents.rs"]
mod documents;
#[path = "tidy/habits.rs"]
mod habits;
#[path = "tidy/manifest.rs"]
mod manifest;
#[path = "tidy/purity.rs"]
mod purity;
#[path = "tidy/source.rs"]
mod source;
#[path = "tidy/words.rs"]
mod words;

pub(crate) type Complaints = Vec<String>;

pub(crate) fn this_tree() -> PathBuf {
    let root = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    root.unwrap_or_else(|| option_env!("CARGO_MANIFEST_DIR").unwrap_or(".").into())
}

/// Every file of the tree, with its path from the root; what is built, fetched or hidden is left out.
pub(crate) fn files(root: &Path) -> Vec<(String, PathBuf)> {
    fn walk(dir: &Path, root: &Path, found: &mut Vec<(String, PathBuf)>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                let hidden = name.starts_with('.') && name != ".ci" && name != ".github";
                if !hidden && name != "target" && name != "node_modules" {
                    walk(&path, root, found);
                }
            } else {
                let from_root = path.strip_prefix(root).unwrap().components();
                let words: Vec<String> =
                    from_root.map(|part| part.as_os_str().to_string_lossy().into_owned()).collect();
                found.push((words.join("/"), path));
            }
        }
    }
    let mut found = Vec::new();
    walk(root, root, &mut found);
    found.sort();
    found
}

/// Files that end so, read; a complaint where there is none.
pub(crate) fn texts(root: &Path, ending: &str, complaints: &mut Complaints) -> Vec<(String, String)> {
    let wanted = files(root).into_iter().filter(|(name, _)| name.ends_with(ending));
    let found: Vec<_> = wanted.filter_map(|(name, path)| Some((name, fs::read_to_string(path).ok()?))).collect();
    if found.is_empty() {
        complaints.push(format!("there is no {ending} file to look at"));
    }
    found
}

#[track_caller]
pub(crate) fn assert_clean(complaints: &[String]) {
    assert!(complaints.is_empty(), "{} complaints:\n{}", complaints.len(), complaints.join("\n"));
}

/// Every complaint that is expected, by its beginning, and no other.
#[track_caller]
pub(crate) fn assert_complaints(found: &[String], expected: &[&str]) {
    let missing = expected.iter().find(|expected| !found.iter().any(|found| found.starts_with(**expected)));
    assert!(missing.is_none(), "no complaint begins with {missing:?}, found:\n{}", found.join("\n"));
    assert_eq!(found.len(), expected.len(), "complaints that were not expected among:\n{}", found.join("\n"));
}

/// A miniature tree, gone when it is dropped.
pub(crate) struct Tree(pub(crate) PathBuf);

impl Tree {
    pub(crate) fn new(name: &str) -> Self {
        let root = std::env::temp_dir().join(format!("ephor-tidy-{}-{name}", std::process::id()));
        fs::create_dir_all(&root).unwrap();
        Self(root)
    }

    pub(crate) fn put(&self, name: &str, text: &str) {
        let path = self.0.join(name.trim_start_matches('/'));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        // What cannot be removed is left to the system's own cleaning of its temporary files.
        drop(fs::remove_dir_all(&self.0));
    }
}
