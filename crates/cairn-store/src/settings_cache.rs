//! What every request needs to know, from memory: access keys and buckets (R3).
//!
//! The catalog's epoch of settings rises with every change of any of them. What was read at one epoch is true for as long as the epoch is the
//! same; so an entry is used only when the catalog has confirmed its very epoch within the last second
//! ([`SettingsConfig::confirmed_for_max`]), counted from when it was asked (an engine that asks all the time may have been asked before the request came). Past that the request waits for the catalog, and fails where it
//! does not answer: nobody is let in by memory alone. Changes made through this store are seen by its next request.
//!
//! What is not there is not remembered: names made up by a stranger would push out those that are in use.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use cairn_catalog::{AccessKeyName, FoundAccessKey};
use cairn_types::{BucketName, CatalogTime, TenantId};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::api::{AccessKey, Bucket, SecretAccessKey, StoreError, StoreResult};
use crate::config::SettingsConfig;
use crate::convert;
use crate::core::Core;
use crate::secrets::KeyRing;

/// What the catalog has confirmed.
#[derive(Debug, Clone, Copy)]
struct Confirmed {
    epoch: u64,
    /// When it was asked.
    asked: Instant,
    /// Catalog time then, or a little later.
    time: CatalogTime,
}

impl Confirmed {
    /// Catalog time now, at least: it follows this machine's monotonic clock (T1).
    fn time_now(&self) -> CatalogTime {
        self.time.after(self.asked.elapsed())
    }
}

/// An access key as it is kept. Whether it is enabled and current is judged with each use.
#[derive(Clone)]
struct KeptKey {
    key: Arc<AccessKey>,
    expires: Option<CatalogTime>,
}

#[derive(Clone)]
struct Entry<T> {
    epoch: u64,
    value: T,
}

/// A map of bounded size. What has not been used since half of it was filled anew goes.
struct Bounded<Key, Value> {
    young: HashMap<Key, Value>,
    old: HashMap<Key, Value>,
    half: usize,
}

impl<Key: Hash + Eq + Clone, Value: Clone> Bounded<Key, Value> {
    fn new(count_max: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), half: (count_max / 2).max(1) }
    }

    fn get<Name: Hash + Eq + ?Sized>(&mut self, name: &Name) -> Option<Value>
    where
        Key: Borrow<Name>,
    {
        if let Some(value) = self.young.get(name) {
            return Some(value.clone());
        }
        let (key, value) = self.old.remove_entry(name)?;
        self.insert(key, value.clone());
        Some(value)
    }

    fn insert(&mut self, key: Key, value: Value) {
        if self.young.len() >= self.half && !self.young.contains_key(&key) {
            self.old = std::mem::take(&mut self.young);
        }
        self.old.remove(&key);
        self.young.insert(key, value);
    }

    fn remove<Name: Hash + Eq + ?Sized>(&mut self, name: &Name)
    where
        Key: Borrow<Name>,
    {
        self.young.remove(name);
        self.old.remove(name);
    }
}

struct State {
    confirmed: Option<Confirmed>,
    /// Counts the changes made here, so that a confirmation that was asked for before one is not used after it.
    changes: u64,
    /// When the last of them was: what was confirmed before it is not used behind it.
    changed: Option<Instant>,
    access_keys: Bounded<Box<str>, Entry<KeptKey>>,
    /// Names of buckets by tenant: a tenant's id in text before the name would cost no less.
    buckets: Bounded<(TenantId, Box<str>), Entry<Arc<Bucket>>>,
}

/// See the module's documentation.
pub(crate) struct SettingsCache {
    config: SettingsConfig,
    state: Mutex<State>,
    refreshing: tokio::sync::Mutex<()>,
    keys: Mutex<Arc<KeyRing>>,
}

impl SettingsCache {
    pub(crate) fn new(config: SettingsConfig, keys: KeyRing) -> Self {
        let state = State {
            confirmed: None,
            changes: 0,
            changed: None,
            access_keys: Bounded::new(config.access_keys_max),
            buckets: Bounded::new(config.buckets_max),
        };
        Self { config, state: Mutex::new(state), refreshing: tokio::sync::Mutex::new(()), keys: Mutex::new(Arc::new(keys)) }
    }

    /// The keys that secrets are sealed under.
    pub(crate) fn key_ring(&self) -> Arc<KeyRing> {
        Arc::clone(&self.keys.lock())
    }

    pub(crate) fn set_key_ring(&self, keys: KeyRing) {
        *self.keys.lock() = Arc::new(keys);
        self.changed();
    }

    /// Settings were changed through this store, or may have been: the next request asks the catalog.
    pub(crate) fn changed(&self) {
        let mut state = self.state.lock();
        state.confirmed = None;
        state.changes += 1;
        state.changed = Some(Instant::now());
    }

    fn known(&self, age_max: Duration) -> Option<Confirmed> {
        self.state.lock().confirmed.filter(|confirmed| confirmed.asked.elapsed() < age_max)
    }

    /// An epoch that was confirmed recently enough to answer a request that is here now (R3).
    async fn confirmed(&self, core: &Core) -> StoreResult<Confirmed> {
        if let Some(confirmed) = self.known(self.config.refresh_after) {
            return Ok(confirmed);
        }
        let _refreshing = match self.refreshing.try_lock() {
            Ok(alone) => alone,
            Err(_) => match self.known(self.config.confirmed_for_max) {
                Some(confirmed) => return Ok(confirmed),
                None => self.refreshing.lock().await,
            },
        };
        let mut patience = core.patience();
        loop {
            if let Some(confirmed) = self.known(self.config.refresh_after) {
                return Ok(confirmed);
            }
            let changes = self.state.lock().changes;
            let since = self.since();
            let settings = core.ask(|catalog| catalog.confirm_settings(since)).await?;
            // Counted from when the catalog was asked, which may have been before this.
            let confirmed = Confirmed { epoch: settings.epoch, asked: settings.confirmed, time: settings.time };
            let is_fresh = confirmed.asked.elapsed() < self.config.confirmed_for_max;
            if self.keep(confirmed, changes) && is_fresh {
                return Ok(confirmed);
            }
            if !is_fresh && !patience.pause().await {
                return Err(StoreError::Unavailable("the catalog is too slow to confirm settings".to_owned()));
            }
        }
    }

    /// From when on a confirmation is of use: not from before a change that was made here, and not so old that it is over at once.
    fn since(&self) -> Instant {
        let age_max = (self.config.confirmed_for_max + self.config.refresh_after) / 2;
        let now = Instant::now();
        let recent = now.checked_sub(age_max).unwrap_or(now);
        self.state.lock().changed.map_or(recent, |changed| changed.max(recent))
    }

    /// Keeps what was confirmed, unless something was changed here since it was asked.
    fn keep(&self, confirmed: Confirmed, changes: u64) -> bool {
        let mut state = self.state.lock();
        let is_unchanged = state.changes == changes;
        if is_unchanged {
            state.confirmed = Some(confirmed);
        }
        is_unchanged
    }

    pub(crate) async fn access_key(&self, core: &Core, access_key_id: &str) -> StoreResult<Option<Arc<AccessKey>>> {
        let confirmed = self.confirmed(core).await?;
        let is_current = |kept: &KeptKey| kept.expires.is_none_or(|expires| confirmed.time_now() < expires);
        let entry = self.state.lock().access_keys.get(access_key_id);
        if let Some(entry) = entry.filter(|entry| entry.epoch == confirmed.epoch) {
            return Ok(Some(entry.value).filter(is_current).map(|kept| kept.key));
        }
        let name = AccessKeyName { access_key_id: access_key_id.to_owned() };
        // Read after its epoch was: should it be newer, it is read once more than needed.
        let found = core.ask(|catalog| catalog.access_key(name.clone())).await?.filter(|found| found.record.enabled);
        let Some(found) = found else {
            self.state.lock().access_keys.remove(access_key_id);
            return Ok(None);
        };
        let kept = KeptKey { expires: found.record.expires, key: self.unsealed(found)? };
        let entry = Entry { epoch: confirmed.epoch, value: kept.clone() };
        self.state.lock().access_keys.insert(access_key_id.into(), entry);
        Ok(Some(kept).filter(is_current).map(|kept| kept.key))
    }

    fn unsealed(&self, found: FoundAccessKey) -> StoreResult<Arc<AccessKey>> {
        let FoundAccessKey { access_key_id, record, account_name } = found;
        let secret = self.key_ring().open(&record.sealed_secret, &access_key_id).map_err(|error| {
            tracing::error!(access_key_id, %error, "an access key cannot be used");
            StoreError::Internal(format!("access key {access_key_id}: {error}"))
        })?;
        let secret = std::str::from_utf8(&secret)
            .map_err(|_| StoreError::Internal(format!("access key {access_key_id}: its secret is no text")))?;
        Ok(Arc::new(AccessKey {
            secret: SecretAccessKey::new(secret),
            access_key_id: access_key_id.into(),
            tenant: record.tenant,
            account: record.account,
            account_name: account_name.into(),
            grants: record.grants.iter().map(convert::grant).collect(),
        }))
    }

    pub(crate) async fn bucket(&self, core: &Core, tenant: TenantId, name: &str) -> StoreResult<Option<Arc<Bucket>>> {
        let Ok(valid) = name.parse::<BucketName>() else { return Ok(None) };
        let confirmed = self.confirmed(core).await?;
        let key: (TenantId, Box<str>) = (tenant, name.into());
        let entry = self.state.lock().buckets.get(&key);
        if let Some(entry) = entry.filter(|entry| entry.epoch == confirmed.epoch) {
            return Ok(Some(entry.value));
        }
        let Some(found) = core.ask(|catalog| catalog.bucket_by_name(tenant, valid.clone())).await? else {
            self.state.lock().buckets.remove(&key);
            return Ok(None);
        };
        let bucket = convert::bucket(found);
        self.state.lock().buckets.insert(key, Entry { epoch: confirmed.epoch, value: Arc::clone(&bucket) });
        Ok(Some(bucket))
    }
}

#[cfg(test)]
mod tests;
