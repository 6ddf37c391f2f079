use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use super::*;

type Admitting = Pin<Box<dyn Future<Output = Result<Admitted, Refused>>>>;

fn source(number: u8) -> Source {
    Source::of([192, 0, 2, number].into())
}

fn admission(running_max: usize, bytes_max: u64, waiting_max: usize) -> Arc<Admission> {
    Admission::new(AdmissionLimits { running_max, bytes_max, waiting_max, wait_max: Duration::from_secs(2) })
}

/// Asks, once.
fn ask(admission: &Arc<Admission>, number: u8, bytes: u64) -> (Admitting, Option<Result<Admitted, Refused>>) {
    let admission = admission.clone();
    let mut admitting: Admitting = Box::pin(async move { admission.admit(source(number), bytes).await });
    let outcome = look(&mut admitting);
    (admitting, outcome)
}

fn look(admitting: &mut Admitting) -> Option<Result<Admitted, Refused>> {
    match admitting.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(outcome) => Some(outcome),
        Poll::Pending => None,
    }
}

fn admitted(outcome: Option<Result<Admitted, Refused>>) -> Admitted {
    outcome.expect("it waits").expect("it was refused")
}

#[tokio::test(start_paused = true)]
async fn who_waits_too_long_or_is_one_too_many_is_refused() {
    let admission = admission(1, 100, 2);
    let running = admitted(ask(&admission, 1, 0).1);
    let (mut first, outcome) = ask(&admission, 1, 0);
    assert!(outcome.is_none());
    let (second, _) = ask(&admission, 1, 0);
    assert_eq!(admission.waiting(), 2);
    assert_eq!(ask(&admission, 1, 0).1.unwrap().unwrap_err(), Refused);
    drop(second);
    assert_eq!(admission.waiting(), 1, "who has gone away waits no more");
    tokio::time::advance(Duration::from_millis(2001)).await;
    assert_eq!(look(&mut first).unwrap().unwrap_err(), Refused);
    assert_eq!((admission.running(), admission.waiting()), (1, 0));
    drop(running);
    assert_eq!(admission.running(), 0);
    drop(admitted(ask(&admission, 1, 0).1));
}

#[tokio::test(start_paused = true)]
async fn who_is_let_in_and_goes_away_gives_its_room_to_the_next() {
    let admission = admission(1, 100, 10);
    let running = admitted(ask(&admission, 1, 0).1);
    let (gone, _) = ask(&admission, 1, 0);
    let (mut late, _) = ask(&admission, 1, 0);
    let (mut last, _) = ask(&admission, 1, 0);
    drop(running);
    // It was let in, and has not looked.
    drop(gone);
    assert_eq!(admission.running(), 1);
    // So was this one, and its time is over: what it was given holds.
    tokio::time::advance(Duration::from_secs(10)).await;
    let late = admitted(look(&mut late));
    assert_eq!(look(&mut last).unwrap().unwrap_err(), Refused);
    drop(late);
    assert_eq!((admission.running(), admission.waiting()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn sources_have_turns() {
    let admission = admission(1, 100, 100);
    let mut running = admitted(ask(&admission, 1, 0).1);
    let mut many: VecDeque<_> = (0..10).map(|_| ask(&admission, 1, 0).0).collect();
    let mut few: VecDeque<_> = (0..2).map(|_| ask(&admission, 2, 0).0).collect();
    let mut order = Vec::new();
    for _ in 0..12 {
        drop(running);
        let next = many.front_mut().and_then(look).map(|next| (1, next));
        let (who, next) = next.or_else(|| few.front_mut().and_then(look).map(|next| (2, next))).expect("nobody was let in");
        if who == 1 {
            many.pop_front()
        } else {
            few.pop_front()
        };
        order.push(who);
        running = next.unwrap();
    }
    assert_eq!(order, [1, 2, 1, 2, 1, 1, 1, 1, 1, 1, 1, 1]);
}

#[tokio::test(start_paused = true)]
async fn where_no_more_may_wait_the_source_with_the_most_gives_way() {
    let admission = admission(1, 100, 4);
    let _running = admitted(ask(&admission, 1, 0).1);
    let mut many: Vec<_> = (0..4).map(|_| ask(&admission, 1, 0).0).collect();
    let (mut other, outcome) = ask(&admission, 2, 0);
    assert!(outcome.is_none(), "it waits");
    assert_eq!(look(&mut many[3]).unwrap().unwrap_err(), Refused, "the last of the many has gone");
    let (_another, outcome) = ask(&admission, 2, 0);
    assert!(outcome.is_none());
    assert_eq!(look(&mut many[2]).unwrap().unwrap_err(), Refused);
    assert_eq!(ask(&admission, 2, 0).1.unwrap().unwrap_err(), Refused, "both have the same");
    assert_eq!(ask(&admission, 1, 0).1.unwrap().unwrap_err(), Refused);
    assert!(look(&mut many[0]).is_none() && look(&mut other).is_none());
    assert_eq!(admission.waiting(), 4);
}

#[tokio::test(start_paused = true)]
async fn who_needs_no_memory_passes_those_who_wait_for_it() {
    let admission = admission(3, 100, 10);
    let large = admitted(ask(&admission, 1, 80).1);
    let (mut waits, outcome) = ask(&admission, 1, 30);
    assert!(outcome.is_none());
    // It would fit, but comes after.
    let (mut small, outcome) = ask(&admission, 2, 10);
    assert!(outcome.is_none());
    let read = admitted(ask(&admission, 2, 0).1);
    assert_eq!((admission.running(), admission.waiting(), admission.bytes()), (2, 2, 80));
    drop(large);
    let (waits, small) = (admitted(look(&mut waits)), admitted(look(&mut small)));
    assert_eq!((admission.running(), admission.bytes()), (3, 40));
    drop((waits, small, read));
    assert_eq!((admission.running(), admission.bytes()), (0, 0));
    // More than there is counts as all.
    let all = admitted(ask(&admission, 1, u64::MAX).1);
    assert_eq!(admission.bytes(), 100);
    drop(all);
}

#[tokio::test(start_paused = true)]
async fn who_needs_no_memory_is_let_in_also_where_no_more_may_wait_for_it() {
    let admission = admission(3, 100, 2);
    let _large = admitted(ask(&admission, 1, 100).1);
    let (_first, outcome) = ask(&admission, 1, 1);
    assert!(outcome.is_none());
    let (_second, outcome) = ask(&admission, 1, 1);
    assert!(outcome.is_none());
    assert_eq!(ask(&admission, 1, 1).1.unwrap().unwrap_err(), Refused);
    let _read = admitted(ask(&admission, 1, 0).1);
    assert_eq!((admission.running(), admission.waiting()), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn who_comes_after_one_who_gives_up_is_let_in() {
    let admission = admission(3, 100, 10);
    let _large = admitted(ask(&admission, 1, 80).1);
    let (gone, _) = ask(&admission, 1, 30);
    let (mut small, _) = ask(&admission, 2, 10);
    drop(gone);
    let _small = admitted(look(&mut small));
    assert_eq!((admission.running(), admission.waiting(), admission.bytes()), (2, 0, 90));
    let (mut late, _) = ask(&admission, 1, 30);
    tokio::time::advance(Duration::from_secs(1)).await;
    let (mut small, _) = ask(&admission, 2, 10);
    tokio::time::advance(Duration::from_millis(1001)).await;
    assert_eq!(look(&mut late).unwrap().unwrap_err(), Refused);
    drop(admitted(look(&mut small)));
}
