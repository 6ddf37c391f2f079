//! The state machine in memory against the conformance suite, and against the rules between its rows.

use std::sync::Arc;
use std::time::Duration;

use cairn_catalog::embedded::state::InMemoryCatalog;
use cairn_catalog::{Catalog, CopyVersion, Limits, NewBlob, NewContent, WriteCondition};
use cairn_testkit::catalog_conformance::random::{Operation, agrees_with_the_reference, operations};
use cairn_testkit::catalog_conformance::{self, Subject, World, attributes, key};
use cairn_testkit::catalog_invariants::violations;
use cairn_testkit::sim_environment::SimClock;
use futures::FutureExt;
use futures::future::BoxFuture;
use proptest::prelude::*;

/// A catalog in memory whose clock is turned by hand. Judges its rows when the test is over.
struct InMemory {
    clock: Arc<SimClock>,
    catalog: Arc<InMemoryCatalog>,
}

impl InMemory {
    fn new(lag: usize, limits: Limits) -> Self {
        let clock = Arc::new(SimClock::new());
        let catalog = Arc::new(InMemoryCatalog::in_memory_with_lag(limits, clock.clone(), lag));
        Self { clock, catalog }
    }
}

impl Subject for InMemory {
    fn catalog(&self) -> Arc<dyn Catalog> {
        self.catalog.clone()
    }

    fn pass(&self, duration: Duration) -> BoxFuture<'_, ()> {
        async move { self.clock.jump_wall(i64::try_from(duration.as_millis().div_ceil(1000)).unwrap()) }.boxed()
    }
}

impl Drop for InMemory {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let snapshot = self.catalog.machine().snapshot().unwrap();
            assert_eq!(violations(snapshot.as_ref()), Vec::<String>::new());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn conforms() {
    catalog_conformance::run_all(&|| async { Box::new(InMemory::new(0, Limits::default())) as Box<dyn Subject> }.boxed()).await;
}

/// As behind a log: what was sequenced last is not yet in the store.
#[tokio::test(start_paused = true)]
async fn conforms_while_rows_are_on_their_way() {
    for lag in [1, 7] {
        let make = move || async move { Box::new(InMemory::new(lag, Limits::default())) as Box<dyn Subject> }.boxed();
        catalog_conformance::run_all(&make).await;
    }
}

/// A body of as many chunks as one may have, named by the longest locators that zones give, fits in the commits that write, copy and delete it.
#[tokio::test(start_paused = true)]
async fn the_largest_body_fits_in_one_commit() {
    let subject = InMemory::new(0, Limits::default());
    let world = World::new(&subject).await;
    let limits = Limits::default();
    let body = |chunks: usize| {
        let whole = vec![1; limits.blob_chunks_max];
        let lengths = vec![whole; chunks / limits.blob_chunks_max];
        let rest = vec![1; chunks % limits.blob_chunks_max];
        let mut blobs: Vec<NewBlob> =
            lengths.iter().chain([&rest]).filter(|some| !some.is_empty()).map(|some| world.blob(some, &[0, 1, 2])).collect();
        for replica in blobs.iter_mut().flat_map(|blob| &mut blob.content.chunks).flat_map(|chunk| &mut chunk.replicas) {
            *replica = Some(catalog_conformance::replica(1, "a place of forty-five bytes, as long as any."));
        }
        NewContent::Blobs(blobs)
    };
    let written = world.catalog.put_version(world.put_request("a", 1, body(limits.content_chunks_max))).await.unwrap();
    let copy = CopyVersion {
        session: world.session,
        source: world.source("a", &written),
        bucket: world.bucket,
        key: key("b"),
        attributes: attributes(2),
        condition: WriteCondition::None,
    };
    world.catalog.copy_version(copy).await.unwrap();
    world.delete("a", None).await.unwrap();
    world.delete("b", None).await.unwrap();
    let more = world.catalog.put_version(world.put_request("c", 1, body(limits.content_chunks_max + 1))).await;
    catalog_conformance::expect_refused(more);
}

/// The copies of a completed upload name its parts together, however they came to name a blob.
#[test]
fn copies_of_a_completed_upload_refer_to_its_blobs_once() {
    let operations = [
        Operation::Put { key: 2, size: 3, condition: 0 },
        Operation::CreateUpload { key: 1 },
        Operation::CopyPart { upload: 0, number: 1, from: 2, version: 0, range: (0, 1) },
        Operation::Complete { upload: 0, parts: 2, condition: 0 },
        Operation::Copy { from: 1, version: 0, to: 2, condition: 0 },
    ];
    for length in 1..=operations.len() {
        run(async {
            let subject = InMemory::new(1, Limits::default());
            agrees_with_the_reference(&World::new(&subject).await, &operations[..length]).await;
        });
    }
}

fn run(future: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(future);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn agrees_with_the_reference_whatever_is_asked(operations in operations(1..120), lag in 0_usize..4) {
        run(async {
            let subject = InMemory::new(lag, Limits::default());
            agrees_with_the_reference(&World::new(&subject).await, &operations).await;
        });
    }
}
