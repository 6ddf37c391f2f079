//! Fuzzing: the targets of `cairn-fuzz` over mutations of valid inputs, which takes seconds; at full size also by libFuzzer, guided by
//! coverage, with what it found the last time as its corpus.
//!
//! libFuzzer needs no nightly compiler: what it wants to be told of a program's branches and comparisons, the stable one can be asked for.

use std::process::Command;

use anyhow::{Context as _, ensure};

use super::cargo::tests;
use super::{Context, Counts};
use crate::process;

/// How long libFuzzer looks at each target, in seconds.
const SECONDS_EACH: u32 = 120;
/// The longest input that it makes, bytes.
const INPUT_BYTES_MAX: u32 = 4096;
/// How long one input may take, in seconds.
const INPUT_SECONDS_MAX: u32 = 10;
/// The most memory that the program may take, MiB.
const MEMORY_MIB_MAX: u32 = 1024;

/// Makes the compiler report to libFuzzer which branches were taken and which numbers were compared.
const COVERAGE: &[&str] = &[
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
];

/// Every target.
pub fn run(context: &mut Context<'_>) -> anyhow::Result<Counts> {
    let counts = tests(context, &["--package", "cairn-fuzz"])?;
    if context.long { Ok(counts.and(by_coverage(context)?)) } else { Ok(counts) }
}

fn by_coverage(context: &mut Context<'_>) -> anyhow::Result<Counts> {
    let (package, target) = (context.workspace.root().join("fuzz"), context.workspace.target().join("fuzz"));
    // It stands outside the workspace; this makes it use the same releases of everything.
    std::fs::copy(context.workspace.root().join("Cargo.lock"), package.join("Cargo.lock"))
        .context("the workspace's lock file cannot be copied")?;
    let host = host()?;
    let mut build = context.workspace.cargo(&["build", "--release", "--target", &host]);
    // Build scripts and macros run on this machine and are not instrumented: for them cargo uses no flags where a target is named.
    build.current_dir(&package).env("RUSTFLAGS", COVERAGE.join(" ")).env("CARGO_TARGET_DIR", &target);
    context.run(&mut build)?;
    let program = target.join(host).join("release").join("cairn-fuzz-coverage");

    let names = process::capture(&mut Command::new(&program))?;
    ensure!(!names.is_empty(), "there are no targets");
    let mut counts = Counts::default();
    for name in names.lines() {
        let (corpus, broken) = (target.join("corpus").join(name), target.join("broken").join(name));
        for directory in [&corpus, &broken] {
            std::fs::create_dir_all(directory).with_context(|| format!("{} cannot be made", directory.display()))?;
        }
        let mut command = Command::new(&program);
        command
            .arg(&corpus)
            .arg(format!("-max_total_time={SECONDS_EACH}"))
            .arg(format!("-max_len={INPUT_BYTES_MAX}"))
            .arg(format!("-timeout={INPUT_SECONDS_MAX}"))
            .arg(format!("-rss_limit_mb={MEMORY_MIB_MAX}"))
            .arg(format!("-artifact_prefix={}/", broken.display()))
            .args(["-print_final_stats=1", "-verbosity=0"])
            .env("CAIRN_FUZZ_TARGET", name)
            .env("CAIRN_FUZZ_SEEDS", &corpus);
        let held = context.run(&mut command);
        counts = counts.and(Counts { passed: u64::from(held.is_ok()), failed: u64::from(held.is_err()) });
        if let Err(error) = held {
            let keep = format!("crates/cairn-fuzz/regressions/{name}/");
            context.say(&format!("FAILED {name}: {error:#}; the input is in {}, to be kept in {keep}", broken.display()))?;
        }
    }
    Ok(counts)
}

/// What the compiler calls this kind of machine.
fn host() -> anyhow::Result<String> {
    let text = process::capture(Command::new("rustc").arg("-vV"))?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc does not say what this machine is")?;
    Ok(host.to_owned())
}
