//! The files that Cairn's embedded engines stand on.
//!
//! All engine I/O goes through [`Disk`] and [`File`], so that the whole store runs unchanged on a simulated disk that loses
//! unsynced writes, tears them, fills up, hangs and flips bits. What these traits promise, and nothing more, may be relied on:
//!
//! - what [`File::sync_data`] has confirmed survives power loss; any other write may be lost, kept, or kept in part, sector by
//!   sector (512 bytes), in any order, until then;
//! - a created, renamed or removed name survives power loss only after [`Disk::sync_directory`] of its directory;
//! - after a failed sync nothing is known of the writes since the last good one: the same file must not be synced again in the
//!   hope of a better answer (Linux drops the dirty mark of pages it could not write).
//!
//! The real implementation blocks inside its futures: call it from workers that [`Executor`] started, never from a task that
//! serves requests.

mod environment;
mod real;
pub mod zone_directory;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;

pub use environment::{Clock, Environment, Executor, Random, SystemClock, SystemRandom, ThreadExecutor};
pub use real::RealDisk;

/// The unit in which a write may be torn by power loss, bytes.
pub const SECTOR_BYTES: u64 = 512;

/// What a name refers to right now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metadata {
    /// Bytes in the file.
    pub length: u64,
    /// The file system (Linux: `st_dev`).
    pub device: u64,
    /// The file within its file system (Linux: `st_ino`).
    pub inode: u64,
    /// How many names the file has; 0 when it was removed while open.
    pub links: u64,
    /// Whether the name is a directory.
    pub is_directory: bool,
}

/// How [`Disk::open`] treats a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenMode {
    /// For reading; the file must exist.
    Read,
    /// For reading and writing; the file must exist.
    Write,
    /// For reading and writing; the file must not exist yet.
    CreateNew,
}

/// An exclusive lock, held until dropped or until the process dies (rule L10).
pub trait LockGuard: Send + Sync {}

/// One file system, or several: absolute paths name what is on it.
pub trait Disk: Send + Sync + 'static {
    /// Opens a file.
    fn open<'a>(&'a self, path: &'a Path, mode: OpenMode) -> BoxFuture<'a, io::Result<Arc<dyn File>>>;
    /// What the name refers to; `NotFound` when nothing.
    fn metadata<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<Metadata>>;
    /// The names in a directory, sorted.
    fn read_directory<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<Vec<String>>>;
    /// Creates a directory (mode 0700) and its parents; succeeds where it exists already. Parents are not synced.
    fn create_directory<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<()>>;
    /// Moves a name, replacing what the target names. Atomic.
    fn rename<'a>(&'a self, from: &'a Path, to: &'a Path) -> BoxFuture<'a, io::Result<()>>;
    /// Removes a file's name.
    fn remove_file<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<()>>;
    /// Removes a directory with all it holds.
    fn remove_directory_all<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<()>>;
    /// Makes the names in this directory durable.
    fn sync_directory<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<()>>;
    /// Locks the file of this name exclusively, creating it; `WouldBlock` when another process holds it (L10).
    fn lock<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<Box<dyn LockGuard>>>;
    /// Bytes that can still be written on the file system that holds `path`.
    fn free_bytes<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<u64>>;
    /// Whether this directory is the root of a mounted file system (its device differs from its parent's).
    fn is_mount_point<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<bool>> {
        Box::pin(async move {
            let own = self.metadata(path).await?;
            let parent: PathBuf = path.parent().map_or_else(|| path.join(".."), Path::to_path_buf);
            let parent = self.metadata(&parent).await?;
            Ok(own.device != parent.device || own.inode == parent.inode)
        })
    }
}

/// An open file. Positions and lengths are bytes.
pub trait File: Send + Sync {
    /// Reads up to `length` bytes at `offset`; fewer only at the file's end.
    fn read_at(&self, offset: u64, length: usize) -> BoxFuture<'_, io::Result<Bytes>>;
    /// Writes all the pieces, one after the other, from `offset` on.
    fn write_at<'a>(&'a self, offset: u64, pieces: &'a [Bytes]) -> BoxFuture<'a, io::Result<()>>;
    /// Makes written bytes durable, and the length where it changed (`fdatasync`).
    fn sync_data(&self) -> BoxFuture<'_, io::Result<()>>;
    /// Cuts or extends (with zeros) the file.
    fn set_length(&self, length: u64) -> BoxFuture<'_, io::Result<()>>;
    /// Reserves space without writing it (`fallocate`); extends the length.
    fn allocate(&self, offset: u64, length: u64) -> BoxFuture<'_, io::Result<()>>;
    /// Gives the space of a range back; it reads as zeros afterwards. The length stays.
    fn punch_hole(&self, offset: u64, length: u64) -> BoxFuture<'_, io::Result<()>>;
    /// The file as it is now; `links` is 0 when its name was removed (L6).
    fn metadata(&self) -> BoxFuture<'_, io::Result<Metadata>>;
}
