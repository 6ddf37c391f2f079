//! Dependencies between the crates point downwards only, and every crate takes the workspace's lints.

use serde_json::Value;

/// The crates from the ground up; those on one line do not know each other.
const LAYERS: &[&[&str]] = &[
    &["cairn-types", "cairn-metrics"],
    &["cairn-disk"],
    &["cairn-zone", "cairn-catalog"],
    &["cairn-replica"],
    &["cairn-store"],
    &["cairn-s3"],
    &["cairn-operator"],
    &["cairn"],
];
/// Serve tests only, and only tests (and this tool) may use them. The test kit may use every crate but the binary.
const FOR_TESTS: [&str; 2] = ["cairn-testkit", "cairn-fuzz"];
/// Tries the parsers of all crates, those of the binary too, and may use the test kit for it.
const FUZZ: &str = "cairn-fuzz";
/// Drives a service from outside for the bench; it knows none of the others, and nobody knows it.
const LOAD: &str = "cairn-load";
/// This tool. It judges the others from outside, by their public face.
const XTASK: &str = "xtask";

fn layer(crate_name: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&crate_name))
}

/// Dependencies that point sideways or upwards, in what `cargo metadata --no-deps` says.
pub fn upward_dependencies(metadata: &Value) -> Vec<String> {
    let mut findings = Vec::new();
    for package in packages(metadata) {
        let name = text(package, "name");
        if !FOR_TESTS.contains(&name) && ![XTASK, LOAD].contains(&name) && layer(name).is_none() {
            findings.push(format!("{name} has no place among the layers; give it one"));
            continue;
        }
        for dependency in array(package, "dependencies") {
            let on = text(dependency, "name");
            let of_tests = text(dependency, "kind") == "dev";
            let allowed = match (layer(name), layer(on)) {
                // A crate's integration tests name it to switch on what only tests use.
                _ if on == name => of_tests,
                _ if on == LOAD => false,
                _ if name == FUZZ => true,
                _ if FOR_TESTS.contains(&on) => of_tests || name == XTASK,
                (Some(from), Some(to)) => to < from,
                (None, Some(to)) => name == XTASK || FOR_TESTS.contains(&name) && to + 1 < LAYERS.len(),
                // Not one of ours.
                (_, None) => true,
            };
            if !allowed {
                findings.push(format!("{name} must not depend on {on}{}", if of_tests { " even in its tests" } else { "" }));
            }
        }
    }
    findings
}

/// The names of the workspace's crates and the paths of their manifests.
pub fn manifests(metadata: &Value) -> Vec<(&str, &str)> {
    packages(metadata).map(|package| (text(package, "name"), text(package, "manifest_path"))).collect()
}

fn packages(metadata: &Value) -> impl Iterator<Item = &Value> {
    array(metadata, "packages")
}

fn array<'value>(value: &'value Value, name: &str) -> impl Iterator<Item = &'value Value> {
    value.get(name).and_then(Value::as_array).into_iter().flatten()
}

fn text<'value>(value: &'value Value, name: &str) -> &'value str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests;
