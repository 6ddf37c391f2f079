//! Which server counts (P3, P4), and what this gateway was told (P5).
//!
//! Twice a second each gateway commits a heartbeat, as strictly as any write (`hearts`). A primary that was cut off from its standbys cannot acknowledge it; so
//! what a server says counts only while a heartbeat that was sent to it less than 3 s ago has come back, from the server that the connection
//! was opened to, in the same life of it. A primary that has just been promoted gets no writes for 5 s: by then nobody believes the old one any more.
//!
//! A primary whose manager has died may go on, standbys and all, while another server is promoted, and what it acknowledges from then on is thrown away. So
//! a heartbeat counts only with a *witness* who says that this server's right lasts for longer than the heartbeat counts; and every host is looked
//! at as often, for one that writes a later timeline.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cairn_disk::Clock;
use cairn_types::Incarnation;
use cairn_types::ids::ZONE_COUNT;
use futures::future::join_all;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use super::columns::unsigned;
use super::connection::{Connection, Line, ways};
use super::failure::Failure;
use super::settings::{Life, Place, PostgresSettings, Primary, Replication};
use super::timekeeper::Timekeeper;
use super::told::Told;
use crate::{CatalogError, CatalogResult, ConfirmedSettings};

/// How often.
pub(super) const EVERY: Duration = Duration::from_millis(500);
/// How long a heartbeat counts from when it was sent.
pub(super) const COUNTS_FOR: Duration = Duration::from_secs(3);
/// How long a timeline must have been there before it is written on.
const NO_WRITES_FOR: Duration = Duration::from_secs(5);
/// A timeline that was first seen so long ago, by catalog time, is written on at once by a gateway that has just been started. Longer than [`NO_WRITES_FOR`], for gateways' clocks are not quite one.
const SEEN_LONG_AGO: Duration = Duration::from_secs(10);
/// How long a host must have denied that it writes a timeline before it is forgotten that it did.
const DENIED_FOR: Duration = Duration::from_mins(1);
/// How often the names of hosts are looked up.
const RESOLVE_EVERY: Duration = Duration::from_secs(30);

/// Why an answer was thrown away.
pub(super) const NOT_PROVEN: &str = "the catalog database has not proven lately that it is the primary (P4)";
/// Why an acknowledgement was not believed.
const ALONE: &str = "the catalog database has acknowledged alone (P3)";

/// A heartbeat that came back.
#[derive(Debug, Clone)]
struct Beat {
    sent: Instant,
    primary: Arc<Primary>,
    /// From when on this server is written to.
    writes_from: Instant,
    /// The zones' incarnations, where all are formed.
    incarnations: Option<[Incarnation; ZONE_COUNT]>,
    /// The settings' epoch, read behind the sending.
    epoch: u64,
    /// Catalog time.
    time: cairn_types::CatalogTime,
}

impl Beat {
    fn is_of(&self, life: Life) -> bool {
        self.primary.life == life && self.counts()
    }

    fn counts(&self) -> bool {
        self.sent.elapsed() < COUNTS_FOR
    }
}

/// What a host was last seen to write.
struct Look {
    life: Life,
    answered: Instant,
    /// Since when it says that it does not.
    denied: Option<Instant>,
}

/// The server that this gateway sees.
struct Seen {
    primary: Arc<Primary>,
    writes_from: Instant,
}

/// See the module's documentation.
pub(super) struct Pulse {
    last: watch::Sender<Option<Beat>>,
    seen: Mutex<Option<Seen>>,
    /// Once the server was found to acknowledge alone, an administrator has to look (P3).
    is_alone: AtomicBool,
    looks: Mutex<BTreeMap<Place, Look>>,
    has_witness: bool,
    time: Mutex<Timekeeper>,
    /// What this gateway was told is done.
    pub(super) told: Mutex<Told>,
    /// Whether nobody needs it any more.
    is_over: AtomicBool,
    /// Why no server will do, where that is for an administrator to settle.
    refused: Mutex<Option<CatalogError>>,
}

/// Asks the witness, where there is one, whether this server's right lasts for longer than a heartbeat that is sent now would count.
pub(super) async fn ask_witness(settings: &PostgresSettings, primary: &Primary) -> Result<(), Failure> {
    let Some(witness) = &settings.witness else { return Ok(()) };
    match witness.keeps_its_right(primary.clone()).await {
        Ok(right) if right >= COUNTS_FOR => Ok(()),
        Ok(_) => Err(Failure::Gone("the primary may lose its right to be it any moment".to_owned())),
        Err(reason) => Err(Failure::Gone(format!("nobody says that this is the primary: {reason}"))),
    }
}

impl Pulse {
    pub(super) fn new(settings: &PostgresSettings) -> Arc<Self> {
        Arc::new(Self {
            last: watch::channel(None).0,
            seen: Mutex::default(),
            is_alone: AtomicBool::new(false),
            looks: Mutex::default(),
            has_witness: settings.witness.is_some(),
            time: Mutex::default(),
            told: Mutex::default(),
            is_over: AtomicBool::new(false),
            refused: Mutex::default(),
        })
    }

    /// Ends its tasks.
    pub(super) fn end(&self) {
        self.is_over.store(true, Ordering::Release);
    }

    pub(super) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }

    /// Why no server will do: whoever waits is told, where none counts.
    pub(super) fn refuse(&self, why: Option<CatalogError>) {
        let is_refused = why.is_some();
        *self.refused.lock() = why;
        if is_refused {
            self.last.send_modify(|_| {});
        }
    }

    /// Whether a server may be believed, should it acknowledge a heartbeat: nobody was seen to have replaced it, and the witness vouches for it.
    pub(super) async fn admit(&self, settings: &PostgresSettings, primary: &Primary) -> Result<(), Failure> {
        self.looked(&primary.place, Some(primary.life));
        if self.is_replaced(primary) {
            return Err(Failure::Gone("another server writes a later timeline".to_owned()));
        }
        ask_witness(settings, primary).await
    }

    /// One heartbeat.
    pub(super) async fn beat(
        &self,
        settings: &PostgresSettings,
        clock: &dyn Clock,
        connection: &mut Connection,
    ) -> Result<(), Failure> {
        let statement = connection.statement("SELECT * FROM beat($1, $2, $3, $4, $5, $6, $7, $8)").await?;
        let is_required = settings.replication == Replication::Required;
        let awaited = if is_required { Some(connection.statement("SELECT was_awaited()").await?) } else { None };
        let number = connection.next_number();
        connection.has_warned();
        let connection = &*connection;
        let primary = &connection.primary;
        let (sent, monotonic) = (Instant::now(), clock.monotonic());
        let proposed = self.time.lock().propose(monotonic, clock.wall()).cast_signed();
        let told = self.told.lock().snapshot(sent);
        let known_ms = told.time_ms.cast_signed();
        let known_timeline = told.timeline_of(primary.life.system);
        let (lanes, numbers): (Vec<i64>, Vec<i64>) = told.commits.iter().map(|(lane, number)| (*lane, *number)).unzip();
        let lock = super::locks::new_session(settings);
        let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 8] =
            [&connection.lane, &number, &proposed, &known_ms, &known_timeline, &lanes, &numbers, &lock];
        // Right behind the heartbeat, in one go: a standby that nobody waits for has no time to get it meanwhile.
        let proof = async {
            match &awaited {
                Some(awaited) => connection.client().query_one(awaited, &[]).await.map(|row| row.get(0)),
                None => Ok(true),
            }
        };
        // The witness is asked behind the sending, so its answer holds for longer than the heartbeat counts.
        let (row, is_awaited, right) =
            futures::join!(connection.client().query_one(&statement, &parameters), proof, ask_witness(settings, primary));
        let row = row?;
        if connection.has_warned() {
            return Err(Failure::Gone("the database warned while it committed".to_owned()));
        }
        if row.get::<_, i64>(0) != primary.life.timeline {
            return Err(Failure::Gone("the timeline has changed under a connection".to_owned()));
        }
        right?;
        if is_required && !row.get::<_, bool>(2) && !self.is_alone.swap(true, Ordering::AcqRel) {
            tracing::error!(
                "synchronous_standby_names is empty: nothing is written any more, until this gateway is started again (P3)"
            );
            self.last.send_modify(|_| {});
        }
        if !is_awaited? {
            return Err(Failure::Gone("the catalog database has acknowledged a heartbeat that no standby has (P3)".to_owned()));
        }
        let time_ms = unsigned(row.get(3));
        let age = Duration::from_millis(unsigned(row.get::<_, i64>(1).max(0)));
        self.time.lock().learned(time_ms, clock.monotonic(), clock.wall());
        let incarnations: Vec<i64> = row.get(4);
        let incarnations = incarnations.iter().map(|number| Incarnation(unsigned(*number))).collect::<Vec<_>>().try_into().ok();
        let (epoch, time) = (unsigned(row.get(5)), cairn_types::CatalogTime(time_ms));
        self.looked(&primary.place, Some(primary.life));
        let writes_from = self.writes_from(primary, age, sent);
        let mut is_replaced = true;
        self.last.send_if_modified(|last| {
            // Looked at in here, so that a look that has just found another server is not overruled.
            is_replaced = self.is_replaced(primary);
            let is_later = last.as_ref().is_none_or(|last| last.sent <= sent);
            if !is_replaced && is_later {
                *last = Some(Beat { sent, primary: primary.clone(), writes_from, incarnations, epoch, time });
            }
            !is_replaced && is_later
        });
        if is_replaced {
            return Err(Failure::Gone("another server writes a later timeline".to_owned()));
        }
        // From now on a server that lacks this, or anything before it, has forgotten.
        self.told.lock().beat(&told, (connection.lane, number), primary.life, time_ms, sent);
        Ok(())
    }

    /// A commit was acknowledged by a server that counted.
    pub(super) fn acknowledged(&self, lane: i64, number: i64) {
        self.told.lock().acknowledged(lane, number, Instant::now());
    }

    /// Looks at one of the hosts, by all its addresses, until it is over. Where it writes a later timeline than the one that is believed, that counts no more, at
    /// once: its server has been replaced, whatever it says, and whoever acknowledges its commits will throw them away.
    pub(super) async fn look_on(self: Arc<Self>, settings: PostgresSettings, host: tokio_postgres::Config) {
        let mut kept: BTreeMap<Place, Option<Line>> = BTreeMap::new();
        let (mut found, mut resolve_next) = (Vec::new(), Instant::now());
        while !self.is_over() {
            let next = Instant::now() + EVERY;
            if Instant::now() >= resolve_next {
                // What leads nowhere for the moment leads where it led.
                found = ways(&settings, &host).await.unwrap_or(found);
                kept.retain(|place, _| found.iter().any(|way| way.place == *place));
                resolve_next = Instant::now() + RESOLVE_EVERY;
            }
            let looks = found.iter().map(|way| {
                let mut line = kept.remove(&way.place).flatten();
                let settings = &settings;
                async move {
                    let look = tokio::time::timeout(COUNTS_FOR, Line::look(&mut line, settings, way)).await;
                    (way.place.clone(), line, look)
                }
            });
            for (place, line, look) in join_all(looks).await {
                if let Ok(Ok(life)) = look {
                    self.looked(&place, life);
                }
                kept.insert(place, line);
            }
            tokio::time::sleep_until(next).await;
        }
    }

    /// Takes up what a host says that it writes; `None`: it is a standby.
    fn looked(&self, place: &Place, found: Option<Life>) {
        let now = Instant::now();
        {
            let mut looks = self.looks.lock();
            let denies = |look: &Look| match found {
                None => true,
                Some(life) => life.system == look.life.system && life.timeline < look.life.timeline,
            };
            match looks.get_mut(place).filter(|look| denies(look)) {
                // One that was promoted by mistake and is a standby again, or was made anew: not at its first word.
                Some(look) => {
                    if now.duration_since(*look.denied.get_or_insert(now)) >= DENIED_FOR {
                        looks.remove(place);
                    }
                }
                None => {
                    if let Some(life) = found {
                        looks.insert(place.clone(), Look { life, answered: now, denied: None });
                    }
                }
            }
        }
        self.last.send_if_modified(|beat| {
            let is_over = beat.as_ref().is_some_and(|beat| self.is_replaced(&beat.primary));
            if is_over {
                tracing::error!(?found, "another server of the catalog database writes a later timeline, or the same one");
                *beat = None;
            }
            is_over
        });
    }

    /// Whether another server was seen that stands in this one's place: on a later timeline; or, where nobody says which of them counts, on one of the same number.
    fn is_replaced(&self, primary: &Primary) -> bool {
        let Primary { place, life } = primary;
        self.looks.lock().iter().any(|(at, look)| {
            let is_rival = || {
                look.life.timeline == life.timeline
                    && look.life.started_us != life.started_us
                    && at != place
                    && look.denied.is_none()
                    && look.answered.elapsed() < COUNTS_FOR
            };
            look.life.system == life.system && (look.life.timeline > life.timeline || (!self.has_witness && is_rival()))
        })
    }

    /// From when on a server is written to: decided when it is first seen, and from then on by this gateway's own clock alone. By catalog time, which does not jump, where it has served on no other.
    fn writes_from(&self, primary: &Arc<Primary>, age: Duration, sent: Instant) -> Instant {
        let mut seen = self.seen.lock();
        let is_known = |seen: &Seen| {
            let (Life { system, timeline, started_us }, before) = (primary.life, seen.primary.life);
            // One that was started again where it was is the same one.
            system == before.system
                && timeline == before.timeline
                && (started_us == before.started_us || primary.place == seen.primary.place)
        };
        let writes_from = match &*seen {
            Some(before) if is_known(before) => before.writes_from,
            Some(_) => sent + NO_WRITES_FOR,
            None => sent + SEEN_LONG_AGO.saturating_sub(age).min(NO_WRITES_FOR),
        };
        *seen = Some(Seen { primary: primary.clone(), writes_from });
        writes_from
    }

    /// The settings' epoch by the last heartbeat, for as long as that counts. It was confirmed when that was sent, not when it came back (R3).
    pub(super) fn confirmed_settings(&self) -> Option<ConfirmedSettings> {
        let last = self.last.borrow();
        let beat = last.as_ref().filter(|beat| beat.counts())?;
        Some(ConfirmedSettings { epoch: beat.epoch, confirmed: beat.sent, time: beat.time })
    }

    /// The zones' incarnations, as the last heartbeat found them: a guess.
    pub(super) fn incarnations(&self) -> Option<[Incarnation; ZONE_COUNT]> {
        self.last.borrow().as_ref().and_then(|beat| beat.incarnations)
    }

    /// The server that counts.
    pub(super) fn believed(&self) -> Option<Arc<Primary>> {
        self.last.borrow().as_ref().filter(|beat| beat.counts()).map(|beat| beat.primary.clone())
    }

    /// What is answered over a connection to this server, if that counts both while it is waited for (a server that is cut off may keep an answer back for ever)
    /// and behind the answer: in a process that stood still, an answer is there, and so is the end of the belief, and the answer may be one that the
    /// server gave when another one had been promoted. For who writes, a server that was found to acknowledge alone does not count either.
    pub(super) async fn counted<T>(
        &self,
        life: Life,
        for_writing: bool,
        asked: impl Future<Output = T>,
    ) -> Result<T, &'static str> {
        let answered = tokio::select! {
            biased;
            answered = asked => answered,
            () = self.no_longer_counts(life, for_writing) => return Err(self.why_not(for_writing)),
        };
        if self.counts(life, for_writing) { Ok(answered) } else { Err(self.why_not(for_writing)) }
    }

    fn why_not(&self, for_writing: bool) -> &'static str {
        if self.is_out(for_writing) { ALONE } else { NOT_PROVEN }
    }

    fn is_out(&self, for_writing: bool) -> bool {
        for_writing && self.is_alone.load(Ordering::Acquire)
    }

    fn counts(&self, life: Life, for_writing: bool) -> bool {
        !self.is_out(for_writing) && self.last.borrow().as_ref().is_some_and(|beat| beat.is_of(life))
    }

    async fn no_longer_counts(&self, life: Life, for_writing: bool) {
        let mut beats = self.last.subscribe();
        loop {
            let until = match &*beats.borrow_and_update() {
                Some(beat) if beat.is_of(life) && !self.is_out(for_writing) => beat.sent + COUNTS_FOR,
                _ => return,
            };
            if let Ok(Err(_)) = tokio::time::timeout_at(until, beats.changed()).await {
                return;
            }
        }
    }

    /// The server that counts now, for this purpose.
    pub(super) fn primary_now(&self, for_writing: bool) -> Option<Arc<Primary>> {
        let last = self.last.borrow();
        let beat = last.as_ref().filter(|beat| beat.counts() && !self.is_out(for_writing))?;
        (!for_writing || beat.writes_from <= Instant::now()).then(|| beat.primary.clone())
    }

    /// The server that counts, once there is one.
    pub(super) async fn primary(&self, for_writing: bool, until: Instant) -> CatalogResult<Arc<Primary>> {
        let mut beats = self.last.subscribe();
        loop {
            if self.is_out(for_writing) {
                return Err(CatalogError::Unavailable(ALONE.to_owned()));
            }
            let beat = beats.borrow_and_update().clone();
            let mut look_again = until;
            if let Some(beat) = beat.filter(Beat::counts) {
                if !for_writing || beat.writes_from <= Instant::now() {
                    return Ok(beat.primary);
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

#[cfg(test)]
mod tests;
