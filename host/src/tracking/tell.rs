//! Sinks are told of the steps of messages (`on-track`).
//!
//! A step has what is new; who sent the message and how large it is, a sink is told each time. The index of the queue knows
//! it, and what was asked once is remembered, because the last step comes when the index has forgotten.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use basin_core::event::{EventKind, Occasion, Overlay, Question, TrackFacts};
use basin_core::mail::MessageId;
use basin_core::reply::{Enhanced, Reply};
use basin_core::time::Timestamp;

use super::step::Text;
use super::{Operation, Step};
use crate::ask::{Ask, SinkTime};
use crate::clock::now;
use crate::transport::LiveIndex;

/// Messages that are remembered. Those of minutes on a busy server; of any other the index is asked again.
const KNOWN_MAX: usize = 10_000;

/// Tells sinks of steps.
pub struct Teller {
    // Sinks are asked about messages whose steps are noted here: they hold this, and this does not hold them.
    ask: Weak<Ask>,
    index: LiveIndex,
    known: Mutex<HashMap<String, Known>>,
}

/// What is known of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Known {
    sender: String,
    size: u64,
    arrived: Timestamp,
}

/// What a sink is told of a step.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Told<'a> {
    kind: &'static str,
    recipient: Option<&'a str>,
    reply: Option<&'a str>,
    remote: Option<&'a str>,
}

impl Teller {
    /// Tells the sinks of `ask`.
    pub fn new(ask: &Arc<Ask>, index: LiveIndex) -> Self {
        Self { ask: Arc::downgrade(ask), index, known: Mutex::default() }
    }

    /// Whether anybody is bound.
    pub(super) fn is_heard(&self) -> bool {
        self.ask.upgrade().is_some_and(|ask| ask.interest().has(EventKind::OnTrack))
    }

    /// Tells of a step, later; nobody waits.
    pub(super) fn hear(&self, id: &str, step: &Step<'_>) {
        let Some(ask) = self.ask.upgrade().filter(|ask| ask.interest().has(EventKind::OnTrack)) else { return };
        let at = now();
        let known = self.known(id, step, at);
        for told in told(step) {
            let facts = TrackFacts {
                kind: told.kind.to_owned(),
                at,
                message_id: id.to_owned(),
                sender: known.sender.clone(),
                recipient: told.recipient.map(str::to_owned),
                remote: told.remote.and_then(|remote| remote.parse().ok()),
                reply: told.reply.and_then(parse_reply),
                size: known.size,
                elapsed: at.since(known.arrived),
            };
            let event = EventKind::OnTrack;
            let idempotency_key = format!("{id}/{}/{}/{event}", told.kind, told.recipient.unwrap_or_default());
            let occasion = Occasion { idempotency_key, track: Some(Arc::new(facts)), ..Occasion::of(event, at) };
            let (occasion, overlay) = (Arc::new(occasion), Overlay::default());
            let question = Question { occasion, overlay, can_fail: true, only: None, rest: None };
            ask.tell(question, &mut SinkTime::new(ask.transaction_time()));
        }
    }

    /// Keeps what is known of a message that is about to leave the index.
    pub(super) fn remember(&self, id: &str) {
        self.known(id, &Step::Submitted, now());
    }

    fn known(&self, id: &str, step: &Step<'_>, at: Timestamp) -> Known {
        // What it holds is whole whoever panicked.
        let mut all = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(step, Step::Removed { .. })
            && let Some(known) = all.remove(id)
        {
            return known;
        }
        if let Some(known) = all.get(id) {
            return known.clone();
        }
        let known = if let Step::Received { sender, size, .. } = step {
            Some(Known { sender: sender.to_string(), size: *size, arrived: at })
        } else {
            self.indexed(id)
        };
        let Some(known) = known else { return Known { sender: String::new(), size: 0, arrived: at } };
        if all.len() >= KNOWN_MAX {
            all.clear();
        }
        all.insert(id.to_owned(), known.clone());
        known
    }

    fn indexed(&self, id: &str) -> Option<Known> {
        let row = self.index.row(&MessageId::parse(id)?)?;
        let (local, domain) = (row.sender_local, row.sender_domain);
        let sender = if domain.is_empty() { local } else { format!("{local}@{domain}") };
        Some(Known { sender, size: row.size, arrived: row.arrived })
    }
}

/// What a step is to a sink: one record, or one for each recipient that it names. What sinks did is none: a sink would be
/// told of its own calls.
fn told<'a>(step: &'a Step<'_>) -> Vec<Told<'a>> {
    match step {
        Step::Received { client, .. } => vec![Told { remote: client.as_deref(), ..one("accepted") }],
        Step::Refused { reply } => vec![Told { reply: Some(reply), ..one("refused") }],
        Step::Submitted => vec![one("submitted")],
        Step::Categorized { recipients } => each("categorized", recipients),
        Step::Enqueued { recipients, .. } => each("routed", recipients),
        Step::Attempt { address, reply, .. } => {
            vec![Told { remote: address.as_deref(), reply: Some(reply), ..one("attempted") }]
        }
        Step::Delivered { recipient, reply, .. } => {
            vec![Told { recipient: Some(recipient), reply: reply.as_deref(), ..one("delivered") }]
        }
        Step::Relayed { recipient, reply, .. } => about("delivered", recipient, reply),
        Step::Deferred { recipient, reply, .. } => about("deferred", recipient, reply),
        Step::Failed { recipient, reply, .. } => about("failed", recipient, reply),
        Step::Expired { recipient, reply, .. } => about("expired", recipient, reply),
        Step::Notified { recipients, .. } => each("notified", recipients),
        Step::Suppressed { recipients } => each("suppressed", recipients),
        Step::Held { .. } => vec![one("held")],
        Step::Bad { .. } => vec![one("bad-mail")],
        Step::Operator { did, .. } => vec![one(operation(*did))],
        Step::Removed { end } if end.as_deref() == Some("discarded") => vec![one("discarded")],
        Step::Removed { .. } => vec![one("removed")],
        Step::Sink { .. } | Step::Lost { .. } => Vec::new(),
    }
}

fn one<'a>(kind: &'static str) -> Told<'a> {
    Told { kind, ..Told::default() }
}

fn each<'a>(kind: &'static str, recipients: &'a [Text<'_>]) -> Vec<Told<'a>> {
    recipients.iter().map(|recipient| Told { recipient: Some(recipient), ..one(kind) }).collect()
}

fn about<'a>(kind: &'static str, recipient: &'a str, reply: &'a str) -> Vec<Told<'a>> {
    vec![Told { recipient: Some(recipient), reply: Some(reply), ..one(kind) }]
}

fn operation(did: Operation) -> &'static str {
    match did {
        Operation::Held => "held",
        Operation::Released => "released",
        Operation::Retried => "retried",
        Operation::Rerouted => "rerouted",
        Operation::Rerun => "rerun",
        Operation::Expired => "expired",
        Operation::Deleted => "discarded",
        Operation::Moved => "moved",
        Operation::Imported => "imported",
    }
}

/// A reply as the log has it, on one line; `None` for words of this server about why there was none.
fn parse_reply(text: &str) -> Option<Reply> {
    let (digits, rest) = text.split_once(' ').unwrap_or((text, ""));
    let code = digits.parse().ok().filter(|number| digits.len() == 3 && (200..=599).contains(number))?;
    let (first, words) = rest.split_once(' ').unwrap_or((rest, ""));
    Some(match Enhanced::parse(first) {
        Some(enhanced) => Reply::new(code, Some(enhanced), words),
        None => Reply::new(code, None, rest),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harness::Harness;

    #[test]
    fn replies_are_told_and_words_of_this_server_are_none() {
        let reply = parse_reply("450 4.2.0 mailbox busy").expect("a reply");
        assert_eq!((reply.code(), reply.to_string().as_str()), (450, "450 4.2.0 mailbox busy"));
        assert_eq!(parse_reply("250 ok").map(|reply| reply.code()), Some(250));
        for text in ["", "connection refused", "25 x", "0250 x", "999 x"] {
            assert_eq!(parse_reply(text), None, "{text}");
        }
    }

    #[test]
    fn a_step_is_one_record_or_one_for_each_recipient_and_calls_of_sinks_are_none() {
        let step = Step::Enqueued { destination: "a.example".into(), recipients: vec!["x@a".into(), "y@a".into()] };
        let recipients: Vec<_> = told(&step).into_iter().map(|told| (told.kind, told.recipient)).collect();
        assert_eq!(recipients, [("routed", Some("x@a")), ("routed", Some("y@a"))]);
        let step = Step::Relayed { recipient: "x@a".into(), to: "mx".into(), reply: "250 ok".into() };
        let expected = Told { kind: "delivered", recipient: Some("x@a"), reply: Some("250 ok"), remote: None };
        assert_eq!(told(&step), [expected]);
        let end = |end: &'static str| told(&Step::Removed { end: Some(end.into()) }).first().map(|told| told.kind);
        assert_eq!((end("discarded"), end("delivered")), (Some("discarded"), Some("removed")));
        assert!(told(&Step::Lost { lines: 1, why: "x".into() }).is_empty());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_is_known_of_a_message_is_told_to_its_last_step() {
        let harness = Harness::start();
        let (message, state) = harness.store(&["bob@basin.example"]).await;
        let (queue, id) = (&harness.services.queue, message.id.as_str());
        let teller = Teller::new(&harness.services.ask, queue.index().clone());
        assert!(!teller.is_heard());
        queue.index().put(&message, &state);
        let known = teller.known(id, &Step::Submitted, now());
        assert_eq!((known.sender.as_str(), known.size), ("alice@basin.example", message.size()));
        // One of which nothing was told since the start, and which an operator takes away.
        teller.known.lock().expect("whole").clear();
        teller.remember(id);
        queue.index().remove(&message.id);
        assert_eq!(teller.known(id, &Step::Removed { end: None }, now()), known);
        assert!(teller.known.lock().expect("whole").is_empty(), "nothing more comes");
        assert_eq!(teller.known(id, &Step::Submitted, now()).sender, "", "nobody knows it");
    }
}
