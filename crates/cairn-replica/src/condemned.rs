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
use futures::future::join_all;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::catalog_port::{Blob, PortResult};
use crate::replicator::Replicator;
use crate::tasks::{Pauses, Stop, run_rounds};
use crate::works::Work;

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
    /// Where each zone's next page begins.
    from: [tokio::sync::Mutex<Option<Bytes>>; ZONE_COUNT],
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
            from: Default::default(),
            progress: Mutex::new(CondemnedProgress::default()),
            stop: Stop::default(),
        }
    }

    /// How it is going.
    #[must_use]
    pub fn progress(&self) -> CondemnedProgress {
        *self.progress.lock()
    }

    /// Goes round in each zone until told to stop; one that hangs holds no other up.
    pub async fn run(&self, shutdown: watch::Receiver<bool>) {
        self.stop.heed(shutdown.clone());
        let pauses = Pauses { busy: Duration::ZERO, idle: self.config.idle_pause };
        let waits = "removing condemned blobs waits for the catalog";
        join_all(ZoneIndex::ALL.map(|zone| run_rounds(shutdown.clone(), pauses, waits, move || self.tick_zone(zone)))).await;
    }

    /// One page for each zone, all at once; says whether another round at once would find more.
    pub async fn tick(&self) -> PortResult<bool> {
        let ticks = join_all(ZoneIndex::ALL.map(|zone| self.tick_zone(zone))).await;
        ticks.into_iter().try_fold(false, |more, tick| Ok(more | tick?))
    }

    /// One page for a zone; says whether another round at once would find more there.
    async fn tick_zone(&self, zone: ZoneIndex) -> PortResult<bool> {
        let Some(from) = self.from.get(zone.get()) else { return Ok(false) };
        let mut from = from.lock().await;
        if !self.replicator.does(Work::Condemned(zone)).await? {
            return Ok(false);
        }
        let incarnations = self.replicator.refresh_incarnations().await?;
        // A zone counts only in the life that the catalog knows: in another one it cannot be told what is there.
        let current = incarnations.get(zone.get()).copied();
        let present = self.replicator.zones.incarnation(zone).filter(|own| Some(*own) == current);
        let (confirmed, unconfirmed) = match present {
            Some(incarnation) => self.page(zone, incarnation, &mut from).await?,
            None => (0, None),
        };
        let mut progress = self.progress.lock();
        if let Some(slot) = progress.unconfirmed.get_mut(zone.get()) {
            *slot = unconfirmed;
        }
        if let Some(slot) = progress.confirmed.get_mut(zone.get()) {
            *slot += confirmed;
        }
        Ok(from.is_some() || confirmed > 0)
    }

    async fn page(&self, zone: ZoneIndex, incarnation: Incarnation, from: &mut Option<Bytes>) -> PortResult<(u64, Option<u64>)> {
        let page = self.replicator.catalog.condemned_due(zone, from.take(), self.config.page).await?;
        *from = page.next;
        let blobs: Vec<&Blob> = page.blobs.iter().filter(|blob| blob.condemned).map(Arc::as_ref).collect();
        let gone = self.delete(zone, incarnation, &blobs).await;
        let confirmed: Vec<BlobId> = blobs.iter().zip(gone).filter_map(|(blob, gone)| gone.then_some(blob.id)).collect();
        let count = confirmed.len() as u64;
        let unconfirmed = blobs.len() as u64 - count;
        if count > 0 {
            self.replicator.catalog.confirm_deleted(zone, confirmed).await?;
        }
        Ok((count, Some(unconfirmed)))
    }

    /// Deletes what a zone holds of these blobs, as many chunks at once as one delete takes, whosever they are: a delete is a sync. Says of
    /// each blob whether nothing of it is there any more.
    async fn delete(&self, zone: ZoneIndex, incarnation: Incarnation, blobs: &[&Blob]) -> Vec<bool> {
        let mut gone = vec![true; blobs.len()];
        let mut places = Vec::new();
        let mut owners = Vec::new();
        for (owner, blob) in blobs.iter().enumerate() {
            for place in places_in(blob, zone, incarnation) {
                places.push(place);
                owners.push(owner);
            }
        }
        let batch = self.config.deletes_max.max(1);
        for (places, owners) in places.chunks(batch).zip(owners.chunks(batch)) {
            // A page may take minutes; what was deleted of it is confirmed before the process ends.
            let answers = if self.stop.is_set() { Vec::new() } else { self.replicator.zones.delete(zone, places).await };
            if let Some(count) = self.progress.lock().chunks_deleted.get_mut(zone.get()) {
                *count += answers.iter().filter(|answer| answer.is_ok()).count() as u64;
            }
            for (owner, answer) in owners.iter().zip(answers.iter().map(Some).chain(std::iter::repeat(None))) {
                if !answer.is_some_and(is_gone)
                    && let Some(gone) = gone.get_mut(*owner)
                {
                    *gone = false;
                }
            }
        }
        gone
    }
}
