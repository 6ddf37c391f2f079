//! The AWS command line, versions 1 and 2: the lines of `docs/tools/aws-cli.md`, among them `sync`, `cp`, `mv`, `presign`, `ls`, `rm`.

use std::path::Path;

use anyhow::ensure;

use super::page::Page;
use super::plain;
use super::tree::{self, MEDIUM, Random};
use super::{Suite, with_each_scheme};
use crate::provision::{AWS_CLI_1, AWS_CLI_2, Tool};
use crate::steps::{Context, Counts};

/// Version 1.
pub fn first(context: &mut Context<'_>) -> anyhow::Result<Counts> {
    with_each_scheme(context, |suite| scenarios(suite, &AWS_CLI_1))
}

/// Version 2.
pub fn second(context: &mut Context<'_>) -> anyhow::Result<Counts> {
    with_each_scheme(context, |suite| scenarios(suite, &AWS_CLI_2))
}

/// How every command begins.
const AWS: &str = "aws --endpoint-url \"$ENDPOINT\"";

fn scenarios(suite: &mut Suite<'_, '_>, tool: &Tool) -> anyhow::Result<()> {
    let page = Page::open(suite, "aws-cli.md", &tool.program(&suite.context.workspace.tools()))?;
    let photos = suite.directory("photos")?;
    let restored = suite.scratch.join("restored");
    tree::write(&photos, suite.size, 1)?;
    let file_count = tree::files(&photos)?.len();
    std::fs::hard_link(photos.join(MEDIUM), suite.scratch.join("film.mp4"))?;

    suite.check("makes a bucket", |suite| page.run(suite, "make").map(drop))?;
    suite.check("syncs a tree up", |suite| {
        let done = page.run(suite, "sync up")?;
        ensure!(done.lines().count() >= file_count, "{} lines for {file_count} files", done.lines().count());
        Ok(())
    })?;
    suite.check("has nothing to do the second time", |suite| nothing(&page.run(suite, "sync up")?))?;
    suite.check("syncs the tree down, byte for byte", |suite| {
        page.run(suite, "sync down")?;
        tree::same(&photos, &restored)
    })?;
    suite.check("has nothing to do that way either", |suite| nothing(&page.run(suite, "sync down")?))?;
    suite.check("syncs what changed and what is gone, and no more", |suite| {
        tree::write_file(&photos.join("odd/a b"), 1234, &mut Random(7))?;
        std::fs::remove_file(photos.join("odd/plus+sign"))?;
        let done = page.run(suite, "sync changes")?;
        let mut done: Vec<&str> = done.lines().collect();
        done.sort_unstable();
        ensure!(
            done.len() == 2
                && done.contains(&"delete: s3://first/photos/odd/plus+sign")
                && done.iter().any(|line| line.starts_with("upload: ")),
            "it did {done:?}"
        );
        page.run(suite, "sync changes down")?;
        tree::same(&photos, &restored)
    })?;
    std::fs::remove_dir_all(&restored)?;
    suite.check("lists every file", |suite| {
        let listed = page.run(suite, "list all")?;
        let expected = format!("Total Objects: {}", file_count - 1);
        ensure!(listed.contains(&expected), "the listing does not say {expected:?}");
        let top = page.run(suite, "list")?;
        let folders: Vec<&str> = top.lines().filter_map(|line| line.trim().strip_prefix("PRE ")).collect();
        ensure!(
            folders == ["big/", "decomposed/", "deep/", "long/", "odd directories/", "odd/", "prefixes/", "small/"],
            "the folders are {folders:?}"
        );
        Ok(())
    })?;
    files(suite, &page)?;
    presigned(suite, &page)?;
    suite.check("removes a tree, and the bucket when it is empty", |suite| {
        let mut refused = page.shell(suite, &format!("{AWS} s3 rb s3://first"));
        suite.fails_with(&mut refused, "BucketNotEmpty")?;
        page.run(suite, "remove")?;
        let mut missing = page.shell(suite, &format!("{AWS} s3 ls s3://first"));
        suite.fails_with(&mut missing, "NoSuchBucket")
    })?;
    suite.check("every line of its page was run", |_| page.was_run())
}

/// Single files: up, down, by pipe, copied and moved within the service.
fn files(suite: &mut Suite<'_, '_>, page: &Page) -> anyhow::Result<()> {
    let film = suite.scratch.join("film.mp4");
    let came_back = |back: &Path| -> anyhow::Result<()> {
        ensure!(tree::same_bytes(&film, back)?, "{} has other bytes", back.display());
        Ok(std::fs::remove_file(back)?)
    };
    suite.check("copies a large file up and down", |suite| {
        page.run(suite, "copy")?;
        came_back(&suite.scratch.join("back.mp4"))
    })?;
    suite.check("copies from and to a pipe", |suite| {
        page.run(suite, "pipe")?;
        came_back(&suite.scratch.join("piped.mp4"))
    })?;
    suite.check("copies and moves within the service", |suite| {
        page.run(suite, "copy and move")?;
        let mut get = page.shell(suite, &format!("{AWS} s3 cp --no-progress 's3://first/moved here' moved.mp4"));
        suite.output(&mut get)?;
        let mut left = page.shell(suite, &format!("{AWS} s3 ls s3://first/copied/here"));
        ensure!(suite.output(&mut left).is_err(), "what was moved is still there");
        came_back(&suite.scratch.join("moved.mp4"))
    })?;
    suite.check("keeps what is said of an object", |suite| {
        let said = page.run(suite, "describe")?;
        let expected = format!("video/mp4\tno-cache\ttest\tmore\t{}", suite.size.medium_bytes);
        ensure!(said.lines().last() == Some(expected.as_str()), "it says {:?}", said.lines().last());
        Ok(())
    })?;
    suite.check("says plainly what is not there", |suite| {
        let mut missing = page.shell(suite, &format!("{AWS} s3 cp s3://first/missing back.mp4"));
        suite.fails_with(&mut missing, "404")?;
        let mut missing = page.shell(suite, &format!("{AWS} s3 ls s3://no-such-bucket"));
        suite.fails_with(&mut missing, "NoSuchBucket")
    })
}

/// URLs that open an object to whoever has them.
fn presigned(suite: &mut Suite<'_, '_>, page: &Page) -> anyhow::Result<()> {
    suite.check("signs a URL that plain HTTP can fetch", |suite| {
        let url = page.run(suite, "share")?;
        let (status, fetched) = plain::fetch(suite, url.trim())?;
        ensure!(
            status == "200" && tree::same_bytes(&suite.scratch.join("film.mp4"), &fetched)?,
            "status {status}, or other bytes"
        );
        for name in ["odd/a b", "odd/100%", "odd/caf\u{e9}", "odd/amper&sand", "odd/hash#tag"] {
            let mut sign = page.shell(suite, &format!("{AWS} s3 presign 's3://first/photos/{name}'"));
            let url = suite.output(&mut sign)?;
            let (status, fetched) = plain::fetch(suite, url.trim())?;
            ensure!(status == "200", "{name}: status {status}");
            ensure!(tree::same_bytes(&suite.scratch.join("photos").join(name), &fetched)?, "{name}: other bytes");
        }
        Ok(())
    })?;
    suite.check("signs a URL for that object only, and for a while", |suite| {
        let mut sign = page.shell(suite, &format!("{AWS} s3 presign s3://first/piped --expires-in 1"));
        let url = suite.output(&mut sign)?;
        let (forged, _) = plain::fetch(suite, &url.trim().replace("/piped?", "/described?"))?;
        ensure!(forged == "403", "another object: status {forged}");
        std::thread::sleep(std::time::Duration::from_millis(2500));
        let (late, _) = plain::fetch(suite, url.trim())?;
        ensure!(late == "403", "after its time: status {late}");
        Ok(())
    })
}

/// A sync that had nothing to do says nothing.
fn nothing(done: &str) -> anyhow::Result<()> {
    ensure!(done.is_empty(), "it did {} things, the first: {}", done.lines().count(), done.lines().next().unwrap_or_default());
    Ok(())
}
