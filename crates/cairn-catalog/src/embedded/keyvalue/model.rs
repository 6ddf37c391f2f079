//! A store in memory, for the simulation and as the reference of the tests.
//!
//! It keeps every guarantee of [`super`]: "durable" means that it survives [`ModelEngine::crash`], which
//! plays the end of the process or of the machine.

use std::{
    collections::{BTreeMap, HashMap},
    ops::Bound,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};

use super::{
    Applied, KeyValue, KeyValueEngine, KeyValueError, Rows, Snapshot, Statistics, Table, Write, check_batch, is_empty_range,
};

type Map = BTreeMap<(Table, Bytes), Bytes>;

/// Rows and the position they belong to.
#[derive(Clone, Debug, Default)]
struct State {
    rows: Arc<Map>,
    applied: Option<Applied>,
}

impl State {
    fn apply(&mut self, writes: &[Write], applied: Applied) {
        // Copies the rows only if a snapshot still holds them.
        let rows = Arc::make_mut(&mut self.rows);
        for write in writes {
            match write {
                Write::Put { table, key, value } => {
                    rows.insert((*table, key.clone()), value.clone());
                }
                Write::Delete { table, key } => {
                    rows.remove(&(*table, key.clone()));
                }
            }
        }
        self.applied = Some(applied);
    }
}

/// What survives a crash for certain, and the batches which may or may not.
#[derive(Debug, Default)]
struct Medium {
    persisted: State,
    pending: Vec<(Vec<Write>, Applied)>,
}

#[derive(Debug, Default)]
struct Contents {
    medium: Medium,
    current: State,
}

/// The engine of the model. Each engine has directories of its own; clones share them.
#[derive(Clone, Debug, Default)]
pub struct ModelEngine {
    directories: Arc<Mutex<HashMap<PathBuf, Arc<Model>>>>,
}

impl ModelEngine {
    /// An engine without any store.
    pub fn new() -> Self {
        Self::default()
    }

    /// Plays a crash of the store in a directory: of the batches applied since the last persist the first
    /// `survivors` are kept (all, if there are fewer) and the others are lost. Stores open there before the
    /// crash must not be used any more; open the directory again.
    pub fn crash(&self, directory: &Path, survivors: usize) {
        let mut directories = self.directories.lock();
        let Some(model) = directories.get(directory) else { return };
        let mut contents = model.contents.write();
        let medium = std::mem::take(&mut contents.medium);
        let mut state = medium.persisted;
        for (writes, applied) in medium.pending.into_iter().take(survivors) {
            state.apply(&writes, applied);
        }
        drop(contents);
        let fresh = Contents { medium: Medium { persisted: state.clone(), pending: Vec::new() }, current: state };
        directories.insert(directory.to_owned(), Arc::new(Model { contents: RwLock::new(fresh) }));
    }

    /// The number of batches in a directory which a crash now could lose.
    pub fn pending(&self, directory: &Path) -> usize {
        self.directories.lock().get(directory).map_or(0, |model| model.contents.read().medium.pending.len())
    }

    /// Removes the store of a directory.
    pub fn remove(&self, directory: &Path) {
        self.directories.lock().remove(directory);
    }
}

impl KeyValueEngine for ModelEngine {
    fn open(&self, directory: &Path) -> Result<Arc<dyn KeyValue>, KeyValueError> {
        Ok(self.directories.lock().entry(directory.to_owned()).or_default().clone())
    }
}

/// One store of the model.
#[derive(Debug, Default)]
pub struct Model {
    contents: RwLock<Contents>,
}

impl KeyValue for Model {
    fn applied(&self) -> Option<Applied> {
        self.contents.read().current.applied
    }

    fn apply(&self, writes: &[Write], applied: Applied) -> Result<(), KeyValueError> {
        let mut contents = self.contents.write();
        check_batch(writes, contents.current.applied, applied)?;
        contents.current.apply(writes, applied);
        contents.medium.pending.push((writes.to_vec(), applied));
        Ok(())
    }

    fn persist(&self) -> Result<Option<Applied>, KeyValueError> {
        let mut contents = self.contents.write();
        let Contents { medium, .. } = &mut *contents;
        for (writes, applied) in medium.pending.drain(..) {
            medium.persisted.apply(&writes, applied);
        }
        Ok(medium.persisted.applied)
    }

    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, KeyValueError> {
        Ok(self.contents.read().current.get(table, key))
    }

    fn snapshot(&self) -> Box<dyn Snapshot> {
        Box::new(self.contents.read().current.clone())
    }

    fn statistics(&self) -> Statistics {
        let contents = self.contents.read();
        let bytes = contents.current.rows.iter().map(|((_, key), value)| (1 + key.len() + value.len()) as u64).sum();
        Statistics { memory_bytes: bytes, ..Statistics::default() }
    }
}

impl State {
    fn get(&self, table: Table, key: &[u8]) -> Option<Bytes> {
        self.rows.get(&(table, Bytes::copy_from_slice(key))).cloned()
    }
}

impl Snapshot for State {
    fn applied(&self) -> Option<Applied> {
        self.applied
    }

    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, KeyValueError> {
        Ok(State::get(self, table, key))
    }

    fn range(&self, table: Table, from: Bound<&[u8]>, to: Bound<&[u8]>) -> Rows<'_> {
        if is_empty_range(from, to) {
            return Box::new(std::iter::empty());
        }
        let from = match from {
            Bound::Unbounded => Bound::Included((table, Bytes::new())),
            bound => bound.map(|key| (table, Bytes::copy_from_slice(key))),
        };
        let to = match to {
            // A table above the highest is never stored in, so this is the end of the rows of any table.
            Bound::Unbounded => Bound::Excluded((Table(table.0 + 1), Bytes::new())),
            bound => bound.map(|key| (table, Bytes::copy_from_slice(key))),
        };
        Box::new(self.rows.range((from, to)).map(|((_, key), value)| Ok((key.clone(), value.clone()))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(index: u64) -> (Vec<Write>, Applied) {
        let write = Write::Put { table: Table::new(1), key: Bytes::from(vec![index as u8]), value: Bytes::from_static(b"value") };
        (vec![write], Applied { index, epoch: 1, checksum: 0 })
    }

    #[test]
    fn conforms() {
        super::super::conformance::conformance(|| Arc::new(Model::default()));
    }

    #[test]
    fn a_crash_keeps_a_prefix() {
        let engine = ModelEngine::new();
        let directory = Path::new("zone");
        let store = engine.open(directory).unwrap();
        for index in 1..=5 {
            let (writes, applied) = batch(index);
            store.apply(&writes, applied).unwrap();
            if index == 2 {
                store.persist().unwrap();
            }
        }
        assert_eq!(engine.pending(directory), 3);
        engine.crash(directory, 1);
        let store = engine.open(directory).unwrap();
        assert_eq!(store.applied().unwrap().index, 3);
        assert!(store.get(Table::new(1), &[3]).unwrap().is_some());
        assert!(store.get(Table::new(1), &[4]).unwrap().is_none());
        engine.crash(directory, 0);
        assert_eq!(engine.open(directory).unwrap().applied().unwrap().index, 3);
    }
}
