//! What the doctor looks at, in order.

use std::path::{Path, PathBuf};
use std::time::Duration;

use cairn_catalog::embedded::log::replicated::ZonePlace;
use cairn_disk::Environment;
use cairn_disk::zone_directory::{self, IDENTITY_FORMAT, Inspection};
use cairn_types::ids::ZONE_COUNT;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;

use super::{Finding, certificate, disk};
use crate::admin::api::{FailureCode, StoreStatus, ZonePhase};
use crate::admin::client::Client;
use crate::cli::ServeOptions;
use crate::data_directory::zone_places;
use crate::tls::{Certificates, Files, Purpose};

/// Less is not enough for a zone to begin with, bytes.
const FREE_BYTES_MIN: u64 = 100 << 20;
/// Less is soon not enough, bytes.
const FREE_BYTES_LITTLE: u64 = 1 << 30;
/// A disk that takes longer to make 4 KiB durable holds up every write.
const SYNC_SLOW: Duration = Duration::from_millis(20);
/// Descriptors that a busy service may need: its connections, and its files.
const FILES_MIN: u64 = 16_384;
/// How long before its end a certificate is worth a warning, seconds.
const RENEW_BEFORE_SECONDS: u64 = 14 * 86_400;
/// No clock that is right says an earlier moment, seconds since 1970: 2026-01-01.
const NOW_MIN_SECONDS: u64 = 1_767_225_600;
/// How far in the future a file may be that was written with this clock, seconds.
const FUTURE_SECONDS_MAX: u64 = 300;

/// Everything.
pub async fn all(options: &ServeOptions) -> Vec<Finding> {
    let environment = Environment::real();
    let mut findings = Vec::new();
    let data = std::path::absolute(&options.data).unwrap_or_else(|_| options.data.clone());
    match zone_places(&data, options) {
        Ok(places) => {
            findings.push(same_disk(&environment, &places).await);
            findings.extend(zones(&environment, &places).await);
            for place in &places {
                findings.push(space(&environment, place).await);
                findings.push(disk_speed(place));
            }
            findings.push(clock(&environment, &places));
        }
        Err(error) => findings.push(Finding::problem(
            "zones",
            error.0,
            "`cairn serve` does not start with this configuration.",
            "Give --zone NAME=DIR three times with names and directories that differ, or never.",
        )),
    }
    findings.push(open_files());
    let now = environment.clock.wall().as_secs();
    for (check, files) in [
        ("certificate", (&options.tls_cert, &options.tls_key)),
        ("adminCertificate", (&options.admin_api.tls_cert, &options.admin_api.tls_key)),
    ] {
        if let (Some(chain), Some(key)) = files {
            findings.push(certificate_file(check, chain, key, now));
        }
    }
    findings.extend(service(&data, options).await);
    findings
}

/// The path, or the nearest directory on the way to it that there is.
fn existing(path: &Path) -> PathBuf {
    path.ancestors().find(|path| path.is_dir()).unwrap_or(path).to_owned()
}

async fn same_disk(environment: &Environment, places: &[ZonePlace; ZONE_COUNT]) -> Finding {
    let mut devices = Vec::new();
    for place in places {
        if let Ok(metadata) = environment.disk.metadata(&existing(&place.path)).await {
            devices.push((metadata.device, place.name.to_string()));
        }
    }
    devices.sort();
    let shared: Vec<&str> = devices
        .iter()
        .filter(|(device, _)| devices.iter().filter(|(other, _)| other == device).count() > 1)
        .map(|(_, name)| name.as_str())
        .collect();
    if shared.is_empty() {
        return Finding::good("disks", "Each zone is on a file system of its own.");
    }
    Finding::warning(
        "disks",
        format!("The zones {} are on one file system.", shared.join(", ")),
        "Whoever loses that disk loses all of them; three copies on one disk protect against damage, not against its loss.",
        "For data that matters give each zone a disk of its own: --zone NAME=DIR three times.",
    )
}

async fn zones(environment: &Environment, places: &[ZonePlace; ZONE_COUNT]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut found = Vec::new();
    for place in places {
        found.push((place, zone_directory::inspect(&*environment.disk, &place.path).await));
    }
    let has_identity = |inspection: &std::io::Result<Inspection>| matches!(inspection, Ok(Inspection::Identity(_)));
    let is_new = !found.iter().any(|(_, inspection)| has_identity(inspection));
    let mut stores = Vec::new();
    for (place, inspection) in found {
        let (name, path) = (&place.name, place.path.display());
        findings.push(match inspection {
            Ok(Inspection::Identity(identity)) => {
                if !stores.contains(&identity.store) {
                    stores.push(identity.store);
                }
                if identity.zone != *name {
                    Finding::problem(
                        "zone",
                        format!("{path} is the zone {} and not {name}.", identity.zone),
                        "Directories were mixed up; a zone's directory is never used for another.",
                        "Give each zone its own directory again; copy nothing over anything.",
                    )
                } else if identity.format < IDENTITY_FORMAT {
                    Finding::warning(
                        "zone",
                        format!("{name} ({path}) has format {}; this version writes {IDENTITY_FORMAT}.", identity.format),
                        "It was written by an earlier version and is read as it is.",
                        "Nothing now. Keep a backup before you use a new version for the first time.",
                    )
                } else {
                    let (store, life, format) = (identity.store, identity.incarnation.0, identity.format);
                    Finding::good(
                        "zone",
                        format!("{name} ({path}) is of the store {store}, incarnation {life}, format {format}."),
                    )
                }
            }
            Ok(Inspection::Empty { .. }) if is_new => {
                Finding::good("zone", format!("{name} ({path}) is empty: the first start makes it."))
            }
            Ok(Inspection::Empty { .. }) => Finding::warning(
                "zone",
                format!("{name} ({path}) is empty, and other zones are not."),
                "Its disk is not mounted, or it was lost; then it is rebuilt from the other two.",
                "Mount its disk if it has one. Else leave it empty, start, and wait for `cairn admin zone status`.",
            ),
            Ok(Inspection::NoIdentity(reason)) => Finding::warning(
                "zone",
                format!("{name} ({path}) has lost its memory: {reason}."),
                "It is rebuilt from the other two; what it holds is set aside (L7).",
                "Look at its disk; do nothing to the other two.",
            ),
            Ok(Inspection::Foreign(reason)) => Finding::problem(
                "zone",
                format!("{name} ({path}) is not to be touched: {reason}."),
                "The zone is left alone, and the store runs on two (L9).",
                "Give the zone a directory of its own, or use the version of Cairn that wrote this one.",
            ),
            Err(error) => Finding::problem(
                "zone",
                format!("{name} ({path}) cannot be looked at: {error}."),
                "The user that looks may not, or the disk fails.",
                "Run the doctor as the user that serves; look at the disk and at what the kernel says of it.",
            ),
        });
    }
    if stores.len() > 1 {
        findings.push(Finding::problem(
            "stores",
            format!("The zones are of {} different stores.", stores.len()),
            "Directories of different stores were mixed up; those of the smaller number are left alone.",
            "Find the three directories of one store, and give those.",
        ));
    }
    findings
}

async fn space(environment: &Environment, place: &ZonePlace) -> Finding {
    let name = &place.name;
    match environment.disk.free_bytes(&existing(&place.path)).await {
        Ok(free) => {
            let found = format!("{name} has {} MiB free.", free >> 20);
            if free < FREE_BYTES_MIN {
                let means = "The zone takes no writes, or cannot be made; with two such zones nothing can be written.";
                Finding::problem("space", found, means, "Free some space, or move the zone to a larger disk.")
            } else if free < FREE_BYTES_LITTLE {
                Finding::warning("space", found, "It is soon full, and then takes no writes.", "Free some space on its disk.")
            } else {
                Finding::good("space", found)
            }
        }
        Err(error) => Finding::problem(
            "space",
            format!("{name}: how much space is left cannot be learnt: {error}."),
            "The disk does not answer as it should.",
            "Look at the disk and at what the kernel says of it.",
        ),
    }
}

fn disk_speed(place: &ZonePlace) -> Finding {
    let (name, directory) = (&place.name, existing(&place.path));
    match disk::try_out(&directory) {
        Ok(tried) => {
            let (median, longest) = (tried.sync_median.as_micros(), tried.sync_longest.as_micros());
            let found = format!(
                "{name}: 4 KiB written, made durable and read back; durable after {}.{:02} ms (median), {} ms at the longest.",
                median / 1000,
                median % 1000 / 10,
                longest / 1000
            );
            if tried.sync_median > SYNC_SLOW {
                let means = "Every write waits for two zones' disks to make it durable.";
                Finding::warning("disk", found, means, "Use a faster disk, or find out what else keeps it busy.")
            } else {
                Finding::good("disk", found)
            }
        }
        Err(error) if matches!(error.raw_os_error(), Some(95 | 21 | 22)) => Finding::warning(
            "disk",
            format!("{name}: the disk could not be tried without leaving a trace ({error})."),
            "Its file system has no files without names; this alone does no harm.",
            "Prefer ext4 or XFS, on which Cairn is tested.",
        ),
        Err(error) => Finding::problem(
            "disk",
            format!("{name}: {} could not be written and read: {error}.", directory.display()),
            "The zone cannot be used by this user now.",
            "Run the doctor as the user that serves; look at the disk and at what the kernel says of it.",
        ),
    }
}

fn clock(environment: &Environment, places: &[ZonePlace; ZONE_COUNT]) -> Finding {
    let now = environment.clock.wall().as_secs();
    let written = places.iter().filter_map(|place| {
        let modified = std::fs::metadata(place.path.join("identity")).and_then(|metadata| metadata.modified()).ok()?;
        modified.duration_since(std::time::UNIX_EPOCH).ok().map(|since| since.as_secs())
    });
    let newest = written.max().unwrap_or(0);
    let shown = String::from_utf8_lossy(&cairn_s3::text::date::iso8601(now.saturating_mul(1000))).into_owned();
    if now < NOW_MIN_SECONDS || newest > now.saturating_add(FUTURE_SECONDS_MAX) {
        return Finding::problem(
            "clock",
            format!("The clock says {shown}, and a file of a zone was written later than that."),
            "Clients whose time is more than 15 minutes from the server's are refused (RequestTimeTooSkewed).",
            "Set the clock, and keep it right with NTP.",
        );
    }
    Finding::good("clock", format!("The clock says {shown}."))
}

fn open_files() -> Finding {
    // The service raises its own limit as far as it may.
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
    match limit {
        Some(limit) if limit < FILES_MIN => Finding::warning(
            "openFiles",
            format!("A process of this user may have {limit} files open."),
            "A service with many connections runs out of them, and then takes no more.",
            "Raise the limit to 65536: ulimit -n, or LimitNOFILE= in systemd's unit.",
        ),
        Some(limit) => Finding::good("openFiles", format!("A process of this user may have {limit} files open.")),
        None => Finding::good("openFiles", "A process of this user may have any number of files open."),
    }
}

fn certificate_file(check: &'static str, chain: &Path, key: &Path, now: u64) -> Finding {
    let file = chain.display();
    let files = Files { certificate: chain.to_owned(), key: key.to_owned(), client_authority: None };
    if let Err(words) = Certificates::load(Purpose::S3 { http2: true }, files) {
        let means = "`cairn serve` does not start with them.";
        return Finding::problem(
            check,
            format!("The TLS file {words}."),
            means,
            "Give a certificate chain and its private key, both PEM.",
        );
    }
    let first = CertificateDer::pem_file_iter(chain).ok().and_then(|mut chain| chain.next()?.ok());
    let Some((from, to)) = first.and_then(|first| certificate::validity(&first)) else {
        let found = format!("{file}: how long the certificate is good cannot be read.");
        return Finding::warning(check, found, "Clients may refuse it.", "Look at it with openssl x509 -text.");
    };
    let day = |seconds: u64| {
        let moment = cairn_s3::text::date::iso8601(seconds.saturating_mul(1000));
        String::from_utf8_lossy(moment.get(..10).unwrap_or_default()).into_owned()
    };
    let found = format!("{file} is good from {} to {}.", day(from), day(to));
    let renew = "Renew it: a service that runs reads the new files by itself.";
    if now < from || now > to {
        Finding::problem(check, found, "It is not good now: every client refuses the connection.", renew)
    } else if to - now < RENEW_BEFORE_SECONDS {
        Finding::warning(check, found, "It ends within two weeks; then every client refuses the connection.", renew)
    } else {
        Finding::good(check, found)
    }
}

/// What the running service says of itself; whether one could be started, where none runs.
async fn service(data: &Path, options: &ServeOptions) -> Vec<Finding> {
    let status: StoreStatus = match Client::of_data(data).get("/v1/zones").await {
        Ok(status) => status,
        Err(failure) if failure.code == FailureCode::Unavailable && !data.join("admin.sock").exists() => {
            let listen = options.listen;
            return vec![match std::net::TcpListener::bind(listen) {
                Ok(_) => {
                    Finding::good("service", format!("No service runs on {}, and {listen} is free for one.", data.display()))
                }
                Err(error) => Finding::problem(
                    "service",
                    format!("No service runs on {}, and none can listen on {listen}: {error}.", data.display()),
                    "`cairn serve` does not start with this configuration.",
                    "Stop what listens there, or give another address with --listen.",
                ),
            }];
        }
        Err(failure) => {
            let means = "It is starting, hangs, or belongs to another user.";
            let found = format!("The service does not say how it is: {}", failure.message);
            return vec![Finding::problem("service", found, means, "Look at its log; run the doctor as the user that serves.")];
        }
    };
    let mut findings = vec![match &status.reason {
        None => Finding::good("service", "The service runs, and takes writes."),
        Some(reason) => Finding::problem(
            "service",
            format!("The service takes no writes: {reason}."),
            "Clients are told to come back (503).",
            "See `cairn admin zone status`, which says what comes next for each zone.",
        ),
    }];
    for zone in &status.zones {
        let is_well = zone.phase == ZonePhase::Voting && zone.chunks.is_some() && zone.takes_writes && zone.takes_reads;
        findings.push(if is_well {
            Finding::good("zoneState", format!("{} votes, and takes reads and writes.", zone.name))
        } else {
            Finding::warning(
                "zoneState",
                format!("{} is not as it should be.", zone.name),
                "The other two hold the only copies of what is written now.",
                "See `cairn admin zone status`, which says what comes next for each zone.",
            )
        });
    }
    let repair = &status.repair;
    if repair.chunks_without_copy > 0 {
        findings.push(Finding::problem(
            "repair",
            format!("{} chunks have no good copy in any zone that answers.", repair.chunks_without_copy),
            "Reads of the objects that they are of fail.",
            "Bring back the zones that are away, or a backup of one; remove nothing.",
        ));
    } else if !repair.known || repair.rebuilding || repair.incomplete_blobs > 0 || repair.damage_waiting > 0 {
        findings.push(Finding::warning(
            "repair",
            "Some chunks have less than three good copies now, or it is not known.",
            "Repair is at work; until it ends, losing a zone may lose data.",
            "Wait; do nothing to any zone before `cairn admin zone status` says that nothing is to repair.",
        ));
    } else {
        findings.push(Finding::good("repair", "Nothing is to repair."));
    }
    findings
}
