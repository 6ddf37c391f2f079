//! The engine on SeaweedFS against real `weed` processes. One program, so that its tests, which wait for heartbeats most of the time, wait side by side.
//!
//! `cargo xtask test --only seaweedfs` fetches the program and runs these.

mod conformance;
mod faults;
mod forgetting;
mod zones;
