//! The catalog on a real PostgreSQL: the conformance suite that every engine runs, and what only several gateways on one database can get wrong.
//!
//! They need PostgreSQL's programs, and are run by `cargo xtask test --only postgres`, or by `-- --ignored`.

mod background;
mod failover;
mod gateways;
mod plans;
mod proxy;
mod schema;
mod server;
mod settings;
mod trips;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cairn_catalog::embedded::keyvalue::model::Model;
use cairn_catalog::embedded::keyvalue::{Applied, KeyValue, Write};
use cairn_catalog::postgres::{PostgresCatalog, PostgresMachine, migrate};
use cairn_catalog::{Catalog, Limits};
use cairn_disk::Environment;
use cairn_testkit::catalog_conformance::{self, Subject};
use cairn_testkit::catalog_invariants::violations;
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

    async fn violations(&self) -> Vec<String> {
        let rows = self.catalog.machine().rows().await.expect("the rows");
        violations(model_of(&rows).snapshot().as_ref())
    }
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
        async move { assert_eq!(self.violations().await, Vec::<String>::new()) }.boxed()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL"]
async fn conforms() {
    // Held, so that it serves until the end.
    let _server = server();
    catalog_conformance::run_all(&|| async { Box::new(OnPostgres::new().await) as Box<dyn Subject> }.boxed()).await;
}
