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

/// Of two seals that were put in at one time only one is remembered; a volume that was put back between them is found out by whoever comes second.
#[tokio::test]
async fn a_seal_is_not_put_over_what_was_forgotten() {
    let (fake, kept) = (Arc::new(Fake::start().await), Kept::default());
    let (first, second) = (open_with(&fake, impatient(), &kept).await, open_with(&fake, impatient(), &kept).await);
    write(&first, 1).await.expect("writing");
    let earlier = fake.snapshot();
    // The second has loaded what is remembered. Before it saves, the first seals the volume, which is put back then.
    write(&first, 2).await.expect("writing");
    let between = fake.clone();
    let restored = Mutex::new(Some(earlier));
    let before = kept.memory().volumes[&VOLUME].seal;
    *kept.0.saved.lock() = Some(Box::new(move |_, memory| {
        if memory.volumes[&VOLUME].seal != before
            && let Some(earlier) = restored.lock().take()
        {
            between.restore(earlier);
        }
    }));
    let (one, two) = futures::join!(first.look(true), second.look(true));
    one.expect("looking");
    two.expect("looking");
    for _ in 0..2 {
        second.look(true).await.expect("looking");
    }
    assert_eq!(second.suspects(), BTreeSet::from([VOLUME]));
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
