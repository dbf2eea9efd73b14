//! Logging in, from the client's end: SCRAM with a client of its own, and what no client gets by trying.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test says what went wrong")]

#[path = "logins/client.rs"]
mod client;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use basin_core::mail::TlsFacts;
use basin_core::smtp::{Accounts, AuthPolicy, Channel, Login, Mechanism, Secured, StoredKeys, Verified};
use client::{PASSWORD, Scram, Talk, policy};
use proptest::prelude::*;

fn base64(octets: impl AsRef<[u8]>) -> String {
    BASE64_STANDARD.encode(octets)
}

/// A session under TLS, greeted.
fn secured(channel: Channel) -> Talk {
    let mut talk = Talk::new(policy(AuthPolicy { needs_tls: true, ..AuthPolicy::new(client::accounts()) }));
    talk.secure(Secured { facts: TlsFacts::default(), channel });
    talk
}

fn channel() -> Channel {
    Channel { exporter: Some(vec![1; 32]), server_end_point: Some(vec![2; 32]) }
}

#[test]
fn mechanisms_are_offered_where_they_can_be_used() {
    let offer = |talk: &mut Talk| {
        let lines = talk.say("EHLO client.example");
        lines.lines().find(|line| line.contains("AUTH ")).map(|line| line[4..].to_owned())
    };
    let mut plain = Talk::new(policy(AuthPolicy::new(client::accounts())));
    assert_eq!(offer(&mut plain), None);
    assert_eq!(offer(&mut secured(Channel::default())).as_deref(), Some("AUTH SCRAM-SHA-256 PLAIN LOGIN"));
    assert_eq!(offer(&mut secured(channel())).as_deref(), Some("AUTH SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN LOGIN"));
    let end_point_alone = Channel { exporter: None, ..channel() };
    assert_eq!(
        offer(&mut secured(end_point_alone)).as_deref(),
        Some("AUTH SCRAM-SHA-256 PLAIN LOGIN"),
        "RFC 5802 §6.1"
    );
    let few = AuthPolicy { mechanisms: vec![Mechanism::Plain], ..AuthPolicy::new(client::accounts()) };
    let mut talk = Talk::new(policy(AuthPolicy { needs_tls: false, ..few }));
    assert_eq!(offer(&mut talk).as_deref(), Some("AUTH PLAIN"));
}

#[test]
fn scram_proves_the_password_both_ways() {
    for (header, bound) in [("n,,", vec![]), ("n,a=alice,", vec![])] {
        let scram = Scram { header, bound, ..Scram::usual() };
        assert_eq!(scram.login(&mut secured(Channel::default()), "SCRAM-SHA-256"), Ok(()), "{header}");
    }
    // A client that knows channel binding, and a server that has none to offer.
    let scram = Scram { header: "y,,", ..Scram::usual() };
    assert_eq!(scram.login(&mut secured(Channel::default()), "SCRAM-SHA-256"), Ok(()));
    let end_point_alone = Channel { exporter: None, ..channel() };
    assert_eq!(scram.login(&mut secured(end_point_alone), "SCRAM-SHA-256"), Ok(()), "-PLUS is not offered there");
    for (header, octet) in [("p=tls-exporter,,", 1), ("p=tls-server-end-point,,", 2)] {
        let scram = Scram { header, bound: vec![octet; 32], ..Scram::usual() };
        assert_eq!(scram.login(&mut secured(channel()), "SCRAM-SHA-256-PLUS"), Ok(()), "{header}");
    }
}

#[test]
fn a_proof_for_anything_else_is_none() {
    let wrong = [
        ("a password", "SCRAM-SHA-256", Scram { password: "white rabbit", ..Scram::usual() }),
        ("a user", "SCRAM-SHA-256", Scram { user: "nobody", ..Scram::usual() }),
        ("another user's name to act for", "SCRAM-SHA-256", Scram { header: "n,a=user,", ..Scram::usual() }),
        ("a list of mechanisms that was changed", "SCRAM-SHA-256", Scram { header: "y,,", ..Scram::usual() }),
        (
            "binding without -PLUS",
            "SCRAM-SHA-256",
            Scram { header: "p=tls-exporter,,", bound: vec![1; 32], ..Scram::usual() },
        ),
        ("-PLUS without binding", "SCRAM-SHA-256-PLUS", Scram::usual()),
        (
            "another connection",
            "SCRAM-SHA-256-PLUS",
            Scram { header: "p=tls-exporter,,", bound: vec![9; 32], ..Scram::usual() },
        ),
        (
            "another kind of binding",
            "SCRAM-SHA-256-PLUS",
            Scram { header: "p=tls-unique,,", bound: vec![1; 32], ..Scram::usual() },
        ),
        ("another header in the end", "SCRAM-SHA-256", Scram { repeated: "n,a=alice,", ..Scram::usual() }),
        ("another nonce in the end", "SCRAM-SHA-256", Scram { nonce_in_the_end: Some("x"), ..Scram::usual() }),
    ];
    for (what, mechanism, scram) in wrong {
        let refusal = scram.login(&mut secured(channel()), mechanism).expect_err(what);
        assert!(refusal.starts_with("535 5.7.8 "), "{what}: {refusal}");
    }
}

#[test]
fn who_does_not_exist_is_asked_like_everybody_else() {
    let first = |user: &str| {
        let mut talk = secured(channel());
        talk.say("EHLO client.example");
        let asked = talk.say(&format!("AUTH SCRAM-SHA-256 {}", base64(format!("n,,n={user},r=abc"))));
        let text = String::from_utf8(BASE64_STANDARD.decode(asked.trim_start_matches("334 ").trim()).unwrap()).unwrap();
        let mut parts = text.split(',').map(str::to_owned);
        (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap())
    };
    let (alice, nobody, again, other) = (first("alice"), first("nobody"), first("nobody"), first("other"));
    assert!(nobody.0.starts_with("r=abc") && nobody.0.len() > 20, "{}", nobody.0);
    assert_eq!((nobody.1.len(), &nobody.2), (alice.1.len(), &alice.2));
    assert_eq!(nobody.1, again.1);
    assert_ne!(nobody.1, other.1);
}

#[test]
fn who_guesses_too_often_is_barred_with_scram_too() {
    let scram = Scram::usual();
    let mut talk = secured(Channel::default());
    talk.is_barred = true;
    assert_eq!(scram.login(&mut talk, "SCRAM-SHA-256").map_err(|refusal| refusal.starts_with("454 ")), Err(true));
    let wrong = Scram { password: "rabbit", ..Scram::usual() };
    let mut talk = secured(Channel::default());
    assert!(wrong.login(&mut talk, "SCRAM-SHA-256").is_err());
    assert_eq!(talk.compared, 1, "the shell hears of the wrong proof");
}

#[test]
fn a_password_is_compared_in_the_form_of_all_passwords() {
    let accounts = client::accounts();
    let verify = |user: &str, password: &str| accounts.verify(&Login::with_password(user, password));
    assert_eq!(verify("alice", PASSWORD), Verified::Right);
    // RFC 4013 §2.1: any space is a space; a soft hyphen is nothing.
    assert_eq!(verify("alice", "rab\u{ad}bit\u{a0}hole"), Verified::Right);
    for (user, password) in
        [("alice", ""), ("alice", "rabbit"), ("alice", "rabbit hole\u{7}"), ("nobody", PASSWORD), ("", "")]
    {
        assert_eq!(verify(user, password), Verified::Wrong, "{user} {password:?}");
    }
    assert_eq!(Accounts::unavailable().verify(&Login::with_password("alice", "")), Verified::Unavailable);
}

#[test]
fn secrets_are_not_shown() {
    let keys = StoredKeys::derive(PASSWORD, b"12345678", 4096).unwrap();
    let record = keys.to_record();
    let shown = format!("{keys:?} {:?} {:?}", client::accounts(), AuthPolicy::new(client::accounts()));
    assert!(record.split(':').skip(1).all(|part| !shown.contains(part)), "{shown}");
    assert!(!shown.contains("alice") && !shown.contains(PASSWORD), "{shown}");
}

fn lines() -> impl Strategy<Value = String> {
    let coded = |octets: &[u8]| base64(octets);
    let known = vec![
        "AUTH PLAIN".to_owned(),
        "AUTH LOGIN".to_owned(),
        "AUTH SCRAM-SHA-256".to_owned(),
        "AUTH SCRAM-SHA-256-PLUS".to_owned(),
        "AUTH X-OWN".to_owned(),
        format!("AUTH PLAIN {}", coded(b"\0alice\0white rabbit")),
        format!("AUTH PLAIN {}", coded(b"alice\0user\0rabbit hole")),
        format!("AUTH LOGIN {}", coded(b"alice")),
        format!("AUTH SCRAM-SHA-256 {}", coded(b"n,,n=alice,r=abc")),
        format!("AUTH SCRAM-SHA-256 {}", coded(b"n,,n=al=2Cce,r=abc")),
        coded(b"n,,n=alice,r=abc"),
        coded(b"c=biws,r=abc,p=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="),
        coded(b"alice"),
        coded(b"white rabbit"),
        coded(b"\0alice\0"),
        String::new(),
        "=".to_owned(),
        "*".to_owned(),
        "EHLO client.example".to_owned(),
        "RSET".to_owned(),
        "MAIL FROM:<alice@basin.example> AUTH=alice@basin.example".to_owned(),
    ];
    let piece = "(n|y|p=tls-exporter|a=alice|n=alice|r=abc|c=biws|p=|,|,|,|=2C|=|\0|é){0,8}";
    prop_oneof![
        6 => prop::sample::select(known),
        2 => piece.prop_map(base64),
        1 => piece.prop_map(|text| format!("AUTH SCRAM-SHA-256 {}", base64(text))),
        1 => prop::collection::vec(any::<u8>(), 0..40).prop_map(base64),
        1 => "AUTH [A-Z*=+/]{0,9} ?[A-Za-z=]{0,9}",
        1 => "[ -~]{0,30}",
    ]
}

fn open_talk() -> Talk {
    let auth = AuthPolicy { needs_tls: false, attempts_max: 1_000, ..AuthPolicy::new(client::accounts()) };
    Talk::new(policy(auth))
}

proptest! {
    #[test]
    fn nobody_gets_in_without_the_password(lines in prop::collection::vec(lines(), 0..25)) {
        let mut talk = open_talk();
        talk.say("EHLO client.example");
        for line in lines {
            let said = talk.say(&line);
            prop_assert!(!said.contains("235 "), "{line}: {said}");
        }
        if !talk.is_closed() {
            for line in ["*", "RSET", "EHLO c", "MAIL FROM:<a@basin.example>"] {
                talk.say(line);
            }
            let said = talk.say("RCPT TO:<x@far.example>");
            prop_assert!(!said.starts_with('2'), "{said}");
        }
    }

    #[test]
    fn nothing_that_was_said_before_tls_is_known_after_it(
        before in prop::collection::vec(commands(), 0..12),
        after in prop::collection::vec(commands(), 0..12),
    ) {
        let run = |before: &[String]| {
            let mut talk = open_talk();
            for line in before {
                talk.say(line);
            }
            talk.say("*");
            talk.secure(Secured { facts: TlsFacts::default(), channel: channel() });
            after.iter().map(|line| talk.say(line)).collect::<Vec<_>>()
        };
        prop_assert_eq!(run(&before), run(&[]));
    }

    #[test]
    fn a_transaction_ends_with_rset_and_ehlo_and_a_login_does_not(
        before in prop::collection::vec(commands(), 0..12),
        after in prop::collection::vec(commands(), 0..12),
        end in prop::sample::select(vec!["RSET", "EHLO client.example", "HELO client.example"]),
    ) {
        let run = |before: &[String]| {
            let mut talk = open_talk();
            talk.say("EHLO client.example");
            // HELO would keep a client from AUTH until the next EHLO; that is no leak.
            let said = before.iter().filter(|line| !line.starts_with("HELO")).map(|line| talk.say(line));
            let is_logged_in = said.filter(|said| said.starts_with("235 ")).count() > 0;
            talk.say(end);
            (is_logged_in, after.iter().map(|line| talk.say(line)).collect::<Vec<_>>())
        };
        let (is_logged_in, said) = run(&before);
        let least: Vec<_> = is_logged_in.then(login).into_iter().collect();
        prop_assert_eq!(said, run(&least).1);
    }

    #[test]
    fn a_file_of_users_is_read_whole_or_refused(text in "((alice|bo:b|#|)(:\\{SCRAM-SHA-256\\}4096:MTIzNDU2Nzg=)?[ -~\\n]{0,20}\n){0,4}") {
        let _read = Accounts::parse(&text, [0; 32]);
    }
}

fn login() -> String {
    format!("AUTH PLAIN {}", base64(format!("\0alice\0{PASSWORD}")))
}

fn commands() -> impl Strategy<Value = String> {
    let known = vec![
        "EHLO client.example".to_owned(),
        "HELO client.example".to_owned(),
        "MAIL FROM:<a@basin.example>".to_owned(),
        "RCPT TO:<alice@basin.example>".to_owned(),
        "RCPT TO:<x@far.example>".to_owned(),
        login(),
        format!("AUTH PLAIN {}", base64("\0alice\0white rabbit")),
        "RSET".to_owned(),
        "NOOP".to_owned(),
        "VRFY x".to_owned(),
        "XOWN".to_owned(),
    ];
    prop::sample::select(known)
}

#[test]
fn a_file_of_users_says_what_is_wrong_with_it() {
    let keys = StoredKeys::derive(PASSWORD, b"12345678", 4096).unwrap().to_record();
    let read =
        |text: &str| Accounts::parse(text, [0; 32]).map(|accounts| accounts.users().collect::<Vec<_>>().join(" "));
    assert_eq!(
        read(&format!("# users\n\nbob:{keys}\r\nalice@basin.example:{keys}\n")),
        Ok("alice@basin.example bob".into())
    );
    let low = keys.replace("4096", "4095");
    for (text, fault) in [
        ("alice", "line 1 is no account; write user:{SCRAM-SHA-256}iterations:salt:stored-key:server-key"),
        ("\nalice:secret", "line 2 is no account; write user:{SCRAM-SHA-256}iterations:salt:stored-key:server-key"),
        (&format!(":{keys}"), "line 1: the name is no name for a user: it is empty"),
        (
            &format!("a\u{a0}b:{keys}"),
            "line 1: the name is no name for a user: it is not in the form that clients' names are brought into (RFC 4013)",
        ),
        (&format!("a:{low}"), "line 1: 4095 iterations are out of range; 4096 to 1000000 are possible"),
        (&format!("a:{keys}\na:{keys}"), "line 2: a second line for the user \"a\""),
        (
            &format!("a:{keys}:x"),
            "line 1 is no account; write user:{SCRAM-SHA-256}iterations:salt:stored-key:server-key",
        ),
    ] {
        assert_eq!(read(text).map_err(|error| error.to_string()), Err(fault.to_owned()), "{text}");
    }
}
