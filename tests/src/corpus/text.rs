//! Text that compresses like source code: few words used often, the same phrases with other names in them.

use super::stream::Stream;

/// The words of one corpus.
#[derive(Debug)]
pub struct Vocabulary {
    words: Vec<String>,
}

impl Vocabulary {
    /// Makes up four thousand words.
    pub fn new(stream: &mut Stream) -> Self {
        const HEADS: [&str; 20] =
            ["b", "c", "d", "f", "g", "h", "l", "m", "n", "p", "r", "s", "t", "v", "w", "st", "tr", "ch", "pr", "bl"];
        const MIDDLES: [&str; 10] = ["a", "e", "i", "o", "u", "ea", "ou", "ai", "ee", "io"];
        const TAILS: [&str; 14] = ["", "n", "r", "s", "t", "l", "ck", "nd", "st", "ng", "m", "x", "te", "re"];
        let words = (0..4000)
            .map(|_| {
                let mut word = String::new();
                for _ in 0..1 + stream.skewed(4) {
                    word.push_str(HEADS[stream.index(HEADS.len())]);
                    word.push_str(MIDDLES[stream.skewed(MIDDLES.len())]);
                }
                word.push_str(TAILS[stream.index(TAILS.len())]);
                word
            })
            .collect();
        Self { words }
    }

    /// Returns a word, common ones oftener.
    pub fn word(&self, stream: &mut Stream) -> &str {
        &self.words[stream.skewed(self.words.len())]
    }
}

/// What kind of file a text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// Functions, types and comments.
    Code,
    /// Headings and paragraphs.
    Prose,
    /// Nested keys and values.
    Data,
    /// A long table of numbers, as generated sources have.
    Table,
}

/// The names one project uses over and over, and the header its files share.
#[derive(Debug)]
pub struct Project<'a> {
    vocabulary: &'a Vocabulary,
    names: Vec<String>,
    types: Vec<String>,
    header: String,
}

impl<'a> Project<'a> {
    /// Makes up a project's names.
    pub fn new(vocabulary: &'a Vocabulary, stream: &mut Stream) -> Self {
        let names = (0..220)
            .map(|_| {
                let mut name = vocabulary.word(stream).to_owned();
                for _ in 0..stream.skewed(3) {
                    name.push('_');
                    name.push_str(vocabulary.word(stream));
                }
                name
            })
            .collect();
        let types = (0..70)
            .map(|_| (0..1 + stream.skewed(3)).map(|_| capitalised(vocabulary.word(stream))).collect::<String>())
            .collect();
        let mut header = String::from("// Copyright the ");
        header.push_str(&capitalised(vocabulary.word(stream)));
        header.push_str(" project developers.\n//\n");
        for _ in 0..stream.index(9) {
            header.push_str("// ");
            sentence(vocabulary, stream, 11, &mut header);
            header.push('\n');
        }
        Self { vocabulary, names, types, header }
    }

    /// Returns a short name, for a file or a directory.
    pub fn name(&self, stream: &mut Stream) -> &str {
        &self.names[stream.index(self.names.len())]
    }

    /// Appends at least `len` bytes of `dialect` to `out`; the last line is whole, so up to a few hundred more.
    pub fn write(&self, stream: &mut Stream, dialect: Dialect, len: usize, out: &mut Vec<u8>) {
        let end = out.len() + len;
        let mut text = String::new();
        if dialect == Dialect::Code {
            text.push_str(&self.header);
        }
        // A file speaks of a few of the project's things.
        let local: Vec<usize> = (0..26).map(|_| stream.skewed(self.names.len())).collect();
        let mut depth = 0;
        while out.len() + text.len() < end {
            match dialect {
                Dialect::Code => self.code_line(stream, &local, &mut depth, &mut text),
                Dialect::Prose => self.paragraph(stream, &mut text),
                Dialect::Data => self.data_line(stream, &local, &mut depth, &mut text),
                Dialect::Table => table_line(stream, &mut text),
            }
            if text.len() > 32 << 10 {
                out.extend_from_slice(text.as_bytes());
                text.clear();
            }
        }
        out.extend_from_slice(text.as_bytes());
    }

    fn code_line(&self, stream: &mut Stream, local: &[usize], depth: &mut usize, out: &mut String) {
        const FORMS: [&str; 24] = [
            "let n = n.n(n);",
            "let n = T::n(n)?;",
            "if n.n() {{",
            "n.n(n, n);",
            "self.n = n;",
            "}}",
            "return Err(T::n(n));",
            "fn n(&self, n: T) -> T {{",
            "// w",
            "let mut n = T::new();",
            "for n in n.n() {{",
            "assert_eq!(n.n(n), #);",
            "}}",
            "pub fn n(n: &T, n: usize) -> Result<T, T> {{",
            "match n {{",
            "T::n(n) => n,",
            "/// w",
            "",
            "#[derive(Debug, Clone, PartialEq)]",
            "pub struct T {{",
            "n: T,",
            "use crate::n::{{T, T}};",
            "impl T for T {{",
            "const N: u32 = #;",
        ];
        let form = FORMS[stream.skewed(FORMS.len() * 3) % FORMS.len()];
        if form.starts_with('}') {
            *depth = depth.saturating_sub(1);
        }
        for _ in 0..*depth {
            out.push_str("    ");
        }
        let bytes = form.as_bytes();
        for (at, byte) in bytes.iter().enumerate() {
            let alone = (at == 0 || !bytes[at - 1].is_ascii_alphanumeric())
                && bytes.get(at + 1).is_none_or(|b| !b.is_ascii_alphanumeric());
            match byte {
                b'n' if alone => out.push_str(&self.names[local[stream.skewed(local.len())]]),
                b'T' if alone => out.push_str(&self.types[stream.skewed(self.types.len())]),
                b'N' if alone => {
                    out.push_str(&self.names[local[stream.index(local.len())]].to_ascii_uppercase());
                }
                b'w' if alone => sentence(self.vocabulary, stream, 9, out),
                b'#' if alone && bytes.get(at + 1) != Some(&b'[') => number(stream, out),
                b'{' | b'}' if at > 0 && bytes[at - 1] == *byte => {}
                other => out.push(char::from(*other)),
            }
        }
        if form.ends_with("{{") {
            *depth = (*depth + 1).min(5);
        }
        out.push('\n');
    }

    fn paragraph(&self, stream: &mut Stream, out: &mut String) {
        if stream.chance(200) {
            out.push_str("\n## ");
            sentence(self.vocabulary, stream, 3, out);
            out.push_str("\n\n");
        }
        for _ in 0..1 + stream.index(6) {
            sentence(self.vocabulary, stream, 13, out);
            if stream.chance(120) {
                out.push_str(" See `");
                out.push_str(self.name(stream));
                out.push_str("`.");
            }
            out.push('\n');
        }
        out.push('\n');
    }

    fn data_line(&self, stream: &mut Stream, local: &[usize], depth: &mut usize, out: &mut String) {
        for _ in 0..=*depth {
            out.push_str("  ");
        }
        let key = &self.names[local[stream.skewed(local.len())]];
        match stream.index(8) {
            0 => {
                out.push_str(&format!("\"{key}\": {{\n"));
                *depth = (*depth + 1).min(4);
            }
            1 if *depth > 0 => {
                *depth -= 1;
                out.push_str("},\n");
            }
            2 | 3 => {
                out.push_str(&format!("\"{key}\": "));
                number(stream, out);
                out.push_str(",\n");
            }
            _ => out.push_str(&format!("\"{key}\": \"{}\",\n", self.vocabulary.word(stream))),
        }
    }
}

fn table_line(stream: &mut Stream, out: &mut String) {
    out.push_str("    ");
    for _ in 0..8 {
        out.push_str(&format!("0x{:04x}, ", stream.skewed(1 << 14)));
    }
    out.push('\n');
}

fn number(stream: &mut Stream, out: &mut String) {
    let bound = [10, 10, 100, 1000, 100_000][stream.index(5)];
    out.push_str(&stream.below(bound).to_string());
}

fn sentence(vocabulary: &Vocabulary, stream: &mut Stream, words: usize, out: &mut String) {
    for at in 0..1 + words / 2 + stream.index(words) {
        let word = vocabulary.word(stream);
        if at == 0 {
            out.push_str(&capitalised(word));
        } else {
            out.push(' ');
            out.push_str(word);
        }
    }
    out.push('.');
}

fn capitalised(word: &str) -> String {
    let mut word = word.to_owned();
    if let Some(first) = word.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    word
}
