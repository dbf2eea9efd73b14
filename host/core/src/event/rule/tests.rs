use core::net::IpAddr;

use bytes::Bytes;

use super::*;
use crate::addr::Address;
use crate::mail::Envelope;

fn address(text: &str) -> Address {
    Address::parse(text).expect("valid")
}

fn envelope() -> Envelope {
    let mut envelope = Envelope::new(None);
    for text in ["a@one.example", "b@two.example", "c@two.example"] {
        envelope.add(address(text), text.to_owned());
    }
    envelope
}

fn rule(text: &str) -> Rule {
    Rule::parse(text, EventKind::OnEndOfData).expect("a rule")
}

fn holds(text: &str, event: EventKind, facts: &Facts<'_>) -> bool {
    matches!(Rule::parse(text, event).expect("a rule").matches(facts), Matched::Yes(_))
}

fn error(text: &str, event: EventKind) -> String {
    Rule::parse(text, event).expect_err("not a rule").to_string()
}

#[test]
fn the_empty_rule_always_holds() {
    assert_eq!(rule("  ").matches(&Facts::default()), Matched::Yes(None));
    assert_eq!(rule("").text(), "");
}

#[test]
fn text_patterns_fit_without_regard_to_case_with_stars_anywhere() {
    for (pattern, text, fits) in [
        ("abc", "ABC", true),
        ("abc", "abcd", false),
        ("*", "", true),
        ("*", "anything", true),
        ("a*", "abc", true),
        ("*c", "abc", true),
        ("a*c", "ac", true),
        ("a*c", "abcd", false),
        ("a*a", "a", false),
        ("*b*", "abc", true),
        ("a**c", "abc", true),
        ("*ab*ab*", "ab", false),
        ("*ab*ab*", "abab", true),
        ("x*yz*yz", "xyz", false),
        ("*@One.Example", "a@one.example", true),
    ] {
        assert_eq!(Glob::new(pattern).is_match(text), fits, "{pattern} {text}");
    }
}

#[test]
fn a_hostile_pattern_costs_no_more_than_reading_the_text() {
    let text = "a".repeat(100_000);
    let pattern = format!("{}b", "a*".repeat(1_000));
    assert!(!Glob::new(&pattern).is_match(&text));
}

#[test]
fn networks_cover_both_families_and_mapped_addresses() {
    for (network, client, is_in) in [
        ("192.0.2.1", "192.0.2.1", true),
        ("192.0.2.1", "192.0.2.2", false),
        ("10.0.0.0/8", "10.255.0.1", true),
        ("10.1.2.3/8", "10.255.0.1", true),
        ("10.0.0.0/8", "11.0.0.1", false),
        ("10.0.0.0/8", "::ffff:10.0.0.1", true),
        ("::ffff:10.0.0.0/104", "10.0.0.1", true),
        ("2001:db8::/32", "2001:db8:1::1", true),
        ("2001:db8::/32", "2001:db9::1", false),
        ("0.0.0.0/0", "203.0.113.9", true),
        ("0.0.0.0/0", "2001:db8::1", false),
        ("::/0", "2001:db8::1", true),
    ] {
        let client: IpAddr = client.parse().expect("an address");
        assert_eq!(Network::parse(network).expect("a network").has(client), is_in, "{network} {client}");
    }
    for bad in ["", "10.0.0.0/33", "::/129", "10.0.0.0/-1", "10.0.0.0/+8", "10.0.0.0/", "10.0.0", "host", "1.2.3.4/8/9"]
    {
        assert_eq!(Network::parse(bad), None, "{bad}");
    }
}

#[test]
fn every_condition_must_hold_and_one_alternative_is_enough() {
    let facts = Facts { verb: Some("RCPT"), helo: Some("mx.client.example"), ..Facts::default() };
    let event = EventKind::OnInboundCommand;
    assert!(holds("verb=mail|rcpt", event, &facts));
    assert!(holds("VERB = rcpt ; EHLO=*.client.example", event, &facts));
    assert!(!holds("verb=rcpt;ehlo=other", event, &facts));
    assert!(!holds("verb!=mail|rcpt", event, &facts));
    assert!(holds("verb!=mail", event, &facts));
}

#[test]
fn the_null_sender_is_two_brackets_and_no_sender_is_nothing() {
    let null = Facts { sender: Some(String::new()), ..Facts::default() };
    let some = Facts { sender: Some("a@b.example".into()), ..Facts::default() };
    let event = EventKind::OnInboundCommand;
    assert!(holds("mail from=<>", event, &null));
    assert!(!holds("mail from=<>", event, &some));
    assert!(holds("mail from=<>|*@b.example", event, &some));
    assert!(holds("mail  from=<A@b.example>", event, &some));
    assert!(holds("mail from!=<>", event, &Facts::default()), "before MAIL there is no sender to match");
    assert!(!holds("mail from=*", event, &Facts::default()));
}

#[test]
fn rcpt_to_selects_recipients_of_a_message() {
    let envelope = envelope();
    let facts = Facts { recipients: envelope.recipients.as_slice().into(), ..Facts::default() };
    assert_eq!(rule("rcpt to=*@two.example").matches(&facts), Matched::Yes(Some(vec![1, 2])));
    assert_eq!(rule("rcpt to!=*@two.example").matches(&facts), Matched::Yes(Some(vec![0])));
    assert_eq!(rule("rcpt to=*@two.example;rcpt to=c@*").matches(&facts), Matched::Yes(Some(vec![2])));
    assert_eq!(
        rule("rcpt to=*@three.example").matches(&facts),
        Matched::No {
            condition: "rcpt to=*@three.example".into(),
            found: "<a@one.example>, <b@two.example>, <c@two.example>".into()
        }
    );
}

#[test]
fn rcpt_to_at_a_rcpt_command_looks_at_the_recipient_that_it_names() {
    let envelope = envelope();
    let facts = Facts {
        recipients: envelope.recipients.as_slice().into(),
        rcpt_argument: Some("d@three.example"),
        ..Facts::default()
    };
    let parse = |text| Rule::parse(text, EventKind::OnInboundCommand).expect("a rule");
    assert_eq!(parse("rcpt to=*@three.example").matches(&facts), Matched::Yes(None));
    assert_eq!(
        parse("rcpt to=a@one.example").matches(&facts),
        Matched::No { condition: "rcpt to=a@one.example".into(), found: "<d@three.example>".into() }
    );
}

#[test]
fn a_header_condition_needs_one_field_that_fits() {
    let block = HeaderBlock::parse(&Bytes::from_static(b"X-A: one\r\nSubject: Hello\r\n there\r\nX-A: two\r\n"));
    let block = block.expect("small");
    let facts = Facts { header: Some(&block), ..Facts::default() };
    let event = EventKind::OnSubmission;
    assert!(holds("header x-a=two", event, &facts));
    assert!(holds("header Subject=hello there", event, &facts));
    assert!(!holds("header X-A!=two", event, &facts));
    assert!(holds("header X-B!=*", event, &facts), "an absent field fits nothing");
    assert!(!holds("header X-B=*", event, &facts));
}

#[test]
fn sizes_have_units() {
    let facts = Facts { size: Some(10 * 1024 * 1024), ..Facts::default() };
    for (text, over) in [("size>10MiB", false), ("size>10239 KiB", true), ("size > 1gib", false), ("size>100", true)] {
        assert_eq!(holds(text, EventKind::OnEndOfData, &facts), over, "{text}");
    }
    for bad in ["size>", "size>MiB", "size>1MB", "size>-1", "size>99999999999999999999", "size>18446744073709551615GiB"]
    {
        assert!(Rule::parse(bad, EventKind::OnEndOfData).is_err(), "{bad}");
    }
}

#[test]
fn codes_origins_and_listeners_are_texts() {
    let facts = Facts { code: Some(550), listener: Some("mx"), origin: Some("sink:copy".into()), ..Facts::default() };
    assert!(holds("code=5*", EventKind::OnReject, &facts));
    assert!(!holds("code=4*|501", EventKind::OnReject, &facts));
    assert!(holds("origin=sink:*;listener=MX", EventKind::OnSubmission, &facts));
    assert!(!holds("origin=smtp", EventKind::OnSubmission, &facts));
    for bad in ["code=55", "code=5xx", "code=5500", "code=abc"] {
        assert!(Rule::parse(bad, EventKind::OnReject).is_err(), "{bad}");
    }
    assert!(Rule::parse("origin=stmp", EventKind::OnSubmission).is_err());
}

#[test]
fn a_wrong_field_is_an_error_that_names_the_right_ones() {
    assert_eq!(
        error("rctp to=a", EventKind::OnEndOfData),
        "there is no rule field \"rctp to\", did you mean \"rcpt to\"?; on-end-of-data knows ehlo, mail from, \
         rcpt to, client, user, tls, size>, header NAME, listener, origin"
    );
    assert!(error("helo=x", EventKind::OnInboundCommand).contains("did you mean \"ehlo\""));
    assert!(error("sizes>1", EventKind::OnEndOfData).contains("did you mean \"size>\""));
    assert!(!error("weather=x", EventKind::OnEndOfData).contains("did you mean"));
    assert_eq!(
        error("verb=x", EventKind::OnConnect),
        "on-connect cannot know \"verb\"; it knows client, tls, listener"
    );
    assert!(error("header A=x", EventKind::OnInboundCommand).contains("cannot know \"header a\""));
    assert!(error("header=x", EventKind::OnEndOfData).contains("no rule field \"header\""));
}

#[test]
fn a_rule_may_ask_who_the_client_proved_to_be_and_whether_the_line_is_encrypted() {
    let known = Facts { user: Some("Ann"), tls: Some("TLSv1.3"), ..Facts::default() };
    let plain = Facts::default();
    let holds = |text: &str, facts: &Facts<'_>| {
        matches!(Rule::parse(text, EventKind::OnEndOfData).expect("a rule").matches(facts), Matched::Yes(_))
    };
    for (rule, of_known, of_plain) in [
        ("user=ann", true, false),
        ("user!=*", false, true),
        ("tls=*", true, false),
        ("tls!=*", false, true),
        ("tls=tlsv1.3|tlsv1.2", true, false),
        ("tls=TLSv1.2", false, false),
    ] {
        assert_eq!((holds(rule, &known), holds(rule, &plain)), (of_known, of_plain), "{rule}");
    }
    assert!(error("tls=yes", EventKind::OnConnect).contains("such as TLSv1.3"));
    assert!(error("user=a", EventKind::OnConnect).contains("cannot know"));
}

#[test]
fn a_part_that_is_no_condition_is_an_error() {
    for bad in ["verb", "=x", "!=x", "verb=a;", ";verb=a", "verb=a;;verb=b", ">5", "size!>5"] {
        assert!(matches!(Rule::parse(bad, EventKind::OnInboundCommand), Err(RuleError::Form { .. })), "{bad}");
    }
    for bad in ["verb=", "verb=a|", "client=*", "client=a.example", "size=5", "verb>5", "verb=a b"] {
        assert!(matches!(Rule::parse(bad, EventKind::OnInboundCommand), Err(RuleError::Pattern { .. })), "{bad}");
    }
}

#[test]
fn a_failed_condition_says_what_was_found() {
    let facts = Facts { client: "::ffff:192.0.2.1".parse().ok(), ..Facts::default() };
    assert_eq!(
        rule("client=10.0.0.0/8").matches(&facts),
        Matched::No { condition: "client=10.0.0.0/8".into(), found: "192.0.2.1".into() }
    );
    assert_eq!(rule("ehlo=x").matches(&facts), Matched::No { condition: "ehlo=x".into(), found: "nothing".into() });
}
