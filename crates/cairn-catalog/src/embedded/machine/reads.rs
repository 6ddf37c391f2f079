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
//! A walk that waits for its turn holds nothing: no snapshot, no lock, no thread. One that nobody waits for any more before it begins is not
//! begun; one that has begun is bounded by its page.

use std::cell::RefCell;
use std::ops::Bound;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use cairn_disk::Executor;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::Instant;
use tokio::time::error::Elapsed;

use crate::embedded::keyvalue::{KeyValue, KeyValueError, Snapshot, Table};
use crate::embedded::state::Query;
use crate::embedded::state::reader::{RowIterator, StateReader};
use crate::{CatalogError, CatalogResult};

/// Most walks over rows at one time. Each occupies a thread for as long as its page takes; more of them than disks and cores can serve only
/// keep each other's files and memory from being released.
const SCANS_MAX: usize = 16;

/// Most reads of a few rows at one time on threads that may block.
const BLOCKING_POINT_READS_MAX: usize = 32;

/// A read of a few rows that takes so long hangs: as long as the log itself waits for a zone's store before it goes on with another.
const READ_HANGS_AFTER: Duration = Duration::from_secs(1);

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
        | Query::ListTenants(_)
        | Query::ListAccounts(_)
        | Query::ListAccessKeys(_)
        | Query::ListBuckets(_) => false,
    }
}

/// A view of a state that remembers whether its store failed. What a row *says* is another matter: that is the same in every zone.
pub(super) struct Watched {
    snapshot: Box<dyn Snapshot>,
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
    pub(super) fn new(snapshot: Box<dyn Snapshot>) -> Self {
        Self { snapshot, failed: RefCell::default() }
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
        Snapshot::get(self.snapshot.as_ref(), table, key).map_err(|error| self.note(error))
    }

    fn range(&self, table: Table, from: Bound<&[u8]>, to: Bound<&[u8]>) -> RowIterator<'_> {
        Box::new(Snapshot::range(self.snapshot.as_ref(), table, from, to).map(|row| row.map_err(|error| self.note(error))))
    }
}

/// Room for reads of a few rows.
pub(super) struct PointRoom {
    executor: Arc<dyn Executor>,
    /// The runtime's threads that reads may hold at one time: all but one.
    threads: Arc<Semaphore>,
    /// The state that was read last, by its address, and the turns on threads that may block. Another state has turns of its own, or reads
    /// that hang would keep those waiting that go on elsewhere.
    turns: Mutex<(usize, Arc<Semaphore>)>,
}

impl PointRoom {
    /// For the runtime that this is called in.
    pub(super) fn new(executor: Arc<dyn Executor>) -> Self {
        let threads = tokio::runtime::Handle::current().metrics().num_workers().saturating_sub(1);
        let turns = Mutex::new((0, Arc::new(Semaphore::new(BLOCKING_POINT_READS_MAX))));
        Self { executor, threads: Arc::new(Semaphore::new(threads)), turns }
    }

    /// Begins a read of this state, which may hang. One that is dropped is left to itself when it has begun, and does not begin when it waits
    /// for its turn.
    pub(super) fn start<T: Send + 'static>(
        &self,
        state: &Arc<dyn KeyValue>,
        read: impl FnOnce() -> T + Send + 'static,
    ) -> PointRead<T> {
        let (mut reply, answer) = oneshot::channel();
        let begun = Arc::new(OnceLock::new());
        let point_read = PointRead { answer, begun: begun.clone() };
        let (executor, turns) = (self.executor.clone(), self.turns_of(state));
        if self.threads.available_permits() == 0 && turns.available_permits() > 0 {
            // All in use, or (in a simulation) none.
            if let Ok(turn) = turns.clone().try_acquire_owned() {
                executor.spawn_blocking(Box::pin(async move { finish(read, reply, &begun, turn) }));
                return point_read;
            }
        }
        let threads = self.threads.clone();
        tokio::spawn(async move {
            if let Ok(thread) = threads.try_acquire_owned() {
                return finish(read, reply, &begun, thread);
            }
            let turn = tokio::select! {
                biased;
                turn = turns.acquire_owned() => turn,
                () = reply.closed() => return,
            };
            if let Ok(turn) = turn {
                executor.spawn_blocking(Box::pin(async move { finish(read, reply, &begun, turn) }));
            }
        });
        point_read
    }

    fn turns_of(&self, state: &Arc<dyn KeyValue>) -> Arc<Semaphore> {
        // While a read of a state hangs, the state is there, and no other has its address.
        let address = Arc::as_ptr(state).addr();
        let mut turns = self.turns.lock();
        if turns.0 != address {
            *turns = (address, Arc::new(Semaphore::new(BLOCKING_POINT_READS_MAX)));
        }
        turns.1.clone()
    }
}

/// A read that may have begun.
pub(super) struct PointRead<T> {
    answer: oneshot::Receiver<T>,
    begun: Arc<OnceLock<Instant>>,
}

impl<T> PointRead<T> {
    /// What it brings, if it comes in time; the outer error says that it did not.
    pub(super) async fn wait(&mut self, limit: Duration) -> Result<CatalogResult<T>, Elapsed> {
        let answer = tokio::time::timeout(limit, &mut self.answer).await?;
        // Dropped without an answer: the read panicked, or the process ends.
        Ok(answer.map_err(|_| CatalogError::Unavailable("a read of the catalog was broken off".to_owned())))
    }

    /// Whether the store has been at it for too long. One that only waits for its turn says nothing about the store.
    pub(super) fn hangs(&self) -> bool {
        self.begun.get().is_some_and(|begun| begun.elapsed() >= READ_HANGS_AFTER)
    }
}

fn finish<T>(read: impl FnOnce() -> T + Send, reply: oneshot::Sender<T>, begun: &OnceLock<Instant>, room: OwnedSemaphorePermit) {
    if !reply.is_closed() {
        begun.get_or_init(Instant::now);
        let answer = read();
        drop(room);
        let _ = reply.send(answer);
    }
}

/// Room for walks over rows.
pub(super) struct ScanRoom {
    executor: Arc<dyn Executor>,
    turns: Arc<Semaphore>,
}

impl ScanRoom {
    pub(super) fn new(executor: Arc<dyn Executor>) -> Self {
        Self { executor, turns: Arc::new(Semaphore::new(SCANS_MAX)) }
    }

    /// Waits for a turn, in the order of asking; [`CatalogError::Busy`] when none comes in time.
    pub(super) async fn turn(&self, wait_max: Duration) -> CatalogResult<OwnedSemaphorePermit> {
        match tokio::time::timeout(wait_max, self.turns.clone().acquire_owned()).await {
            Ok(Ok(turn)) => Ok(turn),
            Ok(Err(_)) | Err(_) => Err(CatalogError::Busy("too many listings at once".to_owned())),
        }
    }

    /// Does a walk on a thread that may block, and gives its turn back when the walk ends, whether or not anybody still waits for it.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        turn: OwnedSemaphorePermit,
        walk: impl FnOnce() -> T + Send + 'static,
    ) -> CatalogResult<T> {
        let (reply, answer) = oneshot::channel();
        self.executor.spawn_blocking(Box::pin(async move {
            if !reply.is_closed() {
                let _ = reply.send(walk());
            }
            drop(turn);
        }));
        // Dropped without an answer: the walk panicked, or the process ends.
        answer.await.map_err(|_| CatalogError::Unavailable("a walk over the catalog was broken off".to_owned()))
    }
}
