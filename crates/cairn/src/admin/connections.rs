//! HTTP/1.1 for administration: few connections, small requests, everything bounded in bytes and time, in both directions.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::api::FailureCode;
use super::error::ApiError;
use super::unstalled::Unstalled;

/// The most bytes of a request's head.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// The most headers.
const HEADERS_MAX: usize = 64;
/// The most bytes of a request's body.
pub const BODY_BYTES_MAX: usize = 64 << 10;
/// How long the head of a request may take, which is also how long a connection may be idle.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the body of a request may take.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the other side may take nothing of an answer that is being sent.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a connection may take for its last answer once the service stops: as long as a body may, and a little.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(12);

/// How long a listener rests after it could not take a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What administration answers with.
pub type Answer = Response<Full<Bytes>>;

/// Bounds the connections of one listener. What is over it waits in the kernel's queue.
pub fn slots(count: usize) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(count))
}

/// A listener's next connection, and the slot that it holds while it is open; `None` once `stop` holds true.
pub async fn next<Connection, Accepting>(
    slots: &Arc<Semaphore>,
    accept: impl Fn() -> Accepting,
    stop: &mut watch::Receiver<bool>,
) -> Option<(OwnedSemaphorePermit, Connection)>
where
    Accepting: Future<Output = io::Result<Connection>>,
{
    loop {
        let accepted = tokio::select! {
            biased;
            () = stopped(stop) => return None,
            accepted = async { (slots.clone().acquire_owned().await, accept().await) } => accepted,
        };
        if let (Ok(slot), Ok(connection)) = accepted {
            return Some((slot, connection));
        }
        // Out of descriptors, or a connection that died in the queue.
        tokio::time::sleep(ACCEPT_PAUSE).await;
    }
}

/// Waits until all of a listener's connections are closed, for as long as their last answers may take.
pub async fn all_closed(slots: &Semaphore, count: usize) {
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    if tokio::time::timeout(CLOSE_TIMEOUT, slots.acquire_many(count)).await.is_err() {
        tracing::warn!("stopped with administration connections still open");
    }
}

/// Waits until `stop` holds true, or nobody is left to say so.
pub async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Serves one connection until it is closed, or `stop` holds true or it has become so old and the running request is answered.
pub async fn serve<Handler, Answering>(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    age_max: Option<Duration>,
    mut stop: watch::Receiver<bool>,
    handler: Handler,
) where
    Handler: Fn(Request<Incoming>) -> Answering,
    Answering: Future<Output = Answer>,
{
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_headers(HEADERS_MAX).max_buf_size(HEAD_BYTES_MAX);
    let service = service_fn(|request| {
        let answering = handler(request);
        async move { Ok::<_, Infallible>(answering.await) }
    });
    let stream = TokioIo::new(Unstalled::new(stream, SEND_TIMEOUT));
    let mut connection = std::pin::pin!(builder.serve_connection(stream, service));
    let aged = async {
        match age_max {
            Some(age_max) => tokio::time::sleep(age_max).await,
            None => std::future::pending().await,
        }
    };
    let mut is_stopping = false;
    // In this order, so that an answer that is given after the stop says that it is the last.
    let outcome = tokio::select! {
        biased;
        () = stopped(&mut stop) => {
            is_stopping = true;
            None
        }
        () = aged => None,
        outcome = connection.as_mut() => Some(outcome),
    };
    let outcome = if let Some(outcome) = outcome {
        outcome
    } else {
        connection.as_mut().graceful_shutdown();
        let closing = async {
            if !is_stopping {
                stopped(&mut stop).await;
            }
            tokio::time::sleep(CLOSE_TIMEOUT).await;
        };
        tokio::select! {
            outcome = connection => outcome,
            () = closing => return,
        }
    };
    if let Err(error) = outcome {
        tracing::debug!(%error, "an administration connection ended early");
    }
}

/// The body of a request, within its bounds.
pub async fn read_body(body: Incoming) -> Result<Bytes, ApiError> {
    match tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, BODY_BYTES_MAX).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            Err(ApiError::new(FailureCode::TooLarge, format!("a request has at most {BODY_BYTES_MAX} bytes")))
        }
        Ok(Err(error)) => Err(ApiError::invalid(format!("the request could not be read: {error}"))),
        Err(_) => Err(ApiError::invalid("the request took too long to arrive")),
    }
}

/// An answer in JSON.
pub fn json(status: StatusCode, value: &impl Serialize) -> Answer {
    match serde_json::to_vec(value) {
        Ok(mut body) => {
            body.push(b'\n');
            answer(status, "application/json", body.into())
        }
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("the answer could not be written: {error}\n")),
    }
}

/// An answer for people.
pub fn text(status: StatusCode, body: impl Into<String>) -> Answer {
    answer(status, "text/plain; charset=utf-8", Bytes::from(body.into()))
}

fn answer(status: StatusCode, content_type: &'static str, body: Bytes) -> Answer {
    let mut answer = Response::new(Full::new(body));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    // Health is about now, and an answer may hold a secret.
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}
