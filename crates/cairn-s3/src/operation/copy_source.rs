//! The source of a copy: found, allowed, held against its conditions, and read where its digests are not known.

use std::ops::Range;
use std::sync::Arc;

use cairn_store::api::{Bucket, Digests, GetObject, ObjectContent, ObjectHead, SourceVersion, StoreError, Versioning};
use cairn_types::{BucketName, ChecksumAlgorithm, ETag, VersionId};
use futures::StreamExt as _;
use http::HeaderMap;
use http::header::HeaderName;

use super::{Call, parse_version_id};
use crate::auth::authorizer::Action;
use crate::checksum::HasherSet;
use crate::error::{S3Error, S3Result, code};
use crate::http::condition::{COPY_SOURCE_CONDITIONS, Verdict, evaluate_read, precondition_failed};
use crate::http::response;
use crate::http::target::{self, parse_copy_source};

/// How often a copy is begun anew when its source changes under it.
pub(super) const ATTEMPTS: u32 = 3;

/// Where a copy takes its bytes from.
pub(super) struct Source {
    pub(super) bucket: Arc<Bucket>,
    pub(super) name: target::CopySource,
    pub(super) version_id: Option<VersionId>,
}

impl Source {
    /// Reads `x-amz-copy-source` and finds its bucket, if the sender may read there.
    pub(super) async fn find(call: &Call<'_>) -> S3Result<Self> {
        let name = parse_copy_source(call.header("x-amz-copy-source").unwrap_or_default())?;
        if !BucketName::is_valid(&name.bucket) {
            let shown = String::from_utf8_lossy(call.header("x-amz-copy-source").unwrap_or_default());
            return Err(S3Error::invalid_argument("x-amz-copy-source", shown, "Invalid copy source bucket name"));
        }
        let version_id = name.version_id.as_deref().map(parse_version_id).transpose()?;
        let action = if version_id.is_some() { Action::GetObjectVersion } else { Action::GetObject };
        let owner_header = "x-amz-source-expected-bucket-owner";
        let bucket = call.find_bucket(&name.bucket, action, Some(&name.key), owner_header).await?;
        Ok(Self { bucket, name, version_id })
    }

    fn request(&self, version_id: Option<VersionId>) -> GetObject {
        GetObject { bucket: self.bucket.id, key: self.name.key.clone(), version_id, part_number: None }
    }

    /// The version, if the conditions hold.
    pub(super) async fn head(&self, call: &Call<'_>) -> S3Result<ObjectHead> {
        let head = call.store().head_object(self.request(self.version_id)).await.map_err(|error| match error {
            StoreError::IsDeleteMarker { .. } if self.version_id.is_some() => S3Error::invalid_request(
                "The source of a copy request may not specifically refer to a delete marker by version id.",
            ),
            StoreError::IsDeleteMarker { .. } | StoreError::NoSuchKey => {
                S3Error::new(&code::NO_SUCH_KEY).field("Key", self.name.key.as_str())
            }
            StoreError::NoSuchVersion => S3Error::new(&code::NO_SUCH_VERSION)
                .field("Key", self.name.key.as_str())
                .field("VersionId", self.name.version_id.clone().unwrap_or_default()),
            other => other.into(),
        })?;
        match evaluate_read(call.headers, &COPY_SOURCE_CONDITIONS, head.etag, head.last_modified_ms / 1000) {
            Verdict::Proceed => Ok(head),
            Verdict::PreconditionFailed(condition) => Err(precondition_failed(condition)),
            // A copy has no 304.
            Verdict::NotModified if call.headers.contains_key(COPY_SOURCE_CONDITIONS.if_none_match) => {
                Err(precondition_failed(COPY_SOURCE_CONDITIONS.if_none_match))
            }
            Verdict::NotModified => Err(precondition_failed(COPY_SOURCE_CONDITIONS.if_modified_since)),
        }
    }

    /// The very version that was described, for the store to refer to.
    pub(super) fn version(&self, head: &ObjectHead) -> SourceVersion {
        SourceVersion { bucket: self.bucket.id, key: self.name.key.clone(), version_id: head.version_id, revision: head.revision }
    }

    /// Computes the digests of a range by reading it. The store refers to the bytes; they are not written again.
    pub(super) async fn digest(
        &self,
        call: &Call<'_>,
        head: &ObjectHead,
        range: Range<u64>,
        algorithm: ChecksumAlgorithm,
    ) -> Result<Digests, StoreError> {
        let open = call.store().get_object(self.request(Some(head.version_id))).await.map_err(|error| match error {
            StoreError::NoSuchKey | StoreError::NoSuchVersion | StoreError::IsDeleteMarker { .. } => StoreError::SourceChanged,
            other => other,
        })?;
        if open.head.revision != head.revision {
            return Err(StoreError::SourceChanged);
        }
        let mut hashers = HasherSet::new(true, false, Some(algorithm));
        let length = range.end.saturating_sub(range.start);
        let mut read = 0;
        match open.content {
            ObjectContent::Inline(bytes) => {
                let range = usize::try_from(range.start).unwrap_or(usize::MAX)..usize::try_from(range.end).unwrap_or(usize::MAX);
                let bytes = bytes.get(range).unwrap_or_default();
                hashers.update(bytes);
                read = bytes.len() as u64;
            }
            ObjectContent::Chunks(reader) if length > 0 => {
                let mut pieces = reader.read(range);
                while let Some(piece) = pieces.next().await {
                    let piece = piece?;
                    hashers.update(&piece);
                    read += piece.len() as u64;
                }
            }
            ObjectContent::Chunks(_) => {}
        }
        if read != length {
            return Err(StoreError::Internal("the source of a copy is shorter than it said".to_owned()));
        }
        let computed = hashers.finish();
        Ok(Digests { etag: ETag::of_bytes(computed.md5.unwrap_or_default()), checksum: computed.checksum })
    }

    /// Says which version was copied, where it has an id (AWS does not tell `null`).
    pub(super) fn set_version(headers: &mut HeaderMap, head: &ObjectHead) {
        if head.versioning != Versioning::Unversioned && head.version_id != VersionId::Null {
            response::set(headers, HeaderName::from_static("x-amz-copy-source-version-id"), head.version_id.to_string());
        }
    }
}
