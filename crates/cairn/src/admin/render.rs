//! What the API answers, as text that is a pleasure to read: tables with aligned columns, whole sentences, numbers for people.

mod next;

use std::fmt::Write;

use super::api::{
    Access, Account, Bucket, Chunks, CreatedKey, Grant, Key, Repair, Scope, StoreStatus, Tenant, Versioning, Zone, ZonePhase,
};

/// The most grants of a key that a table's line shows.
const GRANTS_SHOWN_MAX: usize = 3;

/// Lines of cells, aligned. The last cell of a line makes no column wider: it may be long.
pub fn table(rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = Vec::new();
    for row in rows {
        for (index, cell) in row.iter().enumerate().take(row.len().saturating_sub(1)) {
            if index == widths.len() {
                widths.push(0);
            }
            widths[index] = widths[index].max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (index, cell) in row.iter().enumerate() {
            if index + 1 == row.len() {
                line.push_str(cell);
            } else {
                let _ = write!(line, "{cell:<width$}  ", width = widths[index]);
            }
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

pub fn row<const COUNT: usize>(cells: [&str; COUNT]) -> Vec<String> {
    cells.map(str::to_owned).into()
}

/// A number with its thousands apart: `1,234`.
pub fn number(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// So many of something.
pub fn count(value: u64, one: &str, more: &str) -> String {
    format!("{} {}", number(value), if value == 1 { one } else { more })
}

/// A size in binary units: `512 B`, `4.5 MiB`.
pub fn bytes(value: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if value < 1024 {
        return format!("{value} B");
    }
    // Tenths, rounded down; u128 because 2^64 tenths are more than 64 bits hold.
    let tenths = |unit: usize| (u128::from(value) * 10) >> (10 * (unit + 1));
    let unit = (0..UNITS.len()).rev().find(|unit| tenths(*unit) >= 10).unwrap_or(0);
    let tenths = tenths(unit);
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

/// A moment to the minute, UTC.
fn minute(moment: &str) -> String {
    moment.get(..16).map_or_else(|| moment.to_owned(), |minute| minute.replace('T', " "))
}

// -- zones -----------------------------------------------------------------------------------------------------------------------

/// The zones, one a line; below them whether the store can be written to, and how copies are kept whole.
pub fn store_status(status: &StoreStatus) -> String {
    let rows: Vec<_> = status.zones.iter().map(zone).collect();
    let mut text = table(&rows);
    text.push('\n');
    match &status.reason {
        None => text.push_str("Writes are taken.\n"),
        Some(reason) => {
            let _ = writeln!(text, "Writes are NOT taken: {reason}.");
        }
    }
    let all_there = status.zones.iter().all(|zone| zone.phase == ZonePhase::Voting && zone.chunks.is_some());
    text.push_str(&repair(&status.repair, all_there));
    text.push_str(&next::steps(status));
    for zone in status.zones.iter().filter(|zone| !zone.kept_aside.is_empty()) {
        let _ = writeln!(
            text,
            "{}: what it held before it lost its memory is kept until it has all its copies again, or space is short: {} in {}.",
            zone.name,
            zone.kept_aside.join(", "),
            zone.path
        );
    }
    text
}

fn zone(zone: &Zone) -> Vec<String> {
    let (state, words) = match &zone.phase {
        ZonePhase::Voting => {
            let (name, incarnation) = (zone.name.clone(), format!("incarnation {}", zone.incarnation));
            if let Some(chunks) = &zone.chunks {
                return vec![name, "voting".to_owned(), incarnation, self::chunks(*chunks, zone), zone.path.clone()];
            }
            let reason = zone.chunks_reason.as_deref().unwrap_or("it is not said why");
            let words = format!("its chunks do not answer: {reason} ({})", zone.path);
            return vec![name, "voting".to_owned(), incarnation, words];
        }
        ZonePhase::Opening => ("opening", format!("reading its log in {}", zone.path)),
        ZonePhase::CatchingUp { at, of } => {
            let behind = count(of.saturating_sub(*at), "batch", "batches");
            ("catching up", format!("it has batch {} of {}: {behind} to go", number(*at), number(*of)))
        }
        ZonePhase::Rebuilding { reason, rows } => {
            ("rebuilding", format!("copying the catalog: {} so far ({reason})", count(*rows, "row", "rows")))
        }
        ZonePhase::Away { reason } => ("away", reason.clone()),
        ZonePhase::Refused { reason } => ("left alone", format!("{reason} ({})", zone.path)),
    };
    vec![zone.name.clone(), state.to_owned(), words]
}

fn chunks(chunks: Chunks, zone: &Zone) -> String {
    let free = chunks.free_bytes.map_or_else(String::new, |free| format!(", {} free", bytes(free)));
    let held = format!("{}, {}{free}", count(chunks.count, "chunk", "chunks"), bytes(chunks.bytes));
    match (zone.takes_writes, zone.takes_reads) {
        (true, true) => held,
        (false, true) => format!("{held}, slow or failing: writes pass it by"),
        (true, false) => format!("{held}, slow or failing: reads pass it by"),
        (false, false) => format!("{held}, slow or failing: passed by"),
    }
}

fn repair(repair: &Repair, all_there: bool) -> String {
    let mut text = String::new();
    let copied = match repair.copies_made {
        0 => String::new(),
        made => format!("; {} made since the start, {}", count(made, "copy", "copies"), bytes(repair.copied_bytes)),
    };
    if !repair.known {
        text.push_str(
            "Chunks: the catalog does not say now whether some lack copies. Do nothing to another zone before it does.\n",
        );
    } else if repair.rebuilding {
        let _ = writeln!(text, "Chunks: those that a zone has lost are being copied to it{copied}.");
    } else if repair.incomplete_blobs > 0 {
        // The count ends at a thousand.
        let at_least = if repair.incomplete_blobs >= 1000 { "at least " } else { "" };
        let incomplete = count(repair.incomplete_blobs, "blob has", "blobs have");
        let _ = writeln!(text, "Chunks: {at_least}{incomplete} less than three copies now{copied}.");
    } else if repair.damage_waiting == 0 {
        // Of a zone that is not there nobody knows what it will have when it comes back.
        let where_ = if all_there { "" } else { " in the zones that are there" };
        let _ = writeln!(text, "Chunks: nothing to repair{where_}{copied}.");
    } else {
        let _ = writeln!(text, "Chunks: all have three copies, of which some may be damaged{copied}.");
    }
    if repair.damage_waiting > 0 {
        let waiting = count(repair.damage_waiting, "copy that was found damaged waits", "copies that were found damaged wait");
        let _ = writeln!(text, "Chunks: {waiting} to be looked at again and replaced.");
    }
    if repair.copies_failed > 0 {
        let failed = count(repair.copies_failed, "copy", "copies");
        let _ = writeln!(text, "Chunks: {failed} could not be made at the time; they are tried again.");
    }
    if repair.damage_found > 0 {
        let found = count(repair.damage_found, "damaged copy", "damaged copies");
        let _ = writeln!(text, "Chunks: {found} found since the start, {} replaced.", number(repair.damage_cleared));
    }
    if repair.chunks_without_copy > 0 {
        let lost = count(repair.chunks_without_copy, "chunk has", "chunks have");
        let _ = writeln!(
            text,
            "ATTENTION: {lost} no good copy in any zone that answers. Bring back the zones that are away, or a backup of one; remove nothing."
        );
    }
    text
}

// -- keys ------------------------------------------------------------------------------------------------------------------------

fn access(access: Access) -> &'static str {
    match access {
        Access::Read => "read only",
        Access::Write => "read and write",
        Access::Administer => "all rights",
    }
}

fn grant(grant: &Grant) -> String {
    match (grant.scope, &grant.bucket) {
        (Scope::Store, _) => "everything (root)".to_owned(),
        (Scope::Tenant, _) => format!("every bucket ({})", access(grant.access)),
        (Scope::Bucket, Some(name)) => format!("{name} ({})", access(grant.access)),
        (Scope::Bucket, None) => "a bucket that is gone".to_owned(),
    }
}

fn opens(key: &Key) -> String {
    if !key.enabled {
        return "nothing (disabled)".to_owned();
    }
    let mut shown: Vec<_> = key.grants.iter().take(GRANTS_SHOWN_MAX).map(grant).collect();
    if key.grants.len() > GRANTS_SHOWN_MAX {
        shown.push(format!("and {} more", key.grants.len() - GRANTS_SHOWN_MAX));
    }
    if shown.is_empty() { "nothing".to_owned() } else { shown.join(", ") }
}

/// A sentence on what a key opens.
pub fn key_sentence(key: &Key) -> String {
    let things: Vec<_> = key.grants.iter().map(grant).collect();
    format!("The key {} opens {} in the tenant {}, and nothing else.", key.access_key_id, things.join(", "), key.tenant)
}

/// Both halves, as lines of a credentials file.
pub fn credentials(made: &CreatedKey) -> String {
    let secret = made.secret_access_key.as_ref().map(|secret| secret.0.as_str()).unwrap_or_default();
    format!("aws_access_key_id = {}\naws_secret_access_key = {secret}\n", made.key.access_key_id)
}

/// Keys, one a line.
pub fn keys(keys: &[Key]) -> String {
    if keys.is_empty() {
        return "No keys.\n".to_owned();
    }
    let mut rows = vec![row(["ACCESS KEY ID", "OPENS", "TENANT", "ACCOUNT", "MADE (UTC)", "NOTE"])];
    rows.extend(
        keys.iter().map(|key| {
            row([&key.access_key_id, &opens(key), &key.tenant, &key.account, &minute(&key.created), &key.description])
        }),
    );
    table(&rows)
}

// -- tenants, accounts, buckets --------------------------------------------------------------------------------------------------

/// Tenants, one a line.
pub fn tenants(tenants: &[Tenant]) -> String {
    if tenants.is_empty() {
        return "No tenants.\n".to_owned();
    }
    let mut rows = vec![row(["TENANT", "MADE (UTC)", "IDENTITY"])];
    rows.extend(
        tenants.iter().map(|tenant| row([&tenant.name, &minute(&tenant.created), tenant.uid.as_deref().unwrap_or_default()])),
    );
    table(&rows)
}

/// Accounts, one a line.
pub fn accounts(accounts: &[Account]) -> String {
    if accounts.is_empty() {
        return "No accounts.\n".to_owned();
    }
    let mut rows = vec![row(["ACCOUNT", "TENANT", "MADE (UTC)", "ID"])];
    rows.extend(accounts.iter().map(|account| row([&account.name, &account.tenant, &minute(&account.created), &account.id])));
    table(&rows)
}

/// Buckets, one a line.
pub fn buckets(buckets: &[Bucket]) -> String {
    if buckets.is_empty() {
        return "No buckets.\n".to_owned();
    }
    let mut rows = vec![row(["BUCKET", "OBJECTS", "SIZE", "OTHER VERSIONS", "VERSIONING", "OWNER", "MADE (UTC)"])];
    rows.extend(buckets.iter().map(|bucket| {
        let usage = &bucket.usage;
        let versioning = match bucket.versioning {
            Versioning::Unversioned => "off",
            Versioning::Enabled => "on",
            Versioning::Suspended => "suspended",
        };
        let others = match usage.noncurrent_versions {
            0 => "none".to_owned(),
            versions => format!("{}, {}", number(versions), bytes(usage.noncurrent_bytes)),
        };
        let (objects, size) = (number(usage.objects), bytes(usage.object_bytes));
        row([&bucket.name, &objects, &size, &others, versioning, &bucket.owner, &minute(&bucket.created)])
    }));
    table(&rows)
}

#[cfg(test)]
mod tests;
