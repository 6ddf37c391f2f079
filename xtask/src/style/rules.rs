//! Citations of the rules that keep data: none names a rule that `docs/protocol.md` does not have, and no rule is forgotten by the tests.
//!
//! A rule's number is a letter and a number, such as L4. S3 is a special case, because nearly always it means the protocol: only
//! "rule S3" and "(S3)" cite the rule.

use std::collections::BTreeSet;

use super::rust::is_unit_test;
use super::sources::{SourceFile, Sources};

/// Where the rules stand, one heading each: `### L1. No holes, and one history`.
const RULES: &str = "docs/protocol.md";
/// The rules that no test names yet, one a line: number, colon, what they wait for.
const WAITING: &str = "xtask/src/style/rules_without_test.txt";

/// Citations of rules that do not exist, in the comments of Rust files and in the documentation.
pub fn unknown(sources: &Sources) -> Vec<String> {
    let rules = rules(sources);
    let letters: BTreeSet<char> = rules.iter().filter_map(|rule| rule.chars().next()).collect();
    let mut findings = Vec::new();
    for file in sources.all() {
        let (of_rust, of_docs) = (file.is("rs"), file.is("md"));
        for (number, line) in file.text.lines().enumerate().filter(|_| of_rust || of_docs) {
            let text = if of_rust { line.split_once("//").map_or("", |(_, comment)| comment) } else { line };
            let unknown =
                cited(text).filter(|rule| rule.starts_with(|letter| letters.contains(&letter)) && !rules.contains(*rule));
            findings.extend(unknown.map(|rule| format!("{}:{}: {RULES} has no rule {rule}", file.path, number + 1)));
        }
    }
    findings
}

/// Rules that no test cites and that are not on the list of those that wait for one; and what is on that list without being a rule.
pub fn forgotten(sources: &Sources) -> Vec<String> {
    let rules = rules(sources);
    if rules.is_empty() {
        return vec![format!("{RULES} has no rules")];
    }
    let waiting: BTreeSet<&str> = text_of(sources, WAITING).lines().filter_map(|line| Some(line.split_once(':')?.0)).collect();
    let in_tests: BTreeSet<&str> =
        sources.rust().flat_map(|file| test_text(file).lines()).flat_map(cited).filter(|rule| rules.contains(*rule)).collect();
    let forgotten = rules
        .iter()
        .filter(|rule| !in_tests.contains(**rule) && !waiting.contains(**rule))
        .map(|rule| format!("no test cites rule {rule}, and {WAITING} does not say what it waits for"));
    let not_rules =
        waiting.iter().filter(|rule| !rules.contains(**rule)).map(|rule| format!("{WAITING} names {rule}, which is no rule"));
    forgotten.chain(not_rules).collect()
}

/// The rules' numbers, from the headings of [`RULES`].
fn rules(sources: &Sources) -> BTreeSet<&str> {
    text_of(sources, RULES).lines().filter_map(|line| Some(line.strip_prefix("### ")?.split_once(". ")?.0)).collect()
}

fn text_of<'sources>(sources: &'sources Sources, path: &str) -> &'sources str {
    sources.all().find(|file| file.path == path).map_or("", |file| file.text.as_str())
}

/// What of a file is a test: all of it in unit tests, integration tests and the test kit, what follows `#[cfg(test)]` elsewhere. The
/// tests of this tool cite rules only to test the citing.
fn test_text(file: &SourceFile) -> &str {
    if file.path.starts_with("xtask/src/style") {
        ""
    } else if is_unit_test(&file.path) || file.path.contains("/tests/") || file.path.contains("cairn-testkit/") {
        &file.text
    } else {
        file.text.find("#[cfg(test)]").map_or("", |start| &file.text[start..])
    }
}

/// The rule numbers a line cites.
fn cited(line: &str) -> impl Iterator<Item = &str> {
    let mut words = line.split(|character: char| !character.is_alphanumeric() && character != '_').scan(0, move |at, word| {
        let start = *at;
        *at = start + word.len() + line[start + word.len()..].chars().next().map_or(0, char::len_utf8);
        Some((&line[..start], word, &line[start + word.len()..]))
    });
    std::iter::from_fn(move || {
        words.find_map(|(before, word, after)| {
            let mut characters = word.chars();
            let letter = characters.next()?;
            let digits = characters.as_str();
            let number = letter.is_ascii_uppercase()
                && matches!(digits.len(), 1 | 2)
                && digits.bytes().all(|digit| digit.is_ascii_digit());
            let cites = word != "S3"
                || before.to_ascii_lowercase().ends_with("rule ")
                || (before.ends_with('(') && after.starts_with(')'));
            (number && cites).then_some(word)
        })
    })
}

#[cfg(test)]
mod tests;
