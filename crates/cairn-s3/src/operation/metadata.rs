//! The headers that an object keeps, read from a request.

use bytes::Bytes;
use cairn_types::ObjectMetadata;
use http::HeaderMap;
use http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_TYPE, EXPIRES};

use crate::error::{S3Error, S3Result, code};

/// Reads them. User metadata counts by the bytes of names and values together, without `x-amz-meta-` (AWS, "Working with object metadata").
pub(super) fn parse(headers: &HeaderMap, user_bytes_max: usize) -> S3Result<ObjectMetadata> {
    let one =
        |name| headers.get(name).map(http::HeaderValue::as_bytes).filter(|value| !value.is_empty()).map(Bytes::copy_from_slice);
    let mut user: Vec<(Bytes, Bytes)> = Vec::new();
    for name in headers.keys() {
        let Some(short) = name.as_str().strip_prefix("x-amz-meta-") else { continue };
        // Several headers of a name are one with commas between (RFC 9110, section 5.3).
        let values: Vec<&[u8]> = headers.get_all(name).iter().map(http::HeaderValue::as_bytes).collect();
        user.push((Bytes::copy_from_slice(short.as_bytes()), values.join(&b","[..]).into()));
    }
    let size: usize = user.iter().map(|(name, value)| name.len() + value.len()).sum();
    if size > user_bytes_max {
        return Err(S3Error::new(&code::METADATA_TOO_LARGE)
            .field("Size", size.to_string())
            .field("MaxSizeAllowed", user_bytes_max.to_string()));
    }
    user.sort();
    let website_redirect_location = one(http::HeaderName::from_static("x-amz-website-redirect-location"));
    if website_redirect_location
        .as_ref()
        .is_some_and(|value| ![&b"/"[..], b"http://", b"https://"].iter().any(|start| value.starts_with(start)))
    {
        return Err(S3Error::with_message(
            &code::INVALID_REDIRECT_LOCATION,
            "The website redirect location must have a prefix of 'http://' or 'https://' or '/'.",
        ));
    }
    Ok(ObjectMetadata {
        content_type: one(CONTENT_TYPE),
        content_encoding: content_encoding(headers),
        content_disposition: one(CONTENT_DISPOSITION),
        content_language: one(CONTENT_LANGUAGE),
        cache_control: one(CACHE_CONTROL),
        expires: one(EXPIRES),
        website_redirect_location,
        user,
    })
}

/// `Content-Encoding` without `aws-chunked`, which is a coding of the request and not of the object (AWS, "Signature Calculations …
/// Transferring Payload in Multiple Chunks").
fn content_encoding(headers: &HeaderMap) -> Option<Bytes> {
    let mut values = headers.get_all(CONTENT_ENCODING).iter();
    let first = values.next()?;
    let is_aws_chunked = |coding: &[u8]| coding.eq_ignore_ascii_case(b"aws-chunked");
    let mut others = headers.get_all(CONTENT_ENCODING).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    if values.next().is_none() && !others.any(|coding| is_aws_chunked(coding.trim_ascii())) {
        // As it came.
        return Some(Bytes::copy_from_slice(first.as_bytes())).filter(|value| !value.is_empty());
    }
    let codings: Vec<&[u8]> = headers
        .get_all(CONTENT_ENCODING)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|coding| !coding.is_empty() && !is_aws_chunked(coding))
        .collect();
    Some(Bytes::from(codings.join(&b","[..]))).filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(HeaderName::from_static(name), HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        headers
    }

    #[test]
    fn aws_chunked_is_never_kept() {
        let kept = |values: &[&str]| {
            let pairs: Vec<_> = values.iter().map(|value| ("content-encoding", *value)).collect();
            parse(&headers(&pairs), 2048).unwrap().content_encoding.map(|value| String::from_utf8(value.to_vec()).unwrap())
        };
        assert_eq!(kept(&[]), None);
        assert_eq!(kept(&["gzip"]), Some("gzip".into()));
        assert_eq!(kept(&["gzip, br"]), Some("gzip, br".into()));
        assert_eq!(kept(&["aws-chunked"]), None);
        assert_eq!(kept(&["aws-chunked,gzip"]), Some("gzip".into()));
        assert_eq!(kept(&["AWS-Chunked , gzip,br"]), Some("gzip,br".into()));
        assert_eq!(kept(&["gzip", "aws-chunked"]), Some("gzip".into()));
        assert_eq!(kept(&["aws-chunked,"]), None);
    }

    #[test]
    fn user_metadata_is_bounded_and_in_order() {
        let metadata = parse(&headers(&[("x-amz-meta-b", "1"), ("x-amz-meta-a", "é"), ("x-amz-meta-b", "2")]), 2048).unwrap();
        let pairs: Vec<(&[u8], &[u8])> = metadata.user.iter().map(|(name, value)| (&**name, &**value)).collect();
        assert_eq!(pairs, [(&b"a"[..], "é".as_bytes()), (b"b", b"1,2")]);
        let value = "x".repeat(2047);
        assert!(parse(&headers(&[("x-amz-meta-a", &value)]), 2048).is_ok());
        let value = "x".repeat(2048);
        assert_eq!(parse(&headers(&[("x-amz-meta-a", &value)]), 2048).unwrap_err().code().name, "MetadataTooLarge");
    }
}
