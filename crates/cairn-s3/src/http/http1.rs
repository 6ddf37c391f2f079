//! HTTP/1.1 on one connection.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::watch;

use super::patience::Patience;
use super::response::{BodyError, ResponseBody};
use super::server::{Connection, stopped};
use super::service::S3Service;
use super::transport::{Paced, Phases, Running};
use crate::body::Inbound;

/// Serves until the connection is closed, or `stop` holds true and the running request is answered.
pub async fn serve(
    stream: impl Connection + 'static,
    peer: Option<SocketAddr>,
    service: S3Service,
    mut stop: watch::Receiver<bool>,
) {
    let limits = &service.shared().config.limits;
    let phases = Phases::new(limits.header_timeout, limits.idle_timeout);
    let patience = Patience::new(limits.body_idle_timeout, limits.body_rate_min);
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        // Ours tells a head that does not come from a connection that rests.
        .header_read_timeout(None)
        .max_headers(limits.header_count_max)
        // hyper's floor is 8 KiB.
        .max_buf_size(limits.header_bytes_max.max(8 << 10));
    let handler = service_fn(|request: http::Request<hyper::body::Incoming>| {
        let (service, running) = (service.clone(), phases.begin());
        async move {
            let response = service.call(peer, request.map(Inbound::from_connection)).await;
            Ok::<_, Infallible>(response.map(|body| RunningBody { body, _running: running }))
        }
    });
    let stream = Paced::new(stream, Some(phases.clone()), patience, service.clone());
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), handler));
    let outcome = tokio::select! {
        outcome = connection.as_mut() => outcome,
        () = stopped(&mut stop) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = outcome {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// A body that says until when its request runs.
struct RunningBody {
    body: ResponseBody,
    _running: Running,
}

impl Body for RunningBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
