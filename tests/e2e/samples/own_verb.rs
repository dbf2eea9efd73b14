//! A verb with further lines and octets.

use basin_tests::client::Client;
use basin_tests::server::{TestServer, guest};
use basin_tests::settings::Settings;
use basin_tests::wait::PATIENCE;

use crate::{HELLO, Outcome, SENDER, USER};

fn server() -> std::io::Result<TestServer> {
    let mut server = TestServer::prepare(Settings::usual())?;
    let flags = ["--event", "on-end-of-data", "--grant", "reply", "--grant", "edit-headers"];
    server.sink_add(&guest("own-verb"), "memo", "on-inbound-command:verb=EHLO|XMEMO", &flags)?;
    server.launch()?;
    Ok(server)
}

fn shown(client: &mut Client) -> std::io::Result<Vec<String>> {
    Ok(client.command("XMEMO SHOW")?.require(250)?.lines)
}

#[test]
fn lines_up_to_a_dot_are_a_memo_that_every_message_of_the_session_carries() -> Outcome {
    let server = server()?;
    let mut client = server.client()?;
    let ehlo = client.command("EHLO client.example")?.require(250)?;
    assert!(ehlo.lines.iter().any(|line| line == "XMEMO 2048"), "{}", ehlo.wire());
    client.command("XMEMO")?.require(350)?;
    for line in ["case 4711", "QUIT", "..dotted"] {
        client.command(line)?.require(350)?;
    }
    client.command(".")?.require(250)?;
    assert_eq!(shown(&mut client)?, ["2.0.0 case 4711", "2.0.0 QUIT", "2.0.0 .dotted"]);
    client.command("RSET")?.require(250)?;
    let forged = [b"X-Memo: forged\r\n", HELLO].concat();
    for text in [HELLO, &forged] {
        client.deliver(SENDER, &[USER], text)?.require(250)?;
    }
    for mail in server.maildir("user").wait_for(2, PATIENCE)? {
        assert_eq!(mail.headers("X-Memo"), ["case 4711", "QUIT", ".dotted"]);
    }
    assert_eq!(shown(&mut server.client()?)?, ["2.0.0 there is no memo"], "another session has none");
    Ok(())
}

#[test]
fn octets_are_taken_as_they_are_and_what_follows_them_is_the_next_command() -> Outcome {
    let server = server()?;
    let mut client = server.client()?;
    client.command("XMEMO 14")?.require(350)?;
    client.send(b"a\r\n.\r\nQUIT\r\nbc\r\nNOOP\r\n")?;
    client.expect(250)?;
    client.expect(500)?;
    client.expect(250)?;
    assert_eq!(shown(&mut client)?, ["2.0.0 a", "2.0.0 .", "2.0.0 QUIT", "2.0.0 bc"]);
    client.command("XMEMO 0")?.require(250)?;
    assert_eq!(shown(&mut client)?, ["2.0.0 there is no memo"]);
    Ok(())
}

#[test]
fn too_much_and_the_wrong_is_refused_and_the_session_goes_on() -> Outcome {
    let server = server()?;
    let mut client = server.client()?;
    client.command("XMEMO 18446744073709551615")?.require(552)?;
    client.command("XMEMO -1")?.require(501)?;
    client.command("XMEMO 3")?.require(350)?;
    client.send(b"\xff\x00\r")?;
    client.expect(554)?;
    client.command("XMEMO")?.require(350)?;
    client.command(&"x".repeat(2_100))?.require(552)?;
    client.deliver(SENDER, &[USER], HELLO)?.require(250)?;
    let mails = server.maildir("user").wait_for(1, PATIENCE)?;
    assert!(mails.first().is_some_and(|mail| mail.headers("X-Memo").is_empty()));
    Ok(())
}
