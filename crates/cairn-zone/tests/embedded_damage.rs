//! Damage, lost memory and foreign files: what is reported, what is refused, and that the rest goes on.

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use cairn_testkit::sim_environment::simulate;
use cairn_testkit::zone_conformance::{chunk_id, delete, expect, payload, put, walk};
use cairn_types::{Incarnation, Locator, SessionId, StoreId, ZoneIndex};
use cairn_zone::embedded::format::record::RECORD_HEADER_BYTES;
use cairn_zone::embedded::format::{BLOCK_BYTES, Place};
use cairn_zone::embedded::{Damage, EmbeddedZone, OpenError, Opened, Opening, Settings};
use cairn_zone::{Zone, ZoneError};
use common::{DIRECTORY, Machine, small};
use proptest::prelude::*;

type Chunks = BTreeMap<u64, (Locator, Bytes)>;

/// Writes these chunks, each of a few blocks.
async fn fill(zone: &EmbeddedZone, numbers: std::ops::Range<u64>) -> Chunks {
    let mut chunks = Chunks::new();
    for number in numbers {
        let bytes = payload(number, 10_000 + usize::try_from(number).expect("small") * 10);
        chunks.insert(number, (put(zone, chunk_id(number), &bytes).await, bytes));
    }
    chunks
}

fn place(locator: &Locator) -> Place {
    Place::decode(locator).expect("our own")
}

/// The file in which all these chunks are, when they are in one.
fn only_file(machine: &Machine) -> PathBuf {
    let files = machine.files();
    assert_eq!(files.len(), 1, "{files:?}");
    files[0].0.clone()
}

fn no_reserve() -> Settings {
    Settings { reserve_bytes: 0, ..small() }
}

async fn open_damaged(machine: &mut Machine, recorded: u64) -> (EmbeddedZone, Vec<Damage>) {
    match machine.try_open(no_reserve(), recorded).await.expect("opened all the same") {
        Opened::Ready { zone, damage } => (zone, damage),
        Opened::Behind { position, recorded } => panic!("behind: {position} of {recorded}"),
    }
}

/// Overwrites bytes of a file, durably.
fn overwrite(machine: &Machine, path: &Path, offset: u64, length: u64, with: impl Fn(u64) -> u8) {
    let content = machine.disk.backup(Path::new(DIRECTORY));
    let name = path.strip_prefix(DIRECTORY).expect("a segment");
    let bytes = &content[name];
    for at in offset..(offset + length).min(bytes.len() as u64) {
        let change = bytes[usize::try_from(at).expect("small")] ^ with(at);
        for bit in 0..8 {
            if change & 1 << bit != 0 {
                assert!(machine.disk.flip_bit(path, at * 8 + bit));
            }
        }
    }
}

#[test]
fn a_damaged_header_in_an_unsealed_segment_costs_its_chunk_alone() {
    simulate(async {
        // Without the catalog's record the later records themselves say what was durable (L5).
        for recorded in [0, 10] {
            let mut machine = Machine::new(1);
            let zone = machine.open(no_reserve()).await;
            let chunks = fill(&zone, 0..10).await;
            let position = zone.position();
            assert_eq!(position, 10);
            machine.disk = machine.disk.crash();
            let hit = place(&chunks[&4].0);
            assert!(machine.disk.flip_bit(&only_file(&machine), (hit.offset + 70) * 8));

            for opening in 0..3 {
                let (zone, damage) = open_damaged(&mut machine, recorded).await;
                assert_eq!(damage.len(), 1, "reported at each opening, here at {opening}: {damage:?}");
                assert_eq!((damage[0].offset, damage[0].missing.clone()), (hit.offset, Some(hit.sequence..=hit.sequence)));
                for (number, (locator, bytes)) in chunks.iter().filter(|(number, _)| **number != 4) {
                    expect(&zone, locator, chunk_id(*number), bytes).await;
                }
                assert!(zone.read(&chunks[&4].0, chunk_id(4), 0, 10).await.is_err());
                assert_eq!(zone.position(), position + opening, "the position stays");
                put(&zone, chunk_id(100 + opening), &payload(1, 100)).await;
                zone.close().await;
            }
        }
    });
}

#[test]
fn a_chunk_whose_last_bytes_were_cut_off_is_damage_and_gets_no_zeros() {
    simulate(async {
        let mut machine = Machine::new(3);
        let zone = machine.open(no_reserve()).await;
        let chunks = fill(&zone, 0..3).await;
        assert_eq!(zone.position(), 3);
        let mut content = machine.disk.backup(Path::new(DIRECTORY));
        machine.disk = machine.disk.crash();
        let (locator, bytes) = &chunks[&2];
        let end = place(locator).offset + RECORD_HEADER_BYTES as u64 + bytes.len() as u64;
        assert_ne!(end % BLOCK_BYTES, 0, "its end is amid a block");
        let (_, file) = content.iter_mut().next().expect("one file");
        file.truncate(usize::try_from(end - 1).expect("small"));
        machine.disk.restore(Path::new(DIRECTORY), &content);

        for opening in 0..3 {
            let (zone, damage) = open_damaged(&mut machine, 3).await;
            assert_eq!(damage.iter().map(|damage| damage.chunk).collect::<Vec<_>>(), [Some(chunk_id(2))], "opening {opening}");
            let read = zone.read(locator, chunk_id(2), 0, bytes.len()).await;
            assert!(matches!(read, Err(ZoneError::Damaged(_))), "{read:?}");
            for (number, (locator, bytes)) in chunks.iter().take(2) {
                expect(&zone, locator, chunk_id(*number), bytes).await;
            }
            zone.close().await;
        }
    });
}

#[test]
fn records_above_a_later_generations_base_do_not_count() {
    simulate(async {
        // The same machine twice. In one life five records reach the disk, in the other the power goes after three, and the
        // zone goes on without the rest. Then the tail that was cut stands there again, as after a truncation that was lost.
        let mut longer = Machine::new(11);
        let zone = longer.open(no_reserve()).await;
        fill(&zone, 0..5).await;
        longer.disk.crash();
        let tail = longer.disk.backup(Path::new(DIRECTORY)).pop_first().expect("one file");

        let mut machine = Machine::new(11);
        let zone = machine.open(no_reserve()).await;
        let mut chunks = fill(&zone, 0..3).await;
        machine.disk = machine.disk.crash();
        let zone = machine.open(no_reserve()).await;
        chunks.extend(fill(&zone, 10..11).await);
        machine.disk = machine.disk.crash();
        let mut files = machine.disk.backup(Path::new("/data/gland"));
        files.insert(Path::new("segments").join(&tail.0), tail.1);
        machine.disk.restore(Path::new("/data/gland"), &files);

        let zone = machine.open(no_reserve()).await;
        assert_eq!((zone.position(), walk(&zone, 10).await.len()), (4, 4));
        for (number, (locator, bytes)) in &chunks {
            expect(&zone, locator, chunk_id(*number), bytes).await;
        }
        zone.close().await;
    });
}

#[test]
fn a_damaged_index_is_made_again_while_the_zone_serves() {
    simulate(async {
        let mut machine = Machine::new(12);
        let zone = machine.open(no_reserve()).await;
        let chunks = fill(&zone, 0..20).await;
        zone.close().await;
        let entry = blocks(&chunks, 20) + BLOCK_BYTES + 7 * 40 + 20;
        assert!(machine.disk.flip_bit(&only_file(&machine), entry * 8));
        // All live, so opening has no need of the entries.
        let zone = machine.open(no_reserve()).await;
        assert_eq!(walk(&zone, 7).await.len(), 20);
        for number in 0..19 {
            delete(&zone, &chunks[&number].0, chunk_id(number)).await.expect("deleting");
        }
        assert_eq!(zone.usage().await.expect("usage").chunks, 1);
        zone.close().await;
        let zone = machine.open(no_reserve()).await;
        assert_eq!((walk(&zone, 7).await.len(), zone.usage().await.expect("usage").chunks), (1, 1));
        expect(&zone, &chunks[&19].0, chunk_id(19), &chunks[&19].1).await;
        zone.close().await;
    });
}

#[test]
fn a_file_that_is_not_all_zeros_is_never_taken_for_a_leftover() {
    simulate(async {
        let mut machine = Machine::new(13);
        let zone = machine.open(no_reserve()).await;
        let chunks = fill(&zone, 0..10).await;
        let position = zone.position();
        machine.disk = machine.disk.crash();
        let file = only_file(&machine);
        overwrite(&machine, &file, 0, 2 * BLOCK_BYTES, |_| 0);
        let (zone, damage) = open_damaged(&mut machine, position).await;
        assert_eq!(damage.len(), 1, "{damage:?}");
        assert!(matches!(zone.read(&chunks[&5].0, chunk_id(5), 0, 1).await, Err(ZoneError::Damaged(_))));
        zone.close().await;
        assert!(machine.files().iter().any(|(path, _)| *path == file));
    });
}

#[test]
fn damage_at_the_very_end_is_told_from_a_torn_tail_by_what_the_catalog_recorded() {
    simulate(async {
        for field in [0, 17, 30, 36, 42, 60, 70, 90, 126] {
            let mut machine = Machine::new(2);
            let zone = machine.open(no_reserve()).await;
            let chunks = fill(&zone, 0..10).await;
            let position = zone.position();
            machine.disk = machine.disk.crash();
            let last = place(&chunks[&9].0);
            assert_eq!(last.sequence, position);
            let backup = machine.disk.backup(Path::new("/data/gland"));
            assert!(machine.disk.flip_bit(&only_file(&machine), (last.offset + field) * 8));
            let damaged = machine.disk.backup(Path::new("/data/gland"));

            let (zone, damage) = open_damaged(&mut machine, position).await;
            assert_eq!(damage.len(), 1, "recorded, so it was durable: {damage:?}");
            assert_eq!(damage[0].missing, Some(position..=position));
            assert_eq!(zone.position(), position);
            let next = place(&put(&zone, chunk_id(50), &payload(50, 10)).await);
            assert_eq!(next.sequence, position + 1, "the lost record's sequence is not given out again");
            zone.close().await;

            machine.disk.restore(Path::new("/data/gland"), &damaged);
            let (zone, damage) = open_damaged(&mut machine, position - 1).await;
            assert_eq!((damage, zone.position()), (Vec::new(), position - 1), "not recorded, so it may be torn, and is cut");
            assert_eq!(walk(&zone, 100).await.len(), 9);
            zone.close().await;

            machine.disk.restore(Path::new("/data/gland"), &backup);
            let (zone, damage) = open_damaged(&mut machine, position - 1).await;
            assert_eq!((damage, zone.position()), (Vec::new(), position), "whole, so it counts");
            zone.close().await;
        }
    });
}

#[test]
fn a_payload_torn_in_the_last_batch_is_cut_and_never_comes_back() {
    simulate(async {
        let mut machine = Machine::new(3);
        let zone = machine.open(no_reserve()).await;
        let chunks = fill(&zone, 0..6).await;
        machine.disk = machine.disk.crash();
        let last = place(&chunks[&5].0);
        assert!(machine.disk.flip_bit(&only_file(&machine), (last.offset + 5000) * 8));
        let zone = machine.open(no_reserve()).await;
        assert_eq!((zone.position(), walk(&zone, 100).await.len()), (5, 5));
        // Healing the bit does not bring it back: the tail was cut, durably.
        machine.disk = machine.disk.crash();
        let _ = machine.disk.flip_bit(&machine.files()[0].0, (last.offset + 5000) * 8);
        let zone = machine.open(no_reserve()).await;
        assert_eq!((zone.position(), walk(&zone, 100).await.len()), (5, 5));
        let again = put(&zone, chunk_id(5), &chunks[&5].1).await;
        assert_eq!(place(&again).sequence, 6);
        assert!(place(&again).generation > last.generation);
        zone.close().await;
    });
}

#[test]
fn sealed_segments_stand_damage_to_headers_and_to_the_index() {
    simulate(async {
        let mut machine = Machine::new(4);
        let zone = machine.open(no_reserve()).await;
        let chunks = fill(&zone, 0..20).await;
        for number in [3, 11] {
            delete(&zone, &chunks[&number].0, chunk_id(number)).await.expect("deleting");
        }
        let position = zone.position();
        zone.close().await;
        let (file, length) = machine.files()[0].clone();
        let pristine = machine.disk.backup(Path::new("/data/gland"));
        let index = blocks(&chunks, 20);
        let cases: Vec<(&str, u64)> = vec![
            ("the file's header", 100),
            ("a record's magic", place(&chunks[&7].0).offset),
            ("a record's id", place(&chunks[&7].0).offset + 70),
            ("the first head of the index", index + 20),
            ("an entry", index + BLOCK_BYTES + 7 * 40 + 20),
            ("a live state", index + BLOCK_BYTES + 20 * 40 + 7),
            ("a dead state", index + BLOCK_BYTES + 20 * 40 + 3),
            ("the last head of the index", length - 500),
        ];
        for (what, offset) in cases {
            for bits in [vec![0], vec![5], vec![0, 1, 2, 3]] {
                machine.disk.restore(Path::new("/data/gland"), &pristine);
                for bit in bits {
                    assert!(machine.disk.flip_bit(&file, offset * 8 + bit), "{what}");
                }
                let (zone, damage) = open_damaged(&mut machine, position).await;
                assert_eq!(damage, Vec::new(), "{what} costs nothing");
                for (number, (locator, bytes)) in &chunks {
                    if [3, 11].contains(number) {
                        let answer = zone.read(locator, chunk_id(*number), 0, 10).await;
                        assert!(matches!(answer, Err(ZoneError::NotFound)), "{what}: {number} came back: {answer:?}");
                    } else {
                        expect(&zone, locator, chunk_id(*number), bytes).await;
                    }
                }
                assert_eq!(walk(&zone, 7).await.len(), 18, "{what}");
                delete(&zone, &chunks[&7].0, chunk_id(7)).await.expect("a chunk next to damage can be deleted");
                assert_eq!(walk(&zone, 7).await.len(), 17, "{what}");
                zone.close().await;
                let (zone, _) = open_damaged(&mut machine, position).await;
                assert_eq!(walk(&zone, 7).await.len(), 17, "{what}: after a restart");
                assert_eq!(zone.usage().await.expect("usage").chunks, 17, "{what}: after a restart");
                zone.close().await;
            }
        }
    });
}

/// Where the index begins behind the first `count` chunks.
fn blocks(chunks: &Chunks, count: u64) -> u64 {
    let (locator, bytes) = &chunks[&(count - 1)];
    place(locator).offset + (128 + bytes.len() as u64).div_ceil(BLOCK_BYTES) * BLOCK_BYTES
}

#[test]
fn both_copies_of_a_files_header_may_be_lost() {
    simulate(async {
        for sealed in [false, true] {
            let mut machine = Machine::new(5);
            let zone = machine.open(no_reserve()).await;
            let chunks = fill(&zone, 0..10).await;
            let position = zone.position();
            if sealed {
                zone.close().await;
                machine.disk = machine.disk.boot();
            } else {
                machine.disk = machine.disk.crash();
            }
            overwrite(&machine, &only_file(&machine), 0, BLOCK_BYTES, |_| 0);
            let (zone, damage) = open_damaged(&mut machine, position).await;
            assert_eq!(damage.len(), 1, "{damage:?}");
            assert_eq!(damage[0].missing, None, "no record is lost");
            for (number, (locator, bytes)) in &chunks {
                expect(&zone, locator, chunk_id(*number), bytes).await;
            }
            zone.close().await;
            let (zone, damage) = open_damaged(&mut machine, position).await;
            assert_eq!(damage, Vec::new(), "the header was written again");
            zone.close().await;
        }
    });
}

#[test]
fn a_file_of_which_nothing_can_be_read_is_kept_and_reported() {
    simulate(async {
        let mut machine = Machine::new(6);
        let zone = machine.open(no_reserve()).await;
        let chunks = fill(&zone, 0..5).await;
        let position = zone.position();
        machine.disk = machine.disk.crash();
        let file = only_file(&machine);
        overwrite(&machine, &file, 0, 2 * BLOCK_BYTES, |at| (at * 7) as u8);
        let (zone, damage) = open_damaged(&mut machine, position).await;
        assert_eq!(damage.len(), 1, "{damage:?}");
        assert_eq!(zone.position(), position);
        let answer = zone.read(&chunks[&2].0, chunk_id(2), 0, 10).await;
        assert!(matches!(answer, Err(ZoneError::Damaged(_))), "{answer:?}");
        let answer = delete(&zone, &chunks[&2].0, chunk_id(2)).await;
        assert!(matches!(answer, Err(ZoneError::Damaged(_))), "a deletion that nobody can confirm: {answer:?}");
        let new = put(&zone, chunk_id(9), &payload(9, 100)).await;
        assert_eq!(place(&new).sequence, position + 1);
        zone.close().await;
        assert!(machine.files().iter().any(|(path, _)| *path == file), "it is left alone");
    });
}

#[test]
fn a_zone_behind_its_record_is_not_touched() {
    simulate(async {
        let mut machine = Machine::new(7);
        let zone = machine.open(no_reserve()).await;
        fill(&zone, 0..4).await;
        let backup_position = zone.position();
        machine.disk = machine.disk.crash();
        let unsealed = machine.disk.backup(Path::new("/data/gland"));
        let zone = machine.open(no_reserve()).await;
        zone.close().await;
        let sealed = machine.disk.backup(Path::new("/data/gland"));
        let empty = BTreeMap::from([(PathBuf::from("identity"), vec![1])]);
        for (what, files, position) in
            [("unsealed", &unsealed, backup_position), ("sealed", &sealed, backup_position), ("empty", &empty, 0)]
        {
            machine.disk.restore(Path::new("/data/gland"), files);
            let before = machine.disk.backup(Path::new("/data"));
            let opened = machine.try_open(no_reserve(), backup_position + 7).await.expect("an answer");
            match opened {
                Opened::Behind { position: found, recorded } => {
                    assert_eq!((found, recorded), (position, backup_position + 7), "{what}");
                }
                Opened::Ready { .. } => panic!("{what}: a zone restored from an old backup serves"),
            }
            assert_eq!(before, machine.disk.backup(Path::new("/data")), "{what}: nothing is changed");
        }
    });
}

#[test]
fn foreign_segments_are_refused_with_words_and_not_touched() {
    simulate(async {
        let mut machine = Machine::new(8);
        let zone = machine.open(no_reserve()).await;
        fill(&zone, 0..4).await;
        zone.close().await;
        let before = machine.disk.backup(Path::new("/data"));
        let openings: Vec<(Opening, &str)> = vec![
            (Opening { store: StoreId(1), ..machine.opening(no_reserve()) }, "belongs to store"),
            (Opening { zone: ZoneIndex(2), ..machine.opening(no_reserve()) }, "belongs to zone 1"),
            (Opening { incarnation: Incarnation(5), ..machine.opening(no_reserve()) }, "incarnation 4"),
            (machine.opening(Settings { segment_bytes: 100_000, ..no_reserve() }), "segment_bytes"),
        ];
        for (opening, words) in openings {
            match EmbeddedZone::open(opening).await {
                Err(OpenError::Refused(said)) => assert!(said.contains(words), "{said}"),
                Err(other) => panic!("{words}: {other}"),
                Ok(_) => panic!("{words}: opened"),
            }
            assert_eq!(before, machine.disk.backup(Path::new("/data")), "{words}: nothing is changed");
        }
        let name = machine.files()[0].0.clone();
        let relative = PathBuf::from("gland/segments/segment-00000077");
        let mut twins = before.clone();
        twins.insert(relative, before[name.strip_prefix("/data").expect("below")].clone());
        machine.disk.restore(Path::new("/data"), &twins);
        let answer = machine.try_open(no_reserve(), 0).await;
        assert!(matches!(answer, Err(OpenError::Refused(words)) if words.contains("same generation")));
    });
}

#[test]
fn names_that_are_not_ours_are_left_alone() {
    simulate(async {
        let mut machine = Machine::new(9);
        let files = ["identity", "segments/notes.txt", "segments/segment-1", "segments/segment-0000000G"];
        let files = files.iter().map(|name| (PathBuf::from(name), b"mine".to_vec())).collect();
        machine.disk.restore(Path::new("/data/gland"), &files);
        let zone = machine.open(no_reserve()).await;
        fill(&zone, 0..4).await;
        zone.close().await;
        let after = machine.disk.backup(Path::new("/data/gland"));
        assert!(files.iter().all(|(name, content)| after.get(name) == Some(content)));
    });
}

/// Anything may stand on the disk: opening, listing, reading, deleting and writing end with an answer.
fn survives(seed: u64, sealed: bool, changes: &[(u64, u64, u8)]) {
    simulate(async {
        let mut machine = Machine::new(seed);
        let zone = machine.open(no_reserve()).await;
        let chunks = fill(&zone, 0..45).await;
        for number in [1, 2, 3, 20, 44] {
            delete(&zone, &chunks[&number].0, chunk_id(number)).await.expect("deleting");
        }
        if sealed {
            zone.close().await;
        }
        machine.disk = machine.disk.crash();
        let files = machine.files();
        let mut touched = BTreeMap::<u64, (u64, u64)>::new();
        for (at, length, value) in changes {
            let total: u64 = files.iter().map(|(_, length)| length).sum();
            let mut at = at % total;
            let index = files
                .iter()
                .position(|(_, length)| {
                    at < *length || {
                        at -= length;
                        false
                    }
                })
                .expect("within");
            overwrite(&machine, &files[index].0, at, *length, |_| *value);
            touched.insert(index as u64, (at, *length));
        }
        for recorded in [0, 45, 0] {
            let zone = match machine.try_open(no_reserve(), recorded).await {
                Ok(Opened::Ready { zone, .. }) => zone,
                Ok(Opened::Behind { .. }) | Err(OpenError::Refused(_)) => continue,
                Err(OpenError::Io(error)) => panic!("the disk did not fail: {error}"),
            };
            let mut from = None;
            for _ in 0..200 {
                match zone.enumerate(SessionId(0), from, 7).await {
                    Ok(page) => from = page.next,
                    Err(ZoneError::Damaged(_)) => break,
                    Err(other) => panic!("listing: {other}"),
                }
                if from.is_none() {
                    break;
                }
            }
            for (number, (locator, bytes)) in &chunks {
                let _ = zone.read(locator, chunk_id(*number), 0, bytes.len()).await;
                if number % 3 == 0 {
                    let _ = zone.delete(&[(locator.clone(), chunk_id(*number))]).await;
                }
            }
            let bytes = payload(1000, 5000);
            let locator = put(&zone, chunk_id(1000), &bytes).await;
            expect(&zone, &locator, chunk_id(1000), &bytes).await;
            zone.close().await;
        }
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_on_disk_make_it_panic(
        seed in 0_u64..1000,
        sealed: bool,
        changes in proptest::collection::vec((any::<u64>(), prop_oneof![Just(1_u64), 1..600_u64, 4000..9000_u64], any::<u8>()), 1..8),
    ) {
        survives(seed, sealed, &changes);
    }
}

/// An older copy of the directory that is behind nothing that was recorded goes on with the same sequences in the same incarnation (L7: the
/// record trails by a moment). What the lost history gave out must name nothing in the new one (B7).
#[test]
fn b7_an_older_copy_of_the_directory_gives_out_no_locator_of_the_lost_history() {
    simulate(async {
        let mut machine = Machine::new(5);
        let settings = Settings { reserve_bytes: 0, ..small() };
        let zone = machine.open(settings.clone()).await;
        let kept = put(&zone, chunk_id(1), &payload(1, 5000)).await;
        zone.close().await;
        let copy = machine.disk.backup(Path::new("/data/gland"));

        let zone = machine.open(settings.clone()).await;
        let lost = put(&zone, chunk_id(2), &payload(2, 5000)).await;
        zone.close().await;

        machine.disk.restore(Path::new("/data/gland"), &copy);
        let zone = machine.open(settings).await;
        let again = put(&zone, chunk_id(2), &payload(2, 5000)).await;
        let (one, two) = (place(&lost), place(&again));
        assert_eq!(
            (one.incarnation, one.generation, one.offset, one.sequence),
            (two.incarnation, two.generation, two.offset, two.sequence),
            "the test wants two histories that meet"
        );
        assert_ne!(lost, again);
        assert!(matches!(zone.read(&lost, chunk_id(2), 0, 10).await, Err(ZoneError::NotFound)));
        delete(&zone, &lost, chunk_id(2)).await.expect("it names nothing");
        expect(&zone, &again, chunk_id(2), &payload(2, 5000)).await;
        expect(&zone, &kept, chunk_id(1), &payload(1, 5000)).await;
        zone.close().await;
    });
}
