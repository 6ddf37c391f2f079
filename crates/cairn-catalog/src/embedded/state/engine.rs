//! [`Catalog`] over a state machine, wherever its rows are.

use std::collections::VecDeque;
use std::sync::Arc;

use cairn_disk::Clock;
use cairn_types::records::{BucketRecord, LeaseRecord, Tags, UsageRecord};
use cairn_types::{AccountId, BlobId, BucketId, BucketName, CatalogTime, Now, SessionId, TenantId, UploadId, WallTime};
use parking_lot::Mutex;

use super::command::{Answer, Command, Outcome, Query, answer};
use super::reader::{Overlay, StateReader, Write};
use super::transaction::Transaction;
use crate::embedded::keyvalue::model::Model;
use crate::embedded::keyvalue::{Applied, KeyValue, Snapshot};
use crate::{
    AccessKeyName, AddLocatorsBatch, AddOutcome, AdoptTenant, AdvanceRebuild, BlobPage, Catalog, CatalogError, CatalogFuture,
    CatalogResult, ChunkPlace, ClearLocatorsBatch, CloseSilentSessions, CompleteUpload, CondemnedPosition, ConfigureBucket,
    ConfirmDeletions, ConfirmedSettings, CopyPart, CopyVersion, CreateAccessKey, CreateAccount, CreateBucket, CreateTenant,
    CreateUpload, DeleteBucket, DeleteVersion, DeleteVersions, Deleted, FoundAccessKey, FoundAccount, FoundBlob, FoundBucket,
    FoundTenant, FoundUpload, FoundUploadPart, FoundVersion, Generations, GetVersion, IncompletePosition, Limits, ListAccessKeys,
    ListAfter, ListBlobs, ListBuckets, ListCondemned, ListIncomplete, ListObjects, ListParts, ListUploads, ListVersions,
    ManifestPage, ManifestParts, MoveLocatorsBatch, ObjectPage, OpenSession, Page, PutPart, PutVersion, Reap, Reaped,
    RebuildProgress, ReleaseLease, RetireIncarnation, SessionView, SetVersioning, SourceVersion, TagVersion, Tagged, TakeLease,
    UpdateAccessKey, UploadName, UploadPage, UploadState, VersionPage, Written, ZoneView,
};

/// A state machine that takes commands and answers questions: what an engine has to be, for [`EmbeddedCatalog`] to make a [`Catalog`] of it.
pub trait StateMachine: Send + Sync + 'static {
    /// The bounds that it works within.
    fn limits(&self) -> &Limits;

    /// Evaluates a command, and answers once what it wrote is durable and can be read.
    fn submit(&self, command: Command) -> CatalogFuture<'_, Outcome>;

    /// Answers a question from a state that has every command that was answered before (R1).
    fn ask(&self, query: Query) -> CatalogFuture<'_, Answer>;

    /// See [`Catalog::is_shared`].
    fn is_shared(&self) -> bool {
        false
    }

    /// See [`Catalog::generations`].
    fn generations(&self) -> CatalogFuture<'_, Generations> {
        Box::pin(std::future::ready(Ok(Generations::default())))
    }

    /// See [`Catalog::note_restored`].
    fn note_restored(&self) -> CatalogFuture<'_, ()> {
        Box::pin(std::future::ready(Err(CatalogError::Refused("this catalog is not one that is restored by itself".to_owned()))))
    }

    /// See [`Catalog::note_reviewed`].
    fn note_reviewed(&self, seen: Generations) -> CatalogFuture<'_, ()> {
        let _ = seen;
        Box::pin(std::future::ready(Err(CatalogError::Refused("this catalog has forgotten nothing".to_owned()))))
    }

    /// The last confirmation of the settings' epoch that it has in memory (R3).
    fn confirmed_settings(&self) -> Option<ConfirmedSettings> {
        None
    }
}

/// A [`Catalog`] over a [`StateMachine`].
#[derive(Debug)]
pub struct EmbeddedCatalog<Machine> {
    machine: Machine,
}

impl<Machine: StateMachine> EmbeddedCatalog<Machine> {
    /// A catalog over this machine.
    pub fn new(machine: Machine) -> Self {
        Self { machine }
    }

    /// The machine.
    pub fn machine(&self) -> &Machine {
        &self.machine
    }
}

/// Methods of the trait, each by its command or question.
macro_rules! forward {
    ($call:ident $request_type:ident $result_type:ident; $($method:ident = $variant:ident ( $($name:ident : $input:ty),* ) -> $output:ty;)*) => {
        $(
            fn $method(&self, $($name: $input),*) -> CatalogFuture<'_, $output> {
                #[allow(unused_parens, clippy::double_parens, reason = "one request is itself, two are a pair, none is nothing")]
                let request = $request_type::$variant(($($name),*));
                let result = self.machine.$call(request);
                Box::pin(async move {
                    match result.await? {
                        $result_type::$variant(output) => Ok(output),
                        // The state machine answers each request by the variant of the same name.
                        _ => Err(CatalogError::Damaged(concat!("the answer to ", stringify!($method), " is of another kind").to_owned())),
                    }
                })
            }
        )*
    };
}

impl<Machine: StateMachine> Catalog for EmbeddedCatalog<Machine> {
    fn limits(&self) -> &Limits {
        self.machine.limits()
    }

    fn is_shared(&self) -> bool {
        self.machine.is_shared()
    }

    fn generations(&self) -> CatalogFuture<'_, Generations> {
        self.machine.generations()
    }

    fn note_restored(&self) -> CatalogFuture<'_, ()> {
        self.machine.note_restored()
    }

    fn note_reviewed(&self, seen: Generations) -> CatalogFuture<'_, ()> {
        self.machine.note_reviewed(seen)
    }

    fn confirm_settings(&self, since: tokio::time::Instant) -> CatalogFuture<'_, ConfirmedSettings> {
        match self.machine.confirmed_settings().filter(|settings| settings.confirmed >= since) {
            Some(settings) => Box::pin(std::future::ready(Ok(settings))),
            None => crate::ask_settings(self),
        }
    }

    forward! { submit Command Outcome;
        put_version = PutVersion(request: PutVersion) -> Written;
        copy_version = CopyVersion(request: CopyVersion) -> Written;
        tag_version = TagVersion(request: TagVersion) -> Tagged;
        delete_version = DeleteVersion(request: DeleteVersion) -> Deleted;
        delete_versions = DeleteVersions(request: DeleteVersions) -> Vec<CatalogResult<Deleted>>;
        create_upload = CreateUpload(request: CreateUpload) -> UploadId;
        put_part = PutPart(request: PutPart) -> FoundUploadPart;
        copy_part = CopyPart(request: CopyPart) -> FoundUploadPart;
        complete_upload = CompleteUpload(request: CompleteUpload) -> Written;
        abort_upload = AbortUpload(name: UploadName) -> ();
        add_locators = AddLocators(request: AddLocatorsBatch) -> Vec<AddOutcome>;
        clear_locators = ClearLocators(request: ClearLocatorsBatch) -> Vec<bool>;
        move_locators = MoveLocators(request: MoveLocatorsBatch) -> Vec<bool>;
        confirm_deletions = ConfirmDeletions(request: ConfirmDeletions) -> ();
        reap = Reap(request: Reap) -> Reaped;
        open_session = OpenSession(request: OpenSession) -> SessionId;
        heartbeat_session = HeartbeatSession(session: SessionId) -> bool;
        close_session = CloseSession(session: SessionId) -> ();
        take_lease = TakeLease(request: TakeLease) -> LeaseRecord;
        release_lease = ReleaseLease(request: ReleaseLease) -> ();
        close_silent_sessions = CloseSilentSessions(request: CloseSilentSessions) -> SessionView;
        retire_incarnation = RetireIncarnation(request: RetireIncarnation) -> ZoneView;
        advance_rebuild = AdvanceRebuild(request: AdvanceRebuild) -> RebuildProgress;
        create_tenant = CreateTenant(request: CreateTenant) -> FoundTenant;
        adopt_tenant = AdoptTenant(request: AdoptTenant) -> FoundTenant;
        delete_tenant = DeleteTenant(tenant: TenantId) -> ();
        create_account = CreateAccount(request: CreateAccount) -> FoundAccount;
        delete_account = DeleteAccount(account: AccountId) -> ();
        create_access_key = CreateAccessKey(request: CreateAccessKey) -> FoundAccessKey;
        update_access_key = UpdateAccessKey(request: UpdateAccessKey) -> FoundAccessKey;
        delete_access_key = DeleteAccessKey(name: AccessKeyName) -> ();
        create_bucket = CreateBucket(request: CreateBucket) -> FoundBucket;
        delete_bucket = DeleteBucket(request: DeleteBucket) -> ();
        set_versioning = SetVersioning(request: SetVersioning) -> BucketRecord;
        configure_bucket = ConfigureBucket(request: ConfigureBucket) -> BucketRecord;
    }

    forward! { ask Query Answer;
        get_version = GetVersion(request: GetVersion) -> FoundVersion;
        version_exists = VersionExists(version: SourceVersion) -> bool;
        list_objects = ListObjects(request: ListObjects) -> ObjectPage;
        list_versions = ListVersions(request: ListVersions) -> VersionPage;
        upload = Upload(name: UploadName) -> FoundUpload;
        list_parts = ListParts(request: ListParts) -> Page<FoundUploadPart>;
        upload_for_completion = UploadForCompletion(name: UploadName) -> UploadState;
        list_uploads = ListUploads(request: ListUploads) -> UploadPage;
        manifest_parts = ManifestParts(request: ManifestParts) -> ManifestPage;
        blobs = Blobs(ids: Vec<BlobId>) -> Vec<Option<FoundBlob>>;
        blob_page = BlobPage(request: ListBlobs) -> BlobPage<BlobId>;
        incomplete_blobs = IncompleteBlobs(request: ListIncomplete) -> BlobPage<IncompletePosition>;
        named = Named(places: Vec<ChunkPlace>) -> Vec<bool>;
        condemned_blobs = CondemnedBlobs(request: ListCondemned) -> BlobPage<CondemnedPosition>;
        sessions = Sessions() -> SessionView;
        leases = Leases() -> Vec<(String, LeaseRecord)>;
        zones = Zones() -> ZoneView;
        settings_epoch = SettingsEpoch() -> u64;
        tenant = Tenant(tenant: TenantId) -> Option<FoundTenant>;
        tenant_by_name = TenantByName(name: String) -> Option<FoundTenant>;
        list_tenants = ListTenants(request: ListAfter<TenantId>) -> Page<FoundTenant>;
        account = Account(account: AccountId) -> Option<FoundAccount>;
        list_accounts = ListAccounts(request: ListAfter<AccountId>) -> Page<FoundAccount>;
        access_key = AccessKey(name: AccessKeyName) -> Option<FoundAccessKey>;
        list_access_keys = ListAccessKeys(request: ListAccessKeys) -> Page<FoundAccessKey>;
        bucket_tags = BucketTags(bucket: BucketId) -> Tags;
        bucket = Bucket(bucket: BucketId) -> Option<FoundBucket>;
        bucket_by_name = BucketByName(tenant: TenantId, name: BucketName) -> Option<FoundBucket>;
        list_buckets = ListBuckets(request: ListBuckets) -> Page<FoundBucket>;
        usage = Usage(bucket: BucketId) -> UsageRecord;
        time = Time() -> CatalogTime;
    }
}

/// A catalog in memory, without a log: nothing survives the process. For tests, and for those who build on [`Catalog`].
pub type InMemoryCatalog = EmbeddedCatalog<MemoryMachine>;

/// The machine behind [`InMemoryCatalog`].
pub struct MemoryMachine {
    limits: Limits,
    clock: Arc<dyn Clock>,
    lag: usize,
    state: Mutex<MemoryState>,
}

#[derive(Default)]
struct MemoryState {
    store: Model,
    overlay: Overlay,
    waiting: VecDeque<(u64, Vec<Write>)>,
    last_batch: u64,
}

/// Batches after which the model's record of what a crash would lose is dropped.
const PERSIST_EVERY: u64 = 1024;

impl InMemoryCatalog {
    /// An empty catalog. Catalog time follows the clock's wall time.
    #[must_use]
    pub fn in_memory(limits: Limits, clock: Arc<dyn Clock>) -> Self {
        Self::in_memory_with_lag(limits, clock, 0)
    }

    /// As [`InMemoryCatalog::in_memory`]; the last `lag` commands' rows are always still on their way to the store, as they are behind a log.
    #[must_use]
    pub fn in_memory_with_lag(limits: Limits, clock: Arc<dyn Clock>, lag: usize) -> Self {
        Self::new(MemoryMachine { limits, clock, lag, state: Mutex::default() })
    }
}

impl MemoryMachine {
    fn now(&self) -> Now {
        let milliseconds = u64::try_from(self.clock.wall().as_millis()).unwrap_or(u64::MAX);
        Now { catalog: CatalogTime(milliseconds), wall: WallTime(milliseconds) }
    }

    /// All rows as they are now, for checkers. Applies what is still on its way.
    pub fn snapshot(&self) -> CatalogResult<Box<dyn Snapshot>> {
        let mut state = self.state.lock();
        state.apply_all_but(0)?;
        Ok(state.store.snapshot())
    }
}

impl MemoryState {
    fn apply_all_but(&mut self, lag: usize) -> CatalogResult<()> {
        while self.waiting.len() > lag
            && let Some((batch, writes)) = self.waiting.pop_front()
        {
            self.store.apply(&writes, Applied { index: batch, epoch: 1, checksum: 0 })?;
            self.overlay.applied(batch);
            if batch.is_multiple_of(PERSIST_EVERY) {
                self.store.persist()?;
            }
        }
        Ok(())
    }

    fn submit(&mut self, limits: &Limits, now: Now, lag: usize, command: Command) -> CatalogResult<Outcome> {
        let snapshot = self.store.snapshot();
        let sequenced = super::sequence(&snapshot, &self.overlay, limits, now, command);
        drop(snapshot);
        if !sequenced.writes.is_empty() {
            self.last_batch += 1;
            self.overlay.absorb(self.last_batch, &sequenced.writes);
            self.waiting.push_back((self.last_batch, sequenced.writes));
            self.apply_all_but(lag)?;
        }
        sequenced.result
    }
}

impl StateMachine for MemoryMachine {
    fn limits(&self) -> &Limits {
        &self.limits
    }

    fn submit(&self, command: Command) -> CatalogFuture<'_, Outcome> {
        Box::pin(async move { self.state.lock().submit(&self.limits, self.now(), self.lag, command) })
    }

    fn ask(&self, query: Query) -> CatalogFuture<'_, Answer> {
        Box::pin(async move {
            let state = self.state.lock();
            let snapshot = state.store.snapshot();
            let now = self.now();
            // A transaction that writes nothing shows what is on its way, too.
            let view = Transaction::new(&snapshot, &state.overlay, &self.limits, now)?;
            let reader: &dyn StateReader = &view;
            answer(reader, &self.limits, now.catalog, query)
        })
    }
}
