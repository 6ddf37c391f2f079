//! What of a failed part's log is said once more at the very end, where it is all that many a reader gets to see of a run.

/// How many lines of each failed test are told.
const LINES_OF_A_TEST_MAX: usize = 12;
/// How many lines are told of a panic that its test's harness did not put under a heading.
const LINES_OF_A_PANIC_MAX: usize = 5;
/// How many lines are told of a part, whatever failed in it.
const LINES_OF_A_PART_MAX: usize = 40;
/// How many lines are told where the log is not of Rust's test harness.
const LAST_LINES: usize = 12;

/// The lines that say which tests failed and why: the beginning of what each of them printed, or else the end of the log.
pub fn told(log: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = Vec::new();
    let mut left = 0;
    for line in log.lines() {
        if is_heading(line) {
            left = LINES_OF_A_TEST_MAX;
        } else if line == "failures:" {
            left = 0;
        } else if left == 0 && line.contains(" panicked at ") {
            left = LINES_OF_A_PANIC_MAX;
        }
        if left > 0 && !line.trim().is_empty() {
            lines.push(line);
            left -= 1;
        }
    }
    if lines.is_empty() {
        lines = log.lines().filter(|line| !line.trim().is_empty()).collect();
        lines.drain(..lines.len().saturating_sub(LAST_LINES));
    }
    lines.truncate(LINES_OF_A_PART_MAX);
    lines
}

/// What Rust's test harness writes above the output of a test that failed.
fn is_heading(line: &str) -> bool {
    line.starts_with("---- ") && line.ends_with(" stdout ----")
}
