//! Values from a fuzzer's bytes: takes what is there, and zeros where nothing is left.

/// Takes values from the front.
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Of these bytes.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Whether nothing is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// So many bytes, zeros behind the end.
    pub fn array<const LENGTH: usize>(&mut self) -> [u8; LENGTH] {
        let (taken, rest) = self.0.split_at(self.0.len().min(LENGTH));
        self.0 = rest;
        let mut array = [0; LENGTH];
        array.iter_mut().zip(taken).for_each(|(place, byte)| *place = *byte);
        array
    }

    /// A byte.
    pub fn u8(&mut self) -> u8 {
        u8::from_le_bytes(self.array())
    }

    /// Two bytes.
    pub fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.array())
    }

    /// Four bytes.
    pub fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.array())
    }

    /// Eight bytes.
    pub fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.array())
    }

    /// Sixteen bytes.
    pub fn u128(&mut self) -> u128 {
        u128::from_le_bytes(self.array())
    }

    /// All that is left.
    #[must_use]
    pub fn rest(self) -> &'a [u8] {
        self.0
    }
}

/// The bytes with one bit flipped, the place taken modulo their length; the same where there are none.
#[must_use]
pub fn with_bit_flipped(bytes: &[u8], place: u32) -> Vec<u8> {
    let mut flipped = bytes.to_vec();
    let bits = flipped.len() * 8;
    if let Some(place) = (place as usize).checked_rem(bits)
        && let Some(byte) = flipped.get_mut(place / 8)
    {
        *byte ^= 1 << (place % 8);
    }
    flipped
}
