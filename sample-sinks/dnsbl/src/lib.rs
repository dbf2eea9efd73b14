//! Refuses mail of clients that lists in the DNS name (RFC 5782).
//!
//! It shows questions to the resolver, bounded in number, and work that is done once for a session: at `on-connect`
//! the lists are asked, and at RCPT, where a refusal can spare the postmaster, the answer is at hand. It stands in a
//! shared property, so that other sinks can weigh it.

use basin_sink::prelude::*;
use std::net::{IpAddr, Ipv4Addr};

mod zone;

use zone::Zone;

/// Most lists that are asked about one client; each may make it wait for its greeting.
const ZONES_MAX: usize = 8;
/// Characters of a list's own explanation that a reply repeats; a reply line has 512 octets (RFC 5321 §4.5.3.1.5).
const REASON_CHARACTERS_MAX: usize = 200;
/// Session property with the list and its reason, for this sink and others.
const LISTED: &str = "shared.dnsbl";

/// The sink.
#[derive(Debug)]
pub struct Dnsbl;

impl OnConnect for Dnsbl {
    fn on_connect(session: &Session, _call: &Call) -> Result<ConnectVerdict> {
        let zones = zones()?;
        let client = session.client().address;
        let Ok(address) = client.parse::<IpAddr>() else { return Ok(ConnectVerdict::Next) };
        for zone in &zones {
            if zone.lists(address)? {
                metrics::count("listed");
                let reason = reason(&zone.question(address));
                log::info!("{client} is listed by {}: {reason}", zone.name);
                session.set_property(LISTED, format!("{} {reason}", zone.name).trim_end())?;
                break;
            }
        }
        Ok(ConnectVerdict::Next)
    }
}

impl OnInboundCommand for Dnsbl {
    fn on_inbound_command(
        session: &Session,
        _message: Option<&mut Message>,
        command: &Command,
        _call: &Call,
    ) -> Result<CommandVerdict> {
        let Some(listed) = session.property(LISTED) else { return Ok(CommandVerdict::Next) };
        let Some(recipient) = command.path() else { return Ok(CommandVerdict::Next) };
        if command.keyword() != "RCPT" || session.auth_user().is_some() || is_postmaster(&recipient) {
            return Ok(CommandVerdict::Next);
        }
        match config::get_or("action", "refuse").as_str() {
            "refuse" => {
                metrics::count("refused");
                let client = session.client().address;
                Ok(refuse(550, "5.7.1", &format!("{client} is listed by {}", String::from_utf8_lossy(&listed))))
            }
            "tell" => Ok(CommandVerdict::Next),
            other => Err(Failure::new(format!("action is refuse or tell, not {other:?}"))),
        }
    }
}

fn zones() -> Result<Vec<Zone>> {
    let zones: Vec<Zone> =
        config::list("zones").unwrap_or_default().iter().map(|text| Zone::parse(text)).collect::<Result<_>>()?;
    if zones.is_empty() || zones.len() > ZONES_MAX {
        return Err(Failure::new(format!("zones names {} lists, 1 to {ZONES_MAX} are possible", zones.len())));
    }
    Ok(zones)
}

/// The list's own explanation (RFC 5782 §2.1), as a reply may show it: others wrote it.
fn reason(question: &str) -> String {
    let texts = dns::txt(question).unwrap_or_default();
    let text = texts.first().map_or("", String::as_str);
    let plain = |c: char| if (' '..='~').contains(&c) { c } else { '?' };
    text.chars().take(REASON_CHARACTERS_MAX).map(plain).collect()
}

/// Whoever is listed by mistake must be able to say so (RFC 5321 §4.5.1).
fn is_postmaster(recipient: &str) -> bool {
    recipient.split('@').next().is_some_and(|local| local.eq_ignore_ascii_case("postmaster"))
}

/// Whether an answer means that the address is listed at all.
fn is_listing(answer: Ipv4Addr) -> bool {
    let [first, second, third, _] = answer.octets();
    // RFC 5782 §2.3: an answer outside 127/8 is no list's; a domain was sold or a resolver invents answers. Codes in
    // 127.255.255/24 are how lists say that the question was not allowed.
    first == 127 && (second, third) != (255, 255)
}

basin_sink::export!(Dnsbl: OnConnect, OnInboundCommand);

#[cfg(test)]
mod tests;
