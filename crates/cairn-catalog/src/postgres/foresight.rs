//! What a command or question will read, as far as it can be said before anything is known: it is fetched in the round trip that begins it.
//!
//! Nothing depends on it but the number of round trips: what was not foreseen is fetched when it is missed.

use std::collections::BTreeSet;

use bytes::Bytes;
use cairn_types::records::ManifestId;
use cairn_types::{BlobId, BucketId, ObjectKey, SessionId, VersionId, ZoneIndex};

use super::known::{MissingRange, RANGE_ROWS_FIRST, Span};
use crate::embedded::state::reader::Table;
use crate::embedded::state::uploads::read_upload_id;
use crate::embedded::state::{Command, Query, tables, version_sequence};
use crate::{Limits, NewContent, SourceVersion, UploadName};

/// Rows to fetch.
#[derive(Debug, Default)]
pub(super) struct Foreseen {
    pub points: BTreeSet<(Table, Bytes)>,
    pub ranges: Vec<MissingRange>,
}

impl Foreseen {
    fn point(&mut self, table: Table, key: Bytes) {
        self.points.insert((table, key));
    }

    /// The rows whose keys begin so.
    fn beginning(&mut self, table: Table, prefix: &[u8], limit: i64) {
        let span = Span { table, from: prefix.to_vec(), to: tables::behind_all(prefix) };
        // Twice fetched, its rows would be there twice.
        if !self.ranges.iter().any(|range| range.span == span) {
            self.ranges.push(MissingRange { span, from: prefix.to_vec(), limit });
        }
    }

    /// What every change of a bucket reads.
    fn bucket(&mut self, bucket: BucketId) {
        self.point(tables::BUCKETS, tables::bucket_key(bucket));
        self.point(tables::USAGE, tables::bucket_key(bucket));
    }

    fn number(&mut self) {
        self.point(tables::META, Bytes::from_static(tables::META_SEQUENCE));
    }

    fn zones(&mut self) {
        for zone in ZoneIndex::ALL {
            self.point(tables::ZONES, tables::zone_key(zone));
        }
    }

    fn session(&mut self, session: SessionId) {
        self.point(tables::SESSIONS, tables::session_key(session));
    }

    fn forgotten(&mut self) {
        self.point(tables::META, Bytes::from_static(tables::META_FORGOTTEN));
    }

    fn generation(&mut self) {
        self.point(tables::META, Bytes::from_static(tables::META_GENERATION));
    }

    /// All that are open, and the number of the newest.
    fn sessions(&mut self) {
        self.forgotten();
        self.generation();
        self.beginning(tables::SESSIONS, &[], 2048);
        self.point(tables::META, Bytes::from_static(tables::META_SESSION));
    }

    fn current(&mut self, bucket: BucketId, key: &ObjectKey) {
        self.point(tables::CURRENT, tables::current_key(bucket, key.as_bytes()));
    }

    fn null(&mut self, bucket: BucketId, key: &ObjectKey) {
        self.point(tables::NULL_VERSIONS, tables::current_key(bucket, key.as_bytes()));
    }

    fn version(&mut self, bucket: BucketId, key: &ObjectKey, id: VersionId) {
        match id {
            VersionId::Null => self.null(bucket, key),
            VersionId::Id(bytes) => {
                self.point(tables::NONCURRENT, tables::noncurrent_key(bucket, key.as_bytes(), version_sequence(&bytes)));
            }
        }
    }

    fn source(&mut self, source: &SourceVersion) {
        self.current(source.bucket, &source.key);
        if source.version_id == VersionId::Null {
            self.null(source.bucket, &source.key);
        }
        self.point(tables::NONCURRENT, tables::noncurrent_key(source.bucket, source.key.as_bytes(), source.sequence));
    }

    fn blobs(&mut self, blobs: impl IntoIterator<Item = BlobId>) {
        for blob in blobs {
            self.point(tables::BLOBS, tables::blob_key(blob));
        }
    }

    fn content(&mut self, content: &NewContent) {
        if let NewContent::Blobs(blobs) = content {
            self.zones();
            self.blobs(blobs.iter().map(|blob| blob.id));
        }
    }

    fn upload(&mut self, name: &UploadName) -> ManifestId {
        let (_, number) = read_upload_id(name.upload_id);
        self.point(tables::UPLOADS, tables::upload_key(name.bucket, name.key.as_bytes(), number));
        ManifestId(number)
    }
}

/// What the state machine will read to judge this.
pub(super) fn of_command(command: &Command) -> Foreseen {
    let mut all = Foreseen::default();
    match command {
        Command::PutVersion(request) => {
            all.bucket(request.bucket);
            all.session(request.session);
            all.current(request.bucket, &request.key);
            all.null(request.bucket, &request.key);
            all.content(&request.content);
            all.number();
        }
        Command::CopyVersion(request) => {
            all.bucket(request.bucket);
            all.session(request.session);
            all.source(&request.source);
            all.current(request.bucket, &request.key);
            all.null(request.bucket, &request.key);
            all.zones();
            all.number();
        }
        Command::TagVersion(request) => {
            all.bucket(request.bucket);
            all.current(request.bucket, &request.key);
            if let Some(id) = request.version_id {
                all.version(request.bucket, &request.key, id);
            }
        }
        Command::DeleteVersion(request) => deletions(&mut all, request.bucket, std::slice::from_ref(&request.target)),
        Command::DeleteVersions(request) => deletions(&mut all, request.bucket, &request.targets),
        Command::CreateUpload(request) => {
            all.bucket(request.bucket);
            all.number();
        }
        Command::PutPart(request) => {
            let owner = all.upload(&request.upload);
            all.bucket(request.upload.bucket);
            all.session(request.session);
            all.content(&request.content);
            all.point(tables::PARTS, tables::part_key(owner, request.part_number));
            all.number();
        }
        Command::CopyPart(request) => {
            let owner = all.upload(&request.upload);
            all.bucket(request.upload.bucket);
            all.session(request.session);
            all.source(&request.source);
            all.zones();
            all.point(tables::PARTS, tables::part_key(owner, request.part_number));
            all.number();
        }
        Command::CompleteUpload(request) => {
            let name = &request.upload;
            let owner = all.upload(name);
            all.bucket(name.bucket);
            all.current(name.bucket, &name.key);
            all.null(name.bucket, &name.key);
            all.number();
            // One more tells that these are all.
            let parts = i64::try_from(request.parts.len()).unwrap_or(i64::MAX - 1) + 1;
            all.beginning(tables::PARTS, &tables::owner_key(owner), parts.max(RANGE_ROWS_FIRST));
        }
        Command::AbortUpload(name) => {
            all.upload(name);
            all.bucket(name.bucket);
        }
        Command::AddLocators(batch) => {
            all.session(batch.session);
            all.zones();
            all.blobs(batch.additions.iter().map(|addition| addition.blob));
        }
        Command::MoveLocators(batch) => {
            all.forgotten();
            all.session(batch.session);
            all.zones();
            all.blobs(batch.moves.iter().map(|moved| moved.chunk.blob));
        }
        Command::ClearLocators(batch) => {
            all.zones();
            all.blobs(batch.clearances.iter().map(|clearance| clearance.blob));
        }
        Command::ConfirmDeletions(request) => {
            all.zones();
            all.blobs(request.confirmed.iter().map(|(blob, _)| *blob));
        }
        Command::CloseSilentSessions(_) => all.sessions(),
        Command::OpenSession(_) => all.point(tables::META, Bytes::from_static(tables::META_SESSION)),
        Command::HeartbeatSession(session) | Command::CloseSession(session) => all.session(*session),
        Command::TakeLease(request) => {
            all.session(request.session);
            all.point(tables::LEASES, Bytes::copy_from_slice(request.name.as_bytes()));
            all.number();
        }
        Command::ReleaseLease(request) => all.point(tables::LEASES, Bytes::copy_from_slice(request.name.as_bytes())),
        // Rare, or what they read follows from what they read.
        _ => {}
    }
    all
}

fn deletions(all: &mut Foreseen, bucket: BucketId, targets: &[crate::DeleteTarget]) {
    all.bucket(bucket);
    // A marker needs one, and so does what is left to be let go of later.
    if targets.iter().any(|target| target.version_id.is_none()) {
        all.number();
    }
    all.zones();
    for target in targets {
        all.current(bucket, &target.key);
        if let Some(id) = target.version_id {
            all.version(bucket, &target.key, id);
            // What becomes current after it.
            all.beginning(tables::NONCURRENT, &tables::rows_of_key(bucket, target.key.as_bytes()), 4);
        } else {
            all.null(bucket, &target.key);
        }
    }
}

/// What will be read to answer this.
pub(super) fn of_query(query: &Query, limits: &Limits) -> Foreseen {
    let mut all = Foreseen::default();
    match query {
        Query::GetVersion(request) => {
            all.point(tables::BUCKETS, tables::bucket_key(request.bucket));
            all.current(request.bucket, &request.key);
            if let Some(id) = request.version_id {
                all.version(request.bucket, &request.key, id);
            } else {
                all.beginning(tables::NONCURRENT, &tables::rows_of_key(request.bucket, request.key.as_bytes()), RANGE_ROWS_FIRST);
            }
        }
        Query::VersionExists(version) => all.source(version),
        Query::Upload(name) => {
            all.upload(name);
        }
        Query::UploadForCompletion(name) => {
            let owner = all.upload(name);
            all.point(tables::BUCKETS, tables::bucket_key(name.bucket));
            all.beginning(tables::PARTS, &tables::owner_key(owner), i64::from(limits.part_number_max) + 1);
        }
        Query::ListParts(request) => {
            let owner = all.upload(&request.upload);
            let mut from = tables::part_key(owner, request.after).to_vec();
            from.push(0);
            let span = Span { table: tables::PARTS, from: from.clone(), to: tables::behind_all(&tables::owner_key(owner)) };
            let limit = i64::from(request.limit.min(limits.page_length_max)) + 2;
            all.ranges.push(MissingRange { span, from, limit });
        }
        Query::ManifestParts(request) => {
            all.point(tables::MANIFESTS, tables::owner_key(request.manifest));
        }
        Query::Blobs(ids) => all.blobs(ids.iter().copied()),
        Query::Named(places) => {
            all.forgotten();
            all.blobs(places.iter().map(|place| place.chunk.blob));
        }
        Query::Sessions(()) => all.sessions(),
        Query::Zones(()) => {
            all.generation();
            all.zones();
        }
        Query::SettingsEpoch(()) => all.point(tables::META, Bytes::from_static(tables::META_EPOCH)),
        Query::Tenant(tenant) => all.point(tables::TENANTS, tables::tenant_key(*tenant)),
        Query::Account(account) => all.point(tables::ACCOUNTS, tables::account_key(*account)),
        Query::BucketTags(bucket) | Query::Bucket(bucket) => all.point(tables::BUCKETS, tables::bucket_key(*bucket)),
        Query::Usage(bucket) => {
            all.point(tables::BUCKETS, tables::bucket_key(*bucket));
            all.point(tables::USAGE, tables::bucket_key(*bucket));
        }
        Query::Time(()) => all.point(tables::META, Bytes::from_static(tables::META_TIME)),
        // What they read follows from what they read.
        _ => {}
    }
    all
}
