//! Access keys: made, imported, shown without their secrets, revoked.

use std::collections::{BTreeMap, BTreeSet};

use cairn_store::Store;
use cairn_store::administration::{AccessKeyInfo, AdministrationError, Credentials, NewAccessKey, Tenant};
use cairn_store::api::StoreError;
use cairn_types::records;
use cairn_types::{BucketId, TenantId};

use super::Open;
use super::api::{self, Access, CreatedKey, Empty, FailureCode, Grant, Key, List, NewKey, Scope, Secret};
use super::buckets::find_bucket;
use super::directory::{TenantNames, check_line, default_account, find_account, find_tenant, moment};
use super::error::{ApiError, ApiResult};

/// The most things that one key opens.
const GRANTS_MAX: usize = 100;
/// The longest description, characters.
const DESCRIPTION_LENGTH_MAX: usize = 256;

/// What a list of keys is to show.
#[derive(Debug, Default)]
pub struct KeyFilter<'a> {
    /// Keys of this tenant.
    pub tenant: Option<&'a str>,
    /// Keys of this account, by id or name.
    pub account: Option<&'a str>,
    /// Keys that were given this bucket by name.
    pub bucket: Option<&'a str>,
}

/// Names of tenants and buckets by id, asked once each.
#[derive(Default)]
struct Names {
    tenants: TenantNames,
    buckets: BTreeMap<BucketId, Option<String>>,
}

impl Names {
    fn of_tenant(tenant: &Tenant) -> Self {
        Self { tenants: TenantNames::of(tenant), ..Self::default() }
    }

    async fn bucket(&mut self, open: &Open, id: BucketId) -> ApiResult<Option<String>> {
        if let Some(name) = self.buckets.get(&id) {
            return Ok(name.clone());
        }
        let found = open.catalog.bucket(id).await.map_err(AdministrationError::from)?;
        let name = found.map(|found| found.record.name.to_string());
        self.buckets.insert(id, name.clone());
        Ok(name)
    }

    async fn key(&mut self, open: &Open, found: AccessKeyInfo) -> ApiResult<Key> {
        let mut grants = Vec::new();
        for grant in &found.grants {
            let (scope, bucket) = match grant.scope {
                records::GrantScope::Store => (Scope::Store, None),
                records::GrantScope::Tenant => (Scope::Tenant, None),
                records::GrantScope::Bucket(id) => (Scope::Bucket, self.bucket(open, id).await?),
            };
            let access = match grant.access {
                records::Access::Read => Access::Read,
                records::Access::Write => Access::Write,
                records::Access::Administer => Access::Administer,
            };
            grants.push(Grant { scope, bucket, access });
        }
        Ok(Key {
            tenant: self.tenants.name(&open.store, found.tenant).await?,
            access_key_id: found.access_key_id,
            account: found.account_name,
            account_id: found.account.to_string(),
            grants,
            enabled: found.enabled,
            description: found.description,
            created: moment(found.created_ms),
        })
    }
}

/// `GET /v1/keys`, in the order of their ids.
pub async fn list(open: &Open, filter: &KeyFilter<'_>, after: Option<&str>, limit: u32) -> ApiResult<List<Key>> {
    let store = &open.store;
    let tenant = match filter {
        KeyFilter { tenant: None, account: None, bucket: None } => None,
        KeyFilter { tenant, .. } => Some(find_tenant(store, *tenant).await?),
    };
    let account = match (&tenant, filter.account) {
        (Some(tenant), Some(account)) => Some(find_account(store, tenant, account).await?.id),
        _ => None,
    };
    let bucket = match (&tenant, filter.bucket) {
        (Some(tenant), Some(bucket)) => Some(find_bucket(store, tenant, bucket).await?.id),
        _ => None,
    };
    let is_shown = |key: &AccessKeyInfo| {
        let opens = |id| key.grants.iter().any(|grant| grant.scope == records::GrantScope::Bucket(id));
        tenant.as_ref().is_none_or(|tenant| tenant.id == key.tenant) && bucket.is_none_or(opens)
    };
    let page = store.list_access_keys(account, after.map(str::to_owned), limit).await?;
    let next = if page.is_truncated { page.entries.last().map(|last| last.access_key_id.clone()) } else { None };
    let mut names = Names::default();
    let mut items = Vec::new();
    for found in page.entries.into_iter().filter(is_shown) {
        items.push(names.key(open, found).await?);
    }
    Ok(List { items, next })
}

/// `POST /v1/keys`.
pub async fn create(open: &Open, request: NewKey) -> ApiResult<CreatedKey> {
    let store = &open.store;
    let NewKey { grants, tenant, account, description, credentials } = request;
    let description = description.unwrap_or_default();
    check_line("a key's description", &description, DESCRIPTION_LENGTH_MAX)?;
    if grants.is_empty() || grants.len() > GRANTS_MAX {
        return Err(ApiError::invalid(format!("a key opens 1 to {GRANTS_MAX} things, got {}", grants.len())));
    }
    let tenant = find_tenant(store, tenant.as_deref()).await?;
    let mut names = Names::of_tenant(&tenant);
    let mut owner = None;
    let mut rights = Vec::new();
    let mut scopes = BTreeSet::new();
    for grant in &grants {
        let scope = match (grant.scope, &grant.bucket) {
            (Scope::Bucket, Some(name)) => {
                let bucket = find_bucket(store, &tenant, name).await?;
                owner = owner.or(Some(bucket.owner));
                names.buckets.insert(bucket.id, Some(name.clone()));
                records::GrantScope::Bucket(bucket.id)
            }
            (Scope::Bucket, None) => return Err(ApiError::invalid("a grant in a bucket names the bucket")),
            (_, Some(_)) => return Err(ApiError::invalid("a grant names a bucket only where it holds in that bucket alone")),
            (Scope::Tenant, None) => records::GrantScope::Tenant,
            (Scope::Store, None) => store_scope(grant, tenant.id)?,
        };
        if !scopes.insert((grant.scope as u8, &grant.bucket)) {
            return Err(ApiError::invalid("a key is given each thing once"));
        }
        rights.push(records::Grant { scope, access: stored_access(grant.access) });
    }
    // Before an account is made for it: what cannot be changes nothing.
    let credentials = credentials.map(|given| existing(&given)).transpose()?;
    if let Some(credentials) = &credentials {
        refuse_taken(store, credentials).await?;
    }
    let account = match (account, owner) {
        (Some(account), _) => find_account(store, &tenant, &account).await?.id,
        (None, Some(owner)) => owner,
        (None, None) => default_account(store, &tenant).await?.id,
    };
    let is_new = credentials.is_none();
    // Made here, so that the answer needs no further question that might fail: the secret cannot be had again.
    let credentials = credentials.unwrap_or_else(|| Credentials::generate(&*open.random));
    let new = NewAccessKey { account, grants: rights, expires: None, description };
    let made = store.import_access_key(new, &credentials).await.map_err(|error| match error {
        AdministrationError::Store(StoreError::OutcomeUnknown(why)) => ApiError::new(
            FailureCode::OutcomeUnknown,
            format!(
                "The key {} may or may not have been made ({why}). Look, and revoke it if it is there.",
                credentials.access_key_id
            ),
        ),
        other => other.into(),
    })?;
    let key = names.key(open, made).await?;
    let secret_access_key = is_new.then(|| Secret(String::from_utf8_lossy(credentials.secret.expose()).into_owned()));
    Ok(CreatedKey { key, secret_access_key })
}

fn store_scope(grant: &Grant, tenant: TenantId) -> ApiResult<records::GrantScope> {
    if grant.access != Access::Administer || tenant != TenantId::DEFAULT {
        return Err(ApiError::invalid("a root key is of the default tenant and administers; it cannot be less"));
    }
    Ok(records::GrantScope::Store)
}

fn stored_access(access: Access) -> records::Access {
    match access {
        Access::Read => records::Access::Read,
        Access::Write => records::Access::Write,
        Access::Administer => records::Access::Administer,
    }
}

fn existing(given: &api::Credentials) -> ApiResult<Credentials> {
    let secret = &given.secret_access_key.0;
    if secret.chars().any(|character| character.is_control() || character.is_whitespace()) {
        return Err(ApiError::invalid("a secret access key has no spaces and no line ends"));
    }
    if given.access_key_id.contains(['/', ',']) {
        // They separate the parts of a request's signature (SigV4).
        return Err(ApiError::invalid("an access key's id has no '/' and no ',': no request could be signed with it"));
    }
    Ok(Credentials::existing(&given.access_key_id, secret)?)
}

async fn refuse_taken(store: &Store, credentials: &Credentials) -> ApiResult<()> {
    match store.access_key_info(&credentials.access_key_id).await? {
        None => Ok(()),
        Some(_) => Err(ApiError::new(
            FailureCode::Exists,
            format!(
                "there is a key {} already; revoke it first, or leave it as it is. Nothing was changed.",
                credentials.access_key_id
            ),
        )),
    }
}

/// `DELETE /v1/keys/{access key id}`.
pub async fn revoke(open: &Open, access_key_id: &str) -> ApiResult<Empty> {
    match open.store.revoke_access_key(access_key_id).await {
        Err(AdministrationError::NotFound(_)) => {
            Err(ApiError::not_found(format!("there is no key {access_key_id:?}; `cairn admin key list` shows which there are")))
        }
        outcome => Ok(outcome.map(|()| Empty {})?),
    }
}
