//! Conformance suites, faulty zones and disks, virtual clock and history checker.

pub mod catalog_conformance;
pub mod catalog_invariants;
pub mod exposition;
pub mod faulty_zone;
#[cfg(feature = "s3")]
pub mod memory_store;
pub mod ports;
#[cfg(feature = "s3")]
pub mod s3_client;
pub mod sim_disk;
pub mod sim_engine;
pub mod sim_environment;
pub mod weed;
pub mod zone_conformance;
