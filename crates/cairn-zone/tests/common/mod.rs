//! Embedded zones on simulated and on real files, for the tests of this crate.
#![allow(dead_code, reason = "each test file uses a part")]

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cairn_disk::Environment;
use cairn_testkit::sim_disk::SimDisk;
use cairn_testkit::sim_environment::{SimClock, environment};
use cairn_testkit::zone_conformance::Subject;
use cairn_types::{Incarnation, StoreId, ZoneIndex};
use cairn_zone::Zone;
use cairn_zone::embedded::{Damage, EmbeddedZone, OpenError, Opened, Opening, Presence, Settings};
use futures::FutureExt;
use futures::future::BoxFuture;

/// Small enough that a handful of chunks goes through every state of a segment.
pub fn small() -> Settings {
    Settings {
        segment_bytes: 512 * 1024,
        chunk_bytes_max: 200_000,
        batch_bytes_max: 128 * 1024,
        queue_bytes_max: 1024 * 1024,
        reserve_bytes: 1024 * 1024,
        keep_free_bytes: 0,
        open_files_max: 4,
        header_cache_max: 16,
        ..Settings::default()
    }
}

/// Says yes until told otherwise.
#[derive(Default)]
pub struct Here(pub AtomicBool);

impl Presence for Here {
    fn check(&self) -> BoxFuture<'_, io::Result<()>> {
        let gone = self.0.load(Ordering::SeqCst);
        async move { if gone { Err(io::Error::other("the directory is gone")) } else { Ok(()) } }.boxed()
    }
}

/// Asks for the identity file, as a zone's directory does.
struct Identity(Environment);

impl Presence for Identity {
    fn check(&self) -> BoxFuture<'_, io::Result<()>> {
        async move { self.0.disk.metadata(Path::new("/data/gland/identity")).await.map(|_| ()) }.boxed()
    }
}

pub const DIRECTORY: &str = "/data/gland/segments";

pub fn opening(environment: Environment, directory: &Path, settings: Settings) -> Opening {
    Opening {
        environment,
        directory: directory.to_path_buf(),
        store: StoreId(0xca11),
        zone: ZoneIndex(1),
        incarnation: Incarnation(4),
        recorded_position: 0,
        presence: Arc::new(Here::default()),
        settings,
    }
}

pub async fn ready(opening: Opening) -> (EmbeddedZone, Vec<Damage>) {
    match EmbeddedZone::open(opening).await {
        Ok(Opened::Ready { zone, damage }) => (zone, damage),
        Ok(Opened::Behind { position, recorded }) => panic!("behind: {position} of {recorded}"),
        Err(error) => panic!("{error}"),
    }
}

/// A machine for simulations: disk, clock and the seed of each process.
pub struct Machine {
    pub disk: SimDisk,
    pub clock: Arc<SimClock>,
    pub seed: u64,
}

impl Machine {
    pub fn new(seed: u64) -> Self {
        let disk = SimDisk::new(seed);
        // The zone's own directory is durable long before its segments are opened.
        disk.restore(Path::new("/data/gland"), &[(PathBuf::from("/data/gland/identity"), vec![1])].into());
        Self { disk, clock: Arc::new(SimClock::new()), seed }
    }

    /// The environment of the process that runs now.
    pub fn environment(&mut self) -> Environment {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        environment(&self.disk.boot(), self.clock.clone(), self.seed)
    }

    pub fn opening(&mut self, settings: Settings) -> Opening {
        let environment = self.environment();
        let presence = Arc::new(Identity(environment.clone()));
        Opening { presence, ..opening(environment, Path::new(DIRECTORY), settings) }
    }

    pub async fn open(&mut self, settings: Settings) -> EmbeddedZone {
        let (zone, damage) = ready(self.opening(settings)).await;
        assert_eq!(damage, Vec::new(), "nothing was damaged");
        zone
    }

    pub async fn try_open(&mut self, settings: Settings, recorded_position: u64) -> Result<Opened, OpenError> {
        EmbeddedZone::open(Opening { recorded_position, ..self.opening(settings) }).await
    }

    /// The segment files with their lengths.
    pub fn files(&self) -> Vec<(PathBuf, u64)> {
        self.disk.files(Path::new(DIRECTORY))
    }
}

/// A zone that closes and opens again with the position it had.
pub struct Reopenable {
    zone: Option<Arc<EmbeddedZone>>,
    make: Box<dyn FnMut() -> Opening + Send + Sync>,
    /// How many lives there were before this one.
    life: u64,
}

impl Reopenable {
    pub async fn new(mut make: impl FnMut() -> Opening + Send + Sync + 'static) -> Self {
        let (zone, damage) = ready(make()).await;
        assert!(damage.is_empty());
        Self { zone: Some(Arc::new(zone)), make: Box::new(make), life: 0 }
    }
}

impl Reopenable {
    fn opening(&mut self) -> Opening {
        let opening = (self.make)();
        Opening { incarnation: Incarnation(opening.incarnation.0 + self.life), ..opening }
    }
}

impl Subject for Reopenable {
    fn zone(&self) -> Arc<dyn Zone> {
        self.zone.clone().expect("open")
    }

    fn reopen(&mut self) -> BoxFuture<'_, ()> {
        async move {
            let zone = self.zone.take().expect("open");
            let position = zone.position();
            zone.close().await;
            drop(zone);
            let opening = self.opening();
            let (zone, damage) = ready(Opening { recorded_position: position, ..opening }).await;
            assert_eq!(damage, Vec::new(), "a restart damages nothing");
            assert_eq!(zone.position(), position, "the position stays");
            self.zone = Some(Arc::new(zone));
        }
        .boxed()
    }

    fn begin_new_life(&mut self) -> BoxFuture<'_, ()> {
        async move {
            self.zone.take().expect("open").close().await;
            self.life += 1;
            let opening = self.opening();
            // As the log's keeper does: the contents go aside, and the directory starts afresh.
            let aside = opening.directory.with_file_name(format!("retired-{}", self.life));
            opening.environment.disk.rename(&opening.directory, &aside).await.expect("setting the old contents aside");
            let (zone, damage) = ready(opening).await;
            assert_eq!((damage, zone.position()), (Vec::new(), 0), "a new life begins with nothing");
            self.zone = Some(Arc::new(zone));
        }
        .boxed()
    }
}
