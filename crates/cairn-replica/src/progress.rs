//! One blob on its way from its first chunk to its fate. Pure: answers in, and what to do with each copy out.
//!
//! A copy is named by exactly one of: the commit of its blob (it was there when the blob was sealed), or an addition under the same
//! session afterwards (B4). Every other copy is deleted, or left for the collector where deleting it might delete what a commit of unknown
//! outcome names.

use cairn_types::ZoneIndex;
use cairn_types::frame::{ChunkShape, FrameKind};
use cairn_types::ids::ZONE_COUNT;
use std::time::Duration;

use crate::catalog_port::{BlobContent, ChunkRecord, Layout, PerZone, Replica};
use crate::placement::Verdict;

/// Where a blob is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Chunks are being written.
    Writing,
    /// Its content was handed out for the commit: what comes now is late.
    Sealed,
    /// The commit happened.
    Committed,
    /// The commit did not happen, and never will.
    Discarded,
    /// Nobody knows whether the commit happened.
    Unknown,
}

/// How a commit went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It happened.
    Committed,
    /// It did not happen, and never will.
    Discarded,
    /// Nobody knows.
    Unknown,
}

/// What to do with a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disposal {
    /// It is on the record that will be committed, or will be decided about with the blob's fate.
    Keep,
    /// Name it on the blob's record (B4).
    Fold,
    /// Delete it: nothing names it and nothing will.
    Delete,
}

/// A copy of one chunk in one zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LateCopy {
    /// The chunk's ordinal.
    pub ordinal: u32,
    /// The zone.
    pub zone: ZoneIndex,
    /// Where.
    pub replica: Replica,
}

#[derive(Debug, Clone)]
struct ChunkProgress {
    shape: ChunkShape,
    replicas: PerZone<Option<Replica>>,
    /// When each zone was asked that has not answered.
    unanswered: PerZone<Option<Duration>>,
    verdict: Verdict,
}

/// One blob on its way.
#[derive(Debug, Clone)]
pub struct BlobProgress {
    layout: Layout,
    kind: FrameKind,
    stage: Stage,
    chunks: Vec<ChunkProgress>,
    late: Vec<LateCopy>,
}

impl BlobProgress {
    /// A blob without chunks.
    #[must_use]
    pub fn new(layout: Layout, kind: FrameKind) -> Self {
        Self { layout, kind, stage: Stage::Writing, chunks: Vec::new(), late: Vec::new() }
    }

    /// Begins a chunk and says its ordinal.
    pub fn begin_chunk(&mut self, shape: ChunkShape) -> u32 {
        let ordinal = self.chunks.len() as u32;
        self.chunks.push(ChunkProgress {
            shape,
            replicas: [const { None }; ZONE_COUNT],
            unanswered: [None; ZONE_COUNT],
            verdict: Verdict::Open,
        });
        ordinal
    }

    /// How many chunks were begun.
    #[must_use]
    pub fn chunk_count(&self) -> usize {
        self.chunks.len()
    }

    /// Whether nobody waits for this blob's chunks to become safe any more.
    #[must_use]
    pub fn is_forsaken(&self) -> bool {
        matches!(self.stage, Stage::Discarded | Stage::Unknown)
    }

    /// A zone was asked.
    pub fn asked(&mut self, ordinal: u32, zone: ZoneIndex, now: Duration) {
        if let Some(slot) = self.chunk_mut(ordinal).and_then(|chunk| chunk.unanswered.get_mut(zone.get())) {
            *slot = Some(now);
        }
    }

    /// A zone answered without having placed the chunk, or was given up.
    pub fn gone(&mut self, ordinal: u32, zone: ZoneIndex) {
        if let Some(slot) = self.chunk_mut(ordinal).and_then(|chunk| chunk.unanswered.get_mut(zone.get())) {
            *slot = None;
        }
    }

    /// A zone has the chunk, in its current incarnation.
    pub fn placed(&mut self, ordinal: u32, zone: ZoneIndex, replica: Replica) -> Disposal {
        self.gone(ordinal, zone);
        match self.stage {
            Stage::Writing => {
                let slot = self.chunk_mut(ordinal).and_then(|chunk| chunk.replicas.get_mut(zone.get()));
                match slot {
                    Some(slot @ None) => {
                        *slot = Some(replica);
                        Disposal::Keep
                    }
                    // A second copy in one zone (a write that was asked again): the first one is named.
                    _ => Disposal::Delete,
                }
            }
            Stage::Sealed => {
                self.late.push(LateCopy { ordinal, zone, replica });
                Disposal::Keep
            }
            Stage::Committed => Disposal::Fold,
            // Also with an unknown outcome: the commit, if it happened, does not name a late copy.
            Stage::Discarded | Stage::Unknown => Disposal::Delete,
        }
    }

    /// The verdict over a chunk's placement.
    pub fn judged(&mut self, ordinal: u32, verdict: Verdict) {
        if let Some(chunk) = self.chunk_mut(ordinal) {
            chunk.verdict = verdict;
        }
    }

    /// Safe when all chunks are, failed when any is.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let mut overall = Verdict::Safe;
        for chunk in &self.chunks {
            match chunk.verdict {
                Verdict::Safe => {}
                Verdict::Open => overall = Verdict::Open,
                failed => return failed,
            }
        }
        overall
    }

    /// Zones that are still at a chunk, with its stored length and when they were asked.
    pub fn unanswered(&self) -> impl Iterator<Item = (ZoneIndex, usize, Duration)> + '_ {
        self.chunks.iter().flat_map(|chunk| {
            ZoneIndex::ALL
                .into_iter()
                .zip(&chunk.unanswered)
                .filter_map(|(zone, asked)| asked.map(|asked| (zone, chunk.shape.stored_length() as usize, asked)))
        })
    }

    /// The content to commit. Copies that come from now on are late.
    pub fn seal(&mut self) -> BlobContent {
        self.stage = Stage::Sealed;
        BlobContent {
            layout: self.layout,
            frame_kind: self.kind.number(),
            encryption_key: None,
            chunks: self
                .chunks
                .iter()
                .map(|chunk| ChunkRecord { data_length: chunk.shape.data_length() as u32, replicas: chunk.replicas.clone() })
                .collect(),
        }
    }

    /// Decides, and says what to do with which copies. The first decision stands.
    pub fn resolve(&mut self, fate: Fate) -> (Disposal, Vec<LateCopy>) {
        if !matches!(self.stage, Stage::Writing | Stage::Sealed) {
            return (Disposal::Keep, Vec::new());
        }
        let mut copies = std::mem::take(&mut self.late);
        match fate {
            Fate::Committed => {
                self.stage = Stage::Committed;
                (Disposal::Fold, copies)
            }
            Fate::Unknown => {
                self.stage = Stage::Unknown;
                (Disposal::Delete, copies)
            }
            Fate::Discarded => {
                self.stage = Stage::Discarded;
                for (ordinal, chunk) in (0_u32..).zip(&mut self.chunks) {
                    for (zone, replica) in ZoneIndex::ALL.into_iter().zip(&mut chunk.replicas) {
                        copies.extend(replica.take().map(|replica| LateCopy { ordinal, zone, replica }));
                    }
                }
                (Disposal::Delete, copies)
            }
        }
    }

    fn chunk_mut(&mut self, ordinal: u32) -> Option<&mut ChunkProgress> {
        self.chunks.get_mut(usize::try_from(ordinal).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use cairn_types::{Incarnation, Locator};

    use super::*;

    fn replica(name: &'static str) -> Replica {
        Replica { incarnation: Incarnation(1), locator: Locator::new(Bytes::from_static(name.as_bytes())).unwrap() }
    }

    fn blob() -> BlobProgress {
        let mut blob = BlobProgress::new(Layout::ThreeCopies, FrameKind::Crc32c);
        blob.begin_chunk(ChunkShape::new(FrameKind::Crc32c, 10).unwrap());
        for zone in ZoneIndex::ALL {
            blob.asked(0, zone, Duration::ZERO);
        }
        blob
    }

    /// Every order of three answers, the seal and the fate: each copy is either on the sealed record, or folded, or deleted, once; and nothing
    /// on a record that may have been committed is deleted.
    #[test]
    fn b4_every_copy_has_exactly_one_end() {
        let events: Vec<usize> = (0..5).collect();
        let mut orders = vec![Vec::new()];
        for _ in 0..events.len() {
            orders = orders
                .into_iter()
                .flat_map(|order: Vec<usize>| {
                    let rest: Vec<usize> = events.iter().copied().filter(|event| !order.contains(event)).collect();
                    rest.into_iter().map(move |event| [order.clone(), vec![event]].concat())
                })
                .collect();
        }
        for fate in [Fate::Committed, Fate::Discarded, Fate::Unknown] {
            for order in &orders {
                let place = |event| order.iter().position(|other| *other == event).unwrap();
                if fate == Fate::Committed && place(3) > place(4) {
                    continue;
                }
                let mut blob = blob();
                let mut named: Vec<ZoneIndex> = Vec::new();
                let (mut folded, mut deleted) = (Vec::new(), Vec::new());
                for event in order {
                    let (disposal, zones) = match event {
                        3 if place(3) > place(4) => continue,
                        3 => {
                            let content = blob.seal();
                            named = ZoneIndex::ALL
                                .into_iter()
                                .filter(|zone| content.chunks[0].replicas[zone.get()].is_some())
                                .collect();
                            continue;
                        }
                        4 => {
                            let (disposal, copies) = blob.resolve(fate);
                            (disposal, copies.into_iter().map(|copy| copy.zone).collect())
                        }
                        zone => (blob.placed(0, ZoneIndex::ALL[*zone], replica("x")), vec![ZoneIndex::ALL[*zone]]),
                    };
                    match disposal {
                        Disposal::Keep => {}
                        Disposal::Fold => folded.extend(zones),
                        Disposal::Delete => deleted.extend(zones),
                    }
                }
                let mut ends: Vec<ZoneIndex> = match fate {
                    Fate::Committed => [named, folded.clone()].concat(),
                    // A blob that was never sealed has no commit of unknown outcome, but may be forsaken so: the collector's.
                    Fate::Unknown if place(3) > place(4) => continue,
                    Fate::Unknown => [named.clone(), deleted.clone()].concat(),
                    Fate::Discarded => deleted.clone(),
                };
                ends.sort();
                assert_eq!(ends, ZoneIndex::ALL, "{fate:?} {order:?}");
                assert!(fate == Fate::Committed || folded.is_empty());
                assert!(fate != Fate::Committed || deleted.is_empty());
            }
        }
    }

    #[test]
    fn a_second_copy_in_a_zone_is_deleted() {
        let mut blob = blob();
        assert_eq!(blob.placed(0, ZoneIndex(0), replica("a")), Disposal::Keep);
        assert_eq!(blob.placed(0, ZoneIndex(0), replica("b")), Disposal::Delete);
        assert_eq!(blob.seal().chunks[0].replicas[0], Some(replica("a")));
    }

    #[test]
    fn one_failed_chunk_fails_the_blob_and_the_first_fate_stands() {
        let mut blob = blob();
        blob.begin_chunk(ChunkShape::new(FrameKind::Crc32c, 10).unwrap());
        blob.judged(0, Verdict::Safe);
        assert_eq!(blob.verdict(), Verdict::Open);
        blob.judged(1, Verdict::NoSpace);
        assert_eq!(blob.verdict(), Verdict::NoSpace);
        assert_eq!(blob.placed(1, ZoneIndex(2), replica("x")), Disposal::Keep);
        assert_eq!(blob.resolve(Fate::Discarded).1.len(), 1);
        assert_eq!(blob.resolve(Fate::Committed), (Disposal::Keep, Vec::new()));
        assert_eq!(blob.placed(0, ZoneIndex(2), replica("x")), Disposal::Delete);
    }
}
