//! What is written to, read and deleted when a cluster is not what it was (L7).

use super::super::core::{collection, life_of};
use super::fake::VOLUME;
use super::*;

/// Some volumes, as a test names them.
fn numbers(volumes: &[u32]) -> BTreeSet<u32> {
    volumes.iter().copied().collect()
}

fn is_away<T: std::fmt::Debug>(answer: Result<T, ZoneError>) -> String {
    match answer {
        Err(ZoneError::Away(why) | ZoneError::PlaceAway(why)) => why,
        other => panic!("it should be away, not: {other:?}"),
    }
}

/// A volume is remembered, as one that holds something, before the first chunk in it is confirmed; where it cannot be remembered, nothing is.
#[tokio::test]
async fn a_volume_is_remembered_before_a_chunk_in_it_is_confirmed() {
    let (fake, kept) = (Arc::new(Fake::start().await), Kept::default());
    let zone = open_with(&fake, impatient(), &kept).await;
    let log = fake.clone();
    *kept.0.saved.lock() = Some(Box::new(move |_, memory| log.note(&format!("saved {:?}", memory.volumes.keys()))));
    assign(&fake, &[&zone], 8);
    kept.away(Some("cut off"));
    is_away(write(&zone, 1).await);
    assert!(fake.logged("put ").is_empty(), "nothing that could be confirmed");
    kept.away(None);
    write(&zone, 1).await.expect("writing");
    let log = fake.log();
    let at = |what: &str| log.iter().position(|line| line.starts_with(what)).unwrap_or_else(|| panic!("{what}: {log:?}"));
    assert!(at("seal 8,") < at("saved [3, 8]") && at("saved [3, 8]") < at("put 8,"), "{log:?}");
    // With what it had at that moment it is missed at once, by whoever opens the zone next.
    let mut volumes = fake.snapshot();
    volumes.get_mut(&8).expect("it").unlisted = true;
    fake.restore(volumes);
    let another = opened(&fake, impatient(), &kept).await.expect("opening");
    assert_eq!(another.look(true).await.expect("looking").missing, numbers(&[8]));
}

/// A server that came back with less than it had takes nothing, whether or not anybody has looked since: neither one that failed here, nor one whose volume was missing
/// at the last look, nor one that nobody has asked since the process began.
#[tokio::test]
async fn a_volume_that_comes_back_with_less_is_not_written_to() {
    for way in 0..3 {
        let (fake, kept) = (Fake::start().await, Kept::default());
        let mut zone = open_with(&fake, impatient(), &kept).await;
        // Another volume shows meanwhile that the cluster is the zone's own.
        assign(&fake, &[&zone], 8);
        write(&zone, 0).await.expect("writing");
        assign(&fake, &[&zone], VOLUME);
        write(&zone, 1).await.expect("writing");
        let earlier = fake.snapshot()[&VOLUME].clone();
        write(&zone, 2).await.expect("writing");
        zone.look(true).await.expect("looking");
        match way {
            0 => {}
            1 => {
                fake.change(|volume| volume.unlisted = true);
                zone.look(true).await.expect("looking");
            }
            _ => zone = opened(&fake, impatient(), &kept).await.expect("opening"),
        }
        fake.end_connections().await;
        fake.change(|volume| *volume = earlier);
        if way == 2 {
            // Its own first look finds all there but this.
            assert_eq!(zone.look(true).await.expect("looking").suspects, numbers(&[]));
        }
        fake.forget_log();
        is_away(write(&zone, 3).await);
        assert!(fake.logged("put ").is_empty(), "way {way}: {:?}", fake.log());
        // One look may have come at a bad moment; two have not.
        if way < 2 {
            assert_eq!(zone.look(true).await.expect("looking").suspects, numbers(&[]));
        }
        assert_eq!(zone.look(true).await.expect("looking").suspects, numbers(&[VOLUME]), "way {way}");
        is_away(write(&zone, 3).await);
    }
}

/// What this process confirmed since the latest seal is asked for after a server has failed: a server that was put back to a moment since is found out, too.
#[tokio::test]
async fn what_was_confirmed_since_the_seal_is_missed_too() {
    let (fake, kept) = (Fake::start().await, Kept::default());
    let zone = open_with(&fake, impatient(), &kept).await;
    let deleted = write(&zone, 1).await.expect("writing");
    let earlier = fake.snapshot();
    zone.delete(&[(deleted.locator, id(1))]).await.remove(0).expect("deleting");
    fake.end_connections().await;
    write(&zone, 2).await.expect("all is as it was, but for what was deleted");
    fake.end_connections().await;
    fake.restore(earlier);
    is_away(write(&zone, 3).await);
    assert!(kept.memory().volumes[&VOLUME].suspect.is_some());
    // It has its latest seal. That it is suspect is enough for whoever has confirmed nothing there.
    let another = open_with(&fake, impatient(), &kept).await;
    is_away(write(&another, 3).await);
}

/// A server that fails after it took a chunk, and before it has synced it, may come back without it and sync what it has.
#[tokio::test]
async fn a_chunk_is_asked_for_again_where_its_server_failed_meanwhile() {
    let (fake, kept) = (Fake::start().await, Kept::default());
    let zone = open_with(&fake, Settings::default(), &kept).await;
    let earlier = fake.snapshot();
    let _ = fake.hold_syncs();
    let placed = {
        let mut writing = pin!(write(&zone, 1));
        tokio::select! {
            answer = &mut writing => panic!("confirmed without a sync: {answer:?}"),
            () = fake.sync_asked() => {}
        }
        fake.end_http().await;
        fake.restore(earlier);
        fake.release_syncs();
        writing.await.expect("writing it once more")
    };
    assert_eq!(fake.logged("put ").len(), 2);
    assert!(zone.read(&placed.locator, id(1), 0, 4).await.is_ok());
}

/// A volume of the same length that is without its latest seal has forgotten something, too.
#[tokio::test]
async fn a_volume_that_has_not_grown_is_asked_for_its_seal() {
    let (fake, kept) = (Fake::start().await, Kept::default());
    let zone = open_with(&fake, impatient(), &kept).await;
    write(&zone, 1).await.expect("writing");
    zone.look(true).await.expect("looking");
    fake.change(FakeVolume::lose_last);
    fake.forget_log();
    for _ in 0..2 {
        zone.look(true).await.expect("looking");
    }
    assert_eq!((zone.suspects(), fake.logged("seal ").len()), (numbers(&[VOLUME]), 0));
}

/// A volume that has forgotten something is remembered as such; the others of its zone, and its zone's life, are not concerned. It is read and deleted from, listed, and
/// not written to, until somebody has said that what it should hold was looked through.
#[tokio::test]
async fn forgetting_is_of_a_volume_and_not_of_its_zone() {
    let (fake, kept) = (Fake::start().await, Kept::default());
    let zone = open_with(&fake, impatient(), &kept).await;
    let first = write(&zone, 1).await.expect("writing");
    let earlier = fake.snapshot();
    let second = write(&zone, 2).await.expect("writing");
    zone.look(true).await.expect("looking");
    fake.end_connections().await;
    fake.restore(earlier);
    for _ in 0..2 {
        let looked = zone.look(true).await.expect("looking");
        assert_eq!((looked.stranger, looked.missing), (None, numbers(&[])));
    }
    assert_eq!(zone.suspects(), numbers(&[VOLUME]));
    assert_eq!(zone.suspect_of(&first.locator), Some(VOLUME));
    assign(&fake, &[&zone], 8);
    let third = write(&zone, 3).await.expect("writing to another volume");
    assert_eq!(zone.suspect_of(&third.locator), None);
    assert_eq!(third.incarnation, Incarnation(1), "the life goes on");
    assert_eq!(zone.read(&first.locator, id(1), 0, 4).await.expect("what it has"), Bytes::from_static(b"some"));
    assert!(matches!(zone.read(&second.locator, id(2), 0, 4).await, Err(ZoneError::NotFound)), "what it has not is repaired");
    let listed = zone.enumerate(SessionId(0), None, 10).await.expect("listing").found;
    assert_eq!(listed.iter().map(|found| found.id).collect::<Vec<_>>(), [id(1), id(3)]);
    zone.delete(&[(first.locator.clone(), id(1))]).await.remove(0).expect("deleting");
    // Another process knows as well.
    let another = open_with(&fake, impatient(), &kept).await;
    assert_eq!(another.suspects(), numbers(&[VOLUME]));
    assign(&fake, &[&another], VOLUME);
    is_away(write(&another, 4).await);
    assert!(matches!(zone.acquit(8).await, Err(ZoneError::Refused(_))));
    zone.acquit(VOLUME).await.expect("what should be in it was looked through");
    another.look(true).await.expect("looking");
    assert_eq!(another.suspects(), numbers(&[]));
    write(&another, 4).await.expect("writing to it again");
}

/// A volume that was put back and vacuumed after that is further than it was, by its revision; it is without its seal all the same.
#[tokio::test]
async fn a_vacuum_does_not_hide_what_was_forgotten() {
    let (fake, kept) = (Fake::start().await, Kept::default());
    let zone = open_with(&fake, impatient(), &kept).await;
    write(&zone, 1).await.expect("writing");
    let mut earlier = fake.snapshot();
    write(&zone, 2).await.expect("writing");
    zone.look(true).await.expect("looking");
    earlier.get_mut(&VOLUME).expect("it").vacuum();
    fake.end_connections().await;
    fake.restore(earlier);
    zone.look(true).await.expect("looking");
    assert_eq!(zone.look(true).await.expect("looking").suspects, numbers(&[VOLUME]));
}

/// Vacuums that lose nothing are nothing, however many: their count begins again after 65,535.
#[tokio::test]
async fn vacuums_are_no_reason_to_suspect() {
    let (fake, kept) = (Fake::start().await, Kept::default());
    let zone = open_with(&fake, impatient(), &kept).await;
    let placed = write(&zone, 1).await.expect("writing");
    for revision in [1, 65_535, 0] {
        zone.look(true).await.expect("looking");
        fake.change(|volume| {
            volume.vacuum();
            volume.revision = revision;
        });
        let looked = zone.look(true).await.expect("looking");
        assert_eq!((looked.suspects, looked.unknown.len()), (numbers(&[]), 0));
        write(&zone, 2).await.expect("writing on");
    }
    assert!(zone.read(&placed.locator, id(1), 0, 4).await.is_ok());
}

/// Where a volume takes no seal any more, its length at the same revision tells.
#[tokio::test]
async fn a_full_volume_that_is_shorter_has_forgotten() {
    let (fake, kept) = (Fake::start().await, Kept::default());
    let zone = open_with(&fake, impatient(), &kept).await;
    let earlier = fake.snapshot();
    let placed = write(&zone, 1).await.expect("writing");
    fake.change(|volume| volume.read_only = true);
    zone.look(true).await.expect("looking");
    assert!(zone.read(&placed.locator, id(1), 0, 4).await.is_ok());
    let zone = opened(&fake, impatient(), &kept).await.expect("opening");
    fake.restore(earlier);
    assert_eq!(zone.look(true).await.expect("looking").suspects, numbers(&[VOLUME]));
}

/// Another cluster at the same address takes nothing and is believed nothing, whatever numbers its volumes have; and the zone is what it was once its own is back.
#[tokio::test]
async fn another_cluster_at_the_same_address_takes_nothing() {
    let (fake, kept) = (Fake::start().await, Kept::default());
    let zone = open_with(&fake, impatient(), &kept).await;
    let placed = write(&zone, 1).await.expect("writing");
    let mut own = fake.snapshot();
    // It makes volumes of our collection's name when it is asked for one: of the number that is known, of another, and of both.
    for volumes in [&[VOLUME][..], &[9], &[VOLUME, 9]] {
        fake.end_connections().await;
        fake.restore(std::collections::BTreeMap::new());
        fake.forget_log();
        for volume in volumes {
            assign(&fake, &[&zone], *volume);
            is_away(write(&zone, 2).await);
        }
        assert!(fake.logged("put ").is_empty(), "before anybody has looked: {:?}", fake.log());
        is_away(zone.read(&placed.locator, id(1), 0, 4).await);
        is_away(zone.delete(&[(placed.locator.clone(), id(1))]).await.remove(0));
        for _ in 0..2 {
            let looked = zone.look(true).await.expect("looking");
            assert!(looked.stranger.is_some_and(|why| why.contains("none of the 1 volumes")), "{volumes:?}");
            assert_eq!((looked.missing, looked.suspects), (numbers(&[VOLUME]), numbers(&[])));
        }
        fake.forget_log();
        is_away(write(&zone, 2).await);
        assert!(fake.logged("assign ").is_empty(), "it is not even asked for a volume any more");
        assert_eq!(kept.memory().volumes.keys().collect::<Vec<_>>(), [&VOLUME]);
        fake.end_connections().await;
        fake.restore(own);
        assign(&fake, &[&zone], VOLUME);
        assert_eq!(zone.look(true).await.expect("looking").stranger, None);
        write(&zone, 2).await.expect("writing on");
        assert!(zone.read(&placed.locator, id(1), 0, 4).await.is_ok());
        own = fake.snapshot();
    }
}

/// A volume number that was given again, in our own collection, while the server of the first one is off: that one is missing, not behind, and nothing is believed
/// of the second.
#[tokio::test]
async fn a_number_that_was_given_again_is_another_volume() {
    let (fake, kept) = (Fake::start().await, Kept::default());
    let zone = open_with(&fake, impatient(), &kept).await;
    let placed = write(&zone, 1).await.expect("writing");
    assign(&fake, &[&zone], 8);
    write(&zone, 2).await.expect("writing");
    let whole = fake.snapshot();
    fake.change(|volume| {
        let again = volume.again();
        *volume = again;
    });
    for _ in 0..3 {
        let looked = zone.look(true).await.expect("looking");
        assert_eq!((looked.stranger, looked.missing, looked.suspects), (None, numbers(&[VOLUME]), numbers(&[])));
    }
    is_away(zone.read(&placed.locator, id(1), 0, 4).await);
    is_away(zone.delete(&[(placed.locator.clone(), id(1))]).await.remove(0));
    is_away(zone.enumerate(SessionId(0), None, 10).await);
    assign(&fake, &[&zone], VOLUME);
    is_away(write(&zone, 3).await);
    fake.restore(whole);
    assert_eq!(zone.look(true).await.expect("looking").missing, numbers(&[]));
    assert!(zone.read(&placed.locator, id(1), 0, 4).await.is_ok());
    write(&zone, 3).await.expect("writing to it again");
}

/// A volume whose files SeaweedFS has closed, as after a vacuum that failed at its end, answers politely that it has nothing and is of no length.
#[tokio::test]
async fn a_volume_that_is_not_loaded_says_nothing() {
    let (fake, kept) = (Fake::start().await, Kept::default());
    let zone = open_with(&fake, impatient(), &kept).await;
    let placed = write(&zone, 1).await.expect("writing");
    zone.look(true).await.expect("looking");
    fake.change(|volume| volume.closed = true);
    for _ in 0..3 {
        let looked = zone.look(true).await.expect("looking");
        assert!(looked.stranger.is_some(), "none of its volumes can be asked");
        assert_eq!((looked.missing, looked.suspects), (numbers(&[]), numbers(&[])));
    }
    is_away(zone.read(&placed.locator, id(1), 0, 4).await);
    is_away(zone.delete(&[(placed.locator.clone(), id(1))]).await.remove(0));
    fake.change(|volume| volume.closed = false);
    zone.look(true).await.expect("looking");
    write(&zone, 2).await.expect("writing on");
}

/// A volume that was cut into shards is read, and nothing is believed gone or deleted: where a collection has volumes, a master does not even name the shards.
#[tokio::test]
async fn a_volume_in_shards_is_read_only() {
    let (fake, kept) = (Fake::start().await, Kept::default());
    let zone = open_with(&fake, impatient(), &kept).await;
    let placed = write(&zone, 1).await.expect("writing");
    let gone = write(&zone, 2).await.expect("writing");
    zone.delete(&[(gone.locator.clone(), id(2))]).await.remove(0).expect("deleting");
    assign(&fake, &[&zone], 8);
    write(&zone, 3).await.expect("writing");
    fake.change(|volume| volume.cut = true);
    fake.forget_log();
    for fresh in [false, true] {
        let zone = if fresh { open_with(&fake, impatient(), &kept).await } else { zone.clone() };
        assert_eq!(zone.read(&placed.locator, id(1), 0, 4).await.expect("of shards"), Bytes::from_static(b"some"));
        let why = is_away(zone.read(&gone.locator, id(2), 0, 4).await);
        assert!(!fresh || why.contains("shards"), "{why}");
        let why = is_away(zone.delete(&[(placed.locator.clone(), id(1))]).await.remove(0));
        assert!(!fresh || why.contains("shards"), "{why}");
        let why = is_away(zone.enumerate(SessionId(0), None, 10).await);
        assert!(why.contains("shards"), "{why}");
        let looked = zone.look(true).await.expect("looking");
        assert!(looked.unknown[&VOLUME].contains("shards"));
        assert_eq!((looked.missing, looked.suspects), (numbers(&[]), numbers(&[])));
        write(&zone, 4).await.expect("writing on");
    }
    assert!(fake.logged("delete ").is_empty(), "none of the shards' servers was even asked to delete anything");
    // Shards whose servers are off.
    fake.change(|volume| volume.unlisted = true);
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    is_away(zone.delete(&[(placed.locator.clone(), id(1))]).await.remove(0));
}

/// Whoever gives up a volume means its number, whether or not it is remembered.
#[tokio::test]
async fn any_number_can_be_given_up() {
    let (fake, kept) = (Fake::start().await, Kept::default());
    let zone = open_with(&fake, impatient(), &kept).await;
    let placed = write(&zone, 1).await.expect("writing");
    let place = Place::decode(&placed.locator).expect("a place");
    let elsewhere = Place { fid: Fid { volume: 77, ..place.fid }, ..place }.encode();
    let why = is_away(zone.read(&elsewhere, id(1), 0, 4).await);
    assert!(why.contains("77"), "{why}");
    is_away(zone.delete(&[(elsewhere.clone(), id(1))]).await.remove(0));
    zone.give_up(77).await.expect("giving up");
    assert!(matches!(zone.read(&elsewhere, id(1), 0, 4).await, Err(ZoneError::NotFound)));
    zone.delete(&[(elsewhere, id(1))]).await.remove(0).expect("let go");
    assign(&fake, &[&zone], 77);
    is_away(write(&zone, 2).await);
    assert!(!kept.memory().volumes.contains_key(&77));
    assign(&fake, &[&zone], 8);
    write(&zone, 2).await.expect("writing");
    zone.give_up(8).await.expect("giving up");
    zone.look(true).await.expect("looking");
    assign(&fake, &[&zone], 8);
    is_away(write(&zone, 3).await);
}

/// A leader that has just begun knows of no server yet. That is no other cluster, and nothing is forgotten for it.
#[tokio::test]
async fn a_master_without_servers_says_nothing() {
    let (fake, kept) = (Fake::start().await, Kept::default());
    let zone = open_with(&fake, impatient(), &kept).await;
    write(&zone, 1).await.expect("writing");
    fake.hide_servers(true);
    let looked = zone.look(true).await.expect("looking");
    assert!(looked.stranger.is_some_and(|why| why.contains("knows no volume server")));
    fake.hide_servers(false);
    assert_eq!(zone.look(true).await.expect("looking").stranger, None);
    write(&zone, 2).await.expect("writing on");
}

/// A server that copied a volume has not synced it: what it has counts once it did.
#[tokio::test]
async fn a_volume_that_moved_is_synced_before_it_counts() {
    let (fake, kept) = (Fake::start().await, Kept::default());
    let zone = open_with(&fake, impatient(), &kept).await;
    write(&zone, 1).await.expect("writing");
    zone.look(true).await.expect("looking");
    fake.change(|volume| volume.read_only = true);
    fake.forget_log();
    zone.look(true).await.expect("looking");
    assert!(fake.logged("sync ").is_empty(), "it has not changed");
    fake.rename_server();
    fake.fail_syncs(1);
    let looked = zone.look(true).await.expect("looking");
    assert!(looked.unknown.contains_key(&VOLUME));
    let known = kept.memory().volumes[&VOLUME].servers.clone();
    assert!(known.iter().all(|server| server.starts_with("127.")), "{known:?}");
    assert!(zone.look(true).await.expect("looking").unknown.is_empty());
    assert_eq!(fake.logged("sync "), ["3"]);
    assert!(kept.memory().volumes[&VOLUME].servers.iter().all(|server| server.starts_with("localhost")));
}

/// Without looks that end nobody notices what a cluster forgets: nothing is written then. Reads go on.
#[tokio::test]
async fn nothing_is_written_while_nobody_can_look() {
    let (fake, kept) = (Fake::start().await, Kept::default());
    let zone = opened(&fake, Settings { look_age_max: Duration::from_millis(400), ..impatient() }, &kept).await.expect("opening");
    let why = is_away(write(&zone, 1).await);
    assert!(why.contains("nobody has looked"), "{why}");
    zone.look(true).await.expect("looking");
    let placed = write(&zone, 1).await.expect("writing");
    kept.away(Some("cut off"));
    is_away(zone.look(true).await);
    tokio::time::sleep(Duration::from_millis(500)).await;
    let why = is_away(write(&zone, 2).await);
    assert!(why.contains("nobody has looked"), "{why}");
    assert!(zone.read(&placed.locator, id(1), 0, 4).await.is_ok());
    kept.away(None);
    zone.look(true).await.expect("looking");
    write(&zone, 2).await.expect("writing on");
    zone.close();
    assert!(is_away(write(&zone, 3).await).contains("was closed"));
}

/// A memory that is older than the cluster came with an older catalog (P5): the volumes have forgotten nothing, and are not written to all the same.
#[tokio::test]
async fn a_memory_that_was_put_back_is_told_from_a_volume_that_was() {
    let (fake, kept) = (Fake::start().await, Kept::default());
    let zone = open_with(&fake, impatient(), &kept).await;
    write(&zone, 8).await.expect("writing");
    zone.look(true).await.expect("looking");
    let earlier = kept.0.record.lock().clone();
    for counter in 0..5 {
        write(&zone, counter).await.expect("writing");
        zone.look(true).await.expect("looking");
    }
    *kept.0.record.lock() = earlier;
    for _ in 0..2 {
        let looked = zone.look(true).await.expect("looking");
        assert_eq!((looked.ahead, looked.suspects), (numbers(&[VOLUME]), numbers(&[])));
    }
    is_away(write(&zone, 9).await);
}

/// What is remembered in a way that this version does not know, or is damaged, is no reason to take a cluster for one that has forgotten: the zone is refused.
#[tokio::test]
async fn a_memory_that_cannot_be_read_is_refused_in_words() {
    let (fake, kept) = (Fake::start().await, Kept::default());
    drop(open_with(&fake, impatient(), &kept).await);
    let (revision, record) = kept.0.record.lock().clone().expect("a record");
    let memory = Memory { format: 2, ..kept.memory() }.encode().expect("a record");
    let mut turned = record.to_vec();
    turned[20] ^= 1;
    for (bad, words) in [(memory, "another version of Cairn"), (turned.into(), "damaged")] {
        *kept.0.record.lock() = Some((revision, bad));
        let answer = opened(&fake, impatient(), &kept).await.map(drop);
        assert!(matches!(&answer, Err(ZoneError::Refused(why)) if why.contains(words)), "{answer:?}");
    }
    *kept.0.record.lock() = Some((revision, record));
    open_with(&fake, impatient(), &kept).await;
}

/// Of two zones that begin on one cluster neither opens, whatever their collections' names begin with.
#[tokio::test]
async fn a_zone_does_not_begin_beside_another() {
    assert_eq!(
        life_of(StoreId(1), &collection("else-where", StoreId(1), ZoneIndex(2), Incarnation(7))),
        Some((ZoneIndex(2), Incarnation(7)))
    );
    assert_eq!(life_of(StoreId(2), &collection("cairn", StoreId(1), ZoneIndex(2), Incarnation(7))), None);
    let (fake, kept) = (Fake::start().await, Kept::default());
    fake.add_collection(&collection("another", StoreId(1), ZoneIndex(2), Incarnation(1)));
    let zone = opened(&fake, impatient(), &kept).await.expect("opening");
    let looked = zone.look(true).await.expect("looking");
    assert!(looked.stranger.is_some_and(|why| why.contains("zone number 3")));
    is_away(write(&zone, 1).await);
    assert_eq!(kept.revision(), 0, "nothing is remembered");
    let fake = Fake::start().await;
    let zone = open_with(&fake, impatient(), &kept).await;
    fake.add_collection(&collection("cairn", StoreId(1), ZoneIndex(0), Incarnation(2)));
    let looked = zone.look(true).await.expect("looking");
    assert!(looked.stranger.is_some_and(|why| why.contains("older than the cluster")));
}
