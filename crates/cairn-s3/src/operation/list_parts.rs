//! `ListParts`.

use cairn_store::api::{Bucket, ListParts, Page, UploadName};

use super::Call;
use super::listing::{parse_limit, write_account, write_checksum_kind};
use crate::checksum::{headers, to_text};
use crate::error::{S3Error, S3Result};
use crate::http::response::{self, S3Response};
use crate::text::date;
use crate::xml::writer::XmlWriter;

pub(super) async fn run(call: &Call<'_>, bucket: &Bucket) -> S3Result<S3Response> {
    let upload_name = UploadName { bucket: bucket.id, key: call.key()?.clone(), upload_id: call.upload_id()? };
    let limit = parse_limit(call, "max-parts")?;
    let after = match call.query.get_filled("part-number-marker") {
        None => 0,
        Some(text) => text.parse::<u32>().ok().filter(|number| i32::try_from(*number).is_ok()).ok_or_else(|| {
            S3Error::invalid_argument(
                "part-number-marker",
                text,
                "Argument part-number-marker must be an integer between 0 and 2147483647",
            )
        })?,
    };
    let upload = call.store().upload(upload_name.clone()).await?;
    let page = if limit == 0 {
        Page { entries: Vec::new(), is_truncated: false }
    } else {
        call.store().list_parts(ListParts { upload: upload_name, after, limit }).await?
    };
    let mut writer = XmlWriter::new(768 + page.entries.len() * 224);
    writer.open_root("ListPartsResult");
    writer.text("Bucket", bucket.name.as_str());
    writer.text("Key", upload.name.key.as_str());
    writer.value("UploadId", upload.name.upload_id);
    write_account(&mut writer, "Initiator", upload.initiator, "");
    write_account(&mut writer, "Owner", bucket.owner, &bucket.owner_name);
    writer.text("StorageClass", "STANDARD");
    writer.value("PartNumberMarker", after);
    // AWS describes it for truncated lists, and the AWS SDK for JavaScript asks for pages for as long as it is there.
    if let Some(last) = page.entries.last().filter(|_| page.is_truncated) {
        writer.value("NextPartNumberMarker", last.part_number);
    }
    writer.value("MaxParts", limit);
    writer.value("IsTruncated", page.is_truncated);
    write_checksum_kind(&mut writer, upload.checksum);
    for part in &page.entries {
        writer.open("Part");
        writer.value("PartNumber", part.part_number);
        writer.bytes("LastModified", &date::iso8601(part.last_modified_ms));
        writer.etag("ETag", part.etag);
        writer.value("Size", part.length);
        // Of an upload that was begun without an algorithm, AWS tells none.
        if let Some(checksum) = part.checksum.as_ref().filter(|_| upload.checksum.is_some()) {
            writer.text(headers::element_name(checksum.algorithm()), &to_text(checksum));
        }
        writer.close("Part");
    }
    writer.close("ListPartsResult");
    Ok(response::xml(writer))
}
