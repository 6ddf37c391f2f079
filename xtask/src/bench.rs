//! `cargo xtask bench`: Cairn and its peers side by side on the same disk, measured in turns, so that whatever else the machine does hits
//! both. Every figure is the median of the rounds, every ratio the median of the rounds' ratios.
//!
//! Small objects and listings are measured with all services running on what they were given at the beginning, one under load at a time;
//! large objects with one service at a time, started afresh for each measurement, so that at most some gigabytes are held on the disk.
//! Before each measurement everything unwritten is written out and the service is idle, and its processor time is counted until it is idle
//! again, so neither pays for the other's work nor hides its own.

mod cases;
mod compaction;
mod machine;
mod peers;
mod report;
mod size;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};

use crate::steps::Context;
use crate::workspace::Workspace;
use crate::{clock, process, provision};
use cases::{COPIED_OBJECTS, Case, Load, Operation, SMALL_OBJECTS};
use peers::{Peer, Service};
use report::{Measurement, Results};

/// How long the bench may take, in hours: past that something hangs.
const HOURS_MAX: u64 = 3;
/// How often the start of a service is tried, so that one port that is taken does not end an hour's bench.
const STARTS_MAX: usize = 3;

/// What to measure, and where to put it.
#[allow(clippy::struct_excessive_bools, reason = "each is a switch on the command line")]
#[derive(clap::Args)]
pub struct Arguments {
    /// Measure only these operations: put-4k, get-4k, list, put-10m, get-10m.
    #[arg(long, value_name = "OPERATION", value_delimiter = ',')]
    only: Vec<String>,
    /// How many connections.
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "1,16,64")]
    connections: Vec<usize>,
    /// Which services, of cairn, seaweedfs and garage (which is built first, and that takes long).
    #[arg(long, value_name = "PEER", value_delimiter = ',', default_value = "cairn,seaweedfs")]
    peers: Vec<String>,
    /// How long one measurement begins new requests, seconds.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// How many rounds.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Send bodies without a signed hash (`UNSIGNED-PAYLOAD`, as tools do over HTTPS) in place of a signed one (as they do over HTTP).
    #[arg(long)]
    unsigned: bool,
    /// Use the binaries that are built already.
    #[arg(long)]
    no_build: bool,
    /// Write the results as JSON to this file too.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Measure in place of the peers what the size of a bucket costs: with so many objects in it, beside the first of these sizes.
    #[arg(long, value_name = "OBJECTS", value_delimiter = ',', conflicts_with = "compaction")]
    size: Vec<u64>,
    /// Measure in place of the peers what PUT and GET take while segments are compacted.
    #[arg(long)]
    compaction: bool,
    /// Put the table and the machine's description between the markers in docs/performance.md.
    #[arg(long)]
    write: bool,
}

/// Runs it. The exit code says whether every request of Cairn was answered as it should be.
///
/// # Errors
/// Where a service cannot be had or does not come up, or a file cannot be written.
pub fn run(workspace: &Workspace, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let cases = cases::select(&arguments.only, &arguments.connections)?;
    let peers = arguments.peers.iter().map(|name| Peer::named(name)).collect::<anyhow::Result<Vec<_>>>()?;
    ensure!(!peers.is_empty() && arguments.rounds > 0, "nothing to measure");
    std::fs::create_dir_all(workspace.logs())?;
    let log_path = workspace.logs().join("bench.log");
    let log = File::options().create(true).append(true).open(&log_path).context("the log cannot be written")?;
    let deadline = clock::now() + Duration::from_secs(HOURS_MAX * 3600);
    let mut context = Context { name: "bench", workspace, long: false, fuzz_seconds: 0, deadline, log };
    println!("building, and providing the peer; its output is in {}", log_path.display());
    // One after the other, so that the service is built with the features that it is released with.
    let packages: &[&str] = if arguments.no_build { &[] } else { &["cairn", "cairn-load"] };
    for package in packages {
        let mut build = workspace.cargo(&["build", "--locked", "--release", "--package", package]);
        context.run(&mut build).with_context(|| format!("{package} cannot be built"))?;
    }
    if !arguments.size.is_empty() {
        return size::run(context, arguments);
    }
    if arguments.compaction {
        return compaction::run(context, arguments);
    }
    if peers.contains(&Peer::SeaweedFs) {
        provision::SEAWEEDFS.provide(&mut context).context("SeaweedFS cannot be had")?;
    }
    if peers.contains(&Peer::Garage) {
        provision::GARAGE.provide(&mut context).context("Garage cannot be had")?;
    }
    let scratch = workspace.target().join("bench");
    crate::e2e::fresh_directory(&scratch)?;
    let machine = machine::describe(&scratch)?;
    println!("{machine}");
    let mut bench = Bench { context, arguments, scratch: scratch.clone(), results: Results::new(machine, peers.clone()) };
    if let Err(error) = bench.small(&peers, &cases).and_then(|()| bench.large(&peers, &cases)) {
        println!("\nnot all was measured; what was:\n\n{}", bench.results.markdown());
        return Err(error);
    }
    std::fs::remove_dir_all(&scratch).with_context(|| format!("{} cannot be removed", scratch.display()))?;
    let results = bench.results;
    println!("\n{}", results.markdown());
    if let Some(path) = &arguments.json {
        std::fs::write(path, format!("{:#}\n", results.json()))
            .with_context(|| format!("{} cannot be written", path.display()))?;
    }
    if arguments.write {
        report::write_between_markers(&workspace.root().join("docs").join("performance.md"), &results.markdown())?;
    }
    Ok(if results.failed(Peer::Cairn) == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

struct Bench<'run> {
    context: Context<'run>,
    arguments: &'run Arguments,
    scratch: PathBuf,
    results: Results,
}

impl Bench<'_> {
    /// The cases whose objects are small: all services run, and take turns.
    fn small(&mut self, peers: &[Peer], cases: &[Case]) -> anyhow::Result<()> {
        let cases: Vec<Case> = cases.iter().copied().filter(|case| case.operation.is_small()).collect();
        if cases.is_empty() {
            return Ok(());
        }
        let mut services = peers.iter().map(|peer| self.start(*peer)).collect::<anyhow::Result<Vec<_>>>()?;
        // What the reads read and the listings list; whoever only writes needs just as much as shows that there are three copies.
        let is_read = cases.iter().any(|case| matches!(case.operation, Operation::Get4K | Operation::List));
        let objects = if is_read { SMALL_OBJECTS } else { COPIED_OBJECTS };
        self.store(&services, &Load::prepare(Operation::Get4K, objects))?;
        services.iter().try_for_each(|service| service.holds_three_copies(objects * 4096))?;
        for round in 0..self.arguments.rounds {
            println!("small objects, round {} of {}", round + 1, self.arguments.rounds);
            for case in &cases {
                services.iter().try_for_each(|service| self.measure(service, *case, round))?;
            }
            // The other way round every other time: who comes second may find the disk busier or the processor warmer.
            services.reverse();
        }
        services.into_iter().try_for_each(Service::remove)
    }

    /// The cases whose objects are large: one service at a time, on an empty directory.
    fn large(&mut self, peers: &[Peer], cases: &[Case]) -> anyhow::Result<()> {
        let cases: Vec<Case> = cases.iter().copied().filter(|case| !case.operation.is_small()).collect();
        let mut order = peers.to_vec();
        for round in 0..if cases.is_empty() { 0 } else { self.arguments.rounds } {
            println!("large objects, round {} of {}", round + 1, self.arguments.rounds);
            for case in &cases {
                for peer in &order {
                    let service = self.start(*peer)?;
                    if case.operation == Operation::Get10M {
                        self.load(&service, &Load::prepare(case.operation, case.operation.objects(case.connections)))?;
                    } else {
                        // Whatever a service does at the first object only, such as making room for many more.
                        self.load(&service, &Load::warm_up())?;
                    }
                    self.measure(&service, *case, round)?;
                    service.remove()?;
                }
            }
            order.reverse();
        }
        Ok(())
    }

    fn start(&mut self, peer: Peer) -> anyhow::Result<Service> {
        let directory = self.scratch.join(peer.name());
        let mut tries = 1;
        let service = loop {
            match Service::start(&mut self.context, peer, &directory) {
                // A port that was free may have become that of a connection of another process meanwhile.
                Err(error) if tries < STARTS_MAX => self.context.say(&format!("tried again: {error:#}"))?,
                service => break service?,
            }
            tries += 1;
        };
        let made = self.load(&service, &Load::create_bucket())?;
        ensure!(made["requests"] == 1, "the bucket cannot be created: {made}");
        Ok(service)
    }

    fn measure(&mut self, service: &Service, case: Case, round: usize) -> anyhow::Result<()> {
        rustix::fs::sync();
        let before = service.cpu_when_idle()?;
        let load = Load::measured(case, self.arguments.seconds, round);
        let said = self.load(service, &load)?;
        let cpu = service.cpu_when_idle()?.saturating_sub(before);
        let measurement = Measurement::read(&said, cpu)?;
        println!("  {:<10} {:<9} {}", service.peer().name(), case.to_string(), measurement.line());
        self.results.add(service.peer(), case, measurement);
        Ok(())
    }

    /// Stores the same in all services at once: nothing is measured, and each waits for its disk much of the time.
    fn store(&mut self, services: &[Service], load: &Load) -> anyhow::Result<()> {
        let commands: Vec<_> = services.iter().map(|service| self.command(service, load)).collect();
        for command in &commands {
            self.context.say(&format!("$ {}", process::shown(command)))?;
        }
        let said = std::thread::scope(|scope| {
            let running: Vec<_> =
                commands.into_iter().map(|mut command| scope.spawn(move || process::capture(&mut command))).collect();
            running.into_iter().map(std::thread::ScopedJoinHandle::join).collect::<Vec<_>>()
        });
        for (service, said) in services.iter().zip(said) {
            let Ok(said) = said else { bail!("a thread panicked") };
            self.judge(service, load, &said?)?;
        }
        Ok(())
    }

    fn command(&self, service: &Service, load: &Load) -> Command {
        let words: Vec<&str> = load.arguments().iter().map(String::as_str).chain(["--bucket", "bench"]).collect();
        let mut command = load_command(&self.context, service, &words);
        if self.arguments.unsigned {
            command.arg("--unsigned");
        }
        command
    }

    /// Runs the load generator and gives what it says. A load that prepares something must succeed as a whole.
    fn load(&mut self, service: &Service, load: &Load) -> anyhow::Result<serde_json::Value> {
        let mut command = self.command(service, load);
        self.context.say(&format!("$ {}", process::shown(&command)))?;
        let text = process::capture(&mut command)?;
        self.judge(service, load, &text)
    }

    fn judge(&mut self, service: &Service, load: &Load, text: &str) -> anyhow::Result<serde_json::Value> {
        self.context.say(text.trim())?;
        let said: serde_json::Value = serde_json::from_str(text).context("the load generator said something that is not JSON")?;
        if load.must_succeed() && said["failed"] != 0 {
            bail!("{}: {} requests failed; the first: {}", service.peer().name(), said["failed"], said["first_failure"]);
        }
        Ok(said)
    }
}

/// The load generator on a service.
fn load_command(context: &Context<'_>, service: &Service, arguments: &[&str]) -> Command {
    let mut command = Command::new(context.workspace.target().join("release").join("cairn-load"));
    command
        .args(arguments)
        .args(["--endpoint", service.endpoint()])
        .env("AWS_ACCESS_KEY_ID", peers::ACCESS_KEY_ID)
        .env("AWS_SECRET_ACCESS_KEY", peers::SECRET_ACCESS_KEY);
    command
}

/// Runs the load generator and gives what it says.
fn ask_load(context: &mut Context<'_>, service: &Service, arguments: &[&str]) -> anyhow::Result<serde_json::Value> {
    let mut command = load_command(context, service, arguments);
    context.say(&format!("$ {}", process::shown(&command)))?;
    let text = process::capture(&mut command)?;
    context.say(text.trim())?;
    serde_json::from_str(&text).context("the load generator said something that is not JSON")
}

/// Bytes of the files in a directory and below it.
fn bytes_below(directory: &Path) -> anyhow::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        bytes += if kind.is_dir() { bytes_below(&entry.path())? } else { entry.metadata()?.len() };
    }
    Ok(bytes)
}
