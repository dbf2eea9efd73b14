//! What the scripted sinks do when they are called.

use core::time::Duration;
use std::sync::Arc;

use basin_core::addr::Address;
use basin_core::event::{
    Answer, Binding, EventKind, Failure, FailureKind, Later, NewMessage, Occasion, OutState, Overlay, TableValue,
    Verdict,
};
use basin_core::mail::{Body, Field, HeaderBlock, Message, Origin, Supersedes, properties::Scope};
use basin_core::reply::{Class, Reply};
use basin_core::transport::{Hop, HopTarget};

use super::{BLOB, CHILD, COUNT, EDIT, FIRED, Note, SECOND, SEEN, Sinks, TIMES, VERB, timer_uid};
use crate::dice::Dice;
use crate::ledger::uid;
use crate::peer::{USERS, address};

/// Largest message that a sink lets through, in octets.
pub(crate) const MESSAGE_BYTES_HARD_MAX: u64 = 9_000;

impl Sinks {
    pub(super) fn answer(
        &mut self,
        occasion: &Occasion,
        by: &Binding,
        mut overlay: Box<Overlay>,
        dice: &mut Dice,
    ) -> Answer {
        self.calls += 1;
        // Most of what a call does it does before it fails: all of that must be gone.
        self.edit(occasion, by, &mut overlay, dice);
        self.remember(occasion, by, &mut overlay);
        if !self.is_calm && dice.strikes(40) {
            return self.fails();
        }
        let verdict = self.verdict(occasion, by, &overlay, dice);
        Answer::Verdict(verdict, overlay)
    }

    // Counts the event in its table, marks it there, and says so in the message, which is written with its record.
    fn remember(&mut self, occasion: &Occasion, by: &Binding, overlay: &mut Overlay) {
        let key = &occasion.idempotency_key;
        let (sink, seen) = (by.sink.as_str(), format!("{SEEN}{key}"));
        let Some(message) = overlay.message.as_mut().filter(|_| is_recorded(occasion.event)) else { return };
        let read = |key: &str| match overlay.tables.of(sink, key) {
            Some(edit) => edit.value.as_ref().map(|value| value.octets.clone()),
            None => self.tables.get(sink, key),
        };
        if read(&seen).is_some() {
            return self.findings.push(format!("{} finds its own mark at {key}", by.name));
        }
        let count = read(COUNT).and_then(|octets| core::str::from_utf8(&octets).ok()?.parse::<u64>().ok());
        let count = count.unwrap_or(0) + 1;
        // A bag that is full remembers nothing, and neither do the books then.
        if Arc::make_mut(&mut message.properties).set(Scope(sink), &key.replace('/', "."), Vec::new()).is_ok() {
            for (key, value) in [(COUNT, count.to_string()), (seen.as_str(), String::new())] {
                let value = TableValue { octets: value.into_bytes().into(), life: 0 };
                // Two short values are within every limit.
                let _ = overlay.tables.set(sink, key, Some(value), None);
            }
        }
    }

    /// What the sink of a timer does: it counts the call, and sends a message that names it.
    pub(crate) fn timer(
        &mut self,
        occasion: &Occasion,
        by: &Binding,
        mut overlay: Box<Overlay>,
        dice: &mut Dice,
    ) -> Answer {
        self.calls += 1;
        let (sink, key) = (by.sink.as_str(), &occasion.idempotency_key);
        let fired = format!("{FIRED}{key}");
        if self.tables.get(sink, &fired).is_some() {
            self.findings.push(format!("{} is called again for {key}", by.name));
        }
        let times = self.tables.get(sink, TIMES);
        let times = times.and_then(|octets| core::str::from_utf8(&octets).ok()?.parse::<u64>().ok());
        for (key, value) in [(TIMES, (times.unwrap_or(0) + 1).to_string()), (fired.as_str(), String::new())] {
            let value = TableValue { octets: value.into_bytes().into(), life: 0 };
            // Two short values are within every limit.
            let _ = overlay.tables.set(sink, key, Some(value), None);
        }
        self.submit(occasion, by, &timer_uid(sink, key), &mut overlay);
        if dice.strikes(40) {
            return self.fails();
        }
        Answer::Verdict(Verdict::Next, overlay)
    }

    // Submits a message of that name.
    fn submit(&mut self, occasion: &Occasion, by: &Binding, name: &str, overlay: &mut Overlay) -> bool {
        let body = b"an answer\r\n".to_vec();
        let mut header = HeaderBlock::default();
        if let Ok(field) = Field::new("X-Uid", name) {
            // One short field is within every limit.
            let _ = header.insert(0, field);
        }
        let recipients = address("a", "node.example").into_iter().collect();
        let new = NewMessage { sender: None, recipients, header, body: Body::from_bytes(body.clone()) };
        let is_made = overlay.submit(occasion, &by.sink, "mx.node.example", new).is_ok();
        if is_made {
            self.notes.push(Note::Submits(name.to_owned(), body));
        }
        is_made
    }

    fn fails(&mut self) -> Answer {
        self.failures += 1;
        Answer::Failed(Failure {
            kind: FailureKind::Trap,
            detail: String::new(),
            backtrace: Vec::new(),
            stderr: String::new(),
            fuel: 0,
        })
    }

    fn edit(&mut self, occasion: &Occasion, by: &Binding, overlay: &mut Overlay, dice: &mut Dice) {
        let event = occasion.event;
        let is_whole = matches!(
            event,
            EventKind::OnEndOfData
                | EventKind::OnSubmission
                | EventKind::OnPreCategorize
                | EventKind::OnPostCategorize
                | EventKind::OnNotification
        );
        if !is_whole {
            return;
        }
        add_field(overlay, EDIT, &by.name);
        if event == EventKind::OnEndOfData {
            return;
        }
        if dice.strikes(100) && !self.is_calm {
            // A name that a repetition has too, and nobody else.
            let name = format!("c.{}.{}", occasion.idempotency_key.replace('/', "."), by.sink);
            if self.submit(occasion, by, &name, overlay) {
                add_field(overlay, CHILD, &name);
            }
        }
        if let Some(message) = overlay.message.as_mut().filter(|_| dice.strikes(30) && !self.is_calm) {
            let key = format!("latest {}", dice.below(3));
            message.supersedes = Some(Supersedes { sink: by.sink.clone(), key, family: None });
        }
        let forks = matches!(event, EventKind::OnSubmission | EventKind::OnPostCategorize) && dice.strikes(200);
        let one = overlay.message.as_ref().and_then(|message| message.envelope.recipients.first()).map(|one| one.id);
        if let Some(id) = one.filter(|_| forks)
            && overlay.fork(occasion, &by.sink, &[id]).is_ok()
        {
            self.forks += 1;
        }
    }

    fn verdict(&mut self, occasion: &Occasion, by: &Binding, overlay: &Overlay, dice: &mut Dice) -> Verdict {
        let event = occasion.event;
        if event == EventKind::OnCategorize
            && let Some(others) = self.expansion(occasion, overlay)
        {
            return Verdict::Expand(others);
        }
        if self.is_calm {
            return Verdict::Next;
        }
        if event.is_outbound() {
            return outbound_verdict(event, occasion, &by.name, dice);
        }
        let roll = dice.below(100);
        let is_second = by.sink == SECOND;
        match event {
            EventKind::OnInboundCommand if overlay.command.as_ref().is_some_and(|it| it.keyword == VERB) => {
                Verdict::AwaitOctets(Reply::new(334, None, "go on"), BLOB.len() as u64)
            }
            EventKind::OnInboundInput => {
                if occasion.input.reveal() != BLOB {
                    self.findings.push(format!("{:?} arrived in place of a blob", occasion.input.reveal()));
                }
                if roll < 80 { Verdict::Consume(Reply::new(250, None, "thanks")) } else { Verdict::Next }
            }
            EventKind::OnEndOfHeaders | EventKind::OnEndOfData | EventKind::OnInboundCommand => {
                inbound_verdict(event, roll, is_second)
            }
            EventKind::OnConnect if roll < 2 => Verdict::Refuse(Reply::with(554, 7, 1, "not you")),
            EventKind::OnAuthenticated if roll < 5 => refuse(),
            EventKind::OnMaxMsgSize if roll < 60 => {
                self.waived += 1;
                Verdict::WaiveUpTo(MESSAGE_BYTES_HARD_MAX)
            }
            EventKind::OnSubmission | EventKind::OnPreCategorize | EventKind::OnPostCategorize => {
                stage_verdict(roll, is_second)
            }
            EventKind::OnNotification if is_second && roll < 4 => Verdict::Suppress,
            EventKind::OnRoute | EventKind::OnLocalDelivery | EventKind::OnCategorize | EventKind::OnDnsResolve => {
                match (event, roll) {
                    (_, 0..5) => Verdict::Defer(later()),
                    (_, 5) => refuse(),
                    (EventKind::OnRoute, 6..40) => hops(occasion, dice),
                    (EventKind::OnLocalDelivery, 6..40) => self.store(occasion, overlay),
                    (EventKind::OnCategorize, 6..15) => Verdict::Resolved,
                    _ => Verdict::Next,
                }
            }
            EventKind::OnNotification
            | EventKind::OnConnect
            | EventKind::OnAuthenticated
            | EventKind::OnMaxMsgSize
            | EventKind::OnReject
            | EventKind::OnDisconnect
            | EventKind::OnSessionStart
            | EventKind::OnMessageStart
            | EventKind::OnPerRecipient
            | EventKind::OnBeforeData
            | EventKind::OnSessionEnd
            | EventKind::OnServerResponse
            | EventKind::OnTrack
            | EventKind::OnTimer => Verdict::Next,
        }
    }

    // The same address of the same message always stands for the same others, and for nobody else's, so that it is
    // known whose mail each of them gets.
    fn expansion(&mut self, occasion: &Occasion, overlay: &Overlay) -> Option<Vec<Address>> {
        let message = overlay.message.as_ref()?;
        let address = message.envelope.recipient(occasion.recipient?)?.address.to_string();
        let (user, domain) = address.split_once('@')?;
        let name = uid(message);
        let number = name.bytes().chain(address.bytes()).map(u64::from).sum::<u64>();
        if !USERS.contains(&user) || message.arrival.origin == Origin::Notification || number % 4 != 0 {
            return None;
        }
        let others = expanded(user, domain);
        let texts = others.iter().map(ToString::to_string).collect();
        self.notes.push(Note::Expands(name, address, texts));
        Some(others)
    }

    fn store(&mut self, occasion: &Occasion, overlay: &Overlay) -> Verdict {
        let recipient = |message: &Message| Some(message.envelope.recipient(occasion.recipient?)?.address.to_string());
        let Some((message, recipient)) = overlay.message.as_ref().and_then(|it| Some((it, recipient(it)?))) else {
            return Verdict::Next;
        };
        // A disk that fails: the sink cannot have read it.
        let Ok(body) = message.body.read(0, usize::MAX) else { return Verdict::Defer(later()) };
        if self.stored.insert(occasion.idempotency_key.clone()) {
            let message = Message { body: Body::from_bytes(body), ..message.clone() };
            self.notes.push(Note::Stored(Box::new(message), recipient));
        }
        Verdict::Delivered
    }
}

/// What the scripted sinks make of an address; nobody writes to these otherwise.
pub(crate) fn expanded(user: &str, domain: &str) -> Vec<Address> {
    let word = domain.split('.').next().unwrap_or_default();
    let here = address(&format!("{user}-{word}-p"), "node.example");
    here.into_iter().chain(address(&format!("{user}-{word}-q"), domain)).collect()
}

fn add_field(overlay: &mut Overlay, name: &str, value: &str) {
    let Some(message) = &mut overlay.message else { return };
    let mut header = HeaderBlock::clone(&message.header);
    if let Ok(field) = Field::new(name, value)
        && header.insert(0, field).is_ok()
    {
        message.header = header.into();
    }
}

fn hops(occasion: &Occasion, dice: &mut Dice) -> Verdict {
    let Some(destination) = &occasion.destination else { return Verdict::Next };
    let own = Hop::to(HopTarget::Mx(destination.domain.clone()));
    let dead = Hop::to(HopTarget::Mx("dead.example".into()));
    Verdict::Hops(if dice.strikes(500) { vec![own] } else { vec![dead, own] })
}

fn later() -> Later {
    Later { reply: Reply::with(451, 7, 1, "later"), after: Duration::from_secs(60) }
}

fn refuse() -> Verdict {
    Verdict::Refuse(Reply::with(550, 7, 1, "no"))
}

fn inbound_verdict(event: EventKind, roll: u64, is_second: bool) -> Verdict {
    let is_command = event == EventKind::OnInboundCommand;
    match roll {
        0 => Verdict::Refuse(Reply::with(451, 7, 1, "later")),
        1 => refuse(),
        2..6 if !is_command => Verdict::Refuse(Reply::with(451, 7, 1, "later")),
        6..9 if is_second && !is_command => Verdict::Hold("odd".into()),
        9 if is_second && !is_command => Verdict::Discard,
        _ => Verdict::Next,
    }
}

// The first sink ends no chain but by a verdict that drops all edits, so what it edits is owed to every copy.
fn stage_verdict(roll: u64, is_second: bool) -> Verdict {
    match roll {
        0..5 => Verdict::Defer(later()),
        5 => refuse(),
        6..9 if is_second => Verdict::Hold("odd".into()),
        9 if is_second => Verdict::Discard,
        10..12 if is_second => Verdict::BadMail("broken".into()),
        _ => Verdict::Next,
    }
}

fn outbound_verdict(event: EventKind, occasion: &Occasion, by: &str, dice: &mut Dice) -> Verdict {
    let previous = occasion.outbound.as_ref().and_then(|facts| facts.previous_reply(by));
    if event != EventKind::OnServerResponse && previous.is_some_and(|reply| reply.class() == Class::Continue) {
        return Verdict::SendBlob(BLOB.to_vec());
    }
    let soft = || Reply::with(451, 7, 1, "not now");
    let hard = || Reply::with(550, 7, 1, "never");
    let roll = dice.below(200);
    if event == EventKind::OnServerResponse {
        return match roll {
            0 => Verdict::DropSession(soft()),
            1..4 => Verdict::TreatAs(soft()),
            4 => Verdict::TreatAs(hard()),
            5..8 => Verdict::ChangeState(dice.pick(OutState::ALL).copied().unwrap_or(OutState::MessageStart)),
            _ => Verdict::Next,
        };
    }
    let is_worn = occasion.raised > 2;
    match (event, roll) {
        (_, 0) => Verdict::DropSession(soft()),
        (_, 1..12) if !is_worn => Verdict::SendFirst(format!("{VERB} from a sink")),
        (EventKind::OnPerRecipient, 12..20) => Verdict::SkipRecipient(soft()),
        (EventKind::OnPerRecipient, 20) => Verdict::SkipRecipient(hard()),
        (EventKind::OnMessageStart | EventKind::OnPerRecipient | EventKind::OnBeforeData, 21..25) => {
            Verdict::SkipMessage(soft())
        }
        (EventKind::OnMessageStart | EventKind::OnPerRecipient | EventKind::OnBeforeData, 25) => {
            Verdict::SkipMessage(hard())
        }
        _ => Verdict::Next,
    }
}

/// Whether a record of the message is written when the event has passed.
fn is_recorded(event: EventKind) -> bool {
    matches!(
        event,
        EventKind::OnSubmission
            | EventKind::OnPreCategorize
            | EventKind::OnCategorize
            | EventKind::OnPostCategorize
            | EventKind::OnRoute
            | EventKind::OnLocalDelivery
            | EventKind::OnNotification
    )
}
