//! What is only read: versions, parts, blobs.

use std::collections::BTreeSet;
use std::ops::Bound;

use cairn_types::codec::Record;
use cairn_types::records::{BlobRecord, Body, Extent, ManifestRecord, PartSpan, VersionRecord, VersionRow};
use cairn_types::{BlobId, CatalogTime, VersionId};

use super::blobs::{blob, inline};
use super::directory::bucket_record;
use super::reader::{StateReader, Table, record};
use super::tables::{
    BLOBS, CONDEMNED, INCOMPLETE, MANIFESTS, PARTS, behind_all, blob_key, condemned_key, incomplete_key, owner_key, part_key,
    read_blob_key, read_condemned_key, read_incomplete_key, read_part_key,
};
use super::uploads::{get as upload, part, read_upload_id};
use super::versions::{Located, Stored, current, extents_of, locate, newest_noncurrent, not_a_marker, source};
use crate::{
    BlobPage, CatalogError, CatalogResult, CondemnedPosition, FoundBlob, FoundContent, FoundExtents, FoundPart, FoundUploadPart,
    FoundVersion, GetVersion, IncompletePosition, ListBlobs, ListCondemned, ListIncomplete, ListParts, ManifestPage,
    ManifestPart, ManifestParts, ManifestPosition, Page, SourceVersion,
};
use cairn_types::records::{ManifestId, PartRecord, ZoneSet};

/// See [`crate::Catalog::get_version`].
pub(super) fn version(reader: &(impl StateReader + ?Sized), request: &GetVersion) -> CatalogResult<FoundVersion> {
    let GetVersion { bucket, key, version_id, part_number, with_content } = request;
    let settings = bucket_record(reader, *bucket)?;
    let version = find_version(reader, *bucket, key.as_bytes(), *version_id)?;
    let part = part_number.map(|number| find_part(reader, &version, number)).transpose()?;
    let content = with_content.then(|| content(reader, &version)).transpose()?;
    Ok(FoundVersion { version, versioning: settings.versioning, part, content })
}

fn find_version(
    reader: &(impl StateReader + ?Sized),
    bucket: cairn_types::BucketId,
    key: &[u8],
    id: Option<VersionId>,
) -> CatalogResult<VersionRecord> {
    let current = current(reader, bucket, key)?;
    let row = match (id, current) {
        (None, Some(stored)) => return Ok(stored.version),
        (None, None) => match newest_noncurrent(reader, bucket, key)? {
            Some((_, row)) => VersionRow::decode(&row)?,
            None => return Err(CatalogError::NoSuchKey),
        },
        (Some(id), current) => match locate(reader, bucket, key, current, id)? {
            Some(Located::Current(Stored { version, .. })) => return Ok(version),
            Some(Located::Noncurrent(row)) => row,
            None => return Err(CatalogError::NoSuchVersion),
        },
    };
    not_a_marker(row)
}

/// See [`crate::Catalog::version_exists`].
pub(super) fn version_exists(reader: &(impl StateReader + ?Sized), version: &SourceVersion) -> CatalogResult<bool> {
    match source(reader, version) {
        Ok(_) => Ok(true),
        Err(CatalogError::SourceChanged) => Ok(false),
        Err(error) => Err(error),
    }
}

/// A manifest, whether or not a version still refers to it: those who read it may go on for the grace (S4).
fn manifest(reader: &(impl StateReader + ?Sized), id: ManifestId) -> CatalogResult<Option<ManifestRecord>> {
    record(reader, MANIFESTS, &owner_key(id))
}

fn find_part(reader: &(impl StateReader + ?Sized), version: &VersionRecord, number: u32) -> CatalogResult<FoundPart> {
    let ordinal = number.checked_sub(1).ok_or(CatalogError::NoSuchPart)?;
    let Body::Manifest { id, part_count } = version.details.body else {
        return if ordinal == 0 {
            let span = PartSpan { ordinal: 0, number: 1, offset: 0, length: version.summary.length };
            Ok(FoundPart { span, part_count: 1, checksum: version.summary.checksum })
        } else {
            Err(CatalogError::NoSuchPart)
        };
    };
    let manifest = manifest(reader, id)?.ok_or_else(|| CatalogError::Damaged(format!("manifest {} is not there", id.0)))?;
    let span = manifest.spans_from_ordinal(ordinal).next().ok_or(CatalogError::NoSuchPart)?;
    let checksum = part(reader, id, span.number)?.checksum;
    Ok(FoundPart { span, part_count, checksum })
}

fn content(reader: &(impl StateReader + ?Sized), version: &VersionRecord) -> CatalogResult<FoundContent> {
    match &version.details.body {
        Body::Empty => Ok(FoundContent::Inline(bytes::Bytes::new())),
        Body::Inline(id) => inline(reader, *id).map(FoundContent::Inline),
        Body::Manifest { id, .. } => Ok(FoundContent::Manifest(*id)),
        body @ Body::Extents(_) => {
            let mut found = extents(reader, extents_of(body.clone(), version.summary.length))?;
            found.blobs = named_blobs(reader, &found.extents)?;
            Ok(FoundContent::Extents(found))
        }
    }
}

/// Extents with their inline bytes; not with their blobs.
fn extents(reader: &(impl StateReader + ?Sized), extents: Vec<Extent>) -> CatalogResult<FoundExtents> {
    let inline = extents
        .iter()
        .filter_map(|extent| match extent {
            Extent::Inline { id, .. } => Some(inline(reader, *id)),
            Extent::Blob { .. } => None,
        })
        .collect::<CatalogResult<_>>()?;
    Ok(FoundExtents { extents, blobs: Vec::new(), inline })
}

fn named_blobs<'a>(
    reader: &(impl StateReader + ?Sized),
    extents: impl IntoIterator<Item = &'a Extent>,
) -> CatalogResult<Vec<FoundBlob>> {
    let ids: BTreeSet<BlobId> = extents
        .into_iter()
        .filter_map(|extent| match extent {
            Extent::Blob { id, .. } => Some(*id),
            Extent::Inline { .. } => None,
        })
        .collect();
    ids.into_iter()
        .map(|id| {
            let record =
                blob(reader, id)?.ok_or_else(|| CatalogError::Damaged(format!("blob {id:?} is referred to and not there")))?;
            Ok((id, record))
        })
        .collect()
}

/// See [`crate::Catalog::manifest_parts`].
pub(super) fn manifest_parts(
    reader: &(impl StateReader + ?Sized),
    limit_max: u32,
    request: &ManifestParts,
) -> CatalogResult<ManifestPage> {
    let manifest = manifest(reader, request.manifest)?.ok_or(CatalogError::NoSuchVersion)?;
    let limit = request.limit.clamp(1, limit_max) as usize;
    let mut spans: Box<dyn Iterator<Item = PartSpan>> = match request.from {
        ManifestPosition::Offset(offset) => Box::new(manifest.spans_from(offset)),
        ManifestPosition::Ordinal(ordinal) => Box::new(manifest.spans_from_ordinal(ordinal)),
    };
    let mut parts = Vec::new();
    for span in spans.by_ref().take(limit) {
        let part = match part(reader, request.manifest, span.number) {
            // Being taken apart, after its grace.
            Err(CatalogError::Damaged(_)) if manifest.references == 0 => return Err(CatalogError::NoSuchVersion),
            part => part?,
        };
        let content = if request.with_content { extents(reader, part.extents)? } else { FoundExtents::default() };
        parts.push(ManifestPart { span, etag: part.etag, checksum: part.checksum, content });
    }
    let blobs = named_blobs(reader, parts.iter().flat_map(|part| &part.content.extents))?;
    Ok(ManifestPage { parts, blobs, is_truncated: spans.next().is_some() })
}

/// See [`crate::Catalog::list_parts`].
pub(super) fn list_parts(
    reader: &(impl StateReader + ?Sized),
    limit_max: u32,
    request: &ListParts,
) -> CatalogResult<Page<FoundUploadPart>> {
    upload(reader, request.upload.clone())?;
    let (_, number) = read_upload_id(request.upload.upload_id);
    let owner = ManifestId(number);
    let from = part_key(owner, request.after);
    let end = behind_all(&owner_key(owner));
    let limit = request.limit.min(limit_max) as usize;
    let mut entries = Vec::new();
    for row in reader.range(PARTS, Bound::Excluded(&from), end.as_deref().map_or(Bound::Unbounded, Bound::Excluded)) {
        let (key, value) = row?;
        if entries.len() == limit {
            return Ok(Page { entries, is_truncated: limit > 0 });
        }
        entries.push(FoundUploadPart::new(read_part_key(&key)?.1, &PartRecord::decode(&value)?));
    }
    Ok(Page { entries, is_truncated: false })
}

/// See [`crate::Catalog::blobs`].
pub(super) fn blobs(reader: &(impl StateReader + ?Sized), ids: &[BlobId]) -> CatalogResult<Vec<Option<FoundBlob>>> {
    ids.iter().map(|id| Ok(blob(reader, *id)?.map(|record| (*id, record)))).collect()
}

/// See [`crate::Catalog::blob_page`].
pub(super) fn blob_page(
    reader: &(impl StateReader + ?Sized),
    limit_max: u32,
    request: &ListBlobs,
) -> CatalogResult<BlobPage<BlobId>> {
    let after = request.after.map(blob_key);
    let from = after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
    let limit = request.limit.clamp(1, limit_max) as usize;
    let mut page = BlobPage { blobs: Vec::new(), next: None };
    let mut last = None;
    for (place, row) in reader.range(BLOBS, from, Bound::Unbounded).enumerate() {
        let (key, value) = row?;
        if place == limit {
            page.next = last;
            break;
        }
        let id = read_blob_key(&key)?;
        last = Some(id);
        let record = BlobRecord::decode(&value)?;
        if record.condemned.is_none() {
            page.blobs.push((id, record));
        }
    }
    Ok(page)
}

/// Every set of zones that has a zone in common with these, in the order of their numbers.
fn sets_with(zones: ZoneSet) -> impl Iterator<Item = ZoneSet> {
    (1..=ZoneSet::ALL.bits()).filter_map(ZoneSet::from_bits).filter(move |set| set.intersects(zones))
}

/// A page over an index whose rows begin with a set of zones: the rows of the sets that matter, from a row on, while `wanted`.
fn indexed_blobs<Position>(
    reader: &(impl StateReader + ?Sized),
    table: Table,
    zones: ZoneSet,
    from: Option<&[u8]>,
    limit: usize,
    read: impl Fn(&[u8]) -> CatalogResult<(BlobId, Position)>,
    wanted: impl Fn(&Position) -> bool,
) -> CatalogResult<BlobPage<Position>> {
    let mut page = BlobPage { blobs: Vec::new(), next: None };
    for set in sets_with(zones) {
        let first = [set.bits()];
        let start = match from {
            Some(from) if from.first() > Some(&set.bits()) => continue,
            Some(from) if from.first() == Some(&set.bits()) => from,
            _ => first.as_slice(),
        };
        let end = [set.bits() + 1];
        for row in reader.range(table, Bound::Included(start), Bound::Excluded(&end)) {
            let (id, position) = read(&row?.0)?;
            if !wanted(&position) {
                break;
            }
            if page.blobs.len() == limit {
                page.next = Some(position);
                return Ok(page);
            }
            let record =
                blob(reader, id)?.ok_or_else(|| CatalogError::Damaged(format!("blob {id:?} is in an index and not there")))?;
            page.blobs.push((id, record));
        }
    }
    Ok(page)
}

/// See [`crate::Catalog::incomplete_blobs`].
pub(super) fn incomplete(
    reader: &(impl StateReader + ?Sized),
    limit_max: u32,
    request: &ListIncomplete,
) -> CatalogResult<BlobPage<IncompletePosition>> {
    let limit = request.limit.clamp(1, limit_max) as usize;
    let read = |key: &[u8]| read_incomplete_key(key).map(|position| (position.blob, position));
    indexed_blobs(reader, INCOMPLETE, request.zones, request.from.map(incomplete_key).as_deref(), limit, read, |_| true)
}

/// See [`crate::Catalog::condemned_blobs`].
pub(super) fn condemned(
    reader: &(impl StateReader + ?Sized),
    limit_max: u32,
    now: CatalogTime,
    request: &ListCondemned,
) -> CatalogResult<BlobPage<CondemnedPosition>> {
    let limit = request.limit.clamp(1, limit_max) as usize;
    let read = |key: &[u8]| read_condemned_key(key).map(|position| (position.blob, position));
    // Rows are in the order of their time.
    let due = |position: &CondemnedPosition| position.due <= now;
    indexed_blobs(reader, CONDEMNED, request.zones, request.from.map(condemned_key).as_deref(), limit, read, due)
}
