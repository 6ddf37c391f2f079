//! The drivers one at a time, each against the one thing that it is for.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use cairn_types::{BlobId, ChunkId, SessionId, ZoneIndex};
use cairn_zone::Zone;
use tokio::time::Instant;

use super::catalog::{Commit, SimCatalog};
use super::checker::body;
use super::gateway::{configuration, zones_configuration};
use super::zone::{Mood, SimZone};
use crate::catalog_port::{AddLocators, AddOutcome, BlobCatalog, ClearLocators, Replica, ZoneSet};
use crate::collector::{Collector, CollectorConfig};
use crate::condemned::{CondemnedConfig, CondemnedWorker};
use crate::read::{ReadError, ReadRequest};
use crate::repair::{RepairConfig, RepairWorker};
use crate::replicator::{LeftOut, Replicator, ReplicatorConfig};
use crate::scrub::{ScrubConfig, ScrubWorker};
use crate::session::WriterSession;
use crate::write::{FinishedWrite, WriteError};
use crate::zones::Zones;

pub(super) struct Bench {
    pub zones: [SimZone; 3],
    pub catalog: SimCatalog,
    pub replicator: Arc<Replicator>,
}

impl Bench {
    pub async fn new(config: ReplicatorConfig) -> Self {
        let zones = [1, 2, 3].map(SimZone::new);
        let catalog = SimCatalog::new(5, None);
        *catalog.0.faulty.lock() = false;
        for zone in &zones {
            zone.inside.lock().faulty = false;
        }
        let far = zones.clone().map(|zone| Arc::new(zone) as Arc<dyn Zone>);
        let port: Arc<dyn BlobCatalog> = Arc::new(catalog.clone());
        let replicator = Replicator::start(Zones::new(far, zones_configuration()), port, config);
        let session = catalog.open_session().await.unwrap();
        replicator.set_session(Some(WriterSession::new(session)));
        Self { zones, catalog, replicator }
    }

    pub async fn store(&self, content: u64, length: usize) -> Result<FinishedWrite, WriteError> {
        let mut writer = self.replicator.writer(Some(length as u64))?;
        for piece in body(content, length).chunks(1_000) {
            writer.push(Bytes::copy_from_slice(piece)).await?;
        }
        writer.finish().await
    }

    pub async fn put(&self, object: u64, length: usize) -> Result<(), WriteError> {
        let finished = self.store(object, length).await?;
        let contents = finished.contents().to_vec();
        let commit = self.catalog.commit(finished.session(), object, contents, |_| {}).await;
        assert_eq!(commit, Ok(Commit::Done));
        finished.committed();
        Ok(())
    }

    async fn get(&self, object: u64) -> Result<Bytes, ReadError> {
        let mut all = Vec::new();
        for blob in self.catalog.get(object).await.unwrap().unwrap() {
            let range = 0..blob.content.length();
            let mut reader = self.replicator.read(ReadRequest { blob, range, began: Instant::now(), recheck: None }).unwrap();
            while let Some(bytes) = reader.next().await {
                all.extend_from_slice(&bytes?);
            }
        }
        Ok(all.into())
    }

    pub fn stored(&self) -> [usize; 3] {
        [0, 1, 2].map(|zone| self.zones[zone].inside.lock().chunks.len())
    }

    pub fn missing(&self) -> usize {
        self.catalog.0.tables.lock().blobs.values().filter(|row| !row.indexed_missing.is_empty()).count()
    }

    pub fn rot(&self, zone: ZoneIndex) {
        for stored in self.zones[zone.get()].inside.lock().chunks.values_mut() {
            let mut bytes = stored.bytes.to_vec();
            bytes[3] ^= 4;
            stored.bytes = bytes.into();
            stored.rotten = true;
        }
    }

    fn rotten(&self) -> usize {
        self.zones.iter().map(|zone| zone.inside.lock().chunks.values().filter(|stored| stored.rotten).count()).sum()
    }
}

#[tokio::test(start_paused = true)]
async fn commits_carry_a_full_mask_when_all_is_well() {
    let bench = Bench::new(configuration()).await;
    for object in 0..100 {
        bench.put(object, 5_000).await.unwrap();
    }
    let commits_without = bench.replicator.counters().stragglers_folded.load(Ordering::Relaxed);
    assert!(commits_without <= 20, "{commits_without} chunks of 300 came too late for their commit");
}

#[tokio::test(start_paused = true)]
async fn b4_a_late_copy_is_folded_in_without_repair() {
    let bench = Bench::new(configuration()).await;
    bench.zones[1].set_mood(Mood::Slow);
    for object in 0..3 {
        bench.put(object, 3_000).await.unwrap();
    }
    assert!(bench.missing() > 0, "a slow zone was waited for");
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(bench.missing(), 0);
    assert!(bench.replicator.counters().stragglers_folded.load(Ordering::Relaxed) > 0);
}

#[tokio::test(start_paused = true)]
async fn b4_a_late_copy_of_a_deleted_blob_is_deleted() {
    let bench = Bench::new(configuration()).await;
    bench.zones[1].set_mood(Mood::Hung);
    bench.put(1, 1_500).await.unwrap();
    bench.catalog.delete(1).await.unwrap();
    bench.zones[1].set_mood(Mood::Well);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(bench.stored(), [1, 0, 1], "the condemned blob's own copies are another worker's");
    assert_eq!(bench.replicator.counters().stragglers_refused.load(Ordering::Relaxed), 1);
}

/// Whatever one zone does, 64 uploads go through at the others' pace.
#[tokio::test(start_paused = true)]
async fn an_ill_zone_slows_nobody_and_pins_no_memory() {
    for mood in [Mood::Hung, Mood::Away, Mood::Slow, Mood::Full] {
        let bench = Arc::new(Bench::new(configuration()).await);
        bench.zones[0].set_mood(mood);
        let began = Instant::now();
        let uploads: Vec<_> = (0..64)
            .map(|object| {
                let bench = Arc::clone(&bench);
                tokio::spawn(async move { bench.put(object, 20_000).await })
            })
            .collect();
        for upload in uploads {
            assert_eq!(upload.await.unwrap(), Ok(()));
        }
        assert!(began.elapsed() < Duration::from_secs(4), "{mood:?}: {:?}", began.elapsed());
        let pinned = bench.replicator.budget().size() - bench.replicator.budget().free();
        assert!(pinned <= zones_configuration().straggler_bytes_max, "{mood:?} pins {pinned} bytes");
        tokio::time::sleep(Duration::from_secs(7)).await;
        let budget = bench.replicator.budget();
        assert_eq!(budget.free(), budget.size(), "{mood:?}: past the write deadline nothing is held");
    }
}

static LIVE: AtomicUsize = AtomicUsize::new(0);
static LIVE_MAX: AtomicUsize = AtomicUsize::new(0);

/// Bytes that know how many of their kind live.
struct Counted(Vec<u8>);

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        LIVE.fetch_sub(self.0.len(), Ordering::Relaxed);
    }
}

fn counted(length: usize) -> Bytes {
    let live = LIVE.fetch_add(length, Ordering::Relaxed) + length;
    LIVE_MAX.fetch_max(live, Ordering::Relaxed);
    Bytes::from_owner(Counted(vec![7; length]))
}

#[tokio::test(start_paused = true)]
async fn bodies_stay_within_the_budget() {
    // Pieces large enough not to be copied together, in chunks of the real size.
    const PIECE: usize = 8 * 1024;
    let zones = [1, 2, 3].map(|seed| SimZone::new(seed).with_chunk_bytes_max(8 << 20));
    for (zone, mood) in zones.iter().zip([Mood::Slow, Mood::Slow, Mood::Hung]) {
        zone.inside.lock().faulty = false;
        zone.set_mood(mood);
    }
    let catalog = SimCatalog::new(5, None);
    *catalog.0.faulty.lock() = false;
    let replicator = Replicator::start(
        Zones::new(zones.map(|zone| Arc::new(zone) as Arc<dyn Zone>), crate::zones::ZonesConfig::default()),
        Arc::new(catalog.clone()),
        ReplicatorConfig { write_memory: 8 << 20, ..ReplicatorConfig::default() },
    );
    replicator.set_session(Some(WriterSession::new(catalog.open_session().await.unwrap())));
    let uploads: Vec<_> = (0..64)
        .map(|_| {
            let replicator = Arc::clone(&replicator);
            tokio::spawn(async move {
                let mut writer = replicator.writer(None).unwrap();
                for _ in 0..64 {
                    writer.push(counted(PIECE)).await.unwrap();
                    tokio::task::yield_now().await;
                }
                let finished = writer.finish().await.unwrap();
                let length: u64 = finished.contents().iter().map(|(_, content)| content.length()).sum();
                assert_eq!(length, 64 * PIECE as u64);
                finished.discard();
            })
        })
        .collect();
    for upload in uploads {
        upload.await.unwrap();
    }
    let most = LIVE_MAX.load(Ordering::Relaxed);
    // Beside the budget each upload has the piece in its hands.
    assert!(most <= (8 << 20) + 64 * PIECE, "{most} bytes");
    assert!(most > 4 << 20, "{most} bytes: the test does not test");
}

#[tokio::test(start_paused = true)]
async fn a_waiting_client_gives_its_memory_to_others() {
    let config = ReplicatorConfig { write_memory: 1_900, ..configuration() };
    let bench = Arc::new(Bench::new(config).await);
    let mut slow = bench.replicator.writer(None).unwrap();
    slow.push(body(1, 1_500)).await.unwrap();
    let other = {
        let bench = Arc::clone(&bench);
        tokio::spawn(async move { bench.put(2, 5_000).await })
    };
    tokio::time::timeout(Duration::from_secs(1), slow.pressed()).await.unwrap();
    assert!(!other.is_finished());
    slow.flush().unwrap();
    tokio::time::timeout(Duration::from_secs(5), other).await.unwrap().unwrap().unwrap();
    slow.push(body(1, 100)).await.unwrap();
    let contents = slow.finish().await.unwrap().contents().to_vec();
    assert_eq!(contents[0].1.length(), 1_600);
    assert_eq!(contents[0].1.chunks.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn short_memory_does_not_make_more_chunks_than_a_commit_takes() {
    const LENGTH: usize = 8_000;
    const CHUNKS_MAX: usize = 10;
    // Memory for less than three shares of 40 uploads, and for less than one.
    for write_memory in [2_000, 500] {
        let config = ReplicatorConfig { write_memory, content_chunks_max: CHUNKS_MAX, ..configuration() };
        let bench = Arc::new(Bench::new(config).await);
        let uploads: Vec<_> = (0..40)
            .map(|number| {
                let bench = Arc::clone(&bench);
                tokio::spawn(async move {
                    let mut writer = bench.replicator.writer(Some(LENGTH as u64)).unwrap();
                    for piece in body(number, LENGTH).chunks(70) {
                        // The client takes its time, and others want the memory.
                        tokio::select! {
                            biased;
                            () = tokio::time::sleep(Duration::from_millis(number % 7)) => {}
                            () = writer.pressed() => writer.flush().unwrap(),
                        }
                        writer.push(Bytes::copy_from_slice(piece)).await.unwrap();
                    }
                    let finished = writer.finish().await.unwrap();
                    let chunks: usize = finished.contents().iter().map(|(_, content)| content.chunks.len()).sum();
                    let length: u64 = finished.contents().iter().map(|(_, content)| content.length()).sum();
                    assert_eq!(length, LENGTH as u64);
                    finished.discard();
                    chunks
                })
            })
            .collect();
        let mut most = 0;
        for upload in uploads {
            most = most.max(tokio::time::timeout(Duration::from_secs(3_600), upload).await.expect("no deadlock").unwrap());
        }
        assert!(most <= CHUNKS_MAX, "{most} chunks");
        assert!(most > 4, "{most} chunks: memory was not short");
        bench.replicator.drain(Duration::from_secs(60)).await;
        assert_eq!(bench.replicator.budget().free(), write_memory);
    }
}

#[tokio::test(start_paused = true)]
async fn without_two_zones_a_write_fails_in_words_and_leaves_nothing() {
    let bench = Bench::new(configuration()).await;
    bench.zones[0].set_mood(Mood::Full);
    bench.zones[2].set_mood(Mood::Full);
    let began = Instant::now();
    assert_eq!(bench.put(1, 9_000).await, Err(WriteError::NoSpace));
    assert!(began.elapsed() < Duration::from_secs(1));
    bench.zones[0].set_mood(Mood::Away);
    bench.zones[2].set_mood(Mood::Hung);
    assert_eq!(bench.put(1, 9_000).await, Err(WriteError::Unavailable));
    bench.zones[2].set_mood(Mood::Well);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(bench.stored()[1], 0, "what landed in the hung zone is the collector's");
    bench.replicator.set_session(None);
    assert_eq!(bench.put(1, 9_000).await, Err(WriteError::NoSession), "S1");
}

#[tokio::test(start_paused = true)]
async fn what_is_not_committed_is_deleted_and_what_may_be_is_not() {
    let bench = Bench::new(configuration()).await;
    let mut writer = bench.replicator.writer(None).unwrap();
    writer.push(body(1, 7_000)).await.unwrap();
    drop(writer);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(bench.stored(), [0; 3], "a client that goes away");

    bench.store(1, 7_000).await.unwrap().discard();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(bench.stored(), [0; 3], "a commit that was refused");

    drop(bench.store(1, 7_000).await.unwrap());
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(bench.stored().iter().sum::<usize>() >= 8, "a commit whose outcome is not known");
}

#[tokio::test(start_paused = true)]
async fn long_bodies_become_several_blobs_and_ranges_read_back() {
    let bench = Bench::new(configuration()).await;
    bench.put(1, 19_000).await.unwrap();
    let blobs = bench.catalog.get(1).await.unwrap().unwrap();
    assert!(blobs.len() > 1 && blobs.iter().all(|blob| blob.content.chunks.len() <= 4));
    assert_eq!(bench.get(1).await.unwrap(), body(1, 19_000));
    let blob = Arc::clone(&blobs[0]);
    let length = blob.content.length();
    for (start, end) in [(0, 1), (1_990, 2_010), (length - 1, length), (17, length - 17), (5, 5)] {
        let request = ReadRequest { blob: Arc::clone(&blob), range: start..end, began: Instant::now(), recheck: None };
        let mut reader = bench.replicator.read(request).unwrap();
        let mut all = Vec::new();
        while let Some(bytes) = reader.next().await {
            all.extend_from_slice(&bytes.unwrap());
        }
        assert_eq!(all, body(1, 19_000)[start as usize..end as usize]);
    }
    let beyond = ReadRequest { blob, range: 0..length + 1, began: Instant::now(), recheck: None };
    assert_eq!(bench.replicator.read(beyond).err(), Some(ReadError::Range));
}

#[tokio::test(start_paused = true)]
async fn a_slow_or_hung_zone_does_not_slow_reads() {
    for mood in [Mood::Slow, Mood::Hung] {
        let bench = Bench::new(configuration()).await;
        bench.put(1, 1_500).await.unwrap();
        for _ in 0..100 {
            bench.get(1).await.unwrap();
        }
        bench.zones[0].set_mood(mood);
        let mut took = Vec::new();
        for _ in 0..100 {
            let began = Instant::now();
            bench.get(1).await.unwrap();
            took.push(began.elapsed());
        }
        took.sort();
        assert!(took[50] < Duration::from_millis(30), "{mood:?}: median {:?}", took[50]);
        assert!(took[99] < Duration::from_millis(1_100), "{mood:?}: worst {:?}", took[99]);
        assert!(bench.replicator.counters().reads_hedged.load(Ordering::Relaxed) > 0);
    }
}

#[tokio::test(start_paused = true)]
async fn b1_a_client_never_sees_damage_and_it_is_repaired() {
    let bench = Bench::new(configuration()).await;
    bench.put(1, 7_000).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    bench.rot(ZoneIndex(0));
    assert!(bench.rotten() >= 4);
    assert_eq!(bench.get(1).await.unwrap(), body(1, 7_000));
    let repair =
        RepairWorker::new(Arc::clone(&bench.replicator), RepairConfig { settle: Duration::ZERO, ..RepairConfig::default() });
    for _ in 0..10 {
        repair.tick().await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!((bench.rotten(), bench.missing()), (0, 0));
    assert!(repair.progress().damage_cleared >= 4);
}

#[tokio::test(start_paused = true)]
async fn scrub_finds_what_nobody_reads_and_a_lost_chunk_is_left_as_it_is() {
    let bench = Bench::new(configuration()).await;
    bench.put(1, 7_000).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let named = bench.catalog.get(1).await.unwrap();
    for zone in ZoneIndex::ALL {
        bench.rot(zone);
    }
    let scrub = ScrubWorker::new(Arc::clone(&bench.replicator), ScrubConfig::default(), None);
    while scrub.tick().await.unwrap() {}
    let damaged = scrub.progress().copies_damaged;
    assert!(damaged >= 12);
    while scrub.tick().await.unwrap() {}
    let found = || bench.replicator.counters().damage_found.load(Ordering::Relaxed);
    assert_eq!(found(), damaged, "a copy is counted once, however often it is found");
    assert_eq!((scrub.progress().walks, scrub.progress().copies_good), (2, 0));
    let repair = RepairWorker::new(Arc::clone(&bench.replicator), RepairConfig::default());
    assert_eq!(repair.progress().damage_waiting, damaged);
    for _ in 0..5 {
        repair.tick().await.unwrap();
    }
    assert_eq!((repair.progress().damage_waiting, found()), (0, damaged));
    assert!(repair.progress().chunks_without_copy > 0);
    assert_eq!(repair.progress().damage_cleared, 0, "no place is given up without another good copy");
    assert_eq!(bench.catalog.get(1).await.unwrap(), named);
    assert_eq!(bench.get(1).await, Err(ReadError::Lost(0)));
}

/// Starts a scrub; gives its progress so long after.
fn start_scrub(bench: &Bench) -> (Arc<ScrubWorker>, tokio::sync::watch::Sender<bool>) {
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let config = ScrubConfig { page: 2, ..ScrubConfig::default() };
    let scrub = Arc::new(ScrubWorker::new(Arc::clone(&bench.replicator), config, None));
    let running = Arc::clone(&scrub);
    tokio::spawn(async move { running.run(stopped).await });
    (scrub, stop)
}

#[tokio::test(start_paused = true)]
async fn scrub_waits_for_zones_that_are_being_opened() {
    let bench = Bench::new(configuration()).await;
    bench.put(1, 7_000).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    bench.zones[1].set_mood(Mood::Away);
    let (scrub, _stop) = start_scrub(&bench);
    tokio::time::sleep(Duration::from_secs(50)).await;
    assert_eq!((scrub.progress().walks, scrub.progress().blobs), (0, 0), "a zone is still being opened");
    bench.zones[1].set_mood(Mood::Well);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!((scrub.progress().walks, scrub.progress().copies_skipped), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn what_scrub_skipped_is_looked_at_when_its_zone_is_back() {
    let bench = Bench::new(configuration()).await;
    for object in 0..5 {
        bench.put(object, 7_000).await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    bench.rot(ZoneIndex::ALL[1]);
    let copies = bench.stored()[1] as u64;
    bench.zones[1].set_mood(Mood::Away);
    let (scrub, _stop) = start_scrub(&bench);
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    let without = scrub.progress();
    assert_eq!((without.walks, without.copies_damaged, without.copies_skipped), (1, 0, copies), "it is not waited for longer");
    bench.zones[1].set_mood(Mood::Well);
    tokio::time::sleep(Duration::from_secs(120)).await;
    let with = scrub.progress();
    assert_eq!((with.walks, with.copies_damaged), (1, copies));
    assert_eq!(
        (with.copies_good, with.copies_skipped),
        (without.copies_good, without.copies_skipped),
        "nothing else is read again"
    );
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    assert_eq!(scrub.progress(), with, "and once only");
    tokio::time::sleep(Duration::from_secs(24 * 3_600)).await;
    assert_eq!(scrub.progress().walks, 2);
}

#[tokio::test(start_paused = true)]
async fn s4_an_old_read_rechecks_its_version_before_each_piece() {
    let bench = Bench::new(configuration()).await;
    bench.put(1, 7_000).await.unwrap();
    let blob = bench.catalog.get(1).await.unwrap().unwrap().remove(0);
    let asked = Arc::new(AtomicUsize::new(0));
    let recheck: crate::read::Recheck = {
        let asked = Arc::clone(&asked);
        Arc::new(move || {
            let count = asked.fetch_add(1, Ordering::Relaxed);
            Box::pin(async move { Ok(count == 0) })
        })
    };
    let request = ReadRequest { range: 0..blob.content.length(), blob, began: Instant::now(), recheck: Some(recheck) };
    let mut reader = bench.replicator.read(request).unwrap();
    assert!(reader.next().await.unwrap().is_ok());
    tokio::time::sleep(configuration().garbage_grace / 2).await;
    // The second piece was read ahead in time, the third is asked for and still there, the fourth is not.
    assert!(reader.next().await.unwrap().is_ok());
    assert!(reader.next().await.unwrap().is_ok());
    assert_eq!(reader.next().await, Some(Err(ReadError::Gone)));
    assert_eq!(reader.next().await, None);
    assert_eq!(asked.load(Ordering::Relaxed), 2);
}

#[tokio::test(start_paused = true)]
async fn b5_a_condemned_blob_waits_for_a_zone_that_is_away() {
    let bench = Bench::new(configuration()).await;
    bench.put(1, 3_000).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    bench.catalog.delete(1).await.unwrap();
    let worker = CondemnedWorker::new(Arc::clone(&bench.replicator), CondemnedConfig::default());
    worker.tick().await.unwrap();
    assert_eq!(bench.stored(), [2, 2, 2], "the grace is not over");
    bench.zones[2].set_mood(Mood::Away);
    tokio::time::sleep(super::catalog::GRACE).await;
    for _ in 0..5 {
        worker.tick().await.unwrap();
    }
    assert_eq!(bench.stored(), [0, 0, 2]);
    let remaining = |bench: &Bench| bench.catalog.0.tables.lock().blobs.values().next().map(|row| row.condemned.unwrap().1);
    assert_eq!(remaining(&bench), Some(ZoneSet::EMPTY.with(ZoneIndex(2))));
    tokio::time::sleep(Duration::from_secs(30 * 24 * 3_600)).await;
    bench.zones[2].set_mood(Mood::Well);
    worker.tick().await.unwrap();
    assert_eq!((bench.stored(), remaining(&bench)), ([0, 0, 0], None));
    assert_eq!(worker.progress().confirmed, [1, 1, 1]);
}

/// What was condemned by itself goes together: a delete is a sync, and a million of them would take hours.
#[tokio::test(start_paused = true)]
async fn b5_many_condemned_blobs_go_in_few_deletes_and_a_zone_that_hangs_holds_no_other_up() {
    const OBJECTS: u64 = 300;
    /// What the simulated catalog gives at once.
    const PAGE: u64 = 5;
    let bench = Bench::new(configuration()).await;
    for object in 0..OBJECTS {
        bench.put(object, 1_000).await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(bench.stored(), [300; 3]);
    for object in 0..OBJECTS {
        bench.catalog.delete(object).await.unwrap();
    }
    tokio::time::sleep(super::catalog::GRACE).await;
    bench.zones[1].set_mood(Mood::Hung);
    let worker = Arc::new(CondemnedWorker::new(Arc::clone(&bench.replicator), CondemnedConfig::default()));
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let running = tokio::spawn({
        let worker = Arc::clone(&worker);
        async move { worker.run(stopped).await }
    });
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(bench.stored(), [0, 300, 0]);
    assert_eq!([0, 2].map(|zone: usize| bench.zones[zone].inside.lock().deletes), [OBJECTS / PAGE; 2]);
    bench.zones[1].set_mood(Mood::Well);
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert_eq!((bench.stored(), worker.progress().confirmed), ([0; 3], [OBJECTS; 3]));
    stop.send_replace(true);
    running.await.unwrap();
}

/// A collector's life in fast motion; it looks every second.
async fn collect(bench: &Bench, collector: &Collector, seconds: u64) {
    for _ in 0..seconds {
        while collector.tick().await.unwrap() {}
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(bench.catalog.heartbeat(bench.replicator.session().unwrap().id()).await.unwrap());
    }
}

fn collector(bench: &Bench) -> Collector {
    let config = CollectorConfig { late_after: Duration::from_secs(10), ..CollectorConfig::default() };
    Collector::new(Arc::clone(&bench.replicator), config)
}

impl Bench {
    /// Closes the session in force and begins another.
    async fn replace_session(&self) -> SessionId {
        let closed = self.replicator.session().unwrap().id();
        self.replicator.set_session(Some(WriterSession::new(self.catalog.open_session().await.unwrap())));
        self.catalog.close_session(closed).await.unwrap();
        closed
    }
}

/// A write that lands after its session was closed is met by the sweep for that session, since that waits for the longest write.
#[tokio::test(start_paused = true)]
async fn s2_a_write_that_lands_late_is_swept_and_what_is_committed_stays() {
    let bench = Bench::new(configuration()).await;
    let collector = collector(&bench);
    bench.put(1, 3_000).await.unwrap();
    drop(bench.store(2, 3_000).await.unwrap());
    bench.zones[2].set_mood(Mood::Hung);
    let (zone, session) = (bench.zones[2].clone(), bench.replicator.session().unwrap().id());
    let id = ChunkId { blob: BlobId { session, counter: 99 }, ordinal: 0 };
    tokio::spawn(async move { zone.write(session, id, vec![body(3, 500)]).await });
    bench.replace_session().await;
    collect(&bench, &collector, 3).await;
    assert_eq!((bench.stored(), collector.progress().listed), ([4, 4, 4], 0), "nothing is looked at yet");
    bench.zones[2].set_mood(Mood::Well);
    collect(&bench, &collector, 5).await;
    assert_eq!(bench.stored(), [4, 4, 5], "it has landed, of a session that is closed");
    collect(&bench, &collector, 10).await;
    assert_eq!(bench.stored(), [2, 2, 2]);
    assert_eq!(bench.get(1).await.unwrap(), body(1, 3_000));
    assert_eq!((collector.progress().deleted, collector.progress().whole_sweeps), (7, [1, 1, 1]));
}

/// What a sweep costs depends on what the sessions wrote that it is for, not on how much is stored.
#[tokio::test(start_paused = true)]
async fn a_sweep_lists_what_recent_sessions_wrote() {
    let bench = Bench::new(configuration()).await;
    let collector = collector(&bench);
    for object in 0..50 {
        bench.put(object, 6_000).await.unwrap();
    }
    bench.replace_session().await;
    collect(&bench, &collector, 12).await;
    let first = collector.progress();
    assert!(first.listed >= 600 && first.asked >= 600, "{first:?}: all of it once");
    collect(&bench, &collector, 30).await;
    assert_eq!(collector.progress(), first, "no session was closed: nothing is due");
    drop(bench.store(50, 1_000).await.unwrap());
    let closed = bench.replace_session().await;
    bench.put(51, 1_000).await.unwrap();
    collect(&bench, &collector, 12).await;
    let second = collector.progress();
    assert_eq!((second.deleted, second.sweeps, second.whole_sweeps), (3, [2; 3], [1; 3]), "{closed:?}");
    assert!(second.listed - first.listed <= 6, "{second:?}: what two sessions wrote");
    assert_eq!(second.asked - first.asked, 3);
    // A sweep of everything comes round.
    tokio::time::sleep(CollectorConfig::default().whole_after).await;
    while collector.tick().await.unwrap() {}
    assert_eq!(collector.progress().whole_sweeps, [2; 3]);
}

/// A repair's copy belongs to the repairer (B4): the blob's own session was closed and swept for long ago.
#[tokio::test(start_paused = true)]
async fn b4_a_copy_stays_while_its_copier_may_name_it_and_goes_when_nobody_can() {
    let bench = Bench::new(configuration()).await;
    let collector = collector(&bench);
    bench.put(1, 1_000).await.unwrap();
    bench.replace_session().await;
    collect(&bench, &collector, 12).await;
    // Session 3 closes with the sweep that meets the copy of session 2.
    let copier = bench.replicator.session().unwrap().id();
    let third = bench.catalog.open_session().await.unwrap();
    let id = bench.catalog.get(1).await.unwrap().unwrap()[0].chunk_id(0);
    bench.replicator.zones.write(ZoneIndex(1), copier, id, vec![body(1, 500)]).await.unwrap();
    bench.catalog.close_session(third).await.unwrap();
    collect(&bench, &collector, 40).await;
    assert_eq!(collector.progress().sweeps, [2; 3]);
    assert_eq!(bench.stored(), [1, 2, 1], "its copier may name it yet");
    bench.replace_session().await;
    collect(&bench, &collector, 12).await;
    assert_eq!(bench.stored(), [1, 1, 1]);
    assert_eq!(bench.get(1).await.unwrap(), body(1, 1_000));
}

/// A zone that is away, and deletes that fail, leave the sweep due.
#[tokio::test(start_paused = true)]
async fn s2_a_sweep_that_could_not_do_its_work_is_made_again() {
    let bench = Bench::new(configuration()).await;
    let collector = collector(&bench);
    drop(bench.store(1, 3_000).await.unwrap());
    bench.replace_session().await;
    bench.zones[0].set_mood(Mood::Away);
    collect(&bench, &collector, 20).await;
    assert_eq!((bench.stored(), collector.progress().sweeps), ([2, 0, 0], [0, 1, 1]));
    bench.zones[0].set_mood(Mood::Well);
    collect(&bench, &collector, 2).await;
    assert_eq!((bench.stored(), collector.progress().sweeps), ([0; 3], [1; 3]));
}

/// A copier names its copy and ends its session in the middle of a sweep, at every moment of it in turn. Says how often the copy that a
/// record names was deleted.
async fn copies_lost_to_a_sweep(left_out: Option<LeftOut>) -> usize {
    let mut lost = 0;
    for step in 0..200 {
        let bench = Bench::new(configuration()).await;
        *bench.replicator.left_out.lock() = left_out;
        let config = CollectorConfig { late_after: Duration::ZERO, ..CollectorConfig::default() };
        let collector = Collector::new(Arc::clone(&bench.replicator), config);
        bench.put(1, 1_000).await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        // The second zone lacks its copy, and a repairer has just made one.
        let blob = Arc::clone(&bench.catalog.get(1).await.unwrap().unwrap()[0]);
        let damaged = blob.content.chunks[0].replicas[1].clone().unwrap();
        let clearance = ClearLocators { blob: blob.id, zone: ZoneIndex(1), places: vec![(0, damaged)] };
        assert_eq!(bench.catalog.clear_locators(vec![clearance]).await, Ok(vec![true]));
        bench.zones[1].inside.lock().chunks.clear();
        let copier = bench.catalog.open_session().await.unwrap();
        let placed = bench.replicator.zones.write(ZoneIndex(1), copier, blob.chunk_id(0), vec![body(1, 500)]).await.unwrap();
        let replica = Replica { incarnation: placed.incarnation, locator: placed.locator };
        let naming = async {
            tokio::time::sleep(Duration::from_micros(250 * step)).await;
            let addition = AddLocators { blob: blob.id, zone: ZoneIndex(1), places: vec![(0, replica)] };
            let added = bench.catalog.add_locators(copier, vec![addition]).await;
            bench.catalog.close_session(copier).await.unwrap();
            assert_eq!(added, Ok(vec![AddOutcome::Added]));
        };
        let sweeping = async { while collector.tick().await.unwrap() {} };
        futures::join!(naming, sweeping);
        assert_eq!(collector.progress().whole_sweeps, [1; 3]);
        lost += usize::from(bench.stored()[1] == 0);
    }
    lost
}

#[tokio::test(start_paused = true)]
async fn s2_sessions_are_closed_and_looked_at_before_names_are_asked_for() {
    assert_eq!(copies_lost_to_a_sweep(None).await, 0);
    assert!(copies_lost_to_a_sweep(Some(LeftOut::ClosingFirst)).await > 0, "the test would not notice the other order");
}
