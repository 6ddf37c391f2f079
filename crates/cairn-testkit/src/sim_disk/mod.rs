//! A simulated machine: file systems that do what [`cairn_disk`] allows a disk to do, at its worst, from a seed.
//!
//! - Power loss ([`SimDisk::crash`]) loses, keeps or tears every unsynced write, sector by sector and independently, and rolls names
//!   back to some state between the last directory sync and now.
//! - `kill -9` ([`SimDisk::kill`]) keeps everything, synced or not, as the page cache does.
//! - Faults by path: errors, full disks, hangs, lost syncs (to prove that a test notices a missing one), flipped bits, removed
//!   and replaced directories, mounted file systems that go away.
//!
//! After a crash or a kill, handles made before it fail, as a dead process's do; [`SimDisk::boot`] gives the next process its view.
//! Everything is deterministic: the same seed and the same calls give the same bytes.

mod handle;
mod state;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use state::State;

/// Which calls a fault strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// Opening, metadata, listing.
    Lookup,
    /// Creating, renaming, removing names.
    Name,
    /// Reading a file.
    Read,
    /// Writing a file, its length or its space.
    Write,
    /// Giving a part of a file back. A fault of [`Operation::Write`] strikes it, too.
    Punch,
    /// Syncing a file or a directory.
    Sync,
}

/// A fault that strikes calls below a path.
#[derive(Clone)]
struct Fault {
    prefix: PathBuf,
    operations: Vec<Operation>,
    /// Strikes one call in so many.
    one_in: u32,
    kind: FaultKind,
}

impl Fault {
    /// Whether it is one for such a call.
    fn strikes(&self, path: &Path, operation: Operation) -> bool {
        let is_meant =
            self.operations.contains(&operation) || operation == Operation::Punch && self.operations.contains(&Operation::Write);
        is_meant && path.starts_with(&self.prefix)
    }
}

#[derive(Clone)]
enum FaultKind {
    Error(io::ErrorKind),
    /// The call takes a random time up to this.
    Slow(Duration),
    /// The call succeeds and nothing is made durable.
    IgnoreSync,
    /// The same, where this says so.
    IgnoreSyncOf(IsIgnored),
    /// The call fails, and what was unsynced counts as clean: it stays readable until the power goes, and no later sync writes it.
    LoseSync,
    Hang(Arc<Notify>),
}

/// Whether a sync does nothing: of the path of a file, as it was opened, or of a directory; and, for a directory, of the names in it that
/// the sync would make durable or make durably gone.
pub type IsIgnored = Arc<dyn Fn(&Path, &[&str]) -> bool + Send + Sync>;

/// Names a fault, to lift it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct FaultId(u64);

/// The machine's disks as one process sees them. Clones share the machine and the process.
#[derive(Clone)]
pub struct SimDisk {
    machine: Arc<Mutex<Machine>>,
    /// The process that this handle belongs to.
    process: u64,
}

struct Machine {
    state: State,
    process: u64,
    faults: BTreeMap<FaultId, Fault>,
    fault_next: u64,
    locks: BTreeMap<PathBuf, u64>,
    lock_next: u64,
    /// Counts down with each write, sync or change of names; at 0 the power goes.
    crash_countdown: Option<u64>,
    operations: u64,
    /// The longest delay of a call, in virtual time.
    delay_max: Duration,
}

impl SimDisk {
    /// A machine with one empty file system, and its first process.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            machine: Arc::new(Mutex::new(Machine {
                state: State::new(seed),
                process: 0,
                faults: BTreeMap::new(),
                fault_next: 0,
                locks: BTreeMap::new(),
                lock_next: 0,
                crash_countdown: None,
                operations: 0,
                delay_max: Duration::ZERO,
            })),
            process: 0,
        }
    }

    /// The view of the process that starts after a crash or a kill. Older handles keep failing.
    #[must_use]
    pub fn boot(&self) -> Self {
        let process = self.machine.lock().process;
        Self { machine: self.machine.clone(), process }
    }

    /// Power loss: unsynced writes and names are lost, kept or torn as the seed has it. Returns the next process's view.
    #[allow(clippy::must_use_candidate, clippy::return_self_not_must_use, reason = "the next view may not be wanted")]
    pub fn crash(&self) -> Self {
        self.machine.lock().crash();
        self.boot()
    }

    /// `kill -9`: the process is gone, the page cache stays. Returns the next process's view.
    #[allow(clippy::must_use_candidate, clippy::return_self_not_must_use, reason = "the next view may not be wanted")]
    pub fn kill(&self) -> Self {
        self.machine.lock().end_process();
        self.boot()
    }

    /// Whether this handle's process is still alive.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.machine.lock().process == self.process
    }

    /// Lets the power go at the `operations`-th write, sync or change of names from now (1 is the next).
    pub fn crash_after(&self, operations: u64) {
        self.machine.lock().crash_countdown = Some(operations.max(1));
    }

    /// Takes back [`SimDisk::crash_after`].
    pub fn cancel_crash(&self) {
        self.machine.lock().crash_countdown = None;
    }

    /// How many writes, syncs and changes of names there have been.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.machine.lock().operations
    }

    /// Lets every call take a random time up to this, in virtual time.
    pub fn set_delay_max(&self, delay_max: Duration) {
        self.machine.lock().delay_max = delay_max;
    }

    /// Calls of these kinds below the path fail, one in `one_in`.
    pub fn fail(&self, prefix: &Path, operations: &[Operation], kind: io::ErrorKind, one_in: u32) -> FaultId {
        self.add_fault(prefix, operations, one_in, FaultKind::Error(kind))
    }

    /// Syncs of files and directories below the path, one in `one_in`, succeed and make nothing durable.
    pub fn ignore_sync(&self, prefix: &Path, one_in: u32) -> FaultId {
        self.add_fault(prefix, &[Operation::Sync], one_in, FaultKind::IgnoreSync)
    }

    /// Syncs succeed and make nothing durable where this says so: what a build does in which that sync was left out.
    pub fn ignore_syncs_of(&self, is_ignored: IsIgnored) -> FaultId {
        self.add_fault(Path::new("/"), &[Operation::Sync], 1, FaultKind::IgnoreSyncOf(is_ignored))
    }

    /// Calls of these kinds below the path take a random time up to this, in virtual time.
    pub fn slow(&self, prefix: &Path, operations: &[Operation], delay_max: Duration) -> FaultId {
        self.add_fault(prefix, operations, 1, FaultKind::Slow(delay_max))
    }

    /// Syncs of files below the path, one in `one_in`, fail as Linux lets them fail: the pages that could not be written stay in the
    /// page cache and are no longer dirty. They can be read until the power goes, a later sync succeeds without writing them, and
    /// only writing them again helps.
    pub fn fail_sync_and_forget(&self, prefix: &Path, one_in: u32) -> FaultId {
        self.add_fault(prefix, &[Operation::Sync], one_in, FaultKind::LoseSync)
    }

    /// Calls of these kinds below the path wait until the fault is lifted.
    pub fn hang(&self, prefix: &Path, operations: &[Operation]) -> FaultId {
        self.add_fault(prefix, operations, 1, FaultKind::Hang(Arc::new(Notify::new())))
    }

    /// Ends a fault; what hangs goes on.
    pub fn lift(&self, fault: FaultId) {
        if let Some(Fault { kind: FaultKind::Hang(notify), .. }) = self.machine.lock().faults.remove(&fault) {
            notify.notify_waiters();
        }
    }

    /// Ends every fault.
    pub fn lift_all(&self) {
        let faults: Vec<FaultId> = self.machine.lock().faults.keys().copied().collect();
        for fault in faults {
            self.lift(fault);
        }
    }

    /// Bytes that fit below this path (its own file system from now on); `None` for no bound.
    pub fn set_capacity(&self, prefix: &Path, capacity_bytes: Option<u64>) {
        self.machine.lock().state.set_capacity(prefix, capacity_bytes);
    }

    /// Makes this directory the root of a file system of its own, empty, hiding nothing below it that is kept.
    pub fn mount(&self, path: &Path) {
        self.machine.lock().state.mount(path);
    }

    /// Takes the mounted file system away: the directory is there, empty, on its parent's file system.
    pub fn unmount(&self, path: &Path) {
        self.machine.lock().state.unmount(path);
    }

    /// `rm -rf` by somebody else's hand, durable at once. Open files keep their content and lose their names.
    pub fn remove_tree(&self, path: &Path) {
        self.machine.lock().state.remove_tree(path);
    }

    /// A copy of all files below the path as they are now, for [`SimDisk::restore`].
    #[must_use]
    pub fn backup(&self, path: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
        self.machine.lock().state.backup(path)
    }

    /// Writes files below the path at once, for engines whose calls do not wait. What is in the directory is durable then; the names that lead
    /// to it are as durable as they were.
    pub fn write_inside(&self, path: &Path, files: &BTreeMap<PathBuf, Vec<u8>>) {
        self.machine.lock().state.write_inside(path, files);
    }

    /// Replaces everything below the path by a copy, durable at once, the names that lead to it too.
    pub fn restore(&self, path: &Path, files: &BTreeMap<PathBuf, Vec<u8>>) {
        self.machine.lock().state.restore(path, files);
    }

    /// Flips one bit of a file, in what is durable too. False when the file is not that long.
    pub fn flip_bit(&self, path: &Path, bit: u64) -> bool {
        self.machine.lock().state.flip_bit(path, bit)
    }

    /// All files below the path with their lengths, sorted.
    #[must_use]
    pub fn files(&self, path: &Path) -> Vec<(PathBuf, u64)> {
        self.machine.lock().state.files(path)
    }

    fn add_fault(&self, prefix: &Path, operations: &[Operation], one_in: u32, kind: FaultKind) -> FaultId {
        let mut machine = self.machine.lock();
        let id = FaultId(machine.fault_next);
        machine.fault_next += 1;
        let fault = Fault { prefix: prefix.to_path_buf(), operations: operations.to_vec(), one_in: one_in.max(1), kind };
        machine.faults.insert(id, fault);
        id
    }
}

impl Machine {
    fn crash(&mut self) {
        self.state.lose_power();
        self.end_process();
    }

    /// The longest delay of this call.
    fn slowest(&self, path: &Path, operation: Operation) -> Duration {
        let strikes = |fault: &&Fault| fault.strikes(path, operation);
        let slow = self.faults.values().filter(strikes).filter_map(|fault| match fault.kind {
            FaultKind::Slow(delay_max) => Some(delay_max),
            _ => None,
        });
        slow.fold(self.delay_max, Duration::max)
    }

    fn end_process(&mut self) {
        self.process += 1;
        self.locks.clear();
        self.crash_countdown = None;
        // A dead process's calls never return; waking them lets their tasks see that they are dead.
        for fault in self.faults.values() {
            if let FaultKind::Hang(notify) = &fault.kind {
                notify.notify_waiters();
            }
        }
    }
}

/// The error of every call of a process that is dead.
fn dead() -> io::Error {
    io::Error::other("the simulated process is dead")
}

#[cfg(test)]
mod tests;
