//! Versions: put, get, copy, delete.

use bytes::Bytes;
use cairn_types::records::{
    BlobContent, BlobRecord, Extent, ManifestId, PartSpan, StorageClass, Tags, VersionRecord, Versioning,
};
use cairn_types::{BlobId, BucketId, Checksum, ETag, ObjectKey, ObjectMetadata, SessionId, VersionId, WallTime};

/// Under which condition a write takes effect. What counts is the key's current version, and a delete marker counts as absent (AWS,
/// "How to prevent object overwrites with conditional writes").
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum WriteCondition {
    /// Always.
    #[default]
    None,
    /// The key is absent, else [`crate::CatalogError::PreconditionFailed`] (`If-None-Match: *`).
    Absent,
    /// The key is present, else [`crate::CatalogError::NoSuchKey`] (`If-Match: *`).
    Present,
    /// The current version's entity tag is one of these, else [`crate::CatalogError::PreconditionFailed`]; absent:
    /// [`crate::CatalogError::NoSuchKey`] (`If-Match`).
    Matches(Vec<ETag>),
}

/// The bytes of a version or part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NewContent {
    /// Up to [`crate::Limits::inline_length_max`] bytes that the catalog itself keeps. Empty for an empty object.
    Inline(Bytes),
    /// Blobs that this session has written, one after the other; each is used whole and committed by this request.
    Blobs(Vec<NewBlob>),
}

/// A blob to commit: it becomes known to the catalog with this request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewBlob {
    /// Its name; of the request's session.
    pub id: BlobId,
    /// Its chunks, and which zones have confirmed them. Places of other than current incarnations are dropped (B3).
    pub content: BlobContent,
}

/// What a version has beside its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionAttributes {
    /// The entity tag.
    pub etag: ETag,
    /// The checksum to keep.
    pub checksum: Option<Checksum>,
    /// The headers to keep.
    pub metadata: ObjectMetadata,
    /// The tags to keep, in the order of their names.
    pub tags: Tags,
    /// The storage class.
    pub storage_class: StorageClass,
}

/// See [`crate::Catalog::put_version`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PutVersion {
    /// Whose commit this is (S2).
    pub session: SessionId,
    /// Where.
    pub bucket: BucketId,
    /// Under which key.
    pub key: ObjectKey,
    /// The bytes.
    pub content: NewContent,
    /// The rest.
    pub attributes: VersionAttributes,
    /// Under which condition.
    pub condition: WriteCondition,
}

/// A version that was committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Its name; [`VersionId::Null`] where the bucket's versioning is not enabled.
    pub version_id: VersionId,
    /// The bucket's versioning as it was in that commit: S3 shows version ids only where it was ever enabled.
    pub versioning: Versioning,
    /// The catalog's sequence ([`cairn_types::records::VersionSummary::sequence`]).
    pub sequence: u64,
    /// The commit's time, as clients see it.
    pub last_modified: WallTime,
    /// Bytes.
    pub length: u64,
    /// The entity tag.
    pub etag: ETag,
    /// The checksum.
    pub checksum: Option<Checksum>,
}

/// A version, told from every other content that its key ever had under this id. The source of a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceVersion {
    /// Where.
    pub bucket: BucketId,
    /// Which key.
    pub key: ObjectKey,
    /// Which version.
    pub version_id: VersionId,
    /// Its sequence.
    pub sequence: u64,
}

/// See [`crate::Catalog::copy_version`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyVersion {
    /// Whose commit this is (S2).
    pub session: SessionId,
    /// The bytes. Source and target may be the same key.
    pub source: SourceVersion,
    /// Where to.
    pub bucket: BucketId,
    /// Under which key.
    pub key: ObjectKey,
    /// What the new version has beside its bytes.
    pub attributes: VersionAttributes,
    /// Under which condition.
    pub condition: WriteCondition,
}

/// See [`crate::Catalog::get_version`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GetVersion {
    /// Where.
    pub bucket: BucketId,
    /// Which key.
    pub key: ObjectKey,
    /// Which version; `None` for the current one.
    pub version_id: Option<VersionId>,
    /// Tell where this part lies too (1 to 10,000).
    pub part_number: Option<u32>,
    /// Whether to give what is needed to read its bytes.
    pub with_content: bool,
}

/// A version as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundVersion {
    /// The version.
    pub version: VersionRecord,
    /// The bucket's versioning.
    pub versioning: Versioning,
    /// The part that was asked for.
    pub part: Option<FoundPart>,
    /// What is needed to read its bytes, where asked for.
    pub content: Option<FoundContent>,
}

/// Where a part lies in its object. An object that was written in one piece has one part, number 1, which is all of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundPart {
    /// Where. The ordinal counts, not the number in the upload: after completion S3 counts parts from 1 without gaps.
    pub span: PartSpan,
    /// How many parts the object has.
    pub part_count: u32,
    /// The part's own checksum.
    pub checksum: Option<Checksum>,
}

/// What is needed to read a version's bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FoundContent {
    /// The bytes.
    Inline(Bytes),
    /// Runs of bytes, one after the other, and the blobs that they name.
    Extents(FoundExtents),
    /// Parts, to be asked for by [`crate::Catalog::manifest_parts`].
    Manifest(ManifestId),
}

/// Runs of bytes with what is needed to read them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FoundExtents {
    /// The runs, one after the other.
    pub extents: Vec<Extent>,
    /// The blobs that they name, each once, in the order of their names.
    pub blobs: Vec<(BlobId, BlobRecord)>,
    /// The inline bodies that they name, one for each inline extent, in order.
    pub inline: Vec<Bytes>,
}

/// See [`crate::Catalog::tag_version`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagVersion {
    /// Where.
    pub bucket: BucketId,
    /// Which key.
    pub key: ObjectKey,
    /// Which version; `None` for the current one.
    pub version_id: Option<VersionId>,
    /// Its tags from now on, in the order of their names.
    pub tags: Tags,
}

/// A version whose tags were set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tagged {
    /// Which version.
    pub version_id: VersionId,
    /// The bucket's versioning.
    pub versioning: Versioning,
}

/// See [`crate::Catalog::delete_version`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeleteVersion {
    /// Where.
    pub bucket: BucketId,
    /// What.
    pub target: DeleteTarget,
}

/// See [`crate::Catalog::delete_versions`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeleteVersions {
    /// Where.
    pub bucket: BucketId,
    /// What, at most [`crate::Limits::delete_count_max`] of them.
    pub targets: Vec<DeleteTarget>,
}

/// One object or version to delete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeleteTarget {
    /// Which key.
    pub key: ObjectKey,
    /// This version for good; `None` to delete as the bucket's versioning prescribes.
    pub version_id: Option<VersionId>,
    /// Under which condition on the current version.
    pub condition: WriteCondition,
}

/// What a deletion did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deleted {
    /// The version that was removed, or the delete marker that was made; `None` where the bucket was never versioned and no version was
    /// named.
    pub version_id: Option<VersionId>,
    /// Whether that is (was) a delete marker.
    pub is_delete_marker: bool,
    /// Whether anything changed: S3 answers the deletion of what is not there with success.
    pub changed: bool,
}
