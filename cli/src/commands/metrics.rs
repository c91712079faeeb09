//! `shard metrics`

use std::collections::BTreeMap;

use serde::Serialize;

use crate::failure::Result;
use crate::invocation::Invocation;
use crate::page::{Page, Span, bold, plain};
use crate::view::{Metric, MetricsReport, View};

/// Lists what commands have counted in this repository. Takes no lock.
pub(super) fn run(invocation: &Invocation, prometheus: bool) -> Result<Metrics> {
    let items = invocation
        .open()?
        .counters()
        .into_iter()
        .map(|(name, value)| Metric {
            name: format!("shard_{name}_total"),
            labels: BTreeMap::new(),
            value: value as f64,
        })
        .collect();
    Ok(Metrics { report: MetricsReport { items, next_cursor: None }, prometheus })
}

/// Counters, and how they look to a person.
#[derive(Debug, Serialize)]
pub(super) struct Metrics {
    #[serde(flatten)]
    report: MetricsReport,
    #[serde(skip)]
    prometheus: bool,
}

impl View for Metrics {
    fn render(&self, page: &mut Page) {
        if self.prometheus {
            for Metric { name, value, .. } in &self.report.items {
                page.line([plain(format!("# TYPE {name} counter"))]);
                page.line([plain(format!("{name} {value}"))]);
            }
            return;
        }
        let row = |metric: &Metric| -> Vec<Span<'static>> {
            vec![bold(metric.name.clone()), plain(metric.value.to_string())]
        };
        page.table(&self.report.items.iter().map(row).collect::<Vec<_>>());
    }
}
