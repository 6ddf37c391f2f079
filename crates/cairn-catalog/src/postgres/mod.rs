//! The PostgreSQL engine: the same rows as the embedded one's, in tables, changed by the same state machine (ADR 13).
//!
//! What every engine promises stands in the crate's documentation; how it is kept here:
//!
//! - **A command is one transaction** at read committed, under locks that are taken before anything is read (`locks`): everything that it judges
//!   is locked, so the state machine's answer holds at the moment of the commit.
//! - **An acknowledged commit is durable** because the server says so under settings that every connection makes for itself and looks at
//!   (`connection`), P3.
//! - **A commit whose answer is lost is settled** by the row of its connection's lane (P2).
//! - **A question is one snapshot**, taken after it was asked, on a server that has just committed (R1, P4).

mod columns;
mod connection;
mod failure;
mod foresight;
mod hearts;
mod hot;
mod known;
mod locks;
mod machine;
mod migrate;
mod patroni;
mod pool;
mod pulse;
mod reads;
mod rows;
mod sessions;
mod settings;
mod timekeeper;
mod tls;
mod told;
mod writes;

pub use machine::PostgresMachine;

pub use crate::Generations;
pub use migrate::migrate;
pub use patroni::{Patroni, PatroniSettings};
pub use settings::{ConnectionString, Life, Place, PostgresSettings, Primary, Replication, Witness};
pub use tls::TlsSettings;

/// The catalog on PostgreSQL.
pub type PostgresCatalog = crate::embedded::state::EmbeddedCatalog<PostgresMachine>;
