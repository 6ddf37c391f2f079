//! What writers, readers and workers of one gateway share.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use cairn_types::ids::ZONE_COUNT;
use cairn_types::{BlobId, ChunkId, Incarnation, Locator, ZoneIndex};
use parking_lot::Mutex;
use tokio::sync::mpsc;

use crate::budget::MemoryBudget;
use crate::catalog_port::{Blob, BlobCatalog, Incarnations, PerZone, PortResult, Replica};
use crate::damage::DamageQueue;
use crate::placement::PlacementConfig;
use crate::read_plan::HedgeConfig;
use crate::session::WriterSession;
use crate::stragglers::{self, Fold};
use crate::tasks::TaskGroup;
use crate::works::Works;
use crate::zones::Zones;

/// Limits and pauses. Every limit is explicit; the defaults are for a gateway of one machine.
#[derive(Debug, Clone)]
pub struct ReplicatorConfig {
    /// Memory of all bodies on their way in, bytes.
    pub write_memory: usize,
    /// Memory of all bodies on their way out, bytes; what pieces of reads are sized by.
    pub read_memory: usize,
    /// Chunks in a blob; a longer body becomes several blobs.
    pub blob_chunks_max: usize,
    /// Chunks of one body, which the catalog would refuse with more; a body whose length was declared keeps within it.
    pub content_chunks_max: usize,
    /// How chunks are placed.
    pub placement: PlacementConfig,
    /// How reads are hedged.
    pub hedge: HedgeConfig,
    /// Zones in the order in which reads prefer them, nearest first.
    pub preference: [ZoneIndex; ZONE_COUNT],
    /// How often a read starts over when no zone answers.
    pub read_rounds_max: u32,
    /// The pause before a read starts over; doubled each time.
    pub read_pause: Duration,
    /// How long after its condemnation a blob's chunks stay (B5): reads older than half of it recheck their version (S4).
    pub garbage_grace: Duration,
    /// How long late copies are gathered before they are folded in (B4).
    pub fold_delay: Duration,
    /// Late copies that may wait to be folded in, copies that may wait to be deleted, reports of damage that may wait, each. What exceeds
    /// it is left to repair, collector and scrub.
    pub queue_max: usize,
}

impl Default for ReplicatorConfig {
    fn default() -> Self {
        Self {
            write_memory: 192 * 1024 * 1024,
            read_memory: 96 * 1024 * 1024,
            blob_chunks_max: 512,
            content_chunks_max: 40 * 1024,
            placement: PlacementConfig::default(),
            hedge: HedgeConfig::default(),
            preference: ZoneIndex::ALL,
            read_rounds_max: 4,
            read_pause: Duration::from_millis(100),
            garbage_grace: Duration::from_secs(3_600),
            fold_delay: Duration::from_millis(20),
            queue_max: 65_536,
        }
    }
}

/// A copy that did not verify, or that its zone no longer has.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DamageReport {
    /// The chunk.
    pub id: ChunkId,
    /// The zone.
    pub zone: ZoneIndex,
    /// The life of the zone that the record names.
    pub incarnation: Incarnation,
    /// The place that the record names.
    pub locator: Locator,
}

impl DamageReport {
    /// The place that the record names.
    #[must_use]
    pub fn replica(&self) -> Replica {
        Replica { incarnation: self.incarnation, locator: self.locator.clone() }
    }
}

/// Whether this record names the copy.
fn names(blob: Option<&Blob>, report: &DamageReport) -> bool {
    // What is condemned may be deleted already where its record still names it.
    let chunk = blob.filter(|blob| !blob.condemned).and_then(|blob| blob.chunk(report.id.ordinal));
    let named = chunk.and_then(|chunk| chunk.replicas.get(report.zone.get())?.as_ref());
    named.is_some_and(|named| named.incarnation == report.incarnation && named.locator == report.locator)
}

/// What happened, as rising counts.
#[derive(Debug, Default)]
pub struct Counters {
    /// Chunks that became safe.
    pub chunks_written: AtomicU64,
    /// Chunks for which no quorum was found.
    pub chunks_failed: AtomicU64,
    /// Late copies named on their blobs.
    pub stragglers_folded: AtomicU64,
    /// Late copies that were refused, and deleted.
    pub stragglers_refused: AtomicU64,
    /// Writes given up because their zone was too slow.
    pub writes_abandoned: AtomicU64,
    /// Copies deleted because nothing names them.
    pub copies_discarded: AtomicU64,
    /// Reads that asked a second zone for lack of an answer.
    pub reads_hedged: AtomicU64,
    /// Copies found damaged, each once.
    pub damage_found: AtomicU64,
}

impl Counters {
    pub(crate) fn add(counter: &AtomicU64, count: usize) {
        counter.fetch_add(count as u64, Ordering::Relaxed);
    }
}

/// A rule that is left out, so that a test can show what it is for. Never set outside of tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(test), allow(dead_code, reason = "only tests leave a rule out"))]
pub(crate) enum LeftOut {
    /// B1: frames are not verified before their bytes leave.
    Verifying,
    /// B3: answers of any incarnation count.
    Incarnations,
    /// S2: chunks of open sessions are collected.
    OpenSessions,
    /// S1 with B4: a copy is judged by the session in its chunk's id, not by that of whoever wrote the copy.
    WritersSession,
    /// S2: it is asked first what is named, and sessions are closed and looked at after that.
    ClosingFirst,
    /// S2: orphans are deleted without asking whether they are named.
    Naming,
    /// B4: a chunk that is moved is deleted where it was before the new place is named.
    NamingFirst,
}

/// The replica layer of one gateway.
pub struct Replicator {
    #[cfg(test)]
    pub(crate) left_out: Mutex<Option<LeftOut>>,
    pub(crate) zones: Arc<Zones>,
    pub(crate) catalog: Arc<dyn BlobCatalog>,
    pub(crate) config: ReplicatorConfig,
    pub(crate) budget: Arc<MemoryBudget>,
    pub(crate) readers: AtomicUsize,
    /// Counts reads of pieces.
    pub(crate) reads: AtomicU64,
    pub(crate) tasks: TaskGroup,
    pub(crate) counters: Counters,
    session: Mutex<Option<Arc<WriterSession>>>,
    incarnations: Mutex<Incarnations>,
    hedge_credit: AtomicI64,
    folds: mpsc::Sender<Fold>,
    deletes: PerZone<mpsc::Sender<(Replica, ChunkId)>>,
    pub(crate) damage: Mutex<DamageQueue>,
    pub(crate) works: Works,
}

/// What a hedge costs, in the unit in which a read earns `per_hundred`.
const HEDGE_COST: i64 = 100;
/// Hedges that may be saved up.
const HEDGES_SAVED: i64 = 16;

impl Replicator {
    /// Starts the replica layer. To be called within a tokio runtime; no session is open yet (see [`crate::session::SessionKeeper`]).
    #[must_use]
    pub fn start(zones: Arc<Zones>, catalog: Arc<dyn BlobCatalog>, config: ReplicatorConfig) -> Arc<Self> {
        let (folds, folds_taken) = mpsc::channel(config.queue_max.max(1));
        let damage = Mutex::new(DamageQueue::new(config.queue_max));
        let (deletes, deletes_taken): (Vec<_>, Vec<_>) =
            ZoneIndex::ALL.into_iter().map(|_| mpsc::channel(config.queue_max.max(1))).unzip();
        let deletes: PerZone<_> = deletes.try_into().unwrap_or_else(|_| unreachable!("one queue for each zone"));
        let replicator = Arc::new(Self {
            #[cfg(test)]
            left_out: Mutex::new(None),
            zones,
            catalog,
            budget: MemoryBudget::new(config.write_memory),
            config,
            readers: AtomicUsize::new(0),
            reads: AtomicU64::new(1),
            tasks: TaskGroup::new(),
            counters: Counters::default(),
            session: Mutex::new(None),
            incarnations: Mutex::new([Incarnation(0); ZONE_COUNT]),
            hedge_credit: AtomicI64::new(HEDGE_COST * HEDGES_SAVED),
            folds,
            deletes,
            damage,
            works: Works::default(),
        });
        replicator.tasks.spawn(stragglers::fold_late_copies(Arc::downgrade(&replicator), folds_taken));
        for (zone, taken) in ZoneIndex::ALL.into_iter().zip(deletes_taken) {
            replicator.tasks.spawn(stragglers::delete_copies(Arc::downgrade(&replicator), zone, taken));
        }
        replicator
    }

    /// Whether a test has left this rule out.
    #[cfg_attr(not(test), allow(clippy::unused_self, reason = "only tests leave a rule out"))]
    pub(crate) fn leaves_out(&self, rule: LeftOut) -> bool {
        #[cfg(test)]
        return *self.left_out.lock() == Some(rule);
        #[cfg(not(test))]
        {
            let _ = rule;
            false
        }
    }

    /// The zones.
    #[must_use]
    pub fn zones(&self) -> &Arc<Zones> {
        &self.zones
    }

    /// The memory of bodies on their way in.
    #[must_use]
    pub fn budget(&self) -> &Arc<MemoryBudget> {
        &self.budget
    }

    /// What happened so far.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Ends all background work at once, as a crash would. What is under way becomes garbage for the collector.
    pub fn abort(&self) {
        self.tasks.abort();
    }

    /// Waits until no write and no late copy is under way, at most this long: to be called on shutdown, before the session is closed.
    pub async fn drain(&self, at_most: Duration) {
        /// The workers that always run: one folds, one a zone deletes.
        const RESIDENT: usize = 1 + ZONE_COUNT;
        let end = tokio::time::Instant::now() + at_most;
        while tokio::time::Instant::now() < end {
            let queued = self.folds.max_capacity() - self.folds.capacity()
                + self.deletes.iter().map(|queue| queue.max_capacity() - queue.capacity()).sum::<usize>();
            if queued == 0 && self.tasks.len() <= RESIDENT {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// The session that new writes belong to; `None` while there is none: writes are refused.
    #[must_use]
    pub fn session(&self) -> Option<Arc<WriterSession>> {
        self.session.lock().clone()
    }

    /// Replaces the session that new writes belong to. Writes under way keep theirs.
    pub fn set_session(&self, session: Option<Arc<WriterSession>>) {
        *self.session.lock() = session;
    }

    /// The current incarnations as last heard from the catalog.
    #[must_use]
    pub fn incarnations(&self) -> Incarnations {
        *self.incarnations.lock()
    }

    /// Asks the catalog for the current incarnations.
    pub async fn refresh_incarnations(&self) -> PortResult<Incarnations> {
        let fresh = self.catalog.incarnations().await?;
        let mut known = self.incarnations.lock();
        // Answers may overtake each other; incarnations only rise.
        for (known, fresh) in known.iter_mut().zip(fresh) {
            *known = (*known).max(fresh);
        }
        Ok(*known)
    }

    /// Whether an answer of this incarnation counts (B3), to the best of present knowledge: the commit judges again.
    pub(crate) async fn counts(&self, zone: ZoneIndex, incarnation: Incarnation) -> bool {
        let is_current =
            |known: Incarnations| known.get(zone.get()) == Some(&incarnation) || self.leaves_out(LeftOut::Incarnations);
        if is_current(self.incarnations()) {
            return true;
        }
        self.refresh_incarnations().await.is_ok_and(is_current)
    }

    /// Has a late copy named on its blob, some time soon.
    pub(crate) fn fold_soon(&self, fold: Fold) {
        // When the queue is full the blob stays in the index of incomplete blobs and the copy is garbage: repair and collector.
        let _ = self.folds.try_send(fold);
    }

    /// Has a copy deleted that nothing names and nothing will, some time soon.
    pub(crate) fn delete_soon(&self, zone: ZoneIndex, replica: Replica, id: ChunkId) {
        if let Some(queue) = self.deletes.get(zone.get()) {
            // When the queue is full the collector finds it.
            let _ = queue.try_send((replica, id));
        }
    }

    /// Reports a damaged copy to the repair worker.
    pub fn report_damage(&self, report: DamageReport) {
        tracing::warn!(chunk = ?report.id, zone = %report.zone, locator = ?report.locator, "a copy is damaged");
        if self.damage.lock().report(report) {
            Counters::add(&self.counters.damage_found, 1);
        }
    }

    /// Reports a copy that its zone did not give, unless its record names another by now: it was moved or repaired since the record was read, and
    /// nothing is damaged. While the catalog does not say, nothing is reported: whoever looks next finds it again. Says whether it was reported.
    pub(crate) async fn report_damage_unless_moved(&self, report: DamageReport) -> bool {
        let fresh = self.catalog.blob(report.id.blob).await;
        fresh.is_ok_and(|fresh| self.report_if_named(fresh.as_deref(), vec![report]))
    }

    /// Reports those of these copies that their record, read after they were looked for, still names. Says whether any was.
    pub(crate) fn report_if_named(&self, fresh: Option<&Blob>, reports: Vec<DamageReport>) -> bool {
        let named: Vec<DamageReport> = reports.into_iter().filter(|report| names(fresh, report)).collect();
        let any = !named.is_empty();
        for report in named {
            self.report_damage(report);
        }
        any
    }

    /// A read earns credit for hedges.
    pub(crate) fn earn_hedge(&self) {
        let most = HEDGE_COST * HEDGES_SAVED;
        let earned = i64::try_from(self.config.hedge.per_hundred).unwrap_or(HEDGE_COST).min(HEDGE_COST);
        let _ = self.hedge_credit.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |credit| Some((credit + earned).min(most)));
    }

    /// Whether the budget allows a hedge.
    pub(crate) fn spend_hedge(&self) -> bool {
        self.hedge_credit
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |credit| (credit >= HEDGE_COST).then_some(credit - HEDGE_COST))
            .is_ok()
    }

    /// A name for a blob of this session.
    pub(crate) fn next_blob(session: &WriterSession) -> BlobId {
        session.next_blob()
    }
}
