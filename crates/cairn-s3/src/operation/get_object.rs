//! `GetObject` and `HeadObject`: conditions, then a range or a part, then the bytes.

use std::ops::Range;

use bytes::Bytes;
use cairn_store::api::{Bucket, GetObject, ObjectContent, ObjectHead, StoreError};
use cairn_types::VersionId;
use http::header::{
    CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_RANGE, CONTENT_TYPE, EXPIRES, HeaderName,
    RANGE,
};
use http::{HeaderMap, StatusCode};

use super::{Call, delete_marker_error, object_headers, parse_part_number};
use crate::error::{S3Error, S3Result, code};
use crate::http::condition::{READ_CONDITIONS, Verdict, evaluate_read, precondition_failed, range_applies};
use crate::http::range::RangeRequest;
use crate::http::response::{self, ResponseBody, S3Response, header_value};

/// What a request wants of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wants {
    /// `GetObject`.
    Bytes,
    /// `HeadObject`.
    Head,
}

/// Parameters that replace a header of the answer.
const OVERRIDES: [(&str, HeaderName); 6] = [
    ("response-cache-control", CACHE_CONTROL),
    ("response-content-disposition", CONTENT_DISPOSITION),
    ("response-content-encoding", CONTENT_ENCODING),
    ("response-content-language", CONTENT_LANGUAGE),
    ("response-content-type", CONTENT_TYPE),
    ("response-expires", EXPIRES),
];

pub(super) async fn run(call: &Call<'_>, bucket: &Bucket, wants: Wants) -> S3Result<S3Response> {
    let version_id = call.version_id()?;
    let part_number = match call.query.get("partNumber") {
        None => None,
        Some(text) => Some(parse_part_number(text).ok_or_else(|| {
            S3Error::invalid_argument("partNumber", text, "Part number must be an integer between 1 and 10000, inclusive")
        })?),
    };
    if part_number.is_some() && call.headers.contains_key(RANGE) {
        return Err(S3Error::invalid_request("Cannot specify both Range header and partNumber query parameter"));
    }
    let has_overrides = OVERRIDES.iter().any(|(name, _)| call.query.has(name));
    if has_overrides && call.access_key().is_none() {
        return Err(S3Error::invalid_request("Request specific response headers cannot be used for anonymous GET requests."));
    }
    let request = GetObject { bucket: bucket.id, key: call.key()?.clone(), version_id, part_number };
    let found = match wants {
        Wants::Bytes => call.store().get_object(request).await.map(|open| (open.head, Some(open.content))),
        Wants::Head => call.store().head_object(request).await.map(|head| (head, None)),
    };
    let found = match found {
        Err(StoreError::NoSuchPart) => return Err(no_such_part(call, bucket, version_id, part_number.unwrap_or_default()).await),
        other => other,
    };
    let (head, content) = found.map_err(|error| match error {
        StoreError::IsDeleteMarker { version_id: marker, last_modified_ms } => {
            call.explain(delete_marker_error(marker, last_modified_ms, version_id.is_some()))
        }
        other => other.into(),
    })?;

    match evaluate_read(call.headers, &READ_CONDITIONS, head.etag, head.last_modified_ms / 1000) {
        Verdict::Proceed => {}
        Verdict::PreconditionFailed(condition) => return Err(precondition_failed(condition)),
        Verdict::NotModified => {
            let mut response = response::empty(StatusCode::NOT_MODIFIED);
            object_headers::set_validators(response.headers_mut(), &head);
            return Ok(response);
        }
    }

    let range = requested_range(call, &head)?;
    let mut response = response::empty(if range.is_some() { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK });
    let headers = response.headers_mut();
    object_headers::set_object(headers, &head);
    set_checksum(call, headers, &head, range.as_ref().is_some_and(|range| *range != (0..head.length)));
    if let Some(part) = &head.part
        && head.etag.part_count > 0
    {
        response::set(headers, HeaderName::from_static("x-amz-mp-parts-count"), part.part_count.to_string());
    }
    if let Some(range) = &range
        && !range.is_empty()
    {
        response::set(headers, CONTENT_RANGE, format!("bytes {}-{}/{}", range.start, range.end - 1, head.length));
    }
    if has_overrides {
        for (name, header) in &OVERRIDES {
            if let Some(value) = call.query.get(name) {
                let value = header_value(value.to_owned())
                    .ok_or_else(|| S3Error::invalid_argument(name, value, "The value cannot be a header."))?;
                headers.insert(header.clone(), value);
            }
        }
    }
    let range = range.unwrap_or(0..head.length);
    let length = range.end - range.start;
    response::set_content_length(headers, length);
    if let Some(content) = content {
        *response.body_mut() = body(content, range, length)?;
    }
    Ok(response)
}

/// The bytes that were asked for; `None` for all.
fn requested_range(call: &Call<'_>, head: &ObjectHead) -> S3Result<Option<Range<u64>>> {
    if let Some(part) = &head.part {
        return Ok(Some(part.range.clone()));
    }
    let Some(value) = call.headers.get(RANGE) else { return Ok(None) };
    if !range_applies(call.headers, head.etag, head.last_modified_ms / 1000) {
        return Ok(None);
    }
    let Some(request) = RangeRequest::parse(value.as_bytes()) else { return Ok(None) };
    let range = request.resolve(head.length).map_err(|_| {
        S3Error::new(&code::INVALID_RANGE)
            .field("RangeRequested", String::from_utf8_lossy(value.as_bytes()))
            .field("ActualObjectSize", head.length.to_string())
    })?;
    Ok((!range.is_empty()).then_some(range))
}

/// The error for a part that the object does not have, which says how many it has.
async fn no_such_part(call: &Call<'_>, bucket: &Bucket, version_id: Option<VersionId>, part_number: u32) -> S3Error {
    let error = S3Error::new(&code::INVALID_PART_NUMBER).field("PartNumberRequested", part_number.to_string());
    let Ok(key) = call.key().cloned() else { return error };
    let request = GetObject { bucket: bucket.id, key, version_id, part_number: None };
    match call.store().head_object(request).await {
        Ok(head) => error.field("ActualPartCount", head.etag.part_count.max(1).to_string()),
        Err(_) => error,
    }
}

/// Where the client asked for checksums and all of the object is answered: the object's.
fn set_checksum(call: &Call<'_>, headers: &mut HeaderMap, head: &ObjectHead, is_partial: bool) {
    if !call.header("x-amz-checksum-mode").is_some_and(|mode| mode.eq_ignore_ascii_case(b"ENABLED")) {
        return;
    }
    match &head.part {
        // The part's own: a client that checks what it reads must not take the object's for that of a part.
        Some(part) if head.checksum.is_some_and(|whole| whole.part_count() > 0) => {
            object_headers::set_checksum_of_part(headers, part.checksum.as_ref());
        }
        Some(part) if part.part_count > 1 => object_headers::set_checksum(headers, part.checksum.as_ref()),
        // Nor for that of a range.
        _ if is_partial => {}
        _ => object_headers::set_checksum(headers, head.checksum.as_ref()),
    }
}

fn body(content: ObjectContent, range: Range<u64>, length: u64) -> S3Result<ResponseBody> {
    Ok(match content {
        _ if length == 0 => ResponseBody::empty(),
        ObjectContent::Inline(bytes) => {
            let (start, end) = (usize::try_from(range.start), usize::try_from(range.end));
            let inside = matches!((&start, &end), (Ok(start), Ok(end)) if start <= end && *end <= bytes.len());
            let (Ok(start), Ok(end), true) = (start, end, inside) else {
                return Err(S3Error::new(&code::INTERNAL_ERROR).detail("inline bytes are shorter than their object"));
            };
            let bytes: Bytes = bytes.slice(start..end);
            ResponseBody::whole(bytes)
        }
        ObjectContent::Chunks(reader) => ResponseBody::stream(reader.read(range), length),
    })
}
