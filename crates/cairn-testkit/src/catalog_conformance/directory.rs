//! Tenants, accounts, access keys, buckets.

use bytes::Bytes;
use cairn_catalog::{
    AccessKeyName, AdoptTenant, BucketSetting, CatalogError, ConfigureBucket, CreateAccessKey, CreateAccount, CreateBucket,
    CreateTenant, DeleteBucket, ListAccessKeys, ListAfter, ListBuckets, SetVersioning, UpdateAccessKey,
};
use cairn_types::records::{Access, CorsMethod, CorsRecord, CorsRule, Grant, GrantScope, PublicAccessBlock, Versioning};
use cairn_types::{AccountId, BucketId, CatalogTime, TenantId};

use super::{World, expect_error, expect_refused};

/// Names are unique, ids too, and nothing is removed that something hangs on.
pub async fn makes_and_removes_tenants_and_accounts(world: &World<'_>) {
    let catalog = &world.catalog;
    let create = |name: &str| catalog.create_tenant(CreateTenant { name: name.parse().unwrap(), uid: Some("uid".to_owned()) });
    assert_eq!(world.tenant, TenantId::DEFAULT);
    expect_error(create("default").await, &CatalogError::Exists("tenant"));
    let tenant = create("team").await.unwrap();
    assert_ne!(tenant.id, world.tenant);
    assert_eq!(catalog.tenant_by_name("team".to_owned()).await, Ok(Some(tenant.clone())));
    assert_eq!(catalog.tenant(tenant.id).await, Ok(Some(tenant.clone())));
    let adopted = catalog.adopt_tenant(AdoptTenant { tenant: tenant.id, uid: None }).await.unwrap();
    assert_eq!((adopted.id, adopted.record.uid, adopted.record.name), (tenant.id, None, tenant.record.name));
    let account = AccountId([9; 32]);
    let request = CreateAccount { id: account, tenant: tenant.id, name: "team's".to_owned() };
    catalog.create_account(request.clone()).await.unwrap();
    expect_error(catalog.create_account(request.clone()).await, &CatalogError::Exists("account"));
    let nowhere = CreateAccount { tenant: TenantId(999), id: AccountId([8; 32]), ..request };
    expect_error(catalog.create_account(nowhere).await, &CatalogError::NotFound("tenant"));
    expect_error(catalog.delete_tenant(tenant.id).await, &CatalogError::InUse("tenant"));
    let page = catalog.list_accounts(ListAfter { after: None, limit: 1 }).await.unwrap();
    assert_eq!((page.entries[0].id, page.is_truncated), (world.account, true));
    let page = catalog.list_accounts(ListAfter { after: Some(world.account), limit: 1 }).await.unwrap();
    assert_eq!((page.entries[0].id, page.is_truncated), (account, false));
    expect_error(catalog.delete_account(world.account).await, &CatalogError::InUse("account"));
    catalog.delete_account(account).await.unwrap();
    expect_error(catalog.delete_account(account).await, &CatalogError::NotFound("account"));
    catalog.delete_tenant(tenant.id).await.unwrap();
    expect_error(catalog.delete_tenant(tenant.id).await, &CatalogError::NotFound("tenant"));
    assert_eq!(catalog.tenant_by_name("team".to_owned()).await, Ok(None));
    // The name is free, the id is not.
    assert_ne!(create("team").await.unwrap().id, tenant.id);
    expect_error(catalog.delete_tenant(world.tenant).await, &CatalogError::InUse("tenant"));
    let tenants = catalog.list_tenants(ListAfter { after: None, limit: 10 }).await.unwrap();
    assert_eq!(tenants.entries.len(), 2);
}

fn key_request(world: &World<'_>, id: &str) -> CreateAccessKey {
    CreateAccessKey {
        access_key_id: id.to_owned(),
        account: world.account,
        sealed_secret: Bytes::from_static(b"sealed"),
        grants: vec![Grant { scope: GrantScope::Bucket(world.bucket), access: Access::Read }],
        expires: None,
        description: "a key".to_owned(),
    }
}

/// Keys are kept with what they open, changed in part, and gone when revoked.
pub async fn keeps_access_keys(world: &World<'_>) {
    let catalog = &world.catalog;
    let name = |id: &str| AccessKeyName { access_key_id: id.to_owned() };
    let made = catalog.create_access_key(key_request(world, "AKIA1")).await.unwrap();
    assert_eq!((made.record.tenant, made.account_name.as_str(), made.record.enabled), (world.tenant, "tester", true));
    expect_error(catalog.create_access_key(key_request(world, "AKIA1")).await, &CatalogError::Exists("access key"));
    for bad in ["", "a b", "é", &"x".repeat(129)] {
        expect_refused(catalog.create_access_key(key_request(world, bad)).await);
    }
    let mut nobody = key_request(world, "AKIA2");
    nobody.account = AccountId([0; 32]);
    expect_error(catalog.create_access_key(nobody).await, &CatalogError::NotFound("account"));
    let mut nowhere = key_request(world, "AKIA2");
    nowhere.grants[0].scope = GrantScope::Bucket(BucketId(u64::MAX));
    expect_error(catalog.create_access_key(nowhere).await, &CatalogError::NoSuchBucket);
    assert_eq!(catalog.access_key(name("AKIA1")).await, Ok(Some(made.clone())));
    let nothing =
        UpdateAccessKey { access_key_id: "AKIA1".to_owned(), grants: None, enabled: None, expires: None, sealed_secret: None };
    assert_eq!(catalog.update_access_key(nothing.clone()).await, Ok(made));
    let change = UpdateAccessKey {
        grants: Some(vec![Grant { scope: GrantScope::Store, access: Access::Administer }]),
        enabled: Some(false),
        expires: Some(Some(CatalogTime(5))),
        ..nothing.clone()
    };
    let changed = catalog.update_access_key(change).await.unwrap().record;
    assert_eq!((changed.enabled, changed.expires, changed.grants.len()), (false, Some(CatalogTime(5)), 1));
    assert_eq!(changed.sealed_secret, Bytes::from_static(b"sealed"));
    let forever = UpdateAccessKey { expires: Some(None), ..nothing.clone() };
    assert_eq!(catalog.update_access_key(forever).await.unwrap().record.expires, None);
    catalog.delete_access_key(name("AKIA1")).await.unwrap();
    assert_eq!(catalog.access_key(name("AKIA1")).await, Ok(None));
    expect_error(catalog.delete_access_key(name("AKIA1")).await, &CatalogError::NotFound("access key"));
    expect_error(catalog.update_access_key(nothing).await, &CatalogError::NotFound("access key"));
    // No secret shows itself (invariant 7).
    let shown = format!("{:?}", catalog.create_access_key(key_request(world, "AKIA3")).await.unwrap());
    assert!(!shown.contains("sealed"), "{shown}");
}

/// A name is taken within its tenant, and free again, with another id, once its bucket is gone.
pub async fn keeps_names_of_buckets_in_their_tenants(world: &World<'_>) {
    let catalog = &world.catalog;
    let request = CreateBucket {
        tenant: world.tenant,
        name: "first".parse().unwrap(),
        owner: world.account,
        versioning: Versioning::Unversioned,
        tags: vec![("team".to_owned(), "alps".to_owned())],
    };
    expect_error(catalog.create_bucket(request.clone()).await, &CatalogError::BucketExists { owner: world.account });
    let tenant = catalog.create_tenant(CreateTenant { name: "team".parse().unwrap(), uid: None }).await.unwrap().id;
    let elsewhere = catalog.create_bucket(CreateBucket { tenant, ..request.clone() }).await.unwrap();
    assert_ne!(elsewhere.id, world.bucket);
    let found = catalog.bucket_by_name(tenant, "first".parse().unwrap()).await.unwrap().unwrap();
    assert_eq!(found, elsewhere);
    assert_eq!((found.owner_name.as_str(), found.record.owner), ("tester", world.account));
    // Whose name was taken has changed nothing.
    assert_eq!(catalog.bucket_tags(world.bucket).await, Ok(Vec::new()));
    assert_eq!(catalog.bucket_tags(elsewhere.id).await, Ok(request.tags.clone()));
    catalog.delete_bucket(DeleteBucket { bucket: world.bucket, abort_uploads: false }).await.unwrap();
    assert_eq!(catalog.bucket_by_name(world.tenant, "first".parse().unwrap()).await, Ok(None));
    assert_eq!(catalog.bucket(world.bucket).await, Ok(None));
    let again = catalog.create_bucket(request.clone()).await.unwrap();
    assert_ne!(again.id, world.bucket);
    let nobody = CreateBucket { owner: AccountId([0; 32]), name: "other".parse().unwrap(), ..request.clone() };
    expect_error(catalog.create_bucket(nobody).await, &CatalogError::NotFound("account"));
    let nowhere = CreateBucket { tenant: TenantId(999), ..request };
    expect_error(catalog.create_bucket(nowhere).await, &CatalogError::NotFound("tenant"));
}

/// A bucket goes only when no version and no delete marker is in it.
pub async fn removes_empty_buckets_only(world: &World<'_>) {
    let delete = |bucket| world.catalog.delete_bucket(DeleteBucket { bucket, abort_uploads: true });
    world.put("a", 1, "x").await;
    expect_error(delete(world.bucket).await, &CatalogError::BucketNotEmpty);
    world.set_versioning(Versioning::Enabled).await;
    world.delete("a", None).await.unwrap();
    expect_error(delete(world.bucket).await, &CatalogError::BucketNotEmpty);
    for version in [true, false] {
        let id = match world.get("a", None).await {
            Err(CatalogError::IsDeleteMarker { version_id, .. }) => version_id,
            Ok(found) => found.version.summary.id,
            Err(error) => panic!("{error}"),
        };
        world.delete("a", Some(id)).await.unwrap();
        if version {
            expect_error(delete(world.bucket).await, &CatalogError::BucketNotEmpty);
        }
    }
    // The neighbours' rows are not this bucket's.
    let neighbour = world.in_bucket(world.make_bucket("neighbour", Versioning::Enabled).await);
    neighbour.put("a", 1, "x").await;
    neighbour.delete("b", None).await.unwrap();
    delete(world.bucket).await.unwrap();
    expect_error(delete(world.bucket).await, &CatalogError::NoSuchBucket);
    expect_error(world.catalog.usage(world.bucket).await, &CatalogError::NoSuchBucket);
    assert_eq!(neighbour.version_names().await, ["a 1*", "b marker*"]);
}

/// Pages in order, from anywhere.
pub async fn lists_buckets_and_keys(world: &World<'_>) {
    for name in ["zoo", "abc", "abd", "b.c"] {
        world.make_bucket(name, Versioning::Unversioned).await;
    }
    let list = async |prefix: &str, after: Option<&str>, limit| {
        let request = ListBuckets { tenant: world.tenant, prefix: prefix.to_owned(), after: after.map(str::to_owned), limit };
        let page = world.catalog.list_buckets(request).await.unwrap();
        (page.entries.iter().map(|bucket| bucket.record.name.to_string()).collect::<Vec<_>>().join(" "), page.is_truncated)
    };
    assert_eq!(list("", None, 10).await, ("abc abd b.c first zoo".to_owned(), false));
    assert_eq!(list("", None, 5).await, ("abc abd b.c first zoo".to_owned(), false));
    assert_eq!(list("", Some("abd"), 2).await, ("b.c first".to_owned(), true));
    assert_eq!(list("ab", Some("a"), 10).await, ("abc abd".to_owned(), false));
    assert_eq!(list("ab", Some("abc"), 10).await, ("abd".to_owned(), false));
    assert_eq!(list("c", None, 10).await, (String::new(), false));
    assert_eq!(list("ab", Some("zzz"), 10).await, (String::new(), false));

    let other = AccountId([1; 32]);
    let request = CreateAccount { id: other, tenant: world.tenant, name: "other".to_owned() };
    world.catalog.create_account(request).await.unwrap();
    for (id, account) in [("K3", other), ("K1", world.account), ("K2", other)] {
        let request = CreateAccessKey { account, ..key_request(world, id) };
        world.catalog.create_access_key(request).await.unwrap();
    }
    let keys = async |account, after: Option<&str>, limit| {
        let request = ListAccessKeys { account, after: after.map(str::to_owned), limit };
        let page = world.catalog.list_access_keys(request).await.unwrap();
        (page.entries.iter().map(|key| key.access_key_id.as_str()).collect::<Vec<_>>().join(" "), page.is_truncated)
    };
    assert_eq!(keys(None, None, 10).await, ("K1 K2 K3".to_owned(), false));
    assert_eq!(keys(None, Some("K1"), 1).await, ("K2".to_owned(), true));
    assert_eq!(keys(Some(other), None, 10).await, ("K2 K3".to_owned(), false));
    assert_eq!(keys(Some(other), Some("K2"), 10).await, ("K3".to_owned(), false));
    expect_error(world.catalog.delete_account(other).await, &CatalogError::InUse("account"));
}

/// The epoch rises with every change that a cache must hear of, and with no other (R3).
pub async fn tells_when_settings_change(world: &World<'_>) {
    let catalog = &world.catalog;
    let mut last = catalog.settings_epoch().await.unwrap();
    let mut rose = async |expected: bool, what: &str| {
        let epoch = catalog.settings_epoch().await.unwrap();
        assert_eq!(epoch > last, expected, "{what}");
        last = epoch;
    };
    world.put("a", 1, "x").await;
    world.delete("a", None).await.unwrap();
    rose(false, "objects").await;
    catalog.create_access_key(key_request(world, "K1")).await.unwrap();
    rose(true, "a new key").await;
    let update = UpdateAccessKey {
        access_key_id: "K1".to_owned(),
        grants: None,
        enabled: Some(false),
        expires: None,
        sealed_secret: None,
    };
    catalog.update_access_key(update).await.unwrap();
    rose(true, "a key disabled").await;
    catalog.delete_access_key(AccessKeyName { access_key_id: "K1".to_owned() }).await.unwrap();
    rose(true, "a key revoked").await;
    let versioning = SetVersioning { bucket: world.bucket, versioning: Versioning::Enabled };
    let record = catalog.set_versioning(versioning).await.unwrap();
    rose(true, "versioning").await;
    assert_eq!(catalog.set_versioning(versioning).await.unwrap().revision, record.revision);
    rose(false, "the same versioning").await;
    let cors = BucketSetting::Cors(CorsRecord { rules: vec![cors_rule()] });
    catalog.configure_bucket(ConfigureBucket { bucket: world.bucket, setting: cors }).await.unwrap();
    rose(true, "rules of CORS").await;
    world.make_bucket("another", Versioning::Unversioned).await;
    rose(true, "a bucket").await;
    catalog.delete_bucket(DeleteBucket { bucket: world.bucket, abort_uploads: true }).await.unwrap();
    rose(true, "a bucket gone").await;
}

fn cors_rule() -> CorsRule {
    CorsRule {
        id: None,
        allowed_origins: vec!["https://a.example".to_owned()],
        allowed_methods: vec![CorsMethod::Get],
        allowed_headers: Vec::new(),
        expose_headers: Vec::new(),
        max_age_seconds: Some(5),
    }
}

/// Tags and rules of CORS are each bucket's own, and gone with it.
pub async fn keeps_settings_of_buckets(world: &World<'_>) {
    let catalog = &world.catalog;
    let set = |bucket, setting| catalog.configure_bucket(ConfigureBucket { bucket, setting });
    let tags = vec![("team".to_owned(), "alps".to_owned())];
    let cors = CorsRecord { rules: vec![cors_rule()] };
    assert_eq!(catalog.bucket_tags(world.bucket).await, Ok(Vec::new()));
    let first = set(world.bucket, BucketSetting::Tags(tags.clone())).await.unwrap();
    let second = set(world.bucket, BucketSetting::Cors(cors.clone())).await.unwrap();
    assert!(second.revision > first.revision);
    let other = world.make_bucket("other", Versioning::Unversioned).await;
    let found = catalog.bucket(world.bucket).await.unwrap().unwrap();
    assert_eq!((found.record, found.cors), (second, Some(cors.clone())));
    assert_eq!(catalog.bucket_tags(world.bucket).await, Ok(tags.clone()));
    assert_eq!(catalog.bucket(other).await.unwrap().unwrap().cors, None);
    assert_eq!(catalog.bucket_tags(other).await, Ok(Vec::new()));
    set(world.bucket, BucketSetting::Cors(CorsRecord::default())).await.unwrap();
    assert_eq!(catalog.bucket(world.bucket).await.unwrap().unwrap().cors, None);
    assert_eq!(catalog.bucket_tags(world.bucket).await, Ok(tags));
    // A new bucket is told that it blocks all, and has controls; what is deleted stays so.
    let of = async |bucket| {
        let record = catalog.bucket(bucket).await.unwrap().unwrap().record;
        (record.public_access_block, record.has_ownership_controls)
    };
    assert_eq!(of(world.bucket).await, (Some(PublicAccessBlock::ALL), true));
    let some = PublicAccessBlock { ignore_public_acls: false, ..PublicAccessBlock::ALL };
    set(world.bucket, BucketSetting::PublicAccessBlock(Some(some))).await.unwrap();
    set(world.bucket, BucketSetting::OwnershipControls(false)).await.unwrap();
    assert_eq!(of(world.bucket).await, (Some(some), false));
    set(world.bucket, BucketSetting::PublicAccessBlock(None)).await.unwrap();
    set(world.bucket, BucketSetting::OwnershipControls(true)).await.unwrap();
    assert_eq!(of(world.bucket).await, (None, true));
    assert_eq!(of(other).await, (Some(PublicAccessBlock::ALL), true));
    // They go with the bucket: the suite's checker of rows would find them.
    set(other, BucketSetting::Cors(cors)).await.unwrap();
    set(other, BucketSetting::Tags(vec![("a".to_owned(), String::new())])).await.unwrap();
    catalog.delete_bucket(DeleteBucket { bucket: other, abort_uploads: true }).await.unwrap();
    expect_error(catalog.bucket_tags(other).await, &CatalogError::NoSuchBucket);
    expect_error(set(other, BucketSetting::Tags(Vec::new())).await, &CatalogError::NoSuchBucket);
}
