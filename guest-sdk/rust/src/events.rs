//! One trait for each event of the server.
//!
//! A sink implements the traits of the events that it answers and names them in [`export!`](crate::export).
//! When an event is raised, what it may change and what its verdicts mean is in the contract (`wit/`), whose
//! interfaces have the names of these traits.

use crate::glue::event;
use crate::{
    Call, Command, CommandVerdict, ConnectVerdict, DataVerdict, Delivery, Destination, DnsVerdict, Message,
    MessageVerdict, NotificationVerdict, OutCommand, OutSession, OutVerdict, Recipient, Resolution, ResponseVerdict,
    Result, RouteVerdict, ServerResponse, Session, SizeVerdict, TrackRecord,
};

event! {
    /// A client connected; decides before the banner.
    OnConnect, on_connect, "connect-sink", (session: shared Session) -> ConnectVerdict
}
event! {
    /// AUTH ended, well or not ([`Session::auth_user`]).
    OnAuthenticated, on_authenticated, "authenticated-sink", (session: shared Session) -> CommandVerdict
}
event! {
    /// A command arrived that the binding's rule selects; verbs that the server does not know come too.
    ///
    /// There is a message from MAIL on.
    OnInboundCommand, on_inbound_command, "inbound-command-sink",
    (session: shared Session, message: option Message, command: shared Command) -> CommandVerdict
}
event! {
    /// The line or the octets after [`CommandVerdict::AwaitInput`] or [`CommandVerdict::AwaitOctets`] of this sink.
    ///
    /// `command` is the one that opened the exchange.
    OnInboundInput, on_inbound_input, "inbound-input-sink",
    (session: shared Session, message: option Message, command: shared Command, input: octets Octets) -> CommandVerdict
}
event! {
    /// The header block is complete, the body is not here yet.
    OnEndOfHeaders, on_end_of_headers, "end-of-headers-sink",
    (session: shared Session, message: unique Message) -> DataVerdict
}
event! {
    /// The whole message is here and not yet accepted; the client waits.
    OnEndOfData, on_end_of_data, "end-of-data-sink",
    (session: shared Session, message: unique Message) -> DataVerdict
}
event! {
    /// SIZE= or the content passes the listener's limit (in octets), below its hard maximum.
    OnMaxMsgSize, on_max_msg_size, "max-msg-size-sink",
    (session: shared Session, message: unique Message, limit: number u64) -> SizeVerdict
}
event! {
    /// Notice: the server or a sink refused something, malformed commands included ([`Call::response`]).
    OnReject, on_reject, "reject-sink", (session: shared Session, line: octets Octets) -> ()
}
event! {
    /// Notice: the session is over ([`Session::end_reason`]).
    OnDisconnect, on_disconnect, "disconnect-sink", (session: shared Session) -> ()
}
event! {
    /// The message is safely stored; recipients are as the client gave them.
    OnSubmission, on_submission, "submission-sink", (message: unique Message) -> MessageVerdict
}
event! {
    /// Right before recipients are resolved.
    OnPreCategorize, on_pre_categorize, "pre-categorize-sink", (message: unique Message) -> MessageVerdict
}
event! {
    /// Asked for each recipient: aliases, lists, directories.
    OnCategorize, on_categorize, "categorize-sink", (message: unique Message, recipient: unique Recipient) -> Resolution
}
event! {
    /// Recipients are resolved, expanded and free of duplicates.
    OnPostCategorize, on_post_categorize, "post-categorize-sink", (message: unique Message) -> MessageVerdict
}
event! {
    /// Asked for each destination of a message, and again after its hops failed.
    OnRoute, on_route, "route-sink", (message: unique Message, destination: shared Destination) -> RouteVerdict
}
event! {
    /// Hosts for a domain in place of DNS.
    OnDnsResolve, on_dns_resolve, "dns-resolve-sink", (destination: shared Destination) -> DnsVerdict
}
event! {
    /// Final delivery here, asked for each local recipient.
    OnLocalDelivery, on_local_delivery, "local-delivery-sink",
    (message: unique Message, recipient: unique Recipient) -> Delivery
}
event! {
    /// The server is about to notify the sender of `subject`; [`Recipient::outcome`] says who failed.
    OnNotification, on_notification, "notification-sink",
    (subject: unique Message, notification: unique Message) -> NotificationVerdict
}
event! {
    /// Notice: a tracking record was written.
    OnTrack, on_track, "track-sink", (entry: shared TrackRecord) -> ()
}
event! {
    /// Notice: the binding's schedule is due.
    OnTimer, on_timer, "timer-sink", () -> ()
}
event! {
    /// This server is the client: before EHLO.
    OnSessionStart, on_session_start, "session-start-sink",
    (session: shared OutSession, command: shared OutCommand) -> OutVerdict
}
event! {
    /// This server is the client: before MAIL FROM.
    OnMessageStart, on_message_start, "message-start-sink",
    (session: shared OutSession, message: unique Message, command: shared OutCommand) -> OutVerdict
}
event! {
    /// This server is the client: before each RCPT TO.
    OnPerRecipient, on_per_recipient, "per-recipient-sink",
    (session: shared OutSession, message: unique Message, recipient: unique Recipient, command: shared OutCommand)
        -> OutVerdict
}
event! {
    /// This server is the client: before DATA or BDAT.
    OnBeforeData, on_before_data, "before-data-sink",
    (session: shared OutSession, message: unique Message, command: shared OutCommand) -> OutVerdict
}
event! {
    /// This server is the client: before QUIT.
    OnSessionEnd, on_session_end, "session-end-sink", (session: shared OutSession, command: shared OutCommand) -> OutVerdict
}
event! {
    /// This server is the client: the remote server answered.
    OnServerResponse, on_server_response, "server-response-sink",
    (session: shared OutSession, message: option Message, recipient: option Recipient, response: shared ServerResponse)
        -> ResponseVerdict
}

/// Exports a sink: the struct, a colon, and the events that it answers.
///
/// The component exports these events and no other; the server calls a sink only for events that it exports.
/// It is used once in a crate.
///
/// ```
/// use basin_sink::prelude::*;
///
/// struct Greylist;
///
/// impl OnSubmission for Greylist {
///     fn on_submission(message: &mut Message, _call: &Call) -> Result<MessageVerdict> {
///         log::info!("{} of {} octets", message.id(), message.size());
///         Ok(MessageVerdict::Next)
///     }
/// }
/// impl OnTimer for Greylist {
///     fn on_timer(_call: &Call) -> Result<()> {
///         Ok(())
///     }
/// }
///
/// basin_sink::export!(Greylist: OnSubmission, OnTimer);
/// ```
#[macro_export]
macro_rules! export {
    ($sink:ty: $($event:ident),+ $(,)?) => {
        $($crate::__export_event!($event, $sink);)+
    };
}

/// Writes `__export_event!`, which knows the module behind the name of a trait.
macro_rules! export_table {
    ($dollar:tt $($event:ident => $name:ident,)*) => {
        #[doc(hidden)]
        #[macro_export]
        macro_rules! __export_event {
            $(($event, $dollar sink:ty) => {
                const _: () = {
                    // Named here so that a missing `impl` is reported off WebAssembly too.
                    const fn answers<S: $dollar crate::$event>() {}
                    answers::<$dollar sink>();
                    #[cfg(target_family = "wasm")]
                    type Adapter = $dollar crate::events::$name::Adapter<$dollar sink>;
                    #[cfg(target_family = "wasm")]
                    $dollar crate::events::$name::world::export!(Adapter with_types_in $dollar crate::events::$name::world);
                };
            };)*
            ($dollar other:ident, $dollar sink:ty) => {
                compile_error!(concat!(stringify!($dollar other), " is not an event; the events are the traits of basin_sink::events"));
            };
        }
    };
}

export_table! { $
    OnConnect => on_connect,
    OnAuthenticated => on_authenticated,
    OnInboundCommand => on_inbound_command,
    OnInboundInput => on_inbound_input,
    OnEndOfHeaders => on_end_of_headers,
    OnEndOfData => on_end_of_data,
    OnMaxMsgSize => on_max_msg_size,
    OnReject => on_reject,
    OnDisconnect => on_disconnect,
    OnSubmission => on_submission,
    OnPreCategorize => on_pre_categorize,
    OnCategorize => on_categorize,
    OnPostCategorize => on_post_categorize,
    OnRoute => on_route,
    OnDnsResolve => on_dns_resolve,
    OnLocalDelivery => on_local_delivery,
    OnNotification => on_notification,
    OnTrack => on_track,
    OnTimer => on_timer,
    OnSessionStart => on_session_start,
    OnMessageStart => on_message_start,
    OnPerRecipient => on_per_recipient,
    OnBeforeData => on_before_data,
    OnSessionEnd => on_session_end,
    OnServerResponse => on_server_response,
}
