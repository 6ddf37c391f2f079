//! A client of the administration API: over the Unix socket of a data directory, or over the network.

pub mod endpoint;

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use cairn_s3::Connection;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, SERVER};
use http::{HeaderMap, HeaderValue, Method, Request};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;

use self::endpoint::Endpoint;
use super::api::{Failure, FailureCode, List};
use super::socket::{self, SOCKET_NAME};

/// The longest answer that is read, bytes.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// How long an answer may take: somewhat longer than the server gives itself.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(70);

/// Why there is no answer, or none that is good. In words for people; [`Failure`] is also what programs are shown.
pub type ClientResult<T> = Result<T, Failure>;

/// Speaks with a service.
pub struct Client {
    service: Service,
}

/// Where it is.
enum Service {
    /// On this machine, serving from a data directory.
    Data(PathBuf),
    /// On the network.
    Endpoint(Box<Endpoint>),
}

impl Client {
    /// A client for the service of this data directory. Nothing is opened yet.
    pub fn of_data(data: &Path) -> Self {
        Self { service: Service::Data(std::path::absolute(data).unwrap_or_else(|_| data.to_owned())) }
    }

    /// A client for a service on the network. Nothing is opened yet.
    pub fn of_endpoint(endpoint: Endpoint) -> Self {
        Self { service: Service::Endpoint(Box::new(endpoint)) }
    }

    /// Asks.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> ClientResult<T> {
        self.call(Method::GET, path, Bytes::new()).await
    }

    /// All pages of a list; `path` holds the filters, or nothing, behind its `?`.
    pub async fn list<T: DeserializeOwned>(&self, path: &str) -> ClientResult<Vec<T>> {
        let mut items = Vec::new();
        let mut after = String::new();
        loop {
            let mut page: List<T> = self.get(&format!("{path}{after}")).await?;
            items.append(&mut page.items);
            match page.next {
                None => return Ok(items),
                Some(next) => after = format!("&after={}", encode(&next)),
            }
        }
    }

    /// Has something made.
    pub async fn post<T: DeserializeOwned>(&self, path: &str, request: &impl Serialize) -> ClientResult<T> {
        let body = serde_json::to_vec(request).map_err(|error| internal(&error))?;
        self.call(Method::POST, path, body.into()).await
    }

    /// Has something removed.
    pub async fn delete<T: DeserializeOwned>(&self, path: &str) -> ClientResult<T> {
        self.call(Method::DELETE, path, Bytes::new()).await
    }

    async fn call<T: DeserializeOwned>(&self, method: Method, path: &str, body: Bytes) -> ClientResult<T> {
        match tokio::time::timeout(ANSWER_TIMEOUT, self.exchange(method, path, body)).await {
            Ok(answer) => answer,
            Err(_) => Err(failure(
                FailureCode::OutcomeUnknown,
                format!("The service did not answer within {} s. A change may have been made: look.", ANSWER_TIMEOUT.as_secs()),
            )),
        }
    }

    async fn exchange<T: DeserializeOwned>(&self, method: Method, path: &str, body: Bytes) -> ClientResult<T> {
        let stream = self.service.connect().await?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| self.service.broken(&error))?;
        let connection = tokio::spawn(connection);
        let request = Request::builder().method(method).uri(path).header(CONTENT_TYPE, "application/json");
        let mut request = request.body(Full::new(body)).map_err(|error| internal(&error))?;
        request.headers_mut().extend(self.service.headers());
        let answer = sender.send_request(request).await.map_err(|error| self.service.broken(&error))?;
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await.map_err(|error| self.service.broken(&*error))?;
        connection.abort();
        let body = body.to_bytes();
        let is_other = |error: &dyn std::fmt::Display| not_understood(&self.service, &head.headers, head.status, error);
        if head.status.is_success() {
            return serde_json::from_slice(&body).map_err(|error| is_other(&error));
        }
        match serde_json::from_slice(&body) {
            Ok(failure) => Err(with_version(failure, &head.headers)),
            Err(error) => Err(is_other(&error)),
        }
    }
}

/// An answer that is none of the API's.
fn not_understood(service: &Service, headers: &HeaderMap, status: http::StatusCode, error: &dyn std::fmt::Display) -> Failure {
    let message = match (other_version(headers), service) {
        (Some(version), _) => {
            format!(
                "The service is of version {version}, this command of {OWN_VERSION}, and its answer is not understood: {error}"
            )
        }
        (None, Service::Endpoint(endpoint)) => format!(
            "{} answered with status {status} and not as the administration API does ({error}). The API is at the address that the service was given \
             with --admin-api-listen; S3 and health are at others.",
            endpoint.url()
        ),
        (None, Service::Data(_)) => format!("The service answered with status {status}, and it is not understood: {error}"),
    };
    internal(&message)
}

/// Says of a service of another version that it is one, where that may be why it does not do what was asked.
fn with_version(mut failure: Failure, headers: &HeaderMap) -> Failure {
    let may_be_why = matches!(
        failure.code,
        FailureCode::UnknownPath | FailureCode::MethodNotAllowed | FailureCode::Invalid | FailureCode::Other
    );
    if let Some(version) = other_version(headers).filter(|_| may_be_why) {
        let version = format!(" (The service is of version {version}, this command of {OWN_VERSION}: it may know less.)");
        failure.message.push_str(&version);
    }
    failure
}

const OWN_VERSION: &str = env!("CARGO_PKG_VERSION");

/// The service's version, where it says one that is not this one's.
fn other_version(headers: &HeaderMap) -> Option<&str> {
    let version = headers.get(SERVER)?.to_str().ok()?.strip_prefix("cairn/")?;
    (version != OWN_VERSION).then_some(version)
}

impl Service {
    async fn connect(&self) -> ClientResult<Box<dyn Connection>> {
        match self {
            Self::Data(data) => match socket::connect(data).await {
                Ok(stream) => Ok(Box::new(stream)),
                Err(error) => Err(unreachable(data, &error)),
            },
            Self::Endpoint(endpoint) => endpoint.connect().await,
        }
    }

    /// What every request has in its head.
    fn headers(&self) -> HeaderMap {
        match self {
            Self::Data(_) => HeaderMap::from_iter([(HOST, HeaderValue::from_static("localhost"))]),
            Self::Endpoint(endpoint) => {
                let token = endpoint.authorization().map(|token| (AUTHORIZATION, token));
                token.into_iter().chain([(HOST, endpoint.host())]).collect()
            }
        }
    }

    /// Why there is no answer on a connection that was there.
    fn broken(&self, error: &(dyn Error + 'static)) -> Failure {
        let refused = match self {
            Self::Data(_) => None,
            Self::Endpoint(endpoint) => endpoint.refused(error),
        };
        refused.unwrap_or_else(|| {
            failure(FailureCode::OutcomeUnknown, format!("The service ended, or broke off, before it answered ({error})."))
        })
    }
}

fn unreachable(data: &Path, error: &io::Error) -> Failure {
    let shown = data.display();
    let start = format!("Start it with: cairn serve --data {shown}");
    let message = match error.kind() {
        io::ErrorKind::NotFound if !data.exists() => {
            format!(
                "There is no data directory {shown}. Say with --data where it is. If there is none yet, `cairn serve` makes it."
            )
        }
        io::ErrorKind::NotFound => format!("No service runs on {shown} (there is no {SOCKET_NAME} in it). {start}"),
        io::ErrorKind::ConnectionRefused => {
            format!("No service runs on {shown} (its {SOCKET_NAME} is left from one that ended). {start}")
        }
        io::ErrorKind::PermissionDenied => {
            format!("You may not use {shown}/{SOCKET_NAME}: only the user that serves and root may.")
        }
        _ => format!("The service on {shown} cannot be reached by {SOCKET_NAME}: {error}"),
    };
    failure(FailureCode::Unavailable, message)
}

fn failure(code: FailureCode, message: String) -> Failure {
    Failure { code, message }
}

fn internal(error: &dyn std::fmt::Display) -> Failure {
    failure(FailureCode::Internal, error.to_string())
}

/// A text as one part of a path or query (RFC 3986, section 2.3).
pub fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push('%');
            for digit in [byte >> 4, byte & 15] {
                out.extend(char::from_digit(u32::from(digit), 16).map(|digit| digit.to_ascii_uppercase()));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_a_name_holds_it_stays_one_part() {
        assert_eq!(encode("a/b?c&d=e f%+é~"), "a%2Fb%3Fc%26d%3De%20f%25%2B%C3%A9~");
    }

    #[test]
    fn a_service_of_another_version_is_named_where_that_may_be_why() {
        let of = |version: &'static str| HeaderMap::from_iter([(SERVER, HeaderValue::from_static(version))]);
        let unknown = || failure(FailureCode::UnknownPath, "No such path.".to_owned());
        let said = with_version(unknown(), &of("cairn/0.0.1")).message;
        assert!(said.contains("of version 0.0.1, this command of ") && said.contains(OWN_VERSION), "{said}");
        let own = concat!("cairn/", env!("CARGO_PKG_VERSION"));
        for (failure, headers) in [
            (unknown(), of(own)),
            (unknown(), HeaderMap::new()),
            (unknown(), of("nginx")),
            (failure(FailureCode::NotFound, String::new()), of("cairn/0.0.1")),
        ] {
            assert_eq!(with_version(failure.clone(), &headers), failure);
        }
    }

    #[tokio::test]
    async fn without_a_service_it_is_said_how_to_start_one() {
        let root = tempfile::tempdir().unwrap();
        let client = Client::of_data(root.path());
        let failure = client.get::<()>("/v1/zones").await.unwrap_err();
        let start = format!("cairn serve --data {}", root.path().display());
        assert!(failure.message.starts_with("No service runs on") && failure.message.ends_with(&start), "{}", failure.message);

        let missing = Client::of_data(&root.path().join("missing"));
        let failure = missing.get::<()>("/v1/zones").await.unwrap_err();
        assert!(failure.message.starts_with("There is no data directory"), "{}", failure.message);
    }
}
