//! The text in which fixtures of single structures are kept.
//!
//! Paragraphs stand apart by an empty line; a line begins with a word that says what it holds, and one that begins with
//! two spaces continues the line before. `#` begins a comment.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// A change to the bytes that must be refused, and with which words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Position of the byte that is changed.
    pub at: usize,
    /// Bits that are turned.
    pub turned: u8,
    /// What is said of it.
    pub message: String,
}

/// The bytes of one structure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Golden {
    /// What it is.
    pub name: String,
    /// The id or digest it is named by, in hexadecimal.
    pub id: String,
    /// The encoding.
    pub bytes: Vec<u8>,
    /// Its negative twins.
    pub refused: Vec<Refusal>,
}

/// Returns the path of a fixture.
pub fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// Writes a fixture that does not exist where `SHARD_TEST_BLESS` says so. One that exists is never touched.
pub fn bless(name: &str, make: impl FnOnce() -> Vec<u8>) {
    // Tests run beside each other, and one makes it for all.
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let path = path(name);
    if !path.exists() && std::env::var_os("SHARD_TEST_BLESS").is_some_and(|value| value == "1") {
        std::fs::write(&path, make()).unwrap();
    }
    assert!(path.exists(), "{} is missing: it is a promise, look for it in history", path.display());
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes what is written");
        text
    })
}

fn unhex(text: &str) -> Vec<u8> {
    assert!(text.is_ascii() && text.len().is_multiple_of(2), "an odd number of digits: {text}");
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// Renders structures as a fixture.
pub fn render(head: &str, all: &[Golden]) -> String {
    let mut text = head.to_owned();
    for golden in all {
        writeln!(text, "\nname {}\nid {}\nbytes", golden.name, golden.id).unwrap();
        for line in hex(&golden.bytes).as_bytes().chunks(96) {
            writeln!(text, "  {}", std::str::from_utf8(line).unwrap()).unwrap();
        }
        for Refusal { at, turned, message } in &golden.refused {
            writeln!(text, "refused {at} {turned:02x} {message}").unwrap();
        }
    }
    text
}

/// Reads a fixture.
pub fn parse(text: &str) -> Vec<Golden> {
    let mut all: Vec<Golden> = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix("name ") {
            all.push(Golden { name: name.to_owned(), id: String::new(), bytes: Vec::new(), refused: Vec::new() });
            continue;
        }
        let golden = all.last_mut().expect("a name comes first");
        match line.split_once(' ') {
            Some(("id", id)) => golden.id = id.to_owned(),
            Some(("", digits)) => golden.bytes.extend(unhex(digits.trim_start())),
            Some(("refused", rest)) => {
                let mut parts = rest.splitn(3, ' ');
                let mut part = || parts.next().unwrap();
                let (at, turned) = (part().parse().unwrap(), u8::from_str_radix(part(), 16).unwrap());
                golden.refused.push(Refusal { at, turned, message: part().to_owned() });
            }
            _ => assert_eq!(line, "bytes", "a line of no known form"),
        }
    }
    all
}
