use super::*;

#[test]
fn bucket_names_follow_the_rules() {
    for good in ["abc", "a.b", "1-2", "my-bucket.example", &"a".repeat(63), "1.2.3", "1.2.3.4.5", "256.1.1.1"] {
        assert!(good.parse::<BucketName>().is_ok(), "{good}");
    }
    for bad in
        ["", "ab", "Abc", "a_b", "-ab", "ab-", ".ab", "ab.", "a..b", "a.-b", "a-.b", "192.168.5.4", &"a".repeat(64), "a/b", "aé1"]
    {
        assert!(bad.parse::<BucketName>().is_err(), "{bad}");
    }
}

#[test]
fn keys_are_kept_as_they_are() {
    for good in ["a", "/", "//", "../x", "%2F", "a/", "🪨", &"k".repeat(1024)] {
        assert_eq!(good.parse::<ObjectKey>().unwrap().as_str(), good);
    }
    assert_eq!("".parse::<ObjectKey>(), Err(InvalidObjectKey::Empty));
    assert_eq!("k".repeat(1025).parse::<ObjectKey>(), Err(InvalidObjectKey::TooLong { length: 1025 }));
    // Bytes count, not characters.
    assert_eq!("é".repeat(513).parse::<ObjectKey>(), Err(InvalidObjectKey::TooLong { length: 1026 }));
}

#[test]
fn texts_come_back() {
    let tag = ETag { digest: [0xab; 16], part_count: 12 };
    assert_eq!(tag.to_string(), format!("{}-12", "ab".repeat(16)));
    assert_eq!(ETag::parse(&tag.to_string()), Some(tag));
    assert_eq!(ETag::parse(&"ab".repeat(16)), Some(ETag::of_bytes([0xab; 16])));
    for bad in [
        "",
        "ab",
        &format!("{}-", "ab".repeat(16)),
        &format!("{}-01", "ab".repeat(16)),
        &format!("{}-+1", "ab".repeat(16)),
        &"AB".repeat(16),
    ] {
        assert_eq!(ETag::parse(bad), None, "{bad}");
    }
    assert_eq!(VersionId::parse("null"), Some(VersionId::Null));
    let version = VersionId::Id([7; 16]);
    assert_eq!(VersionId::parse(&version.to_string()), Some(version));
    assert_eq!(VersionId::parse("nul"), None);
    let upload = UploadId(*b"0123456789abcdef");
    assert_eq!(UploadId::parse(&upload.to_string()), Some(upload));
    let account = AccountId([0x5a; 32]);
    assert_eq!(account.to_string().len(), 64);
    assert_eq!(AccountId::parse(&account.to_string()), Some(account));
}

#[test]
fn a_checksum_has_its_algorithms_length() {
    for algorithm in ChecksumAlgorithm::ALL {
        let value = vec![9; algorithm.length()];
        let checksum = Checksum::full_object(algorithm, &value).unwrap();
        assert_eq!(checksum.value(), value);
        assert_eq!(checksum.checksum_type(), ChecksumType::FullObject);
        assert!(Checksum::full_object(algorithm, &value[1..]).is_none());
        assert!(Checksum::composite(algorithm, &value, 0).is_none());
        assert_eq!(Checksum::composite(algorithm, &value, 3).unwrap().checksum_type(), ChecksumType::Composite);
    }
}
