//! What came over a bus, kept beside the log: one message a line, in the order in which they were taken.
//!
//! A bus gives a message back once at most, and a paper venue forgets what it did when its process ends. So whatever is
//! taken stands here before anything follows from it, and a run that begins again goes through all of it first. That is
//! why a message is done with as soon as its line is on the disk: everything else follows from the lines.
//!
//! Invariant: what has been acknowledged is here. A last line without its end never was.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, Write};
use std::path::{Path, PathBuf};

use crate::cli::CliError;

/// Where the journal of a data directory is.
#[must_use]
pub fn path(data: &Path) -> PathBuf {
    data.join("paper").join("inputs.jsonl")
}

/// An open journal.
pub struct Journal {
    path: PathBuf,
    file: File,
    /// Lines that are still to be brought to the disk.
    held: Vec<u8>,
}

impl Journal {
    /// Opens it, or creates it where there is none, and gives every message in it, in order, to `take` with its line's
    /// number.
    ///
    /// # Errors
    /// What the system said, or `take`.
    pub fn open(data: &Path, mut take: impl FnMut(u64, &[u8]) -> Result<(), CliError>) -> Result<Self, CliError> {
        let path = path(data);
        let dir = path.parent().unwrap_or(data);
        let failed = |doing| {
            let path = path.clone();
            move |source| CliError::File { doing, path, source }
        };
        let open = || {
            std::fs::create_dir_all(dir)?;
            let file = OpenOptions::new().read(true).append(true).create(true).open(&path)?;
            // Its name, and its directory's, must be there after a loss of power as its lines are.
            File::open(dir)?.sync_all()?;
            File::open(data)?.sync_all()?;
            Ok(file)
        };
        let mut file = open().map_err(failed("open"))?;
        let (mut reader, mut line) = (io::BufReader::new(&mut file), Vec::new());
        let (mut number, mut whole) = (0, 0);
        while reader.read_until(b'\n', &mut line).map_err(failed("read"))? > 0 {
            if !line.ends_with(b"\n") {
                // Nobody was told that it had been taken.
                file.set_len(whole).and_then(|()| file.sync_data()).map_err(failed("cut the torn end of"))?;
                break;
            }
            (number, whole) = (number + 1, whole + line.len() as u64);
            take(number, &line)?;
            line.clear();
        }
        Ok(Self { path, file, held: Vec::new() })
    }

    /// Adds a message, which is JSON: an end of a line in it is white space and nothing else.
    pub fn add(&mut self, message: &[u8]) {
        let is_end = |byte: &u8| matches!(byte, b'\n' | b'\r');
        self.held.extend(message.trim_ascii().iter().map(|byte| if is_end(byte) { b' ' } else { *byte }));
        self.held.push(b'\n');
    }

    /// Brings what was added to the disk.
    ///
    /// # Errors
    /// What the system said.
    pub fn sync(&mut self) -> Result<(), CliError> {
        if self.held.is_empty() {
            return Ok(());
        }
        let written = self.file.write_all(&self.held).and_then(|()| self.file.sync_data());
        written.map_err(|source| CliError::File { doing: "write", path: self.path.clone(), source })?;
        self.held.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(data: &Path) -> Vec<String> {
        let mut lines = Vec::new();
        Journal::open(data, |number, line| {
            lines.push(format!("{number} {}", std::str::from_utf8(line).unwrap().trim_end()));
            Ok(())
        })
        .unwrap();
        lines
    }

    #[test]
    fn what_was_brought_to_the_disk_is_there_again_one_message_a_line() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(dir.path(), |_, _| panic!("there is nothing")).unwrap();
        journal.add(b"{\"a\":\r\n 1}\n");
        journal.sync().unwrap();
        journal.add(b"{}");
        assert_eq!(lines(dir.path()), ["1 {\"a\":   1}"], "what was only added is not");
        journal.sync().unwrap();
        assert_eq!(lines(dir.path()), ["1 {\"a\":   1}", "2 {}"]);
    }

    #[test]
    fn a_torn_end_is_cut_and_what_is_added_then_stands_on_its_own() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("paper")).unwrap();
        std::fs::write(path(dir.path()), "{}\n{\"to").unwrap();
        let mut journal = Journal::open(dir.path(), |_, _| Ok(())).unwrap();
        journal.add(b"[]");
        journal.sync().unwrap();
        assert_eq!(lines(dir.path()), ["1 {}", "2 []"]);
    }
}
