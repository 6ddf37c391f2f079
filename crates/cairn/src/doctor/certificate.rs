//! From when to when a certificate is good (RFC 5280, section 4.1.2.5).

use cairn_s3::text::date;

/// Not before and not after, seconds since 1970; `None` where this is no certificate. Nothing is verified.
pub fn validity(der: &[u8]) -> Option<(u64, u64)> {
    const INTEGER: u8 = 0x02;
    const SEQUENCE: u8 = 0x30;
    const VERSION: u8 = 0xa0;
    let certificate = Value::read(der)?.of(SEQUENCE)?;
    let mut rest = Value::read(certificate.content)?.of(SEQUENCE)?.content;
    if let Some(version) = Value::read(rest)?.of(VERSION) {
        rest = version.rest;
    }
    // The serial number, the signature's algorithm, the issuer.
    for tag in [INTEGER, SEQUENCE, SEQUENCE] {
        rest = Value::read(rest)?.of(tag)?.rest;
    }
    let not_before = Value::read(Value::read(rest)?.of(SEQUENCE)?.content)?;
    let not_after = Value::read(not_before.rest)?;
    Some((not_before.time()?, not_after.time()?))
}

/// A value of DER (X.690) and what follows it.
struct Value<'a> {
    tag: u8,
    content: &'a [u8],
    rest: &'a [u8],
}

impl<'a> Value<'a> {
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let (&tag, bytes) = bytes.split_first()?;
        let (&first, bytes) = bytes.split_first()?;
        let (length, bytes) = if first < 0x80 {
            (usize::from(first), bytes)
        } else {
            let (digits, bytes) = bytes.split_at_checked(usize::from(first & 0x7f))?;
            if digits.is_empty() || digits.len() > 4 {
                return None;
            }
            (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), bytes)
        };
        let (content, rest) = bytes.split_at_checked(length)?;
        Some(Self { tag, content, rest })
    }

    fn of(self, tag: u8) -> Option<Self> {
        (self.tag == tag).then_some(self)
    }

    fn time(&self) -> Option<u64> {
        const UTC_TIME: u8 = 0x17;
        const GENERALIZED_TIME: u8 = 0x18;
        let text = std::str::from_utf8(self.content).ok()?;
        let year_digits = match (self.tag, text.len()) {
            (UTC_TIME, 13) => 2,
            (GENERALIZED_TIME, 15) => 4,
            _ => return None,
        };
        let (year, rest) = text.split_at_checked(year_digits)?;
        let (month_and_day, time) = rest.split_at_checked(4)?;
        let century = match year.parse::<u32>().ok()? {
            _ if year_digits == 4 => "",
            0..50 => "20",
            _ => "19",
        };
        date::parse_compact(format!("{century}{year}{month_and_day}T{time}").as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_says_how_long_it_is_good() {
        let key = rcgen::KeyPair::generate().unwrap();
        for (from, to, seconds) in [
            ((2024, 1, 2), (2049, 12, 31), (1_704_153_600, 2_524_521_600)),
            ((1999, 12, 31), (2050, 1, 1), (946_598_400, 2_524_608_000)),
        ] {
            let mut parameters = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
            parameters.not_before = rcgen::date_time_ymd(from.0, from.1, from.2);
            parameters.not_after = rcgen::date_time_ymd(to.0, to.1, to.2);
            let certificate = parameters.self_signed(&key).unwrap();
            assert_eq!(validity(certificate.der()), Some(seconds));
        }
    }

    #[test]
    fn what_is_none_is_none() {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
        for end in 0..100 {
            assert_eq!(validity(&certificate.der()[..end]), None);
        }
        for bytes in [&[][..], &[0x30, 0x80], &[0x30, 0x85, 1, 1, 1, 1, 1], &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff], &[0x30; 50]] {
            assert_eq!(validity(bytes), None);
        }
    }
}
