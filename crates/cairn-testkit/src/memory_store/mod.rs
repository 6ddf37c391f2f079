//! Objects in memory: the plainest [`ObjectStore`] that keeps the contract of its module, to test fronts against and to hold the real store
//! against. One lock around everything makes every operation one commit. Nothing survives the process.

mod listing;
mod uploads;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use cairn_disk::{Clock, Random};
use cairn_store::api::{
    AccessKey, Bucket, CompleteUpload, CopyObject, CopyPart, CorsRecord, CreateBucket, CreateUpload, DeleteObject, DeleteTarget,
    Deleted, Digests, FoundParts, GetObject, ListBuckets, ListObjects, ListParts, ListUploads, ListVersions, ObjectBody,
    ObjectBodyExt as _, ObjectContent, ObjectHead, ObjectPage, ObjectPart, ObjectParts, ObjectReader, ObjectStore, OpenObject,
    Page, Part, PartExtent, PublicAccessBlock, PutObject, SourceVersion, StoreError, StoreResult, TagObject, Tagged, Tags,
    Upload, UploadName, UploadPage, UploadPart, UploadState, VersionPage, Versioning, WriteCondition, Written,
};
use cairn_types::{AccountId, BucketId, Checksum, ETag, ObjectKey, ObjectMetadata, TenantId, UploadId, VersionId};
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream, StreamExt as _};
use parking_lot::Mutex;

use uploads::OpenUpload;

/// See the module's documentation.
pub struct MemoryStore {
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    state: Mutex<State>,
    /// Bytes that are answered at once instead of as a stream.
    inline_bytes_max: usize,
}

#[derive(Default)]
struct State {
    keys: BTreeMap<String, Arc<AccessKey>>,
    accounts: BTreeMap<AccountId, Box<str>>,
    buckets: BTreeMap<BucketId, BucketState>,
    /// Only rises: bucket ids, revisions and the order of versions.
    sequence: u64,
}

struct BucketState {
    bucket: Arc<Bucket>,
    /// Per key its versions, the newest last; never empty.
    objects: BTreeMap<ObjectKey, Vec<StoredVersion>>,
    tags: Tags,
    uploads: BTreeMap<UploadId, OpenUpload>,
}

#[derive(Clone)]
struct StoredVersion {
    version_id: VersionId,
    revision: u64,
    last_modified_ms: u64,
    /// `None` for a delete marker.
    object: Option<Arc<Object>>,
    tags: Tags,
}

struct Object {
    metadata: ObjectMetadata,
    etag: ETag,
    checksum: Option<Checksum>,
    /// In order; one for an object that was written in one piece.
    parts: Vec<StoredPart>,
    length: u64,
    upload_id: Option<UploadId>,
}

#[derive(Clone)]
struct StoredPart {
    bytes: Bytes,
    checksum: Option<Checksum>,
}

struct MemoryReader(Arc<Object>);

impl ObjectReader for MemoryReader {
    fn read(self: Box<Self>, range: Range<u64>) -> BoxStream<'static, StoreResult<Bytes>> {
        const PIECE_BYTES: usize = 64 << 10;
        let mut pieces = Vec::new();
        let mut start = 0_u64;
        for part in &self.0.parts {
            let end = start + part.bytes.len() as u64;
            let (from, to) = (range.start.max(start), range.end.min(end));
            if from < to {
                let mut rest = part.bytes.slice((from - start) as usize..(to - start) as usize);
                while !rest.is_empty() {
                    pieces.push(Ok(rest.split_to(rest.len().min(PIECE_BYTES))));
                }
            }
            start = end;
        }
        stream::iter(pieces).boxed()
    }
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, random: Arc<dyn Random>) -> Self {
        Self { clock, random, state: Mutex::new(State::default()), inline_bytes_max: 16 << 10 }
    }

    /// Adds or replaces an access key.
    pub fn add_key(&self, key: AccessKey) {
        let mut state = self.state.lock();
        state.accounts.insert(key.account, key.account_name.clone());
        state.keys.insert(key.access_key_id.to_string(), Arc::new(key));
    }

    /// Removes an access key.
    pub fn remove_key(&self, access_key_id: &str) {
        self.state.lock().keys.remove(access_key_id);
    }

    fn now_ms(&self) -> u64 {
        self.clock.wall().as_millis() as u64
    }

    fn random_id(&self) -> [u8; 16] {
        let mut id = [0; 16];
        self.random.fill(&mut id);
        id
    }

    fn with_bucket<T>(&self, id: BucketId, work: impl FnOnce(&mut BucketState, &mut u64) -> StoreResult<T>) -> StoreResult<T> {
        let mut state = self.state.lock();
        let State { buckets, sequence, .. } = &mut *state;
        work(buckets.get_mut(&id).ok_or(StoreError::NoSuchBucket)?, sequence)
    }

    /// Reads a body to its end and has it verified.
    async fn receive(body: &mut dyn ObjectBody) -> StoreResult<(Bytes, Digests)> {
        let mut bytes = Vec::new();
        while let Some(piece) = body.next().await {
            bytes.extend_from_slice(&piece?);
        }
        let digests = body.finish().await?;
        let is_short = (bytes.len() as u64) < body.length();
        if bytes.len() as u64 > body.length() || (is_short && body.has_exact_length()) {
            return Err(StoreError::Internal("a verified body has the wrong length".to_owned()));
        }
        Ok((bytes.into(), digests))
    }

    fn commit(&self, id: BucketId, key: &ObjectKey, object: (Object, Tags), condition: &WriteCondition) -> StoreResult<Written> {
        let (version_id, now) = (VersionId::Id(self.random_id()), self.now_ms());
        self.with_bucket(id, |bucket, sequence| bucket.write(key, object, condition, version_id, now, sequence))
    }

    fn find(&self, request: &GetObject) -> StoreResult<(ObjectHead, Arc<Object>)> {
        self.with_bucket(request.bucket, |bucket, _| {
            let version = bucket.version(&request.key, request.version_id)?;
            let Some(object) = version.object.clone() else {
                return Err(StoreError::IsDeleteMarker {
                    version_id: version.version_id,
                    last_modified_ms: version.last_modified_ms,
                });
            };
            let part = request.part_number.map(|number| object.part(number)).transpose()?;
            let head = ObjectHead {
                version_id: version.version_id,
                versioning: bucket.bucket.versioning,
                revision: version.revision,
                last_modified_ms: version.last_modified_ms,
                length: object.length,
                etag: object.etag,
                checksum: object.checksum,
                metadata: object.metadata.clone(),
                tags: version.tags.clone(),
                part,
            };
            Ok((head, object))
        })
    }

    fn source(&self, source: &SourceVersion) -> StoreResult<Arc<Object>> {
        self.with_bucket(source.bucket, |bucket, _| {
            let version = bucket.version(&source.key, Some(source.version_id)).map_err(|_| StoreError::SourceChanged)?;
            match &version.object {
                Some(object) if version.revision == source.revision => Ok(Arc::clone(object)),
                _ => Err(StoreError::SourceChanged),
            }
        })
    }
}

impl Object {
    fn part(&self, number: u32) -> StoreResult<PartExtent> {
        let at = (number as usize).checked_sub(1).filter(|at| *at < self.parts.len()).ok_or(StoreError::NoSuchPart)?;
        let start: u64 = self.parts[..at].iter().map(|part| part.bytes.len() as u64).sum();
        let part = &self.parts[at];
        Ok(PartExtent {
            range: start..start + part.bytes.len() as u64,
            part_count: self.parts.len() as u32,
            checksum: part.checksum,
        })
    }

    /// The bytes of a range as one part.
    fn slice(&self, range: &Range<u64>) -> Bytes {
        let mut out = Vec::new();
        let mut start = 0_u64;
        for part in &self.parts {
            let end = start + part.bytes.len() as u64;
            let (from, to) = (range.start.max(start), range.end.min(end));
            if from < to {
                out.extend_from_slice(&part.bytes[(from - start) as usize..(to - start) as usize]);
            }
            start = end;
        }
        out.into()
    }
}

impl BucketState {
    fn current(&self, key: &ObjectKey) -> Option<&Arc<Object>> {
        self.objects.get(key)?.last()?.object.as_ref()
    }

    fn version(&self, key: &ObjectKey, version_id: Option<VersionId>) -> StoreResult<&StoredVersion> {
        let versions = self.objects.get(key);
        match version_id {
            None => versions.and_then(|versions| versions.last()).ok_or(StoreError::NoSuchKey),
            Some(id) => versions
                .and_then(|versions| versions.iter().find(|version| version.version_id == id))
                .ok_or(StoreError::NoSuchVersion),
        }
    }

    fn check(&self, key: &ObjectKey, condition: &WriteCondition) -> StoreResult<()> {
        match (condition, self.current(key)) {
            (WriteCondition::None, _) | (WriteCondition::Absent, None) | (WriteCondition::Present, Some(_)) => Ok(()),
            (WriteCondition::Present | WriteCondition::Matches(_), None) => Err(StoreError::NoSuchKey),
            (WriteCondition::Matches(tags), Some(object)) if tags.contains(&object.etag) => Ok(()),
            (WriteCondition::Absent | WriteCondition::Matches(_), Some(_)) => Err(StoreError::PreconditionFailed),
        }
    }

    fn push(
        &mut self,
        key: &ObjectKey,
        object: Option<Arc<Object>>,
        tags: Tags,
        new_id: VersionId,
        now: u64,
        sequence: &mut u64,
    ) -> VersionId {
        *sequence += 1;
        let version_id = if self.bucket.versioning == Versioning::Enabled { new_id } else { VersionId::Null };
        let versions = self.objects.entry(key.clone()).or_default();
        if version_id == VersionId::Null {
            versions.retain(|version| version.version_id != VersionId::Null);
        }
        versions.push(StoredVersion { version_id, revision: *sequence, last_modified_ms: now, object, tags });
        version_id
    }

    fn write(
        &mut self,
        key: &ObjectKey,
        (object, tags): (Object, Tags),
        condition: &WriteCondition,
        new_id: VersionId,
        now: u64,
        sequence: &mut u64,
    ) -> StoreResult<Written> {
        self.check(key, condition)?;
        let (etag, checksum) = (object.etag, object.checksum);
        let version_id = self.push(key, Some(Arc::new(object)), tags, new_id, now, sequence);
        Ok(Written { version_id, versioning: self.bucket.versioning, last_modified_ms: now, etag, checksum })
    }

    fn delete(&mut self, target: &DeleteTarget, new_id: VersionId, now: u64, sequence: &mut u64) -> StoreResult<Deleted> {
        self.check(&target.key, &target.condition)?;
        if let Some(version_id) = target.version_id {
            let Some(versions) = self.objects.get_mut(&target.key) else {
                return Ok(Deleted { version_id: Some(version_id), is_delete_marker: false });
            };
            let at = versions.iter().position(|version| version.version_id == version_id);
            let is_delete_marker = at.is_some_and(|at| versions.remove(at).object.is_none());
            if versions.is_empty() {
                self.objects.remove(&target.key);
            }
            return Ok(Deleted { version_id: Some(version_id), is_delete_marker });
        }
        if self.bucket.versioning == Versioning::Unversioned {
            self.objects.remove(&target.key);
            return Ok(Deleted::default());
        }
        let version_id = self.push(&target.key, None, Tags::new(), new_id, now, sequence);
        Ok(Deleted { version_id: Some(version_id), is_delete_marker: true })
    }
}

impl ObjectStore for MemoryStore {
    fn access_key<'a>(&'a self, access_key_id: &'a str) -> BoxFuture<'a, StoreResult<Option<Arc<AccessKey>>>> {
        Box::pin(async move { Ok(self.state.lock().keys.get(access_key_id).cloned()) })
    }

    fn bucket<'a>(&'a self, tenant: TenantId, name: &'a str) -> BoxFuture<'a, StoreResult<Option<Arc<Bucket>>>> {
        Box::pin(async move {
            let state = self.state.lock();
            let mut buckets = state.buckets.values().map(|bucket| &bucket.bucket);
            Ok(buckets.find(|bucket| bucket.tenant == tenant && bucket.name.as_str() == name).cloned())
        })
    }

    fn create_bucket(&self, request: CreateBucket) -> BoxFuture<'_, StoreResult<Arc<Bucket>>> {
        Box::pin(async move {
            let now = self.now_ms();
            let mut state = self.state.lock();
            let taken = |bucket: &&BucketState| bucket.bucket.tenant == request.tenant && bucket.bucket.name == request.name;
            if let Some(bucket) = state.buckets.values().find(taken) {
                return Err(StoreError::BucketExists { owner: bucket.bucket.owner });
            }
            state.sequence += 1;
            let id = BucketId(state.sequence);
            let owner_name = state.accounts.get(&request.owner).cloned().unwrap_or_default();
            let bucket = Arc::new(Bucket {
                id,
                tenant: request.tenant,
                name: request.name,
                owner: request.owner,
                owner_name,
                created_ms: now,
                versioning: Versioning::Unversioned,
                cors: None,
                public_access_block: Some(PublicAccessBlock::ALL),
                has_ownership_controls: true,
            });
            let own = BucketState {
                bucket: Arc::clone(&bucket),
                tags: request.tags,
                objects: BTreeMap::new(),
                uploads: BTreeMap::new(),
            };
            state.buckets.insert(id, own);
            Ok(bucket)
        })
    }

    fn delete_bucket(&self, id: BucketId) -> BoxFuture<'_, StoreResult<()>> {
        Box::pin(async move {
            let mut state = self.state.lock();
            if !state.buckets.get(&id).ok_or(StoreError::NoSuchBucket)?.objects.is_empty() {
                return Err(StoreError::BucketNotEmpty);
            }
            state.buckets.remove(&id);
            Ok(())
        })
    }

    fn list_buckets(&self, request: ListBuckets) -> BoxFuture<'_, StoreResult<Page<Arc<Bucket>>>> {
        Box::pin(async move {
            let state = self.state.lock();
            let mut entries: Vec<Arc<Bucket>> = state
                .buckets
                .values()
                .map(|bucket| &bucket.bucket)
                .filter(|bucket| bucket.tenant == request.tenant && bucket.name.as_str().starts_with(&request.prefix))
                .filter(|bucket| request.after.as_ref().is_none_or(|after| bucket.name.as_str() > after.as_str()))
                .cloned()
                .collect();
            entries.sort_by(|a, b| a.name.cmp(&b.name));
            let is_truncated = entries.len() > request.limit as usize;
            entries.truncate(request.limit as usize);
            Ok(Page { entries, is_truncated })
        })
    }

    fn bucket_tags(&self, id: BucketId) -> BoxFuture<'_, StoreResult<Tags>> {
        Box::pin(async move { self.with_bucket(id, |bucket, _| Ok(bucket.tags.clone())) })
    }

    fn set_bucket_tags(&self, id: BucketId, tags: Tags) -> BoxFuture<'_, StoreResult<()>> {
        Box::pin(async move {
            self.with_bucket(id, |bucket, _| {
                bucket.tags = tags;
                Ok(())
            })
        })
    }

    fn set_bucket_cors(&self, id: BucketId, cors: CorsRecord) -> BoxFuture<'_, StoreResult<()>> {
        Box::pin(async move {
            self.with_bucket(id, |bucket, _| {
                let cors = Some(cors).filter(|cors| !cors.rules.is_empty());
                bucket.bucket = Arc::new(Bucket { cors, ..(*bucket.bucket).clone() });
                Ok(())
            })
        })
    }

    fn set_public_access_block(&self, id: BucketId, block: Option<PublicAccessBlock>) -> BoxFuture<'_, StoreResult<()>> {
        Box::pin(async move {
            self.with_bucket(id, |bucket, _| {
                bucket.bucket = Arc::new(Bucket { public_access_block: block, ..(*bucket.bucket).clone() });
                Ok(())
            })
        })
    }

    fn set_ownership_controls(&self, id: BucketId, are_there: bool) -> BoxFuture<'_, StoreResult<()>> {
        Box::pin(async move {
            self.with_bucket(id, |bucket, _| {
                bucket.bucket = Arc::new(Bucket { has_ownership_controls: are_there, ..(*bucket.bucket).clone() });
                Ok(())
            })
        })
    }

    fn set_versioning(&self, id: BucketId, versioning: Versioning) -> BoxFuture<'_, StoreResult<()>> {
        Box::pin(async move {
            self.with_bucket(id, |bucket, _| {
                bucket.bucket = Arc::new(Bucket { versioning, ..(*bucket.bucket).clone() });
                Ok(())
            })
        })
    }

    fn put_object<'a>(&'a self, request: PutObject, body: &'a mut dyn ObjectBody) -> BoxFuture<'a, StoreResult<Written>> {
        Box::pin(async move {
            let (bytes, digests) = Self::receive(body).await?;
            let object = Object {
                metadata: request.metadata,
                etag: digests.etag,
                checksum: digests.checksum,
                length: bytes.len() as u64,
                parts: vec![StoredPart { bytes, checksum: digests.checksum }],
                upload_id: None,
            };
            self.commit(request.bucket, &request.key, (object, request.tags), &request.condition)
        })
    }

    fn get_object(&self, request: GetObject) -> BoxFuture<'_, StoreResult<OpenObject>> {
        Box::pin(async move {
            let (head, object) = self.find(&request)?;
            let content = match object.parts.as_slice() {
                [part] if part.bytes.len() <= self.inline_bytes_max => ObjectContent::Inline(part.bytes.clone()),
                _ => ObjectContent::Chunks(Box::new(MemoryReader(object))),
            };
            Ok(OpenObject { head, content })
        })
    }

    fn head_object(&self, request: GetObject) -> BoxFuture<'_, StoreResult<ObjectHead>> {
        Box::pin(async move { Ok(self.find(&request)?.0) })
    }

    fn object_parts(&self, request: ObjectParts) -> BoxFuture<'_, StoreResult<FoundParts>> {
        Box::pin(async move {
            let ObjectParts { bucket, key, version_id, after, limit } = request;
            let (head, object) = self.find(&GetObject { bucket, key, version_id, part_number: None })?;
            let is_multipart = object.etag.part_count > 0;
            let all = object.parts.iter().zip(1..).filter(|_| is_multipart).map(|(part, part_number)| ObjectPart {
                part_number,
                length: part.bytes.len() as u64,
                checksum: part.checksum,
            });
            let mut later = all.filter(|part| part.part_number > after);
            let entries: Vec<ObjectPart> = later.by_ref().take(limit as usize).collect();
            let page = Page { is_truncated: later.next().is_some(), entries };
            Ok(FoundParts { head, part_count: if is_multipart { object.parts.len() as u32 } else { 0 }, page })
        })
    }

    fn tag_object(&self, request: TagObject) -> BoxFuture<'_, StoreResult<Tagged>> {
        Box::pin(async move {
            let TagObject { bucket, key, version_id, tags } = request;
            let (head, _) = self.find(&GetObject { bucket, key: key.clone(), version_id, part_number: None })?;
            self.with_bucket(bucket, |bucket, _| {
                let versions = bucket.objects.get_mut(&key).ok_or(StoreError::NoSuchKey)?;
                let version = versions.iter_mut().find(|version| version.version_id == head.version_id);
                version.ok_or(StoreError::NoSuchVersion)?.tags = tags;
                Ok(Tagged { version_id: head.version_id, versioning: head.versioning })
            })
        })
    }

    fn delete_object(&self, request: DeleteObject) -> BoxFuture<'_, StoreResult<Deleted>> {
        Box::pin(async move {
            let (new_id, now) = (VersionId::Id(self.random_id()), self.now_ms());
            self.with_bucket(request.bucket, |bucket, sequence| bucket.delete(&request.target, new_id, now, sequence))
        })
    }

    fn delete_objects(&self, id: BucketId, targets: Vec<DeleteTarget>) -> BoxFuture<'_, StoreResult<Vec<StoreResult<Deleted>>>> {
        Box::pin(async move {
            let now = self.now_ms();
            self.with_bucket(id, |bucket, sequence| {
                let mut delete = |target| bucket.delete(target, VersionId::Id(self.random_id()), now, sequence);
                Ok(targets.iter().map(&mut delete).collect())
            })
        })
    }

    fn copy_object(&self, request: CopyObject) -> BoxFuture<'_, StoreResult<Written>> {
        Box::pin(async move {
            let source = self.source(&request.source)?;
            let object = Object {
                metadata: request.metadata,
                etag: source.etag,
                checksum: request.checksum,
                parts: source.parts.clone(),
                length: source.length,
                upload_id: None,
            };
            self.commit(request.bucket, &request.key, (object, request.tags), &request.condition)
        })
    }

    fn list_objects(&self, request: ListObjects) -> BoxFuture<'_, StoreResult<ObjectPage>> {
        Box::pin(async move { self.with_bucket(request.bucket, |bucket, _| Ok(listing::objects(bucket, &request))) })
    }

    fn list_versions(&self, request: ListVersions) -> BoxFuture<'_, StoreResult<VersionPage>> {
        Box::pin(async move { self.with_bucket(request.bucket, |bucket, _| Ok(listing::versions(bucket, &request))) })
    }

    fn create_upload(&self, request: CreateUpload) -> BoxFuture<'_, StoreResult<UploadId>> {
        Box::pin(async move { uploads::create(self, request) })
    }

    fn upload(&self, name: UploadName) -> BoxFuture<'_, StoreResult<Arc<Upload>>> {
        Box::pin(async move { self.with_bucket(name.bucket, |bucket, _| Ok(Arc::clone(&bucket.open_upload(&name)?.upload))) })
    }

    fn upload_part<'a>(&'a self, request: UploadPart, body: &'a mut dyn ObjectBody) -> BoxFuture<'a, StoreResult<Part>> {
        Box::pin(async move {
            let (bytes, digests) = Self::receive(body).await?;
            uploads::add_part(self, &request.upload, request.part_number, bytes, &digests)
        })
    }

    fn copy_part(&self, request: CopyPart) -> BoxFuture<'_, StoreResult<Part>> {
        Box::pin(async move {
            let bytes = self.source(&request.source)?.slice(&request.range);
            uploads::add_part(self, &request.upload, request.part_number, bytes, &request.digests)
        })
    }

    fn list_parts(&self, request: ListParts) -> BoxFuture<'_, StoreResult<Page<Part>>> {
        Box::pin(async move {
            self.with_bucket(request.upload.bucket, |bucket, _| {
                let open = bucket.open_upload(&request.upload)?;
                let mut later = open.parts.range(request.after.saturating_add(1)..).map(|(_, (part, _))| part.clone());
                let entries: Vec<Part> = later.by_ref().take(request.limit as usize).collect();
                Ok(Page { is_truncated: later.next().is_some(), entries })
            })
        })
    }

    fn upload_for_completion(&self, name: UploadName) -> BoxFuture<'_, StoreResult<UploadState>> {
        Box::pin(async move { uploads::for_completion(self, &name) })
    }

    fn complete_upload(&self, request: CompleteUpload) -> BoxFuture<'_, StoreResult<Written>> {
        Box::pin(async move { uploads::complete(self, &request) })
    }

    fn abort_upload(&self, name: UploadName) -> BoxFuture<'_, StoreResult<()>> {
        Box::pin(async move {
            self.with_bucket(name.bucket, |bucket, _| {
                bucket.open_upload(&name)?;
                bucket.uploads.remove(&name.upload_id);
                Ok(())
            })
        })
    }

    fn list_uploads(&self, request: ListUploads) -> BoxFuture<'_, StoreResult<UploadPage>> {
        Box::pin(async move { self.with_bucket(request.bucket, |bucket, _| Ok(listing::uploads(bucket, &request))) })
    }
}
