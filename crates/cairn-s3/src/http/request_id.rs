//! The ids by which a request is found again in a log.

use std::sync::atomic::{AtomicU64, Ordering};

use cairn_disk::Random;
use http::HeaderValue;

use crate::text::{base64, hexadecimal};

/// Makes request ids: 16 characters that no other request of this process has, and that do not tell how many there were.
pub struct RequestIds {
    next: AtomicU64,
    host_id: HeaderValue,
}

/// A request's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestId([u8; 16]);

impl RequestIds {
    /// Begins at a random place.
    #[must_use]
    pub fn new(random: &dyn Random) -> Self {
        let mut host = [0; 32];
        random.fill(&mut host);
        let host_id = HeaderValue::from_str(&base64::encode(&host)).unwrap_or(HeaderValue::from_static("cairn"));
        Self { next: AtomicU64::new(random.next_u64()), host_id }
    }

    /// The next one.
    pub fn next(&self) -> RequestId {
        // SplitMix64 is a bijection, so that different counts give different ids.
        let mut value = self.next.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^= value >> 31;
        let mut text = hexadecimal::encode::<8, 16>(&value.to_be_bytes());
        text.make_ascii_uppercase();
        RequestId(text)
    }

    /// The process, for `x-amz-id-2`.
    #[must_use]
    pub fn host_id(&self) -> &HeaderValue {
        &self.host_id
    }
}

impl RequestId {
    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}
