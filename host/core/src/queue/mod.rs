//! When a stored message is worked on again.

pub mod schedule;

pub use schedule::{Schedule, retry_after};
