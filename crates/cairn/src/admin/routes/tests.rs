use bytes::Bytes;
use cairn_fuzz::Target;
use cairn_fuzz::exercise::exercise;

use super::*;
use crate::admin::api::{Access, Credentials, Grant, Scope, Secret};

#[test]
fn paths_and_queries_are_decoded_once() {
    assert_eq!(segments("/v1/keys/a%2Fb%252e").unwrap(), ["v1", "keys", "a/b%2e"]);
    assert_eq!(segments("/v1/buckets/%C3%A9").unwrap(), ["v1", "buckets", "é"]);
    for bad in ["/v1/%", "/v1/%4", "/v1/%zz", "/v1/%ff"] {
        assert_eq!(segments(bad).unwrap_err().code, FailureCode::Invalid, "{bad}");
    }
    let query = Query::parse("tenant=a%26b&limit=7&after").unwrap();
    assert_eq!((query.get("tenant"), query.get("after"), query.limit().unwrap()), (Some("a&b"), Some(""), 7));
}

#[test]
fn a_parameter_or_limit_that_is_not_understood_is_refused() {
    let operation = |name| operations::OPERATIONS.iter().find(|operation| operation.name == name).unwrap();
    let query = Query::parse("tenant=a&account=b").unwrap();
    assert!(query.allow(operation(Name::ListKeys).query).is_ok());
    assert!(query.allow(operation(Name::ListAccounts).query).unwrap_err().message.contains("account"));
    assert!(query.allow(operation(Name::CreateKey).query).is_err());
    for bad in ["limit=0", "limit=1001", "limit=-1", "limit=many", "limit="] {
        assert!(Query::parse(bad).unwrap().limit().is_err(), "{bad}");
    }
    assert!(Query::parse("tenant=a&tenant=b").is_err_and(|error| error.message.contains("twice")));
    assert_eq!(Query::parse("").unwrap().limit().unwrap(), LIST_LIMIT_MAX);
}

/// What the request of this method and path, below `/v1`, is to change.
fn change(method: &Method, path: &[&str], body: &Bytes) -> ApiResult<Change> {
    let segments: Vec<String> = ["v1"].iter().chain(path).map(|segment| (*segment).to_owned()).collect();
    let (operation, captured) = operations::find(method, &segments)?;
    Change::of(operation, &captured, body)
}

#[test]
fn requests_are_told_apart_by_path_and_method() {
    let body = Bytes::from_static(br#"{"name":"a"}"#);
    let new = NewTenant { name: "a".to_owned(), uid: None };
    assert_eq!(change(&Method::POST, &["tenants"], &body).unwrap(), Change::CreateTenant(new));
    assert_eq!(change(&Method::DELETE, &["keys", "A/B"], &body).unwrap(), Change::RevokeKey("A/B".to_owned()));
    for (path, code) in [
        (&["zones"][..], FailureCode::MethodNotAllowed),
        (&["keys", "a"], FailureCode::MethodNotAllowed),
        (&["keys", "a", "b"], FailureCode::UnknownPath),
        (&["other"], FailureCode::UnknownPath),
        (&["keys", ""], FailureCode::MethodNotAllowed),
        (&[], FailureCode::UnknownPath),
    ] {
        assert_eq!(change(&Method::POST, path, &body).unwrap_err().code, code, "{path:?}");
    }
    assert_eq!(change(&Method::DELETE, &["keys"], &body).unwrap_err().code, FailureCode::MethodNotAllowed);
    let other_version = ["v2", "tenants"].map(str::to_owned);
    assert!(operations::find(&Method::GET, &other_version).is_err_and(|error| error.code == FailureCode::UnknownPath));
}

#[tokio::test]
async fn everything_in_the_table_is_done_somewhere() {
    let admin = Admin::new([]);
    for operation in operations::OPERATIONS {
        let captured: Vec<&str> = operation.captured.iter().map(|_| "a").collect();
        let error = if operation.method == Method::GET {
            read(&admin, operation, &captured, &Query(Vec::new())).await.err()
        } else {
            Change::of(operation, &captured, &Bytes::new()).err()
        };
        // Those that come so far are told that the service is not open, or that the body is missing.
        assert!(error.is_none_or(|error| error.code != FailureCode::Internal), "{}", operation.id);
        assert_eq!(operation.path.matches('{').count(), operation.captured.len(), "{}", operation.id);
        assert_eq!(operation.query.iter().any(|parameter| parameter.name == "limit"), operation.id.starts_with("list"));
    }
}

#[test]
fn a_field_that_is_not_understood_is_refused() {
    let with = |grant: &str| change(&Method::POST, &["keys"], &Bytes::from(format!(r#"{{"grants":[{grant}]}}"#)));
    let grant = Grant { scope: Scope::Bucket, bucket: Some("b".to_owned()), access: Access::Read };
    let Ok(Change::CreateKey(key)) = with(r#"{"scope":"bucket","bucket":"b","access":"read"}"#) else { panic!("refused") };
    assert_eq!(key.grants, [grant]);
    // Had these been passed over, the key would open more than was meant.
    assert!(with(r#"{"scope":"bucket","bucket":"b","access":"write","prefix":"only/"}"#).is_err());
    assert!(with(r#"{"scope":"bucket","bucket":"b"}"#).is_err());
    assert!(with(r#"{"scope":"everything","access":"read"}"#).is_err());
    assert!(change(&Method::POST, &["keys"], &Bytes::from_static(br#"{"grants":[],"readonly":true}"#)).is_err());
}

#[test]
fn what_is_logged_holds_no_secret() {
    let credentials = Credentials { access_key_id: "ID".to_owned(), secret_access_key: Secret("hunter2-hunter2".to_owned()) };
    let asked = Change::CreateKey(NewKey {
        grants: Vec::new(),
        tenant: Some("line\nbreak".to_owned()),
        account: None,
        description: None,
        credentials: Some(credentials),
    });
    let logged = format!("{asked:?}");
    assert!(logged.contains("ID") && !logged.contains("hunter2") && !logged.contains('\n'), "{logged}");
    assert_eq!(asked.action(), "import a key");
}

/// A path, a query and a body, one a line: whatever they are, they make a request that says the same when it is written again, or none.
fn any_request(input: &[u8]) {
    let mut lines = input.splitn(3, |byte| *byte == b'\n').map(|line| std::str::from_utf8(line).unwrap_or_default());
    let (path, query, body) = (lines.next().unwrap_or(""), lines.next().unwrap_or(""), lines.next().unwrap_or(""));
    let encoded = |text: &str| text.bytes().map(|byte| format!("%{byte:02X}")).collect::<Vec<_>>().concat();
    if let Ok(query) = Query::parse(query) {
        let again: Vec<String> = query.0.iter().map(|(name, value)| format!("{}={}", encoded(name), encoded(value))).collect();
        if query.0.iter().all(|(name, value)| !name.is_empty() || !value.is_empty()) {
            assert_eq!(Query::parse(&again.join("&")).map(|again| again.0).unwrap(), query.0);
        }
        assert!(query.limit().is_err() || (1..=LIST_LIMIT_MAX).contains(&query.limit().unwrap()));
    }
    let Ok(segments) = segments(path) else { return };
    let path: Vec<&str> = segments.iter().map(String::as_str).collect();
    let _ = change(&Method::DELETE, &path, &Bytes::new());
    let Ok(asked) = change(&Method::POST, &path, &Bytes::copy_from_slice(body.as_bytes())) else { return };
    let again = match &asked {
        Change::CreateTenant(request) => serde_json::to_vec(request),
        Change::CreateAccount(request) => serde_json::to_vec(request),
        Change::CreateKey(request) => serde_json::to_vec(request),
        Change::DeleteTenant(_) | Change::DeleteAccount(_) | Change::RevokeKey(_) => panic!("a POST removes something"),
    };
    assert_eq!(change(&Method::POST, &path, &again.unwrap().into()).unwrap(), asked);
}

#[test]
fn any_bytes_are_a_request_or_refused() {
    let seeds = || {
        let key = r#"{"grants":[{"scope":"bucket","bucket":"b","access":"read"},{"scope":"tenant","access":"administer"}],
            "tenant":"t","account":"a","description":"d","credentials":{"accessKeyId":"AKIA","secretAccessKey":"0123456789abcdef"}}"#;
        [
            format!("/keys\ntenant=a%26b&limit=7&after\n{key}"),
            "/tenants\n\n{\"name\":\"a\",\"uid\":\"1-2\"}".to_owned(),
            "/accounts\nlimit=1000\n{\"name\":\"\u{e9}\",\"tenant\":null}".to_owned(),
            "/keys/a%2Fb\nbucket=%C3%A9\n".to_owned(),
        ]
        .map(String::into_bytes)
        .to_vec()
    };
    let target = Target { name: "admin_request", run: any_request, seeds, allocated_per_byte_max: 1024 };
    exercise(&target, 20_000, 1, |_, run| run()).unwrap_or_else(|broken| panic!("{broken}"));
}
