//! Multipart uploads: what is asked of the store, and what it answers.

use std::ops::Range;
use std::sync::Arc;

use cairn_types::{AccountId, BucketId, Checksum, ChecksumAlgorithm, ChecksumType, ETag, ObjectKey, ObjectMetadata, UploadId};

use super::{Digests, ListEntry, ListPosition, Page, SourceVersion, Tags, WriteCondition, Written};

/// See [`super::ObjectStore::create_upload`].
#[derive(Debug, Clone)]
pub struct CreateUpload {
    /// Where.
    pub bucket: BucketId,
    /// Under which key.
    pub key: ObjectKey,
    /// The headers to keep.
    pub metadata: ObjectMetadata,
    /// The tags to keep, in the order of their names.
    pub tags: Tags,
    /// Which checksum the parts have, and what the object's will cover.
    pub checksum: Option<(ChecksumAlgorithm, ChecksumType)>,
    /// Who began it.
    pub initiator: AccountId,
}

/// Names an upload as clients do; an upload of another bucket or key is [`super::StoreError::NoSuchUpload`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadName {
    /// Where.
    pub bucket: BucketId,
    /// Under which key.
    pub key: ObjectKey,
    /// Which one.
    pub upload_id: UploadId,
}

/// An open upload.
#[derive(Debug, Clone)]
pub struct Upload {
    /// Its name.
    pub name: UploadName,
    /// The headers to keep.
    pub metadata: ObjectMetadata,
    /// Which checksum the parts have, and what the object's will cover.
    pub checksum: Option<(ChecksumAlgorithm, ChecksumType)>,
    /// Who began it.
    pub initiator: AccountId,
    /// When, milliseconds since 1970.
    pub initiated_ms: u64,
}

/// See [`super::ObjectStore::upload_part`].
#[derive(Debug, Clone)]
pub struct UploadPart {
    /// Of which upload.
    pub upload: UploadName,
    /// 1 to 10,000.
    pub part_number: u32,
}

/// See [`super::ObjectStore::copy_part`].
#[derive(Debug, Clone)]
pub struct CopyPart {
    /// Of which upload.
    pub upload: UploadName,
    /// 1 to 10,000.
    pub part_number: u32,
    /// The bytes.
    pub source: SourceVersion,
    /// Which of them.
    pub range: Range<u64>,
    /// What the caller knows of that range.
    pub digests: Digests,
}

/// A part of an open upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// 1 to 10,000.
    pub part_number: u32,
    /// Tells this part from others that had its number: the catalog's sequence.
    pub revision: u64,
    /// Bytes.
    pub length: u64,
    /// Its entity tag.
    pub etag: ETag,
    /// Its checksum.
    pub checksum: Option<Checksum>,
    /// When it was committed, milliseconds since 1970.
    pub last_modified_ms: u64,
}

/// See [`super::ObjectStore::list_parts`].
#[derive(Debug, Clone)]
pub struct ListParts {
    /// Of which upload.
    pub upload: UploadName,
    /// Only numbers above this one; 0 for all.
    pub after: u32,
    /// At most so many, at least 1.
    pub limit: u32,
}

/// See [`super::ObjectStore::upload_for_completion`].
#[derive(Debug, Clone)]
pub enum UploadState {
    /// It is open and has these parts, in the order of their numbers.
    Open(Arc<Upload>, Vec<Part>),
    /// It has become this version.
    Completed(Written),
}

/// See [`super::ObjectStore::complete_upload`].
#[derive(Debug, Clone)]
pub struct CompleteUpload {
    /// Which upload.
    pub upload: UploadName,
    /// Number and [`Part::revision`] of the parts that make the object, numbers rising, at least one.
    pub parts: Vec<(u32, u64)>,
    /// The object's entity tag and checksum, which the caller made from the parts'.
    pub digests: Digests,
    /// Under which condition.
    pub condition: WriteCondition,
}

/// Where a listing of uploads goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UploadPosition {
    /// As for objects.
    Name(ListPosition),
    /// Behind this upload of this key (which may have ended since).
    Upload(ObjectKey, UploadId),
}

/// See [`super::ObjectStore::list_uploads`].
#[derive(Debug, Clone)]
pub struct ListUploads {
    /// Where.
    pub bucket: BucketId,
    /// As for objects.
    pub prefix: String,
    /// As for objects.
    pub delimiter: Option<String>,
    /// Where to go on.
    pub after: Option<UploadPosition>,
    /// At most so many entries, at least 1.
    pub limit: u32,
}

/// A page of [`super::ObjectStore::list_uploads`].
pub type UploadPage = Page<ListEntry<Arc<Upload>>>;
