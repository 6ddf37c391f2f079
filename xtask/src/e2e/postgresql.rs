//! A dump of a real PostgreSQL database: made, filled and dumped by PostgreSQL's own programs, and gone afterwards.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, bail};

use super::Suite;
use crate::clock;
use crate::process::{self, Running, Streams};
use crate::provision::POSTGRESQL;

/// How long the server may take to start, in seconds.
const START_SECONDS_MAX: u64 = 30;

/// Writes to `path` the dump of a database with a table of `rows` rows.
///
/// # Errors
/// Where one of PostgreSQL's programs fails.
pub fn dump(suite: &mut Suite<'_, '_>, rows: u32, path: &Path) -> anyhow::Result<()> {
    let cluster = Cluster::start(suite)?;
    let fill = format!(
        "CREATE TABLE accounts (id bigint PRIMARY KEY, name text NOT NULL, balance numeric, note bytea);
         INSERT INTO accounts SELECT n, 'Kunde ' || n || ' — «é»', n / 7.0, sha256(n::text::bytea) FROM generate_series(1, {rows}) n;"
    );
    let mut psql = cluster.program(suite, "psql");
    psql.args(["--quiet", "--set", "ON_ERROR_STOP=1", "--dbname", "postgres", "--command", &fill]);
    suite.output(&mut psql)?;
    let mut dump = cluster.program(suite, "pg_dump");
    dump.args(["--dbname", "postgres"]);
    let streams = Streams { output: File::create(path)?, ..Streams::to_log(&suite.context.log)? };
    suite.stream(&mut dump, streams)
}

/// A server on a socket of its own, for one test.
struct Cluster {
    directory: PathBuf,
    /// Ends the server when it is dropped.
    server: Option<Running>,
}

impl Cluster {
    fn start(suite: &mut Suite<'_, '_>) -> anyhow::Result<Self> {
        // PostgreSQL does not run as root, and its own user may not see into the checkout; the path of a socket must also be short.
        let directory = std::env::temp_dir().join(format!("cairn-e2e-postgresql-{}", std::process::id()));
        super::fresh_directory(&directory)?;
        let mut cluster = Self { directory, server: None };
        if is_root() {
            process::capture(Command::new("chown").arg("postgres").arg(&cluster.directory))?;
        }
        let data = cluster.directory.join("data");
        let mut make = cluster.program(suite, "initdb");
        make.args(["--auth", "trust", "--username", "postgres", "--encoding", "UTF8", "--no-sync", "--pgdata"]).arg(&data);
        suite.output(&mut make)?;
        let mut serve = cluster.program(suite, "postgres");
        serve.args(["-c", "listen_addresses=", "-c", "fsync=off", "-k"]).arg(&cluster.directory).arg("-D").arg(&data);
        cluster.server = Some(Running::start(&mut serve, Streams::to_log(&suite.context.log)?)?);
        let patience = clock::now() + Duration::from_secs(START_SECONDS_MAX);
        let mut is_ready = cluster.program(suite, "pg_isready");
        while process::run(&mut is_ready, &suite.context.log, patience).is_err() {
            if clock::now() >= patience {
                bail!("PostgreSQL was not ready after {START_SECONDS_MAX} s");
            }
            sleep(Duration::from_millis(100));
        }
        Ok(cluster)
    }

    /// One of PostgreSQL's programs, run by its own user where this tool runs as root.
    fn program(&self, suite: &Suite<'_, '_>, name: &str) -> Command {
        let path = POSTGRESQL.program(&suite.context.workspace.tools()).with_file_name(name);
        let mut command = if is_root() {
            let mut command = suite.command(Path::new("setpriv"));
            command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]).arg(path);
            command
        } else {
            suite.command(&path)
        };
        command.current_dir(&self.directory).env("PGHOST", &self.directory).env("PGUSER", "postgres");
        command
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Some(mut server) = self.server.take() {
            // It is killed at the latest when it is dropped; its data is of no use to anyone either way.
            let _ = server.stop();
        }
        let removed =
            std::fs::remove_dir_all(&self.directory).with_context(|| format!("{} is left behind", self.directory.display()));
        if let Err(error) = removed {
            eprintln!("{error:#}");
        }
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
