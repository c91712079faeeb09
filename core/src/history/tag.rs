//! Light tags: names that stay where they are. And `tags.json`, which other versions of the program keep them in.

use serde_json::{Map, Value};

use super::History;
use super::ref_name::RefName;
use super::ref_report::{RefInfo, RefUpdate, check_room};
use super::refs::{MAX_NAMES, parse_id};
use super::revision::Revision;
use super::taken_names::{Collision, TakenNames};
use crate::ids::CommitId;
use crate::object::{ObjectKind, ObjectStore};
use crate::repository::{Repository, State, Transaction};
use crate::{Error, Result, near_names};

/// Largest `tags.json` read: room for as many tags as can be published, with a field or two more than we write.
pub const MAX_TAGS_FILE: usize = 4 << 20;

/// What an import of tags did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TagImportReport {
    /// Tags that are new or moved.
    pub imported: Vec<RefUpdate>,
    /// Tags that stood there already.
    pub unchanged: usize,
    /// Names left out, and why.
    pub skipped: Vec<(String, String)>,
}

impl History<'_> {
    /// Lists the tags in order of their names.
    pub fn tags(&self) -> Vec<RefInfo> {
        self.state.tags.iter().map(|(name, target)| self.ref_info(name, Some(*target))).collect()
    }

    /// Writes the tags as `tags.json`: an object of names and the ids of their commits.
    pub fn export_tags(&self) -> String {
        let text = |(name, id): (&String, &CommitId)| (name.clone(), Value::String(id.to_string()));
        let map: Map<String, Value> = self.state.tags.iter().map(text).collect();
        format!("{:#}\n", Value::Object(map))
    }
}

impl Repository {
    /// Makes a tag at a revision; `force` moves one that exists.
    ///
    /// # Errors
    /// [`Error::TagExists`]; [`Error::ValueInvalid`] where tags `a` and `a/b` would stand beside each other; those of
    /// [`History::resolve`].
    pub fn create_tag(&self, name: &RefName, at: &Revision, force: bool) -> Result<RefUpdate> {
        self.change_refs("tag new", |transaction| {
            let store = self.store(&transaction.state)?;
            let target = self.history(&transaction.state, &store).resolve(at)?;
            let mut taken = taken_tags(transaction);
            put_tag(transaction, &mut taken, name, target, force)
        })
    }

    /// Removes a tag. The report says where it stood.
    ///
    /// # Errors
    /// [`Error::TagNotFound`].
    pub fn delete_tag(&self, name: &str) -> Result<RefUpdate> {
        self.change_refs("tag rm", |transaction| {
            let state = &transaction.state;
            let old = *state.tags.get(name).ok_or_else(|| tag_not_found(state, name))?;
            transaction.set_tag(name, None);
            Ok(RefUpdate { name: name.to_owned(), old: Some(old), new: None })
        })
    }

    /// Takes tags over from a `tags.json`: an object of names, and as values the ids of commits that are here, alone or
    /// as the field `commit`, `commit_id`, `target` or `id` of an object. What cannot be taken is left out and named;
    /// `force` moves tags that exist. One transaction.
    ///
    /// # Errors
    /// [`Error::ValueInvalid`] where it is no such object, larger than [`MAX_TAGS_FILE`] or of more than [`MAX_NAMES`]
    /// tags.
    pub fn import_tags(&self, json: &[u8], force: bool) -> Result<TagImportReport> {
        let invalid = |reason: String| Error::ValueInvalid { what: "file", value: "tags.json".to_owned(), reason };
        if json.len() > MAX_TAGS_FILE {
            return Err(invalid(format!("it is larger than {MAX_TAGS_FILE} bytes")));
        }
        let json = json.strip_prefix(b"\xef\xbb\xbf").unwrap_or(json);
        let tags: Map<String, Value> = serde_json::from_slice(json).map_err(|error| invalid(error.to_string()))?;
        if tags.len() > MAX_NAMES {
            return Err(invalid(format!("it has more than {MAX_NAMES} tags")));
        }
        self.change_refs("tag import", |transaction| {
            let store = self.store(&transaction.state)?;
            let mut taken = taken_tags(transaction);
            let mut report = TagImportReport::default();
            for (name, value) in &tags {
                match import_tag(transaction, &mut taken, &store, (name, value), force) {
                    Ok(update) if update.old == update.new => report.unchanged += 1,
                    Ok(update) => report.imported.push(update),
                    Err(Skip(reason)) => report.skipped.push((name.clone(), reason)),
                }
            }
            Ok(report)
        })
    }
}

/// Why a tag of an import is left out.
struct Skip(String);

impl From<Error> for Skip {
    fn from(error: Error) -> Self {
        match error {
            Error::ValueInvalid { reason, .. } => Self(reason),
            Error::TagExists { .. } => Self("it names another commit here".to_owned()),
            other => Self(other.to_string()),
        }
    }
}

fn import_tag(
    transaction: &mut Transaction<'_>,
    taken: &mut TakenNames,
    store: &ObjectStore,
    (name, value): (&str, &Value),
    force: bool,
) -> Result<RefUpdate, Skip> {
    let field = ["commit", "commit_id", "target", "id"].iter().find_map(|field| value.get(field));
    let text = value.as_str().or_else(|| field?.as_str());
    let id = text.and_then(parse_id).ok_or_else(|| Skip("its value is no commit id".to_owned()))?;
    let name = RefName::tag(name)?;
    match store.find(id.0)? {
        Some(place) if place.location.kind == ObjectKind::Commit as u8 => {}
        Some(_) => return Err(Skip(format!("{id} is no commit"))),
        None => return Err(Skip(format!("commit {id} is not here"))),
    }
    if transaction.state.tags.get(name.as_str()) == Some(&id) {
        return Ok(RefUpdate { name: name.to_string(), old: Some(id), new: Some(id) });
    }
    Ok(put_tag(transaction, taken, &name, id, force)?)
}

fn taken_tags(transaction: &Transaction<'_>) -> TakenNames {
    TakenNames::new(transaction.state.tags.keys().map(String::as_str))
}

fn put_tag(
    transaction: &mut Transaction<'_>,
    taken: &mut TakenNames,
    name: &RefName,
    target: CommitId,
    force: bool,
) -> Result<RefUpdate> {
    let old = transaction.state.tags.get(name.as_str()).copied();
    match taken.collision(name) {
        None => check_room(&transaction.state, "tag name", name)?,
        // One that is spelt otherwise cannot be moved under this name.
        Some(Collision::Same(_)) if force && old.is_some() => {}
        Some(other) => return Err(other.into_error("tag name", name, |name| Error::TagExists { name })),
    }
    taken.insert(name);
    transaction.set_tag(name.as_str(), Some(target));
    Ok(RefUpdate { name: name.to_string(), old, new: Some(target) })
}

/// Says that there is no such tag, and which are called nearly so.
pub fn tag_not_found(state: &State, name: &str) -> Error {
    let near = near_names(name, state.tags.keys().map(String::as_str), 3);
    Error::TagNotFound { name: name.to_owned(), suggestions: near.into_iter().map(str::to_owned).collect() }
}
