//! Runs a target over its seeds, its regressions and mutations of both, and tells which input broke a promise.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::path::Path;
use std::sync::Once;

use crate::Target;
use crate::mutation::{Random, mutate};

/// The longest input that is made here, bytes.
pub const LENGTH_MAX: usize = 4096;

/// An input for which a promise is broken. The panic's own words went to standard error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// Whose promise.
    pub target: &'static str,
    /// The bytes.
    pub input: Vec<u8>,
}

impl std::fmt::Display for Broken {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let input = self.input.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
        write!(
            formatter,
            "{} breaks a promise for the {} bytes {input}; keep them as a file in crates/cairn-fuzz/regressions/{}/",
            self.target,
            self.input.len(),
            self.target
        )
    }
}

/// The inputs that once broke a promise.
///
/// # Panics
/// Where a file cannot be read.
#[must_use]
pub fn regressions(target: &Target) -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("regressions").join(target.name);
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("the directory of regressions can be read").path()).collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).expect("a regression can be read")).collect()
}

thread_local! {
    static PANICS: Cell<u64> = const { Cell::new(0) };
}

/// Counts each thread's panics, also those that a runtime catches with the task that they end.
fn count_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let hook = take_hook();
        set_hook(Box::new(move |panic| {
            PANICS.set(PANICS.get() + 1);
            hook(panic);
        }));
    });
}

/// Runs the target over every seed, every regression and `rounds` mutations of them; `each` sees every input before it runs and after.
///
/// # Errors
/// The first input for which a promise is broken.
pub fn exercise(target: &Target, rounds: u64, seed: u64, mut each: impl FnMut(&[u8], &dyn Fn())) -> Result<(), Broken> {
    let mut known = target.seeds();
    known.extend(regressions(target));
    known.push(Vec::new());
    count_panics();
    let mut run = |input: &[u8]| {
        let before = PANICS.get();
        let outcome = catch_unwind(AssertUnwindSafe(|| each(input, &|| target.run(input))));
        let is_held = outcome.is_ok() && PANICS.get() == before;
        if is_held { Ok(()) } else { Err(Broken { target: target.name, input: input.to_vec() }) }
    };
    known.iter().try_for_each(|input| run(input))?;
    let mut random = Random(seed);
    for _ in 0..rounds {
        let one = random.below(known.len());
        let other = random.below(known.len());
        run(&mutate(&known[one], &known[other], LENGTH_MAX, &mut random))?;
    }
    Ok(())
}
