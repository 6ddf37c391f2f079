//! Kills a writing process at a random moment, again and again, and checks that the key-value store opens to
//! exactly a prefix of the batches, at or after the last persist which was reported.
//!
//! 6 rounds, or 60 with `CAIRN_LONG=1`.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write as _},
    ops::Bound,
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use cairn_catalog::embedded::keyvalue::{
    Applied, KeyValue, KeyValueEngine, Table, Write,
    lsm_tree::{LsmTreeEngine, LsmTreeOptions},
};

const ROWS: Table = Table::new(1);
const BODIES: Table = Table::new(9);
const DIRECTORY: &str = "CAIRN_KEYVALUE_KILL_DIRECTORY";
const SEED: &str = "CAIRN_KEYVALUE_KILL_SEED";

/// After so many batches the rows of a batch are deleted again.
const WINDOW: u64 = 1500;
/// So many bodies there are, each overwritten by every so manieth batch.
const BODY_COUNT: u64 = 200;

fn mix(number: u64) -> u64 {
    let number = (number.wrapping_add(0x9E37_79B9_7F4A_7C15) ^ (number >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    number ^ (number >> 31)
}

fn open(directory: &Path) -> Arc<dyn KeyValue> {
    // Small limits, so that kills meet flushes, compactions and the rewriting of bodies.
    let options =
        LsmTreeOptions { memtable_bytes: 1 << 20, table_file_bytes: 1 << 19, cache_bytes: 4 << 20, ..LsmTreeOptions::default() };
    LsmTreeEngine::new(options).open(directory).expect("the store must open after every kill")
}

fn row_key(index: u64, row: u64) -> Bytes {
    Bytes::from([mix(index * 3 + row).to_be_bytes(), index.to_be_bytes(), row.to_be_bytes()].concat())
}

fn batch(index: u64) -> Vec<Write> {
    let mut writes = Vec::new();
    for row in 0..3 {
        writes.push(Write::Put { table: ROWS, key: row_key(index, row), value: Bytes::copy_from_slice(&index.to_be_bytes()) });
        if index > WINDOW {
            writes.push(Write::Delete { table: ROWS, key: row_key(index - WINDOW, row) });
        }
    }
    let body: Vec<u8> = (0..512).flat_map(|word| mix(index * 1000 + word).to_be_bytes()).collect();
    let key = Bytes::copy_from_slice(&(index % BODY_COUNT).to_be_bytes());
    writes.push(Write::Put { table: BODIES, key, value: Bytes::from(body) });
    writes
}

fn applied(index: u64) -> Applied {
    Applied { index, epoch: 1, checksum: u128::from(mix(index)) }
}

/// The process which gets killed; as a test of its own it does nothing.
#[test]
fn writer_process() {
    let Some(directory) = std::env::var_os(DIRECTORY) else {
        return;
    };
    let mut seed: u64 = std::env::var(SEED).unwrap().parse().unwrap();
    let store = open(Path::new(&directory));
    let persisting = store.clone();
    std::thread::spawn(move || {
        loop {
            seed = mix(seed);
            std::thread::sleep(Duration::from_millis(seed % 60));
            if let Some(applied) = persisting.persist().unwrap() {
                println!("persisted {}", applied.index);
                std::io::stdout().flush().unwrap();
            }
        }
    });
    let mut index = store.applied().map_or(0, |applied| applied.index);
    loop {
        index += 1;
        store.apply(&batch(index), applied(index)).unwrap();
    }
}

/// Checks that the store holds all of the batches up to its position and nothing else; returns the position.
fn check(store: &dyn KeyValue) -> u64 {
    let Some(found) = store.applied() else { return 0 };
    assert_eq!(found, applied(found.index));
    let mut expected = BTreeMap::new();
    for index in (found.index + 1).saturating_sub(WINDOW + BODY_COUNT).max(1)..=found.index {
        for write in batch(index) {
            match write {
                Write::Put { table, key, value } => expected.insert((table, key), value),
                Write::Delete { table, key } => expected.remove(&(table, key)),
            };
        }
    }
    let snapshot = store.snapshot();
    let mut rows = BTreeMap::new();
    for table in [ROWS, BODIES] {
        for row in snapshot.range(table, Bound::Unbounded, Bound::Unbounded) {
            let (key, value) = row.unwrap();
            assert_eq!(snapshot.get(table, &key).unwrap().as_ref(), Some(&value));
            rows.insert((table, key), value);
        }
    }
    let missing = expected.iter().filter(|(key, value)| rows.get(*key) != Some(value)).count();
    let extra = rows.keys().filter(|key| !expected.contains_key(*key)).count();
    assert_eq!((missing, extra), (0, 0), "rows missing and rows too many at batch {}", found.index);
    found.index
}

#[test]
fn a_kill_leaves_a_prefix_of_batches() {
    let rounds = if std::env::var("CAIRN_LONG").is_ok_and(|value| value == "1") { 60 } else { 6 };
    let parent = tempfile::tempdir().unwrap();
    let mut before = 0;
    let mut beyond = 0;
    for round in 0..rounds {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["writer_process", "--exact", "--nocapture"])
            .env(DIRECTORY, parent.path())
            .env(SEED, (round + 1).to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let reports = std::thread::spawn(move || {
            let lines = output.lines().map_while(Result::ok);
            lines.filter_map(|line| line.strip_prefix("persisted ")?.parse::<u64>().ok()).last()
        });
        std::thread::sleep(Duration::from_millis(60 + mix(round) % 600));
        child.kill().unwrap();
        child.wait().unwrap();
        let persisted = reports.join().unwrap().unwrap_or(before);
        let found = check(&*open(parent.path()));
        assert!(found >= persisted, "round {round}: opened at batch {found}, but {persisted} was persisted");
        beyond = beyond.max(found - persisted);
        before = found;
    }
    assert!(before > 0, "the writers never got to persist");
    println!("{rounds} kills, {before} batches, at most {beyond} batches beyond a reported persist");
}
