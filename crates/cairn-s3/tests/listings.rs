//! Buckets, listings, versions and multi-delete over HTTP.

mod common;

use cairn_store::api::{Access, Grant, GrantScope};
use cairn_testkit::s3_client::{Answer, Checksum, S3Request};
use common::{Fixture, bucket, object, refused};

fn prefixes(answer: &Answer) -> Vec<String> {
    answer.elements("CommonPrefixes").into_iter().map(|text| text.replace("<Prefix>", "").replace("</Prefix>", "")).collect()
}

#[tokio::test]
async fn buckets_are_made_and_removed() {
    let fixture = Fixture::start().await;
    let at = |method: &str, path: &str| S3Request::new(method, path);
    // As in AWS's oldest region, and there only.
    assert_eq!(fixture.outcome(&at("PUT", "/bucket")).await, refused(200, ""));
    for name in ["/ab", "/Bucket", "/a_b", "/192.168.1.1", "/a..b"] {
        assert_eq!(fixture.outcome(&at("PUT", name)).await, refused(400, "InvalidBucketName"), "{name}");
        assert_eq!(fixture.outcome(&at("GET", name)).await, refused(400, "InvalidBucketName"), "{name}");
    }
    let located = |place: &str| {
        let document =
            format!("<CreateBucketConfiguration><LocationConstraint>{place}</LocationConstraint></CreateBucketConfiguration>");
        at("PUT", "/second").body(document)
    };
    assert_eq!(fixture.outcome(&located("mars")).await, refused(400, "InvalidLocationConstraint"));
    assert_eq!(fixture.outcome(&at("PUT", "/second").body("<x")).await, refused(400, "MalformedXML"));
    assert_eq!(fixture.outcome(&at("HEAD", "/second")).await.0, 404);
    assert_eq!(fixture.send(&located("us-east-1")).await.status, 200);
    assert_eq!(fixture.send(&at("HEAD", "/second")).await.header("x-amz-bucket-region"), Some("us-east-1"));
    assert_eq!(fixture.send(&at("GET", "/")).await.elements("Name"), ["bucket", "second"]);
    let first = fixture.send(&at("GET", "/").query("max-buckets", "1")).await;
    assert_eq!(first.elements("Name"), ["bucket"]);
    let token = first.element("ContinuationToken").unwrap();
    assert_eq!(
        fixture.send(&at("GET", "/").query("max-buckets", "1").query("continuation-token", token)).await.elements("Name"),
        ["second"]
    );
    fixture.put("k", "").await;
    assert_eq!(fixture.outcome(&bucket("DELETE")).await, refused(409, "BucketNotEmpty"));
    assert_eq!(fixture.send(&object("DELETE", "k")).await.status, 204);
    assert_eq!(fixture.send(&bucket("DELETE")).await.status, 204);
    assert_eq!(fixture.outcome(&bucket("DELETE")).await, refused(404, "NoSuchBucket"));
    assert_eq!(fixture.outcome(&object("PUT", "k")).await, refused(404, "NoSuchBucket"));
}

#[tokio::test]
async fn a_key_sees_and_opens_its_bucket_only() {
    let fixture = Fixture::start().await;
    assert_eq!(fixture.send(&S3Request::new("PUT", "/second")).await.status, 200);
    fixture.put("k", "v").await;
    let scope = GrantScope::Bucket(fixture.bucket("bucket").await.id);
    fixture.add_key("READER", vec![Grant { scope, access: Access::Read }]);
    fixture.add_key("WRITER", vec![Grant { scope, access: Access::Write }]);
    fixture.add_key("NOBODY", Vec::new());
    let outcome = |id: &'static str, request: S3Request| {
        let client = fixture.client_of(id);
        async move {
            let answer = client.send(&request).await.unwrap();
            (answer.status, answer.code())
        }
    };
    let denied = refused(403, "AccessDenied");
    for (request, reader, writer) in [
        (object("GET", "k"), 200, 200),
        (bucket("GET").query("list-type", "2"), 200, 200),
        (bucket("GET").query("versions", ""), 200, 200),
        (object("PUT", "new").body("x"), 403, 200),
        (object("POST", "up").query("uploads", ""), 403, 200),
        (object("PUT", "copy").header("x-amz-copy-source", "/bucket/k"), 403, 200),
        (object("DELETE", "new"), 403, 204),
        (bucket("DELETE"), 403, 403),
        (bucket("PUT").query("versioning", "").body("x"), 403, 403),
        (S3Request::new("PUT", "/third"), 403, 403),
        (S3Request::new("GET", "/second"), 403, 403),
        (S3Request::new("GET", "/second/k"), 403, 403),
        (S3Request::new("GET", "/missing/k"), 403, 403),
        (object("PUT", "copy").header("x-amz-copy-source", "/second/k"), 403, 403),
    ] {
        assert_eq!(outcome("READER", request.clone()).await.0, reader, "{request:?}");
        assert_eq!(outcome("WRITER", request.clone()).await.0, writer, "{request:?}");
        assert_eq!(outcome("NOBODY", request).await, denied);
    }
    let list = |id: &str| {
        let client = fixture.client_of(id);
        async move { client.send(&S3Request::new("GET", "/")).await.unwrap().elements("Name") }
    };
    assert_eq!(list("READER").await, ["bucket"]);
    assert_eq!(list("NOBODY").await, [""; 0]);
    // Nobody signed.
    for request in [object("GET", "k"), bucket("GET"), S3Request::new("GET", "/"), object("PUT", "k").body("x")] {
        let answer = fixture.client.send_raw(&fixture.client.anonymous(&request), false).await.unwrap();
        assert_eq!((answer.status, answer.code()), denied);
    }
    // Some of many may be denied: here all, one by one.
    let document = "<Delete><Object><Key>k</Key></Object></Delete>";
    let delete = bucket("POST")
        .query("delete", "")
        .body(document)
        .header("x-amz-checksum-crc32", Checksum::Crc32.value(document.as_bytes()));
    assert_eq!(outcome("READER", delete).await, denied);
    assert_eq!(fixture.get("k").await.text(), "v");
    fixture.store.remove_key("READER");
    assert_eq!(outcome("READER", object("GET", "k")).await, refused(403, "InvalidAccessKeyId"));
    // A bucket that gets the name later is another one.
    for key in ["k", "copy"] {
        fixture.send(&object("DELETE", key)).await;
    }
    assert_eq!(fixture.send(&bucket("DELETE")).await.status, 204);
    assert_eq!(fixture.send(&bucket("PUT")).await.status, 200);
    assert_eq!(outcome("WRITER", object("PUT", "k").body("x")).await, denied);
}

#[tokio::test]
async fn folders_and_pages_are_shown() {
    let fixture = Fixture::start().await;
    for key in ["a", "a/1", "a/2", "b/1", "b/2/3", "c", "c/", "d e"] {
        fixture.put(key, "x").await;
    }
    let v2 = || bucket("GET").query("list-type", "2");
    let top = fixture.send(&v2().query("delimiter", "/")).await;
    assert_eq!(
        (top.elements("Key"), prefixes(&top)),
        (vec!["a".into(), "c".into(), "d e".into()], vec!["a/".into(), "b/".into(), "c/".into()])
    );
    assert_eq!(top.element("KeyCount").as_deref(), Some("6"));
    let inside = fixture.send(&v2().query("delimiter", "/").query("prefix", "b/")).await;
    assert_eq!((inside.elements("Key"), prefixes(&inside)), (vec!["b/1".into()], vec!["b/2/".into()]));
    // Page by page, folders counted once, nothing twice.
    for size in 1..=6 {
        let (mut token, mut seen) = (None::<String>, Vec::new());
        loop {
            let mut request = v2().query("delimiter", "/").query("max-keys", size.to_string());
            if let Some(token) = token {
                request = request.query("continuation-token", token);
            }
            let page = fixture.send(&request).await;
            seen.extend(page.elements("Key"));
            seen.extend(prefixes(&page));
            assert!(page.elements("Key").len() + prefixes(&page).len() <= size);
            token = page.element("NextContinuationToken");
            assert_eq!(token.is_some(), page.element("IsTruncated").as_deref() == Some("true"));
            if token.is_none() {
                break;
            }
        }
        seen.sort();
        assert_eq!(seen, ["a", "a/", "b/", "c", "c/", "d e"], "pages of {size}");
    }
    // Version 1 goes on behind its marker, a folder included.
    let (mut marker, mut seen) = (String::new(), Vec::new());
    loop {
        let page =
            fixture.send(&bucket("GET").query("delimiter", "/").query("max-keys", "1").query("marker", marker.clone())).await;
        seen.extend(page.elements("Key"));
        seen.extend(prefixes(&page));
        match page.element("NextMarker") {
            Some(next) => marker = next,
            None => break,
        }
    }
    assert_eq!(seen, ["a", "a/", "b/", "c", "c/", "d e"]);
    assert_eq!(fixture.send(&v2().query("start-after", "b/1")).await.elements("Key"), ["b/2/3", "c", "c/", "d e"]);
    let none = fixture.send(&v2().query("max-keys", "0")).await;
    assert_eq!((none.elements("Key").len(), none.element("IsTruncated").as_deref()), (0, Some("false")));
    for (name, value) in [
        ("max-keys", "x"),
        ("max-keys", "-1"),
        ("max-keys", "2147483648"),
        ("encoding-type", "base64"),
        ("continuation-token", "!"),
    ] {
        assert_eq!(fixture.outcome(&v2().query(name, value)).await, refused(400, "InvalidArgument"), "{name}={value}");
    }
    let owner = fixture.send(&v2().query("fetch-owner", "true").query("max-keys", "1")).await;
    assert!(owner.text().contains("<DisplayName>tester</DisplayName>"));
    assert!(!top.text().contains("<Owner>"));
}

#[tokio::test]
async fn versions_are_kept_hidden_and_removed() {
    let fixture = Fixture::start().await;
    let set = |status: &str| {
        let document = format!("<VersioningConfiguration><Status>{status}</Status></VersioningConfiguration>");
        bucket("PUT").query("versioning", "").body(document)
    };
    assert_eq!(fixture.send(&bucket("GET").query("versioning", "")).await.element("Status"), None);
    assert_eq!(fixture.put("k", "zero").await.header("x-amz-version-id"), None);
    assert_eq!(fixture.outcome(&set("On")).await, refused(400, "MalformedXML"));
    assert_eq!(fixture.send(&set("Enabled")).await.status, 200);
    assert_eq!(fixture.send(&bucket("GET").query("versioning", "")).await.element("Status").as_deref(), Some("Enabled"));
    let one = fixture.put("k", "one").await.header("x-amz-version-id").unwrap().to_owned();
    let two = fixture.put("k", "two").await.header("x-amz-version-id").unwrap().to_owned();
    let get = |version: &str| object("GET", "k").query("versionId", version);
    assert_eq!(fixture.send(&get(&one)).await.text(), "one");
    assert_eq!(fixture.send(&get("null")).await.text(), "zero");
    assert_eq!(fixture.get("k").await.header("x-amz-version-id"), Some(two.as_str()));
    let deleted = fixture.send(&object("DELETE", "k")).await;
    assert_eq!(deleted.header("x-amz-delete-marker"), Some("true"));
    let marker = deleted.header("x-amz-version-id").unwrap().to_owned();
    let hidden = fixture.get("k").await;
    assert_eq!((hidden.status, hidden.code(), hidden.header("x-amz-delete-marker")), (404, "NoSuchKey".into(), Some("true")));
    let named = fixture.send(&get(&marker)).await;
    assert_eq!((named.status, named.code(), named.header("allow")), (405, "MethodNotAllowed".into(), Some("DELETE")));
    assert_eq!(fixture.outcome(&get(&"0".repeat(32))).await, refused(404, "NoSuchVersion"));
    assert_eq!(fixture.outcome(&get("x")).await, refused(400, "InvalidArgument"));
    assert_eq!(fixture.outcome(&get("")).await, refused(400, "InvalidArgument"));
    let list = fixture.send(&bucket("GET").query("versions", "")).await;
    assert_eq!(list.elements("VersionId"), [marker.as_str(), &two, &one, "null"]);
    assert_eq!(list.elements("IsLatest"), ["true", "false", "false", "false"]);
    assert_eq!((list.elements("Version").len(), list.elements("DeleteMarker").len()), (3, 1));
    // Page by page.
    let (mut seen, mut next) = (Vec::new(), None);
    loop {
        let mut request = bucket("GET").query("versions", "").query("max-keys", "1");
        if let Some((key, version)) = next {
            request = request.query("key-marker", key).query("version-id-marker", version);
        }
        let page = fixture.send(&request).await;
        seen.extend(page.elements("VersionId"));
        next = page.element("NextKeyMarker").zip(page.element("NextVersionIdMarker"));
        if next.is_none() {
            break;
        }
    }
    assert_eq!(seen, [marker.as_str(), &two, &one, "null"]);
    assert_eq!(
        fixture.outcome(&bucket("GET").query("versions", "").query("version-id-marker", two.clone())).await,
        refused(400, "InvalidArgument")
    );
    // A copy from a marker by name is refused, from a version is not.
    let copy = |source: String| object("PUT", "copy").header("x-amz-copy-source", source);
    assert_eq!(fixture.outcome(&copy(format!("/bucket/k?versionId={marker}"))).await, refused(400, "InvalidRequest"));
    assert_eq!(fixture.outcome(&copy("/bucket/k".into())).await, refused(404, "NoSuchKey"));
    let copied = fixture.send(&copy(format!("/bucket/k?versionId={one}"))).await;
    assert_eq!((copied.status, copied.header("x-amz-copy-source-version-id")), (200, Some(one.as_str())));
    let removed = fixture.send(&object("DELETE", "k").query("versionId", marker.clone())).await;
    assert_eq!(
        (removed.header("x-amz-delete-marker"), removed.header("x-amz-version-id")),
        (Some("true"), Some(marker.as_str()))
    );
    assert_eq!(fixture.get("k").await.text(), "two");
    assert_eq!(fixture.send(&set("Suspended")).await.status, 200);
    // Writes tell ids that versioning made, and `null` is none: answers about a version that is there name it, and of writes those of copies
    // (as AWS was recorded to answer).
    assert_eq!(fixture.put("k", "three").await.header("x-amz-version-id"), None);
    let replaced = fixture.send(&get("null")).await;
    assert_eq!((replaced.text(), replaced.header("x-amz-version-id")), ("three".into(), Some("null")));
    let copied = fixture.send(&copy("/bucket/k".into())).await;
    assert_eq!((copied.header("x-amz-version-id"), copied.header("x-amz-copy-source-version-id")), (Some("null"), None));
    let upload = fixture.send(&object("POST", "parts").query("uploads", "")).await.element("UploadId").unwrap();
    let part = fixture.send(&object("PUT", "parts").query("partNumber", "1").query("uploadId", &*upload).body("x")).await;
    let etag = part.header("etag").unwrap();
    let list =
        format!("<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part></CompleteMultipartUpload>");
    let completed = fixture.send(&object("POST", "parts").query("uploadId", &*upload).body(list)).await;
    assert_eq!((completed.status, completed.header("x-amz-version-id")), (200, None));
}

#[tokio::test]
async fn many_are_deleted_at_once() {
    let fixture = Fixture::start().await;
    for key in ["a", "b&c", "d"] {
        fixture.put(key, "").await;
    }
    let delete = |document: &str| {
        let checksum = Checksum::Crc32.value(document.as_bytes());
        bucket("POST").query("delete", "").body(document).header("x-amz-checksum-crc32", checksum)
    };
    let bare = "<Delete><Object><Key>a</Key></Object></Delete>";
    assert_eq!(fixture.outcome(&bucket("POST").query("delete", "").body(bare)).await, refused(400, "InvalidRequest"));
    assert_eq!(fixture.outcome(&delete(bare).header("content-md5", "AAAAAAAAAAAAAAAAAAAAAA==")).await, refused(400, "BadDigest"));
    assert_eq!(fixture.outcome(&delete("<Delete/>")).await, refused(400, "MalformedXML"));
    assert_eq!(fixture.send(&object("HEAD", "a")).await.status, 200);
    let answer = fixture
        .send(&delete(
            "<Delete><Object><Key>a</Key></Object><Object><Key>b&amp;c</Key></Object><Object><Key>none</Key></Object>\
             <Object><Key>d</Key><VersionId>x</VersionId></Object></Delete>",
        ))
        .await;
    assert_eq!((answer.status, answer.elements("Deleted").len()), (200, 3), "{}", answer.text());
    assert_eq!(
        answer.element("Error").unwrap(),
        "<Key>d</Key><VersionId>x</VersionId><Code>NoSuchVersion</Code><Message>The specified version does not exist.</Message>"
    );
    let quiet = fixture.send(&delete("<Delete><Quiet>true</Quiet><Object><Key>d</Key></Object></Delete>")).await;
    assert_eq!((quiet.status, quiet.elements("Deleted").len()), (200, 0));
    assert_eq!(fixture.send(&bucket("GET")).await.elements("Key").len(), 0);
    let large = delete(&format!("<Delete>{}</Delete>", " ".repeat(3 << 20)));
    assert_eq!(fixture.outcome(&large).await, refused(400, "MaxMessageLengthExceeded"));
}
