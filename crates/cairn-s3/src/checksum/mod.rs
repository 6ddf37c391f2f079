//! MD5 and the checksums that S3 knows, computed in one pass and only where they are asked for.

pub mod headers;
pub mod multipart;

use cairn_types::{Checksum, ChecksumAlgorithm};
use crc_fast::CrcAlgorithm;
use md5::{Digest as _, Md5};
use sha1::Sha1;
use sha2::Sha256;

use crate::text::base64;

/// One checksum in the making.
pub enum Hasher {
    /// CRC32, CRC32C or CRC64NVME.
    Crc(ChecksumAlgorithm, crc_fast::Digest),
    /// SHA-1.
    Sha1(Sha1),
    /// SHA-256.
    Sha256(Sha256),
}

impl Hasher {
    /// Begins.
    #[must_use]
    pub fn new(algorithm: ChecksumAlgorithm) -> Self {
        match algorithm {
            ChecksumAlgorithm::Sha1 => Self::Sha1(Sha1::new()),
            ChecksumAlgorithm::Sha256 => Self::Sha256(Sha256::new()),
            ChecksumAlgorithm::Crc32 | ChecksumAlgorithm::Crc32c | ChecksumAlgorithm::Crc64Nvme => {
                Self::Crc(algorithm, crc_fast::Digest::new(crc_algorithm(algorithm)))
            }
        }
    }

    /// Goes on.
    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Crc(_, state) => state.update(bytes),
            Self::Sha1(state) => state.update(bytes),
            Self::Sha256(state) => state.update(bytes),
        }
    }

    /// Ends.
    #[must_use]
    pub fn finish(self) -> Option<Checksum> {
        match self {
            Self::Crc(algorithm, state) => crc_checksum(algorithm, state.finalize()),
            Self::Sha1(state) => Checksum::full_object(ChecksumAlgorithm::Sha1, &state.finalize()),
            Self::Sha256(state) => Checksum::full_object(ChecksumAlgorithm::Sha256, &state.finalize()),
        }
    }
}

/// The library's name of a CRC. The SHA algorithms are none; they never get here.
fn crc_algorithm(algorithm: ChecksumAlgorithm) -> CrcAlgorithm {
    match algorithm {
        ChecksumAlgorithm::Crc32 => CrcAlgorithm::Crc32IsoHdlc,
        ChecksumAlgorithm::Crc32c => CrcAlgorithm::Crc32Iscsi,
        ChecksumAlgorithm::Crc64Nvme | ChecksumAlgorithm::Sha1 | ChecksumAlgorithm::Sha256 => CrcAlgorithm::Crc64Nvme,
    }
}

/// A CRC's value as S3 writes it: big-endian.
fn crc_checksum(algorithm: ChecksumAlgorithm, value: u64) -> Option<Checksum> {
    let bytes = value.to_be_bytes();
    Checksum::full_object(algorithm, bytes.get(bytes.len().checked_sub(algorithm.length())?..)?)
}

/// The checksum of bytes.
#[must_use]
pub fn checksum_of(algorithm: ChecksumAlgorithm, bytes: &[u8]) -> Option<Checksum> {
    let mut hasher = Hasher::new(algorithm);
    hasher.update(bytes);
    hasher.finish()
}

/// What is computed over a body: MD5 (the entity tag), SHA-256 where the signature names it, and one checksum.
pub struct HasherSet {
    md5: Option<Md5>,
    /// For `x-amz-content-sha256`; where the checksum is SHA-256 as well, this serves both.
    payload_sha256: Option<Sha256>,
    checksum: Option<Hasher>,
    checksum_is_payload: bool,
}

/// What was computed over a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Computed {
    /// MD5 of the bytes, where it was asked for.
    pub md5: Option<[u8; 16]>,
    /// SHA-256 of the bytes, where it was asked for.
    pub payload_sha256: Option<[u8; 32]>,
    /// The checksum, where one was asked for.
    pub checksum: Option<Checksum>,
}

impl HasherSet {
    /// Begins.
    #[must_use]
    pub fn new(md5: bool, payload_sha256: bool, checksum: Option<ChecksumAlgorithm>) -> Self {
        let checksum_is_payload = payload_sha256 && checksum == Some(ChecksumAlgorithm::Sha256);
        Self {
            md5: md5.then(Md5::new),
            payload_sha256: payload_sha256.then(Sha256::new),
            checksum: checksum.filter(|_| !checksum_is_payload).map(Hasher::new),
            checksum_is_payload,
        }
    }

    /// Goes on.
    pub fn update(&mut self, bytes: &[u8]) {
        if let Some(md5) = &mut self.md5 {
            md5.update(bytes);
        }
        if let Some(sha256) = &mut self.payload_sha256 {
            sha256.update(bytes);
        }
        if let Some(checksum) = &mut self.checksum {
            checksum.update(bytes);
        }
    }

    /// Ends.
    #[must_use]
    pub fn finish(self) -> Computed {
        let payload_sha256: Option<[u8; 32]> = self.payload_sha256.map(|state| state.finalize().into());
        let checksum = if self.checksum_is_payload {
            payload_sha256.and_then(|value| Checksum::full_object(ChecksumAlgorithm::Sha256, &value))
        } else {
            self.checksum.and_then(Hasher::finish)
        };
        Computed { md5: self.md5.map(|state| state.finalize().into()), payload_sha256, checksum }
    }
}

/// A checksum as S3 writes it: Base64, behind it `-` and the number of parts where it is a composite one.
#[must_use]
pub fn to_text(checksum: &Checksum) -> String {
    let mut text = base64::encode(checksum.value());
    if checksum.part_count() > 0 {
        text.push('-');
        text.push_str(&checksum.part_count().to_string());
    }
    text
}

#[cfg(test)]
mod tests;
