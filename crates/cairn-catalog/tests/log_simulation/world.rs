//! A machine, three zones, clients, and a fate for all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cairn_catalog::embedded::keyvalue::KeyValueEngine;
use cairn_catalog::embedded::log::applier::ApplierSettings;
use cairn_catalog::embedded::log::batch::{Batch, FRAME_HEADER_LENGTH, FileHeader, FrameHeader, Position};
use cairn_catalog::embedded::log::keeper::{KeeperSettings, ZonePhase};
use cairn_catalog::embedded::log::replicated::{Replicated, Settings, StartError, ZonePlace};
use cairn_catalog::embedded::log::sequencer::{SequencerSettings, Unavailable};
use cairn_catalog::embedded::log::zone_log::LogSettings;
use cairn_testkit::sim_disk::{Operation, SimDisk};
use cairn_testkit::sim_engine::SimEngine;
use cairn_testkit::sim_environment::{SimClock, SimExecutor, environment_with, simulate};
use cairn_types::Incarnation;
use parking_lot::Mutex;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::machine::{Append, LISTS, Lists, decode, read};

pub const ZONES: [&str; 3] = ["geneva", "gland", "lucerne"];
const LISTS_COUNT: u8 = 4;

pub fn path(zone: usize) -> PathBuf {
    PathBuf::from("/data").join(ZONES[zone])
}

pub fn places() -> [ZonePlace; 3] {
    [0, 1, 2].map(|zone| ZonePlace { name: ZONES[zone].parse().unwrap(), path: path(zone) })
}

pub fn settings() -> Settings {
    Settings {
        log: LogSettings { file_bytes: 16 << 10, spare_files: 1, nonce_seed: 0 },
        sequencer: SequencerSettings {
            recent_bytes_max: 8 << 10,
            lag_bytes_max: 64 << 10,
            away_bytes_max: 40 << 10,
            hang_after: Duration::from_millis(400),
            move_after: Duration::from_millis(100),
            idle_mark_after: Duration::from_millis(50),
            ..SequencerSettings::default()
        },
        applier: ApplierSettings { gather: Duration::from_millis(10), checkpoint_bytes: 24 << 10, apply_bytes: 8 << 10 },
        keeper: KeeperSettings {
            retry_min: Duration::from_millis(10),
            retry_max: Duration::from_millis(100),
            source_timeout: Duration::from_millis(500),
            look_every: Duration::from_millis(500),
            copy_bytes: 4 << 10,
            copy_rows: 2,
            look_timeout: Duration::from_secs(5),
            empty_grace: Duration::from_millis(30),
        },
        queue_length: None,
    }
}

/// What clients were told.
#[derive(Default)]
pub struct Told {
    /// Number → list, and the list before it.
    acknowledged: BTreeMap<u32, (u8, Vec<u32>)>,
    /// Numbers whose fate is unknown, with their list.
    unknown: BTreeMap<u32, u8>,
    number_next: u32,
    trace: Vec<String>,
}

pub struct World {
    pub random: ChaCha8Rng,
    pub disk: SimDisk,
    pub engine: SimEngine,
    pub clock: Arc<SimClock>,
    pub told: Arc<Mutex<Told>>,
    seed: u64,
    life: u64,
    /// A zone that was emptied or damaged, until it votes again; and the life it lost, where it was emptied while it served.
    memoryless: Option<(usize, Option<Incarnation>)>,
}

pub struct Life {
    pub store: Arc<Replicated<Lists>>,
    pub executor: SimExecutor,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let disk = SimDisk::new(seed);
        Self {
            random: ChaCha8Rng::seed_from_u64(seed),
            engine: SimEngine::new(&disk),
            disk,
            clock: Arc::new(SimClock::new()),
            told: Arc::default(),
            seed,
            life: 0,
            memoryless: None,
        }
    }

    /// How many appends were acknowledged.
    pub fn acknowledged(&self) -> usize {
        self.told.lock().acknowledged.len()
    }

    /// Runs one seed; the error says what was lost.
    pub fn run(seed: u64, lives: u64) -> Result<(), String> {
        simulate(async move { World::new(seed).live(lives).await })
    }

    /// Everything that clients saw, for comparing two runs.
    pub fn trace(seed: u64, lives: u64) -> Vec<String> {
        simulate(async move {
            let mut world = World::new(seed);
            let result = world.live(lives).await;
            let mut trace = world.told.lock().trace.clone();
            trace.push(format!("{result:?}"));
            trace
        })
    }

    pub async fn start(&mut self) -> Result<Life, StartError> {
        self.life += 1;
        let executor = SimExecutor::default();
        let environment = environment_with(&self.disk, self.clock.clone(), self.seed ^ (self.life << 32), executor.clone());
        let engine: Arc<dyn KeyValueEngine> = Arc::new(self.engine.boot(&self.disk));
        match Replicated::open(environment, places(), settings(), engine, Lists).await {
            Ok(store) => Ok(Life { store: Arc::new(store), executor }),
            Err(error) => {
                executor.abort_all();
                tokio::task::yield_now().await;
                Err(error)
            }
        }
    }

    /// The process ends, with or without the power; the key-value stores keep any prefix since their last checkpoint.
    pub async fn end(&mut self, life: Life, power_loss: bool) {
        life.executor.abort_all();
        drop(life.store);
        tokio::task::yield_now().await;
        self.disk = if power_loss { self.disk.crash() } else { self.disk.kill() };
        self.engine.crash(|pending| self.random.random_range(0..=pending));
        self.disk.lift_all();
    }

    /// The zone's directory is emptied, durably, by somebody else's hand.
    pub fn wipe(&mut self, zone: usize) {
        self.disk.remove_tree(&path(zone));
    }

    async fn live(&mut self, lives: u64) -> Result<(), String> {
        for life in 0..lives {
            self.disk.set_delay_max(Duration::from_micros(self.random.random_range(0..3000)));
            // Sometimes the power goes at any operation, also while starting.
            if self.random.random_bool(0.5) {
                let operations = if self.random.random_bool(0.3) { 40 } else { 2000 };
                self.disk.crash_after(self.random.random_range(1..operations));
            }
            // Any one zone may be away at a start: no other zone has lost its memory then, or the start must refuse.
            let away = self.random.random_bool(0.4).then(|| self.random.random_range(0..3));
            let fault = away.map(|zone| {
                let all = [Operation::Lookup, Operation::Name, Operation::Read, Operation::Write, Operation::Sync];
                self.disk.fail(&path(zone), &all, ErrorKind::TimedOut, 1)
            });
            let started = self.start().await;
            let current = match started {
                Ok(current) => current,
                Err(error) => {
                    let excused = !self.disk.is_alive() || fault.is_some();
                    if !excused {
                        return Err(format!("life {life}: it did not start: {error}"));
                    }
                    self.disk = if self.disk.is_alive() { self.disk.kill() } else { self.disk.boot() };
                    self.disk.lift_all();
                    continue;
                }
            };
            let clients = self.clients(&current);
            let deadline = tokio::time::Instant::now() + Duration::from_millis(self.random.random_range(20..1500));
            let mut back = fault;
            while tokio::time::Instant::now() < deadline && self.disk.is_alive() {
                self.something_happens(&current, &mut back)?;
                tokio::time::sleep(Duration::from_millis(self.random.random_range(1..120))).await;
            }
            for client in clients {
                client.abort();
            }
            let power_loss = !self.disk.is_alive() || self.random.random_bool(0.6);
            self.note_votes(&current);
            self.end(current, power_loss).await;
            if self.memoryless.is_none() && self.random.random_bool(0.25) {
                let zone = self.random.random_range(0..3);
                self.memoryless = Some((zone, None));
                if self.random.random_bool(0.5) {
                    self.wipe(zone);
                } else {
                    self.rot(zone);
                }
            }
        }
        self.disk.cancel_crash();
        self.disk.lift_all();
        self.disk.set_delay_max(Duration::ZERO);
        let last = self.start().await.map_err(|error| format!("the last start: {error}"))?;
        self.check(&last).await?;
        self.converge(&last).await
    }

    /// The positions of all batches that can be read in the zone's log files.
    pub fn batches(&self, zone: usize) -> Vec<Position> {
        let mut found = Vec::new();
        for (name, content) in self.disk.backup(&path(zone)) {
            if name.extension().is_none_or(|extension| extension != "log") {
                continue;
            }
            let content = Bytes::from(content);
            let Some(file) = FileHeader::decode(&content) else { continue };
            for offset in (0..content.len()).step_by(512) {
                let Some(header) = FrameHeader::decode(&content[offset..], file.nonce) else { continue };
                let (from, length) = (offset + FRAME_HEADER_LENGTH, header.batch_length as usize);
                if from + length <= content.len()
                    && let Ok(batch) = Batch::decode(&content.slice(from..from + length))
                {
                    found.push(batch.position);
                }
            }
        }
        found
    }

    /// The directories of the zone's key-value stores.
    fn checkpoints(&self, zone: usize) -> Vec<PathBuf> {
        let mut directories = self.engine.boot(&self.disk).directories(&path(zone));
        directories.retain(|directory| !directory.to_string_lossy().contains("retired"));
        directories
    }

    fn note_votes(&mut self, life: &Life) {
        if self.memoryless.is_none() {
            // One that was away for longer than the others kept their logs has no vote either until it is rebuilt.
            let rebuilding = |zone: &usize| matches!(life.store.zones()[*zone].borrow().phase, ZonePhase::Rebuilding { .. });
            self.memoryless = (0..3).find(rebuilding).map(|zone| (zone, None));
        }
        let Some((zone, lost)) = self.memoryless else { return };
        let status = life.store.zones()[zone].borrow().clone();
        let now = status.directory.map(|directory| directory.identity().incarnation);
        if status.phase == ZonePhase::Voting && (lost.is_none() || now != lost) {
            self.memoryless = None;
        }
    }

    fn rot(&mut self, zone: usize) {
        let mut files = self.disk.files(&path(zone));
        files.retain(|(file, _)| file.extension().is_some_and(|extension| extension == "log"));
        if files.is_empty() {
            return;
        }
        let (file, length) = files[self.random.random_range(0..files.len())].clone();
        if length > 0 {
            self.disk.flip_bit(&file, self.random.random_range(0..length * 8));
        }
    }

    fn something_happens(&mut self, life: &Life, away: &mut Option<cairn_testkit::sim_disk::FaultId>) -> Result<(), String> {
        self.note_votes(life);
        let zone = self.random.random_range(0..3);
        match self.random.random_range(0..11) {
            0 | 1 => {
                if let Some(fault) = away.take() {
                    self.disk.lift(fault);
                }
            }
            2 if away.is_none() => *away = Some(self.disk.hang(&path(zone), &[Operation::Sync])),
            3 if away.is_none() => {
                *away = Some(self.disk.fail(&path(zone), &[Operation::Write, Operation::Sync], ErrorKind::Other, 5));
            }
            // A failed sync drops the pages that it could not write: they can be read, and are not on the disk.
            5 if away.is_none() => *away = Some(self.disk.fail_sync_and_forget(&path(zone), 3)),
            4 if self.memoryless.is_none() => {
                let directory = life.store.zones()[zone].borrow().directory.clone();
                self.memoryless = Some((zone, directory.map(|directory| directory.identity().incarnation)));
                self.wipe(zone);
            }
            _ => {
                let before = self.told.lock().acknowledged.clone();
                if let Ok(state) = life.store.reader() {
                    // R1: what was acknowledged before the read began is seen by it.
                    for list in 0..LISTS_COUNT {
                        let seen = read(&*state, list).map_err(|error| error.to_string())?;
                        for (number, (_, prefix)) in before.iter().filter(|(_, (of, _))| *of == list) {
                            if seen.get(prefix.len()) != Some(number) {
                                return Err(format!("{number} was acknowledged at {} and a read sees {seen:?}", prefix.len()));
                            }
                        }
                    }
                }
            }
        }
        Ok(())
    }

    pub fn clients(&mut self, life: &Life) -> Vec<tokio::task::JoinHandle<()>> {
        (0..self.random.random_range(1..6))
            .map(|_| {
                let mut random = ChaCha8Rng::seed_from_u64(self.random.random());
                let (store, told) = (life.store.clone(), self.told.clone());
                tokio::spawn(async move {
                    loop {
                        let list = random.random_range(0..LISTS_COUNT);
                        append(&store, &told, list).await;
                        if random.random_bool(0.2) {
                            tokio::time::sleep(Duration::from_millis(random.random_range(0..80))).await;
                        }
                    }
                })
            })
            .collect()
    }

    /// Every list is what its clients were told.
    pub async fn check(&mut self, life: &Life) -> Result<(), String> {
        life.store.wait_until_serving().await;
        let state = life.store.reader().map_err(|error| error.to_string())?;
        let told = self.told.lock();
        for list in 0..LISTS_COUNT {
            let found = read(&*state, list).map_err(|error| error.to_string())?;
            let distinct: BTreeSet<u32> = found.iter().copied().collect();
            if distinct.len() != found.len() {
                return Err(format!("list {list} holds a number twice: {found:?}"));
            }
            for (number, (_, before)) in told.acknowledged.iter().filter(|(_, (of, _))| *of == list) {
                if found.get(..before.len()) != Some(before) || found.get(before.len()) != Some(number) {
                    return Err(format!("{number} was acknowledged after {before:?}, the list is {found:?}"));
                }
            }
            for number in &found {
                if !told.acknowledged.contains_key(number) && told.unknown.get(number) != Some(&list) {
                    return Err(format!("{number} is in list {list} and nobody appended it there"));
                }
            }
        }
        Ok(())
    }

    /// In time all three zones vote again and hold the same.
    pub async fn converge(&mut self, life: &Life) -> Result<(), String> {
        append(&life.store, &self.told, 0).await;
        for zone in life.store.zones() {
            let mut zone = zone.clone();
            let voting =
                tokio::time::timeout(Duration::from_secs(60), zone.wait_for(|status| status.phase == ZonePhase::Voting)).await;
            if !matches!(voting, Ok(Ok(_))) {
                let phases: Vec<ZonePhase> = life.store.zones().iter().map(|zone| zone.borrow().phase.clone()).collect();
                return Err(format!("not all zones vote after a minute: {phases:?}"));
            }
        }
        append(&life.store, &self.told, 0).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        let mut contents = Vec::new();
        for zone in 0..3 {
            let checkpoints = self.checkpoints(zone);
            let [checkpoint] = checkpoints.as_slice() else { return Err(format!("not one catalog: {checkpoints:?}")) };
            let state = self.engine.store(checkpoint).ok_or("its store is gone")?;
            let snapshot = state.snapshot();
            let rows: Result<Vec<_>, _> = snapshot.range(LISTS, std::ops::Bound::Unbounded, std::ops::Bound::Unbounded).collect();
            let rows = rows.map_err(|error| error.to_string())?;
            contents.push(rows.into_iter().map(|(key, value)| (key, decode(&value))).collect::<Vec<_>>());
        }
        if contents[0] != contents[1] || contents[1] != contents[2] {
            return Err(format!("the zones hold different states: {contents:?}"));
        }
        self.check(life).await
    }
}

/// Appends a new number and writes down what came of it.
pub async fn append(store: &Replicated<Lists>, told: &Mutex<Told>, list: u8) {
    let number = {
        let mut told = told.lock();
        told.number_next += 1;
        let number = told.number_next;
        told.unknown.insert(number, list);
        number
    };
    let outcome = tokio::time::timeout(Duration::from_secs(2), store.submit(Append { list, number })).await;
    let mut told = told.lock();
    let words = match outcome {
        Ok(Ok(before)) => {
            let words = format!("{number} in {list} at {}", before.len());
            told.unknown.remove(&number);
            told.acknowledged.insert(number, (list, before));
            words
        }
        Ok(Err(Unavailable::Refused(reason))) => {
            // Nothing was changed, so the number must not turn up.
            told.unknown.remove(&number);
            format!("{number} refused: {reason}")
        }
        Ok(Err(Unavailable::Unknown(reason))) => format!("{number} unknown: {reason}"),
        Err(_) => format!("{number} timed out"),
    };
    told.trace.push(words);
}
