//! Mixed load for a long time on a store of bounded size: what the service takes levels off, and afterwards everything is there, whole, and
//! nothing else is.
//!
//! Clients write, overwrite, copy, read and delete keys of their own, in every way that S3 has, and hold each answer against what must come of it.
//! Meanwhile the service is looked at from outside ([`sample`]). Then the load ends, the garbage of it goes, and everything is read back; the
//! chunks in each zone are those of what is there, to the byte; the store's own audit of itself is clean.
//!
//! In the gate this takes half a minute, which shows that the trial works: sizes are bounded, but nothing has had the time to level off.

mod client;
mod level;
mod model;
mod sample;
mod world;

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use cairn_testkit::s3_client::{S3Client, S3Request, path};
use client::{BUCKETS, Client};
use level::Allowance;
use model::{pieces, stored_bytes};
use sample::{Sample, names};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use world::{Sort, World};

use crate::connection::Connection;
use crate::seed;
use crate::service::{Home, Service, ZONES};

/// How a run is sized.
struct Plan {
    /// How long the clients ask.
    load: Duration,
    /// Between two looks.
    look_every: Duration,
    /// Clients at once.
    clients: u64,
    /// Keys that each has in each bucket.
    keys: u64,
    /// Requests a second, all together.
    requests_per_second: f64,
    /// How long what was deleted stays for readers, seconds.
    grace_s: u64,
    /// Whether everything must have levelled off.
    levels: bool,
}

impl Plan {
    fn new() -> Self {
        let seconds = std::env::var("CAIRN_TRIALS_SECONDS").ok().and_then(|text| text.parse().ok());
        if seed::is_long() {
            return Self {
                load: Duration::from_secs(seconds.unwrap_or(3600)),
                look_every: Duration::from_secs(20),
                clients: 8,
                keys: 190,
                requests_per_second: 120.0,
                grace_s: 60,
                levels: true,
            };
        }
        Self {
            load: Duration::from_secs(seconds.unwrap_or(20)),
            look_every: Duration::from_secs(1),
            clients: 6,
            keys: 12,
            requests_per_second: 120.0,
            grace_s: 10,
            levels: false,
        }
    }
}

/// How much more than the quarter before the last one may have. Machines are noisy, and files grow and shrink by whole segments.
fn allowance(name: &str) -> Allowance {
    let (percent, ratio, more, most) = match name {
        // What 64 uploads at once fit into, by the trial of memory.
        "resident MiB" => (50, 1.05, 16.0, 512.0),
        "descriptors" => (50, 1.05, 8.0, 1000.0),
        "threads" => (50, 1.1, 8.0, 600.0),
        name if name.ends_with("segments MiB") => (50, 1.1, 128.0, 5120.0),
        name if name.ends_with("log MiB") => (50, 1.1, 32.0, 1024.0),
        name if name.ends_with("checkpoint MiB") => (50, 1.1, 32.0, 1024.0),
        name if name.ends_with("stored MiB") || name == "live MiB" => (50, 1.1, 64.0, 5120.0),
        "probe p50 ms" | "probe p99 ms" => (25, f64::INFINITY, 0.0, f64::INFINITY),
        // Latencies.
        _ => (25, 2.0, 2.0, f64::INFINITY),
    };
    Allowance { percent, ratio, more, most }
}

/// Judges everything that was watched: one line for each number, and one for each that has not levelled off.
fn judge(samples: &[Sample]) -> Result<Vec<String>, Vec<String>> {
    let names = names();
    // A machine that others use more than before may be slower by as much.
    let slower = |name: &str| {
        let probe = names.iter().position(|own| own == name).and_then(|number| level::quarters(samples, number, 25));
        probe.map_or(1.0, |(third, last)| (last / third).max(1.0))
    };
    let slower = slower("probe p50 ms").max(slower("probe p99 ms"));
    let (mut level, mut growing) = (Vec::new(), Vec::new());
    for (number, name) in names.iter().enumerate() {
        let mut allowance = allowance(name);
        if name.ends_with("ms") {
            allowance.ratio *= slower;
        }
        match level::judge(samples, number, allowance) {
            Ok((third, last)) => level.push(format!("{name}: {third:.1} in the third quarter, {last:.1} in the last")),
            Err(what) => growing.push(format!("{name}: {what}")),
        }
    }
    if growing.is_empty() { Ok(level) } else { Err(growing) }
}

/// Writes 4 KiB beside the store and syncs them, over and over.
async fn probe(home: &Home, world: Arc<World>) {
    let file = Arc::new(std::fs::File::create(home.beside("probe")).unwrap());
    while !world.is_over() {
        let (file, begun) = (file.clone(), tokio::time::Instant::now());
        let writing = tokio::task::spawn_blocking(move || {
            use std::os::unix::fs::FileExt as _;
            file.write_all_at(&[7; 4096], 0).unwrap();
            file.sync_data().unwrap();
        });
        writing.await.unwrap();
        world.took(Sort::Probe, begun.elapsed());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn make_buckets(client: &S3Client) {
    let mut one = Connection::new(client.clone());
    for bucket in BUCKETS {
        assert_eq!(one.send(&S3Request::new("PUT", path(bucket, ""))).await.unwrap().status, 200);
    }
    let document = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
    let enable = S3Request::new("PUT", path(BUCKETS[1], "")).query("versioning", "").body(document);
    assert_eq!(one.send(&enable).await.unwrap().status, 200);
}

/// Prints samples as a table that other programs can read, and keeps it beside the store.
fn show(home: &Home, samples: &[Sample]) {
    let mut text = format!("seconds\t{}\n", names().join("\t"));
    for sample in samples {
        let numbers: Vec<String> = sample.numbers.iter().map(|number| format!("{number:.1}")).collect();
        let _ = writeln!(text, "{:.0}\t{}", sample.at, numbers.join("\t"));
    }
    std::fs::write(home.beside("samples.tsv"), text).unwrap();
}

/// The load: gives the clients with what they hold, and what was seen meanwhile.
async fn load(plan: &Plan, home: &Home, service: &Service, world: &Arc<World>) -> (Vec<Client>, Vec<Sample>) {
    #[allow(clippy::cast_precision_loss, reason = "few")]
    let interval = Duration::from_secs_f64(plan.clients as f64 / plan.requests_per_second);
    let clients = (1..=plan.clients).map(|number| Client::new(number, world.clone(), service.root.clone(), plan.keys));
    let mut running: JoinSet<Client> = clients.map(|client| client.run(interval)).collect();
    let begun = tokio::time::Instant::now();
    let mut samples = Vec::new();
    let looking = async {
        while begun.elapsed() < plan.load && !world.is_over() {
            let next = begun + plan.look_every * u32::try_from(samples.len() + 1).unwrap();
            while tokio::time::Instant::now() < next && !world.is_over() {
                tokio::time::sleep_until(next.min(tokio::time::Instant::now() + Duration::from_millis(100))).await;
            }
            samples.push(Sample::take(begun.elapsed().as_secs_f64(), home, service, world).await);
            show(home, &samples);
        }
        world.over.store(true, Ordering::SeqCst);
    };
    tokio::join!(looking, probe(home, world.clone()));
    let mut clients = Vec::new();
    while let Some(ended) = running.join_next().await {
        clients.push(ended.unwrap());
    }
    (clients, samples)
}

/// Between two looks at what the zones store.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// Waits until each zone stores exactly so many bytes: what is there, each piece once, and nothing of what was deleted, overwritten,
/// aborted, cut off or moved. It is looked so often that this takes `at_most` at least: time in which the machine stands still does not count.
async fn until_nothing_else_is_stored(service: &Service, bytes: u64, at_most: Duration) -> Duration {
    let begun = tokio::time::Instant::now();
    let mut stored = [sample::NONE; ZONES.len()];
    for _ in 0..at_most.as_millis() / LOOK_AGAIN.as_millis() {
        let exposed = sample::metrics(service.metrics()).await;
        stored = ZONES.map(|zone| sample::stored(&exposed, zone));
        #[allow(clippy::cast_precision_loss, reason = "2^53 bytes are many")]
        let is_all = stored.iter().all(|stored| (stored - bytes as f64).abs() < 0.5);
        if is_all {
            return begun.elapsed();
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    panic!("{stored:?} bytes are stored in the zones {:?} after the load, and {bytes} are in use", begun.elapsed());
}

/// Everything that the clients hold is there and whole, and nothing else is: by what is read and listed, by what each zone stores, and by the
/// store's own audit.
async fn look_at_everything(plan: &Plan, home: &Home, service: &Service, clients: &mut [Client]) {
    let (mut objects, mut bytes) = (0, 0);
    for client in clients.iter_mut() {
        let read = client.read_everything(service.root.clone()).await.unwrap_or_else(|what| panic!("{what}"));
        (objects, bytes) = (objects + read.0, bytes + read.1);
    }
    println!("soak: {objects} versions read back whole, {} MiB; lists are as they must be", bytes >> 20);

    let live = stored_bytes(clients.iter().flat_map(|client| client.buckets.iter().flat_map(pieces)));
    let waited = until_nothing_else_is_stored(service, live, Duration::from_secs(plan.grace_s + 180)).await;
    println!("soak: each zone stores {} MiB of chunks, those of what is there, {:.0} s after", live >> 20, waited.as_secs_f64());

    // Blocks on the disk: of live chunks a third more at most, and what is begun, just written and kept ready (docs/adr/0005-segments.md).
    for (index, name) in ZONES.into_iter().enumerate() {
        let [segments, log, checkpoint] = sample::zone_bytes(&home.zone(index));
        println!(
            "soak: {name} takes {} MiB in segments, {} in its log, {} in its checkpoint",
            segments >> 20,
            log >> 20,
            checkpoint >> 20
        );
        // A record is its chunk's stored bytes and 128, rounded up to blocks of 4 KiB.
        let most = (live + live / 16) * 4 / 3 + (200 << 20);
        assert!(segments <= most, "{name}: {segments} bytes on the disk, and {most} are the most for {live} in use");
    }

    let audit: Value = serde_json::from_str(&home.admin("audit --output json --settle-seconds 1")).unwrap();
    assert_eq!((&audit["whole"], &audit["findings"]), (&json!(true), &json!([])), "{audit:#}");
    assert_eq!(audit["objects"], json!({ "buckets": 2, "versions": objects, "bytes": bytes, "broken": 0 }), "{audit:#}");
    for zone in audit["zones"].as_array().unwrap() {
        assert_eq!((&zone["good"], &zone["goodBytes"]), (&audit["chunks"], &json!(live)), "{audit:#}");
        assert_eq!((&zone["listed"], &zone["listedBytes"]), (&audit["chunks"], &json!(live)), "{audit:#}");
        assert_eq!((&zone["waiting"], &zone["leftOver"]), (&json!(0), &json!(0)), "{audit:#}");
    }
    println!("soak: the audit is clean: {} chunks in three zones, in {} s", audit["chunks"], audit["seconds"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_it_takes_levels_off_and_everything_is_there_afterwards() {
    let plan = Plan::new();
    let world = Arc::new(World::new(seed::of_run("soak")));
    let home = Home::new("soak");
    let grace = plan.grace_s.to_string();
    // What is kept of reads fills in minutes, so that what grows on is seen.
    let options = ["--metrics-listen", "127.0.0.1:0", "--garbage-grace-s", &grace, "--catalog-cache-mib", "32"];
    let service = Service::start_with(&home, &options).await;
    make_buckets(&service.root).await;

    let begun = tokio::time::Instant::now();
    let (mut clients, samples) = load(&plan, &home, &service, &world).await;
    let wrong = std::mem::take(&mut *world.wrong.lock());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let counts = world.counts.lock().clone();
    println!(
        "soak: {:.0} s of load, {} MiB of bodies written; {}",
        begun.elapsed().as_secs_f64(),
        world.written_bytes.load(Ordering::Relaxed) >> 20,
        counts.iter().map(|(what, count)| format!("{count} {what}")).collect::<Vec<_>>().join(", ")
    );

    look_at_everything(&plan, &home, &service, &mut clients).await;
    let service = if plan.levels {
        // A start sweeps everything, and finds no more to remove.
        service.stop().await;
        let service = Service::start_with(&home, &options).await;
        look_at_everything(&plan, &home, &service, &mut clients).await;
        service
    } else {
        service
    };

    match judge(&samples) {
        Ok(level) => level.iter().for_each(|line| println!("soak: {line}")),
        Err(growing) if plan.levels => panic!("not level:\n{}", growing.join("\n")),
        Err(_) => println!("soak: {} looks; what levels off only a long run can tell", samples.len()),
    }
    service.stop().await;
}
