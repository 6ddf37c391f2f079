//! `AbortMultipartUpload`.

use cairn_store::api::{Bucket, UploadName};
use http::StatusCode;

use super::Call;
use crate::error::S3Result;
use crate::http::response::{self, S3Response};

pub(super) async fn run(call: &Call<'_>, bucket: &Bucket) -> S3Result<S3Response> {
    if call.headers.contains_key("x-amz-if-match-initiated-time") {
        return Err(crate::error::S3Error::header_not_implemented("x-amz-if-match-initiated-time"));
    }
    let upload = UploadName { bucket: bucket.id, key: call.key()?.clone(), upload_id: call.upload_id()? };
    call.store().abort_upload(upload).await?;
    Ok(response::empty(StatusCode::NO_CONTENT))
}
