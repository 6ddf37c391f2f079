//! `DeleteObject`.

use cairn_store::api::{Bucket, DeleteObject, DeleteTarget, Deleted};
use http::header::HeaderName;
use http::{HeaderMap, HeaderValue, StatusCode};

use super::Call;
use crate::error::S3Result;
use crate::http::condition::write_condition;
use crate::http::response::{self, S3Response};

pub(super) async fn run(call: &Call<'_>, bucket: &Bucket) -> S3Result<S3Response> {
    if call.headers.contains_key(http::header::IF_NONE_MATCH) {
        return Err(crate::error::S3Error::header_not_implemented("If-None-Match"));
    }
    // About the current version, whichever version is named (AWS, "How to perform conditional deletes").
    let target =
        DeleteTarget { key: call.key()?.clone(), version_id: call.version_id()?, condition: write_condition(call.headers)? };
    let deleted = call.store().delete_object(DeleteObject { bucket: bucket.id, target }).await?;
    let mut response = response::empty(StatusCode::NO_CONTENT);
    set_deleted(response.headers_mut(), deleted);
    Ok(response)
}

fn set_deleted(headers: &mut HeaderMap, deleted: Deleted) {
    if let Some(version_id) = deleted.version_id {
        response::set(headers, HeaderName::from_static("x-amz-version-id"), version_id.to_string());
    }
    if deleted.is_delete_marker {
        headers.insert("x-amz-delete-marker", HeaderValue::from_static("true"));
    }
}
