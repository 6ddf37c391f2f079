//! Multipart uploads: parts, completion, abortion, and the taking apart of what nothing refers to any more.
//!
//! An upload and the manifest that it becomes have one number, so completing it does not touch the parts that it keeps.

use bytes::Bytes;
use cairn_types::codec::Record;
use cairn_types::records::{
    AbandonedRecord, Body, CompletedRecord, Extent, ManifestId, ManifestRecord, PartRecord, UploadRecord, VersionRecord,
};
use cairn_types::{BucketId, ObjectKey, UploadId};
use xxhash_rust::xxh3::xxh3_128;

use super::WRITES_SOFT_MAX;
use super::blobs::{Content, commit_content, release, release_now, share_range};
use super::directory::bucket_record;
use super::reader::{StateReader, record, rows_beginning};
use super::sessions::check_open;
use super::tables::{
    ABANDONED, COMPLETED, COMPLETED_DUE, MANIFESTS, PARTS, UPLOADS, due_key, owner_key, part_key, read_due_key, read_part_key,
    upload_key,
};
use super::transaction::Transaction;
use super::versions::{Target, change_usage, extents_of, manifest, source};
use crate::{
    CatalogError, CatalogResult, CompleteUpload, CopyPart, CreateUpload, FoundUpload, FoundUploadPart, NamedPart, PutPart, Reap,
    Reaped, UploadName, UploadState, VersionAttributes, Written,
};

/// An upload's id: its nonce, and its number behind it.
pub(super) fn upload_id(nonce: [u8; 8], number: u64) -> UploadId {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&nonce);
    id[8..].copy_from_slice(&(number ^ u64::from_be_bytes(nonce)).to_be_bytes());
    UploadId(id)
}

/// The nonce and number of an upload's id, of this catalog's making or not.
pub(crate) fn read_upload_id(id: UploadId) -> ([u8; 8], u64) {
    let mut nonce = [0; 8];
    let mut number = [0; 8];
    let (front, back) = id.0.split_at(8);
    nonce.copy_from_slice(front);
    number.copy_from_slice(back);
    (nonce, u64::from_be_bytes(number) ^ u64::from_be_bytes(nonce))
}

/// An open upload, with its number.
fn find(reader: &(impl StateReader + ?Sized), name: &UploadName) -> CatalogResult<Option<(ManifestId, UploadRecord)>> {
    let (nonce, number) = read_upload_id(name.upload_id);
    let row: Option<UploadRecord> = record(reader, UPLOADS, &upload_key(name.bucket, name.key.as_bytes(), number))?;
    Ok(row.filter(|row| row.nonce == nonce).map(|row| (ManifestId(number), row)))
}

fn open(reader: &(impl StateReader + ?Sized), name: &UploadName) -> CatalogResult<(ManifestId, UploadRecord)> {
    if let Some(found) = find(reader, name)? {
        return Ok(found);
    }
    bucket_record(reader, name.bucket)?;
    Err(CatalogError::NoSuchUpload)
}

/// An upload, as clients see it.
pub(super) fn found(bucket: BucketId, key: ObjectKey, number: u64, upload: UploadRecord) -> FoundUpload {
    FoundUpload {
        name: UploadName { bucket, key, upload_id: upload_id(upload.nonce, number) },
        initiator: cairn_types::AccountId(upload.initiator),
        initiated: upload.initiated,
        attributes: upload.attributes,
    }
}

pub(super) fn create(transaction: &mut Transaction<'_>, request: CreateUpload) -> CatalogResult<UploadId> {
    let CreateUpload { bucket, key, initiator, nonce, attributes } = request;
    bucket_record(transaction, bucket)?;
    let number = transaction.next_sequence()?;
    let upload = UploadRecord { nonce, initiator: initiator.0, initiated: transaction.now(), attributes };
    transaction.put_record(UPLOADS, upload_key(bucket, key.as_bytes(), number), &upload);
    change_usage(transaction, bucket, |usage| usage.uploads += 1)?;
    Ok(upload_id(nonce, number))
}

/// The upload of this name.
pub(super) fn get(reader: &(impl StateReader + ?Sized), name: UploadName) -> CatalogResult<FoundUpload> {
    let (number, upload) = open(reader, &name)?;
    Ok(found(name.bucket, name.key, number.0, upload))
}

fn check_part_number(transaction: &Transaction<'_>, number: u32) -> CatalogResult<()> {
    if (1..=transaction.limits().part_number_max).contains(&number) {
        Ok(())
    } else {
        Err(CatalogError::Refused(format!("part number {number}")))
    }
}

pub(super) fn put_part(transaction: &mut Transaction<'_>, request: PutPart) -> CatalogResult<FoundUploadPart> {
    let PutPart { session, upload, part_number, content, etag, checksum } = request;
    check_part_number(transaction, part_number)?;
    let (owner, _) = open(transaction, &upload)?;
    check_open(transaction, session)?;
    let Content { extents, length } = commit_content(transaction, session, content)?;
    let sequence = transaction.next_sequence()?;
    let part = PartRecord { sequence, written: transaction.now(), length, etag, checksum, extents };
    install_part(transaction, upload.bucket, owner, part_number, &part)?;
    Ok(FoundUploadPart::new(part_number, &part))
}

/// Writes a part, and lets go of the one that had its number.
fn install_part(
    transaction: &mut Transaction<'_>,
    bucket: BucketId,
    owner: ManifestId,
    number: u32,
    part: &PartRecord,
) -> CatalogResult<()> {
    let before: Option<PartRecord> = record(transaction, PARTS, &part_key(owner, number))?;
    transaction.put_record(PARTS, part_key(owner, number), part);
    let (count, bytes) = before.as_ref().map_or((0, 0), |before| (1, before.length));
    change_usage(transaction, bucket, |usage| {
        usage.parts = (usage.parts + 1).saturating_sub(count);
        usage.part_bytes = usage.part_bytes.saturating_add(part.length).saturating_sub(bytes);
    })?;
    match before {
        Some(before) => release(transaction, before.extents),
        None => Ok(()),
    }
}

pub(super) fn copy_part(transaction: &mut Transaction<'_>, request: CopyPart) -> CatalogResult<FoundUploadPart> {
    let CopyPart { session, upload, part_number, source: from, range, etag, checksum } = request;
    check_part_number(transaction, part_number)?;
    let (owner, _) = open(transaction, &upload)?;
    check_open(transaction, session)?;
    let version = source(transaction, &from)?;
    if range.start > range.end || range.end > version.summary.length {
        return Err(CatalogError::Refused(format!(
            "a copy of bytes {}..{} of {}",
            range.start, range.end, version.summary.length
        )));
    }
    let length = range.end - range.start;
    let (extents, range) = extents_within(transaction, version, range)?;
    if extents.len() > transaction.limits().extents_max {
        return Err(CatalogError::SourceTooScattered);
    }
    let extents = share_range(transaction, &extents, range)?;
    let sequence = transaction.next_sequence()?;
    let part = PartRecord { sequence, written: transaction.now(), length, etag, checksum, extents };
    install_part(transaction, upload.bucket, owner, part_number, &part)?;
    Ok(FoundUploadPart::new(part_number, &part))
}

/// Extents that hold a range of a version's bytes, and where in them it lies.
fn extents_within(
    transaction: &Transaction<'_>,
    version: VersionRecord,
    range: std::ops::Range<u64>,
) -> CatalogResult<(Vec<Extent>, std::ops::Range<u64>)> {
    let Body::Manifest { id, .. } = version.details.body else {
        return Ok((extents_of(version.details.body, version.summary.length), range));
    };
    let manifest = manifest(transaction, id)?;
    let mut extents = Vec::new();
    let mut first = None;
    for span in manifest.spans_from(range.start).take_while(|span| span.offset < range.end) {
        first.get_or_insert(span.offset);
        extents.append(&mut part(transaction, id, span.number)?.extents);
        if extents.len() > transaction.limits().extents_max {
            return Err(CatalogError::SourceTooScattered);
        }
    }
    let first = first.unwrap_or(range.start);
    Ok((extents, range.start - first..range.end - first))
}

/// A part of a manifest.
pub(super) fn part(reader: &(impl StateReader + ?Sized), owner: ManifestId, number: u32) -> CatalogResult<PartRecord> {
    record(reader, PARTS, &part_key(owner, number))?
        .ok_or_else(|| CatalogError::Damaged(format!("part {number} of manifest {} is not there", owner.0)))
}

/// All parts of an upload or manifest.
pub(super) fn parts<Reader: StateReader + ?Sized>(
    reader: &Reader,
    owner: ManifestId,
) -> impl Iterator<Item = CatalogResult<(u32, PartRecord)>> + use<'_, Reader> {
    rows_beginning(reader, PARTS, &owner_key(owner)).map(|row| {
        let (key, value) = row?;
        Ok((read_part_key(&key)?.1, PartRecord::decode(&value)?))
    })
}

/// Tells one list of parts from another.
fn digest(parts: &[NamedPart]) -> [u8; 16] {
    let mut text = Vec::with_capacity(parts.len() * 12);
    for part in parts {
        text.extend_from_slice(&part.part_number.to_be_bytes());
        text.extend_from_slice(&part.sequence.to_be_bytes());
    }
    xxh3_128(&text).to_be_bytes()
}

/// The upload with its parts, or what it has become.
pub(super) fn for_completion(reader: &(impl StateReader + ?Sized), name: UploadName) -> CatalogResult<UploadState> {
    let settings = bucket_record(reader, name.bucket)?;
    match find(reader, &name)? {
        Some((number, upload)) => {
            let parts = parts(reader, number)
                .map(|part| part.map(|(part_number, part)| FoundUploadPart::new(part_number, &part)))
                .collect::<CatalogResult<_>>()?;
            Ok(UploadState::Open(Box::new(found(name.bucket, name.key, number.0, upload)), parts))
        }
        None => match completed(reader, &name)? {
            Some(completed) => Ok(UploadState::Completed(written(&completed, settings.versioning))),
            None => Err(CatalogError::NoSuchUpload),
        },
    }
}

fn completed(reader: &(impl StateReader + ?Sized), name: &UploadName) -> CatalogResult<Option<CompletedRecord>> {
    let (nonce, number) = read_upload_id(name.upload_id);
    let row: Option<CompletedRecord> = record(reader, COMPLETED, &owner_key(ManifestId(number)))?;
    Ok(row.filter(|row| row.nonce == nonce && row.bucket == name.bucket && row.key == name.key))
}

fn written(completed: &CompletedRecord, versioning: cairn_types::records::Versioning) -> Written {
    Written {
        version_id: completed.version_id,
        versioning,
        sequence: completed.sequence,
        last_modified: completed.completed.wall,
        length: completed.length,
        etag: completed.etag,
        checksum: completed.checksum,
    }
}

pub(super) fn complete(transaction: &mut Transaction<'_>, request: CompleteUpload) -> CatalogResult<Written> {
    let settings = bucket_record(transaction, request.upload.bucket)?;
    let Some((owner, upload)) = find(transaction, &request.upload)? else {
        return match completed(transaction, &request.upload)? {
            Some(completed) if completed.parts_digest == digest(&request.parts) => Ok(written(&completed, settings.versioning)),
            _ => Err(CatalogError::NoSuchUpload),
        };
    };
    let CompleteUpload { upload: name, parts: named, part_length_min, object_length_max, etag, checksum, condition } = request;
    let UploadName { bucket, key, .. } = name;
    let (lengths, unnamed) = match_parts(transaction, owner, &named, part_length_min)?;
    let length = lengths.iter().fold(0_u64, |sum, (_, length)| sum.saturating_add(*length));
    if length > object_length_max {
        return Err(CatalogError::EntityTooLarge { length });
    }
    let target = Target::judge(transaction, bucket, settings, key.clone(), &condition)?;

    set_aside(transaction, bucket, owner, unnamed)?;
    let count = lengths.len() as u64;
    let manifest = ManifestRecord::new(lengths);
    let part_count = manifest.part_count();
    transaction.put_record(MANIFESTS, owner_key(owner), &manifest);
    transaction.delete(UPLOADS, upload_key(bucket, key.as_bytes(), owner.0));
    change_usage(transaction, bucket, |usage| {
        usage.uploads = usage.uploads.saturating_sub(1);
        usage.parts = usage.parts.saturating_sub(count);
        usage.part_bytes = usage.part_bytes.saturating_sub(length);
    })?;
    let attributes = VersionAttributes {
        etag,
        checksum,
        metadata: upload.attributes.metadata,
        tags: upload.attributes.tags,
        storage_class: upload.attributes.storage_class,
    };
    let written = target.install(transaction, Body::Manifest { id: owner, part_count }, length, attributes)?;

    let completed = CompletedRecord {
        bucket,
        key,
        nonce: upload.nonce,
        parts_digest: digest(&named),
        version_id: written.version_id,
        sequence: written.sequence,
        length,
        completed: transaction.now(),
        etag,
        checksum,
    };
    let due = transaction.now().catalog.after(transaction.limits().completion_memory);
    transaction.put_record(COMPLETED, owner_key(owner), &completed);
    transaction.put(COMPLETED_DUE, due_key(due, owner), Bytes::new());
    Ok(written)
}

/// Numbers and lengths of the named parts, and the rows of the others.
type Matched = (Vec<(u32, u64)>, Vec<(u32, PartRecord)>);

/// Compares the parts that a completion names with those that are there.
fn match_parts(transaction: &Transaction<'_>, owner: ManifestId, named: &[NamedPart], length_min: u64) -> CatalogResult<Matched> {
    if !named.is_sorted_by(|one, other| one.part_number < other.part_number) {
        return Err(CatalogError::InvalidPartOrder);
    }
    let Some(last) = named.last() else {
        return Err(CatalogError::Refused("a completion without parts".to_owned()));
    };
    let mut lengths = Vec::with_capacity(named.len());
    let mut unnamed = Vec::new();
    let mut expected = named.iter().peekable();
    for row in parts(transaction, owner) {
        let (number, part) = row?;
        match expected.peek() {
            Some(next) if next.part_number < number => return Err(CatalogError::InvalidPart(next.part_number)),
            Some(next) if next.part_number == number => {
                if next.sequence != part.sequence {
                    return Err(CatalogError::PartsChanged(number));
                }
                if part.length < length_min && number != last.part_number {
                    return Err(CatalogError::EntityTooSmall { part_number: number, length: part.length });
                }
                lengths.push((number, part.length));
                expected.next();
            }
            _ => unnamed.push((number, part)),
        }
    }
    match expected.next() {
        Some(next) => Err(CatalogError::InvalidPart(next.part_number)),
        None => Ok((lengths, unnamed)),
    }
}

/// Takes parts away from an upload, to be taken apart later under a number of their own.
fn set_aside(
    transaction: &mut Transaction<'_>,
    bucket: BucketId,
    owner: ManifestId,
    parts: Vec<(u32, PartRecord)>,
) -> CatalogResult<()> {
    if parts.is_empty() {
        return Ok(());
    }
    let aside = ManifestId(transaction.next_sequence()?);
    for (number, part) in parts {
        transaction.delete(PARTS, part_key(owner, number));
        transaction.put_record(PARTS, part_key(aside, number), &part);
    }
    let due = transaction.now().catalog;
    transaction.put_record(ABANDONED, due_key(due, aside), &AbandonedRecord { bucket: Some(bucket) });
    Ok(())
}

pub(super) fn abort(transaction: &mut Transaction<'_>, name: &UploadName) -> CatalogResult<()> {
    let (owner, _) = open(transaction, name)?;
    abandon(transaction, name.bucket, name.key.as_bytes(), owner)
}

/// Closes an upload, to be taken apart later.
pub(super) fn abandon(transaction: &mut Transaction<'_>, bucket: BucketId, key: &[u8], owner: ManifestId) -> CatalogResult<()> {
    transaction.delete(UPLOADS, upload_key(bucket, key, owner.0));
    change_usage(transaction, bucket, |usage| usage.uploads = usage.uploads.saturating_sub(1))?;
    let due = transaction.now().catalog;
    transaction.put_record(ABANDONED, due_key(due, owner), &AbandonedRecord { bucket: Some(bucket) });
    Ok(())
}

/// See [`crate::Catalog::reap`].
pub(super) fn reap(transaction: &mut Transaction<'_>, request: Reap) -> CatalogResult<Reaped> {
    let mut reaped = Reaped::default();
    let mut left = request.limit.max(1);
    let now = transaction.now().catalog;
    let rows = due_rows(transaction, ABANDONED, left)?;
    reaped.more = rows.len() > left as usize;
    for (key, value) in rows {
        let (due, owner) = read_due_key(&key)?;
        if due > now {
            // The rows are in the order of their time.
            reaped.more = false;
            break;
        }
        if left == 0 || transaction.own_bytes() > WRITES_SOFT_MAX {
            reaped.more = true;
            break;
        }
        let AbandonedRecord { bucket } = AbandonedRecord::decode(&value)?;
        let owned: Vec<_> = parts(transaction, owner).take(left as usize + 1).collect::<CatalogResult<_>>()?;
        let mut finished = true;
        for (number, part) in owned {
            if left == 0 || transaction.own_bytes() > WRITES_SOFT_MAX {
                finished = false;
                break;
            }
            left -= 1;
            if take_apart(transaction, bucket, owner, number, part)? {
                reaped.parts += 1;
            } else {
                finished = false;
                break;
            }
        }
        if finished {
            transaction.delete(ABANDONED, key);
            if record::<ManifestRecord>(transaction, MANIFESTS, &owner_key(owner))?.is_some() {
                transaction.delete(MANIFESTS, owner_key(owner));
            }
            left = left.saturating_sub(1);
        } else {
            reaped.more = true;
            break;
        }
    }
    forget_completions(transaction, left, &mut reaped)?;
    Ok(reaped)
}

fn due_rows(transaction: &Transaction<'_>, table: super::reader::Table, limit: u32) -> CatalogResult<Vec<(Bytes, Bytes)>> {
    rows_beginning(transaction, table, &[]).take(limit as usize + 1).collect()
}

/// Lets go of a part's bytes, or of some of them where they are in many pieces; says whether the part is gone.
fn take_apart(
    transaction: &mut Transaction<'_>,
    bucket: Option<BucketId>,
    owner: ManifestId,
    number: u32,
    mut part: PartRecord,
) -> CatalogResult<bool> {
    /// A piece may be a blob with a long record.
    const EXTENTS_AT_ONCE_MAX: usize = 32;

    while !part.extents.is_empty() && transaction.own_bytes() <= WRITES_SOFT_MAX {
        let count = part.extents.len().min(EXTENTS_AT_ONCE_MAX);
        let pieces: Vec<Extent> = part.extents.drain(..count).collect();
        release_now(transaction, &pieces)?;
    }
    if !part.extents.is_empty() {
        transaction.put_record(PARTS, part_key(owner, number), &part);
        return Ok(false);
    }
    transaction.delete(PARTS, part_key(owner, number));
    // The usage of a bucket that is gone is gone with it.
    if let Some(bucket) = bucket
        && bucket_record(transaction, bucket).is_ok()
    {
        change_usage(transaction, bucket, |usage| {
            usage.parts = usage.parts.saturating_sub(1);
            usage.part_bytes = usage.part_bytes.saturating_sub(part.length);
        })?;
    }
    Ok(true)
}

/// Removes records of completions whose time is over.
fn forget_completions(transaction: &mut Transaction<'_>, limit: u32, reaped: &mut Reaped) -> CatalogResult<()> {
    let now = transaction.now().catalog;
    for (place, (key, _)) in due_rows(transaction, COMPLETED_DUE, limit)?.into_iter().enumerate() {
        let (due, owner) = read_due_key(&key)?;
        if due > now {
            break;
        }
        if place == limit as usize {
            reaped.more = true;
            break;
        }
        transaction.delete(COMPLETED_DUE, key);
        transaction.delete(COMPLETED, owner_key(owner));
        reaped.completions += 1;
    }
    Ok(())
}
