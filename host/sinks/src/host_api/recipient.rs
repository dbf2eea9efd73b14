//! Recipients of the message.

use std::sync::Arc;

use basin_core::addr::{Address, check_domain};
use basin_core::event::Grant;
use basin_core::limits::{PROPERTIES_BYTES_MAX, SINK_RECIPIENTS_ADDED_MAX};
use basin_core::mail::{self, BagError, Handover, Message, Outcome, Scope};
use basin_core::reply::Class;
use wasmtime::component::Resource;

use super::{ErrorValue, Recipient, Refused, invalid};
use crate::bindings::basin::sink::message::HostRecipient;
use crate::bindings::basin::sink::types::{Later, Reply};
use crate::ended::Ended;
use crate::state::State;
use crate::{convert, text};

/// Longest reason of `hold`, in octets.
const REASON_BYTES_MAX: usize = 512;

impl HostRecipient for State {
    fn id(&mut self, recipient: Resource<Recipient>) -> wasmtime::Result<u32> {
        Ok(self.addressee(&recipient)?.id)
    }

    fn address(&mut self, recipient: Resource<Recipient>) -> wasmtime::Result<String> {
        let address = self.addressee(&recipient)?.address.to_string();
        self.give(address)
    }

    fn set_address(&mut self, recipient: Resource<Recipient>, address: String) -> Result<(), Refused> {
        self.taken(&address);
        self.about_recipient(&recipient)?;
        self.edit_envelope()?;
        let address = parse_address(self.message()?, &address)?;
        let id = self.about_recipient(&recipient)?;
        let others = &self.message()?.envelope.recipients;
        if others.iter().any(|other| other.id != id && other.address.is_same(&address)) {
            return Err(ErrorValue::Duplicate.into());
        }
        self.addressee_mut(&recipient)?.address = address;
        Ok(())
    }

    fn original_address(&mut self, recipient: Resource<Recipient>) -> wasmtime::Result<String> {
        let original = self.addressee(&recipient)?.original.clone();
        self.give(original)
    }

    fn domain(&mut self, recipient: Resource<Recipient>) -> wasmtime::Result<String> {
        let domain = self.addressee(&recipient)?.address.domain().unwrap_or_default().to_ascii_lowercase();
        self.give(domain)
    }

    fn notify(&mut self, recipient: Resource<Recipient>) -> wasmtime::Result<Vec<String>> {
        let notify = self.addressee(&recipient)?.notify.clone();
        self.give(notify)
    }

    fn set_notify(&mut self, recipient: Resource<Recipient>, notify: Vec<String>) -> Result<(), Refused> {
        self.taken(&notify);
        self.about_recipient(&recipient)?;
        self.edit_envelope()?;
        let notify =
            notify_words(&notify).ok_or_else(|| invalid("NOTIFY is NEVER, or any of SUCCESS, FAILURE, DELAY"))?;
        self.addressee_mut(&recipient)?.notify = notify;
        Ok(())
    }

    fn set_route_domain(&mut self, recipient: Resource<Recipient>, domain: String) -> Result<(), Refused> {
        self.taken(&domain);
        self.about_recipient(&recipient)?;
        self.edit_envelope()?;
        check_domain(&domain).map_err(invalid)?;
        self.addressee_mut(&recipient)?.route_domain = Some(domain);
        Ok(())
    }

    fn remove(&mut self, recipient: Resource<Recipient>) -> Result<(), Refused> {
        let id = self.about_recipient(&recipient)?;
        self.edit_envelope()?;
        let message = self.message_number;
        let envelope = Arc::make_mut(&mut self.message_mut()?.envelope);
        let gone = envelope.recipient(id).cloned().ok_or(ErrorValue::NotFound)?;
        envelope.remove(id);
        self.removed.push((message, gone));
        Ok(())
    }

    fn fail(&mut self, recipient: Resource<Recipient>, why: Reply) -> Result<(), Refused> {
        self.taken(&why);
        self.about_recipient(&recipient)?;
        self.edit_envelope()?;
        let reply = convert::reply_from_sink(why).map_err(invalid)?;
        if reply.class() != Class::Permanent {
            return Err(invalid("a recipient fails with a 5yz reply"));
        }
        self.addressee_mut(&recipient)?.outcome = Outcome::failed(reply);
        Ok(())
    }

    fn defer(&mut self, recipient: Resource<Recipient>, until: Later) -> Result<(), Refused> {
        self.taken(&until.reply);
        self.about_recipient(&recipient)?;
        self.edit_envelope()?;
        let later = convert::later_from_sink(until).map_err(invalid)?;
        if later.reply.class() != Class::Transient {
            return Err(invalid("a recipient is deferred with a 4yz reply"));
        }
        let until = self.occasion.now.plus(later.after);
        self.addressee_mut(&recipient)?.outcome = Outcome::deferred(until, later.reply);
        Ok(())
    }

    fn hold(&mut self, recipient: Resource<Recipient>, why: String) -> Result<(), Refused> {
        self.taken(&why);
        self.about_recipient(&recipient)?;
        self.edit_envelope()?;
        let reason = text::line(&why, REASON_BYTES_MAX);
        self.addressee_mut(&recipient)?.outcome = Outcome::Held { reason };
        Ok(())
    }

    fn outcome(&mut self, recipient: Resource<Recipient>) -> wasmtime::Result<String> {
        let word = self.addressee(&recipient)?.outcome.word().to_owned();
        self.give(word)
    }

    fn last_reply(&mut self, recipient: Resource<Recipient>) -> wasmtime::Result<Option<Reply>> {
        let reply = match &self.addressee(&recipient)?.outcome {
            Outcome::Deferred { reply, .. } | Outcome::Failed { reply, .. } => Some(convert::reply_to_sink(reply)),
            Outcome::Delivered { to: Handover::Relayed { reply, .. }, .. } => Some(convert::reply_to_sink(reply)),
            Outcome::Delivered { to: Handover::Mailbox | Handover::Expanded | Handover::Sink { .. }, .. } => None,
            Outcome::Pending | Outcome::Held { .. } => None,
        };
        self.give(reply)
    }

    fn property(&mut self, recipient: Resource<Recipient>, name: String) -> wasmtime::Result<Option<Vec<u8>>> {
        self.taken(&name);
        let sink = self.sink.clone();
        let value = self.addressee(&recipient)?.properties.value(Scope(&sink.name), &name).map(<[u8]>::to_vec);
        self.give(value)
    }

    fn set_property(&mut self, recipient: Resource<Recipient>, name: String, value: Vec<u8>) -> Result<(), Refused> {
        self.taken(&name);
        self.taken(&value);
        self.about_recipient(&recipient)?;
        self.writable()?;
        self.room_for_property(&name, &value)?;
        let sink = self.sink.clone();
        self.addressee_mut(&recipient)?.properties.set(Scope(&sink.name), &name, value).map_err(bag_error)
    }

    fn drop(&mut self, _: Resource<Recipient>) -> wasmtime::Result<()> {
        Ok(())
    }
}

/// Octets of properties that one call sets at most on recipients. Each has a bag of its own, and a thousand full
/// ones would be a message that neither memory nor the spool can take.
const PROPERTY_BYTES_SET_MAX: usize = 4 * PROPERTIES_BYTES_MAX;

/// An address for a message: with other letters than ASCII only where its client can be told of them (RFC 6531 §3.2).
pub(super) fn parse_address(message: &Message, text: &str) -> Result<Address, Refused> {
    address_of(text, message.is_smtputf8())
}

/// An address that may have other letters than ASCII, or may not.
pub(super) fn address_of(text: &str, is_utf8: bool) -> Result<Address, Refused> {
    let parsed = if is_utf8 { Address::parse_utf8(text) } else { Address::parse(text) };
    parsed.map_err(invalid)
}

/// Why a property was not set, for the sink.
pub(super) fn bag_error(why: BagError) -> Refused {
    match why {
        BagError::Name => invalid(why),
        BagError::Value | BagError::Full => ErrorValue::Limit(why.to_string()).into(),
    }
}

// NOTIFY of RFC 3461 §4.1: NEVER stands alone.
fn notify_words(words: &[String]) -> Option<Vec<String>> {
    let words: Vec<String> = words.iter().take(4).map(|word| word.to_ascii_uppercase()).collect();
    let is_known = |word: &String| matches!(word.as_str(), "SUCCESS" | "FAILURE" | "DELAY");
    let is_never = words.len() == 1 && words.first().is_some_and(|word| word == "NEVER");
    (is_never || words.len() < 4 && words.iter().all(is_known)).then_some(words)
}

impl State {
    /// `mail-msg.add-recipient`.
    pub(super) fn add_addressee(&mut self, address: &str) -> Result<Resource<Recipient>, Refused> {
        self.edit_envelope()?;
        let address = parse_address(self.message()?, address)?;
        if self.quota.recipients >= SINK_RECIPIENTS_ADDED_MAX {
            return Err(ErrorValue::Limit(format!("a call adds at most {SINK_RECIPIENTS_ADDED_MAX} recipients")).into());
        }
        let original = address.to_string();
        let added = Arc::make_mut(&mut self.message_mut()?.envelope).add(address, original);
        let id = added.ok_or(ErrorValue::Duplicate)?;
        self.quota.recipients += 1;
        Ok(self.recipient_handle(id)?)
    }

    fn room_for_property(&mut self, name: &str, value: &[u8]) -> Result<(), Refused> {
        let set = self.quota.property_bytes.saturating_add(name.len() + value.len());
        if set > PROPERTY_BYTES_SET_MAX {
            let what = format!("a call sets at most {PROPERTY_BYTES_SET_MAX} octets of properties on recipients");
            return Err(ErrorValue::Limit(what).into());
        }
        self.quota.property_bytes = set;
        Ok(())
    }

    fn addressee(&mut self, recipient: &Resource<Recipient>) -> wasmtime::Result<&mail::Recipient> {
        self.read(Grant::ReadEnvelope, "a recipient")?;
        let id = self.about_recipient(recipient)?;
        // One that the sink removed still tells what it was.
        let gone = self.removed.iter().find(|(message, gone)| *message == self.message_number && gone.id == id);
        let found = self.message()?.envelope.recipient(id).or_else(|| gone.map(|(_, gone)| gone));
        found.ok_or_else(|| Ended::host("there is no such recipient").into())
    }

    fn addressee_mut(&mut self, recipient: &Resource<Recipient>) -> Result<&mut mail::Recipient, Refused> {
        let id = self.about_recipient(recipient)?;
        let envelope = Arc::make_mut(&mut self.message_mut()?.envelope);
        Ok(envelope.recipient_mut(id).ok_or(ErrorValue::NotFound)?)
    }
}
