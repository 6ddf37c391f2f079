//! Fuzzing: the targets of `cairn-fuzz` over mutations of valid inputs, which takes seconds; at full size also by libFuzzer, guided by
//! coverage, with what it found the last time as its corpus.
//!
//! libFuzzer needs no nightly compiler: what it wants to be told of a program's branches and comparisons, the stable one can be asked for.

use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};

use super::cargo::tests;
use super::{Context, Counts};
use crate::clock;
use crate::process::{self, Running, Streams};

/// The processor time that libFuzzer gets for each target where nothing else is said, in seconds.
pub const SECONDS_EACH: u32 = 120;
/// By the clock, so many times as long may it take, beside whatever else the machine does, before it is stopped and has failed.
const PATIENCE: u32 = 10;
/// The longest input that it makes, bytes.
const INPUT_BYTES_MAX: u32 = 4096;
/// How libFuzzer ends when it is interrupted, as the program interrupts itself once it has had its time: nothing was found.
const INTERRUPTED: i32 = 72;
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
        let directory = |kind: &str| target.join(kind).join(name);
        let (corpus, broken) = (directory("corpus"), directory("broken"));
        for directory in [&corpus, &broken] {
            std::fs::create_dir_all(directory).with_context(|| format!("{} cannot be made", directory.display()))?;
        }
        let words = directory("words");
        let held = one(context, &program, name, &corpus, &broken, &words);
        counts = counts.and(Counts { passed: u64::from(held.is_ok()), failed: u64::from(held.is_err()) });
        let figures = figures(&std::fs::read_to_string(&words).unwrap_or_default());
        context.say(&format!("{name}: {figures}"))?;
        println!("  {name:<20} {figures}");
        if let Err(error) = held {
            let keep = format!("crates/cairn-fuzz/regressions/{name}/");
            let words = format!(
                "FAILED {name}: {error:#}; the input is in {}, to be kept in {keep}; its words are in {}",
                broken.display(),
                words.display()
            );
            context.say(&words)?;
        }
    }
    Ok(counts)
}

/// Lets libFuzzer look at one target.
fn one(context: &mut Context<'_>, program: &Path, name: &str, corpus: &Path, broken: &Path, words: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(words.parent().unwrap_or(words))?;
    let output = File::create(words).with_context(|| format!("{} cannot be made", words.display()))?;
    let mut command = Command::new(program);
    command
        .arg(corpus)
        .arg(format!("-max_len={INPUT_BYTES_MAX}"))
        .arg(format!("-timeout={INPUT_SECONDS_MAX}"))
        .arg(format!("-rss_limit_mb={MEMORY_MIB_MAX}"))
        .arg(format!("-artifact_prefix={}/", broken.display()))
        .arg("-print_final_stats=1")
        .env("CAIRN_FUZZ_TARGET", name)
        .env("CAIRN_FUZZ_SEEDS", corpus)
        .env("CAIRN_FUZZ_CPU_SECONDS", context.fuzz_seconds.to_string());
    context.say(&format!("$ {}", process::shown(&command)))?;
    // However much time is given: the part's own limit is for the rest.
    let deadline = context.deadline.max(clock::now() + Duration::from_secs(60 + u64::from(context.fuzz_seconds * PATIENCE)));
    let status = Running::start(&mut command, Streams::to_log(&output)?)?.wait(deadline)?;
    ensure!(status.code() == Some(INTERRUPTED), "it ended with {status}");
    Ok(())
}

/// What libFuzzer and the program say at the end, for people.
fn figures(words: &str) -> String {
    let last = |name: &str| {
        let number =
            words.rsplit_once(name).map(|(_, rest)| rest.trim_start().chars().take_while(char::is_ascii_digit).collect());
        number.filter(|number: &String| !number.is_empty()).unwrap_or_else(|| "?".to_owned())
    };
    format!(
        "{} executions in {} CPU seconds, {} edges, {} features",
        last("stat::number_of_executed_units:"),
        last("stat::cpu_seconds:"),
        last(" cov: "),
        last(" ft: ")
    )
}

/// What the compiler calls this kind of machine.
fn host() -> anyhow::Result<String> {
    let text = process::capture(Command::new("rustc").arg("-vV"))?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc does not say what this machine is")?;
    Ok(host.to_owned())
}

#[cfg(test)]
mod tests {
    use super::figures;

    #[test]
    fn figures_are_the_last_that_were_said() {
        let words = "#2\tINITED cov: 7 ft: 8 corp: 1/1b\n#9\tNEW    cov: 17 ft: 80 corp: 1/1b\nstat::cpu_seconds: 12\n\
                     stat::number_of_executed_units: 3456\n";
        assert_eq!(figures(words), "3456 executions in 12 CPU seconds, 17 edges, 80 features");
        assert_eq!(figures("==1== ERROR"), "? executions in ? CPU seconds, ? edges, ? features");
    }
}
