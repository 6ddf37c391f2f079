//! Where questions are answered: a few rows by their keys at once, on the task that asks; everything that walks over rows on a thread that
//! may block, and only so many walks at a time.
//!
//! A walk that waits for its turn holds nothing: no snapshot, no lock, no thread. One that nobody waits for any more before it begins is not
//! begun; one that has begun is bounded by its page.

use std::sync::Arc;
use std::time::Duration;

use cairn_disk::Executor;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::embedded::state::Query;
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
        walk: impl FnOnce() -> CatalogResult<T> + Send + 'static,
    ) -> CatalogResult<T> {
        let (reply, answer) = oneshot::channel();
        self.executor.spawn_blocking(Box::pin(async move {
            if !reply.is_closed() {
                let _ = reply.send(walk());
            }
            drop(turn);
        }));
        // Dropped without an answer: the walk panicked, or the process ends.
        answer.await.unwrap_or_else(|_| Err(CatalogError::Unavailable("a walk over the catalog was broken off".to_owned())))
    }
}
