//! Who wrote a copy, and in which life of the zone it is.

use std::collections::BTreeSet;

use cairn_types::{ChunkId, Locator, SessionId};
use cairn_zone::{Zone, ZoneError};

use super::{Subject, chunk_id, delete, expect, payload, walk_since};

/// Each copy keeps the session of whoever wrote it, which need not be the one in the chunk's id (S1, B4), and a walk may begin with a
/// session. Both outlive a restart.
pub async fn keeps_the_session_of_each_writer(subject: &mut dyn Subject) {
    let mut zone = subject.zone();
    let mut written: Vec<(SessionId, ChunkId, Locator)> = Vec::new();
    for number in 0..60 {
        // Mostly rising, as sessions are, with late ones of earlier sessions among them.
        let session = SessionId(if number % 7 == 3 { 2 } else { 4 + number / 10 });
        let id = chunk_id(number % 20);
        let bytes = payload(number, 20_000.min(zone.capabilities().chunk_bytes_max));
        let placed = zone.write(session, id, vec![bytes]).await.expect("writing");
        written.push((session, id, placed.locator));
    }
    let (_, id, gone) = written.remove(17);
    delete(&*zone, &gone, id).await.expect("deleting");
    written.sort();
    for round in 0..2 {
        for since in [0, 1, 2, 3, 4, 6, 9, 10, u64::MAX].map(SessionId) {
            let expected: Vec<_> = written.iter().filter(|(session, ..)| *session >= since).cloned().collect();
            for count_max in [1, 7, 1000] {
                let walked = walk_since(&*zone, since, count_max).await;
                let mut listed: Vec<_> = walked.into_iter().map(|found| (found.session, found.id, found.locator)).collect();
                listed.sort();
                assert_eq!(listed, expected, "since {since:?} in pages of {count_max}, round {round}");
            }
        }
        if round == 0 && zone.capabilities().durable {
            drop(zone);
            subject.reopen().await;
            zone = subject.zone();
        }
    }
}

/// No locator is given out twice, over deletions, restarts and lives. One of an earlier life opens and deletes nothing, although the
/// same chunks are written in the same order again, as a rebuild may (B2, B7).
pub async fn names_nothing_of_an_earlier_life(subject: &mut dyn Subject) {
    const CHUNKS: u64 = 12;
    let mut given: BTreeSet<Locator> = BTreeSet::new();
    let mut earlier: Vec<(Locator, ChunkId)> = Vec::new();
    let bytes: Vec<_> = (0..CHUNKS).map(|number| payload(number, 3000 + 900 * number as usize)).collect();
    let mut incarnation = subject.zone().incarnation();
    for life in 0..3 {
        let mut live: Vec<(Locator, ChunkId, usize)> = Vec::new();
        for sitting in 0..2 {
            let zone = subject.zone();
            assert_eq!(zone.incarnation(), incarnation, "a restart is not a new life");
            for number in 0..CHUNKS {
                let id = chunk_id(number);
                let placed = zone.write(super::WRITER, id, vec![bytes[number as usize].clone()]).await.expect("writing");
                assert!(given.insert(placed.locator.clone()), "life {life}: {:?} was given out twice", placed.locator);
                live.push((placed.locator, id, number as usize));
            }
            // All of one sitting: the files that it was in may be used again.
            if sitting == 0 {
                for (locator, id, _) in live.drain(..CHUNKS as usize / 2) {
                    delete(&*zone, &locator, id).await.expect("deleting");
                    earlier.push((locator, id));
                }
            }
            refuse_all(&*zone, &earlier).await;
            for (locator, id, number) in &live {
                expect(&*zone, locator, *id, &bytes[*number]).await;
            }
            let usage = zone.usage().await.expect("usage");
            assert_eq!(usage.chunks, live.len() as u64, "nothing was deleted by the locator of another life");
            if zone.capabilities().durable {
                drop(zone);
                subject.reopen().await;
            }
        }
        earlier.extend(live.into_iter().map(|(locator, id, _)| (locator, id)));
        subject.begin_new_life().await;
        let zone = subject.zone();
        assert!(zone.incarnation() > incarnation, "incarnations rise");
        incarnation = zone.incarnation();
        assert_eq!(walk_since(&*zone, SessionId(0), 10).await, Vec::new(), "a new life begins with nothing");
        refuse_all(&*zone, &earlier).await;
    }
}

/// Locators that name nothing any more: reading finds nothing, deleting is done or refused.
async fn refuse_all(zone: &dyn Zone, gone: &[(Locator, ChunkId)]) {
    for (locator, id) in gone {
        let answer = zone.read(locator, *id, 0, 10).await;
        assert!(matches!(answer, Err(ZoneError::NotFound | ZoneError::Refused(_))), "{locator:?} opened something: {answer:?}");
    }
    for ((locator, _), answer) in gone.iter().zip(zone.delete(gone).await) {
        assert!(matches!(answer, Ok(()) | Err(ZoneError::NotFound | ZoneError::Refused(_))), "{locator:?}: {answer:?}");
    }
}
