//! What happens to a stored message.
//!
//! [`Transport`] takes a message and the state that was written with it and says what it wants as [`Work`].
//! Nothing that it knows is lost with it: drop it anywhere, load the message again, start it again, and it
//! goes on from what was saved last.

pub mod change;
pub mod delivery;
pub mod directory;
pub mod hop;
pub mod machine;
mod remote;
pub mod route;
pub mod sign;
pub mod stage;
mod submission;
mod telling;

pub use change::{Attempt, Change, Relayed, Whom};
pub use delivery::{Delivering, Job};
pub use directory::{Directory, DirectoryError, Lookup, Tables};
pub use hop::{Hop, HopTarget, HostAddress};
pub use machine::{End, Notifying, Repeat, Saving, Transport, TransportPolicy, Waiting, Work, about};
pub use route::{
    Destination, DestinationLimits, DomainPattern, HostPort, NextHop, Protocol, Route, RouteTable, TlsDemand,
};
pub use sign::Signing;
pub use stage::{Stage, State};
pub use submission::is_expired;

#[cfg(test)]
mod tests;
