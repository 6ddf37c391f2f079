//! What the sequencer does while fewer than two zones vote: nothing can be committed, and whoever asks is told so, in words and soon.
//!
//! A batch that is under way stays under way, for one zone may have it already; it is committed when a second one is back. Commands that no
//! batch has taken are refused, and nothing of them is anywhere.
//!
//! A zone's life is ended only while two *others* vote. Two of three directories may be moved away for a moment, and nothing in them is
//! lost: if both zones were noted as having lost their memory, in a batch that one zone has alone, no later start would find two that
//! may vote, although all three are whole.

use std::collections::VecDeque;

use cairn_types::{Incarnation, ZoneIndex};
use tokio::time::Instant;

use super::{Machine, Retirement, Sequencer, Unavailable};

impl<M: Machine> Sequencer<M> {
    fn voters(&self) -> usize {
        self.links.iter().flatten().filter(|link| link.votes).count()
    }

    /// Notes whether two zones vote; to be called whenever that may have changed.
    pub(super) fn look_for_quorum(&mut self) {
        if self.voters() >= 2 {
            self.without_quorum_since = None;
        } else {
            self.without_quorum_since.get_or_insert_with(Instant::now);
        }
    }

    /// Why no command is taken now, in words, if none is.
    pub(super) fn without_quorum(&self) -> Option<String> {
        let is_long = self.without_quorum_since.is_some_and(|since| since.elapsed() >= self.settings.quorum_wait);
        (is_long && self.established).then(|| {
            let count = ["none", "one"].get(self.voters()).copied().unwrap_or("two");
            format!("{count} of the three zones can be written, and two are needed")
        })
    }

    /// Refuses the commands that no batch has taken.
    pub(super) fn refuse_without_quorum(&mut self) {
        let Some(words) = self.without_quorum() else { return };
        for (_, reply) in self.waiting.drain(..) {
            let _ = reply.send(Err(Unavailable::Refused(words.clone())));
        }
    }

    /// Whether ending this life would end one, and two other zones do not vote.
    fn is_premature(&self, zone: ZoneIndex, incarnation: Incarnation) -> bool {
        let votes = |other: &ZoneIndex| *other != zone && self.links[other.get()].as_ref().is_some_and(|link| link.votes);
        let others = ZoneIndex::ALL.iter().filter(|other| votes(other)).count();
        self.marks[zone.get()].incarnation == incarnation.0 && others < 2
    }

    /// Answers those who ask to end a zone's life when that may not be. They look at the zone again, which may have come back.
    pub(super) fn refuse_retirements(&mut self) {
        let (premature, kept): (VecDeque<Retirement>, VecDeque<Retirement>) = std::mem::take(&mut self.retirements)
            .into_iter()
            .partition(|(zone, incarnation, _)| self.is_premature(*zone, *incarnation));
        self.retirements = kept;
        for (_, _, reply) in premature {
            let _ = reply.send(Err(Unavailable::Refused("a zone is given up only while the other two vote".to_owned())));
        }
    }

    /// The lives that the next batch ends: one zone's at most, so that the others' are judged without it.
    pub(super) fn next_retirements(&mut self) -> Vec<Retirement> {
        let Some(first) = self.retirements.front().map(|(zone, ..)| *zone) else { return Vec::new() };
        let (now, later): (VecDeque<Retirement>, VecDeque<Retirement>) =
            std::mem::take(&mut self.retirements).into_iter().partition(|(zone, ..)| *zone == first);
        self.retirements = later;
        now.into()
    }
}
