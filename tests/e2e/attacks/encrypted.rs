//! What is put in before a handshake, in the hope that it counts behind it.

use super::silent;
use crate::{HELLO, Outcome, SENDER, USER, tls};

/// What an attacker wants to be taken for the client's own.
const HIDDEN: &str = "MAIL FROM:<forged@basin.example>\r\nRCPT TO:<alice@basin.example>\r\nDATA\r\n\r\nx\r\n.\r\n";

#[test]
fn nothing_that_was_put_in_before_the_handshake_is_carried_out_behind_it() -> Outcome {
    let server = tls::server_with("", "")?;
    for injected in [HIDDEN, "EHLO x\r\n", "EHLO", "\r\n", "\0", "RSET\r\nQUIT\r\n", "BDAT 6\r\nNOOP\r\n"] {
        let mut client = server.client()?;
        client.send(format!("STARTTLS\r\n{injected}").as_bytes())?;
        // Not a word of 220, so nobody begins a handshake on top of it.
        client.closed()?;
    }
    // Behind the 220 there is nothing but the handshake, and a command is none.
    let mut client = silent(&server)?;
    client.command("EHLO client.example")?.require(250)?;
    client.command("STARTTLS")?.require(220)?;
    client.send(HIDDEN.as_bytes())?;
    assert!(client.reply().is_err(), "no command has an answer there");
    assert!(server.maildir("alice").names()?.is_empty());
    // Who is left alone is served as before.
    let mut client = server.client()?;
    client.start_tls("mx.basin.example")?;
    client.command("EHLO client.example")?.require(250)?;
    client.deliver(SENDER, &[USER], HELLO)?.require(250).map(drop)
}

#[test]
fn what_was_begun_in_the_open_is_gone_behind_the_handshake() -> Outcome {
    let server = tls::server_with("", "")?;
    for line in ["RCPT TO:<user@basin.example>", "DATA", "BDAT 6 LAST\r\nc: d\r"] {
        let mut client = server.client()?;
        client.command(&format!("MAIL FROM:<{SENDER}>"))?.require(250)?;
        client.command("RCPT TO:<alice@basin.example>")?.require(250)?;
        client.send(b"BDAT 6\r\na: b\r\n")?;
        client.expect(250)?;
        client.start_tls("mx.basin.example")?;
        client.command("EHLO client.example")?.require(250)?;
        client.command(line)?.require(503)?;
    }
    assert!(server.maildir("alice").names()?.is_empty());
    Ok(())
}
