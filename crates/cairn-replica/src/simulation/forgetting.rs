//! A catalog that is set back under running workers (P5): what they had in memory of it is no ground to delete anything.

use std::sync::Arc;
use std::time::Duration;

use cairn_types::ZoneIndex;

use super::drivers::Bench;
use super::gateway::configuration;
use crate::catalog_port::BlobCatalog;
use crate::collector::{Collector, CollectorConfig};
use crate::compact::{CompactionConfig, CompactionWorker};
use crate::session::WriterSession;

const OBJECTS: u64 = 12;

/// Objects whose session is closed, as a catalog of an hour ago has them: not at all.
async fn stored(bench: &Bench) {
    for object in 0..OBJECTS {
        bench.put(object, 1_900).await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let closed = bench.replicator.session().unwrap().id();
    bench.replicator.set_session(Some(WriterSession::new(bench.catalog.open_session().await.unwrap())));
    bench.catalog.close_session(closed).await.unwrap();
}

fn forget_objects(bench: &Bench) {
    let mut tables = bench.catalog.0.tables.lock();
    tables.blobs.clear();
    tables.objects.clear();
    tables.generation += 1;
    tables.may_lack = true;
}

async fn tick(bench: &Bench, collector: &Collector, seconds: u64) {
    for _ in 0..seconds {
        collector.tick().await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(bench.catalog.heartbeat(bench.replicator.session().unwrap().id()).await.unwrap());
    }
}

/// A collector whose sweep for the sessions of stored objects has begun.
async fn sweeping() -> (Bench, Collector) {
    let bench = Bench::new(configuration()).await;
    stored(&bench).await;
    let config = CollectorConfig { late_after: Duration::from_secs(10), page: 2, ..CollectorConfig::default() };
    let collector = Collector::new(Arc::clone(&bench.replicator), config);
    while collector.progress().listed == 0 {
        tick(&bench, &collector, 1).await;
    }
    (bench, collector)
}

/// A sweep is half done, by a view that is ripe, when the catalog is set back: neither it nor any that begins by that view deletes anything before an administrator has looked. And what he has looked at is
/// collected by views of the catalog that he has looked at.
#[tokio::test(start_paused = true)]
async fn p5_a_sweep_under_way_deletes_nothing_that_was_forgotten() {
    let (bench, collector) = sweeping().await;
    let whole = usize::try_from(OBJECTS).unwrap();
    assert!(collector.progress().listed < 3 * OBJECTS, "the sweep is not over");
    forget_objects(&bench);
    tick(&bench, &collector, 60).await;
    assert_eq!((bench.stored(), collector.progress().deleted), ([whole; 3], 0), "nobody has looked");
    bench.catalog.0.tables.lock().may_lack = false;
    tick(&bench, &collector, 9).await;
    assert_eq!(bench.stored(), [whole; 3], "by a view from before");
    tick(&bench, &collector, 60).await;
    assert_eq!(bench.stored(), [0; 3], "it is garbage, as he has seen");
}

/// The same, where somebody looks and says so within one page of a sweep that was begun before: what is closed in its view may be open in what he has looked at.
#[tokio::test(start_paused = true)]
async fn p5_a_sweep_of_an_earlier_generation_is_given_up() {
    let (bench, collector) = sweeping().await;
    forget_objects(&bench);
    bench.catalog.0.tables.lock().may_lack = false;
    tick(&bench, &collector, 9).await;
    assert_eq!(collector.progress().deleted, 0, "by a view of an earlier generation");
    tick(&bench, &collector, 60).await;
    assert_eq!(bench.stored(), [0; 3]);
}

/// A chunk was moved, and before its old copy goes, the catalog is set back to where it names that: the old copy stays, although nobody has noticed yet that anything was forgotten; and it stays when
/// somebody has noticed.
#[tokio::test(start_paused = true)]
async fn p5_an_old_copy_stays_that_is_named_again() {
    for is_noticed in [false, true] {
        let bench = Bench::new(configuration()).await;
        for object in 0..OBJECTS {
            bench.put(object, 1_900).await.unwrap();
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        bench.zones.iter().for_each(super::zone::SimZone::become_sparse);
        let before = bench.catalog.0.tables.lock().blobs.clone();
        let worker = CompactionWorker::new(Arc::clone(&bench.replicator), CompactionConfig::default());
        for zone in ZoneIndex::ALL {
            while worker.tick(zone).await.unwrap() {}
        }
        assert_eq!((worker.progress().moved, worker.progress().deleted), (3 * OBJECTS, 0));
        {
            let mut tables = bench.catalog.0.tables.lock();
            if is_noticed {
                // Of some it has forgotten that they were moved; and who looks at the others now does not know what it is a part of.
                tables.generation += 1;
            } else {
                tables.blobs = before;
            }
        }
        tokio::time::sleep(Duration::from_secs(60)).await;
        // What is due goes before anything is moved (again).
        for zone in ZoneIndex::ALL {
            worker.tick(zone).await.unwrap();
        }
        assert_eq!(worker.progress().deleted, 0);
        for object in 0..OBJECTS {
            let blobs = bench.catalog.get(object).await.unwrap().unwrap();
            assert!(blobs.iter().all(|blob| blob.content.chunks.iter().all(|chunk| chunk.replicas.iter().all(Option::is_some))));
        }
    }
}
