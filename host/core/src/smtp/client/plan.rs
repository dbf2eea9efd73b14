//! Whether another server can take a message as it is, and the commands that say so.
//!
//! What it cannot take is refused here, for the sender to know: nothing is re-encoded, downgraded or sent without
//! its declaration. Domains of addresses are the exception: they have another form for servers without SMTPUTF8. Content is signed, and the message that arrives is the one that was accepted.

use std::io;

use crate::addr::Address;
use crate::limits::{ENVID_BYTES_MAX, ORCPT_BYTES_MAX};
use crate::mail::Late;
use crate::mail::dsn::seven_bit;
use crate::reply::Reply;
use crate::smtp::client::live::Live;
use crate::smtp::client::offered::Offered;
use crate::smtp::client::outgoing::{BodyType, Outgoing, OutgoingRecipient, Ret};
use crate::smtp::client::policy::{Chunking, TlsFacts};
use crate::time::Timestamp;

/// Lowest and highest priority (RFC 6710 §4).
const PRIORITIES: (i32, i32) = (-9, 9);

/// How a message goes to one server.
#[derive(Debug)]
pub(super) struct Plan {
    /// The MAIL command.
    pub(super) mail: String,
    /// Content goes with BDAT.
    pub(super) is_chunked: bool,
    /// Content has no lines to look at.
    pub(super) is_binary: bool,
    /// SMTPUTF8 is asked for: addresses go as they are. Elsewhere their domains go as A-labels.
    is_utf8: bool,
    /// NOTIFY and ORCPT go along.
    pub(super) is_dsn_passed: bool,
    /// The other server tells the sender all that there is to tell: it knows of RFC 3461, and of RFC 2852 where the
    /// message has a time by which it has to be there.
    pub(super) is_told_there: bool,
}

/// Plans a message, or says why the server cannot take it.
pub(super) fn plan(outgoing: &Outgoing, live: &Live, now: Timestamp) -> Result<Plan, Reply> {
    let offered = &live.offered;
    let is_proven = live.tls.as_ref().is_some_and(TlsFacts::is_verified);
    if !outgoing.is_protected_by(is_proven, offered) {
        return Err(Reply::with(550, 7, 30, "REQUIRETLS: the next server offers no proven way on"));
    }
    let size = outgoing.size();
    if let Some(size_max) = offered.size_max.filter(|size_max| size > *size_max) {
        // RFC 1870 §6.2: what it would refuse anyway.
        let text = format!("the message has {size} octets, the next server takes {size_max}");
        return Err(Reply::with(552, 3, 4, text));
    }
    let is_utf8 = needs_utf8(outgoing);
    if is_utf8 && !offered.has_smtputf8 {
        return Err(Reply::with(550, 6, 7, "the next server does not take internationalised mail (SMTPUTF8)"));
    }
    let mut addresses = outgoing.sender.iter().chain(outgoing.recipients.iter().map(|recipient| &recipient.address));
    let has_utf8_address = addresses.any(|address| !address.is_ascii());
    let is_utf8 = is_utf8 || has_utf8_address && offered.has_smtputf8;
    if outgoing.deliver_by.is_some_and(|(by, deadline)| by.late == Late::Return && deadline <= now) {
        return Err(Reply::with(550, 4, 7, "the time by which the message had to be there has passed"));
    }
    let body_type = body_type(outgoing, offered, live.policy.chunking)?;
    let is_binary = body_type == BodyType::Binary;
    Ok(Plan {
        mail: mail_line(outgoing, offered, body_type, is_utf8, now),
        is_chunked: is_binary || offered.has_chunking && live.policy.chunking == Chunking::Preferred,
        is_binary,
        is_utf8,
        is_dsn_passed: offered.has_dsn,
        is_told_there: offered.has_dsn && (offered.has_deliverby || outgoing.deliver_by.is_none()),
    })
}

/// Why the server cannot be asked for that recipient, where it takes the message for others.
pub(super) fn recipient_refusal(recipient: &OutgoingRecipient, offered: &Offered) -> Option<Reply> {
    (recipient.address.to_ascii().is_none() && !offered.has_smtputf8)
        .then(|| Reply::with(553, 6, 7, "the next server does not take internationalised addresses (SMTPUTF8)"))
}

/// The RCPT command.
pub(super) fn rcpt_line(recipient: &OutgoingRecipient, plan: &Plan) -> String {
    let mut line = format!("RCPT TO:<{}>", written(&recipient.address, plan.is_utf8));
    if plan.is_dsn_passed {
        let notify = notify(&recipient.notify);
        if !notify.is_empty() {
            line.push_str(&format!(" NOTIFY={notify}"));
        }
        // RFC 6533 §3: in the form that goes to every server, SMTPUTF8 or not.
        let original = seven_bit(&recipient.original);
        if is_orcpt(&original) {
            line.push_str(&format!(" ORCPT={original}"));
        }
    }
    line
}

fn mail_line(outgoing: &Outgoing, offered: &Offered, body_type: BodyType, is_utf8: bool, now: Timestamp) -> String {
    let mut line = match &outgoing.sender {
        Some(sender) => format!("MAIL FROM:<{}>", written(sender, is_utf8)),
        None => "MAIL FROM:<>".to_owned(),
    };
    if offered.has_size {
        line.push_str(&format!(" SIZE={}", outgoing.size()));
    }
    match body_type {
        BodyType::SevenBit => {}
        BodyType::EightBit => line.push_str(" BODY=8BITMIME"),
        BodyType::Binary => line.push_str(" BODY=BINARYMIME"),
    }
    if is_utf8 {
        line.push_str(" SMTPUTF8");
    }
    if offered.has_dsn {
        match outgoing.ret {
            Some(Ret::Full) => line.push_str(" RET=FULL"),
            Some(Ret::Headers) => line.push_str(" RET=HDRS"),
            None => {}
        }
        if let Some(envid) = outgoing.envid.as_ref().filter(|envid| envid.len() <= ENVID_BYTES_MAX && is_xtext(envid)) {
            line.push_str(&format!(" ENVID={envid}"));
        }
    }
    if outgoing.requires_tls && offered.has_requiretls {
        line.push_str(" REQUIRETLS");
    }
    if outgoing.priority != 0 && offered.has_mt_priority {
        line.push_str(&format!(" MT-PRIORITY={}", outgoing.priority.clamp(PRIORITIES.0, PRIORITIES.1)));
    }
    if let Some((by, deadline)) = outgoing.deliver_by.filter(|_| offered.has_deliverby) {
        line.push_str(&format!(" BY={}", by.at(deadline, now)));
    }
    line
}

// What the content is declared as; what it is, where that was not declared or cannot be.
fn body_type(outgoing: &Outgoing, offered: &Offered, chunking: Chunking) -> Result<BodyType, Reply> {
    let unreadable = |_: io::Error| Reply::with(451, 3, 0, "the message cannot be read here");
    match outgoing.declared {
        Some(BodyType::Binary) => {
            // RFC 3030 §3: to any other server it would have to be re-encoded.
            let is_taken = offered.has_binarymime && offered.has_chunking && chunking != Chunking::Never;
            let refusal = || Reply::with(554, 6, 3, "the next server does not take binary mail (BINARYMIME)");
            if is_taken { Ok(BodyType::Binary) } else { Err(refusal()) }
        }
        Some(BodyType::EightBit) if offered.has_8bitmime => Ok(BodyType::EightBit),
        Some(BodyType::EightBit | BodyType::SevenBit) | None => {
            // Clients send eight bits without a word; only a look at the octets tells.
            match outgoing.real_body_type().map_err(unreadable)? {
                BodyType::SevenBit => Ok(BodyType::SevenBit),
                BodyType::EightBit | BodyType::Binary if offered.has_8bitmime => Ok(BodyType::EightBit),
                BodyType::EightBit | BodyType::Binary => {
                    Err(Reply::with(554, 6, 3, "the next server takes no 8-bit mail (8BITMIME)"))
                }
            }
        }
    }
}

// RFC 6531 §3.2: a domain has a form for servers that know of no other.
fn written(address: &Address, is_utf8: bool) -> String {
    let ascii = address.to_ascii().filter(|_| !is_utf8);
    ascii.unwrap_or_else(|| address.to_string())
}

// RFC 6531 §3.2: for the sender's address, unless its domain alone is international, and for a header whose client said that it is internationalised. A
// header whose octets nobody declared is what such headers always were: eight bits that the next server gets as
// they came. To return it would punish the sender for what most servers never ask.
fn needs_utf8(outgoing: &Outgoing) -> bool {
    let has_utf8_sender = outgoing.sender.as_ref().is_some_and(|sender| sender.to_ascii().is_none());
    let is_utf8 = |octets: &[u8]| !octets.is_ascii() && core::str::from_utf8(octets).is_ok();
    has_utf8_sender || outgoing.is_smtputf8 && outgoing.header.fields().iter().any(|field| is_utf8(field.raw()))
}

// RFC 3461 §4.1: NEVER stands alone; no other words go to another server than those of the standard.
fn notify(words: &[String]) -> String {
    let has = |word: &str| words.iter().any(|there| there.eq_ignore_ascii_case(word));
    if has("NEVER") {
        return "NEVER".to_owned();
    }
    ["SUCCESS", "FAILURE", "DELAY"].into_iter().filter(|word| has(word)).collect::<Vec<_>>().join(",")
}

// RFC 3461 §4.2: `addr-type ";" xtext`.
fn is_orcpt(text: &str) -> bool {
    let is_type =
        |kind: &str| !kind.is_empty() && kind.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-');
    text.len() <= ORCPT_BYTES_MAX
        && text.split_once(';').is_some_and(|(kind, address)| is_type(kind) && !address.is_empty() && is_xtext(address))
}

// RFC 3461 §4: printable ASCII without `+` and `=`, which stand as `+HH`.
fn is_xtext(text: &str) -> bool {
    let mut octets = text.bytes();
    while let Some(octet) = octets.next() {
        let is_hex = |digit: Option<u8>| digit.is_some_and(|digit| matches!(digit, b'0'..=b'9' | b'A'..=b'F'));
        let is_fine = match octet {
            b'+' => is_hex(octets.next()) && is_hex(octets.next()),
            b'=' => false,
            _ => octet.is_ascii_graphic(),
        };
        if !is_fine {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_standard_knows_is_passed_on() {
        assert!(is_orcpt("rfc822;a+2Bb@x.example"));
        for bad in
            ["a@x.example", "rfc822;", ";a@x", "rfc822;a b", "rfc822;a+2b", "rfc822;a=b", "\"a;b\"@x", "rfc822;a\r"]
        {
            assert!(!is_orcpt(bad), "{bad:?}");
        }
        assert!(is_orcpt(&seven_bit("utf-8;j\u{f6}rg@b\u{fc}cher.example")));
        assert!(!is_orcpt(&seven_bit("j\u{f6}rg@b\u{fc}cher.example")));
        let words = |words: &[&str]| notify(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
        assert_eq!(words(&["delay", "SUCCESS", "X"]), "SUCCESS,DELAY");
        assert_eq!(words(&["NEVER", "SUCCESS"]), "NEVER");
        assert_eq!(words(&[]), "");
    }
}
