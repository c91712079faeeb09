//! A scan: the rows of a range, step by step.

use std::collections::VecDeque;
use std::fmt;
use std::ops::Bound;

use super::{KeyRange, Result, SCAN_STEP};

/// In which direction a scan runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// From the lowest key up.
    Ascending,
    /// From the highest key down.
    Descending,
}

/// A key and its value.
pub type Row = (Vec<u8>, Vec<u8>);

/// What an engine does for a scan: hand out rows from a range, all as they were at one instant.
pub(super) trait Source: Send {
    /// Adds rows of `range` in `order` to `step` until it is [full](Step::push) or the range is exhausted.
    fn read(&mut self, range: &KeyRange<'_>, order: Order, step: &mut Step) -> Result<()>;
}

/// The rows of one step.
#[derive(Debug, Default)]
pub(super) struct Step {
    rows: VecDeque<Row>,
    bytes: usize,
    full: bool,
}

impl Step {
    /// Takes a row; false when it is the last the step has room for.
    pub(super) fn push(&mut self, key: Vec<u8>, value: Vec<u8>) -> bool {
        self.bytes += key.len() + value.len();
        self.rows.push_back((key, value));
        self.full = self.bytes >= SCAN_STEP;
        !self.full
    }
}

/// An iterator over rows; see [`Backend::scan`](super::Backend::scan). Ends after the first error.
pub struct Scan<'a> {
    source: Option<Box<dyn Source + 'a>>,
    rest: KeyRange<'static>,
    order: Order,
    step: Step,
}

impl fmt::Debug for Scan<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scan").field("rest", &self.rest).field("order", &self.order).finish_non_exhaustive()
    }
}

impl<'a> Scan<'a> {
    /// Starts a scan and reads its first step.
    pub(super) fn start(source: impl Source + 'a, range: KeyRange<'_>, order: Order) -> Result<Self> {
        let source: Option<Box<dyn Source + 'a>> = if range.is_empty() { None } else { Some(Box::new(source)) };
        let mut scan = Self { source, rest: range.into_owned(), order, step: Step::default() };
        scan.read_step()?;
        Ok(scan)
    }

    fn read_step(&mut self) -> Result<()> {
        let Some(source) = &mut self.source else { return Ok(()) };
        self.step = Step::default();
        let outcome = source.read(&self.rest, self.order, &mut self.step);
        match self.step.rows.back() {
            Some((last, _)) if outcome.is_ok() && self.step.full => {
                let bound = Bound::Excluded(last.clone().into());
                match self.order {
                    Order::Ascending => self.rest.start = bound,
                    Order::Descending => self.rest.end = bound,
                }
            }
            // Finished or failed: give back whatever the source holds on to.
            _ => self.source = None,
        }
        outcome
    }
}

impl Iterator for Scan<'_> {
    type Item = Result<Row>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.step.rows.is_empty()
            && let Err(error) = self.read_step()
        {
            self.step = Step::default();
            return Some(Err(error));
        }
        self.step.rows.pop_front().map(Ok)
    }
}
