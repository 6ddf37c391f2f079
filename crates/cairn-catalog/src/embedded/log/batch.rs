//! The unit of the catalog's log: a batch, the same bytes in every zone; and the frame that carries it in one zone's file.
//!
//! A batch chains its predecessor's checksum (L1), and records every zone's incarnation and durable positions (L7). A frame adds
//! what differs between zones: the generation of the file that it lies in, because files are recycled, and the highest index that
//! this zone had synced when the frame was written (L5).
//!
//! All numbers are little-endian.
//!
//! | frame, bytes | what |
//! |---|---|
//! | 0..4 | magic `CrnF` |
//! | 4..6 | format, 1 |
//! | 6..8 | 0 |
//! | 8..16 | generation of the file |
//! | 16..24 | synced index |
//! | 24..28 | length of the batch, bytes |
//! | 28..32 | CRC32C of the file's nonce and bytes 0..28 |
//! | 32.. | the batch, then zeros up to a multiple of 512 |
//!
//! | batch, bytes | what |
//! |---|---|
//! | 0..16 | store id |
//! | 16..24 | index |
//! | 24..32 | epoch |
//! | 32..48 | checksum of the batch before |
//! | 48..56 | catalog time, ms |
//! | 56..128 | per zone: incarnation, log index, segment position, 8 each |
//! | 128..132 | length of the payload, bytes |
//! | 132.. | payload |
//! | last 16 | XXH3-128 of all before |

use bytes::{BufMut, Bytes, BytesMut};
use cairn_types::StoreId;
use cairn_types::ids::ZONE_COUNT;
use xxhash_rust::xxh3::xxh3_128;

/// Frames start at multiples of this, so that writing one never touches the sector of another, bytes.
pub const FRAME_ALIGNMENT: u64 = 512;
/// Bytes of a frame before its batch.
pub const FRAME_HEADER_LENGTH: usize = 32;
/// The longest payload of a batch, bytes.
pub const PAYLOAD_LENGTH_MAX: usize = 12 << 20;

static ZEROS: [u8; FRAME_ALIGNMENT as usize] = [0; FRAME_ALIGNMENT as usize];

const FRAME_MAGIC: [u8; 4] = *b"CrnF";
const FRAME_FORMAT: u16 = 1;
const BATCH_HEADER_LENGTH: usize = 132;
const CHECKSUM_LENGTH: usize = 16;

/// A place in the one history: which batch, written under which epoch, with which checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Position {
    /// Rises by one from batch to batch; 0 is before the first.
    pub index: u64,
    /// The epoch under which the batch was written.
    pub epoch: u64,
    /// The batch's checksum, which covers the whole history before it.
    pub checksum: u128,
}

/// What is known of a zone when a batch is written (L7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ZoneMark {
    /// The zone's present life.
    pub incarnation: u64,
    /// The highest index that is durable in the zone's log.
    pub log_index: u64,
    /// The highest position that is durable in the zone's segments.
    pub segment_position: u64,
}

/// The marks of all zones.
pub type Marks = [ZoneMark; ZONE_COUNT];

/// A batch, encoded once and shared by all zones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// The store it belongs to.
    pub store: StoreId,
    /// Where in the history it stands.
    pub position: Position,
    /// The checksum of the batch before (L1).
    pub previous: u128,
    /// Catalog time, ms (T1).
    pub time_ms: u64,
    /// What was known of the zones.
    pub marks: Marks,
    encoded: Bytes,
}

/// Bytes that are not a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// Shorter than it says, or longer than any batch.
    #[error("the batch is cut short or longer than any batch")]
    Length,
    /// The checksum does not match.
    #[error("the batch's checksum does not match")]
    Checksum,
}

/// A little-endian reader over bytes whose length was checked before.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    fn u128(&mut self) -> Option<u128> {
        self.take().map(u128::from_le_bytes)
    }

    fn marks(&mut self) -> Option<Marks> {
        let mut marks = Marks::default();
        for mark in &mut marks {
            *mark = ZoneMark { incarnation: self.u64()?, log_index: self.u64()?, segment_position: self.u64()? };
        }
        Some(marks)
    }
}

pub(super) fn put_marks(out: &mut BytesMut, marks: &Marks) {
    for mark in marks {
        out.put_u64_le(mark.incarnation);
        out.put_u64_le(mark.log_index);
        out.put_u64_le(mark.segment_position);
    }
}

impl Batch {
    /// Encodes a batch that follows `previous`.
    ///
    /// # Panics
    ///
    /// When the payload is longer than [`PAYLOAD_LENGTH_MAX`]: the sequencer bounds it before.
    #[must_use]
    pub fn new(store: StoreId, previous: Position, epoch: u64, time_ms: u64, marks: Marks, payload: &[u8]) -> Self {
        assert!(payload.len() <= PAYLOAD_LENGTH_MAX, "the sequencer bounds a batch before it is made");
        let index = previous.index + 1;
        let mut out = BytesMut::with_capacity(BATCH_HEADER_LENGTH + payload.len() + CHECKSUM_LENGTH);
        out.put_u128_le(store.0);
        out.put_u64_le(index);
        out.put_u64_le(epoch);
        out.put_u128_le(previous.checksum);
        out.put_u64_le(time_ms);
        put_marks(&mut out, &marks);
        out.put_u32_le(payload.len() as u32);
        out.put_slice(payload);
        let checksum = xxh3_128(&out);
        out.put_u128_le(checksum);
        let position = Position { index, epoch, checksum };
        Self { store, position, previous: previous.checksum, time_ms, marks, encoded: out.freeze() }
    }

    /// Reads a batch and verifies its checksum.
    pub fn decode(encoded: &Bytes) -> Result<Self, BatchError> {
        let body_length = encoded.len().checked_sub(CHECKSUM_LENGTH).ok_or(BatchError::Length)?;
        let (body, checksum) = encoded.split_at(body_length);
        let checksum = Reader(checksum).u128().ok_or(BatchError::Length)?;
        if xxh3_128(body) != checksum {
            return Err(BatchError::Checksum);
        }
        Self::parse(body, checksum).map(|batch| Self { encoded: encoded.clone(), ..batch }).ok_or(BatchError::Length)
    }

    fn parse(body: &[u8], checksum: u128) -> Option<Self> {
        let mut reader = Reader(body);
        let store = StoreId(reader.u128()?);
        let (index, epoch) = (reader.u64()?, reader.u64()?);
        let (previous, time_ms) = (reader.u128()?, reader.u64()?);
        let marks = reader.marks()?;
        let payload_length = reader.u32()?;
        if reader.0.len() != payload_length as usize {
            return None;
        }
        let position = Position { index, epoch, checksum };
        Some(Self { store, position, previous, time_ms, marks, encoded: Bytes::new() })
    }

    /// What the batch carries.
    #[must_use]
    pub fn payload(&self) -> Bytes {
        let end = self.encoded.len().saturating_sub(CHECKSUM_LENGTH);
        self.encoded.slice(BATCH_HEADER_LENGTH.min(end)..end)
    }

    /// The whole batch, the same in every zone.
    #[must_use]
    pub fn encoded(&self) -> &Bytes {
        &self.encoded
    }

    /// Bytes that a frame with this batch takes in a file.
    #[must_use]
    pub fn frame_length(&self) -> u64 {
        frame_length(self.encoded.len())
    }

    /// The pieces of a frame with this batch, to be written one after the other.
    #[must_use]
    pub fn frame(&self, file: &FileHeader, synced_index: u64) -> [Bytes; 3] {
        let header = FrameHeader { generation: file.generation, synced_index, batch_length: self.encoded.len() as u32 };
        let padding = self.frame_length() as usize - FRAME_HEADER_LENGTH - self.encoded.len();
        [header.encode(file.nonce), self.encoded.clone(), Bytes::from_static(&ZEROS[..padding])]
    }
}

/// Bytes that a frame takes, whose batch is so long.
#[must_use]
pub fn frame_length(batch_length: usize) -> u64 {
    ((FRAME_HEADER_LENGTH + batch_length) as u64).next_multiple_of(FRAME_ALIGNMENT)
}

/// What a frame says of itself, before its batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    /// Of the file that the frame was written to.
    pub generation: u64,
    /// The highest index that the zone had synced then (L5).
    pub synced_index: u64,
    /// Bytes of the batch.
    pub batch_length: u32,
}

impl FrameHeader {
    fn encode(self, nonce: u64) -> Bytes {
        let mut out = BytesMut::with_capacity(FRAME_HEADER_LENGTH);
        out.put_slice(&FRAME_MAGIC);
        out.put_u16_le(FRAME_FORMAT);
        out.put_u16_le(0);
        out.put_u64_le(self.generation);
        out.put_u64_le(self.synced_index);
        out.put_u32_le(self.batch_length);
        let checksum = header_checksum(nonce, &out);
        out.put_u32_le(checksum);
        out.freeze()
    }

    /// Reads a header of a file with this nonce; `None` when these bytes are none.
    #[must_use]
    pub fn decode(bytes: &[u8], nonce: u64) -> Option<Self> {
        let bytes = bytes.get(..FRAME_HEADER_LENGTH)?;
        let mut reader = Reader(bytes);
        if reader.take::<4>()? != FRAME_MAGIC || reader.u16()? != FRAME_FORMAT {
            return None;
        }
        reader.u16()?;
        let header = Self { generation: reader.u64()?, synced_index: reader.u64()?, batch_length: reader.u32()? };
        let length = header.batch_length as usize;
        let sane = (BATCH_HEADER_LENGTH + CHECKSUM_LENGTH..=BATCH_HEADER_LENGTH + CHECKSUM_LENGTH + PAYLOAD_LENGTH_MAX)
            .contains(&length);
        (sane && header_checksum(nonce, &bytes[..FRAME_HEADER_LENGTH - 4]) == reader.u32()?).then_some(header)
    }
}

/// Depends on the file's nonce, which no client knows: bytes that somebody stored can never pass for a frame.
fn header_checksum(nonce: u64, header: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&nonce.to_le_bytes()), header)
}

/// Bytes of a file before its first frame.
pub const FILE_HEADER_LENGTH: u64 = 4096;
const FILE_MAGIC: [u8; 8] = *b"CairnLog";
const FILE_FORMAT: u32 = 1;
const FILE_HEADER_BYTES_USED: usize = 8 + 4 + 16 + 8 + 8 + 8 + 8 + 8 + 16 + 8 + 8 + 72;

/// What a log file says at its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileHeader {
    /// The store it belongs to.
    pub store: StoreId,
    /// The zone's life in which it was made.
    pub incarnation: u64,
    /// Rises from file to file, also when a file is recycled.
    pub generation: u64,
    /// Random, made anew with each generation; every frame's checksum depends on it.
    pub nonce: u64,
    /// The batch before the file's first; durable in this zone, in an earlier file or in the checkpoint.
    pub base: Position,
    /// Catalog time at `base`, ms.
    pub base_time_ms: u64,
    /// The epoch under which this history was last cut, 0 if never: marks of older epochs may name what was cut.
    pub cut_epoch: u64,
    /// The marks that the batch at `base` carried.
    pub base_marks: Marks,
}

impl FileHeader {
    /// A whole block of [`FILE_HEADER_LENGTH`] bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(FILE_HEADER_LENGTH as usize);
        out.put_slice(&FILE_MAGIC);
        out.put_u32_le(FILE_FORMAT);
        out.put_u128_le(self.store.0);
        out.put_u64_le(self.incarnation);
        out.put_u64_le(self.generation);
        out.put_u64_le(self.nonce);
        out.put_u64_le(self.base.index);
        out.put_u64_le(self.base.epoch);
        out.put_u128_le(self.base.checksum);
        out.put_u64_le(self.base_time_ms);
        out.put_u64_le(self.cut_epoch);
        put_marks(&mut out, &self.base_marks);
        debug_assert_eq!(out.len(), FILE_HEADER_BYTES_USED);
        let checksum = crc32c::crc32c(&out);
        out.put_u32_le(checksum);
        out.resize(FILE_HEADER_LENGTH as usize, 0);
        out.freeze()
    }

    /// Reads a header; `None` when these bytes are none.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let used = bytes.get(..FILE_HEADER_BYTES_USED)?;
        let checksum = Reader(bytes.get(FILE_HEADER_BYTES_USED..)?).u32()?;
        let mut reader = Reader(used);
        if crc32c::crc32c(used) != checksum || reader.take::<8>()? != FILE_MAGIC || reader.u32()? != FILE_FORMAT {
            return None;
        }
        Some(Self {
            store: StoreId(reader.u128()?),
            incarnation: reader.u64()?,
            generation: reader.u64()?,
            nonce: reader.u64()?,
            base: Position { index: reader.u64()?, epoch: reader.u64()?, checksum: reader.u128()? },
            base_time_ms: reader.u64()?,
            cut_epoch: reader.u64()?,
            base_marks: reader.marks()?,
        })
    }
}
