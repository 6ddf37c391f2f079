//! `cargo xtask`: the project's own commands. Whatever a person or a machine runs to judge this tree is written here, in Rust, so that
//! it is the same everywhere and needs no step that is not in the README.

mod bench;
mod clock;
mod e2e;
mod lab;
mod pages;
mod process;
mod provision;
mod runner;
mod steps;
mod style;
mod workspace;

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::runner::Mode;
use crate::workspace::Workspace;

/// The project's own commands.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct CommandLine {
    #[command(subcommand)]
    task: Task,
}

/// What can be done.
#[derive(Subcommand)]
enum Task {
    /// Judge the tree: run every part of the gate in order and say what each took.
    Test(TestArguments),
    /// Measure Cairn beside stock SeaweedFS: rates, latencies and processor time per request, with ratios.
    Bench(bench::Arguments),
    /// Run three datacentres on this machine, to use and to break: networks, SeaweedFS, PostgreSQL, gateways.
    Lab(lab::Arguments),
}

/// Which parts of the test to run.
#[derive(Args)]
struct TestArguments {
    /// Run the parts that take long too, and all parts at full size (`CAIRN_LONG=1` for what they start).
    #[arg(long)]
    long: bool,
    /// Run only these parts, and those they need first.
    #[arg(long, value_name = "PART", value_delimiter = ',')]
    only: Vec<String>,
    /// With --long, the processor time that coverage-guided fuzzing gives to each target, seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = steps::FUZZ_SECONDS)]
    fuzz_seconds: u32,
    /// Name the parts, run nothing.
    #[arg(long)]
    list: bool,
}

fn main() -> ExitCode {
    match run(CommandLine::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command_line: CommandLine) -> anyhow::Result<ExitCode> {
    let workspace = Workspace::find();
    process::stop_children_with_us()?;
    match command_line.task {
        // Of a lab that is there nothing lies in the checkout, and its processes run anywhere.
        Task::Lab(arguments) => lab::run(workspace, arguments),
        Task::Bench(arguments) => bench::run(&workspace?, &arguments),
        Task::Test(arguments) if arguments.list => {
            runner::list();
            Ok(ExitCode::SUCCESS)
        }
        Task::Test(arguments) => {
            let strict = std::env::var("CI").is_ok_and(|value| value == "true");
            runner::run(&workspace?, Mode { long: arguments.long, strict, fuzz_seconds: arguments.fuzz_seconds }, &arguments.only)
        }
    }
}
