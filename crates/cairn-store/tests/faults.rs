//! Zones that are gone, hang, lie and come back; clients that go away; processes that end.

mod common;

use std::time::Duration;

use cairn_store::api::{ObjectStore, StoreError, WriteCondition};
use cairn_testkit::faulty_zone::{Fault, Operation, Rule};
use cairn_zone::ZoneError;
use common::{Body, End, KIB, MIB, World, quick, read, sample};
use futures::StreamExt;

fn away() -> Fault {
    Fault::Error(ZoneError::Away("test".to_owned()))
}

#[tokio::test(start_paused = true)]
async fn with_one_zone_away_everything_goes_on_and_the_zone_catches_up() {
    let world = World::new().await;
    let before = sample(3 * MIB, 1);
    world.put("before", &before).await.unwrap();
    for zone in 0..3 {
        world.zones[zone].go_away("test");
        let bytes = sample(9 * MIB, zone as u64 + 10);
        world.put(&format!("during {zone}"), &bytes).await.unwrap();
        assert!(world.get(&format!("during {zone}")).await.unwrap() == bytes);
        assert!(world.get("before").await.unwrap() == before);
        world.put("gone", &bytes).await.unwrap();
        world.delete("gone", None).await;
        world.zones[zone].come_back();
    }
    world.settled(Duration::from_secs(3_600)).await;
    assert!(world.store.status().repair.copies_made >= 6);
}

#[tokio::test(start_paused = true)]
async fn a_hung_zone_slows_nobody_for_long() {
    let world = World::new().await;
    world.put("warm", &sample(MIB, 0)).await.unwrap();
    for zone in 0..3 {
        world.zones[zone].inject(Rule::on_all(Fault::Hang));
        let began = tokio::time::Instant::now();
        for round in 0..5 {
            let name = format!("{zone} {round}");
            world.put(&name, &sample(300 * KIB, round)).await.unwrap();
            assert!(world.get(&name).await.unwrap() == sample(300 * KIB, round));
        }
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
        world.zones[zone].heal();
        tokio::time::sleep(Duration::from_secs(120)).await;
    }
    world.settled(Duration::from_secs(7_200)).await;
}

#[tokio::test(start_paused = true)]
async fn flipped_bits_never_reach_a_client() {
    let world = World::new().await;
    let bytes = sample(10 * MIB, 1);
    world.put("key", &bytes).await.unwrap();
    world.zones[0].inject(Rule::on(Operation::Read, Fault::FlipBit));
    world.zones[1].inject(Rule::on(Operation::Read, Fault::FlipBit).chance(0.5));
    for _ in 0..5 {
        assert!(world.get("key").await.unwrap() == bytes);
    }
    assert!(world.store.status().counts.damage_found > 0);
    for zone in &world.zones {
        zone.inject(Rule::on(Operation::Read, Fault::FlipBit));
    }
    let opened = world.open("key").await.unwrap();
    let error = read(opened.content, 0..bytes.len() as u64).await.unwrap_err();
    assert!(matches!(error, StoreError::Damaged(_)), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn lost_chunks_are_read_elsewhere_and_brought_back() {
    let world = World::new().await;
    let bytes = sample(10 * MIB, 1);
    world.put("key", &bytes).await.unwrap();
    world.settled(Duration::from_secs(60)).await;
    let inner = world.zones[0].inner();
    let found = inner.enumerate(cairn_types::SessionId(0), None, 100).await.unwrap().found;
    let targets: Vec<_> = found.iter().map(|found| (found.locator.clone(), found.id)).collect();
    inner.delete(&targets).await;
    assert!(world.get("key").await.unwrap() == bytes);
    world.settled(Duration::from_secs(600)).await;
    assert_eq!(world.stored(0).await.len(), found.len());
}

#[tokio::test(start_paused = true)]
async fn without_two_zones_a_write_fails_in_bounded_time_and_leaves_nothing() {
    let world = World::new().await;
    world.put("key", &sample(10, 1)).await.unwrap();
    world.zones[0].go_away("test");
    world.zones[1].go_away("test");
    let began = tokio::time::Instant::now();
    let error = world.put("key", &sample(MIB, 2)).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
    assert!(began.elapsed() <= Duration::from_secs(60), "{:?}", began.elapsed());
    assert!(!world.store.is_ready());
    assert_eq!(world.get("key").await.unwrap(), sample(10, 1));
    world.zones[0].come_back();
    world.put("key", &sample(MIB, 3)).await.unwrap();
    world.zones[1].come_back();
    assert!(world.get("key").await.unwrap() == sample(MIB, 3));
    world.settled(Duration::from_secs(7_200)).await;
}

#[tokio::test(start_paused = true)]
async fn a_read_waits_for_zones_that_come_back() {
    let world = World::new().await;
    let bytes = sample(20 * MIB, 1);
    world.put("key", &bytes).await.unwrap();
    let opened = world.open("key").await.unwrap();
    let cairn_store::api::ObjectContent::Chunks(reader) = opened.content else { panic!("not in chunks") };
    let mut stream = reader.read(0..bytes.len() as u64);
    let mut back = Vec::new();
    for _ in 0..20 {
        back.extend_from_slice(&stream.next().await.unwrap().unwrap());
    }
    for zone in &world.zones {
        zone.go_away("test");
    }
    let zones = world.zones.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(15)).await;
        zones[2].come_back();
    });
    while let Some(piece) = stream.next().await {
        back.extend_from_slice(&piece.unwrap());
    }
    assert!(back == bytes);
    // And not for ever.
    world.zones[2].go_away("test");
    let began = tokio::time::Instant::now();
    let error = world.get("key").await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
    assert!((Duration::from_secs(20)..Duration::from_secs(90)).contains(&began.elapsed()), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn full_zones_refuse_and_recover() {
    let world = World::new().await;
    let full = || Fault::Error(ZoneError::Full("test".to_owned()));
    world.zones[0].inject(Rule::on(Operation::Write, full()));
    world.put("one full", &sample(MIB, 1)).await.unwrap();
    world.zones[1].inject(Rule::on(Operation::Write, full()));
    assert_eq!(world.put("two full", &sample(MIB, 2)).await.unwrap_err(), StoreError::OutOfSpace);
    assert!(world.get("one full").await.unwrap() == sample(MIB, 1));
    world.delete("one full", None).await;
    for zone in &world.zones {
        zone.heal();
    }
    world.put("two full", &sample(MIB, 2)).await.unwrap();
    world.settled(Duration::from_secs(7_200)).await;
}

#[tokio::test(start_paused = true)]
async fn requests_dropped_at_any_moment_leave_nothing() {
    let world = World::new().await;
    for zone in &world.zones {
        zone.inject(Rule::on(Operation::Write, Fault::Delay(Duration::from_millis(7))));
    }
    let mut committed = 0;
    for after_ms in 0..120_u64 {
        let name = format!("{after_ms}");
        let bytes = sample(2 * MIB + 100, after_ms);
        let mut body = Body::new(&bytes).delay(Duration::from_millis(1));
        let put = world.store.put_object(world.put_request(&name), &mut body);
        let ended = tokio::time::timeout(Duration::from_millis(after_ms), put).await;
        match world.get(&name).await {
            Ok(back) => {
                committed += 1;
                assert!(back == bytes, "half a body");
            }
            Err(error) => {
                assert_eq!(error, StoreError::NoSuchKey);
                assert!(ended.is_err(), "acknowledged and not there");
            }
        }
    }
    assert!((1..120).contains(&committed), "{committed} of 120 were committed");
    for zone in &world.zones {
        zone.heal();
    }
    world.settled(Duration::from_secs(7_200)).await;
    assert_eq!(world.store.status().write_memory.0, world.store.status().write_memory.1);
}

#[tokio::test(start_paused = true)]
async fn what_a_dead_process_left_is_collected() {
    let mut config = quick();
    config.patience = Duration::from_secs(5);
    let mut world = World::with(config, common::limits()).await;
    let kept = sample(9 * MIB, 1);
    world.put("kept", &kept).await.unwrap();
    for zone in &world.zones {
        zone.inject(Rule::on(Operation::Write, Fault::HangAfter).chance(0.5));
    }
    let unfinished = {
        let (store, request) = (world.store.clone(), world.put_request("unfinished"));
        tokio::spawn(async move {
            store.put_object(request, &mut Body::new(&sample(40 * MIB, 2)).delay(Duration::from_millis(1))).await
        })
    };
    tokio::time::sleep(Duration::from_millis(700)).await;
    unfinished.abort();
    let _ = unfinished.await;
    world.restart();
    for zone in &world.zones {
        zone.heal();
    }
    assert!(world.get("kept").await.unwrap() == kept);
    assert_eq!(world.get("unfinished").await.unwrap_err(), StoreError::NoSuchKey);
    world.put("more", &sample(MIB, 3)).await.unwrap();
    world.settled(Duration::from_secs(7_200)).await;
    assert!(world.get("kept").await.unwrap() == kept);
}

#[tokio::test(start_paused = true)]
async fn an_orderly_stop_ends_writes_and_closes_the_session() {
    let mut world = World::new().await;
    world.put("key", &sample(MIB, 1)).await.unwrap();
    let session = world.store.status().session;
    assert!(session.is_some());
    world.store.stop(Duration::from_secs(5)).await;
    assert_eq!(world.store.status().session, None);
    assert!(cairn_catalog::Catalog::sessions(&*world.catalog).await.unwrap().open.is_empty());
    let began = tokio::time::Instant::now();
    assert!(matches!(world.put("key", &sample(MIB, 2)).await, Err(StoreError::Unavailable(_))));
    assert!(began.elapsed() < Duration::from_secs(1));
    world.restart();
    assert!(world.get("key").await.unwrap() == sample(MIB, 1));
    world.put("key", &sample(MIB, 2)).await.unwrap();
    assert!(world.store.status().session > session);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_was_closed_under_it_is_replaced() {
    let world = World::new().await;
    world.put("key", &sample(100, 1)).await.unwrap();
    let session = world.store.status().session.unwrap();
    cairn_catalog::Catalog::close_session(&*world.catalog, session).await.unwrap();
    // A short body is at hand and is committed under the next session; a long one was stored under the closed one.
    world.put("key", &sample(100, 2)).await.unwrap();
    assert!(world.store.status().session.unwrap() > session);
    let next = world.store.status().session.unwrap();
    cairn_catalog::Catalog::close_session(&*world.catalog, next).await.unwrap();
    assert!(matches!(world.put("key", &sample(MIB, 3)).await, Err(StoreError::Unavailable(_))));
    tokio::time::sleep(Duration::from_secs(5)).await;
    world.put("key", &sample(MIB, 4)).await.unwrap();
    world.settled(Duration::from_secs(7_200)).await;
}

#[tokio::test(start_paused = true)]
async fn sessions_are_replaced_from_time_to_time() {
    let world = World::new().await;
    world.put("warm", &sample(1, 0)).await.unwrap();
    let first = world.store.status().session.unwrap();
    let mut body = Body::new(&sample(MIB, 1)).delay(Duration::from_secs(100));
    // A client so slow that its session is replaced under it keeps it until it is done (S1).
    world.store.put_object(world.put_request("slow"), &mut body).await.unwrap();
    assert!(world.store.status().session.unwrap() > first);
    assert!(world.get("slow").await.unwrap() == sample(MIB, 1));
    tokio::time::sleep(Duration::from_secs(10)).await;
    let open = cairn_catalog::Catalog::sessions(&*world.catalog).await.unwrap().open;
    assert_eq!(open.len(), 1, "the replaced session is closed once nobody holds it");
}

#[tokio::test(start_paused = true)]
async fn a_straggler_is_folded_in() {
    let world = World::new().await;
    world.put("warm", &sample(MIB, 0)).await.unwrap();
    world.zones[2].inject(Rule::on(Operation::Write, Fault::Delay(Duration::from_millis(900))));
    world.put("key", &sample(MIB, 1)).await.unwrap();
    assert!(world.named().await.iter().any(|(_, zones)| *zones == 2));
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(world.named().await.iter().all(|(_, zones)| *zones == 3));
    assert_eq!(world.store.status().counts.stragglers_folded, 1);
    assert_eq!(world.store.status().repair.copies_made, 0);
}

#[tokio::test(start_paused = true)]
async fn lost_answers_and_refused_commits_together_leave_nothing() {
    let world = World::new().await;
    for zone in &world.zones {
        zone.inject(Rule::on(Operation::Write, Fault::ErrorAfter(ZoneError::Away("lost".to_owned()))).chance(0.2));
        zone.inject(Rule::on(Operation::Write, away()).chance(0.1));
    }
    for round in 0..60 {
        let mut request = world.put_request(&format!("{}", round % 7));
        if round % 3 == 0 {
            request.condition = WriteCondition::Absent;
        }
        let end = if round % 5 == 0 { End::Wrong } else { End::Good };
        let _ = world.store.put_object(request, &mut Body::new(&sample(MIB + round, round as u64)).ends(end)).await;
    }
    for zone in &world.zones {
        zone.heal();
    }
    world.settled(Duration::from_secs(7_200)).await;
}
