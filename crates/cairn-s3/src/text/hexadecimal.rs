//! Lower-case hexadecimal, as signatures and digests are written.

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// Writes bytes as lower-case hexadecimal; `OUT` must be twice `LENGTH`.
#[must_use]
pub fn encode<const LENGTH: usize, const OUT: usize>(bytes: &[u8; LENGTH]) -> [u8; OUT] {
    const { assert!(OUT == LENGTH * 2, "hexadecimal has two digits a byte") };
    let mut out = [0; OUT];
    for (pair, byte) in out.chunks_exact_mut(2).zip(bytes) {
        pair.copy_from_slice(&digits(*byte));
    }
    out
}

/// The two digits of a byte.
#[must_use]
pub fn digits(byte: u8) -> [u8; 2] {
    [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]
}

/// Bytes as a text of lower-case hexadecimal.
#[must_use]
pub fn to_string(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let [high, low] = digits(*byte);
        out.push(char::from(high));
        out.push(char::from(low));
    }
    out
}

/// Reads exactly `LENGTH` bytes from hexadecimal digits of either case; `None` for anything else.
#[must_use]
pub fn decode<const LENGTH: usize>(text: &[u8]) -> Option<[u8; LENGTH]> {
    if text.len() != LENGTH * 2 {
        return None;
    }
    let mut out = [0; LENGTH];
    for (place, pair) in out.iter_mut().zip(text.chunks_exact(2)) {
        let &[high, low] = pair else { return None };
        *place = digit(high)? << 4 | digit(low)?;
    }
    Some(out)
}

/// As [`decode`], lower case only: how AWS writes signatures and payload hashes.
#[must_use]
pub fn decode_lower<const LENGTH: usize>(text: &[u8]) -> Option<[u8; LENGTH]> {
    if text.iter().any(u8::is_ascii_uppercase) { None } else { decode(text) }
}

/// The value of a hexadecimal digit of either case.
#[must_use]
pub fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}
