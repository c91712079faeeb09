//! `shard branch …`

use serde::Serialize;
use shard_core::Error;
use shard_core::history::History;
use shard_core::history::ref_name::RefName;
use shard_core::history::revision::Revision;
use shard_core::ids::CommitId;

use super::status::compared;
use crate::args::BranchVerb;
use crate::failure::{Failure, Hint, Result, hint};
use crate::invocation::Invocation;
use crate::page::{Page, Span, bold, dim, good, id, plain, short, warn};
use crate::view::{BranchRenamed, BranchUpstream, Ref, RefList, RefUpdate, View};

/// Lists, makes, renames and removes branches, and lets them follow others'.
pub(super) fn run(invocation: &Invocation, verb: Option<BranchVerb>) -> Result<Box<dyn View>> {
    let dry_run = invocation.global.dry_run;
    Ok(match verb.unwrap_or(BranchVerb::List) {
        BranchVerb::List => {
            let repository = invocation.open()?;
            let state = repository.state()?;
            let store = repository.store(&state)?;
            let items = repository.history(&state, &store).branches().into_iter().map(Ref::from).collect();
            Box::new(Branches { list: RefList { items, next_cursor: None } })
        }
        BranchVerb::New { name, revision } => {
            let at = revision.as_deref().map_or(Ok(Revision::head()), str::parse)?;
            let update = invocation.open_to_change()?.create_branch(&RefName::branch(&name)?, &at)?;
            Box::new(Moved::new(update.into(), "branch", dry_run))
        }
        BranchVerb::Rename { name, new } => {
            let [update, _] = invocation.open_to_change()?.rename_branch(&name, &RefName::branch(&new)?)?;
            let target = update.new.map(|id| id.to_string());
            Box::new(Renamed { report: BranchRenamed { old_name: name, name: update.name, target }, dry_run })
        }
        BranchVerb::Upstream { upstream, branch, unset } => {
            let repository = invocation.open_to_change()?;
            let current = || repository.state().map(|state| state.branch().map(str::to_owned));
            let name = match branch {
                Some(name) => name,
                None => current()?.ok_or_else(|| Failure::usage("HEAD is on no branch: name one with --branch"))?,
            };
            let wanted = upstream.as_deref().filter(|_| !unset);
            let upstream = repository.set_branch_upstream(&name, wanted)?;
            let shown = wanted.map(str::to_owned);
            Box::new(Follows { report: BranchUpstream { name, upstream }, shown, dry_run })
        }
        BranchVerb::Rm { name } => {
            let repository = invocation.open_to_change()?;
            let state = repository.state()?;
            let store = repository.store(&state)?;
            let update = repository.delete_branch(&name).map_err(|error| match error {
                error @ Error::ValueInvalid { .. } => Failure::from(error).hint(hint::branches()),
                other => other.into(),
            })?;
            let history = repository.history(&state, &store);
            let unnamed = match update.old {
                Some(old) => !is_named(&history, old, Some(&name))?,
                None => false,
            };
            Box::new(Moved { unnamed, ..Moved::new(update.into(), "branch", dry_run) })
        }
    })
}

/// Says whether a branch but one, a tag, a branch of another or HEAD reaches a commit.
pub(super) fn is_named(history: &History<'_>, id: CommitId, but: Option<&str>) -> Result<bool> {
    let state = history.state();
    let heads = state.heads.iter().filter(|(name, _)| Some(name.as_str()) != but).map(|(_, id)| *id);
    let theirs = history.peers().iter().flat_map(|set| set.names().heads.values().chain(set.names().tags.values()));
    let head = match &state.head {
        shard_core::history::refs::Head::Detached(id) if but.is_some() => Some(*id),
        _ => None,
    };
    let dag = history.dag();
    for tip in heads.chain(state.tags.values().copied()).chain(theirs.copied()).chain(head) {
        if history.store().contains(tip.0)? && dag.is_ancestor(id, tip)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Branches as a list.
#[derive(Debug, Serialize)]
#[serde(transparent)]
struct Branches {
    list: RefList,
}

impl View for Branches {
    fn render(&self, page: &mut Page) {
        let rows: Vec<Vec<Span<'_>>> = self
            .list
            .items
            .iter()
            .map(|item| {
                let mut row = if item.current {
                    vec![good("*"), good(&*item.name)]
                } else {
                    vec![plain(" "), plain(&*item.name)]
                };
                cells(item, &mut row);
                row
            })
            .collect();
        page.table(&rows);
    }

    fn is_paged(&self) -> bool {
        true
    }
}

/// Tells what a branch or tag names, behind its name.
pub(super) fn cells<'a>(item: &'a Ref, row: &mut Vec<Span<'a>>) {
    let Some(target) = &item.target else { return row.push(dim("no commit yet")) };
    row.extend([id(short(target)), plain(&*item.subject)]);
    if let Some(upstream) = &item.upstream {
        row.push(dim(compared(upstream, item.ahead, item.behind)));
    }
    match item.trust.as_deref() {
        Some("good") => {}
        Some(trust) => row.push(warn(trust)),
        None => row.push(warn("cannot be read")),
    }
}

/// A branch or tag that was made, moved or removed, or would be.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub(super) struct Moved {
    update: RefUpdate,
    #[serde(skip)]
    noun: &'static str,
    #[serde(skip)]
    dry_run: bool,
    /// What it named is reached by no other name.
    #[serde(skip)]
    unnamed: bool,
}

impl Moved {
    pub(super) fn new(update: RefUpdate, noun: &'static str, dry_run: bool) -> Self {
        Self { update, noun, dry_run, unnamed: false }
    }
}

impl View for Moved {
    fn render(&self, page: &mut Page) {
        let RefUpdate { name, old, new } = &self.update;
        let verb = match (old, new) {
            (_, None) => "removed",
            (None, Some(_)) => "new",
            (Some(old), Some(new)) if old == new => "kept",
            (Some(_), Some(_)) => "moved",
        };
        let mut line = vec![plain(format!("{verb} {} ", self.noun)), bold(&**name)];
        match (old, new) {
            (_, Some(new)) => line.extend([plain(", at "), id(short(new))]),
            (Some(old), None) => line.extend([plain(", which was at "), id(short(old))]),
            (None, None) => {}
        }
        if self.dry_run {
            line.insert(0, plain("would be: "));
            return page.line(line);
        }
        let before = match (old, new) {
            (Some(old), Some(new)) if old != new => format!("it was at {}", short(old)),
            _ => String::new(),
        };
        page.done(line, &[before]);
    }

    fn next(&self) -> Vec<Hint> {
        match &self.update {
            RefUpdate { name, old: Some(old), new: None } if self.unnamed && !self.dry_run => {
                vec![hint::branch_new_at(name, old)]
            }
            RefUpdate { name, old: None, new: Some(_) } if self.noun == "branch" && !self.dry_run => {
                vec![hint::switch(name)]
            }
            _ => Vec::new(),
        }
    }
}

/// A branch under its new name.
#[derive(Debug, Serialize)]
#[serde(transparent)]
struct Renamed {
    report: BranchRenamed,
    #[serde(skip)]
    dry_run: bool,
}

impl View for Renamed {
    fn render(&self, page: &mut Page) {
        let BranchRenamed { old_name, name, .. } = &self.report;
        match self.dry_run {
            true => page.line([plain("would rename "), bold(&**old_name), plain(" to "), bold(&**name)]),
            false => page.done([plain("branch "), bold(&**old_name), plain(" is now "), bold(&**name)], &[]),
        }
    }
}

/// What a branch follows now.
#[derive(Debug, Serialize)]
#[serde(transparent)]
struct Follows {
    report: BranchUpstream,
    #[serde(skip)]
    shown: Option<String>,
    #[serde(skip)]
    dry_run: bool,
}

impl View for Follows {
    fn render(&self, page: &mut Page) {
        let what = self.shown.as_deref().unwrap_or("nothing");
        let line = [bold(&*self.report.name), plain(" follows "), bold(what)];
        match self.dry_run {
            true => page.line([plain("would be: ")].into_iter().chain(line)),
            false => page.done(line, &[]),
        }
    }
}
