//! The project's own rules of style, checked by a test and not by a reviewer's memory.

mod layers;
mod pages;
mod rules;
mod rust;
mod sources;
mod words;

use std::path::Path;

use serde_json::Value;

use crate::steps::{Context, Counts};
use sources::Sources;

/// What the checks look at.
struct Tree {
    sources: Sources,
    /// What `cargo metadata --no-deps` says of the workspace.
    metadata: Value,
}

/// A check: its name and what it finds wrong, one line a finding.
type Check = (&'static str, fn(&Tree) -> Vec<String>);

const CHECKS: &[Check] = &[
    ("a Rust file has at most 800 lines", |tree| rust::long_files(&tree.sources)),
    ("a module opens with what it guarantees", |tree| rust::modules_without_docs(&tree.sources)),
    ("dependencies between crates point downwards", |tree| layers::upward_dependencies(&tree.metadata)),
    ("every crate takes the workspace's lints, and these forbid unsafe code", lints_not_taken),
    ("a cited rule exists", |tree| rules::unknown(&tree.sources)),
    ("every rule is cited by a test or waits for one", |tree| rules::forgotten(&tree.sources)),
    ("a page of docs/tools shows what tests run, and nothing else", |tree| pages::drifted(&tree.sources)),
    ("what a test marks for a page stands on one", |tree| pages::shown_nowhere(&tree.sources)),
    ("a page names the version that the tests drive", |tree| pages::versions_not_named(&tree.sources)),
    ("no unfinished work", |tree| words::unfinished(&tree.sources)),
    ("no path of one machine", |tree| words::machine_paths(&tree.sources)),
    ("no registry host", |tree| words::registry_hosts(&tree.sources)),
    ("no reference to what is not in the checkout", |tree| words::outside(&tree.sources)),
];

/// Runs every check over the files of the checkout.
///
/// # Errors
/// Where files cannot be read.
pub fn check(context: &mut Context<'_>) -> anyhow::Result<Counts> {
    let sources = Sources::read(context.workspace.root())?;
    let tree = Tree { sources, metadata: context.workspace.metadata(&["--no-deps"])? };
    let mut counts = Counts::default();
    for (name, find) in CHECKS {
        let findings = find(&tree);
        context.say(&format!("{} {name}", if findings.is_empty() { "ok    " } else { "FAILED" }))?;
        for finding in &findings {
            context.say(&format!("       {finding}"))?;
        }
        let failed = u64::from(!findings.is_empty());
        counts = counts.and(Counts { passed: 1 - failed, failed });
    }
    Ok(counts)
}

/// Crates whose manifest does not say `lints.workspace = true`, and a workspace that does not forbid unsafe code: no crate needs any.
fn lints_not_taken(tree: &Tree) -> Vec<String> {
    let takes_lints =
        |manifest: &str| std::fs::read_to_string(manifest).is_ok_and(|text| text.contains("[lints]\nworkspace = true\n"));
    let mut findings: Vec<String> = layers::manifests(&tree.metadata)
        .into_iter()
        .filter(|(_, manifest)| !takes_lints(manifest))
        .map(|(name, _)| format!("{name} does not say [lints] workspace = true"))
        .collect();
    let forbidden = tree
        .sources
        .all()
        .any(|file| Path::new(&file.path) == Path::new("Cargo.toml") && file.text.contains("unsafe_code = \"forbid\""));
    if !forbidden {
        findings.push("the workspace does not forbid unsafe code".to_owned());
    }
    findings
}
