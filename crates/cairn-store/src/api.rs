//! What a front may ask of the store: [`ObjectStore`], and the plain requests and answers that it takes and gives.
//!
//! The contract, for whoever implements it and whoever calls it:
//!
//! - **One operation, one commit.** Every condition that an answer depends on (the bucket still exists, preconditions, the upload is
//!   still open, the source of a copy is still that version) is evaluated in the commit that makes the change visible, never before
//!   it. Per key, operations are linearizable (design, invariant 3).
//! - **An answer `Ok` is durable** in two zones, bytes and metadata (invariant 1). [`StoreError::OutcomeUnknown`] says that the change may
//!   or may not have happened; every other error says that nothing changed.
//! - **Bodies are verified before they are committed.** The caller wraps the client's bytes in an [`ObjectBody`], which hashes them once as
//!   the store pulls them towards the chunks. When it ends, the store calls [`ObjectBody::poll_finish`] (or
//!   [`finish`](ObjectBodyExt::finish)), and commits only what that has confirmed: lengths, digests and signatures that were promised in
//!   headers or in a trailer are compared there. When the body fails, the store drops what it wrote (rule S) and answers [`StoreError::Body`].
//! - **The store computes no digests** beside its own frame checksums: entity tags and checksums come from the body or from the request.
//! - **Futures may be dropped at any time**: a dropped request has committed or has not, and leaves nothing but garbage for the collector.
//! - **Authorisation is the caller's**; the store answers whoever asks. What the caller decides upon ([`AccessKey`], [`Bucket`]) the
//!   store gives no older than rule R3 allows.
//!
//! Requests name buckets by [`BucketId`], which is never used again, so that a decision about one bucket cannot become a change of
//! another one that got its name.

mod body;
mod multipart;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use cairn_types::{
    AccountId, BucketId, BucketName, Checksum, ChecksumAlgorithm, ChecksumType, ETag, ObjectKey, ObjectMetadata, TenantId,
    UploadId, VersionId,
};
use futures::future::BoxFuture;
use futures::stream::BoxStream;

pub use cairn_types::records::{CorsMethod, CorsRecord, CorsRule, PublicAccessBlock, Tags};

pub use body::{BodyFailed, Digests, ObjectBody, ObjectBodyExt};
pub use multipart::{
    CompleteUpload, CopyPart, CreateUpload, ListParts, ListUploads, Part, Upload, UploadName, UploadPage, UploadPart,
    UploadPosition, UploadState,
};

/// What an operation answers.
pub type StoreResult<T> = Result<T, StoreError>;

/// Objects in buckets. See the module's documentation for what every implementation promises.
pub trait ObjectStore: Send + Sync + 'static {
    // -- who asks ---------------------------------------------------------------------------------------------------------------

    /// The key of this id, `None` when there is none (never made, revoked, expired). No older than rule R3 allows; this is on the
    /// way of every request and is expected to be answered from memory.
    fn access_key<'a>(&'a self, access_key_id: &'a str) -> BoxFuture<'a, StoreResult<Option<Arc<AccessKey>>>>;

    // -- buckets ----------------------------------------------------------------------------------------------------------------

    /// The bucket of this name, `None` when there is none. No older than rule R3 allows; on the way of every request, from memory.
    fn bucket<'a>(&'a self, tenant: TenantId, name: &'a str) -> BoxFuture<'a, StoreResult<Option<Arc<Bucket>>>>;

    /// Makes a bucket. Errors: [`StoreError::BucketExists`].
    fn create_bucket(&self, request: CreateBucket) -> BoxFuture<'_, StoreResult<Arc<Bucket>>>;

    /// Removes a bucket without versions and delete markers. Open uploads do not keep it (as with AWS); they are aborted with it. Errors:
    /// [`StoreError::NoSuchBucket`], [`StoreError::BucketNotEmpty`].
    fn delete_bucket(&self, bucket: BucketId) -> BoxFuture<'_, StoreResult<()>>;

    /// A tenant's buckets in the order of their names.
    fn list_buckets(&self, request: ListBuckets) -> BoxFuture<'_, StoreResult<Page<Arc<Bucket>>>>;

    /// A bucket's tags; empty where it has none. Errors: [`StoreError::NoSuchBucket`].
    fn bucket_tags(&self, bucket: BucketId) -> BoxFuture<'_, StoreResult<Tags>>;

    /// Sets a bucket's tags; empty to have none. Errors: [`StoreError::NoSuchBucket`].
    fn set_bucket_tags(&self, bucket: BucketId, tags: Tags) -> BoxFuture<'_, StoreResult<()>>;

    /// Sets a bucket's rules of CORS; empty to have none. Errors: [`StoreError::NoSuchBucket`].
    fn set_bucket_cors(&self, bucket: BucketId, cors: CorsRecord) -> BoxFuture<'_, StoreResult<()>>;

    /// Sets what of public access a bucket is told to block; `None` to delete it. Errors: [`StoreError::NoSuchBucket`].
    fn set_public_access_block(&self, bucket: BucketId, block: Option<PublicAccessBlock>) -> BoxFuture<'_, StoreResult<()>>;

    /// Sets whether a bucket has ownership controls. Errors: [`StoreError::NoSuchBucket`].
    fn set_ownership_controls(&self, bucket: BucketId, are_there: bool) -> BoxFuture<'_, StoreResult<()>>;

    /// Enables or suspends versioning. Errors: [`StoreError::NoSuchBucket`].
    fn set_versioning(&self, bucket: BucketId, versioning: Versioning) -> BoxFuture<'_, StoreResult<()>>;

    // -- objects ----------------------------------------------------------------------------------------------------------------

    /// Writes a version. Pulls the body to its end, finishes it, and commits. Errors: [`StoreError::NoSuchBucket`],
    /// [`StoreError::PreconditionFailed`], [`StoreError::NoSuchKey`] (see [`WriteCondition`]), [`StoreError::Body`],
    /// [`StoreError::OutOfSpace`], [`StoreError::QuotaExceeded`].
    fn put_object<'a>(&'a self, request: PutObject, body: &'a mut dyn ObjectBody) -> BoxFuture<'a, StoreResult<Written>>;

    /// A version and a way to its bytes. Errors: [`StoreError::NoSuchBucket`], [`StoreError::NoSuchKey`], [`StoreError::NoSuchVersion`],
    /// [`StoreError::IsDeleteMarker`], [`StoreError::NoSuchPart`].
    fn get_object(&self, request: GetObject) -> BoxFuture<'_, StoreResult<OpenObject>>;

    /// As [`ObjectStore::get_object`], without the bytes.
    fn head_object(&self, request: GetObject) -> BoxFuture<'_, StoreResult<ObjectHead>>;

    /// The parts that a version was made of, without its bytes. Errors: as [`ObjectStore::get_object`].
    fn object_parts(&self, request: ObjectParts) -> BoxFuture<'_, StoreResult<FoundParts>>;

    /// Sets a version's tags; nothing else of it changes. Errors: as [`ObjectStore::get_object`].
    fn tag_object(&self, request: TagObject) -> BoxFuture<'_, StoreResult<Tagged>>;

    /// Deletes a version for good, or hides a key behind a delete marker, as S3 prescribes for the bucket's versioning. A key or version
    /// that does not exist is no error without a condition. Errors: [`StoreError::NoSuchBucket`], [`StoreError::PreconditionFailed`],
    /// [`StoreError::NoSuchKey`] (with a condition).
    fn delete_object(&self, request: DeleteObject) -> BoxFuture<'_, StoreResult<Deleted>>;

    /// Deletes up to 1,000 objects; one answer for each, in the order of the request. Each is its own operation: some may fail. An error
    /// of the whole says that nothing is known of any.
    fn delete_objects(
        &self,
        bucket: BucketId,
        targets: Vec<DeleteTarget>,
    ) -> BoxFuture<'_, StoreResult<Vec<StoreResult<Deleted>>>>;

    /// Writes a version that refers to another version's bytes (rule B5). Errors: as [`ObjectStore::put_object`], and
    /// [`StoreError::SourceChanged`] when the source is no longer there as described: read it again.
    fn copy_object(&self, request: CopyObject) -> BoxFuture<'_, StoreResult<Written>>;

    /// Current versions in the byte order of keys; delete markers' keys are left out. Errors: [`StoreError::NoSuchBucket`].
    fn list_objects(&self, request: ListObjects) -> BoxFuture<'_, StoreResult<ObjectPage>>;

    /// All versions and delete markers: keys in byte order, per key the newest first. Errors: [`StoreError::NoSuchBucket`].
    fn list_versions(&self, request: ListVersions) -> BoxFuture<'_, StoreResult<VersionPage>>;

    // -- multipart uploads ------------------------------------------------------------------------------------------------------

    /// Opens an upload. Errors: [`StoreError::NoSuchBucket`].
    fn create_upload(&self, request: CreateUpload) -> BoxFuture<'_, StoreResult<UploadId>>;

    /// What an open upload was created with. Errors: [`StoreError::NoSuchUpload`].
    fn upload(&self, upload: UploadName) -> BoxFuture<'_, StoreResult<Arc<Upload>>>;

    /// Writes or replaces a part. Errors: [`StoreError::NoSuchUpload`], [`StoreError::Body`], [`StoreError::OutOfSpace`].
    fn upload_part<'a>(&'a self, request: UploadPart, body: &'a mut dyn ObjectBody) -> BoxFuture<'a, StoreResult<Part>>;

    /// Writes or replaces a part by reference to a range of a version (rule B5). The digests are the caller's: it has read the
    /// range, or knows them. Errors: [`StoreError::NoSuchUpload`], [`StoreError::SourceChanged`].
    fn copy_part(&self, request: CopyPart) -> BoxFuture<'_, StoreResult<Part>>;

    /// An upload's parts in the order of their numbers. Errors: [`StoreError::NoSuchUpload`].
    fn list_parts(&self, request: ListParts) -> BoxFuture<'_, StoreResult<Page<Part>>>;

    /// An upload with all its parts (up to 10,000), to complete it; or the version that it became, for as long as that version
    /// exists, so that a repeated completion gets the same answer. Errors: [`StoreError::NoSuchUpload`].
    fn upload_for_completion(&self, upload: UploadName) -> BoxFuture<'_, StoreResult<UploadState>>;

    /// Turns the named parts into a version, drops the others, closes the upload. Errors: as [`ObjectStore::put_object`], and
    /// [`StoreError::NoSuchUpload`], [`StoreError::PartsChanged`] when a part is not of the revision given: read them again.
    fn complete_upload(&self, request: CompleteUpload) -> BoxFuture<'_, StoreResult<Written>>;

    /// Drops an upload and its parts. Errors: [`StoreError::NoSuchUpload`].
    fn abort_upload(&self, upload: UploadName) -> BoxFuture<'_, StoreResult<()>>;

    /// Open uploads: keys in byte order, per key in the order of their beginning. Errors: [`StoreError::NoSuchBucket`].
    fn list_uploads(&self, request: ListUploads) -> BoxFuture<'_, StoreResult<UploadPage>>;
}

// -- who asks -------------------------------------------------------------------------------------------------------------------

/// An access key with what it opens.
#[derive(Debug, Clone)]
pub struct AccessKey {
    /// The public half.
    pub access_key_id: Box<str>,
    /// The secret half.
    pub secret: SecretAccessKey,
    /// The scope in which the key's requests resolve bucket names.
    pub tenant: TenantId,
    /// Who the key acts for.
    pub account: AccountId,
    /// The account's name for people.
    pub account_name: Box<str>,
    /// What the key opens; nothing else.
    pub grants: Vec<Grant>,
}

/// A secret access key. It does not show itself.
#[derive(Clone)]
pub struct SecretAccessKey(Arc<[u8]>);

/// A right that a key has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Where.
    pub scope: GrantScope,
    /// What.
    pub access: Access,
}

/// Where a grant holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GrantScope {
    /// Every bucket of the key's tenant, those to come included.
    Tenant,
    /// This bucket; not one that gets its name later.
    Bucket(BucketId),
}

/// What a grant allows; each includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    /// Read objects, versions and listings.
    Read,
    /// Also write and delete objects, and everything about uploads.
    Write,
    /// Also make, configure and remove buckets.
    Administer,
}

impl SecretAccessKey {
    /// Takes the secret's text.
    #[must_use]
    pub fn new(secret: &str) -> Self {
        Self(secret.as_bytes().into())
    }

    /// The secret, to sign with. It never goes into a log, an error, a metric or an answer (invariant 7).
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SecretAccessKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SecretAccessKey(..)")
    }
}

// -- buckets --------------------------------------------------------------------------------------------------------------------

/// A bucket with its settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bucket {
    /// Its identity; never used again.
    pub id: BucketId,
    /// The scope of its name.
    pub tenant: TenantId,
    /// Its name.
    pub name: BucketName,
    /// Who owns it, and every object in it (S3's "bucket owner enforced").
    pub owner: AccountId,
    /// The owner's name for people.
    pub owner_name: Box<str>,
    /// When it was made, milliseconds since 1970.
    pub created_ms: u64,
    /// Whether versions are kept.
    pub versioning: Versioning,
    /// Its rules of CORS, where it has any.
    pub cors: Option<CorsRecord>,
    /// What of public access it was told to block; `None` where that was deleted. Nothing is public either way.
    pub public_access_block: Option<PublicAccessBlock>,
    /// Whether it has ownership controls. Everything in it belongs to its owner either way.
    pub has_ownership_controls: bool,
}

/// Whether a bucket keeps versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Versioning {
    /// It never did.
    #[default]
    Unversioned,
    /// Every write makes a version.
    Enabled,
    /// It did; writes now replace the `null` version.
    Suspended,
}

/// See [`ObjectStore::create_bucket`].
#[derive(Debug, Clone)]
pub struct CreateBucket {
    /// The scope of its name.
    pub tenant: TenantId,
    /// Its name.
    pub name: BucketName,
    /// Who will own it.
    pub owner: AccountId,
    /// Its tags from the start.
    pub tags: Tags,
}

/// See [`ObjectStore::list_buckets`].
#[derive(Debug, Clone)]
pub struct ListBuckets {
    /// Whose.
    pub tenant: TenantId,
    /// Only names that start so; empty for all.
    pub prefix: String,
    /// Only names behind this one.
    pub after: Option<String>,
    /// At most so many, at least 1.
    pub limit: u32,
}

/// A part of a longer list. There is no other cause for shortness: a listing is complete or an error (rule R2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// In order.
    pub entries: Vec<T>,
    /// Whether more follow behind the last one.
    pub is_truncated: bool,
}

// -- objects --------------------------------------------------------------------------------------------------------------------

/// Under which condition a write takes effect. Evaluated in the commit; what counts is the key's current version, and a delete marker
/// counts as absent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum WriteCondition {
    /// Always.
    #[default]
    None,
    /// The key is absent, else [`StoreError::PreconditionFailed`] (`If-None-Match: *`).
    Absent,
    /// The key is present, else [`StoreError::NoSuchKey`] (`If-Match: *`).
    Present,
    /// The key's entity tag is one of these, else [`StoreError::PreconditionFailed`]; absent: [`StoreError::NoSuchKey`] (`If-Match`).
    Matches(Vec<ETag>),
}

/// See [`ObjectStore::put_object`].
#[derive(Debug, Clone)]
pub struct PutObject {
    /// Where.
    pub bucket: BucketId,
    /// Under which key.
    pub key: ObjectKey,
    /// The headers to keep.
    pub metadata: ObjectMetadata,
    /// The tags to keep, in the order of their names.
    pub tags: Tags,
    /// Under which condition.
    pub condition: WriteCondition,
}

/// A write that was committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The version that was made; [`VersionId::Null`] where the bucket's versioning is not enabled.
    pub version_id: VersionId,
    /// The bucket's versioning as it was in that commit: S3 shows version ids only where it was ever enabled.
    pub versioning: Versioning,
    /// The commit's time, milliseconds since 1970 (rule T1).
    pub last_modified_ms: u64,
    /// The version's entity tag.
    pub etag: ETag,
    /// The version's checksum.
    pub checksum: Option<Checksum>,
}

/// See [`ObjectStore::get_object`] and [`ObjectStore::head_object`].
#[derive(Debug, Clone)]
pub struct GetObject {
    /// Where.
    pub bucket: BucketId,
    /// Which key.
    pub key: ObjectKey,
    /// Which version; `None` for the current one.
    pub version_id: Option<VersionId>,
    /// Look this part up too (1 to 10,000), answered in [`ObjectHead::part`].
    pub part_number: Option<u32>,
}

/// A version, without its bytes.
#[derive(Debug, Clone)]
pub struct ObjectHead {
    /// Which version it is.
    pub version_id: VersionId,
    /// The bucket's versioning; S3 shows version ids only where it was ever enabled.
    pub versioning: Versioning,
    /// Tells this version's content from every other's that this key ever had under this version id: the catalog's sequence. See
    /// [`SourceVersion`].
    pub revision: u64,
    /// When it was committed, milliseconds since 1970 (rule T1).
    pub last_modified_ms: u64,
    /// Bytes.
    pub length: u64,
    /// Its entity tag.
    pub etag: ETag,
    /// Its checksum.
    pub checksum: Option<Checksum>,
    /// The headers it keeps.
    pub metadata: ObjectMetadata,
    /// Its tags, in the order of their names.
    pub tags: Tags,
    /// The part that was asked for.
    pub part: Option<PartExtent>,
}

/// Where a part lies in its object. An object that was written in one piece has one part, number 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartExtent {
    /// Its bytes in the object.
    pub range: Range<u64>,
    /// How many parts the object has.
    pub part_count: u32,
    /// The part's own checksum.
    pub checksum: Option<Checksum>,
}

/// See [`ObjectStore::object_parts`].
#[derive(Debug, Clone)]
pub struct ObjectParts {
    /// Where.
    pub bucket: BucketId,
    /// Which key.
    pub key: ObjectKey,
    /// Which version; `None` for the current one.
    pub version_id: Option<VersionId>,
    /// Only numbers above this one; 0 for all.
    pub after: u32,
    /// At most so many, at least 1.
    pub limit: u32,
}

/// What [`ObjectStore::object_parts`] answers.
#[derive(Debug, Clone)]
pub struct FoundParts {
    /// The version.
    pub head: ObjectHead,
    /// How many parts it was made of; 0 where it was written in one piece.
    pub part_count: u32,
    /// Some of them, in order.
    pub page: Page<ObjectPart>,
}

/// A part of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectPart {
    /// From 1, without gaps.
    pub part_number: u32,
    /// Bytes.
    pub length: u64,
    /// Its own checksum.
    pub checksum: Option<Checksum>,
}

/// See [`ObjectStore::tag_object`].
#[derive(Debug, Clone)]
pub struct TagObject {
    /// Where.
    pub bucket: BucketId,
    /// Which key.
    pub key: ObjectKey,
    /// Which version; `None` for the current one.
    pub version_id: Option<VersionId>,
    /// Its tags from now on, in the order of their names; empty to have none.
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

/// A version and a way to its bytes.
pub struct OpenObject {
    /// The version.
    pub head: ObjectHead,
    /// Its bytes.
    pub content: ObjectContent,
}

/// Bytes of a version.
pub enum ObjectContent {
    /// All of them, from the catalog.
    Inline(Bytes),
    /// In chunks.
    Chunks(Box<dyn ObjectReader>),
}

/// Reads a version that was opened. It holds no resources until it reads.
pub trait ObjectReader: Send {
    /// The bytes of a range within the object, in order, in pieces of any size (64 KiB frames), every one verified before it is given
    /// (rule B1). After an error the stream ends. The stream reads ahead within bounds of its own, and stops when it is not pulled.
    fn read(self: Box<Self>, range: Range<u64>) -> BoxStream<'static, StoreResult<Bytes>>;
}

/// See [`ObjectStore::delete_object`].
#[derive(Debug, Clone)]
pub struct DeleteObject {
    /// Where.
    pub bucket: BucketId,
    /// What.
    pub target: DeleteTarget,
}

/// One object to delete.
#[derive(Debug, Clone)]
pub struct DeleteTarget {
    /// Which key.
    pub key: ObjectKey,
    /// This version for good; `None` to delete as the bucket's versioning prescribes.
    pub version_id: Option<VersionId>,
    /// Under which condition on the key's current version, whichever version is named; [`WriteCondition::Absent`] is not asked.
    pub condition: WriteCondition,
}

/// What a deletion did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Deleted {
    /// The version that was removed, or of the delete marker that was made; `None` in a bucket that was never versioned.
    pub version_id: Option<VersionId>,
    /// Whether that version is (was) a delete marker.
    pub is_delete_marker: bool,
}

/// The version that a copy takes its bytes from, as [`ObjectStore::get_object`] described it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceVersion {
    /// Where.
    pub bucket: BucketId,
    /// Which key.
    pub key: ObjectKey,
    /// Which version.
    pub version_id: VersionId,
    /// Its [`ObjectHead::revision`]: another content under the same id is another source.
    pub revision: u64,
}

/// See [`ObjectStore::copy_object`].
#[derive(Debug, Clone)]
pub struct CopyObject {
    /// The bytes. Source and target may be the same key.
    pub source: SourceVersion,
    /// Where to.
    pub bucket: BucketId,
    /// Under which key.
    pub key: ObjectKey,
    /// The headers to keep (the source's, or new ones).
    pub metadata: ObjectMetadata,
    /// The tags to keep (the source's, or new ones), in the order of their names.
    pub tags: Tags,
    /// The checksum to keep: the source's, or one that the caller computed.
    pub checksum: Option<Checksum>,
    /// Under which condition.
    pub condition: WriteCondition,
}

// -- listings -------------------------------------------------------------------------------------------------------------------

/// Where a listing goes on. Everything at or before it is left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListPosition {
    /// Behind this key (any bytes, a key or not).
    Key(String),
    /// Behind every key that starts so: one seek (a folder was shown and is skipped).
    Prefix(String),
}

/// See [`ObjectStore::list_objects`].
#[derive(Debug, Clone)]
pub struct ListObjects {
    /// Where.
    pub bucket: BucketId,
    /// Only keys that start so; empty for all.
    pub prefix: String,
    /// Keys that contain this behind the prefix are rolled up to where it ends; `None` for a flat listing, never empty.
    pub delimiter: Option<String>,
    /// Where to go on.
    pub after: Option<ListPosition>,
    /// At most so many entries (objects and prefixes), at least 1.
    pub limit: u32,
}

/// A page of [`ObjectStore::list_objects`]. The next one starts behind the last entry.
pub type ObjectPage = Page<ListEntry<ObjectSummary>>;

/// One line of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListEntry<T> {
    /// A key, version or upload.
    Item(T),
    /// The keys that start so, rolled up.
    Prefix(String),
}

/// An object in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectSummary {
    /// Its key.
    pub key: ObjectKey,
    /// When it was committed, milliseconds since 1970.
    pub last_modified_ms: u64,
    /// Bytes.
    pub length: u64,
    /// Its entity tag.
    pub etag: ETag,
    /// Algorithm and kind of its checksum.
    pub checksum: Option<(ChecksumAlgorithm, ChecksumType)>,
}

/// Where a listing of versions goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VersionPosition {
    /// As for objects.
    Name(ListPosition),
    /// Behind this version of this key.
    Version(ObjectKey, VersionId),
}

/// See [`ObjectStore::list_versions`].
#[derive(Debug, Clone)]
pub struct ListVersions {
    /// Where.
    pub bucket: BucketId,
    /// As for objects.
    pub prefix: String,
    /// As for objects.
    pub delimiter: Option<String>,
    /// Where to go on.
    pub after: Option<VersionPosition>,
    /// At most so many entries, at least 1.
    pub limit: u32,
}

/// A page of [`ObjectStore::list_versions`].
pub type VersionPage = Page<ListEntry<VersionSummary>>;

/// A version or delete marker in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionSummary {
    /// Its key.
    pub key: ObjectKey,
    /// Which version.
    pub version_id: VersionId,
    /// Whether it is the key's newest version.
    pub is_latest: bool,
    /// When it was committed, milliseconds since 1970.
    pub last_modified_ms: u64,
    /// Length, entity tag and checksum; `None` for a delete marker.
    pub object: Option<VersionContent>,
}

/// What a version in a listing has and a delete marker has not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionContent {
    /// Bytes.
    pub length: u64,
    /// Its entity tag.
    pub etag: ETag,
    /// Algorithm and kind of its checksum.
    pub checksum: Option<(ChecksumAlgorithm, ChecksumType)>,
}

// -- errors ---------------------------------------------------------------------------------------------------------------------

/// Why an operation was not done. Except for [`StoreError::OutcomeUnknown`], nothing changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The bucket does not exist (any more).
    #[error("the bucket does not exist")]
    NoSuchBucket,
    /// The name is taken.
    #[error("the bucket exists, of account {owner}")]
    BucketExists {
        /// By a bucket of this account.
        owner: AccountId,
    },
    /// The bucket holds versions or delete markers.
    #[error("the bucket is not empty")]
    BucketNotEmpty,
    /// The key has no current version.
    #[error("the key does not exist")]
    NoSuchKey,
    /// The key has no such version.
    #[error("the version does not exist")]
    NoSuchVersion,
    /// The version asked for, or the current one, is a delete marker.
    #[error("the version is a delete marker")]
    IsDeleteMarker {
        /// Which version.
        version_id: VersionId,
        /// When it was made, milliseconds since 1970.
        last_modified_ms: u64,
    },
    /// The object has no part of that number.
    #[error("the object has no such part")]
    NoSuchPart,
    /// There is no such open upload.
    #[error("the upload does not exist")]
    NoSuchUpload,
    /// The [`WriteCondition`] does not hold.
    #[error("the condition does not hold")]
    PreconditionFailed,
    /// The source of a copy is not what it was: read it again.
    #[error("the source of the copy has changed")]
    SourceChanged,
    /// A part is not what it was: read them again.
    #[error("the parts have changed")]
    PartsChanged,
    /// The body failed; its owner knows why.
    #[error(transparent)]
    Body(#[from] BodyFailed),
    /// No zone quorum has room for the bytes.
    #[error("no space left")]
    OutOfSpace,
    /// The bucket's or tenant's quota is used up.
    #[error("the quota is used up")]
    QuotaExceeded,
    /// The store has more to do than it can: try again later.
    #[error("too busy: {0}")]
    Busy(String),
    /// The store cannot do this now (no quorum, starting, stopping): try again later. The text is for the log and for the client; it
    /// holds no secrets and no paths.
    #[error("unavailable: {0}")]
    Unavailable(String),
    /// The change may or may not have been made.
    #[error("the outcome is unknown: {0}")]
    OutcomeUnknown(String),
    /// No zone has an undamaged copy of bytes that should be there.
    #[error("damaged: {0}")]
    Damaged(String),
    /// A bug, or damage to the store. The text is for the log.
    #[error("internal error: {0}")]
    Internal(String),
}
