//! Headers that change what an operation means and that Cairn does not act upon: refused, never ignored.

use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::Operation;
use crate::auth;
use crate::error::{S3Error, S3Result, code};
use crate::http::query::Query;

/// Headers refused wherever they stand.
const ALWAYS: &[&str] = &[
    "x-amz-server-side-encryption",
    "x-amz-copy-source-server-side-encryption",
    "x-amz-object-lock-",
    "x-amz-if-match-",
    "x-amz-rename-source",
    "x-amz-write-offset-bytes",
];

/// A header that is refused unless its value says what is done anyway.
struct Unless {
    name: &'static str,
    /// What is done anyway.
    allowed: &'static [&'static str],
    /// What S3 knows beside that; empty where that does not matter.
    known: &'static [&'static str],
}

const UNLESS: &[Unless] = &[
    Unless {
        name: "x-amz-acl",
        allowed: &["private", "bucket-owner-full-control"],
        known: &[
            "authenticated-read",
            "aws-exec-read",
            "bucket-owner-read",
            "log-delivery-write",
            "public-read",
            "public-read-write",
        ],
    },
    Unless { name: "x-amz-bucket-object-lock-enabled", allowed: &["false"], known: &[] },
    Unless {
        name: "x-amz-object-ownership",
        allowed: &["BucketOwnerEnforced"],
        known: &["BucketOwnerPreferred", "ObjectWriter"],
    },
    Unless {
        name: "x-amz-storage-class",
        allowed: &["STANDARD"],
        known: &[
            "DEEP_ARCHIVE",
            "EXPRESS_ONEZONE",
            "GLACIER",
            "GLACIER_IR",
            "INTELLIGENT_TIERING",
            "ONEZONE_IA",
            "REDUCED_REDUNDANCY",
            "SNOW",
            "STANDARD_IA",
        ],
    },
];

impl Unless {
    /// The error of another value. Access lists are disabled in every bucket here (`BucketOwnerEnforced`), and AWS has an error for that
    /// ("Controlling ownership of objects and disabling ACLs").
    fn refused(&self, value: &[u8], operation: Operation) -> S3Error {
        let text = String::from_utf8_lossy(value);
        let is_known = self.known.is_empty() || self.known.contains(&text.as_ref());
        match (self.name, is_known) {
            ("x-amz-acl", true) => no_access_lists(operation),
            ("x-amz-acl", false) => S3Error::invalid_argument(self.name, text, ""),
            ("x-amz-object-ownership", false) => {
                let message = format!("Invalid x-amz-object-ownership header: {text}");
                S3Error::with_message(&code::INVALID_ARGUMENT, message).field("ArgumentName", self.name)
            }
            ("x-amz-storage-class", false) => S3Error::new(&code::INVALID_STORAGE_CLASS).field("StorageClassRequested", text),
            _ => S3Error::header_not_implemented(self.name),
        }
    }
}

/// The error of a request to give anybody else anything.
pub(super) fn no_access_lists(operation: Operation) -> S3Error {
    S3Error::new(match operation {
        Operation::CreateBucket => &code::INVALID_BUCKET_ACL_WITH_OBJECT_OWNERSHIP,
        _ => &code::ACCESS_CONTROL_LIST_NOT_SUPPORTED,
    })
}

/// Refuses a request with a header that would have to be acted upon.
pub(super) fn refuse(headers: &HeaderMap, operation: Operation) -> S3Result<()> {
    for (name, value) in headers {
        let name = name.as_str();
        if !name.starts_with("x-amz-") {
            continue;
        }
        if name.starts_with("x-amz-grant-") {
            return Err(if headers.contains_key("x-amz-acl") {
                S3Error::invalid_request("Specifying both Canned ACLs and Header Grants is not allowed")
            } else {
                no_access_lists(operation)
            });
        }
        if ALWAYS.iter().any(|prefix| name.starts_with(prefix)) {
            return Err(S3Error::header_not_implemented(name));
        }
        if let Some(unless) = UNLESS.iter().find(|unless| unless.name == name)
            && !unless.allowed.iter().any(|allowed| value.as_bytes() == allowed.as_bytes())
        {
            return Err(unless.refused(value.as_bytes(), operation));
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
        // Version 4 signs all of the query; AWS heeds conditions there.
        let is_condition = !is_v2 && matches!(lower.as_str(), "if-match" | "if-none-match");
        if (!lower.starts_with("x-amz-") && !is_v2_header && !is_condition)
            || SIGNATURE.contains(&lower.as_str())
            || is_digest(&lower)
        {
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
