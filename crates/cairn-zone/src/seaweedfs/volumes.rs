//! Where volumes are, as far as is known: places that masters named are remembered, and asked for again when they prove wrong.
//!
//! A master lists the volumes of the servers that are there. A server that is away takes its volumes out of the list, and a walk over
//! what is left would pass for a whole one. So while one of the volumes that are remembered is missing there is no listing (S3).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::masters::{Listing, Masters, Server};
use super::memory::{Ledger, Remembered};
use super::settings::Settings;
use crate::ZoneError;

/// So often at most all volumes are listed because somebody asks for one that is not found.
const LIST_EVERY: Duration = Duration::from_secs(1);

/// Who holds a volume, and when a master said so.
type Places = (Arc<[Server]>, Instant);

/// What is known of volumes beside where they are.
#[derive(Default)]
struct Kinds {
    /// How many copies of each volume there are to be. It never changes.
    copies: HashMap<u32, usize>,
    /// Whether it was cut into shards, as last seen.
    cut: HashMap<u32, bool>,
    listed: Option<Instant>,
}

/// The places of one collection's volumes.
pub struct Volumes {
    masters: Arc<Masters>,
    ledger: Arc<Ledger>,
    settings: Settings,
    places: Mutex<HashMap<u32, Places>>,
    kinds: Mutex<Kinds>,
}

impl Volumes {
    /// Nothing is known yet.
    pub fn new(masters: Arc<Masters>, ledger: Arc<Ledger>, settings: Settings) -> Self {
        Self { masters, ledger, settings, places: Mutex::default(), kinds: Mutex::default() }
    }

    /// Whether an administrator has said that this volume is lost for good. Should it come back, it is not looked at.
    pub fn is_given_up(&self, volume: u32) -> bool {
        self.ledger.seen().memory.given_up.contains(&volume)
    }

    /// Whether this volume was cut into shards, as last seen.
    pub fn is_cut(&self, volume: u32) -> bool {
        self.kinds.lock().cut.get(&volume).copied().unwrap_or(false)
    }

    /// Who holds this volume, as remembered or as a master says. Empty where nobody does.
    pub async fn locate(&self, volume: u32) -> Result<Arc<[Server]>, ZoneError> {
        if let Some((servers, since)) = self.places.lock().get(&volume)
            && since.elapsed() < self.settings.location_age_max
        {
            return Ok(servers.clone());
        }
        self.look_up(volume).await
    }

    /// Who holds this volume, or shards of it, as a master says now.
    pub async fn look_up(&self, volume: u32) -> Result<Arc<[Server]>, ZoneError> {
        let failed = |error| ZoneError::Away(format!("no master says where volume {volume} is: {error}"));
        let mut servers = self.masters.look_up(volume).await.map_err(failed)?;
        if servers.is_empty() {
            self.places.lock().remove(&volume);
            self.list_again().await?;
            if !self.is_cut(volume) {
                return Ok(servers.into());
            }
            servers = self.masters.look_up_shards(volume).await.map_err(failed)?;
        }
        let servers: Arc<[Server]> = servers.into();
        if !servers.is_empty() {
            self.remember(volume, servers.clone());
        }
        Ok(servers)
    }

    /// A master has named these.
    pub fn remember(&self, volume: u32, servers: Arc<[Server]>) {
        self.places.lock().insert(volume, (servers, Instant::now()));
    }

    /// How many copies of this volume there are to be, at least one. A master that has lost sight of a server names the others as if they were all; what is
    /// deleted from these alone would come back with it.
    pub async fn copies(&self, volume: u32) -> Result<usize, ZoneError> {
        if !self.kinds.lock().copies.contains_key(&volume) {
            self.list_again().await?;
        }
        let listed = self.kinds.lock().copies.get(&volume).copied();
        let remembered = || self.ledger.seen().memory.volumes.get(&volume).map_or(1, |known| known.copies);
        Ok(listed.unwrap_or_else(remembered).max(1))
    }

    async fn list_again(&self) -> Result<(), ZoneError> {
        if self.kinds.lock().listed.is_some_and(|listed| listed.elapsed() < LIST_EVERY) {
            return Ok(());
        }
        self.listed().await.map(drop)
    }

    async fn listed(&self) -> Result<Listing, ZoneError> {
        let listing = self.masters.list().await.map_err(|error| ZoneError::Away(format!("no master lists volumes: {error}")))?;
        self.learn(&listing);
        Ok(listing)
    }

    /// All volumes of the collection, whichever of them are missing, and the names of all collections.
    pub async fn list_cluster(&self) -> Result<Listing, ZoneError> {
        let listing = self.masters.list_cluster().await;
        let listing = listing.map_err(|error| ZoneError::Away(format!("no master lists volumes: {error}")))?;
        self.learn(&listing);
        Ok(listing)
    }

    /// Deletes a collection.
    pub async fn delete_collection(&self, name: String) -> Result<(), ZoneError> {
        self.masters.delete_collection(name).await.map_err(|error| ZoneError::Away(error.to_string()))
    }

    fn learn(&self, listing: &Listing) {
        let mut kinds = self.kinds.lock();
        for (volume, found) in &listing.volumes {
            kinds.cut.insert(*volume, found.erasure_coded);
            // What was cut has no copies.
            if !found.servers.is_empty() {
                kinds.copies.insert(*volume, usize::try_from(found.copies).unwrap_or(usize::MAX));
            }
        }
        kinds.listed = Some(Instant::now());
    }

    /// All volumes; none where one that is remembered is missing.
    pub async fn list(&self, remembered: &Remembered) -> Result<Listing, ZoneError> {
        let mut listing = self.listed().await?;
        let memory = &remembered.memory;
        listing.volumes.retain(|volume, _| !memory.given_up.contains(volume));
        if let Some((volume, _)) = memory.expected().find(|(volume, _)| !listing.volumes.contains_key(volume)) {
            return Err(ZoneError::Away(format!("volume {volume} holds chunks, and no server has it now")));
        }
        for (volume, found) in listing.volumes.iter().filter(|(_, found)| !found.servers.is_empty()) {
            self.places.lock().insert(*volume, (found.servers.clone().into(), Instant::now()));
        }
        Ok(listing)
    }
}
