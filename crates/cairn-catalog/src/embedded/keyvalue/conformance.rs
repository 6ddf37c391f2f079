//! What every engine must do, as one function for the tests of all of them.

use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;

use super::{Applied, KeyValue, KeyValueError, MAXIMUM_KEY_LENGTH, Snapshot, Table, Write};

const FIRST: Table = Table::new(Table::MINIMUM);
const SECOND: Table = Table::new(2);
const LAST: Table = Table::new(Table::MAXIMUM);

/// Checks a store against the guarantees of [`super`], those about crashes apart.
///
/// # Panics
/// When the store breaks one. `open` has to give a new and empty store each time.
pub fn conformance(open: impl Fn() -> Arc<dyn KeyValue>) {
    empty_store(&*open());
    single_rows(&*open());
    tables_and_bounds(&*open());
    snapshots_stand_still(&*open());
    order_of_batches(&*open());
    limits(&*open());
    random_batches(&*open());
    batches_are_atomic(&open());
}

fn at(index: u64) -> Applied {
    Applied { index, epoch: index / 10, checksum: u128::from(index) << 70 }
}

fn put(table: Table, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Write {
    Write::Put { table, key: Bytes::copy_from_slice(key.as_ref()), value: Bytes::copy_from_slice(value.as_ref()) }
}

fn delete(table: Table, key: impl AsRef<[u8]>) -> Write {
    Write::Delete { table, key: Bytes::copy_from_slice(key.as_ref()) }
}

fn keys(snapshot: &dyn Snapshot, table: Table, from: Bound<&[u8]>, to: Bound<&[u8]>) -> Vec<Vec<u8>> {
    let forward: Vec<_> = snapshot.range(table, from, to).map(|row| row.unwrap().0.to_vec()).collect();
    let mut backward: Vec<_> = snapshot.range(table, from, to).rev().map(|row| row.unwrap().0.to_vec()).collect();
    backward.reverse();
    assert_eq!(forward, backward, "both directions must give the same rows");
    forward
}

fn rows(snapshot: &dyn Snapshot, table: Table) -> Vec<(Bytes, Bytes)> {
    snapshot.range(table, Bound::Unbounded, Bound::Unbounded).map(Result::unwrap).collect()
}

fn empty_store(store: &dyn KeyValue) {
    assert_eq!(store.applied(), None);
    assert_eq!(store.persist().unwrap(), None);
    assert_eq!(store.get(FIRST, b"key").unwrap(), None);
    let snapshot = store.snapshot();
    assert_eq!(snapshot.applied(), None);
    assert!(rows(&*snapshot, FIRST).is_empty());
    assert_eq!(store.statistics().disk_bytes, 0);
}

fn single_rows(store: &dyn KeyValue) {
    let body = vec![7_u8; 16 * 1024];
    let long_key = vec![0xFF_u8; 1100];
    let writes = [
        put(FIRST, b"key", b"value"),
        put(FIRST, b"", b"of the empty key"),
        put(FIRST, b"empty value", b""),
        put(FIRST, &long_key, b"long"),
        put(LAST, b"body", &body),
        put(FIRST, b"twice", b"first"),
        put(FIRST, b"twice", b"second"),
        put(FIRST, b"gone", b"value"),
        delete(FIRST, b"gone"),
        delete(FIRST, b"back"),
        put(FIRST, b"back", b"again"),
        delete(FIRST, b"never there"),
    ];
    store.apply(&writes, at(1)).unwrap();
    for round in 0..2 {
        assert_eq!(store.applied(), Some(at(1)));
        let get = |key: &[u8]| store.get(FIRST, key).unwrap();
        assert_eq!(get(b"key").as_deref(), Some(&b"value"[..]));
        assert_eq!(get(b"").as_deref(), Some(&b"of the empty key"[..]));
        assert_eq!(get(b"empty value").as_deref(), Some(&b""[..]));
        assert_eq!(get(&long_key).as_deref(), Some(&b"long"[..]));
        assert_eq!(get(b"twice").as_deref(), Some(&b"second"[..]));
        assert_eq!(get(b"gone"), None);
        assert_eq!(get(b"back").as_deref(), Some(&b"again"[..]));
        assert_eq!(get(b"never there"), None);
        assert_eq!(get(b"ke"), None);
        assert_eq!(store.get(SECOND, b"key").unwrap(), None);
        assert_eq!(store.get(LAST, b"body").unwrap().as_deref(), Some(&body[..]));
        if round == 0 {
            assert_eq!(store.persist().unwrap(), Some(at(1)));
            assert_eq!(store.persist().unwrap(), Some(at(1)), "persisting again must change nothing");
        }
    }
    store.apply(&[delete(FIRST, b"key"), put(FIRST, b"gone", b"is back"), put(LAST, b"body", b"short")], at(2)).unwrap();
    assert_eq!(store.get(FIRST, b"key").unwrap(), None);
    assert_eq!(store.get(FIRST, b"gone").unwrap().as_deref(), Some(&b"is back"[..]));
    assert_eq!(store.persist().unwrap(), Some(at(2)));
    assert_eq!(store.get(FIRST, b"key").unwrap(), None);
    assert_eq!(store.get(LAST, b"body").unwrap().as_deref(), Some(&b"short"[..]));
    store.apply(&[], at(3)).unwrap();
    assert_eq!(store.persist().unwrap(), Some(at(3)), "a batch without writes moves the position too");
}

fn tables_and_bounds(store: &dyn KeyValue) {
    use Bound::{Excluded, Included, Unbounded};
    let names: [&[u8]; 6] = [b"", b"\x00", b"a", b"a\x00", b"b", b"\xFF\xFF"];
    let mut writes: Vec<_> = names.iter().map(|name| put(SECOND, name, name)).collect();
    writes.push(put(FIRST, b"\xFF\xFF\xFF", b"below"));
    writes.push(put(Table::new(3), b"", b"above"));
    writes.push(put(LAST, b"\xFF", b"highest"));
    store.apply(&writes, at(1)).unwrap();
    for _ in 0..2 {
        let snapshot = store.snapshot();
        let snapshot = &*snapshot;
        assert_eq!(keys(snapshot, SECOND, Unbounded, Unbounded), names);
        assert_eq!(keys(snapshot, SECOND, Included(b"a"), Unbounded), names[2..]);
        assert_eq!(keys(snapshot, SECOND, Excluded(b"a"), Unbounded), names[3..]);
        assert_eq!(keys(snapshot, SECOND, Unbounded, Included(b"a")), names[..3]);
        assert_eq!(keys(snapshot, SECOND, Unbounded, Excluded(b"a")), names[..2]);
        assert_eq!(keys(snapshot, SECOND, Excluded(b""), Excluded(b"b")), names[1..4]);
        assert_eq!(keys(snapshot, SECOND, Included(b"a"), Included(b"a")), names[2..3]);
        assert!(keys(snapshot, SECOND, Excluded(b"a"), Excluded(b"a")).is_empty());
        assert!(keys(snapshot, SECOND, Included(b"a"), Excluded(b"a")).is_empty());
        assert!(keys(snapshot, SECOND, Included(b"b"), Included(b"a")).is_empty());
        assert!(keys(snapshot, SECOND, Included(b"c"), Included(b"d")).is_empty());
        assert_eq!(keys(snapshot, LAST, Unbounded, Unbounded), [b"\xFF"]);
        assert!(keys(snapshot, Table::new(4), Unbounded, Unbounded).is_empty());

        // From both ends in turn, each row comes once.
        let mut range = snapshot.range(SECOND, Unbounded, Unbounded);
        let mut seen = Vec::new();
        while let Some(row) = range.next() {
            seen.push(row.unwrap().0);
            seen.extend(range.next_back().map(|row| row.unwrap().0));
        }
        assert_eq!(seen.len(), names.len());
        seen.sort();
        assert_eq!(seen, names);
        store.persist().unwrap();
    }
}

fn snapshots_stand_still(store: &dyn KeyValue) {
    let name = |number: u64| number.to_be_bytes();
    let mut snapshots = Vec::new();
    for index in 1..=40 {
        // Each batch removes the row of the batch four before it and rewrites one row for all.
        let mut writes = vec![put(FIRST, name(index), name(index)), put(SECOND, b"shared", vec![index as u8; 2000])];
        if index > 4 {
            writes.push(delete(FIRST, name(index - 4)));
        }
        store.apply(&writes, at(index)).unwrap();
        snapshots.push(store.snapshot());
        if index % 7 == 0 {
            store.persist().unwrap();
        }
    }
    for (index, snapshot) in (1..).zip(&snapshots) {
        assert_eq!(snapshot.applied(), Some(at(index)));
        let expected: Vec<_> = (index.saturating_sub(3).max(1)..=index).map(|number| name(number).to_vec()).collect();
        assert_eq!(keys(&**snapshot, FIRST, Bound::Unbounded, Bound::Unbounded), expected);
        assert_eq!(snapshot.get(SECOND, b"shared").unwrap().unwrap(), vec![index as u8; 2000]);
    }
    let range = snapshots[0].range(FIRST, Bound::Unbounded, Bound::Unbounded);
    store.apply(&[put(FIRST, name(2), b"new")], at(41)).unwrap();
    store.persist().unwrap();
    assert_eq!(range.count(), 1, "an open range sees nothing applied later");
}

fn order_of_batches(store: &dyn KeyValue) {
    // Index 0 may repeat while a store is being filled.
    for number in 0..3_u8 {
        store.apply(&[put(FIRST, [number], b"copied")], at(0)).unwrap();
    }
    assert_eq!(store.persist().unwrap(), Some(at(0)));
    store.apply(&[], at(5)).unwrap();
    for index in [0, 4, 5] {
        let refused = store.apply(&[put(FIRST, b"refused", b"")], at(index));
        assert!(matches!(refused, Err(KeyValueError::OutOfOrder { applied: 5, offered }) if offered == index));
    }
    assert_eq!(store.get(FIRST, b"refused").unwrap(), None);
    assert_eq!(store.applied(), Some(at(5)));
    assert_eq!(keys(&*store.snapshot(), FIRST, Bound::Unbounded, Bound::Unbounded).len(), 3);
    store.apply(&[], at(9)).unwrap();
}

fn limits(store: &dyn KeyValue) {
    let longest = vec![1; MAXIMUM_KEY_LENGTH];
    store.apply(&[put(FIRST, &longest, b"")], at(1)).unwrap();
    assert!(store.get(FIRST, &longest).unwrap().is_some());
    let refused = store.apply(&[put(FIRST, b"before", b""), put(FIRST, vec![1; MAXIMUM_KEY_LENGTH + 1], b"")], at(2));
    assert!(matches!(refused, Err(KeyValueError::TooLong { what: "key", .. })));
    assert_eq!(store.get(FIRST, b"before").unwrap(), None);
    assert_eq!(store.applied(), Some(at(1)));
}

/// A small generator of numbers, so that the checks need no crate and always do the same.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

fn random_batches(store: &dyn KeyValue) {
    type Expected = BTreeMap<(Table, Vec<u8>), Vec<u8>>;
    let check = |snapshot: &dyn Snapshot, expected: &Expected| {
        for table in [FIRST, SECOND, LAST] {
            let found = rows(snapshot, table);
            let wanted: Vec<_> = expected.iter().filter(|((of, _), _)| *of == table).collect();
            assert_eq!(found.len(), wanted.len());
            for ((key, value), ((_, wanted_key), wanted_value)) in found.iter().zip(wanted) {
                assert_eq!((&key[..], &value[..]), (&wanted_key[..], &wanted_value[..]));
            }
        }
    };
    let mut numbers = Numbers(0x9E37_79B9_7F4A_7C15);
    let mut expected = Expected::new();
    let mut held: Vec<(Box<dyn Snapshot>, Expected)> = Vec::new();
    for index in 1..=600 {
        let mut writes = Vec::new();
        for _ in 0..numbers.below(12) {
            let table = [FIRST, SECOND, LAST][numbers.below(3) as usize];
            let key = format!("{:03}", numbers.below(150)).repeat(1 + numbers.below(2) as usize).into_bytes();
            if numbers.below(4) == 0 {
                writes.push(delete(table, &key));
                expected.remove(&(table, key));
            } else {
                let length = if numbers.below(5) == 0 { 1024 + numbers.below(4000) } else { numbers.below(300) };
                let value = vec![numbers.below(256) as u8; length as usize];
                writes.push(put(table, &key, &value));
                expected.insert((table, key), value);
            }
        }
        store.apply(&writes, at(index)).unwrap();
        match numbers.below(40) {
            0 | 1 => assert_eq!(store.persist().unwrap(), Some(at(index))),
            2 | 3 => held.push((store.snapshot(), expected.clone())),
            4 if !held.is_empty() => {
                let (snapshot, expected) = held.swap_remove(numbers.below(held.len() as u64) as usize);
                check(&*snapshot, &expected);
            }
            5 => check(&*store.snapshot(), &expected),
            _ => {}
        }
    }
    check(&*store.snapshot(), &expected);
    for (snapshot, expected) in &held {
        check(&**snapshot, expected);
    }
}

/// Each batch writes its index into every row, so a reader who sees two indexes saw a part of a batch.
fn batches_are_atomic(store: &Arc<dyn KeyValue>) {
    const ROWS: u64 = 64;
    const BATCHES: u64 = 400;
    let done = AtomicBool::new(false);
    let ended = EndOnDrop(&done);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let snapshot = store.snapshot();
                    let Some(applied) = snapshot.applied() else { continue };
                    let found = rows(&*snapshot, FIRST);
                    assert_eq!(found.len() as u64, ROWS);
                    assert!(found.iter().all(|(_, value)| value[..8] == applied.index.to_be_bytes()));
                    let key = (applied.index % ROWS).to_be_bytes();
                    assert_eq!(snapshot.get(FIRST, &key).unwrap().unwrap()[..8], applied.index.to_be_bytes());
                    assert!(store.get(FIRST, &key).unwrap().unwrap()[..8] >= applied.index.to_be_bytes()[..]);
                }
            });
        }
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let before = store.applied();
                let persisted = store.persist().unwrap();
                assert!(persisted.map(|applied| applied.index) >= before.map(|applied| applied.index));
            }
        });
        let ended = ended;
        for index in 1..=BATCHES {
            let mut value = index.to_be_bytes().to_vec();
            value.resize(if index % 3 == 0 { 1500 } else { 100 }, 0);
            let writes: Vec<_> = (0..ROWS).map(|row| put(FIRST, row.to_be_bytes(), &value)).collect();
            store.apply(&writes, at(index)).unwrap();
        }
        drop(ended);
    });
}

/// Ends the readers also when the writer panics, so that a failure does not become a hang.
struct EndOnDrop<'a>(&'a AtomicBool);

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
