//! Tenants, accounts, access keys, buckets, and what buckets use.

use bytes::Bytes;

use crate::codec::{Field, Problem, fields, numbered, record, take_byte};
use crate::ids::BucketId;
use crate::object::{AccountId, BucketName, TenantId};
use crate::records::version::RetentionMode;
use crate::time::{CatalogTime, Now};

/// A tenant's name: 1 to 253 characters of `a-z`, `0-9`, `-` and `.`, starting and ending with a letter or digit: it can stand in a host name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TenantName(Box<str>);

/// A text that is not a [`TenantName`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a tenant's name has 1 to 253 characters of a-z, 0-9, '-' and '.', and starts and ends with a letter or digit; got {0:?}"
)]
pub struct InvalidTenantName(pub String);

impl TenantName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for TenantName {
    type Err = InvalidTenantName;

    fn from_str(text: &str) -> Result<Self, InvalidTenantName> {
        let alphanumeric = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        let bytes = text.as_bytes();
        let valid = bytes.len() <= 253
            && bytes.iter().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.'))
            && alphanumeric(bytes.first())
            && alphanumeric(bytes.last());
        if valid { Ok(Self(text.into())) } else { Err(InvalidTenantName(text.to_owned())) }
    }
}

impl std::fmt::Display for TenantName {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// A tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantRecord {
    /// Its name.
    pub name: TenantName,
    /// The identity behind the name, such as a namespace's UID; a tenant of another one inherits nothing.
    pub uid: Option<String>,
    /// When it was made.
    pub created: Now,
}

/// An account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountRecord {
    /// Its tenant.
    pub tenant: TenantId,
    /// Its name for people.
    pub name: String,
    /// When it was made.
    pub created: Now,
}

/// Where a grant holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrantScope {
    /// Everywhere: every tenant, and administration of the store.
    Store,
    /// Every bucket of the key's tenant, those to come included.
    Tenant,
    /// This bucket; not one that gets its name later.
    Bucket(BucketId),
}

/// What a grant allows; each includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    /// Read objects, versions and listings.
    Read,
    /// Also write and delete objects, and everything about uploads.
    Write,
    /// Also make, configure and remove buckets.
    Administer,
}

numbered!(Access, "an access right" { 1 => Read, 2 => Write, 3 => Administer });

/// A right that a key has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Where.
    pub scope: GrantScope,
    /// What.
    pub access: Access,
}

impl Field for GrantScope {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Store => out.push(0),
            Self::Tenant => out.push(1),
            Self::Bucket(bucket) => {
                out.push(2);
                bucket.write(out);
            }
        }
    }

    fn read(from: &mut Bytes) -> Result<Self, Problem> {
        match take_byte(from)? {
            0 => Ok(Self::Store),
            1 => Ok(Self::Tenant),
            2 => BucketId::read(from).map(Self::Bucket),
            _ => Err(Problem::Value("a grant's scope")),
        }
    }
}

/// An access key. Its row's key is its public half.
#[derive(Clone, PartialEq, Eq)]
pub struct AccessKeyRecord {
    /// The scope in which its requests resolve bucket names.
    pub tenant: TenantId,
    /// Who it acts for.
    pub account: AccountId,
    /// The secret half, encrypted under the master key (K1): opaque here.
    pub sealed_secret: Bytes,
    /// What it opens; nothing else.
    pub grants: Vec<Grant>,
    /// Whether it opens anything at all.
    pub enabled: bool,
    /// From then on it opens nothing.
    pub expires: Option<CatalogTime>,
    /// For people.
    pub description: String,
    /// When it was made.
    pub created: Now,
}

impl std::fmt::Debug for AccessKeyRecord {
    // Not even the encrypted secret goes into a log (invariant 7).
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("AccessKeyRecord")
            .field("tenant", &self.tenant)
            .field("account", &self.account)
            .field("grants", &self.grants)
            .field("enabled", &self.enabled)
            .field("expires", &self.expires)
            .field("description", &self.description)
            .field("created", &self.created)
            .finish_non_exhaustive()
    }
}

/// Whether a bucket keeps versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Versioning {
    /// It never did.
    #[default]
    Unversioned,
    /// Every write makes a version.
    Enabled,
    /// It did; writes now replace the `null` version.
    Suspended,
}

numbered!(Versioning, "the versioning" { 0 => Unversioned, 1 => Enabled, 2 => Suspended });

/// A bucket's default retention. Reserved: nothing sets it yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LockConfiguration {
    /// How strictly, and for how many days; `None` where versions are only locked by their own headers.
    pub default_retention: Option<(RetentionMode, u32)>,
}

/// What of public access a bucket was told to block. Nothing is ever public here: it is kept as it was set, and told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "AWS's four settings, of which each is set by itself")]
pub struct PublicAccessBlock {
    /// No access list that grants something to everybody may be set.
    pub block_public_acls: bool,
    /// What such lists grant is not granted.
    pub ignore_public_acls: bool,
    /// No policy that grants something to everybody may be set.
    pub block_public_policy: bool,
    /// What such policies grant is granted within the account only.
    pub restrict_public_buckets: bool,
}

impl PublicAccessBlock {
    /// What a new bucket has (AWS, "Default settings for new S3 buckets").
    pub const ALL: Self =
        Self { block_public_acls: true, ignore_public_acls: true, block_public_policy: true, restrict_public_buckets: true };
}

/// A bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketRecord {
    /// Its name.
    pub name: BucketName,
    /// The scope of its name.
    pub tenant: TenantId,
    /// Who owns it and every version in it.
    pub owner: AccountId,
    /// When it was made.
    pub created: Now,
    /// Whether it keeps versions.
    pub versioning: Versioning,
    /// Object Lock; `None` where it is off.
    pub lock: Option<LockConfiguration>,
    /// `None` where it was deleted.
    pub public_access_block: Option<PublicAccessBlock>,
    /// Whether it has ownership controls, which can only say what holds anyway: that everything in it belongs to its owner.
    pub has_ownership_controls: bool,
    /// Rises with every change of the bucket's settings (R3).
    pub revision: u64,
}

/// What a bucket holds. In the same batch as the change that it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct UsageRecord {
    /// Current versions that are not delete markers: what ListObjects shows.
    pub objects: u64,
    /// Their bytes.
    pub object_bytes: u64,
    /// All other versions that are not delete markers.
    pub noncurrent_versions: u64,
    /// Their bytes.
    pub noncurrent_bytes: u64,
    /// Delete markers, current or not.
    pub delete_markers: u64,
    /// Open uploads.
    pub uploads: u64,
    /// Parts of open uploads, and of aborted ones until they are taken apart.
    pub parts: u64,
    /// Their bytes.
    pub part_bytes: u64,
}

impl UsageRecord {
    /// All bytes that the bucket's owner answers for: what a quota counts.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        self.object_bytes.saturating_add(self.noncurrent_bytes).saturating_add(self.part_bytes)
    }
}

impl Field for TenantId {
    fn write(&self, out: &mut Vec<u8>) {
        self.0.write(out);
    }

    fn read(from: &mut Bytes) -> Result<Self, Problem> {
        u64::read(from).map(Self)
    }
}

impl Field for AccountId {
    fn write(&self, out: &mut Vec<u8>) {
        self.0.write(out);
    }

    fn read(from: &mut Bytes) -> Result<Self, Problem> {
        Field::read(from).map(Self)
    }
}

impl Field for BucketName {
    fn write(&self, out: &mut Vec<u8>) {
        (self.as_str().len() as u64).write(out);
        out.extend_from_slice(self.as_str().as_bytes());
    }

    fn read(from: &mut Bytes) -> Result<Self, Problem> {
        String::read(from)?.parse().map_err(|_| Problem::Value("a bucket's name"))
    }
}

impl Field for TenantName {
    fn write(&self, out: &mut Vec<u8>) {
        (self.0.len() as u64).write(out);
        out.extend_from_slice(self.0.as_bytes());
    }

    fn read(from: &mut Bytes) -> Result<Self, Problem> {
        String::read(from)?.parse().map_err(|_| Problem::Value("a tenant's name"))
    }
}

fields!(Grant { scope, access });
fields!(TenantRecord { name, uid, created });
fields!(AccountRecord { tenant, name, created });
fields!(AccessKeyRecord { tenant, account, sealed_secret, grants, enabled, expires, description, created });
fields!(LockConfiguration { default_retention });
fields!(PublicAccessBlock { block_public_acls, ignore_public_acls, block_public_policy, restrict_public_buckets });
fields!(BucketRecord { name, tenant, owner, created, versioning, lock, public_access_block, has_ownership_controls, revision });
fields!(UsageRecord { objects, object_bytes, noncurrent_versions, noncurrent_bytes, delete_markers, uploads, parts, part_bytes });
record!(TenantRecord, "tenant");
record!(AccountRecord, "account");
record!(AccessKeyRecord, "access key");
record!(BucketRecord, "bucket");
record!(UsageRecord, "usage");
