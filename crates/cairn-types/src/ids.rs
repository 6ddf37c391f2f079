//! Identifiers that catalog, zones and gateways exchange.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// How many zones a store has. Every store has three; the type system would gain nothing from making this variable.
pub const ZONE_COUNT: usize = 3;

/// The identity of a whole store, made once when it is formed. A zone of another store is refused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StoreId(#[serde(with = "hex_u128")] pub u128);

/// Which of the three zones: its place in the store's configuration, 0 to 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ZoneIndex(pub u8);

impl ZoneIndex {
    /// All zones in order.
    pub const ALL: [ZoneIndex; ZONE_COUNT] = [ZoneIndex(0), ZoneIndex(1), ZoneIndex(2)];

    /// The index as an array subscript.
    #[must_use]
    pub fn get(self) -> usize {
        usize::from(self.0)
    }
}

/// A zone's life between losses of its memory. It only rises; 0 is never used by a formed zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Incarnation(pub u64);

/// A gateway's right to write (rules S1, S2). Session identifiers only rise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SessionId(pub u64);

/// A bucket's identity within its catalog. Names can be used again, identifiers never.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BucketId(pub u64);

/// A blob: the session that wrote it and a counter within that session. So every blob tells which session it belongs to,
/// and no coordination is needed to make one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BlobId {
    /// The writer session that stored the blob's chunks.
    pub session: SessionId,
    /// Unique within the session.
    pub counter: u64,
}

/// A chunk: its blob and its ordinal in it. The collector finds the blob from the chunk's name alone.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ChunkId {
    /// The blob the chunk is a part of.
    pub blob: BlobId,
    /// 0 for the blob's first chunk.
    pub ordinal: u32,
}

impl BlobId {
    /// Bytes in the encoded form.
    pub const ENCODED_LENGTH: usize = 16;

    /// Big-endian, so that byte order is the order of the identifiers.
    #[must_use]
    pub fn encode(self) -> [u8; Self::ENCODED_LENGTH] {
        let mut out = [0; Self::ENCODED_LENGTH];
        out[..8].copy_from_slice(&self.session.0.to_be_bytes());
        out[8..].copy_from_slice(&self.counter.to_be_bytes());
        out
    }

    /// The inverse of [`BlobId::encode`].
    #[must_use]
    pub fn decode(bytes: &[u8; Self::ENCODED_LENGTH]) -> Self {
        let (session, counter) = bytes.split_at(8);
        Self {
            session: SessionId(u64::from_be_bytes(session.try_into().unwrap_or_default())),
            counter: u64::from_be_bytes(counter.try_into().unwrap_or_default()),
        }
    }
}

impl ChunkId {
    /// Bytes in the encoded form.
    pub const ENCODED_LENGTH: usize = 20;

    /// Big-endian, so that byte order is the order of the identifiers.
    #[must_use]
    pub fn encode(self) -> [u8; Self::ENCODED_LENGTH] {
        let mut out = [0; Self::ENCODED_LENGTH];
        out[..16].copy_from_slice(&self.blob.encode());
        out[16..].copy_from_slice(&self.ordinal.to_be_bytes());
        out
    }

    /// The inverse of [`ChunkId::encode`].
    #[must_use]
    pub fn decode(bytes: &[u8; Self::ENCODED_LENGTH]) -> Self {
        let (blob, ordinal) = bytes.split_at(16);
        Self {
            blob: BlobId::decode(blob.try_into().unwrap_or(&[0; 16])),
            ordinal: u32::from_be_bytes(ordinal.try_into().unwrap_or_default()),
        }
    }
}

/// Where a zone keeps a chunk: opaque bytes that only that zone reads. Never longer than [`Locator::LENGTH_MAX`].
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Locator(Bytes);

impl Locator {
    /// The longest locator a zone may return, bytes.
    pub const LENGTH_MAX: usize = 64;

    /// Takes a zone's bytes; `None` when they are longer than [`Locator::LENGTH_MAX`].
    #[must_use]
    pub fn new(bytes: Bytes) -> Option<Self> {
        (bytes.len() <= Self::LENGTH_MAX).then_some(Self(bytes))
    }

    /// The zone's bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &Bytes {
        &self.0
    }
}

/// A zone's name: 1 to 32 characters of `a-z`, `0-9` and `-`, not starting or ending with `-`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ZoneName(String);

/// A text that is not a [`ZoneName`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a zone's name has 1 to 32 characters of a-z, 0-9 and '-', and does not start or end with '-'; got {0:?}")]
pub struct InvalidZoneName(pub String);

impl ZoneName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for ZoneName {
    type Error = InvalidZoneName;

    fn try_from(text: String) -> Result<Self, InvalidZoneName> {
        let valid = (1..=32).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
            && !text.starts_with('-')
            && !text.ends_with('-');
        if valid { Ok(Self(text)) } else { Err(InvalidZoneName(text)) }
    }
}

impl std::str::FromStr for ZoneName {
    type Err = InvalidZoneName;

    fn from_str(text: &str) -> Result<Self, InvalidZoneName> {
        Self::try_from(text.to_owned())
    }
}

impl From<ZoneName> for String {
    fn from(name: ZoneName) -> String {
        name.0
    }
}

impl fmt::Display for ZoneName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Display for StoreId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:032x}", self.0)
    }
}

impl fmt::Debug for StoreId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "StoreId({self})")
    }
}

impl fmt::Debug for BlobId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}", self.session.0, self.counter)
    }
}

impl fmt::Debug for ChunkId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?}.{}", self.blob, self.ordinal)
    }
}

impl fmt::Debug for Locator {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Locator(")?;
        for byte in &self.0 {
            write!(formatter, "{byte:02x}")?;
        }
        formatter.write_str(")")
    }
}

impl fmt::Display for ZoneIndex {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.0)
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.0)
    }
}

/// JSON has no 128-bit numbers that every reader keeps whole, so the store's id is written as 32 hexadecimal digits.
mod hex_u128 {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde prescribes the signature")]
    pub fn serialize<S: Serializer>(value: &u128, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format!("{value:032x}"))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u128, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.len() != 32 {
            return Err(D::Error::custom("a store's id is 32 hexadecimal digits"));
        }
        u128::from_str_radix(&text, 16).map_err(D::Error::custom)
    }
}
