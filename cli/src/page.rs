//! A page of text for a person.
//!
//! Commands describe lines; the page colours them, aligns tables on a terminal and separates them by tabs elsewhere.
//! Every text passes [`crate::escape`], so no renderer can forget to.

use std::borrow::Cow;
use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};
use unicode_width::UnicodeWidthStr;

use crate::escape;

/// What a piece of text means; colour is never the only sign of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ink {
    /// Ordinary.
    Plain,
    /// Names and headings.
    Bold,
    /// Beside the point.
    Dim,
    /// Done, added.
    Good,
    /// Failed, removed.
    Bad,
    /// Wants attention, changed.
    Warn,
    /// An id.
    Id,
}

impl Ink {
    fn style(self) -> Style {
        match self {
            Self::Plain => Style::new(),
            Self::Bold => Style::new().bold(),
            Self::Dim => Style::new().dimmed(),
            Self::Good => AnsiColor::Green.on_default(),
            Self::Bad => AnsiColor::Red.on_default().bold(),
            Self::Warn => AnsiColor::Yellow.on_default(),
            Self::Id => AnsiColor::Cyan.on_default(),
        }
    }
}

/// A piece of text in one ink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span<'a> {
    ink: Ink,
    text: Cow<'a, str>,
}

macro_rules! inks {
    ($($(#[$doc:meta])* $name:ident => $ink:ident;)*) => {
        $($(#[$doc])* pub fn $name<'a>(text: impl Into<Cow<'a, str>>) -> Span<'a> {
            Span { ink: Ink::$ink, text: text.into() }
        })*
    };
}

inks! {
    /// Writes ordinary text.
    plain => Plain;
    /// Writes a name or heading.
    bold => Bold;
    /// Writes what is beside the point.
    dim => Dim;
    /// Writes what succeeded or was added.
    good => Good;
    /// Writes what failed or was removed.
    bad => Bad;
    /// Writes what wants attention or changed.
    warn => Warn;
    /// Writes an id.
    id => Id;
}

/// Hex digits of an id on a page: enough for a unique prefix in any history people read.
const SHORT_ID: usize = 8;

/// Returns the first digits of an id.
pub fn short(id: &str) -> &str {
    id.get(..SHORT_ID).unwrap_or(id)
}

/// A page of text, growing downward. Its styles are ANSI; the terminal strips them where they are not wanted.
#[derive(Debug, Clone)]
pub struct Page {
    text: String,
    aligned: bool,
    quiet: bool,
}

impl Page {
    /// Begins a page; `aligned` lays tables out for a reader, otherwise cells are separated by one tab.
    pub fn new(aligned: bool) -> Self {
        Self { text: String::new(), aligned, quiet: false }
    }

    /// Leaves out what [`Self::aside`] and [`Self::done`] say.
    #[must_use]
    pub fn quiet(mut self, quiet: bool) -> Self {
        self.quiet = quiet;
        self
    }

    /// Says whether only the essential is wanted.
    pub fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// Says whether tables are laid out for a reader.
    pub fn is_aligned(&self) -> bool {
        self.aligned
    }

    /// Writes one line.
    pub fn line<'a>(&mut self, spans: impl IntoIterator<Item = Span<'a>>) {
        for span in spans {
            self.span(&span);
        }
        self.text.push('\n');
    }

    /// Writes one line that a quiet page leaves out.
    pub fn aside<'a>(&mut self, spans: impl IntoIterator<Item = Span<'a>>) {
        if !self.quiet {
            self.line(spans);
        }
    }

    /// Writes the line of something done, marked `✓`, which a quiet page leaves out; empty details are left out.
    pub fn done<'a>(&mut self, subject: impl IntoIterator<Item = Span<'a>>, details: &[String]) {
        if self.quiet {
            return;
        }
        self.span(&good("✓ "));
        for span in subject {
            self.span(&span);
        }
        let details: Vec<&str> = details.iter().map(String::as_str).filter(|detail| !detail.is_empty()).collect();
        if !details.is_empty() {
            self.span(&plain("   "));
            self.span(&plain(details.join(", ")));
        }
        self.text.push('\n');
    }

    /// Writes an empty line.
    pub fn gap(&mut self) {
        self.text.push('\n');
    }

    /// Writes text of several lines, each behind `indent`; trailing empty lines are left out.
    pub fn paragraph(&mut self, indent: &str, text: &str) {
        for line in text.trim_end().split('\n') {
            let line = line.trim_end_matches('\r').replace('\t', "    ");
            if line.is_empty() {
                self.text.push('\n');
            } else {
                self.line([plain(indent), plain(line)]);
            }
        }
    }

    /// Writes rows as aligned columns, two spaces apart, or separated by tabs off a terminal.
    pub fn table(&mut self, rows: &[Vec<Span<'_>>]) {
        if !self.aligned {
            return rows.iter().for_each(|row| self.table_unaligned(row));
        }
        let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
        let mut widths = vec![0; columns];
        for row in rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(escape::line(&cell.text).width());
            }
        }
        for row in rows {
            for (at, cell) in row.iter().enumerate() {
                self.span(cell);
                if at + 1 < row.len() {
                    let pad = widths[at] - escape::line(&cell.text).width() + 2;
                    write!(self.text, "{:pad$}", "").expect("writing to a string cannot fail");
                }
            }
            self.text.push('\n');
        }
    }

    /// Writes one row whose cells are separated by tabs, on a terminal too: for formats that programs read.
    pub fn table_unaligned(&mut self, row: &[Span<'_>]) {
        for (at, cell) in row.iter().enumerate() {
            if at > 0 {
                self.text.push('\t');
            }
            self.span(cell);
        }
        self.text.push('\n');
    }

    /// Writes a line of our own making as it is, for scripts and documents. Never for text from a repository.
    pub fn verbatim(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    /// Returns what was written, with ANSI styles.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns what was written since the last call, for output longer than memory should hold.
    pub fn take(&mut self) -> String {
        std::mem::take(&mut self.text)
    }

    fn span(&mut self, span: &Span<'_>) {
        let text = escape::line(&span.text);
        if span.ink == Ink::Plain {
            self.text.push_str(&text);
        } else {
            let style = span.ink.style();
            write!(self.text, "{style}{text}{style:#}").expect("writing to a string cannot fail");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::escape::tests::HOSTILE;

    fn stripped(page: &Page) -> String {
        anstream::adapter::strip_str(page.text()).to_string()
    }

    #[test]
    fn hostile_text_is_inert_in_lines_paragraphs_and_tables() {
        for text in HOSTILE {
            let mut page = Page::new(true);
            page.line([plain(text), bold(text)]);
            page.table(&[vec![id(text), plain(text)], vec![plain("x")]]);
            page.done([bold(text)], &[text.to_owned()]);
            page.paragraph("  ", text);
            let shown = stripped(&page);
            let hostile: Vec<char> = shown.chars().filter(|&c| escape::is_hostile(c) && c != '\n').collect();
            assert!(hostile.is_empty(), "{text:?} left {hostile:?}");
        }
    }

    #[test]
    fn a_name_cannot_forge_a_row_or_a_cell() {
        let mut page = Page::new(false);
        page.table(&[vec![plain("a\nb"), plain("c\td")]]);
        assert_eq!(page.text(), "a\\nb\tc\\td\n");
    }

    #[test]
    fn columns_align_on_a_terminal_by_width_not_by_bytes() {
        let mut page = Page::new(true);
        page.table(&[vec![plain("日本"), plain("x")], vec![plain("abcde"), plain("y")]]);
        assert_eq!(page.text(), "日本   x\nabcde  y\n");
    }

    #[test]
    fn quiet_pages_leave_out_what_goes_without_saying() {
        let mut page = Page::new(true).quiet(true);
        page.aside([plain("by the way")]);
        page.done([plain("what was asked for")], &[]);
        page.line([plain("result")]);
        assert_eq!(page.text(), "result\n");
    }
}
