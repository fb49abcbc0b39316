//! Golden files: what was once written is compared with, and never written over.
//!
//! A file is a list of entries, each a label in brackets and the text below it. With `BLESS=1` in the
//! environment an entry that is missing is added at the end; one that differs fails all the same.

use std::fmt::Write;
use std::path::{Path, PathBuf};

pub(crate) fn dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn entries(text: &str) -> Vec<(&str, String)> {
    let mut entries: Vec<(&str, String)> = Vec::new();
    for line in text.lines() {
        match line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(label) => entries.push((label, String::new())),
            None => entries.last_mut().unwrap().1.push_str(line),
        }
    }
    entries
}

fn add(path: &Path, label: &str, text: &str) {
    let mut whole = std::fs::read_to_string(path).unwrap_or_default();
    writeln!(whole, "[{label}]").unwrap();
    for line in text.as_bytes().chunks(100) {
        writeln!(whole, "{}", std::str::from_utf8(line).unwrap()).unwrap();
    }
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, whole).unwrap();
}

/// The entry of a golden file; where it is missing, `now` is added to the file if that was asked for.
pub(crate) fn entry(file: &str, label: &str, now: &str) -> Result<String, String> {
    let path = dir().join(file);
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    if let Some((_, found)) = entries(&text).into_iter().find(|(known, _)| *known == label) {
        return Ok(found);
    }
    if std::env::var_os("BLESS").is_none() {
        return Err(format!("{file} has no entry [{label}]: run this test once with BLESS=1 and keep what it adds"));
    }
    add(&path, label, now);
    Ok(now.to_owned())
}

/// How many entries a golden file has.
pub(crate) fn count(file: &str) -> usize {
    entries(&std::fs::read_to_string(dir().join(file)).unwrap_or_default()).len()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

pub(crate) fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}
