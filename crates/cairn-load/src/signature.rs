//! Signature Version 4 by header, as AWS documents it ("Authenticating Requests: Using the Authorization Header"), with everything that
//! requests have in common computed once.

use std::fmt::Write as _;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

/// The hash of no bytes, as a header holds it.
pub const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
/// What stands in place of the hash when the body is not signed.
pub const UNSIGNED: &str = "UNSIGNED-PAYLOAD";
/// How long a date is used, seconds. Services accept 15 minutes.
const DATE_SECONDS_MAX: u64 = 60;

/// A key, and the date and scope that its signatures hold.
pub struct Signer {
    access_key_id: String,
    secret_access_key: String,
    region: String,
    host: String,
    made_at: u64,
    date: String,
    scope: String,
    keyed: Hmac<Sha256>,
}

impl Signer {
    /// A signer for requests to this host.
    pub fn new(access_key_id: &str, secret_access_key: &str, region: &str, host: &str, now_seconds: u64) -> Self {
        let mut signer = Self {
            access_key_id: access_key_id.to_owned(),
            secret_access_key: secret_access_key.to_owned(),
            region: region.to_owned(),
            host: host.to_owned(),
            made_at: 0,
            date: String::new(),
            scope: String::new(),
            keyed: keyed(&[]),
        };
        signer.renew(now_seconds);
        signer
    }

    /// Takes a new date where the present one is too old.
    pub fn renew(&mut self, now_seconds: u64) {
        if now_seconds.saturating_sub(self.made_at) < DATE_SECONDS_MAX {
            return;
        }
        self.made_at = now_seconds;
        self.date = compact(now_seconds);
        let day = &self.date[..8];
        self.scope = format!("{day}/{}/s3/aws4_request", self.region);
        let mut key = format!("AWS4{}", self.secret_access_key).into_bytes();
        for part in [day, &self.region, "s3", "aws4_request"] {
            key = keyed(&key).chain_update(part).finalize().into_bytes().to_vec();
        }
        self.keyed = keyed(&key);
    }

    /// Writes the head of a request. `path` and `query` are encoded already, the query sorted; `payload` is the body's hash in hexadecimal
    /// or [`UNSIGNED`].
    pub fn head(&self, out: &mut String, method: &str, path: &str, query: &str, payload: &str, length: Option<u64>) {
        const NAMES: &str = "host;x-amz-content-sha256;x-amz-date";
        let (host, date, scope) = (&self.host, &self.date, &self.scope);
        out.clear();
        let _ = write!(
            out,
            "{method}\n{path}\n{query}\nhost:{host}\nx-amz-content-sha256:{payload}\nx-amz-date:{date}\n\n{NAMES}\n{payload}"
        );
        let hash = hexadecimal(&Sha256::digest(out.as_bytes()));
        out.clear();
        let _ = write!(out, "AWS4-HMAC-SHA256\n{date}\n{scope}\n{hash}");
        let signature = hexadecimal(&self.keyed.clone().chain_update(out.as_bytes()).finalize().into_bytes());
        out.clear();
        let mark = if query.is_empty() { "" } else { "?" };
        let _ = write!(
            out,
            "{method} {path}{mark}{query} HTTP/1.1\r\nHost: {host}\r\nx-amz-date: {date}\r\nx-amz-content-sha256: {payload}\r\n\
             Authorization: AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={NAMES}, Signature={signature}\r\n",
            self.access_key_id
        );
        if let Some(length) = length {
            let _ = write!(out, "Content-Length: {length}\r\n");
        }
        out.push_str("\r\n");
    }
}

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    // HMAC takes keys of any length, so there is no error to give on.
    Hmac::<Sha256>::new_from_slice(key).unwrap_or_else(|_| unreachable!("HMAC takes keys of any length"))
}

/// The SHA-256 of these bytes in hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    hexadecimal(&Sha256::digest(bytes))
}

fn hexadecimal(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut out = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        out.push(char::from(DIGITS[usize::from(byte >> 4)]));
        out.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    out
}

/// Percent-encoding of a query's value: everything but unreserved characters.
pub fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// Seconds since 1970 as `YYYYMMDDTHHMMSSZ` (Howard Hinnant's `civil_from_days`, for days since 1970 only).
fn compact(seconds: u64) -> String {
    let (days, of_day) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}{month:02}{day:02}T{:02}{:02}{:02}Z", of_day / 3600, of_day / 60 % 60, of_day % 60)
}

#[cfg(test)]
mod tests;
