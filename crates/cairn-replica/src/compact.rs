//! Giving space back that live chunks stand in the way of: they are written again in the same zone, named there, and only then deleted where
//! they were (B4).
//!
//! A zone says which chunks stand in the way ([`cairn_zone::Zone::sparse`]); what names them is known here. Of each chunk, in this order:
//!
//! 1. the record must name the copy that the zone lists, and not be condemned: anything else is another worker's;
//! 2. the copy is read and verified (B1);
//! 3. it is written again under this gateway's open session, which the collector leaves alone for as long (S1, S2);
//! 4. one commit names the new place in the old one's stead, if the record names the old one still (B4). The loser's copy is deleted;
//! 5. after a while, for readers who hold the record as it was, the old copy is deleted (B7).
//!
//! A crash between any two of these leaves one copy that the record names, and at most one that it does not, which the collector finds by its
//! session or, where it is the old one, by the sweep of everything that follows a start. What is read, written and waited for is bounded, and
//! paced, so that clients have the zones.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cairn_types::ids::ZONE_COUNT;
use cairn_types::{ChunkId, Incarnation, Locator, SessionId, ZoneIndex};
use cairn_zone::Found;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::catalog_port::{MoveLocator, PortError, PortResult, Replica};
use crate::copy::{self, CopyError};
use crate::pace::Pace;
use crate::replicator::{DamageReport, LeftOut, Replicator};
use crate::session::WriterSession;
use crate::tasks::{Pauses, run_rounds};

/// How much compaction may take.
#[derive(Debug, Clone)]
pub struct CompactionConfig {
    /// Stored bytes a second that are moved, all zones together.
    pub bytes_per_second: u64,
    /// Chunks in a page of what a zone lists.
    pub page: usize,
    /// Chunks in one commit.
    pub moves_max: usize,
    /// Stored bytes in one commit, beyond the first chunk.
    pub moved_bytes_max: u64,
    /// How long the old copy stays after the new one was named: long enough for most reads that began before. Those that take longer look their
    /// record up again.
    pub linger: Duration,
    /// Old copies that may wait for their deletion; beyond, nothing is moved.
    pub waiting_max: usize,
    /// The pause when there is nothing to do.
    pub idle_pause: Duration,
}

impl Default for CompactionConfig {
    fn default() -> Self {
        Self {
            bytes_per_second: 16 * 1024 * 1024,
            page: 32,
            moves_max: 32,
            moved_bytes_max: 8 * 1024 * 1024,
            linger: Duration::from_secs(30),
            waiting_max: 16_384,
            idle_pause: Duration::from_secs(10),
        }
    }
}

/// How compaction is going. Counts are since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CompactionProgress {
    /// Chunks that were moved.
    pub moved: u64,
    /// Stored bytes of them.
    pub bytes_moved: u64,
    /// Copies that were made for nothing: the record had changed meanwhile.
    pub refused: u64,
    /// Moves that could not be made now; they are tried again.
    pub failed: u64,
    /// Old copies that wait for their deletion.
    pub waiting: u64,
    /// Old copies that were deleted.
    pub deleted: u64,
}

/// A copy that no record names any more.
struct Old {
    due: Duration,
    zone: ZoneIndex,
    replica: Replica,
    id: ChunkId,
}

/// A walk over what one zone lists.
#[derive(Clone, Default)]
enum Walk {
    /// It has not begun.
    #[default]
    Before,
    /// It goes on here.
    At(Bytes),
    /// It has come to its end. The next one begins after a pause, together with the other zones': what is listed and may not be moved, such as old
    /// copies that wait, would else be looked at without end.
    Ended,
}

#[derive(Default)]
struct State {
    walks: [Walk; ZONE_COUNT],
    /// In the order in which they are due.
    waiting: VecDeque<Old>,
    /// Moves that the catalog was asked for and gave no answer to. Until it is known which place is named, nothing else is moved.
    unsettled: Option<Unsettled>,
}

/// Moves whose outcome is not known.
struct Unsettled {
    session: SessionId,
    moves: Vec<MoveLocator>,
    bytes: u64,
    /// How often it was asked for.
    asked: u32,
}

/// So often moves are asked for whose outcome is not known. Then their copies are left to the collector, so that what the catalog never answers to
/// does not stand in the way of everything else.
const ASKED_MAX: u32 = 32;

/// Old copies that are deleted at once.
const DELETES_MAX: usize = 128;

/// Compacts.
pub struct CompactionWorker {
    replicator: Arc<Replicator>,
    config: CompactionConfig,
    state: tokio::sync::Mutex<State>,
    pace: Mutex<Pace>,
    progress: Mutex<CompactionProgress>,
}

impl CompactionWorker {
    /// A worker over this gateway's replica layer. Several gateways may compact at once: of two that move a chunk one wins.
    #[must_use]
    pub fn new(replicator: Arc<Replicator>, config: CompactionConfig) -> Self {
        let pace = Pace::new(config.bytes_per_second, config.moved_bytes_max.min(config.bytes_per_second));
        let (state, progress) = (tokio::sync::Mutex::default(), Mutex::default());
        Self { replicator, config, state, pace: Mutex::new(pace), progress }
    }

    /// How it is going.
    #[must_use]
    pub fn progress(&self) -> CompactionProgress {
        *self.progress.lock()
    }

    /// Ticks until told to stop.
    pub async fn run(&self, shutdown: watch::Receiver<bool>) {
        let pauses = Pauses { busy: Duration::ZERO, idle: self.config.idle_pause };
        run_rounds(shutdown, pauses, "compaction waits for the catalog", || self.tick()).await;
    }

    /// Deletes the old copies that are due, and moves a page of each zone. Says whether another round at once would find more.
    pub async fn tick(&self) -> PortResult<bool> {
        let mut state = self.state.lock().await;
        self.delete_due(&mut state).await;
        let incarnations = self.replicator.refresh_incarnations().await?;
        let Some(session) = self.replicator.session().filter(|session| session.is_open()) else {
            return Ok(false);
        };
        self.settle(&mut state, &session).await?;
        let mut unreadable = None;
        for (zone, incarnation) in ZoneIndex::ALL.into_iter().zip(incarnations) {
            if state.waiting.len() >= self.config.waiting_max {
                return Ok(false);
            }
            let walk = state.walks.get_mut(zone.get()).map(|walk| std::mem::replace(walk, Walk::Ended));
            let from = match &walk {
                Some(Walk::Before) => None,
                Some(Walk::At(from)) => Some(from.clone()),
                Some(Walk::Ended) | None => continue,
            };
            let zones = &self.replicator.zones;
            // A zone that is not well has enough to do, and a copy in a life that the catalog does not know could not be named.
            if zones.incarnation(zone) != Some(incarnation) || !zones.takes_writes(zone) || !zones.answers_reads(zone) {
                continue;
            }
            let page = match zones.sparse(zone, from, self.config.page).await {
                Ok(page) if zones.incarnation(zone) == Some(incarnation) => page,
                Ok(_) => continue,
                Err(error) => {
                    tracing::debug!(%zone, %error, "a zone does not say what stands in the way of space");
                    continue;
                }
            };
            let moved = self.move_all(&mut state, &session, zone, incarnation, page.found).await;
            // A page that was left half way is begun again.
            let walk = if moved.is_ok() { page.next.map(Walk::At) } else { walk };
            if let (Some(slot), Some(walk)) = (state.walks.get_mut(zone.get()), walk) {
                *slot = walk;
            }
            unreadable = moved?.or(unreadable);
        }
        let more = state.walks.iter().any(|walk| matches!(walk, Walk::At(_)));
        if !more {
            state.walks = Default::default();
        }
        unreadable.map_or(Ok(more), Err)
    }

    /// Moves what is listed. Says which record could not be read, if one could not; an error is one after which nothing else would go better.
    async fn move_all(
        &self,
        state: &mut State,
        session: &Arc<WriterSession>,
        zone: ZoneIndex,
        incarnation: Incarnation,
        listed: Vec<Found>,
    ) -> PortResult<Option<PortError>> {
        let mut moves = Vec::new();
        let mut bytes = 0;
        let mut unreadable = None;
        for found in listed {
            let from = Replica { incarnation, locator: found.locator };
            match self.copy(session, zone, found.id, &from).await {
                Ok(Some(to)) => {
                    moves.push(MoveLocator { chunk: found.id, zone, from, to });
                    bytes += found.length;
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::debug!(%zone, %error, chunk = ?found.id, "the record of a chunk to be moved cannot be read");
                    self.progress.lock().failed += 1;
                    // One record that cannot be read must not stand in the way of all that are listed behind it, at every walk.
                    if unreadable.is_none()
                        && let Err(silent) = self.replicator.refresh_incarnations().await
                    {
                        self.name(state, session, moves, bytes).await?;
                        return Err(silent);
                    }
                    unreadable = Some(error);
                }
            }
            if moves.len() >= self.config.moves_max || bytes >= self.config.moved_bytes_max {
                self.name(state, session, std::mem::take(&mut moves), std::mem::take(&mut bytes)).await?;
            }
        }
        self.name(state, session, moves, bytes).await?;
        Ok(unreadable)
    }

    /// Copies a chunk within its zone, if its record names this copy. The session is the one that the copy will be named under.
    async fn copy(&self, session: &WriterSession, zone: ZoneIndex, id: ChunkId, from: &Replica) -> PortResult<Option<Replica>> {
        let Some(blob) = self.replicator.catalog.blob(id.blob).await? else { return Ok(None) };
        let Some(chunk) = blob.chunk(id.ordinal).filter(|_| !blob.condemned) else { return Ok(None) };
        let named = chunk.replicas.get(zone.get()).and_then(Option::as_ref);
        if named != Some(from) {
            return Ok(None);
        }
        let bytes = blob.shape(chunk).map_or(0, cairn_types::frame::ChunkShape::stored_length);
        let pause = self.pace.lock().take(self.replicator.zones.now(), bytes);
        tokio::time::sleep(pause).await;
        let pieces = match copy::read_stored(&self.replicator.zones, zone, from, &blob, id.ordinal, chunk).await {
            Ok(pieces) => pieces,
            Err(CopyError::Damaged(_)) => {
                let report = DamageReport { id, zone, incarnation: from.incarnation, locator: from.locator.clone() };
                self.replicator.report_damage_unless_moved(report).await;
                return Ok(None);
            }
            Err(error) => {
                tracing::debug!(%zone, %error, "a chunk cannot be read to be moved");
                self.progress.lock().failed += 1;
                return Ok(None);
            }
        };
        match self.replicator.zones.write(zone, session.id(), id, pieces).await {
            Ok(placed) => Ok(Some(Replica { incarnation: placed.incarnation, locator: placed.locator })),
            Err(error) => {
                tracing::debug!(%zone, %error, "a chunk cannot be written to be moved");
                self.progress.lock().failed += 1;
                Ok(None)
            }
        }
    }

    /// Asks again for moves whose outcome is not known: those that were made are found made, and the rest are made now.
    async fn settle(&self, state: &mut State, session: &WriterSession) -> PortResult<()> {
        let Some(mut unsettled) = state.unsettled.take() else { return Ok(()) };
        if unsettled.session != session.id() {
            // The collector takes what is not named of a session that is over, perhaps now: it must not be named any more.
            self.progress.lock().failed += unsettled.moves.len() as u64;
            return Ok(());
        }
        match self.replicator.catalog.move_locators(unsettled.session, unsettled.moves.clone()).await {
            Ok(answers) => {
                // What is refused now may have been made before, or may yet be: neither copy is deleted, the sweep finds the one that is not named.
                self.named(state, unsettled.moves, unsettled.bytes, answers, |_| {});
                Ok(())
            }
            Err(error) => {
                unsettled.asked += 1;
                if unsettled.asked < ASKED_MAX {
                    state.unsettled = Some(unsettled);
                } else {
                    tracing::warn!(%error, "moves of chunks are given up, and which place is named is not known");
                    self.progress.lock().failed += unsettled.moves.len() as u64;
                }
                Err(error)
            }
        }
    }

    /// Names the new copies in the stead of the old ones. What lost goes; where the outcome is not known, neither does, and it is asked for again
    /// before anything else is moved: else copies that nothing names would pile up as fast as they can be made.
    async fn name(&self, state: &mut State, session: &WriterSession, moves: Vec<MoveLocator>, bytes: u64) -> PortResult<()> {
        if moves.is_empty() {
            return Ok(());
        }
        if self.replicator.leaves_out(LeftOut::NamingFirst) {
            state.waiting.extend(moves.iter().map(|moved| self.old(moved, Duration::ZERO)));
            self.delete_due(state).await;
        }
        match self.replicator.catalog.move_locators(session.id(), moves.clone()).await {
            Ok(answers) => {
                let lost = |moved: MoveLocator| self.replicator.delete_soon(moved.zone, moved.to, moved.chunk);
                self.named(state, moves, bytes, answers, lost);
                Ok(())
            }
            Err(error) => {
                tracing::debug!(%error, count = moves.len(), "chunks were moved, and which place is named is not known");
                state.unsettled = Some(Unsettled { session: session.id(), moves, bytes, asked: 1 });
                Err(error)
            }
        }
    }

    /// Takes up what the catalog has answered.
    fn named(&self, state: &mut State, moves: Vec<MoveLocator>, bytes: u64, answers: Vec<bool>, lost: impl Fn(MoveLocator)) {
        let due = self.replicator.zones.now() + self.config.linger;
        let count = moves.len() as u64;
        let mut named = 0;
        for (moved, is_named) in moves.into_iter().zip(answers) {
            if is_named {
                named += 1;
                state.waiting.push_back(self.old(&moved, due));
            } else {
                lost(moved);
            }
        }
        let mut progress = self.progress.lock();
        progress.moved += named;
        progress.bytes_moved += bytes * named / count.max(1);
        progress.refused += count - named;
        progress.waiting = state.waiting.len() as u64;
    }

    #[allow(clippy::unused_self, reason = "reads as what it makes of the worker's moves")]
    fn old(&self, moved: &MoveLocator, due: Duration) -> Old {
        Old { due, zone: moved.zone, replica: moved.from.clone(), id: moved.chunk }
    }

    /// Deletes old copies whose time has come. Nothing names them, and nothing ever will again: they were named, and no copy is named twice.
    async fn delete_due(&self, state: &mut State) {
        let now = self.replicator.zones.now();
        let due = state.waiting.iter().take_while(|old| old.due <= now).count();
        let mut due: Vec<Old> = state.waiting.drain(..due).collect();
        for zone in ZoneIndex::ALL {
            let life = self.replicator.zones.incarnation(zone);
            let (of_zone, rest) = due.into_iter().partition(|old| old.zone == zone);
            due = rest;
            let of_zone: Vec<Old> = of_zone;
            for some in of_zone.chunks(DELETES_MAX) {
                // What was in another life of the zone went with it, as far as that is known.
                let there: Vec<&Old> =
                    some.iter().filter(|old| life.is_none_or(|life| life == old.replica.incarnation)).collect();
                let targets: Vec<(Locator, ChunkId)> = there.iter().map(|old| (old.replica.locator.clone(), old.id)).collect();
                let answers = self.replicator.zones.delete(zone, &targets).await;
                for (old, answer) in there.into_iter().zip(answers) {
                    if crate::condemned::is_gone(&answer) {
                        self.progress.lock().deleted += 1;
                    } else {
                        // The zone is away, or fails: later.
                        let (replica, id) = (old.replica.clone(), old.id);
                        state.waiting.push_back(Old { due: now + self.config.linger, zone, replica, id });
                    }
                }
            }
        }
        self.progress.lock().waiting = state.waiting.len() as u64;
    }
}
