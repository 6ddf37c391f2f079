//! Lets a test take one of the rules L1 to L10 out, to prove that the simulation notices. Without the feature `mutation` every
//! rule always holds and this compiles to nothing.

/// A rule of docs/protocol.md that a test can take out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// Batches in order, chained.
    L1,
    /// A promise before an epoch is used.
    L2,
    /// The highest (epoch, index) among voters is the history; divergent tails are cut.
    L3,
    /// Only committed batches reach the key-value store.
    L4,
    /// A bad frame at or below a synced position is damage.
    L5,
    /// An answer counts only while the directory is there.
    L6,
    /// A zone behind what the others recorded has lost its memory.
    L7,
    /// Nothing is acknowledged until all three zones are formed.
    L8,
    /// A zone of another store, or off its mount, is refused.
    L9,
    /// What is appended is synced before it counts.
    Sync,
    /// The directory of a new log file is synced before what the file holds counts.
    SyncNames,
}

#[cfg(feature = "mutation")]
mod switch {
    use std::cell::Cell;

    use super::Rule;

    thread_local! {
        static OUT: Cell<Option<Rule>> = const { Cell::new(None) };
    }

    /// Whether the rule is in force on this thread.
    pub fn holds(rule: Rule) -> bool {
        OUT.get() != Some(rule)
    }

    /// Takes a rule out for this thread (a simulation has one), or puts all back.
    pub fn take_out(rule: Option<Rule>) {
        OUT.set(rule);
    }
}

#[cfg(feature = "mutation")]
pub use switch::{holds, take_out};

/// Whether the rule is in force: always.
#[cfg(not(feature = "mutation"))]
#[inline]
pub fn holds(_rule: Rule) -> bool {
    true
}
