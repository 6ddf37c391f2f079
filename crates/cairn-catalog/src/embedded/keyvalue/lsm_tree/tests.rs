//! Tests of the engine on disk which are not those of all engines.

use super::*;

/// Small enough that the tests seal, flush and compact many times.
fn small() -> LsmTreeEngine {
    LsmTreeEngine::new(LsmTreeOptions {
        cache_bytes: 1 << 20,
        memtable_bytes: 64 << 10,
        table_file_bytes: 64 << 10,
        overlapping_runs: 8,
        open_files: 32,
        ..LsmTreeOptions::default()
    })
}

fn at(index: u64) -> Applied {
    Applied { index, epoch: 3, checksum: 4 }
}

fn put(number: u32, length: usize) -> Write {
    let key = Bytes::copy_from_slice(&number.to_be_bytes());
    Write::Put { table: Table::new(1), key, value: Bytes::from(vec![number as u8; length]) }
}

fn filled(directory: &Path, engine: &LsmTreeEngine) {
    let store = engine.open(directory).unwrap();
    for index in 1..=20 {
        let writes: Vec<_> = (0..50).map(|row| put(row * 7 + index, if row % 5 == 0 { 3000 } else { 200 })).collect();
        store.apply(&writes, at(u64::from(index))).unwrap();
        store.persist().unwrap();
    }
}

/// Compacts until there is nothing left to compact, so that opening the store again leaves its files as they are.
fn settle(directory: &Path, engine: &LsmTreeEngine) {
    let strategy = Arc::new(Leveled::default().with_table_target_size(engine.options.table_file_bytes));
    loop {
        let before = files(&directory.join("tree").join("tables"));
        let store = LsmTreeStore::open(engine, directory).unwrap();
        store.inner.work_off(&strategy).unwrap();
        drop(store);
        if files(&directory.join("tree").join("tables")) == before {
            return;
        }
    }
}

/// Reads everything; the first error, if any.
fn read_all(engine: &LsmTreeEngine, directory: &Path) -> Result<usize, KeyValueError> {
    let store = engine.open(directory)?;
    let snapshot = store.snapshot();
    let mut rows = 0;
    for row in snapshot.range(Table::new(1), Bound::Unbounded, Bound::Unbounded) {
        row?;
        rows += 1;
    }
    Ok(rows)
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn conforms() {
    let engine = small();
    let parent = tempfile::tempdir().unwrap();
    let count = std::cell::Cell::new(0);
    super::super::conformance::conformance(|| {
        count.set(count.get() + 1);
        engine.open(&parent.path().join(count.get().to_string())).unwrap()
    });
}

#[test]
fn opens_again_where_it_was_persisted() {
    let engine = small();
    let parent = tempfile::tempdir().unwrap();
    for round in 1..=5_u64 {
        let store = engine.open(parent.path()).unwrap();
        assert_eq!(store.applied().map(|applied| applied.index), (round > 1).then_some(round * 10 - 10));
        for index in round * 10 - 9..=round * 10 {
            store.apply(&[put(index as u32, 2000), put(1000, 8)], at(index)).unwrap();
        }
        assert_eq!(store.persist().unwrap(), Some(at(round * 10)));
        // This one is lost with the store, or was flushed by chance; it must not be there by half.
        let rows = store.snapshot().range(Table::new(1), Bound::Unbounded, Bound::Unbounded).count() as u64;
        assert_eq!(rows, round * 10 + 1);
    }
}

#[test]
fn a_second_opener_is_refused() {
    let engine = small();
    let parent = tempfile::tempdir().unwrap();
    let store = engine.open(parent.path()).unwrap();
    assert!(matches!(engine.open(parent.path()), Err(KeyValueError::InUse { .. })));
    drop(store);
    engine.open(parent.path()).unwrap();
}

#[test]
fn snapshots_outlive_the_store() {
    let engine = small();
    let parent = tempfile::tempdir().unwrap();
    let store = engine.open(parent.path()).unwrap();
    store.apply(&[put(1, 10)], at(1)).unwrap();
    let snapshot = store.snapshot();
    drop(store);
    assert!(snapshot.get(Table::new(1), &1_u32.to_be_bytes()).unwrap().is_some());
    assert!(matches!(engine.open(parent.path()), Err(KeyValueError::InUse { .. })));
}

#[test]
fn damage_names_the_file() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("store");
    filled(&directory, &small());
    settle(&directory, &small());
    let whole = read_all(&small(), &directory).unwrap();
    assert!(whole > 50);
    let tree = directory.join("tree");
    let mut victims = files(&tree.join("tables"));
    victims.extend(files(&tree.join("blobs")));
    victims.extend(files(&tree).into_iter().filter(|file| file.is_file()));
    assert!(victims.len() >= 4, "a list of files, its pointer, tables and blobs: {victims:?}");
    for victim in &victims {
        let content = std::fs::read(victim).unwrap();
        let mut broken = Vec::new();
        for place in [0, content.len() / 4, content.len() / 2, content.len() - 1] {
            let mut flipped = content.clone();
            flipped[place] ^= 0x40;
            broken.push(Some(flipped));
        }
        broken.push(Some(content[..content.len() / 2].to_vec()));
        broken.push(Some(Vec::new()));
        broken.push(None);
        for (kind, broken) in broken.into_iter().enumerate() {
            match broken {
                Some(broken) => std::fs::write(victim, broken).unwrap(),
                None => std::fs::remove_file(victim).unwrap(),
            }
            match read_all(&small(), &directory) {
                // A flipped bit can be in a part which no read uses, such as a superseded value.
                Ok(rows) => assert!(kind < 4 && rows == whole, "{} kind {kind} gave {rows} rows", victim.display()),
                Err(KeyValueError::Damaged { file, .. }) => {
                    let pointed = file == *victim || victim.ends_with("current") && file.starts_with(&tree);
                    assert!(pointed, "{} was blamed for {} kind {kind}", file.display(), victim.display());
                }
                Err(error) => panic!("{} kind {kind}: {error}", victim.display()),
            }
            std::fs::write(victim, &content).unwrap();
        }
    }
    assert_eq!(read_all(&small(), &directory).unwrap(), whole);
}
