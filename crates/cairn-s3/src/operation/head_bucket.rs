//! `HeadBucket`.

use http::header::HeaderName;
use http::{HeaderMap, StatusCode};

use super::Call;
use crate::error::S3Result;
use crate::http::response::{self, S3Response};

#[allow(clippy::unnecessary_wraps, reason = "operations are alike")]
pub(super) fn run(call: &Call<'_>) -> S3Result<S3Response> {
    let mut response = response::empty(StatusCode::OK);
    set_bucket(call, response.headers_mut());
    response::set(response.headers_mut(), HeaderName::from_static("x-amz-access-point-alias"), "false".to_owned());
    Ok(response)
}

/// Sets what answers about a bucket itself say of it.
pub(super) fn set_bucket(call: &Call<'_>, headers: &mut HeaderMap) {
    response::set(headers, HeaderName::from_static("x-amz-bucket-region"), call.shared.config.region.clone());
    response::set(headers, HeaderName::from_static("x-amz-bucket-arn"), format!("arn:aws:s3:::{}", call.bucket_name));
}
