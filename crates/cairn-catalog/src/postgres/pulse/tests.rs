use super::*;
use crate::postgres::ConnectionString;

const LIFE: Life = Life { system: 1, timeline: 1, started_us: 1 };

fn primary(host: &str, life: Life) -> Arc<Primary> {
    Arc::new(Primary { place: Place { host: host.to_owned(), port: 5432, address: None }, life })
}

fn pulse() -> Arc<Pulse> {
    Pulse::new(&PostgresSettings::new(ConnectionString::new("host=a")))
}

fn beat(sent: Instant, life: Life) -> Beat {
    let time = cairn_types::CatalogTime(0);
    Beat { sent, primary: primary("a", life), writes_from: sent, incarnations: None, epoch: 0, time }
}

fn believe(pulse: &Pulse, sent: Instant, life: Life) {
    pulse.last.send_replace(Some(beat(sent, life)));
}

/// P4: a process that stood still finds an answer and the end of its belief at once. The answer may be one that the server gave when it had been replaced.
#[tokio::test]
async fn an_answer_is_thrown_away_that_came_when_nobody_believed_any_more() {
    let pulse = pulse();
    let now = Instant::now();
    let other = Life { timeline: 2, ..LIFE };
    believe(&pulse, now + Duration::from_mins(10), LIFE);
    assert_eq!(pulse.counted(LIFE, false, async { 5 }).await, Ok(5));
    assert_eq!(pulse.counted(other, false, async { 5 }).await, Err(NOT_PROVEN), "of a server that is not believed");
    // The belief ends while the answer is on its way, and who waits hears of both at once.
    let answered = pulse.counted(LIFE, false, async {
        tokio::task::yield_now().await;
        believe(&pulse, now.checked_sub(COUNTS_FOR).expect("an earlier time"), LIFE);
        5
    });
    assert_eq!(answered.await, Err(NOT_PROVEN), "the answer was there, and so was the end of the belief");
    // An answer that never comes is not waited for.
    believe(&pulse, Instant::now() + Duration::from_mins(10), LIFE);
    let ended = futures::join!(pulse.counted(LIFE, false, std::future::pending::<()>()), async { pulse.last.send_replace(None) });
    assert_eq!(ended.0, Err(NOT_PROVEN));
}

/// P3: a server is found to acknowledge alone while a write is under way. Whatever it says of that write, it may be alone with it; what it says of the past stands.
#[tokio::test]
async fn a_write_under_way_is_not_believed_to_a_server_that_is_alone() {
    let pulse = pulse();
    believe(&pulse, Instant::now() + Duration::from_mins(10), LIFE);
    let found_alone = async {
        tokio::task::yield_now().await;
        pulse.is_alone.store(true, Ordering::Release);
        5
    };
    assert_eq!(pulse.counted(LIFE, true, found_alone).await, Err(ALONE));
    assert_eq!(pulse.counted(LIFE, false, async { 5 }).await, Ok(5));
    // One that waits for a lock is not waited for.
    pulse.is_alone.store(false, Ordering::Release);
    let ended = futures::join!(pulse.counted(LIFE, true, std::future::pending::<()>()), async {
        pulse.is_alone.store(true, Ordering::Release);
        pulse.last.send_modify(|_| {});
    });
    assert_eq!(ended.0, Err(ALONE));
}

/// P4: two servers that were promoted without knowing of each other have the same timeline. They are two, and what goes to one is not answered by the belief in the other; and where nobody
/// says which of them counts, neither does.
#[tokio::test]
async fn a_number_of_a_timeline_is_not_a_server() {
    let (one, other) = (Life { timeline: 2, ..LIFE }, Life { timeline: 2, started_us: 2, ..LIFE });
    let pulse = pulse();
    believe(&pulse, Instant::now() + Duration::from_mins(10), one);
    assert_eq!(pulse.counted(one, false, async { 5 }).await, Ok(5));
    assert_eq!(pulse.counted(other, false, async { 5 }).await, Err(NOT_PROVEN));
    pulse.looked(&primary("a", one).place, Some(one));
    assert!(pulse.believed().is_some() && !pulse.is_replaced(&primary("a", one)), "it is not its own rival");
    pulse.looked(&primary("b", other).place, Some(other));
    assert!(pulse.believed().is_none(), "there are two of them");
    assert!(pulse.is_replaced(&primary("a", one)) && pulse.is_replaced(&primary("b", other)));
    // As soon as one of them denies it, the other one counts.
    pulse.looked(&primary("b", other).place, None);
    assert!(!pulse.is_replaced(&primary("a", one)));
    // A server of another cluster behind a stale name says nothing about this one.
    pulse.looked(&primary("c", LIFE).place, Some(Life { system: 9, timeline: 7, started_us: 1 }));
    assert!(!pulse.is_replaced(&primary("a", one)));
}

/// P4: a standby that was promoted by mistake stops the service, until it is a standby again: not at its first word, and not for ever.
#[tokio::test(start_paused = true)]
async fn a_later_timeline_is_forgotten_that_its_host_denies() {
    let pulse = pulse();
    let mistake = primary("b", Life { timeline: 2, started_us: 2, ..LIFE });
    pulse.looked(&mistake.place, Some(mistake.life));
    let held = primary("a", LIFE);
    assert!(pulse.is_replaced(&held));
    for _ in 0..59 {
        pulse.looked(&mistake.place, None);
        assert!(pulse.is_replaced(&held), "it may be wrong, and others may believe it");
        tokio::time::advance(Duration::from_secs(1)).await;
    }
    tokio::time::advance(Duration::from_secs(2)).await;
    pulse.looked(&mistake.place, None);
    assert!(!pulse.is_replaced(&held));
}

/// P4: from when a server is written to is decided when it is first seen, and does not go by what the database says later.
#[tokio::test(start_paused = true)]
async fn writes_begin_once_by_this_gateways_own_clock() {
    let start = Instant::now();
    let seconds = Duration::from_secs;
    // A gateway that has just been started, on a timeline that has been there for longer than anybody believes another one.
    let fresh = pulse();
    assert_eq!(fresh.writes_from(&primary("a", LIFE), seconds(60), start), start);
    // The same on one that is new; and then the database says that it is newer still, again and again.
    let fresh = pulse();
    assert_eq!(fresh.writes_from(&primary("a", LIFE), seconds(0), start), start + seconds(5));
    for age in [0, 0, 3600] {
        assert_eq!(fresh.writes_from(&primary("a", LIFE), seconds(age), start + seconds(4)), start + seconds(5));
    }
    // Started again where it was: nobody else has been promoted. Elsewhere, and of the same number: who knows.
    let again = Life { started_us: 9, ..LIFE };
    assert_eq!(fresh.writes_from(&primary("a", again), seconds(60), start + seconds(6)), start + seconds(5));
    let elsewhere = Life { started_us: 10, ..LIFE };
    assert_eq!(fresh.writes_from(&primary("b", elsewhere), seconds(60), start + seconds(7)), start + seconds(12));
    // One that has served on the timeline before waits, whatever the database says of the new one's age.
    let next = Life { timeline: 2, started_us: 11, ..LIFE };
    assert_eq!(fresh.writes_from(&primary("b", next), seconds(3600), start + seconds(20)), start + seconds(25));
}
