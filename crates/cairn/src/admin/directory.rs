//! Tenants and accounts.

use std::collections::BTreeMap;

use cairn_store::Store;
use cairn_store::administration as administered;
use cairn_store::api::Page;
use cairn_types::{AccountId, TenantId};

use super::api::{Account, Empty, FailureCode, LIST_LIMIT_MAX, List, NewAccount, NewTenant, Tenant};
use super::error::{ApiError, ApiResult};

/// The account of a tenant that keys act for where nothing else is said.
pub const DEFAULT_ACCOUNT: &str = "root";
/// The longest name of an account, characters.
const ACCOUNT_NAME_LENGTH_MAX: usize = 128;

/// Names of tenants by id, asked once each.
#[derive(Default)]
pub struct TenantNames(BTreeMap<TenantId, String>);

impl TenantNames {
    /// With this tenant's already.
    pub fn of(tenant: &administered::Tenant) -> Self {
        Self(BTreeMap::from([(tenant.id, tenant.name.to_string())]))
    }

    /// A tenant's name; its number where it is gone.
    pub async fn name(&mut self, store: &Store, id: TenantId) -> ApiResult<String> {
        if let Some(name) = self.0.get(&id) {
            return Ok(name.clone());
        }
        let name = store.tenant(id).await?.map_or_else(|| format!("#{}", id.0), |tenant| tenant.name.to_string());
        self.0.insert(id, name.clone());
        Ok(name)
    }
}

/// A moment as ISO 8601.
pub fn moment(milliseconds: u64) -> String {
    String::from_utf8_lossy(&cairn_s3::text::date::iso8601(milliseconds)).into_owned()
}

/// A text for people that may stand in one line of a table or log.
pub fn check_line(what: &str, text: &str, length_max: usize) -> ApiResult<()> {
    if text.chars().any(char::is_control) || text.chars().count() > length_max {
        return Err(ApiError::invalid(format!("{what} has at most {length_max} characters, in one line")));
    }
    Ok(())
}

/// A page of a list, with where the next one starts.
pub fn list<T, U>(page: Page<T>, position: impl Fn(&T) -> String, view: impl FnMut(T) -> U) -> List<U> {
    let next = if page.is_truncated { page.entries.last().map(position) } else { None };
    List { items: page.entries.into_iter().map(view).collect(), next }
}

// -- tenants ---------------------------------------------------------------------------------------------------------------------

/// The tenant of this name; the default one where none is given.
pub async fn find_tenant(store: &Store, name: Option<&str>) -> ApiResult<administered::Tenant> {
    let found = match name {
        None => store.tenant(TenantId::DEFAULT).await?,
        Some(name) => store.tenant_by_name(name).await?,
    };
    found.ok_or_else(|| match name {
        None => ApiError::unavailable("the store has no default tenant yet"),
        Some(name) => {
            ApiError::not_found(format!("there is no tenant {name:?}; `cairn admin tenant list` shows which there are"))
        }
    })
}

fn tenant(found: administered::Tenant) -> Tenant {
    Tenant { name: found.name.to_string(), uid: found.uid, created: moment(found.created_ms) }
}

/// `GET /v1/tenants`, in the order of their making.
pub async fn list_tenants(store: &Store, after: Option<&str>, limit: u32) -> ApiResult<List<Tenant>> {
    let after = match after {
        None => None,
        Some(text) => {
            Some(TenantId(text.parse().map_err(|_| ApiError::invalid("that is not a position in the list of tenants"))?))
        }
    };
    let page = store.list_tenants(after, limit).await?;
    Ok(list(page, |last| last.id.0.to_string(), tenant))
}

/// `POST /v1/tenants`.
pub async fn create_tenant(store: &Store, request: NewTenant) -> ApiResult<Tenant> {
    let name =
        request.name.parse().map_err(|error: cairn_types::records::InvalidTenantName| ApiError::invalid(error.to_string()))?;
    check_line("a tenant's uid", request.uid.as_deref().unwrap_or_default(), 256)?;
    match store.create_tenant(name, request.uid).await {
        Err(administered::AdministrationError::Exists(_)) => {
            Err(ApiError::new(FailureCode::Exists, format!("there is a tenant {:?} already", request.name)))
        }
        outcome => Ok(tenant(outcome?)),
    }
}

/// `DELETE /v1/tenants/{name}`.
pub async fn delete_tenant(store: &Store, name: &str) -> ApiResult<Empty> {
    let found = find_tenant(store, Some(name)).await?;
    if found.id == TenantId::DEFAULT {
        return Err(ApiError::new(FailureCode::InUse, "the default tenant stays for as long as the store does"));
    }
    match store.delete_tenant(found.id).await {
        Err(administered::AdministrationError::InUse(_)) => Err(ApiError::new(
            FailureCode::InUse,
            format!("the tenant {name:?} has buckets or accounts; remove those first. Nothing was changed."),
        )),
        outcome => Ok(outcome.map(|()| Empty {})?),
    }
}

// -- accounts --------------------------------------------------------------------------------------------------------------------

fn account(found: administered::Account, tenant: String) -> Account {
    Account { id: found.id.to_string(), name: found.name, tenant, created: moment(found.created_ms) }
}

/// `GET /v1/accounts`, in the order of their ids.
pub async fn list_accounts(store: &Store, tenant: Option<&str>, after: Option<&str>, limit: u32) -> ApiResult<List<Account>> {
    let after = match after {
        None => None,
        Some(text) => {
            Some(AccountId::parse(text).ok_or_else(|| ApiError::invalid("that is not a position in the list of accounts"))?)
        }
    };
    let only = match tenant {
        None => None,
        Some(_) => Some(find_tenant(store, tenant).await?.id),
    };
    let page = store.list_accounts(after, limit).await?;
    let next = if page.is_truncated { page.entries.last().map(|last| last.id.to_string()) } else { None };
    let mut names = TenantNames::default();
    let mut items = Vec::new();
    for found in page.entries.into_iter().filter(|found| only.is_none_or(|only| only == found.tenant)) {
        let tenant = names.name(store, found.tenant).await?;
        items.push(account(found, tenant));
    }
    Ok(List { items, next })
}

/// The accounts of a tenant that have this name. Nothing keeps two from having the same but the administration, which makes none of a name
/// that is there.
async fn accounts_named(store: &Store, tenant: TenantId, name: &str) -> ApiResult<Vec<administered::Account>> {
    let mut found = Vec::new();
    let mut after = None;
    loop {
        let page = store.list_accounts(after, LIST_LIMIT_MAX).await?;
        after = page.entries.last().map(|last| last.id);
        found.extend(page.entries.into_iter().filter(|account| account.tenant == tenant && account.name == name));
        if !page.is_truncated {
            return Ok(found);
        }
    }
}

/// The account of this id or name in a tenant.
pub async fn find_account(store: &Store, tenant: &administered::Tenant, text: &str) -> ApiResult<administered::Account> {
    let missing = || {
        let place = &tenant.name;
        ApiError::not_found(format!(
            "the tenant {place} has no account {text:?}; `cairn admin account list` shows which there are"
        ))
    };
    if let Some(id) = AccountId::parse(text) {
        return store.account(id).await?.filter(|found| found.tenant == tenant.id).ok_or_else(missing);
    }
    let mut named = accounts_named(store, tenant.id, text).await?;
    if named.len() > 1 {
        return Err(ApiError::invalid(format!("{} accounts have the name {text:?}; give the id of one", named.len())));
    }
    named.pop().ok_or_else(missing)
}

/// The tenant's account for keys of which nothing else is said, made where it is missing.
pub async fn default_account(store: &Store, tenant: &administered::Tenant) -> ApiResult<administered::Account> {
    match accounts_named(store, tenant.id, DEFAULT_ACCOUNT).await?.into_iter().next() {
        Some(found) => Ok(found),
        None => Ok(store.create_account(tenant.id, DEFAULT_ACCOUNT).await?),
    }
}

/// `POST /v1/accounts`.
pub async fn create_account(store: &Store, request: NewAccount) -> ApiResult<Account> {
    check_line("an account's name", &request.name, ACCOUNT_NAME_LENGTH_MAX)?;
    if request.name.is_empty() || AccountId::parse(&request.name).is_some() {
        return Err(ApiError::invalid("an account's name is not empty, and not like an id"));
    }
    let tenant = find_tenant(store, request.tenant.as_deref()).await?;
    if !accounts_named(store, tenant.id, &request.name).await?.is_empty() {
        let message = format!("the tenant {} has an account {:?} already", tenant.name, request.name);
        return Err(ApiError::new(FailureCode::Exists, message));
    }
    let made = store.create_account(tenant.id, &request.name).await?;
    Ok(account(made, tenant.name.to_string()))
}

/// `DELETE /v1/accounts/{id}`.
pub async fn delete_account(store: &Store, id: &str) -> ApiResult<Empty> {
    let parsed = AccountId::parse(id).ok_or_else(|| ApiError::invalid("an account's id has 64 hexadecimal digits"))?;
    match store.delete_account(parsed).await {
        Err(administered::AdministrationError::InUse(_)) => {
            Err(ApiError::new(FailureCode::InUse, "the account has keys or buckets; remove those first. Nothing was changed."))
        }
        outcome => Ok(outcome.map(|()| Empty {})?),
    }
}
