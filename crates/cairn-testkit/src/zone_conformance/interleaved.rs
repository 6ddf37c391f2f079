//! Several callers at once.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::pin;
use std::task::Poll;

use cairn_types::SessionId;
use cairn_zone::ZoneError;
use futures::future::join_all;

use super::{Subject, WRITER, chunk_id, delete, expect, payload, put, walk};

/// Chunks that are there for the whole of a walk are listed exactly once, while others come and go between its pages (S3).
pub async fn lists_what_stays_while_others_come_and_go(subject: &dyn Subject) {
    let zone = subject.zone();
    let mut staying = BTreeSet::new();
    let mut going = Vec::new();
    for number in 0..40 {
        let locator = put(&*zone, chunk_id(number), &payload(number, 20_000)).await;
        if number % 2 == 0 {
            staying.insert((chunk_id(number), locator));
        } else {
            going.push((chunk_id(number), locator));
        }
    }
    let mut seen: BTreeMap<_, u32> = BTreeMap::new();
    let mut from = None;
    let mut number = 1000;
    loop {
        let page = zone.enumerate(SessionId(0), from, 3).await.expect("listing");
        for found in page.found {
            *seen.entry((found.id, found.locator)).or_default() += 1;
        }
        if number < 1100 {
            put(&*zone, chunk_id(number), &payload(number, 20_000)).await;
            number += 1;
        }
        for _ in 0..2 {
            if let Some((id, locator)) = going.pop() {
                delete(&*zone, &locator, id).await.expect("deleting");
            }
        }
        from = page.next;
        if from.is_none() {
            break;
        }
    }
    for chunk in &staying {
        assert_eq!(seen.get(chunk), Some(&1), "{chunk:?} was there all the time");
    }
    assert!(seen.values().all(|count| *count == 1), "nothing is listed twice");
}

/// Many writers at once, each with its own chunks.
pub async fn takes_many_writers_at_once(subject: &dyn Subject) {
    let zone = subject.zone();
    let written = join_all((0..96).map(|number| {
        let zone = zone.clone();
        async move {
            let bytes = payload(number, 1 + usize::try_from(number).expect("small") * 977);
            let locator = put(&*zone, chunk_id(number), &bytes).await;
            (chunk_id(number), locator, bytes)
        }
    }))
    .await;
    join_all(written.iter().map(|(id, locator, bytes)| expect(&*zone, locator, *id, bytes))).await;
    assert_eq!(walk(&*zone, 10).await.len(), written.len());
}

/// A caller that gives up in the middle of a write leaves a whole chunk or none, and a zone that goes on.
pub async fn stays_whole_when_callers_give_up(subject: &dyn Subject) {
    let zone = subject.zone();
    for number in 0..40 {
        let mut writing = pin!(zone.write(WRITER, chunk_id(number), vec![payload(number, 30_000)]));
        for _ in 0..number % 5 {
            let answered = futures::future::poll_fn(|context| Poll::Ready(writing.as_mut().poll(context).is_ready())).await;
            if answered {
                break;
            }
            tokio::task::yield_now().await;
        }
        // The write is dropped here, wherever it was.
    }
    let bytes = payload(500, 30_000);
    let locator = put(&*zone, chunk_id(500), &bytes).await;
    expect(&*zone, &locator, chunk_id(500), &bytes).await;
    let listed = walk(&*zone, 100).await;
    assert!(listed.iter().any(|found| found.id == chunk_id(500)));
    for found in listed.iter().filter(|found| found.id != chunk_id(500)) {
        let number = (0..40).find(|number| chunk_id(*number) == found.id).expect("one of those that were begun");
        assert_eq!(found.length, 30_000);
        expect(&*zone, &found.locator, found.id, &payload(number, 30_000)).await;
    }
}

/// While a chunk is being deleted a reader gets all of it or learns that it is gone; never zeros, never another chunk's bytes.
pub async fn never_shows_a_chunk_that_is_being_deleted_in_part(subject: &dyn Subject) {
    let zone = subject.zone();
    for round in 0..12 {
        let (id, bytes) = (chunk_id(round), payload(round, 150_000.min(zone.capabilities().chunk_bytes_max)));
        let locator = put(&*zone, id, &bytes).await;
        let readers = join_all((0..12_usize).map(|reader| {
            let (zone, locator, bytes) = (zone.clone(), locator.clone(), bytes.clone());
            async move {
                for _ in 0..reader % 4 {
                    tokio::task::yield_now().await;
                }
                let start = bytes.len() / 16 * reader;
                match zone.read(&locator, id, start as u64, bytes.len() / 16).await {
                    Ok(read) => assert!(read == bytes.slice(start..start + bytes.len() / 16), "a reader saw other bytes"),
                    Err(ZoneError::NotFound) => {}
                    Err(other) => panic!("reading while it is deleted: {other}"),
                }
            }
        }));
        let (deleted, _) = futures::join!(delete(&*zone, &locator, id), readers);
        deleted.expect("deleting");
        assert!(matches!(zone.read(&locator, id, 0, 10).await, Err(ZoneError::NotFound)));
    }
    assert!(walk(&*zone, 10).await.is_empty());
}

/// Two collectors delete the same chunks while the same ids are written anew: the old are gone, the new stand.
pub async fn deletes_the_same_chunk_from_two_sides(subject: &dyn Subject) {
    let zone = subject.zone();
    let mut old = Vec::new();
    for number in 0..20 {
        old.push((put(&*zone, chunk_id(number), &payload(number, 8000)).await, chunk_id(number)));
    }
    let writers = join_all((0..20).map(|number| {
        let zone = zone.clone();
        async move {
            let bytes = payload(100 + number, 8000);
            (put(&*zone, chunk_id(number), &bytes).await, bytes)
        }
    }));
    let (one, two, new) = futures::join!(zone.delete(&old), zone.delete(&old), writers);
    assert!(one.iter().chain(&two).all(Result::is_ok), "{one:?} {two:?}");
    for ((locator, bytes), (old, id)) in new.iter().zip(&old) {
        expect(&*zone, locator, *id, bytes).await;
        assert!(matches!(zone.read(old, *id, 0, 10).await, Err(ZoneError::NotFound)));
    }
    let usage = zone.usage().await.expect("usage");
    assert_eq!((usage.chunks, usage.bytes), (20, 160_000));
}
