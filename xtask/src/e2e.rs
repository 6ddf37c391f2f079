//! Real tools against the real service, over HTTP and HTTPS, with the tools' stock defaults: what they store comes back byte for byte.
//!
//! Each part starts `target/release/cairn serve` on a directory of its own, once for each scheme, runs its scenarios in order, and stops
//! it. To see what a scenario expects of some other S3 service, `CAIRN_TEST_ENDPOINT=http://…` names one that runs already (over HTTPS its
//! certificate authority in `CAIRN_TEST_CA`); its key must be the one that [`service::Keys`] names.

mod aws;
mod boto3;
mod certificate;
mod mc;
mod page;
mod plain;
mod postgresql;
mod rclone;
mod restic;
mod s3cmd;
mod sdk;
mod service;
mod tree;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};

pub use aws::{first as aws_first, second as aws_second};
pub use boto3::run as boto3;
pub use mc::run as mc;
pub use plain::NEEDS as PLAIN;
pub use rclone::run as rclone;
pub use restic::run as restic;
pub use s3cmd::run as s3cmd;
pub use sdk::{go as sdk_go, java as sdk_java, javascript as sdk_javascript};
pub use service::{free_port, is_ready, service_is_there};

use crate::clock;
use crate::process::{self, Streams};
use crate::steps::{Context, Counts};
use service::{Scheme, Service};

/// How much data scenarios move.
#[derive(Clone, Copy)]
struct Size {
    /// Files of a tree, besides those with odd names.
    files: u32,
    /// Bytes of the tree's one big file, which goes up and comes back once.
    big_bytes: u64,
    /// Bytes of the file that is stored in several ways, each of which leaves three copies on the disk.
    medium_bytes: u64,
}

impl Size {
    /// Thousands of files, and a file of several parts; at full size one that no 32-bit number counts.
    fn of(context: &Context<'_>, scheme: Scheme) -> Self {
        const MIB: u64 = 1024 * 1024;
        if context.long {
            return Self { files: 5000, big_bytes: 6 * 1024 * MIB, medium_bytes: 300 * MIB + 1 };
        }
        let files = if scheme == Scheme::Http { 2000 } else { 200 };
        Self { files, big_bytes: 24 * MIB + 12_345, medium_bytes: 17 * MIB + 1 }
    }
}

/// Scenarios that run one after another against one service.
struct Suite<'suite, 'run> {
    context: &'suite mut Context<'run>,
    service: &'suite mut Service,
    size: Size,
    scratch: PathBuf,
    counts: Counts,
}

impl Suite<'_, '_> {
    /// Runs a scenario and counts it. Those after a failed one run all the same.
    ///
    /// # Errors
    /// Where the service is no longer there: nothing more can be learnt from it.
    fn check(&mut self, what: &str, scenario: impl FnOnce(&mut Self) -> anyhow::Result<()>) -> anyhow::Result<()> {
        let started = clock::now();
        let result = scenario(self);
        let took = started.elapsed().as_secs_f64();
        let scheme = self.service.scheme();
        match result {
            Ok(()) => {
                self.counts.passed += 1;
                self.context.say(&format!("ok     {scheme} {what} ({took:.1} s)"))
            }
            Err(error) => {
                self.counts.failed += 1;
                self.context.say(&format!("FAILED {scheme} {what} ({took:.1} s): {error:#}"))?;
                self.service.is_there().with_context(|| format!("{what}: {error:#}"))
            }
        }
    }

    /// A directory of the suite's own; what was in it is gone.
    fn directory(&self, name: &str) -> anyhow::Result<PathBuf> {
        let path = self.scratch.join(name);
        fresh_directory(&path)?;
        Ok(path)
    }

    /// A program as it starts on a machine where nothing is set up: no configuration, no variable but the plainest.
    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .current_dir(&self.scratch)
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", self.scratch.join("home"))
            .env("TMPDIR", self.scratch.join("tmp"))
            .env("LC_ALL", "C.UTF-8");
        command
    }

    /// Runs a program to its end and gives what it wrote to standard output; the log gets both outputs.
    fn output(&mut self, command: &mut Command) -> anyhow::Result<String> {
        let path = self.scratch.join("output");
        let (ended, text) = {
            let file = File::create(&path)?;
            let streams = Streams { input: None, output: file, errors: self.context.log.try_clone()? };
            let ended = self.stream(command, streams);
            (ended, std::fs::read(&path)?)
        };
        let text = String::from_utf8_lossy(&text).into_owned();
        if !text.is_empty() {
            self.context.say(text.trim_end())?;
        }
        ended.map(|()| text)
    }

    /// Runs a program to its end, with files for its standard input and outputs.
    fn stream(&mut self, command: &mut Command, streams: Streams) -> anyhow::Result<()> {
        self.context.say(&format!("$ {}", process::shown(command)))?;
        process::run_with(command, streams, self.context.deadline)
    }

    /// The program must fail, and say this.
    fn fails_with(&mut self, command: &mut Command, words: &str) -> anyhow::Result<()> {
        let path = self.scratch.join("errors");
        let streams = Streams { input: None, output: self.context.log.try_clone()?, errors: File::create(&path)? };
        let ended = self.stream(command, streams);
        let errors = String::from_utf8_lossy(&std::fs::read(&path)?).into_owned();
        self.context.say(errors.trim_end())?;
        match ended {
            Ok(()) => bail!("it should have failed"),
            Err(_) if errors.contains(words) => Ok(()),
            Err(_) => bail!("it failed without saying {words:?}"),
        }
    }
}

/// Starts the service for one scheme after the other, runs the scenarios against it, and stops it.
fn with_each_scheme(
    context: &mut Context<'_>,
    scenarios: fn(&mut Suite<'_, '_>) -> anyhow::Result<()>,
) -> anyhow::Result<Counts> {
    let mut counts = Counts::default();
    for scheme in service::schemes_to_test() {
        let scratch = context.workspace.target().join("e2e").join(context.name).join(scheme.to_string());
        fresh_directory(&scratch)?;
        for name in ["home", "tmp"] {
            std::fs::create_dir(scratch.join(name))?;
        }
        let mut service = Service::start(context, scheme, &scratch)?;
        let size = Size::of(context, scheme);
        let mut suite =
            Suite { context: &mut *context, service: &mut service, size, scratch: scratch.clone(), counts: Counts::default() };
        scenarios(&mut suite)?;
        let of_scenarios = suite.counts;
        counts = counts.and(of_scenarios).and(service.stop(context)?);
        // Kept only where somebody will want to look; at full size it is some 30 GiB, and the next scheme needs the room.
        if of_scenarios.failed == 0 || context.long {
            std::fs::remove_dir_all(&scratch).with_context(|| format!("{} cannot be removed", scratch.display()))?;
        }
    }
    Ok(counts)
}

pub fn fresh_directory(path: &Path) -> anyhow::Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("{} cannot be removed", path.display()));
        }
        _ => {}
    }
    std::fs::create_dir_all(path).with_context(|| format!("{} cannot be made", path.display()))
}
