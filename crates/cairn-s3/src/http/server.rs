//! Connections: accepted within bounds, served, drained at the end.
//!
//! A connection that sends no whole request head in time is closed, heads are bounded in bytes and number of headers (hyper answers 431
//! and 400 by itself), and the number of connections is bounded: what is over it waits in the kernel's queue.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use futures::future::BoxFuture;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};

use super::service::S3Service;
use crate::body::Inbound;

/// A connection after its handshake.
pub trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Connection for T {}

/// Turns a TCP connection into one that HTTP can be spoken on: TLS.
pub trait Handshake: Send + Sync + 'static {
    /// Shakes hands.
    fn accept(&self, stream: TcpStream) -> BoxFuture<'static, io::Result<Box<dyn Connection>>>;
}

/// Serves a listener until told to stop.
pub struct Server {
    service: S3Service,
    handshake: Option<Arc<dyn Handshake>>,
}

impl Server {
    /// Serves this service, in plain HTTP.
    #[must_use]
    pub fn new(service: S3Service) -> Self {
        Self { service, handshake: None }
    }

    /// Shakes hands first.
    #[must_use]
    pub fn with_handshake(mut self, handshake: Arc<dyn Handshake>) -> Self {
        self.handshake = Some(handshake);
        self
    }

    /// Accepts until `stop` holds true (or its sender is gone), lets requests that run come to their end within the configured time, and
    /// returns.
    pub async fn run(self, listener: TcpListener, mut stop: watch::Receiver<bool>) {
        let limits = self.service.shared().config.limits.clone();
        let slots = Arc::new(Semaphore::new(limits.connections_max));
        // Every connection holds a sender; when the last one is gone, all are closed.
        let (alive, mut all_closed) = mpsc::channel::<Infallible>(1);
        loop {
            let accepted = tokio::select! {
                biased;
                () = stopped(&mut stop) => break,
                accepted = accept(&listener, &slots) => accepted,
            };
            let (stream, peer, slot) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of descriptors, or a connection that died in the queue: pausing lets others end.
                    tracing::warn!(%error, "could not accept a connection");
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                    continue;
                }
            };
            let _ = stream.set_nodelay(true);
            let (service, handshake, stop, alive) = (self.service.clone(), self.handshake.clone(), stop.clone(), alive.clone());
            let header_timeout = limits.header_timeout;
            tokio::spawn(async move {
                let counted = Counted::new(&service);
                match handshake {
                    None => serve_connection(stream, Some(peer), service, stop).await,
                    Some(handshake) => match tokio::time::timeout(header_timeout, handshake.accept(stream)).await {
                        Ok(Ok(stream)) => serve_connection(stream, Some(peer), service, stop).await,
                        Ok(Err(error)) => tracing::debug!(%error, "a handshake failed"),
                        Err(_) => tracing::debug!("a handshake took too long"),
                    },
                }
                drop((counted, slot, alive));
            });
        }
        drop((listener, alive));
        if tokio::time::timeout(limits.shutdown_timeout, all_closed.recv()).await.is_err() {
            tracing::warn!(requests = self.service.running(), "stopped with requests still running");
        }
    }
}

/// Counts a connection as open until it is dropped, also by a panic.
struct Counted(S3Service);

impl Counted {
    fn new(service: &S3Service) -> Self {
        service.metrics().connection_opened();
        Self(service.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.metrics().connection_closed();
    }
}

async fn accept(listener: &TcpListener, slots: &Arc<Semaphore>) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let slot = Arc::clone(slots).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    Ok((stream, peer, slot))
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Serves HTTP/1.1 on one connection until it is closed, or `stop` holds true and the running request is answered. `peer` is for the log.
pub async fn serve_connection(
    stream: impl Connection + 'static,
    peer: Option<SocketAddr>,
    service: S3Service,
    mut stop: watch::Receiver<bool>,
) {
    let limits = &service.shared().config.limits;
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_headers(limits.header_count_max)
        // hyper's floor is 8 KiB.
        .max_buf_size(limits.header_bytes_max.max(8 << 10));
    let handler = service_fn(|request: http::Request<hyper::body::Incoming>| {
        let service = service.clone();
        async move { Ok::<_, Infallible>(service.call(peer, request.map(Inbound::from_connection)).await) }
    });
    let connection = builder.serve_connection(TokioIo::new(stream), handler);
    let mut connection = std::pin::pin!(connection);
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
