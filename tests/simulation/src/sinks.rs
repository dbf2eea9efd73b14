//! Scripted sinks: two of them, bound to events that a seed chooses, which edit, split, answer, expand, route, deliver,
//! defer, refuse and fail as dice say. The chains are those of the server; only the components are played.

mod script;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use basin_core::event::receipt::receipts_of;
use basin_core::event::{
    Binding, ChainStep, Decision, EventKind, EventSet, FailurePolicy, Heard, Mode, Occasion, OutSession, Overlay,
    Question, Registry, Rule, SinkEntry, TrackFacts,
};
use basin_core::mail::{Message, MessageId};
use basin_core::smtp::client::Hearing;
use basin_core::time::Timestamp;

use crate::dice::Dice;
use crate::ledger::{Ledger, Promise, uid};
use crate::tables::SinkTables;
pub(crate) use script::{MESSAGE_BYTES_HARD_MAX, expanded};

/// The sink that is asked first, and ends no chain of a stored message but by a refusal.
const FIRST: &str = "one";
/// The sink behind it.
const SECOND: &str = "two";

/// Both.
pub(crate) const SINKS: [&str; 2] = [FIRST, SECOND];

/// Field that a sink adds where it can, with the event and its binding: each is there once.
pub(crate) const EDIT: &str = "X-Edit";
/// Field that names a message which the same call has submitted: where the one is, the other is or was.
pub(crate) const CHILD: &str = "X-Child";

/// Where the scripted sinks count what they set, and how the marks of the events begin at which they did.
pub(crate) const COUNT: &str = "count";
pub(crate) const SEEN: &str = "seen ";

/// Where they count the calls of timers, and how the marks of those begin.
pub(crate) const TIMES: &str = "times";
pub(crate) const FIRED: &str = "fired ";

/// The own verb of the sinks on both sides of a dialogue, and the blob that follows it.
pub(crate) const VERB: &str = "XBLOB";
pub(crate) const BLOB: &[u8] = b"a\r\n.\r\nb\0c";

/// The name of the message that a timer sends at the call of that key.
pub(crate) fn timer_uid(sink: &str, key: &str) -> String {
    format!("t.{sink}.{}", key.replace('/', "."))
}

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
    /// What they keep.
    pub(crate) tables: SinkTables,
    /// What nobody who is scripted so could have seen.
    pub(crate) findings: Vec<String>,
    /// Sessions whose end was told.
    ended: BTreeSet<String>,
    /// No sink fails or objects any more, so that the world comes to its end.
    pub(crate) is_calm: bool,
    /// The power is gone: nothing is written any more.
    pub(crate) is_dark: bool,
    /// Calls, and those that failed.
    pub(crate) calls: u64,
    pub(crate) failures: u64,
    /// Calls that nobody waited for.
    pub(crate) notices: u64,
    /// Messages that came out of others.
    pub(crate) forks: u64,
    /// Events that are counted in tables.
    pub(crate) remembered: u64,
    /// Clients that logged in.
    pub(crate) logins: u64,
    /// Calls of timers that are written.
    pub(crate) timers_fired: u64,
    /// Messages that were let through though they are too large.
    pub(crate) waived: u64,
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
        for event in EventKind::ALL.iter().copied().filter(|event| event.can_be_bound()) {
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
        let (events, judged) = self.registry.outbound_interest()?;
        let session = Arc::new(OutSession { id: format!("o{number:016x}"), ..OutSession::default() });
        Some(Arc::new(Hearing { session, attempt: 1, events, judged }))
    }

    /// The edits that nothing excuses to lack on a message that went all its way.
    pub(crate) fn owed_edits(&self) -> Vec<String> {
        let events = [EventKind::OnSubmission, EventKind::OnPreCategorize, EventKind::OnPostCategorize];
        let bound = events.into_iter().flat_map(|event| self.registry.bindings_of(event));
        let owes = bound.filter(|binding| binding.sink == FIRST && binding.on_failure != FailurePolicy::Skip);
        owes.filter(|binding| binding.on_failure == FailurePolicy::Defer).map(|binding| binding.name.clone()).collect()
    }

    /// Asks the sinks of a question, and writes what they set as the server does: what a run before a crash set is taken
    /// back first, and where somebody was faster the event is raised again.
    pub(crate) fn decide(&mut self, mut question: Question, dice: &mut Dice) -> Decision {
        let raising = question.raising().map(str::to_owned);
        let now = u64::try_from(question.occasion.now.seconds).unwrap_or(0);
        loop {
            raising.iter().filter(|_| !self.is_dark).for_each(|raising| self.tables.take_back(raising, now));
            let mut decision = self.ask_all(question.clone(), dice);
            let edits = decision.take_tables(question.occasion.event);
            if edits.is_empty() || self.is_dark {
                return decision;
            }
            // What is in a sink's own store is there, whatever becomes of the chain.
            let may_fail = !self.is_calm && !self.notes.iter().any(|note| matches!(note, Note::Stored(..)));
            if may_fail && dice.strikes(30) {
                Arc::make_mut(&mut question.occasion).raised += 1;
                continue;
            }
            if may_fail && dice.strikes(10) {
                return Decision { failures: decision.failures, ..Decision::unwritten(&question) };
            }
            self.remembered += u64::from(raising.is_some());
            self.tables.commit(&edits, raising.as_deref());
            return decision;
        }
    }

    fn ask_all(&mut self, question: Question, dice: &mut Dice) -> Decision {
        let heard = match Heard::of(&self.registry, &question, &|_| 0) {
            Ok(heard) => heard,
            Err(binding) => return Decision::without(binding, question.overlay, question.can_fail),
        };
        let (mut step, _) = heard.begin(question);
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

    /// Tells the sinks of a notice: whatever they do, nothing comes of it.
    pub(crate) fn tell(&mut self, question: &Question) {
        let (event, session) = (question.occasion.event, question.occasion.session_id());
        if event == EventKind::OnDisconnect && !session.is_some_and(|id| self.ended.insert(id.to_owned())) {
            self.findings.push(format!("the end of {session:?} is told twice"));
        }
        if event == EventKind::OnReject && session.is_some_and(|id| self.ended.contains(id)) {
            self.findings.push(format!("{session:?} goes on after its end"));
        }
        let told = self.registry.observers(event, &question.facts(), question.occasion.now, &|_| 0);
        self.notices += told.len() as u64;
    }

    /// Tells the sinks that something became of a message.
    pub(crate) fn track(&mut self, kind: &str, message: &Message, now: Timestamp) {
        let event = EventKind::OnTrack;
        let facts = TrackFacts {
            kind: kind.to_owned(),
            at: now,
            message_id: message.id.to_string(),
            sender: message.envelope.sender.as_ref().map(ToString::to_string).unwrap_or_default(),
            recipient: None,
            remote: None,
            reply: None,
            size: message.size(),
            elapsed: now.since(message.arrival.at),
        };
        let key = format!("{}/{kind}//{event}", message.id);
        let occasion = Occasion { idempotency_key: key, track: Some(Arc::new(facts)), ..Occasion::of(event, now) };
        let (occasion, overlay) = (Arc::new(occasion), Overlay::default());
        self.tell(&Question { occasion, overlay, can_fail: true, only: None, rest: None });
    }

    /// The bindings that have a schedule.
    pub(crate) fn timers(&self) -> Vec<Arc<Binding>> {
        self.registry.bindings_of(EventKind::OnTimer).to_vec()
    }

    /// A record of a message is written that knows what its events came to, but for these.
    pub(crate) fn recorded(&mut self, message: &MessageId, unrecorded: &[String]) {
        self.tables.forget(&receipts_of(message), unrecorded);
    }

    /// Enters into the books what sinks did, and gives what they have delivered.
    pub(crate) fn report(&mut self, ledger: &mut Ledger) -> Vec<(String, String)> {
        let mut delivered = Vec::new();
        self.findings.drain(..).for_each(|finding| ledger.find(finding));
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
        schedule: (event == EventKind::OnTimer).then(|| "*/20 * * * *".parse().ok()).flatten(),
    })
}
