//! User metadata that a header cannot show as it is: "encoded words" (RFC 2047), as AWS answers with them ("Working with object metadata":
//! "If the metadata contains unprintable characters, it is returned as RFC 2047 encoded").

use bytes::Bytes;

use super::base64;
use super::hexadecimal;

/// A value of user metadata as it is answered: as it is where that is printable ASCII, else as one encoded word of its UTF-8. What came as an
/// encoded word is shown by the same rule: one that holds printable ASCII only is shown as that text.
#[must_use]
pub fn show(value: &Bytes) -> Bytes {
    let decoded = decode(value);
    let text = decoded.as_deref().unwrap_or(value);
    if is_printable(text) {
        return if decoded.is_some() { Bytes::copy_from_slice(text) } else { value.clone() };
    }
    encode(&String::from_utf8_lossy(text)).into()
}

fn is_printable(text: &[u8]) -> bool {
    text.iter().all(|byte| matches!(byte, 0x20..=0x7e | b'\t'))
}

/// Quoted where most characters need no quoting, else in Base64 (observed of AWS, which follows Java's mail library here).
fn encode(text: &str) -> String {
    let is_plain = |character: &char| matches!(character, ' '..='~' | '\t' | '\r' | '\n');
    let plain = text.chars().filter(is_plain).count();
    if plain <= text.chars().count() - plain {
        return format!("=?UTF-8?B?{}?=", base64::encode(text.as_bytes()));
    }
    let mut out = String::with_capacity(16 + text.len() * 3);
    out.push_str("=?UTF-8?Q?");
    for byte in text.bytes() {
        match byte {
            b' ' => out.push('_'),
            b'=' | b'_' | b'?' | ..b' ' | 0x7f.. => {
                out.push('=');
                out.extend(hexadecimal::digits(byte).iter().map(|digit| char::from(digit.to_ascii_uppercase())));
            }
            _ => out.push(char::from(byte)),
        }
    }
    out.push_str("?=");
    out
}

/// The bytes of a value that is one encoded word in UTF-8, and nothing beside it.
fn decode(value: &[u8]) -> Option<Vec<u8>> {
    let word = value.strip_prefix(b"=?")?.strip_suffix(b"?=")?;
    let mut parts = word.splitn(3, |byte| *byte == b'?');
    let (charset, coding, text) = (parts.next()?, parts.next()?, parts.next()?);
    if !charset.eq_ignore_ascii_case(b"UTF-8") || text.contains(&b'?') {
        return None;
    }
    match coding {
        b"B" | b"b" => base64::decode(text),
        b"Q" | b"q" => {
            let mut out = Vec::with_capacity(text.len());
            let mut bytes = text.iter().copied();
            while let Some(byte) = bytes.next() {
                out.push(match byte {
                    b'_' => b' ',
                    b'=' => hexadecimal::digit(bytes.next()?)? << 4 | hexadecimal::digit(bytes.next()?)?,
                    other => other,
                });
            }
            Some(out)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_header_can_show_is_shown_as_it_is() {
        let shown = |value: &str| String::from_utf8(show(&Bytes::copy_from_slice(value.as_bytes())).to_vec()).unwrap();
        // The expected values of the words are those that AWS was seen to answer.
        for (value, expected) in [
            ("plain =_? text", "plain =_? text"),
            ("=?UTF-8?B?YWJj?=", "abc"),
            ("=?UTF-8?Q?actually-ascii?=", "actually-ascii"),
            ("ÄMÄZÕÑ S3", "=?UTF-8?Q?=C3=84M=C3=84Z=C3=95=C3=91_S3?="),
            ("=?UTF-8?Q?=C3=84M=C3=84Z=C3=95=C3=91_S3?=", "=?UTF-8?Q?=C3=84M=C3=84Z=C3=95=C3=91_S3?="),
            ("test_—_file%E2%80%94_é_2?.pdf", "=?UTF-8?Q?test=5F=E2=80=94=5Ffile%E2%80%94=5F=C3=A9=5F2=3F.pdf?="),
            ("=?UTF-8?B?AAECAw==?=", "=?UTF-8?B?AAECAw==?="),
            ("\u{fffd}\u{fffd}", "=?UTF-8?B?77+977+9?="),
            // What is no whole word of UTF-8 is a text like any other.
            ("=?UTF-8?B?=GGG?=", "=?UTF-8?B?=GGG?="),
            ("=?UTF-8?X?abc?=", "=?UTF-8?X?abc?="),
            ("=?ISO-8859-1?Q?abc?=", "=?ISO-8859-1?Q?abc?="),
            ("=?UTF-8?Q?=4?=", "=?UTF-8?Q?=4?="),
            ("a =?UTF-8?Q?abc?=", "a =?UTF-8?Q?abc?="),
            ("=?UTF-8?Q?a=0D=0Ab?=", "=?UTF-8?Q?a=0D=0Ab?="),
        ] {
            assert_eq!(shown(value), expected, "{value}");
        }
        assert_eq!(show(&Bytes::from_static(b"caf\xe9")), "=?UTF-8?Q?caf=EF=BF=BD?=".as_bytes());
    }
}
