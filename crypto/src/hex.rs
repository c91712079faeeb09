//! Hexadecimal: the text form of digests, keys and signatures.

use std::fmt;

/// A text that is not the hexadecimal form of the value it was read as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HexError {
    /// The text has another length.
    #[error("expected {expected} hexadecimal digits, found {found} bytes")]
    Length {
        /// How many digits the value takes.
        expected: usize,
        /// How many bytes the text has.
        found: usize,
    },
    /// A byte of the text is no hexadecimal digit.
    #[error("byte {position} is not a hexadecimal digit")]
    Digit {
        /// Offset of the first such byte.
        position: usize,
    },
}

/// Reads exactly `2 * N` digits of either case.
pub(crate) fn parse<const N: usize>(text: &str) -> Result<[u8; N], HexError> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N {
        return Err(HexError::Length { expected: 2 * N, found: digits.len() });
    }
    let mut bytes = [0; N];
    for (byte, position) in bytes.iter_mut().zip((0..).step_by(2)) {
        *byte = nibble(digits, position)? << 4 | nibble(digits, position + 1)?;
    }
    Ok(bytes)
}

fn nibble(digits: &[u8], position: usize) -> Result<u8, HexError> {
    match digits[position] {
        digit @ b'0'..=b'9' => Ok(digit - b'0'),
        digit @ b'a'..=b'f' => Ok(digit - b'a' + 10),
        digit @ b'A'..=b'F' => Ok(digit - b'A' + 10),
        _ => Err(HexError::Digit { position }),
    }
}

/// Writes lower-case digits.
pub(crate) fn write(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.pad(&text(bytes))
}

pub(crate) fn text(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(|nibble| char::from(DIGITS[usize::from(nibble)])).collect()
}
