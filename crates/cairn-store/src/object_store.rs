//! [`ObjectStore`] for [`Store`]: each operation is one commit of the catalog, or one question to it.

use std::sync::Arc;

use cairn_catalog as catalog;
use cairn_catalog::{CatalogError, VersionAttributes};
use cairn_types::records::{Body, StorageClass, UploadAttributes};
use cairn_types::{BucketId, TenantId, UploadId};
use futures::future::BoxFuture;
use tokio::time::Instant;

use crate::api::{
    AccessKey, Bucket, CompleteUpload, CopyObject, CopyPart, CorsRecord, CreateBucket, CreateUpload, DeleteObject, DeleteTarget,
    Deleted, FoundParts, GetObject, ListBuckets, ListObjects, ListParts, ListUploads, ListVersions, ObjectBody, ObjectHead,
    ObjectPage, ObjectParts, ObjectStore, OpenObject, Page, Part, PublicAccessBlock, PutObject, SourceVersion, StoreError,
    StoreResult, TagObject, Tagged, Tags, Upload, UploadName, UploadPage, UploadPart, UploadState, VersionPage, Versioning,
    Written,
};
use crate::convert;
use crate::error::store_error;
use crate::read;
use crate::store::Store;
use crate::write::StoredBody;

/// What a GET asks the catalog for.
fn get_version(request: &GetObject, with_content: bool) -> catalog::GetVersion {
    catalog::GetVersion {
        bucket: request.bucket,
        key: request.key.clone(),
        version_id: request.version_id,
        part_number: request.part_number,
        with_content,
    }
}

impl Store {
    async fn put(&self, request: PutObject, body: &mut dyn ObjectBody) -> StoreResult<Written> {
        let (stored, digests) = self.core.take_body(body).await?;
        let PutObject { bucket, key, metadata, tags, condition } = request;
        let condition = convert::condition(condition);
        let attributes = VersionAttributes {
            etag: digests.etag,
            checksum: digests.checksum,
            metadata,
            tags,
            storage_class: StorageClass::Standard,
        };
        let written = self.core.commit_body(stored, |catalog, session, content| {
            catalog.put_version(catalog::PutVersion {
                session,
                bucket,
                key: key.clone(),
                content,
                attributes: attributes.clone(),
                condition: condition.clone(),
            })
        });
        written.await.map(convert::written).map_err(store_error)
    }

    async fn get(&self, request: GetObject) -> StoreResult<OpenObject> {
        let began = Instant::now();
        let question = get_version(&request, true);
        let found = self.core.ask(|catalog| catalog.get_version(question.clone())).await?;
        let (head, content) = convert::head(found);
        let content = content.ok_or_else(|| StoreError::Internal("the catalog gave no content".to_owned()))?;
        let version = catalog::SourceVersion {
            bucket: request.bucket,
            key: request.key,
            version_id: head.version_id,
            sequence: head.revision,
        };
        let content = read::open(&self.core, version, head.length, content, began);
        Ok(OpenObject { head, content })
    }

    /// The version that a copy is made of, if it is still what the caller saw.
    async fn source(&self, source: &SourceVersion, with_content: bool) -> StoreResult<catalog::FoundVersion> {
        let question = catalog::GetVersion {
            bucket: source.bucket,
            key: source.key.clone(),
            version_id: Some(source.version_id),
            part_number: None,
            with_content,
        };
        match self.core.ask(|catalog| catalog.get_version(question.clone())).await {
            Ok(found) if found.version.summary.sequence == source.revision => Ok(found),
            // Whatever is not there any more: to whoever copies, the source has changed.
            Ok(_)
            | Err(
                StoreError::NoSuchBucket | StoreError::NoSuchKey | StoreError::NoSuchVersion | StoreError::IsDeleteMarker { .. },
            ) => Err(StoreError::SourceChanged),
            Err(error) => Err(error),
        }
    }

    async fn copy(&self, request: CopyObject) -> StoreResult<Written> {
        let CopyObject { source, bucket, key, metadata, tags, checksum, condition } = request;
        let summary = self.source(&source, false).await?.version;
        let attributes =
            VersionAttributes { etag: summary.summary.etag, checksum, metadata, tags, storage_class: StorageClass::Standard };
        let condition = convert::condition(condition);
        let from = convert::source(source.clone());
        let copied = self.core.commit(|catalog, session| {
            catalog.copy_version(catalog::CopyVersion {
                session,
                source: from.clone(),
                bucket,
                key: key.clone(),
                attributes: attributes.clone(),
                condition: condition.clone(),
            })
        });
        let written = match copied.await {
            Err(CatalogError::SourceTooScattered) => {
                let stored = self.copy_bytes(&source, 0..summary.summary.length).await?;
                let written = self.core.commit_body(stored, |catalog, session, content| {
                    catalog.put_version(catalog::PutVersion {
                        session,
                        bucket,
                        key: key.clone(),
                        content,
                        attributes: attributes.clone(),
                        condition: condition.clone(),
                    })
                });
                written.await
            }
            answer => answer,
        };
        written.map(convert::written).map_err(store_error)
    }

    /// Stores a range of a version again, where it is in too many pieces to be shared.
    async fn copy_bytes(&self, source: &SourceVersion, range: std::ops::Range<u64>) -> StoreResult<StoredBody> {
        let began = Instant::now();
        let (head, content) = convert::head(self.source(source, true).await?);
        let content = content.ok_or_else(|| StoreError::Internal("the catalog gave no content".to_owned()))?;
        let opened = read::open(&self.core, convert::source(source.clone()), head.length, content, began);
        let length = range.end.saturating_sub(range.start);
        self.core.take_stream(read::stream(opened, range), length).await.map_err(|error| match error {
            StoreError::NoSuchVersion => StoreError::SourceChanged,
            other => other,
        })
    }

    async fn put_part(&self, request: UploadPart, body: &mut dyn ObjectBody) -> StoreResult<Part> {
        let (stored, digests) = self.core.take_body(body).await?;
        let upload = convert::upload_name(request.upload);
        let part = self.core.commit_body(stored, |catalog, session, content| {
            catalog.put_part(catalog::PutPart {
                session,
                upload: upload.clone(),
                part_number: request.part_number,
                content,
                etag: digests.etag,
                checksum: digests.checksum,
            })
        });
        part.await.map(convert::part).map_err(store_error)
    }

    async fn put_part_copy(&self, request: CopyPart) -> StoreResult<Part> {
        let CopyPart { upload, part_number, source, range, digests } = request;
        let upload = convert::upload_name(upload);
        let from = convert::source(source.clone());
        let copied = self.core.commit(|catalog, session| {
            catalog.copy_part(catalog::CopyPart {
                session,
                upload: upload.clone(),
                part_number,
                source: from.clone(),
                range: range.clone(),
                etag: digests.etag,
                checksum: digests.checksum,
            })
        });
        let part = match copied.await {
            Err(CatalogError::SourceTooScattered) => {
                let stored = self.copy_bytes(&source, range).await?;
                let part = self.core.commit_body(stored, |catalog, session, content| {
                    catalog.put_part(catalog::PutPart {
                        session,
                        upload: upload.clone(),
                        part_number,
                        content,
                        etag: digests.etag,
                        checksum: digests.checksum,
                    })
                });
                part.await
            }
            answer => answer,
        };
        part.map(convert::part).map_err(store_error)
    }

    async fn complete(&self, request: CompleteUpload) -> StoreResult<Written> {
        let request = catalog::CompleteUpload {
            upload: convert::upload_name(request.upload),
            parts: request
                .parts
                .into_iter()
                .map(|(part_number, revision)| catalog::NamedPart { part_number, sequence: revision })
                .collect(),
            // Judged by the caller, who has seen these very revisions of the parts.
            part_length_min: 0,
            object_length_max: u64::MAX,
            etag: request.digests.etag,
            checksum: request.digests.checksum,
            condition: convert::condition(request.condition),
        };
        let mut patience = self.core.patience();
        loop {
            match self.core.change(|catalog| catalog.complete_upload(request.clone())).await {
                // Repeated, it gives the same answer and changes nothing.
                Err(StoreError::OutcomeUnknown(_)) if patience.pause().await => {}
                answer => return answer.map(convert::written),
            }
        }
    }

    async fn parts(&self, request: ObjectParts) -> StoreResult<FoundParts> {
        let ObjectParts { bucket, key, version_id, after, limit } = request;
        let question = catalog::GetVersion { bucket, key, version_id, part_number: None, with_content: false };
        let found = self.core.ask(|catalog| catalog.get_version(question.clone())).await?;
        let body = found.version.details.body.clone();
        let (head, _) = convert::head(found);
        let Body::Manifest { id: manifest, part_count } = body else {
            return Ok(FoundParts { head, part_count: 0, page: Page { entries: Vec::new(), is_truncated: false } });
        };
        // Parts are counted from 1, and ordinals from 0.
        let from = catalog::ManifestPosition::Ordinal(after);
        let question = catalog::ManifestParts { manifest, from, limit, with_content: false };
        let page = self.core.ask(|catalog| catalog.manifest_parts(question.clone())).await?;
        Ok(FoundParts { head, part_count, page: convert::object_parts(page) })
    }

    async fn configure(&self, bucket: BucketId, setting: catalog::BucketSetting) -> StoreResult<()> {
        let request = catalog::ConfigureBucket { bucket, setting };
        self.change_settings(|catalog| catalog.configure_bucket(request.clone())).await.map(|_| ())
    }

    async fn delete_some(&self, bucket: BucketId, targets: Vec<DeleteTarget>) -> StoreResult<Vec<StoreResult<Deleted>>> {
        let at_once = self.core.catalog.limits().delete_count_max.max(1);
        let targets: Vec<catalog::DeleteTarget> = targets.into_iter().map(convert::delete_target).collect();
        let mut answers = Vec::with_capacity(targets.len());
        for targets in targets.chunks(at_once) {
            let request = catalog::DeleteVersions { bucket, targets: targets.to_vec() };
            let deleted = self.core.change(|catalog| catalog.delete_versions(request.clone())).await?;
            if deleted.len() != targets.len() {
                return Err(StoreError::OutcomeUnknown("the catalog gave fewer answers than it was asked for".to_owned()));
            }
            answers.extend(deleted.into_iter().map(|answer| answer.map(|answer| convert::deleted(&answer)).map_err(store_error)));
        }
        Ok(answers)
    }
}

fn scope(bucket: BucketId, prefix: String, delimiter: Option<String>, limit: u32) -> catalog::ListScope {
    catalog::ListScope { bucket, prefix, delimiter, limit }
}

impl ObjectStore for Store {
    fn access_key<'a>(&'a self, access_key_id: &'a str) -> BoxFuture<'a, StoreResult<Option<Arc<AccessKey>>>> {
        Box::pin(self.settings.access_key(&self.core, access_key_id))
    }

    fn bucket<'a>(&'a self, tenant: TenantId, name: &'a str) -> BoxFuture<'a, StoreResult<Option<Arc<Bucket>>>> {
        Box::pin(self.settings.bucket(&self.core, tenant, name))
    }

    fn create_bucket(&self, request: CreateBucket) -> BoxFuture<'_, StoreResult<Arc<Bucket>>> {
        Box::pin(async move {
            let CreateBucket { tenant, name, owner, tags } = request;
            let versioning = cairn_types::records::Versioning::Unversioned;
            let request = catalog::CreateBucket { tenant, name, owner, versioning, tags };
            self.change_settings(|catalog| catalog.create_bucket(request.clone())).await.map(convert::bucket)
        })
    }

    fn delete_bucket(&self, bucket: BucketId) -> BoxFuture<'_, StoreResult<()>> {
        Box::pin(async move {
            let request = catalog::DeleteBucket { bucket, abort_uploads: true };
            self.change_settings(|catalog| catalog.delete_bucket(request)).await
        })
    }

    fn list_buckets(&self, request: ListBuckets) -> BoxFuture<'_, StoreResult<Page<Arc<Bucket>>>> {
        Box::pin(async move {
            let ListBuckets { tenant, prefix, after, limit } = request;
            let request = catalog::ListBuckets { tenant, prefix, after, limit };
            let page = self.core.ask(|catalog| catalog.list_buckets(request.clone())).await?;
            Ok(convert::page(page, convert::bucket))
        })
    }

    fn bucket_tags(&self, bucket: BucketId) -> BoxFuture<'_, StoreResult<Tags>> {
        Box::pin(self.core.ask(move |catalog| catalog.bucket_tags(bucket)))
    }

    fn set_bucket_tags(&self, bucket: BucketId, tags: Tags) -> BoxFuture<'_, StoreResult<()>> {
        Box::pin(self.configure(bucket, catalog::BucketSetting::Tags(tags)))
    }

    fn set_bucket_cors(&self, bucket: BucketId, cors: CorsRecord) -> BoxFuture<'_, StoreResult<()>> {
        Box::pin(self.configure(bucket, catalog::BucketSetting::Cors(cors)))
    }

    fn set_public_access_block(&self, bucket: BucketId, block: Option<PublicAccessBlock>) -> BoxFuture<'_, StoreResult<()>> {
        Box::pin(self.configure(bucket, catalog::BucketSetting::PublicAccessBlock(block)))
    }

    fn set_ownership_controls(&self, bucket: BucketId, are_there: bool) -> BoxFuture<'_, StoreResult<()>> {
        Box::pin(self.configure(bucket, catalog::BucketSetting::OwnershipControls(are_there)))
    }

    fn set_versioning(&self, bucket: BucketId, versioning: Versioning) -> BoxFuture<'_, StoreResult<()>> {
        Box::pin(async move {
            let request = catalog::SetVersioning { bucket, versioning: convert::stored_versioning(versioning) };
            self.change_settings(|catalog| catalog.set_versioning(request)).await.map(|_| ())
        })
    }

    fn put_object<'a>(&'a self, request: PutObject, body: &'a mut dyn ObjectBody) -> BoxFuture<'a, StoreResult<Written>> {
        Box::pin(self.put(request, body))
    }

    fn get_object(&self, request: GetObject) -> BoxFuture<'_, StoreResult<OpenObject>> {
        Box::pin(self.get(request))
    }

    fn head_object(&self, request: GetObject) -> BoxFuture<'_, StoreResult<ObjectHead>> {
        Box::pin(async move {
            let question = get_version(&request, false);
            let found = self.core.ask(|catalog| catalog.get_version(question.clone())).await?;
            Ok(convert::head(found).0)
        })
    }

    fn object_parts(&self, request: ObjectParts) -> BoxFuture<'_, StoreResult<FoundParts>> {
        Box::pin(self.parts(request))
    }

    fn tag_object(&self, request: TagObject) -> BoxFuture<'_, StoreResult<Tagged>> {
        Box::pin(async move {
            let TagObject { bucket, key, version_id, tags } = request;
            let request = catalog::TagVersion { bucket, key, version_id, tags };
            let tagged = self.core.change(|catalog| catalog.tag_version(request.clone())).await?;
            Ok(Tagged { version_id: tagged.version_id, versioning: convert::versioning(tagged.versioning) })
        })
    }

    fn delete_object(&self, request: DeleteObject) -> BoxFuture<'_, StoreResult<Deleted>> {
        Box::pin(async move {
            let DeleteObject { bucket, target } = request;
            let request = catalog::DeleteVersion { bucket, target: convert::delete_target(target) };
            let deleted = self.core.change(|catalog| catalog.delete_version(request.clone())).await?;
            Ok(convert::deleted(&deleted))
        })
    }

    fn delete_objects(
        &self,
        bucket: BucketId,
        targets: Vec<DeleteTarget>,
    ) -> BoxFuture<'_, StoreResult<Vec<StoreResult<Deleted>>>> {
        Box::pin(self.delete_some(bucket, targets))
    }

    fn copy_object(&self, request: CopyObject) -> BoxFuture<'_, StoreResult<Written>> {
        Box::pin(self.copy(request))
    }

    fn list_objects(&self, request: ListObjects) -> BoxFuture<'_, StoreResult<ObjectPage>> {
        Box::pin(async move {
            let ListObjects { bucket, prefix, delimiter, after, limit } = request;
            let request =
                catalog::ListObjects { scope: scope(bucket, prefix, delimiter, limit), after: after.map(convert::position) };
            let page = self.core.ask(|catalog| catalog.list_objects(request.clone())).await?;
            Ok(convert::entries(page, convert::listed_object))
        })
    }

    fn list_versions(&self, request: ListVersions) -> BoxFuture<'_, StoreResult<VersionPage>> {
        Box::pin(async move {
            let ListVersions { bucket, prefix, delimiter, after, limit } = request;
            let request = catalog::ListVersions {
                scope: scope(bucket, prefix, delimiter, limit),
                after: after.map(convert::version_position),
            };
            let page = self.core.ask(|catalog| catalog.list_versions(request.clone())).await?;
            Ok(convert::entries(page, convert::listed_version))
        })
    }

    fn create_upload(&self, request: CreateUpload) -> BoxFuture<'_, StoreResult<UploadId>> {
        Box::pin(async move {
            let CreateUpload { bucket, key, metadata, tags, checksum, initiator } = request;
            let nonce = self.core.random.next_u64().to_be_bytes();
            let attributes = UploadAttributes { metadata, tags, checksum, storage_class: StorageClass::Standard };
            let request = catalog::CreateUpload { bucket, key, initiator, nonce, attributes };
            self.core.change(|catalog| catalog.create_upload(request.clone())).await
        })
    }

    fn upload(&self, upload: UploadName) -> BoxFuture<'_, StoreResult<Arc<Upload>>> {
        Box::pin(async move {
            let name = convert::upload_name(upload);
            self.core.ask(|catalog| catalog.upload(name.clone())).await.map(convert::upload)
        })
    }

    fn upload_part<'a>(&'a self, request: UploadPart, body: &'a mut dyn ObjectBody) -> BoxFuture<'a, StoreResult<Part>> {
        Box::pin(self.put_part(request, body))
    }

    fn copy_part(&self, request: CopyPart) -> BoxFuture<'_, StoreResult<Part>> {
        Box::pin(self.put_part_copy(request))
    }

    fn list_parts(&self, request: ListParts) -> BoxFuture<'_, StoreResult<Page<Part>>> {
        Box::pin(async move {
            let ListParts { upload, after, limit } = request;
            let request = catalog::ListParts { upload: convert::upload_name(upload), after, limit };
            let page = self.core.ask(|catalog| catalog.list_parts(request.clone())).await?;
            Ok(convert::page(page, convert::part))
        })
    }

    fn upload_for_completion(&self, upload: UploadName) -> BoxFuture<'_, StoreResult<UploadState>> {
        Box::pin(async move {
            let name = convert::upload_name(upload);
            let state = self.core.ask(|catalog| catalog.upload_for_completion(name.clone())).await?;
            Ok(match state {
                catalog::UploadState::Open(upload, parts) => {
                    UploadState::Open(convert::upload(*upload), parts.into_iter().map(convert::part).collect())
                }
                catalog::UploadState::Completed(written) => UploadState::Completed(convert::written(written)),
            })
        })
    }

    fn complete_upload(&self, request: CompleteUpload) -> BoxFuture<'_, StoreResult<Written>> {
        Box::pin(self.complete(request))
    }

    fn abort_upload(&self, upload: UploadName) -> BoxFuture<'_, StoreResult<()>> {
        Box::pin(async move {
            let name = convert::upload_name(upload);
            self.core.change(|catalog| catalog.abort_upload(name.clone())).await
        })
    }

    fn list_uploads(&self, request: ListUploads) -> BoxFuture<'_, StoreResult<UploadPage>> {
        Box::pin(async move {
            let ListUploads { bucket, prefix, delimiter, after, limit } = request;
            let request = catalog::ListUploads {
                scope: scope(bucket, prefix, delimiter, limit),
                after: after.map(convert::upload_position),
            };
            let page = self.core.ask(|catalog| catalog.list_uploads(request.clone())).await?;
            Ok(convert::entries(page, convert::upload))
        })
    }
}
