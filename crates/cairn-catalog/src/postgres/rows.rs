//! Where each table of the state machine stands in the database, and how its rows are fetched.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use cairn_types::codec::Record;
use cairn_types::records::{ManifestRecord, PartRecord};
use cairn_types::{CatalogTime, Now, WallTime};
use futures::future::BoxFuture;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Row, Statement};

use super::columns::{BLOB, USAGE, VERSION, VersionColumns, blob_record, unsigned, usage_record};
use super::connection::Connection;
use super::failure::Failure;
use super::known::{Known, MissingRange};
use crate::embedded::state::reader::Table;
use crate::embedded::state::{StateReader, tables};
use crate::{CatalogError, CatalogResult};

/// What a transaction is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// One snapshot, no locks.
    Read,
    /// Rows that are counted in are locked as they are read.
    Write,
}

/// What a transaction that writes reads as a bucket's usage: only the difference is written.
pub(super) const USAGE_BASE: u64 = 1 << 62;
/// Stripes of a bucket's usage: connections whose lanes have the same remainder wait for each other.
pub(super) const USAGE_STRIPES: i64 = 256;

/// The table of current versions.
const CURRENT: &str = "current_versions";

pub(super) type Parameters = Vec<Box<dyn ToSql + Sync + Send>>;

/// Where a table stands.
pub(super) enum Place {
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
    Manifests,
    Parts,
    Uploads,
    Sessions,
    Zones,
}

pub(super) fn place(table: Table) -> CatalogResult<Place> {
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
        tables::MANIFESTS => Place::Manifests,
        tables::PARTS => Place::Parts,
        tables::UPLOADS => Place::Uploads,
        tables::ABANDONED => Place::Plain("abandoned"),
        tables::COMPLETED => Place::Plain("completed"),
        tables::COMPLETED_DUE => Place::Plain("completed_due"),
        tables::SESSIONS => Place::Sessions,
        tables::ZONES => Place::Zones,
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
        tables::LEASES => Place::Plain("leases"),
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
        Place::Plain(_) | Place::Buckets | Place::Meta | Place::Uploads | Place::Sessions | Place::Zones => (key(0), key(1)),
        Place::Manifests => {
            let content = ManifestRecord::decode(&key(2))?;
            (key(0), ManifestRecord { references: unsigned(row.get(1)), ..content }.encode())
        }
        Place::Parts => {
            let written = Now { catalog: CatalogTime(unsigned(row.get(2))), wall: WallTime(unsigned(row.get(3))) };
            let content = PartRecord::decode(&key(5))?;
            let part = PartRecord { sequence: unsigned(row.get(1)), written, length: unsigned(row.get(4)), ..content };
            (key(0), part.encode())
        }
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
pub(super) fn source(place: &Place) -> (String, &'static str) {
    match place {
        Place::Plain(name) => ("key, value".to_owned(), name),
        Place::Buckets => ("key, value".to_owned(), "buckets"),
        Place::Uploads => ("key, value".to_owned(), "uploads"),
        Place::Sessions => ("key, value".to_owned(), "sessions"),
        Place::Zones => ("key, value".to_owned(), "zones"),
        Place::Manifests => ("key, refs, content".to_owned(), "manifests"),
        Place::Parts => ("key, sequence, written_ms, modified_ms, length, content".to_owned(), "parts"),
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
        Place::Blobs | Place::Manifests if purpose == Purpose::Write => " FOR UPDATE",
        // What falls due is a queue: of several who take from it each takes what no other one has in hand.
        Place::Plain("abandoned" | "completed_due") if purpose == Purpose::Write => " FOR UPDATE SKIP LOCKED",
        _ => "",
    }
}

/// What a statement fetches.
enum Wanted {
    Points(Table, Vec<Bytes>),
    /// A number of the catalog as a whole that is no row.
    Number(Bytes),
    Range(MissingRange),
}

/// A statement that fetches rows.
struct Fetch {
    wanted: Wanted,
    place: Place,
    text: String,
    parameters: Parameters,
}

/// Statements that are on their way together.
#[derive(Default)]
pub(super) struct Fetches(Vec<Fetch>);

/// Statements that the server knows, with their parameters.
pub(super) struct Prepared(Vec<(Statement, Parameters)>);

impl Fetches {
    /// What is to be fetched, one statement for each table and range. What needs no fetching is learnt at once.
    pub(super) fn of(
        points: BTreeSet<(Table, Bytes)>,
        ranges: Vec<MissingRange>,
        purpose: Purpose,
        known: &mut Known,
    ) -> CatalogResult<Self> {
        let mut by_table: BTreeMap<Table, Vec<Bytes>> = BTreeMap::new();
        let mut fetches = Vec::new();
        for (table, key) in points {
            if purpose == Purpose::Write && table == tables::USAGE {
                known.learn(table, key, Some(usage_record([USAGE_BASE; 8]).encode()));
            } else if let (tables::META, Some(text)) = (table, number_text(&key, purpose)) {
                let text = text.to_owned();
                fetches.push(Fetch { wanted: Wanted::Number(key), place: Place::Meta, text, parameters: Vec::new() });
            } else {
                by_table.entry(table).or_default().push(key);
            }
        }
        for (table, keys) in by_table {
            let place = place(table)?;
            let (columns, name) = source(&place);
            let grouped = if matches!(place, Place::Usage) { " GROUP BY key" } else { " ORDER BY key" };
            let text = format!("SELECT {columns} FROM {name} WHERE key = ANY($1){grouped}{}", locking(&place, purpose));
            let wanted: Vec<Vec<u8>> = keys.iter().map(|key| key.to_vec()).collect();
            fetches.push(Fetch { wanted: Wanted::Points(table, keys), place, text, parameters: vec![Box::new(wanted)] });
        }
        for missing in ranges {
            fetches.push(range(missing, purpose)?);
        }
        Ok(Self(fetches))
    }

    /// Prepares all of them.
    pub(super) async fn prepare(&mut self, connection: &Connection) -> Result<Prepared, tokio_postgres::Error> {
        let mut prepared = Vec::with_capacity(self.0.len());
        for fetch in &mut self.0 {
            prepared.push((connection.statement(&fetch.text).await?, std::mem::take(&mut fetch.parameters)));
        }
        Ok(Prepared(prepared))
    }

    /// Learns what was answered.
    pub(super) fn learn(self, answers: Vec<Vec<Row>>, known: &mut Known) -> CatalogResult<()> {
        for (fetch, rows) in self.0.into_iter().zip(answers) {
            match fetch.wanted {
                Wanted::Number(key) => {
                    let number = rows.first().map(|row| tables::number_value(unsigned(row.get(0))));
                    known.learn(tables::META, key, number);
                }
                Wanted::Points(table, keys) => {
                    let mut found = BTreeMap::new();
                    for row in &rows {
                        let (key, value) = read(&fetch.place, row)?;
                        found.insert(key, value);
                    }
                    for key in keys {
                        let value = found.remove(&key);
                        known.learn(table, key, value);
                    }
                }
                Wanted::Range(missing) => {
                    let rows = rows.iter().map(|row| read(&fetch.place, row)).collect::<CatalogResult<_>>()?;
                    known.learn_range(missing, rows);
                }
            }
        }
        Ok(())
    }
}

impl Prepared {
    /// Of these.
    pub(super) fn new(statements: Vec<(Statement, Parameters)>) -> Self {
        Self(statements)
    }

    /// As futures that send when they are first polled, for [`in_order`].
    pub(super) fn sending<'a>(
        &'a self,
        connection: &'a Connection,
    ) -> Vec<BoxFuture<'a, Result<Vec<Row>, tokio_postgres::Error>>> {
        let send = |(statement, parameters): &'a (Statement, Parameters)| -> BoxFuture<'a, _> {
            Box::pin(async move {
                let parameters: Vec<&(dyn ToSql + Sync)> = parameters.iter().map(|parameter| &**parameter as _).collect();
                connection.client().query(statement, &parameters).await
            })
        };
        self.0.iter().map(send).collect()
    }
}

/// Fetches everything that was missing, in one round trip.
pub(super) async fn fetch_missing(connection: &Connection, known: &mut Known, purpose: Purpose) -> Result<(), Failure> {
    let (points, ranges) = match purpose {
        Purpose::Read => known.take_missing(),
        Purpose::Write => known.take_missing_of_change()?,
    };
    let mut fetches = Fetches::of(points, ranges, purpose, known)?;
    let prepared = fetches.prepare(connection).await?;
    let answers = in_order(prepared.sending(connection)).await.into_iter().collect::<Result<Vec<_>, _>>()?;
    Ok(fetches.learn(answers, known)?)
}

/// Numbers of the catalog as a whole that are not rows: `None` for those that are.
fn number_text(key: &[u8], purpose: Purpose) -> Option<&'static str> {
    match key {
        tables::META_TIME => Some("SELECT catalog_ms FROM clock"),
        // The block's first number is the one behind this. Asked for under the key's lock, so it is above all that the key has (R2).
        tables::META_SEQUENCE if purpose == Purpose::Write => Some("SELECT nextval('numbers') - 1"),
        tables::META_SEQUENCE => Some("SELECT last_value + 4095 FROM numbers"),
        tables::META_GENERATION => Some("SELECT generation FROM identity"),
        tables::META_FORGOTTEN => Some("SELECT may_lack()"),
        _ => None,
    }
}

/// Every row of a table.
pub(super) async fn all_rows(connection: &Connection, table: Table) -> Result<Vec<(Bytes, Bytes)>, Failure> {
    let mut known = Known::default();
    if table == tables::META {
        let names = [tables::META_SEQUENCE, tables::META_TIME, tables::META_EPOCH, tables::META_SESSION].map(Bytes::from_static);
        for name in &names {
            let _ = known.get(table, name);
        }
        fetch_missing(connection, &mut known, Purpose::Read).await?;
        let value = |name: Bytes| known.get(table, &name).map(|value| value.map(|value| (name, value)));
        return Ok(names.into_iter().filter_map(|name| value(name).transpose()).collect::<CatalogResult<_>>()?);
    }
    loop {
        let rows: CatalogResult<Vec<_>> = known.range(table, Bound::Unbounded, Bound::Unbounded).collect();
        if !known.is_missing() {
            return Ok(rows?);
        }
        fetch_missing(connection, &mut known, Purpose::Read).await?;
    }
}

/// A statement that fetches rows of a range.
fn range(missing: MissingRange, purpose: Purpose) -> CatalogResult<Fetch> {
    let place = place(missing.span.table)?;
    let (columns, name) = source(&place);
    let (from, to, limit) = (&missing.from, &missing.span.to, missing.limit);
    let (text, parameters): (String, Parameters) = match &place {
        Place::Incomplete | Place::Condemned => {
            let (zones, rest) = index_position(from);
            // One set of zones, or all of them. By one comparison of whole rows with the end of a set the server would not stop there: it would walk over
            // all of the next set.
            let is_one_set = match to.as_deref() {
                Some([behind]) if i16::from(*behind) == zones + 1 => true,
                None => false,
                Some(_) => return Err(CatalogError::Refused("a range over some sets of zones".to_owned())),
            };
            if matches!(place, Place::Incomplete) {
                let bounds = if is_one_set { "missing = $1 AND key >= $2" } else { "(missing, key) >= ($1, $2)" };
                let text = format!("SELECT {columns} FROM {name} WHERE missing <> 0 AND {bounds} ORDER BY missing, key LIMIT $3");
                (text, vec![Box::new(zones), Box::new(rest), Box::new(limit)])
            } else {
                let bounds = if is_one_set {
                    "remaining = $1 AND (due_ms, key) >= ($2, $3)"
                } else {
                    "(remaining, due_ms, key) >= ($1, $2, $3)"
                };
                let text = format!(
                    "SELECT {columns} FROM {name} WHERE remaining IS NOT NULL AND {bounds} ORDER BY remaining, due_ms, key LIMIT $4"
                );
                let (due, key) = due_position(&rest);
                (text, vec![Box::new(zones), Box::new(due), Box::new(key), Box::new(limit)])
            }
        }
        _ => {
            let (group, locking) =
                if matches!(place, Place::Usage) { (" GROUP BY key", "") } else { ("", locking(&place, purpose)) };
            let until = if to.is_some() { " AND key < $3" } else { "" };
            let text = format!("SELECT {columns} FROM {name} WHERE key >= $1{until}{group} ORDER BY key LIMIT $2{locking}");
            let mut parameters: Parameters = vec![Box::new(from.clone()), Box::new(limit)];
            if let Some(to) = to {
                parameters.push(Box::new(to.clone()));
            }
            (text, parameters)
        }
    };
    Ok(Fetch { wanted: Wanted::Range(missing), place, text, parameters })
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
pub(super) async fn in_order<T>(mut futures: Vec<BoxFuture<'_, T>>) -> Vec<T> {
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

/// The same, with a COMMIT behind all of them, which is not sent where one of them could not be: what was sent before it is not to be committed without it. (A statement whose parameters
/// cannot be encoded fails at its first poll, and sends nothing.)
pub(super) async fn in_order_and_commit<'a, T: Send + 'a, E: Send + 'a>(
    statements: Vec<BoxFuture<'a, Result<T, E>>>,
    commit: BoxFuture<'a, Result<T, E>>,
) -> (Vec<Result<T, E>>, Option<Result<T, E>>) {
    let has_failed = Arc::new(AtomicBool::new(false));
    let mut all: Vec<BoxFuture<'a, Option<Result<T, E>>>> = Vec::with_capacity(statements.len() + 1);
    for statement in statements {
        let has_failed = Arc::clone(&has_failed);
        all.push(Box::pin(async move {
            let answer = statement.await;
            has_failed.fetch_or(answer.is_err(), Ordering::AcqRel);
            Some(answer)
        }));
    }
    // Polled for the first time when each of them has been polled once, and no second time.
    all.push(Box::pin(async move { if has_failed.load(Ordering::Acquire) { None } else { Some(commit.await) } }));
    let mut answers = in_order(all).await;
    let commit = answers.pop().flatten();
    (answers.into_iter().flatten().collect(), commit)
}

#[cfg(test)]
mod tests;
