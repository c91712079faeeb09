//! A configuration file, as it is written.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::key::{KEYS, KeySpec, Place};
use crate::error::Error;
use crate::near_name::near_names;

/// Largest configuration file: a thousand times what all settings need.
pub const MAX_FILE: usize = 1 << 20;

/// Whose file it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The user's, for all repositories.
    User,
    /// One repository's.
    Repository,
}

/// The JSON of a file: objects within objects (`{"ui": {"color": "never"}}`), dotted names (`{"ui.color": "never"}`), or
/// flat ones (`{"ui_color": "never"}`).
///
/// It may hold unknown keys and bad values; those are told by [`problems`](Self::problems), and stay until they are
/// edited. Editing keeps the order of what is there. Nothing is read from disk here, nor written.
#[derive(Debug, Clone, PartialEq)]
pub struct ConfigFile {
    path: PathBuf,
    scope: Scope,
    root: Map<String, Value>,
}

impl ConfigFile {
    /// Makes a file without settings, which is also what a missing one means.
    #[must_use]
    pub fn empty(path: impl Into<PathBuf>, scope: Scope) -> Self {
        Self { path: path.into(), scope, root: Map::new() }
    }

    /// Parses a file's bytes. A blank file is an empty one.
    ///
    /// # Errors
    /// [`Error::ConfigInvalid`] for bytes that are no JSON object or exceed [`MAX_FILE`].
    pub fn parse(path: impl Into<PathBuf>, scope: Scope, bytes: &[u8]) -> Result<Self, Error> {
        let mut file = Self::empty(path, scope);
        let invalid = |reason: String| Error::ConfigInvalid {
            key: "file".to_owned(),
            origin: file.path.display().to_string(),
            reason,
            suggestion: None,
        };
        if bytes.len() > MAX_FILE {
            return Err(invalid(format!("it is larger than {MAX_FILE} bytes")));
        }
        if bytes.trim_ascii().is_empty() {
            return Ok(file);
        }
        match serde_json::from_slice(bytes) {
            Ok(Value::Object(root)) => file.root = root,
            Ok(_) => return Err(invalid("it is not a JSON object".to_owned())),
            Err(error) => return Err(invalid(format!("it is not JSON: {error}"))),
        }
        Ok(file)
    }

    /// Returns where the file lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns whose file it is.
    #[must_use]
    pub fn scope(&self) -> Scope {
        self.scope
    }

    /// Returns the bytes to write: indented JSON and a newline.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        format!("{:#}\n", Value::Object(self.root.clone())).into_bytes()
    }

    /// Returns what is wrong with the settings in it, in their order.
    #[must_use]
    pub fn problems(&self) -> Vec<Error> {
        self.settings().into_iter().filter_map(Result::err).collect()
    }

    /// Returns every setting in it: its key and checked value, or what is wrong.
    pub(super) fn settings(&self) -> Vec<Result<(&'static KeySpec, Value), Error>> {
        let mut seen: Vec<&str> = Vec::new();
        let check = |(name, value): (String, &Value)| {
            let spec = find(&name).ok_or_else(|| self.unknown(&name))?;
            self.check_place(spec)?;
            if seen.contains(&spec.name) {
                return Err(self.invalid(&name, "it is set twice in this file", None));
            }
            seen.push(spec.name);
            let value = (spec.read_json)(value).map_err(|reason| {
                self.invalid(&name, reason, value.as_str().and_then(|value| near_word(spec, value)))
            })?;
            Ok((spec, value))
        };
        entries(&self.root).into_iter().map(check).collect()
    }

    /// Sets a key, where it stands already or else behind what is there, and returns its value as JSON.
    ///
    /// # Errors
    /// [`Error::ConfigInvalid`] for an unknown key, one that this file may not hold, or a bad value; the file is then as
    /// it was.
    pub fn set(&mut self, name: &str, text: &str) -> Result<Value, Error> {
        let spec = find(name).ok_or_else(|| self.unknown(name))?;
        self.check_place(spec)?;
        let value = (spec.read_text)(text).map_err(|reason| self.invalid(name, reason, near_word(spec, text)))?;
        let written: Vec<String> =
            entries(&self.root).into_iter().map(|(name, _)| name).filter(|name| spec.is_named(name)).collect();
        if let Some((last, others)) = written.split_last() {
            // Twice in one file is an error, which setting it again mends.
            others.iter().for_each(|name| drop(remove(&mut self.root, name)));
            *find_mut(&mut self.root, last).expect("the name was listed from this file") = value.clone();
        } else {
            insert(&mut self.root, spec.name, value.clone());
        }
        Ok(value)
    }

    /// Removes a key, in whichever spelling, and returns whether it was there. Unknown keys that stand in the file may be
    /// removed too.
    ///
    /// # Errors
    /// [`Error::ConfigInvalid`] for an unknown key that is not in the file.
    pub fn unset(&mut self, name: &str) -> Result<bool, Error> {
        let spec = find(name);
        let names = entries(&self.root).into_iter().map(|(name, _)| name);
        let written: Vec<String> =
            names.filter(|written| written == name || spec.is_some_and(|spec| spec.is_named(written))).collect();
        if written.is_empty() && spec.is_none() {
            return Err(self.unknown(name));
        }
        written.iter().for_each(|name| drop(remove(&mut self.root, name)));
        Ok(!written.is_empty())
    }

    fn check_place(&self, spec: &KeySpec) -> Result<(), Error> {
        if spec.place == Place::User && self.scope == Scope::Repository {
            return Err(self.invalid(spec.name, "only the user's own file may set it", None));
        }
        Ok(())
    }

    fn unknown(&self, name: &str) -> Error {
        self.invalid(name, "there is no such key", near_key(name))
    }

    fn invalid(&self, key: &str, reason: impl Into<String>, suggestion: Option<String>) -> Error {
        Error::ConfigInvalid {
            key: key.to_owned(),
            origin: self.path.display().to_string(),
            reason: reason.into(),
            suggestion,
        }
    }
}

/// Returns the key of a name in any spelling.
pub(super) fn find(name: &str) -> Option<&'static KeySpec> {
    KEYS.iter().copied().find(|spec| spec.is_named(name))
}

/// Returns the key that was perhaps meant.
pub(super) fn near_key(name: &str) -> Option<String> {
    let dotted = name.replace('_', ".");
    let names = || KEYS.iter().map(|spec| spec.name);
    near_names(name, names(), 1).first().or(near_names(&dotted, names(), 1).first()).map(|&name| name.to_owned())
}

/// Returns the word that was perhaps meant.
pub(super) fn near_word(spec: &KeySpec, text: &str) -> Option<String> {
    near_names(text, spec.words.iter().copied(), 1).first().map(|&word| word.to_owned())
}

/// Lists the values that are no objects, each under its dotted name.
fn entries(root: &Map<String, Value>) -> Vec<(String, &Value)> {
    let mut found = Vec::new();
    let mut open = vec![(String::new(), root.iter())];
    while let Some((prefix, rest)) = open.last_mut() {
        let Some((name, value)) = rest.next() else {
            open.pop();
            continue;
        };
        let name = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        match value {
            Value::Object(inner) if !inner.is_empty() => open.push((name, inner.iter())),
            Value::Object(_) => {}
            value => found.push((name, value)),
        }
    }
    found
}

/// Finds the value of a name as [`entries`] gave it: any of its dots may be a step into an object.
fn find_mut<'a>(root: &'a mut Map<String, Value>, name: &str) -> Option<&'a mut Value> {
    if root.get(name).is_some_and(|value| !value.is_object()) {
        return root.get_mut(name);
    }
    let step = steps(name).find(|(outer, rest)| is_in(root, outer, rest))?;
    find_mut(root.get_mut(step.0)?.as_object_mut()?, step.1)
}

fn remove(root: &mut Map<String, Value>, name: &str) -> Option<Value> {
    if root.get(name).is_some_and(|value| !value.is_object()) {
        return root.shift_remove(name);
    }
    let (outer, rest) = steps(name).find(|(outer, rest)| is_in(root, outer, rest))?;
    let inner = root.get_mut(outer)?.as_object_mut()?;
    let removed = remove(inner, rest);
    if inner.is_empty() {
        root.shift_remove(outer);
    }
    removed
}

fn is_in(root: &Map<String, Value>, outer: &str, rest: &str) -> bool {
    root.get(outer).and_then(Value::as_object).is_some_and(|inner| entries(inner).iter().any(|(name, _)| name == rest))
}

fn steps(name: &str) -> impl Iterator<Item = (&str, &str)> {
    name.match_indices('.').map(|(dot, _)| (&name[..dot], &name[dot + 1..]))
}

/// Inserts below an object of the name's first part, or under the dotted name where something else stands there.
fn insert(root: &mut Map<String, Value>, name: &str, value: Value) {
    let inner = name.split_once('.').and_then(|(outer, rest)| {
        let object = root.entry(outer).or_insert_with(|| Value::Object(Map::new()));
        object.as_object_mut().map(|object| (object, rest))
    });
    match inner {
        Some((object, rest)) => object.insert(rest.to_owned(), value),
        None => root.insert(name.to_owned(), value),
    };
}
