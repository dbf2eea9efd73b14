//! The configuration: read here and nowhere else.
//!
//! `raw` is the file as it is written, `checked` what it means, [`reference`] the doc text of each key,
//! `source` finds the line of a key for messages.

mod check;
mod checked;
mod raw;
pub mod reference;
mod source;

pub use checked::{Config, Domain, Limits, Listener, Log};
pub use source::{ConfigErrors, Problem};
