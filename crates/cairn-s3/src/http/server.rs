//! Connections: accepted within bounds, served, drained at the end.
//!
//! A connection that sends no whole request head in time is closed, and so is one that rests for too long; heads are bounded in bytes and
//! number of headers (hyper answers 431 and 400 by itself); and the number of connections is bounded: what is over it waits in the kernel's
//! queue, and what is over the bound of one source is closed. Which HTTP is spoken is agreed upon in the handshake (ALPN, RFC 7301).

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};

use super::service::S3Service;
use super::sources::{HeldConnection, Sources};
use super::{http1, http2};
use crate::observe::WaitedFor;

/// A connection after its handshake.
pub trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Connection for T {}

/// What is spoken on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
}

/// What came of a handshake.
pub struct Shaken {
    /// The connection.
    pub stream: Box<dyn Connection>,
    /// What is spoken on it.
    pub protocol: Protocol,
}

/// Turns a TCP connection into one that HTTP can be spoken on: TLS.
pub trait Handshake: Send + Sync + 'static {
    /// Shakes hands.
    fn accept(&self, stream: TcpStream) -> BoxFuture<'static, io::Result<Shaken>>;
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
        let sources = limits.connections_per_source_max.map(Sources::new);
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
            let held = sources.as_ref().map(|sources| sources.hold(peer.ip()));
            if let Some(None) = held {
                self.service.metrics().connections_refused.add(1);
                continue;
            }
            let _ = stream.set_nodelay(true);
            let open = Open { _counted: Counted::new(&self.service), _slot: slot, _held: held.flatten(), _alive: alive.clone() };
            let (service, handshake, stop) = (self.service.clone(), self.handshake.clone(), stop.clone());
            tokio::spawn(async move {
                serve_accepted(stream, peer, service, handshake, stop).await;
                drop(open);
            });
        }
        drop((listener, alive));
        if tokio::time::timeout(limits.shutdown_timeout, all_closed.recv()).await.is_err() {
            tracing::warn!(requests = self.service.running(), "stopped with requests still running");
        }
    }
}

/// What an open connection holds; given back when dropped, also by a panic.
struct Open {
    _counted: Counted,
    _slot: OwnedSemaphorePermit,
    _held: Option<HeldConnection>,
    _alive: mpsc::Sender<Infallible>,
}

async fn serve_accepted(
    stream: TcpStream,
    peer: SocketAddr,
    service: S3Service,
    handshake: Option<Arc<dyn Handshake>>,
    mut stop: watch::Receiver<bool>,
) {
    let Some(handshake) = handshake else {
        return http1::serve(stream, Some(peer), service, stop).await;
    };
    let timeout = service.shared().config.limits.header_timeout;
    let shaken = tokio::select! {
        shaken = tokio::time::timeout(timeout, handshake.accept(stream)) => shaken,
        // Nobody who has not even come in is waited for.
        () = stopped(&mut stop) => return,
    };
    match shaken {
        Ok(Ok(Shaken { stream, protocol: Protocol::Http1 })) => http1::serve(stream, Some(peer), service, stop).await,
        Ok(Ok(Shaken { stream, protocol: Protocol::Http2 })) => http2::serve(stream, Some(peer), service, stop).await,
        Ok(Err(error)) => {
            service.metrics().handshakes_failed.add(1);
            tracing::debug!(%error, "a handshake failed");
        }
        Err(_) => {
            service.metrics().timed_out(WaitedFor::Handshake);
            tracing::debug!("a handshake took too long");
        }
    }
}

/// Counts a connection as open.
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

/// Waits until `stop` holds true, or nobody is left to say so.
pub(super) async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Serves HTTP/1.1 on one connection until it is closed, or `stop` holds true and the running request is answered. `peer` is for the log.
pub async fn serve_connection(
    stream: impl Connection + 'static,
    peer: Option<SocketAddr>,
    service: S3Service,
    stop: watch::Receiver<bool>,
) {
    http1::serve(stream, peer, service, stop).await;
}

/// Serves HTTP/2, which the client begins with at once, on one connection, as [`serve_connection`] does HTTP/1.1.
pub async fn serve_http2_connection(
    stream: impl Connection + 'static,
    peer: Option<SocketAddr>,
    service: S3Service,
    stop: watch::Receiver<bool>,
) {
    http2::serve(stream, peer, service, stop).await;
}
