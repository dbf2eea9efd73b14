//! What the fuzzers of Basin run, and the shell in memory that they and the model of SMTP share.
//!
//! A target is a function of octets that fails where a property does not hold. `fuzz/` hands it octets that a fuzzer
//! makes up; the test `seeds` hands it those that are kept in the tree, so every `make test` runs all of them.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a property that does not hold ends the run")]

mod letter;
pub mod random;
pub mod shell;
pub mod targets;
mod view;
pub mod wire;
pub mod world;
