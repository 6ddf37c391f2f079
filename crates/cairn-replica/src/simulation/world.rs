//! One run: gateways, clients, faults, and then quiet.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cairn_types::ZoneIndex;
use parking_lot::Mutex;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::time::Instant;

use super::catalog::{Commit, Rule, SimCatalog};
use super::checker::{self, Expected, Ledger, body};
use super::gateway::{Cable, Gateway};
use super::zone::{Mood, SimZone};
use crate::catalog_port::BlobCatalog;
use crate::read::{ReadError, ReadRequest};
use crate::replicator::{LeftOut, Replicator};

#[derive(Debug, Clone, Default)]
pub(super) struct Setup {
    pub left_out: Option<LeftOut>,
    pub rule_left_out: Option<Rule>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    pub problems: Vec<String>,
    pub acknowledged: u64,
    pub read: u64,
    pub steps: u64,
    pub folded: u64,
    pub hedged: u64,
    pub damage: u64,
    pub emptied: u64,
    pub crashes: u64,
}

pub(super) struct World {
    zones: [SimZone; 3],
    catalog: SimCatalog,
    ledger: Arc<Mutex<Ledger>>,
    random: ChaCha8Rng,
    gateways: Vec<Gateway>,
    setup: Setup,
    next_object: u64,
    emptied: u64,
    crashes: u64,
    steps: u64,
    has_held: bool,
    /// Holds up all that commits.
    commits: Cable,
}

const TROUBLE: Duration = Duration::from_secs(30);
const QUIET: Duration = Duration::from_secs(130);
const STEP: Duration = Duration::from_millis(40);

/// What a client's request needs.
#[derive(Clone)]
struct Client {
    replicator: Arc<Replicator>,
    cable: Cable,
    commits: Cable,
    catalog: SimCatalog,
    ledger: Arc<Mutex<Ledger>>,
    zones: [SimZone; 3],
}

impl World {
    pub async fn run(seed: u64, setup: Setup) -> Outcome {
        let catalog = SimCatalog::new(seed ^ 0xCA7A, setup.rule_left_out);
        let zones = [1, 2, 3].map(|zone| SimZone::new(seed.wrapping_mul(31).wrapping_add(zone)));
        let mut world = Self {
            zones,
            catalog,
            ledger: Arc::default(),
            random: ChaCha8Rng::seed_from_u64(seed),
            gateways: Vec::new(),
            setup,
            next_object: 1,
            emptied: 0,
            crashes: 0,
            steps: 0,
            has_held: false,
            commits: Cable::default(),
        };
        for _ in 0..2 {
            world.start_gateway();
        }
        let end = Instant::now() + TROUBLE;
        while Instant::now() < end && world.ledger.lock().problems.is_empty() {
            tokio::time::sleep(STEP).await;
            world.act();
            world.fault();
            world.steps += 1;
            if !world.steps.is_multiple_of(6) {
                continue;
            }
            checker::check(&world.zones, &world.catalog, &mut world.ledger.lock());
        }
        world.quieten().await;
        world.outcome()
    }

    fn start_gateway(&mut self) {
        self.gateways.push(Gateway::start(&self.zones, &self.catalog, &self.commits, &self.setup));
    }

    fn outcome(self) -> Outcome {
        let ledger = self.ledger.lock();
        let count = |counter: fn(&Replicator) -> &std::sync::atomic::AtomicU64| {
            self.gateways.iter().map(|gateway| counter(&gateway.replicator).load(std::sync::atomic::Ordering::Relaxed)).sum()
        };
        let outcome = Outcome {
            problems: ledger.problems.clone(),
            acknowledged: ledger.acknowledged,
            read: ledger.read,
            steps: self.zones.iter().map(|zone| zone.inside.lock().operations).sum(),
            folded: count(|replicator| &replicator.counters().stragglers_folded),
            hedged: count(|replicator| &replicator.counters().reads_hedged),
            damage: count(|replicator| &replicator.counters().damage_found),
            emptied: self.emptied,
            crashes: self.crashes,
        };
        for gateway in &self.gateways {
            gateway.crash();
        }
        outcome
    }

    fn client(&mut self) -> (Client, usize) {
        let index = self.random.random_range(0..self.gateways.len());
        let gateway = &self.gateways[index];
        let client = Client {
            replicator: Arc::clone(&gateway.replicator),
            cable: gateway.cable.clone(),
            commits: self.commits.clone(),
            catalog: self.catalog.clone(),
            ledger: Arc::clone(&self.ledger),
            zones: self.zones.clone(),
        };
        (client, index)
    }

    /// Some client does something.
    fn act(&mut self) {
        let (client, gateway) = self.client();
        let known: Vec<u64> = {
            let ledger = self.ledger.lock();
            ledger.objects.iter().filter(|(_, (_, _, expected))| *expected == Expected::There).map(|(id, _)| *id).collect()
        };
        let pick = |random: &mut ChaCha8Rng| known[random.random_range(0..known.len())];
        let patience = self.random.random_bool(0.1).then(|| Duration::from_millis(self.random.random_range(1..60)));
        let tasks = &self.gateways[gateway].tasks;
        match self.random.random_range(0..10) {
            0..4 => {
                let object = self.next_object;
                self.next_object += 1;
                let length = self.random.random_range(1..14_000);
                let pieces = self.random.random_range(1..5_000);
                self.ledger.lock().objects.insert(object, (object, length, Expected::Maybe));
                tasks.spawn(async move {
                    let put = client.put(object, length, pieces);
                    match patience {
                        Some(patience) => drop(tokio::time::timeout(patience, put).await),
                        None => put.await,
                    }
                });
            }
            4..7 if !known.is_empty() => {
                let object = pick(&mut self.random);
                let pause = Duration::from_millis(self.random.random_range(0..40) * self.random.random_range(0..20));
                tasks.spawn(async move { client.get(object, pause).await });
            }
            7 if !known.is_empty() => {
                let (source, target) = (pick(&mut self.random), self.next_object);
                self.next_object += 1;
                let pause = Duration::from_millis(self.random.random_range(0..9_000));
                tasks.spawn(async move { client.copy(source, target, pause).await });
            }
            8 if known.len() > 6 => {
                let object = pick(&mut self.random);
                if let Some((_, _, expected)) = self.ledger.lock().objects.get_mut(&object) {
                    *expected = Expected::Going;
                }
                tasks.spawn(async move {
                    let _ = client.cable.through(client.catalog.delete(object)).await;
                });
            }
            _ => {}
        }
    }

    /// Sometimes something goes wrong.
    fn fault(&mut self) {
        let zone = ZoneIndex::ALL[self.random.random_range(0..3)];
        let others_well = |world: &Self| {
            ZoneIndex::ALL
                .into_iter()
                .filter(|other| *other != zone)
                .all(|other| world.zones[other.get()].inside.lock().mood == Mood::Well)
        };
        match self.random.random_range(0..270) {
            // One zone at a time is ill; sometimes two, which stops writes and must lose nothing.
            0..8 if others_well(self) || self.random.random_bool(0.05) => {
                let mood = [Mood::Away, Mood::Hung, Mood::Slow, Mood::Full][self.random.random_range(0..4)];
                self.zones[zone.get()].set_mood(mood);
            }
            8..26 => self.zones[zone.get()].set_mood(Mood::Well),
            26..30 if checker::may_lose(&self.zones, &self.catalog, zone) => {
                let incarnation = self.zones[zone.get()].lose_memory();
                self.emptied += 1;
                let catalog = self.catalog.clone();
                let delay = Duration::from_millis(self.random.random_range(0..300));
                tokio::spawn(async move {
                    tokio::time::sleep(delay).await;
                    catalog.retire(zone, incarnation);
                });
            }
            30..40 => self.rot(zone),
            40..44 => {
                self.crashes += 1;
                let gateway = self.random.random_range(0..self.gateways.len());
                let gateway = self.gateways.remove(gateway);
                gateway.crash();
                self.start_gateway();
            }
            44..48 => {
                let gateway = self.random.random_range(0..self.gateways.len());
                let cable = self.gateways[gateway].cable.clone();
                let pause = Duration::from_millis(self.random.random_range(100..16_000));
                cable.set_paused(true);
                tokio::spawn(async move {
                    tokio::time::sleep(pause).await;
                    cable.set_paused(false);
                });
            }
            // All that gateways commit is late, by more than a session's life; once in a run, in some runs.
            48..50 if !self.has_held && self.random.random_bool(0.25) => {
                self.has_held = true;
                let commits = self.commits.clone();
                let pause = Duration::from_millis(self.random.random_range(1_000..80_000));
                tokio::spawn(async move {
                    commits.set_paused(true);
                    tokio::time::sleep(pause).await;
                    commits.set_paused(false);
                });
            }
            260..270 => self.zones[zone.get()].become_sparse(),
            _ => {}
        }
    }

    /// Damages one stored copy, if the promise allows it.
    fn rot(&mut self, zone: ZoneIndex) {
        let serials: Vec<u64> = self.zones[zone.get()].inside.lock().chunks.keys().copied().collect();
        if serials.is_empty() {
            return;
        }
        let serial = serials[self.random.random_range(0..serials.len())];
        let blob = self.zones[zone.get()].inside.lock().chunks[&serial].id.blob;
        if !self.catalog.0.tables.lock().blobs.contains_key(&blob) || !checker::may_rot(&self.zones, &self.catalog, zone, blob) {
            return;
        }
        let place = self.random.random_range(0..1_000);
        let mut inside = self.zones[zone.get()].inside.lock();
        if let Some(stored) = inside.chunks.get_mut(&serial) {
            let mut bytes = stored.bytes.to_vec();
            let place = place % bytes.len();
            bytes[place] ^= 0x10;
            stored.bytes = bytes.into();
            stored.rotten = true;
        }
    }

    /// No more faults and clients; after a while everything must be as it should be.
    async fn quieten(&mut self) {
        for zone in &self.zones {
            zone.inside.lock().faulty = false;
            zone.set_mood(Mood::Well);
        }
        *self.catalog.0.faulty.lock() = false;
        for gateway in &self.gateways {
            gateway.cable.set_paused(false);
        }
        let end = Instant::now() + QUIET;
        while Instant::now() < end && self.ledger.lock().problems.is_empty() {
            tokio::time::sleep(Duration::from_secs(1)).await;
            checker::check(&self.zones, &self.catalog, &mut self.ledger.lock());
        }
        if !self.ledger.lock().problems.is_empty() {
            return;
        }
        checker::check_quiet(&self.zones, &self.catalog, &mut self.ledger.lock());
        // With any one zone gone everything is readable, to the last byte.
        let acknowledged: Vec<u64> = {
            let ledger = self.ledger.lock();
            ledger.objects.iter().filter(|(_, (_, _, expected))| *expected == Expected::There).map(|(id, _)| *id).collect()
        };
        for gone in ZoneIndex::ALL {
            self.zones[gone.get()].set_mood(Mood::Away);
            let (client, _) = self.client();
            for object in &acknowledged {
                if let Err(error) = client.read(*object, Duration::ZERO).await {
                    self.ledger.lock().problem(format!("object {object} is not readable without zone {gone}: {error:?}"));
                }
            }
            self.zones[gone.get()].set_mood(Mood::Well);
        }
    }
}

/// Why a client did not get an object.
#[derive(Debug)]
enum Failed {
    NotThere,
    Catalog,
    Read(ReadError),
}

impl Client {
    async fn put(&self, object: u64, length: usize, pieces: usize) {
        let Ok(mut writer) = self.replicator.writer(Some(length as u64)) else {
            return;
        };
        let data = body(object, length);
        for piece in data.chunks(pieces) {
            if writer.push(Bytes::copy_from_slice(piece)).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_micros(500)).await;
        }
        let Ok(finished) = writer.finish().await else { return };
        let check = |tables: &super::catalog::Tables| checker::check_commit(&self.zones, tables, &mut self.ledger.lock(), object);
        let commit = self.catalog.commit(finished.session(), object, finished.contents().to_vec(), check);
        self.commits.until_clear().await;
        match self.cable.through(commit).await {
            Ok(Commit::Done) => {
                {
                    let mut ledger = self.ledger.lock();
                    ledger.acknowledged += 1;
                    if let Some((_, _, expected)) = ledger.objects.get_mut(&object) {
                        *expected = Expected::There;
                    }
                }
                finished.committed();
            }
            Ok(Commit::Refused) => finished.discard(),
            // Not known: dropped, and nothing that the commit may name is deleted.
            Err(_) => drop(finished),
        }
    }

    async fn get(&self, object: u64, pause: Duration) {
        let failed = self.read(object, pause).await.err();
        let expected = self.ledger.lock().objects.get(&object).map(|(_, _, expected)| *expected);
        match failed {
            // The object may have been deleted meanwhile, zones may be away.
            Some(Failed::Catalog | Failed::Read(ReadError::Unavailable)) | None => {}
            Some(failed) if expected == Some(Expected::There) => {
                self.ledger.lock().problem(format!("object {object} was acknowledged, and reading it gives {failed:?}"));
            }
            Some(_) => {}
        }
    }

    async fn read(&self, object: u64, pause: Duration) -> Result<(), Failed> {
        let began = Instant::now();
        let blobs = self.cable.through(self.catalog.get(object)).await.map_err(|_| Failed::Catalog)?;
        let blobs = blobs.ok_or(Failed::NotThere)?;
        let (content, length) =
            self.ledger.lock().objects.get(&object).map_or((0, 0), |(content, length, _)| (*content, *length));
        let wanted = body(content, length);
        let mut offset = 0;
        for blob in blobs {
            let catalog = self.catalog.clone();
            let recheck: crate::read::Recheck = Arc::new(move || {
                let catalog = catalog.clone();
                Box::pin(async move { catalog.exists(object).await })
            });
            let range = 0..blob.content.length();
            let request = ReadRequest { blob, range, began, recheck: Some(recheck) };
            let mut reader = self.replicator.read(request).map_err(Failed::Read)?;
            while let Some(bytes) = reader.next().await {
                let bytes = bytes.map_err(Failed::Read)?;
                if wanted.get(offset..offset + bytes.len()) != Some(bytes.as_ref()) {
                    self.ledger.lock().problem(format!("object {object} read back with other bytes at {offset}"));
                }
                offset += bytes.len();
                // A slow client.
                tokio::time::sleep(pause).await;
            }
        }
        if offset != length {
            self.ledger.lock().problem(format!("object {object} read back {offset} of {length} bytes"));
        }
        self.ledger.lock().read += 1;
        Ok(())
    }

    async fn copy(&self, source: u64, target: u64, pause: Duration) {
        let Ok(Some(blobs)) = self.cable.through(self.catalog.get(source)).await else {
            return;
        };
        let (content, length) = match self.ledger.lock().objects.get(&source) {
            Some((content, length, _)) => (*content, *length),
            None => return,
        };
        tokio::time::sleep(pause).await;
        self.ledger.lock().objects.insert(target, (content, length, Expected::Maybe));
        let ids = blobs.iter().map(|blob| blob.id).collect();
        if self.cable.through(self.catalog.copy(ids, target)).await == Ok(Commit::Done) {
            let mut ledger = self.ledger.lock();
            ledger.acknowledged += 1;
            ledger.objects.insert(target, (content, length, Expected::There));
        }
    }
}

/// The port is object safe, and the simulation's catalog is one of its implementations.
#[allow(dead_code, reason = "checked by the compiler")]
fn is_a_catalog(catalog: SimCatalog) -> Arc<dyn BlobCatalog> {
    Arc::new(catalog)
}
