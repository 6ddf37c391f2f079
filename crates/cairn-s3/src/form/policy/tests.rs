use super::*;

const NOW: u64 = 1_767_225_600;

struct Form(Vec<(&'static str, &'static str)>);

impl Fields for Form {
    fn value(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(own, _)| *own == name).map(|(_, value)| *value)
    }

    fn names(&self) -> Vec<&str> {
        self.0.iter().map(|(name, _)| *name).collect()
    }
}

fn policy(conditions: &str) -> S3Result<Policy> {
    let text = format!("{{\"expiration\": \"2026-01-01T00:00:01.000Z\", \"conditions\": [{conditions}]}}");
    Policy::parse(&base64::encode(text.as_bytes()))
}

fn check(conditions: &str, fields: &[(&'static str, &'static str)]) -> Result<(), String> {
    policy(conditions).unwrap().check(&Form(fields.to_vec()), "b", NOW).map_err(|error| error.to_string())
}

fn denied_for(outcome: &Result<(), String>) -> &str {
    outcome
        .as_ref()
        .err()
        .and_then(|error| error.strip_prefix("AccessDenied: Invalid according to Policy: "))
        .unwrap_or("allowed")
}

#[test]
fn conditions_are_held() {
    let all = r#"{"bucket": "b"}, ["StArTs-WiTh", "$KeY", "user/"], ["eq", "$acl", "private"], {"x-amz-meta-n": 7}"#;
    let fields =
        [("key", "user/a"), ("acl", "private"), ("x-amz-meta-n", "7"), ("file", ""), ("policy", "…"), ("x-ignore-me", "1")];
    assert_eq!(check(all, &fields), Ok(()));
    for (changed, told) in [
        (("key", "other/a"), r#"Policy Condition failed: ["starts-with", "$key", "user/"]"#),
        (("acl", "public-read"), r#"Policy Condition failed: ["eq", "$acl", "private"]"#),
        (("x-amz-meta-n", "8"), r#"Policy Condition failed: ["eq", "$x-amz-meta-n", "7"]"#),
        (("content-type", "text/html"), "Extra input fields: content-type"),
    ] {
        let mut fields = fields.to_vec();
        fields.retain(|(name, _)| *name != changed.0);
        fields.push(changed);
        assert_eq!(denied_for(&check(all, &fields)), told);
    }
    assert_eq!(denied_for(&check(r#"{"bucket": "other"}"#, &[])), r#"Policy Condition failed: ["eq", "$bucket", "other"]"#);
    // A field that is not there has no value; anything begins with nothing.
    assert_eq!(denied_for(&check(r#"{"acl": ""}"#, &[])), r#"Policy Condition failed: ["eq", "$acl", ""]"#);
    assert_eq!(check(r#"{"bucket": "b"}, ["starts-with", "$content-type", ""]"#, &[("content-type", "a/b")]), Ok(()));
    // A form's own field of that name does not stand in for the bucket.
    assert_eq!(
        denied_for(&check(r#"{"bucket": "x"}"#, &[("bucket", "x")])),
        r#"Policy Condition failed: ["eq", "$bucket", "x"]"#
    );
    // A policy that names no bucket would be one for any.
    assert_eq!(denied_for(&check(r#"["eq", "$key", "k"]"#, &[("key", "k")])), "Extra input fields: bucket");
    assert_eq!(check(r#"["starts-with", "$bucket", ""]"#, &[]), Ok(()));
}

#[test]
fn what_cannot_be_met_never_is() {
    for (condition, shown) in [
        (r#"["eq", "key", "k"]"#, r#"["eq", "key", "k"]"#),
        (r#"["content-length-range", "test", "10"]"#, r#"["content-length-range", "test", "10"]"#),
    ] {
        let conditions = format!(r#"{{"bucket": "b"}}, ["starts-with", "$key", ""], {condition}"#);
        assert_eq!(denied_for(&check(&conditions, &[("key", "k")])), format!("Policy Condition failed: {shown}"));
    }
}

#[test]
fn a_policy_ends() {
    let form = Form(Vec::new());
    let policy = policy(r#"{"bucket": "b"}"#).unwrap();
    assert!(policy.check(&form, "b", NOW).is_ok());
    assert_eq!(policy.check(&form, "b", NOW + 1).unwrap_err().message(), "Invalid according to Policy: Policy expired.");
}

#[test]
fn lengths_are_read() {
    assert_eq!(policy("").unwrap().length(), (0, u64::MAX));
    assert_eq!(policy(r#"["content-length-range", 1, "10"]"#).unwrap().length(), (1, 10));
    assert_eq!(policy(r#"["content-length-range", 1, 10], ["content-length-range", 3, 20]"#).unwrap().length(), (3, 10));
}

#[test]
fn what_is_no_policy_is_refused() {
    for conditions in [
        r#"["content-length-range", 0]"#,
        r#"["content-length-range", 0, null]"#,
        r#"["content-length-range", -1, 0]"#,
        r#"["content-length-range", 0, 1.5]"#,
        "[]",
        "[7]",
        r#"{"acl": true}"#,
        r#"["eq", "$key", []]"#,
        r#"["matches", "$key", "a"]"#,
        r#"{"a": "b", "c": "d"}"#,
        "{}",
        "7",
    ] {
        assert_eq!(policy(conditions).unwrap_err().code().name, "InvalidPolicyDocument", "{conditions}");
    }
    for text in [
        "",
        "[]",
        "{}",
        r#"{"expiration": "2026-01-01T00:00:01Z"}"#,
        r#"{"conditions": []}"#,
        r#"{"EXPIRATION": "2026-01-01T00:00:01Z", "conditions": []}"#,
        r#"{"expiration": "2026-01-01T00:00:01Z", "CONDITIONS": []}"#,
        r#"{"expiration": "2026-13-01T00:00:01Z", "conditions": []}"#,
        r#"{"expiration": "1 January", "conditions": []}"#,
        r#"{"expiration": 7, "conditions": []}"#,
    ] {
        let code = Policy::parse(&base64::encode(text.as_bytes())).unwrap_err().code().name;
        assert_eq!(code, "InvalidPolicyDocument", "{text}");
    }
    assert!(Policy::parse("%%%").is_err());
}
