//! Versions of keys: what a PUT, a copy and a DELETE do in each state of a bucket's versioning (AWS, "How S3 Versioning works").
//!
//! Two tables, and what always holds between them:
//!
//! - a key's row in `current` is its newest version, and every row of the key in `noncurrent` has a lower sequence;
//! - a key without a row in `current` has none in `noncurrent` either, or its newest there is a delete marker;
//! - a `null` version or marker in `noncurrent`, and only there, is pointed to by `null_versions`; there is at most one per key;
//! - a bucket that never kept versions has rows in `current` only.

use bytes::Bytes;
use cairn_types::codec::Record;
use cairn_types::records::{
    AbandonedRecord, Body, BucketRecord, Extent, ManifestId, ManifestRecord, MarkerRecord, UsageRecord, VersionDetails,
    VersionRecord, VersionRow, VersionSummary, Versioning,
};
use cairn_types::{BucketId, ETag, ObjectKey, VersionId};
use xxhash_rust::xxh3::xxh3_64;

use super::blobs::{Content, commit_content, release, share};
use super::directory::bucket_record;
use super::reader::{StateReader, record, rows_beginning};
use super::sessions::check_open;
use super::tables::{
    ABANDONED, CURRENT, MANIFESTS, NONCURRENT, NULL_VERSIONS, USAGE, bucket_key, current_key, due_key, noncurrent_key,
    number_value, owner_key, read_noncurrent_key, read_number, rows_of_key,
};
use super::transaction::Transaction;
use crate::{
    CatalogError, CatalogResult, CopyVersion, DeleteTarget, DeleteVersion, DeleteVersions, Deleted, PutVersion, SourceVersion,
    TagVersion, Tagged, VersionAttributes, WriteCondition, Written,
};

/// The id of the version of this sequence: the sequence behind a hash, so that ids do not look like numbers, an id of another key does not
/// name a version of this one, and a version is found from its id without a search.
pub fn version_id(bucket: BucketId, key: &[u8], sequence: u64) -> VersionId {
    let mut text = Vec::with_capacity(16 + key.len());
    text.extend_from_slice(&bucket.0.to_be_bytes());
    text.extend_from_slice(&sequence.to_be_bytes());
    text.extend_from_slice(key);
    let hash = xxh3_64(&text);
    let mut id = [0; 16];
    id[..8].copy_from_slice(&hash.to_be_bytes());
    id[8..].copy_from_slice(&(sequence ^ hash.rotate_left(32)).to_be_bytes());
    VersionId::Id(id)
}

/// The sequence behind an id, of this catalog's making or not.
pub fn version_sequence(id: &[u8; 16]) -> u64 {
    let (hash, rest) = id.split_at(8);
    let number = |bytes: &[u8]| bytes.try_into().map_or(0, u64::from_be_bytes);
    number(rest) ^ number(hash).rotate_left(32)
}

/// A version as it stands in its table.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    /// The row's bytes: they move between the tables as they are.
    pub row: Bytes,
    pub version: VersionRecord,
}

/// Where a row of a key is, and what it is.
#[derive(Debug, Clone)]
pub(super) enum Located {
    Current(Stored),
    Noncurrent(VersionRow),
}

fn wrong_kind() -> CatalogError {
    CatalogError::Damaged("a delete marker stands among the current versions".to_owned())
}

/// The key's current version.
pub(super) fn current(reader: &(impl StateReader + ?Sized), bucket: BucketId, key: &[u8]) -> CatalogResult<Option<Stored>> {
    let Some(row) = reader.get(CURRENT, &current_key(bucket, key))? else {
        return Ok(None);
    };
    match VersionRow::decode(&row)? {
        VersionRow::Version(version) => Ok(Some(Stored { row, version })),
        VersionRow::Marker(_) => Err(wrong_kind()),
    }
}

/// The newest of the key's rows in `noncurrent`, with its bytes.
pub(super) fn newest_noncurrent(
    reader: &(impl StateReader + ?Sized),
    bucket: BucketId,
    key: &[u8],
) -> CatalogResult<Option<(u64, Bytes)>> {
    match rows_beginning(reader, NONCURRENT, &rows_of_key(bucket, key)).next() {
        None => Ok(None),
        Some(row) => {
            let (row_key, row) = row?;
            Ok(Some((read_noncurrent_key(&row_key)?.2, row)))
        }
    }
}

/// The key's version or marker of this id. `current` is the key's current version, which the caller has read already.
pub(super) fn locate(
    reader: &(impl StateReader + ?Sized),
    bucket: BucketId,
    key: &[u8],
    current: Option<Stored>,
    id: VersionId,
) -> CatalogResult<Option<Located>> {
    if let Some(stored) = current.filter(|stored| stored.version.summary.id == id) {
        return Ok(Some(Located::Current(stored)));
    }
    let sequence = match id {
        VersionId::Id(bytes) => version_sequence(&bytes),
        VersionId::Null => match null_pointer(reader, bucket, key)? {
            Some(sequence) => sequence,
            None => return Ok(None),
        },
    };
    let row: Option<VersionRow> = record(reader, NONCURRENT, &noncurrent_key(bucket, key, sequence))?;
    Ok(row.filter(|row| row_id(row) == id).map(Located::Noncurrent))
}

/// The sequence of the key's `null` version or marker, where that is not current.
pub(super) fn null_pointer(reader: &(impl StateReader + ?Sized), bucket: BucketId, key: &[u8]) -> CatalogResult<Option<u64>> {
    reader.get(NULL_VERSIONS, &current_key(bucket, key))?.map(|row| read_number(&row)).transpose()
}

pub(super) fn row_id(row: &VersionRow) -> VersionId {
    match row {
        VersionRow::Version(version) => version.summary.id,
        VersionRow::Marker(marker) => marker.id,
    }
}

/// Judges a condition by the key's current version; a delete marker counts as absent.
pub(super) fn check(condition: &WriteCondition, current: Option<ETag>) -> CatalogResult<()> {
    match (condition, current) {
        (WriteCondition::None, _) | (WriteCondition::Absent, None) | (WriteCondition::Present, Some(_)) => Ok(()),
        (WriteCondition::Matches(etags), Some(etag)) if etags.contains(&etag) => Ok(()),
        (WriteCondition::Absent | WriteCondition::Matches(_), Some(_)) => Err(CatalogError::PreconditionFailed),
        (WriteCondition::Present | WriteCondition::Matches(_), None) => Err(CatalogError::NoSuchKey),
    }
}

/// Changes a bucket's usage.
pub(super) fn change_usage(
    transaction: &mut Transaction<'_>,
    bucket: BucketId,
    change: impl FnOnce(&mut UsageRecord),
) -> CatalogResult<()> {
    let mut usage: UsageRecord = record(transaction, USAGE, &bucket_key(bucket))?.unwrap_or_default();
    change(&mut usage);
    transaction.put_record(USAGE, bucket_key(bucket), &usage);
    Ok(())
}

pub(super) fn put(transaction: &mut Transaction<'_>, request: PutVersion) -> CatalogResult<Written> {
    let PutVersion { session, bucket, key, content, attributes, condition } = request;
    let settings = bucket_record(transaction, bucket)?;
    check_open(transaction, session)?;
    let target = Target::judge(transaction, bucket, settings, key, &condition)?;
    let Content { extents, length } = commit_content(transaction, session, content)?;
    target.install(transaction, body_of(extents), length, attributes)
}

/// The body with these extents.
fn body_of(mut extents: Vec<Extent>) -> Body {
    match extents.as_mut_slice() {
        [] => Body::Empty,
        [Extent::Inline { id, .. }] => Body::Inline(*id),
        _ => Body::Extents(extents),
    }
}

/// The extents of a body that is not a manifest.
pub(super) fn extents_of(body: Body, length: u64) -> Vec<Extent> {
    match body {
        Body::Empty | Body::Manifest { .. } => Vec::new(),
        Body::Inline(id) => vec![Extent::Inline { id, length }],
        Body::Extents(extents) => extents,
    }
}

/// The source of a copy, if it is still there as described (B5).
pub(super) fn source(reader: &(impl StateReader + ?Sized), source: &SourceVersion) -> CatalogResult<VersionRecord> {
    let key = source.key.as_bytes();
    let current = current(reader, source.bucket, key)?;
    match locate(reader, source.bucket, key, current, source.version_id)? {
        Some(Located::Current(Stored { version, .. }) | Located::Noncurrent(VersionRow::Version(version)))
            if version.summary.sequence == source.sequence =>
        {
            Ok(version)
        }
        _ => Err(CatalogError::SourceChanged),
    }
}

pub(super) fn copy(transaction: &mut Transaction<'_>, request: CopyVersion) -> CatalogResult<Written> {
    let CopyVersion { session, source: from, bucket, key, attributes, condition } = request;
    let settings = bucket_record(transaction, bucket)?;
    check_open(transaction, session)?;
    let version = source(transaction, &from)?;
    let target = Target::judge(transaction, bucket, settings, key, &condition)?;
    let length = version.summary.length;
    // The new reference comes before the old one goes: source and target may be the same.
    let body = match version.details.body {
        body @ Body::Manifest { id, .. } => {
            let mut manifest = manifest(transaction, id)?;
            manifest.references = manifest.references.saturating_add(1);
            transaction.put_record(MANIFESTS, owner_key(id), &manifest);
            body
        }
        body => body_of(share(transaction, extents_of(body, length))?),
    };
    target.install(transaction, body, length, attributes)
}

/// A manifest that a version refers to.
pub(super) fn manifest(reader: &(impl StateReader + ?Sized), id: ManifestId) -> CatalogResult<ManifestRecord> {
    record::<ManifestRecord>(reader, MANIFESTS, &owner_key(id))?
        .filter(|manifest| manifest.references > 0)
        .ok_or_else(|| CatalogError::Damaged(format!("the manifest {} is referred to and not there", id.0)))
}

/// A key that a new version may be written to: its condition was judged.
pub(super) struct Target {
    bucket: BucketId,
    settings: BucketRecord,
    key: ObjectKey,
    current: Option<Stored>,
}

impl Target {
    pub(super) fn judge(
        reader: &(impl StateReader + ?Sized),
        bucket: BucketId,
        settings: BucketRecord,
        key: ObjectKey,
        condition: &WriteCondition,
    ) -> CatalogResult<Self> {
        let current = current(reader, bucket, key.as_bytes())?;
        check(condition, current.as_ref().map(|stored| stored.version.summary.etag))?;
        Ok(Self { bucket, settings, key, current })
    }

    /// Makes a version of this body the key's current one.
    pub(super) fn install(
        self,
        transaction: &mut Transaction<'_>,
        body: Body,
        length: u64,
        attributes: VersionAttributes,
    ) -> CatalogResult<Written> {
        let Self { bucket, settings, key, current } = self;
        let sequence = transaction.next_sequence()?;
        let id = if settings.versioning == Versioning::Enabled {
            if let Some(stored) = current {
                demote(transaction, bucket, key.as_bytes(), &stored)?;
            }
            version_id(bucket, key.as_bytes(), sequence)
        } else {
            replace_null(transaction, bucket, key.as_bytes(), settings.versioning, current)?;
            VersionId::Null
        };
        let VersionAttributes { etag, checksum, metadata, tags, storage_class } = attributes;
        let now = transaction.now();
        let summary =
            VersionSummary { sequence, id, last_modified: now.wall, created: now.catalog, length, etag, checksum, storage_class };
        let details = VersionDetails { body, metadata, tags, lock: None };
        let row = VersionRow::Version(VersionRecord { summary, details });
        transaction.put_record(CURRENT, current_key(bucket, key.as_bytes()), &row);
        change_usage(transaction, bucket, |usage| {
            usage.objects += 1;
            usage.object_bytes += length;
        })?;
        let versioning = settings.versioning;
        Ok(Written { version_id: id, versioning, sequence, last_modified: now.wall, length, etag, checksum })
    }
}

/// Makes room for a `null` version or marker: removes the one there is, and moves a current version with an id of its own aside.
fn replace_null(
    transaction: &mut Transaction<'_>,
    bucket: BucketId,
    key: &[u8],
    versioning: Versioning,
    current: Option<Stored>,
) -> CatalogResult<()> {
    match current {
        Some(stored) if stored.version.summary.id == VersionId::Null => {
            return remove_current(transaction, bucket, key, stored.version);
        }
        Some(stored) => demote(transaction, bucket, key, &stored)?,
        None => {}
    }
    // A bucket that never kept versions has no row but the current one.
    if versioning != Versioning::Unversioned
        && let Some(sequence) = null_pointer(transaction, bucket, key)?
    {
        let row = record(transaction, NONCURRENT, &noncurrent_key(bucket, key, sequence))?
            .ok_or_else(|| CatalogError::Damaged("a null version is pointed to and not there".to_owned()))?;
        remove_noncurrent(transaction, bucket, key, row)?;
    }
    Ok(())
}

/// Moves the current version aside.
fn demote(transaction: &mut Transaction<'_>, bucket: BucketId, key: &[u8], stored: &Stored) -> CatalogResult<()> {
    let VersionSummary { sequence, id, length, .. } = stored.version.summary;
    transaction.delete(CURRENT, current_key(bucket, key));
    transaction.put(NONCURRENT, noncurrent_key(bucket, key, sequence), stored.row.clone());
    if id == VersionId::Null {
        transaction.put(NULL_VERSIONS, current_key(bucket, key), number_value(sequence));
    }
    change_usage(transaction, bucket, |usage| {
        usage.objects = usage.objects.saturating_sub(1);
        usage.object_bytes = usage.object_bytes.saturating_sub(length);
        usage.noncurrent_versions += 1;
        usage.noncurrent_bytes += length;
    })
}

/// After the newest row went: the next one becomes current, unless it is a delete marker.
fn promote(transaction: &mut Transaction<'_>, bucket: BucketId, key: &[u8]) -> CatalogResult<()> {
    let Some((sequence, row)) = newest_noncurrent(transaction, bucket, key)? else {
        return Ok(());
    };
    let VersionRow::Version(version) = VersionRow::decode(&row)? else {
        return Ok(());
    };
    let length = version.summary.length;
    transaction.delete(NONCURRENT, noncurrent_key(bucket, key, sequence));
    transaction.put(CURRENT, current_key(bucket, key), row);
    if version.summary.id == VersionId::Null {
        transaction.delete(NULL_VERSIONS, current_key(bucket, key));
    }
    change_usage(transaction, bucket, |usage| {
        usage.objects += 1;
        usage.object_bytes += length;
        usage.noncurrent_versions = usage.noncurrent_versions.saturating_sub(1);
        usage.noncurrent_bytes = usage.noncurrent_bytes.saturating_sub(length);
    })
}

fn remove_current(transaction: &mut Transaction<'_>, bucket: BucketId, key: &[u8], version: VersionRecord) -> CatalogResult<()> {
    let length = version.summary.length;
    transaction.delete(CURRENT, current_key(bucket, key));
    change_usage(transaction, bucket, |usage| {
        usage.objects = usage.objects.saturating_sub(1);
        usage.object_bytes = usage.object_bytes.saturating_sub(length);
    })?;
    discard(transaction, version)
}

fn remove_noncurrent(transaction: &mut Transaction<'_>, bucket: BucketId, key: &[u8], row: VersionRow) -> CatalogResult<()> {
    let (sequence, id) = match &row {
        VersionRow::Version(version) => (version.summary.sequence, version.summary.id),
        VersionRow::Marker(marker) => (marker.sequence, marker.id),
    };
    transaction.delete(NONCURRENT, noncurrent_key(bucket, key, sequence));
    if id == VersionId::Null {
        transaction.delete(NULL_VERSIONS, current_key(bucket, key));
    }
    match row {
        VersionRow::Version(version) => {
            let length = version.summary.length;
            change_usage(transaction, bucket, |usage| {
                usage.noncurrent_versions = usage.noncurrent_versions.saturating_sub(1);
                usage.noncurrent_bytes = usage.noncurrent_bytes.saturating_sub(length);
            })?;
            discard(transaction, version)
        }
        VersionRow::Marker(_) => {
            change_usage(transaction, bucket, |usage| usage.delete_markers = usage.delete_markers.saturating_sub(1))
        }
    }
}

/// Sets a version's tags. Its sequence stays: it is the same content.
pub(super) fn tag(transaction: &mut Transaction<'_>, request: TagVersion) -> CatalogResult<Tagged> {
    let TagVersion { bucket, key, version_id, tags } = request;
    let versioning = bucket_record(transaction, bucket)?.versioning;
    let key = key.as_bytes();
    let current = current(transaction, bucket, key)?;
    let (mut version, is_current) = match (version_id, current) {
        (None, Some(stored)) => (stored.version, true),
        (None, None) => match newest_noncurrent(transaction, bucket, key)? {
            Some((_, row)) => (not_a_marker(VersionRow::decode(&row)?)?, false),
            None => return Err(CatalogError::NoSuchKey),
        },
        (Some(id), current) => match locate(transaction, bucket, key, current, id)? {
            Some(Located::Current(stored)) => (stored.version, true),
            Some(Located::Noncurrent(row)) => (not_a_marker(row)?, false),
            None => return Err(CatalogError::NoSuchVersion),
        },
    };
    version.details.tags = tags;
    let VersionSummary { sequence, id, .. } = version.summary;
    let row = VersionRow::Version(version);
    if is_current {
        transaction.put_record(CURRENT, current_key(bucket, key), &row);
    } else {
        transaction.put_record(NONCURRENT, noncurrent_key(bucket, key, sequence), &row);
    }
    Ok(Tagged { version_id: id, versioning })
}

/// A version, and that a delete marker is none.
pub(super) fn not_a_marker(row: VersionRow) -> CatalogResult<VersionRecord> {
    match row {
        VersionRow::Version(version) => Ok(version),
        VersionRow::Marker(marker) => {
            Err(CatalogError::IsDeleteMarker { version_id: marker.id, last_modified: marker.last_modified })
        }
    }
}

/// The end of every version, whoever asks for it: lets go of its bytes. The one place where Object Lock is to be checked (K3).
fn discard(transaction: &mut Transaction<'_>, version: VersionRecord) -> CatalogResult<()> {
    if let Some(lock) = version.details.lock {
        let retained = lock.retention.is_some_and(|retention| retention.until > transaction.now().catalog);
        if retained || lock.legal_hold {
            return Err(CatalogError::Refused("the version is locked".to_owned()));
        }
    }
    match version.details.body {
        Body::Manifest { id, .. } => {
            let mut manifest = manifest(transaction, id)?;
            // `manifest` has seen to it that there is one.
            manifest.references -= 1;
            if manifest.references == 0 {
                // Its parts stay for the grace, so that those who read it can go on: they look parts up as they come to them (S4).
                let due = transaction.now().catalog.after(transaction.limits().garbage_grace);
                transaction.put_record(ABANDONED, due_key(due, id), &AbandonedRecord { bucket: None });
            }
            transaction.put_record(MANIFESTS, owner_key(id), &manifest);
            Ok(())
        }
        body => release(transaction, extents_of(body, version.summary.length)),
    }
}

pub(super) fn delete(transaction: &mut Transaction<'_>, request: DeleteVersion) -> CatalogResult<Deleted> {
    let settings = bucket_record(transaction, request.bucket)?;
    delete_target(transaction, request.bucket, settings.versioning, request.target)
}

pub(super) fn delete_several(
    transaction: &mut Transaction<'_>,
    request: DeleteVersions,
) -> CatalogResult<Vec<CatalogResult<Deleted>>> {
    if request.targets.len() > transaction.limits().delete_count_max {
        return Err(CatalogError::Refused(format!("{} objects to delete at once", request.targets.len())));
    }
    let settings = bucket_record(transaction, request.bucket)?;
    request
        .targets
        .into_iter()
        .map(|target| match delete_target(transaction, request.bucket, settings.versioning, target) {
            // Judged before anything was written, so the others may go on.
            Err(error @ (CatalogError::PreconditionFailed | CatalogError::NoSuchKey)) => Ok(Err(error)),
            Err(error) => Err(error),
            Ok(deleted) => Ok(Ok(deleted)),
        })
        .collect()
}

fn delete_target(
    transaction: &mut Transaction<'_>,
    bucket: BucketId,
    versioning: Versioning,
    target: DeleteTarget,
) -> CatalogResult<Deleted> {
    let DeleteTarget { key, version_id, condition } = target;
    let key = key.as_bytes();
    let current = current(transaction, bucket, key)?;
    check(&condition, current.as_ref().map(|stored| stored.version.summary.etag))?;
    match version_id {
        Some(id) => delete_one(transaction, bucket, key, current, id),
        None if versioning == Versioning::Unversioned => {
            let changed = current.is_some();
            if let Some(stored) = current {
                remove_current(transaction, bucket, key, stored.version)?;
            }
            Ok(Deleted { version_id: None, is_delete_marker: false, changed })
        }
        None => hide(transaction, bucket, key, versioning, current),
    }
}

/// Deletes a version or marker for good.
fn delete_one(
    transaction: &mut Transaction<'_>,
    bucket: BucketId,
    key: &[u8],
    current: Option<Stored>,
    id: VersionId,
) -> CatalogResult<Deleted> {
    let has_current = current.is_some();
    let (is_delete_marker, was_current) = match locate(transaction, bucket, key, current, id)? {
        None => {
            return Ok(Deleted { version_id: Some(id), is_delete_marker: false, changed: false });
        }
        Some(Located::Current(stored)) => {
            remove_current(transaction, bucket, key, stored.version)?;
            (false, true)
        }
        Some(Located::Noncurrent(row)) => {
            let is_delete_marker = matches!(row, VersionRow::Marker(_));
            remove_noncurrent(transaction, bucket, key, row)?;
            (is_delete_marker, false)
        }
    };
    if was_current || !has_current {
        promote(transaction, bucket, key)?;
    }
    Ok(Deleted { version_id: Some(id), is_delete_marker, changed: true })
}

/// Puts a delete marker on top of the key's versions.
fn hide(
    transaction: &mut Transaction<'_>,
    bucket: BucketId,
    key: &[u8],
    versioning: Versioning,
    current: Option<Stored>,
) -> CatalogResult<Deleted> {
    let sequence = transaction.next_sequence()?;
    let id = if versioning == Versioning::Enabled {
        if let Some(stored) = current {
            demote(transaction, bucket, key, &stored)?;
        }
        version_id(bucket, key, sequence)
    } else {
        replace_null(transaction, bucket, key, versioning, current)?;
        transaction.put(NULL_VERSIONS, current_key(bucket, key), number_value(sequence));
        VersionId::Null
    };
    let now = transaction.now();
    let marker = MarkerRecord { sequence, id, last_modified: now.wall, created: now.catalog };
    transaction.put_record(NONCURRENT, noncurrent_key(bucket, key, sequence), &VersionRow::Marker(marker));
    change_usage(transaction, bucket, |usage| usage.delete_markers += 1)?;
    Ok(Deleted { version_id: Some(id), is_delete_marker: true, changed: true })
}
