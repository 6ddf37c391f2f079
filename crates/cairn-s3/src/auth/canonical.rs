//! The canonical request: the text that a signature is over (AWS, "Create a signed AWS API request", with S3's exceptions: the path is
//! encoded once and never normalised).
//!
//! It is made from what the server has understood (decoded and encoded again), not from the raw bytes, so that a signature over one
//! request cannot be used for another one that is read differently.

use http::{HeaderMap, HeaderName};

use super::Request;
use crate::error::{S3Error, S3Result, code};
use crate::text::{hexadecimal, percent};

/// How a `/` that a client sent as `%2F` stands in the canonical path. The key is the same for both, so either may have been signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SlashForm {
    /// As `/`, as a client does that encodes the key and sends it in its own way.
    #[default]
    Plain,
    /// As `%2F`, as a client does that signs what it sends.
    Encoded,
}

impl SlashForm {
    /// The forms worth trying for a path.
    pub fn for_path(raw_path: &str) -> &'static [Self] {
        let has_encoded_slash = raw_path.as_bytes().windows(3).any(|window| window.eq_ignore_ascii_case(b"%2f"));
        if has_encoded_slash { &[Self::Plain, Self::Encoded] } else { &[Self::Plain] }
    }
}

/// Refuses a request with headers that a signature must cover and this one does not: `host` and every `x-amz-*`.
pub fn require_signed(headers: &HeaderMap, signed_headers: &str) -> S3Result<()> {
    let is_signed = |name: &str| signed_headers.split(';').any(|signed| signed == name);
    // The digest of the payload is part of what is signed anyway, whether its header is or not.
    let must_be =
        |name: &HeaderName| (name.as_str().starts_with("x-amz-") && name != "x-amz-content-sha256") || name == http::header::HOST;
    let mut missing: Vec<&str> =
        headers.keys().filter(|name| must_be(name) && !is_signed(name.as_str())).map(HeaderName::as_str).collect();
    if !headers.contains_key(http::header::HOST) && !is_signed("host") {
        missing.push("host");
    }
    if missing.is_empty() {
        return Ok(());
    }
    missing.sort_unstable();
    Err(S3Error::with_message(&code::ACCESS_DENIED, "There were headers present in the request which were not signed")
        .field("HeadersNotSigned", missing.join(", ")))
}

/// The canonical request.
#[must_use]
pub fn canonical_request(request: &Request<'_>, signed_headers: &str, payload: &[u8], slash_form: SlashForm) -> Vec<u8> {
    let mut out = Vec::with_capacity(768);
    out.extend_from_slice(request.method.as_bytes());
    out.push(b'\n');
    write_path(&mut out, request.raw_path, slash_form);
    out.push(b'\n');
    write_query(&mut out, request);
    out.push(b'\n');
    for name in signed_headers.split(';') {
        out.extend_from_slice(name.as_bytes());
        out.push(b':');
        write_header_values(&mut out, request.headers, name);
        out.push(b'\n');
    }
    out.push(b'\n');
    out.extend_from_slice(signed_headers.as_bytes());
    out.push(b'\n');
    out.extend_from_slice(payload);
    out
}

fn write_path(out: &mut Vec<u8>, raw_path: &str, slash_form: SlashForm) {
    let mut rest = raw_path.as_bytes();
    if rest.is_empty() {
        out.push(b'/');
    }
    while let Some((byte, tail)) = rest.split_first() {
        rest = tail;
        let decoded = match (byte, rest.split_first_chunk::<2>()) {
            (b'%', Some((pair, tail))) => match pair.map(hexadecimal::digit) {
                [Some(high), Some(low)] => {
                    rest = tail;
                    Some(high << 4 | low)
                }
                _ => None,
            },
            _ => None,
        };
        let is_plain_slash = match decoded {
            Some(byte) => byte == b'/' && slash_form == SlashForm::Plain,
            None => *byte == b'/',
        };
        let value = decoded.unwrap_or(*byte);
        if is_plain_slash || percent::is_unreserved(value) {
            out.push(value);
        } else {
            write_encoded(out, value);
        }
    }
}

fn write_encoded(out: &mut Vec<u8>, byte: u8) {
    let [high, low] = hexadecimal::digits(byte).map(|digit| digit.to_ascii_uppercase());
    out.extend_from_slice(&[b'%', high, low]);
}

fn write_query(out: &mut Vec<u8>, request: &Request<'_>) {
    // Sorted by what is written, not by what it means: `%` sorts before letters.
    let mut parameters: Vec<_> = request
        .query
        .iter()
        .filter(|(name, _)| *name != "X-Amz-Signature")
        .map(|(name, value)| (percent::encode(name, false), percent::encode(value, false)))
        .collect();
    parameters.sort_unstable();
    for (place, (name, value)) in parameters.iter().enumerate() {
        if place > 0 {
            out.push(b'&');
        }
        out.extend_from_slice(name.as_bytes());
        out.push(b'=');
        out.extend_from_slice(value.as_bytes());
    }
}

fn write_header_values(out: &mut Vec<u8>, headers: &HeaderMap, name: &str) {
    for (place, value) in headers.get_all(name).iter().enumerate() {
        if place > 0 {
            out.push(b',');
        }
        // Spaces around are dropped, runs of spaces inside become one.
        let mut space_waits = false;
        for byte in value.as_bytes().trim_ascii() {
            if *byte == b' ' {
                space_waits = true;
                continue;
            }
            if std::mem::take(&mut space_waits) {
                out.push(b' ');
            }
            out.push(*byte);
        }
    }
}
