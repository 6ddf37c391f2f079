//! The keeper of one zone: opens it, lets it catch up, links it to the sequencer, and does so again whenever it comes back.
//!
//! It tells a zone that was away (same life, catches up) from one that has lost its memory (new incarnation, rebuilt from the
//! others, L7) and from one that must not be touched (L9). A zone votes only once its log is complete and its identity says so.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use cairn_disk::zone_directory::{self, IDENTITY_FORMAT, Identity, Inspection, ZoneDirectory, ZoneLock, ZoneState};
use cairn_types::ids::ZONE_COUNT;
use cairn_types::{Incarnation, StoreId};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::applier::{Applier, ApplierSettings, Parts, Told};
use super::batch::{Batch, Position};
use super::decide::Found;
use super::events::{Ended, Event, History, Linked, Linking, Machine, Shared};
use super::place::{Looked, Place};
use super::rules::{Rule, holds};
use super::worker::{LogWorker, Report};
use super::zone_log::{OpenError, ZoneLog};
use crate::embedded::keyvalue::{Applied, KeyValue, KeyValueEngine, KeyValueError, Table, Write};

/// What a zone is doing, in words a person can read and states a program can.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ZonePhase {
    /// Being opened.
    Opening,
    /// Reading what it missed from the other zones' logs.
    CatchingUp {
        /// The last batch that it has.
        at: u64,
        /// The last batch that there is.
        of: u64,
    },
    /// Its catalog is being copied from another zone.
    Rebuilding {
        /// Why.
        reason: String,
        /// Rows copied so far.
        rows: u64,
    },
    /// Takes part in every commit.
    Voting,
    /// Cannot be used now; it is looked at again and again.
    Away(String),
    /// Left alone: not a directory to touch (L9).
    Refused(String),
}

/// A zone as others see it.
#[derive(Clone)]
pub struct ZoneStatus {
    /// What it is doing.
    pub phase: ZonePhase,
    /// Its directory and life, while there is one to write to.
    pub directory: Option<Arc<ZoneDirectory>>,
}

/// How a keeper works.
#[derive(Debug, Clone, Copy)]
pub struct KeeperSettings {
    /// First pause before a zone that could not be used is looked at again; doubled up to `retry_max`.
    pub retry_min: Duration,
    /// Longest pause.
    pub retry_max: Duration,
    /// How long another zone's log may take to answer before the next one is asked.
    pub source_timeout: Duration,
    /// How often a zone is looked at while nothing is written.
    pub look_every: Duration,
    /// Bytes of log that are copied at a time.
    pub copy_bytes: u64,
    /// Rows of a checkpoint that are copied at a time.
    pub copy_rows: usize,
    /// A start goes on without a zone that makes no progress for so long.
    pub look_timeout: Duration,
    /// A directory that is found empty, or without its identity, is rebuilt only when it has been so for this long: one that is being mounted, moved or
    /// restored has time to show what it holds.
    pub empty_grace: Duration,
}

impl Default for KeeperSettings {
    fn default() -> Self {
        Self {
            retry_min: Duration::from_millis(100),
            retry_max: Duration::from_secs(5),
            source_timeout: Duration::from_secs(5),
            look_every: Duration::from_millis(500),
            copy_bytes: 4 << 20,
            copy_rows: 2000,
            look_timeout: Duration::from_secs(10),
            empty_grace: Duration::from_secs(2),
        }
    }
}

/// What a keeper is started with: what the start found and decided.
pub(super) enum Task {
    Join(Arc<ZoneDirectory>, ZoneLog),
    /// Lost its memory: begins a new life, the one given where its last one was ended already.
    NewLife(String, Option<Incarnation>),
    /// Keeps its life, gets a new catalog, has no vote meanwhile.
    NewCatalog(String),
    /// Keeps its life and its vote, but what it missed is no longer in the others' logs: gets a newer catalog.
    Refresh(String),
    LookAgain(ZonePhase),
}

pub(super) struct Keeper<M: Machine> {
    pub place: Place,
    pub store: StoreId,
    pub settings: KeeperSettings,
    pub applier_settings: ApplierSettings,
    pub engine: Arc<dyn KeyValueEngine>,
    pub events: mpsc::UnboundedSender<Event<M>>,
    pub shared: Arc<Shared>,
    pub status: watch::Sender<ZoneStatus>,
    /// Which zones were mount points when they were last seen (L9).
    pub mount_points: watch::Sender<[bool; ZONE_COUNT]>,
    /// The number of the link that is being made or in force.
    pub link: u64,
    /// The last index whose sync this process saw succeed.
    pub trusted_index: Option<u64>,
    /// Keeps other processes out for as long as this one keeps the zone (L10).
    pub lock: Option<Arc<ZoneLock>>,
    /// Since when the directory has been found empty.
    pub empty_since: Option<Instant>,
}

/// Why a zone could not be joined.
enum Failure {
    Retry(String),
    /// Its log or its checkpoint cannot be used.
    NewCatalog(String),
    /// Its log is whole, its checkpoint cannot be used.
    StateLost(String),
    /// The other zones' logs no longer hold what it lacks.
    TooFarBehind,
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Retry(error.to_string())
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Io(error) => error.into(),
            other => Self::NewCatalog(other.to_string()),
        }
    }
}

fn gone<E>(_: E) -> Failure {
    Failure::Retry("the service is stopping".to_owned())
}

impl<M: Machine> Keeper<M> {
    /// Keeps the zone until the sequencer is gone.
    pub(super) async fn run(mut self, first: Task) {
        let mut task = first;
        let mut pause = self.settings.retry_min;
        loop {
            let began = Instant::now();
            let zone = self.place.names[self.place.zone.get()].clone();
            let result = match task {
                Task::Join(directory, log) => self.join(directory, log).await,
                Task::NewLife(reason, begun) => {
                    tracing::warn!(%zone, %reason, "the zone has lost its memory and is rebuilt from the others");
                    self.new_life(&reason, begun).await
                }
                Task::NewCatalog(reason) => {
                    tracing::warn!(%zone, %reason, "the zone's catalog is rebuilt from the others");
                    self.new_catalog(&reason).await
                }
                Task::Refresh(reason) => {
                    tracing::warn!(%zone, %reason, "the zone's catalog is copied from another");
                    self.refresh(&reason).await
                }
                Task::LookAgain(phase) => {
                    self.tell(phase, None);
                    Err(Failure::Retry(String::new()))
                }
            };
            if self.events.is_closed() {
                return;
            }
            let mut rebuild = None;
            match result {
                Ok(Ended::Retired(next)) => {
                    rebuild = Some(Task::NewLife("its segments have lost their memory".to_owned(), Some(next)));
                }
                Ok(Ended::Away(reason)) => {
                    if began.elapsed() >= self.settings.retry_max {
                        // It took part until now: the next try is worth making soon.
                        pause = self.settings.retry_min;
                    }
                    tracing::warn!(%zone, %reason, "the zone is away");
                    self.tell(ZonePhase::Away(reason), None);
                }
                Err(Failure::Retry(reason)) if reason.is_empty() => {}
                Err(Failure::Retry(reason)) => {
                    tracing::debug!(%zone, %reason, "the zone cannot join yet");
                    self.tell(ZonePhase::Away(reason), None);
                }
                Err(Failure::NewCatalog(reason)) => rebuild = Some(Task::NewCatalog(reason)),
                Ok(Ended::StateLost(reason)) | Err(Failure::StateLost(reason)) => rebuild = Some(Task::Refresh(reason)),
                Err(Failure::TooFarBehind) => {
                    rebuild = Some(Task::Refresh("the other zones' logs no longer hold what it missed".to_owned()));
                }
            }
            task = if let Some(task) = rebuild {
                task
            } else {
                tokio::select! {
                    () = self.events.closed() => return,
                    () = tokio::time::sleep(pause) => {}
                }
                pause = (pause * 2).min(self.settings.retry_max);
                self.look().await
            };
        }
    }

    /// Decides what to do with what lies at the zone's path now. The store serves meanwhile, so its history is known.
    async fn look(&mut self) -> Task {
        let Ok(history) = self.history().await else {
            return Task::LookAgain(ZonePhase::Opening);
        };
        let index = self.place.zone.get();
        let was_mount_point = self.mount_points.borrow()[index];
        let progress = AtomicU64::new(0);
        let Looked { found, lock, log } = self.place.look(Some(self.store), was_mount_point, self.lock.take(), &progress).await;
        self.lock = lock;
        if !matches!(found, Found::Empty | Found::NoMemory(_)) {
            self.empty_since = None;
        }
        let mark = history.marks[index];
        let identity = match &found {
            Found::Empty => return self.lost("its directory is empty"),
            Found::NoMemory(reason) => return self.lost(reason),
            Found::Away(reason) => return Task::LookAgain(ZonePhase::Away(reason.clone())),
            Found::Refused(reason) => return Task::LookAgain(ZonePhase::Refused(reason.clone())),
            Found::Member(member) => &member.identity,
            Found::Voteless(identity, _) => identity,
        };
        if holds(Rule::L9) {
            if identity.store != self.store {
                return Task::LookAgain(ZonePhase::Refused(format!("it belongs to another store, {}", identity.store)));
            }
            if identity.zone != self.place.names[index] {
                let own = &self.place.names[index];
                let words = format!(
                    "it holds the zone {}, not {own}: were directories swapped? Put it back in its place.",
                    identity.zone
                );
                return Task::LookAgain(ZonePhase::Refused(words));
            }
        }
        if identity.incarnation.0 < mark.incarnation && holds(Rule::L7) {
            return Task::NewLife(format!("it is of incarnation {}, which was retired", identity.incarnation), None);
        }
        match (found, log) {
            (Found::Member(found), Some(log)) => {
                if found.last.index < mark.log_index && holds(Rule::L7) {
                    let (has, had) = (found.last.index, mark.log_index);
                    return Task::NewLife(format!("its log ends with batch {has}, and it had batch {had}: an old copy?"), None);
                }
                match self.place.take(&found.identity, self.lock.clone(), log, self.trusted_index).await {
                    Ok((directory, log)) => {
                        self.lock = Some(directory.lock().clone());
                        Task::Join(directory, log)
                    }
                    Err(OpenError::Io(error)) => Task::LookAgain(ZonePhase::Away(error.to_string())),
                    Err(error) => Task::NewCatalog(error.to_string()),
                }
            }
            (Found::Voteless(_, reason), _) => Task::NewCatalog(reason),
            _ => Task::LookAgain(ZonePhase::Opening),
        }
    }

    /// Without memory: rebuilt, once it has been so for a while.
    fn lost(&mut self, reason: &str) -> Task {
        let since = *self.empty_since.get_or_insert_with(Instant::now);
        if since.elapsed() < self.settings.empty_grace {
            return Task::LookAgain(ZonePhase::Away(reason.to_owned()));
        }
        self.empty_since = None;
        Task::NewLife(reason.to_owned(), None)
    }

    fn tell(&self, phase: ZonePhase, directory: Option<Arc<ZoneDirectory>>) {
        self.status.send_replace(ZoneStatus { phase, directory });
    }

    async fn history(&self) -> Result<History, Failure> {
        let (reply, answer) = oneshot::channel();
        self.events.send(Event::History(reply)).map_err(gone)?;
        answer.await.map_err(gone)
    }

    fn open_state(&self, path: &Path) -> Result<Arc<dyn KeyValue>, Failure> {
        self.engine.open(path).map_err(|error| match error {
            // Its log is whole: it keeps its vote while it gets another copy of the state.
            KeyValueError::Damaged { .. } => Failure::StateLost(error.to_string()),
            // In use by a reader that is not done, or a disk that does not answer: nothing is lost.
            _ => Failure::Retry(format!("its key-value store cannot be opened: {error}")),
        })
    }

    /// Joins a zone that has its memory. Returns, with the reason, once it no longer takes part.
    async fn join(&mut self, directory: Arc<ZoneDirectory>, log: ZoneLog) -> Result<Ended, Failure> {
        self.tell(ZonePhase::Opening, None);
        let epoch = self.history().await?.epoch;
        directory.update(|identity| identity.promise = identity.promise.max(epoch)).await?;
        directory.remove_other_catalogs().await?;
        let state = self.open_state(&directory.checkpoint_path())?;
        let base = log.base_index();
        let applied = state.applied().map_or(0, |applied| applied.index);
        if applied < base {
            return Err(Failure::NewCatalog(format!(
                "its key-value store ends with batch {applied}, its log starts after {base}"
            )));
        }
        self.take_part(directory, log, state, true).await
    }

    /// Catches up, links, and stays until the link ends.
    async fn take_part(
        &mut self,
        directory: Arc<ZoneDirectory>,
        log: ZoneLog,
        state: Arc<dyn KeyValue>,
        has_vote: bool,
    ) -> Result<Ended, Failure> {
        self.link += 1;
        let (zone, number) = (self.place.zone, self.link);
        let mut last = log.last();
        let spares = log.spares();
        let (durable_sender, mut durable) = watch::channel(last.index);
        let events = self.events.clone();
        let (worker, running) = LogWorker::new(log, (self.shared.statistics.clone(), zone), move |report| {
            if let Report::Durable(index) = report {
                durable_sender.send_replace(index);
            }
            let _ = events.send(Event::Report(zone, number, report));
        });
        let (worker_ended_sender, worker_ended) = oneshot::channel::<()>();
        let executor = self.place.environment.executor.clone();
        let name = &self.place.names[zone.get()];
        executor.spawn_worker(
            &format!("log {name}"),
            Box::pin(async move {
                running.await;
                drop(worker_ended_sender);
            }),
        );
        let result = self.take_part_with(&directory, &worker, &mut last, &mut durable, state, has_vote, spares).await;
        // The files may be opened again only when nobody writes to them any more.
        self.trusted_index = Some(*durable.borrow());
        worker.close();
        drop(worker);
        let _ = worker_ended.await;
        self.trusted_index = Some(*durable.borrow()).max(self.trusted_index);
        result
    }

    #[allow(clippy::too_many_arguments, reason = "one caller")]
    async fn take_part_with(
        &mut self,
        directory: &Arc<ZoneDirectory>,
        worker: &LogWorker,
        last: &mut Position,
        durable: &mut watch::Receiver<u64>,
        state: Arc<dyn KeyValue>,
        has_vote: bool,
        spares: Arc<super::spares::Spares>,
    ) -> Result<Ended, Failure> {
        let (zone, number) = (self.place.zone, self.link);
        let executor = self.place.environment.executor.clone();
        let events = self.events.clone();
        let (applier_ended_sender, applier_ended) = oneshot::channel::<()>();
        let parts = Parts {
            state: state.clone(),
            log: worker.clone(),
            trim_floor: self.shared.trim_floor.clone(),
            applying: self.shared.applying.clone(),
            progress: Arc::default(),
            settings: self.applier_settings,
        };
        let (applier, running) = Applier::new(parts, move |told| {
            let _ = match told {
                Told::TakenOver { request, applied } => events.send(Event::TakenOver(zone, request, applied)),
                Told::Failed(ended) => events.send(Event::Unlink(zone, number, ended)),
            };
        });
        executor.spawn_worker(
            &format!("apply {}", self.place.names[zone.get()]),
            Box::pin(async move {
                running.await;
                drop(applier_ended_sender);
            }),
        );
        let applied = state.applied();
        let result = async {
            let mut ended = loop {
                self.catch_up(worker, last, durable).await?;
                if let Some(applied) = applied.filter(|applied| applied.index > 0)
                    && !is_of_history(applied, &self.history().await?, worker).await?
                {
                    let index = applied.index;
                    return Err(Failure::StateLost(format!("its key-value store holds another batch {index} than the log")));
                }
                let linking = Linking {
                    zone,
                    link: number,
                    worker: worker.clone(),
                    applier: applier.clone(),
                    state: state.clone(),
                    last: *last,
                    votes: has_vote,
                };
                let (reply, answer) = oneshot::channel();
                self.events.send(Event::Link(Box::new(linking), reply)).map_err(gone)?;
                match answer.await.map_err(gone)? {
                    Linked::Yes(ended) => break ended,
                    Linked::Behind => tokio::task::yield_now().await,
                }
            };
            if !has_vote {
                // L7: from the moment its identity says so, a restart will count on its log: all of it must be there by then.
                let committed = self.history().await?.last.index;
                let failed = |_| Failure::Retry("its log failed".to_owned());
                durable.wait_for(|index| *index >= committed).await.map_err(failed)?;
                directory.update(|identity| identity.state = ZoneState::Formed).await?;
                self.events.send(Event::Vote(zone, number)).map_err(gone)?;
                self.events.send(Event::Hold(zone, None)).map_err(gone)?;
            }
            if let Ok(mounted) = self.place.environment.disk.is_mount_point(&self.place.path).await {
                self.mount_points.send_modify(|mount_points| mount_points[zone.get()] = mounted);
            }
            let mount_points = *self.mount_points.borrow();
            directory.update(|identity| identity.mount_points = mount_points).await?;
            self.tell(ZonePhase::Voting, Some(directory.clone()));
            let making_spares = async {
                if let Err(error) = spares.run().await {
                    tracing::warn!(%error, "no log files can be made ready; appends go on without");
                }
                std::future::pending::<()>().await;
            };
            let looking = async {
                // L6 for a zone that nobody writes to: a directory that is gone is noticed all the same.
                loop {
                    tokio::time::sleep(self.settings.look_every).await;
                    if let Err(error) = directory.check_present().await {
                        return error.to_string();
                    }
                }
            };
            tokio::select! {
                biased;
                reason = &mut ended => Ok(reason.unwrap_or_else(|_| Ended::Away("the service is stopping".to_owned()))),
                reason = looking => {
                    let _ = self.events.send(Event::Unlink(zone, number, Ended::Away(reason.clone())));
                    Ok(Ended::Away(reason))
                }
                () = making_spares => Ok(Ended::Away(String::new())),
            }
        }
        .await;
        if result.is_err() {
            let _ = self.events.send(Event::Unlink(zone, number, Ended::Away("it could not join".to_owned())));
        }
        drop(applier);
        let _ = applier_ended.await;
        result
    }

    /// Brings the zone's log to what the sequencer still has in memory, from the logs of linked zones (L3).
    async fn catch_up(&self, worker: &LogWorker, last: &mut Position, durable: &mut watch::Receiver<u64>) -> Result<(), Failure> {
        let mut copy_bytes = self.settings.copy_bytes;
        loop {
            let history = self.history().await?;
            let common = common_position(&history, worker, *last, self.settings.source_timeout).await?;
            if common.index < last.index {
                if holds(Rule::L3) {
                    worker.cut_after(common.index, history.epoch).await?;
                }
                *last = common;
            }
            self.tell(ZonePhase::CatchingUp { at: last.index, of: history.last.index }, None);
            let first_recent = history.recent.front().map_or(history.last.index, |batch| batch.position.index - 1);
            if last.index >= first_recent || !holds(Rule::L1) {
                return Ok(());
            }
            let (mut copied, mut timed_out) = (None, false);
            for (source, log) in &history.sources {
                if *source == self.place.zone {
                    continue;
                }
                let read = log.read(last.index + 1, copy_bytes);
                match tokio::time::timeout(self.settings.source_timeout, read).await {
                    Ok(Ok(batches)) if !batches.is_empty() => {
                        copied = Some(batches);
                        break;
                    }
                    Ok(Err(OpenError::Trimmed { .. })) => {
                        copied.get_or_insert_with(Vec::new);
                    }
                    Ok(Err(OpenError::Damage(damage))) => {
                        let zone = &self.place.names[source.get()];
                        tracing::warn!(%zone, %damage, "a log is damaged; another zone's is read instead");
                    }
                    // Nothing there, or not now: the next one.
                    Ok(Ok(_) | Err(_)) => {}
                    Err(_) => timed_out = true,
                }
            }
            if copied.is_none() && timed_out && copy_bytes > 1 {
                // A slow disk, perhaps, and not a hung one: it is asked for less.
                copy_bytes = (copy_bytes / 64).max(1);
                continue;
            }
            copy_bytes = (copy_bytes * 4).min(self.settings.copy_bytes);
            let Some(batches) = copied else {
                return Err(Failure::Retry("no other zone can be read from".to_owned()));
            };
            let Some(end) = batches.last().map(|batch: &Arc<Batch>| batch.position) else {
                return Err(Failure::TooFarBehind);
            };
            worker.append(batches).map_err(gone)?;
            durable.wait_for(|index| *index >= end.index).await.map_err(|_| Failure::Retry("its log failed".to_owned()))?;
            *last = end;
        }
    }

    /// Gives the zone a new incarnation, with nothing in it, and rebuilds its catalog.
    async fn new_life(&mut self, reason: &str, begun: Option<Incarnation>) -> Result<Ended, Failure> {
        self.tell(ZonePhase::Rebuilding { reason: reason.to_owned(), rows: 0 }, None);
        self.wait_until_serving().await?;
        self.trusted_index = None;
        let history = self.history().await?;
        let index = self.place.zone.get();
        let (disk, path) = (self.place.environment.disk.clone(), self.place.path.clone());
        // Only what is surely without memory begins a new life: between the decision and now it may have come back.
        let old = Incarnation(history.marks[index].incarnation);
        let incarnation = if begun == Some(old) {
            // Nothing was ever kept under it: whoever ended the life before asked this keeper for the next.
            old
        } else {
            let (reply, answer) = oneshot::channel();
            self.events.send(Event::Retire(self.place.zone, old, reply)).map_err(gone)?;
            answer.await.map_err(gone)?.map_err(|error| Failure::Retry(error.to_string()))?
        };
        zone_directory::retire_contents(&*disk, &path, &old.to_string()).await?;
        let mounted = disk.is_mount_point(&path).await.unwrap_or(false);
        self.mount_points.send_modify(|mount_points| mount_points[index] = mounted);
        let identity = Identity {
            format: IDENTITY_FORMAT,
            store: self.store,
            zone: self.place.names[index].clone(),
            zones: self.place.names.clone(),
            mount_points: *self.mount_points.borrow(),
            incarnation,
            state: ZoneState::Rebuilding,
            promise: history.epoch,
            catalog: 0,
        };
        let directory = Arc::new(ZoneDirectory::create_with(disk, &path, identity, self.lock.take()).await?);
        self.lock = Some(directory.lock().clone());
        self.copy_catalog(directory, reason, false).await
    }

    /// Keeps the zone's life and chunks, and rebuilds its catalog from the others.
    async fn new_catalog(&mut self, reason: &str) -> Result<Ended, Failure> {
        self.tell(ZonePhase::Rebuilding { reason: reason.to_owned(), rows: 0 }, None);
        self.wait_until_serving().await?;
        self.wait_for_two_voters().await?;
        self.trusted_index = None;
        let (disk, path) = (self.place.environment.disk.clone(), self.place.path.clone());
        let Inspection::Identity(identity) = self.place.inspect().await? else {
            return Err(Failure::Retry("its identity is gone".to_owned()));
        };
        let directory = Arc::new(ZoneDirectory::open_with(disk, &path, &identity, self.lock.take()).await?);
        self.lock = Some(directory.lock().clone());
        let epoch = self.history().await?.epoch;
        // No vote from here until the copy is complete, whatever happens in between.
        let no_vote = |identity: &mut Identity| {
            identity.state = ZoneState::Rebuilding;
            identity.promise = identity.promise.max(epoch);
        };
        directory.update(no_vote).await?;
        self.copy_catalog(directory, reason, false).await
    }

    /// Gives the zone a newer catalog beside the one it has, and its vote with it: until the moment of the change it votes with the old one.
    async fn refresh(&mut self, reason: &str) -> Result<Ended, Failure> {
        self.tell(ZonePhase::Rebuilding { reason: reason.to_owned(), rows: 0 }, None);
        self.trusted_index = None;
        let (disk, path) = (self.place.environment.disk.clone(), self.place.path.clone());
        let Inspection::Identity(identity) = self.place.inspect().await? else {
            return Err(Failure::Retry("its identity is gone".to_owned()));
        };
        let directory = Arc::new(ZoneDirectory::open_with(disk, &path, &identity, self.lock.take()).await?);
        self.lock = Some(directory.lock().clone());
        self.copy_catalog(directory, reason, true).await
    }

    /// Not for ever: what lies at the zone's path may be another thing meanwhile.
    async fn wait_until_serving(&self) -> Result<(), Failure> {
        let end = Instant::now() + self.settings.look_timeout;
        while self.shared.reader.read().is_none() {
            if self.events.is_closed() {
                return Err(gone(()));
            }
            if Instant::now() >= end {
                return Err(Failure::Retry("no other zone can be read from".to_owned()));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    /// A vote is given up only while the store has two without it.
    async fn wait_for_two_voters(&self) -> Result<(), Failure> {
        let end = Instant::now() + self.settings.look_timeout;
        while self.history().await?.voters.iter().filter(|zone| **zone != self.place.zone).count() < 2 {
            if Instant::now() >= end {
                return Err(Failure::Retry("it waits for two other zones that vote".to_owned()));
            }
            tokio::time::sleep(self.settings.retry_min).await;
        }
        Ok(())
    }

    async fn copy_catalog(&mut self, directory: Arc<ZoneDirectory>, reason: &str, has_vote: bool) -> Result<Ended, Failure> {
        let zone = self.place.zone;
        let committed = self.history().await?.last.index;
        self.events.send(Event::Hold(zone, Some(committed.saturating_sub(1)))).map_err(gone)?;
        let result = self.copy_catalog_held(directory, reason, has_vote).await;
        let _ = self.events.send(Event::Hold(zone, None));
        result
    }

    async fn copy_catalog_held(&mut self, directory: Arc<ZoneDirectory>, reason: &str, has_vote: bool) -> Result<Ended, Failure> {
        let disk = self.place.environment.disk.clone();
        let (snapshot, base) = loop {
            let (reply, answer) = oneshot::channel();
            self.events.send(Event::Snapshot(reply)).map_err(gone)?;
            if let Some(taken) = answer.await.map_err(gone)? {
                break taken;
            }
            // A batch is under way; between two there is a moment.
            tokio::time::sleep(Duration::from_millis(1)).await;
        };
        let epoch = self.history().await?.epoch;
        directory.remove_other_catalogs().await?;
        let catalog = directory.identity().catalog + 1;
        let log_path = directory.path().join(format!("log-{catalog}"));
        let checkpoint = directory.path().join(format!("checkpoint-{catalog}"));
        let state = self.open_state(&checkpoint)?;
        let unfinished = Applied { index: 0, epoch: 0, checksum: 0 };
        let failed = |error: KeyValueError| Failure::Retry(error.to_string());
        let mut rows = 0;
        for number in Table::MINIMUM..=Table::MAXIMUM {
            let table = Table::new(number);
            let mut writes = Vec::new();
            for row in snapshot.range(table, std::ops::Bound::Unbounded, std::ops::Bound::Unbounded) {
                let (key, value) = row.map_err(failed)?;
                writes.push(Write::Put { table, key, value });
                rows += 1;
                if writes.len() >= self.settings.copy_rows {
                    state.apply(&writes, unfinished).map_err(failed)?;
                    writes.clear();
                    self.tell(ZonePhase::Rebuilding { reason: reason.to_owned(), rows }, None);
                    directory.check_present().await?;
                    tokio::task::yield_now().await;
                }
            }
            if !writes.is_empty() {
                state.apply(&writes, unfinished).map_err(failed)?;
            }
        }
        drop(snapshot);
        let position = base.position;
        let applied = Applied { index: position.index, epoch: position.epoch, checksum: position.checksum };
        state.apply(&[], applied).map_err(failed)?;
        state.persist().map_err(failed)?;
        disk.sync_directory(directory.path()).await?;
        let log = ZoneLog::create(directory.clone(), log_path, self.place.log_settings, base, epoch).await?;
        // One file changes hands: a crash leaves the old catalog in force, or the new one.
        directory.update(|identity| identity.catalog = catalog).await?;
        directory.remove_other_catalogs().await?;
        self.take_part(directory, log, state, has_vote).await
    }
}

/// Whether what a zone's store holds is the history, as far as can be told: of batches that were trimmed everywhere nothing is known.
async fn is_of_history(applied: Applied, history: &History, worker: &LogWorker) -> Result<bool, Failure> {
    let known = match worker.position_at(applied.index).await? {
        Some(position) => Some(position),
        None => history.recent.iter().map(|batch| batch.position).find(|position| position.index == applied.index),
    };
    Ok(match known {
        Some(known) => (known.epoch, known.checksum) == (applied.epoch, applied.checksum),
        None => applied.index <= history.last.index,
    })
}

/// The last position that the zone's log shares with the history.
async fn common_position(history: &History, worker: &LogWorker, last: Position, timeout: Duration) -> Result<Position, Failure> {
    let highest = last.index.min(history.last.index);
    let shared = async |index: u64| -> Result<Option<Position>, Failure> {
        let own = worker.position_at(index).await?;
        let known = known_position(history, index, timeout).await?;
        Ok(own.filter(|own| known == Some(own.checksum)))
    };
    // Equal at one index means equal at all before it (L1). What differs, if anything, is the end: look there first, then in growing steps.
    let (mut probe, mut step, mut differs) = (highest, 1, highest + 1);
    let mut common = loop {
        if let Some(position) = shared(probe).await? {
            break position;
        }
        if probe == 0 {
            // What the others no longer hold is committed: it lacks at least that.
            return Err(Failure::TooFarBehind);
        }
        differs = probe;
        probe = highest.saturating_sub(step);
        step *= 2;
    };
    while differs - common.index > 1 {
        let middle = common.index + (differs - common.index) / 2;
        match shared(middle).await? {
            Some(position) => common = position,
            None => differs = middle,
        }
    }
    Ok(common)
}

/// The checksum of the history at an index, from memory or from a linked zone's log; `None` where neither reaches.
async fn known_position(history: &History, index: u64, timeout: Duration) -> Result<Option<u128>, Failure> {
    for batch in &history.recent {
        if batch.position.index == index {
            return Ok(Some(batch.position.checksum));
        }
        if batch.position.index == index + 1 {
            return Ok(Some(batch.previous));
        }
    }
    let mut answered = false;
    for (_, source) in &history.sources {
        match tokio::time::timeout(timeout, source.position_at(index)).await {
            Ok(Ok(Some(position))) => return Ok(Some(position.checksum)),
            Ok(Ok(None)) => answered = true,
            Ok(Err(_)) | Err(_) => {}
        }
    }
    // Where nobody can be asked nothing is known; that must not be taken for a history without this batch.
    if answered { Ok(None) } else { Err(Failure::Retry("no other zone's log can be compared with".to_owned())) }
}
