//! Why the host ended a call, as an error that crosses wasmtime.

use basin_core::event::FailureKind;
use thiserror::Error;

/// A call that the host ended: a limit, a missing grant, a verdict that is not allowed.
///
/// Host functions return it as an error, wasmtime carries it out of the sink, and `failure` finds it again.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{detail}")]
pub(crate) struct Ended {
    pub(crate) kind: FailureKind,
    pub(crate) detail: String,
}

impl Ended {
    pub(crate) fn new(kind: FailureKind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into() }
    }

    /// The sink read what it is not granted.
    pub(crate) fn denied(detail: impl Into<String>) -> Self {
        Self::new(FailureKind::Denied, detail)
    }

    /// A limit of the whole call is used up.
    pub(crate) fn quota(detail: impl Into<String>) -> Self {
        Self::new(FailureKind::Quota, detail)
    }

    /// The sink used a handle to what it had taken away itself.
    pub(crate) fn stale(what: &str) -> Self {
        Self::new(FailureKind::Trap, format!("it used {what}"))
    }

    /// The host itself failed.
    pub(crate) fn host(detail: impl Into<String>) -> Self {
        Self::new(FailureKind::Host, detail)
    }
}
