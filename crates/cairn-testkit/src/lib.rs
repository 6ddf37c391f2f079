//! Conformance suites, faulty zones and disks, virtual clock and history checker.
