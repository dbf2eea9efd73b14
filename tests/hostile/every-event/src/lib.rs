//! Exports each of the 25 events and says `next` to it: proof that the worlds of all events merge into one
//! component, and the sink that shows which events a server raises.

use basin_sink::prelude::*;

/// The sink.
#[derive(Debug)]
pub struct EveryEvent;

/// Implements events that differ in their arguments and the type of their verdict alone.
macro_rules! says_next {
    ($($event:ident::$method:ident($($argument:ty),*) -> $verdict:ty = $next:expr;)+) => {
        $(impl $event for EveryEvent {
            fn $method($(_: $argument,)* call: &Call) -> Result<$verdict> {
                log::info!("{} as {}", stringify!($method), call.binding());
                Ok($next)
            }
        })+
    };
}

says_next! {
    OnConnect::on_connect(&Session) -> ConnectVerdict = ConnectVerdict::Next;
    OnAuthenticated::on_authenticated(&Session) -> CommandVerdict = CommandVerdict::Next;
    OnInboundCommand::on_inbound_command(&Session, Option<&mut Message>, &Command) -> CommandVerdict = CommandVerdict::Next;
    OnInboundInput::on_inbound_input(&Session, Option<&mut Message>, &Command, &[u8]) -> CommandVerdict = CommandVerdict::Next;
    OnEndOfHeaders::on_end_of_headers(&Session, &mut Message) -> DataVerdict = DataVerdict::Next;
    OnEndOfData::on_end_of_data(&Session, &mut Message) -> DataVerdict = DataVerdict::Next;
    OnMaxMsgSize::on_max_msg_size(&Session, &mut Message, u64) -> SizeVerdict = SizeVerdict::Next;
    OnReject::on_reject(&Session, &[u8]) -> () = ();
    OnDisconnect::on_disconnect(&Session) -> () = ();
    OnSubmission::on_submission(&mut Message) -> MessageVerdict = MessageVerdict::Next;
    OnPreCategorize::on_pre_categorize(&mut Message) -> MessageVerdict = MessageVerdict::Next;
    OnCategorize::on_categorize(&mut Message, &mut Recipient) -> Resolution = Resolution::Next;
    OnPostCategorize::on_post_categorize(&mut Message) -> MessageVerdict = MessageVerdict::Next;
    OnRoute::on_route(&mut Message, &Destination) -> RouteVerdict = RouteVerdict::Next;
    OnDnsResolve::on_dns_resolve(&Destination) -> DnsVerdict = DnsVerdict::Next;
    OnLocalDelivery::on_local_delivery(&mut Message, &mut Recipient) -> Delivery = Delivery::Next;
    OnNotification::on_notification(&mut Message, &mut Message) -> NotificationVerdict = NotificationVerdict::Next;
    OnTrack::on_track(&TrackRecord) -> () = ();
    OnTimer::on_timer() -> () = ();
    OnSessionStart::on_session_start(&OutSession, &OutCommand) -> OutVerdict = OutVerdict::Next;
    OnMessageStart::on_message_start(&OutSession, &mut Message, &OutCommand) -> OutVerdict = OutVerdict::Next;
    OnPerRecipient::on_per_recipient(&OutSession, &mut Message, &mut Recipient, &OutCommand) -> OutVerdict = OutVerdict::Next;
    OnBeforeData::on_before_data(&OutSession, &mut Message, &OutCommand) -> OutVerdict = OutVerdict::Next;
    OnSessionEnd::on_session_end(&OutSession, &OutCommand) -> OutVerdict = OutVerdict::Next;
    OnServerResponse::on_server_response(&OutSession, Option<&mut Message>, Option<&mut Recipient>, &ServerResponse)
        -> ResponseVerdict = ResponseVerdict::Next;
}

basin_sink::export!(
    EveryEvent: OnConnect, OnAuthenticated, OnInboundCommand, OnInboundInput, OnEndOfHeaders, OnEndOfData, OnMaxMsgSize,
    OnReject, OnDisconnect, OnSubmission, OnPreCategorize, OnCategorize, OnPostCategorize, OnRoute, OnDnsResolve,
    OnLocalDelivery, OnNotification, OnTrack, OnTimer, OnSessionStart, OnMessageStart, OnPerRecipient, OnBeforeData,
    OnSessionEnd, OnServerResponse
);

#[cfg(test)]
mod tests {
    use super::*;
    use basin_sink::testing;

    #[test]
    fn each_event_can_be_raised_in_a_test() {
        let mut session = testing::Session::new();
        assert_eq!(session.connect::<EveryEvent>(), ConnectVerdict::Next);
        assert_eq!(session.authenticated::<EveryEvent>(), CommandVerdict::Next);
        assert_eq!(session.command::<EveryEvent>("NOOP"), CommandVerdict::Next);
        assert_eq!(session.input::<EveryEvent>(b"input"), CommandVerdict::Next);
        session.reject::<EveryEvent>(b"\xff");
        session.disconnect::<EveryEvent>("quit");
        session.timer::<EveryEvent>();
        assert_eq!(session.dns_resolve::<EveryEvent>("client.example"), DnsVerdict::Next);
        assert_eq!(session.session_start::<EveryEvent>("EHLO basin.example"), OutVerdict::Next);
        assert_eq!(session.session_end::<EveryEvent>("QUIT"), OutVerdict::Next);
        assert_eq!(session.log().len(), 10);

        let mut message = testing::Message::from_eml("Subject: hi\r\n\r\nbody\r\n");
        assert_eq!(message.end_of_headers::<EveryEvent>(), DataVerdict::Next);
        assert_eq!(message.end_of_data::<EveryEvent>(), DataVerdict::Next);
        assert_eq!(message.max_msg_size::<EveryEvent>(1), SizeVerdict::Next);
        assert_eq!(message.submission::<EveryEvent>(), MessageVerdict::Next);
        assert_eq!(message.pre_categorize::<EveryEvent>(), MessageVerdict::Next);
        assert_eq!(message.categorize::<EveryEvent>("b@basin.example"), Resolution::Next);
        assert_eq!(message.post_categorize::<EveryEvent>(), MessageVerdict::Next);
        assert_eq!(message.route::<EveryEvent>("client.example"), RouteVerdict::Next);
        assert_eq!(message.local_delivery::<EveryEvent>("b@basin.example"), Delivery::Next);
        let subject = message.clone();
        assert_eq!(message.notification::<EveryEvent>(&subject), NotificationVerdict::Next);
        message.track::<EveryEvent>("accepted");
        assert_eq!(message.message_start::<EveryEvent>("MAIL FROM:<a@client.example>"), OutVerdict::Next);
        assert_eq!(message.per_recipient::<EveryEvent>("b@basin.example"), OutVerdict::Next);
        assert_eq!(message.before_data::<EveryEvent>("DATA"), OutVerdict::Next);
        assert_eq!(message.server_response::<EveryEvent>("DATA", Reply::new(354, "go")), ResponseVerdict::Next);
        assert_eq!(message.log().len(), 15);
    }
}
