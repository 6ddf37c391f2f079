//! S3's operations: which one a request is, what it needs, and one file for each.
//!
//! What Cairn does not do answers `NotImplemented`, never a wrong success; what AWS answers for a bucket on which nothing was configured
//! is answered where it is the truth here too (see [`unconfigured`]).

mod abort_multipart_upload;
mod bucket_access;
mod bucket_cors;
mod bucket_versioning;
mod complete_multipart_upload;
mod copy_object;
mod copy_source;
mod create_bucket;
mod create_multipart_upload;
mod delete_bucket;
mod delete_object;
mod delete_objects;
mod get_bucket_location;
mod get_object;
mod get_object_attributes;
mod head_bucket;
mod list_buckets;
mod list_multipart_uploads;
mod list_object_versions;
mod list_objects;
mod list_parts;
mod listing;
mod metadata;
mod object_headers;
mod post_object;
mod put_object;
mod route;
mod tagging;
mod unconfigured;
mod unsupported;
mod upload_part;
mod upload_part_copy;

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use cairn_store::api::{AccessKey, Bucket, ObjectStore, StoreError};
use cairn_types::{BucketName, ChecksumAlgorithm, ObjectKey, TenantId, UploadId, VersionId};
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, request::Parts};

pub use bucket_access::parse_public_access_block;
pub use bucket_cors::parse_cors;
pub use bucket_versioning::parse_versioning;
pub use complete_multipart_upload::parse_part_list;
pub use create_bucket::parse_configuration;
pub use delete_objects::parse_delete;
pub use route::{Operation, route};
pub use tagging::{TagsOf, parse_tagging, parse_tagging_header};

use crate::auth::authorizer::{Action, Target as AuthorizationTarget};
use crate::auth::{Authenticated, PayloadMode};
use crate::body::{Expectations, Inbound, VerifiedBody};
use crate::checksum::headers::Promised;
use crate::config::Limits;
use crate::error::{DeleteMarker, S3Error, S3Result, code};
use crate::http::query::Query;
use crate::http::response::S3Response;
use crate::http::service::Shared;
use crate::http::target::Target;
use crate::observe::Notes;

/// A request whose sender is known.
pub struct Incoming<'a> {
    /// What all requests share.
    pub shared: &'a Shared,
    /// Method, target and headers.
    pub parts: &'a Parts,
    /// The query.
    pub query: &'a Query<'a>,
    /// Who sends it, and how the body is vouched for.
    pub authenticated: Authenticated,
    /// Which bucket and key.
    pub target: Target,
    /// The body.
    pub inbound: &'a mut Inbound,
    /// Set to the bucket that the answer is about, for the headers of CORS.
    pub about: &'a OnceLock<Arc<Bucket>>,
    /// What is told of it.
    pub(crate) notes: &'a mut Notes,
}

/// A request that was allowed, as operations see it.
struct Call<'a> {
    shared: &'a Shared,
    parts: &'a Parts,
    /// The request's headers, and those that a presigned URL carries in its query.
    headers: &'a HeaderMap,
    query: &'a Query<'a>,
    authenticated: Authenticated,
    /// The bucket's name as the client wrote it; empty for an operation on none.
    bucket_name: &'a str,
    key: Option<ObjectKey>,
    inbound: &'a mut Inbound,
}

/// Finds the operation, has it allowed, and runs it.
pub async fn run(incoming: Incoming<'_>) -> S3Result<S3Response> {
    let Incoming { shared, parts, query, authenticated, target, inbound, notes, about } = incoming;
    let merged = unsupported::hoisted_headers(parts, query)?;
    let headers = merged.as_ref().unwrap_or(&parts.headers);
    let operation = route(&parts.method, target.bucket.is_some(), target.key.is_some(), query, headers)?;
    notes.operation = Some(operation.into());
    unsupported::refuse(headers, operation)?;
    let bucket_name = target.bucket.as_deref().unwrap_or_default();
    let mut call = Call { shared, parts, headers, query, authenticated, bucket_name, key: target.key, inbound };
    if call.authenticated.payload.is_streaming() && !operation.takes_object_bytes() {
        return Err(S3Error::invalid_request(
            "The value of x-amz-content-sha256 header is invalid: streaming is for object data.",
        ));
    }
    let bucket = match operation {
        Operation::ListBuckets => return list_buckets::run(&call).await,
        Operation::CreateBucket => return create_bucket::run(&mut call).await,
        // The form says who sends it.
        Operation::PostObject => return post_object::run(&mut call, notes, about).await,
        _ => call.allowed_bucket(operation.action(query.has("versionId"))).await?,
    };
    notes.bucket = shared.metrics.buckets.slot(&bucket);
    if bucket.cors.is_some() {
        about.get_or_init(|| Arc::clone(&bucket));
    }
    let outcome = match operation {
        Operation::HeadBucket => head_bucket::run(&call),
        Operation::DeleteBucket => delete_bucket::run(&call, &bucket).await,
        Operation::GetBucketCors => bucket_cors::get(&call, &bucket),
        Operation::PutBucketCors => bucket_cors::put(&mut call, &bucket).await,
        Operation::DeleteBucketCors => bucket_cors::delete(&call, &bucket).await,
        Operation::GetPublicAccessBlock => bucket_access::get_block(&call, &bucket),
        Operation::PutPublicAccessBlock => bucket_access::put_block(&mut call, &bucket).await,
        Operation::DeletePublicAccessBlock => bucket_access::delete_block(&call, &bucket).await,
        Operation::GetBucketOwnershipControls => bucket_access::get_controls(&call, &bucket),
        Operation::PutBucketOwnershipControls => bucket_access::put_controls(&mut call, &bucket).await,
        Operation::DeleteBucketOwnershipControls => bucket_access::delete_controls(&call, &bucket).await,
        Operation::GetBucketTagging => tagging::get_bucket(&call, &bucket).await,
        Operation::PutBucketTagging => tagging::put_bucket(&mut call, &bucket).await,
        Operation::DeleteBucketTagging => tagging::delete_bucket(&call, &bucket).await,
        Operation::GetBucketLocation => get_bucket_location::run(&call),
        Operation::GetBucketVersioning => Ok(bucket_versioning::get(&bucket)),
        Operation::PutBucketVersioning => bucket_versioning::put(&mut call, &bucket).await,
        Operation::ListObjects => list_objects::run(&call, &bucket, list_objects::Version::One).await,
        Operation::ListObjectsV2 => list_objects::run(&call, &bucket, list_objects::Version::Two).await,
        Operation::ListObjectVersions => list_object_versions::run(&call, &bucket).await,
        Operation::ListMultipartUploads => list_multipart_uploads::run(&call, &bucket).await,
        Operation::DeleteObjects => delete_objects::run(&mut call, &bucket).await,
        Operation::GetObject => get_object::run(&call, &bucket, get_object::Wants::Bytes).await,
        Operation::HeadObject => get_object::run(&call, &bucket, get_object::Wants::Head).await,
        Operation::PutObject => put_object::run(&mut call, &bucket).await,
        Operation::CopyObject => copy_object::run(&call, &bucket).await,
        Operation::DeleteObject => delete_object::run(&call, &bucket).await,
        Operation::GetObjectAttributes => get_object_attributes::run(&call, &bucket).await,
        Operation::GetObjectTagging => tagging::get_object(&call, &bucket).await,
        Operation::PutObjectTagging => tagging::put_object(&mut call, &bucket).await,
        Operation::DeleteObjectTagging => tagging::delete_object(&call, &bucket).await,
        Operation::CreateMultipartUpload => create_multipart_upload::run(&call, &bucket).await,
        Operation::UploadPart => upload_part::run(&mut call, &bucket).await,
        Operation::UploadPartCopy => upload_part_copy::run(&call, &bucket).await,
        Operation::CompleteMultipartUpload => complete_multipart_upload::run(&mut call, &bucket).await,
        Operation::AbortMultipartUpload => abort_multipart_upload::run(&call, &bucket).await,
        Operation::ListParts => list_parts::run(&call, &bucket).await,
        Operation::Unconfigured(what) => unconfigured::run(&mut call, &bucket, what).await,
        Operation::NotImplemented(name) => Err(S3Error::not_implemented(name)),
        Operation::ListBuckets | Operation::CreateBucket | Operation::PostObject => Err(S3Error::new(&code::INTERNAL_ERROR)),
    };
    outcome.map_err(|error| call.explain(error))
}

impl Call<'_> {
    fn store(&self) -> &dyn ObjectStore {
        &*self.shared.store
    }

    fn limits(&self) -> &Limits {
        &self.shared.config.limits
    }

    fn access_key(&self) -> Option<&AccessKey> {
        self.authenticated.key.as_deref()
    }

    /// The tenant in which names are resolved.
    fn tenant(&self) -> TenantId {
        self.access_key().map_or(self.shared.default_tenant, |key| key.tenant)
    }

    fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers.get(name).map(http::HeaderValue::as_bytes)
    }

    fn is_allowed(&self, action: Action, bucket: Option<&Bucket>, key: Option<&str>) -> bool {
        self.shared.authorizer.allows(self.access_key(), action, AuthorizationTarget { bucket, key })
    }

    fn require(&self, action: Action, bucket: Option<&Bucket>, key: Option<&str>) -> S3Result<()> {
        if self.is_allowed(action, bucket, key) { Ok(()) } else { Err(S3Error::new(&code::ACCESS_DENIED)) }
    }

    /// The bucket of the request, if the sender may do this to it. Who may not learns nothing of whether it exists.
    async fn allowed_bucket(&self, action: Action) -> S3Result<Arc<Bucket>> {
        self.find_bucket(self.bucket_name, action, self.key.as_ref(), "x-amz-expected-bucket-owner").await
    }

    /// Another bucket, for the source of a copy.
    async fn find_bucket(
        &self,
        name: &str,
        action: Action,
        key: Option<&ObjectKey>,
        owner_header: &str,
    ) -> S3Result<Arc<Bucket>> {
        let key = key.map(ObjectKey::as_str);
        if !BucketName::is_valid(name) {
            self.require(action, None, key)?;
            return Err(S3Error::new(&code::INVALID_BUCKET_NAME).field("BucketName", name));
        }
        let bucket = self.store().bucket(self.tenant(), name).await?;
        self.require(action, bucket.as_deref(), key)?;
        let bucket = bucket.ok_or_else(|| S3Error::new(&code::NO_SUCH_BUCKET).field("BucketName", name))?;
        match self.header(owner_header) {
            Some(owner) if owner != bucket.owner.to_string().as_bytes() => Err(S3Error::new(&code::ACCESS_DENIED)),
            _ => Ok(bucket),
        }
    }

    fn key(&self) -> S3Result<&ObjectKey> {
        self.key.as_ref().ok_or_else(|| S3Error::new(&code::METHOD_NOT_ALLOWED))
    }

    /// `versionId` of the query.
    fn version_id(&self) -> S3Result<Option<VersionId>> {
        self.query.get("versionId").map(parse_version_id).transpose()
    }

    /// `uploadId` of the query. One that cannot be is one that does not exist.
    fn upload_id(&self) -> S3Result<UploadId> {
        let text = self.query.get("uploadId").unwrap_or_default();
        UploadId::parse(text).ok_or_else(|| S3Error::new(&code::NO_SUCH_UPLOAD).field("UploadId", text))
    }

    /// `partNumber` of the query.
    fn part_number(&self) -> S3Result<u32> {
        let text = self.query.get("partNumber").unwrap_or_default();
        parse_part_number(text).ok_or_else(|| {
            S3Error::invalid_argument("partNumber", text, "Part number must be an integer between 1 and 10000, inclusive")
        })
    }

    /// How many bytes the body decodes to; `None` where the request does not say.
    fn body_length(&self) -> S3Result<Option<u64>> {
        let name =
            if self.authenticated.payload.is_streaming() { "x-amz-decoded-content-length" } else { CONTENT_LENGTH.as_str() };
        let Some(value) = self.header(name) else {
            let has_no_body = !self.authenticated.payload.is_streaming() && !self.headers.contains_key(TRANSFER_ENCODING);
            return Ok(has_no_body.then_some(0));
        };
        let digits = std::str::from_utf8(value).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        digits.and_then(|text| text.parse().ok()).map(Some).ok_or_else(|| S3Error::new(&code::MISSING_CONTENT_LENGTH))
    }

    /// The body of an object or part.
    fn object_body(&mut self, promised: Promised, default_checksum: Option<ChecksumAlgorithm>) -> S3Result<VerifiedBody<'_>> {
        let is_streaming = self.authenticated.payload.is_streaming();
        // `Content-Length: 0` has to be said, too (AWS).
        let is_said = is_streaming || self.headers.contains_key(CONTENT_LENGTH);
        let length = self.body_length()?.filter(|_| is_said).ok_or_else(|| S3Error::new(&code::MISSING_CONTENT_LENGTH))?;
        let size_max = self.limits().put_bytes_max.min(self.limits().object_bytes_max);
        if length > size_max {
            return Err(too_large(length, size_max));
        }
        let is_trailing =
            matches!(self.authenticated.payload, PayloadMode::StreamingSignedTrailer | PayloadMode::StreamingUnsignedTrailer);
        if promised.trailer.is_some() && !is_trailing {
            return Err(S3Error::new(&code::MALFORMED_TRAILER));
        }
        Ok(self.body(length, promised, true, default_checksum))
    }

    fn body(
        &mut self,
        length: u64,
        promised: Promised,
        wants_etag: bool,
        default_checksum: Option<ChecksumAlgorithm>,
    ) -> VerifiedBody<'_> {
        let expectations = Expectations {
            payload: self.authenticated.payload,
            chunk_signer: self.authenticated.chunk_signer.take(),
            length,
            length_min: None,
            promised,
            wants_etag,
            default_checksum,
            idle_timeout: self.shared.config.limits.body_idle_timeout,
        };
        VerifiedBody::new(self.inbound, expectations)
    }

    /// The body of a request that is XML, verified.
    async fn document(&mut self, bytes_max: usize) -> S3Result<Bytes> {
        let promised = Promised::parse(self.headers)?;
        let length = self.body_length()?.ok_or_else(|| S3Error::new(&code::MISSING_CONTENT_LENGTH))?;
        self.body(length, promised, false, None).read_all(bytes_max).await
    }

    /// Adds to an error what AWS says with it.
    fn explain(&self, error: S3Error) -> S3Error {
        let key = || self.key.as_ref().map(ToString::to_string).unwrap_or_default();
        let resource_type = match (error.delete_marker(), &self.key) {
            (Some(_), _) => "DeleteMarker",
            (None, Some(_)) => "OBJECT",
            (None, None) => "BUCKET",
        };
        if !error.fields().is_empty() {
            return error;
        }
        match error.code().name {
            "NoSuchKey" => error.field("Key", key()),
            "NoSuchVersion" => error.field("Key", key()).field("VersionId", self.query.get("versionId").unwrap_or_default()),
            "NoSuchBucket" | "BucketNotEmpty" => error.field("BucketName", self.bucket_name),
            // Of a write: a read names the one of its four conditions that failed.
            "PreconditionFailed" => {
                let is_absence = self.headers.contains_key(http::header::IF_NONE_MATCH);
                error.field("Condition", if is_absence { "If-None-Match" } else { "If-Match" })
            }
            "NoSuchUpload" | "InvalidPartOrder" => error.field("UploadId", self.query.get("uploadId").unwrap_or_default()),
            "MethodNotAllowed" => error.field("Method", self.parts.method.as_str()).field("ResourceType", resource_type),
            _ => error,
        }
    }
}

/// An answer of 405 for a version that is a delete marker and was asked for by its id; of 404 for the current one.
fn delete_marker_error(version_id: VersionId, last_modified_ms: u64, was_named: bool) -> S3Error {
    let code = if was_named { &code::METHOD_NOT_ALLOWED } else { &code::NO_SUCH_KEY };
    S3Error::new(code).about_delete_marker(DeleteMarker { version_id, last_modified_ms })
}

/// The error of a store operation on whose way a body was read.
fn body_or_store_error(body: &mut VerifiedBody<'_>, error: StoreError) -> S3Error {
    match error {
        StoreError::Body(failed) => body.failure(failed),
        other => other.into(),
    }
}

fn too_large(length: u64, length_max: u64) -> S3Error {
    S3Error::new(&code::ENTITY_TOO_LARGE)
        .field("ProposedSize", length.to_string())
        .field("MaxSizeAllowed", length_max.to_string())
}

fn parse_version_id(text: &str) -> S3Result<VersionId> {
    if text.is_empty() {
        return Err(S3Error::invalid_argument("versionId", text, "Version id cannot be the empty string"));
    }
    VersionId::parse(text).ok_or_else(|| S3Error::invalid_argument("versionId", text, "Invalid version id specified"))
}

fn parse_part_number(text: &str) -> Option<u32> {
    let number = text.parse().ok()?;
    (text.bytes().all(|byte| byte.is_ascii_digit()) && (1..=10_000).contains(&number)).then_some(number)
}
