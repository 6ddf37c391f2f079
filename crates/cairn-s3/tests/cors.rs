//! Rules of CORS over HTTP: kept, asked for by browsers, and told to them.

mod common;

use cairn_store::api::{Access, AccessKey, CorsRecord, CreateBucket, Grant, GrantScope, ObjectStore as _, SecretAccessKey};
use cairn_testkit::s3_client::{Answer, S3Request};
use cairn_types::{AccountId, TenantId};
use common::{Fixture, bucket, object, refused};

const RULES: &str = "<CORSConfiguration>\
    <CORSRule><ID>app</ID><AllowedOrigin>https://*.app.example</AllowedOrigin><AllowedMethod>GET</AllowedMethod>\
    <AllowedMethod>PUT</AllowedMethod><AllowedHeader>*</AllowedHeader><ExposeHeader>ETag</ExposeHeader>\
    <MaxAgeSeconds>600</MaxAgeSeconds></CORSRule>\
    <CORSRule><AllowedOrigin>*</AllowedOrigin><AllowedMethod>GET</AllowedMethod></CORSRule></CORSConfiguration>";

impl Fixture {
    async fn set_rules(&self) {
        assert_eq!(self.send(&bucket("PUT").query("cors", "").body(RULES)).await.status, 200);
    }

    /// What a browser asks, unsigned, before it lets a page do something.
    async fn preflight(&self, target: &str, headers: &[(&str, &str)]) -> Answer {
        let headers =
            headers.iter().fold(S3Request::new("OPTIONS", target), |request, (name, value)| request.header(name, *value));
        self.client.send_raw(&self.client.anonymous(&headers), false).await.unwrap()
    }
}

#[tokio::test]
async fn rules_are_kept_as_they_are() {
    let fixture = Fixture::start().await;
    let get = bucket("GET").query("cors", "");
    assert_eq!(fixture.outcome(&get).await, refused(404, "NoSuchCORSConfiguration"));
    fixture.set_rules().await;
    let kept = fixture.send(&get).await;
    assert_eq!(kept.elements("AllowedOrigin"), ["https://*.app.example", "*"]);
    assert_eq!(kept.elements("AllowedMethod"), ["GET", "PUT", "GET"]);
    assert_eq!((kept.element("ID"), kept.element("ExposeHeader")), (Some("app".into()), Some("ETag".into())));
    assert_eq!((kept.element("AllowedHeader"), kept.element("MaxAgeSeconds")), (Some("*".into()), Some("600".into())));
    for (document, code) in [
        ("<CORSConfiguration/>".to_owned(), "MalformedXML"),
        (RULES.replace("PUT", "PATCH"), "InvalidRequest"),
        (format!("{RULES}{}", " ".repeat(65_537)), "MaxMessageLengthExceeded"),
    ] {
        let refusal = fixture.outcome(&bucket("PUT").query("cors", "").body(document)).await;
        assert_eq!(refusal, refused(400, code));
    }
    assert_eq!(fixture.send(&get).await.elements("AllowedOrigin").len(), 2, "what was refused changed nothing");
    assert_eq!(fixture.send(&bucket("DELETE").query("cors", "")).await.status, 204);
    assert_eq!(fixture.outcome(&get).await, refused(404, "NoSuchCORSConfiguration"));
}

#[tokio::test]
async fn a_preflight_is_answered_by_the_rules_alone() {
    let fixture = Fixture::start().await;
    fixture.put("k", "x").await;
    let (origin, put) = (("origin", "https://a.app.example"), ("access-control-request-method", "PUT"));
    // Nothing tells a bucket without rules from one that is not there.
    let without = fixture.preflight("/bucket/k", &[origin, put]).await;
    let missing = fixture.preflight("/missing/k", &[origin, put]).await;
    for answer in [&without, &missing] {
        assert_eq!((answer.status, answer.code()), refused(403, "AccessForbidden"), "{}", answer.text());
    }
    let told = |answer: &Answer| (answer.element("Message"), answer.element("Method"), answer.element("ResourceType"));
    assert_eq!(told(&without), told(&missing));
    assert_eq!(told(&without).1.as_deref(), Some("PUT"));
    assert_eq!(told(&fixture.preflight("/bucket/k", &[origin]).await).1.as_deref(), Some("OPTIONS"));
    fixture.set_rules().await;
    for target in ["/bucket/k", "/bucket/none", "/bucket"] {
        let allowed =
            fixture.preflight(target, &[origin, put, ("access-control-request-headers", "content-type,X-Amz-Date")]).await;
        assert_eq!(allowed.status, 200, "{}", allowed.text());
        for (name, value) in [
            ("access-control-allow-origin", "https://a.app.example"),
            ("access-control-allow-methods", "GET, PUT"),
            ("access-control-allow-headers", "content-type, x-amz-date"),
            ("access-control-expose-headers", "ETag"),
            ("access-control-max-age", "600"),
            ("access-control-allow-credentials", "true"),
            ("content-length", "0"),
        ] {
            assert_eq!(allowed.header(name), Some(value), "{target} {name}");
        }
        assert!(allowed.header("vary").is_some_and(|vary| vary.contains("Origin")));
    }
    for (headers, status, code) in [
        (&[("origin", "https://evil.example"), put][..], 403, "AccessForbidden"),
        (&[origin, ("access-control-request-method", "DELETE")], 403, "AccessForbidden"),
        (&[origin, ("access-control-request-method", "PATCH")], 400, "BadRequest"),
        (&[origin], 400, "BadRequest"),
        (&[put], 400, "BadRequest"),
    ] {
        let answer = fixture.preflight("/bucket/k", headers).await;
        assert_eq!((answer.status, answer.code()), refused(status, code), "{headers:?}");
        assert_eq!(answer.header("access-control-allow-origin"), None);
    }
    let other = fixture.preflight("/bucket", &[("origin", "https://evil.example"), put]).await;
    assert_eq!((told(&other).1, told(&other).2), (Some("PUT".into()), Some("BUCKET".into())));
    let service = fixture.preflight("/", &[origin, put]).await;
    assert_eq!((service.status, service.code()), refused(405, "MethodNotAllowed"));
}

#[tokio::test]
async fn answers_tell_the_browser_who_may_see_them() {
    let fixture = Fixture::start().await;
    fixture.put("k", "x").await;
    let from = |request: S3Request, origin: &str| request.header("origin", origin);
    let silent = fixture.send(&from(object("GET", "k"), "https://a.app.example")).await;
    assert_eq!((silent.header("access-control-allow-origin"), silent.header("vary")), (None, None), "a bucket without rules");
    fixture.set_rules().await;
    let own = fixture.send(&from(object("GET", "k"), "https://a.app.example")).await;
    assert_eq!((own.status, own.header("access-control-allow-origin")), (200, Some("https://a.app.example")));
    assert_eq!(own.header("access-control-expose-headers"), Some("ETag"));
    let other = fixture.send(&from(object("GET", "k"), "https://evil.example")).await;
    assert_eq!(
        (other.header("access-control-allow-origin"), other.header("access-control-allow-credentials")),
        (Some("*"), None)
    );
    let put = fixture.send(&from(object("PUT", "k").body("y"), "https://evil.example")).await;
    assert_eq!((put.status, put.header("access-control-allow-origin")), (200, None));
    // A cache that holds the answer must ask again for another origin.
    assert!(fixture.get("k").await.header("vary").is_some_and(|vary| vary.contains("Origin")));
    // Errors as well, so that the page learns the code; whoever is refused.
    let missing = fixture.send(&from(object("GET", "none"), "https://a.app.example")).await;
    assert_eq!((missing.status, missing.header("access-control-allow-origin")), (404, Some("https://a.app.example")));
    let nobody = fixture.client.anonymous(&from(object("GET", "k"), "https://a.app.example"));
    let nobody = fixture.client.send_raw(&nobody, false).await.unwrap();
    assert_eq!((nobody.status, nobody.code()), refused(403, "AccessDenied"));
    assert_eq!(nobody.header("access-control-allow-origin"), Some("https://a.app.example"));
}

#[tokio::test]
async fn a_presigned_url_is_asked_for_in_its_keys_tenant() {
    let fixture = Fixture::start().await;
    let tenant = TenantId(7);
    let account = AccountId([0x22; 32]);
    let grants = vec![Grant { scope: GrantScope::Tenant, access: Access::Administer }];
    fixture.store.add_key(AccessKey {
        access_key_id: "TENANTS".into(),
        secret: SecretAccessKey::new("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
        tenant,
        account,
        account_name: "tenant".into(),
        grants,
    });
    let made = fixture
        .store
        .create_bucket(CreateBucket { tenant, name: "theirs".parse().unwrap(), owner: account, tags: Vec::new() })
        .await
        .unwrap();
    let client = fixture.client_of("TENANTS");
    let set = S3Request::new("PUT", "/theirs").query("cors", "").body(RULES);
    assert_eq!(client.send(&set).await.unwrap().status, 200);
    let (origin, put) = (("origin", "https://a.app.example"), ("access-control-request-method", "PUT"));
    let presigned = client.presigned(&S3Request::new("PUT", "/theirs/k"), 60);
    assert_eq!(fixture.preflight(&presigned, &[origin, put]).await.status, 200);
    // The same name in the tenant of those who sign nothing is another bucket, or none.
    assert_eq!(fixture.preflight("/theirs/k", &[origin, put]).await.status, 403);
    fixture.store.set_bucket_cors(made.id, CorsRecord::default()).await.unwrap();
    assert_eq!(fixture.preflight(&presigned, &[origin, put]).await.status, 403);
}
