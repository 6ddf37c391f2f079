//! Signature Version 4, from AWS's pages.

use std::fmt::Write as _;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use super::{BodyMode, S3Client, S3Request, wire};

const EMPTY_SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// A checksum that a trailer holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checksum {
    /// CRC32.
    Crc32,
    /// CRC32C.
    Crc32c,
    /// CRC64NVME.
    Crc64Nvme,
    /// SHA-256.
    Sha256,
}

impl Checksum {
    /// The header's name.
    #[must_use]
    pub fn header(self) -> &'static str {
        match self {
            Self::Crc32 => "x-amz-checksum-crc32",
            Self::Crc32c => "x-amz-checksum-crc32c",
            Self::Crc64Nvme => "x-amz-checksum-crc64nvme",
            Self::Sha256 => "x-amz-checksum-sha256",
        }
    }

    /// The value over bytes, in Base64.
    #[must_use]
    pub fn value(self, bytes: &[u8]) -> String {
        let crc = |algorithm| crc_fast::checksum(algorithm, bytes);
        match self {
            Self::Crc32 => base64(&crc(crc_fast::CrcAlgorithm::Crc32IsoHdlc).to_be_bytes()[4..]),
            Self::Crc32c => base64(&crc(crc_fast::CrcAlgorithm::Crc32Iscsi).to_be_bytes()[4..]),
            Self::Crc64Nvme => base64(&crc(crc_fast::CrcAlgorithm::Crc64Nvme).to_be_bytes()),
            Self::Sha256 => base64(&Sha256::digest(bytes)),
        }
    }
}

/// Percent-encoding as SigV4 has it.
#[must_use]
pub fn encode(text: &str, keep_slash: bool) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || (keep_slash && byte == b'/') {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for group in bytes.chunks(3) {
        let word = u32::from_be_bytes([0, group[0], group.get(1).copied().unwrap_or(0), group.get(2).copied().unwrap_or(0)]);
        for place in 0..4 {
            let symbol = ALPHABET[(word >> (18 - 6 * place)) as usize & 63];
            out.push(if place <= group.len() { char::from(symbol) } else { '=' });
        }
    }
    out
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

fn sha256(bytes: &[u8]) -> String {
    hexadecimal(&Sha256::digest(bytes))
}

fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    let Ok(mut state) = Hmac::<Sha256>::new_from_slice(key) else { return Vec::new() };
    state.update(text.as_bytes());
    state.finalize().into_bytes().to_vec()
}

/// Path and query as they are sent.
pub(super) fn target(path: &str, query: &[(String, String)]) -> String {
    if query.is_empty() { path.to_owned() } else { format!("{path}?{}", canonical_query(query)) }
}

fn canonical_query(query: &[(String, String)]) -> String {
    let mut pairs: Vec<_> = query.iter().map(|(name, value)| (encode(name, false), encode(value, false))).collect();
    // By name, then value: `select=` stands before `select-type=`, though `-` sorts before `=`.
    pairs.sort();
    pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

struct Moment {
    /// `YYYYMMDDTHHMMSSZ`.
    text: String,
    scope: String,
    key: Vec<u8>,
}

impl Moment {
    fn now(client: &S3Client) -> Self {
        let text = compact(client.clock.wall().as_secs());
        let date = text[..8].to_owned();
        let mut key = format!("AWS4{}", client.secret_access_key).into_bytes();
        for part in [date.as_str(), &client.region, "s3", "aws4_request"] {
            key = hmac(&key, part);
        }
        Self { scope: format!("{date}/{}/s3/aws4_request", client.region), text, key }
    }

    fn sign(&self, algorithm: &str, rest: &str) -> String {
        hexadecimal(&hmac(&self.key, &format!("{algorithm}\n{}\n{}\n{rest}", self.text, self.scope)))
    }
}

/// Seconds since 1970 as `YYYYMMDDTHHMMSSZ`, day by day: slow and plain.
fn compact(seconds: u64) -> String {
    let (mut days, of_day) = (seconds / 86_400, seconds % 86_400);
    let is_leap = |year: u64| (year.is_multiple_of(4) && !year.is_multiple_of(100)) || year.is_multiple_of(400);
    let mut year = 1970;
    while days >= 365 + u64::from(is_leap(year)) {
        days -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let february = 28 + u64::from(is_leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    format!("{year:04}{month:02}{:02}T{:02}{:02}{:02}Z", days + 1, of_day / 3600, of_day / 60 % 60, of_day % 60)
}

fn canonical_headers(headers: &[(String, String)]) -> (String, String) {
    let mut sorted: Vec<_> = headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.trim())).collect();
    sorted.sort();
    let lines = sorted.iter().fold(String::new(), |mut out, (name, value)| {
        let _ = writeln!(out, "{name}:{}", value.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" "));
        out
    });
    let names: Vec<&str> = sorted.iter().map(|(name, _)| name.as_str()).collect();
    (lines, names.join(";"))
}

fn seed_signature(
    moment: &Moment,
    request: &S3Request,
    query: &[(String, String)],
    headers: &[(String, String)],
    payload: &str,
) -> (String, String) {
    let (lines, names) = canonical_headers(headers);
    let canonical = format!("{}\n{}\n{}\n{lines}\n{names}\n{payload}", request.method, request.path, canonical_query(query));
    (moment.sign("AWS4-HMAC-SHA256", &sha256(canonical.as_bytes())), names)
}

pub(super) fn signed(client: &S3Client, request: &S3Request) -> Vec<u8> {
    let moment = Moment::now(client);
    let mut headers = request.headers.clone();
    let mut add = |name: &str, value: String| {
        // A test that gives a header itself means it.
        if !headers.iter().any(|(own, _)| own == name) {
            headers.push((name.to_owned(), value));
        }
    };
    add("host", client.host.clone());
    add("x-amz-date", moment.text.clone());
    let payload = match request.mode {
        BodyMode::Signed => sha256(&request.body),
        BodyMode::Unsigned => "UNSIGNED-PAYLOAD".to_owned(),
        BodyMode::ChunkedSigned(_) => "STREAMING-AWS4-HMAC-SHA256-PAYLOAD".to_owned(),
        BodyMode::ChunkedSignedTrailer(..) => "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER".to_owned(),
        BodyMode::ChunkedUnsignedTrailer(..) => "STREAMING-UNSIGNED-PAYLOAD-TRAILER".to_owned(),
    };
    add("x-amz-content-sha256", payload);
    if !matches!(request.mode, BodyMode::Signed | BodyMode::Unsigned) {
        add("content-encoding", "aws-chunked".to_owned());
        add("x-amz-decoded-content-length", request.body.len().to_string());
    }
    if let BodyMode::ChunkedSignedTrailer(_, checksum) | BodyMode::ChunkedUnsignedTrailer(_, checksum) = request.mode {
        add("x-amz-trailer", checksum.header().to_owned());
    }
    let payload =
        headers.iter().find(|(name, _)| name == "x-amz-content-sha256").map(|(_, value)| value.clone()).unwrap_or_default();
    let unsigned = ["content-length", "expect", "transfer-encoding", "connection"];
    let to_sign: Vec<_> = headers.iter().filter(|(name, _)| !unsigned.contains(&name.as_str())).cloned().collect();
    let (seed, names) = seed_signature(&moment, request, &request.query, &to_sign, &payload);
    let body = encode_body(&moment, request, &seed);
    if !headers.iter().any(|(name, _)| name == "content-length" || name == "transfer-encoding") {
        headers.push(("content-length".to_owned(), body.len().to_string()));
    }
    headers.push((
        "authorization".to_owned(),
        format!("AWS4-HMAC-SHA256 Credential={}/{},SignedHeaders={names},Signature={seed}", client.access_key_id, moment.scope),
    ));
    wire::request_bytes(&request.method, &target(&request.path, &request.query), &headers, &body)
}

fn encode_body(moment: &Moment, request: &S3Request, seed: &str) -> Vec<u8> {
    let (chunk_bytes, is_signed, trailer) = match request.mode {
        BodyMode::Signed | BodyMode::Unsigned => return request.body.clone(),
        BodyMode::ChunkedSigned(chunk) => (chunk, true, None),
        BodyMode::ChunkedSignedTrailer(chunk, checksum) => (chunk, true, Some(checksum)),
        BodyMode::ChunkedUnsignedTrailer(chunk, checksum) => (chunk, false, Some(checksum)),
    };
    let mut out = Vec::new();
    let mut previous = seed.to_owned();
    for chunk in request.body.chunks(chunk_bytes.max(1)).chain([&b""[..]]) {
        if is_signed {
            previous = moment.sign("AWS4-HMAC-SHA256-PAYLOAD", &format!("{previous}\n{EMPTY_SHA256}\n{}", sha256(chunk)));
            out.extend_from_slice(format!("{:x};chunk-signature={previous}\r\n", chunk.len()).as_bytes());
        } else {
            out.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        }
        if !chunk.is_empty() {
            out.extend_from_slice(chunk);
            out.extend_from_slice(b"\r\n");
        }
    }
    if let Some(checksum) = trailer {
        let value = checksum.value(&request.body);
        out.extend_from_slice(format!("{}:{value}\r\n", checksum.header()).as_bytes());
        if is_signed {
            let lines = format!("{}:{value}\n", checksum.header());
            let signature = moment.sign("AWS4-HMAC-SHA256-TRAILER", &format!("{previous}\n{}", sha256(lines.as_bytes())));
            out.extend_from_slice(format!("x-amz-trailer-signature:{signature}\r\n").as_bytes());
        }
    }
    out.extend_from_slice(b"\r\n");
    out
}

pub(super) fn presigned(client: &S3Client, request: &S3Request, expires_seconds: u64) -> String {
    let moment = Moment::now(client);
    let mut headers = request.headers.clone();
    headers.push(("host".to_owned(), client.host.clone()));
    let (_, names) = canonical_headers(&headers);
    let mut query = request.query.clone();
    for (name, value) in [
        ("X-Amz-Algorithm", "AWS4-HMAC-SHA256".to_owned()),
        ("X-Amz-Credential", format!("{}/{}", client.access_key_id, moment.scope)),
        ("X-Amz-Date", moment.text.clone()),
        ("X-Amz-Expires", expires_seconds.to_string()),
        ("X-Amz-SignedHeaders", names),
    ] {
        query.push((name.to_owned(), value));
    }
    let (signature, _) = seed_signature(&moment, request, &query, &headers, "UNSIGNED-PAYLOAD");
    query.push(("X-Amz-Signature".to_owned(), signature));
    target(&request.path, &query)
}

/// The fields by which a form is signed: a policy with these conditions (JSON, separated by commas), which holds for so long.
pub(super) fn form_fields(client: &S3Client, conditions: &str, expires_seconds: i64) -> Vec<(String, String)> {
    let moment = Moment::now(client);
    let end = compact(client.clock.wall().as_secs().saturating_add_signed(expires_seconds));
    let expiration =
        format!("{}-{}-{}T{}:{}:{}.000Z", &end[..4], &end[4..6], &end[6..8], &end[9..11], &end[11..13], &end[13..15]);
    let mut fields = vec![
        ("x-amz-algorithm".to_owned(), "AWS4-HMAC-SHA256".to_owned()),
        ("x-amz-credential".to_owned(), format!("{}/{}", client.access_key_id, moment.scope)),
        ("x-amz-date".to_owned(), moment.text.clone()),
    ];
    let own: Vec<String> = fields.iter().map(|(name, value)| format!("{{\"{name}\": \"{value}\"}}")).collect();
    let comma = if conditions.is_empty() { "" } else { ", " };
    let text = format!("{{\"expiration\": \"{expiration}\", \"conditions\": [{conditions}{comma}{}]}}", own.join(", "));
    let policy = base64(text.as_bytes());
    fields.push(("x-amz-signature".to_owned(), hexadecimal(&hmac(&moment.key, &policy))));
    fields.push(("policy".to_owned(), policy));
    fields
}
