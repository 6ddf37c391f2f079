//! A zone's directory of segments, opened after something happened to its files.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use cairn_testkit::sim_disk::SimDisk;
use cairn_testkit::sim_environment::{SimClock, environment, simulate};
use cairn_types::{BlobId, ChunkId, Incarnation, Locator, SessionId, StoreId, ZoneIndex};
use cairn_zone::embedded::format::index::INDEX_HEADER_BYTES;
use cairn_zone::embedded::format::record::RECORD_HEADER_BYTES;
use cairn_zone::embedded::format::{BLOCK_BYTES, Place};
use cairn_zone::embedded::{EmbeddedZone, Opened, Opening, Presence, Settings};
use cairn_zone::{Zone, ZoneError};
use futures::FutureExt;
use futures::future::BoxFuture;

use crate::edits::{Edited, Files, Source, edit};
use crate::{Memory, Part, Target};

pub(super) const TARGET: Target = Target { name: "segment_directory", parts: PARTS, cost: 60 };

const PARTS: &[Part] = &[
    Part { name: "damaged", run: damaged, seeds: damaged_seeds, memory: Memory::AtMost(64 << 20) },
    Part { name: "forged", run: forged, seeds: forged_seeds, memory: Memory::AtMost(64 << 20) },
];

const DIRECTORY: &str = "/data/gland/segments";
/// Names that segments' files may get, and some that are none.
const NAMES: &[&str] =
    &["segment-00000009", "segment-ffffffff", "segment-fffffffe", "segment-0000000A", "segment-+0000001", "lost+found"];
/// Longer than any wait of a zone.
const HANGS_AFTER: Duration = Duration::from_secs(600);

/// Small enough that a handful of chunks goes through every state of a segment.
fn settings() -> Settings {
    Settings {
        segment_bytes: 40 * 1024,
        chunk_bytes_max: 16 * 1024,
        batch_bytes_max: 16 * 1024,
        queue_bytes_max: 64 * 1024,
        reserve_bytes: 40 * 1024,
        keep_free_bytes: 0,
        open_files_max: 4,
        header_cache_max: 16,
        ..Settings::default()
    }
}

struct Here;

impl Presence for Here {
    fn check(&self) -> BoxFuture<'_, io::Result<()>> {
        async { Ok(()) }.boxed()
    }
}

fn opening(disk: &SimDisk, recorded_position: u64, seed: u64) -> Opening {
    Opening {
        environment: environment(&disk.boot(), Arc::new(SimClock::new()), seed),
        directory: PathBuf::from(DIRECTORY),
        store: StoreId(0xca11),
        zone: ZoneIndex(1),
        incarnation: Incarnation(4),
        recorded_position,
        presence: Arc::new(Here),
        settings: settings(),
    }
}

/// A chunk that was acknowledged.
struct Chunk {
    id: ChunkId,
    locator: Locator,
    bytes: Bytes,
    /// Its deletion was acknowledged, too.
    is_deleted: bool,
    file: PathBuf,
    offset: usize,
}

impl Chunk {
    fn payload(&self) -> Range<usize> {
        let start = self.offset + RECORD_HEADER_BYTES;
        start..start + self.bytes.len()
    }
}

/// A zone that was ended by `kill -9`, and what it had acknowledged.
struct Pristine {
    files: Files,
    earlier: Files,
    chunks: Vec<Chunk>,
    position: u64,
}

static PRISTINE: LazyLock<Pristine> = LazyLock::new(|| simulate(make()));

fn id(number: u64) -> ChunkId {
    ChunkId { blob: BlobId { session: SessionId(7), counter: number }, ordinal: 1 }
}

/// Bytes that no other chunk has, and no zeros.
fn content(number: u64, length: usize) -> Bytes {
    (0..length).map(|at| (at as u64 * 7 + number * 31 + at as u64 / 251) as u8 | 1).collect()
}

async fn make() -> Pristine {
    let disk = SimDisk::new(1);
    disk.restore(Path::new("/data/gland"), &Files::from([("identity".into(), vec![1])]));
    let Ok(Opened::Ready { zone, .. }) = EmbeddedZone::open(opening(&disk, 0, 1)).await else { panic!("an empty zone opens") };
    let mut chunks: Vec<Chunk> = Vec::new();
    let mut earlier = Files::new();
    for (number, length) in (0..).zip([100, 5_000, 0, 9_000, 4_000, 12_000, 300, 8_000, 3_968, 16_384, 10, 7_000, 2_000, 600]) {
        let (id, bytes) = (id(number), content(number, length));
        let placed = zone.write(SessionId(9), id, vec![bytes.clone()]).await;
        let locator = placed.unwrap_or_else(|error| panic!("{error}")).locator;
        let offset = Place::decode(&locator).map_or(0, |place| place.offset as usize);
        chunks.push(Chunk { id, locator, bytes, is_deleted: false, file: PathBuf::new(), offset });
        if number == 8 {
            earlier = disk.backup(Path::new(DIRECTORY));
        }
    }
    for number in [1, 6, 12] {
        let chunk = &mut chunks[number];
        zone.delete(&[(chunk.locator.clone(), chunk.id)]).await.remove(0).unwrap_or_else(|error| panic!("{error}"));
        chunk.is_deleted = true;
    }
    // What is sealed and what stands ready is written beside.
    tokio::time::sleep(Duration::from_secs(10)).await;
    let position = zone.position();
    let files = disk.backup(Path::new(DIRECTORY));
    disk.kill();
    for chunk in &mut chunks {
        let starts_here = |(_, content): &(&PathBuf, &Vec<u8>)| {
            let payload = content.get(chunk.offset + RECORD_HEADER_BYTES..chunk.offset + RECORD_HEADER_BYTES + chunk.bytes.len());
            let header = content.get(chunk.offset..chunk.offset + RECORD_HEADER_BYTES);
            let names = |header: &[u8]| header.windows(ChunkId::ENCODED_LENGTH).any(|window| window == chunk.id.encode());
            header.is_some_and(names) && (chunk.is_deleted || payload == Some(&chunk.bytes[..]))
        };
        let Some((name, _)) = files.iter().find(starts_here) else { panic!("{:?} is in no file", chunk.id) };
        chunk.file.clone_from(name);
    }
    Pristine { files, earlier, chunks, position }
}

/// Whatever is lost, flipped, torn or moved: the zone opens and gives what was acknowledged, or says that it cannot. A chunk none of whose
/// file's bytes changed is there, a deleted one is not, and no chunk is given with other bytes than it had, unless those stand at its place in a
/// file now (and then the frames in it tell, B1): a file is known by what it says, not by its name, and none is filled up.
fn damaged(input: &[u8]) {
    let source = Source { pristine: &PRISTINE.files, earlier: &PRISTINE.earlier, names: NAMES, reseal: None };
    let edited = edit(&source, input);
    simulate(async {
        let disk = disk_of(&edited);
        let Some(zone) = open(&disk, PRISTINE.position, 2).await else { return };
        check(&zone, &edited, &[]).await;
        let written = use_it(&zone).await;
        // Deleting next to damage touches no other.
        let deleted = PRISTINE.chunks.iter().find(|chunk| !chunk.is_deleted && !edited.is_touched(&chunk.file));
        if let Some(chunk) = deleted {
            let answer = in_time(zone.delete(&[(chunk.locator.clone(), chunk.id)])).await.remove(0);
            assert!(answer.is_ok(), "a whole chunk cannot be deleted: {answer:?}");
        }
        let deleted: Vec<ChunkId> = deleted.iter().map(|chunk| chunk.id).collect();
        let position = zone.position();
        in_time(zone.close()).await;
        // The same once more, from what this opening has made of it.
        let zone = open(&disk, position, 3).await.unwrap_or_else(|| panic!("what was opened and closed does not open again"));
        check(&zone, &edited, &deleted).await;
        if let Some((locator, bytes)) = written {
            let read = in_time(zone.read(&locator, id(1000), 0, bytes.len())).await;
            assert_eq!(read.ok(), Some(bytes), "what was written beside damage is lost");
        }
        in_time(zone.close()).await;
    });
}

/// Whatever is written: no panic, no endless wait, and what is written then is there.
fn forged(input: &[u8]) {
    let source = Source { pristine: &PRISTINE.files, earlier: &PRISTINE.earlier, names: NAMES, reseal: Some(reseal) };
    let edited = edit(&source, input);
    simulate(async {
        let disk = disk_of(&edited);
        let Some(zone) = open(&disk, PRISTINE.position, 2).await else { return };
        for chunk in &PRISTINE.chunks {
            let _ = in_time(zone.read(&chunk.locator, chunk.id, 0, chunk.bytes.len())).await;
            let _ = in_time(zone.read(&chunk.locator, chunk.id, chunk.bytes.len() as u64 / 2, 1)).await;
        }
        use_it(&zone).await;
        for chunk in PRISTINE.chunks.iter().step_by(3) {
            let _ = in_time(zone.delete(&[(chunk.locator.clone(), chunk.id)])).await;
        }
        let position = zone.position();
        in_time(zone.close()).await;
        if let Some(zone) = open(&disk, position, 3).await {
            in_time(zone.close()).await;
        }
    });
}

fn disk_of(edited: &Edited) -> SimDisk {
    let disk = SimDisk::new(1);
    disk.restore(Path::new(DIRECTORY), &edited.files);
    disk
}

async fn in_time<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(HANGS_AFTER, work).await.unwrap_or_else(|_| panic!("the zone hangs"))
}

/// `None` where it is refused, which says why.
async fn open(disk: &SimDisk, recorded: u64, seed: u64) -> Option<EmbeddedZone> {
    match in_time(EmbeddedZone::open(opening(disk, recorded, seed))).await {
        Ok(Opened::Ready { zone, damage }) => {
            assert!(damage.iter().all(|damage| !damage.what.is_empty()));
            assert!(zone.position() >= recorded, "it opens behind what was recorded of it");
            Some(zone)
        }
        Ok(Opened::Behind { position, recorded }) => {
            assert!(position < recorded);
            None
        }
        Err(error) => {
            assert!(!error.to_string().is_empty());
            None
        }
    }
}

async fn check(zone: &EmbeddedZone, edited: &Edited, deleted: &[ChunkId]) {
    for chunk in &PRISTINE.chunks {
        let read = in_time(zone.read(&chunk.locator, chunk.id, 0, chunk.bytes.len())).await;
        let is_touched = edited.is_touched(&chunk.file);
        match read {
            _ if chunk.is_deleted && is_touched => {}
            Ok(bytes) if !chunk.is_deleted && !deleted.contains(&chunk.id) => {
                let stands = |file: &Vec<u8>| file.get(chunk.payload()) == Some(&bytes[..]);
                assert!(bytes == chunk.bytes || edited.files.values().any(stands), "{:?} has other bytes", chunk.id);
            }
            Ok(_) => panic!("{:?} was deleted", chunk.id),
            // Where a file cannot be read, it may be that what is gone was there.
            Err(ZoneError::NotFound | ZoneError::Damaged(_)) if chunk.is_deleted || deleted.contains(&chunk.id) => {}
            Err(error) => assert!(is_touched, "{:?} in a whole file: {error}", chunk.id),
        }
    }
}

/// Lists, counts and writes.
async fn use_it(zone: &EmbeddedZone) -> Option<(Locator, Bytes)> {
    let _ = in_time(zone.usage()).await;
    for is_sparse in [false, true] {
        let (mut from, mut pages) = (None, 0);
        loop {
            let page = if is_sparse { zone.sparse(from, 5).boxed() } else { zone.enumerate(SessionId(0), from, 5) };
            let Ok(page) = in_time(page).await else { break };
            assert!(page.found.len() <= 5, "a page is longer than was asked for");
            pages += 1;
            assert!(pages < 10_000, "a listing does not end");
            let Some(next) = page.next else { break };
            from = Some(next);
        }
    }
    let bytes = content(1000, 6_000);
    let placed = in_time(zone.write(SessionId(10), id(1000), vec![bytes.clone()])).await.ok()?;
    let read = in_time(zone.read(&placed.locator, id(1000), 0, bytes.len())).await;
    assert_eq!(read.ok().as_ref(), Some(&bytes), "what was written is not there");
    Some((placed.locator, bytes))
}

/// Puts the right checksums to the file's header, a record, or an index.
fn reseal(bytes: &mut [u8], at: usize) {
    let block = at / BLOCK_BYTES as usize * BLOCK_BYTES as usize;
    let length = bytes.len();
    let mut seal = |start: usize| {
        if let Some((body, checksum)) = bytes.get_mut(start..start + 512).and_then(<[u8]>::split_last_chunk_mut::<4>) {
            *checksum = crc32c::crc32c(body).to_le_bytes();
        }
    };
    if block == 0 {
        seal(0);
        seal(2048);
    } else {
        seal(at / INDEX_HEADER_BYTES * INDEX_HEADER_BYTES);
        if length - at.min(length) <= INDEX_HEADER_BYTES {
            seal(length.saturating_sub(INDEX_HEADER_BYTES));
        }
    }
    if let Some(header) = bytes.get_mut(block..block + RECORD_HEADER_BYTES)
        && header.starts_with(b"CAIRNREC")
    {
        let (fields, checksum) = header.split_at_mut(RECORD_HEADER_BYTES - 4);
        checksum.copy_from_slice(&crc32c::crc32c_append(crc32c::crc32c(&fields[..8]), &fields[16..]).to_le_bytes());
    }
}

/// One change each: kind, file, and what it takes.
fn damaged_seeds() -> Vec<Vec<u8>> {
    let files = u8::try_from(PRISTINE.files.len()).unwrap_or(u8::MAX);
    let mut seeds = vec![Vec::new()];
    for file in 0..files {
        // Bits of headers and of the ends, zeroed blocks, cuts, stale blocks, stale and removed files, other names.
        for unit in [0, 4, 8, 24, 255] {
            seeds.push(vec![0, file, unit, 20, 0, 3]);
            seeds.push(vec![2, file, unit, 0, 0, 0, 16, 0]);
        }
        seeds.push(vec![3, file, 255, 0, 0]);
        seeds.push(vec![4, file, 0, 16]);
        seeds.push(vec![5, file, 8, 0, 0, 1, 0, 0, 16]);
        seeds.push(vec![6, file, 8, 0, 0, 2, 1, 16, 0, 0, 0, 16]);
        seeds.push(vec![7, file, 1, 0]);
        seeds.push(vec![7, file, 2, 0]);
        seeds.push(vec![8, file]);
        seeds.push(vec![9, file, 0, 0]);
        seeds.push(vec![9, file, 1, 1]);
    }
    seeds
}

fn forged_seeds() -> Vec<Vec<u8>> {
    let files = u8::try_from(PRISTINE.files.len()).unwrap_or(u8::MAX);
    let mut seeds = Vec::new();
    for file in 0..files {
        // Eight bytes of a header's fields, then the right checksum.
        for (unit, field) in [(0, 48), (8, 32), (8, 100), (255, 12), (255, 40), (255, 48)] {
            let number = [&[10, file, unit, field, 0, 8][..], &[0xff; 8]].concat();
            seeds.push([&number[..], &[11, file, unit, 0, 0]].concat());
        }
    }
    seeds
}
