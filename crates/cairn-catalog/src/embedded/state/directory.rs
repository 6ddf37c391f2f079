//! Tenants, accounts, access keys and buckets.

use std::ops::Bound;

use bytes::Bytes;
use cairn_types::codec::Record;
use cairn_types::records::{
    AccessKeyRecord, AccountRecord, BucketRecord, BucketTagsRecord, CorsRecord, GrantScope, PublicAccessBlock, Tags,
    TenantRecord, UsageRecord, Versioning,
};
use cairn_types::{AccountId, BucketId, BucketName, TenantId};

use super::reader::{StateReader, Table, record, rows_beginning};
use super::tables::{
    ACCESS_KEYS, ACCOUNT_BUCKETS, ACCOUNT_KEYS, ACCOUNTS, BUCKET_CORS, BUCKET_NAMES, BUCKET_TAGS, BUCKETS, CURRENT, Key,
    NONCURRENT, TENANT_ACCOUNTS, TENANT_NAMES, TENANTS, UPLOADS, USAGE, account_key, behind_all, bucket_key, bucket_name_key,
    number_value, read_number, read_upload_key, tenant_key,
};
use super::transaction::Transaction;
use super::uploads::abandon;
use crate::{
    AccessKeyName, AdoptTenant, BucketSetting, CatalogError, CatalogResult, ConfigureBucket, CreateAccessKey, CreateAccount,
    CreateBucket, CreateTenant, DeleteBucket, FoundAccessKey, FoundAccount, FoundBucket, FoundTenant, ListAccessKeys, ListAfter,
    ListBuckets, Page, SetVersioning, UpdateAccessKey,
};
use cairn_types::records::ManifestId;

/// The longest access key id, characters (AWS: 128).
const ACCESS_KEY_ID_LENGTH_MAX: usize = 128;
/// The longest text for people, bytes.
const TEXT_LENGTH_MAX: usize = 1024;
/// The most grants of one key.
const GRANTS_MAX: usize = 10_000;
/// The most open uploads that one removal of a bucket aborts: a command must fit in a batch of the log.
const UPLOADS_ABORTED_MAX: usize = 1000;

fn check_text(text: &str) -> CatalogResult<()> {
    if text.len() <= TEXT_LENGTH_MAX { Ok(()) } else { Err(CatalogError::Refused(format!("a text of {} bytes", text.len()))) }
}

fn any(reader: &(impl StateReader + ?Sized), table: Table, prefix: &[u8]) -> CatalogResult<bool> {
    rows_beginning(reader, table, prefix).next().transpose().map(|row| row.is_some())
}

/// Rows behind a key, of those that begin so; `map` makes entries of at most `limit` of them.
fn page<T>(
    reader: &(impl StateReader + ?Sized),
    table: Table,
    prefix: &[u8],
    after: Option<&[u8]>,
    limit: u32,
    mut map: impl FnMut(Bytes, Bytes) -> CatalogResult<Option<T>>,
) -> CatalogResult<Page<T>> {
    let from = match after {
        Some(after) if after >= prefix => Bound::Excluded(after),
        _ => Bound::Included(prefix),
    };
    let behind = behind_all(prefix);
    let to = behind.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
    let mut entries = Vec::new();
    for row in reader.range(table, from, to) {
        let (key, value) = row?;
        if entries.len() >= limit as usize {
            return Ok(Page { entries, is_truncated: limit > 0 });
        }
        entries.extend(map(key, value)?);
    }
    Ok(Page { entries, is_truncated: false })
}

// -- tenants ----------------------------------------------------------------------------------------------------------------------------

pub(super) fn tenant(reader: &(impl StateReader + ?Sized), id: TenantId) -> CatalogResult<Option<FoundTenant>> {
    Ok(record(reader, TENANTS, &tenant_key(id))?.map(|record| FoundTenant { id, record }))
}

pub(super) fn tenant_by_name(reader: &(impl StateReader + ?Sized), name: &str) -> CatalogResult<Option<FoundTenant>> {
    match reader.get(TENANT_NAMES, name.as_bytes())? {
        Some(row) => tenant(reader, TenantId(read_number(&row)?)),
        None => Ok(None),
    }
}

pub(super) fn list_tenants(
    reader: &(impl StateReader + ?Sized),
    request: &ListAfter<TenantId>,
) -> CatalogResult<Page<FoundTenant>> {
    page(reader, TENANTS, &[], request.after.map(tenant_key).as_deref(), request.limit, |key, value| {
        Ok(Some(FoundTenant { id: TenantId(read_number(&key)?), record: TenantRecord::decode(&value)? }))
    })
}

pub(super) fn create_tenant(transaction: &mut Transaction<'_>, request: CreateTenant) -> CatalogResult<FoundTenant> {
    let CreateTenant { name, uid } = request;
    check_text(uid.as_deref().unwrap_or_default())?;
    let name_row = Bytes::copy_from_slice(name.as_str().as_bytes());
    if transaction.get(TENANT_NAMES, &name_row)?.is_some() {
        return Err(CatalogError::Exists("tenant"));
    }
    // The first one is the tenant that every store has.
    let id = if any(transaction, TENANTS, &[])? { TenantId(transaction.next_sequence()?) } else { TenantId::DEFAULT };
    let record = TenantRecord { name, uid, created: transaction.now() };
    transaction.put_record(TENANTS, tenant_key(id), &record);
    transaction.put(TENANT_NAMES, name_row, number_value(id.0));
    transaction.settings_changed()?;
    Ok(FoundTenant { id, record })
}

pub(super) fn adopt_tenant(transaction: &mut Transaction<'_>, request: AdoptTenant) -> CatalogResult<FoundTenant> {
    check_text(request.uid.as_deref().unwrap_or_default())?;
    let mut found = tenant(transaction, request.tenant)?.ok_or(CatalogError::NotFound("tenant"))?;
    found.record.uid = request.uid;
    transaction.put_record(TENANTS, tenant_key(found.id), &found.record);
    transaction.settings_changed()?;
    Ok(found)
}

pub(super) fn delete_tenant(transaction: &mut Transaction<'_>, id: TenantId) -> CatalogResult<()> {
    let found = tenant(transaction, id)?.ok_or(CatalogError::NotFound("tenant"))?;
    // The default tenant's id would be given again.
    if id == TenantId::DEFAULT
        || any(transaction, BUCKET_NAMES, &tenant_key(id))?
        || any(transaction, TENANT_ACCOUNTS, &tenant_key(id))?
    {
        return Err(CatalogError::InUse("tenant"));
    }
    transaction.delete(TENANTS, tenant_key(id));
    transaction.delete(TENANT_NAMES, Bytes::copy_from_slice(found.record.name.as_str().as_bytes()));
    transaction.settings_changed()
}

// -- accounts ---------------------------------------------------------------------------------------------------------------------------

pub(super) fn account(reader: &(impl StateReader + ?Sized), id: AccountId) -> CatalogResult<Option<FoundAccount>> {
    Ok(record(reader, ACCOUNTS, &account_key(id))?.map(|record| FoundAccount { id, record }))
}

fn account_name(reader: &(impl StateReader + ?Sized), id: AccountId) -> CatalogResult<String> {
    Ok(account(reader, id)?.map(|account| account.record.name).unwrap_or_default())
}

fn tenant_account_key(tenant: TenantId, account: AccountId) -> Bytes {
    Key::number(tenant.0).then(&account.0).bytes()
}

pub(super) fn list_accounts(
    reader: &(impl StateReader + ?Sized),
    request: &ListAfter<AccountId>,
) -> CatalogResult<Page<FoundAccount>> {
    page(reader, ACCOUNTS, &[], request.after.map(account_key).as_deref(), request.limit, |key, value| {
        let id = <[u8; 32]>::try_from(key.as_ref()).map_err(|_| CatalogError::Damaged("an account's id".to_owned()))?;
        Ok(Some(FoundAccount { id: AccountId(id), record: AccountRecord::decode(&value)? }))
    })
}

pub(super) fn create_account(transaction: &mut Transaction<'_>, request: CreateAccount) -> CatalogResult<FoundAccount> {
    let CreateAccount { id, tenant: scope, name } = request;
    check_text(&name)?;
    tenant(transaction, scope)?.ok_or(CatalogError::NotFound("tenant"))?;
    if account(transaction, id)?.is_some() {
        return Err(CatalogError::Exists("account"));
    }
    let record = AccountRecord { tenant: scope, name, created: transaction.now() };
    transaction.put_record(ACCOUNTS, account_key(id), &record);
    transaction.put(TENANT_ACCOUNTS, tenant_account_key(scope, id), Bytes::new());
    transaction.settings_changed()?;
    Ok(FoundAccount { id, record })
}

pub(super) fn delete_account(transaction: &mut Transaction<'_>, id: AccountId) -> CatalogResult<()> {
    let found = account(transaction, id)?.ok_or(CatalogError::NotFound("account"))?;
    if any(transaction, ACCOUNT_KEYS, &account_key(id))? || any(transaction, ACCOUNT_BUCKETS, &account_key(id))? {
        return Err(CatalogError::InUse("account"));
    }
    transaction.delete(ACCOUNTS, account_key(id));
    transaction.delete(TENANT_ACCOUNTS, tenant_account_key(found.record.tenant, id));
    transaction.settings_changed()
}

// -- access keys ------------------------------------------------------------------------------------------------------------------------

fn access_key_row(id: &str) -> Bytes {
    Bytes::copy_from_slice(id.as_bytes())
}

fn account_key_row(account: AccountId, id: &str) -> Bytes {
    Key::of(&account.0).then(id.as_bytes()).bytes()
}

pub(super) fn access_key(reader: &(impl StateReader + ?Sized), id: &str) -> CatalogResult<Option<FoundAccessKey>> {
    let Some(record) = record::<AccessKeyRecord>(reader, ACCESS_KEYS, id.as_bytes())? else {
        return Ok(None);
    };
    let account_name = account_name(reader, record.account)?;
    Ok(Some(FoundAccessKey { access_key_id: id.to_owned(), record, account_name }))
}

pub(super) fn list_access_keys(
    reader: &(impl StateReader + ?Sized),
    request: &ListAccessKeys,
) -> CatalogResult<Page<FoundAccessKey>> {
    let (table, prefix) = match request.account {
        Some(account) => (ACCOUNT_KEYS, account_key(account)),
        None => (ACCESS_KEYS, Bytes::new()),
    };
    let after = request.after.as_ref().map(|after| Key::of(&prefix).then(after.as_bytes()).bytes());
    page(reader, table, &prefix, after.as_deref(), request.limit, |key, _| {
        let id = key.get(prefix.len()..).and_then(|id| std::str::from_utf8(id).ok());
        access_key(reader, id.ok_or_else(|| CatalogError::Damaged("an access key's id".to_owned()))?)
    })
}

fn check_grants(transaction: &Transaction<'_>, grants: &[cairn_types::records::Grant]) -> CatalogResult<()> {
    if grants.len() > GRANTS_MAX {
        return Err(CatalogError::Refused(format!("{} grants for one key", grants.len())));
    }
    for grant in grants {
        if let GrantScope::Bucket(bucket) = grant.scope {
            bucket_record(transaction, bucket)?;
        }
    }
    Ok(())
}

pub(super) fn create_access_key(transaction: &mut Transaction<'_>, request: CreateAccessKey) -> CatalogResult<FoundAccessKey> {
    let CreateAccessKey { access_key_id, account: owner, sealed_secret, grants, expires, description } = request;
    let visible = !access_key_id.is_empty()
        && access_key_id.len() <= ACCESS_KEY_ID_LENGTH_MAX
        && access_key_id.bytes().all(|byte| byte.is_ascii_graphic());
    if !visible || sealed_secret.len() > TEXT_LENGTH_MAX {
        return Err(CatalogError::Refused("an access key's id has 1 to 128 visible characters of ASCII".to_owned()));
    }
    check_text(&description)?;
    check_grants(transaction, &grants)?;
    let found = account(transaction, owner)?.ok_or(CatalogError::NotFound("account"))?;
    if transaction.get(ACCESS_KEYS, access_key_id.as_bytes())?.is_some() {
        return Err(CatalogError::Exists("access key"));
    }
    let record = AccessKeyRecord {
        tenant: found.record.tenant,
        account: owner,
        sealed_secret,
        grants,
        enabled: true,
        expires,
        description,
        created: transaction.now(),
    };
    transaction.put_record(ACCESS_KEYS, access_key_row(&access_key_id), &record);
    transaction.put(ACCOUNT_KEYS, account_key_row(owner, &access_key_id), Bytes::new());
    transaction.settings_changed()?;
    Ok(FoundAccessKey { access_key_id, record, account_name: found.record.name })
}

pub(super) fn update_access_key(transaction: &mut Transaction<'_>, request: UpdateAccessKey) -> CatalogResult<FoundAccessKey> {
    let mut found = access_key(transaction, &request.access_key_id)?.ok_or(CatalogError::NotFound("access key"))?;
    if let Some(grants) = request.grants {
        check_grants(transaction, &grants)?;
        found.record.grants = grants;
    }
    if let Some(enabled) = request.enabled {
        found.record.enabled = enabled;
    }
    if let Some(expires) = request.expires {
        found.record.expires = expires;
    }
    if let Some(secret) = request.sealed_secret {
        found.record.sealed_secret = secret;
    }
    transaction.put_record(ACCESS_KEYS, access_key_row(&found.access_key_id), &found.record);
    transaction.settings_changed()?;
    Ok(found)
}

pub(super) fn delete_access_key(transaction: &mut Transaction<'_>, name: &AccessKeyName) -> CatalogResult<()> {
    let found = access_key(transaction, &name.access_key_id)?.ok_or(CatalogError::NotFound("access key"))?;
    transaction.delete(ACCESS_KEYS, access_key_row(&found.access_key_id));
    transaction.delete(ACCOUNT_KEYS, account_key_row(found.record.account, &found.access_key_id));
    transaction.settings_changed()
}

// -- buckets ----------------------------------------------------------------------------------------------------------------------------

/// A bucket's record, or that there is none.
pub(super) fn bucket_record(reader: &(impl StateReader + ?Sized), id: BucketId) -> CatalogResult<BucketRecord> {
    record(reader, BUCKETS, &bucket_key(id))?.ok_or(CatalogError::NoSuchBucket)
}

pub(super) fn bucket(reader: &(impl StateReader + ?Sized), id: BucketId) -> CatalogResult<Option<FoundBucket>> {
    let Some(record) = record::<BucketRecord>(reader, BUCKETS, &bucket_key(id))? else {
        return Ok(None);
    };
    let owner_name = account_name(reader, record.owner)?;
    let cors = self::record::<CorsRecord>(reader, BUCKET_CORS, &bucket_key(id))?;
    Ok(Some(FoundBucket { id, record, cors, owner_name }))
}

pub(super) fn bucket_tags(reader: &(impl StateReader + ?Sized), id: BucketId) -> CatalogResult<Tags> {
    bucket_record(reader, id)?;
    Ok(record::<BucketTagsRecord>(reader, BUCKET_TAGS, &bucket_key(id))?.unwrap_or_default().tags)
}

pub(super) fn bucket_by_name(
    reader: &(impl StateReader + ?Sized),
    tenant: TenantId,
    name: &BucketName,
) -> CatalogResult<Option<FoundBucket>> {
    match reader.get(BUCKET_NAMES, &bucket_name_key(tenant, name.as_str().as_bytes()))? {
        Some(row) => bucket(reader, BucketId(read_number(&row)?)),
        None => Ok(None),
    }
}

pub(super) fn list_buckets(reader: &(impl StateReader + ?Sized), request: &ListBuckets) -> CatalogResult<Page<FoundBucket>> {
    let prefix = bucket_name_key(request.tenant, request.prefix.as_bytes());
    let after = request.after.as_ref().map(|after| bucket_name_key(request.tenant, after.as_bytes()));
    page(reader, BUCKET_NAMES, &prefix, after.as_deref(), request.limit, |_, value| {
        let id = BucketId(read_number(&value)?);
        bucket(reader, id)?.map(Some).ok_or_else(|| CatalogError::Damaged(format!("bucket {} has a name and no record", id.0)))
    })
}

pub(super) fn usage(reader: &(impl StateReader + ?Sized), id: BucketId) -> CatalogResult<UsageRecord> {
    bucket_record(reader, id)?;
    Ok(record(reader, USAGE, &bucket_key(id))?.unwrap_or_default())
}

fn account_bucket_key(account: AccountId, bucket: BucketId) -> Bytes {
    Key::of(&account.0).then_number(bucket.0).bytes()
}

pub(super) fn create_bucket(transaction: &mut Transaction<'_>, request: CreateBucket) -> CatalogResult<FoundBucket> {
    let CreateBucket { tenant: scope, name, owner, versioning, tags } = request;
    tenant(transaction, scope)?.ok_or(CatalogError::NotFound("tenant"))?;
    let account = account(transaction, owner)?.ok_or(CatalogError::NotFound("account"))?;
    let name_row = bucket_name_key(scope, name.as_str().as_bytes());
    if let Some(there) = bucket_by_name(transaction, scope, &name)? {
        return Err(CatalogError::BucketExists { owner: there.record.owner });
    }
    let id = BucketId(transaction.next_sequence()?);
    let record = BucketRecord {
        name,
        tenant: scope,
        owner,
        created: transaction.now(),
        versioning,
        lock: None,
        public_access_block: Some(PublicAccessBlock::ALL),
        has_ownership_controls: true,
        revision: 1,
    };
    transaction.put_record(BUCKETS, bucket_key(id), &record);
    transaction.put(BUCKET_NAMES, name_row, number_value(id.0));
    transaction.put(ACCOUNT_BUCKETS, account_bucket_key(owner, id), Bytes::new());
    if !tags.is_empty() {
        transaction.put_record(BUCKET_TAGS, bucket_key(id), &BucketTagsRecord { tags });
    }
    transaction.settings_changed()?;
    Ok(FoundBucket { id, record, cors: None, owner_name: account.record.name })
}

pub(super) fn delete_bucket(transaction: &mut Transaction<'_>, request: DeleteBucket) -> CatalogResult<()> {
    let id = request.bucket;
    let record = bucket_record(transaction, id)?;
    let prefix = bucket_key(id);
    // The rows themselves, not their count: nothing may be left behind that no bucket leads to.
    if any(transaction, CURRENT, &prefix)? || any(transaction, NONCURRENT, &prefix)? {
        return Err(CatalogError::BucketNotEmpty);
    }
    let uploads: Vec<_> =
        rows_beginning(transaction, UPLOADS, &prefix).take(UPLOADS_ABORTED_MAX + 1).collect::<CatalogResult<_>>()?;
    if (!request.abort_uploads && !uploads.is_empty()) || uploads.len() > UPLOADS_ABORTED_MAX {
        return Err(CatalogError::BucketNotEmpty);
    }
    for (key, _) in uploads {
        let (_, object, upload) = read_upload_key(&key)?;
        abandon(transaction, id, &object, ManifestId(upload))?;
    }
    transaction.delete(BUCKETS, bucket_key(id));
    transaction.delete(USAGE, bucket_key(id));
    transaction.delete(BUCKET_TAGS, bucket_key(id));
    transaction.delete(BUCKET_CORS, bucket_key(id));
    transaction.delete(BUCKET_NAMES, bucket_name_key(record.tenant, record.name.as_str().as_bytes()));
    transaction.delete(ACCOUNT_BUCKETS, account_bucket_key(record.owner, id));
    transaction.settings_changed()
}

pub(super) fn set_versioning(transaction: &mut Transaction<'_>, request: SetVersioning) -> CatalogResult<BucketRecord> {
    let mut record = bucket_record(transaction, request.bucket)?;
    if record.versioning == request.versioning {
        return Ok(record);
    }
    if request.versioning == Versioning::Unversioned {
        return Err(CatalogError::Refused("versioning can be suspended, and not taken back".to_owned()));
    }
    record.versioning = request.versioning;
    record.revision += 1;
    transaction.put_record(BUCKETS, bucket_key(request.bucket), &record);
    transaction.settings_changed()?;
    Ok(record)
}

pub(super) fn configure_bucket(transaction: &mut Transaction<'_>, request: ConfigureBucket) -> CatalogResult<BucketRecord> {
    let ConfigureBucket { bucket, setting } = request;
    let mut record = bucket_record(transaction, bucket)?;
    match setting {
        BucketSetting::Tags(tags) if tags.is_empty() => transaction.delete(BUCKET_TAGS, bucket_key(bucket)),
        BucketSetting::Tags(tags) => transaction.put_record(BUCKET_TAGS, bucket_key(bucket), &BucketTagsRecord { tags }),
        BucketSetting::Cors(cors) if cors.rules.is_empty() => transaction.delete(BUCKET_CORS, bucket_key(bucket)),
        BucketSetting::Cors(cors) => transaction.put_record(BUCKET_CORS, bucket_key(bucket), &cors),
        BucketSetting::PublicAccessBlock(block) => record.public_access_block = block,
        BucketSetting::OwnershipControls(there) => record.has_ownership_controls = there,
    }
    record.revision += 1;
    transaction.put_record(BUCKETS, bucket_key(bucket), &record);
    transaction.settings_changed()?;
    Ok(record)
}
