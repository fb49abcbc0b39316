//! Where others keep what they derive from the log: snapshots, positions of consumers.
//!
//! It is the same sled that holds the index, and goes with it: whoever keeps something here must be
//! able to make it again. A log in memory has it in memory.

use std::collections::BTreeMap;
use std::fs::File;
use std::ops::RangeBounds;
use std::sync::{Arc, Mutex, PoisonError};

use crate::index::disk::{Disk, SledError, fenced};

/// A key and its value, as a range gives them.
pub type Pair = (Vec<u8>, Vec<u8>);
type Map = Arc<Mutex<BTreeMap<Vec<u8>, Vec<u8>>>>;

/// The store of what is derived from one log. Cheap to clone.
#[derive(Clone)]
pub struct Derived(Kept);

#[derive(Clone)]
enum Kept {
    Memory(Arc<Mutex<BTreeMap<String, Map>>>),
    Sled { disk: Disk, lock: Arc<File> },
}

impl Derived {
    pub(crate) fn memory() -> Self {
        Self(Kept::Memory(Arc::default()))
    }

    pub(crate) fn sled(disk: Disk, lock: Arc<File>) -> Self {
        Self(Kept::Sled { disk, lock })
    }

    /// Opens a tree of its own for one use, or begins it.
    ///
    /// # Errors
    /// What sled said.
    pub fn tree(&self, name: &str) -> Result<DerivedTree, SledError> {
        match &self.0 {
            Kept::Memory(trees) => {
                let mut trees = trees.lock().unwrap_or_else(PoisonError::into_inner);
                let map = trees.entry(name.to_owned()).or_default().clone();
                Ok(DerivedTree(Tree::Memory(map)))
            }
            Kept::Sled { disk, lock } => {
                let tree = disk.tree(&format!("derived/{name}"))?;
                Ok(DerivedTree(Tree::Sled { tree, disk: disk.clone(), _lock: lock.clone() }))
            }
        }
    }
}

/// Keys and values in the order of the keys. Cheap to clone.
#[derive(Clone)]
pub struct DerivedTree(Tree);

#[derive(Clone)]
enum Tree {
    Memory(Map),
    Sled { tree: sled::Tree, disk: Disk, _lock: Arc<File> },
}

impl DerivedTree {
    /// The value under `key`.
    ///
    /// # Errors
    /// What sled said.
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, SledError> {
        match &self.0 {
            Tree::Memory(map) => Ok(map.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned()),
            Tree::Sled { tree, .. } => fenced(|| Ok(tree.get(key)?.map(|value| value.to_vec()))),
        }
    }

    /// Puts a value; on disk after the next flush.
    ///
    /// # Errors
    /// What sled said.
    pub fn put(&self, key: &[u8], value: &[u8]) -> Result<(), SledError> {
        match &self.0 {
            Tree::Memory(map) => {
                let mut map = map.lock().unwrap_or_else(PoisonError::into_inner);
                map.insert(key.to_vec(), value.to_vec());
                Ok(())
            }
            Tree::Sled { tree, .. } => fenced(|| tree.insert(key, value).map(|_| ())),
        }
    }

    /// Removes a key.
    ///
    /// # Errors
    /// What sled said.
    pub fn remove(&self, key: &[u8]) -> Result<(), SledError> {
        match &self.0 {
            Tree::Memory(map) => {
                map.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
                Ok(())
            }
            Tree::Sled { tree, .. } => fenced(|| tree.remove(key).map(|_| ())),
        }
    }

    /// At most `max` pairs in order; from the end backwards if `newest_first`.
    ///
    /// # Errors
    /// What sled said.
    pub fn range(
        &self,
        keys: impl RangeBounds<Vec<u8>>,
        newest_first: bool,
        max: usize,
    ) -> Result<Vec<Pair>, SledError> {
        match &self.0 {
            Tree::Memory(map) => {
                let map = map.lock().unwrap_or_else(PoisonError::into_inner);
                let pairs = map.range(keys).map(|(key, value)| (key.clone(), value.clone()));
                Ok(if newest_first { pairs.rev().take(max).collect() } else { pairs.take(max).collect() })
            }
            Tree::Sled { tree, .. } => fenced(|| {
                let pairs = tree.range::<Vec<u8>, _>(keys);
                let owned = |pair: sled::Result<(sled::IVec, sled::IVec)>| {
                    pair.map(|(key, value)| (key.to_vec(), value.to_vec()))
                };
                if newest_first {
                    pairs.rev().take(max).map(owned).collect()
                } else {
                    pairs.take(max).map(owned).collect()
                }
            }),
        }
    }

    /// Returns when everything put is on disk.
    ///
    /// # Errors
    /// What sled said.
    pub fn flush(&self) -> Result<(), SledError> {
        match &self.0 {
            Tree::Memory(_) => Ok(()),
            Tree::Sled { disk, .. } => disk.flush(),
        }
    }
}
