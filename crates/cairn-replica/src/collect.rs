//! What the collector looks for, and when (S2, S3). Pure.
//!
//! Every stored copy carries the session of whoever wrote it (S1), and only a commit under that very session can ever name it: a first write's
//! under the blob's session, a straggler's under the same, a repair's under the repairer's (B4). A closed session commits nothing, and stays
//! closed. So a copy whose session was seen closed, and that no blob names *after* that, is garbage for good; a copy of an open session
//! is none of the collector's business, whatever its chunk's id says.
//!
//! That also says where garbage is *not*: a session that was swept for once, after it was closed and after its last write must have
//! landed, leaves nothing behind. So a sweep lists only what was written since the earliest session that has not been swept for: the
//! last hours, however much is stored. What lands later than any deadline, and copies whose deletion failed after their record let go of
//! them, are left to whole sweeps, which are rare.
//!
//! Schedules that this survives are in docs/adr/0006-replica-layer.md.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use cairn_types::SessionId;

use crate::catalog_port::SessionView;

/// Views of the sessions as they grow old.
#[derive(Debug, Default)]
pub struct Views {
    young: VecDeque<(Duration, Arc<SessionView>)>,
    ripe: Arc<SessionView>,
}

impl Views {
    /// Takes up a view taken at `now`, after dead sessions were closed. Views come in the order in which they were taken.
    pub fn seen(&mut self, view: SessionView, now: Duration) {
        let last = self.young.back().map_or(&self.ripe, |(_, last)| last);
        if **last != view {
            self.young.push_back((now, Arc::new(view)));
        }
    }

    /// The latest view that is at least `late_after` old: what is closed in it has been closed for that long, and its writes have landed
    /// or been given up.
    pub fn ripe(&mut self, now: Duration, late_after: Duration) -> Arc<SessionView> {
        while self.young.front().is_some_and(|(taken, _)| now.saturating_sub(*taken) >= late_after) {
            if let Some((_, view)) = self.young.pop_front() {
                self.ripe = view;
            }
        }
        Arc::clone(&self.ripe)
    }
}

/// Which sessions a zone has been swept for, and when it was last swept as a whole.
#[derive(Debug, Default)]
pub struct Swept {
    settled: Arc<SessionView>,
    whole: Option<Duration>,
}

/// What one sweep looks at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// Copies of this session and later ones are listed.
    pub since: SessionId,
    /// Copies of the sessions that are closed in this view are garbage if they are unnamed.
    view: Arc<SessionView>,
    /// Sessions closed in this view were swept for before.
    settled: Arc<SessionView>,
    /// When the sweep began.
    began: Duration,
}

impl Swept {
    /// What to sweep for now, if anything: for sessions that are closed in the ripe view and have not been swept for, or for everything
    /// when the last whole sweep began `whole_after` ago.
    #[must_use]
    pub fn scope(&self, ripe: &Arc<SessionView>, now: Duration, whole_after: Duration) -> Option<Scope> {
        let earliest = self.earliest_unsettled(ripe)?;
        let whole = self.whole.is_none_or(|began| now.saturating_sub(began) >= whole_after);
        let (since, settled) = match (whole, earliest) {
            (true, _) => (SessionId(0), Arc::default()),
            (false, Some(since)) => (since, Arc::clone(&self.settled)),
            (false, None) => return None,
        };
        Some(Scope { since, view: Arc::clone(ripe), settled, began: now })
    }

    /// The earliest session that is closed in the ripe view and not in the settled one. The outer `None` is a view of nothing: no session
    /// was ever opened, or no view is ripe yet.
    #[allow(clippy::option_option, reason = "two kinds of nothing to do, told apart by the one caller")]
    fn earliest_unsettled(&self, ripe: &SessionView) -> Option<Option<SessionId>> {
        if ripe.newest == SessionId(0) {
            return None;
        }
        let reopened = self.settled.open.iter().copied().find(|session| ripe.is_closed(*session));
        let mut new = SessionId(self.settled.newest.0.saturating_add(1));
        while ripe.open.binary_search(&new).is_ok() {
            new.0 += 1;
        }
        Some(reopened.or_else(|| ripe.is_closed(new).then_some(new)))
    }

    /// A sweep of this scope has come to its end, and deleted all that it wanted to.
    pub fn finished(&mut self, scope: &Scope) {
        self.settled = Arc::clone(&scope.view);
        if scope.is_whole() {
            self.whole = Some(scope.began);
        }
    }
}

impl Scope {
    /// Whether a copy that was written under this session is garbage if it is unnamed.
    #[must_use]
    pub fn covers(&self, session: SessionId) -> bool {
        self.view.is_closed(session) && (self.is_whole() || !self.settled.is_closed(session))
    }

    /// Whether everything is listed.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.since == SessionId(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATE: Duration = Duration::from_secs(60);
    const WEEK: Duration = Duration::from_secs(7 * 24 * 3_600);

    fn view(open: &[u64], newest: u64) -> SessionView {
        SessionView { open: open.iter().copied().map(SessionId).collect(), newest: SessionId(newest), generation: 0 }
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// A zone that was swept as a whole for what is closed here.
    fn swept(open: &[u64], newest: u64) -> Swept {
        let mut swept = Swept::default();
        let scope = swept.scope(&Arc::new(view(open, newest)), at(0), WEEK).unwrap();
        assert!(scope.is_whole(), "the first sweep");
        swept.finished(&scope);
        swept
    }

    fn covered(scope: &Scope) -> Vec<u64> {
        (0..20).filter(|session| scope.covers(SessionId(*session))).collect()
    }

    #[test]
    fn views_judge_by_their_moment() {
        let view = view(&[5, 9], 9);
        assert!(view.is_closed(SessionId(7)) && !view.is_closed(SessionId(9)) && !view.is_closed(SessionId(10)));
        assert!(view.is_closed(SessionId(4)), "below the floor (S1)");
    }

    #[test]
    fn s2_a_session_is_swept_for_once_its_last_write_must_have_landed() {
        let mut views = Views::default();
        views.seen(view(&[3], 3), at(0));
        views.seen(view(&[4], 4), at(30));
        assert_eq!(*views.ripe(at(59), LATE), view(&[], 0), "nothing is known for long enough");
        assert_eq!(*views.ripe(at(60), LATE), view(&[3], 3));
        assert_eq!(*views.ripe(at(89), LATE), view(&[3], 3), "3 was closed 59 seconds ago at most");
        assert_eq!(*views.ripe(at(90), LATE), view(&[4], 4));
        // The same view again is not a younger one: what it shows closed was closed before.
        views.seen(view(&[4], 4), at(100));
        assert_eq!(*views.ripe(at(100), LATE), view(&[4], 4));
        assert!(views.young.is_empty());
    }

    #[test]
    fn the_first_sweep_is_of_everything_and_there_is_none_without_a_view() {
        let swept = Swept::default();
        assert_eq!(swept.scope(&Arc::default(), at(0), WEEK), None);
        let scope = swept.scope(&Arc::new(view(&[5, 9], 9)), at(0), WEEK).unwrap();
        assert_eq!((scope.since, covered(&scope)), (SessionId(0), vec![0, 1, 2, 3, 4, 6, 7, 8]));
    }

    #[test]
    fn s2_open_sessions_and_later_ones_are_never_covered() {
        let swept = swept(&[5, 9], 9);
        let scope = swept.scope(&Arc::new(view(&[9, 11], 12)), at(1), WEEK).unwrap();
        assert_eq!((scope.since, covered(&scope)), (SessionId(5), vec![5, 10, 12]));
    }

    #[test]
    fn a_sweep_lists_from_the_earliest_session_that_was_not_swept_for() {
        for (settled, now, since) in [
            ((&[5, 9][..], 9), (&[5, 9][..], 9), None),
            ((&[5, 9], 9), (&[5, 9, 10], 10), None),
            ((&[5, 9], 9), (&[5], 9), Some(9)),
            ((&[5, 9], 9), (&[5, 9, 10, 11, 13], 13), Some(12)),
            ((&[5, 9], 9), (&[9], 20), Some(5)),
            ((&[], 9), (&[], 10), Some(10)),
            ((&[], 9), (&[10], 10), None),
        ] {
            let swept = swept(settled.0, settled.1);
            let scope = swept.scope(&Arc::new(view(now.0, now.1)), at(1), WEEK);
            assert_eq!(scope.map(|scope| scope.since.0), since, "{settled:?} {now:?}");
        }
    }

    #[test]
    fn a_whole_sweep_comes_round_and_a_sweep_that_did_not_finish_settles_nothing() {
        let mut swept = swept(&[9], 9);
        let later = Arc::new(view(&[10], 10));
        let scope = swept.scope(&later, at(5), WEEK).unwrap();
        assert_eq!(swept.scope(&later, at(5), WEEK), Some(scope.clone()), "it is due until it has finished");
        swept.finished(&scope);
        assert_eq!(swept.scope(&later, at(6), WEEK), None);
        let whole = swept.scope(&later, WEEK, WEEK).unwrap();
        assert!(whole.is_whole() && whole.covers(SessionId(2)) && !whole.covers(SessionId(10)));
        swept.finished(&whole);
        assert_eq!(swept.scope(&later, WEEK + at(1), WEEK), None);
    }
}
