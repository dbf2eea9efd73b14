//! XCLIENT: a trusted proxy says for whom it speaks (Postfix, "XCLIENT Howto").
//!
//! What it says replaces what the session knows of its client, and the session begins anew with the banner. Whoever
//! may say it can be anybody, logged in as anyone, so it is taken from listed addresses alone, and it is the address
//! that the connection came from that counts, never one that an earlier XCLIENT named.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use crate::addr::check_domain;
use crate::limits::{DOMAIN_BYTES_MAX, USER_BYTES_MAX};
use crate::mail::Auth;
use crate::reply::Reply;
use crate::smtp::command::{CommandError, Request};
use crate::smtp::intent::{Action, Intent, OutOfSequence, Tally, refused};
use crate::smtp::live::Live;
use crate::smtp::outbox::Outbox;
use crate::smtp::session::Step;
use crate::time::Timestamp;

/// The line of EHLO.
const KEYWORD: &str = "XCLIENT NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT";

/// What a proxy says of its client.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Claims {
    name: Claim<String>,
    address: Claim<IpAddr>,
    port: Claim<u16>,
    is_esmtp: Claim<bool>,
    helo: Claim<String>,
    login: Claim<String>,
    server_address: Claim<IpAddr>,
    server_port: Claim<u16>,
}

/// One thing that it says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Claim<T> {
    /// Nothing about it: what was known holds.
    #[default]
    Unsaid,
    /// That it does not know.
    Unknown,
    /// That.
    Is(T),
}

impl<T> Claim<T> {
    // What holds after it.
    fn over(self, before: T, unknown: T) -> T {
        match self {
            Self::Unsaid => before,
            Self::Unknown => unknown,
            Self::Is(value) => value,
        }
    }

    fn optional(self, before: Option<T>) -> Option<T> {
        match self {
            Self::Unsaid => before,
            Self::Unknown => None,
            Self::Is(value) => Some(value),
        }
    }

    fn is_said(&self) -> bool {
        !matches!(self, Self::Unsaid)
    }
}

/// Reads what stands behind the verb: attributes, each once.
pub(super) fn parse(argument: &[u8]) -> Result<Request, CommandError> {
    const FORM: CommandError = CommandError::Argument("XCLIENT attribute=value ...");
    let argument = core::str::from_utf8(argument).map_err(|_| FORM)?;
    let mut claims = Claims::default();
    for attribute in argument.split(' ') {
        let (name, value) = attribute.split_once('=').ok_or(FORM)?;
        let value = Value::parse(value).ok_or(FORM)?;
        let set = match name.to_ascii_uppercase().as_str() {
            "NAME" => value.claim(&mut claims.name, host_name),
            "ADDR" => value.claim(&mut claims.address, address),
            "PORT" => value.claim(&mut claims.port, port),
            "PROTO" => value.claim(&mut claims.is_esmtp, protocol),
            "HELO" => value.claim(&mut claims.helo, |text| word(text, DOMAIN_BYTES_MAX)),
            "LOGIN" => value.claim(&mut claims.login, |text| word(text, USER_BYTES_MAX)),
            "DESTADDR" => value.claim(&mut claims.server_address, address),
            "DESTPORT" => value.claim(&mut claims.server_port, port),
            _ => None,
        };
        set.ok_or(FORM)?;
    }
    Ok(Request::Xclient(Box::new(claims)))
}

enum Value {
    Unknown,
    Is(String),
}

impl Value {
    fn parse(coded: &str) -> Option<Self> {
        // The two differ in whether a look-up may be tried again; nobody looks anything up here.
        let is_unknown = ["[UNAVAILABLE]", "[TEMPUNAVAIL]"].iter().any(|word| coded.eq_ignore_ascii_case(word));
        if is_unknown { Some(Self::Unknown) } else { from_xtext(coded).map(Self::Is) }
    }

    fn claim<T>(self, claim: &mut Claim<T>, read: impl Fn(&str) -> Option<T>) -> Option<()> {
        if claim.is_said() {
            return None;
        }
        *claim = match self {
            Self::Unknown => Claim::Unknown,
            Self::Is(text) => Claim::Is(read(&text)?),
        };
        Some(())
    }
}

// RFC 3461 §4: "+" and two digits of upper case stand for an octet.
pub(super) fn from_xtext(coded: &str) -> Option<String> {
    let mut parts = coded.split('+');
    let mut octets = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at_checked(2)?;
        let is_hex = digits.bytes().all(|octet| octet.is_ascii_digit() || (b'A'..=b'F').contains(&octet));
        octets.push(u8::from_str_radix(digits, 16).ok().filter(|_| is_hex)?);
        octets.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(octets).ok()
}

fn host_name(text: &str) -> Option<String> {
    check_domain(text).ok().map(|()| text.to_owned())
}

fn address(text: &str) -> Option<IpAddr> {
    match text.get(..5) {
        Some(prefix) if prefix.eq_ignore_ascii_case("IPV6:") => {
            text.get(5..)?.parse::<Ipv6Addr>().ok().map(|address| IpAddr::V6(address).to_canonical())
        }
        Some(_) | None => text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
    }
}

fn port(text: &str) -> Option<u16> {
    text.parse().ok().filter(|_| text.bytes().all(|octet| octet.is_ascii_digit()))
}

fn protocol(text: &str) -> Option<bool> {
    let is = |name: &str| text.eq_ignore_ascii_case(name);
    if is("ESMTP") { Some(true) } else { is("SMTP").then_some(false) }
}

fn word(text: &str, bytes_max: usize) -> Option<String> {
    let is_word = (1..=bytes_max).contains(&text.len()) && !text.contains(|it: char| it.is_control() || it == ' ');
    is_word.then(|| text.to_owned())
}

impl Live {
    /// The line of EHLO, for those who may.
    pub(super) fn xclient_keyword(&self) -> Option<String> {
        self.may_say_xclient().then(|| KEYWORD.to_owned())
    }

    /// Checks who says it, and when.
    pub(super) fn intend_xclient(&self, claims: Box<Claims>) -> Result<Intent, OutOfSequence> {
        if !self.may_say_xclient() {
            let reply = if self.policy.xclient_from.is_empty() {
                Reply::with(502, 5, 1, "XCLIENT is not offered")
            } else {
                Reply::with(550, 7, 1, "XCLIENT is not for you")
            };
            return Ok(refused(reply, Tally::Fault));
        }
        if self.transaction.is_some() {
            return Err(OutOfSequence::fault("a transaction is open; RSET ends it"));
        }
        let reply = Reply::new(220, None, self.policy.host_name.clone());
        Ok(Intent::of(Action::Xclient(claims), reply, Tally::Work))
    }

    /// Takes over what the proxy says and begins anew.
    pub(super) fn take_xclient(mut self: Box<Self>, claims: Claims, now: Timestamp, outbox: &mut Outbox) -> Step {
        outbox.flush_now = true;
        // `on-connect` is raised again, about another client.
        self.bag_at_connect = Arc::default();
        self.forget_dialogue();
        (self.idle, self.auth_failures, self.apart) = (0, 0, None);
        let facts = self.facts_mut();
        // Counts are of a client, and this is another one.
        (facts.errors, facts.messages) = (0, 0);
        let unspecified = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        // Name and port belong to the address that they were said with.
        let is_other = claims.address.is_said();
        let before = facts.vouched.client_name.take().filter(|_| !is_other);
        facts.vouched.client_name = claims.name.optional(before);
        let port = if is_other { 0 } else { facts.client.port() };
        let address = claims.address.over(facts.client.ip(), unspecified);
        facts.client = SocketAddr::new(address, claims.port.over(port, 0));
        let address = claims.server_address.over(facts.server.ip(), unspecified);
        facts.server = SocketAddr::new(address, claims.server_port.over(facts.server.port(), 0));
        facts.helo = claims.helo.optional(None);
        facts.is_esmtp = facts.helo.is_some() && claims.is_esmtp.over(false, false);
        facts.vouched.auth = claims.login.optional(None).map(|user| Auth { user, mechanism: "XCLIENT".to_owned() });
        self.open(now, outbox)
    }

    fn may_say_xclient(&self) -> bool {
        self.policy.xclient_from.iter().any(|network| network.has(self.peer))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn claims(argument: &str) -> Option<Claims> {
        let Ok(Request::Xclient(claims)) = parse(argument.as_bytes()) else { return None };
        Some(*claims)
    }

    #[test]
    fn attributes_are_read() {
        let read = claims("NAME=spike.example addr=168.100.189.2 PORT=1 proto=ESMTP HELO=a+2Bb LOGIN=[UNAVAILABLE]");
        let expected = Claims {
            name: Claim::Is("spike.example".into()),
            address: Claim::Is(IpAddr::from([168, 100, 189, 2])),
            port: Claim::Is(1),
            is_esmtp: Claim::Is(true),
            helo: Claim::Is("a+b".into()),
            login: Claim::Unknown,
            ..Claims::default()
        };
        assert_eq!(read, Some(expected));
        let read = claims("NAME=[TEMPUNAVAIL] ADDR=IPV6:2001:db8::1 DESTADDR=ipv6:::ffff:192.0.2.1").expect("read");
        assert_eq!(read.address, Claim::Is("2001:db8::1".parse().expect("an address")));
        assert_eq!(read.server_address, Claim::Is("192.0.2.1".parse().expect("an address")));
    }

    #[test]
    fn nothing_is_guessed() {
        for bad in [
            "",
            "ADDR",
            "ADDR=",
            "ADDR=::1",
            "ADDR=IPV6:192.0.2.1",
            "ADDR=host.example",
            "PORT=+1",
            "PORT=65536",
            "PROTO=LMTP",
            "NAME=a b",
            "NAME=a+20b",
            "HELO=a+0Db",
            "HELO=a+0db",
            "LOGIN=a+0",
            "LOGIN=",
            "LOGIN=a+FF",
            "ADDR=192.0.2.1 ADDR=192.0.2.2",
            "X=1",
            "ADDR=192.0.2.1  PORT=1",
            "PORT=1 ",
        ] {
            assert_eq!(claims(bad), None, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn no_argument_upsets_the_reader(argument in "(NAME|ADDR|PORT|HELO|LOGIN|PROTO)?[=+ 0-9A-F:.\\[\\]é]{0,30}") {
            let _read = claims(&argument);
        }
    }
}
