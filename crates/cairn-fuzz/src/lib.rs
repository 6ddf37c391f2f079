//! What must hold for every parser of bytes that others wrote (clients, disks, administrators), whatever the bytes are.
//!
//! A [`Target`] takes any bytes and panics where a promise is broken. "No panic" is the least of them: what decodes encodes to the same
//! bytes wherever a format is canonical; what was encoded decodes to the same value; a flipped bit in anything with a checksum is
//! noticed. So that checksums do not hide the parsers behind them, targets also put the right one under the bytes they are given.
//!
//! Targets that are more than a parser describe by their bytes what happens to something: to the files of a zone ([`edits`]), or on a
//! connection. There, what was acknowledged must be as it was or known to be damaged, and the service must go on.
//!
//! `cargo xtask test --only fuzz` runs each target over its seeds and their mutations from a seeded generator; with `--long` it also lets
//! libFuzzer look for inputs that reach new code, by the program in `fuzz/`, for `--fuzz-seconds` of processor time each. Neither needs a
//! nightly compiler. Inputs that once broke a
//! promise stand in `regressions/`, one directory for each target, and run every time.

pub mod edits;
pub mod exercise;
pub mod mutation;
pub mod reader;
mod targets;

pub use targets::all;

/// What libFuzzer and the gate give their time to: parsers of one kind.
#[derive(Clone, Copy)]
pub struct Target {
    /// What it is called, and the directory of its regressions.
    pub name: &'static str,
    /// The parsers, at most [`Target::PARTS_MAX`]. Where there are several, an input's first byte says which one the rest is for: so an
    /// input keeps its meaning for as long as parts are only added at the end.
    pub parts: &'static [Part],
    /// How many inputs for a small parser cost as much as one for these: by so much fewer are tried where it must not take long.
    pub cost: u64,
}

/// A parser and what must hold for it.
#[derive(Clone, Copy)]
pub struct Part {
    /// What it is called.
    pub name: &'static str,
    /// Panics when a promise is broken for these bytes.
    pub run: fn(&[u8]),
    /// Valid inputs, from which others are made.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// The most that it may allocate.
    pub memory: Memory,
}

/// How many bytes an input may make a part allocate, in sum over its run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Memory {
    /// So many for each byte of input, besides [`Memory::FREE`].
    PerByte(usize),
    /// So many, whatever the input: where it describes what happens to something that has a size of its own.
    AtMost(usize),
}

impl Memory {
    /// What any input may cost, however short, bytes.
    pub const FREE: usize = 256 * 1024;
}

impl Target {
    /// The most parts of one target.
    pub const PARTS_MAX: usize = 16;

    /// Valid inputs of all parts.
    #[must_use]
    pub fn seeds(&self) -> Vec<Vec<u8>> {
        if let [only] = self.parts {
            return (only.seeds)();
        }
        let of_part = |(number, part): (usize, &Part)| {
            let with_number = move |seed: Vec<u8>| [&[number as u8][..], &seed].concat();
            (part.seeds)().into_iter().map(with_number).collect::<Vec<_>>()
        };
        self.parts.iter().enumerate().flat_map(of_part).collect()
    }

    /// The part that an input is for, and what it is given.
    #[must_use]
    pub fn part<'a>(&self, input: &'a [u8]) -> Option<(&'static Part, &'a [u8])> {
        if let [only] = self.parts {
            return Some((only, input));
        }
        let (number, rest) = input.split_first()?;
        Some((self.parts.get(usize::from(*number) % Self::PARTS_MAX)?, rest))
    }

    /// Panics when a promise is broken for these bytes.
    pub fn run(&self, input: &[u8]) {
        if let Some((part, rest)) = self.part(input) {
            (part.run)(rest);
        }
    }

    /// The most bytes that these may make it allocate.
    #[must_use]
    pub fn allocated_max(&self, input: &[u8]) -> usize {
        match self.part(input).map(|(part, _)| part.memory) {
            None => Memory::FREE,
            Some(Memory::PerByte(bytes)) => Memory::FREE + input.len() * bytes,
            Some(Memory::AtMost(bytes)) => bytes,
        }
    }
}
