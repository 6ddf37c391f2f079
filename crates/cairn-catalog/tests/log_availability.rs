//! The store goes on: with a zone whose disk or engine hangs, with commands that no log can hold, with an engine that refuses what is
//! committed. Each test states what the design promises.
#![allow(dead_code, reason = "the world is shared with the simulation")]

#[path = "log_simulation/machine.rs"]
mod machine;
#[path = "log_simulation/world.rs"]
mod world;

use std::io::ErrorKind;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use cairn_catalog::embedded::keyvalue::model::ModelEngine;
use cairn_catalog::embedded::keyvalue::{
    Applied, KeyValue, KeyValueEngine, KeyValueError, Rows, Snapshot, Statistics, Table, Write,
};
use cairn_catalog::embedded::log::keeper::ZonePhase;
use cairn_catalog::embedded::log::replicated::{Replicated, Settings, ZonePlace};
use cairn_catalog::embedded::log::sequencer::{Context, Machine, Unavailable};
use cairn_catalog::embedded::machine::{CatalogMachine, LogCatalog, LogMachine, ReadSettings};
use cairn_catalog::embedded::state::{Query, StateMachine};
use cairn_catalog::{Catalog, CatalogError, CatalogResult, CreateTenant, Limits, ListAfter};
use cairn_disk::zone_directory::Identity;
use cairn_disk::{Disk, Environment};
use cairn_testkit::sim_disk::Operation;
use cairn_testkit::sim_environment::{SimExecutor, environment_with, simulate};
use cairn_types::{Incarnation, ZoneIndex};
use machine::{Append, Lists, read};
use world::{Life, World, ZONES, append, path, places, settings};

async fn all_vote<M: Machine>(store: &Replicated<M>) {
    for zone in store.zones() {
        let mut zone = zone.clone();
        let voting = zone.wait_for(|status| status.phase == ZonePhase::Voting);
        tokio::time::timeout(Duration::from_secs(60), voting).await.expect("a zone does not vote within a minute").unwrap();
    }
}

fn identity_of(world: &World, zone: usize) -> Identity {
    Identity::decode(&world.disk.backup(&path(zone))[Path::new("identity")]).unwrap()
}

/// What goes wrong with a store while the switches are on.
#[derive(Default)]
struct Trouble {
    reads_hang: AtomicBool,
    /// In the middle of a walk over rows.
    walks_hang: AtomicBool,
    /// Walks that hang now: each holds a thread.
    walks_held: AtomicUsize,
    applies_hang: AtomicBool,
    applies_fail: AtomicBool,
    /// It says that it holds another batch than it does.
    lies: AtomicBool,
}

struct Troubled(Arc<dyn KeyValue>, Arc<Trouble>, u64);

fn wait_while(switch: &AtomicBool) {
    while switch.load(Ordering::Acquire) {
        std::thread::sleep(Duration::from_millis(5));
    }
}

impl KeyValue for Troubled {
    fn applied(&self) -> Option<Applied> {
        let lie = u128::from(self.1.lies.load(Ordering::Acquire));
        self.0.applied().map(|applied| Applied { checksum: applied.checksum ^ lie, ..applied })
    }
    fn apply(&self, writes: &[Write], applied: Applied) -> Result<(), KeyValueError> {
        wait_while(&self.1.applies_hang);
        if self.1.applies_fail.load(Ordering::Acquire) {
            return Err(KeyValueError::Damaged { file: "table".into(), detail: "a bit".to_owned() });
        }
        self.0.apply(writes, applied)
    }
    fn persist(&self) -> Result<Option<Applied>, KeyValueError> {
        self.0.persist()
    }
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, KeyValueError> {
        wait_while(&self.1.reads_hang);
        self.0.get(table, key)
    }
    fn snapshot(&self) -> Box<dyn Snapshot> {
        Box::new(TroubledView(self.0.snapshot(), self.1.clone()))
    }
    /// Tells which zone's store this is.
    fn statistics(&self) -> Statistics {
        Statistics { table_files: self.2, ..Statistics::default() }
    }
}

struct TroubledView(Box<dyn Snapshot>, Arc<Trouble>);

impl Snapshot for TroubledView {
    fn applied(&self) -> Option<Applied> {
        self.0.applied()
    }
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, KeyValueError> {
        wait_while(&self.1.reads_hang);
        self.0.get(table, key)
    }
    fn range(&self, table: Table, from: Bound<&[u8]>, to: Bound<&[u8]>) -> Rows<'_> {
        let trouble = &self.1;
        Box::new(self.0.range(table, from, to).inspect(move |_| {
            trouble.walks_held.fetch_add(1, Ordering::SeqCst);
            wait_while(&trouble.walks_hang);
            trouble.walks_held.fetch_sub(1, Ordering::SeqCst);
        }))
    }
}

/// In the stores of each of these directories, apart.
struct TroubleIn<E>(E, Vec<(PathBuf, Arc<Trouble>)>);

impl<E: KeyValueEngine> KeyValueEngine for TroubleIn<E> {
    fn open(&self, directory: &Path) -> Result<Arc<dyn KeyValue>, KeyValueError> {
        let inner = self.0.open(directory)?;
        let place = self.1.iter().position(|(path, _)| directory.starts_with(path));
        Ok(match place {
            Some(number) => Arc::new(Troubled(inner, self.1[number].1.clone(), number as u64)),
            None => inner,
        })
    }
}

/// The zone that reads and evaluation use stops answering, in a read or in an apply: within a moment both go on elsewhere, nothing is lost or done
/// twice, the zone keeps its vote, and once it answers again it holds what the others hold.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn writes_and_reads_leave_a_zone_that_hangs() {
    for in_apply in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let places = ZONES.map(|zone| ZonePlace { name: zone.parse().unwrap(), path: directory.path().join(zone) });
        let model = ModelEngine::new();
        let troubles: Vec<_> = places.iter().map(|place| (place.path.clone(), Arc::<Trouble>::default())).collect();
        let engine = Arc::new(TroubleIn(model.clone(), troubles.clone()));
        let own = Settings { sequencer: Settings::default().sequencer, ..settings() };
        let store = Arc::new(Replicated::open(Environment::real(), places.clone(), own, engine, Lists).await.unwrap());
        all_vote(&store).await;
        store.submit(Append { list: 0, number: 1 }).await.unwrap();
        let primary = store.reader().unwrap().statistics().table_files as usize;
        let trouble = &troubles[primary].1;
        let switch = if in_apply { &trouble.applies_hang } else { &trouble.reads_hang };
        switch.store(true, Ordering::Release);
        #[allow(clippy::disallowed_methods, reason = "the delay that people feel")]
        let began = Instant::now();
        let submits = (2..20_u32).map(|number| store.submit(Append { list: 0, number }));
        let answers = tokio::time::timeout(Duration::from_secs(10), futures::future::join_all(submits)).await;
        let took = began.elapsed();
        if answers.is_err() {
            switch.store(false, Ordering::Release);
            panic!("two zones are healthy and nothing is written");
        }
        let reader = store.reader();
        let seen = reader.map(|state| read(&*state, 0).unwrap());
        let phase = store.zones()[primary].borrow().phase.clone();
        switch.store(false, Ordering::Release);
        let answers: Vec<_> =
            answers.expect("two zones are healthy and nothing is written").into_iter().map(Result::unwrap).collect();
        assert!(took > Duration::from_millis(500), "nothing hung: {took:?}");
        assert!(took < Duration::from_secs(8), "it took {took:?}");
        let mut lengths: Vec<usize> = answers.iter().map(Vec::len).collect();
        lengths.sort_unstable();
        assert_eq!(lengths, (1..19).collect::<Vec<_>>(), "something was done twice or not at all");
        assert_eq!(seen.map(|list| list.len()), Ok(19));
        assert_eq!(phase, ZonePhase::Voting);
        store.submit(Append { list: 0, number: 20 }).await.unwrap();
        let mut same = false;
        for _ in 0..200 {
            tokio::time::sleep(Duration::from_millis(20)).await;
            let states = places.each_ref().map(|place| model.open(&place.path.join("checkpoint-0")).unwrap());
            same = states.iter().all(|state| read(&**state, 0).is_ok_and(|list| list.len() == 20));
            if same {
                break;
            }
        }
        assert!(same, "the zone that hung does not follow");
        store.stop().await;
    }
}

const WAIT_MAX: Duration = Duration::from_secs(30);

/// The zone that reads come from hangs while nothing is written, and as many requests as ever read: none of them waits for the disk, although the
/// runtime has two threads only.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_leave_a_zone_that_hangs_while_nothing_is_written() {
    let directory = tempfile::tempdir().unwrap();
    let places = ZONES.map(|zone| ZonePlace { name: zone.parse().unwrap(), path: directory.path().join(zone) });
    let troubles: Vec<_> = places.iter().map(|place| (place.path.clone(), Arc::<Trouble>::default())).collect();
    let engine = Arc::new(TroubleIn(ModelEngine::new(), troubles.clone()));
    let own = Settings { sequencer: Settings::default().sequencer, ..settings() };
    let own_idle = own.sequencer.idle_mark_after;
    let environment = Environment::real();
    let executor = environment.executor.clone();
    let machine = CatalogMachine::new(Limits::default());
    let log = Arc::new(Replicated::open(environment, places, own, engine, machine).await.unwrap());
    let catalog =
        Arc::new(LogMachine::new(log.clone(), Limits::default(), WAIT_MAX, ReadSettings::default(), executor).await.unwrap());
    all_vote(&log).await;
    let primary = log.reader().unwrap().statistics().table_files as usize;
    // The log's own last word about what was written.
    tokio::time::sleep(own_idle * 2).await;
    let written = log.reader().unwrap().applied();
    troubles[primary].1.reads_hang.store(true, Ordering::Release);
    // The disk comes back by itself, so that a runtime without a free thread ends this test, too.
    let switch = troubles[primary].1.clone();
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_secs(20));
        switch.reads_hang.store(false, Ordering::Release);
    });
    #[allow(clippy::disallowed_methods, reason = "the delay that people feel")]
    let began = Instant::now();
    let reads: Vec<_> = (0..200)
        .map(|_| {
            let catalog = catalog.clone();
            tokio::spawn(async move { catalog.ask(Query::Zones(())).await.map(drop) })
        })
        .collect();
    for read in reads {
        assert_eq!(read.await.unwrap(), Ok(()));
    }
    let took = began.elapsed();
    assert!(took > Duration::from_millis(900), "nothing hung: {took:?}");
    assert!(took < Duration::from_secs(10), "it took {took:?}");
    let now = log.reader().unwrap();
    assert_ne!(now.statistics().table_files as usize, primary, "reads still come from the zone that hangs");
    assert_eq!(now.applied(), written, "reads went on only because something was written");
    assert_eq!(log.zones()[primary].borrow().phase, ZonePhase::Voting);
    troubles[primary].1.reads_hang.store(false, Ordering::Release);
    log.stop().await;
}

/// All tenants, page by page.
async fn tenants(catalog: &LogCatalog) -> CatalogResult<Vec<String>> {
    let (mut after, mut names) = (None, Vec::new());
    loop {
        let page = catalog.list_tenants(ListAfter { after, limit: 7 }).await?;
        names.extend(page.entries.iter().map(|tenant| tenant.record.name.to_string()));
        if !page.is_truncated {
            return Ok(names);
        }
        after = page.entries.last().map(|tenant| tenant.id);
    }
}

/// The zones' disks hang one after the other, in the middle of pages: walks over rows go on in another zone from where they were, none is shorter
/// than it should be, and however many ask, and ask again, the threads that are held are bounded. Then all answer again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn walks_leave_zones_that_hang_and_hold_few_threads() {
    let directory = tempfile::tempdir().unwrap();
    let places = ZONES.map(|zone| ZonePlace { name: zone.parse().unwrap(), path: directory.path().join(zone) });
    let troubles: Vec<_> = places.iter().map(|place| (place.path.clone(), Arc::<Trouble>::default())).collect();
    let engine = Arc::new(TroubleIn(ModelEngine::new(), troubles.clone()));
    let environment = Environment::real();
    let executor = environment.executor.clone();
    let machine = CatalogMachine::new(Limits::default());
    let log = Arc::new(Replicated::open(environment, places, settings(), engine, machine).await.unwrap());
    // Not the defaults: what is asked for is what is done.
    let reads = ReadSettings { hangs_after: Duration::from_millis(300), scans_max: 5, ..ReadSettings::default() };
    let machine = LogMachine::new(log.clone(), Limits::default(), Duration::from_secs(4), reads, executor).await.unwrap();
    let catalog = Arc::new(LogCatalog::new(machine));
    all_vote(&log).await;
    let mut names: Vec<String> = (0..30).map(|number| format!("tenant-{number:02}")).collect();
    for name in &names {
        catalog.create_tenant(CreateTenant { name: name.parse().unwrap(), uid: None }).await.unwrap();
    }
    names.sort();
    let ask = |count: usize| {
        let asking = (0..count).map(|_| {
            let catalog = catalog.clone();
            tokio::spawn(async move { tenants(&catalog).await })
        });
        asking.collect::<Vec<_>>()
    };
    let held = || troubles.iter().map(|(_, trouble)| trouble.walks_held.load(Ordering::SeqCst)).collect::<Vec<_>>();
    for hung in 1..=2 {
        let primary = log.reader().unwrap().statistics().table_files as usize;
        troubles[primary].1.walks_hang.store(true, Ordering::SeqCst);
        for asked in ask(40) {
            let mut listed = asked.await.unwrap().expect("another zone answers");
            listed.sort();
            assert_eq!(listed, names, "a walk went on, and not from where it was");
        }
        assert_ne!(log.reader().unwrap().statistics().table_files as usize, primary);
        let held = held();
        assert_eq!(held.iter().filter(|held| **held > 0).count(), hung, "{held:?}: nothing hung");
    }
    let all_hang = |hang| {
        for (_, trouble) in &troubles {
            trouble.walks_hang.store(hang, Ordering::SeqCst);
        }
    };
    all_hang(true);
    for _ in 0..3 {
        let asked = ask(40);
        tokio::time::sleep(Duration::from_millis(500)).await;
        // Some are given up by whoever asked.
        asked.iter().step_by(2).for_each(tokio::task::JoinHandle::abort);
        for asked in asked.into_iter().skip(1).step_by(2) {
            let failed = asked.await.unwrap();
            assert!(matches!(failed, Err(CatalogError::Unavailable(_) | CatalogError::Busy(_))), "{failed:?}");
        }
    }
    let held = held();
    assert!(held.iter().all(|held| (1..=5).contains(held)), "{held:?}");
    all_hang(false);
    for asked in ask(40) {
        assert_eq!(asked.await.unwrap().expect("all answer").len(), names.len());
    }
    log.stop().await;
}

/// Puts as many bytes as it is asked to, and does not say how many they are.
struct Large;

impl Machine for Large {
    type Command = usize;
    type Outcome = ();
    type Batch = Vec<Write>;

    fn begin(&self, _state: Arc<dyn KeyValue>, _context: Context) -> Vec<Write> {
        Vec::new()
    }
    fn evaluate(&self, batch: &mut Vec<Write>, length: &usize) -> Result<(), KeyValueError> {
        let key = Bytes::from(format!("{}", batch.len()));
        batch.push(Write::Put { table: Table::new(1), key, value: Bytes::from(vec![1; *length]) });
        Ok(())
    }
    fn retire(&self, _batch: &mut Vec<Write>, _zone: ZoneIndex, _incarnation: Incarnation) -> Result<(), KeyValueError> {
        Ok(())
    }
    fn size_bytes(&self, _batch: &Vec<Write>) -> usize {
        0
    }
    fn finish(&self, batch: Vec<Write>) -> Vec<Write> {
        batch
    }
}

/// A command that no batch can hold is refused, and those beside it are not.
#[test]
fn a_command_larger_than_a_batch_is_refused_alone() {
    simulate(async {
        let world = World::new(1);
        let executor = SimExecutor::default();
        let environment = environment_with(&world.disk, world.clock.clone(), 1, executor);
        let own = Settings { sequencer: Settings::default().sequencer, log: Settings::default().log, ..settings() };
        let engine = Arc::new(world.engine.boot(&world.disk));
        let store = Replicated::open(environment, places(), own, engine, Large).await.unwrap();
        let lengths = [5 << 20, 5 << 20, 13 << 20, 5 << 20, 1];
        let answers = futures::future::join_all(lengths.map(|length| store.submit(length))).await;
        for (number, answer) in answers.iter().enumerate() {
            if number == 2 {
                assert!(matches!(answer, Err(Unavailable::Refused(reason)) if reason.contains("a batch holds")), "{answer:?}");
            } else {
                assert_eq!(*answer, Ok(()), "command {number}");
            }
        }
    });
}

/// A zone whose engine refuses what is committed gets another copy of the state; it does not go on without.
#[test]
fn a_zone_that_cannot_apply_what_is_committed_is_rebuilt() {
    for zone in 0..3 {
        simulate(async move {
            let mut world = World::new(2);
            let executor = SimExecutor::default();
            let environment = environment_with(&world.disk, world.clock.clone(), 1, executor.clone());
            let trouble = Arc::new(Trouble::default());
            let engine = TroubleIn(world.engine.boot(&world.disk), vec![(path(zone).join("checkpoint-0"), trouble.clone())]);
            let store = Replicated::open(environment, places(), settings(), Arc::new(engine), Lists).await.unwrap();
            let life = Life { store: Arc::new(store), executor };
            all_vote(&life.store).await;
            trouble.applies_fail.store(true, Ordering::Release);
            for number in 0..10 {
                append(&life.store, &world.told, number % 3).await;
            }
            assert_eq!(world.acknowledged(), 10);
            world.converge(&life).await.unwrap();
            assert!(identity_of(&world, zone).catalog > 0, "the store that refused is still in use");
            assert_eq!(identity_of(&world, zone).incarnation, Incarnation(1), "its chunks are as good as before");
        });
    }
}

/// A life that its segments' keeper ends is followed by the next, not by the one after it.
#[test]
fn an_ended_life_is_followed_by_one() {
    simulate(async {
        let mut world = World::new(3);
        let life = world.start().await.unwrap_or_else(|error| panic!("{error}"));
        all_vote(&life.store).await;
        append(&life.store, &world.told, 0).await;
        let zone = ZoneIndex::ALL[1];
        assert_eq!(life.store.retire(zone, Incarnation(1)).await, Ok(Incarnation(2)));
        world.converge(&life).await.unwrap();
        assert_eq!(identity_of(&world, 1).incarnation, Incarnation(2));
        assert_eq!(life.store.incarnation(zone), Incarnation(2));
    });
}

/// A store that holds another history than the log is not read from, whichever zone has it.
#[test]
fn a_state_of_another_history_is_replaced() {
    for zone in 0..3 {
        simulate(async move {
            let mut world = World::new(4);
            let life = world.start().await.unwrap_or_else(|error| panic!("{error}"));
            all_vote(&life.store).await;
            for number in 0..10 {
                append(&life.store, &world.told, number % 3).await;
            }
            life.store.stop().await;
            world.end(life, false).await;
            let executor = SimExecutor::default();
            let environment = environment_with(&world.disk, world.clock.clone(), 9, executor.clone());
            let trouble = Arc::new(Trouble::default());
            trouble.lies.store(true, Ordering::Release);
            let engine = TroubleIn(world.engine.boot(&world.disk), vec![(path(zone).join("checkpoint-0"), trouble)]);
            let store = Replicated::open(environment, places(), settings(), Arc::new(engine), Lists).await.unwrap();
            let life = Life { store: Arc::new(store), executor };
            world.converge(&life).await.unwrap();
            assert!(identity_of(&world, zone).catalog > 0, "the store of another history is still in use");
        });
    }
}

/// L10: other processes are kept out of a zone for as long as this one serves, also while the zone is away and opened again and again.
#[test]
fn a_zone_stays_locked_while_it_is_opened_again() {
    simulate(async {
        let mut world = World::new(5);
        let life = world.start().await.unwrap_or_else(|error| panic!("{error}"));
        all_vote(&life.store).await;
        world.disk.set_delay_max(Duration::from_micros(300));
        world.disk.fail(&path(1), &[Operation::Sync], ErrorKind::Other, 9);
        let mut openings = 0;
        let mut was_voting = true;
        for number in 0..1500 {
            if number % 20 == 0 {
                append(&life.store, &world.told, 0).await;
            }
            let votes = life.store.zones()[1].borrow().phase == ZonePhase::Voting;
            openings += u32::from(votes && !was_voting);
            was_voting = votes;
            let locked = world.disk.lock(&path(1).join("lock")).await.map(drop);
            assert_eq!(locked.map_err(|error| error.kind()), Err(ErrorKind::WouldBlock), "unlocked at {number}");
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
        assert!(openings > 3, "{openings}");
    });
}

/// A directory that is empty for a moment, as one that is being mounted or moved, is not rebuilt; one that stays empty is.
#[test]
fn a_directory_that_is_empty_for_a_moment_keeps_its_life() {
    for (moment, incarnation) in [(Duration::from_secs(1), 1), (Duration::from_secs(8), 2)] {
        simulate(async move {
            let mut world = World::new(6);
            let executor = SimExecutor::default();
            let environment = environment_with(&world.disk, world.clock.clone(), 1, executor.clone());
            let mut own = settings();
            own.keeper.empty_grace = Settings::default().keeper.empty_grace;
            let engine = Arc::new(world.engine.boot(&world.disk));
            let store = Arc::new(Replicated::open(environment, places(), own, engine, Lists).await.unwrap());
            let life = Life { store, executor };
            all_vote(&life.store).await;
            append(&life.store, &world.told, 0).await;
            let content = world.disk.backup(&path(2));
            world.wipe(2);
            append(&life.store, &world.told, 0).await;
            tokio::time::sleep(moment).await;
            if incarnation == 1 {
                world.disk.restore(&path(2), &content);
            }
            world.converge(&life).await.unwrap();
            assert_eq!(identity_of(&world, 2).incarnation, Incarnation(incarnation), "after {moment:?}");
        });
    }
}

/// Two of three directories are moved away for longer than any grace, and come back: while the process runs on, or after it was killed. Nothing was
/// given up meanwhile, so nothing is lost and all three are what they were. (Both zones' lives were once ended, in a batch that the third zone
/// had alone: no later start would have found two that may vote.)
#[test]
fn two_zones_that_are_gone_for_long_are_not_given_up() {
    for killed in [false, true] {
        simulate(async move {
            let mut world = World::new(7);
            let life = world.start().await.unwrap_or_else(|error| panic!("{error}"));
            all_vote(&life.store).await;
            append(&life.store, &world.told, 0).await;
            let gone = [0, 2];
            let content = gone.map(|zone| world.disk.backup(&path(zone)));
            for zone in gone {
                world.wipe(zone);
            }
            tokio::time::sleep(Duration::from_secs(10)).await;
            let refused = life.store.submit(Append { list: 0, number: 1000 }).await;
            let words = "one of the three zones can be written, and two are needed";
            assert!(matches!(&refused, Err(Unavailable::Refused(reason)) if reason == words), "{refused:?}");
            assert_eq!(read(&*life.store.reader().unwrap(), 0).unwrap().len(), 1, "the third zone cannot be read");
            for zone in ZoneIndex::ALL {
                let ended = tokio::time::timeout(Duration::from_secs(1), life.store.retire(zone, Incarnation(1))).await.unwrap();
                assert!(matches!(&ended, Err(Unavailable::Refused(_))), "{zone}: {ended:?}");
            }
            let put_back = |world: &World| {
                gone.iter().zip(&content).for_each(|(zone, content)| world.disk.restore(&path(*zone), content));
            };
            let life = if killed {
                world.end(life, false).await;
                put_back(&world);
                world.start().await.unwrap_or_else(|error| panic!("{error}"))
            } else {
                put_back(&world);
                life
            };
            all_vote(&life.store).await;
            world.converge(&life).await.unwrap();
            assert_eq!([0, 1, 2].map(|zone| identity_of(&world, zone).incarnation), [Incarnation(1); 3], "killed: {killed}");
        });
    }
}
