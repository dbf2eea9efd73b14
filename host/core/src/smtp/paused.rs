//! A session that waits for the decision of sinks.

use std::sync::Arc;

use crate::addr::AddressError;
use crate::event::{Command, Decision, Overlay, Verdict, beyond_the_session};
use crate::mail::Message;
use crate::reply::{Class, Reply};
use crate::smtp::arrived::{Finished, success_of_sink};
use crate::smtp::auth::{Ended, Failed};
use crate::smtp::awaiting::{Dialogue, Purpose, wanted};
use crate::smtp::carry_out::{Answer, Consent, answer_of_sink, out_of_order, refusal_of_sink};
use crate::smtp::command::{CommandError, check_rewritten_rcpt};
use crate::smtp::incoming::Due;
use crate::smtp::intent::{Action, Intent, Tally};
use crate::smtp::live::{EndReason, Live, Transaction};
use crate::smtp::outbox::Outbox;
use crate::smtp::parameters::{Wishes, check_rcpt_is_ascii};
use crate::smtp::receiving::Text;
use crate::smtp::session::Step;
use crate::smtp::storing::Disposition;
use crate::smtp::verdicts::Arrived;
use crate::time::Timestamp;

/// A session that waits for the decision of sinks; the client's next command waits with it.
#[derive(Debug)]
pub struct Paused {
    pub(super) live: Box<Live>,
    pub(super) waiting: Waiting,
}

/// What the sinks were asked about.
#[derive(Debug)]
pub(super) enum Waiting {
    Connect,
    Command {
        intent: Intent,
        /// As the client sent it.
        command: Arc<Command>,
    },
    EndOfData(Box<Arrived>),
    /// The size that MAIL announced.
    Size {
        intent: Intent,
        command: Option<Arc<Command>>,
        line: Vec<u8>,
    },
    /// The header block, or the size, of a text that arrives.
    Text {
        text: Box<Text>,
        due: Due,
        ended: Option<Finished>,
    },
    Authenticated(Box<Ended>),
}

// A command that sinks have decided about.
struct Asked {
    intent: Intent,
    command: Arc<Command>,
    /// The binding that gave the verdict.
    by: Option<String>,
}

impl Paused {
    /// Goes on with what the sinks decided.
    pub fn resume(self, decision: Decision, now: Timestamp, outbox: &mut Outbox) -> Step {
        let Self { mut live, waiting } = self;
        let Decision { verdict, by, overlay, .. } = decision;
        live.bag = overlay.session_bag.clone();
        outbox.wait(overlay.delay);
        match waiting {
            Waiting::Connect => {
                live.bag_at_connect = live.bag.clone();
                live.resume_connect(verdict, overlay, now, outbox)
            }
            Waiting::Command { intent, command } => {
                let asked = Asked { intent, command, by };
                live.resume_command(asked, verdict, overlay, now, outbox)
            }
            Waiting::EndOfData(arrived) => live.resume_end_of_data(*arrived, verdict, overlay, now, outbox),
            Waiting::Authenticated(ended) => live.resume_authenticated(*ended, verdict, &overlay, now, outbox),
            Waiting::Size { intent, command, line } => live.size_decided(intent, command, &line, &verdict, now, outbox),
            Waiting::Text { text, due, ended } => live.resume_text(text, due, ended, (verdict, overlay), now, outbox),
        }
    }
}

impl Live {
    fn resume_connect(
        self: Box<Self>,
        verdict: Verdict,
        overlay: Overlay,
        now: Timestamp,
        outbox: &mut Outbox,
    ) -> Step {
        let reply = match verdict {
            Verdict::Next | Verdict::SkipRemaining => {
                let response = overlay.response.as_ref().filter(|reply| reply.class() == Class::Success);
                let text = response.and_then(|reply| reply.lines().first()).or(overlay.banner.as_ref());
                let banner = text.unwrap_or(&self.policy.banner).clone();
                return self.greet(&banner, outbox);
            }
            Verdict::Refuse(reply) | Verdict::DropSession(reply) => refusal_of_sink(reply),
            Verdict::Accept
            | Verdict::Consume(_)
            | Verdict::AwaitInput(_)
            | Verdict::AwaitOctets(..)
            | Verdict::Discard
            | Verdict::Hold(_)
            | Verdict::Defer(_)
            | Verdict::BadMail(_)
            | Verdict::WaiveUpTo(_)
            | beyond_the_session!() => out_of_order(),
        };
        // RFC 5321 §3.1 and §4.3.2: in place of a banner there is 554 or 421; no enhanced code (RFC 2034 §3).
        let code = if reply.class() == Class::Permanent { 554 } else { 421 };
        let reply = Reply::multi_line(code, None, reply.lines().to_vec());
        self.close(reply, EndReason::Refused, &[], now, outbox)
    }

    fn resume_command(
        mut self: Box<Self>,
        asked: Asked,
        verdict: Verdict,
        mut overlay: Overlay,
        now: Timestamp,
        outbox: &mut Outbox,
    ) -> Step {
        let Asked { mut intent, command, by } = asked;
        let is_auth = matches!(intent.action, Action::Auth { .. });
        let line = command.line.as_slice();
        let refused_tally = if overlay.is_protocol_error { Tally::Fault } else { Tally::Work };
        let refuse = |reply, must_close| Answer { reply, tally: refused_tally, line, must_close };
        let answer = match verdict {
            Verdict::Next | Verdict::SkipRemaining | Verdict::Accept => {
                self.take_message(&mut intent, overlay.message.take());
                if let Some(rewritten) = overlay.command.take().filter(|rewritten| *rewritten != command)
                    && self.rewrite(&mut intent, &command, &rewritten).is_err()
                {
                    // The client's command was right; what the sink made of it is not the client's fault.
                    return self.answer_for_sink(&intent.action, refuse(out_of_order(), false), now, outbox);
                }
                let accepts = verdict == Verdict::Accept;
                return self.carry_out(intent, Some(Consent { overlay, accepts }), line, now, outbox);
            }
            Verdict::Consume(reply) if is_auth => {
                self.count_error_where(overlay.is_protocol_error, outbox);
                return self.auth_consumed(overlay.authenticated, reply, line, now, outbox);
            }
            Verdict::Refuse(reply) if is_auth => {
                self.count_error_where(overlay.is_protocol_error, outbox);
                let user = overlay.authenticated.map(|auth| auth.user);
                return self.auth_failed(Failed::BySink(refusal_of_sink(reply)), user, line, now, outbox);
            }
            Verdict::Consume(reply) => {
                // The sink has handled the command; what it changed about the message is part of that.
                self.take_message(&mut intent, overlay.message.take());
                let tally = if overlay.is_protocol_error { Tally::Fault } else { Tally::Idle };
                Answer { reply: answer_of_sink(reply), tally, line, must_close: false }
            }
            Verdict::Refuse(reply) => refuse(refusal_of_sink(reply), false),
            Verdict::DropSession(reply) => {
                if is_auth {
                    // Who is thrown out over a login may come again and guess on.
                    self.count_auth_failure(overlay.authenticated.map(|auth| auth.user), outbox);
                }
                refuse(refusal_of_sink(reply), true)
            }
            Verdict::Defer(later) => refuse(refusal_of_sink(later.reply), false),
            Verdict::AwaitInput(_) | Verdict::AwaitOctets(..) => match (wanted(&verdict, &intent.action), by) {
                (Some((reply, wanted)), Some(by)) => {
                    self.count_error_where(overlay.is_protocol_error, outbox);
                    self.take_message(&mut intent, overlay.message.take());
                    let rewritten = overlay.command.take();
                    let dialogue = Dialogue { intent, command, rewritten, by, wanted };
                    return self.await_input(&reply, Purpose::Sink(Box::new(dialogue)), wanted, outbox);
                }
                (_, _) => refuse(out_of_order(), false),
            },
            Verdict::Discard
            | Verdict::Hold(_)
            | Verdict::BadMail(_)
            | Verdict::WaiveUpTo(_)
            | beyond_the_session!() => refuse(out_of_order(), false),
        };
        self.answer_for_sink(&intent.action, answer, now, outbox)
    }

    fn resume_end_of_data(
        self: Box<Self>,
        arrived: Arrived,
        verdict: Verdict,
        overlay: Overlay,
        now: Timestamp,
        outbox: &mut Outbox,
    ) -> Step {
        let Arrived { message, original, reply: native, disposition: before, named } = arrived;
        let disposition = match verdict {
            Verdict::Next | Verdict::SkipRemaining => Ok(before),
            Verdict::Discard => Ok(Disposition::Discard),
            Verdict::Hold(reason) => Ok(Disposition::Hold(reason)),
            Verdict::Refuse(reply) => Err((refusal_of_sink(reply), false)),
            Verdict::DropSession(reply) => Err((refusal_of_sink(reply), true)),
            Verdict::Defer(later) => Err((refusal_of_sink(later.reply), false)),
            Verdict::Accept
            | Verdict::Consume(_)
            | Verdict::AwaitInput(_)
            | Verdict::AwaitOctets(..)
            | Verdict::BadMail(_)
            | Verdict::WaiveUpTo(_)
            | beyond_the_session!() => Err((out_of_order(), false)),
        };
        let is_fault = overlay.is_protocol_error;
        match disposition {
            Ok(disposition) => {
                let mut reply = overlay.response.map_or_else(|| native.clone(), |it| success_of_sink(&it, &native));
                overlay.appended.into_iter().for_each(|line| reply.push_line(line));
                let message = overlay.message.unwrap_or(message);
                let arrived = Arrived { message, original, reply, disposition, named };
                self.take_message_in(arrived, is_fault, now, outbox)
            }
            Err((reply, must_close)) => self.refuse_message(reply, must_close, is_fault, now, outbox),
        }
    }

    // Takes over what sinks changed about the message.
    fn take_message(&mut self, intent: &mut Intent, message: Option<Message>) {
        let Some(message) = message else { return };
        match (&mut intent.action, &mut self.transaction) {
            (Action::Begin(transaction), _) => transaction.message = message,
            (_, Some(transaction)) => transaction.message = message,
            (_, None) => {}
        }
    }

    // Takes over path and parameters that sinks rewrote; the same checks and the same policy hold for them.
    fn rewrite(&mut self, intent: &mut Intent, sent: &Command, rewritten: &Command) -> Result<(), CommandError> {
        match &mut intent.action {
            Action::Begin(transaction) => {
                let (reply, refusal) = self.rewrite_mail(transaction, sent, rewritten)?;
                intent.refusal = refusal;
                if let Some(reply) = reply {
                    intent.reply = reply;
                }
            }
            Action::Add(recipient, wishes) => {
                *recipient = check_rewritten_rcpt(rewritten)?;
                if !self.transaction.as_ref().is_some_and(Transaction::is_smtputf8) {
                    check_rcpt_is_ascii(&rewritten.parameters)?;
                    if !recipient.is_ascii() {
                        return Err(CommandError::Recipient(AddressError::NotAscii));
                    }
                }
                let given = sent.path.clone().unwrap_or_default();
                *wishes = Wishes::of(&rewritten.parameters, given);
                intent.refusal =
                    self.transaction.as_ref().and_then(|transaction| self.rcpt_refusal(transaction, recipient));
            }
            // These have neither path nor parameters; what a sink writes there means nothing.
            Action::Greet { .. }
            | Action::Receive
            | Action::Chunk(..)
            | Action::Reset
            | Action::Quit
            | Action::Nothing
            | Action::StartTls
            | Action::Auth { .. }
            | Action::Xclient(_)
            | Action::Noop => {}
        }
        Ok(())
    }
}
