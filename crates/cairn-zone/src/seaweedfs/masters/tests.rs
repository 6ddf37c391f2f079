use super::*;
use crate::seaweedfs::wire::{DataCenterInfo, DiskInfo, EcShardInformation, RackInfo, TopologyInfo};

#[test]
fn ports_of_grpc_are_given_or_follow_from_the_others() {
    let server = Server::new("volume-1.storage:8080", 0).unwrap();
    assert_eq!(server.grpc, "volume-1.storage:18080");
    assert_eq!(Server::new("[::1]:8080", 9).unwrap().grpc, "[::1]:9");
    assert_eq!(Server::new("volume-1", 0), None);
    assert_eq!(Server::new("volume-1:60000", 0), None, "there is no port 70000");
}

#[test]
fn refusals_are_told_apart() {
    let no_room = "failed to find writable volumes for collection:c replication:000 ttl: error: No writable volumes and no free volumes left for {}";
    assert!(matches!(refused(no_room.to_owned()), AssignError::Full(_)));
    let growing = "no writable volumes for {}, volume growth in progress";
    assert!(matches!(refused(growing.to_owned()), AssignError::Later(_)));
    let follower = CallError::Status { code: 2, message: "raft.Server: Not current leader".to_owned() };
    assert!(passed_over(&follower) && passed_over(&CallError::NoAnswer(String::new())));
    assert!(passed_over(&CallError::Status { code: UNAVAILABLE, message: "master is warming up".to_owned() }));
    assert!(!passed_over(&CallError::Status { code: 8, message: growing.to_owned() }), "another master would say the same");
}

#[test]
fn a_topology_becomes_the_volumes_of_one_collection() {
    let volume = |id, collection: &str, file_count| VolumeInformation {
        id,
        size: 1_000 * file_count,
        collection: collection.to_owned(),
        file_count,
        delete_count: 3,
        read_only: id == 2,
        replica_placement: 1,
        ttl: 0,
    };
    let node = |id: &str, address: &str, volumes: Vec<VolumeInformation>| {
        let disk = DiskInfo { free_volume_count: 5, volume_infos: volumes, ec_shard_infos: Vec::new(), disk_free_bytes: 700 };
        DataNodeInfo { id: id.to_owned(), disk_infos: [(String::new(), disk)].into(), grpc_port: 0, address: address.to_owned() }
    };
    let mut nodes = vec![
        node("one:80", "", vec![volume(1, "ours", 10), volume(2, "ours", 20), volume(3, "theirs", 30)]),
        node("a name", "two:80", vec![volume(1, "ours", 11)]),
    ];
    let shards = EcShardInformation { id: 9, collection: "ours".to_owned() };
    nodes[1].disk_infos.values_mut().for_each(|disk| disk.ec_shard_infos.push(shards.clone()));
    let racks = vec![RackInfo { data_node_infos: nodes }];
    let topology = TopologyInfo { data_center_infos: vec![DataCenterInfo { rack_infos: racks }] };
    let listing = listing(VolumeListResponse { topology_info: Some(topology), volume_size_limit_mb: 1 }, "ours");
    assert_eq!(listing.volumes.keys().copied().collect::<Vec<_>>(), [1, 2, 9]);
    let first = &listing.volumes[&1];
    assert_eq!(first.servers.iter().map(|server| server.http.as_str()).collect::<Vec<_>>(), ["one:80", "two:80"]);
    assert_eq!((first.live, first.size, first.read_only, first.copies), (8, 11_000, false, 2));
    assert!(listing.volumes[&2].read_only && listing.volumes[&9].erasure_coded);
    assert_eq!((listing.unassigned_bytes, listing.disk_free_bytes, listing.volume_bytes_max), (10 << 20, 1_400, 1 << 20));
}
