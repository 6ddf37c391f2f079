//! What a transaction has read so far, as a state to evaluate commands on.
//!
//! The state machine reads as if all rows were at hand. What is not is noted, the evaluation fails, the rows are fetched in one round trip, and it is
//! evaluated again: it is a pure function, so it comes to the same place with more known. A result counts only when nothing was missing on
//! the way to it.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use bytes::Bytes;
use cairn_types::codec::Record;
use cairn_types::records::{AbandonedRecord, Body, Extent, ManifestId, PartRecord, VersionDetails, VersionRecord, VersionRow};

use crate::embedded::state::reader::{RowIterator, Table};
use crate::embedded::state::{StateReader, tables};
use crate::{CatalogError, CatalogResult};

/// Rows that a range is fetched by at first; each time that was too few, four times as many.
pub(super) const RANGE_ROWS_FIRST: i64 = 32;
/// Uploads and manifests whose parts are fetched together to be taken apart.
const ABANDONED_AT_ONCE: usize = 32;
/// Rows of a range that are fetched at once at most.
const RANGE_ROWS_MAX: i64 = 2048;

/// Rows between two keys: the first included, the last excluded.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Span {
    pub table: Table,
    pub from: Vec<u8>,
    pub to: Option<Vec<u8>>,
}

/// What is known of a range: its first rows.
#[derive(Debug, Default)]
struct Front {
    rows: Vec<(Bytes, Bytes)>,
    is_whole: bool,
    fetched_last: i64,
}

/// Rows of a range that are not known yet.
#[derive(Debug, Clone)]
pub(super) struct MissingRange {
    pub span: Span,
    /// Where to go on.
    pub from: Vec<u8>,
    /// How many to fetch.
    pub limit: i64,
}

/// The parts of an upload or manifest.
fn parts_of(owner: ManifestId) -> Span {
    let prefix = tables::owner_key(owner);
    Span { table: tables::PARTS, from: prefix.to_vec(), to: tables::behind_all(&prefix) }
}

/// Rows and ranges that are not known yet.
pub(super) type Missing = (BTreeSet<(Table, Bytes)>, Vec<MissingRange>);

/// See the module's documentation.
#[derive(Default)]
pub(super) struct Known {
    points: BTreeMap<(Table, Bytes), Option<Bytes>>,
    ranges: BTreeMap<Span, Front>,
    missing_points: RefCell<BTreeSet<(Table, Bytes)>>,
    missing_ranges: RefCell<Vec<MissingRange>>,
}

impl Known {
    /// Whether the last evaluation missed anything, and what.
    pub(super) fn take_missing(&mut self) -> Missing {
        (self.missing_points.take(), self.missing_ranges.take())
    }

    /// Whether the last evaluation missed anything.
    pub(super) fn is_missing(&self) -> bool {
        !self.missing_points.borrow().is_empty() || !self.missing_ranges.borrow().is_empty()
    }

    /// Rows that are looked up wherever these are: each evaluation stops at the first row that it misses, and a request of a thousand deletions would
    /// otherwise fetch a thousand blobs one after the other.
    fn following(&self) -> CatalogResult<BTreeSet<(Table, Bytes)>> {
        let mut following = BTreeSet::new();
        for ((table, key), value) in &self.points {
            let Some(value) = value else { continue };
            match *table {
                tables::CURRENT | tables::NONCURRENT => match VersionRow::decode(value)? {
                    VersionRow::Version(VersionRecord {
                        details: VersionDetails { body: Body::Extents(extents), .. }, ..
                    }) => {
                        following.extend(extents.iter().filter_map(|extent| match extent {
                            Extent::Blob { id, .. } => Some((tables::BLOBS, tables::blob_key(*id))),
                            Extent::Inline { .. } => None,
                        }));
                    }
                    VersionRow::Version(VersionRecord {
                        details: VersionDetails { body: Body::Manifest { id, .. }, .. },
                        ..
                    }) => {
                        following.insert((tables::MANIFESTS, tables::owner_key(id)));
                    }
                    _ => {}
                },
                tables::NULL_VERSIONS => {
                    let (bucket, key) = tables::read_current_key(key)?;
                    let row = tables::noncurrent_key(bucket, key, tables::read_number(value)?);
                    following.insert((tables::NONCURRENT, row));
                }
                _ => {}
            }
        }
        for (_, value) in self.abandoned() {
            if let AbandonedRecord { bucket: Some(bucket) } = AbandonedRecord::decode(value)? {
                following.insert((tables::BUCKETS, tables::bucket_key(bucket)));
                following.insert((tables::USAGE, tables::bucket_key(bucket)));
            }
        }
        for owner in self.abandoned_owners()? {
            following.insert((tables::MANIFESTS, tables::owner_key(owner)));
            let parts = self.ranges.get(&parts_of(owner)).map(|front| front.rows.as_slice()).unwrap_or_default();
            for (_, value) in parts {
                following.extend(PartRecord::decode(value)?.extents.iter().filter_map(|extent| match extent {
                    Extent::Blob { id, .. } => Some((tables::BLOBS, tables::blob_key(*id))),
                    Extent::Inline { .. } => None,
                }));
            }
        }
        following.retain(|row| !self.points.contains_key(row));
        Ok(following)
    }

    /// Rows of what is taken apart in the background, some of the first.
    fn abandoned(&self) -> impl Iterator<Item = &(Bytes, Bytes)> {
        let rows = self.ranges.iter().filter(|(span, _)| span.table == tables::ABANDONED);
        rows.flat_map(|(_, front)| front.rows.as_slice()).take(ABANDONED_AT_ONCE)
    }

    fn abandoned_owners(&self) -> CatalogResult<Vec<ManifestId>> {
        self.abandoned().map(|(key, _)| Ok(tables::read_due_key(key)?.1)).collect()
    }

    /// What the last evaluation missed, and what a change will look up besides.
    pub(super) fn take_missing_of_change(&mut self) -> CatalogResult<Missing> {
        let (mut points, mut ranges) = self.take_missing();
        points.extend(self.following()?);
        for owner in self.abandoned_owners()? {
            let span = parts_of(owner);
            if !self.ranges.contains_key(&span) && !ranges.iter().any(|range| range.span == span) {
                ranges.push(MissingRange { from: span.from.clone(), span, limit: RANGE_ROWS_FIRST });
            }
        }
        Ok((points, ranges))
    }

    /// A number of [`tables::META`], where it was read.
    pub(super) fn number(&self, name: &'static [u8]) -> Option<u64> {
        let value = self.points.get(&(tables::META, Bytes::from_static(name)))?.as_ref()?;
        tables::read_number(value).ok()
    }

    /// Learns a row, or that there is none.
    pub(super) fn learn(&mut self, table: Table, key: Bytes, value: Option<Bytes>) {
        self.points.insert((table, key), value);
    }

    /// Learns what follows what was known of a range. Fewer rows than asked for: these were the last ones.
    pub(super) fn learn_range(&mut self, missing: MissingRange, rows: Vec<(Bytes, Bytes)>) {
        let front = self.ranges.entry(missing.span).or_default();
        front.is_whole = i64::try_from(rows.len()).unwrap_or(i64::MAX) < missing.limit;
        front.fetched_last = missing.limit;
        front.rows.extend(rows);
    }

    fn miss<T>() -> CatalogResult<T> {
        Err(CatalogError::Unavailable("a row is not fetched yet".to_owned()))
    }
}

impl StateReader for Known {
    fn get(&self, table: Table, key: &[u8]) -> CatalogResult<Option<Bytes>> {
        let place = (table, Bytes::copy_from_slice(key));
        if let Some(value) = self.points.get(&place) {
            return Ok(value.clone());
        }
        self.missing_points.borrow_mut().insert(place);
        Self::miss()
    }

    fn range(&self, table: Table, from: Bound<&[u8]>, to: Bound<&[u8]>) -> RowIterator<'_> {
        let behind = |key: &[u8]| {
            let mut behind = key.to_vec();
            behind.push(0);
            behind
        };
        let from = match from {
            Bound::Included(key) => key.to_vec(),
            Bound::Excluded(key) => behind(key),
            Bound::Unbounded => Vec::new(),
        };
        let to = match to {
            Bound::Included(key) => Some(behind(key)),
            Bound::Excluded(key) => Some(key.to_vec()),
            Bound::Unbounded => None,
        };
        let span = Span { table, from, to };
        let front = self.ranges.get(&span);
        let known = front.map(|front| front.rows.as_slice()).unwrap_or_default().iter().cloned().map(Ok);
        if front.is_some_and(|front| front.is_whole) {
            return Box::new(known);
        }
        let (next, limit) = match front {
            None => (span.from.clone(), RANGE_ROWS_FIRST),
            Some(front) => {
                let next = front.rows.last().map_or_else(|| span.from.clone(), |(key, _)| behind(key));
                (next, (front.fetched_last * 4).min(RANGE_ROWS_MAX))
            }
        };
        let missing = MissingRange { span, from: next, limit };
        let rest = std::iter::once_with(move || {
            self.missing_ranges.borrow_mut().push(missing.clone());
            Self::miss()
        });
        Box::new(known.chain(rest))
    }
}
