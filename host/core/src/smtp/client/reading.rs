//! Replies, in the order in which they come, and what each of them leads to.

use crate::event::{EventKind, OutState};
use crate::mail::{BySink, RecipientId};
use crate::reply::Reply;
use crate::smtp::client::asking::Asking;
use crate::smtp::client::greeting;
use crate::smtp::client::hearing::Heard;
use crate::smtp::client::live::{Live, close, fault_reply, unasked_reply, violation};
use crate::smtp::client::outgoing::Outgoing;
use crate::smtp::client::own::{Owned, goodbye};
use crate::smtp::client::sent::Why;
use crate::smtp::client::step::{Awaits, ClientStep, Reading};
use crate::time::Timestamp;
use crate::transport::Protocol;

impl Reading {
    /// Takes octets of which `due` replies can be answers.
    pub(super) fn pump(mut self, mut due: usize, mut input: &[u8], now: Timestamp, wire: &mut Vec<u8>) -> ClientStep {
        loop {
            if due == 0 {
                if input.is_empty() {
                    return ClientStep::Read(self);
                }
                // What was just said has not left, so part of a reply is as early as a whole one.
                let (why, reply) = self.live.unasked(input).unwrap_or_else(|| (Why::Violation, unasked_reply()));
                return self.break_off(why, &reply);
            }
            let reply = match self.live.reader.read(&mut input) {
                Ok(Some(reply)) => reply,
                Ok(None) => return ClientStep::Read(self.refilled(now, wire)),
                Err(fault) => return self.break_off(Why::Violation, &fault_reply(fault)),
            };
            due -= 1;
            self.live.begins_to_wait(now);
            if self.live.hears(EventKind::OnServerResponse) && self.awaits.matters() {
                return Asking::about_reply(self, reply, due, input, now);
            }
            let step = self.take(Heard::of(reply), now, wire);
            let ClientStep::Read(next) = step else { return follow(step, input, due, now) };
            self = next;
        }
    }

    /// Acts on a reply.
    pub(super) fn take(self, heard: Heard, now: Timestamp, wire: &mut Vec<u8>) -> ClientStep {
        // RFC 5321 §3.8, §4.2.3: it may come in answer to anything, and nothing follows it.
        if heard.real.code() == 421 {
            return self.break_off(Why::ServiceClosing, &heard.real);
        }
        let Self { live, awaits } = self;
        match awaits {
            Awaits::Greeting => greeting::greeted(live, &heard.judged, now, wire),
            Awaits::Ehlo => greeting::answered_ehlo(live, &heard, now, wire),
            Awaits::Helo => greeting::answered_helo(live, &heard.judged, now, wire),
            Awaits::StartTls => greeting::answered_starttls(live, &heard.real, now, wire),
            Awaits::Login(login) => greeting::answered_login(live, login, &heard.real, now, wire),
            Awaits::Own(owned) => owned.reply(live, heard, now, wire),
            Awaits::Settling(settling) => settling.reply(live, &heard.real, now, wire),
            Awaits::Envelope(envelope) => envelope.reply(live, &heard, now, wire),
            Awaits::Chunk(stream) => stream.reply(live, &heard),
            Awaits::Cut(stream) => stream.cut_off(&heard),
            Awaits::End(ending) => ending.reply(live, &heard),
            Awaits::Quit => live.close(Why::Quit, &heard.real),
        }
    }

    /// Goes on from another state, as a sink wants it.
    pub(super) fn turn(self, state: OutState, reply: Reply, now: Timestamp, wire: &mut Vec<u8>) -> ClientStep {
        let Self { live, awaits } = self;
        match awaits {
            Awaits::Greeting | Awaits::Ehlo | Awaits::Helo if state == OutState::SessionEnd => goodbye(live, now, wire),
            Awaits::Greeting | Awaits::Ehlo | Awaits::Helo => greeting::hello(live, now, wire),
            Awaits::Own(owned) => owned.turn(live, state, now, wire),
            Awaits::Envelope(envelope) => envelope.turn(live, state, &Heard::of(reply), now, wire),
            Awaits::End(mut ending) => {
                ending.leave_for(state);
                ending.reply(live, &Heard::of(reply))
            }
            // Nothing leads anywhere from these.
            awaits @ (Awaits::StartTls
            | Awaits::Login(_)
            | Awaits::Settling(_)
            | Awaits::Chunk(_)
            | Awaits::Cut(_)
            | Awaits::Quit) => Self { live, awaits }.take(Heard::of(reply), now, wire),
        }
    }

    /// A sink ends the connection over this reply. What it says of mail that was taken stays true.
    pub(super) fn dropped(self, heard: &Heard) -> ClientStep {
        match self.awaits {
            Awaits::End(ending) => ending.dropped(heard),
            Awaits::Chunk(stream) | Awaits::Cut(stream) => stream.dropped(heard),
            awaits @ (Awaits::Greeting
            | Awaits::Ehlo
            | Awaits::Helo
            | Awaits::StartTls
            | Awaits::Login(_)
            | Awaits::Own(_)
            | Awaits::Settling(_)
            | Awaits::Envelope(_)
            | Awaits::Quit) => Self { live: self.live, awaits }.break_off(Why::Dropped, &heard.judged),
        }
    }

    /// Ends the connection in the middle.
    pub(super) fn break_off(self, why: Why, reply: &Reply) -> ClientStep {
        let Self { live, awaits } = self;
        match awaits {
            Awaits::Greeting | Awaits::Ehlo | Awaits::Helo | Awaits::StartTls | Awaits::Login(_) => {
                live.close(why, reply)
            }
            // Nothing depends on it any more.
            Awaits::Quit => live.close(Why::Quit, reply),
            Awaits::Own(owned) => owned.break_off(live, why, reply),
            Awaits::Settling(settling) => settling.break_off(live, why, reply),
            Awaits::Envelope(mut envelope) => envelope.end(why, reply, false),
            Awaits::Chunk(stream) | Awaits::Cut(stream) => stream.break_off(why, reply),
            Awaits::End(ending) => ending.break_off(why, reply),
        }
    }

    // Sends on where replies made room in the window.
    fn refilled(mut self, now: Timestamp, wire: &mut Vec<u8>) -> Self {
        if let Awaits::Envelope(envelope) = &mut self.awaits {
            envelope.refill(&mut self.live, now, wire);
        }
        self
    }
}

/// Takes what arrived behind the reply that led to a step.
pub(super) fn follow(step: ClientStep, input: &[u8], due: usize, now: Timestamp) -> ClientStep {
    if input.is_empty() {
        return step;
    }
    match step {
        ClientStep::StartTls(_) => {
            // RFC 3207 §5, §6: nothing in plain text may be taken for something that TLS protects.
            let reply = violation("plain text follows its go-ahead for TLS");
            close(Why::Violation, &reply)
        }
        ClientStep::Idle(idle) => idle.feed(input),
        ClientStep::Send(sending) => sending.feed(input, now),
        ClientStep::Sent(sent, reported) => ClientStep::Sent(sent, reported.with_input(input)),
        ClientStep::Ask(asking, question) => ClientStep::Ask(asking.with_rest(due, input), question),
        step @ (ClientStep::Read(_) | ClientStep::Close(_)) => step,
    }
}

/// Names the sink that ended the session, where the step is its end, and one did.
pub(super) fn dropped_by(step: ClientStep, sink: BySink) -> ClientStep {
    match step {
        ClientStep::Close(mut closed) => {
            closed.dropped_by(sink);
            ClientStep::Close(closed)
        }
        ClientStep::Sent(sent, reported) => ClientStep::Sent(sent, reported.dropped_by(sink)),
        step @ (ClientStep::Read(_)
        | ClientStep::StartTls(_)
        | ClientStep::Idle(_)
        | ClientStep::Send(_)
        | ClientStep::Ask(..)) => step,
    }
}

impl Awaits {
    // Whether anything depends on the reply.
    fn matters(&self) -> bool {
        match self {
            Self::Envelope(envelope) => !envelope.is_leaving(),
            // It proves something to this server, and no sink has a word in that.
            Self::Settling(_) => false,
            Self::Greeting | Self::Ehlo | Self::Helo | Self::StartTls | Self::Login(_) => true,
            Self::Own(_) | Self::Chunk(_) | Self::Cut(_) | Self::End(_) | Self::Quit => true,
        }
    }

    /// The verb that the next reply answers, as sinks see it.
    pub(super) fn keyword(&self, live: &Live) -> String {
        let word = match self {
            Self::Greeting => "",
            Self::Ehlo if live.policy.protocol == Protocol::Lmtp => "LHLO",
            Self::Ehlo => "EHLO",
            Self::Helo => "HELO",
            Self::StartTls => "STARTTLS",
            Self::Login(_) => "AUTH",
            Self::Own(owned) => return owned.verb(),
            Self::Settling(_) => "NOOP",
            Self::Envelope(envelope) => envelope.awaited(),
            Self::Chunk(_) => "BDAT",
            Self::Cut(stream) => stream.keyword(),
            Self::End(ending) => ending.keyword(),
            Self::Quit => "QUIT",
        };
        word.to_owned()
    }

    /// The line that the next reply answers; of AUTH the verb alone, because what follows may be a password.
    pub(super) fn line(&self, live: &Live) -> String {
        match self {
            Self::Ehlo | Self::Quit => live.said.clone(),
            Self::Helo => format!("HELO {}", live.policy.helo_name),
            Self::Own(owned) => owned.line().to_owned(),
            Self::Envelope(envelope) => envelope.said().to_owned(),
            Self::Greeting | Self::StartTls | Self::Login(_) | Self::Settling(_) => self.keyword(live),
            Self::Chunk(_) | Self::Cut(_) | Self::End(_) => self.keyword(live),
        }
    }

    /// The message in hand.
    pub(super) fn outgoing(&self) -> Option<&Outgoing> {
        match self {
            Self::Envelope(envelope) => Some(envelope.outgoing()),
            Self::Chunk(stream) | Self::Cut(stream) => Some(stream.envelope.outgoing()),
            Self::End(ending) => Some(ending.outgoing()),
            Self::Own(owned) => Owned::owner(owned).outgoing(),
            Self::Settling(settling) => settling.owner().outgoing(),
            Self::Greeting | Self::Ehlo | Self::Helo | Self::StartTls | Self::Login(_) | Self::Quit => None,
        }
    }

    /// The recipient that the next reply is about.
    pub(super) fn recipient(&self) -> Option<RecipientId> {
        match self {
            Self::Envelope(envelope) => envelope.answered_recipient(),
            Self::End(ending) => ending.answered_recipient(),
            Self::Greeting | Self::Ehlo | Self::Helo | Self::StartTls | Self::Login(_) => None,
            Self::Own(_) | Self::Settling(_) | Self::Chunk(_) | Self::Cut(_) | Self::Quit => None,
        }
    }
}
