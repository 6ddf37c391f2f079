//! How the zones are doing.

use std::sync::Arc;
use std::time::Duration;

use cairn_catalog::ListIncomplete;
use cairn_catalog::embedded::log::keeper::ZonePhase;
use cairn_store::StoreStatus;
use cairn_types::ZoneIndex;
use cairn_zone::Zone;

use super::api;
use super::error::ApiResult;
use super::{Admin, Open};

/// How long a zone is given to count its chunks.
const USAGE_TIMEOUT: Duration = Duration::from_secs(2);

/// How long the catalog is given to say what lacks copies.
const CATALOG_TIMEOUT: Duration = Duration::from_secs(2);
/// Blobs that lack copies are counted up to so many.
const INCOMPLETE_COUNTED_MAX: u32 = 1000;

/// `GET /v1/zones`.
pub async fn status(admin: &Arc<Admin>) -> ApiResult<api::StoreStatus> {
    let open = admin.open()?;
    let status = open.store.status();
    let mut zones = Vec::new();
    for (index, (name, path)) in ZoneIndex::ALL.into_iter().zip(&admin.places) {
        let (chunks, chunks_reason) = match chunks(open, index).await {
            Ok(chunks) => (Some(chunks), None),
            Err(reason) => (None, Some(reason)),
        };
        let health = &status.zones[index.get()];
        let is_open = health.incarnation.is_some();
        zones.push(api::Zone {
            name: name.to_string(),
            path: path.display().to_string(),
            incarnation: open.log.incarnation(index).0,
            phase: phase(&open.log.zones()[index.get()].borrow().phase),
            chunks,
            chunks_reason,
            kept_aside: open.slots[index.get()].kept_aside(),
            takes_writes: is_open && health.writes_pass,
            takes_reads: is_open && health.reads_pass,
        });
    }
    let reason = admin.readiness().err();
    let repair = repair(open, &status).await;
    Ok(api::StoreStatus { store: open.log.store().to_string(), ready: reason.is_none(), reason, zones, repair })
}

async fn chunks(open: &Open, zone: ZoneIndex) -> Result<api::Chunks, String> {
    match tokio::time::timeout(USAGE_TIMEOUT, open.slots[zone.get()].usage()).await {
        Ok(Ok(usage)) => Ok(api::Chunks { count: usage.chunks, bytes: usage.bytes, free_bytes: usage.free_bytes }),
        Ok(Err(cairn_zone::ZoneError::Away(reason))) => Err(reason),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("it does not answer".to_owned()),
    }
}

fn phase(phase: &ZonePhase) -> api::ZonePhase {
    match phase {
        ZonePhase::Opening => api::ZonePhase::Opening,
        ZonePhase::CatchingUp { at, of } => api::ZonePhase::CatchingUp { at: *at, of: *of },
        ZonePhase::Rebuilding { reason, rows } => api::ZonePhase::Rebuilding { reason: reason.clone(), rows: *rows },
        ZonePhase::Voting => api::ZonePhase::Voting,
        ZonePhase::Away(reason) => api::ZonePhase::Away { reason: reason.clone() },
        ZonePhase::Refused(reason) => api::ZonePhase::Refused { reason: reason.clone() },
    }
}

/// What is incomplete is asked of the catalog in this moment (B2): repair's own count is as old as its last walk, and before the first one,
/// or after a zone has just lost its memory, it would tell an administrator that nothing is to be repaired who then takes the next zone away.
async fn incomplete(open: &Open) -> Option<(bool, u64)> {
    let zones = ZoneIndex::ALL.into_iter().collect();
    let asking = async {
        let view = open.catalog.zones().await.ok()?;
        let rebuilding = view.zones.iter().any(|zone| zone.rebuild.is_some());
        let request = ListIncomplete { zones, from: None, limit: INCOMPLETE_COUNTED_MAX };
        let page = open.catalog.incomplete_blobs(request).await.ok()?;
        Some((rebuilding, page.blobs.len() as u64))
    };
    tokio::time::timeout(CATALOG_TIMEOUT, asking).await.ok().flatten()
}

async fn repair(open: &Open, status: &StoreStatus) -> api::Repair {
    let progress = &status.repair;
    let incomplete = incomplete(open).await;
    api::Repair {
        known: incomplete.is_some(),
        rebuilding: incomplete.is_some_and(|(rebuilding, _)| rebuilding),
        incomplete_blobs: incomplete.map_or(0, |(_, blobs)| blobs),
        copies_made: progress.copies_made,
        copied_bytes: progress.bytes_copied,
        copies_failed: progress.copies_failed,
        chunks_without_copy: progress.chunks_without_copy,
        damage_waiting: progress.damage_waiting,
        damage_found: status.counts.damage_found,
        damage_cleared: progress.damage_cleared,
    }
}

/// Why a store that is not ready is not. Anybody who reaches the health address may read it: no paths.
pub fn why_not_ready(admin: &Admin, open: &Open) -> String {
    let status = open.store.status();
    let taking = status.zones.iter().filter(|zone| zone.incarnation.is_some() && zone.writes_pass).count();
    if taking >= 2 {
        return "the store has no writer session yet".to_owned();
    }
    let mut reasons = Vec::new();
    for (index, (name, _)) in ZoneIndex::ALL.into_iter().zip(&admin.places) {
        let health = &status.zones[index.get()];
        let reason = match &open.log.zones()[index.get()].borrow().phase {
            ZonePhase::Opening => "being opened",
            ZonePhase::CatchingUp { .. } => "catching up",
            ZonePhase::Rebuilding { .. } => "being rebuilt",
            ZonePhase::Away(_) => "away",
            ZonePhase::Refused(_) => "left alone",
            ZonePhase::Voting if health.incarnation.is_none() => "without its chunks",
            ZonePhase::Voting if !health.writes_pass => "too slow or failing",
            ZonePhase::Voting => continue,
        };
        reasons.push(format!("{name} is {reason}"));
    }
    format!("{taking} of three zones take writes, two are needed: {}", reasons.join(", "))
}
