//! Formats are for ever: bytes of every version must open, and say the same as on the day they were written.
//!
//! The fixtures lie in `tests/fixtures/`; its README says how they came to be and why they are never rewritten.

mod fixture_file;
mod profiles;
mod repository;
mod structures;
mod unpacked;
