//! Where a trial's choices and bodies come from: one number, printed, from which a run can be had again.

use cairn_disk::Environment;
use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Random numbers that are the same for the same seed.
pub type Random = ChaCha8Rng;

/// The seed of this run: of `CAIRN_TRIALS_SEED`, or a new one; printed either way.
pub fn of_run(trial: &str) -> u64 {
    let given = std::env::var("CAIRN_TRIALS_SEED").ok().and_then(|text| text.parse().ok());
    let seed = given.unwrap_or_else(|| {
        let mut bytes = [0; 8];
        Environment::real().random.fill(&mut bytes);
        u64::from_le_bytes(bytes) >> 16
    });
    println!("{trial}: CAIRN_TRIALS_SEED={seed}");
    seed
}

/// Whether to run at full size.
pub fn is_long() -> bool {
    std::env::var_os("CAIRN_LONG").is_some()
}

/// A stream of its own for every purpose of a run.
pub fn random(seed: u64, purpose: u64) -> Random {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    random.set_stream(purpose);
    random
}

/// The bytes that belong to a number.
pub fn body(seed: u64, number: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    // Streams of bodies are far from those of purposes, which are small numbers.
    random(seed, number | 1 << 62).fill_bytes(&mut bytes);
    bytes
}
