//! Which cluster a zone is, and every limit of the engine with its default and its reason.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

/// One SeaweedFS cluster: what an operator has to say about it.
#[derive(Debug, Clone)]
pub struct Cluster {
    /// Addresses of its masters' gRPC, `host:port` (SeaweedFS's default is 19333). All of them: only the leader assigns.
    pub masters: Vec<String>,
    /// What the names of its collections begin with. It never changes.
    pub collection_prefix: String,
    /// Replication inside the zone, as SeaweedFS writes it, for example `000` or `001`; the master's default where it is empty.
    pub replication: String,
    /// SeaweedFS's kind of disk; any where it is empty.
    pub disk_type: String,
    /// SeaweedFS's data centre, for a cluster that has several of them; any where it is empty.
    pub data_center: String,
    /// Keys for its tokens, where `security.toml` of the volume servers has any.
    pub keys: SigningKeys,
    /// TLS to its gRPC (`[grpc]` in `security.toml`), with the client's certificate.
    pub grpc_tls: Option<Tls>,
    /// TLS to the volume servers' HTTP (`[https.volume]`).
    pub http_tls: Option<Tls>,
}

impl Cluster {
    /// A cluster with these masters and nothing out of the ordinary.
    #[must_use]
    pub fn new(masters: Vec<String>) -> Self {
        Self {
            masters,
            collection_prefix: "cairn".to_owned(),
            replication: String::new(),
            disk_type: String::new(),
            data_center: String::new(),
            keys: SigningKeys::default(),
            grpc_tls: None,
            http_tls: None,
        }
    }
}

/// Keys that SeaweedFS's tokens are signed with.
#[derive(Clone, Default)]
pub struct SigningKeys {
    /// `jwt.signing.key`: for writes and deletions.
    pub write: Option<Vec<u8>>,
    /// `jwt.signing.read.key`: for reads.
    pub read: Option<Vec<u8>>,
}

impl fmt::Debug for SigningKeys {
    /// Says whether there are keys, not which.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("SigningKeys").field("write", &self.write.is_some()).field("read", &self.read.is_some()).finish()
    }
}

/// TLS to one kind of service of a cluster.
#[derive(Debug, Clone)]
pub struct Tls {
    /// Whom to trust and what to show. Protocols (ALPN) are set by the engine.
    pub config: Arc<ClientConfig>,
    /// The name that certificates must have. SeaweedFS's own clients do not look at names, so certificates often carry one name for a whole
    /// cluster and none of its addresses; where this is `None`, the host of the address it is.
    pub server_name: Option<ServerName<'static>>,
}

/// When the indexes of volumes are synced. SeaweedFS's `fsync=true` syncs the data file alone, and a needle that a volume's index does not have after
/// power loss is not read any more, although it is there: only `weed fix`, by hand, finds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IndexSync {
    /// Before a write is confirmed. What is confirmed is read again after power loss, whatever else is lost.
    BeforeConfirming,
    /// So long after the first write that was not synced, at most. Writes are confirmed a sync and a round trip sooner, and a zone that loses power no
    /// longer shows those of this span. They must be found missing, and repaired from other zones.
    Within(Duration),
}

/// Limits of the engine. They may change from one opening to the next.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The longest chunk, bytes. Default 8 MiB, the replica layer's own limit; SeaweedFS's is 256 MiB (`-fileSizeLimitMB`).
    pub chunk_bytes_max: usize,
    /// When the indexes of volumes are synced. Default: before a write is confirmed.
    pub index_sync: IndexSync,
    /// Volumes written to at one time. Default 3. A volume syncs one batch after the other, so more volumes mean more syncs side by side and
    /// fewer writes in each.
    pub volumes_in_use: usize,
    /// Writes that one assignment of a volume serves. Default 256: a master is asked that much less often.
    pub assign_count: u64,
    /// How long an assigned volume is used, at most. Default 5 s, the pulse of SeaweedFS's heartbeats: what a volume server has become unfit
    /// for, its master knows by then.
    pub assignment_age_max: Duration,
    /// How many volumes a master makes when it has too few. Default 0: the master's own choice (7 where there is no replication).
    pub volume_growth_count: u32,
    /// How long a volume or a server that refused or failed is passed over. Default 2 s.
    pub avoid_for: Duration,
    /// How long a place that a master named is believed. Default 10 min; a failure ends it sooner.
    pub location_age_max: Duration,
    /// For how long a volume is written to after it was found to be the one that is remembered, with all that it is remembered to hold. Default 5 s, as
    /// an assignment. A server that ends a connection or does not answer ends it at once.
    pub trust_age_max: Duration,
    /// For how long volumes are written to after the last whole look at the cluster that ended, with its memory at hand. Default 60 s, six looks: without
    /// looks nobody notices what a cluster forgets.
    pub look_age_max: Duration,
    /// Until a connection stands. Default 1 s: within a datacentre it takes less than a millisecond, or does not come.
    pub connect_timeout: Duration,
    /// One question to a master. Default 3 s; then the next master is asked.
    pub master_timeout: Duration,
    /// One assignment by a master. Default 12 s: it waits up to 10 s for volumes that are being made. Writes rarely wait for it.
    pub assign_timeout: Duration,
    /// One request to a volume server. Default 10 s.
    pub request_timeout: Duration,
    /// One whole write, with all its attempts. Default 30 s; the replica layer's own deadline is mostly shorter.
    pub write_timeout: Duration,
    /// Between pieces of an index that is being listed. Default 10 s.
    pub stream_timeout: Duration,
    /// Requests under way at one time, reads and writes. Default 256; beyond, callers wait.
    pub requests_max: usize,
    /// Idle connections kept to each volume server. Default 64.
    pub idle_connections_max: usize,
    /// How long they are kept. Default 20 s: shorter than a volume server keeps them, which is 30 s, so that it is not the one to end them.
    pub idle_for: Duration,
    /// Deletions in one call. Default 256.
    pub delete_count_max: usize,
    /// Volumes that deletions and questions go to side by side. Default 8.
    pub parallelism: usize,
    /// Needles whose heads are read side by side in a listing. Default 16.
    pub listing_parallelism: usize,
    /// The longest page of a listing, chunks. Default 10,000.
    pub enumerate_count_max: usize,
    /// Keys of one volume that a walk remembers between its pages. Default 1,000,000, 24 bytes each; the index of a volume with more is fetched once for each
    /// million.
    pub walk_keys_max: usize,
    /// Walks that are remembered. Default 4; beyond, the oldest reads its volume's index again.
    pub walks_max: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            chunk_bytes_max: 8 * 1024 * 1024,
            index_sync: IndexSync::BeforeConfirming,
            volumes_in_use: 3,
            assign_count: 256,
            assignment_age_max: Duration::from_secs(5),
            volume_growth_count: 0,
            avoid_for: Duration::from_secs(2),
            location_age_max: Duration::from_secs(600),
            trust_age_max: Duration::from_secs(5),
            look_age_max: Duration::from_secs(60),
            connect_timeout: Duration::from_secs(1),
            master_timeout: Duration::from_secs(3),
            assign_timeout: Duration::from_secs(12),
            request_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(30),
            stream_timeout: Duration::from_secs(10),
            requests_max: 256,
            idle_connections_max: 64,
            idle_for: Duration::from_secs(20),
            delete_count_max: 256,
            parallelism: 8,
            listing_parallelism: 16,
            enumerate_count_max: 10_000,
            walk_keys_max: 1_000_000,
            walks_max: 4,
        }
    }
}
