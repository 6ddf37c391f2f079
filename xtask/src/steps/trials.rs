//! The parts that try the release binary: `crates/cairn/tests/trials`.

use super::cargo::counted;
use super::{Context, Counts};
use crate::e2e;

/// Runs the trials of one module. Their own program is a debug build, like that of every test: what is tried is the binary that the part
/// `build` has made, and a test program that cargo builds for release would be built with other features of the same crates.
fn run(context: &mut Context<'_>, module: &str) -> anyhow::Result<Counts> {
    // The whole workspace, so that nothing is built again with other features than the unit tests had.
    let mut command = context.workspace.cargo(&["test", "--locked", "--workspace", "--test", "trials", "--"]);
    command.args(["--nocapture", "--test-threads", "1", &format!("{module}::")]);
    if !e2e::service_is_there() {
        command.env("CAIRN_TRIALS_BINARY", context.workspace.target().join("release").join("cairn"));
    }
    counted(context, &mut command)
}

/// Kills.
pub fn crash(context: &mut Context<'_>) -> anyhow::Result<Counts> {
    run(context, "crash")
}

/// Drills with the zones' directories.
pub fn drills(context: &mut Context<'_>) -> anyhow::Result<Counts> {
    run(context, "drills")
}

/// Races.
pub fn race(context: &mut Context<'_>) -> anyhow::Result<Counts> {
    run(context, "race")
}

/// Bounds of memory.
pub fn memory(context: &mut Context<'_>) -> anyhow::Result<Counts> {
    run(context, "memory")
}

/// Many connections.
pub fn crowd(context: &mut Context<'_>) -> anyhow::Result<Counts> {
    run(context, "crowd")
}

/// Mixed load for a long time.
pub fn soak(context: &mut Context<'_>) -> anyhow::Result<Counts> {
    run(context, "soak")
}
