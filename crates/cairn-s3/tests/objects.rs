//! Objects over HTTP: what goes in comes out, ranges, conditions, metadata, and what is refused.

mod common;

use cairn_testkit::s3_client::{BodyMode, Checksum, S3Request, path};
use common::{Fixture, bucket, object, refused};

#[tokio::test]
async fn bodies_come_back_however_they_were_sent() {
    let fixture = Fixture::start().await;
    let bodies = [Vec::new(), b"hello".to_vec(), (0..200_000_u32).map(|byte| byte as u8).collect()];
    for body in &bodies {
        for mode in [
            BodyMode::Signed,
            BodyMode::Unsigned,
            BodyMode::ChunkedSigned(65_536),
            BodyMode::ChunkedSignedTrailer(8192, Checksum::Crc32c),
            BodyMode::ChunkedUnsignedTrailer(65_536, Checksum::Crc64Nvme),
            BodyMode::ChunkedUnsignedTrailer(65_536, Checksum::Sha256),
        ] {
            let put = fixture
                .send(&object("PUT", "k").body(body.clone()).mode(mode).header("content-encoding", "aws-chunked,gzip"))
                .await;
            assert_eq!(put.status, 200, "{mode:?}: {}", put.text());
            let got = fixture.get("k").await;
            assert_eq!((got.status, &got.body), (200, body), "{mode:?}");
            assert_eq!(got.header("etag"), put.header("etag"));
            assert_eq!(got.header("content-encoding"), Some("gzip"), "aws-chunked is not the object's coding");
            assert_eq!(got.header("content-length"), Some(body.len().to_string().as_str()));
        }
    }
    let again = fixture.send(&object("PUT", "k").body("x").mode(BodyMode::ChunkedSigned(8192))).await;
    assert_eq!((again.status, fixture.get("k").await.header("content-encoding")), (200, None));
}

#[tokio::test]
async fn keys_of_any_bytes_are_told_apart() {
    let fixture = Fixture::start().await;
    let long = "k".repeat(1024);
    let emoji = "🪨".repeat(256);
    let mut keys = vec![
        "a", "a/", "a/b", "a//b", "/", "//", "./a", "../a", "a/../b", "a%2Fb", "a+b", "a b", "a%20b", "ä", "🪨", "a\u{1}b",
        "a&<>\"'", "?", "#", "a\\b", "~", "*", &long, &emoji,
    ];
    for key in &keys {
        fixture.put(key, *key).await;
    }
    for key in &keys {
        assert_eq!(fixture.get(key).await.text(), *key);
    }
    keys.sort_unstable();
    let list = fixture.send(&bucket("GET").query("encoding-type", "url").query("list-type", "2")).await;
    let shown: Vec<String> = keys.iter().map(|key| cairn_testkit::s3_client::encode(key, true)).collect();
    assert_eq!(list.elements("Key"), shown);
    assert_eq!(fixture.outcome(&object("PUT", &"k".repeat(1025))).await, refused(400, "KeyTooLongError"));
    assert_eq!(fixture.outcome(&object("GET", &"k".repeat(1025))).await, refused(400, "KeyTooLongError"));
    assert_eq!(fixture.outcome(&S3Request::new("GET", "/bucket/%FF")).await, refused(400, "InvalidURI"));
    // A client may send `/` as `%2F`, and sign either.
    assert_eq!(fixture.send(&S3Request::new("GET", "/bucket/a%2Fb")).await.text(), "a/b");
}

#[tokio::test]
async fn the_host_may_name_the_bucket() {
    let fixture = Fixture::start().await;
    let host = |request: S3Request| request.header("host", "bucket.s3.test:9000");
    assert_eq!(fixture.send(&host(S3Request::new("PUT", "/a/b").body("x"))).await.status, 200);
    assert_eq!(fixture.get("a/b").await.text(), "x");
    assert_eq!(fixture.send(&host(S3Request::new("GET", "/"))).await.elements("Key"), ["a/b"]);
    let by_name = S3Request::new("GET", "/bucket/a/b").header("host", "s3.test");
    assert_eq!(fixture.send(&by_name).await.text(), "x");
}

#[tokio::test]
async fn ranges_are_served() {
    let fixture = Fixture::start().await;
    let body: Vec<u8> = (0..100_000_u32).map(|byte| (byte % 251) as u8).collect();
    fixture.put("large", body.clone()).await;
    fixture.put("small", &body[..10]).await;
    fixture.put("empty", "").await;
    for (key, length) in [("large", 100_000_usize), ("small", 10)] {
        for (range, expected) in
            [("bytes=0-0", 0..1), ("bytes=3-", 3..length), ("bytes=-4", length - 4..length), ("bytes=2-5", 2..6)]
        {
            let got = fixture.send(&object("GET", key).header("range", range)).await;
            assert_eq!((got.status, got.body.as_slice()), (206, &body[expected.clone()]), "{range}");
            let shown = format!("bytes {}-{}/{length}", expected.start, expected.end - 1);
            assert_eq!(got.header("content-range"), Some(shown.as_str()));
            let head = fixture.send(&object("HEAD", key).header("range", range)).await;
            assert_eq!((head.status, head.header("content-range")), (206, Some(shown.as_str())));
        }
        for ignored in ["bytes=1-2,4-5", "lines=1-2", "bytes=5-2"] {
            assert_eq!(fixture.send(&object("GET", key).header("range", ignored)).await.body.len(), length, "{ignored}");
        }
        let behind = fixture.send(&object("GET", key).header("range", format!("bytes={length}-"))).await;
        assert_eq!((behind.status, behind.code()), refused(416, "InvalidRange"));
        assert_eq!(behind.element("ActualObjectSize"), Some(length.to_string()));
    }
    assert_eq!(fixture.outcome(&object("GET", "empty").header("range", "bytes=0-")).await, refused(416, "InvalidRange"));
    assert_eq!(fixture.send(&object("GET", "empty").header("range", "bytes=-1")).await.status, 200);
    // Another object than the client knows is answered whole.
    let stale = object("GET", "small").header("range", "bytes=0-1").header("if-range", "\"00\"");
    assert_eq!(fixture.send(&stale).await.status, 200);
    assert_eq!(
        fixture.outcome(&object("GET", "small").header("range", "bytes=0-1").query("partNumber", "1")).await,
        refused(400, "InvalidRequest")
    );
}

#[tokio::test]
async fn conditions_decide() {
    let fixture = Fixture::start().await;
    let etag = fixture.put("k", "one").await.header("etag").unwrap().to_owned();
    let get = |name: &str, value: &str| object("GET", "k").header(name, value);
    assert_eq!(fixture.send(&get("if-match", &etag)).await.status, 200);
    assert_eq!(fixture.outcome(&get("if-match", "\"x\"")).await, refused(412, "PreconditionFailed"));
    let unchanged = fixture.send(&get("if-none-match", &etag)).await;
    assert_eq!((unchanged.status, unchanged.header("etag"), unchanged.body.len()), (304, Some(etag.as_str()), 0));
    let modified = fixture.get("k").await.header("last-modified").unwrap().to_owned();
    assert_eq!(fixture.send(&get("if-modified-since", &modified)).await.status, 304);
    assert_eq!(fixture.send(&get("if-unmodified-since", &modified)).await.status, 200);

    let put = |name: &str, value: &str| object("PUT", "k").header(name, value).body("two");
    assert_eq!(fixture.outcome(&put("if-none-match", "*")).await, refused(412, "PreconditionFailed"));
    assert_eq!(
        fixture.outcome(&put("if-match", "\"00000000000000000000000000000000\"")).await,
        refused(412, "PreconditionFailed")
    );
    for (name, value, condition) in
        [("if-none-match", "*", "If-None-Match"), ("if-match", "\"00000000000000000000000000000000\"", "If-Match")]
    {
        assert_eq!(fixture.send(&put(name, value)).await.element("Condition").as_deref(), Some(condition));
    }
    // Whatever is there, but something: of writes, AWS does not know this.
    let same = object("PUT", "k").header("if-match", "*").body("one");
    assert_eq!(fixture.send(&same).await.status, 200);
    let absent = fixture.send(&object("PUT", "not-there").header("if-match", "*").body("x")).await;
    assert_eq!((absent.status, absent.code()), refused(404, "NoSuchKey"));
    // What AWS does not do, and how it says so.
    for (request, header, more) in [
        (put("if-none-match", &etag), "If-None-Match", "We don't accept the provided value of If-None-Match header for this API"),
        (
            put("if-match", &etag).header("if-none-match", "*"),
            "If-Match,If-None-Match",
            "Multiple conditional request headers present in the request",
        ),
    ] {
        let answer = fixture.send(&request).await;
        assert_eq!((answer.status, answer.code()), refused(501, "NotImplemented"), "{header}");
        let fields = (answer.element("Header"), answer.element("additionalMessage").map(|text| text.replace("&apos;", "'")));
        assert_eq!(fields, (Some(header.to_owned()), Some(more.to_owned())));
    }
    assert_eq!(fixture.outcome(&object("PUT", "new").header("if-match", &etag)).await, refused(404, "NoSuchKey"));
    assert_eq!(fixture.get("k").await.text(), "one");
    assert_eq!(fixture.send(&put("if-match", &etag)).await.status, 200);
    assert_eq!(fixture.send(&object("PUT", "new").header("if-none-match", "*")).await.status, 200);
    assert_eq!(fixture.outcome(&object("DELETE", "k").header("if-match", &etag)).await, refused(412, "PreconditionFailed"));
    assert_eq!(fixture.get("k").await.text(), "two");
    assert_eq!(fixture.send(&object("DELETE", "k").header("if-match", "*")).await.status, 204);
    assert_eq!(fixture.outcome(&object("GET", "k")).await, refused(404, "NoSuchKey"));
}

#[tokio::test]
async fn headers_are_kept_and_overridden() {
    let fixture = Fixture::start().await;
    let put = object("PUT", "k")
        .header("content-type", "text/plain; charset=utf-8")
        .header("cache-control", "max-age=3")
        .header("content-disposition", "attachment; filename=\"a b\"")
        .header("content-language", "de-CH")
        .header("expires", "Sun, 06 Nov 1994 08:49:37 GMT")
        .header("x-amz-meta-Mixed-Case", "a  value")
        .header("x-amz-storage-class", "STANDARD")
        .header("x-amz-acl", "private");
    assert_eq!(fixture.send(&put).await.status, 200);
    for method in ["GET", "HEAD"] {
        let got = fixture.send(&object(method, "k")).await;
        for (name, value) in [
            ("content-type", "text/plain; charset=utf-8"),
            ("cache-control", "max-age=3"),
            ("content-disposition", "attachment; filename=\"a b\""),
            ("content-language", "de-CH"),
            ("expires", "Sun, 06 Nov 1994 08:49:37 GMT"),
            ("x-amz-meta-mixed-case", "a  value"),
            ("content-length", "0"),
            ("accept-ranges", "bytes"),
        ] {
            assert_eq!(got.header(name), Some(value), "{method} {name}");
        }
        assert_eq!(got.header("x-amz-version-id"), None);
    }
    let overridden = object("GET", "k").query("response-content-type", "a/b").query("response-cache-control", "no-store");
    let got = fixture.send(&overridden).await;
    assert_eq!((got.header("content-type"), got.header("cache-control")), (Some("a/b"), Some("no-store")));
    assert_eq!(
        fixture.outcome(&object("GET", "k").query("response-content-type", "a\r\nb: c")).await,
        refused(400, "InvalidArgument")
    );
    let large = object("PUT", "k").header("x-amz-meta-a", "x".repeat(2048));
    assert_eq!(fixture.outcome(&large).await, refused(400, "MetadataTooLarge"));
    fixture.put("plain", "").await;
    assert_eq!(fixture.get("plain").await.header("content-type"), Some("binary/octet-stream"));
}

#[tokio::test]
async fn digests_are_held_before_anything_is_written() {
    let fixture = Fixture::start().await;
    fixture.put("k", "old").await;
    let put = |name: &str, value: &str| object("PUT", "k").body("hello").header(name, value);
    for (name, value, status, code) in [
        ("content-md5", "AAAAAAAAAAAAAAAAAAAAAA==", 400, "BadDigest"),
        ("content-md5", "no", 400, "InvalidDigest"),
        ("x-amz-checksum-crc32", "AAAAAA==", 400, "BadDigest"),
        ("x-amz-checksum-crc32", "AAAA", 400, "InvalidRequest"),
        ("x-amz-checksum-sha512", "AAAA", 501, "NotImplemented"),
        ("x-amz-content-sha256", &"00".repeat(32), 400, "XAmzContentSHA256Mismatch"),
        ("x-amz-sdk-checksum-algorithm", "CRC32", 400, "InvalidRequest"),
    ] {
        assert_eq!(fixture.outcome(&put(name, value)).await, refused(status, code), "{name}: {value}");
        assert_eq!(fixture.get("k").await.text(), "old");
    }
    let good = put("x-amz-checksum-crc32", "NhCmhg==").header("content-md5", "XUFAKrxLKna5cZ2REBfFkg==");
    let answer = fixture.send(&good).await;
    assert_eq!((answer.status, answer.header("x-amz-checksum-crc32")), (200, Some("NhCmhg==")));
    assert_eq!(fixture.get("k").await.header("x-amz-checksum-crc32"), None);
    let got = fixture.send(&object("GET", "k").header("x-amz-checksum-mode", "ENABLED")).await;
    assert_eq!(got.header("x-amz-checksum-crc32"), Some("NhCmhg=="));
    let part = object("GET", "k").header("x-amz-checksum-mode", "ENABLED").header("range", "bytes=0-1");
    assert_eq!(fixture.send(&part).await.header("x-amz-checksum-crc32"), None, "a range has not the object's checksum");
}

#[tokio::test]
async fn forged_and_cut_streams_change_nothing() {
    let fixture = Fixture::start().await;
    fixture.put("k", "old").await;
    let body: Vec<u8> = (0..20_000_u32).map(|byte| byte as u8).collect();
    for mode in [
        BodyMode::ChunkedSigned(8192),
        BodyMode::ChunkedSignedTrailer(8192, Checksum::Crc32),
        BodyMode::ChunkedUnsignedTrailer(8192, Checksum::Crc32),
    ] {
        let good = fixture.client.signed(&object("PUT", "k").body(body.clone()).mode(mode));
        let head_end = good.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
        // A flipped bit of every chunk's data and of the framing.
        for at in [head_end + 1, head_end + 60, head_end + 5000, head_end + 12_000, good.len() - 20] {
            let mut forged = good.clone();
            forged[at] ^= 1;
            let answer = fixture.client.send_raw(&forged, false).await.unwrap();
            let refusals = ["SignatureDoesNotMatch", "IncompleteBody", "BadDigest", "MalformedTrailerError", "InvalidRequest"];
            assert!(answer.status >= 400 && refusals.contains(&answer.code().as_str()), "{mode:?} {at}: {}", answer.text());
        }
        // Cut, with a length that says so: the chunks do not add up.
        for length in [0, 10, 9000, good.len() - head_end - 2] {
            let request = object("PUT", "k").body(body.clone()).mode(mode).header("content-length", length.to_string());
            let whole = fixture.client.signed(&request);
            let head_end = whole.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
            let answer = fixture.client.send_raw(&whole[..head_end + length], false).await.unwrap();
            assert_eq!((answer.status, answer.code()), refused(400, "IncompleteBody"), "{mode:?} {length}");
        }
    }
    let small = object("PUT", "k").body(body.clone()).mode(BodyMode::ChunkedSigned(8191));
    assert_eq!(fixture.outcome(&small).await, refused(400, "InvalidChunkSizeError"));
    let wrong =
        object("PUT", "k").body(body.clone()).mode(BodyMode::ChunkedSigned(8192)).header("x-amz-decoded-content-length", "19999");
    assert_eq!(fixture.outcome(&wrong).await, refused(400, "IncompleteBody"));
    let large = object("PUT", "k").mode(BodyMode::ChunkedSigned(8192)).header("x-amz-decoded-content-length", "1048577");
    assert_eq!(fixture.outcome(&large).await, refused(400, "EntityTooLarge"));
    let elsewhere = bucket("POST").query("delete", "").mode(BodyMode::ChunkedSigned(8192)).body("x");
    assert_eq!(fixture.outcome(&elsewhere).await, refused(400, "InvalidRequest"));
    assert_eq!(fixture.get("k").await.text(), "old");
}

#[tokio::test]
async fn what_is_not_implemented_says_so_and_changes_nothing() {
    let fixture = Fixture::start().await;
    fixture.put("k", "old").await;
    for (name, value) in [
        ("x-amz-server-side-encryption", "AES256"),
        ("x-amz-server-side-encryption-customer-algorithm", "AES256"),
        ("x-amz-object-lock-mode", "GOVERNANCE"),
        ("x-amz-object-lock-legal-hold", "ON"),
        ("x-amz-storage-class", "GLACIER"),
        ("x-amz-write-offset-bytes", "3"),
    ] {
        let answer = fixture.send(&object("PUT", "k").body("new").header(name, value)).await;
        assert_eq!((answer.status, answer.code()), refused(501, "NotImplemented"), "{name}");
        assert_eq!(answer.element("Header").as_deref(), Some(name));
        let presigned = fixture.client.presigned_request(&object("PUT", "k").query(name, value), 60);
        assert_eq!(fixture.client.send_raw(&presigned, false).await.unwrap().status, 501, "{name} in the query");
    }
    for (method, subresource) in [("POST", "tagging"), ("POST", "retention"), ("POST", "restore"), ("GET", "torrent")] {
        let answer = fixture.send(&object(method, "k").query(subresource, "").body("new")).await;
        assert_eq!((answer.status, answer.code()), refused(501, "NotImplemented"), "{method} ?{subresource}");
    }
    for (method, subresource) in
        [("PUT", "policy"), ("PUT", "lifecycle"), ("POST", "cors"), ("PUT", "encryption"), ("PUT", "inventory")]
    {
        let answer = fixture.send(&bucket(method).query(subresource, "").body("x")).await;
        assert_eq!((answer.status, answer.code()), refused(501, "NotImplemented"), "{method} ?{subresource}");
    }
    assert_eq!(fixture.get("k").await.text(), "old");
    for (subresource, status, code) in [
        ("policy", 404, "NoSuchBucketPolicy"),
        ("cors", 404, "NoSuchCORSConfiguration"),
        ("lifecycle", 404, "NoSuchLifecycleConfiguration"),
        ("tagging", 404, "NoSuchTagSet"),
        ("object-lock", 404, "ObjectLockConfigurationNotFoundError"),
        ("acl", 200, ""),
        ("logging", 200, ""),
        ("notification", 200, ""),
        ("ownershipControls", 200, ""),
    ] {
        assert_eq!(fixture.outcome(&bucket("GET").query(subresource, "")).await, refused(status, code), "{subresource}");
    }
    assert_eq!(fixture.send(&object("GET", "k").query("tagging", "")).await.status, 200);
    assert_eq!(fixture.outcome(&object("GET", "none").query("tagging", "")).await, refused(404, "NoSuchKey"));
}

/// The AWS SDK for JavaScript signs the checksum of no body into its URLs (aws-sdk-js-v3, issue 6994).
#[tokio::test]
async fn a_digest_in_the_query_of_a_presigned_url_promises_nothing() {
    let fixture = Fixture::start().await;
    for (name, value) in
        [("x-amz-checksum-crc32", "AAAAAA=="), ("x-amz-sdk-checksum-algorithm", "CRC32"), ("X-Amz-Checksum-Sha256", "AAAA")]
    {
        let presigned = fixture.client.presigned_request(&object("PUT", "k").query(name, value).body("text"), 60);
        let answer = fixture.client.send_raw(&presigned, false).await.unwrap();
        assert_eq!(answer.status, 200, "{name}: {}", answer.text());
        assert_eq!(fixture.get("k").await.body, b"text");
    }
    // What says how to answer is read there all the same.
    let presigned = fixture.client.presigned_request(&object("GET", "k").query("x-amz-checksum-mode", "ENABLED"), 60);
    let answer = fixture.client.send_raw(&presigned, false).await.unwrap();
    assert!(answer.headers.iter().any(|(name, _)| name.starts_with("x-amz-checksum-")), "{:?}", answer.headers);
}

#[tokio::test]
async fn copies_refer_to_their_source() {
    let fixture = Fixture::start().await;
    let put = object("PUT", "a b/ü").body("text").header("x-amz-meta-a", "1").header("content-type", "a/b");
    let etag = fixture.send(&put).await.header("etag").unwrap().to_owned();
    let copy = |target: &str, source: &str| object("PUT", target).header("x-amz-copy-source", source);
    let source = path("bucket", "a b/ü");
    let answer = fixture.send(&copy("c", &source)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.element("ETag"), Some(etag.replace('"', "&quot;")));
    let got = fixture.get("c").await;
    assert_eq!((got.text().as_str(), got.header("x-amz-meta-a"), got.header("content-type")), ("text", Some("1"), Some("a/b")));
    let replaced = copy("c", &source).header("x-amz-metadata-directive", "REPLACE").header("x-amz-meta-b", "2");
    assert_eq!(fixture.send(&replaced).await.status, 200);
    let got = fixture.get("c").await;
    assert_eq!(
        (got.header("x-amz-meta-a"), got.header("x-amz-meta-b"), got.header("content-type")),
        (None, Some("2"), Some("binary/octet-stream"))
    );
    assert_eq!(fixture.outcome(&copy("a b/ü", &source)).await, refused(400, "InvalidRequest"));
    assert_eq!(fixture.send(&copy("a b/ü", &source).header("x-amz-metadata-directive", "REPLACE")).await.status, 200);
    assert_eq!(fixture.outcome(&copy("d", "/bucket/none")).await, refused(404, "NoSuchKey"));
    assert_eq!(fixture.outcome(&copy("d", "/other/k")).await, refused(404, "NoSuchBucket"));
    assert_eq!(fixture.outcome(&copy("d", "bucket")).await, refused(400, "InvalidArgument"));
    assert_eq!(fixture.outcome(&copy("d", "/bucket/c?versionId=x")).await, refused(400, "InvalidArgument"));
    assert_eq!(
        fixture.outcome(&copy("d", &source).header("x-amz-copy-source-if-none-match", etag.clone())).await,
        refused(412, "PreconditionFailed")
    );
    assert_eq!(
        fixture.outcome(&copy("d", &source).header("x-amz-copy-source-if-match", "\"x\"")).await,
        refused(412, "PreconditionFailed")
    );
    let unmet = fixture.send(&copy("d", &source).header("x-amz-copy-source-if-match", "\"x\"")).await;
    assert_eq!(unmet.element("Condition").as_deref(), Some("x-amz-copy-source-If-Match"));
    assert_eq!(fixture.outcome(&copy("c", &source).header("if-none-match", "*")).await, refused(412, "PreconditionFailed"));
    // A class that is named is change enough for a copy onto itself.
    assert_eq!(fixture.send(&copy("a b/ü", &source).header("x-amz-storage-class", "STANDARD")).await.status, 200);
    // Another checksum than the source's is computed from its bytes.
    let answer = fixture.send(&copy("e", &source).header("x-amz-checksum-algorithm", "SHA256")).await;
    let sum = Checksum::Sha256.value(b"text");
    assert_eq!(answer.element("ChecksumSHA256"), Some(sum.clone()));
    let head = fixture.send(&object("HEAD", "e").header("x-amz-checksum-mode", "ENABLED")).await;
    assert_eq!(head.header("x-amz-checksum-sha256"), Some(sum.as_str()));
}
