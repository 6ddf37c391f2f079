//! The headers by which clients promise digests and ask for checksums (AWS, "Checking object integrity in Amazon S3").

use cairn_types::{Checksum, ChecksumAlgorithm, ChecksumType};
use http::HeaderMap;

use crate::error::{S3Error, S3Result, code};
use crate::text::base64;

/// The header, or trailing header, of a checksum.
#[must_use]
pub fn header_name(algorithm: ChecksumAlgorithm) -> &'static str {
    match algorithm {
        ChecksumAlgorithm::Crc32 => "x-amz-checksum-crc32",
        ChecksumAlgorithm::Crc32c => "x-amz-checksum-crc32c",
        ChecksumAlgorithm::Crc64Nvme => "x-amz-checksum-crc64nvme",
        ChecksumAlgorithm::Sha1 => "x-amz-checksum-sha1",
        ChecksumAlgorithm::Sha256 => "x-amz-checksum-sha256",
    }
}

/// The XML element of a checksum.
#[must_use]
pub fn element_name(algorithm: ChecksumAlgorithm) -> &'static str {
    match algorithm {
        ChecksumAlgorithm::Crc32 => "ChecksumCRC32",
        ChecksumAlgorithm::Crc32c => "ChecksumCRC32C",
        ChecksumAlgorithm::Crc64Nvme => "ChecksumCRC64NVME",
        ChecksumAlgorithm::Sha1 => "ChecksumSHA1",
        ChecksumAlgorithm::Sha256 => "ChecksumSHA256",
    }
}

/// The algorithm behind a name, of either case.
#[must_use]
pub fn parse_algorithm(name: &str) -> Option<ChecksumAlgorithm> {
    ChecksumAlgorithm::ALL.into_iter().find(|algorithm| algorithm.name().eq_ignore_ascii_case(name))
}

/// Reads a checksum's text as the client wrote it for an object or part in one piece.
#[must_use]
pub fn parse_value(algorithm: ChecksumAlgorithm, text: &[u8]) -> Option<Checksum> {
    Checksum::full_object(algorithm, &base64::decode(text.trim_ascii())?)
}

/// What a request promises about its body.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Promised {
    /// `Content-MD5`.
    pub md5: Option<[u8; 16]>,
    /// An `x-amz-checksum-*` header.
    pub checksum: Option<Checksum>,
    /// A checksum that the trailer will hold (`x-amz-trailer`).
    pub trailer: Option<ChecksumAlgorithm>,
}

impl Promised {
    /// Reads the headers. Refuses what cannot be held: digests that are none, two checksums, unknown algorithms.
    pub fn parse(headers: &HeaderMap) -> S3Result<Self> {
        let md5 = match headers.get("content-md5") {
            None => None,
            Some(value) => {
                let digest = base64::decode(value.as_bytes().trim_ascii()).and_then(|bytes| bytes.try_into().ok());
                Some(digest.ok_or_else(|| {
                    S3Error::new(&code::INVALID_DIGEST).field("Content-MD5", String::from_utf8_lossy(value.as_bytes()))
                })?)
            }
        };
        let checksum = match claimed(headers)? {
            None => None,
            Some((algorithm, value)) => Some(parse_value(algorithm, value).ok_or_else(|| invalid_value(header_name(algorithm)))?),
        };
        let trailer = parse_trailer(headers)?;
        if trailer.is_some() && checksum.is_some() {
            return Err(multiple());
        }
        let promised = Self { md5, checksum, trailer };
        promised.check_sdk_algorithm(headers)?;
        Ok(promised)
    }

    /// The algorithm that the body needs to be hashed with, if the request names one.
    #[must_use]
    pub fn algorithm(&self) -> Option<ChecksumAlgorithm> {
        self.trailer.or_else(|| self.checksum.map(|checksum| checksum.algorithm()))
    }

    /// `x-amz-sdk-checksum-algorithm` announces a checksum; it must be there, and be that one.
    fn check_sdk_algorithm(&self, headers: &HeaderMap) -> S3Result<()> {
        let Some(value) = headers.get("x-amz-sdk-checksum-algorithm") else { return Ok(()) };
        let announced = value.to_str().ok().and_then(parse_algorithm);
        match (announced, self.algorithm()) {
            (Some(announced), Some(actual)) if announced == actual => Ok(()),
            (None, _) | (_, Some(_)) => Err(invalid_value("x-amz-sdk-checksum-algorithm")),
            // A Content-MD5 beside it is AWS's older way to promise the same.
            (Some(_), None) if self.md5.is_some() => Ok(()),
            (Some(_), None) => Err(S3Error::invalid_request(
                "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or x-amz-trailer headers were found.",
            )),
        }
    }
}

/// The one `x-amz-checksum-*` header with a value, as it came. Two are refused, and algorithms that are none or not here.
pub fn claimed(headers: &HeaderMap) -> S3Result<Option<(ChecksumAlgorithm, &[u8])>> {
    /// Algorithms that AWS has added since.
    const NOT_HERE: &[&str] = &["md5", "sha512", "xxhash3", "xxhash64", "xxhash128"];
    let mut found = None;
    for (name, value) in headers {
        let Some(name) = name.as_str().strip_prefix("x-amz-checksum-") else { continue };
        if matches!(name, "algorithm" | "type" | "mode") {
            continue;
        }
        let Some(algorithm) = parse_algorithm(name) else {
            return Err(if NOT_HERE.contains(&name) {
                S3Error::header_not_implemented(&format!("x-amz-checksum-{name}"))
            } else {
                S3Error::invalid_request("The algorithm type you specified in x-amz-checksum- header is invalid.")
            });
        };
        if found.replace((algorithm, value.as_bytes())).is_some() {
            return Err(multiple());
        }
    }
    Ok(found)
}

fn multiple() -> S3Error {
    S3Error::invalid_request("Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.")
}

/// A checksum header with something else in it.
#[must_use]
pub fn invalid_value(header: &str) -> S3Error {
    S3Error::invalid_request(format!("Value for {header} header is invalid."))
}

fn parse_trailer(headers: &HeaderMap) -> S3Result<Option<ChecksumAlgorithm>> {
    let mut values = headers.get_all("x-amz-trailer").iter();
    let Some(value) = values.next() else { return Ok(None) };
    let unsupported = || S3Error::invalid_request("The value specified in the x-amz-trailer header is not supported");
    if values.next().is_some() {
        return Err(multiple());
    }
    let name = value.to_str().map_err(|_| unsupported())?.trim();
    let algorithm = name.to_ascii_lowercase().strip_prefix("x-amz-checksum-").and_then(parse_algorithm);
    algorithm.map(Some).ok_or_else(unsupported)
}

/// Which checksum an upload or copy asks for (`x-amz-checksum-algorithm`, `x-amz-checksum-type`).
pub fn requested(headers: &HeaderMap) -> S3Result<Option<(ChecksumAlgorithm, Option<ChecksumType>)>> {
    let kind = match headers.get("x-amz-checksum-type") {
        None => None,
        Some(value) => Some(parse_kind(value.as_bytes()).ok_or_else(|| invalid_value("x-amz-checksum-type"))?),
    };
    let Some(value) = headers.get("x-amz-checksum-algorithm") else {
        return match kind {
            None => Ok(None),
            Some(_) => Err(S3Error::invalid_request(
                "The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header.",
            )),
        };
    };
    let algorithm = value.to_str().ok().and_then(parse_algorithm).ok_or_else(|| {
        S3Error::invalid_request(
            "Checksum algorithm provided is unsupported. Please try again with any of the valid types: [CRC32, CRC32C, CRC64NVME, SHA1, SHA256]",
        )
    })?;
    Ok(Some((algorithm, kind)))
}

/// The kind behind S3's name.
#[must_use]
pub fn parse_kind(value: &[u8]) -> Option<ChecksumType> {
    [ChecksumType::FullObject, ChecksumType::Composite]
        .into_iter()
        .find(|kind| value.eq_ignore_ascii_case(kind.name().as_bytes()))
}
