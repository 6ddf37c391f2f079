//! The catalog on a real PostgreSQL: the conformance suite that every engine runs, and what only several gateways on one database can get wrong.
//!
//! They need PostgreSQL's programs, and are run by `cargo xtask test --only postgres`, or by `-- --ignored`.

mod background;
mod failover;
mod gateways;
mod patroni;
mod plans;
mod proxy;
mod schema;
mod server;
mod settings;
mod stopped;
mod trips;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cairn_catalog::embedded::keyvalue::model::Model;
use cairn_catalog::embedded::keyvalue::{Applied, KeyValue, Write};
use cairn_catalog::postgres::{ConnectionString, PostgresCatalog, PostgresMachine, PostgresSettings, migrate};
use cairn_catalog::{Catalog, Limits};
use cairn_disk::Environment;
use cairn_testkit::catalog_conformance::{self, Subject, World, objects};
use cairn_testkit::catalog_invariants;
use futures::FutureExt;
use futures::future::BoxFuture;

use self::server::{Server, server};

/// A catalog in a schema of its own.
struct OnPostgres {
    server: Arc<Server>,
    schema: String,
    catalog: Arc<PostgresCatalog>,
}

static NEXT_SCHEMA: AtomicU64 = AtomicU64::new(1);

impl OnPostgres {
    async fn new() -> Self {
        let server = server();
        let schema = format!("catalog_{}", NEXT_SCHEMA.fetch_add(1, Ordering::SeqCst));
        let settings = server.settings(&schema);
        migrate(&settings).await.expect("a schema");
        let catalog =
            Arc::new(PostgresCatalog::new(PostgresMachine::new(settings, Limits::default(), Environment::real().clock)));
        Self { server, schema, catalog }
    }
}

/// What contradicts what in a catalog's rows.
async fn violations(catalog: &PostgresCatalog) -> Vec<String> {
    let rows = catalog.machine().rows().await.expect("the rows");
    catalog_invariants::violations(model_of(&rows).snapshot().as_ref())
}

/// A state of these rows.
fn model_of(rows: &[Write]) -> Model {
    let model = Model::default();
    model.apply(rows, Applied { index: 1, epoch: 1, checksum: 0 }).expect("a state of these rows");
    model
}

impl Subject for OnPostgres {
    fn catalog(&self) -> Arc<dyn Catalog> {
        self.catalog.clone()
    }

    fn pass(&self, duration: Duration) -> BoxFuture<'_, ()> {
        async move {
            let change = format!("UPDATE {}.clock SET catalog_ms = catalog_ms + {}", self.schema, duration.as_millis());
            self.server.connect().await.batch_execute(&change).await.expect("a later time");
        }
        .boxed()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        async move { assert_eq!(violations(&self.catalog).await, Vec::<String>::new()) }.boxed()
    }
}

/// R2: in a database whose text is ordered as people order it, keys are still in the order of their bytes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL"]
async fn orders_keys_by_their_bytes_whatever_the_locale() {
    let server = server();
    let make =
        "CREATE DATABASE elsewhere TEMPLATE template0 ENCODING 'UTF8' LOCALE_PROVIDER icu ICU_LOCALE 'de-CH' LOCALE 'C.UTF-8'";
    let observer = server.connect().await;
    observer.batch_execute(make).await.expect("a database");
    let connection = server.connection_text().replace("dbname=postgres", "dbname=elsewhere");
    let ordered = "SELECT string_agg(letter, '' ORDER BY letter) FROM unnest(ARRAY['b', 'a', 'B', 'ä']) AS letter";
    let (there, driver) = tokio_postgres::connect(&connection, tokio_postgres::NoTls).await.expect("a connection");
    tokio::spawn(driver);
    let order: String = there.query_one(ordered, &[]).await.expect("an order").get(0);
    assert_eq!(order, "aäbB", "this database orders text by its bytes, and shows nothing");
    let make = || {
        async {
            let schema = format!("catalog_{}", NEXT_SCHEMA.fetch_add(1, Ordering::SeqCst));
            let connection = ConnectionString::new(connection.clone());
            let settings = PostgresSettings { connection, ..server.settings(&schema) };
            migrate(&settings).await.expect("a schema");
            let machine = PostgresMachine::new(settings, Limits::default(), Environment::real().clock);
            OnPostgres { server: server.clone(), schema, catalog: Arc::new(PostgresCatalog::new(machine)) }
        }
        .boxed()
    };
    let subject = make().await;
    objects::rolls_folders_up(&World::new(&subject).await).await;
    let subject = make().await;
    let world = World::new(&subject).await;
    for name in ["b", "B", "a", "ä", "a b", "a-b", "ab", "Z", "z", "\u{10ffff}", "~"] {
        world.put(name, 1, "text").await;
    }
    let mut expected = vec!["b", "B", "a", "ä", "a b", "a-b", "ab", "Z", "z", "\u{10ffff}", "~"];
    expected.sort_unstable();
    assert_eq!(world.object_names("", None).await, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL"]
async fn conforms() {
    // Held, so that it serves until the end.
    let _server = server();
    catalog_conformance::run_all(&|| async { Box::new(OnPostgres::new().await) as Box<dyn Subject> }.boxed()).await;
}
