//! Stamps the crate with the digest of its own source: what a keyframe was folded by.

use std::fs;
use std::path::{Path, PathBuf};

fn sources(dir: &Path, into: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            sources(&path, into)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
    Ok(())
}

fn main() -> std::io::Result<()> {
    let mut files = Vec::new();
    sources(Path::new("src"), &mut files)?;
    files.sort();
    let mut hasher = blake3::Hasher::new();
    for file in files {
        #[expect(clippy::disallowed_methods, reason = "the rules read no file; what builds them does")]
        let text = fs::read(&file)?;
        hasher.update(file.to_string_lossy().as_bytes());
        hasher.update(&text.len().to_le_bytes());
        hasher.update(&text);
    }
    let digest = hasher.finalize().to_hex();
    println!("cargo:rustc-env=EPHOR_RULES_DIGEST={digest}");
    println!("cargo:rerun-if-changed=src");
    Ok(())
}
