use bytes::Bytes;

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
