//! What every [`Catalog`] must do, as one suite.
//!
//! An engine's own tests give [`run_all`] a way to make empty catalogs; each test gets one of its own. Nothing is skipped. The tests are
//! public one by one, so that an engine under trouble can run a single one. [`random::agrees_with_the_reference`] compares an engine with
//! [`reference::ReferenceBucket`] over any sequence of operations.

pub mod blobs;
pub mod directory;
pub mod forgetting;
pub mod leases;
pub mod objects;
pub mod random;
pub mod reference;
pub mod uploads;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use cairn_catalog::{
    Catalog, CatalogError, CatalogResult, CreateAccount, CreateBucket, CreateTenant, DeleteTarget, DeleteVersion, Deleted,
    FoundContent, FoundVersion, GetVersion, ListEntry, ListObjects, ListScope, ListVersions, ListedRow, ManifestParts,
    ManifestPosition, NewBlob, NewContent, OpenSession, PutVersion, RetireIncarnation, SourceVersion, VersionAttributes,
    WriteCondition, Written, ZoneView,
};
use cairn_types::ids::ZONE_COUNT;
use cairn_types::records::{BlobContent, ChunkRecord, Extent, Layout, Replica, StorageClass, Versioning};
use cairn_types::{
    AccountId, BlobId, BucketId, ETag, Incarnation, Locator, ObjectKey, ObjectMetadata, SessionId, TenantId, VersionId, ZoneIndex,
};
use futures::future::BoxFuture;

use self::reference::{Content, Piece};

/// A catalog under test.
pub trait Subject: Send + Sync {
    /// The catalog.
    fn catalog(&self) -> Arc<dyn Catalog>;
    /// Lets catalog time pass.
    fn pass(&self, duration: Duration) -> BoxFuture<'_, ()>;
    /// Whether [`Catalog::retire_incarnation`] begins new lives. Engines whose log alone may do that (L7) refuse it.
    fn begins_lives_on_request(&self) -> bool {
        true
    }
    /// Begins a zone's new life, and returns once the zone lives it. Which number it has is the engine's to say.
    fn retire(&self, zone: ZoneIndex) -> BoxFuture<'_, CatalogResult<ZoneView>> {
        Box::pin(async move {
            let catalog = self.catalog();
            let present = catalog.zones().await?.zones[zone.get()].incarnation;
            catalog.retire_incarnation(RetireIncarnation { zone, incarnation: Incarnation(present.0 + 1) }).await
        })
    }
    /// The test is over: judges what is left, and lets go of it.
    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}

/// Makes an empty catalog.
pub type Make = dyn Fn() -> BoxFuture<'static, Box<dyn Subject>> + Send + Sync;

macro_rules! run {
    ($make:ident; $($module:ident :: $test:ident;)*) => {
        $({
            let subject = $make().await;
            tracing::debug!(test = concat!(stringify!($module), "::", stringify!($test)));
            $module::$test(&World::new(&*subject).await).await;
            subject.close().await;
        })*
    };
}

/// Runs the whole suite, each test on an empty catalog. Panics with words at the first thing that is wrong.
pub async fn run_all(make: &Make) {
    run! { make;
        objects::keeps_one_version_while_unversioned;
        objects::keeps_every_version_while_enabled;
        objects::replaces_the_null_version_while_suspended;
        objects::promotes_the_next_version;
        objects::judges_conditions_in_the_commit;
        objects::lets_one_of_many_racing_writers_win;
        objects::deletes_many_each_by_itself;
        objects::copies_by_reference;
        objects::refuses_a_copy_of_what_has_changed;
        objects::copies_a_key_onto_itself;
        objects::keeps_attributes;
        objects::changes_tags_alone;
        objects::orders_versions_whatever_the_clock_says;
        objects::keeps_buckets_apart;
        objects::rolls_folders_up;
        objects::pages_through_versions_while_they_are_deleted;
        uploads::turns_parts_into_an_object;
        uploads::refuses_wrong_completions;
        uploads::repeats_a_completion;
        uploads::replaces_and_drops_parts;
        uploads::aborts;
        uploads::copies_parts;
        uploads::shares_parts_between_copies;
        uploads::keeps_parts_for_readers;
        uploads::lists_uploads_and_parts;
        blobs::refuses_closed_sessions;
        blobs::closes_silent_sessions;
        leases::are_held_by_one_for_as_long_as_it_is_heard_of;
        forgetting::collects_nothing_until_somebody_has_looked;
        leases::go_with_their_session;
        blobs::counts_only_current_incarnations;
        blobs::refuses_impossible_blobs;
        blobs::writes_down_what_is_missing;
        blobs::adds_locators_once;
        blobs::takes_damaged_places_off_but_never_the_last;
        blobs::moves_places_within_a_zone;
        blobs::condemns_and_forgets;
        blobs::names_chunks_by_their_very_places;
        blobs::walks_over_all_blobs_after_a_loss;
        blobs::lets_go_of_scattered_bodies_in_steps;
        directory::makes_and_removes_tenants_and_accounts;
        directory::keeps_access_keys;
        directory::keeps_names_of_buckets_in_their_tenants;
        directory::removes_empty_buckets_only;
        directory::lists_buckets_and_keys;
        directory::keeps_settings_of_buckets;
        directory::tells_when_settings_change;
    }
    for seed in 0..24 {
        let subject = make().await;
        random::agrees_with_the_reference(&World::new(&*subject).await, &random::operations_of(seed, 60)).await;
        subject.close().await;
    }
}

/// A catalog with a tenant, an account, a bucket, three zones of incarnation 1 and an open session.
pub struct World<'a> {
    /// Lets time pass.
    pub subject: &'a dyn Subject,
    /// The catalog.
    pub catalog: Arc<dyn Catalog>,
    /// The tenant.
    pub tenant: TenantId,
    /// The account.
    pub account: AccountId,
    /// The bucket.
    pub bucket: BucketId,
    /// The session.
    pub session: SessionId,
    next_blob: Arc<AtomicU64>,
}

/// A key from a literal.
///
/// # Panics
/// When it is not one.
#[must_use]
pub fn key(text: &str) -> ObjectKey {
    text.parse().expect("a key")
}

/// An entity tag that differs for different numbers.
#[must_use]
pub fn etag(number: u64) -> ETag {
    let mut digest = [0; 16];
    digest[..8].copy_from_slice(&number.to_be_bytes());
    ETag::of_bytes(digest)
}

/// A place for a chunk that differs for different texts.
///
/// # Panics
/// When the text is too long.
#[must_use]
pub fn replica(incarnation: u64, text: &str) -> Replica {
    let locator = Locator::new(Bytes::copy_from_slice(text.as_bytes())).expect("a locator");
    Replica { incarnation: Incarnation(incarnation), locator }
}

/// Attributes that tell one write from another.
#[must_use]
pub fn attributes(number: u64) -> VersionAttributes {
    VersionAttributes {
        etag: etag(number),
        checksum: None,
        metadata: ObjectMetadata { content_type: Some(Bytes::from(format!("test/{number}"))), ..ObjectMetadata::default() },
        tags: Vec::new(),
        storage_class: StorageClass::Standard,
    }
}

impl<'a> World<'a> {
    /// Prepares an empty catalog.
    ///
    /// # Panics
    /// When it cannot.
    pub async fn new(subject: &'a dyn Subject) -> Self {
        let catalog = subject.catalog();
        let tenant = CreateTenant { name: "default".parse().expect("a name"), uid: None };
        let tenant = catalog.create_tenant(tenant).await.expect("a tenant").id;
        let account = AccountId([7; 32]);
        let request = CreateAccount { id: account, tenant, name: "tester".to_owned() };
        catalog.create_account(request).await.expect("an account");
        // An engine with a log of its own has formed its zones already.
        if subject.begins_lives_on_request() {
            for zone in ZoneIndex::ALL {
                let first = RetireIncarnation { zone, incarnation: Incarnation(1) };
                catalog.retire_incarnation(first).await.expect("a zone's first life");
            }
        }
        assert_eq!(catalog.zones().await.expect("the zones").incarnations(), [Incarnation(1); ZONE_COUNT]);
        let session = catalog.open_session(OpenSession { gateway: "gateway".to_owned() }).await.expect("a session");
        let mut world =
            Self { subject, catalog, tenant, account, bucket: BucketId(0), session, next_blob: Arc::new(AtomicU64::new(1)) };
        world.bucket = world.make_bucket("first", Versioning::Unversioned).await;
        world
    }

    /// The same world, with another bucket in the first one's place.
    #[must_use]
    pub fn in_bucket(&self, bucket: BucketId) -> Self {
        Self { bucket, catalog: self.catalog.clone(), next_blob: self.next_blob.clone(), ..*self }
    }

    /// A new bucket.
    ///
    /// # Panics
    /// When it cannot be made.
    pub async fn make_bucket(&self, name: &str, versioning: Versioning) -> BucketId {
        let request = CreateBucket {
            tenant: self.tenant,
            name: name.parse().expect("a bucket's name"),
            owner: self.account,
            versioning,
            tags: Vec::new(),
        };
        self.catalog.create_bucket(request).await.expect("a bucket").id
    }

    /// A name for a new blob.
    pub fn blob_id(&self) -> BlobId {
        let counter = self.next_blob.fetch_add(1, Ordering::SeqCst);
        BlobId { session: self.session, counter }
    }

    /// A blob of these chunks that zones of incarnation 1 have confirmed.
    pub fn blob(&self, lengths: &[u32], zones: &[u8]) -> NewBlob {
        let id = self.blob_id();
        let mut chunks = Vec::new();
        for (ordinal, length) in lengths.iter().enumerate() {
            let mut replicas = [const { None }; ZONE_COUNT];
            for zone in zones {
                replicas[usize::from(*zone)] = Some(replica(1, &format!("{id:?}.{ordinal}@{zone}")));
            }
            chunks.push(ChunkRecord { data_length: *length, replicas });
        }
        let content = BlobContent { layout: Layout::ThreeCopies, frame_kind: 1, encryption_key: None, chunks };
        NewBlob { id, content }
    }

    /// A request to write these bytes into the first bucket.
    pub fn put_request(&self, name: &str, number: u64, content: NewContent) -> PutVersion {
        PutVersion {
            session: self.session,
            bucket: self.bucket,
            key: key(name),
            content,
            attributes: attributes(number),
            condition: WriteCondition::None,
        }
    }

    /// Writes a short text; the number goes into the attributes.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn put(&self, name: &str, number: u64, text: &'static str) -> Written {
        let request = self.put_request(name, number, NewContent::Inline(Bytes::from_static(text.as_bytes())));
        self.catalog.put_version(request).await.expect("a write")
    }

    /// Writes blobs that all zones have.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn put_blobs(&self, name: &str, number: u64, lengths: &[u32]) -> (Written, BlobId) {
        let blob = self.blob(lengths, &[0, 1, 2]);
        let id = blob.id;
        let request = self.put_request(name, number, NewContent::Blobs(vec![blob]));
        (self.catalog.put_version(request).await.expect("a write"), id)
    }

    /// Looks a version of the first bucket up.
    pub async fn get(&self, name: &str, version_id: Option<VersionId>) -> CatalogResult<FoundVersion> {
        let request = GetVersion { bucket: self.bucket, key: key(name), version_id, part_number: None, with_content: true };
        self.catalog.get_version(request).await
    }

    /// The bytes of a version of the first bucket.
    pub async fn read(&self, name: &str, version_id: Option<VersionId>) -> CatalogResult<Content> {
        let found = self.get(name, version_id).await?;
        self.content_of(found).await
    }

    /// The bytes of a version that was found.
    ///
    /// # Panics
    /// When blobs that it names are not given with it.
    pub async fn content_of(&self, found: FoundVersion) -> CatalogResult<Content> {
        let mut content = Content::default();
        let mut append = |extents: &[Extent], inline: &[Bytes], known: &dyn Fn(BlobId) -> bool| {
            let mut inline = inline.iter();
            for extent in extents {
                content.push(match extent {
                    Extent::Inline { length, .. } => {
                        let bytes = inline.next().expect("the bytes of an inline extent");
                        assert_eq!(bytes.len() as u64, *length);
                        Piece::Bytes(bytes.to_vec())
                    }
                    Extent::Blob { id, offset, length } => {
                        assert!(known(*id), "blob {id:?} comes with the extents that name it");
                        Piece::Blob { id: *id, offset: *offset, length: *length }
                    }
                });
            }
        };
        match found.content.expect("content that was asked for") {
            FoundContent::Inline(bytes) => content.push(Piece::Bytes(bytes.to_vec())),
            FoundContent::Extents(found) => {
                append(&found.extents, &found.inline, &|id| found.blobs.iter().any(|(known, _)| *known == id));
            }
            FoundContent::Manifest(manifest) => {
                let mut ordinal = 0;
                loop {
                    // Small pages, so that paging is used.
                    let from = ManifestPosition::Ordinal(ordinal);
                    let page =
                        self.catalog.manifest_parts(ManifestParts { manifest, from, limit: 2, with_content: true }).await?;
                    for part in &page.parts {
                        assert_eq!(part.span.ordinal, ordinal);
                        ordinal += 1;
                        let known = |id| page.blobs.iter().any(|(known, _)| *known == id);
                        append(&part.content.extents, &part.content.inline, &known);
                    }
                    if !page.is_truncated {
                        break;
                    }
                }
            }
        }
        assert_eq!(content.length(), found.version.summary.length);
        Ok(content)
    }

    /// Deletes in the first bucket.
    pub async fn delete(&self, name: &str, version_id: Option<VersionId>) -> CatalogResult<Deleted> {
        let target = DeleteTarget { key: key(name), version_id, condition: WriteCondition::None };
        self.catalog.delete_version(DeleteVersion { bucket: self.bucket, target }).await
    }

    /// Enables or suspends versioning of the first bucket.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn set_versioning(&self, versioning: Versioning) {
        let request = cairn_catalog::SetVersioning { bucket: self.bucket, versioning };
        self.catalog.set_versioning(request).await.expect("the versioning");
    }

    /// What a listing of all of the first bucket's current versions shows.
    ///
    /// # Panics
    /// When it fails.
    pub async fn object_names(&self, prefix: &str, delimiter: Option<&str>) -> Vec<String> {
        let request = ListObjects { scope: self.scope(prefix, delimiter, 1000), after: None };
        let page = self.catalog.list_objects(request).await.expect("a listing");
        assert!(!page.is_truncated);
        names(&page.entries, |object| object.key.to_string())
    }

    /// All of the first bucket's versions: `key etag`, `key marker`, with a `*` behind the newest.
    ///
    /// # Panics
    /// When it fails.
    pub async fn version_names(&self) -> Vec<String> {
        let request = ListVersions { scope: self.scope("", None, 1000), after: None };
        let page = self.catalog.list_versions(request).await.expect("a listing");
        assert!(!page.is_truncated);
        names(&page.entries, |version| {
            let star = if version.is_latest { "*" } else { "" };
            let null = if version.row.version_id() == VersionId::Null { " null" } else { "" };
            match &version.row {
                ListedRow::Version(summary) => {
                    let number = u64::from_be_bytes(summary.etag.digest[..8].try_into().unwrap_or_default());
                    format!("{} {number}{null}{star}", version.key)
                }
                ListedRow::Marker(_) => format!("{} marker{null}{star}", version.key),
            }
        })
    }

    /// The scope of a listing of the first bucket.
    pub fn scope(&self, prefix: &str, delimiter: Option<&str>, limit: u32) -> ListScope {
        ListScope { bucket: self.bucket, prefix: prefix.to_owned(), delimiter: delimiter.map(str::to_owned), limit }
    }

    /// A version of the first bucket as the source of a copy.
    pub fn source(&self, name: &str, written: &Written) -> SourceVersion {
        SourceVersion { bucket: self.bucket, key: key(name), version_id: written.version_id, sequence: written.sequence }
    }

    /// How often a blob is referred to; `None` when it is condemned or not known.
    ///
    /// # Panics
    /// When the catalog fails.
    pub async fn references(&self, id: BlobId) -> Option<u64> {
        let found = self.catalog.blobs(vec![id]).await.expect("blobs");
        let (_, blob) = found.into_iter().next().flatten()?;
        assert_eq!(blob.condemned.is_some(), blob.references == 0);
        blob.condemned.is_none().then_some(blob.references)
    }

    /// Takes everything apart that nothing refers to any more, however many rounds it takes.
    ///
    /// # Panics
    /// When it never ends.
    pub async fn reap(&self) {
        for _ in 0..10_000 {
            // Few at a time, so that going on is used.
            if !self.catalog.reap(cairn_catalog::Reap { limit: 3 }).await.expect("a round of reaping").more {
                return;
            }
        }
        panic!("reaping never ends");
    }
}

/// The entries of a page, prefixes with dots behind them.
pub fn names<T>(entries: &[ListEntry<T>], name: impl Fn(&T) -> String) -> Vec<String> {
    entries
        .iter()
        .map(|entry| match entry {
            ListEntry::Item(item) => name(item),
            ListEntry::Prefix(prefix) => format!("{prefix}..."),
        })
        .collect()
}

/// That a result is this error.
///
/// # Panics
/// When it is not.
#[track_caller]
pub fn expect_error<T: std::fmt::Debug>(result: CatalogResult<T>, expected: &CatalogError) {
    assert_eq!(result.expect_err("an error").to_string(), expected.to_string());
}

/// That a request was refused as impossible.
///
/// # Panics
/// When it was not.
#[track_caller]
pub fn expect_refused<T: std::fmt::Debug>(result: CatalogResult<T>) {
    match result {
        Err(CatalogError::Refused(_)) => {}
        other => panic!("refused, not {other:?}"),
    }
}
