//! What a call is told and what it reports.

use core::time::Duration;
use std::sync::Arc;

use basin_core::event::{Answer, Binding, Occasion, Overlay, SinkEntry};

use crate::{Component, Scopes, SinkHost};

/// One call of one sink.
pub struct CallRequest<'a> {
    /// The sink: its grants, budget and configuration.
    pub sink: &'a Arc<SinkEntry>,
    /// Its code.
    pub component: &'a Arc<Component>,
    /// The binding that fired.
    pub binding: &'a Arc<Binding>,
    /// The facts of the event.
    pub occasion: &'a Arc<Occasion>,
    /// What the sinks before it left; the answer has it with this call's effects on top.
    pub overlay: Box<Overlay>,
    /// Whether every edit is answered with `read-only`; notices are read-only whatever this says.
    pub is_read_only: bool,
    /// What instances are kept for; without, a binding that would keep one for a session gets a fresh one.
    pub scopes: Option<&'a Scopes>,
    /// The server around it.
    pub host: &'a Arc<dyn SinkHost>,
}

/// What one call used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Fuel, the tariff of host calls included; the same in every repetition.
    pub fuel: u64,
    /// From the request to the answer.
    pub wall: Duration,
    /// Time in which the call was running, the sink's code and the host's for it: `wall` without all waiting.
    pub own: Duration,
    /// Wait for a free place among the calls.
    pub queued: Duration,
    /// Making the instance; part of `own`.
    pub instantiate: Duration,
    /// Most linear memory at any time, in octets, summed over all memories.
    pub memory: u64,
    /// Host calls, those to WASI included.
    pub host_calls: u64,
    /// Calls that were refused for want of a grant.
    pub denied: u32,
}

/// What came of a call.
#[derive(Debug, Clone)]
pub struct CallReport {
    /// The verdict with its effects, or the failure.
    pub answer: Answer,
    /// What it used.
    pub usage: Usage,
    /// Standard output, control characters escaped, cut at its limit.
    pub stdout: String,
    /// Standard error, likewise.
    pub stderr: String,
}
