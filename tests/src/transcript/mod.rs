//! Pages that teach a command and are run as they stand.
//!
//! A page is a Markdown file whose blocks fenced as `console` hold a session: commands after a prompt, what they print
//! beneath. [`Page::parse`] reads it, [`Page::run`] plays it in one sandbox from top to bottom and reports every block
//! line that came out otherwise, and [`Page::bless`] writes what really came out. How to write one: `tests/cases/README.md`.

mod bless;
mod page;
mod pattern;
mod session;

pub use page::{Page, PageError, Step};
pub use pattern::Pattern;
pub use session::{Mismatch, Session, StepOutcome};
