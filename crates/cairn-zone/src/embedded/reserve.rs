//! Files in reserve: prewritten with zeros and synced, so that appending to them changes no file metadata.
//!
//! A worker of its own fills them at a bounded rate, from files that are over where there are any, and removes the rest of those.
//! The zone never waits for it: without a file in reserve the writer allocates one.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cairn_disk::{File, OpenMode};

use super::format::{BLOCK_BYTES, SegmentHeader, SegmentState};
use super::shared::Shared;
use super::writer::allocate_or_extend;

/// Written at once, bytes.
const PIECE_BYTES: u64 = 1024 * 1024;
/// After an error, and while the disk is nearly full, it rests so long.
const REST: Duration = Duration::from_secs(10);

/// Works until the zone closes.
pub(super) async fn run(shared: Arc<Shared>) {
    let zeros = Bytes::from(vec![0; PIECE_BYTES as usize]);
    while !shared.is_closing() && shared.check_away().is_ok() {
        match step(&shared, &zeros).await {
            Ok(true) => {}
            Ok(false) => {
                let _ = tokio::time::timeout(REST, shared.pool_changed.notified()).await;
            }
            Err(error) => {
                tracing::warn!(%error, directory = %shared.directory.display(), "could not prepare a segment file in reserve");
                rest(&shared).await;
            }
        }
    }
}

/// Waits, but not longer than the zone lives.
async fn rest(shared: &Shared) {
    let start = tokio::time::Instant::now();
    while start.elapsed() < REST && !shared.is_closing() {
        let _ = tokio::time::timeout(REST, shared.pool_changed.notified()).await;
    }
}

/// Does one thing; false when there is nothing to do.
async fn step(shared: &Shared, zeros: &Bytes) -> io::Result<bool> {
    let segment_bytes = shared.settings.segment_bytes;
    let free = shared.environment.disk.free_bytes(&shared.directory).await?;
    let has_space = free >= shared.settings.keep_free_bytes.saturating_add(segment_bytes.saturating_mul(2));
    let (retired, wanted) = {
        let mut pool = shared.pool.lock();
        let held: u64 = pool.ready.iter().map(|(_, length)| length).sum();
        (pool.retired.pop_front(), pool.wanted && has_space && held < shared.settings.reserve_bytes)
    };
    let slot = match (retired, wanted) {
        (None, false) => return Ok(false),
        (Some(slot), false) => {
            shared.file_if(slot, is_over).await?;
            shared.remove_file(slot).await?;
            return Ok(true);
        }
        (Some(slot), true) => slot,
        (None, true) => shared.slot_next.fetch_add(1, std::sync::atomic::Ordering::Relaxed),
    };
    let mut begun = false;
    match prepare(shared, slot, retired.is_some(), zeros, &mut begun).await {
        Ok(true) => {
            shared.pool.lock().ready.push_back((slot, segment_bytes));
            Ok(true)
        }
        Ok(false) => Ok(false),
        Err(error) => {
            // Nothing in it counts; after a failed sync it must not be used. One that could not be made, or is no longer ours, is left alone.
            if begun {
                let _ = shared.remove_file(slot).await;
            }
            Err(error)
        }
    }
}

/// Whether nothing in a file counts.
fn is_over(header: &SegmentHeader) -> bool {
    header.state != SegmentState::InUse
}

/// Fills a file with zeros. False when the zone closed meanwhile.
async fn prepare(shared: &Shared, slot: u32, exists: bool, zeros: &Bytes, begun: &mut bool) -> io::Result<bool> {
    let segment_bytes = shared.settings.segment_bytes;
    let file: Arc<dyn File> = if exists {
        shared.file_if(slot, is_over).await?
    } else {
        shared.check_present().await?;
        let file = shared.environment.disk.open(&shared.path(slot), OpenMode::CreateNew).await?;
        shared.check_named(slot, &*file).await?;
        file
    };
    *begun = true;
    file.set_length(segment_bytes).await?;
    allocate_or_extend(&*file, segment_bytes).await?;
    let mut offset = BLOCK_BYTES;
    while offset < segment_bytes {
        if shared.is_closing() || shared.check_away().is_err() {
            return Ok(false);
        }
        let length = PIECE_BYTES.min(segment_bytes - offset);
        file.write_at(offset, &[zeros.slice(..length as usize)]).await?;
        offset += length;
        let nanoseconds = u128::from(length) * 1_000_000_000 / u128::from(shared.settings.prewrite_bytes_per_second);
        tokio::time::sleep(Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))).await;
    }
    let header = shared.owner.header(SegmentState::Spare, 0, 0, 0);
    file.write_at(0, &[Bytes::from(header.encode_block())]).await?;
    shared.sync(&*file).await?;
    shared.environment.disk.sync_directory(&shared.directory).await?;
    shared.check_named(slot, &*file).await?;
    Ok(true)
}
