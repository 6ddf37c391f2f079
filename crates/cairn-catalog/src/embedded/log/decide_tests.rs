use cairn_disk::zone_directory::{IDENTITY_FORMAT, Identity, ZoneState};
use cairn_types::{Incarnation, StoreId, ZoneIndex, ZoneName};

use super::super::batch::{Marks, Position, ZoneMark};
use super::{Found, Member, Role, Start, decide};

const STORE: StoreId = StoreId(1);

fn names() -> [ZoneName; 3] {
    ["geneva", "gland", "lucerne"].map(|name| name.parse().unwrap())
}

fn identity(zone: usize) -> Identity {
    Identity {
        format: IDENTITY_FORMAT,
        store: STORE,
        zone: names()[zone].clone(),
        zones: names(),
        mount_points: [false; 3],
        incarnation: Incarnation(1),
        state: ZoneState::Formed,
        promise: 4,
        catalog: 0,
    }
}

fn mark(incarnation: u64, log_index: u64) -> ZoneMark {
    ZoneMark { incarnation, log_index, segment_position: 0 }
}

fn member(zone: usize, epoch: u64, index: u64) -> Member {
    let last = Position { index, epoch, checksum: u128::from(index * 1000 + epoch) };
    let marks: Marks = [mark(1, index.saturating_sub(1)); 3];
    Member { identity: identity(zone), last, cut_epoch: 0, marks }
}

fn members(ends: [(u64, u64); 3]) -> [Found; 3] {
    [0, 1, 2].map(|zone| Found::Member(member(zone, ends[zone].0, ends[zone].1)))
}

fn serve(found: &[Found; 3]) -> (ZoneIndex, u64, [Role; 3]) {
    match decide(&names(), found) {
        Start::Serve { source, epoch, roles, .. } => (source, epoch, roles),
        other => panic!("{other:?}"),
    }
}

fn refused(found: &[Found; 3]) -> String {
    match decide(&names(), found) {
        Start::Refuse(refusal) => refusal.to_string(),
        other => panic!("{other:?}"),
    }
}

fn edit(found: &mut Found, change: impl FnOnce(&mut Member)) {
    if let Found::Member(member) = found {
        change(member);
    }
}

#[test]
fn three_empty_zones_are_formed() {
    assert_eq!(decide(&names(), &[Found::Empty, Found::Empty, Found::Empty]), Start::Form { store: None });
}

#[test]
fn forming_is_finished_with_the_store_id_it_began_with() {
    let mut found = [Found::Empty, Found::Member(member(1, 0, 0)), Found::Empty];
    edit(&mut found[1], |member| member.identity.state = ZoneState::Forming);
    assert_eq!(decide(&names(), &found), Start::Form { store: Some(STORE) });
    // The second half: two are formed, one still says forming, and no batch exists.
    let mut found = members([(0, 0); 3]);
    edit(&mut found[2], |member| member.identity.state = ZoneState::Forming);
    assert_eq!(decide(&names(), &found), Start::Form { store: Some(STORE) });
}

/// L8: two formed zones without a batch do not serve while the third may still be forming.
#[test]
fn nothing_is_served_before_all_three_were_seen_formed() {
    let mut found = members([(0, 0); 3]);
    found[2] = Found::Away("timed out".to_owned());
    assert!(refused(&found).contains("needs all three zones once"));
    // Whoever was told anything was told by two zones, and one of them is here: nobody was. It is formed again, and then there are three.
    found[2] = Found::Empty;
    assert_eq!(decide(&names(), &found), Start::Form { store: Some(StoreId(1)) });
    // One of them says nothing about what the other two may have told, and lost.
    found[1] = Found::Empty;
    assert!(refused(&found).contains("needs two zones that can vote"));
    // Unless it was never formed.
    let Found::Member(member) = &mut found[0] else { unreachable!() };
    member.identity.state = ZoneState::Forming;
    assert_eq!(decide(&names(), &found), Start::Form { store: Some(StoreId(1)) });
    // One batch anywhere, and somebody may have been told.
    let mut found = members([(1, 1), (0, 0), (0, 0)]);
    found[2] = Found::Empty;
    assert!(!matches!(decide(&names(), &found), Start::Form { .. }));
}

/// L8, L9: one formed zone among empty ones is a store that lost two zones, not a new one.
#[test]
fn two_lost_zones_are_refused_and_nothing_is_formed_anew() {
    let mut found = members([(3, 10); 3]);
    found[0] = Found::Empty;
    found[1] = Found::Empty;
    let words = refused(&found);
    assert!(words.contains("needs two zones that can vote, and 1 can. Nothing was changed."), "{words}");
    assert!(words.contains("geneva: empty") && words.contains("lucerne: has a log up to batch 10"), "{words}");
}

/// L3: the newest epoch wins, not the longest log.
#[test]
fn the_newest_epoch_wins_over_the_longest_log() {
    let (source, ..) = serve(&members([(3, 20), (4, 12), (4, 11)]));
    assert_eq!(source, ZoneIndex(1));
}

/// L2: the new epoch is above every promise, also of a zone that cannot vote.
#[test]
fn the_epoch_is_above_every_promise() {
    let mut found = members([(3, 10); 3]);
    edit(&mut found[0], |member| member.identity.promise = 9);
    assert_eq!(serve(&found).1, 10);
    let mut voteless = identity(0);
    voteless.promise = 30;
    found[0] = Found::Voteless(voteless, "damaged".to_owned());
    assert_eq!(serve(&found).1, 31);
}

/// L7: a zone that ends before what another recorded of it is an old copy.
#[test]
fn a_zone_behind_what_was_recorded_has_lost_its_memory() {
    let mut found = members([(3, 50), (3, 50), (3, 20)]);
    let (_, _, roles) = serve(&found);
    assert!(matches!(&roles[2], Role::Lost(reason) if reason.contains("ends with batch 20")), "{roles:?}");
    // With its only witness away it cannot vote itself in: the other witness says so too.
    found[0] = Found::Away("off".to_owned());
    assert!(refused(&found).contains("lucerne: has lost its memory"));
}

/// A cut under a later epoch may have removed what an older batch recorded: no loss of memory.
#[test]
fn a_mark_of_an_older_epoch_does_not_count_after_a_cut() {
    let mut found = members([(5, 18), (3, 50), (5, 18)]);
    edit(&mut found[0], |member| member.marks = [mark(1, 17); 3]);
    edit(&mut found[2], |member| member.marks = [mark(1, 17); 3]);
    let (source, _, roles) = serve(&found);
    assert_eq!(source, ZoneIndex(2));
    assert_eq!(roles, [Role::Voter, Role::Voter, Role::Voter]);
    // The cut itself, before any batch of the later epoch reached the zone.
    let mut found = members([(3, 18), (3, 50), (3, 50)]);
    edit(&mut found[0], |member| member.cut_epoch = 4);
    assert_eq!(serve(&found).2[0], Role::Voter);
}

/// L7: an older incarnation is no voter, whatever its log holds.
#[test]
fn a_retired_incarnation_has_no_vote() {
    let mut found = members([(3, 50), (3, 50), (3, 50)]);
    edit(&mut found[0], |member| member.marks[2] = mark(2, 0));
    let (source, _, roles) = serve(&found);
    assert_ne!(source, ZoneIndex(2));
    assert!(matches!(&roles[2], Role::Lost(reason) if reason.contains("incarnation 2")), "{roles:?}");
}

/// L9: zones of another store, or in each other's places, are refused, not rebuilt.
#[test]
fn strangers_are_refused_and_left_alone() {
    let mut found = members([(3, 50); 3]);
    edit(&mut found[1], |member| member.identity.store = StoreId(2));
    let (_, _, roles) = serve(&found);
    assert!(matches!(&roles[1], Role::Out(reason) if reason.contains("another store")), "{roles:?}");

    let mut found = members([(3, 50); 3]);
    found.swap(0, 1);
    let words = refused(&found);
    assert!(words.contains("holds the zone gland, not geneva: were directories swapped?"), "{words}");

    let mut found = members([(3, 50); 3]);
    edit(&mut found[0], |member| member.identity.store = StoreId(2));
    edit(&mut found[1], |member| member.identity.store = StoreId(3));
    assert!(refused(&found).contains("another store"));

    let mut found = members([(3, 50); 3]);
    found[0] = Found::Refused("it holds \"photos\", which is not a zone's".to_owned());
    assert!(matches!(serve(&found).2[0], Role::Out(_)));
}

#[test]
fn a_damaged_zone_keeps_its_life_and_gets_a_new_catalog() {
    let mut found = members([(3, 50); 3]);
    found[1] = Found::Voteless(identity(1), "the log is damaged".to_owned());
    let (_, _, roles) = serve(&found);
    assert!(matches!(roles[1], Role::RebuildCatalog(_)));
    found[2] = Found::NoMemory("the file identity is missing".to_owned());
    assert!(refused(&found).contains("1 can"));
}

/// Whatever is found, a start serves only with two voters of one store, and its source is one of them.
#[test]
fn no_combination_serves_with_fewer_than_two_voters() {
    let variants = |zone: usize| {
        let mut old = member(zone, 3, 5);
        old.marks = [mark(1, 4); 3];
        let mut stranger = member(zone, 3, 50);
        stranger.identity.store = StoreId(9);
        let mut forming = member(zone, 0, 0);
        forming.identity.state = ZoneState::Forming;
        [
            Found::Empty,
            Found::NoMemory(String::new()),
            Found::Away(String::new()),
            Found::Refused(String::new()),
            Found::Voteless(identity(zone), String::new()),
            Found::Member(member(zone, 3, 50)),
            Found::Member(member(zone, 4, 51)),
            Found::Member(old),
            Found::Member(stranger),
            Found::Member(forming),
        ]
    };
    let mut served = 0;
    for first in variants(0) {
        for second in variants(1) {
            for third in variants(2) {
                let found = [first.clone(), second.clone(), third];
                if let Start::Serve { source, epoch, roles, store } = decide(&names(), &found) {
                    served += 1;
                    assert!(roles.iter().filter(|role| **role == Role::Voter).count() >= 2, "{found:?}");
                    assert_eq!(roles[source.get()], Role::Voter);
                    assert!(epoch > 4);
                    for (role, found) in roles.iter().zip(&found) {
                        if let (Role::Voter, Found::Member(member)) = (role, found) {
                            assert_eq!(member.identity.store, store);
                        }
                    }
                }
            }
        }
    }
    assert!(served > 50, "{served}");
}
