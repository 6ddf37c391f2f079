//! After the faults everything becomes whole again by itself, within a bound: three zones vote, every blob stands in three zones, no zone
//! holds what nothing refers to (invariant 4), every copy reads, every replica of the catalog holds the same rows, and these agree.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::time::Duration;

use bytes::Bytes;
use cairn_catalog::embedded::keyvalue::Table;
use cairn_catalog::embedded::log::keeper::ZonePhase;
use cairn_catalog::{Catalog, ListBlobs};
use cairn_store::key_shares::{KeyShare, read_shares, recover};
use cairn_testkit::catalog_invariants::violations;
use cairn_testkit::sim_disk::SimDisk;
use cairn_testkit::sim_engine::SimEngine;
use cairn_types::ids::ZONE_COUNT;
use cairn_types::records::{BlobRecord, ZoneSet};
use cairn_types::{BlobId, ChunkId, Locator, SessionId, ZoneIndex};
use cairn_zone::Zone;

use crate::settings::path;
use crate::world::Life;

/// Virtual time in which everything has to be whole. The grace, the age of sessions and two sweeps fit in it many times.
const AT_MOST: Duration = Duration::from_secs(400);
/// Virtual time between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(3);

/// Waits until everything is whole; says what is not when the time is over.
pub async fn heal(life: &Life, disk: &SimDisk, engine: &SimEngine) -> Result<(), String> {
    let end = tokio::time::Instant::now() + AT_MOST;
    loop {
        let reason = match whole(life, engine, disk).await {
            Ok(()) => return Ok(()),
            Err(Look::Broken(reason)) => return Err(reason),
            Err(Look::NotYet(reason)) => reason,
        };
        if tokio::time::Instant::now() > end {
            return Err(format!("not whole after {} s: {reason}; {:?}", AT_MOST.as_secs(), life.store.status()));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

enum Look {
    /// It may still come.
    NotYet(String),
    /// Time does not mend this.
    Broken(String),
}

fn not_yet(reason: impl Into<String>) -> Look {
    Look::NotYet(reason.into())
}

async fn whole(life: &Life, engine: &SimEngine, disk: &SimDisk) -> Result<(), Look> {
    for zone in life.engines.log.zones() {
        let phase = zone.borrow().phase.clone();
        if phase != ZonePhase::Voting {
            return Err(not_yet(format!("a zone does not vote: {phase:?}")));
        }
    }
    let catalog = &life.engines.catalog;
    let view = catalog.zones().await.map_err(|error| not_yet(error.to_string()))?;
    if view.zones.iter().any(|zone| zone.rebuild.is_some()) {
        return Err(not_yet(format!("a zone is being rebuilt: {view:?}")));
    }
    let mut blobs: Vec<(BlobId, BlobRecord)> = Vec::new();
    let mut after = None;
    loop {
        let page = catalog.blob_page(ListBlobs { after, limit: 500 }).await.map_err(|error| not_yet(error.to_string()))?;
        blobs.extend(page.blobs);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let incarnations = view.incarnations();
    let mut named: [BTreeMap<(ChunkId, Locator), u64>; ZONE_COUNT] = Default::default();
    for (id, record) in &blobs {
        let missing = record.content.missing(&incarnations);
        if missing != ZoneSet::EMPTY || record.condemned.is_some() {
            return Err(not_yet(format!("{id:?} lacks {missing:?}, condemned: {:?}", record.condemned)));
        }
        for (ordinal, chunk) in (0..).zip(&record.content.chunks) {
            for (zone, replica) in chunk.replicas.iter().enumerate() {
                if let Some(replica) = replica {
                    named[zone].insert((ChunkId { blob: *id, ordinal }, replica.locator.clone()), 0);
                }
            }
        }
    }
    for (zone, named) in life.engines.zones().iter().zip(&mut named) {
        same_chunks(&**zone, named).await?;
    }
    same_bytes(life, &named).await?;
    same_rows(life, engine)?;
    key_shares(life).await?;
    leftovers(disk)
}

/// The zone holds what is named in it, by that locator, and nothing else.
async fn same_chunks(zone: &dyn Zone, named: &mut BTreeMap<(ChunkId, Locator), u64>) -> Result<(), Look> {
    let mut from = None;
    let mut found = BTreeSet::new();
    loop {
        let page = zone.enumerate(SessionId(0), from, 100).await.map_err(|error| not_yet(error.to_string()))?;
        for chunk in page.found {
            let place = (chunk.id, chunk.locator);
            match named.get_mut(&place) {
                Some(length) => *length = chunk.length,
                None => return Err(not_yet(format!("a zone holds {:?}, which nothing names", place.0))),
            }
            found.insert(place);
        }
        from = page.next;
        if from.is_none() {
            break;
        }
    }
    match named.keys().find(|place| !found.contains(place)) {
        Some(lost) => Err(not_yet(format!("a zone does not hold {:?}, which is named in it", lost.0))),
        None => Ok(()),
    }
}

/// Every copy of a chunk reads and is the same. (What clients read of it is compared with what they wrote.)
async fn same_bytes(life: &Life, named: &[BTreeMap<(ChunkId, Locator), u64>; ZONE_COUNT]) -> Result<(), Look> {
    let mut copies: BTreeMap<ChunkId, Bytes> = BTreeMap::new();
    for (zone, named) in life.engines.zones().iter().zip(named) {
        for ((id, locator), length) in named {
            let length = usize::try_from(*length).unwrap_or(0);
            let read = zone.read(locator, *id, 0, length).await;
            // Damage is found and mended by the scrub, in its time.
            let bytes = read.map_err(|error| not_yet(format!("a copy of {id:?} does not read: {error}")))?;
            match copies.get(id) {
                Some(other) if *other != bytes => return Err(not_yet(format!("two copies of {id:?} differ"))),
                _ => copies.insert(*id, bytes),
            };
        }
    }
    Ok(())
}

/// Every zone's catalog holds the same rows, and they agree among themselves.
fn same_rows(life: &Life, engine: &SimEngine) -> Result<(), Look> {
    let mut first: Option<Vec<(u8, Bytes, Bytes)>> = None;
    for zone in life.engines.log.zones() {
        let directory = zone.borrow().directory.clone().ok_or_else(|| not_yet("a zone has no directory"))?;
        let store = engine.store(&directory.checkpoint_path()).ok_or_else(|| not_yet("a zone has no catalog"))?;
        let snapshot = store.snapshot();
        let wrong = violations(&*snapshot);
        if let Some(wrong) = wrong.first() {
            return Err(Look::Broken(format!("the catalog of {} is wrong: {wrong}", directory.path().display())));
        }
        let mut rows = Vec::new();
        for table in Table::MINIMUM..=Table::MAXIMUM {
            for row in snapshot.range(Table::new(table), Bound::Unbounded, Bound::Unbounded) {
                let (key, value) = row.map_err(|error| not_yet(error.to_string()))?;
                rows.push((table, key, value));
            }
        }
        match &first {
            // One may lag behind for a moment; if they truly differ they stay so.
            Some(first) if *first != rows => return Err(not_yet("two zones' catalogs differ")),
            Some(_) => {}
            None => first = Some(rows),
        }
    }
    Ok(())
}

/// Any two zones hold the master key (K1).
async fn key_shares(life: &Life) -> Result<(), Look> {
    let mut shares: Vec<Vec<KeyShare>> = Vec::new();
    for zone in 0..ZONE_COUNT {
        let read = read_shares(&*life.environment.disk, &path(zone)).await.map_err(|error| not_yet(error.to_string()))?;
        let of_zone = |share: &KeyShare| share.zone == ZoneIndex::ALL[zone];
        shares.push(read.into_iter().filter_map(|(_, share)| share.ok()).filter(of_zone).collect());
    }
    for away in 0..ZONE_COUNT {
        let two: Vec<KeyShare> = (0..ZONE_COUNT).filter(|zone| *zone != away).flat_map(|zone| shares[zone].clone()).collect();
        let key =
            recover(&two).map_err(|reason| not_yet(format!("without zone {away} the master key cannot be had: {reason}")))?;
        if key.key.id() != life.store.master_key_id() {
            return Err(Look::Broken("the zones hold the shares of another master key".to_owned()));
        }
    }
    Ok(())
}

/// What was moved aside is gone when the zone is whole.
fn leftovers(disk: &SimDisk) -> Result<(), Look> {
    for zone in 0..ZONE_COUNT {
        if let Some((file, _)) = disk.files(&path(zone)).iter().find(|(file, _)| file.to_string_lossy().contains("retired-")) {
            return Err(not_yet(format!("{} is still there", file.display())));
        }
    }
    Ok(())
}
