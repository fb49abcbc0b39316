//! Secrets in files: read only where nobody else can read them.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// No secret is longer, bytes.
const BYTES_MAX: u64 = 64 << 10;

/// Why a file's secret cannot be used. The secret itself is in none of these.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// It cannot be read.
    #[error("read {} failed", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Others may read it.
    #[error("{} is open to others (mode {mode:03o}): chmod 600 it", path.display())]
    Exposed {
        /// Which file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// It is empty, too long, or not text.
    #[error("{} must hold one line of text, from 1 to {BYTES_MAX} bytes", path.display())]
    Unfit {
        /// Which file.
        path: PathBuf,
    },
}

impl SecretError {
    /// Never: the file has to be changed first.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        false
    }
}

/// What a file that only its owner may read holds.
///
/// # Errors
/// [`SecretError`]
pub fn bytes(path: &Path) -> Result<Vec<u8>, SecretError> {
    let unreadable = |source| SecretError::Unreadable { path: path.to_owned(), source };
    let file = File::open(path).map_err(unreadable)?;
    let mode = file.metadata().map_err(unreadable)?.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(SecretError::Exposed { path: path.to_owned(), mode });
    }
    let mut bytes = Vec::new();
    file.take(BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.is_empty() || bytes.len() as u64 > BYTES_MAX {
        return Err(SecretError::Unfit { path: path.to_owned() });
    }
    Ok(bytes)
}

/// The text that such a file holds, without the end of its line.
///
/// # Errors
/// [`SecretError`]
pub fn text(path: &Path) -> Result<String, SecretError> {
    let unfit = || SecretError::Unfit { path: path.to_owned() };
    let text = String::from_utf8(bytes(path)?).map_err(|_| unfit())?;
    let line = text.trim_end_matches(['\r', '\n']);
    if line.is_empty() { Err(unfit()) } else { Ok(line.to_owned()) }
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_secret_is_read_only_where_nobody_else_can_read_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("password");
        let said = |path: &Path| text(path).map_err(|error| error.to_string());
        assert!(said(&path).unwrap_err().starts_with("read "));
        std::fs::write(&path, "hunter2\n").unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        assert!(said(&path).unwrap_err().ends_with("is open to others (mode 640): chmod 600 it"));
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        assert_eq!(said(&path).unwrap(), "hunter2");
        for unfit in [&b"\n"[..], b"", b"\xff", &[b'x'; 65_537]] {
            std::fs::write(&path, unfit).unwrap();
            assert!(said(&path).unwrap_err().contains("one line of text"), "{unfit:?}");
        }
    }
}
