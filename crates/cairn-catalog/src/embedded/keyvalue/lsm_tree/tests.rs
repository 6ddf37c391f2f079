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
    let strategies = Strategies::new(&engine.options);
    loop {
        let before = files(&directory.join("tree").join("tables"));
        let store = LsmTreeStore::open(engine, directory).unwrap();
        store.inner.work_off(&strategies).unwrap();
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

/// A store that seals, flushes and compacts by hand only, but for what goes on by itself.
struct Deleting {
    store: LsmTreeStore,
    strategies: Strategies,
    index: u64,
    _directory: tempfile::TempDir,
}

impl Deleting {
    fn new() -> Self {
        let engine = LsmTreeEngine::new(LsmTreeOptions { deletions_max: 500, tombstones_min: 1000, ..small().options });
        let directory = tempfile::tempdir().unwrap();
        let store = LsmTreeStore::open(&engine, directory.path()).unwrap();
        Self { store, strategies: Strategies::new(&engine.options), index: 0, _directory: directory }
    }

    fn apply(&mut self, rows: impl Iterator<Item = Write>) {
        for batch in rows.collect::<Vec<_>>().chunks(200) {
            self.index += 1;
            self.store.apply(batch, at(self.index)).unwrap();
        }
    }

    /// What is in files once everything is there and nothing is left to compact.
    fn settled(&self) -> tombstones::Census {
        self.store.persist().unwrap();
        self.store.inner.work_off(&self.strategies).unwrap();
        self.store.inner.census().unwrap()
    }

    fn rows(&self) -> Vec<u32> {
        let snapshot = self.store.snapshot();
        let rows = snapshot.range(Table::new(1), Bound::Unbounded, Bound::Unbounded);
        rows.map(|row| u32::from_be_bytes(row.unwrap().0[..].try_into().unwrap())).collect()
    }
}

fn delete(number: u32) -> Write {
    Write::Delete { table: Table::new(1), key: Bytes::copy_from_slice(&number.to_be_bytes()) }
}

/// No read visits more rows than there are, and there are hardly more than are alive, however many were deleted: all of a range, all but a few of
/// it, or some everywhere.
#[test]
fn deletions_leave_little_behind() {
    type IsAlive = fn(u32) -> bool;
    let sorts: [(&str, IsAlive); 3] = [
        ("a range", |number| number >= 45_000),
        ("all but a few", |number| number >= 45_000 || number.is_multiple_of(997)),
        ("some everywhere", |number| number.is_multiple_of(3)),
    ];
    for (name, is_alive) in sorts {
        let mut deleting = Deleting::new();
        deleting.apply((0..50_000).map(|number| put(number, 60)));
        assert!(deleting.settled().rows >= 50_000);
        deleting.apply((0..50_000).filter(|number| !is_alive(*number)).map(delete));
        let census = deleting.settled();
        let alive: Vec<u32> = (0..50_000).filter(|number| is_alive(*number)).collect();
        // One for each sixteen rows or a thousand, and what they hide.
        let left = 1000.max(census.rows / 16);
        assert!(census.tombstones <= left && census.rows <= alive.len() as u64 + 2 * left + 10, "{name}: {census:?}");
        assert_eq!(deleting.rows(), alive, "{name}");
    }
}

/// Deletions wait in memory by their number, however small they are.
#[test]
fn deletions_do_not_pile_up_in_memory() {
    let mut deleting = Deleting::new();
    deleting.apply((0..20_000).map(delete));
    let inner = &deleting.store.inner;
    assert!(inner.writer.lock().deletions < 500);
    assert!(inner.tree.active_memtable().len() <= 501, "{}", inner.tree.active_memtable().len());
}

/// Where nothing is in their range, the library moves tombstones to the last level as they are.
#[test]
fn tombstones_of_nothing_go_too() {
    let mut deleting = Deleting::new();
    deleting.apply((1..=3_000).map(|number| put(number * 100_000, 900)));
    deleting.settled();
    let last_of_first_file = {
        let version = deleting.store.inner.tree.current_version();
        let tables: Vec<_> = version.iter_tables().map(|table| table.metadata.key_range.max().to_vec()).collect();
        let keys = tables.iter().filter_map(|key| Some(u32::from_be_bytes(key.get(1..)?.try_into().ok()?)));
        keys.min().unwrap()
    };
    deleting.apply((1..60_000).map(|behind| delete(last_of_first_file + behind)));
    let census = deleting.settled();
    assert!(census.tombstones <= 2_000, "{census:?}");
    // Before everything that is there.
    deleting.apply((1..60_000).map(delete));
    let census = deleting.settled();
    assert!(census.tombstones <= 2_000, "{census:?}");
    assert_eq!(deleting.rows(), (1..=3_000).map(|number| number * 100_000).collect::<Vec<_>>());
}

/// A store of which all is deleted is as good as empty.
#[test]
fn nothing_is_left_of_everything() {
    let mut deleting = Deleting::new();
    for _ in 0..3 {
        deleting.apply((0..30_000).map(|number| put(number, 60)));
        deleting.apply((0..30_000).map(delete));
    }
    let census = deleting.settled();
    assert!(census.rows <= 2_000, "{census:?}");
    assert!(deleting.rows().is_empty());
}

/// A reader who came before sees what it saw, while all of it is deleted, compacted away and written anew.
#[test]
fn a_reader_sees_what_is_compacted_away() {
    let mut deleting = Deleting::new();
    deleting.apply((0..20_000).map(|number| put(number, 60)));
    deleting.settled();
    let before = deleting.store.snapshot();
    deleting.apply((0..20_000).map(delete));
    deleting.settled();
    deleting.apply((0..100).map(|number| put(number, 61)));
    deleting.settled();
    let seen = before.range(Table::new(1), Bound::Unbounded, Bound::Unbounded);
    assert_eq!(seen.map(|row| row.unwrap().1.len()).filter(|length| *length == 60).count(), 20_000);
    drop(before);
    deleting.apply([delete(50)].into_iter());
    let census = deleting.settled();
    assert!(census.rows <= 100 + 2 * 1000 + 10, "{census:?}");
    assert_eq!(deleting.rows().len(), 99);
}

/// A store of rows in many runs, which is quiet for so long.
fn scattered(quiet_after: Duration) -> (tempfile::TempDir, LsmTreeStore, Strategies) {
    let engine = LsmTreeEngine::new(LsmTreeOptions { quiet_after, ..small().options });
    let directory = tempfile::tempdir().unwrap();
    let store = LsmTreeStore::open(&engine, directory.path()).unwrap();
    // Every batch lies over all of the others.
    for index in 1..=90_u32 {
        let writes: Vec<_> = (0..200).map(|row| put(row * 100 + index, 60)).collect();
        store.apply(&writes, at(u64::from(index))).unwrap();
    }
    store.persist().unwrap();
    (directory, store, Strategies::new(&engine.options))
}

fn numbers(store: &LsmTreeStore) -> Vec<u32> {
    let snapshot = store.snapshot();
    let rows = snapshot.range(Table::new(1), Bound::Unbounded, Bound::Unbounded);
    rows.map(|row| u32::from_be_bytes(row.unwrap().0[..].try_into().unwrap())).collect()
}

/// Compaction by size leaves several runs, and settling one; what comes later and is little becomes a second one, however often it comes, and
/// what is much becomes a part of the first.
#[test]
fn a_settled_store_has_one_run() {
    let (directory, store, strategies) = scattered(Duration::from_secs(100_000));
    let inner = &store.inner;
    inner.work_off(&strategies).unwrap();
    let runs = || inner.runs().iter().sum::<usize>();
    assert!(runs() > 1 && inner.is_scattered().unwrap(), "there is nothing to settle: {}", runs());
    let before = numbers(&store);
    assert_eq!(before.len(), 90 * 200);
    let settle = || {
        // What the background thread is to do comes first.
        while inner.background.lock().wanted {
            std::thread::yield_now();
        }
        inner.settle(&strategies).unwrap();
    };
    settle();
    assert_eq!(runs(), 1);
    assert_eq!(numbers(&store), before);
    let tables = files(&directory.path().join("tree").join("tables"));
    assert_eq!(tables.len(), inner.tree.table_count(), "files are left that nothing refers to");

    let add = |index: u32, rows: u32| {
        let writes: Vec<_> = (0..rows).map(|row| put(row * 100, 60)).collect();
        store.apply(&writes, at(u64::from(index))).unwrap();
        store.persist().unwrap();
        inner.work_off(&strategies).unwrap();
        settle();
    };
    let last_level = || {
        inner
            .tree
            .current_version()
            .iter_levels()
            .last()
            .unwrap()
            .iter()
            .flat_map(|run| run.iter())
            .map(::lsm_tree::Table::id)
            .collect::<Vec<_>>()
    };
    let whole = last_level();
    for index in 91..96 {
        add(index, 20);
        assert_eq!(runs(), 2, "a little is one run, and not worth writing everything for");
        assert_eq!(last_level(), whole);
    }
    add(96, 4_000);
    assert_eq!(runs(), 1);
    assert_eq!(numbers(&store).len(), 90 * 200 + 4_000);
}

/// It goes by itself, once nothing comes any more. (Compaction by size alone leaves it scattered for good, as the test above sees.)
#[test]
fn a_quiet_store_settles() {
    let (_directory, store, _) = scattered(Duration::from_millis(20));
    while store.inner.is_scattered().unwrap() {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(numbers(&store).len(), 90 * 200);
}
