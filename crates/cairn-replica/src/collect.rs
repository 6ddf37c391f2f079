//! What the collector may delete (S2, S3). Pure.
//!
//! A chunk that a zone lists and that no blob names by that very place is an *orphan*: of a failed write, of a gateway that died, of a
//! copier that lost (B4). It may also be a copy that is about to be named. Whoever may still name it does so under the session it was
//! written under, and a chunk's id tells that session for a first write only: a straggler's or repair's copy bears the id of the blob,
//! whose session may be long closed, and is named under the copier's own. So an orphan goes only when **every session that was open, or
//! may have been, when it was first listed has been closed**, and it is then still unnamed: by then nobody is left who could name it. A copy
//! that was there at the first listing was written under a session opened before it, hence at most `newest` at that time, if the view of
//! sessions was taken *after* the listing; sessions opened later name only what they wrote themselves.
//!
//! Schedules that this survives are in docs/adr/0006-replica-layer.md.

use std::collections::BTreeMap;

use cairn_types::{ChunkId, Incarnation, Locator, SessionId, ZoneIndex};
use cairn_zone::Found;

use crate::catalog_port::SessionView;

/// One copy in one life of a zone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Copy {
    /// The zone.
    pub zone: ZoneIndex,
    /// Its life.
    pub incarnation: Incarnation,
    /// The chunk.
    pub id: ChunkId,
    /// Where.
    pub locator: Locator,
}

/// What to do with a listed chunk before the catalog is asked whether it is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sighting {
    /// Its session is open: it is none of the collector's business.
    Live,
    /// If it is unnamed, remember it: whoever wrote it may still name it.
    Young,
    /// If it is unnamed now, nobody can name it any more: delete it.
    Ripe,
}

/// The orphans that were seen and must wait, with the newest session at their first sighting.
#[derive(Debug, Default)]
pub struct Orphans {
    seen: BTreeMap<Copy, (SessionId, u64)>,
    count_max: usize,
}

impl Orphans {
    /// Remembers at most `count_max` orphans; those beyond are found by a later sweep.
    #[must_use]
    pub fn new(count_max: usize) -> Self {
        Self { seen: BTreeMap::new(), count_max }
    }

    /// Judges a listed chunk. `view` was taken after the dead sessions were closed.
    #[must_use]
    pub fn sight(&self, copy: &Copy, view: &SessionView) -> Sighting {
        if !view.is_closed(copy.id.blob.session) {
            return Sighting::Live;
        }
        match self.seen.get(copy) {
            Some((newest, _)) if view.are_closed_up_to(*newest) => Sighting::Ripe,
            _ => Sighting::Young,
        }
    }

    /// Remembers an unnamed chunk that was listed before `view` was taken, in the sweep of this number.
    pub fn remember(&mut self, copy: Copy, view_after_listing: &SessionView, sweep: u64) {
        if let Some((_, last_sweep)) = self.seen.get_mut(&copy) {
            *last_sweep = sweep;
        } else if self.seen.len() < self.count_max {
            self.seen.insert(copy, (view_after_listing.newest, sweep));
        }
    }

    /// Forgets a copy: it is named, or deleted.
    pub fn forget(&mut self, copy: &Copy) {
        self.seen.remove(copy);
    }

    /// At the end of a full sweep of a zone: forgets what it no longer lists.
    pub fn end_sweep(&mut self, zone: ZoneIndex, sweep: u64) {
        self.seen.retain(|copy, (_, last_sweep)| copy.zone != zone || *last_sweep >= sweep);
    }

    /// How many orphans wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.seen.len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.seen.is_empty()
    }
}

impl Copy {
    /// A copy that `zone` listed in this life.
    #[must_use]
    pub fn listed(zone: ZoneIndex, incarnation: Incarnation, found: Found) -> Self {
        Self { zone, incarnation, id: found.id, locator: found.locator }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use cairn_types::BlobId;

    use super::*;

    fn copy(session: u64) -> Copy {
        Copy {
            zone: ZoneIndex(1),
            incarnation: Incarnation(1),
            id: ChunkId { blob: BlobId { session: SessionId(session), counter: 1 }, ordinal: 0 },
            locator: Locator::new(Bytes::from_static(b"here")).unwrap(),
        }
    }

    fn view(open: &[u64], newest: u64) -> SessionView {
        SessionView { open: open.iter().copied().map(SessionId).collect(), newest: SessionId(newest) }
    }

    #[test]
    fn an_open_or_unknown_session_keeps_its_chunks() {
        let orphans = Orphans::new(10);
        assert_eq!(orphans.sight(&copy(5), &view(&[5], 7)), Sighting::Live);
        assert_eq!(orphans.sight(&copy(8), &view(&[5], 7)), Sighting::Live, "opened after the view was taken");
        assert_eq!(orphans.sight(&copy(4), &view(&[5], 7)), Sighting::Young, "below the floor (S1)");
    }

    /// S2, B4: a repair copy bears a closed session's id and is named under the copier's session, here 7.
    #[test]
    fn s2_an_orphan_waits_for_every_session_that_could_name_it() {
        let mut orphans = Orphans::new(10);
        orphans.remember(copy(4), &view(&[7], 7), 1);
        assert_eq!(orphans.sight(&copy(4), &view(&[7], 9)), Sighting::Young);
        assert_eq!(orphans.sight(&copy(4), &view(&[7, 9], 9)), Sighting::Young);
        assert_eq!(orphans.sight(&copy(4), &view(&[9], 9)), Sighting::Ripe);
        orphans.remember(copy(4), &view(&[9], 9), 2);
        assert_eq!(orphans.sight(&copy(4), &view(&[9], 9)), Sighting::Ripe, "the first sighting counts");
        orphans.forget(&copy(4));
        assert_eq!(orphans.sight(&copy(4), &view(&[9], 9)), Sighting::Young);
    }

    #[test]
    fn another_life_of_the_zone_is_another_copy() {
        let mut orphans = Orphans::new(10);
        orphans.remember(copy(4), &view(&[], 7), 1);
        let reborn = Copy { incarnation: Incarnation(2), ..copy(4) };
        assert_eq!(orphans.sight(&reborn, &view(&[], 7)), Sighting::Young);
    }

    #[test]
    fn memory_is_bounded_and_given_back() {
        let mut orphans = Orphans::new(2);
        for session in 1..=3 {
            orphans.remember(copy(session), &view(&[], 7), 1);
        }
        assert_eq!(orphans.len(), 2);
        orphans.remember(copy(1), &view(&[], 7), 2);
        orphans.end_sweep(ZoneIndex(0), 2);
        assert_eq!(orphans.len(), 2, "another zone's sweep forgets nothing");
        orphans.end_sweep(ZoneIndex(1), 2);
        assert_eq!(orphans.len(), 1);
    }

    #[test]
    fn views_judge_by_their_moment() {
        let view = view(&[5, 9], 9);
        assert!(view.are_closed_up_to(SessionId(4)) && !view.are_closed_up_to(SessionId(5)));
        assert!(!view.are_closed_up_to(SessionId(10)), "a session not yet known may be open");
        assert!(view.is_closed(SessionId(7)) && !view.is_closed(SessionId(9)) && !view.is_closed(SessionId(10)));
    }
}
