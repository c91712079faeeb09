//! `shard version`

use crate::page::{Page, bold, dim, plain};
use crate::view::{Version, View};

/// Returns the version of the program.
pub(super) fn run() -> Version {
    Version {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        json: crate::output::VERSION,
        target: format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS),
    }
}

impl View for Version {
    fn render(&self, page: &mut Page) {
        page.line([bold("shard"), plain(" "), plain(&*self.version), dim(format!(" {}", self.target))]);
    }
}
