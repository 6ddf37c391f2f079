//! The head of a segment file: one block, with the header in it twice.
//!
//! ```text
//! at    bytes  what
//!   0      8   magic "CAIRNSEG"
//!   8      2   format version
//!  10      1   zone
//!  11      1   zero
//!  12      4   state: 1 spare, 2 in use, 3 retired
//!  16     16   store id (big-endian)
//!  32      8   the zone's incarnation
//!  40      8   generation; 0 in a spare
//!  48      8   nonce; 0 in a spare
//!  56      8   base: the zone's durable position when the generation began; its first record has the next sequence
//!  64      …   zeros
//! 508      4   CRC32C of bytes 0..508
//! 2048   512   the same again
//! ```
//!
//! The two copies are in sectors of their own. A torn change leaves an old and a new one, and the one that counts is decided by
//! [`SegmentHeader::parse_block`]; each change is made so that either is right until it is synced.

use cairn_types::{Incarnation, StoreId, ZoneIndex};

use super::{BLOCK_BYTES, FORMAT_VERSION, Get, ParseError, Put, ends_with_crc, seal_with_crc};

const HEADER_BYTES: usize = 512;
const SECOND_COPY: usize = 2048;
const MAGIC: [u8; 8] = *b"CAIRNSEG";

/// What a segment file is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SegmentState {
    /// Prepared and not yet used.
    Spare,
    /// Has records of its generation.
    InUse,
    /// Its generation is over: whatever it holds does not count.
    Retired,
}

/// What a segment file says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentHeader {
    /// The store that it belongs to.
    pub store: StoreId,
    /// The zone that it belongs to.
    pub zone: ZoneIndex,
    /// The life of that zone.
    pub incarnation: Incarnation,
    /// What the file is for.
    pub state: SegmentState,
    /// Rises with each use of a file, for ever; 0 in a spare.
    pub generation: u64,
    /// Random for each generation; 0 in a spare.
    pub nonce: u64,
    /// The zone's durable position when the generation began. Records of earlier generations above it do not count.
    pub base_position: u64,
}

impl SegmentHeader {
    /// The file's first block.
    #[must_use]
    pub fn encode_block(&self) -> Vec<u8> {
        let mut header = [0; HEADER_BYTES];
        let state = match self.state {
            SegmentState::Spare => 1,
            SegmentState::InUse => 2,
            SegmentState::Retired => 3,
        };
        Put::new(&mut header)
            .bytes(&MAGIC)
            .u16(FORMAT_VERSION)
            .bytes(&[self.zone.0, 0])
            .u32(state)
            .bytes(&self.store.0.to_be_bytes())
            .u64(self.incarnation.0)
            .u64(self.generation)
            .u64(self.nonce)
            .u64(self.base_position);
        seal_with_crc(&mut header);
        let mut block = vec![0; BLOCK_BYTES as usize];
        for start in [0, SECOND_COPY] {
            block[start..start + HEADER_BYTES].copy_from_slice(&header);
        }
        block
    }

    /// Reads one copy.
    pub fn parse(bytes: &[u8]) -> Result<Self, ParseError> {
        let bytes: &[u8; HEADER_BYTES] = bytes.first_chunk().ok_or(ParseError::Short)?;
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
        let [zone, _] = get.bytes();
        let state = match get.u32() {
            1 => SegmentState::Spare,
            2 => SegmentState::InUse,
            3 => SegmentState::Retired,
            _ => return Err(ParseError::Damaged),
        };
        Ok(Self {
            store: StoreId(u128::from_be_bytes(get.bytes())),
            zone: ZoneIndex(zone),
            incarnation: Incarnation(get.u64()),
            state,
            generation: get.u64(),
            nonce: get.u64(),
            base_position: get.u64(),
        })
    }

    /// Reads a file's first block: of two readable copies the later generation counts, and within one generation the later state.
    pub fn parse_block(bytes: &[u8]) -> Result<Self, ParseError> {
        let first = Self::parse(bytes);
        let second = Self::parse(bytes.get(SECOND_COPY..).unwrap_or_default());
        match (first, second) {
            (Ok(first), Ok(second)) => {
                let later = (second.generation, second.state) > (first.generation, first.state);
                Ok(if later { second } else { first })
            }
            (Err(version @ ParseError::Version(_)), _) | (_, Err(version @ ParseError::Version(_))) => Err(version),
            (Ok(one), Err(_)) | (Err(_), Ok(one)) => Ok(one),
            (Err(first), Err(_)) => Err(first),
        }
    }
}
