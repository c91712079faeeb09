//! What settings may hold, and how it is written.

use std::num::NonZeroU32;
use std::time::Duration;

use serde_json::Value;
use shard_storage::backend::BackendKind;

use crate::byte_size::ByteSize;
use crate::duration;
use crate::error::Error;
use crate::object::chunker::ChunkerSetting;
use crate::object::compression::Compression;

/// Longest text of a setting in bytes: a path of the system's greatest length.
pub const MAX_TEXT: usize = 4096;

/// A type of setting. It is written as JSON in files and as text in variables, options and `config set`.
pub trait SettingValue: Sized {
    /// What is wanted, for messages: "a size like 32MiB".
    const FORM: &'static str;
    /// All words it takes, where they can be listed.
    const WORDS: &'static [&'static str] = &[];
    /// Whether `none` and `off` mean absence where the setting may be absent.
    const NONE_IS_ABSENT: bool = true;
    /// Whether it is a length of time, which flat names mark with `_secs`.
    const IS_TIME: bool = false;

    /// Reads a text; the error is the reason.
    fn from_text(text: &str) -> Result<Self, String>;

    /// Reads JSON; the error is the reason.
    fn from_json(json: &Value) -> Result<Self, String> {
        match json {
            Value::String(text) => Self::from_text(text),
            _ => Err(format!("{} is wanted", Self::FORM)),
        }
    }

    /// Writes JSON that reads back as the same.
    fn to_json(&self) -> Value;

    /// Returns what absence means; `None` where a value must be.
    fn absent() -> Option<Self> {
        None
    }
}

/// Takes the reason out of what a type's own parser says.
fn reason(error: Error) -> String {
    match error {
        Error::ValueInvalid { reason, .. } => reason,
        other => other.to_string(),
    }
}

impl<T: SettingValue> SettingValue for Option<T> {
    const FORM: &'static str = T::FORM;
    const WORDS: &'static [&'static str] = T::WORDS;
    const IS_TIME: bool = T::IS_TIME;

    fn from_text(text: &str) -> Result<Self, String> {
        if text.is_empty() || (T::NONE_IS_ABSENT && ["none", "off"].contains(&text)) {
            return Ok(None);
        }
        T::from_text(text).map(Some)
    }

    fn from_json(json: &Value) -> Result<Self, String> {
        match json {
            Value::Null => Ok(None),
            Value::String(text) => Self::from_text(text),
            json => T::from_json(json).map(Some),
        }
    }

    fn to_json(&self) -> Value {
        self.as_ref().map_or(Value::Null, T::to_json)
    }

    fn absent() -> Option<Self> {
        Some(None)
    }
}

impl SettingValue for bool {
    const FORM: &'static str = "true or false";
    const WORDS: &'static [&'static str] = &["true", "false"];

    fn from_text(text: &str) -> Result<Self, String> {
        match text {
            "true" | "yes" | "on" | "1" => Ok(true),
            "false" | "no" | "off" | "0" => Ok(false),
            _ => Err("it is true or false".to_owned()),
        }
    }

    fn from_json(json: &Value) -> Result<Self, String> {
        match json {
            Value::Bool(value) => Ok(*value),
            Value::String(text) => Self::from_text(text),
            _ => Err("it is true or false".to_owned()),
        }
    }

    fn to_json(&self) -> Value {
        Value::Bool(*self)
    }
}

impl SettingValue for NonZeroU32 {
    const FORM: &'static str = "a count";

    fn from_text(text: &str) -> Result<Self, String> {
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|_| digits).ok_or_else(|| "it is a whole number from 1".to_owned())
    }

    fn from_json(json: &Value) -> Result<Self, String> {
        match json {
            Value::Number(number) => Self::from_text(&number.to_string()),
            Value::String(text) => Self::from_text(text),
            _ => Err("it is a whole number from 1".to_owned()),
        }
    }

    fn to_json(&self) -> Value {
        self.get().into()
    }
}

impl SettingValue for ByteSize {
    const FORM: &'static str = "a size like 32MiB";

    fn from_text(text: &str) -> Result<Self, String> {
        text.parse().map_err(reason)
    }

    fn from_json(json: &Value) -> Result<Self, String> {
        match json {
            Value::Number(number) => Self::from_text(&number.to_string()),
            Value::String(text) => Self::from_text(text),
            _ => Err(format!("{} is wanted", Self::FORM)),
        }
    }

    fn to_json(&self) -> Value {
        self.to_string().into()
    }
}

impl SettingValue for Duration {
    const FORM: &'static str = "a time like 30s";
    const IS_TIME: bool = true;

    fn from_text(text: &str) -> Result<Self, String> {
        duration::parse(text).map_err(reason)
    }

    /// A number is of seconds.
    fn from_json(json: &Value) -> Result<Self, String> {
        match json {
            Value::Number(number) => Self::from_text(&number.to_string()),
            Value::String(text) => Self::from_text(text),
            _ => Err(format!("{} is wanted", Self::FORM)),
        }
    }

    fn to_json(&self) -> Value {
        duration::display(*self).into()
    }
}

impl SettingValue for String {
    const FORM: &'static str = "a text";
    const NONE_IS_ABSENT: bool = false;

    fn from_text(text: &str) -> Result<Self, String> {
        if text.len() > MAX_TEXT {
            return Err(format!("it is longer than {MAX_TEXT} bytes"));
        }
        if text.is_empty() {
            return Err("it is empty".to_owned());
        }
        if text.contains(char::is_control) {
            return Err("it holds a control character".to_owned());
        }
        Ok(text.to_owned())
    }

    fn to_json(&self) -> Value {
        self.as_str().into()
    }
}

/// An array in JSON; separated by commas in a text.
impl SettingValue for Vec<String> {
    const FORM: &'static str = "a list";

    fn from_text(text: &str) -> Result<Self, String> {
        text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(String::from_text).collect()
    }

    fn from_json(json: &Value) -> Result<Self, String> {
        match json {
            Value::Array(items) => items.iter().map(String::from_json).collect(),
            Value::String(text) => Self::from_text(text),
            Value::Null => Ok(Vec::new()),
            _ => Err(format!("{} is wanted", Self::FORM)),
        }
    }

    fn to_json(&self) -> Value {
        self.clone().into()
    }

    fn absent() -> Option<Self> {
        Some(Vec::new())
    }
}

impl SettingValue for Compression {
    const FORM: &'static str = "zstd:1 to zstd:19, zlib or none";
    const WORDS: &'static [&'static str] = &["zstd:3", "zlib", "none"];

    fn from_text(text: &str) -> Result<Self, String> {
        text.parse().map_err(reason)
    }

    fn to_json(&self) -> Value {
        self.to_string().into()
    }
}

impl SettingValue for ChunkerSetting {
    const FORM: &'static str = "fastcdc, fastcdc:N or fixed:N";
    const WORDS: &'static [&'static str] = &["fastcdc", "fixed:64KiB"];

    fn from_text(text: &str) -> Result<Self, String> {
        text.parse().map_err(reason)
    }

    fn to_json(&self) -> Value {
        self.to_string().into()
    }
}

/// Views in memory alone are for tests, so no setting asks for them.
impl SettingValue for BackendKind {
    const FORM: &'static str = "sqlite, sled or flat";
    const WORDS: &'static [&'static str] =
        &[BackendKind::Sqlite.name(), BackendKind::Sled.name(), BackendKind::Flat.name()];

    fn from_text(text: &str) -> Result<Self, String> {
        let kind = text.parse().ok().filter(|kind: &Self| Self::WORDS.contains(&kind.name()));
        kind.ok_or_else(|| format!("it is {}", Self::FORM))
    }

    fn to_json(&self) -> Value {
        self.name().into()
    }
}

/// Declares a setting that is one word of a few.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident ($form:literal) { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)*
        }

        impl $name {
            /// Returns the word.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)*
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self, Error> {
                Self::from_text(text).map_err(|reason| Error::ValueInvalid {
                    what: "setting",
                    value: text.to_owned(),
                    reason,
                })
            }
        }

        impl SettingValue for $name {
            const FORM: &'static str = $form;
            const WORDS: &'static [&'static str] = &[$($word),*];

            fn from_text(text: &str) -> Result<Self, String> {
                match text {
                    $($word => Ok(Self::$variant),)*
                    _ => Err(concat!("it is ", $form).to_owned()),
                }
            }

            fn to_json(&self) -> Value {
                self.as_str().into()
            }
        }
    };
}

words! {
    /// How log lines look.
    LogFormat ("plain or json") {
        /// For people.
        Plain = "plain",
        /// One object a line.
        Json = "json",
    }
}

words! {
    /// When output is coloured.
    ColorChoice ("auto, always or never") {
        /// On a terminal.
        Auto = "auto",
        /// Anywhere.
        Always = "always",
        /// Nowhere.
        Never = "never",
    }
}

words! {
    /// When progress is drawn.
    ProgressChoice ("auto or never") {
        /// On a terminal, when work takes long.
        Auto = "auto",
        /// Never.
        Never = "never",
    }
}
