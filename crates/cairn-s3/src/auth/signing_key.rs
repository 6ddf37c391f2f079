//! Signing keys, derived once per access key and day.

use std::collections::HashMap;
use std::sync::Arc;

use cairn_store::api::AccessKey;
use hmac::{Hmac, KeyInit, Mac};
use parking_lot::Mutex;
use sha2::Sha256;
use subtle::ConstantTimeEq;

/// How many keys are remembered at most. A derivation costs about 2 µs, so that a miss is no harm.
const KEYS_MAX: usize = 4096;

/// HMAC-SHA256 with the key of one access key, day, region and service.
#[derive(Clone)]
pub struct SigningKey(Hmac<Sha256>);

impl SigningKey {
    /// Derives the key (AWS, "Create a signed request", step 4). `date` is `YYYYMMDD`.
    #[must_use]
    pub fn derive(secret: &[u8], date: &str, region: &str) -> Self {
        let mut prefixed = Vec::with_capacity(4 + secret.len());
        prefixed.extend_from_slice(b"AWS4");
        prefixed.extend_from_slice(secret);
        let mut key = keyed(&prefixed);
        for part in [date, region, "s3", "aws4_request"] {
            key.update(part.as_bytes());
            key = keyed(&key.finalize().into_bytes());
        }
        Self(key)
    }

    /// The signature of a text.
    #[must_use]
    pub fn sign(&self, text: &[u8]) -> [u8; 32] {
        let mut state = self.0.clone();
        state.update(text);
        state.finalize().into_bytes().into()
    }

    /// Whether a signature is that of a text; takes the same time for every wrong one.
    #[must_use]
    pub fn verify(&self, text: &[u8], signature: &[u8; 32]) -> bool {
        self.sign(text).ct_eq(signature).into()
    }
}

#[allow(clippy::expect_used, reason = "HMAC takes keys of any length")]
fn keyed(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes keys of any length")
}

struct Entry {
    key: Arc<AccessKey>,
    date: Box<str>,
    signing_key: SigningKey,
}

/// Remembers signing keys, one per access key.
pub struct SigningKeyCache {
    entries: Mutex<HashMap<Box<str>, Entry>>,
}

impl SigningKeyCache {
    /// Empty.
    #[must_use]
    pub fn new() -> Self {
        Self { entries: Mutex::new(HashMap::new()) }
    }

    /// The signing key of an access key and day. A remembered one counts only for the very secret it was derived from.
    #[must_use]
    pub fn get(&self, key: &Arc<AccessKey>, date: &str, region: &str) -> SigningKey {
        if let Some(entry) = self.entries.lock().get(&key.access_key_id)
            && *entry.date == *date
            && (Arc::ptr_eq(&entry.key, key) || bool::from(entry.key.secret.expose().ct_eq(key.secret.expose())))
        {
            return entry.signing_key.clone();
        }
        let signing_key = SigningKey::derive(key.secret.expose(), date, region);
        let entry = Entry { key: Arc::clone(key), date: date.into(), signing_key: signing_key.clone() };
        let mut entries = self.entries.lock();
        if entries.len() >= KEYS_MAX && !entries.contains_key(&key.access_key_id) {
            // Rarer than once in KEYS_MAX new keys, and every entry is cheap to make again.
            entries.clear();
        }
        entries.insert(key.access_key_id.clone(), entry);
        signing_key
    }
}

impl Default for SigningKeyCache {
    fn default() -> Self {
        Self::new()
    }
}
