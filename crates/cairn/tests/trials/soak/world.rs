//! What clients and observers share.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

/// Sorts of requests whose latencies are watched.
pub const SORTS: [&str; 5] = ["PUT inline", "PUT chunk", "GET", "LIST", "probe"];

/// A sort of request: an index of [`SORTS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sort {
    /// A body that the catalog's log takes.
    PutInline,
    /// A body of one chunk, up to 256 KiB.
    PutChunk,
    /// At most 64 KiB of an object.
    Get,
    /// A page of a list.
    List,
    /// 4 KiB written and synced beside the store: how slow the machine is, whoever makes it so.
    Probe,
}

/// Shared by all.
pub struct World {
    /// From which all bodies follow.
    pub seed: u64,
    /// Clients stop when this is set: it is time, or something is wrong.
    pub over: AtomicBool,
    /// What cannot be.
    pub wrong: Mutex<Vec<String>>,
    /// How often what was done.
    pub counts: Mutex<BTreeMap<&'static str, u64>>,
    /// Bytes of bodies that were written.
    pub written_bytes: AtomicU64,
    /// Stored bytes of what each client's keys hold.
    pub live_bytes: Mutex<BTreeMap<u64, u64>>,
    /// Latencies since they were last taken, microseconds.
    times: Mutex<[Vec<u64>; SORTS.len()]>,
}

impl World {
    /// One in which nothing has happened.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            over: AtomicBool::new(false),
            wrong: Mutex::default(),
            counts: Mutex::default(),
            written_bytes: AtomicU64::new(0),
            live_bytes: Mutex::default(),
            times: Mutex::default(),
        }
    }

    /// Whether clients are to stop.
    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    /// Says that something cannot be. The run ends: what is known of a key is only known while every answer was right.
    pub fn wrong(&self, what: String) {
        self.wrong.lock().push(what);
        self.over.store(true, Ordering::SeqCst);
    }

    /// Counts something.
    pub fn count(&self, what: &'static str) {
        *self.counts.lock().entry(what).or_default() += 1;
    }

    /// Takes down how long a request took.
    pub fn took(&self, sort: Sort, time: Duration) {
        self.times.lock()[sort as usize].push(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    }

    /// The latencies since the last call, in order.
    pub fn take_times(&self) -> [Vec<u64>; SORTS.len()] {
        let mut times = std::mem::take(&mut *self.times.lock());
        for times in &mut times {
            times.sort_unstable();
        }
        times
    }
}
