use proptest::prelude::*;

use super::*;
use crate::mail::Origin;

fn take(file: &str) -> Result<Message, PickupError> {
    let mut lines = Lines::new(10_000);
    let mut text = Vec::new();
    lines.feed(file.as_bytes(), &mut text)?;
    let is_8bit = lines.finish(&mut text)?;
    let len = text.len() as u64;
    let content = Content { octets: Arc::new(Bytes::from(text)), len };
    let arrival = Arrival {
        origin: Origin::Pickup,
        at: Timestamp::default(),
        listener: "pickup".into(),
        client: None,
        server: None,
        helo: None,
        is_esmtp: false,
        session: None,
        depth: 0,
        vouched: Default::default(),
    };
    let id = MessageId::parse("1-2").expect("an id");
    let now = Timestamp::from_seconds(0);
    let (host_name, authority) = ("basin.example", &Authority::new("basin.example"));
    message(&content, Making { id, arrival, host_name, authority, recipients_max: 3, is_8bit, now })
}

fn shown(message: &Message) -> (String, Vec<String>, String) {
    let sender = message.envelope.sender.as_ref().map(ToString::to_string).unwrap_or_default();
    let recipients = message.envelope.recipients.iter().map(|recipient| recipient.address.to_string()).collect();
    let mut text = message.header.to_bytes();
    text.extend_from_slice(message.separator());
    text.extend(message.body.read(0, 1_000).expect("memory"));
    (sender, recipients, String::from_utf8(text).expect("UTF-8"))
}

#[test]
fn the_lines_at_the_top_are_the_envelope_and_leave_the_header() {
    let file = "x-sender: <a@one.example>\nX-Receiver: b@two.example\nx-receiver: <c@two.example>\n\
                From: Someone <x@y.example>\nTo: d@z.example\nBcc: e@z.example\n\
                Date: Mon, 1 Jan 2024 00:00:00 +0000\nMessage-ID: <1@y.example>\n\nhello\nworld";
    let (sender, recipients, text) = shown(&take(file).expect("a message"));
    assert_eq!((sender.as_str(), recipients), ("a@one.example", vec!["b@two.example".into(), "c@two.example".into()]));
    assert_eq!(
        text,
        "Received: by basin.example (pickup) id 1-2; Thu, 1 Jan 1970 00:00:00 +0000\r\n\
         From: Someone <x@y.example>\r\nTo: d@z.example\r\n\
         Date: Mon, 1 Jan 2024 00:00:00 +0000\r\nMessage-ID: <1@y.example>\r\n\r\nhello\r\nworld\r\n"
    );
}

#[test]
fn without_them_the_header_says_who_and_blind_copies_stay_blind() {
    let file = "From: \"A, B\" <a@one.example>, c@one.example\r\nTo: team: b@two.example, d@two.example;\r\n\
                Bcc: b@two.example,\r\n e@three.example\r\n\r\ntext\r\n";
    let (sender, recipients, text) = shown(&take(file).expect("a message"));
    assert_eq!(
        (sender.as_str(), recipients.join(" ")),
        ("a@one.example", "b@two.example d@two.example e@three.example".into())
    );
    assert!(!text.contains("three.example"), "{text}");
    assert!(text.contains("\r\nDate: ") && text.contains("\r\nMessage-ID: <1-2@basin.example>\r\n"), "{text}");
}

#[test]
fn sender_goes_before_from_and_the_null_sender_can_be_named() {
    let (sender, ..) = shown(&take("From: a@a.example\nSender: b@b.example\nTo: c@c.example\n\n").expect("a message"));
    assert_eq!(sender, "b@b.example");
    let null = take("x-sender: <>\nx-receiver: c@c.example\nFrom: a@a.example\n\n").expect("a message");
    assert_eq!(null.envelope.sender, None);
}

#[test]
fn what_the_next_server_must_be_able_to_do_is_in_the_envelope() {
    let plain = take("From: a@a.example\nTo: b@b.example\n\ntext\n").expect("a message");
    assert!(plain.envelope.parameters.is_empty());
    let body = take("From: a@a.example\nTo: b@b.example\n\nä\n").expect("a message");
    assert_eq!(body.envelope.parameters.keys().collect::<Vec<_>>(), ["BODY"]);
    let header = take("From: a@a.example\nTo: b@b.example\nSubject: ä\n\n").expect("a message");
    assert_eq!(header.envelope.parameters.keys().collect::<Vec<_>>(), ["BODY", "SMTPUTF8"]);
}

#[test]
fn a_from_field_is_made_out_of_the_envelope_where_there_is_none() {
    let (.., text) = shown(&take("x-sender: a@a.example\nx-receiver: b@b.example\nSubject: s\n\n").expect("a message"));
    assert!(text.contains("\r\nFrom: <a@a.example>\r\n"), "{text}");
    assert_eq!(take("x-sender: <>\nx-receiver: b@b.example\n\n").err(), Some(PickupError::NoSender));
}

#[test]
fn what_is_no_message_is_refused_with_the_reason() {
    let refused = |file: &str| take(file).expect_err("refused");
    assert_eq!(refused("From: a@a.example\nTo: b@b.example\n\nbare\rcr\n"), PickupError::BareCr(4));
    assert_eq!(refused("From: a@a.example\r"), PickupError::BareCr(1));
    assert_eq!(refused("From: a@a.example\0\n"), PickupError::Nul(1));
    assert_eq!(refused("From: a@a.example\n\n"), PickupError::NoRecipient);
    assert_eq!(refused("To: a@a.example\n\n"), PickupError::NoSender);
    assert_eq!(refused(&"x".repeat(10_001)), PickupError::TooLarge(10_000));
    let many = "From: a@a.example\nTo: 1@a.example, 2@a.example, 3@a.example, 4@a.example\n\n";
    assert_eq!(refused(many), PickupError::Recipients(3));
    let wrong = PickupError::Address { field: "x-receiver", text: "nobody".into() };
    assert_eq!(refused("x-sender: a@a.example\nx-receiver: nobody\n\n"), wrong);
    assert!(matches!(refused("From: a@a.example\nTo: nobody\n\n"), PickupError::Address { field: "To", .. }));
    assert_eq!(refused(""), PickupError::NoSender);
}

#[test]
fn envelope_lines_below_the_top_are_fields_like_any_other() {
    let (.., text) =
        shown(&take("From: a@a.example\nTo: b@b.example\nx-receiver: c@c.example\n\n").expect("a message"));
    assert!(text.contains("x-receiver: c@c.example"));
}

proptest! {
    #[test]
    fn no_file_does_harm_and_the_cuts_do_not_matter(file in "[\\x00-\\x7f]{0,200}|(x-receiver: |To: |From: |\n|\r\n|a@b.c|, ){0,40}", cut in 0usize..200) {
        let once = take(&file);
        let cut = cut.min(file.len());
        let mut lines = Lines::new(10_000);
        let mut text = Vec::new();
        let (first, second) = file.as_bytes().split_at(cut);
        let fed = lines.feed(first, &mut text).and_then(|()| lines.feed(second, &mut text));
        let fed = fed.and_then(|()| lines.finish(&mut text));
        match &once {
            Ok(message) => {
                prop_assert!(fed.is_ok());
                prop_assert!(!message.envelope.recipients.is_empty());
                let whole = shown(message).2;
                prop_assert!(whole.replace("\r\n", "").bytes().all(|octet| octet != b'\r' && octet != b'\n'));
            }
            Err(PickupError::BareCr(_) | PickupError::Nul(_)) => prop_assert!(fed.is_err()),
            Err(_) => {}
        }
    }
}
