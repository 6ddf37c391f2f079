//! `CopyObject`: a new version that refers to the source's bytes (rule B5). It costs the same for a byte and for a terabyte, so that AWS's
//! bound of 5 GiB is not needed; the copy keeps its source's entity tag, also where that is one of a multipart upload.

use cairn_store::api::{Bucket, CopyObject, ObjectHead, StoreError, Written};
use cairn_types::ChecksumAlgorithm;

use super::copy_source::{ATTEMPTS, Source};
use super::{Call, metadata, object_headers, tagging};
use crate::checksum::{headers, to_text};
use crate::error::{S3Error, S3Result};
use crate::http::condition::write_condition;
use crate::http::response::{self, S3Response};
use crate::text::date;
use crate::xml::writer::XmlWriter;

pub(super) async fn run(call: &Call<'_>, bucket: &Bucket) -> S3Result<S3Response> {
    let replaces = match call.header("x-amz-metadata-directive") {
        None | Some(b"COPY") => false,
        Some(b"REPLACE") => true,
        Some(other) => {
            return Err(S3Error::invalid_argument(
                "x-amz-metadata-directive",
                String::from_utf8_lossy(other),
                "Unknown metadata directive.",
            ));
        }
    };
    let new_metadata = metadata::parse(call.headers, call.limits().user_metadata_bytes_max)?;
    let new_tags = if tagging::copy_replaces(call)? { Some(tagging::of_write(call, bucket)?) } else { None };
    let condition = write_condition(call.headers)?;
    let algorithm = headers::requested(call.headers)?.map(|(algorithm, _)| algorithm);
    let source = Source::find(call).await?;
    let key = call.key()?;
    let is_same = source.bucket.id == bucket.id && source.name.key == *key && source.version_id.is_none();
    // That a class is named is change enough, also where it is the one that the object has (AWS).
    let names_class = call.headers.contains_key("x-amz-storage-class");
    if is_same && !replaces && !names_class && new_metadata.website_redirect_location.is_none() {
        return Err(S3Error::invalid_request(
            "This copy request is illegal because it is trying to copy an object to itself without changing the object's metadata, storage \
             class, website redirect location or encryption attributes.",
        ));
    }
    let mut attempt = 1;
    loop {
        let head = source.head(call).await?;
        let mut metadata = if replaces { new_metadata.clone() } else { head.metadata.clone() };
        // It is never copied (AWS).
        metadata.website_redirect_location.clone_from(&new_metadata.website_redirect_location);
        let outcome = async {
            let checksum = checksum(call, &source, &head, algorithm).await?;
            let request = CopyObject {
                source: source.version(&head),
                bucket: bucket.id,
                key: key.clone(),
                metadata,
                tags: new_tags.clone().unwrap_or_else(|| head.tags.clone()),
                checksum,
                condition: condition.clone(),
            };
            call.store().copy_object(request).await
        };
        match outcome.await {
            Ok(written) => return Ok(answer(&head, &written)),
            Err(StoreError::SourceChanged) if attempt < ATTEMPTS => attempt += 1,
            Err(error) => return Err(error.into()),
        }
    }
}

/// The source's checksum, or the one that was asked for.
async fn checksum(
    call: &Call<'_>,
    source: &Source,
    head: &ObjectHead,
    algorithm: Option<ChecksumAlgorithm>,
) -> Result<Option<cairn_types::Checksum>, StoreError> {
    match algorithm {
        Some(algorithm) if head.checksum.is_none_or(|own| own.algorithm() != algorithm) => {
            Ok(source.digest(call, head, 0..head.length, algorithm).await?.checksum)
        }
        _ => Ok(head.checksum),
    }
}

fn answer(head: &ObjectHead, written: &Written) -> S3Response {
    let mut writer = XmlWriter::new(320);
    writer.open_root("CopyObjectResult");
    writer.bytes("LastModified", &date::iso8601(written.last_modified_ms));
    writer.etag("ETag", written.etag);
    if let Some(checksum) = &written.checksum {
        writer.text(headers::element_name(checksum.algorithm()), &to_text(checksum));
        writer.text("ChecksumType", checksum.checksum_type().name());
    }
    writer.close("CopyObjectResult");
    let mut response = response::xml(writer);
    // Of a copy AWS tells `null`, too.
    object_headers::set_version(response.headers_mut(), written.version_id, written.versioning);
    Source::set_version(response.headers_mut(), head);
    response
}
