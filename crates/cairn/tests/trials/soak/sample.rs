//! What a running service takes, looked at from outside: its directories, `/proc`, its metrics, and how long the clients waited.

use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use cairn_testkit::exposition::{self, Exposed};
use cairn_testkit::s3_client::exchange;

use super::world::{SORTS, World};
use crate::service::{Home, Service, ZONES};

/// The value of a sample that there is none of.
pub const NONE: f64 = f64::NAN;

/// What is watched, in the order of a sample's numbers: a name, and a unit.
pub fn names() -> Vec<String> {
    let mut names = vec!["resident MiB".to_owned(), "descriptors".to_owned(), "threads".to_owned()];
    for zone in ZONES {
        names.extend(["segments", "log", "checkpoint", "stored"].map(|what| format!("{zone} {what} MiB")));
    }
    names.push("live MiB".to_owned());
    for sort in SORTS {
        names.extend(["p50", "p99"].map(|what| format!("{sort} {what} ms")));
    }
    names
}

/// A look at the service.
#[derive(Debug, Clone)]
pub struct Sample {
    /// When, seconds since the load began.
    pub at: f64,
    /// Numbers, as [`names`] has them.
    pub numbers: Vec<f64>,
}

/// Bytes that the files below a directory take of the disk: blocks, not lengths.
pub fn bytes_below(directory: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(directory) else { return 0 };
    let of = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => bytes_below(&entry.path()),
        Ok(metadata) => metadata.blocks() * 512,
        Err(_) => 0,
    };
    entries.flatten().map(of).sum()
}

/// What the parts of a zone's directory take: segments, logs, checkpoints.
pub fn zone_bytes(zone: &Path) -> [u64; 3] {
    ["segments", "log-", "checkpoint-"].map(|begin| {
        let Ok(entries) = std::fs::read_dir(zone) else { return 0 };
        let is_part = |entry: &std::fs::DirEntry| entry.file_name().to_string_lossy().starts_with(begin);
        entries.flatten().filter(is_part).map(|entry| bytes_below(&entry.path())).sum()
    })
}

/// What the service says of itself.
pub async fn metrics(address: SocketAddr) -> Exposed {
    let request = b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let answer = exchange(address, request, false).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    exposition::parse(&answer.text()).unwrap()
}

/// Stored bytes of a zone's chunks, by its own account.
pub fn stored(exposed: &Exposed, zone: &str) -> f64 {
    exposed.find("cairn_zone_stored_bytes", &[("zone", zone)]).first().map_or(NONE, |sample| sample.value)
}

#[allow(clippy::cast_precision_loss, reason = "2^53 bytes are many")]
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

#[allow(clippy::cast_precision_loss, reason = "2^53 microseconds are long")]
fn percentile(sorted: &[u64], percent: usize) -> f64 {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).map_or(NONE, |time| *time as f64 / 1e3)
}

impl Sample {
    /// Looks now.
    pub async fn take(at: f64, home: &Home, service: &Service, world: &World) -> Self {
        let exposed = metrics(service.metrics()).await;
        let mut numbers = vec![
            mebibytes(service.kibibytes("VmRSS") << 10),
            exposed.value("process_open_fds", &[]),
            exposed.value("process_threads", &[]),
        ];
        for (index, name) in ZONES.into_iter().enumerate() {
            numbers.extend(zone_bytes(&home.zone(index)).map(mebibytes));
            numbers.push(stored(&exposed, name) / f64::from(1 << 20));
        }
        numbers.push(mebibytes(world.live_bytes.lock().values().sum()));
        for times in world.take_times() {
            numbers.extend([percentile(&times, 50), percentile(&times, 99)]);
        }
        Self { at, numbers }
    }
}
