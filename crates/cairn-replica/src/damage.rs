//! Copies that were reported as damaged and wait for the repair worker: each once, however often it is reported, and at most so many. Pure.
//!
//! A report stays until it has been seen to, so that what waits is known.

use std::collections::{BTreeSet, VecDeque};

use crate::replicator::DamageReport;

/// See the module.
#[derive(Debug)]
pub(crate) struct DamageQueue {
    most: usize,
    order: VecDeque<DamageReport>,
    waiting: BTreeSet<DamageReport>,
    /// Those that were counted. A locator leads to one copy for ever (B7), so that a copy is found once.
    counted: BTreeSet<DamageReport>,
}

impl DamageQueue {
    /// One that remembers so many reports, waiting and counted each.
    pub(crate) fn new(most: usize) -> Self {
        Self { most: most.max(1), order: VecDeque::new(), waiting: BTreeSet::new(), counted: BTreeSet::new() }
    }

    /// Takes a report; says whether the copy is to be counted. Beyond what is remembered, copies are left to the scrub, which finds them again,
    /// and counted each time.
    pub(crate) fn report(&mut self, report: DamageReport) -> bool {
        if self.order.len() < self.most && self.waiting.insert(report.clone()) {
            self.order.push_back(report.clone());
        }
        if self.counted.len() < self.most { self.counted.insert(report) } else { !self.counted.contains(&report) }
    }

    /// Whether this copy was reported before, as far as is remembered.
    pub(crate) fn knows(&self, report: &DamageReport) -> bool {
        self.counted.contains(report)
    }

    /// Those that have waited longest; they wait until they are [`DamageQueue::done`].
    pub(crate) fn first(&self, most: usize) -> Vec<DamageReport> {
        self.order.iter().take(most).cloned().collect()
    }

    /// A report has been seen to.
    pub(crate) fn done(&mut self, report: &DamageReport) {
        if self.waiting.remove(report) {
            // Reports are seen to in their order.
            if self.order.front() == Some(report) {
                self.order.pop_front();
            } else {
                self.order.retain(|waiting| waiting != report);
            }
        }
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.order.len()
    }
}

#[cfg(test)]
mod tests {
    use cairn_types::{BlobId, ChunkId, Incarnation, Locator, SessionId, ZoneIndex};

    use super::*;

    fn report(ordinal: u32) -> DamageReport {
        let id = ChunkId { blob: BlobId { session: SessionId(1), counter: 1 }, ordinal };
        let locator = Locator::new(vec![ordinal as u8].into()).unwrap();
        DamageReport { id, zone: ZoneIndex::ALL[0], incarnation: Incarnation(1), locator }
    }

    #[test]
    fn a_copy_waits_and_counts_once_and_stays_until_it_is_seen_to() {
        let mut queue = DamageQueue::new(3);
        assert_eq!([1, 2, 1, 1, 2].map(|ordinal| queue.report(report(ordinal))), [true, true, false, false, false]);
        assert_eq!((queue.len(), queue.first(1)), (2, vec![report(1)]));
        assert_eq!(queue.first(9), [report(1), report(2)], "looking takes nothing");
        queue.done(&report(1));
        assert_eq!(queue.first(9), [report(2)]);
        assert!(!queue.report(report(1)), "it was counted, and is to be looked at again");
        assert_eq!(queue.first(9), [report(2), report(1)]);
        assert!(queue.report(report(3)));
        assert!(queue.report(report(4)), "beyond what is remembered");
        assert_eq!(queue.len(), 3);
    }
}
