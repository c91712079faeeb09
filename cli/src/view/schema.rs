//! JSON Schemas of the answers, generated from their structs.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::*;

/// A struct's schema and those it refers to.
type Collect = fn() -> (String, Vec<(String, RefOr<Schema>)>);

fn collect<T: ToSchema + PartialSchema>() -> (String, Vec<(String, RefOr<Schema>)>) {
    let name = T::name().into_owned();
    let mut schemas = vec![(name.clone(), T::schema())];
    T::schemas(&mut schemas);
    (name, schemas)
}

/// Which struct each command answers with.
const ANSWERS: &[(&str, Collect)] = &[
    ("add", collect::<AddReport>),
    ("branch.list", collect::<RefList>),
    ("branch.new", collect::<RefUpdate>),
    ("branch.rename", collect::<BranchRenamed>),
    ("branch.rm", collect::<RefUpdate>),
    ("branch.upstream", collect::<BranchUpstream>),
    ("clone", collect::<FetchReport>),
    ("commit", collect::<CommitReport>),
    ("completions", collect::<Completions>),
    ("config.edit", collect::<ConfigChange>),
    ("config.get", collect::<ConfigValue>),
    ("config.list", collect::<ConfigList>),
    ("config.set", collect::<ConfigChange>),
    ("config.unset", collect::<ConfigChange>),
    ("demo", collect::<DemoReport>),
    ("doctor", collect::<DoctorReport>),
    ("export", collect::<ExportReport>),
    ("fsck", collect::<FsckReport>),
    ("ignore.check", collect::<IgnoreMatches>),
    ("ignore.list", collect::<IgnoreList>),
    ("import", collect::<ImportReport>),
    ("init", collect::<InitReport>),
    ("log", collect::<LogPage>),
    ("ls", collect::<TreeListing>),
    ("man", collect::<ManPages>),
    ("metrics", collect::<MetricsReport>),
    ("pull", collect::<FetchReport>),
    ("queue", collect::<QueueReport>),
    ("rebuild", collect::<RebuildReport>),
    ("restore", collect::<CheckoutReport>),
    ("rm", collect::<AddReport>),
    ("schema", collect::<SchemaDocument>),
    ("show", collect::<ShowReport>),
    ("status", collect::<Status>),
    ("store.stats", collect::<StorageStats>),
    ("switch", collect::<CheckoutReport>),
    ("tag.export", collect::<TagExport>),
    ("tag.import", collect::<TagImport>),
    ("tag.list", collect::<RefList>),
    ("tag.new", collect::<RefUpdate>),
    ("tag.rm", collect::<RefUpdate>),
    ("verify", collect::<VerifyReport>),
    ("version", collect::<Version>),
];

/// Returns the commands that have a schema, in order.
pub fn commands() -> impl Iterator<Item = &'static str> {
    ANSWERS.iter().map(|(command, _)| *command)
}

/// Returns the schema of one command's `data`, or of all of them and the envelope; nothing for an unknown command.
///
/// The document stands alone: everything it refers to is under its `$defs`.
///
/// # Errors
/// Never in practice: schemas are plain data.
pub fn document(command: Option<&str>) -> serde_json::Result<Option<Value>> {
    let mut definitions = BTreeMap::new();
    let mut names = Map::new();
    for (name, answer) in ANSWERS.iter().filter(|(name, _)| command.is_none_or(|command| command == *name)) {
        let (root, schemas) = answer();
        for (name, schema) in schemas {
            if let std::collections::btree_map::Entry::Vacant(vacant) = definitions.entry(name) {
                let mut value = serde_json::to_value(schema)?;
                point_into_definitions(&mut value);
                vacant.insert(value);
            }
        }
        names.insert((*name).to_owned(), json!({"$ref": format!("#/$defs/{root}")}));
    }
    let mut document = Map::new();
    document.insert("$schema".into(), "https://json-schema.org/draft/2020-12/schema".into());
    match command {
        Some(command) => {
            let Some(root) = names.remove(command) else { return Ok(None) };
            document.insert("$id".into(), format!("urn:shard:schema:v1:{command}").into());
            document.insert("title".into(), format!("data of shard {}", command.replace('.', " ")).into());
            document.insert("$ref".into(), root["$ref"].clone());
        }
        None => {
            document.insert("$id".into(), "urn:shard:schema:v1".into());
            document.insert("title".into(), "envelope of every answer of shard".into());
            document.insert("oneOf".into(), json!([{"$ref": "#/$defs/Success"}, {"$ref": "#/$defs/Error"}]));
            document.insert("x-commands".into(), Value::Object(names));
            envelope(&mut definitions);
        }
    }
    document.insert("$defs".into(), definitions.into_iter().collect());
    Ok(Some(Value::Object(document)))
}

/// Returns the names `--json=FIELDS` may keep: those of the items where the answer is a list, else those of the data.
/// Nothing for a command without fields.
pub fn fields(command: &str) -> Vec<String> {
    let Some((_, answer)) = ANSWERS.iter().find(|(name, _)| *name == command) else { return Vec::new() };
    let (root, schemas) = answer();
    let schemas: BTreeMap<String, Value> =
        schemas.into_iter().filter_map(|(name, schema)| Some((name, serde_json::to_value(schema).ok()?))).collect();
    let own = &schemas[&root]["properties"];
    let item = own["items"]["items"]["$ref"].as_str().and_then(|reference| reference.rsplit('/').next());
    let properties = item.and_then(|name| schemas.get(name)).map_or(own, |item| &item["properties"]);
    properties.as_object().map(|object| object.keys().cloned().collect()).unwrap_or_default()
}

/// Makes references of the OpenAPI document point into this one.
fn point_into_definitions(value: &mut Value) {
    match value {
        Value::Object(object) => {
            if let Some(Value::String(reference)) = object.get_mut("$ref")
                && let Some(name) = reference.strip_prefix("#/components/schemas/")
            {
                *reference = format!("#/$defs/{name}");
            }
            object.values_mut().for_each(point_into_definitions);
        }
        Value::Array(values) => values.iter_mut().for_each(point_into_definitions),
        _ => {}
    }
}

fn envelope(definitions: &mut BTreeMap<String, Value>) {
    for (name, schemas) in [collect::<Warning>(), collect::<Hint>()] {
        for (_, schema) in schemas {
            definitions.insert(name.clone(), serde_json::to_value(schema).unwrap_or_default());
        }
    }
    let common = json!({
        "v": {"const": 1},
        "cmd": {"type": "string"},
        "trace": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
    });
    let merged = |extra: Value| {
        let mut properties = common.as_object().cloned().unwrap_or_default();
        properties.extend(extra.as_object().cloned().unwrap_or_default());
        properties
    };
    definitions.insert(
        "Success".into(),
        json!({
            "type": "object",
            "required": ["v", "cmd", "ok", "data", "warnings", "next", "trace"],
            "properties": merged(json!({
                "ok": {"const": true},
                "data": {"description": "the schema is that of the command"},
                "warnings": {"type": "array", "items": {"$ref": "#/$defs/Warning"}},
                "next": {"type": "array", "items": {"type": "string"}},
            })),
        }),
    );
    definitions.insert(
        "Error".into(),
        json!({
            "type": "object",
            "required": ["v", "cmd", "ok", "trace", "error"],
            "properties": merged(json!({
                "ok": {"const": false},
                "error": {
                    "type": "object",
                    "required": ["code", "exit", "message", "retryable", "details", "hints"],
                    "properties": {
                        "code": {"type": "string"},
                        "exit": {"type": "integer", "minimum": 1, "maximum": 255},
                        "message": {"type": "string"},
                        "retryable": {"type": "boolean"},
                        "retry_after_ms": {"type": "integer", "minimum": 0},
                        "details": {"type": "object"},
                        "hints": {"type": "array", "items": {"$ref": "#/$defs/Hint"}},
                    },
                },
            })),
        }),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn references(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(object) => {
                found.extend(object.get("$ref").and_then(Value::as_str).map(str::to_owned));
                object.values().for_each(|value| references(value, found));
            }
            Value::Array(values) => values.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }

    #[test]
    fn every_document_is_closed_and_a_valid_schema() {
        for command in commands().map(Some).chain([None]) {
            let document = document(command).unwrap().unwrap();
            let mut found = Vec::new();
            references(&document, &mut found);
            assert!(!found.is_empty(), "{command:?}");
            for reference in found {
                let name = reference.strip_prefix("#/$defs/").unwrap_or_else(|| panic!("{command:?}: {reference}"));
                assert!(document["$defs"].get(name).is_some(), "{command:?}: {reference}");
            }
            jsonschema::validator_for(&document).unwrap_or_else(|error| panic!("{command:?}: {error}"));
        }
    }

    #[test]
    fn an_unknown_command_has_no_schema() {
        assert_eq!(document(Some("commi")).unwrap(), None);
    }

    #[test]
    fn fields_are_those_of_the_items_of_a_list() {
        assert!(fields("log").contains(&"message".to_owned()), "{:?}", fields("log"));
        assert!(!fields("log").contains(&"next_cursor".to_owned()));
        assert_eq!(fields("version"), ["version", "json", "target"]);
    }

    #[test]
    fn nullable_and_skipped_fields_validate() {
        let validator = jsonschema::validator_for(&document(Some("status")).unwrap().unwrap()).unwrap();
        let status = Status {
            head: Head { branch: None, commit: None },
            upstream: None,
            checkout: Some(CheckoutRunning { from: None, to: Some("a".into()), running: false }),
            staged: vec![StatusEntry { path: "a".into(), kind: "added".into(), from: None }],
            unstaged: vec![],
            untracked: vec!["b".into()],
            renames: vec![],
            ignored: vec![],
            skipped: vec![Skipped { path: "c".into(), code: "file.name".into() }],
            conflicts: vec![],
        };
        let value = status.to_json().unwrap();
        assert!(validator.is_valid(&value), "{:?}", validator.iter_errors(&value).collect::<Vec<_>>());
        assert!(!validator.is_valid(&json!({"head": 1})));
    }
}
