//! One connection, and what must be true of it before anything that comes over it counts.
//!
//! - It leads to a server that takes writes, of PostgreSQL 15 or newer, with settings under which an acknowledged commit is durable. Roles,
//!   databases and configuration files may all set other defaults, so each connection sets its own and looks.
//! - Its first act is a commit: the row of its *lane*. A primary that crashed shows, after its restart, commits that its standbys never had;
//!   once a commit of our own is acknowledged behind them, they have them, too (P4).
//! - A warning that arrives while a commit is under way makes that commit's outcome unknown, whatever the answer says (P2): a server that stops
//!   waiting for its standbys says so by a warning, in the language of its operator, and then reports success.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::StreamExt;
use futures::future::poll_fn;
use futures::stream::FuturesUnordered;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};
use tokio_postgres::error::Severity;
use tokio_postgres::{AsyncMessage, Client, Config, NoTls, Statement};

use super::failure::{Failure, describe};
use super::pulse::Pulse;
use super::settings::{Life, Place, PostgresSettings, Primary, Replication};
use crate::CatalogError;

/// What goes over one socket. Dropped, the socket is closed, whatever is outstanding: a server that hangs would keep what reads from it for ever.
pub(super) struct Line {
    client: Client,
    warned: Arc<AtomicBool>,
    driver: AbortHandle,
}

impl Drop for Line {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// A way to one server: a host of the connection string, and one of its addresses.
#[derive(Clone)]
pub(super) struct Way {
    pub place: Place,
    config: Config,
}

/// Which server may be at the other end.
pub(super) enum Wanted<'a> {
    /// This one.
    Only(Life),
    /// Any that nobody speaks against.
    AnyThat(&'a Pulse),
}

/// An open connection with its lane.
pub(super) struct Connection {
    line: Line,
    statements: Mutex<HashMap<String, Statement>>,
    /// Which row of `lanes` names this connection's commits.
    pub lane: i64,
    /// The server that it leads to. One that changes its timeline restarts first, which ends the connection.
    pub primary: Arc<Primary>,
    /// The number of the last commit that was begun.
    last_number: i64,
    /// When its lane was used last.
    used: Instant,
}

/// How long a lane is kept behind its last commit, by catalog time: far longer than anybody goes on settling that (`wait_max`).
const LANE_KEPT: Duration = Duration::from_hours(1);
/// A connection that has not committed for so long is not used to commit any more. Catalog time runs ahead of a clock by an hour a day at most.
const LANE_USED_WITHIN: Duration = Duration::from_mins(30);

/// How long what was sent may stay without an acknowledgement of the network.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(10);
/// When a quiet connection is asked first whether the other end is there, how often, and how many times in vain.
const KEEPALIVES_IDLE: Duration = Duration::from_secs(10);
const KEEPALIVES_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVES_RETRIES: u32 = 3;

/// Set by every connection for itself. Nothing may end a COMMIT that waits for its standbys: it would stand on this server alone, for all to see. So timeouts of
/// statements, of transactions (from PostgreSQL 17 on) and the look whether the client is still there are off, whatever the operator's settings are. A
/// transaction in which nothing is asked is one of a gateway that is gone: others wait for its locks.
const SETTINGS: &str = "SET synchronous_commit = 'on'; SET client_min_messages = 'warning'; \
    SET default_transaction_isolation = 'read committed'; SET default_transaction_read_only = 'off'; \
    SET default_transaction_deferrable = 'off'; SET statement_timeout = 0; SET idle_in_transaction_session_timeout = '10s'; \
    SET idle_session_timeout = 0; SET client_connection_check_interval = 0; \
    SELECT set_config(name, '0', false) FROM pg_settings WHERE name = 'transaction_timeout'; SET jit = off; SET plan_cache_mode = 'force_generic_plan'; \
    SET standard_conforming_strings = on";

/// The life of the server that answers, as columns.
pub(super) const LIFE: &str = "(SELECT system_identifier FROM pg_control_system()), \
    CASE WHEN NOT pg_is_in_recovery() THEN ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::bigint END, \
    (extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint";

impl Line {
    /// Opens one without looking at what it leads to: to make the schema, and to look.
    pub(super) async fn open(settings: &PostgresSettings, config: &Config) -> Result<Self, Failure> {
        let warned = Arc::new(AtomicBool::new(false));
        let failed = |error: tokio_postgres::Error| Failure::Gone(format!("no server that takes writes: {}", describe(&error)));
        let (client, driver) = if let Some(tls) = &settings.tls {
            let (client, connection) = config.connect(tls.clone()).await.map_err(failed)?;
            (client, tokio::spawn(drive(connection, warned.clone())))
        } else {
            let (client, connection) = config.connect(NoTls).await.map_err(failed)?;
            (client, tokio::spawn(drive(connection, warned.clone())))
        };
        let line = Self { client, warned, driver: driver.abort_handle() };
        let lock_wait_ms = settings.lock_wait_max.as_millis();
        let schema = quoted(&settings.schema);
        line.client
            .batch_execute(&format!("{SETTINGS}; SET lock_timeout = {lock_wait_ms}; SET search_path = {schema}, pg_temp"))
            .await?;
        Ok(line)
    }

    /// Opens one to a server on which the schema may be changed.
    pub(super) async fn open_to_change(settings: &PostgresSettings, way: Way) -> Result<Self, Failure> {
        let line = Self::open(settings, &way.config).await?;
        let life = line.life().await?.ok_or_else(|| Failure::Gone("the catalog database is a standby".to_owned()))?;
        super::pulse::ask_witness(settings, &Primary { place: way.place, life }).await?;
        line.check(settings).await?;
        // Of what was before.
        line.has_warned();
        Ok(line)
    }

    /// Statements go over this.
    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Whether the server has warned since this was asked last.
    pub(super) fn has_warned(&self) -> bool {
        self.warned.swap(false, Ordering::AcqRel)
    }

    /// Which server this leads to; `None`: a standby.
    async fn life(&self) -> Result<Option<Life>, Failure> {
        let row = self.client.query_one(&format!("SELECT {LIFE}"), &[]).await?;
        let timeline: Option<i64> = row.get(1);
        Ok(timeline.map(|timeline| Life { system: row.get(0), timeline, started_us: row.get(2) }))
    }

    /// Whether the server keeps what it acknowledges, by its settings.
    pub(super) async fn check(&self, settings: &PostgresSettings) -> Result<(), Failure> {
        let row = self
            .client
            .query_one(
                "SELECT current_setting('server_version_num')::int, pg_is_in_recovery(), current_setting('fsync') = 'on', \
                 current_setting('full_page_writes') = 'on', current_setting('synchronous_standby_names') <> '', \
                 pg_has_role(current_user, 'pg_read_all_stats', 'USAGE')",
                &[],
            )
            .await?;
        let refuse = |why: &str| Err(Failure::Answer(CatalogError::Unavailable(format!("the catalog database {why}"))));
        if row.get::<_, i32>(0) < 150_000 {
            return refuse("is older than PostgreSQL 15");
        }
        if row.get::<_, bool>(1) {
            return Err(Failure::Gone("the catalog database is a standby".to_owned()));
        }
        if settings.replication == Replication::Required {
            if !row.get::<_, bool>(2) || !row.get::<_, bool>(3) {
                return refuse("does not keep what it acknowledges: fsync or full_page_writes is off");
            }
            if !row.get::<_, bool>(4) {
                return refuse("acknowledges alone: synchronous_standby_names is empty (P3)");
            }
            if !row.get::<_, bool>(5) {
                return refuse("does not say what its standbys have: GRANT pg_read_all_stats to this role (P3)");
            }
        }
        Ok(())
    }

    /// Asks over a line that is kept whether its server is a primary, and which.
    pub(super) async fn look(kept: &mut Option<Self>, settings: &PostgresSettings, way: &Way) -> Result<Option<Life>, Failure> {
        // Taken out: what is dropped in the middle is not used again.
        let line = if let Some(line) = kept.take() {
            line
        } else {
            let mut config = way.config.clone();
            config.target_session_attrs(TargetSessionAttrs::Any);
            Self::open(settings, &config).await?
        };
        let life = line.life().await?;
        *kept = Some(line);
        Ok(life)
    }
}

impl Connection {
    /// Opens a connection over the first of a host's addresses that leads to a server that is wanted.
    pub(super) async fn open(settings: &PostgresSettings, host: &Config, wanted: Wanted<'_>) -> Result<Self, Failure> {
        let ways = ways(settings, host).await?;
        first(ways.into_iter().map(|way| Self::open_on(settings, way, &wanted))).await
    }

    /// Opens a connection, looks at where it leads, and commits its lane.
    pub(super) async fn open_on(settings: &PostgresSettings, way: Way, wanted: &Wanted<'_>) -> Result<Self, Failure> {
        let line = Line::open(settings, &way.config).await?;
        let life = line.life().await?.ok_or_else(|| Failure::Gone("the catalog database is a standby".to_owned()))?;
        let primary = Primary { place: way.place, life };
        // Before the lane: one that is known to be replaced would else win every race against the one that has replaced it and is farther away.
        match wanted {
            Wanted::Only(wanted) if *wanted == life => {}
            Wanted::Only(_) => return Err(Failure::Gone("another server answers there".to_owned())),
            Wanted::AnyThat(pulse) => pulse.admit(settings, &primary).await?,
        }
        line.check(settings).await?;
        let insert = format!("INSERT INTO lanes (used_ms) SELECT catalog_ms FROM clock RETURNING id, {LIFE}");
        let row = line.client.query_one(&insert, &[]).await?;
        let lane = row.get(0);
        if row.get::<_, i64>(1) != life.system || row.get::<_, Option<i64>>(2) != Some(life.timeline) {
            return Err(Failure::Gone("the timeline has changed under a connection".to_owned()));
        }
        if line.has_warned() {
            return Err(Failure::Gone("the catalog database has committed without its standbys".to_owned()));
        }
        Ok(Self { line, statements: Mutex::default(), lane, primary: Arc::new(primary), last_number: 0, used: Instant::now() })
    }

    /// Statements go over this.
    pub(super) fn client(&self) -> &Client {
        &self.line.client
    }

    /// A number for the next commit of this lane.
    pub(super) fn next_number(&mut self) -> i64 {
        self.used = Instant::now();
        self.last_number += 1;
        self.last_number
    }

    /// Whether the server has warned since this was asked last.
    pub(super) fn has_warned(&self) -> bool {
        self.line.has_warned()
    }

    /// Whether it can be used again.
    pub(super) fn is_open(&self) -> bool {
        !self.line.client.is_closed()
    }

    /// Whether its lane may have been forgotten: nothing can be committed with it then.
    pub(super) fn has_old_lane(&self) -> bool {
        self.used.elapsed() > LANE_USED_WITHIN
    }

    /// Forgets lanes of connections that are gone, or commit no more; some at a time. Says how many.
    pub(super) async fn forget_lanes(&self) -> Result<i64, tokio_postgres::Error> {
        let statement = self.statement("SELECT forget_lanes($1)").await?;
        let kept_ms = i64::try_from(LANE_KEPT.as_millis()).unwrap_or(i64::MAX);
        Ok(self.line.client.query_one(&statement, &[&kept_ms]).await?.get(0))
    }

    /// A statement, prepared once in the connection's life.
    pub(super) async fn statement(&self, text: &str) -> Result<Statement, tokio_postgres::Error> {
        if let Some(statement) = self.statements.lock().get(text) {
            return Ok(statement.clone());
        }
        let statement = self.line.client.prepare(text).await?;
        self.statements.lock().insert(text.to_owned(), statement.clone());
        Ok(statement)
    }
}

/// Carries what goes over a connection until it ends, and notes warnings.
async fn drive<Below, Above>(mut connection: tokio_postgres::Connection<Below, Above>, warned: Arc<AtomicBool>)
where
    Below: AsyncRead + AsyncWrite + Unpin,
    Above: AsyncRead + AsyncWrite + Unpin,
{
    while let Some(message) = poll_fn(|context| connection.poll_message(context)).await {
        match message {
            // Messages are seen in their order, so this is known before the answer that it speaks of.
            Ok(AsyncMessage::Notice(notice)) if notice.parsed_severity() != Some(Severity::Notice) => {
                tracing::warn!(code = notice.code().code(), text = notice.message(), "the catalog database warns");
                warned.store(true, Ordering::Release);
            }
            Ok(_) => {}
            Err(error) => {
                tracing::debug!(%error, "a connection to the catalog database has ended");
                break;
            }
        }
    }
}

/// Where a host is, but for its address.
fn place_of(config: &Config) -> Place {
    let host = match (config.get_hosts().first(), config.get_hostaddrs().first()) {
        (Some(Host::Tcp(name)), _) => name.clone(),
        #[cfg(unix)]
        (Some(Host::Unix(path)), _) => path.display().to_string(),
        (None, Some(address)) => address.to_string(),
        (None, None) => String::new(),
    };
    Place { host, port: config.get_ports().first().copied().unwrap_or(5432), address: None }
}

/// The ways to a host: one for each of its addresses, so that it is known which of them a server is at. A name may lead to several servers, and to another one tomorrow.
pub(super) async fn ways(settings: &PostgresSettings, host: &Config) -> Result<Vec<Way>, Failure> {
    let place = place_of(host);
    let with = |address: Option<IpAddr>| {
        let mut config = host.clone();
        if let Some(address) = address.filter(|_| host.get_hostaddrs().is_empty()) {
            config.hostaddr(address);
        }
        Way { place: Place { address: address.map(|address| SocketAddr::new(address, place.port)), ..place.clone() }, config }
    };
    if let Some(address) = host.get_hostaddrs().first() {
        return Ok(vec![with(Some(*address))]);
    }
    if let Some(Host::Tcp(name)) = host.get_hosts().first() {
        let unknown = || Failure::Gone("the name of a host of the catalog database leads nowhere".to_owned());
        let found = tokio::time::timeout(settings.connect_wait_max, tokio::net::lookup_host((name.as_str(), place.port))).await;
        let mut addresses: Vec<IpAddr> =
            found.map_err(|_| unknown())?.map_err(|_| unknown())?.map(|address| address.ip()).collect();
        addresses.sort_unstable();
        addresses.dedup();
        return if addresses.is_empty() {
            Err(unknown())
        } else {
            Ok(addresses.into_iter().map(|address| with(Some(address))).collect())
        };
    }
    Ok(vec![with(None)])
}

/// The way to a place where a server was found.
pub(super) fn way_to(settings: &PostgresSettings, place: &Place) -> Result<Way, Failure> {
    let is_there = |host: &Config| {
        let Place { host, port, .. } = place_of(host);
        host == place.host && port == place.port
    };
    let mut config = hosts(settings)?
        .into_iter()
        .find(is_there)
        .ok_or_else(|| Failure::Gone("a host of the catalog database is no more".to_owned()))?;
    if let Some(address) = place.address.filter(|_| config.get_hostaddrs().is_empty()) {
        config.hostaddr(address.ip());
    }
    Ok(Way { place: place.clone(), config })
}

/// Whether a host may be more than one server: a name may.
pub(super) fn may_be_several(host: &Config) -> bool {
    host.get_hostaddrs().is_empty()
        && matches!(host.get_hosts().first(), Some(Host::Tcp(name)) if name.parse::<IpAddr>().is_err())
}

/// The hosts of the connection string.
pub(super) fn hosts(settings: &PostgresSettings) -> Result<Vec<Config>, Failure> {
    let refused = || CatalogError::Refused("the connection string of the catalog database is not one".to_owned());
    let all: Config = settings.connection.reveal().parse().map_err(|_| refused())?;
    let is_set = |name| settings.connection.reveal().contains(name);
    let (names, addresses, ports) = (all.get_hosts(), all.get_hostaddrs(), all.get_ports());
    let count = names.len().max(addresses.len());
    let mut hosts = Vec::with_capacity(count);
    for place in 0..count {
        let mut config = Config::new();
        // `prefer`, the usual default, would go on in the clear where somebody on the way says that the server has no TLS.
        let mut ssl_mode = if settings.tls.is_some() { SslMode::Require } else { SslMode::Disable };
        match names.get(place) {
            Some(Host::Tcp(name)) => drop(config.host(name)),
            #[cfg(unix)]
            Some(Host::Unix(path)) => {
                ssl_mode = SslMode::Disable;
                config.host_path(path);
            }
            None => {}
        }
        if let Some(address) = addresses.get(place) {
            config.hostaddr(*address);
        }
        if let Some(port) = ports.get(place).or_else(|| ports.first()) {
            config.port(*port);
        }
        if let Some(user) = all.get_user() {
            config.user(user);
        }
        if let Some(password) = all.get_password() {
            config.password(password);
        }
        if let Some(database) = all.get_dbname() {
            config.dbname(database);
        }
        // What the first statements need; the server ranks them above what it sets for roles and databases. The first is a preference that an operator
        // may overrule: a table that is small now is planned for once and may be large in a minute.
        let options = all.get_options().unwrap_or_default();
        config
            .options(format!("-c enable_seqscan=off {options} -c default_transaction_read_only=off -c statement_timeout=0"))
            .application_name(all.get_application_name().unwrap_or("cairn"))
            .ssl_mode(ssl_mode)
            .channel_binding(all.get_channel_binding())
            .keepalives(all.get_keepalives())
            // A flow that a firewall has forgotten is given up within seconds, not after a quarter of an hour; what the operator says stands above that.
            .tcp_user_timeout(all.get_tcp_user_timeout().copied().unwrap_or(TCP_USER_TIMEOUT))
            .keepalives_idle(if is_set("keepalives_idle") { all.get_keepalives_idle() } else { KEEPALIVES_IDLE })
            .keepalives_interval(all.get_keepalives_interval().unwrap_or(KEEPALIVES_INTERVAL))
            .keepalives_retries(all.get_keepalives_retries().unwrap_or(KEEPALIVES_RETRIES))
            .connect_timeout(settings.connect_wait_max)
            .target_session_attrs(TargetSessionAttrs::ReadWrite);
        hosts.push(config);
    }
    if hosts.is_empty() { Err(refused().into()) } else { Ok(hosts) }
}

/// The first that succeeds; else why, what an administrator has to settle before all others.
pub(super) async fn first<T>(attempts: impl Iterator<Item = impl Future<Output = Result<T, Failure>>>) -> Result<T, Failure> {
    let mut attempts: FuturesUnordered<_> = attempts.collect();
    let mut failure = Failure::Gone("no host is named".to_owned());
    while let Some(attempt) = attempts.next().await {
        match attempt {
            Ok(value) => return Ok(value),
            Err(_) if matches!(failure, Failure::Answer(_)) => {}
            Err(next) => failure = next,
        }
    }
    Err(failure)
}

/// A name as SQL takes it.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests;
