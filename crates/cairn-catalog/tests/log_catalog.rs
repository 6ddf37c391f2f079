//! The embedded catalog as it serves, on its replicated log: the whole conformance suite, on the simulated disk and on real files.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cairn_catalog::embedded::keyvalue::lsm_tree::{LsmTreeEngine, LsmTreeOptions};
use cairn_catalog::embedded::keyvalue::model::ModelEngine;
use cairn_catalog::embedded::keyvalue::{
    Applied, KeyValue, KeyValueEngine, KeyValueError, Rows, Snapshot, Statistics, Table, Write,
};
use cairn_catalog::embedded::log::keeper::{KeeperSettings, ZonePhase, ZoneStatus};
use cairn_catalog::embedded::log::replicated::{Replicated, Settings, ZonePlace};
use cairn_catalog::embedded::log::zone_log::LogSettings;
use cairn_catalog::embedded::machine::{CatalogMachine, LogCatalog, LogMachine, ReadSettings};
use cairn_catalog::embedded::state::tables::CURRENT;
use cairn_catalog::{Catalog, CatalogError, CatalogResult, Limits, ListObjects, NewContent, ZoneView};
use cairn_disk::{Clock, Environment};
use cairn_testkit::catalog_conformance::{self, Subject, World};
use cairn_testkit::catalog_invariants::violations;
use cairn_testkit::sim_disk::SimDisk;
use cairn_testkit::sim_environment::{SimClock, SimExecutor, environment_with};
use cairn_types::ZoneIndex;
use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;

/// A clock that is ahead of another one, by as much as tests have let pass.
struct Ahead {
    clock: Arc<dyn Clock>,
    by: Mutex<Duration>,
}

impl Clock for Ahead {
    fn monotonic(&self) -> Duration {
        self.clock.monotonic() + *self.by.lock()
    }

    fn wall(&self) -> Duration {
        self.clock.wall() + *self.by.lock()
    }
}

/// What a catalog on the log stands on, kept for as long as it is tested.
#[allow(dead_code, reason = "held, not read")]
enum Ground {
    Simulated(SimExecutor),
    Real(tempfile::TempDir),
}

struct OnLog {
    clock: Arc<Ahead>,
    log: Arc<Replicated<CatalogMachine>>,
    catalog: Arc<LogCatalog>,
    ground: Ground,
}

impl OnLog {
    async fn open(mut environment: Environment, root: &Path, engine: Arc<dyn KeyValueEngine>, ground: Ground) -> Self {
        let clock = Arc::new(Ahead { clock: environment.clock.clone(), by: Mutex::default() });
        environment.clock = clock.clone();
        let places = ["geneva", "gland", "lucerne"]
            .map(|name| ZonePlace { name: name.parse().expect("a zone's name"), path: root.join(name) });
        let keeper = KeeperSettings { retry_min: Duration::from_millis(5), ..KeeperSettings::default() };
        let log = LogSettings { file_bytes: 1 << 20, spare_files: 1, nonce_seed: 0 };
        let settings = Settings { log, keeper, ..Settings::default() };
        let machine = CatalogMachine::new(Limits::default());
        let executor = environment.executor.clone();
        let log = Arc::new(Replicated::open(environment, places, settings, engine, machine).await.expect("an open log"));
        let wait_max = Duration::from_secs(30);
        let machine = LogMachine::new(log.clone(), Limits::default(), wait_max, ReadSettings::default(), executor)
            .await
            .expect("a machine");
        Self { clock, log, catalog: Arc::new(LogCatalog::new(machine)), ground }
    }

    async fn simulated(seed: u64) -> Self {
        Self::simulated_with(seed, Arc::default()).await
    }

    async fn simulated_with(seed: u64, rotten: Rotten) -> Self {
        let disk = SimDisk::new(seed);
        let executor = SimExecutor::default();
        let environment = environment_with(&disk, Arc::new(SimClock::new()), seed, executor.clone());
        let engine = Arc::new(SimEngine { model: ModelEngine::new(), disk, rotten });
        Self::open(environment, Path::new("/data"), engine, Ground::Simulated(executor)).await
    }

    async fn real() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let engine = Arc::new(LsmTreeEngine::new(LsmTreeOptions { cache_bytes: 8 << 20, ..LsmTreeOptions::default() }));
        let root = directory.path().to_owned();
        Self::open(Environment::real(), &root, engine, Ground::Real(directory)).await
    }

    /// Ends a zone's life by the log, which empties its directory and brings it back with a later one.
    async fn retire_by_the_log(&self, zone: ZoneIndex) -> CatalogResult<ZoneView> {
        for other in self.log.zones() {
            // A zone is given up only while the other two vote.
            let voting = tokio::time::timeout(Duration::from_secs(60), async {
                other.clone().wait_for(|status| status.phase == ZonePhase::Voting).await.is_ok()
            });
            assert_eq!(voting.await, Ok(true), "a zone does not vote");
        }
        let ended = self.log.incarnation(zone);
        self.log.retire(zone, ended).await.map_err(|error| CatalogError::Unavailable(error.to_string()))?;
        let mut status = self.log.zones()[zone.get()].clone();
        let back = status.wait_for(|status| {
            let lives = status.directory.as_ref().is_some_and(|directory| directory.identity().incarnation > ended);
            lives && status.phase == ZonePhase::Voting
        });
        let back = matches!(tokio::time::timeout(Duration::from_secs(60), back).await, Ok(Ok(_)));
        assert!(back, "{zone} does not come back: {:?}", self.log.zones()[zone.get()].borrow().phase);
        self.catalog.zones().await
    }
}

impl Subject for OnLog {
    fn catalog(&self) -> Arc<dyn Catalog> {
        self.catalog.clone()
    }

    fn pass(&self, duration: Duration) -> BoxFuture<'_, ()> {
        async move {
            let target = self.log.time_ms() + u64::try_from(duration.as_millis()).expect("a duration");
            *self.clock.by.lock() += duration;
            while self.log.time_ms() < target {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        .boxed()
    }

    fn begins_lives_on_request(&self) -> bool {
        false
    }

    fn retire(&self, zone: ZoneIndex) -> BoxFuture<'_, CatalogResult<ZoneView>> {
        self.retire_by_the_log(zone).boxed()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        async move {
            let snapshot = self.log.reader().expect("a state").snapshot();
            assert_eq!(violations(snapshot.as_ref()), Vec::<String>::new());
            drop(snapshot);
            self.log.stop().await;
            if let Ground::Simulated(executor) = &self.ground {
                executor.abort_all();
            }
        }
        .boxed()
    }
}

/// The model of the key-value store, tied to a directory of the simulated disk by a file in it: where that is gone, so is the store.
struct SimEngine {
    model: ModelEngine,
    disk: SimDisk,
    rotten: Rotten,
}

/// The zones whose stores cannot be read, by name; those of [`FAILING`] because their disks fail.
type Rotten = Arc<Mutex<Vec<&'static str>>>;
const FAILING: [&str; 3] = ["geneva fails", "gland fails", "lucerne fails"];

impl KeyValueEngine for SimEngine {
    fn open(&self, directory: &Path) -> Result<Arc<dyn KeyValue>, KeyValueError> {
        if self.disk.files(directory).is_empty() {
            self.model.remove(directory);
            self.disk.restore(directory, &BTreeMap::from([("store".into(), b"a model".to_vec())]));
        }
        let store = self.model.open(directory)?;
        Ok(Arc::new(Rotting { store, directory: directory.to_owned(), rotten: self.rotten.clone() }))
    }
}

/// A store, or a view of one, whose rows of versions can go bad.
struct Rotting<Store> {
    store: Store,
    directory: PathBuf,
    rotten: Rotten,
}

impl<Store> Rotting<Store> {
    fn check(&self, table: Table) -> Result<(), KeyValueError> {
        let is_here = |zone: &&str| self.directory.iter().any(|part| part == *zone);
        if table == CURRENT && self.rotten.lock().iter().any(is_here) {
            return Err(KeyValueError::Damaged { file: self.directory.clone(), detail: "a block fails its checksum".to_owned() });
        }
        let fails = |name: &&str| name.strip_suffix(" fails").is_some_and(|zone| is_here(&zone));
        if table == CURRENT && self.rotten.lock().iter().any(fails) {
            return Err(KeyValueError::Io { file: self.directory.clone(), source: std::io::ErrorKind::TimedOut.into() });
        }
        Ok(())
    }
}

impl KeyValue for Rotting<Arc<dyn KeyValue>> {
    fn applied(&self) -> Option<Applied> {
        self.store.applied()
    }

    fn apply(&self, writes: &[Write], applied: Applied) -> Result<(), KeyValueError> {
        self.store.apply(writes, applied)
    }

    fn persist(&self) -> Result<Option<Applied>, KeyValueError> {
        self.store.persist()
    }

    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, KeyValueError> {
        self.check(table)?;
        self.store.get(table, key)
    }

    fn snapshot(&self) -> Box<dyn Snapshot> {
        Box::new(Rotting { store: self.store.snapshot(), directory: self.directory.clone(), rotten: self.rotten.clone() })
    }

    fn statistics(&self) -> Statistics {
        self.store.statistics()
    }
}

impl Snapshot for Rotting<Box<dyn Snapshot>> {
    fn applied(&self) -> Option<Applied> {
        self.store.applied()
    }

    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, KeyValueError> {
        self.check(table)?;
        self.store.get(table, key)
    }

    fn range(&self, table: Table, from: Bound<&[u8]>, to: Bound<&[u8]>) -> Rows<'_> {
        match self.check(table) {
            Ok(()) => self.store.range(table, from, to),
            Err(error) => Box::new(std::iter::once(Err(error))),
        }
    }
}

/// A zone whose checkpoint rots is no reason to fail while another zone holds the same rows: not a read, not a listing, not a write.
#[tokio::test(start_paused = true)]
async fn a_state_that_cannot_be_read_is_read_from_another_zone() {
    for (zone, what) in ["geneva", "gland", "lucerne"].into_iter().flat_map(|zone| [(zone, "get"), (zone, "list"), (zone, "put")])
    {
        let rotten = Rotten::default();
        let subject = OnLog::simulated_with(2, rotten.clone()).await;
        let world = World::new(&subject).await;
        world.put("a", 1, "text").await;
        rotten.lock().push(zone);
        match what {
            "get" => assert!(world.get("a", None).await.is_ok(), "{zone}"),
            "list" => assert_eq!(world.object_names("", None).await, ["a"], "{zone}"),
            _ => {
                // Refused once at most, with nothing changed.
                let request = world.put_request("b", 2, NewContent::Inline("text".into()));
                let written = match world.catalog.put_version(request.clone()).await {
                    Err(CatalogError::Unavailable(_)) => world.catalog.put_version(request).await,
                    written => written,
                };
                assert!(written.is_ok(), "{zone}: {written:?}");
                assert_eq!(world.object_names("", None).await, ["a", "b"], "{zone}");
            }
        }
        rotten.lock().clear();
        subject.close().await;
    }
    // In all three there is nothing else to read: an error, and no answer that lacks something.
    let rotten = Rotten::default();
    let subject = OnLog::simulated_with(2, rotten.clone()).await;
    let world = World::new(&subject).await;
    world.put("a", 1, "text").await;
    rotten.lock().extend(["geneva", "gland", "lucerne"]);
    let scope = world.scope("", None, 10);
    let listed = world.catalog.list_objects(ListObjects { scope, after: None }).await;
    assert!(matches!(listed, Err(CatalogError::Damaged(_) | CatalogError::Unavailable(_))), "{listed:?}");
}

/// A store that is known to be damaged is replaced by a copy of another, not opened again with the same damage; a disk that fails for a moment costs
/// no copy.
#[tokio::test(start_paused = true)]
async fn a_damaged_state_is_copied_anew() {
    for (what, is_damaged) in [("get", true), ("put", true), ("get", false), ("put", false)] {
        let mut copied = 0;
        for (index, zone) in ["geneva", "gland", "lucerne"].into_iter().enumerate() {
            let rotten = Rotten::default();
            let subject = OnLog::simulated_with(2, rotten.clone()).await;
            let world = World::new(&subject).await;
            world.put("a", 1, "text").await;
            let voting = |mut status: tokio::sync::watch::Receiver<ZoneStatus>| async move {
                let voting = status.wait_for(|status| status.phase == ZonePhase::Voting);
                tokio::time::timeout(Duration::from_secs(60), voting)
                    .await
                    .expect("a zone does not vote")
                    .expect("a zone")
                    .clone()
            };
            for status in subject.log.zones() {
                voting(status.clone()).await;
            }
            rotten.lock().push(if is_damaged { zone } else { FAILING[index] });
            if what == "get" {
                assert!(world.get("a", None).await.is_ok(), "{zone}");
            } else {
                let request = world.put_request("b", 2, NewContent::Inline("text".into()));
                let _ = world.catalog.put_version(request).await;
            }
            tokio::time::sleep(Duration::from_secs(5)).await;
            let status = voting(subject.log.zones()[index].clone()).await;
            copied += status.directory.expect("a directory").identity().catalog;
            rotten.lock().clear();
            subject.close().await;
        }
        // The one that reads come from, whichever that is.
        assert_eq!(copied, u64::from(is_damaged), "{what}, damaged: {is_damaged}");
    }
}

#[tokio::test(start_paused = true)]
async fn conforms_on_the_simulated_disk() {
    let make = || async { Box::new(OnLog::simulated(1).await) as Box<dyn Subject> }.boxed();
    catalog_conformance::run_all(&make).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conforms_on_real_files() {
    let make = || async { Box::new(OnLog::real().await) as Box<dyn Subject> }.boxed();
    catalog_conformance::run_all(&make).await;
}

/// A start tells the state the zones' lives while keepers may just end one: a zone that was emptied while nothing ran. It must not take the
/// later life, which the state has heard of first, for a reason not to serve.
#[tokio::test(start_paused = true)]
async fn a_catalog_opens_while_a_zone_begins_another_life() {
    let subject = OnLog::simulated(2).await;
    for zone in ZoneIndex::ALL {
        let ended = subject.log.incarnation(zone);
        let executor = Arc::new(SimExecutor::default());
        let opening =
            LogMachine::new(subject.log.clone(), Limits::default(), Duration::from_secs(30), ReadSettings::default(), executor);
        let (retired, opened) = tokio::join!(subject.log.retire(zone, ended), opening);
        assert!(retired.expect("a later life") > ended);
        assert!(opened.is_ok(), "{:?}", opened.err());
        let view = subject.catalog.zones().await.expect("a view");
        assert_eq!(view.incarnations()[zone.get()], subject.log.incarnation(zone));
        subject.retire_by_the_log(zone).await.expect("the zone is back");
    }
}
