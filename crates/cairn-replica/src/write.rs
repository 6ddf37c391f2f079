//! Writing bodies: cut into chunks, each sent to all zones at once, safe with two (B3).
//!
//! A [`BlobWriter`] buffers at most two chunks that are not safe yet, within the memory that all uploads share. Each chunk is driven by a
//! task of its own, so that a client that goes away, or a zone that answers late, is seen to the end: what was stored and will not be
//! named is deleted (best effort; the collector finds the rest), what was stored late is folded in (B4).
//!
//! However short memory is, a body of declared length is never cut into more chunks than the catalog takes: each chunk gets at least its even
//! share of the rest ([`sizing::least_data_length`]) before it is sent, and the memory for that before it is begun. Why uploads that wait
//! for memory do not wait for each other is argued in [`crate::budget`].
//!
//! [`BlobWriter::finish`] gives the contents to commit. Whoever commits must say how it went: [`FinishedWrite::committed`] only after the
//! catalog confirmed, [`FinishedWrite::discard`] only after a definite refusal. A [`FinishedWrite`] that is dropped says neither, as when the
//! request's future is dropped while its commit is under way: nothing that the commit may name is deleted then.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cairn_types::frame::{CHUNK_STORED_LENGTH_MAX, ChunkEncoder, EncodedChunk, FRAME_DATA_LENGTH, FrameKind};
use cairn_types::{BlobId, ChunkId, SessionId, ZoneIndex};
use cairn_zone::{Placed, ZoneError};
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use crate::budget::{MemoryPermit, UploadGuard};
use crate::catalog_port::{BlobContent, Layout, Replica};
use crate::placement::{Answer, Placement, Verdict};
use crate::progress::{BlobProgress, Disposal, Fate, LateCopy};
use crate::replicator::{Counters, Replicator};
use crate::session::WriterSession;
use crate::sizing;
use crate::stragglers::Fold;

/// Chunks of one upload that may be under way and not safe.
const CHUNKS_UNDER_WAY_MAX: usize = 2;
/// Memory is acquired in steps of this many bytes, so that a slow client holds what it sent and not what it might send.
const MEMORY_STEP: usize = 4 * FRAME_DATA_LENGTH;
/// The kind of frame that is written.
const KIND: FrameKind = FrameKind::Crc32c;
/// The layout that is written.
const LAYOUT: Layout = Layout::ThreeCopies;

/// Why a body could not be stored. Nothing of it is visible; what was stored is garbage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// No writer session is open (S1): the catalog does not answer, or this gateway has been declared dead.
    #[error("no writer session is open")]
    NoSession,
    /// Fewer than two zones have space.
    #[error("fewer than two zones have space for this write")]
    NoSpace,
    /// Fewer than two zones answered in time.
    #[error("fewer than two zones answered in time")]
    Unavailable,
}

fn failure(verdict: Verdict) -> Option<WriteError> {
    match verdict {
        Verdict::Open | Verdict::Safe => None,
        Verdict::NoSpace => Some(WriteError::NoSpace),
        Verdict::TimedOut => Some(WriteError::Unavailable),
    }
}

/// One blob, shared by its writer and the tasks of its chunks.
struct BlobUnderWay {
    id: BlobId,
    session: Arc<WriterSession>,
    progress: Mutex<BlobProgress>,
    changed: Notify,
}

impl BlobUnderWay {
    fn change<T>(&self, change: impl FnOnce(&mut BlobProgress) -> T) -> T {
        let result = change(&mut self.progress.lock());
        self.changed.notify_waiters();
        result
    }

    fn chunk_id(&self, ordinal: u32) -> ChunkId {
        ChunkId { blob: self.id, ordinal }
    }

    fn dispose(self: &Arc<Self>, replicator: &Replicator, disposal: Disposal, copy: LateCopy) {
        match disposal {
            Disposal::Keep => {}
            Disposal::Fold => replicator.fold_soon(Fold { session: Arc::clone(&self.session), blob: self.id, copy }),
            Disposal::Delete => replicator.delete_soon(copy.zone, copy.replica, self.chunk_id(copy.ordinal)),
        }
    }

    fn resolve(self: &Arc<Self>, replicator: &Replicator, fate: Fate) {
        let (disposal, copies) = self.change(|progress| progress.resolve(fate));
        for copy in copies {
            self.dispose(replicator, disposal, copy);
        }
    }
}

impl Replicator {
    /// Begins to store a body of this length, if it is known. Errors: [`WriteError::NoSession`].
    pub fn writer(self: &Arc<Self>, length: Option<u64>) -> Result<BlobWriter, WriteError> {
        let session = self.session().filter(|session| session.is_open()).ok_or(WriteError::NoSession)?;
        Ok(BlobWriter {
            replicator: Arc::clone(self),
            session,
            remaining: length,
            sent: 0,
            chunk: None,
            blobs: Vec::new(),
            under_way: Arc::new(Semaphore::new(CHUNKS_UNDER_WAY_MAX)),
            upload: Some(self.budget.begin_upload()),
            finished: false,
        })
    }
}

/// A chunk being filled, with the memory it takes and its place among the chunks under way.
struct Filling {
    encoder: ChunkEncoder,
    /// Data bytes that it gets before it is sent, if the body does not end first.
    least: usize,
    memory: MemoryPermit,
    place: OwnedSemaphorePermit,
}

/// Stores one body. Dropped without [`BlobWriter::finish`], it discards what was stored.
pub struct BlobWriter {
    replicator: Arc<Replicator>,
    session: Arc<WriterSession>,
    remaining: Option<u64>,
    /// Chunks of all blobs.
    sent: usize,
    chunk: Option<Filling>,
    blobs: Vec<Arc<BlobUnderWay>>,
    under_way: Arc<Semaphore>,
    upload: Option<UploadGuard>,
    finished: bool,
}

impl BlobWriter {
    /// The session that the body is stored under, and must be committed under.
    #[must_use]
    pub fn session(&self) -> SessionId {
        self.session.id()
    }

    /// Takes the next bytes. Waits while two chunks are under way or memory is short, which is how zones push back on clients.
    pub async fn push(&mut self, mut data: Bytes) -> Result<(), WriteError> {
        while !data.is_empty() {
            self.check()?;
            let step = MEMORY_STEP.min(data.len());
            let Some(filling) = self.chunk.as_mut() else {
                self.begin_chunk(step).await?;
                continue;
            };
            let room = filling.encoder.room();
            if room == 0 {
                self.send()?;
                continue;
            }
            // A share above all the memory there is gets all of it, and is alone then.
            let held = filling.memory.bytes().max(filling.least);
            let free = held.saturating_sub(filling.encoder.data_length());
            if free == 0 {
                match self.replicator.budget.try_acquire(MEMORY_STEP.min(room)) {
                    Some(more) => filling.memory.merge(more),
                    // Others wait for memory: what there is goes out, and this upload queues up for its next chunk.
                    None => self.send()?,
                }
                continue;
            }
            let mut part = data.split_to(free.min(room).min(data.len()));
            if let Some(remaining) = &mut self.remaining {
                *remaining = remaining.saturating_sub(part.len() as u64);
            }
            filling.encoder.push(&mut part);
        }
        Ok(())
    }

    /// Returns once others wait for memory while this writer holds an unfilled chunk that may be sent: whoever waits for a client's next bytes
    /// should wait for this too, and [`BlobWriter::flush`]. Never returns when nothing is held, or less than the body's chunks must have.
    pub async fn pressed(&self) {
        if self.chunk.as_ref().is_none_or(|filling| filling.encoder.data_length() < filling.least) {
            std::future::pending::<()>().await;
        }
        self.replicator.budget.pressed().await;
    }

    /// Sends what is held, however little, so that its memory comes free: at the body's end, and once [`BlobWriter::pressed`] has returned.
    pub fn flush(&mut self) -> Result<(), WriteError> {
        self.check()?;
        if self.chunk.is_some() { self.send() } else { Ok(()) }
    }

    /// Ends the body: waits until all of it is safe, then shortly for the third zone. What it gives is to be committed under
    /// [`BlobWriter::session`]. A body of no bytes has no blobs.
    pub async fn finish(mut self) -> Result<FinishedWrite, WriteError> {
        self.flush()?;
        for blob in &self.blobs {
            let verdict = wait_until(blob, |progress| Some(progress.verdict()).filter(|verdict| *verdict != Verdict::Open)).await;
            if let Some(error) = failure(verdict) {
                return Err(error);
            }
        }
        // All chunks are safe: this upload takes no memory any more, except for stragglers.
        self.upload = None;
        self.wait_for_third().await;
        let contents = self.blobs.iter().map(|blob| (blob.id, blob.change(BlobProgress::seal))).collect();
        self.finished = true;
        Ok(FinishedWrite {
            replicator: Arc::clone(&self.replicator),
            session: Arc::clone(&self.session),
            blobs: std::mem::take(&mut self.blobs),
            contents,
            resolved: false,
        })
    }

    /// Gives the body up: what was stored is deleted, best effort.
    pub fn discard(self) {
        drop(self);
    }

    fn check(&self) -> Result<(), WriteError> {
        if !self.session.is_open() {
            return Err(WriteError::NoSession);
        }
        // Only the last blob can have failed unseen: earlier ones were judged, or will be in the end.
        match self.blobs.last().and_then(|blob| failure(blob.progress.lock().verdict())) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    async fn begin_chunk(&mut self, first: usize) -> Result<(), WriteError> {
        let Ok(place) = Arc::clone(&self.under_way).acquire_owned().await else {
            return Err(WriteError::Unavailable);
        };
        self.check()?;
        let chunks_left = self.replicator.config.content_chunks_max.saturating_sub(self.sent);
        let stored_max = self.replicator.zones.chunk_bytes_max().min(CHUNK_STORED_LENGTH_MAX);
        // Zones that cannot hold the share of a body cannot hold the body: the commit says so.
        let least = sizing::least_data_length(self.remaining, chunks_left).min(KIND.data_length_within(stored_max).max(1));
        let memory = self.replicator.budget.acquire(first.max(least)).await;
        let budget = &self.replicator.budget;
        let length = sizing::chunk_data_length(KIND, budget.size(), budget.uploads(), self.remaining, stored_max).max(least);
        let chunks_max = self.replicator.config.blob_chunks_max.max(1);
        let blob = match self.blobs.last() {
            Some(blob) if blob.progress.lock().chunk_count() < chunks_max => Arc::clone(blob),
            _ => {
                let blob = Arc::new(BlobUnderWay {
                    id: Replicator::next_blob(&self.session),
                    session: Arc::clone(&self.session),
                    progress: Mutex::new(BlobProgress::new(LAYOUT, KIND)),
                    changed: Notify::new(),
                });
                self.blobs.push(Arc::clone(&blob));
                blob
            }
        };
        // The ordinal is given when the chunk is sent; chunks are sent in order, one at a time.
        let ordinal = blob.progress.lock().chunk_count() as u32;
        let encoder = ChunkEncoder::new(blob.chunk_id(ordinal), KIND, length);
        self.chunk = Some(Filling { encoder, least, memory, place });
        Ok(())
    }

    fn send(&mut self) -> Result<(), WriteError> {
        let Some(Filling { encoder, mut memory, place, .. }) = self.chunk.take() else {
            return Ok(());
        };
        let (Some(blob), Some(chunk)) = (self.blobs.last(), encoder.finish()) else {
            return Ok(());
        };
        self.sent += 1;
        memory.shrink_to(chunk.shape.data_length() as usize);
        let ordinal = blob.change(|progress| progress.begin_chunk(chunk.shape));
        let task = place_chunk(Arc::clone(&self.replicator), Arc::clone(blob), ordinal, chunk, memory, place);
        self.replicator.tasks.spawn(task);
        self.check()
    }

    /// Waits for zones that are still at some chunk, as long as that is worth it.
    async fn wait_for_third(&self) {
        let zones = &self.replicator.zones;
        let now = zones.now();
        let mut grace = Duration::ZERO;
        for blob in &self.blobs {
            for (zone, bytes, asked) in blob.progress.lock().unanswered() {
                let elapsed = now.saturating_sub(asked);
                let worth = zones.with_write_latency(zone, bytes, |open, recent| sizing::third_zone_grace(elapsed, open, recent));
                grace = grace.max(worth);
            }
        }
        if grace.is_zero() {
            return;
        }
        let all_answered = async {
            for blob in &self.blobs {
                wait_until(blob, |progress| progress.unanswered().next().is_none().then_some(())).await;
            }
        };
        let _ = tokio::time::timeout(grace, all_answered).await;
    }
}

impl Drop for BlobWriter {
    fn drop(&mut self) {
        if !self.finished {
            for blob in &self.blobs {
                blob.resolve(&self.replicator, Fate::Discarded);
            }
        }
    }
}

/// A body that is stored safely and waits for its commit.
pub struct FinishedWrite {
    replicator: Arc<Replicator>,
    session: Arc<WriterSession>,
    blobs: Vec<Arc<BlobUnderWay>>,
    contents: Vec<(BlobId, BlobContent)>,
    resolved: bool,
}

impl FinishedWrite {
    /// The session to commit under (S2).
    #[must_use]
    pub fn session(&self) -> SessionId {
        self.session.id()
    }

    /// The blobs in the order of the body's bytes.
    #[must_use]
    pub fn contents(&self) -> &[(BlobId, BlobContent)] {
        &self.contents
    }

    /// The commit happened: late copies are folded in (B4).
    pub fn committed(mut self) {
        self.resolve(Fate::Committed);
    }

    /// The commit was refused and will never happen: what was stored is deleted.
    pub fn discard(mut self) {
        self.resolve(Fate::Discarded);
    }

    fn resolve(&mut self, fate: Fate) {
        if !std::mem::replace(&mut self.resolved, true) {
            for blob in &self.blobs {
                blob.resolve(&self.replicator, fate);
            }
        }
    }
}

impl Drop for FinishedWrite {
    fn drop(&mut self) {
        // Whether the commit happened is not known here: nothing that it may name is deleted. If it did not, the collector finds it.
        self.resolve(Fate::Unknown);
    }
}

async fn wait_until<T>(blob: &BlobUnderWay, mut look: impl FnMut(&BlobProgress) -> Option<T>) -> T {
    loop {
        let mut changed = std::pin::pin!(blob.changed.notified());
        changed.as_mut().enable();
        if let Some(found) = look(&blob.progress.lock()) {
            return found;
        }
        changed.await;
    }
}

type PendingWrites<'a> = FuturesUnordered<BoxFuture<'a, (ZoneIndex, Result<Placed, ZoneError>)>>;

/// Drives one chunk until every zone has answered or was given up. `memory` is held as long as any zone may still read the chunk's bytes;
/// `place` until the chunk is safe, or never will be.
async fn place_chunk(
    replicator: Arc<Replicator>,
    blob: Arc<BlobUnderWay>,
    ordinal: u32,
    chunk: EncodedChunk,
    memory: MemoryPermit,
    place: OwnedSemaphorePermit,
) {
    let zones = &replicator.zones;
    let bytes = chunk.shape.stored_length() as usize;
    let admissions = zones.admit_writes(bytes);
    let config = replicator.config.placement.clone();
    let quorum = LAYOUT.write_quorum() as u8;
    let mut placement = Placement::new(config, quorum, zones.now(), admissions);
    let mut writes: PendingWrites<'_> = FuturesUnordered::new();
    loop {
        let step = placement.step(zones.now());
        for zone in step.send {
            blob.change(|progress| progress.asked(ordinal, zone, zones.now()));
            let (session, pieces) = (blob.session.id(), chunk.pieces.clone());
            writes.push(Box::pin(async move { (zone, zones.write(zone, session, chunk.id, pieces).await) }));
        }
        if step.verdict != Verdict::Open {
            blob.change(|progress| progress.judged(ordinal, step.verdict));
            let counter = if step.verdict == Verdict::Safe {
                &replicator.counters.chunks_written
            } else {
                &replicator.counters.chunks_failed
            };
            Counters::add(counter, 1);
            break;
        }
        let wake = zones.instant(step.wake_at.unwrap_or_else(|| zones.now()));
        let answer = tokio::select! {
            biased;
            Some(answer) = writes.next() => Some(answer),
            () = forsaken(&blob) => break,
            () = tokio::time::sleep_until(wake) => None,
        };
        if let Some((zone, result)) = answer {
            let answer = take_answer(&replicator, &blob, ordinal, zone, result).await;
            placement.answered(zone, answer, zones.now());
        }
    }
    drop(place);
    see_stragglers_off(&replicator, &blob, ordinal, bytes, &placement, writes).await;
    drop(memory);
}

async fn forsaken(blob: &BlobUnderWay) {
    wait_until(blob, |progress| progress.is_forsaken().then_some(())).await;
}

/// Waits for the answers that are still to come, as far as the zones' allowances go. Writes beyond them are dropped: if they land all the
/// same, the collector finds them.
async fn see_stragglers_off(
    replicator: &Arc<Replicator>,
    blob: &Arc<BlobUnderWay>,
    ordinal: u32,
    bytes: usize,
    placement: &Placement,
    mut writes: PendingWrites<'_>,
) {
    let mut shares = Vec::new();
    let mut given_up = Vec::new();
    for zone in placement.unanswered() {
        match replicator.zones.straggle(zone, bytes) {
            Some(share) => shares.push(share),
            None => given_up.push(zone),
        }
    }
    if !given_up.is_empty() {
        // The pending writes are indistinguishable futures: all go when one must. With three copies there is at most one anyway.
        Counters::add(&replicator.counters.writes_abandoned, given_up.len());
        for zone in placement.unanswered() {
            blob.change(|progress| progress.gone(ordinal, zone));
        }
        return;
    }
    while let Some((zone, result)) = writes.next().await {
        take_answer(replicator, blob, ordinal, zone, result).await;
    }
    drop(shares);
}

/// Takes one zone's answer: records the copy, or disposes of it.
async fn take_answer(
    replicator: &Arc<Replicator>,
    blob: &Arc<BlobUnderWay>,
    ordinal: u32,
    zone: ZoneIndex,
    result: Result<Placed, ZoneError>,
) -> Answer {
    match result {
        Ok(placed) => {
            let replica = Replica { incarnation: placed.incarnation, locator: placed.locator.clone() };
            if !replicator.counts(zone, placed.incarnation).await {
                // B3: an answer of another life of the zone does not count.
                blob.change(|progress| progress.gone(ordinal, zone));
                replicator.delete_soon(zone, replica, blob.chunk_id(ordinal));
                return Answer::Failed;
            }
            let disposal = blob.change(|progress| progress.placed(ordinal, zone, replica.clone()));
            blob.dispose(replicator, disposal, LateCopy { ordinal, zone, replica });
            Answer::Placed(placed)
        }
        Err(error) => {
            blob.change(|progress| progress.gone(ordinal, zone));
            tracing::debug!(chunk = ?blob.chunk_id(ordinal), %zone, %error, "a zone did not take a chunk");
            Answer::from(&error)
        }
    }
}
