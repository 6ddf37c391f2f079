//! `UploadPart`.

use cairn_store::api::{Bucket, UploadName, UploadPart};
use cairn_types::{ChecksumAlgorithm, ChecksumType};
use http::StatusCode;
use http::header::HeaderName;

use super::put_object::DEFAULT_CHECKSUM;
use super::{Call, body_or_store_error};
use crate::checksum::headers::{self, Promised};
use crate::checksum::to_text;
use crate::error::{S3Error, S3Result};
use crate::http::response::{self, S3Response};

pub(super) async fn run(call: &mut Call<'_>, bucket: &Bucket) -> S3Result<S3Response> {
    let part_number = call.part_number()?;
    let upload_name = UploadName { bucket: bucket.id, key: call.key()?.clone(), upload_id: call.upload_id()? };
    let promised = Promised::parse(call.headers)?;
    let upload = call.store().upload(upload_name.clone()).await?;
    let wanted = upload.checksum.map(|(algorithm, _)| algorithm);
    if let (Some(expected), Some(actual)) = (wanted, promised.algorithm())
        && expected != actual
    {
        return Err(mismatch(expected, &actual.name().to_ascii_lowercase()));
    }
    if let Some((algorithm, ChecksumType::Composite)) = upload.checksum
        && promised.algorithm().is_none()
    {
        return Err(mismatch(algorithm, "null"));
    }
    let shared = call.shared;
    // An upload that was begun without an algorithm makes an object with AWS's default, whatever its parts are sent with.
    let mut body =
        call.object_body(promised, Some(wanted.unwrap_or(DEFAULT_CHECKSUM)))?.keeping(wanted.unwrap_or(DEFAULT_CHECKSUM));
    let outcome = shared.store.upload_part(UploadPart { upload: upload_name, part_number }, &mut body).await;
    let part = outcome.map_err(|error| body_or_store_error(&mut body, error))?;
    let mut response = response::empty(StatusCode::OK);
    response::set_etag(response.headers_mut(), part.etag);
    if let Some(checksum) = &body.promised_checksum().or(part.checksum) {
        let name = HeaderName::from_static(headers::header_name(checksum.algorithm()));
        response::set(response.headers_mut(), name, to_text(checksum));
    }
    Ok(response)
}

fn mismatch(expected: ChecksumAlgorithm, actual: &str) -> S3Error {
    let expected = expected.name().to_ascii_lowercase();
    S3Error::invalid_request(format!(
        "Checksum Type mismatch occurred, expected checksum Type: {expected}, actual checksum Type: {actual}"
    ))
}
