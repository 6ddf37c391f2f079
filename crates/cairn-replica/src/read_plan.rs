//! Whom to read from, and when to ask a second zone as well. Pure.

use std::time::Duration;

use cairn_types::ZoneIndex;
use cairn_types::ids::ZONE_COUNT;

use crate::latency::Latency;

/// What is known of one zone when a read begins.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// The zone.
    pub zone: ZoneIndex,
    /// Whether its gate is open.
    pub open: bool,
    /// What reads of this size have taken lately; `None` when nothing is known.
    pub typical: Option<Duration>,
}

/// A zone this many times slower than the quickest is not read first, whatever is preferred.
const SLOWER_TIMES: u32 = 4;
/// Differences below this are noise.
const NOISE: Duration = Duration::from_millis(2);

/// One read in so many goes by preference alone: it finds out whether a slow zone has become quick again.
const EXPLORE_EVERY: u64 = 32;

/// Orders candidates: zones that are well before those that are not, those of ordinary speed before slow ones, and among those the
/// configured preference (nearest first). `number` counts reads.
#[must_use]
pub fn rank(preference: &[ZoneIndex; ZONE_COUNT], candidates: &[Candidate], number: u64) -> Vec<ZoneIndex> {
    let explores = number.is_multiple_of(EXPLORE_EVERY);
    let quickest = candidates.iter().filter(|candidate| candidate.open).filter_map(|candidate| candidate.typical).min();
    let mut ranked: Vec<(bool, bool, usize, ZoneIndex)> = candidates
        .iter()
        .map(|candidate| {
            let slow = match (candidate.typical, quickest) {
                (Some(typical), Some(quickest)) => !explores && typical > quickest * SLOWER_TIMES + NOISE,
                _ => false,
            };
            let place = preference.iter().position(|zone| *zone == candidate.zone).unwrap_or(ZONE_COUNT);
            (!candidate.open, slow, place, candidate.zone)
        })
        .collect();
    ranked.sort();
    ranked.into_iter().map(|(_, _, _, zone)| zone).collect()
}

/// How hedging is bounded.
#[derive(Debug, Clone)]
pub struct HedgeConfig {
    /// The percentile of recent reads after which the next zone is asked too.
    pub percent: u32,
    /// Never sooner.
    pub after_min: Duration,
    /// Never later: also the delay while too little is known.
    pub after_max: Duration,
    /// Second requests per 100 reads, on average; failures are not counted, they always move on.
    pub per_hundred: u64,
    /// After this long without an answer the next zone is asked whatever the budget says.
    pub give_up_after: Duration,
}

impl Default for HedgeConfig {
    fn default() -> Self {
        Self {
            percent: 95,
            after_min: Duration::from_millis(2),
            after_max: Duration::from_millis(250),
            per_hundred: 10,
            give_up_after: Duration::from_secs(1),
        }
    }
}

/// Samples below which a percentile says nothing.
const SAMPLES_MIN: u32 = 16;

/// How long to wait for a zone before the next one is asked too: as long as it would take to have an answer from either of them nearly
/// always. A zone that has become slow is thus measured by the next one, and not by itself.
#[must_use]
pub fn hedge_after(config: &HedgeConfig, asked: &Latency, next: &Latency) -> Duration {
    [asked, next]
        .into_iter()
        .filter(|recent| recent.samples() >= SAMPLES_MIN)
        .filter_map(|recent| recent.percentile(config.percent))
        .min()
        .map_or(config.after_max, |high| high.clamp(config.after_min, config.after_max))
}

/// One read of one span, from its first request to its last.
#[derive(Debug, Clone)]
pub struct ReadAttempt {
    /// Zones in order; those before `next` have been asked.
    zones: Vec<ZoneIndex>,
    next: usize,
    outstanding: usize,
    last_asked: Duration,
}

/// What to do next in a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadStep {
    /// Ask this zone.
    Ask(ZoneIndex),
    /// Ask this zone if the hedging budget allows, else wait on.
    Hedge(ZoneIndex),
    /// Wait for an answer, at most until then (for ever when `None`).
    Wait(Option<Duration>),
    /// No zone is left.
    Exhausted,
}

impl ReadAttempt {
    /// A read that will ask these zones in order.
    #[must_use]
    pub fn new(zones: Vec<ZoneIndex>) -> Self {
        Self { zones, next: 0, outstanding: 0, last_asked: Duration::ZERO }
    }

    /// The zone was asked.
    pub fn asked(&mut self, now: Duration) {
        self.next += 1;
        self.outstanding += 1;
        self.last_asked = now;
    }

    /// The zone that would be asked next.
    #[must_use]
    pub fn upcoming(&self) -> Option<ZoneIndex> {
        self.zones.get(self.next).copied()
    }

    /// Zones that were asked before this one.
    #[must_use]
    pub fn asked_before(&self, zone: ZoneIndex) -> &[ZoneIndex] {
        let place = self.zones.iter().position(|other| *other == zone).unwrap_or(0);
        self.zones.get(..place).unwrap_or_default()
    }

    /// A zone that was asked failed, or its bytes did not verify.
    pub fn failed(&mut self) {
        self.outstanding = self.outstanding.saturating_sub(1);
    }

    /// Decides. `hedge_after` is how long the zone asked last may take; `hedge_denied` that the budget has refused already.
    #[must_use]
    pub fn step(&self, now: Duration, hedge_after: Duration, give_up_after: Duration, hedge_denied: bool) -> ReadStep {
        let Some(next) = self.zones.get(self.next).copied() else {
            return if self.outstanding == 0 { ReadStep::Exhausted } else { ReadStep::Wait(None) };
        };
        if self.outstanding == 0 {
            return ReadStep::Ask(next);
        }
        let give_up_at = self.last_asked + give_up_after;
        if now >= give_up_at {
            return ReadStep::Ask(next);
        }
        // At most one request beside the first, except past the point of giving up.
        let hedge_at = self.last_asked + hedge_after;
        if self.outstanding > 1 || hedge_denied {
            return ReadStep::Wait(Some(give_up_at));
        }
        if now >= hedge_at { ReadStep::Hedge(next) } else { ReadStep::Wait(Some(hedge_at.min(give_up_at))) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    fn candidates(open: [bool; 3], typical: [Option<u64>; 3]) -> Vec<Candidate> {
        ZoneIndex::ALL
            .into_iter()
            .map(|zone| Candidate { zone, open: open[zone.get()], typical: typical[zone.get()].map(at) })
            .collect()
    }

    #[test]
    fn the_nearest_zone_that_is_well_comes_first() {
        let preference = [ZoneIndex(2), ZoneIndex(0), ZoneIndex(1)];
        let rank = |open, typical| rank(&preference, &candidates(open, typical), 1);
        assert_eq!(rank([true; 3], [None; 3]), preference);
        assert_eq!(rank([true; 3], [Some(1), Some(1), Some(5)]), preference, "small differences are noise");
        assert_eq!(rank([true; 3], [Some(2), Some(2), Some(50)]), [ZoneIndex(0), ZoneIndex(1), ZoneIndex(2)], "slow one last");
        assert_eq!(rank([true, true, false], [None; 3]), [ZoneIndex(0), ZoneIndex(1), ZoneIndex(2)], "one that is away last");
        assert_eq!(rank([false; 3], [None; 3]), preference, "none is left out");
        let slow = candidates([true; 3], [Some(2), Some(2), Some(50)]);
        let first = (0..64).filter(|number| super::rank(&preference, &slow, *number)[0] == ZoneIndex(2)).count();
        assert_eq!(first, 2, "a slow zone is tried now and then");
    }

    #[test]
    fn hedges_after_a_recent_high_percentile_within_bounds() {
        let config = HedgeConfig::default();
        let mut latency = Latency::default();
        let unknown = Latency::default();
        assert_eq!(hedge_after(&config, &latency, &unknown), config.after_max);
        for _ in 0..100 {
            latency.record(at(10));
        }
        let quick = latency.clone();
        let after = hedge_after(&config, &latency, &unknown);
        assert!(after >= at(10) && after <= at(12));
        for _ in 0..5_000 {
            latency.record(at(3_000));
        }
        assert_eq!(hedge_after(&config, &latency, &unknown), config.after_max);
        assert_eq!(hedge_after(&config, &latency, &quick), after, "a slow zone is measured by the next one");
    }

    #[test]
    fn a_read_moves_on_by_hedge_failure_or_giving_up() {
        let mut read = ReadAttempt::new(ZoneIndex::ALL.to_vec());
        assert_eq!(read.step(at(0), at(10), at(1_000), false), ReadStep::Ask(ZoneIndex(0)));
        read.asked(at(0));
        assert_eq!(read.step(at(0), at(10), at(1_000), false), ReadStep::Wait(Some(at(10))));
        assert_eq!(read.step(at(10), at(10), at(1_000), false), ReadStep::Hedge(ZoneIndex(1)));
        assert_eq!(read.step(at(10), at(10), at(1_000), true), ReadStep::Wait(Some(at(1_000))), "a denied hedge waits");
        assert_eq!(read.step(at(1_000), at(10), at(1_000), true), ReadStep::Ask(ZoneIndex(1)), "but not for ever");
        read.asked(at(10));
        assert_eq!(read.step(at(500), at(10), at(1_000), false), ReadStep::Wait(Some(at(1_010))), "one hedge at a time");
        read.failed();
        read.failed();
        assert_eq!(read.step(at(11), at(10), at(1_000), true), ReadStep::Ask(ZoneIndex(2)), "failures move on at once");
        read.asked(at(11));
        assert_eq!(read.step(at(9_999), at(10), at(1_000), false), ReadStep::Wait(None), "the last one is waited for");
        read.failed();
        assert_eq!(read.step(at(12), at(10), at(1_000), false), ReadStep::Exhausted);
    }
}
