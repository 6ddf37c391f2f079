//! Re-reading everything, so that silent damage is found while other copies are still good (B1).
//!
//! A walk over all blobs; of each the stored frames of each chunk in each zone are read and verified, at a pace that leaves the zones to the
//! clients. What is found goes to the repair worker. Copies whose zone did not answer are looked at soon after it does again, and not only by
//! the next walk.

mod skipped;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use cairn_types::{BlobId, ZoneIndex};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::catalog_port::{Blob, PortResult, ZoneSet};
use crate::copy::{self, CopyError};
use crate::pace::Pace;
use crate::replicator::{DamageReport, Replicator};
use crate::works::Work;
use skipped::{Skipped, Stretch};

/// How much scrubbing may take.
#[derive(Debug, Clone)]
pub struct ScrubConfig {
    /// Stored bytes a second, all zones together.
    pub bytes_per_second: u64,
    /// Blobs in a page.
    pub page: usize,
    /// The pause after a whole walk, and when the catalog does not answer.
    pub pause: Duration,
}

impl Default for ScrubConfig {
    fn default() -> Self {
        Self { bytes_per_second: 16 * 1024 * 1024, page: 64, pause: Duration::from_secs(24 * 3_600) }
    }
}

/// How scrubbing is going. Counts are since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ScrubProgress {
    /// Whole walks so far.
    pub walks: u64,
    /// The last blob that was looked at.
    pub after: Option<BlobId>,
    /// Blobs.
    pub blobs: u64,
    /// Copies that verified.
    pub copies_good: u64,
    /// Copies that were reported.
    pub copies_damaged: u64,
    /// Copies whose zone did not answer; they are looked at once it does again.
    pub copies_skipped: u64,
    /// Stored bytes that were read.
    pub bytes: u64,
}

/// How long the first walk waits for zones that are still being opened.
const OPENING_MAX: Duration = Duration::from_secs(60);
/// How often it looks whether they are.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How often it looks, between walks, whether a zone is back whose copies were skipped.
const LOOK_FOR_SKIPPED_EVERY: Duration = Duration::from_secs(10);

/// Scrubs.
pub struct ScrubWorker {
    replicator: Arc<Replicator>,
    config: ScrubConfig,
    pace: Mutex<Pace>,
    skipped: Mutex<Skipped>,
    progress: Mutex<ScrubProgress>,
}

impl ScrubWorker {
    /// A worker that begins after this blob: where an earlier one got to.
    #[must_use]
    pub fn new(replicator: Arc<Replicator>, config: ScrubConfig, after: Option<BlobId>) -> Self {
        let pace = Pace::new(config.bytes_per_second, config.bytes_per_second);
        Self {
            replicator,
            config,
            pace: Mutex::new(pace),
            skipped: Mutex::default(),
            progress: Mutex::new(ScrubProgress { after, ..ScrubProgress::default() }),
        }
    }

    /// How it is going.
    #[must_use]
    pub fn progress(&self) -> ScrubProgress {
        *self.progress.lock()
    }

    /// Ticks until told to stop.
    pub async fn run(&self, mut shutdown: watch::Receiver<bool>) {
        // A start opens its zones after this worker: a walk before that would find nobody, and the next one comes after a day.
        let zones = &self.replicator.zones;
        let opening = async {
            while !ZoneIndex::ALL.into_iter().all(|zone| zones.incarnation(zone).is_some()) {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        tokio::select! {
            biased;
            _ = shutdown.wait_for(|stop| *stop) => return,
            _ = tokio::time::timeout(OPENING_MAX, opening) => {}
        }
        let mut next_walk = Duration::ZERO;
        loop {
            let result = match self.tick_skipped().await {
                Ok(true) => Ok(Duration::ZERO),
                Ok(false) if zones.now() < next_walk => Ok(LOOK_FOR_SKIPPED_EVERY.min(next_walk.saturating_sub(zones.now()))),
                Ok(false) => match self.replicator.does(Work::Scrub).await {
                    Ok(true) => self.tick().await.map(|goes_on| {
                        if !goes_on {
                            next_walk = zones.now() + self.config.pause;
                        }
                        Duration::ZERO
                    }),
                    // Another gateway walks. Should it be gone, this one begins.
                    Ok(false) => Ok(LOOK_FOR_SKIPPED_EVERY),
                    Err(error) => Err(error),
                },
                Err(error) => Err(error),
            };
            let pause = result.unwrap_or_else(|error| {
                tracing::warn!(%error, "scrubbing waits for the catalog");
                self.config.pause.min(Duration::from_secs(60))
            });
            tokio::select! {
                biased;
                _ = shutdown.wait_for(|stop| *stop) => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Scrubs one page of what was skipped in a zone that answers again; says whether there was any.
    async fn tick_skipped(&self) -> PortResult<bool> {
        let zones = &self.replicator.zones;
        // Whether a zone that is there answers is found out by asking: what shut its gate may have been these very reads.
        let there: ZoneSet = ZoneIndex::ALL.into_iter().filter(|zone| zones.incarnation(*zone).is_some()).collect();
        let Some((zone, stretch)) = self.skipped.lock().due(there, zones.now()) else {
            return Ok(false);
        };
        self.replicator.refresh_incarnations().await?;
        let page = self.replicator.catalog.blobs(stretch.after, self.config.page).await?;
        let mut before = stretch.after;
        for blob in page.blobs.iter().take_while(|blob| blob.id <= stretch.last) {
            self.scrub_blob(blob, before, [zone].into_iter().collect()).await;
            before = Some(blob.id);
            if self.skipped.lock().is_skipped_again(zone) {
                break;
            }
        }
        let reached_end = page.next.is_none() && before == page.blobs.last().map(|blob| blob.id);
        let goes_on = !reached_end && before > stretch.after && before < Some(stretch.last);
        let rest = goes_on.then_some(Stretch { after: before, ..stretch });
        self.skipped.lock().walked(zone, rest, zones.now(), self.config.pause);
        Ok(true)
    }

    /// Scrubs one page; says whether the walk goes on.
    pub async fn tick(&self) -> PortResult<bool> {
        self.replicator.refresh_incarnations().await?;
        let after = self.progress.lock().after;
        let page = self.replicator.catalog.blobs(after, self.config.page).await?;
        let mut before = after;
        for blob in &page.blobs {
            self.scrub_blob(blob, before, ZoneIndex::ALL.into_iter().collect()).await;
            before = Some(blob.id);
            let mut progress = self.progress.lock();
            progress.blobs += 1;
            progress.after = Some(blob.id);
        }
        if page.next.is_some() && !page.blobs.is_empty() {
            return Ok(true);
        }
        let mut progress = self.progress.lock();
        progress.walks += 1;
        progress.after = None;
        Ok(false)
    }

    /// Scrubs a blob's copies in these zones; `before` is the blob before it.
    async fn scrub_blob(&self, blob: &Blob, before: Option<BlobId>, among: ZoneSet) {
        let incarnations = self.replicator.incarnations();
        for (ordinal, chunk) in blob.numbered_chunks() {
            for zone in among.iter() {
                let Some(replica) = chunk.replica(zone, &incarnations) else {
                    continue;
                };
                let bytes = blob.shape(chunk).map_or(0, cairn_types::frame::ChunkShape::stored_length);
                let pause = self.pace.lock().take(self.replicator.zones.now(), bytes);
                tokio::time::sleep(pause).await;
                match copy::read_stored(&self.replicator.zones, zone, replica, blob, ordinal, chunk).await {
                    Ok(_) => {
                        let mut progress = self.progress.lock();
                        progress.copies_good += 1;
                        progress.bytes += bytes;
                    }
                    Err(CopyError::Damaged(_)) => {
                        let (incarnation, locator) = (replica.incarnation, replica.locator.clone());
                        let report = DamageReport { id: blob.chunk_id(ordinal), zone, incarnation, locator };
                        // The page may be minutes old. (The repair worker looks again, too.)
                        if self.replicator.report_damage_unless_moved(report).await {
                            self.progress.lock().copies_damaged += 1;
                        }
                    }
                    Err(error) => {
                        self.progress.lock().copies_skipped += 1;
                        // A record that cannot be read is not a zone's.
                        if matches!(error, CopyError::Away(_)) {
                            self.skipped.lock().skip(zone, before, blob.id);
                        }
                    }
                }
            }
        }
    }
}
