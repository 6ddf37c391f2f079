//! `DeleteBucket`.

use cairn_store::api::{Bucket, StoreError, Versioning};
use http::StatusCode;

use super::Call;
use crate::error::{S3Error, S3Result, code};
use crate::http::response::{self, S3Response};

pub(super) async fn run(call: &Call<'_>, bucket: &Bucket) -> S3Result<S3Response> {
    call.store().delete_bucket(bucket.id).await.map_err(|error| match error {
        StoreError::BucketNotEmpty if bucket.versioning != Versioning::Unversioned => S3Error::with_message(
            &code::BUCKET_NOT_EMPTY,
            "The bucket you tried to delete is not empty. You must delete all versions in the bucket.",
        ),
        other => other.into(),
    })?;
    Ok(response::empty(StatusCode::NO_CONTENT))
}
