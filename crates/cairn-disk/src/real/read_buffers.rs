//! Memory for large reads, used again: a fresh buffer of a mebibyte costs as much processor time for its zeros and its page faults as
//! the read itself. What is kept is bounded; a buffer goes back when the last piece of it is dropped.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

/// Shorter reads get memory of their own: the allocator has it at hand, bytes.
const LENGTH_MIN: usize = 64 << 10;
/// Longer reads are rare, and what they took goes back to the system, bytes.
const LENGTH_MAX: usize = 2 << 20;
/// Buffers are this long or a multiple of it, so that one serves reads of many lengths, bytes.
const STEP: usize = 64 << 10;
/// What may be kept that nobody uses, bytes.
const KEPT_BYTES_MAX: usize = 16 << 20;

/// Buffers that nobody uses now.
#[derive(Debug, Default)]
pub(super) struct ReadBuffers {
    kept: Arc<Mutex<Kept>>,
}

#[derive(Debug, Default)]
struct Kept {
    buffers: Vec<Vec<u8>>,
    bytes: usize,
}

/// A buffer that somebody reads from.
struct Lent {
    buffer: Vec<u8>,
    /// How much of it was read; what lies behind is of an earlier read, and nobody sees it.
    filled: usize,
    kept: Arc<Mutex<Kept>>,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        self.buffer.get(..self.filled).unwrap_or_default()
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.buffer);
        let mut kept = self.kept.lock();
        if kept.bytes + buffer.len() <= KEPT_BYTES_MAX {
            kept.bytes += buffer.len();
            kept.buffers.push(buffer);
        }
    }
}

impl ReadBuffers {
    /// Memory for a read of up to `length` bytes, filled by `fill`, which says how many it filled.
    ///
    /// # Errors
    /// Those of `fill`.
    pub(super) fn read<E>(&self, length: usize, fill: impl FnOnce(&mut [u8]) -> Result<usize, E>) -> Result<Bytes, E> {
        if !(LENGTH_MIN..=LENGTH_MAX).contains(&length) {
            let mut buffer = vec![0; length];
            let filled = fill(&mut buffer)?;
            buffer.truncate(filled);
            return Ok(Bytes::from(buffer));
        }
        let mut lent = Lent { buffer: self.take(length), filled: 0, kept: Arc::clone(&self.kept) };
        let filled = match lent.buffer.get_mut(..length) {
            Some(wanted) => fill(wanted)?.min(length),
            None => 0,
        };
        lent.filled = filled;
        Ok(Bytes::from_owner(lent))
    }

    /// A buffer of at least this length: one that is kept, unless it is so long that a short read would hold on to much memory.
    fn take(&self, length: usize) -> Vec<u8> {
        let needed = length.next_multiple_of(STEP);
        let mut kept = self.kept.lock();
        if let Some(place) = kept.buffers.iter().rposition(|buffer| (needed..=needed + STEP).contains(&buffer.len())) {
            let buffer = kept.buffers.swap_remove(place);
            kept.bytes -= buffer.len();
            return buffer;
        }
        drop(kept);
        vec![0; needed]
    }
}

#[cfg(test)]
mod tests;
