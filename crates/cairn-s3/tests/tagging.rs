//! Tags over HTTP: of objects, of their versions, of buckets; and what else is asked of a version without its bytes.

mod common;

use cairn_store::api::{Access, Grant, GrantScope};
use cairn_testkit::s3_client::{Answer, Checksum, S3Request, path};
use common::{Fixture, bucket, object, refused};

fn tagging(tags: &[(&str, &str)]) -> String {
    let tags: Vec<_> = tags.iter().map(|(key, value)| format!("<Tag><Key>{key}</Key><Value>{value}</Value></Tag>")).collect();
    format!("<Tagging><TagSet>{}</TagSet></Tagging>", tags.concat())
}

fn tags_in(answer: &Answer) -> Vec<(String, String)> {
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.elements("Key").into_iter().zip(answer.elements("Value")).collect()
}

fn owned(tags: &[(&str, &str)]) -> Vec<(String, String)> {
    tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

impl Fixture {
    async fn tags(&self, key: &str) -> Vec<(String, String)> {
        tags_in(&self.send(&object("GET", key).query("tagging", "")).await)
    }
}

#[tokio::test]
async fn objects_have_tags_from_their_writing_on() {
    let fixture = Fixture::start().await;
    let put = object("PUT", "k").body("x").header("x-amz-tagging", "team=alps&cost%20centre=7%2B1");
    assert_eq!(fixture.send(&put).await.status, 200);
    assert_eq!(fixture.tags("k").await, owned(&[("cost centre", "7+1"), ("team", "alps")]));
    for method in ["GET", "HEAD"] {
        assert_eq!(fixture.send(&object(method, "k")).await.header("x-amz-tagging-count"), Some("2"), "{method}");
    }
    let modified = fixture.get("k").await.header("last-modified").map(str::to_owned);
    let etag = fixture.get("k").await.header("etag").map(str::to_owned);
    let set = object("PUT", "k").query("tagging", "").body(tagging(&[("b", "2"), ("a", "")]));
    assert_eq!(fixture.send(&set).await.status, 200);
    assert_eq!(fixture.tags("k").await, owned(&[("a", ""), ("b", "2")]));
    let got = fixture.get("k").await;
    assert_eq!(
        (got.text().as_str(), got.header("last-modified"), got.header("etag")),
        ("x", modified.as_deref(), etag.as_deref())
    );
    assert_eq!(fixture.send(&object("DELETE", "k").query("tagging", "")).await.status, 204);
    assert_eq!((fixture.tags("k").await.len(), fixture.get("k").await.header("x-amz-tagging-count")), (0, None));
    assert_eq!(fixture.get("k").await.text(), "x", "only the tags are gone");
    for method in ["GET", "DELETE"] {
        let missing = object(method, "none").query("tagging", "");
        assert_eq!(fixture.outcome(&missing).await, refused(404, "NoSuchKey"), "{method}");
    }
    let missing = object("PUT", "none").query("tagging", "").body(tagging(&[("a", "b")]));
    assert_eq!(fixture.outcome(&missing).await, refused(404, "NoSuchKey"));
    assert_eq!(fixture.send(&object("GET", "none")).await.status, 404, "tagging made no object");
}

#[tokio::test]
async fn what_cannot_be_a_tag_changes_nothing() {
    let fixture = Fixture::start().await;
    let put = object("PUT", "k").body("x").header("x-amz-tagging", "a=b");
    assert_eq!(fixture.send(&put).await.status, 200);
    let many: Vec<(String, String)> = (0..11).map(|number| (format!("k{number}"), String::new())).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    let (long_key, long_value) = ("k".repeat(129), "v".repeat(257));
    for (document, code) in [
        (tagging(&many), "BadRequest"),
        (tagging(&[(&long_key, "")]), "InvalidTag"),
        (tagging(&[("k", &long_value)]), "InvalidTag"),
        (tagging(&[("a", "1"), ("a", "2")]), "InvalidTag"),
        (tagging(&[("aws:x", "1")]), "InvalidTag"),
        (tagging(&[("*", "1")]), "InvalidTag"),
        (String::new(), "MalformedXML"),
    ] {
        let set = object("PUT", "k").query("tagging", "").body(document.clone());
        assert_eq!(fixture.outcome(&set).await, refused(400, code), "{document}");
    }
    for (header, code) in [("a=1&a=2", "InvalidArgument"), ("a=%", "InvalidArgument"), ("*=1", "InvalidTag")] {
        let put = object("PUT", "k").body("y").header("x-amz-tagging", header);
        assert_eq!(fixture.outcome(&put).await, refused(400, code), "{header}");
    }
    assert_eq!((fixture.tags("k").await, fixture.get("k").await.text()), (owned(&[("a", "b")]), "x".to_owned()));
}

#[tokio::test]
async fn every_version_has_its_own_tags() {
    let fixture = Fixture::start().await;
    let enable = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
    assert_eq!(fixture.send(&bucket("PUT").query("versioning", "").body(enable)).await.status, 200);
    let first = fixture.put("k", "one").await.header("x-amz-version-id").unwrap().to_owned();
    let second = fixture.put("k", "two").await.header("x-amz-version-id").unwrap().to_owned();
    for (version, value) in [(&first, "1"), (&second, "2")] {
        let set = object("PUT", "k").query("tagging", "").query("versionId", version.clone()).body(tagging(&[("n", value)]));
        let answer = fixture.send(&set).await;
        assert_eq!((answer.status, answer.header("x-amz-version-id")), (200, Some(version.as_str())));
    }
    assert_eq!(fixture.tags("k").await, owned(&[("n", "2")]));
    let older = object("GET", "k").query("tagging", "").query("versionId", first.clone());
    assert_eq!(tags_in(&fixture.send(&older).await), owned(&[("n", "1")]));
    let marker = fixture.send(&object("DELETE", "k")).await.header("x-amz-version-id").unwrap().to_owned();
    assert_eq!(fixture.outcome(&object("GET", "k").query("tagging", "")).await, refused(405, "MethodNotAllowed"));
    for method in ["GET", "DELETE"] {
        let named = object(method, "k").query("tagging", "").query("versionId", marker.clone());
        assert_eq!(fixture.outcome(&named).await, refused(405, "MethodNotAllowed"), "{method}");
    }
    assert_eq!(tags_in(&fixture.send(&older).await), owned(&[("n", "1")]));
}

#[tokio::test]
async fn tags_go_with_copies_and_uploads() {
    let fixture = Fixture::start().await;
    let put = object("PUT", "source").body("x").header("x-amz-tagging", "a=1");
    assert_eq!(fixture.send(&put).await.status, 200);
    let copy = |key: &str| object("PUT", key).header("x-amz-copy-source", "/bucket/source");
    for (key, request, expected) in [
        ("kept", copy("kept"), owned(&[("a", "1")])),
        // The header counts only with REPLACE (AWS).
        ("copied", copy("copied").header("x-amz-tagging-directive", "COPY").header("x-amz-tagging", "b=2"), owned(&[("a", "1")])),
        ("new", copy("new").header("x-amz-tagging-directive", "REPLACE").header("x-amz-tagging", "b=2"), owned(&[("b", "2")])),
        ("none", copy("none").header("x-amz-tagging-directive", "REPLACE"), owned(&[])),
    ] {
        assert_eq!(fixture.send(&request).await.status, 200, "{key}");
        assert_eq!(fixture.tags(key).await, expected, "{key}");
    }
    let unknown = copy("k").header("x-amz-tagging-directive", "MERGE");
    assert_eq!(fixture.outcome(&unknown).await, refused(400, "InvalidArgument"));
    let create = object("POST", "upload").query("uploads", "").header("x-amz-tagging", "u=1");
    let upload = fixture.send(&create).await.element("UploadId").unwrap();
    let part = object("PUT", "upload").query("uploadId", upload.clone()).query("partNumber", "1").body("part");
    let etag = fixture.send(&part).await.header("etag").unwrap().to_owned();
    let list =
        format!("<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part></CompleteMultipartUpload>");
    assert_eq!(fixture.send(&object("POST", "upload").query("uploadId", upload).body(list)).await.status, 200);
    assert_eq!(fixture.tags("upload").await, owned(&[("u", "1")]));
}

#[tokio::test]
async fn buckets_have_tags() {
    let fixture = Fixture::start().await;
    let get = bucket("GET").query("tagging", "");
    assert_eq!(fixture.outcome(&get).await, refused(404, "NoSuchTagSet"));
    let names: Vec<(String, String)> = (0..51).map(|number| (format!("k{number:02}"), "v".to_owned())).collect();
    let pairs: Vec<(&str, &str)> = names.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    assert_eq!(fixture.send(&bucket("PUT").query("tagging", "").body(tagging(&pairs[..50]))).await.status, 204);
    assert_eq!(tags_in(&fixture.send(&get).await), names[..50]);
    let too_many = bucket("PUT").query("tagging", "").body(tagging(&pairs));
    assert_eq!(fixture.outcome(&too_many).await, refused(400, "BadRequest"));
    assert_eq!(tags_in(&fixture.send(&get).await).len(), 50);
    assert_eq!(fixture.send(&bucket("DELETE").query("tagging", "")).await.status, 204);
    assert_eq!(fixture.outcome(&get).await, refused(404, "NoSuchTagSet"));
    assert_eq!(fixture.outcome(&S3Request::new("GET", "/missing").query("tagging", "")).await, refused(404, "NoSuchBucket"));
}

#[tokio::test]
async fn keys_do_with_tags_what_they_may_do_with_objects() {
    let fixture = Fixture::start().await;
    fixture.put("k", "x").await;
    assert_eq!(fixture.send(&S3Request::new("PUT", "/other")).await.status, 200);
    let (own, other) = (fixture.bucket("bucket").await.id, fixture.bucket("other").await.id);
    let grant = |bucket, access| vec![Grant { scope: GrantScope::Bucket(bucket), access }];
    fixture.add_key("READER", grant(own, Access::Read));
    fixture.add_key("WRITER", grant(own, Access::Write));
    fixture.add_key("STRANGER", grant(other, Access::Administer));
    let attributes = object("GET", "k").query("attributes", "").header("x-amz-object-attributes", "ETag");
    let document = || tagging(&[("a", "b")]);
    let set_object = object("PUT", "k").query("tagging", "").body(document());
    let tagged_put = object("PUT", "new").body("x").header("x-amz-tagging", "a=b");
    let tagged_upload = object("POST", "new").query("uploads", "").header("x-amz-tagging", "a=b");
    // What it is, and from which access on it is allowed.
    let all = [
        (object("GET", "k").query("tagging", ""), Access::Read),
        (attributes, Access::Read),
        (set_object, Access::Write),
        (object("DELETE", "k").query("tagging", ""), Access::Write),
        (tagged_put, Access::Write),
        (tagged_upload, Access::Write),
        (bucket("GET").query("cors", ""), Access::Read),
        (bucket("PUT").query("tagging", "").body(document()), Access::Administer),
        (bucket("DELETE").query("tagging", ""), Access::Administer),
        (bucket("PUT").query("cors", "").body("<CORSConfiguration/>"), Access::Administer),
        (bucket("DELETE").query("cors", ""), Access::Administer),
    ];
    for (key, access) in [("READER", Some(Access::Read)), ("WRITER", Some(Access::Write)), ("STRANGER", None)] {
        for (request, needed) in &all {
            let answer = fixture.client_of(key).send(request).await.unwrap();
            let is_denied = (answer.status, answer.code()) == refused(403, "AccessDenied");
            assert_eq!(is_denied, access < Some(*needed), "{key} {} {:?}: {}", request.method, request.query, answer.status);
        }
    }
    for (request, _) in &all {
        let answer = fixture.client.send_raw(&fixture.client.anonymous(request), false).await.unwrap();
        assert_eq!(
            (answer.status, answer.code()),
            refused(403, "AccessDenied"),
            "nobody: {} {:?}",
            request.method,
            request.query
        );
    }
}

#[tokio::test]
async fn attributes_tell_what_a_version_is() {
    let fixture = Fixture::start().await;
    let etag = fixture.put("k", "hello").await.header("etag").unwrap().trim_matches('"').to_owned();
    let ask = |key: &str, names: &str| object("GET", key).query("attributes", "").header("x-amz-object-attributes", names);
    let all = fixture.send(&ask("k", "ETag,Checksum,ObjectParts,StorageClass,ObjectSize")).await;
    assert_eq!(all.status, 200, "{}", all.text());
    let element = |name: &str| all.element(name);
    assert_eq!(
        (element("ETag"), element("ObjectSize"), element("StorageClass")),
        (Some(etag), Some("5".into()), Some("STANDARD".into()))
    );
    assert_eq!((element("ChecksumType"), element("ObjectParts")), (Some("FULL_OBJECT".into()), None));
    assert!(element("ChecksumCRC64NVME").is_some() && all.header("last-modified").is_some());
    let size = fixture.send(&ask("k", "ObjectSize")).await;
    assert_eq!((size.element("ETag"), size.element("ObjectSize")), (None, Some("5".into())), "nothing that was not asked for");
    for (names, status, code) in [("", 400, "InvalidRequest"), ("Size", 400, "InvalidArgument"), ("ETag,", 200, "")] {
        assert_eq!(fixture.outcome(&ask("k", names)).await, refused(status, code), "{names}");
    }
    assert_eq!(fixture.outcome(&ask("none", "ETag")).await, refused(404, "NoSuchKey"));
    // AWS tells of the parts only where their checksums make the object's.
    let begin = object("POST", "m").query("uploads", "").header("x-amz-checksum-algorithm", "CRC32");
    let upload = fixture.send(&begin).await.element("UploadId").unwrap();
    let sum = |length: usize| Checksum::Crc32.value("p".repeat(length).as_bytes());
    let mut list = Vec::new();
    // Numbers with gaps: the object's parts are counted without.
    for (number, length) in [(2, 100), (5, 100), (9, 7)] {
        let part = object("PUT", "m").query("uploadId", upload.clone()).query("partNumber", number.to_string());
        let part = part.body("p".repeat(length)).header("x-amz-checksum-crc32", sum(length));
        let etag = fixture.send(&part).await.header("etag").unwrap().to_owned();
        let checksum = sum(length);
        list.push(format!(
            "<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag><ChecksumCRC32>{checksum}</ChecksumCRC32></Part>"
        ));
    }
    let complete = object("POST", "m")
        .query("uploadId", upload)
        .body(format!("<CompleteMultipartUpload>{}</CompleteMultipartUpload>", list.concat()));
    assert_eq!(fixture.send(&complete).await.status, 200);
    let page = |after: &str, limit: &str| {
        ask("m", "ObjectParts").header("x-amz-part-number-marker", after).header("x-amz-max-parts", limit)
    };
    for (after, limit, numbers, sizes, truncated, next) in [
        ("0", "2", &["1", "2"][..], &["100", "100"][..], "true", "2"),
        ("2", "2", &["3"], &["7"], "false", "3"),
        ("0", "0", &[], &[], "false", "0"),
        ("7", "5", &[], &[], "false", "0"),
    ] {
        let answer = fixture.send(&page(after, limit)).await;
        assert_eq!(answer.elements("PartNumber"), numbers, "{}", answer.text());
        assert_eq!(answer.elements("Size"), sizes);
        assert_eq!((answer.element("IsTruncated"), answer.element("PartsCount")), (Some(truncated.into()), Some("3".into())));
        assert_eq!(answer.element("NextPartNumberMarker").as_deref(), Some(next));
    }
    assert_eq!(fixture.outcome(&page("x", "1")).await, refused(400, "InvalidArgument"));
    // By part, with the part's own checksum: what was read can be held against it.
    let by_part = object("GET", "m").query("partNumber", "3").header("x-amz-checksum-mode", "ENABLED");
    let by_part = fixture.send(&by_part).await;
    assert_eq!(by_part.header("x-amz-checksum-crc32"), Some(sum(7).as_str()));
}

/// "Conditional delete evaluations only apply to the current version of the object" (AWS).
#[tokio::test]
async fn conditions_of_a_delete_are_about_the_current_version() {
    let fixture = Fixture::start().await;
    let enable = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
    assert_eq!(fixture.send(&bucket("PUT").query("versioning", "").body(enable)).await.status, 200);
    let first = fixture.put("k", "one").await;
    let second = fixture.put("k", "two").await;
    let etag = |answer: &Answer| answer.header("etag").unwrap().to_owned();
    let version = |answer: &Answer| answer.header("x-amz-version-id").unwrap().to_owned();
    let delete = |of: &Answer, tag: String| object("DELETE", "k").query("versionId", version(of)).header("if-match", tag);
    assert_eq!(fixture.outcome(&delete(&first, etag(&first))).await, refused(412, "PreconditionFailed"));
    assert_eq!(fixture.outcome(&delete(&second, etag(&first))).await, refused(412, "PreconditionFailed"));
    assert_eq!(fixture.send(&delete(&first, etag(&second))).await.status, 204);
    let gone = object("GET", "k").query("versionId", version(&first));
    assert_eq!(fixture.outcome(&gone).await, refused(404, "NoSuchVersion"));
    let list = |tag: String| {
        let named = format!("<Object><Key>k</Key><VersionId>{}</VersionId><ETag>{tag}</ETag></Object>", version(&second));
        let document = format!("<Delete>{named}</Delete>");
        let checksum = Checksum::Crc32.value(document.as_bytes());
        bucket("POST").query("delete", "").body(document).header("x-amz-checksum-crc32", checksum)
    };
    assert_eq!(fixture.send(&list(etag(&first))).await.elements("Code"), ["PreconditionFailed"]);
    assert_eq!(fixture.get("k").await.text(), "two");
    assert_eq!(fixture.send(&delete(&second, "*".to_owned())).await.status, 204);
    assert_eq!(fixture.outcome(&S3Request::new("GET", path("bucket", "k"))).await, refused(404, "NoSuchKey"));
}
