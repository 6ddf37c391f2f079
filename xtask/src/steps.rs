//! The parts of the test, in the order they run. A new part is a line in [`STEPS`] and a function that does it.

mod cargo;
mod fuzz;
mod trials;

use std::fs::File;
use std::io::Write as _;
use std::process::Command;
use std::time::Instant;

use crate::workspace::Workspace;

use crate::{e2e, lab, process, provision, style};
pub use fuzz::SECONDS_EACH as FUZZ_SECONDS;

/// Every part, in the order they run.
pub const STEPS: &[Step] = &[
    Step {
        name: "format",
        what: "rustfmt would change nothing",
        when: When::Gate,
        needs: &[],
        after: &[],
        minutes_max: 5,
        run: cargo::format,
    },
    Step {
        name: "style",
        what: "the project's own rules: layers, file sizes, module docs, rule numbers, nothing of the machine",
        when: When::Gate,
        needs: &[],
        after: &[],
        minutes_max: 5,
        run: style::check,
    },
    Step {
        name: "clippy",
        what: "no compiler or clippy warning",
        when: When::Gate,
        needs: &[],
        after: &[],
        minutes_max: 30,
        run: cargo::clippy,
    },
    Step {
        name: "deny",
        what: "dependencies have licences we can keep and come from the registry; known vulnerabilities are not looked up",
        when: When::Gate,
        needs: &[&provision::CARGO_DENY],
        after: &[],
        minutes_max: 5,
        run: cargo::deny,
    },
    Step {
        name: "unit",
        what: "the crates' own tests",
        when: When::Gate,
        needs: &[],
        after: &[],
        minutes_max: 40,
        run: cargo::unit,
    },
    Step {
        name: "seaweedfs",
        what: "the zone on SeaweedFS: the suite of every engine, and servers that die, hang, move, fill up and fail over",
        when: When::Gate,
        needs: &[&provision::SEAWEEDFS],
        after: &[],
        minutes_max: 20,
        run: cargo::seaweedfs,
    },
    Step {
        name: "fuzz",
        what: "what must hold for any bytes holds for mutations of valid ones; with --long also guided by coverage",
        when: When::Gate,
        needs: &[],
        after: &[],
        minutes_max: 120,
        run: fuzz::run,
    },
    Step {
        name: "simulation",
        what: "the whole store on a simulated machine: acknowledged writes survive crashes and faults, and without any one sync they do not",
        when: When::Gate,
        needs: &[],
        after: &[],
        minutes_max: 60,
        run: cargo::simulation,
    },
    Step {
        name: "postgres",
        what: "the catalog on a real PostgreSQL: conformance, gateways that race, lost answers, lost primaries",
        when: When::Gate,
        needs: &[&provision::POSTGRESQL],
        after: &[],
        minutes_max: 60,
        run: cargo::postgres,
    },
    Step {
        name: "patroni",
        what: "a real Patroni hangs: its primary is left before the lock ends, and no acknowledged write is lost",
        when: When::Gate,
        needs: &[&provision::POSTGRESQL, &provision::ETCD, &provision::PATRONI],
        after: &[],
        minutes_max: 30,
        run: cargo::patroni,
    },
    Step {
        name: "build",
        what: "the binary as it is released",
        when: When::Gate,
        needs: &[],
        after: &[],
        minutes_max: 40,
        run: cargo::build,
    },
    Step {
        name: "crash",
        what: "kill -9 at random moments under mixed load, a zone removed in half of the rounds: nothing acknowledged is lost",
        when: When::Gate,
        needs: &[],
        after: &["build"],
        minutes_max: 90,
        run: trials::crash,
    },
    Step {
        name: "drills",
        what: "zones emptied, swapped, restored, damaged and taken away: what is said, what is kept, what comes back",
        when: When::Gate,
        needs: &[],
        after: &["build"],
        minutes_max: 15,
        run: trials::drills,
    },
    Step {
        name: "race",
        what: "64 writers under one condition: one wins, every time",
        when: When::Gate,
        needs: &[],
        after: &["build"],
        minutes_max: 30,
        run: trials::race,
    },
    Step {
        name: "memory",
        what: "64 uploads and 64 slow readers at once fit into 512 MiB",
        when: When::Gate,
        needs: &[],
        after: &["build"],
        minutes_max: 30,
        run: trials::memory,
    },
    Step {
        name: "crowd",
        what: "2,000 connections of which half are slow or silent, and bursts of ten times the capacity: the others are served",
        when: When::Gate,
        needs: &[],
        after: &["build"],
        minutes_max: 15,
        run: trials::crowd,
    },
    Step {
        name: "soak",
        what: "mixed load on a store of bounded size, an hour of it with --long: what it takes levels off, and a full audit is clean",
        when: When::Gate,
        needs: &[],
        after: &["build"],
        minutes_max: 120,
        run: trials::soak,
    },
    Step {
        name: "e2e-aws-1",
        what: "AWS CLI 1: sync, cp, presign, rm",
        when: When::Gate,
        needs: &[&provision::AWS_CLI_1],
        after: &["build"],
        minutes_max: 120,
        run: e2e::aws_first,
    },
    Step {
        name: "e2e-aws-2",
        what: "AWS CLI 2, as old as Debian has it: sync, cp, presign, rm",
        when: When::Gate,
        needs: &[&provision::AWS_CLI_2, &provision::AWS_CLI_1],
        after: &["build"],
        minutes_max: 120,
        run: e2e::aws_second,
    },
    Step {
        name: "e2e-boto3",
        what: "boto3: every operation, with what goes wrong",
        when: When::Gate,
        needs: &[&provision::BOTO3],
        after: &["build"],
        minutes_max: 60,
        run: e2e::boto3,
    },
    Step {
        name: "e2e-rclone",
        what: "rclone: sync, check --download",
        when: When::Gate,
        needs: &[&provision::RCLONE],
        after: &["build"],
        minutes_max: 120,
        run: e2e::rclone,
    },
    Step {
        name: "e2e-restic",
        what: "restic: backup, check --read-data and restore of files and of a PostgreSQL dump",
        when: When::Gate,
        needs: &[&provision::RESTIC, &provision::POSTGRESQL],
        after: &["build"],
        minutes_max: 120,
        run: e2e::restic,
    },
    Step {
        name: "e2e-mc",
        what: "mc: mirror, diff, versions, share",
        when: When::Gate,
        needs: &[&provision::MC, e2e::PLAIN],
        after: &["build"],
        minutes_max: 120,
        run: e2e::mc,
    },
    Step {
        name: "e2e-s3cmd",
        what: "s3cmd: sync, multipart put, signurl",
        when: When::Gate,
        needs: &[&provision::S3CMD, e2e::PLAIN],
        after: &["build"],
        minutes_max: 120,
        run: e2e::s3cmd,
    },
    Step {
        name: "e2e-sdk-go",
        what: "AWS SDK for Go 2: every operation a program needs, transfer manager, checksums",
        when: When::Gate,
        needs: &[&provision::SDK_GO],
        after: &["build"],
        minutes_max: 120,
        run: e2e::sdk_go,
    },
    Step {
        name: "e2e-sdk-java",
        what: "AWS SDK for Java 2: the same, asynchronously too",
        when: When::Gate,
        needs: &[&provision::MAVEN, &provision::SDK_JAVA],
        after: &["build"],
        minutes_max: 120,
        run: e2e::sdk_java,
    },
    Step {
        name: "e2e-sdk-javascript",
        what: "AWS SDK for JavaScript 3: the same",
        when: When::Gate,
        needs: &[&provision::SDK_JAVASCRIPT],
        after: &["build"],
        minutes_max: 120,
        run: e2e::sdk_javascript,
    },
    Step {
        name: "lab",
        what: "three datacentres of real services: cut off, killed and hung they come back whole, and the lab goes without a trace",
        when: When::Gate,
        needs: lab::NEEDS,
        after: &[],
        minutes_max: 30,
        run: lab::trial,
    },
];

/// A part of the test.
pub struct Step {
    /// What `--only` calls it.
    pub name: &'static str,
    /// What it shows when it passes.
    pub what: &'static str,
    /// When it runs without being asked for by name.
    pub when: When,
    /// Tools it drives, which are provided before it.
    pub needs: &'static [&'static provision::Tool],
    /// Parts that must have passed before; `--only` runs them too.
    pub after: &'static [&'static str],
    /// How long it may take, in minutes; past that it is stopped and has failed.
    pub minutes_max: u64,
    /// Does it. An error is a failure of the part as a whole.
    pub run: fn(&mut Context<'_>) -> anyhow::Result<Counts>,
}

/// When a part runs without being asked for by name.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// In every run.
    Gate,
    /// In runs at full size.
    Long,
}

/// How many of a part's tests passed and failed.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Counts {
    /// Tests that passed.
    pub passed: u64,
    /// Tests that failed.
    pub failed: u64,
}

impl Counts {
    /// One test that passed: for a part that is a single question.
    pub const ONE_PASSED: Self = Self { passed: 1, failed: 0 };

    /// Both together.
    pub fn and(self, other: Self) -> Self {
        Self { passed: self.passed + other.passed, failed: self.failed + other.failed }
    }
}

/// What a part has at hand while it runs.
pub struct Context<'run> {
    /// What the part is called.
    pub name: &'static str,
    /// The checkout.
    pub workspace: &'run Workspace,
    /// Whether to run at full size.
    pub long: bool,
    /// At full size, the processor time that coverage-guided fuzzing gives to each target, seconds.
    pub fuzz_seconds: u32,
    /// When the part must have ended.
    pub deadline: Instant,
    /// Where the part's output goes.
    pub log: File,
}

impl Context<'_> {
    /// Writes a line to the part's log.
    ///
    /// # Errors
    /// Where the log cannot be written.
    pub fn say(&mut self, line: &str) -> anyhow::Result<()> {
        writeln!(self.log, "{line}")?;
        Ok(())
    }

    /// Runs a program to its end, its output going to the part's log.
    ///
    /// # Errors
    /// Where it cannot be started, ends with a status that is not 0, or runs past the part's time limit.
    pub fn run(&mut self, command: &mut Command) -> anyhow::Result<()> {
        // Colours are for a terminal, and this goes to a file.
        command.env("CARGO_TERM_COLOR", "never").env("NO_COLOR", "1").env("TERM", "dumb");
        if self.long {
            command.env("CAIRN_LONG", "1");
        }
        self.say(&format!("$ {}", process::shown(command)))?;
        process::run(command, &self.log, self.deadline)
    }
}
