use cairn_types::{ChecksumType, ETag};
use http::{HeaderMap, HeaderName, HeaderValue};
use proptest::prelude::*;

use super::headers::{Promised, parse_value, requested};
use super::multipart::{combine_checksums, combine_etags, is_supported};
use super::*;
use crate::text::hexadecimal;

#[test]
fn check_values_are_the_published_ones() {
    // "123456789": the check input of the CRC catalogue (reveng) and of RFC 3720; SHA values from sha1sum and sha256sum.
    let value = |algorithm| hexadecimal::to_string(checksum_of(algorithm, b"123456789").unwrap().value());
    assert_eq!(value(ChecksumAlgorithm::Crc32), "cbf43926");
    assert_eq!(value(ChecksumAlgorithm::Crc32c), "e3069283");
    assert_eq!(value(ChecksumAlgorithm::Crc64Nvme), "ae8b14860a799888");
    assert_eq!(value(ChecksumAlgorithm::Sha1), "f7c3bc1d808e04732adf679965ccc34ca7ae3441");
    assert_eq!(value(ChecksumAlgorithm::Sha256), "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225");
}

#[test]
fn a_set_computes_what_was_asked_for() {
    let mut set = HasherSet::new(true, true, Some(ChecksumAlgorithm::Sha256));
    set.update(b"1234");
    set.update(b"56789");
    let computed = set.finish();
    assert_eq!(hexadecimal::to_string(&computed.md5.unwrap()), "25f9e794323b453885f5181f1b624d0b");
    assert_eq!(computed.checksum.unwrap().value(), computed.payload_sha256.unwrap());
    let computed = HasherSet::new(false, false, Some(ChecksumAlgorithm::Crc32)).finish();
    assert_eq!((computed.payload_sha256, computed.checksum.unwrap().value()), (None, &[0; 4][..]));
    assert_eq!(HasherSet::new(false, false, None).finish().checksum, None);
}

#[test]
fn etags_combine_as_s3_does() {
    // md5(md5("a") || md5("b")), computed with md5sum.
    let part = |text: &[u8]| ETag::of_bytes(Md5::digest(text).into());
    assert_eq!(combine_etags(&[part(b"a"), part(b"b")]).to_string(), "96e024ba2074fe77e8e965ba43a704be-2");
}

proptest! {
    #[test]
    fn a_combined_crc_is_that_of_the_whole(parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..8)) {
        let whole = parts.concat();
        for algorithm in [ChecksumAlgorithm::Crc32, ChecksumAlgorithm::Crc32c, ChecksumAlgorithm::Crc64Nvme] {
            let known: Vec<_> = parts.iter().map(|part| (checksum_of(algorithm, part), part.len() as u64)).collect();
            prop_assert_eq!(combine_checksums(algorithm, ChecksumType::FullObject, &known), checksum_of(algorithm, &whole));
        }
    }
}

#[test]
fn composite_checksums_are_over_the_values() {
    let parts: Vec<_> = [&b"a"[..], b"b"].iter().map(|part| (checksum_of(ChecksumAlgorithm::Sha256, part), 1)).collect();
    let combined = combine_checksums(ChecksumAlgorithm::Sha256, ChecksumType::Composite, &parts).unwrap();
    let values: Vec<u8> = parts.iter().flat_map(|(checksum, _)| checksum.unwrap().value().to_vec()).collect();
    assert_eq!(combined.value(), checksum_of(ChecksumAlgorithm::Sha256, &values).unwrap().value());
    assert!(to_text(&combined).ends_with("=-2"));
    assert!(combine_checksums(ChecksumAlgorithm::Sha256, ChecksumType::FullObject, &parts).is_none());
    assert!(combine_checksums(ChecksumAlgorithm::Sha1, ChecksumType::Composite, &parts).is_none());
    assert!(combine_checksums(ChecksumAlgorithm::Sha256, ChecksumType::Composite, &[(None, 1)]).is_none());
    assert!(!is_supported(ChecksumAlgorithm::Crc64Nvme, ChecksumType::Composite));
}

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
    }
    headers
}

#[test]
fn promises_are_read() {
    let promised =
        Promised::parse(&headers(&[("content-md5", "1B2M2Y8AsgTpgAmY7PhCfg=="), ("x-amz-checksum-crc32", "AAAAAA==")])).unwrap();
    assert_eq!(hexadecimal::to_string(&promised.md5.unwrap()), "d41d8cd98f00b204e9800998ecf8427e");
    assert_eq!(promised.checksum, parse_value(ChecksumAlgorithm::Crc32, b"AAAAAA=="));
    let promised = Promised::parse(&headers(&[
        ("x-amz-trailer", "x-amz-checksum-crc64nvme"),
        ("x-amz-sdk-checksum-algorithm", "CRC64NVME"),
    ]));
    assert_eq!(promised.unwrap().trailer, Some(ChecksumAlgorithm::Crc64Nvme));
    for (bad, code) in [
        (&[("content-md5", "")][..], "InvalidDigest"),
        (&[("content-md5", "1B2M2Y8AsgTpgAmY7PhCfg")], "InvalidDigest"),
        (&[("content-md5", "AAAA")], "InvalidDigest"),
        (&[("x-amz-checksum-crc32", "AAAA")], "InvalidRequest"),
        (&[("x-amz-checksum-crc32", "AAAAAA=="), ("x-amz-checksum-crc32c", "AAAAAA==")], "InvalidRequest"),
        (&[("x-amz-checksum-crc32", "AAAAAA=="), ("x-amz-trailer", "x-amz-checksum-crc32")], "InvalidRequest"),
        (&[("x-amz-checksum-xxhash64", "AAAAAA==")], "NotImplemented"),
        (&[("x-amz-checksum-crc16", "AAAAAA==")], "InvalidRequest"),
        (&[("x-amz-trailer", "x-amz-meta-a")], "InvalidRequest"),
        (&[("x-amz-sdk-checksum-algorithm", "CRC32")], "InvalidRequest"),
        (&[("x-amz-sdk-checksum-algorithm", "CRC32C"), ("x-amz-checksum-crc32", "AAAAAA==")], "InvalidRequest"),
    ] {
        assert_eq!(Promised::parse(&headers(bad)).unwrap_err().code().name, code, "{bad:?}");
    }
}

#[test]
fn requested_checksums_are_read() {
    assert_eq!(requested(&headers(&[])).unwrap(), None);
    assert_eq!(requested(&headers(&[("x-amz-checksum-algorithm", "crc32")])).unwrap(), Some((ChecksumAlgorithm::Crc32, None)));
    let both = headers(&[("x-amz-checksum-algorithm", "CRC32"), ("x-amz-checksum-type", "FULL_OBJECT")]);
    assert_eq!(requested(&both).unwrap(), Some((ChecksumAlgorithm::Crc32, Some(ChecksumType::FullObject))));
    assert!(requested(&headers(&[("x-amz-checksum-type", "FULL_OBJECT")])).is_err());
    assert!(requested(&headers(&[("x-amz-checksum-algorithm", "CRC16")])).is_err());
}
