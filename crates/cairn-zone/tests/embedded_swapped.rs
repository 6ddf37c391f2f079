//! Directories that are swapped under running zones, before anybody has noticed (L6, L9): names of files are alike in all zones, so a name leads
//! to another zone's file. It is neither believed nor changed, and when the directories are put back everything is there.

mod common;

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use cairn_disk::Disk;
use cairn_testkit::sim_disk::SimDisk;
use cairn_testkit::sim_environment::simulate;
use cairn_testkit::zone_conformance::{WRITER, chunk_id, delete, expect, payload, put, walk};
use cairn_types::{ChunkId, Locator, SessionId, StoreId, ZoneIndex};
use cairn_zone::embedded::{EmbeddedZone, Opening, Settings};
use cairn_zone::{Zone, ZoneError};
use common::{Machine, opening, ready, small};

const ONE: &str = "/data/gland/segments";
const TWO: &str = "/data/lucerne/segments";

struct Chunk {
    id: ChunkId,
    locator: Locator,
    bytes: Bytes,
}

/// The second zone's, in another store or the same.
fn open_as(machine: &mut Machine, two: Option<StoreId>, reserve_bytes: u64) -> Opening {
    let settings = Settings { reserve_bytes, open_files_max: 2, header_cache_max: 4, ..small() };
    let environment = machine.environment();
    match two {
        None => opening(environment, Path::new(ONE), settings),
        Some(store) => Opening { store, zone: ZoneIndex(2), ..opening(environment, Path::new(TWO), settings) },
    }
}

async fn fill(zone: &EmbeddedZone, seed: u64) -> Vec<Chunk> {
    let mut chunks = Vec::new();
    for number in 0..60 {
        let (id, bytes) = (chunk_id(number), payload(seed + number, 30_000));
        chunks.push(Chunk { id, locator: put(zone, id, &bytes).await, bytes });
    }
    chunks
}

async fn swap(disk: &SimDisk) {
    let aside = Path::new("/data/aside");
    disk.rename(Path::new(ONE), aside).await.expect("renaming");
    disk.rename(Path::new(TWO), Path::new(ONE)).await.expect("renaming");
    disk.rename(aside, Path::new(TWO)).await.expect("renaming");
}

/// Everything that a zone may be asked, and all that it does by itself.
async fn work(zone: &EmbeddedZone, chunks: &[Chunk]) {
    for chunk in chunks {
        match zone.read(&chunk.locator, chunk.id, 0, chunk.bytes.len()).await {
            Ok(bytes) => assert!(bytes == chunk.bytes, "another zone's bytes"),
            Err(ZoneError::Away(_) | ZoneError::Damaged(_)) => {}
            Err(other) => panic!("a chunk that is stored: {other}"),
        }
    }
    let mut from = None;
    while let Ok(page) = zone.enumerate(SessionId(0), from, 20).await {
        assert!(page.found.iter().all(|found| chunks.iter().any(|chunk| chunk.locator == found.locator)), "another zone's chunk");
        from = page.next;
        if from.is_none() {
            break;
        }
    }
    for chunk in &chunks[..20] {
        // A deletion that is confirmed is one of this zone's own.
        let _ = delete(zone, &chunk.locator, chunk.id).await;
    }
    tokio::time::sleep(Duration::from_secs(60)).await;
    let _ = zone.write(WRITER, chunk_id(900), vec![payload(900, 1000)]).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
}

/// What was not deleted is there; what was asked to be deleted may be.
async fn is_whole(zone: &EmbeddedZone, chunks: &[Chunk]) {
    for chunk in &chunks[20..] {
        expect(zone, &chunk.locator, chunk.id, &chunk.bytes).await;
    }
    let listed = walk(zone, 50).await;
    for chunk in &chunks[20..] {
        assert!(listed.iter().any(|found| found.locator == chunk.locator), "{:?} is not listed", chunk.id);
    }
    for found in listed.iter().filter(|found| found.id != chunk_id(900)) {
        let chunk = chunks.iter().find(|chunk| chunk.locator == found.locator).expect("one of those that were written");
        expect(zone, &chunk.locator, chunk.id, &chunk.bytes).await;
    }
}

/// More than the segment in use and those in reserve have room for.
async fn write_much(zone: &EmbeddedZone, first: u64) -> u64 {
    let mut confirmed = 0;
    for number in first..first + 100 {
        confirmed += u64::from(zone.write(WRITER, chunk_id(number), vec![payload(number, 30_000)]).await.is_ok());
    }
    confirmed
}

#[test]
fn l6_no_new_segment_is_made_in_a_directory_that_was_swapped_in() {
    for reserve_bytes in [0, 1024 * 1024] {
        for seed in 0..4 {
            simulate(async move {
                let mut machine = Machine::new(seed);
                let (one, _) = ready(open_as(&mut machine, None, reserve_bytes)).await;
                let (two, _) = ready(open_as(&mut machine, Some(StoreId(0xca11)), reserve_bytes)).await;
                let (of_one, of_two) = (fill(&one, 1000).await, fill(&two, 2000).await);
                // The other zone has fewer files, so that names which are new here are new there.
                write_much(&one, 2000).await;
                tokio::time::sleep(Duration::from_secs(60)).await;
                two.close().await;
                let disk = machine.disk.boot();
                let before = machine.disk.files(Path::new(TWO));
                // `identity` stays in its place, and says that the zone is there: only the directories of segments are swapped.
                swap(&disk).await;
                assert_eq!(write_much(&one, 3000).await, 0, "a write is confirmed that a restart would not find");
                tokio::time::sleep(Duration::from_secs(60)).await;
                one.close().await;
                swap(&disk).await;
                assert_eq!(machine.disk.files(Path::new(TWO)), before, "seed {seed}");
                let (one, damage_one) = ready(open_as(&mut machine, None, reserve_bytes)).await;
                let (two, damage_two) = ready(open_as(&mut machine, Some(StoreId(0xca11)), reserve_bytes)).await;
                assert_eq!((damage_one, damage_two), (Vec::new(), Vec::new()), "seed {seed}");
                for (zone, chunks) in [(&one, &of_one), (&two, &of_two)] {
                    for chunk in chunks {
                        expect(zone, &chunk.locator, chunk.id, &chunk.bytes).await;
                    }
                }
                futures::join!(one.close(), two.close());
            });
        }
    }
}

#[test]
fn l9_swapped_directories_are_neither_believed_nor_changed() {
    for store in [StoreId(0xca11), StoreId(0xca12)] {
        for seed in 0..4 {
            simulate(async move {
                let mut machine = Machine::new(seed);
                let reserve_bytes = if seed % 2 == 0 { 0 } else { 512 * 1024 };
                let (one, _) = ready(open_as(&mut machine, None, reserve_bytes)).await;
                let (two, _) = ready(open_as(&mut machine, Some(store), reserve_bytes)).await;
                let (of_one, of_two) = (fill(&one, 1000).await, fill(&two, 2000).await);
                tokio::time::sleep(Duration::from_secs(60)).await;
                let disk = machine.disk.boot();
                swap(&disk).await;
                // At once, as in life.
                futures::join!(work(&one, &of_one), work(&two, &of_two));
                futures::join!(one.close(), two.close());
                swap(&disk).await;
                let (one, damage_one) = ready(open_as(&mut machine, None, reserve_bytes)).await;
                let (two, damage_two) = ready(open_as(&mut machine, Some(store), reserve_bytes)).await;
                assert_eq!((damage_one, damage_two), (Vec::new(), Vec::new()), "seed {seed}");
                is_whole(&one, &of_one).await;
                is_whole(&two, &of_two).await;
                futures::join!(one.close(), two.close());
            });
        }
    }
}
