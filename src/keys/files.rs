//! The files of keys: private, written whole or not at all, by one writer at a time, read again when they change.
//!
//! A writer holds a lock, writes beside the file, brings that to the disk and renames it, so a reader sees the old
//! file or the new one. A reader keeps the file open that it has read: so its inode cannot be given to the file that
//! replaces it, and a look at the name tells whether there is another.

use std::fs::{DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use serde::Serialize;

/// The mode of a file that only its owner may read.
pub(super) const PRIVATE: u32 = 0o600;
/// The mode of a file that anyone may read.
pub(super) const PUBLIC: u32 = 0o644;
/// The version of the files' form.
pub(super) const VERSION: u32 = 1;

/// The largest file of keys, bytes.
const FILE_BYTES_MAX: usize = 4 << 20;

/// Why keys could not be read or changed. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The system said no.
    #[error("{doing} {} failed", path.display())]
    File {
        /// What was attempted.
        doing: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// There are no keys where they were looked for.
    #[error("there is no {}: `ephor keys rotate` makes keys, `ephor keys public` prints them", path.display())]
    Missing {
        /// Which file.
        path: PathBuf,
    },
    /// A file is not what it should be, so nothing in it is believed.
    #[error("{}: {problem}", path.display())]
    Unusable {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// Others can get at what only its owner may.
    #[error("{} is open to others (mode {mode:03o}): chmod {wanted} {}", path.display(), path.display())]
    Exposed {
        /// Which file or directory.
        path: PathBuf,
        /// Its mode.
        mode: u32,
        /// What it should be.
        wanted: &'static str,
    },
    /// There is no such key.
    #[error("there is no key {id:?}")]
    UnknownKey {
        /// What was asked for.
        id: String,
    },
    /// The key was revoked before.
    #[error("the key {id} is revoked already")]
    AlreadyRevoked {
        /// Which.
        id: String,
    },
    /// The certificate opens another key.
    #[error("this certificate belongs to the key {id} already: revoke that first")]
    CertificateTaken {
        /// Which.
        id: String,
    },
    /// The name belongs to a part of Ephor.
    #[error("the name {name:?} is Ephor's own: what such a key does would be taken for Ephor's doing")]
    NameReserved {
        /// Which.
        name: String,
    },
    /// The name could be read as another.
    #[error("the name {name:?} must be visible ASCII without white space: names tell people apart")]
    NameUnclear {
        /// Which.
        name: String,
    },
    /// The name differs from another one in case only.
    #[error("the name {name:?} is too much like {taken:?}, which has a key: names tell people apart")]
    NameAlike {
        /// Which.
        name: String,
        /// The other one.
        taken: String,
    },
    /// The system gave no randomness.
    #[error("ask the system for randomness failed: {0}")]
    Random(getrandom::Error),
    /// A key or a token could not be made.
    #[error("make {what} failed: {problem}")]
    Make {
        /// What was to be made.
        what: &'static str,
        /// What the library said.
        problem: String,
    },
}

impl KeysError {
    /// Whether the same may work later with nothing mended.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        matches!(self, Self::Random(_))
    }

    /// Whether the caller asked for something that cannot be, and nothing is broken.
    #[must_use]
    pub const fn is_callers(&self) -> bool {
        match self {
            Self::Missing { .. }
            | Self::UnknownKey { .. }
            | Self::AlreadyRevoked { .. }
            | Self::CertificateTaken { .. }
            | Self::NameReserved { .. }
            | Self::NameUnclear { .. }
            | Self::NameAlike { .. } => true,
            Self::File { .. } | Self::Unusable { .. } | Self::Exposed { .. } | Self::Random(_) | Self::Make { .. } => {
                false
            }
        }
    }
}

/// Where the keys of a data directory are.
pub(super) fn dir(data: &Path) -> PathBuf {
    data.join("keys")
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> KeysError {
    move |source| KeysError::File { doing, path: path.to_owned(), source }
}

/// Refuses what gives others a right that it must not.
fn refuse(path: &Path, found: &Metadata, rights: u32, wanted: &'static str) -> Result<(), KeysError> {
    let mode = found.mode() & 0o777;
    if mode & rights == 0 { Ok(()) } else { Err(KeysError::Exposed { path: path.to_owned(), mode, wanted }) }
}

/// The text of somebody else's secret, without the end of its last line: a file that only its owner may read.
///
/// # Errors
/// [`KeysError`]
pub fn secret(path: &Path) -> Result<String, KeysError> {
    let parse = |text: &str| match text.trim_end_matches(['\r', '\n']) {
        "" => Err("it is empty".to_owned()),
        secret => Ok(secret.to_owned()),
    };
    let form = Form { is_private: true, missing: None, parse };
    let watched = Watched::open(path.to_owned(), form)?;
    Ok(watched.get().map(|text| text.as_str().to_owned()).unwrap_or_default())
}

/// The one who may write, while it lives.
pub(super) struct Writer {
    dir: PathBuf,
    _lock: File,
}

impl Writer {
    /// Makes the directory where it is missing, and waits until no other writes.
    pub(super) fn begin(dir: PathBuf) -> Result<Self, KeysError> {
        if let Some(data) = dir.parent() {
            std::fs::create_dir_all(data).map_err(failed("create", data))?;
        }
        match DirBuilder::new().mode(0o700).create(&dir) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(source) => return Err(KeysError::File { doing: "create", path: dir, source }),
        }
        // Whoever may write in the directory may put another file in the place of ours.
        refuse(&dir, &std::fs::metadata(&dir).map_err(failed("look at", &dir))?, 0o022, "700")?;
        let path = dir.join("lock");
        let lock = OpenOptions::new().create(true).truncate(false).write(true).mode(PRIVATE).open(&path);
        let lock = lock.map_err(failed("open", &path))?;
        lock.lock().map_err(failed("lock", &path))?;
        Ok(Self { dir, _lock: lock })
    }

    /// Where a file of this directory is.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Puts a file on the disk, whole: after a crash the old one is there, or this.
    pub(super) fn write(&self, name: &str, mode: u32, content: &impl Serialize) -> Result<(), KeysError> {
        let (path, draft) = (self.path(name), self.path(&format!("{name}.new")));
        let text = text(content)?;
        if text.len() > FILE_BYTES_MAX {
            let problem = format!("would be larger than {FILE_BYTES_MAX} bytes");
            return Err(KeysError::Unusable { path, problem });
        }
        // Left by a writer that was stopped; nobody else writes now.
        match std::fs::remove_file(&draft) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(KeysError::File { doing: "remove", path: draft, source }),
        }
        let write = || {
            let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&draft)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&draft, &path)?;
            File::open(&self.dir)?.sync_all()
        };
        write().map_err(failed("write", &path))
    }
}

/// How a file of keys is written: for people to read as well.
pub(super) fn text(content: &impl Serialize) -> Result<String, KeysError> {
    let made = serde_json::to_string_pretty(content);
    let mut text = made.map_err(|error| KeysError::Make { what: "a file of keys", problem: error.to_string() })?;
    text.push('\n');
    Ok(text)
}

/// What tells one state of a file from another.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: (u64, u64),
    bytes: u64,
    modified: (i64, i64),
}

impl Stamp {
    fn of(found: &Metadata) -> Self {
        Self { inode: (found.dev(), found.ino()), bytes: found.len(), modified: (found.mtime(), found.mtime_nsec()) }
    }
}

/// What a file is to its reader.
pub(super) struct Form<T> {
    /// Whether only its owner may read it.
    pub(super) is_private: bool,
    /// What it stands for where it is not there; without this it must be.
    pub(super) missing: Option<fn() -> T>,
    /// How its text is understood, or what is wrong with it.
    pub(super) parse: fn(&str) -> Result<T, String>,
}

/// A file that is read again when it has changed. While it cannot be used there is nothing.
pub(super) struct Watched<T> {
    path: PathBuf,
    form: Form<T>,
    seen: RwLock<Option<Seen<T>>>,
}

struct Seen<T> {
    /// Open, so that its inode stays its own.
    file: Option<(File, Stamp)>,
    value: Arc<T>,
}

impl<T> Watched<T> {
    /// Reads the file for the first time.
    pub(super) fn open(path: PathBuf, form: Form<T>) -> Result<Self, KeysError> {
        let watched = Self { path, form, seen: RwLock::new(None) };
        watched.refresh()?;
        Ok(watched)
    }

    /// What the file said when it was last looked at; `None` where it could not be used.
    pub(super) fn get(&self) -> Option<Arc<T>> {
        let seen = self.seen.read().unwrap_or_else(PoisonError::into_inner);
        seen.as_ref().map(|seen| Arc::clone(&seen.value))
    }

    /// Reads the file again if it is not the one that was read; says whether it was.
    pub(super) fn refresh(&self) -> Result<bool, KeysError> {
        // `None` where the system does not say: then reading says why.
        let there = match std::fs::metadata(&self.path) {
            Ok(found) => Some(Some(Stamp::of(&found))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Some(None),
            Err(_) => None,
        };
        {
            let seen = self.seen.read().unwrap_or_else(PoisonError::into_inner);
            let known = seen.as_ref().map(|seen| seen.file.as_ref().map(|(_, stamp)| *stamp));
            if there.is_some() && known == there {
                return Ok(false);
            }
        }
        let read = self.read();
        let (seen, done) = match read {
            Ok(seen) => (Some(seen), Ok(true)),
            Err(error) => (None, Err(error)),
        };
        *self.seen.write().unwrap_or_else(PoisonError::into_inner) = seen;
        done
    }

    fn read(&self) -> Result<Seen<T>, KeysError> {
        let unusable = |problem| KeysError::Unusable { path: self.path.clone(), problem };
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let missing = self.form.missing.ok_or_else(|| KeysError::Missing { path: self.path.clone() })?;
                return Ok(Seen { file: None, value: Arc::new(missing()) });
            }
            Err(source) => return Err(failed("open", &self.path)(source)),
        };
        // Before it is read: what is written meanwhile shows in the next look.
        let found = file.metadata().map_err(failed("look at", &self.path))?;
        if self.form.is_private {
            refuse(&self.path, &found, 0o077, "600")?;
        }
        let mut text = String::new();
        let bound = FILE_BYTES_MAX as u64 + 1;
        let bytes = (&file).take(bound).read_to_string(&mut text).map_err(failed("read", &self.path))?;
        if bytes > FILE_BYTES_MAX {
            return Err(unusable(format!("is larger than {FILE_BYTES_MAX} bytes")));
        }
        let value = Arc::new((self.form.parse)(&text).map_err(unusable)?);
        Ok(Seen { file: Some((file, Stamp::of(&found))), value })
    }
}
