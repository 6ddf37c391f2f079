use serde_json::{Value, json};

use super::upward_dependencies;

fn workspace(name: &str, on: &str, kind: Option<&str>) -> Value {
    json!({"packages": [{"name": name, "manifest_path": "", "dependencies": [{"name": on, "kind": kind}]}]})
}

#[test]
fn downwards_is_allowed_and_nothing_else() {
    for (name, on) in [
        ("cairn-zone", "cairn-disk"),
        ("cairn", "cairn-types"),
        ("cairn-types", "bytes"),
        ("cairn-testkit", "cairn-catalog"),
        ("cairn-fuzz", "cairn"),
        ("cairn-fuzz", "cairn-testkit"),
    ] {
        assert_eq!(upward_dependencies(&workspace(name, on, None)), Vec::<String>::new(), "{name} on {on}");
    }
    for (name, on) in [
        ("cairn-disk", "cairn-zone"),
        ("cairn-catalog", "cairn-zone"),
        ("cairn-zone", "cairn-catalog"),
        ("cairn-replica", "cairn-store"),
        ("cairn-testkit", "cairn"),
        ("cairn-new", "bytes"),
        ("cairn-load", "cairn-types"),
        ("cairn-testkit", "cairn-load"),
        ("cairn-fuzz", "cairn-load"),
        ("cairn-testkit", "cairn-fuzz"),
    ] {
        assert_eq!(upward_dependencies(&workspace(name, on, None)).len(), 1, "{name} on {on}");
    }
}

#[test]
fn only_tests_use_the_testkit() {
    assert_eq!(upward_dependencies(&workspace("cairn-disk", "cairn-testkit", Some("dev"))), Vec::<String>::new());
    assert_eq!(
        upward_dependencies(&workspace("cairn-disk", "cairn-testkit", None)),
        ["cairn-disk must not depend on cairn-testkit"]
    );
    assert_eq!(
        upward_dependencies(&workspace("cairn-disk", "cairn-store", Some("dev"))),
        ["cairn-disk must not depend on cairn-store even in its tests"]
    );
}
