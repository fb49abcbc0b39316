//! Programs that tests need: as they are installed, or out of their package.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where a program is installed.
fn installed(name: &OsStr) -> Option<PathBuf> {
    let paths = std::env::var_os("PATH")?;
    // Where servers are, and not on everybody's path.
    let more = [PathBuf::from("/usr/sbin")];
    std::env::split_paths(&paths).chain(more).map(|dir| dir.join(name)).find(|path| path.is_file())
}

/// A program of a package, unpacked beside the tests' own files; nothing is installed and no service started.
///
/// `path` is where the package has it, such as `usr/bin/promtool`.
pub(crate) fn program(path: &str, package: &str) -> PathBuf {
    let name = Path::new(path).file_name().unwrap();
    if let Some(path) = installed(name) {
        return path;
    }
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(package);
    let program = dir.join(path);
    if !program.is_file() {
        let fresh = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let apt = |args: &[&str]| Command::new("apt-get").args(args).current_dir(fresh.path()).output();
        let fetched = || apt(&["download", "--quiet", package]).is_ok_and(|done| done.status.success());
        if !fetched() {
            // The list of packages may never have been fetched on this machine.
            drop(apt(&["update", "--quiet"]));
            assert!(
                fetched(),
                "{path} is not installed, and apt-get cannot download the package {package} that has it"
            );
        }
        let archive = std::fs::read_dir(fresh.path()).unwrap().next().unwrap().unwrap().path();
        let whole = fresh.path().join("whole");
        let done = Command::new("dpkg").arg("-x").args([&archive, &whole]).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        // Where another test was faster, its copy is as good.
        drop(std::fs::rename(&whole, &dir));
    }
    program
}
