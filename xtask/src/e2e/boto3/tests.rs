use super::unittest_counts;
use crate::steps::Counts;

#[test]
fn reads_what_unittest_reports() {
    assert_eq!(unittest_counts("...\nRan 3 tests in 0.1s\n\nOK\n"), Some(Counts { passed: 3, failed: 0 }));
    assert_eq!(unittest_counts("Ran 9 tests in 1.2s\n\nOK (skipped=2)\n"), Some(Counts { passed: 7, failed: 0 }));
    let failed = "Ran 9 tests in 1.2s\n\nFAILED (failures=1, errors=2, skipped=1)\n";
    assert_eq!(unittest_counts(failed), Some(Counts { passed: 5, failed: 3 }));
    assert_eq!(unittest_counts("Ran 1 test in 1.2s\n\nFAILED (failures=7)\n"), Some(Counts { passed: 0, failed: 1 }));
    assert_eq!(unittest_counts("Traceback: no tests"), None);
}
