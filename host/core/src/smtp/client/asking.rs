//! A connection whose other server waits while sinks are asked.

use core::time::Duration;
use std::sync::Arc;

use crate::event::{Decision, EventKind, Occasion, Overlay, Question, ResponseFacts, Verdict};
use crate::limits::OUT_THINKING_MAX;
use crate::mail::BySink;
use crate::reply::Reply;
use crate::smtp::client::hearing::{Heard, Topic};
use crate::smtp::client::live::Live;
use crate::smtp::client::own::Owner;
use crate::smtp::client::reading::{dropped_by, follow};
use crate::smtp::client::step::{Awaits, ClientStep, Reading};
use crate::time::Timestamp;
use crate::transport::failure_behind;

/// A connection whose other server waits while sinks are asked.
///
/// What stands in `wire` may wait with them: a group of commands leaves as one.
#[derive(Debug)]
pub struct Asking {
    live: Box<Live>,
    about: About,
    occasion: Arc<Occasion>,
    /// What has arrived and was not looked at, and how many replies of it can be answers.
    rest: Vec<u8>,
    due: usize,
}

/// What the sinks are asked about.
#[derive(Debug)]
pub(super) enum About {
    /// A command that has not left.
    Command(Owner),
    /// A reply that nobody has acted on.
    Reply(Awaits, Reply),
}

impl Asking {
    pub(super) fn about(live: Box<Live>, about: About, question: Box<Question>) -> ClientStep {
        let occasion = question.occasion.clone();
        ClientStep::Ask(Self { live, about, occasion, rest: Vec::new(), due: 0 }, question)
    }

    /// Asks about a reply, behind which `rest` has arrived; `due` replies of it can be answers.
    pub(super) fn about_reply(reading: Reading, reply: Reply, due: usize, rest: &[u8], now: Timestamp) -> ClientStep {
        let Reading { mut live, awaits } = reading;
        let response = ResponseFacts {
            keyword: awaits.keyword(&live),
            line: awaits.line(&live),
            reply: reply.clone(),
            is_pipelined: due > 0,
            is_last: matches!(awaits, Awaits::Cut(_)),
        };
        let (outgoing, recipient) = (awaits.outgoing(), awaits.recipient());
        let event = EventKind::OnServerResponse;
        let topic = Topic { event, outgoing, recipient, accepted: None, line: None, response: Some(response) };
        let question = live.question(topic, now);
        let occasion = question.occasion.clone();
        let about = About::Reply(awaits, reply);
        ClientStep::Ask(Self { live, about, occasion, rest: rest.to_vec(), due }, question)
    }

    pub(super) fn with_rest(mut self, due: usize, rest: &[u8]) -> Self {
        (self.due, self.rest) = (due, rest.to_vec());
        self
    }

    /// How long the sinks may take. It counts from when the other server began to wait, whatever they were asked since.
    pub fn patience(&self, now: Timestamp) -> Duration {
        let end = match &self.about {
            About::Command(owner) => owner.ends(),
            About::Reply(..) => None,
        };
        let deadline = self.live.quiet_since.plus(OUT_THINKING_MAX);
        end.map_or(deadline, |end| end.min(deadline)).since(now)
    }

    /// Takes octets that arrived meanwhile. Call it before [`Asking::decided`], or what was said too early passes for
    /// an answer to what leaves then.
    pub fn feed(&mut self, octets: &[u8]) {
        self.rest.extend_from_slice(octets);
    }

    /// Goes on with what the sinks decided.
    pub fn decided(self, decision: Decision, now: Timestamp, wire: &mut Vec<u8>) -> ClientStep {
        let Self { mut live, about, occasion, rest, due } = self;
        let failure = failure_behind(&decision).map(|kind| kind.word().to_owned());
        let Decision { verdict, by, overlay, .. } = decision;
        live.bag = overlay.session_bag.clone();
        // Whatever leaves now is answered from now on.
        live.waits_since = now;
        let by = by.unwrap_or_default();
        let is_sound = occasion.event.allows(&verdict)
            && verdict.has_fitting_reply(occasion.event)
            && occasion.objection(&verdict, &by).is_none();
        let verdict = if is_sound { verdict } else { Verdict::DropSession(out_of_step()) };
        let sink = BySink { binding: by.clone(), event: occasion.event.name().to_owned(), failure, said: None };
        let step = match about {
            About::Command(owner) => {
                dropped_by(owner.decided(live, (verdict, by, overlay.out_command), now, wire), sink)
            }
            About::Reply(awaits, reply) => judged(Reading { live, awaits }, (verdict, sink), reply, now, wire),
        };
        let ClientStep::Read(reading) = step else { return follow(step, &rest, due, now) };
        reading.pump(due, &rest, now, wire)
    }

    /// The sinks took longer than [`Asking::patience`].
    pub fn timed_out(self, now: Timestamp, wire: &mut Vec<u8>) -> ClientStep {
        let reply = Reply::with(451, 4, 2, "the filters of this server took longer than the next server waits");
        let overlay = Overlay { session_bag: self.live.bag.clone(), ..Overlay::default() };
        let decision =
            Decision { verdict: Verdict::DropSession(reply), by: None, overlay, failures: Vec::new(), is_heard: true };
        self.decided(decision, now, wire)
    }
}

fn judged(
    mut reading: Reading,
    (verdict, by): (Verdict, BySink),
    reply: Reply,
    now: Timestamp,
    wire: &mut Vec<u8>,
) -> ClientStep {
    if let Verdict::DropSession(why) = &verdict {
        let heard = Heard { real: reply, judged: why.clone(), by: Some(by.clone()) };
        return dropped_by(reading.dropped(&heard), heard.dropper().unwrap_or(by));
    }
    if let Verdict::TreatAs(other) = verdict {
        return reading.take(Heard { real: reply, judged: other, by: Some(by) }, now, wire);
    }
    if let Verdict::ChangeState(state) = verdict {
        reading.live.state_changes = reading.live.state_changes.saturating_add(1);
        reading.live.judge.clone_from(&by.binding);
        return dropped_by(reading.turn(state, reply, now, wire), by);
    }
    reading.take(Heard::of(reply), now, wire)
}

/// What becomes of mail where a sink's word would leave the two servers with different ideas of the dialogue.
pub(super) fn out_of_step() -> Reply {
    Reply::with(451, 3, 0, "a filter of this server is out of step with the next server")
}
