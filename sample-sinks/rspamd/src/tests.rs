use super::*;
use basin_sink::testing;

/// A message about which the scanner says this.
fn scanned(answer: &str) -> testing::Message {
    let mut message = testing::Message::from_eml("Subject: hi\r\nX-Spam: No\r\nX-Spam-Status: No\r\n\r\nbody\r\n");
    message.set_http_answer(URL, 200, answer);
    message
}

fn says(action: &str) -> String {
    format!(r#"{{"action": "{action}", "score": 7.5, "required_score": 15.0, "symbols": {{}}}}"#)
}

#[test]
fn the_scanner_sees_the_message_and_where_it_comes_from() {
    let mut message = scanned(&says("no action"));
    message.set_recipients(&["b@basin.example", "c@basin.example"]);
    message.set_client("192.0.2.7", Some("mail.client.example")).set_auth("ann", "PLAIN").set_config("password", "q1");
    assert_eq!(message.end_of_data::<Rspamd>(), DataVerdict::Next);
    let [request] = message.http_requests() else { panic!("one request") };
    assert_eq!((request.method.as_str(), request.url.as_str()), ("POST", URL));
    assert_eq!(request.headers_named("IP"), ["192.0.2.7"]);
    assert_eq!(request.headers_named("Rcpt"), ["b@basin.example", "c@basin.example"]);
    assert_eq!(request.headers_named("From"), ["a@client.example"]);
    assert_eq!(request.headers_named("Helo"), ["client.example"]);
    assert_eq!(request.headers_named("Hostname"), ["mail.client.example"]);
    assert_eq!(request.headers_named("User"), ["ann"]);
    assert_eq!(request.headers_named("Password"), ["q1"]);
    assert_eq!(request.headers_named("TLS-Version"), [""; 0]);
    assert_eq!(request.body, b"Subject: hi\r\n\r\nbody\r\n", "without marks that others made");
}

#[test]
fn innocent_mail_is_marked_as_such() {
    let mut message = scanned(&says("no action"));
    assert_eq!(message.end_of_data::<Rspamd>(), DataVerdict::Next);
    assert_eq!(message.headers("X-Spam-Status"), ["No, score=7.50 required=15.00"]);
    assert_eq!(message.header("X-Spam"), None);
    assert_eq!((message.counter("no_action"), message.observations("score")), (1, &[7.5][..]));
}

#[test]
fn each_action_becomes_a_verdict() {
    let mut message = scanned(&says("add header"));
    assert_eq!(message.end_of_data::<Rspamd>(), DataVerdict::Next);
    assert_eq!(message.headers("X-Spam"), ["Yes"]);
    for (action, verdict) in [
        ("reject", refuse(550, "5.7.1", "message rejected as spam")),
        ("soft reject", refuse(451, "4.7.1", "please try again later")),
        ("greylist", refuse(451, "4.7.1", "please try again later")),
        ("discard", DataVerdict::Discard),
        ("quarantine", DataVerdict::Hold("rspamd: quarantine".into())),
    ] {
        assert_eq!(scanned(&says(action)).end_of_data::<Rspamd>(), verdict, "{action}");
    }
}

#[test]
fn the_scanner_chooses_what_the_client_is_told() {
    let answer = r#"{"action": "reject", "messages": {"smtp_message": "no \u00e9 thanks\r\n250 ok"}}"#;
    assert_eq!(scanned(answer).end_of_data::<Rspamd>(), refuse(550, "5.7.1", "no ? thanks??250 ok"));
}

#[test]
fn the_subject_and_fields_are_changed_as_the_scanner_says() {
    let answer = r#"{"action": "rewrite subject", "score": 9, "required_score": 15, "subject": "[spam] hi",
        "milter": {"add_headers": {"X-One": "a", "X-Two": {"value": "b\r\n c", "order": 1}, "X-Many": ["d", {"value": "e"}]},
                   "remove_headers": {"X-Old": 0, "X-Second": 2, "X-Absent": 3}}}"#;
    let mut message = testing::Message::from_eml(
        "Subject: hi\r\nX-Old: 1\r\nX-Second: 1\r\nX-Old: 2\r\nX-Second: 2\r\nX-Second: 3\r\n\r\nbody\r\n",
    );
    message.set_http_answer(URL, 200, answer);
    assert_eq!(message.end_of_data::<Rspamd>(), DataVerdict::Next);
    assert_eq!(message.headers("Subject"), ["[spam] hi"]);
    assert_eq!((message.header("X-One").as_deref(), message.header("X-Two").as_deref()), (Some("a"), Some("b  c")));
    assert_eq!(message.headers("X-Many"), ["d", "e"]);
    assert_eq!(message.headers("X-Old"), [""; 0]);
    assert_eq!(message.headers("X-Second"), ["1", "3"]);
}

#[test]
fn a_scanner_that_is_away_or_talks_nonsense_is_a_failure() {
    let mut away = testing::Message::from_eml("Subject: hi\r\n\r\nbody\r\n");
    assert!(away.try_end_of_data::<Rspamd>().is_err());
    for (status, body) in [(500, "{}"), (200, "<html>"), (200, "{}"), (200, r#"{"action": "dance"}"#)] {
        let mut message = testing::Message::from_eml("Subject: hi\r\n\r\nbody\r\n");
        message.set_http_answer(URL, status, body);
        assert!(message.try_end_of_data::<Rspamd>().is_err(), "{status} {body}");
    }
}

#[test]
fn what_is_larger_than_the_scanner_takes_is_not_shown_to_it() {
    let mut message = scanned(&says("reject"));
    message.set_config("max-size", "10B");
    assert_eq!(message.end_of_data::<Rspamd>(), DataVerdict::Next);
    assert!(message.http_requests().is_empty());
}
