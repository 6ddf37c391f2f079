//! Every limit of the engine, with its default and its reason.

use super::format::{BLOCK_BYTES, record::record_bytes};

const MEBIBYTE: u64 = 1024 * 1024;
/// See [`Settings::sparse_percent`].
const SPARSE_PERCENT_MIN: u64 = 5;

/// Limits of one zone's segments. They may change from one opening to the next: files of other sizes stay readable.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Size of a new segment file, bytes. Default 64 MiB: it bounds what a fresh store takes on a small machine (one file in use
    /// and one in reserve for each zone) and what is scanned after a crash. The cost of larger zones is one file, about 200 bytes
    /// of memory and two small reads at opening for each segment; from 10 TB on, 256 MiB to 1 GiB is better, on spinning disks
    /// earlier.
    pub segment_bytes: u64,
    /// The longest chunk, bytes. Default 8 MiB, the replica layer's own limit.
    pub chunk_bytes_max: usize,
    /// The most that one sync makes durable, bytes. Default 16 MiB: what a small write waits for in the worst case.
    pub batch_bytes_max: u64,
    /// The most records that one sync makes durable. Default 1,024.
    pub batch_count_max: usize,
    /// Payload that may wait for the writer, bytes; more callers wait before they are queued. Default 64 MiB.
    pub queue_bytes_max: usize,
    /// Deletions that may wait, calls. Default 256.
    pub delete_queue_max: usize,
    /// Prewritten files held ready, bytes; whole files, rounded up. Default 64 MiB. 0 turns prewriting off.
    pub reserve_bytes: u64,
    /// How fast files are prewritten, bytes a second. Default 64 MiB/s. Prewriting writes every byte twice and saves a journal
    /// commit for each sync (measured 0.28 against 0.53 ms): it pays for a lightly loaded zone, and one that takes more than this
    /// goes on with files that are merely allocated.
    pub prewrite_bytes_per_second: u64,
    /// No new segment is begun when less than this would stay free on the file system, bytes. Default 64 MiB: so that there is
    /// room to delete in, and for the catalog, when the zone is full. Half of it may be used to write chunks elsewhere whose segments give more back.
    pub keep_free_bytes: u64,
    /// Segment files held open, count. Default 128: three zones stay well below the usual limit of
    /// 1,024 descriptors.
    pub open_files_max: usize,
    /// Verified record headers remembered for ranged reads, count, about 100 bytes each. Default 65,536.
    pub header_cache_max: usize,
    /// The longest page of a listing, chunks. Default 10,000.
    pub enumerate_count_max: usize,
    /// Reads, listings and questions after free space at one time, each on a thread that may block. Default 64. One whose disk hangs keeps its thread
    /// until the disk answers, also when nobody waits for it any more: with three zones these are far fewer than the runtime's
    /// 512, so that a zone that hangs takes nothing from the others. Beyond, callers wait, as long as they like to.
    pub blocking_max: usize,
    /// Listings among these, so that they leave room for reads. Default 4.
    pub listings_max: usize,
    /// Files looked at side by side when the zone is opened. Default 16.
    pub open_parallelism: usize,
    /// A segment is sparse when so much of what it takes of the disk is not live records, percent: its chunks are offered to be written elsewhere
    /// ([`crate::Zone::sparse`]). Default 25: what is live takes at least three quarters of the disk, for at most three bytes moved for each
    /// that comes back. 100 turns it off.
    pub sparse_percent: u64,
    /// Records in one segment, count: bounds the index and what is held in memory for the segment in use. Default 65,536.
    pub segment_records_max: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            segment_bytes: 64 * MEBIBYTE,
            chunk_bytes_max: 8 * MEBIBYTE as usize,
            batch_bytes_max: 16 * MEBIBYTE,
            batch_count_max: 1024,
            queue_bytes_max: 64 * MEBIBYTE as usize,
            delete_queue_max: 256,
            reserve_bytes: 64 * MEBIBYTE,
            prewrite_bytes_per_second: 64 * MEBIBYTE,
            keep_free_bytes: 64 * MEBIBYTE,
            open_files_max: 128,
            header_cache_max: 65_536,
            enumerate_count_max: 10_000,
            blocking_max: 64,
            listings_max: 4,
            open_parallelism: 16,
            sparse_percent: 25,
            segment_records_max: 65_536,
        }
    }
}

impl Settings {
    /// What stays free whatever a chunk is written for.
    pub(super) fn keep_free_for_all(&self) -> u64 {
        self.keep_free_bytes / 2
    }

    /// Says in words what cannot work.
    pub(crate) fn check(&self) -> Result<(), String> {
        let longest = record_bytes(self.chunk_bytes_max as u64);
        if self.segment_bytes < BLOCK_BYTES + longest {
            return Err(format!(
                "segment_bytes is {}, but a chunk of {} bytes needs {}",
                self.segment_bytes,
                self.chunk_bytes_max,
                BLOCK_BYTES + longest
            ));
        }
        if self.segment_bytes > u64::from(u32::MAX) * BLOCK_BYTES || u32::try_from(self.chunk_bytes_max).is_err() {
            return Err("segment_bytes is at most 16 TiB and chunk_bytes_max less than 4 GiB".to_owned());
        }
        if self.queue_bytes_max < self.chunk_bytes_max || u32::try_from(self.queue_bytes_max).is_err() {
            return Err("queue_bytes_max is at least chunk_bytes_max and less than 4 GiB".to_owned());
        }
        let counts = [
            self.batch_count_max,
            self.delete_queue_max,
            self.open_files_max,
            self.enumerate_count_max,
            self.open_parallelism,
            self.blocking_max,
            self.listings_max,
            self.segment_records_max,
        ];
        if !(SPARSE_PERCENT_MIN..=100).contains(&self.sparse_percent) {
            return Err(format!("sparse_percent is from {SPARSE_PERCENT_MIN} to 100"));
        }
        if counts.contains(&0) || self.prewrite_bytes_per_second == 0 {
            return Err("counts and rates are at least 1".to_owned());
        }
        Ok(())
    }
}
