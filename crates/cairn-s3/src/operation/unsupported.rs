//! Headers that change what an operation means and that Cairn does not act upon: refused, never ignored.

use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::Operation;
use crate::auth;
use crate::error::{S3Error, S3Result};
use crate::http::query::Query;

/// Headers refused wherever they stand.
const ALWAYS: &[&str] = &[
    "x-amz-server-side-encryption",
    "x-amz-copy-source-server-side-encryption",
    "x-amz-object-lock-",
    "x-amz-grant-",
    "x-amz-if-match-",
    "x-amz-rename-source",
    "x-amz-write-offset-bytes",
];

/// Headers that are refused unless their value says what is done anyway.
const UNLESS: &[(&str, &[&str])] = &[
    ("x-amz-acl", &["private", "bucket-owner-full-control"]),
    ("x-amz-bucket-object-lock-enabled", &["false"]),
    ("x-amz-object-ownership", &["BucketOwnerEnforced"]),
    ("x-amz-storage-class", &["STANDARD"]),
];

/// Refuses a request with a header that would have to be acted upon.
pub(super) fn refuse(headers: &HeaderMap, operation: Operation) -> S3Result<()> {
    for (name, value) in headers {
        let name = name.as_str();
        if !name.starts_with("x-amz-") {
            continue;
        }
        if ALWAYS.iter().any(|prefix| name.starts_with(prefix)) {
            return Err(S3Error::header_not_implemented(name));
        }
        let allowed = UNLESS.iter().find(|(header, _)| *header == name).map(|(_, allowed)| *allowed);
        if let Some(allowed) = allowed
            && !allowed.iter().any(|allowed| value.as_bytes() == allowed.as_bytes())
        {
            return Err(S3Error::header_not_implemented(name));
        }
    }
    let copies = matches!(operation, Operation::CopyObject | Operation::UploadPartCopy);
    for name in ["x-amz-copy-source", "x-amz-copy-source-range"] {
        if !copies && let Some(value) = headers.get(name) {
            let message = "You can only specify a copy source header for copy requests.";
            return Err(S3Error::invalid_argument(name, String::from_utf8_lossy(value.as_bytes()), message));
        }
    }
    Ok(())
}

/// The parameters of a presigned URL that are headers in disguise: clients that presign put `x-amz-*` headers into the query, and AWS reads
/// them there. They are signed with the rest of the query. `None` where there are none.
///
/// Digests are left out, as AWS leaves them out: a URL is signed before there is a body, and by default the AWS SDK for JavaScript puts the
/// CRC32 of nothing there (aws-sdk-js-v3, issue 6994), which no upload could meet. Who wants a digest to bind signs it as a header.
pub(super) fn hoisted_headers(parts: &Parts, query: &Query<'_>) -> S3Result<Option<HeaderMap>> {
    const SIGNATURE: &[&str] = &[
        "x-amz-algorithm",
        "x-amz-content-sha256",
        "x-amz-credential",
        "x-amz-date",
        "x-amz-expires",
        "x-amz-security-token",
        "x-amz-signature",
        "x-amz-signedheaders",
    ];
    if !auth::is_presigned(query) {
        return Ok(None);
    }
    let is_v2 = auth::is_presigned_v2(query);
    let mut merged: Option<HeaderMap> = None;
    for (name, value) in query.iter() {
        let lower = name.to_ascii_lowercase();
        // Version 2 signs these two from the query as well.
        let is_v2_header = is_v2 && matches!(name, "content-md5" | "content-type");
        if (!lower.starts_with("x-amz-") && !is_v2_header) || SIGNATURE.contains(&lower.as_str()) || is_digest(&lower) {
            continue;
        }
        let invalid = || S3Error::invalid_argument("query", name, "This parameter cannot be read as a header.");
        let name = HeaderName::from_bytes(lower.as_bytes()).map_err(|_| invalid())?;
        let value = HeaderValue::from_str(value).map_err(|_| invalid())?;
        let headers = merged.get_or_insert_with(|| parts.headers.clone());
        if !headers.contains_key(&name) {
            headers.insert(name, value);
        }
    }
    Ok(merged)
}

/// Whether a header promises something of the body's bytes.
fn is_digest(name: &str) -> bool {
    name == "x-amz-sdk-checksum-algorithm"
        || name.strip_prefix("x-amz-checksum-").is_some_and(|of| !matches!(of, "algorithm" | "mode" | "type"))
}
