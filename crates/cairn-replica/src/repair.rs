//! Bringing blobs back to three zones, and replacing damaged copies.
//!
//! The index of incomplete blobs is the one list of work: commits without a full mask are on it from the start, damage is put on it before
//! it is repaired, and blobs of a zone that lost its memory come on it as the rebuild cursor passes (B2). Every byte that is copied has been
//! verified (B1); every copy is named under this gateway's session, or deleted again (B4).
//!
//! A place is taken off a record only after another copy of the same chunk has been read whole and verified in that moment: a zone that
//! wrongly says "no such chunk" to everything costs work, and no data.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cairn_types::{BlobId, ChunkId, ZoneIndex};
use futures::stream::{self, StreamExt};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::catalog_port::{
    AddLocators, AddOutcome, Blob, ChunkRecord, ClearLocators, Incarnations, PortResult, Replica, ZoneSet,
};
use crate::copy::{self, CopyError};
use crate::pace::Pace;
use crate::replicator::{DamageReport, Replicator};
use crate::session::WriterSession;
use crate::tasks::{Pauses, run_rounds};
use crate::works::Work;

/// How much repair may take.
#[derive(Debug, Clone)]
pub struct RepairConfig {
    /// Stored bytes a second, read from one zone and written to others.
    pub bytes_per_second: u64,
    /// Blobs that are repaired at a time. Each holds one chunk in memory.
    pub blobs_at_once: usize,
    /// Blobs in a page.
    pub page: usize,
    /// Reports of damage that one tick sees to.
    pub damage_at_once: usize,
    /// How long a blob may be incomplete before it is repaired, so that stragglers need not race it.
    pub settle: Duration,
    /// The pause when there is nothing to do.
    pub idle_pause: Duration,
    /// Chunks whose places are named in one addition.
    pub additions_max: usize,
}

impl Default for RepairConfig {
    fn default() -> Self {
        Self {
            bytes_per_second: 64 * 1024 * 1024,
            blobs_at_once: 2,
            page: 256,
            damage_at_once: 64,
            settle: Duration::from_secs(5),
            idle_pause: Duration::from_secs(2),
            additions_max: 16,
        }
    }
}

/// How repair is going.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RepairProgress {
    /// Incomplete blobs that were seen in the current or last walk over the index.
    pub incomplete_seen: u64,
    /// Copies that were made and named.
    pub copies_made: u64,
    /// Stored bytes of them.
    pub bytes_copied: u64,
    /// Copies that another was quicker with, or whose blob was gone: deleted again.
    pub copies_refused: u64,
    /// Copies that could not be made now; they are tried again.
    pub copies_failed: u64,
    /// Copies that were reported as damaged and have not been seen to.
    pub damage_waiting: u64,
    /// Damaged copies that were taken off their records.
    pub damage_cleared: u64,
    /// Reports of damage that a second look did not confirm.
    pub damage_unconfirmed: u64,
    /// Chunks of which no good copy was found, at the last look. Anything but 0 needs a person.
    pub chunks_without_copy: u64,
    /// Whether a zone that lost its memory is being walked for (B2).
    pub rebuilding: bool,
}

struct State {
    from: Option<Bytes>,
    /// When incomplete blobs were first seen, for those that may still settle.
    first_seen: BTreeMap<BlobId, Duration>,
    seen_in_walk: u64,
}

/// Blobs that are remembered for settling; beyond, they are taken for settled.
const FIRST_SEEN_MAX: usize = 16_384;

/// Repairs.
pub struct RepairWorker {
    replicator: Arc<Replicator>,
    config: RepairConfig,
    state: tokio::sync::Mutex<State>,
    pace: Mutex<Pace>,
    progress: Mutex<RepairProgress>,
}

/// Zones that a chunk should be copied to, of those that can take copies now. Pure.
#[must_use]
pub fn zones_to_fill(chunk: &ChunkRecord, incarnations: &Incarnations, available: ZoneSet) -> Vec<ZoneIndex> {
    chunk.missing(incarnations).iter().filter(|zone| available.contains(*zone)).collect()
}

impl RepairWorker {
    /// A worker over this gateway's replica layer. One per gateway: it sees to the reports of damage.
    #[must_use]
    pub fn new(replicator: Arc<Replicator>, config: RepairConfig) -> Self {
        let pace = Pace::new(config.bytes_per_second, config.bytes_per_second);
        Self {
            replicator,
            config,
            state: tokio::sync::Mutex::new(State { from: None, first_seen: BTreeMap::new(), seen_in_walk: 0 }),
            pace: Mutex::new(pace),
            progress: Mutex::new(RepairProgress::default()),
        }
    }

    /// How it is going.
    #[must_use]
    pub fn progress(&self) -> RepairProgress {
        RepairProgress { damage_waiting: self.replicator.damage.lock().len() as u64, ..*self.progress.lock() }
    }

    /// Ticks until told to stop.
    pub async fn run(&self, shutdown: watch::Receiver<bool>) {
        let pauses = Pauses { busy: Duration::ZERO, idle: self.config.idle_pause };
        run_rounds(shutdown, pauses, "repair waits for the catalog", || self.tick()).await;
    }

    /// One round: some reports of damage, a step of rebuilding, a page of incomplete blobs. Says whether another round at once would
    /// find more to do.
    pub async fn tick(&self) -> PortResult<bool> {
        let mut state = self.state.lock().await;
        let incarnations = self.replicator.refresh_incarnations().await?;
        let Some(session) = self.replicator.session().filter(|session| session.is_open()) else {
            return Ok(false);
        };
        let more_damage = self.see_to_damage(&session).await?;
        if !self.replicator.does(Work::Repair).await? {
            return Ok(more_damage);
        }
        let rebuilding = self.replicator.catalog.advance_rebuilds(self.config.page).await?;
        self.progress.lock().rebuilding = rebuilding;
        let available = self.available(&incarnations);
        if available.is_empty() {
            return Ok(more_damage || rebuilding);
        }
        let page = self.replicator.catalog.incomplete(available, state.from.take(), self.config.page).await?;
        state.seen_in_walk += page.blobs.len() as u64;
        let now = self.replicator.zones.now();
        let ready: Vec<Arc<Blob>> = page.blobs.into_iter().filter(|blob| self.is_settled(&mut state, blob.id, now)).collect();
        let made: u64 = stream::iter(ready)
            .map(|blob| {
                let session = &session;
                async move { self.repair_blob(&blob, session, &incarnations, available).await }
            })
            .buffer_unordered(self.config.blobs_at_once.max(1))
            .fold(0, |sum, made| async move { sum + made })
            .await;
        let more_pages = page.next.is_some();
        if !more_pages {
            self.progress.lock().incomplete_seen = std::mem::take(&mut state.seen_in_walk);
            // What settled long ago has been repaired, or is taken for settled at once when it comes again.
            let forget_before = now.saturating_sub(self.config.settle * 16);
            state.first_seen.retain(|_, seen| *seen >= forget_before);
        }
        state.from = page.next;
        Ok(more_damage || rebuilding || more_pages || made > 0)
    }

    /// Zones that can take copies: there, in the incarnation that the catalog knows, and well.
    fn available(&self, incarnations: &Incarnations) -> ZoneSet {
        let zones = &self.replicator.zones;
        ZoneIndex::ALL
            .into_iter()
            .filter(|zone| zones.incarnation(*zone).as_ref() == incarnations.get(zone.get()))
            .filter(|zone| zones.takes_writes(*zone))
            .collect()
    }

    fn is_settled(&self, state: &mut State, blob: BlobId, now: Duration) -> bool {
        if let Some(seen) = state.first_seen.get(&blob) {
            return now.saturating_sub(*seen) >= self.config.settle;
        }
        if state.first_seen.len() >= FIRST_SEEN_MAX {
            return true;
        }
        state.first_seen.insert(blob, now);
        self.config.settle.is_zero()
    }

    /// Copies what the blob lacks, chunk by chunk, and says how many copies were named.
    async fn repair_blob(
        &self,
        blob: &Blob,
        session: &Arc<WriterSession>,
        incarnations: &Incarnations,
        available: ZoneSet,
    ) -> u64 {
        let mut made: BTreeMap<ZoneIndex, Vec<(u32, Replica, u64)>> = BTreeMap::new();
        let mut named = 0;
        for (ordinal, chunk) in blob.numbered_chunks() {
            let targets = zones_to_fill(chunk, incarnations, available);
            if targets.is_empty() {
                continue;
            }
            let Some((_, pieces)) = self.good_copy(blob, ordinal, chunk, incarnations, ZoneSet::EMPTY).await else {
                self.progress.lock().copies_failed += targets.len() as u64;
                continue;
            };
            for zone in targets {
                if let Some((replica, bytes)) = self.write_copy(session, blob.chunk_id(ordinal), zone, &pieces).await {
                    made.entry(zone).or_default().push((ordinal, replica, bytes));
                }
            }
            for (zone, places) in &mut made {
                if places.len() >= self.config.additions_max {
                    named += self.name_copies(session, blob.id, *zone, std::mem::take(places)).await;
                }
            }
        }
        for (zone, places) in made {
            named += self.name_copies(session, blob.id, zone, places).await;
        }
        named
    }

    /// A verified copy of a chunk from whichever zone has one (B1), damaged ones reported.
    async fn good_copy(
        &self,
        blob: &Blob,
        ordinal: u32,
        chunk: &ChunkRecord,
        incarnations: &Incarnations,
        except: ZoneSet,
    ) -> Option<(ZoneIndex, Vec<Bytes>)> {
        let bytes = blob.shape(chunk).ok()?.stored_length();
        let pause = self.pace.lock().take(self.replicator.zones.now(), bytes);
        tokio::time::sleep(pause).await;
        let mut sources: Vec<ZoneIndex> = chunk.present(incarnations).difference(except).iter().collect();
        sources.sort_by_key(|zone| !self.replicator.zones.answers_reads(*zone));
        for zone in sources {
            let Some(replica) = chunk.replica(zone, incarnations) else {
                continue;
            };
            match copy::read_stored(&self.replicator.zones, zone, replica, blob, ordinal, chunk).await {
                Ok(pieces) => return Some((zone, pieces)),
                Err(CopyError::Damaged(_)) => {
                    let (incarnation, locator) = (replica.incarnation, replica.locator.clone());
                    let report = DamageReport { id: blob.chunk_id(ordinal), zone, incarnation, locator };
                    // Copies of a chunk that is damaged everywhere would else have each other looked at again without end.
                    if except.is_empty() || !self.replicator.damage.lock().knows(&report) {
                        self.replicator.report_damage_unless_moved(report).await;
                    }
                }
                Err(error) => tracing::debug!(?zone, %error, "a copy cannot be read for repair"),
            }
        }
        None
    }

    /// Writes a copy under the session that it will be named under: the collector leaves it alone for as long as that is open.
    async fn write_copy(
        &self,
        session: &WriterSession,
        id: ChunkId,
        zone: ZoneIndex,
        pieces: &[Bytes],
    ) -> Option<(Replica, u64)> {
        let bytes = pieces.iter().map(|piece| piece.len() as u64).sum();
        match self.replicator.zones.write(zone, session.id(), id, pieces.to_vec()).await {
            Ok(placed) => Some((Replica { incarnation: placed.incarnation, locator: placed.locator }, bytes)),
            Err(error) => {
                tracing::debug!(%zone, %error, "a copy could not be made");
                self.progress.lock().copies_failed += 1;
                None
            }
        }
    }

    /// Names copies under the session that was open before they were written (B4). Says how many were named.
    async fn name_copies(
        &self,
        session: &Arc<WriterSession>,
        blob: BlobId,
        zone: ZoneIndex,
        copies: Vec<(u32, Replica, u64)>,
    ) -> u64 {
        let bytes: u64 = copies.iter().map(|(_, _, bytes)| bytes).sum();
        let count = copies.len() as u64;
        // One addition for each copy: those that were made by others meanwhile do not hold the rest up.
        let additions: Vec<AddLocators> = copies
            .into_iter()
            .map(|(ordinal, replica, _)| AddLocators { blob, zone, places: vec![(ordinal, replica)] })
            .collect();
        let outcomes = match self.replicator.catalog.add_locators(session.id(), additions.clone()).await {
            Ok(outcomes) => outcomes,
            Err(error) => {
                // Whether they are named is not known: they are not deleted.
                tracing::debug!(%error, "copies were made, and whether they are named is not known");
                self.progress.lock().copies_failed += count;
                return 0;
            }
        };
        let mut added = 0;
        for (addition, outcome) in additions.into_iter().zip(outcomes) {
            match outcome {
                AddOutcome::Added => added += 1,
                AddOutcome::Refused => {
                    for (ordinal, replica) in addition.places {
                        self.replicator.delete_soon(zone, replica, ChunkId { blob, ordinal });
                    }
                }
            }
        }
        let mut progress = self.progress.lock();
        progress.copies_made += added;
        progress.copies_refused += count - added;
        progress.bytes_copied += bytes * added / count.max(1);
        added
    }

    /// Sees to some reports of damage; says whether more wait.
    async fn see_to_damage(&self, session: &Arc<WriterSession>) -> PortResult<bool> {
        let queue = &self.replicator.damage;
        let reports = queue.lock().first(self.config.damage_at_once);
        for report in reports {
            let seen = self.see_to_one(&report, session).await;
            // Also after an error: one row that cannot be read must not keep the others waiting. Scrub or the next read finds the copy again.
            queue.lock().done(&report);
            seen?;
        }
        Ok(queue.lock().len() > 0)
    }

    async fn see_to_one(&self, report: &DamageReport, session: &Arc<WriterSession>) -> PortResult<()> {
        let incarnations = self.replicator.incarnations();
        let Some(blob) = self.replicator.catalog.blob(report.id.blob).await? else {
            return Ok(());
        };
        let Some(chunk) = blob.chunk(report.id.ordinal) else {
            return Ok(());
        };
        let replica = report.replica();
        if blob.condemned || chunk.replica(report.zone, &incarnations) != Some(&replica) {
            return Ok(());
        }
        // A second look: a bit may have flipped on its way here.
        let zones = &self.replicator.zones;
        match copy::read_stored(zones, report.zone, &replica, &blob, report.id.ordinal, chunk).await {
            Ok(_) => {
                self.progress.lock().damage_unconfirmed += 1;
                return Ok(());
            }
            Err(CopyError::Damaged(_)) => {}
            // Not known now: scrub or the next read finds it again.
            Err(CopyError::Away(_) | CopyError::Record(_)) => return Ok(()),
        }
        let itself: ZoneSet = [report.zone].into_iter().collect();
        let Some((_, pieces)) = self.good_copy(&blob, report.id.ordinal, chunk, &incarnations, itself).await else {
            tracing::error!(chunk = ?report.id, zone = %report.zone, "no good copy of a damaged chunk can be read now");
            self.progress.lock().chunks_without_copy += 1;
            return Ok(());
        };
        let clearance = ClearLocators { blob: blob.id, zone: report.zone, places: vec![(report.id.ordinal, replica.clone())] };
        // From here on the damage is written down (invariant 5), whatever happens to this gateway.
        let cleared = self.replicator.catalog.clear_locators(vec![clearance]).await?;
        if cleared != [true] {
            return Ok(());
        }
        self.progress.lock().damage_cleared += 1;
        self.replicator.delete_soon(report.zone, replica, report.id);
        if let Some((replica, bytes)) = self.write_copy(session, report.id, report.zone, &pieces).await {
            self.name_copies(session, blob.id, report.zone, vec![(report.id.ordinal, replica, bytes)]).await;
        }
        Ok(())
    }
}
