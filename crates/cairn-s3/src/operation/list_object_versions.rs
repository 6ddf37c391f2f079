//! `ListObjectVersions`.

use cairn_store::api::{Bucket, ListEntry, ListVersions, Page, VersionPosition, VersionSummary};
use cairn_types::{ObjectKey, VersionId};

use super::Call;
use super::listing::{Listing, write_account, write_checksum_kind};
use crate::error::{S3Error, S3Result};
use crate::http::response::{self, S3Response};
use crate::text::date;
use crate::xml::writer::XmlWriter;

pub(super) async fn run(call: &Call<'_>, bucket: &Bucket) -> S3Result<S3Response> {
    let listing = Listing::parse(call, "max-keys")?;
    let key_marker = call.query.get_filled("key-marker");
    let version_marker = call.query.get("version-id-marker");
    let page = if listing.limit == 0 {
        Page { entries: Vec::new(), is_truncated: false }
    } else {
        let request = ListVersions {
            bucket: bucket.id,
            prefix: listing.prefix.to_owned(),
            delimiter: listing.delimiter.map(str::to_owned),
            after: position(&listing, key_marker, version_marker)?,
            limit: listing.limit,
        };
        call.store().list_versions(request).await?
    };
    let mut writer = XmlWriter::new(512 + page.entries.len() * 384);
    writer.open_root("ListVersionsResult");
    writer.text("Name", bucket.name.as_str());
    listing.write_prefix_and_delimiter(&mut writer);
    writer.text("KeyMarker", &listing.show(key_marker.unwrap_or_default()));
    writer.text("VersionIdMarker", version_marker.unwrap_or_default());
    if page.is_truncated {
        match page.entries.last() {
            Some(ListEntry::Item(version)) => {
                writer.text("NextKeyMarker", &listing.show(version.key.as_str()));
                writer.value("NextVersionIdMarker", version.version_id);
            }
            Some(ListEntry::Prefix(prefix)) => writer.text("NextKeyMarker", &listing.show(prefix)),
            None => {}
        }
    }
    writer.value("MaxKeys", listing.limit);
    writer.value("IsTruncated", page.is_truncated);
    for entry in &page.entries {
        if let ListEntry::Item(version) = entry {
            write_version(&mut writer, &listing, version, bucket);
        }
    }
    for entry in &page.entries {
        if let ListEntry::Prefix(prefix) = entry {
            listing.write_common_prefix(&mut writer, prefix);
        }
    }
    writer.close("ListVersionsResult");
    Ok(response::xml(writer))
}

fn position(listing: &Listing<'_>, key: Option<&str>, version: Option<&str>) -> S3Result<Option<VersionPosition>> {
    match (key, version) {
        (None, None) => Ok(None),
        (None, Some(version)) => Err(S3Error::invalid_argument(
            "version-id-marker",
            version,
            "A version-id marker cannot be specified without a key marker.",
        )),
        (Some(key), None) => Ok(Some(VersionPosition::Name(listing.position(key)))),
        (Some(_), Some("")) => Err(S3Error::invalid_argument("version-id-marker", "", "A version-id marker cannot be empty.")),
        (Some(key), Some(version)) => {
            let invalid = || S3Error::invalid_argument("version-id-marker", version, "Invalid version id specified");
            let version = VersionId::parse(version).ok_or_else(invalid)?;
            let key: ObjectKey = key.parse().map_err(|_| invalid())?;
            Ok(Some(VersionPosition::Version(key, version)))
        }
    }
}

fn write_version(writer: &mut XmlWriter, listing: &Listing<'_>, version: &VersionSummary, bucket: &Bucket) {
    let element = if version.object.is_some() { "Version" } else { "DeleteMarker" };
    writer.open(element);
    writer.text("Key", &listing.show(version.key.as_str()));
    writer.value("VersionId", version.version_id);
    writer.value("IsLatest", version.is_latest);
    writer.bytes("LastModified", &date::iso8601(version.last_modified_ms));
    if let Some(object) = &version.object {
        writer.etag("ETag", object.etag);
        write_checksum_kind(writer, object.checksum);
        writer.value("Size", object.length);
        writer.text("StorageClass", "STANDARD");
    }
    write_account(writer, "Owner", bucket.owner, &bucket.owner_name);
    writer.close(element);
}
