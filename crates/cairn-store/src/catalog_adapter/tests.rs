use std::sync::Arc;

use cairn_catalog::embedded::state::InMemoryCatalog;
use cairn_catalog::{
    CreateAccount, CreateBucket, CreateTenant, DeleteTarget, DeleteVersion, Limits, NewBlob, NewContent, PutVersion,
    RetireIncarnation, VersionAttributes, WriteCondition,
};
use cairn_replica::catalog_port::{BlobContent, ChunkRecord, Layout};
use cairn_testkit::sim_environment::{SimClock, simulate};
use cairn_types::records::{StorageClass, Versioning};
use cairn_types::{AccountId, BucketId, ETag, Incarnation, Locator, ObjectMetadata, TenantId};

use super::*;

struct World {
    catalog: Arc<InMemoryCatalog>,
    port: CatalogAdapter,
    bucket: BucketId,
}

fn replica(zone: u8, serial: u64) -> Replica {
    let locator = [&[zone][..], &serial.to_be_bytes()].concat();
    Replica { incarnation: Incarnation(1), locator: Locator::new(locator.into()).unwrap() }
}

async fn world() -> World {
    let limits = Limits { garbage_grace: Duration::from_secs(60), ..Limits::default() };
    let catalog = Arc::new(InMemoryCatalog::in_memory(limits, Arc::new(SimClock::new())));
    for zone in ZoneIndex::ALL {
        catalog.retire_incarnation(RetireIncarnation { zone, incarnation: Incarnation(1) }).await.unwrap();
    }
    catalog.create_tenant(CreateTenant { name: "default".parse().unwrap(), uid: None }).await.unwrap();
    let (id, tenant) = (AccountId([1; 32]), TenantId::DEFAULT);
    catalog.create_account(CreateAccount { id, tenant, name: String::new() }).await.unwrap();
    let name = "bucket".parse().unwrap();
    let bucket = CreateBucket { tenant, name, owner: id, versioning: Versioning::Unversioned, tags: Vec::new() };
    let bucket = catalog.create_bucket(bucket).await.unwrap().id;
    let port = CatalogAdapter::new(catalog.clone(), &StoreConfig::default());
    World { catalog, port, bucket }
}

impl World {
    async fn put(&self, session: SessionId, number: u64, zones: &[u8]) -> BlobId {
        let id = BlobId { session, counter: number };
        let mut replicas = [const { None }; 3];
        for zone in zones {
            replicas[usize::from(*zone)] = Some(replica(*zone, number));
        }
        let chunks = vec![ChunkRecord { data_length: 10, replicas }];
        let content = BlobContent { layout: Layout::ThreeCopies, frame_kind: 1, encryption_key: None, chunks };
        let attributes = VersionAttributes {
            etag: ETag::of_bytes([0; 16]),
            checksum: None,
            metadata: ObjectMetadata::default(),
            tags: Vec::new(),
            storage_class: StorageClass::Standard,
        };
        let request = PutVersion {
            session,
            bucket: self.bucket,
            key: number.to_string().parse().unwrap(),
            content: NewContent::Blobs(vec![NewBlob { id, content }]),
            attributes,
            condition: WriteCondition::None,
        };
        self.catalog.put_version(request).await.unwrap();
        id
    }

    async fn delete(&self, number: u64) {
        let key = number.to_string().parse().unwrap();
        let target = DeleteTarget { key, version_id: None, condition: WriteCondition::None };
        self.catalog.delete_version(DeleteVersion { bucket: self.bucket, target }).await.unwrap();
    }
}

#[test]
fn sessions_are_opened_kept_and_closed() {
    simulate(async {
        let World { port, .. } = world().await;
        let session = port.open_session().await.unwrap();
        assert!(port.heartbeat(session).await.unwrap());
        tokio::time::sleep(Duration::from_secs(29)).await;
        assert_eq!(
            port.close_dead_sessions().await.unwrap(),
            SessionView { open: vec![session], newest: session, generation: 0 }
        );
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(port.close_dead_sessions().await.unwrap(), SessionView { open: Vec::new(), newest: session, generation: 0 });
        assert!(!port.heartbeat(session).await.unwrap());
    });
}

#[test]
fn work_is_one_sessions_until_it_is_silent_or_gives_way() {
    simulate(async {
        let World { port, .. } = world().await;
        let (one, other) = (port.open_session().await.unwrap(), port.open_session().await.unwrap());
        let lease = || "repair".to_owned();
        assert!(port.take_work(lease(), one).await.unwrap() && !port.take_work(lease(), other).await.unwrap());
        port.leave_work(lease(), other).await.unwrap();
        assert!(!port.take_work(lease(), other).await.unwrap(), "who has it not cannot give it back");
        port.leave_work(lease(), one).await.unwrap();
        assert!(port.take_work(lease(), other).await.unwrap() && !port.take_work(lease(), one).await.unwrap());
        tokio::time::sleep(Duration::from_secs(30)).await;
        assert!(port.heartbeat(one).await.unwrap());
        assert!(port.take_work(lease(), one).await.unwrap(), "the other one is silent");
        port.close_session(one).await.unwrap();
        assert!(!port.take_work(lease(), one).await.unwrap(), "a closed session has nothing");
    });
}

#[test]
fn pages_go_on_where_they_ended() {
    simulate(async {
        let world = world().await;
        let session = world.port.open_session().await.unwrap();
        let mut all = Vec::new();
        for number in 0..20 {
            all.push(world.put(session, number, if number % 2 == 0 { &[0, 1] } else { &[0, 2] }).await);
        }
        for (walk, expected) in [(ZoneSet::ALL, 20), ([ZoneIndex(2)].into_iter().collect(), 10)] {
            let (mut from, mut seen) = (None, Vec::new());
            loop {
                let page = world.port.incomplete(walk, from, 3).await.unwrap();
                seen.extend(page.blobs.iter().map(|blob| blob.id));
                from = page.next;
                if from.is_none() {
                    break;
                }
            }
            seen.sort();
            seen.dedup();
            assert_eq!(seen.len(), expected);
        }
        // Long runs of condemned blobs between others do not end a walk that goes on from the last blob it was given.
        for number in 3..17 {
            world.delete(number).await;
        }
        let (mut after, mut seen) = (None, Vec::new());
        loop {
            let page = world.port.blobs(after, 3).await.unwrap();
            seen.extend(page.blobs.iter().map(|blob| blob.id.counter));
            after = page.blobs.last().map(|blob| blob.id);
            if page.next.is_none() || after.is_none() {
                break;
            }
        }
        assert_eq!(seen, [0, 1, 2, 17, 18, 19]);

        assert!(world.port.condemned_due(ZoneIndex(1), None, 100).await.unwrap().blobs.is_empty(), "the grace has not passed");
        tokio::time::sleep(Duration::from_secs(61)).await;
        let (mut from, mut due) = (None, Vec::new());
        loop {
            let page = world.port.condemned_due(ZoneIndex(1), from, 4).await.unwrap();
            assert!(page.blobs.iter().all(|blob| blob.condemned));
            due.extend(page.blobs.iter().map(|blob| blob.id));
            from = page.next;
            if from.is_none() {
                break;
            }
        }
        assert_eq!(due.len(), 14);
        world.port.confirm_deleted(ZoneIndex(1), due.clone()).await.unwrap();
        assert!(world.port.condemned_due(ZoneIndex(1), None, 100).await.unwrap().blobs.is_empty());
        assert_eq!(world.port.condemned_due(ZoneIndex(0), None, 100).await.unwrap().blobs.len(), 14);
        assert!(world.port.blob(due[0]).await.unwrap().is_some_and(|blob| blob.condemned), "two zones have yet to confirm");
    });
}

#[test]
fn a_closed_session_adds_nothing_and_loses_nothing() {
    simulate(async {
        let world = world().await;
        let session = world.port.open_session().await.unwrap();
        let blob = world.put(session, 1, &[0, 1]).await;
        let add = |serial| vec![AddLocators { blob, zone: ZoneIndex(2), places: vec![(0, replica(2, serial))] }];
        assert_eq!(world.port.add_locators(session, add(7)).await.unwrap(), [AddOutcome::Added]);
        world.port.close_session(session).await.unwrap();
        // The answer to the first attempt was lost: told `Refused`, the copier would delete what the blob names (B4).
        assert_eq!(world.port.add_locators(session, add(7)).await.unwrap(), [AddOutcome::Added]);
        assert_eq!(world.port.add_locators(session, add(8)).await.unwrap(), [AddOutcome::Refused]);
        let places = vec![(ChunkId { blob, ordinal: 0 }, replica(2, 7)), (ChunkId { blob, ordinal: 0 }, replica(2, 8))];
        assert_eq!(world.port.named(ZoneIndex(2), places).await.unwrap(), [true, false]);
    });
}

#[test]
fn rebuilding_goes_on_until_every_cursor_is_gone() {
    simulate(async {
        let world = world().await;
        let session = world.port.open_session().await.unwrap();
        for number in 0..10 {
            world.put(session, number, &[0, 1, 2]).await;
        }
        assert!(!world.port.advance_rebuilds(3).await.unwrap());
        let life = RetireIncarnation { zone: ZoneIndex(1), incarnation: Incarnation(2) };
        world.catalog.retire_incarnation(life).await.unwrap();
        assert_eq!(world.port.incarnations().await.unwrap(), [Incarnation(1), Incarnation(2), Incarnation(1)]);
        let mut rounds = 1;
        while world.port.advance_rebuilds(3).await.unwrap() {
            rounds += 1;
        }
        assert!((4..=5).contains(&rounds), "{rounds}");
        assert_eq!(world.port.incomplete(ZoneSet::ALL, None, 100).await.unwrap().blobs.len(), 10);
    });
}

#[test]
fn foreign_cursors_are_refused() {
    simulate(async {
        let World { port, .. } = world().await;
        for cursor in [&b""[..], b"x", &[1; 16], &[1; 18], &[9; 17]] {
            assert!(port.incomplete(ZoneSet::ALL, Some(Bytes::copy_from_slice(cursor)), 1).await.is_err());
        }
        for cursor in [&b""[..], &[1; 24], &[1; 26], &[9; 25]] {
            assert!(port.condemned_due(ZoneIndex(0), Some(Bytes::copy_from_slice(cursor)), 1).await.is_err());
        }
    });
}
