//! What every Rust file looks like.

use super::sources::{SourceFile, Sources};

/// A Rust file longer than this holds more than one idea.
const FILE_LINES_MAX: usize = 800;

/// Files that are too long.
pub fn long_files(sources: &Sources) -> Vec<String> {
    let lines = |file: &SourceFile| file.text.lines().count();
    sources
        .rust()
        .filter(|file| lines(file) > FILE_LINES_MAX)
        .map(|file| format!("{}: {} lines", file.path, lines(file)))
        .collect()
}

/// Modules that do not open with their documentation. Unit tests, which stand in files beside what they test, need none.
pub fn modules_without_docs(sources: &Sources) -> Vec<String> {
    sources
        .rust()
        .filter(|file| !is_unit_test(&file.path) && !opens_with_docs(&file.text))
        .map(|file| file.path.clone())
        .collect()
}

/// Whether a file holds the unit tests of the module beside it: `tests.rs`, `…_tests.rs`, or a file below a directory `tests` in `src`.
pub fn is_unit_test(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.ends_with("_tests.rs") || (path.contains("/src/") && path.contains("/tests/"))
}

fn opens_with_docs(text: &str) -> bool {
    text.lines()
        .map(str::trim)
        .find(|line| !line.is_empty() && !line.starts_with("#!"))
        .is_some_and(|line| line.starts_with("//!"))
}

#[cfg(test)]
mod tests;
