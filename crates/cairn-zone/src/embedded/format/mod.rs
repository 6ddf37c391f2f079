//! The bytes on disk, version 1. `docs/adr/0005-segments.md` has them as tables.
//!
//! Everything here is a pure function of bytes. Parsers take anything, of any length, and never panic: they are what a fuzzer
//! calls. Numbers are little-endian; a chunk's id is in its encoded form (big-endian, so that its order is kept).

pub mod index;
pub mod locator;
pub mod record;
pub mod segment;

pub use index::{Entry, IndexHeader};
pub use locator::Place;
pub use record::{RecordHeader, RecordState};
pub use segment::{SegmentHeader, SegmentState};

/// The version that this build writes, and the only one that it reads.
pub const FORMAT_VERSION: u16 = 1;

/// Records, and the index, start at multiples of this, bytes. It is the page and the block of the usual file systems: no record
/// shares one with another, so nothing that was acknowledged is ever rewritten by an append, and holes come out whole.
pub const BLOCK_BYTES: u64 = 4096;

/// Why bytes are not what they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// Fewer bytes than the structure has.
    #[error("too short")]
    Short,
    /// They do not begin with the structure's magic.
    #[error("not of this kind")]
    Other,
    /// The check sum does not hold.
    #[error("damaged")]
    Damaged,
    /// Whole, and written by a newer Cairn.
    #[error("format version {0}, and this build reads {FORMAT_VERSION}")]
    Version(u16),
}

/// Rounds up to whole blocks; saturates.
#[must_use]
pub const fn blocks_up(bytes: u64) -> u64 {
    bytes.saturating_add(BLOCK_BYTES - 1) / BLOCK_BYTES * BLOCK_BYTES
}

/// Writes fields one after the other into a buffer of fixed size.
pub(crate) struct Put<'a> {
    buffer: &'a mut [u8],
    at: usize,
}

impl<'a> Put<'a> {
    pub(crate) fn new(buffer: &'a mut [u8]) -> Self {
        Self { buffer, at: 0 }
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.buffer[self.at..self.at + bytes.len()].copy_from_slice(bytes);
        self.at += bytes.len();
        self
    }

    pub(crate) fn u16(&mut self, value: u16) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    pub(crate) fn u32(&mut self, value: u32) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    pub(crate) fn u64(&mut self, value: u64) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }
}

/// Reads fields one after the other; past the end everything is zero, which the callers exclude by checking the length first.
pub(crate) struct Get<'a> {
    rest: &'a [u8],
}

impl<'a> Get<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn bytes<const N: usize>(&mut self) -> [u8; N] {
        if let Some((first, rest)) = self.rest.split_first_chunk::<N>() {
            self.rest = rest;
            *first
        } else {
            self.rest = &[];
            [0; N]
        }
    }

    pub(crate) fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.bytes())
    }

    pub(crate) fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.bytes())
    }

    pub(crate) fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.bytes())
    }
}

/// Whether the last four bytes are the CRC32C of those before them.
pub(crate) fn ends_with_crc(bytes: &[u8]) -> bool {
    bytes.split_last_chunk::<4>().is_some_and(|(body, stored)| crc32c::crc32c(body) == u32::from_le_bytes(*stored))
}

/// Puts the CRC32C of everything before them into the last four bytes.
pub(crate) fn seal_with_crc(bytes: &mut [u8]) {
    if let Some((body, stored)) = bytes.split_last_chunk_mut::<4>() {
        *stored = crc32c::crc32c(body).to_le_bytes();
    }
}

#[cfg(test)]
mod tests;
