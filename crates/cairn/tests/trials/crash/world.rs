//! What the clients of a run know and have done, shared by all of them and kept over all rounds.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

use super::model::{Moment, Operation, State, ValueId};
use super::values::Values;

/// The buckets: one without versions, one with.
pub const BUCKETS: [&str; 2] = ["plain", "versioned"];
/// Keys in each.
pub const KEYS: usize = 30;

/// A key in a bucket.
pub type Place = (usize, String);

/// The keys, some of them awkward.
pub fn key(number: usize) -> String {
    match number % 6 {
        0 => format!("a/{number}"),
        1 => format!("a/{number}/"),
        2 => format!("b//{number}+ %2F"),
        3 => format!("\u{1F5FB} {number}"),
        _ => format!("key-{number}"),
    }
}

/// A part of an upload: its piece and how long it is.
pub type Piece = (u64, usize);

/// What is known of a part.
#[derive(Debug, Default, Clone)]
pub struct Part {
    /// As it was last acknowledged.
    pub acknowledged: Option<Piece>,
    /// What it may be instead: uploads of it whose answer was lost.
    pub unknown: Vec<Piece>,
}

/// What became of an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Nothing yet.
    Open,
    /// It was completed, perhaps.
    Completing,
    /// It was completed.
    Completed,
    /// It was aborted, perhaps.
    Aborting,
    /// It was aborted.
    Aborted,
}

/// A multipart upload.
#[derive(Debug, Clone)]
pub struct Upload {
    /// Where to.
    pub place: Place,
    /// Its id.
    pub id: String,
    /// The object that it is to become.
    pub value: ValueId,
    /// Its parts.
    pub parts: BTreeMap<u32, Part>,
    /// What became of it.
    pub fate: Fate,
}

/// All that the clients share.
pub struct World {
    /// What is written.
    pub values: Values,
    /// Requests of this round by key.
    pub history: Mutex<BTreeMap<Place, Vec<Operation>>>,
    /// The state of every key when the round began.
    pub states: Mutex<BTreeMap<Place, State>>,
    /// What was last seen or written of a key, and versions of it: to ask for what is there.
    pub known: Mutex<BTreeMap<Place, (ValueId, Vec<String>)>>,
    /// Uploads that nobody works on now.
    pub uploads: Mutex<Vec<Upload>>,
    /// Uploads that were begun, perhaps, and whose id is not known.
    pub uploads_unknown: AtomicU64,
    /// Whether clients are to stop: the service is dead, or about to be.
    pub over: AtomicBool,
    /// What cannot be.
    pub wrong: Mutex<Vec<String>>,
    /// How often what happened.
    pub counts: Mutex<BTreeMap<String, u64>>,
    clock: AtomicU64,
}

impl World {
    /// One in which nothing has happened.
    pub fn new(seed: u64) -> Self {
        Self {
            values: Values::new(seed),
            history: Mutex::default(),
            states: Mutex::default(),
            known: Mutex::default(),
            uploads: Mutex::default(),
            uploads_unknown: AtomicU64::new(0),
            over: AtomicBool::new(false),
            wrong: Mutex::default(),
            counts: Mutex::default(),
            clock: AtomicU64::new(0),
        }
    }

    /// Now. No two are the same.
    pub fn now(&self) -> Moment {
        self.clock.fetch_add(1, Ordering::SeqCst)
    }

    /// Whether clients are to stop.
    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    /// Takes down a request.
    pub fn record(&self, place: &Place, operation: Operation) {
        self.history.lock().entry(place.clone()).or_default().push(operation);
    }

    /// Says that something cannot be.
    pub fn wrong(&self, what: String) {
        self.wrong.lock().push(what);
    }

    /// Counts something.
    pub fn count(&self, what: &str) {
        *self.counts.lock().entry(what.to_owned()).or_default() += 1;
    }
}
