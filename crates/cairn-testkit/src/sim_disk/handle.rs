//! The simulated machine behind the [`Disk`] and [`File`] traits.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cairn_disk::{Disk, File, LockGuard, Metadata, OpenMode};
use futures::future::BoxFuture;
use parking_lot::Mutex;
use rand::Rng;

use super::state::Inode;
use super::{FaultKind, Machine, Operation, SimDisk, dead};

/// What [`SimDisk::enter`] decided for a call.
#[derive(PartialEq, Eq)]
enum Verdict {
    Proceed,
    /// A sync that is to do nothing.
    Ignore,
    /// A sync that is to fail and to forget what was unsynced.
    Lose,
}

impl SimDisk {
    /// Every call passes here first: delays, hangs, faults, and the end of the process.
    async fn enter(&self, path: &Path, operation: Operation) -> io::Result<Verdict> {
        let delay = {
            let mut machine = self.machine.lock();
            let slowest = machine.slowest(path, operation);
            let delay_max = u64::try_from(slowest.as_micros()).unwrap_or(u64::MAX);
            (delay_max > 0).then(|| Duration::from_micros(machine.state.random.random_range(0..=delay_max)))
        };
        if let Some(delay) = delay {
            tokio::time::sleep(delay).await;
        }
        loop {
            let hang = {
                let mut machine = self.machine.lock();
                if machine.process != self.process {
                    return Err(dead());
                }
                let mut hang = None;
                let faults: Vec<_> = machine.faults.values().filter(|fault| fault.strikes(path, operation)).cloned().collect();
                for fault in faults {
                    if fault.one_in > 1 && machine.state.random.random_range(0..fault.one_in) != 0 {
                        continue;
                    }
                    match fault.kind {
                        FaultKind::Slow(_) => {}
                        FaultKind::IgnoreSyncOf(is_ignored) if !is_ignored(path, &machine.state.unsynced_names(path)) => {}
                        FaultKind::Error(kind) => return Err(kind.into()),
                        FaultKind::IgnoreSync | FaultKind::IgnoreSyncOf(_) => return Ok(Verdict::Ignore),
                        FaultKind::LoseSync => return Ok(Verdict::Lose),
                        FaultKind::Hang(notify) => hang = Some(notify),
                    }
                }
                // Registered under the lock: a lift between here and the wait is not missed.
                hang.map(tokio::sync::Notify::notified_owned)
            };
            match hang {
                Some(notified) => notified.await,
                None => break,
            }
        }
        if matches!(operation, Operation::Write | Operation::Sync | Operation::Name) {
            let mut machine = self.machine.lock();
            machine.operations += 1;
            if let Some(countdown) = machine.crash_countdown.as_mut() {
                *countdown -= 1;
                if *countdown == 0 {
                    machine.crash();
                    return Err(dead());
                }
            }
        }
        Ok(Verdict::Proceed)
    }

    fn with<T>(&self, call: impl FnOnce(&mut Machine) -> io::Result<T>) -> io::Result<T> {
        let mut machine = self.machine.lock();
        if machine.process != self.process {
            return Err(dead());
        }
        call(&mut machine)
    }
}

impl Disk for SimDisk {
    fn open<'a>(&'a self, path: &'a Path, mode: OpenMode) -> BoxFuture<'a, io::Result<Arc<dyn File>>> {
        Box::pin(async move {
            let create = mode == OpenMode::CreateNew;
            self.enter(path, if create { Operation::Name } else { Operation::Lookup }).await?;
            let inode = self.with(|machine| machine.state.open(path, create))?;
            Ok(Arc::new(SimFile { disk: self.clone(), path: path.to_path_buf(), inode }) as Arc<dyn File>)
        })
    }

    fn metadata<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<Metadata>> {
        Box::pin(async move {
            self.enter(path, Operation::Lookup).await?;
            self.with(|machine| machine.state.metadata(path))
        })
    }

    fn read_directory<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<Vec<String>>> {
        Box::pin(async move {
            self.enter(path, Operation::Lookup).await?;
            self.with(|machine| machine.state.read_directory(path))
        })
    }

    fn create_directory<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move {
            self.enter(path, Operation::Name).await?;
            self.with(|machine| machine.state.create_directory(path))
        })
    }

    fn rename<'a>(&'a self, from: &'a Path, to: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move {
            self.enter(from, Operation::Name).await?;
            self.with(|machine| machine.state.rename(from, to))
        })
    }

    fn remove_file<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move {
            self.enter(path, Operation::Name).await?;
            self.with(|machine| machine.state.remove_file(path))
        })
    }

    fn remove_directory_all<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move {
            self.enter(path, Operation::Name).await?;
            self.with(|machine| machine.state.remove_directory_all(path))
        })
    }

    fn sync_directory<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move {
            match self.enter(path, Operation::Sync).await? {
                Verdict::Proceed => self.with(|machine| machine.state.sync_directory(path)),
                Verdict::Ignore => Ok(()),
                Verdict::Lose => Err(io::Error::other("input/output error while syncing")),
            }
        })
    }

    fn lock<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<Box<dyn LockGuard>>> {
        Box::pin(async move {
            self.enter(path, Operation::Lookup).await?;
            let number = self.with(|machine| {
                if machine.locks.contains_key(path) {
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                if let Err(error) = machine.state.open(path, true)
                    && error.kind() != io::ErrorKind::AlreadyExists
                {
                    return Err(error);
                }
                machine.lock_next += 1;
                let number = machine.lock_next;
                machine.locks.insert(path.to_path_buf(), number);
                Ok(number)
            })?;
            Ok(Box::new(SimLock { machine: self.machine.clone(), path: path.to_path_buf(), number }) as Box<dyn LockGuard>)
        })
    }

    fn free_bytes<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<u64>> {
        Box::pin(async move {
            self.enter(path, Operation::Lookup).await?;
            self.with(|machine| Ok(machine.state.free_bytes(path)))
        })
    }
}

struct SimLock {
    machine: Arc<Mutex<Machine>>,
    path: PathBuf,
    number: u64,
}

impl LockGuard for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut machine = self.machine.lock();
        if machine.locks.get(&self.path) == Some(&self.number) {
            machine.locks.remove(&self.path);
        }
    }
}

struct SimFile {
    disk: SimDisk,
    path: PathBuf,
    inode: Inode,
}

impl File for SimFile {
    fn read_at(&self, offset: u64, length: usize) -> BoxFuture<'_, io::Result<Bytes>> {
        Box::pin(async move {
            self.disk.enter(&self.path, Operation::Read).await?;
            self.disk.with(|machine| machine.state.read(self.inode, offset, length))
        })
    }

    fn write_at<'a>(&'a self, offset: u64, pieces: &'a [Bytes]) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move {
            self.disk.enter(&self.path, Operation::Write).await?;
            self.disk.with(|machine| machine.state.write(self.inode, &self.path, offset, pieces))
        })
    }

    fn sync_data(&self) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(async move {
            let verdict = self.disk.enter(&self.path, Operation::Sync).await?;
            self.disk.with(|machine| match verdict {
                Verdict::Proceed => machine.state.sync(self.inode),
                Verdict::Ignore => Ok(()),
                Verdict::Lose => {
                    machine.state.forget_unsynced(self.inode);
                    Err(io::Error::other("input/output error while syncing"))
                }
            })
        })
    }

    fn set_length(&self, length: u64) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(async move {
            self.disk.enter(&self.path, Operation::Write).await?;
            self.disk.with(|machine| machine.state.set_length(self.inode, &self.path, length, false))
        })
    }

    fn allocate(&self, offset: u64, length: u64) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(async move {
            self.disk.enter(&self.path, Operation::Write).await?;
            self.disk.with(|machine| machine.state.set_length(self.inode, &self.path, offset + length, true))
        })
    }

    fn punch_hole(&self, offset: u64, length: u64) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(async move {
            self.disk.enter(&self.path, Operation::Punch).await?;
            self.disk.with(|machine| machine.state.punch_hole(self.inode, offset, length))
        })
    }

    fn metadata(&self) -> BoxFuture<'_, io::Result<Metadata>> {
        Box::pin(async move {
            self.disk.enter(&self.path, Operation::Lookup).await?;
            self.disk.with(|machine| machine.state.metadata_of(self.inode))
        })
    }
}
