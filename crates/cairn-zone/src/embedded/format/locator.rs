//! The locator: where in which generation a record is, and which record.
//!
//! One version byte, then generation, offset in blocks and sequence, each as LEB128 in its shortest form: about ten bytes. The
//! sequence makes it a name that is never given out twice, whatever becomes of the file.

use bytes::Bytes;
use cairn_types::Locator;

use super::BLOCK_BYTES;

const VERSION: u8 = 1;
/// LEB128 takes this many bytes for 64 bits.
const NUMBER_BYTES_MAX: usize = 10;

/// What a locator says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
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
        let mut out = Vec::with_capacity(1 + 3 * NUMBER_BYTES_MAX);
        out.push(VERSION);
        for number in [self.generation, self.offset / BLOCK_BYTES, self.sequence] {
            put_number(&mut out, number);
        }
        // At most 31 of 64 bytes.
        Locator::new(Bytes::from(out)).unwrap_or_else(|| unreachable!("a locator of at most 31 bytes"))
    }

    /// `None` for anything that [`Place::encode`] does not make.
    #[must_use]
    pub fn decode(locator: &Locator) -> Option<Self> {
        let (version, mut rest) = locator.as_bytes().split_first()?;
        if *version != VERSION {
            return None;
        }
        let generation = take_number(&mut rest)?;
        let offset = take_number(&mut rest)?.checked_mul(BLOCK_BYTES)?;
        let sequence = take_number(&mut rest)?;
        rest.is_empty().then_some(Self { generation, offset, sequence })
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
