//! Removing condemned blobs from the zones (B5).
//!
//! For each zone by itself: what the record names there is deleted, durably, and then confirmed. A zone that is away keeps its part of the
//! queue until it is back, however long that is, and holds no other zone up. Places of retired incarnations went with the zone's memory.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cairn_types::ids::ZONE_COUNT;
use cairn_types::{BlobId, ChunkId, Incarnation, Locator, ZoneIndex};
use cairn_zone::ZoneError;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::catalog_port::{Blob, PortResult};
use crate::replicator::Replicator;
use crate::tasks::{Pauses, Stop, run_rounds};

/// How condemned blobs are removed.
#[derive(Debug, Clone)]
pub struct CondemnedConfig {
    /// Blobs in a page.
    pub page: usize,
    /// Chunks in one delete.
    pub deletes_max: usize,
    /// The pause when there is nothing to do.
    pub idle_pause: Duration,
}

impl Default for CondemnedConfig {
    fn default() -> Self {
        Self { page: 256, deletes_max: 256, idle_pause: Duration::from_secs(5) }
    }
}

/// How removing is going, for each zone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CondemnedProgress {
    /// Blobs whose deletion was confirmed.
    pub confirmed: [u64; ZONE_COUNT],
    /// Chunks that were deleted.
    pub chunks_deleted: [u64; ZONE_COUNT],
    /// Blobs that were due at the last look and could not be confirmed; `None` where the zone was away.
    pub unconfirmed: [Option<u64>; ZONE_COUNT],
}

/// Removes condemned blobs.
pub struct CondemnedWorker {
    replicator: Arc<Replicator>,
    config: CondemnedConfig,
    from: tokio::sync::Mutex<[Option<Bytes>; ZONE_COUNT]>,
    progress: Mutex<CondemnedProgress>,
    stop: Stop,
}

/// What must be deleted in a zone of this life before its confirmation. Pure.
#[must_use]
pub fn places_in(blob: &Blob, zone: ZoneIndex, incarnation: Incarnation) -> Vec<(Locator, ChunkId)> {
    blob.numbered_chunks()
        .filter_map(|(ordinal, chunk)| {
            let replica = chunk.replicas.get(zone.get())?.as_ref()?;
            (replica.incarnation == incarnation).then(|| (replica.locator.clone(), blob.chunk_id(ordinal)))
        })
        .collect()
}

/// Whether an answer to a delete says that the chunk is not there any more. Pure.
#[must_use]
pub fn is_gone(answer: &Result<(), ZoneError>) -> bool {
    // A mismatch (B7): the locator names another chunk by now, so ours is gone.
    matches!(answer, Ok(()) | Err(ZoneError::NotFound | ZoneError::Mismatch(_)))
}

impl CondemnedWorker {
    /// A worker over this gateway's replica layer. Several gateways may remove at once.
    #[must_use]
    pub fn new(replicator: Arc<Replicator>, config: CondemnedConfig) -> Self {
        Self {
            replicator,
            config,
            from: tokio::sync::Mutex::new(Default::default()),
            progress: Mutex::new(CondemnedProgress::default()),
            stop: Stop::default(),
        }
    }

    /// How it is going.
    #[must_use]
    pub fn progress(&self) -> CondemnedProgress {
        *self.progress.lock()
    }

    /// Ticks until told to stop.
    pub async fn run(&self, shutdown: watch::Receiver<bool>) {
        self.stop.heed(shutdown.clone());
        let pauses = Pauses { busy: Duration::ZERO, idle: self.config.idle_pause };
        run_rounds(shutdown, pauses, "removing condemned blobs waits for the catalog", || self.tick()).await;
    }

    /// One page for each zone; says whether another round at once would find more.
    pub async fn tick(&self) -> PortResult<bool> {
        let mut from = self.from.lock().await;
        let incarnations = self.replicator.refresh_incarnations().await?;
        let mut more = false;
        for (zone, from) in ZoneIndex::ALL.into_iter().zip(from.iter_mut()) {
            // A zone counts only in the life that the catalog knows: in another one it cannot be told what is there.
            let current = incarnations.get(zone.get()).copied();
            let present = self.replicator.zones.incarnation(zone).filter(|own| Some(*own) == current);
            let (confirmed, unconfirmed) = match present {
                Some(incarnation) => self.page(zone, incarnation, from).await?,
                None => (0, None),
            };
            more |= from.is_some() || confirmed > 0;
            let mut progress = self.progress.lock();
            if let Some(slot) = progress.unconfirmed.get_mut(zone.get()) {
                *slot = unconfirmed;
            }
            if let Some(slot) = progress.confirmed.get_mut(zone.get()) {
                *slot += confirmed;
            }
        }
        Ok(more)
    }

    async fn page(&self, zone: ZoneIndex, incarnation: Incarnation, from: &mut Option<Bytes>) -> PortResult<(u64, Option<u64>)> {
        let page = self.replicator.catalog.condemned_due(zone, from.take(), self.config.page).await?;
        *from = page.next;
        let mut confirmed: Vec<BlobId> = Vec::new();
        let mut unconfirmed = 0;
        for blob in page.blobs.iter().filter(|blob| blob.condemned) {
            // A page may take minutes; what was deleted of it is confirmed before the process ends.
            if !self.stop.is_set() && self.delete(zone, incarnation, blob).await {
                confirmed.push(blob.id);
            } else {
                unconfirmed += 1;
            }
        }
        let count = confirmed.len() as u64;
        if count > 0 {
            self.replicator.catalog.confirm_deleted(zone, confirmed).await?;
        }
        Ok((count, Some(unconfirmed)))
    }

    async fn delete(&self, zone: ZoneIndex, incarnation: Incarnation, blob: &Blob) -> bool {
        for places in places_in(blob, zone, incarnation).chunks(self.config.deletes_max.max(1)) {
            let answers = self.replicator.zones.delete(zone, places).await;
            if let Some(count) = self.progress.lock().chunks_deleted.get_mut(zone.get()) {
                *count += answers.iter().filter(|answer| answer.is_ok()).count() as u64;
            }
            if !answers.iter().all(is_gone) {
                return false;
            }
        }
        true
    }
}
