//! What differs between two maps, in one walk over both: a change usually names one entry, and what
//! follows from it should not be done for all.

use std::cmp::Ordering;
use std::collections::{BTreeMap, btree_map};
use std::iter::Peekable;

/// A key with what is there before and after a change; None where nothing is.
pub type Pair<'a, K, V> = (&'a K, Option<&'a V>, Option<&'a V>);

/// A walk over a map's entries, by key.
pub(super) trait Walk<'a, K: 'a, V: 'a> {
    /// The entry that is next.
    fn now(&mut self) -> Option<(&'a K, &'a V)>;
    /// Takes it.
    fn take(&mut self) -> Option<(&'a K, &'a V)>;
    /// Skips entries that are next in both and known to be the same; false where none are.
    fn skips_with(&mut self, _other: &mut Self) -> bool {
        false
    }
}

impl<'a, K, V> Walk<'a, K, V> for Peekable<btree_map::Iter<'a, K, V>> {
    fn now(&mut self) -> Option<(&'a K, &'a V)> {
        self.peek().copied()
    }

    fn take(&mut self) -> Option<(&'a K, &'a V)> {
        self.next()
    }
}

/// What only one side has, and that for which `alike` says no.
pub fn differing<'a, K: Ord, V>(
    before: &'a BTreeMap<K, V>,
    after: &'a BTreeMap<K, V>,
    alike: impl Fn(&V, &V) -> bool,
) -> Vec<Pair<'a, K, V>> {
    along(before.iter().peekable(), after.iter().peekable(), alike)
}

/// The same of two walks.
pub(super) fn along<'a, K: Ord, V, W: Walk<'a, K, V>>(
    mut left: W,
    mut right: W,
    alike: impl Fn(&V, &V) -> bool,
) -> Vec<Pair<'a, K, V>> {
    let mut found = Vec::new();
    loop {
        if left.skips_with(&mut right) {
            continue;
        }
        let order = match (left.now(), right.now()) {
            (None, None) => return found,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((was, _)), Some((is, _))) => was.cmp(is),
        };
        let was = if order.is_le() { left.take() } else { None };
        let is = if order.is_ge() { right.take() } else { None };
        match (was, is) {
            (Some((_, was)), Some((_, is))) if alike(was, is) => {}
            _ => {
                let name = was.or(is).map(|(name, _)| name);
                let pair = |name| (name, was.map(|(_, of)| of), is.map(|(_, of)| of));
                found.extend(name.map(pair));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_that_go_come_or_change_are_found_and_no_others() {
        let before = BTreeMap::from([("d1", 1), ("d2", 2), ("d3", 3)]);
        assert!(differing(&before, &before.clone(), |a, b| a == b).is_empty());
        let after = BTreeMap::from([("d2", 2), ("d3", 5), ("d9", 1)]);
        let found = differing(&before, &after, |a, b| a == b);
        let gone = (&"d1", Some(&1), None);
        let come = (&"d9", None, Some(&1));
        assert_eq!(found, [gone, (&"d3", Some(&3), Some(&5)), come]);
        assert_eq!(differing(&before, &after, |a, b| a % 2 == b % 2), [gone, come]);
    }
}
