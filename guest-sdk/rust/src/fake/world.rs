//! Everything that the server in memory knows, and the one place where a sink can reach it.

use crate::bindings::basin::sink::log::Level;
use crate::bindings::basin::sink::types::{Datetime, Endpoint, Error, Reply};
use crate::verdict::Outcome;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

/// The time of every event that a test does not set: 2026-01-01T00:00:00Z, the same on every machine.
const NOW: Datetime = Datetime { seconds: 1_767_225_600, nanoseconds: 0 };

pub(crate) type Properties = BTreeMap<String, Vec<u8>>;

/// What a sink may change at the event that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Access {
    /// Nothing but properties.
    #[default]
    ReadOnly,
    /// Envelope and header block; the body is not here yet.
    NoBody,
    /// Everything.
    Full,
}

#[derive(Debug, Clone)]
pub(crate) struct World {
    pub(crate) access: Access,
    pub(crate) session: SessionState,
    pub(crate) command: CommandState,
    pub(crate) call: CallState,
    pub(crate) out: OutState,
    pub(crate) messages: Vec<MessageState>,
    pub(crate) destination: String,
    pub(crate) failures: Vec<(String, Reply)>,
    pub(crate) track_kind: String,
    pub(crate) config: BTreeMap<String, String>,
    pub(crate) state: BTreeMap<String, StateValue>,
    /// What the call counted in the state, which outlives a refusal and a failure.
    pub(crate) counted: BTreeMap<String, StateValue>,
    pub(crate) zone: Zone,
    pub(crate) auth_results: Vec<AuthState>,
    pub(crate) auth_unavailable: bool,
    #[cfg(feature = "http")]
    pub(crate) answers: BTreeMap<String, crate::http::Answer>,
    #[cfg(feature = "http")]
    pub(crate) requests: Vec<super::http::SentRequest>,
    pub(crate) log: Vec<(Level, String)>,
    pub(crate) counters: BTreeMap<String, u64>,
    pub(crate) observations: BTreeMap<String, Vec<f64>>,
    pub(crate) local_domains: Vec<String>,
    pub(crate) local_addresses: Vec<String>,
    pub(crate) submitted: Vec<MessageState>,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct SessionState {
    pub(crate) listener: String,
    pub(crate) client: Option<Endpoint>,
    pub(crate) client_name: Option<String>,
    pub(crate) helo: Option<String>,
    pub(crate) is_esmtp: bool,
    pub(crate) tls_version: Option<String>,
    pub(crate) tls_cipher: Option<String>,
    pub(crate) tls_client_subject: Option<String>,
    pub(crate) auth: Option<(String, String)>,
    pub(crate) message_count: u32,
    pub(crate) error_count: u32,
    pub(crate) properties: Properties,
    pub(crate) banner: Option<String>,
    pub(crate) end_reason: Option<String>,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct CommandState {
    pub(crate) line: Vec<u8>,
    pub(crate) keyword: String,
    pub(crate) argument: String,
    pub(crate) path: Option<String>,
    pub(crate) parameters: Vec<(String, String)>,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct CallState {
    pub(crate) binding: String,
    pub(crate) sink: String,
    pub(crate) now: Option<Datetime>,
    pub(crate) raised: u32,
    pub(crate) native: Option<Reply>,
    pub(crate) response: Option<Reply>,
    pub(crate) delay_ms: u32,
    pub(crate) protocol_errors: u32,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct OutState {
    pub(crate) host: String,
    pub(crate) attempt: u32,
    pub(crate) banner: String,
    pub(crate) extensions: Vec<String>,
    pub(crate) properties: Properties,
    pub(crate) native_line: String,
    pub(crate) line: String,
    pub(crate) previous: Option<Reply>,
    pub(crate) response: Option<Reply>,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct MessageState {
    pub(crate) id: String,
    pub(crate) origin: String,
    pub(crate) class: String,
    pub(crate) priority: i32,
    pub(crate) sender: String,
    pub(crate) recipients: Vec<RecipientState>,
    pub(crate) next_recipient: u32,
    pub(crate) parameters: Vec<(String, String)>,
    /// Each field with its folds and its line end, as it came.
    pub(crate) fields: Vec<Vec<u8>>,
    pub(crate) body: Vec<u8>,
    pub(crate) properties: Properties,
    pub(crate) deliver_after: Option<Datetime>,
    pub(crate) expiry: Option<(Datetime, Datetime)>,
    pub(crate) supersede_key: Option<String>,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct RecipientState {
    pub(crate) id: u32,
    pub(crate) address: String,
    pub(crate) original: String,
    pub(crate) notify: Vec<String>,
    pub(crate) route_domain: Option<String>,
    pub(crate) outcome: String,
    pub(crate) reply: Option<Reply>,
    pub(crate) properties: Properties,
}

/// A value of the sink's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StateValue {
    pub(crate) octets: Vec<u8>,
    /// None is never.
    pub(crate) ends: Option<Datetime>,
}

impl StateValue {
    pub(crate) fn is_alive(&self, now: Datetime) -> bool {
        self.ends.is_none_or(|end| now < end)
    }
}

/// The records of the DNS, by name in lower case.
#[derive(Debug, Clone, Default)]
pub(crate) struct Zone {
    pub(crate) addresses: BTreeMap<String, Vec<String>>,
    pub(crate) mx: BTreeMap<String, Vec<(u16, String)>>,
    pub(crate) txt: BTreeMap<String, Vec<String>>,
    pub(crate) ptr: BTreeMap<String, Vec<String>>,
    pub(crate) failing: BTreeSet<String>,
    pub(crate) asked: Vec<String>,
}

impl Zone {
    pub(crate) fn knows(&self, name: &str) -> bool {
        self.addresses.contains_key(name)
            || self.mx.contains_key(name)
            || self.txt.contains_key(name)
            || self.ptr.contains_key(name)
    }
}

/// One result of message authentication.
#[derive(Debug, Clone, Default)]
pub(crate) struct AuthState {
    pub(crate) method: String,
    pub(crate) outcome: String,
    pub(crate) domain: String,
    pub(crate) properties: Vec<(String, String)>,
}

impl World {
    /// The time of the events.
    pub(crate) fn now(&self) -> Datetime {
        self.call.now.unwrap_or(NOW)
    }

    pub(crate) fn set_state(&mut self, key: &str, value: StateValue) {
        self.state.insert(key.to_owned(), value);
    }

    /// Whether the sink may change the envelope and the header block.
    pub(crate) fn check_edit(&self) -> Result<(), Error> {
        if self.access == Access::ReadOnly { Err(Error::ReadOnly) } else { Ok(()) }
    }

    /// Whether the sink may change the body.
    pub(crate) fn check_body_edit(&self) -> Result<(), Error> {
        if self.access == Access::Full { Ok(()) } else { Err(Error::ReadOnly) }
    }
}

impl Default for World {
    fn default() -> Self {
        Self {
            access: Access::default(),
            session: SessionState {
                listener: "default".into(),
                client: Some(Endpoint { address: "192.0.2.1".into(), port: 40_000 }),
                ..SessionState::default()
            },
            command: CommandState::default(),
            call: CallState { binding: "test".into(), sink: "test".into(), ..CallState::default() },
            out: OutState { host: "mx.remote.example".into(), attempt: 1, ..OutState::default() },
            messages: Vec::new(),
            destination: String::new(),
            failures: Vec::new(),
            track_kind: String::new(),
            config: BTreeMap::new(),
            state: BTreeMap::new(),
            counted: BTreeMap::new(),
            zone: Zone::default(),
            auth_results: Vec::new(),
            auth_unavailable: false,
            #[cfg(feature = "http")]
            answers: BTreeMap::new(),
            #[cfg(feature = "http")]
            requests: Vec::new(),
            log: Vec::new(),
            counters: BTreeMap::new(),
            observations: BTreeMap::new(),
            local_domains: vec!["basin.example".into()],
            local_addresses: Vec::new(),
            submitted: Vec::new(),
        }
    }
}

thread_local! {
    /// The world of the call that runs on this thread.
    static CURRENT: RefCell<Option<World>> = const { RefCell::new(None) };
}

/// Does something with the world of the call that runs.
pub(crate) fn world<R>(act: impl FnOnce(&mut World) -> R) -> R {
    CURRENT.with_borrow_mut(|current| match current {
        Some(world) => act(world),
        None => panic!("this can be called only while a sink answers an event; raise one through basin_sink::testing"),
    })
}

/// Runs a sink in this world.
///
/// As on the server, a call that fails leaves nothing behind but its log and what is outside the transaction: sums,
/// questions and requests. A verdict that drops the edits of the chain drops those of the state.
pub(crate) fn run<R: Outcome>(
    world: &mut World,
    access: Access,
    sink: impl FnOnce() -> crate::Result<R>,
) -> crate::Result<R> {
    /// Takes the world away when the call ends, even by a panic.
    struct Ending;
    impl Drop for Ending {
        fn drop(&mut self) {
            CURRENT.with_borrow_mut(|current| *current = None);
        }
    }

    let mut inside = world.clone();
    inside.access = access;
    inside.counted.clear();
    CURRENT.with_borrow_mut(|current| {
        assert!(current.is_none(), "a sink cannot raise an event while it answers one");
        *current = Some(inside);
    });
    let ending = Ending;
    let verdict = sink();
    let mut after = CURRENT.with_borrow_mut(Option::take).unwrap_or_default();
    drop(ending);
    match &verdict {
        Ok(verdict) => {
            if verdict.drops_edits() {
                after.state = std::mem::take(&mut world.state);
                after.state.append(&mut after.counted);
            }
            *world = after;
        }
        Err(_) => {
            world.state.append(&mut after.counted);
            world.log = after.log;
            world.counters = after.counters;
            world.observations = after.observations;
            world.zone.asked = after.zone.asked;
            #[cfg(feature = "http")]
            {
                world.requests = after.requests;
            }
        }
    }
    verdict
}
