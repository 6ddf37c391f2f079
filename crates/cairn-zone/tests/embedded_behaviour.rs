//! How the embedded engine behaves beyond the suite: group commit, failing disks, files used again, space given back.

mod common;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use cairn_disk::Disk;
use cairn_testkit::sim_disk::Operation;
use cairn_testkit::sim_environment::simulate;
use cairn_testkit::zone_conformance::{WRITER, chunk_id, delete, expect, payload, put, walk};
use cairn_zone::embedded::format::Place;
use cairn_zone::embedded::{EmbeddedZone, Opening, Settings};
use cairn_zone::{Zone, ZoneError};
use common::{DIRECTORY, Here, Machine, ready, small};
use futures::future::join_all;

fn no_reserve() -> Settings {
    Settings { reserve_bytes: 0, ..small() }
}

fn generation(locator: &cairn_types::Locator) -> u64 {
    Place::decode(locator).expect("our own").generation
}

#[test]
fn one_sync_serves_all_that_wait_and_a_lone_writer_does_not_wait() {
    simulate(async {
        let mut machine = Machine::new(1);
        let zone = machine.open(Settings { segment_bytes: 4 << 20, ..no_reserve() }).await;
        put(&zone, chunk_id(0), &payload(0, 100)).await;
        let before = machine.disk.operations();
        let start = tokio::time::Instant::now();
        put(&zone, chunk_id(1), &payload(1, 100)).await;
        assert_eq!(machine.disk.operations() - before, 2, "one write, one sync");
        assert_eq!(start.elapsed(), Duration::ZERO, "nothing to wait for");

        machine.disk.set_delay_max(Duration::from_millis(5));
        let before = machine.disk.operations();
        join_all((0..100).map(|number| {
            let zone = &zone;
            async move { put(zone, chunk_id(number), &payload(number, 1000)).await }
        }))
        .await;
        let operations = machine.disk.operations() - before;
        assert!(operations <= 20, "{operations} writes and syncs for 100 writers");
        zone.close().await;
    });
}

#[test]
fn after_a_failed_sync_the_zone_is_away_until_opened_again() {
    simulate(async {
        for deleting in [false, true] {
            let mut machine = Machine::new(2);
            let zone = machine.open(no_reserve()).await;
            let bytes = payload(1, 5000);
            let first = put(&zone, chunk_id(1), &bytes).await;
            let fault = machine.disk.fail(Path::new(DIRECTORY), &[Operation::Sync], io::ErrorKind::Other, 1);
            let answer = if deleting {
                delete(&zone, &first, chunk_id(1)).await
            } else {
                zone.write(WRITER, chunk_id(2), vec![bytes.clone()]).await.map(|_| ())
            };
            assert!(matches!(&answer, Err(ZoneError::Away(words)) if words.contains("durable failed")), "{answer:?}");
            machine.disk.lift(fault);
            let operations = machine.disk.operations();
            assert!(matches!(zone.write(WRITER, chunk_id(3), vec![bytes.clone()]).await, Err(ZoneError::Away(_))));
            assert!(matches!(zone.read(&first, chunk_id(1), 0, 10).await, Err(ZoneError::Away(_))));
            assert!(matches!(delete(&zone, &first, chunk_id(1)).await, Err(ZoneError::Away(_))));
            assert_eq!(zone.incarnation(), None);
            zone.close().await;
            assert_eq!(machine.disk.operations(), operations, "nothing is written or synced again, not even at closing");

            let zone = machine.open(no_reserve()).await;
            if deleting {
                delete(&zone, &first, chunk_id(1)).await.expect("deleting again");
            } else {
                expect(&zone, &first, chunk_id(1), &bytes).await;
            }
            put(&zone, chunk_id(4), &bytes).await;
            zone.close().await;
        }
    });
}

/// Linux marks the pages of a failed sync clean: what an opening finds in the page cache may never reach the disk unless it is
/// written again.
#[test]
fn what_a_failed_sync_left_in_the_page_cache_is_written_again() {
    simulate(async {
        for earlier in 1..4 {
            let mut machine = Machine::new(20 + earlier);
            let zone = machine.open(no_reserve()).await;
            for number in 0..earlier {
                put(&zone, chunk_id(number), &payload(number, 5000)).await;
            }
            let fault = machine.disk.fail_sync_and_forget(Path::new(DIRECTORY), 1);
            let answer = zone.write(WRITER, chunk_id(60), vec![payload(60, 5000)]).await;
            assert!(matches!(answer, Err(ZoneError::Away(_))), "{answer:?}");
            machine.disk.lift(fault);
            zone.close().await;
            machine.disk = machine.disk.kill();

            let zone = machine.open(no_reserve()).await;
            let listed = walk(&zone, 10).await;
            let position = zone.position();
            machine.disk = machine.disk.crash();
            let zone = machine.open(no_reserve()).await;
            assert_eq!(walk(&zone, 10).await, listed, "what an opening counted outlives the power");
            assert_eq!(zone.position(), position);
            for found in listed {
                let number = (0..100).find(|number| chunk_id(*number) == found.id).expect("one of ours");
                expect(&zone, &found.locator, found.id, &payload(number, usize::try_from(found.length).expect("small"))).await;
            }
            zone.close().await;
        }
    });
}

/// Writer and deletion change the same file. Of a failed sync the kernel tells only the one who asked, and then calls the other's
/// pages clean too: whoever syncs next must not be told that all is well.
#[test]
fn a_failed_sync_fails_everybody_who_changed_that_file() {
    let (mut failed, mut confirmed) = (0, 0);
    for seed in 0..150 {
        simulate(async {
            let mut machine = Machine::new(seed);
            let zone = machine.open(no_reserve()).await;
            let old = put(&zone, chunk_id(1), &payload(1, 5000)).await;
            machine.disk.set_delay_max(Duration::from_millis(2));
            machine.disk.fail_sync_and_forget(Path::new(DIRECTORY), 3);
            let (deleted, written) =
                futures::join!(delete(&zone, &old, chunk_id(1)), zone.write(WRITER, chunk_id(2), vec![payload(2, 5000)]));
            machine.disk.lift_all();
            machine.disk = machine.disk.crash();
            zone.close().await;
            let zone = machine.open(no_reserve()).await;
            if deleted.is_ok() {
                let answer = zone.read(&old, chunk_id(1), 0, 10).await;
                assert!(matches!(answer, Err(ZoneError::NotFound)), "seed {seed}: a confirmed deletion came back");
            }
            if let Ok(placed) = &written {
                expect(&zone, &placed.locator, chunk_id(2), &payload(2, 5000)).await;
            }
            confirmed += u32::from(deleted.is_ok()) + u32::from(written.is_ok());
            failed += u32::from(deleted.is_err()) + u32::from(written.is_err());
            zone.close().await;
        });
    }
    assert!(confirmed > 50 && failed > 50, "{confirmed} confirmed and {failed} failed show nothing");
}

#[test]
fn an_answer_counts_only_while_the_directory_is_there() {
    simulate(async {
        let mut machine = Machine::new(3);
        let here = Arc::new(Here::default());
        let opening = Opening { presence: here.clone(), ..machine.opening(no_reserve()) };
        let (zone, _) = ready(opening).await;
        let locator = put(&zone, chunk_id(1), &payload(1, 10)).await;
        here.0.store(true, Ordering::SeqCst);
        let answer = zone.write(WRITER, chunk_id(2), vec![payload(2, 10)]).await;
        assert!(matches!(&answer, Err(ZoneError::Away(words)) if words.contains("gone")), "{answer:?}");
        assert!(matches!(zone.read(&locator, chunk_id(1), 0, 1).await, Err(ZoneError::Away(_))), "and it stays away");
        zone.close().await;

        // The directory is emptied or removed by somebody's hand; the sync on the removed file succeeds all the same (L6).
        for only_files in [true, false] {
            let here = Arc::new(Here::default());
            let opening = Opening { presence: here, ..machine.opening(no_reserve()) };
            let (zone, _) = ready(opening).await;
            put(&zone, chunk_id(1), &payload(1, 10)).await;
            if only_files {
                let disk = machine.disk.boot();
                for (path, _) in machine.files() {
                    disk.remove_file(&path).await.expect("removing");
                }
            } else {
                machine.disk.remove_tree(Path::new(DIRECTORY));
            }
            let answer = zone.write(WRITER, chunk_id(2), vec![payload(2, 10)]).await;
            let said = if only_files { "file was removed" } else { "segments was removed" };
            assert!(matches!(&answer, Err(ZoneError::Away(words)) if words.contains(said)), "{answer:?}");
            zone.close().await;
        }
    });
}

#[test]
fn a_hanging_disk_holds_its_callers_and_nobody_elses_data() {
    simulate(async {
        let mut machine = Machine::new(4);
        let zone = Arc::new(machine.open(no_reserve()).await);
        let bytes = payload(1, 5000);
        let locator = put(&*zone, chunk_id(1), &bytes).await;
        let fault = machine.disk.hang(Path::new(DIRECTORY), &[Operation::Sync]);
        let writing = tokio::spawn({
            let (zone, bytes) = (zone.clone(), bytes.clone());
            async move { put(&*zone, chunk_id(2), &bytes).await }
        });
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(!writing.is_finished(), "an answer before its sync");
        let position = zone.position();
        expect(&*zone, &locator, chunk_id(1), &bytes).await;
        machine.disk.lift(fault);
        writing.await.expect("it goes on");
        assert_eq!(zone.position(), position + 1);
        zone.close().await;
    });
}

/// Writes chunks until so many segments were begun; returns them all.
async fn through_segments(zone: &EmbeddedZone, segments: u64) -> Vec<(cairn_types::ChunkId, cairn_types::Locator)> {
    let mut chunks = Vec::new();
    let mut number = 0;
    loop {
        let locator = put(zone, chunk_id(number), &payload(number, 60_000)).await;
        let begun = generation(&locator);
        chunks.push((chunk_id(number), locator));
        number += 1;
        if begun > segments {
            return chunks;
        }
    }
}

#[test]
fn dead_segments_are_used_again_and_prewritten_ones_come_first() {
    simulate(async {
        let mut machine = Machine::new(5);
        let settings = Settings { reserve_bytes: 1024 * 1024, prewrite_bytes_per_second: 1 << 20, ..small() };
        let zone = machine.open(settings.clone()).await;
        let idle = machine.files().len();
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(machine.files().len(), idle, "an idle zone fills no reserve");

        let chunks = through_segments(&zone, 4).await;
        tokio::time::sleep(Duration::from_secs(60)).await;
        let before: Vec<PathBuf> = machine.files().into_iter().map(|(path, _)| path).collect();
        // 4 sealed, 1 in use, 2 in reserve.
        assert_eq!(before.len(), 7, "{before:?}");
        let (last, dead) = chunks.split_last().expect("some");
        for (id, locator) in dead {
            delete(&zone, locator, *id).await.expect("deleting");
        }
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(machine.files().len(), 3, "the reserve is full, so dead files are removed: {:?}", machine.files());

        // From the reserve: no new file appears, and no length changes.
        let lengths = machine.files();
        let again = through_segments(&zone, generation(&last.1)).await;
        assert!(generation(&again.last().expect("some").1) > generation(&last.1));
        assert!(machine.files().iter().take(3).all(|file| before.contains(&file.0)), "{:?} {lengths:?}", machine.files());
        for (id, locator) in dead {
            assert!(matches!(zone.read(locator, *id, 0, 10).await, Err(ZoneError::NotFound)), "an old locator, a new generation");
            delete(&zone, locator, *id).await.expect("gone already");
        }
        assert_eq!(walk(&zone, 100).await.len(), again.len() + 1);
        zone.close().await;
        let zone = machine.open(settings).await;
        assert_eq!(walk(&zone, 100).await.len(), again.len() + 1);
        zone.close().await;
    });
}

#[test]
fn the_position_stays_when_everything_is_deleted() {
    simulate(async {
        let mut machine = Machine::new(6);
        let mut position = 0;
        for round in 0..4 {
            let zone = machine.open(no_reserve()).await;
            assert_eq!(zone.position(), position, "round {round}");
            for (id, locator) in through_segments(&zone, round * 3 + 2).await {
                delete(&zone, &locator, id).await.expect("deleting");
            }
            position = zone.position();
            tokio::time::sleep(Duration::from_secs(1)).await;
            zone.close().await;
            assert!(machine.files().len() <= 2, "what is dead is removed: {:?}", machine.files());
            machine.disk = if round % 2 == 0 { machine.disk.kill() } else { machine.disk.crash() };
        }
    });
}

#[test]
fn a_deletion_gives_space_back_at_once() {
    simulate(async {
        let mut machine = Machine::new(7);
        machine.disk.set_capacity(Path::new("/data"), Some(10_000_000));
        let zone = machine.open(no_reserve()).await;
        let mut chunks = Vec::new();
        for number in 0..4 {
            chunks.push((put(&zone, chunk_id(number), &payload(number, 100_000)).await, chunk_id(number)));
        }
        let before = zone.usage().await.expect("usage").free_bytes.expect("known");
        delete(&zone, &chunks[1].0, chunks[1].1).await.expect("deleting");
        tokio::time::sleep(Duration::from_secs(1)).await;
        let freed = zone.usage().await.expect("usage").free_bytes.expect("known") - before;
        assert_eq!(freed, 24 * 4096, "25 blocks but one");
        zone.close().await;
    });
}

#[test]
fn a_closed_zone_says_so() {
    simulate(async {
        let mut machine = Machine::new(8);
        let zone = machine.open(small()).await;
        let locator = put(&zone, chunk_id(1), &payload(1, 10)).await;
        zone.close().await;
        zone.close().await;
        assert!(matches!(zone.write(WRITER, chunk_id(1), Vec::new()).await, Err(ZoneError::Away(_))));
        assert!(matches!(zone.read(&locator, chunk_id(1), 0, 1).await, Err(ZoneError::Away(_))));
        assert!(matches!(delete(&zone, &locator, chunk_id(1)).await, Err(ZoneError::Away(_))));
        assert!(zone.enumerate(WRITER, None, 1).await.is_err() && zone.usage().await.is_err());
        assert_eq!(zone.incarnation(), None);
    });
}

#[test]
fn closing_answers_everybody_who_was_queued() {
    simulate(async {
        let mut machine = Machine::new(9);
        machine.disk.set_delay_max(Duration::from_millis(5));
        let zone = Arc::new(machine.open(small()).await);
        let writes: Vec<_> = (0..50)
            .map(|number| {
                let zone = zone.clone();
                tokio::spawn(async move { zone.write(WRITER, chunk_id(number), vec![payload(number, 30_000)]).await })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(3)).await;
        zone.close().await;
        let mut confirmed = 0;
        for write in writes {
            match write.await.expect("an answer") {
                Ok(_) => confirmed += 1,
                Err(ZoneError::Away(_)) => {}
                Err(other) => panic!("{other}"),
            }
        }
        assert!(confirmed > 0);
        let zone = machine.open(small()).await;
        assert!(walk(&zone, 100).await.len() >= confirmed);
        zone.close().await;
    });
}
