//! restic: `init`, `backup`, `check --read-data`, `restore` and `forget --prune`, of a tree of files and of a PostgreSQL dump.

use std::fs::File;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, ensure};

use super::service::Keys;
use super::tree::{self, Random};
use super::{Suite, postgresql, with_each_scheme};
use crate::process::Streams;
use crate::provision::RESTIC;
use crate::steps::{Context, Counts};

/// Runs every scenario.
pub fn run(context: &mut Context<'_>) -> anyhow::Result<Counts> {
    with_each_scheme(context, scenarios)
}

/// The program and its repository.
struct Restic {
    program: PathBuf,
}

impl Restic {
    fn command(&self, suite: &Suite<'_, '_>, arguments: &[&str]) -> Command {
        let mut command = suite.command(&self.program);
        command
            .args(arguments)
            .env("RESTIC_REPOSITORY", format!("s3:{}/backups/host one", suite.service.endpoint()))
            .env("RESTIC_PASSWORD", "a password for a test")
            .env("AWS_ACCESS_KEY_ID", Keys::ACCESS_KEY_ID)
            .env("AWS_SECRET_ACCESS_KEY", Keys::SECRET_ACCESS_KEY);
        if let Some(authority) = suite.service.certificate_authority() {
            command.env("RESTIC_CACERT", authority);
        }
        command
    }

    fn run(&self, suite: &mut Suite<'_, '_>, arguments: &[&str]) -> anyhow::Result<String> {
        let mut command = self.command(suite, arguments);
        suite.output(&mut command)
    }

    /// The summary of a backup.
    fn backup(&self, suite: &mut Suite<'_, '_>, path: &str) -> anyhow::Result<serde_json::Value> {
        let lines = self.run(suite, &["backup", "--json", "--quiet", path])?;
        let summary = lines.lines().find(|line| line.contains("\"summary\"")).context("the backup gave no summary")?;
        Ok(serde_json::from_str(summary)?)
    }
}

fn scenarios(suite: &mut Suite<'_, '_>) -> anyhow::Result<()> {
    let restic = Restic { program: RESTIC.program(&suite.context.workspace.tools()) };
    let up = suite.directory("up")?;
    let up_text = up.to_string_lossy().into_owned();
    tree::write(&up, suite.size, 3)?;
    let file_count = tree::files(&up)?.len();
    let number = |summary: &serde_json::Value, name: &str| summary.get(name).and_then(serde_json::Value::as_u64);

    // restic makes the bucket as well.
    suite.check("makes a repository", |suite| restic.run(suite, &["init"]).map(drop))?;
    suite.check("backs up a tree", |suite| {
        let summary = restic.backup(suite, &up_text)?;
        ensure!(number(&summary, "files_new") == Some(file_count as u64), "{summary} for {file_count} files");
        Ok(())
    })?;
    suite.check("backs up only what changed", |suite| {
        tree::write_file(&up.join("odd/a b"), 5432, &mut Random(9))?;
        let summary = restic.backup(suite, &up_text)?;
        ensure!((number(&summary, "files_new"), number(&summary, "files_changed")) == (Some(0), Some(1)), "{summary}");
        Ok(())
    })?;
    suite.check("finds every byte of the repository sound", |suite| restic.run(suite, &["check", "--read-data"]).map(drop))?;
    suite.check("restores the tree, byte for byte", |suite| {
        let down = suite.directory("down")?;
        restic.run(suite, &["restore", &format!("latest:{up_text}"), "--target", &down.to_string_lossy(), "--verify"])?;
        tree::same(&up, &down)?;
        // At full size the disk is to hold no more than it must.
        std::fs::remove_dir_all(&down).context("what was restored cannot be removed")
    })?;
    suite.check("backs up and restores a PostgreSQL dump, byte for byte", |suite| {
        let dump = suite.scratch.join("dump.sql");
        let rows = if suite.context.long { 5_000_000 } else { 100_000 };
        postgresql::dump(suite, rows, &dump)?;
        let mut store = restic.command(suite, &["backup", "--stdin", "--stdin-filename", "dump.sql", "--quiet"]);
        let streams = Streams { input: Some(File::open(&dump)?), ..Streams::to_log(&suite.context.log)? };
        suite.stream(&mut store, streams)?;
        let back = suite.scratch.join("back.sql");
        let mut load = restic.command(suite, &["dump", "latest", "/dump.sql"]);
        let streams = Streams { output: File::create(&back)?, ..Streams::to_log(&suite.context.log)? };
        suite.stream(&mut load, streams)?;
        ensure!(tree::same_bytes(&dump, &back)?, "other bytes came back");
        Ok(())
    })?;
    suite.check("forgets, prunes, and is sound afterwards", |suite| {
        restic.run(suite, &["forget", "--keep-last", "1", "--prune"])?;
        restic.run(suite, &["check", "--read-data"])?;
        let snapshots: serde_json::Value = serde_json::from_str(&restic.run(suite, &["snapshots", "--json"])?)?;
        // One of the tree, one of the dump.
        ensure!(snapshots.as_array().is_some_and(|all| all.len() == 2), "{snapshots}");
        Ok(())
    })?;
    suite.check("leaves no lock behind", |suite| {
        let locks = restic.run(suite, &["list", "locks"])?;
        ensure!(locks.trim().is_empty(), "locks: {locks}");
        Ok(())
    })
}
