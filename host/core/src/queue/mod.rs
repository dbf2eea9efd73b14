//! When a stored message is worked on again.

pub mod job;
pub mod schedule;

pub use job::Job;
pub use schedule::{Schedule, retry_after};
