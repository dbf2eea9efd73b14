//! AUTH by a sink: a mechanism of three lines, and tokens.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use basin_tests::client::{Client, Reply};
use basin_tests::server::TestServer;
use basin_tests::settings::Settings;
use basin_tests::wait::PATIENCE;
use hmac::{Hmac, Mac as _};
use sha2::{Digest as _, Sha256};

use super::server_of;
use crate::{HELLO, Outcome, SENDER, USER};

const NONCE: &str = "a-nonce-of-the-client";

fn hex(octets: impl AsRef<[u8]>) -> String {
    octets.as_ref().iter().map(|octet| format!("{octet:02x}")).collect()
}

fn server(more: &[&str]) -> std::io::Result<TestServer> {
    let tokens = format!("tokens=ann:{}", hex(Sha256::digest(b"t0ken")));
    let mut flags = vec!["--grant", "reply", "--grant", "authenticate"];
    flags.extend([
        "--set",
        "challenge-key=a key that nobody else has",
        "--set",
        "secrets=ann:swordfish",
        "--set",
        &tokens,
    ]);
    flags.extend(more);
    let listener = "auth = true\nauth-without-tls = true\n".to_owned();
    let settings = Settings { listener, ..Settings::usual() };
    server_of(settings, "auth-sink", "on-inbound-command:verb=EHLO|AUTH", &flags)
}

/// Sends an answer and reads what is said to it.
fn answer(client: &mut Client, text: &str) -> std::io::Result<Reply> {
    client.command(&STANDARD.encode(text))
}

/// The challenge in a 334.
fn challenge(reply: Reply) -> std::io::Result<String> {
    let reply = reply.require(334)?;
    let text = STANDARD.decode(reply.lines.concat()).map_err(std::io::Error::other)?;
    String::from_utf8(text).map_err(std::io::Error::other)
}

fn proof(secret: &str, challenge: &str, user: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any key will do");
    mac.update(format!("{challenge}:{NONCE}:{user}").as_bytes());
    hex(mac.finalize().into_bytes())
}

/// The whole dialogue, as a client that knows that secret speaks it.
fn prove(client: &mut Client, user: &str, secret: &str) -> std::io::Result<Reply> {
    assert_eq!(challenge(client.command("AUTH XCHALLENGE")?)?, "");
    let said = challenge(answer(client, user)?)?;
    assert_eq!(challenge(answer(client, NONCE)?)?, "");
    answer(client, &proof(secret, &said, user))
}

#[test]
fn a_client_that_knows_the_secret_is_authenticated_in_three_lines() -> Outcome {
    let server = server(&[])?;
    let mut client = server.client()?;
    let ehlo = client.command("EHLO client.example")?.require(250)?;
    let offers: Vec<&String> = ehlo.lines.iter().filter(|line| line.starts_with("AUTH")).collect();
    assert_eq!(offers, ["AUTH XCHALLENGE"], "{}", ehlo.wire());
    let done = prove(&mut client, "ann", "swordfish")?.require(235)?;
    assert_eq!(done.lines, ["2.7.0 authentication successful"]);
    client.command("AUTH XCHALLENGE")?.require(503)?;
    client.deliver(SENDER, &[USER], HELLO)?.require(250)?;
    let mails = server.maildir("user").wait_for(1, PATIENCE)?;
    let received = mails.first().and_then(|mail| mail.header("Received")).unwrap_or_default();
    assert!(received.contains("with ESMTPA"), "RFC 3848: {received}");
    Ok(())
}

#[test]
fn a_wrong_proof_an_unknown_user_and_a_cancelled_exchange_authenticate_nobody() -> Outcome {
    let server = server(&[])?;
    let mut client = server.client()?;
    prove(&mut client, "ann", "guess")?.require(535)?;
    prove(&mut client, "eve", "swordfish")?.require(535)?;
    assert_eq!(challenge(client.command("AUTH XCHALLENGE")?)?, "");
    client.command("*")?.require(501)?;
    client.deliver(SENDER, &[USER], HELLO)?.require(250)?;
    let mails = server.maildir("user").wait_for(1, PATIENCE)?;
    let received = mails.first().and_then(|mail| mail.header("Received")).unwrap_or_default();
    assert!(received.contains("with ESMTP "), "{received}");
    Ok(())
}

#[test]
fn what_was_sent_before_the_challenge_is_no_answer_to_it() -> Outcome {
    let server = server(&[])?;
    let mut client = server.client()?;
    client.send(format!("AUTH XCHALLENGE\r\n{}\r\n", STANDARD.encode("ann")).as_bytes())?;
    client.expect(503)?;
    client.closed()
}

#[test]
fn a_token_is_taken_where_it_may_be_shown_and_told_off_where_nobody_has_it() -> Outcome {
    let server = server(&["--set", "tokens-without-tls=yes"])?;
    let mut client = server.client()?;
    let ehlo = client.command("EHLO client.example")?.require(250)?;
    assert!(ehlo.lines.iter().any(|line| line == "AUTH XCHALLENGE OAUTHBEARER XOAUTH2"), "{}", ehlo.wire());
    let wrong = STANDARD.encode("n,a=ann,\x01auth=Bearer guess\x01\x01");
    let told = challenge(client.command(&format!("AUTH OAUTHBEARER {wrong}"))?)?;
    assert_eq!(told, r#"{"status":"invalid_token"}"#);
    answer(&mut client, "\x01")?.require(535)?;
    assert_eq!(challenge(client.command("AUTH XOAUTH2")?)?, "");
    answer(&mut client, "user=ann\x01auth=Bearer t0ken\x01\x01")?.require(235)?;
    Ok(())
}

#[test]
fn a_mechanism_that_needs_tls_is_not_there_without_it() -> Outcome {
    let server = server(&[])?;
    let token = STANDARD.encode("n,a=ann,\x01auth=Bearer t0ken\x01\x01");
    let reply = server.client()?.command(&format!("AUTH OAUTHBEARER {token}"))?;
    assert!((500..=504).contains(&reply.code), "{}", reply.wire());
    Ok(())
}
