//! Reading a chunk, or a range of it.
//!
//! A read verifies that the record is the one the locator names. For a range near the chunk's start header and range come in one
//! read; elsewhere the header costs a second small read, once: it is remembered, for as long as nothing is deleted in that segment.
//! When something was deleted there while the payload was read, the header is looked at again: a deletion marks the header before it
//! gives the payload's space back, so a header that is still live after the payload was read vouches for it.

use std::sync::Arc;

use bytes::Bytes;
use cairn_disk::File;
use cairn_types::ChunkId;

use super::format::record::RECORD_HEADER_BYTES;
use super::format::{Place, RecordState};
use super::lookup::{self, Record, read_failed};
use super::segment::Segment;
use super::shared::{Shared, Verified};
use crate::ZoneError;

/// Up to this distance from the record's start, header and range come in one read, bytes.
const ONE_READ_BYTES_MAX: usize = 256 * 1024;

/// Reads on a thread that may block.
pub(super) async fn read(shared: Arc<Shared>, place: Place, id: ChunkId, offset: u64, length: usize) -> Result<Bytes, ZoneError> {
    let segment = match shared.segment(place.generation) {
        Some(segment) if shared.may_be_in(&segment, &place) => segment,
        None if place.incarnation == shared.owner.incarnation => return Err(shared.missing(place.generation)),
        _ => return Err(ZoneError::NotFound),
    };
    let epoch = segment.epoch();
    let file = match shared.file(&segment).await {
        Ok(file) => file,
        Err(error) => return Err(read_failed(&shared, &segment, error).await),
    };
    let bytes = match read_verified(&shared, &segment, &*file, epoch, place, id, offset, length).await {
        Ok(bytes) => bytes?,
        Err(error) => return Err(read_failed(&shared, &segment, error).await),
    };
    if segment.epoch() != epoch {
        match lookup::record(&shared, &segment, &*file, place.offset).await {
            Ok(Some(record)) => check(&record, place, id)?,
            Ok(None) => return Err(ZoneError::NotFound),
            Err(error) => return Err(read_failed(&shared, &segment, error).await),
        }
        if segment.inner.lock().retired {
            return Err(ZoneError::NotFound);
        }
    }
    Ok(bytes)
}

fn check(record: &Record, place: Place, id: ChunkId) -> Result<(), ZoneError> {
    record.check(id, place.sequence)?;
    if record.state == RecordState::Dead { Err(ZoneError::NotFound) } else { Ok(()) }
}

#[allow(clippy::too_many_arguments, reason = "one step of `read`, cut out for the sake of its two kinds of errors")]
async fn read_verified(
    shared: &Shared,
    segment: &Arc<Segment>,
    file: &dyn File,
    epoch: u64,
    place: Place,
    id: ChunkId,
    offset: u64,
    length: usize,
) -> std::io::Result<Result<Bytes, ZoneError>> {
    let key = (place.generation, place.offset);
    let remembered = shared.headers.get(&key).filter(|verified| verified.epoch == epoch);
    let mut both = None;
    let record = if let Some(verified) = remembered {
        Record { id: verified.id, sequence: verified.sequence, payload_length: verified.payload_length, state: RecordState::Live }
    } else {
        let span = usize::try_from(offset).ok().and_then(|start| start.checked_add(length)?.checked_add(RECORD_HEADER_BYTES));
        let found = match span.filter(|span| *span <= ONE_READ_BYTES_MAX) {
            Some(span) => {
                let bytes = file.read_at(place.offset, span).await?;
                let found = lookup::parse(segment, place.offset, &bytes).filter(|record| record.state != RecordState::Unknown);
                both = Some(bytes);
                match found {
                    Some(record) => Some(record),
                    None => lookup::record_by_index(shared, segment, file, place.offset).await?,
                }
            }
            None => lookup::record(shared, segment, file, place.offset).await?,
        };
        let Some(record) = found else {
            return Ok(Err(ZoneError::NotFound));
        };
        record
    };
    if let Err(error) = check(&record, place, id) {
        return Ok(Err(error));
    }
    let end = offset.checked_add(length as u64).filter(|end| *end <= u64::from(record.payload_length));
    if end.is_none() {
        return Ok(Err(ZoneError::Refused(format!(
            "{length} bytes from {offset} on pass the chunk's end at {}",
            record.payload_length
        ))));
    }
    let verified = Verified { epoch, id: record.id, sequence: record.sequence, payload_length: record.payload_length };
    shared.headers.insert(key, verified);
    let start = RECORD_HEADER_BYTES as u64 + offset;
    let bytes = match both {
        Some(both) => both.slice(both.len().min(start as usize)..),
        None => file.read_at(place.offset.saturating_add(start), length).await?,
    };
    if bytes.len() < length {
        return Ok(Err(ZoneError::Damaged(format!("segment {} ends within the chunk", segment.generation))));
    }
    Ok(Ok(bytes))
}
