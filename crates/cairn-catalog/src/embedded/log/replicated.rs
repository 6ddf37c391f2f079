//! The replicated log as its user sees it: opened over three zone directories, it takes commands and gives outcomes.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cairn_disk::Environment;
use cairn_types::ids::ZONE_COUNT;
use cairn_types::{Incarnation, StoreId, ZoneIndex, ZoneName};
use parking_lot::{Mutex, RwLock};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::applier::ApplierSettings;
use super::decide::{Found, Refusal, Role, Start, decide};
use super::events::{Event, Life, Machine, SequencerSettings, Shared, Unavailable};
use super::keeper::{Keeper, KeeperSettings, Task, ZonePhase, ZoneStatus};
use super::place::{Looked, Place};
use super::sequencer::{Sequencer, Surroundings};
use super::start::{Ready, form, look_at_all, make_ready, newest};
use super::statistics::Statistics;
use super::work::{Slot, watch as watch_sequencer};
use super::zone_log::{Base, LogSettings};
use crate::embedded::keyvalue::{KeyValue, KeyValueEngine};

/// A zone's name and where its directory is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZonePlace {
    /// The name.
    pub name: ZoneName,
    /// The directory.
    pub path: PathBuf,
}

/// Everything that can be set.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// The zones' log files.
    pub log: LogSettings,
    /// Batches.
    pub sequencer: SequencerSettings,
    /// Checkpoints.
    pub applier: ApplierSettings,
    /// How zones come back.
    pub keeper: KeeperSettings,
    /// Most commands that wait for a batch; more wait at their caller.
    pub queue_length: Option<usize>,
}

/// Why the log could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The zones do not add up to a store (L9).
    #[error("{0}")]
    Refused(Refusal),
    /// A zone failed while the store was being made or its epoch promised.
    #[error("the store could not be started: {0}")]
    Failed(String),
}

/// The open log.
pub struct Replicated<M: Machine> {
    commands: mpsc::Sender<Event<M>>,
    events: mpsc::UnboundedSender<Event<M>>,
    shared: Arc<Shared>,
    zones: [watch::Receiver<ZoneStatus>; ZONE_COUNT],
    store: StoreId,
    epoch: u64,
}

/// How long a start waits for two zones to agree, while nothing moves, before it says that they do not.
const ESTABLISH_TIMEOUT: Duration = Duration::from_secs(60);
/// How long making a store may take.
const FORM_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a stop waits for a zone's last checkpoint.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
const QUEUE_LENGTH: usize = 4096;

impl<M: Machine> Replicated<M> {
    /// Opens the store in these three places, or makes it where all are empty (L8). Serves when it returns.
    pub async fn open(
        environment: Environment,
        places: [ZonePlace; ZONE_COUNT],
        settings: Settings,
        engine: Arc<dyn KeyValueEngine>,
        machine: M,
    ) -> Result<Self, StartError> {
        let machine = Arc::new(machine);
        let mut passed_over = [false; ZONE_COUNT];
        loop {
            let mut settings = settings.clone();
            settings.log.nonce_seed = environment.random.next_u64();
            let names = places.each_ref().map(|place| place.name.clone());
            let places = ZoneIndex::ALL.map(|zone| Place {
                zone,
                names: names.clone(),
                path: places[zone.get()].path.clone(),
                environment: environment.clone(),
                log_settings: settings.log,
                mount_waived: false,
            });
            let decided = Decided::find(&environment, &places, &settings, passed_over).await?;
            let (source, others) = (decided.source, decided.ready.iter().flatten().count() - 1);
            let replicated = Self::spawn(&environment, places, &settings, &engine, machine.clone(), decided);
            match replicated.establish(source, others >= 2, settings.keeper.look_timeout).await {
                Established::Yes => return Ok(replicated),
                Established::No => {
                    return Err(StartError::Failed("two zones have not agreed on the log within 60 s".to_owned()));
                }
                Established::WithoutSource(reason) => {
                    // What it alone has, nobody was told; without it the other two begin.
                    tracing::warn!(zone = %names[source.get()], %reason, "the zone with the newest log cannot join");
                    passed_over[source.get()] = true;
                    replicated.abandon(source).await;
                }
            }
        }
    }

    fn spawn(
        environment: &Environment,
        places: [Place; ZONE_COUNT],
        settings: &Settings,
        engine: &Arc<dyn KeyValueEngine>,
        machine: Arc<M>,
        decided: Decided,
    ) -> Self {
        let Decided { store, epoch, history, roles, looked, ready, mount_points, .. } = decided;
        tracing::info!(%store, epoch, batch = history.position.index, "starting");
        let lives = history
            .marks
            .map(|mark| Mutex::new(Life { incarnation: Incarnation(mark.incarnation), segment_position: mark.segment_position }));
        let shared = Arc::new(Shared {
            reader: RwLock::new(None),
            trim_floor: Arc::default(),
            applying: Arc::default(),
            time_ms: AtomicU64::new(history.time_ms),
            lives,
            statistics: Arc::new(Statistics::starting_at(history.position.index)),
        });
        let (commands, command_receiver) = mpsc::channel(settings.queue_length.unwrap_or(QUEUE_LENGTH));
        let (events, event_receiver) = mpsc::unbounded_channel();
        let slot = Arc::new(Slot::new());
        let watching = watch_sequencer(Arc::downgrade(&slot), settings.sequencer.move_after);
        let surroundings = Surroundings {
            machine,
            settings: settings.sequencer.clone(),
            clock: environment.clock.clone(),
            executor: environment.executor.clone(),
            shared: shared.clone(),
            slot,
            commands: command_receiver,
            events: event_receiver,
        };
        let sequencer = Box::new(Sequencer::new(surroundings, store, epoch, history));
        environment.executor.spawn_worker("sequencer", Box::pin(sequencer.run()));
        environment.executor.spawn_worker("watch sequencer", Box::pin(watching));
        let mount_points = watch::Sender::new(mount_points);
        let statuses = [(); ZONE_COUNT].map(|()| watch::Sender::new(ZoneStatus { phase: ZonePhase::Opening, directory: None }));
        let zones = statuses.each_ref().map(watch::Sender::subscribe);
        let parts = places.into_iter().zip(statuses).zip(looked.into_iter().zip(ready).zip(roles));
        for ((place, status), ((looked, ready), role)) in parts {
            let name = format!("keep {}", place.names[place.zone.get()]);
            let lock = ready.as_ref().map(|(directory, _)| directory.lock().clone()).or(looked.lock);
            let task = first_task(&looked.found, ready, role);
            let keeper = Keeper {
                place,
                store,
                settings: settings.keeper,
                applier_settings: settings.applier,
                engine: engine.clone(),
                events: events.clone(),
                shared: shared.clone(),
                status,
                mount_points: mount_points.clone(),
                link: 0,
                trusted_index: None,
                lock,
                empty_since: None,
            };
            environment.executor.spawn_worker(&name, Box::pin(keeper.run(task)));
        }
        Self { commands, events, shared, zones, store, epoch }
    }

    /// Waits for two zones to agree. Gives up only when nothing has moved for a while, however long a copy takes.
    async fn establish(&self, source: ZoneIndex, others_can: bool, stuck_after: Duration) -> Established {
        let mut furthest = [(0, 0); ZONE_COUNT];
        let (mut moved, mut applying) = (Instant::now(), 0);
        let mut source_waits_since = Instant::now();
        while self.shared.reader.read().is_none() {
            for (zone, furthest) in self.zones.iter().zip(&mut furthest) {
                let now = match zone.borrow().phase {
                    ZonePhase::CatchingUp { at, .. } => (at, furthest.1),
                    ZonePhase::Rebuilding { rows, .. } => (furthest.0, rows),
                    _ => *furthest,
                };
                if now.0 > furthest.0 || now.1 > furthest.1 {
                    *furthest = (now.0.max(furthest.0), now.1.max(furthest.1));
                    moved = Instant::now();
                }
            }
            let applied = self.shared.applying.load(Ordering::Relaxed);
            if std::mem::replace(&mut applying, applied) != applied {
                moved = Instant::now();
            }
            let stuck = match self.zones[source.get()].borrow().phase.clone() {
                ZonePhase::Away(reason) | ZonePhase::Refused(reason) | ZonePhase::Rebuilding { reason, .. } => Some(reason),
                ZonePhase::Voting => {
                    source_waits_since = Instant::now();
                    None
                }
                _ => (source_waits_since.elapsed() >= stuck_after).then(|| "it does not answer".to_owned()),
            };
            if let Some(reason) = stuck.filter(|_| others_can) {
                return Established::WithoutSource(reason);
            }
            if moved.elapsed() >= ESTABLISH_TIMEOUT {
                return Established::No;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Established::Yes
    }

    /// Ends what was begun, so that it can be begun without this zone.
    async fn abandon(self, without: ZoneIndex) {
        let _ = self.events.send(Event::Abandon);
        for zone in ZoneIndex::ALL {
            let limit = if zone == without { Duration::from_millis(200) } else { STOP_TIMEOUT };
            let mut status = self.zones[zone.get()].clone();
            let _ = tokio::time::timeout(limit, async { while status.changed().await.is_ok() {} }).await;
        }
    }

    /// Evaluates a command and returns its outcome once it is durable in two zones and readable. Dropping the future leaves open
    /// whether the command takes effect.
    pub async fn submit(&self, command: M::Command) -> Result<M::Outcome, Unavailable> {
        let (reply, answer) = oneshot::channel();
        let stopping = || Unavailable::Refused("the service is stopping".to_owned());
        self.commands.send(Event::Command(command, reply)).await.map_err(|_| stopping())?;
        answer.await.unwrap_or_else(|_| Err(Unavailable::Unknown("the service stopped".to_owned())))
    }

    /// The state with every acknowledged command (R1). Take it anew for each request.
    pub fn reader(&self) -> Result<Arc<dyn KeyValue>, Unavailable> {
        let reader = self.shared.reader.read().clone();
        reader.ok_or_else(|| Unavailable::Refused("no zone's state can be read now".to_owned()))
    }

    /// Tells that a read of this state has not come back for long: reads and evaluation move to another zone, where one votes that can take
    /// over. Of a state that reads do not come from any more it changes nothing.
    pub fn read_hangs(&self, state: &Arc<dyn KeyValue>) {
        // A sequencer that has ended reads from nothing.
        let _ = self.events.send(Event::ReadHangs(state.clone()));
    }

    /// Waits until the state can be read.
    pub async fn wait_until_serving(&self) {
        loop {
            if self.shared.reader.read().is_some() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Returns when the log has ended.
    pub async fn stopped(&self) {
        self.events.closed().await;
    }

    /// What each zone is doing.
    pub fn zones(&self) -> &[watch::Receiver<ZoneStatus>; ZONE_COUNT] {
        &self.zones
    }

    /// The store's id.
    pub fn store(&self) -> StoreId {
        self.store
    }

    /// The epoch of this process.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// What the log has done and how far each zone is, for monitoring.
    pub fn statistics(&self) -> &Arc<Statistics> {
        &self.shared.statistics
    }

    /// How many batches the zones' logs have to keep: those that not every zone has, or whose zone is away.
    pub fn kept_batches(&self) -> u64 {
        self.shared.statistics.last_batch.get().saturating_sub(self.shared.trim_floor.load(Ordering::Relaxed))
    }

    /// Catalog time, ms, at most a quarter of a second old (T1).
    pub fn time_ms(&self) -> u64 {
        self.shared.time_ms.load(Ordering::Acquire)
    }

    /// A zone's present incarnation.
    pub fn incarnation(&self, zone: ZoneIndex) -> Incarnation {
        self.shared.lives[zone.get()].lock().incarnation
    }

    /// Tells the durable position of a zone's segments in this incarnation, which the next batches record (L7).
    pub fn set_segment_position(&self, zone: ZoneIndex, incarnation: Incarnation, position: u64) {
        let mut life = self.shared.lives[zone.get()].lock();
        if life.incarnation == incarnation {
            life.segment_position = life.segment_position.max(position);
        }
    }

    /// The highest durable position of a zone's segments in this incarnation that any batch recorded (L7).
    pub fn recorded_segment_position(&self, zone: ZoneIndex, incarnation: Incarnation) -> u64 {
        let life = self.shared.lives[zone.get()].lock();
        if life.incarnation == incarnation { life.segment_position } else { 0 }
    }

    /// Begins a new life of a zone whose segments have lost their memory; returns its incarnation. Does nothing where the zone's life is
    /// another one already.
    pub async fn retire(&self, zone: ZoneIndex, incarnation: Incarnation) -> Result<Incarnation, Unavailable> {
        let (reply, answer) = oneshot::channel();
        let stopping = || Unavailable::Refused("the service is stopping".to_owned());
        self.events.send(Event::Retire(zone, incarnation, reply)).map_err(|_| stopping())?;
        answer.await.unwrap_or_else(|_| Err(stopping()))
    }

    /// Finishes what is under way and stops.
    pub async fn stop(&self) {
        let (reply, answer) = oneshot::channel();
        if self.events.send(Event::Stop(reply)).is_ok() {
            // Without two zones what is under way never ends.
            if tokio::time::timeout(STOP_TIMEOUT, answer).await.is_err() {
                let _ = self.events.send(Event::Abandon);
            }
        }
        // Keepers checkpoint their zones; one whose disk hangs is not waited for.
        for zone in &self.zones {
            let mut zone = zone.clone();
            let _ = tokio::time::timeout(STOP_TIMEOUT, async { while zone.changed().await.is_ok() {} }).await;
        }
    }
}

/// What a start found, and has made ready.
struct Decided {
    store: StoreId,
    epoch: u64,
    source: ZoneIndex,
    history: Base,
    roles: [Role; ZONE_COUNT],
    looked: [Looked; ZONE_COUNT],
    ready: [Option<Ready>; ZONE_COUNT],
    mount_points: [bool; ZONE_COUNT],
}

enum Established {
    Yes,
    No,
    /// The zone with the newest log cannot join, and two others that vote can.
    WithoutSource(String),
}

impl Decided {
    /// Looks first, decides, and touches only then.
    async fn find(
        environment: &Environment,
        places: &[Place; ZONE_COUNT],
        settings: &Settings,
        passed_over: [bool; ZONE_COUNT],
    ) -> Result<Self, StartError> {
        let limit = settings.keeper.look_timeout;
        let names = &places[0].names;
        let (mut looked, mut mount_points) = look_at_all(places, Default::default(), limit).await;
        let mut start = decide(names, &looked.each_ref().map(|looked| looked.found.clone()));
        if let Start::Form { store } = start {
            let locks = looked.map(|looked| looked.lock);
            let formed = form(environment.clone(), places.clone(), locks, store, FORM_TIMEOUT).await;
            let locks = formed.map_err(|error| StartError::Failed(error.to_string()))?;
            (looked, mount_points) = look_at_all(places, locks, limit).await;
            start = decide(names, &looked.each_ref().map(|looked| looked.found.clone()));
        }
        let (store, epoch, mut roles) = match start {
            Start::Serve { store, epoch, roles, .. } => (store, epoch, roles),
            Start::Refuse(refusal) => return Err(StartError::Refused(refusal)),
            Start::Form { .. } => return Err(StartError::Failed("the store was made and is not there".to_owned())),
        };
        for (role, _) in roles.iter_mut().zip(passed_over).filter(|(role, passed_over)| *passed_over && **role == Role::Voter) {
            *role = Role::Out("it could not join with the newest log".to_owned());
        }
        let mut logs = looked.each_mut().map(|looked| looked.log.take());
        let mut making = Vec::new();
        for place in places {
            let index = place.zone.get();
            let log = logs[index].take();
            if roles[index] == Role::Voter {
                let Looked { found, lock, .. } = &looked[index];
                making.push(async move { (index, make_ready(place, found, lock.clone(), log, epoch, limit).await) });
            }
        }
        let mut ready = [const { None }; ZONE_COUNT];
        let mut reasons = Vec::new();
        for (index, made) in futures::future::join_all(making).await {
            match made {
                Ok(made) => ready[index] = Some(made),
                Err(reason) => {
                    reasons.push(format!("{}: {reason}", names[index]));
                    roles[index] = Role::Out(reason);
                }
            }
        }
        match newest(&ready) {
            Some((source, history)) if ready.iter().flatten().count() >= 2 => {
                Ok(Self { store, epoch, source, history, roles, looked, ready, mount_points })
            }
            _ => Err(StartError::Failed(format!("the new epoch could not be promised in two zones: {}", reasons.join("; ")))),
        }
    }
}

fn first_task(found: &Found, ready: Option<Ready>, role: Role) -> Task {
    match (role, ready) {
        (Role::Voter, Some((directory, log))) => Task::Join(directory, log),
        (Role::Voter, None) => Task::LookAgain(ZonePhase::Opening),
        // Looked at again before it is rebuilt.
        (Role::Lost(reason), _) if matches!(found, Found::Empty | Found::NoMemory(_)) => Task::LookAgain(ZonePhase::Away(reason)),
        (Role::Lost(reason), _) => Task::NewLife(reason, None),
        (Role::RebuildCatalog(reason), _) => Task::NewCatalog(reason),
        (Role::Out(reason), _) if matches!(found, Found::Refused(_)) => Task::LookAgain(ZonePhase::Refused(reason)),
        (Role::Out(reason), _) => Task::LookAgain(ZonePhase::Away(reason)),
    }
}
