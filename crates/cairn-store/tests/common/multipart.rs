//! Uploads in parts.

use bytes::Bytes;
use cairn_store::api::{
    CompleteUpload, CreateUpload, Digests, ObjectStore, Part, StoreResult, UploadName, UploadPart, WriteCondition, Written,
};
use cairn_types::ObjectMetadata;

use super::{Body, World, key, md5};

impl World {
    pub async fn begin(&self, name: &str) -> UploadName {
        let request = CreateUpload {
            bucket: self.bucket.id,
            key: key(name),
            metadata: ObjectMetadata::default(),
            tags: Vec::new(),
            checksum: None,
            initiator: self.account,
        };
        let upload_id = self.store.create_upload(request).await.unwrap();
        UploadName { bucket: self.bucket.id, key: key(name), upload_id }
    }

    pub async fn part(&self, upload: &UploadName, part_number: u32, bytes: &Bytes) -> StoreResult<Part> {
        let request = UploadPart { upload: upload.clone(), part_number };
        self.store.upload_part(request, &mut Body::new(bytes)).await
    }

    pub async fn complete(&self, upload: &UploadName, parts: &[Part]) -> StoreResult<Written> {
        let mut etag = md5(b"");
        etag.part_count = u32::try_from(parts.len()).unwrap();
        let request = CompleteUpload {
            upload: upload.clone(),
            parts: parts.iter().map(|part| (part.part_number, part.revision)).collect(),
            digests: Digests { etag, checksum: None },
            condition: WriteCondition::None,
        };
        self.store.complete_upload(request).await
    }
}
