//! The calls of the sequencer that may block on a zone's key-value store, and what becomes of the sequencer while one does.
//!
//! A disk that hangs holds up the thread that reads from it, for as long as it likes. So the sequencer makes such a call only after it has put
//! itself into a [`Slot`]; when the call comes back in time, it takes itself out again and goes on, which costs one lock. When it does
//! not, the watch takes it out instead, and it goes on in another thread with another zone. What the late call brings is thrown
//! away: an evaluation has changed nothing, and a batch that is applied late was committed before and is applied from the zone's log as well
//! (the store refuses what does not come after what it holds).

use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use cairn_types::{Incarnation, ZoneIndex};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::batch::PAYLOAD_LENGTH_MAX;
use super::events::{Context, Machine};
use super::sequencer::Sequencer;
use super::writes;
use crate::embedded::keyvalue::{Applied, KeyValue, KeyValueError, MAXIMUM_KEY_LENGTH, MAXIMUM_VALUE_LENGTH, Snapshot, Write};

/// What is done on a zone's store.
pub(super) enum Work<M: Machine> {
    Evaluate(Evaluate<M>),
    Apply {
        state: Arc<dyn KeyValue>,
        writes: Arc<Vec<Write>>,
        applied: Applied,
    },
    /// Of the stores given, the one that holds most.
    Snapshot(Vec<Arc<dyn KeyValue>>),
}

/// A batch to be made.
pub(super) struct Evaluate<M: Machine> {
    pub machine: Arc<M>,
    pub state: Arc<dyn KeyValue>,
    pub context: Context,
    /// Zones whose lives end, with the next one's number.
    pub retirements: Vec<(ZoneIndex, Incarnation)>,
    pub commands: Vec<Arc<M::Command>>,
    pub batch_bytes: usize,
}

/// What came of [`Work`].
pub(super) enum Done<M: Machine> {
    Evaluated(Evaluated<M>),
    Applied(Result<(), KeyValueError>),
    Snapshot(Option<(Box<dyn Snapshot>, Applied)>),
}

/// A batch that was made. Nothing of it is anywhere yet.
pub(super) struct Evaluated<M: Machine> {
    /// How many of the lives given were ended.
    pub retired: usize,
    /// Of the first commands given, in order; the others did not fit.
    pub outcomes: Vec<M::Outcome>,
    pub writes: Arc<Vec<Write>>,
    pub payload: Bytes,
    /// The zone's store failed, and why.
    pub failed: Option<KeyValueError>,
    /// The command after these was refused for it.
    pub command_failed: bool,
    /// Why these writes cannot be a batch.
    pub too_large: Option<String>,
}

impl<M: Machine> Work<M> {
    /// May block for as long as a disk does.
    pub(super) fn run(self) -> Done<M> {
        match self {
            Self::Evaluate(evaluate) => Done::Evaluated(evaluate.run()),
            Self::Apply { state, writes, applied } => Done::Applied(state.apply(&writes, applied)),
            Self::Snapshot(states) => {
                let fullest = states.into_iter().max_by_key(|state| state.applied().map(|applied| applied.index));
                let snapshot = fullest.map(|state| state.snapshot());
                Done::Snapshot(snapshot.and_then(|snapshot| {
                    let applied = snapshot.applied()?;
                    Some((snapshot, applied))
                }))
            }
        }
    }
}

impl<M: Machine> Evaluate<M> {
    fn run(self) -> Evaluated<M> {
        let (mut failed, mut command_failed) = (None, false);
        let mut retired = 0;
        let mut outcomes = Vec::with_capacity(self.commands.len());
        let mut batch = self.machine.begin(self.state, self.context);
        for (zone, next) in &self.retirements {
            if let Err(error) = self.machine.retire(&mut batch, *zone, *next) {
                failed = Some(error);
                break;
            }
            retired += 1;
        }
        for command in &self.commands {
            if failed.is_some() || self.machine.size_bytes(&batch) >= self.batch_bytes {
                break;
            }
            match self.machine.evaluate(&mut batch, command) {
                Ok(outcome) => outcomes.push(outcome),
                Err(error) => (failed, command_failed) = (Some(error), true),
            }
        }
        let writes = self.machine.finish(batch);
        let too_large = too_large(&writes);
        let payload = if too_large.is_none() { writes::encode(&writes) } else { Bytes::new() };
        Evaluated { retired, outcomes, writes: Arc::new(writes), payload, failed, command_failed, too_large }
    }
}

/// What a log or a store would refuse must not be committed: every zone would refuse it then.
fn too_large(writes: &[Write]) -> Option<String> {
    let length: usize = writes.iter().map(writes::encoded_length).sum();
    if length > PAYLOAD_LENGTH_MAX {
        return Some(format!("it writes {length} bytes, a batch holds {PAYLOAD_LENGTH_MAX}"));
    }
    for write in writes {
        let key_length = write.target().1.len();
        let value_length = if let Write::Put { value, .. } = write { value.len() } else { 0 };
        if key_length > MAXIMUM_KEY_LENGTH || value_length > MAXIMUM_VALUE_LENGTH {
            return Some(format!("it writes a key of {key_length} and a value of {value_length} bytes, which is too long"));
        }
    }
    None
}

/// Where the sequencer is while it waits for a zone's store.
pub(super) struct Slot<M: Machine> {
    inner: Mutex<Waits<M>>,
    /// Closes with the slot: whoever watches must not sleep on when the process stops.
    ended: tokio::sync::watch::Sender<()>,
}

struct Waits<M: Machine> {
    /// Rises with each call.
    ticket: u64,
    waiting: Option<(Box<Sequencer<M>>, Instant)>,
}

impl<M: Machine> Slot<M> {
    pub(super) fn new() -> Self {
        Self { inner: Mutex::new(Waits { ticket: 0, waiting: None }), ended: tokio::sync::watch::Sender::new(()) }
    }

    /// Leaves the sequencer here until [`Slot::take_back`].
    pub(super) fn park(&self, sequencer: Box<Sequencer<M>>) -> u64 {
        let mut inner = self.inner.lock();
        inner.ticket += 1;
        inner.waiting = Some((sequencer, Instant::now()));
        inner.ticket
    }

    /// `None` when the call took too long and the sequencer went on without it.
    pub(super) fn take_back(&self, ticket: u64) -> Option<Box<Sequencer<M>>> {
        let mut inner = self.inner.lock();
        if inner.ticket != ticket {
            return None;
        }
        inner.waiting.take().map(|(sequencer, _)| sequencer)
    }

    /// The sequencer, if its call has taken longer than this.
    fn take_hung(&self, after: Duration) -> Option<Box<Sequencer<M>>> {
        let mut inner = self.inner.lock();
        let (sequencer, _) = inner.waiting.take_if(|(_, since)| since.elapsed() >= after)?;
        inner.ticket += 1;
        Some(sequencer)
    }
}

/// Looks after the sequencer until it ends: takes it away from a zone whose store does not answer.
pub(super) async fn watch<M: Machine>(slot: Weak<Slot<M>>, hang_after: Duration) {
    let Some(mut ended) = slot.upgrade().map(|slot| slot.ended.subscribe()) else { return };
    while let Some(slot) = slot.upgrade() {
        if let Some(mut sequencer) = slot.take_hung(hang_after) {
            sequencer.call_hangs();
            let executor = sequencer.executor.clone();
            executor.spawn_worker("sequencer", Box::pin(sequencer.run()));
        }
        drop(slot);
        tokio::select! {
            biased;
            _ = ended.changed() => return,
            () = tokio::time::sleep(hang_after / 4) => {}
        }
    }
}
