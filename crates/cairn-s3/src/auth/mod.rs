//! Who sends a request: AWS Signature Version 4, by header and by presigned URL.
//!
//! What it guarantees:
//!
//! - a request counts as its key's only if the signature covers the method, the path and query exactly as the server reads them, the host,
//!   every `x-amz-*` header that is present, and the declared payload hash; the body is held against that hash before anything is committed
//!   (see [`crate::body`]);
//! - signatures are compared in constant time, and nothing computed from a secret leaves this module but a verdict;
//! - every failure has AWS's code ("Authenticating Requests (AWS Signature Version 4)", S3 API reference).

pub mod authorizer;
mod canonical;
mod credential;
mod form;
mod presigned;
mod presigned_v2;
mod signature;
mod signing_key;

use std::sync::Arc;

use cairn_store::api::{AccessKey, ObjectStore};
use http::HeaderMap;
use http::header::{AUTHORIZATION, DATE};

pub use canonical::{SlashForm, canonical_request};
pub use credential::{AuthorizationHeader, CredentialScope, Place, parse_authorization_header};
pub use presigned::{PresignedQuery, is_presigned, parse_presigned_query};
pub use presigned_v2::{PresignedV2, is_presigned_v2, parse_presigned_v2};
pub use signature::{ChunkSigner, EMPTY_SHA256_HEXADECIMAL, string_to_sign};
pub use signing_key::{SigningKey, SigningKeyCache};

use crate::error::{S3Error, S3Result, code};
use crate::http::query::Query;
use crate::text::{date, hexadecimal};

/// How far a client's clock may be off, seconds (AWS: 15 minutes).
pub const CLOCK_SKEW_SECONDS_MAX: u64 = 15 * 60;

/// How the body is vouched for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PayloadMode {
    /// Not at all (`UNSIGNED-PAYLOAD`).
    Unsigned,
    /// By its SHA-256 in `x-amz-content-sha256`.
    Sha256([u8; 32]),
    /// `aws-chunked`, each chunk signed (`STREAMING-AWS4-HMAC-SHA256-PAYLOAD`).
    StreamingSigned,
    /// `aws-chunked`, each chunk and the trailer signed (`STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER`).
    StreamingSignedTrailer,
    /// `aws-chunked` with an unsigned trailer (`STREAMING-UNSIGNED-PAYLOAD-TRAILER`).
    StreamingUnsignedTrailer,
}

impl PayloadMode {
    /// Whether the body is `aws-chunked`.
    #[must_use]
    pub fn is_streaming(self) -> bool {
        !matches!(self, Self::Unsigned | Self::Sha256(_))
    }

    fn parse(value: &[u8]) -> S3Result<Self> {
        match value {
            b"UNSIGNED-PAYLOAD" => Ok(Self::Unsigned),
            b"STREAMING-AWS4-HMAC-SHA256-PAYLOAD" => Ok(Self::StreamingSigned),
            b"STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER" => Ok(Self::StreamingSignedTrailer),
            b"STREAMING-UNSIGNED-PAYLOAD-TRAILER" => Ok(Self::StreamingUnsignedTrailer),
            b"STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD" | b"STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD-TRAILER" => {
                Err(S3Error::not_implemented("Signature Version 4A"))
            }
            _ => hexadecimal::decode_lower(value).map(Self::Sha256).ok_or_else(|| {
                S3Error::invalid_argument(
                    "x-amz-content-sha256",
                    String::from_utf8_lossy(value),
                    "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-UNSIGNED-PAYLOAD-TRAILER, STREAMING-AWS4-HMAC-SHA256-PAYLOAD, \
                     STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER, STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD, \
                     STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD-TRAILER or a valid sha256 value.",
                )
            }),
        }
    }
}

/// A request whose sender is known, or known to be nobody.
pub struct Authenticated {
    /// The key that signed; `None` for an anonymous request.
    pub key: Option<Arc<AccessKey>>,
    /// How the body is vouched for.
    pub payload: PayloadMode,
    /// Checks the chunks of a signed stream.
    pub chunk_signer: Option<ChunkSigner>,
}

/// What authentication reads of a request.
pub struct Request<'a> {
    /// The method, as sent.
    pub method: &'a str,
    /// The path of the request target, as sent.
    pub raw_path: &'a str,
    /// The query.
    pub query: &'a Query<'a>,
    /// The headers.
    pub headers: &'a HeaderMap,
    /// The bucket, where the host names it.
    pub virtual_bucket: Option<&'a str>,
}

/// Checks signatures for one region.
pub struct Authenticator {
    region: String,
    signing_keys: SigningKeyCache,
}

impl Authenticator {
    /// For requests that are signed for this region.
    #[must_use]
    pub fn new(region: String) -> Self {
        Self { region, signing_keys: SigningKeyCache::new() }
    }

    /// Finds out who sent a request. `now` is wall time, seconds since 1970.
    pub async fn authenticate(&self, store: &dyn ObjectStore, request: &Request<'_>, now: u64) -> S3Result<Authenticated> {
        let by_query = is_presigned(request.query);
        match (request.headers.get(AUTHORIZATION), by_query) {
            (Some(value), true) => Err(S3Error::invalid_argument(
                "Authorization",
                mechanism(value.as_bytes()),
                "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string parameter or the \
                 Authorization header should be specified",
            )),
            (Some(value), false) => self.by_header(store, request, value.as_bytes(), now).await,
            (None, true) => self.by_query(store, request, now).await,
            (None, false) => anonymous(request),
        }
    }

    async fn by_header(&self, store: &dyn ObjectStore, request: &Request<'_>, value: &[u8], now: u64) -> S3Result<Authenticated> {
        let header = parse_authorization_header(value)?;
        header.scope.check(&self.region, credential::Place::Header)?;
        let moment = request_moment(request.headers)?;
        if now.abs_diff(moment) > CLOCK_SKEW_SECONDS_MAX {
            return Err(skewed(moment, now));
        }
        let moment_text = date::compact(moment);
        if !moment_text.starts_with(header.scope.date.as_bytes()) {
            return Err(S3Error::with_message(
                &code::AUTHORIZATION_HEADER_MALFORMED,
                format!(
                    "The authorization header is malformed; Invalid credential date \"{}\". This date is not the same as X-Amz-Date: \"{}\".",
                    header.scope.date,
                    String::from_utf8_lossy(moment_text.get(..8).unwrap_or_default()),
                ),
            ));
        }
        let payload_text = request.headers.get("x-amz-content-sha256").map(http::HeaderValue::as_bytes);
        let Some(payload_text) = payload_text else {
            return Err(S3Error::invalid_request("Missing required header for this request: x-amz-content-sha256"));
        };
        let payload = PayloadMode::parse(payload_text)?;
        self.verify(store, request, &header, &moment_text, payload_text, payload).await
    }

    async fn by_query(&self, store: &dyn ObjectStore, request: &Request<'_>, now: u64) -> S3Result<Authenticated> {
        if is_presigned_v2(request.query) {
            return by_query_v2(store, request, now).await;
        }
        let presigned = parse_presigned_query(request.query)?;
        presigned.authorization.scope.check(&self.region, credential::Place::Query)?;
        presigned.check_time(now)?;
        let payload_text = match request.headers.get("x-amz-content-sha256") {
            Some(value) => value.as_bytes(),
            None => request.query.get("X-Amz-Content-Sha256").unwrap_or("UNSIGNED-PAYLOAD").as_bytes(),
        };
        let payload = PayloadMode::parse(payload_text)?;
        let moment_text = date::compact(presigned.moment);
        self.verify(store, request, &presigned.authorization, &moment_text, payload_text, payload).await
    }

    async fn verify(
        &self,
        store: &dyn ObjectStore,
        request: &Request<'_>,
        authorization: &AuthorizationHeader<'_>,
        moment: &[u8; 16],
        payload_text: &[u8],
        payload: PayloadMode,
    ) -> S3Result<Authenticated> {
        let token = request.headers.get("x-amz-security-token").is_some() || request.query.get("X-Amz-Security-Token").is_some();
        if token {
            // Cairn issues no session tokens, so no token can be valid.
            return Err(S3Error::new(&code::INVALID_TOKEN));
        }
        canonical::require_signed(request.headers, authorization.signed_headers)?;
        let access_key_id = authorization.scope.access_key_id;
        let Some(key) = store.access_key(access_key_id).await? else {
            return Err(S3Error::new(&code::INVALID_ACCESS_KEY_ID).field("AWSAccessKeyId", access_key_id));
        };
        let signing_key = self.signing_keys.get(&key, authorization.scope.date, &self.region);
        let (mut canonical, mut to_sign) = (Vec::new(), Vec::new());
        let matches = canonical::SlashForm::for_path(request.raw_path).iter().any(|form| {
            canonical = canonical_request(request, authorization.signed_headers, payload_text, *form);
            to_sign = string_to_sign(moment, &authorization.scope, &canonical);
            signing_key.verify(&to_sign, &authorization.signature)
        });
        if !matches {
            return Err(does_not_match(access_key_id, &to_sign, &hexadecimal::to_string(&authorization.signature))
                .field("CanonicalRequest", String::from_utf8_lossy(&canonical))
                .field("CanonicalRequestBytes", spaced_digits(&canonical)));
        }
        let signed_stream = matches!(payload, PayloadMode::StreamingSigned | PayloadMode::StreamingSignedTrailer);
        let chunk_signer =
            signed_stream.then(|| ChunkSigner::new(signing_key, moment, &authorization.scope, authorization.signature));
        Ok(Authenticated { key: Some(key), payload, chunk_signer })
    }
}

async fn by_query_v2(store: &dyn ObjectStore, request: &Request<'_>, now: u64) -> S3Result<Authenticated> {
    let presigned = parse_presigned_v2(request.query)?;
    presigned.check_time(now)?;
    let payload = match request.headers.get("x-amz-content-sha256") {
        None => PayloadMode::Unsigned,
        Some(value) => PayloadMode::parse(value.as_bytes())?,
    };
    if matches!(payload, PayloadMode::StreamingSigned | PayloadMode::StreamingSignedTrailer) {
        return Err(S3Error::invalid_request("Signed chunks need Signature Version 4."));
    }
    if request.headers.contains_key("x-amz-security-token") || request.query.has("x-amz-security-token") {
        return Err(S3Error::new(&code::INVALID_TOKEN));
    }
    let access_key_id = presigned.access_key_id;
    let Some(key) = store.access_key(access_key_id).await? else {
        return Err(S3Error::new(&code::INVALID_ACCESS_KEY_ID).field("AWSAccessKeyId", access_key_id));
    };
    if !presigned.verify(request, request.virtual_bucket, key.secret.expose()) {
        return Err(S3Error::new(&code::SIGNATURE_DOES_NOT_MATCH).field("AWSAccessKeyId", access_key_id));
    }
    Ok(Authenticated { key: Some(key), payload, chunk_signer: None })
}

fn anonymous(request: &Request<'_>) -> S3Result<Authenticated> {
    let payload = match request.headers.get("x-amz-content-sha256") {
        None => PayloadMode::Unsigned,
        Some(value) => PayloadMode::parse(value.as_bytes())?,
    };
    if matches!(payload, PayloadMode::StreamingSigned | PayloadMode::StreamingSignedTrailer) {
        return Err(S3Error::invalid_request(
            "Anonymous requests don't support this x-amz-content-sha256 value. Please use UNSIGNED-PAYLOAD or STREAMING-UNSIGNED-PAYLOAD-TRAILER.",
        ));
    }
    Ok(Authenticated { key: None, payload, chunk_signer: None })
}

/// The key that a request says it was signed with; nothing is verified.
#[must_use]
pub fn claimed_access_key_id<'a>(query: &'a Query<'_>, authorization: Option<&'a str>) -> Option<&'a str> {
    let credential = match query.get("X-Amz-Credential") {
        Some(credential) => Some(credential),
        None => authorization.and_then(|text| text.split_once("Credential=")).map(|(_, rest)| rest),
    };
    match credential {
        Some(credential) => credential.split('/').next(),
        None => query.get("AWSAccessKeyId"),
    }
}

/// When a request says that it was signed, seconds since 1970: `x-amz-date`, else `Date`.
fn request_moment(headers: &HeaderMap) -> S3Result<u64> {
    let missing = || S3Error::with_message(&code::ACCESS_DENIED, "AWS authentication requires a valid Date or x-amz-date header");
    if let Some(value) = headers.get("x-amz-date") {
        return date::parse_compact(value.as_bytes()).ok_or_else(missing);
    }
    let value = headers.get(DATE).ok_or_else(missing)?;
    date::parse_compact(value.as_bytes()).or_else(|| date::parse_mail(value.to_str().ok()?)).ok_or_else(missing)
}

fn skewed(moment: u64, now: u64) -> S3Error {
    S3Error::new(&code::REQUEST_TIME_TOO_SKEWED)
        .field("RequestTime", String::from_utf8_lossy(&date::compact(moment)))
        .field("ServerTime", seconds_iso8601(now))
        .field("MaxAllowedSkewMilliseconds", (CLOCK_SKEW_SECONDS_MAX * 1000).to_string())
}

fn seconds_iso8601(seconds: u64) -> String {
    let text = date::iso8601(seconds.saturating_mul(1000));
    format!("{}Z", String::from_utf8_lossy(text.get(..19).unwrap_or_default()))
}

/// What was signed, as AWS tells it beside the text: two digits a byte.
fn spaced_digits(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() * 3);
    for byte in bytes {
        if !out.is_empty() {
            out.push(' ');
        }
        out.extend(hexadecimal::digits(*byte).map(char::from));
    }
    out
}

fn does_not_match(access_key_id: &str, to_sign: &[u8], provided: &str) -> S3Error {
    // The string to sign holds no secret: it is made of the request alone.
    S3Error::new(&code::SIGNATURE_DOES_NOT_MATCH)
        .field("AWSAccessKeyId", access_key_id)
        .field("StringToSign", String::from_utf8_lossy(to_sign))
        .field("StringToSignBytes", spaced_digits(to_sign))
        .field("SignatureProvided", provided)
}

/// The first word of an authorization header: the rest may be a signature.
fn mechanism(value: &[u8]) -> String {
    String::from_utf8_lossy(value.split(|byte| *byte == b' ').next().unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests;
