//! Which sinks run at an event, in what order, and what their answers mean.

pub mod binding;
pub mod birth;
pub mod budget;
pub mod chain;
pub mod grant;
pub mod granted_dir;
pub mod http_address;
pub mod kind;
pub mod occasion;
pub mod outbound;
pub mod receipt;
pub mod registry;
pub mod rule;
pub mod schedule;
pub mod tables;
pub mod timers;
pub mod verdict;

pub use binding::{Binding, FailurePolicy, InstanceMode, Mode};
pub use birth::{BirthError, Fork, NewMessage, Submission};
pub use budget::{Budget, BudgetOverride};
pub use chain::{Asked, Behind, Chain, ChainStep, Decision, Shadow};
pub use grant::{Grant, GrantError, Grants};
pub use granted_dir::{GrantedDir, Variable};
pub use http_address::{HttpAddress, HttpTarget};
pub use kind::{EventKind, EventSet};
pub use occasion::{Command, DestinationFacts, Occasion, Overlay, Question, SessionFacts, SizeInQuestion, TrackFacts};
pub use outbound::{OutCommand, OutCommandError, OutFacts, OutSession, OutState, ResponseFacts, SentFirst};
pub use receipt::{Receipt, TableEntry};
pub use registry::{Explained, Registry, RegistryError, SinkEntry, SinkSecret};
pub use rule::{Facts, Matched, Rule, RuleError};
pub use schedule::{Cron, CronError};
pub use tables::{TableEdit, TableEdits, TableValue};
pub use timers::{Due, Mark, TimerFacts, Timers};
pub(crate) use verdict::beyond_the_session;
pub use verdict::{Answer, Failure, FailureKind, Later, Verdict};
