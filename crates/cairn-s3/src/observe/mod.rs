//! What is seen of requests from outside: numbers for monitoring, and a line in a log.
//!
//! What it guarantees:
//!
//! - counting a request is a dozen relaxed atomic additions and two looks at the clock: no lock, no allocation, whatever was asked;
//! - nothing that a client chooses becomes a label: operations are those of a fixed list, and buckets are those that exist and that
//!   the sender may use, up to a bound;
//! - a line holds no secret and nothing computed from one: no header but `User-Agent`, and no query at all (a presigned URL's holds its
//!   signature). It is one line, whatever names hold;
//! - a reader of lines that is slow or stuck never makes a request wait.

pub mod access_log;
mod buckets;
mod labels;
mod line;
mod record;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cairn_metrics::{Counter, Histogram};

pub use access_log::{AccessLog, AccessLogConfig, Form, Which};
pub use buckets::{BucketCounts, BucketSlot, BucketTable};
pub use labels::OperationLabel;
pub(crate) use record::{Notes, Observed, RequestRecord};

/// How requests ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// With a status of this hundred: 2 to 5.
    Status(u16),
    /// The client went away before there was an answer.
    Abandoned,
}

/// The labels of [`Outcome`], in the order of [`StatusCounts`].
pub const OUTCOMES: [&str; 5] = ["2xx", "3xx", "4xx", "5xx", "abandoned"];

/// What was waited for in vain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitedFor {
    /// The end of a handshake.
    Handshake,
    /// A request's head.
    Head,
    /// More of a request's body.
    Body,
    /// Somebody who takes the answer.
    Reader,
}

/// The labels of [`WaitedFor`], in its order.
pub const WAITED_FOR: [&str; 4] = ["handshake", "head", "body", "reader"];

/// Requests by outcome.
#[derive(Debug, Default)]
pub struct StatusCounts([Counter; OUTCOMES.len()]);

impl StatusCounts {
    fn count(&self, outcome: Outcome) {
        let index = match outcome {
            Outcome::Status(status) => usize::from(status / 100).clamp(2, 5) - 2,
            Outcome::Abandoned => 4,
        };
        if let Some(counter) = self.0.get(index) {
            counter.add(1);
        }
    }

    /// Each outcome's label with its count.
    pub fn each(&self) -> impl Iterator<Item = (&'static str, u64)> {
        OUTCOMES.into_iter().zip(self.0.iter().map(Counter::get))
    }
}

/// What requests of one operation came to.
#[derive(Debug)]
pub struct OperationCounts {
    /// How they ended.
    pub outcomes: StatusCounts,
    /// From the end of the request's head to the end of the answer, microseconds.
    pub times: Histogram,
    /// Bytes of bodies that were received, as they came over the connection.
    pub received_bytes: Counter,
    /// Bytes of bodies that were sent.
    pub sent_bytes: Counter,
}

impl OperationCounts {
    const fn new() -> Self {
        Self {
            outcomes: StatusCounts([const { Counter::new() }; OUTCOMES.len()]),
            times: Histogram::of_times(),
            received_bytes: Counter::new(),
            sent_bytes: Counter::new(),
        }
    }
}

/// What requests came to since the start.
pub struct RequestMetrics {
    operations: [OperationCounts; OperationLabel::ALL.len()],
    /// Requests of buckets that exist and that the sender may use.
    pub buckets: BucketTable,
    /// Requests that were told to slow down because there were too many at once.
    pub slowed_down: Counter,
    /// Answers whose body broke off: damage that could not be made good, or a client that went away.
    pub broken_off: Counter,
    /// Connections that were closed at once because their source had as many as it may.
    pub connections_refused: Counter,
    /// Handshakes that came to nothing.
    pub handshakes_failed: Counter,
    timeouts: [Counter; WAITED_FOR.len()],
    connections: AtomicU64,
}

/// What one request came to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sum {
    pub label: OperationLabel,
    pub bucket: BucketSlot,
    pub outcome: Outcome,
    pub took: Duration,
    pub received: u64,
    pub sent: u64,
}

impl RequestMetrics {
    /// With numbers of their own for so many buckets.
    #[must_use]
    pub fn new(buckets_max: usize) -> Self {
        Self {
            operations: [const { OperationCounts::new() }; OperationLabel::ALL.len()],
            buckets: BucketTable::new(buckets_max),
            slowed_down: Counter::new(),
            broken_off: Counter::new(),
            connections_refused: Counter::new(),
            handshakes_failed: Counter::new(),
            timeouts: [const { Counter::new() }; WAITED_FOR.len()],
            connections: AtomicU64::new(0),
        }
    }

    /// Each operation with what its requests came to.
    pub fn operations(&self) -> impl Iterator<Item = (&'static str, &OperationCounts)> {
        OperationLabel::ALL.into_iter().map(OperationLabel::name).zip(&self.operations)
    }

    /// Connections that are open now.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// What was waited for in vain, with how often.
    pub fn timeouts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        WAITED_FOR.into_iter().zip(self.timeouts.iter().map(Counter::get))
    }

    pub(crate) fn timed_out(&self, waited_for: WaitedFor) {
        if let Some(counter) = self.timeouts.get(waited_for as usize) {
            counter.add(1);
        }
    }

    pub(crate) fn connection_opened(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn connection_closed(&self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn count(&self, sum: &Sum) {
        if let Some(operation) = self.operations.get(sum.label as usize) {
            operation.outcomes.count(sum.outcome);
            operation.times.observe_time(sum.took);
            add(&operation.received_bytes, sum.received);
            add(&operation.sent_bytes, sum.sent);
        }
        if let Some(bucket) = self.buckets.get(sum.bucket) {
            bucket.outcomes.count(sum.outcome);
            add(&bucket.received_bytes, sum.received);
            add(&bucket.sent_bytes, sum.sent);
        }
    }
}

fn add(counter: &Counter, amount: u64) {
    if amount > 0 {
        counter.add(amount);
    }
}
