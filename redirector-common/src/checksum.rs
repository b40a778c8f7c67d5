//! The Internet checksum as a value with a grammar:
//! `ChecksumDelta::none().remove(a).add(b).applied_to(old)`, and
//! `Checksum::zero().add(a).finish()` for a new one.
//!
//! Source: RFC 1071 (definition), RFC 1624 equation 3 (update: HC' = ~(~HC + ~m + m')); equation 2
//! of RFC 1141 can yield minus zero and is not used.

use crate::order::{Be16, Words};

/// What changed words do to a checksum: a ones' complement sum over 16-bit words in network order.
///
/// Holds at most 2^15 words before the 32 bits could overflow; headers have at most 60.
#[derive(Debug, Clone, Copy)]
#[must_use]
pub struct ChecksumDelta(u32);

impl ChecksumDelta {
    /// No change.
    #[inline(always)]
    pub fn none() -> Self {
        Self(0)
    }

    /// Takes a word, a number or an address out.
    #[inline(always)]
    pub fn remove(self, value: impl Words) -> Self {
        Self(self.0 + value.inverted_sum())
    }

    /// Puts a word, a number or an address in.
    #[inline(always)]
    #[expect(clippy::should_implement_trait, reason = "a word of the grammar, not an operator")]
    pub fn add(self, value: impl Words) -> Self {
        Self(self.0 + value.sum())
    }

    /// Both changes.
    #[inline(always)]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }

    /// The checksum that `checksum` becomes by the change.
    #[inline(always)]
    pub fn applied_to(self, checksum: Be16) -> Be16 {
        Be16::from_raw(!folded(self.0 + u32::from(!checksum.raw())))
    }
}

/// A checksum in the making.
#[derive(Debug, Clone, Copy)]
#[must_use]
pub struct Checksum(u32);

impl Checksum {
    /// The sum of nothing.
    #[inline(always)]
    pub fn zero() -> Self {
        Self(0)
    }

    /// Puts a word, a number or an address in.
    #[inline(always)]
    #[expect(clippy::should_implement_trait, reason = "a word of the grammar, not an operator")]
    pub fn add(self, value: impl Words) -> Self {
        Self(self.0 + value.sum())
    }

    /// Puts words in; at most 64 of them.
    #[inline(always)]
    pub fn add_all(mut self, words: &[Be16]) -> Self {
        for word in words {
            self = self.add(*word);
        }
        self
    }

    /// The checksum of what is in now.
    #[inline(always)]
    pub fn finish(self) -> Be16 {
        Be16::from_raw(!folded(self.0))
    }
}

/// At most 15 bits are left above the low 16 before the first fold, so two folds are enough.
#[inline(always)]
fn folded(sum: u32) -> u16 {
    let once = (sum & 0xffff) + (sum >> 16);
    ((once & 0xffff) + (once >> 16)) as u16
}

/// The checksum of `bytes`, an odd last byte padded with zero. For tests and small headers.
pub fn checksum(bytes: &[u8]) -> Be16 {
    let mut sum: u64 = 0;
    for pair in bytes.chunks(2) {
        let word = [pair[0], *pair.get(1).unwrap_or(&0)];
        sum += u64::from(u16::from_ne_bytes(word));
    }
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    Be16::from_raw(!(sum as u16))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::order::Be32;
    use proptest::prelude::*;

    #[test]
    fn the_example_of_rfc_1071_adds_up() {
        // RFC 1071, section 3: the words 0001 f203 f4f5 f6f7 sum to ddf2.
        let sum = checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]);
        assert_eq!(sum.get(), !0xddf2);
    }

    #[test]
    fn the_example_of_rfc_1624_does_not_yield_minus_zero() {
        // RFC 1624, section 4: HC = 0xdd2f, m = 0x5555, m' = 0x3285 gives 0x0000.
        let change = ChecksumDelta::none().remove(Be16::new(0x5555)).add(Be16::new(0x3285));
        let updated = change.applied_to(Be16::new(0xdd2f));
        assert_eq!(updated.get(), 0x0000);
    }

    proptest! {
        #[test]
        fn an_update_agrees_with_a_full_recomputation(
            mut words in prop::collection::vec(any::<u16>(), 2..30),
            at in any::<prop::sample::Index>(),
            new in any::<u16>(),
        ) {
            // A header is never all zero, which is the one case in which the two forms of zero
            // differ.
            words[0] |= 0x4000;
            let bytes = |words: &[u16]| -> std::vec::Vec<u8> {
                words.iter().flat_map(|word| word.to_be_bytes()).collect()
            };
            let before = checksum(&bytes(&words));
            let at = 1 + at.index(words.len() - 1);
            let old = core::mem::replace(&mut words[at], new);
            let change = ChecksumDelta::none().remove(Be16::new(old)).add(Be16::new(new));
            let updated = change.applied_to(before);
            prop_assert_eq!(updated, checksum(&bytes(&words)));
        }

        #[test]
        fn removing_what_was_added_changes_nothing(start in any::<u16>(), value in any::<u32>()) {
            let start = Be16::new(start);
            let value = Be32::new(value);
            let back = ChecksumDelta::none().add(value).remove(value).applied_to(start);
            // Ones' complement has two zeros: as a checksum field they mean the same.
            let same = back == start || (start.raw() == 0xffff && back.raw() == 0);
            prop_assert!(same, "{start:?} became {back:?}");
        }
    }
}
