//! The masters of a cluster: only their leader assigns and lists, so whoever refuses for not being it, or does not answer, is passed over.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::grpc::{CallError, GrpcClient};
use super::settings::{Cluster, Settings};
use super::wire::{
    AssignRequest, Call, CollectionDeleteRequest, DataNodeInfo, Location, LookupVolumeRequest, VolumeInformation,
    VolumeListRequest, VolumeListResponse,
};

/// gRPC's code for a server that cannot serve now; a master that has just become the leader says so until it knows its volumes.
const UNAVAILABLE: u32 = 14;
/// SeaweedFS's port of gRPC, above that of HTTP, where nothing else is said.
const GRPC_PORT_ABOVE: u16 = 10_000;

/// A volume server.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Server {
    /// Host and port of its HTTP.
    pub http: String,
    /// Host and port of its gRPC.
    pub grpc: String,
}

impl Server {
    /// `None` for an address without a port.
    pub fn new(http: &str, grpc_port: u32) -> Option<Self> {
        let (host, port) = http.rsplit_once(':')?;
        let port: u16 = port.parse().ok()?;
        let grpc_port = match u16::try_from(grpc_port).ok()? {
            0 => port.checked_add(GRPC_PORT_ABOVE)?,
            given => given,
        };
        Some(Self { http: http.to_owned(), grpc: format!("{host}:{grpc_port}") })
    }

    fn of(location: &Location) -> Option<Self> {
        Self::new(&location.url, location.grpc_port)
    }
}

/// A volume that a master knows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Volume {
    /// Who holds it.
    pub servers: Vec<Server>,
    /// Needles that were not deleted, as of the last heartbeat.
    pub live: u64,
    /// Bytes in it, as of the last heartbeat.
    pub size: u64,
    /// Whether it takes no writes.
    pub read_only: bool,
    /// It was cut into shards.
    pub erasure_coded: bool,
    /// What is in it expires.
    pub expires: bool,
    /// How many copies of it there are to be.
    pub copies: u64,
}

/// What the masters say of one collection, and of the room there is.
#[derive(Debug, Clone, Default)]
pub struct Listing {
    /// The collection's volumes.
    pub volumes: BTreeMap<u32, Volume>,
    /// All servers of the cluster.
    pub servers: Vec<Server>,
    /// Bytes that new volumes could hold, of all collections together.
    pub unassigned_bytes: u64,
    /// Bytes that the file systems of the volume servers have free.
    pub disk_free_bytes: u64,
    /// How large a volume grows, bytes.
    pub volume_bytes_max: u64,
    /// The names of all collections that any volume of the answer is of.
    pub collections: BTreeSet<String>,
}

/// What is asked of the masters.
pub struct Masters {
    addresses: Vec<String>,
    /// Which one answered last.
    current: AtomicUsize,
    grpc: Arc<GrpcClient>,
    timeout: Duration,
    assign_timeout: Duration,
    assign: AssignRequest,
}

/// Why no volume was assigned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AssignError {
    /// There is no room for another volume, and none can be written to.
    #[error("{0}")]
    Full(String),
    /// It may go better later: volumes are being made, or a new leader does not know its volumes yet.
    #[error("{0}")]
    Later(String),
    /// No master answered as a leader does.
    #[error("{0}")]
    NoMaster(String),
}

impl Masters {
    /// The masters of this cluster; `collection` is where volumes are assigned.
    pub fn new(cluster: &Cluster, settings: &Settings, collection: &str, grpc: Arc<GrpcClient>) -> Self {
        let assign = AssignRequest {
            count: settings.assign_count,
            replication: cluster.replication.clone(),
            collection: collection.to_owned(),
            data_center: cluster.data_center.clone(),
            writable_volume_count: settings.volume_growth_count,
            disk_type: cluster.disk_type.clone(),
            expected_data_size: 0,
        };
        Self {
            addresses: cluster.masters.clone(),
            current: AtomicUsize::new(0),
            grpc,
            timeout: settings.master_timeout,
            assign_timeout: settings.assign_timeout,
            assign,
        }
    }

    /// Asks one after the other, beginning with the one that answered last, until one answers as a leader does.
    async fn call<C: Call>(&self, call: &C, timeout: Duration) -> Result<C::Answer, CallError> {
        let first = self.current.load(Ordering::Relaxed);
        let mut failed = CallError::NoAnswer("no master is configured".to_owned());
        for turn in 0..self.addresses.len() {
            let at = (first + turn) % self.addresses.len();
            match self.grpc.call(&self.addresses[at], call, timeout).await {
                Ok(answer) => {
                    self.current.store(at, Ordering::Relaxed);
                    return Ok(answer);
                }
                Err(error) if passed_over(&error) => failed = error,
                Err(error) => return Err(error),
            }
        }
        Err(failed)
    }

    /// A volume to write to, and who holds it, the one to write to first.
    pub async fn assign(&self, chunk_bytes: u64) -> Result<(u32, Vec<Server>), AssignError> {
        let request = AssignRequest { expected_data_size: chunk_bytes, ..self.assign.clone() };
        let answer = match self.call(&request, self.assign_timeout).await {
            Ok(answer) if answer.error.is_empty() => answer,
            Ok(answer) => return Err(refused(answer.error)),
            Err(error) if passed_over(&error) => return Err(AssignError::NoMaster(error.to_string())),
            Err(CallError::Status { message, .. }) => return Err(refused(message)),
            Err(error @ CallError::NoAnswer(_)) => return Err(AssignError::NoMaster(error.to_string())),
        };
        let volume = answer.fid.split_once(',').and_then(|(volume, _)| volume.parse().ok());
        let servers: Option<Vec<Server>> = answer.location.iter().chain(&answer.replicas).map(Server::of).collect();
        match (volume, servers) {
            (Some(volume), Some(servers)) if !servers.is_empty() => Ok((volume, servers)),
            _ => Err(AssignError::Later(format!("an assignment that says nothing: {answer:?}"))),
        }
    }

    /// Who holds this volume; empty where the leader knows of nobody, and where it was cut into shards.
    pub async fn look_up(&self, volume: u32) -> Result<Vec<Server>, CallError> {
        self.look_up_in(volume, self.assign.collection.clone()).await
    }

    /// Who holds shards of this volume. Where a collection has volumes, a master does not look among its shards; so this asks for one of any collection.
    pub async fn look_up_shards(&self, volume: u32) -> Result<Vec<Server>, CallError> {
        self.look_up_in(volume, String::new()).await
    }

    async fn look_up_in(&self, volume: u32, collection: String) -> Result<Vec<Server>, CallError> {
        let request = LookupVolumeRequest { volume_or_file_ids: vec![volume.to_string()], collection };
        let answer = self.call(&request, self.timeout).await?;
        let locations = answer.volume_id_locations.into_iter().flat_map(|found| found.locations);
        Ok(locations.filter_map(|location| Server::of(&location)).collect())
    }

    /// All volumes of the collection, and the names of all others in the cluster.
    pub async fn list_cluster(&self) -> Result<Listing, CallError> {
        let answer = self.call(&VolumeListRequest::default(), self.timeout).await?;
        Ok(listing(answer, &self.assign.collection))
    }

    /// Deletes a collection. What a server holds of it that is away now is not deleted.
    pub async fn delete_collection(&self, name: String) -> Result<(), CallError> {
        self.call(&CollectionDeleteRequest { name }, self.assign_timeout).await.map(drop)
    }

    /// All volumes of the collection.
    pub async fn list(&self) -> Result<Listing, CallError> {
        let collection = &self.assign.collection;
        let answer = self.call(&VolumeListRequest { collection: collection.clone() }, self.timeout).await?;
        Ok(listing(answer, collection))
    }
}

fn passed_over(error: &CallError) -> bool {
    match error {
        CallError::NoAnswer(_) => true,
        // Raft's own words reach the client as an unknown error.
        CallError::Status { code, message } => *code == UNAVAILABLE || message.to_ascii_lowercase().contains("leader"),
    }
}

fn refused(message: String) -> AssignError {
    if message.contains("no free volumes left") || message.contains("No more free space") {
        AssignError::Full(message)
    } else {
        AssignError::Later(message)
    }
}

fn listing(answer: VolumeListResponse, collection: &str) -> Listing {
    let volume_bytes_max = answer.volume_size_limit_mb.saturating_mul(1 << 20);
    let mut listing = Listing { volume_bytes_max, ..Listing::default() };
    let centers = answer.topology_info.map(|topology| topology.data_center_infos).unwrap_or_default();
    let nodes = centers.into_iter().flat_map(|center| center.rack_infos).flat_map(|rack| rack.data_node_infos);
    for node in nodes {
        let Some(server) = server_of(&node) else { continue };
        for disk in node.disk_infos.into_values() {
            let free_volumes = u64::try_from(disk.free_volume_count).unwrap_or(0);
            listing.unassigned_bytes = listing.unassigned_bytes.saturating_add(free_volumes.saturating_mul(volume_bytes_max));
            listing.disk_free_bytes = listing.disk_free_bytes.saturating_add(disk.disk_free_bytes);
            listing.collections.extend(disk.volume_infos.iter().map(|found| found.collection.clone()));
            listing.collections.extend(disk.ec_shard_infos.iter().map(|found| found.collection.clone()));
            // An older master takes no notice of the collection that was asked for.
            for found in disk.volume_infos.into_iter().filter(|found| found.collection == collection) {
                add(listing.volumes.entry(found.id).or_default(), &found, &server);
            }
            for shards in disk.ec_shard_infos.into_iter().filter(|found| found.collection == collection) {
                listing.volumes.entry(shards.id).or_default().erasure_coded = true;
            }
        }
        listing.servers.push(server);
    }
    listing
}

fn server_of(node: &DataNodeInfo) -> Option<Server> {
    let address = if node.address.is_empty() { &node.id } else { &node.address };
    Server::new(address, node.grpc_port)
}

fn add(volume: &mut Volume, found: &VolumeInformation, server: &Server) {
    volume.servers.push(server.clone());
    volume.live = volume.live.max(found.file_count.saturating_sub(found.delete_count));
    volume.size = volume.size.max(found.size);
    volume.read_only |= found.read_only;
    volume.expires |= found.ttl != 0;
    // Three decimal digits: copies in other data centres, on other racks, on other servers of the same rack.
    let placement = u64::from(found.replica_placement);
    volume.copies = 1 + placement / 100 + placement / 10 % 10 + placement % 10;
}

#[cfg(test)]
mod tests;
