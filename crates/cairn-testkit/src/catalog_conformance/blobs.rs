//! Sessions, zones and blobs (rules B2 to B5, S1, S2).

use std::time::Duration;

use cairn_catalog::{
    AddLocators, AddLocatorsBatch, AddOutcome, AdvanceRebuild, CatalogError, ChunkPlace, ClearLocators, ClearLocatorsBatch,
    CloseSilentSessions, ConfirmDeletions, ListBlobs, ListCondemned, ListIncomplete, MoveLocator, MoveLocatorsBatch, NewBlob,
    NewContent, OpenSession, RetireIncarnation,
};
use cairn_types::records::{Replica, ZoneSet};
use cairn_types::{BlobId, ChunkId, Incarnation, SessionId, ZoneIndex};

use super::{World, expect_error, expect_refused, replica};

const ZONE_A: ZoneIndex = ZoneIndex(0);
const ZONE_B: ZoneIndex = ZoneIndex(1);
const ZONE_C: ZoneIndex = ZoneIndex(2);

fn zones(zones: &[ZoneIndex]) -> ZoneSet {
    zones.iter().copied().collect()
}

async fn commit(world: &World<'_>, name: &str, blob: NewBlob) -> Result<BlobId, CatalogError> {
    let id = blob.id;
    world.catalog.put_version(world.put_request(name, 1, NewContent::Blobs(vec![blob]))).await.map(|_| id)
}

async fn incomplete(world: &World<'_>, zones: ZoneSet) -> Vec<BlobId> {
    let mut found = Vec::new();
    let mut from = None;
    loop {
        let page = world.catalog.incomplete_blobs(ListIncomplete { zones, from, limit: 2 }).await.unwrap();
        found.extend(page.blobs.iter().map(|(id, _)| *id));
        match page.next {
            Some(next) => from = Some(next),
            None => return found,
        }
    }
}

async fn condemned(world: &World<'_>, zones: ZoneSet) -> Vec<BlobId> {
    let mut found = Vec::new();
    let mut from = None;
    loop {
        let page = world.catalog.condemned_blobs(ListCondemned { zones, from, limit: 2 }).await.unwrap();
        found.extend(page.blobs.iter().map(|(id, _)| *id));
        match page.next {
            Some(next) => from = Some(next),
            None => return found,
        }
    }
}

fn addition(blob: BlobId, zone: ZoneIndex, places: &[(u32, Replica)]) -> AddLocators {
    AddLocators { blob, zone, places: places.to_vec() }
}

async fn add(world: &World<'_>, session: SessionId, addition: AddLocators) -> Result<AddOutcome, CatalogError> {
    let batch = AddLocatorsBatch { session, additions: vec![addition] };
    world.catalog.add_locators(batch).await.map(|outcomes| outcomes[0])
}

/// A closed session commits nothing more, of any kind (S2).
pub async fn refuses_closed_sessions(world: &World<'_>) {
    let upload = super::uploads::create(world, "u").await;
    let written = world.put("a", 1, "x").await;
    let blob = commit(world, "b", world.blob(&[1], &[0, 1])).await.unwrap();
    let other = world.catalog.open_session(OpenSession { gateway: "other".to_owned() }).await.unwrap();
    assert!(other > world.session);
    assert_eq!(world.catalog.heartbeat_session(world.session).await, Ok(true));
    world.catalog.close_session(world.session).await.unwrap();
    world.catalog.close_session(world.session).await.unwrap();
    assert_eq!(world.catalog.heartbeat_session(world.session).await, Ok(false));
    let view = world.catalog.sessions().await.unwrap();
    assert_eq!(view.newest, other);
    assert_eq!(view.open.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [other]);
    assert!(view.is_closed(world.session) && !view.is_closed(other) && !view.is_closed(SessionId(other.0 + 1)));

    let closed = CatalogError::SessionClosed;
    expect_error(commit(world, "c", world.blob(&[1], &[0, 1, 2])).await, &closed);
    let content = NewContent::Blobs(vec![world.blob(&[1], &[0, 1, 2])]);
    expect_error(super::uploads::put_part(world, &upload, 1, content).await, &closed);
    let place = replica(1, "late");
    expect_error(add(world, world.session, addition(blob, ZONE_C, &[(0, place)])).await, &closed);
    let copy = cairn_catalog::CopyVersion {
        session: world.session,
        source: world.source("a", &written),
        bucket: world.bucket,
        key: super::key("d"),
        attributes: super::attributes(1),
        condition: cairn_catalog::WriteCondition::None,
    };
    expect_error(world.catalog.copy_version(copy).await, &closed);
    // A session that was never opened is not open either.
    let never = World { session: SessionId(other.0 + 1), ..world.in_bucket(world.bucket) };
    expect_error(commit(&never, "c", never.blob(&[1], &[0, 1, 2])).await, &closed);
    assert_eq!(world.object_names("", None).await, ["a", "b"]);
}

/// Sessions that are not heard of are closed; the answer tells who is left (S2).
pub async fn closes_silent_sessions(world: &World<'_>) {
    let minute = Duration::from_secs(60);
    let second = world.catalog.open_session(OpenSession { gateway: "second".to_owned() }).await.unwrap();
    world.subject.pass(minute).await;
    assert_eq!(world.catalog.heartbeat_session(second).await, Ok(true));
    world.subject.pass(minute / 2).await;
    let view = world.catalog.close_silent_sessions(CloseSilentSessions { silent_for: minute }).await.unwrap();
    assert_eq!(view.open.iter().map(|(id, record)| (*id, record.gateway.as_str())).collect::<Vec<_>>(), [(second, "second")]);
    assert!(view.is_closed(world.session));
    let all = world.catalog.close_silent_sessions(CloseSilentSessions { silent_for: Duration::ZERO }).await;
    let view = if world.catalog.is_shared() {
        // They are other processes', for all that anybody knows (L10).
        assert!(matches!(all, Err(CatalogError::Refused(_))), "{all:?}");
        world.subject.pass(minute).await;
        world.catalog.close_silent_sessions(CloseSilentSessions { silent_for: minute }).await.unwrap()
    } else {
        all.unwrap()
    };
    assert_eq!((view.open.len(), view.newest), (0, second));
    // Ids are never given again.
    let third = world.catalog.open_session(OpenSession { gateway: "third".to_owned() }).await.unwrap();
    assert!(third > second);
}

/// A commit counts what zones have confirmed in their present lives, chunk by chunk (B3).
pub async fn counts_only_current_incarnations(world: &World<'_>) {
    let lost = |blob: &NewBlob| CatalogError::QuorumLost(blob.id);
    let one = world.blob(&[1], &[1]);
    expect_error(commit(world, "a", one.clone()).await, &lost(&one));
    // Each chunk needs two zones, and not always the same.
    let mut spread = world.blob(&[1, 1], &[0, 1, 2]);
    spread.content.chunks[0].replicas[0] = None;
    spread.content.chunks[1].replicas[2] = None;
    let id = commit(world, "spread", spread).await.unwrap();
    assert_eq!(incomplete(world, ZoneSet::ALL).await, [id]);
    let mut thin = world.blob(&[1, 1], &[0, 1, 2]);
    thin.content.chunks[1].replicas = [None, None, thin.content.chunks[1].replicas[2].clone()];
    expect_error(commit(world, "a", thin.clone()).await, &lost(&thin));
    // One of the two answers is of a life that is over, or of one that the catalog does not know yet.
    for incarnation in [0, 2] {
        let mut odd = world.blob(&[1], &[0, 1]);
        odd.content.chunks[0].replicas[1] = Some(replica(incarnation, "x"));
        expect_error(commit(world, "a", odd.clone()).await, &lost(&odd));
    }
    world.subject.retire(ZONE_B).await.unwrap();
    let late = world.blob(&[1], &[0, 1]);
    expect_error(commit(world, "a", late.clone()).await, &lost(&late));
    let mut good = world.blob(&[1], &[0, 1, 2]);
    let id = commit(world, "good", good.clone()).await.unwrap();
    let found = world.catalog.blobs(vec![id]).await.unwrap().remove(0).unwrap().1;
    // The place in the old life is not written down.
    good.content.chunks[0].replicas[1] = None;
    assert_eq!(found.content, good.content);
    assert_eq!(world.object_names("", None).await, ["good", "spread"]);
}

/// Blobs that cannot be are refused whole.
pub async fn refuses_impossible_blobs(world: &World<'_>) {
    let mut other_session = world.blob(&[1], &[0, 1]);
    other_session.id.session = SessionId(world.session.0 + 1);
    expect_refused(commit(world, "a", other_session).await);
    expect_refused(commit(world, "a", world.blob(&[], &[0, 1])).await);
    expect_refused(commit(world, "a", world.blob(&[1, 0], &[0, 1])).await);
    let chunks = world.catalog.limits().blob_chunks_max + 1;
    expect_refused(commit(world, "a", world.blob(&vec![1; chunks], &[0, 1])).await);
    let blob = world.blob(&[1], &[0, 1]);
    commit(world, "a", blob.clone()).await.unwrap();
    // Once and never again, also not twice in one body. Not refused: whoever is refused discards his chunks, and these are named.
    expect_unknown(commit(world, "b", blob).await);
    let twice = world.blob(&[1], &[0, 1]);
    let content = NewContent::Blobs(vec![twice.clone(), twice]);
    expect_unknown(world.catalog.put_version(world.put_request("b", 1, content)).await);
    assert_eq!(world.object_names("", None).await, ["a"]);
}

#[track_caller]
fn expect_unknown<T: std::fmt::Debug>(result: cairn_catalog::CatalogResult<T>) {
    match result {
        Err(CatalogError::OutcomeUnknown(_)) => {}
        other => panic!("unknown, not {other:?}"),
    }
}

/// A blob that lacks a zone stands in the index from its commit on (design, invariant 5), under the zones that it lacks.
pub async fn writes_down_what_is_missing(world: &World<'_>) {
    let whole = commit(world, "whole", world.blob(&[1], &[0, 1, 2])).await.unwrap();
    let mut without_c = Vec::new();
    for number in 0..3 {
        without_c.push(commit(world, &format!("c{number}"), world.blob(&[1, 1], &[0, 1])).await.unwrap());
    }
    let without_a = commit(world, "a", world.blob(&[1], &[1, 2])).await.unwrap();
    assert_eq!(incomplete(world, zones(&[ZONE_C])).await, without_c);
    assert_eq!(incomplete(world, zones(&[ZONE_A, ZONE_B])).await, [without_a]);
    assert_eq!(incomplete(world, zones(&[ZONE_B])).await, []);
    assert_eq!(incomplete(world, ZoneSet::ALL).await.len(), 4);
    // What is condemned is not repaired.
    world.delete("a", None).await.unwrap();
    assert_eq!(incomplete(world, zones(&[ZONE_A])).await, []);
    let all = world.catalog.blob_page(ListBlobs { after: None, limit: 100 }).await.unwrap();
    assert_eq!(all.blobs.len(), 4);
    assert_eq!(all.blobs[0].0, whole);
    let mut paged = Vec::new();
    let mut after = None;
    loop {
        let page = world.catalog.blob_page(ListBlobs { after, limit: 2 }).await.unwrap();
        paged.extend(page.blobs);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(paged, all.blobs);
}

/// Of two copies of one chunk in one zone one is named; the other's copier is told to delete its own (B4).
pub async fn adds_locators_once(world: &World<'_>) {
    let id = commit(world, "a", world.blob(&[1, 1], &[0, 1])).await.unwrap();
    let session = world.catalog.open_session(OpenSession { gateway: "repair".to_owned() }).await.unwrap();
    let (first, second) = (replica(1, "first"), replica(1, "second"));
    // All of a request's places or none.
    let partly_wrong = addition(id, ZONE_C, &[(0, first.clone()), (7, first.clone())]);
    assert_eq!(add(world, session, partly_wrong).await, Ok(AddOutcome::Refused));
    let stale = addition(id, ZONE_C, &[(0, replica(9, "x"))]);
    assert_eq!(add(world, session, stale).await, Ok(AddOutcome::Refused));
    assert_eq!(add(world, session, addition(id, ZONE_C, &[(0, first.clone())])).await, Ok(AddOutcome::Added));
    assert_eq!(incomplete(world, ZoneSet::ALL).await, [id]);
    assert_eq!(add(world, session, addition(id, ZONE_C, &[(0, second.clone())])).await, Ok(AddOutcome::Refused));
    // An answer that was lost can be asked for again.
    let both = addition(id, ZONE_C, &[(0, first), (1, second.clone())]);
    assert_eq!(add(world, session, both.clone()).await, Ok(AddOutcome::Added));
    assert_eq!(add(world, session, both).await, Ok(AddOutcome::Added));
    assert_eq!(incomplete(world, ZoneSet::ALL).await, []);
    assert_eq!(add(world, session, addition(id, ZONE_A, &[(0, second.clone())])).await, Ok(AddOutcome::Refused));
    // Unknown and condemned blobs take no more copies.
    let unknown = BlobId { session, counter: 77 };
    assert_eq!(add(world, session, addition(unknown, ZONE_C, &[(0, second.clone())])).await, Ok(AddOutcome::Refused));
    let dying = commit(world, "b", world.blob(&[1], &[0, 1])).await.unwrap();
    world.delete("b", None).await.unwrap();
    assert_eq!(add(world, session, addition(dying, ZONE_C, &[(0, second)])).await, Ok(AddOutcome::Refused));
    assert_eq!(incomplete(world, ZoneSet::ALL).await, []);
}

/// A damaged place is taken off when it is still the one that is named, and never the last of its chunk.
pub async fn takes_damaged_places_off_but_never_the_last(world: &World<'_>) {
    let blob = world.blob(&[1, 1], &[0, 1, 2]);
    let place = |ordinal: usize, zone: usize| blob.content.chunks[ordinal].replicas[zone].clone().unwrap();
    let id = commit(world, "a", blob.clone()).await.unwrap();
    let clear = async |zone: ZoneIndex, places: &[(u32, Replica)]| {
        let clearances = vec![ClearLocators { blob: id, zone, places: places.to_vec() }];
        world.catalog.clear_locators(ClearLocatorsBatch { clearances }).await.unwrap()[0]
    };
    assert!(!clear(ZONE_A, &[(0, replica(1, "other"))]).await);
    assert!(!clear(ZONE_A, &[(0, place(0, 1))]).await);
    assert_eq!(incomplete(world, ZoneSet::ALL).await, []);
    assert!(clear(ZONE_A, &[(0, place(0, 0))]).await);
    assert_eq!(incomplete(world, zones(&[ZONE_A])).await, [id]);
    assert!(!clear(ZONE_A, &[(0, place(0, 0))]).await);
    assert!(clear(ZONE_B, &[(0, place(0, 1)), (1, place(1, 1))]).await);
    assert_eq!(incomplete(world, zones(&[ZONE_B])).await, [id]);
    // Of chunk 0 only zone 2 is left: all of the request is passed over.
    assert!(!clear(ZONE_C, &[(1, place(1, 2)), (0, place(0, 2))]).await);
    let found = world.catalog.blobs(vec![id]).await.unwrap().remove(0).unwrap().1;
    assert_eq!(found.content.chunks[0].replicas[2], Some(place(0, 2)));
    assert_eq!(found.content.chunks[1].replicas[2], Some(place(1, 2)));
    // And comes back by a new copy.
    let again = addition(id, ZONE_A, &[(0, replica(1, "repaired"))]);
    assert_eq!(add(world, world.session, again).await, Ok(AddOutcome::Added));
}

/// A move names the new place in the stead of the very one that it was made from, under an open session, in the zone's present life; else nothing
/// changes (B2, B4, S2).
pub async fn moves_places_within_a_zone(world: &World<'_>) {
    let blob = world.blob(&[1, 1], &[0, 1]);
    let old = blob.content.chunks[1].replicas[0].clone().unwrap();
    let id = commit(world, "a", blob.clone()).await.unwrap();
    let session = world.catalog.open_session(OpenSession { gateway: "mover".to_owned() }).await.unwrap();
    let chunk = ChunkId { blob: id, ordinal: 1 };
    let step = async |session: SessionId, chunk: ChunkId, zone: ZoneIndex, from: &Replica, to: &Replica| {
        let moves = vec![MoveLocator { chunk, zone, from: from.clone(), to: to.clone() }];
        world.catalog.move_locators(MoveLocatorsBatch { session, moves }).await.map(|answers| answers[0])
    };
    let (new, newer) = (replica(1, "moved"), replica(1, "moved again"));
    for (chunk, zone, from, to) in [
        (chunk, ZONE_A, &replica(1, "another"), &new),
        (ChunkId { ordinal: 7, ..chunk }, ZONE_A, &old, &new),
        (ChunkId { blob: BlobId { session, counter: 77 }, ordinal: 1 }, ZONE_A, &old, &new),
        // Nothing is there to be moved: that would be an addition.
        (chunk, ZONE_C, &old, &new),
        (chunk, ZONE_A, &old, &replica(9, "of another life")),
    ] {
        assert_eq!(step(session, chunk, zone, from, to).await, Ok(false), "{chunk:?} {zone} {from:?} {to:?}");
    }
    let found = async || world.catalog.blobs(vec![id]).await.unwrap().remove(0).unwrap().1.content;
    assert_eq!(found().await, blob.content, "nothing has changed");
    assert_eq!(step(session, chunk, ZONE_A, &old, &new).await, Ok(true));
    // An answer that was lost can be asked for again, and what was moved on since is not taken back.
    assert_eq!(step(session, chunk, ZONE_A, &old, &new).await, Ok(true));
    assert_eq!(step(session, chunk, ZONE_A, &new, &newer).await, Ok(true));
    assert_eq!(step(session, chunk, ZONE_A, &old, &new).await, Ok(false));
    let mut expected = blob.content.clone();
    expected.chunks[1].replicas[0] = Some(newer.clone());
    assert_eq!(found().await, expected);
    assert_eq!(incomplete(world, zones(&[ZONE_A, ZONE_B])).await, []);
    assert_eq!(incomplete(world, zones(&[ZONE_C])).await, [id], "the index says what it said");
    // A closed session moves nothing, and nothing of a condemned blob is moved.
    world.catalog.close_session(session).await.unwrap();
    expect_error(step(session, chunk, ZONE_A, &newer, &new).await, &CatalogError::SessionClosed);
    world.delete("a", None).await.unwrap();
    assert_eq!(step(world.session, chunk, ZONE_A, &newer, &new).await, Ok(false));
    assert_eq!(found().await, expected);
}

/// A blob without references waits for its grace, then for every zone's confirmation, then is forgotten (B5).
pub async fn condemns_and_forgets(world: &World<'_>) {
    let grace = world.catalog.limits().garbage_grace;
    let mut ids = Vec::new();
    for number in 0..3 {
        let name = format!("k{number}");
        ids.push(world.put_blobs(&name, 1, &[5]).await.1);
        world.delete(&name, None).await.unwrap();
    }
    let kept = world.put_blobs("kept", 1, &[5]).await.1;
    assert_eq!(condemned(world, ZoneSet::ALL).await, []);
    let confirm = async |ids: &[BlobId], zones: ZoneSet| {
        let confirmed = ids.iter().map(|id| (*id, zones)).collect();
        world.catalog.confirm_deletions(ConfirmDeletions { confirmed }).await.unwrap();
    };
    // Nothing is confirmed before its time, nor of what is still in use.
    confirm(&[ids[0], kept], ZoneSet::ALL).await;
    assert!(world.catalog.blobs(vec![ids[0]]).await.unwrap()[0].is_some());
    world.subject.pass(grace.saturating_sub(Duration::from_secs(1))).await;
    assert_eq!(condemned(world, ZoneSet::ALL).await, []);
    world.subject.pass(Duration::from_secs(2)).await;
    assert_eq!(condemned(world, ZoneSet::ALL).await, ids);
    confirm(&ids[..2], zones(&[ZONE_A, ZONE_B])).await;
    // Zone 2 is away: it alone has something left to do for those two.
    assert_eq!(condemned(world, zones(&[ZONE_A, ZONE_B])).await, ids[2..]);
    assert_eq!(condemned(world, zones(&[ZONE_C])).await.len(), 3);
    confirm(&[ids[0], kept], zones(&[ZONE_C])).await;
    confirm(&[ids[0]], ZoneSet::ALL).await;
    let found = world.catalog.blobs(vec![ids[0], ids[1], kept]).await.unwrap();
    assert_eq!(found.iter().map(Option::is_some).collect::<Vec<_>>(), [false, true, true]);
    // Who was condemned stays so: nothing revives it.
    assert_eq!(world.references(ids[1]).await, None);
    confirm(&ids[1..], ZoneSet::ALL).await;
    assert_eq!(condemned(world, ZoneSet::ALL).await, []);
    assert_eq!(world.references(kept).await, Some(1));
}

/// The collector's question: is this very place named? (S2)
pub async fn names_chunks_by_their_very_places(world: &World<'_>) {
    let blob = world.blob(&[1, 1], &[0, 1]);
    let id = commit(world, "a", blob.clone()).await.unwrap();
    let named = async |blob: BlobId, ordinal: u32, zone: ZoneIndex, replica: Replica| {
        let place = ChunkPlace { chunk: ChunkId { blob, ordinal }, zone, replica };
        world.catalog.named(vec![place]).await.unwrap()[0]
    };
    let place = blob.content.chunks[1].replicas[0].clone().unwrap();
    assert!(named(id, 1, ZONE_A, place.clone()).await);
    assert!(!named(id, 0, ZONE_A, place.clone()).await);
    assert!(!named(id, 1, ZONE_B, place.clone()).await);
    assert!(!named(id, 9, ZONE_A, place.clone()).await);
    assert!(!named(BlobId { counter: 99, ..id }, 1, ZONE_A, place.clone()).await);
    assert!(!named(id, 1, ZONE_A, Replica { incarnation: Incarnation(2), ..place.clone() }).await);
    // A condemned blob still names its chunks: its own way of deletion is under way.
    world.delete("a", None).await.unwrap();
    assert!(named(id, 1, ZONE_A, place).await);
}

/// After a zone lost its memory, a walk over all blobs writes down what it lacks (B2), however far at a time.
pub async fn walks_over_all_blobs_after_a_loss(world: &World<'_>) {
    let mut ids = Vec::new();
    for number in 0..5 {
        ids.push(commit(world, &format!("k{number}"), world.blob(&[1], &[0, 1, 2])).await.unwrap());
    }
    let without_a = commit(world, "a", world.blob(&[1], &[1, 2])).await.unwrap();
    let dying = commit(world, "dying", world.blob(&[1], &[0, 1, 2])).await.unwrap();
    world.delete("dying", None).await.unwrap();
    let begin = async |zone, incarnation| {
        let request = RetireIncarnation { zone, incarnation: Incarnation(incarnation) };
        world.catalog.retire_incarnation(request).await
    };
    expect_refused(begin(ZONE_B, 0).await);
    expect_refused(begin(ZoneIndex(3), 1).await);
    if world.subject.begins_lives_on_request() {
        let view = begin(ZONE_B, 1).await.unwrap();
        assert_eq!(view, world.catalog.zones().await.unwrap());
    } else {
        expect_refused(begin(ZONE_B, 2).await);
    }
    let view = world.catalog.zones().await.unwrap();
    assert!(view.zones.iter().all(|zone| zone.rebuild.is_none() && zone.incarnation == Incarnation(1)));
    let view = world.subject.retire(ZONE_B).await.unwrap();
    let [_, second, _] = view.incarnations();
    assert!(second > Incarnation(1));
    assert_eq!(view.incarnations(), [Incarnation(1), second, Incarnation(1)]);
    assert!(view.zones[1].rebuild.is_some());
    // What is written while the walk is under way is right from the start.
    let fresh = commit(world, "fresh", world.blob(&[1], &[0, 2])).await.unwrap();
    // So is what is changed: the copy in the new life counts, the one in the old life was replaced.
    let repaired = addition(ids[4], ZONE_B, &[(0, replica(second.0, "again"))]);
    assert_eq!(add(world, world.session, repaired).await, Ok(AddOutcome::Added));

    let advance = async |incarnation, to, limit| {
        let request = AdvanceRebuild { zone: ZONE_B, incarnation, to, limit };
        world.catalog.advance_rebuild(request).await.unwrap()
    };
    // Of another incarnation: passed over.
    assert_eq!(advance(Incarnation(1), None, 100).await.examined, 0);
    let progress = advance(second, None, 2).await;
    assert_eq!((progress.examined, progress.indexed, progress.finished), (2, 2, false));
    assert_eq!(incomplete(world, zones(&[ZONE_B])).await, [ids[0], ids[1], fresh]);
    // No further than asked.
    let progress = advance(second, Some(ids[2]), 100).await;
    assert_eq!((progress.examined, progress.finished), (1, false));
    assert_eq!(advance(second, Some(ids[1]), 100).await.examined, 0);
    let mut finished = false;
    for _ in 0..20 {
        finished = advance(second, None, 2).await.finished;
        if finished {
            break;
        }
    }
    assert!(finished);
    assert!(world.catalog.zones().await.unwrap().zones[1].rebuild.is_none());
    assert!(advance(second, None, 2).await.finished);
    let mut expected = vec![ids[0], ids[1], ids[2], ids[3], fresh];
    assert_eq!(incomplete(world, zones(&[ZONE_B])).await.len(), expected.len() + 1, "and the one that lacks two zones");
    expected.push(without_a);
    let mut found = incomplete(world, zones(&[ZONE_B])).await;
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
    assert_eq!(incomplete(world, zones(&[ZONE_A])).await, [without_a]);
    assert!(!found.contains(&dying));
    // A second loss begins the walk anew.
    let view = world.subject.retire(ZONE_B).await.unwrap();
    assert!(view.zones[1].rebuild.is_some());
    while !advance(view.zones[1].incarnation, None, 3).await.finished {}
    assert_eq!(incomplete(world, zones(&[ZONE_B])).await.len(), 7);
}

/// A body of more pieces than one commit lets go of is let go of later, and wholly.
pub async fn lets_go_of_scattered_bodies_in_steps(world: &World<'_>) {
    let blobs: Vec<NewBlob> = (0..100).map(|_| world.blob(&[1], &[0, 1, 2])).collect();
    let ids: Vec<BlobId> = blobs.iter().map(|blob| blob.id).collect();
    let request = world.put_request("a", 1, NewContent::Blobs(blobs));
    let written = world.catalog.put_version(request).await.unwrap();
    let upload = super::uploads::create(world, "b").await;
    let copy = |part_number, range| cairn_catalog::CopyPart {
        session: world.session,
        upload: upload.clone(),
        part_number,
        source: world.source("a", &written),
        range,
        etag: super::etag(1),
        checksum: None,
    };
    world.catalog.copy_part(copy(1, 0..90)).await.unwrap();
    // Replacing that part lets go of 90 pieces, and takes 20 others, of which some are the same.
    world.catalog.copy_part(copy(1, 80..100)).await.unwrap();
    world.reap().await;
    assert_eq!(world.references(ids[0]).await, Some(1));
    assert_eq!(world.references(ids[85]).await, Some(2));
    world.put("a", 2, "replaced").await;
    let usage = world.catalog.usage(world.bucket).await.unwrap();
    assert_eq!((usage.object_bytes, usage.parts, usage.part_bytes), (8, 1, 20));
    world.reap().await;
    assert_eq!(world.references(ids[0]).await, None);
    assert_eq!(world.references(ids[85]).await, Some(1));
    world.catalog.abort_upload(upload).await.unwrap();
    world.reap().await;
    for id in ids {
        assert_eq!(world.references(id).await, None);
    }
    let usage = world.catalog.usage(world.bucket).await.unwrap();
    assert_eq!((usage.parts, usage.part_bytes, usage.uploads), (0, 0, 0));
}
