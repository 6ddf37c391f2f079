//! Zones on real SeaweedFS clusters.
#![allow(dead_code, reason = "each test file uses a part")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use cairn_disk::Environment;
use cairn_testkit::zone_conformance::Subject;
use cairn_types::{Incarnation, StoreId, ZoneIndex};
use cairn_zone::seaweedfs::memory::{ClusterMemory, Memory};
use cairn_zone::seaweedfs::{Cluster, Opening, SeaweedZone, Settings};
use cairn_zone::{Zone, ZoneError};
use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;

/// Each subject is a store of its own, so that many share a cluster.
static STORES: AtomicU64 = AtomicU64::new(1);

/// Chunks on both sides of the 1 MiB up to which SeaweedFS reads a needle whole, and few volumes.
pub fn settings() -> Settings {
    Settings { chunk_bytes_max: 1_500_000, volume_growth_count: 2, volumes_in_use: 2, ..Settings::default() }
}

/// A record in this process.
#[derive(Default)]
pub struct Kept(Mutex<Option<(u64, Bytes)>>);

impl Kept {
    pub fn memory(&self) -> Memory {
        let record = self.0.lock().clone().expect("something is remembered").1;
        Memory::decode(&record).expect("a memory")
    }
}

impl ClusterMemory for Kept {
    fn load(&self) -> BoxFuture<'_, Result<Option<(u64, Bytes)>, String>> {
        async { Ok(self.0.lock().clone()) }.boxed()
    }

    fn save(&self, revision: u64, record: Bytes) -> BoxFuture<'_, Result<bool, String>> {
        async move {
            let mut known = self.0.lock();
            let is_present = known.as_ref().map_or(0, |(revision, _)| *revision) == revision;
            if is_present {
                *known = Some((revision + 1, record));
            }
            Ok(is_present)
        }
        .boxed()
    }
}

/// A zone that can be opened again, whose cluster is looked at every so often.
pub struct Tried {
    pub cluster: Cluster,
    pub settings: Settings,
    pub store: StoreId,
    pub incarnation: Incarnation,
    pub look_every: Duration,
    pub kept: Arc<Kept>,
    zone: Option<Arc<SeaweedZone>>,
    watching: Option<tokio::task::JoinHandle<()>>,
}

impl Tried {
    pub async fn new(cluster: Cluster, settings: Settings) -> Self {
        Self::looked_at_every(Duration::from_secs(10), cluster, settings).await
    }

    pub async fn looked_at_every(look_every: Duration, cluster: Cluster, settings: Settings) -> Self {
        let store = StoreId(u128::from(STORES.fetch_add(1, Ordering::SeqCst)));
        let incarnation = Incarnation(4);
        let (kept, zone, watching) = (Arc::default(), None, None);
        let mut tried = Self { cluster, settings, store, incarnation, look_every, kept, zone, watching };
        // A master that has just become the leader takes its time.
        for turn in 0.. {
            match tried.open().await {
                Ok(()) => break,
                Err(error) => assert!(turn < 60, "opening: {error}"),
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        tried
    }

    pub async fn open(&mut self) -> Result<(), ZoneError> {
        if let Some(watching) = self.watching.take() {
            watching.abort();
        }
        let opening = Opening {
            environment: Environment::real(),
            cluster: self.cluster.clone(),
            store: self.store,
            zone: ZoneIndex(1),
            incarnation: self.incarnation,
            memory: self.kept.clone(),
            settings: self.settings.clone(),
        };
        let zone = Arc::new(SeaweedZone::open(opening).await?);
        zone.look(true).await?;
        let (watched, every) = (zone.clone(), self.look_every);
        self.watching = Some(tokio::spawn(async move { watched.watch(every, true).await }));
        self.zone = Some(zone);
        Ok(())
    }

    /// Nobody looks any more but the test.
    pub fn look_no_more(&mut self) {
        if let Some(watching) = self.watching.take() {
            watching.abort();
        }
    }

    /// The engine itself.
    pub fn engine(&self) -> Arc<SeaweedZone> {
        self.zone.clone().expect("open")
    }

    pub fn collection(&self) -> String {
        cairn_zone::seaweedfs::collection("cairn", self.store, ZoneIndex(1), self.incarnation)
    }
}

impl Drop for Tried {
    fn drop(&mut self) {
        self.look_no_more();
    }
}

impl Subject for Tried {
    fn zone(&self) -> Arc<dyn Zone> {
        self.zone.clone().expect("open")
    }

    fn reopen(&mut self) -> BoxFuture<'_, ()> {
        async move {
            self.zone = None;
            self.open().await.expect("opening again");
        }
        .boxed()
    }

    fn begin_new_life(&mut self) -> BoxFuture<'_, ()> {
        async move {
            self.incarnation = Incarnation(self.incarnation.0 + 1);
            self.kept = Arc::default();
            self.open().await.expect("opening a new life");
        }
        .boxed()
    }
}
