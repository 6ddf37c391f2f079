//! Background work that several gateways share: what one of them leaves, by dying or by being slow, the others take over.

use std::collections::BTreeSet;
use std::time::Duration;

use cairn_catalog::postgres::{PostgresCatalog, PostgresSettings, migrate};
use cairn_catalog::{
    AddLocatorsBatch, Catalog, CatalogError, CloseSilentSessions, CompleteUpload, CreateUpload, FoundContent, ListParts,
    ManifestParts, ManifestPosition, NamedPart, NewBlob, NewContent, OpenSession, PutPart, Reap, RetireIncarnation, TakeLease,
    UploadName, WriteCondition,
};
use cairn_testkit::catalog_conformance::{attributes, etag, key, replica};
use cairn_types::records::{BlobContent, ChunkRecord, Layout, UploadAttributes, Versioning};
use cairn_types::{AccountId, BlobId, BucketId, Incarnation, SessionId, ZoneIndex};

use crate::gateways::{gateway, names, prepare, put};
use crate::server::{Server, server};

/// Longer than any machine stands still.
const SILENT_FOR: Duration = Duration::from_mins(10);

fn take(name: &str, session: SessionId) -> TakeLease {
    TakeLease { name: name.to_owned(), session, silent_for: SILENT_FOR }
}

/// Lets catalog time pass.
async fn pass(server: &Server, schema: &str, duration: Duration) {
    let change = format!("UPDATE {schema}.clock SET catalog_ms = catalog_ms + {}", duration.as_millis());
    server.connect().await.batch_execute(&change).await.expect("a later time");
}

fn blob(session: SessionId, counter: u64) -> NewBlob {
    let id = BlobId { session, counter };
    let replicas = [0, 1, 2].map(|zone| Some(replica(1, &format!("{id:?}@{zone}"))));
    let chunks = vec![ChunkRecord { data_length: 1 << 20, replicas }];
    NewBlob { id, content: BlobContent { layout: Layout::ThreeCopies, frame_kind: 1, encryption_key: None, chunks } }
}

/// Begins an upload, writes parts, reads, completes and copies it; aborts another one, and leaves one open.
pub async fn use_uploads(catalog: &PostgresCatalog, bucket: BucketId, session: SessionId, next_blob: &mut u64) {
    for name in ["in parts", "in parts", "aborted", "open"] {
        let of = attributes(1);
        let (metadata, storage_class) = (of.metadata, of.storage_class);
        let attributes = UploadAttributes { metadata, tags: Vec::new(), storage_class, checksum: None };
        let key = key(name);
        let request = CreateUpload { bucket, key: key.clone(), initiator: AccountId([7; 32]), nonce: [1; 8], attributes };
        let upload_id = catalog.create_upload(request).await.expect("an upload");
        let upload = UploadName { bucket, key, upload_id };
        let mut parts = Vec::new();
        for part_number in 1..=3 {
            *next_blob += 1;
            let content = NewContent::Blobs(vec![blob(session, *next_blob)]);
            let request = PutPart { session, upload: upload.clone(), part_number, content, etag: etag(1), checksum: None };
            let sequence = catalog.put_part(request).await.expect("a part").sequence;
            parts.push(NamedPart { part_number, sequence });
        }
        catalog.upload(upload.clone()).await.expect("an upload");
        if name == "open" {
            continue;
        }
        catalog.list_parts(ListParts { upload: upload.clone(), after: 1, limit: 1 }).await.expect("parts");
        if name == "aborted" {
            catalog.abort_upload(upload).await.expect("an abortion");
            continue;
        }
        catalog.upload_for_completion(upload.clone()).await.expect("parts");
        let request = CompleteUpload {
            upload,
            parts,
            part_length_min: 1,
            object_length_max: u64::MAX,
            etag: etag(2),
            checksum: None,
            condition: WriteCondition::None,
        };
        catalog.complete_upload(request).await.expect("a version");
        let found = crate::gateways::current(catalog, bucket, name).await.expect("a version");
        let Some(FoundContent::Manifest(manifest)) = found.content else { panic!("{found:?}") };
        let request = ManifestParts { manifest, from: ManifestPosition::Offset(1), limit: 10, with_content: true };
        assert_eq!(catalog.manifest_parts(request).await.expect("parts").parts.len(), 3);
    }
}

const UPLOADS: u64 = 30;
const PARTS: u32 = 5;

/// Uploads that were begun, written and aborted: work for those who take apart.
async fn abandon(catalog: &PostgresCatalog, bucket: BucketId, session: SessionId) {
    let mut counter = 0;
    for upload in 0..UPLOADS {
        let of = attributes(1);
        let (metadata, storage_class) = (of.metadata, of.storage_class);
        let attributes = UploadAttributes { metadata, tags: Vec::new(), storage_class, checksum: None };
        let key = key(&format!("{upload}"));
        let request = CreateUpload { bucket, key: key.clone(), initiator: AccountId([7; 32]), nonce: [1; 8], attributes };
        let upload_id = catalog.create_upload(request).await.expect("an upload");
        let upload = UploadName { bucket, key, upload_id };
        for part_number in 1..=PARTS {
            counter += 1;
            let content = NewContent::Blobs(vec![blob(session, counter)]);
            let request = PutPart { session, upload: upload.clone(), part_number, content, etag: etag(1), checksum: None };
            catalog.put_part(request).await.expect("a part");
        }
        catalog.abort_upload(upload).await.expect("an abortion");
    }
}

/// A queue is taken from by as many as like: none waits for another, none takes what another one has in hand, and what a dead one had in hand is
/// there for the next.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL"]
async fn those_who_take_apart_share_their_queue() {
    let server = server();
    // Whoever waits for a row that is in hand waits for ever, and is found out by this.
    let settings = PostgresSettings { lock_wait_max: Duration::from_secs(5), ..server.settings("queue") };
    migrate(&settings).await.expect("a schema");
    let gateways = [gateway(settings.clone()), gateway(settings)];
    let (bucket, session) = prepare(&gateways[0], Versioning::Unversioned).await;
    abandon(&gateways[0], bucket, session).await;
    // Somebody has the first of them in hand, and dies.
    let somebody = server.connect().await;
    somebody.batch_execute("BEGIN; SELECT FROM queue.abandoned ORDER BY key LIMIT 1 FOR UPDATE").await.expect("a row");
    let reapers = gateways.clone().map(|catalog| {
        tokio::spawn(async move {
            let mut parts = 0;
            loop {
                match catalog.reap(Reap { limit: 7 }).await {
                    Ok(reaped) => {
                        parts += reaped.parts;
                        if !reaped.more {
                            return parts;
                        }
                    }
                    Err(error) => panic!("{error}"),
                }
            }
        })
    });
    let mut taken = 0;
    for reaper in reapers {
        taken += reaper.await.expect("a reaper");
    }
    // Whoever saw nothing more may have been passing over what the other one had in hand.
    let mut rest = 0;
    while let reaped = gateways[0].reap(Reap { limit: 1000 }).await.expect("a round")
        && reaped.parts > 0
    {
        rest += reaped.parts;
    }
    assert_eq!(taken + rest, u64::from(PARTS) * (UPLOADS - 1), "all but what somebody has in hand");
    drop(somebody);
    let mut last = 0;
    while last == 0 {
        last = gateways[1].reap(Reap { limit: 1000 }).await.expect("a round").parts;
    }
    assert_eq!(last, u64::from(PARTS), "what a dead one had in hand");
    assert_eq!(crate::violations(&gateways[0]).await, Vec::<String>::new());
    let usage = gateways[0].usage(bucket).await.expect("usage");
    assert_eq!((usage.uploads, usage.parts, usage.part_bytes), (0, 0, 0));
}

/// Two gateways hold leases. One dies at once, in the middle of what it does: the other has its work as soon as its silence is long enough and no
/// sooner, its session is closed, and nothing of it is committed behind that (S2).
#[test]
#[ignore = "needs PostgreSQL"]
fn the_work_of_a_dead_gateway_is_taken_over() {
    let server = server();
    let settings = server.settings("leases_of_the_dead");
    let living = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let dying = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let (survivor, bucket, other) = living.block_on(async {
        migrate(&settings).await.expect("a schema");
        let survivor = gateway(settings.clone());
        let (bucket, session) = prepare(&survivor, Versioning::Unversioned).await;
        (survivor, bucket, session)
    });
    let works = ["repair of zone 0", "reap", "collect"];
    let victim = dying.block_on(async {
        let catalog = gateway(settings.clone());
        let session = catalog.open_session(OpenSession { gateway: "victim".to_owned() }).await.expect("a session");
        for work in works {
            assert_eq!(catalog.take_lease(take(work, session)).await.expect("a lease").session, session);
        }
        for writer in 0..8 {
            let catalog = catalog.clone();
            tokio::spawn(async move {
                for number in 0.. {
                    let request = crate::gateways::put(bucket, session, &format!("{writer}/{number}"), 1, WriteCondition::None);
                    let _ = catalog.put_version(request).await;
                }
            });
        }
        while names(&catalog, bucket).await.len() < 20 {
            tokio::task::yield_now().await;
        }
        session
    });
    // Its tasks end where they are, its connections with them: nobody closes its session or gives its leases back.
    dying.shutdown_background();
    living.block_on(async {
        assert!(survivor.heartbeat_session(other).await.expect("an answer"));
        for work in works {
            let lease = survivor.take_lease(take(work, other)).await.expect("an answer");
            assert_eq!(lease.session, victim, "nobody knows yet that it is dead");
        }
        pass(&server, "leases_of_the_dead", SILENT_FOR).await;
        assert!(survivor.heartbeat_session(other).await.expect("an answer"));
        let mut tokens = BTreeSet::new();
        for work in works {
            let lease = survivor.take_lease(take(work, other)).await.expect("an answer");
            assert_eq!(lease.session, other, "{work} is nobody's");
            assert!(tokens.insert(lease.token));
        }
        let view = survivor.close_silent_sessions(CloseSilentSessions { silent_for: SILENT_FOR }).await.expect("a view");
        assert!(view.is_closed(victim) && !view.is_closed(other));
        let at_the_closing = names(&survivor, bucket).await;
        let late = crate::gateways::put(bucket, victim, "late", 1, WriteCondition::None);
        assert_eq!(survivor.put_version(late).await, Err(CatalogError::SessionClosed));
        assert_eq!(survivor.take_lease(take("reap", victim)).await, Err(CatalogError::SessionClosed));
        assert_eq!(names(&survivor, bucket).await, at_the_closing);
        assert_eq!(crate::violations(&survivor).await, Vec::<String>::new());
    });
}

/// Lanes of connections that are gone do not pile up; and a gateway whose lanes were forgotten under its feet goes on, with every write done once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL"]
async fn lanes_that_nobody_uses_are_forgotten() {
    let server = server();
    let settings = server.settings("forgotten_lanes");
    migrate(&settings).await.expect("a schema");
    let (one, other) = (gateway(settings.clone()), gateway(settings));
    let (bucket, session) = prepare(&one, Versioning::Enabled).await;
    let write = async |catalog: &PostgresCatalog, name: &str| {
        catalog.put_version(crate::gateways::put(bucket, session, name, 1, WriteCondition::Absent)).await
    };
    write(&other, "first").await.expect("a write");
    let observer = server.connect().await;
    observer
        .batch_execute("INSERT INTO forgotten_lanes.lanes (used_ms) SELECT 0 FROM generate_series(1, 2500)")
        .await
        .expect("lanes of connections that are gone");
    let count = async || {
        let row = observer.query_one("SELECT count(*) FROM forgotten_lanes.lanes", &[]).await.expect("a number");
        row.get::<_, i64>(0)
    };
    let before = count().await;
    let mut forgotten = 0;
    loop {
        match one.machine().forget_lanes().await.expect("a round") {
            0 => break,
            some => forgotten += some,
        }
    }
    assert_eq!(forgotten, 2500, "those, and none that is in use");
    assert!(count().await < before - 2500 + 100, "all but those of connections that were opened since");
    // As if all gateways had slept for hours.
    observer.batch_execute("UPDATE forgotten_lanes.lanes SET used_ms = 0").await.expect("a change");
    // A lane with a commit under way is not forgotten.
    let somebody = server.connect().await;
    let newest = "BEGIN; UPDATE forgotten_lanes.lanes SET fence = fence WHERE id = (SELECT max(id) FROM forgotten_lanes.lanes)";
    somebody.batch_execute(newest).await.expect("a lane in use");
    one.machine().forget_lanes().await.expect("a round");
    assert!(count().await >= 1);
    drop(somebody);
    for number in 0..20 {
        for (catalog, name) in [(&one, "one"), (&other, "other")] {
            write(catalog, &format!("{name} {number}")).await.expect("a write over a lane that is there");
        }
    }
    // A transaction of several messages, too.
    other.close_session(session).await.expect("a closing");
    let usage = one.usage(bucket).await.expect("usage");
    assert_eq!((usage.objects, usage.noncurrent_versions), (41, 0));
}

/// S4: a session that is opened while somebody looks at all of them is not closed. Its gateway writes chunks that nothing names yet, and who takes it for
/// closed deletes them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL"]
async fn no_view_takes_a_session_for_closed_that_was_just_opened() {
    let server = server();
    let settings = server.settings("just_opened");
    migrate(&settings).await.expect("a schema");
    // Between two questions of the same command there is time to open a session.
    let proxy = crate::proxy::Proxy::far(server.socket(), Duration::from_millis(20));
    let far = gateway(PostgresSettings { connection: proxy.connection(), ..settings.clone() });
    let opener = gateway(settings);
    let is_over = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let opened = tokio::spawn({
        let is_over = is_over.clone();
        async move {
            let mut opened = Vec::new();
            while !is_over.load(std::sync::atomic::Ordering::SeqCst) {
                opened.push(opener.open_session(OpenSession { gateway: "gateway".to_owned() }).await.expect("a session"));
            }
            opened
        }
    });
    let mut views = Vec::new();
    for _ in 0..5 {
        let close = CloseSilentSessions { silent_for: Duration::from_hours(10_000) };
        views.push(far.close_silent_sessions(close).await.expect("a view"));
        views.push(far.sessions().await.expect("a view"));
    }
    is_over.store(true, std::sync::atomic::Ordering::SeqCst);
    let opened = opened.await.expect("a task");
    assert!(views.last().expect("a view").newest > views.first().expect("a view").newest, "nothing was opened meanwhile");
    for view in &views {
        let closed: Vec<_> = opened.iter().filter(|session| view.is_closed(**session)).collect();
        assert!(closed.is_empty(), "{closed:?} are open, and closed by a view whose newest is {:?}", view.newest);
    }
}

/// Heartbeats of many gateways do not wait for each other: each of them waits for its standbys, and all of them together would take longer than a heartbeat counts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL"]
async fn heartbeats_do_not_wait_for_each_other() {
    let server = server();
    let settings = server.settings("heartbeats");
    migrate(&settings).await.expect("a schema");
    let catalog = gateway(settings);
    let (bucket, session) = prepare(&catalog, Versioning::Unversioned).await;
    // Another gateway's heartbeat, which its standbys keep waiting.
    let another = server.connect().await;
    another.batch_execute("BEGIN; UPDATE heartbeats.clock SET catalog_ms = catalog_ms + 1").await.expect("a heartbeat");
    // Until no heartbeat from before counts.
    tokio::time::sleep(Duration::from_millis(3500)).await;
    let write = crate::gateways::put(bucket, session, "a", 1, WriteCondition::None);
    catalog.put_version(write).await.expect("a write of a gateway whose heartbeats go on");
    another.batch_execute("COMMIT").await.expect("an end");
}

/// A zone's new life is recorded by who keeps everybody else out who writes blobs. While it waits for one that does not end (a gateway that was stopped in the middle of a transaction), the others go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL"]
async fn nobody_waits_behind_who_waits_for_a_stopped_gateway() {
    let server = server();
    let settings = PostgresSettings { lock_wait_max: Duration::from_secs(60), ..server.settings("stopped") };
    migrate(&settings).await.expect("a schema");
    let catalog = gateway(PostgresSettings { wait_max: Duration::from_secs(120), ..settings });
    let (bucket, session) = prepare(&catalog, Versioning::Unversioned).await;
    // The zones' lock: see `locks`.
    let zones = xxhash_rust::xxh3::xxh3_64_with_seed(&[], xxhash_rust::xxh3::xxh3_64(b"stopped").wrapping_add(8)).cast_signed();
    let stopped = server.connect().await;
    stopped.batch_execute(&format!("BEGIN; SELECT pg_advisory_xact_lock_shared({zones})")).await.expect("a lock");
    let retiring = tokio::spawn({
        let catalog = catalog.clone();
        let request = RetireIncarnation { zone: ZoneIndex::ALL[0], incarnation: Incarnation(2) };
        async move { catalog.retire_incarnation(request).await }
    });
    let observer = server.connect().await;
    let waits = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event = 'advisory' AND query LIKE '%begin_commit%')";
    while !observer.query_one(waits, &[]).await.expect("an answer").get::<_, bool>(0) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    for number in 0..20 {
        let write = put(bucket, session, &format!("{number}"), number, WriteCondition::None);
        let written = tokio::time::timeout(Duration::from_secs(30), catalog.put_version(write)).await;
        written.expect("a write waits for a stopped gateway").expect("a write");
    }
    assert!(!retiring.is_finished(), "the lock is of something else");
    stopped.batch_execute("COMMIT").await.expect("an end");
    let view = retiring.await.expect("a task").expect("a new life");
    assert_eq!(view.incarnations()[0], Incarnation(2));
}

/// S1, P5: a catalog that has forgotten a session gives its number again. Whoever had it first commits nothing under it any more, does not keep it open, and does not close it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL"]
async fn a_session_number_that_was_given_twice_is_two_sessions() {
    let server = server();
    let settings = server.settings("given_twice");
    migrate(&settings).await.expect("a schema");
    let (first, second) = (gateway(settings.clone()), gateway(settings));
    let (bucket, session) = prepare(&first, Versioning::Enabled).await;
    first.put_version(put(bucket, session, "a", 1, WriteCondition::None)).await.expect("a write");
    let observer = server.connect().await;
    let forget = "DELETE FROM given_twice.sessions; UPDATE given_twice.meta SET value = int8send(0) WHERE key = 'session'";
    observer.batch_execute(forget).await.expect("an earlier state");
    let again = second.open_session(OpenSession { gateway: "second".to_owned() }).await.expect("a session");
    assert_eq!(again, session, "it is given again, or this shows nothing");
    second.put_version(put(bucket, session, "b", 1, WriteCondition::None)).await.expect("a write of the second");
    let closed = Err(CatalogError::SessionClosed);
    assert_eq!(first.put_version(put(bucket, session, "c", 1, WriteCondition::None)).await.map(|_| ()), closed);
    // By a transaction of several messages, too.
    let additions = AddLocatorsBatch { session, additions: Vec::new() };
    assert_eq!(first.add_locators(additions).await.map(|_| ()), closed);
    assert_eq!(first.take_lease(take("reap", session)).await.map(|_| ()), closed);
    assert_eq!(first.heartbeat_session(session).await, Ok(false));
    first.close_session(session).await.expect("nothing to close");
    assert_eq!(second.heartbeat_session(session).await, Ok(true), "it was closed by whose it is not");
    assert_eq!(names(&second, bucket).await.into_iter().collect::<Vec<_>>(), ["a", "b"]);
    // Nobody closes everybody's.
    let all = CloseSilentSessions { silent_for: Duration::ZERO };
    assert!(matches!(first.close_silent_sessions(all).await, Err(CatalogError::Refused(_))));
    assert!(first.is_shared());
}
