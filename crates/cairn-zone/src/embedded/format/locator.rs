//! The locator: where in which generation a record is, and which record.
//!
//! One version byte, four bytes of the generation's nonce, then the zone's incarnation, generation, offset in blocks and sequence, each as
//! LEB128 in its shortest form: about 15 bytes. The sequence makes it a name that is never given out twice within a life of the zone,
//! whatever becomes of the file. A new life counts from 1 again: the incarnation keeps its names apart from those of all lives before
//! (B2, B7), and the nonce keeps apart two histories that share an incarnation, which happens where an older copy of a directory is put
//! back that is not behind anything that was recorded of it (L7).

use bytes::Bytes;
use cairn_types::{Incarnation, Locator};

use super::BLOCK_BYTES;

const VERSION: u8 = 1;
/// LEB128 takes this many bytes for 64 bits.
const NUMBER_BYTES_MAX: usize = 10;

/// What a locator says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The zone's life.
    pub incarnation: Incarnation,
    /// The upper half of the generation's nonce. The rest of it never leaves the disk.
    pub tag: u32,
    /// Generation of the segment.
    pub generation: u64,
    /// Where the record begins in its file, bytes.
    pub offset: u64,
    /// The record's sequence.
    pub sequence: u64,
}

impl Place {
    /// As opaque bytes.
    #[must_use]
    pub fn encode(&self) -> Locator {
        let mut out = Vec::with_capacity(5 + 4 * NUMBER_BYTES_MAX);
        out.push(VERSION);
        out.extend_from_slice(&self.tag.to_le_bytes());
        for number in [self.incarnation.0, self.generation, self.offset / BLOCK_BYTES, self.sequence] {
            put_number(&mut out, number);
        }
        // At most 45 of 64 bytes.
        Locator::new(Bytes::from(out)).unwrap_or_else(|| unreachable!("a locator of at most 45 bytes"))
    }

    /// `None` for anything that [`Place::encode`] does not make.
    #[must_use]
    pub fn decode(locator: &Locator) -> Option<Self> {
        let (version, mut rest) = locator.as_bytes().split_first()?;
        if *version != VERSION {
            return None;
        }
        let (tag, after) = rest.split_first_chunk()?;
        let tag = u32::from_le_bytes(*tag);
        rest = after;
        let incarnation = Incarnation(take_number(&mut rest)?);
        let generation = take_number(&mut rest)?;
        let offset = take_number(&mut rest)?.checked_mul(BLOCK_BYTES)?;
        let sequence = take_number(&mut rest)?;
        rest.is_empty().then_some(Self { incarnation, tag, generation, offset, sequence })
    }
}

/// Appends a number as LEB128.
pub(crate) fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push((number as u8) | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Takes a number in its shortest form from the front.
pub(crate) fn take_number(bytes: &mut &[u8]) -> Option<u64> {
    let mut number: u64 = 0;
    for at in 0..NUMBER_BYTES_MAX {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        let bits = u64::from(byte & 0x7f);
        number |= bits.checked_shl(at as u32 * 7).filter(|shifted| shifted >> (at * 7) == bits)?;
        if byte & 0x80 == 0 {
            // A last byte of zero would be a longer form of the same number.
            return (*byte != 0 || at == 0).then_some(number);
        }
    }
    None
}
