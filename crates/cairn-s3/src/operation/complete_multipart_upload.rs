//! `CompleteMultipartUpload`: the parts that the client names are held against those that were stored, the object's entity tag and checksum
//! are made from theirs, and the store commits exactly these parts or none.
//!
//! AWS may answer 200 first and an error in the body, because completing takes it minutes. Here it is one commit that costs by the number
//! of parts, so that errors have their status.

use cairn_store::api::{Bucket, CompleteUpload, Digests, Part, StoreError, Upload, UploadName, UploadState, Written};
use cairn_types::{Checksum, ChecksumAlgorithm, ChecksumType, ETag};
use http::HeaderMap;

use super::put_object::DEFAULT_CHECKSUM;
use super::{Call, object_headers, too_large};
use crate::checksum::{headers, multipart, to_text};
use crate::error::{S3Error, S3Result, code};
use crate::http::condition::{parse_etag, write_condition};
use crate::http::response::{self, S3Response};
use crate::text::base64;
use crate::xml::reader;
use crate::xml::writer::XmlWriter;

/// The most parts of an upload (AWS).
pub const PARTS_MAX: usize = 10_000;

/// How often the parts are read anew when they change under a completion.
const ATTEMPTS: u32 = 3;

/// A part as the client names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedPart {
    /// 1 to 10,000.
    pub part_number: u32,
    /// Its entity tag as text; what is none matches no part.
    pub etag: String,
    /// Its checksums.
    pub checksums: Vec<Checksum>,
}

pub(super) async fn run(call: &mut Call<'_>, bucket: &Bucket) -> S3Result<S3Response> {
    let upload_name = UploadName { bucket: bucket.id, key: call.key()?.clone(), upload_id: call.upload_id()? };
    let condition = write_condition(call.headers)?;
    // Two checksums are wrong whatever the upload is.
    headers::claimed(call.headers)?;
    let document = call.list_document().await?;
    let named = parse_part_list(&document)?;
    let mut attempt = 1;
    loop {
        let (upload, stored) = match call.store().upload_for_completion(upload_name.clone()).await? {
            UploadState::Open(upload, parts) => (upload, parts),
            UploadState::Completed(written) => return Ok(answer(call, bucket, &written)),
        };
        check_kind(call.headers, &upload)?;
        check_named(&named, &upload)?;
        let parts = select(call, &named, &stored)?;
        let digests = digests(call.headers, &upload, &parts)?;
        let request = CompleteUpload {
            upload: upload_name.clone(),
            parts: parts.iter().map(|part| (part.part_number, part.revision)).collect(),
            digests,
            condition: condition.clone(),
        };
        match call.store().complete_upload(request).await {
            Ok(written) => return Ok(answer(call, bucket, &written)),
            Err(StoreError::PartsChanged) if attempt < ATTEMPTS => attempt += 1,
            Err(error) => return Err(error.into()),
        }
    }
}

impl Call<'_> {
    /// The list of parts. The checksum in the headers is the object's, not the list's.
    async fn list_document(&mut self) -> S3Result<bytes::Bytes> {
        let mut own = HeaderMap::new();
        if let Some(value) = self.headers.get("content-md5") {
            own.insert("content-md5", value.clone());
        }
        let promised = headers::Promised::parse(&own)?;
        let length = self.body_length()?.ok_or_else(|| S3Error::new(&code::MISSING_CONTENT_LENGTH))?;
        let bytes_max = self.limits().part_list_bytes_max;
        self.body(length, promised, false, None).read_all(bytes_max).await
    }
}

/// Reads a `CompleteMultipartUpload`.
pub fn parse_part_list(document: &[u8]) -> S3Result<Vec<NamedPart>> {
    if document.is_empty() {
        return Err(reader::malformed());
    }
    let root = reader::parse(document, "CompleteMultipartUpload")?;
    let mut parts: Vec<NamedPart> = Vec::new();
    for part in root.children_named("Part") {
        let number = part.child_text("PartNumber").ok_or_else(reader::malformed)?;
        let part_number = match number.trim().parse::<i64>() {
            Ok(number) => u32::try_from(number).ok().filter(|number| (1..=10_000).contains(number)).ok_or_else(|| {
                S3Error::invalid_argument("PartNumber", number.to_string(), "PartNumber must be between 1 and 10000")
            })?,
            Err(_) => return Err(reader::malformed()),
        };
        let etag = part.child_text("ETag").ok_or_else(reader::malformed)?.to_owned();
        let mut checksums = Vec::new();
        for algorithm in ChecksumAlgorithm::ALL {
            if let Some(text) = part.child_text(headers::element_name(algorithm)) {
                checksums.push(headers::parse_value(algorithm, text.as_bytes()).ok_or_else(|| invalid_checksum(part_number))?);
            }
        }
        if checksums.len() > 1 {
            return Err(invalid_checksum(part_number));
        }
        if parts.last().is_some_and(|last| last.part_number >= part_number) {
            return Err(S3Error::new(&code::INVALID_PART_ORDER));
        }
        parts.push(NamedPart { part_number, etag, checksums });
    }
    if parts.is_empty() {
        return Err(S3Error::invalid_request("You must specify at least one part"));
    }
    if parts.len() > PARTS_MAX {
        return Err(reader::malformed());
    }
    Ok(parts)
}

fn invalid_checksum(part_number: u32) -> S3Error {
    S3Error::invalid_argument("PartNumber", part_number.to_string(), "Invalid Base64 or multiple checksums present in request")
}

/// Holds the kind of checksum that the request names against the upload's. One that was begun without has none.
fn check_kind(headers: &HeaderMap, upload: &Upload) -> S3Result<()> {
    let Some(value) = headers.get("x-amz-checksum-type") else { return Ok(()) };
    let claimed = headers::parse_kind(value.as_bytes()).ok_or_else(|| headers::invalid_value("x-amz-checksum-type"))?;
    let own = upload.checksum.map(|(_, kind)| kind);
    if own == Some(claimed) {
        return Ok(());
    }
    Err(S3Error::invalid_request(format!(
        "The upload was created using the {} checksum mode. The complete request must use the same checksum mode.",
        own.map_or("null", ChecksumType::name)
    )))
}

/// Holds the checksums in the list against what the upload was created with (AWS: a composite checksum needs those of all parts).
fn check_named(named: &[NamedPart], upload: &Upload) -> S3Result<()> {
    let Some((algorithm, kind)) = upload.checksum else { return Ok(()) };
    for part in named {
        match part.checksums.first() {
            Some(claimed) if claimed.algorithm() != algorithm => {
                let name = claimed.algorithm().name().to_ascii_lowercase();
                let message = format!("The {name} you specified for part {} did not match what we received.", part.part_number);
                return Err(S3Error::with_message(&code::BAD_DIGEST, message));
            }
            None if kind == ChecksumType::Composite => {
                return Err(S3Error::invalid_request(format!(
                    "The upload was created using a {} checksum. The complete request must include the checksum for each part. It was \
                     missing for part {} in the request.",
                    algorithm.name().to_ascii_lowercase(),
                    part.part_number
                )));
            }
            _ => {}
        }
    }
    Ok(())
}

/// The stored parts that were named, if they are what the client says and large enough.
fn select<'p>(call: &Call<'_>, named: &[NamedPart], stored: &'p [Part]) -> S3Result<Vec<&'p Part>> {
    let mut parts = Vec::with_capacity(named.len());
    for name in named {
        let invalid = || {
            S3Error::new(&code::INVALID_PART)
                .field("UploadId", call.query.get("uploadId").unwrap_or_default())
                .field("PartNumber", name.part_number.to_string())
                .field("ETag", name.etag.trim_matches('"'))
        };
        let found = stored.binary_search_by_key(&name.part_number, |part| part.part_number).ok();
        let part = found.and_then(|at| stored.get(at)).ok_or_else(invalid)?;
        if parse_etag(&name.etag) != Some(part.etag) {
            return Err(invalid());
        }
        // Parts of an upload without an algorithm keep the default checksum only. SDKs name there the one that they sent with the part, which was
        // held against its bytes then, and the entity tag says that it is this part still. (AWS refuses such a list.)
        let is_own =
            |claimed: &Checksum| part.checksum.is_none_or(|own| claimed.algorithm() != own.algorithm() || *claimed == own);
        if !name.checksums.iter().all(is_own) {
            return Err(invalid());
        }
        parts.push(part);
    }
    let minimum = call.limits().part_bytes_min;
    let not_last = parts.len().saturating_sub(1);
    if let Some(part) = parts.iter().take(not_last).find(|part| part.length < minimum) {
        return Err(S3Error::new(&code::ENTITY_TOO_SMALL)
            .field("ProposedSize", part.length.to_string())
            .field("MinSizeAllowed", minimum.to_string())
            .field("PartNumber", part.part_number.to_string())
            .field("ETag", part.etag.to_string()));
    }
    let length = parts.iter().fold(0_u64, |sum, part| sum.saturating_add(part.length));
    if length > call.limits().object_bytes_max {
        return Err(too_large(length, call.limits().object_bytes_max));
    }
    if let Some(value) = call.header("x-amz-mp-object-size") {
        let text = String::from_utf8_lossy(value);
        let expected: u64 = text.parse().map_err(|_| {
            let is_negative = text.parse::<i64>().is_ok_and(|number| number < 0);
            let about = if is_negative { "less than zero" } else { "invalid" };
            S3Error::invalid_request(format!("Value for x-amz-mp-object-size header is {about}: '{text}'"))
        })?;
        if expected != length {
            return Err(S3Error::invalid_request(format!(
                "The provided 'x-amz-mp-object-size' header value {expected} does not match what was computed: {length}"
            )));
        }
    }
    Ok(parts)
}

fn digests(headers: &HeaderMap, upload: &Upload, parts: &[&Part]) -> S3Result<Digests> {
    let etags: Vec<ETag> = parts.iter().map(|part| part.etag).collect();
    // Without a choice at the beginning, AWS's default: every part has it.
    let kind = upload.checksum.or(Some((DEFAULT_CHECKSUM, ChecksumType::FullObject)));
    let known: Vec<_> = parts.iter().map(|part| (part.checksum, part.length)).collect();
    let checksum = kind.and_then(|(algorithm, kind)| multipart::combine_checksums(algorithm, kind, &known));
    if let Some((algorithm, value)) = headers::claimed(headers)? {
        let invalid = || headers::invalid_value(headers::header_name(algorithm));
        let (claimed, count) = parse_object_checksum(algorithm, value).ok_or_else(invalid)?;
        if let Some((own, _)) = upload.checksum.filter(|(own, _)| *own != algorithm) {
            return Err(differs_from_computed(own));
        }
        // One that is not kept is computed from the parts where it can be; else there is nothing to hold the promise against (AWS ignores it).
        let own = checksum
            .filter(|own| own.algorithm() == algorithm)
            .or_else(|| multipart::combine_checksums(algorithm, ChecksumType::FullObject, &known));
        let differs = |own: Checksum| own.value() != claimed || count.is_some_and(|count| count != own.part_count());
        if own.is_some_and(differs) {
            return Err(differs_from_computed(algorithm));
        }
    }
    Ok(Digests { etag: multipart::combine_etags(&etags), checksum })
}

fn differs_from_computed(algorithm: ChecksumAlgorithm) -> S3Error {
    let name = algorithm.name().to_ascii_lowercase();
    S3Error::with_message(&code::BAD_DIGEST, format!("The {name} you specified did not match the calculated checksum."))
}

/// An object's checksum as clients write it: a composite one with or without its number of parts.
fn parse_object_checksum(algorithm: ChecksumAlgorithm, value: &[u8]) -> Option<(Vec<u8>, Option<u32>)> {
    let text = std::str::from_utf8(value).ok()?.trim();
    let (text, count) = match text.split_once('-') {
        None => (text, None),
        Some((text, count)) if count.bytes().all(|byte| byte.is_ascii_digit()) => (text, Some(count.parse().ok()?)),
        Some(_) => return None,
    };
    base64::decode(text.as_bytes()).filter(|bytes| bytes.len() == algorithm.length()).map(|bytes| (bytes, count))
}

fn answer(call: &Call<'_>, bucket: &Bucket, written: &Written) -> S3Response {
    let key = call.key.as_ref().map(cairn_types::ObjectKey::as_str).unwrap_or_default();
    let host = call.header("host").map(String::from_utf8_lossy).unwrap_or_default();
    let mut writer = XmlWriter::new(640 + key.len() * 2);
    writer.open_root("CompleteMultipartUploadResult");
    let scheme = if call.shared.config.is_tls { "https" } else { "http" };
    writer.text("Location", &format!("{scheme}://{host}{}", call.parts.uri.path()));
    writer.text("Bucket", bucket.name.as_str());
    writer.text("Key", key);
    writer.etag("ETag", written.etag);
    if let Some(checksum) = &written.checksum {
        writer.text(headers::element_name(checksum.algorithm()), &to_text(checksum));
        writer.text("ChecksumType", checksum.checksum_type().name());
    }
    writer.close("CompleteMultipartUploadResult");
    let mut response = response::xml(writer);
    object_headers::set_new_version(response.headers_mut(), written.version_id, written.versioning);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn part_lists_are_read_and_bounded() {
        let part =
            |number: &str| format!("<Part><PartNumber>{number}</PartNumber><ETag>&quot;{}&quot;</ETag></Part>", "ab".repeat(16));
        let list =
            |parts: &str| parse_part_list(format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>").as_bytes());
        let parts = list(
            &(part("1")
                + &part("3")
                + "<Part><ETag>x</ETag><PartNumber>7</PartNumber><ChecksumCRC32>AAAAAA==</ChecksumCRC32></Part>"),
        )
        .unwrap();
        assert_eq!(parts.iter().map(|part| part.part_number).collect::<Vec<_>>(), [1, 3, 7]);
        assert_eq!(parts[2].checksums.len(), 1);
        let code = |parts: &str| list(parts).unwrap_err().code().name;
        assert_eq!(code(""), "InvalidRequest");
        assert_eq!(code("<Part><PartNumber>1</PartNumber></Part>"), "MalformedXML");
        assert_eq!(code(&part("x")), "MalformedXML");
        assert_eq!(code(&part("0")), "InvalidArgument");
        assert_eq!(code(&part("10001")), "InvalidArgument");
        assert_eq!(code(&(part("2") + &part("1"))), "InvalidPartOrder");
        assert_eq!(code(&(part("1") + &part("1"))), "InvalidPartOrder");
        let all: String = (1..=10_000).map(|number| part(&number.to_string())).collect();
        assert_eq!(list(&all).unwrap().len(), 10_000);
    }

    #[test]
    fn a_checksum_of_an_object_is_one_with_or_without_its_number_of_parts() {
        let parse = |text: &str| parse_object_checksum(ChecksumAlgorithm::Crc32, text.as_bytes());
        assert_eq!(parse("ImIEBA=="), Some((vec![0x22, 0x62, 0x04, 0x04], None)));
        assert_eq!(parse("ImIEBA==-3"), Some((vec![0x22, 0x62, 0x04, 0x04], Some(3))));
        for bad in ["invalid_checksum", "ImIEBA==-smth", "ImIEBA==-", "ImIEBA==--3", "ImIEBA==-1-2", "ImIEBA==-99999999999", "-1"]
        {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
