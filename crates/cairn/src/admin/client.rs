//! A client of the administration API over the Unix socket of a data directory.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use http::{Method, Request};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::api::{Failure, FailureCode, List};
use super::socket::{self, SOCKET_NAME};

/// The longest answer that is read, bytes.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// How long an answer may take: somewhat longer than the server gives itself.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(70);

/// Why there is no answer, or none that is good. In words for people; [`Failure`] is also what programs are shown.
pub type ClientResult<T> = Result<T, Failure>;

/// Speaks with the service that serves from a data directory.
pub struct Client {
    data: PathBuf,
}

impl Client {
    /// A client for this data directory. Nothing is opened yet.
    pub fn new(data: &Path) -> Self {
        Self { data: std::path::absolute(data).unwrap_or_else(|_| data.to_owned()) }
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
        let stream = socket::connect(&self.data).await.map_err(|error| self.unreachable(&error))?;
        let broken = |error: &dyn std::fmt::Display| {
            failure(FailureCode::OutcomeUnknown, format!("The service ended, or broke off, before it answered ({error})."))
        };
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| broken(&error))?;
        let connection = tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, "localhost")
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|error| internal(&error))?;
        let answer = sender.send_request(request).await.map_err(|error| broken(&error))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await.map_err(|error| broken(&error))?;
        connection.abort();
        let body = body.to_bytes();
        if status.is_success() {
            return serde_json::from_slice(&body).map_err(|error| {
                internal(&format!("the service's answer is not understood: {error}; is it of another version?"))
            });
        }
        Err(serde_json::from_slice(&body).unwrap_or_else(|_| internal(&format!("the service answered with status {status}"))))
    }

    fn unreachable(&self, error: &io::Error) -> Failure {
        let data = self.data.display();
        let start = format!("Start it with: cairn serve --data {data}");
        let message = match error.kind() {
            io::ErrorKind::NotFound if !self.data.exists() => {
                format!(
                    "There is no data directory {data}. Say with --data where it is. If there is none yet, `cairn serve` makes it."
                )
            }
            io::ErrorKind::NotFound => format!("No service runs on {data} (there is no {SOCKET_NAME} in it). {start}"),
            io::ErrorKind::ConnectionRefused => {
                format!("No service runs on {data} (its {SOCKET_NAME} is left from one that ended). {start}")
            }
            io::ErrorKind::PermissionDenied => {
                format!("You may not use {data}/{SOCKET_NAME}: only the user that serves and root may.")
            }
            _ => format!("The service on {data} cannot be reached by {SOCKET_NAME}: {error}"),
        };
        failure(FailureCode::Unavailable, message)
    }
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

    #[tokio::test]
    async fn without_a_service_it_is_said_how_to_start_one() {
        let root = tempfile::tempdir().unwrap();
        let client = Client::new(root.path());
        let failure = client.get::<()>("/v1/zones").await.unwrap_err();
        let start = format!("cairn serve --data {}", root.path().display());
        assert!(failure.message.starts_with("No service runs on") && failure.message.ends_with(&start), "{}", failure.message);

        let missing = Client::new(&root.path().join("missing"));
        let failure = missing.get::<()>("/v1/zones").await.unwrap_err();
        assert!(failure.message.starts_with("There is no data directory"), "{}", failure.message);
    }
}
