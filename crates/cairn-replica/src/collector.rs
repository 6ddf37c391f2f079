//! The collector of orphans (S2, S3): sweeps over what the zones list, judged by [`crate::collect`].
//!
//! The order of one page's steps is what keeps data, and each step needs the one before it to have answered:
//!
//! 1. the zone lists a page, in an incarnation that is the catalog's current one before and after;
//! 2. dead sessions are closed, in every database, and a view of the open ones is taken;
//! 3. the catalog is asked which of the page's chunks of closed sessions are named by that very place;
//! 4. unnamed ones that are ripe are deleted (B7: by locator and chunk id), the others remembered.
//!
//! A zone that is away, or a catalog that does not answer, ends the page: nothing is collected. Sweeps repeat for ever, so that a write
//! that lands after a sweep is found by the next.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cairn_types::ids::ZONE_COUNT;
use cairn_types::{ChunkId, Incarnation, Locator, SessionId, ZoneIndex};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::catalog_port::{PortResult, Replica, SessionView};
use crate::collect::{Copy, Orphans, Sighting};
use crate::replicator::{LeftOut, Replicator};

/// How the collector sweeps.
#[derive(Debug, Clone)]
pub struct CollectorConfig {
    /// Chunks in a page.
    pub page: usize,
    /// The pause between pages of one sweep.
    pub page_pause: Duration,
    /// The pause between sweeps. With the age at which sessions are replaced it bounds how long garbage stays. It should be longer than
    /// the longest write deadline, so that what lands late is met by few sweeps.
    pub sweep_pause: Duration,
    /// Orphans that are remembered while they wait.
    pub orphans_max: usize,
}

impl Default for CollectorConfig {
    fn default() -> Self {
        Self { page: 1_000, page_pause: Duration::from_millis(20), sweep_pause: Duration::from_secs(600), orphans_max: 1_000_000 }
    }
}

/// How collecting is going.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CollectorProgress {
    /// Whole sweeps of each zone.
    pub sweeps: [u64; ZONE_COUNT],
    /// Chunks that were listed.
    pub listed: u64,
    /// Orphans that wait for sessions to close.
    pub waiting: u64,
    /// Orphans that were deleted.
    pub deleted: u64,
    /// Deletes that failed; they are tried again with the next sweep.
    pub failed: u64,
}

/// One zone's sweep.
#[derive(Debug, Default, Clone)]
struct Sweep {
    number: u64,
    /// The life of the zone that is swept; another one starts over.
    incarnation: Option<Incarnation>,
    from: Option<Bytes>,
    /// Whether this round's sweep is done.
    done: bool,
}

struct State {
    sweeps: [Sweep; ZONE_COUNT],
    orphans: Orphans,
}

/// Collects.
pub struct Collector {
    replicator: Arc<Replicator>,
    config: CollectorConfig,
    state: tokio::sync::Mutex<State>,
    progress: Mutex<CollectorProgress>,
}

impl Collector {
    /// A collector over this gateway's replica layer. Several gateways may collect at once.
    #[must_use]
    pub fn new(replicator: Arc<Replicator>, config: CollectorConfig) -> Self {
        let orphans = Orphans::new(config.orphans_max);
        Self {
            replicator,
            config,
            state: tokio::sync::Mutex::new(State { sweeps: Default::default(), orphans }),
            progress: Mutex::new(CollectorProgress::default()),
        }
    }

    /// How it is going.
    #[must_use]
    pub fn progress(&self) -> CollectorProgress {
        *self.progress.lock()
    }

    /// Ticks until told to stop.
    pub async fn run(&self, mut shutdown: watch::Receiver<bool>) {
        loop {
            let pause = match self.tick().await {
                Ok(true) => self.config.page_pause,
                Ok(false) => self.config.sweep_pause,
                Err(error) => {
                    tracing::warn!(%error, "nothing is collected until the whole catalog answers");
                    self.config.sweep_pause.min(Duration::from_secs(60))
                }
            };
            tokio::select! {
                biased;
                _ = shutdown.wait_for(|stop| *stop) => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// One page of each zone; says whether the sweep goes on. A zone that is away is passed over until the next sweep.
    pub async fn tick(&self) -> PortResult<bool> {
        let mut state = self.state.lock().await;
        for zone in ZoneIndex::ALL {
            self.page(&mut state, zone).await?;
        }
        self.progress.lock().waiting = state.orphans.len() as u64;
        if state.sweeps.iter().all(|sweep| sweep.done) {
            for sweep in &mut state.sweeps {
                sweep.done = false;
            }
            return Ok(false);
        }
        Ok(true)
    }

    async fn page(&self, state: &mut State, zone: ZoneIndex) -> PortResult<()> {
        let State { sweeps, orphans } = state;
        let Some(sweep) = sweeps.get_mut(zone.get()).filter(|sweep| !sweep.done) else {
            return Ok(());
        };
        let zones = &self.replicator.zones;
        let Some(incarnation) = zones.incarnation(zone) else {
            sweep.done = true;
            return Ok(());
        };
        if sweep.incarnation != Some(incarnation) {
            *sweep = Sweep { number: sweep.number, incarnation: Some(incarnation), ..Sweep::default() };
        }
        let page = match zones.enumerate(zone, SessionId(0), sweep.from.clone(), self.config.page).await {
            Ok(page) if zones.incarnation(zone) == Some(incarnation) => page,
            Ok(_) => return Ok(()),
            Err(error) => {
                tracing::debug!(%zone, %error, "a zone cannot be swept now");
                *sweep = Sweep { number: sweep.number, done: true, ..Sweep::default() };
                return Ok(());
            }
        };
        let copies: Vec<Copy> = page.found.into_iter().map(|found| Copy::listed(zone, incarnation, found)).collect();
        self.progress.lock().listed += copies.len() as u64;
        self.judge(orphans, zone, copies, sweep.number).await?;
        sweep.from = page.next;
        if sweep.from.is_none() {
            orphans.end_sweep(zone, sweep.number);
            sweep.number += 1;
            sweep.done = true;
            if let Some(count) = self.progress.lock().sweeps.get_mut(zone.get()) {
                *count += 1;
            }
        }
        Ok(())
    }

    async fn judge(&self, orphans: &mut Orphans, zone: ZoneIndex, copies: Vec<Copy>, sweep: u64) -> PortResult<()> {
        if copies.is_empty() {
            return Ok(());
        }
        // After the listing, so that whoever wrote what it shows had opened its session before this view.
        let view: SessionView = self.replicator.catalog.close_dead_sessions().await?;
        if self.replicator.refresh_incarnations().await?.get(zone.get()) != copies.first().map(|copy| &copy.incarnation) {
            // The catalog does not know this life of the zone (yet), so that it cannot name anything in it.
            return Ok(());
        }
        let mut candidates: Vec<(Copy, Sighting)> = copies
            .into_iter()
            .map(|copy| {
                let sighting = orphans.sight(&copy, &view);
                (copy, self.leave_out(sighting))
            })
            .filter(|(_, sighting)| *sighting != Sighting::Live)
            .collect();
        if candidates.is_empty() {
            return Ok(());
        }
        // After the view: whoever could name a ripe one is closed by now, so this answer is final.
        let places = candidates
            .iter()
            .map(|(copy, _)| (copy.id, Replica { incarnation: copy.incarnation, locator: copy.locator.clone() }))
            .collect();
        let mut named = self.replicator.catalog.named(zone, places).await?.into_iter();
        candidates.retain(|(copy, _)| {
            let is_named = named.next().unwrap_or(true) && !self.replicator.leaves_out(LeftOut::Naming);
            if is_named {
                orphans.forget(copy);
            }
            !is_named
        });
        let mut ripe = Vec::new();
        for (copy, sighting) in candidates {
            if sighting == Sighting::Ripe {
                ripe.push(copy);
            } else {
                orphans.remember(copy, &view, sweep);
            }
        }
        self.delete(orphans, zone, ripe, sweep, &view).await;
        Ok(())
    }

    fn leave_out(&self, sighting: Sighting) -> Sighting {
        let left_out = |rule| self.replicator.leaves_out(rule);
        match sighting {
            _ if left_out(LeftOut::OpenSessions) => Sighting::Ripe,
            Sighting::Young if left_out(LeftOut::Ripening) => Sighting::Ripe,
            _ => sighting,
        }
    }

    async fn delete(&self, orphans: &mut Orphans, zone: ZoneIndex, ripe: Vec<Copy>, sweep: u64, view: &SessionView) {
        if ripe.is_empty() || self.replicator.zones.incarnation(zone) != ripe.first().map(|copy| copy.incarnation) {
            return;
        }
        let targets: Vec<(Locator, ChunkId)> = ripe.iter().map(|copy| (copy.locator.clone(), copy.id)).collect();
        let answers = self.replicator.zones.delete(zone, &targets).await;
        let mut progress = self.progress.lock();
        for (copy, answer) in ripe.into_iter().zip(answers) {
            match answer {
                Ok(()) => {
                    tracing::debug!(?copy, "an orphan was collected");
                    progress.deleted += 1;
                    orphans.forget(&copy);
                }
                Err(error) => {
                    tracing::debug!(?copy, %error, "an orphan could not be deleted");
                    progress.failed += 1;
                    // Keeps its first sighting, and lives on to the next sweep.
                    orphans.remember(copy, view, sweep);
                }
            }
        }
    }
}
