//! `cairn admin audit`: starts an audit, tells how it is going, and says at the end whether everything is whole.

use std::fmt::Write as _;
use std::time::Duration;

use clap::Args;

use crate::admin::api::{Audit, AuditState, AuditedZone, Failure, FailureCode, NewAudit};
use crate::admin::client::{Client, ClientResult};
use crate::admin::output::Output;
use crate::admin::render::{bytes, count, number, row, table};

/// How often it is asked how the audit is going.
const ASK_EVERY: Duration = Duration::from_millis(500);
/// How often people are told.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// How the audit is made.
#[derive(Debug, Clone, Args)]
pub struct AuditOptions {
    /// How many MiB a second it may read, all zones together; 64 if not given.
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    pub mebibytes_per_second: Option<u64>,
    /// How long it waits before it looks again at what looked wrong, seconds; 60 if not given. Less may take changes under way for errors.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(0..=3600))]
    pub settle_seconds: Option<u64>,
    /// Start it and return; it goes on in the service.
    #[arg(long)]
    pub no_wait: bool,
    /// Start none: show the one that runs, or the last one.
    #[arg(long, conflicts_with_all = ["no_wait", "mebibytes_per_second", "settle_seconds"])]
    pub show: bool,
    /// Stop the one that runs.
    #[arg(long, conflicts_with_all = ["no_wait", "mebibytes_per_second", "settle_seconds", "show"])]
    pub stop: bool,
}

/// Does what the options say. An audit that ends, and has not found everything whole, is a failure.
pub async fn run(client: &Client, output: Output, options: AuditOptions) -> ClientResult<()> {
    if options.stop {
        let audit: Audit = client.delete("/v1/audit").await?;
        return output.result(&audit, || text(&audit));
    }
    let mut audit: Audit = if options.show {
        client.get("/v1/audit").await?
    } else {
        let request = NewAudit {
            bytes_per_second: options.mebibytes_per_second.map(|mebibytes| mebibytes << 20),
            settle_seconds: options.settle_seconds,
        };
        match client.post("/v1/audit", &request).await {
            Err(failure) if failure.code == FailureCode::Exists => {
                output.remark("An audit runs already; this is the one that is shown. (`--stop` stops it.)");
                client.get("/v1/audit").await?
            }
            answer => answer?,
        }
    };
    if !options.show && !options.no_wait {
        output.remark("Everything is read once; Ctrl-C leaves the audit running, and `cairn admin audit --show` shows it.");
        let mut told = tokio::time::Instant::now();
        while is_running(audit.state) {
            tokio::time::sleep(ASK_EVERY).await;
            audit = client.get("/v1/audit").await?;
            if told.elapsed() >= TELL_EVERY && is_running(audit.state) {
                told = tokio::time::Instant::now();
                output.remark(&progress(&audit));
            }
        }
    }
    output.result(&audit, || text(&audit))?;
    match audit.state {
        AuditState::Done if !audit.whole => Err(not_whole("Not everything is whole: see above. Nothing was removed.")),
        AuditState::Failed => Err(not_whole("The audit could not look at everything: see above.")),
        AuditState::Stopped if !options.show => Err(not_whole("The audit was stopped before it had looked at everything.")),
        _ => Ok(()),
    }
}

fn not_whole(message: &str) -> Failure {
    Failure { code: FailureCode::Internal, message: message.to_owned() }
}

fn is_running(state: AuditState) -> bool {
    !matches!(state, AuditState::Done | AuditState::Stopped | AuditState::Failed)
}

/// A line for whoever waits.
fn progress(audit: &Audit) -> String {
    let read: u64 = audit.zones.iter().map(|zone| zone.good_bytes).sum();
    let versions = count(audit.objects.versions, "object", "objects");
    match audit.state {
        AuditState::Objects => format!("Looking for the places of objects: {versions} so far."),
        AuditState::Copies => {
            format!("Reading copies: {} of {} so far.", bytes(read), count(audit.chunks, "chunk", "chunks"))
        }
        AuditState::Zones => "Asking for the name of each copy that the zones list.".to_owned(),
        _ => "Waiting for changes under way to end, before it looks again at what looked wrong.".to_owned(),
    }
}

fn zone(zone: &AuditedZone) -> Vec<String> {
    let of = |many: u64, size: u64| if many == 0 { "none".to_owned() } else { format!("{}, {}", number(many), bytes(size)) };
    let damaged = match zone.replaced {
        0 => number(zone.damaged),
        replaced => format!("{} ({} replaced)", number(zone.damaged), number(replaced)),
    };
    let listed = match zone.listed {
        Some(_) => of(zone.left_over, zone.left_over_bytes),
        None => "not listed".to_owned(),
    };
    row([
        &zone.name,
        &of(zone.good, zone.good_bytes),
        &number(zone.absent),
        &damaged,
        &number(zone.unread),
        &of(zone.waiting, zone.waiting_bytes),
        &listed,
    ])
}

/// For people: the verdict, what was looked at, each zone, and what is wrong.
pub fn text(audit: &Audit) -> String {
    let mut text = match audit.state {
        AuditState::Done if audit.whole => {
            "Whole: every object's bytes are there, and each of its chunks was read and is whole in all three zones.\n".to_owned()
        }
        AuditState::Done => "NOT WHOLE.\n".to_owned(),
        AuditState::Stopped => "Stopped before everything was looked at.\n".to_owned(),
        AuditState::Failed => {
            format!("Not everything could be looked at: {}.\n", audit.reason.as_deref().unwrap_or("it is not said why"))
        }
        _ => format!("It runs. {} Nothing of this is settled before the end.\n", progress(audit)),
    };
    let objects = &audit.objects;
    let _ = writeln!(
        text,
        "{} in {}, other versions included, {}; {}; {} s.",
        count(objects.versions, "object", "objects"),
        count(objects.buckets, "bucket", "buckets"),
        bytes(objects.bytes),
        count(audit.chunks, "chunk", "chunks"),
        number(audit.seconds)
    );
    if objects.broken > 0 {
        let broken = count(objects.broken, "object has", "objects have");
        let _ = writeln!(text, "ATTENTION: {broken} bytes that are in no place.");
    }
    if audit.chunks_without_copy > 0 {
        let lost = count(audit.chunks_without_copy, "chunk has", "chunks have");
        let _ = writeln!(
            text,
            "ATTENTION: {lost} no good copy in any zone that answers. Bring back the zones that are away, or a backup of one; remove nothing."
        );
    }
    text.push('\n');
    let mut rows = vec![row(["ZONE", "WHOLE COPIES", "ABSENT", "DAMAGED", "NOT READ", "WAITING", "LEFT OVER"])];
    rows.extend(audit.zones.iter().map(zone));
    text += &table(&rows);
    if !audit.findings.is_empty() {
        text.push('\n');
        for finding in &audit.findings {
            let _ = writeln!(text, "{finding}");
        }
    }
    text
}

#[cfg(test)]
mod tests;
