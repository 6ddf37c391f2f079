//! Which locks a command takes before it reads anything: what keeps it linearizable (design, invariant 3).
//!
//! Everything that a command judges is under one of its locks, or under the lock of a row that is counted in (blobs, manifests). Locks are
//! PostgreSQL's advisory ones, so what is not there can be locked as well as what is, and taking them writes nothing. They are taken in the
//! order of their numbers, which leaves no circle among them; row locks may still make one, which the server breaks and we try again.

use std::collections::BTreeMap;

use cairn_types::{BlobId, BucketId, SessionId, UploadId};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::settings::PostgresSettings;
use crate::embedded::state::Command;
use crate::{NewContent, SourceVersion, UploadName};

/// What a lock is of.
#[derive(Debug, Clone, Copy)]
enum Of {
    /// Tenants, accounts, access keys, names and settings of buckets.
    Directory = 1,
    /// That a bucket is there, and its versioning. Shared by everything that changes in it.
    Bucket = 2,
    /// The versions of a key.
    Key = 3,
    /// That an upload is open, and which parts it has. Shared by those who write parts.
    Upload = 4,
    /// One part of an upload.
    Part = 5,
    /// A writer session. Shared by its commits (P1).
    Session = 6,
    /// The number of the newest session.
    NewSession = 7,
    /// The zones' incarnations. Shared by everything that commits places (B3).
    Zones = 8,
    /// What is taken apart in the background. Shared by those who do: they take their rows from a queue that passes over what another one has in hand.
    Reaping = 9,
    /// A blob that is not known yet.
    NewBlob = 10,
    /// The lease of some background work.
    Lease = 11,
}

/// Locks, in the order in which to take them.
#[derive(Debug, Default)]
pub(super) struct Locks {
    seed: u64,
    is_shared: BTreeMap<i64, bool>,
}

/// What tells one schema's locks from another's in the same database.
pub(super) fn seed(settings: &PostgresSettings) -> u64 {
    xxh3_64(settings.schema.as_bytes())
}

/// The lock under which the number of the newest session changes.
pub(super) fn new_session(settings: &PostgresSettings) -> i64 {
    number(Of::NewSession, &[], seed(settings))
}

fn number(of: Of, name: &[u8], seed: u64) -> i64 {
    xxh3_64_with_seed(name, seed.wrapping_add(of as u64)).cast_signed()
}

impl Locks {
    /// The locks of a command; `seed` tells one schema's locks from another's in the same database.
    pub(super) fn of(command: &Command, seed: u64) -> Self {
        let mut locks = Self { seed, is_shared: BTreeMap::new() };
        locks.add(command);
        locks
    }

    /// Numbers, and which of them are shared.
    pub(super) fn arguments(&self) -> (Vec<i64>, Vec<bool>) {
        self.is_shared.iter().map(|(id, shared)| (*id, *shared)).unzip()
    }

    /// Whether these keep everybody out who writes blobs.
    pub(super) fn are_for_one(&self) -> bool {
        self.is_shared.get(&number(Of::Zones, &[], self.seed)) == Some(&false)
    }

    fn lock(&mut self, of: Of, name: &[u8], shared: bool) {
        // A number that two names have makes their commits wait for each other, and nothing else.
        let id = number(of, name, self.seed);
        let here = self.is_shared.entry(id).or_insert(shared);
        *here = *here && shared;
    }

    fn exclusive(&mut self, of: Of, name: &[u8]) {
        self.lock(of, name, false);
    }

    fn shared(&mut self, of: Of, name: &[u8]) {
        self.lock(of, name, true);
    }

    /// Also closing these sessions.
    pub(super) fn close(&mut self, session: SessionId) {
        self.exclusive(Of::Session, &session.0.to_be_bytes());
    }

    /// Whether this session may be closed under these locks.
    pub(super) fn closes(&self, session: SessionId) -> bool {
        let mut other = Self { seed: self.seed, is_shared: BTreeMap::new() };
        other.close(session);
        other.is_shared.keys().all(|id| self.is_shared.get(id) == Some(&false))
    }

    fn bucket(&mut self, bucket: BucketId) {
        self.shared(Of::Bucket, &bucket.0.to_be_bytes());
    }

    fn key(&mut self, bucket: BucketId, key: &[u8], shared: bool) {
        self.lock(Of::Key, &[&bucket.0.to_be_bytes(), key].concat(), shared);
    }

    fn source(&mut self, source: &SourceVersion) {
        // Its bytes stay for as long as this commit takes to name them, too (B5).
        self.key(source.bucket, source.key.as_bytes(), true);
    }

    fn session(&mut self, session: SessionId) {
        self.shared(Of::Session, &session.0.to_be_bytes());
    }

    fn upload(&mut self, UploadId(id): UploadId, shared: bool) {
        self.lock(Of::Upload, &id, shared);
    }

    fn part(&mut self, upload: &UploadName, number: u32) {
        self.bucket(upload.bucket);
        self.upload(upload.upload_id, true);
        self.exclusive(Of::Part, &[upload.upload_id.0.as_slice(), &number.to_be_bytes()].concat());
    }

    fn content(&mut self, content: &NewContent) {
        if let NewContent::Blobs(blobs) = content {
            self.shared(Of::Zones, &[]);
            for blob in blobs {
                self.new_blob(blob.id);
            }
        }
    }

    fn new_blob(&mut self, id: BlobId) {
        self.exclusive(Of::NewBlob, &id.encode());
    }

    fn add(&mut self, command: &Command) {
        match command {
            Command::PutVersion(request) => {
                self.bucket(request.bucket);
                self.session(request.session);
                self.key(request.bucket, request.key.as_bytes(), false);
                self.content(&request.content);
                // What it lets go of may be a blob.
                self.shared(Of::Zones, &[]);
            }
            Command::CopyVersion(request) => {
                self.bucket(request.bucket);
                self.session(request.session);
                self.source(&request.source);
                self.key(request.bucket, request.key.as_bytes(), false);
                self.shared(Of::Zones, &[]);
            }
            Command::TagVersion(request) => {
                self.bucket(request.bucket);
                self.key(request.bucket, request.key.as_bytes(), false);
            }
            Command::DeleteVersion(request) => {
                self.bucket(request.bucket);
                self.key(request.bucket, request.target.key.as_bytes(), false);
                self.shared(Of::Zones, &[]);
            }
            Command::DeleteVersions(request) => {
                self.bucket(request.bucket);
                self.shared(Of::Zones, &[]);
                for target in &request.targets {
                    self.key(request.bucket, target.key.as_bytes(), false);
                }
            }
            Command::CreateUpload(request) => self.bucket(request.bucket),
            Command::PutPart(request) => {
                self.part(&request.upload, request.part_number);
                self.session(request.session);
                self.content(&request.content);
                self.shared(Of::Zones, &[]);
            }
            Command::CopyPart(request) => {
                self.part(&request.upload, request.part_number);
                self.session(request.session);
                self.source(&request.source);
                self.shared(Of::Zones, &[]);
            }
            Command::CompleteUpload(request) => {
                self.bucket(request.upload.bucket);
                self.upload(request.upload.upload_id, false);
                self.key(request.upload.bucket, request.upload.key.as_bytes(), false);
                self.shared(Of::Zones, &[]);
            }
            Command::AbortUpload(name) => {
                self.bucket(name.bucket);
                self.upload(name.upload_id, false);
            }
            Command::AddLocators(batch) => {
                self.session(batch.session);
                self.shared(Of::Zones, &[]);
            }
            Command::MoveLocators(batch) => {
                self.session(batch.session);
                self.shared(Of::Zones, &[]);
            }
            Command::ClearLocators(_) | Command::ConfirmDeletions(_) => self.shared(Of::Zones, &[]),
            Command::Reap(_) => {
                self.shared(Of::Reaping, &[]);
                self.shared(Of::Zones, &[]);
            }
            Command::OpenSession(_) => self.exclusive(Of::NewSession, &[]),
            // A heartbeat that a closing overtook would write the session's row again: they exclude each other.
            Command::HeartbeatSession(session) => self.session(*session),
            Command::TakeLease(request) => {
                self.session(request.session);
                self.exclusive(Of::Lease, request.name.as_bytes());
            }
            Command::ReleaseLease(request) => self.exclusive(Of::Lease, request.name.as_bytes()),
            Command::CloseSession(session) => self.close(*session),
            // Its answer is which sessions are closed, so none is opened meanwhile. Those that are silent are added by whoever has looked for them.
            Command::CloseSilentSessions(_) => self.shared(Of::NewSession, &[]),
            Command::RetireIncarnation(_) | Command::AdvanceRebuild(_) => self.exclusive(Of::Zones, &[]),
            Command::CreateTenant(_)
            | Command::AdoptTenant(_)
            | Command::DeleteTenant(_)
            | Command::CreateAccount(_)
            | Command::DeleteAccount(_)
            | Command::CreateAccessKey(_)
            | Command::UpdateAccessKey(_)
            | Command::DeleteAccessKey(_)
            | Command::CreateBucket(_)
            | Command::ConfigureBucket(_) => self.exclusive(Of::Directory, &[]),
            Command::SetVersioning(request) => {
                self.exclusive(Of::Directory, &[]);
                self.exclusive(Of::Bucket, &request.bucket.0.to_be_bytes());
            }
            Command::DeleteBucket(request) => {
                self.exclusive(Of::Directory, &[]);
                self.exclusive(Of::Bucket, &request.bucket.0.to_be_bytes());
                // Parts that are taken apart change the usage of their bucket while it is there.
                self.exclusive(Of::Reaping, &[]);
            }
        }
    }
}

#[cfg(test)]
mod tests;
