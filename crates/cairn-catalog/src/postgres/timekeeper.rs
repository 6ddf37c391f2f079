//! Catalog time as one of many gateways keeps it (T1).
//!
//! Time is one row, which takes the highest that anybody proposes, so a gateway that is ahead takes all others along. What a heartbeat answers may be what *others* wrote until it was
//! executed, so it speaks of the moment at which it came back, at the earliest: counted from when it was sent, a gateway whose heartbeats arrive late would be ahead by as much, each time.

use std::time::Duration;

use crate::embedded::log::catalog_time::CatalogTime;

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Timekeeper(Option<CatalogTime>);

impl Timekeeper {
    /// What the next heartbeat proposes, ms; 0 of a gateway that has yet to hear what time it is.
    pub(super) fn propose(&mut self, monotonic: Duration, wall: Duration) -> u64 {
        self.0.as_mut().map_or(0, |time| time.advance(monotonic, wall))
    }

    /// A heartbeat that has just come back says that it is this time at least.
    pub(super) fn learned(&mut self, answer_ms: u64, monotonic: Duration, wall: Duration) {
        let own_ms = self.0.as_mut().map_or(0, |time| time.advance(monotonic, wall));
        // An earlier one is nothing new: somebody else was at the row.
        if answer_ms > own_ms {
            self.0 = Some(CatalogTime::resume(answer_ms, monotonic));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// T1: of two gateways one has requests that are late by turns, by as much as a heartbeat may be. Together they gain no more than an hour a day on a clock that is right.
    #[test]
    fn late_requests_do_not_bring_time_forward() {
        let (step, start) = (Duration::from_millis(500), Duration::from_hours(10));
        let mut row_ms = 36_000_000;
        let mut gateways = [Timekeeper::default(), Timekeeper::default()];
        let mut now = start;
        // The late one's heartbeats are executed two seconds behind their sending, every other one.
        let mut under_way: Option<(Duration, u64)> = None;
        for round in 0..7200_u32 {
            now += step;
            let [prompt, late] = &mut gateways;
            row_ms = row_ms.max(prompt.propose(now, now));
            prompt.learned(row_ms, now, now);
            match under_way {
                Some((arrives, proposed)) if arrives <= now => {
                    row_ms = row_ms.max(proposed);
                    late.learned(row_ms, now, now);
                    under_way = None;
                }
                Some(_) => {}
                None => {
                    let delay = if round % 2 == 0 { Duration::from_secs(2) } else { Duration::ZERO };
                    under_way = Some((now + delay, late.propose(now, now)));
                }
            }
        }
        let passed = u64::try_from(now.saturating_sub(start).as_millis()).expect("an hour");
        let by_the_row = row_ms - 36_000_000;
        assert!(by_the_row <= passed + passed / 24, "{by_the_row} ms in {passed}");
        assert!(by_the_row + 1000 >= passed, "{by_the_row} ms in {passed}");
    }
}
