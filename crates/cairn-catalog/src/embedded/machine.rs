//! The catalog's state machine on the replicated log: the embedded catalog as it serves.

mod reads;
#[cfg(test)]
mod tests;
mod turns;

use std::sync::Arc;
use std::time::Duration;

use cairn_disk::Executor;
use cairn_types::ids::ZONE_COUNT;
use cairn_types::{CatalogTime, Incarnation, Now, WallTime, ZoneIndex};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

pub use self::reads::Unreadable;
use self::reads::{PointRoom, ScanRoom, Watched, is_point_read};
pub use self::turns::ReadSettings;
use self::turns::{Progress, Reading, StoreTurns, Watch};
use super::keyvalue::{KeyValue, KeyValueError, Write};
use super::log::replicated::Replicated;
use super::log::sequencer::{Context, Machine, Unavailable};
use super::log::writes::encoded_length;
use super::state::{Answer, Command, EmbeddedCatalog, Outcome, Overlay, Query, StateMachine, answer, sequence};
use crate::{CatalogError, CatalogFuture, CatalogResult, Limits, RetireIncarnation};

/// How often it is looked for another zone to read from, while a read hangs.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(10);

/// The catalog on a replicated log.
pub type LogCatalog = EmbeddedCatalog<LogMachine>;

/// What the log replicates: the writes of catalog commands.
pub struct CatalogMachine {
    limits: Limits,
}

/// What the log is asked.
#[derive(Clone)]
#[allow(clippy::large_enum_variant, reason = "nearly all are of the large one")]
pub enum Asked {
    /// A change.
    Change(Command),
    /// To read from another zone's state: this one could not be read.
    Suspect(Arc<dyn KeyValue>, Unreadable),
}

/// The writes of one batch in the making.
pub struct Making {
    state: Arc<dyn KeyValue>,
    view: Watched,
    pending: Overlay,
    size_bytes: usize,
    now: Now,
}

impl CatalogMachine {
    /// A machine that works within these bounds.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { limits }
    }

    /// An error is about the state's store, and leaves nothing of the command in the batch.
    fn run(&self, batch: &mut Making, command: Command) -> Result<CatalogResult<Outcome>, KeyValueError> {
        let sequenced = sequence(&batch.view, &batch.pending, &self.limits, batch.now, command);
        if let Some(unreadable) = batch.view.failure() {
            return Err(unreadable.into());
        }
        batch.size_bytes += sequenced.writes.iter().map(encoded_length).sum::<usize>();
        batch.pending.absorb(0, &sequenced.writes);
        Ok(sequenced.result)
    }
}

impl Machine for CatalogMachine {
    type Command = Asked;
    type Outcome = CatalogResult<Outcome>;
    type Batch = Making;

    fn begin(&self, state: Arc<dyn KeyValue>, context: Context) -> Making {
        let now = Now { catalog: CatalogTime(context.time_ms), wall: WallTime(context.wall_ms) };
        let view = Watched::new(state.snapshot(), Arc::default());
        Making { state, view, pending: Overlay::default(), size_bytes: 0, now }
    }

    fn evaluate(&self, batch: &mut Making, asked: &Asked) -> Result<CatalogResult<Outcome>, KeyValueError> {
        match asked {
            Asked::Change(command) => self.run(batch, command.clone()),
            Asked::Suspect(state, unreadable) if Arc::ptr_eq(state, &batch.state) => Err(unreadable.clone().into()),
            Asked::Suspect(..) => Ok(Err(CatalogError::Refused("reads come from another zone already".to_owned()))),
        }
    }

    fn retire(&self, batch: &mut Making, zone: ZoneIndex, incarnation: Incarnation) -> Result<(), KeyValueError> {
        // The marks and the rows must say the same, or lost copies would count as present (B2): both or neither.
        let note = Command::RetireIncarnation(RetireIncarnation { zone, incarnation });
        self.run(batch, note)?.map(|_| ()).map_err(|error| KeyValueError::Stalled { detail: error.to_string() })
    }

    fn size_bytes(&self, batch: &Making) -> usize {
        batch.size_bytes
    }

    fn finish(&self, batch: Making) -> Vec<Write> {
        batch.pending.into_writes()
    }
}

/// A state that could not be read, and what is wrong with it.
type Suspect = Option<(Arc<dyn KeyValue>, Unreadable)>;

/// [`StateMachine`] on the log.
pub struct LogMachine {
    log: Arc<Replicated<CatalogMachine>>,
    limits: Limits,
    /// How long a request waits for two zones, and a scan for its turn.
    wait_max: Duration,
    reads: ReadSettings,
    scans: ScanRoom,
    points: PointRoom,
}

impl LogMachine {
    /// Over an open log; scans run on this executor. Tells the state the zones' incarnations, where it does not know them yet.
    pub async fn new(
        log: Arc<Replicated<CatalogMachine>>,
        limits: Limits,
        wait_max: Duration,
        reads: ReadSettings,
        executor: Arc<dyn Executor>,
    ) -> CatalogResult<Self> {
        let reads = reads.bounded();
        let (scans, points) = (ScanRoom::new(executor.clone(), reads), PointRoom::new(executor, reads));
        let machine = Self { log, limits, wait_max, reads, scans, points };
        for zone in ZoneIndex::ALL {
            loop {
                let incarnation = machine.log.incarnation(zone);
                let note = Command::RetireIncarnation(RetireIncarnation { zone, incarnation });
                match machine.send(note).await {
                    // The zone's keeper has begun another life of it in this moment: the state knows of that one by the same batch.
                    Err(CatalogError::Refused(_)) if machine.log.incarnation(zone) > incarnation => {}
                    told => {
                        told?;
                        break;
                    }
                }
            }
        }
        Ok(machine)
    }

    /// The log.
    pub fn log(&self) -> &Arc<Replicated<CatalogMachine>> {
        &self.log
    }

    async fn send(&self, command: Command) -> CatalogResult<Outcome> {
        match tokio::time::timeout(self.wait_max, self.log.submit(Asked::Change(command))).await {
            Ok(Ok(result)) => result,
            Ok(Err(Unavailable::Refused(reason))) => Err(CatalogError::Unavailable(reason)),
            Ok(Err(Unavailable::Unknown(reason))) => Err(CatalogError::OutcomeUnknown(reason)),
            Err(_) => Err(CatalogError::OutcomeUnknown("two zones did not answer in time".to_owned())),
        }
    }

    /// Answers from the state that reads come from now, and gives that state back where it could not be read. `None`: it hung, and reads come
    /// from another one now.
    async fn ask_once(&self, query: Query) -> CatalogResult<Option<(CatalogResult<Answer>, Suspect)>> {
        let give_up_at = Instant::now() + self.wait_max;
        let (state, turn) = if is_point_read(&query) {
            (self.reader().await?, None)
        } else {
            let (state, turn) = self.turn(give_up_at).await?;
            (state, Some(turn))
        };
        let (limits, now) = (self.limits.clone(), CatalogTime(self.log.time_ms()));
        let progress = Arc::<Progress>::default();
        let (read, steps) = (state.clone(), progress.clone());
        let walk = move || {
            let view = Watched::new(read.snapshot(), steps);
            let answer = answer(&view, &limits, now, query);
            (answer, view.failure().map(|detail| (read, detail)))
        };
        match turn {
            None => self.wait_for(&state, self.points.start(&state, progress, walk), give_up_at, false).await,
            Some(turn) => self.wait_for(&state, self.scans.start(turn, progress, walk), give_up_at, true).await,
        }
    }

    /// A turn to walk over the rows of the state that reads come from, and that state: it shows all that was acknowledged before the question (R1).
    async fn turn(&self, give_up_at: Instant) -> CatalogResult<(Arc<dyn KeyValue>, (Arc<StoreTurns>, OwnedSemaphorePermit))> {
        loop {
            let state = self.reader().await?;
            let turns = self.scans.turns(&state);
            let mut watch = Watch::new(None, turns.clone(), self.reads.hangs_after);
            let mut turn = std::pin::pin!(turns.free.clone().acquire_owned());
            loop {
                tokio::select! {
                    biased;
                    turn = &mut turn => {
                        let turn = turn.map_err(|error| CatalogError::Unavailable(error.to_string()))?;
                        return Ok((state, (turns, turn)));
                    }
                    () = tokio::time::sleep(self.reads.look_after()) => {}
                }
                if self.is_left(&state) {
                    break;
                }
                if Instant::now() >= give_up_at {
                    return Err(CatalogError::Busy("too many listings at once".to_owned()));
                }
                if watch.hangs() {
                    // Those who hold the turns may have been given up by whoever asked for them: nobody else tells.
                    self.log.read_hangs(&state);
                }
            }
        }
    }

    /// Whether reads come from another state now.
    fn is_left(&self, state: &Arc<dyn KeyValue>) -> bool {
        self.log.reader().is_ok_and(|reader| !Arc::ptr_eq(&reader, state))
    }

    /// Waits for a read. Where it hangs, the log is told, and once reads come from another zone the answer is that this state is to be left. A
    /// walk that goes on is waited for, wherever reads come from meanwhile.
    async fn wait_for<T>(
        &self,
        state: &Arc<dyn KeyValue>,
        mut reading: Reading<T>,
        give_up_at: Instant,
        is_walk: bool,
    ) -> CatalogResult<Option<T>> {
        let mut limit = self.reads.look_after();
        loop {
            if let Ok(answered) = reading.wait(limit).await {
                return answered.map(Some);
            }
            let hangs = reading.hangs();
            if is_walk && !hangs {
                continue;
            }
            if self.is_left(state) {
                return Ok(None);
            }
            if Instant::now() >= give_up_at {
                return Err(CatalogError::Unavailable("the catalog's store does not answer".to_owned()));
            }
            if hangs {
                self.log.read_hangs(state);
                limit = LOOK_AGAIN_AFTER;
            }
        }
    }

    async fn reader(&self) -> CatalogResult<Arc<dyn KeyValue>> {
        if let Ok(reader) = self.log.reader() {
            return Ok(reader);
        }
        let _ = tokio::time::timeout(self.wait_max, self.log.wait_until_serving()).await;
        self.log.reader().map_err(|error| CatalogError::Unavailable(error.to_string()))
    }
}

impl StateMachine for LogMachine {
    fn limits(&self) -> &Limits {
        &self.limits
    }

    fn submit(&self, command: Command) -> CatalogFuture<'_, Outcome> {
        Box::pin(async move {
            if matches!(command, Command::RetireIncarnation(_)) {
                // The log's marks and the state must say the same: only the log's own way changes both.
                return Err(CatalogError::Refused("zones' lives are ended by the log".to_owned()));
            }
            self.send(command).await
        })
    }

    fn ask(&self, query: Query) -> CatalogFuture<'_, Answer> {
        Box::pin(async move {
            for _ in 0..ZONE_COUNT {
                let Some((answer, suspect)) = self.ask_once(query.clone()).await? else { continue };
                let Some((state, unreadable)) = suspect else { return answer };
                // R2: complete or an error. Another zone holds the same, and may be whole.
                tracing::error!(detail = unreadable.detail, "a zone's state of the catalog cannot be read");
                let _ = tokio::time::timeout(self.wait_max, self.log.submit(Asked::Suspect(state, unreadable))).await;
            }
            match self.ask_once(query).await? {
                Some((answer, _)) => answer,
                None => Err(CatalogError::Unavailable("the catalog's stores do not answer".to_owned())),
            }
        })
    }
}
