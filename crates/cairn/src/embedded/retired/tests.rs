use std::collections::BTreeMap;
use std::task::{Context, Poll};

use bytes::Bytes;
use cairn_disk::zone_directory::{IDENTITY_FORMAT, Identity, ZoneDirectory, ZoneState};
use cairn_store::administration::Credentials;
use cairn_store::api::{BodyFailed, CreateBucket, Digests, ObjectBody, ObjectStore, PutObject, WriteCondition};
use cairn_store::secrets::{KeyRing, MasterKey};
use cairn_store::{Store, StoreConfig, StoreParts};
use cairn_testkit::sim_disk::SimDisk;
use cairn_testkit::sim_engine::SimEngine;
use cairn_testkit::sim_environment::{SimClock, environment, simulate};
use cairn_types::ids::ZONE_COUNT;
use cairn_types::{BucketId, ETag, Incarnation, ObjectMetadata, TenantId};

use super::*;
use crate::embedded::{EngineSettings, Engines};
use cairn_catalog::embedded::log::replicated::ZonePlace;

const NAMES: [&str; ZONE_COUNT] = ["geneva", "gland", "lucerne"];
const STORE: StoreId = StoreId(7);

fn path(zone: usize) -> PathBuf {
    Path::new("/data").join(NAMES[zone])
}

fn gland() -> ZoneName {
    NAMES[1].parse().unwrap()
}

#[test]
fn old_contents_stay_until_the_zone_is_whole_or_space_is_short() {
    assert_eq!(decide(false, 100, 100), Removal::Kept);
    assert_eq!(decide(false, 99, 100), Removal::SpaceShort);
    assert_eq!(decide(true, 100, 100), Removal::Whole);
    assert_eq!(decide(true, 99, 100), Removal::Whole);
}

/// A zone's directory in its third life, with two lives' contents of 1,000 and 2,000 bytes beside it.
async fn third_life(store: StoreId) -> (SimDisk, Environment) {
    let disk = SimDisk::new(1);
    let environment = environment(&disk, Arc::new(SimClock::new()), 1);
    let identity = Identity {
        format: IDENTITY_FORMAT,
        store,
        zone: gland(),
        zones: NAMES.map(|name| name.parse().unwrap()),
        mount_points: [false; ZONE_COUNT],
        incarnation: Incarnation(3),
        state: ZoneState::Formed,
        promise: 1,
        catalog: 0,
    };
    drop(ZoneDirectory::create(environment.disk.clone(), &path(1), identity).await.unwrap());
    let contents = |name: &str, length| (PathBuf::from(name), vec![1; length]);
    // The tenth life is later than the ninth.
    let files = BTreeMap::from([contents("retired-10-0/segments/a", 2_000), contents("retired-9-0/segments/a", 1_000)]);
    disk.write_inside(&path(1), &files);
    (disk, environment)
}

async fn tidy_all(environment: &Environment, whole: bool, free_bytes_min: u64) -> Vec<String> {
    let retired = zone_directory::retired(&*environment.disk, &path(1)).await.unwrap();
    let left = tidy(&*environment.disk, &path(1), (STORE, &gland()), retired, whole, free_bytes_min).await.unwrap();
    assert_eq!(left, zone_directory::retired(&*environment.disk, &path(1)).await.unwrap());
    left
}

#[test]
fn the_oldest_go_first_and_no_more_than_needed() {
    simulate(async {
        let (disk, environment) = third_life(STORE).await;
        assert_eq!(tidy_all(&environment, false, 500).await, ["retired-9-0", "retired-10-0"], "there is space");
        disk.set_capacity(&path(1), Some(100_000));
        let before = disk.free_bytes(&path(1)).await.unwrap();
        assert_eq!(tidy_all(&environment, false, before + 800).await, ["retired-10-0"], "the older was enough");
        assert_eq!(tidy_all(&environment, false, before + 800).await, ["retired-10-0"]);
        assert_eq!(tidy_all(&environment, true, 0).await, Vec::<String>::new(), "the zone is whole");
        assert_eq!(tidy_all(&environment, true, 0).await, Vec::<String>::new());
    });
}

#[test]
fn l9_another_stores_directory_is_not_touched() {
    simulate(async {
        let (_, environment) = third_life(StoreId(8)).await;
        for (whole, free_bytes_min) in [(true, 0), (false, u64::MAX)] {
            assert_eq!(tidy_all(&environment, whole, free_bytes_min).await.len(), 2);
        }
    });
}

/// A disk so full that not even the new identity could be written: what says itself that it is ours may go.
#[test]
fn a_zone_without_an_identity_is_not_wedged() {
    simulate(async {
        let (disk, environment) = third_life(STORE).await;
        let identity = disk.backup(&path(1)).remove(Path::new("identity")).unwrap();
        disk.write_inside(&path(1), &BTreeMap::from([(PathBuf::from("retired-9-0/identity"), identity)]));
        environment.disk.remove_file(&path(1).join("identity")).await.unwrap();
        assert_eq!(tidy_all(&environment, false, u64::MAX).await, ["retired-10-0"]);
    });
}

struct Body(Bytes);

impl ObjectBody for Body {
    fn poll_next(&mut self, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyFailed>>> {
        Poll::Ready((!self.0.is_empty()).then(|| Ok(std::mem::take(&mut self.0))))
    }

    fn poll_finish(&mut self, _: &mut Context<'_>) -> Poll<Result<Digests, BodyFailed>> {
        Poll::Ready(Ok(Digests { etag: ETag { digest: [0; 16], part_count: 0 }, checksum: None }))
    }

    fn length(&self) -> u64 {
        self.0.len() as u64
    }
}

struct Running {
    disk: SimDisk,
    engines: Engines,
    store: Arc<Store>,
    bucket: BucketId,
}

impl Running {
    /// A store whose repair takes a minute or two.
    async fn start() -> Self {
        let disk = SimDisk::new(3);
        let environment = environment(&disk, Arc::new(SimClock::new()), 3);
        let places = [0, 1, 2].map(|zone| ZonePlace { name: NAMES[zone].parse().unwrap(), path: path(zone) });
        let settings = EngineSettings {
            key_value: Arc::new(SimEngine::new(&disk)),
            segments: cairn_zone::embedded::Settings {
                segment_bytes: 512 << 10,
                chunk_bytes_max: 128 << 10,
                reserve_bytes: 0,
                ..cairn_zone::embedded::Settings::default()
            },
            ..EngineSettings::default()
        };
        let engines = Engines::open(&environment, &places, settings).await.expect("opening");
        let mut config = StoreConfig::default();
        config.repair.bytes_per_second = 10_000;
        let store = Store::start(StoreParts {
            catalog: engines.catalog.clone(),
            zones: engines.zones(),
            random: environment.random.clone(),
            keys: KeyRing::new(MasterKey::generate(&*environment.random)),
            config,
        });
        let root = Credentials::existing("root", "a secret of root").unwrap();
        let owner = store.ensure_root(&"default".parse().unwrap(), "root", &root).await.unwrap();
        let request = CreateBucket { tenant: TenantId::DEFAULT, name: "bucket".parse().unwrap(), owner, tags: Vec::new() };
        let bucket = store.create_bucket(request).await.unwrap().id;
        Self { disk, engines, store, bucket }
    }

    async fn put(&self, name: &str) {
        let request = PutObject {
            bucket: self.bucket,
            key: name.parse().unwrap(),
            metadata: ObjectMetadata::default(),
            tags: Vec::new(),
            condition: WriteCondition::None,
        };
        self.store.put_object(request, &mut Body(Bytes::from(vec![7; 100_000]))).await.expect("writing");
    }

    /// Waits for gland to vote in this life.
    async fn votes(&self, incarnation: u64) {
        for _ in 0..600 {
            let status = self.engines.log.zones()[1].borrow().clone();
            let life = status.directory.map(|directory| directory.identity().incarnation.0);
            if status.phase == ZonePhase::Voting && life == Some(incarnation) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("gland does not vote: {:?}", self.engines.log.zones()[1].borrow().phase);
    }

    /// Gland's identity is lost, and nothing else: all of its chunks are intact.
    async fn lose_identity(&self) {
        self.disk.remove_file(&path(1).join("identity")).await.unwrap();
    }

    async fn on_disk(&self) -> Vec<String> {
        zone_directory::retired(&self.disk, &path(1)).await.unwrap()
    }
}

/// The schedule that this is for: gland begins a new life, and while geneva and lucerne are the only copies, one of them could be lost.
#[test]
fn b2_what_a_zone_held_stays_until_its_chunks_are_copied_back() {
    simulate(async {
        let running = Running::start().await;
        for object in 0..6 {
            running.put(&format!("object {object}")).await;
        }
        running.lose_identity().await;
        running.votes(2).await;
        tokio::time::sleep(LOOK_EVERY * 2).await;
        assert_eq!(running.on_disk().await, ["retired-1-0"], "its catalog votes, its chunks are not back");
        assert_eq!(running.engines.slots[1].kept_aside(), ["retired-1-0"]);
        assert!(!running.disk.files(&path(1).join("retired-1-0/segments")).is_empty(), "with what it held");
        // Again, before the first loss was made good.
        running.lose_identity().await;
        running.votes(3).await;
        tokio::time::sleep(LOOK_EVERY * 2).await;
        assert_eq!(running.engines.slots[1].kept_aside(), ["retired-1-0", "retired-2-0"]);
        let began = tokio::time::Instant::now();
        while !running.on_disk().await.is_empty() {
            assert!(began.elapsed() < Duration::from_secs(600), "it is whole by now");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        let usage = running.engines.slots[1].usage().await.unwrap();
        assert!(usage.chunks >= 6, "{usage:?}: not before the last was copied");
        tokio::time::sleep(LOOK_EVERY).await;
        assert_eq!(running.engines.slots[1].kept_aside(), Vec::<String>::new());
    });
}
