//! Randomness as an argument: a generator that is seeded by whoever asks for a decision.

use moldau_model::Uuid;

/// Xoshiro256++ (Blackman and Vigna): small, fast, and not for secrets. The same seed gives the same decisions.
#[derive(Clone, Debug)]
pub struct Random {
    state: [u64; 4],
}

impl Random {
    /// A generator from 32 bytes, which a server takes from the operating system for every decision: topic ids come
    /// from here, and no two may ever be equal.
    #[must_use]
    pub fn from_seed(seed: [u8; 32]) -> Self {
        let mut state = [0; 4];
        for (word, bytes) in state.iter_mut().zip(seed.chunks_exact(8)) {
            *word = bytes.iter().fold(0, |word, byte| (word << 8) | u64::from(*byte));
        }
        // All zeros is the one state that the generator never leaves.
        if state == [0; 4] { Self::from_number(0) } else { Self { state } }
    }

    /// A generator from one number, for tests and simulations (SplitMix64).
    #[must_use]
    pub fn from_number(mut number: u64) -> Self {
        let mut next = || {
            number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut word = number;
            word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            word ^ (word >> 31)
        };
        Self { state: [next(), next(), next(), next()] }
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        let [a, b, c, d] = self.state;
        let result = a.wrapping_add(d).rotate_left(23).wrapping_add(a);
        let (c, d) = (c ^ a, d ^ b);
        self.state = [a ^ d, b ^ c, c ^ (b << 17), d.rotate_left(45)];
        result
    }

    /// A number below `bound`, which is above 0. Fair enough for placement: the bias is `bound / 2^64`.
    pub fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.bits()) * bound as u128) >> 64) as usize
    }

    /// An id such as Kafka hands out.
    pub fn uuid(&mut self) -> Uuid {
        let number = (u128::from(self.bits()) << 64) | u128::from(self.bits());
        Uuid::from_random_bytes(number.to_be_bytes())
    }

    /// Puts the items into a random order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_decides_everything_and_zeros_are_no_trap() {
        let mut zero = Random::from_seed([0; 32]);
        assert_ne!(zero.bits(), zero.bits());
        let ids = |seed: [u8; 32]| {
            let mut random = Random::from_seed(seed);
            [random.uuid(), random.uuid()]
        };
        assert_eq!(ids([7; 32]), ids([7; 32]));
        assert_ne!(ids([7; 32])[0], ids([7; 32])[1]);
        assert_ne!(ids([7; 32]), ids([8; 32]));
    }

    #[test]
    fn below_reaches_every_number_and_none_beyond() {
        let mut random = Random::from_number(1);
        let mut seen = [0; 5];
        for _ in 0..1_000 {
            seen[random.below(5)] += 1;
        }
        assert!(seen.iter().all(|count| *count > 100), "{seen:?}");
    }
}
