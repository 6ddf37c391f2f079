//! Virtual time, seeded randomness and one thread for everything: a store in here does the same again from the same seed.
//!
//! Run it on tokio's current-thread runtime with paused time (`#[tokio::test(start_paused = true)]` or [`simulate`]).

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use cairn_disk::{Clock, Environment, Executor, Random};
use futures::future::BoxFuture;
use parking_lot::Mutex;
use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::task::AbortHandle;

use crate::sim_disk::SimDisk;

/// Tokio's paused clock; wall time starts at a date of its own and can be made to jump (T1).
pub struct SimClock {
    start: tokio::time::Instant,
    wall_at_start: Mutex<Duration>,
}

impl SimClock {
    /// Wall time starts at 2026-01-01T00:00:00Z.
    #[must_use]
    pub fn new() -> Self {
        Self { start: tokio::time::Instant::now(), wall_at_start: Mutex::new(Duration::from_secs(1_767_225_600)) }
    }

    /// Moves wall time, as an administrator or a broken time server would.
    pub fn jump_wall(&self, seconds: i64) {
        let mut wall = self.wall_at_start.lock();
        let distance = Duration::from_secs(seconds.unsigned_abs());
        *wall = if seconds < 0 { wall.saturating_sub(distance) } else { *wall + distance };
    }
}

impl Default for SimClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SimClock {
    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }

    fn wall(&self) -> Duration {
        *self.wall_at_start.lock() + self.start.elapsed()
    }
}

/// Randomness from a seed.
pub struct SimRandom(Mutex<ChaCha8Rng>);

impl SimRandom {
    /// The same seed gives the same numbers.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(ChaCha8Rng::seed_from_u64(seed)))
    }
}

impl Random for SimRandom {
    fn next_u64(&self) -> u64 {
        self.0.lock().next_u64()
    }

    fn fill(&self, bytes: &mut [u8]) {
        self.0.lock().fill_bytes(bytes);
    }
}

/// Workers as tasks of the simulation's one runtime.
#[derive(Debug, Clone, Default)]
pub struct SimExecutor {
    tasks: Arc<Mutex<Vec<AbortHandle>>>,
}

impl SimExecutor {
    /// Ends every task that was started here, as the end of a process does.
    pub fn abort_all(&self) {
        for task in self.tasks.lock().drain(..) {
            task.abort();
        }
    }

    fn spawn(&self, future: BoxFuture<'static, ()>) {
        let mut tasks = self.tasks.lock();
        tasks.retain(|task| !task.is_finished());
        tasks.push(tokio::spawn(future).abort_handle());
    }
}

impl Executor for SimExecutor {
    fn spawn_worker(&self, _name: &str, future: BoxFuture<'static, ()>) {
        self.spawn(future);
    }

    fn spawn_blocking(&self, future: BoxFuture<'static, ()>) {
        self.spawn(future);
    }
}

/// An environment on this disk. Randomness is seeded apart from the disk's.
#[must_use]
pub fn environment(disk: &SimDisk, clock: Arc<SimClock>, seed: u64) -> Environment {
    environment_with(disk, clock, seed, SimExecutor::default())
}

/// [`environment`] with an executor whose tasks can be ended.
#[must_use]
pub fn environment_with(disk: &SimDisk, clock: Arc<SimClock>, seed: u64, executor: SimExecutor) -> Environment {
    Environment {
        disk: Arc::new(disk.clone()),
        clock,
        random: Arc::new(SimRandom::new(seed ^ 0x5eed)),
        executor: Arc::new(executor),
    }
}

/// Runs a future to its end on one thread with paused time. Tasks it leaves behind are dropped.
pub fn simulate<T>(future: impl Future<Output = T>) -> T {
    let built = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    match built {
        Ok(runtime) => runtime.block_on(future),
        Err(error) => panic!("no runtime for the simulation: {error}"),
    }
}
