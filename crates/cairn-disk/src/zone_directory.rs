//! A zone's directory: whose it is, which life it is in, and whether it is still there.
//!
//! The file `identity` names the store, the zone and its incarnation, says whether the zone may vote, and keeps its promise of an
//! epoch (L2). It is replaced atomically (written beside, synced, renamed, directory synced), so it is always old or new, never half.
//! [`ZoneDirectory::check_present`] is rule L6: after a sync it tells whether the directory that we wrote to is still the one that
//! a restart would find.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use cairn_types::ids::ZONE_COUNT;
use cairn_types::{Incarnation, StoreId, ZoneName};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::{Disk, File, LockGuard, OpenMode};

/// The version of the identity file that this build writes.
pub const IDENTITY_FORMAT: u32 = 1;
/// An identity is short; a longer file is not one of ours.
const IDENTITY_LENGTH_MAX: usize = 64 * 1024;
/// What a zone directory of ours may hold besides its identity; anything else means the directory is somebody else's.
const OWN_NAMES: [&str; 3] = ["lock", "segments", "identity.new"];
const OWN_PREFIXES: [&str; 4] = ["log-", "checkpoint-", "key-share-", RETIRED];
/// How the names of directories begin that hold what a zone held in an earlier life.
const RETIRED: &str = "retired-";

/// Whether the zone may vote and serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ZoneState {
    /// The store is being made; nothing has been acknowledged (L8).
    Forming,
    /// A full member.
    Formed,
    /// Its catalog is being rebuilt from the other zones: no vote, no reads (L7).
    Rebuilding,
}

/// What the file `identity` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// [`IDENTITY_FORMAT`].
    pub format: u32,
    /// The store that the zone belongs to.
    pub store: StoreId,
    /// The zone's name.
    pub zone: ZoneName,
    /// The store's zones in order.
    pub zones: [ZoneName; ZONE_COUNT],
    /// Which of the zones were mount points when this was written (L9).
    pub mount_points: [bool; ZONE_COUNT],
    /// The zone's life.
    pub incarnation: Incarnation,
    /// Whether the zone may vote and serve.
    pub state: ZoneState,
    /// The highest epoch that this zone has promised (L2).
    pub promise: u64,
    /// Which of its catalogs is in force: the directories `log-N` and `checkpoint-N`. A copy is made beside it under the next number and
    /// takes its place with this file, at once or not at all.
    pub catalog: u64,
}

/// What is found at a zone's path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Inspection {
    /// No directory, or one with nothing in it: it has no memory.
    Empty {
        /// Whether a directory of this name exists.
        exists: bool,
    },
    /// A zone of some store.
    Identity(Identity),
    /// Our files without a readable identity: the zone has lost its memory (L7).
    NoIdentity(String),
    /// Something that is not ours. It is left alone.
    Foreign(String),
}

/// Keeps other processes out of a zone's directory for as long as it lives (L10), also between two openings of the directory.
pub struct ZoneLock {
    /// Of the lock's file: a directory that was emptied has another one, or none.
    inode: u64,
    _guard: Box<dyn LockGuard>,
}

impl ZoneLock {
    /// Locks the directory; makes the lock's file where there is none. `WouldBlock` when another process holds it.
    pub async fn take(disk: &dyn Disk, path: &Path) -> io::Result<Arc<Self>> {
        let file = path.join("lock");
        let guard = disk.lock(&file).await.map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => io::Error::new(error.kind(), "another process uses it"),
            _ => error,
        })?;
        let inode = disk.metadata(&file).await?.inode;
        Ok(Arc::new(Self { inode, _guard: guard }))
    }

    /// [`ZoneLock::take`] where the lock's file exists; `None` where it does not, and then nobody holds it.
    pub async fn take_existing(disk: &dyn Disk, path: &Path) -> io::Result<Option<Arc<Self>>> {
        match disk.metadata(&path.join("lock")).await {
            Ok(_) => Self::take(disk, path).await.map(Some),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether the lock is on the directory that is at this path now.
    pub async fn is_on(&self, disk: &dyn Disk, path: &Path) -> bool {
        disk.metadata(&path.join("lock")).await.is_ok_and(|metadata| metadata.inode == self.inode)
    }
}

/// A zone's directory in use by this process.
pub struct ZoneDirectory {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    identity: Mutex<Identity>,
    /// Of the identity file: tells whether the path still leads to what we wrote.
    inode: AtomicU64,
    /// Of the identity file that is about to take the other's place; equal to `inode` otherwise.
    inode_next: AtomicU64,
    device: AtomicU64,
    lock: Arc<ZoneLock>,
}

/// Why a file is no identity that this build can read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// Nothing is known of the zone.
    #[error("{0}")]
    Unreadable(String),
    /// The file is whole; a newer build wrote it, and knows the zone.
    #[error("its format is {0}, this build reads {IDENTITY_FORMAT}: a newer version of Cairn wrote it")]
    Newer(u64),
}

/// What every version of the identity has.
#[derive(Deserialize)]
struct Versioned {
    format: u64,
}

impl Identity {
    fn encode(&self) -> io::Result<Bytes> {
        let mut text = serde_json::to_vec_pretty(self).map_err(io::Error::other)?;
        let checksum = crc32c::crc32c(&text);
        text.extend_from_slice(format!("\ncrc32c {checksum:08x}\n").as_bytes());
        Ok(Bytes::from(text))
    }

    /// Reads an identity; the error says in words what is wrong with it.
    pub fn decode(bytes: &[u8]) -> Result<Self, IdentityError> {
        let unreadable = |words: &str| IdentityError::Unreadable(words.to_owned());
        let text = std::str::from_utf8(bytes).map_err(|_| unreadable("it is not text"))?;
        let (body, checksum) = text.rsplit_once("\ncrc32c ").ok_or_else(|| unreadable("its checksum is missing"))?;
        let expected = u32::from_str_radix(checksum.trim_end(), 16).map_err(|_| unreadable("its checksum is not a number"))?;
        if crc32c::crc32c(body.as_bytes()) != expected {
            return Err(unreadable("its checksum does not match"));
        }
        let json = |error: serde_json::Error| IdentityError::Unreadable(error.to_string());
        let Versioned { format } = serde_json::from_str(body).map_err(json)?;
        if format > u64::from(IDENTITY_FORMAT) {
            return Err(IdentityError::Newer(format));
        }
        serde_json::from_str(body).map_err(json)
    }
}

fn is_own(name: &str) -> bool {
    OWN_NAMES.contains(&name) || OWN_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// Looks at a zone's path and changes nothing.
pub async fn inspect(disk: &dyn Disk, path: &Path) -> io::Result<Inspection> {
    let names = match disk.read_directory(path).await {
        Ok(names) => names,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Inspection::Empty { exists: false }),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            return Ok(Inspection::Foreign("it is a file, not a directory".to_owned()));
        }
        Err(error) => return Err(error),
    };
    if names.iter().any(|name| name == "identity") {
        let file = disk.open(&path.join("identity"), OpenMode::Read).await?;
        let bytes = file.read_at(0, IDENTITY_LENGTH_MAX).await?;
        return Ok(match Identity::decode(&bytes) {
            Ok(identity) => Inspection::Identity(identity),
            // A build that cannot read what a newer one wrote must not take it for nothing.
            Err(error @ IdentityError::Newer(_)) => Inspection::Foreign(format!("the file identity cannot be read: {error}")),
            Err(error) => Inspection::NoIdentity(format!("the file identity cannot be read: {error}")),
        });
    }
    // A file system's own directory, and a lock taken before forming, are not memory.
    let mut meaningful = names.iter().filter(|name| !matches!(name.as_str(), "lost+found" | "lock" | "identity.new")).peekable();
    if meaningful.peek().is_none() {
        return Ok(Inspection::Empty { exists: true });
    }
    if let Some(foreign) = meaningful.find(|name| !is_own(name)) {
        return Ok(Inspection::Foreign(format!("it holds {foreign:?}, which is not a zone's")));
    }
    Ok(Inspection::NoIdentity("the file identity is missing".to_owned()))
}

async fn write_identity(disk: &dyn Disk, path: &Path, identity: &Identity, inode_next: Option<&AtomicU64>) -> io::Result<u64> {
    let new = path.join("identity.new");
    match disk.remove_file(&new).await {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = disk.open(&new, OpenMode::CreateNew).await?;
    file.write_at(0, &[identity.encode()?]).await?;
    file.sync_data().await?;
    let inode = file.metadata().await?.inode;
    if let Some(inode_next) = inode_next {
        inode_next.store(inode, Ordering::Release);
    }
    disk.rename(&new, &path.join("identity")).await?;
    disk.sync_directory(path).await?;
    Ok(inode)
}

/// The lock given, where it is on this directory; else a new one.
async fn lock_for(disk: &dyn Disk, path: &Path, held: Option<Arc<ZoneLock>>) -> io::Result<Arc<ZoneLock>> {
    if let Some(lock) = held {
        if lock.is_on(disk, path).await {
            return Ok(lock);
        }
        drop(lock);
    }
    ZoneLock::take(disk, path).await
}

impl ZoneDirectory {
    /// Makes a zone in an empty or emptied directory, or writes another identity over the one that is there.
    pub async fn create(disk: Arc<dyn Disk>, path: &Path, identity: Identity) -> io::Result<Self> {
        Self::create_with(disk, path, identity, None).await
    }

    /// [`ZoneDirectory::create`] under a lock that this process may hold already.
    pub async fn create_with(
        disk: Arc<dyn Disk>,
        path: &Path,
        identity: Identity,
        lock: Option<Arc<ZoneLock>>,
    ) -> io::Result<Self> {
        disk.create_directory(path).await?;
        let ancestors = path.ancestors().skip(1).filter(|ancestor| !ancestor.as_os_str().is_empty());
        for (height, ancestor) in ancestors.enumerate() {
            match disk.sync_directory(ancestor).await {
                // Further up may be what this user cannot open, and did not make.
                Err(error) if height == 0 || error.kind() != io::ErrorKind::PermissionDenied => return Err(error),
                _ => {}
            }
        }
        let lock = lock_for(&*disk, path, lock).await?;
        let inode = write_identity(&*disk, path, &identity, None).await?;
        Self::new(disk, path, identity, inode, lock).await
    }

    /// Takes a zone whose identity was inspected; fails when it has changed since.
    pub async fn open(disk: Arc<dyn Disk>, path: &Path, expected: &Identity) -> io::Result<Self> {
        Self::open_with(disk, path, expected, None).await
    }

    /// [`ZoneDirectory::open`] under a lock that this process may hold already.
    pub async fn open_with(
        disk: Arc<dyn Disk>,
        path: &Path,
        expected: &Identity,
        lock: Option<Arc<ZoneLock>>,
    ) -> io::Result<Self> {
        let lock = lock_for(&*disk, path, lock).await?;
        // A name that is found need not be durable: a process may have ended, or a sync failed, right after it was made.
        disk.sync_directory(path).await?;
        if let Some(parent) = path.parent() {
            disk.sync_directory(parent).await?;
        }
        let inode = disk.metadata(&path.join("identity")).await?.inode;
        match inspect(&*disk, path).await? {
            Inspection::Identity(identity) if identity == *expected => Self::new(disk, path, identity, inode, lock).await,
            other => Err(io::Error::other(format!("the zone's identity changed while it was opened: {other:?}"))),
        }
    }

    async fn new(disk: Arc<dyn Disk>, path: &Path, identity: Identity, inode: u64, lock: Arc<ZoneLock>) -> io::Result<Self> {
        let device = disk.metadata(&path.join("identity")).await?.device;
        Ok(Self {
            disk,
            path: path.to_path_buf(),
            identity: Mutex::new(identity),
            inode: AtomicU64::new(inode),
            inode_next: AtomicU64::new(inode),
            device: AtomicU64::new(device),
            lock,
        })
    }

    /// What keeps other processes out.
    pub fn lock(&self) -> &Arc<ZoneLock> {
        &self.lock
    }

    /// Where the zone is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The disk it is on.
    pub fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    /// What its identity says now.
    pub fn identity(&self) -> Identity {
        self.identity.lock().clone()
    }

    /// Where the log of the catalog in force is.
    pub fn log_path(&self) -> PathBuf {
        self.path.join(format!("log-{}", self.identity.lock().catalog))
    }

    /// Where the key-value store of the catalog in force is.
    pub fn checkpoint_path(&self) -> PathBuf {
        self.path.join(format!("checkpoint-{}", self.identity.lock().catalog))
    }

    /// Removes catalogs that are not in force: those that a copy has replaced, and copies that were not finished.
    pub async fn remove_other_catalogs(&self) -> io::Result<()> {
        self.check_present().await?;
        let kept = [self.log_path(), self.checkpoint_path()];
        for name in self.disk.read_directory(&self.path).await? {
            let path = self.path.join(&name);
            if (name.starts_with("log-") || name.starts_with("checkpoint-")) && !kept.contains(&path) {
                self.disk.remove_directory_all(&path).await?;
            }
        }
        self.disk.sync_directory(&self.path).await
    }

    /// Changes the identity, durably on return. One caller at a time.
    pub async fn update(&self, change: impl FnOnce(&mut Identity)) -> io::Result<()> {
        self.check_present().await?;
        let mut identity = self.identity();
        change(&mut identity);
        let inode = write_identity(&*self.disk, &self.path, &identity, Some(&self.inode_next)).await?;
        self.inode.store(inode, Ordering::Release);
        *self.identity.lock() = identity;
        Ok(())
    }

    /// Rule L6: whether the path still leads to the identity file that this process wrote or opened. To be asked after a sync and
    /// before its answer counts.
    pub async fn check_present(&self) -> io::Result<()> {
        let metadata = self.disk.metadata(&self.path.join("identity")).await.map_err(|error| {
            io::Error::new(error.kind(), format!("the zone's directory {} is gone: {error}", self.path.display()))
        })?;
        let inodes = [self.inode.load(Ordering::Acquire), self.inode_next.load(Ordering::Acquire)];
        if !inodes.contains(&metadata.inode) || metadata.device != self.device.load(Ordering::Acquire) {
            return Err(io::Error::other(format!("the zone's directory {} was replaced by another", self.path.display())));
        }
        Ok(())
    }

    /// Rule L6 for a synced file: the directory is present and the file still has its name.
    pub async fn check_linked(&self, file: &dyn File) -> io::Result<()> {
        self.check_present().await?;
        if file.metadata().await?.links == 0 {
            return Err(io::Error::other(format!("a file of the zone in {} was removed while in use", self.path.display())));
        }
        Ok(())
    }
}

/// Moves a zone's old contents out of the way, into a directory `retired-…` beside them, so that a rebuild starts from nothing and nothing is destroyed
/// before the zone is whole again. The identity goes first: without it the rest has no vote.
pub async fn retire_contents(disk: &dyn Disk, path: &Path, label: &str) -> io::Result<()> {
    let names = match disk.read_directory(path).await {
        Ok(names) => names,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let mut number = 0;
    let target = loop {
        let candidate = path.join(format!("{RETIRED}{label}-{number}"));
        match disk.metadata(&candidate).await {
            Err(error) if error.kind() == io::ErrorKind::NotFound => break candidate,
            Err(error) => return Err(error),
            Ok(_) => number += 1,
        }
    };
    // The identity first: from then on the rest has no vote.
    let mut moved: Vec<&String> = names.iter().filter(|name| *name == "identity").collect();
    let rest = |name: &&String| is_own(name) && !name.starts_with(RETIRED) && *name != "lock" && *name != "identity.new";
    moved.extend(names.iter().filter(rest));
    if moved.is_empty() {
        return Ok(());
    }
    disk.create_directory(&target).await?;
    for name in moved {
        disk.rename(&path.join(name), &target.join(name)).await?;
    }
    disk.sync_directory(&target).await?;
    disk.sync_directory(path).await
}

/// The directories that [`retire_contents`] made of earlier contents, the oldest first.
pub async fn retired(disk: &dyn Disk, path: &Path) -> io::Result<Vec<String>> {
    let mut names = match disk.read_directory(path).await {
        Ok(names) => names,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    names.retain(|name| name.starts_with(RETIRED));
    // By numbers: `retired-10-0` is younger than `retired-9-1`.
    let age = |name: &String| name.split('-').skip(1).map(|part| part.parse::<u64>().unwrap_or(0)).collect::<Vec<_>>();
    names.sort_by_key(age);
    Ok(names)
}

/// Removes one of [`retired`]. Cut short, it leaves a part under the same name.
pub async fn remove_retired(disk: &dyn Disk, path: &Path, name: &str) -> io::Result<()> {
    if !name.starts_with(RETIRED) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{name:?} is not what a zone held before")));
    }
    disk.remove_directory_all(&path.join(name)).await?;
    disk.sync_directory(path).await
}
