//! `shard queue`

use shard_core::repository::running;

use crate::failure::Result;
use crate::invocation::Invocation;
use crate::page::{Page, Span, bold, dim, plain};
use crate::quantity;
use crate::view::{QueueReport, Running, View};

/// Lists what writes and what waits to write. Takes no lock.
pub(super) fn run(invocation: &Invocation) -> Result<QueueReport> {
    let repository = invocation.open()?;
    let items = running(repository.layout())?
        .into_iter()
        .map(|running| Running {
            pid: running.holder.pid,
            command: running.holder.command,
            since: quantity::rfc3339(i64::try_from(running.holder.since_ms).unwrap_or(i64::MAX)),
            state: if running.writing { "running" } else { "waiting" }.to_owned(),
        })
        .collect();
    Ok(QueueReport { items, next_cursor: None })
}

impl View for QueueReport {
    fn render(&self, page: &mut Page) {
        if self.items.is_empty() && page.is_aligned() {
            page.aside([dim("nothing runs or waits")]);
        }
        let rows: Vec<Vec<Span<'_>>> = self
            .items
            .iter()
            .map(|item| {
                let Running { pid, command, since, state } = item;
                vec![plain(pid.to_string()), bold(state), plain(command), dim(since)]
            })
            .collect();
        page.table(&rows);
    }
}
