//! Where questions are answered: a few rows by their keys at once, on the task that asks; everything that walks over rows on a thread that
//! may block, and only so many walks at a time.
//!
//! Where a zone's store cannot be read, [`Watched`] tells it apart from what the rows say: another zone's state holds the same, and is asked.
//!
//! A walk that waits for its turn holds nothing: no snapshot, no lock, no thread. One that nobody waits for any more before it begins is not
//! begun; one that has begun is bounded by its page.

use std::cell::RefCell;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cairn_disk::Executor;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::embedded::keyvalue::{KeyValueError, Snapshot, Table};
use crate::embedded::state::Query;
use crate::embedded::state::reader::{RowIterator, StateReader};
use crate::{CatalogError, CatalogResult};

/// Most walks over rows at one time. Each occupies a thread for as long as its page takes; more of them than disks and cores can serve only
/// keep each other's files and memory from being released.
const SCANS_MAX: usize = 16;

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
    failed: RefCell<Option<String>>,
}

impl Watched {
    pub(super) fn new(snapshot: Box<dyn Snapshot>) -> Self {
        Self { snapshot, failed: RefCell::default() }
    }

    /// What the store's first failure was, if there was one.
    pub(super) fn failure(&self) -> Option<String> {
        self.failed.borrow().clone()
    }

    fn note(&self, error: KeyValueError) -> CatalogError {
        // Without the files' names, as everything that may reach clients.
        let error = CatalogError::from(error);
        self.failed.borrow_mut().get_or_insert_with(|| error.to_string());
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
