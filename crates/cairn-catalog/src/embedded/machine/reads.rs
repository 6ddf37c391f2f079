//! Where questions are answered: a few rows by their keys at once, beside the task that asks; everything that walks over rows on a thread that
//! may block, and only so many walks at a time.
//!
//! Rows that are in use are in memory, and a change of threads would cost as much as reading them; but nobody can tell beforehand, and a read
//! of a disk that hangs holds its thread for as long as it likes. So a point read is a task of its own, that whoever asks can stop
//! waiting for ([`PointRoom`]), and never may such reads hold all threads of the runtime: one thread is always left, and a read that would
//! need it goes to a thread that may block.
//!
//! Where a zone's store cannot be read, [`Watched`] tells it apart from what the rows say: another zone's state holds the same, and is asked.
//!
//! A walk that waits for its turn holds no snapshot, no lock and no thread. One that nobody waits for any more before it begins is not begun; one
//! that has begun is bounded by its page, and is left to itself where it makes no step for long: its page is read from another zone.

use std::cell::RefCell;
use std::ops::Bound;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use cairn_disk::Executor;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::turns::{Progress, ReadSettings, Reading, StoreTurns, Turns};
use crate::embedded::keyvalue::{KeyValue, KeyValueError, Snapshot, Table};
use crate::embedded::state::Query;
use crate::embedded::state::reader::{RowIterator, StateReader};
use crate::{CatalogError, CatalogResult};

/// Most rows that are named by their keys in one question and still answered at once.
const POINTS_MAX: usize = 4;

/// Whether a question reads a few rows by their keys, which are in memory when they are in use.
pub(super) fn is_point_read(query: &Query) -> bool {
    match query {
        Query::GetVersion(_)
        | Query::VersionExists(_)
        | Query::Upload(_)
        | Query::Zones(())
        | Query::SettingsEpoch(())
        | Query::Tenant(_)
        | Query::TenantByName(_)
        | Query::Account(_)
        | Query::AccessKey(_)
        | Query::BucketTags(_)
        | Query::Bucket(_)
        | Query::BucketByName(_)
        | Query::Usage(_)
        | Query::Time(()) => true,
        Query::Blobs(ids) => ids.len() <= POINTS_MAX,
        Query::Named(places) => places.len() <= POINTS_MAX,
        Query::ManifestParts(request) => request.limit as usize <= POINTS_MAX,
        Query::ListObjects(_)
        | Query::ListVersions(_)
        | Query::ListParts(_)
        | Query::UploadForCompletion(_)
        | Query::ListUploads(_)
        | Query::BlobPage(_)
        | Query::IncompleteBlobs(_)
        | Query::CondemnedBlobs(_)
        | Query::Sessions(())
        | Query::Leases(())
        | Query::ListTenants(_)
        | Query::ListAccounts(_)
        | Query::ListAccessKeys(_)
        | Query::ListBuckets(_) => false,
    }
}

/// A view of a state that remembers whether its store failed. What a row *says* is another matter: that is the same in every zone.
pub(super) struct Watched {
    snapshot: Box<dyn Snapshot>,
    progress: Arc<Progress>,
    failed: RefCell<Option<Unreadable>>,
}

/// Why a store could not be read.
#[derive(Debug, Clone)]
pub struct Unreadable {
    /// Its bytes are wrong, and stay so; otherwise it may be read later.
    pub is_damaged: bool,
    /// In words, without files' names.
    pub detail: String,
}

impl From<Unreadable> for KeyValueError {
    fn from(Unreadable { is_damaged, detail }: Unreadable) -> Self {
        if is_damaged { Self::Damaged { file: PathBuf::from("the checkpoint"), detail } } else { Self::Stalled { detail } }
    }
}

impl Watched {
    /// Every row that is read is a step of this progress.
    pub(super) fn new(snapshot: Box<dyn Snapshot>, progress: Arc<Progress>) -> Self {
        Self { snapshot, progress, failed: RefCell::default() }
    }

    /// What the store's first failure was, if there was one.
    pub(super) fn failure(&self) -> Option<Unreadable> {
        self.failed.borrow().clone()
    }

    fn note(&self, error: KeyValueError) -> CatalogError {
        let is_damaged = matches!(error, KeyValueError::Damaged { .. });
        // Without the files' names, as everything that may reach clients.
        let error = CatalogError::from(error);
        self.failed.borrow_mut().get_or_insert_with(|| Unreadable { is_damaged, detail: error.to_string() });
        error
    }
}

impl StateReader for Watched {
    fn get(&self, table: Table, key: &[u8]) -> CatalogResult<Option<Bytes>> {
        self.progress.step();
        Snapshot::get(self.snapshot.as_ref(), table, key).map_err(|error| self.note(error))
    }

    fn range(&self, table: Table, from: Bound<&[u8]>, to: Bound<&[u8]>) -> RowIterator<'_> {
        self.progress.step();
        let rows = Snapshot::range(self.snapshot.as_ref(), table, from, to);
        Box::new(rows.inspect(|_| self.progress.step()).map(|row| row.map_err(|error| self.note(error))))
    }
}

/// Room for reads of a few rows.
pub(super) struct PointRoom {
    executor: Arc<dyn Executor>,
    settings: ReadSettings,
    /// The runtime's threads that reads may hold at one time: all but one.
    threads: Arc<Semaphore>,
    turns: Turns,
}

impl PointRoom {
    /// For the runtime that this is called in.
    pub(super) fn new(executor: Arc<dyn Executor>, settings: ReadSettings) -> Self {
        let threads = tokio::runtime::Handle::current().metrics().num_workers().saturating_sub(1);
        Self { executor, settings, threads: Arc::new(Semaphore::new(threads)), turns: Turns::new(settings.blocking_reads_max) }
    }

    /// Begins a read of this state, which may hang. One that is dropped is left to itself when it has begun, and does not begin when it waits
    /// for its turn.
    pub(super) fn start<T: Send + 'static>(
        &self,
        state: &Arc<dyn KeyValue>,
        progress: Arc<Progress>,
        read: impl FnOnce() -> T + Send + 'static,
    ) -> Reading<T> {
        let (executor, turns) = (self.executor.clone(), self.turns.of(state));
        let (reading, mut begin) = Reading::new(progress, turns.clone(), self.settings.hangs_after);
        if self.threads.available_permits() == 0 {
            // All in use, or (in a simulation) none.
            if let Ok(turn) = turns.free.clone().try_acquire_owned() {
                executor.spawn_blocking(Box::pin(async move { begin.run(read, turn) }));
                return reading;
            }
        }
        let threads = self.threads.clone();
        tokio::spawn(async move {
            if let Ok(thread) = threads.try_acquire_owned() {
                return begin.run(read, thread);
            }
            let turn = tokio::select! {
                biased;
                turn = turns.free.clone().acquire_owned() => turn,
                () = begin.given_up() => return,
            };
            if let Ok(turn) = turn {
                executor.spawn_blocking(Box::pin(async move { begin.run(read, turn) }));
            }
        });
        reading
    }
}

/// Room for walks over rows.
pub(super) struct ScanRoom {
    executor: Arc<dyn Executor>,
    settings: ReadSettings,
    turns: Turns,
}

impl ScanRoom {
    pub(super) fn new(executor: Arc<dyn Executor>, settings: ReadSettings) -> Self {
        Self { executor, settings, turns: Turns::new(settings.scans_max) }
    }

    /// The turns of this state: they are given in the order of asking.
    pub(super) fn turns(&self, state: &Arc<dyn KeyValue>) -> Arc<StoreTurns> {
        self.turns.of(state)
    }

    /// Begins a walk on a thread that may block. It gives its turn back when it ends.
    pub(super) fn start<T: Send + 'static>(
        &self,
        (turns, turn): (Arc<StoreTurns>, OwnedSemaphorePermit),
        progress: Arc<Progress>,
        walk: impl FnOnce() -> T + Send + 'static,
    ) -> Reading<T> {
        let (reading, begin) = Reading::new(progress, turns, self.settings.hangs_after);
        self.executor.spawn_blocking(Box::pin(async move { begin.run(walk, turn) }));
        reading
    }
}
