//! `Range` (RFC 9110, section 14) as S3 serves it: one range of bytes. Several ranges, other units and what cannot be parsed are ignored,
//! as AWS does; a range that begins behind the end is refused.

use std::ops::Range;

/// A range as the client asked for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RangeRequest {
    /// From this byte to that one, both included; to the end where none is given.
    From(u64, Option<u64>),
    /// So many last bytes.
    Last(u64),
}

/// A range lies outside the object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotSatisfiable;

impl RangeRequest {
    /// Reads a `Range` header; `None` where it is to be ignored.
    #[must_use]
    pub fn parse(value: &[u8]) -> Option<Self> {
        let (unit, rest) = std::str::from_utf8(value).ok()?.split_once('=')?;
        if !unit.eq_ignore_ascii_case("bytes") {
            return None;
        }
        let (first, last) = rest.split_once('-')?;
        match (first, last) {
            ("", last) => number(last).map(Self::Last),
            (first, "") => number(first).map(|first| Self::From(first, None)),
            (first, last) => {
                let (first, last) = (number(first)?, number(last)?);
                (first <= last).then_some(Self::From(first, Some(last)))
            }
        }
    }

    /// The bytes of an object of this length. The last bytes of an empty object are none, and no error (AWS answers all of it).
    pub fn resolve(self, length: u64) -> Result<Range<u64>, NotSatisfiable> {
        match self {
            Self::From(first, last) if first < length => {
                Ok(first..last.map_or(length, |last| last.saturating_add(1).min(length)))
            }
            Self::Last(count) if count > 0 => Ok(length.saturating_sub(count)..length),
            _ => Err(NotSatisfiable),
        }
    }
}

/// Digits only; numbers past 64 bits are as good as the largest.
fn number(text: &str) -> Option<u64> {
    (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_range_is_served() {
        let resolve = |text: &str, length| RangeRequest::parse(text.as_bytes()).map(|range| range.resolve(length));
        assert_eq!(resolve("bytes=0-0", 10), Some(Ok(0..1)));
        assert_eq!(resolve("bytes=2-4", 10), Some(Ok(2..5)));
        assert_eq!(resolve("Bytes=2-", 10), Some(Ok(2..10)));
        assert_eq!(resolve("bytes=2-100", 10), Some(Ok(2..10)));
        assert_eq!(resolve("bytes=2-99999999999999999999999", 10), Some(Ok(2..10)));
        assert_eq!(resolve("bytes=-3", 10), Some(Ok(7..10)));
        assert_eq!(resolve("bytes=-30", 10), Some(Ok(0..10)));
        assert_eq!(resolve("bytes=10-", 10), Some(Err(NotSatisfiable)));
        assert_eq!(resolve("bytes=-0", 10), Some(Err(NotSatisfiable)));
        assert_eq!(resolve("bytes=0-", 0), Some(Err(NotSatisfiable)));
        assert_eq!(resolve("bytes=-1", 0), Some(Ok(0..0)));
        for ignored in [
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=5-2",
            "bytes=0-1,3-4",
            "items=0-1",
            "bytes=a-b",
            "bytes=+1-2",
            "bytes=0--1",
            "bytes= -1",
            "bytes=0 - 1",
        ] {
            assert_eq!(resolve(ignored, 10), None, "{ignored}");
        }
    }

    proptest! {
        #[test]
        fn a_resolved_range_lies_inside(text: Vec<u8>, first: u64, last: u64, length: u64) {
            for range in [RangeRequest::parse(&text), Some(RangeRequest::From(first, Some(last))), Some(RangeRequest::Last(last))].into_iter().flatten() {
                if let RangeRequest::From(first, Some(last)) = range && first > last { continue }
                if let Ok(range) = range.resolve(length) {
                    prop_assert!((range.start < range.end || length == 0) && range.end <= length);
                }
            }
        }
    }
}
