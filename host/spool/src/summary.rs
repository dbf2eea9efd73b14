//! Messages as a list shows them.

use basin_core::addr::Address;
use basin_core::mail::{MessageId, Outcome};
use basin_core::time::Timestamp;
use basin_core::transport::State;

use crate::error::SpoolFault;
use crate::index::Entry;
use crate::read::{Found, Head};

/// Recipients that a summary names.
const RECIPIENTS_SHOWN: usize = 3;

/// A message as a list shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Identity.
    pub id: MessageId,
    /// Reverse path; `None` is the null sender.
    pub sender: Option<Address>,
    /// How many recipients it has.
    pub recipient_count: usize,
    /// The first few of them.
    pub recipients: Vec<Address>,
    /// Octets of header block, empty line and body.
    pub size: u64,
    /// When it came.
    pub arrived: Timestamp,
    /// `submission`, `delivery`, `held`, `bad`, or `damaged` where it cannot be read.
    pub stage: &'static str,
    /// Nothing happens to it before this time.
    pub not_before: Option<Timestamp>,
    /// Delivery attempts so far.
    pub attempts: u32,
    /// Why it is held, bad or damaged, or what a recipient waits for.
    pub reason: Option<String>,
}

impl Summary {
    pub(crate) fn of(found: &Found) -> Self {
        match found.head() {
            Ok(head) => Self::of_head(&found.entry, head),
            Err(fault) => Self::of_damaged(found, &fault),
        }
    }

    fn of_head(entry: &Entry, Head { meta, header }: Head) -> Self {
        let envelope = meta.envelope.into_owned();
        let state: State = meta.state.into_owned();
        let (stage, reason) = (state.stage.word(), state.stage.reason().map(str::to_owned));
        let waits_for = envelope.recipients.iter().find_map(|recipient| match &recipient.outcome {
            Outcome::Deferred { reply, .. } => Some(reply.to_string()),
            Outcome::Held { reason } => Some(reason.clone()),
            Outcome::Pending | Outcome::Delivered { .. } | Outcome::Failed { .. } => None,
        });
        let body_len = entry.body.proof().0;
        let separator_len = if meta.is_header_only && body_len == 0 { 0 } else { 2 };
        Self {
            id: meta.id.into_owned(),
            sender: envelope.sender,
            recipient_count: envelope.recipients.len(),
            recipients: envelope.recipients.into_iter().take(RECIPIENTS_SHOWN).map(|one| one.address).collect(),
            // With the empty line between header block and body, where there is one.
            size: header.len() as u64 + separator_len + body_len,
            arrived: meta.arrival.at,
            stage,
            not_before: state.not_before,
            attempts: state.attempts,
            reason: reason.or(waits_for),
        }
    }

    fn of_damaged(found: &Found, fault: &SpoolFault) -> Self {
        Self {
            id: found.id.clone(),
            sender: None,
            recipient_count: 0,
            recipients: Vec::new(),
            size: found.entry.body.proof().0,
            arrived: Timestamp::default(),
            stage: "damaged",
            not_before: None,
            attempts: 0,
            reason: Some(fault.to_string()),
        }
    }
}
