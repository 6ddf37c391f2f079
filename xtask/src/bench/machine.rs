//! The machine in neutral words: processors, kind of disk, and what the disk takes for the one thing that durability costs.

use std::fmt;
use std::fs::File;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;

use anyhow::Context as _;

use crate::clock;

/// How often a sync is timed.
const SYNCS: usize = 300;
/// Bytes that each sync writes out.
const BLOCK_BYTES: usize = 4096;

/// What figures were measured on.
pub struct Machine {
    processors: usize,
    disk: String,
    file_system: String,
    kernel: String,
    sync_p50_ms: f64,
    sync_p99_ms: f64,
    three_syncs_p50_ms: f64,
}

impl fmt::Display for Machine {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{} processors, {} with {}, Linux {}; writing 4 KiB to a prewritten file and `fdatasync`: median {:.2} ms, 99th percentile \
             {:.2} ms; in three files at once: median {:.2} ms",
            self.processors,
            self.disk,
            self.file_system,
            self.kernel,
            self.sync_p50_ms,
            self.sync_p99_ms,
            self.three_syncs_p50_ms
        )
    }
}

/// Looks at the machine and times its disk, with files in this directory.
///
/// # Errors
/// Where files cannot be written.
pub fn describe(directory: &Path) -> anyhow::Result<Machine> {
    let files = (0..3).map(|place| prewritten(&directory.join(format!("sync-{place}")))).collect::<anyhow::Result<Vec<_>>>()?;
    // What was written before is not to be waited for. The two kinds take turns, so that noise hits both.
    rustix::fs::sync();
    let (mut one, mut three) = (Vec::with_capacity(SYNCS), Vec::with_capacity(SYNCS));
    for place in 0..SYNCS {
        one.push(timed(|| sync(&files[0], place))?);
        three.push(timed(|| {
            std::thread::scope(|scope| {
                let syncing: Vec<_> = files.iter().map(|file| scope.spawn(move || sync(file, place))).collect();
                syncing
                    .into_iter()
                    .try_for_each(|thread| thread.join().unwrap_or_else(|_| Err(std::io::Error::other("panicked"))))
            })
        })?);
    }
    one.sort_by(f64::total_cmp);
    three.sort_by(f64::total_cmp);
    let (disk, file_system) = disk(directory)?;
    let kernel = read("/proc/sys/kernel/osrelease");
    Ok(Machine {
        processors: std::thread::available_parallelism().map_or(1, usize::from),
        disk,
        file_system,
        kernel: kernel.split('-').next().unwrap_or_default().to_owned(),
        sync_p50_ms: one[SYNCS / 2],
        sync_p99_ms: one[SYNCS * 99 / 100],
        three_syncs_p50_ms: three[SYNCS / 2],
    })
}

fn prewritten(path: &Path) -> anyhow::Result<File> {
    let file = File::create(path).with_context(|| format!("{} cannot be written", path.display()))?;
    file.write_all_at(&vec![1; BLOCK_BYTES * SYNCS], 0)?;
    file.sync_all()?;
    Ok(file)
}

fn sync(file: &File, place: usize) -> std::io::Result<()> {
    file.write_all_at(&[2; BLOCK_BYTES], (place * BLOCK_BYTES) as u64)?;
    file.sync_data()
}

/// How long it takes, ms.
fn timed(sync: impl FnOnce() -> std::io::Result<()>) -> std::io::Result<f64> {
    let started = clock::now();
    sync()?;
    Ok(started.elapsed().as_secs_f64() * 1e3)
}

/// The kind of the disk that holds a directory, and its file system.
fn disk(directory: &Path) -> anyhow::Result<(String, String)> {
    let device = std::fs::metadata(directory)?.dev();
    let numbers = format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device));
    let mounts = read("/proc/self/mountinfo");
    let file_system = mounts
        .lines()
        .filter(|line| line.split(' ').nth(2) == Some(&numbers))
        .find_map(|line| line.split_once(" - ")?.1.split(' ').next().map(str::to_owned))
        .unwrap_or_else(|| "an unknown file system".to_owned());
    let block = format!("/sys/dev/block/{numbers}");
    // A partition's disk is the directory above it.
    let of_disk = |name: &str| {
        [format!("{block}/{name}"), format!("{block}/../{name}")].iter().map(|path| read(path)).find(|text| !text.is_empty())
    };
    let turns = of_disk("queue/rotational").as_deref() == Some("1");
    let name = std::fs::read_link(&block).ok().and_then(|target| Some(target.file_name()?.to_string_lossy().into_owned()));
    let name = name.unwrap_or_default();
    let kind = match (name.as_str(), turns) {
        (name, _) if name.starts_with("vd") => "one virtual disk (virtio)",
        (name, _) if name.starts_with("nvme") => "one NVMe disk",
        (_, true) => "one disk that turns",
        (_, false) => "one solid-state disk",
    };
    Ok((kind.to_owned(), file_system))
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}
