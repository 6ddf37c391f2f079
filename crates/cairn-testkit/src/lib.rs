//! Conformance suites, faulty zones and disks, virtual clock and history checker.

pub mod catalog_conformance;
pub mod catalog_invariants;
pub mod faulty_zone;
pub mod sim_disk;
pub mod sim_environment;
pub mod zone_conformance;
