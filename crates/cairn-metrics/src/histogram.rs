//! How often something was how large.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The most bounds that a histogram has.
pub const BOUNDS_MAX: usize = 23;

/// Counts of values in classes: one below each bound (that included), and one for what is larger than all.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [u64],
    counts: [AtomicU64; BOUNDS_MAX + 1],
    sum: AtomicU64,
}

/// A histogram at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistogramSnapshot {
    /// The upper bounds, rising.
    pub bounds: &'static [u64],
    /// How many values lay in each class, one more than there are bounds.
    pub counts: Vec<u64>,
    /// The sum of all values.
    pub sum: u64,
}

impl Histogram {
    /// Bounds for times, microseconds: from a quarter of a millisecond to half a minute.
    pub const TIME_BOUNDS_US: &'static [u64] = &[
        250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000,
        10_000_000, 30_000_000,
    ];

    /// An empty one with these upper bounds, which must rise. Of more than [`BOUNDS_MAX`], those that are too many are left out.
    #[must_use]
    pub const fn new(bounds: &'static [u64]) -> Self {
        let bounds = if bounds.len() > BOUNDS_MAX { bounds.split_at(BOUNDS_MAX).0 } else { bounds };
        Self { bounds, counts: [const { AtomicU64::new(0) }; BOUNDS_MAX + 1], sum: AtomicU64::new(0) }
    }

    /// An empty one for times; see [`Histogram::observe_time`].
    #[must_use]
    pub const fn of_times() -> Self {
        Self::new(Self::TIME_BOUNDS_US)
    }

    /// Counts a value.
    pub fn observe(&self, value: u64) {
        let class = self.bounds.partition_point(|bound| *bound < value);
        if let Some(count) = self.counts.get(class) {
            count.fetch_add(1, Ordering::Relaxed);
            self.sum.fetch_add(value, Ordering::Relaxed);
        }
    }

    /// Counts a time, in microseconds.
    pub fn observe_time(&self, time: Duration) {
        self.observe(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    }

    /// As it is now. Values that are counted meanwhile may be in the counts and not yet in the sum.
    #[must_use]
    pub fn snapshot(&self) -> HistogramSnapshot {
        let counts = self.counts.iter().take(self.bounds.len() + 1).map(|count| count.load(Ordering::Relaxed)).collect();
        HistogramSnapshot { bounds: self.bounds, counts, sum: self.sum.load(Ordering::Relaxed) }
    }
}

impl HistogramSnapshot {
    /// How many values there were.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_the_class_below_it() {
        let histogram = Histogram::new(&[10, 20]);
        for value in [0, 10, 11, 20, 21, 1_000] {
            histogram.observe(value);
        }
        let snapshot = histogram.snapshot();
        assert_eq!(snapshot.counts, [2, 2, 2]);
        assert_eq!((snapshot.count(), snapshot.sum), (6, 1_062));
    }

    #[test]
    fn times_are_microseconds_and_none_is_left_out() {
        let histogram = Histogram::of_times();
        histogram.observe_time(Duration::from_micros(250));
        histogram.observe_time(Duration::from_micros(251));
        histogram.observe_time(Duration::from_secs(3_600));
        let snapshot = histogram.snapshot();
        assert_eq!((snapshot.counts[0], snapshot.counts[1], *snapshot.counts.last().unwrap()), (1, 1, 1));
        assert_eq!(snapshot.count(), 3);
    }

    #[test]
    fn more_bounds_than_there_is_room_for_are_left_out() {
        static MANY: [u64; 40] = {
            let mut many = [0; 40];
            let mut at = 0;
            while at < many.len() {
                many[at] = at as u64;
                at += 1;
            }
            many
        };
        let histogram = Histogram::new(&MANY);
        histogram.observe(39);
        assert_eq!(histogram.snapshot().counts.len(), BOUNDS_MAX + 1);
        assert_eq!(histogram.snapshot().count(), 1);
    }
}
