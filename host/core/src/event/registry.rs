//! The registry: which sinks there are and what they are bound to.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::event::{Asked, Binding, BudgetOverride, Grants};

/// A registered sink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SinkEntry {
    /// Name, unique; 1 to 64 characters out of `a-z 0-9 -`, begins with a letter.
    pub name: String,
    /// SHA-256 of the component, in hexadecimal; the file lies under that name in the registry's directory.
    pub digest: String,
    /// Where it came from, for people.
    pub source: String,
    /// What it may do.
    pub grants: Grants,
    /// What one call may use.
    pub budget: BudgetOverride,
    /// What the operator set for it.
    pub config: BTreeMap<String, String>,
    /// Switched on.
    pub is_enabled: bool,
}

/// One generation of the registry; never changes once it is in force.
#[derive(Debug, Clone, Default)]
pub struct Registry {
    /// Counts the changes that were applied since the server started.
    pub generation: u64,
    /// Sinks by name.
    pub sinks: BTreeMap<String, Arc<SinkEntry>>,
    /// Bindings, in no particular order.
    pub bindings: Vec<Arc<Binding>>,
}

/// What a plan holds for one event.
pub type Planned = Vec<Asked>;

/// One row of the answer to "why is my sink not called?".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explained {
    /// The binding.
    pub binding: Arc<Binding>,
    /// Why it does not fire, in words; `None` where it does.
    pub why_not: Option<String>,
}
