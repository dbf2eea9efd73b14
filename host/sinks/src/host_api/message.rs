//! `message`: the MailMsg. Each function checks, asks the file of its subject, and hands over.

use core::ops::RangeInclusive;
use core::time::Duration;
use std::sync::Arc;

use basin_core::addr::Address;
use basin_core::event::Grant;
use basin_core::mail::{Field, Message, Origin, Scope};
use wasmtime::component::Resource;

use super::inbound::{check_parameter, parameter_keyword};
use super::part::CHUNK_BYTES_MAX;
use super::recipient::bag_error;
use super::signature::Protection;
use super::{BodyWriter, ErrorValue, MailMsg, Part, Recipient, Refused, invalid};
use crate::bindings::basin::sink::message::{HostMailMsg, Position};
use crate::bindings::basin::sink::types::{Datetime, Endpoint, Header};
use crate::convert;
use crate::ended::Ended;
use crate::state::State;

/// Priorities of RFC 6710.
const PRIORITIES: RangeInclusive<i32> = -9..=9;

/// Most parameters of MAIL on one message.
const PARAMETERS_MAX: usize = 32;

/// Longest time that a sink can keep a message back.
const DELIVER_AFTER_MAX: Duration = Duration::from_secs(30 * 24 * 3_600);

impl HostMailMsg for State {
    fn id(&mut self, msg: Resource<MailMsg>) -> wasmtime::Result<String> {
        let id = self.message_of(&msg)?.id.to_string();
        self.give(id)
    }

    fn origin(&mut self, msg: Resource<MailMsg>) -> wasmtime::Result<String> {
        let origin = self.message_of(&msg)?.arrival.origin.to_string();
        self.give(origin)
    }

    fn listener(&mut self, msg: Resource<MailMsg>) -> wasmtime::Result<String> {
        let listener = self.message_of(&msg)?.arrival.listener.clone();
        self.give(listener)
    }

    fn arrived(&mut self, msg: Resource<MailMsg>) -> wasmtime::Result<Datetime> {
        Ok(convert::datetime(self.message_of(&msg)?.arrival.at))
    }

    // No trace of other servers of the organisation is trusted yet.
    fn first_arrived(&mut self, msg: Resource<MailMsg>) -> wasmtime::Result<Option<Datetime>> {
        self.live(&msg)?;
        Ok(None)
    }

    fn message_class(&mut self, msg: Resource<MailMsg>) -> wasmtime::Result<String> {
        let class = match self.message_of(&msg)?.arrival.origin {
            Origin::Notification => "failure-report",
            Origin::Smtp | Origin::Pickup | Origin::Sink(_) => "normal",
        };
        self.give(class.to_owned())
    }

    fn priority(&mut self, msg: Resource<MailMsg>) -> wasmtime::Result<i32> {
        Ok(self.message_of(&msg)?.priority)
    }

    fn set_priority(&mut self, msg: Resource<MailMsg>, priority: i32) -> Result<(), Refused> {
        self.edit_envelope()?;
        if !PRIORITIES.contains(&priority) {
            return Err(invalid("a priority is -9 to 9 (RFC 6710)"));
        }
        self.message_mut_of(&msg)?.priority = priority;
        Ok(())
    }

    fn client(&mut self, msg: Resource<MailMsg>) -> wasmtime::Result<Option<Endpoint>> {
        Ok(self.message_of(&msg)?.arrival.client.map(convert::endpoint))
    }

    fn server(&mut self, msg: Resource<MailMsg>) -> wasmtime::Result<Option<Endpoint>> {
        Ok(self.message_of(&msg)?.arrival.server.map(convert::endpoint))
    }

    fn helo_domain(&mut self, msg: Resource<MailMsg>) -> wasmtime::Result<Option<String>> {
        let helo = self.message_of(&msg)?.arrival.helo.clone();
        self.give(helo)
    }

    fn auth_user(&mut self, msg: Resource<MailMsg>) -> wasmtime::Result<Option<String>> {
        let user = self.message_of(&msg)?.arrival.vouched.auth.as_ref().map(|auth| auth.user.clone());
        self.give(user)
    }

    fn auth_mechanism(&mut self, msg: Resource<MailMsg>) -> wasmtime::Result<Option<String>> {
        let mechanism = self.message_of(&msg)?.arrival.vouched.auth.as_ref().map(|auth| auth.mechanism.clone());
        self.give(mechanism)
    }

    fn tls_version(&mut self, msg: Resource<MailMsg>) -> wasmtime::Result<Option<String>> {
        let version = self.message_of(&msg)?.arrival.vouched.tls.as_ref().map(|tls| tls.version.clone());
        self.give(version)
    }

    fn tls_cipher(&mut self, msg: Resource<MailMsg>) -> wasmtime::Result<Option<String>> {
        let cipher = self.message_of(&msg)?.arrival.vouched.tls.as_ref().map(|tls| tls.cipher.clone());
        self.give(cipher)
    }

    // The name of a file says nothing about a message that this version would keep.
    fn pickup_file(&mut self, msg: Resource<MailMsg>) -> wasmtime::Result<Option<String>> {
        self.live(&msg)?;
        Ok(None)
    }

    fn sender(&mut self, msg: Resource<MailMsg>) -> wasmtime::Result<String> {
        self.read(Grant::ReadEnvelope, "the sender")?;
        let sender = self.message_of(&msg)?.envelope.sender.as_ref().map(ToString::to_string).unwrap_or_default();
        self.give(sender)
    }

    fn set_sender(&mut self, msg: Resource<MailMsg>, address: String) -> Result<(), Refused> {
        self.taken(&address);
        self.edit_envelope()?;
        let sender = if address.is_empty() { None } else { Some(Address::parse(&address).map_err(invalid)?) };
        Arc::make_mut(&mut self.message_mut_of(&msg)?.envelope).sender = sender;
        Ok(())
    }

    fn recipient_count(&mut self, msg: Resource<MailMsg>) -> wasmtime::Result<u32> {
        self.read(Grant::ReadEnvelope, "the recipients")?;
        Ok(u32::try_from(self.message_of(&msg)?.envelope.recipients.len()).unwrap_or(u32::MAX))
    }

    fn recipient(&mut self, msg: Resource<MailMsg>, index: u32) -> wasmtime::Result<Option<Resource<Recipient>>> {
        self.read(Grant::ReadEnvelope, "the recipients")?;
        let index = usize::try_from(index).unwrap_or(usize::MAX);
        let found = self.message_of(&msg)?.envelope.recipients.get(index).map(|recipient| recipient.id);
        let found = found.map(|id| self.handle(id)).transpose()?;
        self.give(found)
    }

    fn recipients(&mut self, msg: Resource<MailMsg>) -> wasmtime::Result<Vec<Resource<Recipient>>> {
        self.read(Grant::ReadEnvelope, "the recipients")?;
        let all = self.message_of(&msg)?.envelope.recipients.iter();
        let all = all.map(|recipient| self.handle(recipient.id)).collect::<Result<Vec<_>, _>>()?;
        self.give(all)
    }

    fn matched_recipients(&mut self, msg: Resource<MailMsg>) -> wasmtime::Result<Vec<Resource<Recipient>>> {
        self.read(Grant::ReadEnvelope, "the recipients")?;
        let matched = self.overlay.matched.clone();
        let is_matched = |id: u32| matched.as_ref().is_none_or(|matched| matched.contains(&id));
        let all = self.message_of(&msg)?.envelope.recipients.iter().map(|recipient| recipient.id);
        let some = all.filter(|id| is_matched(*id)).map(|id| self.handle(id)).collect::<Result<Vec<_>, _>>()?;
        self.give(some)
    }

    fn recipient_addresses(&mut self, msg: Resource<MailMsg>) -> wasmtime::Result<Vec<String>> {
        self.read(Grant::ReadEnvelope, "the recipients")?;
        let all = self.message_of(&msg)?.envelope.recipients.iter();
        let all: Vec<_> = all.map(|recipient| recipient.address.to_string()).collect();
        self.give(all)
    }

    fn add_recipient(&mut self, msg: Resource<MailMsg>, address: String) -> Result<Resource<Recipient>, Refused> {
        self.live(&msg)?;
        self.taken(&address);
        self.add_addressee(&address)
    }

    fn parameter(&mut self, msg: Resource<MailMsg>, keyword: String) -> wasmtime::Result<Option<String>> {
        self.taken(&keyword);
        self.read(Grant::ReadEnvelope, "the parameters")?;
        let value = self.message_of(&msg)?.envelope.parameters.get(&keyword.to_ascii_uppercase()).cloned();
        self.give(value)
    }

    fn set_parameter(&mut self, msg: Resource<MailMsg>, keyword: String, value: Option<String>) -> Result<(), Refused> {
        self.taken(&keyword);
        self.taken(&value);
        self.edit_envelope()?;
        let keyword = parameter_keyword(&keyword)?;
        if matches!(keyword.as_str(), "SIZE" | "BODY" | "SMTPUTF8") {
            return Err(invalid("SIZE, BODY and SMTPUTF8 state facts"));
        }
        value.as_deref().map_or(Ok(()), check_parameter)?;
        let parameters = &mut Arc::make_mut(&mut self.message_mut_of(&msg)?.envelope).parameters;
        match value {
            Some(_) if parameters.len() >= PARAMETERS_MAX && !parameters.contains_key(&keyword) => {
                return Err(ErrorValue::Limit(format!("a message has at most {PARAMETERS_MAX} parameters")).into());
            }
            Some(value) => parameters.insert(keyword, value),
            None => parameters.remove(&keyword),
        };
        Ok(())
    }

    fn body_type(&mut self, msg: Resource<MailMsg>) -> wasmtime::Result<String> {
        self.read(Grant::ReadEnvelope, "the parameters")?;
        let body = self.message_of(&msg)?.envelope.parameters.get("BODY").map(|body| body.to_ascii_lowercase());
        self.give(body.unwrap_or_else(|| "7bit".to_owned()))
    }

    fn is_smtputf8(&mut self, msg: Resource<MailMsg>) -> wasmtime::Result<bool> {
        self.read(Grant::ReadEnvelope, "the parameters")?;
        Ok(self.message_of(&msg)?.envelope.parameters.contains_key("SMTPUTF8"))
    }

    fn header(&mut self, msg: Resource<MailMsg>, name: String) -> wasmtime::Result<Option<String>> {
        self.taken(&name);
        self.read(Grant::ReadHeaders, "the header")?;
        let value = self.message_of(&msg)?.header.first(&name).map(Field::value);
        self.give(value)
    }

    fn headers_named(&mut self, msg: Resource<MailMsg>, name: String) -> wasmtime::Result<Vec<String>> {
        self.taken(&name);
        self.read(Grant::ReadHeaders, "the header")?;
        let values: Vec<_> = self.message_of(&msg)?.header.all(&name).map(Field::value).collect();
        self.give(values)
    }

    fn headers(&mut self, msg: Resource<MailMsg>) -> wasmtime::Result<Vec<Header>> {
        self.read(Grant::ReadHeaders, "the header")?;
        let fields = self.message_of(&msg)?.header.fields().iter();
        let all: Vec<_> = fields.map(|field| Header { name: field.name(), value: field.value() }).collect();
        self.give(all)
    }

    fn addresses(&mut self, msg: Resource<MailMsg>, name: String) -> wasmtime::Result<Vec<String>> {
        self.live(&msg)?;
        self.taken(&name);
        let found = self.addresses_of(&name)?;
        self.give(found)
    }

    fn raw_header(&mut self, msg: Resource<MailMsg>) -> wasmtime::Result<Vec<u8>> {
        self.read(Grant::ReadHeaders, "the header")?;
        let octets = self.message_of(&msg)?.header.to_bytes();
        self.give(octets)
    }

    fn add_header(&mut self, msg: Resource<MailMsg>, name: String, value: String, at: Position) -> Result<(), Refused> {
        self.taken(&name);
        self.taken(&value);
        let index = match at {
            Position::First => 0,
            Position::Last => self.message_of(&msg)?.header.fields().len(),
        };
        self.insert_field(index, &name, &value)
    }

    fn insert_header(
        &mut self,
        msg: Resource<MailMsg>,
        index: u32,
        name: String,
        value: String,
    ) -> Result<(), Refused> {
        self.live(&msg)?;
        self.taken(&name);
        self.taken(&value);
        self.insert_field(place(index), &name, &value)
    }

    fn set_header(&mut self, msg: Resource<MailMsg>, name: String, value: String) -> Result<(), Refused> {
        self.live(&msg)?;
        self.taken(&name);
        self.taken(&value);
        self.set_field(&name, &value)
    }

    fn edit_header_at(&mut self, msg: Resource<MailMsg>, index: u32, value: String) -> Result<(), Refused> {
        self.live(&msg)?;
        self.taken(&value);
        self.edit_field(place(index), &value)
    }

    fn remove_header_at(&mut self, msg: Resource<MailMsg>, index: u32) -> Result<(), Refused> {
        self.live(&msg)?;
        self.remove_field(place(index))
    }

    fn remove_header(&mut self, msg: Resource<MailMsg>, name: String) -> Result<u32, Refused> {
        self.live(&msg)?;
        self.taken(&name);
        self.remove_fields(&name)
    }

    fn replace_header_block(&mut self, msg: Resource<MailMsg>, octets: Vec<u8>) -> Result<(), Refused> {
        self.live(&msg)?;
        self.taken(&octets);
        self.replace_block(octets)
    }

    fn size(&mut self, msg: Resource<MailMsg>) -> wasmtime::Result<u64> {
        self.read_any("the size of the message")?;
        // At on-max-msg-size what counts is what the client announced, or has sent so far.
        let announced = self.overlay.size.map(|size| size.octets);
        Ok(announced.unwrap_or(self.message_of(&msg)?.size()))
    }

    fn body_size(&mut self, msg: Resource<MailMsg>) -> wasmtime::Result<u64> {
        self.read_any("the size of the body")?;
        Ok(self.message_of(&msg)?.body.len())
    }

    fn read(&mut self, msg: Resource<MailMsg>, offset: u64, len: u32) -> Result<Vec<u8>, Refused> {
        self.read(Grant::ReadHeaders, "the header")?;
        self.read(Grant::ReadBody, "the body")?;
        self.content_is_here()?;
        let chunk = chunk_of(self.message_of(&msg)?, offset, len)?;
        Ok(self.give(chunk)?)
    }

    fn read_body(&mut self, msg: Resource<MailMsg>, offset: u64, len: u32) -> Result<Vec<u8>, Refused> {
        self.read(Grant::ReadBody, "the body")?;
        self.content_is_here()?;
        let chunk = body_chunk(self.message_of(&msg)?, offset, len.min(CHUNK_BYTES_MAX))?;
        Ok(self.give(chunk)?)
    }

    fn new_body(&mut self, msg: Resource<MailMsg>) -> Result<Resource<BodyWriter>, Refused> {
        self.live(&msg)?;
        self.begin_body()
    }

    fn replace_body(&mut self, msg: Resource<MailMsg>, body: Resource<BodyWriter>) -> Result<(), Refused> {
        self.live(&msg)?;
        self.put_body(&body)
    }

    fn protection(&mut self, msg: Resource<MailMsg>) -> wasmtime::Result<String> {
        self.read(Grant::ReadHeaders, "the header")?;
        let word = Protection::of(&self.message_of(&msg)?.header).word();
        self.give(word.to_owned())
    }

    fn subject(&mut self, msg: Resource<MailMsg>) -> wasmtime::Result<Option<String>> {
        self.live(&msg)?;
        let subject =
            self.parsed_field("Subject", |stream| stream.parse_unstructured().as_text().map(str::to_owned))?;
        self.give(subject)
    }

    fn from_address(&mut self, msg: Resource<MailMsg>) -> wasmtime::Result<Option<String>> {
        self.live(&msg)?;
        let from = self.addresses_of("From")?.into_iter().next();
        self.give(from)
    }

    fn message_id(&mut self, msg: Resource<MailMsg>) -> wasmtime::Result<Option<String>> {
        self.live(&msg)?;
        let id = self.parsed_field("Message-ID", |stream| stream.parse_id().as_text().map(str::to_owned))?;
        self.give(id)
    }

    fn date(&mut self, msg: Resource<MailMsg>) -> wasmtime::Result<Option<Datetime>> {
        self.live(&msg)?;
        let date =
            self.parsed_field("Date", |stream| stream.parse_date().as_datetime().map(|date| date.to_timestamp()))?;
        Ok(date.map(|seconds| Datetime { seconds, nanoseconds: 0 }))
    }

    fn text_body(&mut self, msg: Resource<MailMsg>) -> wasmtime::Result<Option<String>> {
        self.live(&msg)?;
        self.first_text("text/plain")
    }

    fn html_body(&mut self, msg: Resource<MailMsg>) -> wasmtime::Result<Option<String>> {
        self.live(&msg)?;
        self.first_text("text/html")
    }

    fn part_count(&mut self, msg: Resource<MailMsg>) -> wasmtime::Result<u32> {
        self.live(&msg)?;
        self.count_parts()
    }

    fn part(&mut self, msg: Resource<MailMsg>, index: u32) -> wasmtime::Result<Option<Resource<Part>>> {
        self.live(&msg)?;
        let is_there = index < self.count_parts()?;
        Ok(is_there.then(|| self.handle(index)).transpose()?)
    }

    fn property(&mut self, msg: Resource<MailMsg>, name: String) -> wasmtime::Result<Option<Vec<u8>>> {
        self.taken(&name);
        let value = self.message_of(&msg)?.properties.value(Scope(&self.sink.name), &name).map(<[u8]>::to_vec);
        self.give(value)
    }

    fn set_property(&mut self, msg: Resource<MailMsg>, name: String, value: Vec<u8>) -> Result<(), Refused> {
        self.taken(&name);
        self.taken(&value);
        self.writable()?;
        let sink = self.sink.clone();
        let bag = Arc::make_mut(&mut self.message_mut_of(&msg)?.properties);
        bag.set(Scope(&sink.name), &name, value).map_err(bag_error)
    }

    fn remove_property(&mut self, msg: Resource<MailMsg>, name: String) -> Result<(), Refused> {
        self.taken(&name);
        self.writable()?;
        let sink = self.sink.clone();
        let is_removed = Arc::make_mut(&mut self.message_mut_of(&msg)?.properties).remove(Scope(&sink.name), &name);
        if is_removed { Ok(()) } else { Err(ErrorValue::NotFound.into()) }
    }

    fn property_names(&mut self, msg: Resource<MailMsg>) -> wasmtime::Result<Vec<String>> {
        let names = self.message_of(&msg)?.properties.names(Scope(&self.sink.name));
        self.give(names)
    }

    fn set_deliver_after(&mut self, msg: Resource<MailMsg>, at: Datetime) -> Result<(), Refused> {
        self.edit_envelope()?;
        let at = convert::timestamp(at).ok_or_else(|| invalid("nanoseconds are 0 to 999,999,999"))?;
        if at.since(self.occasion.now) > DELIVER_AFTER_MAX {
            return Err(invalid("a message is kept back for at most 30 days"));
        }
        self.message_mut_of(&msg)?.deliver_after = Some(at);
        Ok(())
    }

    fn set_expiry(&mut self, msg: Resource<MailMsg>, _: Datetime, _: Datetime) -> Result<(), Refused> {
        self.live(&msg)?;
        self.writable()?;
        Err(self.not_given("set-expiry"))
    }

    fn set_supersede_key(&mut self, msg: Resource<MailMsg>, key: String) -> Result<(), Refused> {
        self.live(&msg)?;
        self.taken(&key);
        self.writable()?;
        Err(self.not_given("set-supersede-key"))
    }

    fn fork(&mut self, msg: Resource<MailMsg>, recipient_ids: Vec<u32>) -> Result<Resource<MailMsg>, Refused> {
        self.live(&msg)?;
        self.tariff.copied(recipient_ids.len().saturating_mul(4));
        self.writable()?;
        Err(self.not_given("fork"))
    }

    fn drop(&mut self, _: Resource<MailMsg>) -> wasmtime::Result<()> {
        Ok(())
    }
}

impl State {
    // Sizes tell little; whoever may read anything may know them.
    fn read_any(&mut self, what: &str) -> wasmtime::Result<()> {
        if self.has(Grant::ReadHeaders) || self.has(Grant::ReadBody) {
            return Ok(());
        }
        self.read(Grant::ReadEnvelope, what)
    }
}

fn place(index: u32) -> usize {
    usize::try_from(index).unwrap_or(usize::MAX)
}

fn body_chunk(message: &Message, offset: u64, len: u32) -> Result<Vec<u8>, Ended> {
    let len = usize::try_from(len).unwrap_or(usize::MAX);
    message.body.read(offset, len).map_err(|why| Ended::host(format!("cannot read the body: {why}")))
}

// A stretch of header block, separator and body as one.
fn chunk_of(message: &Message, offset: u64, len: u32) -> Result<Vec<u8>, Ended> {
    let len = len.min(CHUNK_BYTES_MAX);
    let body_at = (message.header.len() + message.separator().len()) as u64;
    if offset >= body_at {
        return body_chunk(message, offset - body_at, len);
    }
    let mut octets = message.header.to_bytes();
    octets.extend_from_slice(message.separator());
    let start = usize::try_from(offset).unwrap_or(usize::MAX).min(octets.len());
    let mut chunk = octets.split_off(start);
    chunk.truncate(usize::try_from(len).unwrap_or(usize::MAX));
    let rest = len.saturating_sub(u32::try_from(chunk.len()).unwrap_or(u32::MAX));
    if rest > 0 {
        chunk.extend(body_chunk(message, 0, rest)?);
    }
    Ok(chunk)
}
