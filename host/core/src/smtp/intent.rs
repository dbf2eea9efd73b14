//! What the server will do with a command, and what it will answer, if no sink objects.
//!
//! Sequence is checked here (RFC 5321 §4.1.4) and so is policy: whose mail is taken, how large, for how many.
//! The difference matters to sinks. A command out of sequence never reaches them; one that policy refuses
//! does, with the refusal as its native response, and a sink with the grant may accept it all the same.

use std::sync::Arc;

use crate::addr::{Address, AddressError};
use crate::mail::Message;
use crate::reply::{Enhanced, Reply};
use crate::secret::Secret;
use crate::smtp::auth::Mechanism;
use crate::smtp::command::{CommandError, Request};
use crate::smtp::extension;
use crate::smtp::live::{Live, Transaction};
use crate::smtp::parameters::{Parameters, Wishes, check_rcpt_is_ascii};
use crate::smtp::xclient::Claims;
use crate::time::Timestamp;
use crate::transport::Lookup;

/// What the server does when the command goes through.
#[derive(Debug)]
pub(super) enum Action {
    /// HELO, EHLO: remember the name, forget the transaction.
    Greet { name: String, is_esmtp: bool },
    /// MAIL.
    Begin(Box<Transaction>),
    /// RCPT: the address, and how the client wrote it.
    Add(Address, Wishes),
    /// DATA.
    Receive,
    /// BDAT: octets that follow, and whether they are the last.
    Chunk(u64, bool),
    /// RSET.
    Reset,
    /// QUIT.
    Quit,
    /// The answer is all there is.
    Nothing,
    /// STARTTLS.
    StartTls,
    /// AUTH: the mechanism where it is one of ours, and the response that came with it.
    Auth { own: Option<Mechanism>, initial: Option<Secret> },
    /// XCLIENT.
    Xclient(Box<Claims>),
    /// NOOP: the same, and no sink's failure may stand in its way.
    Noop,
}

/// How a command counts against the session's limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tally {
    /// It moves mail.
    Work,
    /// It moves none.
    Idle,
    /// It is a protocol error.
    Fault,
}

/// Why the server will not carry a command out.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) reply: Reply,
    pub(super) tally: Tally,
    /// Whether it is a matter of policy, so that a sink may accept the command.
    pub(super) is_policy: bool,
    /// Whether it is the size of the message, so that sinks are asked at `on-max-msg-size`.
    pub(super) is_size: bool,
}

/// A command that came at the wrong time; no sink is asked.
#[derive(Debug)]
pub(super) struct OutOfSequence {
    pub(super) reply: Reply,
    pub(super) tally: Tally,
}

impl OutOfSequence {
    pub(super) fn fault(text: &str) -> Self {
        Self { reply: Reply::with(503, 5, 1, text), tally: Tally::Fault }
    }
}

/// A checked command.
#[derive(Debug)]
pub(super) struct Intent {
    pub(super) action: Action,
    /// The answer when it is carried out.
    pub(super) reply: Reply,
    pub(super) tally: Tally,
    pub(super) refusal: Option<Refusal>,
}

impl Intent {
    pub(super) fn of(action: Action, reply: Reply, tally: Tally) -> Self {
        Self { action, reply, tally, refusal: None }
    }

    /// What the server will answer if nobody objects.
    pub(super) fn native(&self) -> &Reply {
        self.refusal.as_ref().map_or(&self.reply, |refusal| &refusal.reply)
    }

    /// The message that MAIL begins.
    pub(super) fn message(&self) -> Option<&Message> {
        if let Action::Begin(transaction) = &self.action { Some(&transaction.message) } else { None }
    }

    /// Whether a failing sink may keep the client from it. Never from leaving or starting afresh.
    pub(super) fn can_fail(&self) -> bool {
        !matches!(self.action, Action::Quit | Action::Reset | Action::Noop)
    }
}

impl Live {
    /// Checks sequence and policy.
    ///
    /// # Errors
    /// The command is out of sequence.
    pub(super) fn intend(&mut self, request: Request, now: Timestamp) -> Result<Intent, OutOfSequence> {
        if self.tls_is_missing(&request) {
            // RFC 2034 §3: the answer to HELO has no enhanced code.
            let enhanced = (!matches!(request, Request::Helo(_))).then_some(Enhanced::new(7, 0));
            let reply = Reply::new(530, enhanced, "send STARTTLS first");
            let tally = if matches!(request, Request::Unknown(_)) { Tally::Fault } else { Tally::Idle };
            return Err(OutOfSequence { reply, tally });
        }
        Ok(match request {
            Request::Helo(name) => {
                let reply = Reply::new(250, None, self.policy.host_name.clone());
                Intent::of(Action::Greet { name, is_esmtp: false }, reply, self.greeting_tally())
            }
            Request::Ehlo(name) => {
                let reply = extension::ehlo_reply(self, now);
                Intent::of(Action::Greet { name, is_esmtp: true }, reply, self.greeting_tally())
            }
            Request::Mail(sender, parameters) => self.intend_mail(sender, parameters, now)?,
            Request::Rcpt(recipient, parameters) => self.intend_rcpt(recipient, &parameters)?,
            Request::Data => self.intend_data()?,
            Request::Bdat(octets, is_last) => self.intend_chunk(octets, is_last, now)?,
            Request::Rset => Intent::of(Action::Reset, Reply::with(250, 0, 0, "ok"), Tally::Idle),
            Request::Noop => Intent::of(Action::Noop, Reply::with(250, 0, 0, "ok"), Tally::Idle),
            Request::Quit => Intent::of(Action::Quit, Reply::with(221, 0, 0, "goodbye"), Tally::Work),
            Request::Help => Intent::of(Action::Nothing, Reply::with(214, 0, 0, self.verbs()), Tally::Idle),
            // Always the same answer, or it would tell a stranger who lives here; RFC 5321 §3.5.3 has 252
            // for that.
            Request::Vrfy => Intent::of(
                Action::Nothing,
                Reply::with(252, 0, 0, "cannot verify; send mail and it will be tried"),
                Tally::Idle,
            ),
            Request::Expn => refused(Reply::with(502, 5, 1, "lists are not shown"), Tally::Idle),
            Request::StartTls => self.intend_start_tls()?,
            Request::Auth { mechanism, initial } => self.intend_auth(mechanism, initial)?,
            Request::Xclient(claims) => self.intend_xclient(claims)?,
            Request::Http | Request::Unknown(_) => {
                refused(Reply::with(500, 5, 1, "command not recognised"), Tally::Fault)
            }
        })
    }

    fn intend_rcpt(&self, recipient: Address, parameters: &Parameters) -> Result<Intent, OutOfSequence> {
        let Some(transaction) = &self.transaction else {
            return Err(OutOfSequence::fault("send MAIL first"));
        };
        if transaction.incoming.is_some() {
            return Err(OutOfSequence::fault("the text has begun"));
        }
        if !recipient.is_ascii() && !transaction.is_smtputf8() {
            // RFC 6531 §3.5: only who said so may use other letters than ASCII.
            let reply = CommandError::Recipient(AddressError::NotAscii).reply();
            return Err(OutOfSequence { reply, tally: Tally::Fault });
        }
        if !transaction.is_smtputf8()
            && let Err(error) = check_rcpt_is_ascii(parameters)
        {
            return Err(OutOfSequence { reply: error.reply(), tally: Tally::Fault });
        }
        let recipient = self.without_own_literal(recipient);
        let refusal = self.rcpt_refusal(transaction, &recipient);
        let wishes = Wishes::of(parameters, recipient.to_string());
        let action = Action::Add(recipient, wishes);
        Ok(Intent { refusal, ..Intent::of(action, Reply::with(250, 1, 5, "recipient ok"), Tally::Work) })
    }

    fn intend_data(&self) -> Result<Intent, OutOfSequence> {
        let transaction = self.transaction_to_fill()?;
        // RFC 3030 §2 and §3: one message comes one way, and binary content has no dot that could end it.
        if transaction.incoming.is_some() {
            return Err(OutOfSequence::fault("the message comes with BDAT"));
        }
        if transaction.is_binary() {
            return Err(OutOfSequence::fault("BINARYMIME comes with BDAT"));
        }
        let reply = Reply::new(354, None, "end the message with a dot on a line of its own");
        Ok(Intent::of(Action::Receive, reply, Tally::Work))
    }

    fn intend_chunk(&self, octets: u64, is_last: bool, now: Timestamp) -> Result<Intent, OutOfSequence> {
        if !self.policy.extensions.chunking {
            return Err(OutOfSequence { reply: Reply::with(502, 5, 1, "BDAT is not offered"), tally: Tally::Fault });
        }
        if self.has_failed_chunk {
            // RFC 3030 §2: what the client had sent before it knew is no fault of its.
            let reply = Reply::with(503, 5, 1, "the message was refused; RSET or MAIL begins another");
            // Nothing of it is read by anybody, so empty ones could be kept up for ever.
            let tally = if octets == 0 { Tally::Idle } else { Tally::Work };
            return Err(OutOfSequence { reply, tally });
        }
        let transaction = self.transaction_to_fill()?;
        let is_late = |started| now.since(started) > self.policy.data_total;
        if transaction.incoming.as_ref().is_some_and(|incoming| is_late(incoming.started)) {
            return Err(OutOfSequence { reply: Reply::with(421, 4, 2, "timeout; closing"), tally: Tally::Work });
        }
        // Anything else could be kept up for ever.
        let tally = if octets == 0 && !is_last { Tally::Idle } else { Tally::Work };
        Ok(Intent::of(Action::Chunk(octets, is_last), Reply::with(250, 0, 0, "chunk received"), tally))
    }

    fn transaction_to_fill(&self) -> Result<&Transaction, OutOfSequence> {
        let Some(transaction) = &self.transaction else {
            return Err(OutOfSequence::fault("send MAIL first"));
        };
        if transaction.message.envelope.recipients.is_empty() {
            // RFC 2920 §3.1: a client that pipelines sends DATA before it knows that no recipient was taken.
            // That is no fault of its.
            return Err(if transaction.has_refused_recipient {
                OutOfSequence { reply: no_recipients(), tally: Tally::Work }
            } else {
                OutOfSequence::fault("send RCPT first")
            });
        }
        Ok(transaction)
    }

    /// Why policy or a limit refuses this recipient.
    pub(super) fn rcpt_refusal(&self, transaction: &Transaction, recipient: &Address) -> Option<Refusal> {
        // RFC 5321 §4.5.3.1.10: 452, so that the client sends the rest in another transaction. A limit and
        // no policy: no sink may lift it.
        if self.is_over_rate {
            return Some(Refusal { reply: over_rate(), tally: Tally::Work, is_policy: false, is_size: false });
        }
        let too_many = |text| {
            Some(Refusal { reply: Reply::with(452, 5, 3, text), tally: Tally::Work, is_policy: false, is_size: false })
        };
        // Commands count as well as recipients: the same one may be named for ever.
        let count = transaction.message.envelope.recipients.len().max(transaction.named.recipients.len());
        if count >= self.policy.recipients_max {
            return too_many("too many recipients");
        }
        let (client, named) = (self.facts.client.ip(), &transaction.named);
        if self.apart.as_ref().is_some_and(|apart| apart.keeps_apart(client, named, recipient)) {
            return too_many("recipients differed about this message: send it to this one by itself");
        }
        // The domain of another listener is a foreign one to who is not known.
        let is_elsewhere = recipient.domain().is_some_and(|domain| self.policy.is_elsewhere(domain))
            && !self.policy.directory.is_own_postmaster(recipient);
        let found = self.policy.directory.lookup(recipient);
        let reply = match found {
            _ if is_elsewhere && !self.may_relay() => Reply::with(550, 7, 1, "relaying denied"),
            Lookup::Mailbox(_) | Lookup::Alias(_) => return None,
            Lookup::Unknown => Reply::with(550, 1, 1, "no such user here"),
            // Only for who is known: a server that sends for anybody is an open relay. The address goes on as it is,
            // so nothing in its local part has a meaning here (`%`, `!`, source routes).
            Lookup::NotLocal if self.may_relay() => return None,
            Lookup::NotLocal => Reply::with(550, 7, 1, "relaying denied"),
        };
        // Idle, so that guessing names ends with 421.
        Some(Refusal { reply, tally: Tally::Idle, is_policy: true, is_size: false })
    }

    // RFC 5321 §4.5.1 and §4.1.3: the postmaster is here too where the host is named by its address.
    fn without_own_literal(&self, recipient: Address) -> Address {
        let is_own = recipient.literal().is_some_and(|there| there == self.facts.server.ip().to_canonical());
        let is_postmaster = recipient.local_unquoted().eq_ignore_ascii_case("postmaster");
        if !(is_own && is_postmaster) {
            return recipient;
        }
        Address::parse(recipient.local()).unwrap_or(recipient)
    }

    pub(super) fn may_relay(&self) -> bool {
        // RFC 4954 §1: who proved who it is may send through this server.
        if self.facts.vouched.auth.is_some() {
            return true;
        }
        let client = self.facts.client.ip();
        self.policy.relay_clients.iter().any(|network| network.has(client))
    }

    // The first greeting opens the session; any other one is only a slow RSET.
    fn greeting_tally(&self) -> Tally {
        if self.facts.helo.is_none() { Tally::Work } else { Tally::Idle }
    }

    /// Changes what is known of the session.
    pub(super) fn facts_mut(&mut self) -> &mut crate::event::SessionFacts {
        Arc::make_mut(&mut self.facts)
    }
}

/// The reply to a message for nobody.
pub(super) fn no_recipients() -> Reply {
    Reply::with(554, 5, 1, "no valid recipients")
}

/// The answer to who sends more than it may for now; it keeps the message and tries later.
pub(super) fn over_rate() -> Reply {
    Reply::with(451, 7, 0, "too much mail from your address, try again later")
}

/// The reply to a message over the size limit, declared or real (RFC 1870 §6).
pub(super) fn too_large() -> Reply {
    Reply::with(552, 3, 4, "message is larger than this server takes")
}

/// A command that the server does not carry out, whoever asks; a sink may handle it.
pub(super) fn refused(reply: Reply, tally: Tally) -> Intent {
    let refusal = Refusal { reply: reply.clone(), tally, is_policy: false, is_size: false };
    Intent { action: Action::Nothing, reply, tally, refusal: Some(refusal) }
}
