//! As much of gRPC as six calls need, over hyper: one message out, one message or a stream of them back, and a status at the end.
//! (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>)
//!
//! All calls to a server share one connection. One that hangs would take them all with it until the kernel gives it up, which is minutes; so after a
//! call without an answer the next ones get a new connection. SeaweedFS ends connections whose client pings more often than every 20 s.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use parking_lot::RwLock;
use prost::Message;

use super::connect::{Connector, Losses};
use super::http_client::{Pieces, described, next_frame};
use super::settings::{Cluster, Settings};
use super::wire::Call;

/// The longest message that is taken, bytes: a list of a hundred thousand volumes has some 10 MB.
const MESSAGE_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Before each message: whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;
/// SeaweedFS's own interval is 60 s, and it takes pings as often as every 20 s.
const PING_EVERY: Duration = Duration::from_secs(25);

/// A call that did not end well.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// There was no answer; nothing is known of what became of the call.
    #[error("{0}")]
    NoAnswer(String),
    /// The server said no: a code of gRPC, and words.
    #[error("{message} (gRPC {code})")]
    Status {
        /// <https://grpc.io/docs/guides/status-codes/>
        code: u32,
        /// The server's words.
        message: String,
    },
}

/// The client.
pub struct GrpcClient {
    connector: Connector,
    idle_for: Duration,
    scheme: &'static str,
    client: RwLock<(u64, Client<Connector, Pieces>)>,
}

impl GrpcClient {
    /// A client of this cluster's masters and volume servers.
    pub fn new(cluster: &Cluster, settings: &Settings, losses: Arc<Losses>) -> Self {
        let connector = Connector::new(cluster.grpc_tls.as_ref(), b"h2", settings.connect_timeout, losses);
        let scheme = if cluster.grpc_tls.is_some() { "https" } else { "http" };
        let client = made(&connector, settings.idle_for);
        Self { connector, idle_for: settings.idle_for, scheme, client: RwLock::new((0, client)) }
    }

    /// Calls, and takes the one answer.
    pub async fn call<C: Call>(&self, server: &str, call: &C, timeout: Duration) -> Result<C::Answer, CallError> {
        let calling = async {
            let mut stream = self.open(server, call).await?;
            let answer = stream.next().await?;
            // The status stands behind the answer.
            while stream.next().await?.is_some() {}
            answer.ok_or_else(|| CallError::NoAnswer(format!("{server} answered {} with nothing", C::PATH)))
        };
        self.timed(server, calling, timeout).await
    }

    /// Calls, and gives the stream of answers. Whoever takes them bounds the time of each.
    pub async fn stream<C: Call>(&self, server: &str, call: &C, timeout: Duration) -> Result<Answers<C::Answer>, CallError> {
        self.timed(server, self.open(server, call), timeout).await
    }

    async fn timed<T>(
        &self,
        server: &str,
        calling: impl Future<Output = Result<T, CallError>>,
        timeout: Duration,
    ) -> Result<T, CallError> {
        let serial = self.client.read().0;
        let answer = match tokio::time::timeout(timeout, calling).await {
            Ok(answer) => answer,
            Err(_) => Err(CallError::NoAnswer(format!("{server} did not answer within {timeout:?}"))),
        };
        if let Err(CallError::NoAnswer(_)) = &answer {
            let mut client = self.client.write();
            if client.0 == serial {
                *client = (serial + 1, made(&self.connector, self.idle_for));
            }
        }
        answer
    }

    async fn open<C: Call>(&self, server: &str, call: &C) -> Result<Answers<C::Answer>, CallError> {
        let no_answer = |why: String| CallError::NoAnswer(format!("{server}: {why}"));
        let length = call.encoded_len();
        let mut body = BytesMut::with_capacity(PREFIX_BYTES + length);
        body.put_u8(0);
        body.put_u32(u32::try_from(length).map_err(|_| no_answer("a message too long to send".to_owned()))?);
        call.encode(&mut body).map_err(|error| no_answer(error.to_string()))?;
        let mut request = Request::new(Pieces::new([body.freeze()]));
        *request.method_mut() = Method::POST;
        *request.version_mut() = http::Version::HTTP_2;
        *request.uri_mut() = format!("{}://{server}{}", self.scheme, C::PATH)
            .parse()
            .map_err(|error| no_answer(format!("no address: {error}")))?;
        request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        request.headers_mut().insert(header::TE, HeaderValue::from_static("trailers"));
        let client = self.client.read().1.clone();
        let answer = client.request(request).await.map_err(|error| no_answer(described(&error)))?;
        let (parts, body) = answer.into_parts();
        if parts.status != StatusCode::OK {
            return Err(no_answer(format!("it does not speak gRPC there: {}", parts.status)));
        }
        // A call that fails at once has its status in the headers.
        if let Some(status) = status_of(&parts.headers) {
            status?;
        }
        Ok(Answers { server: server.to_owned(), body, buffer: BytesMut::new(), answer: std::marker::PhantomData })
    }
}

fn made(connector: &Connector, idle_for: Duration) -> Client<Connector, Pieces> {
    Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .timer(TokioTimer::new())
        .pool_idle_timeout(idle_for)
        .http2_only(true)
        .http2_adaptive_window(true)
        .http2_keep_alive_interval(PING_EVERY)
        .build(connector.clone())
}

/// Answers as they come.
pub struct Answers<A> {
    server: String,
    body: Incoming,
    buffer: BytesMut,
    answer: std::marker::PhantomData<A>,
}

impl<A: Message + Default> Answers<A> {
    /// The next answer; `None` when the server has said that all went well.
    pub async fn next(&mut self) -> Result<Option<A>, CallError> {
        let no_answer = |why: &str| CallError::NoAnswer(format!("{}: {why}", self.server));
        loop {
            if let Some(message) = take_message(&mut self.buffer).map_err(|why| no_answer(&why))? {
                return A::decode(message).map(Some).map_err(|error| no_answer(&error.to_string()));
            }
            let Some(frame) = next_frame(&mut self.body).await else {
                return Err(no_answer("the answer ended without a status"));
            };
            match frame.map_err(|error| no_answer(&described(&error)))?.into_data() {
                Ok(data) => self.buffer.extend_from_slice(&data),
                Err(frame) => {
                    let status = frame.trailers_ref().and_then(status_of);
                    status.unwrap_or_else(|| Err(no_answer("the answer ended without a status")))?;
                    return if self.buffer.is_empty() { Ok(None) } else { Err(no_answer("the answer ended in a message")) };
                }
            }
        }
    }
}

/// A whole message from the front of the buffer.
fn take_message(buffer: &mut BytesMut) -> Result<Option<Bytes>, String> {
    let Some(([compressed, length @ ..], rest)) = buffer.split_first_chunk::<PREFIX_BYTES>() else { return Ok(None) };
    let length = u32::from_be_bytes(*length) as usize;
    if *compressed != 0 {
        return Err("a compressed message, which was not asked for".to_owned());
    }
    if length > MESSAGE_BYTES_MAX {
        return Err(format!("a message of {length} bytes; the longest is {MESSAGE_BYTES_MAX}"));
    }
    if rest.len() < length {
        return Ok(None);
    }
    buffer.advance(PREFIX_BYTES);
    Ok(Some(buffer.split_to(length).freeze()))
}

/// What the headers or trailers say of how the call ended, if they do.
fn status_of(headers: &HeaderMap) -> Option<Result<(), CallError>> {
    let status = headers.get("grpc-status")?;
    match status.to_str().ok().and_then(|status| status.parse().ok()) {
        Some(0) => Some(Ok(())),
        code => {
            let message = headers.get("grpc-message").map(|message| percent_decoded(message.as_bytes())).unwrap_or_default();
            // 2 is "unknown".
            Some(Err(CallError::Status { code: code.unwrap_or(2), message }))
        }
    }
}

/// A message is percent-encoded UTF-8.
fn percent_decoded(encoded: &[u8]) -> String {
    let mut out = Vec::with_capacity(encoded.len());
    let mut rest = encoded;
    while let Some((byte, after)) = rest.split_first() {
        let hex = |byte: &u8| char::from(*byte).to_digit(16);
        match (byte, after) {
            (b'%', [high, low, after @ ..]) if hex(high).is_some() && hex(low).is_some() => {
                out.push((hex(high).unwrap_or(0) << 4 | hex(low).unwrap_or(0)) as u8);
                rest = after;
            }
            _ => {
                out.push(*byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_out_whole_however_they_arrive() {
        let sent = [&[0, 0, 0, 0, 3, b'a', b'b', b'c'][..], &[0, 0, 0, 0, 0], &[0, 0, 0, 0, 1, b'd']].concat();
        for size in 1..=sent.len() {
            let mut buffer = BytesMut::new();
            let mut taken = Vec::new();
            for piece in sent.chunks(size) {
                buffer.extend_from_slice(piece);
                while let Some(message) = take_message(&mut buffer).unwrap() {
                    taken.push(message);
                }
            }
            assert_eq!(taken, [Bytes::from_static(b"abc"), Bytes::new(), Bytes::from_static(b"d")], "in pieces of {size}");
            assert!(buffer.is_empty());
        }
        assert!(take_message(&mut BytesMut::from(&[1, 0, 0, 0, 0][..])).is_err(), "compressed");
        assert!(take_message(&mut BytesMut::from(&[0, 0xff, 0, 0, 0][..])).is_err(), "too long to be true");
    }

    #[test]
    fn a_status_is_found_with_its_words() {
        let mut headers = HeaderMap::new();
        assert_eq!(status_of(&headers), None);
        headers.insert("grpc-status", HeaderValue::from_static("0"));
        assert_eq!(status_of(&headers), Some(Ok(())));
        headers.insert("grpc-status", HeaderValue::from_static("14"));
        headers.insert("grpc-message", HeaderValue::from_static("warm%20ing up 100%, %C3%A9"));
        let expected = CallError::Status { code: 14, message: "warm ing up 100%, é".to_owned() };
        assert_eq!(status_of(&headers), Some(Err(expected)));
        headers.insert("grpc-status", HeaderValue::from_static("good"));
        assert!(matches!(status_of(&headers), Some(Err(CallError::Status { code: 2, .. }))), "what cannot be read is no success");
    }
}
