//! The values that describe buckets, objects and uploads: names, versions, entity tags, checksums, metadata.
//!
//! They are shared by the catalog that keeps them, the store that works on them and the front that speaks S3. None of them knows
//! XML or HTTP; what a text form is accepted or shown as is S3's.

use std::fmt;

use bytes::Bytes;

/// A scope for bucket names (design, section 2). 0 is the tenant that every store has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct TenantId(pub u64);

impl TenantId {
    /// The tenant that every store has.
    pub const DEFAULT: TenantId = TenantId(0);
}

/// The owner of buckets and keys: S3's canonical user id, shown as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountId(pub [u8; 32]);

/// A bucket's name: 3 to 63 bytes of `a-z`, `0-9`, `-` and `.`, that starts and ends with a letter or digit, has no `..`, `.-` or `-.`, and does not look
/// like an IPv4 address (AWS, "General purpose bucket naming rules").
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BucketName(Box<str>);

/// A text that is not a [`BucketName`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a bucket's name has 3 to 63 characters of a-z, 0-9, '-' and '.', starts and ends with a letter or digit, and is not like an IP address"
)]
pub struct InvalidBucketName;

/// An object's key: 1 to 1,024 bytes of UTF-8. Nothing is normalised: `//`, `..` and a trailing `/` are part of the key.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey(Box<str>);

/// Why a text is not an [`ObjectKey`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidObjectKey {
    /// No bytes at all.
    #[error("an object's key is not empty")]
    Empty,
    /// More than [`ObjectKey::LENGTH_MAX`] bytes.
    #[error("an object's key has at most {} bytes, this one has {length}", ObjectKey::LENGTH_MAX)]
    TooLong {
        /// Bytes in the text.
        length: usize,
    },
}

/// Which version of a key. What the bytes mean is the store's; S3 clients see 32 hexadecimal digits, or `null`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum VersionId {
    /// The version that a bucket keeps while versioning was never enabled or is suspended.
    Null,
    /// A version written while versioning was enabled.
    Id([u8; 16]),
}

/// A multipart upload; clients see 32 hexadecimal digits. Not guessable.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UploadId(pub [u8; 16]);

/// An object's entity tag: MD5 of the bytes, or of the parts' MD5 values with the number of parts, as S3 has it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ETag {
    /// MD5 of the bytes; of the parts' digests one after the other when `part_count` is not 0.
    pub digest: [u8; 16],
    /// 0: not made by a multipart upload. Else 1 to 10,000, shown behind a `-`.
    pub part_count: u32,
}

/// The checksums that S3 knows beside MD5.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChecksumAlgorithm {
    /// CRC-32 (ISO-HDLC, as in zip), 4 bytes big-endian.
    Crc32,
    /// CRC-32C (Castagnoli), 4 bytes big-endian.
    Crc32c,
    /// CRC-64/NVME, 8 bytes big-endian.
    Crc64Nvme,
    /// SHA-1, 20 bytes.
    Sha1,
    /// SHA-256, 32 bytes.
    Sha256,
}

/// What an object's checksum covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChecksumType {
    /// The object's bytes.
    FullObject,
    /// The parts' checksums one after the other.
    Composite,
}

/// A checksum that was verified or computed when the bytes were written.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Checksum {
    algorithm: ChecksumAlgorithm,
    /// 0: over the bytes (full object). Else over the checksums of so many parts (composite), shown behind a `-`.
    part_count: u32,
    value: [u8; ChecksumAlgorithm::LENGTH_MAX],
}

/// The headers that an object keeps and gives back. Values are the header's bytes as they came.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ObjectMetadata {
    /// `Content-Type`.
    pub content_type: Option<Bytes>,
    /// `Content-Encoding`, without `aws-chunked`.
    pub content_encoding: Option<Bytes>,
    /// `Content-Disposition`.
    pub content_disposition: Option<Bytes>,
    /// `Content-Language`.
    pub content_language: Option<Bytes>,
    /// `Cache-Control`.
    pub cache_control: Option<Bytes>,
    /// `Expires`.
    pub expires: Option<Bytes>,
    /// `x-amz-website-redirect-location`.
    pub website_redirect_location: Option<Bytes>,
    /// `x-amz-meta-*`: name without that prefix in lower case, and value, in the order of the names.
    pub user: Vec<(Bytes, Bytes)>,
}

impl BucketName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the text is a bucket's name.
    #[must_use]
    pub fn is_valid(text: &str) -> bool {
        let bytes = text.as_bytes();
        let alphanumeric = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        (3..=63).contains(&bytes.len())
            && bytes.iter().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.'))
            && alphanumeric(bytes.first())
            && alphanumeric(bytes.last())
            && !["..", ".-", "-."].iter().any(|pair| text.contains(pair))
            && text.parse::<std::net::Ipv4Addr>().is_err()
    }
}

impl std::str::FromStr for BucketName {
    type Err = InvalidBucketName;

    fn from_str(text: &str) -> Result<Self, InvalidBucketName> {
        if Self::is_valid(text) { Ok(Self(text.into())) } else { Err(InvalidBucketName) }
    }
}

impl fmt::Display for BucketName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl ObjectKey {
    /// The longest key, bytes (AWS, "Naming Amazon S3 objects").
    pub const LENGTH_MAX: usize = 1024;

    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The key's bytes. Listings are in the order of these.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl TryFrom<String> for ObjectKey {
    type Error = InvalidObjectKey;

    fn try_from(text: String) -> Result<Self, InvalidObjectKey> {
        match text.len() {
            0 => Err(InvalidObjectKey::Empty),
            length if length > Self::LENGTH_MAX => Err(InvalidObjectKey::TooLong { length }),
            _ => Ok(Self(text.into_boxed_str())),
        }
    }
}

impl std::str::FromStr for ObjectKey {
    type Err = InvalidObjectKey;

    fn from_str(text: &str) -> Result<Self, InvalidObjectKey> {
        Self::try_from(text.to_owned())
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for ObjectKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?}", &*self.0)
    }
}

impl VersionId {
    /// The id behind S3's text: `null`, or 32 hexadecimal digits in lower case; else `None`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text == "null" { Some(Self::Null) } else { parse_hexadecimal(text).map(Self::Id) }
    }
}

impl UploadId {
    /// The id behind S3's text, 32 hexadecimal digits in lower case; else `None`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        parse_hexadecimal(text).map(Self)
    }
}

impl AccountId {
    /// The id behind 64 hexadecimal digits in lower case; else `None`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        parse_hexadecimal(text).map(Self)
    }
}

impl ETag {
    /// The tag of bytes that were written in one piece.
    #[must_use]
    pub fn of_bytes(md5: [u8; 16]) -> Self {
        Self { digest: md5, part_count: 0 }
    }

    /// The tag behind S3's text without its quotes: 32 hexadecimal digits, perhaps `-` and a number of parts; else `None`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (digest, part_count) = match text.split_once('-') {
            None => (text, 0),
            Some((digest, count)) => {
                let canonical = !count.starts_with('0') && count.bytes().all(|byte| byte.is_ascii_digit());
                (digest, if canonical { count.parse().ok()? } else { return None })
            }
        };
        Some(Self { digest: parse_hexadecimal(digest)?, part_count })
    }
}

impl ChecksumAlgorithm {
    /// All algorithms.
    pub const ALL: [ChecksumAlgorithm; 5] = [Self::Crc32, Self::Crc32c, Self::Crc64Nvme, Self::Sha1, Self::Sha256];

    /// Bytes in the longest value.
    pub const LENGTH_MAX: usize = 32;

    /// Bytes in a value.
    #[must_use]
    pub fn length(self) -> usize {
        match self {
            Self::Crc32 | Self::Crc32c => 4,
            Self::Crc64Nvme => 8,
            Self::Sha1 => 20,
            Self::Sha256 => 32,
        }
    }

    /// S3's name, as in `x-amz-checksum-algorithm`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Crc32 => "CRC32",
            Self::Crc32c => "CRC32C",
            Self::Crc64Nvme => "CRC64NVME",
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
        }
    }
}

impl ChecksumType {
    /// S3's name, as in `x-amz-checksum-type`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::FullObject => "FULL_OBJECT",
            Self::Composite => "COMPOSITE",
        }
    }
}

impl Checksum {
    /// A checksum over bytes; `None` when the value has not the algorithm's length.
    #[must_use]
    pub fn full_object(algorithm: ChecksumAlgorithm, value: &[u8]) -> Option<Self> {
        Self::new(algorithm, value, 0)
    }

    /// A checksum over the checksums of `part_count` parts; `None` when the value has not the algorithm's length, or for 0 parts.
    #[must_use]
    pub fn composite(algorithm: ChecksumAlgorithm, value: &[u8], part_count: u32) -> Option<Self> {
        if part_count == 0 { None } else { Self::new(algorithm, value, part_count) }
    }

    fn new(algorithm: ChecksumAlgorithm, value: &[u8], part_count: u32) -> Option<Self> {
        let mut own = [0; ChecksumAlgorithm::LENGTH_MAX];
        if value.len() != algorithm.length() {
            return None;
        }
        own.get_mut(..value.len())?.copy_from_slice(value);
        Some(Self { algorithm, part_count, value: own })
    }

    /// How it was computed.
    #[must_use]
    pub fn algorithm(&self) -> ChecksumAlgorithm {
        self.algorithm
    }

    /// What it covers.
    #[must_use]
    pub fn checksum_type(&self) -> ChecksumType {
        if self.part_count == 0 { ChecksumType::FullObject } else { ChecksumType::Composite }
    }

    /// The number of parts that a composite checksum covers; 0 for a full-object one.
    #[must_use]
    pub fn part_count(&self) -> u32 {
        self.part_count
    }

    /// The value, as many bytes as the algorithm has.
    #[must_use]
    pub fn value(&self) -> &[u8] {
        self.value.get(..self.algorithm.length()).unwrap_or_default()
    }
}

impl fmt::Debug for Checksum {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:", self.algorithm.name())?;
        write_hexadecimal(formatter, self.value())?;
        if self.part_count == 0 { Ok(()) } else { write!(formatter, "-{}", self.part_count) }
    }
}

impl fmt::Display for ETag {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hexadecimal(formatter, &self.digest)?;
        if self.part_count == 0 { Ok(()) } else { write!(formatter, "-{}", self.part_count) }
    }
}

impl fmt::Debug for ETag {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "ETag({self})")
    }
}

impl fmt::Display for VersionId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => formatter.write_str("null"),
            Self::Id(bytes) => write_hexadecimal(formatter, bytes),
        }
    }
}

impl fmt::Debug for VersionId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "VersionId({self})")
    }
}

impl fmt::Display for UploadId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hexadecimal(formatter, &self.0)
    }
}

impl fmt::Debug for UploadId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "UploadId({self})")
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hexadecimal(formatter, &self.0)
    }
}

impl fmt::Debug for AccountId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "AccountId({self})")
    }
}

fn parse_hexadecimal<const LENGTH: usize>(text: &str) -> Option<[u8; LENGTH]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    if text.len() != LENGTH * 2 {
        return None;
    }
    let mut out = [0; LENGTH];
    for (place, pair) in out.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let &[high, low] = pair else { return None };
        *place = digit(high)? << 4 | digit(low)?;
    }
    Some(out)
}

fn write_hexadecimal(formatter: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    // One `write_str` of up to 32 bytes at a time: entity tags are shown on every answer.
    let mut buffer = [0_u8; 64];
    for piece in bytes.chunks(32) {
        let mut length = 0;
        for (place, byte) in buffer.chunks_exact_mut(2).zip(piece) {
            place.copy_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
            length += 2;
        }
        formatter.write_str(std::str::from_utf8(&buffer[..length]).unwrap_or_default())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
