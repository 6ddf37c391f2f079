//! Listings: pages of keys, with folders rolled up (AWS, "Organizing objects using prefixes").
//!
//! A folder costs one seek, however much is in it: once it is known to hold something, the listing goes on behind everything that begins
//! so. What is shown stands strictly behind the position asked for, folders included, so a page that begins where another ended never
//! repeats and never misses.

use std::ops::Bound;

use bytes::Bytes;
use cairn_types::codec::Record;
use cairn_types::records::{UploadRecord, VersionRow, VersionSummary};
use cairn_types::{BucketId, ObjectKey, VersionId};

use super::directory::bucket_record;
use super::reader::{RowIterator, StateReader};
use super::tables::{
    CURRENT, NONCURRENT, UPLOADS, behind_all, bucket_key, current_key, noncurrent_key, read_current_key, read_noncurrent_key,
    read_upload_key, rows_from_key, rows_of_key, upload_key,
};
use super::uploads::{found, read_upload_id};
use super::versions::{newest_noncurrent, null_pointer, version_sequence};
use crate::{
    CatalogError, CatalogResult, ListEntry, ListObjects, ListPosition, ListScope, ListUploads, ListVersions, ListedObject,
    ListedRow, ListedVersion, ObjectPage, Page, UploadPage, UploadPosition, VersionPage, VersionPosition,
};

/// Rows of objects, with their objects' keys, in the order of those.
type Keyed<'a, Row> = Box<dyn Iterator<Item = CatalogResult<(Vec<u8>, Row)>> + 'a>;

pub(crate) fn object_key(key: &[u8]) -> CatalogResult<ObjectKey> {
    std::str::from_utf8(key)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| CatalogError::Damaged("an object's key is not one".to_owned()))
}

pub(crate) fn text(bytes: &[u8]) -> CatalogResult<String> {
    std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| CatalogError::Damaged("a prefix is not text".to_owned()))
}

/// The folder that a text lies in: up to the end of the first delimiter behind the prefix.
fn folder<'k>(scope: &ListScope, key: &'k [u8]) -> Option<&'k [u8]> {
    let delimiter = scope.delimiter.as_deref().filter(|delimiter| !delimiter.is_empty())?.as_bytes();
    let rest = key.strip_prefix(scope.prefix.as_bytes())?;
    let place = match delimiter {
        [single] => rest.iter().position(|byte| byte == single)?,
        several => rest.windows(several.len()).position(|window| window == several)?,
    };
    key.get(..scope.prefix.len() + place + delimiter.len())
}

/// The first key that may be shown; `None` when none may.
pub(crate) fn first_key(scope: &ListScope, after: Option<&ListPosition>) -> Option<Vec<u8>> {
    let prefix = scope.prefix.as_bytes();
    let from = match after {
        None => return Some(prefix.to_vec()),
        // A folder at or before the position is not shown, nor is anything in it.
        Some(ListPosition::Prefix(shown)) => behind_all(folder(scope, shown.as_bytes()).unwrap_or(shown.as_bytes()))?,
        Some(ListPosition::Key(key)) => {
            if let Some(folder) = folder(scope, key.as_bytes()) {
                behind_all(folder)?
            } else {
                next_key(key.as_bytes())
            }
        }
    };
    Some(from.max(prefix.to_vec()))
}

/// One page. `rows` gives rows whose keys are at or behind a key; `first` are the rows to begin with.
fn page<'a, Row, T>(
    scope: &ListScope,
    limit_max: u32,
    first: Option<Keyed<'a, Row>>,
    rows: impl Fn(&[u8]) -> Keyed<'a, Row>,
    mut show: impl FnMut(&[u8], Row) -> CatalogResult<T>,
) -> CatalogResult<Page<ListEntry<T>>> {
    let limit = scope.limit.min(limit_max) as usize;
    let mut entries = Vec::new();
    let mut rest = first.filter(|_| limit > 0);
    while let Some(mut here) = rest.take() {
        for row in here.by_ref() {
            let (key, row) = row?;
            if !key.starts_with(scope.prefix.as_bytes()) {
                return Ok(Page { entries, is_truncated: false });
            }
            if entries.len() == limit {
                return Ok(Page { entries, is_truncated: true });
            }
            if let Some(folder) = folder(scope, &key) {
                entries.push(ListEntry::Prefix(text(folder)?));
                rest = behind_all(folder).map(|behind| rows(&behind));
                break;
            }
            entries.push(ListEntry::Item(show(&key, row)?));
        }
    }
    Ok(Page { entries, is_truncated: false })
}

fn map_rows<'a, Row: 'a>(
    rows: RowIterator<'a>,
    mut map: impl FnMut(&[u8], Bytes) -> CatalogResult<(Vec<u8>, Row)> + 'a,
) -> Keyed<'a, Row> {
    Box::new(rows.map(move |row| {
        let (key, value) = row?;
        map(&key, value)
    }))
}

/// Where a bucket's rows end.
fn bucket_end(bucket: BucketId) -> Option<Vec<u8>> {
    behind_all(&bucket_key(bucket))
}

fn range_to_bucket_end<'a>(
    reader: &'a (impl StateReader + ?Sized),
    table: super::reader::Table,
    bucket: BucketId,
    from: Bound<&[u8]>,
) -> RowIterator<'a> {
    let end = bucket_end(bucket);
    reader.range(table, from, end.as_deref().map_or(Bound::Unbounded, Bound::Excluded))
}

pub(super) fn objects(reader: &(impl StateReader + ?Sized), limit_max: u32, request: &ListObjects) -> CatalogResult<ObjectPage> {
    let scope = &request.scope;
    bucket_record(reader, scope.bucket)?;
    let rows = |from: &[u8]| {
        let from = current_key(scope.bucket, from);
        map_rows(range_to_bucket_end(reader, CURRENT, scope.bucket, Bound::Included(&from)), |key, value| {
            Ok((read_current_key(key)?.1.to_vec(), value))
        })
    };
    let first = first_key(scope, request.after.as_ref()).map(|from| rows(&from));
    page(scope, limit_max, first, rows, |key, row| match VersionRow::decode_summary(&row)? {
        VersionRow::Version(version) => Ok(ListedObject { key: object_key(key)?, version }),
        VersionRow::Marker(_) => Err(CatalogError::Damaged("a delete marker stands among the current versions".to_owned())),
    })
}

/// A row of a key, and whether it is the key's newest.
struct VersionRowOfKey {
    is_latest: bool,
    row: Bytes,
}

/// The rows of both tables as one: keys in order, per key the current version first, then the others as they stand.
struct BothTables<'a> {
    current: std::iter::Peekable<Keyed<'a, Bytes>>,
    noncurrent: std::iter::Peekable<Keyed<'a, Bytes>>,
    /// The key whose newest row was given last.
    key: Option<Vec<u8>>,
}

impl Iterator for BothTables<'_> {
    type Item = CatalogResult<(Vec<u8>, VersionRowOfKey)>;

    fn next(&mut self) -> Option<Self::Item> {
        let take_current = match (self.current.peek(), self.noncurrent.peek()) {
            (None, None) => return None,
            (Some(Err(_)), _) | (Some(_), None) => true,
            (_, Some(Err(_))) | (None, Some(_)) => false,
            (Some(Ok((current, _))), Some(Ok((other, _)))) => current <= other,
        };
        let next = if take_current { self.current.next()? } else { self.noncurrent.next()? };
        Some(next.map(|(key, row)| {
            let is_latest = self.key.as_ref() != Some(&key);
            if is_latest {
                self.key = Some(key.clone());
            }
            (key, VersionRowOfKey { is_latest, row })
        }))
    }
}

fn both_tables<'a>(reader: &'a (impl StateReader + ?Sized), bucket: BucketId, from: &[u8]) -> Keyed<'a, VersionRowOfKey> {
    let current_from = current_key(bucket, from);
    let noncurrent_from = rows_from_key(bucket, from);
    Box::new(BothTables {
        current: map_rows(range_to_bucket_end(reader, CURRENT, bucket, Bound::Included(&current_from)), |key, value| {
            Ok((read_current_key(key)?.1.to_vec(), value))
        })
        .peekable(),
        noncurrent: map_rows(range_to_bucket_end(reader, NONCURRENT, bucket, Bound::Included(&noncurrent_from)), |key, value| {
            Ok((read_noncurrent_key(key)?.1, value))
        })
        .peekable(),
        key: None,
    })
}

/// The rows of one key that are older than a sequence, newest first.
fn older_rows<'a>(
    reader: &'a (impl StateReader + ?Sized),
    bucket: BucketId,
    key: &[u8],
    sequence: u64,
) -> CatalogResult<Keyed<'a, VersionRowOfKey>> {
    let mut rows: Vec<CatalogResult<(Vec<u8>, VersionRowOfKey)>> = Vec::new();
    let current = reader.get(CURRENT, &current_key(bucket, key))?;
    // What was newer may have gone since: then the newest row is among these.
    let newest = match &current {
        Some(row) => Some(VersionRow::decode_summary(row)?.sequence()),
        None => newest_noncurrent(reader, bucket, key)?.map(|(sequence, _)| sequence),
    };
    if let (Some(row), Some(newest)) = (current, newest)
        && newest < sequence
    {
        rows.push(Ok((key.to_vec(), VersionRowOfKey { is_latest: true, row })));
    }
    let from = noncurrent_key(bucket, key, sequence);
    let end = behind_all(&rows_of_key(bucket, key));
    let others = reader.range(NONCURRENT, Bound::Excluded(&from), end.as_deref().map_or(Bound::Unbounded, Bound::Excluded));
    let others = map_rows(others, move |key, row| {
        let (_, key, sequence) = read_noncurrent_key(key)?;
        Ok((key, VersionRowOfKey { is_latest: Some(sequence) == newest, row }))
    });
    Ok(Box::new(rows.into_iter().chain(others)))
}

/// The first text behind a key.
fn next_key(key: &[u8]) -> Vec<u8> {
    let mut next = key.to_vec();
    next.push(0);
    next
}

pub(super) fn versions(
    reader: &(impl StateReader + ?Sized),
    limit_max: u32,
    request: &ListVersions,
) -> CatalogResult<VersionPage> {
    let scope = &request.scope;
    let bucket = scope.bucket;
    bucket_record(reader, bucket)?;
    let rows = |from: &[u8]| both_tables(reader, bucket, from);
    let by_name = |after: Option<&ListPosition>| first_key(scope, after).map(|from| rows(&from));
    let first = match &request.after {
        None => by_name(None),
        Some(VersionPosition::Name(name)) => by_name(Some(name)),
        Some(VersionPosition::Version(key, id)) => {
            let name = ListPosition::Key(key.as_str().to_owned());
            // Before the prefix or inside a folder, the version does not matter.
            if !key.as_str().starts_with(&scope.prefix) || folder(scope, key.as_bytes()).is_some() {
                by_name(Some(&name))
            } else {
                let sequence = match id {
                    VersionId::Id(bytes) => Some(version_sequence(bytes)),
                    VersionId::Null => null_sequence(reader, bucket, key.as_bytes())?,
                };
                // Where the place cannot be told, all of the key's versions: twice is better than never (R2).
                let older = older_rows(reader, bucket, key.as_bytes(), sequence.unwrap_or(u64::MAX))?;
                Some(Box::new(older.chain(rows(&next_key(key.as_bytes())))) as Keyed<'_, _>)
            }
        }
    };
    page(scope, limit_max, first, rows, |key, VersionRowOfKey { is_latest, row }| {
        let row = match VersionRow::decode_summary(&row)? {
            VersionRow::Version(version) => ListedRow::Version(version),
            VersionRow::Marker(marker) => ListedRow::Marker(marker),
        };
        Ok(ListedVersion { key: object_key(key)?, is_latest, row })
    })
}

/// The sequence of the key's `null` version, wherever it is.
fn null_sequence(reader: &(impl StateReader + ?Sized), bucket: BucketId, key: &[u8]) -> CatalogResult<Option<u64>> {
    if let Some(row) = reader.get(CURRENT, &current_key(bucket, key))?
        && let VersionRow::Version(VersionSummary { id: VersionId::Null, sequence, .. }) = VersionRow::decode_summary(&row)?
    {
        return Ok(Some(sequence));
    }
    null_pointer(reader, bucket, key)
}

pub(super) fn uploads(reader: &(impl StateReader + ?Sized), limit_max: u32, request: &ListUploads) -> CatalogResult<UploadPage> {
    let scope = &request.scope;
    let bucket = scope.bucket;
    bucket_record(reader, bucket)?;
    let rows_from = |from: Bound<&[u8]>| {
        map_rows(range_to_bucket_end(reader, UPLOADS, bucket, from), |key, value| {
            let (_, object, upload) = read_upload_key(key)?;
            Ok((object, (upload, value)))
        })
    };
    let rows = |from: &[u8]| rows_from(Bound::Included(&rows_from_key(bucket, from)));
    let by_name = |after: Option<&ListPosition>| first_key(scope, after).map(|from| rows(&from));
    let first = match &request.after {
        None => by_name(None),
        Some(UploadPosition::Name(name)) => by_name(Some(name)),
        Some(UploadPosition::Upload(key, id)) => {
            if !key.as_str().starts_with(&scope.prefix) || folder(scope, key.as_bytes()).is_some() {
                by_name(Some(&ListPosition::Key(key.as_str().to_owned())))
            } else {
                let (_, number) = read_upload_id(*id);
                Some(rows_from(Bound::Excluded(&upload_key(bucket, key.as_bytes(), number))))
            }
        }
    };
    page(scope, limit_max, first, rows, |key, (number, row)| {
        Ok(found(bucket, object_key(key)?, number, UploadRecord::decode(&row)?))
    })
}
