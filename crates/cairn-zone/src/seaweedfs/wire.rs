//! The few messages of SeaweedFS's gRPC that the engine speaks, by hand: six calls do not pay for a compiler of `.proto` files in the build.
//! Numbers and types are those of `master.proto` and `volume_server.proto`; fields that nobody reads are left out, as Protocol Buffers allow.

use std::collections::HashMap;

use prost::Message;

/// A call: where it goes, and what it takes and gives.
pub trait Call: Message + Default + 'static {
    /// The path of the method.
    const PATH: &'static str;
    /// What comes back, once or as a stream.
    type Answer: Message + Default + 'static;
}

macro_rules! calls {
    ($($request:ty => $answer:ty, $path:literal;)*) => {
        $(impl Call for $request {
            const PATH: &'static str = $path;
            type Answer = $answer;
        })*
    };
}

calls! {
    AssignRequest => AssignResponse, "/master_pb.Seaweed/Assign";
    LookupVolumeRequest => LookupVolumeResponse, "/master_pb.Seaweed/LookupVolume";
    VolumeListRequest => VolumeListResponse, "/master_pb.Seaweed/VolumeList";
    CollectionDeleteRequest => CollectionDeleteResponse, "/master_pb.Seaweed/CollectionDelete";
    BatchDeleteRequest => BatchDeleteResponse, "/volume_server_pb.VolumeServer/BatchDelete";
    CopyFileRequest => CopyFileResponse, "/volume_server_pb.VolumeServer/CopyFile";
    ReadNeedleBlobRequest => ReadNeedleBlobResponse, "/volume_server_pb.VolumeServer/ReadNeedleBlob";
    ReadVolumeFileStatusRequest => ReadVolumeFileStatusResponse, "/volume_server_pb.VolumeServer/ReadVolumeFileStatus";
}

/// A volume server.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Location {
    /// Host and port of its HTTP.
    #[prost(string, tag = "1")]
    pub url: String,
    /// Port of its gRPC; 0 means 10,000 above the other.
    #[prost(uint32, tag = "3")]
    pub grpc_port: u32,
}

/// Asks a master for a volume to write to.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct AssignRequest {
    #[prost(uint64, tag = "1")]
    pub count: u64,
    #[prost(string, tag = "2")]
    pub replication: String,
    #[prost(string, tag = "3")]
    pub collection: String,
    #[prost(string, tag = "5")]
    pub data_center: String,
    /// How many volumes to make when there are too few; 0 is the master's own choice.
    #[prost(uint32, tag = "9")]
    pub writable_volume_count: u32,
    #[prost(string, tag = "10")]
    pub disk_type: String,
    /// Bytes of each file, by which a master spreads what it gives out between two heartbeats.
    #[prost(uint64, tag = "11")]
    pub expected_data_size: u64,
}

/// The answer.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct AssignResponse {
    /// `volume,key and cookie`; only the volume is used.
    #[prost(string, tag = "1")]
    pub fid: String,
    #[prost(uint64, tag = "4")]
    pub count: u64,
    #[prost(string, tag = "5")]
    pub error: String,
    #[prost(message, repeated, tag = "7")]
    pub replicas: Vec<Location>,
    #[prost(message, optional, tag = "8")]
    pub location: Option<Location>,
}

/// Asks a master where volumes are.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct LookupVolumeRequest {
    #[prost(string, repeated, tag = "1")]
    pub volume_or_file_ids: Vec<String>,
    #[prost(string, tag = "2")]
    pub collection: String,
}

/// The answer.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct LookupVolumeResponse {
    #[prost(message, repeated, tag = "1")]
    pub volume_id_locations: Vec<VolumeIdLocation>,
}

/// Where one volume is.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct VolumeIdLocation {
    #[prost(message, repeated, tag = "2")]
    pub locations: Vec<Location>,
    #[prost(string, tag = "3")]
    pub error: String,
}

/// Asks a master for the volumes of one collection; of all where it is empty.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct VolumeListRequest {
    #[prost(string, tag = "1")]
    pub collection: String,
}

/// Has all volumes of a collection deleted, on all servers that the master sees.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct CollectionDeleteRequest {
    #[prost(string, tag = "1")]
    pub name: String,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct CollectionDeleteResponse {}

/// The answer: data centres, racks, servers, disks, volumes.
#[derive(Clone, PartialEq, Message)]
pub struct VolumeListResponse {
    #[prost(message, optional, tag = "1")]
    pub topology_info: Option<TopologyInfo>,
    /// How large a volume grows, MiB.
    #[prost(uint64, tag = "2")]
    pub volume_size_limit_mb: u64,
}

#[derive(Clone, PartialEq, Message)]
pub struct TopologyInfo {
    #[prost(message, repeated, tag = "2")]
    pub data_center_infos: Vec<DataCenterInfo>,
}

#[derive(Clone, PartialEq, Message)]
pub struct DataCenterInfo {
    #[prost(message, repeated, tag = "2")]
    pub rack_infos: Vec<RackInfo>,
}

#[derive(Clone, PartialEq, Message)]
pub struct RackInfo {
    #[prost(message, repeated, tag = "2")]
    pub data_node_infos: Vec<DataNodeInfo>,
}

/// A volume server in the topology.
#[derive(Clone, PartialEq, Message)]
pub struct DataNodeInfo {
    /// Host and port, or a name that an operator gave.
    #[prost(string, tag = "1")]
    pub id: String,
    #[prost(map = "string, message", tag = "2")]
    pub disk_infos: HashMap<String, DiskInfo>,
    #[prost(uint32, tag = "3")]
    pub grpc_port: u32,
    /// Host and port; empty where the master is an older one.
    #[prost(string, tag = "4")]
    pub address: String,
}

/// What one kind of disks of a server holds.
#[derive(Clone, PartialEq, Message)]
pub struct DiskInfo {
    #[prost(int64, tag = "4")]
    pub free_volume_count: i64,
    #[prost(message, repeated, tag = "6")]
    pub volume_infos: Vec<VolumeInformation>,
    #[prost(message, repeated, tag = "7")]
    pub ec_shard_infos: Vec<EcShardInformation>,
    #[prost(uint64, tag = "13")]
    pub disk_free_bytes: u64,
}

/// A volume, as of its server's last heartbeat.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct VolumeInformation {
    #[prost(uint32, tag = "1")]
    pub id: u32,
    #[prost(uint64, tag = "2")]
    pub size: u64,
    #[prost(string, tag = "3")]
    pub collection: String,
    #[prost(uint64, tag = "4")]
    pub file_count: u64,
    #[prost(uint64, tag = "5")]
    pub delete_count: u64,
    #[prost(bool, tag = "7")]
    pub read_only: bool,
    #[prost(uint32, tag = "8")]
    pub replica_placement: u32,
    #[prost(uint32, tag = "10")]
    pub ttl: u32,
}

/// A volume that was cut into shards.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct EcShardInformation {
    #[prost(uint32, tag = "1")]
    pub id: u32,
    #[prost(string, tag = "2")]
    pub collection: String,
}

/// Deletes needles of one server; it does not pass deletions on to replicas.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct BatchDeleteRequest {
    #[prost(string, repeated, tag = "1")]
    pub file_ids: Vec<String>,
    #[prost(bool, tag = "2")]
    pub skip_cookie_check: bool,
}

/// One result for each.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct BatchDeleteResponse {
    #[prost(message, repeated, tag = "1")]
    pub results: Vec<DeleteResult>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct DeleteResult {
    #[prost(string, tag = "1")]
    pub file_id: String,
    /// As a status of HTTP.
    #[prost(int32, tag = "2")]
    pub status: i32,
    #[prost(string, tag = "3")]
    pub error: String,
}

/// Syncs a volume's files and sends one of them, as far as `stop_offset`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct CopyFileRequest {
    #[prost(uint32, tag = "1")]
    pub volume_id: u32,
    #[prost(string, tag = "2")]
    pub ext: String,
    /// The revision the volume must have; the largest number takes any.
    #[prost(uint32, tag = "3")]
    pub compaction_revision: u32,
    #[prost(uint64, tag = "4")]
    pub stop_offset: u64,
    #[prost(string, tag = "5")]
    pub collection: String,
}

/// A piece of the file.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct CopyFileResponse {
    #[prost(bytes = "bytes", tag = "1")]
    pub file_content: bytes::Bytes,
}

/// Reads bytes of a volume's data file, whatever stands there.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ReadNeedleBlobRequest {
    #[prost(uint32, tag = "1")]
    pub volume_id: u32,
    #[prost(int64, tag = "3")]
    pub offset: i64,
    #[prost(int32, tag = "4")]
    pub size: i32,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct ReadNeedleBlobResponse {
    #[prost(bytes = "bytes", tag = "1")]
    pub needle_blob: bytes::Bytes,
}

/// Asks a volume server about its files of one volume.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ReadVolumeFileStatusRequest {
    #[prost(uint32, tag = "1")]
    pub volume_id: u32,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct ReadVolumeFileStatusResponse {
    #[prost(uint64, tag = "3")]
    pub idx_file_size: u64,
    #[prost(uint64, tag = "5")]
    pub dat_file_size: u64,
    #[prost(uint32, tag = "7")]
    pub compaction_revision: u32,
    #[prost(string, tag = "8")]
    pub collection: String,
    #[prost(message, optional, tag = "10")]
    pub volume_info: Option<VolumeInfo>,
    /// The version of needles.
    #[prost(uint32, tag = "11")]
    pub version: u32,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct VolumeInfo {
    /// Bytes of an offset in the index: 4, or 5 in builds for large disks.
    #[prost(uint32, tag = "4")]
    pub bytes_offset: u32,
}
