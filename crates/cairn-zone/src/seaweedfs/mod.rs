//! The engine on SeaweedFS: one zone is one SeaweedFS cluster of its own in its own datacentre.
//!
//! What it guarantees, and what of SeaweedFS stands in the way, trap by trap, is argued in `docs/adr/0012-seaweedfs-zone.md`:
//!
//! - a confirmed write is durable in each copy of its volume, data and index, and is what was given, by check sum;
//! - a confirmed deletion is durable likewise, and never hits another chunk (B7);
//! - every needle tells its store, zone, incarnation, session and chunk, and all of them can be listed (S1, S3);
//! - no name is ever given out twice: the engine makes names itself, a new one for each attempt, and a new life of the zone has a collection of
//!   its own (B2).
//!
//! It keeps nothing on the gateway: what is remembered of the cluster is in a record that all gateways of the store share ([`memory::ClusterMemory`]), and a zone may be opened by any
//! number of them at once. It runs nothing by itself: somebody has to look at the cluster ([`SeaweedZone::watch`]), or nothing is written.

mod assignments;
mod connect;
mod core;
mod delete;
pub mod format;
mod grpc;
mod http_client;
mod listing;
mod masters;
pub mod memory;
mod read;
mod seal;
mod settings;
mod survey;
mod token;
mod trust;
mod usage;
mod volumes;
mod wire;
mod write;

#[cfg(test)]
mod scripted;

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use cairn_disk::Environment;
use cairn_types::{ChunkId, Incarnation, Locator, SessionId, StoreId, ZoneIndex};
use futures::future::{BoxFuture, FutureExt};

pub use self::core::collection;
pub use settings::{Cluster, IndexSync, Settings, SigningKeys, Tls};
pub use survey::Looked;

use self::core::Core;
use self::format::Place;
use self::memory::ClusterMemory;
use crate::{Capabilities, Page, Placed, Usage, Zone, ZoneError};

/// What is needed to open a zone.
pub struct Opening {
    /// Time and randomness.
    pub environment: Environment,
    /// The cluster.
    pub cluster: Cluster,
    /// Whose zone.
    pub store: StoreId,
    /// Which of the three.
    pub zone: ZoneIndex,
    /// Its present life.
    pub incarnation: Incarnation,
    /// Where the record of this life is.
    pub memory: Arc<dyn ClusterMemory>,
    /// Limits.
    pub settings: Settings,
}

/// A zone on SeaweedFS. Clones share connections and what is remembered.
#[derive(Clone)]
pub struct SeaweedZone {
    core: Arc<Core>,
}

impl SeaweedZone {
    /// Opens a zone: a master must answer, and what its volumes are must be what this engine can serve. It is read from; nothing is written before the first
    /// [`SeaweedZone::look`].
    ///
    /// # Errors
    /// [`ZoneError::Away`] where no master answers, a volume cannot be served, or what is remembered cannot be had; [`ZoneError::Refused`] for settings that
    /// cannot be, and for a memory that this version cannot read.
    pub async fn open(opening: Opening) -> Result<Self, ZoneError> {
        let Opening { environment, cluster, store, zone, incarnation, memory, settings } = opening;
        if cluster.masters.is_empty() {
            return Err(ZoneError::Refused("a SeaweedFS zone needs the address of a master".to_owned()));
        }
        if u32::try_from(settings.chunk_bytes_max).is_err() {
            return Err(ZoneError::Refused(format!("chunks of {} bytes; the longest is 4 GiB", settings.chunk_bytes_max)));
        }
        let core = Core::new(environment, &cluster, settings, memory, (store, zone, incarnation));
        core.ledger.load().await?;
        let listing = core.volumes.list_cluster().await?;
        if let Some((volume, _)) = listing.volumes.iter().find(|(_, volume)| volume.expires) {
            return Err(ZoneError::Away(format!(
                "what is in volume {volume} expires (ttl); nothing may be written to such a volume"
            )));
        }
        Ok(Self { core: Arc::new(core) })
    }

    /// Needles that listings have passed over because they cannot be read. The sum over all listings of this process.
    #[must_use]
    pub fn damaged_needles(&self) -> u64 {
        self.core.damaged.load(std::sync::atomic::Ordering::Relaxed)
    }
}

impl Zone for SeaweedZone {
    fn capabilities(&self) -> Capabilities {
        // SeaweedFS reads a needle of up to 1 MiB whole, to check its sum, and of a longer one the range only.
        Capabilities {
            engine: "seaweedfs",
            chunk_bytes_max: self.core.settings.chunk_bytes_max,
            ranged_read: false,
            durable: true,
        }
    }

    fn incarnation(&self) -> Option<Incarnation> {
        Some(self.core.incarnation)
    }

    fn write(&self, session: SessionId, id: ChunkId, pieces: Vec<Bytes>) -> BoxFuture<'_, Result<Placed, ZoneError>> {
        self.core.write(session, id, pieces).boxed()
    }

    fn read<'a>(
        &'a self,
        locator: &'a Locator,
        id: ChunkId,
        offset: u64,
        length: usize,
    ) -> BoxFuture<'a, Result<Bytes, ZoneError>> {
        async move {
            let place = Place::decode(locator)
                .ok_or_else(|| ZoneError::Refused("this is not a locator of the SeaweedFS engine".to_owned()))?;
            self.core.read(place, id, offset, length).await
        }
        .boxed()
    }

    fn delete<'a>(&'a self, chunks: &'a [(Locator, ChunkId)]) -> BoxFuture<'a, Vec<Result<(), ZoneError>>> {
        self.core.delete(chunks).boxed()
    }

    fn enumerate(&self, since: SessionId, from: Option<Bytes>, count_max: usize) -> BoxFuture<'_, Result<Page, ZoneError>> {
        self.core.enumerate(since, from, count_max).boxed()
    }

    fn usage(&self) -> BoxFuture<'_, Result<Usage, ZoneError>> {
        self.core.usage().boxed()
    }

    fn suspects(&self) -> BTreeSet<u32> {
        let seen = self.core.ledger.seen();
        seen.memory.expected().filter(|(_, known)| known.suspect.is_some()).map(|(volume, _)| volume).collect()
    }

    fn suspect_of(&self, locator: &Locator) -> Option<u32> {
        let place = Place::decode(locator).filter(|place| place.incarnation == self.core.incarnation)?;
        let seen = self.core.ledger.seen();
        let suspect = seen.memory.volumes.get(&place.fid.volume)?.suspect.is_some();
        (suspect && !seen.memory.given_up.contains(&place.fid.volume)).then_some(place.fid.volume)
    }
}
