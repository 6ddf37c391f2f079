//! `GetBucketLocation`. For `us-east-1` AWS answers an empty constraint, and clients rely on it.

use super::Call;
use crate::error::S3Result;
use crate::http::response::{self, S3Response};
use crate::xml::writer::XmlWriter;

#[allow(clippy::unnecessary_wraps, reason = "operations are alike")]
pub(super) fn run(call: &Call<'_>) -> S3Result<S3Response> {
    let mut writer = XmlWriter::new(160);
    writer.open_root("LocationConstraint");
    if call.shared.config.region != "us-east-1" {
        writer.content(&call.shared.config.region);
    }
    writer.close("LocationConstraint");
    Ok(response::xml(writer))
}
