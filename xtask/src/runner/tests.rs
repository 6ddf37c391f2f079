use std::time::Duration;

use super::{Mode, Outcome, Row, after_what_failed, failures, report, select, tool_row, without_tools};
use crate::provision;
use crate::steps::{Counts, Step, When};

const fn step(name: &'static str, when: When, after: &'static [&'static str]) -> Step {
    Step { name, what: "", when, needs: &[&provision::CARGO_DENY], after, minutes_max: 1, run: |_| Ok(Counts::ONE_PASSED) }
}

const STEPS: &[Step] = &[
    step("first", When::Gate, &[]),
    step("build", When::Long, &[]),
    step("drill", When::Long, &["build"]),
    step("large", When::Long, &["drill"]),
];
const LOOSE: Mode = Mode { long: false, strict: false, fuzz_seconds: 1 };
const STRICT: Mode = Mode { long: false, strict: true, fuzz_seconds: 1 };

fn selected(long: bool, only: &[&str]) -> Vec<&'static str> {
    let only: Vec<String> = only.iter().map(|name| (*name).to_owned()).collect();
    select(STEPS, long, &only).unwrap().iter().map(|step| step.name).collect()
}

fn row(name: &str, outcome: Outcome) -> Row {
    Row { name: name.to_owned(), outcome, took: Duration::ZERO }
}

#[test]
fn a_part_brings_what_it_needs_first_in_the_order_of_the_table() {
    assert_eq!(selected(false, &[]), ["first"]);
    assert_eq!(selected(true, &[]), ["first", "build", "drill", "large"]);
    assert_eq!(selected(false, &["drill", "first"]), ["first", "build", "drill"]);
    assert!(select(STEPS, false, &["nothing".to_owned()]).is_err());
}

#[test]
fn a_missing_tool_skips_a_part_and_fails_it_where_that_is_asked() {
    let rows = [row(&tool_row(&provision::CARGO_DENY), Outcome::Skipped("no network".to_owned()))];
    let why = "cargo-deny cannot be had: no network".to_owned();
    assert_eq!(without_tools(&STEPS[0], LOOSE, &rows), Some(Outcome::Skipped(why.clone())));
    assert_eq!(without_tools(&STEPS[0], STRICT, &rows), Some(Outcome::failed(why)));
}

#[test]
fn a_part_does_not_run_after_one_that_failed() {
    assert_eq!(after_what_failed(&STEPS[2], &[row("build", Outcome::Passed(Counts::ONE_PASSED))]), None);
    let rows = [row("build", Outcome::failed("it broke".to_owned()))];
    assert_eq!(after_what_failed(&STEPS[2], &rows), Some(Outcome::failed("not run, because build failed".to_owned())));
}

#[test]
fn tests_of_all_parts_are_added_up() {
    let rows = [
        row("+ tool", Outcome::Passed(Counts::default())),
        row("one", Outcome::Passed(Counts { passed: 4, failed: 0 })),
        row("two", Outcome::Failed(Counts { passed: 2, failed: 3 }, String::new())),
        row("three", Outcome::Skipped(String::new())),
    ];
    assert_eq!(report(&rows, Duration::ZERO, |_| String::new()), Counts { passed: 6, failed: 3 });
}

#[test]
fn the_tests_that_failed_are_told_once_more() {
    let ran = "test a ... ok\ntest b ... FAILED\n\nfailures:\n\n";
    let failed = "---- b stdout ----\nthread 'b' panicked at x.rs:1:\nboom\n\n\nfailures:\n    b\n\n";
    let log = format!("{ran}{failed}test result: FAILED. 1 passed; 1 failed\n");
    assert_eq!(failures::told(&log), ["---- b stdout ----", "thread 'b' panicked at x.rs:1:", "boom"]);
    let uncaptured = "test c ... going\nthread 'c' panicked at y.rs:2:\nbang\n\nFAILED\n\nfailures:\n\nfailures:\n    c\n";
    assert_eq!(failures::told(uncaptured), ["thread 'c' panicked at y.rs:2:", "bang", "FAILED"]);
    assert_eq!(failures::told("one\n\ntwo\n"), ["one", "two"]);
}
