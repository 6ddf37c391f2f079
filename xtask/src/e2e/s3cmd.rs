//! s3cmd: the lines of `docs/tools/s3cmd.md`, among them `sync` both ways, `put` in parts and `signurl`.

use anyhow::ensure;

use super::page::Page;
use super::tree::{self, MEDIUM, Random};
use super::{Size, Suite, plain, with_each_scheme};
use crate::provision::S3CMD;
use crate::steps::{Context, Counts};

/// Runs every scenario.
pub fn run(context: &mut Context<'_>) -> anyhow::Result<Counts> {
    with_each_scheme(context, scenarios)
}

fn scenarios(suite: &mut Suite<'_, '_>) -> anyhow::Result<()> {
    let page = Page::open(suite, "s3cmd.md", &S3CMD.program(&suite.context.workspace.tools()))?;
    let photos = suite.directory("photos")?;
    // It moves one file after the other, so that what the other tools move would take a minute.
    let file_number = if suite.context.long { suite.size.files } else { suite.size.files.min(500) };
    tree::write(&photos, Size { files: file_number, ..suite.size }, 5)?;
    // It stores a control character as a question mark, and says so.
    std::fs::remove_file(photos.join("odd/tab\there"))?;
    std::fs::remove_dir_all(photos.join("odd directories/tab\there d"))?;
    let file_count = tree::files(&photos)?.len();
    std::fs::hard_link(photos.join(MEDIUM), suite.scratch.join("film.mp4"))?;

    suite.check("makes a bucket", |suite| page.run(suite, "make").map(drop))?;
    files(suite, &page)?;
    suite.check("syncs a tree up", |suite| {
        let done = page.run(suite, "sync up")?;
        ensure!(lines(&done, "upload: ") == file_count, "{} uploads for {file_count} files", lines(&done, "upload: "));
        Ok(())
    })?;
    suite.check("has nothing to do the second time", |suite| nothing(&page.run(suite, "sync up")?))?;
    suite.check("lists every file, and the folders", |suite| {
        let listed = page.run(suite, "list all")?;
        ensure!(listed.lines().count() == file_count, "{} lines for {file_count} files", listed.lines().count());
        let top = page.run(suite, "list")?;
        let folders: Vec<&str> =
            top.lines().filter_map(|line| line.split_once("DIR  s3://archive/photos/").map(|(_, folder)| folder)).collect();
        ensure!(
            folders == ["big/", "decomposed/", "deep/", "long/", "odd directories/", "odd/", "prefixes/", "small/"],
            "the folders are {folders:?}"
        );
        let used = page.run(suite, "usage")?;
        let total: u64 = tree::files(&photos)?.values().sum();
        let used: Vec<&str> = used.split_whitespace().take(2).collect();
        ensure!(used == [total.to_string(), file_count.to_string()], "it counts {used:?}");
        Ok(())
    })?;
    suite.check("syncs the tree down, byte for byte", |suite| {
        page.run(suite, "sync down")?;
        tree::same(&photos, &suite.scratch.join("restored"))
    })?;
    suite.check("has nothing to do that way either", |suite| nothing(&page.run(suite, "sync down")?))?;
    suite.check("syncs what changed and what is gone, and no more", |suite| {
        tree::write_file(&photos.join("odd/a b"), 1234, &mut Random(7))?;
        std::fs::remove_file(photos.join("odd/plus+sign"))?;
        let done = page.run(suite, "sync changes")?;
        ensure!((lines(&done, "upload: "), lines(&done, "delete: ")) == (1, 1), "it did {done}");
        page.run(suite, "sync changes down")?;
        tree::same(&photos, &suite.scratch.join("restored"))
    })?;
    std::fs::remove_dir_all(suite.scratch.join("restored"))?;
    suite.check("removes everything, and the bucket", |suite| {
        let mut refused = page.shell(suite, "s3cmd rb s3://archive");
        suite.fails_with(&mut refused, "BucketNotEmpty")?;
        page.run(suite, "remove")?;
        let mut missing = page.shell(suite, "s3cmd ls s3://archive");
        suite.fails_with(&mut missing, "NoSuchBucket")
    })?;
    suite.check("every line of its page was run", |_| page.was_run())
}

/// One large file: in parts, copied and moved within the service, described, shared.
fn files(suite: &mut Suite<'_, '_>, page: &Page) -> anyhow::Result<()> {
    let film = suite.scratch.join("film.mp4");
    let length = suite.size.medium_bytes;
    suite.check("stores a large file in parts, and gets it back", |suite| {
        page.run(suite, "put")?;
        let back = suite.scratch.join("back.mp4");
        ensure!(tree::same_bytes(&film, &back)?, "other bytes came back");
        std::fs::remove_file(back)?;
        let said = page.run(suite, "info")?;
        let words: Vec<&str> = said.split_whitespace().collect();
        let says = |expected: &[&str]| words.windows(expected.len()).any(|window| window == expected);
        ensure!(says(&["File", "size:", &length.to_string()]) && says(&["MIME", "type:", "video/mp4"]), "it says {said}");
        // 15 MiB a part is its default.
        let parts = length.div_ceil(15 * 1024 * 1024);
        let mut uploaded = page.shell(suite, "s3cmd --debug info s3://archive/film.mp4 2>&1 | grep -i etag");
        let uploaded = suite.output(&mut uploaded)?;
        ensure!(uploaded.contains(&format!("-{parts}\"")), "it is not of {parts} parts: {uploaded}");
        Ok(())
    })?;
    suite.check("copies and moves within the service", |suite| {
        page.run(suite, "copy and move")?;
        let mut get = page.shell(suite, "s3cmd get s3://archive/moved.mp4 moved.mp4");
        suite.output(&mut get)?;
        let back = suite.scratch.join("moved.mp4");
        ensure!(tree::same_bytes(&film, &back)?, "other bytes came back");
        std::fs::remove_file(back)?;
        let mut left = page.shell(suite, "s3cmd ls s3://archive/copied.mp4");
        nothing(&suite.output(&mut left)?)
    })?;
    suite.check("signs a URL for a while", |suite| {
        let url = page.run(suite, &format!("share over {}", suite.service.scheme()))?;
        let url = url.trim();
        let (status, fetched) = plain::fetch(suite, url)?;
        ensure!(status == "200" && tree::same_bytes(&film, &fetched)?, "status {status}, or other bytes");
        let (forged, _) = plain::fetch(suite, &url.replace("/film.mp4?", "/moved.mp4?"))?;
        ensure!(forged == "403", "another object: status {forged}");
        Ok(())
    })?;
    suite.check("removes a file", |suite| {
        page.run(suite, "delete")?;
        let mut missing = page.shell(suite, "s3cmd info s3://archive/moved.mp4");
        suite.fails_with(&mut missing, "404")
    })
}

/// How many lines begin like this.
fn lines(said: &str, start: &str) -> usize {
    said.lines().filter(|line| line.starts_with(start)).count()
}

/// No file was moved or removed.
fn nothing(said: &str) -> anyhow::Result<()> {
    ensure!(!said.contains(": "), "it did {said:?}");
    Ok(())
}
