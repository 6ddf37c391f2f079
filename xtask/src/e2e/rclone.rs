//! rclone: the lines of `docs/tools/rclone.md`, among them `sync` and `check --download`, with the defaults of its provider `Other`.

use std::path::Path;

use anyhow::ensure;

use super::page::Page;
use super::tree::{self, MEDIUM, Random};
use super::{Suite, with_each_scheme};
use crate::provision::RCLONE;
use crate::steps::{Context, Counts};

/// Runs every scenario.
pub fn run(context: &mut Context<'_>) -> anyhow::Result<Counts> {
    with_each_scheme(context, scenarios)
}

/// What a sync would do, one line a file.
fn differences(suite: &mut Suite<'_, '_>, page: &Page) -> anyhow::Result<Vec<String>> {
    let said = page.run(suite, "differences")?;
    let mut lines: Vec<String> = said.lines().filter(|line| !line.starts_with("= ")).map(str::to_owned).collect();
    lines.sort_unstable();
    Ok(lines)
}

fn scenarios(suite: &mut Suite<'_, '_>) -> anyhow::Result<()> {
    let page = Page::open(suite, "rclone.md", &RCLONE.program(&suite.context.workspace.tools()))?;
    let photos = suite.directory("photos")?;
    let restored = suite.scratch.join("restored");
    tree::write(&photos, suite.size, 2)?;
    let file_count = tree::files(&photos)?.len();
    std::fs::hard_link(photos.join(MEDIUM), suite.scratch.join("film.mp4"))?;

    suite.check("makes a bucket", |suite| page.run(suite, "make").map(drop))?;
    suite.check("syncs a tree up", |suite| page.run(suite, "sync up").map(drop))?;
    suite.check("finds every byte again by downloading", |suite| page.run(suite, "check every byte").map(drop))?;
    suite.check("finds every checksum right", |suite| page.run(suite, "check").map(drop))?;
    suite.check("has nothing to do the second time", |suite| {
        let differences = differences(suite, &page)?;
        ensure!(differences.is_empty(), "it would do {differences:?}");
        Ok(())
    })?;
    suite.check("syncs the tree down, byte for byte", |suite| {
        page.run(suite, "sync down")?;
        tree::same(&photos, &restored)
    })?;
    std::fs::remove_dir_all(&restored)?;
    suite.check("syncs what changed and what is gone, and no more", |suite| {
        tree::write_file(&photos.join("odd/a b"), 4321, &mut Random(8))?;
        std::fs::remove_file(photos.join("odd/plus+sign"))?;
        let differences = differences(suite, &page)?;
        ensure!(differences == ["* odd/a b", "- odd/plus+sign"], "it would do {differences:?}");
        page.run(suite, "sync up")?;
        page.run(suite, "check every byte").map(drop)
    })?;
    suite.check("lists every file", |suite| {
        let listed = page.run(suite, "list")?;
        // A name may hold no line break, so lines are files.
        ensure!(listed.lines().count() == file_count - 1, "{} lines for {} files", listed.lines().count(), file_count - 1);
        Ok(())
    })?;
    pieces(suite, &page)?;
    suite.check("moves a tree within the service", |suite| {
        page.run(suite, "move")?;
        let mut check = page.shell(suite, "rclone check --download photos/odd 'cairn:second/moved odd'");
        suite.output(&mut check)?;
        let mut left = page.shell(suite, "rclone lsf --recursive --files-only cairn:second/photos/odd");
        let left = suite.output(&mut left).unwrap_or_default();
        ensure!(left.is_empty(), "files are left where they were: {left}");
        Ok(())
    })?;
    suite.check("purges the bucket", |suite| {
        page.run(suite, "remove")?;
        let mut list = page.shell(suite, "rclone lsd cairn:");
        let buckets = suite.output(&mut list)?;
        ensure!(!buckets.contains("second"), "the bucket is still there");
        Ok(())
    })?;
    suite.check("every line of its page was run", |_| page.was_run())
}

/// One large file in parts and by pipe.
fn pieces(suite: &mut Suite<'_, '_>, page: &Page) -> anyhow::Result<()> {
    let film = suite.scratch.join("film.mp4");
    let came_back = |back: &Path| -> anyhow::Result<()> {
        ensure!(tree::same_bytes(&film, back)?, "{} has other bytes", back.display());
        Ok(std::fs::remove_file(back)?)
    };
    suite.check("copies a large file in parts", |suite| {
        page.run(suite, "in parts")?;
        came_back(&suite.scratch.join("back.mp4"))
    })?;
    suite.check("copies in parts within the service", |suite| {
        page.run(suite, "copy within")?;
        came_back(&suite.scratch.join("copied.mp4"))
    })?;
    suite.check("stores from a pipe and reads to one", |suite| {
        page.run(suite, "pipe")?;
        came_back(&suite.scratch.join("piped.mp4"))
    })
}
