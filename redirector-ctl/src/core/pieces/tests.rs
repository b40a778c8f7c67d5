//! Beside a plain map, which it must not be told from.

use proptest::prelude::*;

use super::super::differing::differing;
use super::*;

/// Whether the pieces are as they should be.
fn check(map: &Pieces<u16, u32>) {
    let bounds: Vec<u16> = map.by_bound.keys().copied().collect();
    for (n, (bound, piece)) in map.by_bound.iter().enumerate() {
        assert!((1..=PIECE_LEN_MAX).contains(&piece.len()), "{} in a piece", piece.len());
        assert!(piece.keys().all(|key| key >= bound));
        let below = bounds.get(n + 1);
        assert!(piece.keys().all(|key| below.is_none_or(|below| key < below)));
    }
    assert_eq!(map.len(), map.by_bound.values().map(|piece| piece.len()).sum::<usize>());
}

#[derive(Debug, Clone)]
enum Step {
    Put(u16, u32),
    Run(u16, u16),
    Change(u16, u32),
    Remove(u16),
    RemoveRun(u16, u16),
}

const KEYS: u16 = 900;

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..KEYS, 0..9_u32).prop_map(|(key, value)| Step::Put(key, value)),
        (0..KEYS, 0..300_u16).prop_map(|(from, len)| Step::Run(from, len)),
        (0..KEYS, 0..9_u32).prop_map(|(key, value)| Step::Change(key, value)),
        (0..KEYS).prop_map(Step::Remove),
        (0..KEYS, 0..200_u16).prop_map(|(from, len)| Step::RemoveRun(from, len)),
    ]
}

fn take(map: &mut Pieces<u16, u32>, plain: &mut BTreeMap<u16, u32>, step: &Step) {
    match *step {
        Step::Put(key, value) => assert_eq!(map.insert(key, value), plain.insert(key, value)),
        // From the last one to the first, so that some come before all others.
        Step::Run(from, len) => (from..from + len).rev().for_each(|key| {
            assert_eq!(map.insert(key, 1), plain.insert(key, 1));
        }),
        Step::Change(key, value) => {
            let known = plain.get_mut(&key);
            assert_eq!(map.get_mut(&key).is_some(), known.is_some());
            if let Some((own, known)) = map.get_mut(&key).zip(known) {
                (*own, *known) = (value, value);
            }
        }
        Step::Remove(key) => assert_eq!(map.remove(&key), plain.remove(&key)),
        Step::RemoveRun(from, len) => (from..from + len).for_each(|key| {
            assert_eq!(map.remove(&key), plain.remove(&key));
        }),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn it_is_a_map_like_any_other(steps in prop::collection::vec(step(), 1..30), at in 0..KEYS) {
        let (mut map, mut plain) = (Pieces::default(), BTreeMap::new());
        for step in &steps {
            let (before, plain_before) = (map.clone(), plain.clone());
            take(&mut map, &mut plain, step);
            check(&map);
            prop_assert!(map.iter().eq(&plain));
            prop_assert!(before.iter().eq(&plain_before), "an earlier copy has changed");
            prop_assert_eq!(before == map, plain_before == plain);
            let own = before.differing(&map, |was, is| was == is);
            prop_assert_eq!(own, differing(&plain_before, &plain, |was, is| was == is));
            prop_assert_eq!(map.get_key_value(&at), plain.get_key_value(&at));
            let after = plain.range((Bound::Excluded(at), Bound::Unbounded));
            prop_assert!(map.after(Some(&at)).eq(after));
        }
        prop_assert!(map.after(None).eq(&plain));
        let text = serde_json::to_string(&map).unwrap();
        prop_assert_eq!(&text, &serde_json::to_string(&plain).unwrap());
        prop_assert_eq!(serde_json::from_str::<Pieces<u16, u32>>(&text).unwrap(), map);
    }
}

#[test]
fn one_change_of_very_many_copies_one_piece_and_looks_at_no_other() {
    let before: Pieces<u16, u32> = (0..10_000).map(|key| (key, 0)).collect();
    let mut after = before.clone();
    *after.get_mut(&5000).unwrap() = 1;
    assert_eq!(after.get_mut(&20_000), None);
    assert_eq!(after.remove(&20_000), None);
    let pieces = before.by_bound.values().zip(after.by_bound.values());
    let own_len = pieces.filter(|(was, is)| !was.is_same(is)).count();
    assert_eq!(own_len, 1);
    let looks = std::cell::Cell::new(0);
    let found = before.differing(&after, |was, is| {
        looks.set(looks.get() + 1);
        was == is
    });
    assert_eq!(found, [(&5000, Some(&0), Some(&1))]);
    assert!(looks.get() <= PIECE_LEN_MAX, "{} looks", looks.get());
}
