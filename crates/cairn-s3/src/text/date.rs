//! Dates as S3 writes them: RFC 9110 (`Last-Modified`), ISO 8601 with milliseconds (XML), and the compact ISO 8601 of SigV4.
//!
//! Civil dates are counted in the proleptic Gregorian calendar, without leap seconds, as Unix time is.

/// Seconds in a day.
const DAY_SECONDS: u64 = 86_400;

/// A moment as calendar fields, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Civil {
    /// The year, 1970 or later.
    pub year: u64,
    /// 1 to 12.
    pub month: u64,
    /// 1 to 31.
    pub day: u64,
    /// 0 to 23.
    pub hour: u64,
    /// 0 to 59.
    pub minute: u64,
    /// 0 to 59.
    pub second: u64,
    /// 0 (Sunday) to 6.
    pub weekday: u64,
}

impl Civil {
    /// The fields of a moment, seconds since 1970.
    #[must_use]
    pub fn from_seconds(seconds: u64) -> Self {
        let days = seconds / DAY_SECONDS;
        let of_day = seconds % DAY_SECONDS;
        // Years are counted from March, so that the leap day is a year's last; 719,468 days lie between 0000-03-01 and 1970-01-01.
        let shifted = days + 719_468;
        let era = shifted / 146_097;
        let of_era = shifted % 146_097;
        let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * of_year + 2) / 153;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        Self {
            year: year_of_era + era * 400 + u64::from(month <= 2),
            month,
            day: of_year - (153 * month_from_march + 2) / 5 + 1,
            hour: of_day / 3600,
            minute: of_day / 60 % 60,
            second: of_day % 60,
            weekday: (days + 4) % 7,
        }
    }

    /// Seconds since 1970; `None` for fields out of range or a day that the month does not have.
    #[must_use]
    pub fn to_seconds(self) -> Option<u64> {
        let in_range = (1970..=9999).contains(&self.year)
            && (1..=12).contains(&self.month)
            && (1..=31).contains(&self.day)
            && self.hour < 24
            && self.minute < 60
            && self.second < 60;
        if !in_range {
            return None;
        }
        let year = self.year - u64::from(self.month <= 2);
        let month_from_march = (self.month + 9) % 12;
        let of_year = (153 * month_from_march + 2) / 5 + self.day - 1;
        let of_era = year % 400 * 365 + year % 400 / 4 - year % 400 / 100 + of_year;
        let days = (year / 400 * 146_097 + of_era).checked_sub(719_468)?;
        let seconds = days * DAY_SECONDS + self.hour * 3600 + self.minute * 60 + self.second;
        let back = Self::from_seconds(seconds);
        ((back.year, back.month, back.day) == (self.year, self.month, self.day)).then_some(seconds)
    }
}

fn put(out: &mut [u8], at: usize, digits: usize, mut value: u64) {
    for place in (at..at + digits).rev() {
        if let Some(byte) = out.get_mut(place) {
            *byte = b'0' + (value % 10) as u8;
        }
        value /= 10;
    }
}

/// RFC 9110's preferred form, `Sun, 06 Nov 1994 08:49:37 GMT`, always 29 bytes.
#[must_use]
pub fn http(seconds: u64) -> [u8; 29] {
    const WEEKDAYS: [&[u8; 3]; 7] = [b"Sun", b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat"];
    const MONTHS: [&[u8; 3]; 12] =
        [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];
    let civil = Civil::from_seconds(seconds);
    let mut out = *b"Sun, 00 Jan 0000 00:00:00 GMT";
    out[..3].copy_from_slice(WEEKDAYS[civil.weekday as usize % 7]);
    put(&mut out, 5, 2, civil.day);
    out[8..11].copy_from_slice(MONTHS[(civil.month as usize + 11) % 12]);
    put(&mut out, 12, 4, civil.year);
    put(&mut out, 17, 2, civil.hour);
    put(&mut out, 20, 2, civil.minute);
    put(&mut out, 23, 2, civil.second);
    out
}

/// `2013-05-24T00:00:00.000Z`, always 24 bytes.
#[must_use]
pub fn iso8601(milliseconds: u64) -> [u8; 24] {
    let civil = Civil::from_seconds(milliseconds / 1000);
    let mut out = *b"0000-00-00T00:00:00.000Z";
    put(&mut out, 0, 4, civil.year);
    put(&mut out, 5, 2, civil.month);
    put(&mut out, 8, 2, civil.day);
    put(&mut out, 11, 2, civil.hour);
    put(&mut out, 14, 2, civil.minute);
    put(&mut out, 17, 2, civil.second);
    put(&mut out, 20, 3, milliseconds % 1000);
    out
}

/// `20130524T000000Z`, always 16 bytes; its first 8 are the date of a SigV4 scope.
#[must_use]
pub fn compact(seconds: u64) -> [u8; 16] {
    let civil = Civil::from_seconds(seconds);
    let mut out = *b"00000000T000000Z";
    put(&mut out, 0, 4, civil.year);
    put(&mut out, 4, 2, civil.month);
    put(&mut out, 6, 2, civil.day);
    put(&mut out, 9, 2, civil.hour);
    put(&mut out, 11, 2, civil.minute);
    put(&mut out, 13, 2, civil.second);
    out
}

/// Seconds since 1970 behind [`compact`]'s form; `None` for anything else.
#[must_use]
pub fn parse_compact(text: &[u8]) -> Option<u64> {
    let text: &[u8; 16] = text.try_into().ok()?;
    if text[8] != b'T' || text[15] != b'Z' {
        return None;
    }
    Civil {
        year: number(&text[..4])?,
        month: number(&text[4..6])?,
        day: number(&text[6..8])?,
        hour: number(&text[9..11])?,
        minute: number(&text[11..13])?,
        second: number(&text[13..15])?,
        weekday: 0,
    }
    .to_seconds()
}

/// Seconds since 1970 behind any of RFC 9110's three forms; `None` for anything else or dates before 1970.
#[must_use]
pub fn parse_http(text: &str) -> Option<u64> {
    httpdate::parse_http_date(text).ok()?.duration_since(std::time::UNIX_EPOCH).ok().map(|since| since.as_secs())
}

/// As [`parse_http`], and with the zone written as mail does it (RFC 5322, section 3.3), which is how botocore writes the `Date` that it
/// signs. Only for UTC.
#[must_use]
pub fn parse_mail(text: &str) -> Option<u64> {
    let zone = ["-0000", "+0000", "UTC"].into_iter().find_map(|zone| text.strip_suffix(zone));
    zone.map_or_else(|| parse_http(text), |text| parse_http(&format!("{text}GMT")))
}

fn number(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0, |value: u64, digit| digit.is_ascii_digit().then(|| value * 10 + u64::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn writes_the_standards_examples() {
        assert_eq!(&http(784_111_777), b"Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(&iso8601(1_369_353_600_007), b"2013-05-24T00:00:00.007Z");
        assert_eq!(&compact(1_369_353_600), b"20130524T000000Z");
        assert_eq!(parse_compact(b"20130524T000000Z"), Some(1_369_353_600));
        assert_eq!(&compact(951_782_400), b"20000229T000000Z");
        for bad in [
            "20130524T000000",
            "20130524t000000Z",
            "20130230T000000Z",
            "20131324T000000Z",
            "2013052xT000000Z",
            "20130524T240000Z",
            "19690101T000000Z",
        ] {
            assert_eq!(parse_compact(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(parse_http("Sunday, 06-Nov-94 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(parse_http("yesterday"), None);
        assert_eq!(parse_mail("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(parse_mail("Sun, 06 Nov 1994 08:49:37 -0000"), Some(784_111_777));
        assert_eq!(parse_mail("Sun, 06 Nov 1994 08:49:37 +0100"), None);
        assert_eq!(parse_mail("-0000"), None);
    }

    proptest! {
        #[test]
        fn comes_back(seconds in 0..253_402_300_799_u64) {
            prop_assert_eq!(Civil::from_seconds(seconds).to_seconds(), Some(seconds));
            prop_assert_eq!(parse_compact(&compact(seconds)), Some(seconds));
            prop_assert_eq!(parse_http(std::str::from_utf8(&http(seconds)).unwrap()), Some(seconds));
        }

        #[test]
        fn never_panics(seconds: u64, text: Vec<u8>) {
            let _ = (http(seconds), compact(seconds), iso8601(seconds), parse_compact(&text));
        }
    }
}
