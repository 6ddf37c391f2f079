use bytes::Bytes;
use cairn_types::{Incarnation, Locator};

use super::*;

fn placed() -> Answer {
    Answer::Placed(Placed { locator: Locator::new(Bytes::from_static(b"x")).unwrap(), incarnation: Incarnation(1) })
}

fn at(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn start(admissions: [Admission; 3]) -> (Placement, Step) {
    let mut placement = Placement::new(PlacementConfig::default(), 2, at(0), admissions);
    let step = placement.step(at(0));
    (placement, step)
}

const ALL_WELL: [Admission; 3] = [Admission::Send; 3];

#[test]
fn asks_all_and_is_safe_with_any_two() {
    for missing in ZoneIndex::ALL {
        let (mut placement, step) = start(ALL_WELL);
        assert_eq!(step.send, ZoneIndex::ALL);
        let mut verdicts = Vec::new();
        for zone in ZoneIndex::ALL.into_iter().filter(|zone| *zone != missing) {
            placement.answered(zone, placed(), at(1));
            verdicts.push(placement.step(at(1)).verdict);
        }
        assert_eq!(verdicts, [Verdict::Open, Verdict::Safe]);
        assert_eq!(placement.unanswered().collect::<Vec<_>>(), [missing]);
    }
}

#[test]
fn a_spared_zone_is_asked_when_it_is_needed_only() {
    let admissions = [Admission::Send, Admission::Send, Admission::Skip];
    let (mut placement, step) = start(admissions);
    assert_eq!(step.send, [ZoneIndex(0), ZoneIndex(1)]);
    assert_eq!(step.wake_at, Some(at(1_000)));
    placement.answered(ZoneIndex(0), Answer::Failed, at(5));
    assert_eq!(placement.step(at(5)).send, [ZoneIndex(2)], "the last resort, at once");

    let (mut placement, _) = start(admissions);
    assert_eq!(placement.step(at(999)).send, []);
    assert_eq!(placement.step(at(1_000)).send, [ZoneIndex(2)], "two that are well and hang");

    let (_, step) = start([Admission::Skip; 3]);
    assert_eq!(step.send, ZoneIndex::ALL, "with no zone well, all are tried");
}

#[test]
fn failed_zones_are_tried_again_with_pauses_until_the_deadline() {
    let (mut placement, _) = start(ALL_WELL);
    placement.answered(ZoneIndex(0), placed(), at(0));
    let mut now = at(0);
    let mut attempts = 0;
    loop {
        let step = placement.step(now);
        if step.verdict == Verdict::TimedOut {
            break;
        }
        for zone in step.send {
            attempts += 1;
            placement.answered(zone, Answer::Failed, now);
        }
        for zone in placement.unanswered().collect::<Vec<_>>() {
            placement.answered(zone, Answer::Failed, now);
        }
        now = placement.step(now).wake_at.unwrap_or(now);
    }
    assert_eq!(now, at(30_000));
    assert!((20..60).contains(&attempts), "{attempts}");
}

#[test]
fn no_space_is_said_at_once() {
    let (mut placement, _) = start(ALL_WELL);
    placement.answered(ZoneIndex(0), Answer::Full, at(1));
    assert_eq!(placement.step(at(1)).verdict, Verdict::Open);
    placement.answered(ZoneIndex(1), Answer::Refused, at(1));
    assert_eq!(placement.step(at(1)).verdict, Verdict::NoSpace);
}

/// Every order of every answer of three zones: safe exactly when two have placed it, and nothing is sent afterwards.
#[test]
fn exhaustive_over_answers_and_admissions() {
    let answers = [placed(), Answer::Failed, Answer::Full, Answer::Refused];
    let admissions = [Admission::Send, Admission::Probe, Admission::Skip];
    let mut cases = 0;
    for code in 0..(3 * 3 * 3 * 4 * 4 * 4 * 6) {
        let mut code = code;
        let mut digit = |base: usize| {
            let digit = code % base;
            code /= base;
            digit
        };
        let admitted = [(); 3].map(|()| admissions[digit(3)]);
        let answered = [(); 3].map(|()| answers[digit(4)].clone());
        let order = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]][digit(6)];
        let (mut placement, mut step) = start(admitted);
        let mut asked: Vec<ZoneIndex> = step.send.clone();
        let mut placed_count = 0;
        for zone in order.map(|zone| ZoneIndex::ALL[zone]) {
            if !asked.contains(&zone) {
                continue;
            }
            placed_count += usize::from(matches!(answered[zone.get()], Answer::Placed(_)));
            placement.answered(zone, answered[zone.get()].clone(), at(1));
            step = placement.step(at(1));
            assert_eq!(step.verdict == Verdict::Safe, placed_count >= 2);
            if step.verdict != Verdict::Open {
                assert!(step.send.is_empty() && step.wake_at.is_none());
                break;
            }
            assert!(step.wake_at.is_some_and(|wake| wake > at(1)));
            asked.extend(step.send);
        }
        cases += 1;
    }
    assert_eq!(cases, 10_368);
}
