//! boto3, by the Python tests in `tests/e2e`.

use anyhow::{Context as _, bail};

use super::service::{DOMAIN, Keys};
use super::{Suite, with_each_scheme};
use crate::process::Streams;
use crate::provision::BOTO3;
use crate::steps::{Context, Counts};

/// Runs every test.
pub fn run(context: &mut Context<'_>) -> anyhow::Result<Counts> {
    with_each_scheme(context, scenarios)
}

fn scenarios(suite: &mut Suite<'_, '_>) -> anyhow::Result<()> {
    let workspace = suite.context.workspace;
    let mut command = suite.command(&BOTO3.program(&workspace.tools()));
    command
        .args(["-m", "unittest", "discover", "--verbose", "--start-directory"])
        .arg(workspace.root().join("tests").join("e2e"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("AWS_ENDPOINT_URL_S3", suite.service.endpoint())
        .env("AWS_ACCESS_KEY_ID", Keys::ACCESS_KEY_ID)
        .env("AWS_SECRET_ACCESS_KEY", Keys::SECRET_ACCESS_KEY)
        .env("AWS_DEFAULT_REGION", "us-east-1")
        .env("CAIRN_TEST_DOMAIN", DOMAIN);
    if suite.context.long {
        command.env("CAIRN_LONG", "1");
    }
    if let Some(authority) = suite.service.certificate_authority() {
        command.env("AWS_CA_BUNDLE", authority);
    }
    let report = suite.scratch.join("report");
    let file = std::fs::File::create(&report)?;
    let ended = suite.stream(&mut command, Streams::to_log(&file)?);
    let text = std::fs::read_to_string(&report).context("the report is not text")?;
    suite.context.say(&text)?;
    let counts = unittest_counts(&text);
    match (ended, counts) {
        (Err(error), None | Some(Counts { failed: 0, .. })) => return Err(error),
        (_, None) => bail!("the report does not say how many tests ran"),
        (_, Some(counts)) => suite.counts = suite.counts.and(counts),
    }
    Ok(())
}

/// Reads the end of unittest's report: `Ran 3 tests in 0.1s`, and `OK` or `FAILED (failures=1, errors=1, skipped=1)`. A test that fails
/// for several of its cases counts once for each there, so the failed are counted as the tests they are at most.
fn unittest_counts(report: &str) -> Option<Counts> {
    let ran: u64 = report.lines().find_map(|line| line.strip_prefix("Ran ")?.split(' ').next()?.parse().ok())?;
    let verdict = report.lines().rev().find(|line| line.starts_with("OK") || line.starts_with("FAILED"))?;
    let number = |name: &str| -> u64 {
        let found =
            verdict.split(['(', ',', ')']).find_map(|word| word.trim().strip_prefix(name)?.strip_prefix('=')?.parse().ok());
        found.unwrap_or(0)
    };
    let failed = (number("failures") + number("errors")).min(ran);
    let skipped = number("skipped").min(ran - failed);
    Some(Counts { passed: ran - failed - skipped, failed })
}

#[cfg(test)]
mod tests;
