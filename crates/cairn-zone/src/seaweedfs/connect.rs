//! Connections to SeaweedFS: TCP, with TLS where the cluster has it, and how often each address ended one.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;
use tower_service::Service;

use super::settings::Tls;

/// How often each address, host and port, did not answer or ended a connection. Whoever did may have been killed, and may come back as another or
/// with less than it had (L7): what was known of it before holds no longer. A connection that was only idle for too long counts, too; then one look too many is
/// taken.
#[derive(Debug, Default)]
pub struct Losses(Mutex<HashMap<String, u64>>);

impl Losses {
    /// One more.
    pub fn add(&self, address: &str) {
        *self.0.lock().entry(address.to_owned()).or_default() += 1;
    }

    /// So many until now.
    pub fn count(&self, address: &str) -> u64 {
        self.0.lock().get(address).copied().unwrap_or(0)
    }
}

/// Makes connections.
#[derive(Clone)]
pub struct Connector {
    tls: Option<(TlsConnector, Option<ServerName<'static>>)>,
    timeout: Duration,
    losses: Arc<Losses>,
}

impl Connector {
    /// A connector that offers this protocol of HTTP (ALPN) where there is TLS.
    pub fn new(tls: Option<&Tls>, protocol: &[u8], timeout: Duration, losses: Arc<Losses>) -> Self {
        let tls = tls.map(|tls| {
            let mut config = (*tls.config).clone();
            config.alpn_protocols = vec![protocol.to_vec()];
            (TlsConnector::from(Arc::new(config)), tls.server_name.clone())
        });
        Self { tls, timeout, losses }
    }

    async fn connect(self, uri: Uri) -> io::Result<TokioIo<Stream>> {
        let host = uri.host().ok_or_else(|| invalid("an address without a host"))?;
        let port = uri.port_u16().ok_or_else(|| invalid("an address without a port"))?;
        // An IPv6 address stands in brackets in a URI, and not where it is resolved.
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let address = uri.authority().map(ToString::to_string).unwrap_or_default();
        let connecting = async {
            let tcp = TcpStream::connect((bare, port)).await?;
            tcp.set_nodelay(true)?;
            match self.tls {
                None => Ok(Kind::Plain(tcp)),
                Some((connector, name)) => {
                    let name = match name {
                        Some(name) => name,
                        None => {
                            ServerName::try_from(bare.to_owned()).map_err(|_| invalid("no certificate could have this host"))?
                        }
                    };
                    Ok(Kind::Tls(Box::new(connector.connect(name, tcp).await?)))
                }
            }
        };
        match tokio::time::timeout(self.timeout, connecting).await {
            Ok(kind) => kind.map(|kind| TokioIo::new(Stream { kind, lost: Some((address, self.losses)) })),
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, format!("no connection within {:?}", self.timeout))),
        }
    }
}

fn invalid(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why)
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Stream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<TokioIo<Stream>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(self.clone().connect(uri))
    }
}

/// A connection.
pub struct Stream {
    kind: Kind,
    /// Its other end, and where to note that this ended it; nothing once it did.
    lost: Option<(String, Arc<Losses>)>,
}

enum Kind {
    /// As it is.
    Plain(TcpStream),
    /// With TLS.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let stream = self.get_mut();
        let before = (buffer.filled().len(), buffer.remaining());
        let polled = match &mut stream.kind {
            Kind::Plain(plain) => Pin::new(plain).poll_read(context, buffer),
            Kind::Tls(tls) => Pin::new(tls).poll_read(context, buffer),
        };
        let ended = match &polled {
            Poll::Ready(Ok(())) => buffer.filled().len() == before.0 && before.1 > 0,
            Poll::Ready(Err(_)) => true,
            Poll::Pending => false,
        };
        if ended && let Some((address, losses)) = stream.lost.take() {
            losses.add(&address);
        }
        polled
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().kind {
            Kind::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Kind::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().kind {
            Kind::Plain(stream) => Pin::new(stream).poll_flush(context),
            Kind::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().kind {
            Kind::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Kind::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().kind {
            Kind::Plain(stream) => Pin::new(stream).poll_write_vectored(context, buffers),
            Kind::Tls(stream) => Pin::new(stream).poll_write_vectored(context, buffers),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.kind {
            Kind::Plain(stream) => stream.is_write_vectored(),
            Kind::Tls(stream) => stream.is_write_vectored(),
        }
    }
}
