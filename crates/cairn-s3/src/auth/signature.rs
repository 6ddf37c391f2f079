//! What is signed: requests, chunks of a body, and its trailer.

use sha2::{Digest, Sha256};

use super::credential::{ALGORITHM, CredentialScope};
use super::signing_key::SigningKey;
use crate::text::hexadecimal;

/// SHA-256 of nothing, as it stands in every chunk's string to sign.
pub const EMPTY_SHA256_HEXADECIMAL: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// The string to sign of a request.
#[must_use]
pub fn string_to_sign(moment: &[u8; 16], scope: &CredentialScope<'_>, canonical_request: &[u8]) -> Vec<u8> {
    let mut out = head(ALGORITHM, moment, scope);
    push_hexadecimal(&mut out, &Sha256::digest(canonical_request).into());
    out
}

fn head(algorithm: &str, moment: &[u8; 16], scope: &CredentialScope<'_>) -> Vec<u8> {
    let mut out = Vec::with_capacity(320);
    for piece in
        [algorithm.as_bytes(), b"\n", moment, b"\n", scope.date.as_bytes(), b"/", scope.region.as_bytes(), b"/s3/aws4_request\n"]
    {
        out.extend_from_slice(piece);
    }
    out
}

fn push_hexadecimal(out: &mut Vec<u8>, digest: &[u8; 32]) {
    out.extend_from_slice(&hexadecimal::encode::<32, 64>(digest));
}

/// Checks the chain of signatures over an `aws-chunked` body: each covers its chunk and the signature before it, the first follows the
/// request's (AWS, "Signature Calculations for the Authorization Header: Transferring Payload in Multiple Chunks").
pub struct ChunkSigner {
    key: SigningKey,
    /// Algorithm, moment and scope, with a line end behind each.
    chunk_head: Vec<u8>,
    trailer_head: Vec<u8>,
    previous: [u8; 32],
}

impl ChunkSigner {
    /// Follows a request with this signature.
    #[must_use]
    pub fn new(key: SigningKey, moment: &[u8; 16], scope: &CredentialScope<'_>, seed_signature: [u8; 32]) -> Self {
        Self {
            key,
            chunk_head: head("AWS4-HMAC-SHA256-PAYLOAD", moment, scope),
            trailer_head: head("AWS4-HMAC-SHA256-TRAILER", moment, scope),
            previous: seed_signature,
        }
    }

    /// The signature that the next chunk must have; the chain goes on from it.
    pub fn sign_chunk(&mut self, chunk_sha256: &[u8; 32]) -> [u8; 32] {
        let mut text = self.chunk_head.clone();
        push_hexadecimal(&mut text, &self.previous);
        text.push(b'\n');
        text.extend_from_slice(EMPTY_SHA256_HEXADECIMAL.as_bytes());
        text.push(b'\n');
        push_hexadecimal(&mut text, chunk_sha256);
        self.previous = self.key.sign(&text);
        self.previous
    }

    /// The signature that the trailer must have. `trailer_sha256` is over `name:value\n` of each trailing header.
    pub fn sign_trailer(&mut self, trailer_sha256: &[u8; 32]) -> [u8; 32] {
        let mut text = self.trailer_head.clone();
        push_hexadecimal(&mut text, &self.previous);
        text.push(b'\n');
        push_hexadecimal(&mut text, trailer_sha256);
        self.previous = self.key.sign(&text);
        self.previous
    }
}
