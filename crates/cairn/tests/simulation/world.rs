//! One machine, three zones, clients, and a fate for all of them: several lives of the process, each ended by `kill -9` or by the loss of
//! power, with disks that hang, fail, fill up, forget, and one zone whose memory is taken away or damaged.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cairn::embedded::Engines;
use cairn_disk::{Clock, Environment};
use cairn_store::administration::Credentials;
use cairn_store::api::{CreateBucket, ObjectStore, StoreError, Versioning};
use cairn_store::{Store, StoreParts};
use cairn_testkit::sim_disk::{FaultId, IsIgnored, Operation, SimDisk};
use cairn_testkit::sim_engine::SimEngine;
use cairn_testkit::sim_environment::{SimClock, SimExecutor, environment_with};
use cairn_types::{AccountId, BucketId, TenantId};
use parking_lot::Mutex;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::healing;
use crate::history::History;
use crate::settings::{self, path, places};
use crate::workload::{Client, Front};

pub const ALL: [Operation; 5] = [Operation::Lookup, Operation::Name, Operation::Read, Operation::Write, Operation::Sync];

/// What became of a seed.
pub struct Outcome {
    pub result: Result<(), String>,
    /// Everything that clients saw, and every operation of the disks, in one number.
    pub digest: u64,
    pub counts: BTreeMap<&'static str, u64>,
}

impl Outcome {
    pub fn panicked() -> Self {
        let result = Err("a panic".to_owned());
        Self { result, digest: 0, counts: BTreeMap::new() }
    }
}

pub struct World {
    pub random: ChaCha8Rng,
    pub disk: SimDisk,
    engine: SimEngine,
    history: Arc<Mutex<History>>,
    seed: u64,
    life: u64,
    /// Wall time at the next start, seconds after the first.
    wall: Duration,
    /// The one zone that loses its memory or has it damaged, until all three are whole again.
    victim: usize,
    /// Whether each zone is a file system of its own.
    is_mounted: bool,
    /// What strikes zones that keep their memory, and when it ends.
    faults: Vec<(Fault, tokio::time::Instant)>,
}

enum Fault {
    Disk(FaultId),
    Full(usize),
}

/// One life of the process, open.
pub struct Life {
    pub environment: Environment,
    pub clock: Arc<SimClock>,
    pub engines: Engines,
    pub store: Arc<Store>,
    pub front: Front,
}

/// Why there is no next life.
enum Ended {
    /// The power went.
    Dead,
    /// With what zones had left there was no start, or the clients could not be served; nothing is wrong.
    Excused(String),
    /// Something is wrong.
    Wrong(String),
}

/// Runs one seed from the making of a store to its last check.
pub fn run(seed: u64, ignored: Option<IsIgnored>) -> Outcome {
    let mut world = World::new(seed, ignored);
    let result = world.live();
    let mut history = world.history.lock();
    let words = format!("{result:?} after {} operations of the disks", world.disk.operations());
    history.trace(&words);
    Outcome { result, digest: history.digest(), counts: history.counts.clone() }
}

/// A store whose first start is ended by the loss of power at the `operations`-th write, sync or change of names, whose second start
/// serves for no longer than it takes to begin, and whose third has one zone emptied before it.
pub fn short_lives(seed: u64, operations: u64) -> Result<(), String> {
    let mut world = World::new(seed, None);
    world.disk.crash_after(operations);
    for life in 1..=3 {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        world.life = life;
        let started = runtime.map_err(|error| error.to_string())?.block_on(world.start(&Arc::new(SimClock::new()))).map(drop);
        if world.disk.is_alive() {
            started.map_err(|error| format!("life {life}: {error}"))?;
        }
        world.disk.cancel_crash();
        world.disk = if world.disk.is_alive() { world.disk.crash() } else { world.disk.boot() };
        let random = &mut world.random;
        world.engine.crash(|pending| random.random_range(0..=pending));
        if life == 2 {
            world.disk.remove_tree(&path(world.victim));
        }
    }
    Ok(())
}

impl World {
    fn new(seed: u64, ignored: Option<IsIgnored>) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let disk = SimDisk::new(seed);
        if let Some(ignored) = ignored {
            disk.ignore_syncs_of(ignored);
        }
        let is_mounted = random.random_bool(0.3);
        if is_mounted {
            (0..3).for_each(|zone| disk.mount(&path(zone)));
        }
        Self {
            engine: SimEngine::new(&disk),
            disk,
            history: Arc::default(),
            seed,
            life: 0,
            wall: Duration::ZERO,
            victim: random.random_range(0..3),
            is_mounted,
            faults: Vec::new(),
            random,
        }
    }

    fn live(&mut self) -> Result<(), String> {
        let rounds = if self.random.random_bool(0.15) { 2 } else { 1 };
        for _ in 0..rounds {
            for _ in 0..self.random.random_range(2..5) {
                self.one_life(false)?;
            }
            self.one_life(true)?;
            self.victim = self.random.random_range(0..3);
        }
        Ok(())
    }

    /// One life from start to end. A calm one has no faults, and must make everything whole again.
    fn one_life(&mut self, calm: bool) -> Result<(), String> {
        self.life += 1;
        let life = self.life;
        self.history.lock().trace(&format!("life {life}, calm: {calm}"));
        // A process of its own: when it ends, nothing of it goes on.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let runtime = runtime.map_err(|error| error.to_string())?;
        let (ended, wall) = runtime.block_on(async {
            let clock = Arc::new(SimClock::new());
            clock.jump_wall(i64::try_from(self.wall.as_secs()).unwrap_or(0));
            let began = clock.monotonic();
            let ended = if calm { self.calm(&clock).await } else { self.troubled(&clock).await };
            (ended, clock.monotonic().saturating_sub(began))
        });
        drop(runtime);
        self.wall += wall + Duration::from_secs(1);
        let is_alive = self.disk.is_alive();
        let power_loss = is_alive && self.random.random_bool(0.6);
        self.disk.cancel_crash();
        self.disk = match (is_alive, power_loss) {
            (false, _) => self.disk.boot(),
            (true, true) => self.disk.crash(),
            (true, false) => self.disk.kill(),
        };
        let random = &mut self.random;
        self.engine.crash(|pending| random.random_range(0..=pending));
        self.lift_all();
        let mut history = self.history.lock();
        history.end_life();
        if let Some(violation) = history.violations.first() {
            return Err(format!("life {life}: {violation}"));
        }
        match ended {
            Err(Ended::Wrong(reason)) => Err(format!("life {life}: {reason}")),
            Err(Ended::Excused(reason)) => {
                history.trace(&reason);
                Ok(())
            }
            Ok(()) | Err(Ended::Dead) => Ok(()),
        }
    }

    async fn troubled(&mut self, clock: &Arc<SimClock>) -> Result<(), Ended> {
        let delay_max = if self.random.random_bool(0.5) { 2000 } else { 0 };
        self.disk.set_delay_max(Duration::from_micros(delay_max));
        // Sometimes the power goes at any operation, also while starting.
        if self.random.random_bool(0.6) {
            let operations = if self.random.random_bool(0.3) { 200 } else { 4000 };
            self.disk.crash_after(self.random.random_range(1..operations));
        }
        // A zone may be away at a start.
        if self.random.random_bool(0.25) {
            let zone = self.random.random_range(0..3);
            let fault = self.disk.fail(&path(zone), &ALL, ErrorKind::TimedOut, 1);
            self.remember(Fault::Disk(fault), 20_000);
        }
        let is_struck = !self.faults.is_empty();
        let life = match self.start(clock).await {
            Ok(life) => life,
            Err(_) if !self.disk.is_alive() => return Err(Ended::Dead),
            Err(error) if is_struck => return Err(Ended::Excused(error)),
            Err(error) => return Err(Ended::Wrong(format!("it did not start: {error}"))),
        };
        if self.random.random_bool(0.5) {
            let _ = life.front.check_all(&mut self.random).await;
        }
        let clients = self.random.random_range(2..6);
        let mut working: Vec<tokio::task::JoinHandle<()>> = Vec::new();
        for _ in 0..clients {
            let client = Client {
                front: life.front.clone(),
                random: ChaCha8Rng::seed_from_u64(self.random.random()),
                operations_max: self.random.random_range(10..40),
                patience: if self.random.random_bool(0.3) { 4 } else { 40 },
            };
            working.push(tokio::spawn(client.run()));
        }
        let end = tokio::time::Instant::now() + Duration::from_millis(self.random.random_range(50..20_000));
        while tokio::time::Instant::now() < end
            && self.disk.is_alive()
            && !working.iter().all(tokio::task::JoinHandle::is_finished)
        {
            self.something_happens(&life);
            tokio::time::sleep(Duration::from_millis(self.random.random_range(1..300))).await;
            if !self.history.lock().violations.is_empty() {
                return Ok(());
            }
        }
        self.history.lock().count_more("moved", life.store.status().compaction.moved);
        if self.random.random_bool(0.2) && self.disk.is_alive() {
            // As an administrator stops it. Without two zones that takes its time, and ends all the same.
            self.history.lock().trace("stopped");
            life.store.stop(Duration::from_secs(5)).await;
            life.engines.close().await;
        }
        if self.random.random_bool(0.2) {
            self.take_memory();
        }
        Ok(())
    }

    async fn calm(&mut self, clock: &Arc<SimClock>) -> Result<(), Ended> {
        self.disk.set_delay_max(Duration::ZERO);
        let life = self.start(clock).await.map_err(|error| Ended::Wrong(format!("it did not start: {error}")))?;
        if let Err(unanswered) = life.front.check_all(&mut self.random).await {
            return Err(Ended::Wrong(format!("{unanswered} questions were not answered although nothing fails")));
        }
        let mut random = ChaCha8Rng::seed_from_u64(self.random.random());
        Client { front: life.front.clone(), random: random.clone(), operations_max: 10, patience: 1000 }.run().await;
        healing::heal(&life, &self.disk, &self.engine.boot(&self.disk)).await.map_err(Ended::Wrong)?;
        if life.front.check_all(&mut random).await.is_err() {
            return Err(Ended::Wrong("questions were not answered after everything was whole".to_owned()));
        }
        let mut history = self.history.lock();
        history.count("healed");
        history.count_more("moved", life.store.status().compaction.moved);
        Ok(())
    }

    async fn start(&mut self, clock: &Arc<SimClock>) -> Result<Life, String> {
        let executor = SimExecutor::default();
        let environment = environment_with(&self.disk, clock.clone(), self.seed ^ (self.life << 32), executor);
        let settings = settings::engines(self.engine.boot(&self.disk));
        let engines = Engines::open(&environment, &places(), settings).await.map_err(|error| error.to_string())?;
        let keys = cairn::master_key::load_or_make(&environment, &engines).await.map_err(|error| error.to_string())?;
        let store = Store::start(StoreParts {
            catalog: engines.catalog.clone(),
            zones: engines.zones(),
            random: environment.random.clone(),
            keys,
            config: settings::store(),
        });
        let (account, plain, versioned) = set_up(&store).await.map_err(|error| error.to_string())?;
        let (history, disk) = (self.history.clone(), self.disk.clone());
        let front = Front { store: store.clone(), account, plain, versioned, history, disk };
        Ok(Life { environment, clock: clock.clone(), engines, store, front })
    }

    fn remember(&mut self, fault: Fault, millis: u64) {
        self.faults.push((fault, tokio::time::Instant::now() + Duration::from_millis(millis)));
    }

    fn lift(&mut self, fault: &Fault) {
        match fault {
            Fault::Disk(fault) => self.disk.lift(*fault),
            Fault::Full(zone) => self.disk.set_capacity(&path(*zone), None),
        }
    }

    fn lift_all(&mut self) {
        for (fault, _) in std::mem::take(&mut self.faults) {
            self.lift(&fault);
        }
    }

    fn something_happens(&mut self, life: &Life) {
        let now = tokio::time::Instant::now();
        let (over, going_on) = std::mem::take(&mut self.faults).into_iter().partition(|(_, end)| *end <= now);
        self.faults = going_on;
        for (fault, _) in Vec::<(Fault, tokio::time::Instant)>::from_iter(over) {
            self.lift(&fault);
        }
        // One at a time, mostly: with two zones in trouble nothing goes on.
        if self.faults.len() >= if self.random.random_bool(0.05) { 2 } else { 1 } {
            return;
        }
        let zone = self.random.random_range(0..3);
        let place = path(zone);
        let millis = self.random.random_range(50..6_000);
        let some = [Operation::Write, Operation::Sync];
        let fault = match self.random.random_range(0..40) {
            0 => self.disk.hang(&place, &[Operation::Sync]),
            1 => self.disk.hang(&place, &ALL),
            2 => self.disk.hang(&place, &[Operation::Read]),
            3 => self.disk.slow(&place, &ALL, Duration::from_millis(self.random.random_range(1..200))),
            4 => self.disk.fail(&place, &some, ErrorKind::Other, self.random.random_range(1..10)),
            5 => self.disk.fail(&place, &[Operation::Read], ErrorKind::Other, self.random.random_range(1..6)),
            6 | 7 => self.disk.fail_sync_and_forget(&place, self.random.random_range(1..6)),
            8 => self.disk.fail(&place, &ALL, ErrorKind::TimedOut, 1),
            9 | 10 if self.is_mounted => {
                let used: u64 = self.disk.files(&place).iter().map(|(_, length)| length).sum();
                let more = self.random.random_range(0..200_000);
                self.disk.set_capacity(&place, Some(used + more));
                self.trace(&format!("{zone} has room for {more} bytes"));
                return self.remember(Fault::Full(zone), millis * 3);
            }
            11 => return self.take_memory(),
            12 => {
                let seconds = self.random.random_range(-100_000..100_000);
                self.trace(&format!("wall time jumps by {seconds} s"));
                return life.clock.jump_wall(seconds);
            }
            _ => return,
        };
        self.trace(&format!("{zone} is struck by {fault:?} for {millis} ms"));
        self.remember(Fault::Disk(fault), millis);
    }

    fn trace(&self, words: &str) {
        self.history.lock().trace(words);
    }

    /// The victim's directory is emptied by somebody else's hand, or a bit flips in one of its files.
    fn take_memory(&mut self) {
        let place = path(self.victim);
        if self.random.random_bool(0.4) {
            self.trace(&format!("{} is emptied", self.victim));
            if self.is_mounted {
                // A file system's root cannot be removed.
                for name in self.names(&place) {
                    self.disk.remove_tree(&name);
                }
            } else {
                self.disk.remove_tree(&place);
            }
            return;
        }
        let files = self.disk.files(&place);
        if files.is_empty() {
            return;
        }
        let (file, length) = files[self.random.random_range(0..files.len())].clone();
        // The model of the rows' store is not there to be damaged: what the real one does is tested on real files.
        if length > 0 && !file.ends_with("store") {
            let bit = self.random.random_range(0..length * 8);
            self.trace(&format!("bit {bit} of {} flips", file.display()));
            self.disk.flip_bit(&file, bit);
        }
    }

    fn names(&self, place: &std::path::Path) -> Vec<PathBuf> {
        let files = self.disk.files(place).into_iter();
        let mut names: Vec<PathBuf> =
            files.filter_map(|(file, _)| Some(place.join(file.strip_prefix(place).ok()?.components().next()?))).collect();
        names.dedup();
        names
    }
}

/// The account and the two buckets, made where they are not there yet.
async fn set_up(store: &Arc<Store>) -> Result<(AccountId, BucketId, BucketId), StoreError> {
    let unknown = |error: cairn_store::administration::AdministrationError| StoreError::Unavailable(error.to_string());
    let root = Credentials::existing("root", "a secret of root").map_err(unknown)?;
    let tenant = "default".parse().map_err(|_| StoreError::Internal("a name".to_owned()))?;
    let account = store.ensure_root(&tenant, "root", &root).await.map_err(unknown)?;
    let mut buckets = Vec::new();
    for name in ["plain", "versioned"] {
        let bucket = if let Some(bucket) = store.bucket(TenantId::DEFAULT, name).await? {
            bucket
        } else {
            let name = name.parse().map_err(|_| StoreError::Internal("a name".to_owned()))?;
            store.create_bucket(CreateBucket { tenant: TenantId::DEFAULT, name, owner: account, tags: Vec::new() }).await?
        };
        if name == "versioned" && bucket.versioning != Versioning::Enabled {
            store.set_versioning(bucket.id, Versioning::Enabled).await?;
        }
        buckets.push(bucket.id);
    }
    Ok((account, buckets[0], buckets[1]))
}
