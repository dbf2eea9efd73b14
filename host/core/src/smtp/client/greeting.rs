//! From the connection to the first message: greeting, EHLO, STARTTLS, AUTH.

use std::sync::Arc;

use crate::event::EventKind;
use crate::reply::{Class, Reply};
use crate::smtp::client::hearing::Heard;
use crate::smtp::client::listen::ReplyReader;
use crate::smtp::client::live::{Live, odd, of_host, put_line};
use crate::smtp::client::login::Login;
use crate::smtp::client::offered::Offered;
use crate::smtp::client::own::{self, Owner};
use crate::smtp::client::policy::TlsFacts;
use crate::smtp::client::sent::{Closed, Why};
use crate::smtp::client::step::{Awaits, ClientStep, Reading, Upgrading};
use crate::smtp::client::transaction::idle;
use crate::time::Timestamp;
use crate::transport::{Protocol, TlsDemand};

/// Takes the greeting (RFC 5321 §4.3.1).
pub(super) fn greeted(mut live: Box<Live>, reply: &Reply, now: Timestamp, wire: &mut Vec<u8>) -> ClientStep {
    match reply.class() {
        Class::Success => {
            live.peer_name = first_word(reply);
            live.banner = reply.lines().first().cloned().unwrap_or_default();
            hello(live, now, wire)
        }
        Class::Continue => live.close(Why::Violation, &odd(reply, "the connection")),
        Class::Transient | Class::Permanent => refused(live, reply, "the connection", now, wire),
    }
}

/// Takes the answer to EHLO or LHLO.
pub(super) fn answered_ehlo(mut live: Box<Live>, heard: &Heard, now: Timestamp, wire: &mut Vec<u8>) -> ClientStep {
    let reply = &heard.judged;
    match reply.class() {
        Class::Success => {
            // TLS and the login are the operator's: what the server offers of them no sink takes away.
            let really = Offered::read(&heard.real);
            live.offered = Offered {
                has_starttls: really.has_starttls,
                has_requiretls: really.has_requiretls,
                mechanisms: really.mechanisms,
                ..Offered::read(reply)
            };
            live.peer_name = first_word(reply);
            if live.policy.hearing.is_some() {
                live.extensions = reply.lines().iter().skip(1).cloned().collect();
            }
            greeted_back(live, now, wire)
        }
        // RFC 5321 §3.2: a server that does not know EHLO may know HELO. LMTP knows neither (RFC 2033 §4.1). Where a
        // sink alone calls it a refusal, HELO would only lose what protects the session.
        Class::Permanent if live.policy.protocol == Protocol::Smtp && heard.real.is_refusal() => {
            put_line(wire, &format!("HELO {}", live.policy.helo_name));
            ClientStep::Read(Reading { live, awaits: Awaits::Helo })
        }
        Class::Transient | Class::Permanent => refused(live, reply, "EHLO", now, wire),
        Class::Continue => live.close(Why::Violation, &odd(reply, "EHLO")),
    }
}

/// Takes the answer to HELO: a server without extensions.
pub(super) fn answered_helo(mut live: Box<Live>, reply: &Reply, now: Timestamp, wire: &mut Vec<u8>) -> ClientStep {
    match reply.class() {
        Class::Success => {
            live.peer_name = first_word(reply);
            greeted_back(live, now, wire)
        }
        Class::Transient | Class::Permanent => refused(live, reply, "HELO", now, wire),
        Class::Continue => live.close(Why::Violation, &odd(reply, "HELO")),
    }
}

/// Takes the answer to STARTTLS.
pub(super) fn answered_starttls(mut live: Box<Live>, reply: &Reply, now: Timestamp, wire: &mut Vec<u8>) -> ClientStep {
    match reply.class() {
        Class::Success => ClientStep::StartTls(Upgrading { live }),
        Class::Transient | Class::Permanent if live.policy.tls == TlsDemand::Opportunistic => {
            // RFC 3207 §4: the session goes on as if nothing had been said.
            live.is_past_starttls = true;
            greeted_back(live, now, wire)
        }
        Class::Transient | Class::Permanent => part(live, Why::Tls, &of_host(reply, "STARTTLS"), now, wire),
        Class::Continue => live.close(Why::Violation, &odd(reply, "STARTTLS")),
    }
}

/// Goes on under TLS.
pub(super) fn secured(mut live: Box<Live>, facts: TlsFacts, now: Timestamp, wire: &mut Vec<u8>) -> ClientStep {
    if live.policy.tls == TlsDemand::Verified && !facts.is_verified() {
        return live.close(Why::Tls, &Reply::with(451, 7, 5, "the next server did not prove who it is"));
    }
    live.tls = Some(facts);
    live.is_past_starttls = true;
    live.begins_to_wait(now);
    // RFC 3207 §4.2: everything that was learned before is forgotten.
    live.offered = Offered::default();
    live.peer_name.clear();
    live.extensions = Arc::from([]);
    live.reader = ReplyReader::default();
    live.mails = 0;
    hello(live, now, wire)
}

/// Takes a reply of the login.
pub(super) fn answered_login(
    mut live: Box<Live>,
    mut login: Login,
    reply: &Reply,
    now: Timestamp,
    wire: &mut Vec<u8>,
) -> ClientStep {
    match reply.class() {
        Class::Continue if login.is_cancelled() => live.close(Why::Violation, &odd(reply, "the end of AUTH")),
        Class::Continue => {
            login.answer(wire);
            ClientStep::Read(Reading { live, awaits: Awaits::Login(login) })
        }
        Class::Success if login.is_cancelled() => live.close(Why::Violation, &odd(reply, "the end of AUTH")),
        Class::Success => {
            live.is_logged_in = true;
            greeted_back(live, now, wire)
        }
        // The password is this server's affair, so no message fails for it; an operator has to look.
        Class::Transient | Class::Permanent => part(live, Why::Login, &of_host(reply, "the login"), now, wire),
    }
}

/// Asks about EHLO, or says it where nobody wants to know.
pub(super) fn hello(live: Box<Live>, now: Timestamp, wire: &mut Vec<u8>) -> ClientStep {
    if live.hears(EventKind::OnSessionStart) {
        return own::ask(live, Owner::Hello, now);
    }
    let line = hello_line(&live);
    say_hello(live, &line, now, wire)
}

/// The line with which a session begins.
pub(super) fn hello_line(live: &Live) -> String {
    let verb = match live.policy.protocol {
        Protocol::Smtp => "EHLO",
        Protocol::Lmtp => "LHLO",
    };
    format!("{verb} {}", live.policy.helo_name)
}

/// Says it.
pub(super) fn say_hello(mut live: Box<Live>, line: &str, now: Timestamp, wire: &mut Vec<u8>) -> ClientStep {
    put_line(wire, line);
    live.waits_since = now;
    line.clone_into(&mut live.said);
    ClientStep::Read(Reading { live, awaits: Awaits::Ehlo })
}

// What is still to be done before mail may go: TLS, then the login.
fn greeted_back(live: Box<Live>, now: Timestamp, wire: &mut Vec<u8>) -> ClientStep {
    let demand = live.policy.tls;
    let is_plain = live.tls.is_none();
    if is_plain && demand != TlsDemand::Never && live.offered.has_starttls && !live.is_past_starttls {
        put_line(wire, "STARTTLS");
        return ClientStep::Read(Reading { live, awaits: Awaits::StartTls });
    }
    let needs_tls = match demand {
        TlsDemand::Never | TlsDemand::Opportunistic => false,
        TlsDemand::Required => is_plain,
        TlsDemand::Verified => !live.tls.as_ref().is_some_and(TlsFacts::is_verified),
    };
    if needs_tls {
        let text = if is_plain {
            "TLS is demanded, and the next server offers none"
        } else {
            "the next server did not prove who it is"
        };
        return part(live, Why::Tls, &Reply::with(451, 7, if is_plain { 4 } else { 5 }, text), now, wire);
    }
    match live.policy.credentials.as_ref().filter(|_| !live.is_logged_in) {
        None => idle(live, now, wire),
        Some(credentials) => match Login::begin(&live, credentials, wire) {
            Ok(login) => ClientStep::Read(Reading { live, awaits: Awaits::Login(login) }),
            Err(reply) => part(live, Why::Login, &reply, now, wire),
        },
    }
}

fn refused(live: Box<Live>, reply: &Reply, what: &str, now: Timestamp, wire: &mut Vec<u8>) -> ClientStep {
    // RFC 5321 §3.1: a server that greets with 554 waits for QUIT.
    part(live, Why::Refused, &of_host(reply, what), now, wire)
}

// Ends a session that comes to no mail, in order. A message that was to go on comes back.
fn part(mut live: Box<Live>, why: Why, reply: &Reply, now: Timestamp, wire: &mut Vec<u8>) -> ClientStep {
    let unsent = live.resume.take().map(|(outgoing, _)| *outgoing);
    own::farewell(live, Closed::of(why, reply, unsent), now, wire)
}

fn first_word(reply: &Reply) -> String {
    let line = reply.lines().first().map(String::as_str).unwrap_or_default();
    line.split(' ').next().unwrap_or_default().to_owned()
}
