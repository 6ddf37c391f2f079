//! The one that orders everything: evaluates commands, makes batches of their writes, counts the zones' answers, and releases
//! outcomes once a batch is durable in two zones and applied where reads come from (L4, R1).
//!
//! One batch is under way at a time; commands that arrive meanwhile form the next one, so a lone writer never waits for company
//! and many share one sync. The next batch is evaluated on a state that holds everything before it, so no command ever sees what
//! might not come to be.
//!
//! A zone takes part through a *link*. The sequencer sends batches down every link and drops one that fails, hangs or lags; the
//! zone's keeper opens the zone anew, catches up beside the sequencer and links it again.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cairn_disk::Clock;
use cairn_types::ids::ZONE_COUNT;
use cairn_types::{Incarnation, StoreId, ZoneIndex};
use parking_lot::{Mutex, RwLock};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::applier::{Applier, Committed};
use super::batch::{Batch, Marks, Position};
use super::catalog_time::CatalogTime;
use super::rules::{Rule, holds};
use super::worker::{LogWorker, Report};
use super::writes;
use super::zone_log::Base;
use crate::embedded::keyvalue::{Applied, KeyValue, KeyValueError, Snapshot, Write};

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
    type Command: Send + 'static;
    /// What is answered.
    type Outcome: Send + 'static;
    /// The writes of a batch in the making, over the state before it.
    type Batch: Send;

    /// Begins a batch.
    fn begin(&self, state: Arc<dyn KeyValue>, context: Context) -> Self::Batch;
    /// Evaluates a command after those before it in the batch. An error is about the state's store, not about the command, and leaves
    /// nothing of the command in the batch.
    fn evaluate(&self, batch: &mut Self::Batch, command: Self::Command) -> Result<Self::Outcome, KeyValueError>;
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
            idle_mark_after: Duration::from_millis(500),
        }
    }
}

pub(super) type Reply<T> = oneshot::Sender<T>;

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
    Yes(oneshot::Receiver<String>),
    /// Its log must first reach the history that the sequencer still has in memory, or has another history.
    Behind,
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
}

pub(super) enum Event<M: Machine> {
    Command(M::Command, Reply<Result<M::Outcome, Unavailable>>),
    Retire(ZoneIndex, Incarnation, Reply<Result<Incarnation, Unavailable>>),
    Report(ZoneIndex, u64, Report),
    History(Reply<History>),
    Link(Box<Linking>, Reply<Linked>),
    Vote(ZoneIndex, u64),
    Unlink(ZoneIndex, u64, String),
    /// A zone's state has everything up to the commit that was asked for, and waits.
    TakenOver(ZoneIndex, u64, Result<(), String>),
    Snapshot(Reply<Option<(Box<dyn Snapshot>, Base)>>),
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
    /// Catalog time as it was last told, ms (T1).
    pub time_ms: AtomicU64,
    /// The zones' present incarnations and the durable positions of their segments in them (L7), told by whoever runs those.
    pub lives: [Mutex<Life>; ZONE_COUNT],
}

/// A zone's incarnation and how far its segments are durable in it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Life {
    pub incarnation: Incarnation,
    pub segment_position: u64,
}

struct Link {
    number: u64,
    worker: LogWorker,
    applier: Applier,
    state: Arc<dyn KeyValue>,
    durable: u64,
    votes: bool,
    /// Since when it owes an answer.
    waiting_since: Option<Instant>,
    ended: Option<oneshot::Sender<String>>,
}

/// The zone whose state reads use.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Primary {
    None,
    /// It is catching up; its applier will answer for this link.
    TakingOver(ZoneIndex, u64),
    Ready(ZoneIndex),
}

/// A command that waits for a batch, and who asked.
type Waiting<M> = (<M as Machine>::Command, Reply<Result<<M as Machine>::Outcome, Unavailable>>);
/// A zone's life to end, and who asked.
type Retirement = (ZoneIndex, Incarnation, Reply<Result<Incarnation, Unavailable>>);
type Release = Box<dyn FnOnce(Result<(), Unavailable>) + Send>;

struct InFlight {
    batch: Arc<Batch>,
    writes: Vec<Write>,
    releases: Vec<Release>,
    /// Set once durable in two zones: only the primary's state is still to come.
    committed: bool,
}

pub(super) struct Sequencer<M: Machine> {
    pub machine: Arc<M>,
    pub settings: SequencerSettings,
    pub clock: Arc<dyn Clock>,
    pub shared: Arc<Shared>,
    pub store: StoreId,
    pub epoch: u64,
    pub time: CatalogTime,
    last: Position,
    committed: Position,
    marks: Marks,
    last_time_ms: u64,
    /// Total bytes appended by this process, for the appliers' checkpoints.
    appended_bytes: u64,
    links: [Option<Link>; ZONE_COUNT],
    /// For zones without a link: the index after which the others keep their logs, and what was appended when that began, bytes.
    holds: [Option<(u64, u64)>; ZONE_COUNT],
    recent: VecDeque<Arc<Batch>>,
    recent_bytes: u64,
    in_flight: Option<InFlight>,
    primary: Primary,
    waiting: VecDeque<Waiting<M>>,
    retirements: VecDeque<Retirement>,
    /// The epoch's first batch is committed: the history is ours.
    established: bool,
    idle_mark_due: Option<Instant>,
    stopping: Option<Reply<()>>,
    abandoned: bool,
}

impl<M: Machine> Sequencer<M> {
    #[allow(clippy::too_many_arguments, reason = "made in one place")]
    pub(super) fn new(
        machine: Arc<M>,
        settings: SequencerSettings,
        clock: Arc<dyn Clock>,
        shared: Arc<Shared>,
        store: StoreId,
        epoch: u64,
        history: Base,
    ) -> Self {
        let time = CatalogTime::resume(history.time_ms, clock.monotonic());
        Self {
            machine,
            settings,
            clock,
            shared,
            store,
            epoch,
            time,
            last: history.position,
            committed: Position::default(),
            marks: history.marks,
            last_time_ms: history.time_ms,
            appended_bytes: 0,
            links: [const { None }; ZONE_COUNT],
            holds: history.marks.map(|mark| Some((mark.log_index, 0))),
            recent: VecDeque::new(),
            recent_bytes: 0,
            in_flight: None,
            primary: Primary::None,
            waiting: VecDeque::new(),
            retirements: VecDeque::new(),
            established: false,
            idle_mark_due: None,
            stopping: None,
            abandoned: false,
        }
    }

    /// Runs until stopped or until nobody can send any more. `commands` is bounded, so callers feel when there is too much.
    pub(super) async fn run(mut self, mut commands: mpsc::Receiver<Event<M>>, mut events: mpsc::UnboundedReceiver<Event<M>>) {
        // L2, L3: the first batch of the epoch makes everything before it part of the history.
        self.append_batch(Vec::new(), Vec::new());
        let mut tick = tokio::time::interval(Duration::from_millis(250));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let idle = self.idle_mark_due;
            tokio::select! {
                biased;
                event = events.recv() => match event {
                    Some(event) => self.handle(event),
                    None => break,
                },
                event = commands.recv(), if self.waiting.len() < self.settings.batch_commands_max => match event {
                    Some(event) => self.handle(event),
                    None => break,
                },
                _ = tick.tick() => self.look_for_hung_zones(),
                () = async { tokio::time::sleep_until(idle.unwrap_or_else(Instant::now)).await }, if idle.is_some() => self.mark_idle(),
            }
            while let Ok(event) = events.try_recv() {
                self.handle(event);
            }
            while self.waiting.len() < self.settings.batch_commands_max {
                let Ok(event) = commands.try_recv() else { break };
                self.handle(event);
            }
            self.begin_batch();
            if self.abandoned || (self.in_flight.is_none() && self.waiting.is_empty() && self.stopping.is_some()) {
                break;
            }
        }
        *self.shared.reader.write() = None;
        let stopped = || Unavailable::Refused("the service is stopping".to_owned());
        for (_, reply) in self.waiting.drain(..) {
            let _ = reply.send(Err(stopped()));
        }
        if let Some(in_flight) = self.in_flight.take() {
            for release in in_flight.releases {
                release(Err(Unavailable::Unknown("the service stopped before two zones had answered".to_owned())));
            }
        }
        if let Some(reply) = self.stopping.take() {
            let _ = reply.send(());
        }
    }

    fn handle(&mut self, event: Event<M>) {
        match event {
            Event::Command(command, reply) => {
                if self.stopping.is_some() {
                    let _ = reply.send(Err(Unavailable::Refused("the service is stopping".to_owned())));
                } else if !reply.is_closed() {
                    // A caller that has gone away wants nothing any more.
                    self.waiting.push_back((command, reply));
                }
            }
            Event::Retire(zone, incarnation, reply) => self.retirements.push_back((zone, incarnation, reply)),
            Event::Report(zone, link, report) => self.handle_report(zone, link, report),
            Event::History(reply) => {
                let _ = reply.send(self.history());
            }
            Event::Link(linking, reply) => {
                let linked = self.link(*linking);
                let _ = reply.send(linked);
            }
            Event::Vote(zone, number) => {
                if let Some(link) = self.links[zone.get()].as_mut().filter(|link| link.number == number) {
                    link.votes = true;
                    self.count();
                    self.choose_primary();
                }
            }
            Event::Unlink(zone, number, reason) => {
                if self.links[zone.get()].as_ref().is_some_and(|link| link.number == number) {
                    self.unlink(zone, reason);
                }
            }
            Event::TakenOver(zone, number, result) => self.taken_over(zone, number, result),
            Event::Snapshot(reply) => {
                let snapshot = self.snapshot();
                let _ = reply.send(snapshot);
            }
            Event::Hold(zone, index) => {
                self.holds[zone.get()] = index.map(|index| (index, self.appended_bytes));
                self.publish_trim_floor();
            }
            Event::Stop(reply) => self.stopping = Some(reply),
            Event::Abandon => self.abandoned = true,
        }
    }

    /// A state to copy, and the log position that goes with it: all of it is committed (L4).
    fn snapshot(&self) -> Option<(Box<dyn Snapshot>, Base)> {
        let state = match self.primary {
            Primary::Ready(zone) => &self.links[zone.get()].as_ref()?.state,
            // Not established yet: a zone may have to be copied first, so that there are two.
            _ => &self.links.iter().flatten().max_by_key(|link| link.state.applied().map(|applied| applied.index))?.state,
        };
        let snapshot = state.snapshot();
        let applied = snapshot.applied()?;
        let position = Position { index: applied.index, epoch: applied.epoch, checksum: applied.checksum };
        Some((snapshot, Base { position, time_ms: self.last_time_ms, marks: self.marks }))
    }

    fn history(&self) -> History {
        let sources = ZoneIndex::ALL
            .iter()
            .filter_map(|zone| self.links[zone.get()].as_ref().map(|link| (*zone, link.worker.clone())))
            .collect();
        History { epoch: self.epoch, last: self.last, marks: self.marks, recent: self.recent.clone(), sources }
    }

    fn link(&mut self, linking: Linking) -> Linked {
        let Linking { zone, link: number, worker, applier, state, last, votes } = linking;
        // The end of its log must be a batch that we know, or the one before the oldest that we know.
        let known = if last.index == self.last.index {
            last.checksum == self.last.checksum
        } else {
            self.recent.iter().any(|batch| batch.position.index == last.index + 1 && batch.previous == last.checksum)
        };
        if !known && holds(Rule::L1) {
            return Linked::Behind;
        }
        let missing: Vec<Arc<Batch>> = self.recent.iter().filter(|batch| batch.position.index > last.index).cloned().collect();
        let waiting_since = (!missing.is_empty()).then(Instant::now);
        if !missing.is_empty() && worker.append(missing).is_err() {
            return Linked::Behind;
        }
        tracing::debug!(%zone, last = last.index, votes, "linked");
        let (ended, receiver) = oneshot::channel();
        self.unlink(zone, "it was opened anew".to_owned());
        self.links[zone.get()] =
            Some(Link { number, worker, applier, state, durable: last.index, votes, waiting_since, ended: Some(ended) });
        self.holds[zone.get()] = None;
        self.marks[zone.get()].log_index = last.index;
        if self.established {
            self.tell_committed();
        }
        self.count();
        self.choose_primary();
        Linked::Yes(receiver)
    }

    fn unlink(&mut self, zone: ZoneIndex, reason: String) {
        let Some(mut link) = self.links[zone.get()].take() else {
            return;
        };
        // Others may still have a way to the worker; the zone can be opened again only when it has ended.
        link.worker.close();
        self.holds[zone.get()] = Some((link.durable, self.appended_bytes));
        if let Some(ended) = link.ended.take() {
            let _ = ended.send(reason);
        }
        if matches!(self.primary, Primary::Ready(primary) | Primary::TakingOver(primary, _) if primary == zone) {
            self.primary = Primary::None;
            *self.shared.reader.write() = None;
            self.choose_primary();
        }
    }

    fn handle_report(&mut self, zone: ZoneIndex, number: u64, report: Report) {
        let Some(link) = self.links[zone.get()].as_mut().filter(|link| link.number == number) else {
            return;
        };
        match report {
            Report::Durable(index) => {
                link.durable = index;
                link.waiting_since = (index < self.last.index).then(Instant::now);
                self.marks[zone.get()].log_index = index;
                self.count();
                self.publish_trim_floor();
            }
            Report::Failed(reason) => self.unlink(zone, reason),
        }
    }

    /// Whether the batch under way is durable in two zones that vote (L4).
    fn count(&mut self) {
        let Some(in_flight) = &self.in_flight else { return };
        let index = in_flight.batch.position.index;
        let durable = self.links.iter().flatten().filter(|link| link.votes && link.durable >= index).count();
        let quorum = if holds(Rule::L4) { 2 } else { 1 };
        if !in_flight.committed && durable >= quorum {
            self.commit();
        }
    }

    fn commit(&mut self) {
        let Some(in_flight) = self.in_flight.as_mut() else { return };
        in_flight.committed = true;
        self.committed = in_flight.batch.position;
        if !self.established {
            self.established = true;
            self.tell_committed();
            self.finish();
            self.choose_primary();
            return;
        }
        if let Primary::Ready(zone) = self.primary
            && let Some(link) = &self.links[zone.get()]
        {
            let position = self.committed;
            let applied = Applied { index: position.index, epoch: position.epoch, checksum: position.checksum };
            match link.state.apply(&in_flight.writes, applied) {
                Ok(()) => {
                    self.tell_committed();
                    self.finish();
                }
                Err(error) => {
                    self.tell_committed();
                    self.unlink(zone, format!("its key-value store failed: {error}"));
                }
            }
        } else {
            self.tell_committed();
        }
    }

    /// Releases the outcomes of the batch under way: it is durable and readable.
    fn finish(&mut self) {
        let Some(in_flight) = self.in_flight.take() else { return };
        for release in in_flight.releases {
            release(Ok(()));
        }
        // What vouches for this batch's own place in the logs is the next one; where none comes, an empty one does.
        let empty = in_flight.writes.is_empty();
        self.idle_mark_due = (!empty).then(|| Instant::now() + self.settings.idle_mark_after);
    }

    fn choose_primary(&mut self) {
        if !self.established || self.primary != Primary::None {
            return;
        }
        let candidate = ZoneIndex::ALL.into_iter().find(|zone| self.links[zone.get()].as_ref().is_some_and(|link| link.votes));
        let Some(zone) = candidate else { return };
        if let Some(link) = &self.links[zone.get()] {
            self.primary = Primary::TakingOver(zone, link.number);
            link.applier.take_over(self.committed.index);
        }
    }

    fn taken_over(&mut self, zone: ZoneIndex, number: u64, result: Result<(), String>) {
        if self.primary != Primary::TakingOver(zone, number) {
            return;
        }
        match result {
            Ok(()) => {
                let Some(link) = &self.links[zone.get()] else { return };
                if link.state.applied().map_or(0, |applied| applied.index) < self.committed.index {
                    // A batch was committed meanwhile.
                    link.applier.take_over(self.committed.index);
                    return;
                }
                self.primary = Primary::Ready(zone);
                *self.shared.reader.write() = Some(link.state.clone());
                if self.in_flight.as_ref().is_some_and(|in_flight| in_flight.committed) {
                    self.finish();
                }
            }
            Err(reason) => self.unlink(zone, reason),
        }
    }

    fn begin_batch(&mut self) {
        let Primary::Ready(primary) = self.primary else { return };
        if self.in_flight.is_some() || (self.waiting.is_empty() && self.retirements.is_empty()) {
            return;
        }
        let Some(state) = self.links[primary.get()].as_ref().map(|link| link.state.clone()) else {
            return;
        };
        let time_ms = self.now_ms();
        let wall_ms = u64::try_from(self.clock.wall().as_millis()).unwrap_or(u64::MAX);
        let mut releases: Vec<Release> = Vec::new();
        let mut failed = None;
        let mut retired = Vec::new();
        let context = |marks: &Marks, last: Position| Context {
            time_ms,
            wall_ms,
            incarnations: marks.map(|mark| Incarnation(mark.incarnation)),
            index: last.index + 1,
        };
        let mut marks = self.marks;
        let mut batch = self.machine.begin(state, context(&marks, self.last));
        while let Some((zone, incarnation, reply)) = self.retirements.pop_front() {
            let mark = &mut marks[zone.get()];
            if mark.incarnation == incarnation.0 {
                let next = Incarnation(incarnation.0 + 1);
                match self.machine.retire(&mut batch, zone, next) {
                    Ok(()) => {
                        mark.incarnation = next.0;
                        mark.log_index = 0;
                        mark.segment_position = 0;
                        *self.shared.lives[zone.get()].lock() = Life { incarnation: next, segment_position: 0 };
                        retired.push(zone);
                    }
                    Err(error) => {
                        failed = Some(error.to_string());
                        break;
                    }
                }
            }
            let now = Incarnation(mark.incarnation);
            releases.push(Box::new(move |result| {
                let _ = reply.send(result.map(|()| now));
            }));
        }
        let mut commands = 0;
        while failed.is_none()
            && commands < self.settings.batch_commands_max
            && self.machine.size_bytes(&batch) < self.settings.batch_bytes
        {
            let Some((command, reply)) = self.waiting.pop_front() else {
                break;
            };
            if reply.is_closed() {
                continue;
            }
            commands += 1;
            match self.machine.evaluate(&mut batch, command) {
                Ok(outcome) => releases.push(Box::new(move |result: Result<(), Unavailable>| {
                    let _ = reply.send(result.map(|()| outcome));
                })),
                Err(error) => {
                    let _ = reply.send(Err(Unavailable::Refused(format!("the state could not be read: {error}"))));
                    failed = Some(error.to_string());
                }
            }
        }
        let writes = self.machine.finish(batch);
        if writes.is_empty() && marks == self.marks {
            // Nothing to write: the answers are about a state that is durable already.
            for release in releases {
                release(Ok(()));
            }
        } else {
            self.marks = marks;
            self.append_batch(writes, releases);
        }
        for zone in retired {
            // What it still holds is of an ended life; its keeper begins the next.
            self.unlink(zone, "its incarnation was retired".to_owned());
        }
        if let Some(reason) = failed {
            self.unlink(primary, format!("its key-value store failed: {reason}"));
        }
    }

    fn now_ms(&mut self) -> u64 {
        let now = self.time.advance(self.clock.monotonic(), self.clock.wall());
        self.shared.time_ms.store(now, Ordering::Release);
        now
    }

    fn append_batch(&mut self, writes: Vec<Write>, releases: Vec<Release>) {
        self.last_time_ms = self.now_ms();
        for zone in ZoneIndex::ALL {
            let life = *self.shared.lives[zone.get()].lock();
            let mark = &mut self.marks[zone.get()];
            if mark.incarnation == life.incarnation.0 {
                mark.segment_position = mark.segment_position.max(life.segment_position);
            }
        }
        let payload = writes::encode(&writes);
        let batch = Arc::new(Batch::new(self.store, self.last, self.epoch, self.last_time_ms, self.marks, &payload));
        self.last = batch.position;
        self.appended_bytes += batch.frame_length();
        self.recent_bytes += batch.frame_length();
        self.recent.push_back(batch.clone());
        let durable_everywhere = self.links.iter().flatten().map(|link| link.durable).min().unwrap_or(0);
        while self.recent_bytes > self.settings.recent_bytes_max && self.recent.len() > 1 {
            let Some(oldest) = self
                .recent
                .front()
                .filter(|oldest| oldest.position.index <= durable_everywhere || self.recent_bytes > self.settings.lag_bytes_max)
            else {
                break;
            };
            self.recent_bytes -= oldest.frame_length();
            self.recent.pop_front();
        }
        self.idle_mark_due = None;
        self.in_flight = Some(InFlight { batch: batch.clone(), writes, releases, committed: false });
        let oldest_kept = self.recent.front().map_or(0, |batch| batch.position.index);
        for zone in ZoneIndex::ALL {
            let Some(link) = self.links[zone.get()].as_mut() else {
                continue;
            };
            if link.waiting_since.is_none() {
                link.waiting_since = Some(Instant::now());
            }
            if link.durable + 1 < oldest_kept {
                self.unlink(zone, "it lags too far behind".to_owned());
            } else if link.worker.append(vec![batch.clone()]).is_err() {
                self.unlink(zone, "its log was closed".to_owned());
            }
        }
    }

    fn mark_idle(&mut self) {
        self.idle_mark_due = None;
        if self.in_flight.is_none() && matches!(self.primary, Primary::Ready(_)) {
            self.append_batch(Vec::new(), Vec::new());
        }
    }

    fn look_for_hung_zones(&mut self) {
        let now = Instant::now();
        for zone in ZoneIndex::ALL {
            let hung = self.links[zone.get()]
                .as_ref()
                .and_then(|link| link.waiting_since)
                .is_some_and(|since| now.duration_since(since) >= self.settings.hang_after);
            if hung {
                self.unlink(zone, format!("it has not answered for {} s", self.settings.hang_after.as_secs()));
            }
        }
        self.publish_trim_floor();
        self.now_ms();
    }

    fn publish_trim_floor(&mut self) {
        let linked = self.links.iter().flatten().map(|link| link.durable).min().unwrap_or(0);
        let (appended, bound) = (self.appended_bytes, self.settings.away_bytes_max);
        for hold in &mut self.holds {
            *hold = hold.filter(|(_, since)| appended - since <= bound);
        }
        let held = self.holds.iter().flatten().map(|(index, _)| *index).min().unwrap_or(u64::MAX);
        self.shared.trim_floor.store(linked.min(held), Ordering::Release);
    }

    fn tell_committed(&self) {
        let committed = Committed { index: self.committed.index, appended_bytes: self.appended_bytes };
        for link in self.links.iter().flatten() {
            link.applier.committed(committed);
        }
    }
}
