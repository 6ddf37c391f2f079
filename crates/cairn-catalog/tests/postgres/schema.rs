//! What the tables and functions must say, what a refused statement does to a commit, and what becomes of those whom nobody waits for.

use std::time::Duration;

use cairn_catalog::postgres::{ConnectionString, Generations, PostgresSettings, migrate};
use cairn_catalog::{
    Catalog, CatalogError, ChunkPlace, CloseSilentSessions, ListObjects, ListScope, MoveLocatorsBatch, OpenSession, Reap,
    WriteCondition,
};
use cairn_testkit::catalog_conformance::replica;
use cairn_types::records::Versioning;
use cairn_types::{BlobId, ChunkId, ZoneIndex};

use crate::gateways::{current, gateway, names, prepare, put};
use crate::server::server;

/// R2: a connection that kept numbers in stock would give a later version the lower one. P1: a function that is not volatile would see the state
/// from before its locks. And no key is compared by a locale.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL"]
async fn says_what_the_rules_need() {
    let server = server();
    migrate(&server.settings("schema_of_rules")).await.expect("a schema");
    let observer = server.connect().await;
    let cache = "SELECT seqcache, seqcycle FROM pg_sequence WHERE seqrelid = 'schema_of_rules.numbers'::regclass";
    let row = observer.query_one(cache, &[]).await.expect("the sequence");
    assert_eq!((row.get::<_, i64>(0), row.get::<_, bool>(1)), (1, false));
    let functions =
        "SELECT proname::text FROM pg_proc WHERE pronamespace = 'schema_of_rules'::regnamespace AND provolatile <> 'v'";
    let stable: Vec<String> = observer.query(functions, &[]).await.expect("functions").iter().map(|row| row.get(0)).collect();
    assert_eq!(stable, ["list_folders"], "these see one snapshot, whatever they wait for");
    let columns = "SELECT table_name::text FROM information_schema.columns WHERE table_schema = 'schema_of_rules' AND column_name = 'key' \
                   AND data_type <> 'bytea'";
    assert!(observer.query(columns, &[]).await.expect("columns").is_empty());
}

/// P2: a COMMIT behind a statement that the server refused rolls back, and reports success.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL"]
async fn does_not_take_a_rolled_back_commit_for_one() {
    let server = server();
    let settings = server.settings("refusing");
    migrate(&settings).await.expect("a schema");
    let catalog = gateway(settings);
    let (bucket, session) = prepare(&catalog, Versioning::Enabled).await;
    let observer = server.connect().await;
    // Usage is neither the first nor the last of what a write changes.
    observer
        .batch_execute(
            "SET search_path = refusing; CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS \
             $$ BEGIN RAISE EXCEPTION 'no'; END $$; \
             CREATE TRIGGER refuse BEFORE INSERT ON usage_deltas FOR EACH ROW EXECUTE FUNCTION refuse()",
        )
        .await
        .expect("a trigger");
    match catalog.put_version(put(bucket, session, "a", 1, WriteCondition::None)).await {
        Err(CatalogError::Unavailable(reason)) => assert!(reason.contains("no"), "{reason}"),
        other => panic!("a write that was rolled back: {other:?}"),
    }
    assert!(matches!(current(&catalog, bucket, "a").await, Err(CatalogError::NoSuchKey)));
    observer.batch_execute("DROP TRIGGER refuse ON usage_deltas").await.expect("no trigger");
    catalog.put_version(put(bucket, session, "a", 1, WriteCondition::Absent)).await.expect("a write");
}

/// Futures may be dropped: what was asked has happened or has not, and whoever has the connection next begins anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL"]
async fn finishes_what_nobody_waits_for() {
    let server = server();
    let settings = server.settings("dropped");
    migrate(&settings).await.expect("a schema");
    let catalog = gateway(settings);
    let (bucket, session) = prepare(&catalog, Versioning::Enabled).await;
    for number in 0..100_u64 {
        let write = catalog.put_version(put(bucket, session, &format!("{number}"), number, WriteCondition::None));
        let _ = tokio::time::timeout(Duration::from_micros(number * 100), write).await;
        let scope = ListScope { bucket, prefix: String::new(), delimiter: None, limit: 1 };
        let list = catalog.list_objects(ListObjects { scope, after: None });
        let _ = tokio::time::timeout(Duration::from_micros(number * 20), list).await;
    }
    catalog.put_version(put(bucket, session, "last", 1, WriteCondition::Absent)).await.expect("a write");
    assert!(names(&catalog, bucket).await.contains("last"));
    assert_eq!(crate::violations(&catalog).await, Vec::<String>::new());
}

/// P5: a catalog that is set back, be it by a restore or by the promotion of a server that lacked some of it, is found out by any gateway that knew better. From
/// then on no session counts as closed, so nothing is collected, and none is given again, until an administrator has looked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL"]
async fn a_catalog_that_has_forgotten_collects_nothing() {
    let server = server();
    let settings = server.settings("forgetful");
    migrate(&settings).await.expect("a schema");
    let (one, other) = (gateway(settings.clone()), gateway(settings));
    let (_, session) = prepare(&one, Versioning::Unversioned).await;
    one.close_session(session).await.expect("a closing");
    assert!(one.sessions().await.expect("a view").is_closed(session));
    assert!(!other.machine().has_forgotten().await.expect("an answer"), "a new catalog has nothing to forget");
    // As it was an hour ago, for whoever looks at it.
    let observer = server.connect().await;
    observer.batch_execute("UPDATE forgetful.clock SET catalog_ms = catalog_ms - 3600000").await.expect("an earlier time");
    for _ in 0..600 {
        if other.machine().has_forgotten().await.expect("an answer") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(other.machine().has_forgotten().await.expect("an answer"), "nobody has noticed");
    let silent_for = Duration::from_hours(10_000);
    // The collector asks which places are named; of what it has in memory, too (S2).
    let chunk = ChunkId { blob: BlobId { session, counter: 1 }, ordinal: 0 };
    let place = ChunkPlace { chunk, zone: ZoneIndex::ALL[0], replica: replica(1, "somewhere") };
    for catalog in [&one, &other] {
        assert_eq!(catalog.named(vec![place.clone()]).await, Ok(vec![true]), "of what nothing names nobody knows");
        let nothing = MoveLocatorsBatch { session, moves: Vec::new() };
        assert_eq!(catalog.move_locators(nothing).await, Err(CatalogError::SessionClosed));
        assert!(!catalog.sessions().await.expect("a view").is_closed(session));
        assert!(!catalog.close_silent_sessions(CloseSilentSessions { silent_for }).await.expect("a view").is_closed(session));
    }
    let next = one.open_session(OpenSession { gateway: "gateway".to_owned() }).await.expect("a session");
    assert!(next.0 > session.0 + 1_000_000, "{next:?} may have been given already");
    let nothing = MoveLocatorsBatch { session: next, moves: Vec::new() };
    assert!(matches!(one.move_locators(nothing.clone()).await, Err(CatalogError::Unavailable(_))), "nothing is moved");
    let seen = one.machine().generations().await.expect("generations");
    one.machine().note_reviewed(seen).await.expect("a review");
    assert!(other.sessions().await.expect("a view").is_closed(session));
    assert_eq!(other.named(vec![place]).await, Ok(vec![false]));
    one.move_locators(nothing).await.expect("an answer");
    // Where no gateway knew better, whoever restores says so.
    other.machine().note_restored().await.expect("a note");
    assert!(!one.sessions().await.expect("a view").is_closed(session));
    // What was looked at is what was there to be seen: not what was forgotten meanwhile, nor what has yet to be.
    one.machine().note_reviewed(seen).await.expect("the same review");
    assert!(!one.sessions().await.expect("a view").is_closed(session), "collected, and nobody has looked");
    let now = one.machine().generations().await.expect("generations");
    assert!(
        one.machine().note_reviewed(Generations { now: now.now + 1, ..now }).await.is_err(),
        "somebody has looked at what has yet to happen"
    );
    assert!(!one.sessions().await.expect("a view").is_closed(session), "collected, and nobody has looked");
    one.machine().note_reviewed(now).await.expect("a review");
    assert!(one.sessions().await.expect("a view").is_closed(session));
    // A dump in another server: by that server's own name.
    observer.batch_execute("UPDATE forgetful.identity SET system = system + 1").await.expect("another server");
    for _ in 0..600 {
        if one.machine().has_forgotten().await.expect("an answer") {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("nobody has noticed that the server is another one");
}

/// The service's role is an ordinary one, which owns its schema and nothing else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL"]
async fn needs_no_superuser() {
    let server = server();
    let observer = server.connect().await;
    let make = "CREATE ROLE ordinary LOGIN; GRANT CREATE ON DATABASE postgres TO ordinary";
    observer.batch_execute(make).await.expect("a role");
    let connection = ConnectionString::new(server.connection_text().replace("user=cairn", "user=ordinary"));
    let settings = PostgresSettings { connection, ..server.settings("ordinary") };
    migrate(&settings).await.expect("a schema");
    let owner = "SELECT rolsuper FROM pg_namespace n JOIN pg_roles r ON r.oid = n.nspowner WHERE nspname = 'ordinary'";
    assert!(!observer.query_one(owner, &[]).await.expect("an owner").get::<_, bool>(0));
    let catalog = gateway(settings);
    let (bucket, session) = prepare(&catalog, Versioning::Enabled).await;
    for number in 0..3 {
        catalog.put_version(put(bucket, session, "a", number, WriteCondition::None)).await.expect("a write");
    }
    assert!(names(&catalog, bucket).await.contains("a"));
    catalog.reap(Reap { limit: 10 }).await.expect("a round");
    catalog.machine().forget_lanes().await.expect("a round");
    catalog.machine().note_restored().await.expect("a note");
    assert!(catalog.machine().has_forgotten().await.expect("an answer"));
    let now = catalog.machine().generations().await.expect("generations");
    catalog.machine().note_reviewed(now).await.expect("a review");
    catalog.close_session(session).await.expect("a closing");
    assert!(catalog.sessions().await.expect("a view").is_closed(session));
}

/// Not a test: how long the ways take that an operation may go, in this build on this machine.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures"]
async fn measures_one_gateway() {
    let server = server();
    for (schema, versioning) in [("measured_plain", Versioning::Unversioned), ("measured_versions", Versioning::Enabled)] {
        let settings = server.settings(schema);
        migrate(&settings).await.expect("a schema");
        let catalog = gateway(settings);
        let (bucket, session) = prepare(&catalog, versioning).await;
        for round in 0..2 {
            let began = tokio::time::Instant::now();
            for number in 0..300 {
                let name = format!("folder {}/{number}", number % 3);
                catalog.put_version(put(bucket, session, &name, number, WriteCondition::None)).await.expect("a write");
            }
            let put = began.elapsed() / 300;
            let began = tokio::time::Instant::now();
            for number in 0..300 {
                current(&catalog, bucket, &format!("folder {}/{number}", number % 3)).await.expect("a version");
            }
            let get = began.elapsed() / 300;
            let began = tokio::time::Instant::now();
            for _ in 0..20 {
                let scope = ListScope { bucket, prefix: String::new(), delimiter: Some("/".to_owned()), limit: 1000 };
                catalog.list_objects(ListObjects { scope, after: None }).await.expect("a listing");
            }
            eprintln!("{schema}, round {round}: put {put:?}, get {get:?}, list 3 folders {:?}", began.elapsed() / 20);
        }
    }
}
