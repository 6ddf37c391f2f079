//! `kill -9` at random moments under mixed load, with a zone's directory removed at a random moment in half of the rounds: every
//! acknowledged write is there and whole, and no other is half there.
//!
//! One store lives through the rounds of a run. A round: clients ask for whatever there is; the process is killed; it starts again;
//! everything is read back and judged ([`model`]). In the rounds with a removal the directory goes while clients ask, in the moment of the
//! kill, while nothing runs, or while everything is read back; before them the run waits until `zone status` says that the store is whole,
//! as an administrator is told to.

mod client;
mod model;
mod values;
mod verify;
mod world;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use cairn_testkit::s3_client::{S3Request, path};
use client::Client;
use rand::Rng;
use tokio::task::JoinSet;
use verify::Verifier;
use world::{BUCKETS, World};

use crate::connection::Connection;
use crate::seed::{self, Random};
use crate::service::{Home, Service, ZONES, remove};

/// Clients at once.
const CLIENTS: u64 = 24;
/// Rounds at full size.
const ROUNDS_LONG: u64 = 200;
/// How long the gate goes on beginning rounds.
const GATE_TIME: Duration = Duration::from_secs(90);
/// How long clients ask before the kill.
const LOAD_MS: std::ops::Range<u64> = 20..1500;
/// A store that takes more of the disk is left, and another one made.
const HOME_BYTES_MAX: u64 = 4 << 30;

/// When a zone's directory goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    /// While clients ask, so long after they began.
    Running(Duration),
    /// As soon as the process is dead.
    Stopped,
    /// While everything is read back, so long after the start.
    Back(Duration),
}

/// What happens to a zone in a round.
#[derive(Debug, Clone, Copy)]
struct Removal {
    zone: usize,
    when: When,
    /// Moved away in one step, or emptied file by file.
    at_once: bool,
}

/// What happens in a round.
#[derive(Debug)]
struct Plan {
    kill_after: Duration,
    removal: Option<Removal>,
    /// Whether it waits for the zones that an earlier round has taken.
    waits: bool,
}

impl Plan {
    fn draw(random: &mut Random) -> Self {
        let kill_after = Duration::from_millis(random.random_range(LOAD_MS));
        let removal = random.random::<bool>().then(|| Removal {
            zone: random.random_range(0..ZONES.len()),
            when: match random.random_range(0..4) {
                0 | 1 => When::Running(kill_after.mul_f64(random.random_range(0.0..1.0))),
                2 => When::Stopped,
                _ => When::Back(Duration::from_millis(random.random_range(0..300))),
            },
            at_once: random.random(),
        });
        Self { kill_after, removal, waits: removal.is_some() || random.random_ratio(1, 4) }
    }
}

/// Removes a zone's directory.
async fn take(directory: PathBuf, at_once: bool, attic: PathBuf) {
    let removing = tokio::task::spawn_blocking(move || {
        if at_once && std::fs::rename(&directory, &attic).is_ok() {
            remove(&attic);
        } else {
            remove(&directory);
        }
    });
    removing.await.unwrap();
}

/// A run: one store after the other, each for many rounds.
struct Run {
    seed: u64,
    random: Random,
    home: Home,
    world: Arc<World>,
    /// The life that each zone must have reached: a removal is noticed only after a moment.
    lives: [u64; 3],
    round: u64,
    stores: u64,
}

impl Run {
    fn new(seed: u64) -> Self {
        let home = Home::new("crash");
        Self { seed, random: seed::random(seed, 1), home, world: Arc::new(World::new(seed)), lives: [1; 3], round: 0, stores: 1 }
    }

    async fn make_buckets(&self, service: &Service) {
        let mut one = Connection::new(service.root.clone());
        for bucket in BUCKETS {
            assert_eq!(one.send(&S3Request::new("PUT", path(bucket, ""))).await.unwrap().status, 200);
        }
        let document = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
        let enable = S3Request::new("PUT", path(BUCKETS[1], "")).query("versioning", "").body(document);
        assert_eq!(one.send(&enable).await.unwrap().status, 200);
    }

    /// What goes before a round: the service runs, and is whole where the plan needs it.
    async fn prepare(&mut self, service: Service, plan: &Plan) -> Service {
        if plan.waits {
            service.until_whole(self.lives).await;
        }
        if let Some(removal) = &plan.removal {
            let status = service.status().await;
            self.lives[removal.zone] = status["zones"][removal.zone]["incarnation"].as_u64().unwrap_or_default() + 1;
        }
        if bytes_below(&self.home.data()) < HOME_BYTES_MAX {
            return service;
        }
        service.kill();
        self.home = Home::new("crash");
        self.lives = [1; 3];
        if let Some(removal) = &plan.removal {
            self.lives[removal.zone] = 2;
        }
        let counts = std::mem::take(&mut *self.world.counts.lock());
        // Bodies of another store are others.
        self.stores += 1;
        self.world = Arc::new(World::new(self.seed.wrapping_add(self.stores)));
        *self.world.counts.lock() = counts;
        let service = Service::start(&self.home).await;
        self.make_buckets(&service).await;
        service
    }

    /// One round. Gives the service that runs after it.
    async fn round(&mut self, mut service: Service, plan: &Plan) -> Result<Service, String> {
        let world = &self.world;
        world.over.store(false, Ordering::SeqCst);
        let purpose = |client: u64| self.round << 16 | client;
        let mut clients: JoinSet<()> = (1..=CLIENTS)
            .map(|number| Client::new(world.clone(), service.root.clone(), seed::random(self.seed, purpose(number))).run())
            .collect();
        let attic = self.home.beside(&format!("attic-{}", self.round));
        let taking = |removal: &Removal| take(self.home.zone(removal.zone), removal.at_once, attic.clone());
        let running = async {
            if let Some((removal, When::Running(after))) = plan.removal.as_ref().map(|removal| (removal, removal.when)) {
                tokio::time::sleep(after).await;
                // Goes on through the kill, where it takes that long.
                tokio::spawn(taking(removal)).await.unwrap();
            }
        };
        let mut running = std::pin::pin!(running);
        let mut is_taken = false;
        tokio::select! {
            biased;
            () = tokio::time::sleep(plan.kill_after) => {}
            () = async {
                running.as_mut().await;
                is_taken = true;
                std::future::pending::<()>().await;
            } => {}
        }
        if let Some(status) = service.ended() {
            return Err(format!("the service ended by itself: {status}"));
        }
        world.over.store(true, Ordering::SeqCst);
        service.kill();
        if !is_taken {
            running.await;
        }
        while let Some(ended) = clients.join_next().await {
            ended.map_err(|error| error.to_string())?;
        }
        if let Some(removal) = plan.removal.as_ref().filter(|removal| removal.when == When::Stopped) {
            taking(removal).await;
        }
        let service = Service::try_start(&self.home).await.map_err(|said| format!("it does not start: {said}"))?;
        let back = async {
            if let Some((removal, When::Back(after))) = plan.removal.as_ref().map(|removal| (removal, removal.when)) {
                tokio::time::sleep(after).await;
                taking(removal).await;
            }
        };
        let mut verifier =
            Verifier { world, connection: Connection::new(service.root.clone()), random: seed::random(self.seed, purpose(0)) };
        let (verdict, ()) = tokio::join!(verifier.run(), back);
        verdict?;
        let wrong = std::mem::take(&mut *world.wrong.lock());
        if wrong.is_empty() { Ok(service) } else { Err(wrong.join("\n")) }
    }
}

/// Bytes that the files below a directory take of the disk.
fn bytes_below(directory: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let Ok(entries) = std::fs::read_dir(directory) else { return 0 };
    let of = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => bytes_below(&entry.path()),
        Ok(metadata) => metadata.blocks() * 512,
        Err(_) => 0,
    };
    entries.flatten().map(of).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_kills_and_a_lost_zone() {
    let seed = seed::of_run("crash");
    let mut run = Run::new(seed);
    let mut service = Service::start(&run.home).await;
    run.make_buckets(&service).await;
    let start = tokio::time::Instant::now();
    let rounds: Option<u64> = std::env::var("CAIRN_TRIALS_ROUNDS").ok().and_then(|text| text.parse().ok());
    let rounds = rounds.or(seed::is_long().then_some(ROUNDS_LONG));
    let is_due = |round: u64| rounds.map_or_else(|| start.elapsed() < GATE_TIME, |rounds| round < rounds);
    let mut removals = 0;
    while is_due(run.round) {
        let plan = Plan::draw(&mut run.random);
        let before = tokio::time::Instant::now();
        service = run.prepare(service, &plan).await;
        let waited = before.elapsed();
        service = match run.round(service, &plan).await {
            Ok(service) => service,
            Err(what) => panic!("round {} of CAIRN_TRIALS_SEED={seed}, {plan:?}:\n{what}", run.round),
        };
        removals += u64::from(plan.removal.is_some());
        if std::env::var_os("CAIRN_TRIALS_VERBOSE").is_some() {
            println!("round {}: {plan:?}, waited {waited:.1?}, took {:.1?}", run.round, before.elapsed());
        }
        run.round += 1;
    }
    let waited = service.until_whole(run.lives).await;
    let mut text = format!(
        "crash: {} kills, {removals} zones removed, {} stores, in {:.0} s\n",
        run.round,
        run.stores,
        start.elapsed().as_secs_f64()
    );
    for (what, count) in &*run.world.counts.lock() {
        let _ = writeln!(text, "  {count:>8} {what}");
    }
    println!("{text}  whole in three zones {:.1} s after the last start", waited.as_secs_f64());
    service.stop().await;
}
