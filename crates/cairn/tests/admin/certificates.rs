//! Authorities, and certificates good and bad, as files.

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};

/// An authority whose certificates are kept in a directory.
pub struct Authority {
    directory: PathBuf,
    name: String,
    issuer: CertifiedIssuer<'static, KeyPair>,
    /// Its own certificate.
    pub file: PathBuf,
}

/// A certificate and its key.
pub struct Files {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// What a certificate is like.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Service,
    Client,
    ExpiredClient,
}

fn params(name: &str, kind: Kind) -> CertificateParams {
    let names = if kind == Kind::Service { vec!["localhost".to_owned(), "127.0.0.1".to_owned()] } else { Vec::new() };
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![if kind == Kind::Service { ExtendedKeyUsagePurpose::ServerAuth } else { ExtendedKeyUsagePurpose::ClientAuth }];
    if kind == Kind::ExpiredClient {
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 1, 1);
    }
    params
}

fn write(directory: &Path, name: &str, certificate: &str, key: &KeyPair) -> Files {
    let files = Files { certificate: directory.join(format!("{name}.pem")), key: directory.join(format!("{name}.key.pem")) };
    std::fs::write(&files.certificate, certificate).unwrap();
    std::fs::write(&files.key, key.serialize_pem()).unwrap();
    files
}

impl Authority {
    pub fn new(directory: &Path, name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let file = directory.join(format!("{name}.pem"));
        std::fs::write(&file, issuer.pem()).unwrap();
        Self { directory: directory.to_owned(), name: name.to_owned(), issuer, file }
    }

    pub fn issue(&self, name: &str, kind: Kind) -> Files {
        let key = KeyPair::generate().unwrap();
        let certificate = params(name, kind).signed_by(&key, &self.issuer).unwrap();
        write(&self.directory, &format!("{}-{name}", self.name), &certificate.pem(), &key)
    }
}

/// A client certificate that nobody has signed but its own key.
pub fn self_signed_client(directory: &Path) -> Files {
    let key = KeyPair::generate().unwrap();
    let certificate = params("self-signed", Kind::Client).self_signed(&key).unwrap();
    write(directory, "self-signed", &certificate.pem(), &key)
}
