//! What the engine puts into SeaweedFS and what it hands out, byte by byte.
//!
//! - A *needle* is SeaweedFS's unit: a key of 64 bits, a cookie of 32, data. The engine makes key and cookie itself.
//! - Its data is a head of 64 bytes ([`Head`]) and then the chunk. The head names store, zone, incarnation, session and chunk (S1), so that
//!   a needle tells by itself whose it is, and no needle is ever empty: SeaweedFS takes an empty one for a deleted one.
//! - The [`Place`] in a locator names volume, key and cookie, and beside these the chunk's id, its length and the incarnation, so that a range past
//!   the end, another chunk's locator and another life's are refused without asking anybody (B2, B7).
//! - The *key* begins with the session of whoever writes, as far as [`HINT_BITS`] go. The index of a volume holds nothing but keys, offsets and
//!   sizes: that is what lets [`crate::Zone::enumerate`] pass over earlier sessions without reading a needle of them (S2, S3).

use std::fmt;

use bytes::Bytes;
use cairn_types::{BlobId, ChunkId, Incarnation, Locator, SessionId, StoreId, ZoneIndex};

use crate::embedded::format::locator::{put_number, take_number};

/// Bytes of the head before each chunk.
pub const HEAD_BYTES: usize = 64;
/// Bytes of a needle's header, and of the length of its data, before the data.
pub const NEEDLE_HEADER_BYTES: usize = 16 + 4;
/// Bytes that SeaweedFS counts for a needle beside its data: the data's length (4), flags (1), name (1 + 1), content type (1 + 19), time (5).
pub const NEEDLE_COUNTED_BYTES: u64 = 32;
/// The name that each needle is stored under. SeaweedFS would take the URL's last part, of varying length.
pub const NEEDLE_NAME: &str = "attachment; filename=\"c\"";
/// The content type of each needle. Without one SeaweedFS guesses, and compresses what looks like text; and one of its own making
/// (`application/octet-stream`) it stores in one replica and not in the other.
pub const CONTENT_TYPE: &str = "application/x-cairn";

/// Bits of the session in a key.
pub const HINT_BITS: u32 = 30;
/// Bits of the counter below.
pub const COUNTER_BITS: u32 = 33;

const MAGIC: [u8; 4] = *b"CRN\0";
const SEAL_MAGIC: [u8; 4] = *b"CRNS";
const HEAD_VERSION: u8 = 1;
const LOCATOR_VERSION: u8 = 1;
const CURSOR_VERSION: u8 = 1;
const CHECK_BYTES: usize = 4;
/// Bytes of what makes a seal one of its kind, beside its name.
const NONCE_BYTES: usize = 16;

/// What stands before each chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Whose store.
    pub store: StoreId,
    /// Which of its zones.
    pub zone: ZoneIndex,
    /// In which life of the zone it was written.
    pub incarnation: Incarnation,
    /// The session of whoever wrote this copy (S1).
    pub session: SessionId,
    /// Which chunk.
    pub id: ChunkId,
}

impl Head {
    /// As bytes, with a check sum: the index leads to a head without SeaweedFS having verified it.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(HEAD_BYTES);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&[HEAD_VERSION, self.zone.0, 0, 0]);
        out.extend_from_slice(&self.store.0.to_be_bytes());
        out.extend_from_slice(&self.incarnation.0.to_be_bytes());
        out.extend_from_slice(&self.session.0.to_be_bytes());
        out.extend_from_slice(&self.id.encode());
        out.extend_from_slice(&crc32c::crc32c(&out).to_be_bytes());
        Bytes::from(out)
    }

    /// `None` for anything that [`Head::encode`] does not make.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; HEAD_BYTES] = bytes.try_into().ok()?;
        let (body, check) = bytes.split_last_chunk::<CHECK_BYTES>()?;
        if crc32c::crc32c(body) != u32::from_be_bytes(*check) {
            return None;
        }
        let (magic, rest) = body.split_first_chunk::<4>()?;
        let ([version, zone, _, _], rest) = rest.split_first_chunk::<4>()?;
        if *magic != MAGIC || *version != HEAD_VERSION {
            return None;
        }
        let (store, rest) = rest.split_first_chunk::<16>()?;
        let (incarnation, rest) = rest.split_first_chunk::<8>()?;
        let (session, rest) = rest.split_first_chunk::<8>()?;
        Some(Self {
            store: StoreId(u128::from_be_bytes(*store)),
            zone: ZoneIndex(*zone),
            incarnation: Incarnation(u64::from_be_bytes(*incarnation)),
            session: SessionId(u64::from_be_bytes(*session)),
            id: ChunkId::decode(rest.try_into().ok()?),
        })
    }
}

/// A needle's name within a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fid {
    /// The volume.
    pub volume: u32,
    /// The needle in it.
    pub key: u64,
    /// What whoever asks for it must know.
    pub cookie: u32,
}

impl fmt::Display for Fid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{},{:x}{:08x}", self.volume, self.key, self.cookie)
    }
}

/// The lowest key of this session: keys of earlier sessions are below it. Sessions past [`HINT_BITS`] share the highest hint, so that they are found
/// all the same, only not as cheaply. Below the first session's there are only seals.
#[must_use]
pub fn first_key(session: SessionId) -> u64 {
    session.0.clamp(1, (1 << HINT_BITS) - 1) << COUNTER_BITS
}

/// The key of a needle that is written under this session.
#[must_use]
pub fn key(session: SessionId, counter: u64) -> u64 {
    first_key(session) | (counter & ((1 << COUNTER_BITS) - 1))
}

/// The key of a seal, from any number.
#[must_use]
pub fn seal_key(random: u64) -> u64 {
    // Key 0 is none to SeaweedFS.
    (random & ((1 << COUNTER_BITS) - 1)).max(1)
}

/// What a seal's needle holds. A seal is a needle that the engine puts into a volume of its own, and remembers outside of the cluster: as long as it is there, this is that
/// volume, and holds all that was durable in it before the seal was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SealHead {
    /// Whose store.
    pub store: StoreId,
    /// Which of its zones.
    pub zone: ZoneIndex,
    /// In which life of the zone.
    pub incarnation: Incarnation,
    /// In which volume.
    pub volume: u32,
    /// One more than the revision of the memory when it was made.
    pub number: u64,
    /// What no other seal has.
    pub nonce: [u8; NONCE_BYTES],
}

impl SealHead {
    /// As bytes, as long as a chunk's head.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(HEAD_BYTES);
        out.extend_from_slice(&SEAL_MAGIC);
        out.extend_from_slice(&[HEAD_VERSION, self.zone.0, 0, 0]);
        out.extend_from_slice(&self.store.0.to_be_bytes());
        out.extend_from_slice(&self.incarnation.0.to_be_bytes());
        out.extend_from_slice(&self.number.to_be_bytes());
        out.extend_from_slice(&self.volume.to_be_bytes());
        out.extend_from_slice(&self.nonce);
        out.extend_from_slice(&crc32c::crc32c(&out).to_be_bytes());
        Bytes::from(out)
    }

    /// `None` for anything that [`SealHead::encode`] does not make.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; HEAD_BYTES] = bytes.try_into().ok()?;
        let (body, check) = bytes.split_last_chunk::<CHECK_BYTES>()?;
        if crc32c::crc32c(body) != u32::from_be_bytes(*check) {
            return None;
        }
        let (magic, rest) = body.split_first_chunk::<4>()?;
        let ([version, zone, _, _], rest) = rest.split_first_chunk::<4>()?;
        if *magic != SEAL_MAGIC || *version != HEAD_VERSION {
            return None;
        }
        let (store, rest) = rest.split_first_chunk::<16>()?;
        let (incarnation, rest) = rest.split_first_chunk::<8>()?;
        let (number, rest) = rest.split_first_chunk::<8>()?;
        let (volume, rest) = rest.split_first_chunk::<4>()?;
        Some(Self {
            store: StoreId(u128::from_be_bytes(*store)),
            zone: ZoneIndex(*zone),
            incarnation: Incarnation(u64::from_be_bytes(*incarnation)),
            volume: u32::from_be_bytes(*volume),
            number: u64::from_be_bytes(*number),
            nonce: rest.try_into().ok()?,
        })
    }
}

/// What a locator says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The zone's life.
    pub incarnation: Incarnation,
    /// The needle.
    pub fid: Fid,
    /// The chunk's length, bytes, without the head.
    pub length: u32,
    /// The chunk.
    pub id: ChunkId,
}

impl Place {
    /// As opaque bytes, about 30 of them.
    #[must_use]
    pub fn encode(&self) -> Locator {
        let mut out = Vec::with_capacity(Locator::LENGTH_MAX);
        out.push(LOCATOR_VERSION);
        out.extend_from_slice(&self.fid.key.to_be_bytes());
        out.extend_from_slice(&self.fid.cookie.to_be_bytes());
        let (id, blob) = (self.id, self.id.blob);
        for number in [
            u64::from(self.fid.volume),
            u64::from(self.length),
            self.incarnation.0,
            blob.session.0,
            blob.counter,
            u64::from(id.ordinal),
        ] {
            put_number(&mut out, number);
        }
        out.extend_from_slice(&crc32c::crc32c(&out).to_be_bytes());
        // At most 1 + 12 + 5 + 5 + 3 * 10 + 5 + 4 = 62 of 64 bytes.
        Locator::new(Bytes::from(out)).unwrap_or_else(|| unreachable!("a locator of at most 62 bytes"))
    }

    /// `None` for anything that [`Place::encode`] does not make.
    #[must_use]
    pub fn decode(locator: &Locator) -> Option<Self> {
        let (body, check) = locator.as_bytes().split_last_chunk::<CHECK_BYTES>()?;
        if crc32c::crc32c(body) != u32::from_be_bytes(*check) {
            return None;
        }
        let (version, rest) = body.split_first()?;
        if *version != LOCATOR_VERSION {
            return None;
        }
        let (key, rest) = rest.split_first_chunk()?;
        let (cookie, mut rest) = rest.split_first_chunk()?;
        let fid = Fid {
            volume: u32::try_from(take_number(&mut rest)?).ok()?,
            key: u64::from_be_bytes(*key),
            cookie: u32::from_be_bytes(*cookie),
        };
        let length = u32::try_from(take_number(&mut rest)?).ok()?;
        let incarnation = Incarnation(take_number(&mut rest)?);
        let blob = BlobId { session: SessionId(take_number(&mut rest)?), counter: take_number(&mut rest)? };
        let id = ChunkId { blob, ordinal: u32::try_from(take_number(&mut rest)?).ok()? };
        rest.is_empty().then_some(Self { incarnation, fid, length, id })
    }
}

/// Where a walk is: behind this needle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// Which walk: what of it is remembered between its pages.
    pub walk: u64,
    /// The volume it is in; volumes come by their numbers.
    pub volume: u32,
    /// The last key that it has passed; keys come by their numbers.
    pub key: u64,
}

impl Cursor {
    /// As opaque bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = vec![CURSOR_VERSION];
        out.extend_from_slice(&self.walk.to_be_bytes());
        out.extend_from_slice(&self.volume.to_be_bytes());
        out.extend_from_slice(&self.key.to_be_bytes());
        out.extend_from_slice(&crc32c::crc32c(&out).to_be_bytes());
        Bytes::from(out)
    }

    /// `None` for anything that [`Cursor::encode`] does not make.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (body, check) = bytes.split_last_chunk::<CHECK_BYTES>()?;
        let (version, rest) = body.split_first()?;
        if crc32c::crc32c(body) != u32::from_be_bytes(*check) || *version != CURSOR_VERSION {
            return None;
        }
        let (walk, rest) = rest.split_first_chunk()?;
        let (volume, rest) = rest.split_first_chunk()?;
        Some(Self {
            walk: u64::from_be_bytes(*walk),
            volume: u32::from_be_bytes(*volume),
            key: u64::from_be_bytes(rest.try_into().ok()?),
        })
    }
}

/// What stands at a needle's offset, as far as the head of the chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opening {
    /// Its key.
    pub key: u64,
    /// Its cookie.
    pub cookie: u32,
    /// Bytes of its data, head and chunk.
    pub data_bytes: u32,
}

impl Opening {
    /// Reads a needle's header and the length of its data, and gives what follows.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (cookie, rest) = bytes.split_first_chunk()?;
        let (key, rest) = rest.split_first_chunk()?;
        let (_size, rest) = rest.split_first_chunk::<4>()?;
        let (data_bytes, rest) = rest.split_first_chunk()?;
        let opening = Self {
            key: u64::from_be_bytes(*key),
            cookie: u32::from_be_bytes(*cookie),
            data_bytes: u32::from_be_bytes(*data_bytes),
        };
        Some((opening, rest))
    }
}

/// An entry of a volume's index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexEntry {
    /// Which needle.
    pub key: u64,
    /// Where it begins in the data file, bytes.
    pub offset: u64,
    /// Whether this says that it was deleted.
    pub deleted: bool,
}

impl IndexEntry {
    /// Bytes of an entry whose offset takes so many.
    #[must_use]
    pub fn bytes(offset_bytes: usize) -> usize {
        8 + offset_bytes + 4
    }

    /// Decodes an entry of that length. An offset counts units of 8 bytes; of its 5 bytes the last is the highest.
    #[must_use]
    pub fn decode(entry: &[u8]) -> Option<Self> {
        let (key, rest) = entry.split_first_chunk()?;
        let (offset, size) = rest.split_last_chunk::<4>()?;
        let (low, high) = offset.split_first_chunk()?;
        let high = match high {
            [] => 0,
            [high] => u64::from(*high),
            _ => return None,
        };
        let units = high << 32 | u64::from(u32::from_be_bytes(*low));
        let size = i32::from_be_bytes(*size);
        Some(Self { key: u64::from_be_bytes(*key), offset: units * 8, deleted: size <= 0 || units == 0 })
    }
}

#[cfg(test)]
mod tests;
