//! Entry points for fuzzing, one for each parser of bytes that anybody can send. They panic when a property that callers rely on does not
//! hold; `cairn-fuzz` runs them, and the tests here with a few random inputs each.

use bytes::Bytes;
use cairn_store::api::{CorsRule, Tags};

use crate::auth::{is_presigned, is_presigned_v2, parse_authorization_header, parse_presigned_query, parse_presigned_v2};
use crate::body::chunked::{ChunkedDecoder, Event, Framing, TRAILER_LINES_MAX};
use crate::form::multipart::{FileEvent, FormDecoder, FormError, FormHead, boundary_of};
use crate::form::policy::{Fields, Policy};
use crate::http::query::{PARAMETERS_MAX, Query};
use crate::http::range::RangeRequest;
use crate::http::target::{bucket_of_host, parse_copy_source, parse_target};
use crate::operation::{
    TagsOf, parse_configuration, parse_cors, parse_delete, parse_part_list, parse_public_access_block, parse_tagging,
    parse_tagging_header, parse_versioning,
};
use crate::text::{base64, percent};

/// `Authorization`.
pub fn fuzz_authorization_header(data: &[u8]) {
    if let Ok(header) = parse_authorization_header(data) {
        assert!(!header.scope.access_key_id.is_empty() && !header.signed_headers.is_empty());
        let _ = header.scope.check("us-east-1", crate::auth::Place::Header);
    }
}

/// The query of a presigned URL, of both versions.
pub fn fuzz_presigned_query(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(query) = Query::parse(text) else { return };
    assert!(query.iter().count() <= PARAMETERS_MAX);
    if let Ok(presigned) = parse_presigned_query(&query) {
        assert!(is_presigned(&query));
        let _ = presigned.check_time(presigned.moment);
    }
    if is_presigned_v2(&query)
        && let Ok(presigned) = parse_presigned_v2(&query)
    {
        let _ = presigned.check_time(0);
    }
}

/// An `aws-chunked` body: the first bytes choose the framing, the length and how the rest is cut in pieces. However it is cut, the outcome
/// is the same, and what is given out is never more than was announced.
pub fn fuzz_aws_chunked(data: &[u8]) {
    let Some(([flags, length_low, length_high, piece], body)) = data.split_first_chunk::<4>() else { return };
    let framing = Framing { signed: flags & 1 == 1, trailer: flags & 2 == 2 };
    let length = u64::from(*length_low) | u64::from(*length_high) << 8;
    let whole = decode(framing, length, body, body.len().max(1));
    assert_eq!(whole, decode(framing, length, body, usize::from(*piece).max(1)));
}

fn decode(framing: Framing, length: u64, body: &[u8], piece: usize) -> Option<(u64, bool)> {
    let mut decoder = ChunkedDecoder::new(framing, length);
    let mut received = 0;
    for piece in body.chunks(piece) {
        let mut input = Bytes::copy_from_slice(piece);
        while let Some(event) = decoder.decode(&mut input).ok()? {
            match event {
                Event::Data(data) => received += data.len() as u64,
                Event::ChunkEnd(signature) => assert_eq!(signature.is_some(), framing.signed),
                Event::End(trailer) => assert!(received == length && trailer.fields.len() <= TRAILER_LINES_MAX),
            }
            assert!(received <= length);
        }
    }
    Some((received, decoder.is_done()))
}

/// The XML documents of requests.
pub fn fuzz_xml_bodies(data: &[u8]) {
    if let Ok(request) = parse_delete(data) {
        assert!((1..=1000).contains(&request.targets.len()));
    }
    if let Ok(parts) = parse_part_list(data) {
        assert!(!parts.is_empty() && parts.is_sorted_by(|a, b| a.part_number < b.part_number));
    }
    if let Ok(configuration) = parse_configuration(data) {
        assert_are_tags(&configuration.tags, 50);
    }
    let _ = parse_public_access_block(data);
    let _ = parse_versioning(data);
    if let Ok(cors) = parse_cors(data) {
        assert!((1..=100).contains(&cors.rules.len()));
        let has_all = |rule: &CorsRule| !rule.allowed_origins.is_empty() && !rule.allowed_methods.is_empty();
        assert!(cors.rules.iter().all(has_all));
    }
    for (of, count_max) in [(TagsOf::Object, 10), (TagsOf::Bucket, 50)] {
        if let Ok(tags) = parse_tagging(data, of) {
            assert_are_tags(&tags, count_max);
        }
    }
}

/// `x-amz-tagging`. Tags that were read are read again from their own encoding.
pub fn fuzz_tagging_header(data: &[u8]) {
    if let Ok(tags) = parse_tagging_header(data) {
        assert_are_tags(&tags, 10);
        let encode = |text: &str| percent::encode(text, false).into_owned();
        let again: Vec<String> = tags.iter().map(|(key, value)| format!("{}={}", encode(key), encode(value))).collect();
        assert_eq!(parse_tagging_header(again.join("&").as_bytes()).ok(), Some(tags));
    }
}

fn assert_are_tags(tags: &Tags, count_max: usize) {
    assert!(tags.len() <= count_max);
    assert!(tags.is_sorted_by(|one, other| one.0 < other.0), "in order, and each once");
    let is_bounded = |(key, value): &(String, String)| (1..=128).contains(&key.chars().count()) && value.chars().count() <= 256;
    assert!(tags.iter().all(is_bounded));
}

/// A form: the first byte is the size of the pieces in which it comes, the first line the `Content-Type`. What comes out does not depend
/// on the pieces, and no byte is in the file that was not in the form.
pub fn fuzz_form(data: &[u8]) {
    let Some((piece, rest)) = data.split_first() else { return };
    let line = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
    let (content_type, form) = rest.split_at(line);
    let Some(Ok(boundary)) = std::str::from_utf8(content_type).ok().and_then(boundary_of) else { return };
    let form = form.get(1..).unwrap_or_default();
    let whole = read_form(&boundary, form, form.len());
    assert_eq!(whole, read_form(&boundary, form, usize::from(*piece)));
    if let Ok(Some((head, file))) = whole {
        let fields: usize = head.fields.iter().map(|(name, value)| name.len() + value.len()).sum();
        assert!(fields + head.file_name.len() + file <= form.len());
    }
}

/// The fields, and the length of the file.
fn read_form(boundary: &str, form: &[u8], piece: usize) -> Result<Option<(FormHead, usize)>, FormError> {
    let mut decoder = FormDecoder::new(boundary, 1024);
    let mut pieces = form.chunks(piece.max(1)).map(Bytes::copy_from_slice);
    let head = loop {
        let Some(piece) = pieces.next() else { return Ok(None) };
        if let Some(head) = decoder.head(piece)? {
            break head;
        }
    };
    let mut length = 0;
    loop {
        match decoder.file()? {
            FileEvent::Data(bytes) => length += bytes.len(),
            FileEvent::End => return Ok(Some((head, length))),
            FileEvent::NeedsMore => match pieces.next() {
                Some(piece) => decoder.push(piece),
                None => return Ok(None),
            },
        }
    }
}

/// The policy of a form, before it is put into Base64. A field that it does not speak of is never allowed.
pub fn fuzz_policy(data: &[u8]) {
    struct Extra;
    impl Fields for Extra {
        fn value(&self, _: &str) -> Option<&str> {
            None
        }

        fn names(&self) -> Vec<&str> {
            vec!["\u{0}"]
        }
    }
    let _ = std::str::from_utf8(data).map(Policy::parse);
    if let Ok(policy) = Policy::parse(&base64::encode(data)) {
        let speaks_of_it = data.windows(5).any(|window| window == b"u0000");
        assert!(speaks_of_it || policy.check(&Extra, "bucket", 0).is_err());
    }
}

/// `Range`, and `x-amz-copy-source-range`: the first bytes are the object's length.
pub fn fuzz_range_header(data: &[u8]) {
    let Some((length, text)) = data.split_first_chunk::<8>() else { return };
    let length = u64::from_be_bytes(*length);
    if let Some(Ok(range)) = RangeRequest::parse(text).map(|range| range.resolve(length)) {
        assert!(range.end <= length && (range.start < range.end || length == 0));
    }
}

/// `x-amz-copy-source`.
pub fn fuzz_copy_source(data: &[u8]) {
    if let Ok(source) = parse_copy_source(data) {
        assert!(!source.bucket.is_empty() && source.key.as_bytes().len() <= 1024);
    }
}

/// Host and path, with a line end between them. A key that was read is read again from its own encoding.
pub fn fuzz_target(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (host, path) = text.split_once('\n').unwrap_or(("", text));
    let virtual_bucket = bucket_of_host(host, &["s3.example".to_owned()]);
    let Ok(target) = parse_target(virtual_bucket, path) else { return };
    if let Some(key) = target.key {
        let again = parse_target(Some("b".to_owned()), &format!("/{}", percent::encode(key.as_str(), true)));
        assert_eq!(again.ok().and_then(|target| target.key), Some(key));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn run_all(data: &[u8]) {
        fuzz_authorization_header(data);
        fuzz_presigned_query(data);
        fuzz_aws_chunked(data);
        fuzz_xml_bodies(data);
        fuzz_tagging_header(data);
        fuzz_form(data);
        fuzz_policy(data);
        fuzz_range_header(data);
        fuzz_copy_source(data);
        fuzz_target(data);
    }

    proptest! {
        #[test]
        fn properties_hold_for_any_bytes(data: Vec<u8>) {
            run_all(&data);
        }

        #[test]
        fn properties_hold_for_texts_that_come_near(
            text in "(bytes=|[0-9-]{1,3}|/|%[0-9A-F]{2}|\\?versionId=|\r\n|<Delete>|</Delete>|<Object>|</Object>|<Key>a</Key>|X-Amz-Algorithm=|&|=|\n|[a-z.]{1,4}){0,20}"
        ) {
            run_all(text.as_bytes());
        }
    }
}
