//! `shard completions SHELL`

use clap::CommandFactory;

use crate::args::{Cli, CompletionsArgs};
use crate::failure::{Code, Failure, Result};
use crate::page::Page;
use crate::view::{Completions, View};

/// Returns a static completion script. `source <(COMPLETE=bash shard)` gives one that also completes names.
pub(super) fn run(args: CompletionsArgs) -> Result<Completions> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "shard", &mut script);
    let script =
        String::from_utf8(script).map_err(|_| Failure::new(Code::Internal, "the completion script is not UTF-8"))?;
    Ok(Completions { shell: args.shell.to_string(), script })
}

impl View for Completions {
    fn render(&self, page: &mut Page) {
        for line in self.script.lines() {
            page.verbatim(line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap_complete::Shell;

    #[test]
    fn scripts_are_written_byte_for_byte() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let answer = run(CompletionsArgs { shell }).unwrap();
            let mut page = Page::new(false);
            answer.render(&mut page);
            assert_eq!(page.text().trim_end(), answer.script.trim_end());
            assert!(answer.script.contains("commit"), "{shell}");
        }
    }
}
