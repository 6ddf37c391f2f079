//! Getting rid of what deletions leave behind.
//!
//! A deletion is a row of its own, a tombstone, until compaction brings it to the last level: there it goes, with what it hides. The library
//! compacts by size alone, and tombstones are small, so those of a million objects that were deleted at once would lie for ever before whatever
//! comes behind, and each listing would walk over them, and over the rows that they hide. So beside the compaction by size, while there are more
//! of them above the last level than a few and a share of all rows, everything is brought down, cheapest first: that is where tombstones lie
//! closest, and the rows that they hide go with them.
//!
//! One step is one compaction as any other, of at most 50 files of the lower level. Files that lie over more than that are left: what they
//! hold lies too thin to be in the way of a listing.

use std::sync::Arc;

use ::lsm_tree::{
    AbstractTree, KeyRange,
    compaction::{Leveled, MoveDown, PullDown},
};

use super::{Inner, LsmTreeOptions, guarded};
use crate::embedded::keyvalue::KeyValueError;

/// How many rows there are for each tombstone that is let be.
const ROWS_FOR_EACH: u64 = 16;

/// How a store is compacted.
pub(super) struct Strategies {
    /// By size: what is usual.
    pub(super) by_size: Arc<Leveled>,
    /// As though every level but the last had no room at all.
    pub(super) to_the_last: Arc<Leveled>,
}

impl Strategies {
    pub(super) fn new(options: &LsmTreeOptions) -> Self {
        let by_size = Leveled::default().with_table_target_size(options.table_file_bytes);
        // A level's room is a multiple of the first's, which is this many files. The lowest level that has any is always the first in turn, so the
        // newest files, which would take part in a merge again and again, come last.
        let to_the_last = by_size.clone().with_l0_threshold(0);
        Self { by_size: Arc::new(by_size), to_the_last: Arc::new(to_the_last) }
    }
}

/// What is in the files, as they themselves count it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Census {
    /// Rows, with those that others hide, and tombstones.
    pub(super) rows: u64,
    /// Tombstones.
    pub(super) tombstones: u64,
    /// Those of them that are not in the last level.
    tombstones_above: u64,
}

impl Inner {
    pub(super) fn census(&self) -> Result<Census, KeyValueError> {
        guarded(&self.directory, || {
            let version = self.tree.current_version();
            let last = version.level_count().saturating_sub(1);
            let mut census = Census::default();
            for (number, level) in version.iter_levels().enumerate() {
                for table in level.iter().flat_map(|run| run.iter()) {
                    census.rows += table.metadata.item_count;
                    census.tombstones += table.tombstone_count();
                    census.tombstones_above += if number < last { table.tombstone_count() } else { 0 };
                }
            }
            Ok(census)
        })
    }

    /// Whether there are so many tombstones above the last level that they are brought there.
    pub(super) fn is_burdened(&self) -> Result<bool, KeyValueError> {
        let census = self.census()?;
        Ok(census.tombstones_above > self.options.tombstones_min.max(census.rows / ROWS_FOR_EACH))
    }

    /// Brings what is above an empty level into it, which costs nothing, or into the last level, where tombstones go. The library would do it too once
    /// there is much, but takes it for a fault in builds that look for faults. Says whether there was such a level.
    pub(super) fn close_gap(&self) -> Result<bool, KeyValueError> {
        let is_empty: Vec<bool> =
            guarded(&self.directory, || Ok(self.tree.current_version().iter_levels().map(|level| level.is_empty()).collect()))?;
        let gap = is_empty.windows(2).enumerate().skip(1).find(|(_, pair)| matches!(pair, [false, true]));
        let Some(above) = gap.and_then(|(above, _)| u8::try_from(above).ok()) else { return Ok(false) };
        if usize::from(above) + 2 == is_empty.len() {
            self.compact(&Arc::new(PullDown(above, above + 1)))
        } else {
            self.compact(&Arc::new(MoveDown(above, above + 1)))
        }
    }

    /// Drops files of the last level in which there is nothing but tombstones: there is nothing below that they could hide. The library moves
    /// files there as they are where nothing is in their range, and never looks at them again.
    ///
    /// Only the holder of the lock of compactions calls this.
    pub(super) fn drop_hollow(&self) -> Result<(), KeyValueError> {
        let dropped = guarded(&self.directory, || {
            // What is dropped is every file whose keys are all in a range: no other must come there meanwhile.
            let _no_flush = self.tree.get_flush_lock();
            let version = self.tree.current_version();
            let last = version.iter_levels().last().into_iter().flat_map(|level| level.iter());
            let hollow = last.flat_map(|run| run.iter()).filter(|table| table.tombstone_count() == table.metadata.item_count);
            let mut dropped = false;
            for range in hollow.map(|table| &table.metadata.key_range) {
                if version.iter_tables().filter(|table| is_within(&table.metadata.key_range, range)).count() == 1 {
                    self.tree.drop_range(range.min().clone()..=range.max().clone())?;
                    dropped = true;
                }
            }
            Ok(dropped)
        })?;
        if dropped {
            self.show_newest();
        }
        Ok(())
    }
}

fn is_within(inner: &KeyRange, outer: &KeyRange) -> bool {
    outer.min() <= inner.min() && inner.max() <= outer.max()
}
