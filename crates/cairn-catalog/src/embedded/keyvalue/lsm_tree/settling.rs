//! Bringing together what lies in many places, once a store is quiet.
//!
//! A seek looks into every sorted run of files, and a point read into the filter of each, so what reads cost depends less on how many rows there
//! are than on how many runs they lie in. Compaction by size leaves several: up to three of the newest, and one for each level that has any. So
//! once no memtable was written to files for a while, all of it is merged into the last level, if there is enough to be worth it. Where there is
//! less, what is above the last level is merged with itself, so that a quiet store has two runs at most.
//!
//! One step is one compaction as any other. As soon as something is to be flushed, settling stops, and begins anew when the store is quiet again.

use std::sync::Arc;

use ::lsm_tree::{
    AbstractTree,
    compaction::{MoveDown, PullDown},
};

use super::{Inner, guarded, tombstones::Strategies};
use crate::embedded::keyvalue::KeyValueError;

/// What is above the last level is merged into it when it is at least this share of it. So settling writes at most one more than this many
/// bytes for each byte that came.
const SHARE: u64 = 16;

impl Inner {
    /// Merges what lies in many runs into one, if that is worth it, as long as nothing else is wanted.
    pub(super) fn settle(&self, strategies: &Strategies) -> Result<(), KeyValueError> {
        let _merging = self.merging.lock();
        if self.is_scattered()? {
            // Once begun, all of it: what is left would be one more run.
            while !self.is_wanted() && (self.close_gap()? || self.compact(&strategies.to_the_last)?) {}
            self.drop_hollow()?;
        } else if !self.gather()? {
            return Ok(());
        }
        // The library keeps the files that the last list of files named until it writes another one. In a quiet store that may be long, and
        // here it may be all of them; moving nothing makes it write one.
        self.compact(&Arc::new(MoveDown(1, 1)))?;
        Ok(())
    }

    /// Merges what is above the last level into one run, where it is several: so much less than the last level holds that it costs little. Says
    /// whether there was anything to merge.
    fn gather(&self) -> Result<bool, KeyValueError> {
        let mut gathered = false;
        loop {
            let runs = guarded(&self.directory, || Ok(self.runs()))?;
            // Of the last level, and of the one before it, into which the others go: the lowest first, for what is newer must never come below
            // what is older.
            let [higher @ .., to, _] = runs.as_slice() else { return Ok(gathered) };
            let is_several = higher.iter().sum::<usize>() + to > 1;
            let from = higher.iter().rposition(|runs| *runs > 0).filter(|_| is_several && !self.is_wanted());
            let levels = from.and_then(|from| Some((u8::try_from(from).ok()?, u8::try_from(higher.len()).ok()?)));
            let Some((from, to)) = levels else { return Ok(gathered) };
            if !self.compact(&Arc::new(PullDown(from, to)))? {
                return Ok(gathered);
            }
            gathered = true;
        }
    }

    fn is_wanted(&self) -> bool {
        let background = self.background.lock();
        background.wanted || background.stop
    }

    /// Whether so much is above the last level that it is worth merging it down.
    pub(super) fn is_scattered(&self) -> Result<bool, KeyValueError> {
        guarded(&self.directory, || {
            let version = self.tree.current_version();
            let (mut above, mut last) = (0, 0);
            for level in version.iter_levels() {
                above += last;
                last = level.size();
            }
            Ok(above > 0 && above >= last / SHARE)
        })
    }

    /// How many sorted runs of files there are in each level: a seek looks into all of them.
    pub(super) fn runs(&self) -> Vec<usize> {
        self.tree.current_version().iter_levels().map(|level| level.iter().count()).collect()
    }
}
