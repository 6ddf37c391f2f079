//! The store as a whole: what it is made of, how it starts and stops, how it is doing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cairn_catalog::{Catalog, CatalogFuture, CloseSilentSessions};
use cairn_disk::Random;
use cairn_replica::collector::{Collector, CollectorProgress};
use cairn_replica::compact::{CompactionProgress, CompactionWorker};
use cairn_replica::condemned::{CondemnedProgress, CondemnedWorker};
use cairn_replica::repair::{RepairProgress, RepairWorker};
use cairn_replica::scrub::{ScrubProgress, ScrubWorker};
use cairn_replica::zones::{OperationCounts, ZoneHealth};
use cairn_replica::{Replicator, SessionKeeper, Zones};
use cairn_types::ids::ZONE_COUNT;
use cairn_types::{SessionId, ZoneIndex};
use cairn_zone::Zone;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::api::StoreResult;
use crate::audit::{AuditConfig, AuditReport, AuditRun, Audits};
use crate::catalog_adapter::{CatalogAdapter, bounded};
use crate::config::StoreConfig;
use crate::core::Core;
use crate::reaper::{Reaper, ReaperProgress};
use crate::secrets::KeyRing;
use crate::settings_cache::SettingsCache;

/// What a store is made of.
pub struct StoreParts {
    /// All metadata.
    pub catalog: Arc<dyn Catalog>,
    /// The three zones, in the order of their indices.
    pub zones: [Arc<dyn Zone>; ZONE_COUNT],
    /// For ids, nonces and secrets.
    pub random: Arc<dyn Random>,
    /// The master key or keys (K1).
    pub keys: KeyRing,
    /// Limits and pauses.
    pub config: StoreConfig,
}

struct Workers {
    repair: RepairWorker,
    condemned: CondemnedWorker,
    collector: Collector,
    compaction: CompactionWorker,
    scrub: ScrubWorker,
    reaper: Reaper,
    keeper: SessionKeeper,
}

struct Running {
    /// Ends the workers, then the session.
    stop_workers: watch::Sender<bool>,
    stop_session: watch::Sender<bool>,
    workers: Vec<JoinHandle<()>>,
    session: JoinHandle<()>,
}

/// Objects over a catalog and three zones: [`crate::api::ObjectStore`], the workers that keep them whole, and administration.
pub struct Store {
    pub(crate) core: Arc<Core>,
    pub(crate) settings: SettingsCache,
    /// One change of secrets at a time: each reads, then writes.
    pub(crate) changing_secrets: tokio::sync::Mutex<()>,
    workers: Arc<Workers>,
    audits: Audits,
    running: Mutex<Option<Running>>,
}

/// How a store is doing.
#[derive(Debug, Clone)]
pub struct StoreStatus {
    /// The open writer session; without one nothing can be written.
    pub session: Option<SessionId>,
    /// Each zone.
    pub zones: [ZoneHealth; ZONE_COUNT],
    /// Bytes of the memory for bodies on their way in: all, and free.
    pub write_memory: (usize, usize),
    /// Uploads under way.
    pub uploads: usize,
    /// Repair, and rebuilding of zones.
    pub repair: RepairProgress,
    /// Removing condemned blobs.
    pub condemned: CondemnedProgress,
    /// Collecting orphans.
    pub collector: CollectorProgress,
    /// Giving space back that live chunks stand in the way of.
    pub compaction: CompactionProgress,
    /// Scrubbing.
    pub scrub: ScrubProgress,
    /// Taking abandoned parts apart.
    pub reaper: ReaperProgress,
    /// What the replica layer has counted.
    pub counts: ReplicaCounts,
}

/// What the replica layer has counted since the start; see [`cairn_replica::replicator::Counters`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReplicaCounts {
    /// Chunks that became safe.
    pub chunks_written: u64,
    /// Chunks for which no quorum was found.
    pub chunks_failed: u64,
    /// Late copies named on their blobs.
    pub stragglers_folded: u64,
    /// Late copies that were refused, and deleted.
    pub stragglers_refused: u64,
    /// Writes given up because their zone was too slow.
    pub writes_abandoned: u64,
    /// Copies deleted because nothing names them.
    pub copies_discarded: u64,
    /// Reads that asked a second zone for lack of an answer.
    pub reads_hedged: u64,
    /// Copies found damaged, each once.
    pub damage_found: u64,
}

impl Store {
    /// Starts a store: workers, and a writer session as soon as the catalog gives one. To be called within a tokio runtime. Requests may come
    /// at once; what cannot be answered yet waits ([`StoreConfig::patience`]).
    #[must_use]
    pub fn start(parts: StoreParts) -> Arc<Self> {
        let StoreParts { catalog, zones, random, keys, mut config } = parts;
        let limits = catalog.limits();
        // The sessions that it would close may be other gateways'.
        config.sole_writer &= !catalog.is_shared();
        // S4 and B5 are about one and the same grace.
        config.replicator.garbage_grace = limits.garbage_grace;
        config.replicator.blob_chunks_max = config.replicator.blob_chunks_max.min(limits.blob_chunks_max);
        let content_chunks_max =
            limits.content_chunks_max.min(limits.extents_max.saturating_mul(config.replicator.blob_chunks_max));
        config.replicator.content_chunks_max = config.replicator.content_chunks_max.min(content_chunks_max);
        let adapter = CatalogAdapter::new(Arc::clone(&catalog), &config);
        let zones = Zones::new(zones, config.zones.clone());
        let replicator = Replicator::start(zones, Arc::new(adapter), config.replicator.clone());
        let workers = Arc::new(Workers {
            repair: RepairWorker::new(Arc::clone(&replicator), config.repair.clone()),
            condemned: CondemnedWorker::new(Arc::clone(&replicator), config.condemned.clone()),
            collector: Collector::new(Arc::clone(&replicator), config.collector.clone()),
            compaction: CompactionWorker::new(Arc::clone(&replicator), config.compaction.clone()),
            scrub: ScrubWorker::new(Arc::clone(&replicator), config.scrub.clone(), None),
            reaper: Reaper::new(Arc::clone(&catalog), &config),
            keeper: SessionKeeper::new(Arc::clone(&replicator), config.session.clone()),
        });
        let settings = SettingsCache::new(config.settings.clone(), keys);
        let core = Arc::new(Core { catalog, replicator, random, config, stopping: AtomicBool::new(false) });
        let running = run(&core, &workers);
        Arc::new(Self {
            core,
            settings,
            changing_secrets: tokio::sync::Mutex::new(()),
            workers,
            audits: Audits::default(),
            running: Mutex::new(Some(running)),
        })
    }

    /// Stops: new writes are refused, what is under way and the workers are waited for, at most this long; then the session is closed, so that
    /// the next start need not wait for its silence (S1). Requests should have been drained before.
    pub async fn stop(&self, at_most: Duration) {
        self.core.stopping.store(true, Ordering::Relaxed);
        self.audits.stop();
        let Some(running) = self.running.lock().take() else { return };
        let Running { stop_workers, stop_session, workers, session } = running;
        let end = tokio::time::Instant::now() + at_most;
        stop_workers.send_replace(true);
        for mut worker in workers {
            if tokio::time::timeout_at(end, &mut worker).await.is_err() {
                worker.abort();
            }
        }
        self.core.replicator.drain(end.saturating_duration_since(tokio::time::Instant::now())).await;
        stop_session.send_replace(true);
        let mut session = session;
        // Closing is one commit; it gets some time even where draining took all of it.
        let closing = end.max(tokio::time::Instant::now() + Duration::from_secs(1));
        if tokio::time::timeout_at(closing, &mut session).await.is_err() {
            tracing::warn!("the writer session could not be closed; it dies of silence");
            session.abort();
        }
        self.core.replicator.abort();
    }

    /// Whether writes can be taken: a session is open, and two zones take writes.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let zones = self.core.replicator.zones();
        let writable = ZoneIndex::ALL.into_iter().filter(|zone| {
            let health = zones.health(*zone);
            health.incarnation.is_some() && health.writes_pass
        });
        let has_session = self.core.replicator.session().is_some_and(|session| session.is_open());
        has_session && writable.count() >= 2 && !self.core.stopping.load(Ordering::Relaxed)
    }

    /// How it is doing.
    #[must_use]
    pub fn status(&self) -> StoreStatus {
        let replicator = &self.core.replicator;
        let counters = replicator.counters();
        let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        StoreStatus {
            session: replicator.session().map(|session| session.id()),
            zones: ZoneIndex::ALL.map(|zone| replicator.zones().health(zone)),
            write_memory: (replicator.budget().size(), replicator.budget().free()),
            uploads: replicator.budget().uploads(),
            repair: self.workers.repair.progress(),
            condemned: self.workers.condemned.progress(),
            collector: self.workers.collector.progress(),
            compaction: self.workers.compaction.progress(),
            scrub: self.workers.scrub.progress(),
            reaper: self.workers.reaper.progress(),
            counts: ReplicaCounts {
                chunks_written: count(&counters.chunks_written),
                chunks_failed: count(&counters.chunks_failed),
                stragglers_folded: count(&counters.stragglers_folded),
                stragglers_refused: count(&counters.stragglers_refused),
                writes_abandoned: count(&counters.writes_abandoned),
                copies_discarded: count(&counters.copies_discarded),
                reads_hedged: count(&counters.reads_hedged),
                damage_found: count(&counters.damage_found),
            },
        }
    }

    /// What writes and reads in each zone came to since the start, in this order, for monitoring.
    #[must_use]
    pub fn zone_operations(&self) -> [[OperationCounts; 2]; ZONE_COUNT] {
        ZoneIndex::ALL.map(|zone| self.core.replicator.zones().operation_counts(zone))
    }

    /// Begins to look at everything that is stored; `false` where an audit runs already.
    pub fn start_audit(&self, config: AuditConfig) -> bool {
        self.audits.start(AuditRun::new(Arc::clone(&self.core), config))
    }

    /// Ends the audit that runs, if one does.
    pub fn stop_audit(&self) {
        self.audits.stop();
    }

    /// How the last audit is going, or went; `None` where there was none since the start.
    #[must_use]
    pub fn audit(&self) -> Option<AuditReport> {
        self.audits.report()
    }

    /// A change of what [`SettingsCache`] keeps: seen by the next request through this store, whatever the answer was.
    pub(crate) async fn change_settings<'a, T>(
        &'a self,
        change: impl FnMut(&'a dyn Catalog) -> CatalogFuture<'a, T>,
    ) -> StoreResult<T> {
        let forget = Forget(&self.settings);
        let answer = self.core.change(change).await;
        drop(forget);
        answer
    }
}

/// Makes the cache ask again, also when the change's future is dropped: the change may have happened.
pub(crate) struct Forget<'a>(pub(crate) &'a SettingsCache);

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.0.changed();
    }
}

fn run(core: &Arc<Core>, workers: &Arc<Workers>) -> Running {
    let stop_workers = watch::Sender::new(false);
    let stop_session = watch::Sender::new(false);
    macro_rules! spawn {
        ($($worker:ident),*) => {
            vec![$({
                let (workers, stop) = (Arc::clone(workers), stop_workers.subscribe());
                tokio::spawn(async move { workers.$worker.run(stop).await })
            }),*]
        };
    }
    let handles = spawn![repair, condemned, collector, compaction, scrub, reaper];
    let (core, workers, stop) = (Arc::clone(core), Arc::clone(workers), stop_session.subscribe());
    let session = tokio::spawn(async move {
        if core.config.sole_writer && !close_left_sessions(&core, stop.clone()).await {
            return;
        }
        workers.keeper.run(stop).await;
    });
    Running { stop_workers, stop_session, workers: handles, session }
}

/// Closes the sessions of this store's earlier processes (L10), before one of its own is opened. Says whether to go on.
async fn close_left_sessions(core: &Core, mut stop: watch::Receiver<bool>) -> bool {
    while !*stop.borrow() {
        let closing = core.catalog.close_silent_sessions(CloseSilentSessions { silent_for: Duration::ZERO });
        match bounded(core.config.catalog_deadline, closing).await {
            Ok(_) => return true,
            Err(error) => tracing::warn!(%error, "waiting for the catalog"),
        }
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => return false,
            () = tokio::time::sleep(core.config.retry_pause_max) => {}
        }
    }
    false
}

impl Drop for Store {
    fn drop(&mut self) {
        self.audits.stop();
        // As a crash would: workers hold what they need of the store themselves.
        if let Some(Running { workers, session, .. }) = self.running.lock().take() {
            for worker in workers {
                worker.abort();
            }
            session.abort();
            self.core.replicator.abort();
        }
    }
}
