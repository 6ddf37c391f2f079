//! How one chunk gets into three zones. Pure: state and answers in, sends and a verdict out.
//!
//! All zones that are well are asked at once. The chunk is safe with a quorum of durable answers of current incarnations (B3), however
//! the other zone does. While it is not safe, every zone counts: a zone whose gate is shut is asked as soon as the others cannot make the
//! quorum alone or take long, and a failed zone is asked again after a pause. Once it is safe nothing is sent any more: an answer still to
//! come is a straggler (B4), a missing copy is repair's.

use std::time::Duration;

use cairn_types::ZoneIndex;
use cairn_types::ids::ZONE_COUNT;
use cairn_zone::{Placed, ZoneError};

use crate::gate::Admission;

/// Pauses and limits of a chunk's placement.
#[derive(Debug, Clone)]
pub struct PlacementConfig {
    /// How long the zones that are well may take before the others are asked too.
    pub patience: Duration,
    /// The first pause before a failed zone is asked again; doubled each time.
    pub retry_after_min: Duration,
    /// The longest pause before a failed zone is asked again.
    pub retry_after_max: Duration,
    /// When to give up a chunk that is not safe.
    pub deadline: Duration,
}

impl Default for PlacementConfig {
    fn default() -> Self {
        Self {
            patience: Duration::from_secs(1),
            retry_after_min: Duration::from_millis(50),
            retry_after_max: Duration::from_secs(2),
            deadline: Duration::from_secs(30),
        }
    }
}

/// What the driver learnt from one zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Durable, and of the incarnation that the catalog records as the zone's current one.
    Placed(Placed),
    /// Failed, or durable in an incarnation that does not count (B3); may be tried again.
    Failed,
    /// No space in this zone.
    Full,
    /// The zone will never take this chunk.
    Refused,
}

impl From<&ZoneError> for Answer {
    fn from(error: &ZoneError) -> Self {
        match error {
            ZoneError::Full(_) => Self::Full,
            ZoneError::Refused(_) | ZoneError::Mismatch(_) => Self::Refused,
            ZoneError::Away(_) | ZoneError::PlaceAway(_) | ZoneError::NotFound | ZoneError::Damaged(_) => Self::Failed,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Slot {
    /// Not asked: its gate was shut.
    Spared,
    Asked {
        attempt: u32,
    },
    Waiting {
        attempt: u32,
        at: Duration,
    },
    Placed(Placed),
    Full,
    Refused,
}

/// Whether the chunk is safe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Not yet.
    Open,
    /// A quorum has it.
    Safe,
    /// There will be no quorum: too few zones have space, or take such a chunk.
    NoSpace,
    /// There was no quorum in time.
    TimedOut,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Zones to send the chunk to now.
    pub send: Vec<ZoneIndex>,
    /// Whether the chunk is safe.
    pub verdict: Verdict,
    /// When to ask again without an answer having come.
    pub wake_at: Option<Duration>,
}

/// One chunk on its way.
#[derive(Debug, Clone)]
pub struct Placement {
    config: PlacementConfig,
    quorum: usize,
    started: Duration,
    slots: [Slot; ZONE_COUNT],
}

impl Placement {
    /// Begins: `admissions` says which zones are well. The first [`Placement::step`] says whom to ask.
    #[must_use]
    pub fn new(config: PlacementConfig, quorum: u8, now: Duration, admissions: [Admission; ZONE_COUNT]) -> Self {
        let slots = admissions.map(|admission| match admission {
            Admission::Send | Admission::Probe => Slot::Waiting { attempt: 0, at: now },
            Admission::Skip => Slot::Spared,
        });
        Self { config, quorum: usize::from(quorum).clamp(1, ZONE_COUNT), started: now, slots }
    }

    /// Takes a zone's answer.
    pub fn answered(&mut self, zone: ZoneIndex, answer: Answer, now: Duration) {
        let Some(slot) = self.slots.get_mut(zone.get()) else { return };
        let Slot::Asked { attempt } = *slot else { return };
        *slot = match answer {
            Answer::Placed(placed) => Slot::Placed(placed),
            Answer::Failed => {
                let pause = self.config.retry_after_min.saturating_mul(1 << attempt.min(16)).min(self.config.retry_after_max);
                Slot::Waiting { attempt: attempt + 1, at: now + pause }
            }
            Answer::Full => Slot::Full,
            Answer::Refused => Slot::Refused,
        };
    }

    /// Decides. Zones that it says to send to are asked from then on.
    pub fn step(&mut self, now: Duration) -> Step {
        let first = self.slots.iter().all(|slot| matches!(slot, Slot::Spared | Slot::Waiting { attempt: 0, .. }));
        let placed = self.count(|slot| matches!(slot, Slot::Placed(_)));
        if placed >= self.quorum {
            return Step { send: Vec::new(), verdict: Verdict::Safe, wake_at: None };
        }
        if ZONE_COUNT - self.count(|slot| matches!(slot, Slot::Full | Slot::Refused)) < self.quorum {
            return Step { send: Vec::new(), verdict: Verdict::NoSpace, wake_at: None };
        }
        let deadline = self.started + self.config.deadline;
        if now >= deadline {
            return Step { send: Vec::new(), verdict: Verdict::TimedOut, wake_at: None };
        }
        let hopeful = self.count(|slot| match slot {
            Slot::Placed(_) | Slot::Asked { .. } => true,
            Slot::Waiting { .. } => first,
            Slot::Spared | Slot::Full | Slot::Refused => false,
        });
        let patience_ends = self.started + self.config.patience;
        let ask_spared = hopeful < self.quorum || now >= patience_ends;
        let mut wake_at = if ask_spared { deadline } else { deadline.min(patience_ends) };
        let mut send = Vec::new();
        for (zone, slot) in ZoneIndex::ALL.into_iter().zip(&mut self.slots) {
            let attempt = match *slot {
                Slot::Waiting { attempt, at } if at <= now => attempt,
                Slot::Waiting { at, .. } => {
                    wake_at = wake_at.min(at);
                    continue;
                }
                Slot::Spared if ask_spared => 0,
                _ => continue,
            };
            *slot = Slot::Asked { attempt };
            send.push(zone);
        }
        Step { send, verdict: Verdict::Open, wake_at: Some(wake_at) }
    }

    /// Zones that have been asked and have not answered.
    pub fn unanswered(&self) -> impl Iterator<Item = ZoneIndex> + '_ {
        ZoneIndex::ALL.into_iter().zip(&self.slots).filter(|(_, slot)| matches!(slot, Slot::Asked { .. })).map(|(zone, _)| zone)
    }

    fn count(&self, is: impl Fn(&Slot) -> bool) -> usize {
        self.slots.iter().filter(|slot| is(slot)).count()
    }
}

#[cfg(test)]
mod tests;
