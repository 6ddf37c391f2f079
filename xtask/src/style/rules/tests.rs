use super::{cited, forgotten, unknown};
use crate::style::sources::Sources;

const RULES: (&str, &str) = ("docs/protocol.md", "# Rules\n### L1. One\n### L2. Two\n### S3. Three\n");
const WAITING: &str = "xtask/src/style/rules_without_test.txt";
const NONE: [&str; 0] = [];

#[test]
fn finds_the_numbers_a_line_cites() {
    let all = |line| cited(line).collect::<Vec<_>>();
    assert_eq!(all("the store (L4, B2: masks) – L10… é L1"), ["L4", "B2", "L10", "L1"]);
    assert_eq!(all("S3 over HTTP, an S3-compatible store, AWS S3."), NONE);
    assert_eq!(all("enumerate (S3), rule S3, Rule S3."), ["S3", "S3", "S3"]);
    assert_eq!(all("K8s, EC2, UTF8, L, L123, l4, L4_x, SHA1"), NONE);
}

#[test]
fn a_citation_names_a_rule_that_exists() {
    let files = [
        RULES,
        ("docs/a.md", "see L2 and L3"),
        ("src/a.rs", "type L9 = u8; // L1, then L7\n//! S4 (S3)\n/// Z1 is no letter of ours\n"),
        ("src/a.toml", "# L8"),
    ];
    let files = Sources::of(&files);
    assert_eq!(
        unknown(&files),
        [
            "docs/a.md:1: docs/protocol.md has no rule L3",
            "src/a.rs:1: docs/protocol.md has no rule L7",
            "src/a.rs:2: docs/protocol.md has no rule S4"
        ]
    );
}

#[test]
fn every_rule_has_a_test_or_waits_for_one() {
    let tested = ("crates/x/src/log/tests.rs", "// L1");
    let inline = ("crates/x/src/zone.rs", "// L2 is cited in code only\n#[cfg(test)]\nmod tests { /* (S3) */ }");
    assert_eq!(
        forgotten(&Sources::of(&[RULES, tested, inline])),
        ["no test cites rule L2, and xtask/src/style/rules_without_test.txt does not say what it waits for"]
    );
    assert_eq!(forgotten(&Sources::of(&[RULES, tested, inline, (WAITING, "L2: the simulation\n")])), NONE);
    assert_eq!(
        forgotten(&Sources::of(&[RULES, tested, inline, (WAITING, "L2: the simulation\nL5: typing\n")])),
        ["xtask/src/style/rules_without_test.txt names L5, which is no rule"]
    );
    assert_eq!(forgotten(&Sources::of(&[tested])), ["docs/protocol.md has no rules"]);
}
