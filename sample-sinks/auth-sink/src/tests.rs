use super::*;
use basin_sink::testing;
use hmac::{Hmac, Mac as _};
use sha2::{Digest as _, Sha256};

const NONCE: &str = "a-nonce-of-the-client";

fn session() -> testing::Session {
    let mut session = testing::Session::new();
    let token: String = Sha256::digest(b"t0ken").iter().map(|octet| format!("{octet:02x}")).collect();
    session
        .set_config("challenge-key", "a key that nobody else has")
        .set_config("secrets", "ann:swordfish, bob:tiger")
        .set_config("tokens", &format!("ann@basin.example:{token}"))
        .set_tls("TLSv1.3", "TLS_AES_128_GCM_SHA256", None);
    session
}

/// The text of the challenge in a verdict that asks.
fn asked(verdict: CommandVerdict) -> Vec<u8> {
    match verdict {
        CommandVerdict::AwaitInput(reply) => {
            assert_eq!(reply.code, 334);
            sasl::decoded(reply.text().as_bytes()).expect("a challenge is base64")
        }
        other => panic!("{other:?} asks nothing"),
    }
}

fn answer(session: &mut testing::Session, text: &str) -> CommandVerdict {
    session.input::<AuthSink>(sasl::encoded(text.as_bytes()).as_bytes())
}

fn proof(secret: &str, challenge: &[u8], user: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any key will do");
    mac.update(&[challenge, format!(":{NONCE}:{user}").as_bytes()].concat());
    mac.finalize().into_bytes().iter().map(|octet| format!("{octet:02x}")).collect()
}

/// The whole dialogue, from a client that knows that secret.
fn challenge_response(session: &mut testing::Session, user: &str, secret: &str) -> CommandVerdict {
    assert_eq!(asked(session.command::<AuthSink>("AUTH XCHALLENGE")), b"");
    let challenge = asked(answer(session, user));
    assert_eq!(asked(answer(session, NONCE)), b"");
    answer(session, &proof(secret, &challenge, user))
}

fn accepted() -> CommandVerdict {
    CommandVerdict::Consume(Reply::new(235, "authentication successful").status("2.7.0"))
}

fn refused() -> CommandVerdict {
    refuse(535, "5.7.8", "authentication credentials invalid")
}

#[test]
fn ehlo_names_the_mechanisms_and_tokens_only_over_tls() {
    let lines = |mut session: testing::Session| {
        session.set_response(Reply::new(250, "basin.example"));
        assert_eq!(session.command::<AuthSink>("EHLO client.example"), CommandVerdict::Next);
        session.response().expect("a response").lines.into_iter().skip(1).collect::<Vec<_>>()
    };
    assert_eq!(lines(session()), ["AUTH XCHALLENGE OAUTHBEARER XOAUTH2"]);
    let mut plain = testing::Session::new();
    assert_eq!(lines(plain.clone()), ["AUTH XCHALLENGE"]);
    plain.set_config("mechanisms", "XOAUTH2");
    assert_eq!(lines(plain.clone()), [""; 0]);
    plain.set_config("tokens-without-tls", "yes");
    assert_eq!(lines(plain), ["AUTH XOAUTH2"]);
}

#[test]
fn who_knows_the_secret_is_authenticated_after_three_lines() {
    let mut session = session();
    assert_eq!(challenge_response(&mut session, "ann", "swordfish"), accepted());
    assert_eq!(session.auth_user(), Some("ann"));
    assert_eq!(session.counter("accepted"), 1);
}

#[test]
fn the_name_may_come_with_the_command() {
    let mut session = session();
    let challenge = asked(session.command::<AuthSink>(&format!("auth xchallenge {}", sasl::encoded(b"bob"))));
    assert_eq!(asked(answer(&mut session, NONCE)), b"");
    assert_eq!(answer(&mut session, &proof("tiger", &challenge, "bob")), accepted());
}

#[test]
fn a_wrong_secret_and_an_unknown_user_are_refused_alike() {
    for (user, secret) in [("ann", "tiger"), ("eve", "swordfish"), ("eve", "")] {
        let mut session = session();
        assert_eq!(challenge_response(&mut session, user, secret), refused(), "{user} {secret}");
        assert_eq!(session.auth_user(), None);
    }
}

#[test]
fn a_proof_is_of_no_use_for_another_challenge() {
    let mut session = session();
    assert_eq!(asked(session.command::<AuthSink>("AUTH XCHALLENGE")), b"");
    let first = asked(answer(&mut session, "ann"));
    session.set_binding("the next time");
    assert_eq!(asked(session.command::<AuthSink>("AUTH XCHALLENGE")), b"");
    let second = asked(answer(&mut session, "ann"));
    assert_ne!(first, second);
    assert_eq!(asked(answer(&mut session, NONCE)), b"");
    assert_eq!(answer(&mut session, &proof("swordfish", &first, "ann")), refused());
}

#[test]
fn malformed_answers_are_refused() {
    let mut session = session();
    let syntax = refuse(501, "5.5.2", "the answer is not base64");
    assert_eq!(session.command::<AuthSink>("AUTH XCHALLENGE *"), syntax);
    assert_eq!(asked(session.command::<AuthSink>("AUTH XCHALLENGE")), b"");
    assert_eq!(session.input::<AuthSink>(b"no base64!"), syntax);
    for name in ["", "a\tb", "a:b", &"x".repeat(300)] {
        assert_eq!(asked(session.command::<AuthSink>("AUTH XCHALLENGE")), b"");
        assert_eq!(answer(&mut session, name), refused(), "{name:?}");
    }
    assert_eq!(session.command::<AuthSink>("AUTH XCHALLENGE ="), refused());
    asked(session.command::<AuthSink>(&format!("AUTH XCHALLENGE {}", sasl::encoded(b"ann"))));
    assert_eq!(answer(&mut session, "short"), refused());
    assert_eq!(asked(answer(&mut session, NONCE)), b"");
    assert_eq!(answer(&mut session, "zz"), refused());
}

#[test]
fn without_a_key_for_challenges_the_sink_fails() {
    let mut session = session();
    session.set_config("challenge-key", "short");
    assert!(session.try_command::<AuthSink>(&format!("AUTH XCHALLENGE {}", sasl::encoded(b"ann"))).is_err());
}

#[test]
fn a_known_token_is_as_good_as_its_owner() {
    for line in ["n,,\x01auth=Bearer t0ken\x01\x01", "n,a=ann@basin.example,\x01host=mx\x01auth=bearer t0ken\x01\x01"] {
        let mut session = session();
        let command = format!("AUTH OAUTHBEARER {}", sasl::encoded(line.as_bytes()));
        assert_eq!(session.command::<AuthSink>(&command), accepted(), "{line:?}");
        assert_eq!(session.auth_user(), Some("ann@basin.example"));
    }
    let mut session = session();
    assert_eq!(asked(session.command::<AuthSink>("AUTH XOAUTH2")), b"");
    assert_eq!(answer(&mut session, "user=ann@basin.example\x01auth=Bearer t0ken\x01\x01"), accepted());
}

#[test]
fn a_token_of_nobody_or_of_another_is_told_first_and_refused_then() {
    let mut session = session();
    let other = "n,a=bob@basin.example,\x01auth=Bearer t0ken\x01\x01";
    let command = format!("AUTH OAUTHBEARER {}", sasl::encoded(other.as_bytes()));
    assert_eq!(asked(session.command::<AuthSink>(&command)), br#"{"status":"invalid_token"}"#);
    assert_eq!(answer(&mut session, "\x01"), refused());
    let command = format!("AUTH XOAUTH2 {}", sasl::encoded(b"user=ann@basin.example\x01auth=Bearer guess\x01\x01"));
    assert_eq!(asked(session.command::<AuthSink>(&command)), br#"{"status":"401","schemes":"bearer"}"#);
    assert_eq!(session.input::<AuthSink>(b""), refused());
    assert_eq!(session.auth_user(), None);
}

#[test]
fn what_holds_no_token_is_refused_at_once() {
    for line in
        ["", "n,,", "y,,\x01auth=Bearer t0ken\x01\x01", "n,,\x01auth=Basic t0ken\x01\x01", "n,,\x01auth=Bearer \x01"]
    {
        let command = format!("AUTH OAUTHBEARER {}", sasl::encoded(format!("{line} ").trim_end().as_bytes()));
        let command = if line.is_empty() { "AUTH OAUTHBEARER =".to_owned() } else { command };
        assert_eq!(session().command::<AuthSink>(&command), refused(), "{line:?}");
    }
}

#[test]
fn other_mechanisms_and_verbs_are_left_to_others() {
    let mut session = session();
    for line in ["AUTH PLAIN AGFubgBzZWNyZXQ=", "AUTH", "MAIL FROM:<a@client.example>"] {
        assert_eq!(session.command::<AuthSink>(line), CommandVerdict::Next, "{line}");
    }
    let mut plain = testing::Session::new();
    assert_eq!(plain.command::<AuthSink>("AUTH XOAUTH2"), CommandVerdict::Next);
    session.set_config("mechanisms", "PLAIN");
    assert!(session.try_command::<AuthSink>("AUTH XOAUTH2").is_err());
}
