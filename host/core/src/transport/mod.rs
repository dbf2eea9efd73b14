//! What happens to a stored message.
//!
//! [`Transport`] takes a message and the state that was written with it and says what it wants as [`Work`].
//! Nothing that it knows is lost with it: drop it anywhere, load the message again, start it again, and it
//! goes on from what was saved last.

mod asking;
pub mod change;
mod children;
mod crib;
pub mod delivery;
pub mod directory;
pub mod hop;
mod local;
pub mod machine;
mod remote;
mod resolution;
pub mod route;
mod routing;
pub mod sign;
pub mod stage;
mod submission;
mod telling;

pub use asking::Waiting;
pub use change::{Attempt, Change, Relayed, Whom};
pub use children::Bearing;
pub use crib::{Crib, Fate, Known};
pub use delivery::{Delivering, Job};
pub use directory::{Directory, DirectoryError, Lookup, Tables};
pub use hop::{Hop, HopTarget, HostAddress, Way};
pub use machine::{End, Notifying, Repeat, Saving, Transport, TransportPolicy, Work, about};
pub use route::{
    Destination, DestinationLimits, DomainPattern, HostPort, NextHop, Protocol, Route, RouteTable, TlsDemand,
};
pub use sign::Signing;
pub use stage::{Parent, PutOff, Stage, State};
pub(crate) use submission::failure_behind;
pub use submission::is_expired;

#[cfg(test)]
mod tests;
