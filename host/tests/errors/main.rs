//! Bad input and the message that each gets. `docs/errors.md` has the same tables; with `BLESS=1` the tests
//! rewrite them there.

#![allow(clippy::panic, reason = "a failed test panics")]

mod add;
mod page;
mod registry;
