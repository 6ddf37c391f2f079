//! Runs the parts of the test in order, keeps each one's output in a log of its own, and says at the end what each took. The last line
//! is `N passed, N failed`, alone on its line: parts that are a test suite count their tests, the others count as one test.
//!
//! A part whose tool cannot be had is skipped, and the report says so where nobody can miss it; where the environment says `CI=true`,
//! it has failed.

mod failures;

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};

use crate::clock;
use crate::provision::Tool;
use crate::steps::{Context, Counts, STEPS, Step, When};
use crate::workspace::Workspace;

/// How much of a failed part's log is shown, in lines.
const TAIL_LINES_MAX: usize = 60;
/// How long a tool may take to be fetched and built, in minutes.
const TOOL_MINUTES_MAX: u64 = 30;

/// How a run goes about it.
#[derive(Clone, Copy)]
pub struct Mode {
    /// Whether to run at full size, and the parts that take long too.
    pub long: bool,
    /// Whether a part that cannot be had is a failure.
    pub strict: bool,
    /// At full size, the processor time that coverage-guided fuzzing gives to each target, seconds.
    pub fuzz_seconds: u32,
}

/// How a part ended.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Outcome {
    /// It passed, or a tool is there.
    Passed(Counts),
    /// It failed; why.
    Failed(Counts, String),
    /// It could not be had; why.
    Skipped(String),
}

impl Outcome {
    fn failed(why: String) -> Self {
        Self::Failed(Counts { passed: 0, failed: 1 }, why)
    }
}

/// A line of the table at the end.
struct Row {
    name: String,
    outcome: Outcome,
    took: Duration,
}

/// Names the parts.
pub fn list() {
    for step in STEPS {
        let when = match step.when {
            When::Gate => "always",
            When::Long => "--long",
        };
        let needs: Vec<&str> = step.needs.iter().map(|tool| tool.name).collect();
        let needs = if needs.is_empty() { String::new() } else { format!(" (drives {})", needs.join(", ")) };
        println!("{:<12} {when}  {}{needs}", step.name, step.what);
    }
}

/// Runs the parts that are asked for, or those whose turn it is where none is named.
///
/// # Errors
/// Where a part is named that does not exist, or logs cannot be written.
pub fn run(workspace: &Workspace, mode: Mode, only: &[String]) -> anyhow::Result<ExitCode> {
    let selected = select(STEPS, mode.long, only)?;
    std::fs::create_dir_all(workspace.logs()).with_context(|| format!("{} cannot be made", workspace.logs().display()))?;
    let started = clock::now();
    let mut rows: Vec<Row> = Vec::new();
    for step in selected {
        let row = match after_what_failed(step, &rows) {
            Some(outcome) => not_run(step, outcome),
            None => match tools(workspace, mode, step, &mut rows)? {
                Some(outcome) => not_run(step, outcome),
                None => run_step(workspace, mode, step)?,
            },
        };
        rows.push(row);
    }
    let counts = report(&rows, started.elapsed(), |row| log_of(workspace, row));
    Ok(if counts.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The parts to run, in their order: those named and what they need first, or those whose turn it is.
fn select<'steps>(steps: &'steps [Step], long: bool, only: &[String]) -> anyhow::Result<Vec<&'steps Step>> {
    let mut wanted: Vec<&str> = Vec::new();
    if only.is_empty() {
        let its_turn = |step: &&Step| step.when == When::Gate || long && step.when == When::Long;
        wanted.extend(steps.iter().filter(its_turn).map(|step| step.name));
    }
    for name in only {
        let Some(step) = steps.iter().find(|step| step.name == name) else {
            bail!("there is no part {name:?}; there are {}", steps.iter().map(|step| step.name).collect::<Vec<_>>().join(", "));
        };
        wanted.push(step.name);
    }
    // A part needs only parts that stand before it in the table, so one pass from the end finds all of them.
    for step in steps.iter().rev() {
        if wanted.contains(&step.name) {
            wanted.extend(step.after);
        }
    }
    Ok(steps.iter().filter(|step| wanted.contains(&step.name)).collect())
}

/// The outcome of a part that does not run because one before it did not pass.
fn after_what_failed(step: &Step, rows: &[Row]) -> Option<Outcome> {
    step.after.iter().find_map(|name| match &rows.iter().find(|row| row.name == *name)?.outcome {
        Outcome::Passed(_) => None,
        Outcome::Failed(..) => Some(Outcome::failed(format!("not run, because {name} failed"))),
        Outcome::Skipped(_) => Some(Outcome::Skipped(format!("not run, because {name} was skipped"))),
    })
}

/// Provides the tools of a part, each once in a run; gives the outcome of the part where one cannot be had.
fn tools(workspace: &Workspace, mode: Mode, step: &Step, rows: &mut Vec<Row>) -> anyhow::Result<Option<Outcome>> {
    for tool in step.needs {
        if !rows.iter().any(|row| row.name == tool_row(tool)) {
            rows.push(provide(workspace, mode, tool)?);
        }
    }
    Ok(without_tools(step, mode, rows))
}

/// The outcome of a part that does not run because a tool cannot be had.
fn without_tools(step: &Step, mode: Mode, rows: &[Row]) -> Option<Outcome> {
    step.needs.iter().find_map(|tool| match &rows.iter().find(|row| row.name == tool_row(tool))?.outcome {
        Outcome::Skipped(why) => {
            let why = format!("{} cannot be had: {why}", tool.name);
            Some(if mode.strict { Outcome::failed(why) } else { Outcome::Skipped(why) })
        }
        _ => None,
    })
}

fn tool_row(tool: &Tool) -> String {
    format!("+ {}", tool.name)
}

fn provide(workspace: &Workspace, mode: Mode, tool: &'static Tool) -> anyhow::Result<Row> {
    let path = workspace.logs().join(format!("tool-{}.log", tool.name));
    let started = clock::now();
    let log = new_log(&path)?;
    let deadline = started + Duration::from_secs(TOOL_MINUTES_MAX * 60);
    let mut context = Context { workspace, long: mode.long, fuzz_seconds: mode.fuzz_seconds, deadline, log, name: tool.name };
    println!("--> {:<12} a tool that tests drive", tool_row(tool));
    std::io::stdout().flush()?;
    let provided = tool.provide(&mut context);
    let took = started.elapsed();
    let outcome = match provided {
        Ok(()) => {
            println!("    {:<12} there after {}", tool_row(tool), seconds(took));
            Outcome::Passed(Counts::default())
        }
        Err(error) => {
            println!("    {:<12} CANNOT BE HAD: {error:#}", tool_row(tool));
            show_tail(&path);
            Outcome::Skipped(format!("{error:#}"))
        }
    };
    Ok(Row { name: tool_row(tool), outcome, took })
}

fn not_run(step: &Step, outcome: Outcome) -> Row {
    match &outcome {
        Outcome::Passed(_) => {}
        Outcome::Failed(_, why) => println!("--> {:<12} FAILED: {why}", step.name),
        Outcome::Skipped(why) => println!("--> {:<12} SKIPPED: {why}", step.name),
    }
    Row { name: step.name.to_owned(), outcome, took: Duration::ZERO }
}

fn run_step(workspace: &Workspace, mode: Mode, step: &'static Step) -> anyhow::Result<Row> {
    let path = workspace.logs().join(format!("{}.log", step.name));
    let started = clock::now();
    println!("--> {:<12} {}", step.name, step.what);
    std::io::stdout().flush()?;
    let log = new_log(&path)?;
    let deadline = started + Duration::from_secs(step.minutes_max * 60);
    let mut context = Context { workspace, long: mode.long, fuzz_seconds: mode.fuzz_seconds, deadline, log, name: step.name };
    let outcome = match (step.run)(&mut context) {
        Ok(counts) if counts.failed == 0 => Outcome::Passed(counts),
        Ok(counts) => Outcome::Failed(counts, format!("{} of {} failed", counts.failed, counts.failed + counts.passed)),
        Err(error) => Outcome::failed(format!("{error:#}")),
    };
    let took = started.elapsed();
    match &outcome {
        Outcome::Passed(counts) => println!("    {:<12} ok in {}, {} passed", step.name, seconds(took), counts.passed),
        Outcome::Failed(_, why) => {
            println!("    {:<12} FAILED in {}: {why}", step.name, seconds(took));
            show_tail(&path);
        }
        Outcome::Skipped(why) => println!("    {:<12} SKIPPED: {why}", step.name),
    }
    Ok(Row { name: step.name.to_owned(), outcome, took })
}

/// A fresh log that several writers append to.
fn new_log(path: &Path) -> anyhow::Result<File> {
    File::create(path).with_context(|| format!("{} cannot be written", path.display()))?;
    OpenOptions::new().read(true).append(true).open(path).with_context(|| format!("{} cannot be opened", path.display()))
}

fn show_tail(path: &Path) {
    let Ok(bytes) = std::fs::read(path) else { return };
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    let skipped = lines.len().saturating_sub(TAIL_LINES_MAX);
    println!("    ---- the last {} lines of {}", lines.len() - skipped, path.display());
    for line in lines.iter().skip(skipped) {
        println!("    | {line}");
    }
    println!("    ----");
}

/// What a part left in its log.
fn log_of(workspace: &Workspace, row: &Row) -> String {
    let bytes = std::fs::read(workspace.logs().join(format!("{}.log", row.name))).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Prints what each part took and how it ended, and once more at the end why parts failed: of a long run, some keep the end alone.
fn report(rows: &[Row], took: Duration, log_of: impl Fn(&Row) -> String) -> Counts {
    println!("\n{:<16} {:>9} {:>7} {:>7}", "part", "took", "passed", "failed");
    let mut all = Counts::default();
    for row in rows {
        let took = seconds(row.took);
        match &row.outcome {
            // A tool: it has a time and no tests.
            Outcome::Passed(counts) if *counts == Counts::default() => println!("{:<16} {took:>9}", row.name),
            Outcome::Passed(counts) | Outcome::Failed(counts, _) => {
                println!("{:<16} {took:>9} {:>7} {:>7}", row.name, counts.passed, counts.failed);
                all = all.and(*counts);
            }
            Outcome::Skipped(_) => println!("{:<16} {took:>9} SKIPPED", row.name),
        }
    }
    println!("{:<16} {:>9}\n", "all", seconds(took));
    for row in rows {
        match &row.outcome {
            Outcome::Passed(_) => {}
            Outcome::Failed(_, why) => {
                println!("FAILED  {}: {why}", row.name);
                for line in failures::told(&log_of(row)) {
                    println!("        | {line}");
                }
            }
            Outcome::Skipped(why) => println!("SKIPPED {}: {why}", row.name),
        }
    }
    println!("{} passed, {} failed", all.passed, all.failed);
    all
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

#[cfg(test)]
mod tests;
