//! What stays over many operations and over a restart.

use std::collections::BTreeMap;

use bytes::Bytes;
use cairn_types::{ChunkId, Locator, SessionId};
use cairn_zone::ZoneError;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{Subject, chunk_id, delete, expect, payload, put, walk};

/// A zone is a map from locator to (chunk, bytes); random operations keep to it. Durable engines are reopened now and then.
pub async fn agrees_with_a_model(subject: &mut dyn Subject, seed: u64) {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut zone = subject.zone();
    let durable = zone.capabilities().durable;
    let longest = zone.capabilities().chunk_bytes_max.min(100_000);
    let mut model: BTreeMap<Locator, (ChunkId, Bytes)> = BTreeMap::new();
    let mut gone: Vec<(Locator, ChunkId)> = Vec::new();
    for step in 0..200 {
        match random.random_range(0..100) {
            0..45 => {
                let id = chunk_id(random.random_range(0..50));
                let length = match random.random_range(0..4) {
                    0 => random.random_range(0..=longest),
                    1 => random.random_range(0..=4200.min(longest)),
                    2 => (4096 * random.random_range(0..8_usize)).min(longest),
                    _ => random.random_range(0..=20_000.min(longest)),
                };
                let bytes = payload(seed << 32 | step, length);
                let locator = put(&*zone, id, &bytes).await;
                let before = model.insert(locator.clone(), (id, bytes));
                assert!(before.is_none(), "seed {seed}, step {step}: {locator:?} was given out twice");
                assert!(gone.iter().all(|(old, _)| *old != locator), "seed {seed}, step {step}: {locator:?} came back");
            }
            45..65 => {
                let Some((locator, id, bytes)) = pick(&mut random, &model) else {
                    continue;
                };
                let start = random.random_range(0..=bytes.len());
                let count = random.random_range(0..=bytes.len() - start);
                let read = zone.read(&locator, id, start as u64, count).await;
                let read = read.unwrap_or_else(|error| panic!("seed {seed}, step {step}: {error}"));
                assert!(read == bytes.slice(start..start + count), "seed {seed}, step {step}: other bytes");
            }
            65..85 => {
                let mut chunks = Vec::new();
                for _ in 0..random.random_range(1..6) {
                    if let Some((locator, id, _)) = pick(&mut random, &model) {
                        chunks.push((locator, id));
                    }
                }
                if let Some(old) = gone.last() {
                    chunks.push(old.clone());
                }
                for answer in zone.delete(&chunks).await {
                    answer.unwrap_or_else(|error| panic!("seed {seed}, step {step}: deleting: {error}"));
                }
                for (locator, id) in chunks {
                    model.remove(&locator);
                    gone.push((locator, id));
                }
            }
            85..92 => {
                if let Some((locator, id)) = gone.get(random.random_range(0..gone.len().max(1))) {
                    let answer = zone.read(locator, *id, 0, 0).await;
                    assert!(matches!(answer, Err(ZoneError::NotFound)), "seed {seed}, step {step}: {answer:?}");
                }
            }
            92..97 => {
                let listed = walk(&*zone, random.random_range(1..20)).await;
                let mut listed: Vec<_> = listed.into_iter().map(|found| (found.locator, found.id, found.length)).collect();
                listed.sort();
                let expected: Vec<_> =
                    model.iter().map(|(locator, (id, bytes))| (locator.clone(), *id, bytes.len() as u64)).collect();
                assert_eq!(listed, expected, "seed {seed}, step {step}");
                let usage = zone.usage().await.expect("usage");
                let bytes: u64 = model.values().map(|(_, bytes)| bytes.len() as u64).sum();
                assert_eq!((usage.chunks, usage.bytes), (model.len() as u64, bytes), "seed {seed}, step {step}");
            }
            _ if durable => {
                drop(zone);
                subject.reopen().await;
                zone = subject.zone();
            }
            _ => {}
        }
    }
    for (locator, (id, bytes)) in &model {
        expect(&*zone, locator, *id, bytes).await;
    }
}

fn pick(random: &mut ChaCha8Rng, model: &BTreeMap<Locator, (ChunkId, Bytes)>) -> Option<(Locator, ChunkId, Bytes)> {
    let at = random.random_range(0..model.len().max(1));
    model.iter().nth(at).map(|(locator, (id, bytes))| (locator.clone(), *id, bytes.clone()))
}

/// Chunks, deletions, locators and the incarnation outlive a restart; nothing comes back and nothing is given out twice.
pub async fn keeps_everything_over_a_restart(subject: &mut dyn Subject) {
    let mut kept = Vec::new();
    let mut gone = Vec::new();
    for round in 0..4 {
        let zone = subject.zone();
        let incarnation = zone.incarnation();
        for number in round * 30..round * 30 + 30 {
            let bytes = payload(number, 500 + usize::try_from(number).expect("small") * 311);
            let locator = put(&*zone, chunk_id(number), &bytes).await;
            kept.push((chunk_id(number), locator, bytes));
        }
        for _ in 0..9 {
            let (id, locator, _) = kept.remove((kept.len() * 7 / 13 + 3) % kept.len());
            delete(&*zone, &locator, id).await.expect("deleting");
            gone.push((id, locator));
        }
        drop(zone);
        subject.reopen().await;
        let zone = subject.zone();
        assert_eq!(zone.incarnation(), incarnation, "a restart is not a new life");
        for (id, locator, bytes) in &kept {
            expect(&*zone, locator, *id, bytes).await;
        }
        for (id, locator) in &gone {
            assert!(matches!(zone.read(locator, *id, 0, 1).await, Err(ZoneError::NotFound)), "{id:?} came back");
            delete(&*zone, locator, *id).await.expect("deleting again after a restart");
        }
        assert_eq!(walk(&*zone, 11).await.len(), kept.len());
        let usage = zone.usage().await.expect("usage");
        let bytes: u64 = kept.iter().map(|(_, _, bytes)| bytes.len() as u64).sum();
        assert_eq!((usage.chunks, usage.bytes), (kept.len() as u64, bytes));
    }
}

/// A walk that was under way when the zone restarted goes on from its cursor.
pub async fn walks_on_over_a_restart(subject: &mut dyn Subject) {
    let zone = subject.zone();
    for number in 0..20 {
        put(&*zone, chunk_id(number), &payload(number, 10_000)).await;
    }
    let first = zone.enumerate(SessionId(0), None, 6).await.expect("listing");
    let mut seen: Vec<_> = first.found.into_iter().map(|found| found.id).collect();
    let mut from = first.next;
    drop(zone);
    subject.reopen().await;
    let zone = subject.zone();
    while let Some(cursor) = from {
        let page = zone.enumerate(SessionId(0), Some(cursor), 6).await.expect("listing after a restart");
        seen.extend(page.found.into_iter().map(|found| found.id));
        from = page.next;
    }
    seen.sort();
    assert_eq!(seen, (0..20).map(chunk_id).collect::<Vec<_>>());
}
