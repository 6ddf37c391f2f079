//! How a start finds out what there is, makes a store, and readies the zones that vote.
//!
//! Every step on a zone runs on a worker of its own and is waited for only as long as it makes progress, so a disk that hangs keeps nobody but
//! itself from starting. Nothing is touched before [`super::decide`] has found two voters, or three places for a new store.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cairn_disk::zone_directory::{IDENTITY_FORMAT, Identity, Inspection, ZoneDirectory, ZoneLock, ZoneState};
use cairn_disk::{Environment, Executor};
use cairn_types::ids::ZONE_COUNT;
use cairn_types::{Incarnation, StoreId, ZoneIndex};
use tokio::sync::oneshot;

use super::decide::{Found, majority, rank};
use super::place::{Looked, Place};
use super::rules::{Rule, holds};
use super::zone_log::{Base, LogFound, ZoneLog};

pub(super) type Locks = [Option<Arc<ZoneLock>>; ZONE_COUNT];
/// A zone that is ready: its log is open, and it has promised the epoch.
pub(super) type Ready = (Arc<ZoneDirectory>, ZoneLog);

/// Runs on a worker; `None` when it makes no progress for so long. What it brings after that is dropped.
async fn bounded<T: Send + 'static>(
    executor: &Arc<dyn Executor>,
    name: &str,
    limit: Duration,
    progress: Arc<AtomicU64>,
    work: impl Future<Output = T> + Send + 'static,
) -> Option<T> {
    let (sender, mut receiver) = oneshot::channel();
    let sending = async move {
        let _ = sender.send(work.await);
    };
    executor.spawn_worker(name, Box::pin(sending));
    loop {
        let before = progress.load(Ordering::Relaxed);
        match tokio::time::timeout(limit, &mut receiver).await {
            Ok(answer) => return answer.ok(),
            Err(_) if progress.load(Ordering::Relaxed) == before => return None,
            Err(_) => {}
        }
    }
}

fn hangs(limit: Duration) -> String {
    format!("it has not answered for {} s", limit.as_secs_f32())
}

/// What lies at each place, and which of them any zone remembers as mount points. Changes nothing.
pub(super) async fn look_at_all(
    places: &[Place; ZONE_COUNT],
    locks: Locks,
    limit: Duration,
) -> ([Looked; ZONE_COUNT], [bool; ZONE_COUNT]) {
    let inspect = async |place: &Place| {
        let (executor, place) = (place.environment.executor.clone(), place.clone());
        let name = format!("look {}", place.names[place.zone.get()]);
        bounded(&executor, &name, limit, Arc::default(), async move { place.inspect().await }).await
    };
    let [first, second, third] = places;
    let inspections: [_; ZONE_COUNT] = futures::join!(inspect(first), inspect(second), inspect(third)).into();
    let mut mount_points = [false; ZONE_COUNT];
    let mut stores = Vec::new();
    for inspection in &inspections {
        if let Some(Ok(Inspection::Identity(identity))) = inspection {
            stores.push(identity.store);
            for (known, told) in mount_points.iter_mut().zip(identity.mount_points) {
                *known |= told;
            }
        }
    }
    let store = majority(&stores);
    let [first_lock, second_lock, third_lock] = locks;
    let look = async |place: &Place, lock: Option<Arc<ZoneLock>>| {
        let index = place.zone.get();
        if inspections[index].is_none() {
            return Looked::away(hangs(limit));
        }
        let (executor, place) = (place.environment.executor.clone(), place.clone());
        let (progress, was_mount_point) = (Arc::new(AtomicU64::new(0)), mount_points[index]);
        let name = format!("look {}", place.names[index]);
        let seen = progress.clone();
        let looking = async move { place.look(store, was_mount_point, lock, &seen).await };
        bounded(&executor, &name, limit, progress, looking).await.unwrap_or_else(|| Looked::away(hangs(limit)))
    };
    let looked = futures::join!(look(first, first_lock), look(second, second_lock), look(third, third_lock));
    (looked.into(), mount_points)
}

/// L8: every zone says *forming* durably before any says *formed*, and all say *formed* before anything is acknowledged.
pub(super) async fn form(
    environment: Environment,
    places: [Place; ZONE_COUNT],
    locks: Locks,
    store: Option<StoreId>,
    limit: Duration,
) -> io::Result<Locks> {
    let executor = environment.executor.clone();
    let forming = form_now(environment, places, locks, store);
    let formed = bounded(&executor, "form", limit, Arc::default(), forming).await;
    formed.unwrap_or_else(|| Err(io::Error::other(format!("a zone has not answered for {} s", limit.as_secs_f32()))))
}

async fn form_now(
    environment: Environment,
    places: [Place; ZONE_COUNT],
    mut locks: Locks,
    store: Option<StoreId>,
) -> io::Result<Locks> {
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
    for (place, lock) in places.iter().zip(&mut locks) {
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
        let directory = Arc::new(ZoneDirectory::create_with(disk.clone(), &place.path, identity, lock.take()).await?);
        *lock = Some(directory.lock().clone());
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
    Ok(locks)
}

/// Takes a zone that votes, and lets it promise the epoch (L2): no batch of it is written before two have. The error says why not.
pub(super) async fn make_ready(
    place: &Place,
    found: &Found,
    lock: Option<Arc<ZoneLock>>,
    log: Option<LogFound>,
    epoch: u64,
    limit: Duration,
) -> Result<Ready, String> {
    let (Found::Member(member), Some(log)) = (found, log) else {
        return Err("it has no log".to_owned());
    };
    let (executor, place, identity) = (place.environment.executor.clone(), place.clone(), member.identity.clone());
    let name = format!("take {}", place.names[place.zone.get()]);
    let taking = async move {
        let (directory, log) = place.take(&identity, lock, log, None).await.map_err(|error| error.to_string())?;
        if holds(Rule::L2) {
            directory.update(|identity| identity.promise = epoch).await.map_err(|error| error.to_string())?;
        }
        Ok((directory, log))
    };
    bounded(&executor, &name, limit, Arc::default(), taking).await.unwrap_or_else(|| Err(hangs(limit)))
}

/// Of the zones that are ready, the one whose log is the history (L3).
pub(super) fn newest(ready: &[Option<Ready>; ZONE_COUNT]) -> Option<(ZoneIndex, Base)> {
    let logs = ZoneIndex::ALL.into_iter().filter_map(|zone| ready[zone.get()].as_ref().map(|(_, log)| (zone, log)));
    let (zone, log) = logs.max_by_key(|(_, log)| rank(log.last()))?;
    Some((zone, Base { position: log.last(), time_ms: log.last_time_ms(), marks: log.last_marks() }))
}
