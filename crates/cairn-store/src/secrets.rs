//! Secrets at rest (K1): encrypted under a master key that the catalog never sees.
//!
//! - The cipher is XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha-03): nonces of 192 random bits never repeat by chance, whoever makes them.
//! - An envelope is bound to the access key id that it belongs to: moved to another key's record, it does not open.
//! - An envelope names the master key it was made under, so that keys can be rotated one record at a time ([`KeyRing`]).
//! - Keys are wiped from memory when dropped, and nothing here shows itself in a log (invariant 7).
//!
//! An envelope: format (1 byte, 1) · master key id (8) · nonce (24) · ciphertext and tag (secret + 16).

use std::fmt;

use bytes::Bytes;
use cairn_disk::Random;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

const FORMAT: u8 = 1;
const NONCE_LENGTH: usize = 24;
const TAG_LENGTH: usize = 16;
/// What the associated data of an access key's secret begins with, so that no envelope of another purpose opens as one.
const PURPOSE: &[u8] = b"cairn access key secret\0";
const ID_PURPOSE: &[u8] = b"cairn master key id\0";

/// Bytes of a master key.
pub const MASTER_KEY_LENGTH: usize = 32;

/// Tells master keys apart, and tells a right one from a wrong one. Says nothing of the key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MasterKeyId(pub [u8; 8]);

impl fmt::Display for MasterKeyId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:016x}", u64::from_be_bytes(self.0))
    }
}

impl fmt::Debug for MasterKeyId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "MasterKeyId({self})")
    }
}

/// A key that secrets are encrypted under. Wiped from memory when dropped.
#[derive(Clone)]
pub struct MasterKey {
    id: MasterKeyId,
    key: Zeroizing<[u8; MASTER_KEY_LENGTH]>,
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "MasterKey({})", self.id)
    }
}

/// Why a secret could not be had. It says nothing of the secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// Not an envelope, or of a later version of Cairn.
    #[error("this is no sealed secret that this version knows")]
    Envelope,
    /// Sealed under another master key.
    #[error("the secret is sealed under master key {0}, which is not at hand")]
    UnknownKey(MasterKeyId),
    /// Changed, or moved here from another access key.
    #[error("the sealed secret does not verify")]
    Forged,
    /// Longer than the cipher takes.
    #[error("the secret cannot be sealed")]
    TooLong,
}

impl MasterKey {
    /// The key of these bytes, which should come from a cryptographic generator.
    #[must_use]
    pub fn new(key: Zeroizing<[u8; MASTER_KEY_LENGTH]>) -> Self {
        let mut digest = [0; 8];
        // A key of 32 bytes is always taken.
        if let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key.as_ref()) {
            mac.update(ID_PURPOSE);
            for (place, byte) in digest.iter_mut().zip(mac.finalize().into_bytes()) {
                *place = byte;
            }
        }
        Self { id: MasterKeyId(digest), key }
    }

    /// A new key.
    #[must_use]
    pub fn generate(random: &dyn Random) -> Self {
        let mut key = Zeroizing::new([0; MASTER_KEY_LENGTH]);
        random.fill(key.as_mut());
        Self::new(key)
    }

    /// Its name.
    #[must_use]
    pub fn id(&self) -> MasterKeyId {
        self.id
    }

    /// Its bytes, to be kept in shares ([`crate::key_shares`]). Never for a log.
    #[must_use]
    pub fn expose(&self) -> &[u8; MASTER_KEY_LENGTH] {
        &self.key
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new((&*self.key).into())
    }
}

fn associated_data(id: MasterKeyId, access_key_id: &str) -> Vec<u8> {
    [PURPOSE, &[FORMAT], &id.0, access_key_id.as_bytes()].concat()
}

/// The master key that secrets are sealed under now, and those that earlier ones may still be sealed under.
#[derive(Debug, Clone)]
pub struct KeyRing {
    current: MasterKey,
    former: Vec<MasterKey>,
}

impl KeyRing {
    /// Only one key.
    #[must_use]
    pub fn new(current: MasterKey) -> Self {
        Self { current, former: Vec::new() }
    }

    /// While keys are rotated: seals under the first, opens under all.
    #[must_use]
    pub fn with_former(current: MasterKey, former: Vec<MasterKey>) -> Self {
        Self { current, former }
    }

    /// The key that secrets are sealed under.
    #[must_use]
    pub fn current(&self) -> &MasterKey {
        &self.current
    }

    /// Seals a secret of this access key.
    pub fn seal(&self, secret: &[u8], access_key_id: &str, random: &dyn Random) -> Result<Bytes, SecretError> {
        let id = self.current.id;
        let mut nonce = [0; NONCE_LENGTH];
        random.fill(&mut nonce);
        let payload = Payload { msg: secret, aad: &associated_data(id, access_key_id) };
        let sealed = self.current.cipher().encrypt(&XNonce::from(nonce), payload).map_err(|_| SecretError::TooLong)?;
        Ok([&[FORMAT][..], &id.0, &nonce, &sealed].concat().into())
    }

    /// Opens what [`KeyRing::seal`] made for this access key.
    pub fn open(&self, envelope: &[u8], access_key_id: &str) -> Result<Zeroizing<Vec<u8>>, SecretError> {
        let (id, rest) = split_id(envelope)?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LENGTH>().ok_or(SecretError::Envelope)?;
        if sealed.len() < TAG_LENGTH {
            return Err(SecretError::Envelope);
        }
        let key = std::iter::once(&self.current).chain(&self.former).find(|key| key.id == id);
        let key = key.ok_or(SecretError::UnknownKey(id))?;
        let payload = Payload { msg: sealed, aad: &associated_data(id, access_key_id) };
        key.cipher().decrypt(&XNonce::from(*nonce), payload).map(Zeroizing::new).map_err(|_| SecretError::Forged)
    }

    /// Whether an envelope is to be sealed anew, because its key is not the current one.
    #[must_use]
    pub fn is_outdated(&self, envelope: &[u8]) -> bool {
        split_id(envelope).is_ok_and(|(id, _)| id != self.current.id)
    }
}

fn split_id(envelope: &[u8]) -> Result<(MasterKeyId, &[u8]), SecretError> {
    let (format, rest) = envelope.split_first().ok_or(SecretError::Envelope)?;
    if *format != FORMAT {
        return Err(SecretError::Envelope);
    }
    let (id, rest) = rest.split_first_chunk().ok_or(SecretError::Envelope)?;
    Ok((MasterKeyId(*id), rest))
}

#[cfg(test)]
mod tests;
