//! The AWS command line, versions 1 and 2, as people use it: `sync`, `cp`, `mv`, `presign`, `ls`, `rm`.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{bail, ensure};

use super::service::{Keys, Scheme};
use super::tree::{self, MEDIUM, Random};
use super::{Suite, with_each_scheme};
use crate::process::Streams;
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

/// The command line of one version.
struct Aws {
    program: PathBuf,
}

impl Aws {
    /// A command such as `aws s3 ls`.
    fn command(&self, suite: &Suite<'_, '_>, arguments: &[&str]) -> Command {
        let mut command = suite.command(&self.program);
        command
            .args(["--endpoint-url", suite.service.endpoint()])
            .args(arguments)
            .env("AWS_ACCESS_KEY_ID", Keys::ACCESS_KEY_ID)
            .env("AWS_SECRET_ACCESS_KEY", Keys::SECRET_ACCESS_KEY)
            .env("AWS_DEFAULT_REGION", "us-east-1");
        if let Some(authority) = suite.service.certificate_authority() {
            command.env("AWS_CA_BUNDLE", authority);
        }
        command
    }

    /// Runs a command and gives its output.
    fn run(&self, suite: &mut Suite<'_, '_>, arguments: &[&str]) -> anyhow::Result<String> {
        let mut command = self.command(suite, arguments);
        suite.output(&mut command)
    }

    /// Runs `aws s3 sync` and gives the lines in which it says what it did.
    fn sync(&self, suite: &mut Suite<'_, '_>, from: &str, to: &str, more: &[&str]) -> anyhow::Result<Vec<String>> {
        let mut arguments = vec!["s3", "sync", "--no-progress", from, to];
        arguments.extend(more);
        Ok(self.run(suite, &arguments)?.lines().map(str::to_owned).collect())
    }
}

fn scenarios(suite: &mut Suite<'_, '_>, tool: &Tool) -> anyhow::Result<()> {
    let aws = Aws { program: tool.program(&suite.context.workspace.tools()) };
    let up = suite.directory("up")?;
    let down = suite.directory("down")?;
    let (up_text, down_text) = (up.to_string_lossy().into_owned(), down.to_string_lossy().into_owned());
    tree::write(&up, suite.size, 1)?;
    let file_count = tree::files(&up)?.len();

    suite.check("makes a bucket", |suite| aws.run(suite, &["s3", "mb", "s3://first"]).map(drop))?;
    suite.check("syncs a tree up", |suite| {
        let done = aws.sync(suite, &up_text, "s3://first/tree", &[])?;
        ensure!(done.len() >= file_count, "{} lines for {file_count} files", done.len());
        Ok(())
    })?;
    suite.check("has nothing to do the second time", |suite| nothing(&aws.sync(suite, &up_text, "s3://first/tree", &[])?))?;
    suite.check("syncs the tree down, byte for byte", |suite| {
        aws.sync(suite, "s3://first/tree", &down_text, &[])?;
        tree::same(&up, &down)
    })?;
    suite.check("has nothing to do that way either", |suite| nothing(&aws.sync(suite, "s3://first/tree", &down_text, &[])?))?;
    suite.check("syncs what changed and what is gone, and no more", |suite| {
        tree::write_file(&up.join("odd/a b"), 1234, &mut Random(7))?;
        std::fs::remove_file(up.join("odd/plus+sign"))?;
        let mut done = aws.sync(suite, &up_text, "s3://first/tree", &["--delete"])?;
        done.sort();
        ensure!(
            done.len() == 2
                && done.iter().any(|line| line == "delete: s3://first/tree/odd/plus+sign")
                && done.iter().any(|line| line.starts_with("upload: ")),
            "it did {done:?}"
        );
        aws.sync(suite, "s3://first/tree", &down_text, &["--delete"])?;
        tree::same(&up, &down)
    })?;
    std::fs::remove_dir_all(&down)?;
    suite.check("lists every file", |suite| {
        let listed = aws.run(suite, &["s3", "ls", "--recursive", "--summarize", "s3://first/tree/"])?;
        let expected = format!("Total Objects: {}", file_count - 1);
        ensure!(listed.contains(&expected), "the listing does not say {expected:?}");
        let top = aws.run(suite, &["s3", "ls", "s3://first/tree/"])?;
        let folders: Vec<&str> = top.lines().filter_map(|line| line.trim().strip_prefix("PRE ")).collect();
        ensure!(
            folders == ["big/", "decomposed/", "deep/", "long/", "odd directories/", "odd/", "prefixes/", "small/"],
            "the folders are {folders:?}"
        );
        Ok(())
    })?;
    files(suite, &aws, &up.join(MEDIUM))?;
    presigned(suite, &aws, &up.join(MEDIUM))?;
    suite.check("removes a tree, and the bucket when it is empty", |suite| {
        let mut refused = aws.command(suite, &["s3", "rb", "s3://first"]);
        suite.fails_with(&mut refused, "BucketNotEmpty")?;
        aws.run(suite, &["s3", "rm", "--recursive", "--quiet", "s3://first"])?;
        let left = aws.run(
            suite,
            &["s3api", "list-objects-v2", "--bucket", "first", "--query", "length(Contents || `[]`)", "--output", "text"],
        )?;
        ensure!(left.trim() == "0", "{} objects are left", left.trim());
        aws.run(suite, &["s3", "rb", "s3://first"]).map(drop)
    })
}

/// Single files: up, down, by pipe, copied and moved within the service.
fn files(suite: &mut Suite<'_, '_>, aws: &Aws, medium: &Path) -> anyhow::Result<()> {
    let medium_text = medium.to_string_lossy().into_owned();
    let back = suite.scratch.join("back");
    let back_text = back.to_string_lossy().into_owned();
    let came_back = |medium: &Path, back: &Path| -> anyhow::Result<()> {
        ensure!(tree::same_bytes(medium, back)?, "{} has other bytes than {}", back.display(), medium.display());
        Ok(std::fs::remove_file(back)?)
    };
    suite.check("copies a large file up and down", |suite| {
        aws.run(suite, &["s3", "cp", "--no-progress", &medium_text, "s3://first/a file+1"])?;
        aws.run(suite, &["s3", "cp", "--no-progress", "s3://first/a file+1", &back_text])?;
        came_back(medium, &back)
    })?;
    suite.check("copies from and to a pipe", |suite| {
        let size = suite.size.medium_bytes.to_string();
        let mut store = aws.command(suite, &["s3", "cp", "--expected-size", &size, "-", "s3://first/piped"]);
        let streams = Streams { input: Some(File::open(medium)?), ..Streams::to_log(&suite.context.log)? };
        suite.stream(&mut store, streams)?;
        let mut load = aws.command(suite, &["s3", "cp", "s3://first/piped", "-"]);
        let streams = Streams { output: File::create(&back)?, ..Streams::to_log(&suite.context.log)? };
        suite.stream(&mut load, streams)?;
        came_back(medium, &back)
    })?;
    suite.check("copies and moves within the service", |suite| {
        aws.run(suite, &["s3", "cp", "--no-progress", "s3://first/a file+1", "s3://first/copied/here"])?;
        aws.run(suite, &["s3", "mv", "--no-progress", "s3://first/copied/here", "s3://first/moved here"])?;
        aws.run(suite, &["s3", "rm", "s3://first/a file+1"])?;
        aws.run(suite, &["s3", "cp", "--no-progress", "s3://first/moved here", &back_text])?;
        let listed = aws.run(suite, &["s3", "ls", "s3://first/copied/here"]);
        ensure!(listed.is_err(), "what was moved is still there");
        came_back(medium, &back)
    })?;
    suite.check("keeps what is said of an object", |suite| {
        let more = ["--content-type", "text/x-test", "--cache-control", "no-cache", "--metadata", "of=test,and=more"];
        aws.run(suite, &[&["s3", "cp", "--no-progress", &medium_text, "s3://first/described"][..], &more[..]].concat())?;
        let query = "[ContentType, CacheControl, Metadata.of, Metadata.and, to_string(ContentLength)]";
        let said = aws.run(
            suite,
            &["s3api", "head-object", "--bucket", "first", "--key", "described", "--query", query, "--output", "text"],
        )?;
        let expected = format!("text/x-test\tno-cache\ttest\tmore\t{}", suite.size.medium_bytes);
        ensure!(said.trim() == expected, "it says {:?}", said.trim());
        Ok(())
    })?;
    suite.check("says plainly what is not there", |suite| {
        let mut missing = aws.command(suite, &["s3", "cp", "s3://first/missing", &back_text]);
        suite.fails_with(&mut missing, "404")?;
        let mut missing = aws.command(suite, &["s3", "ls", "s3://no-such-bucket"]);
        suite.fails_with(&mut missing, "NoSuchBucket")
    })
}

/// URLs that open an object to whoever has them.
fn presigned(suite: &mut Suite<'_, '_>, aws: &Aws, medium: &Path) -> anyhow::Result<()> {
    suite.check("signs a URL that plain HTTP can fetch", |suite| {
        for key in ["piped", "tree/odd/a b", "tree/odd/100%", "tree/odd/caf\u{e9}", "tree/odd/amper&sand", "tree/odd/hash#tag"] {
            let url = aws.run(suite, &["s3", "presign", &format!("s3://first/{key}")])?;
            let expected =
                key.strip_prefix("tree/").map_or_else(|| medium.to_path_buf(), |below| suite.scratch.join("up").join(below));
            let (status, fetched) = fetch(suite, url.trim())?;
            ensure!(status == "200", "{key}: status {status}");
            ensure!(tree::same_bytes(&expected, &fetched)?, "{key}: other bytes");
        }
        Ok(())
    })?;
    suite.check("signs a URL for that object only, and for a while", |suite| {
        let url = aws.run(suite, &["s3", "presign", "s3://first/piped", "--expires-in", "1"])?;
        let (forged, _) = fetch(suite, &url.trim().replace("/piped?", "/described?"))?;
        ensure!(forged == "403", "another object: status {forged}");
        std::thread::sleep(std::time::Duration::from_millis(2500));
        let (late, _) = fetch(suite, url.trim())?;
        ensure!(late == "403", "after its time: status {late}");
        Ok(())
    })
}

/// Fetches a URL with a client that knows nothing of S3; gives the status, and the file that holds the body.
fn fetch(suite: &mut Suite<'_, '_>, url: &str) -> anyhow::Result<(String, PathBuf)> {
    let body = suite.scratch.join("fetched");
    let workspace = suite.context.workspace;
    // Any Python does; this one is there.
    let mut command = suite.command(&AWS_CLI_1.program(&workspace.tools()).with_file_name("python"));
    command.arg(workspace.root().join("tests").join("e2e").join("fetch.py")).arg(url).arg(&body);
    if suite.service.scheme() == Scheme::Https {
        let Some(authority) = suite.service.certificate_authority() else { bail!("no certificate authority") };
        command.arg(authority);
    }
    Ok((suite.output(&mut command)?.trim().to_owned(), body))
}

/// A sync that had nothing to do says nothing.
fn nothing(done: &[String]) -> anyhow::Result<()> {
    ensure!(done.is_empty(), "it did {} things, the first: {}", done.len(), done.first().map_or("", String::as_str));
    Ok(())
}
