//! The API over the network (K2): on an address of its own, by TLS alone, for whoever has a token or a client certificate.
//!
//! Nothing of it is there unless it is asked for, and nothing is anonymous: what a request is for is not looked at before its sender is known.
//! Connections are bounded in number (for one source, too), in time and in bytes; what they carry goes to the same handlers as what comes by the
//! Unix socket.

mod attempts;
pub(super) mod authenticate;
pub mod secret_file;
pub mod tokens;

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cairn_s3::Sources;
use hyper::body::Incoming;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::server::TlsStream;

use self::attempts::Attempts;
use self::authenticate::{Gate, Peer, TokenSource};
use self::tokens::{HOW_TO_MAKE, Tokens, hexadecimal};
use super::connections::{self, Answer};
use super::error::ApiError;
use super::{Admin, routes};
use crate::admin::api::FailureCode;
use crate::cli::ServeOptions;
use crate::serve::ServeError;
use crate::tls::{Certificates, Files, Purpose};

/// The most connections at a time. What is over it waits in the kernel's queue.
const CONNECTIONS_MAX: usize = 128;
/// The most connections of one source at a time. What is over it is closed.
const CONNECTIONS_PER_SOURCE_MAX: usize = 32;
/// How long a handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection lives. Who goes on connects again: so a client certificate that has expired is noticed.
const CONNECTION_AGE_MAX: Duration = Duration::from_secs(600);
/// How long somebody who is refused may still send, so that the refusal reaches them before the connection is closed.
const LINGER_TIMEOUT: Duration = Duration::from_secs(2);
/// How much they may send, bytes.
const LINGER_BYTES_MAX: u64 = 64 << 10;
/// Tokens, where they are given by the environment and not in a file.
pub const TOKEN_VARIABLE: &str = "CAIRN_ADMIN_API_TOKEN";
/// The first byte of a TLS connection: a record of the handshake (RFC 8446, section 5.1).
const TLS_HANDSHAKE_RECORD: u8 = 22;
const PLAIN_HTTP_ANSWER: &[u8] =
    b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\nconnection: close\r\ncontent-length: 122\r\n\r\n\
This address speaks TLS only: use https://. If you have just sent a token, others may have read it: replace it by another\n";

/// How the API is served over the network.
pub struct Settings {
    /// Where.
    pub address: SocketAddr,
    /// Those that it is served with.
    pub certificates: Arc<Certificates>,
    gate: Gate,
}

impl Settings {
    /// What the options ask for: `None` where it is nothing. What is missing is said, and what to do; nothing is made up.
    pub fn from_options(options: &ServeOptions) -> Result<Option<Self>, ServeError> {
        let asked = &options.admin_api;
        let Some(address) = asked.listen else { return Ok(None) };
        let refuse = |words: String| Err(ServeError(format!("the administration API cannot be served on {address}: {words}")));
        let own = (&asked.tls_cert, &asked.tls_key);
        let of_service = (&options.tls_cert, &options.tls_key);
        let (((Some(certificate), Some(key)), _) | (_, (Some(certificate), Some(key)))) = (own, of_service) else {
            return refuse(
                "it speaks TLS only, and there is no certificate. Give --admin-api-tls-cert and --admin-api-tls-key, or --tls-cert and \
                 --tls-key for S3 as well."
                    .to_owned(),
            );
        };
        let client_authority = asked.client_ca.clone();
        let takes_certificates = client_authority.is_some();
        let tokens = match (&asked.token_file, std::env::var(TOKEN_VARIABLE)) {
            (Some(_), Ok(_)) => return refuse(format!("give either --admin-api-token-file or {TOKEN_VARIABLE}.")),
            (Some(file), Err(_)) => {
                // Its place must not change with the directory of the process.
                Some(TokenSource::File(std::path::absolute(file).unwrap_or_else(|_| file.clone())))
            }
            (None, Ok(text)) => match Tokens::parse(&text) {
                Ok(tokens) => Some(TokenSource::Given(tokens)),
                Err(words) => return refuse(format!("{TOKEN_VARIABLE}: {words}.")),
            },
            (None, Err(_)) => None,
        };
        match &tokens {
            None if !takes_certificates => {
                return refuse(format!(
                    "nobody could use it. Give --admin-api-token-file FILE ({HOW_TO_MAKE}), or --admin-api-client-ca FILE for client \
                     certificates, or both."
                ));
            }
            None => {}
            Some(tokens) => {
                if let Err(words) = tokens.check() {
                    return refuse(format!("{words}."));
                }
            }
        }
        let files = Files {
            certificate: absolute(certificate),
            key: absolute(key),
            client_authority: client_authority.as_deref().map(absolute),
        };
        let certificates = match Certificates::load(Purpose::Administration, files) {
            Ok(certificates) => Arc::new(certificates),
            Err(words) => return refuse(format!("the TLS file {words}.")),
        };
        let gate = Gate { tokens, takes_certificates, attempts: Attempts::default() };
        Ok(Some(Self { address, certificates, gate }))
    }
}

fn absolute(path: impl AsRef<Path>) -> std::path::PathBuf {
    std::path::absolute(path.as_ref()).unwrap_or_else(|_| path.as_ref().to_owned())
}

/// Serves the API until `stop` holds true and those that are being answered are, within bounds.
pub async fn run(admin: Arc<Admin>, settings: Settings, listener: TcpListener, mut stop: watch::Receiver<bool>) {
    let server = Arc::new(Server { admin, certificates: settings.certificates, gate: settings.gate });
    let sources = Sources::new(CONNECTIONS_PER_SOURCE_MAX);
    let slots = connections::slots(CONNECTIONS_MAX);
    while let Some((slot, (stream, address))) = connections::next(&slots, || listener.accept(), &mut stop).await {
        let Some(held) = sources.hold(address.ip()) else {
            tracing::debug!(from = %address, "administration: a connection too many");
            continue;
        };
        let _ = stream.set_nodelay(true);
        let (server, stop) = (server.clone(), stop.clone());
        tokio::spawn(async move {
            server.connection(stream, address, stop).await;
            drop((slot, held));
        });
    }
    drop(listener);
    connections::all_closed(&slots, CONNECTIONS_MAX).await;
}

struct Server {
    admin: Arc<Admin>,
    certificates: Arc<Certificates>,
    gate: Gate,
}

impl Server {
    async fn connection(self: Arc<Self>, stream: TcpStream, address: SocketAddr, mut stop: watch::Receiver<bool>) {
        let shaken = tokio::select! {
            shaken = tokio::time::timeout(HANDSHAKE_TIMEOUT, self.handshake(stream, address)) => shaken,
            // Nobody who has not even come in is waited for.
            () = connections::stopped(&mut stop) => return,
        };
        let Ok(Some((stream, config))) = shaken else { return };
        let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        let peer = Peer { address, certificate: shown.map(fingerprint) };
        let handler = |request| self.clone().answer(peer.clone(), config.clone(), request);
        connections::serve(stream, Some(CONNECTION_AGE_MAX), stop, handler).await;
    }

    async fn handshake(
        self: &Arc<Self>,
        mut stream: TcpStream,
        address: SocketAddr,
    ) -> Option<(TlsStream<TcpStream>, Arc<ServerConfig>)> {
        let mut first = [0];
        if stream.peek(&mut first).await.ok()? == 1 && first != [TLS_HANDSHAKE_RECORD] {
            tracing::debug!(from = %address, "administration: a connection without TLS is refused");
            let _ = stream.write_all(PLAIN_HTTP_ANSWER).await;
            linger(stream).await;
            return None;
        }
        let server = self.clone();
        let config = tokio::task::spawn_blocking(move || server.certificates.current()).await.ok()?;
        match TlsAcceptor::from(config.clone()).accept(stream).into_fallible().await {
            Ok(stream) => Some((stream, config)),
            Err((error, stream)) => {
                if is_about_certificate(&error) {
                    self.gate.refuse_handshake(address, &error);
                } else {
                    tracing::debug!(from = %address, %error, "administration: a handshake failed");
                }
                linger(stream).await;
                None
            }
        }
    }

    async fn answer(self: Arc<Self>, peer: Peer, config: Arc<ServerConfig>, request: http::Request<Incoming>) -> Answer {
        let (server, headers) = (self.clone(), request.headers().clone());
        let admitting = tokio::task::spawn_blocking(move || {
            if peer.certificate.is_some() && !Arc::ptr_eq(&config, &server.certificates.current()) {
                // Its certificate was looked at by an authority that may be another now.
                let message = "The certificates of this service have been replaced. Nothing was changed: connect again.";
                return Err(Box::new(authenticate::answer(&ApiError::unavailable(message))));
            }
            server.gate.admit(&peer, &headers)
        });
        match admitting.await {
            Ok(Ok(caller)) => routes::answer(&self.admin, caller, request).await,
            Ok(Err(refusal)) => *refusal,
            Err(_) => authenticate::answer(&ApiError::new(FailureCode::Internal, "it could not be found out who you are")),
        }
    }
}

/// Reads on for a moment after the last words, and closes: what the other side has sent, and nobody has read, would make the kernel take back
/// the words that are on their way to it.
async fn linger(mut stream: TcpStream) {
    let reading = async {
        let _ = stream.shutdown().await;
        let mut rest = (&mut stream).take(LINGER_BYTES_MAX);
        let _ = tokio::io::copy(&mut rest, &mut tokio::io::sink()).await;
    };
    let _ = tokio::time::timeout(LINGER_TIMEOUT, reading).await;
}

fn is_about_certificate(error: &io::Error) -> bool {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<tokio_rustls::rustls::Error>());
    matches!(cause, Some(tokio_rustls::rustls::Error::InvalidCertificate(_)))
}

/// The SHA-256 of a certificate, as `openssl x509 -fingerprint -sha256` has it, without the colons and in small letters.
fn fingerprint(certificate: &CertificateDer<'_>) -> String {
    hexadecimal(&Sha256::digest(certificate))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_to_plain_http_is_as_long_as_it_says() {
        let text = std::str::from_utf8(PLAIN_HTTP_ANSWER).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.ends_with(&format!("content-length: {}", body.len())), "{}", body.len());
    }
}
