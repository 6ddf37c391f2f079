//! mc, MinIO's client: the lines of `docs/tools/mc.md`, among them `mirror` both ways, `diff`, versions and `share`.

use anyhow::{Context as _, ensure};

use super::page::Page;
use super::tree::{self, MEDIUM, Random};
use super::{Suite, plain, with_each_scheme};
use crate::provision::MC;
use crate::steps::{Context, Counts};

/// Runs every scenario.
pub fn run(context: &mut Context<'_>) -> anyhow::Result<Counts> {
    with_each_scheme(context, scenarios)
}

fn scenarios(suite: &mut Suite<'_, '_>) -> anyhow::Result<()> {
    let page = Page::open(suite, "mc.md", &MC.program(&suite.context.workspace.tools()))?;
    let photos = suite.directory("photos")?;
    tree::write(&photos, suite.size, 4)?;
    let file_count = tree::files(&photos)?.len();
    std::fs::hard_link(photos.join(MEDIUM), suite.scratch.join("film.mp4"))?;

    suite.check("is set up", |suite| {
        page.run_for_scheme(suite, "trust")?;
        page.run(suite, "alias").map(drop)
    })?;
    suite.check("makes a bucket", |suite| page.run(suite, "make").map(drop))?;
    files(suite, &page)?;
    suite.check("mirrors a tree up", |suite| page.run(suite, "mirror up").map(drop))?;
    suite.check("finds no difference", |suite| nothing(&page.run(suite, "diff")?))?;
    suite.check("lists every file, and the folders", |suite| {
        let listed = page.run(suite, "list")?;
        ensure!(listed.lines().count() == file_count, "{} lines for {file_count} files", listed.lines().count());
        let total: u64 = tree::files(&photos)?.values().sum();
        let used = page.run(suite, "usage")?;
        ensure!(used.contains(&format!("\"size\":{total},\"objects\":{file_count}")), "it counts {}", used.trim());
        Ok(())
    })?;
    suite.check("finds files by name and size", |suite| {
        let found = page.run(suite, "find")?;
        let expected = tree::files(&photos)?
            .iter()
            .filter(|(path, length)| path.extension().is_some_and(|extension| extension == "dat") && **length > 50 * 1024)
            .count();
        ensure!(expected > 0 && found.lines().count() == expected, "{} lines for {expected} files", found.lines().count());
        Ok(())
    })?;
    suite.check("mirrors the tree down, byte for byte", |suite| {
        page.run(suite, "mirror down")?;
        tree::same(&photos, &suite.scratch.join("restored"))
    })?;
    suite.check("mirrors what changed and what is gone, and no more", |suite| {
        tree::write_file(&photos.join("odd/a b"), 1234, &mut Random(7))?;
        std::fs::remove_file(photos.join("odd/plus+sign"))?;
        let differing = page.run(suite, "diff")?;
        ensure!(differing.lines().count() == 2, "it sees {differing:?}");
        let done = page.run(suite, "mirror changes")?;
        // It tells a removal as a copy of nothing.
        let mut moved: Vec<&str> = done.lines().filter(|line| line.starts_with('`')).collect();
        moved.sort_unstable();
        ensure!(
            moved.len() == 2
                && moved.iter().any(|line| line.ends_with("photos/odd/a b` -> `cairn/archive/photos/odd/a b`"))
                && moved.contains(&"`` -> `cairn/archive/photos/odd/plus+sign`"),
            "it did {moved:?}"
        );
        nothing(&page.run(suite, "diff")?)?;
        page.run(suite, "mirror down again")?;
        tree::same(&photos, &suite.scratch.join("restored"))
    })?;
    std::fs::remove_dir_all(suite.scratch.join("restored"))?;
    versions(suite, &page)?;
    suite.check("removes everything, and the bucket", |suite| {
        let mut refused = page.shell(suite, "mc rb cairn/archive");
        suite.fails_with(&mut refused, "not empty")?;
        page.run(suite, "remove")?;
        let mut missing = page.shell(suite, "mc ls cairn/archive");
        suite.fails_with(&mut missing, "does not exist")
    })?;
    suite.check("every line of its page was run", |_| page.was_run())
}

/// One large file: up, down, by pipe, and what is said of it.
fn files(suite: &mut Suite<'_, '_>, page: &Page) -> anyhow::Result<()> {
    let film = suite.scratch.join("film.mp4");
    suite.check("copies a large file up and down", |suite| {
        page.run(suite, "copy")?;
        let back = suite.scratch.join("back.mp4");
        ensure!(tree::same_bytes(&film, &back)?, "other bytes came back");
        Ok(std::fs::remove_file(back)?)
    })?;
    suite.check("stores from a pipe and reads to one", |suite| {
        page.run(suite, "pipe")?;
        let back = suite.scratch.join("piped.mp4");
        ensure!(tree::same_bytes(&film, &back)?, "other bytes came back");
        Ok(std::fs::remove_file(back)?)
    })?;
    suite.check("says what is stored", |suite| {
        let said = page.run(suite, "stat")?;
        let length = format!("\"size\":{}", suite.size.medium_bytes);
        for expected in [length.as_str(), "\"Content-Type\":\"video/mp4\"", "\"X-Amz-Meta-Of\":\"test\""] {
            ensure!(said.contains(expected), "it says nothing of {expected}: {said}");
        }
        Ok(())
    })?;
    suite.check("shares a file with whoever has the URL", |suite| {
        let said = page.run(suite, "share")?;
        let url = said.lines().find_map(|line| line.strip_prefix("Share: ")).context("it gave no URL")?;
        let (status, fetched) = plain::fetch(suite, url)?;
        ensure!(status == "200" && tree::same_bytes(&film, &fetched)?, "status {status}, or other bytes");
        let (forged, _) = plain::fetch(suite, &url.replace("/film.mp4?", "/piped.mp4?"))?;
        ensure!(forged == "403", "another object: status {forged}");
        Ok(())
    })
}

/// A bucket that keeps versions.
fn versions(suite: &mut Suite<'_, '_>, page: &Page) -> anyhow::Result<()> {
    suite.check("keeps versions", |suite| {
        let enabled = page.run(suite, "versions on")?;
        ensure!(enabled.contains("versioning is enabled"), "it says {enabled:?}");
        page.run(suite, "two versions")?;
        let listed = page.run(suite, "list versions")?;
        let of_kind = |kind: &str| listed.lines().filter(|line| line.contains(kind)).count();
        ensure!((of_kind("PUT"), of_kind("DEL")) == (2, 1), "it lists {listed}");
        Ok(())
    })?;
    suite.check("reads an old version, and brings it back", |suite| {
        let listed = page.run(suite, "list versions")?;
        let oldest = listed.lines().rfind(|line| line.contains("PUT")).context("no version")?;
        let id = oldest.split(' ').rfind(|word| word.len() > 20).context("no version id")?;
        let mut load = page.shell(suite, &format!("mc cat --version-id {id} cairn/archive/note"));
        let old = suite.output(&mut load)?;
        ensure!(old == "first\n", "the first version is {old:?}");
        let mut deleted = page.shell(suite, "mc cat cairn/archive/note");
        suite.fails_with(&mut deleted, "does not exist")?;
        let back = page.run(suite, "undo")?;
        ensure!(back.ends_with("second\n"), "it is {back:?}");
        Ok(())
    })?;
    suite.check("removes every version", |suite| {
        page.run(suite, "remove versions")?;
        nothing(&page.run(suite, "list versions")?)
    })
}

/// Nothing was said.
fn nothing(said: &str) -> anyhow::Result<()> {
    ensure!(said.trim().is_empty(), "it says {said:?}");
    Ok(())
}
