//! Names that are taken, so that new ones keep clear of them.

use std::collections::BTreeMap;

use super::ref_name::RefName;
use crate::repo_path::fold_key;
use crate::{Error, Result};

/// The branches, or the tags, that exist. Asking costs a few lookups however many there are.
#[derive(Debug, Default)]
pub(super) struct TakenNames(BTreeMap<String, String>);

/// How a name collides with one that is taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Collision<'n> {
    /// It is this one, or this one in other letters.
    Same(&'n str),
    /// This one would be the directory it lies in, or lie in it as in a directory.
    Nested(&'n str),
}

impl Collision<'_> {
    /// Says that a name cannot lie within another; `same` says it of one that is taken.
    pub(super) fn into_error(self, what: &'static str, name: &RefName, same: impl FnOnce(String) -> Error) -> Error {
        match self {
            Self::Same(other) => same(other.to_owned()),
            Self::Nested(other) => {
                let reason = format!("`{other}` exists, and one cannot lie within the other");
                Error::ValueInvalid { what, value: name.to_string(), reason }
            }
        }
    }
}

impl TakenNames {
    /// Gathers names.
    pub(super) fn new<'n>(names: impl IntoIterator<Item = &'n str>) -> Self {
        Self(names.into_iter().map(|name| (fold_key(name), name.to_owned())).collect())
    }

    /// Takes one more name.
    pub(super) fn insert(&mut self, name: &RefName) {
        self.0.insert(fold_key(name.as_str()), name.to_string());
    }

    /// Finds what keeps a name from being made: see [`RefName::collides_with`].
    pub(super) fn collision(&self, name: &RefName) -> Option<Collision<'_>> {
        let key = fold_key(name.as_str());
        if let Some(other) = self.0.get(&key) {
            return Some(Collision::Same(other));
        }
        let above = key.match_indices('/').find_map(|(slash, _)| self.0.get(&key[..slash]));
        let directory = format!("{key}/");
        let within = self.0.range(directory.clone()..).next().filter(|(other, _)| other.starts_with(&directory));
        above.or(within.map(|(_, other)| other)).map(|other| Collision::Nested(other))
    }
}

/// Says whether a name is free.
///
/// # Errors
/// What `same` makes of the name it equals; [`Error::ValueInvalid`] where one would lie within another.
pub(super) fn check_free<'n>(
    taken: impl IntoIterator<Item = &'n str>,
    what: &'static str,
    name: &RefName,
    same: impl FnOnce(String) -> Error,
) -> Result<()> {
    match TakenNames::new(taken).collision(name) {
        Some(collision) => Err(collision.into_error(what, name, same)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn a_name_is_taken_exactly_when_it_collides_with_one(
            names in prop::collection::vec("[abB]{1,2}(/[aAb]){0,2}", 0..8),
            wanted in "[abB]{1,2}(/[aAb]){0,2}",
        ) {
            let wanted = RefName::branch(&wanted).unwrap();
            let collides = names.iter().any(|name| RefName::branch(name).unwrap().collides_with(&wanted));
            let taken = TakenNames::new(names.iter().map(String::as_str));
            prop_assert_eq!(taken.collision(&wanted).is_some(), collides);
        }
    }
}
