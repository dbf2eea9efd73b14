use super::*;
use basin_sink::testing;

const TEXT: &str = "This mail is confidential.";

fn outgoing(eml: &str) -> testing::Message {
    let mut message = testing::Message::from_eml(eml.replace('\n', "\r\n"));
    message.set_recipients(&["b@away.example"]).set_config("text", TEXT);
    message
}

fn added(message: &mut testing::Message) -> String {
    assert_eq!(message.submission::<Disclaimer>(), MessageVerdict::Next);
    String::from_utf8_lossy(message.body()).replace("\r\n", "\n")
}

/// The texts of the parts, decoded by the parser of the server.
struct Texts;

impl OnSubmission for Texts {
    fn on_submission(message: &mut Message, _call: &Call) -> Result<MessageVerdict> {
        let texts: Vec<String> =
            message.parts().filter_map(|part| Some(format!("{}|{}", part.content_type(), part.text()?))).collect();
        message.set_property("texts", texts.join("\n--\n"))?;
        Ok(MessageVerdict::Next)
    }
}

fn shown(message: &mut testing::Message) -> String {
    assert_eq!(message.submission::<Texts>(), MessageVerdict::Next);
    String::from_utf8_lossy(message.property("texts").unwrap_or_default()).replace("\r\n", "\n")
}

#[test]
fn a_plain_letter_gets_the_text_below_it_and_once() {
    let mut message = outgoing("Subject: hi\n\nhello\n");
    assert_eq!(added(&mut message), format!("hello\n\n{TEXT}\n"));
    assert_eq!(message.header("X-Disclaimer").as_deref(), Some("added"));
    assert_eq!(added(&mut message), format!("hello\n\n{TEXT}\n"), "a second time adds nothing");
    assert_eq!(message.counter("added"), 1);
    let mut message = outgoing("Subject: hi\n\nno line end");
    assert_eq!(added(&mut message), format!("no line end\n\n{TEXT}\n"));
}

#[test]
fn both_bodies_of_an_alternative_in_a_mixed_get_it_and_attachments_do_not() {
    let eml = "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=m\n\n--m\n\
        Content-Type: multipart/alternative; boundary=a\n\n--a\nContent-Type: text/plain; charset=utf-8\n\
        Content-Transfer-Encoding: quoted-printable\n\ngr=C3=BC=C3=9Fe\n--a\nContent-Type: text/html; charset=utf-8\n\
        Content-Transfer-Encoding: base64\n\nPGI+aGk8L2I+\n--a--\n\n--m\nContent-Type: text/plain\n\
        Content-Disposition: attachment; filename=a.txt\n\nattached\n--m--\n";
    let mut message = outgoing(eml);
    message.set_config("text", "Nur für Sie = <geheim>");
    added(&mut message);
    assert_eq!(
        shown(&mut message),
        "text/plain|grüße\n\nNur für Sie = <geheim>\n\n--\n\
         text/html|<b>hi</b>\n\n<p>Nur f&#252;r Sie = &lt;geheim&gt;</p>\n--\ntext/plain|attached"
    );
    let raw = String::from_utf8_lossy(message.body()).into_owned();
    assert!(raw.contains("Nur f=C3=BCr Sie =3D <geheim>\r\n"), "{raw}");
}

#[test]
fn in_html_it_stands_before_the_end_of_the_body() {
    for (encoding, edge) in [("7bit", "\n"), ("quoted-printable", "=\n")] {
        let mut message = outgoing(&format!(
            "MIME-Version: 1.0\nContent-Type: text/html\nContent-Transfer-Encoding: {encoding}\n\n<BODY>hi</BODY></html>\n"
        ));
        message.set_config("html", "<i>über</i>");
        assert_eq!(added(&mut message), format!("<BODY>hi{edge}<i>&#252;ber</i>{edge}</BODY></html>\n"));
    }
}

#[test]
fn base64_goes_on_wherever_it_ended() {
    for (encoded, plain) in [("aGVsbG8=", "hello"), ("aGVsbG8h", "hello!"), ("aGVs\nbA==\n", "hell"), ("", "")] {
        let mut message = outgoing(&format!(
            "MIME-Version: 1.0\nContent-Type: text/plain; charset=\"UTF-8\"\nContent-Transfer-Encoding: base64\n\n{encoded}"
        ));
        message.set_config("text", "für alle");
        added(&mut message);
        assert_eq!(shown(&mut message), format!("text/plain|{plain}\n\nfür alle\n"), "{encoded}");
    }
}

#[test]
fn a_charset_that_has_the_characters_is_kept() {
    let eml = "MIME-Version: 1.0\nContent-Type: text/plain; charset=iso-8859-1\n\
               Content-Transfer-Encoding: quoted-printable\n\ngr=FC=DFe\n";
    let mut message = outgoing(eml);
    message.set_config("text", "für alle");
    assert_eq!(added(&mut message), "gr=FC=DFe\n\nf=FCr alle\n");
}

#[test]
fn ascii_becomes_utf_8_where_the_text_is_beyond_it() {
    let mut message = outgoing("Subject: hi\n\n1+1=2 \n");
    message.set_config("text", "für alle");
    assert_eq!(added(&mut message), "1+1=3D2=20\n\nf=C3=BCr alle\n");
    assert_eq!(message.header("Content-Transfer-Encoding").as_deref(), Some("quoted-printable"));
    assert_eq!(shown(&mut message), "text/plain|1+1=2 \n\nfür alle\n");
}

#[test]
fn what_has_no_room_for_it_gets_a_part_beside_it_and_stays_octet_for_octet() {
    let old = "--r\nContent-Type: text/plain; charset=koi8-r\nContent-Transfer-Encoding: 8bit\n\nhello\n--r--\n";
    let mut message = outgoing(&format!(
        "Subject: hi\nContent-Type: multipart/mixed; boundary=r\nContent-Transfer-Encoding: 8bit\nMIME-Version: 1.0\n\n{old}"
    ));
    message.set_config("text", "für alle");
    let body = added(&mut message);
    let inner =
        format!("Content-Type: multipart/mixed;\n boundary=r\nContent-Transfer-Encoding: 8bit\n\n{old}\n--=_d_");
    assert!(body.contains(&inner), "{body}");
    assert_eq!(shown(&mut message), "text/plain|hello\n--\ntext/plain|für alle\n");
    assert_eq!(message.headers("Content-Transfer-Encoding"), ["8bit"]);
    let mut file = outgoing(
        "Content-Type: application/pdf\nContent-Transfer-Encoding: base64\nContent-Disposition: attachment\n\nQUFB\n",
    );
    let body = added(&mut file);
    assert!(body.contains("Content-Type: application/pdf\nContent-Transfer-Encoding: base64\n"), "{body}");
    assert_eq!(file.headers("Content-Disposition"), [""; 0]);
    assert_eq!(shown(&mut file), format!("text/plain|{TEXT}\n"));
}

#[test]
fn signed_and_encrypted_mail_and_reports_are_left_alone() {
    for eml in [
        "Content-Type: multipart/signed; boundary=x\n\n--x\n\nhi\n--x--\n",
        "Content-Type: multipart/encrypted; boundary=x\n\n--x\n\nhi\n--x--\n",
        "Content-Type: application/pkcs7-mime; smime-type=enveloped-data\n\nQUFB\n",
        "DKIM-Signature: v=1; d=x.example; h=from; b=x\n\nhi\n",
        "Subject: hi\n\n-----BEGIN PGP SIGNED MESSAGE-----\nhi\n",
        "Content-Type: multipart/report; boundary=x\n\n--x\n\nhi\n--x--\n",
        "Content-Type: multipart/mixed; boundary=x\n\n--x\nContent-Type: multipart/signed; boundary=y\n\n--y\n\nhi\n--y\n\
         Content-Type: application/pgp-signature\n\nxx\n--y--\n--x--\n",
    ] {
        let mut message = outgoing(eml);
        let before = message.content();
        added(&mut message);
        assert_eq!(message.content(), before, "{eml}");
        assert_eq!(message.counter("left_alone"), 1, "{eml}");
    }
}

#[test]
fn mail_that_stays_inside_gets_none_unless_the_operator_says_so() {
    let mut message = outgoing("Subject: hi\n\nhello\n");
    message.set_recipients(&["b@basin.example"]);
    assert_eq!(added(&mut message), "hello\n");
    message.set_config("inside", "yes");
    assert_eq!(added(&mut message), format!("hello\n\n{TEXT}\n"));
    let mut message = outgoing("Subject: hi\n\nhello\n");
    message.set_recipients(&["b@basin.example", "c@away.example"]);
    assert_eq!(added(&mut message), format!("hello\n\n{TEXT}\n"));
}

#[test]
fn without_a_text_the_sink_fails() {
    let mut message = testing::Message::from_eml("\r\n\r\nhi");
    assert!(message.try_submission::<Disclaimer>().is_err());
}

#[test]
fn no_line_is_longer_than_its_encoding_allows() {
    let long = "grün ".repeat(100);
    for (line, width) in
        [(encoding::quoted_printable(long.as_bytes()), 76), (encoding::base64_lines(long.as_bytes()).into_bytes(), 76)]
    {
        assert!(String::from_utf8_lossy(&line).lines().all(|line| line.len() <= width));
    }
}
