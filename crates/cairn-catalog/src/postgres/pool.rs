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

use super::connection::Connection;
use super::failure::Failure;
use super::pulse::Pulse;
use super::settings::PostgresSettings;
use crate::{CatalogError, CatalogResult, ConfirmedSettings};

/// How long to wait before the hosts are asked again, where none takes writes.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// Why an answer was not waited for any longer.
const TOO_LATE: &str = "the catalog database does not answer over this connection";

pub(super) struct Pool {
    settings: PostgresSettings,
    pulse: Arc<Pulse>,
    idle: Mutex<Vec<Connection>>,
    free: Arc<Semaphore>,
}

/// A connection in use. Dropped without [`Taken::give_back`], it is closed, and the server ends its transaction.
pub(super) struct Taken {
    connection: Connection,
    _place: OwnedSemaphorePermit,
}

impl Pool {
    /// An empty one, for the runtime that this is called in.
    pub(super) fn new(settings: PostgresSettings, clock: Arc<dyn Clock>) -> Self {
        let free = Arc::new(Semaphore::new(settings.connections_max.max(1)));
        let pulse = Pulse::new();
        tokio::spawn(pulse.clone().beat_on(settings.clone(), clock));
        // A string that is none is told to whoever asks. Of one host there is nothing to compare.
        let hosts = super::connection::hosts(&settings).unwrap_or_default();
        if hosts.len() > 1 {
            for host in hosts {
                tokio::spawn(pulse.clone().look_on(settings.clone(), host));
            }
        }
        Self { settings, pulse, idle: Mutex::default(), free }
    }

    /// The timeline that counts, for the moment (P4).
    pub(super) fn believed(&self) -> Option<i64> {
        self.pulse.believed()
    }

    /// What is answered over this connection within an attempt's time, if it counts (P4); else why it does not. Whatever is asked of a server goes through here, so that
    /// nobody forgets to ask behind the answer: see [`Pulse::counted`]. Heartbeats go over a connection of their own: they say nothing of a flow that is gone.
    pub(super) async fn counted<T>(&self, connection: &Connection, asked: impl Future<Output = T>) -> Result<T, &'static str> {
        match tokio::time::timeout(self.settings.attempt_max(), self.counted_at_last(connection, asked)).await {
            Ok(counted) => counted,
            Err(_) => Err(TOO_LATE),
        }
    }

    /// The same, of what may take as long as it likes.
    pub(super) async fn counted_at_last<T>(
        &self,
        connection: &Connection,
        asked: impl Future<Output = T>,
    ) -> Result<T, &'static str> {
        self.pulse.counted(connection.timeline, asked).await
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
        let place = match tokio::time::timeout_at(until, self.free.clone().acquire_owned()).await {
            Ok(Ok(place)) => place,
            Ok(Err(_)) => return Err(CatalogError::Unavailable("the catalog is closed".to_owned())),
            Err(_) => return Err(CatalogError::Busy("no connection to the catalog database is free".to_owned())),
        };
        loop {
            let timeline = self.pulse.timeline(for_writing, until).await?;
            let idle = self.idle.lock().pop();
            if let Some(connection) = idle {
                if connection.is_open() && connection.timeline == timeline && !(for_writing && connection.has_old_lane()) {
                    return Ok(Taken { connection, _place: place });
                }
                continue;
            }
            match tokio::time::timeout_at(until, Connection::open(&self.settings)).await {
                Ok(Ok(connection)) if connection.timeline == timeline => return Ok(Taken { connection, _place: place }),
                // Of another server: the pulse will say which of them counts.
                Ok(Ok(_)) => tokio::time::sleep(ASK_AGAIN_AFTER).await,
                Ok(Err(Failure::Answer(error))) => return Err(error),
                Ok(Err(Failure::Again(reason) | Failure::Gone(reason) | Failure::Unknown(reason))) => {
                    if Instant::now() + ASK_AGAIN_AFTER >= until {
                        return Err(CatalogError::Unavailable(reason));
                    }
                    tokio::time::sleep(ASK_AGAIN_AFTER).await;
                }
                Err(_) => return Err(CatalogError::Unavailable("no catalog database answers".to_owned())),
            }
        }
    }

    /// Takes a connection back whose transaction is over and whose last commit is settled.
    pub(super) fn give_back(&self, taken: Taken) {
        if taken.connection.is_open() {
            self.idle.lock().push(taken.connection);
        }
    }

    /// Leaves all connections that are idle.
    pub(super) fn drop_idle(&self) {
        self.idle.lock().clear();
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
