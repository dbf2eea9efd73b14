//! The events between two sessions and with other servers, and their verdicts.

use crate::basin::sink::inbound::MessageVerdict;
use crate::basin::sink::message::{MailMsg, Recipient};
use crate::basin::sink::outbound::{OutCommand, OutSession, OutState, OutVerdict, ResponseVerdict, ServerResponse};
use crate::basin::sink::transport::{
    Delivery, Destination, DnsVerdict, HostAddress, NextHop, NotificationVerdict, Resolution, RouteVerdict, TrackRecord,
};
use crate::basin::sink::types::{Call, Later};
use crate::exports::basin::sink as events;
use crate::steering::More;
use crate::{Probe, Scene, play, reply, verdict};

fn act(message: Option<&MailMsg>, more: More<'_>, call: &Call) -> (String, String) {
    play(&Scene { session: None, message, command: None, more, call });
    verdict()
}

fn later(text: &str) -> Later {
    Later { reply: reply(text), after_seconds: 0 }
}

fn about_message(msg: &MailMsg, call: &Call) -> Result<MessageVerdict, String> {
    let (name, rest) = act(Some(msg), More::default(), call);
    Ok(match name.as_str() {
        "next" => MessageVerdict::Next,
        "skip-remaining" => MessageVerdict::SkipRemaining,
        "refuse" => MessageVerdict::Refuse(reply(&rest)),
        "defer" => MessageVerdict::Defer(later(&rest)),
        "discard" => MessageVerdict::Discard,
        "hold" => MessageVerdict::Hold(rest),
        "bad-mail" => MessageVerdict::BadMail(rest),
        _ => return Err(rest),
    })
}

impl events::on_submission::Guest for Probe {
    fn handle(msg: MailMsg, call: Call) -> Result<MessageVerdict, String> {
        about_message(&msg, &call)
    }
}

impl events::on_pre_categorize::Guest for Probe {
    fn handle(msg: MailMsg, call: Call) -> Result<MessageVerdict, String> {
        about_message(&msg, &call)
    }
}

impl events::on_post_categorize::Guest for Probe {
    fn handle(msg: MailMsg, call: Call) -> Result<MessageVerdict, String> {
        about_message(&msg, &call)
    }
}

impl events::on_categorize::Guest for Probe {
    fn handle(msg: MailMsg, recipient: Recipient, call: Call) -> Result<Resolution, String> {
        let (name, rest) = act(Some(&msg), More { recipient: Some(&recipient), ..More::default() }, &call);
        Ok(match name.as_str() {
            "next" => Resolution::Next,
            "resolved" => Resolution::Resolved,
            "expand" => Resolution::Expand(rest.split(',').filter(|one| !one.is_empty()).map(str::to_owned).collect()),
            "expand-many" => Resolution::Expand((0..rest.parse().expect("a number")).map(many).collect()),
            "unknown" => Resolution::Unknown(reply(&rest)),
            "defer" => Resolution::Defer(later(&rest)),
            _ => return Err(rest),
        })
    }
}

fn many(number: u32) -> String {
    format!("u{number}@a.example")
}

impl events::on_route::Guest for Probe {
    fn handle(msg: MailMsg, destination: Destination, call: Call) -> Result<RouteVerdict, String> {
        let (name, rest) = act(Some(&msg), More { destination: Some(&destination), ..More::default() }, &call);
        Ok(match name.as_str() {
            "next" => RouteVerdict::Next,
            "skip-remaining" => RouteVerdict::SkipRemaining,
            "use-local" => {
                RouteVerdict::UseHops((0..rest.parse().expect("a number")).map(|_| NextHop::local()).collect())
            }
            "use-hops" => RouteVerdict::UseHops(vec![dressed(&rest), NextHop::local()]),
            "fail" => RouteVerdict::Fail(reply(&rest)),
            "defer" => RouteVerdict::Defer(later(&rest)),
            _ => return Err(rest),
        })
    }
}

fn dressed(host: &str) -> NextHop {
    let hop = NextHop::host(host, 2525).expect("a host");
    hop.set_tls("verified").expect("a level");
    hop.set_credentials("relay").expect("credentials");
    hop
}

impl events::on_dns_resolve::Guest for Probe {
    fn handle(destination: Destination, call: Call) -> Result<DnsVerdict, String> {
        let (name, rest) = act(None, More { destination: Some(&destination), ..More::default() }, &call);
        Ok(match name.as_str() {
            "next" => DnsVerdict::Next,
            "use-hosts" => {
                let (host, addresses) = rest.split_once('=').unwrap_or((&rest, ""));
                let addresses = addresses.split(',').map(str::to_owned).collect();
                DnsVerdict::UseHosts(vec![HostAddress { name: host.to_owned(), addresses }])
            }
            "fail" => DnsVerdict::Fail(reply(&rest)),
            "defer" => DnsVerdict::Defer(later(&rest)),
            _ => return Err(rest),
        })
    }
}

impl events::on_local_delivery::Guest for Probe {
    fn handle(msg: MailMsg, recipient: Recipient, call: Call) -> Result<Delivery, String> {
        let (name, rest) = act(Some(&msg), More { recipient: Some(&recipient), ..More::default() }, &call);
        Ok(match name.as_str() {
            "next" => Delivery::Next,
            "delivered" => Delivery::Delivered,
            "fail" => Delivery::Fail(reply(&rest)),
            "defer" => Delivery::Defer(later(&rest)),
            _ => return Err(rest),
        })
    }
}

impl events::on_notification::Guest for Probe {
    fn handle(subject: MailMsg, notification: MailMsg, call: Call) -> Result<NotificationVerdict, String> {
        let (name, rest) = act(Some(&notification), More { subject: Some(&subject), ..More::default() }, &call);
        Ok(match name.as_str() {
            "next" => NotificationVerdict::Next,
            "suppress" => NotificationVerdict::Suppress,
            _ => return Err(rest),
        })
    }
}

impl events::on_track::Guest for Probe {
    fn handle(entry: TrackRecord, call: Call) -> Result<(), String> {
        act(None, More { track: Some(&entry), ..More::default() }, &call);
        Ok(())
    }
}

impl events::on_timer::Guest for Probe {
    fn handle(call: Call) -> Result<(), String> {
        act(None, More::default(), &call);
        Ok(())
    }
}

fn before(message: Option<&MailMsg>, more: More<'_>, call: &Call) -> Result<OutVerdict, String> {
    let (name, rest) = act(message, more, call);
    Ok(match name.as_str() {
        "next" => OutVerdict::Next,
        "skip-remaining" => OutVerdict::SkipRemaining,
        "send-first" => OutVerdict::SendFirst(rest),
        "send-blob" => OutVerdict::SendBlob(rest.into_bytes()),
        "skip-recipient" => OutVerdict::SkipRecipient(reply(&rest)),
        "skip-message" => OutVerdict::SkipMessage(reply(&rest)),
        "drop-session" => OutVerdict::DropSession,
        _ => return Err(rest),
    })
}

impl events::on_session_start::Guest for Probe {
    fn handle(session: OutSession, command: OutCommand, call: Call) -> Result<OutVerdict, String> {
        before(None, More { out: Some(&session), command: Some(&command), ..More::default() }, &call)
    }
}

impl events::on_session_end::Guest for Probe {
    fn handle(session: OutSession, command: OutCommand, call: Call) -> Result<OutVerdict, String> {
        before(None, More { out: Some(&session), command: Some(&command), ..More::default() }, &call)
    }
}

impl events::on_message_start::Guest for Probe {
    fn handle(session: OutSession, msg: MailMsg, command: OutCommand, call: Call) -> Result<OutVerdict, String> {
        before(Some(&msg), More { out: Some(&session), command: Some(&command), ..More::default() }, &call)
    }
}

impl events::on_before_data::Guest for Probe {
    fn handle(session: OutSession, msg: MailMsg, command: OutCommand, call: Call) -> Result<OutVerdict, String> {
        before(Some(&msg), More { out: Some(&session), command: Some(&command), ..More::default() }, &call)
    }
}

impl events::on_per_recipient::Guest for Probe {
    fn handle(
        session: OutSession,
        msg: MailMsg,
        recipient: Recipient,
        command: OutCommand,
        call: Call,
    ) -> Result<OutVerdict, String> {
        let more =
            More { out: Some(&session), command: Some(&command), recipient: Some(&recipient), ..More::default() };
        before(Some(&msg), more, &call)
    }
}

impl events::on_server_response::Guest for Probe {
    fn handle(
        session: OutSession,
        msg: Option<MailMsg>,
        recipient: Option<Recipient>,
        response: ServerResponse,
        call: Call,
    ) -> Result<ResponseVerdict, String> {
        let more =
            More { out: Some(&session), recipient: recipient.as_ref(), response: Some(&response), ..More::default() };
        let (name, rest) = act(msg.as_ref(), more, &call);
        Ok(match name.as_str() {
            "next" => ResponseVerdict::Next,
            "skip-remaining" => ResponseVerdict::SkipRemaining,
            "treat-as" => ResponseVerdict::TreatAs(reply(&rest)),
            "change-state" => ResponseVerdict::ChangeState(OutState::MessageStart),
            "drop-session" => ResponseVerdict::DropSession,
            _ => return Err(rest),
        })
    }
}
