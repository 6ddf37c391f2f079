//! Giving space back that live chunks stand in the way of: they are written again in the same zone, named there, and only then deleted where
//! they were (B4).
//!
//! A zone says which chunks stand in the way ([`cairn_zone::Zone::sparse`]); what names them is known here. Of each chunk, in this order:
//!
//! 1. the record must name the copy that the zone lists, and not be condemned: anything else is another worker's;
//! 2. the copy is read and verified (B1);
//! 3. it is written again under this gateway's open session, which the collector leaves alone for as long (S1, S2);
//! 4. one commit names the new place in the old one's stead, if the record names the old one still (B4). The loser's copy is deleted;
//! 5. after a while, for readers who hold the record as it was, the new copy is read back, and only where it is good, and the catalog still names something else than the old one, in
//!    the same generation (P5), that is deleted (B7).
//!
//! Each zone is gone through by itself, so that one that hangs, or has much to do, holds no other up.
//!
//! A crash between any two of these leaves one copy that the record names, and at most one that it does not, which the collector finds by its
//! session or, where it is the old one, by the sweep of everything that follows a start. What is read, written and waited for is bounded, and
//! paced, so that clients have the zones.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cairn_types::frame::ChunkShape;
use cairn_types::{BlobId, ChunkId, Incarnation, Locator, SessionId, ZoneIndex};
use cairn_zone::{Found, ZoneError};
use futures::future::join_all;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::catalog_port::{Blob, MoveLocator, PerZone, PortError, PortResult, Replica};
use crate::copy::{self, CopyError};
use crate::gate::Admission;
use crate::pace::Pace;
use crate::replicator::{DamageReport, LeftOut, Replicator};
use crate::session::WriterSession;
use crate::tasks::{Pauses, Stop, run_rounds};
use crate::works::Work;

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
    /// Old copies of one zone that may wait for their deletion; beyond, nothing is moved there.
    pub waiting_max: usize,
    /// The pause of a zone in which there is nothing to do.
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
    id: ChunkId,
    from: Replica,
    /// The one that was named in its stead, to be read back first; `None` where that is not to be waited for.
    to: Option<(Replica, ChunkShape)>,
    /// The generation of the catalog that named it.
    generation: u64,
    /// How often the zone has refused to delete it.
    refused: u32,
}

/// A copy that was made, with what is needed to read it back.
struct Moved {
    move_: MoveLocator,
    shape: ChunkShape,
}

/// How one zone is doing.
#[derive(Default)]
struct State {
    /// Where the walk over what it lists goes on; `None` at its beginning.
    from: Option<Bytes>,
    /// In the order in which they are due.
    waiting: VecDeque<Old>,
    /// Moves that the catalog was asked for and gave no answer to. Until it is known which place is named, nothing else is moved.
    unsettled: Option<Unsettled>,
}

/// Moves whose outcome is not known.
struct Unsettled {
    session: SessionId,
    moves: Vec<Moved>,
    /// How often it was asked for.
    asked: u32,
}

/// So often moves are asked for whose outcome is not known. Then their copies are left to the collector, so that what the catalog never answers to
/// does not stand in the way of everything else.
const ASKED_MAX: u32 = 32;

/// Old copies that are deleted at once.
const DELETES_MAX: usize = 128;

/// So often a zone is asked to delete a copy that it says it cannot; then it is left to the collector.
const REFUSED_MAX: u32 = 8;

/// What looking at a listed chunk costs, in bytes of the pace.
const LOOK_BYTES: u64 = 4096;

/// Compacts.
pub struct CompactionWorker {
    replicator: Arc<Replicator>,
    config: CompactionConfig,
    states: PerZone<tokio::sync::Mutex<State>>,
    pace: Mutex<Pace>,
    progress: Mutex<CompactionProgress>,
    /// Old copies that wait, by zone.
    waiting: Mutex<PerZone<u64>>,
    stop: Stop,
}

impl CompactionWorker {
    /// A worker over this gateway's replica layer. Several gateways may compact at once: of two that move a chunk one wins.
    #[must_use]
    pub fn new(replicator: Arc<Replicator>, config: CompactionConfig) -> Self {
        let pace = Pace::new(config.bytes_per_second, config.moved_bytes_max.min(config.bytes_per_second));
        Self {
            replicator,
            config,
            states: PerZone::default(),
            pace: Mutex::new(pace),
            progress: Mutex::default(),
            waiting: Mutex::default(),
            stop: Stop::default(),
        }
    }

    /// How it is going.
    #[must_use]
    pub fn progress(&self) -> CompactionProgress {
        CompactionProgress { waiting: self.waiting.lock().iter().sum(), ..*self.progress.lock() }
    }

    /// Ticks, in each zone by itself, until told to stop.
    pub async fn run(&self, shutdown: watch::Receiver<bool>) {
        self.stop.heed(shutdown.clone());
        let pauses = Pauses { busy: Duration::ZERO, idle: self.config.idle_pause };
        let rounds = ZoneIndex::ALL
            .map(|zone| run_rounds(shutdown.clone(), pauses, "compaction waits for the catalog", move || self.tick(zone)));
        join_all(rounds).await;
    }

    /// Waits until so many bytes more may be read and written, or the process is about to end.
    async fn keep_pace(&self, bytes: u64) {
        let pause = self.pace.lock().take(self.replicator.zones.now(), bytes);
        self.stop.sleep(pause).await;
    }

    /// Deletes some of the zone's old copies that are due, and moves a page of what it lists. Says whether another round at once would find more.
    pub async fn tick(&self, zone: ZoneIndex) -> PortResult<bool> {
        let Some(state) = self.states.get(zone.get()) else { return Ok(false) };
        let mut state = state.lock().await;
        let more = self.delete_due(&mut state, zone).await;
        // What was begun is brought to its end, whoever has the work now.
        let is_ours = state.unsettled.is_some() || self.replicator.does(Work::Compact(zone)).await?;
        let moved = if is_ours { self.move_page(&mut state, zone).await } else { Ok(false) };
        self.count_waiting(&state, zone);
        Ok(moved? || more)
    }

    fn count_waiting(&self, state: &State, zone: ZoneIndex) {
        if let Some(count) = self.waiting.lock().get_mut(zone.get()) {
            *count = state.waiting.len() as u64;
        }
    }

    async fn move_page(&self, state: &mut State, zone: ZoneIndex) -> PortResult<bool> {
        let zones = &self.replicator.zones;
        let incarnations = self.replicator.refresh_incarnations().await?;
        let Some(session) = self.replicator.session().filter(|session| session.is_open()) else {
            return Ok(false);
        };
        self.settle(state, &session).await?;
        if state.waiting.len() >= self.config.waiting_max {
            return Ok(false);
        }
        let from = state.from.take();
        // A zone that is not well has enough to do, and a copy in a life that the catalog does not know could not be named.
        let Some(incarnation) = zones.incarnation(zone).filter(|life| incarnations.get(zone.get()) == Some(life)) else {
            return Ok(false);
        };
        if !zones.takes_moves(zone) || !zones.answers_reads(zone) {
            return Ok(false);
        }
        let page = match zones.sparse(zone, from.clone(), self.config.page).await {
            Ok(page) if zones.incarnation(zone) == Some(incarnation) => page,
            Ok(_) => return Ok(false),
            Err(error) => {
                tracing::debug!(%zone, %error, "a zone does not say what stands in the way of space");
                return Ok(false);
            }
        };
        match self.move_all(state, &session, zone, incarnation, page.found).await {
            Ok(unreadable) => {
                state.from = page.next;
                unreadable.map_or(Ok(state.from.is_some()), Err)
            }
            Err(error) => {
                // A page that was left half way is begun again.
                state.from = from;
                Err(error)
            }
        }
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
        let (records, unreadable) = self.records(listed.iter().map(|found| found.id.blob).collect()).await?;
        let mut moves = Vec::new();
        let mut bytes = 0;
        for found in listed {
            if self.stop.is_set() {
                break;
            }
            let from = Replica { incarnation, locator: found.locator };
            let record = records.get(&found.id.blob);
            let copied = match record {
                Some(blob) => self.copy(session, zone, found.id, from, blob).await,
                None => None,
            };
            match copied {
                Some(moved) => {
                    bytes += moved.shape.stored_length();
                    moves.push(moved);
                }
                None => self.keep_pace(LOOK_BYTES).await,
            }
            if moves.len() >= self.config.moves_max || bytes >= self.config.moved_bytes_max {
                self.name(state, session, std::mem::take(&mut moves)).await?;
                bytes = 0;
            }
        }
        self.name(state, session, moves).await?;
        Ok(unreadable)
    }

    /// The records of blobs, and why one cannot be read, if one cannot. An error where the catalog answers nothing.
    async fn records(&self, ids: BTreeSet<BlobId>) -> PortResult<(BTreeMap<BlobId, Arc<Blob>>, Option<PortError>)> {
        let catalog = &self.replicator.catalog;
        let ids: Vec<BlobId> = ids.into_iter().collect();
        if let Ok(found) = catalog.blobs_by_id(ids.clone()).await {
            return Ok((found.into_iter().flatten().map(|blob| (blob.id, blob)).collect(), None));
        }
        // One record that cannot be read must not stand in the way of all that are listed beside and behind it, at every walk.
        self.replicator.refresh_incarnations().await?;
        let (mut records, mut unreadable) = (BTreeMap::new(), None);
        for id in ids {
            match catalog.blob(id).await {
                Ok(found) => records.extend(found.map(|blob| (id, blob))),
                Err(error) => {
                    tracing::debug!(%error, blob = ?id, "the record of a blob with chunks to be moved cannot be read");
                    self.progress.lock().failed += 1;
                    unreadable = Some(error);
                }
            }
        }
        Ok((records, unreadable))
    }

    /// Copies a chunk within its zone, if its record names this copy. The session is the one that the copy will be named under.
    async fn copy(&self, session: &WriterSession, zone: ZoneIndex, id: ChunkId, from: Replica, blob: &Blob) -> Option<Moved> {
        let chunk = blob.chunk(id.ordinal).filter(|_| !blob.condemned)?;
        let named = chunk.replicas.get(zone.get()).and_then(Option::as_ref);
        let shape = blob.shape(chunk).ok().filter(|_| named == Some(&from))?;
        self.keep_pace(shape.stored_length()).await;
        let zones = &self.replicator.zones;
        let pieces = match copy::read_shaped(zones, zone, &from, id, shape).await {
            Ok(pieces) => pieces,
            Err(CopyError::Damaged(_)) => {
                let report = DamageReport { id, zone, incarnation: from.incarnation, locator: from.locator };
                // A chunk that is damaged everywhere would else be reported, and looked at again, at every walk.
                if !self.replicator.damage.lock().knows(&report) {
                    self.replicator.report_damage_unless_moved(report).await;
                }
                return None;
            }
            Err(error) => {
                tracing::debug!(%zone, %error, "a chunk cannot be read to be moved");
                self.progress.lock().failed += 1;
                return None;
            }
        };
        match zones.rewrite(zone, session.id(), id, pieces).await {
            Ok(placed) => {
                let to = Replica { incarnation: placed.incarnation, locator: placed.locator };
                Some(Moved { move_: MoveLocator { chunk: id, zone, from, to }, shape })
            }
            Err(error) => {
                tracing::debug!(%zone, %error, "a chunk cannot be written to be moved");
                self.progress.lock().failed += 1;
                None
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
        match self.ask(unsettled.session, &unsettled.moves).await {
            Ok((generation, answers)) => {
                // What is refused now may have been made before, or may yet be: neither copy is deleted, the sweep finds the one that is not named.
                self.named(state, unsettled.moves, generation, answers, |_| {});
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

    /// The answers, and a generation of the catalog that they are of, or of one before it: whatever was forgotten since shows.
    async fn ask(&self, session: SessionId, moves: &[Moved]) -> PortResult<(u64, Vec<bool>)> {
        let moves = moves.iter().map(|moved| moved.move_.clone()).collect();
        let generation = self.replicator.catalog.generation().await?;
        Ok((generation, self.replicator.catalog.move_locators(session, moves).await?))
    }

    /// Names the new copies in the stead of the old ones. What lost goes; where the outcome is not known, neither does, and it is asked for again
    /// before anything else is moved: else copies that nothing names would pile up as fast as they can be made.
    async fn name(&self, state: &mut State, session: &WriterSession, moves: Vec<Moved>) -> PortResult<()> {
        if moves.is_empty() {
            return Ok(());
        }
        if self.replicator.leaves_out(LeftOut::NamingFirst) {
            for Moved { move_: MoveLocator { zone, from, chunk, .. }, .. } in &moves {
                self.replicator.zones.delete(*zone, &[(from.locator.clone(), *chunk)]).await;
            }
        }
        match self.ask(session.id(), &moves).await {
            Ok((generation, answers)) => {
                let lost = |MoveLocator { zone, to, chunk, .. }| self.replicator.delete_soon(zone, to, chunk);
                self.named(state, moves, generation, answers, lost);
                Ok(())
            }
            Err(error) => {
                tracing::debug!(%error, count = moves.len(), "chunks were moved, and which place is named is not known");
                state.unsettled = Some(Unsettled { session: session.id(), moves, asked: 1 });
                Err(error)
            }
        }
    }

    /// Takes up what the catalog has answered.
    fn named(&self, state: &mut State, moves: Vec<Moved>, generation: u64, answers: Vec<bool>, lost: impl Fn(MoveLocator)) {
        let due = self.replicator.zones.now() + self.config.linger;
        let mut progress = self.progress.lock();
        for (Moved { move_, shape }, is_named) in moves.into_iter().zip(answers) {
            if is_named {
                progress.moved += 1;
                progress.bytes_moved += shape.stored_length();
                let MoveLocator { chunk: id, from, to, .. } = move_;
                state.waiting.push_back(Old { due, id, from, to: Some((to, shape)), generation, refused: 0 });
            } else {
                progress.refused += 1;
                lost(move_);
            }
        }
    }

    /// Deletes some old copies whose time has come. Nothing names them, and nothing ever will again, for they were named, and no copy is named twice: unless the catalog has forgotten that
    /// they were moved (P5), so it is asked. Says whether more are due.
    async fn delete_due(&self, state: &mut State, zone: ZoneIndex) -> bool {
        let zones = &self.replicator.zones;
        let Some(life) = zones.incarnation(zone) else { return false };
        let now = zones.now();
        let count = state.waiting.iter().take(DELETES_MAX).take_while(|old| old.due <= now).count();
        // What was in another life of the zone went with it.
        let some: Vec<Old> = state.waiting.drain(..count).filter(|old| old.from.incarnation == life).collect();
        let (mut ready, mut later) = (Vec::new(), Vec::new());
        let let_go = match self.let_go(zone, &some).await {
            Ok(let_go) => let_go,
            Err(error) => {
                tracing::debug!(%error, %zone, "whether chunks that were moved are named anew is not known");
                let due = zones.now() + self.config.linger;
                state.waiting.extend(some.into_iter().map(|old| Old { due, ..old }));
                return false;
            }
        };
        // What is not let go of is named again, or nobody knows: the collector's sweep finds it, if it is garbage.
        for (mut old, _) in some.into_iter().zip(let_go).filter(|(_, is_let_go)| *is_let_go) {
            if self.is_replaced(zone, &mut old).await { ready.push(old) } else { later.push(old) }
        }
        let targets: Vec<(Locator, ChunkId)> = ready.iter().map(|old| (old.from.locator.clone(), old.id)).collect();
        let answers = if targets.is_empty() { Vec::new() } else { zones.delete(zone, &targets).await };
        let mut deleted = 0;
        for (mut old, answer) in ready.into_iter().zip(answers) {
            if crate::condemned::is_gone(&answer) {
                deleted += 1;
                continue;
            }
            // The zone is away, or fails: later. One that cannot say what is there may never be able to.
            old.refused += u32::from(!matches!(answer, Err(ZoneError::Away(_) | ZoneError::PlaceAway(_) | ZoneError::Full(_))));
            if old.refused < REFUSED_MAX {
                later.push(old);
            }
        }
        self.progress.lock().deleted += deleted;
        let due = zones.now() + self.config.linger;
        let more = later.is_empty() && count == DELETES_MAX;
        state.waiting.extend(later.into_iter().map(|old| Old { due, ..old }));
        more
    }

    /// Which of these old copies the catalog has let go of, as far as it has forgotten nothing since it did.
    async fn let_go(&self, zone: ZoneIndex, some: &[Old]) -> PortResult<Vec<bool>> {
        if some.is_empty() {
            return Ok(Vec::new());
        }
        let (records, _) = self.records(some.iter().map(|old| old.id.blob).collect()).await?;
        // Behind the records: generations only rise, so they were of this one, too.
        let generation = self.replicator.catalog.generation().await?;
        let is_let_go = |old: &Old| {
            let chunk = records.get(&old.id.blob).and_then(|blob| blob.chunk(old.id.ordinal));
            let names_another =
                chunk.and_then(|chunk| chunk.replicas.get(zone.get())).is_some_and(|named| named.as_ref() != Some(&old.from));
            old.generation == generation && names_another
        };
        Ok(some.iter().map(is_let_go).collect())
    }

    /// Whether the copy that was named in the stead of this one is good, or nothing names that one any more: read whole and verified just now (B1).
    /// Until then the old one, which was, stays.
    async fn is_replaced(&self, zone: ZoneIndex, old: &mut Old) -> bool {
        let Some((to, shape)) = &old.to else { return true };
        self.keep_pace(shape.stored_length()).await;
        // What is not deleted now is after the next start, by the collector; and one that hangs would take a deadline for each.
        if self.stop.is_set() || self.replicator.zones.admit_read(zone) == Admission::Skip {
            return false;
        }
        match copy::read_shaped(&self.replicator.zones, zone, to, old.id, *shape).await {
            Ok(_) => {}
            Err(CopyError::Damaged(_)) => {
                let Ok(fresh) = self.replicator.catalog.blob(old.id.blob).await else { return false };
                let fresh = fresh.filter(|blob| !blob.condemned);
                let named = fresh.as_ref().and_then(|blob| blob.chunk(old.id.ordinal)?.replicas.get(zone.get())?.as_ref());
                if named == Some(to) {
                    let report = DamageReport { id: old.id, zone, incarnation: to.incarnation, locator: to.locator.clone() };
                    if !self.replicator.damage.lock().knows(&report) {
                        self.replicator.report_damage(report);
                    }
                    return false;
                }
            }
            Err(_) => return false,
        }
        // Not again, should only the deletion fail.
        old.to = None;
        true
    }
}
