//! Opening a zone's segments: look, decide, then change.
//!
//! Nothing is changed before it is clear that the zone may go on. Then what no longer counts is cut, what may never have reached the
//! disk is written again and synced, and segments without an index get one. Each step can be cut short by a crash and is
//! taken again by the next opening. Writing goes on in a new generation, whose base makes the decision final.

use std::collections::{BTreeSet, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use cairn_disk::Environment;

use super::format::{BLOCK_BYTES, SegmentState};
use super::inspect::{Candidate, Content, Inspected, inspect_all};
use super::scan::read_whole;
use super::segment::{Index, Inner, Segment, Table};
use super::settle::{Behind, Kept, Settled, settle};
use super::shared::{Owner, Shared, directory_id, file_name, is_full};
use super::{Damage, OpenError, Opening, index_file};

/// No zone ever counts further, however long it serves: what says so was not written by one, and to count on from there would begin again at 0.
const COUNT_MAX: u64 = u64::MAX / 2;
/// The same for files.
const SLOT_MAX: u32 = u32::MAX / 2;

/// What opening gives to the workers.
pub(super) struct Start {
    pub(super) shared: Shared,
    pub(super) damage: Vec<Damage>,
    /// The first generation that was never used.
    pub(super) generation_next: u64,
    /// Segments whose records are all dead.
    pub(super) all_dead: Vec<Arc<Segment>>,
    /// Segments that could not be sealed for lack of space.
    pub(super) unsealed: Vec<Arc<Segment>>,
    /// Segments with dead records among live ones: a crash may have come between a mark and giving its record's space back.
    pub(super) unpunched: VecDeque<Arc<Segment>>,
}

/// Opens; the inner error is a zone that has lost its memory.
pub(super) async fn open(opening: Opening) -> Result<Result<Start, Behind>, OpenError> {
    let Opening { environment, directory, store, zone, incarnation, recorded_position, presence, settings } = opening;
    settings.check().map_err(OpenError::Refused)?;
    let owner = Owner { store, zone, incarnation };
    let found = directory_id(&*environment.disk, &directory).await.ok();
    let inspected = inspect_all(&environment, &directory, owner, settings.open_parallelism).await?;

    let mut candidates = Vec::new();
    let (mut leftovers, mut unreadable, mut retired) = (Vec::new(), Vec::new(), Vec::new());
    let (mut slot_max, mut generation_max) = (None, 0);
    let mut pool = super::shared::Pool::default();
    for file in inspected {
        let slot = match file {
            Inspected::Leftover(slot) => {
                leftovers.push(slot);
                slot
            }
            Inspected::Spare(slot, length) => {
                if length >= settings.segment_bytes {
                    pool.ready.push_back((slot, length));
                } else {
                    pool.retired.push_back(slot);
                }
                slot
            }
            Inspected::Retired(slot, header) => {
                generation_max = generation_max.max(header.generation);
                retired.push((slot, header));
                pool.retired.push_back(slot);
                slot
            }
            Inspected::Unreadable(slot, what) => {
                unreadable.push((slot, what));
                slot
            }
            Inspected::Live(candidate) => {
                generation_max = generation_max.max(candidate.header.generation);
                let slot = candidate.slot;
                candidates.push(candidate);
                slot
            }
        };
        slot_max = slot_max.max(Some(slot));
    }
    candidates.sort_by_key(|candidate| candidate.header.generation);
    let twins =
        candidates.iter().zip(candidates.iter().skip(1)).find(|(one, two)| one.header.generation == two.header.generation);
    if let Some((one, two)) = twins {
        let words = format!("{} and {} claim the same generation", file_name(one.slot), file_name(two.slot));
        return Err(OpenError::Refused(words));
    }

    if slot_max.is_some_and(|slot| slot > SLOT_MAX) || generation_max > COUNT_MAX {
        let last = slot_max.map(file_name).unwrap_or_default();
        return Err(OpenError::Refused(format!("no zone gets as far as {last} or generation {generation_max}")));
    }
    let settled = match settle(&candidates, recorded_position, !unreadable.is_empty()).await? {
        Ok(settled) => settled,
        Err(behind) => return Ok(Err(behind)),
    };
    let Settled { position, mut damage, kept } = settled;
    if position > COUNT_MAX {
        return Err(OpenError::Refused(format!("no zone gets as far as position {position}")));
    }
    damage.extend(unreadable.iter().map(|(slot, what)| Damage {
        segment: file_name(*slot),
        offset: 0,
        what: what.clone(),
        missing: None,
        chunk: None,
    }));

    // From here on things are changed.
    prepare_directory(&environment, &directory).await?;
    let opened = directory_id(&*environment.disk, &directory).await?;
    if found.is_some_and(|found| found != opened) {
        return Err(OpenError::Refused(format!("{} was replaced by another while it was opened", directory.display())));
    }
    let shared = Shared::new(environment.clone(), directory, owner, settings, presence, opened, position);
    for slot in leftovers {
        environment.disk.remove_file(&shared.path(slot)).await?;
    }
    for (slot, header) in retired {
        // It may have been read from the page cache, where a failed sync left it; deletions are confirmed on the strength of it.
        let file = shared.file_if(slot, |found| found.generation == header.generation).await?;
        file.write_at(0, &[Bytes::from(header.encode_block())]).await?;
        shared.sync(&*file).await?;
    }
    let mut start = Start {
        damage,
        generation_next: generation_max.saturating_add(1),
        all_dead: Vec::new(),
        unsealed: Vec::new(),
        unpunched: VecDeque::new(),
        shared,
    };
    let mut table = Table {
        unreadable: unreadable.iter().map(|(slot, _)| file_name(*slot)).collect::<BTreeSet<_>>(),
        unreadable_generation_max: generation_max.saturating_add(1),
        ..Table::default()
    };
    for (candidate, kept) in candidates.iter().zip(kept) {
        let segment = Arc::new(adopt(&start.shared, candidate, kept).await?);
        {
            let inner = segment.inner.lock();
            start.shared.chunks.fetch_add(inner.live.count, Ordering::Relaxed);
            start.shared.bytes.fetch_add(inner.live.bytes, Ordering::Relaxed);
            if matches!(inner.index, Index::Memory(_)) && !inner.damaged {
                start.unsealed.push(segment.clone());
            }
            if inner.live.count == 0 && !inner.damaged {
                start.all_dead.push(segment.clone());
            } else if inner.has_dead() {
                start.unpunched.push_back(segment.clone());
            }
        }
        table.segments.insert(segment.generation, segment);
    }
    *start.shared.table.write() = table;
    *start.shared.pool.lock() = pool;
    start.shared.slot_next.store(slot_max.map_or(0, |slot| slot.saturating_add(1)), Ordering::Relaxed);
    Ok(Ok(start))
}

/// Makes the directory and its name durable.
async fn prepare_directory(environment: &Environment, directory: &Path) -> Result<(), OpenError> {
    environment.disk.create_directory(directory).await?;
    environment.disk.sync_directory(directory).await?;
    if let Some(parent) = directory.parent() {
        environment.disk.sync_directory(parent).await?;
    }
    Ok(())
}

/// Brings one segment into order and takes it up.
async fn adopt(shared: &Shared, candidate: &Candidate, kept: Option<Kept>) -> Result<Segment, OpenError> {
    let header = candidate.header;
    let make = |inner| Segment::new(candidate.slot, header.generation, header.nonce, header.base_position, inner);
    let block = Bytes::from(header.encode_block());
    let (file, kept) = match (&candidate.content, kept) {
        (Content::Scanned(_, file), Some(kept)) => (file, kept),
        (Content::Indexed(index, live), _) => {
            if candidate.header_lost {
                let file = shared.file_if(candidate.slot, |_| true).await?;
                file.write_at(0, &[block]).await?;
                shared.sync(&*file).await?;
            }
            return Ok(make(Inner {
                index: Index::Stored(*index),
                data_end: index.offset,
                capacity: 0,
                last_sequence: index.last_sequence,
                session_max: index.session_max,
                live: *live,
                active: false,
                damaged: false,
                retired: false,
            }));
        }
        (Content::Scanned(..), None) => return Err(OpenError::Refused("a scanned segment was not judged".to_owned())),
    };
    debug_assert_eq!(header.state, SegmentState::InUse);
    // The header and the last batch may never have left the page cache, and after a failed sync the kernel believes that they did:
    // only writing them again makes them dirty, and only then does a sync mean anything.
    file.write_at(0, &[block]).await?;
    for entry in &kept.unsure {
        if let Some(record) = read_whole(&**file, entry).await? {
            file.write_at(entry.offset, &[record]).await?;
        }
    }
    if !kept.damaged {
        file.set_length(kept.data_end.max(BLOCK_BYTES)).await?;
    }
    shared.sync(&**file).await?;
    let last_sequence = kept.entries.last().map_or(header.base_position, |entry| entry.sequence);
    let names = (header.generation, header.nonce, header.base_position);
    let mut inner = Inner::from_entries(kept.entries, kept.data_end, last_sequence);
    inner.damaged = kept.damaged;
    let stored = match &inner.index {
        Index::Memory(entries) if !kept.damaged => match index_file::write(&**file, entries, kept.data_end, names).await {
            Ok(stored) => Some(stored),
            Err(error) if is_full(&error) => None,
            Err(error) => return Err(error.into()),
        },
        _ => None,
    };
    if let Some(stored) = stored {
        inner.index = Index::Stored(stored);
    }
    Ok(make(inner))
}
