//! Recent latencies as percentiles. Pure: a value that is told what happened.

use std::time::Duration;

/// Buckets: four to every doubling, from 50 µs to over 3 s.
const BUCKET_COUNT: usize = 66;
const BUCKETS_PER_DOUBLING: f64 = 4.0;
const LOWEST_MICROSECONDS: f64 = 50.0;
/// When this many samples are held, all counts are halved: old samples fade, and a percentile follows within a few hundred operations.
const SAMPLES_MAX: u32 = 512;

/// Lets what is typical rise from nothing.
const TYPICAL_STEP: Duration = Duration::from_micros(500);

/// A histogram of recent latencies with an error of at most 19 %.
#[derive(Debug, Clone)]
pub struct Latency {
    counts: [u32; BUCKET_COUNT],
    total: u32,
    typical: Option<Duration>,
}

impl Default for Latency {
    fn default() -> Self {
        Self { counts: [0; BUCKET_COUNT], total: 0, typical: None }
    }
}

impl Latency {
    /// Takes a sample.
    pub fn record(&mut self, latency: Duration) {
        self.typical = Some(match self.typical {
            // A sample counts for no more than twice what is typical, so that it takes several to say that this has changed.
            Some(typical) => (typical + latency.min(typical * 2 + TYPICAL_STEP)) / 2,
            None => latency.min(Duration::from_secs(60)),
        });
        let microseconds = latency.as_secs_f64() * 1e6;
        let place = (microseconds.max(LOWEST_MICROSECONDS) / LOWEST_MICROSECONDS).log2() * BUCKETS_PER_DOUBLING;
        #[allow(clippy::cast_sign_loss, reason = "the logarithm of at least 1 is not negative")]
        let bucket = (place.ceil() as usize).min(BUCKET_COUNT - 1);
        if let Some(count) = self.counts.get_mut(bucket) {
            *count += 1;
            self.total += 1;
        }
        if self.total >= SAMPLES_MAX {
            for count in &mut self.counts {
                *count /= 2;
            }
            self.total = self.counts.iter().sum();
        }
    }

    /// What the last few samples are like: follows a lasting change within a handful of them, and one outlier hardly moves it. `None` without
    /// samples.
    #[must_use]
    pub fn typical(&self) -> Option<Duration> {
        self.typical
    }

    /// How many recent samples are held.
    #[must_use]
    pub fn samples(&self) -> u32 {
        self.total
    }

    /// The latency that `percent` of recent samples did not exceed, rounded up to the bucket; `None` without samples.
    #[must_use]
    pub fn percentile(&self, percent: u32) -> Option<Duration> {
        if self.total == 0 {
            return None;
        }
        let rank = (u64::from(self.total) * u64::from(percent.min(100))).div_ceil(100).max(1);
        let mut seen = 0;
        for (bucket, count) in (0_u32..).zip(&self.counts) {
            seen += u64::from(*count);
            if seen >= rank {
                let microseconds = LOWEST_MICROSECONDS * (f64::from(bucket) / BUCKETS_PER_DOUBLING).exp2();
                return Some(Duration::from_secs_f64(microseconds / 1e6));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_within_a_bucket() {
        let mut latency = Latency::default();
        assert_eq!(latency.percentile(50), None);
        for milliseconds in 1..=100 {
            latency.record(Duration::from_millis(milliseconds));
        }
        for percent in [1, 50, 95, 100] {
            let found = latency.percentile(percent).unwrap().as_secs_f64() * 1e3;
            assert!(found >= f64::from(percent) && found <= f64::from(percent) * 1.2, "{percent} % gives {found} ms");
        }
    }

    #[test]
    fn old_samples_fade() {
        let mut latency = Latency::default();
        for _ in 0..10_000 {
            latency.record(Duration::from_secs(1));
        }
        for _ in 0..2_000 {
            latency.record(Duration::from_millis(1));
        }
        assert!(latency.percentile(95).unwrap() < Duration::from_millis(2));
    }

    #[test]
    fn what_is_typical_follows_a_change_and_not_an_outlier() {
        let at = Duration::from_millis;
        let mut latency = Latency::default();
        for _ in 0..1_000 {
            latency.record(at(4));
        }
        latency.record(at(1_000));
        assert!(latency.typical().unwrap() < at(7));
        latency.record(at(4));
        for _ in 0..8 {
            latency.record(at(160));
        }
        assert!(latency.typical().unwrap() > at(80));
        for _ in 0..8 {
            latency.record(at(4));
        }
        assert!(latency.typical().unwrap() < at(6));
    }

    #[test]
    fn extremes_fit() {
        let mut latency = Latency::default();
        latency.record(Duration::ZERO);
        latency.record(Duration::MAX);
        assert!(latency.percentile(1).unwrap() <= Duration::from_micros(50));
        assert!(latency.percentile(100).unwrap() >= Duration::from_secs(3));
    }
}
