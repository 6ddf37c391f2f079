//! Rule T1: time that cannot be made to jump.
//!
//! Catalog time follows the process's monotonic clock and closes a gap to wall time by at most one hour per day served, in either
//! direction. It never goes back. What expires by it cannot be made to expire by a clock that jumps.

use std::time::Duration;

/// The part of served time by which a gap to wall time may be closed: one hour per day.
const SLEW: u32 = 24;

/// Catalog time as one process sees it.
#[derive(Debug, Clone, Copy)]
pub struct CatalogTime {
    now: Duration,
    monotonic: Duration,
}

impl CatalogTime {
    /// Goes on from the time of the last batch.
    #[must_use]
    pub fn resume(last_ms: u64, monotonic: Duration) -> Self {
        Self { now: Duration::from_millis(last_ms), monotonic }
    }

    /// The time now, ms since 1970.
    pub fn advance(&mut self, monotonic: Duration, wall: Duration) -> u64 {
        let served = monotonic.saturating_sub(self.monotonic);
        self.monotonic = self.monotonic.max(monotonic);
        let slew_max = served / SLEW;
        let steady = self.now + served;
        let ahead = wall.saturating_sub(steady).min(slew_max);
        let behind = steady.saturating_sub(wall).min(slew_max);
        self.now = (steady + ahead).saturating_sub(behind);
        u64::try_from(self.now.as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jump_of_the_wall_clock_is_closed_by_an_hour_a_day_only() {
        let day = Duration::from_secs(86_400);
        let mut time = CatalogTime::resume(0, Duration::ZERO);
        let year = 365 * day;
        assert_eq!(time.advance(day, day + year), 25 * 3_600_000);
        assert_eq!(time.advance(day, day + 2 * year), 25 * 3_600_000);
        // Back by a year: slower, but never backwards.
        assert_eq!(time.advance(2 * day, Duration::ZERO), (25 + 23) * 3_600_000);
    }

    #[test]
    fn a_small_gap_is_closed_and_kept_closed() {
        let mut time = CatalogTime::resume(0, Duration::ZERO);
        let hour = Duration::from_secs(3600);
        time.advance(24 * hour, 24 * hour + hour / 2);
        assert_eq!(time.advance(25 * hour, 25 * hour + hour / 2), 25 * 3_600_000 + 1_800_000);
    }
}
