//! The machine's own file systems.

mod read_buffers;

use std::fs::{self, OpenOptions};
use std::io::{self, IoSlice};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use futures::future::BoxFuture;
use rustix::fs::{FallocateFlags, FlockOperation};

use crate::{Disk, File, LockGuard, Metadata, OpenMode};
use read_buffers::ReadBuffers;

/// One for the process: the zones' disks read in turns.
static READ_BUFFERS: LazyLock<ReadBuffers> = LazyLock::new(ReadBuffers::default);

/// [`Disk`] on the machine's file systems. Its futures block.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk;

impl RealDisk {
    /// A handle; it holds nothing.
    #[must_use]
    pub fn new() -> Self {
        Self
    }
}

struct RealFile {
    file: fs::File,
}

struct RealLock {
    // The kernel drops the lock with the last descriptor, so also when the process is killed (L10).
    _descriptor: OwnedFd,
}

impl LockGuard for RealLock {}

fn convert(metadata: &fs::Metadata) -> Metadata {
    Metadata {
        length: metadata.len(),
        device: metadata.dev(),
        inode: metadata.ino(),
        links: metadata.nlink(),
        is_directory: metadata.is_dir(),
    }
}

impl Disk for RealDisk {
    fn open<'a>(&'a self, path: &'a Path, mode: OpenMode) -> BoxFuture<'a, io::Result<Arc<dyn File>>> {
        Box::pin(async move {
            let mut options = OpenOptions::new();
            options.read(true).mode(0o600);
            match mode {
                OpenMode::Read => {}
                OpenMode::Write => {
                    options.write(true);
                }
                OpenMode::CreateNew => {
                    options.write(true).create_new(true);
                }
            }
            Ok(Arc::new(RealFile { file: options.open(path)? }) as Arc<dyn File>)
        })
    }

    fn metadata<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<Metadata>> {
        Box::pin(async move { Ok(convert(&fs::metadata(path)?)) })
    }

    fn read_directory<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<Vec<String>>> {
        Box::pin(async move {
            let mut names = Vec::new();
            for entry in fs::read_dir(path)? {
                // A name that is not UTF-8 is not one of ours.
                if let Ok(name) = entry?.file_name().into_string() {
                    names.push(name);
                }
            }
            names.sort();
            Ok(names)
        })
    }

    fn create_directory<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move { fs::DirBuilder::new().recursive(true).mode(0o700).create(path) })
    }

    fn rename<'a>(&'a self, from: &'a Path, to: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move { fs::rename(from, to) })
    }

    fn remove_file<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move { fs::remove_file(path) })
    }

    fn remove_directory_all<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move { fs::remove_dir_all(path) })
    }

    fn sync_directory<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move { fs::File::open(path)?.sync_all() })
    }

    fn lock<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<Box<dyn LockGuard>>> {
        Box::pin(async move {
            let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
            let descriptor = OwnedFd::from(file);
            rustix::fs::flock(&descriptor, FlockOperation::NonBlockingLockExclusive)?;
            Ok(Box::new(RealLock { _descriptor: descriptor }) as Box<dyn LockGuard>)
        })
    }

    fn free_bytes<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<u64>> {
        Box::pin(async move {
            let statistics = rustix::fs::statvfs(path)?;
            Ok(statistics.f_bavail.saturating_mul(statistics.f_frsize))
        })
    }
}

impl File for RealFile {
    fn read_at(&self, offset: u64, length: usize) -> BoxFuture<'_, io::Result<Bytes>> {
        Box::pin(async move {
            READ_BUFFERS.read(length, |buffer| {
                let mut filled = 0;
                while filled < buffer.len() {
                    match self.file.read_at(&mut buffer[filled..], offset + filled as u64) {
                        Ok(0) => break,
                        Ok(count) => filled += count,
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                        Err(error) => return Err(error),
                    }
                }
                Ok(filled)
            })
        })
    }

    fn write_at<'a>(&'a self, offset: u64, pieces: &'a [Bytes]) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move {
            // The kernel takes at most 1,024 pieces a call (UIO_MAXIOV).
            const PIECES_MAX: usize = 1024;
            let mut offset = offset;
            for group in pieces.chunks(PIECES_MAX) {
                let mut slices: Vec<IoSlice<'_>> = group.iter().map(|piece| IoSlice::new(piece)).collect();
                let mut remaining = slices.as_mut_slice();
                IoSlice::advance_slices(&mut remaining, 0);
                while !remaining.is_empty() {
                    match rustix::io::pwritev(&self.file, remaining, offset) {
                        Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                        Ok(count) => {
                            offset += count as u64;
                            IoSlice::advance_slices(&mut remaining, count);
                        }
                        Err(rustix::io::Errno::INTR) => {}
                        Err(error) => return Err(error.into()),
                    }
                }
            }
            Ok(())
        })
    }

    fn sync_data(&self) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(async move { self.file.sync_data() })
    }

    fn set_length(&self, length: u64) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(async move { self.file.set_len(length) })
    }

    fn allocate(&self, offset: u64, length: u64) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(async move { Ok(rustix::fs::fallocate(&self.file, FallocateFlags::empty(), offset, length)?) })
    }

    fn punch_hole(&self, offset: u64, length: u64) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(async move {
            let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            Ok(rustix::fs::fallocate(&self.file, flags, offset, length)?)
        })
    }

    fn metadata(&self) -> BoxFuture<'_, io::Result<Metadata>> {
        Box::pin(async move { Ok(convert(&self.file.metadata()?)) })
    }
}
