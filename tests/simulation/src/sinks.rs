//! Scripted sinks: two of them, bound to events that a seed chooses, which edit, split, answer, expand, route, deliver,
//! defer, refuse and fail as dice say. The chains are those of the server; only the components are played.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use basin_core::addr::Address;
use basin_core::event::{
    Answer, Asked, Binding, Chain, ChainStep, Decision, EventKind, EventSet, Failure, FailureKind, FailurePolicy,
    Later, Mode, NewMessage, Occasion, OutSession, OutState, Overlay, Question, Registry, Rule, SinkEntry, Verdict,
    outbound::STANDARD_VERBS,
};
use basin_core::mail::{Body, Field, HeaderBlock, Message, Origin};
use basin_core::reply::Reply;
use basin_core::smtp::client::Hearing;
use basin_core::transport::{Hop, HopTarget};

use crate::dice::Dice;
use crate::ledger::{Ledger, Promise, uid};
use crate::peer::{USERS, address};

/// The sink that is asked first, and ends no chain of a stored message but by a refusal.
const FIRST: &str = "one";
/// The sink behind it.
const SECOND: &str = "two";

/// Field that a sink adds where it can, with the event and its binding: each is there once.
pub(crate) const EDIT: &str = "X-Edit";
/// Field that names a message which the same call has submitted: where the one is, the other is or was.
pub(crate) const CHILD: &str = "X-Child";

/// Events at which the scripted sinks can be bound.
const EVENTS: [EventKind; 17] = [
    EventKind::OnInboundCommand,
    EventKind::OnEndOfHeaders,
    EventKind::OnEndOfData,
    EventKind::OnSubmission,
    EventKind::OnPreCategorize,
    EventKind::OnCategorize,
    EventKind::OnPostCategorize,
    EventKind::OnRoute,
    EventKind::OnDnsResolve,
    EventKind::OnLocalDelivery,
    EventKind::OnNotification,
    EventKind::OnSessionStart,
    EventKind::OnMessageStart,
    EventKind::OnPerRecipient,
    EventKind::OnBeforeData,
    EventKind::OnSessionEnd,
    EventKind::OnServerResponse,
];

/// What a sink did outside of the chain, for the books.
enum Note {
    Stored(Box<Message>, String),
    Expands(String, String, Vec<String>),
    Submits(String, Vec<u8>),
}

/// The sinks of a world. They outlive a power cut, as files outside of the server do.
#[derive(Default)]
pub(crate) struct Sinks {
    registry: Registry,
    /// Keys of what was delivered by a sink: it knows a repetition by it.
    stored: BTreeSet<String>,
    notes: Vec<Note>,
    /// No sink fails or objects any more, so that the world comes to its end.
    pub(crate) is_calm: bool,
    /// Calls, and those that failed.
    pub(crate) calls: u64,
    pub(crate) failures: u64,
    /// Messages that came out of others.
    pub(crate) forks: u64,
}

impl Sinks {
    /// Sinks at events that the dice choose.
    pub(crate) fn of(dice: &mut Dice) -> Result<Self, String> {
        let sink = |name: &str| SinkEntry {
            name: name.to_owned(),
            digest: String::new(),
            source: String::new(),
            grants: Default::default(),
            budget: Default::default(),
            config: BTreeMap::new(),
            secrets: BTreeMap::new(),
            is_enabled: true,
        };
        let mut bindings = Vec::new();
        for event in EVENTS {
            for (name, priority) in [(FIRST, 10), (SECOND, 20)] {
                if dice.strikes(550) {
                    bindings.push(binding(event, name, priority, dice)?);
                }
            }
        }
        let registry = Registry::new(1, [sink(FIRST), sink(SECOND)], bindings).map_err(|error| error.to_string())?;
        Ok(Self { registry, ..Self::default() })
    }

    /// Events that somebody is bound to.
    pub(crate) fn interest(&self) -> EventSet {
        self.registry.interest()
    }

    /// What sinks hear of a session with another server; `None` where nobody is bound to any of it.
    pub(crate) fn hearing(&self, number: u64) -> Option<Arc<Hearing>> {
        let interest = self.interest();
        let events = EVENTS.into_iter().filter(|event| event.is_outbound() && interest.has(*event));
        let events: EventSet = events.collect();
        if events == EventSet::default() {
            return None;
        }
        let judged = STANDARD_VERBS.iter().filter(|verb| self.registry.judges(verb));
        let session = Arc::new(OutSession { id: format!("o{number:016x}"), ..OutSession::default() });
        let judged = judged.map(|verb| (*verb).to_owned()).collect();
        Some(Arc::new(Hearing { session, attempt: 1, events, judged }))
    }

    /// The edits that nothing excuses to lack on a message that went all its way.
    pub(crate) fn owed_edits(&self) -> Vec<String> {
        let events = [EventKind::OnSubmission, EventKind::OnPreCategorize, EventKind::OnPostCategorize];
        let bound = events.into_iter().flat_map(|event| self.registry.bindings_of(event));
        let owes = bound.filter(|binding| binding.sink == FIRST && binding.on_failure != FailurePolicy::Skip);
        owes.filter(|binding| binding.on_failure == FailurePolicy::Defer).map(|binding| binding.name.clone()).collect()
    }

    /// Asks the sinks of a question.
    pub(crate) fn decide(&mut self, question: Question, dice: &mut Dice) -> Decision {
        let mut plan = self.registry.plan(question.occasion.event, &question.facts(), question.occasion.now, &|_| 0);
        let Question { occasion, overlay, can_fail, only, rest } = question;
        let is_meant = |asked: &Asked| {
            rest.as_ref().is_none_or(|rest| rest.contains(&asked.binding.name))
                && only.as_ref().is_none_or(|only| *only == asked.binding.name)
        };
        plan.retain(is_meant);
        let mut step = Chain::start(occasion, plan, overlay, can_fail);
        loop {
            step = match step {
                ChainStep::Decided(decision, _) => return *decision,
                ChainStep::Ask(chain, asked, overlay) => {
                    let occasion = chain.occasion().clone();
                    chain.answer(self.answer(&occasion, &asked.binding, overlay, dice))
                }
            };
        }
    }

    /// Enters into the books what sinks did, and gives what they have delivered.
    pub(crate) fn report(&mut self, ledger: &mut Ledger) -> Vec<(String, String)> {
        let mut delivered = Vec::new();
        for note in self.notes.drain(..) {
            match note {
                Note::Stored(message, recipient) => {
                    let body = message.body.read(0, usize::MAX).unwrap_or_default();
                    ledger.deliver(&message, &body, &recipient);
                    delivered.push((uid(&message), recipient));
                }
                Note::Expands(uid, address, others) => ledger.expands(uid, address, others),
                Note::Submits(uid, body) => {
                    ledger.offer(uid, Promise { is_null: true, recipients: Vec::new(), body });
                }
            }
        }
        delivered
    }

    fn answer(&mut self, occasion: &Occasion, by: &Binding, mut overlay: Box<Overlay>, dice: &mut Dice) -> Answer {
        self.calls += 1;
        // Most of what a call does it does before it fails: all of that must be gone.
        self.edit(occasion, by, &mut overlay, dice);
        if !self.is_calm && dice.strikes(40) {
            self.failures += 1;
            return Answer::Failed(Failure {
                kind: FailureKind::Trap,
                detail: String::new(),
                backtrace: Vec::new(),
                stderr: String::new(),
                fuel: 0,
            });
        }
        let verdict = self.verdict(occasion, by, &overlay, dice);
        Answer::Verdict(verdict, overlay)
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
            let (key, body) = (occasion.idempotency_key.replace('/', "."), b"an answer\r\n".to_vec());
            let name = format!("c.{key}.{}", by.sink);
            let mut header = HeaderBlock::default();
            if let Ok(field) = Field::new("X-Uid", &name) {
                // One short field is within every limit.
                let _ = header.insert(0, field);
            }
            let recipients = address("a", "node.example").into_iter().collect();
            let new = NewMessage { sender: None, recipients, header, body: Body::from_bytes(body.clone()) };
            if overlay.submit(occasion, &by.sink, "mx.node.example", new).is_ok() {
                add_field(overlay, CHILD, &name);
                self.notes.push(Note::Submits(name, body));
            }
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
            return outbound_verdict(event, occasion, dice);
        }
        let roll = dice.below(100);
        let is_second = by.sink == SECOND;
        match event {
            EventKind::OnEndOfHeaders | EventKind::OnEndOfData | EventKind::OnInboundCommand => {
                inbound_verdict(event, roll, is_second)
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
            | EventKind::OnInboundInput
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

fn binding(event: EventKind, sink: &str, priority: u16, dice: &mut Dice) -> Result<Binding, String> {
    let policies = event.policies();
    let usual = policies.first().copied().unwrap_or(FailurePolicy::Skip);
    let chosen = if dice.strikes(700) { usual } else { dice.pick(policies).copied().unwrap_or(usual) };
    // Which replies are judged decides how commands are grouped.
    let verbs = ["", "", "verb=RCPT", "verb=MAIL|DATA"];
    let rule = if event == EventKind::OnServerResponse { dice.pick(&verbs).copied().unwrap_or_default() } else { "" };
    Ok(Binding {
        name: format!("{sink}/{event}"),
        sink: sink.to_owned(),
        event,
        rule: Rule::parse(rule, event).map_err(|error| error.to_string())?,
        priority,
        listener: None,
        mode: Mode::Decide,
        instance: Default::default(),
        on_failure: chosen,
        is_enabled: true,
        expires: None,
        max_firings: None,
        schedule: None,
    })
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

fn outbound_verdict(event: EventKind, occasion: &Occasion, dice: &mut Dice) -> Verdict {
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
        (_, 1..12) if !is_worn => Verdict::SendFirst("XHELLO from a sink".into()),
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
