//! What listings have in common: their parameters and how they show keys.

use std::borrow::Cow;

use cairn_store::api::ListPosition;
use cairn_types::ChecksumAlgorithm;
use cairn_types::ChecksumType;

use super::Call;
use crate::error::{S3Error, S3Result};
use crate::text::percent;
use crate::xml::writer::XmlWriter;

/// The most entries of an answer (AWS).
pub(super) const ENTRIES_MAX: u32 = 1000;

/// The parameters that every listing of keys has.
pub(super) struct Listing<'a> {
    pub(super) prefix: &'a str,
    pub(super) delimiter: Option<&'a str>,
    /// As it is answered; what is asked of the store is this. 0 asks for nothing.
    pub(super) limit: u32,
    /// `encoding-type=url`.
    pub(super) is_encoded: bool,
}

impl<'a> Listing<'a> {
    /// Reads them; `limit_name` is `max-keys` or `max-uploads`.
    pub(super) fn parse(call: &Call<'a>, limit_name: &'static str) -> S3Result<Self> {
        let query = call.query;
        let is_encoded = match query.get("encoding-type") {
            None => false,
            Some(value) if value.eq_ignore_ascii_case("url") => true,
            Some(value) => {
                return Err(S3Error::invalid_argument("encoding-type", value, "Invalid Encoding Method specified in Request"));
            }
        };
        Ok(Self {
            prefix: query.get("prefix").unwrap_or_default(),
            delimiter: query.get_filled("delimiter"),
            limit: parse_limit(call, limit_name)?,
            is_encoded,
        })
    }

    /// A key or prefix as it is shown.
    pub(super) fn show<'t>(&self, text: &'t str) -> Cow<'t, str> {
        if self.is_encoded { percent::encode(text, true) } else { Cow::Borrowed(text) }
    }

    /// Where a listing goes on that was given a key, or a folder that it has shown.
    pub(super) fn position(&self, marker: &str) -> ListPosition {
        let is_folder = self.delimiter.is_some_and(|delimiter| {
            marker
                .strip_prefix(self.prefix)
                .is_some_and(|rest| rest.find(delimiter).is_some_and(|at| at + delimiter.len() == rest.len()))
        });
        if is_folder { ListPosition::Prefix(marker.to_owned()) } else { ListPosition::Key(marker.to_owned()) }
    }

    pub(super) fn write_prefix_and_delimiter(&self, writer: &mut XmlWriter) {
        writer.text("Prefix", &self.show(self.prefix));
        self.write_delimiter(writer);
    }

    pub(super) fn write_delimiter(&self, writer: &mut XmlWriter) {
        if let Some(delimiter) = self.delimiter {
            writer.text("Delimiter", &self.show(delimiter));
        }
        if self.is_encoded {
            writer.text("EncodingType", "url");
        }
    }

    pub(super) fn write_common_prefix(&self, writer: &mut XmlWriter, prefix: &str) {
        writer.open("CommonPrefixes");
        writer.text("Prefix", &self.show(prefix));
        writer.close("CommonPrefixes");
    }
}

/// A number of entries: 0 to 2^31-1, answered with at most 1,000.
pub(super) fn parse_limit(call: &Call<'_>, name: &'static str) -> S3Result<u32> {
    let Some(text) = call.query.get_filled(name) else { return Ok(ENTRIES_MAX) };
    match text.parse::<i64>() {
        Ok(value) if value < 0 || value > i64::from(i32::MAX) => {
            Err(S3Error::invalid_argument(name, text, format!("Argument {name} must be an integer between 0 and 2147483647")))
        }
        Ok(value) => Ok(u32::try_from(value).unwrap_or(ENTRIES_MAX).min(ENTRIES_MAX)),
        Err(_) => Err(S3Error::invalid_argument(name, text, format!("Provided {name} not an integer or within integer range"))),
    }
}

/// The checksum's algorithm and kind.
pub(super) fn write_checksum_kind(writer: &mut XmlWriter, checksum: Option<(ChecksumAlgorithm, ChecksumType)>) {
    if let Some((algorithm, kind)) = checksum {
        writer.text("ChecksumAlgorithm", algorithm.name());
        writer.text("ChecksumType", kind.name());
    }
}

/// An account as owner or initiator.
pub(super) fn write_account(writer: &mut XmlWriter, element: &str, id: cairn_types::AccountId, name: &str) {
    writer.open(element);
    writer.value("ID", id);
    writer.text("DisplayName", name);
    writer.close(element);
}
