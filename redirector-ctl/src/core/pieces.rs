//! A map of very many, in pieces of which each is shared by itself: who changes one entry copies
//! its piece, and who compares two maps skips what they share.
//!
//! One change of a hundred thousand devices then costs what its few devices cost. A tree whose
//! nodes are shared would do the same with fewer entries copied, but what is looked up thousands of
//! times for each change is better off in plain nodes.

#[cfg(test)]
mod tests;

use std::borrow::Borrow;
use std::collections::{BTreeMap, btree_map};
use std::fmt;
use std::iter::{FlatMap, Peekable};
use std::ops::Bound;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::differing::{Pair, Walk, along};
use super::shared::Shared;

/// Entries of a piece at most: a full one is cut in two halves. With so many a copy of a piece of
/// devices takes about as long as one of the list of a thousand pieces.
const PIECE_LEN_MAX: usize = 128;

type Piece<K, V> = Shared<BTreeMap<K, V>>;

/// The map. No piece is empty.
#[derive(Clone)]
pub struct Pieces<K, V> {
    /// No key of a piece is below its bound, and all are below the bound of the next.
    by_bound: BTreeMap<K, Piece<K, V>>,
    len: usize,
}

/// Entries in the order of their keys.
pub type Iter<'a, K, V> = FlatMap<
    btree_map::Values<'a, K, Piece<K, V>>,
    btree_map::Iter<'a, K, V>,
    fn(&'a Piece<K, V>) -> btree_map::Iter<'a, K, V>,
>;

impl<K, V> Pieces<K, V> {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All, by key.
    pub fn iter(&self) -> Iter<'_, K, V> {
        self.by_bound.values().flat_map(|piece| piece.iter())
    }

    /// All keys, in order.
    pub fn keys(&self) -> impl Iterator<Item = &K> + Clone {
        self.iter().map(|(key, _)| key)
    }

    /// All values, by key.
    pub fn values(&self) -> impl Iterator<Item = &V> + Clone {
        self.iter().map(|(_, value)| value)
    }
}

impl<K: Ord + Clone, V: Clone> Pieces<K, V> {
    /// The value of a key.
    #[must_use]
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.piece_of(key)?.get(key)
    }

    /// The same with the map's own key.
    #[must_use]
    pub fn get_key_value<Q: Ord + ?Sized>(&self, key: &Q) -> Option<(&K, &V)>
    where
        K: Borrow<Q>,
    {
        self.piece_of(key)?.get_key_value(key)
    }

    /// Whether a key is there.
    #[must_use]
    pub fn contains_key<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.get(key).is_some()
    }

    /// Those after a key, by key; without one all.
    pub fn after<'a>(&'a self, key: Option<&'a K>) -> impl Iterator<Item = (&'a K, &'a V)> {
        let begin = key.map_or(Bound::Unbounded, |key| {
            let piece = self.by_bound.range(..=key).next_back();
            piece.map_or(Bound::Unbounded, |(bound, _)| Bound::Included(bound))
        });
        let from = key.map_or(Bound::Unbounded, Bound::Excluded);
        let pieces = self.by_bound.range((begin, Bound::Unbounded));
        pieces.flat_map(move |(_, piece)| piece.range((from, Bound::Unbounded)))
    }

    /// The value of a key, to be changed.
    pub fn get_mut<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        let (_, piece) = piece_at(&mut self.by_bound, key)?;
        // A look at what is not there copies nothing.
        if !piece.contains_key(key) {
            return None;
        }
        piece.get_mut(key)
    }

    /// All, by key, to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&K, &mut V)> {
        self.by_bound.values_mut().flat_map(|piece| piece.iter_mut())
    }

    /// Puts a value in the place of the one that there was.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        if self.piece_of(&key).is_none() {
            // It comes before all others, or is the first.
            let (_, piece) =
                self.by_bound.pop_first().unwrap_or_else(|| (key.clone(), <_>::default()));
            self.by_bound.insert(key.clone(), piece);
        }
        let (_, piece) = piece_at(&mut self.by_bound, &key)?;
        let was = piece.insert(key, value);
        self.len += usize::from(was.is_none());
        let half = piece.keys().nth(PIECE_LEN_MAX / 2).filter(|_| piece.len() > PIECE_LEN_MAX);
        if let Some(bound) = half.cloned() {
            let later = piece.split_off(&bound);
            self.by_bound.insert(bound, later.into());
        }
        was
    }

    /// Takes an entry away.
    pub fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let (bound, piece) = piece_at(&mut self.by_bound, key)?;
        if !piece.contains_key(key) {
            return None;
        }
        let was = piece.remove(key);
        let gone = piece.is_empty().then(|| K::clone(bound));
        self.len -= usize::from(was.is_some());
        if let Some(bound) = gone {
            self.by_bound.remove::<K>(&bound);
        }
        was
    }

    /// What only one of the two has, and that for which `alike` says no. Pieces that both share are
    /// alike for certain.
    pub fn differing<'a>(
        &'a self,
        after: &'a Self,
        alike: impl Fn(&V, &V) -> bool,
    ) -> Vec<Pair<'a, K, V>> {
        along(PieceWalk::of(self), PieceWalk::of(after), alike)
    }

    fn piece_of<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&Piece<K, V>>
    where
        K: Borrow<Q>,
    {
        let until = (Bound::Unbounded, Bound::Included(key));
        self.by_bound.range::<Q, _>(until).next_back().map(|(_, piece)| piece)
    }
}

/// The piece that has a key, if it is there, with its bound.
fn piece_at<'a, K: Ord + Borrow<Q>, V, Q: Ord + ?Sized>(
    by_bound: &'a mut BTreeMap<K, Piece<K, V>>,
    key: &Q,
) -> Option<(&'a K, &'a mut Piece<K, V>)> {
    by_bound.range_mut::<Q, _>((Bound::Unbounded, Bound::Included(key))).next_back()
}

/// A walk over all entries, which can skip a piece that it has not begun.
struct PieceWalk<'a, K, V> {
    pieces: btree_map::Values<'a, K, Piece<K, V>>,
    /// The piece that is walked through, and whether none of it has been taken.
    piece: Option<(&'a Piece<K, V>, bool)>,
    rest: Peekable<btree_map::Iter<'a, K, V>>,
}

impl<'a, K: Ord, V> PieceWalk<'a, K, V> {
    fn of(map: &'a Pieces<K, V>) -> Self {
        let mut pieces = map.by_bound.values();
        let piece = pieces.next();
        let rest = piece.map(|piece| piece.iter()).unwrap_or_default().peekable();
        Self { pieces, piece: piece.map(|piece| (piece, true)), rest }
    }

    fn next_piece(&mut self) {
        let piece = self.pieces.next();
        self.rest = piece.map(|piece| piece.iter()).unwrap_or_default().peekable();
        self.piece = piece.map(|piece| (piece, true));
    }
}

impl<'a, K: Ord, V> Walk<'a, K, V> for PieceWalk<'a, K, V> {
    /// Skips the next piece of both, if it is the same and neither has begun it.
    fn skips_with(&mut self, other: &mut Self) -> bool {
        let is_same = match (self.piece, other.piece) {
            (Some((a, true)), Some((b, true))) => a.is_same(b),
            _ => false,
        };
        if is_same {
            self.next_piece();
            other.next_piece();
        }
        is_same
    }

    fn now(&mut self) -> Option<(&'a K, &'a V)> {
        self.rest.peek().copied()
    }

    fn take(&mut self) -> Option<(&'a K, &'a V)> {
        let next = self.rest.next();
        self.piece = self.piece.map(|(piece, _)| (piece, false));
        if self.rest.peek().is_none() {
            self.next_piece();
        }
        next
    }
}

impl<K, V> Default for Pieces<K, V> {
    fn default() -> Self {
        Self { by_bound: BTreeMap::new(), len: 0 }
    }
}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for Pieces<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<K: Ord + Clone, V: Clone + PartialEq> PartialEq for Pieces<K, V> {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.differing(other, |a, b| a == b).is_empty()
    }
}

impl<K: Ord + Clone, V: Clone + Eq> Eq for Pieces<K, V> {}

#[cfg(test)]
impl<K: Ord + Clone + Borrow<Q>, V: Clone, Q: Ord + ?Sized> std::ops::Index<&Q> for Pieces<K, V> {
    type Output = V;

    fn index(&self, key: &Q) -> &V {
        self.get(key).expect("the key is there")
    }
}

impl<K: Ord + Clone, V: Clone> Extend<(K, V)> for Pieces<K, V> {
    fn extend<I: IntoIterator<Item = (K, V)>>(&mut self, more: I) {
        more.into_iter().for_each(|(key, value)| drop(self.insert(key, value)));
    }
}

impl<K: Ord + Clone, V: Clone> FromIterator<(K, V)> for Pieces<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(all: I) -> Self {
        let mut map = Self::default();
        map.extend(all);
        map
    }
}

impl<'a, K, V> IntoIterator for &'a Pieces<K, V> {
    type Item = (&'a K, &'a V);
    type IntoIter = Iter<'a, K, V>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// On disk it is a map like any other.
impl<K: Serialize, V: Serialize> Serialize for Pieces<K, V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self)
    }
}

impl<'de, K, V> Deserialize<'de> for Pieces<K, V>
where
    K: Deserialize<'de> + Ord + Clone,
    V: Deserialize<'de> + Clone,
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        BTreeMap::deserialize(deserializer).map(|all| all.into_iter().collect())
    }
}
