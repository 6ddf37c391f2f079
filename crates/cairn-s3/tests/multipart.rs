//! Multipart uploads over HTTP. The smallest part is 100 bytes here.

mod common;

use cairn_testkit::s3_client::{BodyMode, Checksum, S3Request};
use common::{Fixture, bucket, object, refused};

async fn create(fixture: &Fixture, request: S3Request) -> String {
    let answer = fixture.send(&request.query("uploads", "")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.element("UploadId").unwrap()
}

fn part(upload: &str, number: &str) -> S3Request {
    object("PUT", "k").query("uploadId", upload).query("partNumber", number)
}

async fn add(fixture: &Fixture, upload: &str, number: u32, body: impl Into<Vec<u8>>) -> String {
    let answer = fixture.send(&part(upload, &number.to_string()).body(body)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.header("etag").unwrap().replace('"', "")
}

fn complete(upload: &str, parts: &[(u32, &str)]) -> S3Request {
    let with_none: Vec<_> = parts.iter().map(|(number, etag)| (*number, *etag, String::new())).collect();
    complete_with(upload, &with_none)
}

/// With an element for each part's checksum.
fn complete_with(upload: &str, parts: &[(u32, &str, String)]) -> S3Request {
    let mut list = String::new();
    for (number, etag, checksum) in parts {
        list = format!("{list}<Part><PartNumber>{number}</PartNumber><ETag>\"{etag}\"</ETag>{checksum}</Part>");
    }
    object("POST", "k").query("uploadId", upload).body(format!("<CompleteMultipartUpload>{list}</CompleteMultipartUpload>"))
}

#[tokio::test]
async fn parts_make_an_object() {
    let fixture = Fixture::start().await;
    let upload = create(&fixture, object("POST", "k").header("x-amz-meta-a", "b").header("content-type", "a/b")).await;
    let (first, second) = (vec![b'1'; 150], vec![b'2'; 50]);
    let two = add(&fixture, &upload, 7, second.clone()).await;
    add(&fixture, &upload, 2, vec![b'x'; 10]).await;
    let one = add(&fixture, &upload, 2, first.clone()).await;
    add(&fixture, &upload, 9, "left out").await;
    let list = fixture.send(&object("GET", "k").query("uploadId", upload.clone()).query("max-parts", "2")).await;
    assert_eq!(
        (list.elements("PartNumber"), list.elements("Size")),
        (vec!["2".into(), "7".into()], vec!["150".into(), "50".into()])
    );
    assert_eq!(
        (list.element("IsTruncated").as_deref(), list.element("NextPartNumberMarker").as_deref()),
        (Some("true"), Some("7"))
    );
    let rest = fixture.send(&object("GET", "k").query("uploadId", upload.clone()).query("part-number-marker", "7")).await;
    assert_eq!(rest.elements("PartNumber"), ["9"]);
    assert_eq!(
        (rest.element("IsTruncated").as_deref(), rest.element("NextPartNumberMarker")),
        (Some("false"), None),
        "a client that goes on while there is a marker must end"
    );
    let uploads = fixture.send(&bucket("GET").query("uploads", "")).await;
    assert_eq!((uploads.elements("Key"), uploads.elements("UploadId")), (vec!["k".into()], vec![upload.clone()]));
    assert_eq!(fixture.outcome(&object("GET", "k")).await, refused(404, "NoSuchKey"));

    let answer = fixture.send(&complete(&upload, &[(2, &one), (7, &two)])).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(answer.element("ETag").unwrap().ends_with("-2&quot;"));
    let got = fixture.get("k").await;
    assert_eq!(
        (got.body, got.headers.iter().any(|header| header == &("x-amz-meta-a".into(), "b".into()))),
        ([first, second.clone()].concat(), true)
    );
    let by_part = fixture.send(&object("GET", "k").query("partNumber", "2")).await;
    assert_eq!((by_part.status, by_part.body.clone()), (206, second));
    assert_eq!((by_part.header("content-range"), by_part.header("x-amz-mp-parts-count")), (Some("bytes 150-199/200"), Some("2")));
    assert_eq!(fixture.outcome(&object("GET", "k").query("partNumber", "3")).await, refused(416, "InvalidPartNumber"));
    assert_eq!(fixture.outcome(&object("GET", "k").query("partNumber", "0")).await, refused(400, "InvalidArgument"));
    // Again, as a client does that has lost the answer.
    assert_eq!(fixture.send(&complete(&upload, &[(2, &one), (7, &two)])).await.element("ETag"), answer.element("ETag"));
    assert_eq!(fixture.outcome(&part(&upload, "1").body("x")).await, refused(404, "NoSuchUpload"));
}

#[tokio::test]
async fn wrong_lists_change_nothing() {
    let fixture = Fixture::start().await;
    let upload = create(&fixture, object("POST", "k")).await;
    let small = add(&fixture, &upload, 1, "small").await;
    let large = add(&fixture, &upload, 2, vec![0; 100]).await;
    for (parts, status, code) in [
        (&[(1, small.as_str()), (2, large.as_str())][..], 400, "EntityTooSmall"),
        (&[(2, &large), (1, &small)], 400, "InvalidPartOrder"),
        (&[(2, &large), (2, &large)], 400, "InvalidPartOrder"),
        (&[(2, &small)], 400, "InvalidPart"),
        (&[(3, &small)], 400, "InvalidPart"),
        (&[(2, "x")], 400, "InvalidPart"),
        (&[(0, &small)], 400, "InvalidArgument"),
        (&[(10_001, &small)], 400, "InvalidArgument"),
        (&[], 400, "InvalidRequest"),
    ] {
        assert_eq!(fixture.outcome(&complete(&upload, parts)).await, refused(status, code), "{parts:?}");
    }
    assert_eq!(
        fixture.outcome(&complete(&upload, &[(1, &small)]).header("x-amz-mp-object-size", "6")).await,
        refused(400, "InvalidRequest")
    );
    assert_eq!(
        fixture.outcome(&complete(&upload, &[(1, &small)]).header("x-amz-checksum-crc64nvme", "AAAAAAAAAAA=")).await,
        refused(400, "BadDigest")
    );
    assert_eq!(fixture.outcome(&complete(&"0".repeat(32), &[(1, &small)])).await, refused(404, "NoSuchUpload"));
    assert_eq!(fixture.outcome(&complete("x", &[(1, &small)])).await, refused(404, "NoSuchUpload"));
    for number in ["0", "10001", "-1", "x", ""] {
        assert_eq!(fixture.outcome(&part(&upload, number).body("x")).await, refused(400, "InvalidArgument"), "{number}");
    }
    let elsewhere = object("PUT", "other").query("uploadId", upload.clone()).query("partNumber", "1").body("x");
    assert_eq!(fixture.outcome(&elsewhere).await, refused(404, "NoSuchUpload"));
    fixture.put("k", "there").await;
    assert_eq!(
        fixture.outcome(&complete(&upload, &[(2, &large)]).header("if-none-match", "*")).await,
        refused(412, "PreconditionFailed")
    );
    assert_eq!(fixture.get("k").await.text(), "there");
    assert_eq!(fixture.send(&object("DELETE", "k").query("uploadId", upload.clone())).await.status, 204);
    assert_eq!(fixture.outcome(&object("DELETE", "k").query("uploadId", upload.clone())).await, refused(404, "NoSuchUpload"));
    assert_eq!(fixture.outcome(&complete(&upload, &[(2, &large)])).await, refused(404, "NoSuchUpload"));
}

#[tokio::test]
async fn checksums_of_parts_make_the_objects() {
    let fixture = Fixture::start().await;
    let (first, second) = (vec![b'1'; 150], vec![b'2'; 50]);
    let whole = [first.clone(), second.clone()].concat();
    for (algorithm, checksum, kind) in [
        ("CRC32", Checksum::Crc32, "FULL_OBJECT"),
        ("CRC32C", Checksum::Crc32c, "FULL_OBJECT"),
        ("CRC64NVME", Checksum::Crc64Nvme, "FULL_OBJECT"),
        ("CRC32", Checksum::Crc32, "COMPOSITE"),
        ("SHA256", Checksum::Sha256, "COMPOSITE"),
    ] {
        let begin = object("POST", "k").header("x-amz-checksum-algorithm", algorithm).header("x-amz-checksum-type", kind);
        let upload = create(&fixture, begin).await;
        let mut etags = Vec::new();
        for (number, body) in [("1", &first), ("2", &second)] {
            let mode = BodyMode::ChunkedUnsignedTrailer(8192, checksum);
            let answer = fixture.send(&part(&upload, number).body(body.clone()).mode(mode)).await;
            assert_eq!(answer.header(checksum.header()), Some(checksum.value(body).as_str()), "{}", answer.text());
            etags.push(answer.header("etag").unwrap().replace('"', ""));
        }
        let element = |body: &[u8]| format!("<Checksum{algorithm}>{}</Checksum{algorithm}>", checksum.value(body));
        let request = complete_with(&upload, &[(1, &etags[0], element(&first)), (2, &etags[1], element(&second))]);
        let swapped = complete_with(&upload, &[(1, &etags[0], element(&second)), (2, &etags[1], element(&first))]);
        assert_eq!(fixture.outcome(&swapped).await, refused(400, "InvalidPart"));
        if kind == "COMPOSITE" {
            let without = complete(&upload, &[(1, &etags[0]), (2, &etags[1])]);
            assert_eq!(fixture.outcome(&without).await, refused(400, "InvalidRequest"));
            assert_eq!(fixture.outcome(&part(&upload, "3").body("x")).await, refused(400, "InvalidRequest"));
        }
        let answer = if kind == "FULL_OBJECT" {
            assert_eq!(
                fixture.outcome(&request.clone().header(checksum.header(), checksum.value(b"other"))).await,
                refused(400, "BadDigest")
            );
            fixture.send(&request.header(checksum.header(), checksum.value(&whole)).header("x-amz-checksum-type", kind)).await
        } else {
            fixture.send(&request).await
        };
        assert_eq!((answer.status, answer.element("ChecksumType").as_deref()), (200, Some(kind)), "{}", answer.text());
        let head = fixture.send(&object("HEAD", "k").header("x-amz-checksum-mode", "ENABLED")).await;
        let shown = head.header(checksum.header()).unwrap();
        assert_eq!(head.header("x-amz-checksum-type"), Some(kind));
        if kind == "FULL_OBJECT" { assert_eq!(shown, checksum.value(&whole)) } else { assert!(shown.ends_with("-2")) }
    }
    let upload = create(&fixture, object("POST", "k").header("x-amz-checksum-algorithm", "SHA256")).await;
    let other = part(&upload, "1").body("x").header("x-amz-checksum-crc32", Checksum::Crc32.value(b"x"));
    assert_eq!(fixture.outcome(&other).await, refused(400, "InvalidRequest"));
    let impossible = object("POST", "k")
        .query("uploads", "")
        .header("x-amz-checksum-algorithm", "SHA1")
        .header("x-amz-checksum-type", "FULL_OBJECT");
    assert_eq!(fixture.outcome(&impossible).await, refused(400, "InvalidRequest"));
}

/// AWS writes a composite checksum with the number of its parts, and holds a promise against both.
#[tokio::test]
async fn a_promised_composite_checksum_counts_its_parts() {
    let fixture = Fixture::start().await;
    let mut uploads = Vec::new();
    for _ in 0..2 {
        let upload = create(&fixture, object("POST", "k").header("x-amz-checksum-algorithm", "SHA256")).await;
        let mode = BodyMode::ChunkedUnsignedTrailer(8192, Checksum::Sha256);
        let answer = fixture.send(&part(&upload, "1").body("one").mode(mode)).await;
        let etag = answer.header("etag").unwrap().replace('"', "");
        let element = format!("<ChecksumSHA256>{}</ChecksumSHA256>", Checksum::Sha256.value(b"one"));
        uploads.push(complete_with(&upload, &[(1, &etag, element)]));
    }
    let second = uploads.pop().unwrap();
    let shown = fixture.send(&uploads.pop().unwrap()).await.element("ChecksumSHA256").unwrap();
    let value = shown.strip_suffix("-1").unwrap();
    let promise = |value: String| second.clone().header("x-amz-checksum-sha256", value);
    assert_eq!(fixture.outcome(&promise(format!("{value}-2"))).await, refused(400, "BadDigest"));
    assert_eq!(fixture.outcome(&promise(format!("{value}-one"))).await, refused(400, "InvalidRequest"));
    assert_eq!(fixture.send(&promise(shown.clone())).await.status, 200);
}

/// An upload that was begun without an algorithm makes an object with AWS's default, whatever its parts are sent with, and tells of no other.
#[tokio::test]
async fn an_upload_without_an_algorithm_has_the_default_one() {
    let fixture = Fixture::start().await;
    let upload = create(&fixture, object("POST", "k")).await;
    let (first, second) = (vec![b'1'; 150], vec![b'2'; 50]);
    let headers = [("x-amz-checksum-crc32", Checksum::Crc32), ("x-amz-checksum-sha256", Checksum::Sha256)];
    let mut etags = Vec::new();
    for ((number, body), (header, checksum)) in [("1", &first), ("2", &second)].into_iter().zip(headers) {
        let request = |value: String| part(&upload, number).body(body.clone()).header(header, value);
        assert_eq!(fixture.outcome(&request(checksum.value(b"other"))).await, refused(400, "BadDigest"));
        let answer = fixture.send(&request(checksum.value(body))).await;
        assert_eq!(answer.header(header), Some(checksum.value(body).as_str()), "{}", answer.text());
        etags.push(answer.header("etag").unwrap().replace('"', ""));
    }
    let list = fixture.send(&object("GET", "k").query("uploadId", upload.clone())).await;
    assert_eq!((list.elements("PartNumber").len(), list.element("ChecksumCRC32")), (2, None), "{}", list.text());
    let named = |value: String| format!("<ChecksumCRC32>{value}</ChecksumCRC32>");
    let wrong = format!("<ChecksumCRC64NVME>{}</ChecksumCRC64NVME>", Checksum::Crc64Nvme.value(&second));
    let wrong = complete_with(&upload, &[(1, &etags[0], wrong), (2, &etags[1], String::new())]);
    assert_eq!(fixture.outcome(&wrong).await, refused(400, "InvalidPart"));
    // SDKs name what they sent with each part.
    let own = complete_with(&upload, &[(1, &etags[0], named(Checksum::Crc32.value(&first))), (2, &etags[1], String::new())]);
    let request = complete(&upload, &[(1, &etags[0]), (2, &etags[1])]);
    let both = headers.iter().fold(request.clone().header("x-amz-checksum-type", "COMPOSITE"), |request, (header, checksum)| {
        request.header(header, checksum.value(b""))
    });
    let both = fixture.send(&both).await;
    assert!(both.text().contains("Expecting a single x-amz-checksum- header"), "{}", both.text());
    for (size, about) in [("-1", "less than zero: '-1'"), ("x", "invalid: 'x'")] {
        let sized = fixture.send(&request.clone().header("x-amz-mp-object-size", size)).await;
        assert_eq!((sized.status, sized.text().replace("&apos;", "'").contains(about)), (400, true), "{}", sized.text());
    }
    let kind = fixture.send(&request.clone().header("x-amz-checksum-type", "COMPOSITE")).await;
    assert_eq!((kind.status, kind.text().contains("using the null checksum mode")), (400, true), "{}", kind.text());
    let answer = fixture.send(&own).await;
    let sum = Checksum::Crc64Nvme.value(&[first.clone(), second].concat());
    assert_eq!(answer.element("ChecksumCRC64NVME"), Some(sum.clone()), "{}", answer.text());
    assert_eq!(answer.element("ChecksumType").as_deref(), Some("FULL_OBJECT"));

    // Of one of its parts, the part's is told; of all of its bytes, the object's.
    let asked = |request: S3Request| request.header("x-amz-checksum-mode", "ENABLED");
    let one = fixture.send(&asked(object("GET", "k").query("partNumber", "1"))).await;
    let own = Checksum::Crc64Nvme.value(&first);
    let told = (one.header("x-amz-checksum-crc64nvme"), one.header("x-amz-checksum-type"));
    assert_eq!((one.status, told), (206, (Some(own.as_str()), Some("FULL_OBJECT"))));
    for (range, shown) in [("bytes=0-199", Some(sum.as_str())), ("bytes=-200", Some(sum.as_str())), ("bytes=0-198", None)] {
        let answer = fixture.send(&asked(object("GET", "k").header("range", range))).await;
        assert_eq!((answer.status, answer.header("x-amz-checksum-crc64nvme")), (206, shown), "{range}");
    }
    let none = fixture.send(&object("GET", "k").query("partNumber", "3")).await;
    assert_eq!((none.status, none.element("ActualPartCount").as_deref()), (416, Some("2")), "{}", none.text());
    let wanted = object("GET", "k").query("attributes", "").header("x-amz-object-attributes", "ObjectParts,Checksum");
    let attributes = fixture.send(&wanted).await;
    assert_eq!(
        (attributes.element("PartsCount").as_deref(), attributes.elements("Size")),
        (Some("2"), vec!["150".into(), "50".into()])
    );
}

/// The parts of a composite checksum are told with the parts, and of `GetObjectAttributes` without their number.
#[tokio::test]
async fn a_composite_checksum_is_told_by_part() {
    let fixture = Fixture::start().await;
    let upload = create(&fixture, object("POST", "k").header("x-amz-checksum-algorithm", "CRC32C")).await;
    let sum = Checksum::Crc32c.value(b"one");
    let answer = fixture.send(&part(&upload, "1").body("one").header("x-amz-checksum-crc32c", sum.clone())).await;
    let etag = answer.header("etag").unwrap().replace('"', "");
    let other =
        complete_with(&upload, &[(1, &etag, format!("<ChecksumSHA256>{}</ChecksumSHA256>", Checksum::Sha256.value(b"one")))]);
    let refusal = fixture.send(&other).await;
    assert_eq!(
        refusal.element("Message").as_deref(),
        Some("The sha256 you specified for part 1 did not match what we received.")
    );
    let request = complete_with(&upload, &[(1, &etag, format!("<ChecksumCRC32C>{sum}</ChecksumCRC32C>"))]);
    let whole = fixture.send(&request).await.element("ChecksumCRC32C").unwrap();
    let one = fixture.send(&object("GET", "k").query("partNumber", "1").header("x-amz-checksum-mode", "ENABLED")).await;
    assert_eq!((one.header("x-amz-checksum-crc32c"), one.header("x-amz-checksum-type")), (Some(sum.as_str()), Some("COMPOSITE")));
    let attributes =
        fixture.send(&object("GET", "k").query("attributes", "").header("x-amz-object-attributes", "Checksum")).await;
    assert_eq!(attributes.element("ChecksumCRC32C").as_deref(), whole.strip_suffix("-1"));
}

#[tokio::test]
async fn parts_are_copied() {
    let fixture = Fixture::start().await;
    let source: Vec<u8> = (0..=255).collect();
    fixture.put("source", source.clone()).await;
    let upload = create(&fixture, object("POST", "k")).await;
    let copy = |number: &str| part(&upload, number).header("x-amz-copy-source", "/bucket/source");
    let first = fixture.send(&copy("1")).await;
    let second = fixture.send(&copy("2").header("x-amz-copy-source-range", "bytes=10-19")).await;
    assert_eq!((first.status, second.status), (200, 200), "{}", second.text());
    let etag = |answer: &cairn_testkit::s3_client::Answer| answer.element("ETag").unwrap().replace("&quot;", "");
    for (bad, code) in [
        ("bytes=10-", "InvalidArgument"),
        ("bytes=-5", "InvalidArgument"),
        ("bytes=0-256", "InvalidArgument"),
        ("bytes=256-300", "InvalidRequest"),
        ("0-1", "InvalidArgument"),
        ("bytes=5-4", "InvalidArgument"),
    ] {
        assert_eq!(fixture.outcome(&copy("3").header("x-amz-copy-source-range", bad)).await, refused(400, code), "{bad}");
    }
    let answer = fixture.send(&complete(&upload, &[(1, &etag(&first)), (2, &etag(&second))])).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(fixture.get("k").await.body, [&source[..], &source[10..20]].concat());
    assert_eq!(fixture.put("same", &source[10..20]).await.header("etag").unwrap().replace('"', ""), etag(&second));
}
