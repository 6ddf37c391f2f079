//! The zones' incarnations, and the walk over all blobs that follows a loss of memory (B2).

use std::ops::Bound;

use cairn_types::codec::Record;
use cairn_types::records::{BlobRecord, RebuildCursor, ZoneRecord};
use cairn_types::{BlobId, SessionId, ZoneIndex};

use super::blobs::{incarnations, write_blob};
use super::reader::{StateReader, record};
use super::tables::{BLOBS, META_GENERATION, ZONES, blob_key, read_blob_key, zone_key};
use super::transaction::{Transaction, meta};
use crate::{AdvanceRebuild, CatalogError, CatalogResult, RebuildProgress, RetireIncarnation, ZoneView};

pub(super) fn view(reader: &(impl StateReader + ?Sized)) -> CatalogResult<ZoneView> {
    let mut view = ZoneView { generation: meta(reader, META_GENERATION)?, ..ZoneView::default() };
    for (zone, place) in ZoneIndex::ALL.into_iter().zip(&mut view.zones) {
        *place = zone_record(reader, zone)?;
    }
    Ok(view)
}

fn zone_record(reader: &(impl StateReader + ?Sized), zone: ZoneIndex) -> CatalogResult<ZoneRecord> {
    if !ZoneIndex::ALL.contains(&zone) {
        return Err(CatalogError::Refused(format!("there is no zone {zone}")));
    }
    Ok(record(reader, ZONES, &zone_key(zone))?.unwrap_or_default())
}

pub(super) fn retire(transaction: &mut Transaction<'_>, request: RetireIncarnation) -> CatalogResult<ZoneView> {
    let before = zone_record(transaction, request.zone)?;
    if request.incarnation < before.incarnation {
        return Err(CatalogError::Refused(format!("zone {} has incarnation {} already", request.zone, before.incarnation)));
    }
    if request.incarnation > before.incarnation {
        // A zone that is new to the catalog has no copies to lose. Else the walk begins anew, whether or not one was under way.
        let first = BlobId { session: SessionId(0), counter: 0 };
        let rebuild = (before.incarnation.0 != 0).then(|| RebuildCursor { next: first, since: transaction.now().catalog });
        transaction.put_record(ZONES, zone_key(request.zone), &ZoneRecord { incarnation: request.incarnation, rebuild });
    }
    view(transaction)
}

pub(super) fn advance(transaction: &mut Transaction<'_>, request: AdvanceRebuild) -> CatalogResult<RebuildProgress> {
    let zone = zone_record(transaction, request.zone)?;
    let cursor = match &zone.rebuild {
        Some(cursor) if zone.incarnation == request.incarnation => cursor,
        _ => {
            return Ok(RebuildProgress { finished: zone.rebuild.is_none(), ..RebuildProgress::default() });
        }
    };
    let from = blob_key(cursor.next);
    let to = request.to.map(blob_key);
    let to = to.as_deref().map_or(Bound::Unbounded, Bound::Included);
    let limit = request.limit.clamp(1, transaction.limits().page_length_max) as usize;
    // One more than the limit tells where to go on.
    let rows: Vec<_> =
        transaction.range(BLOBS, Bound::Included(from.as_ref()), to).take(limit + 1).collect::<CatalogResult<_>>()?;
    let incarnations = incarnations(transaction)?;
    let mut progress = RebuildProgress::default();
    let mut next = None;
    for (place, (key, value)) in rows.into_iter().enumerate() {
        let id = read_blob_key(&key)?;
        // Records are long: a commit holds only so many of them.
        if place == limit || transaction.own_bytes() > super::WRITES_SOFT_MAX {
            next = Some(id);
            break;
        }
        progress.examined += 1;
        let before = BlobRecord::decode(&value)?;
        if before.condemned.is_none() && before.content.missing(&incarnations) != before.indexed_missing {
            write_blob(transaction, id, Some(&before), Some(before.clone()))?;
            progress.indexed += 1;
        }
    }
    // At the bound, which need not be the end.
    let next = next.or_else(|| request.to.and_then(successor).map(|next| next.max(cursor.next)));
    progress.finished = next.is_none();
    let rebuild = next.map(|next| RebuildCursor { next, since: cursor.since });
    let record = ZoneRecord { incarnation: zone.incarnation, rebuild };
    transaction.put_record(ZONES, zone_key(request.zone), &record);
    Ok(progress)
}

/// The next blob id there can be.
fn successor(blob: BlobId) -> Option<BlobId> {
    match blob.counter.checked_add(1) {
        Some(counter) => Some(BlobId { counter, ..blob }),
        None => blob.session.0.checked_add(1).map(|session| BlobId { session: SessionId(session), counter: 0 }),
    }
}
