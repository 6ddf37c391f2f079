//! Attempts that fail: how often one source may fail in words and in the log.
//!
//! A token cannot be guessed whatever the rate: it has 256 bits. What is bounded is what guessing costs others. A source that fails too often is
//! told so, its connection is closed, and the log has a line now and then that counts the rest. **A right credential opens all the same**:
//! sources are addresses, and behind one there may be many (a proxy, the nodes of a cluster), so that whoever guesses, or has forgotten to
//! renew a token, must not keep an administrator out.

use std::collections::BTreeMap;
use std::time::Duration;

use cairn_s3::Source;
use parking_lot::Mutex;
use tokio::time::Instant;

/// How often a source may fail in a row.
const BURST: u32 = 10;
/// How long it takes until it may fail once more.
const REFILL: Duration = Duration::from_secs(6);
/// The most sources that are told apart; the others share what one has.
const SOURCES_MAX: usize = 1024;

/// What becomes of an attempt that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is answered and logged.
    Told {
        /// Attempts of this source before it that were not.
        unlogged: u64,
    },
    /// It is one too many.
    TooMany {
        /// When the next one is answered again.
        retry_after: Duration,
    },
}

struct Failures {
    left: u32,
    /// When `left` was right.
    at: Instant,
    unlogged: u64,
}

impl Failures {
    fn refill(&mut self, now: Instant) {
        let steps = now.saturating_duration_since(self.at).as_millis() / REFILL.as_millis();
        let steps = u32::try_from(steps).unwrap_or(BURST).min(BURST);
        self.left = (self.left + steps).min(BURST);
        self.at = if self.left == BURST { now } else { self.at + REFILL * steps };
    }
}

/// Who failed lately.
#[derive(Default)]
pub struct Attempts(Mutex<BTreeMap<Source, Failures>>);

impl Attempts {
    /// An attempt of this source failed.
    pub fn failed(&self, source: Source, now: Instant) -> Verdict {
        let mut sources = self.0.lock();
        let mut source = source;
        if !sources.contains_key(&source) && sources.len() >= SOURCES_MAX {
            for failures in sources.values_mut() {
                failures.refill(now);
            }
            // The others' is kept: it would begin anew with each of them.
            sources.retain(|source, failures| failures.left < BURST || *source == Source::others());
            if sources.len() >= SOURCES_MAX {
                source = Source::others();
            }
        }
        let failures = sources.entry(source).or_insert(Failures { left: BURST, at: now, unlogged: 0 });
        failures.refill(now);
        if failures.left == 0 {
            failures.unlogged += 1;
            return Verdict::TooMany { retry_after: REFILL.saturating_sub(now.saturating_duration_since(failures.at)) };
        }
        failures.left -= 1;
        Verdict::Told { unlogged: std::mem::take(&mut failures.unlogged) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        Source::of(text.parse().unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_may_fail_so_often_and_then_so_often_in_a_while() {
        let attempts = Attempts::default();
        let fail = |name: &str| attempts.failed(source(name), Instant::now());
        for _ in 0..BURST {
            assert_eq!(fail("192.0.2.1"), Verdict::Told { unlogged: 0 });
        }
        assert_eq!(fail("192.0.2.1"), Verdict::TooMany { retry_after: REFILL });
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(fail("::ffff:192.0.2.1"), Verdict::TooMany { retry_after: Duration::from_secs(1) });
        assert_eq!(fail("192.0.2.2"), Verdict::Told { unlogged: 0 }, "another source has nothing to do with it");

        // Failing on and on puts nothing off.
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(fail("192.0.2.1"), Verdict::Told { unlogged: 2 });
        assert_eq!(fail("192.0.2.1"), Verdict::TooMany { retry_after: REFILL });
        tokio::time::advance(REFILL * 1000).await;
        for _ in 0..BURST {
            assert!(matches!(fail("192.0.2.1"), Verdict::Told { .. }));
        }
        assert!(matches!(fail("192.0.2.1"), Verdict::TooMany { .. }), "more than the burst was saved up");
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_many_addresses_is_one_source_and_memory_is_bounded() {
        let attempts = Attempts::default();
        let fail = |name: &str| attempts.failed(source(name), Instant::now());
        for number in 0..BURST {
            assert!(matches!(fail(&format!("2001:db8::{number}")), Verdict::Told { .. }));
        }
        assert!(matches!(fail("2001:db8::ffff:1"), Verdict::TooMany { .. }));
        assert!(matches!(fail("2001:db8:0:1::1"), Verdict::Told { .. }));

        for number in 0..5000u32 {
            fail(&format!("2001:db8:{:x}:{:x}::1", number / 100 + 1, number % 100));
        }
        assert!(attempts.0.lock().len() <= SOURCES_MAX + 1);
        assert!(matches!(fail("203.0.113.1"), Verdict::TooMany { .. }), "those without room share one source's failures");
        assert!(matches!(fail("2001:db8::1"), Verdict::TooMany { .. }), "one that fails on is not forgotten for others");
        tokio::time::advance(REFILL * BURST).await;
        assert!(matches!(fail("203.0.113.1"), Verdict::Told { .. }));
        assert!(attempts.0.lock().len() <= 2, "those who have not failed for long are forgotten");
    }
}
