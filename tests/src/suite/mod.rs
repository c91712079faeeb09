//! Suites that take long or need much.
