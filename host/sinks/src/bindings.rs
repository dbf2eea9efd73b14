//! What wasmtime generates out of `wit/`, and a shorter name for a part of it.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::wildcard_enum_match_arm,
    clippy::too_many_lines,
    clippy::cast_possible_truncation,
    reason = "made from wit/, which has the documentation"
)]
#![allow(unsafe_code, reason = "the glue that wasmtime makes to pass values declares its layouts with unsafe")]

wasmtime::component::bindgen!({
    world: "all-events",
    path: "../../wit",
    imports: {
        "basin:sink/state.increment": async | trappable,
        "basin:sink/dns.addresses": async | trappable,
        "basin:sink/dns.mx": async | trappable,
        "basin:sink/dns.txt": async | trappable,
        "basin:sink/dns.ptr": async | trappable,
        "basin:sink/message-auth.verify": async | trappable,
        default: trappable,
    },
    exports: { default: async },
    trappable_error_type: { "basin:sink/types.error" => crate::host_api::Refused },
    with: {
        "basin:sink/types.action": crate::host_api::Action,
        "basin:sink/types.call": crate::host_api::Call,
        "basin:sink/message.mail-msg": crate::host_api::MailMsg,
        "basin:sink/message.recipient": crate::host_api::Recipient,
        "basin:sink/message.part": crate::host_api::Part,
        "basin:sink/message.body-writer": crate::host_api::BodyWriter,
        "basin:sink/message.new-message": crate::host_api::NewMessage,
        "basin:sink/inbound.session": crate::host_api::Session,
        "basin:sink/inbound.command": crate::host_api::Command,
        "basin:sink/outbound.out-session": crate::host_api::OutSession,
        "basin:sink/outbound.out-command": crate::host_api::OutCommand,
        "basin:sink/outbound.server-response": crate::host_api::ServerResponse,
        "basin:sink/transport.next-hop": crate::host_api::NextHop,
        "basin:sink/transport.destination": crate::host_api::Destination,
        "basin:sink/transport.track-record": crate::host_api::TrackRecord,
        "basin:sink/message-auth.auth-result": crate::host_api::AuthResult,
    },
});

/// The exported interfaces, one for each event.
pub(crate) use exports::basin::sink as events;
