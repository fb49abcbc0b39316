//! A file that appears whole under its name or not at all.
//!
//! It is written under a name of its own in the directory where it will stand, and takes its name when it is whole
//! and on the disk. What came to stand under the name meanwhile is replaced only where that is allowed; what is
//! left undone is removed.

use std::fs::{self, File, Permissions};
use std::io;
use std::path::{Path, PathBuf};

use tempfile::{Builder, NamedTempFile};

use super::CliError;

/// A file on its way.
#[derive(Debug)]
pub(super) struct Whole {
    path: PathBuf,
    replaces: bool,
    partial: NamedTempFile,
}

impl Whole {
    /// Begins a file; where it `replaces` another and its name is a link, it will stand where the link leads.
    ///
    /// # Errors
    /// [`CliError::Usage`] where the name is taken, or is not a file's; [`CliError::File`] where its directory
    /// cannot be written.
    pub(super) fn begin(path: &Path, replaces: bool) -> Result<Self, CliError> {
        let failed = |source| CliError::File { doing: "create", path: path.to_owned(), source };
        let mut builder = Builder::new();
        builder.prefix(".ephor-export-").suffix(".partial").permissions(permissions_of(path)?);
        let taken = fs::symlink_metadata(path).is_ok();
        if taken && !replaces {
            return Err(there_already(path));
        }
        let path = if taken { fs::canonicalize(path).map_err(failed)? } else { path.to_owned() };
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let partial = builder.tempfile_in(dir).map_err(failed)?;
        Ok(Self { path, replaces, partial })
    }

    /// Where to write.
    pub(super) fn file(&self) -> &File {
        self.partial.as_file()
    }

    /// Gives the file its name, once it is on the disk.
    ///
    /// # Errors
    /// [`CliError::Usage`] where the name has been taken meanwhile and may not be; [`CliError::File`].
    pub(super) fn finish(self) -> Result<(), CliError> {
        let Self { path, replaces, partial } = self;
        let failed = |doing, source| CliError::File { doing, path: path.clone(), source };
        partial.as_file().sync_all().map_err(|source| failed("write", source))?;
        let named = if replaces { partial.persist(&path) } else { partial.persist_noclobber(&path) };
        match named {
            Ok(_) => Ok(()),
            Err(refused) if refused.error.kind() == io::ErrorKind::AlreadyExists => Err(there_already(&path)),
            Err(refused) => Err(failed("name", refused.error)),
        }
    }
}

fn there_already(path: &Path) -> CliError {
    CliError::usage(format!("{} is there already: --force replaces it", path.display()))
}

/// The permissions of what will be replaced, else those that any new file has.
fn permissions_of(path: &Path) -> Result<Permissions, CliError> {
    use std::os::unix::fs::PermissionsExt;
    let refused = |sentence: &str| Err(CliError::usage(format!("{} {sentence}", path.display())));
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => refused("is a directory: name a file in it"),
        Ok(found) if !found.is_file() => {
            refused("is no file that could be replaced: leave --out away, give --format, and pipe the rows there")
        }
        Ok(found) => Ok(found.permissions()),
        Err(_) if fs::symlink_metadata(path).is_ok() => {
            refused("is a link that leads nowhere: name the file that it should lead to")
        }
        // What is wrong with the name itself is found where the file is made.
        Err(_) => Ok(Permissions::from_mode(0o666)),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    /// The names in a directory, in order.
    fn names(dir: &Path) -> Vec<String> {
        let name = |entry: io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
        let mut names: Vec<String> = fs::read_dir(dir).unwrap().map(name).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_made_meanwhile_is_not_replaced_and_nothing_is_left_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rows.csv");
        let (one, other) = (Whole::begin(&path, false).unwrap(), Whole::begin(&path, false).unwrap());
        one.file().write_all(b"one").unwrap();
        other.file().write_all(b"other").unwrap();
        one.finish().unwrap();
        let refused = other.finish().unwrap_err();
        assert!(refused.to_string().contains("is there already: --force replaces it"), "{refused}");
        assert_eq!((names(dir.path()), fs::read(&path).unwrap()), (vec!["rows.csv".to_owned()], b"one".to_vec()));
        drop(Whole::begin(&path, true).unwrap());
        assert_eq!((names(dir.path()), fs::read(&path).unwrap()), (vec!["rows.csv".to_owned()], b"one".to_vec()));
    }

    #[test]
    fn a_link_stays_and_what_it_leads_to_is_replaced_with_its_permissions() {
        let dir = tempfile::tempdir().unwrap();
        let (path, link) = (dir.path().join("rows.csv"), dir.path().join("newest.csv"));
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        symlink("rows.csv", &link).unwrap();
        assert!(Whole::begin(&link, false).unwrap_err().to_string().contains("is there already"));
        let whole = Whole::begin(&link, true).unwrap();
        whole.file().write_all(b"new").unwrap();
        whole.finish().unwrap();
        assert_eq!((fs::read_link(&link).unwrap(), fs::read(&path).unwrap()), ("rows.csv".into(), b"new".to_vec()));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(names(dir.path()), ["newest.csv", "rows.csv"]);
    }

    #[test]
    fn what_is_no_file_is_never_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("nowhere.csv");
        symlink("no/such/file", &link).unwrap();
        for (path, part) in [
            (dir.path(), "is a directory"),
            (Path::new("/dev/null"), "is no file that could be replaced"),
            (&link, "is a link that leads nowhere"),
        ] {
            let refused = Whole::begin(path, true).unwrap_err();
            assert!(refused.to_string().contains(part), "{refused}");
        }
    }
}
