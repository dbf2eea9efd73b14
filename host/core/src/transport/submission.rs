//! The stages at which sinks see the whole message: on-submission, on-pre-categorize and on-post-categorize.

use std::sync::Arc;

use super::asking::{Concern, sink_behind};
use super::children::Then;
use super::machine::{End, Transport, Work};
use crate::event::{Decision, EventKind, FailureKind, Later, Occasion, Verdict, beyond_the_session};
use crate::limits::{SINK_DEFER_MIN, SINK_FAILURES_BEFORE_HOLD};
use crate::mail::{BySink, Last, Message, Outcome};
use crate::reply::Reply;
use crate::time::Timestamp;
use crate::transport::{PutOff, Stage};

impl Transport {
    pub(super) fn judge(self, event: EventKind, now: Timestamp) -> Work {
        if let Some(until) = self.state.not_before.filter(|until| *until > now) {
            return Work::Wait(until);
        }
        // The stage is not written for its own sake: a restart comes to the same point.
        let is_for_nobody = self.state.rest.as_ref().is_some_and(Vec::is_empty);
        if !self.interest.has(event) || is_for_nobody || (self.is_over() && event != EventKind::OnSubmission) {
            return self.advance(now);
        }
        let occasion = Occasion { raised: self.state.raised, ..self.occasion(event, "", now) };
        let message = self.message.clone();
        self.ask(Concern::Message, occasion, message)
    }

    /// Goes to the next stage at which anybody is asked.
    pub(super) fn advance(mut self, now: Timestamp) -> Work {
        let stage = self.next_heard();
        self.state.enter(stage);
        self.has_judged = false;
        // Who was asked is not asked again after a restart, whatever the answer was.
        self.is_changed |= self.answers > 0;
        if self.is_changed { self.save(now) } else { self.go_on(now) }
    }

    fn next_heard(&self) -> Stage {
        let mut stage = self.state.stage.next();
        while stage.is_before_delivery() && !self.is_heard(&stage) {
            stage = stage.next();
        }
        stage
    }

    fn is_heard(&self, stage: &Stage) -> bool {
        match stage {
            // Whoever looks at what the recipients have become needs them to be known.
            Stage::Categorize => {
                self.interest.has(EventKind::OnCategorize) || self.interest.has(EventKind::OnPostCategorize)
            }
            Stage::Route => self.interest.has(EventKind::OnRoute),
            Stage::Submission | Stage::PreCategorize | Stage::PostCategorize => {
                stage.event().is_some_and(|event| self.interest.has(event))
            }
            Stage::Delivery | Stage::Held { .. } | Stage::Discarded | Stage::Bad { .. } => true,
        }
    }

    // The edits of the chain and the new stage go into one record, so that a crash leaves both or neither.
    fn accept(mut self, edited: Option<Message>, stage: Stage, now: Timestamp) -> Work {
        if let Some(edited) = edited {
            self.message = edited;
        }
        self.state.enter(stage);
        self.is_changed = true;
        self.save(now)
    }

    fn refuse(mut self, reply: &Reply, now: Timestamp) -> Work {
        // Every recipient carries it in the record of the message, a thousand times over perhaps.
        let reply = reply.shortened();
        for recipient in &mut Arc::make_mut(&mut self.message.envelope).recipients {
            if !recipient.outcome.is_final() {
                recipient.outcome = Outcome::failed(reply.clone());
            }
        }
        self.state.enter(Stage::Delivery);
        self.is_changed = true;
        self.settle(now)
    }

    fn defer(mut self, later: &Later, by: Option<BySink>, now: Timestamp) -> Work {
        let end = self.end_of_life();
        if now >= end {
            return self.refuse(&expired(&later.reply, Whose::Sink), now);
        }
        self.state.raised = self.state.raised.saturating_add(1);
        self.state.put_off = Some(PutOff { reply: later.reply.shortened(), by });
        self.state.not_before = Some(now.plus(later.after.max(SINK_DEFER_MIN)).min(end));
        self.save(now)
    }

    // Held because a sink failed: on release the sinks are asked again, all of them and about the message as
    // it came, because nobody has judged it yet.
    fn hold_for_failure(mut self, reason: String, now: Timestamp) -> Work {
        let (then, rest) = (Box::new(self.state.stage.clone()), self.state.rest.take());
        self.state.enter(Stage::Held { reason, then });
        self.state.rest = rest;
        self.save(now)
    }

    /// Takes what a chain decided about the whole message.
    pub(super) fn judged(mut self, mut decision: Decision, now: Timestamp) -> Work {
        if !decision.is_heard && decision.verdict == Verdict::Next {
            return self.advance(now);
        }
        let failure = failure_behind(&decision);
        let keeps_effects = match &decision.verdict {
            Verdict::Next | Verdict::SkipRemaining | Verdict::Discard | Verdict::BadMail(_) => true,
            // Its sinks are asked again, and make again what they made: what is left now would be there twice.
            Verdict::Hold(_) => failure.is_none(),
            Verdict::Refuse(_) | Verdict::Defer(_) => false,
            Verdict::Accept
            | Verdict::Consume(_)
            | Verdict::DropSession(_)
            | Verdict::AwaitInput(_)
            | Verdict::AwaitOctets(..)
            | Verdict::WaiveUpTo(_)
            | beyond_the_session!() => false,
        };
        if keeps_effects {
            self.take_children(&mut decision.overlay);
        }
        let by = self.state.stage.event().and_then(|event| sink_behind(event, &decision));
        let edited = decision.overlay.message;
        let raised = self.state.raised.saturating_add(1);
        match decision.verdict {
            Verdict::Next | Verdict::SkipRemaining => {
                let next = self.next_heard();
                self.accept(edited, next, now)
            }
            Verdict::Refuse(reply) => self.refuse(&reply, now),
            // Whatever makes a sink fail again and again is not tried for ever: it would fill the queue and
            // the processor. Only a failure that is the message's doing counts.
            Verdict::Defer(_) if raised >= SINK_FAILURES_BEFORE_HOLD && failure.is_some_and(is_of_the_message) => {
                let by = by.map(|by| by.binding).unwrap_or_default();
                self.hold_for_failure(format!("sink of binding {by} failed {raised} times"), now)
            }
            Verdict::Defer(later) => self.defer(&later, by, now),
            Verdict::Discard => self.finish(Then::Remove(End::Discarded), now),
            Verdict::Hold(reason) if failure.is_some() => self.hold_for_failure(reason, now),
            Verdict::Hold(reason) => {
                let then = Box::new(self.next_heard());
                self.accept(edited, Stage::Held { reason, then }, now)
            }
            Verdict::BadMail(reason) => {
                self.message = edited.unwrap_or(self.message);
                let next = self.next_heard();
                self.state.enter(Stage::Bad { reason });
                self.state.resumes = Some(next).filter(Stage::is_before_delivery);
                self.is_changed = true;
                self.save(now)
            }
            // The chain turns these into failures of the sink (EventKind::allows). Should one come through
            // all the same, nothing is lost while a person looks at it.
            verdict @ (Verdict::Accept
            | Verdict::Consume(_)
            | Verdict::DropSession(_)
            | Verdict::AwaitInput(_)
            | Verdict::AwaitOctets(..)
            | Verdict::WaiveUpTo(_)
            | beyond_the_session!()) => {
                let stage = self.state.stage.word();
                self.hold_for_failure(format!("{} is no verdict at the stage {stage}", verdict.word()), now)
            }
        }
    }
}

/// How the reply of a recipient begins whose time was over.
pub(super) const EXPIRED: &str = "delivery time expired";

/// How the reply of a recipient begins that an operator gave up.
const GIVEN_UP: &str = "given up by the operator of this server";

/// Whether a recipient that failed with this reply did so because its time was over or an operator gave it up, and not
/// by a refusal.
pub fn is_expired(reply: &Reply) -> bool {
    reply.lines().first().is_some_and(|line| line.starts_with(EXPIRED) || line.starts_with(GIVEN_UP))
}

/// The reply of a recipient that an operator let fail, with the last answer where there was one. Not X.4.7: its sender
/// is not to read that time ran out (RFC 3463 §3.4: X.3.0, other mail system status).
pub(super) fn given_up(last: Option<&Reply>) -> Reply {
    let behind =
        last.map_or_else(|| "no server had taken it".to_owned(), |last| format!("the last answer was: {last}"));
    Reply::with(554, 3, 0, format!("{GIVEN_UP}; {behind}"))
}

/// Whose the last words were about a recipient whose time is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whose {
    /// Who was to take it, or this server.
    Server,
    /// A sink, or a server as a sink judged it.
    Sink,
}

impl Whose {
    pub(super) fn of(last: Option<&Last>) -> Self {
        if last.is_some_and(|last| last.by.is_some()) { Self::Sink } else { Self::Server }
    }
}

/// The reply of a recipient that was tried for too long (RFC 3463 §3.5: X.4.7, delivery time expired).
pub(super) fn expired(last: &Reply, whose: Whose) -> Reply {
    let said = match whose {
        Whose::Server => "the last answer was",
        Whose::Sink => "a filter of this server said last",
    };
    Reply::with(550, 4, 7, format!("{EXPIRED}, {said}: {last}"))
}

/// How the sink failed that decided, where its failure policy did.
pub(crate) fn failure_behind(decision: &Decision) -> Option<FailureKind> {
    let by = decision.by.as_ref()?;
    decision.failures.iter().find(|(binding, _)| binding == by).map(|(_, failure)| failure.kind)
}

// A full server, a fault of the host and a component that does not load fail every message alike.
pub(super) fn is_of_the_message(kind: FailureKind) -> bool {
    match kind {
        FailureKind::Busy | FailureKind::Host | FailureKind::Load => false,
        FailureKind::Fuel
        | FailureKind::Deadline
        | FailureKind::Memory
        | FailureKind::Stack
        | FailureKind::Panic
        | FailureKind::Trap
        | FailureKind::Exit
        | FailureKind::Quota
        | FailureKind::Denied
        | FailureKind::Verdict
        | FailureKind::GuestError => true,
    }
}
