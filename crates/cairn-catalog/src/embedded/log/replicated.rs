//! The replicated log as its user sees it: opened over three zone directories, it takes commands and gives outcomes.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cairn_disk::Environment;
use cairn_disk::zone_directory::{IDENTITY_FORMAT, Identity, Inspection, ZoneDirectory, ZoneState};
use cairn_types::ids::ZONE_COUNT;
use cairn_types::{Incarnation, StoreId, ZoneIndex, ZoneName};
use parking_lot::{Mutex, RwLock};
use tokio::sync::{mpsc, oneshot, watch};

use super::applier::ApplierSettings;
use super::decide::{Found, Refusal, Role, Start, decide, majority};
use super::events::{Event, Life, Machine, SequencerSettings, Shared, Unavailable};
use super::keeper::{Keeper, KeeperSettings, Opened, Place, Task, ZonePhase, ZoneStatus};
use super::rules::{Rule, holds};
use super::sequencer::{Sequencer, Surroundings};
use super::work::{Slot, watch as watch_sequencer};
use super::zone_log::{Base, LogSettings, ZoneLog};
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

/// How long a start waits for two zones to agree before it says that they do not.
const ESTABLISH_TIMEOUT: Duration = Duration::from_secs(60);
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
        let mut settings = settings;
        settings.log.nonce_seed = environment.random.next_u64();
        let names = places.each_ref().map(|place| place.name.clone());
        let places = ZoneIndex::ALL.map(|zone| Place {
            zone,
            names: names.clone(),
            path: places[zone.get()].path.clone(),
            environment: environment.clone(),
            log_settings: settings.log,
        });
        let (mut opened, mut mount_points) = look_at_all(&places).await;
        let mut start = decide(&names, &opened.each_ref().map(|opened| opened.found.clone()));
        if let Start::Form { store } = start {
            drop(opened);
            form(&environment, &places, store).await.map_err(|error| StartError::Failed(error.to_string()))?;
            (opened, mount_points) = look_at_all(&places).await;
            start = decide(&names, &opened.each_ref().map(|opened| opened.found.clone()));
        }
        let (store, source, epoch, roles) = match start {
            Start::Serve { store, source, epoch, roles } => (store, source, epoch, roles),
            Start::Refuse(refusal) => return Err(StartError::Refused(refusal)),
            Start::Form { .. } => return Err(StartError::Failed("the store was made and is not there".to_owned())),
        };
        promise(epoch, &opened).await?;
        let history = opened[source.get()]
            .member
            .as_ref()
            .map(|(_, log)| Base { position: log.last(), time_ms: log.last_time_ms(), marks: log.last_marks() })
            .ok_or_else(|| StartError::Failed("the zone with the newest log went away".to_owned()))?;
        tracing::info!(%store, epoch, batch = history.position.index, "starting");
        let lives = history
            .marks
            .map(|mark| Mutex::new(Life { incarnation: Incarnation(mark.incarnation), segment_position: mark.segment_position }));
        let shared = Arc::new(Shared {
            reader: RwLock::new(None),
            trim_floor: Arc::default(),
            time_ms: AtomicU64::new(history.time_ms),
            lives,
        });
        let (commands, command_receiver) = mpsc::channel(settings.queue_length.unwrap_or(QUEUE_LENGTH));
        let (events, event_receiver) = mpsc::unbounded_channel();
        let slot = Arc::new(Slot::new());
        let watching = watch_sequencer(Arc::downgrade(&slot), settings.sequencer.move_after);
        let surroundings = Surroundings {
            machine: Arc::new(machine),
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
        let mut statuses = Vec::new();
        for (place, (opened, role)) in places.into_iter().zip(opened.into_iter().zip(roles)) {
            let status = watch::Sender::new(ZoneStatus { phase: ZonePhase::Opening, directory: None });
            statuses.push(status.subscribe());
            let name = format!("keep {}", place.names[place.zone.get()]);
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
            };
            environment.executor.spawn_worker(&name, Box::pin(keeper.run(first_task(opened, role))));
        }
        let zones = statuses.try_into().map_err(|_| StartError::Failed("a zone has no keeper".to_owned()))?;
        let replicated = Self { commands, events, shared, zones, store, epoch };
        match tokio::time::timeout(ESTABLISH_TIMEOUT, replicated.wait_until_serving()).await {
            Ok(()) => Ok(replicated),
            Err(_) => Err(StartError::Failed("two zones have not agreed on the log within 60 s".to_owned())),
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

async fn look_at_all(places: &[Place; ZONE_COUNT]) -> ([Opened; ZONE_COUNT], [bool; ZONE_COUNT]) {
    // What any zone remembers of the others' being mount points.
    let mut mount_points = [false; ZONE_COUNT];
    let mut stores = Vec::new();
    for place in places {
        if let Ok(Inspection::Identity(identity)) = place.inspect().await {
            stores.push(identity.store);
            for (known, told) in mount_points.iter_mut().zip(identity.mount_points) {
                *known |= told;
            }
        }
    }
    let store = majority(&stores);
    let [first, second, third] = places;
    let opened = futures::join!(
        first.open(store, mount_points[0], None),
        second.open(store, mount_points[1], None),
        third.open(store, mount_points[2], None),
    );
    (opened.into(), mount_points)
}

/// L8: every zone says *forming* durably before any says *formed*, and all say *formed* before anything is acknowledged.
async fn form(environment: &Environment, places: &[Place; ZONE_COUNT], store: Option<StoreId>) -> std::io::Result<()> {
    let disk = environment.disk.clone();
    let store = store.unwrap_or_else(|| {
        let mut bytes = [0; 16];
        environment.random.fill(&mut bytes);
        StoreId(u128::from_le_bytes(bytes))
    });
    let mut mount_points = [false; ZONE_COUNT];
    for (place, mount_point) in places.iter().zip(&mut mount_points) {
        disk.create_directory(&place.path).await?;
        *mount_point = disk.is_mount_point(&place.path).await?;
    }
    let mut directories = Vec::new();
    for place in places {
        if let Inspection::Identity(identity) = place.inspect().await?
            && identity.state == ZoneState::Formed
        {
            continue;
        }
        let identity = Identity {
            format: IDENTITY_FORMAT,
            store,
            zone: place.names[place.zone.get()].clone(),
            zones: place.names.clone(),
            mount_points,
            incarnation: Incarnation(1),
            state: ZoneState::Forming,
            promise: 0,
            catalog: 0,
        };
        let directory = Arc::new(ZoneDirectory::create(disk.clone(), &place.path, identity).await?);
        let time_ms = u64::try_from(environment.clock.wall().as_millis()).unwrap_or(u64::MAX);
        let mut base = Base { time_ms, ..Base::default() };
        for mark in &mut base.marks {
            mark.incarnation = 1;
        }
        ZoneLog::create(directory.clone(), directory.log_path(), place.log_settings, base, 0).await?;
        directories.push(directory);
        if !holds(Rule::L8) {
            break;
        }
    }
    for directory in &directories {
        directory.update(|identity| identity.state = ZoneState::Formed).await?;
    }
    Ok(())
}

/// L2: the epoch is promised in two zones before a batch of it is written.
async fn promise(epoch: u64, opened: &[Opened; ZONE_COUNT]) -> Result<(), StartError> {
    if !holds(Rule::L2) {
        return Ok(());
    }
    let mut promised = 0;
    let mut reasons = Vec::new();
    for opened in opened {
        if let (Found::Member(_), Some((directory, _))) = (&opened.found, &opened.member) {
            match directory.update(|identity| identity.promise = epoch).await {
                Ok(()) => promised += 1,
                Err(error) => reasons.push(error.to_string()),
            }
        }
    }
    if promised < 2 {
        return Err(StartError::Failed(format!("the new epoch could not be promised in two zones: {}", reasons.join("; "))));
    }
    Ok(())
}

fn first_task(opened: Opened, role: Role) -> Task {
    match (role, opened.member) {
        (Role::Voter, Some((directory, log))) => Task::Join(directory, log),
        (Role::Voter, None) => Task::LookAgain(ZonePhase::Opening),
        (Role::Lost(reason), _) => Task::NewLife(reason, None),
        (Role::RebuildCatalog(reason), _) => Task::NewCatalog(reason),
        (Role::Out(reason), _) if matches!(opened.found, Found::Refused(_)) => Task::LookAgain(ZonePhase::Refused(reason)),
        (Role::Out(reason), _) => Task::LookAgain(ZonePhase::Away(reason)),
    }
}
