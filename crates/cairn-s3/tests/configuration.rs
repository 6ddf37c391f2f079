//! What a bucket is told of access to it, kept as it was told; and what a new bucket has from the start.

mod common;

use cairn_s3::Config;
use cairn_store::api::{Access, Grant, GrantScope};
use cairn_testkit::s3_client::{Answer, S3Request};
use common::{Fixture, bucket, object, refused, small_limits};

const BLOCKS: [&str; 4] = ["BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"];

fn block(method: &str) -> S3Request {
    bucket(method).query("publicAccessBlock", "")
}

fn controls(method: &str) -> S3Request {
    bucket(method).query("ownershipControls", "")
}

fn blocking(names: &[&str]) -> S3Request {
    let values: String = BLOCKS.map(|name| format!("<{name}>{}</{name}>", names.contains(&name))).concat();
    block("PUT").body(format!("<PublicAccessBlockConfiguration>{values}</PublicAccessBlockConfiguration>"))
}

fn owned_by(rule: &str) -> S3Request {
    let rule = format!("<Rule><ObjectOwnership>{rule}</ObjectOwnership></Rule>");
    controls("PUT").body(format!("<OwnershipControls>{rule}</OwnershipControls>"))
}

fn blocked(answer: &Answer) -> Vec<&'static str> {
    assert_eq!(answer.status, 200, "{}", answer.text());
    BLOCKS.into_iter().filter(|name| answer.element(name).as_deref() == Some("true")).collect()
}

#[tokio::test]
async fn what_is_blocked_of_public_access_is_kept_and_stays_deleted() {
    let fixture = Fixture::start().await;
    assert_eq!(blocked(&fixture.send(&block("GET")).await), BLOCKS, "a new bucket");
    for names in [&BLOCKS[1..3], &[], &BLOCKS] {
        assert_eq!(fixture.send(&blocking(names)).await.status, 200);
        assert_eq!(blocked(&fixture.send(&block("GET")).await), names);
    }
    // What is not spoken of is not blocked.
    let one = "<PublicAccessBlockConfiguration><BlockPublicPolicy>TRUE</BlockPublicPolicy></PublicAccessBlockConfiguration>";
    assert_eq!(fixture.send(&block("PUT").body(one)).await.status, 200);
    for (document, code) in [
        ("x", "MalformedXML"),
        ("<PublicAccessBlockConfiguration/>", "InvalidRequest"),
        ("<PublicAccessBlockConfiguration><BlockPublicAcls>1</BlockPublicAcls></PublicAccessBlockConfiguration>", "MalformedXML"),
    ] {
        assert_eq!(fixture.outcome(&block("PUT").body(document)).await, refused(400, code), "{document}");
    }
    assert_eq!(blocked(&fixture.send(&block("GET")).await), ["BlockPublicPolicy"], "what was refused changed nothing");
    for _ in 0..2 {
        assert_eq!(fixture.send(&block("DELETE")).await.status, 204);
        let gone = fixture.send(&block("GET")).await;
        assert_eq!((gone.status, gone.code()), refused(404, "NoSuchPublicAccessBlockConfiguration"));
        assert_eq!(gone.element("BucketName").as_deref(), Some("bucket"));
    }
    assert_eq!(fixture.send(&blocking(&BLOCKS)).await.status, 200);
    assert_eq!(blocked(&fixture.send(&block("GET")).await), BLOCKS);
}

#[tokio::test]
async fn ownership_controls_stay_deleted_until_they_are_put() {
    let fixture = Fixture::start().await;
    for _ in 0..2 {
        assert_eq!(fixture.send(&controls("GET")).await.element("ObjectOwnership").as_deref(), Some("BucketOwnerEnforced"));
        assert_eq!(fixture.send(&controls("DELETE")).await.status, 204);
        assert_eq!(fixture.send(&controls("DELETE")).await.status, 204);
        let gone = fixture.send(&controls("GET")).await;
        assert_eq!((gone.status, gone.code()), refused(404, "OwnershipControlsNotFoundError"));
        assert_eq!(gone.element("BucketName").as_deref(), Some("bucket"));
        for (request, status, code) in [
            (owned_by("ObjectWriter"), 501, "NotImplemented"),
            (owned_by("BucketOwnerPreferred"), 501, "NotImplemented"),
            (owned_by("Anybody"), 400, "MalformedXML"),
            (controls("PUT").body("<OwnershipControls/>"), 400, "MalformedXML"),
            (controls("PUT").body("x"), 400, "MalformedXML"),
        ] {
            assert_eq!(fixture.outcome(&request).await, refused(status, code));
        }
        assert_eq!(fixture.send(&controls("GET")).await.status, 404, "what was refused changed nothing");
        assert_eq!(fixture.send(&owned_by("BucketOwnerEnforced")).await.status, 200);
    }
}

#[tokio::test]
async fn nothing_becomes_public_by_what_is_not_blocked() {
    let fixture = Fixture::start().await;
    fixture.put("k", "x").await;
    let refusals = [
        (bucket("PUT").query("acl", "").header("x-amz-acl", "public-read"), 400, "AccessControlListNotSupported"),
        (object("PUT", "k").query("acl", "").header("x-amz-acl", "public-read"), 400, "AccessControlListNotSupported"),
        (object("PUT", "k").header("x-amz-acl", "public-read"), 400, "AccessControlListNotSupported"),
        (bucket("PUT").query("policy", "").body("{}"), 501, "NotImplemented"),
    ];
    for step in [blocking(&BLOCKS), blocking(&[]), block("DELETE"), controls("DELETE")] {
        assert!(fixture.send(&step).await.status < 300);
        for (request, status, code) in &refusals {
            assert_eq!(fixture.outcome(request).await, refused(*status, code), "{:?}", request.query);
        }
        for target in ["/bucket", "/bucket/k"] {
            let nobody = fixture.client.anonymous(&S3Request::new("GET", target));
            let answer = fixture.client.send_raw(&nobody, false).await.unwrap();
            assert_eq!((answer.status, answer.code()), refused(403, "AccessDenied"));
        }
    }
}

#[tokio::test]
async fn only_who_administers_a_bucket_sets_it() {
    let fixture = Fixture::start().await;
    let own = fixture.bucket("bucket").await.id;
    fixture.add_key("WRITER", vec![Grant { scope: GrantScope::Bucket(own), access: Access::Write }]);
    let writer = fixture.client_of("WRITER");
    for request in [blocking(&[]), block("DELETE"), owned_by("BucketOwnerEnforced"), controls("DELETE")] {
        let answer = writer.send(&request).await.unwrap();
        assert_eq!((answer.status, answer.code()), refused(403, "AccessDenied"), "{:?}", request.query);
    }
    for request in [block("GET"), controls("GET")] {
        assert_eq!(writer.send(&request).await.unwrap().status, 200);
    }
}

fn create(name: &str, inside: &str) -> S3Request {
    let document = format!("<CreateBucketConfiguration>{inside}</CreateBucketConfiguration>");
    S3Request::new("PUT", format!("/{name}")).body(document)
}

fn tag(key: &str, value: &str) -> String {
    format!("<Tag><Key>{key}</Key><Value>{value}</Value></Tag>")
}

#[tokio::test]
async fn a_new_bucket_has_its_tags_from_the_start() {
    let fixture = Fixture::start().await;
    let tags = |name: &str| S3Request::new("GET", format!("/{name}")).query("tagging", "");
    let one = format!("<Tags>{}{}</Tags>", tag("team", "alps"), tag("cost", "7"));
    let made = fixture.send(&create("tagged", &one)).await;
    assert_eq!((made.status, made.header("x-amz-bucket-arn")), (200, Some("arn:aws:s3:::tagged")), "{}", made.text());
    let kept = fixture.send(&tags("tagged")).await;
    assert_eq!(
        (kept.elements("Key"), kept.elements("Value")),
        (vec!["cost".into(), "team".into()], vec!["7".into(), "alps".into()])
    );
    // Who makes a bucket that is there already is told so where tags come with it, and changes nothing.
    for (inside, status, code) in [
        (one.as_str(), 409, "BucketAlreadyOwnedByYou"),
        ("<Tags/>", 200, ""),
        ("", 200, ""),
        ("<Tags><Tag/></Tags>", 400, "MalformedXML"),
    ] {
        assert_eq!(fixture.outcome(&create("tagged", inside)).await, refused(status, code), "{inside}");
        assert_eq!(fixture.send(&tags("tagged")).await.elements("Key").len(), 2);
    }
    assert_eq!(fixture.send(&create("plain", "<Tags/>")).await.status, 200);
    assert_eq!(fixture.outcome(&tags("plain")).await, refused(404, "NoSuchTagSet"));
    for (inside, code) in [
        (tag("aws:x", "1"), "InvalidTag"),
        (tag("a,b", "1"), "InvalidTag"),
        (tag("a", "1,2"), "InvalidTag"),
        (tag("a", "1") + &tag("a", "2"), "InvalidTag"),
        ("<Tag><Key>a</Key></Tag>".to_owned(), "MalformedXML"),
        ((0..51).map(|number| tag(&format!("k{number}"), "")).collect::<String>(), "BadRequest"),
    ] {
        let refusal = fixture.send(&create("refused", &format!("<Tags>{inside}</Tags>"))).await;
        assert_eq!((refusal.status, refusal.code()), refused(400, code), "{inside}");
    }
    assert_eq!(fixture.send(&S3Request::new("HEAD", "/refused")).await.status, 404, "what was refused made no bucket");
    let reserved = fixture.send(&create("refused", &format!("<Tags>{}</Tags>", tag("aws:x", "1")))).await;
    assert!(reserved.element("Message").unwrap().starts_with("User-defined tag keys can"), "{}", reserved.text());
}

#[tokio::test]
async fn elsewhere_a_bucket_is_made_once() {
    let config = Config { region: "eu-west-1".to_owned(), limits: small_limits(), ..Config::default() };
    let fixture = Fixture::with(config).await;
    assert_eq!(fixture.outcome(&create("bucket", "")).await, refused(409, "BucketAlreadyOwnedByYou"));
    let inside = format!("<LocationConstraint>eu-west-1</LocationConstraint><Tags>{}</Tags>", tag("a", "b"));
    assert_eq!(fixture.send(&create("other", &inside)).await.status, 200);
    let kept = fixture.send(&S3Request::new("GET", "/other").query("tagging", "")).await;
    assert_eq!(kept.elements("Value"), ["b"]);
}
