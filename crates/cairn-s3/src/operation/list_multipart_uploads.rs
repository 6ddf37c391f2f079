//! `ListMultipartUploads`.

use cairn_store::api::{Bucket, ListEntry, ListUploads, Page, Upload, UploadPosition};
use cairn_types::{ObjectKey, UploadId};

use super::Call;
use super::listing::{Listing, write_account, write_checksum_kind};
use crate::error::{S3Error, S3Result};
use crate::http::response::{self, S3Response};
use crate::text::date;
use crate::xml::writer::XmlWriter;

pub(super) async fn run(call: &Call<'_>, bucket: &Bucket) -> S3Result<S3Response> {
    let listing = Listing::parse(call, "max-uploads")?;
    let key_marker = call.query.get_filled("key-marker");
    // Without a key it means nothing (AWS ignores it).
    let upload_marker = call.query.get_filled("upload-id-marker").filter(|_| key_marker.is_some());
    let after = match (key_marker, upload_marker) {
        (None, _) => None,
        (Some(key), None) => Some(UploadPosition::Name(listing.position(key))),
        (Some(key), Some(upload)) => {
            let invalid = || S3Error::invalid_argument("upload-id-marker", upload, "Invalid uploadId marker");
            let upload = UploadId::parse(upload).ok_or_else(invalid)?;
            let key: ObjectKey = key.parse().map_err(|_| invalid())?;
            Some(UploadPosition::Upload(key, upload))
        }
    };
    let page = if listing.limit == 0 {
        Page { entries: Vec::new(), is_truncated: false }
    } else {
        let request = ListUploads {
            bucket: bucket.id,
            prefix: listing.prefix.to_owned(),
            delimiter: listing.delimiter.map(str::to_owned),
            after,
            limit: listing.limit,
        };
        call.store().list_uploads(request).await?
    };
    let mut writer = XmlWriter::new(512 + page.entries.len() * 448);
    writer.open_root("ListMultipartUploadsResult");
    writer.text("Bucket", bucket.name.as_str());
    writer.text("KeyMarker", &listing.show(key_marker.unwrap_or_default()));
    writer.text("UploadIdMarker", upload_marker.unwrap_or_default());
    // Of a page that is the last one too, the last upload (AWS).
    let mut uploads = page.entries.iter().filter_map(|entry| match entry {
        ListEntry::Item(upload) => Some(upload),
        ListEntry::Prefix(_) => None,
    });
    match page.entries.last() {
        Some(ListEntry::Prefix(prefix)) if page.is_truncated => {
            writer.text("NextKeyMarker", &listing.show(prefix));
            writer.text("NextUploadIdMarker", "");
        }
        _ => {
            let last = uploads.next_back().map(|upload| &upload.name);
            writer.text("NextKeyMarker", &last.map(|name| listing.show(name.key.as_str())).unwrap_or_default());
            writer.text("NextUploadIdMarker", &last.map(|name| name.upload_id.to_string()).unwrap_or_default());
        }
    }
    if !listing.prefix.is_empty() {
        writer.text("Prefix", &listing.show(listing.prefix));
    }
    listing.write_delimiter(&mut writer);
    writer.value("MaxUploads", listing.limit);
    writer.value("IsTruncated", page.is_truncated);
    for entry in &page.entries {
        if let ListEntry::Item(upload) = entry {
            write_upload(&mut writer, &listing, upload, bucket);
        }
    }
    for entry in &page.entries {
        if let ListEntry::Prefix(prefix) = entry {
            listing.write_common_prefix(&mut writer, prefix);
        }
    }
    writer.close("ListMultipartUploadsResult");
    Ok(response::xml(writer))
}

fn write_upload(writer: &mut XmlWriter, listing: &Listing<'_>, upload: &Upload, bucket: &Bucket) {
    writer.open("Upload");
    writer.text("Key", &listing.show(upload.name.key.as_str()));
    writer.value("UploadId", upload.name.upload_id);
    write_account(writer, "Initiator", upload.initiator, "");
    write_account(writer, "Owner", bucket.owner, &bucket.owner_name);
    writer.text("StorageClass", "STANDARD");
    writer.bytes("Initiated", &date::iso8601(upload.initiated_ms));
    write_checksum_kind(writer, upload.checksum);
    writer.close("Upload");
}
