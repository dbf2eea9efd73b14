//! What the words of a client's transcript stand for.

use std::sync::Arc;

use basin_core::addr::Address;
use basin_core::mail::{Arrival, Body, Envelope, HeaderBlock, Message, MessageId, Origin, RecipientId};
use basin_core::smtp::client::{Chunking, ClientPolicy, Credentials, Mechanism, Outgoing};
use basin_core::time::Timestamp;
use basin_core::transport::{Protocol, TlsDemand};
use bytes::Bytes;

/// Sets a key of the policy.
pub(crate) fn policy(policy: &mut ClientPolicy, text: &str) -> Option<()> {
    let (key, value) = text.split_once(' ')?;
    match (key, value) {
        ("protocol", "lmtp") => policy.protocol = Protocol::Lmtp,
        ("tls", "never") => policy.tls = TlsDemand::Never,
        ("tls", "required") => policy.tls = TlsDemand::Required,
        ("tls", "verified") => policy.tls = TlsDemand::Verified,
        ("chunking", "never") => policy.chunking = Chunking::Never,
        ("chunking", "preferred") => policy.chunking = Chunking::Preferred,
        ("chunk-bytes", number) => policy.chunk_bytes = number.parse().ok()?,
        ("chunks-in-flight", number) => policy.chunks_in_flight = number.parse().ok()?,
        ("login" | "login-in-plain", mechanisms) => {
            let mechanism = |name: &str| {
                [Mechanism::Plain, Mechanism::Login, Mechanism::XOAuth2].into_iter().find(|it| it.name() == name)
            };
            policy.credentials = Some(Credentials {
                user: "user".into(),
                secret: "pass".into(),
                mechanisms: mechanisms.split(' ').map(mechanism).collect::<Option<_>>()?,
                may_go_unencrypted: key == "login-in-plain",
            });
        }
        _ => return None,
    }
    Some(())
}

/// A message that `M:` lines describe.
#[derive(Default)]
pub(crate) struct Draft {
    header: Vec<u8>,
    body: Vec<u8>,
    parameters: Vec<(String, String)>,
    wishes: Vec<(RecipientId, String, String)>,
    priority: i32,
}

impl Draft {
    /// Takes an `M:` line.
    pub(crate) fn add(&mut self, text: &str) -> Option<()> {
        let (key, value) = text.split_once(' ').unwrap_or((text, ""));
        match key {
            "header" => self.header.extend(octets(value)?),
            "body" => self.body.extend(octets(value)?),
            "parameter" => {
                let (name, value) = value.split_once('=').unwrap_or((value, ""));
                self.parameters.push((name.to_owned(), value.to_owned()));
            }
            "priority" => self.priority = value.parse().ok()?,
            // The recipient's number, NOTIFY, ORCPT.
            "wish" => {
                let mut words = value.split(' ');
                let id = words.next()?.parse().ok()?;
                self.wishes.push((id, words.next()?.to_owned(), words.next().unwrap_or_default().to_owned()));
            }
            _ => return None,
        }
        Some(())
    }

    /// Makes the message of a `T:` line: `sender > recipient...`.
    pub(crate) fn send(self, text: &str) -> Option<Outgoing> {
        let (sender, recipients) = text.split_once('>')?;
        let sender = match sender.trim() {
            "" => None,
            sender => Some(Address::parse_utf8(sender).ok()?),
        };
        let mut envelope = Envelope::new(sender);
        for recipient in recipients.split_whitespace() {
            envelope.add(Address::parse_utf8(recipient).ok()?, recipient.to_owned())?;
        }
        envelope.parameters.extend(self.parameters);
        for (id, notify, original) in self.wishes {
            let recipient = envelope.recipient_mut(id)?;
            recipient.notify = notify.split(',').filter(|word| *word != "-").map(str::to_owned).collect();
            recipient.original = original;
        }
        let arrival = Arrival {
            origin: Origin::Smtp,
            at: Timestamp::from_seconds(1_699_999_970),
            listener: String::new(),
            client: None,
            server: None,
            helo: None,
            is_esmtp: true,
            session: None,
            depth: 0,
            vouched: Default::default(),
        };
        let mut message = Message::new(MessageId::parse("m1")?, arrival, envelope);
        message.header = Arc::new(HeaderBlock::parse(&Bytes::from(self.header)).ok()?);
        message.body = Body::from_bytes(self.body);
        message.priority = self.priority;
        let ids: Vec<_> = message.envelope.recipients.iter().map(|recipient| recipient.id).collect();
        Some(Outgoing::of(&message, &ids))
    }
}

/// What a line puts on the wire, CR LF included.
pub(crate) fn octets(text: &str) -> Option<Vec<u8>> {
    let (mut out, mut rest) = (Vec::new(), text.as_bytes());
    while let Some((&octet, after)) = rest.split_first() {
        rest = after;
        if octet != b'\\' {
            out.push(octet);
            continue;
        }
        let (&escape, after) = rest.split_first()?;
        rest = after;
        match escape {
            b'r' => out.push(b'\r'),
            b'n' => out.push(b'\n'),
            b'0' => out.push(0),
            b'x' => {
                let (digits, after) = rest.split_at_checked(2)?;
                out.push(u8::from_str_radix(core::str::from_utf8(digits).ok()?, 16).ok()?);
                rest = after;
            }
            b'*' => {
                let (times, last) = (core::str::from_utf8(rest).ok()?.parse::<usize>().ok()?, *out.last()?);
                out.extend(core::iter::repeat_n(last, times.checked_sub(1)?));
                rest = &[];
            }
            b'$' => return rest.is_empty().then_some(out),
            _ => return None,
        }
    }
    out.extend_from_slice(b"\r\n");
    Some(out)
}

/// Whether a text fits a pattern in which `*` stands for anything.
pub(crate) fn fits(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}
