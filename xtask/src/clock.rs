//! The one place where this tool looks at the clock: how long a part took is the machine's own time, not a simulation's.

use std::time::Instant;

/// This moment, for measuring how long something took and when to give up on it.
#[allow(clippy::disallowed_methods, reason = "a test runner measures real time")]
pub fn now() -> Instant {
    Instant::now()
}
