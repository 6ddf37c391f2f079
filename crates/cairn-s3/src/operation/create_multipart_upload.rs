//! `CreateMultipartUpload`.

use cairn_store::api::{Bucket, CreateUpload};
use http::HeaderValue;

use super::{Call, metadata, tagging};
use crate::checksum::{headers, multipart};
use crate::error::{S3Error, S3Result, code};
use crate::http::response::{self, S3Response};
use crate::xml::writer::XmlWriter;

pub(super) async fn run(call: &Call<'_>, bucket: &Bucket) -> S3Result<S3Response> {
    let Some(initiator) = call.access_key().map(|key| key.account) else {
        return Err(S3Error::with_message(
            &code::ACCESS_DENIED,
            "Anonymous users cannot initiate multipart uploads. Please authenticate.",
        ));
    };
    let checksum = match headers::requested(call.headers)? {
        None => None,
        Some((algorithm, kind)) => {
            let kind = kind.unwrap_or_else(|| multipart::default_kind(algorithm));
            if !multipart::is_supported(algorithm, kind) {
                return Err(S3Error::invalid_request(format!(
                    "The {} checksum type cannot be used with the {} checksum algorithm.",
                    kind.name(),
                    algorithm.name().to_ascii_lowercase()
                )));
            }
            Some((algorithm, kind))
        }
    };
    let key = call.key()?.clone();
    let request = CreateUpload {
        bucket: bucket.id,
        key: key.clone(),
        metadata: metadata::parse(call.headers, call.limits().user_metadata_bytes_max)?,
        tags: tagging::of_write(call, bucket)?,
        checksum,
        initiator,
    };
    let upload_id = call.store().create_upload(request).await?;
    let mut writer = XmlWriter::new(256 + key.as_bytes().len());
    writer.open_root("InitiateMultipartUploadResult");
    writer.text("Bucket", bucket.name.as_str());
    writer.text("Key", key.as_str());
    writer.value("UploadId", upload_id);
    writer.close("InitiateMultipartUploadResult");
    let mut response = response::xml(writer);
    if let Some((algorithm, kind)) = checksum {
        response.headers_mut().insert("x-amz-checksum-algorithm", HeaderValue::from_static(algorithm.name()));
        response.headers_mut().insert("x-amz-checksum-type", HeaderValue::from_static(kind.name()));
    }
    Ok(response)
}
