//! Blobs: commit, reference, condemn, and keep the indexes exact (rules B2 to B5).
//!
//! Every change of a blob's record goes through [`write_blob`], which alone writes the indexes: a blob that is not condemned stands in
//! the index of incomplete blobs under the zones that it lacks, a condemned one in the queue under the zones that have yet to confirm.

use std::collections::BTreeMap;

use bytes::Bytes;
use cairn_types::ids::ZONE_COUNT;
use cairn_types::records::{BlobRecord, Condemned, Extent, InlineId, Replica, ZoneRecord, ZoneSet};
use cairn_types::{BlobId, Incarnation, SessionId, ZoneIndex};

use super::reader::{StateReader, record};
use super::tables::{
    ABANDONED, BLOBS, CONDEMNED, INCOMPLETE, INLINE, PARTS, ZONES, blob_key, condemned_key, due_key, incomplete_key, inline_key,
    part_key, zone_key,
};
use super::transaction::Transaction;
use crate::{
    AddLocators, AddLocatorsBatch, AddOutcome, CatalogError, CatalogResult, ClearLocators, ClearLocatorsBatch, CondemnedPosition,
    ConfirmDeletions, IncompletePosition, Limits, MoveLocator, MoveLocatorsBatch, NewBlob, NewContent,
};
use cairn_types::records::{AbandonedRecord, ManifestId, PartRecord};

/// Bytes that a command may have written before it leaves the letting go of further extents to [`super::reap`]: a command must fit in a
/// batch of the log, whatever it lets go of.
const RELEASE_AT_ONCE_BYTES_MAX: usize = 256 * 1024;
/// Extents that are let go of at once, by the same reason: each may be a blob with a long record.
pub(crate) const RELEASE_AT_ONCE_EXTENTS_MAX: usize = 32;

/// A body that has come into the state.
#[derive(Debug, Clone)]
pub(super) struct Content {
    pub extents: Vec<Extent>,
    pub length: u64,
}

/// The zones' present lives.
pub(super) fn incarnations(reader: &(impl StateReader + ?Sized)) -> CatalogResult<[Incarnation; ZONE_COUNT]> {
    let mut incarnations = [Incarnation::default(); ZONE_COUNT];
    for (zone, incarnation) in ZoneIndex::ALL.into_iter().zip(&mut incarnations) {
        *incarnation = record::<ZoneRecord>(reader, ZONES, &zone_key(zone))?.unwrap_or_default().incarnation;
    }
    Ok(incarnations)
}

/// A blob's record.
pub(super) fn blob(reader: &(impl StateReader + ?Sized), id: BlobId) -> CatalogResult<Option<BlobRecord>> {
    record(reader, BLOBS, &blob_key(id))
}

fn missing_blob(id: BlobId) -> CatalogError {
    CatalogError::Damaged(format!("blob {id:?} is referred to and not there"))
}

/// Writes or removes a blob's record, and keeps the indexes exact.
pub(super) fn write_blob(
    transaction: &mut Transaction<'_>,
    id: BlobId,
    before: Option<&BlobRecord>,
    after: Option<BlobRecord>,
) -> CatalogResult<()> {
    let indexed = |blob: &BlobRecord| match blob.condemned {
        None => (!blob.indexed_missing.is_empty())
            .then(|| (INCOMPLETE, incomplete_key(IncompletePosition { missing: blob.indexed_missing, blob: id }))),
        Some(Condemned { due, remaining }) => Some((CONDEMNED, condemned_key(CondemnedPosition { remaining, due, blob: id }))),
    };
    let old = before.and_then(indexed);
    let mut new = None;
    match after {
        Some(mut blob) => {
            by_incarnations(&mut blob, &incarnations(transaction)?);
            new = indexed(&blob);
            transaction.put_record(BLOBS, blob_key(id), &blob);
        }
        None => transaction.delete(BLOBS, blob_key(id)),
    }
    if old != new {
        if let Some((table, key)) = old {
            transaction.delete(table, key);
        }
        if let Some((table, key)) = new {
            transaction.put(table, key, Bytes::new());
        }
    }
    Ok(())
}

/// Takes a new body into the state (B3).
pub(super) fn commit_content(
    transaction: &mut Transaction<'_>,
    session: SessionId,
    content: NewContent,
) -> CatalogResult<Content> {
    match content {
        NewContent::Inline(bytes) if bytes.is_empty() => Ok(Content { extents: Vec::new(), length: 0 }),
        NewContent::Inline(bytes) => {
            if bytes.len() > transaction.limits().inline_length_max {
                return Err(CatalogError::Refused(format!("an inline body of {} bytes", bytes.len())));
            }
            let length = bytes.len() as u64;
            let id = put_inline(transaction, bytes)?;
            Ok(Content { extents: vec![Extent::Inline { id, length }], length })
        }
        NewContent::Blobs(blobs) => {
            let chunks: usize = blobs.iter().map(|blob| blob.content.chunks.len()).sum();
            if blobs.is_empty()
                || blobs.len() > transaction.limits().extents_max
                || chunks > transaction.limits().content_chunks_max
            {
                return Err(CatalogError::Refused(format!("a body of {} blobs and {chunks} chunks", blobs.len())));
            }
            let mut content = Content { extents: Vec::with_capacity(blobs.len()), length: 0 };
            for blob in blobs {
                let (id, length) = commit_blob(transaction, session, blob)?;
                content.extents.push(Extent::Blob { id, offset: 0, length });
                content.length = content.length.saturating_add(length);
            }
            Ok(content)
        }
    }
}

/// Makes a blob known, with one reference (B3).
fn commit_blob(transaction: &mut Transaction<'_>, session: SessionId, new: NewBlob) -> CatalogResult<(BlobId, u64)> {
    let id = new.id;
    if blob(transaction, id)?.is_some() {
        if id.session == session {
            // Most likely by this very commit, whose first answer was lost: its chunks are named, and nobody is to discard them.
            return Err(CatalogError::OutcomeUnknown(format!("blob {id:?} is known already, by the same session")));
        }
        return Err(CatalogError::Refused(format!("blob {id:?} is known already")));
    }
    let record = new_record(transaction.limits(), session, new, &incarnations(transaction)?)?;
    let length = record.content.length();
    write_blob(transaction, id, None, Some(record))?;
    Ok((id, length))
}

/// The record of a blob that becomes known under these incarnations (B3).
pub(crate) fn new_record(
    limits: &Limits,
    session: SessionId,
    new: NewBlob,
    incarnations: &[Incarnation; ZONE_COUNT],
) -> CatalogResult<BlobRecord> {
    let NewBlob { id, content } = new;
    let refuse = |why: &str| Err(CatalogError::Refused(format!("blob {id:?} {why}")));
    if id.session != session {
        return refuse("is of another session");
    }
    if content.chunks.is_empty() || content.chunks.len() > limits.blob_chunks_max {
        return refuse("has no chunks, or too many");
    }
    if content.chunks.iter().any(|chunk| chunk.data_length == 0) {
        return refuse("has an empty chunk");
    }
    let quorum = content.layout.write_quorum();
    if content.chunks.iter().any(|chunk| chunk.present(incarnations).len() < quorum) {
        return Err(CatalogError::QuorumLost(id));
    }
    let mut record = BlobRecord { references: 1, condemned: None, indexed_missing: ZoneSet::EMPTY, content };
    by_incarnations(&mut record, incarnations);
    Ok(record)
}

/// Drops places of retired incarnations, which name nothing any more (B2), and writes down which zones are missing.
fn by_incarnations(blob: &mut BlobRecord, incarnations: &[Incarnation; ZONE_COUNT]) {
    for (zone, incarnation) in ZoneIndex::ALL.into_iter().zip(incarnations) {
        for chunk in &mut blob.content.chunks {
            if let Some(replica) = chunk.replicas.get_mut(zone.get()) {
                replica.take_if(|replica| replica.incarnation != *incarnation);
            }
        }
    }
    blob.indexed_missing = if blob.condemned.is_some() { ZoneSet::EMPTY } else { blob.content.missing(incarnations) };
}

fn put_inline(transaction: &mut Transaction<'_>, bytes: Bytes) -> CatalogResult<InlineId> {
    let id = InlineId(transaction.next_sequence()?);
    transaction.put(INLINE, inline_key(id), bytes);
    Ok(id)
}

/// The bytes of an inline body.
pub(super) fn inline(reader: &(impl StateReader + ?Sized), id: InlineId) -> CatalogResult<Bytes> {
    reader
        .get(INLINE, &inline_key(id))?
        .ok_or_else(|| CatalogError::Damaged(format!("the inline body {} is referred to and not there", id.0)))
}

/// How often each blob is named.
fn count_blobs<'a>(extents: impl IntoIterator<Item = &'a Extent>) -> BTreeMap<BlobId, u64> {
    let mut counts = BTreeMap::new();
    for extent in extents {
        if let Extent::Blob { id, .. } = extent {
            *counts.entry(*id).or_default() += 1;
        }
    }
    counts
}

/// Extents that name the same bytes again (B5). The caller has made sure that whoever names them now does so still. `range` within the
/// extents' bytes.
pub(super) fn share(transaction: &mut Transaction<'_>, extents: Vec<Extent>) -> CatalogResult<Vec<Extent>> {
    let mut chunks = 0;
    for (id, count) in count_blobs(&extents) {
        let before = blob(transaction, id)?.ok_or_else(|| missing_blob(id))?;
        if before.condemned.is_some() {
            return Err(CatalogError::Damaged(format!("blob {id:?} is referred to and condemned")));
        }
        chunks += before.content.chunks.len();
        if chunks > transaction.limits().content_chunks_max {
            return Err(CatalogError::SourceTooScattered);
        }
        let mut after = before.clone();
        after.references = after.references.saturating_add(count);
        write_blob(transaction, id, Some(&before), Some(after))?;
    }
    // Inline bodies have one owner each: they are copied.
    extents
        .into_iter()
        .map(|extent| match extent {
            Extent::Inline { id, length } => {
                let bytes = inline(transaction, id)?;
                Ok(Extent::Inline { id: put_inline(transaction, bytes)?, length })
            }
            blob @ Extent::Blob { .. } => Ok(blob),
        })
        .collect()
}

/// The extents that hold a range of the bytes of these, sharing blobs and copying inline bytes (B5).
pub(super) fn share_range(
    transaction: &mut Transaction<'_>,
    extents: &[Extent],
    range: std::ops::Range<u64>,
) -> CatalogResult<Vec<Extent>> {
    let mut blobs = Vec::new();
    let mut cut = Vec::new();
    let mut start = 0_u64;
    for extent in extents {
        let end = start.saturating_add(extent.length());
        let from = range.start.max(start);
        let to = range.end.min(end);
        if from < to {
            let within = from - start..to - start;
            match extent {
                Extent::Inline { id, .. } => {
                    let bytes = inline(transaction, *id)?;
                    let slice = usize::try_from(within.start)
                        .ok()
                        .zip(usize::try_from(within.end).ok())
                        .filter(|(_, to)| *to <= bytes.len())
                        .map(|(from, to)| bytes.slice(from..to))
                        .ok_or_else(|| CatalogError::Damaged(format!("the inline body {} is too short", id.0)))?;
                    let length = slice.len() as u64;
                    cut.push(Extent::Inline { id: put_inline(transaction, slice)?, length });
                }
                Extent::Blob { id, offset, .. } => {
                    let piece = Extent::Blob { id: *id, offset: offset + within.start, length: to - from };
                    blobs.push(piece.clone());
                    cut.push(piece);
                }
            }
        }
        start = end;
    }
    share(transaction, blobs)?;
    Ok(cut)
}

/// Lets go of extents, now or (where it would be too much for one commit) by [`super::reap`].
pub(super) fn release(transaction: &mut Transaction<'_>, extents: Vec<Extent>) -> CatalogResult<()> {
    if extents.len() > RELEASE_AT_ONCE_EXTENTS_MAX || transaction.own_bytes() > RELEASE_AT_ONCE_BYTES_MAX {
        let owner = ManifestId(transaction.next_sequence()?);
        let length = extents.iter().map(Extent::length).fold(0, u64::saturating_add);
        let part = PartRecord {
            sequence: owner.0,
            written: transaction.now(),
            length,
            etag: cairn_types::ETag::of_bytes([0; 16]),
            checksum: None,
            extents,
        };
        transaction.put_record(PARTS, part_key(owner, 1), &part);
        let due = transaction.now().catalog;
        transaction.put_record(ABANDONED, due_key(due, owner), &AbandonedRecord { bucket: None });
        Ok(())
    } else {
        release_now(transaction, &extents)
    }
}

/// Lets go of extents in this commit. A blob without references is condemned (B5), for ever.
pub(super) fn release_now(transaction: &mut Transaction<'_>, extents: &[Extent]) -> CatalogResult<()> {
    for extent in extents {
        if let Extent::Inline { id, .. } = extent {
            transaction.delete(INLINE, inline_key(*id));
        }
    }
    for (id, count) in count_blobs(extents) {
        let before = blob(transaction, id)?.ok_or_else(|| missing_blob(id))?;
        let mut after = before.clone();
        // A count that is too low would let bytes be deleted that somebody names: better to fail than to go on.
        after.references = before
            .references
            .checked_sub(count)
            .ok_or_else(|| CatalogError::Damaged(format!("blob {id:?} has fewer references than are let go of")))?;
        if after.references == 0 {
            let due = transaction.now().catalog.after(transaction.limits().garbage_grace);
            after.condemned = Some(Condemned { due, remaining: ZoneSet::ALL });
        }
        write_blob(transaction, id, Some(&before), Some(after))?;
    }
    Ok(())
}

/// See [`crate::Catalog::add_locators`] (B4).
pub(super) fn add_locators(transaction: &mut Transaction<'_>, batch: AddLocatorsBatch) -> CatalogResult<Vec<AddOutcome>> {
    super::sessions::check_open(transaction, batch.session)?;
    let incarnations = incarnations(transaction)?;
    batch
        .additions
        .into_iter()
        .map(|addition| {
            let id = addition.blob;
            let Some(before) = blob(transaction, id)?.filter(|blob| blob.condemned.is_none()) else {
                return Ok(AddOutcome::Refused);
            };
            let Some(after) = with_places(&before, addition, &incarnations) else {
                return Ok(AddOutcome::Refused);
            };
            if after != before {
                write_blob(transaction, id, Some(&before), Some(after))?;
            }
            Ok(AddOutcome::Added)
        })
        .collect()
}

/// The record with these places, `None` when any of them may not be added.
fn with_places(before: &BlobRecord, addition: AddLocators, incarnations: &[Incarnation; ZONE_COUNT]) -> Option<BlobRecord> {
    let current = incarnations.get(addition.zone.get()).filter(|incarnation| incarnation.0 != 0)?;
    let mut after = before.clone();
    for (ordinal, place) in addition.places {
        let slot = after.content.chunks.get_mut(usize::try_from(ordinal).ok()?)?.replicas.get_mut(addition.zone.get())?;
        if place.incarnation != *current {
            return None;
        }
        match slot {
            // Of the present life: another copier won, unless it is the same place.
            Some(there) if there.incarnation == *current => {
                if *there != place {
                    return None;
                }
            }
            _ => *slot = Some(place),
        }
    }
    Some(after)
}

/// See [`crate::Catalog::clear_locators`].
pub(super) fn clear_locators(transaction: &mut Transaction<'_>, batch: ClearLocatorsBatch) -> CatalogResult<Vec<bool>> {
    let incarnations = incarnations(transaction)?;
    batch
        .clearances
        .into_iter()
        .map(|clearance| {
            let id = clearance.blob;
            let Some(before) = blob(transaction, id)?.filter(|blob| blob.condemned.is_none()) else {
                return Ok(false);
            };
            match without_places(&before, &clearance, &incarnations) {
                Some(after) if after != before => {
                    write_blob(transaction, id, Some(&before), Some(after))?;
                    Ok(true)
                }
                _ => Ok(false),
            }
        })
        .collect()
}

/// The record without these places; `None` when a chunk would be left without any: even damaged bytes are better than none.
fn without_places(
    before: &BlobRecord,
    clearance: &ClearLocators,
    incarnations: &[Incarnation; ZONE_COUNT],
) -> Option<BlobRecord> {
    let mut after = before.clone();
    for (ordinal, place) in &clearance.places {
        let chunk = after.content.chunks.get_mut(usize::try_from(*ordinal).ok()?)?;
        let slot = chunk.replicas.get_mut(clearance.zone.get())?;
        if slot.as_ref() == Some(place) {
            *slot = None;
            if chunk.present(incarnations).is_empty() {
                return None;
            }
        }
    }
    Some(after)
}

/// See [`crate::Catalog::move_locators`] (B4).
pub(super) fn move_locators(transaction: &mut Transaction<'_>, batch: MoveLocatorsBatch) -> CatalogResult<Vec<bool>> {
    super::sessions::check_open(transaction, batch.session)?;
    if super::sessions::may_lack(transaction)? {
        let why = "nothing is moved until an administrator has looked at what the catalog may have forgotten (P5)";
        return Err(CatalogError::Unavailable(why.to_owned()));
    }
    let incarnations = incarnations(transaction)?;
    batch
        .moves
        .into_iter()
        .map(|moved| {
            let id = moved.chunk.blob;
            let Some(before) = blob(transaction, id)?.filter(|blob| blob.condemned.is_none()) else {
                return Ok(false);
            };
            let Some(after) = with_moved(&before, moved, &incarnations) else {
                return Ok(false);
            };
            if after != before {
                write_blob(transaction, id, Some(&before), Some(after))?;
            }
            Ok(true)
        })
        .collect()
}

/// The record with this place in the stead of the other; `None` when it may not be.
fn with_moved(before: &BlobRecord, moved: MoveLocator, incarnations: &[Incarnation; ZONE_COUNT]) -> Option<BlobRecord> {
    let current = incarnations.get(moved.zone.get()).filter(|incarnation| incarnation.0 != 0)?;
    if moved.to.incarnation != *current || moved.from.incarnation != *current {
        return None;
    }
    let mut after = before.clone();
    let chunk = after.content.chunks.get_mut(usize::try_from(moved.chunk.ordinal).ok()?)?;
    let slot = chunk.replicas.get_mut(moved.zone.get())?.as_mut()?;
    if *slot != moved.to {
        // Another place may be a repair's: it is the one that was read as good last.
        if *slot != moved.from {
            return None;
        }
        *slot = moved.to;
    }
    Some(after)
}

/// See [`crate::Catalog::confirm_deletions`] (B5).
pub(super) fn confirm_deletions(transaction: &mut Transaction<'_>, request: ConfirmDeletions) -> CatalogResult<()> {
    for (id, zones) in request.confirmed {
        let Some(before) = blob(transaction, id)? else { continue };
        let Some(condemned) = before.condemned.filter(|condemned| condemned.due <= transaction.now().catalog) else {
            continue;
        };
        let remaining = condemned.remaining.difference(zones);
        let after = (!remaining.is_empty())
            .then(|| BlobRecord { condemned: Some(Condemned { remaining, ..condemned }), ..before.clone() });
        write_blob(transaction, id, Some(&before), after)?;
    }
    Ok(())
}

/// Whether the blob of this chunk names it by this very place (S2).
pub(super) fn names(reader: &(impl StateReader + ?Sized), place: &crate::ChunkPlace) -> CatalogResult<bool> {
    let named: Option<Replica> = blob(reader, place.chunk.blob)?
        .and_then(|blob| blob.content.chunks.into_iter().nth(place.chunk.ordinal as usize))
        .and_then(|chunk| chunk.replicas.into_iter().nth(place.zone.get()).flatten());
    Ok(named.as_ref() == Some(&place.replica))
}
