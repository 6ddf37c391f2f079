//! `GetBucketVersioning` and `PutBucketVersioning`.

use cairn_store::api::{Bucket, Versioning};
use http::StatusCode;

use super::Call;
use crate::error::{S3Error, S3Result, code};
use crate::http::response::{self, S3Response};
use crate::xml::reader;
use crate::xml::writer::XmlWriter;

pub(super) fn get(bucket: &Bucket) -> S3Response {
    let mut writer = XmlWriter::new(160);
    writer.open_root("VersioningConfiguration");
    match bucket.versioning {
        Versioning::Unversioned => {}
        Versioning::Enabled => writer.text("Status", "Enabled"),
        Versioning::Suspended => writer.text("Status", "Suspended"),
    }
    writer.close("VersioningConfiguration");
    response::xml(writer)
}

pub(super) async fn put(call: &mut Call<'_>, bucket: &Bucket) -> S3Result<S3Response> {
    let document = call.document(call.limits().xml_bytes_max).await?;
    let versioning = parse_versioning(&document)?;
    call.store().set_versioning(bucket.id, versioning).await?;
    Ok(response::empty(StatusCode::OK))
}

/// Reads a `VersioningConfiguration`.
pub fn parse_versioning(document: &[u8]) -> S3Result<Versioning> {
    let root = reader::parse(document, "VersioningConfiguration")?;
    if root.child_text("MfaDelete").is_some_and(|text| text != "Disabled") {
        return Err(S3Error::not_implemented("MFA delete"));
    }
    match root.child_text("Status") {
        Some("Enabled") => Ok(Versioning::Enabled),
        Some("Suspended") => Ok(Versioning::Suspended),
        None => Err(S3Error::new(&code::ILLEGAL_VERSIONING_CONFIGURATION)),
        Some(_) => Err(reader::malformed()),
    }
}
