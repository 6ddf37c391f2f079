//! A token bucket. Pure: told the time, it says how long to wait.

use std::time::Duration;

/// Lets a rate through on average, and a burst at once.
#[derive(Debug, Clone)]
pub struct Pace {
    rate_per_second: u64,
    burst: u64,
    /// Tokens may be owed: a large operation is let through and paid for afterwards.
    tokens: i128,
    updated: Duration,
}

impl Pace {
    /// `rate_per_second` tokens a second, at least 1, and up to `burst` saved.
    #[must_use]
    pub fn new(rate_per_second: u64, burst: u64) -> Self {
        Self { rate_per_second: rate_per_second.max(1), burst, tokens: i128::from(burst), updated: Duration::ZERO }
    }

    fn refill(&mut self, now: Duration) {
        let gained = now.saturating_sub(self.updated).as_nanos() * u128::from(self.rate_per_second) / 1_000_000_000;
        if gained > 0 {
            self.tokens = (self.tokens + i128::try_from(gained).unwrap_or(i128::MAX / 2)).min(i128::from(self.burst));
            self.updated = self.updated.max(now);
        }
    }

    /// Takes tokens and says how long to wait before doing what they are for.
    pub fn take(&mut self, now: Duration, tokens: u64) -> Duration {
        self.refill(now);
        self.tokens -= i128::from(tokens);
        if self.tokens >= 0 {
            return Duration::ZERO;
        }
        let owed = u64::try_from(-self.tokens).unwrap_or(u64::MAX);
        let nanoseconds = u128::from(owed) * 1_000_000_000 / u128::from(self.rate_per_second);
        Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
    }

    /// Takes tokens if they are there now.
    pub fn try_take(&mut self, now: Duration, tokens: u64) -> bool {
        self.refill(now);
        if self.tokens < i128::from(tokens) {
            return false;
        }
        self.tokens -= i128::from(tokens);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_the_rate_holds() {
        let mut pace = Pace::new(100, 50);
        assert_eq!(pace.take(Duration::ZERO, 50), Duration::ZERO);
        assert_eq!(pace.take(Duration::ZERO, 100), Duration::from_secs(1));
        assert_eq!(pace.take(Duration::from_secs(1), 100), Duration::from_secs(1));
        assert!(!pace.try_take(Duration::from_secs(2), 1));
        assert!(pace.try_take(Duration::from_millis(2_010), 1));
    }

    #[test]
    fn savings_are_bounded_and_small_steps_are_not_lost() {
        let mut pace = Pace::new(100, 50);
        assert!(!pace.try_take(Duration::from_secs(1_000), 51));
        assert!(pace.try_take(Duration::from_secs(1_000), 50));
        let mut taken = 0;
        for step in 0..10_000 {
            taken += u32::from(pace.try_take(Duration::from_secs(1_000) + Duration::from_micros(step * 100), 1));
        }
        assert!((99..=100).contains(&taken), "{taken} of 100 in a second of small steps");
    }
}
