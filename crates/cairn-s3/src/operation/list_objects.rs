//! `ListObjects` and `ListObjectsV2`.

use cairn_store::api::{Bucket, ListEntry, ListObjects, ListPosition, ObjectPage, ObjectSummary, Page};

use super::Call;
use super::listing::{Listing, write_account, write_checksum_kind};
use crate::error::{S3Error, S3Result};
use crate::http::response::{self, S3Response};
use crate::text::{base64, date};
use crate::xml::writer::XmlWriter;

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    /// `ListObjects`.
    One,
    /// `ListObjectsV2`.
    Two,
}

pub(super) async fn run(call: &Call<'_>, bucket: &Bucket, version: Version) -> S3Result<S3Response> {
    let listing = Listing::parse(call, "max-keys")?;
    let token = call.query.get("continuation-token");
    let after = match version {
        Version::One => call.query.get_filled("marker").map(|marker| listing.position(marker)),
        // An empty one begins at the start; AWS refuses it, and clients that send one exist.
        Version::Two => match token.filter(|token| !token.is_empty()) {
            Some(token) => Some(parse_token(token)?),
            None => call.query.get_filled("start-after").map(|marker| listing.position(marker)),
        },
    };
    let page = if listing.limit == 0 {
        Page { entries: Vec::new(), is_truncated: false }
    } else {
        let request = ListObjects {
            bucket: bucket.id,
            prefix: listing.prefix.to_owned(),
            delimiter: listing.delimiter.map(str::to_owned),
            after,
            limit: listing.limit,
        };
        call.store().list_objects(request).await?
    };
    let mut writer = XmlWriter::new(512 + page.entries.len() * 320);
    writer.open_root("ListBucketResult");
    writer.text("Name", bucket.name.as_str());
    listing.write_prefix_and_delimiter(&mut writer);
    let has_owner = match version {
        Version::One => {
            writer.text("Marker", &listing.show(call.query.get("marker").unwrap_or_default()));
            if page.is_truncated && listing.delimiter.is_some() {
                match page.entries.last() {
                    Some(ListEntry::Item(object)) => writer.text("NextMarker", &listing.show(object.key.as_str())),
                    Some(ListEntry::Prefix(prefix)) => writer.text("NextMarker", &listing.show(prefix)),
                    None => {}
                }
            }
            true
        }
        Version::Two => {
            writer.optional("ContinuationToken", token);
            if let Some(start_after) = call.query.get_filled("start-after") {
                writer.text("StartAfter", &listing.show(start_after));
            }
            if page.is_truncated {
                writer.optional("NextContinuationToken", page.entries.last().map(token_behind).as_deref());
            }
            writer.value("KeyCount", page.entries.len());
            call.query.get("fetch-owner").is_some_and(|value| value.eq_ignore_ascii_case("true"))
        }
    };
    writer.value("MaxKeys", listing.limit);
    writer.value("IsTruncated", page.is_truncated);
    write_entries(&mut writer, &listing, &page, has_owner.then_some(bucket));
    writer.close("ListBucketResult");
    Ok(response::xml(writer))
}

fn write_entries(writer: &mut XmlWriter, listing: &Listing<'_>, page: &ObjectPage, owner: Option<&Bucket>) {
    for entry in &page.entries {
        if let ListEntry::Item(object) = entry {
            write_object(writer, listing, object, owner);
        }
    }
    for entry in &page.entries {
        if let ListEntry::Prefix(prefix) = entry {
            listing.write_common_prefix(writer, prefix);
        }
    }
}

fn write_object(writer: &mut XmlWriter, listing: &Listing<'_>, object: &ObjectSummary, owner: Option<&Bucket>) {
    writer.open("Contents");
    writer.text("Key", &listing.show(object.key.as_str()));
    writer.bytes("LastModified", &date::iso8601(object.last_modified_ms));
    writer.etag("ETag", object.etag);
    write_checksum_kind(writer, object.checksum);
    writer.value("Size", object.length);
    if let Some(bucket) = owner {
        write_account(writer, "Owner", bucket.owner, &bucket.owner_name);
    }
    writer.text("StorageClass", "STANDARD");
    writer.close("Contents");
}

/// Says where the next page begins: `k` and a key, or `p` and a folder, in Base64.
fn token_behind(entry: &ListEntry<ObjectSummary>) -> String {
    let text = match entry {
        ListEntry::Item(object) => format!("k{}", object.key),
        ListEntry::Prefix(prefix) => format!("p{prefix}"),
    };
    base64::encode(text.as_bytes())
}

fn parse_token(token: &str) -> S3Result<ListPosition> {
    let invalid = || S3Error::invalid_argument("continuation-token", token, "The continuation token provided is incorrect");
    let text = base64::decode(token.as_bytes()).and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(invalid)?;
    match text.split_at_checked(1) {
        Some(("k", key)) => Ok(ListPosition::Key(key.to_owned())),
        Some(("p", prefix)) => Ok(ListPosition::Prefix(prefix.to_owned())),
        _ => Err(invalid()),
    }
}
