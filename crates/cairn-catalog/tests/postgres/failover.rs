//! A primary and a synchronous standby, the loss of the primary, and what gateways make of it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cairn_catalog::postgres::{
    ConnectionString, Life, PostgresCatalog, PostgresSettings, Primary, Replication, Witness, migrate,
};
use cairn_catalog::{Catalog, CatalogError, CloseSilentSessions, CreateTenant, OpenSession, WriteCondition};
use cairn_types::records::Versioning;
use cairn_types::{BucketId, SessionId};
use futures::future::{BoxFuture, join_all};
use tokio::sync::watch;

use crate::gateways::{current, gateway, names, prepare, put};
use crate::proxy::Proxy;
use crate::server::Server;

/// Writers, what they were told is written, and how much that is.
pub struct Writers {
    tasks: Vec<tokio::task::JoinHandle<BTreeMap<String, u64>>>,
    acknowledged: watch::Receiver<u64>,
    is_over: Arc<AtomicBool>,
}

impl Writers {
    pub fn start(catalog: &Arc<PostgresCatalog>, bucket: BucketId, session: SessionId) -> Self {
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

    pub async fn more(&mut self, count: u64) {
        let enough = *self.acknowledged.borrow() + count;
        self.acknowledged.wait_for(|now| *now >= enough).await.expect("writers");
    }

    pub async fn finish(self) -> BTreeMap<String, u64> {
        self.is_over.store(true, Ordering::SeqCst);
        join_all(self.tasks).await.into_iter().flat_map(|written| written.expect("a writer")).collect()
    }
}

/// What every write that was acknowledged must be afterwards; and nothing contradicts anything.
pub async fn judge(catalog: &PostgresCatalog, bucket: BucketId, written: &BTreeMap<String, u64>) {
    let listed = names(catalog, bucket).await;
    for (name, sequence) in written {
        assert!(listed.contains(name), "{name} was acknowledged and is gone");
        let found = current(catalog, bucket, name).await.expect("a version").version.summary;
        assert_eq!(found.sequence, *sequence, "{name}");
    }
    assert_eq!(crate::violations(catalog).await, Vec::<String>::new());
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
    assert!(!catalog.machine().has_forgotten().await.expect("an answer"), "all that was acknowledged is there, as it attests");
    // That the old primary, where it lives, has none of what was written since.
    let now = standby.connect().await.query_one("SELECT max(timeline) FROM catalog.timelines", &[]).await.expect("timelines");
    assert_eq!(now.get::<_, i64>(0), 2);
}

/// Whoever decides which server is the primary, as the test wants it.
#[derive(Default)]
struct Scripted {
    has_the_right: Mutex<Option<String>>,
    /// What is known of the server there; where it is, another one that answers there has no right.
    life: Mutex<Option<Life>>,
}

impl Scripted {
    fn gives_the_right_to(&self, host: Option<String>) {
        *self.has_the_right.lock().expect("a lock") = host;
    }

    /// As Patroni's own answer does: it is about a server that was started then.
    fn speaks_of(&self, life: Option<Life>) {
        *self.life.lock().expect("a lock") = life;
    }
}

impl Witness for Scripted {
    fn keeps_its_right(&self, primary: Primary) -> BoxFuture<'_, Result<Duration, String>> {
        let is_meant = self.life.lock().expect("a lock").is_none_or(|life| life == primary.life);
        let has_it = is_meant && self.has_the_right.lock().expect("a lock").as_ref() == Some(&primary.place.host);
        Box::pin(std::future::ready(if has_it { Ok(Duration::from_secs(7)) } else { Err("the manager is dead".to_owned()) }))
    }
}

/// A primary with two standbys, one of which is promoted while the other goes on acknowledging what the old primary commits: its manager has died, it has not,
/// and nothing cuts it off.
struct Split {
    old: Server,
    new: Server,
    stays: Server,
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
        (Self { old, new, stays, observer }, settings)
    }

    /// That both standbys have whatever the old primary has acknowledged so far: one of them does for an acknowledgement, and it need not be the one that is promoted.
    async fn all_have_it(&self) {
        let position = self.observer.query_one("SELECT pg_current_wal_flush_lsn()::text", &[]).await.expect("a position");
        let position: String = position.get(0);
        let have = format!("SELECT count(*) FROM pg_stat_replication WHERE replay_lsn >= '{position}'::pg_lsn");
        until("what was acknowledged on both standbys", async || {
            self.observer.query_one(&have, &[]).await.expect("a number").get::<_, i64>(0) == 2
        })
        .await;
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
    // The new one is farther away than the old one, which would win every race.
    let far = Proxy::far(split.new.socket(), Duration::from_millis(10));
    let connection = ConnectionString::new(format!("host={},{} user=cairn dbname=postgres", split.old.host(), far.host()));
    let catalog = gateway(PostgresSettings { connection, ..settings });
    let (bucket, session) = prepare(&catalog, Versioning::Unversioned).await;
    catalog.put_version(put(bucket, session, "before", 1, WriteCondition::None)).await.expect("a write");
    assert_eq!(catalog.machine().believed_timeline(), Some(1));
    split.all_have_it().await;
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

/// Waits until the answer is yes.
pub async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    for _ in 0..1200 {
        if is_so().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{what}: not within a minute");
}

/// P5: two gateways in a split that nobody sees to. One writes on the old primary behind the promotion, is told that it is done, and comes over to the new one later, whose clock has gone on all the
/// while: nothing is wrong by time. It knows better, and nothing is collected.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL"]
async fn a_loss_is_noticed_that_time_does_not_tell() {
    let (split, settings) = Split::prepare().await;
    let way = Proxy::start(split.old.socket());
    let late = gateway(PostgresSettings { connection: way.connection(), ..settings.clone() });
    let (bucket, session) = prepare(&late, Versioning::Unversioned).await;
    split.all_have_it().await;
    split.new.promote();
    let prompt = gateway(PostgresSettings { connection: split.new.connection(), ..settings });
    prompt.put_version(put(bucket, session, "kept", 1, WriteCondition::None)).await.expect("a write");
    late.put_version(put(bucket, session, "lost", 1, WriteCondition::None)).await.expect("a write that is acknowledged");
    assert_eq!(late.machine().believed_timeline(), Some(1), "it sees the old one only");
    // The new one's clock is behind nobody's: as if others had beaten there for a minute.
    let later = "UPDATE catalog.clock SET catalog_ms = catalog_ms + 60000";
    split.new.connect().await.batch_execute(later).await.expect("a later time");
    assert_eq!(
        prompt.machine().generations().await.expect("generations").now,
        1,
        "who was told nothing of it knows nothing of it"
    );
    way.lead_to(split.new.socket());
    split.old.crash();
    until("the loss", async || prompt.machine().generations().await.expect("generations").now > 1).await;
    let names = names(&late, bucket).await;
    assert_eq!(names.into_iter().collect::<Vec<_>>(), ["kept"], "it is lost, or this shows nothing");
    assert!(prompt.machine().has_forgotten().await.expect("an answer"));
    assert!(prompt.sessions().await.expect("a view").generation > 1);
}

/// P5: a server is promoted while no gateway runs. Nobody can say whether it has what was acknowledged, so nothing is collected until somebody has looked; and everything else goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL"]
async fn a_timeline_that_nobody_attests_is_looked_at_first() {
    let (split, settings) = Split::prepare().await;
    let before = gateway(settings.clone());
    let (bucket, session) = prepare(&before, Versioning::Unversioned).await;
    before.put_version(put(bucket, session, "a", 1, WriteCondition::None)).await.expect("a write");
    split.all_have_it().await;
    drop(before);
    split.old.crash();
    split.new.promote();
    let after = gateway(settings);
    after.put_version(put(bucket, session, "b", 1, WriteCondition::None)).await.expect("a write");
    assert!(after.machine().has_forgotten().await.expect("an answer"), "nobody knows, and it collects");
    let seen = after.machine().generations().await.expect("generations");
    assert_eq!((seen.now, seen.reviewed, seen.unattested), (1, 1, Some(2)));
    after.close_session(session).await.expect("a closing");
    assert!(!after.sessions().await.expect("a view").is_closed(session));
    after.machine().note_reviewed(seen).await.expect("a review");
    assert!(after.sessions().await.expect("a view").is_closed(session));
}

/// P4: two standbys of one primary are promoted, and neither knows of the other: both write timeline 2. A gateway that goes over from one to the other takes no answer of the first
/// any more, over whatever connection it still has; and says that the second has forgotten what the first has acknowledged (P5).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL"]
async fn two_servers_of_one_timeline_are_two() {
    let (split, settings) = Split::prepare().await;
    let (one, other) = (&split.new, &split.stays);
    let witness = Arc::new(Scripted::default());
    witness.gives_the_right_to(Some(split.old.host()));
    let homes = [&split.old, one, other].map(Server::host).join(",");
    let connection = ConnectionString::new(format!("host={homes} user=cairn dbname=postgres"));
    let catalog = gateway(PostgresSettings { connection, witness: Some(witness.clone()), ..settings });
    let (bucket, session) = prepare(&catalog, Versioning::Unversioned).await;
    split.all_have_it().await;
    split.old.crash();
    for server in [one, other] {
        server.promote();
        // Alone, each of them: nobody follows it.
        let observer = server.connect().await;
        server.set(&observer, "synchronous_standby_names", "").await;
    }
    witness.gives_the_right_to(Some(one.host()));
    catalog.put_version(put(bucket, session, "a", 1, WriteCondition::None)).await.expect("a write");
    let is_at = |server: &Server| catalog.machine().believed_primary().is_some_and(|primary| primary.place.host == server.host());
    assert!(is_at(one) && catalog.machine().believed_timeline() == Some(2));
    // The manager that answers there speaks of a server that was started at another moment: it is not this one's.
    let life = catalog.machine().believed_primary().expect("a server").life;
    witness.speaks_of(Some(Life { started_us: life.started_us + 1, ..life }));
    until("the end of a belief that nobody shares", async || catalog.machine().believed_primary().is_none()).await;
    witness.speaks_of(None);
    witness.gives_the_right_to(Some(other.host()));
    until("the other one", async || is_at(other)).await;
    assert_eq!(catalog.machine().believed_timeline(), Some(2));
    match current(&catalog, bucket, "a").await {
        Err(CatalogError::NoSuchKey) => {}
        answer => panic!("{answer:?} is the first one's"),
    }
    assert!(catalog.machine().has_forgotten().await.expect("an answer"), "what was acknowledged is gone, and nobody says so");
    // Lanes and what settles by them: no id of the one is an id of the other.
    let add = "INSERT INTO catalog.lanes (used_ms) SELECT 0 FROM generate_series(1, 100) RETURNING id";
    let mut lanes = std::collections::BTreeSet::new();
    for server in [one, other] {
        let made = server.connect().await.query(add, &[]).await.expect("lanes");
        lanes.extend(made.iter().map(|row| row.get::<_, i64>(0)));
    }
    assert_eq!(lanes.len(), 200);
}

/// P3: the setting says that commits wait for standbys, and they do not: not all of the server has heard of it. No gateway believes that; one behind a standby that is waited for is served.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL"]
async fn a_server_that_does_not_wait_is_not_believed_whatever_its_settings_say() {
    let server = Server::start_strict();
    migrate(&server.settings("catalog")).await.expect("a schema");
    let strict = PostgresSettings { replication: Replication::Required, ..server.settings("catalog") };
    let observer = server.connect().await;
    let checkpointer = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'";
    let pid = observer.query_one(checkpointer, &[]).await.expect("a process").get::<_, i32>(0).to_string();
    let signal = |name: &str| assert!(std::process::Command::new("kill").args([name, &pid]).status().expect("kill").success());
    signal("-STOP");
    observer.batch_execute("ALTER SYSTEM SET synchronous_standby_names = 'ANY 1 (*)'").await.expect("a setting");
    observer.batch_execute("SELECT pg_reload_conf()").await.expect("a reload");
    let is_set = "SELECT current_setting('synchronous_standby_names') <> ''";
    until("the setting", async || observer.query_one(is_set, &[]).await.expect("a setting").get::<_, bool>(0)).await;
    observer.batch_execute("CREATE TABLE alone ()").await.expect("a commit that waits for nobody");
    let hasty = gateway(PostgresSettings { wait_max: Duration::from_secs(4), ..strict.clone() });
    let tenant = || CreateTenant { name: "default".parse().expect("a name"), uid: None };
    match hasty.create_tenant(tenant()).await {
        Err(CatalogError::Unavailable(_)) => {}
        answer => panic!("{answer:?} of a server that is alone"),
    }
    signal("-CONT");
    let _standby = server.standby();
    let strict = PostgresSettings { wait_max: Duration::from_secs(120), ..strict };
    let patient = gateway(strict.clone());
    patient.create_tenant(tenant()).await.expect("an answer that a standby has");
    // Nobody sees to it that a primary that was replaced acknowledges nothing: what it acknowledged and lost would look like garbage. An operator may give his word.
    let watched = gateway(PostgresSettings { has_watchdog: true, ..strict.clone() });
    let session = watched.open_session(OpenSession { gateway: "gateway".to_owned() }).await.expect("a session");
    watched.close_session(session).await.expect("a closing");
    assert!(watched.sessions().await.expect("a view").is_closed(session));
    assert!(!patient.sessions().await.expect("a view").is_closed(session), "it collects what may be somebody's");
    // An ordinary role is told what standbys have only where it was granted; else nobody could tell.
    let make = "CREATE ROLE ordinary LOGIN; GRANT USAGE ON SCHEMA catalog TO ordinary; GRANT ALL ON ALL TABLES IN SCHEMA catalog TO ordinary; \
                GRANT ALL ON ALL SEQUENCES IN SCHEMA catalog TO ordinary";
    observer.batch_execute(make).await.expect("a role");
    let connection = ConnectionString::new(server.connection_text().replace("user=cairn", "user=ordinary"));
    let ordinary = gateway(PostgresSettings { connection, ..strict });
    match ordinary.create_tenant(tenant()).await {
        Err(CatalogError::Unavailable(reason)) => assert!(reason.contains("pg_read_all_stats"), "{reason}"),
        answer => panic!("{answer:?} by whoever cannot know"),
    }
    observer.batch_execute("GRANT pg_read_all_stats TO ordinary").await.expect("a grant");
    until("the grant", async || ordinary.machine().believed_timeline().is_some()).await;
}

/// S2: for a while nobody can be heard of, for the database does not acknowledge; then time goes on at once. Who closes sessions that have been silent gives each of them the time to be heard again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL"]
async fn an_outage_closes_no_session_of_the_living() {
    let server = Server::start();
    let settings = PostgresSettings { wait_max: Duration::from_secs(120), ..server.settings("outage") };
    migrate(&settings).await.expect("a schema");
    let (collector, writer) = (gateway(settings.clone()), gateway(settings));
    let (_, session) = prepare(&writer, Versioning::Unversioned).await;
    let silent_for = Duration::from_secs(6);
    let observer = server.connect().await;
    let time = async || observer.query_one("SELECT catalog_ms FROM outage.clock", &[]).await.expect("a time").get::<_, i64>(0);
    server.set(&observer, "synchronous_standby_names", "ANY 1 (nobody)").await;
    let before = time().await;
    tokio::time::sleep(Duration::from_secs(8)).await;
    server.set(&observer, "synchronous_standby_names", "").await;
    until("a later time", async || time().await > before + 6_000).await;
    let view = collector.close_silent_sessions(CloseSilentSessions { silent_for }).await.expect("a view");
    assert!(view.newest >= session && !view.is_closed(session), "{view:?}");
    // One that is silent from then on is closed, all the same.
    until("a closing", async || {
        let request = CloseSilentSessions { silent_for };
        collector.close_silent_sessions(request).await.expect("a view").is_closed(session)
    })
    .await;
}
