//! `shard man DIR`

use std::fs;

use clap::CommandFactory;

use crate::args::{Cli, ManArgs};
use crate::failure::{Failure, Result};
use crate::invocation::Invocation;
use crate::page::{Page, bold};
use crate::quantity;
use crate::view::{ManPages, View};

/// Writes a manual page for the program and for each command.
pub(super) fn run(invocation: &Invocation, args: &ManArgs) -> Result<ManPages> {
    let directory = invocation.path(&args.directory);
    let mut tree = Cli::command();
    tree.build();
    let mut pages = Vec::new();
    collect(&tree, "shard", &mut pages)?;
    if !invocation.global.dry_run {
        let failed = |error| Failure::io(format!("write manual pages to {}", directory.display()), &error);
        fs::create_dir_all(&directory).map_err(failed)?;
        for (name, text) in &pages {
            fs::write(directory.join(name), text).map_err(failed)?;
        }
    }
    let pages = pages.into_iter().map(|(name, _)| name).collect();
    Ok(ManPages { directory: directory.display().to_string(), pages })
}

fn collect(command: &clap::Command, name: &str, pages: &mut Vec<(String, Vec<u8>)>) -> Result<()> {
    let mut text = Vec::new();
    let title = command.clone().name(name.replace(' ', "-")).disable_help_flag(true);
    let failed = |error| Failure::io("write a manual page", &error);
    clap_mangen::Man::new(title).render(&mut text).map_err(failed)?;
    pages.push((format!("{}.1", name.replace(' ', "-")), text));
    for inner in command.get_subcommands().filter(|inner| inner.get_name() != "help") {
        collect(inner, &format!("{name} {}", inner.get_name()), pages)?;
    }
    Ok(())
}

impl View for ManPages {
    fn render(&self, page: &mut Page) {
        page.done([bold(quantity::of(self.pages.len() as u64, "manual page"))], &[format!("in {}", self.directory)]);
    }
}
