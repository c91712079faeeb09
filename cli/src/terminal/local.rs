//! The process's own streams.

use std::ffi::OsString;
use std::fs;
use std::io::{self, BufRead, BufWriter, IsTerminal, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anstream::adapter::StripBytes;
use zeroize::Zeroizing;

use super::{Shape, Terminal};
use crate::escape;
use crate::interrupt::Elsewhere;

/// Bytes of standard output kept before they are written.
const BUFFER: usize = 64 * 1024;

/// Largest text taken back from an editor.
const MAX_EDITED: u64 = 16 << 20;

/// Variables no child process inherits: they hold secrets.
const SECRET_VARIABLES: [&str; 1] = ["SHARD_PASSPHRASE"];

/// How to show and ask, already resolved from flags, environment and configuration.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Colour on standard output and standard error: always, never, or where it is a terminal.
    pub color: Option<bool>,
    /// Columns, where the caller knows better than the terminal.
    pub columns: Option<usize>,
    /// Command line of the pager, none to do without.
    pub pager: Option<OsString>,
    /// Command line of the editor.
    pub editor: OsString,
    /// The environment names a `LESS` of its own.
    pub has_less: bool,
}

/// The process's standard streams.
#[derive(Debug)]
pub struct Local {
    out: Stream<BufWriter<io::Stdout>>,
    err: Stream<io::Stderr>,
    shape: Shape,
    settings: Settings,
}

/// A stream that removes ANSI styles unless they are wanted.
#[derive(Debug)]
struct Stream<W> {
    inner: W,
    strip: Option<StripBytes>,
}

impl<W: Write> Write for Stream<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.strip {
            None => self.inner.write_all(bytes)?,
            Some(strip) => {
                for piece in strip.strip_next(bytes) {
                    self.inner.write_all(piece)?;
                }
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl Local {
    /// Takes over the process's streams.
    pub fn new(settings: Settings) -> Self {
        let output = io::stdout().is_terminal();
        let error = io::stderr().is_terminal();
        let size = rustix::termios::tcgetwinsize(io::stderr()).or_else(|_| rustix::termios::tcgetwinsize(io::stdout()));
        let (width, height) = size.map_or((80, 24), |size| (usize::from(size.ws_col), usize::from(size.ws_row)));
        let shape = Shape {
            input: io::stdin().is_terminal(),
            output,
            error,
            width: settings.columns.unwrap_or(if width == 0 { 80 } else { width }),
            height: if height == 0 { 24 } else { height },
        };
        let mut local = Self {
            out: Stream { inner: BufWriter::with_capacity(BUFFER, io::stdout()), strip: None },
            err: Stream { inner: io::stderr(), strip: None },
            shape,
            settings: Settings::default(),
        };
        local.configure(settings);
        local
    }

    /// Takes other settings, before anything was written.
    pub fn configure(&mut self, settings: Settings) {
        let strip = |terminal: bool| (!settings.color.unwrap_or(terminal)).then(StripBytes::new);
        self.out.strip = strip(self.shape.output);
        self.err.strip = strip(self.shape.error);
        self.settings = settings;
    }

    fn answer(&mut self, question: &str) -> io::Result<String> {
        self.out.flush()?;
        write!(self.err, "{} ", escape::line(question))?;
        self.err.flush()?;
        let mut line = String::new();
        if io::stdin().lock().read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim().to_owned())
    }

    fn run_pager(&self, pager: &OsString, text: &str) -> io::Result<()> {
        let mut command = shell(pager);
        if !self.settings.has_less {
            command.env("LESS", "FRX");
        }
        let _elsewhere = Elsewhere::begin();
        let mut child = command.stdin(Stdio::piped()).spawn()?;
        let mut input = child.stdin.take().expect("its standard input is a pipe, set above");
        let written = match &self.out.strip {
            None => input.write_all(text.as_bytes()),
            Some(_) => input.write_all(anstream::adapter::strip_str(text).to_string().as_bytes()),
        };
        drop(input);
        child.wait()?;
        match written {
            // The reader has seen enough and quit.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            other => other,
        }
    }
}

/// Prepares a command line for the shell, without the variables that hold secrets.
fn shell(line: &OsString) -> Command {
    let mut command = Command::new("sh");
    let mut script = line.clone();
    script.push(" \"$@\"");
    command.arg("-c").arg(script).arg("sh");
    for name in SECRET_VARIABLES {
        command.env_remove(name);
    }
    command
}

impl Terminal for Local {
    fn shape(&self) -> Shape {
        self.shape
    }

    fn out(&mut self) -> &mut dyn Write {
        &mut self.out
    }

    fn err(&mut self) -> &mut dyn Write {
        &mut self.err
    }

    fn raw_out(&mut self) -> &mut dyn Write {
        &mut self.out.inner
    }

    fn page(&mut self, text: &str) -> io::Result<()> {
        let long = text.lines().count() >= self.shape.height;
        match self.settings.pager.clone() {
            Some(pager) if self.shape.output && long => {
                self.out.flush()?;
                match self.run_pager(&pager, text) {
                    Ok(()) => Ok(()),
                    Err(_) => self.out.write_all(text.as_bytes()),
                }
            }
            _ => self.out.write_all(text.as_bytes()),
        }
    }

    fn confirm(&mut self, question: &str) -> io::Result<bool> {
        let answer = self.answer(&format!("{question} [y/N]"))?.to_ascii_lowercase();
        Ok(answer == "y" || answer == "yes")
    }

    fn choose(&mut self, question: &str, options: &[&str]) -> io::Result<Option<usize>> {
        for (at, option) in options.iter().enumerate() {
            writeln!(self.err, "  {}  {}", at + 1, escape::line(option))?;
        }
        let answer = self.answer(question)?;
        let number = answer.parse::<usize>().ok().filter(|number| (1..=options.len()).contains(number));
        Ok(number.map(|number| number - 1).or_else(|| options.iter().position(|option| *option == answer)))
    }

    fn secret(&mut self, prompt: &str) -> io::Result<Zeroizing<String>> {
        self.out.flush()?;
        rpassword::prompt_password(format!("{} ", escape::line(prompt))).map(Zeroizing::new)
    }

    fn edit(&mut self, directory: &Path, text: &str) -> io::Result<Option<String>> {
        self.out.flush()?;
        let path = scratch_file(directory, text)?;
        let kept =
            |error: io::Error| io::Error::new(error.kind(), format!("{error}; the text is kept in {}", path.display()));
        let elsewhere = Elsewhere::begin();
        let status = shell(&self.settings.editor).arg(&path).status().map_err(kept)?;
        drop(elsewhere);
        if !status.success() {
            return Err(kept(io::Error::other(format!("the editor ended with {status}"))));
        }
        let mut edited = String::new();
        fs::File::open(&path).and_then(|file| file.take(MAX_EDITED).read_to_string(&mut edited)).map_err(kept)?;
        fs::remove_file(&path)?;
        Ok((!edited.trim().is_empty()).then_some(edited))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Creates a file with an unguessable name that only its owner can read.
fn scratch_file(directory: &Path, text: &str) -> io::Result<PathBuf> {
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(|error| io::Error::other(error.to_string()))?;
    let path = directory.join(format!("edit-{:016x}.txt", u64::from_be_bytes(random)));
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
    file.write_all(text.as_bytes())?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn editing(script: &str) -> Local {
        Local::new(Settings { editor: script.into(), ..Settings::default() })
    }

    #[test]
    fn an_edited_text_comes_back_and_its_file_goes() {
        let directory = tempfile::tempdir().unwrap();
        let edited = editing("sed -i s/old/new/").edit(directory.path(), "old text\n").unwrap();
        assert_eq!(edited.as_deref(), Some("new text\n"));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn an_empty_text_cancels() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(editing("truncate -s 0").edit(directory.path(), "text").unwrap(), None);
    }

    #[test]
    fn a_failing_editor_keeps_the_text_and_names_its_file() {
        let directory = tempfile::tempdir().unwrap();
        let error = editing("false").edit(directory.path(), "precious").unwrap_err().to_string();
        let kept = fs::read_dir(directory.path()).unwrap().next().unwrap().unwrap().path();
        assert!(error.contains(&kept.display().to_string()), "{error}");
        assert_eq!(fs::read_to_string(&kept).unwrap(), "precious");
        assert_eq!(fs::metadata(&kept).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
