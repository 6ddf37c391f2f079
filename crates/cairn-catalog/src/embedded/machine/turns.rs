//! Turns on threads that may block, so many for each zone's store, and reads that hold one until they come back.
//!
//! A read of a disk that hangs keeps its thread, and its turn, for as long as it likes, also when nobody waits for it any more. Turns are counted for
//! each store apart: those that hang in one zone keep nobody waiting who reads from another, and however often reads move to and fro, there
//! are never more threads held than all stores have turns.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::Instant;
use tokio::time::error::Elapsed;

use crate::embedded::keyvalue::KeyValue;
use crate::{CatalogError, CatalogResult};

/// How reads of zones' stores are bounded. What lies outside a range given here is taken for its nearest end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadSettings {
    /// A read that makes no step for so long hangs, and reads move to another zone. Default 1 s, as long as the log itself waits for a zone's
    /// store; from 10 ms to 1 min.
    pub hangs_after: Duration,
    /// Most walks over rows (listings) at one time in one zone's store. Each occupies a thread for as long as its page takes; more of them than
    /// disks and cores can serve only keep each other's files and memory from being released. Default 16; from 1 to 32.
    pub scans_max: usize,
    /// Most reads of a few rows at one time in one zone's store on threads that may block. Default 32; from 1 to 64.
    pub blocking_reads_max: usize,
}

impl Default for ReadSettings {
    fn default() -> Self {
        Self { hangs_after: Duration::from_secs(1), scans_max: 16, blocking_reads_max: 32 }
    }
}

impl ReadSettings {
    /// [`ReadSettings::hangs_after`] that is taken.
    pub const HANGS_AFTER: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(60));
    /// The most [`ReadSettings::scans_max`]. Three stores' turns and the zones' own reads together stay below the runtime's 512 threads.
    pub const SCANS_MAX: usize = 32;
    /// The most [`ReadSettings::blocking_reads_max`].
    pub const BLOCKING_READS_MAX: usize = 64;

    /// Within the ranges.
    pub(super) fn bounded(self) -> Self {
        let (shortest, longest) = Self::HANGS_AFTER;
        Self {
            hangs_after: self.hangs_after.clamp(shortest, longest),
            scans_max: self.scans_max.clamp(1, Self::SCANS_MAX),
            blocking_reads_max: self.blocking_reads_max.clamp(1, Self::BLOCKING_READS_MAX),
        }
    }

    /// How often it is looked what is with a read that has not come back.
    pub(super) fn look_after(&self) -> Duration {
        self.hangs_after / 5
    }
}

/// The turns of one store.
pub(super) struct StoreTurns {
    pub(super) free: Arc<Semaphore>,
    /// Rises with each read that has ended.
    ended: AtomicU64,
}

/// A store, for as long as anybody has it, and its turns.
type OfStore = (Weak<dyn KeyValue>, Arc<StoreTurns>);

/// Turns, so many for each store.
pub(super) struct Turns {
    count: usize,
    stores: Mutex<Vec<OfStore>>,
}

impl Turns {
    pub(super) fn new(count: usize) -> Self {
        Self { count, stores: Mutex::default() }
    }

    /// The turns of this store.
    pub(super) fn of(&self, state: &Arc<dyn KeyValue>) -> Arc<StoreTurns> {
        let mut stores = self.stores.lock();
        // While a read of a store hangs, it holds the store: its turns are not forgotten.
        stores.retain(|(store, _)| store.strong_count() > 0);
        let address = Arc::as_ptr(state).addr();
        if let Some((_, turns)) = stores.iter().find(|(store, _)| store.as_ptr().addr() == address) {
            return turns.clone();
        }
        let turns = Arc::new(StoreTurns { free: Arc::new(Semaphore::new(self.count)), ended: AtomicU64::new(0) });
        stores.push((Arc::downgrade(state), turns.clone()));
        turns
    }
}

/// How far a read has come.
#[derive(Default)]
pub(super) struct Progress {
    begun: OnceLock<Instant>,
    steps: AtomicU64,
}

impl Progress {
    /// Another row.
    pub(super) fn step(&self) {
        self.steps.fetch_add(1, Ordering::Relaxed);
    }
}

/// A read that may have begun.
pub(super) struct Reading<T> {
    answer: oneshot::Receiver<T>,
    watch: Watch,
}

/// Tells whether anything moves.
pub(super) struct Watch {
    progress: Option<Arc<Progress>>,
    turns: Arc<StoreTurns>,
    hangs_after: Duration,
    /// What was seen to have moved, and when.
    seen: Option<((bool, u64), Instant)>,
}

impl Watch {
    /// Of a read; without one, of those whose turns are waited for.
    pub(super) fn new(progress: Option<Arc<Progress>>, turns: Arc<StoreTurns>, hangs_after: Duration) -> Self {
        Self { progress, turns, hangs_after, seen: None }
    }

    /// Whether the store has been at it for too long without a step. Where the read only waits for its turn: whether no read of those that
    /// hold them ends.
    pub(super) fn hangs(&mut self) -> bool {
        let begun = self.progress.as_ref().and_then(|progress| progress.begun.get().map(|begun| (progress, *begun)));
        let (mark, since) = match begun {
            Some((progress, begun)) => ((true, progress.steps.load(Ordering::Relaxed)), begun),
            None => ((false, self.turns.ended.load(Ordering::Relaxed)), Instant::now()),
        };
        match self.seen {
            Some((seen, since)) if seen == mark => since.elapsed() >= self.hangs_after,
            // A first look is about all the time since it began.
            None => {
                self.seen = Some((mark, since));
                since.elapsed() >= self.hangs_after && mark.1 == 0
            }
            Some(_) => {
                self.seen = Some((mark, Instant::now()));
                false
            }
        }
    }
}

impl<T> Reading<T> {
    pub(super) fn new(progress: Arc<Progress>, turns: Arc<StoreTurns>, hangs_after: Duration) -> (Self, Begin<T>) {
        let (reply, answer) = oneshot::channel();
        let begin = Begin { reply, progress: progress.clone(), turns: turns.clone() };
        (Self { answer, watch: Watch::new(Some(progress), turns, hangs_after) }, begin)
    }

    /// What it brings, if it comes in time; the outer error says that it did not.
    pub(super) async fn wait(&mut self, limit: Duration) -> Result<CatalogResult<T>, Elapsed> {
        let answer = tokio::time::timeout(limit, &mut self.answer).await?;
        // Dropped without an answer: the read panicked, or the process ends.
        Ok(answer.map_err(|_| CatalogError::Unavailable("a read of the catalog was broken off".to_owned())))
    }

    /// See [`Watch::hangs`].
    pub(super) fn hangs(&mut self) -> bool {
        self.watch.hangs()
    }
}

/// The other end of a [`Reading`].
pub(super) struct Begin<T> {
    reply: oneshot::Sender<T>,
    progress: Arc<Progress>,
    turns: Arc<StoreTurns>,
}

impl<T> Begin<T> {
    /// Returns when nobody waits for the answer any more.
    pub(super) async fn given_up(&mut self) {
        self.reply.closed().await;
    }

    /// Reads, which may block, and gives the room back when the read ends, whether or not anybody still waits for it. What nobody waits for is
    /// not begun.
    pub(super) fn run(self, read: impl FnOnce() -> T, room: OwnedSemaphorePermit) {
        if !self.reply.is_closed() {
            self.progress.begun.get_or_init(Instant::now);
            let answer = read();
            self.turns.ended.fetch_add(1, Ordering::Relaxed);
            drop(room);
            let _ = self.reply.send(answer);
        }
    }
}
