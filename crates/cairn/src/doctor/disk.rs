//! Tries a disk: writes, makes durable, reads back. What is written has no name, so that nothing else ever sees it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use tokio::time::Instant;

/// How often it is tried.
const ROUNDS: usize = 21;
/// The unit that is written, bytes.
const BLOCK_BYTES: usize = 4096;

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tried {
    /// The median time that `fdatasync` took.
    pub sync_median: Duration,
    /// The longest.
    pub sync_longest: Duration,
}

/// Tries the disk that this directory is on. `Unsupported` where its file system has no files without names.
pub fn try_out(directory: &Path) -> io::Result<Tried> {
    let file: File =
        rustix::fs::open(directory, OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC, Mode::RUSR | Mode::WUSR)?.into();
    let mut times = Vec::with_capacity(ROUNDS);
    for round in 0..ROUNDS {
        let block = [round as u8 ^ 0x5a; BLOCK_BYTES];
        let offset = (round * BLOCK_BYTES) as u64;
        file.write_all_at(&block, offset)?;
        let before = Instant::now();
        file.sync_data()?;
        times.push(before.elapsed());
        let mut read = [0; BLOCK_BYTES];
        file.read_exact_at(&mut read, offset)?;
        if read != block {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "what was read is not what was written"));
        }
    }
    times.sort_unstable();
    Ok(Tried { sync_median: times[ROUNDS / 2], sync_longest: times[ROUNDS - 1] })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_was_tried_is_as_it_was() {
        let directory = tempfile::tempdir().unwrap();
        let tried = try_out(directory.path()).unwrap();
        assert!(tried.sync_median <= tried.sync_longest);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
        assert_eq!(try_out(&directory.path().join("missing")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
