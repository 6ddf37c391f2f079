//! What must hold for requests, tokens and addresses of the administration, whatever they are.

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, Method};

use super::api::LIST_LIMIT_MAX;
use super::client::endpoint;
use super::error::ApiResult;
use super::network::authenticate::{Presented, presented};
use super::network::tokens::{self, TOKEN_LENGTH_MAX, Token, Tokens};
use super::operations;
use super::routes::{Change, Query, segments};

/// A path below `/v1`, a query and a body, one a line: whatever they are, they make a request that says the same when it is written again, or
/// none.
pub fn request(data: &[u8]) {
    let mut lines = data.splitn(3, |byte| *byte == b'\n').map(|line| std::str::from_utf8(line).unwrap_or_default());
    let (path, query, body) = (lines.next().unwrap_or(""), lines.next().unwrap_or(""), lines.next().unwrap_or(""));
    let encoded = |text: &str| text.bytes().map(|byte| format!("%{byte:02X}")).collect::<Vec<_>>().concat();
    if let Ok(query) = Query::parse(query) {
        let again: Vec<String> = query.0.iter().map(|(name, value)| format!("{}={}", encoded(name), encoded(value))).collect();
        if query.0.iter().all(|(name, value)| !name.is_empty() || !value.is_empty()) {
            let again = Query::parse(&again.join("&")).map(|again| again.0);
            assert!(again.is_ok_and(|again| again == query.0), "a query is not what it was");
        }
        assert!(query.limit().is_ok_and(|limit| (1..=LIST_LIMIT_MAX).contains(&limit)) || query.limit().is_err());
    }
    let Ok(segments) = segments(path) else { return };
    let _ = change(&Method::DELETE, &segments, &Bytes::new());
    let Ok(asked) = change(&Method::POST, &segments, &Bytes::copy_from_slice(body.as_bytes())) else { return };
    let again = match &asked {
        Change::CreateTenant(request) => serde_json::to_vec(request),
        Change::CreateAccount(request) => serde_json::to_vec(request),
        Change::CreateKey(request) => serde_json::to_vec(request),
        Change::StartAudit(request) => serde_json::to_vec(request),
        Change::DeleteTenant(_) | Change::DeleteAccount(_) | Change::RevokeKey(_) | Change::StopAudit => {
            panic!("a POST removes something")
        }
    };
    let again = again.map(|again| change(&Method::POST, &segments, &again.into()));
    assert!(again.is_ok_and(|again| again.is_ok_and(|again| again == asked)), "a request is not what it was");
}

/// What the request of this method and path, below `/v1`, is to change.
fn change(method: &Method, path: &[String], body: &Bytes) -> ApiResult<Change> {
    let segments: Vec<String> = std::iter::once("v1".to_owned()).chain(path.iter().cloned()).collect();
    let (operation, captured) = operations::find(method, &segments)?;
    Change::of(operation, &captured, body)
}

/// A file of tokens: each opens under its own name, none is short, and they are the same when they are written again.
pub fn tokens(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (Ok(read), Ok(known)) = (tokens::parse(text), Tokens::parse(text)) else {
        assert!(tokens::parse(text).is_err() && Tokens::parse(text).is_err());
        return;
    };
    let mut again = String::new();
    for token in &read {
        assert!(token.secret.len() >= 43 && !token.secret.contains(char::is_whitespace), "not a token");
        let name = known.find(token.secret.as_bytes()).unwrap_or_else(|| panic!("a token does not open"));
        assert!(token.name.as_deref().is_none_or(|own| own == name), "another token's name");
        again.extend([token.name.as_deref().unwrap_or_default(), " ", token.secret.as_str(), "\n"]);
    }
    let again = tokens::parse(&again).unwrap_or_else(|words| panic!("{words}"));
    let same = |(one, other): (&Token, &Token)| one.name == other.name && one.secret == other.secret;
    assert!(again.len() == read.len() && again.iter().zip(&read).all(same), "tokens change when they are written again");
}

/// One or two `Authorization` headers, one a line: at most one token comes out, and it stands in the header as it was sent.
pub fn bearer_token(data: &[u8]) {
    let mut headers = HeaderMap::new();
    for line in data.split(|byte| *byte == b'\n').take(2) {
        let Ok(value) = HeaderValue::from_bytes(line) else { return };
        headers.append(AUTHORIZATION, value);
    }
    if let Presented::Token(token) = presented(&headers) {
        assert!(headers.get_all(AUTHORIZATION).iter().count() == 1, "one of two credentials was passed over");
        assert!(
            (1..=TOKEN_LENGTH_MAX).contains(&token.len()) && data.ends_with(token.trim_ascii_end())
                || data.trim_ascii_end().ends_with(token)
        );
    }
}

/// The address of a service: nothing but HTTPS, and the same when it is written again.
pub fn endpoint(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok((name, port, host)) = endpoint::parse(text) else { return };
    let is_tls = text.get(..8).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https://"));
    assert!(is_tls, "a token would be sent without TLS");
    let host = host.to_str().unwrap_or_else(|error| panic!("{error}"));
    let again = endpoint::parse(&format!("https://{host}")).map(|(again, port, _)| (again, port));
    assert_eq!(again, Ok((name, port)), "an address is not what it was");
}
