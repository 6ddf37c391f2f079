//! Bytes that come near to valid ones: the usual mutations, from a seeded generator.

/// Numbers that look random and are the same for the same seed (splitmix64).
#[derive(Debug, Clone)]
pub struct Random(pub u64);

impl Random {
    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`; 0 where that is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.number() % (bound.max(1) as u64)).unwrap_or(0)
    }
}

/// Lengths and counts at which parsers go wrong.
const NUMBERS: [u64; 12] = [0, 1, 0x7f, 0x80, 0xff, 0x7fff, 0xffff, 0x7fff_ffff, 0xffff_ffff, 1 << 60, u64::MAX >> 1, u64::MAX];

/// Changes the bytes in one to four ways; `other` is another valid input, whose parts may be mixed in. The result has at most
/// `length_max` bytes.
#[must_use]
pub fn mutate(bytes: &[u8], other: &[u8], length_max: usize, random: &mut Random) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..=random.below(4) {
        change(&mut bytes, other, random);
    }
    bytes.truncate(length_max);
    bytes
}

fn change(bytes: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    let at = random.below(bytes.len() + 1);
    let from = random.below(other.len() + 1);
    let length = 1 + random.below(16);
    match random.below(10) {
        0 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << random.below(8);
            }
        }
        1 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = random.number() as u8;
            }
        }
        2 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = byte.wrapping_add(if random.below(2) == 0 { 1 } else { 255 });
            }
        }
        3 => bytes.truncate(at),
        4 => drop(bytes.drain(at..(at + length).min(bytes.len()))),
        5 => {
            let inserted: Vec<u8> = (0..length).map(|_| random.number() as u8).collect();
            drop(bytes.splice(at..at, inserted));
        }
        // A number over what is there, in one of the ways that numbers are written here.
        6 => {
            let number = NUMBERS[random.below(NUMBERS.len())];
            let written = match random.below(4) {
                0 => (number as u32).to_le_bytes().to_vec(),
                1 => number.to_le_bytes().to_vec(),
                2 => number.to_be_bytes().to_vec(),
                _ => variable_length(number),
            };
            drop(bytes.splice(at..(at + written.len()).min(bytes.len()), written));
        }
        // A piece of its own once more, or a piece of another.
        7 => {
            let piece = bytes[at..(at + length).min(bytes.len())].to_vec();
            drop(bytes.splice(at..at, piece));
        }
        8 => drop(bytes.splice(at..at, other[from..(from + length).min(other.len())].to_vec())),
        _ => {
            bytes.truncate(at);
            bytes.extend_from_slice(&other[from..]);
        }
    }
}

/// LEB128.
fn variable_length(mut number: u64) -> Vec<u8> {
    let mut written = Vec::new();
    while number >= 0x80 {
        written.push(number as u8 | 0x80);
        number >>= 7;
    }
    written.push(number as u8);
    written
}
