//! `cairn doctor`: looks whether a configuration and the store behind it are sound, and says what each finding means and what to do.
//!
//! It changes nothing: what it writes to try a disk has no name, and is gone when it ends. It may run beside a service.
//!
//! Exit codes: 0 all is well, 3 there are warnings, 1 there are problems, 2 the command line is wrong.

pub mod certificate;
mod checks;
mod disk;

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use crate::cli::ServeOptions;

/// What to look at.
#[derive(Debug, Clone, Args)]
pub struct DoctorOptions {
    /// The configuration: the same options and variables as those of `cairn serve`.
    #[command(flatten)]
    pub serve: ServeOptions,
    /// Print the findings as JSON, for programs.
    #[arg(long)]
    pub json: bool,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Level {
    /// As it should be.
    Good,
    /// It works, and may not always.
    Warning,
    /// It does not work, or data is in danger.
    Problem,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// What was looked at, for programs: it keeps its name.
    pub check: &'static str,
    /// How bad it is.
    pub level: Level,
    /// What was seen.
    pub found: String,
    /// What it means; empty where all is well.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub means: &'static str,
    /// What to do; empty where all is well.
    #[serde(rename = "do", skip_serializing_if = "str::is_empty")]
    pub remedy: &'static str,
}

impl Finding {
    fn good(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, level: Level::Good, found: found.into(), means: "", remedy: "" }
    }

    fn warning(check: &'static str, found: impl Into<String>, means: &'static str, remedy: &'static str) -> Self {
        Self { check, level: Level::Warning, found: found.into(), means, remedy }
    }

    fn problem(check: &'static str, found: impl Into<String>, means: &'static str, remedy: &'static str) -> Self {
        Self { check, level: Level::Problem, found: found.into(), means, remedy }
    }
}

/// All findings, as programs get them.
#[derive(Debug, Serialize)]
struct Report<'a> {
    level: Level,
    findings: &'a [Finding],
}

/// Looks, and says what it has found.
pub fn run(options: &DoctorOptions) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("cairn: {error}");
            return ExitCode::FAILURE;
        }
    };
    let findings = runtime.block_on(checks::all(&options.serve));
    let worst = findings.iter().map(|finding| finding.level).max().unwrap_or(Level::Good);
    let printed = if options.json {
        serde_json::to_string_pretty(&Report { level: worst, findings: &findings }).map(|text| text + "\n").unwrap_or_default()
    } else {
        text(&findings)
    };
    // A reader that has seen enough (`| head`) is no failure.
    let _ = std::io::stdout().lock().write_all(printed.as_bytes());
    match worst {
        Level::Good => ExitCode::SUCCESS,
        Level::Warning => ExitCode::from(3),
        Level::Problem => ExitCode::FAILURE,
    }
}

fn text(findings: &[Finding]) -> String {
    let mut text = String::new();
    for finding in findings {
        let level = match finding.level {
            Level::Good => "good   ",
            Level::Warning => "WARNING",
            Level::Problem => "PROBLEM",
        };
        let _ = writeln!(text, "{level}  {}", finding.found);
        for (words, begin) in [(finding.means, "It means: "), (finding.remedy, "Do: ")] {
            if !words.is_empty() {
                let _ = writeln!(text, "         {begin}{words}");
            }
        }
    }
    let number = |level| findings.iter().filter(|finding| finding.level == level).count();
    let (problems, warnings) = (number(Level::Problem), number(Level::Warning));
    let plural = |count: usize, word: &str| format!("{count} {word}{}", if count == 1 { "" } else { "s" });
    let _ = match (problems, warnings) {
        (0, 0) => writeln!(text, "\nAll is well."),
        _ => writeln!(text, "\n{}, {}.", plural(problems, "problem"), plural(warnings, "warning")),
    };
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_say_what_they_mean_and_what_to_do() {
        let findings = [
            Finding::good("clock", "The clock says 2026."),
            Finding::warning("disks", "geneva and gland are on one disk.", "Both go with it.", "Give each a disk of its own."),
        ];
        assert_eq!(
            text(&findings),
            "\
good     The clock says 2026.
WARNING  geneva and gland are on one disk.
         It means: Both go with it.
         Do: Give each a disk of its own.

0 problems, 1 warning.
"
        );
        assert!(text(&findings[..1]).ends_with("\n\nAll is well.\n"));
        let json = serde_json::to_value(Report { level: Level::Warning, findings: &findings }).unwrap();
        assert_eq!(json["findings"][1]["do"], "Give each a disk of its own.");
        assert_eq!((&json["level"], &json["findings"][0].get("do")), (&"warning".into(), &None));
    }
}
