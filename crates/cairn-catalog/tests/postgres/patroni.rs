//! The witness on the real thing: three members of PostgreSQL under Patroni, whose lock is in etcd.
//!
//! Programs: `CAIRN_ETCD_PROGRAM` and `CAIRN_PATRONI_PROGRAM`, else by their names.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use cairn_catalog::postgres::{ConnectionString, Patroni, PatroniSettings, PostgresSettings, Witness, migrate};
use cairn_types::records::Versioning;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::failover::{Writers, judge};
use crate::gateways::{gateway, prepare};
use crate::server::programs;

/// The lowest that Patroni takes, seconds.
const LOCK_SECONDS: u64 = 20;

fn free_port(host: &str) -> u16 {
    // Free now, and most likely still when it is taken.
    TcpListener::bind((host, 0)).and_then(|listener| listener.local_addr()).expect("a port").port()
}

fn tool(variable: &str, name: &str) -> PathBuf {
    std::env::var_os(variable).map_or_else(|| PathBuf::from(name), PathBuf::from)
}

/// What a member's manager answers.
async fn ask(host: &str, port: u16, path: &str) -> String {
    let mut answer = String::new();
    if let Ok(mut connection) = tokio::net::TcpStream::connect((host, port)).await {
        let question = format!("GET {path} HTTP/1.0\r\n\r\n");
        let _ = connection.write_all(question.as_bytes()).await;
        let _ = connection.read_to_string(&mut answer).await;
    }
    answer
}

/// A process that ends with its test.
struct Process(Child);

impl Process {
    fn start(command: &mut Command, directory: &Path) -> Self {
        let log = std::fs::File::create(directory.join("log")).expect("a log");
        let output = log.try_clone().expect("a log");
        command.current_dir(directory).stdin(Stdio::null()).stdout(output).stderr(log);
        Self(command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}")))
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([name, &self.0.id().to_string()]).status();
        assert!(sent.expect("kill").success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// One PostgreSQL under its manager.
struct Member {
    host: String,
    directory: PathBuf,
    manager: Process,
}

impl Member {
    fn start(home: &Path, host: &str, port: u16, api: u16, etcd: u16) -> Self {
        let directory = home.join(host);
        std::fs::create_dir(&directory).expect("a directory");
        let quick = "\"ttl\": 20, \"loop_wait\": 5, \"retry_timeout\": 5, \"synchronous_mode\": \"quorum\", \"synchronous_mode_strict\": true";
        // What is JSON is YAML, too.
        let configuration = format!(
            r#"{{
                "scope": "cairn", "name": "{host}",
                "restapi": {{"listen": "{host}:{api}", "connect_address": "{host}:{api}"}},
                "etcd3": {{"hosts": ["127.0.0.1:{etcd}"]}},
                "bootstrap": {{"dcs": {{{quick}}}, "initdb": [{{"encoding": "UTF8"}}, {{"locale": "C.UTF-8"}}, {{"auth": "trust"}}]}},
                "postgresql": {{
                    "listen": "{host}:{port}", "connect_address": "{host}:{port}",
                    "data_dir": "{data}", "bin_dir": "{programs}", "pgpass": "{pgpass}",
                    "authentication": {{"superuser": {{"username": "cairn"}}, "replication": {{"username": "replicator"}}}},
                    "basebackup": [{{"checkpoint": "fast"}}],
                    "pg_hba": ["host all all 127.0.0.0/8 trust", "host replication all 127.0.0.0/8 trust"],
                    "parameters": {{"unix_socket_directories": ""}}
                }}
            }}"#,
            data = directory.join("data").display(),
            programs = programs().display(),
            pgpass = directory.join("pgpass").display(),
        );
        std::fs::write(directory.join("patroni.yml"), configuration).expect("a configuration");
        let patroni = tool("CAIRN_PATRONI_PROGRAM", "patroni");
        let mut command = if crate::server::is_root(home) {
            // PostgreSQL does not run as root. In a namespace of its own it is called something else, and may still read the manager's program.
            let mut command = Command::new("unshare");
            command.args(["--user", "--map-user=postgres", "--map-group=postgres", "--"]).arg(patroni);
            command
        } else {
            Command::new(patroni)
        };
        command.arg("patroni.yml").env("HOME", &directory);
        Self { host: host.to_owned(), manager: Process::start(&mut command, &directory), directory }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let _ = self.manager.0.kill();
        // Its server outlives its manager.
        let file = self.directory.join("data/postmaster.pid");
        let process = std::fs::read_to_string(file).ok().and_then(|text| text.lines().next().map(str::to_owned));
        if let Some(process) = process {
            let _ = Command::new("kill").args(["-QUIT", &process]).status();
        }
    }
}

/// P4: the manager of the primary is stopped, the primary is not. Its lock runs out, another server is promoted, and the third goes on acknowledging the old one's commits until it is turned round. No
/// gateway believes the old one from the moment on at which nobody has the lock, and nothing that was acknowledged is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL, etcd and Patroni, and takes a minute"]
async fn a_primary_whose_manager_hangs_is_left_before_its_lock_ends() {
    let home = tempfile::Builder::new().prefix("cairn-patroni-").tempdir().expect("a directory");
    let (etcd, peers) = (free_port("127.0.0.1"), free_port("127.0.0.1"));
    let directory = home.path().join("etcd");
    std::fs::create_dir(&directory).expect("a directory");
    let (clients, peers) = (format!("http://127.0.0.1:{etcd}"), format!("http://127.0.0.1:{peers}"));
    let mut command = Command::new(tool("CAIRN_ETCD_PROGRAM", "etcd"));
    command.args(["--name=one", "--data-dir=data"]).args([
        format!("--listen-client-urls={clients}"),
        format!("--advertise-client-urls={clients}"),
        format!("--listen-peer-urls={peers}"),
        format!("--initial-advertise-peer-urls={peers}"),
        format!("--initial-cluster=one={peers}"),
    ]);
    let _etcd = Process::start(&mut command, &directory);
    let (port, api) = (free_port("127.0.0.2"), free_port("127.0.0.2"));
    let hosts = ["127.0.0.2", "127.0.0.3", "127.0.0.4"];
    let members = hosts.map(|host| Member::start(home.path(), host, port, api, etcd));
    let logs = || members.iter().map(|member| format!("{}: {}", member.host, member.log())).collect::<Vec<_>>().join("\n");
    let settings =
        PatroniSettings { endpoints: vec![clients], namespace: "service".to_owned(), scope: "cairn".to_owned(), tls: None };
    let witness = Arc::new(Patroni::new(settings).expect("a witness"));
    let connection = ConnectionString::new(format!("host={} port={port} user=cairn dbname=postgres", hosts.join(",")));
    let settings = PostgresSettings {
        witness: Some(witness.clone()),
        wait_max: Duration::from_secs(120),
        ..PostgresSettings::new(connection)
    };
    for attempt in 0.. {
        match migrate(&settings).await {
            Ok(()) => break,
            Err(error) => assert!(attempt < 240, "{error}\n{}", logs()),
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let catalog = gateway(settings);
    let (bucket, session) = prepare(&catalog, Versioning::Unversioned).await;
    let mut writers = Writers::start(&catalog, bucket, session);
    writers.more(200).await;
    // Until either of the two others may be elected: a standby that is new is let in step by step.
    for attempt in 0.. {
        if ask(hosts[0], api, "/cluster").await.matches("quorum_standby").count() == 2 {
            break;
        }
        assert!(attempt < 240, "the standbys are not let in: {}", logs());
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let old = catalog.machine().believed_primary().expect("a primary");
    let leader = members.iter().find(|member| member.host == old.place.host).expect("its member");
    // For as long as its manager renews the lock there is more than what a heartbeat needs.
    let right = witness.keeps_its_right(old.clone()).await.expect("its right");
    assert!(right >= Duration::from_secs(8) && right < Duration::from_secs(LOCK_SECONDS), "{right:?}");
    let another = hosts.iter().find(|host| **host != old.place.host).expect("another");
    let mut elsewhere = old.clone();
    elsewhere.place.address = Some(format!("{another}:{port}").parse().expect("an address"));
    assert!(witness.keeps_its_right(elsewhere).await.is_err(), "that server has no lock");
    leader.manager.signal("-STOP");
    // The right that is left never grows again, and when it is gone, so is the belief.
    let (mut last, mut answered) = (right, tokio::time::Instant::now());
    loop {
        match witness.keeps_its_right(old.clone()).await {
            Ok(left) => {
                assert!(left <= last, "{left:?} of {last:?}: a lock that nobody renews");
                (last, answered) = (left, tokio::time::Instant::now());
            }
            // On a machine that is busy with other things.
            Err(why) if why.contains("does not answer") => {}
            Err(_) => break,
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let ago = answered.elapsed();
    assert!(last < Duration::from_secs(3) + ago, "{last:?} were left {ago:?} ago, and nobody has the lock");
    for attempt in 0.. {
        let believed = catalog.machine().believed_primary();
        assert_ne!(believed, Some(old.clone()), "whose lock is gone");
        if believed.is_some() {
            break;
        }
        assert!(attempt < 480, "nobody is promoted, or nobody believes him: {}", logs());
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    writers.more(200).await;
    let written = writers.finish().await;
    judge(&catalog, bucket, &written).await;
    assert!(!catalog.machine().has_forgotten().await.expect("an answer"), "it has all that was acknowledged");
}
