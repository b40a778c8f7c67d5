//! Whether the front, in which paths are remembered, is of use.
//!
//! Where far more flows than lines come in turn, nothing is found there, and a look costs more than
//! it spares. One line in so many is a sample: its looks are counted, and by them the other lines
//! are used or left alone.

/// One line in so many is of the sample; a power of two. A look at a line that nobody has used
/// lately is a miss of the cache, and so is its writing.
const SAMPLE: u32 = 64;
/// So many looks at the sample make a judgement.
const LOOKS: u32 = 512;
/// One look in so many has to find something: what a look spares that finds something is some three
/// times what one costs that does not (`bench`, rows `tracked_v4_1M` with and without the front).
const HITS_SHARE: u32 = 4;
/// So many packets are not looked for before all lines are tried again: flows that have become few
/// may all have lines outside the sample. Of the time, the trial takes some thirtieth.
const REST: u32 = 1 << 20;

/// What a sample of the flows tells of the front of one CPU. Shape: 12 bytes; all zero to begin
/// with.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct FrontUse {
    /// Looks at the sample since the last judgement.
    looks: u32,
    /// Those that found something.
    hits: u32,
    /// Not zero: only the sample is looked at, until so many packets more have come.
    rest: u32,
}

impl FrontUse {
    /// Whether a path may be looked for, and remembered, in a line.
    #[inline(always)]
    pub fn is_open(&self, line: u32) -> bool {
        line.is_multiple_of(SAMPLE) || self.rest == 0
    }

    /// The same for a packet that has just come.
    #[inline(always)]
    pub fn opens(&mut self, line: u32) -> bool {
        let open = self.is_open(line);
        if !open {
            self.rest -= 1;
        }
        open
    }

    /// Notes what a look at a line found.
    #[inline(always)]
    pub fn note(&mut self, line: u32, found: bool) {
        if !line.is_multiple_of(SAMPLE) {
            return;
        }
        self.looks += 1;
        self.hits += u32::from(found);
        if self.looks >= LOOKS {
            let found_enough = self.hits >= LOOKS / HITS_SHARE;
            self.rest = if found_enough { 0 } else { REST };
            self.looks = 0;
            self.hits = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(looks: u32, found: impl Fn(u32) -> bool) -> FrontUse {
        let mut of = FrontUse::default();
        (0..looks).for_each(|look| of.note(SAMPLE * look, found(look)));
        of
    }

    #[test]
    fn a_front_in_which_little_is_found_is_left_alone_but_for_its_sample() {
        let of = after(LOOKS, |look| look % 5 == 0);
        assert!(!of.is_open(1) && of.is_open(0) && of.is_open(SAMPLE));
    }

    #[test]
    fn a_front_in_which_enough_is_found_is_used() {
        assert!(after(LOOKS, |look| look % 4 == 0).is_open(1));
        assert!(after(LOOKS - 1, |_| false).is_open(1), "too few looks tell nothing");
    }

    #[test]
    fn a_front_that_was_left_alone_is_used_again_when_the_sample_says_so() {
        let mut of = after(LOOKS, |_| false);
        (0..LOOKS).for_each(|_| of.note(0, true));
        assert!(of.is_open(1));
    }

    #[test]
    fn flows_of_which_none_is_in_the_sample_get_their_front_back_after_a_while() {
        let mut of = after(LOOKS, |_| false);
        assert_eq!((0..2 * REST).filter(|_| !of.opens(1)).count(), REST as usize);
        assert!(of.is_open(1));
    }

    #[test]
    fn lines_outside_the_sample_tell_nothing() {
        let mut of = FrontUse::default();
        (0..10 * LOOKS).for_each(|_| of.note(1, false));
        assert_eq!(of, FrontUse::default());
    }
}
