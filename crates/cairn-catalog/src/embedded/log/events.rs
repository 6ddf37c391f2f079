//! What the sequencer is asked and told, and the machine that it replicates.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use cairn_types::ids::ZONE_COUNT;
use cairn_types::{Incarnation, ZoneIndex};
use parking_lot::{Mutex, RwLock};
use tokio::sync::oneshot;

use super::applier::Applier;
use super::batch::{Batch, Marks, Position};
use super::statistics::Statistics;
use super::worker::{LogWorker, Report};
use super::zone_log::Base;
use crate::embedded::keyvalue::{KeyValue, KeyValueError, Snapshot, Write};

/// What commands are evaluated with.
#[derive(Debug, Clone, Copy)]
pub struct Context {
    /// Catalog time, ms (T1): for whatever expires or is kept.
    pub time_ms: u64,
    /// Wall time, ms since 1970: for what people read.
    pub wall_ms: u64,
    /// The zones' present incarnations (B3).
    pub incarnations: [Incarnation; ZONE_COUNT],
    /// The index that the batch will have: never used twice.
    pub index: u64,
}

/// What the log replicates.
pub trait Machine: Send + Sync + 'static {
    /// What can be asked.
    type Command: Send + Sync + 'static;
    /// What is answered.
    type Outcome: Send + 'static;
    /// The writes of a batch in the making, over the state before it.
    type Batch: Send;

    /// Begins a batch.
    fn begin(&self, state: Arc<dyn KeyValue>, context: Context) -> Self::Batch;
    /// Evaluates a command after those before it in the batch. An error is about the state's store, not about the command, and leaves
    /// nothing of the command in the batch.
    /// The command may be evaluated again, on another zone's state, where this one does not answer.
    fn evaluate(&self, batch: &mut Self::Batch, command: &Self::Command) -> Result<Self::Outcome, KeyValueError>;
    /// Notes that a zone begins a new life (B2).
    fn retire(&self, batch: &mut Self::Batch, zone: ZoneIndex, incarnation: Incarnation) -> Result<(), KeyValueError>;
    /// Bytes that the batch's writes take so far.
    fn size_bytes(&self, batch: &Self::Batch) -> usize;
    /// The batch's writes.
    fn finish(&self, batch: Self::Batch) -> Vec<Write>;
}

/// Why a command has no outcome.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// The command was not taken; nothing was changed.
    #[error("the catalog cannot take changes now: {0}")]
    Refused(String),
    /// The command may or may not take effect later.
    #[error("whether the change took effect is not known: {0}")]
    Unknown(String),
}

/// Bounds and times of the sequencer.
#[derive(Debug, Clone)]
pub struct SequencerSettings {
    /// Most commands in one batch.
    pub batch_commands_max: usize,
    /// A batch is closed when its writes reach this, bytes. One command may go beyond by its own writes.
    pub batch_bytes: usize,
    /// Batches kept in memory for zones that are about to link, bytes.
    pub recent_bytes_max: u64,
    /// A link whose zone lags by more is dropped, bytes.
    pub lag_bytes_max: u64,
    /// Log that is kept for a zone that is away, bytes; past it the zone is rebuilt when it returns.
    pub away_bytes_max: u64,
    /// A link whose zone does not answer for so long is dropped.
    pub hang_after: Duration,
    /// Reads and evaluation move to another zone when the one they use does not answer for so long. It keeps its vote.
    pub move_after: Duration,
    /// A command that no batch has taken is refused once fewer than two zones have voted for so long. Until then it waits: a zone that is opened
    /// anew is back in a moment.
    pub quorum_wait: Duration,
    /// After so long without a command an empty batch records what the last one could not: that it is durable.
    pub idle_mark_after: Duration,
}

impl Default for SequencerSettings {
    fn default() -> Self {
        Self {
            batch_commands_max: 512,
            batch_bytes: 2 << 20,
            recent_bytes_max: 16 << 20,
            lag_bytes_max: 64 << 20,
            away_bytes_max: 1 << 30,
            hang_after: Duration::from_secs(10),
            move_after: Duration::from_secs(1),
            quorum_wait: Duration::from_secs(2),
            idle_mark_after: Duration::from_millis(500),
        }
    }
}

pub(super) type Reply<T> = oneshot::Sender<T>;
/// A state to copy, and the log position that goes with it.
pub(super) type Copyable = Option<(Box<dyn Snapshot>, Base)>;

/// A zone that asks to take part.
pub(super) struct Linking {
    pub zone: ZoneIndex,
    /// Names this opening of the zone; reports carry it.
    pub link: u64,
    pub worker: LogWorker,
    pub applier: Applier,
    pub state: Arc<dyn KeyValue>,
    /// The end of its log, all durable.
    pub last: Position,
    /// Whether its answers count towards the quorum from now on.
    pub votes: bool,
}

/// What became of a [`Linking`].
pub(super) enum Linked {
    /// It takes part; the receiver tells why it no longer does.
    Yes(oneshot::Receiver<Ended>),
    /// Its log must first reach the history that the sequencer still has in memory, or has another history.
    Behind,
}

/// Why a zone no longer takes part.
pub(super) enum Ended {
    /// Its log or its disk failed.
    Away(String),
    /// Its key-value store refused what is committed: it needs another copy.
    StateLost(String),
    /// Its life was ended, and the next one, which has not begun, is this.
    Retired(Incarnation),
}

impl Ended {
    /// What this error of a zone's store means for the zone.
    pub(super) fn by(error: &KeyValueError) -> Self {
        let words = format!("its key-value store failed: {error}");
        match error {
            KeyValueError::Io { .. } | KeyValueError::InUse { .. } | KeyValueError::Stalled { .. } => Self::Away(words),
            // What is committed and cannot be applied here would be missing for ever.
            KeyValueError::Damaged { .. } | KeyValueError::OutOfOrder { .. } | KeyValueError::TooLong { .. } => {
                Self::StateLost(words)
            }
        }
    }
}

/// What the sequencer knows, for a keeper that catches up.
pub(super) struct History {
    pub epoch: u64,
    pub last: Position,
    pub marks: Marks,
    /// The newest batches, without a hole up to `last`.
    pub recent: VecDeque<Arc<Batch>>,
    /// Linked zones, whose logs hold the history.
    pub sources: Vec<(ZoneIndex, LogWorker)>,
    /// Those of them that vote.
    pub voters: Vec<ZoneIndex>,
}

pub(super) enum Event<M: Machine> {
    Command(M::Command, Reply<Result<M::Outcome, Unavailable>>),
    Retire(ZoneIndex, Incarnation, Reply<Result<Incarnation, Unavailable>>),
    Report(ZoneIndex, u64, Report),
    History(Reply<History>),
    Link(Box<Linking>, Reply<Linked>),
    Vote(ZoneIndex, u64),
    Unlink(ZoneIndex, u64, Ended),
    /// A zone's state has everything up to this index, and waits; answers the request of this number.
    TakenOver(ZoneIndex, u64, u64),
    /// A read of this state has not come back for long.
    ReadHangs(Arc<dyn KeyValue>),
    Snapshot(Reply<Copyable>),
    /// Keeps logs from being trimmed above this index while a zone is copied; `None` ends it.
    Hold(ZoneIndex, Option<u64>),
    Stop(Reply<()>),
    /// Ends at once; what is under way has an unknown outcome.
    Abandon,
}

/// What others see of the sequencer without asking.
pub(super) struct Shared {
    /// The state that reads use: it holds the last acknowledged batch (R1). `None` while nothing can be read.
    pub reader: RwLock<Option<Arc<dyn KeyValue>>>,
    /// Logs may be trimmed up to here.
    pub trim_floor: Arc<AtomicU64>,
    /// Rises whenever a zone's store has applied something that it lacked.
    pub applying: Arc<AtomicU64>,
    /// Catalog time as it was last told, ms (T1).
    pub time_ms: AtomicU64,
    /// The zones' present incarnations and the durable positions of their segments in them (L7), told by whoever runs those.
    pub lives: [Mutex<Life>; ZONE_COUNT],
    /// For monitoring.
    pub statistics: Arc<Statistics>,
}

/// A zone's incarnation and how far its segments are durable in it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Life {
    pub incarnation: Incarnation,
    pub segment_position: u64,
}
