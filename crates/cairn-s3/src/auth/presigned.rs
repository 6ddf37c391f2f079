//! The query of a presigned URL (AWS, "Authenticating Requests: Using Query Parameters").

use super::credential::{ALGORITHM, AuthorizationHeader, CredentialScope, Place, parse_signature};
use super::presigned_v2::is_presigned_v2;
use super::{CLOCK_SKEW_SECONDS_MAX, seconds_iso8601};
use crate::error::{S3Error, S3Result, code};
use crate::http::query::Query;
use crate::text::date;

/// The longest life of a presigned URL, seconds (a week).
pub const EXPIRES_SECONDS_MAX: u64 = 604_800;

/// What the query of a presigned URL says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PresignedQuery<'a> {
    /// Who claims to have signed, what, and the signature.
    pub authorization: AuthorizationHeader<'a>,
    /// When it was signed, seconds since 1970.
    pub moment: u64,
    /// For how long it holds, seconds.
    pub expires_seconds: u64,
}

/// Whether a query claims to be that of a presigned URL, of whatever version.
#[must_use]
pub fn is_presigned(query: &Query<'_>) -> bool {
    query.get("X-Amz-Algorithm").is_some()
        || query.get("X-Amz-Signature").is_some()
        || query.get("X-Amz-Credential").is_some()
        || is_presigned_v2(query)
}

fn malformed(message: impl Into<std::borrow::Cow<'static, str>>) -> S3Error {
    S3Error::with_message(&code::AUTHORIZATION_QUERY_PARAMETERS_ERROR, message)
}

/// Reads the query of a presigned URL. Each of the six parameters must be there once: two of a kind could be read differently by
/// whoever signed.
pub fn parse_presigned_query<'a>(query: &'a Query<'_>) -> S3Result<PresignedQuery<'a>> {
    let required = |name: &'static str| {
        let mut values = query.all(name);
        match (values.next(), values.next()) {
            (Some(value), None) => Ok(value),
            _ => Err(S3Error::new(&code::AUTHORIZATION_QUERY_PARAMETERS_ERROR)),
        }
    };
    let algorithm = required("X-Amz-Algorithm")?;
    let (credential, moment) = (required("X-Amz-Credential")?, required("X-Amz-Date")?);
    let (expires, signed_headers) = (required("X-Amz-Expires")?, required("X-Amz-SignedHeaders")?);
    let signature = required("X-Amz-Signature")?;
    match algorithm {
        ALGORITHM => {}
        "AWS4-ECDSA-P256-SHA256" => return Err(malformed("X-Amz-Algorithm only supports \"AWS4-HMAC-SHA256\"")),
        _ => return Err(malformed("X-Amz-Algorithm only supports \"AWS4-HMAC-SHA256 and AWS4-ECDSA-P256-SHA256\"")),
    }
    let scope = CredentialScope::parse(credential, Place::Query)?;
    let Some(moment_seconds) = date::parse_compact(moment.as_bytes()) else {
        return Err(malformed("X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\""));
    };
    if scope.has_date() && !moment.starts_with(scope.date) {
        return Err(malformed(format!(
            "Invalid credential date \"{}\". This date is not the same as X-Amz-Date: \"{}\".",
            scope.date,
            moment.get(..8).unwrap_or_default()
        )));
    }
    let expires_seconds = match expires.parse::<i128>() {
        Err(_) => return Err(malformed("X-Amz-Expires should be a number")),
        Ok(value) if value < 0 => return Err(malformed("X-Amz-Expires must be non-negative")),
        Ok(value) => match u64::try_from(value) {
            Ok(value) if value <= EXPIRES_SECONDS_MAX => value,
            _ => {
                return Err(malformed(
                    "X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be less than 604800 seconds",
                ));
            }
        },
    };
    Ok(PresignedQuery {
        authorization: AuthorizationHeader { scope, signed_headers, signature: parse_signature(signature)? },
        moment: moment_seconds,
        expires_seconds,
    })
}

impl PresignedQuery<'_> {
    /// Whether the URL holds now; `now` is seconds since 1970.
    pub fn check_time(&self, now: u64) -> S3Result<()> {
        if self.moment > now.saturating_add(CLOCK_SKEW_SECONDS_MAX) {
            return Err(S3Error::with_message(&code::ACCESS_DENIED, "Request is not valid yet"));
        }
        let expires = self.moment.saturating_add(self.expires_seconds);
        if now > expires {
            return Err(S3Error::with_message(&code::ACCESS_DENIED, "Request has expired")
                .field("X-Amz-Expires", self.expires_seconds.to_string())
                .field("Expires", seconds_iso8601(expires))
                .field("ServerTime", seconds_iso8601(now)));
        }
        Ok(())
    }
}
