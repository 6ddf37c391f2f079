//! Tenants, accounts, access keys: what an administrator does, as plain methods of [`Store`] for the admin API.
//!
//! Secrets are sealed before they reach the catalog (K1), and leave here once, when they are made. Lists never have them (invariant 7).

use std::ops::ControlFlow;

use cairn_catalog as catalog;
use cairn_catalog::CatalogError;
use cairn_disk::Random;
use cairn_types::records::{Access, Grant, GrantScope, TenantName, UsageRecord};
use cairn_types::{AccountId, BucketId, BucketName, CatalogTime, TenantId};
use zeroize::Zeroizing;

use crate::api::{Bucket, SecretAccessKey, StoreError, StoreResult};
use crate::convert;
use crate::error::store_error;
use crate::secrets::{KeyRing, MasterKeyId, SecretError};
use crate::store::{Forget, Store};

/// The shortest secret that may be imported, characters. (AWS's have 40; other S3 services allow 8.)
pub const SECRET_LENGTH_MIN: usize = 8;
/// The longest, characters.
pub const SECRET_LENGTH_MAX: usize = 256;

/// Why something was not administered. Except for [`StoreError::OutcomeUnknown`], nothing changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AdministrationError {
    /// There is none of that name.
    #[error("no such {0}")]
    NotFound(&'static str),
    /// There is one of that name already.
    #[error("that {0} exists")]
    Exists(&'static str),
    /// It still holds something.
    #[error("the {0} is in use")]
    InUse(&'static str),
    /// The request makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// A secret could not be sealed or opened.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The store cannot do this, or not now.
    #[error(transparent)]
    Store(StoreError),
}

/// What administration answers.
pub type AdministrationResult<T> = Result<T, AdministrationError>;

impl From<CatalogError> for AdministrationError {
    fn from(error: CatalogError) -> Self {
        match error {
            CatalogError::NotFound(what) => Self::NotFound(what),
            CatalogError::NoSuchBucket => Self::NotFound("bucket"),
            CatalogError::Exists(what) => Self::Exists(what),
            CatalogError::InUse(what) => Self::InUse(what),
            CatalogError::Refused(why) => Self::Invalid(why),
            other => Self::Store(store_error(other)),
        }
    }
}

/// A tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenant {
    /// Its id.
    pub id: TenantId,
    /// Its name.
    pub name: TenantName,
    /// The identity behind the name, such as a namespace's UID.
    pub uid: Option<String>,
    /// When it was made, milliseconds since 1970.
    pub created_ms: u64,
}

/// An account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its canonical id.
    pub id: AccountId,
    /// Its tenant.
    pub tenant: TenantId,
    /// Its name for people.
    pub name: String,
    /// When it was made, milliseconds since 1970.
    pub created_ms: u64,
}

/// An access key as administrators see it: without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessKeyInfo {
    /// The public half.
    pub access_key_id: String,
    /// The scope in which its requests resolve bucket names.
    pub tenant: TenantId,
    /// Who it acts for.
    pub account: AccountId,
    /// That account's name for people.
    pub account_name: String,
    /// What it opens.
    pub grants: Vec<Grant>,
    /// Whether it opens anything at all.
    pub enabled: bool,
    /// From then on it opens nothing (catalog time, T1).
    pub expires: Option<CatalogTime>,
    /// For people.
    pub description: String,
    /// When it was made, milliseconds since 1970.
    pub created_ms: u64,
}

/// What a key is to be.
#[derive(Debug, Clone)]
pub struct NewAccessKey {
    /// Who it acts for.
    pub account: AccountId,
    /// What it opens.
    pub grants: Vec<Grant>,
    /// From then on it opens nothing.
    pub expires: Option<CatalogTime>,
    /// For people.
    pub description: String,
}

/// What of a key changes; `None` stays.
#[derive(Debug, Clone, Default)]
pub struct AccessKeyChange {
    /// What it opens.
    pub grants: Option<Vec<Grant>>,
    /// Whether it opens anything.
    pub enabled: Option<bool>,
    /// From when on it opens nothing, or never.
    pub expires: Option<Option<CatalogTime>>,
}

/// Both halves of a key. The secret one is shown to its owner, once, and nowhere else.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// The public half.
    pub access_key_id: String,
    /// The secret half.
    pub secret: SecretAccessKey,
}

/// A piece of a longer list.
pub use crate::api::Page;

/// What [`Store::reseal_access_keys`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Resealed {
    /// Keys that are now sealed under the current master key.
    pub resealed: u64,
    /// Keys that were already.
    pub current: u64,
}

impl Credentials {
    /// New ones: an id of 20 and a secret of 40 characters, as AWS's are, of letters and digits only, so that no tool needs quotes.
    #[must_use]
    pub fn generate(random: &dyn Random) -> Self {
        const UPPER: &[u8] = b"ABCDEFGHJKLMNPQRSTUVWXYZ23456789";
        const ALL: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
        let secret = Zeroizing::new(text_of(random, ALL, 40));
        Self { access_key_id: format!("CAIRN{}", text_of(random, UPPER, 15)), secret: SecretAccessKey::new(&secret) }
    }

    /// Takes credentials that exist already. Errors: [`AdministrationError::Invalid`].
    pub fn existing(access_key_id: &str, secret: &str) -> AdministrationResult<Self> {
        if !(1..=128).contains(&access_key_id.len()) || !access_key_id.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(AdministrationError::Invalid("an access key's id has 1 to 128 visible characters of ASCII".to_owned()));
        }
        if !(SECRET_LENGTH_MIN..=SECRET_LENGTH_MAX).contains(&secret.chars().count()) {
            let bounds = format!("a secret access key has {SECRET_LENGTH_MIN} to {SECRET_LENGTH_MAX} characters");
            return Err(AdministrationError::Invalid(bounds));
        }
        Ok(Self { access_key_id: access_key_id.to_owned(), secret: SecretAccessKey::new(secret) })
    }
}

/// Random characters of an alphabet of at most 256, each equally likely.
fn text_of(random: &dyn Random, alphabet: &[u8], length: usize) -> String {
    let mut text = String::with_capacity(length);
    let fair = 256 - 256 % alphabet.len();
    let mut bytes = Zeroizing::new([0; 32]);
    while text.len() < length {
        random.fill(bytes.as_mut());
        for byte in bytes.iter().map(|byte| usize::from(*byte)).filter(|byte| *byte < fair) {
            if text.len() < length
                && let Some(character) = alphabet.get(byte % alphabet.len())
            {
                text.push(char::from(*character));
            }
        }
    }
    text
}

fn tenant(found: catalog::FoundTenant) -> Tenant {
    let catalog::FoundTenant { id, record } = found;
    Tenant { id, name: record.name, uid: record.uid, created_ms: record.created.wall.0 }
}

fn account(found: catalog::FoundAccount) -> Account {
    let catalog::FoundAccount { id, record } = found;
    Account { id, tenant: record.tenant, name: record.name, created_ms: record.created.wall.0 }
}

fn access_key(found: catalog::FoundAccessKey) -> AccessKeyInfo {
    let catalog::FoundAccessKey { access_key_id, record, account_name } = found;
    AccessKeyInfo {
        access_key_id,
        tenant: record.tenant,
        account: record.account,
        account_name,
        grants: record.grants,
        enabled: record.enabled,
        expires: record.expires,
        description: record.description,
        created_ms: record.created.wall.0,
    }
}

fn ask_error(error: StoreError) -> AdministrationError {
    AdministrationError::Store(error)
}

impl Store {
    async fn administer<'a, T>(
        &'a self,
        change: impl FnMut(&'a dyn catalog::Catalog) -> catalog::CatalogFuture<'a, T>,
    ) -> AdministrationResult<T> {
        let _forget = Forget(&self.settings);
        Ok(self.core.insist(change).await?)
    }

    // -- tenants ----------------------------------------------------------------------------------------------------------------------

    /// Makes a tenant. The first one of a store is its default. Errors: [`AdministrationError::Exists`].
    pub async fn create_tenant(&self, name: TenantName, uid: Option<String>) -> AdministrationResult<Tenant> {
        let request = catalog::CreateTenant { name, uid };
        self.administer(|catalog| catalog.create_tenant(request.clone())).await.map(tenant)
    }

    /// Gives a tenant's name to another identity, which inherits all it has. Errors: [`AdministrationError::NotFound`].
    pub async fn adopt_tenant(&self, tenant_id: TenantId, uid: Option<String>) -> AdministrationResult<Tenant> {
        let request = catalog::AdoptTenant { tenant: tenant_id, uid };
        self.administer(|catalog| catalog.adopt_tenant(request.clone())).await.map(tenant)
    }

    /// Removes a tenant without accounts and buckets. Errors: [`AdministrationError::NotFound`], [`AdministrationError::InUse`].
    pub async fn delete_tenant(&self, tenant: TenantId) -> AdministrationResult<()> {
        self.administer(|catalog| catalog.delete_tenant(tenant)).await
    }

    /// The tenant of this name.
    pub async fn tenant_by_name(&self, name: &str) -> AdministrationResult<Option<Tenant>> {
        let found = self.core.ask(|catalog| catalog.tenant_by_name(name.to_owned())).await;
        Ok(found.map_err(ask_error)?.map(tenant))
    }

    /// The tenant of this id.
    pub async fn tenant(&self, id: TenantId) -> AdministrationResult<Option<Tenant>> {
        Ok(self.core.ask(|catalog| catalog.tenant(id)).await.map_err(ask_error)?.map(tenant))
    }

    /// Tenants in the order of their ids.
    pub async fn list_tenants(&self, after: Option<TenantId>, limit: u32) -> AdministrationResult<Page<Tenant>> {
        let request = catalog::ListAfter { after, limit };
        let page = self.core.ask(|catalog| catalog.list_tenants(request.clone())).await.map_err(ask_error)?;
        Ok(convert::page(page, tenant))
    }

    // -- accounts ---------------------------------------------------------------------------------------------------------------------

    /// Makes an account with a random id. Errors: [`AdministrationError::NotFound`] (the tenant).
    pub async fn create_account(&self, tenant: TenantId, name: &str) -> AdministrationResult<Account> {
        let mut id = [0; 32];
        self.core.random.fill(&mut id);
        let request = catalog::CreateAccount { id: AccountId(id), tenant, name: name.to_owned() };
        self.administer(|catalog| catalog.create_account(request.clone())).await.map(account)
    }

    /// Removes an account without keys and buckets. Errors: [`AdministrationError::NotFound`], [`AdministrationError::InUse`].
    pub async fn delete_account(&self, account: AccountId) -> AdministrationResult<()> {
        self.administer(|catalog| catalog.delete_account(account)).await
    }

    /// The account of this id.
    pub async fn account(&self, id: AccountId) -> AdministrationResult<Option<Account>> {
        Ok(self.core.ask(|catalog| catalog.account(id)).await.map_err(ask_error)?.map(account))
    }

    /// Accounts in the order of their ids.
    pub async fn list_accounts(&self, after: Option<AccountId>, limit: u32) -> AdministrationResult<Page<Account>> {
        let request = catalog::ListAfter { after, limit };
        let page = self.core.ask(|catalog| catalog.list_accounts(request.clone())).await.map_err(ask_error)?;
        Ok(convert::page(page, account))
    }

    // -- access keys ------------------------------------------------------------------------------------------------------------------

    /// Makes a key with new credentials, and shows them: they cannot be had again. Errors: [`AdministrationError::NotFound`] (the account).
    pub async fn create_access_key(&self, key: NewAccessKey) -> AdministrationResult<Credentials> {
        let credentials = Credentials::generate(&*self.core.random);
        self.import_access_key(key, &credentials).await?;
        Ok(credentials)
    }

    /// Makes a key of credentials that exist already. Errors: [`AdministrationError::NotFound`] (the account), [`AdministrationError::Exists`].
    pub async fn import_access_key(&self, key: NewAccessKey, credentials: &Credentials) -> AdministrationResult<AccessKeyInfo> {
        let _alone = self.changing_secrets.lock().await;
        self.add_access_key(key, credentials).await
    }

    async fn add_access_key(&self, key: NewAccessKey, credentials: &Credentials) -> AdministrationResult<AccessKeyInfo> {
        let NewAccessKey { account, grants, expires, description } = key;
        let sealed_secret = self.seal(credentials)?;
        let access_key_id = credentials.access_key_id.clone();
        let request = catalog::CreateAccessKey { access_key_id, account, sealed_secret, grants, expires, description };
        self.administer(|catalog| catalog.create_access_key(request.clone())).await.map(access_key)
    }

    fn seal(&self, credentials: &Credentials) -> AdministrationResult<bytes::Bytes> {
        let Credentials { access_key_id, secret } = credentials;
        Ok(self.settings.key_ring().seal(secret.expose(), access_key_id, &*self.core.random)?)
    }

    /// Changes what a key opens. Errors: [`AdministrationError::NotFound`].
    pub async fn update_access_key(&self, access_key_id: &str, change: AccessKeyChange) -> AdministrationResult<AccessKeyInfo> {
        let AccessKeyChange { grants, enabled, expires } = change;
        let access_key_id = access_key_id.to_owned();
        let request = catalog::UpdateAccessKey { access_key_id, grants, enabled, expires, sealed_secret: None };
        self.administer(|catalog| catalog.update_access_key(request.clone())).await.map(access_key)
    }

    /// Revokes a key, everywhere within a second (R3). Errors: [`AdministrationError::NotFound`].
    pub async fn revoke_access_key(&self, access_key_id: &str) -> AdministrationResult<()> {
        let name = catalog::AccessKeyName { access_key_id: access_key_id.to_owned() };
        self.administer(|catalog| catalog.delete_access_key(name.clone())).await
    }

    /// The key of this id, without its secret.
    pub async fn access_key_info(&self, access_key_id: &str) -> AdministrationResult<Option<AccessKeyInfo>> {
        let name = catalog::AccessKeyName { access_key_id: access_key_id.to_owned() };
        Ok(self.core.ask(|catalog| catalog.access_key(name.clone())).await.map_err(ask_error)?.map(access_key))
    }

    /// Keys in the order of their ids, of one account or of all, without their secrets.
    pub async fn list_access_keys(
        &self,
        account: Option<AccountId>,
        after: Option<String>,
        limit: u32,
    ) -> AdministrationResult<Page<AccessKeyInfo>> {
        let request = catalog::ListAccessKeys { account, after, limit };
        let page = self.core.ask(|catalog| catalog.list_access_keys(request.clone())).await.map_err(ask_error)?;
        Ok(convert::page(page, access_key))
    }

    // -- the start of a store ---------------------------------------------------------------------------------------------------------

    /// Makes sure that the default tenant exists, with an account of this name, and that these credentials open everything. Repeated it changes
    /// nothing; with another secret it replaces the old one. Errors: [`AdministrationError::Invalid`] where the id is another key's, which does
    /// not open everything.
    pub async fn ensure_root(
        &self,
        tenant: &TenantName,
        account: &str,
        credentials: &Credentials,
    ) -> AdministrationResult<AccountId> {
        let _alone = self.changing_secrets.lock().await;
        if self.tenant(TenantId::DEFAULT).await?.is_none() {
            match self.create_tenant(tenant.clone(), None).await {
                Ok(_) | Err(AdministrationError::Exists(_)) => {}
                Err(error) => return Err(error),
            }
        }
        let root = Grant { scope: GrantScope::Store, access: Access::Administer };
        let name = catalog::AccessKeyName { access_key_id: credentials.access_key_id.clone() };
        let found = self.core.ask(|catalog| catalog.access_key(name.clone())).await.map_err(ask_error)?;
        let Some(found) = found else {
            let owner = self.account_named(TenantId::DEFAULT, account).await?;
            let key = NewAccessKey { account: owner, grants: vec![root], expires: None, description: "root".to_owned() };
            self.add_access_key(key, credentials).await?;
            return Ok(owner);
        };
        if !found.record.grants.contains(&root) {
            return Err(AdministrationError::Invalid("the root key's id is that of a key that is not root".to_owned()));
        }
        let same = match self.settings.key_ring().open(&found.record.sealed_secret, &found.access_key_id) {
            Ok(secret) => secret.as_slice() == credentials.secret.expose(),
            // Sealed under a master key that is lost: whoever gives the root key anew means it.
            Err(SecretError::UnknownKey(_)) => false,
            Err(error) => return Err(error.into()),
        };
        if !same || !found.record.enabled || found.record.expires.is_some() {
            let request = catalog::UpdateAccessKey {
                access_key_id: found.access_key_id,
                grants: None,
                enabled: Some(true),
                expires: Some(None),
                sealed_secret: Some(self.seal(credentials)?),
            };
            self.administer(|catalog| catalog.update_access_key(request.clone())).await?;
        }
        Ok(found.record.account)
    }

    /// The account of this name in a tenant, made where there is none.
    async fn account_named(&self, tenant: TenantId, name: &str) -> AdministrationResult<AccountId> {
        const PAGE: u32 = 1000;
        let mut after = None;
        loop {
            let page = self.list_accounts(after, PAGE).await?;
            if let Some(found) = page.entries.iter().find(|found| found.tenant == tenant && found.name == name) {
                return Ok(found.id);
            }
            after = page.entries.last().map(|last| last.id);
            if !page.is_truncated {
                return Ok(self.create_account(tenant, name).await?.id);
            }
        }
    }

    // -- the master key ---------------------------------------------------------------------------------------------------------------

    /// The master key that secrets are sealed under.
    #[must_use]
    pub fn master_key_id(&self) -> MasterKeyId {
        self.settings.key_ring().current().id()
    }

    /// Goes over to another master key: new secrets are sealed under its current one, those of its former ones still open. Call
    /// [`Store::reseal_access_keys`] next, and drop the former ones once that has ended well.
    pub fn set_keys(&self, keys: KeyRing) {
        self.settings.set_key_ring(keys);
    }

    /// Seals every secret under the current master key. Can be repeated at any time. Errors: [`AdministrationError::Secret`] where one does not
    /// open; those before it are sealed anew.
    pub async fn reseal_access_keys(&self) -> AdministrationResult<Resealed> {
        const PAGE: u32 = 256;
        let mut done = Resealed::default();
        let mut after = None;
        loop {
            let request = catalog::ListAccessKeys { account: None, after: after.take(), limit: PAGE };
            let page = self.core.ask(|catalog| catalog.list_access_keys(request.clone())).await.map_err(ask_error)?;
            after = page.entries.last().map(|last| last.access_key_id.clone());
            for key in page.entries {
                match self.reseal(&key.access_key_id).await? {
                    ControlFlow::Continue(()) => done.resealed += 1,
                    ControlFlow::Break(()) => done.current += 1,
                }
            }
            if !page.is_truncated {
                return Ok(done);
            }
        }
    }

    async fn reseal(&self, access_key_id: &str) -> AdministrationResult<ControlFlow<()>> {
        let _alone = self.changing_secrets.lock().await;
        let keys = self.settings.key_ring();
        let name = catalog::AccessKeyName { access_key_id: access_key_id.to_owned() };
        // Read again: its secret may have changed since the list was made.
        let found = self.core.ask(|catalog| catalog.access_key(name.clone())).await.map_err(ask_error)?;
        let Some(found) = found.filter(|found| keys.is_outdated(&found.record.sealed_secret)) else {
            return Ok(ControlFlow::Break(()));
        };
        let secret = keys.open(&found.record.sealed_secret, access_key_id)?;
        let sealed_secret = Some(keys.seal(&secret, access_key_id, &*self.core.random)?);
        let access_key_id = access_key_id.to_owned();
        let request = catalog::UpdateAccessKey { access_key_id, grants: None, enabled: None, expires: None, sealed_secret };
        match self.administer(|catalog| catalog.update_access_key(request.clone())).await {
            // Revoked meanwhile.
            Ok(_) | Err(AdministrationError::NotFound(_)) => Ok(ControlFlow::Continue(())),
            Err(error) => Err(error),
        }
    }

    // -- buckets ----------------------------------------------------------------------------------------------------------------------

    /// The bucket of this name, as the catalog has it now.
    pub async fn find_bucket(&self, tenant: TenantId, name: &BucketName) -> AdministrationResult<Option<Bucket>> {
        let found = self.core.ask(|catalog| catalog.bucket_by_name(tenant, name.clone())).await.map_err(ask_error)?;
        Ok(found.map(|found| Bucket::clone(&convert::bucket(found))))
    }

    /// What a bucket holds. Errors: [`StoreError::NoSuchBucket`].
    pub async fn usage(&self, bucket: BucketId) -> StoreResult<UsageRecord> {
        self.core.ask(|catalog| catalog.usage(bucket)).await
    }
}
