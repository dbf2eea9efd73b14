use super::*;

use super::returned::LINE_BYTES_MAX;
use crate::mail::Last;

mod golden;

const NOW: Timestamp = Timestamp::from_seconds(1_700_000_000);

fn address(text: &str) -> Address {
    Address::parse(text).expect("valid")
}

fn original(header: &'static [u8], recipients: &[(&str, Reply)]) -> Message {
    let arrival = Arrival {
        origin: Origin::Smtp,
        at: Timestamp::from_seconds(1_699_999_000),
        listener: "mx".into(),
        client: None,
        server: None,
        helo: None,
        is_esmtp: true,
        session: None,
        depth: 3,
        vouched: Default::default(),
    };
    let mut envelope = Envelope::new(Some(address("sender@far.example")));
    for (text, reply) in recipients {
        let id = envelope.add(address(text), (*text).to_owned()).expect("new");
        envelope.recipient_mut(id).expect("just added").outcome = Outcome::failed(reply.clone());
    }
    let mut message = Message::new(MessageId::parse("original").expect("an id"), arrival, envelope);
    message.header = HeaderBlock::parse(&Bytes::from_static(header)).expect("small").into();
    message.body = Body::from_bytes(&b"the secret body\r\n"[..]);
    message
}

fn notify(original: &Message) -> Option<Message> {
    let recipients: Vec<&Recipient> = original.envelope.recipients.iter().collect();
    let id = MessageId::parse("original-n1").expect("an id");
    let will_retry_until = Timestamp::from_seconds(1_700_400_000);
    Maker { id, host_name: "mx.basin.example", now: NOW, will_retry_until, returned_bytes_max: 10_000 }
        .report(original, &recipients)
}

// The message as it would be sent.
fn text(message: &Message) -> String {
    let mut octets = message.header.to_bytes();
    octets.extend_from_slice(b"\r\n");
    octets.extend(message.body.read(0, usize::MAX >> 1).expect("memory"));
    String::from_utf8(octets).expect("this one is UTF-8")
}

fn no_such_user() -> Reply {
    Reply::with(550, 1, 1, "there is no such user here")
}

#[test]
fn a_notification_says_all_that_rfc_3464_asks_for() {
    let original = original(
        b"Message-ID: <1@far.example>\r\nSubject: hello\r\n",
        &[("a@basin.example", no_such_user()), ("b@basin.example", Reply::new(554, None, "no"))],
    );
    let notification = notify(&original).expect("there is a sender");
    let text = text(&notification);
    for line in [
        "From: Mail Delivery System <postmaster@mx.basin.example>",
        "To: <sender@far.example>",
        "Message-ID: <original-n1@mx.basin.example>",
        "In-Reply-To: <1@far.example>",
        "Auto-Submitted: auto-replied",
        "MIME-Version: 1.0",
        "Reporting-MTA: dns; mx.basin.example",
        "Final-Recipient: rfc822; a@basin.example",
        "Action: failed",
        "Status: 5.1.1",
        "Diagnostic-Code: smtp; 550 5.1.1 there is no such user here",
        "Status: 5.0.0",
        "Content-Type: text/rfc822-headers",
        "Subject: hello",
    ] {
        assert!(text.lines().any(|present| present == line), "{line}\n{text}");
    }
    assert!(!text.contains("secret body"), "the body is never returned");
    assert!(!text.contains("Original-Recipient"), "the sender gave no ORCPT:\n{text}");
    assert_eq!(notification.envelope.sender, None);
    assert_eq!(notification.envelope.recipients.first().map(|r| r.address.clone()), original.envelope.sender);
    assert!(notification.arrival.vouched.is_failure_report);
    assert_eq!((notification.arrival.depth, &notification.arrival.origin), (4, &Origin::Notification));
}

#[test]
fn another_parser_reads_the_parts() {
    let original = original(b"Subject: hello\r\n", &[("a@basin.example", no_such_user())]);
    let text = text(&notify(&original).expect("there is a sender"));
    let parsed = mail_parser::MessageParser::default().parse(text.as_bytes()).expect("a message");
    let types: Vec<_> = parsed
        .parts
        .iter()
        .filter_map(|part| mail_parser::MimeHeaders::content_type(part))
        .map(|kind| format!("{}/{}", kind.ctype(), kind.subtype().unwrap_or_default()))
        .collect();
    assert_eq!(types, ["multipart/report", "text/plain", "message/delivery-status", "text/rfc822-headers"]);
}

#[test]
fn nobody_is_notified_about_the_null_sender_or_a_notification() {
    let mut null = original(b"", &[("a@basin.example", no_such_user())]);
    std::sync::Arc::make_mut(&mut null.envelope).sender = None;
    assert!(notify(&null).is_none());
    let mut second = original(b"", &[("a@basin.example", no_such_user())]);
    std::sync::Arc::make_mut(&mut second.arrival).origin = Origin::Notification;
    assert!(notify(&second).is_none());
}

#[test]
fn no_text_can_forge_a_field_or_a_part() {
    let evil = Reply::with(550, 7, 1, "x\r\nBcc: y@z.example\r\n\r\n--=_basin-original-n1--\0\u{1b}[2J");
    let original = original(
        b"Message-ID: <a\r\n b>\r\nX: --=_basin-original-n1\r\nSubject: \x1b\r\n",
        &[("a@basin.example", evil)],
    );
    let text = text(&notify(&original).expect("there is a sender"));
    assert!(!text.lines().any(|line| line.starts_with("Bcc")), "{text}");
    let closing: Vec<_> = text.lines().filter(|line| line.starts_with("--") && line.ends_with("--")).collect();
    assert_eq!(closing, ["--=_b1-original-n1--"], "the boundary gives way to the one in the header");
    assert!(!text.contains('\0'));
}

#[test]
fn long_texts_are_cut_and_folded() {
    let original = original(b"", &[("a@basin.example", Reply::with(550, 7, 1, "y".repeat(50_000)))]);
    let text = text(&notify(&original).expect("there is a sender"));
    assert!(text.len() < 4_000, "{}", text.len());
    assert!(text.split("\r\n").all(|line| line.len() <= LINE_BYTES_MAX && !line.contains('\n')));
}

#[test]
fn header_fields_over_the_limits_are_not_returned() {
    let long = format!("X-Long: {}\r\nX-Short: s\r\n", "l".repeat(2_000));
    let mut message = original(b"", &[("a@basin.example", no_such_user())]);
    message.header = HeaderBlock::parse(&Bytes::from(long)).expect("small").into();
    let short = text(&notify(&message).expect("there is a sender"));
    assert!(short.contains("X-Short: s") && !short.contains("X-Long"));
    let many = "X-Many: 0123456789\r\n".repeat(1_900) + &format!("X: {}\r\n", "z".repeat(900)).repeat(100);
    message.header = HeaderBlock::parse(&Bytes::from(many)).expect("under the limit").into();
    assert!(text(&notify(&message).expect("there is a sender")).len() < 64 * 1024 + 4_000);
}

#[test]
fn a_header_that_is_not_ascii_is_declared_as_8bit() {
    let original = original("Subject: grün\r\n".as_bytes(), &[("a@basin.example", no_such_user())]);
    let notification = notify(&original).expect("there is a sender");
    assert_eq!(notification.envelope.parameters.get("BODY").map(String::as_str), Some("8BITMIME"));
    let text = text(&notification);
    assert!(text.contains("Subject: grün"));
    assert_eq!(text.matches("Content-Transfer-Encoding: 8bit").count(), 2);
}

#[test]
fn the_original_recipient_of_the_client_stands_beside_the_final_one() {
    let mut original = original(b"", &[("a@basin.example", no_such_user())]);
    let envelope = std::sync::Arc::make_mut(&mut original.envelope);
    envelope.recipients.iter_mut().for_each(|recipient| recipient.original = "rfc822;team@basin.example".into());
    envelope.parameters.insert("ENVID".into(), "QQ314159".into());
    let text = text(&notify(&original).expect("there is a sender"));
    assert!(text.contains("Original-Recipient: rfc822;team@basin.example\r\nFinal-Recipient: rfc822; a@basin.example"));
    assert!(text.contains("Original-Envelope-Id: QQ314159"));
}

#[test]
fn addresses_with_other_letters_have_a_type_and_a_form_of_their_own() {
    let mut original = original(b"Subject: hello\r\n", &[("a@basin.example", no_such_user())]);
    let international = Address::parse_utf8("j\u{f6}rg+x@b\u{fc}cher.example").expect("valid");
    let ascii_local = Address::parse_utf8("anna@b\u{fc}cher.example").expect("valid");
    let envelope = std::sync::Arc::make_mut(&mut original.envelope);
    for (address, orcpt) in
        [(international, "utf-8;j\\x{F6}rg@x.example"), (ascii_local, "utf-8;anna@b\u{fc}cher.example")]
    {
        let id = envelope.add(address, orcpt.to_owned()).expect("new");
        envelope.recipient_mut(id).expect("just added").outcome = Outcome::failed(no_such_user());
    }
    let text = text(&notify(&original).expect("there is a sender"));
    for line in [
        "Final-Recipient: rfc822; a@basin.example\r\n",
        "Original-Recipient: utf-8; j\\x{F6}rg@x.example\r\n",
        "Final-Recipient: utf-8; j\\x{F6}rg\\x{2B}x@b\\x{FC}cher.example\r\n",
        "Original-Recipient: utf-8; anna@b\\x{FC}cher.example\r\n",
        "<anna@xn--bcher-kva.example>\r\n",
    ] {
        assert!(text.contains(line), "{line:?} is not in\n{text}");
    }
    assert!(text.is_ascii());
    for odd in ["\\x{", "\\x{}", "\\x{D800}", "\\x{1234567}", "\\x{F6", "\\x{+6}", "a\\x"] {
        assert_eq!(write::unescaped(odd), odd);
    }
}
