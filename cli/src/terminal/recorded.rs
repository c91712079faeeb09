//! A terminal that records what was written and answers from a list.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::path::Path;

use zeroize::Zeroizing;

use super::{Shape, Terminal};

/// A terminal for tests: keeps what was written, styles included, and takes answers from a list.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// What was written to standard output.
    pub output: Vec<u8>,
    /// What was written to standard error, questions included.
    pub errors: Vec<u8>,
    /// Answers still to be given, in order; none left reads as the end of input.
    pub answers: VecDeque<String>,
    shape: Shape,
}

impl Recorded {
    /// Makes a recording of the given shape.
    pub fn new(shape: Shape) -> Self {
        Self { output: Vec::new(), errors: Vec::new(), answers: VecDeque::new(), shape }
    }

    /// Makes a recording of three pipes.
    pub fn pipes() -> Self {
        Self::new(Shape { input: false, output: false, error: false, width: 80, height: 24 })
    }

    /// Makes a recording of a person at a screen of 80 by 24.
    pub fn screen() -> Self {
        Self::new(Shape { input: true, output: true, error: true, width: 80, height: 24 })
    }

    /// Adds an answer.
    #[must_use]
    pub fn answering(mut self, answer: &str) -> Self {
        self.answers.push_back(answer.to_owned());
        self
    }

    /// Returns standard output without styles.
    pub fn shown(&self) -> String {
        anstream::adapter::strip_str(&String::from_utf8_lossy(&self.output)).to_string()
    }

    /// Returns standard error without styles.
    pub fn shown_errors(&self) -> String {
        anstream::adapter::strip_str(&String::from_utf8_lossy(&self.errors)).to_string()
    }

    fn answer(&mut self, question: &str) -> io::Result<String> {
        writeln!(self.errors, "{question}")?;
        self.answers.pop_front().ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}

impl Terminal for Recorded {
    fn shape(&self) -> Shape {
        self.shape
    }

    fn out(&mut self) -> &mut dyn Write {
        &mut self.output
    }

    fn err(&mut self) -> &mut dyn Write {
        &mut self.errors
    }

    fn raw_out(&mut self) -> &mut dyn Write {
        &mut self.output
    }

    fn page(&mut self, text: &str) -> io::Result<()> {
        self.output.write_all(text.as_bytes())
    }

    fn confirm(&mut self, question: &str) -> io::Result<bool> {
        Ok(self.answer(question)? == "y")
    }

    fn choose(&mut self, question: &str, options: &[&str]) -> io::Result<Option<usize>> {
        let answer = self.answer(question)?;
        Ok(options.iter().position(|option| *option == answer))
    }

    fn secret(&mut self, prompt: &str) -> io::Result<Zeroizing<String>> {
        self.answer(prompt).map(Zeroizing::new)
    }

    fn edit(&mut self, _: &Path, text: &str) -> io::Result<Option<String>> {
        let answer = self.answer(text)?;
        Ok((!answer.is_empty()).then_some(answer))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
