//! A key-value engine for the simulated machine: [`ModelEngine`], tied to directories of a [`SimDisk`].
//!
//! A store is known by a number in a file of its directory, so it goes where that directory goes: renamed with it, rolled back with it
//! when names are lost with the power, gone when it is gone. As the real engine does, opening makes durable what is *in* the
//! directory and not the directory's own name: that is left to whoever made it. Calls of a process that is dead fail.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use cairn_catalog::embedded::keyvalue::model::ModelEngine;
use cairn_catalog::embedded::keyvalue::{Applied, KeyValue, KeyValueEngine, KeyValueError, Snapshot, Statistics, Table, Write};

use crate::sim_disk::SimDisk;

/// The file that ties a directory to a store.
const FILE: &str = "store";

/// The stores of a simulated machine as one process sees them.
#[derive(Clone)]
pub struct SimEngine {
    disk: SimDisk,
    model: ModelEngine,
    number_next: Arc<AtomicU64>,
}

impl SimEngine {
    /// The engine of this process's view of the machine, without any store yet.
    #[must_use]
    pub fn new(disk: &SimDisk) -> Self {
        Self { disk: disk.clone(), model: ModelEngine::new(), number_next: Arc::default() }
    }

    /// The same stores as the next process sees them; see [`SimDisk::boot`].
    #[must_use]
    pub fn boot(&self, disk: &SimDisk) -> Self {
        Self { disk: disk.clone(), ..self.clone() }
    }

    /// The process has ended, with or without the power: of what each store applied since its last persist it keeps a prefix, whose length
    /// `survivors` draws from 0 to the number given to it.
    pub fn crash(&self, mut survivors: impl FnMut(usize) -> usize) {
        for number in 0..self.number_next.load(Ordering::Relaxed) {
            let name = name(number);
            let pending = self.model.pending(&name);
            if pending > 0 {
                self.model.crash(&name, survivors(pending));
            }
        }
    }

    /// The store in this directory, if there is one.
    #[must_use]
    pub fn store(&self, directory: &Path) -> Option<Arc<dyn KeyValue>> {
        let files = self.disk.backup(directory);
        let number = std::str::from_utf8(files.get(Path::new(FILE))?).ok()?.parse().ok()?;
        self.model.open(&name(number)).ok()
    }

    /// The directories below `path` that hold a store.
    #[must_use]
    pub fn directories(&self, path: &Path) -> Vec<PathBuf> {
        let files = self.disk.files(path).into_iter().filter(|(file, _)| file.ends_with(FILE));
        files.filter_map(|(file, _)| file.parent().map(Path::to_path_buf)).collect()
    }
}

fn name(number: u64) -> PathBuf {
    PathBuf::from(number.to_string())
}

fn dead(directory: &Path) -> KeyValueError {
    KeyValueError::Io { file: directory.to_owned(), source: io::Error::other("the simulated process is dead") }
}

impl KeyValueEngine for SimEngine {
    fn open(&self, directory: &Path) -> Result<Arc<dyn KeyValue>, KeyValueError> {
        if !self.disk.is_alive() {
            return Err(dead(directory));
        }
        let inner = if let Some(store) = self.store(directory) {
            store
        } else {
            let number = self.number_next.fetch_add(1, Ordering::Relaxed);
            self.disk.write_inside(directory, &BTreeMap::from([(FILE.into(), number.to_string().into_bytes())]));
            self.model.open(&name(number))?
        };
        Ok(Arc::new(SimStore { inner, directory: directory.to_owned(), disk: self.disk.clone() }))
    }
}

struct SimStore {
    inner: Arc<dyn KeyValue>,
    directory: PathBuf,
    disk: SimDisk,
}

impl SimStore {
    fn alive(&self) -> Result<(), KeyValueError> {
        if self.disk.is_alive() { Ok(()) } else { Err(dead(&self.directory)) }
    }
}

impl KeyValue for SimStore {
    fn applied(&self) -> Option<Applied> {
        self.inner.applied()
    }

    fn apply(&self, writes: &[Write], applied: Applied) -> Result<(), KeyValueError> {
        self.alive()?;
        self.inner.apply(writes, applied)
    }

    fn persist(&self) -> Result<Option<Applied>, KeyValueError> {
        self.alive()?;
        self.inner.persist()
    }

    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, KeyValueError> {
        self.alive()?;
        self.inner.get(table, key)
    }

    fn snapshot(&self) -> Box<dyn Snapshot> {
        self.inner.snapshot()
    }

    fn statistics(&self) -> Statistics {
        self.inner.statistics()
    }
}
