//! The layers of configuration, read from where they lie.
//!
//! Defaults, the user's file, the repository's file, `SHARD_*` variables, options. Files are replaced whole and durably;
//! variables are never written back.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use shard_core::Error;
use shard_core::repository;
use shard_core::repository::config::{Config, ConfigFile, FlagSetting, MAX_FILE, Scope, Sources, key};
use shard_storage::atomic_file::{Sync, write_atomically};
use shard_storage::vfs::{Dir, Real};

use crate::args::ColorWhen;
use crate::failure::{Code, Failure, Result};
use crate::invocation::{Invocation, REPOSITORY_DIRECTORY};

/// Name of a configuration file.
const FILE: &str = "config.json";

/// Settings in force, and what was wrong with the files where that was to be passed over.
#[derive(Debug, Default)]
pub struct Settings {
    /// The settings.
    pub config: Config,
    /// What was passed over.
    pub problems: Vec<Error>,
}

/// Reads every layer for a repository, or for none; the first mistake in them ends it.
///
/// # Errors
/// `config.invalid`, or a disk error naming the file.
pub fn load(invocation: &Invocation, repository: Option<&Path>) -> Result<Settings> {
    let settings = load_lenient(invocation, repository)?;
    match settings.problems.into_iter().next() {
        Some(problem) => Err(problem.into()),
        None => Ok(Settings { config: settings.config, problems: Vec::new() }),
    }
}

/// Reads every layer and passes over what is wrong with them, so that a broken file can be shown and mended.
///
/// # Errors
/// A disk error naming the file.
pub fn load_lenient(invocation: &Invocation, repository: Option<&Path>) -> Result<Settings> {
    let mut broken = Vec::new();
    let mut parsed = |path: &Path, scope, bytes: Option<Vec<u8>>| {
        let file = bytes.map(|bytes| ConfigFile::parse(path, scope, &bytes))?;
        file.map_err(|problem| broken.push(problem)).ok()
    };
    let user = match invocation.user_config() {
        Some(path) => parsed(&path, Scope::User, read_user_file(&path)?),
        None => None,
    };
    let repository = match repository {
        Some(root) => parsed(&repository_file(root), Scope::Repository, read_repository_file(root)?),
        None => None,
    };
    let environment =
        invocation.environment.overrides().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let sources = Sources { user, repository, environment, flags: flags(invocation) };
    let (config, problems) = Config::load_lenient(&sources);
    broken.extend(problems);
    Ok(Settings { config, problems: broken })
}

/// Returns the options of the command that stand for settings.
fn flags(invocation: &Invocation) -> Vec<FlagSetting> {
    let global = &invocation.global;
    let setting = |key, text: String, flag: &str| FlagSetting { key, text, flag: flag.to_owned() };
    let color = global.color.map(|when| match when {
        ColorWhen::Auto => "auto",
        ColorWhen::Always => "always",
        ColorWhen::Never => "never",
    });
    let timeout = global.timeout.map(shard_core::duration::display);
    let progress = global.no_progress.then(|| setting(key::UI_PROGRESS.spec, "never".into(), "--no-progress"));
    let color = color.map(|text| setting(key::UI_COLOR.spec, text.into(), "--color"));
    let timeout = timeout.map(|text| setting(key::QUEUE_TIMEOUT.spec, text, "--timeout"));
    progress.into_iter().chain(color).chain(timeout).collect()
}

/// Returns how a repository is used under the settings of an invocation.
///
/// # Errors
/// A disk error for the user's ignore file.
pub fn for_repository(invocation: &Invocation) -> Result<repository::Settings> {
    from_config(invocation, &invocation.config)
}

/// Returns how a repository is used whose own settings are in `file`, not yet on disk.
///
/// # Errors
/// `config.invalid`, or a disk error naming the file.
pub fn for_new_repository(invocation: &Invocation, file: &ConfigFile) -> Result<repository::Settings> {
    let mut sources = sources(invocation)?;
    sources.repository = Some(file.clone());
    from_config(invocation, &Config::load(&sources)?)
}

fn from_config(invocation: &Invocation, config: &Config) -> Result<repository::Settings> {
    let defaults = repository::Settings::default();
    let cores = defaults.threads;
    Ok(repository::Settings {
        user_name: config.get(key::USER_NAME).unwrap_or_else(|| invocation.default_actor()),
        threads: config.get(key::THREADS).map_or(cores, |count| count.get() as usize),
        compression: config.get(key::STORAGE_COMPRESSION),
        chunker: config.get(key::CHUNKER_PROFILE),
        backend: config.get(key::STORAGE_BACKEND),
        cache_size: usize::try_from(config.get(key::STORAGE_CACHE_SIZE).0).unwrap_or(usize::MAX),
        queue_timeout: config.get(key::QUEUE_TIMEOUT),
        gitignore: config.get(key::FILES_GITIGNORE),
        user_ignore: user_ignore(invocation)?.map(|(_, bytes)| bytes),
        ask_above: config.get(key::FILES_ASK_ABOVE).map(|size| size.0),
        trusted_directories: config.get(key::TRUST_DIRECTORIES).into_iter().map(PathBuf::from).collect(),
        command: format!("shard {}", invocation.command.replace('.', " ")),
        dry_run: invocation.global.dry_run,
        ..defaults
    })
}

/// Reads the user's own ignore rules, beside their configuration: the file's name and its content, if there is one.
///
/// # Errors
/// A disk error naming the file.
pub fn user_ignore(invocation: &Invocation) -> Result<Option<(String, Vec<u8>)>> {
    let Some(path) = invocation.user_config().map(|file| file.with_file_name("ignore")) else { return Ok(None) };
    Ok(read_user_file(&path)?.map(|bytes| (path.display().to_string(), bytes)))
}

/// Returns every layer but the repository's file.
fn sources(invocation: &Invocation) -> Result<Sources> {
    let user = match invocation.user_config() {
        Some(path) => match read_user_file(&path)? {
            Some(bytes) => Some(ConfigFile::parse(path, Scope::User, &bytes)?),
            None => None,
        },
        None => None,
    };
    let variables = invocation.environment.overrides();
    let environment = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    Ok(Sources { user, repository: None, environment, flags: flags(invocation) })
}

/// Returns where a repository's own file lies.
pub fn repository_file(root: &Path) -> PathBuf {
    root.join(REPOSITORY_DIRECTORY).join(FILE)
}

/// A configuration file that is to be changed.
#[derive(Debug)]
pub struct Editable {
    /// What stands in it.
    pub file: ConfigFile,
    place: Place,
}

#[derive(Debug)]
enum Place {
    User(PathBuf),
    Repository(PathBuf),
}

impl Editable {
    /// Opens the user's file, or the one of the repository.
    ///
    /// # Errors
    /// `repository.not_found`, `config.invalid` for a file that is not JSON, or a disk error.
    pub fn open(invocation: &Invocation, user: bool) -> Result<Self> {
        let (place, bytes) = Self::read(invocation, user)?;
        let (path, scope) = place.path();
        let file = ConfigFile::parse(path, scope, &bytes.unwrap_or_default())?;
        Ok(Self { file, place })
    }

    /// Opens the file for replacing it whole: one that is not JSON counts as empty.
    ///
    /// # Errors
    /// `repository.not_found` or a disk error.
    pub fn open_lenient(invocation: &Invocation, user: bool) -> Result<Self> {
        let (place, _) = Self::read(invocation, user)?;
        let (path, scope) = place.path();
        Ok(Self { file: ConfigFile::empty(path, scope), place })
    }

    /// Returns the text of the user's file or the repository's, whatever it is, and its path and scope.
    ///
    /// # Errors
    /// `repository.not_found` or a disk error.
    pub fn text(invocation: &Invocation, user: bool) -> Result<(String, PathBuf, Scope)> {
        let (place, bytes) = Self::read(invocation, user)?;
        let (path, scope) = place.path();
        Ok((String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned(), path, scope))
    }

    fn read(invocation: &Invocation, user: bool) -> Result<(Place, Option<Vec<u8>>)> {
        if user {
            let path = invocation.user_config().ok_or_else(|| {
                Failure::new(Code::PathNotFound, "no user configuration: neither SHARD_CONFIG nor HOME is set")
            })?;
            let bytes = read_user_file(&path)?;
            Ok((Place::User(path), bytes))
        } else {
            let root = invocation.find_repository()?;
            let bytes = read_repository_file(&root)?;
            Ok((Place::Repository(root), bytes))
        }
    }

    /// Replaces the file whole, by its settings; once this returns, they stay.
    ///
    /// # Errors
    /// A disk error naming the file.
    pub fn save(self) -> Result<()> {
        let bytes = self.file.to_bytes();
        let (directory, temporary, mode) = match &self.place {
            Place::Repository(root) => {
                let directory = Dir::open_root(Arc::new(Real), root).map_err(Error::from)?;
                let directory = directory.open_dir(REPOSITORY_DIRECTORY).map_err(Error::from)?;
                let temporary = directory.create_dir_all("tmp").map_err(Error::from)?;
                (directory, temporary, 0o644)
            }
            Place::User(path) => {
                let parent = path.parent().unwrap_or(Path::new("/"));
                std::fs::create_dir_all(parent)
                    .map_err(|error| Failure::io(format!("create {}", parent.display()), &error))?;
                // The file may be a link into a directory that holds settings of many programs: that one is replaced.
                let parent = path.canonicalize().ok().and_then(|real| Some(real.parent()?.to_owned()));
                let parent = parent.as_deref().or(path.parent()).unwrap_or(Path::new("/"));
                let directory = Dir::open_root(Arc::new(Real), parent).map_err(Error::from)?;
                (directory.clone(), directory, 0o600)
            }
        };
        let name = match &self.place {
            Place::Repository(_) => FILE.into(),
            Place::User(path) => {
                let real = path.canonicalize().unwrap_or_else(|_| path.clone());
                real.file_name().map_or_else(|| FILE.into(), ToOwned::to_owned)
            }
        };
        write_atomically(&temporary, &directory, Path::new(&name), &bytes, mode, Sync::Full).map_err(Error::from)?;
        Ok(())
    }

    /// Returns the directory in which an editor may work on a copy.
    ///
    /// # Errors
    /// `repository.not_found` or a disk error.
    pub fn scratch(invocation: &Invocation, user: bool) -> Result<PathBuf> {
        let directory = if user {
            let path = invocation.user_config().unwrap_or_default();
            path.parent().map(Path::to_owned).unwrap_or_default()
        } else {
            invocation.find_repository()?.join(REPOSITORY_DIRECTORY).join("tmp")
        };
        std::fs::create_dir_all(&directory)
            .map_err(|error| Failure::io(format!("create {}", directory.display()), &error))?;
        Ok(directory)
    }
}

impl Place {
    fn path(&self) -> (PathBuf, Scope) {
        match self {
            Self::User(path) => (path.clone(), Scope::User),
            Self::Repository(root) => (repository_file(root), Scope::Repository),
        }
    }
}

/// Reads the file of a repository, which no link may stand in for.
fn read_repository_file(root: &Path) -> Result<Option<Vec<u8>>> {
    let directory = Dir::open_root(Arc::new(Real), root).map_err(Error::from)?;
    let path = Path::new(REPOSITORY_DIRECTORY).join(FILE);
    Ok(directory.read_optional(path, MAX_FILE as u64).map_err(Error::from)?)
}

/// Reads the user's file, which may be a link to wherever they keep such files.
fn read_user_file(path: &Path) -> Result<Option<Vec<u8>>> {
    use std::io::{ErrorKind, Read};
    let read = || -> std::io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        // One byte more than is allowed, so that the parser sees that it is too much.
        std::fs::File::open(path)?.take(MAX_FILE as u64 + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    match read() {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(Failure::io(format!("read {}", path.display()), &error)),
    }
}
