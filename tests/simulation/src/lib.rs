//! Both SMTP machines, the spool, the transport and the schedule in one world with servers that break,
//! under a virtual clock. A seed decides everything; the same seed is the same story. In every second world sinks are
//! bound to events of the whole way.
//!
//! What holds in every world: nothing acknowledged is lost; nothing is delivered again once its delivery is
//! on disk; every message comes to its end; a notification is made once, never for the null sender; what
//! arrives is octet for octet what was sent. An edit of a sink is there once on all that arrives; what a sink made of a
//! message comes to its end where the message that it came out of says so, and once.

mod dice;
mod ledger;
mod link;
mod node;
mod peer;
mod sinks;
mod tables;
mod world;

pub use ledger::Counts;

/// Runs the world of a seed to its end.
///
/// # Errors
/// What was wrong first.
pub fn run(seed: u64) -> Result<Counts, String> {
    world::World::new(seed, false)?.run()
}

/// The same, and tells the story on standard error.
///
/// # Errors
/// What was wrong first.
pub fn tell(seed: u64) -> Result<Counts, String> {
    world::World::new(seed, true)?.run()
}
