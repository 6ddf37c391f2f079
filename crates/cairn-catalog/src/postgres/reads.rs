//! What is asked all the time, in one round trip each: a read, a listing.
//!
//! Each does what the state machine would do, in one prepared statement, or says that the case is another one: then the state machine does it. The
//! conformance suite holds both ways to the same.

use bytes::Bytes;
use cairn_types::codec::Record;
use cairn_types::records::{Body, VersionRow, Versioning};
use tokio_postgres::types::ToSql;

use super::columns::{BLOB, VERSION, VersionColumns, blob_record};
use super::failure::Failure;
use super::machine::Inner;
use super::pool::Taken;
use crate::embedded::state::listing::{first_key, object_key, text};
use crate::embedded::state::tables::{behind_all, bucket_key, current_key, read_current_key};
use crate::embedded::state::{Answer, Query};
use crate::{
    CatalogError, CatalogResult, FoundContent, FoundExtents, FoundVersion, GetVersion, ListEntry, ListObjects, ListedObject, Page,
};

/// What is shown of a version in a listing.
const SUMMARY: &str = "key, sequence, has_id, modified_ms, created_ms, length, etag, checksum, storage_class";

impl Inner {
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
