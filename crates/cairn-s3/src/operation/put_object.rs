//! `PutObject`.

use cairn_store::api::{Bucket, PutObject};
use cairn_types::ChecksumAlgorithm;
use http::StatusCode;

use super::{Call, body_or_store_error, metadata, object_headers, tagging};
use crate::checksum::headers::Promised;
use crate::error::S3Result;
use crate::http::condition::write_condition;
use crate::http::response::{self, S3Response};

/// What AWS computes where a client promises nothing.
pub(super) const DEFAULT_CHECKSUM: ChecksumAlgorithm = ChecksumAlgorithm::Crc64Nvme;

pub(super) async fn run(call: &mut Call<'_>, bucket: &Bucket) -> S3Result<S3Response> {
    let request = PutObject {
        bucket: bucket.id,
        key: call.key()?.clone(),
        metadata: metadata::parse(call.headers, call.limits().user_metadata_bytes_max)?,
        tags: tagging::of_write(call, bucket)?,
        condition: write_condition(call.headers)?,
    };
    let promised = Promised::parse(call.headers)?;
    let shared = call.shared;
    let mut body = call.object_body(promised, Some(DEFAULT_CHECKSUM))?;
    let outcome = shared.store.put_object(request, &mut body).await;
    let written = outcome.map_err(|error| body_or_store_error(&mut body, error))?;
    let mut response = response::empty(StatusCode::OK);
    object_headers::set_written(response.headers_mut(), &written);
    Ok(response)
}
