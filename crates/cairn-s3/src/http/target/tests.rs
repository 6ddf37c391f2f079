use proptest::prelude::*;

use super::*;

fn target(host: &str, path: &str) -> (Option<String>, Option<String>) {
    let target = parse_target(bucket_of_host(host, &["s3.example".to_owned()]), path).unwrap();
    (target.bucket, target.key.map(|key| key.to_string()))
}

fn named(bucket: &str, key: &str) -> (Option<String>, Option<String>) {
    (Some(bucket.to_owned()), Some(key.to_owned()))
}

#[test]
fn paths_are_read_as_they_are() {
    assert_eq!(target("h", "/"), (None, None));
    assert_eq!(target("h", "/b"), (Some("b".into()), None));
    assert_eq!(target("h", "/b/"), (Some("b".into()), None));
    for (path, key) in [
        ("/b/k", "k"),
        ("/b/k/", "k/"),
        ("/b//", "/"),
        ("/b//k", "/k"),
        ("/b/../../etc/passwd", "../../etc/passwd"),
        ("/b/./k", "./k"),
        ("/b/a%2Fb", "a/b"),
        ("/b/a%252Fb", "a%2Fb"),
        ("/b/a+b", "a+b"),
        ("/b/a%20b", "a b"),
        ("/b/%F0%9F%AA%A8", "🪨"),
        ("/b/a%00b", "a\0b"),
    ] {
        assert_eq!(target("h", path), named("b", key), "{path}");
    }
}

#[test]
fn hosts_below_a_domain_name_the_bucket() {
    assert_eq!(target("my.bucket.s3.example", "/k"), named("my.bucket", "k"));
    assert_eq!(target("B.S3.Example:9000", "/a/b"), named("b", "a/b"));
    assert_eq!(target("s3.example:9000", "/b/k"), named("b", "k"));
    assert_eq!(target("xs3.example", "/b/k"), named("b", "k"));
    assert_eq!(target(".s3.example", "/b/k"), named("b", "k"));
    assert_eq!(target("[::1]:9000", "/b/k"), named("b", "k"));
    assert_eq!(target("ü", "/b/k"), named("b", "k"));
}

#[test]
fn long_and_undecodable_keys_are_refused() {
    let code = |path: &str| parse_target(None, path).unwrap_err().code().name;
    assert!(parse_target(None, &format!("/b/{}", "k".repeat(1024))).is_ok());
    assert!(parse_target(None, &format!("/b/{}", "%41".repeat(1024))).is_ok());
    assert_eq!(code(&format!("/b/{}", "k".repeat(1025))), "KeyTooLongError");
    assert_eq!(code(&format!("/b/{}", "k".repeat(100_000))), "KeyTooLongError");
    assert_eq!(code("/b/%FF"), "InvalidURI");
    assert_eq!(code("/b/%"), "InvalidURI");
    assert_eq!(code("/b/%4"), "InvalidURI");
    assert_eq!(code("//k"), "InvalidBucketName");
}

#[test]
fn copy_sources_are_decoded_once() {
    let parse = |text: &str| parse_copy_source(text.as_bytes()).unwrap();
    let source = parse("/b/a%2520b%3FversionId%3Dx?versionId=null");
    assert_eq!(
        (source.bucket.as_str(), source.key.as_str(), source.version_id.as_deref()),
        ("b", "a%20b?versionId=x", Some("null"))
    );
    let source = parse("b%2Fa/b");
    assert_eq!((source.bucket.as_str(), source.key.as_str(), source.version_id), ("b", "a/b", None));
    for bad in ["", "/", "b", "b/", "/b/", "//k", "b/%zz", "b/%FF"] {
        assert_eq!(parse_copy_source(bad.as_bytes()).unwrap_err().code().name, "InvalidArgument", "{bad}");
    }
}

proptest! {
    #[test]
    fn every_key_finds_its_way(key in "\\PC{1,200}") {
        let path = format!("/bucket/{}", percent::encode(&key, true));
        let target = parse_target(None, &path).unwrap();
        let found = target.key.unwrap();
        prop_assert_eq!(found.as_str(), key.as_str());
        let source = parse_copy_source(path.as_bytes()).unwrap();
        prop_assert_eq!(source.key.as_str(), key.as_str());
    }

    #[test]
    fn never_panics(host: String, path: String, source: Vec<u8>) {
        let _ = parse_target(bucket_of_host(&host, &["s3.example".to_owned(), String::new()]), &path);
        let _ = parse_copy_source(&source);
    }
}
