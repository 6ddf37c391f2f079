//! Looking at the files of a zone without changing anything.

use std::io;
use std::path::Path;
use std::sync::Arc;

use cairn_disk::{Environment, File, OpenMode};
use futures::StreamExt;

use super::format::index::state_from_byte;
use super::format::record::RECORD_HEADER_BYTES;
use super::format::{BLOCK_BYTES, IndexHeader, ParseError, RecordHeader, RecordState, SegmentHeader, SegmentState, blocks_up};
use super::scan::{Scan, WINDOW_BYTES, scan};
use super::segment::{Live, count_live};
use super::shared::{Owner, file_name, run_blocking, slot_of};
use super::{OpenError, index_file};

/// What a file is.
pub(super) enum Inspected {
    /// Creation was cut short; it never held anything.
    Leftover(u32),
    /// Prepared, of this length.
    Spare(u32, u64),
    /// Over; its header names the generation that it had.
    Retired(u32, SegmentHeader),
    /// Holds records.
    Live(Box<Candidate>),
    /// Holds something that cannot be read.
    Unreadable(u32, String),
}

/// A segment with records, as found.
pub(super) struct Candidate {
    pub(super) slot: u32,
    pub(super) length: u64,
    pub(super) header: SegmentHeader,
    /// Both copies of the header were unreadable; it was put together from the rest of the file.
    pub(super) header_lost: bool,
    pub(super) content: Content,
}

/// How the records of a segment were found.
pub(super) enum Content {
    /// By its index: head, live chunks.
    Indexed(IndexHeader, Live),
    /// By walking, for lack of a good index. Only these keep their file open: a zone has more segments than descriptors.
    Scanned(Scan, Arc<dyn File>),
}

/// Looks at every segment file of a directory, several side by side. A directory that is not there has none.
pub(super) async fn inspect_all(
    environment: &Environment,
    directory: &Path,
    owner: Owner,
    parallelism: usize,
) -> Result<Vec<Inspected>, OpenError> {
    let names = match environment.disk.read_directory(directory).await {
        Ok(names) => names,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    let slots: Vec<u32> = names.iter().filter_map(|name| slot_of(name)).collect();
    let looks = futures::stream::iter(slots.into_iter().map(|slot| {
        let (environment, path) = (environment.clone(), directory.join(file_name(slot)));
        async move {
            let disk = environment.disk.clone();
            let work = Box::pin(async move {
                let file = disk.open(&path, OpenMode::Write).await?;
                inspect(slot, file, owner).await
            });
            let stopped = || OpenError::Io(io::Error::other("the runtime is shutting down"));
            run_blocking(&environment, work).await.unwrap_or_else(|| Err(stopped()))
        }
    }));
    // In the order of the names, so that the same directory always gives the same result.
    let found: Vec<_> = looks.buffered(parallelism).collect().await;
    found.into_iter().collect()
}

async fn inspect(slot: u32, file: Arc<dyn File>, owner: Owner) -> Result<Inspected, OpenError> {
    let length = file.metadata().await?.length;
    let first = file.read_at(0, BLOCK_BYTES as usize).await?;
    let (header, header_lost) = match SegmentHeader::parse_block(&first) {
        Ok(header) => (header, false),
        Err(error @ ParseError::Version(_)) => return Err(OpenError::Refused(format!("{} has {error}", file_name(slot)))),
        Err(error) => match rebuild_header(&*file, owner, length).await? {
            Some(header) => (header, true),
            None if is_leftover(&*file, length).await? => return Ok(Inspected::Leftover(slot)),
            None => return Ok(Inspected::Unreadable(slot, format!("its header is {error}"))),
        },
    };
    check_owner(slot, &header, owner)?;
    match header.state {
        SegmentState::Spare => return Ok(Inspected::Spare(slot, length)),
        SegmentState::Retired => return Ok(Inspected::Retired(slot, header)),
        SegmentState::InUse => {}
    }
    let content = if let Some((index, live)) = read_index(&*file, &header, length).await? {
        Content::Indexed(index, live)
    } else {
        Content::Scanned(scan(&*file, &header, length).await?, file)
    };
    Ok(Inspected::Live(Box::new(Candidate { slot, length, header, header_lost, content })))
}

/// The index, when it is whole, with the live chunks counted. Entries are read only where some are dead.
async fn read_index(file: &dyn File, header: &SegmentHeader, length: u64) -> io::Result<Option<(IndexHeader, Live)>> {
    let Some(index) = index_file::read_head(file, length).await? else {
        return Ok(None);
    };
    if (index.generation, index.nonce, index.base_position) != (header.generation, header.nonce, header.base_position) {
        return Ok(None);
    }
    let states = index_file::read_states(file, &index).await?;
    if states.len() < index.count as usize {
        return Ok(None);
    }
    let all_are = |state| states.iter().all(|byte| state_from_byte(*byte) == state);
    if all_are(RecordState::Live) {
        let record_bytes = index.offset.saturating_sub(BLOCK_BYTES);
        return Ok(Some((index, Live { count: u64::from(index.count), bytes: index.payload_bytes, record_bytes })));
    }
    if all_are(RecordState::Dead) {
        return Ok(Some((index, Live::default())));
    }
    let entries = index_file::read_entries(file, &index).await?;
    Ok(entries.map(|entries| (index, count_live(&entries))))
}

/// Whose a file without a readable header is, by its index and its first record; `None` when neither tells.
async fn rebuild_header(file: &dyn File, owner: Owner, length: u64) -> io::Result<Option<SegmentHeader>> {
    if let Some(index) = index_file::read_head(file, length).await? {
        return Ok(Some(owner.header(SegmentState::InUse, index.generation, index.nonce, index.base_position)));
    }
    let first = file.read_at(BLOCK_BYTES, RECORD_HEADER_BYTES).await?;
    Ok(match RecordHeader::parse(&first) {
        Ok((record, _)) if record.offset == BLOCK_BYTES => {
            Some(owner.header(SegmentState::InUse, record.generation, record.nonce, record.sequence.saturating_sub(1)))
        }
        _ => None,
    })
}

/// A file whose creation was cut short: nothing but zeros. A file gets its header, durably, before it is used.
async fn is_leftover(file: &dyn File, length: u64) -> io::Result<bool> {
    let mut offset = 0;
    while offset < length {
        let window = file.read_at(offset, WINDOW_BYTES).await?;
        if window.is_empty() || window.iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
        offset += window.len() as u64;
    }
    Ok(true)
}

fn check_owner(slot: u32, header: &SegmentHeader, owner: Owner) -> Result<(), OpenError> {
    let name = file_name(slot);
    let words = if header.store != owner.store {
        format!("{name} belongs to store {}, this is store {}", header.store, owner.store)
    } else if header.zone != owner.zone {
        format!("{name} belongs to zone {}, this is zone {}", header.zone, owner.zone)
    } else if header.incarnation != owner.incarnation {
        format!("{name} is of incarnation {} of the zone, which is now in incarnation {}", header.incarnation, owner.incarnation)
    } else {
        return Ok(());
    };
    Err(OpenError::Refused(words))
}

impl Candidate {
    /// The first byte behind the file, in whole blocks.
    pub(super) fn length_blocks(&self) -> u64 {
        blocks_up(self.length)
    }
}
