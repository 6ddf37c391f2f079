//! Walking a segment's records from its start: for a segment without an index, and the tail after a crash.
//!
//! A scan reports what is there and judges nothing: which of it counts is decided by [`super::settle`], which knows what the other
//! segments and the catalog say was durable.

use std::io;
use std::ops::RangeInclusive;

use bytes::Bytes;
use cairn_disk::File;

use super::OpenError;
use super::format::record::{RECORD_HEADER_BYTES, looks_like_record_of};
use super::format::{BLOCK_BYTES, Entry, IndexHeader, ParseError, RecordHeader, RecordState, SegmentHeader};

/// Bytes read at once while looking through a whole file.
pub(super) const WINDOW_BYTES: usize = 1024 * 1024;

/// What a walk found.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// Records with a good header, in order; sequences rise.
    pub(super) entries: Vec<Entry>,
    /// Bytes between good records that are none.
    pub(super) gaps: Vec<Gap>,
    /// Where the last good record ends.
    pub(super) end: u64,
    /// The highest position that the records say was durable: by the field written with each (L5), and by each that is marked
    /// dead, because only what was acknowledged is ever deleted.
    pub(super) durable: u64,
    /// A good index head stands right behind the records: the segment was sealed here.
    pub(super) sealed: bool,
    /// What stands behind the last record is recognisably a record of this generation, damaged or torn.
    pub(super) recognisable: bool,
}

/// A place where records should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Gap {
    pub(super) offset: u64,
    /// The sequences that must have been there.
    pub(super) missing: RangeInclusive<u64>,
}

enum Step {
    Record(Entry, u64),
    Head(IndexHeader),
    Neither,
}

/// Walks the records of one generation in a file of this length.
pub(super) async fn scan(file: &dyn File, header: &SegmentHeader, length: u64) -> Result<Scan, OpenError> {
    let mut found = Scan { end: BLOCK_BYTES, ..Scan::default() };
    let mut expected = header.base_position.saturating_add(1);
    let mut offset = BLOCK_BYTES;
    loop {
        let block = file.read_at(offset, RECORD_HEADER_BYTES.max(512)).await?;
        let step = match look(&block, header, offset, expected)? {
            Step::Record(entry, _) if entry.sequence != expected => Step::Neither,
            step => step,
        };
        let (entry, durable_position) = match step {
            Step::Record(entry, durable_position) => (entry, durable_position),
            Step::Head(_) => {
                found.sealed = true;
                return Ok(found);
            }
            Step::Neither => {
                let recognisable = looks_like_record_of(&block, header.generation, header.nonce);
                match resynchronise(file, header, offset, expected, length).await? {
                    Some(Step::Record(entry, durable_position)) => {
                        // A record that follows its predecessor in sequence lost nothing in between.
                        if entry.sequence > expected {
                            found.gaps.push(Gap { offset, missing: expected..=entry.sequence - 1 });
                        }
                        (entry, durable_position)
                    }
                    Some(Step::Head(head)) => {
                        found.sealed = true;
                        if head.last_sequence >= expected {
                            found.gaps.push(Gap { offset, missing: expected..=head.last_sequence });
                        }
                        return Ok(found);
                    }
                    Some(Step::Neither) | None => {
                        found.recognisable = recognisable;
                        return Ok(found);
                    }
                }
            }
        };
        found.durable = found.durable.max(durable_position);
        if entry.state == RecordState::Dead {
            found.durable = found.durable.max(entry.sequence);
        }
        expected = entry.sequence.saturating_add(1);
        offset = entry.record_end();
        found.end = offset;
        found.entries.push(entry);
    }
}

/// What begins at this offset.
fn look(block: &Bytes, header: &SegmentHeader, offset: u64, expected: u64) -> Result<Step, OpenError> {
    match RecordHeader::parse(block) {
        Ok((record, state)) => {
            let belongs = record.generation == header.generation && record.nonce == header.nonce && record.offset == offset;
            if belongs && record.sequence >= expected {
                return Ok(Step::Record(entry_of(&record, state), record.durable_position));
            }
        }
        Err(error @ ParseError::Version(_)) => return Err(OpenError::Refused(format!("a record has {error}"))),
        Err(_) => {}
    }
    match IndexHeader::parse(block) {
        Ok(head) if head.generation == header.generation && head.nonce == header.nonce && head.offset == offset => {
            Ok(Step::Head(head))
        }
        _ => Ok(Step::Neither),
    }
}

/// The first good record of a sequence not below the expected one, or the index head, behind a bad place.
async fn resynchronise(
    file: &dyn File,
    header: &SegmentHeader,
    bad: u64,
    expected: u64,
    length: u64,
) -> Result<Option<Step>, OpenError> {
    let mut start = bad.saturating_add(BLOCK_BYTES);
    while start < length {
        let window = file.read_at(start, WINDOW_BYTES).await?;
        if window.is_empty() {
            break;
        }
        for (at, block) in window.chunks(BLOCK_BYTES as usize).enumerate() {
            let offset = start + at as u64 * BLOCK_BYTES;
            let block = window.slice_ref(block);
            match look(&block, header, offset, expected)? {
                Step::Neither => {}
                step => return Ok(Some(step)),
            }
        }
        start += WINDOW_BYTES as u64;
    }
    Ok(None)
}

/// What an index keeps of a record.
pub(super) fn entry_of(record: &RecordHeader, state: RecordState) -> Entry {
    Entry {
        offset: record.offset,
        payload_length: record.payload_length,
        sequence: record.sequence,
        session: record.session,
        id: record.id,
        payload_crc: record.payload_crc,
        state,
    }
}

/// The whole record, when its payload is what its header says; `None` otherwise.
pub(super) async fn read_whole(file: &dyn File, entry: &Entry) -> io::Result<Option<Bytes>> {
    let length = RECORD_HEADER_BYTES + entry.payload_length as usize;
    let bytes = file.read_at(entry.offset, length).await?;
    let whole = bytes.len() == length && bytes.get(RECORD_HEADER_BYTES..).map(crc32c::crc32c) == Some(entry.payload_crc);
    Ok(whole.then_some(bytes))
}
