//! What happens to a stored message.

pub mod stage;

pub use stage::{Stage, State};
