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

/// A program of a package: as it is installed, or else unpacked beside the tests' own files with whatever it needs that
/// is not installed either; nothing is installed and no service started.
///
/// `path` is where the package has it, such as `usr/bin/promtool`.
pub(crate) fn command(path: &str, package: &str) -> Command {
    let name = Path::new(path).file_name().unwrap();
    if let Some(path) = installed(name) {
        return Command::new(path);
    }
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(package);
    let program = dir.join(path);
    if !program.is_file() {
        // The list of packages may never have been fetched on this machine.
        if unpack(package, &dir).is_none() {
            drop(Command::new("apt-get").args(["update", "--quiet"]).output());
            assert!(
                unpack(package, &dir).is_some(),
                "{path} is not installed, and apt-get cannot download the package {package} that has it"
            );
        }
    }
    let mut command = Command::new(program);
    let mut libraries = Vec::new();
    dirs_of_libraries(&dir, &mut libraries);
    command.env("LD_LIBRARY_PATH", std::env::join_paths(libraries).unwrap());
    command
}

/// Unpacks a package, and those it needs that are not installed, into a directory.
fn unpack(package: &str, dir: &Path) -> Option<()> {
    let fresh = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let apt = |args: &[&str]| {
        let done = Command::new("apt-get").args(args).current_dir(fresh.path()).output().ok()?;
        done.status.success().then(|| String::from_utf8_lossy(&done.stdout).into_owned())
    };
    let lines = apt(&["install", "--print-uris", "--quiet=2", "--no-install-recommends", package])?;
    // 'http://…/promtool_2.42_amd64.deb' promtool_2.42_amd64.deb 1234 MD5Sum:…
    let packages = lines.lines().filter_map(|line| line.split_once("' ")?.1.split_once('_').map(|(name, _)| name));
    apt(&[&["download", "--quiet"], &*packages.collect::<Vec<_>>()].concat())?;
    let whole = fresh.path().join("whole");
    for archive in std::fs::read_dir(fresh.path()).unwrap() {
        let done = Command::new("dpkg").arg("-x").args([&archive.unwrap().path(), &whole]).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }
    // Where another test was faster, its copy is as good.
    drop(std::fs::rename(&whole, dir));
    Some(())
}

/// Every directory of a tree that holds shared libraries.
fn dirs_of_libraries(dir: &Path, found: &mut Vec<PathBuf>) {
    let entries: Vec<_> = std::fs::read_dir(dir).unwrap().map(Result::unwrap).collect();
    if entries.iter().any(|entry| entry.file_name().to_string_lossy().contains(".so")) {
        found.push(dir.to_owned());
    }
    // Not through links: one leads to the root.
    for entry in entries.into_iter().filter(|entry| entry.file_type().unwrap().is_dir()) {
        dirs_of_libraries(&entry.path(), found);
    }
}
