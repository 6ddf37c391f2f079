//! Quorum write, hedged read, repair, scrub and garbage over any three zones (rules B and S).
//!
//! What this crate guarantees, over zones that hang, fail, lose their memory and flip bits, and gateways that stop at any step:
//!
//! - a chunk handed to a commit is durable in two zones of the incarnations that the catalog records as current (B3);
//! - a reader gets verified bytes or an error, never damage, never a mix (B1, S4);
//! - a copy is named by its blob's commit, or by an addition under the session it was written in, or it is garbage (B4);
//! - nothing that a blob names is ever deleted before its condemnation is due (B5), and garbage goes in bounded time (S2);
//! - memory is bounded, and a zone that is slow, hung or away slows nobody.
//!
//! Decisions are pure and stand in modules of their own (`placement`, `progress`, `read_plan`, `sizing`, `gate`, `latency`, `pace`, `collect`):
//! state and events in, actions out. The drivers (`write`, `read`, `stragglers`, `repair`, `scrub`, `audit`, `compact`, `collector`, `condemned`, `session`) do
//! the I/O and decide nothing. The catalog is known by [`catalog_port::BlobCatalog`] only. docs/adr/0006-replica-layer.md gives the
//! schedules of crashes and delays that the design was held against.

pub mod audit;
pub mod budget;
pub mod catalog_port;
pub mod collect;
pub mod collector;
pub mod compact;
pub mod condemned;
mod copy;
mod damage;
pub mod gate;
pub mod latency;
pub mod pace;
pub mod placement;
pub mod progress;
pub mod read;
pub mod read_plan;
pub mod repair;
pub mod replicator;
pub mod scrub;
pub mod session;
pub mod sizing;
mod stragglers;
pub mod tasks;
pub mod works;
pub mod write;
pub mod zones;

#[cfg(test)]
mod simulation;

pub use read::{BlobReader, ReadError, ReadRequest};
pub use replicator::{DamageReport, Replicator, ReplicatorConfig};
pub use session::{SessionKeeper, WriterSession};
pub use write::{BlobWriter, FinishedWrite, WriteError};
pub use zones::{Zones, ZonesConfig};
