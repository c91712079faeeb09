//! Faults of the real machine, met by the real program.
fn main() {}
