use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::time::Duration;

use proptest::prelude::*;
use shard_storage::backend::BackendKind;

use super::key::*;
use super::*;
use crate::byte_size::ByteSize;
use crate::object::chunker::ChunkerSetting;
use crate::object::compression::Compression;

fn file(scope: Scope, json: &str) -> ConfigFile {
    let path = if scope == Scope::User { "/home/ana/config.json" } else { "/r/.shard/config.json" };
    ConfigFile::parse(path, scope, json.as_bytes()).unwrap()
}

fn load(user: &str, repository: &str, environment: &[(&str, &str)]) -> Result<Config, Error> {
    Config::load(&Sources {
        user: Some(file(Scope::User, user)),
        repository: Some(file(Scope::Repository, repository)),
        environment: environment.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect(),
        flags: Vec::new(),
    })
}

/// Key, reason and suggestion of a refusal.
fn refusal(error: Error) -> (String, String, Option<String>) {
    match error {
        Error::ConfigInvalid { key, reason, suggestion, .. } => (key, reason, suggestion),
        other => panic!("{other}"),
    }
}

#[test]
fn defaults_are_valid_and_typed() {
    let config = Config::default();
    assert_eq!(config.list().len(), KEYS.len());
    assert_eq!(config.get(STORAGE_BACKEND), BackendKind::Sqlite);
    assert_eq!(config.get(STORAGE_COMPRESSION), Compression::Zstd(3));
    assert_eq!(config.get(STORAGE_CACHE_SIZE), ByteSize::mib(32));
    assert_eq!(config.get(CHUNKER_PROFILE), ChunkerSetting::FastCdc);
    assert_eq!(config.get(QUEUE_TIMEOUT), Duration::from_secs(30));
    assert_eq!(config.get(LOG_LEVEL), "warn");
    assert!(config.get(FILES_GITIGNORE) && config.get(UI_HINTS));
    assert_eq!((config.get(USER_NAME), config.get(THREADS), config.get(STORAGE_FREE_FLOOR)), (None, None, None));
    assert_eq!(config.get(TRUST_DIRECTORIES), Vec::<String>::new());
    for spec in KEYS {
        // Each default is either given or may be absent: neither of these panics.
        assert!(spec.default.is_some() || (spec.read_json)(&Value::Null).is_ok(), "{}", spec.name);
        assert!(!spec.form.is_empty() && !spec.about.is_empty() && !spec.about.ends_with('.'), "{}", spec.name);
    }
}

#[test]
fn names_and_variables_are_never_shared() {
    let reserved = ["SHARD_DIR", "SHARD_ACTOR", "SHARD_CONFIG", "SHARD_PASSPHRASE", "SHARD_LOG"];
    let mut variables: BTreeSet<String> = reserved.iter().map(|name| (*name).to_owned()).collect();
    for spec in KEYS {
        assert!(variables.insert(spec.variable()), "{} is taken", spec.variable());
        assert!(spec.name.bytes().all(|byte| byte.is_ascii_lowercase() || b"._".contains(&byte)), "{}", spec.name);
        let flat = spec.name.replace('.', "_");
        for spelling in [spec.name, &flat, &format!("{flat}_secs")] {
            let named = KEYS.iter().filter(|other| other.is_named(spelling)).count();
            assert!(named <= 1, "{spelling} names {named} keys");
        }
        assert!(
            !KEYS.iter().any(|other| other.name.starts_with(&format!("{}.", spec.name))),
            "{} is no object",
            spec.name
        );
    }
    assert_eq!(STORAGE_FREE_FLOOR.spec.variable(), "SHARD_STORAGE_FREE_FLOOR");
}

#[test]
fn later_layers_win_and_say_so() {
    let mut sources = Sources::default();
    let origin = |sources: &Sources| {
        let config = Config::load(sources).unwrap();
        (config.get(STORAGE_BACKEND).name(), config.origin(STORAGE_BACKEND).to_string())
    };
    assert_eq!(origin(&sources), ("sqlite", "default".into()));
    sources.user = Some(file(Scope::User, r#"{"storage": {"backend": "flat"}}"#));
    assert_eq!(origin(&sources), ("flat", "/home/ana/config.json".into()));
    sources.repository = Some(file(Scope::Repository, r#"{"storage.backend": "sled"}"#));
    assert_eq!(origin(&sources), ("sled", "/r/.shard/config.json".into()));
    sources.environment.insert("SHARD_STORAGE_BACKEND".into(), String::new());
    assert_eq!(origin(&sources).0, "sled", "an empty variable is none");
    sources.environment.insert("SHARD_STORAGE_BACKEND".into(), "flat".into());
    assert_eq!(origin(&sources), ("flat", "SHARD_STORAGE_BACKEND".into()));
    let flag = |text: &str| FlagSetting { key: STORAGE_BACKEND.spec, text: text.into(), flag: "--backend".into() };
    sources.flags = vec![flag("sled"), flag("sqlite")];
    assert_eq!(origin(&sources), ("sqlite", "--backend".into()));
}

#[test]
fn every_type_is_read_from_json_and_from_text() {
    let config = load(
        r#"{"threads": 4, "storage": {"cache_size": 1048576, "free_floor": "2GiB", "compression": "none"},
            "files": {"gitignore": false, "ask_above": "off"}, "queue": {"timeout": 5}, "trust": {"directories": ["/a", "/b,c"]},
            "ui": {"pager": "less -R"}, "user": {"name": "Ana"}}"#,
        "{}",
        &[("SHARD_UI_HINTS", "no"), ("SHARD_LOG_FORMAT", "json"), ("SHARD_QUEUE_TIMEOUT", "1m30s"), ("SHARD_OTHER", "x")],
    )
    .unwrap();
    assert_eq!(config.get(THREADS), NonZeroU32::new(4));
    assert_eq!(config.get(STORAGE_CACHE_SIZE), ByteSize::mib(1));
    assert_eq!(config.get(STORAGE_FREE_FLOOR), Some(ByteSize::gib(2)));
    assert_eq!(config.get(STORAGE_COMPRESSION), Compression::None, "a compression named none is not absence");
    assert_eq!((config.get(FILES_GITIGNORE), config.get(FILES_ASK_ABOVE)), (false, None));
    assert_eq!(config.get(QUEUE_TIMEOUT), Duration::from_secs(90));
    assert_eq!(config.get(TRUST_DIRECTORIES), ["/a", "/b,c"]);
    assert_eq!((config.get(UI_HINTS), config.get(LOG_FORMAT)), (false, LogFormat::Json));
    assert_eq!((config.get(UI_PAGER), config.get(USER_NAME)), (Some("less -R".into()), Some("Ana".into())));
    assert_eq!(config.setting("queue.timeout").unwrap().text(), "90s");
    assert_eq!(config.setting("storage.cache_size").unwrap().text(), "1MiB");
    assert_eq!(config.setting("files.ask_above").unwrap().text(), "");
}

#[test]
fn flat_names_of_earlier_releases_are_read() {
    let config =
        load(r#"{"storage_backend": "flat", "queue_timeout_secs": 7, "user_name": "Ana"}"#, "{}", &[]).unwrap();
    assert_eq!(config.get(STORAGE_BACKEND), BackendKind::Flat);
    assert_eq!(config.get(QUEUE_TIMEOUT), Duration::from_secs(7));
    assert_eq!(config.setting("storage_backend").unwrap().name, "storage.backend");
    let refused = load(r#"{"storage_backend": "flat", "storage": {"backend": "sled"}}"#, "{}", &[]).unwrap_err();
    assert_eq!(refusal(refused).1, "it is set twice in this file");
}

#[test]
fn unknown_keys_and_bad_values_are_refused_with_what_was_meant() {
    for (json, key, reason, suggestion) in [
        (r#"{"storage": {"bakend": "flat"}}"#, "storage.bakend", "there is no such key", Some("storage.backend")),
        (r#"{"thread": 1}"#, "thread", "there is no such key", Some("threads")),
        (r#"{"storage_bakend": "flat"}"#, "storage_bakend", "there is no such key", Some("storage.backend")),
        (r#"{"pineapple": 1}"#, "pineapple", "there is no such key", None),
        (r#"{"user": "ana"}"#, "user", "there is no such key", None),
        (r#"{"threads": {"max": 1}}"#, "threads.max", "there is no such key", None),
        (r#"{"storage": {"backend": "sqllite"}}"#, "storage.backend", "it is sqlite, sled or flat", Some("sqlite")),
        (r#"{"storage": {"backend": "memory"}}"#, "storage.backend", "it is sqlite, sled or flat", None),
        (r#"{"storage": {"backend": 1}}"#, "storage.backend", "sqlite, sled or flat is wanted", None),
        (r#"{"storage": {"backend": null}}"#, "storage.backend", "sqlite, sled or flat is wanted", None),
        (r#"{"storage": {"compression": "zstd:20"}}"#, "storage.compression", "zstd has levels 1 to 19", None),
        (r#"{"chunker": {"profile": "fixed:1"}}"#, "chunker.profile", "fixed:N takes 4KiB to 1MiB", None),
        (r#"{"threads": 0}"#, "threads", "it is a whole number from 1", None),
        (r#"{"threads": -1}"#, "threads", "it is a whole number from 1", None),
        (r#"{"threads": 1.5}"#, "threads", "it is a whole number from 1", None),
        (r#"{"files": {"gitignore": "maybe"}}"#, "files.gitignore", "it is true or false", None),
        (
            r#"{"files": {"ask_above": "big"}}"#,
            "files.ask_above",
            "a size is a whole number and a unit, like 32MiB",
            None,
        ),
        (r#"{"user": {"name": "a\nb"}}"#, "user.name", "it holds a control character", None),
    ] {
        let (found_key, found_reason, found_suggestion) = refusal(load("{}", json, &[]).expect_err(json));
        assert_eq!((found_key.as_str(), found_reason.as_str()), (key, reason), "{json}");
        // A near word is welcome where the table expects none; a wrong one is not.
        if suggestion.is_some() {
            assert_eq!(found_suggestion.as_deref(), suggestion, "{json}");
        }
    }
    let refused = load("{}", "{}", &[("SHARD_UI_COLOR", "alwais")]).unwrap_err();
    assert_eq!(refused.to_string(), "config ui.color in SHARD_UI_COLOR: it is auto, always or never");
    assert_eq!(refusal(refused).2.as_deref(), Some("always"));
    assert_eq!(refusal(Config::default().setting("ui.colour").unwrap_err()).2.as_deref(), Some("ui.color"));
}

#[test]
fn a_repository_names_no_program_and_grants_no_trust() {
    let users: Vec<_> = KEYS.iter().filter(|spec| spec.place == Place::User).map(|spec| spec.name).collect();
    assert_eq!(users, ["trust.directories", "ui.pager", "ui.editor"]);
    for name in users {
        let json = format!(r#"{{"{name}": "/bin/x"}}"#);
        assert!(load(&json, "{}", &[]).is_ok(), "{name}");
        let (key, reason, _) = refusal(load("{}", &json, &[]).unwrap_err());
        assert_eq!((key.as_str(), reason.as_str()), (name, "only the user's own file may set it"));
        let flat = format!(r#"{{"{}": "/bin/x"}}"#, name.replace('.', "_"));
        assert!(load("{}", &flat, &[]).is_err(), "nor under its flat name");
        assert!(file(Scope::Repository, "{}").set(name, "/bin/x").is_err(), "{name}");
        assert!(file(Scope::User, "{}").set(name, "/bin/x").is_ok(), "{name}");
    }
}

#[test]
fn a_broken_file_is_read_past_its_faults() {
    let sources = Sources {
        user: Some(file(Scope::User, r#"{"nonsense": 1, "threads": 0, "ui": {"hints": false}}"#)),
        ..Sources::default()
    };
    let (config, problems) = Config::load_lenient(&sources);
    assert!(!config.get(UI_HINTS));
    assert_eq!(config.get(THREADS), None);
    let keys: Vec<_> = problems.into_iter().map(|problem| refusal(problem).0).collect();
    assert_eq!(keys, ["nonsense", "threads"]);
    assert_eq!(sources.user.unwrap().problems().len(), 2);
}

#[test]
fn files_that_are_no_json_objects_are_refused() {
    for bytes in [&b"{"[..], b"[]", b"1", b"\"x\"", b"{\"a\": 1,}", b"\xff", b"{} {}", &vec![b'['; 100_000]] {
        let refused = ConfigFile::parse("/c", Scope::User, bytes).unwrap_err();
        assert!(matches!(&refused, Error::ConfigInvalid { origin, .. } if origin == "/c"), "{refused}");
    }
    assert!(ConfigFile::parse("/c", Scope::User, &vec![b' '; MAX_FILE + 1]).is_err());
    for bytes in [&b""[..], b" \n", b"{}"] {
        assert_eq!(ConfigFile::parse("/c", Scope::User, bytes).unwrap(), ConfigFile::empty("/c", Scope::User));
    }
}

#[test]
fn editing_keeps_order_and_spelling() {
    let mut config =
        file(Scope::User, r#"{"ui": {"color": "never", "hints": true}, "storage_backend": "flat", "odd": 1}"#);
    assert_eq!(config.set("ui.color", "always").unwrap(), Value::from("always"));
    assert_eq!(config.set("storage.backend", "sled").unwrap(), Value::from("sled"));
    assert_eq!(config.set("ui.progress", "never").unwrap(), Value::from("never"));
    assert_eq!(config.set("threads", "3").unwrap(), Value::from(3));
    assert_eq!(config.set("queue.timeout", "120").unwrap(), Value::from("2m"));
    assert_eq!(config.set("files.ask_above", "none").unwrap(), Value::Null);
    let text = String::from_utf8(config.to_bytes()).unwrap();
    assert_eq!(
        text,
        r#"{
  "ui": {
    "color": "always",
    "hints": true,
    "progress": "never"
  },
  "storage_backend": "sled",
  "odd": 1,
  "threads": 3,
  "queue": {
    "timeout": "2m"
  },
  "files": {
    "ask_above": null
  }
}
"#
    );
    let unchanged = config.clone();
    assert!(config.set("ui.color", "sometimes").is_err() && config.set("odd", "2").is_err());
    assert_eq!(config, unchanged, "a refused edit changes nothing");

    for (name, was_there) in [("ui.hints", true), ("ui.hints", false), ("odd", true), ("storage.backend", true)] {
        assert_eq!(config.unset(name).unwrap(), was_there, "{name}");
    }
    assert!(config.unset("odd").is_err(), "an unknown key that is not there");
    config.unset("queue.timeout").unwrap();
    config.unset("files.ask_above").unwrap();
    let text = String::from_utf8(config.to_bytes()).unwrap();
    assert_eq!(
        text,
        "{\n  \"ui\": {\n    \"color\": \"always\",\n    \"progress\": \"never\"\n  },\n  \"threads\": 3\n}\n"
    );
}

#[test]
fn setting_a_key_that_stands_twice_mends_the_file() {
    let mut config = file(Scope::User, r#"{"ui": {"color": "never"}, "ui.color": "auto", "ui_color": "always"}"#);
    assert_eq!(config.problems().len(), 2);
    config.set("ui.color", "auto").unwrap();
    assert_eq!(config.problems().len(), 0);
    assert_eq!(String::from_utf8(config.to_bytes()).unwrap(), "{\n  \"ui_color\": \"auto\"\n}\n");
    assert!(config.unset("ui.color").unwrap());
    assert_eq!(config.to_bytes(), b"{}\n");
    let mut odd = file(Scope::User, r#"{"ui": 3}"#);
    odd.set("ui.color", "never").unwrap();
    assert_eq!(odd.to_bytes(), b"{\n  \"ui\": 3,\n  \"ui.color\": \"never\"\n}\n", "what stands in the way stays");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn what_is_set_is_what_holds(key in prop::sample::select(KEYS), text in "[a-z0-9:]{0,6}|zstd:[0-9]{1,2}|[0-9]{1,4}(s|KiB)") {
        let mut file = ConfigFile::empty("/c", Scope::User);
        if let Ok(value) = file.set(key.name, &text) {
            let file = ConfigFile::parse("/c", Scope::User, &file.to_bytes()).unwrap();
            let config = Config::load(&Sources { user: Some(file), ..Sources::default() }).unwrap();
            let setting = config.setting(key.name).unwrap();
            prop_assert_eq!(&setting.value, &value);
            // And its text, set again, is the same.
            prop_assert_eq!(&ConfigFile::empty("/c", Scope::User).set(key.name, &setting.text()).unwrap(), &value);
        }
    }

    #[test]
    fn no_file_panics(json in r#"\{("[a-z._]{1,6}": ?(1|"[a-z]{0,3}"|\{"[a-z.]{1,3}": ?null\}|\[\]),?){0,4}\}"#, name in "[a-z._]{0,6}") {
        if let Ok(mut file) = ConfigFile::parse("/c", Scope::Repository, json.as_bytes()) {
            let problems = file.problems().len();
            let _ = (file.set(&name, "1"), file.unset(&name));
            prop_assert!(file.problems().len() <= problems);
        }
    }
}
