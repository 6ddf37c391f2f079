//! What the state machine writes, as statements that go out with the commit.

use std::collections::BTreeMap;

use bytes::Bytes;
use cairn_types::codec::Record;
use cairn_types::records::{
    BlobRecord, BucketRecord, ManifestRecord, PartRecord, UploadRecord, UsageRecord, VersionRow, ZoneRecord,
};
use cairn_types::{CatalogTime, Now, WallTime};
use tokio_postgres::types::ToSql;

use super::columns::{BLOB, BlobColumns, USAGE, VERSION, VersionColumns, blob_columns, signed, usage_fields};
use super::connection::Connection;
use super::failure::Failure;
use super::rows::{Parameters, Place, Prepared, USAGE_BASE, USAGE_STRIPES, in_order_and_commit, place, source};
use crate::embedded::state::reader::Write;
use crate::embedded::state::tables;
use crate::{CatalogError, CatalogResult};

/// Numbers that one `nextval` gives.
const NUMBERS_AT_ONCE: u64 = 4096;

/// Rows, by column.
type KeysAndValues = (Vec<Vec<u8>>, Vec<Vec<u8>>);

/// Statements that are to be sent with the commit.
#[derive(Default)]
pub(super) struct Statements(Vec<(String, Parameters)>);

/// What a command's rows come to. `numbers` is the block that was read, where one was.
pub(super) fn statements(writes: Vec<Write>, numbers: Option<u64>, lane: i64) -> CatalogResult<Statements> {
    let mut all = Statements::default();
    let mut puts: BTreeMap<&'static str, KeysAndValues> = BTreeMap::new();
    let mut deletes: BTreeMap<&'static str, Vec<Vec<u8>>> = BTreeMap::new();
    let mut blobs: Vec<(Vec<u8>, BlobColumns)> = Vec::new();
    let mut parts: Vec<(Vec<u8>, PartRecord)> = Vec::new();
    for write in writes {
        match write {
            Write::Delete { table, key } => match place(table)? {
                // These follow from the rows of blobs.
                Place::Incomplete | Place::Condemned => {}
                place => deletes.entry(source(&place).1).or_default().push(key.to_vec()),
            },
            Write::Put { table, key, value } => match place(table)? {
                Place::Incomplete | Place::Condemned => {}
                Place::Plain(name) => {
                    let rows = puts.entry(name).or_default();
                    rows.0.push(key.to_vec());
                    rows.1.push(value.to_vec());
                }
                Place::Meta => match key.as_ref() {
                    tables::META_TIME => {}
                    tables::META_SEQUENCE => check_numbers(&value, numbers)?,
                    _ => {
                        let rows = puts.entry("meta").or_default();
                        rows.0.push(key.to_vec());
                        rows.1.push(value.to_vec());
                    }
                },
                Place::Blobs => blobs.push((key.to_vec(), blob_columns(BlobRecord::decode(&value)?))),
                Place::Buckets => all.put_bucket(&key, &value)?,
                Place::Parts => parts.push((key.to_vec(), PartRecord::decode(&value)?)),
                Place::Manifests => all.put_manifest(&key, ManifestRecord::decode(&value)?),
                Place::Uploads => {
                    let nonce = UploadRecord::decode(&value)?.nonce.to_vec();
                    all.put_with("uploads", "nonce", &key, Box::new(nonce), &value);
                }
                Place::Sessions => all.put_session(&key, &value, lane),
                Place::Zones => {
                    let incarnation = signed(ZoneRecord::decode(&value)?.incarnation.0);
                    all.put_with("zones", "incarnation", &key, Box::new(incarnation), &value);
                }
                Place::Usage => all.change_usage(&key, &UsageRecord::decode(&value)?, lane),
                Place::Versions(name) => all.put_version(name, &key, VersionColumns::of(&VersionRow::decode(&value)?)),
            },
        }
    }
    for (name, keys) in deletes {
        all.push(format!("DELETE FROM {name} WHERE key = ANY($1)"), vec![Box::new(keys)]);
    }
    for (name, (keys, values)) in puts {
        let text = format!(
            "INSERT INTO {name} (key, value) SELECT * FROM unnest($1::bytea[], $2::bytea[]) \
             ON CONFLICT (key) DO UPDATE SET value = excluded.value"
        );
        all.push(text, vec![Box::new(keys), Box::new(values)]);
    }
    if !blobs.is_empty() {
        all.put_blobs(blobs);
    }
    if !parts.is_empty() {
        all.put_parts(parts);
    }
    Ok(all)
}

/// A command that took more numbers than its block has would give numbers that another commit gives, too.
fn check_numbers(value: &[u8], numbers: Option<u64>) -> CatalogResult<()> {
    let last = tables::read_number(value)?;
    match numbers {
        Some(before) if last > before && last - before <= NUMBERS_AT_ONCE => Ok(()),
        _ => Err(CatalogError::Refused("a commit takes more numbers than there are in a block".to_owned())),
    }
}

impl Statements {
    fn push(&mut self, text: String, parameters: Parameters) {
        self.0.push((text, parameters));
    }

    fn put_bucket(&mut self, key: &[u8], value: &Bytes) -> CatalogResult<()> {
        let versioning = BucketRecord::decode(value)?.versioning;
        let versioning = super::columns::encode(&versioning).first().map_or(0, |byte| i16::from(*byte));
        let text = "INSERT INTO buckets (key, versioning, value) VALUES ($1, $2, $3) \
                    ON CONFLICT (key) DO UPDATE SET versioning = excluded.versioning, value = excluded.value";
        self.push(text.to_owned(), vec![Box::new(key.to_vec()), Box::new(versioning), Box::new(value.to_vec())]);
        Ok(())
    }

    /// A row with one column that statements judge by.
    fn put_with(&mut self, table: &str, column: &str, key: &[u8], judged: Box<dyn ToSql + Sync + Send>, value: &[u8]) {
        let text = format!(
            "INSERT INTO {table} (key, {column}, value) VALUES ($1, $2, $3) \
             ON CONFLICT (key) DO UPDATE SET {column} = excluded.{column}, value = excluded.value"
        );
        self.push(text, vec![Box::new(key.to_vec()), judged, Box::new(value.to_vec())]);
    }

    /// The lane that opened it stays.
    fn put_session(&mut self, key: &[u8], value: &[u8], lane: i64) {
        let text =
            "INSERT INTO sessions (key, lane, value) VALUES ($1, $2, $3) ON CONFLICT (key) DO UPDATE SET value = excluded.value";
        self.push(text.to_owned(), vec![Box::new(key.to_vec()), Box::new(lane), Box::new(value.to_vec())]);
    }

    fn put_manifest(&mut self, key: &[u8], manifest: ManifestRecord) {
        let refs = signed(manifest.references);
        // The column is the truth: what the record says of the same is of no account.
        let content = ManifestRecord { references: 0, ..manifest }.encode().to_vec();
        let text = "INSERT INTO manifests (key, refs, content) VALUES ($1, $2, $3) \
                    ON CONFLICT (key) DO UPDATE SET refs = excluded.refs, content = excluded.content";
        self.push(text.to_owned(), vec![Box::new(key.to_vec()), Box::new(refs), Box::new(content)]);
    }

    fn put_parts(&mut self, parts: Vec<(Vec<u8>, PartRecord)>) {
        let (mut keys, mut sequences, mut written, mut modified, mut lengths, mut contents) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (key, part) in parts {
            keys.push(key);
            sequences.push(signed(part.sequence));
            written.push(signed(part.written.catalog.0));
            modified.push(signed(part.written.wall.0));
            lengths.push(signed(part.length));
            // The columns are the truth, here, too.
            let written = Now { catalog: CatalogTime(0), wall: WallTime(0) };
            contents.push(PartRecord { sequence: 0, written, length: 0, ..part }.encode().to_vec());
        }
        let text = "INSERT INTO parts (key, sequence, written_ms, modified_ms, length, content) \
                    SELECT * FROM unnest($1::bytea[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bytea[]) \
                    ON CONFLICT (key) DO UPDATE SET sequence = excluded.sequence, written_ms = excluded.written_ms, \
                    modified_ms = excluded.modified_ms, length = excluded.length, content = excluded.content";
        let parameters: Parameters = vec![
            Box::new(keys),
            Box::new(sequences),
            Box::new(written),
            Box::new(modified),
            Box::new(lengths),
            Box::new(contents),
        ];
        self.push(text.to_owned(), parameters);
    }

    fn change_usage(&mut self, key: &[u8], usage: &UsageRecord, lane: i64) {
        let deltas = usage_fields(usage).map(|number| signed(number.wrapping_sub(USAGE_BASE)));
        if deltas == [0; 8] {
            return;
        }
        let changes = USAGE.map(|name| format!("{name} = usage_deltas.{name} + excluded.{name}")).join(", ");
        let text = format!(
            "INSERT INTO usage_deltas (key, stripe, {}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) \
             ON CONFLICT (key, stripe) DO UPDATE SET {changes}",
            USAGE.join(", ")
        );
        let stripe = i16::try_from(lane.rem_euclid(USAGE_STRIPES)).unwrap_or_default();
        let mut parameters: Parameters = vec![Box::new(key.to_vec()), Box::new(stripe)];
        for delta in deltas {
            parameters.push(Box::new(delta));
        }
        self.push(text, parameters);
    }

    fn put_version(&mut self, name: &str, key: &[u8], columns: VersionColumns) {
        let names: Vec<&str> = VERSION.split(", ").collect();
        let places: Vec<String> = (1..=names.len()).map(|place| format!("${place}")).collect();
        let changes: Vec<String> = names.iter().skip(1).map(|name| format!("{name} = excluded.{name}")).collect();
        let text = format!(
            "INSERT INTO {name} ({VERSION}) VALUES ({}) ON CONFLICT (key) DO UPDATE SET {}",
            places.join(", "),
            changes.join(", ")
        );
        let parameters: Parameters = vec![
            Box::new(key.to_vec()),
            Box::new(columns.sequence),
            Box::new(columns.has_id),
            Box::new(columns.modified_ms),
            Box::new(columns.created_ms),
            Box::new(columns.length),
            Box::new(columns.etag),
            Box::new(columns.checksum),
            Box::new(columns.storage_class),
            Box::new(columns.body),
            Box::new(columns.owner),
            Box::new(columns.part_count),
            Box::new(columns.extents),
            Box::new(columns.blobs),
            Box::new(columns.attributes),
            Box::new(columns.object_lock),
        ];
        self.push(text, parameters);
    }

    fn put_blobs(&mut self, blobs: Vec<(Vec<u8>, BlobColumns)>) {
        let (mut keys, mut refs, mut due, mut remaining, mut missing, mut content) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (key, columns) in blobs {
            keys.push(key);
            refs.push(columns.0);
            due.push(columns.1);
            remaining.push(columns.2);
            missing.push(columns.3);
            content.push(columns.4);
        }
        let text = format!(
            "INSERT INTO blobs ({BLOB}) SELECT * FROM unnest($1::bytea[], $2::bigint[], $3::bigint[], $4::smallint[], $5::smallint[], \
             $6::bytea[]) ON CONFLICT (key) DO UPDATE SET refs = excluded.refs, due_ms = excluded.due_ms, \
             remaining = excluded.remaining, missing = excluded.missing, content = excluded.content"
        );
        let parameters: Parameters =
            vec![Box::new(keys), Box::new(refs), Box::new(due), Box::new(remaining), Box::new(missing), Box::new(content)];
        self.push(text, parameters);
    }

    /// Whether there is nothing to write.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Prepares all of them.
    pub(super) async fn prepare(self, connection: &Connection) -> Result<Prepared, Failure> {
        let mut prepared = Vec::with_capacity(self.0.len());
        for (text, parameters) in self.0 {
            prepared.push((connection.statement(&text).await?, parameters));
        }
        Ok(Prepared::new(prepared))
    }
}

/// Sends all of them with the COMMIT behind them, in one round trip.
pub(super) async fn commit(prepared: &Prepared, connection: &Connection) -> Result<(), Failure> {
    let commit = Box::pin(async { connection.client().batch_execute("COMMIT").await.map(|()| Vec::new()) });
    let (statements, commit) = in_order_and_commit(prepared.sending(connection), commit).await;
    for answer in &statements {
        if let Err(error) = answer {
            // A COMMIT behind a statement that the server refused rolls back, and reports success. Where the connection broke, who knows.
            return Err(Failure::of_commit(error));
        }
    }
    match commit {
        Some(Ok(_)) => {}
        Some(Err(error)) => return Err(Failure::Unknown(super::failure::describe(&error))),
        None => return Err(Failure::Gone("a statement was not sent, and nothing was committed".to_owned())),
    }
    if connection.has_warned() {
        return Err(Failure::Unknown("the database warned while it committed".to_owned()));
    }
    Ok(())
}
