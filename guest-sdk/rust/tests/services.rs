//! What the server does for a sink besides the message, against the server in memory.

use basin_sink::prelude::*;
use basin_sink::testing;
use std::time::Duration;

/// Remembers who was here, in words that a refusal takes back and in numbers that it does not.
struct Doorman;

impl OnConnect for Doorman {
    fn on_connect(session: &Session, _call: &Call) -> Result<ConnectVerdict> {
        let address = session.client().address;
        let visits = state::increment(&format!("visits/{address}"), 1, Some(Duration::from_secs(60)))?;
        state::set(&format!("last/{address}"), visits.to_string(), None)?;
        match visits {
            1 => Ok(ConnectVerdict::Next),
            2 => Ok(refuse(421, "4.7.0", "not again")),
            _ => Err(Failure::new("three is too much")),
        }
    }
}

#[test]
fn a_refusal_and_a_failure_drop_what_was_set_and_keep_what_was_counted() {
    let mut session = testing::Session::new();
    assert_eq!(session.connect::<Doorman>(), ConnectVerdict::Next);
    assert_eq!(session.connect::<Doorman>(), refuse(421, "4.7.0", "not again"));
    assert_eq!(session.state("last/192.0.2.1"), Some(&b"1"[..]));
    assert_eq!(session.state("visits/192.0.2.1"), Some(&b"2"[..]));
    assert!(session.try_connect::<Doorman>().is_err());
    assert_eq!(session.state("last/192.0.2.1"), Some(&b"1"[..]));
    assert_eq!(session.state("visits/192.0.2.1"), Some(&b"3"[..]));
}

#[test]
fn the_life_of_a_number_begins_with_its_first_addition() {
    let mut session = testing::Session::new();
    assert_eq!(session.connect::<Doorman>(), ConnectVerdict::Next);
    session.advance(Duration::from_secs(59));
    assert_eq!(session.connect::<Doorman>(), refuse(421, "4.7.0", "not again"));
    session.advance(Duration::from_secs(1));
    assert_eq!(session.state_keys(), ["last/192.0.2.1"]);
    assert_eq!(session.connect::<Doorman>(), ConnectVerdict::Next);
}

/// Asks the resolver for all that it can tell, and logs the answers.
struct Asker;

impl OnTimer for Asker {
    fn on_timer(_call: &Call) -> Result<()> {
        log::info!("{:?} {:?}", dns::addresses("Mail.Client.example"), dns::mx("client.example"));
        log::info!("{:?} {:?}", dns::txt("client.example"), dns::ptr("192.0.2.1"));
        log::info!("{:?} {:?}", dns::addresses("nobody.example"), dns::addresses("dead.example"));
        log::info!("{:?}", dns::mx("two words").is_err_and(|error| matches!(error, Error::Invalid(_))));
        Ok(())
    }
}

#[test]
fn the_resolver_knows_what_the_test_told_it() {
    let mut session = testing::Session::new();
    session
        .set_dns_addresses("mail.client.example", &["192.0.2.1"])
        .set_dns_mx("client.example", &[(10, "mail.client.example")])
        .set_dns_txt("client.example", &["v=spf1 -all"])
        .set_dns_ptr("192.0.2.1", &["mail.client.example"])
        .set_dns_failure("dead.example");
    session.timer::<Asker>();
    let lines: Vec<&str> = session.log().iter().map(|(_, line)| line.as_str()).collect();
    assert_eq!(lines[0], r#"Ok(["192.0.2.1"]) Ok([(10, "mail.client.example")])"#);
    assert_eq!(lines[1], r#"Ok(["v=spf1 -all"]) Ok(["mail.client.example"])"#);
    assert!(lines[2].starts_with("Err(NotFound) Err(Unavailable("), "{}", lines[2]);
    assert_eq!(lines[3], "true");
    assert_eq!(session.dns_questions()[0], "mail.client.example");
}

/// Writes down what message authentication says.
struct Notary;

impl OnEndOfData for Notary {
    fn on_end_of_data(_session: &Session, message: &mut Message, _call: &Call) -> Result<DataVerdict> {
        for method in ["spf", "dkim", "dmarc"] {
            for result in message_auth::verify(message, method)? {
                let policy = result.property("policy.dmarc").unwrap_or_default();
                log::info!("{method}={} {} {policy}", result.outcome(), result.domain());
            }
        }
        Ok(DataVerdict::Next)
    }
}

#[test]
fn message_authentication_says_what_the_test_told_it() {
    let mut message = testing::Message::from_eml("From: a@client.example\r\n\r\n");
    message
        .add_auth_result(testing::AuthResult::new("dkim", "pass", "client.example"))
        .add_auth_result(testing::AuthResult::new("dkim", "fail", "list.example"))
        .add_auth_result(
            testing::AuthResult::new("dmarc", "pass", "client.example").property("policy.dmarc", "reject"),
        );
    assert_eq!(message.end_of_data::<Notary>(), DataVerdict::Next);
    let lines: Vec<&str> = message.log().iter().map(|(_, line)| line.trim_end()).collect();
    assert_eq!(
        lines,
        ["spf=none", "dkim=pass client.example", "dkim=fail list.example", "dmarc=pass client.example reject"]
    );
    message.set_auth_unavailable();
    assert!(message.try_end_of_data::<Notary>().is_err());
}

#[cfg(feature = "http")]
mod http {
    use super::*;
    use basin_sink::http::Request;

    /// Shows a message to a scanner.
    struct Scan;

    impl OnEndOfData for Scan {
        fn on_end_of_data(_session: &Session, message: &mut Message, _call: &Call) -> Result<DataVerdict> {
            let mut content = message.content();
            let size = content.size();
            let answer = Request::post("http://scanner.example/scan", &mut content, size)
                .header("Queue-Id", &message.id())
                .answer_octets_max(10)
                .send()?;
            Ok(if answer.is_success() { DataVerdict::Next } else { refuse(550, "5.7.1", &answer.text()) })
        }
    }

    #[test]
    fn a_request_gets_the_answer_that_the_test_gave() {
        let mut message = testing::Message::from_eml("Subject: hi\r\n\r\nbody");
        message.set_http_answer("http://scanner.example/scan", 403, "no");
        assert_eq!(message.end_of_data::<Scan>(), refuse(550, "5.7.1", "no"));
        let [request] = message.http_requests() else { panic!("one request") };
        assert_eq!((request.method.as_str(), request.url.as_str()), ("POST", "http://scanner.example/scan"));
        assert_eq!(request.headers_named("queue-id"), ["message-1"]);
        assert_eq!(request.headers_named("content-length"), [request.body.len().to_string()]);
        assert_eq!(request.body, b"Subject: hi\r\n\r\nbody");
    }

    #[test]
    fn no_answer_and_a_long_answer_are_failures() {
        let mut message = testing::Message::from_eml("Subject: hi\r\n\r\nbody");
        assert!(message.try_end_of_data::<Scan>().is_err());
        message.set_http_answer("http://scanner.example/scan", 200, "more than ten octets");
        assert!(message.try_end_of_data::<Scan>().is_err());
        assert_eq!(message.http_requests().len(), 2);
    }
}
