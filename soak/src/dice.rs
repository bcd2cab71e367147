//! Random numbers that are the same whoever asks, and when: they follow from what is asked.

/// What the dice show for one question.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(mixed(seed ^ 0x5eed))
    }

    /// The dice for a part of the question.
    pub(crate) fn of(self, part: u64) -> Self {
        Self(mixed(self.0 ^ mixed(part.wrapping_add(1))))
    }

    /// A number below `end`, which is not 0.
    pub(crate) fn below(self, end: u64) -> u64 {
        // The upper half of a product: as even as 64 bits can be.
        ((u128::from(self.0) * u128::from(end)) >> 64) as u64
    }

    /// One of these, which are not none.
    pub(crate) fn one<T: Copy>(self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }

    /// Yes, as often as this part of 1 says.
    pub(crate) fn chance(self, part: f64) -> bool {
        ((self.0 >> 11) as f64) < part * (1u64 << 53) as f64
    }

    /// So many bytes that no other question has.
    pub(crate) fn bytes(self, length: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(length + 8);
        let mut word = self.0;
        while bytes.len() < length {
            word = mixed(word);
            bytes.extend(word.to_le_bytes());
        }
        bytes.truncate(length);
        bytes
    }
}

/// The finalizer of splitmix64 (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number
/// Generators", 2014).
fn mixed(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}
