//! The table of settings. A new one is a line in it.

use std::marker::PhantomData;
use std::num::NonZeroU32;
use std::time::Duration;

use serde_json::Value;
use shard_storage::backend::BackendKind;

use super::value::{ColorChoice, LogFormat, ProgressChoice, SettingValue};
use crate::byte_size::ByteSize;
use crate::object::chunker::ChunkerSetting;
use crate::object::compression::Compression;

/// Who may set a key in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The user's file and the repository's.
    Anywhere,
    /// The user's file alone: a repository names no program and grants itself no trust.
    User,
}

/// What is known of one key.
#[derive(Debug)]
pub struct KeySpec {
    /// Its name, in lower case, with dots.
    pub name: &'static str,
    /// Where it may stand.
    pub place: Place,
    /// Its default as a text; `None` where absence is the default, or the program derives one.
    pub default: Option<&'static str>,
    /// What values look like.
    pub form: &'static str,
    /// The words it takes, where they can be listed.
    pub words: &'static [&'static str],
    /// What it is for, in one line.
    pub about: &'static str,
    pub(super) is_time: bool,
    pub(super) read_text: fn(&str) -> Result<Value, String>,
    pub(super) read_json: fn(&Value) -> Result<Value, String>,
}

impl KeySpec {
    /// Returns the environment variable that sets the key.
    #[must_use]
    pub fn variable(&self) -> String {
        format!("SHARD_{}", self.flat_name().to_uppercase())
    }

    /// Returns whether `name` means this key: its name, or the flat one that earlier releases wrote, with `_secs` behind
    /// it where it is a time.
    #[must_use]
    pub fn is_named(&self, name: &str) -> bool {
        let flat = self.flat_name();
        name == self.name || name == flat || (self.is_time && name.strip_suffix("_secs") == Some(&flat))
    }

    fn flat_name(&self) -> String {
        self.name.replace('.', "_")
    }
}

/// A key whose values are of type `T`.
#[derive(Debug)]
pub struct Key<T> {
    /// What is known of it.
    pub spec: &'static KeySpec,
    value: PhantomData<fn() -> T>,
}

impl<T> Clone for Key<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Key<T> {}

macro_rules! keys {
    ($($key:ident: $type:ty, $name:literal, $default:expr, $place:ident, $about:literal;)*) => {
        $(
            #[doc = concat!("`", $name, "`: ", $about, ".")]
            pub const $key: Key<$type> = Key {
                spec: &KeySpec {
                    name: $name,
                    place: Place::$place,
                    default: $default,
                    form: <$type>::FORM,
                    words: <$type>::WORDS,
                    about: $about,
                    is_time: <$type>::IS_TIME,
                    read_text: |text| <$type>::from_text(text).map(|value| value.to_json()),
                    read_json: |json| <$type>::from_json(json).map(|value| value.to_json()),
                },
                value: PhantomData,
            };
        )*

        /// Every key, in the order they are listed in.
        pub const KEYS: &[&KeySpec] = &[$($key.spec),*];
    };
}

keys! {
    USER_NAME: Option<String>, "user.name", None, Anywhere, "name written into commits, user@host when absent";
    THREADS: Option<NonZeroU32>, "threads", None, Anywhere, "threads that read, hash and compress, one a core when absent";
    STORAGE_BACKEND: BackendKind, "storage.backend", Some("sqlite"), Anywhere, "what keeps the views";
    STORAGE_COMPRESSION: Compression, "storage.compression", Some("zstd:3"), Anywhere, "how new objects are compressed";
    STORAGE_FREE_FLOOR: Option<ByteSize>, "storage.free_floor", None, Anywhere,
        "free space left to others, the greater of 1GiB and 2 % when absent";
    STORAGE_CACHE_SIZE: ByteSize, "storage.cache_size", Some("32MiB"), Anywhere, "memory for decoded frames";
    CHUNKER_PROFILE: ChunkerSetting, "chunker.profile", Some("fastcdc"), Anywhere, "how new files are cut";
    FILES_GITIGNORE: bool, "files.gitignore", Some("true"), Anywhere, "whether .gitignore files count";
    FILES_ASK_ABOVE: Option<ByteSize>, "files.ask_above", None, Anywhere, "size above which adding a file asks";
    QUEUE_TIMEOUT: Duration, "queue.timeout", Some("30s"), Anywhere, "how long a command waits for another";
    TRUST_DIRECTORIES: Vec<String>, "trust.directories", None, User, "directories of other users that may be opened";
    LOG_LEVEL: String, "log.level", Some("warn"), Anywhere, "what is logged, as a tracing filter";
    LOG_FORMAT: LogFormat, "log.format", Some("plain"), Anywhere, "how log lines look";
    LOG_FILE: Option<String>, "log.file", None, Anywhere, "file to log to instead of standard error";
    UI_COLOR: ColorChoice, "ui.color", Some("auto"), Anywhere, "when output is coloured";
    UI_PROGRESS: ProgressChoice, "ui.progress", Some("auto"), Anywhere, "when progress is drawn";
    UI_HINTS: bool, "ui.hints", Some("true"), Anywhere, "whether errors come with hints";
    UI_PAGER: Option<String>, "ui.pager", None, User, "command that pages long output";
    UI_EDITOR: Option<String>, "ui.editor", None, User, "command that edits messages";
}
