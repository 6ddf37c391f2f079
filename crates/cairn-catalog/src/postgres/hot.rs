//! What is asked all the time, in one round trip each: a write of a small object, a read, a listing.
//!
//! Each does what the state machine would do, in one prepared statement, or says that the case is another one: then the state machine does it. The
//! conformance suite and the invariants between rows hold both ways to the same.

use bytes::Bytes;
use cairn_types::codec::Record;
use cairn_types::records::{Body, VersionRow, Versioning};
use cairn_types::{VersionId, WallTime};
use tokio::time::Instant;
use tokio_postgres::types::ToSql;

use super::columns::{BLOB, VERSION, VersionColumns, attributes, blob_record, encode, unsigned};
use super::failure::Failure;
use super::locks::Locks;
use super::machine::{Inner, NOT_PROVEN};
use super::pool::Taken;
use super::rows::USAGE_STRIPES;
use crate::embedded::state::listing::{first_key, object_key, text};
use crate::embedded::state::tables::{behind_all, bucket_key, current_key, read_current_key, session_key};
use crate::embedded::state::{Answer, Command, Outcome, Query};
use crate::{
    CatalogError, CatalogResult, FoundContent, FoundExtents, FoundVersion, GetVersion, ListEntry, ListObjects, ListedObject,
    NewContent, Page, PutVersion, WriteCondition, Written,
};

/// Attempts of a statement that others keep getting in the way of, before the state machine has its turn.
const ATTEMPTS_MAX: u32 = 4;

/// What is shown of a version in a listing.
const SUMMARY: &str = "key, sequence, has_id, modified_ms, created_ms, length, etag, checksum, storage_class";

impl Inner {
    /// Runs a command that is one statement; `None` where it is none, or not in this case.
    pub(super) async fn run_in_one_statement(&self, command: &Command, until: Instant) -> Option<CatalogResult<Outcome>> {
        let Command::PutVersion(request) = command else { return None };
        let NewContent::Inline(body) = &request.content else { return None };
        if body.len() > self.limits.inline_length_max {
            return None;
        }
        let locks = Locks::of(command, self.lock_seed);
        for _ in 0..ATTEMPTS_MAX {
            let mut connection = match self.pool.take(true, until).await {
                Ok(connection) => connection,
                Err(error) => return Some(Err(error)),
            };
            let (lane, number) = (connection.lane, connection.next_number());
            let put = tokio::select! {
                biased;
                put = put_inline(&connection, request, body, &locks, number) => put,
                () = self.pool.no_longer_counts(&connection) => Err(Failure::Unknown(NOT_PROVEN.to_owned())),
            };
            let failure = match put {
                Ok(put) => {
                    // Done is done; that it is another case, the state machine judges again.
                    self.pool.give_back(connection);
                    return put.map(|written| Ok(Outcome::PutVersion(written)));
                }
                Err(failure) => failure,
            };
            let counts = self.pool.counts(&connection);
            self.leave(connection, &failure).await;
            match failure {
                Failure::Answer(_) if !counts => {}
                Failure::Answer(error) => return Some(Err(error)),
                Failure::Again(_) | Failure::Gone(_) => {}
                Failure::Unknown(reason) => {
                    tracing::warn!(lane, number, reason, "a write's outcome is unknown");
                    match self.settle(lane, number, until).await {
                        None => return Some(Err(CatalogError::OutcomeUnknown(reason))),
                        Some(settled) if settled.is_done => {
                            // Nothing else can have been this lane's last commit: it was not used again.
                            let (Some(sequence), Some(wall_ms)) = (settled.sequence, settled.wall_ms) else {
                                return Some(Err(CatalogError::Damaged("a lane has forgotten its answer".to_owned())));
                            };
                            return Some(Ok(Outcome::PutVersion(written(request, body, sequence, wall_ms))));
                        }
                        Some(_) => {}
                    }
                }
            }
        }
        None
    }

    /// Answers a question that is one statement; `None` where it is none, or not in this case.
    pub(super) async fn look_by_one_statement(
        &self,
        connection: &Taken,
        query: &Query,
    ) -> Result<Option<CatalogResult<Answer>>, Failure> {
        match query {
            Query::GetVersion(request) if request.version_id.is_none() && request.part_number.is_none() => {
                match get_current(connection, request).await {
                    Ok(found) => Ok(found.map(|found| Ok(Answer::GetVersion(found)))),
                    Err(Failure::Answer(error)) => Ok(Some(Err(error))),
                    Err(failure) => Err(failure),
                }
            }
            Query::ListObjects(request) => match list_objects(connection, request, self.limits.page_length_max).await {
                Ok(page) => Ok(Some(Ok(Answer::ListObjects(page)))),
                Err(Failure::Answer(error)) => Ok(Some(Err(error))),
                Err(failure) => Err(failure),
            },
            _ => Ok(None),
        }
    }
}

fn written(request: &PutVersion, body: &Bytes, sequence: i64, wall_ms: i64) -> Written {
    Written {
        version_id: VersionId::Null,
        versioning: Versioning::Unversioned,
        sequence: unsigned(sequence),
        last_modified: WallTime(unsigned(wall_ms)),
        length: body.len() as u64,
        etag: request.attributes.etag,
        checksum: request.attributes.checksum,
    }
}

/// `None`: another case.
async fn put_inline(
    connection: &Taken,
    request: &PutVersion,
    body: &Bytes,
    locks: &Locks,
    number: i64,
) -> Result<Option<Written>, Failure> {
    let statement = connection
        .statement("SELECT * FROM put_inline($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)")
        .await?;
    let (ids, are_shared) = locks.arguments();
    let (condition, etags) = match &request.condition {
        WriteCondition::None => (0_i16, Vec::new()),
        WriteCondition::Absent => (1, Vec::new()),
        WriteCondition::Present => (2, Vec::new()),
        WriteCondition::Matches(etags) => (3, etags.iter().map(encode).collect::<Vec<_>>()),
    };
    let lane = connection.lane;
    let stripe = i16::try_from(lane.rem_euclid(USAGE_STRIPES)).unwrap_or_default();
    let attributes_of = &request.attributes;
    let (bucket, row) = (bucket_key(request.bucket), current_key(request.bucket, request.key.as_bytes()));
    let session = session_key(request.session);
    let etag = encode(&attributes_of.etag);
    let checksum = attributes_of.checksum.as_ref().map(encode);
    let class = encode(&attributes_of.storage_class).first().map_or(0, |byte| i16::from(*byte));
    let rest = attributes(&attributes_of.metadata, &attributes_of.tags);
    let parameters: [&(dyn ToSql + Sync); 15] = [
        &lane,
        &number,
        &stripe,
        &ids,
        &are_shared,
        &bucket.as_ref(),
        &row.as_ref(),
        &session.as_ref(),
        &condition,
        &etags,
        &body.as_ref(),
        &etag,
        &checksum,
        &class,
        &rest,
    ];
    connection.has_warned();
    let row = match connection.client().query_one(&statement, &parameters).await {
        Ok(row) => row,
        Err(error) if error.as_db_error().is_some() => return Err(Failure::of_refused(&error)),
        // The statement is its own commit.
        Err(error) => return Err(Failure::Unknown(super::failure::describe(&error))),
    };
    if connection.has_warned() {
        return Err(Failure::Unknown("the database warned while it committed".to_owned()));
    }
    match row.get::<_, i16>(0) {
        0 => Ok(Some(written(request, body, row.get(1), row.get(2)))),
        1 => Ok(None),
        2 => Err(CatalogError::NoSuchBucket.into()),
        3 => Err(CatalogError::SessionClosed.into()),
        4 => Err(CatalogError::PreconditionFailed.into()),
        5 => Err(CatalogError::NoSuchKey.into()),
        _ => Err(CatalogError::Damaged("a write has no such status".to_owned()).into()),
    }
}

/// `None`: another case.
async fn get_current(connection: &Taken, request: &GetVersion) -> Result<Option<FoundVersion>, Failure> {
    let qualified =
        |prefix: &str, names: &str| names.split(", ").map(|name| format!("{prefix}.{name}")).collect::<Vec<_>>().join(", ");
    let text = format!(
        "SELECT {}, b.value, i.value, {} FROM buckets b LEFT JOIN current_versions v ON v.key = $2 \
         LEFT JOIN inline_bodies i ON $3 AND v.body = 1 AND i.key = int8send(v.owner) \
         LEFT JOIN blobs o ON $3 AND v.body = 2 AND o.key = v.blobs WHERE b.key = $1",
        qualified("v", VERSION),
        qualified("o", BLOB),
    );
    let statement = connection.statement(&text).await?;
    let (bucket, key) = (bucket_key(request.bucket), current_key(request.bucket, request.key.as_bytes()));
    let parameters: [&(dyn ToSql + Sync); 3] = [&bucket.as_ref(), &key.as_ref(), &request.with_content];
    let Some(row) = connection.client().query_opt(&statement, &parameters).await? else {
        return Err(CatalogError::NoSuchBucket.into());
    };
    let settings: &[u8] = row.get(16);
    let settings = cairn_types::records::BucketRecord::decode(&Bytes::copy_from_slice(settings)).map_err(CatalogError::from)?;
    if row.get::<_, Option<&[u8]>>(0).is_none() {
        // There may be a delete marker where there may be versions.
        return if settings.versioning == Versioning::Unversioned { Err(CatalogError::NoSuchKey.into()) } else { Ok(None) };
    }
    let VersionRow::Version(version) = VersionColumns::read(&row, 0).row(request.bucket, request.key.as_bytes())? else {
        return Err(CatalogError::Damaged("a delete marker stands among the current versions".to_owned()).into());
    };
    let content = match (&version.details.body, request.with_content) {
        (_, false) => None,
        (Body::Empty, true) => Some(FoundContent::Inline(Bytes::new())),
        (Body::Inline(id), true) => {
            let bytes: Option<&[u8]> = row.get(17);
            let bytes =
                bytes.ok_or_else(|| CatalogError::Damaged(format!("the inline body {} is referred to and not there", id.0)))?;
            Some(FoundContent::Inline(Bytes::copy_from_slice(bytes)))
        }
        (Body::Manifest { id, .. }, true) => Some(FoundContent::Manifest(*id)),
        (Body::Extents(extents), true) => {
            let Some(blob) = row.get::<_, Option<&[u8]>>(18) else { return Ok(None) };
            let id = crate::embedded::state::tables::read_blob_key(blob)?;
            let blobs = vec![(id, blob_record(&row, 18)?)];
            Some(FoundContent::Extents(FoundExtents { extents: extents.clone(), blobs, inline: Vec::new() }))
        }
    };
    Ok(Some(FoundVersion { version, versioning: settings.versioning, part: None, content }))
}

async fn list_objects(
    connection: &Taken,
    request: &ListObjects,
    page_max: u32,
) -> Result<Page<ListEntry<ListedObject>>, Failure> {
    let scope = &request.scope;
    let limit = scope.limit.min(page_max) as usize;
    let bucket = bucket_key(scope.bucket);
    let exists = connection.statement("SELECT FROM buckets WHERE key = $1").await?;
    let head = current_key(scope.bucket, scope.prefix.as_bytes());
    let from = first_key(scope, request.after.as_ref()).filter(|_| limit > 0).map(|from| current_key(scope.bucket, &from));
    let head_bytes = head.as_ref();
    let to = behind_all(&head).unwrap_or_default();
    // One more than the page tells whether there is more.
    let most = i32::try_from(limit + 1).unwrap_or(i32::MAX);
    let delimiter = scope.delimiter.as_deref().filter(|delimiter| !delimiter.is_empty()).unwrap_or_default().as_bytes();
    let most_rows = i64::from(most);
    let start = from.as_deref().unwrap_or_default();
    let (statement, parameters): (_, Vec<&(dyn ToSql + Sync)>) = if delimiter.is_empty() {
        let text = format!("SELECT false, {SUMMARY} FROM current_versions WHERE key >= $1 AND key < $2 ORDER BY key LIMIT $3");
        (connection.statement(&text).await?, vec![&start, &to, &most_rows])
    } else {
        let text = "SELECT * FROM list_folders($1, $2, $3, $4, $5)";
        (connection.statement(text).await?, vec![&head_bytes, &delimiter, &start, &to, &most])
    };
    let rows = async {
        match &from {
            Some(_) => connection.client().query(&statement, &parameters).await,
            None => Ok(Vec::new()),
        }
    };
    let known: [&(dyn ToSql + Sync); 1] = [&bucket.as_ref()];
    let exists = connection.client().query_opt(&exists, &known);
    // The bucket is looked for behind its rows: where it is still there, none of them had gone with it.
    let (rows, exists) = futures::future::join(rows, exists).await;
    let rows = rows?;
    if exists?.is_none() {
        return Err(CatalogError::NoSuchBucket.into());
    }
    let mut entries = Vec::with_capacity(rows.len());
    for row in rows.iter().take(limit) {
        let (bucket, key) = read_current_key(row.get(1))?;
        if row.get::<_, bool>(0) {
            entries.push(ListEntry::Prefix(text(key)?));
            continue;
        }
        let columns = VersionColumns {
            sequence: row.get(2),
            has_id: row.get(3),
            modified_ms: row.get(4),
            created_ms: row.get(5),
            length: row.get(6),
            etag: row.get(7),
            checksum: row.get(8),
            storage_class: row.get(9),
            ..VersionColumns::default()
        };
        let version = columns
            .summary(bucket, key)?
            .ok_or_else(|| CatalogError::Damaged("a delete marker stands among the current versions".to_owned()))?;
        entries.push(ListEntry::Item(ListedObject { key: object_key(key)?, version }));
    }
    Ok(Page { entries, is_truncated: rows.len() > limit && limit > 0 })
}
