//! The collector of orphans (S2, S3): sweeps over what the zones list, judged by [`crate::collect`].
//!
//! The order of the steps is what keeps data, and each step needs the one before it to have answered:
//!
//! 1. dead sessions are closed, in every database, and a view of the open ones is taken. The collector sets to work with it once the longest
//!    deadline of a write has passed;
//! 2. a zone lists a page, in an incarnation that is the catalog's current one before and after;
//! 3. the catalog is asked which of the page's copies *whose writer's session is closed in that view* are named by that very place;
//! 4. those that are not are deleted (B7: by locator and chunk id).
//!
//! A catalog that has forgotten what it acknowledged (P5) has another *generation*. Views and sweeps of an earlier one are dropped, and nothing is deleted on an answer that may be of a later
//! one than the view: the generation is asked for behind the names.
//!
//! A zone that is away, or a catalog that does not answer, ends the page: nothing is collected. A sweep goes on from the last page that a zone
//! has listed, in the same life of it. One that did not come to its end, or could not delete something, counts for nothing and is made again.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cairn_types::ids::ZONE_COUNT;
use cairn_types::{ChunkId, Incarnation, Locator, ZoneIndex};
use cairn_zone::{Found, ZoneError};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::catalog_port::{PerZone, PortResult, Replica};
use crate::collect::{Scope, Swept, Views};
use crate::replicator::{LeftOut, Replicator};
use crate::tasks::{Pauses, run_rounds};
use crate::works::Work;

/// How the collector sweeps.
#[derive(Debug, Clone)]
pub struct CollectorConfig {
    /// Copies in a page.
    pub page: usize,
    /// The pause between pages of one sweep.
    pub page_pause: Duration,
    /// The pause between looks at the sessions: dead ones are closed, and zones are swept for those that were closed.
    pub look_pause: Duration,
    /// How long after a session was seen closed its copies are swept for. Longer than the longest write deadline, so that what lands late
    /// is met by the sweep (S2).
    pub late_after: Duration,
    /// The time from one sweep of everything to the next, for each zone: for what landed later still, and for copies whose deletion failed
    /// after their record let go of them. The first sweep after a start is of everything, too.
    pub whole_after: Duration,
}

impl Default for CollectorConfig {
    fn default() -> Self {
        Self {
            page: 1_000,
            page_pause: Duration::from_millis(50),
            look_pause: Duration::from_secs(60),
            late_after: Duration::from_secs(120),
            whole_after: Duration::from_secs(7 * 24 * 3_600),
        }
    }
}

/// How collecting is going.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CollectorProgress {
    /// Sweeps of each zone that came to their end.
    pub sweeps: [u64; ZONE_COUNT],
    /// Of these, sweeps of everything.
    pub whole_sweeps: [u64; ZONE_COUNT],
    /// Copies that were listed.
    pub listed: u64,
    /// Copies that the catalog was asked about.
    pub asked: u64,
    /// Orphans that were deleted.
    pub deleted: u64,
    /// Deletes that failed; they are tried again.
    pub failed: u64,
}

/// A sweep of one zone under way.
struct Sweep {
    scope: Scope,
    /// The generation of the catalog in whose view it began.
    generation: u64,
    /// The life of the zone that is swept; another one starts over.
    incarnation: Option<Incarnation>,
    from: Option<Bytes>,
    /// Something that should have been deleted was not.
    failed: bool,
    /// The zone did not answer: the sweep goes on from where it was, after the next look.
    paused: bool,
}

#[derive(Default)]
struct ZoneState {
    swept: Swept,
    sweep: Option<Sweep>,
}

#[derive(Default)]
struct State {
    views: Views,
    /// Of the catalog that these views are of.
    generation: u64,
    zones: PerZone<ZoneState>,
}

/// Collects.
pub struct Collector {
    replicator: Arc<Replicator>,
    config: CollectorConfig,
    state: tokio::sync::Mutex<State>,
    progress: Mutex<CollectorProgress>,
}

/// What became of a page.
enum Paged {
    /// There are more.
    More,
    /// It was the last one.
    Last,
    /// The zone is away, or does not answer in time: later, from the same place.
    Later,
    /// The zone does not list any more from there: the sweep is given up.
    GivenUp,
}

/// What has become of a page's garbage.
enum Judged {
    /// There was none, or it is gone.
    AllGone,
    /// Some of it could not be deleted.
    SomeStay,
    /// The catalog has forgotten something since the view was taken (P5): nobody knows whether it is garbage.
    OfAnotherGeneration,
}

impl Collector {
    /// A collector over this gateway's replica layer. Several gateways may collect at once.
    #[must_use]
    pub fn new(replicator: Arc<Replicator>, config: CollectorConfig) -> Self {
        Self { replicator, config, state: tokio::sync::Mutex::default(), progress: Mutex::new(CollectorProgress::default()) }
    }

    /// How it is going.
    #[must_use]
    pub fn progress(&self) -> CollectorProgress {
        *self.progress.lock()
    }

    /// Ticks until told to stop.
    pub async fn run(&self, shutdown: watch::Receiver<bool>) {
        let pauses = Pauses { busy: self.config.page_pause, idle: self.config.look_pause };
        run_rounds(shutdown, pauses, "nothing is collected until the whole catalog answers", || self.tick()).await;
    }

    /// One page of each zone that is being swept; where none is, a look at the sessions. Says whether there is more to do at once. A zone
    /// that is away is passed over until the next look.
    pub async fn tick(&self) -> PortResult<bool> {
        let mut state = self.state.lock().await;
        // Whoever gets the work later goes on from his own views: what was closed in them is closed for good, in their generation.
        if !self.replicator.does(Work::Collect).await? {
            return Ok(false);
        }
        let State { views, generation, zones } = &mut *state;
        let is_going_on = |zone: &ZoneState| zone.sweep.as_ref().is_some_and(|sweep| !sweep.paused);
        if !zones.iter().any(is_going_on) {
            self.look(views, generation, zones).await?;
        }
        for (zone, ZoneState { swept, sweep: under_way }) in ZoneIndex::ALL.into_iter().zip(zones.iter_mut()) {
            let Some(sweep) = under_way.as_mut().filter(|sweep| !sweep.paused) else { continue };
            match self.page(zone, sweep).await? {
                Paged::More => {}
                Paged::Later => sweep.paused = true,
                Paged::GivenUp => *under_way = None,
                Paged::Last => {
                    if !sweep.failed {
                        swept.finished(&sweep.scope);
                    }
                    self.count_sweep(zone, &sweep.scope);
                    *under_way = None;
                }
            }
        }
        Ok(zones.iter().any(is_going_on))
    }

    /// Closes dead sessions (S2: before anything is looked for), and begins the sweeps that are due.
    async fn look(&self, views: &mut Views, generation: &mut u64, zones: &mut PerZone<ZoneState>) -> PortResult<()> {
        let view = self.replicator.catalog.close_dead_sessions().await?;
        if view.generation != *generation {
            // What was closed, and what was swept for, is another catalog's.
            *generation = view.generation;
            *views = Views::default();
            *zones = PerZone::default();
        }
        let now = self.replicator.zones.now();
        views.seen(view, now);
        let ripe = views.ripe(now, self.config.late_after);
        for ZoneState { swept, sweep } in zones {
            if let Some(sweep) = sweep {
                // What was closed in its view is closed for good.
                sweep.paused = false;
                continue;
            }
            let scope = swept.scope(&ripe, now, self.config.whole_after);
            *sweep = scope.map(|scope| Sweep {
                scope,
                generation: *generation,
                incarnation: None,
                from: None,
                failed: false,
                paused: false,
            });
        }
        Ok(())
    }

    fn count_sweep(&self, zone: ZoneIndex, scope: &Scope) {
        let mut progress = self.progress.lock();
        let CollectorProgress { sweeps, whole_sweeps, .. } = &mut *progress;
        for (counts, counted) in [(sweeps, true), (whole_sweeps, scope.is_whole())] {
            if let Some(count) = counts.get_mut(zone.get()).filter(|_| counted) {
                *count += 1;
            }
        }
    }

    async fn page(&self, zone: ZoneIndex, sweep: &mut Sweep) -> PortResult<Paged> {
        let zones = &self.replicator.zones;
        let Some(incarnation) = zones.incarnation(zone) else {
            return Ok(Paged::Later);
        };
        if sweep.incarnation != Some(incarnation) {
            sweep.incarnation = Some(incarnation);
            sweep.from = None;
        }
        let page = match zones.enumerate(zone, sweep.scope.since, sweep.from.clone(), self.config.page).await {
            Ok(page) if zones.incarnation(zone) == Some(incarnation) => page,
            Ok(_) => return Ok(Paged::More),
            Err(error) => {
                tracing::debug!(%zone, %error, "a zone cannot be swept now");
                return Ok(if matches!(error, ZoneError::Away(_) | ZoneError::PlaceAway(_)) {
                    Paged::Later
                } else {
                    Paged::GivenUp
                });
            }
        };
        self.progress.lock().listed += page.found.len() as u64;
        match self.judge(sweep, zone, incarnation, page.found).await? {
            Judged::AllGone => {}
            Judged::SomeStay => sweep.failed = true,
            Judged::OfAnotherGeneration => return Ok(Paged::GivenUp),
        }
        sweep.from = page.next;
        Ok(if sweep.from.is_some() { Paged::More } else { Paged::Last })
    }

    /// Deletes what is garbage of a page; says whether all of it went.
    async fn judge(&self, sweep: &Sweep, zone: ZoneIndex, incarnation: Incarnation, listed: Vec<Found>) -> PortResult<Judged> {
        let mut candidates: Vec<Found> = listed.into_iter().filter(|found| self.covers(&sweep.scope, found)).collect();
        if candidates.is_empty() {
            return Ok(Judged::AllGone);
        }
        if self.replicator.refresh_incarnations().await?.get(zone.get()) != Some(&incarnation) {
            // The catalog does not know this life of the zone (yet). It could not name anything in it either, but what is odd is left alone.
            return Ok(Judged::SomeStay);
        }
        // The sessions of all of these were closed before this question: whatever the answer does not name will never be named.
        let places = candidates.iter().map(|found| (found.id, Replica { incarnation, locator: found.locator.clone() })).collect();
        let mut named = self.replicator.catalog.named(zone, places).await?.into_iter();
        self.progress.lock().asked += candidates.len() as u64;
        candidates.retain(|_| !named.next().unwrap_or(true) || self.replicator.leaves_out(LeftOut::Naming));
        if self.replicator.leaves_out(LeftOut::ClosingFirst) {
            let view = self.replicator.catalog.close_dead_sessions().await?;
            candidates.retain(|found| view.is_closed(found.session));
        }
        if candidates.is_empty() {
            return Ok(Judged::AllGone);
        }
        // Behind the names: generations only rise, so they were of this one, too.
        if self.replicator.catalog.generation().await? != sweep.generation {
            return Ok(Judged::OfAnotherGeneration);
        }
        Ok(if self.delete(zone, incarnation, candidates).await { Judged::AllGone } else { Judged::SomeStay })
    }

    fn covers(&self, scope: &Scope, found: &Found) -> bool {
        let session = if self.replicator.leaves_out(LeftOut::WritersSession) { found.id.blob.session } else { found.session };
        scope.covers(session)
            || self.replicator.leaves_out(LeftOut::OpenSessions)
            || self.replicator.leaves_out(LeftOut::ClosingFirst)
    }

    async fn delete(&self, zone: ZoneIndex, incarnation: Incarnation, garbage: Vec<Found>) -> bool {
        if garbage.is_empty() {
            return true;
        }
        if self.replicator.zones.incarnation(zone) != Some(incarnation) {
            return false;
        }
        let targets: Vec<(Locator, ChunkId)> = garbage.into_iter().map(|found| (found.locator, found.id)).collect();
        let answers = self.replicator.zones.delete(zone, &targets).await;
        let mut all = true;
        let mut progress = self.progress.lock();
        for ((locator, id), answer) in targets.iter().zip(answers) {
            match answer {
                Ok(()) => {
                    tracing::debug!(chunk = ?id, %zone, ?locator, "an orphan was collected");
                    progress.deleted += 1;
                }
                Err(error) => {
                    tracing::debug!(chunk = ?id, %zone, ?locator, %error, "an orphan could not be deleted");
                    progress.failed += 1;
                    all = false;
                }
            }
        }
        all
    }
}
