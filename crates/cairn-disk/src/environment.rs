//! Time, randomness and threads, injected so that a simulation can own them.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::future::BoxFuture;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};

use crate::Disk;

/// What a component needs from the world around it.
#[derive(Clone)]
pub struct Environment {
    /// The files.
    pub disk: Arc<dyn Disk>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The randomness.
    pub random: Arc<dyn Random>,
    /// Who runs the workers.
    pub executor: Arc<dyn Executor>,
}

impl Environment {
    /// The real disk, clock, randomness and threads. Call within a tokio runtime: workers use its timers.
    #[must_use]
    pub fn real() -> Self {
        Self {
            disk: Arc::new(crate::RealDisk::new()),
            clock: Arc::new(SystemClock::new()),
            random: Arc::new(SystemRandom::new()),
            executor: Arc::new(ThreadExecutor),
        }
    }
}

/// Tells the time. Waiting goes through `tokio::time`, which a simulation pauses.
pub trait Clock: Send + Sync {
    /// Time since some fixed moment of this process; never goes back, unaffected by clock changes.
    fn monotonic(&self) -> Duration;
    /// Wall time since 1970-01-01T00:00:00Z; may jump.
    fn wall(&self) -> Duration;
}

/// Gives random bytes.
pub trait Random: Send + Sync {
    /// 64 random bits, from a cryptographic generator.
    fn next_u64(&self) -> u64;
    /// Fills with random bytes, from a cryptographic generator.
    fn fill(&self, bytes: &mut [u8]);
}

/// Runs workers that block on the disk.
pub trait Executor: Send + Sync {
    /// Runs a worker for as long as its future lives: on a thread of its own in production, as a task in a simulation.
    fn spawn_worker(&self, name: &str, future: BoxFuture<'static, ()>);
    /// Runs a short piece of disk work off the tasks that serve requests.
    fn spawn_blocking(&self, future: BoxFuture<'static, ()>);
}

/// The machine's clocks.
#[derive(Debug)]
pub struct SystemClock {
    start: std::time::Instant,
}

impl SystemClock {
    /// A clock whose monotonic time starts at 0 now.
    #[must_use]
    #[allow(clippy::disallowed_methods, reason = "this is the one place where the ambient clock is read")]
    pub fn new() -> Self {
        Self { start: std::time::Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }

    #[allow(clippy::disallowed_methods, reason = "this is the one place where the ambient clock is read")]
    fn wall(&self) -> Duration {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
    }
}

/// ChaCha seeded from the operating system.
pub struct SystemRandom {
    generator: Mutex<StdRng>,
}

impl SystemRandom {
    /// Seeded from the operating system.
    #[must_use]
    #[allow(clippy::disallowed_methods, reason = "this is the one place where ambient randomness is read")]
    pub fn new() -> Self {
        Self { generator: Mutex::new(StdRng::from_os_rng()) }
    }
}

impl Default for SystemRandom {
    fn default() -> Self {
        Self::new()
    }
}

impl Random for SystemRandom {
    fn next_u64(&self) -> u64 {
        self.generator.lock().next_u64()
    }

    fn fill(&self, bytes: &mut [u8]) {
        self.generator.lock().fill_bytes(bytes);
    }
}

/// Workers on threads of their own, short work on tokio's blocking pool.
#[derive(Debug, Clone, Copy, Default)]
pub struct ThreadExecutor;

impl Executor for ThreadExecutor {
    fn spawn_worker(&self, name: &str, future: BoxFuture<'static, ()>) {
        let runtime = tokio::runtime::Handle::current();
        let spawned = std::thread::Builder::new().name(name.chars().take(15).collect()).spawn(move || runtime.block_on(future));
        if let Err(error) = spawned {
            // The worker's channel closes with its future, and every caller sees that: nothing waits for ever.
            tracing::error!(%error, worker = name, "could not start a thread");
        }
    }

    fn spawn_blocking(&self, future: BoxFuture<'static, ()>) {
        let runtime = tokio::runtime::Handle::current();
        tokio::task::spawn_blocking(move || runtime.block_on(future));
    }
}
