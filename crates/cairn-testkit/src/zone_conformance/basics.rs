//! One caller at a time.

use std::collections::BTreeSet;

use bytes::Bytes;
use cairn_types::{Locator, SessionId};
use cairn_zone::ZoneError;

use super::{Subject, WRITER, chunk_id, delete, expect, payload, put, walk};

/// What is written is read back, whole.
pub async fn writes_and_reads_whole_chunks(subject: &dyn Subject) {
    let zone = subject.zone();
    let longest = zone.capabilities().chunk_bytes_max;
    let mut kept = Vec::new();
    for (number, length) in [1, 2, 511, 512, 513, 4095, 4096, 4097, 65_536, 65_540, longest].into_iter().enumerate() {
        let length = length.min(longest);
        let (id, bytes) = (chunk_id(number as u64), payload(number as u64, length));
        kept.push((id, put(&*zone, id, &bytes).await, bytes));
    }
    for (id, locator, bytes) in &kept {
        expect(&*zone, locator, *id, bytes).await;
    }
    let locators: BTreeSet<_> = kept.iter().map(|(_, locator, _)| locator.clone()).collect();
    assert_eq!(locators.len(), kept.len(), "each write has its own locator");
}

/// Empty chunks, empty pieces, many pieces.
pub async fn takes_empty_chunks_and_odd_pieces(subject: &dyn Subject) {
    let zone = subject.zone();
    let empty = zone.write(WRITER, chunk_id(0), Vec::new()).await.expect("an empty chunk").locator;
    assert_eq!(zone.read(&empty, chunk_id(0), 0, 0).await.expect("an empty read"), Bytes::new());
    assert!(matches!(zone.read(&empty, chunk_id(0), 0, 1).await, Err(ZoneError::Refused(_))));

    let whole = payload(1, 5000.min(zone.capabilities().chunk_bytes_max));
    let mut pieces: Vec<Bytes> = (0..whole.len()).map(|at| whole.slice(at..=at)).collect();
    pieces.insert(0, Bytes::new());
    pieces.insert(17, Bytes::new());
    pieces.push(Bytes::new());
    let locator = zone.write(WRITER, chunk_id(1), pieces).await.expect("many pieces").locator;
    expect(&*zone, &locator, chunk_id(1), &whole).await;
    assert_eq!(walk(&*zone, 10).await.len(), 2, "an empty chunk is listed too");
}

/// A chunk over the limit is refused and leaves nothing.
pub async fn refuses_what_is_too_long(subject: &dyn Subject) {
    let zone = subject.zone();
    let longest = zone.capabilities().chunk_bytes_max;
    let bytes = payload(0, longest);
    let answer = zone.write(WRITER, chunk_id(0), vec![bytes, Bytes::from_static(b"x")]).await;
    assert!(matches!(answer, Err(ZoneError::Refused(_))), "one byte over the limit: {answer:?}");
    assert!(walk(&*zone, 10).await.is_empty(), "nothing is kept of a refused write");
}

/// Any range within the chunk; none past its end.
pub async fn reads_ranges_and_refuses_those_past_the_end(subject: &dyn Subject) {
    let zone = subject.zone();
    let length = 200_000.min(zone.capabilities().chunk_bytes_max);
    let (id, bytes) = (chunk_id(0), payload(3, length));
    let locator = put(&*zone, id, &bytes).await;
    put(&*zone, chunk_id(1), &payload(4, length)).await;
    let end = length as u64;
    for round in 0..2 {
        let ranges = [
            (0, 0),
            (0, 1),
            (1, 1),
            (end - 1, 1),
            (end, 0),
            (end / 2, length / 2),
            (end / 3, 1000.min(length / 2)),
            (end / 2 + 1, 512.min(length / 4)),
        ];
        for (offset, count) in ranges {
            let read =
                zone.read(&locator, id, offset, count).await.unwrap_or_else(|error| panic!("{count} at {offset}: {error}"));
            let start = usize::try_from(offset).expect("small");
            assert!(read == bytes.slice(start..start + count), "{count} bytes at {offset} in round {round}");
        }
        for (offset, count) in [(0, length + 1), (end, 1), (end + 1, 0), (end - 1, 2), (u64::MAX, 1), (1, usize::MAX)] {
            let answer = zone.read(&locator, id, offset, count).await;
            assert!(matches!(answer, Err(ZoneError::Refused(_))), "{count} bytes at {offset} pass the end: {answer:?}");
        }
    }
}

/// A locator opens its own chunk only, for reading and for deleting (B7).
pub async fn refuses_another_chunks_locator(subject: &dyn Subject) {
    let zone = subject.zone();
    let (one, two) = (payload(1, 3000), payload(2, 3000));
    let first = put(&*zone, chunk_id(1), &one).await;
    let second = put(&*zone, chunk_id(2), &two).await;
    for round in 0..2 {
        let answer = zone.read(&first, chunk_id(2), 0, 10).await;
        assert!(matches!(answer, Err(ZoneError::Mismatch(_))), "reading in round {round}: {answer:?}");
        let answer = delete(&*zone, &first, chunk_id(2)).await;
        assert!(matches!(answer, Err(ZoneError::Mismatch(_))), "deleting in round {round}: {answer:?}");
        expect(&*zone, &first, chunk_id(1), &one).await;
        expect(&*zone, &second, chunk_id(2), &two).await;
    }
}

/// Deletion is final, can be repeated, and answers each chunk in order.
pub async fn deletes_once_and_again(subject: &dyn Subject) {
    let zone = subject.zone();
    let bytes = payload(1, 10_000);
    let mut locators = Vec::new();
    for number in 0..6 {
        locators.push(put(&*zone, chunk_id(number), &bytes).await);
    }
    assert!(zone.delete(&[]).await.is_empty());
    let answers = zone
        .delete(&[
            (locators[0].clone(), chunk_id(0)),
            (locators[1].clone(), chunk_id(5)),
            (locators[2].clone(), chunk_id(2)),
            (locators[2].clone(), chunk_id(2)),
        ])
        .await;
    assert!(matches!(answers.as_slice(), [Ok(()), Err(ZoneError::Mismatch(_)), Ok(()), Ok(())]), "{answers:?}");
    for number in [0, 2] {
        let answer = zone.read(&locators[number], chunk_id(number as u64), 0, 10).await;
        assert!(matches!(answer, Err(ZoneError::NotFound)), "a deleted chunk is not found: {answer:?}");
        delete(&*zone, &locators[number], chunk_id(number as u64)).await.expect("deleting again");
    }
    for number in [1, 3, 4, 5] {
        expect(&*zone, &locators[number], chunk_id(number as u64), &bytes).await;
    }
    let ids: BTreeSet<_> = walk(&*zone, 100).await.into_iter().map(|found| found.id).collect();
    assert_eq!(ids, [1, 3, 4, 5].map(chunk_id).into(), "the deleted are not listed");
}

/// Two writes of one id live apart: deleting one leaves the other (a retry, a repair).
pub async fn keeps_each_write_of_one_id(subject: &dyn Subject) {
    let zone = subject.zone();
    let (one, two) = (payload(1, 9000), payload(2, 9000));
    let first = put(&*zone, chunk_id(1), &one).await;
    let second = put(&*zone, chunk_id(1), &two).await;
    assert_ne!(first, second);
    assert_eq!(walk(&*zone, 100).await.len(), 2, "once per locator");
    expect(&*zone, &first, chunk_id(1), &one).await;
    delete(&*zone, &first, chunk_id(1)).await.expect("deleting the first");
    expect(&*zone, &second, chunk_id(1), &two).await;
    let third = put(&*zone, chunk_id(1), &one).await;
    assert_ne!(first, third, "a locator is not given out again");
    expect(&*zone, &third, chunk_id(1), &one).await;
    assert!(matches!(zone.read(&first, chunk_id(1), 0, 10).await, Err(ZoneError::NotFound)));
}

/// A full walk lists each live chunk once, with its locator and length, whatever the size of the pages.
pub async fn lists_each_chunk_once_in_pages_of_any_size(subject: &dyn Subject) {
    let zone = subject.zone();
    assert!(walk(&*zone, 10).await.is_empty(), "an empty zone lists nothing");
    let mut live = Vec::new();
    for number in 0..60 {
        let bytes = payload(number, 100 + usize::try_from(number).expect("small") * 37);
        let locator = put(&*zone, chunk_id(number), &bytes).await;
        if number % 4 == 1 {
            delete(&*zone, &locator, chunk_id(number)).await.expect("deleting");
        } else {
            live.push((chunk_id(number), locator, bytes.len() as u64));
        }
    }
    live.sort();
    for count_max in [1, 2, 7, 44, 45, 46, 1000] {
        let mut listed: Vec<_> =
            walk(&*zone, count_max).await.into_iter().map(|found| (found.id, found.locator, found.length)).collect();
        listed.sort();
        assert_eq!(listed, live, "in pages of {count_max}");
    }
    for (id, locator, length) in live {
        delete(&*zone, &locator, id).await.unwrap_or_else(|error| panic!("deleting {id:?} of {length} bytes: {error}"));
    }
    assert!(walk(&*zone, 10).await.is_empty());
}

/// Usage counts live chunks and their bytes.
pub async fn counts_what_is_live(subject: &dyn Subject) {
    let zone = subject.zone();
    let usage = zone.usage().await.expect("usage");
    assert_eq!((usage.chunks, usage.bytes), (0, 0));
    let first = put(&*zone, chunk_id(1), &payload(1, 1000)).await;
    put(&*zone, chunk_id(2), &payload(2, 70_000)).await;
    let usage = zone.usage().await.expect("usage");
    assert_eq!((usage.chunks, usage.bytes), (2, 71_000));
    for _ in 0..2 {
        delete(&*zone, &first, chunk_id(1)).await.expect("deleting");
        let usage = zone.usage().await.expect("usage");
        assert_eq!((usage.chunks, usage.bytes), (1, 70_000), "a repeated deletion counts once");
    }
}

/// Locators and cursors that the engine never made: an error or nothing found, never a panic, never another chunk's bytes.
pub async fn survives_foreign_locators_and_cursors(subject: &dyn Subject) {
    let zone = subject.zone();
    let bytes = payload(1, 5000);
    let own = put(&*zone, chunk_id(1), &bytes).await;
    let mut foreign: Vec<Bytes> = (0..=Locator::LENGTH_MAX).map(|length| payload(99, length)).collect();
    foreign.extend((0..=Locator::LENGTH_MAX).map(|length| Bytes::from(vec![0xff; length])));
    foreign.extend((0..=Locator::LENGTH_MAX).map(|length| Bytes::from(vec![0; length])));
    for at in 0..own.as_bytes().len() * 8 {
        let mut flipped = own.as_bytes().to_vec();
        flipped[at / 8] ^= 1 << (at % 8);
        foreign.push(Bytes::from(flipped));
    }
    foreign.extend((0..own.as_bytes().len()).map(|length| own.as_bytes().slice(..length)));
    for locator in foreign {
        let locator = Locator::new(locator).expect("short enough");
        let answer = zone.read(&locator, chunk_id(1), 0, 10).await;
        assert!(answer.is_err(), "{locator:?} opened something: {answer:?}");
        // Ok (nothing there any more) or refused; either way the chunk stays.
        let _ = delete(&*zone, &locator, chunk_id(1)).await;
    }
    expect(&*zone, &own, chunk_id(1), &bytes).await;
    for cursor in [&b""[..], b"x", b"not a cursor of anybody", &[0xff; 200]] {
        let answer = zone.enumerate(SessionId(0), Some(Bytes::copy_from_slice(cursor)), 10).await;
        assert!(matches!(answer, Err(ZoneError::Refused(_))), "cursor {cursor:?}: {answer:?}");
    }
}
