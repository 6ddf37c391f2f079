//! What is written all the time, in one round trip each: a write, a copy by reference, a deletion, a part.
//!
//! Each does what the state machine would do, in one prepared statement that is its own commit, or says that the case is another one: then the state
//! machine does it. The conformance suite and the invariants between rows hold both ways to the same.

use cairn_types::codec::Record;
use cairn_types::records::{AbandonedRecord, Extent, PartRecord, Versioning};
use cairn_types::{CatalogTime, ETag, Now, VersionId, WallTime};
use tokio::time::Instant;

use super::columns::{BlobColumns, attributes, blob_columns, encode, signed, unsigned};
use super::failure::Failure;
use super::locks::Locks;
use super::machine::{Asked, Inner, Settled};
use super::pool::Taken;
use super::rows::{Parameters, USAGE_STRIPES};
use crate::embedded::state::blobs::{RELEASE_AT_ONCE_EXTENTS_MAX, new_record};
use crate::embedded::state::tables::{blob_key, bucket_key, current_key, part_key, rows_of_key, session_key, upload_key};
use crate::embedded::state::uploads::read_upload_id;
use crate::embedded::state::{Command, Outcome, version_id};
use crate::{
    CatalogError, CatalogResult, Deleted, FoundUploadPart, NewBlob, NewContent, SourceVersion, VersionAttributes, WriteCondition,
    Written,
};

/// Attempts of a statement that others keep getting in the way of, before the state machine has its turn.
const ATTEMPTS_MAX: u32 = 4;

/// A command as a statement: what is behind lane, number, stripe and locks among its parameters.
struct Hot {
    function: &'static str,
    parameters: Parameters,
}

/// What a statement has answered, now or as its lane remembers it.
#[derive(Debug, Clone, Copy)]
struct Done {
    /// `None`: there was nothing to do, and nothing was committed.
    sequence: Option<i64>,
    is_changed: bool,
    wall_ms: i64,
    kept: i16,
    length: i64,
}

/// How a statement ended.
enum Ended {
    Done(Done),
    Refused(CatalogError),
    OtherCase,
}

impl Inner {
    /// Runs a command that is one statement; `None` where it is none, or not in this case.
    pub(super) async fn run_in_one_statement(
        &self,
        command: &Command,
        until: Instant,
        asked: &Asked,
    ) -> Option<CatalogResult<Outcome>> {
        let locks = Locks::of(command, self.lock_seed);
        for _ in 0..ATTEMPTS_MAX {
            // Anew each time: the zones' incarnations may have changed.
            let hot = self.hot(command)?;
            let mut connection = match self.pool.take(true, until).await {
                Ok(connection) => connection,
                Err(error) => return Some(Err(error)),
            };
            if let Err(error) = asked.check() {
                self.pool.give_back(connection);
                return Some(Err(error));
            }
            let (lane, number) = (connection.lane, connection.next_number());
            let failure = match self.pool.counted(&connection, run(&connection, &hot, &locks, number)).await {
                Ok(Ok(Ended::OtherCase)) => {
                    self.pool.give_back(connection);
                    return None;
                }
                Ok(Ok(Ended::Done(done))) => {
                    if done.is_changed {
                        self.pool.acknowledged(lane, number);
                    }
                    self.pool.give_back(connection);
                    return Some(answer(command, done));
                }
                // It judged, and wrote nothing: there is no transaction to be rolled back.
                Ok(Ok(Ended::Refused(error))) => {
                    self.pool.give_back(connection);
                    return Some(Err(error));
                }
                Ok(Err(failure)) => failure,
                // What a server acknowledges that may be a thing of the past, those who do so with it may throw away.
                Err(reason) => Failure::Unknown(reason.to_owned()),
            };
            match &failure {
                // The statement was its own transaction: there is nothing to be rolled back.
                Failure::Again(_) | Failure::Answer(CatalogError::Busy(_) | CatalogError::OutOfSpace(_)) => {
                    self.pool.give_back(connection);
                }
                _ => self.leave(connection, &failure).await,
            }
            match failure {
                Failure::Answer(error) => return Some(Err(error)),
                Failure::Again(_) | Failure::Gone(_) => {}
                Failure::Unknown(reason) => {
                    tracing::warn!(lane, number, reason, "a write's outcome is unknown");
                    match self.settle(lane, number, until).await {
                        None => return Some(Err(CatalogError::OutcomeUnknown(reason))),
                        // Nothing else can have been this lane's last commit: it was not used again.
                        Some(settled) if settled.is_done => {
                            return Some(remembered(&settled).and_then(|done| answer(command, done)));
                        }
                        Some(_) => {}
                    }
                }
            }
        }
        None
    }

    /// The command as a statement; `None` where it is none.
    fn hot(&self, command: &Command) -> Option<Hot> {
        match command {
            Command::PutVersion(request) => {
                let body = match &request.content {
                    NewContent::Inline(bytes) if bytes.len() > self.limits.inline_length_max => return None,
                    NewContent::Inline(bytes) => {
                        NewBody { length: signed(bytes.len() as u64), bytes: bytes.to_vec(), ..NewBody::default() }
                    }
                    NewContent::Blobs(blobs) => {
                        let blobs = self.new_blobs(request.session, blobs)?;
                        NewBody { length: signed(blobs.length), blobs, ..NewBody::default() }
                    }
                };
                let mut parameters = self.target(request.bucket, request.key.as_bytes(), &request.condition);
                self.version(&mut parameters, request.session, &request.attributes);
                body.push(&mut parameters);
                Some(Hot { function: "put_version", parameters })
            }
            Command::CopyVersion(request) => {
                let body = NewBody { source: Some(source(&request.source)?), ..NewBody::default() };
                let mut parameters = self.target(request.bucket, request.key.as_bytes(), &request.condition);
                self.version(&mut parameters, request.session, &request.attributes);
                body.push(&mut parameters);
                Some(Hot { function: "put_version", parameters })
            }
            Command::DeleteVersion(request) if request.target.version_id.is_none() => {
                let target = &request.target;
                let parameters = self.target(request.bucket, target.key.as_bytes(), &target.condition);
                Some(Hot { function: "delete_key", parameters })
            }
            Command::PutPart(request) => {
                let NewContent::Blobs(blobs) = &request.content else { return None };
                if !(1..=self.limits.part_number_max).contains(&request.part_number) {
                    return None;
                }
                let blobs = self.new_blobs(request.session, blobs)?;
                let upload = &request.upload;
                let (nonce, owner) = read_upload_id(upload.upload_id);
                let extents = blobs.extents.clone();
                let (etag, checksum) = (request.etag, request.checksum);
                // What stands in columns is of no account here.
                let written = Now { catalog: CatalogTime(0), wall: WallTime(0) };
                let part = PartRecord { sequence: 0, written, length: 0, etag, checksum, extents };
                let mut parameters: Parameters = vec![
                    Box::new(bucket_key(upload.bucket).to_vec()),
                    Box::new(upload_key(upload.bucket, upload.key.as_bytes(), owner).to_vec()),
                    Box::new(nonce.to_vec()),
                    Box::new(session_key(request.session).to_vec()),
                    Box::new(self.sessions.lock().lane(request.session)),
                    Box::new(part_key(cairn_types::records::ManifestId(owner), request.part_number).to_vec()),
                    Box::new(signed(blobs.length)),
                    Box::new(part.encode().to_vec()),
                ];
                blobs.push(&mut parameters);
                Some(Hot { function: "put_part", parameters })
            }
            _ => None,
        }
    }

    /// Blobs as they come into the state, as far as this gateway can judge; `None` where the state machine has to.
    fn new_blobs(&self, session: cairn_types::SessionId, blobs: &[NewBlob]) -> Option<Blobs> {
        let chunks: usize = blobs.iter().map(|blob| blob.content.chunks.len()).sum();
        if blobs.is_empty() || blobs.len() > self.limits.extents_max || chunks > self.limits.content_chunks_max {
            return None;
        }
        let incarnations = self.pool.incarnations()?;
        let mut new = Blobs { incarnations: incarnations.map(|incarnation| signed(incarnation.0)).to_vec(), ..Blobs::default() };
        for blob in blobs {
            let record = new_record(&self.limits, session, blob.clone(), &incarnations).ok()?;
            let length = record.content.length();
            new.extents.push(Extent::Blob { id: blob.id, offset: 0, length });
            new.length = new.length.saturating_add(length);
            new.rows.push((blob_key(blob.id).to_vec(), blob_columns(record)));
        }
        Some(new)
    }

    /// What is written or deleted, and under which condition.
    fn target(&self, bucket: cairn_types::BucketId, key: &[u8], condition: &WriteCondition) -> Parameters {
        let (condition, etags): (i16, &[ETag]) = match condition {
            WriteCondition::None => (0, &[]),
            WriteCondition::Absent => (1, &[]),
            WriteCondition::Present => (2, &[]),
            WriteCondition::Matches(etags) => (3, etags),
        };
        let grace_ms = i64::try_from(self.limits.garbage_grace.as_millis()).unwrap_or(i64::MAX / 2);
        // As many blobs as the state machine would count at once, and whose records it could read.
        let pieces = RELEASE_AT_ONCE_EXTENTS_MAX.min(self.limits.content_chunks_max / self.limits.blob_chunks_max.max(1));
        vec![
            Box::new(bucket_key(bucket).to_vec()),
            Box::new(current_key(bucket, key).to_vec()),
            Box::new(rows_of_key(bucket, key).to_vec()),
            Box::new(condition),
            Box::new(etags.iter().map(encode).collect::<Vec<_>>()),
            Box::new(grace_ms),
            Box::new(i32::try_from(pieces).unwrap_or(i32::MAX)),
            Box::new(AbandonedRecord { bucket: None }.encode().to_vec()),
        ]
    }

    /// What a version has beside its bytes.
    fn version(&self, parameters: &mut Parameters, session: cairn_types::SessionId, attributes_of: &VersionAttributes) {
        let class = encode(&attributes_of.storage_class).first().map_or(0, |byte| i16::from(*byte));
        parameters.push(Box::new(session_key(session).to_vec()));
        parameters.push(Box::new(self.sessions.lock().lane(session)));
        parameters.push(Box::new(encode(&attributes_of.etag)));
        parameters.push(Box::new(attributes_of.checksum.as_ref().map(encode)));
        parameters.push(Box::new(class));
        parameters.push(Box::new(attributes(&attributes_of.metadata, &attributes_of.tags)));
    }
}

/// New blobs: by which incarnations they were judged, and their rows.
#[derive(Default)]
struct Blobs {
    incarnations: Vec<i64>,
    rows: Vec<(Vec<u8>, BlobColumns)>,
    extents: Vec<Extent>,
    length: u64,
}

impl Blobs {
    fn push(self, parameters: &mut Parameters) {
        let (mut keys, mut missing, mut contents) = (Vec::new(), Vec::new(), Vec::new());
        for (key, columns) in self.rows {
            keys.push(key);
            missing.push(columns.3);
            contents.push(columns.4);
        }
        parameters.push(Box::new(self.incarnations));
        parameters.push(Box::new(keys));
        parameters.push(Box::new(missing));
        parameters.push(Box::new(contents));
    }
}

/// The body of a new version.
#[derive(Default)]
struct NewBody {
    bytes: Vec<u8>,
    blobs: Blobs,
    length: i64,
    source: Option<Source>,
}

/// The row of a copy's source among current versions, where its rows among the others begin, its sequence, and whether it has an id.
type Source = (Vec<u8>, Vec<u8>, i64, bool);

impl NewBody {
    fn push(self, parameters: &mut Parameters) {
        let kind: i16 = match (&self.source, self.blobs.rows.is_empty(), self.bytes.is_empty()) {
            (Some(_), _, _) => 3,
            (None, false, _) => 2,
            (None, true, false) => 1,
            (None, true, true) => 0,
        };
        let extents = (kind == 2).then(|| encode(&self.blobs.extents));
        parameters.push(Box::new(kind));
        parameters.push(Box::new(self.bytes));
        self.blobs.push(parameters);
        let (row, others, sequence, has_id) = self.source.unwrap_or_default();
        parameters.push(Box::new(extents));
        parameters.push(Box::new(self.length));
        parameters.push(Box::new(row));
        parameters.push(Box::new(others));
        parameters.push(Box::new(sequence));
        parameters.push(Box::new(has_id));
    }
}

/// A copy's source; `None` where its id cannot be that of its sequence.
fn source(source: &SourceVersion) -> Option<Source> {
    let SourceVersion { bucket, key, version_id: id, sequence } = source;
    let key = key.as_bytes();
    if *id != VersionId::Null && *id != version_id(*bucket, key, *sequence) {
        return None;
    }
    let (row, others) = (current_key(*bucket, key), rows_of_key(*bucket, key));
    Some((row.to_vec(), others.to_vec(), signed(*sequence), *id != VersionId::Null))
}

/// Runs the statement, which is its own commit.
async fn run(connection: &Taken, hot: &Hot, locks: &Locks, number: i64) -> Result<Ended, Failure> {
    let places = (1..=hot.parameters.len() + 5).map(|place| format!("${place}")).collect::<Vec<_>>().join(", ");
    let statement = connection.statement(&format!("SELECT * FROM {}({places})", hot.function)).await?;
    let (ids, are_shared) = locks.arguments();
    let stripe = i16::try_from(connection.lane.rem_euclid(USAGE_STRIPES)).unwrap_or_default();
    let mut parameters: Vec<&(dyn tokio_postgres::types::ToSql + Sync)> =
        vec![&connection.lane, &number, &stripe, &ids, &are_shared];
    parameters.extend(hot.parameters.iter().map(|parameter| &**parameter as &(dyn tokio_postgres::types::ToSql + Sync)));
    connection.has_warned();
    let row = match connection.client().query_one(&statement, &parameters).await {
        Ok(row) => row,
        Err(error) if error.code().is_some_and(|code| code.code() == OTHER_CASE) => return Ok(Ended::OtherCase),
        Err(error) => return Err(Failure::of_commit(&error)),
    };
    if connection.has_warned() {
        return Err(Failure::Unknown("the database warned while it committed".to_owned()));
    }
    let number = |place: usize| row.get::<_, Option<i64>>(place);
    let status = row.get::<_, i16>(0);
    match status {
        0 | 1 => Ok(Ended::Done(Done {
            sequence: number(1),
            is_changed: status == 0,
            wall_ms: number(2).unwrap_or_default(),
            kept: row.get::<_, Option<i16>>(3).unwrap_or_default(),
            length: number(4).unwrap_or_default(),
        })),
        2 => Ok(Ended::Refused(CatalogError::NoSuchBucket)),
        3 => Ok(Ended::Refused(CatalogError::SessionClosed)),
        4 => Ok(Ended::Refused(CatalogError::PreconditionFailed)),
        5 => Ok(Ended::Refused(CatalogError::NoSuchKey)),
        6 => Ok(Ended::Refused(CatalogError::SourceChanged)),
        _ => Err(CatalogError::Damaged("a write has no such status".to_owned()).into()),
    }
}

/// What the functions raise where the state machine has to judge.
const OTHER_CASE: &str = "CN003";

fn forgotten() -> CatalogError {
    CatalogError::Damaged("a lane has forgotten its answer".to_owned())
}

fn remembered(settled: &Settled) -> CatalogResult<Done> {
    match (settled.wall_ms, settled.kept, settled.length) {
        (Some(wall_ms), Some(kept), Some(length)) => {
            Ok(Done { sequence: settled.sequence, is_changed: true, wall_ms, kept, length })
        }
        _ => Err(forgotten()),
    }
}

/// What the command answers.
fn answer(command: &Command, done: Done) -> CatalogResult<Outcome> {
    let versioning = match done.kept {
        0 => Versioning::Unversioned,
        1 => Versioning::Enabled,
        2 => Versioning::Suspended,
        _ => return Err(CatalogError::Damaged("the versioning of a bucket is none".to_owned())),
    };
    let id = |bucket, key: &[u8], sequence| {
        if versioning == Versioning::Enabled { version_id(bucket, key, sequence) } else { VersionId::Null }
    };
    let sequence = || done.sequence.map(unsigned).ok_or_else(forgotten);
    let last_modified = WallTime(unsigned(done.wall_ms));
    let length = unsigned(done.length);
    let written = |bucket, key: &[u8], attributes: &VersionAttributes| {
        let sequence = sequence()?;
        let VersionAttributes { etag, checksum, .. } = *attributes;
        Ok(Written { version_id: id(bucket, key, sequence), versioning, sequence, last_modified, length, etag, checksum })
    };
    match command {
        Command::PutVersion(request) => {
            written(request.bucket, request.key.as_bytes(), &request.attributes).map(Outcome::PutVersion)
        }
        Command::CopyVersion(request) => {
            written(request.bucket, request.key.as_bytes(), &request.attributes).map(Outcome::CopyVersion)
        }
        Command::DeleteVersion(request) => Ok(Outcome::DeleteVersion(if versioning == Versioning::Unversioned {
            Deleted { version_id: None, is_delete_marker: false, changed: done.is_changed }
        } else {
            let version_id = Some(id(request.bucket, request.target.key.as_bytes(), sequence()?));
            Deleted { version_id, is_delete_marker: true, changed: true }
        })),
        Command::PutPart(request) => Ok(Outcome::PutPart(FoundUploadPart {
            part_number: request.part_number,
            sequence: sequence()?,
            length,
            etag: request.etag,
            checksum: request.checksum,
            last_modified,
        })),
        _ => Err(CatalogError::Damaged("an answer to no such command".to_owned())),
    }
}
