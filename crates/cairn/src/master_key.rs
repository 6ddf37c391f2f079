//! The master key of an embedded store (K1): made once, kept as one share of three in each zone's directory, and shared anew when a zone
//! begins a new life.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use cairn_catalog::embedded::log::replicated::Replicated;
use cairn_catalog::embedded::machine::CatalogMachine;
use cairn_catalog::{Catalog, ListAccessKeys};
use cairn_disk::Environment;
use cairn_disk::zone_directory::ZoneDirectory;
use cairn_store::key_shares::{KeyShare, read_shares, recover, removable, remove_share, split, write_share};
use cairn_store::secrets::{KeyRing, MasterKey};
use cairn_types::ZoneIndex;
use cairn_types::ids::ZONE_COUNT;
use cairn_types::records::ZoneSet;

use crate::embedded::Engines;
use crate::serve::ServeError;

/// How long a start waits for two zones' directories.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// How often it is looked whether a zone needs a share.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Recovers the master key from the zones, or makes it where the store has no secret yet; then keeps three shares standing.
///
/// Nothing is sealed under a key before all three zones hold their share, as nothing is acknowledged before all three are formed (L8): with a
/// zone that never had one, the loss of another would be the loss of the key. A zone that loses its share later gets one again.
pub async fn load_or_make(environment: &Environment, engines: &Engines) -> Result<KeyRing, ServeError> {
    let keeper = Keeper { environment: environment.clone(), log: engines.log.clone() };
    let directories = keeper.directories_when(2).await?;
    let found = keeper.read(&directories).await?;
    let request = ListAccessKeys { account: None, after: None, limit: 1 };
    let sealed = engines.catalog.list_access_keys(request).await;
    let sealed = sealed.map_err(|error| ServeError(format!("the catalog does not answer: {error}")))?;
    let key = match recover(&found) {
        Ok(recovered) if !sealed.entries.is_empty() || stands_everywhere(&found) => recovered.key,
        Err(reason) if !sealed.entries.is_empty() => {
            return Err(ServeError(format!(
                "The master key cannot be had: {reason}. Access keys are sealed under it. Nothing was changed. Restore a zone's \
                 directory that has a file key-share-N."
            )));
        }
        // A start that ended before all three zones had their share.
        _ => {
            let key = MasterKey::generate(&*environment.random);
            let directories = keeper.directories_when(ZONE_COUNT).await?;
            let generation = keeper.read(&directories).await?.iter().map(|share| share.generation).max().unwrap_or(0) + 1;
            keeper.issue(&key, generation, &directories, ZONE_COUNT).await?;
            key
        }
    };
    let ring = KeyRing::new(key.clone());
    environment.executor.spawn_worker("key shares", Box::pin(keeper.run(key)));
    Ok(ring)
}

/// Whether every zone holds its share of the newest generation.
fn stands_everywhere(found: &[KeyShare]) -> bool {
    let newest = found.iter().map(|share| share.generation).max();
    let zones: ZoneSet = found.iter().filter(|share| Some(share.generation) == newest).map(|share| share.zone).collect();
    zones == ZoneSet::ALL
}

struct Keeper {
    environment: Environment,
    log: Arc<Replicated<CatalogMachine>>,
}

type Directories = [Option<Arc<ZoneDirectory>>; ZONE_COUNT];

impl Keeper {
    fn directories(&self) -> Directories {
        self.log.zones().each_ref().map(|zone| zone.borrow().directory.clone())
    }

    /// The zones' directories once so many are there.
    async fn directories_when(&self, count: usize) -> Result<Directories, ServeError> {
        let started = self.environment.clock.monotonic();
        loop {
            let directories = self.directories();
            let present = directories.iter().flatten().count();
            let waited = self.environment.clock.monotonic().saturating_sub(started);
            // A third that is about to come is worth a moment: its share may be the one that fits.
            if present == ZONE_COUNT || (present >= count && waited > Duration::from_secs(1)) {
                return Ok(directories);
            }
            if waited > WAIT_MAX {
                return Err(ServeError(if count < ZONE_COUNT {
                    "fewer than two zones can be read, so the master key cannot be had".to_owned()
                } else {
                    "The store's master key is made once, in all three zones, and not all of them can be written. Nothing is served until \
                     they can."
                        .to_owned()
                }));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The shares in these zones that are of this store and of the zone they lie in.
    async fn read(&self, directories: &Directories) -> Result<Vec<KeyShare>, ServeError> {
        let mut found = Vec::new();
        for (zone, directory) in ZoneIndex::ALL.into_iter().zip(directories) {
            let Some(directory) = directory else { continue };
            let shares = read_shares(&*self.environment.disk, directory.path()).await;
            let shares = shares.map_err(|error| ServeError(format!("{} cannot be read: {error}", directory.path().display())))?;
            for (generation, share) in shares {
                match share {
                    Ok(share) if share.store == self.log.store() && share.zone == zone => found.push(share),
                    Ok(_) => tracing::warn!(%zone, generation, "a share of another zone's or store's master key is passed over"),
                    Err(reason) => tracing::warn!(%zone, generation, %reason, "a share of the master key cannot be read"),
                }
            }
        }
        Ok(found)
    }

    /// Puts a new generation of shares into these zones; fails where fewer than so many take theirs.
    async fn issue(
        &self,
        key: &MasterKey,
        generation: u64,
        directories: &Directories,
        count_min: usize,
    ) -> Result<(), ServeError> {
        let shares = split(key, self.log.store(), generation, &*self.environment.random);
        let mut written = 0;
        let mut reasons = Vec::new();
        for (share, directory) in shares.iter().zip(directories) {
            let Some(directory) = directory else { continue };
            let result = match directory.check_present().await {
                Ok(()) => write_share(&*self.environment.disk, directory.path(), share).await,
                Err(error) => Err(error),
            };
            match result {
                Ok(()) => written += 1,
                Err(error) => reasons.push(error.to_string()),
            }
        }
        if written < count_min {
            let words = format!("the master key's shares could not be kept in {count_min} zones: {}", reasons.join("; "));
            return Err(ServeError(words));
        }
        Ok(())
    }

    async fn run(self, key: MasterKey) {
        loop {
            if let Err(error) = self.look(&key).await {
                tracing::warn!(%error, "the master key could not be shared anew");
            }
            tokio::select! {
                biased;
                () = self.log.stopped() => return,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    /// Where all three zones are there and one lacks its share, shares anew; removes generations that are no longer needed.
    async fn look(&self, key: &MasterKey) -> Result<(), ServeError> {
        let directories = self.directories();
        if directories.iter().any(Option::is_none) {
            return Ok(());
        }
        let found = self.read(&directories).await?;
        let mut standing: BTreeMap<u64, ZoneSet> = BTreeMap::new();
        for share in found.iter().filter(|share| share.key_id == key.id()) {
            let zones = standing.entry(share.generation).or_default();
            *zones = zones.with(share.zone);
        }
        let newest = found.iter().map(|share| share.generation).max().unwrap_or(0);
        if standing.get(&newest).is_none_or(|zones| zones.len() < ZONE_COUNT) {
            self.issue(key, newest + 1, &directories, 2).await?;
            tracing::info!(generation = newest + 1, "the master key was shared anew");
            return Ok(());
        }
        for generation in removable(&found, key.id()) {
            for directory in directories.iter().flatten() {
                let removed = remove_share(&*self.environment.disk, directory.path(), generation).await;
                removed.map_err(|error| ServeError(error.to_string()))?;
            }
        }
        Ok(())
    }
}
