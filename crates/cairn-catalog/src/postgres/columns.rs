//! Records as columns: what statements judge by stands in columns of its own, the rest in its encoding.

use bytes::Bytes;
use cairn_types::codec::{Field, Problem, Record};
use cairn_types::records::{
    BlobRecord, Body, Condemned, Extent, InlineId, ManifestId, MarkerRecord, UsageRecord, VersionDetails, VersionRecord,
    VersionRow, VersionSummary, ZoneSet,
};
use cairn_types::{BucketId, CatalogTime, VersionId, WallTime};
use tokio_postgres::Row;

use crate::embedded::state::version_id;
use crate::{CatalogError, CatalogResult};

/// Columns of a version, in the order of the tables.
pub(super) const VERSION: &str = "key, sequence, has_id, modified_ms, created_ms, length, etag, checksum, storage_class, body, owner, \
    part_count, extents, blobs, attributes, object_lock";

/// Columns of a blob.
pub(super) const BLOB: &str = "key, refs, due_ms, remaining, missing, content";

/// Columns of usage behind the key and the stripe, in the order of [`usage_fields`].
pub(super) const USAGE: [&str; 8] =
    ["objects", "object_bytes", "noncurrent_versions", "noncurrent_bytes", "delete_markers", "uploads", "parts", "part_bytes"];

/// The format of `attributes`.
const ATTRIBUTES_FORMAT: u8 = 1;

/// The bits of a number as PostgreSQL's whole numbers hold them.
pub(super) fn signed(number: u64) -> i64 {
    number.cast_signed()
}

pub(super) fn unsigned(number: i64) -> u64 {
    number.cast_unsigned()
}

fn damaged(what: &str) -> CatalogError {
    CatalogError::Damaged(format!("{what} is not one"))
}

pub(super) fn encode(field: &impl Field) -> Vec<u8> {
    let mut out = Vec::new();
    field.write(&mut out);
    out
}

fn decode<T: Field>(bytes: &[u8], what: &str) -> CatalogResult<T> {
    let mut from = Bytes::copy_from_slice(bytes);
    T::read(&mut from).ok().filter(|_| from.is_empty()).ok_or_else(|| damaged(what))
}

/// A row of `current_versions` or `other_versions`, without its key.
#[derive(Debug, Default)]
pub(super) struct VersionColumns {
    pub sequence: i64,
    pub has_id: bool,
    pub modified_ms: i64,
    pub created_ms: i64,
    pub length: Option<i64>,
    pub etag: Option<Vec<u8>>,
    pub checksum: Option<Vec<u8>>,
    pub storage_class: Option<i16>,
    pub body: Option<i16>,
    pub owner: Option<i64>,
    pub part_count: Option<i32>,
    pub extents: Option<Vec<u8>>,
    pub blobs: Option<Vec<u8>>,
    pub attributes: Option<Vec<u8>>,
    pub object_lock: Option<Vec<u8>>,
}

/// Metadata and tags, in one column.
pub(super) fn attributes(metadata: &cairn_types::ObjectMetadata, tags: &[(String, String)]) -> Vec<u8> {
    let mut attributes = vec![ATTRIBUTES_FORMAT];
    metadata.write(&mut attributes);
    tags.to_vec().write(&mut attributes);
    attributes
}

/// The blobs that extents name, one behind the other; `None` where some are inline.
pub(super) fn blob_ids(extents: &[Extent]) -> Option<Vec<u8>> {
    let mut ids = Vec::with_capacity(extents.len() * 16);
    for extent in extents {
        match extent {
            Extent::Blob { id, .. } => ids.extend_from_slice(&id.encode()),
            Extent::Inline { .. } => return None,
        }
    }
    Some(ids)
}

impl VersionColumns {
    pub(super) fn of(row: &VersionRow) -> Self {
        match row {
            VersionRow::Marker(marker) => Self {
                sequence: signed(marker.sequence),
                has_id: marker.id != VersionId::Null,
                modified_ms: signed(marker.last_modified.0),
                created_ms: signed(marker.created.0),
                ..Self::default()
            },
            VersionRow::Version(VersionRecord { summary, details }) => {
                let mut columns = Self {
                    sequence: signed(summary.sequence),
                    has_id: summary.id != VersionId::Null,
                    modified_ms: signed(summary.last_modified.0),
                    created_ms: signed(summary.created.0),
                    length: Some(signed(summary.length)),
                    etag: Some(encode(&summary.etag)),
                    checksum: summary.checksum.as_ref().map(encode),
                    storage_class: encode(&summary.storage_class).first().map(|byte| i16::from(*byte)),
                    attributes: Some(attributes(&details.metadata, &details.tags)),
                    object_lock: details.lock.as_ref().map(encode),
                    ..Self::default()
                };
                match &details.body {
                    Body::Empty => columns.body = Some(0),
                    Body::Inline(id) => (columns.body, columns.owner) = (Some(1), Some(signed(id.0))),
                    Body::Extents(extents) => {
                        columns.body = Some(2);
                        columns.extents = Some(encode(extents));
                        columns.blobs = blob_ids(extents);
                    }
                    Body::Manifest { id, part_count } => {
                        (columns.body, columns.owner) = (Some(3), Some(signed(id.0)));
                        columns.part_count = Some(part_count.cast_signed());
                    }
                }
                columns
            }
        }
    }

    /// From a row of [`VERSION`], whose first column is at `first`.
    pub(super) fn read(row: &Row, first: usize) -> Self {
        Self {
            sequence: row.get(first + 1),
            has_id: row.get(first + 2),
            modified_ms: row.get(first + 3),
            created_ms: row.get(first + 4),
            length: row.get(first + 5),
            etag: row.get(first + 6),
            checksum: row.get(first + 7),
            storage_class: row.get(first + 8),
            body: row.get(first + 9),
            owner: row.get(first + 10),
            part_count: row.get(first + 11),
            extents: row.get(first + 12),
            blobs: row.get(first + 13),
            attributes: row.get(first + 14),
            object_lock: row.get(first + 15),
        }
    }

    fn id(&self, bucket: BucketId, key: &[u8]) -> VersionId {
        if self.has_id { version_id(bucket, key, unsigned(self.sequence)) } else { VersionId::Null }
    }

    /// What listings show; `None` for a delete marker.
    pub(super) fn summary(&self, bucket: BucketId, key: &[u8]) -> CatalogResult<Option<VersionSummary>> {
        let (Some(length), Some(etag), Some(storage_class)) = (self.length, &self.etag, self.storage_class) else {
            return Ok(None);
        };
        let class = [u8::try_from(storage_class).map_err(|_| damaged("a storage class"))?];
        Ok(Some(VersionSummary {
            sequence: unsigned(self.sequence),
            id: self.id(bucket, key),
            last_modified: WallTime(unsigned(self.modified_ms)),
            created: CatalogTime(unsigned(self.created_ms)),
            length: unsigned(length),
            etag: decode(etag, "an entity tag")?,
            checksum: self.checksum.as_deref().map(|bytes| decode(bytes, "a checksum")).transpose()?,
            storage_class: decode(&class, "a storage class")?,
        }))
    }

    /// The version or delete marker.
    pub(super) fn row(&self, bucket: BucketId, key: &[u8]) -> CatalogResult<VersionRow> {
        let Some(summary) = self.summary(bucket, key)? else {
            return Ok(VersionRow::Marker(MarkerRecord {
                sequence: unsigned(self.sequence),
                id: self.id(bucket, key),
                last_modified: WallTime(unsigned(self.modified_ms)),
                created: CatalogTime(unsigned(self.created_ms)),
            }));
        };
        let body = match (self.body, self.owner) {
            (Some(0), _) => Body::Empty,
            (Some(1), Some(id)) => Body::Inline(InlineId(unsigned(id))),
            (Some(2), _) => Body::Extents(decode(self.extents.as_deref().unwrap_or_default(), "a list of extents")?),
            (Some(3), Some(id)) => {
                let part_count = self.part_count.ok_or_else(|| damaged("a manifest"))?.cast_unsigned();
                Body::Manifest { id: ManifestId(unsigned(id)), part_count }
            }
            _ => return Err(damaged("a body")),
        };
        let mut rest = Bytes::copy_from_slice(self.attributes.as_deref().unwrap_or_default());
        let mut read = || {
            match rest.first() {
                Some(&ATTRIBUTES_FORMAT) => drop(rest.split_to(1)),
                Some(other) => return Err(Problem::Format(*other)),
                None => return Err(Problem::Short),
            }
            Ok((Field::read(&mut rest)?, Field::read(&mut rest)?))
        };
        let (metadata, tags) = read().map_err(|problem| CatalogError::Damaged(format!("a version's attributes: {problem}")))?;
        let lock = self.object_lock.as_deref().map(|bytes| decode(bytes, "a lock")).transpose()?;
        Ok(VersionRow::Version(VersionRecord { summary, details: VersionDetails { body, metadata, tags, lock } }))
    }
}

/// A blob's columns behind its key: references, due, remaining, missing, content.
pub(super) type BlobColumns = (i64, Option<i64>, Option<i16>, i16, Vec<u8>);

pub(super) fn blob_columns(blob: BlobRecord) -> BlobColumns {
    let (refs, condemned, missing) = (blob.references, blob.condemned, blob.indexed_missing);
    // The columns are the truth: what the record says of the same is of no account.
    let content = BlobRecord { references: 0, condemned: None, indexed_missing: ZoneSet::EMPTY, content: blob.content };
    (
        signed(refs),
        condemned.map(|condemned| signed(condemned.due.0)),
        condemned.map(|condemned| i16::from(condemned.remaining.bits())),
        i16::from(missing.bits()),
        content.encode().to_vec(),
    )
}

/// From a row of [`BLOB`], whose first column is at `first`.
pub(super) fn blob_record(row: &Row, first: usize) -> CatalogResult<BlobRecord> {
    let zones = |bits: i16| u8::try_from(bits).ok().and_then(ZoneSet::from_bits).ok_or_else(|| damaged("a set of zones"));
    let content: &[u8] = row.get(first + 5);
    let record = BlobRecord::decode(&Bytes::copy_from_slice(content))?;
    let due: Option<i64> = row.get(first + 2);
    let remaining: Option<i16> = row.get(first + 3);
    let condemned = match (due, remaining) {
        (Some(due), Some(remaining)) => Some(Condemned { due: CatalogTime(unsigned(due)), remaining: zones(remaining)? }),
        _ => None,
    };
    Ok(BlobRecord {
        references: unsigned(row.get(first + 1)),
        condemned,
        indexed_missing: zones(row.get(first + 4))?,
        content: record.content,
    })
}

/// The numbers of [`USAGE`].
pub(super) fn usage_fields(usage: &UsageRecord) -> [u64; 8] {
    [
        usage.objects,
        usage.object_bytes,
        usage.noncurrent_versions,
        usage.noncurrent_bytes,
        usage.delete_markers,
        usage.uploads,
        usage.parts,
        usage.part_bytes,
    ]
}

/// The inverse of [`usage_fields`].
pub(super) fn usage_record(
    [objects, object_bytes, noncurrent_versions, noncurrent_bytes, delete_markers, uploads, parts, part_bytes]: [u64; 8],
) -> UsageRecord {
    UsageRecord { objects, object_bytes, noncurrent_versions, noncurrent_bytes, delete_markers, uploads, parts, part_bytes }
}
