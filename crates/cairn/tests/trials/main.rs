//! Trials of the real binary, as it is released: killed, robbed of a zone, raced and loaded, and judged from outside by what it has
//! acknowledged.
//!
//! `cargo xtask test --only crash,drills,race,memory,crowd,soak` runs them. By hand, with `CAIRN_TRIALS_BINARY` naming the binary (without it,
//! the one that cargo has built along):
//!
//!     cargo test --test trials -- --nocapture --test-threads 1 crash::
//!
//! Each prints its seed; `CAIRN_TRIALS_SEED` replays it: the same requests, bodies and moments, on a machine whose own timing differs.
//! `CAIRN_LONG=1` runs them at full size, `CAIRN_TRIALS_DIRECTORY` is where they keep their stores, `CAIRN_TRIALS_ROUNDS` is how often `crash`
//! kills, and `CAIRN_TRIALS_VERBOSE=1` makes it tell each round. `CAIRN_TRIALS_SECONDS` is how long `soak` loads, and `CAIRN_TRIALS_KEEP=1` leaves
//! stores behind.

mod connection;
mod crash;
mod crowd;
mod drills;
mod memory;
mod race;
mod seed;
mod service;
mod soak;
