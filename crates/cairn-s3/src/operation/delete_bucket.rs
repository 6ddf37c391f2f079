//! `DeleteBucket`.

use cairn_store::api::Bucket;
use http::StatusCode;

use super::Call;
use crate::error::S3Result;
use crate::http::response::{self, S3Response};

pub(super) async fn run(call: &Call<'_>, bucket: &Bucket) -> S3Result<S3Response> {
    call.store().delete_bucket(bucket.id).await?;
    Ok(response::empty(StatusCode::NO_CONTENT))
}
