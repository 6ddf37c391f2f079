use super::{of_go, of_junit, of_tap};
use crate::steps::Counts;

#[test]
fn the_report_of_go_counts_tests_and_those_within() {
    let report = "=== RUN   TestA\n=== RUN   TestA/x\n--- PASS: TestA (0.10s)\n    --- PASS: TestA/x (0.01s)\n    --- SKIP: TestA/y (0.00s)\n\
                  --- FAIL: TestB (0.00s)\nFAIL\n";
    assert_eq!(of_go(report), Some(Counts { passed: 2, failed: 1 }));
    assert_eq!(of_go("--- PASS: TestA (0.10s)\npanic: stopped\n"), None);
}

#[test]
fn the_report_of_junit_counts_tests_and_failed_containers() {
    let report = "[         3 containers found      ]\n[         1 containers failed     ]\n\n[        12 tests successful      ]\n[         2 tests failed          ]\n";
    assert_eq!(of_junit(report), Some(Counts { passed: 12, failed: 3 }));
    assert_eq!(of_junit("Exception in thread main\n"), None);
}

#[test]
fn the_report_in_tap_counts_tests() {
    let report = "ok 1 - a\n1..2\n# tests 5\n# suites 0\n# pass 3\n# fail 1\n# cancelled 1\n# skipped 0\n";
    assert_eq!(of_tap(report), Some(Counts { passed: 3, failed: 2 }));
    assert_eq!(of_tap("TAP version 13\n"), None);
}
