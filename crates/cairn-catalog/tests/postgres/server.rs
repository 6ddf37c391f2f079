//! A real PostgreSQL server for the tests of this process, in a directory of its own, gone when the last of them ends.
//!
//! Its programs come from `CAIRN_POSTGRES_PROGRAMS` (a directory), else from where Debian has them.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use cairn_catalog::postgres::{ConnectionString, PostgresSettings, Replication};

/// A server that runs.
pub struct Server {
    directory: tempfile::TempDir,
    process: Child,
}

static RUNNING: Mutex<Weak<Server>> = Mutex::new(Weak::new());

/// The server, started when nobody else in this process uses it.
pub fn server() -> Arc<Server> {
    let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(server) = running.upgrade() {
        return server;
    }
    let server = Arc::new(Server::start());
    *running = Arc::downgrade(&server);
    server
}

pub fn programs() -> PathBuf {
    if let Some(directory) = std::env::var_os("CAIRN_POSTGRES_PROGRAMS") {
        return directory.into();
    }
    let mut found: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .expect("PostgreSQL's programs (Debian: postgresql-15), or CAIRN_POSTGRES_PROGRAMS")
        .filter_map(|entry| entry.ok().map(|entry| entry.path().join("bin")))
        .filter(|directory| directory.join("initdb").exists())
        .collect();
    found.sort();
    found.pop().expect("PostgreSQL's programs")
}

pub fn is_root(directory: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    // Whose the directory is that this process has just made.
    directory.metadata().expect("a directory").uid() == 0
}

/// One of PostgreSQL's programs, by its own user where the tests run as root: it refuses to run as root.
fn program(directory: &Path, name: &str) -> Command {
    let path = programs().join(name);
    let mut command = if is_root(directory.parent().expect("a parent")) {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]).arg(path);
        command
    } else {
        Command::new(path)
    };
    command.current_dir(directory).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

impl Server {
    /// A server for one test.
    pub fn start() -> Self {
        let (directory, home) = Self::home();
        let mut make = program(&home, "initdb");
        make.args(["--auth=trust", "--username=cairn", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync", "--pgdata=data"]);
        assert!(make.status().expect("initdb").success(), "initdb failed");
        Self::serve(directory, &home, &[])
    }

    /// A server that keeps what it acknowledges, as production requires it.
    pub fn start_strict() -> Self {
        let (directory, home) = Self::home();
        let mut make = program(&home, "initdb");
        make.args(["--auth=trust", "--username=cairn", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync", "--pgdata=data"]);
        assert!(make.status().expect("initdb").success(), "initdb failed");
        Self::serve(directory, &home, &["-c", "fsync=on"].map(str::to_owned))
    }

    /// A server that takes connections at `127.0.0.1` by TLS only, with this certificate and key, both in PEM. Says at which port.
    pub fn start_with_tls(certificate: &str, key: &str) -> (Self, u16) {
        let (directory, home) = Self::home();
        let mut make = program(&home, "initdb");
        make.args(["--auth=trust", "--username=cairn", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync", "--pgdata=data"]);
        assert!(make.status().expect("initdb").success(), "initdb failed");
        let data = home.join("data");
        std::fs::write(data.join("pg_hba.conf"), "local all all trust\nhostssl all all 127.0.0.1/32 trust\n").expect("rules");
        for (name, text) in [("server.crt", certificate), ("server.key", key)] {
            use std::os::unix::fs::{OpenOptionsExt, chown};
            let path = data.join(name);
            let mut options = std::fs::OpenOptions::new();
            let mut file = options.write(true).create(true).mode(0o600).truncate(true).open(&path).expect("a file");
            std::io::Write::write_all(&mut file, text.as_bytes()).expect("a file");
            let owner = std::os::unix::fs::MetadataExt::uid(&data.metadata().expect("a directory"));
            chown(&path, Some(owner), None).expect("an owner");
        }
        // Free now, and most likely still when the server takes it.
        let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").port();
        let tls = ["-c", "ssl=on", "-c", &format!("port={port}"), "-c", "listen_addresses=127.0.0.1"].map(str::to_owned);
        (Self::serve(directory, &home, &tls), port)
    }

    fn home() -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::Builder::new().prefix("cairn-pg-").tempdir().expect("a directory");
        let home = directory.path().join("home");
        std::fs::create_dir(&home).expect("a directory");
        if is_root(directory.path()) {
            use std::os::unix::fs::PermissionsExt;
            std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).expect("permissions");
            let chown = Command::new("chown").arg("postgres").arg(&home).status().expect("chown");
            assert!(chown.success());
        }
        (directory, home)
    }

    fn serve(directory: tempfile::TempDir, home: &Path, more: &[String]) -> Self {
        let log = std::fs::File::create(directory.path().join("log")).expect("a log");
        let process = Self::spawn(home, more, log);
        let port = more.iter().find_map(|option| option.strip_prefix("port=")).unwrap_or("5432");
        let server = Self { directory, process };
        server.wait(home, port);
        server
    }

    /// Starts it again, after a crash.
    pub fn restart(&mut self) {
        let home = self.directory.path().join("home");
        let _ = self.process.wait();
        let mut log = std::fs::OpenOptions::new();
        self.process = Self::spawn(&home, &[], log.append(true).open(self.directory.path().join("log")).expect("a log"));
        self.wait(&home, "5432");
    }

    fn spawn(home: &Path, more: &[String], log: std::fs::File) -> Child {
        let mut serve = program(home, "postgres");
        // A crash of the machine is not what is tested here: what is not synced costs no time.
        serve.args(["-D", "data", "-c", "listen_addresses=", "-c", "fsync=off", "-c", "max_connections=200"]);
        serve.arg("-k").arg(home).args(more);
        serve.stderr(log);
        serve.spawn().expect("postgres")
    }

    fn wait(&self, home: &Path, port: &str) {
        for _ in 0..600 {
            let mut ask = program(home, "pg_isready");
            if ask.arg("-h").arg(home).args(["-p", port]).status().is_ok_and(|status| status.success()) {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("PostgreSQL does not start: {}", self.log());
    }

    /// What it has written into its log.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.directory.path().join("log")).expect("a log")).into_owned()
    }

    /// A standby of this server.
    pub fn standby(&self) -> Self {
        let (directory, home) = Self::home();
        let mut copy = program(&home, "pg_basebackup");
        copy.arg("-h").arg(self.directory.path().join("home")).args([
            "-U",
            "cairn",
            "-D",
            "data",
            "-R",
            "--no-sync",
            "-X",
            "stream",
        ]);
        assert!(copy.args(["-c", "fast"]).status().expect("pg_basebackup").success(), "pg_basebackup failed");
        Self::serve(directory, &home, &[])
    }

    /// Makes a primary of a standby.
    pub fn promote(&self) {
        let mut promote = program(&self.directory.path().join("home"), "pg_ctl");
        assert!(promote.args(["promote", "-D", "data", "-w", "-t", "60"]).status().expect("pg_ctl").success());
    }

    /// Ends it as a crash does.
    pub fn crash(&self) {
        let mut stop = program(&self.directory.path().join("home"), "pg_ctl");
        assert!(stop.args(["stop", "-D", "data", "-m", "immediate", "-w", "-t", "60"]).status().expect("pg_ctl").success());
    }

    /// Where it listens, as a connection string.
    pub fn connection(&self) -> ConnectionString {
        ConnectionString::new(self.connection_text())
    }

    /// What it is called in a connection string.
    pub fn host(&self) -> String {
        self.directory.path().join("home").display().to_string()
    }

    /// Where it and another one listen.
    pub fn connection_with(&self, other: &Self) -> ConnectionString {
        let homes = [self, other].map(|server| server.directory.path().join("home").display().to_string());
        ConnectionString::new(format!("host={} user=cairn dbname=postgres", homes.join(",")))
    }

    /// As text.
    pub fn connection_text(&self) -> String {
        format!("host={} user=cairn dbname=postgres", self.directory.path().join("home").display())
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("home").join(".s.PGSQL.5432")
    }

    /// Changes a setting of the whole server, and returns once it has taken effect.
    pub async fn set(&self, client: &tokio_postgres::Client, name: &str, value: &str) {
        client.batch_execute(&format!("ALTER SYSTEM SET {name} = '{value}'")).await.expect("a setting");
        client.batch_execute("SELECT pg_reload_conf()").await.expect("a reload");
        loop {
            let now = client.query_one("SELECT current_setting($1)", &[&name]).await.expect("a setting");
            if now.get::<_, String>(0) == value {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        // Whether commits wait at all is told to all by the checkpointer, once it has heard of the change: it looks before it does what it is asked.
        client.batch_execute("CHECKPOINT").await.expect("a checkpoint");
    }

    /// Settings for a catalog in a schema of its own.
    pub fn settings(&self, schema: &str) -> PostgresSettings {
        PostgresSettings {
            schema: schema.to_owned(),
            replication: Replication::Waived,
            wait_max: Duration::from_secs(60),
            ..PostgresSettings::new(self.connection())
        }
    }

    /// A connection beside the catalog's.
    pub async fn connect(&self) -> tokio_postgres::Client {
        let (client, connection) =
            tokio_postgres::connect(&self.connection_text(), tokio_postgres::NoTls).await.expect("a connection");
        tokio::spawn(connection);
        client
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Asks the server to go at once; its data is of no use to anyone.
        let mut stop = program(&self.directory.path().join("home"), "pg_ctl");
        let _ = stop.args(["stop", "-D", "data", "-m", "immediate", "-w", "-t", "30"]).status();
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
