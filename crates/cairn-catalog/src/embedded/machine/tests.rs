use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cairn_disk::ThreadExecutor;

use super::reads::ScanRoom;
use super::turns::{ReadSettings, Reading};
use crate::CatalogError;
use crate::embedded::keyvalue::model::ModelEngine;
use crate::embedded::keyvalue::{KeyValue, KeyValueEngine};

fn store(name: &str) -> Arc<dyn KeyValue> {
    ModelEngine::new().open(name.as_ref()).expect("a store")
}

fn room() -> ScanRoom {
    ScanRoom::new(Arc::new(ThreadExecutor), ReadSettings::default())
}

async fn walk<T: Send + 'static>(
    room: &ScanRoom,
    state: &Arc<dyn KeyValue>,
    walk: impl FnOnce() -> T + Send + 'static,
) -> Reading<T> {
    let turns = room.turns(state);
    let turn = turns.free.clone().acquire_owned().await.expect("a turn");
    room.start((turns, turn), Arc::default(), walk)
}

const LONG: Duration = Duration::from_secs(60);

/// Walks that block for ever do not keep the tasks that serve requests from running, only so many begin in each store, and those in one store keep
/// nobody from another.
#[tokio::test(flavor = "current_thread")]
async fn walks_that_block_hold_up_nobody_and_are_bounded() {
    let (room, stores) = (Arc::new(room()), [store("one"), store("other")]);
    let begun = Arc::new(AtomicUsize::new(0));
    let (release, released) = std::sync::mpsc::channel::<()>();
    let released = Arc::new(parking_lot::Mutex::new(released));
    let mut walks = Vec::new();
    for number in 0..80 {
        let (room, state, begun, released) = (room.clone(), stores[number % 2].clone(), begun.clone(), released.clone());
        walks.push(tokio::spawn(async move {
            let blocking = move || {
                begun.fetch_add(1, Ordering::SeqCst);
                // Blocks its thread until the test lets go.
                let _ = released.lock().recv();
            };
            walk(&room, &state, blocking).await.wait(LONG).await.expect("a walk")
        }));
    }
    while begun.load(Ordering::SeqCst) < 32 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(begun.load(Ordering::SeqCst), 32, "no more walks than there is room for");
    for state in &stores {
        assert!(room.turns(state).free.try_acquire().is_err(), "moved to and fro, a store has the turns that it had");
    }
    let third = store("third");
    assert_eq!(walk(&room, &third, || 3).await.wait(LONG).await.expect("a walk"), Ok(3));
    drop(release);
    for walk in walks {
        assert_eq!(walk.await.expect("a walk"), Ok(()));
    }
    assert_eq!(begun.load(Ordering::SeqCst), 80);
}

/// What nobody waits for any more is not begun, and its room comes back; so does that of a walk that panics.
#[tokio::test(flavor = "current_thread")]
async fn room_comes_back_from_walks_that_are_given_up_or_break() {
    let (room, state) = (room(), store("one"));
    for _ in 0..20 {
        let mut broken = walk::<()>(&room, &state, || panic!("on purpose")).await;
        assert!(matches!(broken.wait(LONG).await, Ok(Err(CatalogError::Unavailable(_)))));
        drop(walk(&room, &state, || ()).await);
    }
}

/// A walk that makes steps, however slowly, does not hang; one that makes none does, and so do those that wait for its turn.
#[tokio::test(flavor = "current_thread")]
async fn a_walk_hangs_when_it_makes_no_step() {
    let settings = ReadSettings { hangs_after: Duration::from_millis(100), scans_max: 1, ..ReadSettings::default() };
    let (room, state) = (ScanRoom::new(Arc::new(ThreadExecutor), settings), store("one"));
    let progress = Arc::<super::turns::Progress>::default();
    let (release, released) = std::sync::mpsc::channel::<()>();
    let turns = room.turns(&state);
    let turn = turns.free.clone().acquire_owned().await.expect("a turn");
    let mut reading = room.start((turns.clone(), turn), progress.clone(), move || {
        let _ = released.recv();
    });
    let mut waiting = super::turns::Watch::new(None, turns, settings.hangs_after);
    assert!(!waiting.hangs(), "it has only begun to wait");
    for _ in 0..10 {
        assert!(reading.wait(Duration::from_millis(40)).await.is_err());
        progress.step();
        assert!(!reading.hangs());
    }
    assert!(waiting.hangs(), "nobody gave a turn back");
    assert!(reading.wait(Duration::from_millis(150)).await.is_err());
    assert!(reading.hangs());
    drop(release);
    assert_eq!(reading.wait(LONG).await.expect("a walk"), Ok(()));
}
