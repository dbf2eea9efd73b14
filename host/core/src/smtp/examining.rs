//! A session whose message is examined: what SPF, DKIM, DMARC and ARC say of it is stated in a field on top.

use core::time::Duration;
use std::sync::Arc;

use crate::mail::authres::own_field;
use crate::mail::{AuthResult, HeaderBlock, Message};
use crate::smtp::live::Live;
use crate::smtp::policy::AuthCheck;
use crate::smtp::session::Step;
use crate::smtp::storing::{Disposition, Storing};

/// What the shell is to find out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanting {
    /// What was found already, for sinks that asked.
    Known,
    /// What every method says; after that time the rest is "temperror".
    All(Duration),
}

/// A session whose message is examined before it is stored.
#[derive(Debug)]
pub struct Examining {
    storing: Storing,
    message: Message,
    disposition: Disposition,
    original: Arc<Message>,
    wanted: Wanting,
}

impl Examining {
    /// Examines the message where the policy wants that, then stores it.
    pub(super) fn before(storing: Storing, message: Message, disposition: Disposition, original: Arc<Message>) -> Step {
        let policy = storing.live.policy.message_auth.clone();
        let is_ours = storing.live.may_relay();
        let wanted = match policy.check {
            AuthCheck::Off => return Step::Store(storing, message, disposition),
            // Who may send to anywhere sends through this server: it is the first, and what it would find out of the
            // sender's own mail, which nobody has signed yet, would only be held against it.
            AuthCheck::Always | AuthCheck::Strangers if !is_ours => Wanting::All(policy.time_max),
            AuthCheck::Always | AuthCheck::Strangers | AuthCheck::OnDemand => Wanting::Known,
        };
        if storing.live.is_client_trusted() {
            return Step::Store(storing, message, disposition);
        }
        let examining = Self { storing, message, disposition, original, wanted };
        // Who logged in is known without a question.
        let is_logged_in = examining.original.arrival.vouched.auth.is_some();
        if is_logged_in { examining.examined(&[]) } else { Step::Examine(examining) }
    }

    /// The message as it came. Signatures are about that, not about what was made of it here.
    pub fn message(&self) -> &Arc<Message> {
        &self.original
    }

    /// What to find out.
    pub fn wanted(&self) -> Wanting {
        self.wanted
    }

    /// Goes on with what was found: it is stated above everything else (RFC 8601 §4), and the message stored.
    pub fn examined(self, results: &[AuthResult]) -> Step {
        let Self { storing, mut message, disposition, original, .. } = self;
        let policy = &storing.live.policy.message_auth;
        let is_utf8 = original.envelope.parameters.contains_key("SMTPUTF8");
        // A login is stated where the operator says so: the name of a user is not told to the world on the quiet.
        let is_stated = original.arrival.vouched.auth.is_none() || policy.check == AuthCheck::Always;
        let field = own_field(&policy.authority, &original.arrival, results, is_utf8).filter(|_| is_stated);
        // In a header block that is full there is no room for it; the message was taken and is not lost for that.
        if let Some(field) = field {
            Arc::make_mut(&mut message.header).insert(0, field).ok();
        }
        Step::Store(storing, message, disposition)
    }
}

impl Live {
    /// The header block without fields that only claim to be this server's.
    pub(super) fn without_forged_results(&self, header: Arc<HeaderBlock>) -> Arc<HeaderBlock> {
        if self.is_client_trusted() { header } else { self.policy.message_auth.authority.without_claims(header) }
    }

    // A server of the same administration, which has done all this itself (RFC 8601 §5).
    fn is_client_trusted(&self) -> bool {
        let client = self.facts.client.ip();
        self.policy.message_auth.trusted.iter().any(|network| network.has(client))
    }
}
