use std::sync::Arc;

use futures::FutureExt;
use parking_lot::Mutex;

use super::*;

/// P2: a COMMIT that went out before a statement would commit a part. What is sent is sent when a future is first polled.
#[tokio::test]
async fn sends_in_order_and_drops_none() {
    let sent = Arc::new(Mutex::new(Vec::new()));
    let futures: Vec<BoxFuture<'_, Result<usize, usize>>> = (0..100_usize)
        .map(|number| {
            let sent = sent.clone();
            async move {
                sent.lock().push(number);
                // Answers come in any order, some at once.
                for _ in 0..(number * 7) % 11 {
                    tokio::task::yield_now().await;
                }
                if number % 3 == 0 { Err(number) } else { Ok(number) }
            }
            .boxed()
        })
        .collect();
    let answers = in_order(futures).await;
    assert_eq!(*sent.lock(), (0..100).collect::<Vec<_>>());
    let expected = (0..100).map(|number| if number % 3 == 0 { Err(number) } else { Ok(number) });
    assert_eq!(answers, expected.collect::<Vec<_>>(), "an error of one leaves the others their answers");
}

/// P2: where a statement could not be sent, what was sent before it is not committed without it.
#[tokio::test]
async fn commits_nothing_behind_a_statement_that_was_not_sent() {
    for fails_at_once in [false, true] {
        let is_committed = Arc::new(Mutex::new(false));
        let noted = is_committed.clone();
        let sent = async { Ok::<_, ()>(1) }.boxed();
        let refused = async move {
            if !fails_at_once {
                // Sent, and refused by the server: the COMMIT is on its way by then, and the server makes nothing of it.
                tokio::task::yield_now().await;
            }
            Err(())
        };
        let commit = async move {
            *noted.lock() = true;
            Ok(3)
        };
        let (answers, commit) = in_order_and_commit(vec![sent, refused.boxed()], commit.boxed()).await;
        assert_eq!(answers, [Ok(1), Err(())]);
        assert_eq!((*is_committed.lock(), commit), (!fails_at_once, (!fails_at_once).then_some(Ok(3))));
    }
}
