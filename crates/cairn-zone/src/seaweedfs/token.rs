//! Tokens for volume servers (RFC 7519, HS256), signed here. A master would sign them too, but they live 10 s from when it assigns, and it
//! signs none for keys that it did not give out.

use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::format::Fid;

/// `{"alg":"HS256","typ":"JWT"}`.
const HEADER: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9";
/// How long a token is good for. It covers the clocks of two machines and one request; it is for one needle only.
const LIFE: Duration = Duration::from_secs(120);

/// A token for one needle, as the value of `Authorization`. `now` is the time since 1970.
pub fn bearer(key: &[u8], fid: Fid, now: Duration) -> String {
    let claims = format!("{{\"fid\":\"{fid}\",\"exp\":{}}}", (now + LIFE).as_secs());
    let signed = format!("{HEADER}.{}", base64url(claims.as_bytes()));
    // HMAC takes keys of any length.
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap_or_else(|_| unreachable!("HMAC takes keys of any length"));
    mac.update(signed.as_bytes());
    format!("Bearer {signed}.{}", base64url(&mac.finalize().into_bytes()))
}

/// RFC 4648, section 5, without padding.
fn base64url(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let mut bits = 0_u32;
        for at in 0..3 {
            bits = bits << 8 | u32::from(group.get(at).copied().unwrap_or(0));
        }
        for at in 0..=group.len() {
            let digit = bits >> (18 - 6 * at) & 63;
            out.push(char::from(DIGITS[digit as usize]));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_rfc_4648() {
        for (plain, encoded) in [("", ""), ("f", "Zg"), ("fo", "Zm8"), ("foo", "Zm9v"), ("foob", "Zm9vYg"), ("fooba", "Zm9vYmE")]
        {
            assert_eq!(base64url(plain.as_bytes()), encoded);
        }
        assert_eq!(base64url(&[0xfb, 0xff]), "-_8", "the alphabet for URLs");
        assert_eq!(base64url(br#"{"alg":"HS256","typ":"JWT"}"#), HEADER);
    }

    #[test]
    fn a_token_names_its_needle_and_ends() {
        let fid = Fid { volume: 3, key: 0x01, cookie: 0x6370_37d6 };
        let token = bearer(b"secret", fid, Duration::from_secs(1_000));
        // Made with `openssl dgst -sha256 -hmac secret` over header and claims {"fid":"3,1637037d6","exp":1120}.
        assert_eq!(
            token,
            "Bearer eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJmaWQiOiIzLDE2MzcwMzdkNiIsImV4cCI6MTEyMH0.WLQ0AJCy0JSycXRkvE1SZry7bHo0IzJubDuU5jZfMiY"
        );
    }
}
