use super::{machine_paths, outside, registry_hosts, unfinished};
use crate::style::sources::Sources;

fn one(path: &str, text: &str) -> Sources {
    Sources::of(&[(path, text)])
}

#[test]
fn unfinished_work_is_found() {
    let text = format!("fn f() {{\n    {}!()\n}}\n", "todo");
    assert_eq!(unfinished(&one("src/a.rs", &text)), [format!("src/a.rs:2: {}!", "todo")]);
    assert_eq!(unfinished(&one("src/a.rs", "my_todo!()")), Vec::<String>::new());
}

#[test]
fn paths_of_a_machine_are_found_and_relative_ones_are_not() {
    for text in ["see /{}/someone", "\"/{}/x\"", "(/{}/x)", "=/{}/x"] {
        let text = text.replace("{}", "home");
        assert_eq!(machine_paths(&one("README.md", &text)).len(), 1, "{text}");
    }
    for text in ["docs/{}/x", "https://host/{}/x", "$PREFIX/{}/x", "${PREFIX}/{}/x", "~/{}/x"] {
        let text = text.replace("{}/x", "home/x");
        assert_eq!(machine_paths(&one("README.md", &text)), Vec::<String>::new(), "{text}");
    }
}

#[test]
fn registry_hosts_and_things_outside_are_found() {
    let host = format!("https://{}.io/x", "index.crates");
    assert_eq!(registry_hosts(&one("a.toml", &host)).len(), 1);
    let text = format!("see {}/shared/x.md", "..");
    assert_eq!(outside(&one("a.md", &text)).len(), 1);
}
