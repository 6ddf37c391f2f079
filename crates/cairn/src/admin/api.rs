//! The administration API, version 1: the paths, and what is asked and answered there, as JSON.
//!
//! It is the same for whoever administers: over the Unix socket, or over the network (K2). Within a version, answers may gain fields and
//! requests may gain optional ones; nothing else changes. Requests with a field that this version does not know are refused, so that nobody
//! believes in a restriction that was not understood. A secret stands in one request (import) and in one answer (creation), and nowhere else.
//! What stands here in `///` is what readers of the OpenAPI document see ([`super::openapi`]).
//!
//! | request | answer |
//! |---|---|
//! | `GET /v1/zones` | [`StoreStatus`] |
//! | `GET /v1/tenants` | [`List`] of [`Tenant`] |
//! | `POST /v1/tenants` [`NewTenant`] | [`Tenant`] |
//! | `DELETE /v1/tenants/{name}` | [`Empty`] |
//! | `GET /v1/accounts?tenant=` | [`List`] of [`Account`] |
//! | `POST /v1/accounts` [`NewAccount`] | [`Account`] |
//! | `DELETE /v1/accounts/{id}` | [`Empty`] |
//! | `GET /v1/keys?tenant=&account=&bucket=` | [`List`] of [`Key`] |
//! | `POST /v1/keys` [`NewKey`] | [`CreatedKey`] |
//! | `DELETE /v1/keys/{access key id}` | [`Empty`] |
//! | `GET /v1/buckets?tenant=` | [`List`] of [`Bucket`] |
//! | `GET /v1/buckets/{name}?tenant=` | [`Bucket`] |
//! | `POST /v1/audit` [`NewAudit`] | [`Audit`] |
//! | `GET /v1/audit` | [`Audit`] |
//! | `DELETE /v1/audit` | [`Audit`] |
//! | `GET /v1/openapi.json` | all of this as an OpenAPI document |
//!
//! Lists take `limit` (1 to 1,000, which is also the default) and `after` (an answer's `next`). A page may be empty and yet have a `next`.
//! An error is a status of 4xx or 5xx with a [`Failure`].

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The longest list in one answer, and the default.
pub const LIST_LIMIT_MAX: u32 = 1000;

/// What went wrong, for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum FailureCode {
    /// The request makes no sense. Nothing changed.
    Invalid,
    /// The caller has not shown who it is: no token, no client certificate, or one that is not known here. Nothing changed.
    Unauthenticated,
    /// The caller may not administer.
    Forbidden,
    /// There is no such thing.
    NotFound,
    /// This version of the service has no such path.
    UnknownPath,
    /// The path takes other methods.
    MethodNotAllowed,
    /// The request is too long.
    TooLarge,
    /// Too many attempts with credentials that are not known here. Nothing changed.
    TooManyAttempts,
    /// There is one already. Nothing changed.
    Exists,
    /// It still holds something. Nothing changed.
    InUse,
    /// The store is starting or stopping, or cannot do this now. Nothing changed.
    Unavailable,
    /// The change may or may not have been made.
    OutcomeUnknown,
    /// A bug, or damage.
    Internal,
    /// A code of a later server.
    #[serde(other)]
    #[schemars(skip)]
    Other,
}

/// The body of every answer that is an error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Failure {
    /// For programs.
    pub code: FailureCode,
    /// For people: what happened, and what to do.
    pub message: String,
}

/// An answer that says nothing more than that it was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Empty {}

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "{T}List")]
pub struct List<T> {
    /// In order.
    pub items: Vec<T>,
    /// Where the next page starts, as `after`; none at the end of the list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

// -- zones -----------------------------------------------------------------------------------------------------------------------

/// How the store and its zones are doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StoreStatus {
    /// The store's id, 32 hexadecimal digits.
    pub store: String,
    /// Whether objects can be written now.
    pub ready: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The three zones.
    pub zones: Vec<Zone>,
    /// How the copies are kept whole.
    pub repair: Repair,
}

/// A zone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Zone {
    /// Its name.
    pub name: String,
    /// Its directory.
    pub path: String,
    /// Its present life; a zone that has lost its memory begins a new one (L7).
    pub incarnation: u64,
    /// What its catalog is doing.
    #[serde(flatten)]
    pub phase: ZonePhase,
    /// Its chunks, while they are open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chunks: Option<Chunks>,
    /// Why they are not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chunks_reason: Option<String>,
    /// Directories with what it held before it lost its memory, the oldest first. They are kept until it has all its copies again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kept_aside: Vec<String>,
    /// Whether writes are sent to it as in good times.
    pub takes_writes: bool,
    /// Whether reads are.
    pub takes_reads: bool,
}

/// What a zone's catalog is doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "phase", rename_all = "camelCase")]
pub enum ZonePhase {
    /// Being opened.
    Opening,
    /// Reading what it missed from the other zones' logs.
    CatchingUp {
        /// The last batch that it has.
        at: u64,
        /// The last batch that there is.
        of: u64,
    },
    /// Its catalog is being copied from another zone.
    Rebuilding {
        /// Why.
        reason: String,
        /// Rows copied so far.
        rows: u64,
    },
    /// Takes part in every commit.
    Voting,
    /// Cannot be used now; it is looked at again and again.
    Away {
        /// Why.
        reason: String,
    },
    /// Left alone: not a directory to touch (L9).
    Refused {
        /// Why.
        reason: String,
    },
}

/// The chunks of a zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Chunks {
    /// Live ones.
    pub count: u64,
    /// Their stored bytes.
    pub bytes: u64,
    /// Bytes that can still be written, where the engine can tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub free_bytes: Option<u64>,
}

/// How copies are repaired. Numbers are since the start of the process, if not said otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Repair {
    /// Whether the catalog has said what lacks copies, now: the two numbers that follow mean nothing without.
    pub known: bool,
    /// Whether blobs are still being looked through for those that a zone has lost (B2).
    pub rebuilding: bool,
    /// Blobs that have less than three copies now; counted up to 1,000.
    pub incomplete_blobs: u64,
    /// Copies that were made.
    pub copies_made: u64,
    /// Their stored bytes.
    pub copied_bytes: u64,
    /// Copies that could not be made at the time; they are tried again.
    pub copies_failed: u64,
    /// Chunks of which no good copy was found. Anything but 0 needs a person.
    pub chunks_without_copy: u64,
    /// Copies that were found damaged, each once.
    pub damage_found: u64,
    /// Copies that were reported as damaged and that repair has not seen to.
    pub damage_waiting: u64,
    /// Damaged copies that were taken off their records.
    pub damage_cleared: u64,
}

// -- the audit -------------------------------------------------------------------------------------------------------------------

/// An audit to be started: a look at every object, and at every copy of every chunk in every zone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewAudit {
    /// How many bytes a second it may read, all zones together; 64 MiB where it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub bytes_per_second: Option<u64>,
    /// How long it waits before it looks again at what looked wrong, seconds; 60 where it is not given. With less, what clients change
    /// meanwhile may be told as wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 3600))]
    pub settle_seconds: Option<u64>,
}

/// Where an audit is, or how it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum AuditState {
    /// It looks whether each object's bytes have a place.
    Objects,
    /// It reads each copy of each chunk.
    Copies,
    /// It asks for the name of each copy that the zones list.
    Zones,
    /// It waits, and looks again at what looked wrong.
    SecondLook,
    /// It has looked at everything.
    Done,
    /// It was stopped.
    Stopped,
    /// It could not go on.
    Failed,
}

/// An audit: the one that runs, or the last one since the process started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Audit {
    /// Where it is, or how it ended.
    pub state: AuditState,
    /// Why it could not go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How long it has run, or ran, seconds.
    pub seconds: u64,
    /// Whether it has looked at everything, and every object's bytes are there, whole, in all three zones.
    pub whole: bool,
    /// Objects, with their other versions.
    pub objects: AuditedObjects,
    /// Chunks that something refers to.
    pub chunks: u64,
    /// Of these, chunks of which no zone that answers has a good copy. Anything but 0 needs a person.
    pub chunks_without_copy: u64,
    /// What was found in each zone.
    pub zones: Vec<AuditedZone>,
    /// What is wrong, in words, the first of it.
    pub findings: Vec<String>,
}

/// What an audit found of objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuditedObjects {
    /// Buckets.
    pub buckets: u64,
    /// Versions, current ones and others.
    pub versions: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Versions whose bytes are not all where they should be.
    pub broken: u64,
}

/// What an audit found in a zone.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuditedZone {
    /// Its name.
    pub name: String,
    /// Copies that were read and are whole.
    pub good: u64,
    /// Their stored bytes.
    pub good_bytes: u64,
    /// Chunks that have no copy here.
    pub absent: u64,
    /// Copies that are damaged, or not where they should be.
    pub damaged: u64,
    /// Copies that were damaged, and were replaced while the audit ran.
    pub replaced: u64,
    /// Copies that could not be read because the zone did not answer.
    pub unread: u64,
    /// Copies that the zone lists, those included that wait for their deletion; none where it did not list all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listed: Option<u64>,
    /// Their stored bytes.
    pub listed_bytes: u64,
    /// Of these, copies that nothing refers to yet: of writes under way, or of writes that came to nothing, whose writer's session has not ended.
    pub waiting: u64,
    /// Their stored bytes.
    pub waiting_bytes: u64,
    /// Of these, copies that nothing refers to and nothing ever will: garbage that the next sweep of everything removes.
    pub left_over: u64,
    /// Their stored bytes.
    pub left_over_bytes: u64,
}

// -- tenants, accounts, buckets --------------------------------------------------------------------------------------------------

/// A tenant to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewTenant {
    /// Its name.
    pub name: String,
    /// The identity behind the name, such as a namespace's UID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
}

/// A tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Tenant {
    /// Its name.
    pub name: String,
    /// The identity behind the name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// When it was made, ISO 8601.
    pub created: String,
}

/// An account to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewAccount {
    /// Its name, of which its tenant has no other.
    pub name: String,
    /// Its tenant; the default one where none is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
}

/// An account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Account {
    /// Its canonical id, 64 hexadecimal digits.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its tenant.
    pub tenant: String,
    /// When it was made, ISO 8601.
    pub created: String,
}

/// A bucket with what it holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Bucket {
    /// Its name.
    pub name: String,
    /// Its tenant.
    pub tenant: String,
    /// The name of the account that owns it.
    pub owner: String,
    /// That account's id.
    pub owner_id: String,
    /// Whether it keeps versions.
    pub versioning: Versioning,
    /// When it was made, ISO 8601.
    pub created: String,
    /// What it holds.
    pub usage: Usage,
}

/// Whether a bucket keeps versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Versioning {
    /// It never did.
    Unversioned,
    /// Every write makes a version.
    Enabled,
    /// It did.
    Suspended,
}

/// What a bucket holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// Current objects.
    pub objects: u64,
    /// Their bytes.
    pub object_bytes: u64,
    /// Other versions.
    pub noncurrent_versions: u64,
    /// Their bytes.
    pub noncurrent_bytes: u64,
    /// Delete markers.
    pub delete_markers: u64,
    /// Open uploads.
    pub uploads: u64,
    /// Bytes of their parts.
    pub part_bytes: u64,
    /// All bytes that the owner answers for.
    pub total_bytes: u64,
}

// -- access keys -----------------------------------------------------------------------------------------------------------------

/// Where a grant holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Scope {
    /// In one bucket.
    Bucket,
    /// In every bucket of the key's tenant, those to come included.
    Tenant,
    /// Everywhere: a root key.
    Store,
}

/// What a grant allows; each includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Access {
    /// Read and list.
    Read,
    /// Also write and delete objects.
    Write,
    /// Also make, configure and remove buckets.
    Administer,
}

/// A right that a key has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Grant {
    /// Where.
    pub scope: Scope,
    /// The bucket's name, where the scope is a bucket; in an answer it is missing where the bucket no longer exists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bucket: Option<String>,
    /// What.
    pub access: Access,
}

/// The secret half of a key. It does not show itself in logs.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(…)")
    }
}

/// Both halves of a key that exists already elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Credentials {
    /// The public half.
    pub access_key_id: String,
    /// The secret half.
    pub secret_access_key: Secret,
}

/// A key to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewKey {
    /// What it opens, at least one thing.
    pub grants: Vec<Grant>,
    /// The tenant in which it resolves bucket names; the default one where none is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// Who it acts for, by id or name. Where none is given: the owner of the first bucket that it opens, else the tenant's account `root`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Both halves, to import a key; new ones are made where none are given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<Credentials>,
}

/// A key, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Key {
    /// The public half.
    pub access_key_id: String,
    /// The tenant in which it resolves bucket names.
    pub tenant: String,
    /// The name of the account that it acts for.
    pub account: String,
    /// That account's id.
    pub account_id: String,
    /// What it opens, and nothing else.
    pub grants: Vec<Grant>,
    /// Whether it opens anything at all.
    pub enabled: bool,
    /// For people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// When it was made, ISO 8601.
    pub created: String,
}

/// A key that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CreatedKey {
    /// The key.
    #[serde(flatten)]
    pub key: Key,
    /// The secret half, which cannot be had again; missing where the key was imported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_access_key: Option<Secret>,
}
