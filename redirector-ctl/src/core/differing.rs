//! What differs between two maps, most often the devices of two specs, in one walk over both: of a
//! hundred thousand a change usually names one, and what follows from it should not be done for
//! all.

use std::cmp::Ordering;
use std::collections::BTreeMap;

/// A key with what is there before and after a change; None where nothing is.
pub type Pair<'a, K, V> = (&'a K, Option<&'a V>, Option<&'a V>);

/// What only one side has, and that for which `alike` says no.
pub fn differing<'a, K: Ord, V>(
    before: &'a BTreeMap<K, V>,
    after: &'a BTreeMap<K, V>,
    alike: impl Fn(&V, &V) -> bool,
) -> Vec<Pair<'a, K, V>> {
    let (mut left, mut right) = (before.iter().peekable(), after.iter().peekable());
    let mut found = Vec::new();
    loop {
        let order = match (left.peek(), right.peek()) {
            (None, None) => return found,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((was, _)), Some((is, _))) => was.cmp(is),
        };
        let was = if order.is_le() { left.next() } else { None };
        let is = if order.is_ge() { right.next() } else { None };
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
    use super::super::fixtures::three_and_three;
    use super::*;

    #[test]
    fn those_that_go_come_or_change_are_found_and_no_others() {
        let spec = three_and_three();
        let (before, mut after) = (&spec.devices, BTreeMap::clone(&spec.devices));
        assert!(differing(before, &after, |a, b| a == b).is_empty());
        let gone = after.remove("d1").unwrap();
        after.insert("d9".into(), gone);
        if let Some(device) = after.get_mut("d3") {
            device.pinned = !device.pinned;
        }
        let found = differing(before, &after, |a, b| a == b);
        let found: Vec<_> = found
            .iter()
            .map(|(name, was, is)| (name.as_str(), was.is_some(), is.is_some()))
            .collect();
        assert_eq!(found, [("d1", true, false), ("d3", true, true), ("d9", false, true)]);
        assert_eq!(differing(before, &after, |a, b| a.id == b.id).len(), 2);
    }
}
