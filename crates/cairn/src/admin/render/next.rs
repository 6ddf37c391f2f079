//! What comes next for zones that are not as they should be: for whoever looks at `zone status` and asks whether to wait or to act.

use std::fmt::Write;

use crate::admin::api::{StoreStatus, Zone, ZonePhase};

/// A line for each zone that is not well, and what must not be done meanwhile. Nothing where all is well.
pub fn steps(status: &StoreStatus) -> String {
    let mut text = String::new();
    let voting = status.zones.iter().filter(|zone| matches!(zone.phase, ZonePhase::Voting)).count();
    for zone in &status.zones {
        if let Some(step) = step(zone, voting) {
            let _ = writeln!(text, "Next, {}: {step}.", zone.name);
        }
    }
    if !text.is_empty() {
        text.push_str(
            "Do nothing to another zone before this one votes and nothing is left to repair: the others hold the only copies.\n",
        );
    }
    text
}

/// What comes next for a zone beside so many that vote.
fn step(zone: &Zone, voting: usize) -> Option<String> {
    Some(match &zone.phase {
        ZonePhase::Opening => "once its log is read, it catches up with the others and votes; wait".to_owned(),
        ZonePhase::CatchingUp { at, of } => {
            let done = (u128::from(*at) * 100).checked_div(u128::from(*of)).unwrap_or(0);
            format!("at {done} % of the log; at its end it votes; wait")
        }
        ZonePhase::Rebuilding { .. } => {
            "once it has the catalog it votes, and its chunks are copied from the other zones; wait".to_owned()
        }
        // Two zones make a third anew, and one makes none: an empty disk would only take the place of what is missed.
        ZonePhase::Away { .. } if voting < 2 => format!(
            "it is tried again every few seconds; put {} back with all that is in it: an empty disk does not do while fewer than two zones vote",
            zone.path
        ),
        ZonePhase::Away { .. } => {
            format!("it is tried again every few seconds; put {} back, or an empty disk there to have it rebuilt", zone.path)
        }
        ZonePhase::Refused { .. } => format!("put right what is said of {}; it is looked at again every few seconds", zone.path),
        ZonePhase::Voting if zone.chunks.is_none() => {
            "its chunks are opened again and again; if this stays, look at its disk".to_owned()
        }
        ZonePhase::Voting if !zone.takes_writes || !zone.takes_reads => {
            "it is tried from time to time, and used again once it answers well; if this stays, look at its disk".to_owned()
        }
        ZonePhase::Voting => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::render::tests::{status, voting};

    #[test]
    fn where_all_is_well_nothing_comes_next() {
        assert_eq!(steps(&status(vec![voting("geneva", 1, 1)])), "");
    }

    #[test]
    fn whoever_looks_learns_whether_to_wait_or_to_act() {
        let next = |phase| {
            let zone = Zone { phase, chunks: None, ..voting("gland", 0, 0) };
            let text = steps(&status(vec![voting("geneva", 1, 1), zone, voting("lucerne", 1, 1)]));
            let (first, rest) = text.split_once('\n').unwrap();
            assert!(rest.starts_with("Do nothing to another zone") && rest.lines().count() == 1, "{text}");
            first.to_owned()
        };
        assert_eq!(
            next(ZonePhase::CatchingUp { at: 1200, of: 5000 }),
            "Next, gland: at 24 % of the log; at its end it votes; wait."
        );
        assert!(next(ZonePhase::CatchingUp { at: 0, of: 0 }).contains("at 0 %"));
        assert!(next(ZonePhase::Away { reason: "x".to_owned() }).contains("put /srv/gland back"));
        assert!(next(ZonePhase::Refused { reason: "x".to_owned() }).contains("put right what is said of /srv/gland"));
        assert!(next(ZonePhase::Rebuilding { reason: "x".to_owned(), rows: 1 }).ends_with("wait."));
        assert!(next(ZonePhase::Opening).ends_with("wait."));
        assert!(next(ZonePhase::Voting).contains("look at its disk"));
    }

    #[test]
    fn an_empty_disk_is_advised_only_where_two_zones_can_make_it_whole() {
        let away = |name| Zone { phase: ZonePhase::Away { reason: "x".to_owned() }, chunks: None, ..voting(name, 0, 0) };
        let one = steps(&status(vec![voting("geneva", 1, 1), away("gland"), voting("lucerne", 1, 1)]));
        assert!(one.contains("or an empty disk there to have it rebuilt"), "{one}");
        let two = steps(&status(vec![voting("geneva", 1, 1), away("gland"), away("lucerne")]));
        assert_eq!(two.matches("with all that is in it: an empty disk does not do").count(), 2, "{two}");
        assert!(!two.contains("rebuilt"), "{two}");
    }
}
