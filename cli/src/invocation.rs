//! What a command runs with: options, environment, place, progress and identity of the run.
//!
//! This is the only reader of the process environment.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use shard_core::repository::Repository;
use shard_core::repository::config::{self, ColorChoice, Config, Origin, ProgressChoice, key};
use shard_crypto::Passphrase;
use shard_storage::vfs::Real;
use zeroize::Zeroizing;

use crate::args::{ColorWhen, Global, LogFormat};
use crate::failure::{Code, Failure, Result, hint};
use crate::logging::TraceId;
use crate::progress;
use crate::settings;
use crate::terminal::{Settings, Shape, Terminal};

/// Directory that makes its parent a repository.
pub const REPOSITORY_DIRECTORY: &str = ".shard";

/// Longest passphrase read.
const MAX_PASSPHRASE: u64 = 64 * 1024;

/// Variables read besides `SHARD_*`.
const KNOWN: [&str; 14] = [
    "CARGO_MANIFEST_DIR",
    "HOME",
    "XDG_CONFIG_HOME",
    "XDG_STATE_HOME",
    "USER",
    "LOGNAME",
    "NO_COLOR",
    "CLICOLOR_FORCE",
    "TERM",
    "COLUMNS",
    "PAGER",
    "LESS",
    "VISUAL",
    "EDITOR",
];

/// The variables that mean something to this program, as they were when it started.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<String, OsString>);

impl Environment {
    /// Reads the process environment, once.
    pub fn of_process() -> Self {
        let known = |name: &str| name.starts_with("SHARD_") || KNOWN.contains(&name);
        std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
            .filter(|(name, _)| known(name))
            .collect()
    }

    /// Returns a variable that is set and not empty.
    pub fn get(&self, name: &str) -> Option<&OsStr> {
        self.0.get(name).map(OsString::as_os_str).filter(|value| !value.is_empty())
    }

    /// Returns a variable as text; one that is not UTF-8 counts as absent.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name)?.to_str()
    }

    /// Returns the `SHARD_*` variables that configuration may look up; secrets are not among them.
    pub fn overrides(&self) -> impl Iterator<Item = (&str, &str)> {
        let secret = |name: &str| name == "SHARD_PASSPHRASE";
        self.0
            .iter()
            .filter(move |(name, _)| name.starts_with("SHARD_") && !secret(name))
            .filter_map(|(name, value)| Some((name.as_str(), value.to_str()?)))
    }
}

impl FromIterator<(String, OsString)> for Environment {
    fn from_iter<I: IntoIterator<Item = (String, OsString)>>(variables: I) -> Self {
        Self(variables.into_iter().collect())
    }
}

/// Names only: values may be secret.
impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// What a command runs with.
#[derive(Debug)]
pub struct Invocation {
    /// Options every command takes.
    pub global: Global,
    /// The environment when the program started.
    pub environment: Environment,
    /// The directory relative paths mean: the current one, or that of `-C`.
    pub directory: PathBuf,
    /// Stable name of the command: `branch.new`.
    pub command: &'static str,
    /// Identifies this run in logs and envelopes.
    pub trace: TraceId,
    /// Where progress goes.
    pub progress: progress::Sink,
    /// Settings in force; the defaults until [`Self::configure`].
    pub config: Config,
    /// The repository a command changes, to be tidied when its answer is given.
    changed: OnceLock<Arc<Repository>>,
}

impl Invocation {
    /// Gathers what a command runs with.
    ///
    /// # Errors
    /// `path.not_found` where the directory of `-C` is none, `disk.error` where there is no current directory.
    pub fn new(global: Global, environment: Environment, command: &'static str, shape: Shape) -> Result<Self> {
        let here = std::env::current_dir().map_err(|error| Failure::io("find the current directory", &error))?;
        let directory = match &global.work_directory {
            None => here,
            Some(directory) => {
                let directory = here.join(directory);
                if !directory.is_dir() {
                    let text = directory.display().to_string();
                    return Err(
                        Failure::new(Code::PathNotFound, format!("{text} is no directory")).detail("path", text)
                    );
                }
                // As a shell would go there: `..` leads out of where a link led.
                directory.canonicalize().unwrap_or(directory)
            }
        };
        let progress = progress::Sink::new(progress_mode(&global, shape, true));
        let trace = TraceId::random();
        let (config, changed) = (Config::default(), OnceLock::new());
        Ok(Self { global, environment, directory, command, trace, progress, config, changed })
    }

    /// Takes the settings in force, and starts logging as they, flags and environment say.
    ///
    /// # Errors
    /// `config.invalid` where a log filter is none.
    pub fn configure(&mut self, config: Config, shape: Shape) -> Result<()> {
        let wanted = config.get(key::UI_PROGRESS) != ProgressChoice::Never;
        self.progress = progress::Sink::new(progress_mode(&self.global, shape, wanted));
        self.config = config;
        self.start_logging()
    }

    /// Returns where a path given on the command line lies, without `.`, `..` and links but a last one. What does not
    /// exist is taken by its letters.
    pub fn path(&self, path: &Path) -> PathBuf {
        let path = self.directory.join(path);
        let real = match (path.parent(), path.file_name()) {
            (Some(parent), Some(name)) => parent.canonicalize().map(|parent| parent.join(name)),
            _ => path.canonicalize(),
        };
        real.unwrap_or_else(|_| crate::place::normal(&path))
    }

    /// Returns the worktree that holds the repository: the one `SHARD_DIR` names, or the nearest upward.
    ///
    /// # Errors
    /// `repository.not_found`.
    pub fn find_repository(&self) -> Result<PathBuf> {
        if let Some(named) = self.environment.get("SHARD_DIR") {
            let named = self.path(Path::new(named));
            let root = if named.file_name() == Some(OsStr::new(REPOSITORY_DIRECTORY)) { named.parent() } else { None };
            let root = root.unwrap_or(&named);
            return if root.join(REPOSITORY_DIRECTORY).is_dir() {
                Ok(root.to_owned())
            } else {
                Err(not_found(&format!("no repository in {}, which SHARD_DIR names", root.display()), root))
            };
        }
        self.directory
            .ancestors()
            .find(|directory| directory.join(REPOSITORY_DIRECTORY).is_dir())
            .map(Path::to_owned)
            .ok_or_else(|| {
                let text = format!("no repository in {} or any directory above it", self.directory.display());
                not_found(&text, &self.directory)
            })
    }

    /// Returns the user's configuration file: `SHARD_CONFIG`, else `shard/config.json` in the XDG directory or
    /// `~/.config`; nothing where no home is known.
    pub fn user_config(&self) -> Option<PathBuf> {
        if let Some(file) = self.environment.get("SHARD_CONFIG") {
            return Some(self.path(Path::new(file)));
        }
        // The base directory specification says that relative values are to be ignored.
        let xdg = self.environment.get("XDG_CONFIG_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
        let base = xdg.or_else(|| Some(Path::new(self.environment.get("HOME")?).join(".config")))?;
        Some(base.join("shard").join("config.json"))
    }

    /// Returns who acts where nothing is configured: `user@host`.
    pub fn default_actor(&self) -> String {
        let user = self.environment.text("USER").or_else(|| self.environment.text("LOGNAME")).unwrap_or("user");
        let system = rustix::system::uname();
        let host = system.nodename().to_string_lossy();
        let host = host.split('.').next().filter(|host| !host.is_empty()).unwrap_or("localhost");
        format!("{user}@{host}")
    }

    /// Says whether answers are JSON documents.
    pub fn is_json(&self) -> bool {
        self.global.json.is_some() || self.global.events
    }

    /// Says whether a question may be put to a person.
    pub fn may_ask(&self, terminal: &dyn Terminal) -> bool {
        terminal.shape().can_ask() && !self.is_json()
    }

    /// Opens the repository of the current directory. Takes no lock and writes nothing.
    ///
    /// # Errors
    /// `repository.not_found`, `repository.unsafe` where it belongs to another user, `repository.format`.
    pub fn open(&self) -> Result<Repository> {
        let root = self.find_repository()?;
        Ok(Repository::open(Arc::new(Real), &root, settings::for_repository(self)?)?)
    }

    /// Opens the repository for a command that changes it: [`Self::tidy`] then looks after it.
    ///
    /// # Errors
    /// Those of [`Self::open`].
    pub fn open_to_change(&self) -> Result<Arc<Repository>> {
        if let Some(repository) = self.changed.get() {
            return Ok(repository.clone());
        }
        let repository = Arc::new(self.open()?);
        Ok(self.changed.get_or_init(|| repository).clone())
    }

    /// Tidies the repository that was changed, if one was, and adds what was counted to its counters. Belongs after the answer: nobody waits for it then.
    pub fn tidy(&self) {
        if let Some(repository) = self.changed.get().filter(|_| !self.global.dry_run) {
            repository.tidy();
            repository.record_counters();
        }
    }

    /// Opens a sealed key, for a command that is going to sign, with the passphrase from `--passphrase-fd`,
    /// `SHARD_PASSPHRASE` or, where a person is there, a prompt.
    ///
    /// # Errors
    /// `key.locked` where nobody gave a passphrase, `key.passphrase` where it is another's, `disk.error` where the
    /// descriptor cannot be read.
    pub fn unlock(&self, repository: &Repository, terminal: &mut dyn Terminal) -> Result<()> {
        if !repository.is_locked() {
            return Ok(());
        }
        let passphrase = match self.given_passphrase()? {
            Some(passphrase) => passphrase,
            None => self.ask_passphrase("passphrase of this key:", terminal)?,
        };
        Ok(repository.unlock(&passphrase)?)
    }

    /// Asks a person for a passphrase.
    ///
    /// # Errors
    /// `key.locked` where nobody is there.
    pub fn ask_passphrase(&self, prompt: &str, terminal: &mut dyn Terminal) -> Result<Passphrase> {
        if !self.may_ask(terminal) {
            let text = "the key is sealed: give its passphrase by --passphrase-fd or SHARD_PASSPHRASE";
            return Err(Failure::new(Code::KeyLocked, text));
        }
        self.progress.clear();
        let typed = terminal.secret(prompt).map_err(|error| Failure::io("read the passphrase", &error))?;
        Ok(passphrase(typed))
    }

    /// Returns the passphrase given without a question, if one was.
    ///
    /// # Errors
    /// `disk.error` where the descriptor cannot be read.
    pub fn given_passphrase(&self) -> Result<Option<Passphrase>> {
        Ok(self.given_secret()?.map(passphrase))
    }

    fn given_secret(&self) -> Result<Option<Zeroizing<String>>> {
        if let Some(descriptor) = self.global.passphrase_fd {
            let failed = |error| Failure::io(format!("read the passphrase from descriptor {descriptor}"), &error);
            let file = File::open(format!("/dev/fd/{descriptor}")).map_err(failed)?;
            let mut text = Zeroizing::new(String::new());
            file.take(MAX_PASSPHRASE).read_to_string(&mut text).map_err(failed)?;
            let end = text.trim_end_matches(['\r', '\n']).len();
            text.truncate(end);
            return Ok(Some(text));
        }
        Ok(self.environment.text("SHARD_PASSPHRASE").map(|text| Zeroizing::new(text.to_owned())))
    }

    /// Opens the file of `log.file`, if one is set; one that is not absolute lies in the worktree, or else here.
    fn log_file(&self) -> Result<Option<File>> {
        let Some(named) = self.config.get(key::LOG_FILE) else { return Ok(None) };
        let path = self.find_repository().unwrap_or_else(|_| self.directory.clone()).join(named);
        let failed = |error| {
            let text = format!("open the log file {}, which log.file names", path.display());
            Failure::io(text, &error).hint(hint::config_list())
        };
        // Whoever mends the settings is not stopped by them.
        match open_log(&path) {
            Err(_) if self.command.starts_with("config.") => Ok(None),
            opened => opened.map(Some).map_err(failed),
        }
    }

    /// Says how things stand after a command that was told to stop, and how they go on.
    pub(crate) fn tell_interrupted(&self, failure: &mut Failure) {
        let checkout = self.open().and_then(|repository| Ok(repository.state()?.index.pending.is_some()));
        let half = checkout.unwrap_or(false) && !matches!(self.command, "clone" | "init" | "demo");
        failure.details.insert("checkout_pending".to_owned(), half.into());
        if half {
            failure.message = "interrupted while files were being written; nothing committed is lost".to_owned();
            failure.hints = vec![hint::switch_continue(), hint::switch_abort()];
        } else {
            failure.message = "interrupted: branches, what is staged and your files are as they were".to_owned();
        }
    }

    fn start_logging(&self) -> Result<()> {
        let configured = self.config.get(key::LOG_LEVEL);
        let filter = match self.global.verbose {
            0 => self.environment.text("SHARD_LOG").unwrap_or(&configured),
            1 => "info",
            2 => "debug",
            _ => "trace",
        };
        let filter = crate::logging::parse_filter(filter)
            .map_err(|reason| Failure::new(Code::ConfigInvalid, reason).hint(hint::config_list()))?;
        let format = self.global.log_format.unwrap_or(match self.config.get(key::LOG_FORMAT) {
            config::LogFormat::Plain => LogFormat::Plain,
            config::LogFormat::Json => LogFormat::Json,
        });
        crate::logging::start(filter, format, self.trace, self.log_file()?);
        Ok(())
    }
}

/// Opens a file to add log lines to, which only its owner reads.
fn open_log(path: &Path) -> std::io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    File::options().append(true).create(true).mode(0o600).open(path)
}

/// Chooses where progress goes; `wanted` is what `ui.progress` says.
fn progress_mode(global: &Global, shape: Shape, wanted: bool) -> progress::Mode {
    if global.no_progress {
        progress::Mode::Silent
    } else if global.events {
        progress::Mode::Events
    } else if shape.error && global.json.is_none() && !global.quiet && wanted {
        progress::Mode::Bar { width: shape.width }
    } else {
        progress::Mode::Silent
    }
}

/// Hands a secret over without leaving a copy.
fn passphrase(mut text: Zeroizing<String>) -> Passphrase {
    Passphrase::new(std::mem::take(&mut *text))
}

fn not_found(message: &str, from: &Path) -> Failure {
    Failure::new(Code::RepositoryNotFound, message).detail("from", from.display().to_string()).hint(hint::init())
}

/// Resolves how to show and ask: flags before environment before configuration before defaults.
pub fn terminal_settings(global: &Global, environment: &Environment, config: &Config) -> Settings {
    // Variables of our own are a layer of the configuration, above those that all programs share.
    let by_us = || {
        let own = matches!(config.origin(key::UI_COLOR), Origin::Environment(_) | Origin::Flag(_));
        own.then(|| configured_color(config))
    };
    let set = |name| environment.get(name).is_some_and(|value| value != "0");
    let from_environment = || {
        by_us().or_else(|| {
            if environment.get("NO_COLOR").is_some() {
                Some(ColorWhen::Never)
            } else if set("CLICOLOR_FORCE") {
                Some(ColorWhen::Always)
            } else {
                (environment.get("TERM") == Some(OsStr::new("dumb"))).then_some(ColorWhen::Never)
            }
        })
    };
    let color = match global.color.or_else(from_environment).unwrap_or_else(|| configured_color(config)) {
        ColorWhen::Auto => None,
        ColorWhen::Always => Some(true),
        ColorWhen::Never => Some(false),
    };
    let first = |own: &str, configured: Option<String>, others: &[&str]| {
        environment
            .get(own)
            .map(OsString::from)
            .or_else(|| configured.map(OsString::from))
            .or_else(|| others.iter().find_map(|name| environment.get(name)).map(OsString::from))
    };
    let pager = first("SHARD_PAGER", config.get(key::UI_PAGER), &["PAGER"]).unwrap_or_else(|| "less -FRX".into());
    let no_pager = global.no_pager || global.json.is_some() || global.events || pager == "cat";
    Settings {
        color,
        columns: environment.text("COLUMNS").and_then(|text| text.parse().ok()).filter(|&columns| columns > 0),
        pager: (!no_pager).then_some(pager),
        editor: first("SHARD_EDITOR", config.get(key::UI_EDITOR), &["VISUAL", "EDITOR"]).unwrap_or_else(|| "vi".into()),
        has_less: environment.get("LESS").is_some(),
    }
}

fn configured_color(config: &Config) -> ColorWhen {
    match config.get(key::UI_COLOR) {
        ColorChoice::Auto => ColorWhen::Auto,
        ColorChoice::Always => ColorWhen::Always,
        ColorChoice::Never => ColorWhen::Never,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::terminal::Recorded;
    use shard_core::repository::config::{ConfigFile, Scope, Sources};

    fn environment(variables: &[(&str, &str)]) -> Environment {
        variables.iter().map(|(name, value)| ((*name).to_owned(), OsString::from(value))).collect()
    }

    fn invocation(directory: &Path, variables: &[(&str, &str)]) -> Invocation {
        Invocation {
            global: Global::default(),
            environment: environment(variables),
            directory: directory.to_owned(),
            command: "status",
            trace: TraceId::random(),
            progress: progress::Sink::new(progress::Mode::Silent),
            config: Config::default(),
            changed: OnceLock::new(),
        }
    }

    #[test]
    fn the_repository_is_found_upward() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("a/b")).unwrap();
        std::fs::create_dir(root.path().join(".shard")).unwrap();
        let found = invocation(&root.path().join("a/b"), &[]).find_repository().unwrap();
        assert_eq!(found, root.path());
    }

    #[test]
    fn shard_dir_names_the_repository_or_its_worktree_and_nothing_else_is_tried() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("there/.shard")).unwrap();
        std::fs::create_dir(root.path().join(".shard")).unwrap();
        for named in ["there", "there/.shard"] {
            let found = invocation(root.path(), &[("SHARD_DIR", named)]).find_repository().unwrap();
            assert_eq!(found, root.path().join("there"));
        }
        let failure = invocation(root.path(), &[("SHARD_DIR", "nowhere")]).find_repository().unwrap_err();
        assert_eq!(failure.code, Code::RepositoryNotFound);
    }

    #[test]
    fn no_repository_offers_init() {
        let root = tempfile::tempdir().unwrap();
        let failure = invocation(root.path(), &[]).find_repository().unwrap_err();
        assert_eq!((failure.code, failure.exit()), (Code::RepositoryNotFound, 5));
        assert_eq!(failure.hints[0].run, "shard init");
    }

    #[test]
    fn a_passphrase_comes_from_the_variable_or_a_person_and_never_shows() {
        let given = invocation(Path::new("/"), &[("SHARD_PASSPHRASE", "canary-1")]);
        assert_eq!(given.given_secret().unwrap().unwrap().as_str(), "canary-1");
        let passphrase = given.given_passphrase().unwrap().unwrap();
        assert!(!format!("{given:?} {passphrase:?}").contains("canary"), "{given:?}");
        assert!(given.environment.overrides().all(|(name, _)| name != "SHARD_PASSPHRASE"));

        let asked = invocation(Path::new("/"), &[]);
        assert!(asked.given_secret().unwrap().is_none());
        let typed = asked.ask_passphrase("passphrase:", &mut Recorded::screen().answering("canary-2")).unwrap();
        assert!(!typed.is_empty());
        let failure = asked.ask_passphrase("passphrase:", &mut Recorded::pipes()).unwrap_err();
        assert_eq!(failure.code, Code::KeyLocked);
    }

    #[test]
    fn a_passphrase_is_read_from_a_descriptor_without_its_newline() {
        use std::os::fd::AsRawFd;
        let mut file = tempfile::tempfile().unwrap();
        std::io::Write::write_all(&mut file, b"canary three\n").unwrap();
        std::io::Seek::rewind(&mut file).unwrap();
        let mut invocation = invocation(Path::new("/"), &[]);
        invocation.global.passphrase_fd = Some(u32::try_from(file.as_raw_fd()).unwrap());
        assert_eq!(invocation.given_secret().unwrap().unwrap().as_str(), "canary three");
    }

    #[test]
    fn flags_go_before_environment_before_configuration() {
        let written = br#"{"ui": {"color": "always", "pager": "more", "editor": "ed"}}"#;
        let file = ConfigFile::parse("/u", Scope::User, written).unwrap();
        let settings = |global: &Global, variables: &[(&str, &str)]| {
            let text = |&(name, value): &(&str, &str)| (name.to_owned(), value.to_owned());
            let sources = Sources {
                user: Some(file.clone()),
                environment: variables.iter().map(text).collect(),
                ..Sources::default()
            };
            terminal_settings(global, &environment(variables), &Config::load(&sources).unwrap())
        };
        let plain = settings(&Global::default(), &[("PAGER", "p"), ("EDITOR", "e")]);
        assert_eq!((plain.color, plain.pager.unwrap(), plain.editor), (Some(true), "more".into(), "ed".into()));
        assert_eq!(settings(&Global::default(), &[("NO_COLOR", "1")]).color, Some(false));
        let own = settings(&Global::default(), &[("NO_COLOR", "1"), ("SHARD_UI_COLOR", "always")]);
        assert_eq!(own.color, Some(true), "a variable of ours goes over one of all programs");
        let flag = Global { color: Some(ColorWhen::Auto), no_pager: true, ..Global::default() };
        let flagged = settings(&flag, &[("NO_COLOR", "1"), ("SHARD_PAGER", "most"), ("SHARD_EDITOR", "nano")]);
        assert_eq!((flagged.color, flagged.pager, flagged.editor), (None, None, "nano".into()));
        let others = terminal_settings(
            &Global::default(),
            &environment(&[("PAGER", "p"), ("EDITOR", "e"), ("VISUAL", "v")]),
            &Config::default(),
        );
        assert_eq!((others.pager.unwrap(), others.editor), ("p".into(), "v".into()));
    }

    #[test]
    fn the_user_file_is_where_xdg_says() {
        let file = |variables: &[_]| invocation(Path::new("/here"), variables).user_config();
        assert_eq!(file(&[("HOME", "/h")]), Some("/h/.config/shard/config.json".into()));
        assert_eq!(file(&[("HOME", "/h"), ("XDG_CONFIG_HOME", "/x")]), Some("/x/shard/config.json".into()));
        assert_eq!(file(&[("HOME", "/h"), ("XDG_CONFIG_HOME", "rel")]), Some("/h/.config/shard/config.json".into()));
        assert_eq!(file(&[("SHARD_CONFIG", "c.json")]), Some("/here/c.json".into()));
        assert_eq!(file(&[]), None);
    }
}
