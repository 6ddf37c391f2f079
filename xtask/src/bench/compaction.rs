//! `cargo xtask bench --compaction`: what PUT and GET take while segments are compacted, beside what they take while nothing is.
//!
//! Small chunks are what makes compaction necessary, because a deleted chunk gives all back but one block: so objects of 20 KiB are stored, and three
//! of four deleted. The grace after which what was deleted goes is cut to seconds, everything else is as it comes. Rounds are measured before the deletion, while chunks are moved, and after all has
//! been moved: the quiet ones on both sides, so that what the disk does over time falls on neither. A measurement during which no chunk was moved, or,
//! in the quiet ones, one was, is not taken for what it should be: the bench fails.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::json;

use super::peers::{Peer, Service};
use super::report::median;
use super::{Arguments, machine};
use crate::clock;
use crate::e2e::free_port;
use crate::steps::Context;

/// Objects of 20 KiB, a chunk each: just above what stands in the catalog.
const MOVED_OBJECTS: u64 = 80_000;
/// One of so many of them stays.
const STRIDE: u64 = 4;
/// Objects of 4 KiB, which stand in the catalog.
const SMALL_OBJECTS: u64 = 5000;
/// Objects of 1 MiB.
const LARGE_OBJECTS: u64 = 200;
/// How long what was deleted stays, seconds.
const GRACE_SECONDS: u64 = 10;
/// How long to wait until compaction begins, or ends.
const PATIENCE: Duration = Duration::from_secs(900);
/// Most that the 99th percentile may be above that without compaction.
const RATIO_MAX: f64 = 2.0;

/// The metric that says how much was moved.
const MOVED: &str = "cairn_compaction_moved_bytes_total";
/// And the one that says what is to be deleted yet.
const WAITING: &str = "cairn_compaction_waiting";

/// What is measured, how the load generator is told, and how many objects there are of which stride.
const CASES: [(&str, &str, u64, u64); 5] = [
    ("PUT 4 KiB", "put --prefix new-small/ --bytes 4096", u64::MAX, 1),
    ("GET 4 KiB", "get --prefix small/ --bytes 4096", SMALL_OBJECTS, 1),
    ("GET 20 KiB, moved or to be", "get --prefix moved/ --bytes 20480", MOVED_OBJECTS / STRIDE, STRIDE),
    ("PUT 1 MiB", "put --prefix new-large/ --bytes 1048576", u64::MAX, 1),
    ("GET 1 MiB", "get --prefix large/ --bytes 1048576", LARGE_OBJECTS, 1),
];
/// Connections where none are asked for.
const CONNECTIONS: usize = 8;

/// What is measured.
#[derive(Clone, Copy)]
struct Cost {
    requests_per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
}

/// A figure of it.
type Figure = fn(&Cost) -> f64;

struct Bench<'run, 'context> {
    context: &'run mut Context<'context>,
    arguments: &'run Arguments,
    service: Service,
    metrics_port: u16,
    connections: String,
    /// The number of the next round, which its new keys begin with.
    round: u64,
}

/// Measures it.
///
/// # Errors
/// Where the service does not come up, a request is not answered as it should be, or compaction does not do what it is measured for.
pub(super) fn run(mut context: Context<'_>, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let scratch = context.workspace.target().join("bench");
    crate::e2e::fresh_directory(&scratch)?;
    let machine = machine::describe(&scratch)?;
    println!("{machine}");
    let directory = scratch.join("compaction");
    crate::e2e::fresh_directory(&directory)?;
    let metrics_port = free_port()?;
    let (grace, metrics) = (GRACE_SECONDS.to_string(), format!("127.0.0.1:{metrics_port}"));
    let options = ["--garbage-grace-s", &grace, "--metrics-listen", &metrics];
    let service = Service::start_on(&mut context, Peer::Cairn, &directory, &options)?;
    let connections = match arguments.connections[..] {
        [connections] => connections,
        _ => CONNECTIONS,
    };
    let connections = connections.to_string();
    let mut bench = Bench { context: &mut context, arguments, service, metrics_port, connections, round: 0 };
    bench.ask(&["create-bucket"])?;
    for (prefix, bytes, objects, connections) in
        [("moved/", 20_480, MOVED_OBJECTS, 64), ("small/", 4096, SMALL_OBJECTS, 16), ("large/", 1 << 20, LARGE_OBJECTS, 8)]
    {
        let [bytes, objects, connections] = [bytes, objects, connections].map(|number: u64| number.to_string());
        let words = ["put", "--prefix", prefix, "--bytes", &bytes, "--objects", &objects, "--connections", &connections];
        bench.ask(&words)?;
    }

    let mut quiet = bench.rounds("before", arguments.rounds.div_ceil(2), false)?;
    let (objects, stride) = (MOVED_OBJECTS.to_string(), STRIDE.to_string());
    bench.ask(&["delete", "--prefix", "moved/", "--objects", &objects, "--stride", &stride, "--connections", "16"])?;
    bench.wait("compaction does not begin", |bench| Ok(bench.metric(MOVED)? > 0.0))?;
    let busy = bench.rounds("while chunks are moved", arguments.rounds, true)?;
    let (began, at_first) = (clock::now(), bench.metric(MOVED)?);
    bench.wait("compaction does not end", |bench| {
        let before = bench.metric(MOVED)?;
        // It looks for more every ten seconds.
        sleep(Duration::from_secs(15));
        Ok(bench.metric(MOVED)? <= before && bench.metric(WAITING)? <= 0.0)
    })?;
    let moved = bench.metric(MOVED)?;
    println!(
        "{:.0} MiB moved, {:.0} of them in the last {:.0} s",
        mebibytes(moved),
        mebibytes(moved - at_first),
        began.elapsed().as_secs_f64()
    );
    for (of_case, more) in quiet.iter_mut().zip(bench.rounds("after", arguments.rounds / 2, false)?) {
        of_case.extend(more);
    }
    let connections = bench.connections.clone();
    bench.service.remove()?;
    std::fs::remove_dir_all(&scratch).with_context(|| format!("{} cannot be removed", scratch.display()))?;
    println!("\nMedians of {} rounds, {connections} connections. {machine}.\n\n{}", arguments.rounds, markdown(&quiet, &busy));
    if let Some(path) = &arguments.json {
        let text = format!("{:#}\n", as_json(&quiet, &busy));
        std::fs::write(path, text).with_context(|| format!("{} cannot be written", path.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn mebibytes(bytes: f64) -> f64 {
    bytes / f64::from(1 << 20)
}

impl Bench<'_, '_> {
    fn ask(&mut self, arguments: &[&str]) -> anyhow::Result<serde_json::Value> {
        let said = super::ask_load(self.context, &self.service, &[arguments, &["--bucket", "bench"]].concat())?;
        ensure!(said["failed"] == 0, "{} requests failed; the first: {}", said["failed"], said["first_failure"]);
        Ok(said)
    }

    fn metric(&self, name: &str) -> anyhow::Result<f64> {
        let text = super::peers::ask_http(self.metrics_port, "/metrics").context("the service does not tell its metrics")?;
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|value| value.trim().parse().ok()).with_context(|| format!("there is no metric {name}"))
    }

    fn wait(&self, complaint: &str, done: impl Fn(&Self) -> anyhow::Result<bool>) -> anyhow::Result<()> {
        let patience = clock::now() + PATIENCE;
        while !done(self)? {
            ensure!(clock::now() < patience, "{complaint} in {} s", PATIENCE.as_secs());
            sleep(Duration::from_millis(200));
        }
        Ok(())
    }

    /// Measures every case so many times; gives what each took, by case.
    fn rounds(&mut self, when: &str, rounds: usize, compacting: bool) -> anyhow::Result<Vec<Vec<Cost>>> {
        let seconds = self.arguments.seconds.to_string();
        let mut costs = vec![Vec::new(); CASES.len()];
        for _ in 0..rounds {
            let first = (self.round * 10_000_000).to_string();
            self.round += 1;
            for (place, (name, words, objects, stride)) in CASES.into_iter().enumerate() {
                if !compacting {
                    // Nothing that was put off before is paid for now.
                    rustix::fs::sync();
                    self.service.cpu_when_idle()?;
                }
                let mut words: Vec<&str> = words.split(' ').collect();
                let (objects, stride) = (objects.to_string(), stride.to_string());
                if words.first() == Some(&"get") {
                    words.extend(["--objects", &objects, "--stride", &stride]);
                } else {
                    words.extend(["--first", &first]);
                }
                let connections = self.connections.clone();
                words.extend(["--connections", &connections, "--seconds", &seconds]);
                let before = self.metric(MOVED)?;
                let said = self.ask(&words)?;
                let moved = self.metric(MOVED)? - before;
                ensure!((moved > 0.0) == compacting, "{moved} bytes were moved during {name}, {when}");
                let number = |name: &str| said[name].as_f64().unwrap_or(0.0);
                let cost = Cost {
                    requests_per_second: number("requests") / number("seconds").max(1e-9),
                    p50_ms: number("p50_us") / 1e3,
                    p99_ms: number("p99_us") / 1e3,
                };
                println!(
                    "  {when:<24} {name:<28}  {:>9.1}/s  p50 {:>8.2} ms  p99 {:>8.2} ms  {:>6.1} MiB moved",
                    cost.requests_per_second,
                    cost.p50_ms,
                    cost.p99_ms,
                    mebibytes(moved)
                );
                costs[place].push(cost);
            }
        }
        Ok(costs)
    }
}

fn of(costs: &[Cost], figure: Figure) -> f64 {
    median(costs.iter().map(figure).collect()).unwrap_or(0.0)
}

fn markdown(quiet: &[Vec<Cost>], busy: &[Vec<Cost>]) -> String {
    let mut text = String::from(
        "| operation | requests/s without | with compaction | p50 ms without | with | p99 ms without | with | ratio of p99 |\n\
         |---|---:|---:|---:|---:|---:|---:|---:|\n",
    );
    for ((name, ..), (quiet, busy)) in CASES.iter().zip(quiet.iter().zip(busy)) {
        let ratio = of(busy, |cost| cost.p99_ms) / of(quiet, |cost| cost.p99_ms);
        let mark = if ratio > RATIO_MAX { "**" } else { "" };
        let _ = write!(text, "| {name} |");
        let figures: [(Figure, usize); 3] =
            [(|cost| cost.requests_per_second, 0), (|cost| cost.p50_ms, 2), (|cost| cost.p99_ms, 2)];
        for (figure, digits) in figures {
            let _ = write!(text, " {:.digits$} | {:.digits$} |", of(quiet, figure), of(busy, figure));
        }
        let _ = writeln!(text, " {mark}{ratio:.2}{mark} |");
    }
    text
}

fn as_json(quiet: &[Vec<Cost>], busy: &[Vec<Cost>]) -> serde_json::Value {
    let figures = |costs: &[Cost]| {
        json!({
            "requests_per_second": of(costs, |cost| cost.requests_per_second),
            "p50_ms": of(costs, |cost| cost.p50_ms),
            "p99_ms": of(costs, |cost| cost.p99_ms),
        })
    };
    CASES
        .iter()
        .zip(quiet.iter().zip(busy))
        .map(|((name, ..), (quiet, busy))| json!({"case": name, "without": figures(quiet), "with": figures(busy)}))
        .collect()
}
