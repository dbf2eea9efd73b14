//! BDAT (RFC 3030): sizes that lie, and chunks that cross what ends a transaction.

use basin_tests::server::TestServer;
use basin_tests::wait::PATIENCE;

use super::codes;
use crate::{Outcome, SENDER, USER};

const HIDDEN: &str = "MAIL FROM:<forged@basin.example>\r\nRCPT TO:<alice@basin.example>\r\nDATA\r\n\r\nx\r\n.\r\n";

#[test]
fn a_bdat_size_that_wraps_or_is_no_number_closes_and_hides_no_command() -> Outcome {
    let server = TestServer::start()?;
    for size in [
        "4294967297",
        "18446744073709551616",
        "18446744073709551615",
        "9223372036854775808",
        "-1",
        "+5",
        "0x10",
        "1e3",
        "5.0",
        "",
        "LAST",
        "00000000000000000000000000005",
    ] {
        let mut client = server.client()?;
        let start = format!("MAIL FROM:<{SENDER}>\r\nRCPT TO:<{USER}>\r\nBDAT {size}\r\n{HIDDEN}QUIT\r\n");
        // The server closes in the middle: what is left need not be taken.
        client.send(start.as_bytes()).ok();
        let codes = codes(&mut client)?;
        assert!(matches!(codes.as_slice(), [250, 250, 501 | 552]), "{size:?}: {codes:?}");
    }
    assert!(server.maildir("alice").names()?.is_empty(), "nothing behind the size was taken for commands");
    Ok(())
}

#[test]
fn the_octets_of_a_refused_bdat_are_never_commands() -> Outcome {
    let server = TestServer::start()?;
    let size = HIDDEN.len();
    for before in
        ["", "MAIL FROM:<a@client.example>\r\n", "MAIL FROM:<a@client.example>\r\nRCPT TO:<x@far.example>\r\n"]
    {
        let mut client = server.client()?;
        client.send(format!("{before}BDAT {size} LAST\r\n{HIDDEN}NOOP\r\nQUIT\r\n").as_bytes())?;
        let codes = codes(&mut client)?;
        assert!(matches!(codes.as_slice(), [.., 503 | 554, 250, 221]), "{before:?}: {codes:?}");
    }
    assert!(server.maildir("alice").names()?.is_empty());
    Ok(())
}

#[test]
fn chunks_do_not_outlive_rset_or_a_new_greeting() -> Outcome {
    let server = TestServer::start()?;
    for end in ["RSET", "EHLO again.example"] {
        let mut client = server.client()?;
        let first = "Subject: first\r\n\r\nleft behind\r\n";
        let second = "Subject: second\r\n\r\nmine\r\n";
        client.send(
            format!(
                "MAIL FROM:<{SENDER}>\r\nRCPT TO:<alice@basin.example>\r\nBDAT {}\r\n{first}{end}\r\n\
                 BDAT {} LAST\r\n{second}MAIL FROM:<{SENDER}>\r\nRCPT TO:<{USER}>\r\nBDAT {} LAST\r\n{second}QUIT\r\n",
                first.len(),
                second.len(),
                second.len()
            )
            .as_bytes(),
        )?;
        assert_eq!(codes(&mut client)?, [250, 250, 250, 250, 503, 250, 250, 250, 221], "{end}");
    }
    let mails = server.maildir("user").wait_for(2, PATIENCE)?;
    assert!(mails.iter().all(|mail| !String::from_utf8_lossy(&mail.octets).contains("left behind")));
    assert!(server.maildir("alice").names()?.is_empty(), "the chunk before is nobody's message");
    Ok(())
}

#[test]
fn smuggling_forms_in_chunks_are_refused_and_dots_are_text() -> Outcome {
    let server = TestServer::start()?;
    for form in ["\n.\n", "\n.\r\n", "\r\n.\n", "\r.\r", "\r\n\0.\r\n", "\r\n.\r\r\n"] {
        let text = format!("Subject: x\r\n\r\ntext{form}{HIDDEN}");
        let mut client = server.client()?;
        let wire = format!("MAIL FROM:<{SENDER}>\r\nRCPT TO:<{USER}>\r\nBDAT {} LAST\r\n{text}QUIT\r\n", text.len());
        client.send(wire.as_bytes())?;
        assert_eq!(codes(&mut client)?, [250, 250, 550, 221], "{form:?}");
    }
    // A line that is a dot ends nothing here, and leaves as two (RFC 3030 §2, RFC 5321 §4.5.2).
    let text = format!("Subject: x\r\n\r\ntext\r\n.\r\n{HIDDEN}");
    let mut client = server.client()?;
    let wire = format!("MAIL FROM:<{SENDER}>\r\nRCPT TO:<{USER}>\r\nBDAT {} LAST\r\n{text}QUIT\r\n", text.len());
    client.send(wire.as_bytes())?;
    assert_eq!(codes(&mut client)?, [250, 250, 250, 221]);
    let mails = server.maildir("user").wait_for(1, PATIENCE)?;
    assert_eq!(mails.len(), 1, "what was refused is not delivered");
    assert!(server.maildir("alice").names()?.is_empty(), "what was hidden is text");
    Ok(())
}
