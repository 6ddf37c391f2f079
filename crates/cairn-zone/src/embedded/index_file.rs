//! Writing a segment's index, reading it back, and finding a record in it.

use std::io;

use bytes::Bytes;
use cairn_disk::File;

use super::format::index::{ENTRY_BYTES, INDEX_HEADER_BYTES, state_byte};
use super::format::record::RECORD_HEADER_BYTES;
use super::format::{BLOCK_BYTES, Entry, IndexHeader, RecordHeader, RecordState, blocks_up};
use super::segment::session_max;

/// Ends the file behind its records and writes the index there. The records must be durable. When it returns, so is the index; a
/// crash before leaves a file without one, which is scanned.
pub(super) async fn write(
    file: &dyn File,
    entries: &[Entry],
    data_end: u64,
    (generation, nonce, base_position): (u64, u64, u64),
) -> io::Result<IndexHeader> {
    let data_end = blocks_up(data_end);
    let mut body = Vec::with_capacity(entries.len() * (ENTRY_BYTES + 1));
    for entry in entries {
        body.extend_from_slice(&entry.encode());
    }
    let entries_crc = crc32c::crc32c(&body);
    body.extend(entries.iter().map(|entry| state_byte(entry.state)));
    let header = IndexHeader {
        generation,
        nonce,
        base_position,
        last_sequence: entries.last().map_or(base_position, |entry| entry.sequence),
        count: u32::try_from(entries.len()).map_err(|_| io::Error::other("too many records for an index"))?,
        offset: data_end,
        payload_bytes: entries.iter().map(|entry| u64::from(entry.payload_length)).sum(),
        session_max: session_max(entries),
        entries_crc,
    };
    // Cutting first leaves nothing behind the records that could later be taken for one.
    file.set_length(data_end).await?;
    file.write_at(header.entries_offset(), &[Bytes::from(body)]).await?;
    file.sync_data().await?;
    let head = Bytes::copy_from_slice(&header.encode());
    file.write_at(header.offset, std::slice::from_ref(&head)).await?;
    file.write_at(header.second_offset(), &[head]).await?;
    file.sync_data().await?;
    Ok(header)
}

/// The head at the end of a file of this length, if there is one and it fits the file.
pub(super) async fn read_head(file: &dyn File, length: u64) -> io::Result<Option<IndexHeader>> {
    let Some(offset) = length.checked_sub(INDEX_HEADER_BYTES as u64) else {
        return Ok(None);
    };
    let bytes = file.read_at(offset, INDEX_HEADER_BYTES).await?;
    Ok(IndexHeader::parse(&bytes).ok().filter(|header| fits(header, length)))
}

/// Whether a head describes a file of this length: what it says is used to allocate and to read.
pub(super) fn fits(header: &IndexHeader, length: u64) -> bool {
    header.offset >= BLOCK_BYTES && header.offset.is_multiple_of(BLOCK_BYTES) && header.file_end() == length
}

/// The state bytes of all entries; fewer when the file ends early.
pub(super) async fn read_states(file: &dyn File, header: &IndexHeader) -> io::Result<Bytes> {
    file.read_at(header.states_offset(), header.count as usize).await
}

/// All entries; `None` when they are damaged.
pub(super) async fn read_entries(file: &dyn File, header: &IndexHeader) -> io::Result<Option<Vec<Entry>>> {
    let length = usize::try_from(header.entries_bytes()).map_err(io::Error::other)?;
    let mut entries = file.read_at(header.entries_offset(), length + header.count as usize).await?;
    if entries.len() < length + header.count as usize {
        return Ok(None);
    }
    let states = entries.split_off(length);
    if crc32c::crc32c(&entries) != header.entries_crc {
        return Ok(None);
    }
    let mut entries = Entry::decode_all(&entries, &states);
    for entry in entries.iter_mut().filter(|entry| entry.state == RecordState::Unknown) {
        // The record has the same mark.
        let bytes = file.read_at(entry.offset, RECORD_HEADER_BYTES).await?;
        if let Ok((record, state)) = RecordHeader::parse(&bytes)
            && record.sequence == entry.sequence
            && record.nonce == header.nonce
        {
            entry.state = state;
        }
    }
    Ok(Some(entries))
}

/// The entry of the record that begins at this offset, and its place among the entries.
pub(super) fn find(entries: &[Entry], offset: u64) -> Option<(usize, &Entry)> {
    let at = entries.binary_search_by_key(&offset, |entry| entry.offset).ok()?;
    entries.get(at).map(|entry| (at, entry))
}
