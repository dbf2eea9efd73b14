//! The events: names, what they allow, what is known at each.

use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::event::{FailurePolicy, Verdict};

/// Makes the enum, its list and its names from one table.
macro_rules! events {
    ($( $(#[$doc:meta])* $variant:ident = $name:literal, )*) => {
        /// A named moment in the life of a session or a message; `wit/` documents each.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum EventKind { $( $(#[$doc])* $variant, )* }

        impl EventKind {
            /// Every event of the contract, in the order of a message's way.
            pub const ALL: &'static [Self] = &[ $( Self::$variant, )* ];

            /// The name in `wit/`, in the registry and on the command line.
            pub fn name(self) -> &'static str {
                match self { $( Self::$variant => $name, )* }
            }
        }
    };
}

events! {
    /// A client connected, before the banner.
    OnConnect = "on-connect",
    /// AUTH ended.
    OnAuthenticated = "on-authenticated",
    /// A command was parsed and checked, before the server acts.
    OnInboundCommand = "on-inbound-command",
    /// The line or octets after `await-input`, `await-octets`.
    OnInboundInput = "on-inbound-input",
    /// The header block is complete.
    OnEndOfHeaders = "on-end-of-headers",
    /// The whole message is here and not accepted.
    OnEndOfData = "on-end-of-data",
    /// A message passes the size limit.
    OnMaxMsgSize = "on-max-msg-size",
    /// The server or a sink refused something.
    OnReject = "on-reject",
    /// The session is over.
    OnDisconnect = "on-disconnect",
    /// The message is stored, recipients unexpanded.
    OnSubmission = "on-submission",
    /// Right before recipients are resolved.
    OnPreCategorize = "on-pre-categorize",
    /// For each recipient: resolve it.
    OnCategorize = "on-categorize",
    /// Recipients are resolved and expanded.
    OnPostCategorize = "on-post-categorize",
    /// For each destination: choose the hops.
    OnRoute = "on-route",
    /// A relay needs addresses.
    OnDnsResolve = "on-dns-resolve",
    /// Final delivery here, for each recipient.
    OnLocalDelivery = "on-local-delivery",
    /// Outbound: before EHLO.
    OnSessionStart = "on-session-start",
    /// Outbound: before MAIL FROM.
    OnMessageStart = "on-message-start",
    /// Outbound: before each RCPT TO.
    OnPerRecipient = "on-per-recipient",
    /// Outbound: before DATA or BDAT.
    OnBeforeData = "on-before-data",
    /// Outbound: before QUIT.
    OnSessionEnd = "on-session-end",
    /// Outbound: the remote server answered.
    OnServerResponse = "on-server-response",
    /// A notification is about to be made.
    OnNotification = "on-notification",
    /// A tracking record was written.
    OnTrack = "on-track",
    /// The binding's schedule is due.
    OnTimer = "on-timer",
}

impl EventKind {
    /// Whether a binding can name the event. `on-inbound-input` is raised for the binding of `on-inbound-command`
    /// whose sink asked for input, and for nobody else: what the client sends may be a password.
    pub fn can_be_bound(self) -> bool {
        self != Self::OnInboundInput
    }

    /// Whether nobody waits for the verdict.
    pub fn is_notice(self) -> bool {
        matches!(self, Self::OnReject | Self::OnDisconnect | Self::OnTrack | Self::OnTimer)
    }

    /// Whether the event is about a stored message, so that nobody waits on a connection.
    pub fn is_transport(self) -> bool {
        matches!(
            self,
            Self::OnSubmission
                | Self::OnPreCategorize
                | Self::OnCategorize
                | Self::OnPostCategorize
                | Self::OnRoute
                | Self::OnDnsResolve
                | Self::OnLocalDelivery
                | Self::OnNotification
        )
    }

    /// Whether the event belongs to a session in which this server is the client of another one.
    pub fn is_outbound(self) -> bool {
        self.is_before_command() || self == Self::OnServerResponse
    }

    /// Whether a command to another server is about to leave.
    pub fn is_before_command(self) -> bool {
        matches!(
            self,
            Self::OnSessionStart
                | Self::OnMessageStart
                | Self::OnPerRecipient
                | Self::OnBeforeData
                | Self::OnSessionEnd
        )
    }

    /// Whether the event belongs to a client's session.
    pub fn has_session(self) -> bool {
        matches!(
            self,
            Self::OnConnect
                | Self::OnAuthenticated
                | Self::OnInboundCommand
                | Self::OnInboundInput
                | Self::OnEndOfHeaders
                | Self::OnEndOfData
                | Self::OnMaxMsgSize
                | Self::OnReject
                | Self::OnDisconnect
        )
    }

    /// Whether the event is about a message whose content is there.
    pub fn has_content(self) -> bool {
        matches!(
            self,
            Self::OnEndOfData
                | Self::OnSubmission
                | Self::OnPreCategorize
                | Self::OnCategorize
                | Self::OnPostCategorize
                | Self::OnRoute
                | Self::OnLocalDelivery
                | Self::OnNotification
        )
    }

    /// Whether the event is about a message whose header block is there.
    pub fn has_header(self) -> bool {
        self.has_content() || self == Self::OnEndOfHeaders
    }

    /// Failure policies that the event allows, the default first (`docs/events`).
    pub fn policies(self) -> &'static [FailurePolicy] {
        use FailurePolicy::{Defer, Fail, Hold, Refuse, Skip};
        match self {
            Self::OnConnect | Self::OnAuthenticated | Self::OnInboundCommand | Self::OnInboundInput => {
                &[Defer, Refuse, Skip]
            }
            Self::OnEndOfHeaders | Self::OnEndOfData => &[Defer, Refuse, Skip, Hold],
            Self::OnSubmission | Self::OnPreCategorize | Self::OnPostCategorize => &[Defer, Hold, Skip, Refuse],
            Self::OnCategorize | Self::OnRoute | Self::OnLocalDelivery => &[Defer, Fail, Skip],
            Self::OnDnsResolve => &[Skip, Defer],
            Self::OnSessionStart
            | Self::OnMessageStart
            | Self::OnPerRecipient
            | Self::OnBeforeData
            | Self::OnSessionEnd
            | Self::OnServerResponse => &[Defer, Skip],
            Self::OnNotification => &[Skip, Hold],
            Self::OnMaxMsgSize | Self::OnReject | Self::OnDisconnect | Self::OnTrack | Self::OnTimer => &[Skip],
        }
    }

    /// Whether the event allows the verdict by its nature; grants are another matter.
    pub fn allows(self, verdict: &Verdict) -> bool {
        match verdict {
            Verdict::Next => true,
            _ if self.is_notice() => false,
            Verdict::SkipRemaining => !matches!(
                self,
                Self::OnMaxMsgSize
                    | Self::OnCategorize
                    | Self::OnDnsResolve
                    | Self::OnLocalDelivery
                    | Self::OnNotification
            ),
            Verdict::Refuse(_) => !self.is_outbound() && !matches!(self, Self::OnMaxMsgSize | Self::OnNotification),
            Verdict::Accept | Verdict::Consume(_) => {
                matches!(self, Self::OnInboundCommand | Self::OnInboundInput)
            }
            Verdict::AwaitInput(_) | Verdict::AwaitOctets(..) => {
                matches!(self, Self::OnInboundCommand | Self::OnInboundInput)
            }
            Verdict::DropSession(_) => {
                self.is_outbound()
                    || matches!(
                        self,
                        Self::OnAuthenticated
                            | Self::OnInboundCommand
                            | Self::OnInboundInput
                            | Self::OnEndOfHeaders
                            | Self::OnEndOfData
                    )
            }
            Verdict::Discard | Verdict::Hold(_) => matches!(
                self,
                Self::OnEndOfHeaders
                    | Self::OnEndOfData
                    | Self::OnSubmission
                    | Self::OnPreCategorize
                    | Self::OnPostCategorize
            ),
            Verdict::Defer(_) => self.is_transport() && self != Self::OnNotification,
            Verdict::BadMail(_) => {
                matches!(self, Self::OnSubmission | Self::OnPreCategorize | Self::OnPostCategorize)
            }
            Verdict::WaiveUpTo(_) => self == Self::OnMaxMsgSize,
            Verdict::Resolved | Verdict::Expand(_) => self == Self::OnCategorize,
            Verdict::Hops(_) => self == Self::OnRoute,
            Verdict::Hosts(_) => self == Self::OnDnsResolve,
            Verdict::Delivered => self == Self::OnLocalDelivery,
            Verdict::Suppress => self == Self::OnNotification,
            Verdict::SendFirst(_) | Verdict::SendBlob(_) => self.is_before_command(),
            Verdict::SkipRecipient(_) => self == Self::OnPerRecipient,
            Verdict::SkipMessage(_) => {
                matches!(self, Self::OnMessageStart | Self::OnPerRecipient | Self::OnBeforeData)
            }
            Verdict::TreatAs(_) | Verdict::ChangeState(_) => self == Self::OnServerResponse,
        }
    }
}

/// A set of events; tells a machine which questions anybody would hear.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EventSet(u32);

impl EventSet {
    /// Every event.
    pub const ALL: Self = Self(u32::MAX);

    /// Whether the event is in the set.
    pub fn has(self, event: EventKind) -> bool {
        self.0 & (1 << event as u32) != 0
    }
}

impl FromIterator<EventKind> for EventSet {
    fn from_iter<I: IntoIterator<Item = EventKind>>(events: I) -> Self {
        Self(events.into_iter().fold(0, |set, event| set | 1 << event as u32))
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that is no event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no event {name:?}; `basin sink inspect --events` lists them")]
pub struct UnknownEvent {
    /// What was asked for.
    pub name: String,
}

impl FromStr for EventKind {
    type Err = UnknownEvent;

    fn from_str(name: &str) -> Result<Self, UnknownEvent> {
        let found = Self::ALL.iter().copied().find(|event| event.name() == name);
        found.ok_or_else(|| UnknownEvent { name: name.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_25_events_with_names_of_their_own() {
        let mut names: Vec<_> = EventKind::ALL.iter().map(|event| event.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), 25);
    }

    #[test]
    fn names_parse_back() {
        for event in EventKind::ALL {
            assert_eq!(event.name().parse(), Ok(*event));
        }
        assert!("on-nothing".parse::<EventKind>().is_err());
    }

    #[test]
    fn the_limit_of_the_size_stands_or_is_waived() {
        let event = EventKind::OnMaxMsgSize;
        assert!(event.allows(&Verdict::Next) && event.allows(&Verdict::WaiveUpTo(1)));
        assert!(!event.allows(&Verdict::SkipRemaining) && !event.allows(&Verdict::Accept));
        assert_eq!(event.policies(), [FailurePolicy::Skip]);
    }

    #[test]
    fn who_is_authenticated_can_be_refused_and_nothing_else() {
        let reply = || crate::reply::Reply::new(550, None, "no");
        let event = EventKind::OnAuthenticated;
        for verdict in [Verdict::Next, Verdict::SkipRemaining, Verdict::Refuse(reply()), Verdict::DropSession(reply())]
        {
            assert!(event.allows(&verdict), "{verdict:?}");
        }
        for verdict in
            [Verdict::Accept, Verdict::Consume(reply()), Verdict::AwaitInput(reply()), Verdict::AwaitOctets(reply(), 1)]
        {
            assert!(!event.allows(&verdict), "{verdict:?}");
            assert!(EventKind::OnInboundInput.allows(&verdict), "{verdict:?}");
        }
    }

    #[test]
    fn input_cannot_be_bound() {
        assert!(EventKind::ALL.iter().all(|event| event.can_be_bound() == (*event != EventKind::OnInboundInput)));
    }

    #[test]
    fn a_notice_allows_next_alone() {
        assert!(EventKind::OnReject.allows(&Verdict::Next));
        assert!(!EventKind::OnReject.allows(&Verdict::SkipRemaining));
    }
}
