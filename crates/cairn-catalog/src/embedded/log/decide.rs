//! What a start does with what it finds: a pure decision, so that every combination can be tested (L2, L3, L7 to L9).

use cairn_disk::zone_directory::{Identity, ZoneState};
use cairn_types::ids::ZONE_COUNT;
use cairn_types::{StoreId, ZoneIndex, ZoneName};

use super::batch::{Marks, Position};
use super::rules::{Rule, holds};

/// What a start found at a zone's path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Nothing: no memory.
    Empty,
    /// Our files, without an identity that can be read: no memory.
    NoMemory(String),
    /// It cannot be read now.
    Away(String),
    /// Not a directory to touch: somebody else's, or a mount point without its file system (L9).
    Refused(String),
    /// A zone whose log can be read.
    Member(Member),
    /// A zone without a vote: damaged, or not yet rebuilt.
    Voteless(Identity, String),
}

/// A zone with a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// What its identity file says.
    pub identity: Identity,
    /// The end of its log.
    pub last: Position,
    /// The epoch under which its log was last cut, 0 if never.
    pub cut_epoch: u64,
    /// The marks that its last batch carries.
    pub marks: Marks,
}

/// What is to be done with a zone once the store serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// Has a vote: catches up with the source and joins.
    Voter,
    /// Has lost its memory: a new incarnation, rebuilt from the others (L7).
    Lost(String),
    /// Keeps its incarnation and chunks, but its catalog is rebuilt from the others (L5).
    RebuildCatalog(String),
    /// Left alone until it can be used.
    Out(String),
}

/// What the start does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// Make a new store, or finish making one: nothing was ever acknowledged (L8).
    Form {
        /// The store's id, where a start before this one chose one.
        store: Option<StoreId>,
    },
    /// Serve.
    Serve {
        /// The store.
        store: StoreId,
        /// The zone whose log is the history (L3).
        source: ZoneIndex,
        /// The new epoch (L2).
        epoch: u64,
        /// What becomes of each zone.
        roles: [Role; ZONE_COUNT],
    },
    /// Change nothing and say why (L9).
    Refuse(Refusal),
}

/// Why a start refuses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Refusal {
    /// In one sentence.
    pub reason: String,
    /// What was found in each zone, in words.
    pub zones: Vec<(ZoneName, String)>,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} Nothing was changed.", self.reason)?;
        for (name, words) in &self.zones {
            write!(formatter, "\n  {name}: {words}")?;
        }
        Ok(())
    }
}

impl Found {
    fn identity(&self) -> Option<&Identity> {
        match self {
            Self::Member(member) => Some(&member.identity),
            Self::Voteless(identity, _) => Some(identity),
            _ => None,
        }
    }

    fn words(&self) -> String {
        match self {
            Self::Empty => "empty".to_owned(),
            Self::NoMemory(reason) => format!("has lost its memory: {reason}"),
            Self::Away(reason) => format!("cannot be read: {reason}"),
            Self::Refused(reason) => format!("refused: {reason}"),
            Self::Member(member) if member.identity.state == ZoneState::Forming => "was being formed".to_owned(),
            Self::Member(member) => format!("has a log up to batch {}", member.last.index),
            Self::Voteless(_, reason) => format!("has no vote: {reason}"),
        }
    }
}

fn refuse(reason: String, names: &[ZoneName; ZONE_COUNT], found: &[Found; ZONE_COUNT]) -> Start {
    let zones = names.iter().cloned().zip(found.iter().map(Found::words)).collect();
    Start::Refuse(Refusal { reason, zones })
}

/// Decides what a start does. `names` are the zones as they are configured.
#[must_use]
#[allow(clippy::match_same_arms, reason = "one line a finding")]
pub fn decide(names: &[ZoneName; ZONE_COUNT], found: &[Found; ZONE_COUNT]) -> Start {
    let mut found = found.clone();
    refuse_strangers(names, &mut found);
    let identities: Vec<&Identity> = found.iter().filter_map(Found::identity).collect();
    let forming = |found: &Found| {
        matches!(found, Found::Empty) || found.identity().is_some_and(|identity| identity.state == ZoneState::Forming)
    };
    if found.iter().all(forming) {
        return Start::Form { store: identities.first().map(|identity| identity.store) };
    }
    // Formed here, still forming elsewhere, and no batch anywhere: forming was interrupted after its first half.
    let young = |found: &Found| match found {
        Found::Member(member) => member.last.index == 0,
        _ => false,
    };
    // One of two is in every pair that could have acknowledged anything; where both hold no batch, nobody was told anything, and what was
    // wiped before it was formed, or after, held nothing either. One alone proves that only while it says forming.
    let proof = |found: &Found| young(found) || found.identity().is_some_and(|identity| identity.state == ZoneState::Forming);
    let nothing_was_told = found.iter().filter(|found| proof(found)).count() >= 2;
    if found.iter().all(|found| young(found) || forming(found)) && found.iter().any(forming) && nothing_was_told {
        return Start::Form { store: identities.first().map(|identity| identity.store) };
    }
    let Some(store) = identities.first().map(|identity| identity.store) else {
        return refuse("No zone of a store was found, and not all zones are empty.".to_owned(), names, &found);
    };
    let lost = ZoneIndex::ALL.map(|zone| lost_memory(&found, zone, names));
    let votes = |zone: ZoneIndex| match &found[zone.get()] {
        Found::Member(member) if member.identity.state == ZoneState::Formed && lost[zone.get()].is_none() => Some(member),
        Found::Member(member) if !holds(Rule::L8) && lost[zone.get()].is_none() => Some(member),
        _ => None,
    };
    let voters: Vec<(ZoneIndex, &Member)> =
        ZoneIndex::ALL.iter().filter_map(|zone| votes(*zone).map(|member| (*zone, member))).collect();
    let source = voters.iter().max_by_key(|(_, member)| rank(member.last)).map(|(zone, _)| *zone);
    let (Some(source), 2..) = (source, voters.len()) else {
        let reason = format!("The store needs two zones that can vote, and {} can.", voters.len());
        let mut start = refuse(reason, names, &found);
        if let Start::Refuse(refusal) = &mut start {
            for (index, reason) in lost.iter().enumerate() {
                if let Some(reason) = reason {
                    refusal.zones[index].1 = format!("has lost its memory: {reason}");
                }
            }
        }
        return start;
    };
    // L8: no batch anywhere means that nobody ever saw all three formed; the third may still be forming.
    let formed = |found: &Found| found.identity().is_some_and(|identity| identity.state == ZoneState::Formed);
    if voters.iter().all(|(_, member)| member.last.index == 0) && !found.iter().all(formed) && holds(Rule::L8) {
        let reason = "The store was being made when it stopped and has never served: it needs all three zones once.".to_owned();
        return refuse(reason, names, &found);
    }
    let promised = identities.iter().map(|identity| identity.promise).max().unwrap_or(0);
    let written = voters.iter().map(|(_, member)| member.last.epoch).max().unwrap_or(0);
    let epoch = if holds(Rule::L2) { promised.max(written) + 1 } else { written + 1 };
    let roles = ZoneIndex::ALL.map(|zone| match (&found[zone.get()], &lost[zone.get()]) {
        (_, Some(reason)) => Role::Lost(reason.clone()),
        (Found::Member(member), None) if member.identity.state == ZoneState::Formed => Role::Voter,
        (Found::Member(_), None) => Role::RebuildCatalog("it was still being formed".to_owned()),
        (Found::Voteless(_, reason), None) => Role::RebuildCatalog(reason.clone()),
        (Found::Empty, None) => Role::Lost("its directory is empty".to_owned()),
        (Found::NoMemory(reason), None) => Role::Lost(reason.clone()),
        (Found::Away(reason) | Found::Refused(reason), None) => Role::Out(reason.clone()),
    });
    Start::Serve { store, source, epoch, roles }
}

/// L3: an older epoch with more batches loses against a newer one with fewer.
pub(super) fn rank(last: Position) -> (u64, u64) {
    if holds(Rule::L3) { (last.epoch, last.index) } else { (last.index, last.epoch) }
}

/// Turns zones of another store, or of another name, into refused ones (L9). The store is the one that two zones belong to.
fn refuse_strangers(names: &[ZoneName; ZONE_COUNT], found: &mut [Found; ZONE_COUNT]) {
    if !holds(Rule::L9) {
        return;
    }
    let stores: Vec<StoreId> = found.iter().filter_map(|found| found.identity().map(|identity| identity.store)).collect();
    let votes = |store: StoreId| stores.iter().filter(|other| **other == store).count();
    let majority = majority(&stores);
    for (index, found) in found.iter_mut().enumerate() {
        let Some(identity) = found.identity() else { continue };
        let reason = if identity.zone != names[index] {
            format!(
                "it holds the zone {}, not {}: were directories swapped? Put it back in its place.",
                identity.zone, names[index]
            )
        } else if Some(identity.store) != majority || (votes(identity.store) < 2 && stores.len() > 1) {
            format!("it belongs to another store, {}", identity.store)
        } else if identity.zones != *names {
            format!("its store has the zones {}", identity.zones.each_ref().map(ZoneName::as_str).join(", "))
        } else {
            continue;
        };
        *found = Found::Refused(reason);
    }
}

/// The store that most zones belong to.
pub(super) fn majority(stores: &[StoreId]) -> Option<StoreId> {
    stores.iter().copied().max_by_key(|store| stores.iter().filter(|other| *other == store).count())
}

/// L7: what another zone recorded and this one does not have.
fn lost_memory(found: &[Found; ZONE_COUNT], zone: ZoneIndex, names: &[ZoneName; ZONE_COUNT]) -> Option<String> {
    let identity = found[zone.get()].identity()?;
    if !holds(Rule::L7) {
        return None;
    }
    for (other, witness) in found.iter().enumerate().filter(|(other, _)| *other != zone.get()) {
        let Found::Member(witness) = witness else { continue };
        let mark = witness.marks[zone.get()];
        let name = &names[other];
        if mark.incarnation > identity.incarnation.0 {
            let (old, new) = (identity.incarnation, mark.incarnation);
            return Some(format!("it is of incarnation {old}, and {name} knows of incarnation {new}"));
        }
        let Found::Member(member) = &found[zone.get()] else { continue };
        // A cut under a later epoch may have removed what an older batch recorded.
        let superseded = member.last.epoch.max(member.cut_epoch) > witness.last.epoch;
        if mark.incarnation == identity.incarnation.0 && mark.log_index > member.last.index && !superseded {
            let (has, had) = (member.last.index, mark.log_index);
            return Some(format!("its log ends with batch {has}, and {name} knows that it had batch {had}: an old copy?"));
        }
    }
    None
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
