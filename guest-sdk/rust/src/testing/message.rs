//! A message in a test.

use super::ask::raises;
use super::session::{Session, out_command, out_session, session, set_command, set_out_line, the_command};
use crate::raw::{self, MessageState, RecipientState, World, outbound, transport};
use crate::{
    CommandVerdict, DataVerdict, Datetime, Delivery, Destination, MessageVerdict, NotificationVerdict, OutVerdict,
    Recipient, Reply, Resolution, ResponseVerdict, RouteVerdict, ServerResponse, SizeVerdict, TrackRecord,
};
use std::ops::{Deref, DerefMut};

/// A message in a test, with the session that brought it.
///
/// It begins with the sender a@client.example and the recipient b@basin.example.
#[derive(Debug, Clone)]
pub struct Message {
    session: Session,
}

/// A message that a sink made and submitted.
#[derive(Debug, Clone)]
pub struct Submitted {
    message: MessageState,
}

impl Deref for Message {
    type Target = Session;
    fn deref(&self) -> &Session {
        &self.session
    }
}

impl DerefMut for Message {
    fn deref_mut(&mut self) -> &mut Session {
        &mut self.session
    }
}

/// What a test sets before an event.
impl Message {
    /// A message with this header block and body; lines may end in CR LF or LF.
    #[must_use]
    pub fn from_eml(eml: impl AsRef<[u8]>) -> Self {
        let mut message = MessageState {
            id: "message-1".into(),
            origin: "smtp".into(),
            class: "normal".into(),
            sender: "a@client.example".into(),
            ..MessageState::default()
        };
        message.set_content(eml.as_ref());
        let mut session = Session::new();
        session.world.messages.push(message);
        let mut test = Self { session };
        test.set_helo("client.example");
        test.set_recipients(&["b@basin.example"]);
        test
    }
    /// Sets the reverse path; "" is the null path.
    pub fn set_sender(&mut self, address: &str) -> &mut Self {
        self.state_mut().sender = address.to_owned();
        self
    }
    /// Sets the recipients.
    ///
    /// # Panics
    ///
    /// When one of them is no address or stands there twice.
    #[track_caller]
    pub fn set_recipients(&mut self, addresses: &[&str]) -> &mut Self {
        let message = self.state_mut();
        message.recipients.clear();
        for address in addresses {
            if let Err(error) = message.add_recipient(address) {
                panic!("the recipient {address:?} of this test: {}", crate::Error::from(error));
            }
        }
        self
    }
    /// Sets the origin: "smtp" (as it begins), "pickup", "sink:NAME" or "notification".
    pub fn set_origin(&mut self, origin: &str) -> &mut Self {
        self.state_mut().origin = origin.to_owned();
        self
    }
    /// Sets a parameter of MAIL.
    pub fn set_parameter(&mut self, keyword: &str, value: &str) -> &mut Self {
        self.state_mut().parameters.push((keyword.to_ascii_uppercase(), value.to_owned()));
        self
    }
    /// Sets a property of the message.
    pub fn set_property(&mut self, name: &str, value: impl AsRef<[u8]>) -> &mut Self {
        self.state_mut().properties.insert(name.to_owned(), value.as_ref().to_vec());
        self
    }
    /// Sets what became of a recipient, and the reply about it.
    pub fn set_outcome(&mut self, address: &str, outcome: &str, reply: Reply) -> &mut Self {
        for recipient in self.state_mut().recipients.iter_mut().filter(|recipient| recipient.address == address) {
            recipient.outcome = outcome.to_owned();
            recipient.reply = Some(reply.clone());
        }
        self
    }
}

/// What the message is after an event.
impl Message {
    fn state(&self) -> &MessageState {
        self.session.world.messages.first().expect("a test message has a message")
    }
    fn state_mut(&mut self) -> &mut MessageState {
        self.session.world.messages.first_mut().expect("a test message has a message")
    }
    fn recipient_state(&self, address: &str) -> Option<&RecipientState> {
        self.state().recipients.iter().find(|recipient| recipient.address == address)
    }

    /// The first header field of that name, unfolded.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<String> {
        self.headers(name).into_iter().next()
    }
    /// Every header field of that name.
    #[must_use]
    pub fn headers(&self, name: &str) -> Vec<String> {
        self.state().headers_named(name)
    }
    /// The header block, octet for octet.
    #[must_use]
    pub fn header_block(&self) -> Vec<u8> {
        self.state().header_block()
    }
    /// The body.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.state().body
    }
    /// The whole message.
    #[must_use]
    pub fn content(&self) -> Vec<u8> {
        self.state().content()
    }
    /// The reverse path.
    #[must_use]
    pub fn sender(&self) -> &str {
        &self.state().sender
    }
    /// The recipients.
    #[must_use]
    pub fn recipients(&self) -> Vec<&str> {
        self.state().recipients.iter().map(|recipient| recipient.address.as_str()).collect()
    }
    /// What became of a recipient: "pending", "failed", "deferred", "held".
    #[must_use]
    pub fn outcome(&self, address: &str) -> Option<&str> {
        self.recipient_state(address).map(|recipient| recipient.outcome.as_str())
    }
    /// The last reply about a recipient.
    #[must_use]
    pub fn recipient_reply(&self, address: &str) -> Option<Reply> {
        self.recipient_state(address)?.reply.clone()
    }
    /// The domain that a recipient is routed by, where a sink set one.
    #[must_use]
    pub fn route_domain(&self, address: &str) -> Option<&str> {
        self.recipient_state(address)?.route_domain.as_deref()
    }
    /// A property of the message.
    #[must_use]
    pub fn property(&self, name: &str) -> Option<&[u8]> {
        self.state().properties.get(name).map(Vec::as_slice)
    }
    /// The time before which it is not delivered, where a sink set one.
    #[must_use]
    pub fn deliver_after(&self) -> Option<Datetime> {
        self.state().deliver_after
    }
    /// The times of delay notification and of giving up, where a sink set them.
    #[must_use]
    pub fn expiry(&self) -> Option<(Datetime, Datetime)> {
        self.state().expiry
    }
    /// The supersede key, where a sink set one.
    #[must_use]
    pub fn supersede_key(&self) -> Option<&str> {
        self.state().supersede_key.as_deref()
    }
    /// The messages that sinks forked off, in order.
    #[must_use]
    pub fn forks(&self) -> Vec<Submitted> {
        self.session.world.messages.iter().skip(1).map(|message| Submitted { message: message.clone() }).collect()
    }
    /// The messages that sinks submitted, in order.
    #[must_use]
    pub fn submitted(&self) -> Vec<Submitted> {
        self.session.world.submitted.iter().map(|message| Submitted { message: message.clone() }).collect()
    }
}

impl Submitted {
    /// The reverse path.
    #[must_use]
    pub fn sender(&self) -> &str {
        &self.message.sender
    }
    /// The recipients.
    #[must_use]
    pub fn recipients(&self) -> Vec<&str> {
        self.message.recipients.iter().map(|recipient| recipient.address.as_str()).collect()
    }
    /// The first header field of that name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<String> {
        self.message.headers_named(name).into_iter().next()
    }
    /// The body.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.message.body
    }
}

/// The events of a message.
impl Message {
    raises! {
        /// Raises [`OnInboundCommand`](crate::OnInboundCommand) for this line, with the message.
        command, try_command: OnInboundCommand::on_inbound_command(line: &str) -> CommandVerdict,
        NoBody, |world| { set_command(world, line); }, [&session(), Some(&mut message()), &the_command()];
        /// Raises [`OnInboundInput`](crate::OnInboundInput) for this input to the last command, with the message.
        input, try_input: OnInboundInput::on_inbound_input(octets: &[u8]) -> CommandVerdict,
        NoBody, |_world| {}, [&session(), Some(&mut message()), &the_command(), octets];
        /// Raises [`OnEndOfHeaders`](crate::OnEndOfHeaders).
        end_of_headers, try_end_of_headers: OnEndOfHeaders::on_end_of_headers() -> DataVerdict,
        NoBody, |_world| {}, [&session(), &mut message()];
        /// Raises [`OnEndOfData`](crate::OnEndOfData).
        end_of_data, try_end_of_data: OnEndOfData::on_end_of_data() -> DataVerdict,
        Full, |_world| {}, [&session(), &mut message()];
        /// Raises [`OnMaxMsgSize`](crate::OnMaxMsgSize) with this limit.
        max_msg_size, try_max_msg_size: OnMaxMsgSize::on_max_msg_size(limit: u64) -> SizeVerdict,
        ReadOnly, |_world| {}, [&session(), &mut message(), limit];
        /// Raises [`OnSubmission`](crate::OnSubmission).
        submission, try_submission: OnSubmission::on_submission() -> MessageVerdict,
        Full, |_world| {}, [&mut message()];
        /// Raises [`OnPreCategorize`](crate::OnPreCategorize).
        pre_categorize, try_pre_categorize: OnPreCategorize::on_pre_categorize() -> MessageVerdict,
        Full, |_world| {}, [&mut message()];
        /// Raises [`OnCategorize`](crate::OnCategorize) for this recipient of the message.
        categorize, try_categorize: OnCategorize::on_categorize(address: &str) -> Resolution,
        ReadOnly, |world| { expect_recipient(world, address); }, [&mut message(), &mut recipient(address)];
        /// Raises [`OnPostCategorize`](crate::OnPostCategorize).
        post_categorize, try_post_categorize: OnPostCategorize::on_post_categorize() -> MessageVerdict,
        Full, |_world| {}, [&mut message()];
        /// Raises [`OnRoute`](crate::OnRoute) for this domain.
        route, try_route: OnRoute::on_route(domain: &str) -> RouteVerdict,
        ReadOnly, |world| { world.destination = domain.to_owned(); },
        [&mut message(), &Destination::from_raw(transport::Destination)];
        /// Raises [`OnLocalDelivery`](crate::OnLocalDelivery) for this recipient of the message.
        local_delivery, try_local_delivery: OnLocalDelivery::on_local_delivery(address: &str) -> Delivery,
        ReadOnly, |world| { expect_recipient(world, address); }, [&mut message(), &mut recipient(address)];
        /// Raises [`OnNotification`](crate::OnNotification): this message is the notification, about that one.
        notification, try_notification: OnNotification::on_notification(subject: &Message) -> NotificationVerdict,
        Full, |world| { world.messages.truncate(1); world.messages.push(subject.state().clone()); },
        [&mut crate::Message::from_raw(raw::message::MailMsg(1)), &mut message()];
        /// Raises [`OnTrack`](crate::OnTrack) with a record of this kind about the message.
        track, try_track: OnTrack::on_track(kind: &str) -> (),
        ReadOnly, |world| { world.track_kind = kind.to_owned(); }, [&TrackRecord::from_raw(transport::TrackRecord)];
        /// Raises [`OnMessageStart`](crate::OnMessageStart) before this line.
        message_start, try_message_start: OnMessageStart::on_message_start(line: &str) -> OutVerdict,
        ReadOnly, |world| { set_out_line(world, line); }, [&out_session(), &mut message(), &out_command()];
        /// Raises [`OnPerRecipient`](crate::OnPerRecipient) for this recipient, before RCPT TO.
        per_recipient, try_per_recipient: OnPerRecipient::on_per_recipient(address: &str) -> OutVerdict,
        ReadOnly,
        |world| { expect_recipient(world, address); set_out_line(world, &format!("RCPT TO:<{address}>")); },
        [&out_session(), &mut message(), &mut recipient(address), &out_command()];
        /// Raises [`OnBeforeData`](crate::OnBeforeData) before this line.
        before_data, try_before_data: OnBeforeData::on_before_data(line: &str) -> OutVerdict,
        ReadOnly, |world| { set_out_line(world, line); }, [&out_session(), &mut message(), &out_command()];
        /// Raises [`OnServerResponse`](crate::OnServerResponse): the remote server answered this line so.
        server_response, try_server_response: OnServerResponse::on_server_response(line: &str, reply: Reply) -> ResponseVerdict,
        ReadOnly, |world| { set_out_line(world, line); world.out.response = Some(reply); },
        [&out_session(), Some(&mut message()), None, &ServerResponse::from_raw(outbound::ServerResponse)];
    }
}

fn message() -> crate::Message {
    crate::Message::from_raw(raw::message::MailMsg(0))
}

/// The recipient of that address, inside a call.
fn recipient(address: &str) -> Recipient {
    let found = message().recipients().find(|recipient| recipient.address() == address);
    found.expect("the recipient was looked up before the call")
}

#[track_caller]
fn expect_recipient(world: &World, address: &str) {
    let known =
        world.messages.iter().flat_map(|message| &message.recipients).any(|recipient| recipient.address == address);
    assert!(known, "the message of this test has no recipient {address:?}");
}
