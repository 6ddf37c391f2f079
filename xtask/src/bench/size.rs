//! `cargo xtask bench --size`: what requests cost in a bucket of so many objects, beside what they cost in the first of the sizes. Buckets are
//! filled through the catalog, past HTTP (`crates/cairn/examples/fill.rs` says how their keys look), and beside each stands one with a tenth as many
//! versions, ten of each object.
//!
//! A service for each size runs all the time, and they take turns, case by case, so that whatever else the machine does hits all of them;
//! figures are medians of the rounds, ratios medians of the rounds' ratios. Reads come before writes, which leave something to look into besides.
//! All are warm: their files are merged as a quiet service merges
//! them, and each case has run for some seconds, with other objects than those that are measured then. (The smallest size allowed has its rows in
//! memory all the same: the bodies that are read back overwrite all of its objects after the filling.) How long a start takes is measured after `kill -9`, first with
//! what the filling left, and at the end with what the load left.

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::json;

use super::peers::{ACCESS_KEY_ID, Peer, SECRET_ACCESS_KEY, Service};
use super::report::median;
use super::{Arguments, bytes_below, machine};
use crate::clock;
use crate::steps::Context;

/// The lines of the listing by delimiter: one for `many/`, one for each of the other folders.
const FOLDERS: u64 = 91;
/// Objects of 4 KiB that are read back: they stand everywhere among the others.
const READ_OBJECTS: u64 = 10_000;
/// Versions of each object in the bucket of versions.
const VERSIONS: u64 = 10;
/// The bucket of versions has so many times fewer versions than the other has objects.
const VERSIONS_SHARE: u64 = 10;
/// How long each case runs before it is measured, seconds: every size has then answered tens of thousands of HEADs.
const WARM_UP_SECONDS: f64 = 4.0;
/// A quiet service merges what its filling left in many files: it begins so long after the last writes, and is waited for.
const SETTLES_AFTER: Duration = Duration::from_secs(15);
/// Most that one case may cost above the smallest size.
const RATIO_MAX: f64 = 1.5;

/// What a request costs.
#[derive(Clone, Copy)]
struct Cost {
    requests_per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
    cpu_ms: f64,
}

/// A figure of it.
type Figure = fn(&Cost) -> f64;

/// When a case is measured. Writes leave files behind that reads have to look into besides, so reads come before them, and one again after them.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Settled,
    Writes,
    AfterWrites,
}

/// A request that is measured, and how the load generator is told.
struct Case {
    phase: Phase,
    name: &'static str,
    bucket: &'static str,
    arguments: Vec<String>,
}

/// One size.
struct Size {
    objects: u64,
    service: Service,
    /// By case, then by round.
    costs: Vec<Vec<Cost>>,
    fill_seconds: f64,
    start_ms: f64,
    start_after_load_ms: f64,
    resident_bytes: u64,
    resident_bytes_max: u64,
    disk_bytes: u64,
}

impl Size {
    fn median(&self, case: usize, figure: Figure) -> f64 {
        median(self.costs.get(case).into_iter().flatten().map(figure).collect()).unwrap_or(0.0)
    }

    /// The median of the rounds' ratios.
    fn ratio(&self, first: &Self, case: usize, figure: Figure) -> f64 {
        let of = |size: &Self| size.costs.get(case).into_iter().flatten().map(figure).collect::<Vec<_>>();
        median(of(self).into_iter().zip(of(first)).map(|(ours, first)| ours / first).collect()).unwrap_or(0.0)
    }
}

fn cases(objects: u64) -> Vec<Case> {
    let case = |phase, name, bucket, arguments: &str| Case {
        phase,
        name,
        bucket,
        arguments: arguments.split(' ').map(ToOwned::to_owned).collect(),
    };
    let (many, versioned) = (objects / 10, objects / VERSIONS_SHARE / VERSIONS);
    vec![
        case(
            Phase::Settled,
            "LIST a page, anywhere in the largest folder",
            "bench",
            &format!("list-at --prefix many/ --objects {many}"),
        ),
        case(Phase::Settled, "LIST by delimiter at the root", "bench", &format!("list-folders --objects {FOLDERS}")),
        case(
            Phase::Settled,
            "LIST a page of versions, anywhere",
            "versions",
            &format!("list-versions-at --prefix many/ --objects {versioned} --versions {VERSIONS}"),
        ),
        case(Phase::Settled, "HEAD of any object", "bench", &format!("head --filled {objects} --objects {objects}")),
        case(
            Phase::Settled,
            "GET 4 KiB",
            "bench",
            &format!("get --filled {objects} --objects {READ_OBJECTS} --stride {}", objects / READ_OBJECTS),
        ),
        case(Phase::Writes, "PUT 4 KiB, new keys among the others", "bench", &format!("put-between --filled {objects}")),
        case(
            Phase::AfterWrites,
            "LIST by delimiter at the root, after these writes",
            "bench",
            &format!("list-folders --objects {FOLDERS}"),
        ),
    ]
}

/// Measures each size.
///
/// # Errors
/// Where a bucket cannot be filled, a service does not come up, or a request is not answered as it should be.
pub(super) fn run(mut context: Context<'_>, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    for objects in &arguments.size {
        ensure!(*objects >= READ_OBJECTS, "{objects} objects are too few: {READ_OBJECTS} are read");
    }
    if !arguments.no_build {
        let build = ["build", "--locked", "--release", "--package", "cairn", "--example", "fill"];
        context.run(&mut context.workspace.cargo(&build)).context("the program that fills buckets cannot be built")?;
    }
    let scratch = context.workspace.target().join("bench");
    crate::e2e::fresh_directory(&scratch)?;
    let machine = machine::describe(&scratch)?;
    println!("{machine}");
    let mut sizes = Vec::new();
    for objects in &arguments.size {
        sizes.push(start(&mut context, &scratch, *objects)?);
    }
    std::thread::sleep(SETTLES_AFTER);
    for size in &sizes {
        size.service.cpu_when_idle()?;
    }
    for (phase, words) in [(Phase::Settled, "reads"), (Phase::Writes, "writes"), (Phase::AfterWrites, "reads after writes")] {
        if phase == Phase::AfterWrites {
            std::thread::sleep(SETTLES_AFTER);
        }
        for round in 0..arguments.rounds {
            println!("{words}, round {} of {}", round + 1, arguments.rounds);
            self::round(&mut context, arguments, &mut sizes, round, phase)?;
        }
    }
    for size in &mut sizes {
        finish(&mut context, &scratch, size)?;
    }
    std::fs::remove_dir_all(&scratch).with_context(|| format!("{} cannot be removed", scratch.display()))?;
    println!("\nMedians of {} rounds. {machine}.\n\n{}", arguments.rounds, markdown(&sizes));
    if let Some(path) = &arguments.json {
        let text = format!("{:#}\n", json!(sizes.iter().map(as_json).collect::<Vec<_>>()));
        std::fs::write(path, text).with_context(|| format!("{} cannot be written", path.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Fills a bucket of this size and one of versions, and starts the service on them.
fn start(context: &mut Context<'_>, scratch: &Path, objects: u64) -> anyhow::Result<Size> {
    let directory = scratch.join(format!("size-{objects}"));
    crate::e2e::fresh_directory(&directory)?;
    let began = clock::now();
    fill(context, &directory, &["--bucket", "bench", "--objects", &objects.to_string()])?;
    let fill_seconds = began.elapsed().as_secs_f64();
    let (versions, of_each) = ((objects / VERSIONS_SHARE).to_string(), VERSIONS.to_string());
    fill(context, &directory, &["--bucket", "versions", "--objects", &versions, "--versions", &of_each])?;
    // What starts first has to order what the filling left; it is killed once it has.
    let first = Service::start_on(context, Peer::Cairn, &directory, &[])?;
    first.cpu_when_idle()?;
    first.kill();
    let began = clock::now();
    let service = Service::start_on(context, Peer::Cairn, &directory, &[])?;
    let start_ms = began.elapsed().as_secs_f64() * 1e3;
    println!("{objects} objects: filled in {fill_seconds:.0} s, ready {start_ms:.0} ms after the start");
    let (filled, stride, count) = (objects.to_string(), (objects / READ_OBJECTS).to_string(), READ_OBJECTS.to_string());
    let bodies = ["put", "--filled", &filled, "--stride", &stride, "--objects", &count, "--connections", "16"];
    load(context, &service, "bench", &bodies)?;
    Ok(Size {
        objects,
        service,
        costs: cases(objects).iter().map(|_| Vec::new()).collect(),
        fill_seconds,
        start_ms,
        start_after_load_ms: 0.0,
        resident_bytes: 0,
        resident_bytes_max: 0,
        disk_bytes: 0,
    })
}

fn fill(context: &mut Context<'_>, directory: &Path, arguments: &[&str]) -> anyhow::Result<()> {
    let mut fill = Command::new(context.workspace.target().join("release").join("examples").join("fill"));
    fill.args(arguments)
        .arg("--data")
        .arg(directory.join("data"))
        .env("CAIRN_ROOT_ACCESS_KEY_ID", ACCESS_KEY_ID)
        .env("CAIRN_ROOT_SECRET_ACCESS_KEY", SECRET_ACCESS_KEY);
    context.run(&mut fill).context("the bucket cannot be filled")
}

fn round(context: &mut Context<'_>, arguments: &Arguments, sizes: &mut [Size], round: usize, phase: Phase) -> anyhow::Result<()> {
    let seconds = arguments.seconds.to_string();
    let count = sizes.first().map_or(0, |first| first.costs.len());
    for place in 0..count {
        let mut order: Vec<usize> = (0..sizes.len()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for at in order {
            let size = &mut sizes[at];
            let case = &cases(size.objects)[place];
            if case.phase != phase {
                continue;
            }
            let is_put = phase == Phase::Writes;
            if round == 0 && !is_put {
                let warm_up = WARM_UP_SECONDS.to_string();
                let words: Vec<&str> = case.arguments.iter().map(String::as_str).chain(["--seconds", &warm_up]).collect();
                load(context, &size.service, case.bucket, &words)?;
            }
            rustix::fs::sync();
            let before = size.service.cpu_when_idle()?;
            // Other objects than in the rounds before.
            let seed = (place * arguments.rounds + round + 1).to_string();
            let more_words = ["--seconds", &seconds, "--seed", &seed];
            let words: Vec<&str> = case.arguments.iter().map(String::as_str).chain(more_words).collect();
            // New keys in every round: else they are there already from the second on.
            let first = (round as u64 * 1_000_000_000).to_string();
            let more: &[&str] = if is_put { &["--first", &first] } else { &[] };
            let said = load(context, &size.service, case.bucket, &[&words, more].concat())?;
            let cpu = size.service.cpu_when_idle()?.saturating_sub(before);
            let cost = cost(&said, cpu)?;
            println!(
                "  {:<44} {:>9}  p50 {:>7.3} ms  p99 {:>8.3} ms  CPU {:>7.3} ms",
                case.name, size.objects, cost.p50_ms, cost.p99_ms, cost.cpu_ms
            );
            size.costs[place].push(cost);
        }
    }
    Ok(())
}

/// What is held after the load, and what a start takes with what the load left.
fn finish(context: &mut Context<'_>, scratch: &Path, size: &mut Size) -> anyhow::Result<()> {
    (size.resident_bytes, size.resident_bytes_max) = size.service.resident_bytes()?;
    let directory = scratch.join(format!("size-{}", size.objects));
    size.disk_bytes = bytes_below(&directory.join("data"))?;
    // Right after writes, so that there is something to take up.
    let words = ["put-between", "--filled", &size.objects.to_string(), "--first", "999000000000", "--connections", "16"];
    load(context, &size.service, "bench", &[&words[..], &["--seconds", "2"]].concat())?;
    size.service.kill_in_place();
    let began = clock::now();
    let again = Service::start_on(context, Peer::Cairn, &directory, &[])?;
    size.start_after_load_ms = began.elapsed().as_secs_f64() * 1e3;
    let (_, resident_bytes_max) = again.resident_bytes()?;
    size.resident_bytes_max = size.resident_bytes_max.max(resident_bytes_max);
    again.remove()
}

/// Runs the load generator; every request must succeed.
fn load(context: &mut Context<'_>, service: &Service, bucket: &str, arguments: &[&str]) -> anyhow::Result<serde_json::Value> {
    let said = super::ask_load(context, service, &[arguments, &["--bucket", bucket]].concat())?;
    ensure!(said["failed"] == 0, "{} requests failed; the first: {}", said["failed"], said["first_failure"]);
    Ok(said)
}

fn cost(said: &serde_json::Value, cpu: Duration) -> anyhow::Result<Cost> {
    let number = |name: &str| said[name].as_f64().unwrap_or(0.0);
    let requests = number("requests");
    ensure!(requests > 0.0, "no request succeeded: {said}");
    let requests_per_second = requests / number("seconds").max(1e-9);
    Ok(Cost {
        requests_per_second,
        p50_ms: number("p50_us") / 1e3,
        p99_ms: number("p99_us") / 1e3,
        cpu_ms: cpu.as_secs_f64() * 1e3 / requests,
    })
}

fn markdown(sizes: &[Size]) -> String {
    let mut text = String::from("| one connection |");
    let mut row = |name: &str, value: &dyn Fn(&Size) -> String| {
        let cells: Vec<String> = sizes.iter().map(value).collect();
        let _ = write!(text, "{name} {} |", cells.join(" | "));
    };
    let Some(first) = sizes.first() else { return text };
    row("", &|of| format!("{} objects", of.objects));
    row("\n|---|", &|_| "---:".to_owned());
    for (place, case) in cases(first.objects).iter().enumerate() {
        for (title, figure) in [("p50 ms", (|cost| cost.p50_ms) as Figure), ("CPU ms", |cost| cost.cpu_ms)] {
            row(&format!("\n| {}: {title} |", case.name), &|size| {
                let ratio = size.ratio(first, place, figure);
                let mark = if ratio > RATIO_MAX { "**" } else { "" };
                format!("{:.3} ({mark}{ratio:.2}{mark})", size.median(place, figure))
            });
        }
    }
    row("\n| ready after a start, killed while idle, s |", &|of| format!("{:.2}", of.start_ms / 1e3));
    row("\n| ready after a start, killed after writes, s |", &|of| format!("{:.2}", of.start_after_load_ms / 1e3));
    row("\n| resident at the end / at most, MiB |", &|of| {
        format!("{} / {}", of.resident_bytes >> 20, of.resident_bytes_max >> 20)
    });
    row("\n| files of all three zones, MiB |", &|of| (of.disk_bytes >> 20).to_string());
    row("\n| filling through the catalog, objects/s |", &|of| {
        format!("{:.0}", f64::from(u32::try_from(of.objects).unwrap_or(u32::MAX)) / of.fill_seconds)
    });
    text
}

fn as_json(size: &Size) -> serde_json::Value {
    let cases = cases(size.objects);
    json!({
        "objects": size.objects,
        "costs": cases.iter().enumerate().map(|(place, case)| json!({
            "name": case.name,
            "requests_per_second": size.median(place, |cost| cost.requests_per_second),
            "p50_ms": size.median(place, |cost| cost.p50_ms),
            "p99_ms": size.median(place, |cost| cost.p99_ms),
            "cpu_ms": size.median(place, |cost| cost.cpu_ms),
        })).collect::<Vec<_>>(),
        "start_ms": size.start_ms,
        "start_after_load_ms": size.start_after_load_ms,
        "resident_bytes": size.resident_bytes,
        "resident_bytes_max": size.resident_bytes_max,
        "disk_bytes": size.disk_bytes,
        "fill_seconds": size.fill_seconds,
    })
}
