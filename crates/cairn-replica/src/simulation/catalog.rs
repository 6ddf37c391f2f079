//! A catalog of the simulation: linearizable, keeps the port's contract, loses answers. Objects are lists of blobs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use cairn_types::{BlobId, ChunkId, Incarnation, SessionId, ZoneIndex};
use futures::future::BoxFuture;
use parking_lot::Mutex;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::time::Instant;

use crate::catalog_port::{
    AddLocators, AddOutcome, Blob, BlobCatalog, BlobContent, BlobPage, ClearLocators, Incarnations, MoveLocator, PortError,
    PortResult, Replica, SessionView, ZoneSet,
};

/// A rule of the catalog that is left out, so that a test can show what it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    /// Commits count places of any incarnation.
    B3Incarnations,
    /// Closed sessions may add locators.
    B4Session,
    /// Copies increment condemned blobs.
    B5Copy,
    /// Closed sessions may commit.
    S2Commit,
}

/// After this silence a session is dead.
pub(super) const SILENCE: Duration = Duration::from_secs(5);
/// How long condemned blobs keep their chunks.
pub(super) const GRACE: Duration = Duration::from_secs(6);

#[derive(Debug, Clone)]
pub(super) struct Row {
    pub content: BlobContent,
    pub references: u64,
    /// Due time, and zones that have not confirmed.
    pub condemned: Option<(Instant, ZoneSet)>,
    pub indexed_missing: ZoneSet,
}

#[derive(Default)]
pub(super) struct Tables {
    pub blobs: BTreeMap<BlobId, Row>,
    pub objects: BTreeMap<u64, Vec<BlobId>>,
    pub incarnations: Incarnations,
    /// The next blob to look at, for zones that are rebuilt; ends above the newest blob at the time of the loss.
    pub rebuilds: BTreeMap<ZoneIndex, BlobId>,
    pub open: BTreeMap<SessionId, Instant>,
    pub newest: SessionId,
    /// How often it was set back, and whether nobody has looked since (P5).
    pub generation: u64,
    pub may_lack: bool,
    /// Who has which background work.
    pub leases: BTreeMap<String, SessionId>,
}

pub(super) struct Shared {
    pub tables: Mutex<Tables>,
    random: Mutex<ChaCha8Rng>,
    pub faulty: Mutex<bool>,
    pub left_out: Option<Rule>,
    /// Every question fails.
    pub down: Mutex<bool>,
    /// The record of this blob cannot be read.
    pub unreadable: Mutex<Option<BlobId>>,
    /// Moves fail, at once.
    pub moves_fail: Mutex<bool>,
    /// Moves are made, and nobody hears of it.
    pub move_answers_lost: Mutex<bool>,
    /// How often it was asked anything.
    pub questions: AtomicU64,
    /// Whether several gateways stand on it.
    pub has_gateways: AtomicBool,
}

#[derive(Clone)]
pub(super) struct SimCatalog(pub Arc<Shared>);

/// How a commit went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Commit {
    Done,
    Refused,
}

impl Tables {
    fn missing(&self, content: &BlobContent) -> ZoneSet {
        content.missing(&self.incarnations)
    }

    fn reindex(&mut self, id: BlobId) {
        let incarnations = self.incarnations;
        if let Some(row) = self.blobs.get_mut(&id) {
            row.indexed_missing = if row.condemned.is_some() { ZoneSet::EMPTY } else { row.content.missing(&incarnations) };
        }
    }

    fn blob(&self, id: BlobId) -> Option<Arc<Blob>> {
        let row = self.blobs.get(&id)?;
        Some(Arc::new(Blob { id, content: row.content.clone(), condemned: row.condemned.is_some() }))
    }

    fn page<'a>(&'a self, from: Option<&Bytes>, count_max: usize, keep: impl Fn(&Row) -> bool + 'a) -> BlobPage {
        let start =
            from.map_or(BlobId { session: SessionId(0), counter: 0 }, |from| BlobId::decode(from.as_ref().try_into().unwrap()));
        let mut found = self.blobs.range(start..).filter(|(_, row)| keep(row)).map(|(id, _)| *id);
        let ids: Vec<BlobId> = found.by_ref().take(count_max.clamp(1, 5)).collect();
        let next = found.next().map(|id| Bytes::copy_from_slice(&id.encode()));
        BlobPage { blobs: ids.into_iter().filter_map(|id| self.blob(id)).collect(), next }
    }
}

impl SimCatalog {
    pub fn new(seed: u64, left_out: Option<Rule>) -> Self {
        let tables = Tables { incarnations: [Incarnation(1); 3], ..Tables::default() };
        Self(Arc::new(Shared {
            tables: Mutex::new(tables),
            random: Mutex::new(ChaCha8Rng::seed_from_u64(seed)),
            faulty: Mutex::new(true),
            left_out,
            down: Mutex::default(),
            unreadable: Mutex::default(),
            moves_fail: Mutex::default(),
            move_answers_lost: Mutex::default(),
            questions: AtomicU64::new(0),
            has_gateways: AtomicBool::new(false),
        }))
    }

    fn leaves_out(&self, rule: Rule) -> bool {
        self.0.left_out == Some(rule)
    }

    /// A round trip: delays before and after, sometimes an error instead of either.
    async fn ask<T>(&self, work: impl FnOnce(&mut Tables) -> T) -> PortResult<T> {
        let (before, after, luck) = {
            let mut random = self.0.random.lock();
            let mut delay = || Duration::from_micros(random.random_range(50..3_000));
            (delay(), delay(), random.random_range(0..1_000))
        };
        let faulty = *self.0.faulty.lock();
        self.0.questions.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(before).await;
        if *self.0.down.lock() {
            return Err(PortError("the catalog is away".into()));
        }
        if faulty && luck < 8 {
            return Err(PortError("the question was lost".into()));
        }
        let answer = work(&mut self.0.tables.lock());
        tokio::time::sleep(after).await;
        if faulty && luck >= 992 {
            return Err(PortError("the answer was lost".into()));
        }
        Ok(answer)
    }

    /// Commits a new object under a session (S2, B3).
    pub async fn commit(
        &self,
        session: SessionId,
        object: u64,
        blobs: Vec<(BlobId, BlobContent)>,
        check: impl FnOnce(&Tables),
    ) -> PortResult<Commit> {
        let slow = self.0.random.lock().random_bool(0.1);
        if slow {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        self.ask(|tables| {
            if !tables.open.contains_key(&session) && !self.leaves_out(Rule::S2Commit) {
                return Commit::Refused;
            }
            let incarnations = tables.incarnations;
            for (_, content) in &blobs {
                for chunk in &content.chunks {
                    let count = if self.leaves_out(Rule::B3Incarnations) {
                        chunk.replicas.iter().flatten().count()
                    } else {
                        chunk.present(&incarnations).len()
                    };
                    if count < content.layout.write_quorum() {
                        return Commit::Refused;
                    }
                }
            }
            tables.objects.insert(object, blobs.iter().map(|(id, _)| *id).collect());
            for (id, mut content) in blobs {
                for chunk in &mut content.chunks {
                    for (replica, current) in chunk.replicas.iter_mut().zip(incarnations) {
                        *replica = replica
                            .take()
                            .filter(|replica| replica.incarnation == current || self.leaves_out(Rule::B3Incarnations));
                    }
                }
                let row = Row { content, references: 1, condemned: None, indexed_missing: ZoneSet::EMPTY };
                tables.blobs.insert(id, row);
                tables.reindex(id);
            }
            check(tables);
            Commit::Done
        })
        .await
    }

    /// An object's blobs.
    pub async fn get(&self, object: u64) -> PortResult<Option<Vec<Arc<Blob>>>> {
        self.ask(|tables| {
            let ids = tables.objects.get(&object)?;
            ids.iter().map(|id| tables.blob(*id)).collect()
        })
        .await
    }

    pub async fn exists(&self, object: u64) -> PortResult<bool> {
        self.ask(|tables| tables.objects.contains_key(&object)).await
    }

    /// Deletes an object; blobs without references are condemned (B5).
    pub async fn delete(&self, object: u64) -> PortResult<()> {
        self.ask(|tables| {
            for id in tables.objects.remove(&object).into_iter().flatten() {
                if let Some(row) = tables.blobs.get_mut(&id) {
                    row.references -= 1;
                    if row.references == 0 && row.condemned.is_none() {
                        row.condemned = Some((Instant::now() + GRACE, ZoneSet::ALL));
                    }
                }
                tables.reindex(id);
            }
        })
        .await
    }

    /// Copies by reference, in two steps as a gateway does: what was read before may be gone by now (B5).
    pub async fn copy(&self, source_blobs: Vec<BlobId>, target: u64) -> PortResult<Commit> {
        self.ask(|tables| {
            let may = source_blobs
                .iter()
                .all(|id| tables.blobs.get(id).is_some_and(|row| row.condemned.is_none() || self.leaves_out(Rule::B5Copy)));
            if !may {
                return Commit::Refused;
            }
            for id in &source_blobs {
                if let Some(row) = tables.blobs.get_mut(id) {
                    row.references += 1;
                }
            }
            tables.objects.insert(target, source_blobs);
            Commit::Done
        })
        .await
    }

    /// A zone has lost its memory (B2, L7).
    pub fn retire(&self, zone: ZoneIndex, incarnation: Incarnation) {
        let mut tables = self.0.tables.lock();
        let current = &mut tables.incarnations[zone.get()];
        if *current < incarnation {
            *current = incarnation;
            tables.rebuilds.insert(zone, BlobId { session: SessionId(0), counter: 0 });
        }
    }

    /// Invariant 5, as far as it is the catalog's.
    pub fn unwritten_gaps(&self) -> Vec<BlobId> {
        let tables = self.0.tables.lock();
        tables
            .blobs
            .iter()
            .filter(|(_, row)| row.condemned.is_none())
            .filter(|(id, row)| {
                tables
                    .missing(&row.content)
                    .difference(row.indexed_missing)
                    .iter()
                    .any(|zone| tables.rebuilds.get(&zone).is_none_or(|next| next > id))
            })
            .map(|(id, _)| *id)
            .collect()
    }
}

impl BlobCatalog for SimCatalog {
    fn incarnations(&self) -> BoxFuture<'_, PortResult<Incarnations>> {
        Box::pin(self.ask(|tables| tables.incarnations))
    }

    fn open_session(&self) -> BoxFuture<'_, PortResult<SessionId>> {
        Box::pin(self.ask(|tables| {
            tables.newest.0 += 1;
            tables.open.insert(tables.newest, Instant::now());
            tables.newest
        }))
    }

    fn heartbeat(&self, session: SessionId) -> BoxFuture<'_, PortResult<bool>> {
        Box::pin(self.ask(move |tables| match tables.open.get_mut(&session) {
            Some(heard) => {
                *heard = Instant::now();
                true
            }
            None => false,
        }))
    }

    fn close_session(&self, session: SessionId) -> BoxFuture<'_, PortResult<()>> {
        Box::pin(self.ask(move |tables| {
            tables.open.remove(&session);
        }))
    }

    fn generation(&self) -> BoxFuture<'_, PortResult<u64>> {
        Box::pin(self.ask(|tables| tables.generation))
    }

    fn is_shared(&self) -> bool {
        self.0.has_gateways.load(Ordering::Relaxed)
    }

    fn take_work(&self, lease: String, session: SessionId) -> BoxFuture<'_, PortResult<bool>> {
        Box::pin(self.ask(move |tables| {
            let is_heard = |holder: SessionId| tables.open.get(&holder).is_some_and(|heard| heard.elapsed() < SILENCE);
            let is_free = tables.leases.get(&lease).is_none_or(|holder| *holder == session || !is_heard(*holder));
            if is_free && tables.open.contains_key(&session) {
                tables.leases.insert(lease.clone(), session);
            }
            tables.leases.get(&lease) == Some(&session)
        }))
    }

    fn leave_work(&self, lease: String, session: SessionId) -> BoxFuture<'_, PortResult<()>> {
        Box::pin(self.ask(move |tables| {
            if tables.leases.get(&lease) == Some(&session) {
                tables.leases.remove(&lease);
            }
        }))
    }

    fn close_dead_sessions(&self) -> BoxFuture<'_, PortResult<SessionView>> {
        Box::pin(self.ask(|tables| {
            tables.open.retain(|_, heard| heard.elapsed() < SILENCE);
            let newest = if tables.may_lack { SessionId(0) } else { tables.newest };
            SessionView { open: tables.open.keys().copied().collect(), newest, generation: tables.generation }
        }))
    }

    fn blob(&self, id: BlobId) -> BoxFuture<'_, PortResult<Option<Arc<Blob>>>> {
        if *self.0.unreadable.lock() == Some(id) {
            return Box::pin(std::future::ready(Err(PortError("the record cannot be read".into()))));
        }
        Box::pin(self.ask(move |tables| tables.blob(id)))
    }

    fn blobs_by_id(&self, ids: Vec<BlobId>) -> BoxFuture<'_, PortResult<Vec<Option<Arc<Blob>>>>> {
        if self.0.unreadable.lock().is_some_and(|unreadable| ids.contains(&unreadable)) {
            return Box::pin(std::future::ready(Err(PortError("a record cannot be read".into()))));
        }
        Box::pin(self.ask(move |tables| ids.into_iter().map(|id| tables.blob(id)).collect()))
    }

    fn blobs(&self, after: Option<BlobId>, count_max: usize) -> BoxFuture<'_, PortResult<BlobPage>> {
        Box::pin(self.ask(move |tables| {
            let from = after.map(|after| BlobId { counter: after.counter + 1, ..after });
            let from = from.map(|from| Bytes::copy_from_slice(&from.encode()));
            tables.page(from.as_ref(), count_max, |row| row.condemned.is_none())
        }))
    }

    fn incomplete(&self, zones: ZoneSet, from: Option<Bytes>, count_max: usize) -> BoxFuture<'_, PortResult<BlobPage>> {
        Box::pin(self.ask(move |tables| {
            tables.page(from.as_ref(), count_max, |row| row.condemned.is_none() && row.indexed_missing.intersects(zones))
        }))
    }

    fn add_locators(&self, session: SessionId, additions: Vec<AddLocators>) -> BoxFuture<'_, PortResult<Vec<AddOutcome>>> {
        Box::pin(self.ask(move |tables| {
            let may = tables.open.contains_key(&session) || self.leaves_out(Rule::B4Session);
            additions
                .into_iter()
                .map(|addition| {
                    let current = tables.incarnations[addition.zone.get()];
                    let Some(row) = tables.blobs.get_mut(&addition.blob).filter(|row| may && row.condemned.is_none()) else {
                        return AddOutcome::Refused;
                    };
                    let fits = |(ordinal, replica): &(u32, Replica)| {
                        let slot = &row.content.chunks[*ordinal as usize].replicas[addition.zone.get()];
                        replica.incarnation == current
                            && slot.as_ref().is_none_or(|there| there.incarnation != current || there == replica)
                    };
                    if !addition.places.iter().all(fits) {
                        return AddOutcome::Refused;
                    }
                    for (ordinal, replica) in addition.places {
                        row.content.chunks[ordinal as usize].replicas[addition.zone.get()] = Some(replica);
                    }
                    tables.reindex(addition.blob);
                    AddOutcome::Added
                })
                .collect()
        }))
    }

    fn clear_locators(&self, clearances: Vec<ClearLocators>) -> BoxFuture<'_, PortResult<Vec<bool>>> {
        Box::pin(self.ask(move |tables| {
            clearances
                .into_iter()
                .map(|clearance| {
                    let Some(row) = tables.blobs.get_mut(&clearance.blob).filter(|row| row.condemned.is_none()) else {
                        return false;
                    };
                    let mut content = row.content.clone();
                    let mut changed = false;
                    for (ordinal, replica) in &clearance.places {
                        let slot = &mut content.chunks[*ordinal as usize].replicas[clearance.zone.get()];
                        if slot.as_ref() == Some(replica) {
                            *slot = None;
                            changed = true;
                        }
                    }
                    if !changed || content.chunks.iter().any(|chunk| chunk.present(&tables.incarnations).is_empty()) {
                        return false;
                    }
                    row.content = content;
                    tables.reindex(clearance.blob);
                    true
                })
                .collect()
        }))
    }

    fn move_locators(&self, session: SessionId, moves: Vec<MoveLocator>) -> BoxFuture<'_, PortResult<Vec<bool>>> {
        if *self.0.moves_fail.lock() {
            return Box::pin(std::future::ready(Err(PortError("moves fail".into()))));
        }
        let moved = self.ask(move |tables| {
            let may = tables.open.contains_key(&session) || self.leaves_out(Rule::B4Session);
            let incarnations = tables.incarnations;
            moves
                .into_iter()
                .map(|moved| {
                    let current = incarnations[moved.zone.get()];
                    let row = tables.blobs.get_mut(&moved.chunk.blob).filter(|row| may && row.condemned.is_none());
                    let Some(slot) =
                        row.and_then(|row| row.content.chunks[moved.chunk.ordinal as usize].replicas[moved.zone.get()].as_mut())
                    else {
                        return false;
                    };
                    let is_current = moved.to.incarnation == current && moved.from.incarnation == current;
                    let fits = *slot == moved.from || *slot == moved.to;
                    if is_current && fits {
                        *slot = moved.to;
                    }
                    is_current && fits
                })
                .collect()
        });
        Box::pin(async move {
            let answers = moved.await;
            if *self.0.move_answers_lost.lock() { Err(PortError("the answer was lost".into())) } else { answers }
        })
    }

    fn named(&self, zone: ZoneIndex, places: Vec<(ChunkId, Replica)>) -> BoxFuture<'_, PortResult<Vec<bool>>> {
        Box::pin(self.ask(move |tables| {
            places
                .into_iter()
                .map(|(id, replica)| {
                    if tables.may_lack {
                        return true;
                    }
                    let chunk = tables.blobs.get(&id.blob).and_then(|row| row.content.chunks.get(id.ordinal as usize));
                    chunk.is_some_and(|chunk| chunk.replicas[zone.get()].as_ref() == Some(&replica))
                })
                .collect()
        }))
    }

    fn condemned_due(&self, zone: ZoneIndex, from: Option<Bytes>, count_max: usize) -> BoxFuture<'_, PortResult<BlobPage>> {
        Box::pin(self.ask(move |tables| {
            tables.page(from.as_ref(), count_max, |row| {
                row.condemned.is_some_and(|(due, remaining)| due <= Instant::now() && remaining.contains(zone))
            })
        }))
    }

    fn confirm_deleted(&self, zone: ZoneIndex, blobs: Vec<BlobId>) -> BoxFuture<'_, PortResult<()>> {
        Box::pin(self.ask(move |tables| {
            for id in blobs {
                let Some(row) = tables.blobs.get_mut(&id) else { continue };
                let Some((_, remaining)) = row.condemned.as_mut() else {
                    continue;
                };
                *remaining = remaining.without(zone);
                if remaining.is_empty() && row.references == 0 {
                    tables.blobs.remove(&id);
                }
            }
        }))
    }

    fn advance_rebuilds(&self, count_max: usize) -> BoxFuture<'_, PortResult<bool>> {
        Box::pin(self.ask(move |tables| {
            for (zone, next) in tables.rebuilds.clone() {
                let ids: BTreeSet<BlobId> = tables.blobs.range(next..).map(|(id, _)| *id).take(count_max.clamp(1, 3)).collect();
                for id in &ids {
                    tables.reindex(*id);
                }
                match ids.last() {
                    Some(last) => tables.rebuilds.insert(zone, BlobId { counter: last.counter + 1, ..*last }),
                    None => tables.rebuilds.remove(&zone),
                };
            }
            !tables.rebuilds.is_empty()
        }))
    }
}
