//! A certificate authority and a certificate for one test, as a person would get them from their own authority.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose};

/// The files that were made.
pub struct Made {
    /// The authority's certificate, which clients must trust.
    pub authority: PathBuf,
    /// The service's certificate.
    pub certificate: PathBuf,
    /// The service's private key.
    pub key: PathBuf,
}

/// Makes an authority and a certificate for `names` (host names and addresses) in `directory`.
///
/// # Errors
/// Where a name is none or a file cannot be written.
pub fn make(directory: &Path, names: &[&str]) -> anyhow::Result<Made> {
    let authority_key = KeyPair::generate()?;
    let mut authority = CertificateParams::new(Vec::new())?;
    authority.distinguished_name.push(DnType::CommonName, "Cairn test authority");
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let authority_certificate = authority.self_signed(&authority_key)?;
    let issuer = Issuer::new(authority, authority_key);

    let key = KeyPair::generate()?;
    let mut service = CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())?;
    service.distinguished_name.push(DnType::CommonName, "Cairn test service");
    service.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    service.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    // Strict clients want the certificate to name the key that signed it.
    service.use_authority_key_identifier_extension = true;
    let certificate = service.signed_by(&key, &issuer)?;

    let write = |name: &str, text: String| -> anyhow::Result<PathBuf> {
        let path = directory.join(name);
        std::fs::write(&path, text).with_context(|| format!("{} cannot be written", path.display()))?;
        Ok(path)
    };
    Ok(Made {
        authority: write("authority.pem", authority_certificate.pem())?,
        certificate: write("service.pem", certificate.pem())?,
        key: write("service.key.pem", key.serialize_pem())?,
    })
}
