//! Where a command talks to a person: the streams, what they can show, and the questions.
//!
//! [`Terminal`] is kept by the process's own streams ([`Local`]) and by a recording ([`Recorded`]) that tests answer from.
//! Nobody is asked unless input and error stream are terminals.

mod local;
mod recorded;

use std::io::{self, Write};
use std::path::Path;

use zeroize::Zeroizing;

pub use local::{Local, Settings};
pub use recorded::Recorded;

/// What the streams can show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Standard input is a terminal, so questions can be answered.
    pub input: bool,
    /// Standard output is a terminal.
    pub output: bool,
    /// Standard error is a terminal.
    pub error: bool,
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
}

impl Shape {
    /// Says whether a person is there to be asked.
    pub fn can_ask(&self) -> bool {
        self.input && self.error
    }
}

/// The person's side of a command.
pub trait Terminal {
    /// Returns what the streams can show.
    fn shape(&self) -> Shape;

    /// Returns standard output, buffered; ANSI styles are removed where they are not wanted. A closed pipe is reported as
    /// [`io::ErrorKind::BrokenPipe`], and the process then ends quietly.
    fn out(&mut self) -> &mut dyn Write;

    /// Returns standard error, unbuffered, for messages.
    fn err(&mut self) -> &mut dyn Write;

    /// Returns standard output for bytes that are not text: nothing is removed.
    fn raw_out(&mut self) -> &mut dyn Write;

    /// Shows text through the pager where it is longer than the screen, else writes it to standard output.
    fn page(&mut self, text: &str) -> io::Result<()>;

    /// Asks a yes-or-no question; anything but yes is no. Only to be called where [`Shape::can_ask`].
    fn confirm(&mut self, question: &str) -> io::Result<bool>;

    /// Asks for one of the options; returns its position, or nothing for an empty answer.
    fn choose(&mut self, question: &str, options: &[&str]) -> io::Result<Option<usize>>;

    /// Asks for a secret without showing what is typed. What is returned is wiped when dropped.
    fn secret(&mut self, prompt: &str) -> io::Result<Zeroizing<String>>;

    /// Lets the person edit a text in their editor, on a file only they can read in `directory`. Returns nothing when
    /// the text is empty afterwards. The file is removed on success, and kept and named in the error on failure.
    fn edit(&mut self, directory: &Path, text: &str) -> io::Result<Option<String>>;

    /// Flushes standard output.
    fn flush(&mut self) -> io::Result<()>;
}
