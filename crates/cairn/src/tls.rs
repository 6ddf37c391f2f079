//! TLS certificates from files, which are read anew when they have changed: for S3 and for administration.
//!
//! What cannot be used replaces nothing: the last certificates that could be used stay in force, which the log and a metric say. S3's files are
//! looked at every few seconds and when the process is sent SIGHUP ([`follow`]), administration's also at each connection.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cairn_metrics::Counter;
use cairn_s3::{Handshake, Protocol, Shaken};
use futures::future::BoxFuture;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig, version};

use crate::doctor::certificate;

/// The longest of the files, bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// How often S3's files are looked at: as often as a person who has just replaced them looks whether it did.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// What certificates are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// S3, by TLS 1.2 or 1.3.
    S3 {
        /// Whether HTTP/2 is offered.
        http2: bool,
    },
    /// Administration, by TLS 1.3. No connection is resumed: a client certificate is looked at in every handshake, by the authority that is in
    /// force then.
    Administration,
}

impl Purpose {
    /// As metrics and logs say it.
    pub fn name(self) -> &'static str {
        match self {
            Self::S3 { .. } => "s3",
            Self::Administration => "administration",
        }
    }
}

/// Where the certificates are, PEM.
#[derive(Debug, Clone)]
pub struct Files {
    /// The service's certificate, followed by those of its issuers.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// Those who sign client certificates, where there are any.
    pub client_authority: Option<PathBuf>,
}

impl Files {
    fn all(&self) -> impl Iterator<Item = &Path> {
        [&self.certificate, &self.key].into_iter().chain(&self.client_authority).map(PathBuf::as_path)
    }
}

/// What is in force, and what was read last.
struct State {
    config: Arc<ServerConfig>,
    /// From when to when its certificate is good, seconds since 1970, where it says so.
    validity: Option<(u64, u64)>,
    /// The hash of the contents that were read last, whether or not they can be used.
    seen: [u8; 32],
    /// Whether the files could not even be read the last time.
    is_unreadable: bool,
    /// Whether what was read last cannot be used.
    is_unusable: bool,
}

/// Certificates that follow their files. Connections keep those that they have begun with.
pub struct Certificates {
    purpose: Purpose,
    files: Files,
    state: Mutex<State>,
    replaced: Counter,
    failed: Counter,
}

/// How certificates are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CertificateStatus {
    /// What they are for.
    pub purpose: Purpose,
    /// How often they were replaced since the start.
    pub replaced: u64,
    /// How often they should have been, and what the files held could not be used.
    pub failed: u64,
    /// Whether the files hold now what cannot be used.
    pub is_stale: bool,
    /// Until when the certificate in force is good, seconds since 1970.
    pub not_after_seconds: Option<u64>,
}

impl Certificates {
    /// Reads them; in words why they cannot be used. It blocks on the disk.
    pub fn load(purpose: Purpose, files: Files) -> Result<Self, String> {
        let contents = Contents::read(&files)?;
        let (config, validity) = contents.config(purpose, &files)?;
        let state = State { config, validity, seen: contents.hash(), is_unreadable: false, is_unusable: false };
        Ok(Self { purpose, files, state: Mutex::new(state), replaced: Counter::new(), failed: Counter::new() })
    }

    /// Those in force.
    pub fn in_force(&self) -> Arc<ServerConfig> {
        self.state.lock().config.clone()
    }

    /// How they are.
    pub fn status(&self) -> CertificateStatus {
        let state = self.state.lock();
        CertificateStatus {
            purpose: self.purpose,
            replaced: self.replaced.get(),
            failed: self.failed.get(),
            is_stale: state.is_unreadable || state.is_unusable,
            not_after_seconds: state.validity.map(|(_, not_after)| not_after),
        }
    }

    /// Those in force: the ones that the files hold now, or, where these cannot be used, the last ones that could, which is logged once. It
    /// blocks on the disk.
    pub fn current(&self) -> Arc<ServerConfig> {
        self.look(false)
    }

    /// As [`Certificates::current`]; with `is_asked` the outcome is logged in any case.
    fn look(&self, is_asked: bool) -> Arc<ServerConfig> {
        let contents = Contents::read(&self.files);
        let mut state = self.state.lock();
        let listener = self.purpose.name();
        let outcome = match contents {
            Err(_) if state.is_unreadable && !is_asked => return state.config.clone(),
            Err(words) => {
                state.is_unreadable = true;
                Err(words)
            }
            Ok(contents) => {
                state.is_unreadable = false;
                let hash = contents.hash();
                if hash == state.seen && !(is_asked && state.is_unusable) {
                    if is_asked {
                        tracing::info!(listener, "the TLS certificates are those that were read before");
                    }
                    return state.config.clone();
                }
                state.seen = hash;
                contents.config(self.purpose, &self.files)
            }
        };
        match outcome {
            Ok((config, validity)) => {
                tracing::info!(listener, "the TLS certificates were read anew");
                self.replaced.add(1);
                state.config = config;
                state.validity = validity;
                state.is_unusable = false;
            }
            // Also a moment between two files that are being replaced.
            Err(error) => {
                tracing::error!(listener, error, "the TLS certificates cannot be read anew, and stay as they were");
                self.failed.add(1);
                state.is_unusable |= !state.is_unreadable;
            }
        }
        state.config.clone()
    }
}

/// Follows the files of these until `stop` holds true: every few seconds, and at once when the process is sent SIGHUP.
pub async fn follow(all: Vec<Arc<Certificates>>, mut stop: watch::Receiver<bool>) {
    let hangup = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup());
    let mut hangup = match hangup {
        Ok(hangup) => Some(hangup),
        Err(error) => {
            tracing::warn!(%error, "SIGHUP cannot be listened to");
            None
        }
    };
    loop {
        let hung_up = async {
            match &mut hangup {
                Some(hangup) => hangup.recv().await.is_some(),
                None => std::future::pending().await,
            }
        };
        let is_asked = tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            is_asked = hung_up => is_asked,
            () = tokio::time::sleep(LOOK_INTERVAL) => false,
        };
        for certificates in &all {
            let certificates = certificates.clone();
            let _ = tokio::task::spawn_blocking(move || certificates.look(is_asked)).await;
        }
    }
}

/// Shakes hands for S3 with what is in force, and agrees on HTTP/2 or HTTP/1.1 (ALPN, RFC 7301).
pub struct Tls(pub Arc<Certificates>);

impl Handshake for Tls {
    fn accept(&self, stream: TcpStream) -> BoxFuture<'static, io::Result<Shaken>> {
        let acceptor = TlsAcceptor::from(self.0.in_force());
        Box::pin(async move {
            let stream = acceptor.accept(stream).await?;
            let protocol = match stream.get_ref().1.alpn_protocol() {
                Some(HTTP2) => Protocol::Http2,
                _ => Protocol::Http1,
            };
            Ok(Shaken { stream: Box::new(stream), protocol })
        })
    }
}

const HTTP2: &[u8] = b"h2";
const HTTP1: &[u8] = b"http/1.1";

/// What to shake hands with, and from when to when its certificate is good.
type Usable = (Arc<ServerConfig>, Option<(u64, u64)>);

/// What the files hold, in their order.
struct Contents(Vec<Vec<u8>>);

impl Contents {
    fn read(files: &Files) -> Result<Self, String> {
        let read = |path: &Path| {
            let unreadable = |error: &dyn std::fmt::Display| format!("{} cannot be used: {error}", path.display());
            let length = std::fs::metadata(path).map_err(|error| unreadable(&error))?.len();
            if length > FILE_BYTES_MAX {
                return Err(unreadable(&"it is too long to be certificates"));
            }
            std::fs::read(path).map_err(|error| unreadable(&error))
        };
        Ok(Self(files.all().map(read).collect::<Result<_, _>>()?))
    }

    fn hash(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        for content in &self.0 {
            hash.update((content.len() as u64).to_le_bytes());
            hash.update(content);
        }
        hash.finalize().into()
    }

    fn config(&self, purpose: Purpose, files: &Files) -> Result<Usable, String> {
        let [certificate, key, authority @ ..] = self.0.as_slice() else {
            return Err("there is no certificate".to_owned());
        };
        let unusable = |file: &Path, error: &dyn std::fmt::Display| format!("{} cannot be used: {error}", file.display());
        let chain = certificates(certificate).map_err(|words| unusable(&files.certificate, &words))?;
        let validity = chain.first().and_then(|first| certificate::validity(first));
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| unusable(&files.key, &error))?;
        let builder = match purpose {
            Purpose::S3 { .. } => ServerConfig::builder(),
            Purpose::Administration => ServerConfig::builder_with_protocol_versions(&[&version::TLS13]),
        };
        let builder = match (authority, &files.client_authority) {
            ([authority], Some(file)) => {
                let mut roots = RootCertStore::empty();
                for certificate in certificates(authority).map_err(|words| unusable(file, &words))? {
                    roots.add(certificate).map_err(|error| unusable(file, &error))?;
                }
                // Who has no certificate is told so in HTTP, or has a token.
                let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).allow_unauthenticated().build();
                builder.with_client_cert_verifier(verifier.map_err(|error| unusable(file, &error))?)
            }
            _ => builder.with_no_client_auth(),
        };
        let mut config = builder.with_single_cert(chain, key).map_err(|error| unusable(&files.certificate, &error))?;
        match purpose {
            Purpose::S3 { http2: true } => config.alpn_protocols = vec![HTTP2.to_vec(), HTTP1.to_vec()],
            Purpose::S3 { http2: false } => config.alpn_protocols = vec![HTTP1.to_vec()],
            Purpose::Administration => {
                config.alpn_protocols = vec![HTTP1.to_vec()];
                config.send_tls13_tickets = 0;
            }
        }
        Ok((Arc::new(config), validity))
    }
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Vec<_> =
        CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|error| format!("it is not PEM: {error}"))?;
    if found.is_empty() {
        return Err("it holds no certificate in PEM".to_owned());
    }
    Ok(found)
}

#[cfg(test)]
mod tests;
