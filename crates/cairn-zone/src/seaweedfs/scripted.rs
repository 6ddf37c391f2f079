//! The engine against a SeaweedFS that does what a test tells it to: answers that real processes give only at a bad moment.

mod fake;
mod gateways;
mod looks;

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cairn_disk::Environment;
use cairn_types::{BlobId, ChunkId, Incarnation, SessionId, StoreId, ZoneIndex};
use futures::future::{BoxFuture, FutureExt as _, join_all};
use parking_lot::Mutex;

use super::format::{Fid, Head, Place};
use super::memory::{ClusterMemory, Memory};
use super::settings::{Cluster, IndexSync, Settings};
use super::{Opening, SeaweedZone};
use crate::{Zone, ZoneError};
use fake::{Fake, FakeVolume, Needle, Put};

fn id(counter: u64) -> ChunkId {
    ChunkId { blob: BlobId { session: SessionId(7), counter }, ordinal: 0 }
}

/// A record in this process, for all zones that are opened with it.
#[derive(Clone, Default)]
struct Kept(Arc<KeptState>);

#[derive(Default)]
struct KeptState {
    record: Mutex<Option<(u64, Bytes)>>,
    /// Why nothing can be saved or loaded now.
    away: Mutex<Option<&'static str>>,
    /// What else is done when something is saved.
    saved: Mutex<Option<OnSaved>>,
}

/// Is told the revision and the record.
type OnSaved = Box<dyn Fn(u64, &Memory) + Send>;

impl Kept {
    fn memory(&self) -> Memory {
        let record = self.0.record.lock().clone().expect("something is remembered").1;
        Memory::decode(&record).expect("a memory")
    }

    fn revision(&self) -> u64 {
        self.0.record.lock().as_ref().map_or(0, |(revision, _)| *revision)
    }

    fn away(&self, why: Option<&'static str>) {
        *self.0.away.lock() = why;
    }

    fn check(&self) -> Result<(), String> {
        self.0.away.lock().map_or(Ok(()), |why| Err(why.to_owned()))
    }
}

impl ClusterMemory for Kept {
    fn load(&self) -> BoxFuture<'_, Result<Option<(u64, Bytes)>, String>> {
        async { self.check().map(|()| self.0.record.lock().clone()) }.boxed()
    }

    fn save(&self, revision: u64, record: Bytes) -> BoxFuture<'_, Result<bool, String>> {
        async move {
            self.check()?;
            // Others come in between.
            tokio::task::yield_now().await;
            let mut known = self.0.record.lock();
            if known.as_ref().map_or(0, |(revision, _)| *revision) != revision {
                return Ok(false);
            }
            if let Some(saved) = &*self.0.saved.lock() {
                saved(revision + 1, &Memory::decode(&record).expect("a memory"));
            }
            *known = Some((revision + 1, record));
            Ok(true)
        }
        .boxed()
    }
}

async fn open(fake: &Fake, settings: Settings) -> SeaweedZone {
    open_with(fake, settings, &Kept::default()).await
}

/// Opens a zone and looks at its cluster once; the log begins after that.
async fn open_with(fake: &Fake, settings: Settings, kept: &Kept) -> SeaweedZone {
    let zone = opened(fake, settings, kept).await.expect("opening");
    let looked = zone.look(true).await.expect("looking");
    assert_eq!(looked.stranger, None);
    fake.forget_log();
    zone
}

async fn opened(fake: &Fake, settings: Settings, kept: &Kept) -> Result<SeaweedZone, ZoneError> {
    let opening = Opening {
        environment: Environment::real(),
        cluster: Cluster::new(vec![fake.grpc.clone()]),
        store: StoreId(1),
        zone: ZoneIndex(0),
        incarnation: Incarnation(1),
        memory: Arc::new(kept.clone()),
        settings: Settings { avoid_for: Duration::ZERO, volumes_in_use: 1, ..settings },
    };
    SeaweedZone::open(opening).await
}

/// Gives up soon: what is refused in these tests stays refused.
fn impatient() -> Settings {
    let short = Duration::from_millis(600);
    Settings { write_timeout: short, request_timeout: Duration::from_millis(300), assign_timeout: short, ..Settings::default() }
}

/// Has masters name this volume from now on.
fn assign(fake: &Fake, zones: &[&SeaweedZone], volume: u32) {
    fake.assign(volume);
    for zone in zones {
        (0..100).for_each(|known| zone.core.assignments.avoid_volume(known));
    }
}

async fn write(zone: &SeaweedZone, counter: u64) -> Result<crate::Placed, ZoneError> {
    zone.write(SessionId(9), id(counter), vec![Bytes::from_static(b"some bytes")]).await
}

/// Waits for something that a task of the engine does by itself.
async fn until(mut done: impl FnMut() -> bool) {
    for _ in 0..2_000 {
        if done() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("it never came to that");
}

/// Trap 2: an attempt that failed, in whatever way, is never repeated under its name, because SeaweedFS might call it unchanged; and what it
/// may have left is deleted.
#[tokio::test]
async fn each_attempt_has_a_name_of_its_own() {
    let fake = Fake::start().await;
    let zone = open(&fake, Settings { request_timeout: Duration::from_millis(300), ..Settings::default() }).await;
    let bad = [
        Put::WrongSum,
        Put::Refused("volume 3 is read only"),
        Put::Unchanged,
        Put::Cut,
        Put::Hang,
        Put::Refused("mismatching cookie 1"),
    ];
    fake.puts(&bad);
    write(&zone, 1).await.expect("the attempt after the bad ones");
    let puts = fake.logged("put ");
    assert_eq!(puts.len(), bad.len() + 1);
    assert_eq!(puts.iter().collect::<BTreeSet<_>>().len(), puts.len(), "{puts:?}");
    let deleted = || fake.logged("delete ").into_iter().collect::<BTreeSet<String>>();
    until(|| deleted().len() >= bad.len()).await;
    assert_eq!(deleted(), puts[..bad.len()].iter().cloned().collect(), "all that failed, and not the one that was confirmed");
}

/// Trap 1: a write is confirmed after the index was synced, a deletion after both files were.
#[tokio::test]
async fn nothing_is_confirmed_before_it_is_synced() {
    let fake = Fake::start().await;
    let zone = open(&fake, Settings::default()).await;
    let gate = fake.hold_syncs();
    let placed = {
        let mut writing = pin!(write(&zone, 1));
        tokio::select! {
            answer = &mut writing => panic!("confirmed without a sync: {answer:?}"),
            () = fake.sync_asked() => {}
        }
        assert_eq!(fake.logged("put ").len(), 1);
        gate.add_permits(1);
        writing.await.expect("writing")
    };
    let chunks = [(placed.locator, id(1))];
    let mut deleting = pin!(zone.delete(&chunks));
    tokio::select! {
        answer = &mut deleting => panic!("confirmed without a sync: {answer:?}"),
        () = fake.sync_asked() => {}
    }
    assert_eq!(fake.logged("delete ").len(), 1, "the sync comes after the deletion");
    gate.add_permits(1);
    assert!(deleting.await.remove(0).is_ok());
}

/// Trap 1: a sync that was not answered confirms nothing.
#[tokio::test]
async fn a_sync_that_failed_confirms_nothing() {
    let fake = Fake::start().await;
    let zone = open(&fake, Settings::default()).await;
    fake.fail_syncs(1);
    let placed = write(&zone, 1).await.expect("the second attempt");
    assert_eq!(fake.logged("put ").len(), 2, "under another name");
    fake.fail_syncs(2);
    let answer = zone.delete(&[(placed.locator.clone(), id(1))]).await.remove(0);
    assert!(matches!(answer, Err(ZoneError::Away(_))), "{answer:?}");
    assert!(zone.delete(&[(placed.locator, id(1))]).await.remove(0).is_ok(), "and can be repeated");
}

/// Writes that come while a sync runs share the next one.
#[tokio::test]
async fn syncs_are_shared() {
    let fake = Fake::start().await;
    let zone = open(&fake, Settings::default()).await;
    let gate = fake.hold_syncs();
    let writing = join_all((0..20).map(|counter| write(&zone, counter)));
    let releasing = async {
        until(|| fake.logged("put ").len() == 20).await;
        gate.add_permits(100);
    };
    let (written, ()) = futures::join!(writing, releasing);
    assert!(written.iter().all(Result::is_ok));
    let syncs = fake.logged("sync ").len();
    assert!((1..=3).contains(&syncs), "{syncs} syncs for 20 writes of which 19 waited for the first");
}

/// A sync that had begun before a write landed says nothing of it.
#[tokio::test]
async fn a_write_waits_for_a_sync_that_began_after_it() {
    let fake = Fake::start().await;
    let zone = open(&fake, Settings::default()).await;
    let gate = fake.hold_syncs();
    let mut first = pin!(write(&zone, 1));
    tokio::select! {
        answer = &mut first => panic!("confirmed without a sync: {answer:?}"),
        () = fake.sync_asked() => {}
    }
    let mut second = pin!(write(&zone, 2));
    tokio::select! {
        answer = &mut second => panic!("confirmed by a sync that was under way: {answer:?}"),
        () = until(|| fake.logged("put ").len() == 2) => {}
    }
    gate.add_permits(1);
    let (written, ()) = futures::join!(&mut first, async {
        tokio::select! {
            answer = &mut second => panic!("confirmed by a sync that was under way: {answer:?}"),
            () = fake.sync_asked() => {}
        }
    });
    written.expect("the first");
    gate.add_permits(1);
    second.await.expect("the second");
}

/// Where the index may be synced later it is, though nobody waits for it.
#[tokio::test]
async fn an_index_that_may_wait_is_synced_all_the_same() {
    let fake = Fake::start().await;
    let zone = open(&fake, Settings { index_sync: IndexSync::Within(Duration::from_millis(20)), ..Settings::default() }).await;
    let gate = fake.hold_syncs();
    write(&zone, 1).await.expect("it waits for no sync");
    gate.add_permits(10);
    until(|| fake.logged("sync ").len() == 1).await;
    write(&zone, 2).await.expect("writing");
    until(|| fake.logged("sync ").len() == 2).await;
}

/// Trap 9: that a chunk is gone is believed only of a server that has its volume.
#[tokio::test]
async fn a_server_without_the_volume_knows_nothing_of_the_chunk() {
    let fake = Fake::start().await;
    let zone = open(&fake, Settings::default()).await;
    let placed = write(&zone, 1).await.expect("writing");
    let whole = fake.snapshot();
    fake.change(FakeVolume::lose_chunks);
    assert!(matches!(zone.read(&placed.locator, id(1), 0, 4).await, Err(ZoneError::NotFound)), "its volume is there");
    assert!(zone.delete(&[(placed.locator.clone(), id(1))]).await.remove(0).is_ok());
    fake.change(|volume| volume.lost = true);
    let answer = zone.read(&placed.locator, id(1), 0, 4).await;
    assert!(matches!(answer, Err(ZoneError::Away(_))), "{answer:?}");
    let answer = zone.delete(&[(placed.locator.clone(), id(1))]).await.remove(0);
    assert!(matches!(answer, Err(ZoneError::Away(_))), "{answer:?}");
    fake.restore(whole);
    fake.deletions(404, "volume 3 not found");
    let answer = zone.delete(&[(placed.locator.clone(), id(1))]).await.remove(0);
    assert!(matches!(answer, Err(ZoneError::Away(_))), "{answer:?}");
    fake.deletions(404, "already deleted");
    assert!(zone.delete(&[(placed.locator, id(1))]).await.remove(0).is_ok());
}

/// Trap 4: a listing without a volume that held something is no listing.
#[tokio::test]
async fn a_volume_that_vanished_is_missed() {
    let fake = Fake::start().await;
    let zone = open(&fake, Settings::default()).await;
    write(&zone, 1).await.expect("writing");
    fake.change(|volume| volume.unlisted = true);
    let answer = zone.enumerate(SessionId(0), None, 10).await;
    assert!(matches!(answer, Err(ZoneError::Away(_))), "{answer:?}");
    assert!(zone.usage().await.is_err());
}

/// A volume server that fails says nothing of why: that a chunk is damaged is believed only while the server reads others.
#[tokio::test]
async fn damage_is_believed_only_twice_and_of_a_server_that_reads() {
    let fake = Fake::start().await;
    let zone = open(&fake, Settings::default()).await;
    let placed = write(&zone, 1).await.expect("writing");
    fake.fail_reads(1);
    assert_eq!(zone.read(&placed.locator, id(1), 0, 4).await.expect("the second time"), Bytes::from_static(b"some"));
    fake.fail_reads(2);
    let answer = zone.read(&placed.locator, id(1), 0, 4).await;
    assert!(matches!(answer, Err(ZoneError::Damaged(_))), "{answer:?}");
    fake.fail_reads(100);
    fake.change(|volume| volume.closed = true);
    let answer = zone.read(&placed.locator, id(1), 0, 4).await;
    assert!(matches!(answer, Err(ZoneError::Away(_))), "no file handles, or a volume that is being closed: {answer:?}");
}

fn needle(counter: u64, offset: u64) -> Needle {
    let head =
        Head { store: StoreId(1), zone: ZoneIndex(0), incarnation: Incarnation(1), session: SessionId(9), id: id(counter) };
    Needle { key: super::format::key(SessionId(9), counter), offset, listed_offset: None, head: head.encode() }
}

/// Trap 11: the volume is vacuumed between two pages of a walk, so that another needle stands where one was.
#[tokio::test]
async fn a_walk_goes_on_over_a_vacuum() {
    let fake = Fake::start().await;
    let zone = open(&fake, Settings::default()).await;
    write(&zone, 100).await.expect("so that the volume is listed");
    fake.hold((1..=4).map(|counter| needle(counter, counter * 800)).collect());
    let mut page = zone.enumerate(SessionId(0), None, 2).await.expect("listing");
    let mut seen: Vec<_> = page.found.iter().map(|found| found.id).collect();
    assert_eq!(seen, [id(1), id(2)]);
    // What was at 3 and 4 is at 2 and 3 now.
    fake.hold((2..=4).map(|counter| needle(counter, (counter - 1) * 800)).collect());
    fake.change(|volume| volume.revision += 1);
    while let Some(next) = page.next {
        page = zone.enumerate(SessionId(0), Some(next), 2).await.expect("listing on");
        seen.extend(page.found.iter().map(|found| found.id));
    }
    assert_eq!(seen, (1..=4).map(id).collect::<Vec<_>>());
    assert_eq!(fake.logged("index").len(), 2, "once for the walk, and once more for the vacuum");
}

/// Needles of others in our collection, and damaged heads, are passed over; sessions that were not asked for are not even looked at.
#[tokio::test]
async fn a_walk_lists_what_is_ours_and_was_asked_for() {
    let fake = Fake::start().await;
    let zone = open(&fake, Settings::default()).await;
    write(&zone, 100).await.expect("so that the volume is listed");
    let theirs = Needle { head: Bytes::from(vec![7; 64]), ..needle(2, 1_600) };
    let earlier = Needle { key: super::format::key(SessionId(8), 1), ..needle(3, 2_400) };
    fake.hold(vec![needle(1, 800), theirs, earlier]);
    let page = zone.enumerate(SessionId(9), None, 10).await.expect("listing");
    assert_eq!(page.found.iter().map(|found| found.id).collect::<Vec<_>>(), [id(1)]);
    assert_eq!(page.found[0].length, 100);
    assert!(page.next.is_none());
}

/// A needle that cannot be read does not keep all others from being listed: what stays wrong though nothing was vacuumed is passed over, and counted.
#[tokio::test]
async fn a_walk_passes_over_what_stays_unreadable() {
    let fake = Fake::start().await;
    let zone = open(&fake, Settings::default()).await;
    write(&zone, 100).await.expect("so that the volume is listed");
    // The index leads to 4 where 2 stands, and for 3 past the end of the file.
    let past = Needle { listed_offset: Some(80_000), ..needle(3, 2_400) };
    let wrong = Needle { listed_offset: Some(800), ..needle(2, 1_600) };
    fake.hold(vec![needle(1, 800), wrong, past, needle(4, 3_200)]);
    let page = zone.enumerate(SessionId(0), None, 10).await.expect("listing");
    assert_eq!(page.found.iter().map(|found| found.id).collect::<Vec<_>>(), [id(1), id(4)]);
    assert_eq!((zone.damaged_needles(), fake.logged("index").len()), (2, 2), "after the index was fetched once more");
}

/// SeaweedFS reads a needle before it deletes it, so one that it cannot read is deleted by what stands at its offset; never another one (B7).
#[tokio::test]
async fn what_cannot_be_read_can_be_deleted() {
    let fake = Fake::start().await;
    let zone = open(&fake, Settings::default()).await;
    let placed = write(&zone, 1).await.expect("writing");
    let Place { fid, .. } = Place::decode(&placed.locator).expect("a place");
    fake.damage(fid.key);
    let other = Place { fid: Fid { cookie: fid.cookie ^ 1, ..fid }, ..Place::decode(&placed.locator).expect("a place") };
    assert!(zone.delete(&[(other.encode(), id(1))]).await.remove(0).is_err(), "another needle's cookie");
    assert!(zone.read(&placed.locator, id(1), 0, 4).await.is_ok(), "it is there still");
    zone.delete(&[(placed.locator.clone(), id(1))]).await.remove(0).expect("deleting");
    assert!(matches!(zone.read(&placed.locator, id(1), 0, 4).await, Err(ZoneError::NotFound)));
}
