use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use cairn_disk::Disk;
use cairn_disk::zone_directory::{IDENTITY_FORMAT, Identity, ZoneDirectory, ZoneState};
use cairn_testkit::sim_disk::SimDisk;
use cairn_testkit::sim_environment::simulate;
use cairn_types::{Incarnation, StoreId};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::super::batch::{Batch, Marks, Position};
use super::{Base, LogSettings, OpenError, ZoneLog};

const STORE: StoreId = StoreId(77);
const ZONE: &str = "/data/geneva";
const SETTINGS: LogSettings = LogSettings { file_bytes: 16 << 10, spare_files: 1, nonce_seed: 5 };

fn identity() -> Identity {
    let zones: [cairn_types::ZoneName; 3] = ["geneva", "gland", "lucerne"].map(|name| name.parse().unwrap());
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

async fn create(disk: &SimDisk) -> ZoneLog {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    disk.create_directory(Path::new("/data")).await.unwrap();
    disk.sync_directory(Path::new("/")).await.unwrap();
    let directory = ZoneDirectory::create(disk, Path::new(ZONE), identity()).await.unwrap();
    let path = directory.log_path();
    ZoneLog::create(Arc::new(directory), path, SETTINGS, Base::default(), 0).await.unwrap()
}

async fn open(disk: &SimDisk) -> Result<ZoneLog, OpenError> {
    let directory = ZoneDirectory::open(Arc::new(disk.clone()), Path::new(ZONE), &identity()).await?;
    ZoneLog::open(Arc::new(directory), SETTINGS, None).await
}

fn batch(random: &mut ChaCha8Rng, previous: Position, epoch: u64) -> Arc<Batch> {
    let mut payload = vec![0; random.random_range(0..3000)];
    random.fill(payload.as_mut_slice());
    Arc::new(Batch::new(STORE, previous, epoch, previous.index * 10, Marks::default(), &payload))
}

/// Everything that the log holds is what was once appended, in order and without a hole.
async fn check(log: &ZoneLog, model: &BTreeMap<u64, Arc<Batch>>, context: &str) {
    let read = log.read(log.base_index() + 1, u64::MAX).await.unwrap();
    assert_eq!(read.len() as u64, log.last().index - log.base_index(), "{context}");
    for (expected, found) in (log.base_index() + 1..).zip(&read) {
        assert_eq!(model.get(&expected), Some(found), "{context}");
        assert_eq!(log.position_at(expected).await.unwrap(), Some(found.position));
    }
}

/// A recycled file holds old bytes; a block of it that an append writes in part must not be read from the disk first.
#[test]
fn an_append_ends_with_its_block_whatever_the_file_held() {
    simulate(async {
        let disk = SimDisk::new(3);
        let mut log = create(&disk).await;
        let mut random = ChaCha8Rng::seed_from_u64(3);
        let file = log.active().file.clone();
        let length = log.active().length;
        file.write_at(log.active().end, &[Bytes::from(vec![0xFF; (length - log.active().end) as usize])]).await.unwrap();
        for _ in 0..3 {
            let next = batch(&mut random, log.last(), 1);
            log.append(&[next]).await.unwrap();
            let (end, block_end) = (log.active().end, log.active().end.next_multiple_of(super::BLOCK_BYTES));
            let rest = file.read_at(end, (length - end) as usize).await.unwrap();
            let (block, beyond) = rest.split_at((block_end - end) as usize);
            assert!(block.iter().all(|byte| *byte == 0), "the block that ends at {block_end}");
            assert!(beyond.iter().all(|byte| *byte == 0xFF), "nothing beyond {block_end} is touched");
        }
    });
}

/// Appends, syncs, cuts and trims at random, with power losses and kills between and within, and returns what went wrong.
async fn run(seed: u64, rounds: usize) -> Result<(), String> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut disk = SimDisk::new(seed);
    let mut log = create(&disk).await;
    let mut model: BTreeMap<u64, Arc<Batch>> = BTreeMap::new();
    let (mut durable, mut trimmed, mut epoch) = (0, 0, 1);
    for round in 0..rounds {
        let context = format!("seed {seed} round {round}");
        disk.crash_after(random.random_range(1..120));
        // The lowest index at which a crashed cut may have left the log.
        let mut durable_floor = durable;
        loop {
            let result = match random.random_range(0..12) {
                0..8 => {
                    let mut batches = Vec::new();
                    let mut previous = log.last();
                    for _ in 0..random.random_range(1..4) {
                        let next = batch(&mut random, previous, epoch);
                        previous = next.position;
                        model.insert(previous.index, next.clone());
                        batches.push(next);
                    }
                    model.retain(|index, _| *index <= previous.index);
                    match log.append(&batches).await {
                        Ok(()) if random.random_bool(0.7) => match log.sync().await {
                            Ok(index) => {
                                durable = index;
                                durable_floor = index;
                                Ok(())
                            }
                            Err(error) => Err(error),
                        },
                        other => other,
                    }
                }
                8 => {
                    let to = random.random_range(log.base_index()..=log.last().index).max(trimmed);
                    epoch += 1;
                    durable_floor = durable_floor.min(to);
                    match log.cut_after(to, epoch).await {
                        Ok(()) => {
                            durable = durable.min(to);
                            if to < log.last().index {
                                return Err(format!("{context}: the cut left a tail"));
                            }
                            model.retain(|index, _| *index <= to.max(log.last().index));
                            Ok(())
                        }
                        Err(OpenError::Io(error)) => Err(error),
                        Err(error) => return Err(format!("{context}: {error}")),
                    }
                }
                9 => {
                    let to = random.random_range(0..=durable);
                    let result = log.trim(to).await;
                    trimmed = trimmed.max(log.base_index());
                    result
                }
                10 => {
                    let spares = log.spares();
                    tokio::select! {
                        result = spares.run() => result,
                        () = tokio::task::yield_now() => Ok(()),
                    }
                }
                _ => {
                    check(&log, &model, &context).await;
                    Ok(())
                }
            };
            if result.is_err() || !disk.is_alive() {
                break;
            }
            if random.random_ratio(1, 60) {
                disk.kill();
                break;
            }
        }
        if disk.is_alive() {
            return Err(format!("{context}: an error without a crash"));
        }
        drop(log);
        disk = disk.boot();
        log = open(&disk).await.map_err(|error| format!("{context}: {error}"))?;
        if log.last().index < durable_floor {
            return Err(format!("{context}: batch {durable_floor} was durable, the log ends with {}", log.last().index));
        }
        check(&log, &model, &context).await;
        model.retain(|index, _| *index <= log.last().index);
        durable = log.synced_index();
    }
    Ok(())
}

#[test]
fn what_was_synced_survives_crashes_and_nothing_stale_comes_back() {
    let seeds = if std::env::var_os("CAIRN_LONG").is_some() { 2000 } else { 150 };
    for seed in 0..seeds {
        simulate(run(seed, 12)).unwrap();
    }
}

#[test]
fn a_missing_sync_is_noticed() {
    use super::super::rules::{Rule, take_out};
    take_out(Some(Rule::Sync));
    let failed = (0..40).filter(|seed| simulate(run(*seed, 12)).is_err()).count();
    take_out(None);
    assert!(failed > 10, "only {failed} of 40 seeds noticed");
}

/// L5: a flipped bit in what was synced is damage, or found by the reader; it is never cut off as a torn tail.
#[test]
fn rot_in_what_was_synced_is_damage_not_a_torn_tail() {
    let mut damaged = 0;
    for seed in 0..300 {
        simulate(async {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            let disk = SimDisk::new(seed);
            let mut log = create(&disk).await;
            let mut model = BTreeMap::new();
            for _ in 0..random.random_range(3..20) {
                let next = batch(&mut random, log.last(), 1);
                model.insert(next.position.index, next.clone());
                log.append(&[next]).await.unwrap();
                log.sync().await.unwrap();
            }
            let vouched = log.last().index - 1;
            drop(log);
            let disk = disk.kill();
            let files = disk.files(Path::new("/data/geneva/log-0"));
            let (name, length) = &files[random.random_range(0..files.len())];
            disk.flip_bit(name, random.random_range(0..length * 8));
            match open(&disk).await {
                Err(OpenError::Damage(_)) => damaged += 1,
                Err(error) => panic!("seed {seed}: {error}"),
                Ok(log) => {
                    assert!(log.last().index >= vouched, "seed {seed}: {} of {vouched}", log.last().index);
                    check(&log, &model, &format!("seed {seed}")).await;
                }
            }
        });
    }
    assert!(damaged > 30, "{damaged}");
}

/// L6: the sync of a file in a removed or replaced directory does not count.
#[test]
fn a_sync_in_a_removed_directory_does_not_count() {
    simulate(async {
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let disk = SimDisk::new(1);
        let mut log = create(&disk).await;
        let backup = disk.backup(Path::new(ZONE));
        let first = batch(&mut random, log.last(), 1);
        log.append(&[first]).await.unwrap();
        log.sync().await.unwrap();
        disk.remove_tree(Path::new("/data/geneva/log-0"));
        let second = batch(&mut random, log.last(), 1);
        log.append(&[second]).await.unwrap();
        assert!(log.sync().await.unwrap_err().to_string().contains("removed while in use"));
        disk.remove_tree(Path::new(ZONE));
        assert!(log.sync().await.unwrap_err().to_string().contains("is gone"));
        disk.restore(Path::new(ZONE), &backup);
        assert!(log.sync().await.unwrap_err().to_string().contains("replaced"));
    });
}

/// L1: a batch with a hole before it, or of another history, is refused.
#[test]
fn batches_are_accepted_in_order_only() {
    simulate(async {
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let disk = SimDisk::new(1);
        let mut log = create(&disk).await;
        let first = batch(&mut random, log.last(), 1);
        let second = batch(&mut random, first.position, 1);
        assert!(log.append(std::slice::from_ref(&second)).await.is_err());
        log.append(&[first]).await.unwrap();
        let stranger = batch(&mut random, Position { checksum: 5, ..log.last() }, 1);
        assert!(log.append(&[stranger]).await.is_err());
        log.append(&[second]).await.unwrap();
    });
}
