//! The connections that heartbeats go over.
//!
//! A heartbeat is sent every half second, whether or not the last one has come back: over another connection then, of which there are a few. So a server that takes two seconds for a commit is still
//! believed, and one that hangs is found out by the next. Opening a connection has a time of its own, for a server that is slow to let somebody in is no reason to give up another one. Each host is asked at the
//! same time, and by one attempt at a time, which is left to itself: an old primary that lets connections in and acknowledges nothing keeps nobody from finding the new one, and is not
//! filled with attempts that hang.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use cairn_disk::Clock;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::connection::{Connection, Wanted, hosts};
use super::failure::Failure;
use super::pulse::{COUNTS_FOR, EVERY, Pulse};
use super::settings::PostgresSettings;
use crate::CatalogError;

/// How many heartbeats may be under way.
const HEARTS_MAX: usize = 4;
/// How long one attempt to open a connection may take.
const OPENING_MAX: Duration = Duration::from_secs(30);
/// How often lanes are forgotten that nobody uses any more.
const FORGET_EVERY: Duration = Duration::from_mins(1);

/// How an attempt to open a connection to a host of this place in the string ended.
type Opened = (usize, Result<Connection, Failure>);

struct Hearts {
    pulse: Arc<Pulse>,
    settings: PostgresSettings,
    clock: Arc<dyn Clock>,
    hosts: Vec<tokio_postgres::Config>,
    idle: Vec<Connection>,
    beats: JoinSet<Result<Connection, Failure>>,
    openings: JoinSet<Opened>,
    opening: BTreeSet<usize>,
    /// Why the last attempt at each host failed, where an administrator has to settle it.
    failed: BTreeMap<usize, Option<CatalogError>>,
    forget_next: Instant,
}

/// Beats until it is over.
pub(super) async fn beat_on(pulse: Arc<Pulse>, settings: PostgresSettings, clock: Arc<dyn Clock>) {
    let hosts = match hosts(&settings) {
        Ok(hosts) => hosts,
        Err(Failure::Answer(error)) => return pulse.refuse(Some(error)),
        Err(_) => return,
    };
    let mut hearts = Hearts {
        pulse,
        settings,
        clock,
        hosts,
        idle: Vec::new(),
        beats: JoinSet::new(),
        openings: JoinSet::new(),
        opening: BTreeSet::new(),
        failed: BTreeMap::new(),
        forget_next: Instant::now() + FORGET_EVERY,
    };
    let mut next = Instant::now();
    while !hearts.pulse.is_over() {
        tokio::select! {
            biased;
            Some(ended) = hearts.beats.join_next() => if let Ok(ended) = ended { hearts.ended(ended) },
            Some(opened) = hearts.openings.join_next() => if let Ok(opened) = opened { hearts.opened(opened) },
            () = tokio::time::sleep_until(next) => {
                // By turns a little sooner or later than others do: those that have lost the same server do not all come to the next one at the same moment.
                let jitter = hearts.idle.last().map_or(0, |heart| heart.lane.rem_euclid(50).unsigned_abs());
                next = Instant::now() + EVERY - Duration::from_millis(jitter);
                match hearts.idle.pop() {
                    Some(heart) => hearts.beat(heart),
                    None => hearts.open(),
                }
            }
        }
    }
}

impl Hearts {
    fn beat(&mut self, mut heart: Connection) {
        let (pulse, settings, clock) = (self.pulse.clone(), self.settings.clone(), self.clock.clone());
        let is_forgetting = Instant::now() >= self.forget_next;
        if is_forgetting {
            self.forget_next = Instant::now() + FORGET_EVERY;
        }
        self.beats.spawn(async move {
            match tokio::time::timeout(COUNTS_FOR, pulse.beat(&settings, &*clock, &mut heart)).await {
                Ok(beaten) => beaten?,
                Err(_) => return Err(Failure::Gone("the catalog database does not acknowledge a heartbeat".to_owned())),
            }
            if is_forgetting { forget_lanes(heart).await } else { Ok(heart) }
        });
    }

    fn ended(&mut self, ended: Result<Connection, Failure>) {
        match ended {
            Ok(heart) => {
                self.pulse.refuse(None);
                self.idle.push(heart);
            }
            Err(failure) => {
                tracing::warn!(?failure, "no heartbeat on the catalog database");
                if let Failure::Answer(error) = failure {
                    self.pulse.refuse(Some(error));
                }
            }
        }
    }

    /// Asks all hosts at once that are not being asked already.
    fn open(&mut self) {
        if self.beats.len() >= HEARTS_MAX {
            return;
        }
        for (place, host) in self.hosts.iter().enumerate() {
            if !self.opening.insert(place) {
                continue;
            }
            self.failed.remove(&place);
            let (pulse, settings, host) = (self.pulse.clone(), self.settings.clone(), host.clone());
            self.openings.spawn(async move {
                let open = Connection::open(&settings, &host, Wanted::AnyThat(&pulse));
                let opened = tokio::time::timeout(OPENING_MAX, open).await;
                (place, opened.unwrap_or_else(|_| Err(Failure::Gone("the catalog database lets nobody in".to_owned()))))
            });
        }
    }

    fn opened(&mut self, (place, opened): Opened) {
        self.opening.remove(&place);
        match opened {
            Ok(heart) => {
                self.failed.remove(&place);
                if self.beats.len() + self.idle.len() < HEARTS_MAX {
                    self.beat(heart);
                }
            }
            Err(failure) => {
                tracing::debug!(?failure, place, "a host of the catalog database takes no heartbeats");
                let is_last = self.failed.len() + 1 >= self.hosts.len() && self.beats.is_empty() && self.idle.is_empty();
                if is_last {
                    tracing::warn!(?failure, "no host of the catalog database takes heartbeats");
                }
                let error = if let Failure::Answer(error) = failure { Some(error) } else { None };
                self.failed.insert(place, error);
                // Where one of them may yet be the one, nobody is told.
                if self.failed.len() == self.hosts.len() {
                    let error = self.failed.values().flatten().next().cloned();
                    if error.is_some() {
                        self.pulse.refuse(error);
                    }
                }
            }
        }
    }
}

/// Forgets lanes of connections that are gone; a connection on which that hangs is left.
async fn forget_lanes(heart: Connection) -> Result<Connection, Failure> {
    match tokio::time::timeout(EVERY, heart.forget_lanes()).await {
        Ok(Ok(count)) => {
            tracing::debug!(count, "lanes of connections that are gone were forgotten");
            Ok(heart)
        }
        Ok(Err(error)) => Err(error.into()),
        Err(_) => Err(Failure::Gone("lanes are not forgotten in time".to_owned())),
    }
}
