//! Numbers by bucket, for a bounded number of buckets; the others share one.
//!
//! A bucket has a place from its first request on until the process ends: a place is never given to another bucket, so that whoever counts
//! needs no lock. Where all places are taken, further buckets are counted together.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use cairn_metrics::Counter;
use cairn_store::api::Bucket;
use cairn_types::{BucketName, TenantId};

use super::StatusCounts;

/// What requests of one bucket came to.
#[derive(Debug, Default)]
pub struct BucketCounts {
    /// How they ended.
    pub outcomes: StatusCounts,
    /// Bytes of bodies that were received.
    pub received_bytes: Counter,
    /// Bytes of bodies that were sent.
    pub sent_bytes: Counter,
}

#[derive(Debug, Default)]
struct Place {
    /// The bucket's id and 1; 0 while nobody has the place.
    id: AtomicU64,
    name: OnceLock<(TenantId, BucketName)>,
    counts: BucketCounts,
}

/// Where a bucket is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BucketSlot {
    /// Nowhere: the request was about no bucket, or about none that the sender may use.
    #[default]
    None,
    /// With all those that have no place of their own.
    Other,
    /// In this place.
    Own(u32),
}

/// See the module's documentation.
#[derive(Debug)]
pub struct BucketTable {
    /// Twice as many as are given out, so that a search is short.
    places: Box<[Place]>,
    taken: AtomicUsize,
    buckets_max: usize,
    other: BucketCounts,
}

impl BucketTable {
    /// For so many buckets.
    #[must_use]
    pub fn new(buckets_max: usize) -> Self {
        let count = if buckets_max == 0 { 0 } else { buckets_max.saturating_mul(2).next_power_of_two() };
        let places = (0..count).map(|_| Place::default()).collect();
        Self { places, taken: AtomicUsize::new(0), buckets_max, other: BucketCounts::default() }
    }

    /// Where a bucket is counted; it gets a place where one is left.
    pub fn slot(&self, bucket: &Bucket) -> BucketSlot {
        let mask = self.places.len().wrapping_sub(1);
        let wanted = bucket.id.0.wrapping_add(1);
        // Ids are given out in sequence, so that they spread by themselves.
        let start = usize::try_from(bucket.id.0 & mask as u64).unwrap_or(0);
        for step in 0..self.places.len() {
            let index = (start + step) & mask;
            let Some(place) = self.places.get(index) else { break };
            let mut id = place.id.load(Ordering::Acquire);
            if id == 0 {
                if !self.may_take() {
                    break;
                }
                match place.id.compare_exchange(0, wanted, Ordering::AcqRel, Ordering::Acquire) {
                    Ok(_) => {
                        let _ = place.name.set((bucket.tenant, bucket.name.clone()));
                        return BucketSlot::Own(index as u32);
                    }
                    Err(other) => {
                        self.taken.fetch_sub(1, Ordering::Relaxed);
                        id = other;
                    }
                }
            }
            if id == wanted {
                return BucketSlot::Own(index as u32);
            }
        }
        BucketSlot::Other
    }

    fn may_take(&self) -> bool {
        let more = |taken: usize| (taken < self.buckets_max).then_some(taken + 1);
        self.taken.load(Ordering::Relaxed) < self.buckets_max
            && self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    /// The numbers of a slot.
    #[must_use]
    pub fn get(&self, slot: BucketSlot) -> Option<&BucketCounts> {
        match slot {
            BucketSlot::None => None,
            BucketSlot::Other => Some(&self.other),
            BucketSlot::Own(index) => self.places.get(index as usize).map(|place| &place.counts),
        }
    }

    /// The buckets that have a place, each with its numbers.
    pub fn each(&self) -> impl Iterator<Item = (TenantId, &BucketName, &BucketCounts)> {
        self.places.iter().filter_map(|place| {
            let (tenant, name) = place.name.get()?;
            Some((*tenant, name, &place.counts))
        })
    }

    /// The numbers of all others.
    #[must_use]
    pub fn other(&self) -> &BucketCounts {
        &self.other
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use cairn_store::api::Versioning;
    use cairn_types::{AccountId, BucketId};

    use super::*;
    use crate::observe::Outcome;

    fn bucket(id: u64) -> Bucket {
        Bucket {
            id: BucketId(id),
            tenant: TenantId(1),
            name: format!("bucket-{id}").parse().unwrap(),
            owner: AccountId([0; 32]),
            owner_name: "a".into(),
            created_ms: 0,
            versioning: Versioning::Unversioned,
            cors: None,
            public_access_block: None,
            has_ownership_controls: false,
        }
    }

    #[test]
    fn so_many_buckets_have_numbers_of_their_own_and_the_rest_share() {
        let table = BucketTable::new(3);
        // These three begin their search at the same place.
        let ids = [8, 16, 24];
        let slots = ids.map(|id| table.slot(&bucket(id)));
        assert!(slots.iter().all(|slot| matches!(slot, BucketSlot::Own(_))), "{slots:?}");
        assert!(slots[0] != slots[1] && slots[1] != slots[2] && slots[0] != slots[2]);
        assert_eq!(table.slot(&bucket(5)), BucketSlot::Other);
        assert_eq!(ids.map(|id| table.slot(&bucket(id))), slots, "a place is kept");
        table.get(slots[1]).unwrap().outcomes.count(Outcome::Status(204));
        table.get(BucketSlot::Other).unwrap().outcomes.count(Outcome::Status(404));
        let named: Vec<(String, u64)> = table
            .each()
            .map(|(_, name, counts)| (name.to_string(), counts.outcomes.each().map(|(_, count)| count).sum()))
            .collect();
        assert_eq!(named.len(), 3);
        assert!(named.contains(&("bucket-16".to_owned(), 1)), "{named:?}");
        assert_eq!(table.other().outcomes.each().nth(2), Some(("4xx", 1)));
    }

    #[test]
    fn without_places_all_share() {
        let table = BucketTable::new(0);
        assert_eq!(table.slot(&bucket(1)), BucketSlot::Other);
        assert_eq!(table.each().count(), 0);
        assert!(table.get(BucketSlot::None).is_none());
    }

    #[test]
    fn a_bucket_has_one_place_however_many_come_at_once() {
        for _ in 0..50 {
            let table = Arc::new(BucketTable::new(4));
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    let table = table.clone();
                    std::thread::spawn(move || (1..=8).map(|id| table.slot(&bucket(id))).collect::<Vec<_>>())
                })
                .collect();
            let found: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
            assert_eq!(table.each().count(), 4);
            for id in 0..8 {
                let own: Vec<_> = found.iter().map(|slots| slots[id]).filter(|slot| *slot != BucketSlot::Other).collect();
                assert!(own.windows(2).all(|pair| pair[0] == pair[1]), "{own:?}");
            }
        }
    }
}
