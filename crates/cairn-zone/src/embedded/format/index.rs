//! The index at the end of a sealed segment: what an opening and a listing read instead of the records.
//!
//! ```text
//! at the end of the records   head: 512 bytes, then zeros up to the next block
//! one block later             entries, 48 bytes each, in the order of the records
//! right behind                one state byte for each entry, overwritten in place by a deletion
//! at the next sector          the head again; it is the file's last sector
//!
//! head      bytes  what                              entry  bytes  what
//!   0          8   magic "CAIRNIDX"                    0       4   where the record begins, in blocks
//!   8          2   format version                      4       4   payload length
//!  10          2   zero                                8       8   sequence
//!  12          4   number of entries                  16       8   session of whoever wrote it
//!  16          8   generation                         24      20   chunk id
//!  24          8   nonce                              44       4   CRC32C of the payload
//!  32          8   base position
//!  40          8   the last record's sequence, or the base position
//!  48          8   where the head is in the file
//!  56          8   bytes of payload of all entries
//!  64          8   latest session of any entry
//!  72          4   CRC32C of the entries
//! 508          4   CRC32C of bytes 0..508
//! ```
//!
//! Entries and states are durable before either head is written: a head that can be read speaks for what is between the two.

use cairn_disk::SECTOR_BYTES;
use cairn_types::{ChunkId, SessionId};

use super::record::{RECORD_HEADER_BYTES, record_bytes};
use super::{BLOCK_BYTES, FORMAT_VERSION, Get, ParseError, Put, RecordState, ends_with_crc, seal_with_crc};

/// Bytes of a head.
pub const INDEX_HEADER_BYTES: usize = 512;
/// Bytes of an entry.
pub const ENTRY_BYTES: usize = 48;
const MAGIC: [u8; 8] = *b"CAIRNIDX";
/// Differ in every bit; up to two wrong bits are allowed for.
const LIVE: u8 = 0x6c;
const DEAD: u8 = !LIVE;

/// The head of an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexHeader {
    /// The segment's generation.
    pub generation: u64,
    /// Its nonce.
    pub nonce: u64,
    /// Its base position.
    pub base_position: u64,
    /// The sequence of its last record, or its base position when it has none.
    pub last_sequence: u64,
    /// Number of entries.
    pub count: u32,
    /// Where the first head is: right behind the records.
    pub offset: u64,
    /// Bytes of payload of all entries, dead ones too.
    pub payload_bytes: u64,
    /// The latest session that any of its records was written under; 0 when it has none.
    pub session_max: SessionId,
    /// CRC32C of the entries.
    pub entries_crc: u32,
}

/// One record as its segment's index knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Where the record begins in its file, bytes.
    pub offset: u64,
    /// Bytes of payload.
    pub payload_length: u32,
    /// The record's sequence.
    pub sequence: u64,
    /// The session of whoever wrote it.
    pub session: SessionId,
    /// The chunk.
    pub id: ChunkId,
    /// CRC32C of the payload.
    pub payload_crc: u32,
    /// Whether the chunk is stored.
    pub state: RecordState,
}

impl IndexHeader {
    /// One head.
    #[must_use]
    pub fn encode(&self) -> [u8; INDEX_HEADER_BYTES] {
        let mut out = [0; INDEX_HEADER_BYTES];
        Put::new(&mut out)
            .bytes(&MAGIC)
            .u16(FORMAT_VERSION)
            .u16(0)
            .u32(self.count)
            .u64(self.generation)
            .u64(self.nonce)
            .u64(self.base_position)
            .u64(self.last_sequence)
            .u64(self.offset)
            .u64(self.payload_bytes)
            .u64(self.session_max.0)
            .u32(self.entries_crc);
        seal_with_crc(&mut out);
        out
    }

    /// Reads a head. Whether it belongs where it was found is for the caller.
    pub fn parse(bytes: &[u8]) -> Result<Self, ParseError> {
        let bytes: &[u8; INDEX_HEADER_BYTES] = bytes.first_chunk().ok_or(ParseError::Short)?;
        let mut get = Get::new(bytes);
        if get.bytes() != MAGIC {
            return Err(ParseError::Other);
        }
        if !ends_with_crc(bytes) {
            return Err(ParseError::Damaged);
        }
        let version = get.u16();
        if version != FORMAT_VERSION {
            return Err(ParseError::Version(version));
        }
        let _ = get.u16();
        let count = get.u32();
        Ok(Self {
            count,
            generation: get.u64(),
            nonce: get.u64(),
            base_position: get.u64(),
            last_sequence: get.u64(),
            offset: get.u64(),
            payload_bytes: get.u64(),
            session_max: SessionId(get.u64()),
            entries_crc: get.u32(),
        })
    }

    /// Where the entries are in the file.
    #[must_use]
    pub fn entries_offset(&self) -> u64 {
        self.offset.saturating_add(BLOCK_BYTES)
    }

    /// Bytes of all entries.
    #[must_use]
    pub fn entries_bytes(&self) -> u64 {
        u64::from(self.count) * ENTRY_BYTES as u64
    }

    /// Where the state bytes are in the file.
    #[must_use]
    pub fn states_offset(&self) -> u64 {
        self.entries_offset().saturating_add(self.entries_bytes())
    }

    /// Where the second head is in the file.
    #[must_use]
    pub fn second_offset(&self) -> u64 {
        self.states_offset().saturating_add(u64::from(self.count)).saturating_add(SECTOR_BYTES - 1) / SECTOR_BYTES * SECTOR_BYTES
    }

    /// Where the file ends.
    #[must_use]
    pub fn file_end(&self) -> u64 {
        self.second_offset().saturating_add(INDEX_HEADER_BYTES as u64)
    }
}

impl Entry {
    /// The entry, without its state.
    #[must_use]
    pub fn encode(&self) -> [u8; ENTRY_BYTES] {
        let mut out = [0; ENTRY_BYTES];
        let blocks = u32::try_from(self.offset / BLOCK_BYTES).unwrap_or(u32::MAX);
        Put::new(&mut out)
            .u32(blocks)
            .u32(self.payload_length)
            .u64(self.sequence)
            .u64(self.session.0)
            .bytes(&self.id.encode())
            .u32(self.payload_crc);
        out
    }

    /// Reads an entry; the state comes from elsewhere.
    #[must_use]
    pub fn decode(bytes: &[u8; ENTRY_BYTES], state: RecordState) -> Self {
        let mut get = Get::new(bytes);
        Self {
            offset: u64::from(get.u32()) * BLOCK_BYTES,
            payload_length: get.u32(),
            sequence: get.u64(),
            session: SessionId(get.u64()),
            id: ChunkId::decode(&get.bytes()),
            payload_crc: get.u32(),
            state,
        }
    }

    /// Where the record ends and the next one may begin.
    #[must_use]
    pub fn record_end(&self) -> u64 {
        self.offset.saturating_add(record_bytes(u64::from(self.payload_length)))
    }

    /// Where its payload ends.
    #[must_use]
    pub fn payload_end(&self) -> u64 {
        self.offset.saturating_add(RECORD_HEADER_BYTES as u64).saturating_add(u64::from(self.payload_length))
    }

    /// Reads entries one after the other; bytes left over are ignored.
    pub fn decode_all(entries: &[u8], states: &[u8]) -> Vec<Self> {
        let (entries, _) = entries.as_chunks::<ENTRY_BYTES>();
        entries.iter().zip(states).map(|(entry, state)| Self::decode(entry, state_from_byte(*state))).collect()
    }
}

/// The state byte of an index.
#[must_use]
pub fn state_byte(state: RecordState) -> u8 {
    match state {
        RecordState::Live => LIVE,
        RecordState::Dead => DEAD,
        RecordState::Unknown => 0,
    }
}

/// Reads a state byte, allowing for two wrong bits.
#[must_use]
pub fn state_from_byte(byte: u8) -> RecordState {
    match ((byte ^ LIVE).count_ones(), (byte ^ DEAD).count_ones()) {
        (0..=2, _) => RecordState::Live,
        (_, 0..=2) => RecordState::Dead,
        _ => RecordState::Unknown,
    }
}
