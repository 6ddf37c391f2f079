//! Tags of objects and buckets: `PutObjectTagging`, `GetBucketTagging` and the like, and the tags that a write brings along in
//! `x-amz-tagging` (AWS, "Categorizing your objects using tags").

use cairn_store::api::{Bucket, GetObject, StoreError, TagObject, Tags};
use http::StatusCode;

use super::{Call, delete_marker_error, object_headers};
use crate::auth::authorizer::Action;
use crate::error::{S3Error, S3Result, code};
use crate::http::query::Query;
use crate::http::response::{self, S3Response};
use crate::xml::reader;
use crate::xml::writer::XmlWriter;

/// The most tags of an object (AWS).
pub const OBJECT_TAGS_MAX: usize = 10;
/// The most tags of a bucket (AWS).
pub const BUCKET_TAGS_MAX: usize = 50;
/// The longest name of a tag, characters (AWS).
pub const TAG_KEY_CHARACTERS_MAX: usize = 128;
/// The longest value of a tag, characters (AWS).
pub const TAG_VALUE_CHARACTERS_MAX: usize = 256;

/// What tags are on: AWS words some of its errors after that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TagsOf {
    /// An object.
    Object,
    /// A bucket.
    Bucket,
    /// A bucket that is being made.
    NewBucket,
}

// -- objects --------------------------------------------------------------------------------------------------------------------

pub(super) async fn get_object(call: &Call<'_>, bucket: &Bucket) -> S3Result<S3Response> {
    let version_id = call.version_id()?;
    let request = GetObject { bucket: bucket.id, key: call.key()?.clone(), version_id, part_number: None };
    let head = call.store().head_object(request).await.map_err(about_version)?;
    let mut answer = response::xml(document_of(&head.tags));
    object_headers::set_version(answer.headers_mut(), head.version_id, head.versioning);
    Ok(answer)
}

pub(super) async fn put_object(call: &mut Call<'_>, bucket: &Bucket) -> S3Result<S3Response> {
    let document = call.document(call.limits().xml_bytes_max).await?;
    let tags = parse_tagging(&document, TagsOf::Object)?;
    tag_object(call, bucket, tags, StatusCode::OK).await
}

pub(super) async fn delete_object(call: &Call<'_>, bucket: &Bucket) -> S3Result<S3Response> {
    tag_object(call, bucket, Tags::new(), StatusCode::NO_CONTENT).await
}

async fn tag_object(call: &Call<'_>, bucket: &Bucket, tags: Tags, status: StatusCode) -> S3Result<S3Response> {
    let version_id = call.version_id()?;
    let request = TagObject { bucket: bucket.id, key: call.key()?.clone(), version_id, tags };
    let tagged = call.store().tag_object(request).await.map_err(about_version)?;
    let mut answer = response::empty(status);
    object_headers::set_version(answer.headers_mut(), tagged.version_id, tagged.versioning);
    Ok(answer)
}

/// A delete marker has no tags, whether it was named or is the current version (AWS).
fn about_version(error: StoreError) -> S3Error {
    match error {
        StoreError::IsDeleteMarker { version_id, last_modified_ms } => delete_marker_error(version_id, last_modified_ms, true),
        other => other.into(),
    }
}

/// The tags that a write brings along. Who may write and not tag is refused.
pub(super) fn of_write(call: &Call<'_>, bucket: &Bucket) -> S3Result<Tags> {
    let Some(value) = call.header("x-amz-tagging") else { return Ok(Tags::new()) };
    let tags = parse_tagging_header(value)?;
    if !tags.is_empty() {
        call.require(Action::PutObjectTagging, Some(bucket), call.key.as_ref().map(cairn_types::ObjectKey::as_str))?;
    }
    Ok(tags)
}

/// Whether a copy brings its own tags, or keeps its source's. With `COPY`, `x-amz-tagging` means nothing (AWS).
pub(super) fn copy_replaces(call: &Call<'_>) -> S3Result<bool> {
    match call.header("x-amz-tagging-directive") {
        None | Some(b"COPY") => Ok(false),
        Some(b"REPLACE") => Ok(true),
        Some(other) => Err(S3Error::invalid_argument(
            "x-amz-tagging-directive",
            String::from_utf8_lossy(other),
            "Unknown tagging directive.",
        )),
    }
}

// -- buckets --------------------------------------------------------------------------------------------------------------------

pub(super) async fn get_bucket(call: &Call<'_>, bucket: &Bucket) -> S3Result<S3Response> {
    let tags = call.store().bucket_tags(bucket.id).await?;
    if tags.is_empty() {
        return Err(S3Error::new(&code::NO_SUCH_TAG_SET).field("BucketName", call.bucket_name));
    }
    Ok(response::xml(document_of(&tags)))
}

pub(super) async fn put_bucket(call: &mut Call<'_>, bucket: &Bucket) -> S3Result<S3Response> {
    let document = call.document(call.limits().xml_bytes_max).await?;
    call.store().set_bucket_tags(bucket.id, parse_tagging(&document, TagsOf::Bucket)?).await?;
    Ok(response::empty(StatusCode::NO_CONTENT))
}

pub(super) async fn delete_bucket(call: &Call<'_>, bucket: &Bucket) -> S3Result<S3Response> {
    call.store().set_bucket_tags(bucket.id, Tags::new()).await?;
    Ok(response::empty(StatusCode::NO_CONTENT))
}

// -- what is written and read ---------------------------------------------------------------------------------------------------

fn document_of(tags: &Tags) -> XmlWriter {
    let mut writer = XmlWriter::new(128 + tags.len() * 96);
    writer.open_root("Tagging");
    writer.open("TagSet");
    for (key, value) in tags {
        writer.open("Tag");
        writer.text("Key", key);
        writer.text("Value", value);
        writer.close("Tag");
    }
    writer.close("TagSet");
    writer.close("Tagging");
    writer
}

/// Reads a `Tagging`.
pub fn parse_tagging(document: &[u8], of: TagsOf) -> S3Result<Tags> {
    let root = reader::parse(document, "Tagging")?;
    // Without a set, AWS takes it for an empty one.
    root.child("TagSet").map_or_else(|| Ok(Tags::new()), |set| parse_tag_set(set, of))
}

/// Reads the tags in an element.
pub(super) fn parse_tag_set(set: &reader::Element, of: TagsOf) -> S3Result<Tags> {
    let tag = |tag: &reader::Element| -> S3Result<(String, String)> {
        let text = |name: &str| tag.child_text(name).map(str::to_owned).ok_or_else(reader::malformed);
        Ok((text("Key")?, text("Value")?))
    };
    checked(set.children_named("Tag").map(tag).collect::<S3Result<_>>()?, of)
}

/// Reads `x-amz-tagging`: names and values as in the query of a URL.
pub fn parse_tagging_header(value: &[u8]) -> S3Result<Tags> {
    let invalid = || {
        S3Error::invalid_argument(
            "x-amz-tagging",
            String::from_utf8_lossy(value),
            "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query parameters without tag name duplicates.",
        )
    };
    let text = std::str::from_utf8(value).map_err(|_| invalid())?;
    // In what is encoded, one `=` stands between name and value, and no other.
    if text.split('&').any(|pair| pair.matches('=').count() > 1) {
        return Err(invalid());
    }
    let query = Query::parse(text).map_err(|_| invalid())?;
    let tags: Tags = query.iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    if duplicate(&tags).is_some() || tags.iter().any(|(key, _)| key.is_empty()) {
        return Err(invalid());
    }
    checked(tags, TagsOf::Object)
}

fn duplicate(tags: &Tags) -> Option<&str> {
    let mut names: Vec<&str> = tags.iter().map(|(key, _)| key.as_str()).collect();
    names.sort_unstable();
    names.windows(2).find_map(|pair| match pair {
        [one, other] if one == other => Some(*one),
        _ => None,
    })
}

/// Tags in the order of their names, if they can be tags.
fn checked(mut tags: Tags, of: TagsOf) -> S3Result<Tags> {
    let (count_max, too_many, reserved) = match of {
        TagsOf::Object => (OBJECT_TAGS_MAX, "Object tags cannot be greater than 10", "Your TagKey cannot be prefixed with aws:"),
        TagsOf::Bucket => {
            (BUCKET_TAGS_MAX, "Bucket tag count cannot be greater than 50", "System tags cannot be added/updated by requester")
        }
        TagsOf::NewBucket => (
            BUCKET_TAGS_MAX,
            "Bucket tag count cannot be greater than 50",
            "User-defined tag keys can't start with \"aws:\". This prefix is reserved for system tags. Remove \"aws:\" from your tag keys and \
             try again.",
        ),
    };
    if tags.len() > count_max {
        return Err(S3Error::with_message(&code::BAD_REQUEST, too_many));
    }
    let refuse = |message: &'static str, key: &str| S3Error::with_message(&code::INVALID_TAG, message).field("TagKey", key);
    for (key, value) in &tags {
        if key.is_empty() || !can_stand_in_a_tag(key, TAG_KEY_CHARACTERS_MAX) {
            return Err(refuse("The TagKey you have provided is invalid", key));
        }
        if key.starts_with("aws:") {
            return Err(match of {
                TagsOf::NewBucket => S3Error::with_message(&code::INVALID_TAG, reserved),
                TagsOf::Object | TagsOf::Bucket => refuse(reserved, key),
            });
        }
        if !can_stand_in_a_tag(value, TAG_VALUE_CHARACTERS_MAX) {
            return Err(refuse("The TagValue you have provided is invalid", key).field("TagValue", value));
        }
    }
    if let Some(key) = duplicate(&tags) {
        return Err(refuse("Cannot provide multiple Tags with the same key", key));
    }
    tags.sort_unstable();
    Ok(tags)
}

/// Letters and numbers of any language, spaces, and `+ - = . _ : / @` (AWS, "Object key-value tag restrictions").
fn can_stand_in_a_tag(text: &str, characters_max: usize) -> bool {
    let is_allowed = |character: char| {
        character.is_alphanumeric()
            || (character.is_whitespace() && !character.is_control())
            || matches!(character, '+' | '-' | '=' | '.' | '_' | ':' | '/' | '@')
    };
    text.chars().count() <= characters_max && text.chars().all(is_allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code_of(outcome: S3Result<Tags>) -> &'static str {
        outcome.unwrap_err().code().name
    }

    fn document(tags: &[(&str, &str)]) -> Vec<u8> {
        let tags: Vec<_> = tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        document_of(&tags).finish().to_vec()
    }

    fn objects(tags: &[(&str, &str)]) -> S3Result<Tags> {
        parse_tagging(&document(tags), TagsOf::Object)
    }

    #[test]
    fn tags_are_read_in_the_order_of_their_names() {
        let owned = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(objects(&[("b", "2"), ("a", " é+-=._:/@ ")]).unwrap(), [owned("a", " é+-=._:/@ "), owned("b", "2")]);
        assert_eq!(objects(&[]).unwrap(), Vec::new());
        assert_eq!(parse_tagging(b"<Tagging/>", TagsOf::Object).unwrap(), Vec::new());
        assert_eq!(parse_tagging_header(b"b=2&a=%2B+x%3D&c").unwrap(), [owned("a", "+ x="), owned("b", "2"), owned("c", "")]);
        assert_eq!(parse_tagging_header(b"").unwrap(), Vec::new());
        for malformed in [
            "<Tagging><TagSet><Tag><Key>a</Key></Tag></TagSet></Tagging>",
            "<Tagging><TagSet><Tag><Value>a</Value></Tag></TagSet></Tagging>",
            "<TagSet/>",
            "",
        ] {
            assert_eq!(code_of(parse_tagging(malformed.as_bytes(), TagsOf::Object)), "MalformedXML", "{malformed}");
        }
    }

    #[test]
    fn the_bounds_are_awss() {
        let long = |count: usize| "é".repeat(count);
        assert!(objects(&[(&long(128), &long(256))]).is_ok());
        assert_eq!(code_of(objects(&[(&long(129), "")])), "InvalidTag");
        assert_eq!(code_of(objects(&[("a", &long(257))])), "InvalidTag");
        for bad in [("", "a"), ("a*", "b"), ("a", "b?"), ("a\u{7}", ""), ("aws:a", "b"), ("a", "&")] {
            assert_eq!(code_of(objects(&[bad])), "InvalidTag", "{bad:?}");
        }
        assert_eq!(code_of(objects(&[("a", "1"), ("a", "2")])), "InvalidTag");
        let names: Vec<String> = (0..51).map(|number| format!("k{number}")).collect();
        let pairs: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "v")).collect();
        assert_eq!(objects(&pairs[..10]).unwrap().len(), 10);
        assert_eq!(code_of(objects(&pairs[..11])), "BadRequest");
        assert_eq!(parse_tagging(&document(&pairs[..50]), TagsOf::Bucket).unwrap().len(), 50);
        assert_eq!(code_of(parse_tagging(&document(&pairs), TagsOf::Bucket)), "BadRequest");
        for header in ["a=1&a=2", "a=%zz", "a=%ff", "a=1,b=2", "=", "=b"] {
            assert_eq!(code_of(parse_tagging_header(header.as_bytes())), "InvalidArgument", "{header}");
        }
        assert_eq!(code_of(parse_tagging_header(b"\xff=1")), "InvalidArgument");
        assert_eq!(code_of(parse_tagging_header(b"a=*")), "InvalidTag");
    }
}
