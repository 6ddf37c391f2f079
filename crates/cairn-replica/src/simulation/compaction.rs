//! Compaction by itself: what is moved, what readers of old records see, what it takes.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use cairn_types::ZoneIndex;
use tokio::time::Instant;

use super::checker::body;
use super::drivers::Bench;
use super::gateway::configuration;
use super::zone::Mood;
use crate::catalog_port::{Blob, BlobCatalog};
use crate::compact::{CompactionConfig, CompactionWorker};
use crate::read::ReadRequest;
use crate::scrub::{ScrubConfig, ScrubWorker};

fn worker(bench: &Bench, config: CompactionConfig) -> CompactionWorker {
    CompactionWorker::new(Arc::clone(&bench.replicator), config)
}

/// Goes round until there is no more to do at once.
async fn settle(worker: &CompactionWorker) {
    while worker.tick().await.unwrap() {}
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

/// Walks of different lengths over what may not be moved come to an end together.
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
    bench.zones.iter().for_each(super::zone::SimZone::become_sparse);
    let worker = worker(&bench, CompactionConfig { page: 2, ..CompactionConfig::default() });
    let mut rounds = 1;
    while worker.tick().await.unwrap() {
        rounds += 1;
        assert!(rounds < 20, "it never rests");
    }
    assert!(rounds >= 15 && worker.progress().moved == 0, "{rounds} rounds");
}
