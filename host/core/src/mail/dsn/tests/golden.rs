//! Whole notifications, as a person and a program read them.

use mail_parser::{MessageParser, MimeHeaders as _, PartType};

use super::*;

fn hour(number: i64) -> Timestamp {
    Timestamp::from_seconds(1_699_999_000 + number * 3_600)
}

fn last(host: Option<&str>) -> Option<Last> {
    Some(Last { at: hour(1), host: host.map(str::to_owned), by: None })
}

fn with(outcomes: &[(&str, Outcome)]) -> Message {
    let mut message = original(b"From: s@far.example\r\nSubject: hello\r\n", &[]);
    let envelope = std::sync::Arc::make_mut(&mut message.envelope);
    for (text, outcome) in outcomes {
        let id = envelope.add(address(text), (*text).to_owned()).expect("new");
        envelope.recipient_mut(id).expect("just added").outcome = outcome.clone();
    }
    message
}

fn failed() -> Outcome {
    Outcome::Failed { reply: Reply::with(550, 1, 1, "no such user"), last: last(Some("mx.other.example")) }
}

fn delayed() -> Outcome {
    let reply = Reply::with(451, 4, 1, "connection refused");
    Outcome::Deferred { until: hour(9), reply, attempts: 3, last: last(None) }
}

fn relayed() -> Outcome {
    let to = Handover::Relayed {
        host: Some("mx.other.example".into()),
        reply: Reply::new(250, None, "queued as 1"),
        is_dsn_passed: false,
    };
    Outcome::Delivered { at: hour(2), to }
}

fn asking(mut message: Message, parameters: &[(&str, &str)]) -> Message {
    let envelope = std::sync::Arc::make_mut(&mut message.envelope);
    envelope.parameters.extend(parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    message
}

// Content type and text of each part that is no container.
fn parts(message: &Message) -> Vec<(String, String)> {
    let text = text(message);
    let parsed = MessageParser::default().parse(text.as_bytes()).expect("a message");
    let leaf = |part: &mail_parser::MessagePart<'_>| {
        let kind = part.content_type()?;
        let name = format!("{}/{}", kind.ctype(), kind.subtype().unwrap_or_default());
        let octets = match &part.body {
            PartType::Multipart(_) => return None,
            PartType::Message(inner) => inner.raw_message().to_vec(),
            PartType::Text(_) | PartType::Html(_) | PartType::Binary(_) | PartType::InlineBinary(_) => {
                part.contents().to_vec()
            }
        };
        Some((name, String::from_utf8(octets).expect("ASCII")))
    };
    parsed.parts.iter().filter_map(leaf).collect()
}

#[test]
fn a_failure_and_a_delay_of_one_moment_are_one_notification() {
    let message = with(&[("a@other.example", failed()), ("b@slow.example", delayed())]);
    let notification = notify(&message).expect("there is a sender");
    let subject = notification.header.first("Subject").map(Field::value);
    assert_eq!(subject.as_deref(), Some("Undelivered mail returned to sender"));
    assert_eq!(notification.envelope.recipients.first().map(|to| to.notify.clone()), Some(vec!["NEVER".to_owned()]));
    let parts = parts(&notification);
    let expected = "This is the mail server at mx.basin.example.\r
\r
Your message could not be delivered to the recipients below, and it will\r
not be tried again.\r
\r
<a@other.example>\r
    mx.other.example said: 550 5.1.1 no such user\r
    Look for a mistake in the address, or ask the recipient for the right one.\r
\r
Your message could not be delivered to the recipients below yet. You need\r
not send it again: it will be tried until\r
Sun, 19 Nov 2023 13:20:00 +0000.\r
\r
<b@slow.example>\r
    451 4.4.1 connection refused\r
\r
The header of your message is attached.\r
It came here on Tue, 14 Nov 2023 21:56:40 +0000.\r
";
    assert_eq!(parts.first().map(|(kind, text)| (kind.as_str(), text.as_str())), Some(("text/plain", expected)));
    let expected = "Reporting-MTA: dns; mx.basin.example\r
Arrival-Date: Tue, 14 Nov 2023 21:56:40 +0000\r
\r
Final-Recipient: rfc822; a@other.example\r
Action: failed\r
Status: 5.1.1\r
Remote-MTA: dns; mx.other.example\r
Diagnostic-Code: smtp; 550 5.1.1 no such user\r
Last-Attempt-Date: Tue, 14 Nov 2023 22:56:40 +0000\r
\r
Final-Recipient: rfc822; b@slow.example\r
Action: delayed\r
Status: 4.4.1\r
Diagnostic-Code: smtp; 451 4.4.1 connection refused\r
Last-Attempt-Date: Tue, 14 Nov 2023 22:56:40 +0000\r
Will-Retry-Until: Sun, 19 Nov 2023 13:20:00 +0000\r
\r
";
    let status = parts.get(1).map(|(kind, text)| (kind.as_str(), text.trim_end()));
    assert_eq!(status, Some(("message/delivery-status", expected.trim_end())));
}

#[test]
fn what_a_sink_decided_is_nobody_elses_word() {
    let by = |said: Option<Reply>| {
        let by = Some(BySink { binding: "secret".into(), event: "on-before-data".into(), failure: None, said });
        Some(Last { at: hour(1), host: Some("mx.other.example".into()), by })
    };
    let reply = Reply::with(550, 7, 1, "not there");
    let skipped = Outcome::Failed { reply: reply.clone(), last: by(None) };
    let judged = Outcome::Failed { reply, last: by(Some(Reply::new(501, None, "what"))) };
    let notification = notify(&with(&[("a@other.example", skipped), ("b@other.example", judged)])).expect("a sender");
    let parts = parts(&notification);
    let (text, status) = (&parts[0].1.replace("\r\n    ", " "), &parts[1].1);
    assert!(text.contains("Decided by a filter of this mail server: 550 5.7.1 not there"), "{text}");
    let both =
        "The next mail server said \"501 what\", which a filter of this mail server judged as: 550 5.7.1 not there";
    assert!(text.contains(both), "{text}");
    assert_eq!(status.matches("Status: 5.7.1").count(), 2, "{status}");
    for line in ["X-Basin; 550 5.7.1 not there", "X-Basin; 550 5.7.1 not there; the next server said: 501 what"] {
        let line = format!("Diagnostic-Code: {line}");
        assert!(status.replace("\r\n ", " ").lines().any(|present| present == line), "{line}\n{status}");
    }
    for word in ["Remote-MTA", "mx.other.example", "secret", "smtp;"] {
        assert!(!text.contains(word) && !status.contains(word), "{word}\n{text}{status}");
    }
}

#[test]
fn success_says_who_has_it_now() {
    let delivered = Outcome::Delivered { at: hour(1), to: Handover::Mailbox };
    let expanded = Outcome::Delivered { at: hour(1), to: Handover::Expanded };
    let message =
        with(&[("a@basin.example", delivered), ("b@other.example", relayed()), ("c@basin.example", expanded)]);
    let notification = notify(&message).expect("there is a sender");
    assert_eq!(notification.header.first("Subject").map(Field::value).as_deref(), Some("Your mail was delivered"));
    let status = parts(&notification).get(1).map(|(_, text)| text.clone()).unwrap_or_default();
    for line in ["Action: delivered", "Action: relayed", "Action: expanded", "Remote-MTA: dns; mx.other.example"] {
        assert!(status.lines().any(|present| present == line), "{line}\n{status}");
    }
    assert_eq!(status.matches("Status: 2.0.0").count(), 3, "{status}");
}

#[test]
fn ret_full_returns_the_message_of_a_failure_where_it_is_small() {
    let full = |message, size: usize| {
        let mut message = asking(message, &[("RET", "FULL")]);
        message.body = Body::from_bytes([&b"a line\r\n".repeat(size / 8)[..], b"the end\r\n"].concat());
        parts(&notify(&message).expect("there is a sender")).pop().expect("the last")
    };
    let (kind, octets) = full(with(&[("a@other.example", failed())]), 100);
    assert_eq!(kind, "message/rfc822");
    assert!(
        octets.starts_with("From: s@far.example\r\nSubject: hello\r\n\r\na line\r\n") && octets.contains("the end"),
        "{octets}"
    );
    assert_eq!(full(with(&[("a@other.example", failed())]), 20_000).0, "text/rfc822-headers", "too large");
    assert_eq!(full(with(&[("a@other.example", delayed())]), 100).0, "text/rfc822-headers", "RET is about failures");
    let mut hdrs = asking(with(&[("a@other.example", failed())]), &[("RET", "HDRS")]);
    hdrs.body = Body::from_bytes(&b"secret\r\n"[..]);
    assert!(!text(&notify(&hdrs).expect("there is a sender")).contains("secret"));
}

#[test]
fn what_required_tls_comes_back_without_its_body_and_requires_it_again() {
    // RFC 8689 §5, with and without RET=FULL beside it.
    for parameters in [&[("REQUIRETLS", ""), ("RET", "FULL")][..], &[("REQUIRETLS", "")]] {
        let notification = notify(&asking(with(&[("a@other.example", failed())]), parameters)).expect("a sender");
        assert_eq!(notification.envelope.parameters, [("REQUIRETLS".to_owned(), String::new())].into());
        let text = text(&notification);
        assert!(text.contains("Subject: hello\r\n") && !text.contains("secret body"), "{text}");
        let (kind, _) = parts(&notification).pop().expect("the last");
        assert_eq!(kind, "text/rfc822-headers");
    }
    let other = notify(&asking(with(&[("a@other.example", failed())]), &[("RET", "FULL")])).expect("a sender");
    assert!(text(&other).contains("secret body") && other.envelope.parameters.is_empty());
}

#[test]
fn a_body_that_no_server_need_take_is_not_returned_nor_can_it_end_the_part() {
    let returned = |body: Vec<u8>| {
        let mut message = asking(with(&[("a@other.example", failed())]), &[("RET", "FULL")]);
        message.body = Body::from_bytes(body);
        parts(&notify(&message).expect("there is a sender"))
    };
    for bad in [[&b"x".repeat(2_000)[..], b"\r\n"].concat(), b"a\0b\r\n".to_vec()] {
        assert_eq!(returned(bad).pop().map(|(kind, _)| kind).as_deref(), Some("text/rfc822-headers"));
    }
    let parts = returned(b"--=_basin-original-n1--\r\nafter\r\n".to_vec());
    assert!(parts.last().is_some_and(|(kind, text)| kind == "message/rfc822" && text.contains("after")), "{parts:?}");
}

#[test]
fn an_international_original_comes_back_as_one() {
    let mut message = asking(with(&[("a@other.example", failed())]), &[("SMTPUTF8", "")]);
    message.header = HeaderBlock::parse(&Bytes::from("Subject: grün\r\n".as_bytes())).expect("small").into();
    assert!(text(&notify(&message).expect("there is a sender")).contains("Content-Type: message/global-headers"));
}

#[test]
fn international_recipients_are_told_in_ascii() {
    let mut message = with(&[("a@other.example", failed()), ("b@other.example", failed())]);
    let envelope = std::sync::Arc::make_mut(&mut message.envelope);
    let international = Address::parse_utf8("j\u{f6}rg+x@b\u{fc}cher.example").expect("valid");
    for (to, original) in
        envelope.recipients.iter_mut().zip(["utf-8;\u{f6}\\x{2B}y@x.example", "utf-8;\u{f6}\\x{2B}z@x.example"])
    {
        (to.address, to.original) = (international.clone(), original.to_owned());
    }
    let status = parts(&notify(&message).expect("there is a sender")).get(1).map(|(_, text)| text.clone());
    let status = status.unwrap_or_default();
    for line in [
        "Original-Recipient: utf-8; \\x{F6}\\x{2B}y@x.example",
        "Original-Recipient: utf-8; \\x{F6}\\x{2B}z@x.example",
        "Final-Recipient: utf-8; j\\x{F6}rg\\x{2B}x@b\\x{FC}cher.example",
    ] {
        assert!(status.lines().any(|present| present == line), "{line}\n{status}");
    }
}

#[test]
fn coded_parameters_are_decoded_and_cannot_forge_a_field() {
    let mut message = asking(with(&[("a@other.example", failed())]), &[("ENVID", "id+2B7+0D+0ABcc:+20x")]);
    let envelope = std::sync::Arc::make_mut(&mut message.envelope);
    envelope.recipients.iter_mut().for_each(|to| to.original = "rfc822;a+2Bb@other.example+0D+0AX:+20y+zz+1".into());
    let text = text(&notify(&message).expect("there is a sender"));
    assert!(text.contains("Original-Envelope-Id: id+7??Bcc: x\r\n"), "{text}");
    assert!(text.contains("Original-Recipient: rfc822;a+b@other.example??X: y+zz+1\r\n"), "{text}");
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn whatever_others_wrote_the_notification_keeps_its_shape(
        words in proptest::collection::vec("[ -~\\r\\n\\t\u{0}\u{7f}ü+=;-]{0,200}", 5),
        header in "(X-A: [ -~]{0,80}\\r\\n( [ -~]{1,80}\\r\\n)?){0,4}",
        body in "([ -~]{0,60}\\r\\n){0,8}",
    ) {
        let [reply, host, original, envid, line] = words.as_slice() else { unreachable!("five were asked for") };
        let reply = Reply::multi_line(550, None, vec![reply.clone(), line.clone()]);
        let outcome = Outcome::Failed { reply, last: last(Some(host)) };
        let message = with(&[("a@other.example", outcome), ("b@slow.example", delayed())]);
        let mut message = asking(message, &[("ENVID", envid), ("RET", "FULL")]);
        let envelope = std::sync::Arc::make_mut(&mut message.envelope);
        envelope.recipients.iter_mut().for_each(|to| to.original.clone_from(original));
        message.header = HeaderBlock::parse(&Bytes::from(header)).expect("small").into();
        message.body = Body::from_bytes(body.into_bytes());
        let notification = notify(&message).expect("there is a sender");
        let text = text(&notification);
        proptest::prop_assert!(text.split("\r\n").all(|line| line.len() <= LINE_BYTES_MAX && !line.contains(['\r', '\n'])));
        let parts = parts(&notification);
        let kinds: Vec<_> = parts.iter().map(|(kind, _)| kind.as_str()).collect();
        proptest::prop_assert_eq!(kinds, ["text/plain", "message/delivery-status", "message/rfc822"]);
        let status = parts.get(1).map(|(_, text)| text.as_str()).unwrap_or_default();
        let names = status.lines().filter(|line| !line.starts_with(' ')).filter_map(|line| line.split_once(':'));
        let count = |name: &str| names.clone().filter(|(found, _)| *found == name).count();
        proptest::prop_assert_eq!((count("Final-Recipient"), count("Action"), count("Status")), (2, 2, 2), "{}", status);
        proptest::prop_assert_eq!(status.split("\r\n\r\n").filter(|group| !group.trim().is_empty()).count(), 3, "{}", status);
        proptest::prop_assert_eq!(notification.header.fields().len(), 8);
    }
}
