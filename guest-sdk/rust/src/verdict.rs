//! Verdicts: plain values that can be compared in a test.
//!
//! Which verdicts need a grant, and what the client then sees, is in the contract (`wit/`). A verdict that the
//! binding does not grant counts as a failure of the sink.

use crate::{HostAddress, Later, NextHop, OutState, Reply};

/// Defines a verdict and, on WebAssembly, its way into the contract's variant of the same name.
macro_rules! verdict {
    (
        $(#[$doc:meta])*
        $verdict:ident in $interface:ident { $($(#[$case_doc:meta])* $case:ident $(($payload:ty))?,)+ }
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        #[non_exhaustive]
        #[must_use = "a verdict counts only when the event returns it"]
        pub enum $verdict {
            $($(#[$case_doc])* $case $(($payload))?,)+
        }

        #[cfg(target_family = "wasm")]
        impl crate::glue::Lower for $verdict {
            type Raw = crate::bindings::basin::sink::$interface::$verdict;
            fn lower(self) -> Result<Self::Raw, crate::Error> {
                Ok(match self {
                    $(verdict!(@pattern $case payload $(($payload))?) => verdict!(@value Self::Raw, $case payload $(($payload))?),)+
                })
            }
        }
    };
    (@pattern $case:ident $name:ident ($payload:ty)) => { Self::$case($name) };
    (@pattern $case:ident $name:ident) => { Self::$case };
    (@value $raw:ty, $case:ident $name:ident ($payload:ty)) => { <$raw>::$case(crate::glue::Lower::lower($name)?) };
    (@value $raw:ty, $case:ident $name:ident) => { <$raw>::$case };
}

/// Payloads that the contract takes as they are.
#[cfg(target_family = "wasm")]
macro_rules! as_it_is {
    ($($payload:ty),+ $(,)?) => {
        $(impl crate::glue::Lower for $payload {
            type Raw = $payload;
            fn lower(self) -> Result<$payload, crate::Error> {
                Ok(self)
            }
        })+
    };
}

#[cfg(target_family = "wasm")]
as_it_is!(Reply, Later, String, u64, OutState, Vec<u8>, Vec<String>, Vec<HostAddress>, (Reply, u64));

#[cfg(target_family = "wasm")]
impl crate::glue::Lower for Vec<NextHop> {
    type Raw = Vec<crate::bindings::basin::sink::transport::NextHop>;
    fn lower(self) -> Result<Self::Raw, crate::Error> {
        self.into_iter().map(NextHop::make).collect()
    }
}

verdict! {
    /// Answer to [`OnConnect`](crate::OnConnect).
    ConnectVerdict in inbound {
        /// Ask the next sink; after the last one the server goes on.
        Next,
        /// Ask no further sink. Grant `end-chain`.
        SkipRemaining,
        /// Refuse the connection with this reply (554 or 421) and close it.
        Refuse(Reply),
    }
}

verdict! {
    /// Answer to [`OnAuthenticated`](crate::OnAuthenticated), [`OnInboundCommand`](crate::OnInboundCommand) and
    /// [`OnInboundInput`](crate::OnInboundInput).
    CommandVerdict in inbound {
        /// Ask the next sink; after the last one the server carries the command out.
        Next,
        /// Ask no further sink; the server carries the command out. Grant `end-chain`.
        SkipRemaining,
        /// Carry it out although the server would refuse by policy. Grant `accept-recipients`.
        Accept,
        /// Handled here: send this and do nothing else. For standard verbs it needs the grant `end-chain`.
        Consume(Reply),
        /// Do not carry it out; a 4xx or 5xx reply.
        Refuse(Reply),
        /// Refuse, then close the connection.
        DropSession(Reply),
        /// Send this 3xx reply and give the client's next line to [`OnInboundInput`](crate::OnInboundInput).
        AwaitInput(Reply),
        /// The same for so many octets.
        AwaitOctets((Reply, u64)),
    }
}

verdict! {
    /// Answer to [`OnEndOfHeaders`](crate::OnEndOfHeaders) and [`OnEndOfData`](crate::OnEndOfData): before
    /// acceptance, while the client waits.
    DataVerdict in inbound {
        /// Ask the next sink; after the last one the server accepts the message.
        Next,
        /// Ask no further sink; the server accepts the message. Grant `end-chain`.
        SkipRemaining,
        /// Refuse the message with this reply.
        Refuse(Reply),
        /// Refuse it, then close the connection.
        DropSession(Reply),
        /// Accept it and drop it without notice. Grant `discard`.
        Discard,
        /// Accept it and keep it until an operator releases it; the text says why.
        Hold(String),
    }
}

verdict! {
    /// Answer about a message that the server has accepted.
    MessageVerdict in inbound {
        /// Ask the next sink; after the last one the message goes on.
        Next,
        /// Ask no further sink; the message goes on. Grant `end-chain`.
        SkipRemaining,
        /// The sender gets a notification with this reply.
        Refuse(Reply),
        /// The whole chain of this event again, later, without the edits made so far.
        Defer(Later),
        /// Drop it without notice. Grant `discard`.
        Discard,
        /// Keep it until an operator releases it; the text says why.
        Hold(String),
        /// Set it aside as bad mail; the text says why.
        BadMail(String),
    }
}

verdict! {
    /// Answer to [`OnMaxMsgSize`](crate::OnMaxMsgSize).
    SizeVerdict in inbound {
        /// Ask the next sink; after the last one the limit stands.
        Next,
        /// Let the message have so many octets, up to the listener's hard maximum.
        WaiveUpTo(u64),
    }
}

verdict! {
    /// Answer to [`OnRoute`](crate::OnRoute).
    RouteVerdict in transport {
        /// Ask the next sink; after the last one the server routes.
        Next,
        /// Ask no further sink; the server routes. Grant `end-chain`.
        SkipRemaining,
        /// Try these in this order. Grant `route`.
        UseHops(Vec<NextHop>),
        /// Fail the recipients of this destination.
        Fail(Reply),
        /// Ask again later.
        Defer(Later),
    }
}

verdict! {
    /// Answer to [`OnCategorize`](crate::OnCategorize).
    Resolution in transport {
        /// Ask the next sink; after the last one the server resolves.
        Next,
        /// Deliver to this address as it stands.
        Resolved,
        /// These addresses in place of it; none drops it.
        Expand(Vec<String>),
        /// Nobody of that name; the reply goes into the notification.
        Unknown(Reply),
        /// Ask again later.
        Defer(Later),
    }
}

verdict! {
    /// Answer to [`OnDnsResolve`](crate::OnDnsResolve).
    DnsVerdict in transport {
        /// Ask the next sink; after the last one the server asks DNS.
        Next,
        /// Connect to these hosts in this order.
        UseHosts(Vec<HostAddress>),
        /// Fail the recipients of this destination.
        Fail(Reply),
        /// Ask again later.
        Defer(Later),
    }
}

verdict! {
    /// Answer to [`OnLocalDelivery`](crate::OnLocalDelivery).
    Delivery in transport {
        /// Not mine: ask the next sink, then the server's own store.
        Next,
        /// This sink has delivered it.
        Delivered,
        /// Try again later.
        Defer(Later),
        /// Fail this recipient.
        Fail(Reply),
    }
}

verdict! {
    /// Answer to [`OnNotification`](crate::OnNotification).
    NotificationVerdict in transport {
        /// Ask the next sink; after the last one the notification is sent.
        Next,
        /// Do not send it.
        Suppress,
    }
}

verdict! {
    /// Answer to the events before a command of this server as a client.
    OutVerdict in outbound {
        /// Ask the next sink; after the last one the command is sent.
        Next,
        /// Ask no further sink; the command is sent. Grant `end-chain`.
        SkipRemaining,
        /// Send this line first, then raise the event again with
        /// [`OutCommand::previous_reply`](crate::OutCommand::previous_reply).
        SendFirst(String),
        /// Send these octets first, likewise.
        SendBlob(Vec<u8>),
        /// Do not send this recipient: 4xx retries it later, 5xx fails it.
        SkipRecipient(Reply),
        /// Do not send this message to anyone in this session, likewise.
        SkipMessage(Reply),
        /// Close the connection; what is not done is tried again.
        DropSession,
    }
}

verdict! {
    /// Answer to [`OnServerResponse`](crate::OnServerResponse).
    ResponseVerdict in outbound {
        /// Ask the next sink; after the last one the server takes the reply as it is.
        Next,
        /// Ask no further sink. Grant `end-chain`.
        SkipRemaining,
        /// Go on as if the remote server had answered this.
        TreatAs(Reply),
        /// Go on from that state; replies to what was pipelined past it are ignored.
        ChangeState(OutState),
        /// Close the connection; what is not done is tried again.
        DropSession,
    }
}

/// What a verdict means for the rest of the call, where the server in memory has to know it.
#[cfg(not(target_family = "wasm"))]
pub(crate) trait Outcome {
    /// Whether the edits of the chain are dropped with it.
    fn drops_edits(&self) -> bool {
        false
    }
}

#[cfg(not(target_family = "wasm"))]
mod outcomes {
    use super::*;

    impl Outcome for CommandVerdict {
        fn drops_edits(&self) -> bool {
            matches!(self, Self::Refuse(_) | Self::DropSession(_))
        }
    }
    impl Outcome for DataVerdict {
        fn drops_edits(&self) -> bool {
            matches!(self, Self::Refuse(_) | Self::DropSession(_))
        }
    }
    impl Outcome for MessageVerdict {
        fn drops_edits(&self) -> bool {
            matches!(self, Self::Refuse(_) | Self::Defer(_))
        }
    }
    impl Outcome for ConnectVerdict {
        fn drops_edits(&self) -> bool {
            matches!(self, Self::Refuse(_))
        }
    }
    impl Outcome for () {}
    impl Outcome for SizeVerdict {}
    impl Outcome for RouteVerdict {}
    impl Outcome for Resolution {}
    impl Outcome for DnsVerdict {}
    impl Outcome for Delivery {}
    impl Outcome for NotificationVerdict {}
    impl Outcome for OutVerdict {}
    impl Outcome for ResponseVerdict {}
}

/// A verdict that can say no with a reply, for [`refuse`].
pub trait CanRefuse {
    /// The verdict that says no.
    fn refusing(reply: Reply) -> Self;
}

/// A verdict that can say not now, for [`defer`].
pub trait CanDefer {
    /// The verdict that says not now.
    fn deferring(later: Later) -> Self;
}

macro_rules! can {
    ($trait:ident, $method:ident, $payload:ty: $($verdict:ident $case:ident),+) => {
        $(impl $trait for $verdict {
            fn $method(payload: $payload) -> Self {
                Self::$case(payload)
            }
        })+
    };
}

can!(CanRefuse, refusing, Reply:
    ConnectVerdict Refuse, CommandVerdict Refuse, DataVerdict Refuse, MessageVerdict Refuse,
    RouteVerdict Fail, Resolution Unknown, DnsVerdict Fail, Delivery Fail);
can!(CanDefer, deferring, Later:
    MessageVerdict Defer, RouteVerdict Defer, Resolution Defer, DnsVerdict Defer, Delivery Defer);

/// Says no, in the words of whichever event is being answered.
///
/// ```
/// use basin_sink::prelude::*;
///
/// fn verdict() -> Result<DataVerdict> {
///     Ok(refuse(550, "5.7.1", "no executables"))
/// }
/// assert_eq!(verdict()?, DataVerdict::Refuse(Reply::new(550, "no executables").status("5.7.1")));
/// # Ok::<(), Failure>(())
/// ```
#[must_use = "a verdict counts only when the event returns it"]
pub fn refuse<V: CanRefuse>(code: u16, status: &str, text: &str) -> V {
    V::refusing(Reply::new(code, text).status(status))
}

/// Says not now, in the words of whichever event is being answered: the same again after that time.
#[must_use = "a verdict counts only when the event returns it"]
pub fn defer<V: CanDefer>(after: std::time::Duration, status: &str, text: &str) -> V {
    V::deferring(Later::after(after, Reply::new(451, text).status(status)))
}
