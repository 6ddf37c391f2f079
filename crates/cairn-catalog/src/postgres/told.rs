//! What this gateway was told is done (P5): a catalog that lacks any of it has forgotten.
//!
//! Not by time, which does not tell: the clock of the history that lacks something runs on as soon as anybody beats there. By events: each commit that was acknowledged since the last heartbeat, lane
//! by lane, and that heartbeat, which stands behind everything before it. So a loss between two heartbeats shows, too.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::settings::Life;

/// What is older proves nothing any more: its lane may have been forgotten (an hour of catalog time, which runs ahead of a clock by an hour a day at most).
const REMEMBERED_FOR: Duration = Duration::from_mins(30);

/// See the module's documentation.
#[derive(Debug, Clone, Default)]
pub(super) struct Told {
    /// The highest number that was acknowledged, by lane, and when.
    commits: BTreeMap<i64, (i64, Instant)>,
    /// The server that acknowledged the last heartbeat.
    life: Option<Life>,
    /// The latest time that a heartbeat was told.
    time_ms: u64,
}

/// What a heartbeat takes along.
#[derive(Debug, Clone)]
pub(super) struct Snapshot {
    /// Lanes and numbers.
    pub commits: Vec<(i64, i64)>,
    /// Catalog time, ms.
    pub time_ms: u64,
    life: Option<Life>,
}

impl Snapshot {
    /// The timeline of the last heartbeat that was acknowledged, where it was one of this cluster.
    pub(super) fn timeline_of(&self, system: i64) -> Option<i64> {
        self.life.filter(|life| life.system == system).map(|life| life.timeline)
    }
}

impl Told {
    /// A commit was acknowledged.
    pub(super) fn acknowledged(&mut self, lane: i64, number: i64, now: Instant) {
        let known = self.commits.entry(lane).or_insert((number, now));
        if known.0 <= number {
            *known = (number, now);
        }
    }

    /// For a heartbeat that is sent now.
    pub(super) fn snapshot(&mut self, now: Instant) -> Snapshot {
        self.commits.retain(|_, (_, when)| now.saturating_duration_since(*when) < REMEMBERED_FOR);
        if self.commits.is_empty() {
            self.life = None;
        }
        let commits = self.commits.iter().map(|(lane, (number, _))| (*lane, *number)).collect();
        Snapshot { commits, time_ms: self.time_ms, life: self.life }
    }

    /// A heartbeat was acknowledged that took this along: it stands for all of it.
    pub(super) fn beat(&mut self, told: &Snapshot, (lane, number): (i64, i64), life: Life, time_ms: u64, sent: Instant) {
        for (lane, number) in &told.commits {
            if self.commits.get(lane).is_some_and(|(known, _)| known <= number) {
                self.commits.remove(lane);
            }
        }
        self.acknowledged(lane, number, sent);
        self.life = Some(life);
        self.time_ms = self.time_ms.max(time_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heartbeat_stands_for_what_it_took_along_and_for_nothing_else() {
        let now = Instant::now();
        let life = Life { system: 1, timeline: 3, started_us: 5 };
        let mut told = Told::default();
        assert_eq!(told.snapshot(now).timeline_of(1), None, "a gateway that was told nothing attests nothing");
        told.acknowledged(7, 1, now);
        told.acknowledged(7, 2, now);
        told.acknowledged(8, 1, now);
        let taken = told.snapshot(now);
        assert_eq!(taken.commits, [(7, 2), (8, 1)]);
        // Acknowledged while the heartbeat was under way.
        told.acknowledged(8, 2, now);
        told.beat(&taken, (9, 4), life, 10, now);
        let next = told.snapshot(now);
        assert_eq!((next.commits.as_slice(), next.time_ms), ([(8, 2), (9, 4)].as_slice(), 10));
        assert_eq!((next.timeline_of(1), next.timeline_of(2)), (Some(3), None), "of another cluster it knows nothing");
        // A server that is behind does not make less of what was told.
        told.beat(&next, (9, 5), life, 9, now);
        assert_eq!(told.snapshot(now).time_ms, 10);
        let later = told.snapshot(now + REMEMBERED_FOR);
        assert_eq!((later.commits.len(), later.timeline_of(1)), (0, None), "lanes may be forgotten by now");
    }
}
