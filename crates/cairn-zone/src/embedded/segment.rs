//! What the engine knows of its segments in memory: a few numbers for each, and entries only for the one in use.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cairn_types::SessionId;
use parking_lot::Mutex;

use super::format::record::record_bytes;
use super::format::{BLOCK_BYTES, Entry, IndexHeader, RecordState};

/// A segment of one generation.
pub(super) struct Segment {
    /// Names the file; stays when the file is used again.
    pub(super) slot: u32,
    pub(super) generation: u64,
    pub(super) nonce: u64,
    pub(super) base_position: u64,
    /// Rises after deletions are durable and before their space is given back, and before the file is used again. What was read
    /// between two equal values was not taken away meanwhile.
    epoch: AtomicU64,
    /// Held while its file is synced; true once a sync failed. See [`Shared::sync_segment`](super::shared::Shared::sync_segment).
    pub(super) sync_failed: tokio::sync::Mutex<bool>,
    pub(super) inner: Mutex<Inner>,
}

/// What changes of a segment.
pub(super) struct Inner {
    pub(super) index: Index,
    /// Where the next record would begin.
    pub(super) data_end: u64,
    /// Where the file's space ends, while the writer appends to it; else 0.
    pub(super) capacity: u64,
    /// Sequence of the last durable record, or the base position.
    pub(super) last_sequence: u64,
    /// The latest session that anything in it was written under: a listing of later ones passes it over unread.
    pub(super) session_max: SessionId,
    pub(super) live: Live,
    /// The writer appends to it.
    pub(super) active: bool,
    /// Records in it are unreadable: it is left as it is, so that each opening reports it again.
    pub(super) damaged: bool,
    /// It is gone; whoever still holds it finds nothing in it.
    pub(super) retired: bool,
}

/// Chunks that are not known to be deleted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Live {
    pub(super) count: u64,
    /// Of their payload.
    pub(super) bytes: u64,
    /// Of their records: what they take of the disk.
    pub(super) record_bytes: u64,
}

impl Live {
    pub(super) fn add(&mut self, payload_length: u32) {
        self.count += 1;
        self.bytes += u64::from(payload_length);
        self.record_bytes += record_bytes(u64::from(payload_length));
    }

    pub(super) fn subtract(&mut self, payload_length: u32) {
        self.count = self.count.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(u64::from(payload_length));
        self.record_bytes = self.record_bytes.saturating_sub(record_bytes(u64::from(payload_length)));
    }
}

/// Where a segment's index is.
pub(super) enum Index {
    /// Here: the segment in use, or one that could not be sealed yet.
    Memory(Vec<Entry>),
    /// At the end of its file.
    Stored(IndexHeader),
}

impl Segment {
    pub(super) fn new(slot: u32, generation: u64, nonce: u64, base_position: u64, inner: Inner) -> Self {
        Self {
            slot,
            generation,
            nonce,
            base_position,
            epoch: AtomicU64::new(0),
            sync_failed: tokio::sync::Mutex::new(false),
            inner: Mutex::new(inner),
        }
    }

    pub(super) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::SeqCst)
    }

    pub(super) fn advance_epoch(&self) {
        self.epoch.fetch_add(1, Ordering::SeqCst);
    }

    /// What its locators carry of its nonce, so that one of a history that the zone has lost names nothing in this one.
    pub(super) fn tag(&self) -> u32 {
        (self.nonce >> 32) as u32
    }

    /// The stored index's head, when the index is in the file.
    pub(super) fn stored(&self) -> Option<IndexHeader> {
        match &self.inner.lock().index {
            Index::Stored(header) => Some(*header),
            Index::Memory(_) => None,
        }
    }
}

impl Inner {
    pub(super) fn from_entries(entries: Vec<Entry>, data_end: u64, last_sequence: u64) -> Self {
        let live = count_live(&entries);
        let session_max = session_max(&entries);
        Self {
            index: Index::Memory(entries),
            data_end,
            capacity: 0,
            last_sequence,
            session_max,
            live,
            active: false,
            damaged: false,
            retired: false,
        }
    }

    /// Whether some of its records are dead.
    pub(super) fn has_dead(&self) -> bool {
        let count = match &self.index {
            Index::Memory(entries) => entries.len() as u64,
            Index::Stored(index) => u64::from(index.count),
        };
        self.live.count < count
    }

    /// Bytes that the segment takes of the disk beside the records of its live chunks: its header, its index, and what is left of its dead
    /// records, which is a block each where the file system `gives_back` parts of files.
    fn overhead_bytes(&self, index: &IndexHeader, gives_back: bool) -> u64 {
        let dead_count = u64::from(index.count).saturating_sub(self.live.count);
        let records_bytes = index.offset.saturating_sub(BLOCK_BYTES);
        let dead_bytes = records_bytes.saturating_sub(self.live.record_bytes);
        let remains_bytes = if gives_back { dead_bytes.min(dead_count * BLOCK_BYTES) } else { dead_bytes };
        BLOCK_BYTES + remains_bytes + index.file_end().saturating_sub(index.offset)
    }

    /// Whether so little of what the segment takes of the disk is live that its chunks had better be elsewhere: `percent` of it or more is
    /// not. Only one that nothing but deletions change any more, and that can be given back once it is empty.
    pub(super) fn is_sparse(&self, percent: u64, gives_back: bool) -> bool {
        let Index::Stored(index) = &self.index else { return false };
        if self.active || self.damaged || self.retired || self.live.count == 0 {
            return false;
        }
        let overhead = self.overhead_bytes(index, gives_back);
        overhead.saturating_mul(100) >= overhead.saturating_add(self.live.record_bytes).saturating_mul(percent)
    }

    /// Bytes that may be needed to write its chunks elsewhere, each in a file of its own at worst: where there is no room for a whole segment, new
    /// ones are as small as what they are begun for.
    pub(super) fn moving_bytes(&self) -> u64 {
        self.live.record_bytes.saturating_add(self.live.count.saturating_mul(2 * BLOCK_BYTES))
    }

    /// Whether giving it back gains twice what moving its chunks may need: so moving comes to an end whatever the new files look like.
    pub(super) fn gains(&self, gives_back: bool) -> bool {
        let Index::Stored(index) = &self.index else { return false };
        let held = self.overhead_bytes(index, gives_back).saturating_add(self.live.record_bytes);
        held >= self.moving_bytes().saturating_mul(2)
    }
}

/// The latest session of all entries, dead ones too; 0 for none.
pub(super) fn session_max(entries: &[Entry]) -> SessionId {
    entries.iter().map(|entry| entry.session).max().unwrap_or_default()
}

/// Counts the chunks that are not known to be deleted.
pub(super) fn count_live(entries: &[Entry]) -> Live {
    let mut live = Live::default();
    for entry in entries.iter().filter(|entry| entry.state != RecordState::Dead) {
        live.add(entry.payload_length);
    }
    live
}

/// All segments by generation.
#[derive(Default)]
pub(super) struct Table {
    pub(super) segments: BTreeMap<u64, Arc<Segment>>,
    /// Files that cannot be read: nobody knows which generations they hold.
    pub(super) unreadable: BTreeSet<String>,
    /// Generations up to this may be in an unreadable file.
    pub(super) unreadable_generation_max: u64,
}

impl Table {
    /// The highest generation with a durable header. Its segment is never retired: it carries the zone's position.
    pub(super) fn newest(&self) -> Option<u64> {
        self.segments.last_key_value().map(|(generation, _)| *generation)
    }
}
