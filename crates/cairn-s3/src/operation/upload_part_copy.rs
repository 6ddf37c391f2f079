//! `UploadPartCopy`: a part that refers to a range of another object. The range is read once for its digests, and not written again; all of
//! an object whose digests are known is not even read.

use std::ops::Range;

use cairn_store::api::{Bucket, CopyPart, Digests, ObjectHead, Part, StoreError, UploadName};
use cairn_types::ChecksumAlgorithm;

use super::copy_source::{ATTEMPTS, Source};
use super::put_object::DEFAULT_CHECKSUM;
use super::{Call, too_large};
use crate::checksum::{headers, to_text};
use crate::error::{S3Error, S3Result};
use crate::http::range::RangeRequest;
use crate::http::response::{self, S3Response};
use crate::text::date;
use crate::xml::writer::XmlWriter;

pub(super) async fn run(call: &Call<'_>, bucket: &Bucket) -> S3Result<S3Response> {
    let part_number = call.part_number()?;
    let source = Source::find(call).await?;
    let upload_name = UploadName { bucket: bucket.id, key: call.key()?.clone(), upload_id: call.upload_id()? };
    let requested = call.header("x-amz-copy-source-range").map(parse_range).transpose()?;
    let upload = call.store().upload(upload_name.clone()).await?;
    let algorithm = upload.checksum.map_or(DEFAULT_CHECKSUM, |(algorithm, _)| algorithm);
    let mut attempt = 1;
    loop {
        let head = source.head(call).await?;
        let range = resolve(requested, head.length)?;
        let length = range.end - range.start;
        if length > call.limits().put_bytes_max {
            return Err(too_large(length, call.limits().put_bytes_max));
        }
        let outcome = async {
            let digests = digests(call, &source, &head, range.clone(), algorithm).await?;
            let request = CopyPart { upload: upload_name.clone(), part_number, source: source.version(&head), range, digests };
            call.store().copy_part(request).await
        };
        match outcome.await {
            Ok(part) => return Ok(answer(&head, &part, upload.checksum.is_some())),
            Err(StoreError::SourceChanged) if attempt < ATTEMPTS => attempt += 1,
            Err(error) => return Err(error.into()),
        }
    }
}

/// `bytes=FIRST-LAST`, both given; nothing is ignored here.
fn parse_range(value: &[u8]) -> S3Result<(u64, u64)> {
    match RangeRequest::parse(value) {
        Some(RangeRequest::From(first, Some(last))) => Ok((first, last)),
        _ => Err(S3Error::invalid_argument(
            "x-amz-copy-source-range",
            String::from_utf8_lossy(value),
            "The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are the zero-based offsets of the \
             first and last bytes to copy",
        )),
    }
}

fn resolve(requested: Option<(u64, u64)>, length: u64) -> S3Result<Range<u64>> {
    match requested {
        None => Ok(0..length),
        Some((first, last)) if last < length => Ok(first..last + 1),
        // AWS tells a range that ends behind the source from one that begins there.
        Some((first, last)) if first < length => Err(S3Error::invalid_argument(
            "x-amz-copy-source-range",
            format!("bytes={first}-{last}"),
            format!("Range specified is not valid for source object of size: {length}"),
        )),
        Some(_) => Err(S3Error::invalid_request("The specified copy range is invalid for the source object size")),
    }
}

async fn digests(
    call: &Call<'_>,
    source: &Source,
    head: &ObjectHead,
    range: Range<u64>,
    algorithm: ChecksumAlgorithm,
) -> Result<Digests, StoreError> {
    let known = head.checksum.filter(|checksum| checksum.algorithm() == algorithm && checksum.part_count() == 0);
    if range == (0..head.length) && head.etag.part_count == 0 && known.is_some() {
        return Ok(Digests { etag: head.etag, checksum: known });
    }
    source.digest(call, head, range, algorithm).await
}

fn answer(head: &ObjectHead, part: &Part, tells_checksum: bool) -> S3Response {
    let mut writer = XmlWriter::new(320);
    writer.open_root("CopyPartResult");
    writer.bytes("LastModified", &date::iso8601(part.last_modified_ms));
    writer.etag("ETag", part.etag);
    if let Some(checksum) = part.checksum.as_ref().filter(|_| tells_checksum) {
        writer.text(headers::element_name(checksum.algorithm()), &to_text(checksum));
    }
    writer.close("CopyPartResult");
    let mut response = response::xml(writer);
    Source::set_version(response.headers_mut(), head);
    response
}
