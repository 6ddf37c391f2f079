//! Real clusters that forget: servers that are put back, another cluster at the same addresses, numbers that are given again, volumes that are cut or cleared away. What was
//! confirmed is there or is named as doubtful, nothing is confirmed where it would be lost, and the zone's life goes on. See `docs/adr/0012-seaweedfs-zone.md`.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use cairn_testkit::weed::{Plan, Weed};
use cairn_testkit::zone_conformance::{Subject as _, WRITER, chunk_id, delete, expect, payload, put};
use cairn_types::{ChunkId, Locator, SessionId};
use cairn_zone::seaweedfs::format::Place;
use cairn_zone::seaweedfs::{Cluster, Looked, Settings};
use cairn_zone::{Zone, ZoneError};

use crate::zones::{Tried, settings};

/// Nobody looks but the test.
const NEVER: Duration = Duration::from_secs(3_600);

/// Gives up early: in these tests what is refused stays refused.
fn impatient() -> Settings {
    let short = Duration::from_secs(2);
    let times =
        Settings { write_timeout: short, request_timeout: short, master_timeout: short, assign_timeout: short, ..settings() };
    Settings { look_age_max: NEVER, avoid_for: Duration::from_millis(200), ..times }
}

struct Kept(Vec<(ChunkId, Locator, Bytes)>);

impl Kept {
    async fn write(zone: &dyn Zone, from: u64, count: u64) -> Self {
        let mut kept = Self(Vec::new());
        for number in from..from + count {
            let bytes = payload(number, 3_000);
            kept.0.push((chunk_id(number), put(zone, chunk_id(number), &bytes).await, bytes));
        }
        kept
    }

    async fn are_there(&self, zone: &dyn Zone) {
        for (id, locator, bytes) in &self.0 {
            expect(zone, locator, *id, bytes).await;
        }
    }
}

fn volume_of(locator: &Locator) -> u32 {
    Place::decode(locator).expect("a place").fid.volume
}

fn is_away<T: std::fmt::Debug>(answer: Result<T, ZoneError>) {
    match answer {
        Err(ZoneError::Away(_) | ZoneError::PlaceAway(_)) => {}
        other => panic!("it should be away, not: {other:?}"),
    }
}

fn copy(from: &Path, to: &Path) {
    let _ = std::fs::remove_dir_all(to);
    std::fs::create_dir_all(to).expect("a directory");
    for entry in std::fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("its type").is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("copying");
        }
    }
}

/// Looks until it is as it should be: a master learns of what happened by heartbeats.
async fn look_until(tried: &Tried, what: &str, is_so: impl Fn(&Looked) -> bool) -> Looked {
    let mut last = None;
    for _ in 0..600 {
        match tried.engine().look(true).await {
            Ok(looked) if is_so(&looked) => return looked,
            other => last = Some(other),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("it does not come to this: {what}: {last:?}");
}

fn is_well(looked: &Looked) -> bool {
    looked.stranger.is_none() && looked.missing.is_empty() && looked.unknown.is_empty()
}

/// D2, D3, H1: one of two servers is put back to an earlier state, and is written to as hard as can be from the moment that it is back, with no look in between.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the program weed: cargo xtask test --only seaweedfs"]
async fn a_server_that_was_put_back_takes_nothing_and_the_others_go_on() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut weed = Weed::start(directory.path(), &Plan { volume_servers: 2, ..Plan::default() });
    // So many volumes at once that both servers have some.
    let eager = Settings {
        assignment_age_max: Duration::from_millis(200),
        assign_count: 4,
        volume_growth_count: 12,
        volumes_in_use: 4,
        ..impatient()
    };
    let tried = Tried::looked_at_every(NEVER, Cluster::new(weed.masters()), eager).await;
    let zone = tried.zone();
    let mut first = Kept::write(&*zone, 0, 40).await;
    let on_first = weed.volume_server(0);
    let mut held: BTreeSet<u32> = BTreeSet::new();
    for round in 1..50 {
        let known = tried.kept.memory().volumes;
        held = known.iter().filter(|(_, known)| known.servers.contains(&on_first)).map(|(volume, _)| *volume).collect();
        if !held.is_empty() && held.len() < known.len() {
            break;
        }
        first.0.extend(Kept::write(&*zone, round * 1_000, 20).await.0);
    }
    weed.kill_volume_server(0);
    let earlier = directory.path().join("earlier");
    copy(&weed.volume_directory(0), &earlier);
    weed.start_volume_server(0);
    weed.wait_for_volume_servers();
    look_until(&tried, "all is there again", is_well).await;
    let mut later = Kept(Vec::new());
    let mut round = 100;
    while later.0.iter().filter(|(_, locator, _)| held.contains(&volume_of(locator))).count() < 5 {
        later.0.extend(Kept::write(&*zone, round * 1_000, 10).await.0);
        round += 1;
        assert!(round < 200, "nothing goes to {held:?} any more");
    }
    tried.engine().look(true).await.expect("looking");

    weed.kill_volume_server(0);
    copy(&earlier, &weed.volume_directory(0));
    weed.start_volume_server(0);
    let mut hard = Kept(Vec::new());
    let began = tokio::time::Instant::now();
    let mut number = 500_000;
    let mut listed_for = 0;
    // On for a while after the master names its volumes again.
    while listed_for < 40 {
        assert!(began.elapsed() < Duration::from_secs(120), "it does not come back");
        if let Ok(placed) = zone.write(WRITER, chunk_id(number), vec![payload(number, 3_000)]).await {
            hard.0.push((chunk_id(number), placed.locator, payload(number, 3_000)));
        }
        number += 1;
        listed_for += u32::from(weed.ask_master("/dir/status").contains(&on_first));
    }
    let taken: BTreeSet<u32> = hard.0.iter().map(|(_, locator, _)| volume_of(locator)).collect();
    // A volume that was taken up since the state that the server was put back to has none of its seals: it is missing, as if another had its number.
    let Looked { suspects, missing, .. } = look_until(&tried, "it is found out", |looked| !looked.suspects.is_empty()).await;
    assert!(suspects.is_subset(&held) && missing.is_disjoint(&held), "{suspects:?} and {missing:?} of {held:?}");
    assert!(
        taken.is_disjoint(&suspects) && taken.is_disjoint(&missing) && !hard.0.is_empty(),
        "{taken:?} were written to, and {suspects:?} had forgotten something"
    );
    assert_eq!(zone.suspects(), suspects);
    first.are_there(&*zone).await;
    hard.are_there(&*zone).await;
    let mut lost = Vec::new();
    for (id, locator, bytes) in &later.0 {
        match zone.suspect_of(locator) {
            None if missing.contains(&volume_of(locator)) => is_away(zone.read(locator, *id, 0, 10).await),
            None => expect(&*zone, locator, *id, bytes).await,
            Some(volume) => match zone.read(locator, *id, 0, 10).await {
                Ok(_) => {}
                Err(ZoneError::NotFound) => lost.push((volume, *id)),
                Err(error) => panic!("{error}"),
            },
        }
    }
    assert!(!lost.is_empty(), "what was lost is where it is looked for");
    for volume in &suspects {
        tried.engine().acquit(*volume).await.expect("what is lost was repaired elsewhere");
    }
    for volume in missing {
        tried.engine().give_up(volume).await.expect("giving up");
    }
    look_until(&tried, "all is well", |looked| is_well(looked) && looked.suspects.is_empty()).await;
    put(&*zone, chunk_id(1), &payload(1, 100)).await;
}

/// H2: another cluster, a fresh one, answers at all addresses of the first while writers go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the program weed: cargo xtask test --only seaweedfs"]
async fn a_fresh_cluster_at_the_same_addresses_takes_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut weed = Weed::start(directory.path(), &Plan::default());
    let tried = Tried::looked_at_every(NEVER, Cluster::new(weed.masters()), impatient()).await;
    let zone = tried.zone();
    let kept = Kept::write(&*zone, 0, 20).await;
    tried.engine().look(true).await.expect("looking");
    let places = [weed.master_directory(0), weed.volume_directory(0)];
    let aside = |number: usize| directory.path().join(format!("aside-{number}"));
    weed.kill_all();
    for (number, place) in places.iter().enumerate() {
        std::fs::rename(place, aside(number)).expect("moving aside");
        std::fs::create_dir_all(place).expect("a directory");
    }
    weed.start_all();
    // It makes volumes of our name, of the same numbers, as soon as it is asked for one.
    for number in 100..104 {
        is_away(zone.write(WRITER, chunk_id(number), vec![payload(number, 3_000)]).await);
    }
    let (id, locator, _) = &kept.0[0];
    is_away(zone.read(locator, *id, 0, 10).await);
    is_away(delete(&*zone, locator, *id).await);
    for _ in 0..3 {
        let looked = tried.engine().look(true).await.expect("looking");
        assert!(looked.stranger.is_some() && looked.suspects.is_empty(), "{looked:?}");
    }
    weed.kill_all();
    for (number, place) in places.iter().enumerate() {
        std::fs::remove_dir_all(place).expect("removing");
        std::fs::rename(aside(number), place).expect("moving back");
    }
    weed.start_all();
    look_until(&tried, "its own is back", is_well).await;
    kept.are_there(&*zone).await;
    put(&*zone, chunk_id(1), &payload(1, 100)).await;
}

/// H6: a volume is cut into shards by `ec.encode`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the program weed: cargo xtask test --only seaweedfs"]
async fn a_volume_that_was_cut_into_shards_is_read_and_nothing_else() {
    // In memory: `ec.encode` refuses a disk that is almost full, of which this test says nothing.
    let directory = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a directory");
    let weed = Weed::start(directory.path(), &Plan::default());
    let mut tried = Tried::looked_at_every(NEVER, Cluster::new(weed.masters()), impatient()).await;
    let zone = tried.zone();
    let kept = Kept::write(&*zone, 0, 20).await;
    let (gone, gone_at, _) = Kept::write(&*zone, 50, 1).await.0.remove(0);
    delete(&*zone, &gone_at, gone).await.expect("deleting");
    let cut = volume_of(&kept.0[0].1);
    let said = weed.shell(&[format!("ec.encode -volumeId={cut} -collection={} -force", tried.collection())]);
    let looked = look_until(&tried, &said, |looked| looked.unknown.get(&cut).is_some_and(|why| why.contains("shards"))).await;
    assert!(looked.missing.is_empty() && looked.suspects.is_empty(), "{looked:?}");
    for fresh in [false, true] {
        if fresh {
            tried.reopen().await;
        }
        let zone = tried.zone();
        kept.are_there(&*zone).await;
        for (id, locator, _) in kept.0.iter().filter(|(_, locator, _)| volume_of(locator) == cut).take(2) {
            is_away(delete(&*zone, locator, *id).await);
            let place = Place::decode(locator).expect("a place");
            let never = Place { fid: cairn_zone::seaweedfs::format::Fid { key: place.fid.key ^ 1 << 20, ..place.fid }, ..place };
            is_away(zone.read(&never.encode(), *id, 0, 10).await);
        }
        if volume_of(&gone_at) == cut {
            is_away(zone.read(&gone_at, gone, 0, 1).await);
        }
        is_away(zone.enumerate(SessionId(0), None, 10).await);
        put(&*zone, chunk_id(1_000), &payload(1_000, 100)).await;
    }
}

/// H8: a master without its state gives a volume's number again, in our own collection, while the server of the first one is off.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the program weed: cargo xtask test --only seaweedfs"]
async fn a_number_that_is_given_again_is_another_volume() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut weed = Weed::start(directory.path(), &Plan::default());
    let tried = Tried::looked_at_every(NEVER, Cluster::new(weed.masters()), impatient()).await;
    let zone = tried.zone();
    let kept = Kept::write(&*zone, 0, 12).await;
    let held: BTreeSet<u32> = kept.0.iter().map(|(_, locator, _)| volume_of(locator)).collect();
    // Off it goes, with all that the master knew; in its place comes an empty one at the same address, so that its first volumes have the same numbers.
    weed.kill_all();
    let aside = directory.path().join("aside");
    std::fs::rename(weed.volume_directory(0), &aside).expect("moving aside");
    for place in [weed.volume_directory(0), weed.master_directory(0)] {
        let _ = std::fs::remove_dir_all(&place);
        std::fs::create_dir_all(&place).expect("a directory");
    }
    weed.start_all();
    for turn in 0..10 {
        let said = weed.ask_master(&format!("/dir/assign?collection={}&writableVolumeCount=7", tried.collection()));
        assert!(turn < 9 || said.contains("fid"), "{said}");
        if said.contains("fid") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let looked = look_until(&tried, "it is there", |looked| looked.missing == held).await;
    assert!(looked.stranger.is_some() && looked.suspects.is_empty(), "{looked:?}");
    for (id, locator, _) in &kept.0 {
        is_away(zone.read(locator, *id, 0, 1).await);
        is_away(delete(&*zone, locator, *id).await);
    }
    is_away(zone.enumerate(SessionId(0), None, 10).await);
    is_away(zone.write(WRITER, chunk_id(100), vec![payload(100, 3_000)]).await);
    weed.kill_volume_server(0);
    std::fs::remove_dir_all(weed.volume_directory(0)).expect("removing");
    std::fs::rename(&aside, weed.volume_directory(0)).expect("moving back");
    weed.start_volume_server(0);
    weed.wait_for_volume_servers();
    look_until(&tried, "its own is back", is_well).await;
    kept.are_there(&*zone).await;
    put(&*zone, chunk_id(1), &payload(1, 100)).await;
}

/// M7: volumes whose chunks were all deleted are vacuumed and cleared of what is empty; what is remembered stays.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the program weed: cargo xtask test --only seaweedfs"]
async fn no_volume_that_is_remembered_is_ever_empty() {
    let directory = tempfile::tempdir().expect("a directory");
    let weed = Weed::start(directory.path(), &Plan::default());
    let tried = Tried::looked_at_every(NEVER, Cluster::new(weed.masters()), impatient()).await;
    let zone = tried.zone();
    for (id, locator, _) in Kept::write(&*zone, 0, 30).await.0 {
        delete(&*zone, &locator, id).await.expect("deleting");
    }
    for _ in 0..3 {
        let said = weed.shell(&[
            format!("volume.vacuum -garbageThreshold=0.0001 -collection={}", tried.collection()),
            "volume.deleteEmpty -quietFor=0s -apply".to_owned(),
        ]);
        let looked = tried.engine().look(true).await.expect("looking");
        assert!(is_well(&looked) && looked.suspects.is_empty(), "{looked:?}: {said}");
    }
    assert_eq!(zone.usage().await.expect("usage").chunks, 0);
    let listed = zone.enumerate(SessionId(0), None, 10).await.expect("listing");
    assert!(listed.found.is_empty() && listed.next.is_none());
    put(&*zone, chunk_id(1), &payload(1, 100)).await;
}
