use super::{Counts, libtest_counts};

#[test]
fn adds_up_what_each_test_program_reports() {
    let log = "running 3 tests\n\
               test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s\n\
               noise: 9 passed; 9 failed\n\
               test result: FAILED. 12 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.20s\n";
    assert_eq!(libtest_counts(log), Counts { passed: 15, failed: 2 });
    assert_eq!(libtest_counts("error: could not compile"), Counts::default());
}
