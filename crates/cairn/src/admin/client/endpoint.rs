//! A service on the network: reached by TLS alone, its certificate verified, with a token or a client certificate (K2).

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cairn_s3::Connection;
use http::{HeaderValue, Uri};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{self, AlertDescription, CertificateError, ClientConfig, RootCertStore};
use zeroize::Zeroizing;

use super::ClientResult;
use crate::admin::api::{Failure, FailureCode};
use crate::admin::network::secret_file::{self, Kind};
use crate::admin::network::tokens;

/// How long reaching it may take, the handshake included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// Where `https` is when nothing else is said (RFC 9110, section 4.2.2).
const DEFAULT_PORT: u16 = 443;
/// A token, where it is given by the environment and not in a file.
pub const TOKEN_VARIABLE: &str = "CAIRN_ADMIN_TOKEN";

/// By what this side is known, and what it trusts.
#[derive(Debug, Clone, Default)]
pub struct Means {
    /// A file with the token.
    pub token_file: Option<PathBuf>,
    /// The authorities that are trusted in place of the system's, PEM.
    pub authority: Option<PathBuf>,
    /// The client certificate and its private key, PEM.
    pub certificate: Option<(PathBuf, PathBuf)>,
}

/// The service.
pub struct Endpoint {
    /// As it was given.
    url: String,
    name: String,
    port: u16,
    host: HeaderValue,
    server: ServerName<'static>,
    connector: TlsConnector,
    token: Option<Zeroizing<String>>,
    has_certificate: bool,
    has_own_authority: bool,
}

fn invalid(message: String) -> Failure {
    Failure { code: FailureCode::Invalid, message }
}

/// The host and port of a URL such as `https://host:9443`.
pub(in crate::admin) fn parse(url: &str) -> Result<(String, u16, HeaderValue), String> {
    let uri: Uri = url.parse().map_err(|error| format!("it is no URL ({error})"))?;
    match uri.scheme_str() {
        Some("https") => {}
        Some("http") => return Err("a token must not be sent without TLS".to_owned()),
        _ => return Err("it does not begin with https://".to_owned()),
    }
    let authority = uri.authority().ok_or("it has no host")?;
    if authority.as_str().contains('@') {
        return Err("a user's name or password has no place in it".to_owned());
    }
    if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
        return Err("a path has no place in it".to_owned());
    }
    let port = match authority.as_str().strip_prefix(authority.host()) {
        Some("") => DEFAULT_PORT,
        rest => {
            let port = rest.and_then(|rest| rest.strip_prefix(':')).and_then(|port| port.parse().ok());
            port.ok_or("its port is no number from 0 to 65535")?
        }
    };
    let name = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
    let host = HeaderValue::from_str(authority.as_str()).map_err(|error| error.to_string())?;
    Ok((name, port, host))
}

impl Endpoint {
    /// A service by its URL. Files are read; nothing is asked of anyone.
    pub fn new(url: &str, means: &Means, given_token: Option<String>) -> ClientResult<Self> {
        let wrong = |words: String| {
            invalid(format!(
                "{url:?} cannot be an administration endpoint: {words}. Write it as https://HOST:PORT. Nothing was asked of anyone."
            ))
        };
        let (name, port, host) = parse(url).map_err(wrong)?;
        let server = ServerName::try_from(name.clone()).map_err(|error| wrong(error.to_string()))?;
        let token = token(means.token_file.as_deref(), given_token)?;
        if token.is_none() && means.certificate.is_none() {
            return Err(invalid(format!(
                "{url} asks who you are. Give --token-file FILE (or CAIRN_ADMIN_TOKEN_FILE, {TOKEN_VARIABLE}), or --client-cert FILE and --client-key FILE."
            )));
        }
        let roots = match &means.authority {
            Some(file) => own_authorities(file)?,
            None => system_authorities(),
        };
        let builder = ClientConfig::builder().with_root_certificates(roots);
        let mut config = match &means.certificate {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = certificates(certificate)?;
                let key_der = PrivateKeyDer::from_pem_file(key).map_err(|error| unusable(key, &error))?;
                builder.with_client_auth_cert(chain, key_der).map_err(|error| unusable(certificate, &error))?
            }
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            url: url.to_owned(),
            name,
            port,
            host,
            server,
            connector: TlsConnector::from(Arc::new(config)),
            token,
            has_certificate: means.certificate.is_some(),
            has_own_authority: means.authority.is_some(),
        })
    }

    /// As it was given.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The header `Host`.
    pub fn host(&self) -> HeaderValue {
        self.host.clone()
    }

    /// The header `Authorization`, where there is a token.
    pub fn authorization(&self) -> Option<HeaderValue> {
        let token = self.token.as_ref()?;
        let mut value = HeaderValue::from_str(&Zeroizing::new(format!("Bearer {}", token.as_str()))).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// Connects, and makes sure who is there.
    pub async fn connect(&self) -> ClientResult<Box<dyn Connection>> {
        let connecting = async {
            let stream = TcpStream::connect((self.name.as_str(), self.port)).await.map_err(|error| self.unreachable(&error))?;
            let _ = stream.set_nodelay(true);
            self.connector.connect(self.server.clone(), stream).await.map_err(|error| self.not_trusted(&error))
        };
        if let Ok(stream) = tokio::time::timeout(CONNECT_TIMEOUT, connecting).await {
            return Ok(Box::new(stream?));
        }
        let words = format!("no connection within {} s", CONNECT_TIMEOUT.as_secs());
        Err(self.unreachable(&io::Error::new(io::ErrorKind::TimedOut, words)))
    }

    fn unreachable(&self, error: &io::Error) -> Failure {
        let message = format!(
            "{} cannot be reached: {error}. Nothing was asked. Is the service running, with --admin-api-listen, and is this its address?",
            self.url
        );
        Failure { code: FailureCode::Unavailable, message }
    }

    /// Why a handshake failed.
    fn not_trusted(&self, error: &io::Error) -> Failure {
        if let Some(refused) = self.refused(error) {
            return refused;
        }
        let url = &self.url;
        let words = match cause(error) {
            Some(rustls::Error::InvalidCertificate(why)) => match why {
                CertificateError::UnknownIssuer if self.has_own_authority => {
                    "its certificate was not issued by an authority of --ca-cert: another service is there, or the file is the wrong one".to_owned()
                }
                CertificateError::UnknownIssuer => {
                    "its certificate was not issued by an authority that this machine trusts. Give that authority's certificate with --ca-cert"
                        .to_owned()
                }
                CertificateError::Expired | CertificateError::ExpiredContext { .. } => "its certificate has expired".to_owned(),
                CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                    "its certificate is not valid yet: is a clock wrong?".to_owned()
                }
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                    format!("its certificate is not for {:?} ({why})", self.name)
                }
                // It has no name outside of the verifier; `openssl req -x509` makes certificates like that.
                CertificateError::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => {
                    "its certificate is that of an authority (basicConstraints CA:TRUE), and a service needs one of its own; one that is made by \
                     hand takes -addext basicConstraints=critical,CA:FALSE"
                        .to_owned()
                }
                why => format!("its certificate is not good ({why})"),
            },
            Some(rustls::Error::InvalidMessage(_)) => "it does not speak TLS".to_owned(),
            _ => return self.unreachable(error),
        };
        Failure { code: FailureCode::Forbidden, message: format!("{url} is not trusted: {words}. Nothing was asked of it.") }
    }

    /// The words for a client certificate that the service has refused, if that is what happened. With TLS 1.3 that is learnt only when an answer
    /// is awaited.
    pub fn refused(&self, error: &(dyn Error + 'static)) -> Option<Failure> {
        let Some(rustls::Error::AlertReceived(alert)) = cause(error) else { return None };
        let words = match alert {
            AlertDescription::UnknownCA => {
                "it was not issued by the authority that the service was given (--admin-api-client-ca)"
            }
            AlertDescription::CertificateExpired => "it has expired, or is not valid yet",
            AlertDescription::CertificateRequired => "it is missing",
            AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateRevoked
            | AlertDescription::AccessDenied
            | AlertDescription::DecryptError
                if self.has_certificate =>
            {
                "it is not one for clients, or not good"
            }
            other => {
                let message = format!("{} has broken off the handshake ({other:?}). Nothing was changed.", self.url);
                return Some(Failure { code: FailureCode::Unavailable, message });
            }
        };
        let message = format!("{} does not take the client certificate: {words}. Nothing was changed.", self.url);
        Some(Failure { code: FailureCode::Unauthenticated, message })
    }
}

/// What TLS says of an error, however deep it stands.
fn cause<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let mut error = Some(error);
    while let Some(this) = error {
        if let Some(found) = this.downcast_ref::<rustls::Error>() {
            return Some(found);
        }
        // An `io::Error` does not give what it holds as its source, but that one's source.
        let held = this.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if let Some(found) = held.and_then(|held| held.downcast_ref::<rustls::Error>()) {
            return Some(found);
        }
        error = this.source();
    }
    None
}

/// The token: the first of a file, else the one that was given.
fn token(file: Option<&Path>, given: Option<String>) -> ClientResult<Option<Zeroizing<String>>> {
    let (text, place) = match (file, given) {
        (Some(file), _) => {
            let text = secret_file::read(file, Kind::OrPipe).map_err(|words| invalid(format!("The token file {words}.")))?;
            (text, format!("the token file {}", file.display()))
        }
        (None, Some(text)) => (Zeroizing::new(text), TOKEN_VARIABLE.to_owned()),
        (None, None) => return Ok(None),
    };
    let found = tokens::parse(&text).map_err(|words| invalid(format!("There is no token to use in {place}: {words}.")))?;
    Ok(found.into_iter().next().map(|token| token.secret))
}

fn unusable(file: &Path, error: &dyn std::fmt::Display) -> Failure {
    invalid(format!("The file {} cannot be used: {error}. Nothing was asked of anyone.", file.display()))
}

fn certificates(file: &Path) -> ClientResult<Vec<CertificateDer<'static>>> {
    let found: Vec<_> =
        CertificateDer::pem_file_iter(file).and_then(Iterator::collect).map_err(|error| unusable(file, &error))?;
    if found.is_empty() {
        return Err(unusable(file, &"it holds no certificate in PEM"));
    }
    Ok(found)
}

fn own_authorities(file: &Path) -> ClientResult<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file)? {
        roots.add(certificate).map_err(|error| unusable(file, &error))?;
    }
    Ok(roots)
}

/// What the machine trusts. Of a system's many certificates, one that cannot be read does not keep the others from being used.
fn system_authorities() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

#[cfg(test)]
mod tests;
