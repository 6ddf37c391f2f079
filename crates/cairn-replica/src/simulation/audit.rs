//! An audit: what it tells of whole, lacking, damaged and left copies, and what it does not take for wrong while things change.

use std::future::{Ready, ready};
use std::sync::Arc;
use std::time::Duration;

use cairn_types::{Incarnation, ZoneIndex};
use cairn_zone::Zone as _;

use super::drivers::Bench;
use super::gateway::configuration;
use super::zone::Mood;
use crate::audit::{Audit, AuditConfig, AuditFindings};
use crate::catalog_port::{BlobCatalog, PortResult, SessionView};
use crate::compact::{CompactionConfig, CompactionWorker};
use crate::repair::{RepairConfig, RepairWorker};

fn audit(bench: &Bench, config: AuditConfig) -> Audit {
    Audit::new(Arc::clone(&bench.replicator), config)
}

/// The sessions, none of which is closed by looking.
fn sessions(bench: &Bench) -> Ready<PortResult<SessionView>> {
    let tables = bench.catalog.0.tables.lock();
    ready(Ok(SessionView { open: tables.open.keys().copied().collect(), newest: tables.newest, generation: 0 }))
}

async fn run(bench: &Bench, audit: &Audit) -> AuditFindings {
    audit.read_copies().await.unwrap();
    audit.list_zones().await.unwrap();
    audit.look_again(|| sessions(bench)).await.unwrap();
    audit.findings()
}

/// Goes round in each zone until there is no more to do at once.
async fn settle(worker: &CompactionWorker) {
    for zone in ZoneIndex::ALL {
        while worker.tick(zone).await.unwrap() {}
    }
}

fn words(findings: &AuditFindings) -> Vec<String> {
    findings.wrong.iter().map(|wrong| wrong.words.clone()).collect()
}

async fn filled(objects: u64) -> Bench {
    let bench = Bench::new(configuration()).await;
    for object in 0..objects {
        bench.put(object, 1_900).await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    bench
}

#[tokio::test(start_paused = true)]
async fn what_is_whole_is_found_whole_and_needs_no_second_look() {
    let bench = filled(12).await;
    let [stored, ..] = bench.stored();
    let began = tokio::time::Instant::now();
    let config = AuditConfig { bytes_per_second: 2_000, ..AuditConfig::default() };
    let found = run(&bench, &audit(&bench, config.clone())).await;
    assert!(found.is_whole() && found.wrong.is_empty(), "{found:?}");
    assert_eq!((found.blobs, found.chunks, found.without_copy), (12, stored as u64, 0));
    for zone in found.zones {
        assert_eq!((zone.good, zone.listed, zone.good_bytes), (stored as u64, Some(stored as u64), zone.listed_bytes));
        assert_eq!((zone.waiting, zone.left_over), (0, 0));
    }
    let bytes: u64 = found.zones.iter().map(|zone| zone.good_bytes).sum();
    let paced = Duration::from_secs(bytes / config.bytes_per_second - 2);
    assert!(bytes > 60_000 && began.elapsed() > paced, "{bytes} bytes in {:?}", began.elapsed());
    assert!(began.elapsed() < paced + config.settle, "nothing was suspected");
}

#[tokio::test(start_paused = true)]
async fn what_lacks_is_damaged_or_not_there_is_told_for_each_zone() {
    let bench = filled(4).await;
    let [first, second, third] = ZoneIndex::ALL;
    let [chunks, ..] = bench.stored();
    // One zone lost everything and has a new life, one has rotten; nobody repairs.
    bench.catalog.retire(first, bench.zones[first.get()].lose_memory());
    bench.rot(second);
    let found = run(&bench, &audit(&bench, AuditConfig::default())).await;
    assert!(!found.is_whole());
    let of = |zone: ZoneIndex| (found.zones[zone.get()].good, found.zones[zone.get()].absent, found.zones[zone.get()].damaged);
    let chunks = chunks as u64;
    assert_eq!([of(first), of(second), of(third)], [(0, chunks, 0), (0, 0, chunks), (chunks, 0, 0)]);
    assert_eq!((found.without_copy, found.zones[second.get()].replaced), (0, 0));
    // And the third one goes away: nobody has a good copy.
    bench.zones[third.get()].set_mood(Mood::Away);
    let found = run(&bench, &audit(&bench, AuditConfig { attempts: 2, ..AuditConfig::default() })).await;
    assert_eq!((found.zones[third.get()].good, found.zones[third.get()].unread + found.zones[third.get()].absent), (0, chunks));
    assert_eq!((found.without_copy, found.zones[third.get()].listed), (chunks, None));
    assert!(words(&found).iter().any(|words| words.contains("NO GOOD COPY")), "{:?}", words(&found));
}

#[tokio::test(start_paused = true)]
async fn damage_that_repair_sees_to_meanwhile_is_told_as_replaced() {
    let bench = filled(4).await;
    let [chunks, ..] = bench.stored();
    let second = ZoneIndex::ALL[1];
    bench.rot(second);
    let repair = RepairWorker::new(Arc::clone(&bench.replicator), RepairConfig::default());
    let audit = audit(&bench, AuditConfig::default());
    audit.read_copies().await.unwrap();
    while repair.tick().await.unwrap() {}
    audit.list_zones().await.unwrap();
    audit.look_again(|| sessions(&bench)).await.unwrap();
    let found = audit.findings();
    assert!(found.is_whole(), "{found:?}");
    let zone = found.zones[second.get()];
    assert_eq!((zone.good, zone.damaged, zone.replaced), (chunks as u64, 0, chunks as u64));
}

#[tokio::test(start_paused = true)]
async fn copies_without_a_name_wait_while_their_session_is_open_and_are_left_over_after() {
    let bench = filled(3).await;
    let [named, ..] = bench.stored();
    // Of a write that comes to nothing.
    drop(bench.store(99, 1_900).await.unwrap());
    tokio::time::sleep(Duration::from_secs(1)).await;
    let left = bench.stored().map(|stored| (stored - named) as u64);
    assert!(left.iter().any(|left| *left > 0), "{left:?}");
    let found = run(&bench, &audit(&bench, AuditConfig::default())).await;
    assert!(found.is_whole() && found.wrong.is_empty(), "{found:?}");
    assert_eq!(found.zones.map(|zone| (zone.waiting, zone.left_over)), left.map(|left| (left, 0)));

    let session = bench.replicator.session().unwrap().id();
    bench.catalog.close_session(session).await.unwrap();
    let found = run(&bench, &audit(&bench, AuditConfig::default())).await;
    assert!(found.is_whole(), "it takes space, and nothing is lost");
    assert_eq!(found.zones.map(|zone| (zone.waiting, zone.left_over)), left.map(|left| (0, left)));
    assert_eq!(found.wrong.len() as u64, left.iter().sum::<u64>(), "{:?}", words(&found));
    assert!(words(&found).iter().all(|words| words.contains("nothing refers to it")));
}

#[tokio::test(start_paused = true)]
async fn what_changes_meanwhile_is_not_taken_for_wrong() {
    let bench = filled(10).await;
    bench.zones.iter().for_each(super::zone::SimZone::become_sparse);
    let worker = CompactionWorker::new(Arc::clone(&bench.replicator), CompactionConfig::default());
    // So slow that everything is moved and deleted where it was, and some objects are gone, before most of a page is read.
    let audit = Arc::new(audit(&bench, AuditConfig { bytes_per_second: 300, ..AuditConfig::default() }));
    let reading = {
        let audit = Arc::clone(&audit);
        tokio::spawn(async move { audit.read_copies().await })
    };
    tokio::time::sleep(Duration::from_secs(1)).await;
    settle(&worker).await;
    for object in 7..10 {
        bench.catalog.delete(object).await.unwrap();
    }
    tokio::time::sleep(CompactionConfig::default().linger).await;
    settle(&worker).await;
    assert!(worker.progress().deleted > 0 && !reading.is_finished());
    reading.await.unwrap().unwrap();
    audit.list_zones().await.unwrap();
    assert!(audit.suspects(), "nothing looked wrong at first: nothing was tested");
    audit.look_again(|| sessions(&bench)).await.unwrap();
    let found = audit.findings();
    assert!(found.is_whole() && found.wrong.is_empty(), "{found:?}");
    assert!(found.chunks >= 7, "{found:?}");

    // Copies that were moved a moment ago wait to be deleted, named by nothing, perhaps of a session that is over.
    bench.zones.iter().for_each(super::zone::SimZone::become_sparse);
    settle(&worker).await;
    let audit = self::audit(&bench, AuditConfig::default());
    audit.list_zones().await.unwrap();
    assert!(audit.suspects());
    tokio::time::sleep(CompactionConfig::default().linger).await;
    settle(&worker).await;
    audit.look_again(|| sessions(&bench)).await.unwrap();
    assert_eq!(audit.findings().zones.map(|zone| zone.left_over + zone.waiting), [0; 3]);
}

#[tokio::test(start_paused = true)]
async fn a_zone_that_begins_another_life_has_not_listed_everything() {
    let bench = filled(2).await;
    let third = ZoneIndex::ALL[2];
    let life = bench.zones[third.get()].lose_memory();
    assert_eq!(bench.zones[third.get()].incarnation(), Some(life));
    assert!(life > Incarnation(1));
    let found = run(&bench, &audit(&bench, AuditConfig::default())).await;
    assert_eq!((found.zones[third.get()].good, found.zones[third.get()].listed), (0, Some(0)));
    assert!(!found.is_whole());
}
