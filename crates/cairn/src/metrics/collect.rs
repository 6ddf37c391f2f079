//! The numbers, gathered at the moment when somebody asks for them.

use std::collections::BTreeMap;
use std::sync::Arc;

use cairn_metrics::Exposition;
use cairn_s3::S3Service;
use cairn_s3::observe::BucketCounts;
use cairn_types::ZoneIndex;

#[allow(clippy::wildcard_imports, reason = "it tells each of them")]
use super::families::*;
use super::process::Process;
use crate::access_log::Lines;
use crate::admin::api::{self, ZonePhase};
use crate::admin::{Admin, Open, TenantNames, zone_status};
use crate::tls::Certificates;

/// The bucket that stands for all without numbers of their own: no bucket can have this name.
const OTHER_BUCKETS: &str = "_other";
/// A histogram's times are microseconds.
const MICROSECONDS: u32 = 1_000_000;
/// The states of a zone, as labels.
const STATES: [&str; 6] = ["opening", "catching_up", "rebuilding", "voting", "away", "refused"];

/// Everything that can be said now.
pub async fn collect(
    admin: &Arc<Admin>,
    service: Option<&S3Service>,
    lines: &Lines,
    certificates: &[Arc<Certificates>],
) -> String {
    let mut text = Exposition::new();
    text.family(&INFO).sample(&[env!("CARGO_PKG_VERSION")], 1);
    text.single(&READY, u8::from(admin.readiness().is_ok()));
    if let Some(service) = service {
        requests(&mut text, service);
    }
    text.single(&LOG_DROPPED, lines.dropped());
    tls(&mut text, certificates);
    if let Ok(open) = admin.open() {
        if let Some(service) = service {
            buckets(&mut text, service, open).await;
        }
        if let Ok(status) = zone_status(admin).await {
            zones(&mut text, open, &status);
            catalog(&mut text, open);
            store(&mut text, open, &status.repair);
        }
    }
    if let Some(process) = Process::look() {
        self::process(&mut text, &process);
    }
    text.finish()
}

fn requests(text: &mut Exposition, service: &S3Service) {
    let metrics = service.metrics();
    // What was never asked has no line: of a hundred operations most never are.
    let asked = || metrics.operations().filter(|(_, counts)| counts.outcomes.each().any(|(_, count)| count > 0));
    let mut samples = text.family(&S3_REQUESTS);
    for (operation, counts) in asked() {
        for (status, count) in counts.outcomes.each() {
            samples.sample(&[operation, status], count);
        }
    }
    let mut samples = text.family(&S3_TIMES);
    for (operation, counts) in asked() {
        samples.histogram(&[operation], &counts.times.snapshot(), MICROSECONDS);
    }
    let mut samples = text.family(&S3_RECEIVED);
    for (operation, counts) in asked() {
        samples.sample(&[operation], counts.received_bytes.get());
    }
    let mut samples = text.family(&S3_SENT);
    for (operation, counts) in asked() {
        samples.sample(&[operation], counts.sent_bytes.get());
    }
    text.single(&S3_RUNNING, service.running());
    text.single(&S3_SLOWED_DOWN, metrics.slowed_down.get());
    text.single(&S3_WAITING, service.waiting());
    text.single(&S3_BODY_MEMORY, service.body_bytes());
    let mut samples = text.family(&S3_TIMEOUTS);
    for (waited_for, count) in metrics.timeouts() {
        samples.sample(&[waited_for], count);
    }
    text.single(&S3_BROKEN_OFF, metrics.broken_off.get());
    text.single(&S3_CONNECTIONS_REFUSED, metrics.connections_refused.get());
    text.single(&S3_HANDSHAKES_FAILED, metrics.handshakes_failed.get());
    text.single(&S3_CONNECTIONS, metrics.connections());
}

fn tls(text: &mut Exposition, certificates: &[Arc<Certificates>]) {
    let all: Vec<_> = certificates.iter().map(|certificates| certificates.status()).collect();
    let mut samples = text.family(&TLS_RELOADS);
    for status in &all {
        let listener = status.purpose.name();
        samples.sample(&[listener, "replaced"], status.replaced).sample(&[listener, "failed"], status.failed);
    }
    let mut samples = text.family(&TLS_STALE);
    for status in &all {
        samples.sample(&[status.purpose.name()], u8::from(status.is_stale));
    }
    let mut samples = text.family(&TLS_NOT_AFTER);
    for status in &all {
        if let Some(not_after) = status.not_after_seconds {
            samples.sample(&[status.purpose.name()], not_after);
        }
    }
}

async fn buckets(text: &mut Exposition, service: &S3Service, open: &Open) {
    let table = &service.metrics().buckets;
    let mut names = TenantNames::default();
    // A name may have been given to another bucket meanwhile: the two are told as one, as each series stands once in the text.
    let mut counted: BTreeMap<(String, String), Vec<&BucketCounts>> = BTreeMap::new();
    for (tenant, bucket, counts) in table.each() {
        let tenant = names.name(&open.store, tenant).await.unwrap_or_else(|_| format!("#{}", tenant.0));
        counted.entry((tenant, bucket.to_string())).or_default().push(counts);
    }
    counted.entry((String::new(), OTHER_BUCKETS.to_owned())).or_default().push(table.other());
    let sum = |all: &[&BucketCounts], of: fn(&BucketCounts) -> u64| all.iter().map(|counts| of(counts)).sum::<u64>();
    let mut samples = text.family(&BUCKET_REQUESTS);
    for ((tenant, bucket), all) in &counted {
        for (index, status) in cairn_s3::observe::OUTCOMES.into_iter().enumerate() {
            let count: u64 = all.iter().filter_map(|counts| counts.outcomes.each().nth(index)).map(|(_, count)| count).sum();
            samples.sample(&[tenant, bucket, status], count);
        }
    }
    let mut samples = text.family(&BUCKET_RECEIVED);
    for ((tenant, bucket), all) in &counted {
        samples.sample(&[tenant, bucket], sum(all, |counts| counts.received_bytes.get()));
    }
    let mut samples = text.family(&BUCKET_SENT);
    for ((tenant, bucket), all) in &counted {
        samples.sample(&[tenant, bucket], sum(all, |counts| counts.sent_bytes.get()));
    }
}

fn state(phase: &ZonePhase) -> &'static str {
    match phase {
        ZonePhase::Opening => "opening",
        ZonePhase::CatchingUp { .. } => "catching_up",
        ZonePhase::Rebuilding { .. } => "rebuilding",
        ZonePhase::Voting => "voting",
        ZonePhase::Away { .. } => "away",
        ZonePhase::Refused { .. } => "refused",
    }
}

fn zones(text: &mut Exposition, open: &Open, status: &api::StoreStatus) {
    let zones = &status.zones;
    let mut samples = text.family(&ZONE_STATE);
    for zone in zones {
        for each in STATES {
            samples.sample(&[&zone.name, each], u8::from(each == state(&zone.phase)));
        }
    }
    let mut each = |family, value: &dyn Fn(&api::Zone) -> Option<u64>| {
        let mut samples = text.family(family);
        for zone in zones {
            if let Some(value) = value(zone) {
                samples.sample(&[&zone.name], value);
            }
        }
    };
    each(&ZONE_INCARNATION, &|zone| Some(zone.incarnation));
    each(&ZONE_TAKES_WRITES, &|zone| Some(zone.takes_writes.into()));
    each(&ZONE_TAKES_READS, &|zone| Some(zone.takes_reads.into()));
    each(&ZONE_CHUNKS, &|zone| zone.chunks.map(|chunks| chunks.count));
    each(&ZONE_STORED, &|zone| zone.chunks.map(|chunks| chunks.bytes));
    each(&ZONE_FREE, &|zone| zone.chunks.and_then(|chunks| chunks.free_bytes));

    let operations = open.store.zone_operations();
    let counted = || {
        zones.iter().zip(&operations).flat_map(|(zone, counts)| {
            ["write", "read"].into_iter().zip(counts).map(move |(operation, counts)| (zone.name.as_str(), operation, counts))
        })
    };
    let mut samples = text.family(&ZONE_TIMES);
    for (zone, operation, counts) in counted() {
        samples.histogram(&[zone, operation], &counts.times, MICROSECONDS);
    }
    let mut samples = text.family(&ZONE_BYTES);
    for (zone, operation, counts) in counted() {
        samples.sample(&[zone, operation], counts.bytes);
    }
    let mut samples = text.family(&ZONE_FAILED);
    for (zone, operation, counts) in counted() {
        samples.sample(&[zone, operation, "failed"], counts.failed).sample(&[zone, operation, "abandoned"], counts.abandoned);
    }
    let health = open.store.status().zones;
    let mut samples = text.family(&ZONE_UNANSWERED);
    for (zone, health) in zones.iter().zip(&health) {
        samples.sample(&[&zone.name], health.write_bytes);
    }
    let statistics = open.log.statistics();
    let mut samples = text.family(&ZONE_LAG);
    for (zone, index) in zones.iter().zip(ZoneIndex::ALL) {
        samples.sample(&[&zone.name], statistics.lag_batches(index));
    }
    let mut samples = text.family(&ZONE_SYNCS);
    for (zone, counts) in zones.iter().zip(&statistics.zones) {
        samples.histogram(&[&zone.name], &counts.syncs.snapshot(), MICROSECONDS);
    }
}

fn catalog(text: &mut Exposition, open: &Open) {
    let statistics = open.log.statistics();
    text.family(&CATALOG_COMMANDS).histogram(&[], &statistics.batch_commands.snapshot(), 1);
    text.family(&CATALOG_BYTES).histogram(&[], &statistics.batch_bytes.snapshot(), 1);
    text.single(&CATALOG_APPENDED, statistics.appended_bytes.get());
    text.single(&CATALOG_BATCH, statistics.last_batch.get());
    text.single(&CATALOG_KEPT, open.log.kept_batches());
    text.single(&CATALOG_EPOCH, open.log.epoch());
}

fn store(text: &mut Exposition, open: &Open, repair: &api::Repair) {
    text.single(&REPAIR_KNOWN, u8::from(repair.known));
    if repair.known {
        text.single(&REPAIR_REBUILDING, u8::from(repair.rebuilding));
        text.single(&REPAIR_INCOMPLETE, repair.incomplete_blobs);
    }
    text.family(&REPAIR_COPIES).sample(&["made"], repair.copies_made).sample(&["failed"], repair.copies_failed);
    text.single(&REPAIR_BYTES, repair.copied_bytes);
    text.single(&WITHOUT_COPY, repair.chunks_without_copy);
    text.single(&DAMAGE_FOUND, repair.damage_found);
    text.single(&DAMAGE_WAITING, repair.damage_waiting);
    text.single(&DAMAGE_CLEARED, repair.damage_cleared);
    let status = open.store.status();
    let compaction = &status.compaction;
    text.family(&COMPACTION_CHUNKS)
        .sample(&["moved"], compaction.moved)
        .sample(&["refused"], compaction.refused)
        .sample(&["failed"], compaction.failed);
    text.single(&COMPACTION_BYTES, compaction.bytes_moved);
    text.single(&COMPACTION_WAITING, compaction.waiting);
    text.single(&SCRUB_BYTES, status.scrub.bytes);
    text.single(&SCRUB_WALKS, status.scrub.walks);
    text.single(&ORPHANS_DELETED, status.collector.deleted);
    let counts = &status.counts;
    text.family(&CHUNKS_WRITTEN).sample(&["safe"], counts.chunks_written).sample(&["failed"], counts.chunks_failed);
    text.single(&READS_HEDGED, counts.reads_hedged);
    let (size, free) = status.write_memory;
    text.family(&WRITE_MEMORY).sample(&["used"], size.saturating_sub(free)).sample(&["free"], free);
    text.single(&UPLOADS_RUNNING, status.uploads);
}

fn process(text: &mut Exposition, process: &Process) {
    text.single(&PROCESS_CPU, process.cpu_seconds());
    text.single(&PROCESS_RESIDENT, process.resident_bytes);
    text.single(&PROCESS_VIRTUAL, process.virtual_bytes);
    text.single(&PROCESS_FILES, process.files);
    if let Some(files_max) = process.files_max {
        text.single(&PROCESS_FILES_MAX, files_max);
    }
    text.single(&PROCESS_THREADS, process.threads);
    text.single(&PROCESS_START, process.start_seconds);
}
