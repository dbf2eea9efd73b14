//! Real components against the engine: limits, grants, edits, events, loading.
//!
//! The components come from `tests/hostile` (`make hostile`). Most tests drive `probe`, which makes the host
//! calls that its configuration lists and logs what came of each.
#![allow(clippy::panic, clippy::unwrap_used, reason = "tests fail by panicking")]

mod asking;
mod cache;
mod dialogue;
mod edits;
mod events;
mod files;
mod grants;
mod instances;
mod limits;
mod loading;
mod reading;
mod remembering;
mod scenes;
mod services;
mod stage;
mod steering;
mod web;
