//! The judge: knows what was acknowledged and what faults did, looks into zones and tables directly, and trusts no code under test.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use cairn_types::{BlobId, Locator, ZoneIndex};

use super::catalog::{Row, SimCatalog, Tables};
use super::zone::{SimZone, parse};

/// Which objects there should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expected {
    /// Was or is being written: may or may not be there.
    Maybe,
    /// Acknowledged: must be there.
    There,
    /// A delete was asked for: may or may not be there.
    Going,
}

/// The bytes of an object.
pub(super) fn body(content: u64, length: usize) -> Bytes {
    let mut state = content.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    (0..length)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        })
        .collect::<Vec<_>>()
        .into()
}

#[derive(Default)]
pub(super) struct Ledger {
    /// Object to (content, length, expectation).
    pub objects: BTreeMap<u64, (u64, usize, Expected)>,
    pub problems: Vec<String>,
    pub acknowledged: u64,
    pub read: u64,
}

impl Ledger {
    pub fn problem(&mut self, text: String) {
        if self.problems.len() < 5 {
            self.problems.push(text);
        }
    }
}

/// Whether a named place is in the zone's present life.
fn is_present_life(zone: &SimZone, locator: &Locator) -> bool {
    parse(locator).0 == zone.inside.lock().life
}

/// Whether the zone holds an undamaged copy there.
fn is_intact(zone: &SimZone, locator: &Locator) -> bool {
    let (life, serial) = parse(locator);
    let inside = zone.inside.lock();
    life == inside.life && inside.chunks.get(&serial).is_some_and(|stored| !stored.rotten)
}

/// Whether a fault has damaged the copy there, and nobody else.
fn is_rotten(zone: &SimZone, locator: &Locator) -> bool {
    let (_, serial) = parse(locator);
    zone.inside.lock().chunks.get(&serial).is_some_and(|stored| stored.rotten)
}

/// How many zones hold an undamaged copy of each chunk, least of all chunks; zones in `except` are taken for lost.
fn least_copies(zones: &[SimZone; 3], row: &Row, except: Option<ZoneIndex>) -> usize {
    row.content
        .chunks
        .iter()
        .map(|chunk| {
            ZoneIndex::ALL
                .into_iter()
                .filter(|zone| Some(*zone) != except)
                .filter(|zone| {
                    chunk.replicas[zone.get()].as_ref().is_some_and(|replica| is_intact(&zones[zone.get()], &replica.locator))
                })
                .count()
        })
        .min()
        .unwrap_or(3)
}

/// Whether a fault may take this zone's copies of all blobs: the promise is about one zone at a time.
pub(super) fn may_lose(zones: &[SimZone; 3], catalog: &SimCatalog, zone: ZoneIndex) -> bool {
    let tables = catalog.0.tables.lock();
    tables.blobs.values().all(|row| least_copies(zones, row, Some(zone)) >= 1)
}

/// Whether a fault may damage a copy of this blob in this zone.
pub(super) fn may_rot(zones: &[SimZone; 3], catalog: &SimCatalog, zone: ZoneIndex, blob: BlobId) -> bool {
    let tables = catalog.0.tables.lock();
    tables.blobs.get(&blob).is_none_or(|row| least_copies(zones, row, Some(zone)) >= 1)
}

/// Invariant 1 at the moment of the commit: two copies, but for what faults took from zones.
pub(super) fn check_commit(zones: &[SimZone; 3], tables: &Tables, ledger: &mut Ledger, object: u64) {
    for id in tables.objects.get(&object).into_iter().flatten() {
        let Some(row) = tables.blobs.get(id) else { continue };
        for chunk in &row.content.chunks {
            let stands = ZoneIndex::ALL
                .into_iter()
                .filter(|zone| {
                    chunk.replicas[zone.get()].as_ref().is_some_and(|replica| {
                        let zone_is_reborn = replica.incarnation.0 < zones[zone.get()].inside.lock().life;
                        // A zone that was lost a moment ago, and that the catalog does not know to be lost, is the one zone that may go.
                        let unknown_loss = zone_is_reborn && tables.incarnations[zone.get()] == replica.incarnation;
                        is_intact(&zones[zone.get()], &replica.locator)
                            || is_rotten(&zones[zone.get()], &replica.locator)
                            || unknown_loss
                    })
                })
                .count();
            if stands < 2 {
                ledger.problem(format!("object {object} was committed, and a chunk of blob {id:?} stands in {stands} zones"));
            }
        }
    }
}

/// Invariants 4 and 5 at any moment.
pub(super) fn check(zones: &[SimZone; 3], catalog: &SimCatalog, ledger: &mut Ledger) {
    for id in catalog.unwritten_gaps() {
        ledger.problem(format!("blob {id:?} lacks a zone and stands in no list"));
    }
    let tables = catalog.0.tables.lock();
    let referenced: BTreeSet<BlobId> = tables.objects.values().flatten().copied().collect();
    for id in referenced {
        let Some(row) = tables.blobs.get(&id) else {
            ledger.problem(format!("blob {id:?} is referenced and has no record"));
            continue;
        };
        for (ordinal, chunk) in row.content.chunks.iter().enumerate() {
            for (zone, replica) in ZoneIndex::ALL.into_iter().zip(&chunk.replicas) {
                let Some(replica) = replica else { continue };
                let zone = &zones[zone.get()];
                let excused = !is_present_life(zone, &replica.locator) || is_rotten(zone, &replica.locator);
                if !excused && !is_intact(zone, &replica.locator) {
                    ledger.problem(format!("chunk {id:?}.{ordinal} is named at {replica:?} and is not there"));
                }
            }
        }
        if least_copies(zones, row, None) == 0 {
            ledger.problem(format!("blob {id:?} has a chunk without any copy"));
        }
    }
}

/// When all has been quiet for long: everything has three copies, and there is nothing else.
pub(super) fn check_quiet(zones: &[SimZone; 3], catalog: &SimCatalog, ledger: &mut Ledger) {
    let tables = catalog.0.tables.lock();
    let mut named: [BTreeSet<u64>; 3] = Default::default();
    for (id, row) in &tables.blobs {
        if row.condemned.is_some() {
            ledger.problem(format!("blob {id:?} is condemned and still has a record"));
        }
        if least_copies(zones, row, None) < 3 {
            ledger.problem(format!("blob {id:?} was not brought back to three zones"));
        }
        for chunk in &row.content.chunks {
            for (replica, named) in chunk.replicas.iter().zip(&mut named) {
                named.extend(replica.as_ref().map(|replica| parse(&replica.locator).1));
            }
        }
    }
    for (index, (zone, named)) in zones.iter().zip(&named).enumerate() {
        let stored: BTreeSet<u64> = zone.inside.lock().chunks.keys().copied().collect();
        let garbage = stored.difference(named).count();
        if garbage > 0 {
            ledger.problem(format!("zone {index} keeps {garbage} chunks that nothing names"));
        }
    }
    for (object, (_, _, expected)) in ledger.objects.clone() {
        if expected == Expected::There && !tables.objects.contains_key(&object) {
            ledger.problem(format!("object {object} was acknowledged and is not there"));
        }
    }
}
