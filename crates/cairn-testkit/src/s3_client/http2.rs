//! HTTP/2, so that what was written as a request of HTTP/1.1 can be asked by it as well.
//!
//! A test says once that HTTP/2 is spoken at an address; all that is sent there as bytes of HTTP/1.1 is then sent as what they mean.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::{Request, Response};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::wire::Answer;

static SPOKEN_AT: Mutex<BTreeSet<SocketAddr>> = Mutex::new(BTreeSet::new());

/// From now on, HTTP/2 is spoken at this address, without TLS.
pub fn speak_at(address: SocketAddr) {
    SPOKEN_AT.lock().insert(address);
}

/// Whether it is.
#[must_use]
pub fn is_spoken_at(address: SocketAddr) -> bool {
    SPOKEN_AT.lock().contains(&address)
}

/// A connection. It is driven by a task of its own, until this and its streams are gone.
#[derive(Clone)]
pub struct Connection(SendRequest<Bytes>);

/// The parts of a request that was written as HTTP/1.1: its head, and its body.
pub fn request(bytes: &[u8]) -> io::Result<(Request<()>, Bytes)> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").ok_or_else(|| io::Error::other("no end of the head"))?;
    let head = std::str::from_utf8(&bytes[..end]).map_err(io::Error::other)?;
    let mut lines = head.split("\r\n");
    let mut first = lines.next().unwrap_or_default().split(' ');
    let (method, target) = (first.next().unwrap_or_default(), first.next().unwrap_or_default());
    let headers = lines.filter_map(|line| line.split_once(':')).map(|(name, value)| (name.to_ascii_lowercase(), value.trim()));
    let headers: Vec<_> = headers.collect();
    let host = headers.iter().find(|(name, _)| name == "host").map_or("localhost", |(_, value)| *value);
    let mut request = Request::builder().method(method).uri(format!("http://{host}{target}"));
    // The host is the authority, and the connection is nobody's business.
    for (name, value) in headers.iter().filter(|(name, _)| !matches!(name.as_str(), "host" | "connection" | "transfer-encoding"))
    {
        request = request.header(name, *value);
    }
    let request = request.body(()).map_err(io::Error::other)?;
    Ok((request, Bytes::copy_from_slice(&bytes[end + 4..])))
}

impl Connection {
    /// Connects.
    pub async fn open(address: SocketAddr) -> io::Result<Self> {
        Self::over(TcpStream::connect(address).await?).await
    }

    /// Speaks HTTP/2 on a connection that is there.
    pub async fn over(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> io::Result<Self> {
        let mut builder = h2::client::Builder::new();
        // So that an answer that a test does not read stops no other.
        builder.initial_connection_window_size(16 << 20);
        let (sender, connection) = builder.handshake(stream).await.map_err(io::Error::other)?;
        tokio::spawn(connection);
        Ok(Self(sender))
    }

    /// Sends a head; the body, if there is one, is sent by the stream.
    pub async fn begin(&mut self, head: Request<()>, has_body: bool) -> io::Result<(ResponseFuture, SendStream<Bytes>)> {
        let mut ready = self.0.clone().ready().await.map_err(io::Error::other)?;
        ready.send_request(head, !has_body).map_err(io::Error::other)
    }

    /// Sends a request that was written as HTTP/1.1, and reads the answer.
    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<Answer> {
        let (head, body) = request(bytes)?;
        let (answering, mut sending) = self.begin(head, !body.is_empty()).await?;
        let body = async {
            // A server that has answered may reset what it does not want to read.
            let _ = send_all(&mut sending, body).await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            answer = read_answer(answering) => answer,
            () = body => unreachable!("it is pending"),
        }
    }
}

/// Sends all of a body, as fast as the server takes it, and its end.
pub async fn send_all(stream: &mut SendStream<Bytes>, mut body: Bytes) -> Result<(), h2::Error> {
    while !body.is_empty() {
        stream.reserve_capacity(body.len());
        while stream.capacity() == 0 {
            match std::future::poll_fn(|context| stream.poll_capacity(context)).await {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error),
                None => return Ok(()),
            }
        }
        let count = stream.capacity().min(body.len());
        stream.send_data(body.split_to(count), body.is_empty())?;
    }
    Ok(())
}

/// Reads an answer to its end.
pub async fn read_answer(answering: ResponseFuture) -> io::Result<Answer> {
    let (head, mut body) = answering.await.map_err(io::Error::other)?.into_parts();
    let mut answer = head_of(&Response::from_parts(head, ()));
    while let Some(piece) = next_piece(&mut body).await? {
        answer.body.extend_from_slice(&piece);
    }
    Ok(answer)
}

/// The next bytes of an answer's body; `None` at its end.
pub async fn next_piece(body: &mut RecvStream) -> io::Result<Option<Bytes>> {
    let Some(piece) = body.data().await else { return Ok(None) };
    let piece = piece.map_err(io::Error::other)?;
    let _ = body.flow_control().release_capacity(piece.len());
    Ok(Some(piece))
}

/// Status and headers of an answer.
#[must_use]
pub fn head_of(response: &Response<()>) -> Answer {
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let headers = response.headers().iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect();
    Answer { status: response.status().as_u16(), headers, body: Vec::new() }
}

/// Opens a connection for one request that was written as HTTP/1.1.
pub(super) async fn exchange(address: SocketAddr, bytes: &[u8]) -> io::Result<Answer> {
    Connection::open(address).await?.send(bytes).await
}
