//! Reading a whole chunk from one zone, verified, in its stored form (B1): what repair copies and scrub judges by.

use bytes::Bytes;
use cairn_types::frame::{ChunkShape, FRAME_DATA_LENGTH};
use cairn_types::{ChunkId, ZoneIndex};
use cairn_zone::ZoneError;

use crate::catalog_port::{Blob, ChunkRecord, Replica};
use crate::zones::Zones;

/// Data bytes that are read and verified at once.
const STEP: u64 = 16 * FRAME_DATA_LENGTH as u64;

/// Why a copy could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CopyError {
    /// The zone does not answer now: this says nothing about the copy.
    #[error("the zone does not answer: {0}")]
    Away(String),
    /// The copy is not there, or not what it should be.
    #[error("the copy is damaged: {0}")]
    Damaged(String),
    /// The record describes a chunk that this version cannot read.
    #[error("the record cannot be read: {0}")]
    Record(String),
}

/// Whether a failed read speaks against the copy, and not only against its zone. A read within the record's shape that the zone refuses is of a
/// copy that is shorter than it should be.
pub(crate) fn speaks_against_copy(error: &ZoneError) -> bool {
    match error {
        ZoneError::NotFound | ZoneError::Mismatch(_) | ZoneError::Damaged(_) | ZoneError::Refused(_) => true,
        ZoneError::Away(_) | ZoneError::PlaceAway(_) | ZoneError::Full(_) => false,
    }
}

/// Reads one copy of a chunk whole. Every frame is verified; what is returned is the stored form, tags included.
pub(crate) async fn read_stored(
    zones: &Zones,
    zone: ZoneIndex,
    replica: &Replica,
    blob: &Blob,
    ordinal: u32,
    chunk: &ChunkRecord,
) -> Result<Vec<Bytes>, CopyError> {
    let shape = blob.shape(chunk).map_err(|error| CopyError::Record(error.to_string()))?;
    read_shaped(zones, zone, replica, blob.chunk_id(ordinal), shape).await
}

/// [`read_stored`] for whoever has no record, only what the chunk looks like.
pub(crate) async fn read_shaped(
    zones: &Zones,
    zone: ZoneIndex,
    replica: &Replica,
    id: ChunkId,
    shape: ChunkShape,
) -> Result<Vec<Bytes>, CopyError> {
    let mut pieces = Vec::new();
    let mut start = 0;
    while start < shape.data_length() {
        let end = (start + STEP).min(shape.data_length());
        let span = shape.span(start..end).map_err(|error| CopyError::Record(error.to_string()))?;
        let stored = match zones.read(zone, replica, id, span.stored.start, span.stored_length()).await {
            Ok(stored) => stored,
            Err(error) if speaks_against_copy(&error) => return Err(CopyError::Damaged(error.to_string())),
            Err(error) => return Err(CopyError::Away(error.to_string())),
        };
        shape.verify(id, &span, &stored).map_err(|error| CopyError::Damaged(error.to_string()))?;
        pieces.push(stored);
        start = end;
    }
    Ok(pieces)
}
