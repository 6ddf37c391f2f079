//! A gateway in a process of its own, which is stopped in the middle of its work and goes on later, as a machine does that was paused.

use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use cairn_catalog::postgres::{ConnectionString, PostgresSettings, Replication, migrate};
use cairn_catalog::{Catalog, CatalogError, OpenSession, WriteCondition};
use cairn_types::BucketId;
use cairn_types::SessionId;
use cairn_types::records::Versioning;

use crate::gateways::{gateway, names, prepare, put};
use crate::server::server;

const CONNECTION: &str = "CAIRN_TEST_GATEWAY_CONNECTION";
const BUCKET: &str = "CAIRN_TEST_GATEWAY_BUCKET";
const SCHEMA: &str = "stopped_process";

/// The other process. Without its variables there is nothing to do.
#[test]
#[ignore = "is a process of another test"]
fn acts_as_a_gateway() {
    let (Ok(connection), Ok(bucket)) = (std::env::var(CONNECTION), std::env::var(BUCKET)) else { return };
    let bucket = BucketId(bucket.parse().expect("a number"));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let settings = PostgresSettings {
            schema: SCHEMA.to_owned(),
            replication: Replication::Waived,
            ..PostgresSettings::new(ConnectionString::new(connection))
        };
        let catalog = gateway(settings);
        let session = catalog.open_session(OpenSession { gateway: "stopped".to_owned() }).await.expect("a session");
        println!("\nsession {}", session.0);
        let writers = (0..4).map(|writer| {
            let catalog = catalog.clone();
            tokio::spawn(async move {
                for number in 0.. {
                    let name = format!("{}/{writer}/{number}", session.0);
                    match catalog.put_version(put(bucket, session, &name, number, WriteCondition::None)).await {
                        Ok(_) => {}
                        Err(CatalogError::SessionClosed) => return,
                        Err(error) => panic!("{error}"),
                    }
                }
            })
        });
        for ended in futures::future::join_all(writers).await {
            ended.expect("a writer");
        }
        println!("\nclosed");
    });
}

struct Gateway {
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Gateway {
    fn start(connection: &str, bucket: BucketId) -> Self {
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.args(["--ignored", "--exact", "stopped::acts_as_a_gateway", "--nocapture"]);
        command.env(CONNECTION, connection).env(BUCKET, bucket.0.to_string()).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut process = command.spawn().expect("a process");
        let lines = BufReader::new(process.stdout.take().expect("what it says")).lines();
        Self { process, lines }
    }

    /// Waits until it says this, and gives the rest of that line.
    fn says(&mut self, beginning: &str) -> String {
        for line in self.lines.by_ref() {
            if let Some(rest) = line.expect("a line").strip_prefix(beginning) {
                return rest.trim().to_owned();
            }
        }
        panic!("it does not say {beginning:?}");
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([name, &self.process.id().to_string()]).status();
        assert!(sent.expect("kill").success());
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// S2: a gateway is stopped in the middle of its writes. Its session is closed meanwhile; when it goes on, nothing of what it had in hand is committed, and it finds that out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL"]
async fn a_gateway_that_was_stopped_commits_nothing_behind_the_closing_of_its_session() {
    let server = server();
    let settings = server.settings(SCHEMA);
    migrate(&settings).await.expect("a schema");
    let closer = gateway(settings);
    let (bucket, _) = prepare(&closer, Versioning::Unversioned).await;
    for round in 0..6_u64 {
        let mut stopped = Gateway::start(&server.connection_text(), bucket);
        let session = SessionId(stopped.says("session ").parse().expect("a number"));
        let before = names(&closer, bucket).await.len();
        while names(&closer, bucket).await.len() < before + 20 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // At one moment of a write or another.
        tokio::time::sleep(Duration::from_micros(round * 237)).await;
        stopped.signal("-STOP");
        // Whatever it has sent is done now, or comes behind the closing.
        closer.close_session(session).await.expect("a closing");
        let at_the_closing = names(&closer, bucket).await;
        if round % 2 == 1 {
            // Beyond the end of its belief, too: it goes on with answers that are there, and too old (P4).
            tokio::time::sleep(Duration::from_millis(3500)).await;
        }
        stopped.signal("-CONT");
        while stopped.process.try_wait().expect("a process").is_none() {
            assert_eq!(names(&closer, bucket).await, at_the_closing, "round {round}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        stopped.says("closed");
        assert_eq!(names(&closer, bucket).await, at_the_closing, "round {round}");
    }
}
