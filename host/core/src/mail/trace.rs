//! Trace information: the Received field (RFC 5321 §4.4).

use core::net::{IpAddr, SocketAddr};

use crate::addr::{Address, check_domain};
use crate::mail::{Arrival, Field, FieldError, HeaderBlock, MessageId};
use crate::time::Timestamp;

/// Makes the Received field of a message that came over SMTP.
///
/// What the client called itself is the client's text: it stands there as a name only where it is one, else
/// in a comment from which everything but letters, digits and `-._:` is taken out. The recipient is named
/// only where there is one, or the field would show blind copies to each other (RFC 5321 §7.2).
///
/// # Errors
/// Never for facts that a session parsed; [`FieldError`] where a host name was not checked.
pub fn received(
    arrival: &Arrival,
    host_name: &str,
    id: &MessageId,
    only_recipient: Option<&Address>,
    is_utf8: bool,
    now: Timestamp,
) -> Result<Field, FieldError> {
    let address = arrival.client.map_or_else(|| "unknown".to_owned(), literal);
    // A name that was looked up stands before the address (RFC 5321 §4.4, TCP-info).
    let name = arrival.vouched.client_name.as_deref().filter(|name| check_domain(name).is_ok());
    let client = name.map_or_else(|| address.clone(), |name| format!("{name} {address}"));
    let helo = arrival.helo.as_deref().unwrap_or_default();
    let from = if check_domain(helo).is_ok() {
        format!("{helo} ({client})")
    } else {
        // What is behind is a comment already.
        format!("{address} (helo {})", neutral(helo))
    };
    let with = protocol(arrival, is_utf8);
    let recipient = only_recipient.map(|address| format!(" for <{address}>")).unwrap_or_default();
    let date = now.to_rfc5322();
    Field::new("Received", &format!("from {from} by {host_name} with {with} id {id}{recipient}; {date}"))
}

// RFC 3848 and RFC 6531 §4.3: S for TLS, A for a login; all of them exist for ESMTP alone.
fn protocol(arrival: &Arrival, is_utf8: bool) -> String {
    if !arrival.is_esmtp {
        return "SMTP".to_owned();
    }
    let name = if is_utf8 { "UTF8SMTP" } else { "ESMTP" };
    let tls = if arrival.vouched.tls.is_some() { "S" } else { "" };
    let login = if arrival.vouched.auth.is_some() { "A" } else { "" };
    format!("{name}{tls}{login}")
}

/// How many hops a message says it has behind it (RFC 5321 §6.3).
pub fn hops(header: &HeaderBlock) -> usize {
    header.fields().iter().filter(|field| field.is("Received")).count()
}

// An address literal (RFC 5321 §4.1.3).
fn literal(client: SocketAddr) -> String {
    match client.ip().to_canonical() {
        IpAddr::V4(address) => format!("[{address}]"),
        IpAddr::V6(address) => format!("[IPv6:{address}]"),
    }
}

fn neutral(helo: &str) -> String {
    let keep =
        |character: char| if character.is_ascii_alphanumeric() || "-._:".contains(character) { character } else { '?' };
    helo.chars().map(keep).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::Origin;

    fn text(helo: &str, client: &str, recipient: Option<&str>) -> String {
        let arrival = Arrival {
            origin: Origin::Smtp,
            at: Timestamp::default(),
            listener: "mx".into(),
            client: Some(client.parse().expect("an address")),
            server: None,
            helo: Some(helo.into()),
            is_esmtp: true,
            session: None,
            depth: 0,
            vouched: Default::default(),
        };
        let recipient = recipient.map(|text| Address::parse(text).expect("valid"));
        let id = MessageId::parse("1-2").expect("an id");
        let field = received(&arrival, "basin.example", &id, recipient.as_ref(), false, Timestamp::default());
        field.expect("valid").value()
    }

    #[test]
    fn it_says_who_by_whom_how_and_when() {
        assert_eq!(
            text("client.example", "192.0.2.1:1", Some("a@basin.example")),
            "from client.example ([192.0.2.1]) by basin.example with ESMTP id 1-2 for <a@basin.example>; \
             Thu, 1 Jan 1970 00:00:00 +0000"
        );
        assert!(
            text("[IPv6:2001:db8::1]", "[2001:db8::1]:25", None)
                .starts_with("from [IPv6:2001:db8::1] ([IPv6:2001:db8::1]) by basin.example with ESMTP id 1-2; Thu")
        );
        assert!(text("c.example", "[::ffff:192.0.2.9]:25", None).starts_with("from c.example ([192.0.2.9]) by"));
    }

    #[test]
    fn a_name_that_is_none_cannot_leave_its_comment() {
        let field = text("x)by(evil;\"\\<a@b>", "192.0.2.1:1", None);
        assert!(field.starts_with("from [192.0.2.1] (helo x?by?evil????a?b?) by basin.example"), "{field}");
    }

    #[test]
    fn hops_are_counted() {
        let block = HeaderBlock::parse(&bytes::Bytes::from_static(b"Received: a\r\nX: b\r\nreceived: c\r\n"));
        assert_eq!(hops(&block.expect("small")), 2);
    }
}
