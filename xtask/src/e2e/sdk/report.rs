//! What the reports of test programs say of how many tests passed and failed. A test that was skipped counts as neither.

use crate::steps::Counts;

/// Go: `--- PASS: TestName (0.1s)`, of tests within tests with an indent. A test with others in it is the sum of them and counts for itself
/// too; the report ends with `PASS` or `FAIL`.
pub fn of_go(report: &str) -> Option<Counts> {
    report.lines().rfind(|line| matches!(*line, "PASS" | "FAIL"))?;
    let of = |verdict: &str| report.lines().filter(|line| line.trim_start().starts_with(verdict)).count() as u64;
    Some(Counts { passed: of("--- PASS: "), failed: of("--- FAIL: ") })
}

/// JUnit's console: `[        12 tests successful      ]`.
pub fn of_junit(report: &str) -> Option<Counts> {
    let number = |what: &str| -> Option<u64> {
        report
            .lines()
            .find_map(|line| line.trim().strip_prefix('[')?.strip_suffix(']')?.trim().strip_suffix(what)?.trim().parse().ok())
    };
    // A container, such as a class, fails by what goes before or after its tests.
    Some(Counts { passed: number("tests successful")?, failed: number("tests failed")? + number("containers failed")? })
}

/// TAP as Node writes it, which ends with `# pass 12` and `# fail 0`.
pub fn of_tap(report: &str) -> Option<Counts> {
    let number =
        |what: &str| -> Option<u64> { report.lines().rev().find_map(|line| line.strip_prefix(what)?.trim().parse().ok()) };
    Some(Counts { passed: number("# pass ")?, failed: number("# fail ")? + number("# cancelled ")? })
}

#[cfg(test)]
mod tests;
