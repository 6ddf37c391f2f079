//! The parts that are a cargo command.

use std::io::{Read as _, Seek as _, SeekFrom};
use std::process::Command;

use anyhow::Context as _;

use super::{Context, Counts};
use crate::{e2e, provision};

/// rustfmt would change nothing.
pub fn format(context: &mut Context<'_>) -> anyhow::Result<Counts> {
    let mut command = context.workspace.cargo(&["fmt", "--all", "--check"]);
    context.run(&mut command)?;
    Ok(Counts::ONE_PASSED)
}

/// No compiler or clippy warning in any target of any crate.
pub fn clippy(context: &mut Context<'_>) -> anyhow::Result<Counts> {
    // The trials are not among the targets that tests run by default, so they are named.
    for targets in [&["--workspace", "--all-targets"][..], &["--package", "cairn", "--test", "trials"]] {
        let mut command = context.workspace.cargo(&["clippy", "--locked", "--keep-going"]);
        command.args(targets).args(["--", "--deny", "warnings"]);
        context.run(&mut command)?;
    }
    Ok(Counts::ONE_PASSED)
}

/// Licences, sources and unwanted crates among the dependencies, held to `deny.toml`. Known vulnerabilities are not looked up: their
/// database comes from a git host and not from a registry, and a test that needs it would fail wherever that host is out of reach.
pub fn deny(context: &mut Context<'_>) -> anyhow::Result<Counts> {
    let mut command = Command::new(provision::CARGO_DENY.program(&context.workspace.tools()));
    command.current_dir(context.workspace.root()).args(["--locked", "--workspace", "check", "licenses", "bans", "sources"]);
    context.run(&mut command)?;
    Ok(Counts::ONE_PASSED)
}

/// The crates' own tests, documentation examples included. Fuzzing is a part of its own.
pub fn unit(context: &mut Context<'_>) -> anyhow::Result<Counts> {
    tests(context, &["--workspace", "--exclude", "cairn-fuzz"])
}

/// The zone on SeaweedFS, against real processes of it.
pub fn seaweedfs(context: &mut Context<'_>) -> anyhow::Result<Counts> {
    // The whole workspace, so that nothing is built again with other features than the unit tests had.
    let mut command = context.workspace.cargo(&["test", "--locked", "--workspace", "--no-fail-fast"]);
    command.args([
        "--test",
        "seaweedfs",
        "--",
        "--ignored",
        // They wait for heartbeats, most of the time.
        "--test-threads",
        "4",
    ]);
    command.env("CAIRN_WEED", provision::SEAWEEDFS.program(&context.workspace.tools()));
    counted(context, &mut command)
}

/// The tests of these packages.
pub fn tests(context: &mut Context<'_>, packages: &[&str]) -> anyhow::Result<Counts> {
    let mut command = context.workspace.cargo(&["test", "--locked", "--no-fail-fast"]);
    command.args(packages);
    counted(context, &mut command)
}

/// The whole store on a simulated machine, optimised: as many seeds as fit in a minute, 2,000 at full size.
pub fn simulation(context: &mut Context<'_>) -> anyhow::Result<Counts> {
    // Other crates than the workspace's are optimised as it is.
    let optimised = ["test", "--locked", "--config", "profile.dev.opt-level=2"];
    let target = ["--package", "cairn", "--test", "simulation", "--no-fail-fast", "--", "--nocapture"];
    let mut command = context.workspace.cargo(&[&optimised[..], &target[..]].concat());
    command.env("CAIRN_SIMULATION_SECONDS", "60");
    counted(context, &mut command)
}

/// Runs the tests of the catalog that need a real PostgreSQL. Those that measure are for people, and those that load a million rows for `--long`.
///
/// # Errors
/// Where cargo fails before the tests run.
pub fn postgres(context: &mut Context<'_>) -> anyhow::Result<Counts> {
    let mut chosen = vec!["--test-threads=4", "--skip=measures_", "--skip=patroni::"];
    if !context.long {
        chosen.push("--skip=long_");
    }
    on_postgres(context, &chosen)
}

/// Runs those that need Patroni and etcd besides, which take a minute.
///
/// # Errors
/// Where cargo fails before the tests run.
pub fn patroni(context: &mut Context<'_>) -> anyhow::Result<Counts> {
    on_postgres(context, &["patroni::"])
}

fn on_postgres(context: &mut Context<'_>, chosen: &[&str]) -> anyhow::Result<Counts> {
    let tools = context.workspace.tools();
    let programs = provision::POSTGRESQL.program(&tools);
    let tests = ["test", "--locked", "--package", "cairn-catalog", "--test", "postgres", "--no-fail-fast", "--", "--ignored"];
    let mut command = context.workspace.cargo(&tests);
    command
        .args(chosen)
        .env("CAIRN_POSTGRES_PROGRAMS", programs.parent().context("a directory of PostgreSQL's programs")?)
        .env("CAIRN_ETCD_PROGRAM", provision::ETCD.program(&tools))
        .env("CAIRN_PATRONI_PROGRAM", provision::PATRONI.program(&tools));
    counted(context, &mut command)
}

/// Runs a cargo command that runs tests, and counts these.
pub fn counted(context: &mut Context<'_>, command: &mut Command) -> anyhow::Result<Counts> {
    let ended = context.run(command);
    let mut text = String::new();
    context.log.seek(SeekFrom::Start(0))?;
    context.log.read_to_string(&mut text)?;
    let counts = libtest_counts(&text);
    match ended {
        // Tests that failed make cargo fail; anything else (a crate that does not compile) is a failure of its own.
        Err(_) if counts.failed > 0 => Ok(counts),
        Err(error) => Err(error),
        Ok(()) => Ok(counts),
    }
}

/// The binary as it is released, for the parts that start it.
pub fn build(context: &mut Context<'_>) -> anyhow::Result<Counts> {
    if e2e::service_is_there() {
        context.say("not built: the tests are to use a service that runs already")?;
        return Ok(Counts::ONE_PASSED);
    }
    let mut command = context.workspace.cargo(&["build", "--locked", "--release", "--package", "cairn"]);
    context.run(&mut command)?;
    Ok(Counts::ONE_PASSED)
}

/// Adds up the lines `test result: ok. 3 passed; 0 failed; …` that Rust's test harness prints, one a test program.
fn libtest_counts(log: &str) -> Counts {
    let number_before = |line: &str, word: &str| {
        line.split(';')
            .find_map(|part| part.trim().strip_suffix(word)?.trim().rsplit(' ').next()?.parse::<u64>().ok())
            .unwrap_or(0)
    };
    log.lines()
        .filter(|line| line.starts_with("test result: "))
        .map(|line| Counts { passed: number_before(line, " passed"), failed: number_before(line, " failed") })
        .fold(Counts::default(), Counts::and)
}

#[cfg(test)]
mod tests;
