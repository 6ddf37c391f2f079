//! Which server counts (P3, P4), and what time it is (T1).
//!
//! Twice a second each gateway commits a heartbeat, as strictly as any write. A primary that was cut off from its standbys cannot acknowledge it; so
//! what a server says counts only while a heartbeat that was sent to it less than 3 s ago has come back, on the timeline that the connection
//! was opened on. A primary that has just been promoted gets no writes for 5 s: by then nobody believes the old one any more.
//!
//! A primary whose manager has died may go on, standbys and all, while another server is promoted, and what it acknowledges from then on is thrown away. So
//! a heartbeat counts only with a *witness* who says that this server's right lasts for longer than the heartbeat counts; and every host is looked
//! at as often, for one that writes a later timeline.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use cairn_disk::Clock;
use cairn_types::Incarnation;
use cairn_types::ids::ZONE_COUNT;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use super::columns::unsigned;
use super::connection::Connection;
use super::failure::Failure;
use super::settings::{PostgresSettings, Replication};
use crate::embedded::log::catalog_time::CatalogTime;
use crate::{CatalogError, CatalogResult, ConfirmedSettings};

/// How often.
const EVERY: Duration = Duration::from_millis(500);
/// How long a heartbeat counts from when it was sent.
const COUNTS_FOR: Duration = Duration::from_secs(3);
/// How often lanes are forgotten that nobody uses any more.
const FORGET_EVERY: Duration = Duration::from_mins(1);
/// How long a timeline must have been there before it is written on.
const NO_WRITES_FOR: Duration = Duration::from_secs(5);

/// Why an answer was thrown away.
pub(super) const NOT_PROVEN: &str = "the catalog database has not proven lately that it is the primary (P4)";

/// A heartbeat that came back.
#[derive(Debug, Clone, Copy)]
struct Beat {
    sent: Instant,
    timeline: i64,
    /// From when on this timeline is written on.
    writes_from: Instant,
    /// The zones' incarnations, where all are formed.
    incarnations: Option<[Incarnation; ZONE_COUNT]>,
    /// The settings' epoch, read behind the sending.
    epoch: u64,
    /// Catalog time.
    time: cairn_types::CatalogTime,
}

/// See the module's documentation.
pub(super) struct Pulse {
    last: watch::Sender<Option<Beat>>,
    /// The timeline that this gateway sees, and since when it does.
    seen: Mutex<Option<(i64, Instant)>>,
    /// Once the server was found to acknowledge alone, an administrator has to look (P3).
    is_alone: AtomicBool,
    /// The latest timeline that any of the hosts writes.
    latest: AtomicI64,
    /// Whether nobody needs it any more.
    is_over: AtomicBool,
    /// Why no server will do, where that is for an administrator to settle.
    refused: Mutex<Option<CatalogError>>,
}

impl Pulse {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            last: watch::channel(None).0,
            seen: Mutex::default(),
            is_alone: AtomicBool::new(false),
            latest: AtomicI64::new(0),
            is_over: AtomicBool::new(false),
            refused: Mutex::default(),
        })
    }

    /// Ends its tasks.
    pub(super) fn end(&self) {
        self.is_over.store(true, Ordering::Release);
    }

    /// Beats until it is over.
    pub(super) async fn beat_on(self: Arc<Self>, settings: PostgresSettings, clock: Arc<dyn Clock>) {
        let mut connection = None;
        let mut time: Option<CatalogTime> = None;
        let mut kept_time = None;
        let mut forget_next = Instant::now() + FORGET_EVERY;
        while !self.is_over.load(Ordering::Acquire) {
            let next = Instant::now() + EVERY;
            // One that hangs is left to itself: the next one may find another server.
            match tokio::time::timeout(COUNTS_FOR, self.beat(&settings, &*clock, &mut connection, &mut time, &mut kept_time))
                .await
            {
                Ok(Ok(())) => {
                    *self.refused.lock() = None;
                    if Instant::now() >= forget_next {
                        forget_next = Instant::now() + FORGET_EVERY;
                        forget_lanes(&mut connection).await;
                    }
                }
                Ok(Err(failure)) => {
                    tracing::warn!(?failure, "no heartbeat on the catalog database");
                    connection = None;
                    if let Failure::Answer(error) = failure {
                        *self.refused.lock() = Some(error);
                        self.last.send_modify(|_| {});
                    }
                }
                Err(_) => {
                    tracing::warn!("the catalog database does not acknowledge a heartbeat");
                    connection = None;
                }
            }
            tokio::time::sleep_until(next).await;
        }
    }

    async fn beat(
        &self,
        settings: &PostgresSettings,
        clock: &dyn Clock,
        kept: &mut Option<Connection>,
        time: &mut Option<CatalogTime>,
        kept_time: &mut Option<u64>,
    ) -> Result<(), Failure> {
        // Taken out: what is dropped in the middle is not used again.
        let connection = match kept.take() {
            Some(connection) => connection,
            None => Connection::open(settings).await?,
        };
        let (sent, monotonic) = (Instant::now(), clock.monotonic());
        let proposed = time.as_mut().map_or(0, |time| time.advance(monotonic, clock.wall()));
        let statement = connection.statement("SELECT * FROM beat($1, $2, $3, $4)").await?;
        connection.has_warned();
        let witness = async {
            match &settings.witness {
                // Asked behind the sending, so its answer holds for longer than the heartbeat counts.
                Some(witness) => witness.keeps_its_right(connection.host.clone()).await,
                None => Ok(COUNTS_FOR),
            }
        };
        let proposed = proposed.cast_signed();
        // What the last heartbeat that was acknowledged was told: no server that has everything acknowledged can be behind it (P5).
        let known = kept_time.map_or(0, u64::cast_signed);
        let lock = super::locks::new_session(settings);
        let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 4] = [&connection.lane, &proposed, &known, &lock];
        let (row, right) = futures::join!(connection.client().query_one(&statement, &parameters), witness);
        let row = row?;
        if connection.has_warned() {
            return Err(Failure::Gone("the database warned while it committed".to_owned()));
        }
        let (timeline, age_ms): (i64, i64) = (row.get(0), row.get(1));
        if timeline != connection.timeline {
            return Err(Failure::Gone("the timeline has changed under a connection".to_owned()));
        }
        match right {
            Ok(right) if right >= COUNTS_FOR => {}
            Ok(_) => return Err(Failure::Gone("the primary may lose its right to be it any moment".to_owned())),
            Err(reason) => return Err(Failure::Gone(format!("nobody says that this is the primary: {reason}"))),
        }
        if timeline < self.latest.load(Ordering::Acquire) {
            return Err(Failure::Gone("another server writes a later timeline".to_owned()));
        }
        if settings.replication == Replication::Required && !row.get::<_, bool>(2) && !self.is_alone.swap(true, Ordering::AcqRel)
        {
            tracing::error!(
                "synchronous_standby_names is empty: nothing is written any more, until this gateway is started again (P3)"
            );
        }
        *kept_time = Some(unsigned(row.get(3)));
        *time = Some(CatalogTime::resume(unsigned(row.get(3)), monotonic));
        let writes_from = self.writes_from(timeline, Duration::from_millis(unsigned(age_ms.max(0))), sent);
        let incarnations: Vec<i64> = row.get(4);
        let incarnations = incarnations.iter().map(|number| Incarnation(unsigned(*number))).collect::<Vec<_>>().try_into().ok();
        let (epoch, time) = (unsigned(row.get(5)), cairn_types::CatalogTime(unsigned(row.get(3))));
        self.last.send_modify(|last| {
            // Looked at in here, so that a look that has just found another server is not overruled.
            if timeline >= self.latest.load(Ordering::Acquire) {
                *last = Some(Beat { sent, timeline, writes_from, incarnations, epoch, time });
            }
        });
        *kept = Some(connection);
        Ok(())
    }

    /// Looks at one of the hosts until it is over. Where it writes a later timeline than the one that is believed, that counts no more, at
    /// once: its server has been replaced, whatever it says, and whoever acknowledges its commits will throw them away.
    pub(super) async fn look_on(self: Arc<Self>, settings: PostgresSettings, host: tokio_postgres::Config) {
        let mut kept = None;
        while !self.is_over.load(Ordering::Acquire) {
            let next = Instant::now() + EVERY;
            let look = Connection::look(&mut kept, &settings, &host);
            if let Ok(Ok(Some(timeline))) = tokio::time::timeout(COUNTS_FOR, look).await {
                self.latest.fetch_max(timeline, Ordering::AcqRel);
                self.last.send_if_modified(|beat| {
                    let is_over = beat.is_some_and(|beat| beat.timeline < timeline);
                    if is_over {
                        tracing::error!(timeline, "another server of the catalog database writes a later timeline");
                        *beat = None;
                    }
                    is_over
                });
            }
            tokio::time::sleep_until(next).await;
        }
    }

    /// By the database's clock, and by this gateway's own where it has served on an earlier timeline.
    fn writes_from(&self, timeline: i64, age: Duration, now: Instant) -> Instant {
        let by_the_database = now + NO_WRITES_FOR.saturating_sub(age);
        let mut seen = self.seen.lock();
        match *seen {
            Some((before, since)) if before == timeline => by_the_database.max(since),
            Some(_) => {
                let since = now + NO_WRITES_FOR;
                *seen = Some((timeline, since));
                by_the_database.max(since)
            }
            None => {
                *seen = Some((timeline, now));
                by_the_database
            }
        }
    }

    /// The settings' epoch by the last heartbeat, for as long as that counts. It was confirmed when that was sent, not when it came back (R3).
    pub(super) fn confirmed_settings(&self) -> Option<ConfirmedSettings> {
        let beat = self.last.borrow().filter(|beat| beat.sent.elapsed() < COUNTS_FOR)?;
        Some(ConfirmedSettings { epoch: beat.epoch, confirmed: beat.sent, time: beat.time })
    }

    /// The zones' incarnations, as the last heartbeat found them: a guess.
    pub(super) fn incarnations(&self) -> Option<[Incarnation; ZONE_COUNT]> {
        self.last.borrow().and_then(|beat| beat.incarnations)
    }

    /// The timeline that counts.
    pub(super) fn believed(&self) -> Option<i64> {
        self.last.borrow().filter(|beat| beat.sent.elapsed() < COUNTS_FOR).map(|beat| beat.timeline)
    }

    /// What is answered over a connection of this timeline, if that counts both while it is waited for (a server that is cut off may keep an answer back for ever)
    /// and behind the answer: in a process that stood still, an answer is there, and so is the end of the belief, and the answer may be one that the
    /// server gave when another one had been promoted.
    pub(super) async fn counted<T>(&self, timeline: i64, asked: impl Future<Output = T>) -> Result<T, &'static str> {
        let answered = tokio::select! {
            biased;
            answered = asked => answered,
            () = self.no_longer_counts(timeline) => return Err(NOT_PROVEN),
        };
        if self.counts(timeline) { Ok(answered) } else { Err(NOT_PROVEN) }
    }

    fn counts(&self, timeline: i64) -> bool {
        self.last.borrow().is_some_and(|beat| beat.timeline == timeline && beat.sent.elapsed() < COUNTS_FOR)
    }

    async fn no_longer_counts(&self, timeline: i64) {
        let mut beats = self.last.subscribe();
        loop {
            let beat = *beats.borrow_and_update();
            let Some(beat) = beat.filter(|beat| beat.timeline == timeline && beat.sent.elapsed() < COUNTS_FOR) else {
                return;
            };
            if let Ok(Err(_)) = tokio::time::timeout_at(beat.sent + COUNTS_FOR, beats.changed()).await {
                return;
            }
        }
    }

    /// The timeline that counts now, once there is one.
    pub(super) async fn timeline(&self, for_writing: bool, until: Instant) -> CatalogResult<i64> {
        let mut beats = self.last.subscribe();
        loop {
            if for_writing && self.is_alone.load(Ordering::Acquire) {
                return Err(CatalogError::Unavailable("the catalog database has acknowledged alone (P3)".to_owned()));
            }
            let beat = *beats.borrow_and_update();
            let mut look_again = until;
            if let Some(beat) = beat.filter(|beat| beat.sent.elapsed() < COUNTS_FOR) {
                if !for_writing || beat.writes_from <= Instant::now() {
                    return Ok(beat.timeline);
                }
                look_again = beat.writes_from.min(until);
            } else if let Some(error) = self.refused.lock().clone() {
                return Err(error);
            }
            match tokio::time::timeout_at(look_again, beats.changed()).await {
                Ok(Err(_)) => return Err(CatalogError::Unavailable("the catalog is closed".to_owned())),
                Err(_) if Instant::now() >= until => {
                    return Err(CatalogError::Unavailable("no catalog database that acknowledges writes".to_owned()));
                }
                Ok(Ok(())) | Err(_) => {}
            }
        }
    }
}

/// Forgets lanes of connections that are gone; a connection on which that hangs is left.
async fn forget_lanes(kept: &mut Option<Connection>) {
    // Taken out: what is dropped in the middle is not used again.
    let Some(connection) = kept.take() else { return };
    match tokio::time::timeout(EVERY, connection.forget_lanes()).await {
        Ok(Ok(count)) => {
            tracing::debug!(count, "lanes of connections that are gone were forgotten");
            *kept = Some(connection);
        }
        Ok(Err(error)) => tracing::debug!(%error, "lanes are not forgotten"),
        Err(_) => {}
    }
}

#[cfg(test)]
mod tests;
