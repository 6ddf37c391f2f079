//! A catalog that is away, hangs, or answers that nothing is known.

mod common;

use std::sync::atomic::Ordering;
use std::time::Duration;

use cairn_catalog::embedded::state::Command;
use cairn_catalog::{Catalog, OpenSession};
use cairn_store::api::{ObjectStore, StoreError};
use cairn_types::TenantId;
use common::faulty_catalog::Fault;
use common::{KIB, MIB, World, read, sample};
use tokio::time::Instant;

fn is_put(command: &Command) -> bool {
    matches!(command, Command::PutVersion(_))
}

#[tokio::test(start_paused = true)]
async fn a_short_absence_is_waited_for() {
    let world = World::new().await;
    let bytes = sample(40 * MIB, 1);
    world.put("key", &bytes).await.unwrap();
    world.faults.on_all(Fault::Away);
    let faults = world.faults.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(20)).await;
        faults.heal();
    });
    let (one, other) = (sample(100, 2), sample(3 * MIB, 3));
    let (inline, stored, back) = tokio::join!(world.put("one", &one), world.put("other", &other), world.get("key"));
    inline.unwrap();
    stored.unwrap();
    assert!(back.unwrap() == bytes);
    assert!(world.get("one").await.unwrap() == sample(100, 2));
    assert!(world.get("other").await.unwrap() == sample(3 * MIB, 3));
}

#[tokio::test(start_paused = true)]
async fn a_long_absence_is_told_in_bounded_time_and_leaves_nothing() {
    let world = World::new().await;
    world.put("key", &sample(10, 1)).await.unwrap();
    for fault in [Fault::Away, Fault::Hang] {
        world.faults.on_all(fault);
        let began = Instant::now();
        assert!(matches!(world.get("key").await, Err(StoreError::Unavailable(_))));
        assert!(began.elapsed() <= Duration::from_secs(31));
        for length in [10, MIB] {
            let began = Instant::now();
            let error = world.put("key", &sample(length, 2)).await.unwrap_err();
            match fault {
                Fault::Away => assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}"),
                _ => assert!(matches!(error, StoreError::OutcomeUnknown(_) | StoreError::Unavailable(_)), "{error:?}"),
            }
            assert!(began.elapsed() <= Duration::from_secs(61), "{:?}", began.elapsed());
        }
        world.faults.heal();
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(world.get("key").await.unwrap(), sample(10, 1));
        world.put("key", &sample(10, 1)).await.unwrap();
    }
    world.settled(Duration::from_secs(7_200)).await;
}

#[tokio::test(start_paused = true)]
async fn a_commit_of_unknown_outcome_keeps_its_chunks() {
    for (fault, is_done) in
        [(Fault::UnknownDone, true), (Fault::HangDone, true), (Fault::UnknownUndone, false), (Fault::Hang, false)]
    {
        for length in [100, 20 * KIB, 9 * MIB] {
            let world = World::new().await;
            world.put("warm", &sample(1, 0)).await.unwrap();
            world.faults.on_commands(fault, 1, is_put);
            let began = Instant::now();
            let error = world.put("key", &sample(length, 1)).await.unwrap_err();
            assert!(matches!(error, StoreError::OutcomeUnknown(_)), "{error:?}");
            assert!(began.elapsed() <= Duration::from_secs(31));
            world.settled(Duration::from_secs(7_200)).await;
            let found = world.get("key").await;
            assert_eq!(found.is_ok(), is_done, "{fault:?}");
            assert!(found.is_err() || found == Ok(sample(length, 1)));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_dropped_during_its_commit_keeps_its_chunks() {
    for (fault, is_done) in [(Fault::HangDone, true), (Fault::Hang, false)] {
        let world = World::new().await;
        world.put("warm", &sample(1, 0)).await.unwrap();
        world.faults.on_commands(fault, 1, is_put);
        let bytes = sample(9 * MIB, 1);
        let put = world.put("key", &bytes);
        assert!(tokio::time::timeout(Duration::from_secs(5), put).await.is_err());
        world.settled(Duration::from_secs(7_200)).await;
        let found = world.get("key").await;
        assert_eq!(found.is_ok(), is_done);
        assert!(found.is_err() || found == Ok(bytes));
    }
}

#[tokio::test(start_paused = true)]
async fn a_completion_whose_answer_is_lost_is_asked_again() {
    let world = World::new().await;
    let upload = world.begin("key").await;
    let part = world.part(&upload, 1, &sample(MIB, 1)).await.unwrap();
    world.faults.on_commands(Fault::UnknownDone, 2, |command| matches!(command, Command::CompleteUpload(_)));
    world.complete(&upload, &[part]).await.unwrap();
    assert!(world.get("key").await.unwrap() == sample(MIB, 1));
}

#[tokio::test(start_paused = true)]
async fn nobody_is_let_in_by_memory_alone() {
    let world = World::new().await;
    assert!(world.store.access_key("root").await.unwrap().is_some());
    assert!(world.store.bucket(TenantId::DEFAULT, "bucket").await.unwrap().is_some());
    world.faults.on_all(Fault::Away);
    // Confirmed less than a second ago (R3): one of these may wait for the catalog, and gives up in time.
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert!(world.store.access_key("root").await.unwrap().is_some());
    tokio::time::sleep(Duration::from_millis(601)).await;
    let began = Instant::now();
    let (key, bucket) = tokio::join!(world.store.access_key("root"), world.store.bucket(TenantId::DEFAULT, "bucket"));
    assert!(matches!(key, Err(StoreError::Unavailable(_))));
    assert!(matches!(bucket, Err(StoreError::Unavailable(_))));
    assert!(began.elapsed() <= Duration::from_secs(61), "{:?}", began.elapsed());
    world.faults.heal();
    assert!(world.store.access_key("root").await.unwrap().is_some());
}

#[tokio::test(start_paused = true)]
async fn an_object_in_parts_is_read_over_an_absence() {
    let world = World::new().await;
    let upload = world.begin("key").await;
    let (mut parts, mut all) = (Vec::new(), Vec::new());
    for number in 1..=100 {
        let bytes = sample(100 * KIB, u64::from(number));
        parts.push(world.part(&upload, number, &bytes).await.unwrap());
        all.extend_from_slice(&bytes);
    }
    world.complete(&upload, &parts).await.unwrap();
    let opened = world.open("key").await.unwrap();
    world.faults.on_all(Fault::Away);
    let faults = world.faults.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(10)).await;
        faults.heal();
    });
    assert!(read(opened.content, 0..all.len() as u64).await.unwrap() == all);
}

#[tokio::test(start_paused = true)]
async fn a_confirmation_on_its_way_does_not_hide_a_change() {
    let world = World::new().await;
    assert!(world.store.access_key("root").await.unwrap().is_some());
    tokio::time::sleep(Duration::from_secs(2)).await;
    // The question of this request is answered by the catalog before the key goes, and the answer comes after.
    world.faults.on_questions(Fault::Late);
    let store = world.store.clone();
    let early = tokio::spawn(async move { store.access_key("root").await });
    tokio::time::sleep(Duration::from_millis(10)).await;
    world.store.revoke_access_key("root").await.unwrap();
    let _ = early.await.unwrap();
    assert!(world.store.access_key("root").await.unwrap().is_none(), "its own revocation is seen by the next request");
}

#[tokio::test(start_paused = true)]
async fn a_catalog_too_slow_to_confirm_lets_nobody_in() {
    let mut config = common::quick();
    config.settings.confirmed_for_max = Duration::from_millis(150);
    config.settings.refresh_after = Duration::from_millis(100);
    let world = World::with(config, common::limits()).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    world.faults.on_questions(Fault::Late);
    let began = Instant::now();
    assert!(matches!(world.store.access_key("root").await, Err(StoreError::Unavailable(_))));
    assert!(began.elapsed() <= Duration::from_secs(32), "{:?}", began.elapsed());
    world.faults.heal();
    assert!(world.store.access_key("root").await.unwrap().is_some());
}

/// L10: at its start a store closes the sessions that it finds, for its earlier processes had them. Where the catalog is shared they are other gateways', whatever the configuration says.
#[tokio::test(start_paused = true)]
async fn the_sessions_of_other_gateways_are_left_alone() {
    for is_shared in [false, true] {
        let mut world = World::new().await;
        let other = world.catalog.open_session(OpenSession { gateway: "other".to_owned() }).await.unwrap();
        world.faults.is_shared.store(is_shared, Ordering::SeqCst);
        assert!(world.config.sole_writer, "the default is for one process");
        world.restart();
        world.put("key", &sample(MIB, 1)).await.unwrap();
        assert_eq!(world.catalog.sessions().await.unwrap().is_closed(other), !is_shared);
    }
}
