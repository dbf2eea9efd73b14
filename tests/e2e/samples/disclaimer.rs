//! A text under outgoing mail.

use basin_tests::next_hop::{Manners, NextHop};
use basin_tests::server::TestServer;
use basin_tests::wait::PATIENCE;

use super::{field, only, relaying_to, server_of, taken, text};
use crate::{HELLO, Outcome, USER};

/// Who writes.
const HERE: &str = "alice@basin.example";
/// Who reads.
const AWAY: &str = "bob@away.example";

fn server(hop: &NextHop, words: &str) -> std::io::Result<TestServer> {
    let words = format!("text={words}");
    let mut flags = vec!["--on-failure", "hold", "--set", &words];
    for grant in ["read-envelope", "read-headers", "edit-headers", "read-body", "edit-body"] {
        flags.extend(["--grant", grant]);
    }
    server_of(relaying_to(hop), "disclaimer", "on-submission:mail from=*@basin.example", &flags)
}

/// The content as it came to the next server.
fn sent(words: &str, mail: &[u8]) -> std::io::Result<Vec<u8>> {
    let hop = NextHop::start(Manners::default())?;
    let server = server(&hop, words)?;
    server.client()?.deliver(HERE, &[AWAY], mail)?.require(250)?;
    let taken = taken(&server, &hop);
    Ok(only(&taken, &server.log())?.content())
}

#[test]
fn plain_text_goes_on_with_the_words_and_has_them_once() -> Outcome {
    let first = sent("For you alone.", HELLO)?;
    assert!(text(&first).ends_with("\r\n\r\nHello.\r\n\r\nFor you alone.\r\n"), "{}", text(&first));
    assert_eq!(field(&first, "X-Disclaimer").as_deref(), Some("added"));
    let again = sent("For you alone.", &first)?;
    assert_eq!(text(&again).matches("For you alone.").count(), 1, "{}", text(&again));
    Ok(())
}

#[test]
fn both_forms_of_a_letter_with_an_attachment_have_it_in_their_encodings() -> Outcome {
    let mail = b"From: <alice@basin.example>\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=m\r\n\r\n\
        --m\r\nContent-Type: multipart/alternative; boundary=a\r\n\r\n\
        --a\r\nContent-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n\
        gr=FC=DFe\r\n\
        --a\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\nPGI+aGk8L2I+\r\n--a--\r\n\
        \r\n--m\r\nContent-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n\
        Content-Disposition: attachment; filename=a.pdf\r\n\r\nQUFB\r\n--m--\r\n";
    let content = text(&sent("Nur f\u{fc}r Sie.", mail)?);
    assert!(content.contains("\r\ngr=FC=DFe\r\n\r\nNur f=FCr Sie.\r\n\r\n--a\r\n"), "{content}");
    // "<b>hi</b>", two line ends and "<p>Nur f&#252;r Sie.</p>"
    let encoded: String = content
        .split("base64\r\n\r\n")
        .nth(1)
        .unwrap_or_default()
        .split("\r\n--a--")
        .next()
        .unwrap_or_default()
        .split("\r\n")
        .collect();
    assert_eq!(encoded, "PGI+aGk8L2I+DQoNCjxwPk51ciBmJiMyNTI7ciBTaWUuPC9wPg==", "{content}");
    assert!(content.ends_with("filename=a.pdf\r\n\r\nQUFB\r\n--m--\r\n"), "{content}");
    Ok(())
}

#[test]
fn words_beyond_ascii_make_utf_8_of_a_plain_letter_and_a_part_beside_a_strange_one() -> Outcome {
    let content = sent("f\u{fc}r Sie", HELLO)?;
    assert!(text(&content).ends_with("\r\n\r\nHello.\r\n\r\nf=C3=BCr Sie\r\n"), "{}", text(&content));
    assert_eq!(field(&content, "Content-Type").as_deref(), Some("text/plain; charset=utf-8"));
    assert_eq!(field(&content, "Content-Transfer-Encoding").as_deref(), Some("quoted-printable"));
    let strange =
        b"From: <alice@basin.example>\r\nMIME-Version: 1.0\r\nContent-Type: application/pdf; name=\"a.pdf\"\r\n\
        Content-Transfer-Encoding: base64\r\n\r\nQUFB\r\n";
    let content = text(&sent("f\u{fc}r Sie", strange)?);
    let inner =
        "Content-Type: application/pdf;\r\n name=\"a.pdf\"\r\nContent-Transfer-Encoding: base64\r\n\r\nQUFB\r\n\r\n--";
    assert!(content.contains(inner) && content.contains("\r\n\r\nf=C3=BCr Sie\r\n"), "{content}");
    assert_eq!(content.matches("Content-Transfer-Encoding: base64").count(), 1, "{content}");
    Ok(())
}

#[test]
fn signed_and_encrypted_mail_leaves_octet_for_octet() -> Outcome {
    let hop = NextHop::start(Manners::default())?;
    let server = server(&hop, "For you alone.")?;
    let kinds = [
        "Content-Type: multipart/signed; boundary=x; protocol=\"application/pgp-signature\"\r\n",
        "Content-Type: multipart/encrypted; boundary=x\r\n",
        "Content-Type: application/pkcs7-mime; smime-type=enveloped-data\r\n",
        "DKIM-Signature: v=1; a=rsa-sha256; d=basin.example; s=x; h=from; bh=x; b=x\r\n",
    ];
    let mails = kinds.map(|fields| [fields.as_bytes(), HELLO].concat());
    for mail in &mails {
        server.client()?.deliver(HERE, &[AWAY], mail)?.require(250)?;
    }
    let taken = taken(&server, &hop);
    assert_eq!(taken.len(), mails.len());
    for mail in &mails {
        assert!(taken.iter().any(|taken| taken.content().ends_with(mail)), "{}", text(mail));
    }
    Ok(())
}

#[test]
fn mail_of_others_and_mail_that_stays_here_have_none() -> Outcome {
    let hop = NextHop::start(Manners::default())?;
    let server = server(&hop, "For you alone.")?;
    server.client()?.deliver("stranger@client.example", &[AWAY], HELLO)?.require(250)?;
    server.client()?.deliver(HERE, &[USER], HELLO)?.require(250)?;
    let here = server.maildir("user").wait_for(1, PATIENCE)?.remove(0);
    let taken = taken(&server, &hop);
    assert_eq!(taken.len(), 1);
    assert!(here.octets.ends_with(HELLO) && taken[0].content().ends_with(HELLO), "{}", text(&here.octets));
    Ok(())
}

#[test]
fn a_large_letter_is_copied_and_not_held() -> Outcome {
    let mut mail = b"From: <alice@basin.example>\r\nSubject: large\r\n\r\n".to_vec();
    let line = [b"x".repeat(70).as_slice(), b"\r\n"].concat();
    mail.extend(line.repeat(40_000));
    let content = sent("For you alone.", &mail)?;
    let expected = [line.as_slice(), b"\r\nFor you alone.\r\n"].concat();
    assert!(content.ends_with(&expected) && content.len() > mail.len(), "{} octets", content.len());
    Ok(())
}
