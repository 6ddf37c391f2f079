//! The embedded catalog's log: quorum-committed batches in three zones, rules L1 to L10.

pub mod batch;
pub mod rules;
mod spares;
pub mod zone_log;
