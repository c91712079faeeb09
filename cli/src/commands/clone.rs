//! `shard clone`

use std::path::Path;
use std::sync::Arc;

use shard_core::remote::{self, CloneOptions, Source};
use shard_core::repository::config::{ConfigFile, Scope, key};
use shard_core::repository::init::InitOptions;
use shard_storage::vfs::Real;

use crate::args::CloneArgs;
use crate::failure::{Failure, Hint, Result, hint};
use crate::invocation::Invocation;
use crate::page::{Page, bold, plain};
use crate::view::{CheckoutReport, FetchReport, RefUpdate, View};
use crate::{quantity, settings};

/// Makes a repository of one's own with another's history, read by path.
pub(super) fn run(invocation: &Invocation, args: &CloneArgs) -> Result<FetchReport> {
    let given = invocation.path(&args.source);
    let path = given.canonicalize().map_err(|error| Failure::io(format!("open {}", given.display()), &error))?;
    let named = || {
        let name =
            path.file_name().ok_or_else(|| Failure::value("source", &path.display().to_string(), "it has no name"))?;
        Ok::<_, Failure>(Path::new(name).to_owned())
    };
    let target = match &args.directory {
        Some(directory) => invocation.path(directory),
        None => invocation.path(&named()?),
    };
    let mut file = ConfigFile::empty(settings::repository_file(&target), Scope::Repository);
    if let Some(backend) = args.backend {
        file.set(key::STORAGE_BACKEND.spec.name, backend.as_str())?;
    }
    let settings = settings::for_new_repository(invocation, &file)?;
    let source = Source::open(Arc::new(Real), &path, settings.clone())?;
    if invocation.global.dry_run {
        return Ok(FetchReport {
            source: path.display().to_string(),
            path: target.display().to_string(),
            refs: Vec::new(),
            objects: 0,
            bytes: 0,
            outcome: "would_clone".to_owned(),
            checkout: None,
        });
    }
    let options = CloneOptions {
        init: InitOptions {
            passphrase: invocation.given_passphrase()?,
            force: args.force,
            config: Some(file.to_bytes()),
            ..InitOptions::default()
        },
        untrusted: args.untrusted,
    };
    let (_, report) = remote::clone(Arc::new(Real), &source, &target, options, settings, &invocation.progress)?;
    Ok(FetchReport {
        source: path.display().to_string(),
        path: target.canonicalize().unwrap_or(target).display().to_string(),
        refs: report.fetch.refs.into_iter().map(RefUpdate::from).collect(),
        objects: report.fetch.objects,
        bytes: report.fetch.bytes,
        outcome: "cloned".to_owned(),
        checkout: report.checkout.map(CheckoutReport::from),
    })
}

impl View for FetchReport {
    fn render(&self, page: &mut Page) {
        let mut details = vec![quantity::of(self.objects, "object"), quantity::bytes(self.bytes)];
        if let Some(checkout) = &self.checkout {
            details.push(format!("{} written", quantity::of(checkout.written, "file")));
        }
        match self.outcome.as_str() {
            "cloned" => page.done([plain("cloned "), plain(&*self.source), plain(" to "), bold(&*self.path)], &details),
            "would_clone" => {
                page.done([plain("would clone "), plain(&*self.source), plain(" to "), bold(&*self.path)], &[]);
            }
            "up_to_date" => page.done([plain("up to date with "), plain(&*self.source)], &details[..2]),
            _ => page.done([plain("fast-forwarded to "), plain(&*self.source)], &details),
        }
    }

    fn next(&self) -> Vec<Hint> {
        if self.outcome == "cloned" { vec![hint::log()] } else { Vec::new() }
    }
}
