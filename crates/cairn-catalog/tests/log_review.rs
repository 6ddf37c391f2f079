//! Schedules found by a hostile reading of the log. Each test states what the rules promise.
#![allow(dead_code, clippy::pedantic, clippy::doc_lazy_continuation)]

#[path = "log_simulation/machine.rs"]
mod machine;
#[path = "log_simulation/world.rs"]
mod world;

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use cairn_catalog::embedded::keyvalue::{
    Applied, KeyValue, KeyValueEngine, KeyValueError, Rows, Snapshot, Statistics, Table, Write,
};
use cairn_catalog::embedded::log::batch::{Batch, FRAME_HEADER_LENGTH, FileHeader, FrameHeader, Marks, Position};
use cairn_catalog::embedded::log::keeper::ZonePhase;
use cairn_catalog::embedded::log::replicated::{Replicated, Settings, StartError};
use cairn_catalog::embedded::log::sequencer::{Context, Machine};
use cairn_catalog::embedded::log::zone_log::{Base, LogSettings, ZoneLog};
use cairn_disk::Disk;
use cairn_disk::zone_directory::{IDENTITY_FORMAT, Identity, ZoneDirectory, ZoneState};
use cairn_testkit::sim_disk::{FaultId, Operation, SimDisk};
use cairn_testkit::sim_engine::SimEngine;
use cairn_testkit::sim_environment::{SimExecutor, environment_with, simulate};
use cairn_types::{Incarnation, StoreId, ZoneIndex};
use machine::{Append, Lists};
use parking_lot::Mutex;
use world::{Life, World, ZONES, append, path, places, settings};

const ALL: [Operation; 5] = [Operation::Lookup, Operation::Name, Operation::Read, Operation::Write, Operation::Sync];

fn away(world: &World, zone: usize) -> FaultId {
    world.disk.fail(&path(zone), &ALL, ErrorKind::TimedOut, 1)
}

async fn start(world: &mut World) -> Life {
    world.start().await.unwrap_or_else(|error| panic!("{error}"))
}

async fn all_vote<M: Machine>(store: &Replicated<M>) {
    for zone in store.zones() {
        let mut zone = zone.clone();
        tokio::time::timeout(Duration::from_secs(60), zone.wait_for(|status| status.phase == ZonePhase::Voting))
            .await
            .expect("a zone does not vote within a minute")
            .unwrap();
    }
}

async fn some_appends(world: &World, life: &Life, count: u32) {
    for number in 0..count {
        append(&life.store, &world.told, (number % 3) as u8).await;
    }
}

fn identity_of(world: &World, zone: usize) -> Identity {
    let files = world.disk.backup(&path(zone));
    Identity::decode(&files[Path::new("identity")]).unwrap()
}

/// A machine that stores bodies, as the catalog stores small objects.
struct Bodies;

struct Body {
    key: Bytes,
    value: Bytes,
}

impl Machine for Bodies {
    type Command = Body;
    type Outcome = ();
    type Batch = Vec<Write>;

    fn begin(&self, _state: Arc<dyn KeyValue>, _context: Context) -> Vec<Write> {
        Vec::new()
    }
    fn evaluate(&self, batch: &mut Vec<Write>, command: &Body) -> Result<(), KeyValueError> {
        batch.push(Write::Put { table: Table::new(1), key: command.key.clone(), value: command.value.clone() });
        Ok(())
    }
    fn retire(&self, _batch: &mut Vec<Write>, _zone: ZoneIndex, _incarnation: Incarnation) -> Result<(), KeyValueError> {
        Ok(())
    }
    fn size_bytes(&self, batch: &Vec<Write>) -> usize {
        batch.len() * 1000
    }
    fn finish(&self, batch: Vec<Write>) -> Vec<Write> {
        batch
    }
}

async fn open_bodies(world: &World, settings: Settings, seed: u64) -> Result<(Replicated<Bodies>, SimExecutor), StartError> {
    let executor = SimExecutor::default();
    let environment = environment_with(&world.disk, world.clock.clone(), seed, executor.clone());
    let engine = Arc::new(world.engine.boot(&world.disk));
    match Replicated::open(environment, places(), settings, engine, Bodies).await {
        Ok(store) => Ok((store, executor)),
        Err(error) => {
            executor.abort_all();
            tokio::task::yield_now().await;
            Err(error)
        }
    }
}

/// A frame header that anybody can compute: nothing in it is secret.
fn forged_header(generation: u64) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend_from_slice(b"CrnF");
    out.extend_from_slice(&1u16.to_le_bytes());
    out.extend_from_slice(&0u16.to_le_bytes());
    out.extend_from_slice(&generation.to_le_bytes());
    out.extend_from_slice(&(1u64 << 60).to_le_bytes());
    out.extend_from_slice(&1000u32.to_le_bytes());
    let checksum = crc32c::crc32c(&out);
    out.extend_from_slice(&checksum.to_le_bytes());
    out
}

/// 1. Power loss while a client's 16 KiB bodies are being written: they must not make the zones call their logs damaged (L5).
#[test]
fn a_clients_bytes_in_a_torn_tail_are_never_taken_for_frames() {
    // The control: the same body with another magic is harmless.
    torn(|header| header[0] = b'X');
    torn(|_| ());
}

fn torn(change: fn(&mut Vec<u8>)) {
    for seed in 0..20 {
        simulate(async move {
            let mut world = World::new(seed);
            let mut own = settings();
            own.log.file_bytes = 128 << 10;
            own.sequencer.recent_bytes_max = 64 << 10;
            own.sequencer.lag_bytes_max = 1 << 20;
            let (store, executor) = open_bodies(&world, own.clone(), 1).await.unwrap();
            all_vote(&store).await;
            store.submit(Body { key: "a".into(), value: "acknowledged".into() }).await.unwrap();
            for zone in 0..3 {
                world.disk.hang(&path(zone), &[Operation::Sync]);
            }
            let mut body = Vec::new();
            for _ in 0..32 {
                let mut header = forged_header(1);
                change(&mut header);
                body.extend(header);
                body.resize(body.len().next_multiple_of(512), 0);
            }
            let put = store.submit(Body { key: format!("{:0338}", 1).into(), value: body.into() });
            let _ = tokio::time::timeout(Duration::from_millis(100), put).await;
            executor.abort_all();
            drop(store);
            tokio::task::yield_now().await;
            world.disk = world.disk.crash();
            world.disk.lift_all();
            if let Err(error) = open_bodies(&world, own, 2).await {
                panic!("seed {seed}: a power loss, healthy disks, and the store does not start any more: {error}");
            }
        });
    }
}

/// 2. A start with one hung zone serves from the two others.
#[test]
fn a_start_does_not_wait_for_a_hung_zone() {
    simulate(async {
        let mut world = World::new(2);
        let life = start(&mut world).await;
        all_vote(&life.store).await;
        some_appends(&world, &life, 5).await;
        world.end(life, true).await;
        world.disk.hang(&path(2), &ALL);
        let started = tokio::time::timeout(Duration::from_secs(600), world.start()).await;
        assert!(started.is_ok(), "not started after ten minutes, two zones are healthy");
    });
}

/// Refuses to open the stores of one zone, as an engine does whose file fails its checksum.
struct BrokenIn(SimEngine, PathBuf);

impl KeyValueEngine for BrokenIn {
    fn open(&self, directory: &Path) -> Result<Arc<dyn KeyValue>, KeyValueError> {
        if directory == self.1 {
            return Err(KeyValueError::Damaged { file: directory.to_owned(), detail: "a bit".to_owned() });
        }
        self.0.open(directory)
    }
}

/// Geneva alone has one more batch, which nobody acknowledged.
async fn geneva_is_ahead(world: &mut World) {
    let life = start(world).await;
    all_vote(&life.store).await;
    some_appends(world, &life, 5).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    for zone in [1, 2] {
        world.disk.hang(&path(zone), &[Operation::Write]);
    }
    append(&life.store, &world.told, 0).await;
    world.end(life, true).await;
}

/// 3a. The zone with the longest log has a damaged key-value store; the two others hold everything.
#[test]
fn a_start_survives_a_source_whose_checkpoint_is_damaged() {
    simulate(async {
        let mut world = World::new(3);
        geneva_is_ahead(&mut world).await;
        for attempt in 0..3 {
            let executor = SimExecutor::default();
            let environment = environment_with(&world.disk, world.clock.clone(), 50 + attempt, executor.clone());
            let sim = world.engine.boot(&world.disk);
            let engine = Arc::new(BrokenIn(sim, path(0).join("checkpoint-0")));
            match Replicated::open(environment, places(), settings(), engine, Lists).await {
                Ok(_) => return,
                Err(error) => println!("attempt {attempt}: {error}"),
            }
            executor.abort_all();
            tokio::task::yield_now().await;
            world.disk = world.disk.kill();
        }
        panic!("it never starts");
    });
}

/// 3b. The same with a full disk in that zone.
#[test]
fn a_start_survives_a_source_whose_disk_is_full() {
    simulate(async {
        let mut world = World::new(4);
        geneva_is_ahead(&mut world).await;
        world.disk.set_capacity(&path(0), Some(0));
        for attempt in 0..3 {
            match world.start().await {
                Ok(_) => return,
                Err(error) => println!("attempt {attempt}: {error}"),
            }
            world.disk = world.disk.kill();
        }
        panic!("it never starts");
    });
}

/// An engine that keeps its contract about `InUse`: a directory is open as long as anything uses the store.
struct Locking {
    inner: SimEngine,
    open: Mutex<BTreeMap<PathBuf, Weak<()>>>,
}

struct Locked(Arc<dyn KeyValue>, Arc<()>);
struct LockedSnapshot(Box<dyn Snapshot>, Arc<()>);

impl KeyValueEngine for Locking {
    fn open(&self, directory: &Path) -> Result<Arc<dyn KeyValue>, KeyValueError> {
        let mut open = self.open.lock();
        if open.get(directory).is_some_and(|weak| weak.strong_count() > 0) {
            return Err(KeyValueError::InUse { directory: directory.to_owned() });
        }
        let token = Arc::new(());
        open.insert(directory.to_owned(), Arc::downgrade(&token));
        Ok(Arc::new(Locked(self.inner.open(directory)?, token)))
    }
}

impl KeyValue for Locked {
    fn applied(&self) -> Option<Applied> {
        self.0.applied()
    }
    fn apply(&self, writes: &[Write], applied: Applied) -> Result<(), KeyValueError> {
        self.0.apply(writes, applied)
    }
    fn persist(&self) -> Result<Option<Applied>, KeyValueError> {
        self.0.persist()
    }
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, KeyValueError> {
        self.0.get(table, key)
    }
    fn snapshot(&self) -> Box<dyn Snapshot> {
        Box::new(LockedSnapshot(self.0.snapshot(), self.1.clone()))
    }
    fn statistics(&self) -> Statistics {
        self.0.statistics()
    }
}

impl Snapshot for LockedSnapshot {
    fn applied(&self) -> Option<Applied> {
        self.0.applied()
    }
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, KeyValueError> {
        self.0.get(table, key)
    }
    fn range(&self, table: Table, from: std::ops::Bound<&[u8]>, to: std::ops::Bound<&[u8]>) -> Rows<'_> {
        self.0.range(table, from, to)
    }
}

/// 5. One zone lost, a hiccup of another while somebody reads, a restart: two zones hold everything.
#[test]
fn a_zone_in_use_does_not_give_its_vote_away() {
    simulate(async {
        let mut world = World::new(5);
        let executor = SimExecutor::default();
        let environment = environment_with(&world.disk, world.clock.clone(), 60, executor.clone());
        let inner = world.engine.boot(&world.disk);
        let engine = Arc::new(Locking { inner, open: Mutex::default() });
        let store = Arc::new(Replicated::open(environment, places(), settings(), engine, Lists).await.unwrap());
        let life = Life { store, executor };
        all_vote(&life.store).await;
        some_appends(&world, &life, 10).await;

        // Lucerne's disk is replaced by an empty one and does not answer yet.
        world.wipe(2);
        let _lucerne = away(&world, 2);
        some_appends(&world, &life, 3).await;
        // Somebody lists slowly (or Lucerne is being copied) from Geneva, which has one bad sync.
        let listing = life.store.reader().unwrap();
        let bad = world.disk.fail(&path(0).join("log-0"), &[Operation::Sync], ErrorKind::TimedOut, 1);
        let store = life.store.clone();
        let told = world.told.clone();
        let writer = tokio::spawn(async move { append(&store, &told, 1).await });
        tokio::time::sleep(Duration::from_millis(50)).await;
        world.disk.lift(bad);
        world.disk.set_delay_max(Duration::from_millis(2));
        for _ in 0..1000 {
            tokio::time::sleep(Duration::from_micros(500)).await;
            if identity_of(&world, 0).state == ZoneState::Rebuilding {
                // The process ends while Geneva is copied.
                break;
            }
        }
        drop(listing);
        writer.abort();
        let state = identity_of(&world, 0).state;
        world.end(life, false).await;
        world.wipe(2);
        match world.start().await {
            Ok(life) => world.check(&life).await.unwrap(),
            Err(error) => panic!("geneva is {state:?}: {error}"),
        }
    });
}

/// 7. A zone with one divergent batch cuts it; it does not copy the whole catalog.
#[test]
fn a_divergent_batch_is_cut_and_nothing_copied() {
    one_divergent_batch(10);
    one_divergent_batch(600);
}

fn one_divergent_batch(before: u32) {
    simulate(async move {
        let mut world = World::new(7);
        let life = start(&mut world).await;
        all_vote(&life.store).await;
        some_appends(&world, &life, before).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let hung = [1, 2].map(|zone| world.disk.hang(&path(zone), &[Operation::Write]));
        append(&life.store, &world.told, 0).await;
        world.end(life, true).await;
        hung.iter().for_each(|fault| world.disk.lift(*fault));
        let geneva = away(&world, 0);
        let life = start(&mut world).await;
        some_appends(&world, &life, 3).await;
        world.disk.lift(geneva);
        all_vote(&life.store).await;
        assert_eq!(identity_of(&world, 0).catalog, 0, "geneva's whole catalog was copied for one batch (after {before})");
    });
}

/// 8. One bad old frame in one zone does not keep another from catching up with the third.
#[test]
fn catching_up_goes_round_a_damaged_log() {
    simulate(async {
        let mut world = World::new(8);
        let life = start(&mut world).await;
        all_vote(&life.store).await;
        some_appends(&world, &life, 3).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        let lucerne = away(&world, 2);
        some_appends(&world, &life, 1).await;
        let last = world.batches(2).iter().map(|position| position.index).max().unwrap();
        some_appends(&world, &life, 33).await;
        // Rot in Geneva's copy of what Lucerne lacks.
        let mut flipped = false;
        for (name, content) in world.disk.backup(&path(0)) {
            let content = Bytes::from(content);
            if name.extension().is_none_or(|extension| extension != "log") {
                continue;
            }
            let Some(file) = FileHeader::decode(&content) else { continue };
            for offset in (0..content.len()).step_by(512) {
                let Some(header) = FrameHeader::decode(&content[offset..], file.nonce) else { continue };
                let (from, length) = (offset + FRAME_HEADER_LENGTH, header.batch_length as usize);
                if from + length <= content.len()
                    && Batch::decode(&content.slice(from..from + length)).is_ok_and(|batch| batch.position.index == last + 2)
                {
                    flipped = world.disk.flip_bit(&path(0).join(&name), (offset as u64 + 140) * 8);
                }
            }
        }
        assert!(flipped);
        world.disk.lift(lucerne);
        tokio::time::sleep(Duration::from_secs(120)).await;
        let phases: Vec<_> = life.store.zones().iter().map(|zone| zone.borrow().phase.clone()).collect();
        assert_eq!(phases[2], ZonePhase::Voting, "gland's log is whole: {phases:?}");
    });
}

/// 8b. A zone that catches up is not stuck on a hung one while the third is healthy.
#[test]
fn catching_up_goes_round_a_hung_zone() {
    simulate(async {
        let mut world = World::new(9);
        let life = start(&mut world).await;
        all_vote(&life.store).await;
        let lucerne = away(&world, 2);
        some_appends(&world, &life, 34).await;
        // Geneva hangs; before that is noticed, Lucerne is back.
        world.disk.hang(&path(0), &ALL);
        let (store, told) = (life.store.clone(), world.told.clone());
        let _writer = tokio::spawn(async move { append(&store, &told, 1).await });
        world.disk.lift(lucerne);
        tokio::time::sleep(Duration::from_secs(120)).await;
        let answer = tokio::time::timeout(Duration::from_secs(60), life.store.submit(Append { list: 3, number: 9999 })).await;
        let phases: Vec<_> = life.store.zones().iter().map(|zone| zone.borrow().phase.clone()).collect();
        assert!(
            matches!(answer, Ok(Ok(_))),
            "gland and lucerne are healthy: {answer:?} {phases:?} reader {}",
            life.store.reader().is_ok()
        );
    });
}

/// 9. A zone that hung for a moment comes back although a third zone hangs while it catches up.
#[test]
fn a_zone_comes_back_while_another_hangs_catching_up() {
    simulate(async {
        let mut world = World::new(10);
        let life = start(&mut world).await;
        all_vote(&life.store).await;
        let lucerne = away(&world, 2);
        some_appends(&world, &life, 34).await;
        // Lucerne comes back and hangs in its first write.
        world.disk.hang(&path(2), &[Operation::Write]);
        world.disk.lift(lucerne);
        tokio::time::sleep(Duration::from_secs(2)).await;
        let phases: Vec<_> = life.store.zones().iter().map(|zone| zone.borrow().phase.clone()).collect();
        println!("{phases:?}");
        // Gland hangs for a second.
        let gland = world.disk.hang(&path(1), &[Operation::Sync]);
        let (store, told) = (life.store.clone(), world.told.clone());
        let _writer = tokio::spawn(async move { append(&store, &told, 1).await });
        tokio::time::sleep(Duration::from_secs(1)).await;
        world.disk.lift(gland);
        tokio::time::sleep(Duration::from_secs(60)).await;
        let answer = tokio::time::timeout(Duration::from_secs(60), life.store.submit(Append { list: 3, number: 9999 })).await;
        let phases: Vec<_> = life.store.zones().iter().map(|zone| zone.borrow().phase.clone()).collect();
        assert!(
            matches!(answer, Ok(Ok(_))),
            "geneva and gland are healthy: {answer:?} {phases:?} reader {}",
            life.store.reader().is_ok()
        );
    });
}

/// 9b. A zone that hung for a moment comes back, also where another was away before.
#[test]
fn a_zone_comes_back_after_a_moments_hang() {
    simulate(async {
        let mut world = World::new(16);
        let life = start(&mut world).await;
        all_vote(&life.store).await;
        let lucerne = away(&world, 2);
        some_appends(&world, &life, 3).await;
        world.disk.lift(lucerne);
        all_vote(&life.store).await;
        for zone in [0, 1] {
            let hung = world.disk.hang(&path(zone), &[Operation::Sync]);
            some_appends(&world, &life, 1).await;
            tokio::time::sleep(Duration::from_secs(1)).await;
            world.disk.lift(hung);
            tokio::time::sleep(Duration::from_secs(60)).await;
        }
        let answer = tokio::time::timeout(Duration::from_secs(60), life.store.submit(Append { list: 3, number: 9999 })).await;
        assert!(matches!(answer, Ok(Ok(_))), "all three disks are healthy: {answer:?}");
    });
}

/// 10a. A stop ends under load.
#[test]
fn a_stop_ends_under_load() {
    simulate(async {
        let mut world = World::new(11);
        world.disk.set_delay_max(Duration::from_millis(1));
        let life = start(&mut world).await;
        all_vote(&life.store).await;
        let _clients: Vec<_> = (0..64)
            .map(|list| {
                let (store, told) = (life.store.clone(), world.told.clone());
                tokio::spawn(async move {
                    loop {
                        append(&store, &told, list % 4).await;
                        tokio::time::sleep(Duration::from_micros(u64::from(list) * 37)).await;
                        if store.reader().is_err() {
                            return;
                        }
                    }
                })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(100)).await;
        let stopped = tokio::time::timeout(Duration::from_secs(30), life.store.stop()).await;
        assert!(stopped.is_ok(), "not stopped after half a minute");
    });
}

/// 10b. A stop ends without a quorum.
#[test]
fn a_stop_ends_without_a_quorum() {
    simulate(async {
        let mut world = World::new(12);
        let life = start(&mut world).await;
        all_vote(&life.store).await;
        let _away = [1, 2].map(|zone| away(&world, zone));
        let (store, told) = (life.store.clone(), world.told.clone());
        let _writer = tokio::spawn(async move { append(&store, &told, 1).await });
        tokio::time::sleep(Duration::from_secs(5)).await;
        let stopped = tokio::time::timeout(Duration::from_secs(120), life.store.stop()).await;
        assert!(stopped.is_ok(), "not stopped after two minutes");
    });
}

/// 11. Log is kept for a zone that is away, up to `away_bytes_max`.
#[test]
fn log_is_kept_for_a_zone_that_goes_away() {
    simulate(async {
        let world = World::new(13);
        let mut own = settings();
        own.sequencer.away_bytes_max = 1 << 30;
        let (store, _executor) = open_bodies(&world, own, 3).await.unwrap();
        all_vote(&store).await;
        let lucerne = away(&world, 2);
        for number in 0..200 {
            store.submit(Body { key: format!("{number}").into(), value: Bytes::from(vec![7; 300]) }).await.unwrap();
        }
        world.disk.lift(lucerne);
        all_vote(&store).await;
        assert_eq!(identity_of(&world, 2).catalog, 0, "200 KB behind, and its whole catalog was copied");
    });
}

/// 12. L9 with an older zone under the mount point: refused, not rebuilt.
#[test]
fn an_old_zone_under_an_unmounted_file_system_is_refused() {
    simulate(async {
        let mut world = World::new(14);
        let life = start(&mut world).await;
        all_vote(&life.store).await;
        some_appends(&world, &life, 5).await;
        life.store.stop().await;
        world.end(life, true).await;
        // The administrator copies the zone to a new disk, mounts that in its place, and leaves the old files below.
        let below = world.disk.backup(&path(2));
        world.disk.mount(&path(2));
        for _ in 0..2 {
            let life = start(&mut world).await;
            all_vote(&life.store).await;
            some_appends(&world, &life, 5).await;
            tokio::time::sleep(Duration::from_secs(1)).await;
            life.store.stop().await;
            world.end(life, true).await;
        }
        world.disk.unmount(&path(2));
        world.disk.restore(&path(2), &below);
        let life = start(&mut world).await;
        some_appends(&world, &life, 5).await;
        tokio::time::sleep(Duration::from_secs(5)).await;
        let phase = life.store.zones()[2].borrow().phase.clone();
        assert!(matches!(phase, ZonePhase::Refused(_)), "{phase:?}, incarnation {}", identity_of(&world, 2).incarnation);
    });
}

/// 13. A zone that was made survives power loss also where the data directory itself is new.
#[test]
fn the_data_directory_itself_is_durable() {
    for seed in 0..20 {
        simulate(async move {
            let disk = SimDisk::new(seed);
            let shared: Arc<dyn Disk> = Arc::new(disk.clone());
            let zones: [cairn_types::ZoneName; 3] = ZONES.map(|name| name.parse().unwrap());
            let identity = Identity {
                format: IDENTITY_FORMAT,
                store: StoreId(77),
                zone: zones[0].clone(),
                zones,
                mount_points: [false; 3],
                incarnation: Incarnation(1),
                state: ZoneState::Formed,
                promise: 1,
                catalog: 0,
            };
            drop(ZoneDirectory::create(shared, &path(0), identity).await.unwrap());
            let disk = disk.crash();
            assert!(!disk.files(&path(0)).is_empty(), "seed {seed}: the whole data directory is gone");
        });
    }
}

/// 14. The newest zone and one that was away for long can start, however long the copy takes.
#[test]
fn a_start_has_time_to_copy_a_catalog() {
    simulate(async {
        let mut world = World::new(15);
        let mut own = settings();
        own.keeper.source_timeout = Duration::from_secs(5);
        let (store, executor) = open_bodies(&world, own.clone(), 3).await.unwrap();
        all_vote(&store).await;
        let lucerne = away(&world, 2);
        for number in 0..2000 {
            store.submit(Body { key: format!("{number}").into(), value: Bytes::from(vec![7; 300]) }).await.unwrap();
        }
        store.stop().await;
        executor.abort_all();
        drop(store);
        tokio::task::yield_now().await;
        world.disk = world.disk.crash();
        world.disk.lift(lucerne);
        // Geneva is lost; Gland has everything; Lucerne is healthy and behind. A copy takes a little over a minute.
        away(&world, 0);
        world.disk.set_delay_max(Duration::from_millis(150));
        for attempt in 0..4 {
            match open_bodies(&world, own.clone(), 4 + attempt).await {
                Ok(_) => return,
                Err(error) => println!("attempt {attempt}: {error}"),
            }
            world.disk = world.disk.kill();
        }
        panic!("it never starts");
    });
}

/// 15. L5: after a cut, rot below the cut is damage, not a torn tail.
#[test]
fn rot_in_a_rewritten_file_is_damage() {
    simulate(async {
        let disk = SimDisk::new(1);
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let zones: [cairn_types::ZoneName; 3] = ZONES.map(|name| name.parse().unwrap());
        let identity = Identity {
            format: IDENTITY_FORMAT,
            store: StoreId(77),
            zone: zones[0].clone(),
            zones,
            mount_points: [false; 3],
            incarnation: Incarnation(1),
            state: ZoneState::Formed,
            promise: 1,
            catalog: 0,
        };
        let own = LogSettings { file_bytes: 64 << 10, spare_files: 1, nonce_seed: 1 };
        shared.create_directory(Path::new("/data")).await.unwrap();
        let directory = Arc::new(ZoneDirectory::create(shared.clone(), &path(0), identity.clone()).await.unwrap());
        let mut log = ZoneLog::create(directory.clone(), directory.log_path(), own, Base::default(), 0).await.unwrap();
        let mut last = Position::default();
        for _ in 0..20 {
            let batch = Arc::new(Batch::new(StoreId(77), last, 1, 0, Marks::default(), b"payload"));
            last = batch.position;
            log.append(&[batch]).await.unwrap();
            log.sync().await.unwrap();
        }
        log.cut_after(18, 2).await.unwrap();
        drop((log, directory));
        // Frame 5 of the one file.
        let name = disk.files(&path(0).join("log-0")).into_iter().find(|(name, _)| name.extension().is_some_and(|e| e == "log"));
        let name = name.unwrap().0;
        disk.flip_bit(&name, (4096 + 4 * 512 + 100) * 8);
        let directory = Arc::new(ZoneDirectory::open(shared, &path(0), &identity).await.unwrap());
        match ZoneLog::open(directory, own, None).await {
            Err(error) => println!("{error}"),
            Ok(log) => panic!("batches 5 to 18 were durable and are cut away: the log ends with {}", log.last().index),
        }
    });
}
