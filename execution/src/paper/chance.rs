//! Chances that follow from a seed and an order's id, and from nothing else.
//!
//! Each order has its own stream of numbers, and each of its fills: what one order draws never depends on which others
//! came before it. The generator is `SplitMix64` (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number
//! Generators", 2014); an id becomes a number by FNV-1a over its bytes. Both are written out here, because what they
//! give is part of what a run means: with another generator, the same settings would be another history.

use ephor_governance::ids::SourceId;
use ephor_governance::units::Amount;

/// Parts that a share is counted in.
const PARTS: u64 = 1_000_000_000;

/// FNV-1a over these bytes, 64 bits.
pub(super) fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01B3))
}

/// One stream of numbers.
#[derive(Clone, Debug)]
pub(super) struct Chance(u64);

impl Chance {
    /// The stream of an order (`number` 0), or of one of its fills (from 1 on).
    pub(super) fn of(seed: u64, id: &SourceId, number: u32) -> Self {
        // Each part goes through the generator before the next one joins: seeds and numbers that lie close together
        // must not give streams that do.
        let seeded = Self(seed).next() ^ fnv1a(id.as_str().as_bytes());
        Self(Self(seeded).next() ^ u64::from(number))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below this; 0 where there is none.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        u64::try_from((u128::from(self.next()) * u128::from(bound)) >> 64).unwrap_or_default()
    }

    /// True in this share of all cases: never at 0, always at 1.
    pub(super) fn happens(&mut self, share: Amount) -> bool {
        let drawn = i64::try_from(self.below(PARTS)).unwrap_or_default();
        Amount::new(drawn, 9) < share
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generator_gives_the_published_numbers() {
        let mut chance = Chance(1_234_567);
        let drawn: Vec<u64> = (0..5).map(|_| chance.next()).collect();
        let published = [
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
            4_593_380_528_125_082_431,
            16_408_922_859_458_223_821,
        ];
        assert_eq!(drawn, published);
    }

    #[test]
    fn the_hash_gives_the_published_numbers() {
        assert_eq!(fnv1a(b""), 0xCBF2_9CE4_8422_2325);
        assert_eq!(fnv1a(b"a"), 0xAF63_DC4C_8601_EC8C);
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_F739_67E8);
    }

    #[test]
    fn a_share_is_met_over_many_orders_and_exactly_at_its_ends() {
        let drawn = |share: Amount| {
            let ids = (0..10_000).map(|n| SourceId::recorded(format!("o-{n}").into()));
            ids.filter(|id| Chance::of(7, id, 0).happens(share)).count()
        };
        assert_eq!((drawn(Amount::ZERO), drawn(Amount::ONE)), (0, 10_000));
        let quarter = drawn(Amount::new(25, 2));
        assert!((2_350..2_650).contains(&quarter), "{quarter}");
    }

    #[test]
    fn neighbouring_seeds_and_numbers_draw_apart() {
        let id: SourceId = "o-1".parse().unwrap();
        let first = |seed, number| Chance::of(seed, &id, number).next();
        let drawn = [first(1, 0), first(2, 0), first(1, 1), first(2, 1), first(0, 0), first(0, 1)];
        let apart: std::collections::BTreeSet<u64> = drawn.into();
        assert_eq!(apart.len(), drawn.len());
    }
}
