//! `HeadBucket`.

use http::StatusCode;
use http::header::HeaderName;

use super::Call;
use crate::error::S3Result;
use crate::http::response::{self, S3Response};

#[allow(clippy::unnecessary_wraps, reason = "operations are alike")]
pub(super) fn run(call: &Call<'_>) -> S3Result<S3Response> {
    let mut response = response::empty(StatusCode::OK);
    response::set(response.headers_mut(), HeaderName::from_static("x-amz-bucket-region"), call.shared.config.region.clone());
    response::set(response.headers_mut(), HeaderName::from_static("x-amz-access-point-alias"), "false".to_owned());
    Ok(response)
}
