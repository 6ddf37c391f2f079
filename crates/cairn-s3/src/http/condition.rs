//! Conditional requests: RFC 9110, section 13, in its order of precedence, and the conditions of writes.

use cairn_store::api::WriteCondition;
use cairn_types::ETag;
use http::header::{HeaderMap, HeaderName, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE};

use crate::error::{S3Error, S3Result, code};
use crate::text::date;

/// What the conditions of a read come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Answer.
    Proceed,
    /// 304: the client has it already.
    NotModified,
    /// 412, because of this header.
    PreconditionFailed(&'static str),
}

/// The names of the four conditions: a copy has its own.
#[derive(Debug, Clone, Copy)]
pub struct ConditionHeaders {
    /// `If-Match`.
    pub if_match: &'static str,
    /// `If-None-Match`.
    pub if_none_match: &'static str,
    /// `If-Modified-Since`.
    pub if_modified_since: &'static str,
    /// `If-Unmodified-Since`.
    pub if_unmodified_since: &'static str,
}

/// Of a read.
pub const READ_CONDITIONS: ConditionHeaders = ConditionHeaders {
    if_match: "If-Match",
    if_none_match: "If-None-Match",
    if_modified_since: "If-Modified-Since",
    if_unmodified_since: "If-Unmodified-Since",
};

/// Of the source of a copy; as AWS writes them in its errors.
pub const COPY_SOURCE_CONDITIONS: ConditionHeaders = ConditionHeaders {
    if_match: "x-amz-copy-source-If-Match",
    if_none_match: "x-amz-copy-source-If-None-Match",
    if_modified_since: "x-amz-copy-source-If-Modified-Since",
    if_unmodified_since: "x-amz-copy-source-If-Unmodified-Since",
};

/// Evaluates the conditions of a read (RFC 9110, section 13.2.2): `If-Match` overrides `If-Unmodified-Since`, `If-None-Match` overrides
/// `If-Modified-Since`. Dates that cannot be parsed are ignored. `last_modified` and `now` are seconds since 1970.
#[must_use]
pub fn evaluate_read(headers: &HeaderMap, names: &ConditionHeaders, etag: ETag, last_modified: u64) -> Verdict {
    let moment = |name: &str| headers.get(name).and_then(|value| date::parse_http(value.to_str().ok()?.trim()));
    if headers.contains_key(names.if_match) {
        if !any_tag_matches(headers, names.if_match, etag) {
            return Verdict::PreconditionFailed(names.if_match);
        }
    } else if moment(names.if_unmodified_since).is_some_and(|moment| last_modified > moment) {
        return Verdict::PreconditionFailed(names.if_unmodified_since);
    }
    if headers.contains_key(names.if_none_match) {
        if any_tag_matches(headers, names.if_none_match, etag) {
            return Verdict::NotModified;
        }
    } else if moment(names.if_modified_since).is_some_and(|moment| last_modified <= moment) {
        return Verdict::NotModified;
    }
    Verdict::Proceed
}

/// Whether a `Range` counts (RFC 9110, section 13.1.5): without `If-Range`, or where its tag or date is still that of the object.
#[must_use]
pub fn range_applies(headers: &HeaderMap, etag: ETag, last_modified: u64) -> bool {
    let Some(value) = headers.get(IF_RANGE) else { return true };
    let Ok(text) = value.to_str() else { return false };
    let text = text.trim();
    match date::parse_http(text) {
        Some(moment) => moment == last_modified,
        // Only strong tags count here, and ours are.
        None => !text.starts_with("W/") && tag_matches(text, etag),
    }
}

/// Any of the tags in a list; `*` is any tag there is.
fn any_tag_matches(headers: &HeaderMap, name: &str, etag: ETag) -> bool {
    let mut values = headers.get_all(name).iter();
    values.any(|value| value.to_str().is_ok_and(|text| text.split(',').any(|tag| tag_matches(tag, etag))))
}

fn tag_matches(text: &str, etag: ETag) -> bool {
    let text = text.trim();
    text == "*" || ETag::parse(unquote(text)) == Some(etag)
}

/// Clients send tags with quotes and without; AWS takes both.
fn unquote(text: &str) -> &str {
    let text = text.trim();
    let text = text.strip_prefix("W/").unwrap_or(text);
    text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text)
}

/// An entity tag as a client names it, in XML or a header: with quotes or without.
#[must_use]
pub fn parse_etag(text: &str) -> Option<ETag> {
    ETag::parse(unquote(text))
}

/// The condition of a write or of a deletion (AWS, "Add preconditions to S3 operations with conditional requests"): `If-None-Match: *`, and
/// `If-Match` with a tag or `*`; other values and combinations are refused, not ignored.
pub fn write_condition(headers: &HeaderMap) -> S3Result<WriteCondition> {
    for unsupported in [IF_MODIFIED_SINCE, IF_UNMODIFIED_SINCE] {
        if headers.contains_key(&unsupported) {
            return Err(S3Error::header_not_implemented(unsupported.as_str()));
        }
    }
    let single = |name: &HeaderName| {
        let mut values = headers.get_all(name).iter();
        let value = values.next();
        if values.next().is_some() { Err(S3Error::header_not_implemented(name.as_str())) } else { Ok(value) }
    };
    match (single(&IF_MATCH)?, single(&IF_NONE_MATCH)?) {
        (None, None) => Ok(WriteCondition::None),
        (None, Some(value)) if value.as_bytes().trim_ascii() == b"*" => Ok(WriteCondition::Absent),
        (None, Some(_)) => Err(S3Error::new(&code::NOT_IMPLEMENTED)
            .field("Header", "If-None-Match")
            .field("additionalMessage", "We don't accept the provided value of If-None-Match header for this API")),
        (Some(_), Some(_)) => Err(S3Error::new(&code::NOT_IMPLEMENTED)
            .field("Header", "If-Match,If-None-Match")
            .field("additionalMessage", "Multiple conditional request headers present in the request")),
        (Some(value), None) => match value.to_str().map(str::trim) {
            // AWS knows this one of deletions only; here it means of writes what it means there.
            Ok("*") => Ok(WriteCondition::Present),
            // A text that is no tag of ours matches nothing.
            Ok(text) => Ok(WriteCondition::Matches(text.split(',').filter_map(parse_etag).collect())),
            Err(_) => Ok(WriteCondition::Matches(Vec::new())),
        },
    }
}

/// The error of a condition that does not hold.
#[must_use]
pub fn precondition_failed(condition: &str) -> S3Error {
    S3Error::new(&code::PRECONDITION_FAILED).field("Condition", condition)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const NOON: u64 = 784_111_777;
    const TAG: ETag = ETag { digest: [0xab; 16], part_count: 0 };

    fn headers(pairs: &[(&'static str, String)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    fn at(seconds: u64) -> String {
        String::from_utf8(date::http(seconds).to_vec()).unwrap()
    }

    fn read(pairs: &[(&'static str, String)]) -> Verdict {
        evaluate_read(&headers(pairs), &READ_CONDITIONS, TAG, NOON)
    }

    #[test]
    fn reads_follow_the_standards_precedence() {
        let tag = || format!("\"{TAG}\"");
        let other = || "\"00000000000000000000000000000000\"".to_owned();
        let failed = |name| Verdict::PreconditionFailed(name);
        assert_eq!(read(&[]), Verdict::Proceed);
        assert_eq!(read(&[("if-match", tag())]), Verdict::Proceed);
        assert_eq!(read(&[("if-match", TAG.to_string())]), Verdict::Proceed);
        assert_eq!(read(&[("if-match", format!("{}, W/{}", other(), tag()))]), Verdict::Proceed);
        assert_eq!(read(&[("if-match", other())]), failed("If-Match"));
        assert_eq!(read(&[("if-match", "*".into())]), Verdict::Proceed);
        assert_eq!(read(&[("if-none-match", tag())]), Verdict::NotModified);
        assert_eq!(read(&[("if-none-match", "*".into())]), Verdict::NotModified);
        assert_eq!(read(&[("if-none-match", other())]), Verdict::Proceed);
        assert_eq!(read(&[("if-modified-since", at(NOON))]), Verdict::NotModified);
        assert_eq!(read(&[("if-modified-since", at(NOON - 1))]), Verdict::Proceed);
        assert_eq!(read(&[("if-unmodified-since", at(NOON))]), Verdict::Proceed);
        assert_eq!(read(&[("if-unmodified-since", at(NOON - 1))]), failed("If-Unmodified-Since"));
        assert_eq!(read(&[("if-unmodified-since", "never".into())]), Verdict::Proceed);
        // A tag overrides the date of its kind.
        assert_eq!(read(&[("if-match", tag()), ("if-unmodified-since", at(NOON - 1))]), Verdict::Proceed);
        assert_eq!(read(&[("if-none-match", other()), ("if-modified-since", at(NOON))]), Verdict::Proceed);
        assert_eq!(read(&[("if-match", other()), ("if-none-match", tag())]), failed("If-Match"));
    }

    #[test]
    fn if_range_needs_the_same_object() {
        let applies = |value: String| range_applies(&headers(&[("if-range", value)]), TAG, NOON);
        assert!(range_applies(&HeaderMap::new(), TAG, NOON));
        assert!(applies(format!("\"{TAG}\"")));
        assert!(!applies(format!("W/\"{TAG}\"")));
        assert!(!applies("\"x\"".into()));
        assert!(applies(at(NOON)));
        assert!(!applies(at(NOON + 1)));
    }

    #[test]
    fn writes_take_what_aws_takes() {
        let write = |pairs: &[(&'static str, String)]| write_condition(&headers(pairs));
        assert_eq!(write(&[]).unwrap(), WriteCondition::None);
        assert_eq!(write(&[("if-none-match", "*".into())]).unwrap(), WriteCondition::Absent);
        assert_eq!(write(&[("if-match", "*".into())]).unwrap(), WriteCondition::Present);
        assert_eq!(write(&[("if-match", format!("\"{TAG}\""))]).unwrap(), WriteCondition::Matches(vec![TAG]));
        assert_eq!(write(&[("if-match", "\"x\"".into())]).unwrap(), WriteCondition::Matches(Vec::new()));
        for refused in [
            &[("if-none-match", format!("\"{TAG}\""))][..],
            &[("if-none-match", "*".into()), ("if-match", "*".into())],
            &[("if-match", "*".into()), ("if-match", "*".into())],
            &[("if-modified-since", at(NOON))],
        ] {
            assert_eq!(write(refused).unwrap_err().code().name, "NotImplemented");
        }
    }
}
