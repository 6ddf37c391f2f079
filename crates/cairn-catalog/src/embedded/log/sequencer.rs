//! The one that orders everything: evaluates commands, makes batches of their writes, counts the zones' answers, and releases
//! outcomes once a batch is durable in two zones and applied where reads come from (L4, R1).
//!
//! One batch is under way at a time; commands that arrive meanwhile form the next one, so a lone writer never waits for company
//! and many share one sync. The next batch is evaluated on a state that holds everything before it, so no command ever sees what
//! might not come to be.
//!
//! What may block on a zone's key-value store is done in one place, from where the sequencer can go on without it ([`super::work`]): then
//! reads and evaluation move to another zone, and the one that did not answer keeps its vote and follows.
//!
//! A zone takes part through a *link*. The sequencer sends batches down every link and drops one that fails, hangs or lags; the
//! zone's keeper opens the zone anew, catches up beside the sequencer and links it again. What it does while fewer than two zones vote is in
//! [`quorum`].

mod quorum;

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use cairn_disk::{Clock, Executor};
use cairn_types::ids::ZONE_COUNT;
use cairn_types::{Incarnation, StoreId, ZoneIndex};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::applier::{Applier, Committed};
use super::batch::{Batch, Marks, Position};
use super::catalog_time::CatalogTime;
pub use super::events::{Context, Machine, SequencerSettings, Unavailable};
use super::events::{Copyable, Ended, Event, History, Life, Linked, Linking, Reply, Shared};
use super::rules::{Rule, holds};
use super::work::{Done, Evaluate, Evaluated, Slot, Work};
use super::worker::{LogWorker, Report};
use super::zone_log::Base;
use crate::embedded::keyvalue::{Applied, KeyValue, KeyValueError, Write};

struct Link {
    number: u64,
    worker: LogWorker,
    applier: Applier,
    state: Arc<dyn KeyValue>,
    durable: u64,
    votes: bool,
    /// Since when it owes an answer.
    waiting_since: Option<Instant>,
    ended: Option<oneshot::Sender<Ended>>,
    /// When reads and evaluation were last moved away from it, because it did not answer.
    moved_at: Option<Instant>,
    /// How far its applier was when that was last looked at.
    seen_progress: u64,
}

/// The zone whose state reads use.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Primary {
    None,
    /// It is catching up since then; its applier will answer for this request.
    TakingOver(ZoneIndex, u64, Instant),
    Ready(ZoneIndex),
}

/// A command that waits for a batch, and who asked.
type Waiting<M> = (Arc<<M as Machine>::Command>, Reply<Result<<M as Machine>::Outcome, Unavailable>>);
/// A zone's life to end, and who asked.
type Retirement = (ZoneIndex, Incarnation, Reply<Result<Incarnation, Unavailable>>);
type Release = Box<dyn FnOnce(Result<(), Unavailable>) + Send>;

/// What a zone's store has been asked, while it is.
enum Calling<M: Machine> {
    Evaluate(ZoneIndex, Vec<Waiting<M>>, Vec<Retirement>),
    Apply(ZoneIndex),
    Snapshot(Reply<Copyable>),
}

struct InFlight {
    batch: Arc<Batch>,
    writes: Arc<Vec<Write>>,
    releases: Vec<Release>,
    /// Set once durable in two zones: only the primary's state is still to come.
    committed: bool,
}

pub(super) struct Sequencer<M: Machine> {
    pub machine: Arc<M>,
    pub settings: SequencerSettings,
    pub clock: Arc<dyn Clock>,
    pub executor: Arc<dyn Executor>,
    pub shared: Arc<Shared>,
    pub store: StoreId,
    pub epoch: u64,
    pub time: CatalogTime,
    slot: Arc<Slot<M>>,
    /// Bounded, so callers feel when there is too much.
    commands: mpsc::Receiver<Event<M>>,
    events: mpsc::UnboundedReceiver<Event<M>>,
    calling: Option<Calling<M>>,
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
    /// Names a request to take over.
    request_next: u64,
    waiting: VecDeque<Waiting<M>>,
    retirements: VecDeque<Retirement>,
    snapshots: VecDeque<Reply<Copyable>>,
    /// Most commands of the next batch, where more were too many.
    commands_max: Option<usize>,
    /// The epoch's first batch is committed: the history is ours.
    established: bool,
    idle_mark_due: Option<Instant>,
    /// Since when fewer than two zones vote.
    without_quorum_since: Option<Instant>,
    stopping: Option<Reply<()>>,
    abandoned: bool,
}

/// What the sequencer works with.
pub(super) struct Surroundings<M: Machine> {
    pub machine: Arc<M>,
    pub settings: SequencerSettings,
    pub clock: Arc<dyn Clock>,
    pub executor: Arc<dyn Executor>,
    pub shared: Arc<Shared>,
    pub slot: Arc<Slot<M>>,
    pub commands: mpsc::Receiver<Event<M>>,
    pub events: mpsc::UnboundedReceiver<Event<M>>,
}

impl<M: Machine> Sequencer<M> {
    pub(super) fn new(surroundings: Surroundings<M>, store: StoreId, epoch: u64, history: Base) -> Self {
        let Surroundings { machine, settings, clock, executor, shared, slot, commands, events } = surroundings;
        let time = CatalogTime::resume(history.time_ms, clock.monotonic());
        Self {
            machine,
            settings,
            clock,
            executor,
            shared,
            store,
            epoch,
            time,
            slot,
            commands,
            events,
            calling: None,
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
            request_next: 0,
            waiting: VecDeque::new(),
            retirements: VecDeque::new(),
            snapshots: VecDeque::new(),
            commands_max: None,
            established: false,
            idle_mark_due: None,
            without_quorum_since: Some(Instant::now()),
            stopping: None,
            abandoned: false,
        }
    }

    /// Runs until stopped, until nobody can send any more, or until the watch has gone on in another thread.
    pub(super) async fn run(mut self: Box<Self>) {
        if self.recent.is_empty() {
            // L2, L3: the first batch of the epoch makes everything before it part of the history.
            self.append_batch(Arc::default(), &[], Vec::new());
        }
        let mut tick = tokio::time::interval(Duration::from_millis(250));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            self.take_waiting_events();
            if self.abandoned || (self.in_flight.is_none() && self.waiting.is_empty() && self.stopping.is_some()) {
                break;
            }
            if let Some(work) = self.next_work() {
                let slot = self.slot.clone();
                let ticket = slot.park(self);
                let done = work.run();
                let Some(taken) = slot.take_back(ticket) else { return };
                self = taken;
                self.done(done);
                continue;
            }
            let idle = self.idle_mark_due;
            tokio::select! {
                biased;
                event = self.events.recv() => match event {
                    Some(event) => self.handle(event),
                    None => break,
                },
                event = self.commands.recv(), if self.waiting.len() < self.settings.batch_commands_max => match event {
                    Some(event) => self.handle(event),
                    None => break,
                },
                _ = tick.tick() => self.look_for_hung_zones(),
                () = async { tokio::time::sleep_until(idle.unwrap_or_else(Instant::now)).await }, if idle.is_some() => self.mark_idle(),
            }
        }
        self.end();
    }

    fn take_waiting_events(&mut self) {
        while let Ok(event) = self.events.try_recv() {
            self.handle(event);
        }
        while self.waiting.len() < self.settings.batch_commands_max {
            let Ok(event) = self.commands.try_recv() else { break };
            self.handle(event);
        }
    }

    fn end(mut self: Box<Self>) {
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
                } else if let Some(words) = self.without_quorum() {
                    let _ = reply.send(Err(Unavailable::Refused(words)));
                } else if !reply.is_closed() {
                    // A caller that has gone away wants nothing any more.
                    self.waiting.push_back((Arc::new(command), reply));
                }
            }
            Event::Retire(zone, incarnation, reply) => {
                self.retirements.push_back((zone, incarnation, reply));
                self.refuse_retirements();
            }
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
                    self.look_for_quorum();
                }
            }
            Event::Unlink(zone, number, ended) => {
                if self.links[zone.get()].as_ref().is_some_and(|link| link.number == number) {
                    self.unlink(zone, ended);
                }
            }
            Event::TakenOver(zone, request, applied) => self.taken_over(zone, request, applied),
            Event::ReadHangs(state) => self.read_hangs(&state),
            Event::Snapshot(reply) => self.snapshots.push_back(reply),
            Event::Hold(zone, index) => {
                self.holds[zone.get()] = index.map(|index| (index, self.appended_bytes));
                self.publish_trim_floor();
            }
            Event::Stop(reply) => self.stopping = Some(reply),
            Event::Abandon => self.abandoned = true,
        }
    }

    fn history(&self) -> History {
        let sources = ZoneIndex::ALL
            .iter()
            .filter_map(|zone| self.links[zone.get()].as_ref().map(|link| (*zone, link.worker.clone())))
            .collect();
        let votes = |zone: &ZoneIndex| self.links[zone.get()].as_ref().is_some_and(|link| link.votes);
        let voters = ZoneIndex::ALL.into_iter().filter(votes).collect();
        History { epoch: self.epoch, last: self.last, marks: self.marks, recent: self.recent.clone(), sources, voters }
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
        self.unlink(zone, Ended::Away("it was opened anew".to_owned()));
        let (durable, moved_at) = (last.index, None);
        let link = Link {
            number,
            worker,
            applier,
            state,
            durable,
            votes,
            waiting_since,
            ended: Some(ended),
            moved_at,
            seen_progress: 0,
        };
        self.links[zone.get()] = Some(link);
        self.holds[zone.get()] = None;
        self.marks[zone.get()].log_index = last.index;
        self.shared.statistics.durable(zone, last.index);
        if self.established {
            self.tell_committed();
        }
        self.count();
        self.choose_primary();
        self.look_for_quorum();
        Linked::Yes(receiver)
    }

    fn unlink(&mut self, zone: ZoneIndex, reason: Ended) {
        let Some(mut link) = self.links[zone.get()].take() else {
            return;
        };
        // Others may still have a way to the worker; the zone can be opened again only when it has ended.
        link.worker.close();
        self.holds[zone.get()] = Some((link.durable, self.appended_bytes));
        if let Some(ended) = link.ended.take() {
            let _ = ended.send(reason);
        }
        if matches!(self.primary, Primary::Ready(primary) | Primary::TakingOver(primary, ..) if primary == zone) {
            self.primary = Primary::None;
            *self.shared.reader.write() = None;
            self.choose_primary();
        }
        self.look_for_quorum();
        self.refuse_retirements();
    }

    /// Moves reads and evaluation away from a zone that does not answer. It stays linked.
    fn move_away(&mut self, zone: ZoneIndex) {
        let Some(link) = self.links[zone.get()].as_mut() else { return };
        tracing::warn!(%zone, "reads move to another zone: this one does not answer");
        link.moved_at = Some(Instant::now());
        link.applier.follow();
        self.primary = Primary::None;
        *self.shared.reader.write() = None;
        self.choose_primary();
    }

    /// A read of this state does not come back. Without another zone to read from it stays: it may come back yet.
    fn read_hangs(&mut self, state: &Arc<dyn KeyValue>) {
        let Primary::Ready(zone) = self.primary else { return };
        let is_primary = |link: &Link| Arc::ptr_eq(&link.state, state);
        let better = |other: &ZoneIndex| *other != zone && self.links[other.get()].as_ref().is_some_and(|link| link.votes);
        if self.links[zone.get()].as_ref().is_some_and(is_primary) && ZoneIndex::ALL.iter().any(better) {
            self.move_away(zone);
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
                self.shared.statistics.durable(zone, index);
                self.count();
                self.publish_trim_floor();
            }
            Report::Failed(reason) => self.unlink(zone, Ended::Away(reason)),
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
        self.tell_committed();
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
        // One that answered so far, and of those the one that has most: only what is durable in its log can be applied.
        let rank = |link: &Link| (Reverse(link.moved_at), link.durable, Reverse(link.number));
        let voting = |zone: &ZoneIndex| self.links[zone.get()].as_ref().filter(|link| link.votes).map(rank);
        let candidate = ZoneIndex::ALL.into_iter().filter(|zone| voting(zone).is_some());
        let Some(zone) = candidate.max_by_key(|zone| (voting(zone), Reverse(zone.get()))) else {
            return;
        };
        self.ask_to_take_over(zone, Instant::now());
    }

    fn ask_to_take_over(&mut self, zone: ZoneIndex, since: Instant) {
        if let Some(link) = &self.links[zone.get()] {
            self.request_next += 1;
            self.primary = Primary::TakingOver(zone, self.request_next, since);
            link.applier.take_over(self.committed.index, self.request_next);
        }
    }

    fn taken_over(&mut self, zone: ZoneIndex, request: u64, applied: u64) {
        let Primary::TakingOver(expected, asked, since) = self.primary else { return };
        if (expected, asked) != (zone, request) {
            return;
        }
        if applied < self.committed.index {
            // A batch was committed meanwhile.
            return self.ask_to_take_over(zone, since);
        }
        let Some(link) = &self.links[zone.get()] else { return };
        self.primary = Primary::Ready(zone);
        *self.shared.reader.write() = Some(link.state.clone());
        if self.in_flight.as_ref().is_some_and(|in_flight| in_flight.committed) {
            self.finish();
        }
    }

    /// What is to be done on a zone's store next.
    fn next_work(&mut self) -> Option<Work<M>> {
        let ready = match self.primary {
            Primary::Ready(zone) => self.links[zone.get()].as_ref().map(|link| (zone, link.state.clone())),
            _ => None,
        };
        if let Some(reply) = self.snapshots.pop_front() {
            // Not established yet: a zone may have to be copied first, so that there are two.
            let all = || self.links.iter().flatten().map(|link| link.state.clone()).collect();
            self.calling = Some(Calling::Snapshot(reply));
            return Some(Work::Snapshot(ready.map_or_else(all, |(_, state)| vec![state])));
        }
        let (zone, state) = ready?;
        match &self.in_flight {
            Some(in_flight) if in_flight.committed => {
                let Position { index, epoch, checksum } = in_flight.batch.position;
                self.calling = Some(Calling::Apply(zone));
                Some(Work::Apply { state, writes: in_flight.writes.clone(), applied: Applied { index, epoch, checksum } })
            }
            Some(_) => None,
            None if self.waiting.is_empty() && self.retirements.is_empty() => None,
            None => Some(self.begin_batch(zone, state)),
        }
    }

    /// What came of it.
    fn done(&mut self, done: Done<M>) {
        match (self.calling.take(), done) {
            (Some(Calling::Snapshot(reply)), Done::Snapshot(snapshot)) => {
                // All of it is committed (L4).
                let _ = reply.send(snapshot.map(|(snapshot, Applied { index, epoch, checksum })| {
                    let position = Position { index, epoch, checksum };
                    (snapshot, Base { position, time_ms: self.last_time_ms, marks: self.marks })
                }));
            }
            (Some(Calling::Apply(_)), Done::Applied(Ok(()))) => self.finish(),
            (Some(Calling::Apply(zone)), Done::Applied(Err(error))) => self.unlink(zone, Ended::by(&error)),
            (Some(Calling::Evaluate(zone, commands, retirements)), Done::Evaluated(evaluated)) => {
                self.evaluated(zone, commands, retirements, evaluated);
            }
            _ => {}
        }
    }

    /// The call has not come back in time, and this goes on without it.
    pub(super) fn call_hangs(&mut self) {
        match self.calling.take() {
            Some(Calling::Evaluate(zone, commands, retirements)) => {
                self.put_back(commands, retirements);
                self.move_away(zone);
            }
            Some(Calling::Apply(zone)) => self.move_away(zone),
            Some(Calling::Snapshot(_)) => {
                if let Primary::Ready(zone) = self.primary {
                    self.move_away(zone);
                }
            }
            None => {}
        }
    }

    fn put_back(&mut self, commands: Vec<Waiting<M>>, retirements: Vec<Retirement>) {
        commands.into_iter().rev().for_each(|waiting| self.waiting.push_front(waiting));
        retirements.into_iter().rev().for_each(|retirement| self.retirements.push_front(retirement));
    }

    fn begin_batch(&mut self, zone: ZoneIndex, state: Arc<dyn KeyValue>) -> Work<M> {
        let context = Context {
            time_ms: self.now_ms(),
            wall_ms: u64::try_from(self.clock.wall().as_millis()).unwrap_or(u64::MAX),
            incarnations: self.marks.map(|mark| Incarnation(mark.incarnation)),
            index: self.last.index + 1,
        };
        let mut lives = context.incarnations;
        let retirements = self.next_retirements();
        let mut ending = Vec::new();
        for (zone, incarnation, _) in &retirements {
            let life = &mut lives[zone.get()];
            if *life == *incarnation {
                *life = Incarnation(incarnation.0 + 1);
                ending.push((*zone, *life));
            }
        }
        let commands_max = self.commands_max.unwrap_or(self.settings.batch_commands_max);
        let mut commands = Vec::new();
        while commands.len() < commands_max
            && let Some((command, reply)) = self.waiting.pop_front()
        {
            if !reply.is_closed() {
                commands.push((command, reply));
            }
        }
        let evaluate = Evaluate {
            machine: self.machine.clone(),
            state,
            context,
            retirements: ending,
            commands: commands.iter().map(|(command, _)| command.clone()).collect(),
            batch_bytes: self.settings.batch_bytes,
        };
        self.calling = Some(Calling::Evaluate(zone, commands, retirements));
        Work::Evaluate(evaluate)
    }

    /// Appends what was evaluated, and keeps what did not fit for the next batch.
    fn evaluated(
        &mut self,
        primary: ZoneIndex,
        mut commands: Vec<Waiting<M>>,
        retirements: Vec<Retirement>,
        evaluated: Evaluated<M>,
    ) {
        if let Some(reason) = evaluated.too_large {
            return self.make_smaller(commands, retirements, evaluated.outcomes.len(), &reason);
        }
        self.commands_max = None;
        let mut rest = commands.split_off(evaluated.outcomes.len().min(commands.len()));
        if let Some(reason) = &evaluated.failed
            && evaluated.command_failed
            && !rest.is_empty()
        {
            let (_, reply) = rest.remove(0);
            let _ = reply.send(Err(Unavailable::Refused(format!("the state could not be read: {reason}"))));
        }
        self.put_back(rest, Vec::new());
        let mut releases: Vec<Release> = Vec::new();
        let mut ended = Vec::new();
        let mut marks = self.marks;
        for (zone, incarnation, reply) in retirements {
            let mark = &mut marks[zone.get()];
            if mark.incarnation == incarnation.0 {
                if ended.len() == evaluated.retired {
                    // The state could not be read; whoever asked sees that there is no answer.
                    continue;
                }
                let next = Incarnation(incarnation.0 + 1);
                (mark.incarnation, mark.log_index, mark.segment_position) = (next.0, 0, 0);
                *self.shared.lives[zone.get()].lock() = Life { incarnation: next, segment_position: 0 };
                ended.push((zone, next));
            }
            let now = Incarnation(mark.incarnation);
            releases.push(Box::new(move |result| {
                let _ = reply.send(result.map(|()| now));
            }));
        }
        for ((_, reply), outcome) in commands.into_iter().zip(evaluated.outcomes) {
            releases.push(Box::new(move |result: Result<(), Unavailable>| {
                let _ = reply.send(result.map(|()| outcome));
            }));
        }
        if evaluated.writes.is_empty() && marks == self.marks {
            // Nothing to write: the answers are about a state that is durable already.
            for release in releases {
                release(Ok(()));
            }
        } else {
            self.marks = marks;
            self.append_batch(evaluated.writes, &evaluated.payload, releases);
        }
        for (zone, next) in ended {
            // What it still holds is of an ended life; its keeper begins the next.
            self.unlink(zone, Ended::Retired(next));
        }
        if let Some(error) = evaluated.failed {
            self.unlink(primary, self.ended_by_reading(primary, &error));
        }
    }

    /// What an error in reading a zone's store means for the zone. Its rows, damaged as some are, are given up for a copy only where two others
    /// vote meanwhile: damage in different rows of several zones must not leave nothing to copy from.
    fn ended_by_reading(&self, zone: ZoneIndex, error: &KeyValueError) -> Ended {
        let votes = |other: &ZoneIndex| *other != zone && self.links[other.get()].as_ref().is_some_and(|link| link.votes);
        match Ended::by(error) {
            Ended::StateLost(words) if ZoneIndex::ALL.iter().filter(|other| votes(other)).count() < 2 => Ended::Away(words),
            ended => ended,
        }
    }

    /// These together are no batch: tries half of them, and refuses one that is too large alone.
    fn make_smaller(&mut self, mut commands: Vec<Waiting<M>>, retirements: Vec<Retirement>, evaluated: usize, reason: &str) {
        if evaluated > 1 || !retirements.is_empty() {
            self.commands_max = (evaluated > 0).then_some(evaluated / 2);
            if evaluated == 0 {
                tracing::error!(%reason, "a zone's life cannot be ended");
                return self.put_back(commands, Vec::new());
            }
        } else if !commands.is_empty() {
            let (_, reply) = commands.remove(0);
            let _ = reply.send(Err(Unavailable::Refused(reason.to_owned())));
        }
        self.put_back(commands, retirements);
    }

    fn now_ms(&mut self) -> u64 {
        let now = self.time.advance(self.clock.monotonic(), self.clock.wall());
        self.shared.time_ms.store(now, Ordering::Release);
        now
    }

    fn append_batch(&mut self, writes: Arc<Vec<Write>>, payload: &[u8], releases: Vec<Release>) {
        self.last_time_ms = self.now_ms();
        for zone in ZoneIndex::ALL {
            let life = *self.shared.lives[zone.get()].lock();
            let mark = &mut self.marks[zone.get()];
            if mark.incarnation == life.incarnation.0 {
                mark.segment_position = mark.segment_position.max(life.segment_position);
            }
        }
        let batch = Arc::new(Batch::new(self.store, self.last, self.epoch, self.last_time_ms, self.marks, payload));
        self.last = batch.position;
        self.appended_bytes += batch.frame_length();
        self.shared.statistics.batch(batch.position.index, releases.len(), batch.frame_length());
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
                self.unlink(zone, Ended::Away("it lags too far behind".to_owned()));
            } else if link.worker.append(vec![batch.clone()]).is_err() {
                self.unlink(zone, Ended::Away("its log was closed".to_owned()));
            }
        }
    }

    fn mark_idle(&mut self) {
        self.idle_mark_due = None;
        if self.in_flight.is_none() && matches!(self.primary, Primary::Ready(_)) {
            self.append_batch(Arc::default(), &[], Vec::new());
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
                let words = format!("it has not answered for {} s", self.settings.hang_after.as_secs());
                self.unlink(zone, Ended::Away(words));
            }
        }
        self.move_away_if_slow(now);
        self.refuse_without_quorum();
        self.publish_trim_floor();
        self.now_ms();
    }

    /// Reads and evaluation leave a zone that takes long to catch up, or whose log does not answer, where another votes that does.
    fn move_away_if_slow(&mut self, now: Instant) {
        let move_after = self.settings.move_after;
        let since = |link: &Link| link.waiting_since.is_some_and(|since| now.duration_since(since) >= move_after);
        if let Primary::TakingOver(zone, _, since) = &mut self.primary
            && let Some(link) = self.links[zone.get()].as_mut()
            && std::mem::replace(&mut link.seen_progress, link.applier.progress()) != link.applier.progress()
        {
            // It has much to apply, and does.
            *since = now;
        }
        let (zone, slow) = match self.primary {
            Primary::None => return,
            Primary::TakingOver(zone, _, since) => (zone, now.duration_since(since) >= move_after),
            Primary::Ready(zone) => (zone, self.links[zone.get()].as_ref().is_some_and(since)),
        };
        let better =
            |other: ZoneIndex| other != zone && self.links[other.get()].as_ref().is_some_and(|link| link.votes && !since(link));
        if slow && ZoneIndex::ALL.into_iter().any(better) {
            self.move_away(zone);
        }
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
