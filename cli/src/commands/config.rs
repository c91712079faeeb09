//! `shard config`

use std::path::Path;

use shard_core::Error;
use shard_core::repository::config::{ConfigFile, KEYS, Origin, Setting};

use crate::args::ConfigVerb;
use crate::failure::{Code, Failure, Result, hint};
use crate::invocation::Invocation;
use crate::page::{Page, Span, bold, dim, plain};
use crate::settings::{self, Editable};
use crate::terminal::Terminal;
use crate::view::{ConfigChange, ConfigList, ConfigValue, View, Warning};

/// Reads or changes settings. A broken file never stops it: what is wrong is told as a warning.
pub(super) fn run(
    invocation: &Invocation,
    verb: Option<ConfigVerb>,
    terminal: &mut dyn Terminal,
) -> Result<Box<dyn View>> {
    Ok(match verb.unwrap_or(ConfigVerb::List { origin: false }) {
        ConfigVerb::List { origin } => Box::new(list(invocation, origin)?),
        ConfigVerb::Get { key } => Box::new(get(invocation, &key)?),
        ConfigVerb::Set { key, value, user } => Box::new(set(invocation, &key, &value, user)?),
        ConfigVerb::Unset { key, user } => Box::new(unset(invocation, &key, user)?),
        ConfigVerb::Edit { user } => Box::new(edit(invocation, user, terminal)?),
    })
}

fn load(invocation: &Invocation) -> Result<settings::Settings> {
    settings::load_lenient(invocation, invocation.find_repository().ok().as_deref())
}

fn list(invocation: &Invocation, origin: bool) -> Result<Listed> {
    let settings = load(invocation)?;
    let items = settings.config.list().iter().map(value).collect();
    let problems = settings.problems.into_iter().map(Failure::from).collect();
    Ok(Listed { list: ConfigList { items, next_cursor: None }, origin, problems })
}

fn get(invocation: &Invocation, key: &str) -> Result<ConfigValue> {
    Ok(value(load(invocation)?.config.setting(key).map_err(|error| of_key(error, key))?))
}

/// Tells of a key that was typed, whose mistake is in no file.
fn of_key(error: Error, name: &str) -> Failure {
    let mut failure = Failure::from(error);
    failure.hints.retain(|one| ![hint::config_edit(), hint::config_list()].contains(one));
    if !KEYS.iter().any(|spec| spec.is_named(name)) {
        failure.message = format!("there is no key `{name}`");
        failure.details.remove("origin");
        failure.hints.push(hint::config_list());
    }
    failure
}

fn set(invocation: &Invocation, key: &str, text: &str, user: bool) -> Result<ConfigChange> {
    let mut open = Editable::open(invocation, user)?;
    let before = open.file.clone();
    open.file.set(key, text).map_err(|error| of_key(error, key))?;
    let change = change(&before, &open.file, key);
    save(invocation, open)?;
    Ok(change)
}

fn unset(invocation: &Invocation, key: &str, user: bool) -> Result<ConfigChange> {
    let mut open = Editable::open(invocation, user)?;
    let before = open.file.clone();
    open.file.unset(key).map_err(|error| of_key(error, key))?;
    let change = change(&before, &open.file, key);
    save(invocation, open)?;
    Ok(change)
}

fn save(invocation: &Invocation, open: Editable) -> Result<()> {
    if invocation.global.dry_run { Ok(()) } else { open.save() }
}

/// Compares what two states of a file say of a key.
fn change(before: &ConfigFile, after: &ConfigFile, name: &str) -> ConfigChange {
    let key = KEYS.iter().find(|spec| spec.is_named(name)).map_or(name, |spec| spec.name);
    let text = |file: &ConfigFile| {
        let sources = shard_core::repository::config::Sources {
            repository: Some(file.clone()),
            ..shard_core::repository::config::Sources::default()
        };
        let (config, _) = shard_core::repository::config::Config::load_lenient(&sources);
        let setting = config.setting(key).ok()?;
        (setting.origin != Origin::Default).then(|| setting.text())
    };
    let (old, new) = (text(before), text(after));
    ConfigChange { file: after.path().display().to_string(), key: Some(key.to_owned()), old, new }
}

fn edit(invocation: &Invocation, user: bool, terminal: &mut dyn Terminal) -> Result<ConfigChange> {
    if !invocation.may_ask(terminal) {
        return Err(Failure::usage("an editor needs a terminal").hint(hint::config_list()));
    }
    let (mut text, path, scope) = Editable::text(invocation, user)?;
    if text.trim().is_empty() {
        "{\n}\n".clone_into(&mut text);
    }
    let scratch = Editable::scratch(invocation, user)?;
    loop {
        let edited = terminal.edit(&scratch, &text).map_err(|error| Failure::io("edit the settings", &error))?;
        let Some(edited) = edited else {
            return Err(Failure::new(Code::Cancelled, "the text was empty: nothing was changed"));
        };
        text = edited;
        let Err(failure) = check(&path, scope, &text) else { break };
        let again = terminal
            .confirm(&format!("{}. Edit again?", failure.message))
            .map_err(|error| Failure::io("read the answer", &error))?;
        if !again {
            return Err(failure);
        }
    }
    let mut open = Editable::open_lenient(invocation, user)?;
    open.file = ConfigFile::parse(&path, scope, text.as_bytes())?;
    save(invocation, open)?;
    Ok(ConfigChange { file: path.display().to_string(), key: None, old: None, new: None })
}

fn check(path: &Path, scope: shard_core::repository::config::Scope, text: &str) -> Result<()> {
    let file = ConfigFile::parse(path, scope, text.as_bytes())?;
    file.problems().into_iter().next().map_or(Ok(()), |problem| Err(problem.into()))
}

fn value(setting: &Setting) -> ConfigValue {
    let (origin, source) = match &setting.origin {
        Origin::Default => ("default", None),
        Origin::User(path) => ("user", Some(path.display().to_string())),
        Origin::Repository(path) => ("repository", Some(path.display().to_string())),
        Origin::Environment(name) => ("environment", Some(name.clone())),
        Origin::Flag(name) => ("flag", Some(name.clone())),
    };
    let variable = KEYS.iter().find(|spec| spec.name == setting.name).map_or_else(String::new, |spec| spec.variable());
    ConfigValue {
        key: setting.name.to_owned(),
        value: (!setting.value.is_null()).then(|| setting.text()),
        origin: origin.to_owned(),
        source,
        variable,
    }
}

/// A list with how it was asked for.
#[derive(Debug, serde::Serialize)]
#[serde(transparent)]
struct Listed {
    list: ConfigList,
    #[serde(skip)]
    origin: bool,
    #[serde(skip)]
    problems: Vec<Failure>,
}

impl View for Listed {
    fn render(&self, page: &mut Page) {
        let rows: Vec<Vec<Span<'_>>> = self
            .list
            .items
            .iter()
            .map(|item| {
                let mut row = vec![bold(&*item.key), plain(item.value.as_deref().unwrap_or("-"))];
                if self.origin {
                    row.push(dim(item.source.as_deref().unwrap_or(&item.origin)));
                }
                row
            })
            .collect();
        page.table(&rows);
    }

    fn warnings(&self) -> Vec<Warning> {
        self.problems.iter().map(|problem| Warning::notice(problem.code.as_str(), &*problem.message)).collect()
    }

    fn is_paged(&self) -> bool {
        true
    }
}

impl View for ConfigValue {
    fn render(&self, page: &mut Page) {
        page.line([plain(self.value.as_deref().unwrap_or_default())]);
    }
}

impl View for ConfigChange {
    fn render(&self, page: &mut Page) {
        let what = match (&self.key, &self.new) {
            (Some(key), Some(new)) => format!("{key} = {new}"),
            (Some(key), None) => format!("{key} is no longer set"),
            (None, _) => "settings".to_owned(),
        };
        page.done([bold(what)], &[format!("in {}", self.file)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Global;
    use crate::invocation::Environment;
    use crate::terminal::Recorded;

    struct Place {
        directory: tempfile::TempDir,
        variables: Vec<(String, std::ffi::OsString)>,
    }

    impl Place {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            std::fs::create_dir(directory.path().join(".shard")).unwrap();
            let user = directory.path().join("user/config.json").into_os_string();
            Self { directory, variables: vec![("SHARD_CONFIG".into(), user)] }
        }

        fn run(&self, verb: ConfigVerb, terminal: &mut Recorded) -> Result<Box<dyn View>> {
            let global = Global { work_directory: Some(self.directory.path().into()), ..Global::default() };
            let environment: Environment = self.variables.iter().cloned().collect();
            let invocation = Invocation::new(global, environment, "config", terminal.shape()).unwrap();
            super::run(&invocation, Some(verb), terminal)
        }

        fn data(&self, verb: ConfigVerb) -> serde_json::Value {
            self.run(verb, &mut Recorded::pipes()).unwrap().to_json().unwrap()
        }

        fn file(&self) -> std::path::PathBuf {
            self.directory.path().join(".shard/config.json")
        }
    }

    fn set(key: &str, value: &str, user: bool) -> ConfigVerb {
        ConfigVerb::Set { key: key.into(), value: value.into(), user }
    }

    fn get(key: &str) -> ConfigVerb {
        ConfigVerb::Get { key: key.into() }
    }

    #[test]
    fn what_is_set_is_read_back_and_can_be_unset() {
        let place = Place::new();
        let change = place.data(set("storage_compression", "zstd:3", false));
        assert_eq!((&change["key"], &change["old"]), (&"storage.compression".into(), &serde_json::Value::Null));
        assert_eq!(change["new"], "zstd:3");
        let value = place.data(get("storage.compression"));
        assert_eq!((&value["value"], &value["origin"]), (&"zstd:3".into(), &"repository".into()));
        place.data(ConfigVerb::Unset { key: "storage.compression".into(), user: false });
        assert_eq!(place.data(get("storage.compression"))["origin"], "default");
    }

    #[test]
    fn the_repository_goes_over_the_user_and_a_variable_over_both() {
        let mut place = Place::new();
        place.data(set("ui.color", "always", true));
        assert_eq!(place.data(get("ui.color"))["origin"], "user");
        place.data(set("ui.color", "auto", false));
        assert_eq!(place.data(get("ui.color"))["origin"], "repository");
        place.variables.push(("SHARD_UI_COLOR".into(), "never".into()));
        let value = place.data(get("ui.color"));
        assert_eq!((&value["value"], &value["source"]), (&"never".into(), &"SHARD_UI_COLOR".into()));
        let stored = std::fs::read_to_string(place.file()).unwrap();
        assert!(!stored.contains("never"), "variables are never written back: {stored}");
    }

    #[test]
    fn a_repository_names_no_program() {
        let failure = Place::new().run(set("ui.pager", "rm -rf /", false), &mut Recorded::pipes()).err().unwrap();
        assert_eq!((failure.code, failure.exit()), (Code::ConfigInvalid, 2));
    }

    #[test]
    fn an_unknown_key_names_the_nearest() {
        let failure = Place::new().run(get("ui.colour"), &mut Recorded::pipes()).err().unwrap();
        assert_eq!(failure.code, Code::ConfigInvalid);
        assert_eq!(failure.details["suggestion"], "ui.color");
        assert_eq!(failure.hints[0].run, "shard config get ui.color");
    }

    #[test]
    fn a_broken_file_is_listed_with_its_mistakes_and_can_be_mended() {
        let place = Place::new();
        std::fs::write(place.file(), r#"{"ui": {"colour": "always"}, "threads": 2}"#).unwrap();
        let answer = place.run(ConfigVerb::List { origin: true }, &mut Recorded::pipes()).unwrap();
        assert_eq!(answer.warnings()[0].code, "config.invalid");
        assert_eq!(place.data(get("threads"))["value"], "2");
        place.data(ConfigVerb::Unset { key: "ui.colour".into(), user: false });
        let answer = place.run(ConfigVerb::List { origin: true }, &mut Recorded::pipes()).unwrap();
        assert!(answer.warnings().is_empty());
    }

    #[test]
    fn an_edit_is_checked_before_it_is_kept() {
        let place = Place::new();
        let edit = || ConfigVerb::Edit { user: false };
        let mut wrong = Recorded::screen().answering(r#"{"thread": 2}"#).answering("n");
        assert_eq!(place.run(edit(), &mut wrong).err().unwrap().code, Code::ConfigInvalid);
        assert!(!place.file().exists());
        let mut mended = Recorded::screen().answering("{").answering("y").answering(r#"{"threads": 2}"#);
        place.run(edit(), &mut mended).unwrap();
        assert_eq!(place.data(get("threads"))["value"], "2");
    }

    #[test]
    fn answers_validate_against_their_schemas() {
        let place = Place::new();
        for (command, verb) in [
            ("config.list", ConfigVerb::List { origin: false }),
            ("config.get", get("user.name")),
            ("config.set", set("threads", "3", false)),
        ] {
            let schema = crate::view::document(Some(command)).unwrap().unwrap();
            let value = place.data(verb);
            assert!(jsonschema::validator_for(&schema).unwrap().is_valid(&value), "{command}: {value}");
        }
    }
}
