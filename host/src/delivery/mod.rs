//! Delivery: the last step of a message.

pub mod batch;
pub mod maildir;
pub mod outbound;

pub use batch::{Courier, Parcel};
pub use maildir::{DeliveryFault, Maildirs};
