//! What clients ask for in passing and nobody configured: the answers that AWS gives there, where they are true here.

mod common;

use cairn_store::api::{Access, Grant, GrantScope};
use cairn_testkit::s3_client::S3Request;
use common::{Fixture, bucket, object, refused};

fn of(request: S3Request, subresource: &str) -> S3Request {
    request.query(subresource, "")
}

#[tokio::test]
async fn questions_get_true_answers() {
    let fixture = Fixture::start().await;
    fixture.put("k", "x").await;
    for (subresource, status, code) in [
        ("abac", 200, ""),
        ("accelerate", 200, ""),
        ("acl", 200, ""),
        ("analytics", 200, ""),
        ("cors", 404, "NoSuchCORSConfiguration"),
        ("encryption", 404, "ServerSideEncryptionConfigurationNotFoundError"),
        ("intelligent-tiering", 200, ""),
        ("inventory", 200, ""),
        ("lifecycle", 404, "NoSuchLifecycleConfiguration"),
        ("location", 200, ""),
        ("logging", 200, ""),
        ("metadataConfiguration", 404, "MetadataConfigurationNotFound"),
        ("metadataTable", 404, "MetadataConfigurationNotFound"),
        ("metrics", 200, ""),
        ("notification", 200, ""),
        ("object-lock", 404, "ObjectLockConfigurationNotFoundError"),
        ("ownershipControls", 200, ""),
        ("policy", 404, "NoSuchBucketPolicy"),
        ("policyStatus", 404, "NoSuchBucketPolicy"),
        ("publicAccessBlock", 200, ""),
        ("replication", 404, "ReplicationConfigurationNotFoundError"),
        ("requestPayment", 200, ""),
        ("tagging", 404, "NoSuchTagSet"),
        ("versioning", 200, ""),
        ("website", 404, "NoSuchWebsiteConfiguration"),
    ] {
        assert_eq!(fixture.outcome(&of(bucket("GET"), subresource)).await, refused(status, code), "{subresource}");
    }
    for subresource in ["analytics", "intelligent-tiering", "inventory", "metrics"] {
        let list = fixture.send(&of(bucket("GET"), subresource)).await;
        assert_eq!((list.element("IsTruncated").as_deref(), list.element("Id")), (Some("false"), None), "{subresource}");
        let named = of(bucket("GET"), subresource).query("id", "report");
        assert_eq!(fixture.outcome(&named).await, refused(404, "NoSuchConfiguration"), "{subresource}");
        let removed = of(bucket("DELETE"), subresource).query("id", "report");
        assert_eq!(fixture.outcome(&removed).await, refused(404, "NoSuchConfiguration"), "{subresource}");
    }
    assert_eq!(fixture.send(&of(bucket("GET"), "abac")).await.element("Status").as_deref(), Some("Disabled"));
    // What says that it is empty says nothing else.
    for (subresource, root) in [
        ("accelerate", "AccelerateConfiguration"),
        ("logging", "BucketLoggingStatus"),
        ("notification", "NotificationConfiguration"),
        ("versioning", "VersioningConfiguration"),
    ] {
        let answer = fixture.send(&of(bucket("GET"), subresource)).await;
        assert!(answer.text().ends_with(&format!("\"></{root}>")), "{subresource}: {}", answer.text());
    }
    for (subresource, status, code) in
        [("acl", 200, ""), ("tagging", 200, ""), ("retention", 400, "InvalidRequest"), ("legal-hold", 400, "InvalidRequest")]
    {
        assert_eq!(fixture.outcome(&of(object("GET", "k"), subresource)).await, refused(status, code), "{subresource}");
        assert_eq!(fixture.outcome(&of(object("GET", "none"), subresource)).await, refused(404, "NoSuchKey"), "{subresource}");
    }
    let acl = fixture.send(&of(bucket("GET"), "acl")).await;
    assert_eq!((acl.elements("Permission").as_slice(), acl.elements("ID").len()), (&["FULL_CONTROL".to_owned()][..], 2));
}

#[tokio::test]
async fn only_what_holds_already_may_be_set() {
    let fixture = Fixture::start().await;
    let payer = |value: &str| format!("<RequestPaymentConfiguration><Payer>{value}</Payer></RequestPaymentConfiguration>");
    let acl = |value: &str| of(bucket("PUT"), "acl").header("x-amz-acl", value);
    let abac = |value: &str| of(bucket("PUT"), "abac").body(format!("<AbacStatus><Status>{value}</Status></AbacStatus>"));
    let notify = |inside: &str| {
        let document = format!("<NotificationConfiguration>{inside}</NotificationConfiguration>");
        of(bucket("PUT"), "notification").body(document)
    };
    let log = |inside: &str| of(bucket("PUT"), "logging").body(format!("<BucketLoggingStatus>{inside}</BucketLoggingStatus>"));
    let payment = |document: String| of(bucket("PUT"), "requestPayment").body(document);
    let policy = |id: &str, permission: &str| {
        format!(
            "<AccessControlPolicy><Owner><ID>{id}</ID></Owner><AccessControlList><Grant><Grantee><ID>{id}</ID></Grantee>\
             <Permission>{permission}</Permission></Grant></AccessControlList></AccessControlPolicy>"
        )
    };
    let own_id = fixture.bucket("bucket").await.owner.to_string();
    let grant = |id: &str, permission: &str| of(bucket("PUT"), "acl").body(policy(id, permission));
    for request in [
        acl("private"),
        acl("bucket-owner-full-control"),
        grant(&own_id, "FULL_CONTROL"),
        payment(payer("BucketOwner")),
        abac("Disabled"),
        notify(""),
        log(""),
    ] {
        assert_eq!(fixture.send(&request).await.status, 200, "{:?}", request.query);
        // Who may not configure the bucket is not told that it is so.
        let own = fixture.bucket("bucket").await.id;
        fixture.add_key("WRITER", vec![Grant { scope: GrantScope::Bucket(own), access: Access::Write }]);
        let answer = fixture.client_of("WRITER").send(&request).await.unwrap();
        assert_eq!((answer.status, answer.code()), refused(403, "AccessDenied"), "{:?}", request.query);
    }
    for (request, status, code) in [
        (acl("public-read"), 400, "AccessControlListNotSupported"),
        (acl("none"), 400, "InvalidArgument"),
        (acl("private").body("<AccessControlPolicy/>"), 400, "UnexpectedContent"),
        (of(bucket("PUT"), "acl").body("<AccessControlPolicy/>"), 400, "MalformedACLError"),
        (of(bucket("PUT"), "acl"), 400, "MissingSecurityHeader"),
        (acl("private").header("x-amz-grant-read", "id=1"), 400, "InvalidRequest"),
        (of(bucket("PUT"), "acl").header("x-amz-grant-read", "id=1"), 400, "AccessControlListNotSupported"),
        (grant(&own_id, "READ"), 400, "AccessControlListNotSupported"),
        (grant(&"0".repeat(64), "FULL_CONTROL"), 400, "AccessControlListNotSupported"),
        (S3Request::new("PUT", "/open").header("x-amz-acl", "public-read"), 400, "InvalidBucketAclWithObjectOwnership"),
        (object("PUT", "k").header("x-amz-acl", "public-read"), 400, "AccessControlListNotSupported"),
        (object("PUT", "k").header("x-amz-storage-class", "GLACIER"), 501, "NotImplemented"),
        (object("PUT", "k").header("x-amz-storage-class", "COLD"), 400, "InvalidStorageClass"),
        (S3Request::new("PUT", "/open").header("x-amz-object-ownership", "ObjectWriter"), 501, "NotImplemented"),
        (S3Request::new("PUT", "/open").header("x-amz-object-ownership", "Anybody"), 400, "InvalidArgument"),
        (abac("Enabled"), 501, "NotImplemented"),
        (abac("Sometimes"), 400, "MalformedXML"),
        (payment(payer("Nobody")), 400, "MalformedXML"),
        (notify("<TopicConfiguration/>"), 501, "NotImplemented"),
        (log("<LoggingEnabled/>"), 501, "NotImplemented"),
        (payment(payer("Requester")), 501, "NotImplemented"),
        (of(bucket("PUT"), "encryption").body("x"), 501, "NotImplemented"),
        (of(bucket("PUT"), "notification").body("x"), 400, "MalformedXML"),
    ] {
        assert_eq!(fixture.outcome(&request).await, refused(status, code), "{:?} {:?}", request.query, request.headers);
    }
}

#[tokio::test]
async fn an_objects_access_list_is_its_owners() {
    let fixture = Fixture::start().await;
    for acl in ["private", "bucket-owner-full-control"] {
        assert_eq!(fixture.send(&object("PUT", "k").header("x-amz-acl", acl).body("x")).await.status, 200, "{acl}");
        assert_eq!(fixture.send(&of(object("PUT", "k"), "acl").header("x-amz-acl", acl)).await.status, 200, "{acl}");
    }
    let none = of(object("PUT", "none"), "acl").header("x-amz-acl", "private");
    assert_eq!(fixture.outcome(&none).await, refused(404, "NoSuchKey"));
}

#[tokio::test]
async fn locks_are_refused_for_awss_reasons_while_those_hold() {
    let fixture = Fixture::start().await;
    fixture.put("k", "x").await;
    for subresource in ["retention", "legal-hold"] {
        let put = of(object("PUT", "k"), subresource).body("<x/>");
        assert_eq!(fixture.outcome(&put).await, refused(400, "InvalidRequest"), "{subresource}");
        let none = of(object("PUT", "none"), subresource).body("<x/>");
        assert_eq!(fixture.outcome(&none).await, refused(404, "NoSuchKey"), "{subresource}");
    }
    let lock = || of(bucket("PUT"), "object-lock").body("<ObjectLockConfiguration/>");
    assert_eq!(fixture.outcome(&lock()).await, refused(409, "InvalidBucketState"));
    let enable = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
    assert_eq!(fixture.send(&of(bucket("PUT"), "versioning").body(enable)).await.status, 200);
    assert_eq!(fixture.outcome(&lock()).await, refused(501, "NotImplemented"));
}
