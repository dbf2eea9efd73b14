//! `message`: the MailMsg. Each function checks, asks the file of its subject, and hands over.

use core::ops::RangeInclusive;
use core::time::Duration;
use std::sync::Arc;

use basin_core::event::Grant;
use basin_core::mail::{Field, Scope, Supersedes};
use wasmtime::component::Resource;

use super::content::{body_chunk, check_supersede_key, chunk_of, expiry, place};
use super::inbound::{check_parameter, parameter_keyword};
use super::part::CHUNK_BYTES_MAX;
use super::recipient::{bag_error, parse_address};
use super::signature::Protection;
use super::{BodyWriter, ErrorValue, MailMsg, Part, Recipient, Refused, invalid};
use crate::bindings::basin::sink::message::{HostMailMsg, Position};
use crate::bindings::basin::sink::types::{Datetime, Endpoint, Header};
use crate::convert;
use crate::state::State;

/// Priorities of RFC 6710.
const PRIORITIES: RangeInclusive<i32> = -9..=9;

/// Most parameters of MAIL on one message.
const PARAMETERS_MAX: usize = 32;

/// Longest time that a sink can keep a message back.
const DELIVER_AFTER_MAX: Duration = Duration::from_secs(30 * 24 * 3_600);

impl HostMailMsg for State {
    fn id(&mut self, msg: Resource<MailMsg>) -> wasmtime::Result<String> {
        self.about(&msg)?;
        let id = self.message()?.id.to_string();
        self.give(id)
    }

    fn origin(&mut self, msg: Resource<MailMsg>) -> wasmtime::Result<String> {
        self.about(&msg)?;
        let origin = self.message()?.arrival.origin.to_string();
        self.give(origin)
    }

    fn listener(&mut self, msg: Resource<MailMsg>) -> wasmtime::Result<String> {
        self.about(&msg)?;
        let listener = self.message()?.arrival.listener.clone();
        self.give(listener)
    }

    fn arrived(&mut self, msg: Resource<MailMsg>) -> wasmtime::Result<Datetime> {
        self.about(&msg)?;
        Ok(convert::datetime(self.message()?.arrival.at))
    }

    // No trace of other servers of the organisation is trusted yet.
    fn first_arrived(&mut self, msg: Resource<MailMsg>) -> wasmtime::Result<Option<Datetime>> {
        self.about(&msg)?;
        Ok(None)
    }

    fn message_class(&mut self, msg: Resource<MailMsg>) -> wasmtime::Result<String> {
        self.about(&msg)?;
        // What the header says of it is the header's: without the grant the origin alone tells.
        let class = if self.has(Grant::ReadHeaders) {
            let header = self.message()?.header.len();
            self.tariff.scanned(header as u64);
            self.message()?.class()
        } else {
            self.message()?.class_by_origin()
        };
        let class = class.to_string();
        self.give(class)
    }

    fn priority(&mut self, msg: Resource<MailMsg>) -> wasmtime::Result<i32> {
        self.about(&msg)?;
        Ok(self.message()?.priority)
    }

    fn set_priority(&mut self, msg: Resource<MailMsg>, priority: i32) -> Result<(), Refused> {
        self.about(&msg)?;
        self.edit_envelope()?;
        if !PRIORITIES.contains(&priority) {
            return Err(invalid("a priority is -9 to 9 (RFC 6710)"));
        }
        self.message_mut()?.priority = priority;
        Ok(())
    }

    fn client(&mut self, msg: Resource<MailMsg>) -> wasmtime::Result<Option<Endpoint>> {
        self.about(&msg)?;
        Ok(self.message()?.arrival.client.map(convert::endpoint))
    }

    fn server(&mut self, msg: Resource<MailMsg>) -> wasmtime::Result<Option<Endpoint>> {
        self.about(&msg)?;
        Ok(self.message()?.arrival.server.map(convert::endpoint))
    }

    fn helo_domain(&mut self, msg: Resource<MailMsg>) -> wasmtime::Result<Option<String>> {
        self.about(&msg)?;
        let helo = self.message()?.arrival.helo.clone();
        self.give(helo)
    }

    fn auth_user(&mut self, msg: Resource<MailMsg>) -> wasmtime::Result<Option<String>> {
        self.about(&msg)?;
        let user = self.message()?.arrival.vouched.auth.as_ref().map(|auth| auth.user.clone());
        self.give(user)
    }

    fn auth_mechanism(&mut self, msg: Resource<MailMsg>) -> wasmtime::Result<Option<String>> {
        self.about(&msg)?;
        let mechanism = self.message()?.arrival.vouched.auth.as_ref().map(|auth| auth.mechanism.clone());
        self.give(mechanism)
    }

    fn tls_version(&mut self, msg: Resource<MailMsg>) -> wasmtime::Result<Option<String>> {
        self.about(&msg)?;
        let version = self.message()?.arrival.vouched.tls.as_ref().map(|tls| tls.version.clone());
        self.give(version)
    }

    fn tls_cipher(&mut self, msg: Resource<MailMsg>) -> wasmtime::Result<Option<String>> {
        self.about(&msg)?;
        let cipher = self.message()?.arrival.vouched.tls.as_ref().map(|tls| tls.cipher.clone());
        self.give(cipher)
    }

    fn pickup_file(&mut self, msg: Resource<MailMsg>) -> wasmtime::Result<Option<String>> {
        self.about(&msg)?;
        let file = self.message()?.arrival.vouched.pickup_file.clone();
        self.give(file)
    }

    fn sender(&mut self, msg: Resource<MailMsg>) -> wasmtime::Result<String> {
        self.about(&msg)?;
        self.read(Grant::ReadEnvelope, "the sender")?;
        let sender = self.message()?.envelope.sender.as_ref().map(ToString::to_string).unwrap_or_default();
        self.give(sender)
    }

    fn set_sender(&mut self, msg: Resource<MailMsg>, address: String) -> Result<(), Refused> {
        self.about(&msg)?;
        self.taken(&address);
        self.edit_envelope()?;
        let sender = if address.is_empty() { None } else { Some(parse_address(self.message()?, &address)?) };
        Arc::make_mut(&mut self.message_mut()?.envelope).sender = sender;
        Ok(())
    }

    fn recipient_count(&mut self, msg: Resource<MailMsg>) -> wasmtime::Result<u32> {
        self.about(&msg)?;
        Ok(u32::try_from(self.listed()?.len()).unwrap_or(u32::MAX))
    }

    fn recipient(&mut self, msg: Resource<MailMsg>, index: u32) -> wasmtime::Result<Option<Resource<Recipient>>> {
        self.about(&msg)?;
        let found = self.listed()?.get(place(index)).copied();
        let found = found.map(|id| self.recipient_handle(id)).transpose()?;
        self.give(found)
    }

    fn recipients(&mut self, msg: Resource<MailMsg>) -> wasmtime::Result<Vec<Resource<Recipient>>> {
        self.about(&msg)?;
        let all = self.listed()?;
        let all = all.into_iter().map(|id| self.recipient_handle(id)).collect::<Result<Vec<_>, _>>()?;
        self.give(all)
    }

    fn matched_recipients(&mut self, msg: Resource<MailMsg>) -> wasmtime::Result<Vec<Resource<Recipient>>> {
        self.about(&msg)?;
        let matched = self.overlay.matched.clone().filter(|_| !self.is_about_subject());
        let some = self.listed()?.into_iter().filter(|id| matched.as_ref().is_none_or(|matched| matched.contains(id)));
        let some = some.collect::<Vec<_>>();
        let some = some.into_iter().map(|id| self.recipient_handle(id)).collect::<Result<Vec<_>, _>>()?;
        self.give(some)
    }

    fn recipient_addresses(&mut self, msg: Resource<MailMsg>) -> wasmtime::Result<Vec<String>> {
        self.about(&msg)?;
        let listed = self.listed()?;
        let all = self.message()?.envelope.recipients.iter().filter(|recipient| listed.contains(&recipient.id));
        let all: Vec<_> = all.map(|recipient| recipient.address.to_string()).collect();
        self.give(all)
    }

    fn add_recipient(&mut self, msg: Resource<MailMsg>, address: String) -> Result<Resource<Recipient>, Refused> {
        self.about(&msg)?;
        self.taken(&address);
        self.add_addressee(&address)
    }

    fn parameter(&mut self, msg: Resource<MailMsg>, keyword: String) -> wasmtime::Result<Option<String>> {
        self.about(&msg)?;
        self.taken(&keyword);
        self.read(Grant::ReadEnvelope, "the parameters")?;
        let value = self.message()?.envelope.parameters.get(&keyword.to_ascii_uppercase()).cloned();
        self.give(value)
    }

    fn set_parameter(&mut self, msg: Resource<MailMsg>, keyword: String, value: Option<String>) -> Result<(), Refused> {
        self.about(&msg)?;
        self.taken(&keyword);
        self.taken(&value);
        self.edit_envelope()?;
        let keyword = parameter_keyword(&keyword)?;
        if matches!(keyword.as_str(), "SIZE" | "BODY" | "SMTPUTF8") {
            return Err(invalid("SIZE, BODY and SMTPUTF8 state facts"));
        }
        value.as_deref().map_or(Ok(()), check_parameter)?;
        let parameters = &mut Arc::make_mut(&mut self.message_mut()?.envelope).parameters;
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
        self.about(&msg)?;
        self.read(Grant::ReadEnvelope, "the parameters")?;
        let body = self.message()?.envelope.parameters.get("BODY").map(|body| body.to_ascii_lowercase());
        self.give(body.unwrap_or_else(|| "7bit".to_owned()))
    }

    fn is_smtputf8(&mut self, msg: Resource<MailMsg>) -> wasmtime::Result<bool> {
        self.about(&msg)?;
        self.read(Grant::ReadEnvelope, "the parameters")?;
        Ok(self.message()?.envelope.parameters.contains_key("SMTPUTF8"))
    }

    fn header(&mut self, msg: Resource<MailMsg>, name: String) -> wasmtime::Result<Option<String>> {
        self.about(&msg)?;
        self.taken(&name);
        self.read(Grant::ReadHeaders, "the header")?;
        let value = self.message()?.header.first(&name).map(Field::value);
        self.give(value)
    }

    fn headers_named(&mut self, msg: Resource<MailMsg>, name: String) -> wasmtime::Result<Vec<String>> {
        self.about(&msg)?;
        self.taken(&name);
        self.read(Grant::ReadHeaders, "the header")?;
        let values: Vec<_> = self.message()?.header.all(&name).map(Field::value).collect();
        self.give(values)
    }

    fn headers(&mut self, msg: Resource<MailMsg>) -> wasmtime::Result<Vec<Header>> {
        self.about(&msg)?;
        self.read(Grant::ReadHeaders, "the header")?;
        let fields = self.message()?.header.fields().iter();
        let all: Vec<_> = fields.map(|field| Header { name: field.name(), value: field.value() }).collect();
        self.give(all)
    }

    fn addresses(&mut self, msg: Resource<MailMsg>, name: String) -> wasmtime::Result<Vec<String>> {
        self.about(&msg)?;
        self.taken(&name);
        let found = self.addresses_of(&name)?;
        self.give(found)
    }

    fn raw_header(&mut self, msg: Resource<MailMsg>) -> wasmtime::Result<Vec<u8>> {
        self.about(&msg)?;
        self.read(Grant::ReadHeaders, "the header")?;
        let octets = self.message()?.header.to_bytes();
        self.give(octets)
    }

    fn add_header(&mut self, msg: Resource<MailMsg>, name: String, value: String, at: Position) -> Result<(), Refused> {
        self.about(&msg)?;
        self.taken(&name);
        self.taken(&value);
        let index = match at {
            Position::First => 0,
            Position::Last => self.message()?.header.fields().len(),
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
        self.about(&msg)?;
        self.taken(&name);
        self.taken(&value);
        self.insert_field(place(index), &name, &value)
    }

    fn set_header(&mut self, msg: Resource<MailMsg>, name: String, value: String) -> Result<(), Refused> {
        self.about(&msg)?;
        self.taken(&name);
        self.taken(&value);
        self.set_field(&name, &value)
    }

    fn edit_header_at(&mut self, msg: Resource<MailMsg>, index: u32, value: String) -> Result<(), Refused> {
        self.about(&msg)?;
        self.taken(&value);
        self.edit_field(place(index), &value)
    }

    fn remove_header_at(&mut self, msg: Resource<MailMsg>, index: u32) -> Result<(), Refused> {
        self.about(&msg)?;
        self.remove_field(place(index))
    }

    fn remove_header(&mut self, msg: Resource<MailMsg>, name: String) -> Result<u32, Refused> {
        self.about(&msg)?;
        self.taken(&name);
        self.remove_fields(&name)
    }

    fn replace_header_block(&mut self, msg: Resource<MailMsg>, octets: Vec<u8>) -> Result<(), Refused> {
        self.about(&msg)?;
        self.taken(&octets);
        self.replace_block(octets)
    }

    fn size(&mut self, msg: Resource<MailMsg>) -> wasmtime::Result<u64> {
        self.about(&msg)?;
        self.read_any("the size of the message")?;
        // At on-max-msg-size what counts is what the client announced, or has sent so far.
        let announced = self.overlay.size.map(|size| size.octets);
        Ok(announced.unwrap_or(self.message()?.size()))
    }

    fn body_size(&mut self, msg: Resource<MailMsg>) -> wasmtime::Result<u64> {
        self.about(&msg)?;
        self.read_any("the size of the body")?;
        Ok(self.message()?.body.len())
    }

    fn read(&mut self, msg: Resource<MailMsg>, offset: u64, len: u32) -> Result<Vec<u8>, Refused> {
        self.about(&msg)?;
        self.read(Grant::ReadHeaders, "the header")?;
        self.read(Grant::ReadBody, "the body")?;
        self.content_is_here()?;
        let chunk = chunk_of(self.message()?, offset, len)?;
        Ok(self.give(chunk)?)
    }

    fn read_body(&mut self, msg: Resource<MailMsg>, offset: u64, len: u32) -> Result<Vec<u8>, Refused> {
        self.about(&msg)?;
        self.read(Grant::ReadBody, "the body")?;
        self.content_is_here()?;
        let chunk = body_chunk(self.message()?, offset, len.min(CHUNK_BYTES_MAX))?;
        Ok(self.give(chunk)?)
    }

    fn new_body(&mut self, msg: Resource<MailMsg>) -> Result<Resource<BodyWriter>, Refused> {
        self.about(&msg)?;
        self.begin_body()
    }

    fn replace_body(&mut self, msg: Resource<MailMsg>, body: Resource<BodyWriter>) -> Result<(), Refused> {
        self.about(&msg)?;
        self.put_body(&body)
    }

    fn protection(&mut self, msg: Resource<MailMsg>) -> wasmtime::Result<String> {
        self.about(&msg)?;
        self.read(Grant::ReadHeaders, "the header")?;
        let word = Protection::of(&self.message()?.header).word();
        self.give(word.to_owned())
    }

    fn subject(&mut self, msg: Resource<MailMsg>) -> wasmtime::Result<Option<String>> {
        self.about(&msg)?;
        let subject =
            self.parsed_field("Subject", |stream| stream.parse_unstructured().as_text().map(str::to_owned))?;
        self.give(subject)
    }

    fn from_address(&mut self, msg: Resource<MailMsg>) -> wasmtime::Result<Option<String>> {
        self.about(&msg)?;
        let from = self.addresses_of("From")?.into_iter().next();
        self.give(from)
    }

    fn message_id(&mut self, msg: Resource<MailMsg>) -> wasmtime::Result<Option<String>> {
        self.about(&msg)?;
        let id = self.parsed_field("Message-ID", |stream| stream.parse_id().as_text().map(str::to_owned))?;
        self.give(id)
    }

    fn date(&mut self, msg: Resource<MailMsg>) -> wasmtime::Result<Option<Datetime>> {
        self.about(&msg)?;
        let date =
            self.parsed_field("Date", |stream| stream.parse_date().as_datetime().map(|date| date.to_timestamp()))?;
        Ok(date.map(|seconds| Datetime { seconds, nanoseconds: 0 }))
    }

    fn text_body(&mut self, msg: Resource<MailMsg>) -> wasmtime::Result<Option<String>> {
        self.about(&msg)?;
        self.first_text("text/plain")
    }

    fn html_body(&mut self, msg: Resource<MailMsg>) -> wasmtime::Result<Option<String>> {
        self.about(&msg)?;
        self.first_text("text/html")
    }

    fn part_count(&mut self, msg: Resource<MailMsg>) -> wasmtime::Result<u32> {
        self.about(&msg)?;
        self.count_parts()
    }

    fn part(&mut self, msg: Resource<MailMsg>, index: u32) -> wasmtime::Result<Option<Resource<Part>>> {
        self.about(&msg)?;
        let is_there = index < self.count_parts()?;
        Ok(is_there.then(|| self.part_handle(index)).transpose()?)
    }

    fn property(&mut self, msg: Resource<MailMsg>, name: String) -> wasmtime::Result<Option<Vec<u8>>> {
        self.about(&msg)?;
        self.taken(&name);
        let value = self.message()?.properties.value(Scope(&self.sink.name), &name).map(<[u8]>::to_vec);
        self.give(value)
    }

    fn set_property(&mut self, msg: Resource<MailMsg>, name: String, value: Vec<u8>) -> Result<(), Refused> {
        self.about(&msg)?;
        self.taken(&name);
        self.taken(&value);
        self.writable()?;
        let sink = self.sink.clone();
        let bag = Arc::make_mut(&mut self.message_mut()?.properties);
        bag.set(Scope(&sink.name), &name, value).map_err(bag_error)
    }

    fn remove_property(&mut self, msg: Resource<MailMsg>, name: String) -> Result<(), Refused> {
        self.about(&msg)?;
        self.taken(&name);
        self.writable()?;
        let sink = self.sink.clone();
        let is_removed = Arc::make_mut(&mut self.message_mut()?.properties).remove(Scope(&sink.name), &name);
        if is_removed { Ok(()) } else { Err(ErrorValue::NotFound.into()) }
    }

    fn property_names(&mut self, msg: Resource<MailMsg>) -> wasmtime::Result<Vec<String>> {
        self.about(&msg)?;
        let names = self.message()?.properties.names(Scope(&self.sink.name));
        self.give(names)
    }

    fn set_deliver_after(&mut self, msg: Resource<MailMsg>, at: Datetime) -> Result<(), Refused> {
        self.about(&msg)?;
        self.edit_envelope()?;
        let at = convert::timestamp(at).ok_or_else(|| invalid("nanoseconds are 0 to 999,999,999"))?;
        if at.since(self.occasion.now) > DELIVER_AFTER_MAX {
            return Err(invalid("a message is kept back for at most 30 days"));
        }
        self.message_mut()?.deliver_after = Some(at);
        Ok(())
    }

    fn set_expiry(&mut self, msg: Resource<MailMsg>, delay: Datetime, give_up: Datetime) -> Result<(), Refused> {
        self.about(&msg)?;
        self.edit_envelope()?;
        let expiry = expiry(self.occasion.now, delay, give_up)?;
        self.message_mut()?.expiry = Some(expiry);
        Ok(())
    }

    fn set_supersede_key(&mut self, msg: Resource<MailMsg>, key: String) -> Result<(), Refused> {
        self.about(&msg)?;
        self.taken(&key);
        self.edit_envelope()?;
        check_supersede_key(&key)?;
        let sink = self.sink.name.clone();
        self.message_mut()?.supersedes = Some(Supersedes { sink, key, family: None });
        Ok(())
    }

    fn fork(&mut self, msg: Resource<MailMsg>, recipient_ids: Vec<u32>) -> Result<Resource<MailMsg>, Refused> {
        self.about(&msg)?;
        self.tariff.copied(recipient_ids.len().saturating_mul(4));
        self.fork_off(&recipient_ids)
    }

    fn drop(&mut self, _: Resource<MailMsg>) -> wasmtime::Result<()> {
        Ok(())
    }
}
