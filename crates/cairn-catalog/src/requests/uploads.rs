//! Multipart uploads.

use std::ops::Range;

use cairn_types::records::{BlobRecord, ManifestId, PartRecord, PartSpan, UploadAttributes};
use cairn_types::{AccountId, BlobId, BucketId, Checksum, ETag, Now, ObjectKey, SessionId, UploadId, WallTime};

use super::{FoundExtents, NewContent, SourceVersion, WriteCondition, Written};

/// Names an upload as clients do. One of another bucket or key does not exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadName {
    /// Where.
    pub bucket: BucketId,
    /// Under which key.
    pub key: ObjectKey,
    /// Which one.
    pub upload_id: UploadId,
}

/// See [`crate::Catalog::create_upload`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateUpload {
    /// Where.
    pub bucket: BucketId,
    /// Under which key.
    pub key: ObjectKey,
    /// Who begins it.
    pub initiator: AccountId,
    /// 64 random bits: makes the upload's id not guessable. (The catalog's commands are deterministic.)
    pub nonce: [u8; 8],
    /// What it gives to its version.
    pub attributes: UploadAttributes,
}

/// An open upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundUpload {
    /// Its name.
    pub name: UploadName,
    /// Who began it.
    pub initiator: AccountId,
    /// When.
    pub initiated: Now,
    /// What it gives to its version.
    pub attributes: UploadAttributes,
}

/// See [`crate::Catalog::put_part`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PutPart {
    /// Whose commit this is (S2).
    pub session: SessionId,
    /// Of which upload.
    pub upload: UploadName,
    /// 1 to 10,000.
    pub part_number: u32,
    /// The bytes.
    pub content: NewContent,
    /// The entity tag.
    pub etag: ETag,
    /// The checksum.
    pub checksum: Option<Checksum>,
}

/// See [`crate::Catalog::copy_part`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyPart {
    /// Whose commit this is (S2).
    pub session: SessionId,
    /// Of which upload.
    pub upload: UploadName,
    /// 1 to 10,000.
    pub part_number: u32,
    /// The bytes.
    pub source: SourceVersion,
    /// Which of them.
    pub range: Range<u64>,
    /// The entity tag.
    pub etag: ETag,
    /// The checksum.
    pub checksum: Option<Checksum>,
}

/// A part of an open upload, as clients see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundUploadPart {
    /// 1 to 10,000.
    pub part_number: u32,
    /// Tells this part from others that had its number.
    pub sequence: u64,
    /// Bytes.
    pub length: u64,
    /// Its entity tag.
    pub etag: ETag,
    /// Its checksum.
    pub checksum: Option<Checksum>,
    /// When it was committed.
    pub last_modified: WallTime,
}

impl FoundUploadPart {
    /// What clients see of a part.
    #[must_use]
    pub fn new(part_number: u32, part: &PartRecord) -> Self {
        Self {
            part_number,
            sequence: part.sequence,
            length: part.length,
            etag: part.etag,
            checksum: part.checksum,
            last_modified: part.written.wall,
        }
    }
}

/// See [`crate::Catalog::list_parts`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListParts {
    /// Of which upload.
    pub upload: UploadName,
    /// Only numbers above this one; 0 for all.
    pub after: u32,
    /// At most so many, at least 1.
    pub limit: u32,
}

/// See [`crate::Catalog::upload_for_completion`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UploadState {
    /// It is open and has these parts, in the order of their numbers.
    Open(Box<FoundUpload>, Vec<FoundUploadPart>),
    /// It has become this version.
    Completed(Written),
}

/// A part named in a completion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NamedPart {
    /// 1 to 10,000.
    pub part_number: u32,
    /// [`FoundUploadPart::sequence`].
    pub sequence: u64,
}

/// See [`crate::Catalog::complete_upload`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompleteUpload {
    /// Which upload.
    pub upload: UploadName,
    /// The parts that make the object, numbers rising, at least one.
    pub parts: Vec<NamedPart>,
    /// The shortest that a part but the last may be, bytes (AWS: 5 MiB).
    pub part_length_min: u64,
    /// The longest that the object may be, bytes.
    pub object_length_max: u64,
    /// The object's entity tag, made from the parts'.
    pub etag: ETag,
    /// The object's checksum, made from the parts'.
    pub checksum: Option<Checksum>,
    /// Under which condition.
    pub condition: WriteCondition,
}

/// See [`crate::Catalog::manifest_parts`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestParts {
    /// Which manifest.
    pub manifest: ManifestId,
    /// From which part on.
    pub from: ManifestPosition,
    /// At most so many parts, at least 1.
    pub limit: u32,
    /// Whether to give what is needed to read their bytes.
    pub with_content: bool,
}

/// A place in a manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ManifestPosition {
    /// The part that holds this byte of the object.
    Offset(u64),
    /// The part of this ordinal, from 0.
    Ordinal(u32),
}

/// Some parts of a manifest, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestPage {
    /// The parts.
    pub parts: Vec<ManifestPart>,
    /// The blobs that their extents name, each once, in the order of their names.
    pub blobs: Vec<(BlobId, BlobRecord)>,
    /// Whether more parts follow.
    pub is_truncated: bool,
}

/// A part of a completed upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestPart {
    /// Where it lies.
    pub span: PartSpan,
    /// Its entity tag.
    pub etag: ETag,
    /// Its checksum.
    pub checksum: Option<Checksum>,
    /// Its bytes. The blobs stand on the page.
    pub content: FoundExtents,
}
