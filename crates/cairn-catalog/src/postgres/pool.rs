//! Connections that are open, and no more than there may be.
//!
//! Why not a pool from a library: a connection here is a lane whose last commit must be settled before it may be used again (P2), counts only
//! while its server is known to be the primary (P4), and is waited for through a fail-over within a bound; what is left for a library is a
//! list and a semaphore.

use std::sync::Arc;
use std::time::Duration;

use cairn_disk::Clock;
use cairn_types::Incarnation;
use cairn_types::ids::ZONE_COUNT;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::connection::{Connection, Wanted, may_be_several, way_to};
use super::failure::Failure;
use super::pulse::Pulse;
use super::settings::{PostgresSettings, Primary};
use crate::{CatalogError, CatalogResult, ConfirmedSettings};

/// How long to wait before a server is asked again that did not let anybody in.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(100);
/// A connection that nobody has used for so long is closed: the way that it goes may have forgotten it.
const IDLE_MAX: Duration = Duration::from_mins(1);

/// Why an answer was not waited for any longer.
const TOO_LATE: &str = "the catalog database does not answer over this connection";

pub(super) struct Pool {
    settings: PostgresSettings,
    pulse: Arc<Pulse>,
    /// With when they were used last, in that order.
    idle: Mutex<Vec<(Instant, Connection)>>,
    free: Arc<Semaphore>,
}

/// A connection in use. Dropped without [`Pool::give_back`], it is closed, and the server ends its transaction.
pub(super) struct Taken {
    connection: Connection,
    for_writing: bool,
    since: Instant,
    _place: OwnedSemaphorePermit,
}

impl Pool {
    /// An empty one, for the runtime that this is called in.
    pub(super) fn new(settings: PostgresSettings, clock: Arc<dyn Clock>) -> Self {
        let free = Arc::new(Semaphore::new(settings.connections_max.max(1)));
        let pulse = Pulse::new(&settings);
        tokio::spawn(super::hearts::beat_on(pulse.clone(), settings.clone(), clock));
        // A string that is none is told to whoever asks. Of one server there is nothing to compare.
        let hosts = super::connection::hosts(&settings).unwrap_or_default();
        if hosts.len() > 1 || hosts.iter().any(may_be_several) {
            for host in hosts {
                tokio::spawn(pulse.clone().look_on(settings.clone(), host));
            }
        }
        Self { settings, pulse, idle: Mutex::default(), free }
    }

    /// The server that counts, for the moment (P4).
    pub(super) fn believed(&self) -> Option<Arc<Primary>> {
        self.pulse.believed()
    }

    /// What is answered over this connection within an attempt's time, if it counts (P4); else why it does not. Whatever is asked of a server goes through here, so that
    /// nobody forgets to ask behind the answer: see [`Pulse::counted`]. Heartbeats go over a connection of their own: they say nothing of a flow that is gone.
    pub(super) async fn counted<T>(&self, connection: &Taken, asked: impl Future<Output = T>) -> Result<T, &'static str> {
        match tokio::time::timeout(self.settings.attempt_max(), self.counted_at_last(connection, asked)).await {
            Ok(counted) => counted,
            Err(_) => Err(TOO_LATE),
        }
    }

    /// The same, of what may take as long as it likes.
    pub(super) async fn counted_at_last<T>(&self, connection: &Taken, asked: impl Future<Output = T>) -> Result<T, &'static str> {
        self.pulse.counted(connection.primary.life, connection.for_writing, asked).await
    }

    /// A commit over this lane was acknowledged, and its answer counted: a catalog that lacks it has forgotten (P5).
    pub(super) fn acknowledged(&self, lane: i64, number: i64) {
        self.pulse.acknowledged(lane, number);
    }

    /// What the last heartbeat said of the settings (R3).
    pub(super) fn confirmed_settings(&self) -> Option<ConfirmedSettings> {
        self.pulse.confirmed_settings()
    }

    /// The zones' incarnations, as this gateway believes them to be: whoever commits by them has them compared.
    pub(super) fn incarnations(&self) -> Option<[Incarnation; ZONE_COUNT]> {
        self.pulse.incarnations()
    }

    pub(super) fn settings(&self) -> &PostgresSettings {
        &self.settings
    }

    /// A connection to the server that counts, once there is one.
    pub(super) async fn take(&self, for_writing: bool, until: Instant) -> CatalogResult<Taken> {
        loop {
            // Before there is a place for it: those who wait until a new primary is written to keep no reader out.
            self.pulse.primary(for_writing, until).await?;
            let place = match tokio::time::timeout_at(until, self.free.clone().acquire_owned()).await {
                Ok(Ok(place)) => place,
                Ok(Err(_)) => return Err(CatalogError::Unavailable("the catalog is closed".to_owned())),
                Err(_) => return Err(CatalogError::Busy("no connection to the catalog database is free".to_owned())),
            };
            let Some(primary) = self.pulse.primary_now(for_writing) else { continue };
            if let Some(connection) = self.take_idle(&primary, for_writing) {
                return Ok(Taken { connection, for_writing, since: Instant::now(), _place: place });
            }
            let Ok(way) = way_to(&self.settings, &primary.place) else {
                return Err(CatalogError::Unavailable("no catalog database answers".to_owned()));
            };
            // To that very server, and to no other one that may be nearer.
            let wanted = Wanted::Only(primary.life);
            match tokio::time::timeout_at(until, Connection::open_on(&self.settings, way, &wanted)).await {
                Ok(Ok(connection)) => {
                    return Ok(Taken { connection, for_writing, since: Instant::now(), _place: place });
                }
                Ok(Err(Failure::Answer(error))) => return Err(error),
                Ok(Err(Failure::Again(reason) | Failure::Gone(reason) | Failure::Unknown(reason))) => {
                    drop(place);
                    if Instant::now() + ASK_AGAIN_AFTER >= until {
                        return Err(CatalogError::Unavailable(reason));
                    }
                    tokio::time::sleep(ASK_AGAIN_AFTER).await;
                }
                Err(_) => return Err(CatalogError::Unavailable("no catalog database answers".to_owned())),
            }
        }
    }

    /// One that is open, leads to that server, and has not been idle for long. Those that will not do are closed.
    fn take_idle(&self, primary: &Primary, for_writing: bool) -> Option<Connection> {
        let mut idle = self.idle.lock();
        idle.retain(|(used, connection)| {
            used.elapsed() < IDLE_MAX && connection.is_open() && connection.primary.life == primary.life
        });
        while let Some((_, connection)) = idle.pop() {
            if !(for_writing && connection.has_old_lane()) {
                return Some(connection);
            }
        }
        None
    }

    /// Takes a connection back whose transaction is over and whose last commit is settled.
    pub(super) fn give_back(&self, taken: Taken) {
        if taken.connection.is_open() {
            self.idle.lock().push((Instant::now(), taken.connection));
        }
    }

    /// Leaves a connection that has failed, and those idle ones that nobody has used since it was taken: what has become of its way may have become of theirs. Those that have
    /// answered since have proven themselves.
    pub(super) fn drop_failed(&self, taken: Taken) {
        let since = taken.since;
        drop(taken);
        self.idle.lock().retain(|(used, _)| *used >= since);
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.pulse.end();
    }
}

impl std::ops::Deref for Taken {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.connection
    }
}

impl std::ops::DerefMut for Taken {
    fn deref_mut(&mut self) -> &mut Connection {
        &mut self.connection
    }
}
