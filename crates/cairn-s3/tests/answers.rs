//! Details of answers that clients read and that no other test looks at, each as AWS was seen to give it.

mod common;

use cairn_s3::Config;
use cairn_testkit::s3_client::S3Request;
use common::{Fixture, bucket, object, refused, small_limits};

#[tokio::test]
async fn listings_refuse_what_means_nothing() {
    let fixture = Fixture::start().await;
    for (name, value) in [("encoding-type", ""), ("encoding-type", "base64")] {
        for kind in ["prefix", "list-type", "versions", "uploads"] {
            let request = bucket("GET").query(kind, "2").query(name, value);
            assert_eq!(fixture.outcome(&request).await, refused(400, "InvalidArgument"), "{kind} {name}={value}");
        }
    }
    let list = || bucket("GET").query("list-type", "2");
    for key in ["a", "b", "c"] {
        fixture.put(key, "x").await;
    }
    let first = fixture.send(&list().query("max-keys", "1").query("start-after", "a")).await;
    assert_eq!(first.element("StartAfter").as_deref(), Some("a"));
    let token = first.element("NextContinuationToken").unwrap();
    let second = fixture.send(&list().query("continuation-token", token).query("start-after", "a")).await;
    assert_eq!(second.elements("Key"), ["c"]);
    let all = fixture.send(&list().query("continuation-token", "")).await;
    assert_eq!((all.elements("Key").len(), all.element("ContinuationToken").as_deref()), (3, Some("")));
}

#[tokio::test]
async fn buckets_tell_their_region_where_they_are_selected() {
    let fixture = Fixture::start().await;
    assert_eq!(fixture.send(&S3Request::new("GET", "/")).await.element("BucketRegion"), None);
    let selected = fixture.send(&S3Request::new("GET", "/").query("prefix", "b")).await;
    assert_eq!(selected.element("BucketRegion").as_deref(), Some("us-east-1"));

    let elsewhere =
        Fixture::with(Config { region: "eu-central-2".to_owned(), limits: small_limits(), ..Config::default() }).await;
    assert_eq!(elsewhere.outcome(&bucket("PUT")).await, refused(409, "BucketAlreadyOwnedByYou"));
    let document = "<CreateBucketConfiguration><LocationConstraint>mars</LocationConstraint></CreateBucketConfiguration>";
    let far = S3Request::new("PUT", "/second").body(document);
    assert_eq!(elsewhere.outcome(&far).await, refused(400, "IllegalLocationConstraintException"));
}

#[tokio::test]
async fn delete_markers_are_named_as_such() {
    let fixture = Fixture::start().await;
    let versioning = |status: &str| {
        bucket("PUT").query("versioning", "").body(format!("<VersioningConfiguration>{status}</VersioningConfiguration>"))
    };
    assert_eq!(fixture.outcome(&versioning("")).await, refused(400, "IllegalVersioningConfigurationException"));
    assert_eq!(fixture.outcome(&versioning("<Status>On</Status>")).await, refused(400, "MalformedXML"));
    assert_eq!(fixture.send(&versioning("<Status>Enabled</Status>")).await.status, 200);
    fixture.put("k", "x").await;
    let marker = fixture.send(&object("DELETE", "k")).await.header("x-amz-version-id").unwrap().to_owned();
    let named = fixture.send(&object("GET", "k").query("versionId", marker)).await;
    assert_eq!((named.status, named.element("ResourceType").as_deref()), (405, Some("DeleteMarker")));
    let tags = fixture.send(&object("GET", "k").query("tagging", "")).await;
    assert_eq!(
        (tags.status, tags.code(), tags.element("ResourceType").as_deref()),
        (405, "MethodNotAllowed".into(), Some("DeleteMarker"))
    );
    let full = fixture.send(&bucket("DELETE")).await;
    assert_eq!(
        full.element("Message").as_deref(),
        Some("The bucket you tried to delete is not empty. You must delete all versions in the bucket.")
    );
}

#[tokio::test]
async fn metadata_that_no_header_can_show_is_encoded() {
    let fixture = Fixture::start().await;
    assert_eq!(
        fixture
            .send(
                &object("PUT", "k")
                    .header("x-amz-meta-name", "=?UTF-8?Q?=C3=84_S3?=")
                    .header("x-amz-meta-plain", "=?UTF-8?B?YWJj?=")
                    .body("x")
            )
            .await
            .status,
        200
    );
    let head = fixture.send(&object("HEAD", "k")).await;
    assert_eq!((head.header("x-amz-meta-name"), head.header("x-amz-meta-plain")), (Some("=?UTF-8?Q?=C3=84_S3?="), Some("abc")));
}

#[tokio::test]
async fn a_presigned_url_can_carry_a_condition() {
    let fixture = Fixture::start().await;
    let bytes = fixture.client.presigned_request(&object("PUT", "k").query("If-None-Match", "*"), 60);
    assert_eq!(fixture.client.send_raw(&bytes, false).await.unwrap().status, 200);
    assert_eq!(fixture.client.send_raw(&bytes, false).await.unwrap().code(), "PreconditionFailed");
}

/// Also the last page of uploads says where it ends, and a prefix that nobody asked for is not told (AWS).
#[tokio::test]
async fn pages_of_uploads_say_where_they_end() {
    let fixture = Fixture::start().await;
    let list = || bucket("GET").query("uploads", "");
    let empty = fixture.send(&list()).await;
    assert_eq!((empty.element("NextKeyMarker").as_deref(), empty.element("NextUploadIdMarker").as_deref()), (Some(""), Some("")));
    assert_eq!(empty.element("Prefix"), None);
    let mut uploads = Vec::new();
    for key in ["a", "b/c"] {
        uploads.push(fixture.send(&object("POST", key).query("uploads", "")).await.element("UploadId").unwrap());
    }
    let all = fixture.send(&list()).await;
    assert_eq!(all.element("IsTruncated").as_deref(), Some("false"));
    assert_eq!((all.element("NextKeyMarker").as_deref(), all.element("NextUploadIdMarker")), (Some("b/c"), uploads.pop()));
    let folders = fixture.send(&list().query("delimiter", "/").query("prefix", "b")).await;
    assert_eq!((folders.element("NextKeyMarker").as_deref(), folders.element("Prefix").as_deref()), (Some(""), Some("b")));
}
