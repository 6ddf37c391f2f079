//! The replica layer under faults, in simulated time, from a seed.
//!
//! Three zones ([`zone`]) that hang, fail, lose answers, land writes late, lose their memory and rot; a catalog ([`catalog`]) in memory that
//! keeps its contract and loses answers; gateways ([`gateway`]) that crash and pause at any step; clients ([`world`]) that put, get, copy,
//! delete and go away; and a checker ([`checker`]) that knows what was acknowledged and looks into the zones directly. It judges:
//!
//! - invariant 1: what was acknowledged stands in two zones when it is acknowledged, and reads back to the last byte;
//! - invariant 4: no place that a committed blob names is empty or damaged, except where a fault put it out; and when all has been quiet
//!   for a while, zones hold what blobs name and nothing else;
//! - invariant 5: what lacks a zone stands in the index, and when all has been quiet nothing lacks one.
//!
//! A seed is replayed by `CAIRN_SEED=n cargo test -p cairn-replica simulation::seeds`; `CAIRN_SEEDS=n` runs more of them.

mod audit;
mod catalog;
mod checker;
mod compaction;
mod drivers;
mod forgetting;
mod gateway;
mod works;
mod world;
mod zone;

use catalog::Rule;
use world::{Outcome, Setup, World};

use crate::replicator::LeftOut;

fn run(seed: u64, setup: Setup) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let outcome = runtime.block_on(World::run(seed, setup));
    drop(runtime);
    outcome
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

#[test]
fn seeds() {
    let (first, count) = match number("CAIRN_SEED") {
        Some(seed) => (seed, 1),
        None => (0, number("CAIRN_SEEDS").unwrap_or(10)),
    };
    let mut acknowledged = 0;
    for seed in first..first + count {
        let outcome = run(seed, Setup::default());
        assert!(outcome.problems.is_empty(), "seed {seed}: {:#?}", outcome.problems);
        acknowledged += outcome.acknowledged;
        if number("CAIRN_SEED").is_some() {
            println!("{outcome:#?}");
        }
    }
    assert!(acknowledged >= count * 10, "{acknowledged} writes were acknowledged in {count} seeds: nothing was tested");
}

#[test]
fn a_seed_repeats_exactly() {
    let runs = [run(7, Setup::default()), run(7, Setup::default())];
    assert!(runs[0].steps > 1_000);
    assert_eq!(runs[0], runs[1]);
}

/// Some seed finds the rule missing; `first` is one that did when this was written.
fn is_found_missing(first: u64, setup: &Setup) {
    for seed in (first..first + 100).chain(0..first) {
        let outcome = run(seed, setup.clone());
        if !outcome.problems.is_empty() {
            println!("seed {seed}: {:#?}", outcome.problems);
            return;
        }
    }
    panic!("no seed finds out that {setup:?} is left out");
}

#[test]
fn b1_is_needed() {
    is_found_missing(0, &Setup { left_out: Some(LeftOut::Verifying), ..Setup::default() });
}

#[test]
fn b3_is_needed() {
    is_found_missing(13, &Setup { left_out: Some(LeftOut::Incarnations), rule_left_out: Some(Rule::B3Incarnations) });
}

#[test]
fn b4_the_copiers_session_must_be_open() {
    is_found_missing(1, &Setup { rule_left_out: Some(Rule::B4Session), ..Setup::default() });
}

#[test]
fn b5_a_copy_increments_only_an_uncondemned_blob() {
    is_found_missing(61, &Setup { rule_left_out: Some(Rule::B5Copy), ..Setup::default() });
}

#[test]
fn s2_a_closed_session_commits_nothing() {
    is_found_missing(49, &Setup { rule_left_out: Some(Rule::S2Commit), ..Setup::default() });
}

#[test]
fn s2_open_sessions_are_left_alone() {
    is_found_missing(0, &Setup { left_out: Some(LeftOut::OpenSessions), ..Setup::default() });
}

#[test]
fn s1_a_copy_is_judged_by_the_session_of_whoever_wrote_it() {
    is_found_missing(12, &Setup { left_out: Some(LeftOut::WritersSession), ..Setup::default() });
}

#[test]
fn b4_a_moved_chunk_is_named_before_it_is_deleted() {
    is_found_missing(0, &Setup { left_out: Some(LeftOut::NamingFirst), ..Setup::default() });
}

#[test]
fn s2_orphans_are_looked_up() {
    is_found_missing(0, &Setup { left_out: Some(LeftOut::Naming), ..Setup::default() });
}
