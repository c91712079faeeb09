//! Settings: what holds, and who said so.
//!
//! Later layers win: defaults, the user's file, the repository's file, `SHARD_*` variables, options of the command. A
//! [`Key`](key::Key) gives a typed value ([`Config::get`]); [`Config::list`] shows every setting with its origin. An
//! unknown key or a bad value is an error, with a suggestion where one is near; [`Config::load_lenient`] goes on without
//! it, so that a broken file can be shown and mended. Reading files and the environment is left to the caller.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde_json::Value;

use crate::error::Error;

mod file;
pub mod key;
pub mod value;

pub use file::{ConfigFile, MAX_FILE, Scope};
pub use key::{KEYS, Key, KeySpec, Place};
pub use value::{ColorChoice, LogFormat, ProgressChoice, SettingValue};

/// Who said what a setting is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The program.
    Default,
    /// The user's file.
    User(PathBuf),
    /// The repository's file.
    Repository(PathBuf),
    /// An environment variable.
    Environment(String),
    /// An option of the command.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::User(path) | Self::Repository(path) => write!(f, "{}", path.display()),
            Self::Environment(name) | Self::Flag(name) => f.write_str(name),
        }
    }
}

/// A setting given by an option of the command.
#[derive(Debug, Clone)]
pub struct FlagSetting {
    /// The key.
    pub key: &'static KeySpec,
    /// The value, as written.
    pub text: String,
    /// The option, as the user knows it: `--timeout`.
    pub flag: String,
}

/// Where settings come from, besides the defaults.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The user's file, if there is one.
    pub user: Option<ConfigFile>,
    /// The repository's file, if there is one.
    pub repository: Option<ConfigFile>,
    /// The environment; only the variables of known keys count, and empty ones do not.
    pub environment: BTreeMap<String, String>,
    /// Options of the command, the last one winning.
    pub flags: Vec<FlagSetting>,
}

/// One setting in force.
#[derive(Debug, Clone, PartialEq)]
pub struct Setting {
    /// Its name.
    pub name: &'static str,
    /// Its value as JSON; null where it is absent.
    pub value: Value,
    /// Who said so.
    pub origin: Origin,
}

impl Setting {
    /// Returns the value as `config set` would take it; empty where it is absent.
    #[must_use]
    pub fn text(&self) -> String {
        let text = |value: &Value| match value {
            Value::String(text) => text.clone(),
            Value::Null => String::new(),
            value => value.to_string(),
        };
        match &self.value {
            Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(","),
            value => text(value),
        }
    }
}

/// All settings, each checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// In the order of [`KEYS`].
    settings: Vec<Setting>,
}

impl Default for Config {
    /// Returns the defaults alone.
    fn default() -> Self {
        let settings = KEYS.iter().map(|spec| {
            let value = spec.default.map_or(Value::Null, |text| {
                (spec.read_text)(text).expect("every default is valid, which a test holds")
            });
            Setting { name: spec.name, value, origin: Origin::Default }
        });
        Self { settings: settings.collect() }
    }
}

impl Config {
    /// Lays the sources over the defaults.
    ///
    /// # Errors
    /// [`Error::ConfigInvalid`] for the first unknown key or bad value.
    pub fn load(sources: &Sources) -> Result<Self, Error> {
        let (config, problems) = Self::load_lenient(sources);
        problems.into_iter().next().map_or(Ok(config), Err)
    }

    /// Lays the sources over the defaults, passing over what is wrong with them, and returns that too.
    #[must_use]
    pub fn load_lenient(sources: &Sources) -> (Self, Vec<Error>) {
        let mut config = Self::default();
        let mut problems = Vec::new();
        for file in [&sources.user, &sources.repository].into_iter().flatten() {
            let origin = match file.scope() {
                Scope::User => Origin::User(file.path().to_owned()),
                Scope::Repository => Origin::Repository(file.path().to_owned()),
            };
            for setting in file.settings() {
                match setting {
                    Ok((spec, value)) => config.put(spec, value, origin.clone()),
                    Err(problem) => problems.push(problem),
                }
            }
        }
        let variables = KEYS.iter().filter_map(|spec| {
            let variable = spec.variable();
            let text = sources.environment.get(&variable).filter(|text| !text.is_empty())?;
            Some((*spec, text, Origin::Environment(variable)))
        });
        let flags = sources.flags.iter().map(|flag| (flag.key, &flag.text, Origin::Flag(flag.flag.clone())));
        for (spec, text, origin) in variables.chain(flags) {
            match (spec.read_text)(text) {
                Ok(value) => config.put(spec, value, origin),
                Err(reason) => problems.push(Error::ConfigInvalid {
                    key: spec.name.to_owned(),
                    origin: origin.to_string(),
                    reason,
                    suggestion: file::near_word(spec, text),
                }),
            }
        }
        (config, problems)
    }

    fn put(&mut self, spec: &KeySpec, value: Value, origin: Origin) {
        let setting = self.settings.iter_mut().find(|setting| setting.name == spec.name);
        let setting = setting.expect("every key has a setting");
        setting.value = value;
        setting.origin = origin;
    }

    /// Returns a setting as its type.
    #[must_use]
    pub fn get<T: SettingValue>(&self, key: Key<T>) -> T {
        let setting = self.settings.iter().find(|setting| setting.name == key.spec.name);
        let value = &setting.expect("every key has a setting").value;
        let read = if value.is_null() { T::absent() } else { T::from_json(value).ok() };
        read.expect("values are checked when they are laid, and only keys that may be absent have no default")
    }

    /// Returns who set a key.
    #[must_use]
    pub fn origin<T>(&self, key: Key<T>) -> &Origin {
        let setting = self.settings.iter().find(|setting| setting.name == key.spec.name);
        &setting.expect("every key has a setting").origin
    }

    /// Returns the setting of a name, in any of its spellings.
    ///
    /// # Errors
    /// [`Error::ConfigInvalid`] for an unknown key.
    pub fn setting(&self, name: &str) -> Result<&Setting, Error> {
        let spec = file::find(name).ok_or_else(|| Error::ConfigInvalid {
            key: name.to_owned(),
            origin: "the command".to_owned(),
            reason: "there is no such key".to_owned(),
            suggestion: file::near_key(name),
        })?;
        Ok(self.settings.iter().find(|setting| setting.name == spec.name).expect("every key has a setting"))
    }

    /// Returns every setting, in the order of [`KEYS`].
    #[must_use]
    pub fn list(&self) -> &[Setting] {
        &self.settings
    }
}

#[cfg(test)]
mod tests;
