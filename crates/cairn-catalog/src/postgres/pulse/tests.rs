use super::*;

fn beat(sent: Instant, timeline: i64) -> Option<Beat> {
    let time = cairn_types::CatalogTime(0);
    Some(Beat { sent, timeline, writes_from: sent, incarnations: None, epoch: 0, time })
}

/// P4: a process that stood still finds an answer and the end of its belief at once. The answer may be one that the server gave when it had been replaced.
#[tokio::test]
async fn an_answer_is_thrown_away_that_came_when_nobody_believed_any_more() {
    let pulse = Pulse::new();
    let now = Instant::now();
    pulse.last.send_replace(beat(now + Duration::from_mins(10), 1));
    assert_eq!(pulse.counted(1, async { 5 }).await, Ok(5));
    assert_eq!(pulse.counted(2, async { 5 }).await, Err(NOT_PROVEN), "of a server that is not believed");
    // The belief ends while the answer is on its way, and who waits hears of both at once.
    let answered = pulse.counted(1, async {
        tokio::task::yield_now().await;
        pulse.last.send_replace(beat(now.checked_sub(COUNTS_FOR).expect("an earlier time"), 1));
        5
    });
    assert_eq!(answered.await, Err(NOT_PROVEN), "the answer was there, and so was the end of the belief");
    // An answer that never comes is not waited for.
    pulse.last.send_replace(beat(Instant::now() + Duration::from_mins(10), 1));
    let ended = futures::join!(pulse.counted(1, std::future::pending::<()>()), async { pulse.last.send_replace(None) });
    assert_eq!(ended.0, Err(NOT_PROVEN));
}
