//! Bodies of every size, in and out.

mod common;

use std::time::Duration;

use cairn_store::api::{ObjectStore, StoreError, Versioning, WriteCondition};
use cairn_testkit::faulty_zone::{Fault, Operation, Rule};
use cairn_types::VersionId;
use common::{Body, End, KIB, MIB, World, md5, quick, read, sample};

/// Around every boundary: nothing, the inline limit, a frame, a chunk (8,388,096 bytes of data in 8 MiB stored), and more of each.
const LENGTHS: [usize; 17] = [
    0,
    1,
    16 * KIB - 1,
    16 * KIB,
    16 * KIB + 1,
    64 * KIB - 1,
    64 * KIB,
    64 * KIB + 1,
    128 * KIB,
    MIB + 3,
    8_388_095,
    8_388_096,
    8_388_097,
    8 * MIB,
    8 * MIB + 1,
    16 * MIB + 12_345,
    25 * MIB,
];

#[tokio::test(start_paused = true)]
async fn every_length_comes_back_as_it_went_in() {
    let world = World::new().await;
    for (seed, length) in (0..).zip(LENGTHS) {
        let bytes = sample(length, seed);
        let name = format!("of {length}");
        let written = world.put(&name, &bytes).await.unwrap();
        assert_eq!((written.etag, written.version_id), (md5(&bytes), VersionId::Null));
        let opened = world.open(&name).await.unwrap();
        assert_eq!((opened.head.length, opened.head.etag), (length as u64, md5(&bytes)));
        let back = read(opened.content, 0..length as u64).await.unwrap();
        assert!(back == bytes, "{length} bytes came back as others");
    }
    world.settled(Duration::from_secs(60)).await;
}

/// The file of a form says where it ends by ending.
#[tokio::test(start_paused = true)]
async fn a_body_may_be_shorter_than_it_said() {
    let world = World::new().await;
    for (seed, length) in (0..).zip([0, 1, 16 * KIB, 16 * KIB + 1, MIB + 3, 8_388_097]) {
        for more in [0, 1, 300, 64 * KIB] {
            let bytes = sample(length, seed);
            let mut body = Body::new(&bytes).at_most((length + more) as u64);
            world.store.put_object(world.put_request("open"), &mut body).await.unwrap();
            let head = world.store.head_object(world.get_request("open")).await.unwrap();
            assert_eq!((head.length, head.etag), (length as u64, md5(&bytes)));
            assert!(world.get("open").await.unwrap() == bytes, "{length} bytes came back as others");
        }
    }
    // Longer it may not be, and what is not whole is not there.
    let bytes = sample(MIB, 9);
    let refused = world.store.put_object(world.put_request("longer"), &mut Body::new(&bytes).at_most(MIB as u64 - 1)).await;
    assert!(matches!(refused, Err(StoreError::Internal(_))));
    for length in [100, MIB] {
        let mut cut = Body::new(&sample(length, 9)).at_most(2 * MIB as u64).ends(End::Cut);
        let refused = world.store.put_object(world.put_request("cut"), &mut cut).await;
        assert!(matches!(refused, Err(StoreError::Body(_))));
        assert_eq!(world.get("cut").await.unwrap_err(), StoreError::NoSuchKey);
    }
    world.settled(Duration::from_secs(3_600)).await;
}

#[tokio::test(start_paused = true)]
async fn an_overwritten_or_deleted_body_leaves_the_zones() {
    let world = World::new().await;
    for length in [100, 3 * MIB] {
        world.put("key", &sample(length, 1)).await.unwrap();
        world.put("key", &sample(2 * MIB, 2)).await.unwrap();
        assert!(world.get("key").await.unwrap() == sample(2 * MIB, 2));
        world.delete("key", None).await;
        assert_eq!(world.get("key").await.unwrap_err(), StoreError::NoSuchKey);
    }
    assert!(!world.stored(0).await.is_empty(), "the grace has not passed");
    world.settled(Duration::from_secs(3_600)).await;
    assert!(world.stored(0).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_body_that_fails_changes_nothing_and_leaves_nothing() {
    let world = World::new().await;
    world.put("key", &sample(10, 1)).await.unwrap();
    for length in [1, 10 * KIB, 3 * MIB, 20 * MIB] {
        for end in [End::Cut, End::Wrong] {
            let mut body = Body::new(&sample(length, 2)).ends(end);
            let failed = world.store.put_object(world.put_request("key"), &mut body).await.unwrap_err();
            assert_eq!(failed, StoreError::Body(cairn_store::api::BodyFailed));
        }
    }
    assert_eq!(world.get("key").await.unwrap(), sample(10, 1));
    world.settled(Duration::from_secs(5)).await;
    assert_eq!(world.store.status().collector.deleted, 0, "what failed is deleted at once, not by the collector");
}

#[tokio::test(start_paused = true)]
async fn a_refused_condition_leaves_nothing() {
    let world = World::new().await;
    world.put("key", &sample(10, 1)).await.unwrap();
    for length in [10, 3 * MIB] {
        let mut request = world.put_request("key");
        request.condition = WriteCondition::Absent;
        let refused = world.store.put_object(request, &mut Body::new(&sample(length, 2))).await.unwrap_err();
        assert_eq!(refused, StoreError::PreconditionFailed);
        let mut request = world.put_request("no key");
        request.condition = WriteCondition::Matches(vec![md5(b"")]);
        let refused = world.store.put_object(request, &mut Body::new(&sample(length, 2))).await.unwrap_err();
        assert_eq!(refused, StoreError::NoSuchKey);
    }
    let mut request = world.put_request("key");
    request.condition = WriteCondition::Matches(vec![md5(&sample(10, 1))]);
    world.store.put_object(request, &mut Body::new(&sample(3 * MIB, 3))).await.unwrap();
    assert!(world.get("key").await.unwrap() == sample(3 * MIB, 3));
    world.settled(Duration::from_secs(5)).await;
}

#[tokio::test(start_paused = true)]
async fn versions_are_kept_hidden_and_removed() {
    let world = World::new().await;
    world.store.set_versioning(world.bucket.id, Versioning::Enabled).await.unwrap();
    let first = world.put("key", &sample(MIB, 1)).await.unwrap();
    let second = world.put("key", &sample(100, 2)).await.unwrap();
    assert_eq!(second.versioning, Versioning::Enabled);
    world.delete("key", None).await;
    assert!(matches!(world.get("key").await, Err(StoreError::IsDeleteMarker { .. })));
    let mut request = world.get_request("key");
    request.version_id = Some(first.version_id);
    let opened = world.store.get_object(request.clone()).await.unwrap();
    assert!(read(opened.content, 0..MIB as u64).await.unwrap() == sample(MIB, 1));
    world.delete("key", Some(first.version_id)).await;
    assert_eq!(world.store.get_object(request).await.err(), Some(StoreError::NoSuchVersion));
    let listed = world
        .store
        .list_versions(cairn_store::api::ListVersions {
            bucket: world.bucket.id,
            prefix: String::new(),
            delimiter: None,
            after: None,
            limit: 10,
        })
        .await
        .unwrap();
    assert_eq!(listed.entries.len(), 2);
    world.settled(Duration::from_secs(3_600)).await;
}

#[tokio::test(start_paused = true)]
async fn one_of_many_racing_writers_wins() {
    let world = World::new().await;
    for round in 0..20 {
        let name = format!("{round}");
        let puts = (0..64_u64).map(|writer| {
            let mut request = world.put_request(&name);
            request.condition = WriteCondition::Absent;
            // Inline ones and stored ones against each other.
            let bytes = sample(if writer % 2 == 0 { 1_000 } else { 20 * KIB }, writer);
            let store = &world.store;
            async move { (store.put_object(request, &mut Body::new(&bytes)).await, bytes) }
        });
        let answers = futures::future::join_all(puts).await;
        let winners: Vec<_> = answers.iter().filter(|(answer, _)| answer.is_ok()).collect();
        assert_eq!(winners.len(), 1);
        assert!(answers.iter().all(|(answer, _)| matches!(answer, Ok(_) | Err(StoreError::PreconditionFailed))));
        assert!(world.get(&name).await.unwrap() == winners[0].1);
    }
    world.settled(Duration::from_secs(60)).await;
}

#[tokio::test(start_paused = true)]
async fn memory_of_bodies_stays_within_its_bound() {
    let mut config = quick();
    config.replicator.write_memory = 8 * MIB;
    let world = World::with(config, common::limits()).await;
    for zone in &world.zones {
        zone.inject(Rule::on(Operation::Write, Fault::Delay(Duration::from_millis(5))));
    }
    let puts = (0..48_u64).map(|writer| {
        let store = world.store.clone();
        let request = world.put_request(&format!("{writer}"));
        tokio::spawn(async move {
            // Some clients are slow, and must not hold up the others.
            let slow = if writer % 8 == 0 { Duration::from_millis(50) } else { Duration::ZERO };
            store.put_object(request, &mut Body::new(&sample(3 * MIB, writer)).delay(slow)).await
        })
    });
    let puts: Vec<_> = puts.collect();
    let mut lowest = usize::MAX;
    while puts.iter().any(|put| !put.is_finished()) {
        let (all, free) = world.store.status().write_memory;
        assert!(free <= all);
        lowest = lowest.min(free);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(lowest < MIB, "the bound was never felt: {lowest} bytes stayed free");
    for (writer, put) in (0..).zip(puts) {
        put.await.unwrap().unwrap();
        assert!(world.get(&format!("{writer}")).await.unwrap() == sample(3 * MIB, writer));
    }
    assert_eq!(world.store.status().write_memory, (8 * MIB, 8 * MIB), "all of it is given back");
}

#[tokio::test(start_paused = true)]
async fn clients_that_stall_do_not_hold_the_memory_of_others() {
    let mut config = quick();
    config.replicator.write_memory = MIB;
    let world = World::with(config, common::limits()).await;
    let stalled: Vec<_> = (0..4_u64)
        .map(|writer| {
            let (store, request) = (world.store.clone(), world.put_request(&format!("stalled {writer}")));
            // A piece each minute: the first fills no chunk.
            let body = Body::new(&sample(MIB, writer)).pieces(249 * KIB).delay(Duration::from_secs(60));
            tokio::spawn(async move { store.put_object(request, &mut { body }).await })
        })
        .collect();
    tokio::time::sleep(Duration::from_secs(61)).await;
    assert!(world.store.status().write_memory.1 < 50_000, "they hold too much of it for another one's first piece");
    let began = tokio::time::Instant::now();
    world.put("quick", &sample(3 * MIB, 9)).await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    for (writer, put) in (0..).zip(stalled) {
        put.await.unwrap().unwrap();
        assert!(world.get(&format!("stalled {writer}")).await.unwrap() == sample(MIB, writer));
    }
}
