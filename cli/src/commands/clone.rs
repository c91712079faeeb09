//! `shard clone`

use std::path::Path;
use std::sync::Arc;

use shard_core::Error;
use shard_core::remote::{self, CloneOptions, Source};
use shard_core::repository::config::{ConfigFile, Scope, key};
use shard_core::repository::init::InitOptions;
use shard_storage::vfs::Real;

use crate::args::CloneArgs;
use crate::failure::{Failure, Hint, Result, hint};
use crate::invocation::Invocation;
use crate::page::{Page, bold, plain, short};
use crate::view::{CheckoutReport, FetchReport, View, Warning};
use crate::{quantity, settings};

/// Makes a repository of one's own with another's history, read by path.
pub(super) fn run(invocation: &Invocation, args: &CloneArgs) -> Result<FetchReport> {
    let given = invocation.path(&args.source);
    let path = given.canonicalize().map_err(|error| Failure::io(format!("open {}", args.source.display()), &error))?;
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
        return Ok(FetchReport::new(&path, &target, "would_clone"));
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
    let cloned = remote::clone(Arc::new(Real), &source, &target, options, settings, &invocation.progress);
    let (_, report) = cloned.map_err(|error| untrusted(error, &path, &args.source, hint::clone_untrusted))?;
    let target = target.canonicalize().unwrap_or(target);
    let checkout = report.checkout.map(CheckoutReport::from);
    Ok(FetchReport { checkout, ..FetchReport::new(&path, &target, "cloned").with(report.fetch) })
}

/// Tells of a commit that is not trusted where it lies, and which option takes it all the same.
pub(super) fn untrusted(error: Error, source: &Path, typed: &Path, way: fn(&str) -> Hint) -> Failure {
    let Error::AccessDenied { commit, trust } = error else { return error.into() };
    let mut failure = Failure::from(error);
    let (commit, source) = (commit.to_string(), source.display());
    failure.message = format!("commit {} of {source} is not trusted: {}", short(&commit), trust.reason());
    // A path that is no text cannot be pasted either.
    match typed.to_str() {
        Some(typed) => failure.detail("source", source.to_string()).hint(way(typed)),
        None => failure,
    }
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
                page.line([plain("would clone "), plain(&*self.source), plain(" to "), bold(&*self.path)]);
            }
            "would_fetch" => {
                page.line([plain(format!("would fetch {} from ", details.join(", "))), plain(&*self.source)]);
            }
            "up_to_date" => page.done([plain("up to date with "), plain(&*self.source)], &details[..2]),
            _ => page.done([plain("fast-forwarded to "), plain(&*self.source)], &details),
        }
    }

    fn warnings(&self) -> Vec<Warning> {
        let refused = self.refused.iter().map(|one| Warning {
            code: one.code.clone(),
            message: format!("nothing of {} was taken over: {}", short(&one.actor), one.why),
            path: None,
            partly: true,
        });
        let unproven = self.unproven.iter().map(|actor| {
            let text = format!("nobody shows all that {} published since it was last seen here", short(actor));
            Warning::notice("history.unproven", text)
        });
        refused.chain(unproven).collect()
    }

    fn next(&self) -> Vec<Hint> {
        if self.outcome == "cloned" { vec![hint::log()] } else { Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::EXIT_PARTLY;
    use crate::view::RefusedPeer;

    #[test]
    fn what_was_not_believed_is_told_and_ends_in_nine() {
        let report = FetchReport::new(Path::new("/a"), Path::new("/b"), "up_to_date");
        assert_eq!(report.exit(), 0);
        let refused =
            RefusedPeer { actor: "ab".repeat(32), code: "actor.forked".to_owned(), why: "two sets".to_owned() };
        let report = FetchReport { refused: vec![refused], unproven: vec!["cd".repeat(32)], ..report };
        let warnings = report.warnings();
        assert_eq!(report.exit(), EXIT_PARTLY);
        assert_eq!((warnings[0].code.as_str(), warnings[1].code.as_str()), ("actor.forked", "history.unproven"));
        assert!(warnings[0].message.starts_with("nothing of abababab was taken over"), "{}", warnings[0].message);
        assert!(!warnings[1].partly, "what came is whole");
    }
}
