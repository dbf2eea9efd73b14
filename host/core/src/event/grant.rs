//! What a sink is allowed; everything that is not granted is denied.

use core::fmt;
use core::str::FromStr;
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::event::{EventKind, GrantedDir, HttpAddress, Variable};

macro_rules! grants {
    ($( $(#[$doc:meta])* $variant:ident = $name:literal, )*) => {
        /// One thing that a sink may do.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(into = "String", try_from = "String")]
        pub enum Grant {
            $( $(#[$doc])* $variant, )*
            /// Speak HTTP with an address.
            Http(HttpAddress),
            /// Use the files of a directory.
            Dir(GrantedDir),
            /// Read a variable of the server's environment.
            Env(Variable),
        }

        impl Grant {
            /// Every grant that is a word alone.
            pub const ALL: &'static [Self] = &[ $( Self::$variant, )* ];

            /// The name in the registry and on the command line.
            pub fn name(self) -> &'static str {
                match self {
                    $( Self::$variant => $name, )*
                    Self::Http(address) => address.word(),
                    Self::Dir(dir) => dir.word(),
                    Self::Env(variable) => variable.word(),
                }
            }
        }
    };
}

grants! {
    /// Read sender, recipients and parameters.
    ReadEnvelope = "read-envelope",
    /// Read the header block.
    ReadHeaders = "read-headers",
    /// Read the body and its parts.
    ReadBody = "read-body",
    /// Add, change and remove header fields.
    EditHeaders = "edit-headers",
    /// Replace the body.
    EditBody = "edit-body",
    /// Change sender, recipients, paths and parameters, priority and delivery time.
    EditEnvelope = "edit-envelope",
    /// Edit what a signature covers.
    BreakSignatures = "break-signatures",
    /// Answer the client with texts and codes of its own.
    Reply = "reply",
    /// Accept against the server's policy.
    AcceptRecipients = "accept-recipients",
    /// End the chain before the sinks behind it.
    EndChain = "end-chain",
    /// Accept and drop.
    Discard = "discard",
    /// Say who a client is; read what it sends with AUTH, passwords included.
    Authenticate = "authenticate",
    /// Keep values in a table of its own.
    State = "state",
    /// Ask the server's resolver.
    Dns = "dns",
    /// Ask for SPF, DKIM, DMARC and ARC.
    MessageAuth = "message-auth",
    /// Choose where mail goes: hops, addresses in place of DNS, delivery by the sink itself.
    Route = "route",
    /// Put messages of its own into the queue.
    Submit = "submit",
    /// Change and judge the dialogue with other servers.
    Outbound = "outbound",
    /// See the machine's time, and not that of the event.
    Clock = "clock",
    /// Draw random numbers of the machine, and not those of message and sink.
    Random = "random",
}

/// A name that is no grant.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum GrantError {
    /// What stands behind `http=` is no address.
    #[error("{name:?} names no address; write http=HOST, http=HOST:PORT or http=HOST/PATH*")]
    Address {
        /// What was asked for.
        name: String,
    },
    /// What stands behind `dir=` names no two directories.
    #[error(
        "{name:?} names no directory; write dir=HOSTDIR::GUESTDIR to read it or dir=HOSTDIR::GUESTDIR:rw, both from the \
         root, without \".\", \"..\" and a slash at the end"
    )]
    Dir {
        /// What was asked for.
        name: String,
    },
    /// What stands behind `env=` is no name of a variable.
    #[error("{name:?} names no variable; write env=NAME, out of A-Z a-z 0-9 _")]
    Variable {
        /// What was asked for.
        name: String,
    },
    /// Nobody knows it.
    #[error(
        "there is no grant {name:?}; known are {}, http=, dir=, env=",
        Grant::ALL.iter().map(|grant| grant.name()).collect::<Vec<_>>().join(", ")
    )]
    Unknown {
        /// What was asked for.
        name: String,
    },
}

impl FromStr for Grant {
    type Err = GrantError;

    fn from_str(name: &str) -> Result<Self, GrantError> {
        if let Some(grant) = Self::ALL.iter().find(|grant| grant.name() == name) {
            return Ok(*grant);
        }
        let word = name.split('=').next().unwrap_or(name);
        let name = name.to_owned();
        match word {
            "http" => HttpAddress::parse(&name).map(Self::Http).ok_or(GrantError::Address { name }),
            "dir" => GrantedDir::parse(&name).map(Self::Dir).ok_or(GrantError::Dir { name }),
            "env" => Variable::parse(&name).map(Self::Env).ok_or(GrantError::Variable { name }),
            _ => Err(GrantError::Unknown { name }),
        }
    }
}

/// Keeps what an operator wrote behind a grant for as long as the process runs, once for each spelling: grants are
/// compared and copied all the time, and there are as many as an operator writes.
pub(crate) fn kept(word: String) -> &'static str {
    static WORDS: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
    let mut words = WORDS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(word) = words.get(word.as_str()) {
        return word;
    }
    let word: &'static str = Box::leak(word.into_boxed_str());
    words.insert(word);
    word
}

impl From<Grant> for String {
    fn from(grant: Grant) -> Self {
        grant.name().to_owned()
    }
}

impl TryFrom<String> for Grant {
    type Error = GrantError;

    fn try_from(name: String) -> Result<Self, GrantError> {
        name.parse()
    }
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A set of grants.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Grants(BTreeSet<Grant>);

impl Grants {
    /// Every grant that is a word alone; for tests and `basin sink test --grant-all`.
    pub fn everything() -> Self {
        Grant::ALL.iter().copied().collect()
    }

    /// What a first binding at `event` gets where nobody names grants: reading, as far as the event has
    /// something to read, and no other.
    pub fn reading(event: EventKind) -> Self {
        if event.has_content() {
            [Grant::ReadEnvelope, Grant::ReadHeaders, Grant::ReadBody].into_iter().collect()
        } else if event == EventKind::OnEndOfHeaders {
            [Grant::ReadEnvelope, Grant::ReadHeaders].into_iter().collect()
        } else if matches!(event, EventKind::OnInboundCommand | EventKind::OnMaxMsgSize | EventKind::OnTrack)
            || event.is_outbound()
        {
            [Grant::ReadEnvelope].into_iter().collect()
        } else {
            Self::default()
        }
    }

    /// Whether the grant is in the set.
    pub fn has(&self, grant: Grant) -> bool {
        self.0.contains(&grant)
    }

    /// Whether something is granted that a call may wait for.
    pub fn may_wait(&self) -> bool {
        let waits = [Grant::State, Grant::Dns, Grant::MessageAuth];
        waits.into_iter().any(|grant| self.has(grant)) || self.http().next().is_some() || self.dirs().next().is_some()
    }

    /// The directories that are granted.
    pub fn dirs(&self) -> impl Iterator<Item = GrantedDir> {
        self.0.iter().filter_map(|grant| if let Grant::Dir(dir) = grant { Some(*dir) } else { None })
    }

    /// The variables of the server's environment that are granted.
    pub fn variables(&self) -> impl Iterator<Item = Variable> {
        self.0.iter().filter_map(|grant| if let Grant::Env(variable) = grant { Some(*variable) } else { None })
    }

    /// The addresses with which HTTP is granted.
    pub fn http(&self) -> impl Iterator<Item = HttpAddress> {
        self.0.iter().filter_map(|grant| if let Grant::Http(address) = grant { Some(*address) } else { None })
    }

    /// Adds a grant.
    pub fn insert(&mut self, grant: Grant) {
        self.0.insert(grant);
    }

    /// The grants in the set, in their order.
    pub fn iter(&self) -> impl Iterator<Item = Grant> {
        self.0.iter().copied()
    }

    /// Whether nothing is granted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<Grant> for Grants {
    fn from_iter<I: IntoIterator<Item = Grant>>(grants: I) -> Self {
        Self(grants.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_parse_back_and_unknown_ones_say_which_kind_they_are() {
        for grant in Grant::ALL {
            assert_eq!(grant.name().parse(), Ok(*grant));
        }
        assert_eq!("dir=/a::/b:ro".parse::<Grant>().map(Grant::name), Ok("dir=/a::/b"));
        assert!(matches!("dir=a::b".parse::<Grant>(), Err(GrantError::Dir { .. })));
        assert_eq!("env=LANG".parse::<Grant>().map(Grant::name), Ok("env=LANG"));
        assert!(matches!("env=LANG=C".parse::<Grant>(), Err(GrantError::Variable { .. })));
        assert_eq!("http=A.example/x*".parse::<Grant>().map(Grant::name), Ok("http=a.example/x*"));
        assert!(matches!("http=*".parse::<Grant>(), Err(GrantError::Address { .. })));
        assert!(matches!("fly".parse::<Grant>(), Err(GrantError::Unknown { .. })));
    }

    #[test]
    fn a_first_binding_gets_reading_alone() {
        assert!(Grants::reading(EventKind::OnConnect).is_empty());
        assert!(!Grants::reading(EventKind::OnEndOfData).has(Grant::EditHeaders));
    }
}
