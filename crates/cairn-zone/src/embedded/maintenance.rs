//! Everything that changes what is already written: deletions, sealing, giving space back.
//!
//! One worker does all of it, so that sealing and deleting never meet in one file. A deletion overwrites the state word of the record
//! and, in a sealed segment, the state byte in its index, both in place and both in one file; one sync makes them durable for all
//! deletions that waited. Only then is anybody answered, and only then is the space given back.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use cairn_disk::File;
use cairn_types::ChunkId;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use super::format::index::state_byte;
use super::format::record::{STATE_OFFSET, punchable};
use super::format::{BLOCK_BYTES, Entry, Place, RecordState, SegmentState};
use super::index_file;
use super::lookup::{self, read_failed};
use super::segment::{Index, Segment};
use super::shared::{Shared, is_full};
use crate::ZoneError;

/// Tasks that are taken up together.
const TASKS_MAX: usize = 256;

/// Dead records that are looked at in one go, each by two or three random reads, and the pause before: nobody waits for them, and on a spinning disk
/// they would else take what clients need.
const LOOKS_MAX: usize = 32;
const LOOK_PAUSE: Duration = Duration::from_millis(100);
/// After so many failures one after the other, giving back is left for later.
const FAILURES_MAX: usize = 3;

/// Chunks to delete; one answer for each, in order.
pub(super) struct Deletion {
    pub(super) targets: Vec<(Place, ChunkId)>,
    pub(super) answer: oneshot::Sender<Vec<Result<(), ZoneError>>>,
    /// Room in the queue.
    pub(super) _room: OwnedSemaphorePermit,
}

/// What the worker is asked.
pub(super) enum Task {
    Delete(Deletion),
    /// The writer is done with this segment.
    Seal(Arc<Segment>),
    /// The writer could not use this file; nothing in it counts.
    Discard(u32),
}

/// The worker's state.
pub(super) struct Maintenance {
    shared: Arc<Shared>,
    tasks: mpsc::UnboundedReceiver<Task>,
    /// To be sealed; more than the ones just handed over only when there was no space.
    unsealed: Vec<Arc<Segment>>,
    /// All dead, to be retired as soon as they may be.
    all_dead: Vec<Arc<Segment>>,
    /// Found with dead records when the zone was opened, whose space may not have been given back.
    unpunched: VecDeque<Arc<Segment>>,
    /// The one of these that is being looked at.
    looking: Option<Looking>,
    /// Segments that were put among them because giving back failed: once for each opening.
    punch_failed: BTreeSet<u64>,
}

/// What is left to be looked at in a segment.
struct Looking {
    segment: Arc<Segment>,
    dead: VecDeque<Entry>,
}

/// What a deletion changes in one segment.
#[derive(Default)]
struct Marks {
    /// Offsets and payload lengths of the records marked.
    marked: BTreeMap<u64, u32>,
    /// Of these, the ones that were counted as live.
    counted: BTreeSet<u64>,
}

impl Maintenance {
    pub(super) fn new(
        shared: Arc<Shared>,
        tasks: mpsc::UnboundedReceiver<Task>,
        unsealed: Vec<Arc<Segment>>,
        all_dead: Vec<Arc<Segment>>,
        unpunched: VecDeque<Arc<Segment>>,
    ) -> Self {
        Self { shared, tasks, unsealed, all_dead, unpunched, looking: None, punch_failed: BTreeSet::new() }
    }

    /// Works until every sender is gone and everything that waited is done.
    pub(super) async fn run(mut self) {
        self.tidy().await;
        while let Some(first) = self.next_task().await {
            let mut deletions = Vec::new();
            let mut next = Some(first);
            let mut taken = 0;
            while let Some(task) = next {
                match task {
                    Task::Delete(deletion) => deletions.push(deletion),
                    Task::Seal(segment) => self.unsealed.push(segment),
                    Task::Discard(slot) => self.discard(slot).await,
                }
                taken += 1;
                next = if taken < TASKS_MAX { self.tasks.try_recv().ok() } else { None };
            }
            if !deletions.is_empty() {
                self.delete(deletions).await;
            }
            self.tidy().await;
        }
    }

    /// The next task. While none comes, what opening left to do is done, some records at a time.
    async fn next_task(&mut self) -> Option<Task> {
        while self.looking.is_some() || !self.unpunched.is_empty() {
            if let Ok(task) = tokio::time::timeout(LOOK_PAUSE, self.tasks.recv()).await {
                return task;
            }
            if self.shared.check_away().is_err() || !self.shared.gives_back.load(Ordering::Relaxed) {
                self.unpunched.clear();
                self.looking = None;
                break;
            }
            if let Err(error) = self.punch_again().await {
                tracing::debug!(%error, "a segment's dead records are left as they are");
                self.looking = None;
            }
        }
        self.tasks.recv().await
    }

    /// Gives back what a crash has kept: records that are marked dead, and whose payload is still there. They are marked once more first, and that
    /// is made durable: the mark that was read may be in the page cache only.
    async fn punch_again(&mut self) -> io::Result<()> {
        let mut looking = match (self.looking.take(), self.unpunched.pop_front()) {
            (Some(looking), next) => {
                self.unpunched.extend(next);
                looking
            }
            (None, Some(segment)) => {
                let file = self.shared.file(&segment).await?;
                let entries = lookup::entries(&self.shared, &segment, &*file).await?;
                let dead = entries.into_iter().filter(|entry| entry.state == RecordState::Dead).collect();
                Looking { segment, dead }
            }
            (None, None) => return Ok(()),
        };
        if looking.segment.inner.lock().retired {
            return Ok(());
        }
        let count = looking.dead.len().min(LOOKS_MAX);
        let some: Vec<Entry> = looking.dead.drain(..count).collect();
        let segment = Arc::clone(&looking.segment);
        if !looking.dead.is_empty() {
            self.looking = Some(looking);
        }
        let targets = self.unpunched_of(&segment, &some).await?;
        if !targets.is_empty()
            && let Ok(Some((segment, file, marks))) = self.delete_in(segment.generation, &targets, &mut |_, _, _| {}).await
        {
            self.give_back(&segment, &*file, &marks).await;
        }
        Ok(())
    }

    /// Those of these records that say themselves that they are dead, and whose space was not given back.
    async fn unpunched_of(&self, segment: &Arc<Segment>, some: &[Entry]) -> io::Result<Vec<(usize, usize, Place, ChunkId)>> {
        const BLOCK: usize = BLOCK_BYTES as usize;
        let file = self.shared.file(segment).await?;
        let mut found = Vec::new();
        for entry in some {
            let (start, length) = punchable(entry.offset, entry.payload_length);
            if length == 0 {
                continue;
            }
            let head = file.read_at(entry.offset, 2 * BLOCK).await?;
            // The index may be wrong by itself, and what is given back is lost.
            let is_dead = lookup::parse(segment, entry.offset, &head).is_some_and(|record| record.state == RecordState::Dead);
            let has_bytes = |block: &[u8]| block.iter().any(|byte| *byte != 0);
            // A payload may begin with zeros. It does not end with them: that is where its last check is.
            let is_there = is_dead
                && (has_bytes(head.get(BLOCK..).unwrap_or_default())
                    || has_bytes(&file.read_at(start + length - BLOCK_BYTES, BLOCK).await?));
            if is_there {
                found.push((0, found.len(), self.shared.place(segment, entry), entry.id));
            }
        }
        Ok(found)
    }

    /// Gives the payloads' space back. Failing to is not an error: it is tried once more, and else the space comes back with the whole file.
    async fn give_back(&mut self, segment: &Arc<Segment>, file: &dyn File, marks: &Marks) {
        if !give_back(&self.shared, file, marks).await && self.punch_failed.insert(segment.generation) {
            self.unpunched.push_back(Arc::clone(segment));
        }
    }

    /// Seals and retires what may be.
    async fn tidy(&mut self) {
        if self.shared.check_away().is_err() {
            return;
        }
        let damaged = std::mem::take(&mut *self.shared.indexes_damaged.lock());
        for segment in damaged.into_iter().filter_map(|generation| self.shared.segment(generation)) {
            let rebuilt = async {
                let file = self.shared.file(&segment).await?;
                lookup::rebuild(&self.shared, &segment, &*file).await
            };
            match rebuilt.await {
                Ok(()) => self.unsealed.push(segment),
                Err(error) => tracing::warn!(%error, segment = segment.generation, "the damaged index could not be made again"),
            }
        }
        for segment in std::mem::take(&mut self.unsealed) {
            if let Err(error) = self.seal(&segment).await {
                if !is_full(&error) {
                    self.shared.go_away(format!("sealing a segment failed: {error}"));
                    return;
                }
                self.unsealed.push(segment.clone());
            }
            if segment.inner.lock().live.count == 0 {
                self.all_dead.push(segment);
            }
        }
        for segment in std::mem::take(&mut self.all_dead) {
            match self.retire(&segment).await {
                Ok(true) => {}
                Ok(false) => self.all_dead.push(segment),
                Err(error) if is_full(&error) => self.all_dead.push(segment),
                Err(error) => {
                    self.shared.go_away(format!("retiring a segment failed: {error}"));
                    return;
                }
            }
        }
    }

    /// Writes a segment's index behind its records.
    async fn seal(&self, segment: &Segment) -> io::Result<()> {
        let (entries, data_end) = {
            let inner = segment.inner.lock();
            match &inner.index {
                Index::Memory(entries) if !inner.damaged && !inner.retired => (entries.clone(), inner.data_end),
                _ => return Ok(()),
            }
        };
        let file = self.shared.file(segment).await?;
        let names = (segment.generation, segment.nonce, segment.base_position);
        let stored = index_file::write(&*file, &entries, data_end, names).await?;
        segment.inner.lock().index = Index::Stored(stored);
        Ok(())
    }

    /// Ends a generation all of whose records are dead. False when it has to wait: the newest generation carries the zone's position.
    async fn retire(&self, segment: &Segment) -> io::Result<bool> {
        if self.shared.table.read().newest().is_none_or(|newest| newest <= segment.generation) {
            return Ok(false);
        }
        {
            let inner = segment.inner.lock();
            if inner.retired || inner.damaged || inner.active || inner.live.count > 0 {
                return Ok(true);
            }
        }
        let file = self.shared.file(segment).await?;
        let owner = self.shared.owner;
        let header = owner.header(SegmentState::Retired, segment.generation, segment.nonce, segment.base_position);
        file.write_at(0, &[Bytes::from(header.encode_block())]).await?;
        // Once this is durable nothing in the file counts, whatever becomes of its marks.
        self.shared.sync_segment(segment, &*file).await?;
        segment.inner.lock().retired = true;
        self.shared.table.write().segments.remove(&segment.generation);
        segment.advance_epoch();
        self.shared.forget_file(segment.slot);
        self.shared.pool.lock().retired.push_back(segment.slot);
        self.shared.pool_changed.notify_one();
        Ok(true)
    }

    /// Removes a file that never held anything that counts.
    async fn discard(&self, slot: u32) {
        if self.shared.check_away().is_ok()
            && let Err(error) = self.shared.remove_file(slot).await
        {
            tracing::warn!(%error, slot, "could not remove a segment file that was not used");
        }
    }

    /// Deletes for everybody who waits.
    async fn delete(&mut self, deletions: Vec<Deletion>) {
        let mut answers: Vec<Vec<Result<(), ZoneError>>> =
            deletions.iter().map(|deletion| vec![Ok(()); deletion.targets.len()]).collect();
        let mut by_generation: BTreeMap<u64, Vec<(usize, usize, Place, ChunkId)>> = BTreeMap::new();
        for (call, deletion) in deletions.iter().enumerate() {
            for (at, (place, id)) in deletion.targets.iter().enumerate() {
                if place.incarnation != self.shared.owner.incarnation {
                    continue;
                }
                by_generation.entry(place.generation).or_default().push((call, at, *place, *id));
            }
        }
        let mut touched = Vec::new();
        for (generation, targets) in by_generation {
            let mut answer = |call: usize, at: usize, result: Result<(), ZoneError>| {
                if let Some(slot) = answers.get_mut(call).and_then(|answers| answers.get_mut(at)) {
                    *slot = result;
                }
            };
            let outcome = self.delete_in(generation, &targets, &mut answer).await;
            match outcome {
                Ok(Some(one)) => touched.push(one),
                Ok(None) => {}
                Err(error) => {
                    for (call, at, ..) in &targets {
                        answer(*call, *at, Err(error.clone()));
                    }
                }
            }
        }
        for (deletion, answers) in deletions.into_iter().zip(answers) {
            let _ = deletion.answer.send(answers);
        }
        for (segment, file, marks) in touched {
            self.give_back(&segment, &*file, &marks).await;
            if segment.inner.lock().live.count == 0 {
                self.all_dead.push(segment);
            }
        }
    }

    /// Marks records of one segment dead and makes that durable. An error is the answer to all of them; single ones are answered
    /// by `answer`.
    async fn delete_in(
        &self,
        generation: u64,
        targets: &[(usize, usize, Place, ChunkId)],
        answer: &mut (dyn FnMut(usize, usize, Result<(), ZoneError>) + Send),
    ) -> Result<Option<(Arc<Segment>, Arc<dyn File>, Marks)>, ZoneError> {
        let shared = &self.shared;
        shared.check_away()?;
        let Some(segment) = shared.segment(generation) else {
            return match shared.missing(generation) {
                // Its generation is over, which was made durable: the chunk is gone.
                ZoneError::NotFound => Ok(None),
                other => Err(other),
            };
        };
        let file = match shared.file(&segment).await {
            Ok(file) => file,
            Err(error) => return Err(read_failed(shared, &segment, error).await),
        };
        let entries = match lookup::entries(shared, &segment, &*file).await {
            Ok(entries) => entries,
            Err(error) => return Err(read_failed(shared, &segment, error).await),
        };
        let mut marks = Marks::default();
        for (call, at, place, id) in targets {
            // One of another life names nothing here, so it is gone already.
            if !shared.may_be_in(&segment, place) {
                continue;
            }
            match mark(shared, &segment, &*file, &entries, *place, *id, &mut marks).await {
                Ok(()) => {}
                Err(error @ ZoneError::Away(_)) => return Err(error),
                Err(error) => answer(*call, *at, Err(error)),
            }
        }
        if marks.marked.is_empty() {
            return Ok(None);
        }
        if let Err(error) = shared.sync_segment(&segment, &*file).await {
            return Err(shared.go_away(format!("making a deletion durable failed: {error}")));
        }
        let mut bytes = 0;
        {
            let mut inner = segment.inner.lock();
            for payload_length in marks.counted.iter().filter_map(|offset| marks.marked.get(offset).copied()) {
                bytes += u64::from(payload_length);
                inner.live.subtract(payload_length);
            }
            if let Index::Memory(entries) = &mut inner.index {
                for offset in marks.marked.keys() {
                    if let Ok(at) = entries.binary_search_by_key(offset, |entry| entry.offset)
                        && let Some(entry) = entries.get_mut(at)
                    {
                        entry.state = RecordState::Dead;
                    }
                }
            }
        }
        shared.chunks.fetch_sub(marks.counted.len() as u64, Ordering::Relaxed);
        shared.bytes.fetch_sub(bytes, Ordering::Relaxed);
        // From here on readers who began before look again; only then may the payload go.
        segment.advance_epoch();
        Ok(Some((segment, file, marks)))
    }
}

/// Marks one record dead, if it is the one that is meant (B7). One that is dead already is marked again: after a crash or a failed
/// sync the mark that was read may be in the page cache only, and an answer must mean that it is on disk.
async fn mark(
    shared: &Shared,
    segment: &Arc<Segment>,
    file: &dyn File,
    entries: &[Entry],
    place: Place,
    id: ChunkId,
    marks: &mut Marks,
) -> Result<(), ZoneError> {
    let record = match lookup::record(shared, segment, file, place.offset).await {
        Ok(Some(record)) => record,
        // No record begins there, so none ever did.
        Ok(None) => return Ok(()),
        Err(error) => return Err(read_failed(shared, segment, error).await),
    };
    record.check(id, place.sequence)?;
    if marks.marked.contains_key(&place.offset) {
        return Ok(());
    }
    let indexed = index_file::find(entries, place.offset);
    let stored = segment.stored();
    let written = async {
        file.write_at(place.offset + STATE_OFFSET, &[Bytes::copy_from_slice(&RecordState::Dead.word())]).await?;
        if let (Some(stored), Some((at, _))) = (stored, indexed) {
            let byte = Bytes::copy_from_slice(&[state_byte(RecordState::Dead)]);
            file.write_at(stored.states_offset() + at as u64, &[byte]).await?;
        }
        Ok(())
    };
    match written.await {
        Ok(()) => {}
        Err(error) if is_full(&error) => return Err(ZoneError::Full(format!("marking a chunk deleted: {error}"))),
        Err(error) => return Err(shared.go_away(format!("marking a chunk deleted failed: {error}"))),
    }
    marks.marked.insert(place.offset, record.payload_length);
    if indexed.is_some_and(|(_, entry)| entry.state != RecordState::Dead) {
        marks.counted.insert(place.offset);
    }
    Ok(())
}

/// Says whether all of it was given back, or never will be.
async fn give_back(shared: &Shared, file: &dyn File, marks: &Marks) -> bool {
    let (mut all, mut failures) = (true, 0);
    for (offset, payload_length) in &marks.marked {
        let (start, length) = punchable(*offset, *payload_length);
        if length == 0 || !shared.gives_back.load(Ordering::Relaxed) {
            continue;
        }
        match file.punch_hole(start, length).await {
            Ok(()) => failures = 0,
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                tracing::debug!(%error, "the file system does not give parts of files back");
                shared.gives_back.store(false, Ordering::Relaxed);
                return true;
            }
            Err(error) => {
                tracing::debug!(%error, "a part of a file could not be given back");
                (all, failures) = (false, failures + 1);
                if failures == FAILURES_MAX {
                    return false;
                }
            }
        }
    }
    all
}
