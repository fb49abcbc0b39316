//! Finds the index of a log when it is opened, and says why it must be built anew if it must.

use std::path::Path;
use std::sync::Arc;

use smol_str::SmolStr;

use super::disk::{Disk, SledError};
use super::keeper::Files;
use super::list::{self, Listed};
use super::run::Run;
use super::{Name, Runs, StreamHead};
use crate::frame::decode;
use crate::ledger::Ledger;
use crate::store::Source;
use crate::window::Window;
use crate::witness::WitnessFile;
use crate::{OpenError, Options, Rebuilt};

pub(crate) const DERIVED_DIR: &str = "derived";
pub(crate) const LIST: &str = "INDEX";

/// An index ready for use.
pub(crate) struct Found {
    pub(crate) files: Files,
    pub(crate) runs: Runs,
    /// Dictionary and stream heads at the end of the runs.
    pub(crate) ledger: Ledger,
    pub(crate) rebuilt: Option<Rebuilt>,
}

/// An index as it was found, for those who only look.
pub(crate) struct Inspected {
    pub(crate) disk: Disk,
    pub(crate) runs: Runs,
}

/// Opens the index in `dir` and changes nothing.
pub(crate) fn inspect(dir: &Path) -> Result<Inspected, Rebuilt> {
    let path = dir.join(DERIVED_DIR);
    if !path.join("db").exists() {
        return Err(Rebuilt::Missing);
    }
    let heads = match list::read(&dir.join(LIST)) {
        Ok(Listed::Runs(heads)) => heads,
        Ok(Listed::Missing | Listed::Damaged) | Err(_) => return Err(Rebuilt::Witness),
    };
    let opened = Disk::open(&path, Options::default().sled_cache_bytes);
    let disk = opened.map_err(|SledError { detail }| Rebuilt::Unreadable { detail })?;
    let load = |head| Run::load(head, disk.clone()).map(Arc::new);
    let runs = heads.into_iter().map(load).collect::<Result<_, _>>();
    let runs = runs.map(Runs).map_err(|block| Rebuilt::Damaged { run: block.run })?;
    Ok(Inspected { disk, runs })
}

/// Opens the index in `dir`, or begins an empty one.
pub(crate) fn find(
    dir: &Path,
    head: Option<Arc<WitnessFile>>,
    options: &Options,
    source: &Arc<dyn Source>,
) -> Result<Found, OpenError> {
    let (path, list) = (dir.join(DERIVED_DIR), dir.join(LIST));
    let existed = path.join("db").exists();
    let stated = list::read(&list).map_err(OpenError::storage("read", &list))?;
    let mut rebuilt = None;
    let disk = match Disk::open(&path, options.sled_cache_bytes) {
        Ok(disk) => disk,
        Err(SledError { detail }) => {
            rebuilt = Some(Rebuilt::Unreadable { detail });
            anew(&path, options)?
        }
    };
    let mut files = Files::new(disk, list, head, options.merge_runs);
    let from_disk = match (rebuilt, stated) {
        (Some(why), _) => Err(why),
        (None, Listed::Missing) if existed => Err(Rebuilt::Witness),
        (None, Listed::Missing) => Err(Rebuilt::Missing),
        (None, Listed::Damaged) => Err(Rebuilt::Witness),
        (None, Listed::Runs(heads)) => heads
            .into_iter()
            .map(|head| Run::load(head, files.disk.clone()).map(Arc::new))
            .collect::<Result<Vec<_>, _>>()
            .map(Runs)
            .map_err(|block| Rebuilt::Damaged { run: block.run }),
    };
    let folded = from_disk.and_then(|runs| {
        let ledger = fold(&runs)?;
        belongs(&runs, source)?;
        let tidied = files.tidy(&runs);
        tidied.map_err(|SledError { detail }| Rebuilt::Unreadable { detail })?;
        Ok((runs, ledger))
    });
    match folded {
        Ok((runs, ledger)) => Ok(Found { files, runs, ledger, rebuilt: None }),
        Err(why) => {
            // An empty log never had an index to lose.
            let rebuilt = (source.end() > 0).then_some(why);
            restart(files, &path, options, rebuilt)
        }
    }
}

/// Empties an index, so that it can be built anew.
fn restart(mut files: Files, path: &Path, options: &Options, rebuilt: Option<Rebuilt>) -> Result<Found, OpenError> {
    if files.disk.clear_index().is_err() {
        let Files { list, head, merge_runs, disk, .. } = files;
        drop(disk);
        files = Files::new(anew(path, options)?, list, head, merge_runs);
    }
    let runs = Runs::default();
    let tidied = files.tidy(&runs);
    tidied.map_err(|SledError { detail }| OpenError::Sled { path: path.to_owned(), detail })?;
    Ok(Found { files, runs, ledger: Ledger::new(), rebuilt })
}

fn anew(path: &Path, options: &Options) -> Result<Disk, OpenError> {
    Disk::discard(path).map_err(OpenError::storage("remove", path))?;
    let opened = Disk::open(path, options.sled_cache_bytes);
    opened.map_err(|SledError { detail }| OpenError::Sled { path: path.to_owned(), detail })
}

/// Dictionary and stream heads, from the runs alone.
fn fold(runs: &Runs) -> Result<Ledger, Rebuilt> {
    let mut ledger = Ledger::new();
    for run in &runs.0 {
        let damaged = Rebuilt::Damaged { run: run.head.id };
        let mut fits = true;
        let names = run.each(|Name { number, name }: Name| {
            fits &= ledger.names.len() + 1 == number && ledger.names.push(SmolStr::new(name));
        });
        let heads = run.each(|head: StreamHead| ledger.set_head_of(head.stream, head.version));
        if names.is_err() || heads.is_err() || !fits || ledger.names.len() != run.head.to.names {
            return Err(damaged);
        }
    }
    ledger.end = runs.end();
    Ok(ledger)
}

/// Whether the last commit that the index covers is the log's own.
fn belongs(runs: &Runs, source: &Arc<dyn Source>) -> Result<(), Rebuilt> {
    let end = runs.end();
    if end.head.seq.0 == 0 {
        return Ok(());
    }
    let mut window = Window::jumping(source.clone());
    let found = window.frame(end.last, source.end()).ok().and_then(|range| {
        let frame = window.bytes(range);
        let raw = decode(frame).ok()?;
        let same = raw.last() == end.head.seq && raw.hash() == end.head.hash;
        Some(same && end.last + frame.len() as u64 == end.address)
    });
    if found == Some(true) { Ok(()) } else { Err(Rebuilt::Ahead { index: end.head.seq }) }
}
