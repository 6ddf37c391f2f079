//! Which tables there are, and how their rows are keyed. Numbers and encodings are on disk: neither ever changes.
//!
//! Whole numbers are big-endian, so that the order of bytes is the order of numbers. An object's key stands as it is where nothing
//! follows it, and escaped and terminated where something does, so that in both cases the order of rows is the order of keys.

use bytes::Bytes;
use cairn_types::records::{InlineId, ManifestId, ZoneSet};
use cairn_types::{AccountId, BlobId, BucketId, CatalogTime, SessionId, TenantId, ZoneIndex};

use super::reader::Table;
use crate::{CatalogError, CatalogResult, CondemnedPosition, IncompletePosition};

/// `(bucket, key)` → version: the newest version of each key, unless that is a delete marker. Listings read nothing else.
pub const CURRENT: Table = Table::new(1);
/// `(bucket, escaped key, falling sequence)` → version or delete marker: all the others. A delete marker that is a key's newest is its first
/// row here, and the key has no row in [`CURRENT`].
pub const NONCURRENT: Table = Table::new(2);
/// `(bucket, key)` → sequence of the key's `null` version or marker, where that stands in [`NONCURRENT`].
pub const NULL_VERSIONS: Table = Table::new(3);
/// `inline id` → bytes.
pub const INLINE: Table = Table::new(4);
/// `blob` → [`cairn_types::records::BlobRecord`].
pub const BLOBS: Table = Table::new(5);
/// `(missing zones, blob)` → nothing: blobs that are not condemned and lack a zone.
pub const INCOMPLETE: Table = Table::new(6);
/// `(zones that have yet to confirm, due, blob)` → nothing.
pub const CONDEMNED: Table = Table::new(7);
/// `manifest` → [`cairn_types::records::ManifestRecord`].
pub const MANIFESTS: Table = Table::new(8);
/// `(upload or manifest, part number)` → [`cairn_types::records::PartRecord`].
pub const PARTS: Table = Table::new(9);
/// `(bucket, escaped key, upload)` → [`cairn_types::records::UploadRecord`].
pub const UPLOADS: Table = Table::new(10);
/// `(due, upload or manifest)` → [`cairn_types::records::AbandonedRecord`]: parts to be taken apart.
pub const ABANDONED: Table = Table::new(11);
/// `upload` → [`cairn_types::records::CompletedRecord`].
pub const COMPLETED: Table = Table::new(12);
/// `(due, upload)` → nothing: rows of [`COMPLETED`] by the time when they go.
pub const COMPLETED_DUE: Table = Table::new(13);
/// `session` → [`cairn_types::records::SessionRecord`], only while it is open.
pub const SESSIONS: Table = Table::new(14);
/// `zone` → [`cairn_types::records::ZoneRecord`].
pub const ZONES: Table = Table::new(15);
/// `bucket` → [`cairn_types::records::UsageRecord`].
pub const USAGE: Table = Table::new(16);
/// `tenant` → [`cairn_types::records::TenantRecord`].
pub const TENANTS: Table = Table::new(17);
/// `name` → tenant.
pub const TENANT_NAMES: Table = Table::new(18);
/// `account` → [`cairn_types::records::AccountRecord`].
pub const ACCOUNTS: Table = Table::new(19);
/// `access key id` → [`cairn_types::records::AccessKeyRecord`].
pub const ACCESS_KEYS: Table = Table::new(20);
/// `(account, access key id)` → nothing.
pub const ACCOUNT_KEYS: Table = Table::new(21);
/// `bucket` → [`cairn_types::records::BucketRecord`].
pub const BUCKETS: Table = Table::new(22);
/// `(tenant, name)` → bucket.
pub const BUCKET_NAMES: Table = Table::new(23);
/// `(account, bucket)` → nothing.
pub const ACCOUNT_BUCKETS: Table = Table::new(24);
/// `(tenant, account)` → nothing.
pub const TENANT_ACCOUNTS: Table = Table::new(25);
/// Numbers of the catalog as a whole, under the names below.
pub const META: Table = Table::new(26);
/// `bucket` → [`cairn_types::records::BucketTagsRecord`], where it has any.
pub const BUCKET_TAGS: Table = Table::new(27);
/// `bucket` → [`cairn_types::records::CorsRecord`], where it has any.
pub const BUCKET_CORS: Table = Table::new(28);

/// `name` → [`cairn_types::records::LeaseRecord`]: background work that one gateway does for all.
pub const LEASES: Table = Table::new(29);

/// In [`META`]: the highest number given to a version, part, inline body, manifest, upload, bucket or tenant.
pub const META_SEQUENCE: &[u8] = b"sequence";
/// In [`META`]: the highest catalog time that any commit had, ms (T1).
pub const META_TIME: &[u8] = b"time";
/// In [`META`]: the settings epoch (R3).
pub const META_EPOCH: &[u8] = b"epoch";
/// In [`META`]: the highest session ever opened (S1).
pub const META_SESSION: &[u8] = b"session";
/// In [`META`]: how often the catalog has forgotten something that it had acknowledged (P5). Nobody writes it but an engine that can.
pub const META_GENERATION: &[u8] = b"generation";
/// In [`META`]: not 0 while the catalog may lack something that it had acknowledged, and no administrator has looked (P5).
pub const META_FORGOTTEN: &[u8] = b"forgotten";

/// All tables, for checkers.
pub const ALL: [Table; 29] = [
    CURRENT,
    NONCURRENT,
    NULL_VERSIONS,
    INLINE,
    BLOBS,
    INCOMPLETE,
    CONDEMNED,
    MANIFESTS,
    PARTS,
    UPLOADS,
    ABANDONED,
    COMPLETED,
    COMPLETED_DUE,
    SESSIONS,
    ZONES,
    USAGE,
    TENANTS,
    TENANT_NAMES,
    ACCOUNTS,
    ACCESS_KEYS,
    ACCOUNT_KEYS,
    BUCKETS,
    BUCKET_NAMES,
    ACCOUNT_BUCKETS,
    TENANT_ACCOUNTS,
    META,
    BUCKET_TAGS,
    BUCKET_CORS,
    LEASES,
];

/// A row's key, piece by piece.
#[derive(Default)]
pub struct Key(Vec<u8>);

impl Key {
    /// Begins with these bytes as they are.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }

    /// Begins with a number.
    #[must_use]
    pub fn number(number: u64) -> Self {
        Self::of(&number.to_be_bytes())
    }

    /// Appends bytes as they are.
    #[must_use]
    pub fn then(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// Appends a number.
    #[must_use]
    pub fn then_number(self, number: u64) -> Self {
        self.then(&number.to_be_bytes())
    }

    /// Appends bytes so that something may follow: 0 becomes 0 255, and 0 0 ends it. Keeps the order, and no escaped text is the beginning of
    /// another.
    #[must_use]
    pub fn then_escaped(mut self, bytes: &[u8]) -> Self {
        self = self.then_escaped_open(bytes);
        self.then(&[0, 0])
    }

    /// As [`Key::then_escaped`], without the end: where the rows of all longer texts begin, too.
    #[must_use]
    pub fn then_escaped_open(mut self, bytes: &[u8]) -> Self {
        for byte in bytes {
            self.0.push(*byte);
            if *byte == 0 {
                self.0.push(255);
            }
        }
        self
    }

    /// The key.
    #[must_use]
    pub fn bytes(self) -> Bytes {
        Bytes::from(self.0)
    }
}

/// The first text behind all those that begin so; `None` when there is none.
#[must_use]
pub fn behind_all(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != 255)?;
    let mut behind = prefix.get(..=last)?.to_vec();
    if let Some(byte) = behind.last_mut() {
        *byte += 1;
    }
    Some(behind)
}

fn damaged(table: &str) -> CatalogError {
    CatalogError::Damaged(format!("a key of the table of {table} is not one"))
}

/// A reader of keys, from the front.
struct Parts<'a>(&'a [u8]);

impl<'a> Parts<'a> {
    fn number(&mut self) -> Option<u64> {
        self.0.split_first_chunk::<8>().map(|(number, rest)| {
            self.0 = rest;
            u64::from_be_bytes(*number)
        })
    }

    fn escaped(&mut self) -> Option<Vec<u8>> {
        let mut text = Vec::with_capacity(self.0.len());
        loop {
            match self.0 {
                [0, 255, rest @ ..] => {
                    text.push(0);
                    self.0 = rest;
                }
                [0, 0, rest @ ..] => {
                    self.0 = rest;
                    return Some(text);
                }
                [0, ..] | [] => return None,
                [byte, rest @ ..] => {
                    text.push(*byte);
                    self.0 = rest;
                }
            }
        }
    }

    fn end<T>(&self, value: T) -> Option<T> {
        self.0.is_empty().then_some(value)
    }

    fn rest(self) -> &'a [u8] {
        self.0
    }
}

/// A row of [`CURRENT`] or [`NULL_VERSIONS`].
#[must_use]
pub fn current_key(bucket: BucketId, key: &[u8]) -> Bytes {
    Key::number(bucket.0).then(key).bytes()
}

/// The object's key of a row of [`CURRENT`] or [`NULL_VERSIONS`], with its bucket.
pub fn read_current_key(row: &[u8]) -> CatalogResult<(BucketId, &[u8])> {
    let mut parts = Parts(row);
    let bucket = parts.number().ok_or_else(|| damaged("current versions"))?;
    Ok((BucketId(bucket), parts.rest()))
}

/// A row of [`NONCURRENT`].
#[must_use]
pub fn noncurrent_key(bucket: BucketId, key: &[u8], sequence: u64) -> Bytes {
    Key::number(bucket.0).then_escaped(key).then_number(!sequence).bytes()
}

/// The inverse of [`noncurrent_key`].
pub fn read_noncurrent_key(row: &[u8]) -> CatalogResult<(BucketId, Vec<u8>, u64)> {
    let mut parts = Parts(row);
    let read = || {
        let bucket = parts.number()?;
        let key = parts.escaped()?;
        let sequence = !parts.number()?;
        parts.end((BucketId(bucket), key, sequence))
    };
    let mut read = read;
    read().ok_or_else(|| damaged("other versions"))
}

/// A row of [`UPLOADS`].
#[must_use]
pub fn upload_key(bucket: BucketId, key: &[u8], upload: u64) -> Bytes {
    Key::number(bucket.0).then_escaped(key).then_number(upload).bytes()
}

/// The inverse of [`upload_key`].
pub fn read_upload_key(row: &[u8]) -> CatalogResult<(BucketId, Vec<u8>, u64)> {
    // The numbers' order differs, their form does not.
    read_noncurrent_key(row).map(|(bucket, key, number)| (bucket, key, !number)).map_err(|_| damaged("uploads"))
}

/// Where the rows of a key in [`NONCURRENT`] or [`UPLOADS`] begin; they all begin with this.
#[must_use]
pub fn rows_of_key(bucket: BucketId, key: &[u8]) -> Bytes {
    Key::number(bucket.0).then_escaped(key).bytes()
}

/// Where the rows of this key and those behind it begin in [`NONCURRENT`] or [`UPLOADS`].
#[must_use]
pub fn rows_from_key(bucket: BucketId, key: &[u8]) -> Bytes {
    Key::number(bucket.0).then_escaped_open(key).bytes()
}

/// A row of [`INLINE`].
#[must_use]
pub fn inline_key(id: InlineId) -> Bytes {
    Key::number(id.0).bytes()
}

/// A row of [`BLOBS`].
#[must_use]
pub fn blob_key(id: BlobId) -> Bytes {
    Bytes::copy_from_slice(&id.encode())
}

/// The inverse of [`blob_key`].
pub fn read_blob_key(row: &[u8]) -> CatalogResult<BlobId> {
    row.try_into().map(BlobId::decode).map_err(|_| damaged("blobs"))
}

/// A row of [`INCOMPLETE`].
#[must_use]
pub fn incomplete_key(position: IncompletePosition) -> Bytes {
    Key::of(&[position.missing.bits()]).then(&position.blob.encode()).bytes()
}

/// The inverse of [`incomplete_key`].
pub fn read_incomplete_key(row: &[u8]) -> CatalogResult<IncompletePosition> {
    let read = || {
        let (bits, blob) = row.split_first()?;
        Some(IncompletePosition { missing: ZoneSet::from_bits(*bits)?, blob: BlobId::decode(blob.try_into().ok()?) })
    };
    read().ok_or_else(|| damaged("incomplete blobs"))
}

/// A row of [`CONDEMNED`].
#[must_use]
pub fn condemned_key(position: CondemnedPosition) -> Bytes {
    Key::of(&[position.remaining.bits()]).then_number(position.due.0).then(&position.blob.encode()).bytes()
}

/// The inverse of [`condemned_key`].
pub fn read_condemned_key(row: &[u8]) -> CatalogResult<CondemnedPosition> {
    let read = || {
        let (bits, rest) = row.split_first()?;
        let mut parts = Parts(rest);
        let due = CatalogTime(parts.number()?);
        let blob = BlobId::decode(parts.rest().try_into().ok()?);
        Some(CondemnedPosition { remaining: ZoneSet::from_bits(*bits)?, due, blob })
    };
    read().ok_or_else(|| damaged("condemned blobs"))
}

/// A row of [`MANIFESTS`], of [`COMPLETED`], or the beginning of the rows of [`PARTS`]: manifests and uploads have one space of numbers.
#[must_use]
pub fn owner_key(owner: ManifestId) -> Bytes {
    Key::number(owner.0).bytes()
}

/// The inverse of [`owner_key`].
pub fn read_owner_key(row: &[u8]) -> CatalogResult<ManifestId> {
    row.try_into().map(|number| ManifestId(u64::from_be_bytes(number))).map_err(|_| damaged("manifests"))
}

/// A row of [`PARTS`].
#[must_use]
pub fn part_key(owner: ManifestId, number: u32) -> Bytes {
    Key::number(owner.0).then(&number.to_be_bytes()).bytes()
}

/// The inverse of [`part_key`].
pub fn read_part_key(row: &[u8]) -> CatalogResult<(ManifestId, u32)> {
    let mut parts = Parts(row);
    let owner = parts.number().ok_or_else(|| damaged("parts"))?;
    let number = parts.rest().try_into().map_err(|_| damaged("parts"))?;
    Ok((ManifestId(owner), u32::from_be_bytes(number)))
}

/// A row of [`ABANDONED`] or [`COMPLETED_DUE`].
#[must_use]
pub fn due_key(due: CatalogTime, owner: ManifestId) -> Bytes {
    Key::number(due.0).then_number(owner.0).bytes()
}

/// The inverse of [`due_key`].
pub fn read_due_key(row: &[u8]) -> CatalogResult<(CatalogTime, ManifestId)> {
    let mut parts = Parts(row);
    let mut read = || {
        let due = CatalogTime(parts.number()?);
        let owner = ManifestId(parts.number()?);
        parts.end((due, owner))
    };
    read().ok_or_else(|| damaged("things that fall due"))
}

/// A row of [`SESSIONS`].
#[must_use]
pub fn session_key(session: SessionId) -> Bytes {
    Key::number(session.0).bytes()
}

/// A row of [`ZONES`].
#[must_use]
pub fn zone_key(zone: ZoneIndex) -> Bytes {
    Bytes::copy_from_slice(&[zone.0])
}

/// A row of [`BUCKETS`] or [`USAGE`], or the beginning of a bucket's rows elsewhere.
#[must_use]
pub fn bucket_key(bucket: BucketId) -> Bytes {
    Key::number(bucket.0).bytes()
}

/// A row of [`BUCKET_NAMES`].
#[must_use]
pub fn bucket_name_key(tenant: TenantId, name: &[u8]) -> Bytes {
    Key::number(tenant.0).then(name).bytes()
}

/// A row of [`TENANTS`].
#[must_use]
pub fn tenant_key(tenant: TenantId) -> Bytes {
    Key::number(tenant.0).bytes()
}

/// A row of [`ACCOUNTS`], or the beginning of an account's rows elsewhere.
#[must_use]
pub fn account_key(account: AccountId) -> Bytes {
    Bytes::copy_from_slice(&account.0)
}

/// A number that stands alone in a row, 8 bytes.
pub fn read_number(row: &[u8]) -> CatalogResult<u64> {
    row.try_into().map(u64::from_be_bytes).map_err(|_| CatalogError::Damaged("a number is not one".to_owned()))
}

/// The inverse of [`read_number`].
#[must_use]
pub fn number_value(number: u64) -> Bytes {
    Bytes::copy_from_slice(&number.to_be_bytes())
}
