//! Multipart uploads, their parts, and the manifests that they become.

use bytes::Bytes;

use crate::codec::{fields, record};
use crate::ids::BucketId;
use crate::object::{Checksum, ChecksumAlgorithm, ChecksumType, ETag, ObjectKey, ObjectMetadata, VersionId};
use crate::records::version::{Extent, StorageClass};
use crate::time::Now;

/// What an upload gives to the version that it becomes.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct UploadAttributes {
    /// The headers to keep.
    pub metadata: ObjectMetadata,
    /// The tags to keep.
    pub tags: Vec<(String, String)>,
    /// The storage class.
    pub storage_class: StorageClass,
    /// Which checksum the parts have, and what the object's will cover.
    pub checksum: Option<(ChecksumAlgorithm, ChecksumType)>,
}

/// An open upload. Its row's key has the bucket, the object's key and the upload's number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UploadRecord {
    /// What makes its id not guessable.
    pub nonce: [u8; 8],
    /// Who began it.
    pub initiator: [u8; 32],
    /// When.
    pub initiated: Now,
    /// What it gives to its version.
    pub attributes: UploadAttributes,
}

/// A part of an open upload or of a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartRecord {
    /// The catalog's sequence: tells this part from others that had its number.
    pub sequence: u64,
    /// When it was written.
    pub written: Now,
    /// Bytes.
    pub length: u64,
    /// Its entity tag.
    pub etag: ETag,
    /// Its checksum.
    pub checksum: Option<Checksum>,
    /// Where its bytes are.
    pub extents: Vec<Extent>,
}

/// Parts of equal length that follow each other in an object: their places can be computed. (Their numbers need not follow each other.)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartRun {
    /// How many.
    pub count: u32,
    /// The first one's number.
    pub first_number: u32,
    /// What each number is above the one before; at least 1.
    pub step: u32,
    /// Bytes in each.
    pub length: u64,
}

/// The parts of a completed upload, shared by the versions that have them as their body. Immutable, but for the count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestRecord {
    /// How many versions share it. A manifest with none is abandoned.
    pub references: u64,
    /// Its parts in order.
    pub runs: Vec<PartRun>,
}

/// Where a part lies in its object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartSpan {
    /// Its place among the object's parts, from 0.
    pub ordinal: u32,
    /// Its number in the upload, 1 to 10,000; rises with the ordinal, perhaps with gaps.
    pub number: u32,
    /// Where it starts in the object.
    pub offset: u64,
    /// Bytes; may be 0.
    pub length: u64,
}

impl ManifestRecord {
    /// A manifest of these parts (number, length), numbers rising, with one reference.
    #[must_use]
    pub fn new(parts: impl IntoIterator<Item = (u32, u64)>) -> Self {
        let mut runs: Vec<PartRun> = Vec::new();
        for (number, length) in parts {
            if let Some(run) = runs.last_mut().filter(|run| run.length == length) {
                // Numbers rise, so this does not fall below 0.
                let step = number.saturating_sub(run.last_number());
                if run.count == 1 || run.step == step {
                    run.step = step;
                    run.count += 1;
                    continue;
                }
            }
            runs.push(PartRun { count: 1, first_number: number, step: 1, length });
        }
        Self { references: 1, runs }
    }

    /// How many parts.
    #[must_use]
    pub fn part_count(&self) -> u32 {
        self.runs.iter().fold(0, |sum, run| sum.saturating_add(run.count))
    }

    /// Bytes in all parts together.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.runs.iter().fold(0, |sum, run| sum.saturating_add(run.length.saturating_mul(u64::from(run.count))))
    }

    /// The parts in order, from the one that holds byte `offset` on. Costs O(runs), not O(parts), to begin.
    pub fn spans_from(&self, offset: u64) -> impl Iterator<Item = PartSpan> {
        self.spans_where(move |run_offset, run| {
            // Skips the parts of a run that end at or before the offset.
            match offset.checked_sub(run_offset) {
                None => 0,
                Some(_) if run.length == 0 => run.count,
                Some(within) => u32::try_from(within / run.length).unwrap_or(u32::MAX).min(run.count),
            }
        })
    }

    /// The parts in order, from this ordinal on.
    pub fn spans_from_ordinal(&self, ordinal: u32) -> impl Iterator<Item = PartSpan> {
        let mut before: u32 = 0;
        self.spans_where(move |_, run| {
            let skip = ordinal.saturating_sub(before).min(run.count);
            before = before.saturating_add(run.count);
            skip
        })
    }

    fn spans_where(&self, mut skip: impl FnMut(u64, &PartRun) -> u32) -> impl Iterator<Item = PartSpan> {
        let mut ordinal: u32 = 0;
        let mut offset: u64 = 0;
        self.runs.iter().flat_map(move |run| {
            let (first_ordinal, first_offset) = (ordinal, offset);
            ordinal = ordinal.saturating_add(run.count);
            offset = offset.saturating_add(run.length.saturating_mul(u64::from(run.count)));
            (skip(first_offset, run)..run.count).map(move |place| PartSpan {
                ordinal: first_ordinal.saturating_add(place),
                number: run.first_number.saturating_add(run.step.saturating_mul(place)),
                offset: first_offset.saturating_add(run.length.saturating_mul(u64::from(place))),
                length: run.length,
            })
        })
    }
}

impl PartRun {
    fn last_number(&self) -> u32 {
        self.first_number.saturating_add(self.step.saturating_mul(self.count.saturating_sub(1)))
    }
}

/// What an upload has become, kept for a while so that a repeated completion gets the same answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompletedRecord {
    /// The bucket.
    pub bucket: BucketId,
    /// The object's key.
    pub key: ObjectKey,
    /// What makes the upload's id not guessable.
    pub nonce: [u8; 8],
    /// A digest over number and sequence of the parts that were named.
    pub parts_digest: [u8; 16],
    /// The version that was made.
    pub version_id: VersionId,
    /// Its sequence.
    pub sequence: u64,
    /// Its length, bytes.
    pub length: u64,
    /// When.
    pub completed: Now,
    /// Its entity tag.
    pub etag: ETag,
    /// Its checksum.
    pub checksum: Option<Checksum>,
}

/// Parts that nothing refers to any more, to be taken apart a few at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AbandonedRecord {
    /// The bucket whose usage still counts them; `None` for a manifest's, whose bytes counted with their versions.
    pub bucket: Option<BucketId>,
}

impl crate::codec::Field for BucketId {
    fn write(&self, out: &mut Vec<u8>) {
        self.0.write(out);
    }

    fn read(from: &mut Bytes) -> Result<Self, crate::codec::Problem> {
        u64::read(from).map(Self)
    }
}

impl crate::codec::Field for ObjectKey {
    fn write(&self, out: &mut Vec<u8>) {
        (self.as_bytes().len() as u64).write(out);
        out.extend_from_slice(self.as_bytes());
    }

    fn read(from: &mut Bytes) -> Result<Self, crate::codec::Problem> {
        Self::try_from(String::read(from)?).map_err(|_| crate::codec::Problem::Value("a key"))
    }
}

fields!(UploadAttributes { metadata, tags, storage_class, checksum });
fields!(UploadRecord { nonce, initiator, initiated, attributes });
fields!(PartRecord { sequence, written, length, etag, checksum, extents });
fields!(PartRun { count, first_number, step, length });
fields!(ManifestRecord { references, runs });
fields!(CompletedRecord { bucket, key, nonce, parts_digest, version_id, sequence, length, completed, etag, checksum });
fields!(AbandonedRecord { bucket });
record!(UploadRecord, "upload");
record!(PartRecord, "part");
record!(ManifestRecord, "manifest");
record!(CompletedRecord, "completed upload");
record!(AbandonedRecord, "abandoned parts");
