//! `GetObjectAttributes`: what is known of a version, without its bytes and without its headers.

use cairn_store::api::{Bucket, FoundParts, GetObject, ObjectHead, ObjectParts, Page, StoreError};
use http::HeaderMap;

use super::listing::ENTRIES_MAX;
use super::{Call, delete_marker_error, object_headers};
use crate::checksum::{headers as checksum_headers, to_text};
use crate::error::{S3Error, S3Result};
use crate::http::response::{self, S3Response};
use crate::text::base64;
use crate::xml::writer::XmlWriter;

/// What a request wants to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Attribute {
    ETag,
    Checksum,
    ObjectParts,
    StorageClass,
    ObjectSize,
}

/// Reads `x-amz-object-attributes`.
fn parse_wanted(headers: &HeaderMap) -> S3Result<Vec<Attribute>> {
    const NAME: &str = "x-amz-object-attributes";
    let mut wanted = Vec::new();
    for value in headers.get_all(NAME) {
        for name in value.to_str().unwrap_or("?").split(',').map(str::trim).filter(|name| !name.is_empty()) {
            wanted.push(match name {
                "ETag" => Attribute::ETag,
                "Checksum" => Attribute::Checksum,
                "ObjectParts" => Attribute::ObjectParts,
                "StorageClass" => Attribute::StorageClass,
                "ObjectSize" => Attribute::ObjectSize,
                other => return Err(S3Error::invalid_argument(NAME, other, "Invalid attribute name specified.")),
            });
        }
    }
    if wanted.is_empty() {
        let message = "The x-amz-object-attributes header specifying the attributes to be retrieved is either missing or empty";
        return Err(S3Error::invalid_request(message));
    }
    Ok(wanted)
}

/// A number in a header: 0 to 2^31-1.
fn number(call: &Call<'_>, name: &'static str, default: u32) -> S3Result<u32> {
    let Some(value) = call.header(name) else { return Ok(default) };
    let text = String::from_utf8_lossy(value);
    text.parse().ok().filter(|number| i32::try_from(*number).is_ok()).ok_or_else(|| {
        S3Error::invalid_argument(name, text.as_ref(), format!("Argument {name} must be an integer between 0 and 2147483647"))
    })
}

pub(super) async fn run(call: &Call<'_>, bucket: &Bucket) -> S3Result<S3Response> {
    let wanted = parse_wanted(call.headers)?;
    let limit = number(call, "x-amz-max-parts", ENTRIES_MAX)?.min(ENTRIES_MAX);
    let after = number(call, "x-amz-part-number-marker", 0)?;
    let version_id = call.version_id()?;
    let key = call.key()?.clone();
    let found = if wanted.contains(&Attribute::ObjectParts) {
        let request = ObjectParts { bucket: bucket.id, key, version_id, after, limit: limit.max(1) };
        call.store().object_parts(request).await
    } else {
        let request = GetObject { bucket: bucket.id, key, version_id, part_number: None };
        let page = Page { entries: Vec::new(), is_truncated: false };
        call.store().head_object(request).await.map(|head| FoundParts { head, part_count: 0, page })
    };
    let mut found = found.map_err(|error| match error {
        StoreError::IsDeleteMarker { version_id: marker, last_modified_ms } => {
            delete_marker_error(marker, last_modified_ms, version_id.is_some())
        }
        other => other.into(),
    })?;
    if limit == 0 {
        found.page.entries.clear();
        found.page.is_truncated = false;
    }
    let mut writer = XmlWriter::new(512 + found.page.entries.len() * 160);
    writer.open_root("GetObjectAttributesResponse");
    write(&mut writer, &wanted, &found, after, limit);
    writer.close("GetObjectAttributesResponse");
    let mut answer = response::xml(writer);
    let headers = answer.headers_mut();
    response::set_last_modified(headers, found.head.last_modified_ms);
    object_headers::set_version(headers, found.head.version_id, found.head.versioning);
    Ok(answer)
}

fn write(writer: &mut XmlWriter, wanted: &[Attribute], found: &FoundParts, after: u32, limit: u32) {
    let head: &ObjectHead = &found.head;
    let wants = |attribute| wanted.contains(&attribute);
    if wants(Attribute::ETag) {
        // Without quotes, here only (AWS).
        writer.value("ETag", head.etag);
    }
    if wants(Attribute::Checksum)
        && let Some(checksum) = &head.checksum
    {
        writer.open("Checksum");
        // Without the number of parts, here only (AWS).
        writer.text(checksum_headers::element_name(checksum.algorithm()), &base64::encode(checksum.value()));
        writer.text("ChecksumType", checksum.checksum_type().name());
        writer.close("Checksum");
    }
    if wants(Attribute::ObjectParts) && found.part_count > 0 {
        writer.open("ObjectParts");
        writer.value("PartsCount", found.part_count);
        // The parts themselves also where the object's checksum is not made of theirs: AWS leaves them out then.
        writer.value("PartNumberMarker", after);
        writer.value("NextPartNumberMarker", found.page.entries.last().map_or(0, |part| part.part_number));
        writer.value("MaxParts", limit);
        writer.value("IsTruncated", found.page.is_truncated);
        for part in &found.page.entries {
            writer.open("Part");
            writer.value("PartNumber", part.part_number);
            writer.value("Size", part.length);
            if let Some(checksum) = &part.checksum {
                writer.text(checksum_headers::element_name(checksum.algorithm()), &to_text(checksum));
            }
            writer.close("Part");
        }
        writer.close("ObjectParts");
    }
    if wants(Attribute::StorageClass) {
        writer.text("StorageClass", "STANDARD");
    }
    if wants(Attribute::ObjectSize) {
        writer.value("ObjectSize", head.length);
    }
}
