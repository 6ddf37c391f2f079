//! What a zone takes of its disk when nearly everything is deleted, and how the rest of it comes back: whoever names the chunks that
//! [`Zone::sparse`] lists writes them again, and deletes them where they were.

mod common;

use std::path::Path;
use std::time::Duration;

use cairn_testkit::sim_disk::Operation;
use cairn_testkit::sim_environment::simulate;
use cairn_testkit::zone_conformance::{WRITER, chunk_id, payload};
use cairn_types::{ChunkId, Locator, SessionId};
use cairn_zone::embedded::{EmbeddedZone, OpenError, Settings};
use cairn_zone::{Found, Zone, ZoneError};
use common::{DIRECTORY, Machine, small};
use futures::future::join_all;

const BLOCK: usize = 4096;

/// Bytes that the segments take of a disk that gives holes back. Blocks of zeros are holes: no payload here has one.
fn held(machine: &Machine) -> u64 {
    let files = machine.disk.backup(Path::new(DIRECTORY));
    let blocks = files.values().flat_map(|bytes| bytes.chunks(BLOCK)).filter(|block| block.iter().any(|byte| *byte != 0));
    blocks.count() as u64 * BLOCK as u64
}

async fn listed(zone: &EmbeddedZone, is_sparse: bool) -> Vec<Found> {
    let (mut all, mut from) = (Vec::new(), None);
    loop {
        let page = if is_sparse { zone.sparse(from, 5).await } else { zone.enumerate(SessionId(0), from, 100).await };
        let page = page.expect("a page");
        all.extend(page.found);
        from = page.next;
        if from.is_none() {
            return all;
        }
    }
}

/// Moves what stands in the way, and says how many chunks that were.
async fn compact(zone: &EmbeddedZone) -> usize {
    let found = listed(zone, true).await;
    for Found { id, locator, length, .. } in &found {
        let bytes = zone.read(locator, *id, 0, usize::try_from(*length).expect("short")).await.expect("a live chunk");
        zone.rewrite(WRITER, *id, vec![bytes]).await.expect("the copy");
        zone.delete(&[(locator.clone(), *id)]).await.remove(0).expect("the old one");
    }
    // Retired files are given back by another worker.
    tokio::time::sleep(Duration::from_secs(60)).await;
    found.len()
}

async fn write(zone: &EmbeddedZone, numbers: std::ops::Range<u64>, length: usize) -> Vec<(Locator, ChunkId)> {
    join_all(numbers.map(|number| async move {
        let placed = zone.write(WRITER, chunk_id(number), vec![payload(number, length)]).await.expect("written");
        (placed.locator, chunk_id(number))
    }))
    .await
}

fn settings() -> Settings {
    Settings { segment_bytes: 1 << 20, reserve_bytes: 0, ..small() }
}

/// ADR 5, "Space": however little is left of however much, the disk holds at most four thirds of the live records, the newest segments apart.
#[test]
fn little_that_is_left_of_much_holds_little() {
    const CHUNKS: u64 = 3000;
    const KEPT_ONE_IN: u64 = 50;
    simulate(async {
        // One block, of which nothing can be punched; more.
        for (length, record) in [(3_000, 4_096), (20_000, 20_480)] {
            let mut machine = Machine::new(length as u64);
            let zone = machine.open(settings()).await;
            let mut chunks = Vec::new();
            for start in (0..CHUNKS).step_by(500) {
                chunks.extend(write(&zone, start..start + 500, length).await);
            }
            let dead: Vec<_> =
                (0..).zip(&chunks).filter(|(at, _)| at % KEPT_ONE_IN != 7).map(|(_, chunk)| chunk.clone()).collect();
            for answer in zone.delete(&dead).await {
                answer.expect("deleted");
            }
            tokio::time::sleep(Duration::from_secs(60)).await;
            let live = CHUNKS / KEPT_ONE_IN * record;
            let newest = 2 * settings().segment_bytes;
            let before = held(&machine);
            assert!(before > 3 * (live + newest), "{length}: {before} bytes: the test does not test");
            // What was the newest segment before is not, once others are begun.
            let moved = [compact(&zone).await, compact(&zone).await, compact(&zone).await];
            assert!(moved[0] > 40 && moved[1] < 30 && moved[2] == 0, "{length}: {moved:?} chunks stood in the way");
            let after = held(&machine);
            assert!(after <= live * 4 / 3 + newest, "{length}: {after} bytes are held for {live}, {before} before");
            for number in (7..CHUNKS).step_by(1000) {
                let found: Vec<_> = listed(&zone, false).await.into_iter().filter(|found| found.id == chunk_id(number)).collect();
                let read = zone.read(&found[0].locator, chunk_id(number), 0, length).await;
                assert_eq!((found.len(), read.expect("readable")), (1, payload(number, length)));
            }
            zone.close().await;
        }
    });
}

/// A segment is not offered while most of it is live, nor is the newest one, and what is offered stays so over a restart.
#[test]
fn what_is_mostly_live_stays_where_it_is() {
    simulate(async {
        let mut machine = Machine::new(3);
        let zone = machine.open(settings()).await;
        let chunks = write(&zone, 0..600, 8_000).await;
        assert_eq!(listed(&zone, true).await, Vec::new(), "all live");
        // A fifth of the chunks: a fifth of a half is dead blocks.
        let some: Vec<_> = chunks.iter().step_by(5).cloned().collect();
        zone.delete(&some).await;
        assert_eq!(listed(&zone, true).await, Vec::new(), "mostly live");
        let most: Vec<_> = chunks.iter().skip(1).step_by(5).chain(chunks.iter().skip(2).step_by(5)).cloned().collect();
        zone.delete(&most).await;
        let sparse = listed(&zone, true).await;
        assert!(sparse.len() > 150, "{} chunks of half-empty segments", sparse.len());
        let newest = chunks.last().expect("the last").1;
        assert!(sparse.iter().all(|found| found.id != newest), "the newest segment cannot be given back");
        zone.close().await;
        let zone = machine.open(settings()).await;
        let again = listed(&zone, true).await;
        assert!(sparse.iter().all(|found| again.contains(found)), "the same, and what was the newest one then");
        zone.close().await;
        let zone = machine.open(Settings { sparse_percent: 100, ..settings() }).await;
        assert_eq!(listed(&zone, true).await, Vec::new(), "turned off");
        zone.close().await;
    });
}

/// Chunks of 100,000 bytes that begin with so many zeros.
async fn write_with_zeros(zone: &EmbeddedZone, zeros: usize) -> (Vec<(Locator, ChunkId)>, Vec<bytes::Bytes>) {
    let (mut chunks, mut payloads) = (Vec::new(), Vec::new());
    for number in 0..40 {
        let bytes = [vec![0; zeros], payload(number, 100_000 - zeros).to_vec()].concat();
        payloads.push(bytes::Bytes::from(bytes));
        let placed = zone.write(WRITER, chunk_id(number), vec![payloads[payloads.len() - 1].clone()]).await.expect("written");
        chunks.push((placed.locator, chunk_id(number)));
    }
    (chunks, payloads)
}

/// Puts back what deletions have punched since `before`: as a crash would have left it, the marks and the payloads behind them.
fn unpunch(machine: &Machine, before: &std::collections::BTreeMap<std::path::PathBuf, Vec<u8>>) {
    let mut files = machine.disk.backup(Path::new(DIRECTORY));
    for (path, bytes) in &mut files {
        let Some(before) = before.get(path) else { continue };
        for (block, old) in bytes.chunks_mut(BLOCK).zip(before.chunks(BLOCK)) {
            if block.iter().all(|byte| *byte == 0) {
                block.copy_from_slice(&old[..block.len()]);
            }
        }
    }
    machine.disk.restore(Path::new(DIRECTORY), &files);
}

/// A crash between a deletion's mark and giving its space back keeps the space only until the zone is opened again.
#[test]
fn space_that_a_crash_kept_comes_back() {
    simulate(async {
        // Payloads that begin with zeros look given back where they begin.
        for zeros in [0, 8_192] {
            let mut machine = Machine::new(4);
            let zone = machine.open(settings()).await;
            let (chunks, payloads) = write_with_zeros(&zone, zeros).await;
            zone.close().await;
            let full = machine.disk.backup(Path::new(DIRECTORY));
            let zone = machine.open(settings()).await;
            let dead: Vec<_> = (0..).zip(&chunks).filter(|(at, _)| at % 4 != 0).map(|(_, chunk)| chunk.clone()).collect();
            for answer in zone.delete(&dead).await {
                answer.expect("deleted");
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
            zone.close().await;
            let punched = held(&machine);
            unpunch(&machine, &full);
            let kept = held(&machine);
            assert!(kept > punched + 1_000_000, "{kept} bytes, {punched} when given back: the test does not test");
            let zone = machine.open(settings()).await;
            tokio::time::sleep(Duration::from_secs(5)).await;
            let opened = held(&machine);
            assert!(opened <= punched, "{opened} bytes are held, of {kept}; {punched} when given back");
            let live: Vec<_> = listed(&zone, false).await.into_iter().map(|found| (found.locator, found.id)).collect();
            assert_eq!(live.len(), chunks.len() - dead.len());
            for (locator, id) in live {
                let at = chunks.iter().position(|chunk| *chunk == (locator.clone(), id)).expect("one of them");
                assert_eq!(zone.read(&locator, id, 0, 100_000).await.expect("readable"), payloads[at]);
            }
            zone.close().await;
        }
    });
}

/// What the index alone calls dead is left alone: a record that says itself that it lives may be wrong, and what is given back is lost.
#[test]
fn what_says_itself_that_it_lives_is_not_given_back() {
    simulate(async {
        let mut machine = Machine::new(5);
        let zone = machine.open(settings()).await;
        let (chunks, _) = write_with_zeros(&zone, 0).await;
        zone.close().await;
        let full = machine.disk.backup(Path::new(DIRECTORY));
        let zone = machine.open(settings()).await;
        let dead: Vec<_> = (0..).zip(&chunks).filter(|(at, _)| at % 4 != 0).map(|(_, chunk)| chunk.clone()).collect();
        for answer in zone.delete(&dead).await {
            answer.expect("deleted");
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        zone.close().await;
        unpunch(&machine, &full);
        // The words of the records are as they were; the index has its marks.
        let mut files = machine.disk.backup(Path::new(DIRECTORY));
        for (path, bytes) in &mut files {
            let Some(before) = full.get(path) else { continue };
            for (block, old) in bytes.chunks_mut(BLOCK).zip(before.chunks(BLOCK)) {
                if old.starts_with(b"CAIRNREC") {
                    block.copy_from_slice(old);
                }
            }
        }
        machine.disk.restore(Path::new(DIRECTORY), &files);
        let kept = held(&machine);
        let zone = machine.open(settings()).await;
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(held(&machine), kept);
        zone.close().await;
    });
}

/// Writes 1,000 chunks and deletes three of four.
async fn delete_most(zone: &EmbeddedZone) {
    let chunks = write(zone, 0..1000, 20_000).await;
    let dead: Vec<_> = (0..).zip(&chunks).filter(|(at, _)| at % 4 != 0).map(|(_, chunk)| chunk.clone()).collect();
    for answer in zone.delete(&dead).await {
        answer.expect("deleted");
    }
}

/// Where the file system gives nothing back, each opening finds that out once, and asks no more.
#[test]
fn an_opening_costs_little_where_nothing_is_given_back() {
    simulate(async {
        let mut machine = Machine::new(6);
        machine.disk.fail(Path::new(DIRECTORY), &[Operation::Punch], std::io::ErrorKind::Unsupported, 1);
        let zone = machine.open(settings()).await;
        delete_most(&zone).await;
        zone.close().await;
        for _ in 0..3 {
            let before = machine.disk.operations();
            let zone = machine.open(settings()).await;
            tokio::time::sleep(Duration::from_secs(60)).await;
            zone.close().await;
            let taken = machine.disk.operations() - before;
            assert!(taken < 500, "{taken} operations of the disk");
        }
    });
}

/// What an opening does in the background it does slowly.
#[test]
fn giving_back_what_a_crash_kept_keeps_its_pace() {
    simulate(async {
        let mut machine = Machine::new(7);
        let zone = machine.open(settings()).await;
        let fault = machine.disk.fail(Path::new(DIRECTORY), &[Operation::Punch], std::io::ErrorKind::Unsupported, 1);
        delete_most(&zone).await;
        zone.close().await;
        machine.disk.lift(fault);
        let zone = machine.open(settings()).await;
        let opened = machine.disk.operations();
        tokio::time::sleep(Duration::from_millis(1_050)).await;
        // Of each record the mark, and the mark in the index; and a sync.
        let second = machine.disk.operations() - opened;
        assert!(second > 2 * 32 && second <= 10 * (32 * 2 + 1), "{second} operations in a second");
        tokio::time::sleep(Duration::from_secs(60)).await;
        let all = machine.disk.operations() - opened;
        assert!(all > 700 * 2, "{all} operations for 750 dead records");
        zone.close().await;
    });
}

/// What could not be given back at once is given back a little later.
#[test]
fn space_that_could_not_be_given_back_comes_back() {
    simulate(async {
        let mut machine = Machine::new(6);
        let fault = machine.disk.fail(Path::new(DIRECTORY), &[Operation::Punch], std::io::ErrorKind::Other, 1);
        let zone = machine.open(settings()).await;
        delete_most(&zone).await;
        let kept = held(&machine);
        machine.disk.lift(fault);
        tokio::time::sleep(Duration::from_secs(60)).await;
        let given_back = kept - held(&machine);
        assert!(given_back > 10_000_000, "{given_back} bytes came back, of {kept}");
        zone.close().await;
    });
}

/// A sparse segment that cannot be read keeps its own space, and not that of all segments behind it. A listing of everything stays strict.
#[test]
fn one_segment_that_cannot_be_read_keeps_only_its_own_space() {
    simulate(async {
        let mut machine = Machine::new(9);
        let zone = machine.open(settings()).await;
        let chunks = write(&zone, 0..1000, 20_000).await;
        let dead: Vec<_> = (0..).zip(&chunks).filter(|(at, _)| at % 50 != 7).map(|(_, chunk)| chunk.clone()).collect();
        for answer in zone.delete(&dead).await {
            answer.expect("deleted");
        }
        tokio::time::sleep(Duration::from_secs(60)).await;
        let all = listed(&zone, true).await;
        let first = machine.files().into_iter().next().expect("a file").0;
        let fault = machine.disk.fail(&first, &[Operation::Read], std::io::ErrorKind::Other, 1);
        let some = listed(&zone, true).await;
        assert!(some.len() < all.len() && some.len() + 10 > all.len(), "{} of {}", some.len(), all.len());
        assert!(some.iter().all(|found| all.contains(found)));
        assert!(matches!(zone.enumerate(SessionId(0), None, 100).await, Err(ZoneError::Damaged(_))));
        machine.disk.lift(fault);
        assert_eq!(listed(&zone, true).await, all);
        zone.close().await;
    });
}

/// A disk that was filled, and of which nearly everything was deleted then, has room again: what little room there is is enough to make more.
#[test]
fn a_full_disk_gets_its_space_back() {
    const CAPACITY: u64 = 12 << 20;
    simulate(async {
        // One block, of which nothing can be punched; a file system that gives nothing back; and where the last little files, which go with their only
        // chunk, are kept: there is no room at all then but for what is kept free.
        for (length, gives_back, kept_last) in [(3_000, true, 0), (20_000, false, 0), (20_000, false, 100), (3_000, true, 500)] {
            let mut machine = Machine::new(11);
            let zone_directory = Path::new(DIRECTORY).parent().expect("the zone's");
            machine.disk.set_capacity(zone_directory, Some(CAPACITY));
            if !gives_back {
                machine.disk.fail(Path::new(DIRECTORY), &[Operation::Punch], std::io::ErrorKind::Unsupported, 1);
            }
            let zone = machine.open(Settings { keep_free_bytes: 1 << 20, ..settings() }).await;
            let mut chunks = Vec::new();
            while let Ok(placed) = zone.write(WRITER, chunk_id(chunks.len() as u64), vec![payload(1, length)]).await {
                chunks.push((placed.locator, chunk_id(chunks.len() as u64)));
            }
            let first = &chunks[..chunks.len() - kept_last];
            let dead: Vec<_> = (0..).zip(first).filter(|(at, _)| at % 20 != 7).map(|(_, chunk)| chunk.clone()).collect();
            for answer in zone.delete(&dead).await {
                answer.expect("deleted");
            }
            tokio::time::sleep(Duration::from_secs(60)).await;
            let full = zone.write(WRITER, chunk_id(99_999), vec![payload(2, length)]).await;
            assert!(kept_last == 0 || matches!(full, Err(ZoneError::Full(_))), "{full:?}: the test does not test");
            let mut moved = Vec::new();
            while moved.last() != Some(&0) {
                moved.push(compact(&zone).await);
                assert!(moved.len() < 20, "{length}: {moved:?} chunks stood in the way: without end");
            }
            let fit = dead.len() * 3 / 4;
            for number in 0..fit {
                let answer = zone.write(WRITER, chunk_id(100_000 + number as u64), vec![payload(2, length)]).await;
                assert!(answer.is_ok(), "{length}: {number} of {} fit: {answer:?}, {moved:?}", chunks.len());
            }
            zone.close().await;
        }
    });
}

/// Header and index of a full segment are overhead, too: where that counted as sparse, chunks would be moved without end.
#[test]
fn the_least_percentage_comes_to_an_end() {
    simulate(async {
        let mut machine = Machine::new(12);
        let refused = machine.try_open(Settings { sparse_percent: 4, ..settings() }, 0).await;
        assert!(matches!(refused, Err(OpenError::Refused(_))));
        let zone = machine.open(Settings { sparse_percent: 5, ..settings() }).await;
        write(&zone, 0..600, 3_000).await;
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(compact(&zone).await, 0, "all live");
        zone.close().await;
    });
}
