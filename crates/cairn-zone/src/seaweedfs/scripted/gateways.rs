//! Several gateways on one cluster, with one record.

use super::fake::VOLUME;
use super::*;

/// Gateways that look and write at one time agree on one seal for each volume, lose no volume that one of them took up, and suspect nothing.
#[tokio::test]
async fn gateways_that_look_at_one_time_agree() {
    let (fake, kept) = (Fake::start().await, Kept::default());
    let settings = || Settings { trust_age_max: Duration::ZERO, ..Settings::default() };
    // They begin the zone together, too.
    let opening = join_all((0..3).map(|_| async { opened(&fake, settings(), &kept).await.expect("opening") })).await;
    join_all(opening.iter().map(async |zone| {
        for _ in 0..20 {
            if zone.look(true).await.is_ok_and(|looked| looked.stranger.is_none()) {
                return;
            }
        }
        panic!("it does not begin");
    }))
    .await;
    let mut placed = Vec::new();
    for round in 0..12_u64 {
        let zones: Vec<&SeaweedZone> = opening.iter().collect();
        assign(&fake, &zones, VOLUME + round as u32 % 4);
        let looking = join_all(opening.iter().map(|zone| zone.look(true)));
        let writing = join_all(opening.iter().zip(0_u64..).map(|(zone, number)| write(zone, round * 10 + number)));
        let (looked, written) = futures::join!(looking, writing);
        for looked in looked {
            let looked = looked.expect("looking");
            assert_eq!((looked.stranger, looked.suspects.len(), looked.ahead.len()), (None, 0, 0));
        }
        for (answer, number) in written.into_iter().zip(0_u64..) {
            placed.push((id(round * 10 + number), answer.expect("writing").locator));
        }
    }
    let volumes: Vec<u32> = kept.memory().volumes.keys().copied().collect();
    assert_eq!(volumes, (VOLUME..VOLUME + 4).collect::<Vec<_>>());
    for (id, locator) in placed {
        assert_eq!(opening[0].read(&locator, id, 0, 4).await.expect("it is there"), Bytes::from_static(b"some"));
    }
    assert!(kept.revision() > 12, "they did change it");
}

/// Of two that seal a volume at one time one is refused, and its seal is not remembered: the volume was put back between the two, and whoever looks next finds out.
#[tokio::test]
async fn a_seal_is_not_put_over_what_was_forgotten() {
    let (fake, kept) = (Fake::start().await, Kept::default());
    let (first, second) = (open_with(&fake, impatient(), &kept).await, open_with(&fake, impatient(), &kept).await);
    write(&first, 1).await.expect("writing");
    let earlier = fake.snapshot();
    let gate = fake.hold_listing();
    let mut late = pin!(second.look(true));
    tokio::select! {
        looked = &mut late => panic!("it did not wait: {looked:?}"),
        () = fake.listing_asked() => {}
    }
    // It has loaded what is remembered, and nothing else yet.
    write(&first, 2).await.expect("writing");
    first.look(true).await.expect("looking");
    let seal = kept.memory().volumes[&VOLUME].seal;
    fake.restore(earlier);
    gate.add_permits(1);
    late.await.expect("looking");
    assert_eq!(kept.memory().volumes[&VOLUME].seal, seal, "the one of the first");
    assert_eq!(fake.logged("unseal ").len(), 1, "its own is deleted again");
    for _ in 0..2 {
        second.look(true).await.expect("looking");
    }
    assert_eq!(second.suspects(), BTreeSet::from([VOLUME]));
}

/// A volume that is put back while it is being looked at: between the look at the old seal and the new seal.
#[tokio::test]
async fn the_old_seal_is_asked_for_behind_the_new_one() {
    let (fake, kept) = (Fake::start().await, Kept::default());
    let zone = open_with(&fake, impatient(), &kept).await;
    let earlier = fake.snapshot();
    write(&zone, 1).await.expect("writing");
    zone.look(true).await.expect("looking");
    write(&zone, 2).await.expect("writing");
    fake.forget_log();
    let _ = fake.hold_syncs();
    {
        let mut looking = pin!(zone.look(true));
        tokio::select! {
            looked = &mut looking => panic!("it did not wait: {looked:?}"),
            () = fake.sync_asked() => {}
        }
        fake.restore(earlier);
        fake.release_syncs();
        looking.await.expect("looking");
    }
    assert_eq!(fake.logged("seal ").len(), 1);
    zone.look(true).await.expect("looking");
    assert_eq!(zone.suspects(), BTreeSet::from([VOLUME]));
}

/// Whoever acquits a volume speaks of what it was suspected of when it began. If it is suspected of more meanwhile, that stays.
#[tokio::test]
async fn what_is_acquitted_is_what_was_looked_through() {
    let (fake, kept) = (Fake::start().await, Kept::default());
    let zone = open_with(&fake, impatient(), &kept).await;
    write(&zone, 1).await.expect("writing");
    let change = |why: &str| {
        let mut memory = kept.memory();
        memory.volumes.get_mut(&VOLUME).expect("it").suspect = Some(why.to_owned());
        *kept.0.record.lock() = Some((kept.revision() + 1, memory.encode().expect("a record")));
    };
    change("first");
    fake.forget_log();
    let _ = fake.hold_syncs();
    {
        let mut acquitting = pin!(zone.acquit(VOLUME));
        tokio::select! {
            answer = &mut acquitting => panic!("it did not wait: {answer:?}"),
            () = fake.sync_asked() => {}
        }
        change("second");
        fake.release_syncs();
        assert!(matches!(acquitting.await, Err(ZoneError::Away(_))));
    }
    assert_eq!(kept.memory().volumes[&VOLUME].suspect.as_deref(), Some("second"));
    zone.acquit(VOLUME).await.expect("this time");
    assert_eq!(kept.memory().volumes[&VOLUME].suspect, None);
}

/// Two gateways of one zone that begin it together, and whose masters lead them to two clusters, begin it on one of them.
#[tokio::test]
async fn a_life_begins_on_one_cluster() {
    let (fakes, kept) = ([Fake::start().await, Fake::start().await], Kept::default());
    fakes[1].assign(VOLUME + 1);
    let zones = join_all(fakes.iter().map(|fake| opened(fake, impatient(), &kept))).await;
    let zones: Vec<SeaweedZone> = zones.into_iter().map(|zone| zone.expect("opening")).collect();
    for _ in 0..3 {
        join_all(zones.iter().map(|zone| zone.look(true))).await;
    }
    assert_eq!(kept.memory().volumes.len(), 1);
    let written = join_all(zones.iter().map(|zone| write(zone, 1))).await;
    assert_eq!(written.iter().filter(|answer| answer.is_ok()).count(), 1, "{written:?}");
}

/// A gateway that only looks on seals nothing and remembers nothing but what has forgotten something.
#[tokio::test]
async fn whoever_looks_without_sealing_changes_nothing() {
    let (fake, kept) = (Fake::start().await, Kept::default());
    let sealing = open_with(&fake, impatient(), &kept).await;
    let looking_on = open_with(&fake, impatient(), &kept).await;
    write(&looking_on, 1).await.expect("writing");
    let (revision, earlier) = (kept.revision(), fake.snapshot());
    fake.forget_log();
    looking_on.look(false).await.expect("looking");
    assert_eq!((kept.revision(), fake.logged("seal ").len()), (revision, 0));
    write(&looking_on, 2).await.expect("writing");
    sealing.look(true).await.expect("looking");
    assert!(kept.revision() > revision && fake.logged("seal ").len() == 1);
    looking_on.look(false).await.expect("looking");
    write(&looking_on, 3).await.expect("under the seal of the other");
    sealing.look(true).await.expect("looking");
    fake.end_connections().await;
    fake.restore(earlier);
    for _ in 0..2 {
        looking_on.look(false).await.expect("looking");
    }
    assert_eq!(kept.memory().volumes[&VOLUME].suspect.as_deref(), Some("it is without its latest seal"));
}
