//! The pages of `docs/tools`: each block is run by a test or is an excerpt of a program that a test runs, and each page names the version
//! of the tool that the tests drive.

use super::sources::{SourceFile, Sources};
use crate::pages::{self, DIRECTORY, Kind};
use crate::provision::{self, Tool};

/// The index of the pages, which has blocks and no tool.
const INDEX: &str = "docs/tools/README.md";

/// The pages whose lines drive a tool of a fixed version.
const VERSIONS: &[(&str, &[&Tool])] = &[
    ("aws-cli.md", &[&provision::AWS_CLI_1]),
    ("boto3.md", &[&provision::BOTO3]),
    ("mc.md", &[&provision::MC]),
    ("rclone.md", &[&provision::RCLONE]),
    ("restic.md", &[&provision::RESTIC]),
    ("s3cmd.md", &[&provision::S3CMD]),
];

/// Blocks that do not say what they are, two of one name, and excerpts that are not what the program says.
pub fn drifted(sources: &Sources) -> Vec<String> {
    let mut findings = Vec::new();
    for page in pages(sources) {
        let blocks = match pages::blocks(&page.text) {
            Ok(blocks) => blocks,
            Err((line, what)) => {
                findings.push(format!("{}:{line}: {what}", page.path));
                continue;
            }
        };
        for (index, block) in blocks.iter().enumerate() {
            let finding = match &block.kind {
                Kind::Run(name) if blocks[..index].iter().any(|other| other.kind == block.kind) => {
                    format!("there are two blocks {name:?}")
                }
                Kind::From(path, name) => match sources.all().find(|file| file.path == *path) {
                    None => format!("there is no file {path}"),
                    Some(program) => match pages::excerpt(&program.text, name) {
                        None => format!("{path} has no lines {name:?}"),
                        Some(lines) if lines != block.text => format!("the lines are not those of {path} {name}"),
                        Some(_) => continue,
                    },
                },
                Kind::Run(_) | Kind::NotRun(_) => continue,
            };
            findings.push(format!("{}:{}: {finding}", page.path, block.line));
        }
    }
    findings
}

/// Lines of test programs that are marked for a page and that no page shows.
pub fn shown_nowhere(sources: &Sources) -> Vec<String> {
    let shown: Vec<Kind> =
        pages(sources).flat_map(|page| pages::blocks(&page.text).unwrap_or_default()).map(|block| block.kind).collect();
    let of_tests = sources.all().filter(|file| file.path.starts_with("tests/"));
    of_tests
        .flat_map(|file| pages::excerpts(&file.text).map(move |(line, name)| (file, line, name)))
        .filter(|(file, _, name)| !shown.contains(&Kind::From(file.path.clone(), (*name).to_owned())))
        .map(|(file, line, name)| format!("{}:{line}: no page shows {name:?}", file.path))
        .collect()
}

/// Pages that do not name the version that the tests drive, and pages that the index does not name.
pub fn versions_not_named(sources: &Sources) -> Vec<String> {
    let page = |name: &str| sources.all().find(|file| file.path.strip_prefix(DIRECTORY) == Some(name));
    let mut findings = Vec::new();
    for (name, tools) in VERSIONS {
        match page(name) {
            None => findings.push(format!("there is no {DIRECTORY}{name}")),
            Some(page) => findings.extend(
                tools
                    .iter()
                    .filter(|tool| !tool.version().is_some_and(|version| page.text.contains(version)))
                    .map(|tool| format!("{} does not name the version of {} that the tests drive", page.path, tool.name)),
            ),
        }
    }
    let index = sources.all().find(|file| file.path == INDEX).map_or("", |file| file.text.as_str());
    let missing = pages(sources)
        .filter_map(|page| page.path.strip_prefix(DIRECTORY))
        .filter(|name| *name != "README.md" && !index.contains(&format!("({name})")));
    findings.extend(missing.map(|name| format!("{INDEX} does not name {name}")));
    findings
}

fn pages(sources: &Sources) -> impl Iterator<Item = &SourceFile> {
    sources.all().filter(|file| file.path.starts_with(DIRECTORY) && file.is("md"))
}

#[cfg(test)]
mod tests;
