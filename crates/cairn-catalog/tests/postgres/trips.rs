//! How often each operation waits for the database: where the primary is in another datacentre, that is what a request costs.

use std::sync::Arc;
use std::time::Duration;

use cairn_catalog::postgres::{PostgresCatalog, PostgresSettings, migrate};
use cairn_catalog::{
    Catalog, CatalogError, CompleteUpload, CopyPart, CopyVersion, CreateBucket, CreateUpload, DeleteTarget, DeleteVersion,
    DeleteVersions, ListObjects, ListParts, ListScope, NamedPart, NewBlob, NewContent, PutPart, PutVersion, SourceVersion,
    UploadName, WriteCondition, Written,
};
use cairn_testkit::catalog_conformance::{attributes, etag, key, replica};
use cairn_types::records::{BlobContent, ChunkRecord, Layout, UploadAttributes, Versioning};
use cairn_types::{AccountId, BlobId, BucketId, SessionId};

use crate::gateways::{current, gateway, prepare, put};
use crate::proxy::Proxy;
use crate::server::server;

/// Attempts, of which the one with the fewest counts: the first prepares statements, and on a busy machine what is sent in one go may arrive in two.
const ATTEMPTS: u64 = 12;

struct Trips {
    proxy: Proxy,
    catalog: Arc<PostgresCatalog>,
    session: SessionId,
    next_blob: u64,
    /// Round trips before what is counted.
    before: u64,
    wrong: Vec<String>,
}

impl Trips {
    /// Holds an operation to a bound, by the best of some attempts.
    async fn expect<T>(&mut self, what: &str, most: u64, mut run: impl AsyncFnMut(&mut Self, u64) -> T) {
        let mut best = u64::MAX;
        for attempt in 0..ATTEMPTS {
            self.begin();
            run(self, attempt).await;
            best = best.min(self.proxy.round_trips() - self.before);
            if best <= most {
                break;
            }
        }
        eprintln!("{what}: {best}");
        if best > most {
            self.wrong.push(format!("{what}: {best} round trips, {most} are allowed"));
        }
    }

    /// What was before this is not counted.
    fn begin(&mut self) {
        self.before = self.proxy.round_trips();
    }

    fn blob(&mut self) -> NewBlob {
        self.next_blob += 1;
        let id = BlobId { session: self.session, counter: self.next_blob };
        let replicas = [0, 1, 2].map(|zone| Some(replica(1, &format!("{id:?}@{zone}"))));
        let chunks = vec![ChunkRecord { data_length: 1 << 20, replicas }];
        NewBlob { id, content: BlobContent { layout: Layout::ThreeCopies, frame_kind: 1, encryption_key: None, chunks } }
    }

    fn put_blob(&mut self, bucket: BucketId, name: &str) -> PutVersion {
        let content = NewContent::Blobs(vec![self.blob()]);
        PutVersion { content, ..put(bucket, self.session, name, 1, WriteCondition::None) }
    }

    async fn delete(&self, bucket: BucketId, name: &str) {
        let target = DeleteTarget { key: key(name), version_id: None, condition: WriteCondition::None };
        self.catalog.delete_version(DeleteVersion { bucket, target }).await.expect("a deletion");
    }
}

/// A regression that reads a row after the other instead of all at once, or that leaves the way of one statement, shows here.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL"]
async fn waits_as_seldom_as_it_may() {
    let server = server();
    let settings = server.settings("trips");
    migrate(&settings).await.expect("a schema");
    let proxy = Proxy::far(server.socket(), Duration::from_millis(4));
    let catalog = gateway(PostgresSettings { connection: proxy.connection(), ..settings });
    let (plain, session) = prepare(&catalog, Versioning::Unversioned).await;
    let mut trips = Trips { proxy, catalog: catalog.clone(), session, next_blob: 0, before: 0, wrong: Vec::new() };
    let tenant = catalog.tenant_by_name("default".to_owned()).await.expect("an answer").expect("a tenant").id;
    let mut buckets = vec![("unversioned", plain)];
    for (name, versioning) in [("enabled", Versioning::Enabled), ("suspended", Versioning::Suspended)] {
        let request =
            CreateBucket { tenant, name: name.parse().expect("a name"), owner: AccountId([7; 32]), versioning, tags: Vec::new() };
        buckets.push((name, catalog.create_bucket(request).await.expect("a bucket").id));
    }
    // Until a heartbeat has told the gateway which incarnations the zones have.
    while trips.proxy.round_trips() == 0 {
        tokio::task::yield_now().await;
    }
    tokio::time::sleep(Duration::from_millis(1100)).await;
    for (kind, bucket) in buckets.clone() {
        single_objects(&mut trips, kind, bucket).await;
        many_at_once(&mut trips, kind, bucket).await;
    }
    copies(&mut trips, plain).await;
    multipart(&mut trips, plain).await;
    trips.expect("settings epoch", 1, async |trips, _| trips.catalog.settings_epoch().await.expect("an epoch")).await;
    trips
        .expect("heartbeat of a session", 2, async |trips, _| trips.catalog.heartbeat_session(session).await.expect("an answer"))
        .await;
    trips.expect("the zones", 1, async |trips, _| trips.catalog.zones().await.expect("the zones")).await;
    assert_eq!(trips.wrong, Vec::<String>::new());
}

async fn single_objects(trips: &mut Trips, kind: &str, bucket: BucketId) {
    let session = trips.session;
    trips
        .expect(&format!("{kind}: a write of a small object"), 1, async |trips, attempt| {
            let request = put(bucket, session, &format!("small/{attempt}"), 1, WriteCondition::None);
            trips.catalog.put_version(request).await.expect("a write")
        })
        .await;
    for what in ["a write of a blob", "an overwriting of a blob"] {
        trips
            .expect(&format!("{kind}: {what}"), 1, async |trips, _| {
                let request = trips.put_blob(bucket, "blob");
                trips.catalog.put_version(request).await.expect("a write")
            })
            .await;
    }
    for name in ["small/0", "blob"] {
        let what = format!("{kind}: a read of {name}");
        trips.expect(&what, 1, async |trips, _| current(&trips.catalog, bucket, name).await.expect("a version")).await;
    }
    let scope = || ListScope { bucket, prefix: String::new(), delimiter: Some("/".to_owned()), limit: 100 };
    trips
        .expect(&format!("{kind}: a listing"), 1, async |trips, _| {
            trips.catalog.list_objects(ListObjects { scope: scope(), after: None }).await.expect("a listing")
        })
        .await;
    for attempt in 0..ATTEMPTS {
        let request = trips.put_blob(bucket, &format!("gone/{attempt}"));
        trips.catalog.put_version(request).await.expect("a write");
    }
    trips
        .expect(&format!("{kind}: a deletion"), 1, async |trips, attempt| trips.delete(bucket, &format!("gone/{attempt}")).await)
        .await;
    trips.expect(&format!("{kind}: a deletion of nothing"), 1, async |trips, _| trips.delete(bucket, "nothing").await).await;
}

async fn many_at_once(trips: &mut Trips, kind: &str, bucket: BucketId) {
    let all: Vec<String> = (0..30).map(|number| format!("many/{number}")).collect();
    trips
        .expect(&format!("{kind}: a deletion of 30 objects"), 3, async |trips, _| {
            for name in &all {
                let request = trips.put_blob(bucket, name);
                trips.catalog.put_version(request).await.expect("a write");
            }
            let target = |name: &String| DeleteTarget { key: key(name), version_id: None, condition: WriteCondition::None };
            let targets = all.iter().map(target).collect();
            trips.begin();
            trips.catalog.delete_versions(DeleteVersions { bucket, targets }).await.expect("deletions")
        })
        .await;
}

fn source(bucket: BucketId, name: &str, written: &Written) -> SourceVersion {
    SourceVersion { bucket, key: key(name), version_id: written.version_id, sequence: written.sequence }
}

async fn copies(trips: &mut Trips, bucket: BucketId) {
    let session = trips.session;
    let request = trips.put_blob(bucket, "source");
    let blob = trips.catalog.put_version(request).await.expect("a write");
    let small = put(bucket, session, "small source", 1, WriteCondition::None);
    let small = trips.catalog.put_version(small).await.expect("a write");
    for (what, from) in [("a blob", source(bucket, "source", &blob)), ("a small object", source(bucket, "small source", &small))]
    {
        trips
            .expect(&format!("a copy of {what}"), 1, async |trips, _| {
                let (key, condition) = (key("copy"), WriteCondition::None);
                let request = CopyVersion { session, source: from.clone(), bucket, key, attributes: attributes(1), condition };
                trips.catalog.copy_version(request).await.expect("a copy")
            })
            .await;
    }
}

async fn multipart(trips: &mut Trips, bucket: BucketId) {
    const PARTS: u32 = 60;
    let session = trips.session;
    let request = trips.put_blob(bucket, "source");
    let written = trips.catalog.put_version(request).await.expect("a write");
    let create = || CreateUpload {
        bucket,
        key: key("in parts"),
        initiator: AccountId([7; 32]),
        nonce: [1; 8],
        attributes: UploadAttributes {
            metadata: attributes(1).metadata,
            tags: Vec::new(),
            storage_class: attributes(1).storage_class,
            checksum: None,
        },
    };
    trips
        .expect("the beginning of an upload", 2, async |trips, _| trips.catalog.create_upload(create()).await.expect("an upload"))
        .await;
    let upload_id = trips.catalog.create_upload(create()).await.expect("an upload");
    let upload = UploadName { bucket, key: key("in parts"), upload_id };
    trips
        .expect("a part by reference", 3, async |trips, attempt| {
            let part_number = 1000 + u32::try_from(attempt).expect("a small number");
            let from = source(bucket, "source", &written);
            let request = CopyPart {
                session,
                upload: upload.clone(),
                part_number,
                source: from,
                range: 0..1024,
                etag: etag(1),
                checksum: None,
            };
            trips.catalog.copy_part(request).await.expect("a part")
        })
        .await;
    trips
        .expect("a part", 1, async |trips, attempt| {
            let content = NewContent::Blobs(vec![trips.blob()]);
            let part_number = 1 + u32::try_from(attempt).expect("a small number");
            let request = PutPart { session, upload: upload.clone(), part_number, content, etag: etag(1), checksum: None };
            trips.begin();
            trips.catalog.put_part(request).await.expect("a part")
        })
        .await;
    trips
        .expect("a page of parts", 1, async |trips, _| {
            trips.catalog.list_parts(ListParts { upload: upload.clone(), after: 0, limit: 1000 }).await.expect("parts")
        })
        .await;
    trips
        .expect("the abortion of an upload", 2, async |trips, _| {
            let upload_id = trips.catalog.create_upload(create()).await.expect("an upload");
            trips.begin();
            trips.catalog.abort_upload(UploadName { upload_id, ..upload.clone() }).await.expect("an abortion");
        })
        .await;
    for (what, most) in [("a look at 60 parts", 1), ("their completion, over another object in parts", 3)] {
        trips
            .expect(what, most, async |trips, _| {
                let upload_id = trips.catalog.create_upload(create()).await.expect("an upload");
                let upload = UploadName { upload_id, ..upload.clone() };
                let mut parts = Vec::new();
                for part_number in 1..=PARTS {
                    let content = NewContent::Blobs(vec![trips.blob()]);
                    let request =
                        PutPart { session, upload: upload.clone(), part_number, content, etag: etag(1), checksum: None };
                    let sequence = trips.catalog.put_part(request).await.expect("a part").sequence;
                    parts.push(NamedPart { part_number, sequence });
                }
                trips.begin();
                if most == 1 {
                    trips.catalog.upload_for_completion(upload).await.expect("its parts");
                    return;
                }
                let request = CompleteUpload {
                    upload,
                    parts,
                    part_length_min: 1,
                    object_length_max: u64::MAX,
                    etag: etag(2),
                    checksum: None,
                    condition: WriteCondition::None,
                };
                trips.catalog.complete_upload(request).await.expect("a version");
            })
            .await;
    }
}

/// B5: copies by reference race the deletion of their source, through two gateways: whatever was copied is there, and every blob is counted as often as
/// it is named.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL"]
async fn copies_race_the_deletion_of_their_source() {
    let server = server();
    let settings = server.settings("copies_race");
    migrate(&settings).await.expect("a schema");
    let gateways = [gateway(settings.clone()), gateway(settings)];
    let (bucket, session) = prepare(&gateways[0], Versioning::Unversioned).await;
    let (mut copied, mut refused) = (0, 0);
    for round in 0..40_u64 {
        let id = BlobId { session, counter: 1 + round };
        let replicas = [0, 1, 2].map(|zone| Some(replica(1, &format!("{id:?}@{zone}"))));
        let chunks = vec![ChunkRecord { data_length: 1 << 20, replicas }];
        let content = BlobContent { layout: Layout::ThreeCopies, frame_kind: 1, encryption_key: None, chunks };
        let content = NewContent::Blobs(vec![NewBlob { id, content }]);
        let written = PutVersion { content, ..put(bucket, session, "source", round, WriteCondition::None) };
        let written = gateways[0].put_version(written).await.expect("a write");
        let copies = (0..6_u64).map(|copy| {
            let catalog = gateways[usize::from(copy % 2 == 0)].clone();
            let request = CopyVersion {
                session,
                source: source(bucket, "source", &written),
                bucket,
                key: key(&format!("copy {copy}")),
                attributes: attributes(copy),
                condition: WriteCondition::None,
            };
            tokio::spawn(async move { catalog.copy_version(request).await })
        });
        let copies: Vec<_> = copies.collect();
        // By one statement, and by the state machine.
        let target = DeleteTarget { key: key("source"), version_id: None, condition: WriteCondition::None };
        if round % 2 == 0 {
            gateways[1].delete_version(DeleteVersion { bucket, target }).await.expect("a deletion");
        } else {
            gateways[1].delete_versions(DeleteVersions { bucket, targets: vec![target] }).await.expect("deletions");
        }
        for copy in copies {
            match copy.await.expect("a copy") {
                Ok(_) => copied += 1,
                Err(CatalogError::SourceChanged) => refused += 1,
                Err(error) => panic!("{error}"),
            }
        }
    }
    assert_eq!(crate::violations(&gateways[0]).await, Vec::<String>::new());
    assert!(copied > 0 && refused > 0, "nothing raced: {copied} copies, {refused} came too late");
}
