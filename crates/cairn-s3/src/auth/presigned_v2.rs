//! URLs presigned with Signature Version 2: `AWSAccessKeyId`, `Expires`, `Signature` (AWS, "Signing and authenticating REST requests
//! (AWS signature version 2)", "Query string request authentication alternative").
//!
//! AWS has retired it for new buckets, but AWS CLI 1 and boto3 still presign so where nothing else is configured (regions such as
//! `us-east-1`), so that it is taken here, by URL only. It signs less than version 4 does: the host is not signed, and of the query only
//! known subresources. What it does not sign is therefore refused, not ignored: every other parameter, and values that could be read
//! as two.

use hmac::{Hmac, KeyInit as _, Mac as _};
use http::HeaderMap;
use sha1::Sha1;
use subtle::ConstantTimeEq;

use super::presigned::EXPIRES_SECONDS_MAX;
use super::{CLOCK_SKEW_SECONDS_MAX, Request, seconds_iso8601};
use crate::error::{S3Error, S3Result, code};
use crate::http::query::Query;
use crate::text::base64;

/// The parameters that are signed, in their order.
const SIGNED: &[&str] = &[
    "acl",
    "delete",
    "location",
    "partNumber",
    "policy",
    "response-cache-control",
    "response-content-disposition",
    "response-content-encoding",
    "response-content-language",
    "response-content-type",
    "response-expires",
    "tagging",
    "uploadId",
    "uploads",
    "versionId",
    "versioning",
    "versions",
];

/// Whether a query is that of a URL presigned with version 2.
#[must_use]
pub fn is_presigned_v2(query: &Query<'_>) -> bool {
    query.has("AWSAccessKeyId") && query.has("Signature") && !query.has("X-Amz-Algorithm")
}

/// What the query says.
#[derive(Debug, PartialEq, Eq)]
pub struct PresignedV2<'a> {
    /// Who claims to have signed.
    pub access_key_id: &'a str,
    expires: u64,
    expires_text: &'a str,
    signature: [u8; 20],
}

/// Reads the query, and refuses whatever the signature would not cover.
pub fn parse_presigned_v2<'a>(query: &'a Query<'_>) -> S3Result<PresignedV2<'a>> {
    let required = |name: &'static str| {
        let mut values = query.all(name);
        match (values.next(), values.next()) {
            (Some(value), None) => Ok(value),
            _ => Err(S3Error::with_message(
                &code::ACCESS_DENIED,
                "Query-string authentication requires the Signature, Expires and AWSAccessKeyId parameters",
            )),
        }
    };
    let (access_key_id, expires_text, signature) = (required("AWSAccessKeyId")?, required("Expires")?, required("Signature")?);
    for (name, value) in query.iter() {
        let is_own = matches!(name, "AWSAccessKeyId" | "Expires" | "Signature");
        if !is_own && !SIGNED.contains(&name) && !is_header(name) {
            return Err(S3Error::invalid_argument(
                "query",
                name,
                "A URL presigned with Signature Version 2 does not sign this parameter. Please use AWS4-HMAC-SHA256.",
            ));
        }
        if query.all(name).nth(1).is_some() || (!is_own && value.contains(['&', '\n'])) {
            return Err(S3Error::new(&code::SIGNATURE_DOES_NOT_MATCH));
        }
    }
    let expires = expires_text.parse().map_err(|_| {
        S3Error::with_message(&code::ACCESS_DENIED, format!("Invalid date (should be seconds since epoch): {expires_text}"))
    })?;
    let signature = base64::decode(signature.as_bytes()).and_then(|bytes| bytes.try_into().ok());
    let signature = signature.ok_or_else(|| S3Error::new(&code::SIGNATURE_DOES_NOT_MATCH))?;
    Ok(PresignedV2 { access_key_id, expires, expires_text, signature })
}

/// Parameters that stand for headers: botocore puts them into the query when it presigns, and signs them as headers.
fn is_header(name: &str) -> bool {
    name.starts_with("x-amz-") || matches!(name, "content-md5" | "content-type")
}

impl PresignedV2<'_> {
    /// Whether the URL holds now; `now` is seconds since 1970. AWS sets no bound to its life; here it is version 4's.
    pub fn check_time(&self, now: u64) -> S3Result<()> {
        if now > self.expires {
            return Err(S3Error::with_message(&code::ACCESS_DENIED, "Request has expired")
                .field("Expires", seconds_iso8601(self.expires))
                .field("ServerTime", seconds_iso8601(now)));
        }
        if self.expires > now.saturating_add(EXPIRES_SECONDS_MAX + CLOCK_SKEW_SECONDS_MAX) {
            return Err(S3Error::with_message(&code::ACCESS_DENIED, "Expires lies more than a week ahead"));
        }
        Ok(())
    }

    /// Whether the signature is that of the request. `virtual_bucket` is the bucket where the host names it.
    #[must_use]
    pub fn verify(&self, request: &Request<'_>, virtual_bucket: Option<&str>, secret: &[u8]) -> bool {
        let text = self.string_to_sign(request, virtual_bucket);
        let Ok(mut state) = Hmac::<Sha1>::new_from_slice(secret) else { return false };
        state.update(text.as_bytes());
        let expected: [u8; 20] = state.finalize().into_bytes().into();
        expected.ct_eq(&self.signature).into()
    }

    fn string_to_sign(&self, request: &Request<'_>, virtual_bucket: Option<&str>) -> String {
        // A header that is sent counts before one in the query.
        let effective = |name: &str| -> String {
            let sent =
                request.headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()).trim().to_owned());
            let sent: Vec<String> = sent.collect();
            if sent.is_empty() { request.query.get(name).unwrap_or_default().trim().to_owned() } else { sent.join(",") }
        };
        let mut text =
            format!("{}\n{}\n{}\n{}\n", request.method, effective("content-md5"), effective("content-type"), self.expires_text);
        for name in amazon_headers(request.headers, request.query) {
            text.push_str(&name);
            text.push(':');
            text.push_str(&effective(&name));
            text.push('\n');
        }
        if let Some(bucket) = virtual_bucket {
            text.push('/');
            text.push_str(bucket);
        }
        text.push_str(request.raw_path);
        let mut separator = '?';
        for name in SIGNED {
            if let Some(value) = request.query.get(name) {
                text.push(separator);
                text.push_str(name);
                if !value.is_empty() {
                    text.push('=');
                    text.push_str(value);
                }
                separator = '&';
            }
        }
        text
    }
}

fn amazon_headers(headers: &HeaderMap, query: &Query<'_>) -> Vec<String> {
    let sent = headers.keys().map(http::HeaderName::as_str);
    let mut names: Vec<String> =
        sent.chain(query.iter().map(|(name, _)| name)).filter(|name| name.starts_with("x-amz-")).map(str::to_owned).collect();
    names.sort();
    names.dedup();
    names
}
