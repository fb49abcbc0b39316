//! The reject file: every line that was not taken, with its number, its reason and the line itself.
//!
//! It is written anew by each run and as the lines come, so it can be watched, and what a killed run
//! leaves behind is whole lines. A run without rejects leaves no file where none was asked for.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::CliError;
use crate::input::{Code, Refusal};

/// A line as it came in, for the reject file to show.
#[derive(Clone, Debug)]
pub(super) struct Raw {
    /// Its number, from 1.
    pub(super) number: u64,
    /// Its bytes, or the first of them.
    pub(super) bytes: Vec<u8>,
    /// How long it was, where `bytes` is not all of it.
    pub(super) length: Option<u64>,
}

#[derive(Serialize)]
struct Rejected<'a> {
    line: u64,
    reason: Code,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'a str>,
    message: String,
    /// What is not UTF-8 is replaced here, and given whole in `raw_hex`.
    raw: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    raw_hex: Option<String>,
    /// How long the line was, where `raw` is only its beginning.
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
}

/// Where rejects go.
pub(super) struct Rejects {
    path: PathBuf,
    file: Option<File>,
    counts: BTreeMap<Code, u64>,
}

impl Rejects {
    /// For the file named, else for the input's own under the data directory. An old one is emptied.
    pub(super) fn begin(named: Option<&Path>, data: &Path, input: &Path) -> Result<Self, CliError> {
        if let Some(path) = named {
            let same = path.canonicalize().is_ok_and(|path| input.canonicalize().is_ok_and(|input| input == path));
            if same {
                return Err(CliError::usage(format!("--rejects {} is the input itself", path.display())));
            }
            let file = File::create(path).map_err(failed("create", path))?;
            return Ok(Self { path: path.to_owned(), file: Some(file), counts: BTreeMap::new() });
        }
        let path = data.join("rejects").join(format!("{}.jsonl", stem(input)));
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove the old", &path)(error)),
            Ok(()) | Err(_) => Ok(Self { path, file: None, counts: BTreeMap::new() }),
        }
    }

    /// Writes one down.
    pub(super) fn add(&mut self, line: &Raw, refusal: &Refusal) -> Result<(), CliError> {
        *self.counts.entry(refusal.code).or_default() += 1;
        let raw = String::from_utf8_lossy(&line.bytes);
        let replaced = matches!(raw, std::borrow::Cow::Owned(_));
        let rejected = Rejected {
            line: line.number,
            reason: refusal.code,
            field: refusal.field,
            message: refusal.to_string(),
            raw: &raw,
            raw_hex: replaced.then(|| hex(&line.bytes)),
            bytes: line.length,
        };
        let mut text = serde_json::to_vec(&rejected).map_err(|error| failed("write", &self.path)(error.into()))?;
        text.push(b'\n');
        let written = self.file().and_then(|file| file.write_all(&text));
        written.map_err(failed("write", &self.path))
    }

    fn file(&mut self) -> io::Result<&mut File> {
        let file = if let Some(file) = self.file.take() {
            file
        } else {
            if let Some(above) = self.path.parent() {
                std::fs::create_dir_all(above)?;
            }
            File::create(&self.path)?
        };
        Ok(self.file.insert(file))
    }

    /// How many there are, by reason.
    pub(super) const fn counts(&self) -> &BTreeMap<Code, u64> {
        &self.counts
    }

    /// How many there are.
    pub(super) fn total(&self) -> u64 {
        self.counts.values().sum()
    }

    /// Where they are written.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> CliError {
    let path = path.to_owned();
    move |source| CliError::File { doing, path, source }
}

/// The input's name without what says how it is written.
fn stem(input: &Path) -> String {
    if input == Path::new("-") {
        return "stdin".to_owned();
    }
    let name = input.file_name().unwrap_or_default().to_string_lossy();
    let unpacked = name.strip_suffix(".gz").unwrap_or(&name);
    let bare = [".jsonl", ".ndjson", ".json"].into_iter().find_map(|end| unpacked.strip_suffix(end));
    bare.unwrap_or(unpacked).to_owned()
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    let digit = |nibble: u8| DIGITS.get(usize::from(nibble)).copied().unwrap_or('?');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}
