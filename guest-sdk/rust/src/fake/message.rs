//! Messages, recipients, parts and new messages, as the bindings name them.

use super::envelope::{check_address, parameter, set_parameter};
use super::mime::PartState;
use super::world::{MessageState, RecipientState, World, world};
use crate::bindings::basin::sink::types::{Datetime, Endpoint, Error, Header, Later, Reply};
use std::cell::RefCell;

pub(crate) use crate::bindings::basin::sink::message::Position;

/// Octets that one call reads at most.
const READ_OCTETS_MAX: usize = 64 * 1024;

/// A message of the world, by its place in the list.
#[derive(Debug)]
pub(crate) struct MailMsg(pub(crate) usize);

/// A recipient of it, by its id.
#[derive(Debug)]
pub(crate) struct Recipient {
    pub(crate) message: usize,
    pub(crate) id: u32,
}

#[derive(Debug)]
pub(crate) struct Part(PartState);

#[derive(Debug)]
pub(crate) struct BodyWriter(RefCell<Vec<u8>>);

#[derive(Debug)]
pub(crate) struct NewMessage(RefCell<MessageState>);

fn in_message<R>(world: &mut World, index: usize, act: impl FnOnce(&mut MessageState) -> R) -> R {
    act(world.messages.get_mut(index).expect("a handle is made only for a message of the world"))
}

fn chunk(octets: &[u8], offset: u64, len: u32) -> Vec<u8> {
    let start = usize::try_from(offset).unwrap_or(usize::MAX).min(octets.len());
    let end = start.saturating_add((len as usize).min(READ_OCTETS_MAX)).min(octets.len());
    octets.get(start..end).unwrap_or_default().to_vec()
}

impl MailMsg {
    fn see<R>(&self, look: impl FnOnce(&MessageState) -> R) -> R {
        world(|world| in_message(world, self.0, |message| look(message)))
    }
    fn edit<R>(&self, change: impl FnOnce(&mut MessageState) -> Result<R, Error>) -> Result<R, Error> {
        world(|world| {
            world.check_edit()?;
            in_message(world, self.0, change)
        })
    }
    /// A fact of the session, which messages of another origin do not have.
    fn of_session<R>(&self, look: impl FnOnce(&World) -> Option<R>) -> Option<R> {
        world(|world| (world.messages.get(self.0)?.origin == "smtp").then(|| look(world))?)
    }
    fn recipient_handles(&self) -> Vec<Recipient> {
        self.see(|message| message.recipients.iter().map(|r| Recipient { message: self.0, id: r.id }).collect())
    }

    pub(crate) fn id(&self) -> String {
        self.see(|message| message.id.clone())
    }
    pub(crate) fn origin(&self) -> String {
        self.see(|message| message.origin.clone())
    }
    pub(crate) fn listener(&self) -> String {
        world(|world| world.session.listener.clone())
    }
    pub(crate) fn arrived(&self) -> Datetime {
        super::session::now()
    }
    pub(crate) fn first_arrived(&self) -> Option<Datetime> {
        None
    }
    pub(crate) fn message_class(&self) -> String {
        self.see(|message| message.class.clone())
    }
    pub(crate) fn priority(&self) -> i32 {
        self.see(|message| message.priority)
    }
    pub(crate) fn set_priority(&self, priority: i32) -> Result<(), Error> {
        if !(-9..=9).contains(&priority) {
            return Err(Error::Invalid("priority outside -9 to 9".into()));
        }
        self.edit(|message| {
            message.priority = priority;
            Ok(())
        })
    }
    pub(crate) fn client(&self) -> Option<Endpoint> {
        self.of_session(|world| world.session.client.clone())
    }
    pub(crate) fn server(&self) -> Option<Endpoint> {
        self.of_session(|_| Some(super::session::local_endpoint()))
    }
    pub(crate) fn helo_domain(&self) -> Option<String> {
        self.of_session(|world| world.session.helo.clone())
    }
    pub(crate) fn auth_user(&self) -> Option<String> {
        self.of_session(|world| Some(world.session.auth.as_ref()?.0.clone()))
    }
    pub(crate) fn auth_mechanism(&self) -> Option<String> {
        self.of_session(|world| Some(world.session.auth.as_ref()?.1.clone()))
    }
    pub(crate) fn tls_version(&self) -> Option<String> {
        self.of_session(|world| world.session.tls_version.clone())
    }
    pub(crate) fn tls_cipher(&self) -> Option<String> {
        self.of_session(|world| world.session.tls_cipher.clone())
    }
    pub(crate) fn pickup_file(&self) -> Option<String> {
        (self.origin() == "pickup").then(|| "message.eml".to_owned())
    }

    pub(crate) fn sender(&self) -> String {
        self.see(|message| message.sender.clone())
    }
    pub(crate) fn set_sender(&self, address: &str) -> Result<(), Error> {
        if !address.is_empty() {
            check_address(address)?;
        }
        self.edit(|message| {
            message.sender = address.to_owned();
            Ok(())
        })
    }
    pub(crate) fn recipient_count(&self) -> u32 {
        self.see(|message| u32::try_from(message.recipients.len()).unwrap_or(u32::MAX))
    }
    pub(crate) fn recipient(&self, index: u32) -> Option<Recipient> {
        self.recipient_handles().into_iter().nth(index as usize)
    }
    pub(crate) fn recipients(&self) -> Vec<Recipient> {
        self.recipient_handles()
    }
    pub(crate) fn matched_recipients(&self) -> Vec<Recipient> {
        self.recipient_handles()
    }
    pub(crate) fn recipient_addresses(&self) -> Vec<String> {
        self.see(|message| message.recipients.iter().map(|recipient| recipient.address.clone()).collect())
    }
    pub(crate) fn add_recipient(&self, address: &str) -> Result<Recipient, Error> {
        let id = self.edit(|message| message.add_recipient(address))?;
        Ok(Recipient { message: self.0, id })
    }
    pub(crate) fn parameter(&self, keyword: &str) -> Option<String> {
        self.see(|message| parameter(&message.parameters, keyword))
    }
    pub(crate) fn set_parameter(&self, keyword: &str, value: Option<&str>) -> Result<(), Error> {
        if ["SIZE", "BODY", "SMTPUTF8"].iter().any(|fact| fact.eq_ignore_ascii_case(keyword)) {
            return Err(Error::Invalid(format!("parameter {keyword}, which states a fact")));
        }
        self.edit(|message| set_parameter(&mut message.parameters, keyword, value))
    }
    pub(crate) fn body_type(&self) -> String {
        self.parameter("BODY").unwrap_or_else(|| "7bit".to_owned()).to_ascii_lowercase()
    }
    pub(crate) fn is_smtputf8(&self) -> bool {
        self.parameter("SMTPUTF8").is_some()
    }

    pub(crate) fn header(&self, name: &str) -> Option<String> {
        self.headers_named(name).into_iter().next()
    }
    pub(crate) fn headers_named(&self, name: &str) -> Vec<String> {
        self.see(|message| message.headers_named(name))
    }
    pub(crate) fn headers(&self) -> Vec<Header> {
        self.see(MessageState::headers)
    }
    pub(crate) fn addresses(&self, name: &str) -> Vec<String> {
        self.see(|message| message.addresses(name))
    }
    pub(crate) fn raw_header(&self) -> Vec<u8> {
        self.see(MessageState::header_block)
    }
    pub(crate) fn add_header(&self, name: &str, value: &str, at: Position) -> Result<(), Error> {
        self.edit(|message| {
            let index = if at == Position::First { 0 } else { message.fields.len() };
            message.insert_field(index, name, value)
        })
    }
    pub(crate) fn insert_header(&self, index: u32, name: &str, value: &str) -> Result<(), Error> {
        self.edit(|message| message.insert_field(index as usize, name, value))
    }
    pub(crate) fn set_header(&self, name: &str, value: &str) -> Result<(), Error> {
        self.edit(|message| message.set_field(name, value))
    }
    pub(crate) fn edit_header_at(&self, index: u32, value: &str) -> Result<(), Error> {
        self.edit(|message| message.edit_field(index as usize, value))
    }
    pub(crate) fn remove_header_at(&self, index: u32) -> Result<(), Error> {
        self.edit(|message| {
            if index as usize >= message.fields.len() {
                return Err(Error::NotFound);
            }
            message.fields.remove(index as usize);
            Ok(())
        })
    }
    pub(crate) fn remove_header(&self, name: &str) -> Result<u32, Error> {
        self.edit(|message| {
            let keep: Vec<bool> = message.headers().iter().map(|header| !header.is(name)).collect();
            let mut keep_it = keep.iter().copied();
            message.fields.retain(|_| keep_it.next().unwrap_or(true));
            Ok(u32::try_from(keep.iter().filter(|&&kept| !kept).count()).unwrap_or(u32::MAX))
        })
    }
    pub(crate) fn replace_header_block(&self, octets: &[u8]) -> Result<(), Error> {
        self.edit(|message| {
            let mut parsed = MessageState::default();
            parsed.set_content(octets);
            if !parsed.body.is_empty() || parsed.headers().iter().any(|header| header.name.is_empty()) {
                return Err(Error::Invalid("header block".into()));
            }
            message.fields = parsed.fields;
            Ok(())
        })
    }

    pub(crate) fn size(&self) -> u64 {
        self.see(|message| message.content().len() as u64)
    }
    pub(crate) fn body_size(&self) -> u64 {
        self.see(|message| message.body.len() as u64)
    }
    pub(crate) fn read(&self, offset: u64, len: u32) -> Result<Vec<u8>, Error> {
        Ok(self.see(|message| chunk(&message.content(), offset, len)))
    }
    pub(crate) fn read_body(&self, offset: u64, len: u32) -> Result<Vec<u8>, Error> {
        Ok(self.see(|message| chunk(&message.body, offset, len)))
    }
    pub(crate) fn new_body(&self) -> Result<BodyWriter, Error> {
        world(|world| world.check_body_edit())?;
        Ok(BodyWriter(RefCell::default()))
    }
    pub(crate) fn replace_body(&self, body: BodyWriter) -> Result<(), Error> {
        world(|world| world.check_body_edit())?;
        self.edit(|message| {
            message.body = body.0.into_inner();
            Ok(())
        })
    }
    pub(crate) fn protection(&self) -> String {
        self.see(|message| message.protection().to_owned())
    }

    pub(crate) fn subject(&self) -> Option<String> {
        self.see(MessageState::subject)
    }
    #[allow(clippy::wrong_self_convention, reason = "the name is the contract's")]
    pub(crate) fn from_address(&self) -> Option<String> {
        self.addresses("From").into_iter().next()
    }
    pub(crate) fn message_id(&self) -> Option<String> {
        self.see(MessageState::message_id)
    }
    pub(crate) fn date(&self) -> Option<Datetime> {
        self.see(MessageState::date)
    }
    pub(crate) fn text_body(&self) -> Option<String> {
        self.see(|message| message.first_text("text/plain"))
    }
    pub(crate) fn html_body(&self) -> Option<String> {
        self.see(|message| message.first_text("text/html"))
    }
    pub(crate) fn part_count(&self) -> u32 {
        self.see(|message| u32::try_from(message.parts().len()).unwrap_or(u32::MAX))
    }
    pub(crate) fn part(&self, index: u32) -> Option<Part> {
        self.see(|message| message.parts().into_iter().nth(index as usize).map(Part))
    }

    // Properties are a sink's own memory: they can be set at every question, also where the message is read-only.
    pub(crate) fn property(&self, name: &str) -> Option<Vec<u8>> {
        self.see(|message| message.properties.get(name).cloned())
    }
    pub(crate) fn set_property(&self, name: &str, value: &[u8]) -> Result<(), Error> {
        world(|world| in_message(world, self.0, |m| m.properties.insert(name.to_owned(), value.to_vec())));
        Ok(())
    }
    pub(crate) fn remove_property(&self, name: &str) -> Result<(), Error> {
        world(|world| in_message(world, self.0, |m| m.properties.remove(name))).map(drop).ok_or(Error::NotFound)
    }
    pub(crate) fn property_names(&self) -> Vec<String> {
        self.see(|message| message.properties.keys().cloned().collect())
    }

    pub(crate) fn set_deliver_after(&self, at: Datetime) -> Result<(), Error> {
        self.edit(|message| {
            message.deliver_after = Some(at);
            Ok(())
        })
    }
    pub(crate) fn set_expiry(&self, notify_delay: Datetime, give_up: Datetime) -> Result<(), Error> {
        self.edit(|message| {
            message.expiry = Some((notify_delay, give_up));
            Ok(())
        })
    }
    pub(crate) fn set_supersede_key(&self, key: &str) -> Result<(), Error> {
        self.edit(|message| {
            message.supersede_key = Some(key.to_owned());
            Ok(())
        })
    }
    pub(crate) fn fork(&self, recipient_ids: &[u32]) -> Result<MailMsg, Error> {
        let fork = self.edit(|message| {
            if recipient_ids.iter().any(|id| !message.recipients.iter().any(|recipient| recipient.id == *id)) {
                return Err(Error::NotFound);
            }
            if recipient_ids.is_empty()
                || message.recipients.iter().all(|recipient| recipient_ids.contains(&recipient.id))
            {
                return Err(Error::Invalid("a fork must take some recipients and leave some".into()));
            }
            let mut fork = message.clone();
            fork.recipients.retain(|recipient| recipient_ids.contains(&recipient.id));
            message.recipients.retain(|recipient| !recipient_ids.contains(&recipient.id));
            Ok(fork)
        })?;
        Ok(MailMsg(world(|world| {
            let ordinal = world.messages.len();
            world.messages.push(MessageState { id: format!("{}-{ordinal}", fork.id), ..fork });
            ordinal
        })))
    }
}

impl Recipient {
    fn see<R>(&self, look: impl FnOnce(&mut RecipientState) -> R) -> R {
        world(|world| {
            // A recipient that a fork took along keeps its handle.
            let forks = (self.message + 1)..world.messages.len();
            let is_here = |index: &usize| {
                world.messages.get(*index).is_some_and(|message| message.recipients.iter().any(|r| r.id == self.id))
            };
            let index = std::iter::once(self.message).chain(forks).find(is_here).unwrap_or(self.message);
            in_message(world, index, |message| {
                let found = message.recipients.iter_mut().find(|recipient| recipient.id == self.id);
                look(found.expect("this recipient was removed from the message before"))
            })
        })
    }
    fn edit(&self, change: impl FnOnce(&mut RecipientState)) -> Result<(), Error> {
        world(|world| world.check_edit())?;
        self.see(change);
        Ok(())
    }
    pub(crate) fn id(&self) -> u32 {
        self.id
    }
    pub(crate) fn address(&self) -> String {
        self.see(|recipient| recipient.address.clone())
    }
    pub(crate) fn set_address(&self, address: &str) -> Result<(), Error> {
        check_address(address)?;
        self.edit(|recipient| recipient.address = address.to_owned())
    }
    pub(crate) fn original_address(&self) -> String {
        self.see(|recipient| recipient.original.clone())
    }
    pub(crate) fn domain(&self) -> String {
        self.address().rsplit_once('@').map_or_else(String::new, |(_, domain)| domain.to_ascii_lowercase())
    }
    pub(crate) fn notify(&self) -> Vec<String> {
        self.see(|recipient| recipient.notify.clone())
    }
    pub(crate) fn set_notify(&self, notify: &[String]) -> Result<(), Error> {
        let never_alone = notify.len() == 1 || !notify.iter().any(|word| word == "NEVER");
        if !never_alone || notify.iter().any(|word| !["NEVER", "SUCCESS", "FAILURE", "DELAY"].contains(&word.as_str()))
        {
            return Err(Error::Invalid("NOTIFY".into()));
        }
        self.edit(|recipient| recipient.notify = notify.to_vec())
    }
    pub(crate) fn set_route_domain(&self, domain: &str) -> Result<(), Error> {
        self.edit(|recipient| recipient.route_domain = Some(domain.to_owned()))
    }
    pub(crate) fn remove(&self) -> Result<(), Error> {
        MailMsg(self.message).edit(|message| {
            message.recipients.retain(|recipient| recipient.id != self.id);
            Ok(())
        })
    }
    pub(crate) fn fail(&self, why: &Reply) -> Result<(), Error> {
        self.settle("failed", Some(why.clone()))
    }
    pub(crate) fn defer(&self, until: &Later) -> Result<(), Error> {
        self.settle("deferred", Some(until.reply.clone()))
    }
    pub(crate) fn hold(&self, _why: &str) -> Result<(), Error> {
        self.settle("held", None)
    }
    fn settle(&self, outcome: &str, reply: Option<Reply>) -> Result<(), Error> {
        self.edit(|recipient| {
            recipient.outcome = outcome.to_owned();
            recipient.reply = reply;
        })
    }
    pub(crate) fn outcome(&self) -> String {
        self.see(|recipient| recipient.outcome.clone())
    }
    pub(crate) fn last_reply(&self) -> Option<Reply> {
        self.see(|recipient| recipient.reply.clone())
    }
    pub(crate) fn property(&self, name: &str) -> Option<Vec<u8>> {
        self.see(|recipient| recipient.properties.get(name).cloned())
    }
    pub(crate) fn set_property(&self, name: &str, value: &[u8]) -> Result<(), Error> {
        self.see(|recipient| recipient.properties.insert(name.to_owned(), value.to_vec()));
        Ok(())
    }
}

impl Part {
    pub(crate) fn path(&self) -> String {
        self.0.path.clone()
    }
    pub(crate) fn content_type(&self) -> String {
        self.0.content_type.clone()
    }
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        self.0.header.headers_named(name).into_iter().next()
    }
    pub(crate) fn file_name(&self) -> Option<String> {
        self.0.file_name.clone()
    }
    pub(crate) fn is_attachment(&self) -> bool {
        self.0.is_attachment
    }
    pub(crate) fn size(&self) -> u64 {
        self.0.content.len() as u64
    }
    pub(crate) fn read(&self, offset: u64, len: u32) -> Result<Vec<u8>, Error> {
        Ok(chunk(&self.0.content, offset, len))
    }
    pub(crate) fn text(&self) -> Option<String> {
        self.0.text.clone()
    }
    pub(crate) fn raw_range(&self) -> (u64, u64) {
        self.0.raw_range
    }
}

impl BodyWriter {
    pub(crate) fn write(&self, octets: &[u8]) -> Result<(), Error> {
        self.0.borrow_mut().extend_from_slice(octets);
        Ok(())
    }
}

impl NewMessage {
    pub(crate) fn create(sender: &str, recipients: &[String]) -> Result<NewMessage, Error> {
        let mut message = MessageState { sender: sender.to_owned(), class: "normal".into(), ..MessageState::default() };
        if !sender.is_empty() {
            check_address(sender)?;
        }
        for address in recipients {
            message.add_recipient(address)?;
        }
        Ok(NewMessage(RefCell::new(message)))
    }
    pub(crate) fn copy_of(original: &MailMsg, sender: &str, recipients: &[String]) -> Result<NewMessage, Error> {
        let new = Self::create(sender, recipients)?;
        original.see(|message| {
            let mut new = new.0.borrow_mut();
            new.fields = message.fields.clone();
            new.body = message.body.clone();
        });
        Ok(new)
    }
    pub(crate) fn add_header(&self, name: &str, value: &str) -> Result<(), Error> {
        let mut message = self.0.borrow_mut();
        let end = message.fields.len();
        message.insert_field(end, name, value)
    }
    pub(crate) fn write_body(&self, octets: &[u8]) -> Result<(), Error> {
        self.0.borrow_mut().body.extend_from_slice(octets);
        Ok(())
    }
}

pub(crate) fn submit(message: NewMessage) -> Result<String, Error> {
    world(|world| {
        let mut message = message.0.into_inner();
        message.id = format!("new-{}", world.submitted.len());
        message.origin = format!("sink:{}", world.call.sink);
        let id = message.id.clone();
        world.submitted.push(message);
        Ok(id)
    })
}
