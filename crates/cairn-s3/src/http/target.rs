//! Which bucket and key a request is about, from its host and path.
//!
//! Nothing is normalised: `//`, `.` and `..` are parts of a key like any others, and the path is decoded exactly once.

use cairn_types::{ObjectKey, object::InvalidObjectKey};

use crate::error::{S3Error, S3Result, code};
use crate::text::percent;

/// What a request is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The bucket's name as the client wrote it; whether it can be one is not yet known.
    pub bucket: Option<String>,
    /// The key.
    pub key: Option<ObjectKey>,
}

/// Reads the path. `virtual_bucket` is what [`bucket_of_host`] has found (virtual-host style); without, the path names the bucket.
pub fn parse_target(virtual_bucket: Option<String>, raw_path: &str) -> S3Result<Target> {
    let path = raw_path.strip_prefix('/').unwrap_or(raw_path);
    let (bucket, raw_key) = if let Some(bucket) = virtual_bucket {
        (Some(bucket), path)
    } else {
        let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
        let bucket = percent::decode_path(bucket).map_err(|_| not_utf8())?;
        ((!bucket.is_empty()).then(|| bucket.into_owned()), key)
    };
    // Decoding never lengthens, and an encoding is at most three times as long: refuse before allocating.
    if raw_key.len() > ObjectKey::LENGTH_MAX * 3 {
        return Err(too_long(raw_key.len()));
    }
    let key = percent::decode_path(raw_key).map_err(|_| not_utf8())?;
    if bucket.is_none() && !key.is_empty() {
        // A path such as `//key`: there is no bucket without a name.
        return Err(S3Error::new(&code::INVALID_BUCKET_NAME).field("BucketName", ""));
    }
    let key = match ObjectKey::try_from(key.into_owned()) {
        Ok(key) => Some(key),
        Err(InvalidObjectKey::Empty) => None,
        Err(InvalidObjectKey::TooLong { length }) => return Err(too_long(length)),
    };
    Ok(Target { bucket, key })
}

fn not_utf8() -> S3Error {
    S3Error::with_message(&code::INVALID_URI, "Couldn't parse the specified URI: it must be percent-encoded UTF-8.")
}

fn too_long(length: usize) -> S3Error {
    S3Error::new(&code::KEY_TOO_LONG).field("Size", length.to_string()).field("MaxSizeAllowed", ObjectKey::LENGTH_MAX.to_string())
}

/// The bucket of a host below one of the domains; host names have no case and perhaps a port.
#[must_use]
pub fn bucket_of_host(host: &str, domains: &[String]) -> Option<String> {
    if domains.is_empty() {
        return None;
    }
    let host = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    domains.iter().find_map(|domain| {
        let (head, tail) = host.split_at_checked(host.len().checked_sub(domain.len())?)?;
        let bucket = head.strip_suffix('.')?;
        (tail.eq_ignore_ascii_case(domain) && !bucket.is_empty()).then(|| bucket.to_ascii_lowercase())
    })
}

/// What `x-amz-copy-source` names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopySource {
    /// The bucket's name.
    pub bucket: String,
    /// The key.
    pub key: ObjectKey,
    /// The version, as the client wrote it.
    pub version_id: Option<String>,
}

/// Reads `x-amz-copy-source`: `[/]BUCKET/KEY[?versionId=ID]`, percent-encoded (AWS, `CopyObject`).
pub fn parse_copy_source(value: &[u8]) -> S3Result<CopySource> {
    let shown = || String::from_utf8_lossy(value).into_owned();
    let invalid = |message: &'static str| S3Error::invalid_argument("x-amz-copy-source", shown(), message);
    let text = std::str::from_utf8(value).map_err(|_| invalid("Invalid copy source encoding"))?;
    // A `?` of the key is encoded, so that the last one begins the version.
    let (path, version_id) = match text.rsplit_once("?versionId=") {
        Some((path, version)) => (path, Some(version)),
        None => (text, None),
    };
    let decode = |text| percent::decode_path(text).map_err(|_| invalid("Invalid copy source encoding"));
    let path = decode(path)?;
    let path = path.strip_prefix('/').unwrap_or(&path);
    let (bucket, key) = path.split_once('/').ok_or_else(|| invalid("Invalid copy source object key"))?;
    if bucket.is_empty() {
        return Err(invalid("Invalid copy source bucket name"));
    }
    let key = key.parse().map_err(|error| match error {
        InvalidObjectKey::Empty => invalid("Invalid copy source object key"),
        InvalidObjectKey::TooLong { length } => too_long(length),
    })?;
    let version_id = version_id.map(|version| decode(version).map(std::borrow::Cow::into_owned)).transpose()?;
    Ok(CopySource { bucket: bucket.to_owned(), key, version_id })
}

#[cfg(test)]
mod tests;
