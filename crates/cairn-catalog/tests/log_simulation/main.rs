//! The replicated log under seeded crashes and faults, judged by a checker that knows nothing of how it works.
//!
//! Clients append unique numbers to lists. What was acknowledged must be there for ever, at the place that the acknowledgement named;
//! what was not may be there once or not at all; nobody ever sees a list that is not a prefix of what it becomes. Each rule of
//! docs/protocol.md that the log follows is taken out once, to see that a seed notices.

mod drills;
mod machine;
mod mutations;
mod refusals;
mod world;

use world::World;

/// How many seeds a test runs: few in the gate, the full count in the long run.
fn seeds(gate: u64, long: u64) -> std::ops::Range<u64> {
    let from = std::env::var("CAIRN_SEED").ok().and_then(|seed| seed.parse().ok());
    match from {
        Some(seed) => {
            let _ = tracing_subscriber::fmt().without_time().with_max_level(tracing::Level::DEBUG).try_init();
            seed..seed + 1
        }
        None if std::env::var_os("CAIRN_LONG").is_some() => 0..long,
        None => 0..gate,
    }
}

#[test]
fn acknowledged_commands_survive_crashes_and_faults() {
    for seed in seeds(60, 2000) {
        if let Err(reason) = World::run(seed, 6) {
            panic!("seed {seed} (run it alone with CAIRN_SEED={seed}): {reason}");
        }
    }
}

#[test]
fn the_simulation_is_deterministic() {
    for seed in 0..3 {
        assert_eq!(World::trace(seed, 4), World::trace(seed, 4), "seed {seed}");
    }
}
