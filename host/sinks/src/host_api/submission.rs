//! Messages that a sink makes: `new-message`, `submit`, and forks.

use basin_core::addr::Address;
use basin_core::event::{self, BirthError, EventKind, Grant};
use basin_core::limits::SINK_RECIPIENTS_ADDED_MAX;
use basin_core::mail::{Body, Field, HeaderBlock, RecipientId};
use wasmtime::component::Resource;

use super::body::Writer;
use super::header::{check_trace_name, field_error};
use super::{ErrorValue, MailMsg, NewMessage, Refused, invalid};
use crate::bindings::basin::sink::message::{Host, HostNewMessage};
use crate::ended::Ended;
use crate::state::State;

/// Messages that one call makes (`wit/message.wit`).
const NEW_MESSAGES_MAX: usize = 10;

/// Messages that one call makes on a timer, where it stands for all that came since the last one.
const NEW_MESSAGES_ON_TIMER_MAX: usize = 100;

/// The messages in the making of one call, until they are submitted or dropped.
#[derive(Debug, Default)]
pub(crate) struct Drafts(Vec<Option<Draft>>);

#[derive(Debug)]
struct Draft {
    sender: Option<Address>,
    recipients: Vec<Address>,
    header: HeaderBlock,
    /// What a copy begins with; it stays where it is until something is added.
    copied: Option<Body>,
    written: Writer,
}

impl HostNewMessage for State {
    fn create(&mut self, sender: String, recipients: Vec<String>) -> Result<Resource<NewMessage>, Refused> {
        self.taken(&sender);
        self.taken(&recipients);
        self.may_submit()?;
        self.draft(&sender, &recipients, HeaderBlock::default(), None)
    }

    fn copy_of(
        &mut self,
        original: Resource<MailMsg>,
        sender: String,
        recipients: Vec<String>,
    ) -> Result<Resource<NewMessage>, Refused> {
        self.about(&original)?;
        self.taken(&sender);
        self.taken(&recipients);
        self.may_submit()?;
        self.read(Grant::ReadHeaders, "the header")?;
        self.read(Grant::ReadBody, "the body")?;
        self.content_is_here()?;
        let (header, body) = {
            let message = self.message()?;
            (HeaderBlock::clone(&message.header), message.body.clone())
        };
        self.draft(&sender, &recipients, header, Some(body))
    }

    fn add_header(&mut self, new: Resource<NewMessage>, name: String, value: String) -> Result<(), Refused> {
        self.taken(&name);
        self.taken(&value);
        self.may_submit()?;
        let field = Field::new(&name, &value).map_err(field_error)?;
        check_trace_name(&name).map_err(|why| self.deny(why))?;
        let (_, draft) = self.draft_mut(&new)?;
        let end = draft.header.fields().len();
        draft.header.insert(end, field).map_err(field_error)
    }

    fn write_body(&mut self, new: Resource<NewMessage>, octets: Vec<u8>) -> Result<(), Refused> {
        self.taken(&octets);
        self.may_submit()?;
        let limit = self.host.message_bytes_max(None);
        let (written, draft) = self.draft_mut(&new)?;
        let copied = draft.copied.as_ref().map_or(0, Body::len);
        if (written + octets.len()) as u64 + copied > limit {
            return Err(ErrorValue::Limit(format!("the messages of a call have at most {limit} octets")).into());
        }
        if let Some(copied) = draft.copied.take() {
            let len = usize::try_from(copied.len()).unwrap_or(usize::MAX);
            let begun = copied.read(0, len).map_err(|why| Ended::host(format!("cannot read the body: {why}")))?;
            draft.written.append(&begun);
        }
        draft.written.append(&octets);
        self.tariff.scanned(copied);
        Ok(())
    }

    fn drop(&mut self, new: Resource<NewMessage>) -> wasmtime::Result<()> {
        // One of an earlier call is gone already; to let go of it is no use of it.
        if let Ok(number) = self.number(&new) {
            self.take_draft(number);
        }
        Ok(())
    }
}

impl Host for State {
    fn submit(&mut self, new: Resource<NewMessage>) -> Result<String, Refused> {
        self.may_submit()?;
        let number = self.number(&new)?;
        let draft = self.take_draft(number).ok_or(ErrorValue::NotFound)?;
        let new = event::NewMessage {
            sender: draft.sender,
            recipients: draft.recipients,
            header: draft.header,
            body: draft.copied.unwrap_or_else(|| Body::from_bytes(draft.written.finish())),
        };
        let (occasion, sink, host_name) = (self.occasion.clone(), self.sink.clone(), self.host.host_name());
        let id = self.overlay.submit(&occasion, &sink.name, &host_name, new).map_err(birth_error)?;
        Ok(self.give(id.to_string())?)
    }
}

impl State {
    /// `mail-msg.fork`.
    pub(super) fn fork_off(&mut self, ids: &[RecipientId]) -> Result<Resource<MailMsg>, Refused> {
        self.writable()?;
        if !matches!(self.event(), EventKind::OnSubmission | EventKind::OnPostCategorize) || !self.is_main() {
            return Err(ErrorValue::ReadOnly.into());
        }
        self.edit(Grant::EditEnvelope)?;
        let (occasion, sink) = (self.occasion.clone(), self.sink.clone());
        let place = self.overlay.fork(&occasion, &sink.name, ids).map_err(birth_error)?;
        Ok(self.fork_handle(place)?)
    }

    // A message goes into the queue with the record of the chain, so there has to be one: at events of a stored message,
    // and where a schedule is due.
    fn may_submit(&mut self) -> Result<(), Refused> {
        let is_written = matches!(
            self.event(),
            EventKind::OnSubmission
                | EventKind::OnPreCategorize
                | EventKind::OnCategorize
                | EventKind::OnPostCategorize
                | EventKind::OnRoute
                | EventKind::OnLocalDelivery
                | EventKind::OnNotification
                | EventKind::OnTimer
        );
        self.writable()?;
        if !is_written {
            return Err(ErrorValue::ReadOnly.into());
        }
        self.service(Grant::Submit)
    }

    fn draft(
        &mut self,
        sender: &str,
        recipients: &[String],
        header: HeaderBlock,
        copied: Option<Body>,
    ) -> Result<Resource<NewMessage>, Refused> {
        let is_timer = self.occasion.event == EventKind::OnTimer;
        let most = if is_timer { NEW_MESSAGES_ON_TIMER_MAX } else { NEW_MESSAGES_MAX };
        if self.drafts.0.len() >= most {
            return Err(ErrorValue::Limit(format!("a call makes at most {most} messages")).into());
        }
        if recipients.len() > SINK_RECIPIENTS_ADDED_MAX {
            let what = format!("a message of a sink has at most {SINK_RECIPIENTS_ADDED_MAX} recipients");
            return Err(ErrorValue::Limit(what).into());
        }
        let sender = if sender.is_empty() { None } else { Some(Address::parse_utf8(sender).map_err(invalid)?) };
        let recipients = recipients.iter().map(|text| Address::parse_utf8(text).map_err(invalid));
        let recipients = recipients.collect::<Result<Vec<_>, _>>()?;
        if recipients.is_empty() {
            return Err(invalid("a message has a recipient"));
        }
        let handle = self.handle(u32::try_from(self.drafts.0.len()).unwrap_or(u32::MAX))?;
        self.drafts.0.push(Some(Draft { sender, recipients, header, copied, written: Writer::default() }));
        Ok(handle)
    }

    // The draft, and what all drafts of the call hold in memory.
    fn draft_mut(&mut self, new: &Resource<NewMessage>) -> Result<(usize, &mut Draft), Refused> {
        let place = usize::try_from(self.number(new)?).unwrap_or(usize::MAX);
        let written = self.drafts.0.iter().flatten().map(|draft| draft.written.len()).sum();
        let draft = self.drafts.0.get_mut(place).and_then(Option::as_mut).ok_or(ErrorValue::NotFound)?;
        Ok((written, draft))
    }

    fn take_draft(&mut self, number: u32) -> Option<Draft> {
        self.drafts.0.get_mut(usize::try_from(number).ok()?)?.take()
    }
}

fn birth_error(why: BirthError) -> Refused {
    match why {
        BirthError::NotFound => ErrorValue::NotFound.into(),
        BirthError::Nobody => invalid(why),
        BirthError::ReadOnly => ErrorValue::ReadOnly.into(),
        BirthError::Limit | BirthError::Header => ErrorValue::Limit(why.to_string()).into(),
    }
}
