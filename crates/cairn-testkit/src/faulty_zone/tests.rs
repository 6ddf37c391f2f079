use std::sync::Arc;
use std::time::Duration;

use cairn_types::Incarnation;
use cairn_zone::memory::MemoryZone;
use cairn_zone::{Zone, ZoneError};
use futures::FutureExt;

use super::{Fault, FaultyZone, Operation, Rule};
use crate::zone_conformance::{Subject, Volatile, WRITER, chunk_id, delete, expect, payload, put, run_all, walk};

fn fresh(seed: u64) -> FaultyZone {
    FaultyZone::new(Arc::new(MemoryZone::new(Incarnation(1))), seed)
}

fn subject(rule: Option<Rule>) -> Box<dyn Subject> {
    let engine = MemoryZone::new(Incarnation(1));
    let zone = FaultyZone::new(Arc::new(engine.clone()), 1);
    if let Some(rule) = rule {
        zone.inject(rule);
    }
    Box::new(Volatile { zone: Arc::new(zone), engine })
}

#[tokio::test(start_paused = true)]
async fn without_faults_it_is_the_zone_it_wraps() {
    run_all(&|| async { subject(None) }.boxed()).await;
}

/// The suite is worth something only if it notices a zone that is wrong.
#[tokio::test(start_paused = true)]
async fn the_suite_notices_loss_flipped_bits_and_lost_answers() {
    let faults = [
        Rule::on(Operation::Write, Fault::LoseAfterAnswer).after(40).times(1),
        Rule::on(Operation::Read, Fault::FlipBit).after(9).times(1),
        Rule::on(Operation::Delete, Fault::ErrorAfter(ZoneError::Away("lost".into()))).after(3),
    ];
    for rule in faults {
        let run = tokio::spawn(async move {
            let make = move || {
                let rule = rule.clone();
                async move { subject(Some(rule)) }.boxed()
            };
            run_all(&make).await;
        });
        assert!(run.await.is_err(), "the suite must fail");
    }
}

#[tokio::test(start_paused = true)]
async fn hanging_calls_go_on_when_released() {
    let zone = fresh(1);
    zone.inject(Rule::on(Operation::Write, Fault::Hang).times(1));
    zone.inject(Rule::on(Operation::Write, Fault::HangAfter).times(1));
    let tasks: Vec<_> = (0..2)
        .map(|number| {
            let zone = zone.clone();
            tokio::spawn(async move { put(&zone, chunk_id(number), &payload(number, 10)).await })
        })
        .collect();
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(zone.hanging(), 2);
    assert_eq!(walk(&*zone.inner(), 10).await.len(), 1, "one hangs before its work, one after it");
    zone.release();
    for task in tasks {
        task.await.expect("released");
    }
    assert_eq!((zone.hanging(), walk(&zone, 10).await.len()), (0, 2));

    zone.inject(Rule::on(Operation::Read, Fault::Hang));
    let locator = put(&zone, chunk_id(5), &payload(5, 10)).await;
    let given_up = tokio::time::timeout(Duration::from_secs(1), zone.read(&locator, chunk_id(5), 0, 10)).await;
    assert!(given_up.is_err());
    assert_eq!(zone.hanging(), 0, "a caller that gave up hangs no more");
}

#[tokio::test(start_paused = true)]
async fn delays_by_the_paused_clock() {
    let zone = fresh(1);
    zone.inject(Rule::on(Operation::Usage, Fault::Delay(Duration::from_secs(90))));
    let start = tokio::time::Instant::now();
    zone.usage().await.expect("late, but an answer");
    assert_eq!(start.elapsed(), Duration::from_secs(90));
}

#[tokio::test(start_paused = true)]
async fn an_away_zone_has_no_incarnation_and_does_nothing() {
    let zone = fresh(1);
    let bytes = payload(1, 100);
    let locator = put(&zone, chunk_id(1), &bytes).await;
    zone.go_away("the fibre is cut");
    assert_eq!(zone.incarnation(), None);
    let answer = zone.write(WRITER, chunk_id(2), vec![bytes.clone()]).await;
    assert!(matches!(&answer, Err(ZoneError::Away(reason)) if reason == "the fibre is cut"), "{answer:?}");
    assert!(matches!(delete(&zone, &locator, chunk_id(1)).await, Err(ZoneError::Away(_))));
    zone.come_back();
    expect(&zone, &locator, chunk_id(1), &bytes).await;
    assert_eq!(walk(&zone, 10).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_hits_the_same_calls() {
    let mut runs = Vec::new();
    for seed in [7, 7, 8] {
        let zone = fresh(seed);
        let locator = put(&zone, chunk_id(1), &payload(1, 1000)).await;
        zone.inject(Rule::on(Operation::Read, Fault::FlipBit).chance(0.5));
        let mut reads = Vec::new();
        for _ in 0..50 {
            reads.push(zone.read(&locator, chunk_id(1), 0, 1000).await.expect("a read"));
        }
        let changed = reads.iter().filter(|read| **read != payload(1, 1000)).count();
        assert_eq!(changed as u64, zone.hits(), "each hit changes the bytes");
        assert!((10..40).contains(&changed), "{changed} of 50");
        assert_eq!(zone.calls(Operation::Read), 50);
        runs.push(reads);
    }
    assert!(runs[0] == runs[1] && runs[0] != runs[2]);
}
