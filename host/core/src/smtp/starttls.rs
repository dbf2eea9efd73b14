//! STARTTLS (RFC 3207): between the 220 and the end of the handshake.

use crate::mail::TlsFacts;
use crate::reply::Reply;
use crate::smtp::carry_out::Answer;
use crate::smtp::command::Request;
use crate::smtp::intent::{Action, Intent, OutOfSequence, Tally, refused};
use crate::smtp::live::{EndReason, Live};
use crate::smtp::outbox::Outbox;
use crate::smtp::session::{Session, Step};
use crate::time::Timestamp;
use core::fmt;

/// An encrypted connection, after its handshake.
#[derive(Debug, Clone, Default)]
pub struct Secured {
    /// What logs, sinks and trace fields say of it.
    pub facts: TlsFacts,
    /// What SCRAM binds a login to.
    pub channel: Channel,
}

/// Values that only the two ends of one TLS connection have in common (RFC 5056). SCRAM's -PLUS variant puts one
/// into the proof of the password, so that nobody in the middle can pass a login on.
///
/// SCRAM-SHA-256-PLUS is offered where [`Self::is_offered`] says so.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Channel {
    /// `tls-exporter` (RFC 9266 §2): 32 octets of keying material with the label "EXPORTER-Channel-Binding" and an
    /// empty context; of TLS 1.3, and of 1.2 with the extended master secret.
    pub exporter: Option<Vec<u8>>,
    /// `tls-server-end-point` (RFC 5929 §4): hash of the server's certificate, by the hash of its signature, SHA-256
    /// where that is MD5 or SHA-1.
    pub server_end_point: Option<Vec<u8>>,
}

impl Channel {
    /// Whether every client that binds can bind to this connection.
    ///
    /// Not where there is the server's end point alone: clients bind to `tls-exporter` (RFC 9266 §3), or over TLS 1.2
    /// to `tls-unique` (RFC 5802 §6.1), which nobody has here. Such a client would choose -PLUS and fail, though it
    /// could log in without.
    pub fn is_offered(&self) -> bool {
        self.exporter.is_some()
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let has = (self.exporter.is_some(), self.server_end_point.is_some());
        write!(f, "Channel(exporter {}, server end point {})", has.0, has.1)
    }
}

/// A session whose client may begin the handshake once it has read the 220 in the outbox.
///
/// The shell, in this order: where any input lies there already, [`Securing::injected`], before anything is sent;
/// where it cannot shake hands now, [`Securing::unavailable`]; else it sends what is in the outbox, shakes hands and
/// says how it ended. Between the 220 and the handshake nothing is read as commands.
#[derive(Debug)]
pub struct Securing {
    pub(super) live: Box<Live>,
    /// Octets of the outbox before the 220.
    pub(super) sent_before: usize,
}

impl Securing {
    /// The handshake is done: everything the client said in the open is forgotten (RFC 3207 §4.2).
    pub fn secured(self, secured: Secured) -> Step {
        let mut live = self.live;
        let Secured { facts, channel } = secured;
        live.forget_dialogue();
        live.channel = channel;
        live.facts_mut().vouched.tls = Some(facts);
        Step::Read(Session(live))
    }

    /// The handshake failed, or took too long: there is no connection left to say anything on.
    pub fn failed(self, now: Timestamp) -> Step {
        self.live.end(EndReason::Error, now)
    }

    /// The client sent something between STARTTLS and the handshake. Somebody in the middle may have put it there, to
    /// be taken for what the client says under TLS (CVE-2011-0411), so the connection is closed without the 220.
    pub fn injected(self, now: Timestamp, outbox: &mut Outbox) -> Step {
        outbox.bytes.truncate(self.sent_before);
        self.live.end(EndReason::Error, now)
    }

    /// TLS is not to be had now (no certificate, too many handshakes): 454 in place of the 220, and the session goes
    /// on as it is (RFC 3207 §4).
    pub fn unavailable(self, now: Timestamp, outbox: &mut Outbox) -> Step {
        outbox.bytes.truncate(self.sent_before);
        let reply = Reply::with(454, 7, 0, "TLS is not available now");
        self.live.answer(Answer { reply, tally: Tally::Idle, line: b"STARTTLS", must_close: false }, now, outbox)
    }

    /// The client closed the connection, or it broke.
    pub fn peer_closed(self, now: Timestamp) -> Step {
        self.live.end(EndReason::Dropped, now)
    }
}

impl Live {
    /// The line of EHLO; not on a connection that is encrypted (RFC 3207 §4.2).
    pub(super) fn starttls_keyword(&self) -> Option<String> {
        let is_offered = self.policy.tls.is_some() && self.facts.vouched.tls.is_none();
        is_offered.then(|| "STARTTLS".to_owned())
    }

    /// Checks whether STARTTLS is to be had.
    pub(super) fn intend_start_tls(&self) -> Result<Intent, OutOfSequence> {
        if self.facts.vouched.tls.is_some() {
            return Err(OutOfSequence::fault("the connection is encrypted already"));
        }
        Ok(match self.policy.tls {
            Some(_) => Intent::of(Action::StartTls, Reply::with(220, 0, 0, "ready to start TLS"), Tally::Work),
            None => refused(Reply::with(502, 5, 1, "STARTTLS is not offered"), Tally::Fault),
        })
    }

    /// Whether this must wait for TLS, where the listener demands it: RFC 3207 §4 lets NOOP, EHLO, STARTTLS and QUIT
    /// through.
    pub(super) fn tls_is_missing(&self, request: &Request) -> bool {
        let is_missing = self.policy.tls.is_some_and(|tls| tls.is_required) && self.facts.vouched.tls.is_none();
        is_missing
            && match request {
                Request::Ehlo(_) | Request::Noop | Request::Quit | Request::StartTls => false,
                Request::Mail(..) | Request::Rcpt(..) | Request::Data | Request::Bdat(..) | Request::Rset => true,
                Request::Helo(_) | Request::Vrfy | Request::Expn | Request::Help | Request::Auth { .. } => true,
                // What is not in the standard is not let through by it either, the verbs of sinks among them.
                Request::Xclient(_) | Request::Http | Request::Unknown(_) => true,
            }
    }

    /// Says 220 and hands the connection to the shell.
    pub(super) fn start_tls(self: Box<Self>, reply: &Reply, outbox: &mut Outbox) -> Step {
        let sent_before = outbox.bytes.len();
        outbox.send(reply);
        Step::StartTls(Securing { live: self, sent_before })
    }

    /// Forgets what the client said: greeting, transaction, login, and what sinks kept of the session since
    /// `on-connect`. Addresses, times, the counts of faults and what sinks found out at `on-connect` stay: they are the
    /// connection's.
    pub(super) fn forget_dialogue(&mut self) {
        self.transaction = None;
        (self.has_refused_data, self.has_failed_chunk) = (false, false);
        self.bag = self.bag_at_connect.clone();
        let facts = self.facts_mut();
        facts.helo = None;
        facts.is_esmtp = false;
        facts.vouched.auth = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Decision, EventKind, Verdict};
    use crate::mail::Scope;
    use crate::smtp::policy::{Connection, ListenerPolicy, TlsPolicy};

    const NOW: Timestamp = Timestamp::from_seconds(0);

    // The properties that sinks see, each of which was set where this answers a question with its name.
    fn answer(step: Step, name: &str, outbox: &mut Outbox) -> (Step, Vec<String>) {
        let Step::Ask(paused, question) = step else { unreachable!("sinks are asked at {name}") };
        let mut overlay = question.overlay;
        let known = |name: &&&str| overlay.session_bag.value(Scope("a"), name).is_some();
        let seen = ["connect", "before", "after"].iter().filter(known).map(|name| (*name).to_owned()).collect();
        let bag = std::sync::Arc::make_mut(&mut overlay.session_bag);
        bag.set(Scope("a"), name, b"1".to_vec()).expect("it fits");
        let decision = Decision { verdict: Verdict::Next, by: None, overlay, failures: Vec::new(), is_heard: true };
        (paused.resume(decision, NOW, outbox), seen)
    }

    fn said(step: Step, line: &str, outbox: &mut Outbox) -> Step {
        let Step::Read(session) = step else { unreachable!("a command is waited for") };
        session.line(line.as_bytes(), NOW, [EventKind::OnInboundCommand].into_iter().collect(), outbox)
    }

    #[test]
    fn what_sinks_found_out_about_the_connection_stays_and_what_they_heard_in_the_open_goes() {
        let mut policy = ListenerPolicy::new("mx", "basin.example", std::sync::Arc::default());
        policy.tls = Some(TlsPolicy { is_required: false });
        let connection = Connection {
            id: "s".into(),
            client: "192.0.2.7:4".parse().expect("an address"),
            server: "192.0.2.1:25".parse().expect("an address"),
            started: NOW,
            random: 0,
            client_name: None,
            tls: None,
        };
        let mut outbox = Outbox::new();
        let interest = [EventKind::OnConnect].into_iter().collect();
        let step = Session::start(std::sync::Arc::new(policy), connection, interest, &mut outbox);
        let (step, _) = answer(step, "connect", &mut outbox);
        let (step, seen) = answer(said(step, "EHLO a", &mut outbox), "before", &mut outbox);
        assert_eq!(seen, ["connect"]);
        let (step, seen) = answer(said(step, "STARTTLS", &mut outbox), "before", &mut outbox);
        assert_eq!(seen, ["connect", "before"]);
        let Step::StartTls(securing) = step else { unreachable!("it is taken") };
        let step = securing.secured(Secured::default());
        let (_, seen) = answer(said(step, "EHLO a", &mut outbox), "after", &mut outbox);
        assert_eq!(seen, ["connect"]);
    }
}
