//! HTTP/1.1 to volume servers: what carries the chunks.
//!
//! Connections are kept and counted; a request that was given up takes its connection with it, so that no answer is ever taken for another
//! request's. There is no `Accept-Encoding`, so bytes come as they are stored.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body::{Body, Frame, SizeHint};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use super::connect::{Connector, Losses};
use super::settings::{Cluster, Settings};

/// The longest answer that is not a chunk, bytes: messages of errors, and a server's status with thousands of volumes.
pub const OTHER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A body of several pieces, whose length is known.
#[derive(Debug, Default)]
pub struct Pieces {
    pieces: VecDeque<Bytes>,
    left: u64,
}

impl Pieces {
    /// These pieces, one after the other.
    pub fn new(pieces: impl IntoIterator<Item = Bytes>) -> Self {
        let pieces: VecDeque<Bytes> = pieces.into_iter().filter(|piece| !piece.is_empty()).collect();
        let left = pieces.iter().map(|piece| piece.len() as u64).sum();
        Self { pieces, left }
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = self.pieces.pop_front();
        self.left -= piece.as_ref().map_or(0, |piece| piece.len() as u64);
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

/// An answer, whole.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

impl Answer {
    /// The text of an error, as SeaweedFS sends it: JSON with a field `error`, or plain.
    pub fn error(&self) -> String {
        #[derive(serde::Deserialize)]
        struct Failure {
            error: String,
        }
        let text = match serde_json::from_slice::<Failure>(&self.body) {
            Ok(failure) => failure.error,
            Err(_) => String::from_utf8_lossy(&self.body).trim().to_owned(),
        };
        let text: String = text.chars().take(300).collect();
        if text.is_empty() { self.status.to_string() } else { text }
    }

    /// A header as text.
    pub fn header(&self, name: http::header::HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// What is asked of a volume server.
pub struct Asked {
    /// How.
    pub method: Method,
    /// Host and port.
    pub server: String,
    /// Path and query.
    pub path: String,
    /// Headers.
    pub headers: HeaderMap,
    /// Body.
    pub body: Pieces,
    /// The longest body of an answer that is taken, bytes.
    pub answer_bytes_max: usize,
}

/// The client.
pub struct HttpClient {
    client: Client<Connector, Pieces>,
    scheme: &'static str,
    timeout: Duration,
}

impl HttpClient {
    /// A client of this cluster's volume servers.
    pub fn new(cluster: &Cluster, settings: &Settings, losses: Arc<Losses>) -> Self {
        let connector = Connector::new(cluster.http_tls.as_ref(), b"http/1.1", settings.connect_timeout, losses);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new())
            .pool_idle_timeout(settings.idle_for)
            .pool_max_idle_per_host(settings.idle_connections_max)
            .build(connector);
        let scheme = if cluster.http_tls.is_some() { "https" } else { "http" };
        Self { client, scheme, timeout: settings.request_timeout }
    }

    /// Asks, and takes the whole answer.
    ///
    /// # Errors
    /// In words, where there is none: then nothing is known of what became of the request.
    pub async fn ask(&self, asked: Asked) -> Result<Answer, String> {
        let Asked { method, server, path, headers, body, answer_bytes_max } = asked;
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() =
            format!("{}://{server}{path}", self.scheme).parse().map_err(|error| format!("{server} is no address: {error}"))?;
        *request.headers_mut() = headers;
        let asking = async {
            let answer = self.client.request(request).await.map_err(|error| described(&error))?;
            let (parts, body) = answer.into_parts();
            let body = whole(body, answer_bytes_max).await?;
            Ok(Answer { status: parts.status, headers: parts.headers, body })
        };
        match tokio::time::timeout(self.timeout, asking).await {
            Ok(answer) => answer.map_err(|error: String| format!("{server}: {error}")),
            Err(_) => Err(format!("{server} did not answer within {:?}", self.timeout)),
        }
    }
}

/// An error with what caused it: hyper's own words alone say little.
pub fn described(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text.push_str(": ");
        text.push_str(&next.to_string());
        cause = next.source();
    }
    text
}

/// The whole body, refused once it is longer than this.
async fn whole(mut body: hyper::body::Incoming, bytes_max: usize) -> Result<Bytes, String> {
    let expected = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if expected > bytes_max {
        return Err(format!("an answer of {expected} bytes, where at most {bytes_max} were expected"));
    }
    let mut first: Option<Bytes> = None;
    let mut all = BytesMut::new();
    while let Some(frame) = next_frame(&mut body).await {
        let Ok(mut data) = frame.map_err(|error| described(&error))?.into_data() else { continue };
        match (&first, all.is_empty()) {
            // An answer that comes in one piece is not copied.
            (None, true) => {
                first = Some(data);
                continue;
            }
            (Some(before), true) => {
                all.reserve(expected.max(before.len() + data.len()));
                all.extend_from_slice(before);
            }
            _ => {}
        }
        if all.len() + data.len() > bytes_max {
            return Err(format!("an answer of more than {bytes_max} bytes"));
        }
        all.extend_from_slice(&data);
        data.advance(data.len());
    }
    match first {
        Some(first) if all.is_empty() && first.len() <= bytes_max => Ok(first),
        Some(_) if all.is_empty() => Err(format!("an answer of more than {bytes_max} bytes")),
        _ => Ok(all.freeze()),
    }
}

/// The next frame of a body.
pub async fn next_frame(body: &mut hyper::body::Incoming) -> Option<Result<Frame<Bytes>, hyper::Error>> {
    std::future::poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await
}
