//! `shard store`

use crate::failure::Result;
use crate::invocation::Invocation;
use crate::page::{Page, Span, bold, dim, plain};
use crate::quantity;
use crate::view::{StorageClass, StorageKind, StorageStats, View};

/// Adds up what is stored. Takes no lock.
pub(super) fn stats(invocation: &Invocation) -> Result<StorageStats> {
    let stats = invocation.open()?.stats()?;
    let class = |one: &shard_core::repository::ClassStats| StorageClass {
        class: one.class.to_owned(),
        packs: one.packs,
        bytes: one.bytes,
    };
    let kind = |one: &shard_core::repository::KindStats| StorageKind {
        kind: one.kind.name().to_owned(),
        objects: one.objects,
        bytes: one.bytes,
    };
    Ok(StorageStats {
        backend: stats.backend.name().to_owned(),
        objects: stats.objects,
        logical_bytes: stats.logical_bytes,
        stored_bytes: stats.stored_bytes,
        packs: stats.classes.iter().map(|class| class.packs).sum(),
        index_bytes: stats.index_bytes,
        wal_bytes: stats.wal_bytes,
        view_bytes: stats.view_bytes,
        free_bytes: stats.free_bytes,
        classes: stats.classes.iter().map(class).collect(),
        kinds: stats.kinds.iter().map(kind).collect(),
    })
}

impl View for StorageStats {
    fn render(&self, page: &mut Page) {
        let share = match self.logical_bytes {
            0 => String::new(),
            all => format!("{:.0} % of their bytes", self.stored_bytes as f64 * 100.0 / all as f64),
        };
        let objects = quantity::of(self.objects, "object");
        let row = |name: &'static str, bytes: u64, more: String| -> Vec<Span<'_>> {
            vec![bold(name), plain(quantity::bytes(bytes)), dim(more)]
        };
        let mut rows = vec![
            row("objects", self.logical_bytes, objects),
            row("packs", self.stored_bytes, [quantity::of(self.packs, "pack"), share].join(", ")),
            row("index", self.index_bytes, String::new()),
            row("log", self.wal_bytes, String::new()),
            row("views", self.view_bytes, format!("in {}", self.backend)),
            row("free", self.free_bytes, String::new()),
        ];
        if self.logical_bytes == 0 {
            rows[1].truncate(2);
        }
        page.table(&rows);
        if self.kinds.is_empty() {
            return;
        }
        page.gap();
        let kinds: Vec<Vec<Span<'_>>> = self
            .kinds
            .iter()
            .map(|one| {
                vec![bold(&*one.kind), plain(quantity::bytes(one.bytes)), dim(quantity::of(one.objects, "object"))]
            })
            .collect();
        page.table(&kinds);
    }
}
