//! Conformance suites, faulty zones and disks, virtual clock and history checker.

pub mod sim_disk;
pub mod sim_environment;
