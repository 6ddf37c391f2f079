//! Buckets and what they hold.

use std::sync::Arc;

use cairn_store::Store;
use cairn_store::administration as administered;
use cairn_store::api::{self as stored, ListBuckets, ObjectStore, StoreError};
use cairn_types::BucketName;

use super::api::{Bucket, List, Usage, Versioning};
use super::directory::{find_tenant, moment};
use super::error::{ApiError, ApiResult};

/// The most buckets in one answer: the usage of each is a read of its own.
const PAGE_MAX: u32 = 200;

/// The bucket of this name in a tenant.
pub async fn find_bucket(store: &Store, tenant: &administered::Tenant, name: &str) -> ApiResult<stored::Bucket> {
    let parsed: BucketName =
        name.parse().map_err(|error: cairn_types::object::InvalidBucketName| ApiError::invalid(error.to_string()))?;
    let found = store.find_bucket(tenant.id, &parsed).await?;
    found.ok_or_else(|| ApiError::not_found(format!("the tenant {} has no bucket {name:?}", tenant.name)))
}

/// `GET /v1/buckets`, in the order of their names.
pub async fn list(store: &Store, tenant: Option<&str>, after: Option<&str>, limit: u32) -> ApiResult<List<Bucket>> {
    let tenant = find_tenant(store, tenant).await?;
    let after = after.map(str::to_owned);
    let request = ListBuckets { tenant: tenant.id, prefix: String::new(), after, limit: limit.min(PAGE_MAX) };
    let page = store.list_buckets(request).await?;
    let next = if page.is_truncated { page.entries.last().map(|last| last.name.to_string()) } else { None };
    let mut items = Vec::new();
    for found in page.entries {
        // One that has gone since is not listed.
        items.extend(view(store, &tenant, &found).await?);
    }
    Ok(List { items, next })
}

/// `GET /v1/buckets/{name}`.
pub async fn get(store: &Store, tenant: Option<&str>, name: &str) -> ApiResult<Bucket> {
    let tenant = find_tenant(store, tenant).await?;
    let found = Arc::new(find_bucket(store, &tenant, name).await?);
    view(store, &tenant, &found).await?.ok_or_else(|| ApiError::from(StoreError::NoSuchBucket))
}

async fn view(store: &Store, tenant: &administered::Tenant, found: &stored::Bucket) -> ApiResult<Option<Bucket>> {
    let usage = match store.usage(found.id).await {
        Ok(usage) => usage,
        Err(StoreError::NoSuchBucket) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    Ok(Some(Bucket {
        name: found.name.to_string(),
        tenant: tenant.name.to_string(),
        owner: found.owner_name.to_string(),
        owner_id: found.owner.to_string(),
        versioning: match found.versioning {
            stored::Versioning::Unversioned => Versioning::Unversioned,
            stored::Versioning::Enabled => Versioning::Enabled,
            stored::Versioning::Suspended => Versioning::Suspended,
        },
        created: moment(found.created_ms),
        usage: Usage {
            objects: usage.objects,
            object_bytes: usage.object_bytes,
            noncurrent_versions: usage.noncurrent_versions,
            noncurrent_bytes: usage.noncurrent_bytes,
            delete_markers: usage.delete_markers,
            uploads: usage.uploads,
            part_bytes: usage.part_bytes,
            total_bytes: usage.total_bytes(),
        },
    }))
}
