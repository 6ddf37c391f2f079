use super::{Block, Kind, blocks, excerpt, excerpts};

#[test]
fn a_page_gives_its_blocks() {
    let page = "# mc\n\n<!-- run: make a bucket -->\n```sh\nmc mb a\nmc mb b\n```\n\n<!-- from: tests/x.py put -->\n```python\nput()\n```\n\
                <!-- not run: it installs -->\n```sh\n```\n";
    let expected = [
        Block { kind: Kind::Run("make a bucket".to_owned()), text: "mc mb a\nmc mb b\n".to_owned(), line: 4 },
        Block { kind: Kind::From("tests/x.py".to_owned(), "put".to_owned()), text: "put()\n".to_owned(), line: 10 },
        Block { kind: Kind::NotRun("it installs".to_owned()), text: String::new(), line: 14 },
    ];
    assert_eq!(blocks(page).expect("a good page"), expected);
}

#[test]
fn a_block_that_says_nothing_of_itself_is_refused() {
    let refused = [
        ("```sh\nmc mb a\n```\n", 1),
        ("<!-- run: a -->\n\n```sh\n```\n", 3),
        ("<!-- walk: a -->\n```sh\n```\n", 2),
        ("<!-- from: path -->\n```sh\n```\n", 2),
        ("<!-- run: a -->\n```sh\nmc mb a\n", 2),
    ];
    for (page, line) in refused {
        assert_eq!(blocks(page).expect_err(page).0, line, "{page}");
    }
}

#[test]
fn an_excerpt_is_the_lines_between_the_marks_moved_to_the_left() {
    let program = "func f() {\n\t// page: put\n\tput(\n\t\tx)\n\n\tget()\n\t// page end\n\tmore()\n}\n    # page: two\n    two()\n    # page end\n";
    assert_eq!(excerpt(program, "put").as_deref(), Some("put(\n\tx)\n\nget()\n"));
    assert_eq!(excerpt(program, "two").as_deref(), Some("two()\n"));
    assert_eq!(excerpt(program, "pu"), None);
    assert_eq!(excerpt("// page: open\nx()\n", "open"), None);
    assert_eq!(excerpts(program).collect::<Vec<_>>(), [(2, "put"), (10, "two")]);
}
