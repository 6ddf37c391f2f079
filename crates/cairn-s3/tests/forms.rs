//! Forms over HTTP: what browsers upload, as far as the policy allows it.

mod common;

use cairn_store::api::{Access, Grant, GrantScope};
use cairn_testkit::s3_client::{Answer, S3Request};
use common::{Fixture, ROOT, bucket, object, refused};

/// A form in the making.
#[derive(Clone)]
struct Form {
    fields: Vec<(String, String)>,
    file: Option<Vec<u8>>,
    file_name: String,
    behind: String,
}

impl Form {
    fn new(fields: &[(&str, &str)]) -> Self {
        let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Self { fields, file: Some(b"hello".to_vec()), file_name: "a b.txt".to_owned(), behind: String::new() }
    }

    fn field(mut self, name: &str, value: &str) -> Self {
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    fn file(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.file = Some(bytes.into());
        self
    }

    fn body(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for (name, value) in &self.fields {
            let part = format!("--bOuNdArY\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
            out.extend_from_slice(part.as_bytes());
        }
        if let Some(file) = &self.file {
            let head = format!(
                "--bOuNdArY\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{}\"\r\nContent-Type: x/y\r\n\r\n",
                self.file_name
            );
            out.extend_from_slice(head.as_bytes());
            out.extend_from_slice(file);
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(self.behind.as_bytes());
        out.extend_from_slice(b"--bOuNdArY--\r\n");
        out
    }
}

const ANY_KEY: &str = r#"{"bucket": "bucket"}, ["starts-with", "$key", ""]"#;

impl Fixture {
    async fn post(&self, form: &Form) -> Answer {
        self.post_bytes(form.body()).await
    }

    async fn post_bytes(&self, body: Vec<u8>) -> Answer {
        let request = bucket("POST").header("content-type", "multipart/form-data; boundary=bOuNdArY").body(body);
        self.client.send_raw(&self.client.anonymous(&request), false).await.unwrap()
    }

    /// A form that is signed with a policy of these conditions beside bucket and key.
    fn signed(&self, key: &str, conditions: &str) -> Form {
        let comma = if conditions.is_empty() { "" } else { ", " };
        let fields = self.client.form_fields(&format!("{ANY_KEY}{comma}{conditions}"), 60);
        Form { fields, ..Form::new(&[]) }.field("key", key)
    }
}

fn outcome(answer: &Answer) -> (u16, String) {
    (answer.status, answer.code())
}

#[tokio::test]
async fn a_file_is_uploaded_with_what_the_form_says_of_it() {
    let fixture = Fixture::start().await;
    let more = r#"["starts-with", "$content-type", "text/"], {"x-amz-meta-by": "me"}, ["starts-with", "$tagging", ""]"#;
    let form = fixture
        .signed("user/${filename}", more)
        .field("Content-Type", "text/plain")
        .field("x-amz-meta-by", "me")
        .field("tagging", "<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>")
        .field("x-ignore-this", "anything");
    let answer = fixture.post(&form).await;
    assert_eq!((answer.status, answer.body.len()), (204, 0), "{}", answer.text());
    assert!(answer.header("location").is_some_and(|location| location.ends_with("/bucket/user/a%20b.txt")));
    let got = fixture.get("user/a b.txt").await;
    assert_eq!((got.text().as_str(), got.header("etag")), ("hello", answer.header("etag")));
    assert_eq!((got.header("content-type"), got.header("x-amz-meta-by")), (Some("text/plain"), Some("me")));
    assert_eq!(got.header("x-amz-tagging-count"), Some("1"));
    // Any field may name the file, by what stands behind its last slash; where no name was sent, it stays as it is.
    let named = r#"{"x-amz-meta-file": "c.txt"}"#;
    for (sent, stored) in [("C:\\a\\c.txt", "user/c.txt"), ("/a/b/c.txt", "user/c.txt")] {
        let mut form = fixture.signed("user/${filename}", named).field("x-amz-meta-file", "${filename}");
        form.file_name = sent.to_owned();
        assert_eq!(fixture.post(&form).await.status, 204, "{sent}");
        assert_eq!(fixture.get(stored).await.header("x-amz-meta-file"), Some("c.txt"), "{sent}");
    }
    let mut nameless = fixture.signed("user/${filename}", "");
    nameless.file_name = String::new();
    assert_eq!(fixture.post(&nameless).await.status, 204);
    assert_eq!(fixture.get("user/${filename}").await.status, 200);
    // Without a type in the form the object has none, whatever the file's part says.
    assert_eq!(fixture.post(&fixture.signed("plain", "")).await.status, 204);
    assert_eq!(fixture.get("plain").await.header("content-type"), Some("binary/octet-stream"));
}

#[tokio::test]
async fn what_the_form_promises_of_the_file_is_held_kept_and_told() {
    let fixture = Fixture::start().await;
    let any = r#"["starts-with", "$x-amz-checksum-algorithm", ""], ["starts-with", "$x-amz-checksum-sha256", ""], ["starts-with", "$x-amz-checksum-crc32", ""]"#;
    // Of "hello".
    let sha256 = "LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=";
    let sent =
        |fields: &[(&str, &str)]| fields.iter().fold(fixture.signed("k", any), |form, (name, value)| form.field(name, value));
    for fields in [&[("x-amz-checksum-sha256", sha256)][..], &[("x-amz-checksum-algorithm", "SHA256")]] {
        let answer = fixture.post(&sent(fields)).await;
        assert_eq!((answer.status, answer.header("x-amz-checksum-sha256")), (204, Some(sha256)), "{}", answer.text());
        assert_eq!(answer.header("x-amz-checksum-type"), Some("FULL_OBJECT"));
        let head = fixture.send(&object("HEAD", "k").header("x-amz-checksum-mode", "ENABLED")).await;
        assert_eq!(head.header("x-amz-checksum-sha256"), Some(sha256), "{fields:?}");
        assert_eq!(fixture.send(&object("DELETE", "k")).await.status, 204);
    }
    for (fields, status, code) in [
        (&[("x-amz-checksum-sha256", "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=")][..], 400, "BadDigest"),
        (&[("x-amz-checksum-sha256", "sailorjerry")], 400, "InvalidRequest"),
        (&[("x-amz-checksum-sha256", sha256), ("x-amz-checksum-crc32", "NhCmhg==")], 400, "InvalidRequest"),
        (&[("x-amz-checksum-sha256", sha256), ("x-amz-checksum-algorithm", "CRC32")], 400, "InvalidRequest"),
        (&[("x-amz-checksum-algorithm", "CRC33")], 400, "InvalidRequest"),
        // As everything in a form, it must be spoken of in the policy.
        (&[("x-amz-checksum-crc64nvme", "M3eFcAZSQlc=")], 403, "AccessDenied"),
    ] {
        let answer = fixture.post(&sent(fields)).await;
        assert_eq!(outcome(&answer), refused(status, code), "{fields:?}: {}", answer.text());
    }
    assert_eq!(fixture.get("k").await.status, 404, "what was refused stored nothing");
}

#[tokio::test]
async fn files_of_any_size_come_through_as_they_are() {
    let fixture = Fixture::start().await;
    let line = b"\r\n--bOuNdAr\r\n--bOuNdAr";
    for length in [0, 1, 1000, 16 << 10, (16 << 10) + 1, 300_000] {
        let file: Vec<u8> = line.iter().copied().cycle().take(length).collect();
        assert_eq!(fixture.post(&fixture.signed("k", "").file(file.clone())).await.status, 204, "{length}");
        assert!(fixture.get("k").await.body == file, "{length} bytes are not the same");
    }
    // What follows the file means nothing.
    let mut form = fixture.signed("k", "");
    form.behind = "--bOuNdArY\r\nContent-Disposition: form-data; name=\"key\"\r\n\r\nlate\r\n".to_owned();
    assert_eq!(fixture.post(&form).await.status, 204);
    assert_eq!(fixture.get("k").await.text(), "hello");
}

#[tokio::test]
async fn the_form_chooses_the_answer() {
    let fixture = Fixture::start().await;
    let status = r#"["starts-with", "$success_action_status", ""]"#;
    for (value, expected) in [("200", 200), ("201", 201), ("204", 204), ("404", 204), ("", 204)] {
        let answer = fixture.post(&fixture.signed("a b", status).field("success_action_status", value)).await;
        assert_eq!(answer.status, expected, "{value}");
        if expected == 201 {
            assert_eq!((answer.element("Bucket"), answer.element("Key")), (Some("bucket".into()), Some("a b".into())));
            assert_eq!(answer.element("ETag").map(|etag| etag.replace("&quot;", "\"")).as_deref(), answer.header("etag"));
            assert!(answer.element("Location").is_some_and(|location| location.ends_with("/bucket/a%20b")));
        }
    }
    let redirect = r#"["starts-with", "$success_action_redirect", ""]"#;
    let go = |target: &str| fixture.signed("a b", redirect).field("success_action_redirect", target);
    let etag = fixture.get("a b").await.header("etag").unwrap().replace('"', "%22");
    for (target, separator) in [("https://app.example/done", '?'), ("http://app.example/done?x=1", '&')] {
        let answer = fixture.post(&go(target)).await;
        let expected = format!("{target}{separator}bucket=bucket&key=a%20b&etag={etag}");
        assert_eq!((answer.status, answer.header("location")), (303, Some(expected.as_str())));
    }
    // What is no address of a page means nothing (AWS).
    assert_eq!(fixture.post(&go("javascript:alert(1)")).await.status, 204);
}

#[tokio::test]
async fn the_policy_is_held() {
    let fixture = Fixture::start().await;
    let told = |answer: &Answer| answer.element("Message").unwrap_or_default().replace("&quot;", "\"");
    let range = r#"["content-length-range", 3, 5]"#;
    for (form, status, code, message) in [
        (
            fixture.signed("k", r#"{"acl": "private"}"#),
            403,
            "AccessDenied",
            "Policy Condition failed: [\"eq\", \"$acl\", \"private\"]",
        ),
        (fixture.signed("k", "").field("x-amz-meta-a", "b"), 403, "AccessDenied", "Extra input fields: x-amz-meta-a"),
        (fixture.signed("k", r#"["starts-with", "$key", "user/"]"#), 403, "AccessDenied", "Policy Condition failed"),
        (fixture.signed("k", r#"{"bucket": "other"}"#), 403, "AccessDenied", "Policy Condition failed"),
        (fixture.signed("k", range).file("toolong"), 400, "EntityTooLarge", ""),
        (fixture.signed("k", range).file(vec![7; 200_000]), 400, "EntityTooLarge", ""),
        (fixture.signed("k", range).file("xx"), 400, "EntityTooSmall", ""),
        (fixture.signed("k", r#"["content-length-range", 0]"#), 400, "InvalidPolicyDocument", ""),
        (fixture.signed("k", r#"{"acl": "public-read"}"#).field("acl", "public-read"), 400, "AccessControlListNotSupported", ""),
        (fixture.signed("", ""), 400, "InvalidArgument", "'key'"),
        (fixture.signed("k", "").field("KEY", "other"), 400, "InvalidRequest", "two fields"),
        (fixture.signed(&"k".repeat(1025), ""), 400, "KeyTooLongError", ""),
        (
            fixture
                .signed("k", r#"{"content-md5": "AAAAAAAAAAAAAAAAAAAAAA=="}"#)
                .field("content-md5", "AAAAAAAAAAAAAAAAAAAAAA=="),
            400,
            "BadDigest",
            "",
        ),
    ] {
        let answer = fixture.post(&form).await;
        assert_eq!(outcome(&answer), refused(status, code), "{}", answer.text());
        assert!(told(&answer).contains(message), "{message}: {}", answer.text());
    }
    let expired = Form { fields: fixture.client.form_fields(ANY_KEY, -1), ..Form::new(&[]) }.field("key", "k");
    let answer = fixture.post(&expired).await;
    assert_eq!(outcome(&answer), refused(403, "AccessDenied"));
    assert!(told(&answer).ends_with("Policy expired."));
    assert_eq!(fixture.post(&fixture.signed("k", range).file("three")).await.status, 204);
    assert_eq!(fixture.get("k").await.text(), "three");
    assert_eq!(fixture.send(&bucket("GET")).await.elements("Key"), ["k"], "what was refused stored nothing");
}

#[tokio::test]
async fn only_who_signed_may_upload() {
    let fixture = Fixture::start().await;
    let with = |name: &str, value: &str| {
        let mut form = fixture.signed("k", "");
        form.fields.retain(|(own, _)| own != name);
        if value.is_empty() { form } else { form.field(name, value) }
    };
    let other_policy = fixture.client.form_fields(r#"["starts-with", "$key", ""]"#, 6000).pop().unwrap().1;
    for (form, status, code) in [
        (Form::new(&[("key", "k")]), 403, "AccessDenied"),
        (with("policy", &other_policy), 403, "SignatureDoesNotMatch"),
        (with("x-amz-signature", &"0".repeat(64)), 403, "SignatureDoesNotMatch"),
        (with("x-amz-signature", "x"), 403, "SignatureDoesNotMatch"),
        (with("x-amz-signature", ""), 400, "InvalidArgument"),
        (with("policy", ""), 400, "InvalidArgument"),
        (with("x-amz-date", ""), 400, "InvalidArgument"),
        (with("x-amz-date", "20000101T000000Z"), 400, "InvalidArgument"),
        (with("x-amz-algorithm", "AWS4-HMAC-SHA1"), 400, "InvalidArgument"),
        (with("x-amz-credential", "AKIA/20260101/us-east-1/s3/aws4_request"), 400, "InvalidArgument"),
        (with("x-amz-credential", "nonsense"), 400, "InvalidArgument"),
        (with("x-amz-credential", "AKIA/20260101/eu-west-1/s3/aws4_request"), 400, "InvalidArgument"),
        (with("x-amz-security-token", "x"), 400, "InvalidToken"),
        (with("AWSAccessKeyId", "x"), 400, "InvalidRequest"),
        (Form::new(&[("key", "k"), ("policy", &other_policy)]), 400, "InvalidArgument"),
    ] {
        let answer = fixture.post(&form).await;
        assert_eq!(outcome(&answer), refused(status, code), "{}", answer.text());
    }
    // Who signs wrongly finds the difference in these, by either version.
    let v2 = [("key", "k"), ("AWSAccessKeyId", ROOT), ("signature", "AAAA"), ("policy", &other_policy)];
    for (form, claimed) in [(with("x-amz-signature", "x"), "x"), (Form::new(&v2), "AAAA")] {
        let sent = form.fields.iter().find(|(name, _)| name == "policy").map(|(_, value)| value.clone());
        let answer = fixture.post(&form).await;
        assert_eq!(outcome(&answer), refused(403, "SignatureDoesNotMatch"));
        assert_eq!((answer.element("AWSAccessKeyId").as_deref(), answer.element("StringToSign")), (Some(ROOT), sent));
        assert_eq!(answer.element("SignatureProvided").as_deref(), Some(claimed));
    }
    assert_eq!(fixture.send(&S3Request::new("PUT", "/other")).await.status, 200);
    let (own, other) = (fixture.bucket("bucket").await.id, fixture.bucket("other").await.id);
    for (id, scope, access) in
        [("READER", own, Access::Read), ("STRANGER", other, Access::Administer), ("WRITER", own, Access::Write)]
    {
        fixture.add_key(id, vec![Grant { scope: GrantScope::Bucket(scope), access }]);
        let fields = fixture.client_of(id).form_fields(ANY_KEY, 60);
        let answer = fixture.post(&Form { fields, ..Form::new(&[]) }.field("key", id)).await;
        let expected = if id == "WRITER" { (204, String::new()) } else { refused(403, "AccessDenied") };
        assert_eq!(outcome(&answer), expected, "{id}");
    }
    assert_eq!(fixture.send(&bucket("GET")).await.elements("Key"), ["WRITER"]);
}

#[tokio::test]
async fn what_is_no_form_is_refused() {
    let fixture = Fixture::start().await;
    let whole = fixture.signed("k", "").body();
    let file_less = Form { file: None, ..fixture.signed("k", "") };
    assert_eq!(outcome(&fixture.post(&file_less).await), refused(400, "IncorrectNumberOfFilesInPostRequest"));
    let long = fixture.signed("k", "").field("x-ignore-long", &"x".repeat(21 << 10));
    assert_eq!(outcome(&fixture.post(&long).await), refused(400, "MaxPostPreDataLengthExceeded"));
    // A request that ends as it says, with a form that does not.
    for length in [0, 10, whole.len() - 100, whole.len() - 10] {
        assert_eq!(
            outcome(&fixture.post_bytes(whole[..length].to_vec()).await),
            refused(400, "MalformedPOSTRequest"),
            "{length}"
        );
    }
    for (content_type, status, code) in [
        ("text/plain", 412, "PreconditionFailed"),
        ("multipart/form-data", 400, "MalformedPOSTRequest"),
        ("multipart/form-data; boundary=other", 400, "MalformedPOSTRequest"),
    ] {
        let request = bucket("POST").header("content-type", content_type).body(whole.clone());
        let answer = fixture.client.send_raw(&fixture.client.anonymous(&request), false).await.unwrap();
        assert_eq!(outcome(&answer), refused(status, code), "{content_type}");
    }
    let request = bucket("POST").header("content-type", "multipart/form-data; boundary=bOuNdArY").body(whole.clone());
    assert_eq!(fixture.outcome(&request).await, refused(501, "NotImplemented"), "a form in a signed request");
    assert_eq!(fixture.outcome(&object("GET", "k")).await, refused(404, "NoSuchKey"));
    assert_eq!(fixture.post_bytes(whole).await.status, 204);
}

#[tokio::test]
async fn pages_of_other_origins_are_told() {
    let fixture = Fixture::start().await;
    let rules = "<CORSConfiguration><CORSRule><AllowedOrigin>https://app.example</AllowedOrigin><AllowedMethod>POST</AllowedMethod>\
                 </CORSRule></CORSConfiguration>";
    assert_eq!(fixture.send(&bucket("PUT").query("cors", "").body(rules)).await.status, 200);
    for (form, status) in [(fixture.signed("k", ""), 204), (fixture.signed("k", r#"{"acl": "private"}"#), 403)] {
        let request = bucket("POST")
            .header("content-type", "multipart/form-data; boundary=bOuNdArY")
            .header("origin", "https://app.example")
            .body(form.body());
        let answer = fixture.client.send_raw(&fixture.client.anonymous(&request), false).await.unwrap();
        assert_eq!((answer.status, answer.header("access-control-allow-origin")), (status, Some("https://app.example")));
    }
}
