//! Tenants, accounts, access keys, buckets.

use bytes::Bytes;
use cairn_types::records::{
    AccessKeyRecord, AccountRecord, BucketRecord, CorsRecord, Grant, PublicAccessBlock, Tags, TenantName, TenantRecord,
    Versioning,
};
use cairn_types::{AccountId, BucketId, BucketName, CatalogTime, TenantId};

/// See [`crate::Catalog::create_tenant`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateTenant {
    /// Its name.
    pub name: TenantName,
    /// The identity behind the name.
    pub uid: Option<String>,
}

/// See [`crate::Catalog::adopt_tenant`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdoptTenant {
    /// Which.
    pub tenant: TenantId,
    /// The new identity behind its name.
    pub uid: Option<String>,
}

/// A tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundTenant {
    /// Its id.
    pub id: TenantId,
    /// The rest.
    pub record: TenantRecord,
}

/// See [`crate::Catalog::create_account`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateAccount {
    /// Its id: random, or another store's.
    pub id: AccountId,
    /// Its tenant.
    pub tenant: TenantId,
    /// Its name for people.
    pub name: String,
}

/// An account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundAccount {
    /// Its id.
    pub id: AccountId,
    /// The rest.
    pub record: AccountRecord,
}

/// See [`crate::Catalog::create_access_key`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateAccessKey {
    /// The public half, 1 to 128 characters that are visible in ASCII.
    pub access_key_id: String,
    /// Who it acts for; its tenant is the key's.
    pub account: AccountId,
    /// The secret half, encrypted (K1).
    pub sealed_secret: Bytes,
    /// What it opens.
    pub grants: Vec<Grant>,
    /// From then on it opens nothing.
    pub expires: Option<CatalogTime>,
    /// For people.
    pub description: String,
}

/// See [`crate::Catalog::update_access_key`]. What is `None` stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpdateAccessKey {
    /// Which.
    pub access_key_id: String,
    /// What it opens.
    pub grants: Option<Vec<Grant>>,
    /// Whether it opens anything.
    pub enabled: Option<bool>,
    /// From when on it opens nothing, or never.
    pub expires: Option<Option<CatalogTime>>,
    /// The secret half, encrypted anew (rotation of the master key, K1).
    pub sealed_secret: Option<Bytes>,
}

/// An access key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundAccessKey {
    /// The public half.
    pub access_key_id: String,
    /// The rest.
    pub record: AccessKeyRecord,
    /// Its account's name for people.
    pub account_name: String,
}

/// Names an access key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessKeyName {
    /// The public half.
    pub access_key_id: String,
}

/// See [`crate::Catalog::list_access_keys`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListAccessKeys {
    /// Only of this account.
    pub account: Option<AccountId>,
    /// Only ids behind this one.
    pub after: Option<String>,
    /// At most so many.
    pub limit: u32,
}

/// See [`crate::Catalog::list_tenants`] and [`crate::Catalog::list_accounts`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListAfter<Id> {
    /// Only ids behind this one.
    pub after: Option<Id>,
    /// At most so many.
    pub limit: u32,
}

/// See [`crate::Catalog::create_bucket`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateBucket {
    /// The scope of its name.
    pub tenant: TenantId,
    /// Its name.
    pub name: BucketName,
    /// Who will own it.
    pub owner: AccountId,
    /// Whether it keeps versions from the start.
    pub versioning: Versioning,
    /// Its tags from the start.
    pub tags: Tags,
}

/// See [`crate::Catalog::delete_bucket`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeleteBucket {
    /// Which.
    pub bucket: BucketId,
    /// Whether open uploads keep it, or are aborted with it (as AWS does).
    pub abort_uploads: bool,
}

/// See [`crate::Catalog::set_versioning`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SetVersioning {
    /// Where.
    pub bucket: BucketId,
    /// [`Versioning::Unversioned`] is refused once versioning was enabled.
    pub versioning: Versioning,
}

/// See [`crate::Catalog::configure_bucket`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigureBucket {
    /// Where.
    pub bucket: BucketId,
    /// What to set.
    pub setting: BucketSetting,
}

/// A setting of a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BucketSetting {
    /// Its tags; empty for none. In a row of their own.
    Tags(Tags),
    /// Its rules of CORS; empty for none. In a row of their own.
    Cors(CorsRecord),
    /// What of public access it is told to block; `None` where that is deleted.
    PublicAccessBlock(Option<PublicAccessBlock>),
    /// Whether it has ownership controls.
    OwnershipControls(bool),
}

/// A bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundBucket {
    /// Its id; never used again.
    pub id: BucketId,
    /// The rest.
    pub record: BucketRecord,
    /// Its rules of CORS, where it has any.
    pub cors: Option<CorsRecord>,
    /// Its owner's name for people.
    pub owner_name: String,
}

/// See [`crate::Catalog::list_buckets`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListBuckets {
    /// Whose.
    pub tenant: TenantId,
    /// Only names that start so; empty for all.
    pub prefix: String,
    /// Only names behind this one.
    pub after: Option<String>,
    /// At most so many.
    pub limit: u32,
}

/// See [`crate::Catalog::confirm_settings`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConfirmedSettings {
    /// The epoch of settings.
    pub epoch: u64,
    /// When it was still that, at least: the catalog was asked then. One second later it is not to be relied upon any more (R3).
    pub confirmed: tokio::time::Instant,
    /// Catalog time then, or a little later.
    pub time: CatalogTime,
}
