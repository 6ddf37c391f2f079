//! How large chunks and reads are, and how long a commit waits for its third zone. Pure.

use std::time::Duration;

use cairn_types::frame::{CHUNK_STORED_LENGTH_MAX, FRAME_DATA_LENGTH, FrameKind};

use crate::latency::Latency;

/// The smallest chunk that an upload aims at while others compete for memory, stored bytes.
pub const CHUNK_STORED_LENGTH_MIN: usize = 256 * 1024;

/// Data bytes of the next chunk of an upload. Each upload holds at most two chunks that are not safe yet, so that
/// `budget / (2 × uploads)` a chunk keeps all of them within the budget; a body whose rest is known is cut evenly, so that its last
/// chunk is not a crumb.
#[must_use]
pub fn chunk_data_length(kind: FrameKind, budget: usize, uploads: usize, remaining: Option<u64>, stored_max: usize) -> usize {
    let most = CHUNK_STORED_LENGTH_MAX.min(stored_max).max(1);
    let fair = budget / (2 * uploads.max(1));
    let target = kind.data_length_within(fair.max(CHUNK_STORED_LENGTH_MIN).min(most)).max(1);
    let Some(remaining) = remaining.filter(|remaining| *remaining > 0) else {
        return target;
    };
    if remaining <= target as u64 {
        return remaining as usize;
    }
    let chunks = remaining.div_ceil(target as u64);
    let even = remaining.div_ceil(chunks) as usize;
    even.next_multiple_of(FRAME_DATA_LENGTH).min(target)
}

/// Data bytes below which the next chunk of a body must not be sent before its end: with fewer, the rest need not fit into the chunks that are
/// left. As each chunk has at least its even share of the rest, the share never rises, and the last chunk that is left takes all of
/// what is left. 0 where the length is not known.
#[must_use]
pub fn least_data_length(remaining: Option<u64>, chunks_left: usize) -> usize {
    let share = remaining.unwrap_or(0).div_ceil(chunks_left.max(1) as u64);
    usize::try_from(share).unwrap_or(usize::MAX)
}

/// Data bytes of the next piece of a read: small at first, so that the first byte leaves soon, then as large as the readers'
/// memory allows. A reader holds up to three pieces: one handed out, one read ahead, one hedged.
#[must_use]
pub fn read_data_length(budget: usize, readers: usize, done: u64) -> u64 {
    const FIRST: usize = 4 * FRAME_DATA_LENGTH;
    const MOST: usize = 16 * FRAME_DATA_LENGTH;
    let fair = budget / (3 * readers.max(1));
    let wanted = if done == 0 { FIRST } else { MOST };
    let frames = (fair.min(wanted) / FRAME_DATA_LENGTH).max(1);
    (frames * FRAME_DATA_LENGTH) as u64
}

/// The longest that a commit waits for its third zone.
pub const GRACE_MAX: Duration = Duration::from_millis(25);
/// The shortest wait that is worth a timer.
const GRACE_MIN: Duration = Duration::from_millis(1);

/// How long a commit whose chunks are all safe waits for a zone that has not answered yet, so that it carries a full mask and no
/// straggler need be folded in. `elapsed` is how long that zone has been at it. It never doubles a write's own time by much, and a zone
/// that will not make it by then by its recent record is not waited for.
#[must_use]
pub fn third_zone_grace(elapsed: Duration, open: bool, recent: &Latency) -> Duration {
    let most = elapsed.clamp(GRACE_MIN * 2, GRACE_MAX);
    if !open {
        return Duration::ZERO;
    }
    let (Some(typical), Some(high)) = (recent.percentile(50), recent.percentile(95)) else {
        return most;
    };
    if typical > elapsed + most {
        return Duration::ZERO;
    }
    high.saturating_sub(elapsed).clamp(GRACE_MIN, most)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1024 * 1024;
    const KIND: FrameKind = FrameKind::Crc32c;

    #[test]
    fn uploads_share_the_budget() {
        for uploads in 1..1_000 {
            let data = chunk_data_length(KIND, 192 * MIB, uploads, None, usize::MAX);
            let stored = cairn_types::frame::ChunkShape::new(KIND, data as u64).unwrap().stored_length() as usize;
            assert!(stored <= 8 * MIB);
            assert!(stored >= 255 * 1024);
            assert!(stored <= CHUNK_STORED_LENGTH_MIN || stored * 2 * uploads <= 192 * MIB, "{uploads} uploads, {stored} bytes");
        }
    }

    #[test]
    fn known_lengths_are_cut_evenly_and_completely() {
        for length in [1, 65_536, 8 * MIB as u64, 8 * MIB as u64 + 1, 100 * MIB as u64 + 17] {
            let (mut rest, mut chunks, mut last) = (length, 0, 0);
            while rest > 0 {
                last = chunk_data_length(KIND, 192 * MIB, 4, Some(rest), usize::MAX) as u64;
                assert!(last > 0 && last <= rest);
                rest -= last;
                chunks += 1;
            }
            assert_eq!(chunks, length.div_ceil(KIND.data_length_within(8 * MIB) as u64));
            assert!(chunks == 1 || last >= length / chunks / 2, "the last of {chunks} chunks holds {last} bytes");
        }
        assert_eq!(chunk_data_length(KIND, 192 * MIB, 1, None, 1_000), KIND.data_length_within(1_000), "a zone's own limit");
    }

    #[test]
    fn chunks_of_the_least_length_suffice() {
        const GIB: u64 = 1024 * 1024 * 1024;
        for (length, chunks_max) in [(5 * GIB, 40 * 1024), (5 * GIB - 1, 40 * 1024), (5 * GIB + 1, 40 * 1024), (1_000, 7), (3, 7)]
        {
            let first = least_data_length(Some(length), chunks_max);
            let (mut rest, mut chunks) = (length, 0);
            while rest > 0 {
                let least = least_data_length(Some(rest), chunks_max - chunks);
                assert!(least > 0 && least <= first, "{least} bytes, and {first} at first");
                // A larger one now and then.
                let taken = if chunks % 5 == 0 { least as u64 * 2 } else { least as u64 };
                rest -= taken.min(rest);
                chunks += 1;
            }
            assert!(chunks <= chunks_max, "{chunks} chunks for {length} bytes");
        }
        assert_eq!(least_data_length(Some(5 * GIB), 40 * 1024), 128 * 1024);
        assert_eq!((least_data_length(None, 1), least_data_length(Some(9), 0)), (0, 9));
    }

    #[test]
    fn reads_share_their_budget_in_whole_frames() {
        for readers in 1..1_000 {
            for done in [0, 1] {
                let length = read_data_length(64 * MIB, readers, done) as usize;
                assert_eq!(length % FRAME_DATA_LENGTH, 0);
                assert!(length >= FRAME_DATA_LENGTH);
                assert!(length == FRAME_DATA_LENGTH || length * 3 * readers <= 64 * MIB);
            }
        }
    }

    #[test]
    fn a_slow_or_sick_zone_is_not_waited_for() {
        let at = Duration::from_millis;
        let mut quick = Latency::default();
        let mut slow = Latency::default();
        for _ in 0..100 {
            quick.record(at(5));
            slow.record(at(200));
        }
        assert_eq!(third_zone_grace(at(5), true, &slow), Duration::ZERO);
        assert_eq!(third_zone_grace(at(5), false, &quick), Duration::ZERO);
        assert!(third_zone_grace(at(4), true, &quick) >= GRACE_MIN);
        for elapsed in 0..1_000 {
            for latency in [&quick, &slow, &Latency::default()] {
                assert!(third_zone_grace(at(elapsed), true, latency) <= at(elapsed).max(at(2)).min(GRACE_MAX));
            }
        }
    }
}
