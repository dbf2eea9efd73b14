//! The registry on disk: which sinks there are, what they are bound to, and their components.
//!
//! A directory with `registry.toml`, which people read and edit, and `components/<sha256>.wasm`, which
//! nobody edits. Every change goes through [`edit`] under a lock; the server notices it through [`watch`]
//! and puts it in force whole, or keeps the old one.

pub mod compiler;
pub mod digest;
pub mod dirs;
pub mod edit;
pub mod fields;
pub mod file;
pub mod load;
pub mod manifest;
pub mod quantity;
pub mod secret;
pub mod store;
pub mod suggest;
pub mod versions;
pub mod watch;
pub mod words;

pub use dirs::OwnPlaces;
pub use edit::{Edit, EditError};
pub use fields::FileError;
pub use file::RegistryFile;
pub use load::{Broken, Loaded, Loader};
pub use store::{Store, StoreError};
pub use versions::{RollbackError, Version, Versions};
pub use watch::{Change, Prompt, Prompts, Watcher, watch};
