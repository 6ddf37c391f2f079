//! A zone's log, opened after something happened to its files.

use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use cairn_catalog::embedded::log::batch::{Batch, FILE_HEADER_LENGTH, FRAME_ALIGNMENT, FRAME_HEADER_LENGTH, Marks, Position};
use cairn_catalog::embedded::log::zone_log::{Base, LogSettings, OpenError, ZoneLog};
use cairn_disk::Disk;
use cairn_disk::zone_directory::{IDENTITY_FORMAT, Identity, Inspection, ZoneDirectory, ZoneState, inspect};
use cairn_testkit::sim_disk::SimDisk;
use cairn_testkit::sim_environment::simulate;
use cairn_types::{Incarnation, StoreId, ZoneName};
use xxhash_rust::xxh3::xxh3_128;

use crate::edits::{Edited, Files, Source, edit};
use crate::{Memory, Part, Target};

pub(super) const TARGET: Target = Target { name: "log_directory", parts: PARTS, cost: 15 };

const PARTS: &[Part] = &[
    Part { name: "damaged", run: damaged, seeds: damaged_seeds, memory: Memory::AtMost(64 << 20) },
    Part { name: "forged", run: forged, seeds: forged_seeds, memory: Memory::AtMost(64 << 20) },
];

const STORE: StoreId = StoreId(77);
const ZONE: &str = "/data/geneva";

/// Of the process of this number: each has a seed of its own for the nonces.
fn settings(process: u64) -> LogSettings {
    LogSettings { file_bytes: 16 << 10, spare_files: 1, nonce_seed: process }
}

/// Names that files of a log may get, and some that are none; and those of the directory above.
const NAMES: &[&str] = &[
    "log-0/0000000000000009.log",
    "log-0/ffffffffffffffff.log",
    "log-0/fffffffffffffffe.log",
    "log-0/000000000000000A.log",
    "log-0/+000000000000001.log",
    "log-0/0000000000000001.log.new",
    "log-0/spare-0",
    "log-0/spare-18446744073709551615",
    "log-0/spare-+1",
    "log-0/spare-x",
    "identity",
    "identity.new",
    "lock",
    "segments/segment-00000000",
    "lost+found/x",
];
const HANGS_AFTER: Duration = Duration::from_secs(600);

fn identity() -> Identity {
    let name = |text: &str| ZoneName::try_from(text.to_owned()).unwrap_or_else(|error| panic!("{error}"));
    let zones = [name("geneva"), name("gland"), name("lucerne")];
    Identity {
        format: IDENTITY_FORMAT,
        store: STORE,
        zone: zones[0].clone(),
        zones,
        mount_points: [false; 3],
        incarnation: Incarnation(1),
        state: ZoneState::Formed,
        promise: 1,
        catalog: 0,
    }
}

struct Pristine {
    files: Files,
    earlier: Files,
    /// Batch 1 and those after it.
    batches: Vec<Arc<Batch>>,
    /// The newest file, where its last frame begins, and what that frame says was synced.
    last_file: PathBuf,
    last_frame: usize,
    last_says_synced: u64,
    /// The highest index that was trimmed.
    trimmed: u64,
}

static PRISTINE: LazyLock<Pristine> = LazyLock::new(|| simulate(make()));

async fn make() -> Pristine {
    let disk = SimDisk::new(1);
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    disk.restore(Path::new("/data"), &Files::new());
    let directory = ZoneDirectory::create(shared, Path::new(ZONE), identity()).await.unwrap_or_else(|error| panic!("{error}"));
    let path = directory.log_path();
    let log = ZoneLog::create(Arc::new(directory), path, settings(1), Base::default(), 0).await;
    let mut log = log.unwrap_or_else(|error| panic!("{error}"));
    let (mut batches, mut earlier) = (Vec::new(), Files::new());
    for number in 1..=22_u64 {
        let payload: Vec<u8> = (0..number * 137 % 3000).map(|at| (at * 7 + number) as u8 | 1).collect();
        let previous = log.last();
        let batch = Arc::new(Batch::new(STORE, previous, 1 + number / 9, number * 10, Marks::default(), &payload));
        log.append(std::slice::from_ref(&batch)).await.unwrap_or_else(|error| panic!("{error}"));
        batches.push(batch);
        // The last is synced too, and nothing says so yet.
        log.sync().await.unwrap_or_else(|error| panic!("{error}"));
        if number == 10 {
            log.trim(6).await.unwrap_or_else(|error| panic!("{error}"));
        }
        if number == 17 {
            earlier = disk.backup(Path::new(ZONE));
        }
    }
    let trimmed = log.base_index();
    let files = disk.backup(Path::new(ZONE));
    let last_file = files.keys().rfind(|name| is_log(name)).cloned().unwrap_or_default();
    let content = files.get(&last_file).cloned().unwrap_or_default();
    let batch = batches.last().map(|batch| batch.encoded().clone()).unwrap_or_default();
    let last_frame = content.windows(batch.len()).position(|window| *window == batch[..]);
    let last_frame = last_frame.unwrap_or_else(|| panic!("the last batch is in the newest file")) - FRAME_HEADER_LENGTH;
    Pristine { files, earlier, last_says_synced: batches.len() as u64 - 1, batches, last_file, last_frame, trimmed }
}

fn is_log(name: &Path) -> bool {
    name.extension().is_some_and(|extension| extension == "log")
}

/// Whatever is lost, flipped, torn or moved: what opens holds batches as they were written, one after the other, up to what a frame that is
/// whole says was synced (L5); else it is said what is wrong.
fn damaged(input: &[u8]) {
    let source = Source { pristine: &PRISTINE.files, earlier: &PRISTINE.earlier, names: NAMES, reseal: None };
    let edited = edit(&source, input);
    simulate(async {
        let disk = disk_of(&edited);
        let Some(mut log) = open(&disk, &edited, 2).await else { return };
        let last = check(&log).await;
        let start = PRISTINE.last_frame;
        // The header of the newest file and that of the last frame are as they were: they vouch for all before.
        let is_newest = !NAMES.iter().any(|name| is_log(Path::new(name)) && edited.files.contains_key(Path::new(name)));
        let vouch = is_newest
            && !edited.is_hit(&PRISTINE.last_file, &(0..FILE_HEADER_LENGTH as usize))
            && !edited.is_hit(&PRISTINE.last_file, &(start..start + FRAME_HEADER_LENGTH));
        if vouch {
            assert!(last >= PRISTINE.last_says_synced, "batches that were synced are taken for a torn tail: {last}");
        }
        if !edited.files.keys().any(|name| edited.is_touched(name)) && edited.files.len() == PRISTINE.files.len() {
            assert_eq!(last, PRISTINE.batches.len() as u64);
        }
        let batch = use_it(&mut log).await;
        drop(log);
        let log = open(&disk, &edited, 3).await.unwrap_or_else(|| panic!("what was opened and written does not open again"));
        if let Some(batch) = batch {
            let read = in_time(log.read(batch.position.index, 1)).await;
            assert_eq!(read.ok().and_then(|read| read.first().cloned()), Some(batch), "what was synced is gone");
        }
    });
}

/// Whatever is written: no panic, no endless wait, and what is written then is there.
fn forged(input: &[u8]) {
    let source = Source { pristine: &PRISTINE.files, earlier: &PRISTINE.earlier, names: NAMES, reseal: Some(reseal) };
    let edited = edit(&source, input);
    simulate(async {
        let disk = disk_of(&edited);
        let Some(mut log) = open(&disk, &edited, 2).await else { return };
        let _ = in_time(log.read(log.base_index().saturating_add(1), u64::MAX)).await;
        let batch = use_it(&mut log).await;
        let cut = log.last().index.saturating_sub(3).max(log.base_index());
        let is_cut = in_time(log.cut_after(cut, u64::MAX)).await.is_ok();
        let _ = in_time(log.trim(cut)).await;
        drop(log);
        if let (Some(batch), Some(log), false) = (batch, open(&disk, &edited, 3).await, is_cut) {
            let read = in_time(log.read(batch.position.index, 1)).await;
            assert_eq!(read.ok().and_then(|read| read.first().cloned()), Some(batch), "what was synced is gone");
        }
    });
}

fn disk_of(edited: &Edited) -> SimDisk {
    let disk = SimDisk::new(1);
    disk.restore(Path::new(ZONE), &edited.files);
    disk
}

async fn in_time<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(HANGS_AFTER, work).await.unwrap_or_else(|_| panic!("the log hangs"))
}

/// `None` where it is refused, which says why.
async fn open(disk: &SimDisk, edited: &Edited, process: u64) -> Option<ZoneLog> {
    let disk: Arc<dyn Disk> = Arc::new(disk.boot());
    let identity = match in_time(inspect(&*disk, Path::new(ZONE))).await {
        Ok(Inspection::Identity(identity)) => identity,
        Ok(Inspection::NoIdentity(words) | Inspection::Foreign(words)) => {
            assert!(!words.is_empty());
            return None;
        }
        Ok(Inspection::Empty { .. }) => {
            let means_nothing =
                |name: &PathBuf| ["lock", "identity.new"].map(Path::new).contains(&&**name) || name.starts_with("lost+found");
            assert!(edited.files.keys().all(means_nothing), "a zone's directory is taken for an empty one");
            return None;
        }
        Err(error) => panic!("{error}"),
    };
    let directory = Arc::new(in_time(ZoneDirectory::open(disk, Path::new(ZONE), &identity)).await.ok()?);
    match in_time(ZoneLog::open(directory, settings(process), None)).await {
        Ok(log) => Some(log),
        Err(OpenError::Missing | OpenError::Trimmed { .. }) => None,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            None
        }
    }
}

/// The log's last batch, once all of it was compared with what was written.
async fn check(log: &ZoneLog) -> u64 {
    let (base, last) = (log.base_index(), log.last());
    assert!(base >= PRISTINE.trimmed || base == 0 || base <= last.index);
    let read =
        in_time(log.read(base + 1, u64::MAX)).await.unwrap_or_else(|error| panic!("what was opened cannot be read: {error}"));
    assert_eq!(read.len() as u64, last.index - base, "the log has a hole");
    for (index, batch) in (base..).zip(&read) {
        assert_eq!(PRISTINE.batches.get(index as usize), Some(batch), "batch {} is not what it was", index + 1);
    }
    last.index
}

/// Appends a batch that is longer than most, and syncs it.
async fn use_it(log: &mut ZoneLog) -> Option<Arc<Batch>> {
    let Position { index, .. } = log.last();
    let batch = Arc::new(Batch::new(STORE, log.last(), 9, index.saturating_mul(10), log.last_marks(), &[7; 5000]));
    in_time(log.append(std::slice::from_ref(&batch))).await.ok()?;
    in_time(log.sync()).await.ok()?;
    Some(batch)
}

/// Puts the right checksums to a file's header, or to the frame that begins there and its batch.
fn reseal(bytes: &mut [u8], at: usize) {
    /// Bytes of a file's header that carry something, without their checksum.
    const FILE_HEADER_USED: usize = 172;
    let nonce = bytes.get(36 + 8..).and_then(|rest| rest.first_chunk::<8>()).copied().unwrap_or_default();
    if at < FILE_HEADER_LENGTH as usize {
        if let Some((used, rest)) = bytes.split_at_mut_checked(FILE_HEADER_USED)
            && let Some(checksum) = rest.first_chunk_mut::<4>()
        {
            *checksum = crc32c::crc32c(used).to_le_bytes();
        }
        return;
    }
    let start = at / FRAME_ALIGNMENT as usize * FRAME_ALIGNMENT as usize;
    let Some((header, batch)) = bytes.get_mut(start..).and_then(|frame| frame.split_at_mut_checked(FRAME_HEADER_LENGTH)) else {
        return;
    };
    let length =
        header.get(24..).and_then(|rest| rest.first_chunk::<4>()).map_or(0, |length| u32::from_le_bytes(*length) as usize);
    let (fields, checksum) = header.split_at_mut(FRAME_HEADER_LENGTH - 4);
    checksum.copy_from_slice(&crc32c::crc32c_append(crc32c::crc32c(&nonce), fields).to_le_bytes());
    if let Some((fields, checksum)) = batch.get_mut(..length).and_then(<[u8]>::split_last_chunk_mut::<16>) {
        *checksum = xxh3_128(fields).to_le_bytes();
    }
}

fn damaged_seeds() -> Vec<Vec<u8>> {
    let files = u8::try_from(PRISTINE.files.len()).unwrap_or(u8::MAX);
    let mut seeds = vec![Vec::new()];
    for file in 0..files {
        for unit in [0, 8, 9, 12, 20, 31] {
            seeds.push(vec![0, file, unit, 20, 0, 3]);
            seeds.push(vec![2, file, unit, 0, 0, 0, 2, 0]);
            seeds.push(vec![5, file, unit, 0, 0, 1, 0, 0, 2]);
        }
        seeds.push(vec![3, file, 12, 0, 0]);
        seeds.push(vec![4, file, 0, 16]);
        seeds.push(vec![7, file, 1, 0]);
        seeds.push(vec![8, file]);
        for name in 0..NAMES.len() as u8 {
            seeds.push(vec![9, file, name, 0]);
        }
    }
    seeds
}

fn forged_seeds() -> Vec<Vec<u8>> {
    let files = u8::try_from(PRISTINE.files.len()).unwrap_or(u8::MAX);
    let mut seeds = Vec::new();
    for file in 0..files {
        // Eight bytes of a file's header, of a frame's header and of a batch's, then the right checksum.
        for (unit, field) in [(0, 28), (0, 36), (0, 52), (8, 8), (8, 16), (8, 24), (8, 32 + 24), (8, 32 + 60)] {
            let number = [&[10, file, unit, field, 0, 8][..], &[0xff; 8]].concat();
            seeds.push([&number[..], &[11, file, unit, 0, 0]].concat());
        }
    }
    seeds
}
