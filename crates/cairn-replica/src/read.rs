//! Reading: from the nearest zone that is well, hedged to the next, every frame verified before its bytes leave (B1).
//!
//! A copy that does not verify, or is gone, is reported and passed over: the client gets another zone's bytes and never sees it. A
//! read that has gone on for more than half the garbage grace asks before each piece whether its version is still there (S4).
//!
//! Memory: a reader holds the piece that it hands out and one read ahead, and the size of pieces goes down as readers come
//! ([`sizing::read_data_length`]).

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use cairn_types::frame::{ChunkShape, Span};
use cairn_types::{ChunkId, ZoneIndex};
use cairn_zone::ZoneError;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, Stream, StreamExt};
use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::catalog_port::{Blob, ChunkRecord, PortResult, Replica};
use crate::copy::speaks_against_copy;
use crate::gate::Admission;
use crate::latency::Latency;
use crate::read_plan::{self, Candidate, ReadAttempt, ReadStep};
use crate::replicator::{Counters, DamageReport, Replicator};
use crate::sizing;

/// Why a read ended early. The bytes that came before are good.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The range passes the blob's end.
    #[error("the range passes the blob's end")]
    Range,
    /// No zone that has these bytes answers.
    #[error("no zone that has these bytes answers")]
    Unavailable,
    /// The version was deleted while it was read (S4).
    #[error("the version was deleted while it was read")]
    Gone,
    /// No zone has an undamaged copy.
    #[error("no undamaged copy of chunk {0} was found")]
    Lost(u32),
    /// The record describes a chunk that this version cannot read.
    #[error("the blob's record cannot be read: {0}")]
    Record(String),
}

/// Asks whether the version that is read still exists.
pub type Recheck = Arc<dyn Fn() -> BoxFuture<'static, PortResult<bool>> + Send + Sync>;

/// What to read.
#[derive(Clone)]
pub struct ReadRequest {
    /// The blob, as the catalog described it.
    pub blob: Arc<Blob>,
    /// Which of its data bytes.
    pub range: Range<u64>,
    /// When the request that this read belongs to began: an object of many blobs is one read.
    pub began: Instant,
    /// Asks whether the version is still there (S4); `None` only for reads that are never long.
    pub recheck: Option<Recheck>,
}

/// A piece that is being fetched; aborted when dropped.
struct Ahead(JoinHandle<Result<Fetched, ReadError>>);

impl Drop for Ahead {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What was fetched, and the blob's record where it was read again.
struct Fetched {
    slices: Vec<Bytes>,
    changed: Option<Arc<Blob>>,
}

/// A part of one chunk.
#[derive(Debug, Clone)]
struct Piece {
    ordinal: u32,
    data: Range<u64>,
}

/// Counts a reader for as long as it lives.
struct ReaderGuard(Arc<Replicator>);

impl Drop for ReaderGuard {
    fn drop(&mut self) {
        self.0.readers.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Reads a range of a blob, in order.
pub struct BlobReader {
    guard: ReaderGuard,
    request: ReadRequest,
    /// Where the next piece to fetch starts: chunk, and data byte within it.
    next: (u32, u64),
    unfetched: u64,
    fetched: u64,
    ahead: Option<Ahead>,
    ready: VecDeque<Bytes>,
    ended: bool,
    fresh: Fresh,
}

/// The blob's record as it is by now, left here by whoever was sent to look because a copy was not where the record said.
type Fresh = Arc<Mutex<Option<Arc<Blob>>>>;

impl Replicator {
    /// Reads a range of a blob. Nothing is read before the first byte is asked for. Errors: [`ReadError::Range`].
    pub fn read(self: &Arc<Self>, request: ReadRequest) -> Result<BlobReader, ReadError> {
        let Range { start, end } = request.range.clone();
        if start > end || end > request.blob.content.length() {
            return Err(ReadError::Range);
        }
        let mut offset = start;
        let mut ordinal = 0;
        for chunk in &request.blob.content.chunks {
            let length = u64::from(chunk.data_length);
            if offset < length {
                break;
            }
            offset -= length;
            ordinal += 1;
        }
        self.readers.fetch_add(1, Ordering::Relaxed);
        Ok(BlobReader {
            guard: ReaderGuard(Arc::clone(self)),
            request,
            next: (ordinal, offset),
            unfetched: end - start,
            fetched: 0,
            ahead: None,
            ready: VecDeque::new(),
            ended: false,
            fresh: Fresh::default(),
        })
    }
}

impl BlobReader {
    /// The next verified bytes; `None` at the end, and after an error.
    pub async fn next(&mut self) -> Option<Result<Bytes, ReadError>> {
        loop {
            if let Some(bytes) = self.ready.pop_front() {
                return Some(Ok(bytes));
            }
            if self.ended {
                return None;
            }
            let fetched = if let Some(ahead) = self.ahead.as_mut() {
                let fetched = (&mut ahead.0).await.unwrap_or(Err(ReadError::Unavailable));
                self.ahead = None;
                fetched
            } else if let Some(piece) = self.take_piece() {
                fetch(Arc::clone(&self.guard.0), self.request.clone(), piece, Arc::clone(&self.fresh)).await
            } else {
                self.ended = true;
                return None;
            };
            match fetched {
                Ok(fetched) => {
                    self.ready.extend(fetched.slices);
                    // Copies were moved: the next pieces are where they are now.
                    self.request.blob = fetched.changed.unwrap_or_else(|| Arc::clone(&self.request.blob));
                }
                Err(error) => {
                    self.ended = true;
                    return Some(Err(error));
                }
            }
            if let Some(fresh) = self.fresh.lock().take() {
                self.request.blob = fresh;
            }
            if let Some(piece) = self.take_piece() {
                let fetch = fetch(Arc::clone(&self.guard.0), self.request.clone(), piece, Arc::clone(&self.fresh));
                self.ahead = Some(Ahead(tokio::spawn(fetch)));
            }
        }
    }

    /// The bytes as a stream.
    pub fn into_stream(self) -> impl Stream<Item = Result<Bytes, ReadError>> + Send {
        futures::stream::unfold(self, |mut reader| async move { reader.next().await.map(|item| (item, reader)) })
    }

    fn take_piece(&mut self) -> Option<Piece> {
        if self.unfetched == 0 {
            return None;
        }
        let (ordinal, start) = self.next;
        let chunk_length = u64::from(self.request.blob.chunk(ordinal)?.data_length);
        let replicator = &self.guard.0;
        let readers = replicator.readers.load(Ordering::Relaxed);
        let most = sizing::read_data_length(replicator.config.read_memory, readers, self.fetched);
        let length = most.min(self.unfetched).min(chunk_length.saturating_sub(start));
        let end = start + length;
        self.next = if end >= chunk_length { (ordinal + 1, 0) } else { (ordinal, end) };
        self.unfetched -= length;
        self.fetched += length;
        Some(Piece { ordinal, data: start..end })
    }
}

/// Fetches one piece from whichever zone has it.
async fn fetch(
    replicator: Arc<Replicator>,
    request: ReadRequest,
    piece: Piece,
    fresh_record: Fresh,
) -> Result<Fetched, ReadError> {
    let mut blob = Arc::clone(&request.blob);
    let mut has_moved = false;
    let mut pause = replicator.config.read_pause;
    // Lost only where every round has found every copy damaged: a bit that flips on its way, while other zones are away, is not that.
    let mut outcome = None;
    for round in 0..replicator.config.read_rounds_max.max(1) {
        if round > 0 && !std::mem::take(&mut has_moved) {
            tokio::time::sleep(pause).await;
            pause *= 2;
            // Copies may have moved since the record was read: repaired, rebuilt.
            match replicator.catalog.blob(blob.id).await {
                Ok(Some(fresh)) => blob = fresh,
                Ok(None) => return Err(ReadError::Gone),
                Err(_) => {}
            }
        }
        recheck(&replicator, &request).await?;
        let mut gone = Vec::new();
        let mut fetched = fetch_round(&replicator, &blob, &piece, &mut gone).await;
        let reports: Vec<DamageReport> = gone.into_iter().filter_map(|zone| report_of(&blob, piece.ordinal, zone)).collect();
        if !reports.is_empty() && fetched.is_err() {
            // Where nothing is left of what the record says, it may have been moved: no time is lost. And nothing is lost, or damaged, unless the
            // record names those places after they were found empty.
            match replicator.catalog.blob(blob.id).await {
                Ok(Some(fresh)) => {
                    has_moved = fresh.chunk(piece.ordinal) != blob.chunk(piece.ordinal);
                    replicator.report_if_named(Some(&fresh), reports);
                    blob = fresh;
                    fetched = fetched.map_err(|error| if has_moved { not_lost(error) } else { error });
                }
                Ok(None) => return Err(ReadError::Gone),
                Err(_) => fetched = fetched.map_err(not_lost),
            }
        } else if !reports.is_empty() {
            let (judge, old, fresh_record) = (Arc::clone(&replicator), Arc::clone(&blob), Arc::clone(&fresh_record));
            replicator.tasks.spawn(async move {
                let Ok(fresh) = judge.catalog.blob(old.id).await else { return };
                judge.report_if_named(fresh.as_deref(), reports);
                // The next pieces need not look in vain where this one did.
                *fresh_record.lock() = fresh.filter(|fresh| fresh.content != old.content);
            });
        }
        match fetched {
            Ok(slices) => {
                let changed = (!Arc::ptr_eq(&blob, &request.blob)).then_some(blob);
                return Ok(Fetched { slices, changed });
            }
            Err(error @ ReadError::Record(_)) => return Err(error),
            Err(error) if outcome.as_ref().is_none_or(|before| *before == error) => outcome = Some(error),
            Err(_) => outcome = Some(ReadError::Unavailable),
        }
    }
    Err(outcome.unwrap_or(ReadError::Unavailable))
}

/// What an error is worth when the record may name other places than those that were asked.
fn not_lost(error: ReadError) -> ReadError {
    if matches!(error, ReadError::Lost(_)) { ReadError::Unavailable } else { error }
}

/// S4: a read older than half the garbage grace aborts when its version is gone. Half, so that the other half is left for the piece that
/// is then read. When the catalog does not answer, that is not known, and the read ends too.
async fn recheck(replicator: &Replicator, request: &ReadRequest) -> Result<(), ReadError> {
    if request.began.elapsed() < replicator.config.garbage_grace / 2 {
        return Ok(());
    }
    let Some(ask) = &request.recheck else { return Ok(()) };
    match ask().await {
        Ok(true) => Ok(()),
        Ok(false) => Err(ReadError::Gone),
        Err(_) => Err(ReadError::Unavailable),
    }
}

type PendingReads<'a> = FuturesUnordered<BoxFuture<'a, (ZoneIndex, Result<Bytes, ZoneError>)>>;

/// Asks each zone at most once. Those that do not give what the record says is there are `gone`.
async fn fetch_round(
    replicator: &Arc<Replicator>,
    blob: &Blob,
    piece: &Piece,
    gone: &mut Vec<ZoneIndex>,
) -> Result<Vec<Bytes>, ReadError> {
    let zones = &replicator.zones;
    let record = |error: cairn_types::frame::FrameError| ReadError::Record(error.to_string());
    let chunk = blob.chunk(piece.ordinal).ok_or(ReadError::Lost(piece.ordinal))?;
    let shape: ChunkShape = blob.shape(chunk).map_err(record)?;
    let span: Span = shape.span(piece.data.clone()).map_err(record)?;
    let id = blob.chunk_id(piece.ordinal);
    let ranked = rank(replicator, chunk, id, &span);
    let mut attempt = ReadAttempt::new(ranked);
    let mut reads: PendingReads<'_> = FuturesUnordered::new();
    let config = &replicator.config.hedge;
    let mut hedge_after = config.after_max;
    let mut hedge_denied = false;
    let mut all_damaged = true;
    let mut failed: Vec<ZoneIndex> = Vec::new();
    replicator.earn_hedge();
    loop {
        let ask = match attempt.step(zones.now(), hedge_after, config.give_up_after, hedge_denied) {
            ReadStep::Exhausted if all_damaged => return Err(ReadError::Lost(piece.ordinal)),
            ReadStep::Exhausted => return Err(ReadError::Unavailable),
            ReadStep::Ask(zone) => Ok(zone),
            ReadStep::Hedge(zone) if replicator.spend_hedge() => {
                Counters::add(&replicator.counters.reads_hedged, 1);
                Ok(zone)
            }
            ReadStep::Hedge(_) => {
                hedge_denied = true;
                continue;
            }
            ReadStep::Wait(until) => Err(until),
        };
        match ask {
            Ok(zone) => {
                attempt.asked(zones.now());
                let bytes = span.stored_length();
                let next = attempt.upcoming().map(|next| zones.with_read_latency(next, bytes, Clone::clone)).unwrap_or_default();
                hedge_after = zones.with_read_latency(zone, bytes, |asked| read_plan::hedge_after(config, asked, &next));
                let replica = chunk.replicas.get(zone.get()).cloned().flatten();
                let span = &span;
                reads.push(Box::pin(async move {
                    match replica {
                        Some(replica) => (zone, zones.read(zone, &replica, id, span.stored.start, span.stored_length()).await),
                        None => (zone, Err(ZoneError::NotFound)),
                    }
                }));
            }
            Err(until) => {
                let wait = until.map_or(Duration::from_secs(3_600), |until| until.saturating_sub(zones.now()));
                let Ok(Some((zone, result))) = tokio::time::timeout(wait, reads.next()).await else {
                    continue;
                };
                // A zone that cannot read a part of what it holds cannot tell "gone" from "unreadable".
                let is_gone = matches!(result, Err(ZoneError::NotFound | ZoneError::Mismatch(_) | ZoneError::Damaged(_)));
                let damage = match result {
                    Ok(stored) => match shape.verify(id, &span, &stored) {
                        Ok(slices) => {
                            for slower in attempt.asked_before(zone).iter().filter(|zone| !failed.contains(zone)) {
                                zones.overtaken(*slower);
                            }
                            return Ok(slices);
                        }
                        #[cfg(test)]
                        Err(_) if replicator.leaves_out(crate::replicator::LeftOut::Verifying) => {
                            return Ok(unverified(shape, &span, &stored));
                        }
                        Err(_) => true,
                    },
                    Err(error) => speaks_against_copy(&error),
                };
                attempt.failed();
                failed.push(zone);
                all_damaged &= damage;
                if is_gone {
                    gone.push(zone);
                } else if damage && let Some(report) = report_of(blob, piece.ordinal, zone) {
                    replicator.report_damage(report);
                }
            }
        }
    }
}

/// Zones that have a copy, best first. Copies in retired incarnations (B2) are not read: they count as absent. A zone whose gate is shut and
/// wants to be probed is read beside, and nobody waits for it.
fn rank(replicator: &Arc<Replicator>, chunk: &ChunkRecord, id: ChunkId, span: &Span) -> Vec<ZoneIndex> {
    let known = replicator.incarnations();
    let mut candidates = Vec::new();
    for (zone, replica) in ZoneIndex::ALL.into_iter().zip(&chunk.replicas) {
        let Some(replica) = replica else { continue };
        if known.get(zone.get()).is_some_and(|known| *known > replica.incarnation) {
            continue;
        }
        let admission = replicator.zones.admit_read(zone);
        if admission == Admission::Probe {
            probe(replicator, zone, replica.clone(), id, span.clone());
        }
        candidates.push(Candidate {
            zone,
            open: admission == Admission::Send,
            typical: replicator.zones.with_read_latency(zone, span.stored_length(), Latency::typical),
        });
    }
    let number = replicator.reads.fetch_add(1, Ordering::Relaxed);
    read_plan::rank(&replicator.config.preference, &candidates, number)
}

fn probe(replicator: &Arc<Replicator>, zone: ZoneIndex, replica: Replica, id: ChunkId, span: Span) {
    let zones = Arc::clone(&replicator.zones);
    replicator.tasks.spawn(async move {
        // Its answer is for the zone's gate.
        let _ = zones.read(zone, &replica, id, span.stored.start, span.stored_length()).await;
    });
}

/// A report about the copy that the record names in this zone.
fn report_of(blob: &Blob, ordinal: u32, zone: ZoneIndex) -> Option<DamageReport> {
    let replica = blob.chunk(ordinal)?.replicas.get(zone.get())?.as_ref()?;
    let (incarnation, locator) = (replica.incarnation, replica.locator.clone());
    Some(DamageReport { id: blob.chunk_id(ordinal), zone, incarnation, locator })
}

/// What a reader without B1 would hand out.
#[cfg(test)]
fn unverified(shape: ChunkShape, span: &Span, stored: &Bytes) -> Vec<Bytes> {
    let frame = cairn_types::frame::FRAME_DATA_LENGTH + shape.kind().tag_length();
    let data: Vec<u8> = stored
        .chunks(frame)
        .flat_map(|frame| frame.iter().copied().take(frame.len().saturating_sub(shape.kind().tag_length())))
        .collect();
    let first = u64::from(span.frames.start) * cairn_types::frame::FRAME_DATA_LENGTH as u64;
    let range = (span.data.start - first) as usize..(span.data.end - first) as usize;
    vec![Bytes::from(data).slice(range)]
}
