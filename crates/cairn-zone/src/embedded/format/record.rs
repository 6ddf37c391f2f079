//! A record: one chunk in a segment.
//!
//! ```text
//! at    bytes  what
//!   0      8   magic "CAIRNREC"
//!   8      8   state word: LIVE or DEAD, overwritten in place by a deletion, outside the check sum
//!  16      2   format version
//!  18      6   zero
//!  24      8   generation of the segment
//!  32      8   nonce of the segment
//!  40      8   sequence: the zone's position with this record
//!  48      8   the highest position known durable when this was written (L5)
//!  56      8   where this record begins in its file
//!  64     20   chunk id
//!  84      4   payload length
//!  88      4   CRC32C of the payload
//!  92      8   session of whoever wrote it (S1)
//! 100     24   zero
//! 124      4   CRC32C of bytes 0..8 and 16..124
//! 128      …   payload, then zeros up to the next block
//! ```
//!
//! A header counts only where it says itself that it belongs: generation, nonce and offset must be those of the place where it
//! was read. The nonce is random for each life of a file and never leaves the disk, so a client cannot put a payload into a store that
//! passes for a record, not even a copy of one of this store's own files.

use cairn_types::{ChunkId, SessionId};

use super::{BLOCK_BYTES, FORMAT_VERSION, Get, ParseError, Put, blocks_up};

/// Bytes before the payload. They lie within one sector, so a deletion's mark is there or not, never half.
pub const RECORD_HEADER_BYTES: usize = 128;
/// Where the state word is, from the record's start.
pub const STATE_OFFSET: u64 = 8;
const MAGIC: [u8; 8] = *b"CAIRNREC";
/// The two states differ in every bit, so that a few flipped bits do not change one into the other.
const LIVE: u64 = 0x5ac3_96f0_0f69_3ca5;
const DEAD: u64 = !LIVE;
/// So many bits of a state word may be wrong.
const STATE_BITS_WRONG_MAX: u32 = 16;

/// Whether a record's chunk is stored or deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordState {
    /// The chunk is stored.
    Live,
    /// The chunk is deleted.
    Dead,
    /// The mark is damaged beyond telling. Whoever sees it treats the chunk as stored, so that nothing is lost.
    Unknown,
}

impl RecordState {
    /// The word on disk. There is none for `Unknown`.
    #[must_use]
    pub fn word(self) -> [u8; 8] {
        match self {
            Self::Live => LIVE.to_le_bytes(),
            Self::Dead => DEAD.to_le_bytes(),
            Self::Unknown => [0; 8],
        }
    }

    /// Reads a word, allowing for a few wrong bits.
    #[must_use]
    pub fn from_word(word: [u8; 8]) -> Self {
        let word = u64::from_le_bytes(word);
        if (word ^ LIVE).count_ones() <= STATE_BITS_WRONG_MAX {
            Self::Live
        } else if (word ^ DEAD).count_ones() <= STATE_BITS_WRONG_MAX {
            Self::Dead
        } else {
            Self::Unknown
        }
    }
}

/// What a record says of itself, without its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordHeader {
    /// Generation of the segment that it was written to.
    pub generation: u64,
    /// Nonce of that generation.
    pub nonce: u64,
    /// The zone's position with this record; rises by 1 for ever.
    pub sequence: u64,
    /// The highest position known durable when this was written (L5).
    pub durable_position: u64,
    /// Where the record begins in its file.
    pub offset: u64,
    /// The session of whoever wrote it.
    pub session: SessionId,
    /// The chunk.
    pub id: ChunkId,
    /// Bytes of payload.
    pub payload_length: u32,
    /// CRC32C of the payload.
    pub payload_crc: u32,
}

impl RecordHeader {
    /// The header of a live record.
    #[must_use]
    pub fn encode(&self) -> [u8; RECORD_HEADER_BYTES] {
        let mut out = [0; RECORD_HEADER_BYTES];
        Put::new(&mut out)
            .bytes(&MAGIC)
            .bytes(&RecordState::Live.word())
            .u16(FORMAT_VERSION)
            .bytes(&[0; 6])
            .u64(self.generation)
            .u64(self.nonce)
            .u64(self.sequence)
            .u64(self.durable_position)
            .u64(self.offset)
            .bytes(&self.id.encode())
            .u32(self.payload_length)
            .u32(self.payload_crc)
            .u64(self.session.0);
        let crc = header_crc(&out);
        if let Some((_, last)) = out.split_last_chunk_mut::<4>() {
            *last = crc.to_le_bytes();
        }
        out
    }

    /// Reads the first [`RECORD_HEADER_BYTES`] of any bytes. Whether the record belongs where it was found is for the caller.
    pub fn parse(bytes: &[u8]) -> Result<(Self, RecordState), ParseError> {
        let bytes: &[u8; RECORD_HEADER_BYTES] = bytes.first_chunk().ok_or(ParseError::Short)?;
        let mut get = Get::new(bytes);
        if get.bytes() != MAGIC {
            return Err(ParseError::Other);
        }
        let state = RecordState::from_word(get.bytes());
        let version = get.u16();
        let _: [u8; 6] = get.bytes();
        let header = Self {
            generation: get.u64(),
            nonce: get.u64(),
            sequence: get.u64(),
            durable_position: get.u64(),
            offset: get.u64(),
            id: ChunkId::decode(&get.bytes()),
            payload_length: get.u32(),
            payload_crc: get.u32(),
            session: SessionId(get.u64()),
        };
        let _: [u8; 24] = get.bytes();
        if header_crc(bytes) != get.u32() {
            return Err(ParseError::Damaged);
        }
        if version != FORMAT_VERSION {
            return Err(ParseError::Version(version));
        }
        Ok((header, state))
    }

    /// Bytes from the record's start to where the next one may begin.
    #[must_use]
    pub fn record_bytes(&self) -> u64 {
        record_bytes(u64::from(self.payload_length))
    }
}

/// Bytes that a record with this much payload takes.
#[must_use]
pub const fn record_bytes(payload_length: u64) -> u64 {
    blocks_up(payload_length.saturating_add(RECORD_HEADER_BYTES as u64))
}

/// The part of a dead record that gives its space back: everything but the block with the header. Empty when it is all in there.
#[must_use]
pub const fn punchable(offset: u64, payload_length: u32) -> (u64, u64) {
    (offset + BLOCK_BYTES, record_bytes(payload_length as u64) - BLOCK_BYTES)
}

/// Whether damaged bytes are recognisably a record of this very life of this file: one damaged place cannot hide both the
/// generation and the nonce. Decides, at the end of a segment, between damage and a zone that never got so far.
#[must_use]
pub fn looks_like_record_of(bytes: &[u8], generation: u64, nonce: u64) -> bool {
    let field = |range: std::ops::Range<usize>| bytes.get(range).unwrap_or_default();
    let agreeing = [field(0..8) == MAGIC, field(24..32) == generation.to_le_bytes(), field(32..40) == nonce.to_le_bytes()];
    agreeing.into_iter().filter(|agrees| *agrees).count() >= 2
}

fn header_crc(bytes: &[u8; RECORD_HEADER_BYTES]) -> u32 {
    let (body, _) = bytes.split_at(RECORD_HEADER_BYTES - 4);
    let (magic, rest) = body.split_at(8);
    crc32c::crc32c_append(crc32c::crc32c(magic), rest.get(8..).unwrap_or_default())
}
