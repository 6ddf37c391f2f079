//! Several gateways on one catalog, and which of them does the work that one has to do.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use cairn_types::{SessionId, ZoneIndex};
use cairn_zone::Zone;

use super::drivers::Bench;
use super::gateway::{configuration, zones_configuration};
use crate::catalog_port::BlobCatalog;
use crate::collector::{Collector, CollectorConfig};
use crate::compact::{CompactionConfig, CompactionWorker};
use crate::replicator::{Replicator, ReplicatorConfig};
use crate::session::WriterSession;
use crate::works::Work;
use crate::zones::Zones;

/// Another gateway on the same catalog and zones, near this zone.
async fn another(bench: &Bench, near: ZoneIndex) -> Arc<Replicator> {
    let zones = bench.zones.clone().map(|zone| Arc::new(zone) as Arc<dyn Zone>);
    let mut preference = ZoneIndex::ALL;
    preference.sort_unstable_by_key(|zone| *zone != near);
    let port: Arc<dyn BlobCatalog> = Arc::new(bench.catalog.clone());
    let config = ReplicatorConfig { preference, ..configuration() };
    let replicator = Replicator::start(Zones::new(zones, zones_configuration()), port, config);
    replace_session(bench, &replicator).await;
    replicator
}

/// Begins another session; the one before is left open, as it is while writes hold it.
async fn replace_session(bench: &Bench, replicator: &Replicator) -> SessionId {
    let session = bench.catalog.open_session().await.unwrap();
    replicator.set_session(Some(WriterSession::new(session)));
    session
}

/// Lets seconds pass, with the heartbeats of these sessions.
async fn pass(bench: &Bench, seconds: u64, living: &[SessionId]) {
    for _ in 0..seconds {
        for session in living {
            bench.catalog.heartbeat(*session).await.unwrap();
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

fn id(replicator: &Replicator) -> SessionId {
    replicator.session().unwrap().id()
}

/// One of two does the work. It keeps it when its session is replaced, and when it dies, the other one has it.
#[tokio::test(start_paused = true)]
async fn one_of_two_gateways_does_the_work_and_the_other_takes_over() {
    let bench = Bench::new(configuration()).await;
    assert!(bench.replicator.does(Work::Collect).await.unwrap(), "who is alone does everything");
    assert!(bench.catalog.0.tables.lock().leases.is_empty(), "and asks nobody");
    bench.catalog.0.has_gateways.store(true, Ordering::Relaxed);
    let other = another(&bench, ZoneIndex::ALL[0]).await;
    let one = &bench.replicator;
    for work in [Work::Collect, Work::Repair, Work::Scrub] {
        assert!(one.does(work).await.unwrap() && !other.does(work).await.unwrap(), "{work:?}");
    }
    for _ in 0..6 {
        pass(&bench, 3, &[id(one), id(&other)]).await;
        assert!(one.does(Work::Collect).await.unwrap() && !other.does(Work::Collect).await.unwrap());
    }
    let before = id(one);
    replace_session(&bench, one).await;
    assert!(one.does(Work::Collect).await.unwrap(), "it goes on under its next session");
    pass(&bench, 10, &[before, id(one), id(&other)]).await;
    assert!(one.does(Work::Collect).await.unwrap() && !other.does(Work::Collect).await.unwrap());
    // It is dead, and nobody has closed its session yet: who closes sessions is the one who collects.
    pass(&bench, 11, &[id(&other)]).await;
    assert!(other.does(Work::Collect).await.unwrap(), "nobody collects any more");
    // One that was only stopped finds that it has lost it. It has no session that is open, and begins another.
    assert!(!one.does(Work::Collect).await.unwrap());
    replace_session(&bench, one).await;
    assert!(!one.does(Work::Collect).await.unwrap());
    // Without a session nobody does anything.
    other.set_session(None);
    assert!(!other.does(Work::Collect).await.unwrap());
    assert!(one.does(Work::Repair).await.is_ok());
}

/// What is done within a zone is done by a gateway that is near it, if there is one.
#[tokio::test(start_paused = true)]
async fn work_in_a_zone_is_done_by_a_gateway_near_it() {
    let bench = Bench::new(configuration()).await;
    bench.catalog.0.has_gateways.store(true, Ordering::Relaxed);
    let (home, far) = (ZoneIndex::ALL[1], ZoneIndex::ALL[2]);
    let (near, other) = (another(&bench, home).await, another(&bench, far).await);
    let work = Work::Condemned(home);
    assert!(!other.does(work).await.unwrap(), "it leaves it to who is near");
    pass(&bench, 20, &[id(&near), id(&other)]).await;
    assert!(!other.does(work).await.unwrap());
    assert!(near.does(work).await.unwrap());
    pass(&bench, 60, &[id(&near), id(&other)]).await;
    assert!(near.does(work).await.unwrap() && !other.does(work).await.unwrap());
    // Nobody is near any more.
    pass(&bench, 60, &[id(&other)]).await;
    assert!(other.does(work).await.unwrap(), "nobody does it");
    // Whoever is near again has it as soon as the other one's session is replaced.
    replace_session(&bench, &near).await;
    let before = id(&other);
    replace_session(&bench, &other).await;
    assert!(!other.does(work).await.unwrap());
    assert!(near.does(work).await.unwrap());
    let _ = before;
}

/// The drivers heed it: of two collectors and two compactors, one each does something.
#[tokio::test(start_paused = true)]
async fn those_who_have_no_work_ask_the_zones_for_nothing() {
    let bench = Bench::new(configuration()).await;
    for object in 0..6 {
        bench.put(object, 1_900).await.unwrap();
        drop(bench.store(100 + object, 1_900).await.unwrap());
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let closed = id(&bench.replicator);
    replace_session(&bench, &bench.replicator).await;
    bench.catalog.close_session(closed).await.unwrap();
    bench.catalog.0.has_gateways.store(true, Ordering::Relaxed);
    let other = another(&bench, ZoneIndex::ALL[0]).await;
    bench.zones.iter().for_each(super::zone::SimZone::become_sparse);
    let config = || CollectorConfig { late_after: Duration::from_secs(5), ..CollectorConfig::default() };
    let gateways = [&bench.replicator, &other];
    let collectors = gateways.map(|gateway| Collector::new(Arc::clone(gateway), config()));
    let compactors = gateways.map(|gateway| CompactionWorker::new(Arc::clone(gateway), CompactionConfig::default()));
    for _ in 0..60 {
        for (collector, compactor) in collectors.iter().zip(&compactors) {
            collector.tick().await.unwrap();
            for zone in ZoneIndex::ALL {
                compactor.tick(zone).await.unwrap();
            }
        }
        pass(&bench, 1, &[id(&bench.replicator), id(&other)]).await;
    }
    let (collected, moved) = (collectors.map(|collector| collector.progress().listed), compactors.map(|it| it.progress().moved));
    assert!(collected[0] >= 36 && collected[1] == 0, "{collected:?} were listed");
    assert_eq!(moved, [18, 0]);
    assert!(bench.stored().into_iter().all(|stored| stored <= 12), "{:?}", bench.stored());
}
