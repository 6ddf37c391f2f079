//! HTTPS: a certificate and key from files.

use std::io;
use std::path::Path;
use std::sync::Arc;

use cairn_s3::{Connection, Handshake};
use futures::future::BoxFuture;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::serve::ServeError;

/// Shakes hands with TLS 1.2 or 1.3.
pub struct Tls(TlsAcceptor);

impl Tls {
    /// Reads the certificate chain and its key.
    pub fn load(certificate: &Path, key: &Path) -> Result<Self, ServeError> {
        let unreadable = |file: &Path, error: &dyn std::fmt::Display| {
            ServeError(format!("the TLS file {} cannot be used: {error}", file.display()))
        };
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(certificate)
            .and_then(Iterator::collect)
            .map_err(|error| unreadable(certificate, &error))?;
        let key_der = PrivateKeyDer::from_pem_file(key).map_err(|error| unreadable(key, &error))?;
        let mut config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(chain, key_der)
            .map_err(|error| unreadable(certificate, &error))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self(TlsAcceptor::from(Arc::new(config))))
    }
}

impl Handshake for Tls {
    fn accept(&self, stream: TcpStream) -> BoxFuture<'static, io::Result<Box<dyn Connection>>> {
        let acceptor = self.0.clone();
        Box::pin(async move { Ok(Box::new(acceptor.accept(stream).await?) as Box<dyn Connection>) })
    }
}
