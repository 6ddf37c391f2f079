//! The memory engine against the conformance suite.

use cairn_testkit::zone_conformance::{self, Subject, Volatile, chunk_id, payload, put};
use cairn_types::Incarnation;
use cairn_zone::memory::MemoryZone;
use cairn_zone::{Zone, ZoneError};
use futures::FutureExt;

#[tokio::test(start_paused = true)]
async fn conforms() {
    zone_conformance::run_all(&|| {
        async { Box::new(Volatile::bare(MemoryZone::new(Incarnation(3)))) as Box<dyn Subject> }.boxed()
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn fills_up_and_resumes() {
    zone_conformance::full_then_resumes(&MemoryZone::with_capacity(Incarnation(1), 100_000), 9_000, 100).await;
}

#[tokio::test(start_paused = true)]
async fn a_new_life_knows_nothing_of_the_old() {
    let zone = MemoryZone::new(Incarnation(1));
    let locator = put(&zone, chunk_id(1), &payload(1, 10)).await;
    zone.lose_memory(Incarnation(2));
    assert_eq!(zone.incarnation(), Some(Incarnation(2)));
    assert!(matches!(zone.read(&locator, chunk_id(1), 0, 10).await, Err(ZoneError::NotFound)));
    put(&zone, chunk_id(2), &payload(2, 10)).await;
    assert!(matches!(zone.read(&locator, chunk_id(1), 0, 10).await, Err(ZoneError::NotFound)), "not by accident either");
}
