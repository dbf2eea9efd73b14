//! What one call of a sink may use.

use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::event::EventKind;

/// Limits of one call; each has a default, a maximum, a flag of `basin sink add` and a test that it bites.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Units of fuel: about one for each WebAssembly instruction, plus the tariff of host calls.
    pub fuel: u64,
    /// Time of the sink's own, waiting for the outside world excluded.
    pub time: Duration,
    /// Time that it may wait for the outside world on top: for names, for HTTP, for a clock.
    pub wait: Duration,
    /// Octets of all linear memories together.
    pub memory: u64,
    /// Elements of all tables together.
    pub table_elements: usize,
    /// Core instances.
    pub instances: usize,
    /// Octets that one host call may carry from the sink to the host.
    pub host_call_bytes: usize,
    /// Live resource handles.
    pub handles: usize,
    /// Octets of log; more is cut, never a failure.
    pub log_bytes: usize,
    /// Octets of standard output and of standard error, each; more is cut, never a failure.
    pub stdio_bytes: usize,
}

/// Fuel of a protocol event by default: some 2 to 10 ms of computing.
const FUEL_PROTOCOL: u64 = 50_000_000;
/// Fuel of a message event by default, before the share that grows with the message.
const FUEL_MESSAGE: u64 = 100_000_000;
/// Fuel for each octet of the message by default; SHA-256 takes 113 an octet.
const FUEL_PER_OCTET: u64 = 200;

/// Waiting at a protocol event: a client sends one command after the other, and each may wait this long.
const WAIT_PROTOCOL: Duration = Duration::from_secs(5);
/// Waiting at the end of data: clients wait ten minutes there (RFC 5321 §4.5.3.2.6), and all sinks share a minute.
const WAIT_END_OF_DATA: Duration = Duration::from_secs(30);
/// Waiting after acceptance, where nobody waits but the message.
const WAIT_ACCEPTED: Duration = Duration::from_secs(60);

/// Most fuel that an operator can give one call.
pub const FUEL_MAX: u64 = 50_000_000_000;
/// Most time that an operator can give one call.
pub const TIME_MAX: Duration = Duration::from_secs(60);
/// Most memory that an operator can give one call, in octets.
pub const MEMORY_MAX: u64 = 512 * 1024 * 1024;
/// Memory by default, in octets.
pub const MEMORY_DEFAULT: u64 = 64 * 1024 * 1024;

/// What an operator wrote for a sink; what is `None` has its default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct BudgetOverride {
    /// Units of fuel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fuel: Option<u64>,
    /// Octets of memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    /// Milliseconds of own time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline_ms: Option<u64>,
}

impl Budget {
    /// The budget of a call at `event` about a message of `octets`, with what the operator set.
    pub fn of(event: EventKind, octets: u64, set: &BudgetOverride) -> Self {
        let fuel_message = FUEL_MESSAGE.saturating_add(octets.saturating_mul(FUEL_PER_OCTET));
        let (fuel, time, wait) = if event == EventKind::OnTimer {
            // Nobody waits, and it stands for all that came since the last one.
            (fuel_message, Duration::from_secs(10), WAIT_ACCEPTED)
        } else if !event.has_content() {
            (FUEL_PROTOCOL, Duration::from_millis(250), WAIT_PROTOCOL)
        } else if event == EventKind::OnEndOfData {
            (fuel_message, Duration::from_secs(2), WAIT_END_OF_DATA)
        } else {
            (fuel_message, Duration::from_secs(10), WAIT_ACCEPTED)
        };
        Self {
            fuel: set.fuel.unwrap_or(fuel).min(FUEL_MAX),
            time: set.deadline_ms.map_or(time, Duration::from_millis).min(TIME_MAX),
            wait,
            memory: set.memory.unwrap_or(MEMORY_DEFAULT).min(MEMORY_MAX),
            table_elements: 100_000,
            instances: 32,
            host_call_bytes: 1024 * 1024,
            handles: 4_096,
            log_bytes: 16 * 1024,
            stdio_bytes: 16 * 1024,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fuel_of_a_message_event_grows_with_the_message() {
        let of = |octets| Budget::of(EventKind::OnEndOfData, octets, &BudgetOverride::default()).fuel;
        assert_eq!(of(0), 100_000_000);
        assert_eq!(of(1_000_000), 300_000_000);
        assert_eq!(of(u64::MAX), FUEL_MAX);
    }

    #[test]
    fn an_operator_cannot_pass_the_maximum() {
        let set = BudgetOverride { fuel: Some(u64::MAX), memory: Some(u64::MAX), deadline_ms: Some(u64::MAX) };
        let budget = Budget::of(EventKind::OnConnect, 0, &set);
        assert_eq!((budget.fuel, budget.memory, budget.time), (FUEL_MAX, MEMORY_MAX, TIME_MAX));
    }
}
