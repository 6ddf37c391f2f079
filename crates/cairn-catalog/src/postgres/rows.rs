//! Where each table of the state machine stands in the database: how its rows are fetched, and how they are written.

use std::collections::BTreeMap;

use bytes::Bytes;
use cairn_types::codec::Record;
use cairn_types::records::{BlobRecord, BucketRecord, UsageRecord, VersionRow};
use futures::future::{BoxFuture, join_all};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::columns::{
    BLOB, BlobColumns, USAGE, VERSION, VersionColumns, blob_columns, blob_record, signed, unsigned, usage_fields, usage_record,
};
use super::connection::Connection;
use super::failure::Failure;
use super::known::{Known, MissingRange, Span};
use crate::embedded::state::reader::{Table, Write};
use crate::embedded::state::tables;
use crate::{CatalogError, CatalogResult};

/// What a transaction is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// One snapshot, no locks.
    Read,
    /// Rows that are counted in are locked as they are read.
    Write,
}

/// Numbers that one `nextval` gives.
const NUMBERS_AT_ONCE: u64 = 4096;
/// What a transaction that writes reads as a bucket's usage: only the difference is written.
const USAGE_BASE: u64 = 1 << 62;
/// Stripes of a bucket's usage: connections whose lanes have the same remainder wait for each other.
pub(super) const USAGE_STRIPES: i64 = 256;

/// The table of current versions.
const CURRENT: &str = "current_versions";

/// Where a table stands.
enum Place {
    /// Keys and values as they are.
    Plain(&'static str),
    /// Versions and delete markers, in columns.
    Versions(&'static str),
    Blobs,
    /// In an index of `blobs`.
    Incomplete,
    /// In an index of `blobs`.
    Condemned,
    Usage,
    Buckets,
    Meta,
}

fn place(table: Table) -> CatalogResult<Place> {
    Ok(match table {
        tables::CURRENT => Place::Versions(CURRENT),
        tables::NONCURRENT => Place::Versions("other_versions"),
        tables::BLOBS => Place::Blobs,
        tables::INCOMPLETE => Place::Incomplete,
        tables::CONDEMNED => Place::Condemned,
        tables::USAGE => Place::Usage,
        tables::BUCKETS => Place::Buckets,
        tables::META => Place::Meta,
        tables::NULL_VERSIONS => Place::Plain("null_versions"),
        tables::INLINE => Place::Plain("inline_bodies"),
        tables::MANIFESTS => Place::Plain("manifests"),
        tables::PARTS => Place::Plain("parts"),
        tables::UPLOADS => Place::Plain("uploads"),
        tables::ABANDONED => Place::Plain("abandoned"),
        tables::COMPLETED => Place::Plain("completed"),
        tables::COMPLETED_DUE => Place::Plain("completed_due"),
        tables::SESSIONS => Place::Plain("sessions"),
        tables::ZONES => Place::Plain("zones"),
        tables::TENANTS => Place::Plain("tenants"),
        tables::TENANT_NAMES => Place::Plain("tenant_names"),
        tables::ACCOUNTS => Place::Plain("accounts"),
        tables::ACCESS_KEYS => Place::Plain("access_keys"),
        tables::ACCOUNT_KEYS => Place::Plain("account_keys"),
        tables::BUCKET_NAMES => Place::Plain("bucket_names"),
        tables::ACCOUNT_BUCKETS => Place::Plain("account_buckets"),
        tables::TENANT_ACCOUNTS => Place::Plain("tenant_accounts"),
        tables::BUCKET_TAGS => Place::Plain("bucket_tags"),
        tables::BUCKET_CORS => Place::Plain("bucket_cors"),
        other => return Err(CatalogError::Refused(format!("there is no table {}", other.number()))),
    })
}

fn usage_sums() -> String {
    USAGE.map(|name| format!("sum({name})::bigint")).join(", ")
}

// -- reading ----------------------------------------------------------------------------------------------------------------------------

/// A row as the state machine reads it.
fn read(place: &Place, row: &Row) -> CatalogResult<(Bytes, Bytes)> {
    let key = |column: usize| Bytes::copy_from_slice(row.get(column));
    Ok(match place {
        Place::Plain(_) | Place::Buckets | Place::Meta => (key(0), key(1)),
        Place::Versions(name) => {
            let row_key = key(0);
            let columns = VersionColumns::read(row, 0);
            let version = if *name == CURRENT {
                let (bucket, key) = tables::read_current_key(&row_key)?;
                columns.row(bucket, key)?
            } else {
                let (bucket, key, _) = tables::read_noncurrent_key(&row_key)?;
                columns.row(bucket, &key)?
            };
            (row_key, version.encode())
        }
        Place::Blobs => (key(0), blob_record(row, 0)?.encode()),
        Place::Usage => {
            let mut sums = [0; 8];
            for (place, sum) in sums.iter_mut().enumerate() {
                *sum = unsigned(row.get::<_, i64>(place + 1).max(0));
            }
            (key(0), usage_record(sums).encode())
        }
        Place::Incomplete => {
            let mut whole = zones_byte(row.get(0))?;
            whole.extend_from_slice(row.get(1));
            (Bytes::from(whole), Bytes::new())
        }
        Place::Condemned => {
            let mut whole = zones_byte(row.get(0))?;
            whole.extend_from_slice(&row.get::<_, i64>(1).to_be_bytes());
            whole.extend_from_slice(row.get(2));
            (Bytes::from(whole), Bytes::new())
        }
    })
}

fn zones_byte(bits: i16) -> CatalogResult<Vec<u8>> {
    u8::try_from(bits).map(|bits| vec![bits]).map_err(|_| CatalogError::Damaged("a set of zones is not one".to_owned()))
}

/// Columns and table of a place.
fn source(place: &Place) -> (String, &'static str) {
    match place {
        Place::Plain(name) => ("key, value".to_owned(), name),
        Place::Buckets => ("key, value".to_owned(), "buckets"),
        Place::Meta => ("key, value".to_owned(), "meta"),
        Place::Versions(name) => (VERSION.to_owned(), name),
        Place::Blobs => (BLOB.to_owned(), "blobs"),
        Place::Incomplete => ("missing, key".to_owned(), "blobs"),
        Place::Condemned => ("remaining, due_ms, key".to_owned(), "blobs"),
        Place::Usage => (format!("key, {}", usage_sums()), "usage_deltas"),
    }
}

/// Locks what is counted in: references to blobs and manifests change from what they are, whoever else changes them.
fn locking(place: &Place, purpose: Purpose) -> &'static str {
    match place {
        Place::Blobs | Place::Plain("manifests") if purpose == Purpose::Write => " FOR UPDATE",
        _ => "",
    }
}

/// Fetches everything that was missing, in as few round trips as there are tables, all on their way at once.
pub(super) async fn fetch_missing(connection: &Connection, known: &mut Known, purpose: Purpose) -> Result<(), Failure> {
    let (points, ranges) = known.take_missing();
    let mut by_table: BTreeMap<Table, Vec<Bytes>> = BTreeMap::new();
    for (table, key) in points {
        by_table.entry(table).or_default().push(key);
    }
    let points = join_all(by_table.into_iter().map(|(table, keys)| fetch_points(connection, table, keys, purpose))).await;
    for fetched in points {
        for (table, key, value) in fetched? {
            known.learn(table, key, value);
        }
    }
    let ranges = join_all(ranges.into_iter().map(|missing| async move {
        let rows = fetch_range(connection, &missing, purpose).await;
        (missing, rows)
    }))
    .await;
    for (missing, rows) in ranges {
        known.learn_range(missing, rows?);
    }
    Ok(())
}

type Point = (Table, Bytes, Option<Bytes>);

async fn fetch_points(connection: &Connection, table: Table, keys: Vec<Bytes>, purpose: Purpose) -> Result<Vec<Point>, Failure> {
    let place = place(table)?;
    let mut found = BTreeMap::new();
    if purpose == Purpose::Write && matches!(place, Place::Usage) {
        let base = usage_record([USAGE_BASE; 8]).encode();
        return Ok(keys.into_iter().map(|key| (table, key, Some(base.clone()))).collect());
    }
    if matches!(place, Place::Meta) {
        for key in &keys {
            if let Some(number) = special_number(connection, key, purpose).await? {
                found.insert(key.clone(), tables::number_value(number));
            }
        }
    }
    let (columns, name) = source(&place);
    let grouped = if matches!(place, Place::Usage) { " GROUP BY key" } else { " ORDER BY key" };
    let text = format!("SELECT {columns} FROM {name} WHERE key = ANY($1){grouped}{}", locking(&place, purpose));
    let statement = connection.statement(&text).await?;
    let wanted: Vec<&[u8]> = keys.iter().map(AsRef::as_ref).collect();
    for row in connection.client().query(&statement, &[&wanted]).await? {
        let (key, value) = read(&place, &row)?;
        found.insert(key, value);
    }
    Ok(keys
        .into_iter()
        .map(|key| {
            let value = found.remove(&key);
            (table, key, value)
        })
        .collect())
}

/// Numbers of the catalog as a whole that are not rows: `None` for those that are.
async fn special_number(connection: &Connection, key: &[u8], purpose: Purpose) -> Result<Option<u64>, Failure> {
    let text = match key {
        tables::META_TIME => "SELECT catalog_ms FROM clock",
        // The block's first number is the one behind this. Asked for under the key's lock, so it is above all that the key has (R2).
        tables::META_SEQUENCE if purpose == Purpose::Write => "SELECT nextval('numbers') - 1",
        tables::META_SEQUENCE => "SELECT last_value + 4095 FROM numbers",
        _ => return Ok(None),
    };
    let statement = connection.statement(text).await?;
    Ok(Some(unsigned(connection.client().query_one(&statement, &[]).await?.get(0))))
}

/// Every row of a table.
pub(super) async fn all_rows(connection: &Connection, table: Table) -> Result<Vec<(Bytes, Bytes)>, Failure> {
    if table == tables::META {
        let mut rows = Vec::new();
        for key in [tables::META_SEQUENCE, tables::META_TIME, tables::META_EPOCH, tables::META_SESSION] {
            for (_, key, value) in fetch_points(connection, table, vec![Bytes::from_static(key)], Purpose::Read).await? {
                rows.extend(value.map(|value| (key, value)));
            }
        }
        return Ok(rows);
    }
    let mut rows: Vec<(Bytes, Bytes)> = Vec::new();
    let (mut from, limit) = (Vec::new(), 2048);
    loop {
        let span = Span { table, from: Vec::new(), to: None };
        let page = fetch_range(connection, &MissingRange { span, from, limit }, Purpose::Read).await?;
        let is_whole = i64::try_from(page.len()).unwrap_or(i64::MAX) < limit;
        rows.extend(page);
        match rows.last() {
            Some((last, _)) if !is_whole => {
                from = last.to_vec();
                from.push(0);
            }
            _ => return Ok(rows),
        }
    }
}

async fn fetch_range(connection: &Connection, missing: &MissingRange, purpose: Purpose) -> Result<Vec<(Bytes, Bytes)>, Failure> {
    let place = place(missing.span.table)?;
    let (columns, name) = source(&place);
    let (from, to, limit) = (&missing.from, &missing.span.to, missing.limit);
    let rows = match &place {
        Place::Incomplete | Place::Condemned => {
            // Every range of these has an end, and begins with a set of zones.
            let first = index_position(from);
            let end = index_position(to.as_deref().unwrap_or(&[u8::MAX]));
            if matches!(place, Place::Incomplete) {
                let text = format!(
                    "SELECT {columns} FROM {name} WHERE missing <> 0 AND (missing, key) >= ($1, $2) AND (missing, key) < ($3, $4) \
                     ORDER BY missing, key LIMIT $5"
                );
                let statement = connection.statement(&text).await?;
                connection.client().query(&statement, &[&first.0, &first.1, &end.0, &end.1, &limit]).await?
            } else {
                let text = format!(
                    "SELECT {columns} FROM {name} WHERE remaining IS NOT NULL AND (remaining, due_ms, key) >= ($1, $2, $3) \
                     AND (remaining, due_ms, key) < ($4, $5, $6) ORDER BY remaining, due_ms, key LIMIT $7"
                );
                let statement = connection.statement(&text).await?;
                let (first_due, first_key) = due_position(&first.1);
                let (end_due, end_key) = due_position(&end.1);
                connection
                    .client()
                    .query(&statement, &[&first.0, &first_due, &first_key, &end.0, &end_due, &end_key, &limit])
                    .await?
            }
        }
        _ => {
            let (group, locking) =
                if matches!(place, Place::Usage) { (" GROUP BY key", "") } else { ("", locking(&place, purpose)) };
            let until = if to.is_some() { " AND key < $3" } else { "" };
            let text = format!("SELECT {columns} FROM {name} WHERE key >= $1{until}{group} ORDER BY key LIMIT $2{locking}");
            let statement = connection.statement(&text).await?;
            let mut parameters: Vec<&(dyn ToSql + Sync)> = vec![from, &limit];
            if let Some(to) = to {
                parameters.push(to);
            }
            connection.client().query(&statement, &parameters).await?
        }
    };
    Ok(rows.iter().map(|row| read(&place, row)).collect::<CatalogResult<_>>()?)
}

/// A key of an index that begins with a set of zones, or the beginning of one.
fn index_position(key: &[u8]) -> (i16, Vec<u8>) {
    match key.split_first() {
        Some((bits, rest)) => (i16::from(*bits), rest.to_vec()),
        None => (0, Vec::new()),
    }
}

/// A time with what follows it, or the beginning of that.
fn due_position(key: &[u8]) -> (i64, Vec<u8>) {
    match key.split_first_chunk::<8>() {
        Some((due, rest)) => (i64::from_be_bytes(*due), rest.to_vec()),
        None => (i64::MIN, Vec::new()),
    }
}

/// Polls all of them in their order, so that what they send goes out in it: a COMMIT that overtook a statement would commit a part. None is dropped
/// when another one fails.
async fn in_order<T>(mut futures: Vec<BoxFuture<'_, T>>) -> Vec<T> {
    let mut answers: Vec<Option<T>> = futures.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        let mut is_ready = true;
        for (future, answer) in futures.iter_mut().zip(&mut answers) {
            if answer.is_none() {
                match future.as_mut().poll(context) {
                    std::task::Poll::Ready(value) => *answer = Some(value),
                    std::task::Poll::Pending => is_ready = false,
                }
            }
        }
        if is_ready { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    answers.into_iter().flatten().collect()
}

// -- writing ----------------------------------------------------------------------------------------------------------------------------

/// Rows, by column.
type KeysAndValues = (Vec<Vec<u8>>, Vec<Vec<u8>>);

type Parameters = Vec<Box<dyn ToSql + Sync + Send>>;

/// Statements that are to be sent with the commit.
#[derive(Default)]
pub(super) struct Statements(Vec<(String, Parameters)>);

/// Statements that the server knows, with their parameters.
pub(super) struct Prepared(Vec<(tokio_postgres::Statement, Parameters)>);

/// What a command's rows come to. `numbers` is the block that was read, where one was.
pub(super) fn statements(writes: Vec<Write>, numbers: Option<u64>, lane: i64) -> CatalogResult<Statements> {
    let mut all = Statements::default();
    let mut puts: BTreeMap<&'static str, KeysAndValues> = BTreeMap::new();
    let mut deletes: BTreeMap<&'static str, Vec<Vec<u8>>> = BTreeMap::new();
    let mut blobs: Vec<(Vec<u8>, BlobColumns)> = Vec::new();
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
        Ok(Prepared(prepared))
    }
}

impl Prepared {
    /// Sends all of them with the COMMIT behind them, in one round trip.
    pub(super) async fn commit(self, connection: &Connection) -> Result<(), Failure> {
        let prepared = self.0;
        let mut sent: Vec<BoxFuture<'_, Result<(), tokio_postgres::Error>>> = Vec::with_capacity(prepared.len() + 1);
        for (statement, parameters) in &prepared {
            sent.push(Box::pin(async move {
                let parameters: Vec<&(dyn ToSql + Sync)> = parameters.iter().map(|parameter| &**parameter as _).collect();
                connection.client().execute(statement, &parameters).await.map(drop)
            }));
        }
        let commit = connection.client().batch_execute("COMMIT");
        sent.push(Box::pin(commit));
        let answers = in_order(sent).await;
        let Some((commit, statements)) = answers.split_last() else { return Ok(()) };
        for answer in statements {
            if let Err(error) = answer {
                // A COMMIT behind a statement that the server refused rolls back, and reports success. Where the connection broke, who knows.
                let described = super::failure::describe(error);
                return Err(match error.as_db_error() {
                    Some(_) => Failure::of_refused(error),
                    None => Failure::Unknown(described),
                });
            }
        }
        if let Err(error) = commit {
            return Err(Failure::Unknown(super::failure::describe(error)));
        }
        if connection.has_warned() {
            return Err(Failure::Unknown("the database warned while it committed".to_owned()));
        }
        Ok(())
    }
}
