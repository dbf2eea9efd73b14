//! A binding: one sink at one event, with its conditions.

use serde::{Deserialize, Serialize};

use crate::event::{Cron, EventKind, Rule};
use crate::time::Timestamp;

/// Priority where none is given, as in the original.
pub const PRIORITY_DEFAULT: u16 = 24_575;

/// Largest priority, called last.
pub const PRIORITY_MAX: u16 = 32_767;

/// Whether a binding decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Its verdict and edits count.
    #[default]
    Decide,
    /// It sees the same after the final decision, read-only; nobody waits for it.
    Observe,
    /// It runs with what a deciding sink at its place would get, and nothing that it does takes effect; what it said
    /// is compared with what was decided.
    Shadow,
}

impl Mode {
    /// Every mode, the default first.
    pub const ALL: &'static [Self] = &[Self::Decide, Self::Observe, Self::Shadow];

    /// The word in the registry and on the command line.
    pub fn word(self) -> &'static str {
        match self {
            Self::Decide => "decide",
            Self::Observe => "observe",
            Self::Shadow => "shadow",
        }
    }
}

/// How long an instance of a sink lives. What it keeps in its memory is there as long; it is a cache, and may be gone
/// at any call, because room is bounded and a call that fails takes its instance along.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InstanceMode {
    /// One call. Nothing leaks from one message into another, and a failed call costs nothing else.
    #[default]
    Call,
    /// All events of one message transaction of one session.
    Transaction,
    /// The whole session.
    Session,
    /// Many calls, whatever they are about; for runtimes that take long to start.
    Warm,
}

impl InstanceMode {
    /// Every one, the default first.
    pub const ALL: &'static [Self] = &[Self::Call, Self::Transaction, Self::Session, Self::Warm];

    /// The word in the registry and on the command line.
    pub fn word(self) -> &'static str {
        match self {
            Self::Call => "call",
            Self::Transaction => "transaction",
            Self::Session => "session",
            Self::Warm => "warm",
        }
    }
}

/// What happens when the sink fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailurePolicy {
    /// Try again later: 4yz to a client, the same stage again for a stored message.
    Defer,
    /// Refuse for good: 5yz to a client, a notification for a stored message.
    Refuse,
    /// Go on as if the sink had said `next`.
    Skip,
    /// Accept the message and keep it until an operator releases it.
    Hold,
    /// The recipient, or the recipients of the destination, that was asked about fail for good.
    Fail,
}

impl FailurePolicy {
    /// The word in the registry and on the command line.
    pub fn word(self) -> &'static str {
        match self {
            Self::Defer => "defer",
            Self::Refuse => "refuse",
            Self::Skip => "skip",
            Self::Hold => "hold",
            Self::Fail => "fail",
        }
    }
}

/// A row of the registry: a sink at one event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// Name, unique in the registry; `SINK/EVENT` or `SINK/EVENT/NUMBER` where nobody chose one.
    pub name: String,
    /// Name of the sink.
    pub sink: String,
    /// The event.
    pub event: EventKind,
    /// Conditions; all must hold.
    pub rule: Rule,
    /// 0 (first) to 32,767; ties go by name.
    pub priority: u16,
    /// Only at this listener.
    pub listener: Option<String>,
    /// Whether it decides.
    pub mode: Mode,
    /// How long an instance lives; all bindings of a sink with the same word share one within its life.
    pub instance: InstanceMode,
    /// What happens when the sink fails.
    pub on_failure: FailurePolicy,
    /// Switched on.
    pub is_enabled: bool,
    /// Not after this time.
    pub expires: Option<Timestamp>,
    /// At most so many firings since the server started; then it no longer fires.
    pub max_firings: Option<u64>,
    /// When it is due; at `on-timer` and nowhere else.
    pub schedule: Option<Cron>,
}
