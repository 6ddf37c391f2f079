//! What an operator says about the database.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;

use super::tls::TlsSettings;

/// What the server must do before it acknowledges a commit (P3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Replication {
    /// A quorum of synchronous standbys has it. Where the server says otherwise, nothing is written.
    #[default]
    Required,
    /// The server alone has it. Whoever loses that server loses the catalog: for trials, and for disks that are replicated below the server.
    Waived,
}

/// Where a server was reached.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The host, as the connection string calls it. A name may lead to one server now and to another one in a minute.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The other end of the very connection that is asked about; `None` for a socket of this machine.
    pub address: Option<SocketAddr>,
}

/// The life of a server from its start to its end. Numbers of timelines are told apart by servers that have seen each other's history, and by no others: two that were promoted without
/// knowing of each other have one number, and started at different moments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Life {
    /// The cluster's identifier (`pg_control_system`).
    pub system: i64,
    /// The timeline that it writes.
    pub timeline: i64,
    /// When the server was started, by its own clock: microseconds since 1970 (`pg_postmaster_start_time`).
    pub started_us: i64,
}

/// A server that writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Primary {
    /// Where it was reached.
    pub place: Place,
    /// Which it is.
    pub life: Life,
}

/// Whoever decides which server is the primary, asked about one of them (P4): Patroni's interface, or what stands in its place.
pub trait Witness: Send + Sync {
    /// For how long, from when this is called, this very server keeps the right to be the primary, at least, whatever happens from now on.
    ///
    /// What an answer must rest on:
    ///
    /// - It is about the server at that *address*, of that life: the manager that answers there must say the same timeline and the same start. A name may lead
    ///   elsewhere by the time that it is asked.
    /// - The right is counted from a moment at which the lock is *proven* to have been renewed, by whoever keeps the lock. What Patroni's own interface says is no proof: `dcs_last_seen` is the
    ///   time of a read, and a manager that cannot ask its PostgreSQL goes on reading without renewing anything, for as long as the lock lasts.
    /// - While the managers are told not to elect (Patroni's `pause`), nobody needs the lock, and nobody can promise anything: an error.
    ///
    /// An error where it does not have that right, or nobody can say.
    fn keeps_its_right(&self, primary: Primary) -> BoxFuture<'_, Result<Duration, String>>;
}

/// How to reach one catalog database, and what to bear.
#[derive(Clone)]
pub struct PostgresSettings {
    /// A connection string as `libpq` knows it; several hosts by commas. Holds a password: never printed.
    pub connection: ConnectionString,
    /// How connections over a network are encrypted; `None`: not at all, for a network that is. Those to a socket of this machine never are.
    pub tls: Option<TlsSettings>,
    /// The schema that holds the tables.
    pub schema: String,
    /// The most connections of this gateway.
    pub connections_max: usize,
    /// How long a request waits for the database, fail-over included, before it is told to come back later.
    pub wait_max: Duration,
    /// How long one host may take to let a connection in.
    pub connect_wait_max: Duration,
    /// How long a commit waits for another one on the same key.
    pub lock_wait_max: Duration,
    /// What an acknowledgement must mean.
    pub replication: Replication,
    /// Who says which server is the primary. `None`: nobody is asked, and it is for the operator to see to it that a primary whose manager has died stops
    /// (Patroni's watchdog): else commits that it acknowledges after another server was promoted are lost (P4).
    pub witness: Option<Arc<dyn Witness>>,
    /// The operator's word, where there is no witness, that a primary whose manager has died stops by itself. Without either, nothing that no record names is ever collected, and no
    /// chunk moved: what was acknowledged by a primary that was replaced would look like garbage.
    pub has_watchdog: bool,
}

/// A connection string, kept out of logs (design, invariant 7).
#[derive(Clone)]
pub struct ConnectionString(String);

impl ConnectionString {
    /// This one.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub(super) fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for ConnectionString {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("ConnectionString(..)")
    }
}

impl PostgresSettings {
    /// With everything else as it should be.
    #[must_use]
    pub fn new(connection: ConnectionString) -> Self {
        Self {
            connection,
            tls: None,
            schema: "cairn".to_owned(),
            connections_max: 32,
            wait_max: Duration::from_secs(45),
            connect_wait_max: Duration::from_secs(3),
            lock_wait_max: Duration::from_secs(10),
            replication: Replication::Required,
            witness: None,
            has_watchdog: false,
        }
    }
}

impl PostgresSettings {
    /// How long one attempt waits for its answer: for a lock that others have, and for a server that is slow. Then its connection is left, and what was asked is settled.
    pub(super) fn attempt_max(&self) -> Duration {
        self.lock_wait_max.saturating_add(Duration::from_secs(5))
    }

    /// Whether somebody sees to it that a primary that was replaced acknowledges nothing.
    pub(super) fn is_watched(&self) -> bool {
        self.witness.is_some() || self.has_watchdog || self.replication == Replication::Waived
    }
}

impl std::fmt::Debug for PostgresSettings {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("PostgresSettings")
            .field("connection", &self.connection)
            .field("schema", &self.schema)
            .field("connections_max", &self.connections_max)
            .field("wait_max", &self.wait_max)
            .field("replication", &self.replication)
            .field("has_witness", &self.witness.is_some())
            .finish_non_exhaustive()
    }
}
