//! Forged fields in every form, and what others wrote in ours.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::mail::{Arrival, Auth, AuthMethod, AuthResult, Origin, Vouched};
use crate::time::Timestamp;

fn ours() -> Authority {
    Authority::new("MX.basin.example").known_as(["xn--bcher-kva.example", "mx.basin.example"])
}

fn is_taken_out(block: &str) -> bool {
    let header = HeaderBlock::parse(&Bytes::from(block.to_owned())).expect("small");
    let kept = ours().without_claims(Arc::new(header));
    assert_eq!(kept.len(), kept.to_bytes().len());
    kept.is_empty()
}

#[test]
fn every_spelling_of_our_name_is_ours() {
    for value in [
        "mx.basin.example; dkim=pass",
        "MX.Basin.EXAMPLE; dkim=pass",
        "mx.basin.example 1; dkim=pass",
        "mx.basin.example",
        "mx.basin.example.; none",
        "\t mx.basin.example\t;none",
        "(a comment) mx.basin.example; none",
        "(a (nested \\) one)) mx.basin.example (x) 1 (y); none",
        "\r\n mx.basin.example;\r\n dkim=pass",
        "\r\n\t(folded\r\n comment)\r\n mx.basin.example\r\n ; none",
        "\"mx.basin.example\"; none",
        "\"mx\\.basin.example\" 1; none",
        "\"mx.basin.\r\n example\"; none",
        "b\u{fc}cher.example; none",
        "B\u{dc}CHER.example; none",
        "\"xn--BCHER-kva.example\"; none",
        "mx\u{3002}basin\u{ff0e}example; none",
        "mx.basin.ex\u{ad}ample; none",
    ] {
        assert!(is_taken_out(&format!("Authentication-Results: {value}\r\n")), "{value:?}");
    }
}

#[test]
fn what_could_be_taken_for_ours_goes_too() {
    for value in [
        "(not closed mx.basin.example; dkim=pass",
        "(a(b) mx.basin.example; dkim=pass",
        "(a(b) mx.basin.example;) other.example; dkim=pass",
        "(a\\) mx.basin.example; dkim=pass",
        "\"mx.basin.example; dkim=pass",
        "mx.basin.example dkim=pass",
        "mx.basin.example/1; none",
        "@mx.basin.example; none",
        "mx.basin.(x)example; none",
        "mx.basin.\r\n example; none",
        "; mx.basin.example; dkim=pass",
        "other.example mx.basin.example; dkim=pass",
        "other.example (never closed mx.basin.example; dkim=pass",
        "=?utf-8?q?mx.basin.example?=; dkim=pass",
        "=?utf-8?b?bXguYmFzaW4uZXhhbXBsZQ==?=; dkim=pass",
        "\"=?utf-8?b?bXguYmFzaW4uZXhhbXBsZQ==?=\"; dkim=pass",
        "dkim=pass mx.basin.example",
        "mx.basin.exam\u{fffd}ple; dkim=pass",
        "1 mx.basin.example; dkim=pass",
    ] {
        assert!(is_taken_out(&format!("Authentication-Results: {value}\r\n")), "{value:?}");
    }
}

#[test]
fn the_name_of_the_field_hides_nothing() {
    for name in [
        "authentication-results:",
        "AUTHENTICATION-RESULTS :",
        "Authentication-Results\t \t:",
        "Authentication-Results\u{b}:",
        "Authentication-Results\r\n :",
        "\u{feff}Authentication-Results:",
        "Authentication-Results\u{a0}:",
    ] {
        assert!(is_taken_out(&format!("{name} mx.basin.example; dkim=pass\r\n")), "{name:?}");
    }
}

#[test]
fn fields_of_others_stay_octet_for_octet() {
    let block = "Received: x\r\n\
        Authentication-Results: other.example; dkim=pass header.d=mx.basin.example\r\n\
        Authentication-Results: mx.basin.example.other.example; spf=pass\r\n\
        authentication-results :not-mx.basin.example;\r\n\tspf=pass (mx.basin.example: fine)\r\n\
        Authentication-Results: a.mx.basin.example; none\r\n\
        Authentication-Results: mx.basin.example1; none\r\n\
        Authentication-Results: spf=pass (sender IP is 192.0.2.1) smtp.mailfrom=x.example; dkim=none\r\n\
        Authentication-Results:\r\n\
        ARC-Authentication-Results: i=1; mx.basin.example; spf=pass\r\n\
        X-Authentication-Results: mx.basin.example; spf=pass\r\n\
        Subject: Authentication-Results: mx.basin.example; dkim=pass\r\n";
    let header = Arc::new(HeaderBlock::parse(&Bytes::from_static(block.as_bytes())).expect("small"));
    let kept = ours().without_claims(header.clone());
    assert!(Arc::ptr_eq(&kept, &header), "{}", String::from_utf8_lossy(&kept.to_bytes()));
    let mixed = format!("Authentication-Results: mx.basin.example; none\r\n{block}A-Last: x\r\n");
    let kept = ours().without_claims(Arc::new(HeaderBlock::parse(&Bytes::from(mixed)).expect("small")));
    assert_eq!(String::from_utf8_lossy(&kept.to_bytes()), format!("{block}A-Last: x\r\n"));
}

fn arrival(user: Option<&str>, name: Option<&str>) -> Arrival {
    let auth = user.map(|user| Auth { user: user.to_owned(), mechanism: "PLAIN".to_owned() });
    Arrival {
        origin: Origin::Smtp,
        at: Timestamp::default(),
        listener: "in".to_owned(),
        client: Some("[::ffff:192.0.2.1]:4000".parse().expect("an address")),
        server: None,
        helo: None,
        is_esmtp: true,
        session: None,
        depth: 0,
        vouched: Vouched { client_name: name.map(str::to_owned), auth, ..Vouched::default() },
    }
}

fn result(method: AuthMethod, outcome: &'static str, properties: &[(&'static str, &str)]) -> AuthResult {
    let properties: BTreeMap<_, _> = properties.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    AuthResult { method, outcome, domain: String::new(), properties, reason: "why \"so\"".to_owned() }
}

fn written(arrival: &Arrival, results: &[AuthResult], is_utf8: bool) -> String {
    own_field(&ours(), arrival, results, is_utf8).expect("something to say").value()
}

#[test]
fn results_are_stated_in_the_words_of_the_standard() {
    let signature = [("header.d", "a.example"), ("header.s", "s1"), ("header.a", "rsa-sha256"), ("header.b", "ab/d")];
    let results = [
        result(AuthMethod::Spf, "pass", &[("smtp.mailfrom", "a@a.example")]),
        result(AuthMethod::Dkim, "pass", &signature),
        result(AuthMethod::Dkim, "temperror", &[("header.d", "b.example")]),
        result(AuthMethod::Dmarc, "none", &[("header.from", "a.example")]),
        result(AuthMethod::Arc, "fail", &[("header.d", "left.out")]),
    ];
    assert_eq!(
        written(&arrival(None, Some("client.example")), &results, false),
        "MX.basin.example; iprev=pass policy.iprev=192.0.2.1; spf=pass smtp.mailfrom=a@a.example; dkim=pass \
         header.d=a.example header.s=s1 header.a=rsa-sha256 header.b=\"ab/d\"; dkim=temperror reason=\"why \\\"so\\\"\" \
         header.d=b.example; dmarc=none header.from=a.example; arc=fail reason=\"why \\\"so\\\"\" smtp.remote-ip=192.0.2.1"
    );
    assert_eq!(written(&arrival(Some("ann"), None), &results, false), "MX.basin.example; auth=pass smtp.auth=ann");
    assert_eq!(own_field(&ours(), &arrival(None, Some("client.example")), &[], false), None);
    assert_eq!(signature_start(&[0; 64]), "AAAAAAAAAAAA");
}

#[test]
fn what_others_wrote_stays_in_its_place() {
    for (value, is_utf8, stands) in [
        ("a; dkim=pass", false, "\"a; dkim=pass\""),
        ("\"a b\"@x.example", false, "\"\\\"a b\\\"@x.example\""),
        ("a\\", false, "\"a\\\\\""),
        ("a\r\nX: y\0", false, "\"a??X: y?\""),
        ("(x)@y.example", false, "\"(x)@y.example\""),
        ("@y.example", false, "\"@y.example\""),
        ("j\u{f6}rg@x.example", false, "\"j?rg@x.example\""),
        ("j\u{f6}rg@x.example", true, "\"j\u{f6}rg@x.example\""),
        ("a\u{2028}b", true, "\"a?b\""),
    ] {
        let results = [result(AuthMethod::Spf, "none", &[("smtp.mailfrom", value)])];
        let text = written(&arrival(None, None), &results, is_utf8);
        assert_eq!(text, format!("MX.basin.example; spf=none smtp.mailfrom={stands}"), "{value:?}");
    }
    let long = [result(AuthMethod::Spf, "none", &[("smtp.helo", &"x".repeat(400))])];
    assert_eq!(written(&arrival(None, None), &long, false), "MX.basin.example; spf=none");
}

proptest! {
    #[test]
    fn any_octets_have_an_answer_and_none_hides_a_regular_field(
        junk in proptest::collection::vec(any::<u8>(), 0..200),
        space in "[ \t]{0,3}(\\([a-z ]{0,8}\\))?[ \t]{0,3}",
        value in ".{0,60}",
    ) {
        let raw = [b"Authentication-Results:".as_slice(), &junk, b"\r\n"].concat();
        if let Ok(block) = HeaderBlock::parse(&Bytes::from(raw)) {
            drop(ours().without_claims(Arc::new(block)));
        }
        let field = format!("Authentication-Results:{space}mx.basin.example{space}; dkim=pass\r\n");
        prop_assert!(is_taken_out(&field));
        // Whatever somebody calls himself: the field is ours, and one.
        let results = [result(AuthMethod::Spf, "fail", &[("smtp.mailfrom", &value), ("smtp.helo", &value)])];
        let field = own_field(&ours(), &arrival(None, None), &results, true).expect("something to say");
        let block = HeaderBlock::parse(&Bytes::copy_from_slice(field.raw())).expect("small");
        prop_assert_eq!(block.fields().len(), 1);
        prop_assert!(ours().is_claimed_by(&field));
    }
}
