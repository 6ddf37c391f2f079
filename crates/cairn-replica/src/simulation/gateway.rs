//! A gateway of the simulation: everything that a process would run, behind a network that can be held up, so that the gateway pauses.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use cairn_types::{BlobId, ChunkId, Incarnation, Locator, SessionId, ZoneIndex};
use cairn_zone::{Capabilities, Page, Placed, Usage, Zone, ZoneError};
use futures::future::BoxFuture;
use tokio::sync::{Notify, watch};

use super::catalog::SimCatalog;
use super::world::Setup;
use super::zone::SimZone;
use crate::catalog_port::{
    AddLocators, AddOutcome, Blob, BlobCatalog, BlobPage, ClearLocators, Incarnations, MoveLocator, PortResult, Replica,
    SessionView, ZoneSet,
};
use crate::collector::{Collector, CollectorConfig};
use crate::compact::{CompactionConfig, CompactionWorker};
use crate::condemned::{CondemnedConfig, CondemnedWorker};
use crate::gate::GateConfig;
use crate::placement::PlacementConfig;
use crate::repair::{RepairConfig, RepairWorker};
use crate::replicator::{Replicator, ReplicatorConfig};
use crate::scrub::{ScrubConfig, ScrubWorker};
use crate::session::{SessionConfig, SessionKeeper};
use crate::tasks::TaskGroup;
use crate::zones::{Zones, ZonesConfig};

/// A network cable that can be pulled: nothing leaves or arrives while it is. A process that is stopped looks the same from outside.
#[derive(Clone, Default)]
pub(super) struct Cable(Arc<Ends>);

#[derive(Default)]
struct Ends {
    paused: AtomicBool,
    changed: Notify,
}

impl Cable {
    pub fn set_paused(&self, paused: bool) {
        self.0.paused.store(paused, Ordering::Relaxed);
        self.0.changed.notify_waiters();
    }

    pub async fn until_clear(&self) {
        while self.0.paused.load(Ordering::Relaxed) {
            self.0.changed.notified().await;
        }
    }

    pub async fn through<T>(&self, work: impl Future<Output = T>) -> T {
        self.until_clear().await;
        let result = work.await;
        self.until_clear().await;
        result
    }
}

struct FarZone(SimZone, Cable);

impl Zone for FarZone {
    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }
    fn incarnation(&self) -> Option<Incarnation> {
        self.0.incarnation()
    }
    fn write(&self, session: SessionId, id: ChunkId, pieces: Vec<Bytes>) -> BoxFuture<'_, Result<Placed, ZoneError>> {
        Box::pin(self.1.through(self.0.write(session, id, pieces)))
    }
    fn read<'a>(&'a self, at: &'a Locator, id: ChunkId, offset: u64, length: usize) -> BoxFuture<'a, Result<Bytes, ZoneError>> {
        Box::pin(self.1.through(self.0.read(at, id, offset, length)))
    }
    fn delete<'a>(&'a self, chunks: &'a [(Locator, ChunkId)]) -> BoxFuture<'a, Vec<Result<(), ZoneError>>> {
        Box::pin(self.1.through(self.0.delete(chunks)))
    }
    fn enumerate(&self, since: SessionId, from: Option<Bytes>, count_max: usize) -> BoxFuture<'_, Result<Page, ZoneError>> {
        Box::pin(self.1.through(self.0.enumerate(since, from, count_max)))
    }
    fn sparse(&self, from: Option<Bytes>, count_max: usize) -> BoxFuture<'_, Result<Page, ZoneError>> {
        Box::pin(self.1.through(self.0.sparse(from, count_max)))
    }
    fn usage(&self) -> BoxFuture<'_, Result<Usage, ZoneError>> {
        self.0.usage()
    }
}

/// The last cable holds up additions of locators on their way, for all gateways together.
struct FarCatalog(SimCatalog, Cable, Cable);

impl BlobCatalog for FarCatalog {
    fn incarnations(&self) -> BoxFuture<'_, PortResult<Incarnations>> {
        Box::pin(self.1.through(self.0.incarnations()))
    }
    fn generation(&self) -> BoxFuture<'_, PortResult<u64>> {
        Box::pin(self.1.through(self.0.generation()))
    }
    fn open_session(&self) -> BoxFuture<'_, PortResult<SessionId>> {
        Box::pin(self.1.through(self.0.open_session()))
    }
    fn heartbeat(&self, session: SessionId) -> BoxFuture<'_, PortResult<bool>> {
        Box::pin(self.1.through(self.0.heartbeat(session)))
    }
    fn close_session(&self, session: SessionId) -> BoxFuture<'_, PortResult<()>> {
        Box::pin(self.1.through(self.0.close_session(session)))
    }
    fn close_dead_sessions(&self) -> BoxFuture<'_, PortResult<SessionView>> {
        Box::pin(self.1.through(self.0.close_dead_sessions()))
    }
    fn blob(&self, id: BlobId) -> BoxFuture<'_, PortResult<Option<Arc<Blob>>>> {
        Box::pin(self.1.through(self.0.blob(id)))
    }
    fn blobs_by_id(&self, ids: Vec<BlobId>) -> BoxFuture<'_, PortResult<Vec<Option<Arc<Blob>>>>> {
        Box::pin(self.1.through(self.0.blobs_by_id(ids)))
    }
    fn blobs(&self, after: Option<BlobId>, count_max: usize) -> BoxFuture<'_, PortResult<BlobPage>> {
        Box::pin(self.1.through(self.0.blobs(after, count_max)))
    }
    fn incomplete(&self, zones: ZoneSet, from: Option<Bytes>, count_max: usize) -> BoxFuture<'_, PortResult<BlobPage>> {
        Box::pin(self.1.through(self.0.incomplete(zones, from, count_max)))
    }
    fn add_locators(&self, session: SessionId, additions: Vec<AddLocators>) -> BoxFuture<'_, PortResult<Vec<AddOutcome>>> {
        Box::pin(async move {
            self.2.until_clear().await;
            self.1.through(self.0.add_locators(session, additions)).await
        })
    }
    fn clear_locators(&self, clearances: Vec<ClearLocators>) -> BoxFuture<'_, PortResult<Vec<bool>>> {
        Box::pin(self.1.through(self.0.clear_locators(clearances)))
    }
    fn move_locators(&self, session: SessionId, moves: Vec<MoveLocator>) -> BoxFuture<'_, PortResult<Vec<bool>>> {
        Box::pin(async move {
            self.2.until_clear().await;
            self.1.through(self.0.move_locators(session, moves)).await
        })
    }
    fn named(&self, zone: ZoneIndex, places: Vec<(ChunkId, Replica)>) -> BoxFuture<'_, PortResult<Vec<bool>>> {
        Box::pin(self.1.through(self.0.named(zone, places)))
    }
    fn condemned_due(&self, zone: ZoneIndex, from: Option<Bytes>, count_max: usize) -> BoxFuture<'_, PortResult<BlobPage>> {
        Box::pin(self.1.through(self.0.condemned_due(zone, from, count_max)))
    }
    fn confirm_deleted(&self, zone: ZoneIndex, blobs: Vec<BlobId>) -> BoxFuture<'_, PortResult<()>> {
        Box::pin(self.1.through(self.0.confirm_deleted(zone, blobs)))
    }
    fn advance_rebuilds(&self, count_max: usize) -> BoxFuture<'_, PortResult<bool>> {
        Box::pin(self.1.through(self.0.advance_rebuilds(count_max)))
    }
}

pub(super) struct Gateway {
    pub replicator: Arc<Replicator>,
    pub cable: Cable,
    /// Its clients' requests and its workers.
    pub tasks: TaskGroup,
}

pub(super) fn configuration() -> ReplicatorConfig {
    ReplicatorConfig {
        write_memory: 40_000,
        read_memory: 1_000_000,
        blob_chunks_max: 4,
        placement: PlacementConfig { deadline: Duration::from_secs(8), ..PlacementConfig::default() },
        garbage_grace: super::catalog::GRACE,
        ..ReplicatorConfig::default()
    }
}

pub(super) fn zones_configuration() -> ZonesConfig {
    ZonesConfig {
        gate: GateConfig { probe_after_max: Duration::from_secs(2), ..GateConfig::default() },
        write_deadline: Duration::from_secs(6),
        read_deadline: Duration::from_secs(3),
        batch_deadline: Duration::from_secs(8),
        write_bytes_max: 60_000,
        straggler_bytes_max: 15_000,
    }
}

impl Gateway {
    pub fn start(zones: &[SimZone; 3], catalog: &SimCatalog, commits: &Cable, setup: &Setup) -> Self {
        let cable = Cable::default();
        let far = zones.clone().map(|zone| Arc::new(FarZone(zone, cable.clone())) as Arc<dyn Zone>);
        let zones = Zones::new(far, zones_configuration());
        let catalog = Arc::new(FarCatalog(catalog.clone(), cable.clone(), commits.clone()));
        let replicator = Replicator::start(zones, catalog, configuration());
        *replicator.left_out.lock() = setup.left_out;
        let tasks = TaskGroup::new();
        let (shutdown, stop) = watch::channel(false);
        // Never told to stop: it crashes, or the simulation ends.
        std::mem::forget(shutdown);
        let keeper = SessionKeeper::new(
            Arc::clone(&replicator),
            SessionConfig {
                heartbeat_interval: Duration::from_millis(500),
                silence_max: Duration::from_secs(3),
                replace_after: Duration::from_secs(12),
                linger_max: Duration::from_secs(20),
            },
        );
        let repair = RepairWorker::new(
            Arc::clone(&replicator),
            RepairConfig {
                settle: Duration::from_millis(300),
                idle_pause: Duration::from_millis(400),
                ..RepairConfig::default()
            },
        );
        let scrub = ScrubWorker::new(
            Arc::clone(&replicator),
            ScrubConfig { bytes_per_second: 400_000, page: 8, pause: Duration::from_secs(3) },
            None,
        );
        let collector = Collector::new(
            Arc::clone(&replicator),
            CollectorConfig {
                // Sooner than the longest write: that costs garbage some time, and must cost no data.
                look_pause: Duration::from_millis(700),
                late_after: Duration::from_secs(2),
                whole_after: Duration::from_secs(15),
                ..CollectorConfig::default()
            },
        );
        let condemned = CondemnedWorker::new(
            Arc::clone(&replicator),
            CondemnedConfig { idle_pause: Duration::from_millis(700), ..CondemnedConfig::default() },
        );
        let compaction = CompactionWorker::new(
            Arc::clone(&replicator),
            CompactionConfig {
                page: 5,
                moves_max: 3,
                linger: Duration::from_millis(800),
                idle_pause: Duration::from_millis(600),
                ..CompactionConfig::default()
            },
        );
        let stops = [stop.clone(), stop.clone(), stop.clone(), stop.clone(), stop.clone(), stop];
        let [first, second, third, fourth, fifth, sixth] = stops;
        tasks.spawn(async move { keeper.run(first).await });
        tasks.spawn(async move { repair.run(second).await });
        tasks.spawn(async move { scrub.run(third).await });
        tasks.spawn(async move { collector.run(fourth).await });
        tasks.spawn(async move { condemned.run(fifth).await });
        tasks.spawn(async move { compaction.run(sixth).await });
        Self { replicator, cable, tasks }
    }

    /// Ends as a killed process does.
    pub fn crash(&self) {
        // First what writers would start when they are dropped.
        self.replicator.abort();
        self.tasks.abort();
    }
}
