//! `DeleteObjects`: up to 1,000 at once, each its own success or failure.

use cairn_store::api::{Bucket, DeleteTarget, Deleted, WriteCondition};
use cairn_types::{ObjectKey, VersionId, object::InvalidObjectKey};

use super::Call;
use crate::auth::authorizer::Action;
use crate::checksum::headers::Promised;
use crate::error::{S3Error, S3Result, code};
use crate::http::condition::parse_etag;
use crate::http::response::{self, S3Response};
use crate::xml::reader::{self, Element};
use crate::xml::writer::XmlWriter;

/// The most objects of one request (AWS).
pub const OBJECTS_MAX: usize = 1000;

/// What a `Delete` asks for.
#[derive(Debug)]
pub struct DeleteRequest {
    /// Whether only failures are answered.
    pub is_quiet: bool,
    /// The objects.
    pub targets: Vec<NamedTarget>,
}

/// One object as the client named it.
#[derive(Debug)]
pub struct NamedTarget {
    /// Its key as text.
    pub key: String,
    /// Its version as text.
    pub version_id: Option<String>,
    /// What to delete, or why that cannot be.
    pub target: Result<DeleteTarget, S3Error>,
}

pub(super) async fn run(call: &mut Call<'_>, bucket: &Bucket) -> S3Result<S3Response> {
    let promised = Promised::parse(call.headers)?;
    if promised.md5.is_none() && promised.checksum.is_none() {
        // Deleting the wrong things because of a flipped bit cannot be taken back.
        return Err(S3Error::invalid_request("Missing required header for this request: Content-MD5 OR x-amz-checksum-*"));
    }
    let document = call.document(call.limits().xml_bytes_max).await?;
    let DeleteRequest { is_quiet, targets } = parse_delete(&document)?;
    let mut allowed = Vec::with_capacity(targets.len());
    let mut names = Vec::with_capacity(targets.len());
    for named in targets {
        let outcome = named.target.and_then(|target| {
            let action = if target.version_id.is_some() { Action::DeleteObjectVersion } else { Action::DeleteObject };
            call.require(action, Some(bucket), Some(target.key.as_str()))?;
            Ok(target)
        });
        names.push((named.key, named.version_id, outcome.as_ref().err().cloned()));
        allowed.extend(outcome.ok());
    }
    let mut outcomes = call.store().delete_objects(bucket.id, allowed).await?.into_iter();
    let mut writer = XmlWriter::new(256 + names.len() * 96);
    writer.open_root("DeleteResult");
    for (key, version_id, refused) in &names {
        let outcome = match refused {
            Some(error) => Err(error.clone()),
            None => match outcomes.next() {
                Some(outcome) => outcome.map_err(S3Error::from),
                None => Err(S3Error::new(&code::INTERNAL_ERROR)),
            },
        };
        match outcome {
            Ok(deleted) if !is_quiet => write_deleted(&mut writer, key, version_id.as_deref(), deleted),
            Ok(_) => {}
            Err(error) => {
                writer.open("Error");
                writer.text("Key", key);
                writer.optional("VersionId", version_id.as_deref());
                writer.text("Code", error.code().name);
                writer.text("Message", error.message());
                writer.close("Error");
            }
        }
    }
    writer.close("DeleteResult");
    Ok(response::xml(writer))
}

fn write_deleted(writer: &mut XmlWriter, key: &str, named: Option<&str>, deleted: Deleted) {
    writer.open("Deleted");
    writer.text("Key", key);
    writer.optional("VersionId", named);
    if deleted.is_delete_marker {
        writer.value("DeleteMarker", true);
        if let Some(marker) = deleted.version_id {
            writer.value("DeleteMarkerVersionId", marker);
        }
    }
    writer.close("Deleted");
}

/// Reads a `Delete`.
pub fn parse_delete(document: &[u8]) -> S3Result<DeleteRequest> {
    if document.is_empty() {
        return Err(S3Error::new(&code::MISSING_REQUEST_BODY));
    }
    let root = reader::parse(document, "Delete")?;
    let is_quiet = match root.child_text("Quiet") {
        None => false,
        Some(text) if text.eq_ignore_ascii_case("true") => true,
        Some(text) if text.eq_ignore_ascii_case("false") || text.is_empty() => false,
        Some(_) => return Err(reader::malformed()),
    };
    let targets: Vec<_> = root.children_named("Object").take(OBJECTS_MAX + 1).map(parse_object).collect::<Result<_, _>>()?;
    if targets.is_empty() || targets.len() > OBJECTS_MAX {
        return Err(reader::malformed());
    }
    Ok(DeleteRequest { is_quiet, targets })
}

fn parse_object(object: &Element) -> S3Result<NamedTarget> {
    let key = object.child_text("Key").filter(|key| !key.is_empty()).ok_or_else(reader::malformed)?.to_owned();
    let version_id = object.child_text("VersionId").filter(|text| !text.is_empty()).map(str::to_owned);
    let target = parse_target(object, &key, version_id.as_deref());
    Ok(NamedTarget { key, version_id, target })
}

fn parse_target(object: &Element, key: &str, version_id: Option<&str>) -> S3Result<DeleteTarget> {
    let key: ObjectKey = key.parse().map_err(|error| match error {
        InvalidObjectKey::Empty => reader::malformed(),
        InvalidObjectKey::TooLong { .. } => S3Error::new(&code::KEY_TOO_LONG),
    })?;
    let version_id = match version_id {
        None => None,
        Some(text) => Some(VersionId::parse(text).ok_or_else(|| S3Error::new(&code::NO_SUCH_VERSION))?),
    };
    for unsupported in ["LastModifiedTime", "Size"] {
        if object.child(unsupported).is_some() {
            return Err(S3Error::not_implemented(format!("{unsupported} of DeleteObjects")));
        }
    }
    let condition = match object.child_text("ETag") {
        None => WriteCondition::None,
        Some("*") => WriteCondition::Present,
        Some(text) => WriteCondition::Matches(parse_etag(text).into_iter().collect()),
    };
    Ok(DeleteTarget { key, version_id, condition })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_and_bounded() {
        let request = parse_delete(
            b"<Delete><Quiet>true</Quiet><Object><Key>a</Key></Object><Object><Key>b</Key><VersionId>null</VersionId></Object>\
              <Object><Key>c</Key><VersionId>x</VersionId></Object></Delete>",
        )
        .unwrap();
        assert!(request.is_quiet);
        assert_eq!(request.targets[1].target.as_ref().unwrap().version_id, Some(VersionId::Null));
        assert_eq!(request.targets[2].target.as_ref().unwrap_err().code().name, "NoSuchVersion");
        let list = |count: usize| format!("<Delete>{}</Delete>", "<Object><Key>a</Key></Object>".repeat(count));
        assert_eq!(parse_delete(list(1000).as_bytes()).unwrap().targets.len(), 1000);
        for bad in
            [&list(0), &list(1001), "<Delete><Object/></Delete>", "<Delete><Object><Key></Key></Object></Delete>", "<Other/>"]
        {
            assert_eq!(parse_delete(bad.as_bytes()).unwrap_err().code().name, "MalformedXML");
        }
        let long = format!("<Delete><Object><Key>{}</Key></Object></Delete>", "k".repeat(1025));
        assert_eq!(parse_delete(long.as_bytes()).unwrap().targets[0].target.as_ref().unwrap_err().code().name, "KeyTooLongError");
    }
}
