//! Every target over its seeds, its regressions, and mutations of both: promises hold, and memory is bounded by the input.
//!
//! `CAIRN_FUZZ_ROUNDS` says how many mutations each part of a target gets that costs little (`CAIRN_LONG=1` means many), `CAIRN_FUZZ_SEED` which, `CAIRN_FUZZ_TARGET`
//! which target alone.

use std::alloc::System;

use cairn_fuzz::exercise::exercise;
use cairn_fuzz::{Target, all};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{variable} is not a number: {text}")))
}

// The only test here, so that nothing else allocates while a target is measured.
#[test]
fn promises_hold_for_any_bytes_and_memory_is_bounded_by_them() {
    let is_long = std::env::var("CAIRN_LONG").is_ok_and(|value| value == "1");
    let rounds = number("CAIRN_FUZZ_ROUNDS").unwrap_or(if is_long { 30_000 } else { 3_000 });
    let seed = number("CAIRN_FUZZ_SEED").unwrap_or(1);
    let only = std::env::var("CAIRN_FUZZ_TARGET").ok();
    let targets: Vec<Target> = all().into_iter().filter(|target| only.as_ref().is_none_or(|name| name == target.name)).collect();
    assert!(!targets.is_empty(), "there is no target {only:?}");
    let mut broken = Vec::new();
    for target in &targets {
        let rounds = rounds * target.parts.len() as u64 / target.cost;
        println!("{}: {rounds} rounds from seed {seed}", target.name);
        let mut greediest = 0;
        let outcome = exercise(target, rounds, seed, |input, run| {
            let region = Region::new(ALLOCATOR);
            run();
            let allocated = region.change().bytes_allocated;
            greediest = greediest.max(allocated);
            let allowed = target.allocated_max(input);
            assert!(allocated <= allowed, "{allocated} bytes were allocated for an input of {}", input.len());
        });
        println!("{}: at most {greediest} bytes were allocated", target.name);
        if let Err(error) = outcome {
            broken.push(error.to_string());
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}
