//! All metadata of Cairn: the [`Catalog`] trait and its engines.
//!
//! The contract, for every engine; `cairn-testkit`'s conformance suite checks it:
//!
//! - **One call, one commit.** Everything that an answer depends on (the bucket exists, the condition holds, the session is open, the source
//!   is still there) is judged in the commit that makes the change visible. Per key, operations are linearizable (design, invariant 3).
//! - **`Ok` is durable** in two zones. [`CatalogError::OutcomeUnknown`] says that a change may or may not have happened; every other error
//!   says that nothing changed.
//! - **Reads and listings** show every commit that was acknowledged before they were asked (R1). A listing is complete or an error (R2).
//! - **Versions of a key** are ordered by the catalog's sequence, never by a clock (R2).
//! - **Bytes**: no blob that a version or part refers to is ever condemned, and every other one is, in the commit that lets go of it
//!   (B5). Reference counts, the index of incomplete blobs (B2) and usage change in the same commit as what they speak of.
//! - **Names are the caller's to judge**: buckets are named by [`BucketId`], which is never used again, so that a decision about one bucket
//!   cannot become a change of another one that got its name. Authorisation happens above.
//! - **Futures may be dropped**: the change has happened or has not.
//!
//! No S3 and no HTTP here: a request is what S3 means, not what it says.

pub mod embedded;
mod error;
pub mod postgres;
mod requests;

use cairn_types::records::{BucketRecord, LeaseRecord, Tags, UsageRecord};
use cairn_types::{AccountId, BlobId, BucketId, BucketName, CatalogTime, SessionId, TenantId, UploadId};
use futures::future::BoxFuture;
use tokio::time::Instant;

pub use error::CatalogError;
pub use requests::*;

/// What the catalog answers.
pub type CatalogResult<T> = Result<T, CatalogError>;
/// What the catalog will answer.
pub type CatalogFuture<'a, T> = BoxFuture<'a, CatalogResult<T>>;

/// Bounds on what one commit may hold and cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// The longest body that the catalog keeps itself, bytes.
    pub inline_length_max: usize,
    /// The most chunks of a blob: its record is written anew whenever a straggler's copy is added.
    pub blob_chunks_max: usize,
    /// The most chunks of all blobs that one version or part refers to: copying it rewrites their records in one commit, which must hold
    /// them. The largest body that one request writes (AWS: 5 GiB) comes to half as many when all of its chunks are of the smallest size that
    /// uploads aim at, 256 KiB; where memory is short, a writer sends none that would let it run out of chunks.
    pub content_chunks_max: usize,
    /// The most extents of a version or part. (A version in parts has no bound: it has a manifest.)
    pub extents_max: usize,
    /// The most objects that one request may delete (AWS: 1,000).
    pub delete_count_max: usize,
    /// The highest part number (AWS: 10,000).
    pub part_number_max: u32,
    /// The longest page that a listing gives, whatever was asked for.
    pub page_length_max: u32,
    /// How long a blob without references keeps its chunks (S4: reads older than half of it check that their version is still there).
    pub garbage_grace: std::time::Duration,
    /// How long a repeated completion of an upload gets the same answer.
    pub completion_memory: std::time::Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            inline_length_max: 16 * 1024,
            blob_chunks_max: 1024,
            content_chunks_max: 40 * 1024,
            extents_max: 2048,
            delete_count_max: 1000,
            part_number_max: 10_000,
            page_length_max: 10_000,
            garbage_grace: std::time::Duration::from_hours(1),
            completion_memory: std::time::Duration::from_hours(24),
        }
    }
}

/// Asks for the settings' epoch now.
pub(crate) fn ask_settings<C: Catalog + ?Sized>(catalog: &C) -> CatalogFuture<'_, ConfirmedSettings> {
    Box::pin(async move {
        // From before the question: what is changed while it is under way may be missing in the answer.
        let confirmed = Instant::now();
        let epoch = catalog.settings_epoch().await?;
        Ok(ConfirmedSettings { epoch, confirmed, time: catalog.time().await? })
    })
}

/// All metadata. See the crate's documentation for what every engine promises.
///
/// Besides the errors that are named at each method, each may give [`CatalogError::Busy`], [`CatalogError::Unavailable`],
/// [`CatalogError::OutcomeUnknown`], [`CatalogError::OutOfSpace`] and [`CatalogError::Damaged`]; those that take a bucket
/// [`CatalogError::NoSuchBucket`]; those that take a session [`CatalogError::SessionClosed`]; those that take new blobs
/// [`CatalogError::QuorumLost`]; and those that are asked for the impossible [`CatalogError::Refused`].
pub trait Catalog: Send + Sync + 'static {
    /// The bounds that this engine works within.
    fn limits(&self) -> &Limits;

    /// Whether other processes may write to this catalog, too: then sessions that are found open at a start may be theirs (L10 does not hold).
    fn is_shared(&self) -> bool {
        false
    }

    // -- versions ---------------------------------------------------------------------------------------------------------------------

    /// Makes a version the current one of its key, as the bucket's versioning prescribes: it replaces the `null` version unless versioning is
    /// enabled. Errors: [`CatalogError::PreconditionFailed`], [`CatalogError::NoSuchKey`] (see [`WriteCondition`]).
    fn put_version(&self, request: PutVersion) -> CatalogFuture<'_, Written>;

    /// Makes a version that refers to the bytes of another one (B5). Errors: as [`Catalog::put_version`], and
    /// [`CatalogError::SourceChanged`].
    fn copy_version(&self, request: CopyVersion) -> CatalogFuture<'_, Written>;

    /// A version, with what is needed to read its bytes where asked for: one round trip for a GET of an object that was written in one piece.
    /// Errors: [`CatalogError::NoSuchKey`], [`CatalogError::NoSuchVersion`], [`CatalogError::IsDeleteMarker`], [`CatalogError::NoSuchPart`].
    fn get_version(&self, request: GetVersion) -> CatalogFuture<'_, FoundVersion>;

    /// Whether this content is still its key's under that version id, so that its blobs cannot be on their way out (S4).
    fn version_exists(&self, version: SourceVersion) -> CatalogFuture<'_, bool>;

    /// Sets a version's tags; nothing else of it changes. Errors: as [`Catalog::get_version`].
    fn tag_version(&self, request: TagVersion) -> CatalogFuture<'_, Tagged>;

    /// Deletes a version for good, or hides a key behind a delete marker, as S3 prescribes for the bucket's versioning. What is not there is
    /// no error without a condition. Errors: [`CatalogError::PreconditionFailed`], [`CatalogError::NoSuchKey`] (with a condition).
    fn delete_version(&self, request: DeleteVersion) -> CatalogFuture<'_, Deleted>;

    /// Deletes several, one answer for each in order; each is judged by itself, all that succeed are in one commit.
    fn delete_versions(&self, request: DeleteVersions) -> CatalogFuture<'_, Vec<CatalogResult<Deleted>>>;

    /// Current versions in the byte order of their keys; keys whose newest version is a delete marker are left out. Each folder that is
    /// rolled up costs one seek, however much is in it.
    fn list_objects(&self, request: ListObjects) -> CatalogFuture<'_, ObjectPage>;

    /// All versions and delete markers: keys in byte order, per key the newest first.
    fn list_versions(&self, request: ListVersions) -> CatalogFuture<'_, VersionPage>;

    // -- multipart uploads ------------------------------------------------------------------------------------------------------------

    /// Opens an upload.
    fn create_upload(&self, request: CreateUpload) -> CatalogFuture<'_, UploadId>;

    /// An open upload. Errors: [`CatalogError::NoSuchUpload`].
    fn upload(&self, name: UploadName) -> CatalogFuture<'_, FoundUpload>;

    /// Writes or replaces a part. Errors: [`CatalogError::NoSuchUpload`].
    fn put_part(&self, request: PutPart) -> CatalogFuture<'_, FoundUploadPart>;

    /// Writes or replaces a part by reference to a range of a version (B5). Errors: [`CatalogError::NoSuchUpload`],
    /// [`CatalogError::SourceChanged`], [`CatalogError::SourceTooScattered`].
    fn copy_part(&self, request: CopyPart) -> CatalogFuture<'_, FoundUploadPart>;

    /// An upload's parts in the order of their numbers. Errors: [`CatalogError::NoSuchUpload`].
    fn list_parts(&self, request: ListParts) -> CatalogFuture<'_, Page<FoundUploadPart>>;

    /// An upload with all its parts, to complete it; or the version that it became, for [`Limits::completion_memory`]. Errors:
    /// [`CatalogError::NoSuchUpload`].
    fn upload_for_completion(&self, name: UploadName) -> CatalogFuture<'_, UploadState>;

    /// Turns the named parts into a version, lets go of the others, closes the upload. Costs O(parts), whatever their length. Repeated with the
    /// same parts within [`Limits::completion_memory`] it gives the same answer and changes nothing. Errors: as [`Catalog::put_version`],
    /// [`CatalogError::NoSuchUpload`], [`CatalogError::InvalidPart`], [`CatalogError::InvalidPartOrder`], [`CatalogError::EntityTooSmall`],
    /// [`CatalogError::EntityTooLarge`], [`CatalogError::PartsChanged`].
    fn complete_upload(&self, request: CompleteUpload) -> CatalogFuture<'_, Written>;

    /// Closes an upload and lets go of its parts. Errors: [`CatalogError::NoSuchUpload`].
    fn abort_upload(&self, name: UploadName) -> CatalogFuture<'_, ()>;

    /// Open uploads: keys in byte order, per key in the order of their beginning.
    fn list_uploads(&self, request: ListUploads) -> CatalogFuture<'_, UploadPage>;

    /// Parts of a completed upload, to read their bytes. Errors: [`CatalogError::NoSuchVersion`] when no version has the manifest any more.
    fn manifest_parts(&self, request: ManifestParts) -> CatalogFuture<'_, ManifestPage>;

    // -- blobs ------------------------------------------------------------------------------------------------------------------------

    /// Blobs by their names, condemned ones included; `None` for those that are not known.
    fn blobs(&self, ids: Vec<BlobId>) -> CatalogFuture<'_, Vec<Option<FoundBlob>>>;

    /// All blobs that are not condemned, in the order of their names.
    fn blob_page(&self, request: ListBlobs) -> CatalogFuture<'_, BlobPage<BlobId>>;

    /// Blobs that are not condemned and lack a zone (design, invariant 5). Those that lost a zone with its memory come in as
    /// [`Catalog::advance_rebuild`] walks over them (B2).
    fn incomplete_blobs(&self, request: ListIncomplete) -> CatalogFuture<'_, BlobPage<IncompletePosition>>;

    /// Names copies on records, one answer each in order (B4). Added only if the blob exists and is not condemned, the places are of the zone's
    /// present incarnation, and for each chunk the record names no place of that incarnation in that zone, or this very one already.
    fn add_locators(&self, request: AddLocatorsBatch) -> CatalogFuture<'_, Vec<AddOutcome>>;

    /// Takes damaged places off records, which makes the blobs incomplete. Says for each request whether anything changed. A place that the
    /// record no longer names is passed over; a request that would leave a chunk without any place changes nothing.
    fn clear_locators(&self, request: ClearLocatorsBatch) -> CatalogFuture<'_, Vec<bool>>;

    /// Names new places of chunks in the stead of old ones in the same zone, one answer each in order (B4): whether the record names the new place,
    /// now or already before. It does only if, in this commit, the blob exists and is not condemned, both places are of the zone's present
    /// incarnation, and the record names the old one. There is no moment at which it names neither.
    fn move_locators(&self, request: MoveLocatorsBatch) -> CatalogFuture<'_, Vec<bool>>;

    /// For each place, whether any blob, condemned or not, names that chunk by this very locator and incarnation (S2).
    fn named(&self, places: Vec<ChunkPlace>) -> CatalogFuture<'_, Vec<bool>>;

    /// Condemned blobs whose grace is over by catalog time (T1) and whose deletion one of these zones has yet to confirm (B5).
    fn condemned_blobs(&self, request: ListCondemned) -> CatalogFuture<'_, BlobPage<CondemnedPosition>>;

    /// Records that zones keep nothing of these condemned blobs any more; with the third zone's confirmation the record goes (B5). Blobs that
    /// are unknown or not condemned, or whose grace is not over, are passed over.
    fn confirm_deletions(&self, request: ConfirmDeletions) -> CatalogFuture<'_, ()>;

    /// Takes apart some of the parts that nothing refers to any more: of aborted uploads, of manifests without versions. To be called again and
    /// again in the background, by one task or several; without it no bytes are lost, and none of those parts' space comes back.
    fn reap(&self, request: Reap) -> CatalogFuture<'_, Reaped>;

    // -- writer sessions --------------------------------------------------------------------------------------------------------------

    /// Opens a session with an id above all before it (S1).
    fn open_session(&self, request: OpenSession) -> CatalogFuture<'_, SessionId>;

    /// Keeps a session open; `false` when it is closed.
    fn heartbeat_session(&self, session: SessionId) -> CatalogFuture<'_, bool>;

    /// Closes a session for ever; one that is closed already, or was never opened, is passed over.
    fn close_session(&self, session: SessionId) -> CatalogFuture<'_, ()>;

    /// Closes the sessions that have not been heard of for so long, and then says which are open. The view speaks of a moment after the
    /// closings are durable (S2).
    fn close_silent_sessions(&self, request: CloseSilentSessions) -> CatalogFuture<'_, SessionView>;

    /// Which sessions are open.
    fn sessions(&self) -> CatalogFuture<'_, SessionView>;

    /// Takes the lease of some background work, or finds it held: the record says by whom. It is free where nobody has it, or where the holder's session is
    /// closed or has been silent for too long; whoever holds it already keeps it, token and all. There is nothing to renew: the session's heartbeat
    /// keeps all leases of its gateway, so they outlive no gateway by more than its silence. To be taken again before each round of work, for a gateway
    /// that was stopped may have lost it meanwhile.
    ///
    /// It spares double work and guards nothing: a gateway that is stopped in the middle of its work goes on with it later, beside the next holder. What
    /// keeps data is judged in each commit (B4, B5, S2). Errors: [`CatalogError::SessionClosed`].
    fn take_lease(&self, request: TakeLease) -> CatalogFuture<'_, LeaseRecord>;

    /// Gives a lease back, so that nobody has to wait for it; one that is not held by this session is passed over.
    fn release_lease(&self, request: ReleaseLease) -> CatalogFuture<'_, ()>;

    /// Leases, held or not, in the order of their names.
    fn leases(&self) -> CatalogFuture<'_, Vec<(String, LeaseRecord)>>;

    // -- zones ------------------------------------------------------------------------------------------------------------------------

    /// The zones' incarnations and rebuilds.
    fn zones(&self) -> CatalogFuture<'_, ZoneView>;

    /// Records a zone's new life. From this commit on the old one's copies count as absent, and a rebuild cursor stands at the first blob (B2);
    /// there is none when the zone had no life before. Refused unless the new incarnation is above the present one; the present one again
    /// changes nothing.
    fn retire_incarnation(&self, request: RetireIncarnation) -> CatalogFuture<'_, ZoneView>;

    /// Moves a rebuild cursor over some blobs; those that lack a zone come into the index of incomplete blobs (B2).
    fn advance_rebuild(&self, request: AdvanceRebuild) -> CatalogFuture<'_, RebuildProgress>;

    // -- tenants, accounts, keys, buckets ---------------------------------------------------------------------------------------------

    /// Rises with every change of a tenant, account, access key or bucket's settings: what was read at one epoch is still true while the epoch is the
    /// same (R3).
    fn settings_epoch(&self) -> CatalogFuture<'_, u64>;

    /// The settings' epoch as it was confirmed at `since` or later (R3). An engine that hears of it all the time answers from memory: what was confirmed
    /// before a change of settings may not be used behind it, so whoever made one asks for what came after it.
    fn confirm_settings(&self, since: Instant) -> CatalogFuture<'_, ConfirmedSettings> {
        let _ = since;
        ask_settings(self)
    }

    /// Makes a tenant. Errors: [`CatalogError::Exists`].
    fn create_tenant(&self, request: CreateTenant) -> CatalogFuture<'_, FoundTenant>;
    /// Changes the identity behind a tenant's name. Errors: [`CatalogError::NotFound`].
    fn adopt_tenant(&self, request: AdoptTenant) -> CatalogFuture<'_, FoundTenant>;
    /// Removes a tenant without accounts and buckets. Errors: [`CatalogError::NotFound`], [`CatalogError::InUse`].
    fn delete_tenant(&self, tenant: TenantId) -> CatalogFuture<'_, ()>;
    /// A tenant.
    fn tenant(&self, tenant: TenantId) -> CatalogFuture<'_, Option<FoundTenant>>;
    /// The tenant of this name.
    fn tenant_by_name(&self, name: String) -> CatalogFuture<'_, Option<FoundTenant>>;
    /// Tenants in the order of their ids.
    fn list_tenants(&self, request: ListAfter<TenantId>) -> CatalogFuture<'_, Page<FoundTenant>>;

    /// Makes an account. Errors: [`CatalogError::NotFound`] (the tenant), [`CatalogError::Exists`].
    fn create_account(&self, request: CreateAccount) -> CatalogFuture<'_, FoundAccount>;
    /// Removes an account that has no keys and no buckets. Errors: [`CatalogError::NotFound`], [`CatalogError::InUse`].
    fn delete_account(&self, account: AccountId) -> CatalogFuture<'_, ()>;
    /// An account.
    fn account(&self, account: AccountId) -> CatalogFuture<'_, Option<FoundAccount>>;
    /// Accounts in the order of their ids.
    fn list_accounts(&self, request: ListAfter<AccountId>) -> CatalogFuture<'_, Page<FoundAccount>>;

    /// Makes an access key. Errors: [`CatalogError::NotFound`] (the account), [`CatalogError::Exists`].
    fn create_access_key(&self, request: CreateAccessKey) -> CatalogFuture<'_, FoundAccessKey>;
    /// Changes an access key. Errors: [`CatalogError::NotFound`].
    fn update_access_key(&self, request: UpdateAccessKey) -> CatalogFuture<'_, FoundAccessKey>;
    /// Revokes an access key. Errors: [`CatalogError::NotFound`].
    fn delete_access_key(&self, name: AccessKeyName) -> CatalogFuture<'_, ()>;
    /// An access key, enabled and current or not: the caller looks.
    fn access_key(&self, name: AccessKeyName) -> CatalogFuture<'_, Option<FoundAccessKey>>;
    /// Access keys in the order of their ids.
    fn list_access_keys(&self, request: ListAccessKeys) -> CatalogFuture<'_, Page<FoundAccessKey>>;

    /// Makes a bucket. Errors: [`CatalogError::NotFound`] (tenant or account), [`CatalogError::BucketExists`].
    fn create_bucket(&self, request: CreateBucket) -> CatalogFuture<'_, FoundBucket>;
    /// Removes a bucket without versions and delete markers. Errors: [`CatalogError::BucketNotEmpty`].
    fn delete_bucket(&self, request: DeleteBucket) -> CatalogFuture<'_, ()>;
    /// Enables or suspends versioning.
    fn set_versioning(&self, request: SetVersioning) -> CatalogFuture<'_, BucketRecord>;
    /// Sets or removes one of a bucket's settings.
    fn configure_bucket(&self, request: ConfigureBucket) -> CatalogFuture<'_, BucketRecord>;
    /// A bucket's tags; empty where it has none.
    fn bucket_tags(&self, bucket: BucketId) -> CatalogFuture<'_, Tags>;
    /// A bucket.
    fn bucket(&self, bucket: BucketId) -> CatalogFuture<'_, Option<FoundBucket>>;
    /// The bucket of this name.
    fn bucket_by_name(&self, tenant: TenantId, name: BucketName) -> CatalogFuture<'_, Option<FoundBucket>>;
    /// A tenant's buckets in the order of their names.
    fn list_buckets(&self, request: ListBuckets) -> CatalogFuture<'_, Page<FoundBucket>>;
    /// What a bucket holds.
    fn usage(&self, bucket: BucketId) -> CatalogFuture<'_, UsageRecord>;

    // -- what was forgotten (P5) ------------------------------------------------------------------------------------------------------

    /// How often this catalog has forgotten something that it had acknowledged, and what of it an administrator has looked at.
    fn generations(&self) -> CatalogFuture<'_, Generations>;

    /// To be called behind each restore, before the first gateway starts: where none runs on, none could know. From then on nothing is collected until
    /// [`Catalog::note_reviewed`], and neither sessions nor numbers are given again. Errors: [`CatalogError::Refused`] by an engine that is not restored by itself.
    fn note_restored(&self) -> CatalogFuture<'_, ()>;

    /// An administrator has looked at what these say, and nothing later: what nobody names may be collected. Errors: [`CatalogError::Refused`] where there was nothing to look at.
    fn note_reviewed(&self, seen: Generations) -> CatalogFuture<'_, ()>;

    // -- time -------------------------------------------------------------------------------------------------------------------------

    /// Catalog time now (T1).
    fn time(&self) -> CatalogFuture<'_, CatalogTime>;
}
