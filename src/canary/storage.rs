//! The directory of the log: a small file can be written and brought to the disk, and there is room.
//!
//! Whether the log itself takes a commit, the record of the round shows.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::future::BoxFuture;
use tokio::sync::watch;

use super::blocking::Alone;
use super::{Component, Fault};
use crate::settings;

/// The file that is written, beside the log.
const FILE: &str = "canary";

/// Whether the directory takes a write.
pub(super) struct Writable {
    path: PathBuf,
    alone: Alone,
}

impl Writable {
    pub(super) fn new(dir: &Path) -> Arc<Self> {
        Arc::new(Self { path: dir.join(FILE), alone: Alone::default() })
    }
}

impl Component for Writable {
    fn check(self: Arc<Self>) -> BoxFuture<'static, Result<(), Fault>> {
        Box::pin(async move {
            let path = self.path.clone();
            let write = move || {
                let mut file = File::create(&path)?;
                file.write_all(b"The canary writes this file to see whether it can.\n")?;
                file.sync_all()?;
                Ok(())
            };
            self.alone.run(write).await
        })
    }
}

/// The file system of the log has too little room.
#[derive(Debug, thiserror::Error)]
#[error("{free_mib} MiB free, at least {free_mib_min} MiB wanted")]
struct Full {
    free_mib: u64,
    free_mib_min: u64,
}

/// How much room the file system of the directory has.
pub(super) struct Room {
    dir: PathBuf,
    settings: watch::Receiver<settings::Canary>,
    alone: Alone,
}

impl Room {
    pub(super) fn new(dir: &Path, settings: watch::Receiver<settings::Canary>) -> Arc<Self> {
        Arc::new(Self { dir: dir.to_owned(), settings, alone: Alone::default() })
    }
}

impl Component for Room {
    fn check(self: Arc<Self>) -> BoxFuture<'static, Result<(), Fault>> {
        Box::pin(async move {
            let (dir, free_mib_min) = (self.dir.clone(), self.settings.borrow().disk_free_mib_min);
            let look = move || {
                let stat = rustix::fs::statvfs(&dir)?;
                let free_mib = stat.f_bavail.saturating_mul(stat.f_frsize) >> 20;
                if free_mib < free_mib_min { Err(Full { free_mib, free_mib_min }.into()) } else { Ok(()) }
            };
            self.alone.run(look).await
        })
    }
}
