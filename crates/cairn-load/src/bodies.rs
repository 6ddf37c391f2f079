//! What objects hold: bytes that do not compress, a few different bodies made once with their hashes. Which body an object has follows
//! from its number, so a reader knows every byte of every object without keeping any.

use crate::signature;

/// Bytes of all bodies together, at most (but one body at least).
const TOTAL_BYTES_MAX: usize = 40 << 20;
/// Most bodies.
const BODIES_MAX: usize = 1024;

/// The bodies of one size.
pub struct Bodies {
    bodies: Vec<(Vec<u8>, String)>,
}

impl Bodies {
    /// Bodies of this many bytes. Where `signed` is not asked for, their hashes are not computed.
    pub fn new(bytes: usize, signed: bool) -> Self {
        let count = (TOTAL_BYTES_MAX / bytes.max(1)).clamp(1, BODIES_MAX);
        let mut state = 0x9E37_79B9_7F4A_7C15_u64 ^ bytes as u64;
        let mut make = || {
            let mut body = Vec::with_capacity(bytes + 8);
            while body.len() < bytes {
                // xorshift64*: fast, and nothing that a compressor or a checksum would find special.
                state ^= state >> 12;
                state ^= state << 25;
                state ^= state >> 27;
                body.extend_from_slice(&state.wrapping_mul(0x2545_F491_4F6C_DD1D).to_le_bytes());
            }
            body.truncate(bytes);
            let payload = if signed { signature::sha256(&body) } else { signature::UNSIGNED.to_owned() };
            (body, payload)
        };
        Self { bodies: (0..count).map(|_| make()).collect() }
    }

    /// The body of an object, and what is signed of it.
    pub fn of(&self, number: u64) -> (&[u8], &str) {
        let place = usize::try_from(number % self.bodies.len() as u64).unwrap_or(0);
        let (body, payload) = &self.bodies[place];
        (body, payload)
    }
}
