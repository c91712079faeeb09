//! A range of keys.

use std::borrow::Cow;
use std::ops::Bound;

/// A range of keys, in bytewise order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRange<'a> {
    /// Where it begins.
    pub start: Bound<Cow<'a, [u8]>>,
    /// Where it ends.
    pub end: Bound<Cow<'a, [u8]>>,
}

impl<'a> KeyRange<'a> {
    /// Every key.
    pub const ALL: KeyRange<'static> = KeyRange { start: Bound::Unbounded, end: Bound::Unbounded };

    /// Keys between two bounds.
    pub fn new(start: Bound<&'a [u8]>, end: Bound<&'a [u8]>) -> Self {
        Self { start: start.map(Cow::Borrowed), end: end.map(Cow::Borrowed) }
    }

    /// Keys that begin with `prefix`. The empty prefix is every key.
    pub fn prefix(prefix: &'a [u8]) -> Self {
        // The first key behind all of them: the prefix with its last byte that can be raised raised, and cut there.
        let end = match prefix.iter().rposition(|byte| *byte < u8::MAX) {
            Some(last) => {
                let mut end = prefix[..=last].to_vec();
                end[last] += 1;
                Bound::Excluded(Cow::Owned(end))
            }
            None => Bound::Unbounded,
        };
        Self { start: Bound::Included(Cow::Borrowed(prefix)), end }
    }

    /// Keys from `start` on, itself included.
    pub fn from(start: &'a [u8]) -> Self {
        Self::new(Bound::Included(start), Bound::Unbounded)
    }

    /// Keys behind `start`.
    pub fn after(start: &'a [u8]) -> Self {
        Self::new(Bound::Excluded(start), Bound::Unbounded)
    }

    /// Keys from `start` on and before `end`.
    pub fn between(start: &'a [u8], end: &'a [u8]) -> Self {
        Self::new(Bound::Included(start), Bound::Excluded(end))
    }

    /// Says whether a key lies within.
    pub fn contains(&self, key: &[u8]) -> bool {
        let after_start = match &self.start {
            Bound::Included(start) => key >= &**start,
            Bound::Excluded(start) => key > &**start,
            Bound::Unbounded => true,
        };
        let before_end = match &self.end {
            Bound::Included(end) => key <= &**end,
            Bound::Excluded(end) => key < &**end,
            Bound::Unbounded => true,
        };
        after_start && before_end
    }

    /// Says whether the bounds leave room for no key, because they touch or are the wrong way round.
    pub fn is_empty(&self) -> bool {
        match (&self.start, &self.end) {
            (Bound::Included(start), Bound::Included(end)) => start > end,
            (Bound::Included(start) | Bound::Excluded(start), Bound::Included(end) | Bound::Excluded(end)) => {
                start >= end
            }
            _ => false,
        }
    }

    /// Returns the bounds as slices.
    pub fn bounds(&self) -> (Bound<&[u8]>, Bound<&[u8]>) {
        fn slice<'k>(bound: &'k Bound<Cow<'_, [u8]>>) -> Bound<&'k [u8]> {
            match bound {
                Bound::Included(key) => Bound::Included(key),
                Bound::Excluded(key) => Bound::Excluded(key),
                Bound::Unbounded => Bound::Unbounded,
            }
        }
        (slice(&self.start), slice(&self.end))
    }

    /// Returns the same range, owning its bounds.
    pub fn into_owned(self) -> KeyRange<'static> {
        let owned = |bound: Bound<Cow<'_, [u8]>>| bound.map(|key| Cow::Owned(key.into_owned()));
        KeyRange { start: owned(self.start), end: owned(self.end) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_prefix_of_the_highest_bytes_has_no_end() {
        assert_eq!(KeyRange::prefix(&[255, 255]).end, Bound::Unbounded);
        assert_eq!(KeyRange::prefix(&[1, 255]).end, Bound::Excluded(Cow::Borrowed(&[2][..])));
        assert_eq!(KeyRange::prefix(&[]).end, Bound::Unbounded);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        #[test]
        fn a_prefix_range_holds_what_begins_with_it(
            prefix in prop::collection::vec(253_u8.., 0..4),
            key in prop::collection::vec(253_u8.., 0..6),
        ) {
            prop_assert_eq!(KeyRange::prefix(&prefix).contains(&key), key.starts_with(&prefix));
        }
    }
}
