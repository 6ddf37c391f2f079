//! Each rule is taken out once: if no seed noticed, the simulation would prove nothing about it. (L2, L5, L6, L7 and L9 have schedules of
//! their own among the drills.)

use cairn_catalog::embedded::log::rules::{Rule, take_out};

use crate::world::World;

/// How many of the seeds lose something, or stop working, without the rule.
fn failing(rule: Rule, seeds: std::ops::Range<u64>) -> Option<String> {
    for seed in seeds {
        take_out(Some(rule));
        let result = std::panic::catch_unwind(|| World::run(seed, 6));
        take_out(None);
        match result {
            Ok(Ok(())) => {}
            Ok(Err(reason)) => return Some(format!("seed {seed}: {reason}")),
            Err(_) => return Some(format!("seed {seed}: a panic")),
        }
    }
    None
}

fn is_noticed(rule: Rule) {
    let noticed = failing(rule, 0..600);
    assert!(noticed.is_some(), "no seed notices that {rule:?} is missing");
    println!("without {rule:?}: {}", noticed.unwrap_or_default().chars().take(200).collect::<String>());
}

#[test]
fn without_l1_a_seed_fails() {
    is_noticed(Rule::L1);
}

#[test]
fn without_l3_a_seed_fails() {
    is_noticed(Rule::L3);
}

#[test]
fn without_l4_a_seed_fails() {
    is_noticed(Rule::L4);
}

#[test]
fn without_l8_a_seed_fails() {
    is_noticed(Rule::L8);
}

#[test]
fn without_a_sync_a_seed_fails() {
    is_noticed(Rule::Sync);
}

#[test]
fn without_a_sync_of_names_a_seed_fails() {
    is_noticed(Rule::SyncNames);
}
