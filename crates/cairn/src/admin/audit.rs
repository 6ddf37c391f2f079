//! `/v1/audit`, and `cairn admin audit`: a full look at everything that is stored ([`cairn_store::audit`]).

pub mod command;

use std::time::Duration;

use cairn_store::audit::{AuditConfig, AuditEnd, AuditReport, AuditStep, Wrong, ZoneFindings};

use super::api::{self, AuditState, FailureCode, NewAudit};
use super::error::{ApiError, ApiResult};
use super::{Admin, Open};

/// The longest pause before the second look.
const SETTLE_SECONDS_MAX: u64 = 3600;

/// `POST /v1/audit`.
pub fn start(admin: &Admin, open: &Open, request: &NewAudit) -> ApiResult<api::Audit> {
    let mut config = AuditConfig::default();
    match request.bytes_per_second {
        Some(0) => return Err(ApiError::invalid("bytesPerSecond is at least 1")),
        Some(bytes) => config.bytes_per_second = bytes,
        None => {}
    }
    match request.settle_seconds {
        Some(seconds) if seconds > SETTLE_SECONDS_MAX => {
            return Err(ApiError::invalid(format!("settleSeconds is at most {SETTLE_SECONDS_MAX}")));
        }
        Some(seconds) => config.settle = Duration::from_secs(seconds),
        None => {}
    }
    if !open.store.start_audit(config) {
        return Err(ApiError::new(FailureCode::Exists, "an audit runs already: look at it, or stop it"));
    }
    get(admin, open)
}

/// `GET /v1/audit`.
pub fn get(admin: &Admin, open: &Open) -> ApiResult<api::Audit> {
    let none = || ApiError::new(FailureCode::NotFound, "there was no audit since the service started");
    let report = open.store.audit().ok_or_else(none)?;
    let names: Vec<String> = admin.places.iter().map(|(name, _)| name.to_string()).collect();
    Ok(shown(&report, &names))
}

/// `DELETE /v1/audit`.
pub fn stop(admin: &Admin, open: &Open) -> ApiResult<api::Audit> {
    open.store.stop_audit();
    get(admin, open)
}

fn shown(report: &AuditReport, names: &[String]) -> api::Audit {
    let (state, reason) = match &report.end {
        Some(AuditEnd::Done) => (AuditState::Done, None),
        Some(AuditEnd::Stopped) => (AuditState::Stopped, None),
        Some(AuditEnd::Failed(reason)) => (AuditState::Failed, Some(reason.clone())),
        None => match report.step {
            AuditStep::Objects => (AuditState::Objects, None),
            AuditStep::Copies => (AuditState::Copies, None),
            AuditStep::Zones => (AuditState::Zones, None),
            AuditStep::SecondLook => (AuditState::SecondLook, None),
        },
    };
    let zone = |(name, zone): (&String, &ZoneFindings)| api::AuditedZone {
        name: name.clone(),
        good: zone.good,
        good_bytes: zone.good_bytes,
        absent: zone.absent,
        damaged: zone.damaged,
        replaced: zone.replaced,
        unread: zone.unread,
        listed: zone.listed,
        listed_bytes: zone.listed_bytes,
        waiting: zone.waiting,
        waiting_bytes: zone.waiting_bytes,
        left_over: zone.left_over,
        left_over_bytes: zone.left_over_bytes,
    };
    let wrong = |Wrong { zone, words }: &Wrong| match zone.and_then(|zone| names.get(zone.get())) {
        Some(name) => format!("{name}: {words}"),
        None => words.clone(),
    };
    let objects = &report.objects;
    api::Audit {
        state,
        reason,
        seconds: report.took.as_secs(),
        whole: report.is_whole(),
        objects: api::AuditedObjects {
            buckets: objects.buckets,
            versions: objects.versions,
            bytes: objects.bytes,
            broken: objects.broken,
        },
        chunks: report.copies.chunks,
        chunks_without_copy: report.copies.without_copy,
        zones: names.iter().zip(&report.copies.zones).map(zone).collect(),
        findings: report.wrong.iter().map(wrong).collect(),
    }
}
