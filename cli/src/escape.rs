//! Text from repositories and other machines, made safe to show.
//!
//! Control characters would move the cursor, set the title or answer for the user; bidirectional and invisible
//! characters would make a name read as another. Terminal, log and JSON output all go through here. What is written can
//! be told from what was there: `\n`, `\x1b`, `\u{202e}`; JSON uses its own `\u` escapes, so programs get the exact text.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io;

use serde_json::ser::Formatter;

/// Says whether a character must not reach a terminal as it is.
///
/// These are: controls (C0, DEL, C1), bidirectional embeddings, overrides, isolates and marks, line and paragraph
/// separators, interlinear annotations, tags, and what is invisible without joining letters or emoji.
pub fn is_hostile(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{061c}'
            | '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}' | '\u{200e}' | '\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}')
}

/// Returns the text in one line, with what [`is_hostile`] written out. Backslashes are doubled in such a text, and in one
/// that reads as if it were such a text already; so ordinary names stay as they are, and no two texts look the same.
pub fn line(text: &str) -> Cow<'_, str> {
    let looks_escaped =
        || text.split('\\').skip(1).any(|rest| rest.is_empty() || rest.starts_with(['n', 't', 'r', 'x', 'u']));
    if !text.chars().any(is_hostile) && !looks_escaped() {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '\n' => safe.push_str("\\n"),
            '\t' => safe.push_str("\\t"),
            '\r' => safe.push_str("\\r"),
            '\\' => safe.push_str("\\\\"),
            c if u32::from(c) < 0x100 && is_hostile(c) => {
                write!(safe, "\\x{:02x}", u32::from(c)).expect("writing to a string cannot fail");
            }
            c if is_hostile(c) => {
                write!(safe, "\\u{{{:x}}}", u32::from(c)).expect("writing to a string cannot fail");
            }
            c => safe.push(c),
        }
    }
    Cow::Owned(safe)
}

/// A compact JSON formatter that also escapes, within strings, what [`is_hostile`]. The document means the same.
#[derive(Debug, Clone, Copy, Default)]
pub struct SafeJson;

impl Formatter for SafeJson {
    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let mut written = 0;
        for (at, c) in fragment.char_indices().filter(|&(_, c)| is_hostile(c)) {
            writer.write_all(&fragment.as_bytes()[written..at])?;
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(writer, "\\u{unit:04x}")?;
            }
            written = at + c.len_utf8();
        }
        writer.write_all(&fragment.as_bytes()[written..])
    }
}

/// Serialises a value as compact JSON with hostile characters escaped.
///
/// # Errors
/// When the writer fails, or the value cannot be JSON.
pub fn write_json<T: serde::Serialize + ?Sized>(writer: &mut dyn io::Write, value: &T) -> serde_json::Result<()> {
    value.serialize(&mut serde_json::Serializer::with_formatter(writer, SafeJson))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Strings that attack terminals, readers and line-oriented programs.
    pub(crate) const HOSTILE: [&str; 60] = [
        "\x1b[31mred",
        "\x1b[2J\x1b[H",
        "\x1b]0;title\x07",
        "\x1b]8;;http://evil.example\x1b\\click\x1b]8;;\x1b\\",
        "\x1b]52;c;cm0gLXJmIH4=\x07",
        "\x1b[6n",
        "\x1b[c",
        "\x1bP$q\"p\x1b\\",
        "\x1b[?1049h",
        "\x1b[?25l",
        "\x1bc",
        "\x1b(0",
        "\x1b[8;9999;9999t",
        "\x1b[21t",
        "\x1b_Gf=24\x1b\\",
        "\x1b^private\x1b\\",
        "\x1b]1337;File=:AA==\x07",
        "\x1b]50;font\x07",
        "\x1b[4;31;1m",
        "\x1b[1A\x1b[2K",
        "\u{9b}31m",
        "\u{9d}0;title\u{9c}",
        "\u{90}q\u{9c}",
        "\u{85}next line",
        "\u{8d}reverse",
        "\0nul",
        "a\x07bell",
        "back\x08\x08\x08\x08space",
        "line\nfeed",
        "carriage\rreturn",
        "tab\tbed",
        "vertical\x0btab",
        "form\x0cfeed",
        "shift\x0eout\x0fin",
        "del\x7fete",
        "\u{202e}gpj.exe",
        "\u{202d}left",
        "\u{202a}embed\u{202c}",
        "\u{202b}embed\u{202c}",
        "\u{2066}isolate\u{2069}",
        "\u{2067}isolate\u{2069}",
        "\u{2068}isolate\u{2069}",
        "\u{200e}mark",
        "\u{200f}mark",
        "\u{61c}arabic mark",
        "line\u{2028}separator",
        "paragraph\u{2029}separator",
        "zero\u{200b}width",
        "word\u{2060}joiner",
        "\u{feff}byte order",
        "\u{fff9}anno\u{fffa}tated\u{fffb}",
        "\u{e0001}\u{e0041}tags",
        "hangul\u{3164}filler",
        "invisible\u{2062}times",
        "mongolian\u{180e}separator",
        "\u{206a}deprecated",
        "\u{1d173}beam",
        "\\x1b already \x1b",
        "mixed \u{202e}\x1b[0m\u{9b}0m\n",
        "\u{e01ef}variation",
    ];

    #[test]
    fn sixty_hostile_strings_are_inert_in_a_line() {
        for text in HOSTILE {
            let safe = line(text);
            assert_ne!(safe, text, "{text:?} is changed");
            assert!(!safe.chars().any(is_hostile), "{text:?} became {safe:?}");
        }
    }

    #[test]
    fn sixty_hostile_strings_are_inert_in_json_and_mean_the_same() {
        for text in HOSTILE {
            let mut bytes = Vec::new();
            write_json(&mut bytes, &serde_json::json!({ text: [text] })).unwrap();
            let written = String::from_utf8(bytes).unwrap();
            assert!(!written.chars().any(is_hostile), "{text:?} became {written:?}");
            let read: serde_json::Value = serde_json::from_str(&written).unwrap();
            assert_eq!(read[text][0], text, "{written}");
        }
    }

    #[test]
    fn ordinary_names_stay_as_they_are() {
        for text in ["a.txt", "naïve café", "日本語", "C:\\dir", "שלום", "👩\u{200d}👩\u{200d}👧", "می\u{200c}خواهم"]
        {
            assert!(matches!(line(text), Cow::Borrowed(same) if same == text), "{text}");
        }
    }

    #[test]
    fn different_texts_stay_different() {
        assert_ne!(line("a\n"), line("a\\n"));
        assert_ne!(line("\\n\n"), line("\n\\n"));
        assert_eq!(line("\u{202e}x"), "\\u{202e}x");
    }
}
