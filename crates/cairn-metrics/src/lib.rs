//! Counting on hot paths, and Prometheus's text format.
//!
//! What it guarantees: to count is one or two relaxed atomic additions, never a lock and never an allocation; what is read of a
//! [`Histogram`] adds up (the count is the sum of the buckets); what an [`Exposition`] writes follows the text format 0.0.4
//! (Prometheus, "Exposition formats"), whatever label values hold.

mod exposition;
mod histogram;

use std::sync::atomic::{AtomicU64, Ordering};

pub use exposition::{CONTENT_TYPE, Exposition, Family, Kind};
pub use histogram::{BOUNDS_MAX, Histogram, HistogramSnapshot};

/// A number that only rises.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// From 0.
    #[must_use]
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Adds.
    pub fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    /// The sum so far.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number as it is now.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// Says what it is now.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// As it was last said.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
