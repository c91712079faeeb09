//! `shard schema [CMD]`

use crate::args::SchemaArgs;
use crate::failure::{Code, Failure, Result, hint};
use crate::page::Page;
use crate::view::{self, SchemaDocument, View};

/// Returns the JSON Schema of a command's `data`, or of the envelope and all answers.
pub(super) fn run(args: &SchemaArgs) -> Result<SchemaDocument> {
    let command = (!args.command.is_empty()).then(|| args.command.join("."));
    let document = view::document(command.as_deref())
        .map_err(|error| Failure::new(Code::Internal, format!("cannot write the schema: {error}")))?;
    document.map(SchemaDocument).ok_or_else(|| unknown(&command.unwrap_or_default()))
}

fn unknown(command: &str) -> Failure {
    let mut failure =
        Failure::value("command", command, "has no schema").detail("known", view::commands().collect::<Vec<_>>());
    for near in shard_core::near_names(command, view::commands(), 3) {
        failure = failure.hint(hint::schema(near));
    }
    failure
}

impl View for SchemaDocument {
    fn render(&self, page: &mut Page) {
        let text = serde_json::to_string_pretty(&self.0).unwrap_or_default();
        text.lines().for_each(|line| page.verbatim(line));
    }
}
