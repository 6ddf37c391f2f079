//! Multipart uploads in memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use cairn_store::api::{
    CompleteUpload, CreateUpload, Digests, Part, StoreError, StoreResult, Tags, Upload, UploadName, UploadState, Written,
};
use cairn_types::{UploadId, VersionId};

use super::{BucketState, MemoryStore, Object, StoredPart};

/// An upload and its parts.
pub(super) struct OpenUpload {
    pub(super) upload: Arc<Upload>,
    pub(super) tags: Tags,
    /// When it was begun, in the order of all changes.
    pub(super) sequence: u64,
    pub(super) parts: BTreeMap<u32, (Part, Bytes)>,
}

impl BucketState {
    pub(super) fn open_upload(&mut self, name: &UploadName) -> StoreResult<&mut OpenUpload> {
        self.uploads.get_mut(&name.upload_id).filter(|open| open.upload.name == *name).ok_or(StoreError::NoSuchUpload)
    }
}

pub(super) fn create(store: &MemoryStore, request: CreateUpload) -> StoreResult<UploadId> {
    let (upload_id, now) = (UploadId(store.random_id()), store.now_ms());
    store.with_bucket(request.bucket, |bucket, sequence| {
        *sequence += 1;
        let upload = Arc::new(Upload {
            name: UploadName { bucket: request.bucket, key: request.key, upload_id },
            metadata: request.metadata,
            checksum: request.checksum,
            initiator: request.initiator,
            initiated_ms: now,
        });
        bucket.uploads.insert(upload_id, OpenUpload { upload, tags: request.tags, sequence: *sequence, parts: BTreeMap::new() });
        Ok(upload_id)
    })
}

pub(super) fn add_part(
    store: &MemoryStore,
    name: &UploadName,
    part_number: u32,
    bytes: Bytes,
    digests: &Digests,
) -> StoreResult<Part> {
    let now = store.now_ms();
    store.with_bucket(name.bucket, |bucket, sequence| {
        *sequence += 1;
        let part = Part {
            part_number,
            revision: *sequence,
            length: bytes.len() as u64,
            etag: digests.etag,
            checksum: digests.checksum,
            last_modified_ms: now,
        };
        bucket.open_upload(name)?.parts.insert(part_number, (part.clone(), bytes));
        Ok(part)
    })
}

pub(super) fn for_completion(store: &MemoryStore, name: &UploadName) -> StoreResult<UploadState> {
    store.with_bucket(name.bucket, |bucket, _| {
        if let Ok(open) = bucket.open_upload(name) {
            let parts = open.parts.values().map(|(part, _)| part.clone()).collect();
            return Ok(UploadState::Open(Arc::clone(&open.upload), parts));
        }
        let made = bucket.objects.get(&name.key).into_iter().flatten().find_map(|version| {
            let object = version.object.as_ref().filter(|object| object.upload_id == Some(name.upload_id))?;
            Some(Written {
                version_id: version.version_id,
                versioning: bucket.bucket.versioning,
                last_modified_ms: version.last_modified_ms,
                etag: object.etag,
                checksum: object.checksum,
            })
        });
        made.map(UploadState::Completed).ok_or(StoreError::NoSuchUpload)
    })
}

pub(super) fn complete(store: &MemoryStore, request: &CompleteUpload) -> StoreResult<Written> {
    let (new_id, now) = (VersionId::Id(store.random_id()), store.now_ms());
    store.with_bucket(request.upload.bucket, |bucket, sequence| {
        let open = bucket.open_upload(&request.upload)?;
        let mut parts = Vec::with_capacity(request.parts.len());
        for (number, revision) in &request.parts {
            match open.parts.get(number) {
                Some((part, bytes)) if part.revision == *revision => {
                    parts.push(StoredPart { bytes: bytes.clone(), checksum: part.checksum });
                }
                _ => return Err(StoreError::PartsChanged),
            }
        }
        let object = Object {
            metadata: open.upload.metadata.clone(),
            etag: request.digests.etag,
            checksum: request.digests.checksum,
            length: parts.iter().map(|part| part.bytes.len() as u64).sum(),
            parts,
            upload_id: Some(request.upload.upload_id),
        };
        let tags = open.tags.clone();
        let written = bucket.write(&request.upload.key, (object, tags), &request.condition, new_id, now, sequence)?;
        bucket.uploads.remove(&request.upload.upload_id);
        Ok(written)
    })
}
