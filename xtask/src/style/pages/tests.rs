use super::{drifted, shown_nowhere, versions_not_named};
use crate::style::sources::Sources;

const PROGRAM: (&str, &str) = ("tests/e2e/x.py", "    # page: put\n    put()\n    # page end\n");

fn with_page(block: &str) -> Sources {
    Sources::of(&[("docs/tools/x.md", block), PROGRAM])
}

#[test]
fn an_excerpt_is_what_the_program_says() {
    let good = with_page("<!-- from: tests/e2e/x.py put -->\n```python\nput()\n```\n");
    assert_eq!(drifted(&good), Vec::<String>::new());
    assert_eq!(shown_nowhere(&good), Vec::<String>::new());

    let other = with_page("<!-- from: tests/e2e/x.py put -->\n```python\nput(1)\n```\n");
    assert_eq!(drifted(&other), ["docs/tools/x.md:2: the lines are not those of tests/e2e/x.py put"]);
    let name = with_page("<!-- from: tests/e2e/x.py get -->\n```python\nput()\n```\n");
    assert_eq!(drifted(&name), ["docs/tools/x.md:2: tests/e2e/x.py has no lines \"get\""]);
    assert_eq!(shown_nowhere(&name), ["tests/e2e/x.py:1: no page shows \"put\""]);
    let path = with_page("<!-- from: tests/e2e/y.py put -->\n```python\nput()\n```\n");
    assert_eq!(drifted(&path), ["docs/tools/x.md:2: there is no file tests/e2e/y.py"]);
}

#[test]
fn every_block_says_what_it_is_and_once() {
    assert_eq!(drifted(&with_page("```sh\nls\n```\n")), ["docs/tools/x.md:1: the block does not say what it is"]);
    let twice = with_page("<!-- run: a -->\n```sh\nls\n```\n<!-- run: a -->\n```sh\nls\n```\n");
    assert_eq!(drifted(&twice), ["docs/tools/x.md:6: there are two blocks \"a\""]);
}

#[test]
fn a_page_names_the_version_and_the_index_names_the_page() {
    let findings = |text: &str, index: &str| {
        let sources = Sources::of(&[("docs/tools/s3cmd.md", text), ("docs/tools/README.md", index)]);
        versions_not_named(&sources).into_iter().filter(|finding| finding.contains("s3cmd")).collect::<Vec<_>>()
    };
    assert_eq!(findings("s3cmd 2.4.0", "[s3cmd](s3cmd.md)"), Vec::<String>::new());
    assert_eq!(
        findings("s3cmd 2.3.0", "s3cmd.md"),
        [
            "docs/tools/s3cmd.md does not name the version of s3cmd that the tests drive",
            "docs/tools/README.md does not name s3cmd.md"
        ]
    );
}
