//! What happens to a stored message.

pub mod directory;
pub mod stage;

pub use directory::{Directory, DirectoryError, Lookup, Tables};
pub use stage::{Stage, State};
