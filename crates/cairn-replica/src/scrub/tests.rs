//! When scrubbing begins, and when it looks at what it has skipped.

use cairn_types::SessionId;

use super::*;

fn blob(counter: u64) -> BlobId {
    BlobId { session: SessionId(1), counter }
}

#[test]
fn what_was_skipped_is_due_when_its_zone_answers_and_not_over_and_over() {
    let [one, two, _] = ZoneIndex::ALL;
    let only = |zone: ZoneIndex| [zone].into_iter().collect::<ZoneSet>();
    let at = Duration::from_secs;
    let day = at(24 * 3_600);
    let mut skipped = Skipped::default();
    skipped.skip(one, Some(blob(4)), blob(5));
    skipped.skip(one, Some(blob(8)), blob(9));
    assert_eq!(skipped.due(only(two), at(0)), None);
    let all = Stretch { after: Some(blob(4)), last: blob(9) };
    assert_eq!(skipped.due(only(one), at(0)), Some((one, all)));
    let rest = Stretch { after: Some(blob(6)), last: blob(9) };
    skipped.walked(one, Some(rest), at(1), day);
    assert_eq!(skipped.due(only(one), at(1)), Some((one, rest)));
    // It goes away once more.
    skipped.skip(one, Some(blob(6)), blob(7));
    skipped.walked(one, Some(Stretch { after: Some(blob(7)), last: blob(9) }), at(2), day);
    assert_eq!(skipped.due(only(one), at(61)), None);
    assert_eq!(skipped.due(only(one), at(62)), Some((one, rest)));
    skipped.skip(one, None, blob(1));
    skipped.walked(one, None, at(62), day);
    assert_eq!(skipped.due(only(one), at(181)), None, "pauses double");
    assert_eq!(skipped.due(only(one), at(182)), Some((one, Stretch { after: None, last: blob(1) })));
    skipped.walked(one, None, at(183), day);
    assert_eq!(skipped.due(only(one), at(999)), None, "all is done");
}
