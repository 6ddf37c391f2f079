//! What every [`Zone`] must do, as one suite.
//!
//! An engine's own tests give [`run_all`] a way to make fresh zones; each test gets one of its own. Nothing is skipped: what an
//! engine cannot do it says in [`Capabilities`](cairn_zone::Capabilities), and the suite asks only `durable` (whether to close
//! and reopen). An engine that can be made small enough to fill also runs [`full_then_resumes`].
//!
//! The tests are public one by one, so that a wrapper or an engine under trouble can run a single one.

mod basics;
mod interleaved;
mod kept;
mod lives;

use std::sync::Arc;

use bytes::Bytes;
use cairn_types::{BlobId, ChunkId, Incarnation, Locator, SessionId};
use cairn_zone::memory::MemoryZone;
use cairn_zone::{Found, Zone, ZoneError};
use futures::future::BoxFuture;
use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;

pub use basics::*;
pub use interleaved::*;
pub use kept::*;
pub use lives::*;

/// A zone under test.
pub trait Subject: Send + Sync {
    /// The zone, open.
    fn zone(&self) -> Arc<dyn Zone>;
    /// Closes the zone in good order and opens it again from what it kept. Only asked of engines that say `durable`.
    fn reopen(&mut self) -> BoxFuture<'_, ()>;
    /// Ends the zone's life and begins the next one: empty, and in a higher incarnation, as a zone that has lost its memory does (L7).
    fn begin_new_life(&mut self) -> BoxFuture<'_, ()>;
}

/// A subject that cannot be reopened: the memory engine, which keeps nothing, bare or behind a wrapper.
pub struct Volatile {
    /// The zone under test.
    pub zone: Arc<dyn Zone>,
    /// The engine in it.
    pub engine: MemoryZone,
}

impl Volatile {
    /// The bare engine.
    #[must_use]
    pub fn bare(engine: MemoryZone) -> Self {
        Self { zone: Arc::new(engine.clone()), engine }
    }
}

impl Subject for Volatile {
    fn zone(&self) -> Arc<dyn Zone> {
        self.zone.clone()
    }

    fn reopen(&mut self) -> BoxFuture<'_, ()> {
        panic!("an engine that says it is durable must be reopened by its own Subject")
    }

    fn begin_new_life(&mut self) -> BoxFuture<'_, ()> {
        let next = self.engine.incarnation().unwrap_or_default().0 + 1;
        self.engine.lose_memory(Incarnation(next));
        Box::pin(async {})
    }
}

/// Makes an empty zone with a disk, directory or service of its own.
pub type Make = dyn Fn() -> BoxFuture<'static, Box<dyn Subject>> + Send + Sync;

/// Runs the whole suite, each test on a fresh zone. Panics with words at the first thing that is wrong.
pub async fn run_all(make: &Make) {
    basics::writes_and_reads_whole_chunks(&*make().await).await;
    basics::takes_empty_chunks_and_odd_pieces(&*make().await).await;
    basics::refuses_what_is_too_long(&*make().await).await;
    basics::reads_ranges_and_refuses_those_past_the_end(&*make().await).await;
    basics::refuses_another_chunks_locator(&*make().await).await;
    basics::deletes_once_and_again(&*make().await).await;
    basics::keeps_each_write_of_one_id(&*make().await).await;
    basics::lists_each_chunk_once_in_pages_of_any_size(&*make().await).await;
    basics::counts_what_is_live(&*make().await).await;
    basics::survives_foreign_locators_and_cursors(&*make().await).await;
    interleaved::lists_what_stays_while_others_come_and_go(&*make().await).await;
    interleaved::takes_many_writers_at_once(&*make().await).await;
    interleaved::stays_whole_when_callers_give_up(&*make().await).await;
    interleaved::never_shows_a_chunk_that_is_being_deleted_in_part(&*make().await).await;
    interleaved::deletes_the_same_chunk_from_two_sides(&*make().await).await;
    lives::keeps_the_session_of_each_writer(&mut *make().await).await;
    lives::names_nothing_of_an_earlier_life(&mut *make().await).await;
    for seed in 0..8 {
        kept::agrees_with_a_model(&mut *make().await, seed).await;
    }
    if make().await.zone().capabilities().durable {
        kept::keeps_everything_over_a_restart(&mut *make().await).await;
        kept::walks_on_over_a_restart(&mut *make().await).await;
    }
}

/// The session that [`put`] writes under: another than the one in the ids, as a repair's is.
pub const WRITER: SessionId = SessionId(9);

/// The chunk of this number: one session, several blobs, several ordinals.
#[must_use]
pub fn chunk_id(number: u64) -> ChunkId {
    ChunkId { blob: BlobId { session: SessionId(7), counter: number / 3 }, ordinal: (number % 3) as u32 }
}

/// Bytes that depend on the seed alone, different for different seeds.
#[must_use]
pub fn payload(seed: u64, length: usize) -> Bytes {
    let mut bytes = vec![0; length];
    ChaCha8Rng::seed_from_u64(seed).fill_bytes(&mut bytes);
    Bytes::from(bytes)
}

/// Writes one chunk in one piece, or panics.
pub async fn put(zone: &dyn Zone, id: ChunkId, bytes: &Bytes) -> Locator {
    let placed = zone.write(WRITER, id, vec![bytes.clone()]).await.unwrap_or_else(|error| panic!("writing {id:?}: {error}"));
    assert_eq!(Some(placed.incarnation), zone.incarnation(), "a write belongs to the zone's present life");
    placed.locator
}

/// Reads a whole chunk and compares, or panics.
pub async fn expect(zone: &dyn Zone, locator: &Locator, id: ChunkId, bytes: &Bytes) {
    let read = zone.read(locator, id, 0, bytes.len()).await.unwrap_or_else(|error| panic!("reading {id:?}: {error}"));
    assert!(read == *bytes, "{id:?} came back changed");
}

/// Deletes one chunk.
pub async fn delete(zone: &dyn Zone, locator: &Locator, id: ChunkId) -> Result<(), ZoneError> {
    let mut answers = zone.delete(&[(locator.clone(), id)]).await;
    assert_eq!(answers.len(), 1, "one answer for each chunk");
    answers.remove(0)
}

/// Walks the whole zone in pages of this size.
pub async fn walk(zone: &dyn Zone, count_max: usize) -> Vec<Found> {
    walk_since(zone, SessionId(0), count_max).await
}

/// Walks what was written under this session and later ones.
pub async fn walk_since(zone: &dyn Zone, since: SessionId, count_max: usize) -> Vec<Found> {
    let mut all = Vec::new();
    let mut from = None;
    loop {
        let page = zone.enumerate(since, from, count_max).await.unwrap_or_else(|error| panic!("listing: {error}"));
        assert!(page.found.len() <= count_max, "a page of {} where {count_max} was the most", page.found.len());
        all.extend(page.found);
        match page.next {
            Some(next) => from = Some(next),
            None => return all,
        }
    }
}

/// For a zone made to hold no more than about `bytes`: it fills up with a clear error, nothing of the refused write is listed,
/// reads and deletes go on, and writing resumes by itself once there is space.
pub async fn full_then_resumes(zone: &dyn Zone, chunk_bytes: usize, count_max: u64) {
    let mut kept = Vec::new();
    let refused = loop {
        let number = kept.len() as u64;
        assert!(number < count_max, "the zone was to be full before {count_max} chunks of {chunk_bytes} bytes");
        let bytes = payload(number, chunk_bytes);
        match zone.write(WRITER, chunk_id(number), vec![bytes.clone()]).await {
            Ok(placed) => kept.push((chunk_id(number), placed.locator, bytes)),
            Err(ZoneError::Full(_)) => break chunk_id(number),
            Err(other) => panic!("a full zone says Full, not: {other}"),
        }
    };
    assert!(kept.len() >= 2, "too small to tell anything: {} chunks", kept.len());
    for (id, locator, bytes) in &kept {
        expect(zone, locator, *id, bytes).await;
    }
    let listed = walk(zone, 100).await;
    assert_eq!(listed.len(), kept.len(), "every confirmed chunk is listed and nothing else");
    assert!(listed.iter().all(|found| found.id != refused), "nothing is kept of a refused write");
    for (id, locator, _) in kept.drain(..=kept.len() / 2) {
        delete(zone, &locator, id).await.unwrap_or_else(|error| panic!("deleting from a full zone: {error}"));
    }
    // Space may come back a little later than the deletion.
    let bytes = payload(u64::MAX, chunk_bytes);
    let mut locator = None;
    for _ in 0..200 {
        match zone.write(WRITER, refused, vec![bytes.clone()]).await {
            Ok(placed) => {
                locator = Some(placed.locator);
                break;
            }
            Err(ZoneError::Full(_)) => tokio::time::sleep(std::time::Duration::from_millis(50)).await,
            Err(other) => panic!("writing after space came back: {other}"),
        }
    }
    let locator = locator.expect("writing resumes by itself when space comes back");
    expect(zone, &locator, refused, &bytes).await;
    for (id, locator, bytes) in &kept {
        expect(zone, locator, *id, bytes).await;
    }
}
