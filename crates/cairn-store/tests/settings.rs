//! Keys, accounts, buckets: what every request needs to know is never older than a second (R3), and secrets are sealed (K1).

mod common;

use std::sync::Arc;
use std::time::Duration;

use cairn_catalog::{AccessKeyName, Catalog, DeleteBucket, UpdateAccessKey};
use cairn_store::administration::{AccessKeyChange, AdministrationError, Credentials, NewAccessKey, Resealed};
use cairn_store::api::{Access, CreateBucket, GrantScope, ListBuckets, ObjectStore, StoreError};
use cairn_store::secrets::{KeyRing, MasterKey, SecretError};
use cairn_testkit::sim_environment::SimRandom;
use cairn_types::records::{Access as StoredAccess, Grant, GrantScope as StoredScope};
use cairn_types::{CatalogTime, TenantId};
use common::World;

fn key_of(world: &World) -> NewAccessKey {
    let grant = Grant { scope: StoredScope::Bucket(world.bucket.id), access: StoredAccess::Write };
    NewAccessKey { account: world.account, grants: vec![grant], expires: None, description: "a test".to_owned() }
}

#[tokio::test(start_paused = true)]
async fn keys_open_what_they_were_given_until_they_are_revoked() {
    let world = World::new().await;
    let store = &world.store;
    let made = store.create_access_key(key_of(&world)).await.unwrap();
    assert_eq!((made.access_key_id.len(), made.secret.expose().len()), (20, 40));
    let key = store.access_key(&made.access_key_id).await.unwrap().unwrap();
    assert_eq!(key.secret.expose(), made.secret.expose());
    assert_eq!((key.tenant, key.account, &*key.account_name), (TenantId::DEFAULT, world.account, "root"));
    assert_eq!((key.grants[0].scope, key.grants[0].access), (GrantScope::Bucket(world.bucket.id), Access::Write));
    assert!(store.access_key("another").await.unwrap().is_none());
    let again = store.import_access_key(key_of(&world), &made).await.unwrap_err();
    assert_eq!(again, AdministrationError::Exists("access key"));

    let off = AccessKeyChange { enabled: Some(false), ..AccessKeyChange::default() };
    store.update_access_key(&made.access_key_id, off).await.unwrap();
    assert!(store.access_key(&made.access_key_id).await.unwrap().is_none());
    let on = AccessKeyChange { enabled: Some(true), ..AccessKeyChange::default() };
    store.update_access_key(&made.access_key_id, on).await.unwrap();
    assert!(store.access_key(&made.access_key_id).await.unwrap().is_some());
    store.revoke_access_key(&made.access_key_id).await.unwrap();
    assert!(store.access_key(&made.access_key_id).await.unwrap().is_none());
    let again = store.revoke_access_key(&made.access_key_id).await.unwrap_err();
    assert_eq!(again, AdministrationError::NotFound("access key"));
}

#[tokio::test(start_paused = true)]
async fn an_expiring_key_expires_in_memory_too() {
    let world = World::new().await;
    let mut key = key_of(&world);
    let now = world.catalog.time().await.unwrap();
    key.expires = Some(now.after(Duration::from_secs(10)));
    let made = world.store.create_access_key(key).await.unwrap();
    for _ in 0..98 {
        assert!(world.store.access_key(&made.access_key_id).await.unwrap().is_some());
        tokio::time::sleep(Duration::from_millis(101)).await;
    }
    tokio::time::sleep(Duration::from_millis(150)).await;
    assert!(world.store.access_key(&made.access_key_id).await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_change_by_another_gateway_is_seen_within_a_second() {
    let world = World::new().await;
    let made = world.store.create_access_key(key_of(&world)).await.unwrap();
    let seen = |name: &'static str| world.store.bucket(TenantId::DEFAULT, name);
    assert!(world.store.access_key(&made.access_key_id).await.unwrap().is_some());
    assert!(seen("bucket").await.unwrap().is_some());
    // Past this store: as another process does it.
    let name = AccessKeyName { access_key_id: made.access_key_id.clone() };
    world.catalog.delete_access_key(name).await.unwrap();
    world.catalog.delete_bucket(DeleteBucket { bucket: world.bucket.id, abort_uploads: true }).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1_000)).await;
    assert!(world.store.access_key(&made.access_key_id).await.unwrap().is_none());
    assert!(seen("bucket").await.unwrap().is_none());
    assert!(seen("NOT A NAME").await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn buckets_are_made_listed_and_removed() {
    let world = World::new().await;
    let make = |name: &str| {
        let request =
            CreateBucket { tenant: TenantId::DEFAULT, name: name.parse().unwrap(), owner: world.account, tags: Vec::new() };
        world.store.create_bucket(request)
    };
    let made = make("another").await.unwrap();
    assert_eq!(make("another").await.unwrap_err(), StoreError::BucketExists { owner: world.account });
    assert_eq!(world.store.bucket(TenantId::DEFAULT, "another").await.unwrap(), Some(Arc::clone(&made)));
    assert_eq!(world.store.bucket(TenantId(9), "another").await.unwrap(), None);
    let request = ListBuckets { tenant: TenantId::DEFAULT, prefix: String::new(), after: None, limit: 10 };
    let names: Vec<_> =
        world.store.list_buckets(request).await.unwrap().entries.iter().map(|bucket| bucket.name.to_string()).collect();
    assert_eq!(names, ["another", "bucket"]);
    world.store.delete_bucket(made.id).await.unwrap();
    assert_eq!(world.store.bucket(TenantId::DEFAULT, "another").await.unwrap(), None);
    assert_eq!(world.store.delete_bucket(made.id).await.unwrap_err(), StoreError::NoSuchBucket);
    world.put("key", &common::sample(1, 1)).await.unwrap();
    assert_eq!(world.store.delete_bucket(world.bucket.id).await.unwrap_err(), StoreError::BucketNotEmpty);
    // A name that is used again is another bucket.
    assert_ne!(make("another").await.unwrap().id, made.id);
}

#[tokio::test(start_paused = true)]
async fn the_root_key_is_what_it_was_given_to_be() {
    let world = World::new().await;
    let name = "default".parse().unwrap();
    let root = Credentials::existing("root", "another secret").unwrap();
    assert_eq!(world.store.ensure_root(&name, "root", &root).await.unwrap(), world.account);
    let key = world.store.access_key("root").await.unwrap().unwrap();
    assert_eq!(key.secret.expose(), b"another secret");
    assert_eq!((key.grants[0].scope, key.grants[0].access), (GrantScope::Tenant, Access::Administer));
    let epoch = world.catalog.settings_epoch().await.unwrap();
    world.store.ensure_root(&name, "root", &root).await.unwrap();
    assert_eq!(world.catalog.settings_epoch().await.unwrap(), epoch, "repeated, it changes nothing");
    let off = UpdateAccessKey {
        access_key_id: "root".to_owned(),
        grants: None,
        enabled: Some(false),
        expires: Some(Some(CatalogTime(1))),
        sealed_secret: None,
    };
    world.catalog.update_access_key(off).await.unwrap();
    world.store.ensure_root(&name, "root", &root).await.unwrap();
    assert!(world.store.access_key("root").await.unwrap().is_some());

    let made = world.store.create_access_key(key_of(&world)).await.unwrap();
    let taken = Credentials::existing(&made.access_key_id, "another secret").unwrap();
    assert!(matches!(world.store.ensure_root(&name, "root", &taken).await, Err(AdministrationError::Invalid(_))));
    assert!(Credentials::existing("", "another secret").is_err());
    assert!(Credentials::existing("a b", "another secret").is_err());
    assert!(Credentials::existing("root", "short").is_err());
}

#[tokio::test(start_paused = true)]
async fn secrets_are_sealed_and_sealed_anew_under_another_master_key() {
    let world = World::new().await;
    let mut made = Vec::new();
    for _ in 0..300 {
        made.push(world.store.create_access_key(key_of(&world)).await.unwrap());
    }
    let raw = |id: &str| {
        let name = AccessKeyName { access_key_id: id.to_owned() };
        async { world.catalog.access_key(name).await.unwrap().unwrap().record.sealed_secret }
    };
    for key in &made {
        let sealed = raw(&key.access_key_id).await;
        assert!(!sealed.windows(8).any(|part| part == &key.secret.expose()[..8]));
    }
    assert!(!format!("{:?}", made[0]).contains(std::str::from_utf8(made[0].secret.expose()).unwrap()));

    let old = MasterKey::generate(&SimRandom::new(1));
    let new = MasterKey::generate(&SimRandom::new(2));
    assert_eq!(world.store.master_key_id(), old.id());
    world.store.set_keys(KeyRing::with_former(new.clone(), vec![old]));
    assert_eq!(world.store.reseal_access_keys().await.unwrap(), Resealed { resealed: 301, current: 0 });
    assert_eq!(world.store.reseal_access_keys().await.unwrap(), Resealed { resealed: 0, current: 301 });
    world.store.set_keys(KeyRing::new(new));
    for key in &made {
        let found = world.store.access_key(&key.access_key_id).await.unwrap().unwrap();
        assert_eq!(found.secret.expose(), key.secret.expose());
    }
    // Without the key nothing opens, and nobody is let in.
    let other = MasterKey::generate(&SimRandom::new(3));
    world.store.set_keys(KeyRing::new(other));
    assert!(matches!(world.store.access_key("root").await, Err(StoreError::Internal(_))));
    assert!(matches!(world.store.reseal_access_keys().await, Err(AdministrationError::Secret(SecretError::UnknownKey(_)))));
}

#[tokio::test(start_paused = true)]
async fn tenants_and_accounts_are_administered() {
    let world = World::new().await;
    let store = &world.store;
    let tenant = store.create_tenant("team-a".parse().unwrap(), Some("uid".to_owned())).await.unwrap();
    assert_ne!(tenant.id, TenantId::DEFAULT);
    let again = store.create_tenant("team-a".parse().unwrap(), None).await.unwrap_err();
    assert_eq!(again, AdministrationError::Exists("tenant"));
    assert_eq!(store.tenant_by_name("team-a").await.unwrap().unwrap(), tenant);
    let account = store.create_account(tenant.id, "alice").await.unwrap();
    assert_eq!(store.delete_tenant(tenant.id).await.unwrap_err(), AdministrationError::InUse("tenant"));
    let key = NewAccessKey { account: account.id, grants: Vec::new(), expires: None, description: String::new() };
    let made = store.create_access_key(key).await.unwrap();
    assert_eq!(store.access_key(&made.access_key_id).await.unwrap().unwrap().tenant, tenant.id);
    let listed = store.list_access_keys(Some(account.id), None, 10).await.unwrap();
    assert_eq!(listed.entries.len(), 1);
    assert_eq!(store.delete_account(account.id).await.unwrap_err(), AdministrationError::InUse("account"));
    store.revoke_access_key(&made.access_key_id).await.unwrap();
    store.delete_account(account.id).await.unwrap();
    store.delete_tenant(tenant.id).await.unwrap();
    assert_eq!(store.list_tenants(None, 10).await.unwrap().entries.len(), 1);
    assert_eq!(store.usage(world.bucket.id).await.unwrap().objects, 0);
}
