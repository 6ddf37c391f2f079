//! Deciding, from what was found on disk and what the catalog recorded, which records count. Changes nothing.
//!
//! *Known durable* is the highest position of which anybody says that it was durable: the catalog's record (L7), the base of any
//! generation, the index of any sealed segment, and what the records themselves say (L5). Then
//!
//! - a record up to it counts by its header alone; where one is missing or bad, that is damage, and is reported;
//! - a record above it is from the last batch before a crash. It counts when it and all before it are whole; the first that is not
//!   is the torn tail, and it and everything behind it is cut;
//! - a record above the base of a later generation does not count: the zone went on without it;
//! - where even the known durable end is not reached, and nothing is left of what should be there, the zone has lost its memory.

use std::ops::RangeInclusive;

use super::format::{BLOCK_BYTES, Entry, RecordState};
use super::inspect::{Candidate, Content};
use super::scan::read_whole;
use super::shared::file_name;
use super::{Damage, OpenError};

/// What counts.
pub(super) struct Settled {
    /// The zone's position: the next record has the next sequence.
    pub(super) position: u64,
    /// What is damaged.
    pub(super) damage: Vec<Damage>,
    /// For each candidate, in order, what to keep; `None` for those with an index, which stay as they are.
    pub(super) kept: Vec<Option<Kept>>,
}

/// What is kept of a segment without an index.
pub(super) struct Kept {
    pub(super) entries: Vec<Entry>,
    /// Where the file is cut.
    pub(super) data_end: u64,
    /// Something in it is damaged: the file is left as it is and reported again at each opening.
    pub(super) damaged: bool,
    /// Records above what is known durable: perhaps only in the page cache. They are written again and synced before they count.
    pub(super) unsure: Vec<Entry>,
}

/// The zone is behind what was recorded of it (L7).
pub(super) struct Behind {
    pub(super) position: u64,
}

/// Decides. Candidates are in the order of their generations; `unreadable` says whether there are files that cannot be read.
pub(super) async fn settle(
    candidates: &[Box<Candidate>],
    recorded: u64,
    unreadable: bool,
) -> Result<Result<Settled, Behind>, OpenError> {
    let known = candidates.iter().map(|candidate| candidate.known_durable()).max().unwrap_or(0).max(recorded);
    let mut damage = Vec::new();
    let mut kept = Vec::new();
    let mut found = 0;
    let mut tail_next = known.saturating_add(1);
    for (at, candidate) in candidates.iter().enumerate() {
        let later = candidates.get(at + 1);
        let base = candidate.header.base_position;
        found = found.max(base);
        if candidate.header_lost {
            damage.push(candidate.damage(0, "its header is unreadable and was put together from its content", None));
        }
        let (scan, file) = match &candidate.content {
            Content::Indexed(index, ..) => {
                found = found.max(index.last_sequence);
                kept.push(None);
                continue;
            }
            Content::Scanned(scan, file) => (scan, file),
        };
        let damage_before = damage.len();
        let limit = later.map_or(u64::MAX, |later| later.header.base_position);
        let must_reach = known.min(limit);
        for gap in &scan.gaps {
            if let Some(missing) = up_to(&gap.missing, must_reach) {
                damage.push(candidate.damage(gap.offset, "records are unreadable", Some(missing)));
            }
        }
        let (mut entries, mut unsure) = (Vec::new(), Vec::new());
        for entry in scan.entries.iter().take_while(|entry| entry.sequence <= limit) {
            if entry.sequence <= known {
                if entry.payload_end() > candidate.length && entry.state != RecordState::Dead {
                    let missing = Some(entry.sequence..=entry.sequence);
                    damage.push(Damage {
                        chunk: Some(entry.id),
                        ..candidate.damage(entry.offset, "a chunk's end is missing", missing)
                    });
                }
            } else if entry.sequence == tail_next && read_whole(&**file, entry).await?.is_some() {
                tail_next = tail_next.saturating_add(1);
                unsure.push(*entry);
            } else {
                break;
            }
            entries.push(*entry);
        }
        let last = entries.last().map_or(base, |entry| entry.sequence);
        found = found.max(last);
        let data_end = entries.last().map_or(BLOCK_BYTES, Entry::record_end);
        // Only where the next generation follows directly is it known how far this one got.
        let follows = later.is_some_and(|later| later.header.generation == candidate.header.generation.saturating_add(1));
        let lost_end = if follows {
            (!scan.sealed && last < limit).then(|| last.saturating_add(1)..=limit)
        } else if later.is_none() && last < recorded && scan.recognisable {
            let missing = last.saturating_add(1)..=recorded;
            // Each record takes a block at least: what does not fit cannot have been here.
            let fits = (recorded - last) <= candidate.length_blocks().saturating_sub(scan.end) / BLOCK_BYTES;
            fits.then_some(missing)
        } else {
            None
        };
        if let Some(missing) = lost_end {
            found = found.max(*missing.end());
            damage.push(candidate.damage(scan.end, "records at the end are unreadable", Some(missing)));
        }
        let damaged = damage.len() > damage_before;
        kept.push(Some(Kept { entries, data_end, damaged, unsure }));
    }
    if found < recorded {
        if !unreadable {
            return Ok(Err(Behind { position: found }));
        }
        found = recorded;
    }
    Ok(Ok(Settled { position: found, damage, kept }))
}

fn up_to(range: &RangeInclusive<u64>, most: u64) -> Option<RangeInclusive<u64>> {
    let cut = *range.start()..=(*range.end()).min(most);
    (!cut.is_empty()).then_some(cut)
}

impl Candidate {
    fn known_durable(&self) -> u64 {
        let content = match &self.content {
            Content::Indexed(index, ..) => index.last_sequence,
            Content::Scanned(scan, _) => scan.durable,
        };
        self.header.base_position.max(content)
    }

    fn damage(&self, offset: u64, what: &str, missing: Option<RangeInclusive<u64>>) -> Damage {
        Damage { segment: file_name(self.slot), offset, what: what.to_owned(), missing, chunk: None }
    }
}
