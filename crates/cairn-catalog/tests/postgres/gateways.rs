//! Several gateways on one database, and what the way between them and it may do.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cairn_catalog::postgres::{ConnectionString, PostgresCatalog, PostgresMachine, PostgresSettings, TlsSettings, migrate};
use cairn_catalog::{
    Catalog, CatalogError, CatalogResult, CreateAccount, CreateBucket, CreateTenant, DeleteTarget, DeleteVersions, GetVersion,
    Limits, ListObjects, ListPosition, ListScope, NewContent, OpenSession, PutVersion, RetireIncarnation, VersionAttributes,
    WriteCondition, Written,
};
use cairn_disk::Environment;
use cairn_testkit::catalog_conformance::{attributes, key};
use cairn_types::records::Versioning;
use cairn_types::{AccountId, BucketId, Incarnation, SessionId, TenantId, ZoneIndex};
use futures::future::join_all;

use crate::proxy::{Cut, Proxy};
use crate::server::{Server, server};

pub fn gateway(settings: PostgresSettings) -> Arc<PostgresCatalog> {
    Arc::new(PostgresCatalog::new(PostgresMachine::new(settings, Limits::default(), Environment::real().clock)))
}

/// A bucket and a session, made through this gateway.
pub async fn prepare(catalog: &PostgresCatalog, versioning: Versioning) -> (BucketId, SessionId) {
    let tenant = CreateTenant { name: "default".parse().expect("a name"), uid: None };
    let tenant: TenantId = catalog.create_tenant(tenant).await.expect("a tenant").id;
    let owner = AccountId([7; 32]);
    catalog.create_account(CreateAccount { id: owner, tenant, name: "tester".to_owned() }).await.expect("an account");
    for zone in ZoneIndex::ALL {
        let first = RetireIncarnation { zone, incarnation: Incarnation(1) };
        catalog.retire_incarnation(first).await.expect("a zone's first life");
    }
    let request = CreateBucket { tenant, name: "bucket".parse().expect("a name"), owner, versioning, tags: Vec::new() };
    let bucket = catalog.create_bucket(request).await.expect("a bucket").id;
    let session = catalog.open_session(OpenSession { gateway: "gateway".to_owned() }).await.expect("a session");
    (bucket, session)
}

pub fn put(bucket: BucketId, session: SessionId, name: &str, number: u64, condition: WriteCondition) -> PutVersion {
    let attributes: VersionAttributes = attributes(number);
    let content = NewContent::Inline(Bytes::from(format!("{name} {number}")));
    PutVersion { session, bucket, key: key(name), content, attributes, condition }
}

pub async fn names(catalog: &PostgresCatalog, bucket: BucketId) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    loop {
        let scope = ListScope { bucket, prefix: String::new(), delimiter: None, limit: 10_000 };
        let after = all.last().cloned().map(ListPosition::Key);
        let page = catalog.list_objects(ListObjects { scope, after }).await.expect("a listing");
        all.extend(cairn_testkit::catalog_conformance::names(&page.entries, |object| object.key.as_str().to_owned()));
        if !page.is_truncated {
            return all;
        }
    }
}

pub async fn current(catalog: &PostgresCatalog, bucket: BucketId, name: &str) -> CatalogResult<cairn_catalog::FoundVersion> {
    let request = GetVersion { bucket, key: key(name), version_id: None, part_number: None, with_content: true };
    catalog.get_version(request).await
}

/// Of writers that race for a key through two gateways, exactly one wins: where no versions are kept (one statement), and where they are (the state
/// machine).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL"]
async fn one_of_many_racing_writers_wins() {
    let server = server();
    for (schema, versioning) in [("racing_plain", Versioning::Unversioned), ("racing_versions", Versioning::Enabled)] {
        let settings = server.settings(schema);
        migrate(&settings).await.expect("a schema");
        let gateways = [gateway(settings.clone()), gateway(settings)];
        let (bucket, session) = prepare(&gateways[0], versioning).await;
        for round in 0..100_u64 {
            let name = format!("key {round}");
            let racers = (0..8_u64).map(|racer| {
                let request = put(bucket, session, &name, racer, WriteCondition::Absent);
                gateways[usize::from(racer % 2 == 1)].put_version(request)
            });
            let results = join_all(racers).await;
            let winners: Vec<&Written> = results.iter().filter_map(|result| result.as_ref().ok()).collect();
            assert_eq!(winners.len(), 1, "round {round}: {results:?}");
            assert!(results.iter().all(|result| matches!(result, Ok(_) | Err(CatalogError::PreconditionFailed))), "{results:?}");
            let found = current(&gateways[1], bucket, &name).await.expect("the winner's version");
            assert_eq!(found.version.summary.sequence, winners[0].sequence);
        }
        let usage = gateways[0].usage(bucket).await.expect("usage");
        assert_eq!((usage.objects, usage.noncurrent_versions), (100, 0));
    }
}

/// A counter that eight writers raise by compare and swap, through two gateways: no raise is lost, whichever way the writes take.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL"]
async fn no_conditional_write_is_lost() {
    let server = server();
    for (schema, versioning) in [("counter_plain", Versioning::Unversioned), ("counter_versions", Versioning::Suspended)] {
        let settings = server.settings(schema);
        migrate(&settings).await.expect("a schema");
        let gateways = [gateway(settings.clone()), gateway(settings)];
        let (bucket, session) = prepare(&gateways[0], versioning).await;
        gateways[0].put_version(put(bucket, session, "counter", 0, WriteCondition::None)).await.expect("a first write");
        let writers = (0..8_usize).map(|writer| {
            let catalog = gateways[writer % 2].clone();
            tokio::spawn(async move {
                let mut raised = 0_u64;
                for _ in 0..20 {
                    let seen = current(&catalog, bucket, "counter").await.expect("the counter").version.summary.etag;
                    let number = u64::from_be_bytes(seen.digest[..8].try_into().expect("a number"));
                    let condition = WriteCondition::Matches(vec![seen]);
                    match catalog.put_version(put(bucket, session, "counter", number + 1, condition)).await {
                        Ok(_) => raised += 1,
                        Err(CatalogError::PreconditionFailed) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
                raised
            })
        });
        let raised: u64 = join_all(writers).await.into_iter().map(|raised| raised.expect("a writer")).sum();
        let last = current(&gateways[0], bucket, "counter").await.expect("the counter").version.summary.etag;
        assert_eq!(last, cairn_testkit::catalog_conformance::etag(raised));
        assert!(raised >= 20, "{raised}");
    }
}

/// Writers into one bucket do not wait for each other's commits: what is counted of a bucket stands in many rows, one for each connection. (Were it one, the writers of
/// a bucket would wait for each other's standbys, one after the other.)
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL"]
async fn writers_into_one_bucket_do_not_wait_for_each_other() {
    let server = server();
    let settings = server.settings("stripes");
    migrate(&settings).await.expect("a schema");
    let catalog = gateway(PostgresSettings { lock_wait_max: Duration::from_secs(60), ..settings });
    let (bucket, session) = prepare(&catalog, Versioning::Unversioned).await;
    let write = |name: String| {
        let catalog = catalog.clone();
        tokio::spawn(async move { catalog.put_version(put(bucket, session, &name, 1, WriteCondition::None)).await })
    };
    let observer = server.connect().await;
    // Until several connections have written: they are kept, and used again.
    let stripes = "SELECT count(*) FROM stripes.usage_deltas WHERE objects > 0";
    for round in 0.. {
        join_all((0..8).map(|writer| write(format!("{round}/{writer}")))).await;
        if observer.query_one(stripes, &[]).await.expect("a number").get::<_, i64>(0) >= 4 {
            break;
        }
    }
    // The commit of one of them takes its time.
    let slow = server.connect().await;
    let one = "BEGIN; SELECT FROM stripes.usage_deltas WHERE objects > 0 ORDER BY stripe LIMIT 1 FOR UPDATE";
    slow.batch_execute(one).await.expect("a row");
    let mut writers: Vec<_> = (0..8).map(|writer| write(format!("beside/{writer}"))).collect();
    while writers.iter().filter(|writer| !writer.is_finished()).count() > 1 {
        // Where all wait for one row, this goes on until they give up, and fails below.
        if writers.iter().all(tokio::task::JoinHandle::is_finished) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let waiting = writers.iter().filter(|writer| !writer.is_finished()).count();
    slow.batch_execute("COMMIT").await.expect("an end");
    assert!(waiting <= 1, "{waiting} of 8 waited for one");
    for written in join_all(writers.drain(..)).await {
        written.expect("a writer").expect("a write");
    }
}

/// S2, P1: once a session is closed, nothing of it is committed any more, whatever was under way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL"]
async fn nothing_commits_behind_the_closing_of_its_session() {
    let server = server();
    let settings = server.settings("closing");
    migrate(&settings).await.expect("a schema");
    let (writer, closer) = (gateway(settings.clone()), gateway(settings));
    let (bucket, _) = prepare(&writer, Versioning::Unversioned).await;
    let (mut committed, mut refused) = (0, 0);
    for round in 0..20 {
        let session = writer.open_session(OpenSession { gateway: "gateway".to_owned() }).await.expect("a session");
        let writers: Vec<_> = (0..16)
            .map(|number| {
                let writer = writer.clone();
                let request = put(bucket, session, &format!("{round}/{number}"), number, WriteCondition::None);
                tokio::spawn(async move { writer.put_version(request).await })
            })
            .collect();
        // Some are done, some under way, some have not begun.
        for _ in 0..round {
            tokio::task::yield_now().await;
        }
        closer.close_session(session).await.expect("a closing");
        let at_the_closing = names(&closer, bucket).await;
        for result in join_all(writers).await {
            match result.expect("a writer") {
                Ok(_) => committed += 1,
                Err(CatalogError::SessionClosed) => refused += 1,
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!(names(&closer, bucket).await, at_the_closing);
        assert!(!closer.heartbeat_session(session).await.expect("an answer"));
    }
    assert!(refused > 0, "no write came behind a closing: {committed} before");
}

/// P2: a connection that is cut while a commit is on its way, before the server has it or after: every write is answered, took effect once, and is
/// what the answer says.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL"]
async fn settles_commits_whose_answer_is_lost() {
    let server = server();
    // A write is one message.
    for (schema, versioning) in [("cut_plain", Versioning::Unversioned), ("cut_versions", Versioning::Enabled)] {
        let settings = server.settings(schema);
        migrate(&settings).await.expect("a schema");
        let proxy = Proxy::start(server.socket());
        let through = PostgresSettings { connection: proxy.connection(), ..settings.clone() };
        let (straight, cut) = (gateway(settings), gateway(through));
        let (bucket, session) = prepare(&straight, versioning).await;
        for round in 0..60_u64 {
            let kind = [Cut::Answer, Cut::Request, Cut::Fatal][usize::try_from(round % 3).expect("a small number")];
            // So that what is cut is the write, not the opening of a connection.
            let first = put(bucket, session, "first", round, WriteCondition::None);
            let before = cut.put_version(first).await.expect("a write that nothing cuts").sequence;
            let name = format!("key {round}");
            proxy.cut_after(0, kind);
            let written = cut.put_version(put(bucket, session, &name, round, WriteCondition::Absent)).await.expect("a write");
            let found = current(&straight, bucket, &name).await.expect("a version").version.summary;
            assert_eq!((found.sequence, found.id), (written.sequence, written.version_id), "round {round}");
            assert_eq!(found.last_modified, written.last_modified);
            assert!(found.sequence > before, "R2: the catalog's sequence rises");
        }
        assert!(proxy.cuts() >= 30, "only {} connections were cut", proxy.cuts());
        assert_eq!(straight.usage(bucket).await.expect("usage").objects, 61);
    }
}

/// A flow is silently gone while heartbeats go over another one: its requests are not held by it for as long as the kernel likes. A write is settled, a read asked again,
/// and places in the pool are free again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL"]
async fn a_flow_that_is_gone_holds_nobody() {
    let server = server();
    let settings = server.settings("flow");
    migrate(&settings).await.expect("a schema");
    let proxy = Proxy::start(server.socket());
    let (lock_wait_max, wait_max) = (Duration::from_millis(100), Duration::from_secs(120));
    // One place: whoever keeps it stops all others.
    let through = PostgresSettings { connection: proxy.connection(), connections_max: 1, lock_wait_max, wait_max, ..settings };
    let catalog = gateway(through);
    let (bucket, session) = prepare(&catalog, Versioning::Unversioned).await;
    catalog.put_version(put(bucket, session, "a", 1, WriteCondition::None)).await.expect("a write");
    // Heartbeats send, too, and one of them may be cut in its place: then another time.
    for round in 0..3 {
        proxy.cut_after(0, Cut::Flow);
        let name = format!("key {round}");
        let write = catalog.put_version(put(bucket, session, &name, 1, WriteCondition::Absent));
        let written = tokio::time::timeout(Duration::from_secs(100), write).await.expect("nobody is told").expect("a write");
        let read =
            tokio::time::timeout(Duration::from_secs(100), current(&catalog, bucket, &name)).await.expect("nobody is told");
        assert_eq!(read.expect("a version").version.summary.sequence, written.sequence);
    }
    assert_eq!(proxy.cuts(), 3);
}

/// P2: a write is on its way when its gateway is cut off, settles it as not done, and does it again. When it arrives after all, it is refused: it is
/// done once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL"]
async fn refuses_a_commit_that_arrives_behind_its_settlement() {
    let server = server();
    let settings = server.settings("late");
    migrate(&settings).await.expect("a schema");
    let proxy = Proxy::start(server.socket());
    let through = PostgresSettings { connection: proxy.connection(), ..settings.clone() };
    let (straight, late) = (gateway(settings), gateway(through));
    let (bucket, session) = prepare(&straight, Versioning::Enabled).await;
    let observer = server.connect().await;
    let mut released = 0;
    for round in 0..20_u64 {
        late.put_version(put(bucket, session, "first", round, WriteCondition::None)).await.expect("a write that nothing cuts");
        let name = format!("key {round}");
        proxy.cut_after(0, Cut::Late);
        let written = late.put_version(put(bucket, session, &name, round, WriteCondition::None)).await.expect("a write");
        released += proxy.release().await;
        // Until the server has done what arrived late: its connection ends behind it.
        let busy = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND pid <> pg_backend_pid() AND query LIKE '%put_version%'";
        while observer.query_one(busy, &[]).await.expect("an answer").get::<_, i64>(0) > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let found = current(&straight, bucket, &name).await.expect("a version").version.summary;
        assert_eq!((found.sequence, found.id), (written.sequence, written.version_id), "round {round}");
    }
    assert!(released >= 10, "only {released} messages were late");
    // Every connection but those of the gateways is gone, and with it whatever was late.
    let usage = straight.usage(bucket).await.expect("usage");
    assert_eq!((usage.objects, usage.noncurrent_versions), (21, 19), "a write was done twice");
}

/// A gateway is gone in the middle of a transaction, without a word: the way to it is still open for all that the server knows. Its locks are there for ten
/// seconds, not for ever; then it is settled as not done, and others go on. What arrives after that changes nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL, and waits for it"]
async fn long_a_transaction_that_nobody_continues_lets_go() {
    let server = server();
    let settings = server.settings("abandoned_transaction");
    migrate(&settings).await.expect("a schema");
    let proxy = Proxy::start(server.socket());
    let through = PostgresSettings { connection: proxy.connection(), ..settings.clone() };
    let settings = PostgresSettings { lock_wait_max: Duration::from_secs(60), wait_max: Duration::from_secs(120), ..settings };
    let (straight, late) = (gateway(settings), gateway(through));
    let (bucket, session) = prepare(&straight, Versioning::Enabled).await;
    let request = move || {
        let target = DeleteTarget { key: key("a"), version_id: None, condition: WriteCondition::None };
        DeleteVersions { bucket, targets: vec![target] }
    };
    late.put_version(put(bucket, session, "a", 1, WriteCondition::None)).await.expect("a write");
    late.delete_versions(request()).await.expect("a marker that nothing cuts");
    let mut held = false;
    for _ in 0..10 {
        // The second message has the rows and the COMMIT. A heartbeat may come in between.
        let before = proxy.cuts();
        proxy.cut_after(1, Cut::Late);
        let catalog = late.clone();
        let deletion = tokio::spawn(async move { catalog.delete_versions(request()).await });
        let observer = server.connect().await;
        let idle = "SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction'";
        while proxy.cuts() == before {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        held = observer.query_one(idle, &[]).await.expect("a number").get::<_, i64>(0) > 0;
        let write = put(bucket, session, "a", 2, WriteCondition::None);
        straight.put_version(write).await.expect("a write of the same key by another gateway");
        deletion.await.expect("a task").expect("an answer").pop().expect("one").expect("a marker");
        proxy.release().await;
        if held {
            break;
        }
    }
    assert!(held, "no transaction was left open");
    assert_eq!(crate::violations(&straight).await, Vec::<String>::new());
}

/// P2, for what is a transaction of several messages: one after the other is cut, the COMMIT included.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL"]
async fn settles_transactions_whose_answer_is_lost() {
    let server = server();
    let settings = server.settings("cut_transactions");
    migrate(&settings).await.expect("a schema");
    let proxy = Proxy::start(server.socket());
    let through = PostgresSettings { connection: proxy.connection(), ..settings.clone() };
    let (straight, cut) = (gateway(settings), gateway(through));
    let (bucket, session) = prepare(&straight, Versioning::Enabled).await;
    for round in 0..60_u64 {
        let kind = [Cut::Answer, Cut::Request, Cut::Fatal][usize::try_from(round % 3).expect("a small number")];
        // So that what is cut is the transaction, not the opening of a connection.
        let first = put(bucket, session, &format!("key {round}"), round, WriteCondition::None);
        cut.put_version(first).await.expect("a write that nothing cuts");
        let name = key(&format!("key {round}"));
        let target = DeleteTarget { key: name.clone(), version_id: None, condition: WriteCondition::Present };
        proxy.cut_after(round / 2 % 4, kind);
        let deleted = cut.delete_versions(DeleteVersions { bucket, targets: vec![target] }).await.expect("an answer");
        let marker = deleted.first().expect("one answer").as_ref().expect("a marker").version_id.expect("its id");
        let find = GetVersion { bucket, key: name, version_id: Some(marker), part_number: None, with_content: false };
        match straight.get_version(find).await {
            Err(CatalogError::IsDeleteMarker { version_id, .. }) => assert_eq!(version_id, marker),
            other => panic!("round {round}: {other:?} is the marker that was acknowledged"),
        }
    }
    assert!(proxy.cuts() >= 30, "only {} connections were cut", proxy.cuts());
    let usage = straight.usage(bucket).await.expect("usage");
    assert_eq!((usage.objects, usage.noncurrent_versions, usage.delete_markers), (0, 60, 60));
}

/// P2: a server that stops waiting for its standbys warns and then reports success. The write is answered only once a strict commit behind it
/// is acknowledged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL"]
async fn does_not_take_a_local_commit_for_a_durable_one() {
    // Of its own: it is made to wait for a standby that there is not.
    let server = Arc::new(Server::start());
    let settings = server.settings("local");
    migrate(&settings).await.expect("a schema");
    let catalog = gateway(settings);
    let (bucket, session) = prepare(&catalog, Versioning::Unversioned).await;
    let observer = server.connect().await;
    server.set(&observer, "synchronous_standby_names", "ANY 1 (nobody)").await;
    let waiting = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND query LIKE '%put_version%'";
    let write = || {
        let writer = catalog.clone();
        tokio::spawn(async move { writer.put_version(put(bucket, session, "a", 1, WriteCondition::None)).await })
    };
    let (mut task, mut early) = (write(), 0);
    let pid = loop {
        if let Some(row) = observer.query_opt(waiting, &[]).await.expect("an answer") {
            break row.get::<_, i32>(0);
        }
        if task.is_finished() {
            // The server's processes learn of a setting one by one.
            early += 1;
            assert!(early < 100, "writes do not wait for their standbys: {:?}", task.await);
            task = write();
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    let write = task;
    observer.execute("SELECT pg_cancel_backend($1)", &[&pid]).await.expect("an answer");
    // The commit stands on this server alone. The gateway leaves that connection, and waits for a server that acknowledges.
    loop {
        let left = observer.query_one("SELECT count(*) FROM pg_stat_activity WHERE pid = $1", &[&pid]).await.expect("an answer");
        assert!(!write.is_finished(), "the write was answered on the word of a server that was alone: {:?}", write.await);
        if left.get::<_, i64>(0) == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    server.set(&observer, "synchronous_standby_names", "").await;
    let written = write.await.expect("a task").expect("a write");
    let found = current(&catalog, bucket, "a").await.expect("a version").version.summary;
    assert_eq!(found.sequence, written.sequence);
    assert_eq!(catalog.usage(bucket).await.expect("usage").objects, 1);
}

/// Roles and databases have defaults of their own; the engine's connections do not go by them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL"]
async fn does_not_go_by_the_settings_of_others() {
    let server = Arc::new(Server::start());
    let observer = server.connect().await;
    for setting in [
        "default_transaction_isolation = 'serializable'",
        "default_transaction_read_only = on",
        "synchronous_commit = off",
        "client_min_messages = error",
        "statement_timeout = 1",
        "lock_timeout = 1",
        "search_path = pg_catalog",
    ] {
        observer.batch_execute(&format!("ALTER ROLE cairn SET {setting}")).await.expect("a default");
    }
    let settings = server.settings("defaults");
    // Several gateways start at once.
    for made in join_all((0..4).map(|_| migrate(&settings))).await {
        made.expect("a schema");
    }
    let catalog = gateway(settings.clone());
    let (bucket, session) = prepare(&catalog, Versioning::Enabled).await;
    catalog.put_version(put(bucket, session, "a", 1, WriteCondition::None)).await.expect("a write");
    let strict = PostgresSettings { replication: cairn_catalog::postgres::Replication::Required, ..settings };
    match gateway(strict).put_version(put(bucket, session, "a", 1, WriteCondition::None)).await {
        Err(CatalogError::Unavailable(reason)) => assert!(reason.contains("fsync"), "{reason}"),
        other => panic!("a server without fsync serves: {other:?}"),
    }
}

/// P4, R1: a primary that cannot have its commits acknowledged (its standbys are gone, or it is the old one) goes on answering questions, and
/// nobody believes it; when it acknowledges again, it serves again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL"]
async fn believes_no_primary_that_cannot_commit() {
    let server = Arc::new(Server::start());
    let settings = PostgresSettings { wait_max: Duration::from_secs(1), ..server.settings("isolated") };
    migrate(&settings).await.expect("a schema");
    let patient = gateway(PostgresSettings { wait_max: Duration::from_secs(120), ..settings.clone() });
    let hasty = gateway(settings);
    let (bucket, session) = prepare(&patient, Versioning::Unversioned).await;
    patient.put_version(put(bucket, session, "a", 1, WriteCondition::None)).await.expect("a write");
    // So that it has a connection over which it could be answered.
    current(&hasty, bucket, "a").await.expect("a version");
    let observer = server.connect().await;
    server.set(&observer, "synchronous_standby_names", "ANY 1 (nobody)").await;
    // Its last heartbeat counts for 3 s from when it was sent, which was before the first of those that are stuck.
    let stuck = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND query LIKE '%beat(%' \
                 AND clock_timestamp() - query_start > '6 s')";
    while !observer.query_one(stuck, &[]).await.expect("an answer").get::<_, bool>(0) {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    match current(&hasty, bucket, "a").await {
        Err(CatalogError::Unavailable(_)) => {}
        other => panic!("a version of a server that is not believed: {other:?}"),
    }
    match hasty
        .list_objects(ListObjects { scope: ListScope { bucket, prefix: String::new(), delimiter: None, limit: 1 }, after: None })
        .await
    {
        Err(CatalogError::Unavailable(_)) => {}
        other => panic!("a listing of a server that is not believed: {other:?}"),
    }
    // The server itself answers: it is for the gateway to know better.
    observer.query_one("SELECT count(*) FROM isolated.current_versions", &[]).await.expect("an answer of the server");
    server.set(&observer, "synchronous_standby_names", "").await;
    // Who can wait is served as soon as heartbeats come back.
    current(&patient, bucket, "a").await.expect("a version");
    patient.put_version(put(bucket, session, "b", 1, WriteCondition::None)).await.expect("a write");
}

/// With TLS asked for, a gateway talks to a server whose certificate is good for the name that it was called by, and to nobody else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL"]
async fn verifies_whom_it_talks_to() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let stranger = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate").cert.pem();
    let (_server, port) = Server::start_with_tls(&certificate, &key);
    let at = |host: &str, trusted: Option<&str>| PostgresSettings {
        replication: cairn_catalog::postgres::Replication::Waived,
        tls: trusted.map(|pem| TlsSettings::trusting(pem.as_bytes()).expect("an authority")),
        ..PostgresSettings::new(ConnectionString::new(format!("host={host} port={port} user=cairn dbname=postgres")))
    };
    let good = at("localhost", Some(&certificate));
    migrate(&good).await.expect("a schema");
    let catalog = gateway(good);
    let (bucket, session) = prepare(&catalog, Versioning::Unversioned).await;
    catalog.put_version(put(bucket, session, "a", 1, WriteCondition::None)).await.expect("a write");
    for (why, settings) in [
        ("the authority is another one", at("localhost", Some(&stranger))),
        ("the certificate is for another name", at("127.0.0.1", Some(&certificate))),
        ("the server takes no connections in the clear", at("localhost", None)),
    ] {
        assert!(matches!(migrate(&settings).await, Err(CatalogError::Unavailable(_))), "{why}, and it talks");
    }
}

/// Heartbeats that are slow are heartbeats, all the same: a way of more than half a second is no reason to believe nobody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL"]
async fn slow_heartbeats_count() {
    let server = server();
    let settings = PostgresSettings { wait_max: Duration::from_secs(120), ..server.settings("slow") };
    migrate(&settings).await.expect("a schema");
    let proxy = Proxy::far(server.socket(), Duration::from_millis(700));
    let (near, far) = (gateway(settings.clone()), gateway(PostgresSettings { connection: proxy.connection(), ..settings }));
    let (bucket, session) = prepare(&near, Versioning::Unversioned).await;
    far.put_version(put(bucket, session, "a", 1, WriteCondition::None)).await.expect("a write, in the end");
    // From one to the next there is no gap.
    for _ in 0..40 {
        assert!(far.machine().believed_timeline().is_some(), "it is slow, and it is there");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A gateway that has just found a new primary writes nothing for five seconds; who reads through it does not wait as long, although all connections are wanted by those who would write.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL"]
async fn writers_who_wait_for_a_new_primary_keep_no_reader_out() {
    let server = server();
    let settings = PostgresSettings { connections_max: 1, ..server.settings("new_primary") };
    migrate(&settings).await.expect("a schema");
    let before = gateway(settings.clone());
    let (bucket, session) = prepare(&before, Versioning::Unversioned).await;
    before.put_version(put(bucket, session, "a", 1, WriteCondition::None)).await.expect("a write");
    // As if it had been promoted in this moment, or in one that has yet to come.
    let promote = "UPDATE new_primary.timelines SET seen_ms = (SELECT catalog_ms + 3600000 FROM new_primary.clock)";
    server.connect().await.batch_execute(promote).await.expect("a promotion");
    for _ in 0..5 {
        let fresh = gateway(settings.clone());
        let writer = tokio::spawn({
            let (fresh, write) = (fresh.clone(), put(bucket, session, "b", 1, WriteCondition::None));
            async move { fresh.put_version(write).await }
        });
        while fresh.machine().believed_timeline().is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let began = tokio::time::Instant::now();
        current(&fresh, bucket, "a").await.expect("a version");
        let (waited, has_written) = (began.elapsed(), writer.is_finished());
        // A gateway that has written on it before goes on, whatever its row says.
        before.put_version(put(bucket, session, "c", 1, WriteCondition::None)).await.expect("a write");
        writer.await.expect("a task").expect("a write, behind five seconds");
        if waited < Duration::from_secs(4) {
            assert!(!has_written, "it has written after {waited:?}");
            return;
        }
    }
    panic!("who reads waits behind those who may not write yet");
}

/// Whoever has stopped waiting was told that nobody knows, and may have written something else since. What had not been sent by then does not come behind that: a client's later write stays the later one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL"]
async fn what_nobody_waits_for_any_more_is_not_begun() {
    let server = Arc::new(Server::start());
    let settings = PostgresSettings { wait_max: Duration::from_secs(120), ..server.settings("impatient") };
    migrate(&settings).await.expect("a schema");
    let catalog = gateway(settings);
    let (bucket, session) = prepare(&catalog, Versioning::Enabled).await;
    let observer = server.connect().await;
    server.set(&observer, "synchronous_standby_names", "ANY 1 (nobody)").await;
    while catalog.machine().believed_timeline().is_some() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // Nobody can be written to, so none of these is sent: by one statement, and by the state machine.
    let write = catalog.put_version(put(bucket, session, "a", 1, WriteCondition::None));
    assert!(tokio::time::timeout(Duration::from_millis(300), write).await.is_err(), "it was answered");
    let target = || vec![DeleteTarget { key: key("a"), version_id: None, condition: WriteCondition::None }];
    let deletion = catalog.delete_versions(DeleteVersions { bucket, targets: target() });
    assert!(tokio::time::timeout(Duration::from_millis(300), deletion).await.is_err(), "it was answered");
    let patient = tokio::spawn({
        let (catalog, write) = (catalog.clone(), put(bucket, session, "a", 2, WriteCondition::None));
        async move { catalog.put_version(write).await }
    });
    server.set(&observer, "synchronous_standby_names", "").await;
    let written = patient.await.expect("a task").expect("a write that somebody waits for");
    // Whatever else was waiting for a server has had one.
    for number in 0..40 {
        catalog.put_version(put(bucket, session, "b", number, WriteCondition::None)).await.expect("a write");
    }
    assert_eq!(current(&catalog, bucket, "a").await.expect("a version").version.summary.sequence, written.sequence);
    let usage = catalog.usage(bucket).await.expect("usage");
    assert_eq!((usage.objects, usage.noncurrent_versions, usage.delete_markers), (2, 39, 0), "what nobody waited for was done");
}
