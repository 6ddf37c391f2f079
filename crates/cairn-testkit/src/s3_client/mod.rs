//! A small S3 client for tests: it signs in every way that S3 knows, and lets a test see and change the very bytes it sends.
//!
//! It shares no code with the server, so that one misreading of the specification cannot hide in both. One connection per request, unless a
//! test exchanges raw bytes itself ([`exchange`]).

pub mod http2;
mod signing;
mod wire;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use cairn_disk::Clock;

pub use signing::{Checksum, encode};
pub use wire::{Answer, exchange, read_answer, read_head};

/// Who signs, and for whom.
#[derive(Clone)]
pub struct S3Client {
    /// Where the server listens.
    pub address: SocketAddr,
    /// The `Host` header.
    pub host: String,
    /// The key.
    pub access_key_id: String,
    /// Its secret.
    pub secret_access_key: String,
    /// The region to sign for.
    pub region: String,
    /// The time to sign with.
    pub clock: Arc<dyn Clock>,
}

/// How a body is sent and vouched for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BodyMode {
    /// By its SHA-256.
    #[default]
    Signed,
    /// `UNSIGNED-PAYLOAD`.
    Unsigned,
    /// `aws-chunked`, every chunk signed; so many bytes a chunk.
    ChunkedSigned(usize),
    /// The same with a signed trailer that holds a checksum.
    ChunkedSignedTrailer(usize, Checksum),
    /// `aws-chunked`, unsigned, with a checksum in the trailer.
    ChunkedUnsignedTrailer(usize, Checksum),
}

/// A request before it is signed.
#[derive(Debug, Clone, Default)]
pub struct S3Request {
    /// The method.
    pub method: String,
    /// The path as it is sent, encoded; see [`path`].
    pub path: String,
    /// The query, not encoded.
    pub query: Vec<(String, String)>,
    /// Headers beside those that signing adds.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// How it is sent.
    pub mode: BodyMode,
}

/// The path of a bucket or an object, encoded; an empty key is the bucket.
#[must_use]
pub fn path(bucket: &str, key: &str) -> String {
    if key.is_empty() { format!("/{bucket}") } else { format!("/{bucket}/{}", encode(key, true)) }
}

impl S3Request {
    /// A request without a body.
    #[must_use]
    pub fn new(method: &str, path: impl Into<String>) -> Self {
        Self { method: method.to_owned(), path: path.into(), ..Self::default() }
    }

    /// Adds a parameter to the query; one without a value is sent as `name=`.
    #[must_use]
    pub fn query(mut self, name: &str, value: impl Into<String>) -> Self {
        self.query.push((name.to_owned(), value.into()));
        self
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_ascii_lowercase(), value.into()));
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Sets how the body is sent.
    #[must_use]
    pub fn mode(mut self, mode: BodyMode) -> Self {
        self.mode = mode;
        self
    }
}

impl S3Client {
    /// Signs a request by header, sends it on a connection of its own, and reads the answer.
    pub async fn send(&self, request: &S3Request) -> io::Result<Answer> {
        self.send_raw(&self.signed(request), request.method == "HEAD").await
    }

    /// Sends bytes on a connection of their own and reads one answer.
    pub async fn send_raw(&self, bytes: &[u8], is_head: bool) -> io::Result<Answer> {
        exchange(self.address, bytes, is_head).await
    }

    /// The bytes of a request that is signed by header.
    #[must_use]
    pub fn signed(&self, request: &S3Request) -> Vec<u8> {
        signing::signed(self, request)
    }

    /// The bytes of a request that nobody has signed.
    #[must_use]
    pub fn anonymous(&self, request: &S3Request) -> Vec<u8> {
        let mut headers = request.headers.clone();
        headers.push(("host".to_owned(), self.host.clone()));
        headers.push(("content-length".to_owned(), request.body.len().to_string()));
        wire::request_bytes(&request.method, &signing::target(&request.path, &request.query), &headers, &request.body)
    }

    /// The target (path and query) of a presigned URL; headers of the request are signed and must be sent.
    #[must_use]
    pub fn presigned(&self, request: &S3Request, expires_seconds: u64) -> String {
        signing::presigned(self, request, expires_seconds)
    }

    /// The bytes of a request by a presigned URL.
    #[must_use]
    pub fn presigned_request(&self, request: &S3Request, expires_seconds: u64) -> Vec<u8> {
        let mut headers = request.headers.clone();
        headers.push(("host".to_owned(), self.host.clone()));
        headers.push(("content-length".to_owned(), request.body.len().to_string()));
        wire::request_bytes(&request.method, &self.presigned(request, expires_seconds), &headers, &request.body)
    }

    /// The fields by which a form is signed: a policy with these conditions (JSON, separated by commas), which holds for so long.
    #[must_use]
    pub fn form_fields(&self, conditions: &str, expires_seconds: i64) -> Vec<(String, String)> {
        signing::form_fields(self, conditions, expires_seconds)
    }

    /// As this client, with another key.
    #[must_use]
    pub fn with_key(&self, access_key_id: &str, secret_access_key: &str) -> Self {
        Self { access_key_id: access_key_id.to_owned(), secret_access_key: secret_access_key.to_owned(), ..self.clone() }
    }
}
