//! The whole of Cairn on a simulated machine, from seeds: `cairn-store` over the embedded catalog, the replica layer and three zones, as the
//! binary puts them together, below it a disk that loses every unsynced write with the power, tears the last ones, hangs, fails, fills up,
//! forgets and flips bits. (The key-value store alone is a model; the real one is tested on real files.)
//!
//! Several lives of the process a seed, clients with a mixed load in each, and a judge that knows nothing of how the store works: every
//! acknowledged write is there and whole, no unacknowledged one is half there (invariants 1 to 4). `CAIRN_SEED=n` runs one seed and tells all,
//! `CAIRN_LONG=1` runs 2,000, `CAIRN_SIMULATION_SECONDS=n` as many as fit.

mod healing;
mod history;
mod mutations;
mod settings;
mod workload;
mod world;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cairn_disk::{Clock, SystemClock};
use parking_lot::Mutex;

/// Seeds of the long run.
const LONG: u64 = 2000;

/// How long the seeds of a short run may take, wall time.
fn seconds() -> Duration {
    let given = std::env::var("CAIRN_SIMULATION_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(given.unwrap_or(8))
}

#[test]
fn acknowledged_writes_are_there_and_whole_and_no_others_are_half_there() {
    if let Some(seed) = std::env::var("CAIRN_SEED").ok().and_then(|seed| seed.parse().ok()) {
        let filter = tracing_subscriber::EnvFilter::try_from_env("CAIRN_LOG").unwrap_or_else(|_| "info".into());
        let _ = tracing_subscriber::fmt().without_time().with_env_filter(filter).try_init();
        let outcome = world::run(seed, None);
        println!("seed {seed}: {:?}", outcome.counts);
        return outcome.result.unwrap_or_else(|reason| panic!("seed {seed}: {reason}"));
    }
    let is_long = std::env::var_os("CAIRN_LONG").is_some();
    let clock = SystemClock::new();
    let next = AtomicU64::new(0);
    let failed: Mutex<BTreeMap<u64, String>> = Mutex::default();
    let counts: Mutex<BTreeMap<&'static str, u64>> = Mutex::default();
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if if is_long { seed >= LONG } else { clock.monotonic() > seconds() } || failed.lock().len() >= 10 {
                return;
            }
            let outcome = std::panic::catch_unwind(|| world::run(seed, None));
            let outcome = outcome.unwrap_or_else(|_| world::Outcome::panicked());
            for (what, count) in outcome.counts {
                *counts.lock().entry(what).or_default() += count;
            }
            *counts.lock().entry("seed").or_default() += 1;
            if let Err(reason) = outcome.result {
                eprintln!("seed {seed} (run it alone with CAIRN_SEED={seed}): {reason}");
                failed.lock().insert(seed, reason);
            }
        }
    };
    std::thread::scope(|scope| {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        (0..threads).for_each(|_| drop(scope.spawn(work)));
    });
    println!("{:?} in {:.1} s", counts.lock(), clock.monotonic().as_secs_f64());
    let failed = failed.lock();
    assert!(failed.is_empty(), "seeds {:?} failed", failed.keys().collect::<Vec<_>>());
}

/// K1, L8: whatever became of the first start, a store that has served once survives the loss of any one zone, also before its workers have
/// done anything. (Two of the first 2,000 seeds lost the master key so.)
#[test]
fn a_store_that_has_served_for_a_moment_survives_the_loss_of_a_zone() {
    for operations in 1..250 {
        if let Err(reason) = world::short_lives(operations, operations) {
            panic!("after {operations} operations: {reason}");
        }
    }
}

#[test]
fn the_simulation_is_deterministic() {
    for seed in 0..4 {
        let (first, second) = (world::run(seed, None), world::run(seed, None));
        assert_eq!(first.digest, second.digest, "seed {seed}: {:?} and {:?}", first.counts, second.counts);
    }
}
