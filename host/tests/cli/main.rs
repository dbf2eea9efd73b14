//! The commands `basin sink` and `basin queue` as a person runs them, and the message that each bad input gets.
//! `docs/errors.md` has the same tables of messages; with `BLESS=1` the tests rewrite them there.

#![allow(clippy::panic, reason = "a failed test panics")]

mod add;
mod folder;
mod keeps;
mod manifest;
mod page;
mod queue;
mod registry;
mod sink;
mod trial;
mod upgrade;
mod upkeep;
