//! The certificates of the administration address, read anew whenever their files have changed.
//!
//! TLS 1.3 only, and no connection is resumed: a client certificate is looked at in every handshake, by the authority that is in force then.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig, version};

/// The longest of the files, bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

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
    /// The hash of the contents that were read last, whether or not they can be used.
    seen: [u8; 32],
    /// Whether the files could not even be read the last time.
    is_unreadable: bool,
}

/// Certificates that follow their files.
pub struct Certificates {
    files: Files,
    state: Mutex<State>,
}

impl Certificates {
    /// Reads them; in words why they cannot be used. It blocks on the disk.
    pub fn load(files: Files) -> Result<Self, String> {
        let contents = Contents::read(&files)?;
        let config = contents.config(&files)?;
        let state = State { config, seen: contents.hash(), is_unreadable: false };
        Ok(Self { files, state: Mutex::new(state) })
    }

    /// Those in force: the ones that the files hold now, or, where these cannot be used, the last ones that could, which is logged once. It
    /// blocks on the disk.
    pub fn current(&self) -> Arc<ServerConfig> {
        let contents = Contents::read(&self.files);
        let mut state = self.state.lock();
        let outcome = match contents {
            Err(_) if state.is_unreadable => return state.config.clone(),
            Err(words) => {
                state.is_unreadable = true;
                Err(words)
            }
            Ok(contents) => {
                state.is_unreadable = false;
                let hash = contents.hash();
                if hash == state.seen {
                    return state.config.clone();
                }
                state.seen = hash;
                contents.config(&self.files)
            }
        };
        match outcome {
            Ok(config) => {
                tracing::info!("administration: its certificates were read anew");
                state.config = config;
            }
            // Also a moment between two files that are being replaced.
            Err(error) => tracing::warn!(error, "administration: its certificates cannot be read anew, and stay as they were"),
        }
        state.config.clone()
    }
}

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

    fn config(&self, files: &Files) -> Result<Arc<ServerConfig>, String> {
        let [certificate, key, authority @ ..] = self.0.as_slice() else {
            return Err("there is no certificate".to_owned());
        };
        let unusable = |file: &Path, error: &dyn std::fmt::Display| format!("{} cannot be used: {error}", file.display());
        let chain = certificates(certificate).map_err(|words| unusable(&files.certificate, &words))?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| unusable(&files.key, &error))?;
        let builder = ServerConfig::builder_with_protocol_versions(&[&version::TLS13]);
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
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.send_tls13_tickets = 0;
        Ok(Arc::new(config))
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
