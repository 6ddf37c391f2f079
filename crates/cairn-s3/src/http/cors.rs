//! Cross-origin requests (AWS, "How does Amazon S3 evaluate the CORS configuration on a bucket?"; Fetch standard, section 3.2).
//!
//! What it guarantees:
//!
//! - a preflight, which browsers do not sign, is answered by the bucket's rules alone: a bucket that is not there and one without rules
//!   get the same answer (AWS tells them apart);
//! - what a page may read is never decided by these headers: a request is allowed by its signature, and the headers only tell the browser to
//!   show the answer to the page;
//! - every answer about a bucket with rules says `Vary`, so that no cache gives one origin's headers to another (AWS says it only where a
//!   rule fits, so that a cache may keep for everybody what nobody's page asked for).

use cairn_store::api::{CorsMethod, CorsRecord, CorsRule};
use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN,
    VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use super::response::{self, S3Response};
use crate::error::{S3Error, S3Result, code};

/// What an answer depends on beside its address.
const VARIES_BY: &str = "Origin, Access-Control-Request-Headers, Access-Control-Request-Method";

/// More names of headers than any page asks for.
const REQUESTED_HEADERS_MAX: usize = 256;

/// What a preflight asks for.
#[derive(Debug, PartialEq, Eq)]
pub struct Preflight<'a> {
    origin: &'a str,
    /// `None` where it is not said.
    method: Option<CorsMethod>,
    /// In lower case.
    headers: Vec<String>,
}

impl<'a> Preflight<'a> {
    /// Reads an `OPTIONS`.
    pub fn parse(headers: &'a HeaderMap) -> S3Result<Self> {
        let bad = |message: String| S3Error::with_message(&code::BAD_REQUEST, message);
        let origin = headers.get(ORIGIN).and_then(|value| value.to_str().ok()).filter(|origin| !origin.is_empty());
        let origin = origin.ok_or_else(|| bad("Insufficient information. Origin request header needed.".to_owned()))?;
        let asked = headers.get(ACCESS_CONTROL_REQUEST_METHOD).map(HeaderValue::as_bytes);
        let method = match asked {
            None => None,
            Some(text) => Some(std::str::from_utf8(text).ok().and_then(CorsMethod::parse).ok_or_else(|| no_method(asked))?),
        };
        let mut names = Vec::new();
        for value in headers.get_all(ACCESS_CONTROL_REQUEST_HEADERS) {
            for name in value.as_bytes().split(|byte| *byte == b',').filter(|name| !name.trim_ascii().is_empty()) {
                let known = HeaderName::from_bytes(name.trim_ascii()).map_err(|_| {
                    let shown = String::from_utf8_lossy(name);
                    bad(format!("Access-Control-Request-Headers \"{shown}\" contains invalid character."))
                })?;
                names.push(known.as_str().to_owned());
            }
        }
        if names.len() > REQUESTED_HEADERS_MAX {
            return Err(bad("Invalid Access-Control-Request-Headers".to_owned()));
        }
        Ok(Self { origin, method, headers: names })
    }

    /// The answer by a bucket's rules, to a question about the bucket itself or an object in it.
    pub fn answer(&self, rules: Option<&CorsRecord>, is_object: bool) -> S3Result<S3Response> {
        let refuse = |message: &'static str, resource: &str| {
            Err(S3Error::with_message(&code::ACCESS_FORBIDDEN, message)
                .field("Method", self.method.map_or("OPTIONS", CorsMethod::name))
                .field("ResourceType", resource))
        };
        let Some(rules) = rules else { return refuse("CORSResponse: CORS is not enabled for this bucket.", "BUCKET") };
        let method = self.method.ok_or_else(|| no_method(None))?;
        let allows_headers = |rule: &CorsRule| {
            let is_allowed = |name: &String| rule.allowed_headers.iter().any(|own| matches(&own.to_ascii_lowercase(), name));
            self.headers.iter().all(is_allowed)
        };
        let found = rules.rules.iter().find_map(|rule| {
            let origin = allowed_origin(rule, self.origin, method)?;
            allows_headers(rule).then_some((rule, origin))
        });
        let Some((rule, origin)) = found else {
            return refuse(
                "CORSResponse: This CORS request is not allowed. This is usually because the evalution of Origin, request method / \
                 Access-Control-Request-Method or Access-Control-Request-Headers are not whitelisted by the resource's CORS spec.",
                if is_object { "OBJECT" } else { "BUCKET" },
            );
        };
        let mut answer = response::empty(StatusCode::OK);
        let headers = answer.headers_mut();
        allow(headers, rule, origin);
        if !self.headers.is_empty() {
            response::set(headers, ACCESS_CONTROL_ALLOW_HEADERS, self.headers.join(", "));
        }
        headers.insert(VARY, HeaderValue::from_static(VARIES_BY));
        Ok(answer)
    }
}

/// The error of a preflight for no method that S3 has.
fn no_method(asked: Option<&[u8]>) -> S3Error {
    let shown = asked.map_or("null".into(), String::from_utf8_lossy);
    S3Error::with_message(&code::BAD_REQUEST, format!("Invalid Access-Control-Request-Method: {shown}"))
}

/// Adds to the answer of a request about a bucket with rules what the browser needs to know.
pub fn apply(rules: &CorsRecord, method: &Method, request: &HeaderMap, answer: &mut HeaderMap) {
    answer.insert(VARY, HeaderValue::from_static(VARIES_BY));
    let Some(origin) = request.get(ORIGIN).and_then(|value| value.to_str().ok()) else { return };
    let Some(method) = CorsMethod::parse(method.as_str()) else { return };
    let found = rules.rules.iter().find_map(|rule| Some((rule, allowed_origin(rule, origin, method)?)));
    if let Some((rule, origin)) = found {
        allow(answer, rule, origin);
    }
}

/// What to call an origin that a rule allows: `*` where it allows any.
fn allowed_origin<'a>(rule: &CorsRule, origin: &'a str, method: CorsMethod) -> Option<&'a str> {
    if !rule.allowed_methods.contains(&method) {
        return None;
    }
    let pattern = rule.allowed_origins.iter().find(|pattern| matches(pattern, origin))?;
    Some(if pattern == "*" { "*" } else { origin })
}

fn allow(headers: &mut HeaderMap, rule: &CorsRule, origin: &str) {
    response::set(headers, ACCESS_CONTROL_ALLOW_ORIGIN, origin.to_owned());
    if origin != "*" {
        headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    }
    let methods: Vec<&str> = rule.allowed_methods.iter().map(|method| method.name()).collect();
    response::set(headers, ACCESS_CONTROL_ALLOW_METHODS, methods.join(", "));
    if !rule.expose_headers.is_empty() {
        response::set(headers, ACCESS_CONTROL_EXPOSE_HEADERS, rule.expose_headers.join(", "));
    }
    if let Some(seconds) = rule.max_age_seconds {
        headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from(seconds));
    }
}

/// Whether a text fits a pattern with at most one `*`.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((start, end)) => text.strip_prefix(start).is_some_and(|rest| rest.ends_with(end)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(origins: &[&str], methods: &[CorsMethod], headers: &[&str]) -> CorsRule {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        CorsRule {
            id: None,
            allowed_origins: owned(origins),
            allowed_methods: methods.to_vec(),
            allowed_headers: owned(headers),
            expose_headers: vec!["ETag".to_owned()],
            max_age_seconds: Some(60),
        }
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_str(value).unwrap())).collect()
    }

    #[test]
    fn patterns_have_one_star() {
        for (pattern, text, expected) in [
            ("a", "a", true),
            ("a", "ab", false),
            ("*", "", true),
            ("*", "anything", true),
            ("start*end", "startend", true),
            ("start*end", "start12end", true),
            ("start*end", "0start12end", false),
            ("ab*ba", "aba", false),
            ("*.example", "https://a.example", true),
            ("*.example", "https://a.example.evil", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn a_preflight_is_allowed_by_origin_method_and_every_header() {
        let rules = CorsRecord {
            rules: vec![
                rule(&["https://*.a"], &[CorsMethod::Put], &["Content-*", "x-amz-date"]),
                rule(&["*"], &[CorsMethod::Get], &[]),
            ],
        };
        let ask = |origin: &str, method: &str, names: &str| {
            let asked = headers(&[
                ("origin", origin),
                ("access-control-request-method", method),
                ("access-control-request-headers", names),
            ]);
            let answer = Preflight::parse(&asked).unwrap().answer(Some(&rules), true);
            answer.map(|answer| answer.headers().clone()).map_err(|error| error.code().name)
        };
        let allowed = ask("https://b.a", "PUT", "Content-Type, X-Amz-Date").unwrap();
        assert_eq!(allowed["access-control-allow-origin"], "https://b.a");
        assert_eq!(allowed["access-control-allow-headers"], "content-type, x-amz-date");
        assert_eq!(allowed["access-control-allow-methods"], "PUT");
        assert_eq!(allowed["access-control-allow-credentials"], "true");
        assert_eq!(allowed["access-control-max-age"], "60");
        assert!(allowed["vary"].to_str().unwrap().contains("Origin"));
        let any = ask("https://c", "GET", "").unwrap();
        assert_eq!(
            (&any["access-control-allow-origin"], any.get("access-control-allow-credentials")),
            (&"*".parse().unwrap(), None)
        );
        for (origin, method, names) in [
            ("https://c", "PUT", ""),
            ("https://b.a", "PUT", "x-amz-acl"),
            ("https://b.a", "DELETE", ""),
            ("https://c", "GET", "range"),
        ] {
            assert_eq!(ask(origin, method, names), Err("AccessForbidden"), "{origin} {method} {names}");
        }
    }

    #[test]
    fn a_refusal_says_what_was_asked_for_and_of_what() {
        let rules = CorsRecord { rules: vec![rule(&["https://a"], &[CorsMethod::Get], &[])] };
        let refused = |pairs: &[(&'static str, &str)], rules: Option<&CorsRecord>, is_object| {
            let error = Preflight::parse(&headers(pairs)).unwrap().answer(rules, is_object).err().unwrap();
            let field = |name: &str| error.fields().iter().find(|(own, _)| *own == name).map(|(_, value)| value.clone());
            (error.code().name, field("Method"), field("ResourceType"))
        };
        let told = |method: &str, resource: &str| ("AccessForbidden", Some(method.to_owned()), Some(resource.to_owned()));
        let (origin, put) = (("origin", "https://b"), ("access-control-request-method", "PUT"));
        assert_eq!(refused(&[origin, put], None, true), told("PUT", "BUCKET"));
        assert_eq!(refused(&[origin], None, true), told("OPTIONS", "BUCKET"));
        assert_eq!(refused(&[origin, put], Some(&rules), true), told("PUT", "OBJECT"));
        assert_eq!(refused(&[origin, put], Some(&rules), false), told("PUT", "BUCKET"));
        assert_eq!(refused(&[origin], Some(&rules), true), ("BadRequest", None, None));
    }

    #[test]
    fn a_preflight_without_its_headers_is_refused() {
        for pairs in [
            &[][..],
            &[("access-control-request-method", "GET")],
            &[("origin", "x"), ("access-control-request-method", "PATCH")],
            &[("origin", "x"), ("access-control-request-method", "get")],
            &[("origin", "x"), ("access-control-request-method", "GET"), ("access-control-request-headers", "a,b c")],
            &[("origin", "x"), ("access-control-request-method", "GET"), ("access-control-request-headers", "a:b")],
        ] {
            assert_eq!(Preflight::parse(&headers(pairs)).unwrap_err().code().name, "BadRequest", "{pairs:?}");
        }
    }

    #[test]
    fn an_answer_says_what_it_depends_on() {
        let rules = CorsRecord { rules: vec![rule(&["https://a"], &[CorsMethod::Get], &[])] };
        let answer = |pairs: &[(&'static str, &str)], method: Method| {
            let mut answer = HeaderMap::new();
            apply(&rules, &method, &headers(pairs), &mut answer);
            (answer.get(ACCESS_CONTROL_ALLOW_ORIGIN).is_some(), answer.contains_key(VARY))
        };
        assert_eq!(answer(&[("origin", "https://a")], Method::GET), (true, true));
        assert_eq!(answer(&[("origin", "https://a")], Method::HEAD), (false, true));
        assert_eq!(answer(&[("origin", "https://b")], Method::GET), (false, true));
        assert_eq!(answer(&[], Method::GET), (false, true));
    }
}
