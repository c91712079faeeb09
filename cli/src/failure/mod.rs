//! What a command says when it cannot do what was asked: a stable code, a message, facts for programs and hints.
//!
//! Only this folder gives an error its code, exit, HTTP status and hints, so that terminal, JSON and HTTP cannot
//! disagree; and only here are commands named to their reader.

mod code;
mod core_error;
pub mod hint;
mod usage;

use std::time::Duration;

use serde_json::{Map, Value};

pub use code::{Code, EXIT_DIFFERENCES, EXIT_PARTLY, EXIT_USAGE};
pub use hint::Hint;

/// A command that did not do what was asked.
#[derive(Debug, Clone)]
pub struct Failure {
    /// Why, for programs.
    pub code: Code,
    /// Why, for people: lower case, one line, without a final stop; may quote text from content, so printers escape it.
    pub message: String,
    /// After how long trying again makes sense, where that is known.
    pub retry_after: Option<Duration>,
    /// Facts for programs; keys are snake_case and stable per code.
    pub details: Box<Map<String, Value>>,
    /// What to run next.
    pub hints: Vec<Hint>,
    closed_pipe: bool,
}

impl Failure {
    /// Makes a failure without details and hints.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            retry_after: None,
            details: Box::default(),
            hints: Vec::new(),
            closed_pipe: false,
        }
    }

    /// Makes the failure of a command line that cannot mean anything.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Code::Usage, message)
    }

    /// Makes the failure of a value that is not one of its kind.
    pub fn value(what: &str, value: &str, reason: impl std::fmt::Display) -> Self {
        Self::new(Code::ValueInvalid, format!("{what} `{value}`: {reason}")).detail("what", what).detail("value", value)
    }

    /// Makes the failure of an I/O operation of the program itself, not of the repository: a pipe, an editor, a page
    /// of a manual.
    pub fn io(what: impl std::fmt::Display, error: &std::io::Error) -> Self {
        use std::io::ErrorKind;
        let code = match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Code::DiskFull,
            ErrorKind::ReadOnlyFilesystem => Code::DiskReadOnly,
            ErrorKind::NotFound | ErrorKind::NotADirectory => Code::PathNotFound,
            ErrorKind::Interrupted => Code::Interrupted,
            _ => Code::DiskError,
        };
        Self::new(code, format!("cannot {what}: {error}"))
    }

    /// Adds a fact.
    #[must_use]
    pub fn detail(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.details.insert(key.to_owned(), value.into());
        self
    }

    /// Adds a command to run next.
    #[must_use]
    pub fn hint(mut self, hint: Hint) -> Self {
        self.hints.push(hint);
        self
    }

    /// Says after how long trying again makes sense.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// Makes the failure of writing an answer while a command runs. Where the reader closed the pipe, the process ends
    /// quietly instead.
    pub fn output(error: &std::io::Error) -> Self {
        Self { closed_pipe: error.kind() == std::io::ErrorKind::BrokenPipe, ..Self::io("write the answer", error) }
    }

    /// Says whether the reader of the answer went away.
    pub fn is_closed_pipe(&self) -> bool {
        self.closed_pipe
    }

    /// Returns the exit code of the process.
    pub fn exit(&self) -> u8 {
        self.code.exit()
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for Failure {}

/// Result of a command.
pub type Result<T, E = Failure> = std::result::Result<T, E>;
