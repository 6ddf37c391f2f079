//! What answers say of an object in their headers.

use bytes::Bytes;
use cairn_store::api::{ObjectHead, Versioning, Written};
use cairn_types::{Checksum, ChecksumType, VersionId};
use http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_TYPE, EXPIRES, HeaderName};
use http::{HeaderMap, HeaderValue};

use crate::checksum::{headers as checksum_headers, to_text};
use crate::http::response::{set, set_etag, set_last_modified};
use crate::text::encoded_word;

/// Sets `x-amz-version-id`, in buckets whose versioning was ever enabled.
pub(super) fn set_version(headers: &mut HeaderMap, version_id: VersionId, versioning: Versioning) {
    if versioning != Versioning::Unversioned {
        set(headers, HeaderName::from_static("x-amz-version-id"), version_id.to_string());
    }
}

/// Sets `x-amz-version-id` in the answer to a write, where versioning gave the version an id: `null` is not one (AWS tells it only of
/// versions that are there).
pub(super) fn set_new_version(headers: &mut HeaderMap, version_id: VersionId, versioning: Versioning) {
    if version_id != VersionId::Null {
        set_version(headers, version_id, versioning);
    }
}

/// Sets a checksum's header and its kind.
pub(super) fn set_checksum(headers: &mut HeaderMap, checksum: Option<&Checksum>) {
    if let Some(checksum) = checksum {
        set(headers, HeaderName::from_static(checksum_headers::header_name(checksum.algorithm())), to_text(checksum));
        headers.insert("x-amz-checksum-type", HeaderValue::from_static(checksum.checksum_type().name()));
    }
}

/// Sets the checksum of one part of an object whose own is a composite one.
pub(super) fn set_checksum_of_part(headers: &mut HeaderMap, checksum: Option<&Checksum>) {
    if checksum.is_some() {
        set_checksum(headers, checksum);
        headers.insert("x-amz-checksum-type", HeaderValue::from_static(ChecksumType::Composite.name()));
    }
}

/// Sets what the answer to a write says.
pub(super) fn set_written(headers: &mut HeaderMap, written: &Written) {
    set_etag(headers, written.etag);
    set_new_version(headers, written.version_id, written.versioning);
    set_checksum(headers, written.checksum.as_ref());
}

/// Sets what a 304 repeats.
pub(super) fn set_validators(headers: &mut HeaderMap, head: &ObjectHead) {
    set_etag(headers, head.etag);
    set_last_modified(headers, head.last_modified_ms);
    set_version(headers, head.version_id, head.versioning);
    set_optional(headers, CACHE_CONTROL, head.metadata.cache_control.as_ref());
    set_optional(headers, EXPIRES, head.metadata.expires.as_ref());
}

/// Sets everything an object has to say of itself.
pub(super) fn set_object(headers: &mut HeaderMap, head: &ObjectHead) {
    let metadata = &head.metadata;
    set_validators(headers, head);
    headers.insert(http::header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    match &metadata.content_type {
        Some(value) => set(headers, CONTENT_TYPE, value.clone()),
        None => {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("binary/octet-stream"));
        }
    }
    set_optional(headers, CONTENT_ENCODING, metadata.content_encoding.as_ref());
    set_optional(headers, CONTENT_DISPOSITION, metadata.content_disposition.as_ref());
    set_optional(headers, CONTENT_LANGUAGE, metadata.content_language.as_ref());
    let redirect = HeaderName::from_static("x-amz-website-redirect-location");
    set_optional(headers, redirect, metadata.website_redirect_location.as_ref());
    if !head.tags.is_empty() {
        set(headers, HeaderName::from_static("x-amz-tagging-count"), head.tags.len().to_string());
    }
    for (name, value) in &metadata.user {
        let mut full = Vec::with_capacity("x-amz-meta-".len() + name.len());
        full.extend_from_slice(b"x-amz-meta-");
        full.extend_from_slice(name);
        let value = encoded_word::show(value);
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(&full), HeaderValue::from_maybe_shared(value)) {
            headers.insert(name, value);
        }
    }
}

fn set_optional(headers: &mut HeaderMap, name: HeaderName, value: Option<&Bytes>) {
    if let Some(value) = value {
        set(headers, name, value.clone());
    }
}
