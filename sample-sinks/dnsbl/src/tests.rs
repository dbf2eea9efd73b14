use super::*;
use basin_sink::testing;

const RCPT: &str = "RCPT TO:<b@basin.example>";

fn session() -> testing::Session {
    let mut session = testing::Session::new();
    session
        .set_config("zones", "first.example, second.example=127.0.0.2|127.0.0.4")
        .set_dns_addresses("1.2.0.192.second.example", &["127.0.0.4"])
        .set_dns_txt("1.2.0.192.second.example", &["see https://second.example/\u{7}why"]);
    session
}

fn refused() -> CommandVerdict {
    refuse(550, "5.7.1", "192.0.2.1 is listed by second.example see https://second.example/?why")
}

#[test]
fn a_listed_client_is_refused_at_rcpt_with_the_reason_of_the_list() {
    let mut session = session();
    assert_eq!(session.connect::<Dnsbl>(), ConnectVerdict::Next);
    assert_eq!(session.command::<Dnsbl>("MAIL FROM:<a@client.example>"), CommandVerdict::Next);
    assert_eq!(session.command::<Dnsbl>(RCPT), refused());
    assert_eq!(session.command::<Dnsbl>(RCPT), refused());
    assert_eq!(session.dns_questions().len(), 3, "the lists are asked once for each session");
}

#[test]
fn the_postmaster_and_users_are_spared() {
    let mut session = session();
    assert_eq!(session.connect::<Dnsbl>(), ConnectVerdict::Next);
    for address in ["Postmaster@basin.example", "postmaster"] {
        assert_eq!(session.command::<Dnsbl>(&format!("RCPT TO:<{address}>")), CommandVerdict::Next);
    }
    session.set_auth("ann", "PLAIN");
    assert_eq!(session.command::<Dnsbl>(RCPT), CommandVerdict::Next);
}

#[test]
fn who_is_not_listed_passes() {
    let mut session = session();
    session.set_client("192.0.2.9", None);
    assert_eq!(session.connect::<Dnsbl>(), ConnectVerdict::Next);
    assert_eq!(session.command::<Dnsbl>(RCPT), CommandVerdict::Next);
}

#[test]
fn only_codes_of_listings_and_of_the_filter_count() {
    for (code, is_listed) in
        [("127.0.0.2", true), ("127.0.0.3", false), ("127.255.255.254", false), ("203.0.113.7", false), ("::1", false)]
    {
        let mut session = session();
        session.set_dns_addresses("1.2.0.192.second.example", &[code]);
        assert_eq!(session.connect::<Dnsbl>(), ConnectVerdict::Next);
        assert_eq!(session.session_property("shared.dnsbl").is_some(), is_listed, "{code}");
        session.set_config("zones", "second.example");
        assert_eq!(session.connect::<Dnsbl>(), ConnectVerdict::Next);
        assert_eq!(
            session.session_property("shared.dnsbl").is_some(),
            matches!(code, "127.0.0.2" | "127.0.0.3"),
            "{code}"
        );
    }
}

#[test]
fn a_list_that_does_not_answer_stops_nobody() {
    let mut session = session();
    session.set_dns_failure("1.2.0.192.second.example");
    assert_eq!(session.connect::<Dnsbl>(), ConnectVerdict::Next);
    assert_eq!(session.command::<Dnsbl>(RCPT), CommandVerdict::Next);
    assert_eq!(session.counter("unanswered"), 1);
}

#[test]
fn an_ipv6_client_is_asked_about_by_its_nibbles() {
    let mut session = session();
    session.set_config("zones", "list.example").set_client("2001:db8::2:1", None);
    assert_eq!(session.connect::<Dnsbl>(), ConnectVerdict::Next);
    let question = "1.0.0.0.2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.list.example";
    assert_eq!(session.dns_questions(), [question]);
}

#[test]
fn the_operator_may_leave_the_decision_to_other_sinks() {
    let mut session = session();
    session.set_config("action", "tell");
    assert_eq!(session.connect::<Dnsbl>(), ConnectVerdict::Next);
    assert_eq!(session.command::<Dnsbl>(RCPT), CommandVerdict::Next);
    assert!(session.session_property("shared.dnsbl").is_some_and(|listed| listed.starts_with(b"second.example ")));
}

#[test]
fn mistyped_lists_and_too_many_are_failures() {
    for zones in ["", "list", "list.example=127.0.0", "a.b, a.b, a.b, a.b, a.b, a.b, a.b, a.b, a.b"] {
        let mut session = testing::Session::new();
        session.set_config("zones", zones);
        assert!(session.try_connect::<Dnsbl>().is_err(), "{zones}");
    }
    let mut session = session();
    session.set_config("action", "shout");
    assert_eq!(session.connect::<Dnsbl>(), ConnectVerdict::Next);
    assert!(session.try_command::<Dnsbl>(RCPT).is_err());
}
