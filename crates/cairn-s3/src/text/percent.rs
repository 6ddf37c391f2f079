//! Percent-encoding as S3 and SigV4 use it: `A-Z a-z 0-9 - . _ ~` stand for themselves, everything else is `%XX` in upper case, and `/`
//! stands for itself in paths (AWS, "Create a signed request", `UriEncode`).

use std::borrow::Cow;

use super::hexadecimal;

/// A `%` that two hexadecimal digits do not follow, or bytes that are not UTF-8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidEncoding;

/// Whether a byte stands for itself.
#[must_use]
pub fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// Decodes a path: `%XX` only, `+` stands for itself.
pub fn decode_path(text: &str) -> Result<Cow<'_, str>, InvalidEncoding> {
    decode(text, false)
}

/// Decodes a name or value of a query, where `+` is a space, as AWS and every form decoder read it.
pub fn decode_query(text: &str) -> Result<Cow<'_, str>, InvalidEncoding> {
    decode(text, true)
}

fn decode(text: &str, plus_is_space: bool) -> Result<Cow<'_, str>, InvalidEncoding> {
    let bytes = text.as_bytes();
    let Some(first) = bytes.iter().position(|byte| *byte == b'%' || (plus_is_space && *byte == b'+')) else {
        return Ok(Cow::Borrowed(text));
    };
    let mut out = Vec::with_capacity(bytes.len());
    let (plain, mut rest) = bytes.split_at(first);
    out.extend_from_slice(plain);
    while let Some((byte, tail)) = rest.split_first() {
        rest = tail;
        match byte {
            b'%' => {
                let (pair, tail) = rest.split_first_chunk::<2>().ok_or(InvalidEncoding)?;
                let [high, low] = pair.map(hexadecimal::digit);
                out.push(high.ok_or(InvalidEncoding)? << 4 | low.ok_or(InvalidEncoding)?);
                rest = tail;
            }
            b'+' if plus_is_space => out.push(b' '),
            byte => out.push(*byte),
        }
    }
    String::from_utf8(out).map(Cow::Owned).map_err(|_| InvalidEncoding)
}

/// Appends a text percent-encoded; `/` stands for itself where `keep_slash`.
pub fn encode_into(out: &mut String, text: &str, keep_slash: bool) {
    let mut plain_from = 0;
    for (at, byte) in text.bytes().enumerate() {
        if is_unreserved(byte) || (keep_slash && byte == b'/') {
            continue;
        }
        out.push_str(text.get(plain_from..at).unwrap_or_default());
        out.push('%');
        out.extend(hexadecimal::digits(byte).map(|digit| char::from(digit.to_ascii_uppercase())));
        plain_from = at + 1;
    }
    // A slice starts behind an encoded byte, which may be inside a character: then every byte up to its end was encoded too.
    out.push_str(text.get(plain_from..).unwrap_or_default());
}

/// A text percent-encoded; `/` stands for itself where `keep_slash`. Borrowed when nothing needs encoding.
#[must_use]
pub fn encode(text: &str, keep_slash: bool) -> Cow<'_, str> {
    if text.bytes().all(|byte| is_unreserved(byte) || (keep_slash && byte == b'/')) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    encode_into(&mut out, text, keep_slash);
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn encodes_as_aws() {
        assert_eq!(encode("a/b c+d%2F~é", true), "a/b%20c%2Bd%252F~%C3%A9");
        assert_eq!(encode("a/b", false), "a%2Fb");
        assert_eq!(decode_path("a+b%20c").unwrap(), "a+b c");
        assert_eq!(decode_query("a+b%2Bc").unwrap(), "a b+c");
        for bad in ["%", "%2", "%zz", "%C3", "%+1"] {
            assert_eq!(decode_path(bad), Err(InvalidEncoding), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn comes_back(text: String, keep_slash: bool) {
            let encoded = encode(&text, keep_slash);
            prop_assert!(encoded.is_ascii());
            prop_assert_eq!(&decode_path(&encoded).unwrap(), &text);
            prop_assert_eq!(&decode_query(&encoded).unwrap(), &text);
        }

        #[test]
        fn never_panics(text: String) {
            let _ = decode_path(&text);
            let _ = decode_query(&text);
        }
    }
}
