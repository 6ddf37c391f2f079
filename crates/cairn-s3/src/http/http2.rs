//! HTTP/2 on one connection (RFC 9113), by the `h2` crate itself: hyper's own way over it sends no `100 Continue`, and knows no patience.
//!
//! What it guarantees, beside what holds for every request:
//!
//! - requests at once, the bytes of one body and of all bodies that were not asked for yet, heads, and the state that a client can make the
//!   service keep are bounded;
//! - requests that are taken back cost the client its connection when they are many ("rapid reset", CVE-2023-44487): also those that were begun
//!   already, which `h2` does not count. A request that was taken back is dropped at once;
//! - heads in endless pieces ("CONTINUATION flood", CVE-2024-27316) end the connection: `h2` counts the pieces, by what a head may have;
//! - bodies in tiny pieces end it as well: `h2` holds them to a budget.
//!
//! `docs/adr/0011-http2-and-admission.md` says of which versions that is true, and which settings do it.

mod sending;

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use h2::server::{Connection as H2Connection, SendResponse};
use h2::{Reason, RecvStream};
use http::header::{CONNECTION, CONTENT_LENGTH, DATE, EXPECT, HOST};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body::Body as _;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use sending::{Piece, UNSENT_BYTES_MAX, Unsent, send_body};

use super::patience::Patience;
use super::response::S3Response;
use super::server::{Connection, stopped};
use super::service::S3Service;
use super::transport::Paced;
use crate::body::Inbound;
use crate::observe::WaitedFor;
use crate::text::date;

/// How long a client may take to close a connection that it was told to leave: it may still be reading what the kernel holds for it.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);
/// How many requests that the service itself has broken off a client may cause: protocol errors within one stream, while the connection lasts.
const LOCAL_RESETS_MAX: usize = 1024;
/// How many streams that were reset are remembered, and for how long. What was under way on them is no error: bodies of requests that were
/// refused. Two connections' worth of streams by default, over the slowest of lines.
const REMEMBERED_RESETS_MAX: usize = 256;
const RESET_REMEMBERED: Duration = Duration::from_secs(10);

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// With an answer, or for reasons of the service's.
    Served,
    /// The client took it back, which shows in whatever is done next with it, or broke its rules.
    TakenBack,
}

/// Serves until the connection is closed, or `stop` holds true and the running requests are answered.
pub async fn serve(
    stream: impl Connection + 'static,
    peer: Option<SocketAddr>,
    service: S3Service,
    mut stop: watch::Receiver<bool>,
) {
    let limits = &service.shared().config.limits;
    let patience = || Patience::new(limits.body_idle_timeout, limits.body_rate_min);
    let stream = Paced::new(stream, None, patience(), service.clone());
    let mut builder = h2::server::Builder::new();
    builder
        .max_concurrent_streams(limits.http2.streams_max)
        .initial_window_size(limits.http2.stream_window_bytes)
        .initial_connection_window_size(limits.http2.connection_window_bytes)
        // Counted as RFC 9113, section 6.5.2 has it, with 32 bytes for each header. h2 derives how many CONTINUATION frames there may be.
        .max_header_list_size(u32::try_from(limits.header_bytes_max).unwrap_or(u32::MAX))
        .max_send_buffer_size(UNSENT_BYTES_MAX)
        .max_concurrent_reset_streams(REMEMBERED_RESETS_MAX)
        .reset_stream_duration(RESET_REMEMBERED)
        .max_local_error_reset_streams(Some(LOCAL_RESETS_MAX));
    let handshake = tokio::select! {
        handshake = tokio::time::timeout(limits.header_timeout, builder.handshake::<_, Piece>(stream)) => handshake,
        // Nobody who has asked nothing yet is waited for.
        () = stopped(&mut stop) => return,
    };
    let mut connection = match handshake {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => {
            tracing::debug!(%error, "a connection ended early");
            return;
        }
        Err(_) => {
            service.metrics().timed_out(WaitedFor::Head);
            return;
        }
    };
    let mut taken_back = TakenBack::new(limits.http2.resets_max);
    let mut requests: JoinSet<Ended> = JoinSet::new();
    let unsent = Unsent::new();
    let streams_max = usize::try_from(limits.http2.streams_max).unwrap_or(usize::MAX);
    // The first request is due as a head is.
    let mut rest = Box::pin(tokio::time::sleep(limits.header_timeout));
    let mut is_closing = false;
    loop {
        let (rests, has_room) = (requests.is_empty(), requests.len() < streams_max);
        tokio::select! {
            biased;
            Some(ended) = requests.join_next(), if !rests => {
                if ended.is_ok_and(|ended| ended == Ended::TakenBack) && taken_back.is_one_too_many() {
                    tracing::debug!(?peer, "a client has taken back too many requests: its connection is closed");
                    connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
                    is_closing = true;
                    rest.as_mut().reset(Instant::now() + CLOSE_TIMEOUT);
                    requests.abort_all();
                } else if !is_closing {
                    rest.as_mut().reset(Instant::now() + limits.idle_timeout);
                } else {
                    rest.as_mut().reset(Instant::now() + CLOSE_TIMEOUT);
                }
            }
            () = stopped(&mut stop), if !is_closing => {
                connection.graceful_shutdown();
                is_closing = true;
                rest.as_mut().reset(Instant::now() + CLOSE_TIMEOUT);
            }
            () = rest.as_mut(), if rests => {
                if is_closing {
                    return;
                }
                connection.graceful_shutdown();
                is_closing = true;
                rest.as_mut().reset(Instant::now() + CLOSE_TIMEOUT);
            }
            next = next_request(&mut connection, has_room) => match next {
                Some(Ok((request, respond))) => {
                    let answering = answer(service.clone(), peer, request, respond, (unsent.clone(), patience()));
                    requests.spawn(answering);
                }
                Some(Err(error)) => {
                    tracing::debug!(%error, "a connection ended early");
                    return;
                }
                None => return,
            },
        }
    }
}

type Next = Option<Result<(Request<RecvStream>, SendResponse<Piece>), h2::Error>>;

/// Drives the connection until the next request comes, where there is room for one: a request that was taken back makes room for `h2` at once,
/// and here only once it has ended.
async fn next_request<Io>(connection: &mut H2Connection<Io, Piece>, has_room: bool) -> Next
where
    Io: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    if has_room {
        return connection.accept().await;
    }
    poll_fn(|context| connection.poll_closed(context)).await.err().map(Err)
}

/// How many requests a client may still take back.
struct TakenBack {
    left: f64,
    full: f64,
    since: Instant,
}

impl TakenBack {
    fn new(full: u32) -> Self {
        Self { left: full.into(), full: full.into(), since: Instant::now() }
    }

    /// One more.
    fn is_one_too_many(&mut self) -> bool {
        let now = Instant::now();
        let given_back = self.full / 10.0 * now.saturating_duration_since(self.since).as_secs_f64();
        self.since = now;
        self.left = (self.left + given_back).min(self.full) - 1.0;
        self.left < 0.0
    }
}

/// Answers one request.
async fn answer(
    service: S3Service,
    peer: Option<SocketAddr>,
    request: Request<RecvStream>,
    mut respond: SendResponse<Piece>,
    pace: (Unsent, Patience),
) -> Ended {
    let (mut parts, body) = request.into_parts();
    // As hyper answers by HTTP/1.1.
    let refusal = if parts.headers.len() > service.shared().config.limits.header_count_max {
        Some(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE)
    } else {
        (!name_host(&mut parts)).then_some(StatusCode::BAD_REQUEST)
    };
    if let Some(status) = refusal {
        let mut response = Response::new(());
        *response.status_mut() = status;
        let _ = respond.send_response(response, true);
        return Ended::Served;
    }
    let wants_continue = parts.headers.get(EXPECT).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    let is_body_awaited = Arc::new(AtomicBool::new(false));
    let inbound = Inbound::from_stream(body, is_body_awaited.clone());
    let is_head = parts.method == Method::HEAD;
    let response = {
        let mut calling = std::pin::pin!(service.call(peer, Request::from_parts(parts, inbound)));
        let mut is_continued = !wants_continue;
        poll_fn(|context| {
            if let Poll::Ready(response) = calling.as_mut().poll(context) {
                return Poll::Ready(Some(response));
            }
            // The body was asked for, and has not come: by then the request is allowed.
            if !is_continued && is_body_awaited.load(Ordering::Relaxed) {
                is_continued = true;
                let mut response = Response::new(());
                *response.status_mut() = StatusCode::CONTINUE;
                let _ = respond.send_informational(response);
            }
            respond.poll_reset(context).map(|_| None)
        })
        .await
    };
    match response {
        Some(response) => send(&service, response, is_head, respond, pace).await,
        None => Ended::TakenBack,
    }
}

/// Has the authority stand in `Host`, where signatures are looked for; false where the two differ (RFC 9113, section 8.3.1).
fn name_host(parts: &mut http::request::Parts) -> bool {
    let Some(authority) = parts.uri.authority() else { return true };
    match parts.headers.get(HOST) {
        Some(host) => host.as_bytes() == authority.as_str().as_bytes(),
        None => match HeaderValue::from_str(authority.as_str()) {
            Ok(host) => {
                parts.headers.insert(HOST, host);
                true
            }
            Err(_) => false,
        },
    }
}

/// Sends an answer. What the client still sends of its body is given up then: the stream is reset without an error (RFC 9113, section 8.1).
async fn send(
    service: &S3Service,
    response: S3Response,
    is_head: bool,
    mut respond: SendResponse<Piece>,
    pace: (Unsent, Patience),
) -> Ended {
    let (mut head, body) = response.into_parts();
    // What HTTP/1.1 says of the connection is none of a stream's business.
    head.headers.remove(CONNECTION);
    if !head.headers.contains_key(DATE)
        && let Ok(value) = HeaderValue::from_bytes(&date::http(service.shared().clock.wall().as_secs()))
    {
        head.headers.insert(DATE, value);
    }
    let is_empty = body.is_end_stream();
    let has_length = !is_head && !matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if has_length && let Some(length) = body.size_hint().exact() {
        head.headers.entry(CONTENT_LENGTH).or_insert_with(|| length.into());
    }
    let Ok(stream) = respond.send_response(Response::from_parts(head, ()), is_empty) else { return Ended::TakenBack };
    if is_empty {
        return Ended::Served;
    }
    send_body(service, body, stream, pace).await
}
