//! The memory that bodies on their way into zones may take, all uploads together: a hard bound.
//!
//! Bytes are acquired before they are buffered, and given back when every zone has answered or been abandoned. An upload that
//! cannot have more sends what it holds, and so does one that waits for its client while others wait for memory
//! ([`MemoryBudget::pressed`]).
//!
//! # Why no wait is for ever
//!
//! *No upload waits for memory with an unsent chunk in its hands.* It waits ([`MemoryBudget::acquire`]) only before it begins a chunk, when all
//! that it holds is with zones, and those answer or are given up at a deadline. What a chunk must have before it may be sent (its even share
//! of a body whose length is known, so that the body fits into the chunks it may have) is acquired whole in that one wait; beyond it, an
//! upload takes more only if that is free at once, and else sends. So a holder of memory waits for zones or for its client, never for
//! another holder, and there is no cycle. Waiters are served in their order, so that a large request is not starved by small ones; one that
//! asks for more than there is gets all there is, once all others have given theirs back.
//!
//! What an upload cannot give back while its client is silent is less than one such share: at most 128 KiB with the greatest body of one request
//! (5 GiB) and the most chunks of one (40 Ki), and next to nothing for smaller bodies. It comes back when the client goes on, or when the
//! front gives the silent client up.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// Memory shared by all uploads.
#[derive(Debug)]
pub struct MemoryBudget {
    size: usize,
    free: Arc<Semaphore>,
    waiting: watch::Sender<usize>,
    uploads: AtomicUsize,
}

/// A part of the budget, given back when dropped.
#[derive(Debug)]
pub struct MemoryPermit {
    held: OwnedSemaphorePermit,
}

impl MemoryPermit {
    /// Bytes held.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.held.num_permits()
    }

    /// Takes another part in.
    pub fn merge(&mut self, other: Self) {
        self.held.merge(other.held);
    }

    /// Gives back what exceeds `bytes`.
    pub fn shrink_to(&mut self, bytes: usize) {
        drop(self.held.split(self.bytes().saturating_sub(bytes)));
    }
}

/// Counts an upload for as long as it lives.
#[derive(Debug)]
pub struct UploadGuard {
    budget: Arc<MemoryBudget>,
}

impl Drop for UploadGuard {
    fn drop(&mut self) {
        self.budget.uploads.fetch_sub(1, Ordering::Relaxed);
    }
}

struct Waiting<'a>(&'a MemoryBudget);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.send_modify(|waiting| *waiting -= 1);
    }
}

impl MemoryBudget {
    /// A budget of this many bytes.
    #[must_use]
    pub fn new(size: usize) -> Arc<Self> {
        let size = size.min(u32::MAX as usize);
        Arc::new(Self {
            size,
            free: Arc::new(Semaphore::new(size)),
            waiting: watch::Sender::new(0),
            uploads: AtomicUsize::new(0),
        })
    }

    /// Bytes in all.
    #[must_use]
    pub fn size(&self) -> usize {
        self.size
    }

    /// Bytes that are free now.
    #[must_use]
    pub fn free(&self) -> usize {
        self.free.available_permits()
    }

    /// Uploads that are under way.
    #[must_use]
    pub fn uploads(&self) -> usize {
        self.uploads.load(Ordering::Relaxed)
    }

    /// Counts one more upload.
    #[must_use]
    pub fn begin_upload(self: &Arc<Self>) -> UploadGuard {
        self.uploads.fetch_add(1, Ordering::Relaxed);
        UploadGuard { budget: Arc::clone(self) }
    }

    /// Bytes, if they are free and nobody waits for any.
    #[must_use]
    pub fn try_acquire(&self, bytes: usize) -> Option<MemoryPermit> {
        let count = u32::try_from(bytes.min(self.size)).ok()?;
        if *self.waiting.borrow() > 0 {
            return None;
        }
        Arc::clone(&self.free).try_acquire_many_owned(count).ok().map(|held| MemoryPermit { held })
    }

    /// Waits for bytes, first come first served; never for more than there are in all.
    pub async fn acquire(&self, bytes: usize) -> MemoryPermit {
        let count = u32::try_from(bytes.min(self.size)).unwrap_or(u32::MAX);
        self.waiting.send_modify(|waiting| *waiting += 1);
        let waiting = Waiting(self);
        let held = loop {
            match Arc::clone(&self.free).acquire_many_owned(count).await {
                Ok(held) => break held,
                // The semaphore is never closed.
                Err(_) => std::future::pending::<()>().await,
            }
        };
        drop(waiting);
        MemoryPermit { held }
    }

    /// Returns once somebody waits for memory.
    pub async fn pressed(&self) {
        let mut waiting = self.waiting.subscribe();
        if waiting.wait_for(|waiting| *waiting > 0).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn waiters_come_first_and_are_seen() {
        let budget = MemoryBudget::new(100);
        let mut held = budget.try_acquire(90).unwrap();
        let waiter = {
            let budget = Arc::clone(&budget);
            tokio::spawn(async move { budget.acquire(50).await.bytes() })
        };
        budget.pressed().await;
        assert!(budget.try_acquire(1).is_none(), "nobody overtakes");
        held.shrink_to(50);
        assert_eq!(waiter.await.unwrap(), 50);
        assert!(tokio::time::timeout(Duration::from_secs(1), budget.pressed()).await.is_err());
        held.merge(budget.try_acquire(50).unwrap());
        assert_eq!((held.bytes(), budget.free()), (100, 0));
        drop(held);
        assert_eq!(budget.acquire(1_000).await.bytes(), 100, "more than there is never waits for ever");
    }

    #[tokio::test(start_paused = true)]
    async fn a_waiter_that_gives_up_is_forgotten() {
        let budget = MemoryBudget::new(10);
        let held = budget.try_acquire(10).unwrap();
        assert!(tokio::time::timeout(Duration::from_secs(1), budget.acquire(1)).await.is_err());
        drop(held);
        assert!(budget.try_acquire(10).is_some());
    }
}
