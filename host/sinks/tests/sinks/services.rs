//! `state`, `dns` and `message-auth`: what a granted sink gets, what it sees of itself and others, and its limits.

use std::sync::Arc;

use basin_core::event::{EventKind, Grant};
use basin_core::mail::Body;

use crate::remembering::Remembering;
use crate::stage::{plain, probe};

fn stored(entries: &[(&str, &str, &str)]) -> Arc<Remembering> {
    let host = Remembering::default();
    let entry = |(sink, key, value): &(&str, &str, &str)| {
        ((String::from(*sink), String::from(*key)), value.as_bytes().to_vec())
    };
    host.tables.lock().unwrap().extend(entries.iter().map(entry));
    Arc::new(host)
}

#[test]
fn every_service_is_denied_without_its_grant_and_the_sink_goes_on() {
    let state = ["state-get|k", "state-set|k|v|0", "state-swap|k|-|v", "state-delete|k", "state-increment|k|1|0"];
    let cases = state.into_iter().chain(["state-keys|"]).map(|script| (script, Grant::State));
    let dns = ["dns-addresses|two.example", "dns-mx|a.example", "dns-txt|a.example", "dns-ptr|192.0.2.1"];
    let cases = cases.chain(dns.into_iter().map(|script| (script, Grant::Dns)));
    for (script, grant) in cases.chain([("verify|dkim", Grant::MessageAuth)]) {
        let outcome = probe(script).all_grants_but(grant).run();
        outcome.answered();
        let line = outcome.lines().first().copied().unwrap_or_default().to_owned();
        assert!(line.contains("denied") && line.contains(&format!("--grant {grant}")), "{script}: {line}");
        assert_eq!(outcome.report.usage.denied, 1, "{script}");
        assert!(outcome.answered().1.tables.is_empty() && outcome.report.usage.host_calls > 0);
    }
}

#[test]
fn a_sink_sees_its_own_changes_at_once_and_they_join_the_overlay() {
    let host = stored(&[("probe", "old", "1"), ("other", "k", "theirs")]);
    let script = "state-get|old\nstate-set|k|v|60\nstate-get|k\nstate-delete|old\nstate-get|old\nstate-keys|\n\
                  state-swap|k|wrong|w\nstate-swap|k|v|w\nstate-swap|new|-|n\nstate-get|k";
    let outcome = probe(script).all_grants().host(&host).run();
    assert_eq!(
        outcome.lines(),
        [
            "state-get: ok Some(\"1\")",
            "state-set: ok ()",
            "state-get: ok Some(\"v\")",
            "state-delete: ok ()",
            "state-get: ok None",
            "state-keys: ok [\"k\"]",
            "state-swap: ok false",
            "state-swap: ok true",
            "state-swap: ok true",
            "state-get: ok Some(\"w\")",
        ]
    );
    let tables = outcome.answered().1.tables.clone();
    let conditions: Vec<_> = tables.iter().map(|(sink, key, edit)| (sink, key, edit.expected.clone())).collect();
    assert_eq!(conditions, [("probe", "k", None), ("probe", "new", Some(None)), ("probe", "old", None)]);
    assert_eq!(host.tables.lock().unwrap().len(), 2, "nothing is written before the chain is decided");
    let later = probe("state-get|k").all_grants().tables(tables).run();
    assert_eq!(later.lines(), ["state-get: ok Some(\"w\")"], "a later call of the chain finds it");
}

#[test]
fn a_swap_remembers_what_it_found_and_a_failed_call_leaves_nothing() {
    let host = stored(&[("probe", "k", "1")]);
    let outcome = probe("state-swap|k|1|2").all_grants().host(&host).run();
    let edit = outcome.answered().1.tables.of("probe", "k").cloned().expect("set");
    assert_eq!(edit.expected, Some(Some(b"1".as_slice().into())));
    let outcome = probe("state-set|k|v|0\npanic").all_grants().host(&host).run();
    outcome.failed();
    assert_eq!(host.tables.lock().unwrap().len(), 1);
}

#[test]
fn a_count_takes_effect_at_once_unless_the_chain_set_the_number_itself() {
    let host = stored(&[]);
    let outcome = probe("state-increment|n|2|60\nstate-increment|n|3|60").all_grants().host(&host).run();
    assert_eq!(outcome.lines(), ["state-increment: ok 2", "state-increment: ok 5"]);
    assert!(outcome.answered().1.tables.is_empty());
    let outcome = probe("state-set|n|10|0\nstate-increment|n|1|60\nstate-get|n").all_grants().host(&host).run();
    assert_eq!(outcome.lines()[3..], ["state-increment: ok 11", "state-get: ok Some(\"11\")"]);
    assert_eq!(host.tables.lock().unwrap().values().next().map(Vec::as_slice), Some(b"5".as_slice()));
    let outcome = probe("state-set|n|text|0\nstate-increment|n|1|60").all_grants().host(&host).run();
    assert_eq!(outcome.lines().last(), Some(&"state-increment: invalid the value is no number"));
    let outcome = probe("state-increment|n|1|0\nstate-set|n|1|0\nstate-delete|n\nstate-swap|n|-|1").all_grants();
    let outcome = outcome.read_only().run();
    assert!(outcome.lines().iter().all(|line| line.ends_with("read-only")), "{:?}", outcome.lines());
}

#[test]
fn what_a_shadow_counts_does_not_count() {
    let host = stored(&[]);
    let script = "state-increment|n|2|60\nstate-increment|n|3|60\nstate-get|n\nstate-set|k|v|0";
    let outcome = probe(script).all_grants().host(&host).shadow().run();
    let expected = ["state-increment: ok 2", "state-increment: ok 5", "state-get: ok Some(\"5\")", "state-set: ok ()"];
    assert_eq!(outcome.lines(), expected, "it sees its own sums");
    assert!(host.tables.lock().unwrap().is_empty(), "nobody else does");
    // It counts on from what is there, and that stays as it is.
    let host = stored(&[("probe", "n", "40")]);
    let outcome = probe("state-increment|n|2|60").all_grants().host(&host).shadow().run();
    assert_eq!(outcome.lines(), ["state-increment: ok 42"]);
    assert_eq!(host.tables.lock().unwrap().values().next().map(Vec::as_slice), Some(b"40".as_slice()));
}

#[test]
fn keys_values_and_tables_have_their_limits() {
    let long = "k".repeat(257);
    let outcome =
        probe(&format!("state-get|\nstate-get|{long}\nstate-fill|k|65536\nstate-fill|k|65537")).all_grants().run();
    let lines = outcome.lines();
    assert!(lines[0].contains("invalid") && lines[1].contains("invalid"), "{lines:?}");
    assert_eq!(lines[2], "state-fill: ok ()");
    assert!(lines[3].contains("limit a value"), "{lines:?}");

    let large = "x".repeat(65_500);
    let keys: Vec<String> = (0..256).map(|number| format!("{number:03}")).collect();
    let full: Vec<(&str, &str, &str)> = keys.iter().map(|key| ("probe", key.as_str(), large.as_str())).collect();
    let outcome = probe("state-fill|new|60000\nstate-fill|000|65000").all_grants().host(&stored(&full)).run();
    assert!(outcome.lines()[0].contains("limit a sink stores"), "{:?}", outcome.lines());
    assert_eq!(outcome.lines()[1], "state-fill: ok ()", "what is there can be replaced");

    let many = (0..20).map(|number| format!("state-fill|{number}|65000\n")).collect::<String>();
    let outcome = probe(&many).all_grants().run();
    assert!(outcome.lines().last().is_some_and(|line| line.contains("limit the sinks of one event")));
}

#[test]
fn a_long_table_is_listed_in_pieces_without_a_hole() {
    let keys: Vec<String> = (0..1_500).map(|number| format!("{number:04}")).collect();
    let entries: Vec<(&str, &str, &str)> = keys.iter().map(|key| ("probe", key.as_str(), "v")).collect();
    let host = stored(&entries);
    let script = "state-delete|0005\nstate-set|1400x|v|0\nstate-list|\nstate-list||0998\nstate-list|140";
    let outcome = probe(script).all_grants().host(&host).run();
    assert_eq!(
        outcome.lines()[2..],
        [
            "state-list: ok (1000, Some(\"0000\"), Some(\"1000\"))",
            "state-list: ok (502, Some(\"0999\"), Some(\"1499\"))",
            "state-list: ok (11, Some(\"1400\"), Some(\"1409\"))",
        ]
    );
}

#[test]
fn answers_of_the_resolver_have_the_form_of_the_contract() {
    let script = "dns-addresses|two.example\ndns-addresses|none.example\ndns-addresses|no.example\n\
                  dns-addresses|odd name\ndns-mx|null.example\ndns-txt|a.example\ndns-ptr|a.example";
    let outcome = probe(script).grants(&[Grant::Dns]).run();
    assert_eq!(
        outcome.lines(),
        [
            "dns-addresses: ok [\"127.0.0.2\", \"2001:db8::1\"]",
            "dns-addresses: ok []",
            "dns-addresses: not-found",
            "dns-addresses: invalid this is no name",
            "dns-mx: ok [(0, \"\")]",
            "dns-txt: ok [\"v=spf1 -all\"]",
            "dns-ptr: invalid this is no IPv4 or IPv6 address",
        ]
    );
    let outcome = probe("dns-many|200").grants(&[Grant::Dns]).run();
    assert_eq!(outcome.lines(), ["dns-many: 100"], "a call asks a bounded number of questions");
}

#[test]
fn a_wait_is_no_time_of_the_sink_and_ends_in_unavailable() {
    // Five seconds are the limit at a protocol event, and a quarter of a second the time of its own.
    let outcome = probe("dns-txt|slow.example\ndns-txt|a.example").grants(&[Grant::Dns]).at(EventKind::OnConnect).run();
    outcome.answered();
    assert!(outcome.lines()[0].contains("unavailable no answer within the 5 s"), "{:?}", outcome.lines());
    assert_eq!(outcome.report.usage.own.as_secs(), 0);
}

#[test]
fn a_verification_is_about_the_message_that_arrived() {
    let mut edited = plain();
    edited.body = Body::from_bytes("edited by a sink before\r\n".to_owned());
    let call = probe("verify|dkim\nverify|spf\nverify|iprev").grants(&[Grant::MessageAuth]);
    let call = call.message(edited).arrived(plain());
    let host = call.host.clone();
    let outcome = call.run();
    let result = |method| {
        format!("verify: ok [(\"{method}\", \"pass\", \"client.example\", Some(\"s1\"), \"the test says so\")]")
    };
    assert_eq!(
        outcome.lines(),
        [&result("dkim"), &result("spf"), "verify: invalid a method is spf, dkim, dmarc or arc"]
    );
    assert!(host.verified.lock().unwrap().iter().all(|(_, octets)| *octets == plain().body.len()));
    let early =
        probe("verify|dkim\nverify|spf").grants(&[Grant::MessageAuth]).command("RCPT TO:<b@basin.example>").run();
    assert!(early.lines()[0].contains("unavailable dkim needs the whole message"));
    assert!(early.lines()[1].contains("pass"), "who sent it is known early");
}
