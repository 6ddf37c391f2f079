//! The one that appends: a worker of its own, with group commit.
//!
//! It takes whatever waits, up to a bound, writes it behind the last record in one vectored call without copying payload, syncs
//! once, asks whether the zone is still there (L6), and answers everybody. While it syncs, the next group gathers; a lone writer never
//! waits for company. A batch goes to one file, and the next file is begun only when the last is durable: so a generation's
//! base covers everything before it.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use cairn_disk::{File, OpenMode};
use cairn_types::{ChunkId, SessionId};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use super::format::record::{RECORD_HEADER_BYTES, record_bytes};
use super::format::{BLOCK_BYTES, Entry, Place, RecordHeader, RecordState, SegmentState, blocks_up};
use super::maintenance::Task;
use super::segment::{Index, Inner, Segment};
use super::shared::{Shared, is_full, zeros};
use crate::{Placed, ZoneError};

/// The least that is worth a file of its own on a nearly full disk, bytes beyond the first record.
const SMALL_SEGMENT_EXTRA_BYTES: u64 = 1024 * 1024;

/// What a chunk is written for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To be stored.
    Store,
    /// So that a sparse segment can be given back.
    MakeRoom,
}

/// One chunk to store.
pub(super) struct Request {
    pub(super) session: SessionId,
    pub(super) id: ChunkId,
    pub(super) pieces: Vec<Bytes>,
    pub(super) payload_length: u32,
    pub(super) payload_crc: u32,
    pub(super) purpose: Purpose,
    pub(super) answer: oneshot::Sender<Result<Placed, ZoneError>>,
    /// Room in the queue, given back with the answer.
    pub(super) _room: OwnedSemaphorePermit,
}

impl Request {
    fn record_bytes(&self) -> u64 {
        record_bytes(u64::from(self.payload_length))
    }
}

/// The worker's state.
pub(super) struct Writer {
    shared: Arc<Shared>,
    requests: mpsc::Receiver<Request>,
    maintenance: mpsc::UnboundedSender<Task>,
    generation_next: u64,
    active: Option<Active>,
}

/// The segment in use.
struct Active {
    segment: Arc<Segment>,
    file: Arc<dyn File>,
    /// Where the next record begins.
    offset: u64,
    /// Where the file's space ends.
    capacity: u64,
    /// The header, until it was written with the first batch.
    header: Option<Bytes>,
    records: usize,
}

impl Writer {
    pub(super) fn new(
        shared: Arc<Shared>,
        requests: mpsc::Receiver<Request>,
        maintenance: mpsc::UnboundedSender<Task>,
        generation_next: u64,
    ) -> Self {
        Self { shared, requests, maintenance, generation_next, active: None }
    }

    /// Works until every sender is gone and everything that waited is answered.
    pub(super) async fn run(mut self) {
        let mut waiting = VecDeque::new();
        loop {
            if waiting.is_empty() {
                match self.requests.recv().await {
                    Some(request) => waiting.push_back(request),
                    None => break,
                }
            }
            self.gather(&mut waiting);
            if let Err(error) = self.shared.check_away() {
                for request in waiting.drain(..) {
                    let _ = request.answer.send(Err(error.clone()));
                }
                continue;
            }
            self.write_some(&mut waiting).await;
        }
        self.retire_active();
    }

    /// Takes what waits, without waiting.
    fn gather(&mut self, waiting: &mut VecDeque<Request>) {
        let settings = &self.shared.settings;
        let mut bytes: u64 = waiting.iter().map(Request::record_bytes).sum();
        while waiting.len() < settings.batch_count_max && bytes < settings.batch_bytes_max {
            let Ok(request) = self.requests.try_recv() else { return };
            bytes += request.record_bytes();
            waiting.push_back(request);
        }
    }

    /// Writes as many of the first as fit into the segment in use, or begins a new one; answers them.
    async fn write_some(&mut self, waiting: &mut VecDeque<Request>) {
        let Some(first) = waiting.front() else { return };
        let (needed, purpose) = (first.record_bytes(), first.purpose);
        let records_max = self.shared.settings.segment_records_max;
        if self.active.as_ref().is_some_and(|active| active.offset + needed > active.capacity || active.records >= records_max) {
            self.retire_active();
        }
        if self.active.is_none() {
            match self.begin_segment(needed, purpose).await {
                Ok(active) => self.active = Some(active),
                Err(error) => {
                    if let Some(request) = waiting.pop_front() {
                        let _ = request.answer.send(Err(error));
                    }
                    return;
                }
            }
        }
        let Some(active) = &mut self.active else { return };
        let mut end = active.offset;
        let mut batch = Vec::new();
        while let Some(request) = waiting.front() {
            let next = end + request.record_bytes();
            let bytes_full = !batch.is_empty() && next - active.offset > self.shared.settings.batch_bytes_max;
            if next > active.capacity || bytes_full || active.records + batch.len() >= records_max {
                break;
            }
            end = next;
            batch.extend(waiting.pop_front());
        }
        let answer = append(&self.shared, active, &batch).await;
        match answer {
            Ok(places) => {
                for (request, place) in batch.into_iter().zip(places) {
                    let placed = Placed { locator: place.encode(), incarnation: self.shared.owner.incarnation };
                    // A caller that gave up is found by the collector (S2).
                    let _ = request.answer.send(Ok(placed));
                }
            }
            Err(error) => {
                if matches!(error, ZoneError::Full(_)) {
                    self.retire_active();
                }
                for request in batch {
                    let _ = request.answer.send(Err(error.clone()));
                }
            }
        }
    }

    /// Hands the segment in use over to be sealed.
    fn retire_active(&mut self) {
        let Some(active) = self.active.take() else { return };
        {
            let mut inner = active.segment.inner.lock();
            (inner.active, inner.capacity) = (false, 0);
        }
        let task = if active.header.is_some() {
            // Its first batch failed: nothing in it ever counted.
            Task::Discard(active.segment.slot)
        } else {
            Task::Seal(active.segment)
        };
        // Maintenance outlives the writer; if it is gone all the same, the next opening seals.
        let _ = self.maintenance.send(task);
    }

    /// A file for the next generation: prewritten where there is one, else allocated, smaller where space is short.
    async fn begin_segment(&mut self, record: u64, purpose: Purpose) -> Result<Active, ZoneError> {
        let needed = BLOCK_BYTES + record;
        let ready = {
            let mut pool = self.shared.pool.lock();
            let at = pool.ready.iter().position(|(_, length)| *length >= needed);
            at.and_then(|at| pool.ready.remove(at))
        };
        self.shared.pool_changed.notify_one();
        let (slot, capacity) = match ready {
            Some(ready) => ready,
            None => self.allocate(needed, purpose).await?,
        };
        let file = match self.shared.file_if(slot, |header| header.state == SegmentState::Spare).await {
            Ok(file) => file,
            Err(error) => return Err(self.shared.go_away(format!("opening a new segment failed: {error}"))),
        };
        let generation = self.generation_next;
        self.generation_next += 1;
        let nonce = self.shared.environment.random.next_u64();
        let base_position = self.shared.position();
        let header = self.shared.owner.header(SegmentState::InUse, generation, nonce, base_position);
        let inner = Inner { active: true, capacity, ..Inner::from_entries(Vec::new(), BLOCK_BYTES, base_position) };
        Ok(Active {
            segment: Arc::new(Segment::new(slot, generation, nonce, base_position, inner)),
            file,
            offset: BLOCK_BYTES,
            capacity,
            header: Some(Bytes::from(header.encode_block())),
            records: 0,
        })
    }

    /// Makes a file with space for so many bytes. It has a durable name and the header of a spare when it is given out: a file
    /// without a readable header was never used.
    async fn allocate(&self, needed: u64, purpose: Purpose) -> Result<(u32, u64), ZoneError> {
        let shared = &self.shared;
        let disk = &shared.environment.disk;
        let free = match disk.free_bytes(&shared.directory).await {
            Ok(free) => free,
            Err(error) => return Err(ZoneError::Away(format!("asking for free space failed: {error}"))),
        };
        let available = free.saturating_sub(shared.settings.keep_free_bytes);
        let mut capacity = shared.settings.segment_bytes;
        while capacity > available && capacity / 2 >= needed + SMALL_SEGMENT_EXTRA_BYTES {
            capacity /= 2;
        }
        if capacity > available {
            capacity = needed;
        }
        let capacity = blocks_up(capacity);
        // A file of its own, of which nothing is left for what is stored anew.
        let makes_room = purpose == Purpose::MakeRoom && capacity <= free.saturating_sub(shared.settings.keep_free_for_all());
        if capacity > available && !makes_room {
            return Err(ZoneError::Full(format!(
                "{free} bytes are free, {} of them are kept free, and {needed} are needed",
                shared.settings.keep_free_bytes
            )));
        }
        let slot = shared.slot_next.fetch_add(1, Ordering::Relaxed);
        match create(shared, slot, capacity).await {
            Ok(file) => {
                shared.remember_file(slot, file);
                Ok((slot, capacity))
            }
            Err(error) => {
                if error.kind() != io::ErrorKind::AlreadyExists {
                    let _ = shared.remove_file(slot).await;
                }
                if is_full(&error) {
                    Err(ZoneError::Full(format!("no space for a new segment of {capacity} bytes: {error}")))
                } else {
                    Err(shared.go_away(format!("making a new segment failed: {error}")))
                }
            }
        }
    }
}

/// Makes an allocated file with a spare's header, durable with its name.
async fn create(shared: &Shared, slot: u32, capacity: u64) -> io::Result<Arc<dyn File>> {
    shared.check_present().await?;
    let file = shared.environment.disk.open(&shared.path(slot), OpenMode::CreateNew).await?;
    // Before it gets a header: one of ours in another zone's directory would have that zone refuse to open.
    shared.check_named(slot, &*file).await?;
    allocate_or_extend(&*file, capacity).await?;
    let header = shared.owner.header(SegmentState::Spare, 0, 0, 0);
    file.write_at(0, &[Bytes::from(header.encode_block())]).await?;
    shared.sync(&*file).await?;
    shared.environment.disk.sync_directory(&shared.directory).await?;
    // What was synced is the directory that the path leads to.
    shared.check_named(slot, &*file).await?;
    Ok(file)
}

/// Reserves space; where the file system cannot, the file just gets its length.
pub(super) async fn allocate_or_extend(file: &dyn File, capacity: u64) -> io::Result<()> {
    match file.allocate(0, capacity).await {
        Err(error) if error.kind() == io::ErrorKind::Unsupported => file.set_length(capacity).await,
        answer => answer,
    }
}

/// Writes a batch, makes it durable, and only then counts it.
async fn append(shared: &Shared, active: &mut Active, batch: &[Request]) -> Result<Vec<Place>, ZoneError> {
    let segment = &active.segment;
    let durable_position = shared.position();
    let mut sequence = durable_position;
    let mut offset = active.offset;
    let mut start = offset;
    let mut pieces = Vec::new();
    if let Some(header) = &active.header {
        // The header goes with the first batch: beginning a segment costs no write and no sync of its own.
        pieces.push(header.clone());
        start = 0;
    }
    let mut entries = Vec::with_capacity(batch.len());
    for request in batch {
        sequence += 1;
        let header = RecordHeader {
            generation: segment.generation,
            nonce: segment.nonce,
            sequence,
            durable_position,
            offset,
            session: request.session,
            id: request.id,
            payload_length: request.payload_length,
            payload_crc: request.payload_crc,
        };
        pieces.push(Bytes::copy_from_slice(&header.encode()));
        pieces.extend(request.pieces.iter().filter(|piece| !piece.is_empty()).cloned());
        let padding = request.record_bytes() - RECORD_HEADER_BYTES as u64 - u64::from(request.payload_length);
        if padding > 0 {
            pieces.push(zeros(padding as usize));
        }
        entries.push(super::scan::entry_of(&header, RecordState::Live));
        offset += request.record_bytes();
    }
    if let Err(error) = active.file.write_at(start, &pieces).await {
        return Err(if is_full(&error) {
            // What was written in part lies behind the last record; sealing cuts it off.
            ZoneError::Full(format!("writing to a segment: {error}"))
        } else {
            shared.go_away(format!("writing to a segment failed: {error}"))
        });
    }
    if let Err(error) = shared.sync_segment(segment, &*active.file).await {
        return Err(shared.go_away(format!("making a write durable failed: {error}")));
    }
    let first = active.header.take().is_some();
    active.offset = offset;
    active.records += batch.len();
    let places = entries.iter().map(|entry| shared.place(segment, entry)).collect();
    count(shared, segment, entries, offset, sequence);
    if first {
        shared.table.write().segments.insert(segment.generation, segment.clone());
        shared.pool.lock().wanted = true;
        shared.pool_changed.notify_one();
    }
    shared.set_position(sequence);
    Ok(places)
}

/// Takes durable records up into the index and the counts.
fn count(shared: &Shared, segment: &Segment, entries: Vec<Entry>, data_end: u64, last_sequence: u64) {
    let bytes: u64 = entries.iter().map(|entry| u64::from(entry.payload_length)).sum();
    shared.chunks.fetch_add(entries.len() as u64, Ordering::Relaxed);
    shared.bytes.fetch_add(bytes, Ordering::Relaxed);
    let mut inner = segment.inner.lock();
    for entry in &entries {
        inner.live.add(entry.payload_length);
    }
    inner.data_end = data_end;
    inner.last_sequence = last_sequence;
    inner.session_max = entries.iter().map(|entry| entry.session).fold(inner.session_max, SessionId::max);
    if let Index::Memory(all) = &mut inner.index {
        all.extend(entries);
    }
}
