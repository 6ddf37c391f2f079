//! Commands and questions, as values.

use cairn_types::records::{BucketRecord, LeaseRecord, Tags, UsageRecord};
use cairn_types::{AccountId, BlobId, BucketId, BucketName, CatalogTime, SessionId, TenantId, UploadId};

use super::reader::StateReader;
use super::tables::{META_EPOCH, META_TIME};
use super::transaction::{Transaction, meta};
use super::{blobs, directory, listing, queries, sessions, uploads, versions, zones};
use crate::{
    AccessKeyName, AddLocatorsBatch, AddOutcome, AdoptTenant, AdvanceRebuild, BlobPage, CatalogError, CatalogResult, ChunkPlace,
    ClearLocatorsBatch, CloseSilentSessions, CompleteUpload, CondemnedPosition, ConfigureBucket, ConfirmDeletions, CopyPart,
    CopyVersion, CreateAccessKey, CreateAccount, CreateBucket, CreateTenant, CreateUpload, DeleteBucket, DeleteVersion,
    DeleteVersions, Deleted, FoundAccessKey, FoundAccount, FoundBlob, FoundBucket, FoundTenant, FoundUpload, FoundUploadPart,
    FoundVersion, GetVersion, IncompletePosition, Limits, ListAccessKeys, ListAfter, ListBlobs, ListBuckets, ListCondemned,
    ListIncomplete, ListObjects, ListParts, ListUploads, ListVersions, ManifestPage, ManifestParts, MoveLocatorsBatch,
    ObjectPage, OpenSession, Page, PutPart, PutVersion, Reap, Reaped, RebuildProgress, ReleaseLease, RetireIncarnation,
    SessionView, SetVersioning, SourceVersion, TagVersion, Tagged, TakeLease, UpdateAccessKey, UploadName, UploadPage,
    UploadState, VersionPage, Written, ZoneView,
};

/// Makes the enums of requests and of their results, and the way from one to the other.
macro_rules! operations {
    (
        $(#[$request_doc:meta])* $request:ident, $(#[$result_doc:meta])* $result:ident;
        $($variant:ident ( $input:ty ) -> $output:ty;)*
    ) => {
        $(#[$request_doc])*
        #[derive(Debug, Clone)]
        #[allow(missing_docs, reason = "each is named after its method of the trait")]
        #[allow(clippy::large_enum_variant, reason = "made once per request, moved a few times, never kept")]
        pub enum $request {
            $($variant($input),)*
        }

        $(#[$result_doc])*
        #[derive(Debug, Clone)]
        #[allow(missing_docs, reason = "each is named after its method of the trait")]
        #[allow(clippy::large_enum_variant, reason = "made once per request, moved a few times, never kept")]
        pub enum $result {
            $($variant($output),)*
        }
    };
}

operations! {
    /// What changes the state. One for each method of [`crate::Catalog`] that does.
    Command,
    /// What a [`Command`] answers; of the same name.
    Outcome;
    PutVersion(PutVersion) -> Written;
    CopyVersion(CopyVersion) -> Written;
    TagVersion(TagVersion) -> Tagged;
    DeleteVersion(DeleteVersion) -> Deleted;
    DeleteVersions(DeleteVersions) -> Vec<CatalogResult<Deleted>>;
    CreateUpload(CreateUpload) -> UploadId;
    PutPart(PutPart) -> FoundUploadPart;
    CopyPart(CopyPart) -> FoundUploadPart;
    CompleteUpload(CompleteUpload) -> Written;
    AbortUpload(UploadName) -> ();
    AddLocators(AddLocatorsBatch) -> Vec<AddOutcome>;
    ClearLocators(ClearLocatorsBatch) -> Vec<bool>;
    MoveLocators(MoveLocatorsBatch) -> Vec<bool>;
    ConfirmDeletions(ConfirmDeletions) -> ();
    Reap(Reap) -> Reaped;
    OpenSession(OpenSession) -> SessionId;
    HeartbeatSession(SessionId) -> bool;
    CloseSession(SessionId) -> ();
    CloseSilentSessions(CloseSilentSessions) -> SessionView;
    TakeLease(TakeLease) -> LeaseRecord;
    ReleaseLease(ReleaseLease) -> ();
    RetireIncarnation(RetireIncarnation) -> ZoneView;
    AdvanceRebuild(AdvanceRebuild) -> RebuildProgress;
    CreateTenant(CreateTenant) -> FoundTenant;
    AdoptTenant(AdoptTenant) -> FoundTenant;
    DeleteTenant(TenantId) -> ();
    CreateAccount(CreateAccount) -> FoundAccount;
    DeleteAccount(AccountId) -> ();
    CreateAccessKey(CreateAccessKey) -> FoundAccessKey;
    UpdateAccessKey(UpdateAccessKey) -> FoundAccessKey;
    DeleteAccessKey(AccessKeyName) -> ();
    CreateBucket(CreateBucket) -> FoundBucket;
    DeleteBucket(DeleteBucket) -> ();
    SetVersioning(SetVersioning) -> BucketRecord;
    ConfigureBucket(ConfigureBucket) -> BucketRecord;
}

operations! {
    /// What only reads. One for each method of [`crate::Catalog`] that does.
    Query,
    /// What a [`Query`] answers; of the same name.
    Answer;
    GetVersion(GetVersion) -> FoundVersion;
    VersionExists(SourceVersion) -> bool;
    ListObjects(ListObjects) -> ObjectPage;
    ListVersions(ListVersions) -> VersionPage;
    Upload(UploadName) -> FoundUpload;
    ListParts(ListParts) -> Page<FoundUploadPart>;
    UploadForCompletion(UploadName) -> UploadState;
    ListUploads(ListUploads) -> UploadPage;
    ManifestParts(ManifestParts) -> ManifestPage;
    Blobs(Vec<BlobId>) -> Vec<Option<FoundBlob>>;
    BlobPage(ListBlobs) -> BlobPage<BlobId>;
    IncompleteBlobs(ListIncomplete) -> BlobPage<IncompletePosition>;
    Named(Vec<ChunkPlace>) -> Vec<bool>;
    CondemnedBlobs(ListCondemned) -> BlobPage<CondemnedPosition>;
    Sessions(()) -> SessionView;
    Leases(()) -> Vec<(String, LeaseRecord)>;
    Zones(()) -> ZoneView;
    SettingsEpoch(()) -> u64;
    Tenant(TenantId) -> Option<FoundTenant>;
    TenantByName(String) -> Option<FoundTenant>;
    ListTenants(ListAfter<TenantId>) -> Page<FoundTenant>;
    Account(AccountId) -> Option<FoundAccount>;
    ListAccounts(ListAfter<AccountId>) -> Page<FoundAccount>;
    AccessKey(AccessKeyName) -> Option<FoundAccessKey>;
    ListAccessKeys(ListAccessKeys) -> Page<FoundAccessKey>;
    BucketTags(BucketId) -> Tags;
    Bucket(BucketId) -> Option<FoundBucket>;
    BucketByName((TenantId, BucketName)) -> Option<FoundBucket>;
    ListBuckets(ListBuckets) -> Page<FoundBucket>;
    Usage(BucketId) -> UsageRecord;
    Time(()) -> CatalogTime;
}

/// Evaluates a command. After an error the transaction is to be dropped: it may hold some of what the command would have written.
pub fn evaluate(transaction: &mut Transaction<'_>, command: Command) -> Result<Outcome, CatalogError> {
    Ok(match command {
        Command::PutVersion(request) => Outcome::PutVersion(versions::put(transaction, request)?),
        Command::CopyVersion(request) => Outcome::CopyVersion(versions::copy(transaction, request)?),
        Command::TagVersion(request) => Outcome::TagVersion(versions::tag(transaction, request)?),
        Command::DeleteVersion(request) => Outcome::DeleteVersion(versions::delete(transaction, request)?),
        Command::DeleteVersions(request) => Outcome::DeleteVersions(versions::delete_several(transaction, request)?),
        Command::CreateUpload(request) => Outcome::CreateUpload(uploads::create(transaction, request)?),
        Command::PutPart(request) => Outcome::PutPart(uploads::put_part(transaction, request)?),
        Command::CopyPart(request) => Outcome::CopyPart(uploads::copy_part(transaction, request)?),
        Command::CompleteUpload(request) => Outcome::CompleteUpload(uploads::complete(transaction, request)?),
        Command::AbortUpload(name) => {
            uploads::abort(transaction, &name)?;
            Outcome::AbortUpload(())
        }
        Command::AddLocators(batch) => Outcome::AddLocators(blobs::add_locators(transaction, batch)?),
        Command::ClearLocators(batch) => Outcome::ClearLocators(blobs::clear_locators(transaction, batch)?),
        Command::MoveLocators(batch) => Outcome::MoveLocators(blobs::move_locators(transaction, batch)?),
        Command::ConfirmDeletions(request) => {
            blobs::confirm_deletions(transaction, request)?;
            Outcome::ConfirmDeletions(())
        }
        Command::Reap(request) => Outcome::Reap(uploads::reap(transaction, request)?),
        Command::OpenSession(request) => Outcome::OpenSession(sessions::open(transaction, request)?),
        Command::HeartbeatSession(session) => Outcome::HeartbeatSession(sessions::heartbeat(transaction, session)?),
        Command::CloseSession(session) => {
            sessions::close(transaction, session)?;
            Outcome::CloseSession(())
        }
        Command::CloseSilentSessions(request) => Outcome::CloseSilentSessions(sessions::close_silent(transaction, request)?),
        Command::TakeLease(request) => Outcome::TakeLease(sessions::take_lease(transaction, request)?),
        Command::ReleaseLease(request) => {
            sessions::release_lease(transaction, request)?;
            Outcome::ReleaseLease(())
        }
        Command::RetireIncarnation(request) => Outcome::RetireIncarnation(zones::retire(transaction, request)?),
        Command::AdvanceRebuild(request) => Outcome::AdvanceRebuild(zones::advance(transaction, request)?),
        Command::CreateTenant(request) => Outcome::CreateTenant(directory::create_tenant(transaction, request)?),
        Command::AdoptTenant(request) => Outcome::AdoptTenant(directory::adopt_tenant(transaction, request)?),
        Command::DeleteTenant(tenant) => {
            directory::delete_tenant(transaction, tenant)?;
            Outcome::DeleteTenant(())
        }
        Command::CreateAccount(request) => Outcome::CreateAccount(directory::create_account(transaction, request)?),
        Command::DeleteAccount(account) => {
            directory::delete_account(transaction, account)?;
            Outcome::DeleteAccount(())
        }
        Command::CreateAccessKey(request) => Outcome::CreateAccessKey(directory::create_access_key(transaction, request)?),
        Command::UpdateAccessKey(request) => Outcome::UpdateAccessKey(directory::update_access_key(transaction, request)?),
        Command::DeleteAccessKey(name) => {
            directory::delete_access_key(transaction, &name)?;
            Outcome::DeleteAccessKey(())
        }
        Command::CreateBucket(request) => Outcome::CreateBucket(directory::create_bucket(transaction, request)?),
        Command::DeleteBucket(request) => {
            directory::delete_bucket(transaction, request)?;
            Outcome::DeleteBucket(())
        }
        Command::SetVersioning(request) => Outcome::SetVersioning(directory::set_versioning(transaction, request)?),
        Command::ConfigureBucket(request) => Outcome::ConfigureBucket(directory::configure_bucket(transaction, request)?),
    })
}

/// Answers a question. `now` is catalog time; what falls due is judged by it, or by the time of the last commit where that is later.
pub fn answer(reader: &dyn StateReader, limits: &Limits, now: CatalogTime, query: Query) -> Result<Answer, CatalogError> {
    let page = limits.page_length_max;
    let time = || Ok::<_, CatalogError>(now.max(CatalogTime(meta(reader, META_TIME)?)));
    Ok(match query {
        Query::GetVersion(request) => Answer::GetVersion(queries::version(reader, &request)?),
        Query::VersionExists(version) => Answer::VersionExists(queries::version_exists(reader, &version)?),
        Query::ListObjects(request) => Answer::ListObjects(listing::objects(reader, page, &request)?),
        Query::ListVersions(request) => Answer::ListVersions(listing::versions(reader, page, &request)?),
        Query::Upload(name) => Answer::Upload(uploads::get(reader, name)?),
        Query::ListParts(request) => Answer::ListParts(queries::list_parts(reader, page, &request)?),
        Query::UploadForCompletion(name) => Answer::UploadForCompletion(uploads::for_completion(reader, name)?),
        Query::ListUploads(request) => Answer::ListUploads(listing::uploads(reader, page, &request)?),
        Query::ManifestParts(request) => Answer::ManifestParts(queries::manifest_parts(reader, page, &request)?),
        Query::Blobs(ids) => Answer::Blobs(queries::blobs(reader, &ids)?),
        Query::BlobPage(request) => Answer::BlobPage(queries::blob_page(reader, page, &request)?),
        Query::IncompleteBlobs(request) => Answer::IncompleteBlobs(queries::incomplete(reader, page, &request)?),
        Query::Named(places) => {
            // What is not named may have been, by what was forgotten (P5).
            let may_lack = sessions::may_lack(reader)?;
            let names = |place| if may_lack { Ok(true) } else { blobs::names(reader, place) };
            Answer::Named(places.iter().map(names).collect::<CatalogResult<_>>()?)
        }
        Query::CondemnedBlobs(request) => Answer::CondemnedBlobs(queries::condemned(reader, page, time()?, &request)?),
        Query::Sessions(()) => Answer::Sessions(sessions::view(reader)?),
        Query::Leases(()) => Answer::Leases(sessions::leases(reader)?),
        Query::Zones(()) => Answer::Zones(zones::view(reader)?),
        Query::SettingsEpoch(()) => Answer::SettingsEpoch(meta(reader, META_EPOCH)?),
        Query::Tenant(tenant) => Answer::Tenant(directory::tenant(reader, tenant)?),
        Query::TenantByName(name) => Answer::TenantByName(directory::tenant_by_name(reader, &name)?),
        Query::ListTenants(request) => Answer::ListTenants(directory::list_tenants(reader, &request)?),
        Query::Account(account) => Answer::Account(directory::account(reader, account)?),
        Query::ListAccounts(request) => Answer::ListAccounts(directory::list_accounts(reader, &request)?),
        Query::AccessKey(name) => Answer::AccessKey(directory::access_key(reader, &name.access_key_id)?),
        Query::ListAccessKeys(request) => Answer::ListAccessKeys(directory::list_access_keys(reader, &request)?),
        Query::BucketTags(bucket) => Answer::BucketTags(directory::bucket_tags(reader, bucket)?),
        Query::Bucket(bucket) => Answer::Bucket(directory::bucket(reader, bucket)?),
        Query::BucketByName((tenant, name)) => Answer::BucketByName(directory::bucket_by_name(reader, tenant, &name)?),
        Query::ListBuckets(request) => Answer::ListBuckets(directory::list_buckets(reader, &request)?),
        Query::Usage(bucket) => Answer::Usage(directory::usage(reader, bucket)?),
        Query::Time(()) => Answer::Time(time()?),
    })
}
