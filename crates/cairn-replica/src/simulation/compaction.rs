//! Compaction by itself: what is moved, what readers of old records see, what it takes.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use cairn_types::ZoneIndex;
use tokio::sync::watch;
use tokio::time::Instant;

use super::checker::body;
use super::drivers::Bench;
use super::gateway::configuration;
use super::zone::Mood;
use crate::catalog_port::{Blob, BlobCatalog};
use crate::compact::{CompactionConfig, CompactionWorker};
use crate::condemned::{CondemnedConfig, CondemnedWorker};
use crate::read::{ReadError, ReadRequest};
use crate::repair::{RepairConfig, RepairWorker};
use crate::scrub::{ScrubConfig, ScrubWorker};

fn worker(bench: &Bench, config: CompactionConfig) -> CompactionWorker {
    CompactionWorker::new(Arc::clone(&bench.replicator), config)
}

/// Goes round in each zone until there is no more to do at once.
async fn settle(worker: &CompactionWorker) {
    for zone in ZoneIndex::ALL {
        while worker.tick(zone).await.unwrap() {}
    }
}

/// Lets the worker run for so long.
async fn run(worker: &CompactionWorker, seconds: u64) {
    let (stopper, stop) = watch::channel(false);
    let stopping = async {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        stopper.send(true).unwrap();
    };
    futures::future::join(worker.run(stop), stopping).await;
}

/// Reads by records as they were.
async fn read(bench: &Bench, blobs: &[Arc<Blob>]) -> Vec<u8> {
    let mut all = Vec::new();
    for blob in blobs {
        let range = 0..blob.content.length();
        let request = ReadRequest { blob: Arc::clone(blob), range, began: Instant::now(), recheck: None };
        let mut reader = bench.replicator.read(request).unwrap();
        while let Some(bytes) = reader.next().await {
            all.extend_from_slice(&bytes.unwrap());
        }
    }
    all
}

#[tokio::test(start_paused = true)]
async fn whoever_holds_an_old_record_reads_on_and_takes_nothing_for_damage() {
    let bench = Bench::new(configuration()).await;
    bench.put(1, 9_000).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let stored = bench.stored();
    let old = bench.catalog.get(1).await.unwrap().unwrap();
    bench.zones.iter().for_each(super::zone::SimZone::become_sparse);
    let worker = worker(&bench, CompactionConfig::default());
    settle(&worker).await;
    let chunks: usize = stored.iter().sum();
    assert_eq!(worker.progress().moved, chunks as u64, "each chunk in each zone");
    assert_eq!(bench.stored(), stored.map(|count| 2 * count), "old copies are there for a while");
    let new = bench.catalog.get(1).await.unwrap().unwrap();
    for (old, new) in old.iter().zip(&new) {
        let places = |blob: &Blob| blob.content.chunks.iter().flat_map(|chunk| chunk.replicas.clone()).collect::<Vec<_>>();
        assert!(places(old).iter().zip(places(new)).all(|(old, new)| old.is_some() && new.is_some() && *old != new));
    }
    settle(&worker).await;
    assert_eq!(worker.progress().moved, chunks as u64, "once");
    assert_eq!(read(&bench, &old).await, body(1, 9_000));

    tokio::time::sleep(CompactionConfig::default().linger).await;
    settle(&worker).await;
    assert_eq!((bench.stored(), worker.progress().deleted), (stored, chunks as u64));
    let began = Instant::now();
    assert_eq!(read(&bench, &old).await, body(1, 9_000));
    // Without looking the record up at once there is a pause of 100 ms for each piece.
    assert!(began.elapsed() < Duration::from_millis(600), "{:?} for an old record", began.elapsed());
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(bench.replicator.counters().damage_found.load(Ordering::Relaxed), 0);
    assert_eq!(bench.missing(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_scrub_with_an_old_page_takes_nothing_for_damage() {
    let bench = Arc::new(Bench::new(configuration()).await);
    for object in 0..4 {
        bench.put(object, 1_900).await.unwrap();
    }
    // A page of four blobs, read at a pace at which everything is moved, and gone where it was, before the second one's turn.
    let config = ScrubConfig { bytes_per_second: 100, page: 8, pause: Duration::from_secs(3) };
    let scrub = Arc::new(ScrubWorker::new(Arc::clone(&bench.replicator), config, None));
    let walk = {
        let scrub = Arc::clone(&scrub);
        tokio::spawn(async move { while scrub.tick().await.unwrap() {} })
    };
    tokio::time::sleep(Duration::from_secs(1)).await;
    bench.zones.iter().for_each(super::zone::SimZone::become_sparse);
    let worker = worker(&bench, CompactionConfig { linger: Duration::from_secs(1), ..CompactionConfig::default() });
    settle(&worker).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    settle(&worker).await;
    assert_eq!((worker.progress().moved, worker.progress().deleted), (12, 12));
    assert!(!walk.is_finished());
    walk.await.unwrap();
    assert_eq!(scrub.progress().copies_damaged, 0);
    assert_eq!(bench.replicator.counters().damage_found.load(Ordering::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn it_keeps_its_pace_and_leaves_garbage_and_ill_zones_alone() {
    let bench = Bench::new(configuration()).await;
    for object in 0..20 {
        bench.put(object, 1_900).await.unwrap();
    }
    // Condemned: another worker's, and its copies have to be where the record says.
    bench.catalog.delete(0).await.unwrap();
    // Nothing names these, and nothing may ever.
    drop(bench.store(99, 1_900).await.unwrap());
    bench.zones.iter().for_each(super::zone::SimZone::become_sparse);
    bench.zones[2].set_mood(Mood::Away);
    let began = Instant::now();
    let config = CompactionConfig { bytes_per_second: 10_000, moved_bytes_max: 2_000, ..CompactionConfig::default() };
    let worker = worker(&bench, config);
    settle(&worker).await;
    assert_eq!((worker.progress().moved, worker.progress().failed), (38, 0), "19 objects in two zones");
    let (bytes, seconds) = (worker.progress().bytes_moved, began.elapsed().as_secs());
    assert!(bytes > 70_000 && seconds + 1 >= bytes / 10_000, "{bytes} bytes in {seconds} s");
    for zone in ZoneIndex::ALL {
        let serials = bench.zones[zone.get()].inside.lock().chunks.len();
        assert_eq!(serials, if zone.get() == 2 { 21 } else { 40 }, "{zone}");
    }
    let named = bench.catalog.blobs(None, 100).await.unwrap();
    assert!(!named.blobs.is_empty());
}

/// What may not be moved is listed once for each pause, in each zone by itself.
#[tokio::test(start_paused = true)]
async fn it_rests_while_there_is_nothing_to_move() {
    let bench = Bench::new(configuration()).await;
    // Nothing names these, and they are not compaction's.
    for object in 0..30 {
        if object == 20 {
            bench.zones[0].set_mood(Mood::Away);
        }
        drop(bench.store(object, 1_900).await.unwrap());
    }
    bench.zones[0].set_mood(Mood::Well);
    tokio::time::sleep(Duration::from_secs(1)).await;
    bench.zones.iter().for_each(super::zone::SimZone::become_sparse);
    let operations = || [0, 1, 2].map(|zone| bench.zones[zone].inside.lock().operations);
    let before = operations();
    let worker = worker(&bench, CompactionConfig { page: 2, ..CompactionConfig::default() });
    run(&worker, 105).await;
    for ((zone, after), before) in (0..).zip(operations()).zip(before) {
        let (pages, walk) = (after - before, if zone == 0 { 10 } else { 15 });
        assert!(pages >= 9 * walk && pages <= 11 * walk, "{pages} pages in zone {zone}");
    }
    assert_eq!(worker.progress().moved, 0);
}

/// A record whose places are all empty is an old one until it was read again: a catalog that does not answer makes nothing lost, and nothing damaged.
#[tokio::test(start_paused = true)]
async fn a_long_read_outlives_a_catalog_that_does_not_answer() {
    let bench = Bench::new(configuration()).await;
    bench.put(1, 9_000).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let old = bench.catalog.get(1).await.unwrap().unwrap();
    bench.zones.iter().for_each(super::zone::SimZone::become_sparse);
    let worker = worker(&bench, CompactionConfig::default());
    settle(&worker).await;
    tokio::time::sleep(CompactionConfig::default().linger).await;
    settle(&worker).await;
    assert!(worker.progress().deleted > 0 && worker.progress().waiting == 0, "{:?}", worker.progress());
    *bench.catalog.0.down.lock() = true;
    let range = 0..old[0].content.length();
    let request = ReadRequest { blob: Arc::clone(&old[0]), range, began: Instant::now(), recheck: None };
    let got = bench.replicator.read(request).unwrap().next().await;
    assert_eq!(got, Some(Err(ReadError::Unavailable)), "it is tried again, for as long as its reader has patience");
    tokio::time::sleep(Duration::from_secs(1)).await;
    *bench.catalog.0.down.lock() = false;
    assert_eq!(read(&bench, &old).await, body(1, 9_000));
    assert_eq!(bench.replicator.counters().damage_found.load(Ordering::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn one_record_that_cannot_be_read_keeps_only_its_own_chunks() {
    let bench = Bench::new(configuration()).await;
    for object in 0..100 {
        bench.put(object, 1_900).await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let all = bench.catalog.blobs(None, 5).await.unwrap();
    *bench.catalog.0.unreadable.lock() = Some(all.blobs[0].id);
    bench.zones.iter().for_each(super::zone::SimZone::become_sparse);
    let worker = worker(&bench, CompactionConfig::default());
    run(&worker, 300).await;
    let progress = worker.progress();
    assert!(progress.moved == 297 && progress.failed > 0, "{progress:?}: one chunk in each zone cannot be moved");
    *bench.catalog.0.unreadable.lock() = None;
    run(&worker, 60).await;
    assert_eq!(worker.progress().moved, 300);
}

/// Copies that cannot be named are not made as fast as they can be; and those whose naming is not known are not forgotten.
#[tokio::test(start_paused = true)]
async fn copies_do_not_pile_up_while_moves_fail() {
    let bench = Bench::new(configuration()).await;
    for object in 0..200 {
        bench.put(object, 1_900).await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    bench.zones.iter().for_each(super::zone::SimZone::become_sparse);
    *bench.catalog.0.moves_fail.lock() = true;
    let worker = worker(&bench, CompactionConfig::default());
    run(&worker, 200).await;
    let stored = bench.stored();
    assert!(stored.iter().all(|count| *count > 200 && *count <= 232), "{stored:?}: one commit's chunks in each zone");
    *bench.catalog.0.moves_fail.lock() = false;
    run(&worker, 200).await;
    let progress = worker.progress();
    assert_eq!((progress.moved, progress.deleted, progress.failed), (600, 600, 0));
    assert_eq!(bench.stored(), [200; 3], "no copy is left that nothing names");
    // What the catalog never answers to does not stop the rest for ever.
    bench.zones.iter().for_each(super::zone::SimZone::become_sparse);
    *bench.catalog.0.moves_fail.lock() = true;
    run(&worker, 500).await;
    let stored = bench.stored();
    assert!(stored.iter().all(|count| *count > 207 && *count <= 200 + 2 * 32), "{stored:?}");
}

/// A zone that hangs, and one that is away with as much waiting for it as may wait, hold no other up.
#[tokio::test(start_paused = true)]
async fn a_zone_that_hangs_holds_no_other_up() {
    for mood in [Mood::Hung, Mood::Away] {
        let bench = Bench::new(configuration()).await;
        for object in 0..400 {
            bench.put(object, 1_900).await.unwrap();
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        let worker = worker(&bench, CompactionConfig { waiting_max: 400, ..CompactionConfig::default() });
        bench.zones.iter().for_each(super::zone::SimZone::become_sparse);
        settle(&worker).await;
        assert_eq!((worker.progress().moved, worker.progress().waiting), (1_200, 1_200));
        bench.zones[0].set_mood(mood);
        tokio::time::sleep(CompactionConfig::default().linger).await;
        bench.zones[1].become_sparse();
        bench.zones[2].become_sparse();
        run(&worker, 60).await;
        let progress = worker.progress();
        assert_eq!((progress.moved, progress.deleted), (2_000, 1_600), "{mood:?}: {progress:?}");
        bench.zones[0].set_mood(Mood::Well);
        run(&worker, 300).await;
        assert_eq!((bench.stored(), worker.progress().waiting), ([400; 3], 0), "{mood:?}");
    }
}

/// A full zone refuses clients' writes time after time, and moving is what gives it space.
#[tokio::test(start_paused = true)]
async fn a_zone_that_is_full_is_compacted() {
    let bench = Bench::new(configuration()).await;
    for object in 0..20 {
        bench.put(object, 1_900).await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    bench.zones[0].set_mood(Mood::Full);
    let worker = worker(&bench, CompactionConfig::default());
    let (zone, mut next) = (ZoneIndex::ALL[0], 20);
    while bench.replicator.zones().takes_writes(zone) {
        bench.put(next, 1_900).await.unwrap();
        next += 1;
        assert!(next < 100, "its gate does not shut: the test does not test");
    }
    bench.zones[0].become_sparse();
    bench.zones[0].set_mood(Mood::Well);
    worker.tick(zone).await.unwrap();
    assert!(worker.progress().moved > 0, "{:?}", worker.progress());
}

/// Damages the stored copies of which this says so.
fn damage(bench: &Bench, zone: usize, is_meant: impl Fn(u64) -> bool) {
    for (_, stored) in bench.zones[zone].inside.lock().chunks.iter_mut().filter(|(serial, _)| is_meant(**serial)) {
        let mut bytes = stored.bytes.to_vec();
        bytes[3] ^= 1;
        stored.bytes = bytes.into();
    }
}

/// A chunk that is damaged everywhere is reported, and looked at, once for each of its copies, and not at every walk.
#[tokio::test(start_paused = true)]
async fn a_chunk_that_is_damaged_everywhere_is_reported_once() {
    let bench = Bench::new(configuration()).await;
    bench.put(1, 1_900).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    for zone in 0..3 {
        damage(&bench, zone, |_| true);
    }
    bench.zones.iter().for_each(super::zone::SimZone::become_sparse);
    let worker = worker(&bench, CompactionConfig::default());
    let repair = RepairWorker::new(Arc::clone(&bench.replicator), RepairConfig::default());
    let (_go_on, stop) = watch::channel(false);
    let _ =
        tokio::time::timeout(Duration::from_secs(3_600), futures::future::join(worker.run(stop.clone()), repair.run(stop))).await;
    assert_eq!((repair.progress().chunks_without_copy, worker.progress().moved), (3, 0));
}

/// The copy that took an old one's place is read back before the old one goes; where it is not good, the old one stays until something else is.
#[tokio::test(start_paused = true)]
async fn an_old_copy_goes_only_when_the_new_one_was_read() {
    let bench = Bench::new(configuration()).await;
    bench.put(1, 1_900).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    bench.zones.iter().for_each(super::zone::SimZone::become_sparse);
    let worker = worker(&bench, CompactionConfig::default());
    settle(&worker).await;
    assert_eq!(worker.progress().moved, 3);
    // What was written in zone 1 is not what is there.
    let last = *bench.zones[1].inside.lock().chunks.last_key_value().unwrap().0;
    damage(&bench, 1, |serial| serial == last);
    run(&worker, 100).await;
    assert_eq!((bench.stored(), worker.progress().deleted), ([1, 2, 1], 2));
    assert_eq!(bench.replicator.counters().damage_found.load(Ordering::Relaxed), 1);
    let repair = RepairWorker::new(Arc::clone(&bench.replicator), RepairConfig::default());
    for _ in 0..3 {
        repair.tick().await.unwrap();
    }
    run(&worker, 100).await;
    assert_eq!((bench.stored(), worker.progress().deleted), ([1; 3], 3));
    assert_eq!((repair.progress().damage_cleared, bench.missing()), (1, 0));
}

/// A page takes its time at a slow pace; whoever stops the process does not wait for it.
#[tokio::test(start_paused = true)]
async fn it_stops_within_a_page() {
    let bench = Bench::new(configuration()).await;
    for object in 0..20 {
        bench.put(object, 1_900).await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    bench.zones.iter().for_each(super::zone::SimZone::become_sparse);
    let worker = worker(&bench, CompactionConfig { bytes_per_second: 100, ..CompactionConfig::default() });
    let (stopper, stop) = watch::channel(false);
    let stopping = async {
        tokio::time::sleep(Duration::from_secs(25)).await;
        stopper.send(true).unwrap();
        Instant::now()
    };
    let ((), stopped) = futures::future::join(worker.run(stop), stopping).await;
    assert!(stopped.elapsed() < Duration::from_secs(1), "{:?}", stopped.elapsed());
    let stored: usize = bench.stored().iter().sum();
    assert_eq!(stored as u64, 60 + worker.progress().moved, "what was copied is named");
    let moved = worker.progress().moved;
    assert!(moved > 0 && moved <= 9, "{moved} were moved: two in each zone at this pace, and the one under way");
}

/// What a reader of an old record finds elsewhere it finds at once from then on, also while another zone serves it.
#[tokio::test(start_paused = true)]
async fn a_reader_whose_zone_has_moved_its_chunks_asks_there_in_vain_once() {
    let bench = Bench::new(configuration()).await;
    bench.put(1, 60_000).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let old = bench.catalog.get(1).await.unwrap().unwrap();
    // Only one zone has moved: the others serve.
    bench.zones[0].become_sparse();
    let worker = worker(&bench, CompactionConfig::default());
    settle(&worker).await;
    tokio::time::sleep(CompactionConfig::default().linger).await;
    settle(&worker).await;
    assert_eq!(worker.progress().moved, worker.progress().deleted);
    let operations = || bench.zones.iter().map(|zone| zone.inside.lock().operations).sum::<u64>();
    let before = operations();
    assert_eq!(read(&bench, &old).await, body(1, 60_000));
    let pieces = old.iter().map(|blob| blob.content.chunks.len() as u64).sum::<u64>();
    let reads = operations() - before;
    // One in vain, and the next one, which is read ahead.
    let in_vain = 2 * old.len() as u64;
    assert!(reads > pieces && reads <= pieces + in_vain, "{reads} reads for {pieces} chunks of {} blobs", old.len());
}

/// A zone that was opened with a file that it cannot read cannot say of anything that it is gone: neither is a reader of old records told of damage, nor is it
/// asked without end to delete.
#[tokio::test(start_paused = true)]
async fn a_zone_that_cannot_tell_what_is_gone_is_not_damaged() {
    let bench = Bench::new(configuration()).await;
    bench.put(1, 9_000).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let stored = bench.stored();
    let old = bench.catalog.get(1).await.unwrap().unwrap();
    bench.zones.iter().for_each(super::zone::SimZone::become_sparse);
    let worker = worker(&bench, CompactionConfig::default());
    settle(&worker).await;
    let moved = worker.progress().moved;
    // The old copies went with the file.
    for zone in &bench.zones {
        let mut inside = zone.inside.lock();
        let half = inside.chunks.len() / 2;
        inside.chunks = inside.chunks.split_off(&(half as u64 + 1));
        inside.cannot_tell = true;
    }
    assert_eq!((bench.stored(), worker.progress().waiting), (stored, moved));
    assert_eq!(read(&bench, &old).await, body(1, 9_000));
    run(&worker, 600).await;
    assert_eq!((worker.progress().waiting, worker.progress().deleted), (0, 0), "left to the sweep");
    assert_eq!(bench.replicator.counters().damage_found.load(Ordering::Relaxed), 0);
    assert_eq!((bench.missing(), bench.stored()), (0, stored));
}

/// Removing condemned blobs takes its time; whoever stops the process waits for one delete, and what was deleted is confirmed.
#[tokio::test(start_paused = true)]
async fn removing_condemned_blobs_stops_within_a_page() {
    let bench = Bench::new(configuration()).await;
    for object in 0..20 {
        bench.put(object, 1_900).await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        bench.catalog.delete(object).await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(20)).await;
    bench.zones.iter().for_each(|zone| zone.set_mood(Mood::Slow));
    let config = CondemnedConfig { deletes_max: 2, ..CondemnedConfig::default() };
    let worker = CondemnedWorker::new(Arc::clone(&bench.replicator), config);
    let (stopper, stop) = watch::channel(false);
    let stopping = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        stopper.send(true).unwrap();
        Instant::now()
    };
    let ((), stopped) = futures::future::join(worker.run(stop), stopping).await;
    assert!(stopped.elapsed() < Duration::from_millis(400), "{:?}", stopped.elapsed());
    let progress = worker.progress();
    let confirmed: u64 = progress.confirmed.iter().sum();
    assert!(confirmed > 0 && confirmed < 30, "{progress:?}");
    assert_eq!(confirmed, progress.chunks_deleted.iter().sum::<u64>());
}

/// A move that was made, and of which nobody heard, is found made: its old copy does not stay for the sweep.
#[tokio::test(start_paused = true)]
async fn a_move_whose_answer_was_lost_is_asked_for_again() {
    let bench = Bench::new(configuration()).await;
    for object in 0..40 {
        bench.put(object, 1_900).await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    bench.zones.iter().for_each(super::zone::SimZone::become_sparse);
    *bench.catalog.0.move_answers_lost.lock() = true;
    let worker = worker(&bench, CompactionConfig::default());
    run(&worker, 60).await;
    assert!(worker.progress().moved == 0 && bench.stored()[0] > 40, "{:?}", bench.stored());
    *bench.catalog.0.move_answers_lost.lock() = false;
    run(&worker, 120).await;
    let progress = worker.progress();
    assert_eq!((progress.moved, progress.deleted, progress.failed, progress.refused), (120, 120, 0, 0));
    assert_eq!((bench.stored(), bench.missing()), ([40; 3], 0));
}

/// The catalog is asked for a page's records at once, and what may not be moved costs its part of the pace, too.
#[tokio::test(start_paused = true)]
async fn it_asks_for_records_a_page_at_a_time_and_at_a_pace() {
    let bench = Bench::new(configuration()).await;
    for object in 0..70 {
        bench.put(object, 1_900).await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    for object in 0..70 {
        bench.catalog.delete(object).await.unwrap();
    }
    bench.zones.iter().for_each(super::zone::SimZone::become_sparse);
    let worker = worker(&bench, CompactionConfig { bytes_per_second: 10 * 4096, ..CompactionConfig::default() });
    let (began, questions) = (Instant::now(), bench.catalog.0.questions.load(Ordering::Relaxed));
    settle(&worker).await;
    let questions = bench.catalog.0.questions.load(Ordering::Relaxed) - questions;
    // Three zones with ten pages of seven each: whether the zone is current, and what the records say.
    assert_eq!(questions, 60);
    assert!(began.elapsed() >= Duration::from_secs(19), "{:?} for 210 chunks", began.elapsed());
}
