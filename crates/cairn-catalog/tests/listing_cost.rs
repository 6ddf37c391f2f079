//! What a page of a listing costs, counted in rows and seeks: its own length, however much the bucket holds besides.

use std::cell::Cell;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cairn_catalog::embedded::keyvalue::lsm_tree::{LsmTreeEngine, LsmTreeOptions};
use cairn_catalog::embedded::keyvalue::model::Model;
use cairn_catalog::embedded::keyvalue::{Applied, KeyValue, KeyValueEngine, Snapshot, Table, Write};
use cairn_catalog::embedded::log::writes::encoded_length;
use cairn_catalog::embedded::state::reader::RowIterator;
use cairn_catalog::embedded::state::tables::{CURRENT, NONCURRENT, current_key, noncurrent_key};
use cairn_catalog::embedded::state::{Answer, Command, InMemoryCatalog, Outcome, Overlay, Query, StateReader, answer, sequence};
use cairn_catalog::{
    Catalog, CatalogResult, DeleteTarget, DeleteVersions, GetVersion, Limits, ListEntry, ListObjects, ListPosition, ListScope,
    ListUploads, ListVersions, ListedObject, NewContent, ObjectPage, PutVersion, VersionPage, VersionPosition, WriteCondition,
};
use cairn_testkit::catalog_conformance::{Subject, World, attributes, key};
use cairn_testkit::sim_environment::SimClock;
use cairn_types::codec::Record;
use cairn_types::records::{MarkerRecord, VersionRecord, VersionRow};
use cairn_types::{BucketId, CatalogTime, Now, SessionId, VersionId, WallTime};
use futures::future::BoxFuture;

/// A state that counts what is read from it.
struct Counted {
    snapshot: Box<dyn Snapshot>,
    rows: Cell<usize>,
    seeks: Cell<usize>,
}

impl StateReader for Counted {
    fn get(&self, table: Table, key: &[u8]) -> CatalogResult<Option<Bytes>> {
        self.seeks.set(self.seeks.get() + 1);
        StateReader::get(&self.snapshot, table, key)
    }

    fn range(&self, table: Table, from: Bound<&[u8]>, to: Bound<&[u8]>) -> RowIterator<'_> {
        self.seeks.set(self.seeks.get() + 1);
        Box::new(StateReader::range(&self.snapshot, table, from, to).inspect(|_| self.rows.set(self.rows.get() + 1)))
    }
}

struct InMemory(Arc<InMemoryCatalog>);

impl Subject for InMemory {
    fn catalog(&self) -> Arc<dyn Catalog> {
        self.0.clone()
    }

    fn pass(&self, _duration: std::time::Duration) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}

/// A store of one bucket, filled row by row.
struct Filled {
    store: Arc<dyn KeyValue>,
    bucket: BucketId,
    session: SessionId,
    version: VersionRecord,
    written: u64,
}

impl Filled {
    /// With the rows that a bucket of one small object has, and without that object.
    async fn new() -> Self {
        Self::in_store(Arc::new(Model::default())).await
    }

    async fn in_store(store: Arc<dyn KeyValue>) -> Self {
        let subject = InMemory(Arc::new(InMemoryCatalog::in_memory(Limits::default(), Arc::new(SimClock::new()))));
        let world = World::new(&subject).await;
        world.put("a", 1, "text").await;
        for number in 0..3000 {
            let name = if number < 1500 { format!("many/{number:05}") } else { "one".to_owned() };
            cairn_testkit::catalog_conformance::uploads::create(&world, &name).await;
        }
        let snapshot = subject.0.machine().snapshot().expect("the rows");
        let row = snapshot.get(CURRENT, &current_key(world.bucket, b"a")).expect("a row").expect("a version");
        let VersionRow::Version(version) = VersionRow::decode(&row).expect("a version") else { panic!("a marker") };
        let mut writes = Vec::new();
        for table in cairn_catalog::embedded::state::tables::ALL.into_iter().filter(|table| *table != CURRENT) {
            for row in snapshot.range(table, Bound::Unbounded, Bound::Unbounded) {
                let (key, value) = row.expect("a row");
                writes.push(Write::Put { table, key, value });
            }
        }
        let mut filled = Self { store, bucket: world.bucket, session: world.session, version, written: 0 };
        filled.apply(&writes);
        filled
    }

    fn apply(&mut self, writes: &[Write]) {
        self.written += 1;
        self.store.apply(writes, Applied { index: self.written, epoch: 1, checksum: 0 }).expect("applied");
    }

    /// Current versions of these keys.
    fn put(&mut self, keys: impl Iterator<Item = String>) {
        let value = VersionRow::Version(self.version.clone()).encode();
        let row =
            |name: String| Write::Put { table: CURRENT, key: current_key(self.bucket, name.as_bytes()), value: value.clone() };
        let writes: Vec<Write> = keys.map(row).collect();
        self.apply(&writes);
    }

    /// Rows of [`NONCURRENT`]: for each key a delete marker on top of so many old versions.
    fn bury(&mut self, keys: impl Iterator<Item = String>, old_versions: u64) {
        let mut writes = Vec::new();
        for name in keys {
            for sequence in 0..=old_versions {
                let mut version = self.version.clone();
                version.summary.sequence = sequence;
                let row = if sequence == old_versions {
                    let id = VersionId::Id([7; 16]);
                    VersionRow::Marker(MarkerRecord { sequence, id, last_modified: WallTime(1), created: CatalogTime(1) })
                } else {
                    VersionRow::Version(version)
                };
                let key = noncurrent_key(self.bucket, name.as_bytes(), sequence);
                writes.push(Write::Put { table: NONCURRENT, key, value: row.encode() });
            }
        }
        self.apply(&writes);
    }

    fn ask(&self, query: Query) -> (Answer, usize, usize) {
        let counted = Counted { snapshot: self.store.snapshot(), rows: Cell::new(0), seeks: Cell::new(0) };
        let answer = answer(&counted, &Limits::default(), CatalogTime(1), query).expect("an answer");
        (answer, counted.rows.get(), counted.seeks.get())
    }

    /// What a command costs: rows read, seeks, rows and bytes to be written. Nothing is written.
    fn sequence(&self, command: Command) -> (Outcome, [usize; 4]) {
        let counted = Counted { snapshot: self.store.snapshot(), rows: Cell::new(0), seeks: Cell::new(0) };
        let now = Now { catalog: CatalogTime(1), wall: WallTime(1) };
        let sequenced = sequence(&counted, &Overlay::default(), &Limits::default(), now, command);
        let bytes = sequenced.writes.iter().map(encoded_length).sum();
        let cost = [counted.rows.get(), counted.seeks.get(), sequenced.writes.len(), bytes];
        (sequenced.result.expect("an outcome"), cost)
    }

    /// What a command writes.
    fn writes(&self, command: Command) -> Vec<Write> {
        let now = Now { catalog: CatalogTime(1), wall: WallTime(1) };
        let sequenced = sequence(&self.store.snapshot(), &Overlay::default(), &Limits::default(), now, command);
        sequenced.result.expect("an outcome");
        sequenced.writes
    }

    /// Makes everything durable, and waits until there are at most so many rows in files.
    fn compacted_to(&self, rows_max: u64) -> bool {
        self.store.persist().expect("persisted");
        let is_there = || self.store.statistics().rows <= rows_max;
        for _ in 0..2_000 {
            if is_there() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        is_there()
    }

    fn scope(&self, prefix: &str, delimiter: Option<&str>, limit: u32) -> ListScope {
        ListScope { bucket: self.bucket, prefix: prefix.to_owned(), delimiter: delimiter.map(str::to_owned), limit }
    }

    fn objects(&self, scope: ListScope, after: Option<ListPosition>) -> (ObjectPage, usize, usize) {
        match self.ask(Query::ListObjects(ListObjects { scope, after })) {
            (Answer::ListObjects(page), rows, seeks) => (page, rows, seeks),
            _ => panic!("another answer"),
        }
    }

    fn versions(&self, scope: ListScope, after: Option<VersionPosition>) -> (VersionPage, usize, usize) {
        match self.ask(Query::ListVersions(ListVersions { scope, after })) {
            (Answer::ListVersions(page), rows, seeks) => (page, rows, seeks),
            _ => panic!("another answer"),
        }
    }

    /// Everything, page by page, and the most that a page has cost.
    fn all_pages(&self, prefix: &str, delimiter: Option<&str>, limit: u32) -> (Vec<String>, usize) {
        let (mut names, mut after, mut rows_max) = (Vec::new(), None, 0);
        loop {
            let (page, rows, _) = self.objects(self.scope(prefix, delimiter, limit), after);
            rows_max = rows_max.max(rows);
            names.extend(page.entries.iter().map(name));
            if !page.is_truncated {
                return (names, rows_max);
            }
            after = page.entries.last().map(|last| match last {
                ListEntry::Item(object) => ListPosition::Key(object.key.to_string()),
                ListEntry::Prefix(prefix) => ListPosition::Prefix(prefix.clone()),
            });
        }
    }
}

fn name(entry: &ListEntry<ListedObject>) -> String {
    match entry {
        ListEntry::Item(object) => object.key.to_string(),
        ListEntry::Prefix(prefix) => format!("{prefix}..."),
    }
}

fn in_folders(folders: usize, keys: usize) -> impl Iterator<Item = String> {
    (0..folders).flat_map(move |folder| (0..keys).map(move |number| format!("f{folder:03}/{number:06}")))
}

/// AWS, "Organizing objects using prefixes": ten folders of ten thousand keys are ten lines, and cost ten seeks.
#[tokio::test(start_paused = true)]
async fn a_folder_costs_one_seek_however_much_is_in_it() {
    let mut filled = Filled::new().await;
    filled.put(in_folders(10, 10_000).chain(["top".to_owned()]));
    let (page, rows, seeks) = filled.objects(filled.scope("", Some("/"), 1000), None);
    assert_eq!(page.entries.iter().map(name).collect::<Vec<_>>()[8..], ["f008/...", "f009/...", "top"]);
    assert_eq!((page.entries.len(), page.is_truncated), (11, false));
    // One row each, one seek behind each folder, one to begin with and one for the bucket.
    assert_eq!((rows, seeks), (11, 12));
    // With old versions and markers in them it is twice as much, as there are two tables, and no more.
    filled.bury(in_folders(10, 5_000), 1);
    let (page, rows, seeks) = filled.versions(filled.scope("", Some("/"), 1000), None);
    assert_eq!((page.entries.len(), page.is_truncated), (11, false));
    assert!(rows <= 2 * 11 && seeks <= 2 * 12, "{rows} rows, {seeks} seeks");
    // Uploads: fifteen hundred below one prefix, and as many of one key.
    let scope = filled.scope("", Some("/"), 1000);
    let (Answer::ListUploads(page), rows, seeks) = filled.ask(Query::ListUploads(ListUploads { scope, after: None })) else {
        panic!("another answer")
    };
    assert_eq!((page.entries.len(), page.is_truncated), (1000, true));
    assert!(rows <= 1002 && seeks <= 4, "{rows} rows, {seeks} seeks");
}

/// A page costs what it shows: whether it is the first of a hundred or the last, whatever lies around it, and however much was deleted.
#[tokio::test(start_paused = true)]
async fn a_page_costs_what_it_shows() {
    let mut filled = Filled::new().await;
    // In front of everything that is alive: 100,000 rows of keys that were deleted.
    filled.bury((0..20_000).map(|number| format!("dead/{number:06}")), 4);
    filled.put((0..30_000).map(|number| format!("live/{number:06}")));
    let (page, rows, seeks) = filled.objects(filled.scope("", None, 1000), None);
    assert_eq!((page.entries.len(), page.is_truncated), (1000, true));
    assert_eq!((rows, seeks), (1001, 2));
    let (names, rows_max) = filled.all_pages("", None, 1000);
    assert_eq!((names.len(), rows_max), (30_000, 1001));
    assert_eq!(names[29_999], "live/029999");
    // Nothing of what is dead is shown or walked over.
    let (page, rows, _) = filled.objects(filled.scope("dead/", None, 1000), None);
    assert_eq!((page.entries.len(), page.is_truncated), (0, false));
    assert!(rows <= 1, "{rows} rows");
    // All versions: 1,000 of one hundred thousand.
    let (page, rows, seeks) = filled.versions(filled.scope("", None, 1000), None);
    assert_eq!((page.entries.len(), page.is_truncated), (1000, true));
    assert!(rows <= 1003 && seeks <= 4, "{rows} rows, {seeks} seeks");
    // From the middle of a key's versions on.
    let after = Some(VersionPosition::Version(key("dead/010000"), VersionId::Id([0; 16])));
    let (page, rows, seeks) = filled.versions(filled.scope("", None, 1000), after);
    assert_eq!((page.entries.len(), page.is_truncated), (1000, true));
    assert!(rows <= 1010 && seeks <= 8, "{rows} rows, {seeks} seeks");
}

/// Nothing asked for costs nothing, and prefixes and positions of any length or bytes give what they should.
#[tokio::test(start_paused = true)]
async fn odd_questions_are_answered_cheaply() {
    let mut filled = Filled::new().await;
    let odd = [
        "a\u{0}",
        "a\u{0}\u{0}b",
        "a\u{1}",
        "\u{7f}",
        "\u{80}",
        "é/é",
        "\u{ffff}",
        "\u{10ffff}",
        "\u{10ffff}\u{10ffff}",
        "//",
        "///x",
        "/",
    ];
    filled.put(odd.iter().map(|name| (*name).to_owned()).chain(in_folders(3, 10)));
    let (page, rows, _) = filled.objects(filled.scope("", None, 0), None);
    assert_eq!((page.entries.len(), page.is_truncated, rows), (0, false, 0));
    // Page by page it is the same as at once, in the order of bytes, for every length of a page.
    for delimiter in [None, Some("/"), Some("//"), Some("\u{0}"), Some("\u{10ffff}")] {
        let (expected, _) = filled.all_pages("", delimiter, 1000);
        let mut sorted = expected.clone();
        sorted.sort();
        sorted.dedup();
        assert_eq!(expected, sorted, "{delimiter:?}");
        for limit in 1..8 {
            let (names, rows_max) = filled.all_pages("", delimiter, limit);
            assert_eq!(names, expected, "{delimiter:?} by {limit}");
            assert!(rows_max <= limit as usize + 1);
        }
    }
    // A prefix behind everything, and one longer than any key.
    for prefix in ["\u{10ffff}\u{10ffff}\u{10ffff}".to_owned(), "f".repeat(5000)] {
        let (page, rows, _) = filled.objects(filled.scope(&prefix, Some("/"), 1000), None);
        assert_eq!((page.entries.len(), page.is_truncated), (0, false));
        assert!(rows <= 1);
    }
    // Going on inside a folder that is rolled up does not show it, nor walk through it.
    let after = Some(ListPosition::Key("f001/000004".to_owned()));
    let (page, rows, _) = filled.objects(filled.scope("f", Some("/"), 1000), after);
    assert_eq!(page.entries.iter().map(name).collect::<Vec<_>>(), ["f002/..."]);
    assert!(rows <= 2, "{rows} rows");
}

/// What a request for one object costs does not depend on how many there are; deleting a thousand costs a thousand times one.
#[tokio::test(start_paused = true)]
async fn one_object_costs_the_same_however_many_there_are() {
    let mut costs = Vec::new();
    for objects in [3_000, 60_000] {
        let mut filled = Filled::new().await;
        filled.put((0..objects).map(|number| format!("live/{number:06}")));
        let name = |number: usize| key(&format!("live/{number:06}"));
        let bucket = filled.bucket;
        let get = GetVersion { bucket, key: name(1_500), version_id: None, part_number: None, with_content: false };
        let (_, rows, seeks) = filled.ask(Query::GetVersion(get));
        let put = |key| {
            let (attributes, condition) = (attributes(7), WriteCondition::None);
            let content = NewContent::Inline(Bytes::from_static(&[1; 4096]));
            Command::PutVersion(PutVersion { session: filled.session, bucket, key, content, attributes, condition })
        };
        let (_, new) = filled.sequence(put(name(999_999)));
        let (_, over) = filled.sequence(put(name(1_500)));
        let target = |number| DeleteTarget { key: name(number), version_id: None, condition: WriteCondition::None };
        let delete = |count: usize| {
            Command::DeleteVersions(DeleteVersions { bucket, targets: (1_000..1_000 + count).map(target).collect() })
        };
        let (Outcome::DeleteVersions(deleted), one) = filled.sequence(delete(1)) else { panic!("another outcome") };
        assert!(deleted[0].is_ok());
        let (Outcome::DeleteVersions(deleted), all) = filled.sequence(delete(1_000)) else { panic!("another outcome") };
        assert!(deleted.len() == 1_000 && deleted.iter().all(Result::is_ok));
        assert!(all.iter().zip(one).all(|(all, one)| *all <= 1_000 * one), "{all:?}, and {one:?} for one");
        costs.push([[rows, seeks, 0, 0], new, over, one, all]);
    }
    assert_eq!(
        costs[0], costs[1],
        "rows read, seeks, rows and bytes to write: of a look-up, a new object, an overwrite, deletions"
    );
    assert!(costs[0][..4].iter().all(|[rows, seeks, ..]| rows + seeks < 20), "{costs:?}");
}

/// A delete marker over a hundred thousand versions, and a version over as many: neither is in the way of a listing of objects, and what is done to
/// such a key costs what it costs with two.
#[tokio::test(start_paused = true)]
async fn a_key_costs_the_same_however_many_versions_it_has() {
    let mut costs = Vec::new();
    for versions in [2, 100_000] {
        let mut filled = Filled::new().await;
        filled.put(["a", "k", "z"].into_iter().map(str::to_owned));
        filled.bury(["deleted", "k"].into_iter().map(str::to_owned), versions);
        let (page, rows, seeks) = filled.objects(filled.scope("", None, 1000), None);
        assert_eq!(page.entries.iter().map(name).collect::<Vec<_>>(), ["a", "k", "z"]);
        let listed = [rows, seeks, 0, 0];
        let (page, rows, seeks) = filled.versions(filled.scope("", None, 2), None);
        assert!(page.is_truncated);
        let listed_versions = [rows, seeks, 0, 0];
        // Behind the key, and from among its versions.
        let behind = Some(VersionPosition::Name(ListPosition::Key("k".to_owned())));
        let (page, rows, seeks) = filled.versions(filled.scope("", None, 2), behind);
        assert_eq!((page.entries.len(), page.is_truncated), (1, false));
        let listed_behind = [rows, seeks, 0, 0];
        let among = Some(VersionPosition::Version(key("deleted"), VersionId::Id([7; 16])));
        let (_, rows, seeks) = filled.versions(filled.scope("deleted", None, 1), among);
        let listed_among = [rows, seeks, 0, 0];
        let mut done = vec![listed, listed_versions, listed_behind, listed_among];
        for name in ["deleted", "k"] {
            let (bucket, session) = (filled.bucket, filled.session);
            let get = GetVersion { bucket, key: key(name), version_id: None, part_number: None, with_content: false };
            let counted = Counted { snapshot: filled.store.snapshot(), rows: Cell::new(0), seeks: Cell::new(0) };
            let _ = answer(&counted, &Limits::default(), CatalogTime(1), Query::GetVersion(get));
            done.push([counted.rows.get(), counted.seeks.get(), 0, 0]);
            let content = NewContent::Inline(Bytes::from_static(&[1; 4096]));
            let (attributes, condition) = (attributes(7), WriteCondition::None);
            done.push(
                filled
                    .sequence(Command::PutVersion(PutVersion { session, bucket, key: key(name), content, attributes, condition }))
                    .1,
            );
            let targets = vec![DeleteTarget { key: key(name), version_id: None, condition: WriteCondition::None }];
            done.push(filled.sequence(Command::DeleteVersions(DeleteVersions { bucket, targets })).1);
        }
        costs.push(done);
    }
    assert_eq!(costs[0], costs[1], "rows read, seeks, rows and bytes to write");
    assert!(costs[0].iter().all(|[rows, seeks, ..]| rows + seeks < 20), "{costs:?}");
}

/// On disk a deletion leaves a row, which hides another, and a listing visits both. After a hundred thousand deletions there are few left, so that no
/// page can visit many.
#[tokio::test(start_paused = true)]
async fn what_was_deleted_is_not_walked_over() {
    let directory = tempfile::tempdir().expect("a directory");
    let engine = LsmTreeEngine::new(LsmTreeOptions { deletions_max: 1_000, tombstones_min: 2_000, ..LsmTreeOptions::default() });
    let mut filled = Filled::in_store(engine.open(directory.path()).expect("a store")).await;
    filled.store.persist().expect("persisted");
    let others = filled.store.statistics().rows;
    filled
        .put((0..100_000).map(|number| format!("dead/{number:06}")).chain((0..1_000).map(|number| format!("live/{number:04}"))));
    filled.store.persist().expect("persisted");
    assert!(filled.store.statistics().rows >= others + 101_000);
    for first in (0..100_000).step_by(1_000) {
        let target =
            |number| DeleteTarget { key: key(&format!("dead/{number:06}")), version_id: None, condition: WriteCondition::None };
        let targets = (first..first + 1_000).map(target).collect();
        let deletions = filled.writes(Command::DeleteVersions(DeleteVersions { bucket: filled.bucket, targets }));
        filled.apply(&deletions);
    }
    // At most two thousand tombstones, each over a row.
    assert!(filled.compacted_to(others + 1_000 + 2 * 2_000 + 100), "{:?}", filled.store.statistics());
    let (page, ..) = filled.objects(filled.scope("", None, 1000), None);
    assert_eq!((page.entries.len(), page.is_truncated), (1000, false));
    let (page, ..) = filled.objects(filled.scope("dead/", None, 1000), None);
    assert_eq!((page.entries.len(), page.is_truncated), (0, false));
}
