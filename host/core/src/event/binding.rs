//! A binding: one sink at one event, with its conditions.

use serde::{Deserialize, Serialize};

use crate::event::{EventKind, Rule};
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
}

impl FailurePolicy {
    /// The word in the registry and on the command line.
    pub fn word(self) -> &'static str {
        match self {
            Self::Defer => "defer",
            Self::Refuse => "refuse",
            Self::Skip => "skip",
            Self::Hold => "hold",
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
    /// What happens when the sink fails.
    pub on_failure: FailurePolicy,
    /// Switched on.
    pub is_enabled: bool,
    /// Not after this time.
    pub expires: Option<Timestamp>,
    /// At most so many firings since the server started; then it no longer fires.
    pub max_firings: Option<u64>,
}
