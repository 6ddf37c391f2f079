//! Runs the parts of the test in order, keeps each one's output in a log of its own, and says at the end what each took. The last line
//! is `N passed, N failed`, alone on its line: parts that are a test suite count their tests, the others count as one test.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};

use crate::clock;
use crate::steps::{Context, Counts, STEPS, Step, When};
use crate::workspace::Workspace;

/// How much of a failed part's log is shown, in lines.
const TAIL_LINES_MAX: usize = 60;

/// How a part ended.
enum Outcome {
    Passed(Counts),
    Failed(Counts, String),
}

/// A line of the table at the end.
struct Row {
    name: &'static str,
    outcome: Outcome,
    took: Duration,
}

/// Names the parts.
pub fn list() {
    for step in STEPS {
        let when = match step.when {
            When::Gate => "gate",
        };
        println!("{:<12} {when:<6} {}", step.name, step.what);
    }
}

/// Runs the parts that are asked for, all of the gate where none is named.
///
/// # Errors
/// Where a part is named that does not exist, or logs cannot be written.
pub fn run(workspace: &Workspace, long: bool, only: &[String]) -> anyhow::Result<ExitCode> {
    let selected = select(STEPS, long, only)?;
    std::fs::create_dir_all(workspace.logs()).with_context(|| format!("{} cannot be made", workspace.logs().display()))?;
    let started = clock::now();
    let mut rows: Vec<Row> = Vec::new();
    for step in selected {
        let row = run_step(workspace, long, step, &rows)?;
        rows.push(row);
    }
    let counts = report(&rows, started.elapsed());
    Ok(if counts.failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The parts to run, in their order: those named and what they need first, or those whose turn it is.
fn select<'steps>(steps: &'steps [Step], _long: bool, only: &[String]) -> anyhow::Result<Vec<&'steps Step>> {
    let mut wanted: Vec<&str> = Vec::new();
    if only.is_empty() {
        wanted.extend(steps.iter().map(|step| step.name));
    }
    for name in only {
        let Some(step) = steps.iter().find(|step| step.name == name) else {
            bail!(
                "there is no part {name:?}; there are {}",
                steps.iter().map(|step| step.name).collect::<Vec<_>>().join(", ")
            );
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

fn run_step(workspace: &Workspace, long: bool, step: &'static Step, before: &[Row]) -> anyhow::Result<Row> {
    let path = workspace.logs().join(format!("{}.log", step.name));
    let started = clock::now();
    println!("--> {:<12} {}", step.name, step.what);
    std::io::stdout().flush()?;
    let missing = step.after.iter().find(|name| {
        before
            .iter()
            .any(|row| row.name == **name && matches!(row.outcome, Outcome::Failed(..)))
    });
    let outcome = if let Some(missing) = missing {
        Outcome::Failed(Counts { passed: 0, failed: 1 }, format!("not run, because {missing} failed"))
    } else {
        let log = new_log(&path)?;
        let deadline = started + Duration::from_secs(step.minutes_max * 60);
        let mut context = Context {
            workspace,
            long,
            deadline,
            log,
        };
        match (step.run)(&mut context) {
            Ok(counts) if counts.failed == 0 => Outcome::Passed(counts),
            Ok(counts) => Outcome::Failed(
                counts,
                format!("{} of {} failed", counts.failed, counts.failed + counts.passed),
            ),
            Err(error) => Outcome::Failed(Counts { passed: 0, failed: 1 }, format!("{error:#}")),
        }
    };
    let took = started.elapsed();
    match &outcome {
        Outcome::Passed(counts) => println!("    {:<12} ok, {} passed in {}", step.name, counts.passed, seconds(took)),
        Outcome::Failed(_, why) => {
            println!("    {:<12} FAILED in {}: {why}", step.name, seconds(took));
            show_tail(&path);
        }
    }
    Ok(Row {
        name: step.name,
        outcome,
        took,
    })
}

/// A fresh log that several writers append to.
fn new_log(path: &Path) -> anyhow::Result<File> {
    File::create(path).with_context(|| format!("{} cannot be written", path.display()))?;
    OpenOptions::new()
        .read(true)
        .append(true)
        .open(path)
        .with_context(|| format!("{} cannot be opened", path.display()))
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

fn report(rows: &[Row], took: Duration) -> Counts {
    println!("\n{:<14} {:>9} {:>7} {:>7}", "part", "took", "passed", "failed");
    let mut all = Counts::default();
    for row in rows {
        let (Outcome::Passed(counts) | Outcome::Failed(counts, _)) = &row.outcome;
        println!(
            "{:<14} {:>9} {:>7} {:>7}",
            row.name,
            seconds(row.took),
            counts.passed,
            counts.failed
        );
        all = all.and(*counts);
    }
    println!("{:<14} {:>9}\n", "all", seconds(took));
    println!("{} passed, {} failed", all.passed, all.failed);
    all
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}
