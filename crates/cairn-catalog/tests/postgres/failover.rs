//! A primary and a synchronous standby, the loss of the primary, and what gateways make of it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cairn_catalog::embedded::keyvalue::KeyValue;
use cairn_catalog::postgres::{PostgresCatalog, PostgresSettings, Witness, migrate};
use cairn_catalog::{Catalog, CatalogError, WriteCondition};
use cairn_testkit::catalog_invariants::violations;
use cairn_types::records::Versioning;
use cairn_types::{BucketId, SessionId};
use futures::future::{BoxFuture, join_all};
use tokio::sync::watch;

use crate::gateways::{current, gateway, names, prepare, put};
use crate::server::Server;

/// Writers, what they were told is written, and how much that is.
struct Writers {
    tasks: Vec<tokio::task::JoinHandle<BTreeMap<String, u64>>>,
    acknowledged: watch::Receiver<u64>,
    is_over: Arc<AtomicBool>,
}

impl Writers {
    fn start(catalog: &Arc<PostgresCatalog>, bucket: BucketId, session: SessionId) -> Self {
        let (count, acknowledged) = watch::channel(0_u64);
        let (count, is_over) = (Arc::new(count), Arc::new(AtomicBool::new(false)));
        let tasks = (0..8)
            .map(|writer| {
                let (catalog, count, is_over) = (catalog.clone(), count.clone(), is_over.clone());
                tokio::spawn(async move {
                    let mut written = BTreeMap::new();
                    for number in 0.. {
                        if is_over.load(Ordering::SeqCst) {
                            break;
                        }
                        let name = format!("{writer}/{number}");
                        match catalog.put_version(put(bucket, session, &name, number, WriteCondition::Absent)).await {
                            Ok(done) => drop(written.insert(name, done.sequence)),
                            // No promise was made, in either direction.
                            Err(CatalogError::OutcomeUnknown(_) | CatalogError::Unavailable(_) | CatalogError::Busy(_)) => {}
                            Err(error) => panic!("{name}: {error}"),
                        }
                        count.send_modify(|count| *count += 1);
                        // Some are under way at any time; what is written while others wait is judged one by one.
                        tokio::time::sleep(Duration::from_millis(10)).await;
                    }
                    written
                })
            })
            .collect();
        Self { tasks, acknowledged, is_over }
    }

    async fn more(&mut self, count: u64) {
        let enough = *self.acknowledged.borrow() + count;
        self.acknowledged.wait_for(|now| *now >= enough).await.expect("writers");
    }

    async fn finish(self) -> BTreeMap<String, u64> {
        self.is_over.store(true, Ordering::SeqCst);
        join_all(self.tasks).await.into_iter().flat_map(|written| written.expect("a writer")).collect()
    }
}

/// What every write that was acknowledged must be afterwards; and nothing contradicts anything.
async fn judge(catalog: &PostgresCatalog, bucket: BucketId, written: &BTreeMap<String, u64>) {
    let listed = names(catalog, bucket).await;
    for (name, sequence) in written {
        assert!(listed.contains(name), "{name} was acknowledged and is gone");
        let found = current(catalog, bucket, name).await.expect("a version").version.summary;
        assert_eq!(found.sequence, *sequence, "{name}");
    }
    let rows = catalog.machine().rows().await.expect("the rows");
    assert_eq!(violations(crate::model_of(&rows).snapshot().as_ref()), Vec::<String>::new());
}

/// The primary crashes, and the standby that has every acknowledged commit takes over: nothing is lost, nothing is done twice, and the same gateway
/// goes on with the same session.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL"]
async fn a_crashed_primary_takes_no_acknowledged_write_along() {
    fail_over(Server::crash).await;
}

/// The primary is cut off from its standby and goes on: it lets gateways in and answers questions. It acknowledges nothing, and is believed nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL"]
async fn an_isolated_primary_is_left_behind() {
    fail_over(|_| {}).await;
}

async fn fail_over(lose: impl Fn(&Server)) {
    let primary = Server::start();
    let settings = primary.settings("catalog");
    migrate(&settings).await.expect("a schema");
    let standby = primary.standby();
    let observer = primary.connect().await;
    primary.set(&observer, "synchronous_standby_names", "ANY 1 (*)").await;
    let catalog = gateway(PostgresSettings {
        // The primary comes first: it is asked first for as long as it lets anybody in.
        connection: primary.connection_with(&standby),
        wait_max: Duration::from_secs(120),
        ..settings
    });
    let (bucket, session) = prepare(&catalog, Versioning::Unversioned).await;
    let mut writers = Writers::start(&catalog, bucket, session);
    writers.more(100).await;
    lose(&primary);
    standby.promote();
    writers.more(100).await;
    let written = writers.finish().await;
    assert!(written.len() >= 100, "{} writes were acknowledged", written.len());
    judge(&catalog, bucket, &written).await;
    // That the old primary, where it lives, has none of what was written since.
    let now = standby.connect().await.query_one("SELECT max(timeline) FROM catalog.timelines", &[]).await.expect("timelines");
    assert_eq!(now.get::<_, i64>(0), 2);
}

/// Whoever decides which server is the primary, as the test wants it.
#[derive(Default)]
struct Scripted(Mutex<Option<String>>);

impl Scripted {
    fn gives_the_right_to(&self, host: Option<String>) {
        *self.0.lock().expect("a lock") = host;
    }
}

impl Witness for Scripted {
    fn keeps_its_right(&self, host: String) -> BoxFuture<'_, Result<Duration, String>> {
        let has_it = self.0.lock().expect("a lock").as_ref() == Some(&host);
        Box::pin(std::future::ready(if has_it { Ok(Duration::from_secs(7)) } else { Err("the manager is dead".to_owned()) }))
    }
}

/// A primary with two standbys, one of which is promoted while the other goes on acknowledging what the old primary commits: its manager has died, it has not,
/// and nothing cuts it off.
struct Split {
    old: Server,
    new: Server,
    _stays: Server,
    observer: tokio_postgres::Client,
}

impl Split {
    async fn prepare() -> (Self, PostgresSettings) {
        let old = Server::start();
        let settings = old.settings("catalog");
        migrate(&settings).await.expect("a schema");
        let (new, stays) = (old.standby(), old.standby());
        let observer = old.connect().await;
        old.set(&observer, "synchronous_standby_names", "ANY 1 (*)").await;
        let settings = PostgresSettings { connection: old.connection_with(&new), wait_max: Duration::from_secs(120), ..settings };
        (Self { old, new, _stays: stays, observer }, settings)
    }

    /// That the old primary lives, and its commits are acknowledged by the standby that has stayed.
    async fn old_goes_on(&self) {
        self.observer.batch_execute("CREATE TABLE catalog.proof ()").await.expect("a commit that a standby acknowledges");
    }
}

/// P4: the manager of the primary dies, the primary does not. Its right runs out, and another server is promoted, a while after which the remaining standby still
/// acknowledges the old one's commits, to throw them away later. By then no gateway believes it: nothing that was acknowledged is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL"]
async fn a_primary_without_a_manager_is_left_before_another_one_is_promoted() {
    let (split, settings) = Split::prepare().await;
    let witness = Arc::new(Scripted::default());
    witness.gives_the_right_to(Some(split.old.host()));
    let catalog = gateway(PostgresSettings { witness: Some(witness.clone()), ..settings });
    let (bucket, session) = prepare(&catalog, Versioning::Unversioned).await;
    let mut writers = Writers::start(&catalog, bucket, session);
    writers.more(100).await;
    // The manager is dead. Its lock runs out only after every answer that counted has ceased to: that is what the witness has promised.
    witness.gives_the_right_to(None);
    for _ in 0..600 {
        if catalog.machine().believed_timeline().is_none() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(catalog.machine().believed_timeline(), None, "a primary is believed that nobody vouches for");
    split.new.promote();
    split.old_goes_on().await;
    witness.gives_the_right_to(Some(split.new.host()));
    writers.more(100).await;
    let written = writers.finish().await;
    judge(&catalog, bucket, &written).await;
    assert_eq!(catalog.machine().believed_timeline(), Some(2));
}

/// P4, where nobody vouches for a primary: as soon as another server is seen to write a later timeline, the old one is left, however alive it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL"]
async fn a_later_timeline_anywhere_ends_the_belief_in_an_earlier_one() {
    let (split, settings) = Split::prepare().await;
    let catalog = gateway(settings);
    let (bucket, session) = prepare(&catalog, Versioning::Unversioned).await;
    catalog.put_version(put(bucket, session, "before", 1, WriteCondition::None)).await.expect("a write");
    assert_eq!(catalog.machine().believed_timeline(), Some(1));
    split.new.promote();
    split.old_goes_on().await;
    for _ in 0..600 {
        if catalog.machine().believed_timeline() == Some(2) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(catalog.machine().believed_timeline(), Some(2), "a server is believed that was replaced");
    catalog.put_version(put(bucket, session, "after", 1, WriteCondition::Absent)).await.expect("a write");
    let everywhere = names(&catalog, bucket).await;
    assert_eq!(everywhere.into_iter().collect::<Vec<_>>(), ["after", "before"]);
    let find = "SELECT count(*) FROM catalog.current_versions WHERE key LIKE '%after'::bytea";
    let counts = [split.new.connect().await, split.old.connect().await];
    let mut found = Vec::new();
    for server in &counts {
        found.push(server.query_one(find, &[]).await.expect("a number").get::<_, i64>(0));
    }
    assert_eq!(found, [1, 0], "the write is on the server that was promoted");
}

/// P4: a primary crashes while a commit waits for its standby, and shows that commit when it is back, although no standby has it. Nobody reads it, for a fail-over could still
/// take it back; and whoever wrote it is told so only when the standby has it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL"]
async fn a_restarted_primary_shows_nothing_that_its_standby_lacks() {
    let mut primary = Server::start();
    let settings = primary.settings("catalog");
    migrate(&settings).await.expect("a schema");
    let mut standby = primary.standby();
    let observer = primary.connect().await;
    primary.set(&observer, "synchronous_standby_names", "ANY 1 (*)").await;
    let patient = gateway(PostgresSettings { wait_max: Duration::from_secs(120), ..settings.clone() });
    let (bucket, session) = prepare(&patient, Versioning::Unversioned).await;
    standby.crash();
    let write = {
        let (patient, request) = (patient.clone(), put(bucket, session, "ghost", 1, WriteCondition::None));
        tokio::spawn(async move { patient.put_version(request).await })
    };
    let waits = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND query LIKE '%put_version%')";
    while !observer.query_one(waits, &[]).await.expect("an answer").get::<_, bool>(0) {
        assert!(!write.is_finished(), "a write was acknowledged without a standby");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    primary.crash();
    primary.restart();
    let find = "SELECT count(*) FROM catalog.current_versions WHERE key LIKE '%ghost'::bytea";
    let shown = primary.connect().await.query_one(find, &[]).await.expect("an answer").get::<_, i64>(0);
    assert_eq!(shown, 1, "the server itself shows it, or this shows nothing");
    let hasty = gateway(PostgresSettings { wait_max: Duration::from_secs(4), ..settings });
    match current(&hasty, bucket, "ghost").await {
        Err(CatalogError::Unavailable(_)) => {}
        other => panic!("{other:?} was read, and no standby has it"),
    }
    assert!(!write.is_finished(), "a write was acknowledged that no standby has");
    standby.restart();
    let written = write.await.expect("a writer").expect("a write that the standby has now");
    let found = current(&patient, bucket, "ghost").await.expect("a version").version.summary;
    assert_eq!(found.sequence, written.sequence);
}
