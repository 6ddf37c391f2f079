//! How long a peer that is slow is waited for.
//!
//! A peer may be silent for so long, and every byte that it sends (or takes) gives back the time that the byte should have taken at the least
//! rate. So who keeps to the rate is never given up, however long it goes on; who drips single bytes, just often enough not to be silent, is
//! given up after about as long as one who says nothing. Only time that is spent waiting for the peer counts: not that in which this side does
//! not listen, because the disks are busy.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// What is left of the patience with one peer, in one direction.
#[derive(Debug)]
pub struct Patience {
    full: Duration,
    left: Duration,
    bytes_per_second_min: u64,
    waiting_since: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Patience {
    /// For a peer that may be silent for `full`, and has to move so many bytes a second in the long run (0: any number will do).
    #[must_use]
    pub fn new(full: Duration, bytes_per_second_min: u64) -> Self {
        Self { full, left: full, bytes_per_second_min, waiting_since: None, timer: None }
    }

    /// The peer has sent or taken so many bytes.
    pub fn moved(&mut self, bytes: usize) {
        if let Some(since) = self.waiting_since.take() {
            self.left = self.left.saturating_sub(since.elapsed());
        }
        if bytes == 0 {
            return;
        }
        let earned = match (bytes as u64).saturating_mul(1_000_000).checked_div(self.bytes_per_second_min) {
            Some(microseconds) => Duration::from_micros(microseconds),
            None => self.full,
        };
        self.left = self.left.saturating_add(earned).min(self.full);
    }

    /// The peer is being waited for: ready when that was too long.
    pub fn poll_lost(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.waiting_since.is_none() {
            let now = Instant::now();
            self.waiting_since = Some(now);
            let deadline = now + self.left;
            match &mut self.timer {
                Some(timer) => timer.as_mut().reset(deadline),
                None => self.timer = Some(Box::pin(tokio::time::sleep_until(deadline))),
            }
        }
        match &mut self.timer {
            Some(timer) => timer.as_mut().poll(context),
            None => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How long it takes until a peer is lost that moves `bytes` each `every`.
    async fn lost_after(mut patience: Patience, bytes: usize, every: Duration) -> Option<u64> {
        let start = Instant::now();
        for _ in 0..100 {
            let lost = std::future::poll_fn(|context| patience.poll_lost(context));
            if tokio::time::timeout(every, lost).await.is_ok() {
                return Some(start.elapsed().as_secs());
            }
            patience.moved(bytes);
        }
        None
    }

    #[tokio::test(start_paused = true)]
    async fn who_keeps_to_the_rate_is_never_lost_and_who_drips_is() {
        let patience = || Patience::new(Duration::from_secs(60), 100);
        let seconds = Duration::from_secs;
        assert_eq!(lost_after(patience(), 0, seconds(1000)).await, Some(60), "silence");
        assert_eq!(lost_after(patience(), 5000, seconds(50)).await, None, "just the rate, in lumps");
        assert_eq!(lost_after(patience(), 1_000_000, seconds(59)).await, None);
        assert_eq!(lost_after(patience(), 1_000_000, seconds(61)).await, Some(60), "nothing is saved up");
        assert_eq!(lost_after(patience(), 1, seconds(1)).await, Some(60), "single bytes");
        assert_eq!(lost_after(patience(), 1, seconds(59)).await, Some(60));
        assert_eq!(lost_after(Patience::new(seconds(60), 0), 1, seconds(59)).await, None, "without a rate, silence alone counts");
    }

    #[tokio::test(start_paused = true)]
    async fn time_in_which_nobody_waits_does_not_count() {
        let mut patience = Patience::new(Duration::from_secs(60), 1 << 20);
        for _ in 0..100 {
            tokio::time::sleep(Duration::from_secs(50)).await;
            patience.moved(1);
        }
        assert_eq!(lost_after(patience, 0, Duration::from_secs(1000)).await, Some(60));
    }
}
