//! What must hold for every parser of bytes that others wrote (clients, disks, administrators), whatever the bytes are.
//!
//! A [`Target`] takes any bytes and panics where a promise is broken. "No panic" is the least of them: what decodes encodes to the same
//! bytes wherever a format is canonical; what was encoded decodes to the same value; a flipped bit in anything with a checksum is
//! noticed. So that checksums do not hide the parsers behind them, targets also put the right one under the bytes they are given.
//!
//! `cargo xtask test --only fuzz` runs each target over its seeds and their mutations from a seeded generator; with `--long` it also lets
//! libFuzzer look for inputs that reach new code, by the program in `fuzz/`. Neither needs a nightly compiler. Inputs that once broke a
//! promise stand in `regressions/`, one directory for each target, and run every time.

pub mod exercise;
pub mod mutation;
pub mod reader;
mod targets;

pub use targets::all;

/// A parser and what must hold for it.
#[derive(Clone, Copy)]
pub struct Target {
    /// What it is called, and the directory of its regressions.
    pub name: &'static str,
    /// Panics when a promise is broken for these bytes.
    pub run: fn(&[u8]),
    /// Valid inputs, from which others are made.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// The most bytes that it may allocate for each byte of input, in sum, besides [`Target::ALLOCATED_BYTES_FREE`].
    pub allocated_per_byte_max: usize,
}

impl Target {
    /// What any input may cost, however short, bytes.
    pub const ALLOCATED_BYTES_FREE: usize = 256 * 1024;
}
