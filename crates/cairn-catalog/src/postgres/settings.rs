//! What an operator says about the database.

use std::time::Duration;

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

/// How to reach one catalog database, and what to bear.
#[derive(Debug, Clone)]
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
        }
    }
}
