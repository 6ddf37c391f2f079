//! Finding a record by its place, and the entries of a segment.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use cairn_disk::File;
use cairn_types::ChunkId;

use super::OpenError;
use super::format::record::RECORD_HEADER_BYTES;
use super::format::{Entry, RecordHeader, RecordState, SegmentState};
use super::index_file;
use super::scan::scan;
use super::segment::{Index, Segment};
use super::shared::Shared;
use crate::ZoneError;

/// A record that was found where a locator says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Record {
    pub(super) id: ChunkId,
    pub(super) sequence: u64,
    pub(super) payload_length: u32,
    pub(super) state: RecordState,
}

impl Record {
    /// Whether this is the record that the caller means (B7).
    pub(super) fn check(&self, id: ChunkId, sequence: u64) -> Result<(), ZoneError> {
        if self.id != id {
            return Err(ZoneError::Mismatch(format!("it names {:?}, not {id:?}", self.id)));
        }
        if self.sequence != sequence {
            return Err(ZoneError::Mismatch(format!("it names record {sequence}, and there is record {}", self.sequence)));
        }
        Ok(())
    }
}

/// Reads a header from bytes at this offset; `None` when it is not one of this segment.
pub(super) fn parse(segment: &Segment, offset: u64, bytes: &Bytes) -> Option<Record> {
    let (header, state) = RecordHeader::parse(bytes).ok()?;
    let belongs = header.generation == segment.generation && header.nonce == segment.nonce && header.offset == offset;
    belongs.then_some(Record { id: header.id, sequence: header.sequence, payload_length: header.payload_length, state })
}

/// The record at this offset: by its header or, where that is damaged, by the segment's index. `None` when no record begins there.
pub(super) async fn record(shared: &Shared, segment: &Arc<Segment>, file: &dyn File, offset: u64) -> io::Result<Option<Record>> {
    let bytes = file.read_at(offset, RECORD_HEADER_BYTES).await?;
    match parse(segment, offset, &bytes) {
        Some(record) if record.state != RecordState::Unknown => Ok(Some(record)),
        _ => record_by_index(shared, segment, file, offset).await,
    }
}

/// The record at this offset as the index has it.
pub(super) async fn record_by_index(
    shared: &Shared,
    segment: &Arc<Segment>,
    file: &dyn File,
    offset: u64,
) -> io::Result<Option<Record>> {
    let convert = |entry: &Entry| Record {
        id: entry.id,
        sequence: entry.sequence,
        payload_length: entry.payload_length,
        state: entry.state,
    };
    if let Index::Memory(entries) = &segment.inner.lock().index {
        return Ok(index_file::find(entries, offset).map(|(_, entry)| convert(entry)));
    }
    let entries = entries(shared, segment, file).await?;
    Ok(index_file::find(&entries, offset).map(|(_, entry)| convert(entry)))
}

/// All entries of a segment, from memory, from its index or, where that is damaged, from its records.
pub(super) async fn entries(shared: &Shared, segment: &Arc<Segment>, file: &dyn File) -> io::Result<Vec<Entry>> {
    let stored = match &segment.inner.lock().index {
        Index::Memory(entries) => return Ok(entries.clone()),
        Index::Stored(stored) => *stored,
    };
    if let Some(entries) = index_file::read_entries(file, &stored).await? {
        return Ok(entries);
    }
    // Only maintenance may replace it: a deletion could come between this walk and its result.
    shared.indexes_damaged.lock().insert(segment.generation);
    Ok(walk(shared, segment, file, stored.offset).await?.0)
}

/// Makes a damaged index again from the records, in memory; whoever calls seals the segment then. Only for maintenance.
pub(super) async fn rebuild(shared: &Shared, segment: &Segment, file: &dyn File) -> io::Result<()> {
    let Some(stored) = segment.stored() else { return Ok(()) };
    if index_file::read_entries(file, &stored).await?.is_some() {
        return Ok(());
    }
    tracing::warn!(segment = segment.generation, "the index is damaged and is made again from the records");
    let (entries, whole) = walk(shared, segment, file, stored.offset).await?;
    let mut inner = segment.inner.lock();
    inner.damaged |= !whole;
    inner.index = Index::Memory(entries);
    Ok(())
}

/// The records of a segment up to here, and whether none is missing.
async fn walk(shared: &Shared, segment: &Segment, file: &dyn File, end: u64) -> io::Result<(Vec<Entry>, bool)> {
    if segment.inner.lock().retired {
        return Ok((Vec::new(), true));
    }
    let header = shared.owner.header(SegmentState::InUse, segment.generation, segment.nonce, segment.base_position);
    match scan(file, &header, end).await {
        Ok(found) => Ok((found.entries, found.gaps.is_empty())),
        Err(OpenError::Io(error)) => Err(error),
        Err(OpenError::Refused(words)) => Err(io::Error::other(words)),
    }
}

/// What an error while reading means: the zone is away, or this place is damaged.
pub(super) async fn read_failed(shared: &Shared, segment: &Segment, error: io::Error) -> ZoneError {
    if segment.inner.lock().retired {
        return ZoneError::NotFound;
    }
    match shared.check_present().await {
        Ok(()) => ZoneError::Damaged(format!("reading segment {} failed: {error}", segment.generation)),
        Err(gone) => ZoneError::Away(gone.to_string()),
    }
}
