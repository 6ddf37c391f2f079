//! TLS to the database, by the library that the front uses. Certificates are verified, with the host's name, whenever TLS is used at all: what `libpq` calls
//! `verify-full`.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, InvalidDnsNameError, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::{CatalogError, CatalogResult};

/// Makes TLS connections to servers that certificates of these authorities speak for.
#[derive(Clone)]
pub struct TlsSettings {
    connector: TlsConnector,
}

impl std::fmt::Debug for TlsSettings {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("TlsSettings").finish_non_exhaustive()
    }
}

impl TlsSettings {
    /// Trusts these certificates of authorities, in PEM, and no others. Errors: [`CatalogError::Refused`] where they are none.
    pub fn trusting(authorities_pem: &[u8]) -> CatalogResult<Self> {
        let refused = |why: &str| CatalogError::Refused(format!("the certificates of the catalog database's authorities {why}"));
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(authorities_pem) {
            let certificate = certificate.map_err(|_| refused("are not in PEM"))?;
            roots.add(certificate).map_err(|_| refused("are not usable"))?;
        }
        if roots.is_empty() {
            return Err(refused("are none"));
        }
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|_| refused("cannot be used"))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { connector: TlsConnector::from(Arc::new(config)) })
    }

    /// An encrypted connection over this one, to whom a certificate for that name speaks.
    pub(super) async fn connect<Below: AsyncRead + AsyncWrite + Unpin>(
        &self,
        host: &str,
        below: Below,
    ) -> io::Result<tokio_rustls::client::TlsStream<Below>> {
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        self.connector.connect(name, below).await
    }
}

impl<Below: AsyncRead + AsyncWrite + Unpin + Send + 'static> MakeTlsConnect<Below> for TlsSettings {
    type Stream = Stream<Below>;
    type TlsConnect = Handshake;
    type Error = InvalidDnsNameError;

    fn make_tls_connect(&mut self, domain: &str) -> Result<Handshake, InvalidDnsNameError> {
        Ok(Handshake { connector: self.connector.clone(), name: ServerName::try_from(domain.to_owned())? })
    }
}

/// One handshake.
pub struct Handshake {
    connector: TlsConnector,
    name: ServerName<'static>,
}

impl<Below: AsyncRead + AsyncWrite + Unpin + Send + 'static> TlsConnect<Below> for Handshake {
    type Stream = Stream<Below>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Stream<Below>>> + Send>>;

    fn connect(self, below: Below) -> Self::Future {
        Box::pin(async move { Ok(Stream(self.connector.connect(self.name, below).await?)) })
    }
}

/// An encrypted connection.
pub struct Stream<Below>(tokio_rustls::client::TlsStream<Below>);

impl<Below: AsyncRead + AsyncWrite + Unpin> tokio_postgres::tls::TlsStream for Stream<Below> {
    fn channel_binding(&self) -> ChannelBinding {
        // The server's certificate is verified by its name; binding the password's proof to it as well needs the hash that it was signed with.
        ChannelBinding::none()
    }
}

impl<Below: AsyncRead + AsyncWrite + Unpin> AsyncRead for Stream<Below> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl<Below: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Stream<Below> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
