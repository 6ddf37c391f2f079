use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cairn_disk::ThreadExecutor;

use super::reads::ScanRoom;
use crate::CatalogError;

/// Walks that block for ever do not keep the tasks that serve requests from running, and only so many begin.
#[tokio::test(flavor = "current_thread")]
async fn walks_that_block_hold_up_nobody_and_are_bounded() {
    let room = Arc::new(ScanRoom::new(Arc::new(ThreadExecutor)));
    let begun = Arc::new(AtomicUsize::new(0));
    let (release, released) = std::sync::mpsc::channel::<()>();
    let released = Arc::new(parking_lot::Mutex::new(released));
    let mut walks = Vec::new();
    for _ in 0..40 {
        let (room, begun, released) = (room.clone(), begun.clone(), released.clone());
        walks.push(tokio::spawn(async move {
            let turn = room.turn(Duration::from_secs(60)).await?;
            let walk = move || {
                begun.fetch_add(1, Ordering::SeqCst);
                // Blocks its thread until the test lets go.
                let _ = released.lock().recv();
            };
            room.run(turn, walk).await
        }));
    }
    while begun.load(Ordering::SeqCst) < 16 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(begun.load(Ordering::SeqCst), 16, "no more walks than there is room for");
    assert!(matches!(room.turn(Duration::from_millis(20)).await, Err(CatalogError::Busy(_))), "who waits too long is told so");
    drop(release);
    for walk in walks {
        assert_eq!(walk.await.expect("a walk"), Ok(()));
    }
    assert_eq!(begun.load(Ordering::SeqCst), 40);
}

/// What nobody waits for any more is not begun, and its room comes back; so does that of a walk that panics.
#[tokio::test(flavor = "current_thread")]
async fn room_comes_back_from_walks_that_are_given_up_or_break() {
    let room = ScanRoom::new(Arc::new(ThreadExecutor));
    for _ in 0..20 {
        let turn = room.turn(Duration::from_secs(60)).await.expect("a turn");
        let broken = room.run::<()>(turn, || panic!("on purpose")).await;
        assert!(matches!(broken, Err(CatalogError::Unavailable(_))));
        let turn = room.turn(Duration::from_secs(60)).await.expect("a turn");
        drop(room.run(turn, || ()));
    }
}
