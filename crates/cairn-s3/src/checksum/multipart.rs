//! The entity tag and checksum of an object from those of its parts, without reading a byte again.

use cairn_types::{Checksum, ChecksumAlgorithm, ChecksumType, ETag};
use md5::{Digest as _, Md5};

use super::{Hasher, crc_algorithm, crc_checksum};

/// S3's entity tag of a multipart object: MD5 of the parts' MD5 values, and their number.
#[must_use]
pub fn combine_etags(parts: &[ETag]) -> ETag {
    let mut state = Md5::new();
    for part in parts {
        state.update(part.digest);
    }
    ETag { digest: state.finalize().into(), part_count: u32::try_from(parts.len()).unwrap_or(u32::MAX) }
}

/// Whether S3 knows this kind of checksum for this algorithm (AWS, "Checking object integrity": SHA is composite only, CRC64NVME
/// full-object only, the others either).
#[must_use]
pub fn is_supported(algorithm: ChecksumAlgorithm, kind: ChecksumType) -> bool {
    match algorithm {
        ChecksumAlgorithm::Crc32 | ChecksumAlgorithm::Crc32c => true,
        ChecksumAlgorithm::Crc64Nvme => kind == ChecksumType::FullObject,
        ChecksumAlgorithm::Sha1 | ChecksumAlgorithm::Sha256 => kind == ChecksumType::Composite,
    }
}

/// The kind that an upload gets which names only an algorithm.
#[must_use]
pub fn default_kind(algorithm: ChecksumAlgorithm) -> ChecksumType {
    match algorithm {
        ChecksumAlgorithm::Crc64Nvme => ChecksumType::FullObject,
        _ => ChecksumType::Composite,
    }
}

/// The checksum of an object from its parts' checksums and lengths in bytes. `None` when a part has no checksum of this algorithm, or
/// the kind is not one that S3 knows for it.
#[must_use]
pub fn combine_checksums(
    algorithm: ChecksumAlgorithm,
    kind: ChecksumType,
    parts: &[(Option<Checksum>, u64)],
) -> Option<Checksum> {
    if !is_supported(algorithm, kind) || parts.is_empty() {
        return None;
    }
    let own =
        |checksum: &Option<Checksum>| checksum.filter(|checksum| checksum.algorithm() == algorithm && checksum.part_count() == 0);
    match kind {
        ChecksumType::Composite => {
            let mut hasher = Hasher::new(algorithm);
            for (checksum, _) in parts {
                hasher.update(own(checksum)?.value());
            }
            Checksum::composite(algorithm, hasher.finish()?.value(), u32::try_from(parts.len()).ok()?)
        }
        ChecksumType::FullObject => {
            let mut combined = 0;
            for (place, (checksum, length)) in parts.iter().enumerate() {
                let value = own(checksum)?.value().iter().fold(0_u64, |value, byte| value << 8 | u64::from(*byte));
                combined = match (place, *length) {
                    (0, _) => value,
                    (_, 0) => combined,
                    (_, length) => crc_fast::checksum_combine(crc_algorithm(algorithm), combined, value, length),
                };
            }
            crc_checksum(algorithm, combined)
        }
    }
}
