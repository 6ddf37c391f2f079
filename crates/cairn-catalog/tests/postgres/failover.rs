//! A primary and a synchronous standby, the loss of the primary, and what gateways make of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cairn_catalog::embedded::keyvalue::KeyValue;
use cairn_catalog::postgres::{PostgresCatalog, PostgresSettings, migrate};
use cairn_catalog::{Catalog, CatalogError, WriteCondition};
use cairn_testkit::catalog_invariants::violations;
use cairn_types::records::Versioning;
use cairn_types::{BucketId, SessionId};
use futures::future::join_all;
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
