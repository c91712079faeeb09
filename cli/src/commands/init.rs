//! `shard init`

use std::sync::Arc;

use shard_core::repository::Repository;
use shard_core::repository::config::{ConfigFile, Scope, key};
use shard_core::repository::init::InitOptions;
use shard_storage::vfs::Real;

use crate::args::InitArgs;
use crate::failure::{Failure, Hint, Result, hint};
use crate::invocation::Invocation;
use crate::page::{Page, bold, plain};
use crate::settings;
use crate::view::{InitReport, View};

/// Begins a repository in a directory, which is made where it is absent. What the flags chose is written into its
/// `config.json`. A passphrase given by `--passphrase-fd` or `SHARD_PASSPHRASE` seals the key.
pub(super) fn run(invocation: &Invocation, args: InitArgs) -> Result<InitReport> {
    let root = invocation.path(args.directory.as_deref().unwrap_or(std::path::Path::new(".")));
    let file = chosen(&args, &root)?;
    let settings = settings::for_new_repository(invocation, &file)?;
    if !invocation.global.dry_run {
        std::fs::create_dir_all(&root).map_err(|error| Failure::io(format!("create {}", root.display()), &error))?;
    }
    let path = root.canonicalize().unwrap_or(root);
    let options = InitOptions {
        name: args.name.unwrap_or_default(),
        passphrase: invocation.given_passphrase()?,
        force: args.force,
        config: Some(file.to_bytes()),
        ..InitOptions::default()
    };
    let (backend, chunker) = (settings.backend.to_string(), settings.chunker.to_string());
    let (compression, actor_name) = (settings.compression.to_string(), settings.user_name.clone());
    let (repository, actor, name) = if invocation.global.dry_run {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        (String::new(), String::new(), name)
    } else {
        let (_, report) = Repository::init(Arc::new(Real), &path, options, settings)?;
        (report.repository.to_string(), report.actor.to_string(), report.name)
    };
    let path = path.display().to_string();
    Ok(InitReport { repository, name, path, actor, actor_name, backend, chunker, compression, private: false })
}

/// Returns the configuration file that the flags ask for.
fn chosen(args: &InitArgs, root: &std::path::Path) -> Result<ConfigFile> {
    let mut file = ConfigFile::empty(settings::repository_file(root), Scope::Repository);
    let chunker = match (&args.chunker, args.chunk_size) {
        (chunker, None) => chunker.clone(),
        (None, Some(size)) => Some(format!("fastcdc:{size}")),
        (Some(chunker), Some(size)) => Some(format!("{chunker}:{size}")),
    };
    let backend = args.backend.map(|backend| backend.as_str().to_owned());
    let keys = [key::STORAGE_BACKEND.spec, key::CHUNKER_PROFILE.spec, key::STORAGE_COMPRESSION.spec];
    for (key, value) in keys.into_iter().zip([backend, chunker, args.compression.clone()]) {
        let Some(value) = value else { continue };
        file.set(key.name, &value).map_err(|error| match error {
            shard_core::Error::ConfigInvalid { reason, .. } => Failure::value(key.name, &value, reason),
            other => other.into(),
        })?;
    }
    Ok(file)
}

impl View for InitReport {
    fn render(&self, page: &mut Page) {
        let who = [bold(&*self.name), plain(", you are "), bold(&*self.actor_name)];
        match self.repository.is_empty() {
            true => page.line([plain("would begin repository ")].into_iter().chain(who)),
            false => page.done([plain("repository ")].into_iter().chain(who), &[]),
        }
    }

    fn next(&self) -> Vec<Hint> {
        if self.repository.is_empty() { Vec::new() } else { vec![hint::first_commit()] }
    }
}
