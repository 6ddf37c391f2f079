//! rclone: `sync`, `check --download` and its other ways of moving files, with the defaults of its provider `Other`.

use std::fs::File;
use std::path::PathBuf;
use std::process::Command;

use anyhow::ensure;

use super::service::Keys;
use super::tree::{self, MEDIUM, Random};
use super::{Suite, with_each_scheme};
use crate::process::Streams;
use crate::provision::RCLONE;
use crate::steps::{Context, Counts};

/// Runs every scenario.
pub fn run(context: &mut Context<'_>) -> anyhow::Result<Counts> {
    with_each_scheme(context, scenarios)
}

/// The program, set up as `rclone config` would.
struct Rclone {
    program: PathBuf,
}

impl Rclone {
    fn command(&self, suite: &Suite<'_, '_>, arguments: &[&str]) -> Command {
        let mut command = suite.command(&self.program);
        command
            .args(arguments)
            .env("RCLONE_CONFIG", suite.scratch.join("home").join("rclone.conf"))
            .env("RCLONE_CONFIG_CAIRN_TYPE", "s3")
            .env("RCLONE_CONFIG_CAIRN_PROVIDER", "Other")
            .env("RCLONE_CONFIG_CAIRN_ENDPOINT", suite.service.endpoint())
            .env("RCLONE_CONFIG_CAIRN_ACCESS_KEY_ID", Keys::ACCESS_KEY_ID)
            .env("RCLONE_CONFIG_CAIRN_SECRET_ACCESS_KEY", Keys::SECRET_ACCESS_KEY);
        if let Some(authority) = suite.service.certificate_authority() {
            command.env("RCLONE_CA_CERT", authority);
        }
        command
    }

    fn run(&self, suite: &mut Suite<'_, '_>, arguments: &[&str]) -> anyhow::Result<String> {
        let mut command = self.command(suite, arguments);
        suite.output(&mut command)
    }

    /// What a sync would do, one line a file.
    fn differences(&self, suite: &mut Suite<'_, '_>, from: &str, to: &str) -> anyhow::Result<String> {
        self.run(suite, &["sync", "--dry-run", "--combined", "-", from, to])
            .map(|lines| lines.lines().filter(|line| !line.starts_with("= ")).collect::<Vec<_>>().join("\n"))
    }
}

fn scenarios(suite: &mut Suite<'_, '_>) -> anyhow::Result<()> {
    let rclone = Rclone { program: RCLONE.program(&suite.context.workspace.tools()) };
    let up = suite.directory("up")?;
    let down = suite.directory("down")?;
    let (up_text, down_text) = (up.to_string_lossy().into_owned(), down.to_string_lossy().into_owned());
    tree::write(&up, suite.size, 2)?;
    let file_count = tree::files(&up)?.len();

    suite.check("makes a bucket", |suite| rclone.run(suite, &["mkdir", "cairn:second"]).map(drop))?;
    suite.check("syncs a tree up", |suite| rclone.run(suite, &["sync", &up_text, "cairn:second/tree"]).map(drop))?;
    suite.check("finds every byte again by downloading", |suite| {
        rclone.run(suite, &["check", "--download", &up_text, "cairn:second/tree"]).map(drop)
    })?;
    suite.check("finds every checksum right", |suite| rclone.run(suite, &["check", &up_text, "cairn:second/tree"]).map(drop))?;
    suite.check("has nothing to do the second time", |suite| {
        let differences = rclone.differences(suite, &up_text, "cairn:second/tree")?;
        ensure!(differences.is_empty(), "it would do {differences}");
        Ok(())
    })?;
    suite.check("syncs the tree down, byte for byte", |suite| {
        rclone.run(suite, &["sync", "cairn:second/tree", &down_text])?;
        tree::same(&up, &down)
    })?;
    std::fs::remove_dir_all(&down)?;
    suite.check("syncs what changed and what is gone, and no more", |suite| {
        tree::write_file(&up.join("odd/a b"), 4321, &mut Random(8))?;
        std::fs::remove_file(up.join("odd/plus+sign"))?;
        let differences = rclone.differences(suite, &up_text, "cairn:second/tree")?;
        let mut lines: Vec<&str> = differences.lines().collect();
        lines.sort_unstable();
        ensure!(lines == ["* odd/a b", "- odd/plus+sign"], "it would do {lines:?}");
        rclone.run(suite, &["sync", &up_text, "cairn:second/tree"])?;
        rclone.run(suite, &["check", "--download", &up_text, "cairn:second/tree"]).map(drop)
    })?;
    suite.check("lists every file", |suite| {
        let listed = rclone.run(suite, &["lsf", "--recursive", "--files-only", "cairn:second/tree"])?;
        // A name may hold no line break, so lines are files.
        ensure!(listed.lines().count() == file_count - 1, "{} lines for {} files", listed.lines().count(), file_count - 1);
        Ok(())
    })?;
    pieces(suite, &rclone, &up.join(MEDIUM))?;
    suite.check("moves a tree within the service", |suite| {
        rclone.run(suite, &["moveto", "cairn:second/tree/odd", "cairn:second/moved odd"])?;
        rclone.run(suite, &["check", "--download", &up.join("odd").to_string_lossy(), "cairn:second/moved odd"])?;
        let left = rclone.run(suite, &["lsf", "--recursive", "--files-only", "cairn:second/tree/odd"]).unwrap_or_default();
        ensure!(left.is_empty(), "files are left where they were: {left}");
        Ok(())
    })?;
    suite.check("purges the bucket", |suite| {
        rclone.run(suite, &["purge", "cairn:second"])?;
        let buckets = rclone.run(suite, &["lsd", "cairn:"])?;
        ensure!(!buckets.contains("second"), "the bucket is still there");
        Ok(())
    })
}

/// One large file in parts and by pipe.
fn pieces(suite: &mut Suite<'_, '_>, rclone: &Rclone, medium: &std::path::Path) -> anyhow::Result<()> {
    let medium_text = medium.to_string_lossy().into_owned();
    suite.check("copies a large file in parts", |suite| {
        let parts = ["--s3-upload-cutoff", "5Mi", "--s3-chunk-size", "5Mi"];
        rclone.run(suite, &[&["copyto", &medium_text, "cairn:second/in parts"][..], &parts[..]].concat())?;
        let back = suite.scratch.join("back");
        rclone.run(suite, &["copyto", "cairn:second/in parts", &back.to_string_lossy()])?;
        ensure!(tree::same_bytes(medium, &back)?, "other bytes came back");
        Ok(())
    })?;
    suite.check("copies in parts within the service", |suite| {
        rclone.run(suite, &["copyto", "--s3-copy-cutoff", "6Mi", "cairn:second/in parts", "cairn:second/copied"])?;
        let back = suite.scratch.join("back");
        rclone.run(suite, &["copyto", "cairn:second/copied", &back.to_string_lossy()])?;
        ensure!(tree::same_bytes(medium, &back)?, "other bytes came back");
        Ok(())
    })?;
    suite.check("stores from a pipe and reads to one", |suite| {
        let mut store = rclone.command(suite, &["rcat", "cairn:second/piped"]);
        let streams = Streams { input: Some(File::open(medium)?), ..Streams::to_log(&suite.context.log)? };
        suite.stream(&mut store, streams)?;
        let back = suite.scratch.join("back");
        let mut load = rclone.command(suite, &["cat", "cairn:second/piped"]);
        let streams = Streams { output: File::create(&back)?, ..Streams::to_log(&suite.context.log)? };
        suite.stream(&mut load, streams)?;
        ensure!(tree::same_bytes(medium, &back)?, "other bytes came back");
        Ok(())
    })
}
