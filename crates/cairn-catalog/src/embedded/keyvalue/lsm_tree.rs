//! The engine on disk: the log-structured merge tree of the `lsm-tree` crate, used without any journal.
//!
//! Batches go into a sorted map in memory. When that is full, or at a persist, it is sealed, always between
//! two batches, and written to new files, which one atomic replacement of the list of files adds to the store.
//! So a crash finds a prefix of the batches. Before sealing, the position of the last batch is written as
//! a row of its own, so `apply` costs nothing for it. Compaction runs in a background thread, and rids the store of what deletions leave
//! behind ([`tombstones`]). Once a store is quiet, it brings together what lies in many places ([`settling`]).
//!
//! Values of [`LsmTreeOptions::separation_bytes`] or more are kept apart in blob files, so compactions and
//! scans of other tables do not touch them.
//!
//! Two things about the library decide how this file is written:
//!
//! * Sequence numbers are ours to hand out, but the library takes numbers from the same counter whenever it
//!   changes its list of files, and offers a "visible" counter which it then raises, even past a batch which is
//!   only half inserted. That counter is not used; [`Views::visible`] is, and it moves only between batches.
//! * A read looks up the list of files by its sequence number and panics if that was released. So every read
//!   registers in [`Views::open`] first, and the lowest number there bounds what is released.

use std::{
    any::Any,
    collections::BTreeMap,
    fs::{File, TryLockError},
    io,
    ops::Bound,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::Arc,
    thread::JoinHandle,
    time::Duration,
};

use ::lsm_tree::{
    AbstractTree, AnyTree, Cache, Config, DescriptorTable, Guard, InternalValue, KvSeparationOptions, Memtable,
    SequenceNumberCounter, Slice, ValueType, compaction::CompactionStrategy,
};
use bytes::Bytes;
use parking_lot::{Condvar, Mutex, MutexGuard};
use tombstones::Strategies;

use super::{
    Applied, KeyValue, KeyValueEngine, KeyValueError, Rows, Snapshot, Statistics, Table, Write, check_batch, is_empty_range,
    manifest,
};

mod settling;
mod tombstones;

/// The key of the row which holds the position. No table can have this first byte.
const POSITION_KEY: [u8; 1] = [u8::MAX];

/// The key of a row that is nothing but the first, as that of the position is the last: so whatever comes later lies between two rows of the
/// last level, where alone the library merges it down. No table can have this first byte.
const FIRST_KEY: [u8; 1] = [u8::MIN];

/// How long a waiting thread sleeps at most before it looks again.
const WAIT: Duration = Duration::from_millis(50);

/// How long the background thread waits after an error before it tries again.
const RETRY: Duration = Duration::from_secs(1);

/// Values below this length are copied out of the cache, so that a small value does not hold a whole block.
const COPY_BELOW: usize = 1024;

/// The limits of an engine.
#[derive(Clone, Debug)]
pub struct LsmTreeOptions {
    /// Bytes of the cache for blocks and large values, shared by all stores of the engine.
    pub cache_bytes: u64,
    /// Bytes of batches a store collects in memory before it writes them to files. A store holds up to
    /// `1 + sealed_memtables` times this, plus one batch.
    pub memtable_bytes: u64,
    /// How many deletions a store collects in memory before it writes them to files, whatever their size: listings walk over them there.
    pub deletions_max: usize,
    /// So many tombstones may be in files above the last level, however small the store is. Beyond, and beyond one for each sixteen rows, they are
    /// compacted away.
    pub tombstones_min: u64,
    /// How many full memtables may wait for the background thread before `apply` waits too.
    pub sealed_memtables: usize,
    /// How many unmerged runs of files there may be before `apply` and `persist` wait for compaction.
    pub overlapping_runs: usize,
    /// Files kept open, shared by all stores of the engine.
    pub open_files: usize,
    /// The length, in bytes, from which values are kept apart from the sorted files.
    pub separation_bytes: u32,
    /// The size of one sorted file, in bytes. Readers wait while the last file of a compaction is synced,
    /// so smaller files mean shorter waits.
    pub table_file_bytes: u64,
    /// How long no memtable is written to files before a store counts as quiet, and what lies in many runs of files is merged into one.
    pub quiet_after: Duration,
}

impl Default for LsmTreeOptions {
    fn default() -> Self {
        Self {
            cache_bytes: 256 << 20,
            memtable_bytes: 32 << 20,
            deletions_max: 32 << 10,
            tombstones_min: 64 << 10,
            sealed_memtables: 2,
            overlapping_runs: 20,
            open_files: 512,
            separation_bytes: 1024,
            table_file_bytes: 16 << 20,
            quiet_after: Duration::from_secs(10),
        }
    }
}

/// Opens stores which share one cache.
pub struct LsmTreeEngine {
    options: LsmTreeOptions,
    cache: Arc<Cache>,
    descriptors: Arc<DescriptorTable>,
}

impl LsmTreeEngine {
    /// An engine with these limits.
    pub fn new(options: LsmTreeOptions) -> Self {
        Self {
            cache: Arc::new(Cache::with_capacity_bytes(options.cache_bytes)),
            descriptors: Arc::new(DescriptorTable::new(options.open_files)),
            options,
        }
    }
}

impl KeyValueEngine for LsmTreeEngine {
    fn open(&self, directory: &Path) -> Result<Arc<dyn KeyValue>, KeyValueError> {
        Ok(Arc::new(LsmTreeStore::open(self, directory)?))
    }
}

/// What readers may see and what they hold.
struct Views {
    /// Reads see the rows whose sequence number is below this.
    visible: u64,
    /// The position of the last batch below `visible`.
    applied: Option<Applied>,
    /// How many readers there are at each sequence number.
    open: BTreeMap<u64, usize>,
}

/// What only the holder of the apply lock changes.
struct Writer {
    /// The tree's active memtable. Inserting through the tree would take its lock on the list of files for each
    /// row, which is held during the syncs of a flush or compaction. Only [`Inner::seal`] replaces the memtable.
    memtable: Arc<Memtable>,
    /// The position of the last batch in the tree.
    applied: Option<Applied>,
    /// Whether a batch was applied since the memtable was sealed last.
    dirty: bool,
    /// Deletions in the active memtable.
    deletions: usize,
}

/// Orders to the background thread, and what it has to say.
#[derive(Default)]
struct Background {
    wanted: bool,
    stop: bool,
    /// The last error, until the work succeeds again.
    failure: Option<String>,
}

struct Inner {
    /// Where the tree is, below the store's directory.
    directory: PathBuf,
    options: LsmTreeOptions,
    tree: AnyTree,
    sequence: SequenceNumberCounter,
    writer: Mutex<Writer>,
    /// Held by whoever compacts.
    merging: Mutex<()>,
    views: Mutex<Views>,
    background: Mutex<Background>,
    changed: Condvar,
    /// Held locked as long as anything uses the files.
    _lock: File,
}

/// A store of this engine. Dropping it ends the background work but persists nothing.
pub struct LsmTreeStore {
    inner: Arc<Inner>,
    thread: Option<JoinHandle<()>>,
}

impl LsmTreeStore {
    fn open(engine: &LsmTreeEngine, directory: &Path) -> Result<Self, KeyValueError> {
        let io_error = |file: &Path| {
            let file = file.to_owned();
            |source| KeyValueError::Io { file, source }
        };
        std::fs::create_dir_all(directory).map_err(io_error(directory))?;
        let lock = lock(directory)?;
        let tree_directory = directory.join("tree");
        manifest::check(&tree_directory)?;

        let sequence = SequenceNumberCounter::new(0);
        let unused_visible = SequenceNumberCounter::new(0);
        // Any blob file with a quarter of garbage may be rewritten when a compaction meets it. The library's default
        // spares all but the oldest, which took 3.4 times the live bytes where this takes 1.9, for 1.26 instead of 1.0
        // bytes written per byte of large values.
        let separation = KvSeparationOptions::default().separation_threshold(engine.options.separation_bytes).age_cutoff(1.0);
        let config = Config::new(&tree_directory, sequence.clone(), unused_visible)
            .use_cache(engine.cache.clone())
            .use_descriptor_table(Some(engine.descriptors.clone()))
            .with_kv_separation(Some(separation));
        let (tree, visible, applied) = guarded(&tree_directory, || {
            let tree = config.open()?;
            // Sequence number 0 is never visible to any read, so the first batch gets 1.
            let visible = tree.get_highest_seqno().map_or(1, |highest| highest + 1);
            let position = tree.get(POSITION_KEY, visible)?;
            Ok((tree, visible, position))
        })?;
        let applied = match applied {
            None => None,
            Some(position) => Some(Applied::decode(&position).ok_or_else(|| KeyValueError::Damaged {
                file: tree_directory.clone(),
                detail: "the row with the position does not have its form".to_owned(),
            })?),
        };
        sequence.set(visible);
        // The library does not sync the directory into which blob files go when it creates it or files in it.
        sync_directory(&tree_directory)?;
        sync_directory(directory)?;

        let memtable = tree.active_memtable();
        let inner = Arc::new(Inner {
            directory: tree_directory,
            options: engine.options.clone(),
            tree,
            sequence,
            writer: Mutex::new(Writer { memtable, applied, dirty: false, deletions: 0 }),
            merging: Mutex::new(()),
            views: Mutex::new(Views { visible, applied, open: BTreeMap::new() }),
            background: Mutex::new(Background { wanted: true, ..Background::default() }),
            changed: Condvar::new(),
            _lock: lock,
        });
        let thread = std::thread::Builder::new()
            .name("keyvalue-merge".to_owned())
            .spawn({
                let inner = inner.clone();
                move || inner.work()
            })
            .map_err(io_error(directory))?;
        Ok(Self { inner, thread: Some(thread) })
    }
}

impl Drop for LsmTreeStore {
    fn drop(&mut self) {
        self.inner.background.lock().stop = true;
        self.inner.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // The thread catches the panics of the library, so there is nothing to pass on.
            let _ = thread.join();
        }
    }
}

fn lock(directory: &Path) -> Result<File, KeyValueError> {
    let file = directory.join("lock");
    let io_error = |source| KeyValueError::Io { file: file.clone(), source };
    let opened = File::options().create(true).truncate(false).write(true).open(&file).map_err(io_error)?;
    match opened.try_lock() {
        Ok(()) => Ok(opened),
        Err(TryLockError::WouldBlock) => Err(KeyValueError::InUse { directory: directory.to_owned() }),
        Err(TryLockError::Error(source)) => Err(io_error(source)),
    }
}

fn sync_directory(directory: &Path) -> Result<(), KeyValueError> {
    File::open(directory)
        .and_then(|opened| opened.sync_all())
        .map_err(|source| KeyValueError::Io { file: directory.to_owned(), source })
}

/// Calls the library and turns its errors and panics into ours.
///
/// The library panics on some states which only damaged files can bring about, for example on a reference to
/// a missing value, and after a panic under one of its locks on every further call.
fn guarded<Output>(directory: &Path, call: impl FnOnce() -> Result<Output, ::lsm_tree::Error>) -> Result<Output, KeyValueError> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(output)) => Ok(output),
        Ok(Err(error)) => Err(translate(directory, error)),
        Err(panic) => Err(damage(directory, panic_text(panic.as_ref()))),
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    format!("panic: {}", text.unwrap_or("of unknown kind"))
}

fn translate(directory: &Path, error: ::lsm_tree::Error) -> KeyValueError {
    match error {
        ::lsm_tree::Error::Io(source) => match source.kind() {
            // A file which is gone, too short, or makes the library seek before its begin is damage, not
            // a fault of the system.
            io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => {
                damage(directory, source.to_string())
            }
            _ => KeyValueError::Io { file: directory.to_owned(), source },
        },
        error => damage(directory, error.to_string()),
    }
}

fn damage(directory: &Path, detail: String) -> KeyValueError {
    manifest::locate_damage(directory).unwrap_or(KeyValueError::Damaged { file: directory.to_owned(), detail })
}

/// The key under which the library stores a row.
fn stored_key(table: Table, key: &[u8]) -> Vec<u8> {
    let mut stored = Vec::with_capacity(1 + key.len());
    stored.push(table.number());
    stored.extend_from_slice(key);
    stored
}

fn to_bytes(value: Slice) -> Bytes {
    if value.len() < COPY_BELOW { Bytes::copy_from_slice(&value) } else { Bytes::from_owner(value) }
}

impl Inner {
    /// Registers a reader at what is visible now.
    fn open_view(&self) -> (u64, Option<Applied>) {
        let mut views = self.views.lock();
        let visible = views.visible;
        *views.open.entry(visible).or_default() += 1;
        (visible, views.applied)
    }

    fn close_view(&self, visible: u64) {
        let mut views = self.views.lock();
        if let Some(count) = views.open.get_mut(&visible) {
            *count -= 1;
            if *count == 0 {
                views.open.remove(&visible);
            }
        }
    }

    /// No read needs what was superseded before this sequence number.
    fn released(&self) -> u64 {
        let views = self.views.lock();
        views.open.keys().next().map_or(views.visible, |lowest| views.visible.min(*lowest))
    }

    /// Lets new readers use the newest list of files, so that the older one can be released. The apply lock
    /// makes sure that no batch is half inserted below the number which becomes visible.
    fn show_newest(&self) {
        let writer = self.writer.lock();
        self.views.lock().visible = self.sequence.get();
        drop(writer);
    }

    /// Seals the memtable between two batches, if it has any.
    fn seal(&self, writer: &mut MutexGuard<'_, Writer>) -> Result<(), KeyValueError> {
        if let (true, Some(applied)) = (writer.dirty, writer.applied) {
            guarded(&self.directory, || {
                let sequence = self.sequence.next();
                let row = |key, value: &[u8]| InternalValue::from_components(key, value, sequence, ValueType::Value);
                writer.memtable.insert(row(FIRST_KEY, &[]));
                writer.memtable.insert(row(POSITION_KEY, &applied.encode()));
                self.tree.rotate_memtable();
                writer.memtable = self.tree.active_memtable();
                Ok(())
            })?;
            writer.dirty = false;
            writer.deletions = 0;
        }
        Ok(())
    }

    /// Writes all sealed memtables to files and adds these to the store.
    fn flush(&self) -> Result<(), KeyValueError> {
        let flushed = guarded(&self.directory, || {
            let lock = self.tree.get_flush_lock();
            self.tree.flush(&lock, self.released())
        })?;
        if flushed.is_some() {
            // The library syncs blob files, but not the directory they are in.
            sync_directory(&self.directory.join("blobs"))?;
            self.show_newest();
        }
        Ok(())
    }

    fn wake_background(&self) {
        self.background.lock().wanted = true;
        self.changed.notify_all();
    }

    /// Waits while the background work is too far behind.
    fn wait_for_room(&self) -> Result<(), KeyValueError> {
        loop {
            let full = guarded(&self.directory, || {
                Ok(self.tree.sealed_memtable_count() > self.options.sealed_memtables
                    || self.tree.l0_run_count() >= self.options.overlapping_runs)
            })?;
            if !full {
                return Ok(());
            }
            let mut background = self.background.lock();
            if let Some(detail) = &background.failure {
                return Err(KeyValueError::Stalled { detail: detail.clone() });
            }
            background.wanted = true;
            self.changed.notify_all();
            self.changed.wait_for(&mut background, WAIT);
        }
    }

    /// The background thread: flushes and compacts until told to stop.
    fn work(&self) {
        let strategies = Strategies::new(&self.options);
        // After it was settled there is nothing to do before something is wanted again.
        let mut is_settled = false;
        loop {
            let is_quiet = {
                let mut background = self.background.lock();
                let mut is_quiet = false;
                while !background.wanted && !background.stop && !is_quiet {
                    if is_settled {
                        self.changed.wait(&mut background);
                    } else {
                        is_quiet = self.changed.wait_for(&mut background, self.options.quiet_after).timed_out();
                    }
                }
                if background.stop {
                    return;
                }
                is_quiet &= !background.wanted;
                background.wanted = false;
                is_quiet
            };
            is_settled = is_quiet;
            let worked = if is_quiet { self.settle(&strategies) } else { self.work_off(&strategies) };
            let failure = worked.err();
            let mut background = self.background.lock();
            background.failure = failure.as_ref().map(ToString::to_string);
            self.changed.notify_all();
            if let Some(error) = failure {
                tracing::error!(directory = %self.directory.display(), %error, "the key-value store cannot flush or compact");
                background.wanted = true;
                if !background.stop {
                    self.changed.wait_for(&mut background, RETRY);
                }
            }
        }
    }

    /// Flushes and compacts until there is nothing left to do.
    fn work_off(&self, strategies: &Strategies) -> Result<(), KeyValueError> {
        let _merging = self.merging.lock();
        loop {
            if guarded(&self.directory, || Ok(self.tree.sealed_memtable_count() > 0))? {
                self.flush()?;
                self.changed.notify_all();
            }
            if self.background.lock().stop {
                return Ok(());
            }
            let compacted = self.close_gap()?
                || self.compact(&strategies.by_size)?
                || self.is_burdened()? && self.compact(&strategies.to_the_last)?;
            if !compacted {
                return self.drop_hollow();
            }
        }
    }

    /// One step, if there is one. Says whether there was.
    fn compact<Strategy: CompactionStrategy + Send + Sync + 'static>(
        &self,
        strategy: &Arc<Strategy>,
    ) -> Result<bool, KeyValueError> {
        // The library does not say whether it found anything to compact; a new list of files does.
        let compacted = guarded(&self.directory, || {
            let before = self.tree.current_version().id();
            self.tree.compact(strategy.clone(), self.released())?;
            Ok(self.tree.current_version().id() != before)
        })?;
        if compacted {
            self.show_newest();
            self.changed.notify_all();
        }
        Ok(compacted)
    }

    fn get(&self, table: Table, key: &[u8], visible: u64) -> Result<Option<Bytes>, KeyValueError> {
        let value = guarded(&self.directory, || self.tree.get(stored_key(table, key), visible))?;
        Ok(value.map(to_bytes))
    }
}

impl KeyValue for LsmTreeStore {
    fn applied(&self) -> Option<Applied> {
        self.inner.views.lock().applied
    }

    fn apply(&self, writes: &[Write], applied: Applied) -> Result<(), KeyValueError> {
        let inner = &self.inner;
        let mut writer = inner.writer.lock();
        check_batch(writes, writer.applied, applied)?;
        let memtable_bytes = guarded(&inner.directory, || {
            let sequence = inner.sequence.next();
            let mut memtable_bytes = 0;
            for write in writes {
                let row = match write {
                    Write::Put { table, key, value } => {
                        InternalValue::from_components(stored_key(*table, key), &value[..], sequence, ValueType::Value)
                    }
                    Write::Delete { table, key } => InternalValue::new_tombstone(stored_key(*table, key), sequence),
                };
                (_, memtable_bytes) = writer.memtable.insert(row);
            }
            let mut views = inner.views.lock();
            views.visible = sequence + 1;
            views.applied = Some(applied);
            Ok(memtable_bytes)
        })?;
        writer.applied = Some(applied);
        writer.dirty = true;
        writer.deletions += writes.iter().filter(|write| matches!(write, Write::Delete { .. })).count();
        if memtable_bytes >= inner.options.memtable_bytes || writer.deletions >= inner.options.deletions_max {
            inner.seal(&mut writer)?;
            drop(writer);
            inner.wake_background();
            inner.wait_for_room()?;
        }
        Ok(())
    }

    fn persist(&self) -> Result<Option<Applied>, KeyValueError> {
        let inner = &self.inner;
        let applied = {
            let mut writer = inner.writer.lock();
            inner.seal(&mut writer)?;
            writer.applied
        };
        inner.flush()?;
        inner.wake_background();
        // What was promised is durable; the caller only learns later if there is no room for more.
        if let Err(error) = inner.wait_for_room() {
            tracing::warn!(directory = %inner.directory.display(), %error, "compaction is behind");
        }
        Ok(applied)
    }

    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, KeyValueError> {
        let (visible, _) = self.inner.open_view();
        let value = self.inner.get(table, key, visible);
        self.inner.close_view(visible);
        value
    }

    fn snapshot(&self) -> Box<dyn Snapshot> {
        let (visible, applied) = self.inner.open_view();
        Box::new(LsmTreeSnapshot { inner: self.inner.clone(), visible, applied })
    }

    fn statistics(&self) -> Statistics {
        let inner = &self.inner;
        let snapshots = inner.views.lock().open.values().sum::<usize>() as u64;
        let census = inner.census().unwrap_or_default();
        guarded(&inner.directory, || {
            let tree = &inner.tree;
            Ok(Statistics {
                disk_bytes: tree.disk_space(),
                memory_bytes: tree.version_memtable_size_sum(),
                table_files: tree.table_count() as u64,
                blob_files: tree.blob_file_count() as u64,
                overlapping_runs: tree.l0_run_count() as u64,
                rows: census.rows,
                tombstones: census.tombstones,
                snapshots,
            })
        })
        .unwrap_or_default()
    }
}

struct LsmTreeSnapshot {
    inner: Arc<Inner>,
    visible: u64,
    applied: Option<Applied>,
}

impl Drop for LsmTreeSnapshot {
    fn drop(&mut self) {
        self.inner.close_view(self.visible);
    }
}

impl Snapshot for LsmTreeSnapshot {
    fn applied(&self) -> Option<Applied> {
        self.applied
    }

    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, KeyValueError> {
        self.inner.get(table, key, self.visible)
    }

    fn range(&self, table: Table, from: Bound<&[u8]>, to: Bound<&[u8]>) -> Rows<'_> {
        if is_empty_range(from, to) {
            return Box::new(std::iter::empty());
        }
        let from = match from {
            Bound::Unbounded => Bound::Included(stored_key(table, &[])),
            bound => bound.map(|key| stored_key(table, key)),
        };
        let to = match to {
            Bound::Unbounded => Bound::Excluded(vec![table.number() + 1]),
            bound => bound.map(|key| stored_key(table, key)),
        };
        let directory = self.inner.directory.as_path();
        let opened = guarded(directory, || Ok(self.inner.tree.range::<Vec<u8>, _>((from, to), self.visible, None)));
        match opened {
            Ok(rows) => Box::new(RangeRows { directory, rows: Some(rows) }),
            Err(error) => Box::new(std::iter::once(Err(error))),
        }
    }
}

type LibraryRows = Box<dyn DoubleEndedIterator<Item = ::lsm_tree::IterGuardImpl> + Send>;

struct RangeRows<'a> {
    directory: &'a Path,
    /// `None` after an error, after which the library's iterator is in no state to go on.
    rows: Option<LibraryRows>,
}

impl RangeRows<'_> {
    fn step(
        &mut self,
        step: impl FnOnce(&mut LibraryRows) -> Option<::lsm_tree::IterGuardImpl>,
    ) -> Option<Result<(Bytes, Bytes), KeyValueError>> {
        let rows = self.rows.as_mut()?;
        let row = guarded(self.directory, || step(rows).map(Guard::into_inner).transpose());
        match row {
            Ok(row) => row.map(|(key, value)| Ok((Bytes::copy_from_slice(&key[1..]), to_bytes(value)))),
            Err(error) => {
                self.rows = None;
                Some(Err(error))
            }
        }
    }
}

impl Iterator for RangeRows<'_> {
    type Item = Result<(Bytes, Bytes), KeyValueError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step(Iterator::next)
    }
}

impl DoubleEndedIterator for RangeRows<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.step(DoubleEndedIterator::next_back)
    }
}

#[cfg(test)]
mod tests;
