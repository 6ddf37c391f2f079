//! restic: the lines of `docs/tools/restic.md` (`init`, `backup`, `check --read-data`, `restore`, `forget --prune`), of a tree of files and
//! of a PostgreSQL dump.

use anyhow::{Context as _, ensure};

use super::page::Page;
use super::tree::{self, Random};
use super::{Suite, postgresql, with_each_scheme};
use crate::provision::RESTIC;
use crate::steps::{Context, Counts};

/// Runs every scenario.
pub fn run(context: &mut Context<'_>) -> anyhow::Result<Counts> {
    with_each_scheme(context, scenarios)
}

/// Backs the tree up, and gives the summary.
fn backup(suite: &mut Suite<'_, '_>, page: &Page) -> anyhow::Result<serde_json::Value> {
    let lines = page.run(suite, "backup")?;
    let summary = lines.lines().find(|line| line.contains("\"summary\"")).context("the backup gave no summary")?;
    Ok(serde_json::from_str(summary)?)
}

fn scenarios(suite: &mut Suite<'_, '_>) -> anyhow::Result<()> {
    let page = Page::open(suite, "restic.md", &RESTIC.program(&suite.context.workspace.tools()))?;
    let photos = suite.directory("photos")?;
    tree::write(&photos, suite.size, 3)?;
    let file_count = tree::files(&photos)?.len();
    let number = |summary: &serde_json::Value, name: &str| summary.get(name).and_then(serde_json::Value::as_u64);

    // restic makes the bucket as well.
    suite.check("makes a repository", |suite| page.run(suite, "init").map(drop))?;
    suite.check("backs up a tree", |suite| {
        let summary = backup(suite, &page)?;
        ensure!(number(&summary, "files_new") == Some(file_count as u64), "{summary} for {file_count} files");
        Ok(())
    })?;
    suite.check("backs up only what changed", |suite| {
        tree::write_file(&photos.join("odd/a b"), 5432, &mut Random(9))?;
        let summary = backup(suite, &page)?;
        ensure!((number(&summary, "files_new"), number(&summary, "files_changed")) == (Some(0), Some(1)), "{summary}");
        Ok(())
    })?;
    suite.check("finds every byte of the repository sound", |suite| page.run(suite, "check").map(drop))?;
    suite.check("restores the tree, byte for byte", |suite| {
        page.run(suite, "restore")?;
        let restored = suite.scratch.join("restored");
        tree::same(&photos, &restored)?;
        // At full size the disk is to hold no more than it must.
        std::fs::remove_dir_all(&restored).context("what was restored cannot be removed")
    })?;
    suite.check("backs up and restores a PostgreSQL dump, byte for byte", |suite| {
        let dump = suite.scratch.join("dump.sql");
        let rows = if suite.context.long { 5_000_000 } else { 100_000 };
        postgresql::dump(suite, rows, &dump)?;
        page.run(suite, "backup of a dump")?;
        page.run(suite, "restore of a dump")?;
        ensure!(tree::same_bytes(&dump, &suite.scratch.join("back.sql"))?, "other bytes came back");
        Ok(())
    })?;
    suite.check("forgets, prunes, and is sound afterwards", |suite| {
        page.run(suite, "forget")?;
        page.run(suite, "check")?;
        let snapshots: serde_json::Value = serde_json::from_str(&page.run(suite, "snapshots")?)?;
        // One of the tree, one of the dump.
        ensure!(snapshots.as_array().is_some_and(|all| all.len() == 2), "{snapshots}");
        Ok(())
    })?;
    suite.check("leaves no lock behind", |suite| {
        let locks = page.run(suite, "locks")?;
        ensure!(locks.trim().is_empty(), "locks: {locks}");
        Ok(())
    })?;
    suite.check("every line of its page was run", |_| page.was_run())
}
