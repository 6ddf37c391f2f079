//! The embedded catalog's log: quorum-committed batches in three zones, rules L1 to L10.

pub mod adopt;
pub mod applier;
pub mod batch;
pub mod catalog_time;
pub mod decide;
pub mod events;
pub mod keeper;
mod place;
pub mod replicated;
pub mod rules;
pub mod sequencer;
mod spares;
mod start;
pub mod statistics;
mod work;
pub mod worker;
pub mod writes;
pub mod zone_log;
