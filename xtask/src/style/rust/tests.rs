use super::{long_files, modules_without_docs};
use crate::style::sources::Sources;

#[test]
fn a_file_of_801_lines_is_too_long() {
    assert_eq!(long_files(&Sources::of(&[("a.rs", &"//\n".repeat(800)), ("b.md", &"-\n".repeat(900))])), Vec::<String>::new());
    assert_eq!(long_files(&Sources::of(&[("a.rs", &"//\n".repeat(801))])), ["a.rs: 801 lines"]);
}

#[test]
fn modules_open_with_docs_and_unit_tests_need_none() {
    let files = Sources::of(&[
        ("crates/x/src/bare.rs", "use a::b;\n//! too late\n"),
        ("crates/x/src/good.rs", "\n#![no_std]\n//! What it guarantees.\n"),
        ("crates/x/src/good/tests.rs", "use super::x;\n"),
        ("crates/x/src/tests/cases.rs", "use super::x;\n"),
        ("crates/x/tests/conformance.rs", "use x::y;\n"),
    ]);
    assert_eq!(modules_without_docs(&files), ["crates/x/src/bare.rs", "crates/x/tests/conformance.rs"]);
}
