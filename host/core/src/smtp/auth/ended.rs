//! The end of AUTH: what the sinks of `on-authenticated` say, and the answer.

use crate::event::{EventKind, Overlay, Verdict, beyond_the_session};
use crate::limits::{AUTH_FAILURE_DELAY, USER_BYTES_MAX};
use crate::mail::Auth;
use crate::reply::{Class, Reply};
use crate::smtp::carry_out::{Answer, out_of_order, refusal_of_sink, shape};
use crate::smtp::command::without_secrets;
use crate::smtp::intent::Tally;
use crate::smtp::live::Live;
use crate::smtp::outbox::{FailedLogin, Outbox};
use crate::smtp::paused::{Paused, Waiting};
use crate::smtp::session::Step;
use crate::time::Timestamp;

/// Why a login came to nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::smtp) enum Failed {
    /// No such user, or not the password; or a mechanism's own proof is wrong.
    Wrong,
    /// A response that is no message of the mechanism, or not base64.
    Malformed,
    /// A response over the limit.
    TooLong,
    /// The client gave up.
    Cancelled,
    /// The users cannot be read.
    Unavailable,
    /// A sink that handles the mechanism says so.
    BySink(Reply),
}

impl Failed {
    // RFC 4954 §4 and §6 have these codes.
    pub(super) fn reply(self) -> (Reply, Tally) {
        match self {
            Self::Wrong => (Reply::with(535, 7, 8, "user name or password is wrong"), Tally::Idle),
            Self::Malformed => (Reply::with(501, 5, 2, "cannot read this response"), Tally::Fault),
            Self::TooLong => (Reply::with(500, 5, 6, "response is too long"), Tally::Fault),
            Self::Cancelled => (Reply::with(501, 7, 0, "login cancelled"), Tally::Idle),
            Self::Unavailable => (Reply::with(454, 7, 0, "logins are not possible now, try again later"), Tally::Idle),
            Self::BySink(reply) => (reply, Tally::Idle),
        }
    }

    // Whether somebody may have guessed.
    fn is_attempt(&self) -> bool {
        match self {
            Self::Wrong => true,
            Self::BySink(reply) => reply.class() == Class::Permanent,
            Self::Malformed | Self::TooLong | Self::Cancelled | Self::Unavailable => false,
        }
    }
}

/// A login that has ended, well or not, and is not answered yet.
#[derive(Debug)]
pub(in crate::smtp) struct Ended {
    reply: Reply,
    tally: Tally,
    line: Vec<u8>,
}

impl Live {
    /// The client is who it says; `reply` is that of a sink, where one found out.
    pub(in crate::smtp) fn auth_succeeded(
        mut self: Box<Self>,
        auth: Auth,
        reply: Option<Reply>,
        line: &[u8],
        now: Timestamp,
        outbox: &mut Outbox,
    ) -> Step {
        self.facts_mut().vouched.auth = Some(auth);
        let reply = reply.unwrap_or_else(|| Reply::with(235, 7, 0, "welcome"));
        self.auth_ended(Ended { reply, tally: Tally::Work, line: without_secrets(line).to_vec() }, now, outbox)
    }

    /// The client is nobody; `user` is who it said it is, where that is known.
    pub(in crate::smtp) fn auth_failed(
        mut self: Box<Self>,
        failed: Failed,
        user: Option<String>,
        line: &[u8],
        now: Timestamp,
        outbox: &mut Outbox,
    ) -> Step {
        if failed.is_attempt() {
            self.count_auth_failure(user, outbox);
        }
        let (reply, tally) = failed.reply();
        self.auth_ended(Ended { reply, tally, line: without_secrets(line).to_vec() }, now, outbox)
    }

    /// Ends the login as a sink's `consume` wants it: with 235 and the name that it set, or not at all.
    pub(in crate::smtp) fn auth_consumed(
        self: Box<Self>,
        authenticated: Option<Auth>,
        reply: Reply,
        line: &[u8],
        now: Timestamp,
        outbox: &mut Outbox,
    ) -> Step {
        match authenticated.filter(is_printable) {
            Some(auth) if reply.code() == 235 => {
                let reply = Reply::multi_line(235, reply.enhanced().or(SUCCESS), reply.lines().to_vec());
                let auth = Auth { mechanism: auth.mechanism.to_ascii_uppercase(), ..auth };
                self.auth_succeeded(auth, Some(reply), line, now, outbox)
            }
            // A success without a name would leave the client to believe that it is somebody.
            Some(_) | None if !reply.is_refusal() => {
                self.auth_failed(Failed::BySink(out_of_order()), None, line, now, outbox)
            }
            tried => {
                let user = tried.map(|auth| auth.user);
                self.auth_failed(Failed::BySink(refusal_of_sink(reply)), user, line, now, outbox)
            }
        }
    }

    fn auth_ended(mut self: Box<Self>, ended: Ended, now: Timestamp, outbox: &mut Outbox) -> Step {
        outbox.flush_now = true;
        if !self.interest.has(EventKind::OnAuthenticated) {
            let Ended { reply, tally, line } = ended;
            return self.answer(Answer { reply, tally, line: &line, must_close: false }, now, outbox);
        }
        let overlay = Overlay { session_bag: self.bag.clone(), ..Overlay::default() };
        let question = self.question(EventKind::OnAuthenticated, Some(ended.reply.clone()), overlay, now);
        Step::Ask(Paused { live: self, waiting: Waiting::Authenticated(Box::new(ended)) }, Box::new(question))
    }

    /// Answers AUTH after `on-authenticated`.
    pub(in crate::smtp) fn resume_authenticated(
        mut self: Box<Self>,
        ended: Ended,
        verdict: Verdict,
        overlay: &Overlay,
        now: Timestamp,
        outbox: &mut Outbox,
    ) -> Step {
        outbox.flush_now = true;
        let Ended { reply: native, tally, line } = ended;
        let (refusal, must_close) = match verdict {
            Verdict::Next | Verdict::SkipRemaining => (None, false),
            Verdict::Refuse(reply) => (Some(refusal_of_sink(reply)), false),
            Verdict::DropSession(reply) => (Some(refusal_of_sink(reply)), true),
            Verdict::Accept
            | Verdict::Consume(_)
            | Verdict::AwaitInput(_)
            | Verdict::AwaitOctets(..)
            | Verdict::Discard
            | Verdict::Hold(_)
            | Verdict::Defer(_)
            | Verdict::BadMail(_)
            | Verdict::WaiveUpTo(_)
            | beyond_the_session!() => (Some(out_of_order()), false),
        };
        let tally = if overlay.is_protocol_error { Tally::Fault } else { tally };
        let reply = match refusal {
            None => {
                let shaped = shape(native.clone(), Some(overlay));
                // Clients look for 235 and for nothing else; of a refusal any code of the class will do.
                let code = if native.code() == 235 { 235 } else { shaped.code() };
                Reply::multi_line(code, shaped.enhanced(), shaped.lines().to_vec())
            }
            Some(refusal) => {
                if let Some(auth) = self.facts_mut().vouched.auth.take() {
                    self.count_auth_failure(Some(auth.user), outbox);
                }
                refusal
            }
        };
        self.answer(Answer { reply, tally, line: &line, must_close }, now, outbox)
    }

    /// Counts a guess: here, where the wait grows with each and they are few (`AuthPolicy::attempts_max`), and by
    /// whoever counts them over all sessions. It is the client's, not that of a proxy that speaks for it.
    pub(in crate::smtp) fn count_auth_failure(&mut self, user: Option<String>, outbox: &mut Outbox) {
        outbox.failed_logins.push(FailedLogin { client: self.facts.client.ip(), user });
        self.auth_failures = self.auth_failures.saturating_add(1);
        outbox.wait(AUTH_FAILURE_DELAY.saturating_mul(self.auth_failures));
    }
}

const SUCCESS: Option<crate::reply::Enhanced> = Some(crate::reply::Enhanced::new(7, 0));

// What a sink says gets into logs and trace fields.
fn is_printable(auth: &Auth) -> bool {
    let is_fine = |text: &str| (1..=USER_BYTES_MAX).contains(&text.len()) && !text.chars().any(char::is_control);
    is_fine(&auth.user) && is_fine(&auth.mechanism)
}
