//! The form of a chunk's stored bytes: frames that can be read and verified alone.
//!
//! A chunk of data is cut into frames of [`FRAME_DATA_LENGTH`] bytes, the last one shorter where the data ends; each frame is
//! followed by its tag. There is no header: the chunk's shape ([`ChunkShape`]: kind and data length) stands on the blob's record,
//! so that a range is one read of the zone, and every bit of the shape goes into each tag, so that a wrong shape cannot verify.
//!
//! ```text
//! stored  = frame*            frame = data (64 KiB, the last one 1 byte to 64 KiB) tag
//! tag     = CRC32C(data ‖ binding), little-endian, 4 bytes                  (kind 1)
//! binding = version 1, kind 1, chunk id 20, frame index 4 BE, data length 4 BE, last 1     (31 bytes)
//! ```
//!
//! What the binding makes impossible to miss, short of a collision of CRC32C:
//! - a frame of another chunk (an engine that reissued an id, a misdirected write): the chunk's id;
//! - frames swapped within a chunk, or read from the wrong offset: the index (a difference within 32 bits never collides);
//! - a chunk cut at a frame's end, or one with frames appended: the flag of the last frame, together with the shape;
//! - a frame cut within: its length; a hole of zeros: the binding is never all zeros, so the tag of zeros is not zero.
//!
//! CRC32C finds accidents. It keeps no secret and stops no adversary who can write to a zone; a kind with a 16-byte AEAD tag (and a
//! CRC over the sealed bytes beside it, so that scrub and repair need no key) has its number reserved: [`FrameKind::tag_length`]
//! is all that the arithmetic here knows of a kind.
//!
//! The binding comes after the data, so that the data can be summed as it arrives, before it is known whether the frame is the last.

use std::ops::Range;

use bytes::{Bytes, BytesMut};

use crate::ChunkId;

/// Data bytes of every frame but a chunk's last.
pub const FRAME_DATA_LENGTH: usize = 64 * 1024;

/// The longest chunk, stored bytes: data and tags.
pub const CHUNK_STORED_LENGTH_MAX: usize = 8 * 1024 * 1024;

/// Pieces shorter than this are copied together while encoding: a body that arrives in crumbs would otherwise pin the buffers it
/// was cut from, and cost more in slices than in bytes.
pub const PIECE_LENGTH_MIN: usize = 4 * 1024;

/// The version that goes into every tag. A change to this module's format takes the next number and keeps this one readable.
const BINDING_VERSION: u8 = 1;

/// Bytes of a binding.
const BINDING_LENGTH: usize = 1 + 1 + ChunkId::ENCODED_LENGTH + 4 + 4 + 1;

/// How frames are protected. The number stands in blob records: numbers are never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum FrameKind {
    /// Plain data, each frame followed by its CRC32C. Number 1. (2 is reserved for AEAD with a 16-byte tag.)
    Crc32c,
}

impl FrameKind {
    /// The number that records carry.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Crc32c => 1,
        }
    }

    /// The inverse of [`FrameKind::number`].
    pub fn from_number(number: u8) -> Result<Self, FrameError> {
        match number {
            1 => Ok(Self::Crc32c),
            other => Err(FrameError::UnknownKind(other)),
        }
    }

    /// Bytes that follow each frame's data.
    #[must_use]
    pub fn tag_length(self) -> usize {
        match self {
            Self::Crc32c => 4,
        }
    }

    /// The most data whose stored form takes no more than `stored_length` bytes.
    #[must_use]
    pub fn data_length_within(self, stored_length: usize) -> usize {
        let frame = FRAME_DATA_LENGTH + self.tag_length();
        let whole = stored_length / frame;
        let rest = stored_length % frame;
        whole * FRAME_DATA_LENGTH + rest.saturating_sub(self.tag_length())
    }
}

/// Why stored bytes are not the chunk they should be, or were asked for in a way that no chunk can answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The record names a kind of frame that this version does not know.
    #[error("unknown kind of frame: {0}")]
    UnknownKind(u8),
    /// A chunk holds at least 1 byte, and at most what fits in [`CHUNK_STORED_LENGTH_MAX`].
    #[error("no chunk holds {0} bytes of data")]
    DataLength(u64),
    /// The range is empty or passes the chunk's end.
    #[error("range {start}..{end} of a chunk of {data_length} bytes")]
    Range {
        /// Where the range starts, data bytes.
        start: u64,
        /// Where it ends, data bytes.
        end: u64,
        /// What the chunk holds, data bytes.
        data_length: u64,
    },
    /// The zone returned more or fewer stored bytes than were asked for.
    #[error("{got} stored bytes where {expected} were asked for")]
    StoredLength {
        /// Stored bytes of the span.
        expected: u64,
        /// Stored bytes that came.
        got: u64,
    },
    /// A frame's tag does not fit its data, its place, or its chunk.
    #[error("frame {index} is damaged")]
    Damaged {
        /// The frame's index within its chunk.
        index: u32,
    },
}

/// All that is needed to find and verify any frame of a chunk: it stands on the blob's record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ChunkShape {
    kind: FrameKind,
    data_length: u32,
}

/// A run of whole frames that holds a range of a chunk's data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// The frames.
    pub frames: Range<u32>,
    /// Where they stand in the chunk's stored bytes.
    pub stored: Range<u64>,
    /// The range of the chunk's data that was asked for.
    pub data: Range<u64>,
}

impl Span {
    /// Stored bytes to read.
    #[must_use]
    pub fn stored_length(&self) -> usize {
        (self.stored.end - self.stored.start) as usize
    }
}

impl ChunkShape {
    /// A chunk of `data_length` bytes; refused when empty or too long to be stored.
    pub fn new(kind: FrameKind, data_length: u64) -> Result<Self, FrameError> {
        let most = kind.data_length_within(CHUNK_STORED_LENGTH_MAX) as u64;
        match u32::try_from(data_length) {
            Ok(length) if length > 0 && data_length <= most => Ok(Self { kind, data_length: length }),
            _ => Err(FrameError::DataLength(data_length)),
        }
    }

    /// How the frames are protected.
    #[must_use]
    pub fn kind(self) -> FrameKind {
        self.kind
    }

    /// Bytes of data.
    #[must_use]
    pub fn data_length(self) -> u64 {
        u64::from(self.data_length)
    }

    /// Frames, at least 1.
    #[must_use]
    pub fn frame_count(self) -> u32 {
        self.data_length.div_ceil(FRAME_DATA_LENGTH as u32)
    }

    /// Bytes of data and tags.
    #[must_use]
    pub fn stored_length(self) -> u64 {
        self.data_length() + u64::from(self.frame_count()) * self.kind.tag_length() as u64
    }

    /// Data bytes of one frame; 0 past the last.
    #[must_use]
    pub fn frame_data_length(self, index: u32) -> usize {
        let start = u64::from(index) * FRAME_DATA_LENGTH as u64;
        (self.data_length().saturating_sub(start) as usize).min(FRAME_DATA_LENGTH)
    }

    /// The whole chunk.
    #[must_use]
    pub fn whole(self) -> Span {
        Span { frames: 0..self.frame_count(), stored: 0..self.stored_length(), data: 0..self.data_length() }
    }

    /// The frames that hold this range of the data, and where they are stored.
    pub fn span(self, data: Range<u64>) -> Result<Span, FrameError> {
        if data.start >= data.end || data.end > self.data_length() {
            return Err(FrameError::Range { start: data.start, end: data.end, data_length: self.data_length() });
        }
        let frame = FRAME_DATA_LENGTH as u64;
        let stored_frame = frame + self.kind.tag_length() as u64;
        let frames = (data.start / frame)..data.end.div_ceil(frame);
        let stored = frames.start * stored_frame..(frames.end * stored_frame).min(self.stored_length());
        Ok(Span { frames: frames.start as u32..frames.end as u32, stored, data })
    }

    /// Verifies every frame of a span (B1) and returns the data that was asked for, as slices of `stored`. Nothing is returned
    /// when any frame is damaged.
    pub fn verify(self, id: ChunkId, span: &Span, stored: &Bytes) -> Result<Vec<Bytes>, FrameError> {
        if stored.len() != span.stored_length() {
            return Err(FrameError::StoredLength { expected: span.stored_length() as u64, got: stored.len() as u64 });
        }
        let mut slices = Vec::with_capacity(span.frames.len());
        let mut at = 0;
        for index in span.frames.clone() {
            let length = self.frame_data_length(index);
            let (Some(data), Some(tag)) =
                (stored.get(at..at + length), stored.get(at + length..at + length + self.kind.tag_length()))
            else {
                return Err(FrameError::Damaged { index });
            };
            let last = index + 1 == self.frame_count();
            if length == 0 || tag != crc_tag(crc32c::crc32c(data), self.kind, id, index, length as u32, last) {
                return Err(FrameError::Damaged { index });
            }
            let frame_start = u64::from(index) * FRAME_DATA_LENGTH as u64;
            let from = span.data.start.saturating_sub(frame_start) as usize;
            let to = (span.data.end.saturating_sub(frame_start) as usize).min(length);
            if from < to {
                slices.push(stored.slice(at + from..at + to));
            }
            at += length + self.kind.tag_length();
        }
        Ok(slices)
    }
}

/// A chunk as zones store it.
#[derive(Debug, Clone)]
pub struct EncodedChunk {
    /// The chunk's name, which its tags are bound to.
    pub id: ChunkId,
    /// What the record must say.
    pub shape: ChunkShape,
    /// Data and tags in order; cloning them copies no data.
    pub pieces: Vec<Bytes>,
}

/// Cuts one chunk's data into frames as it arrives. Data is summed once, and not copied except for crumbs (see
/// [`PIECE_LENGTH_MIN`]).
#[derive(Debug)]
pub struct ChunkEncoder {
    id: ChunkId,
    kind: FrameKind,
    data_length: usize,
    data_length_max: usize,
    frame_index: u32,
    /// Data bytes in the current frame; a full frame is closed only when it is known whether more follows.
    frame_fill: usize,
    frame_checksum: u32,
    pieces: Vec<Bytes>,
    crumbs: BytesMut,
    tags: BytesMut,
}

impl ChunkEncoder {
    /// A chunk of at most `data_length_max` bytes of data, cut to what [`CHUNK_STORED_LENGTH_MAX`] allows, and at least 1.
    #[must_use]
    pub fn new(id: ChunkId, kind: FrameKind, data_length_max: usize) -> Self {
        let data_length_max = data_length_max.clamp(1, kind.data_length_within(CHUNK_STORED_LENGTH_MAX));
        Self {
            id,
            kind,
            data_length: 0,
            data_length_max,
            frame_index: 0,
            frame_fill: 0,
            frame_checksum: 0,
            pieces: Vec::new(),
            crumbs: BytesMut::new(),
            tags: BytesMut::new(),
        }
    }

    /// Data bytes taken so far.
    #[must_use]
    pub fn data_length(&self) -> usize {
        self.data_length
    }

    /// Data bytes that still fit.
    #[must_use]
    pub fn room(&self) -> usize {
        self.data_length_max - self.data_length
    }

    /// Takes what fits of `data`; what is left of it belongs to the next chunk.
    pub fn push(&mut self, data: &mut Bytes) {
        let mut taken = data.split_to(self.room().min(data.len()));
        while !taken.is_empty() {
            if self.frame_fill == FRAME_DATA_LENGTH {
                self.close_frame(false);
            }
            let part = taken.split_to((FRAME_DATA_LENGTH - self.frame_fill).min(taken.len()));
            self.frame_checksum = crc32c::crc32c_append(self.frame_checksum, &part);
            self.frame_fill += part.len();
            self.data_length += part.len();
            if part.len() < PIECE_LENGTH_MIN {
                self.crumbs.extend_from_slice(&part);
            } else {
                self.flush_crumbs();
                self.pieces.push(part);
            }
        }
    }

    /// The chunk; `None` when no data came.
    #[must_use]
    pub fn finish(mut self) -> Option<EncodedChunk> {
        let shape = ChunkShape::new(self.kind, self.data_length as u64).ok()?;
        self.close_frame(true);
        Some(EncodedChunk { id: self.id, shape, pieces: self.pieces })
    }

    fn flush_crumbs(&mut self) {
        if !self.crumbs.is_empty() {
            self.pieces.push(self.crumbs.split().freeze());
        }
    }

    fn close_frame(&mut self, last: bool) {
        self.flush_crumbs();
        let tag = crc_tag(self.frame_checksum, self.kind, self.id, self.frame_index, self.frame_fill as u32, last);
        if self.tags.capacity() < tag.len() {
            let frames_left = self.room().div_ceil(FRAME_DATA_LENGTH) + 1;
            self.tags.reserve(frames_left * tag.len());
        }
        self.tags.extend_from_slice(&tag);
        self.pieces.push(self.tags.split().freeze());
        self.frame_index += 1;
        self.frame_fill = 0;
        self.frame_checksum = 0;
    }
}

/// The tag of a frame whose data sums to `data_checksum`.
fn crc_tag(data_checksum: u32, kind: FrameKind, id: ChunkId, index: u32, length: u32, last: bool) -> [u8; 4] {
    let mut binding = [0; BINDING_LENGTH];
    binding[0] = BINDING_VERSION;
    binding[1] = kind.number();
    binding[2..22].copy_from_slice(&id.encode());
    binding[22..26].copy_from_slice(&index.to_be_bytes());
    binding[26..30].copy_from_slice(&length.to_be_bytes());
    binding[30] = u8::from(last);
    crc32c::crc32c_append(data_checksum, &binding).to_le_bytes()
}

/// Entry for fuzzing: arbitrary bytes as a record's shape, a range and stored bytes. Panics on a broken promise only.
#[doc(hidden)]
pub fn fuzz_verify(input: &[u8]) {
    let Some((head, stored)) = input.split_at_checked(33) else { return };
    let number = |range: Range<usize>| head.get(range).and_then(|part| part.try_into().ok()).map_or(0, u32::from_be_bytes);
    let Ok(kind) = FrameKind::from_number(head.first().copied().unwrap_or_default()) else { return };
    let Ok(shape) = ChunkShape::new(kind, u64::from(number(1..5))) else { return };
    let Ok(span) = shape.span(u64::from(number(5..9))..u64::from(number(9..13))) else { return };
    let Some(id) = head.get(13..33).and_then(|id| id.try_into().ok()).map(ChunkId::decode) else { return };
    if let Ok(slices) = shape.verify(id, &span, &Bytes::copy_from_slice(stored)) {
        let length: usize = slices.iter().map(Bytes::len).sum();
        assert_eq!(length as u64, span.data.end - span.data.start, "verified data has another length than was asked for");
    }
}

#[cfg(test)]
mod tests;
